"""What the unprojected Adam step costs: embeddings, heads, vectors."""

from collections.abc import Callable
from functools import partial

from subkern.bench import variants
from subkern.bench.compiled import compiled
from subkern.bench.llama_sets import Matrices
from subkern.bench.lowrank_adam import ITEMSIZE, plain_bytes
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Case, Setup, Target, Variant
from subkern.bench.truth import Recipe

OP = "adam"
RECIPE = Recipe(lr=1e-3)
PROBLEMS = {
    "1024x2736": ((1024, 2736),),
    "32000x512": ((32000, 512),),
    # Many small tensors: what a call costs beyond its bytes.
    "256x1x512": ((1, 512),) * 256,
}


def setup(shapes: tuple[tuple[int, int], ...], dtype: str, quick: bool) -> Setup:
    """The engine's unprojected path beside torch's fused AdamW and the published package."""
    problem = Problem(Matrices((), shapes, 0), dtype)
    backend, why = variants.serving(dtype)
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(variants.ours, problem, "galore", RECIPE, backend, "subkern", why),
        "adamw-fused": partial(variants.fused_adamw, problem),
        "official": partial(variants.official, problem, "galore", RECIPE),
        "eager": partial(variants.ours, problem, "galore", RECIPE, "reference", "eager"),
        "compiled": partial(compiled, problem, "galore", RECIPE),
    }
    if quick:
        made["compiled"] = partial(Absent, "compiled", "left out by --quick")
    return Setup(variants.attempt(made))


def cases(quick: bool = False) -> list[Case]:
    """One large matrix, an embedding, and many vectors."""
    del quick
    return [
        Case(
            name=f"{OP}-{shape}-{dtype}",
            op=OP,
            shape=shape,
            dtype=dtype,
            setup=partial(setup, shapes, dtype),
            bytes=plain_bytes(sum(m * n for m, n in shapes), itemsize),
            flops=0,
            # As fast as torch's, give or take the noise of two equal times.
            targets=(Target("step", "adamw-fused", "over", 1.05),),
        )
        for shape, shapes in PROBLEMS.items()
        for dtype, itemsize in ITEMSIZE.items()
    ]
