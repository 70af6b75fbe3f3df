"""What the unprojected Adam step costs: embeddings, heads, vectors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from subkern.bench import baselines, variants
from subkern.bench.compiled import compiled
from subkern.bench.llama_sets import GPU_SETS, Llama, Matrices
from subkern.bench.lowrank_adam import ITEMSIZE, plain_bytes
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent, Case, Setup, Variant
from subkern.bench.targets import FLOOR, Target
from subkern.bench.truth import Recipe

OP = "adam"
GPU_BACKENDS = ("triton", "cuda")
RECIPE = Recipe(lr=1e-3)
PROBLEMS = {
    "1024x2736": ((1024, 2736),),
    "32000x512": ((32000, 512),),
    # Many small tensors: what a call costs beyond its bytes.
    "256x1x512": ((1, 512),) * 256,
}


def setup(
    shapes: tuple[tuple[int, int], ...],
    dtype: str,
    quick: bool,
    where: str = "cpu",
    backends: Sequence[str] = (),
) -> Setup:
    """The engine's unprojected path beside torch's fused AdamW and the published package."""
    problem = Problem(Matrices((), shapes, 0), dtype, where)
    backend, why = variants.serving(dtype, where)
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(variants.ours, problem, "galore", RECIPE, backend, "subkern", why),
        "adamw-fused": partial(baselines.fused_adamw, problem),
        "official": partial(baselines.official, problem, "galore", RECIPE),
        "eager": partial(variants.ours, problem, "galore", RECIPE, "reference", "eager"),
        "compiled": partial(compiled, problem, "galore", RECIPE),
    }
    for name in backends:
        made[name] = partial(variants.one_backend, problem, "galore", RECIPE, name)
    if quick:
        made["compiled"] = partial(Absent, "compiled", "left out by --quick")
    return Setup(list(variants.attempt(made)))


def _case(
    shape: str,
    shapes: tuple[tuple[int, int], ...],
    dtype: str,
    setup: Callable[[bool], Setup],
    targets: tuple[Target, ...],
) -> Case:
    nbytes = plain_bytes(sum(m * n for m, n in shapes), ITEMSIZE[dtype])
    return Case(f"{OP}-{shape}-{dtype}", OP, shape, dtype, setup, nbytes, 0, targets=targets)


def cases(quick: bool = False) -> list[Case]:
    """One large matrix, an embedding, and many vectors."""
    del quick
    # As fast as torch's, give or take the noise of two equal times.
    even = (Target("step", "adamw-fused", "over", 1.05),)
    return [
        _case(shape, shapes, dtype, partial(setup, shapes, dtype), even)
        for shape, shapes in PROBLEMS.items()
        for dtype in ITEMSIZE
    ]


def gpu_cases(where: str = "cuda", sets: Mapping[str, Llama] = GPU_SETS) -> list[Case]:
    """What the 1B model does not project: embedding, head and the vectors of its norms.

    Torch's moments are bfloat16 for bfloat16 weights and ours are float32, 22 bytes an element
    against 14, so that dense AdamW bounds the float32 case alone.
    """
    llama = sets["llama-1b"]
    shapes = (*llama.matrices().plain, *(((1, llama.hidden),) * (2 * llama.layers + 1)))
    floor = Target("step", FLOOR, "over", 1.3)
    even = Target("step", "adamw-fused", "over", 1.2)
    return [
        _case(
            "llama-1b-plain",
            shapes,
            dtype,
            partial(setup, shapes, dtype, where=where, backends=GPU_BACKENDS),
            (floor, even) if dtype == "fp32" else (floor,),
        )
        for dtype in ("bf16", "fp32")
    ]
