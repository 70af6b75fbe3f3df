"""The list of every op's cases."""

from subkern.bench import adam, lowrank_adam, lowrank_adam_gpu, refresh
from subkern.bench.registry import Case


def all_cases(quick: bool = False, device: str = "cpu") -> list[Case]:
    """Every case of every op, in the order of the report.

    On a GPU the cases that say most come first: a run may have a time limit.
    """
    if device == "cpu":
        return [*lowrank_adam.cases(quick), *adam.cases(quick)]
    first, later = lowrank_adam_gpu.cases(quick, device)
    return [*first, *refresh.cases(device), *adam.gpu_cases(device), *later]
