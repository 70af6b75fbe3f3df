"""The list of every op's cases."""

from subkern.bench import (
    adam,
    cg,
    cg_step,
    cgls,
    combine,
    eigh_small,
    gram,
    group_dot,
    kth_largest,
    lanczos_prox,
    lowrank_adam,
    lowrank_adam_gpu,
    orthonormalize,
    packed_adamw,
    polar,
    rsvd,
    sample_without_replacement,
    scan,
    sense_normal,
    sense_solve,
    spectral_linear,
    sst_adamw,
    svd_factored,
    svd_small,
    topk_subspace,
    tsqr,
    update_mask,
)
from subkern.bench.registry import Case

LINALG = (
    svd_small,
    orthonormalize,
    topk_subspace,
    eigh_small,
    rsvd,
    polar,
    gram,
    tsqr,
    sample_without_replacement,
)
SPECTRAL = (sst_adamw, svd_factored)
SPARSE = (kth_largest, update_mask, packed_adamw)
KRYLOV = (cg, sense_normal)
# On a CPU alone: what is made of the operators above, and what other ops call.
MADE_OF = (lanczos_prox, cgls)
WITHIN = (sense_solve, cg_step, group_dot, combine, scan)


def all_cases(quick: bool = False, device: str = "cpu") -> list[Case]:
    """Every case of every op, in the order of the report.

    On a GPU the cases that say most come first: a run may have a time limit.
    """
    if device == "cpu":
        small = [
            case
            for op in (
                *(*LINALG, *SPECTRAL, spectral_linear, *SPARSE),
                *(*KRYLOV, *MADE_OF, *WITHIN),
            )
            for case in op.cases()
        ]
        return [*lowrank_adam.cases(quick), *adam.cases(quick), *small]
    first, later = lowrank_adam_gpu.cases(quick, device)
    small = [case for op in (*LINALG, *SPECTRAL, *SPARSE, *KRYLOV) for case in op.gpu_cases(device)]
    judged = [case for case in small if case.targets]
    shown = [case for case in small if not case.targets]
    return [*first, *judged, *adam.gpu_cases(device), *shown, *later]
