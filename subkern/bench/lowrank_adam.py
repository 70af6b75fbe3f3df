"""What a whole GaLore or Fira step costs, and one averaged over a gap of 200."""

from collections.abc import Callable
from functools import partial

from subkern.bench import baselines, variants
from subkern.bench.compiled import compiled
from subkern.bench.llama_sets import SETS, Matrices
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Case, Setup, Variant
from subkern.bench.targets import Target
from subkern.bench.truth import Recipe

OP = "lowrank_adam"
GAP = 200
RULES = ("galore", "fira")
SHAPES = ((512, 1376, 128), (768, 2048, 256), (1024, 2736, 256), (2048, 5461, 512))
QUICK_LAYERS = 2
LONG_FLOPS = 50 * 10**9
ITEMSIZE = {"fp32": 4, "bf16": 2}
RECIPE = Recipe(lr=0.01, scale=0.25)

# Floors for two cores: (shape, dtype) -> {rule: bound}.
_OVER_PAIR = {
    ("1024x2736", "fp32"): {"galore": 1.12, "fira": 1.15},
    ("1024x2736", "bf16"): {"galore": 1.6, "fira": 1.6},
    ("2048x5461", "bf16"): {"galore": 1.3, "fira": 1.3},
}
_OVER_OFFICIAL = {
    ("512x1376", "fp32"): {"galore": 1.2, "fira": 2.3},
    ("512x1376", "bf16"): {"galore": 1.5, "fira": 3.5},
    ("1024x2736", "fp32"): {"galore": 1.15, "fira": 2.0},
    ("1024x2736", "bf16"): {"galore": 1.8, "fira": 3.4},
    ("2048x5461", "fp32"): {"galore": 1.05, "fira": 1.8},
    ("2048x5461", "bf16"): {"galore": 1.6, "fira": 3.2},
}
_AMORTISED = {
    ("1024x2736", "fp32"): {"galore": 1.4, "fira": 2.2},
    ("1024x2736", "bf16"): {"galore": 2.4, "fira": 4.0},
    ("llama-60m", "fp32"): {"galore": 1.25, "fira": 2.2},
    ("llama-60m", "bf16"): {"galore": 2.0, "fira": 3.6},
}


def targets(rule: str, shape: str, dtype: str) -> tuple[Target, ...]:
    """The budgets of one case."""
    found = []
    for table, kind, baseline, ratio in (
        (_OVER_PAIR, "step", "pair", "over"),
        (_OVER_OFFICIAL, "step", "official", "speedup"),
        (_AMORTISED, "amortised", "official", "speedup"),
    ):
        if (bound := table.get((shape, dtype), {}).get(rule)) is not None:
            found.append(Target(kind, baseline, ratio, bound))
    return tuple(found)


def step_bytes(rule: str, m: int, n: int, rank: int, itemsize: int) -> int:
    """Traffic of one fused step on an m x n matrix.

    W is read and written and G read once (Fira: twice), the basis read twice, R written and read
    (Fira: twice more, with its norms), and both fp32 moments read and written.
    """
    k, q = min(m, n), max(m, n)
    r = min(rank, k)
    whole, low = (3, 2) if rule == "galore" else (4, 4)
    return (whole * m * n + low * r * q + 2 * k * r) * itemsize + 4 * r * q * 4


def step_flops(m: int, n: int, rank: int) -> int:
    """The two products, P'X and P N; element work is a hundredth of them and not counted."""
    return 4 * m * n * min(rank, m, n)


def step_flops_of(matrices: Matrices) -> int:
    """The products of all projected matrices."""
    return sum(step_flops(m, n, matrices.rank) for m, n in matrices.projected)


def plain_bytes(count: int, itemsize: int) -> int:
    """Adam on `count` elements: W read and written, G read, fp32 moments read and written."""
    return 3 * count * itemsize + 16 * count


def set_cost(rule: str, matrices: Matrices, itemsize: int) -> tuple[int, int]:
    """Bytes and FLOPs of one step over all matrices."""
    nbytes = sum(step_bytes(rule, m, n, matrices.rank, itemsize) for m, n in matrices.projected)
    nbytes += sum(plain_bytes(m * n, itemsize) for m, n in matrices.plain)
    return nbytes, step_flops_of(matrices)


def setup(rule: str, matrices: Matrices, dtype: str, quick: bool) -> Setup:
    """Every competitor on one set of matrices, without the slowest ones where those take long."""
    problem = Problem(matrices, dtype)
    backend, why = variants.serving(dtype)
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(variants.ours, problem, rule, RECIPE, backend, "subkern", why),
        "official": partial(baselines.official, problem, rule, RECIPE),
        "eager": partial(variants.ours, problem, rule, RECIPE, "reference", "eager"),
        "compiled": partial(compiled, problem, rule, RECIPE),
        "adamw-fused": partial(baselines.fused_adamw, problem),
        "pair": partial(baselines.pair, problem),
    }
    if quick:
        made["compiled"] = partial(Absent, "compiled", "left out by --quick")
    elif step_flops_of(matrices) > LONG_FLOPS:
        for name in ("eager", "compiled"):
            made[name] = partial(Absent, name, "left out of the largest sets: minutes")
    return Setup(list(variants.attempt(made)), ready=lambda: problem.advance(1))


def name(rule: str, shape: str, rank: int, dtype: str) -> str:
    """Of a case."""
    return f"{OP}-{rule}-{shape}-r{rank}-{dtype}"


def case(
    rule: str,
    shape: str,
    matrices: Matrices,
    dtype: str,
    setup: Callable[[bool], Setup],
    targets: tuple[Target, ...],
) -> Case:
    """A case of this op; its costs follow from the matrices."""
    nbytes, flops = set_cost(rule, matrices, ITEMSIZE[dtype])
    return Case(
        name=name(rule, shape, matrices.rank, dtype),
        op=OP,
        shape=shape,
        dtype=dtype,
        setup=setup,
        bytes=nbytes,
        flops=flops,
        gap=GAP,
        targets=targets,
        rank=matrices.rank,
    )


def cases(quick: bool = False) -> list[Case]:
    """Single matrices, then whole models; with `quick` only their first layers."""
    problems = [(f"{m}x{n}", Matrices(((m, n),), (), r)) for m, n, r in SHAPES]
    layers = QUICK_LAYERS if quick else None
    problems += [(name, llama.matrices(layers)) for name, llama in SETS.items()]
    return [
        case(
            rule,
            shape,
            matrices,
            dtype,
            partial(setup, rule, matrices, dtype),
            targets(rule, shape, dtype),
        )
        for shape, matrices in problems
        for rule in RULES
        for dtype in ITEMSIZE
    ]
