"""Guards against slow-downs: our time over a baseline's in the same run, never a time.

Run on an idle machine: `pytest bench/test_regression.py`. The bounds leave half as much again to
the budgets that `python -m subkern bench` prints.
"""

import pytest
import torch

from subkern.bench.cases import all_cases
from subkern.bench.registry import Case, Variant
from subkern.bench.timer import Effort, measure

SLACK = 1.5
CASES = [
    case for case in all_cases(quick=True) if any(target.ratio == "over" for target in case.targets)
]


def _guarded(case: Case) -> tuple[Variant, Variant, float]:
    (target,) = (target for target in case.targets if target.ratio == "over")
    made = {variant.name: variant for variant in case.setup(True).variants}
    return made[case.ours], made[target.baseline], target.bound


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_step_over_baseline(benchmark, case):
    ours, baseline, bound = _guarded(case)
    if ours.backend == "reference":
        pytest.skip(ours.note)
    for variant in (ours, baseline):
        with variant.context():
            assert variant.verify() is None
    with ours.context():
        times = measure({"ours": ours.step, "baseline": baseline.step}, Effort(budget_s=3.0))
        benchmark.pedantic(ours.step, rounds=5, warmup_rounds=1)
    ratio = times["ours"].median / times["baseline"].median
    benchmark.extra_info.update(
        ratio=ratio, baseline=baseline.name, bound=bound, threads=torch.get_num_threads()
    )
    assert ratio <= SLACK * bound, f"{ratio:.2f}x of {baseline.name}, budget {bound}x"
