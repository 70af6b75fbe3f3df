"""The low-rank step on a GPU: single matrices over four ranks, and whole models.

The cases that say most come first, and `cases` gives them apart from the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from subkern.bench import baselines, lowrank_adam, variants
from subkern.bench.compiled import compiled
from subkern.bench.llama_sets import GPU_SETS, Llama, Matrices
from subkern.bench.lowrank_adam import QUICK_LAYERS, RECIPE, RULES
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Case, Setup, Variant
from subkern.bench.targets import FLOOR, Target

BACKENDS = ("triton", "cuda")
LARGE = ((4096, 4096), (4096, 11008))
# The second width is the one of LLaMA-1B; the first shows what an odd width costs.
WIDTHS = ((2048, 5464), (2048, 5461))
RANKS = (256, 128, 512, 1024)
FIRST_RANK = RANKS[0]
# Highest rank with a budget against dense AdamW: near 930 the products alone take as long.
DENSE_RANK = 256
ODD, EVEN = "2048x5461", "2048x5464"
SPEEDUP = {"galore": 1.4, "fira": 2.0}
ALONE = "llama-7b"


def targets(rule: str, shape: str, rank: int, dtype: str) -> tuple[Target, ...]:
    """The budgets of one case."""
    found = [Target("step", FLOOR, "over", 1.3)]
    single = shape not in GPU_SETS
    if dtype == "bf16" and rank <= DENSE_RANK and shape not in (ODD, EVEN):
        found.append(Target("amortised", "adamw-fused", "over", 1.0))
    if single:
        found.append(Target("step", ("eager", "compiled"), "speedup", SPEEDUP[rule]))
    if shape == ODD:
        even = lowrank_adam.name(rule, EVEN, rank, dtype)
        found.append(Target("step", "subkern", "over", 1.3, even))
    return tuple(found)


def setup(
    rule: str,
    shape: str,
    matrices: Matrices,
    dtype: str,
    where: str,
    compiles: bool,
    quick: bool,
) -> Setup:
    """The competitors on one set of matrices.

    Of the largest set only ours and dense AdamW are timed, one after the other: with gradients, a
    variant takes up to 55 GB.
    """
    problem = Problem(matrices, dtype, where)
    backend, why = variants.serving(dtype, where)
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(variants.ours, problem, rule, RECIPE, backend, "subkern", why),
        "adamw-fused": partial(baselines.fused_adamw, problem),
    }
    others: dict[str, Callable[[], Variant | Absent]] = {
        name: partial(variants.one_backend, problem, rule, RECIPE, name) for name in BACKENDS
    }
    others |= {
        "official": partial(baselines.official, problem, rule, RECIPE),
        "eager": partial(variants.ours, problem, rule, RECIPE, "reference", "eager"),
        "compiled": partial(compiled, problem, rule, RECIPE),
        "pair": partial(baselines.pair, problem),
    }
    if quick:
        others["compiled"] = partial(Absent, "compiled", "left out by --quick")
    elif not compiles:
        reason = f"compiled for single matrices at rank {FIRST_RANK} in bf16 alone: seconds each"
        others["compiled"] = partial(Absent, "compiled", reason)
    if shape != ALONE:
        made |= others
        return Setup(list(variants.attempt(made)), ready=partial(problem.advance, 1))
    reason = f"left out of {ALONE}: see the single matrices"
    made |= {name: partial(Absent, name, reason) for name in others}
    return Setup(
        variants.attempt(made),
        start=partial(problem.advance, 0),
        ready=partial(problem.advance, 1),
        alone=True,
    )


def _case(
    rule: str, shape: str, matrices: Matrices, dtype: str, where: str, compiles: bool
) -> Case:
    make = partial(setup, rule, shape, matrices, dtype, where, compiles)
    budgets = targets(rule, shape, matrices.rank, dtype)
    return lowrank_adam.case(rule, shape, matrices, dtype, make, budgets)


def _singles(
    shapes: Sequence[tuple[int, int]], rank: int, dtype: str, where: str, compiles: bool = False
) -> list[Case]:
    return [
        _case(rule, f"{m}x{n}", Matrices(((m, n),), (), rank), dtype, where, compiles)
        for m, n in shapes
        for rule in RULES
    ]


def _models(
    sets: Mapping[str, Llama], rank: int | None, quick: bool, where: str, rules: Sequence[str]
) -> list[Case]:
    layers = QUICK_LAYERS if quick else None
    return [
        _case(rule, name, llama.matrices(layers, rank), "bf16", where, False)
        for name, llama in sets.items()
        for rule in rules
    ]


def cases(
    quick: bool = False,
    where: str = "cuda",
    large: Sequence[tuple[int, int]] = LARGE,
    widths: Sequence[tuple[int, int]] = WIDTHS,
    ranks: Sequence[int] = RANKS,
    sets: Mapping[str, Llama] = GPU_SETS,
) -> tuple[list[Case], list[Case]]:
    """The cases that budgets speak of, and the rest.

    Args:
        quick: Models of a few layers.
        where: Device of the tensors.
        large: Shapes of single matrices, first choice.
        widths: Shapes that differ in their width's evenness, the even one first.
        ranks: The first is the one of the budgets, and the only one that models run at besides
            their own.
        sets: Models.
    """
    rank, *rest = ranks
    first = [
        *_singles(large, rank, "bf16", where, compiles=True),
        *_models(sets, rank, quick, where, RULES),
        *_singles(widths, rank, "bf16", where),
    ]
    later = [
        *(case for other in rest for case in _singles(large, other, "bf16", where)),
        # Each model at the rank of its GaLore recipe.
        *_models(sets, None, quick, where, RULES[:1]),
        *(case for other in rest for case in _singles(widths, other, "bf16", where)),
        *_singles(large, rank, "fp32", where),
    ]
    return first, later
