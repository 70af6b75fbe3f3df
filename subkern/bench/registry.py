"""Cases and what they are made of; each op's file contributes its own.

A case is cheap to list: nothing is allocated before its `setup` runs.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from subkern.bench.targets import Budget, Target

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def nothing() -> None:
    """A callable that does nothing, for variants without a warm-up or a tidy-up."""


def correct() -> None:
    """A check that finds nothing wrong."""


@dataclass
class Variant:
    """One competitor of a case, on its own copy of the state.

    Attributes:
        name: Column of the report.
        step: The call that is timed.
        verify: Returns None when the output is right, else what is wrong with it; it may call
            `step` and `refresh`, and runs before anything is timed.
        refresh: The same step with a refresh of the basis in it, when there is such a thing.
        refresh_parts: For a refresh too slow to repeat as a whole: (how often, one of them). Its
            cost is then `step` plus the sum of the parts.
        drifted: Runs once between verification and timing, after `Setup.ready`.
        confirm: Like `verify`, but after the timing: for a call too slow to be made twice.
        once: Too slow to repeat: a single call is timed, without a warm-up.
        capturable: A CUDA graph may hold `step`; False where it reads values on the host.
        refreshless: It has no basis, so that its amortised cost is that of any step.
        bytes: Traffic by formula where it is not the case's.
        flops: Operations by formula where they are not the case's.
        backend: What serves the call.
        note: A remark for the report.
        context: Wrapped around verification and timing.
        facts: Measured numbers that `verify` leaves for the report.
        threads: torch's thread count around every call; the run's when None.
        accuracy: Errors by name that `verify` leaves for the report, right or wrong.
        lapack_ratio: The largest of them over (max(m, n) eps), as LAPACK's own tests count.
    """

    name: str
    step: Callable[[], object]
    verify: Callable[[], str | None]
    refresh: Callable[[], object] | None = None
    refresh_parts: Sequence[tuple[int, Callable[[], object]]] = ()
    drifted: Callable[[], object] = nothing
    confirm: Callable[[], str | None] = correct
    once: bool = False
    capturable: bool = True
    refreshless: bool = False
    bytes: int | None = None
    flops: int | None = None
    backend: str = "torch"
    note: str = ""
    context: Callable[[], Any] = nullcontext
    facts: dict[str, float] = field(default_factory=dict)
    threads: int | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    lapack_ratio: float | None = None


@dataclass
class Absent:
    """A competitor that cannot run here, and why."""

    name: str
    reason: str


@dataclass
class Setup:
    """What a case's `setup` makes.

    Attributes:
        variants: The competitors; with `alone` an iterator that makes each when asked for it.
        start: Runs before verification: the first inputs.
        ready: Runs once between verification and timing: fresh inputs.
        alone: Together they do not fit in memory: each is verified, timed and dropped by itself.
    """

    variants: Iterable[Variant | Absent]
    start: Callable[[], object] = nothing
    ready: Callable[[], object] = nothing
    alone: bool = False


@dataclass(frozen=True)
class Case:
    """One line of the list.

    Attributes:
        name: Unique, e.g. ``lowrank_adam-galore-1024x2736-r256-fp32``.
        op: The op's stem.
        shape: As the user types it, ``1024x2736``, or a set's name.
        dtype: "fp32" or "bf16".
        setup: Makes the variants; takes `quick`.
        bytes: Memory traffic of one step by formula.
        flops: Floating-point operations of one step by formula.
        ours: Name of the variant that targets speak of.
        gap: Steps per refresh in the amortised cost, 0 when nothing is refreshed.
        targets: Budgets.
        rank: 0 where there is none.
        batch: Matrices of a call.
        energy_against: Variants of which ours must capture no less; without any, ours must
            capture a fixed share of the best. None: energies are shown, not judged.
        energy_variant: Whose energy is judged; that of the case's own when empty.
    """

    name: str
    op: str
    shape: str
    dtype: str
    setup: Callable[[bool], Setup]
    bytes: int
    flops: int
    ours: str = "subkern"
    gap: int = 0
    targets: tuple[Target | Budget, ...] = ()
    rank: int = 0
    batch: int = 1
    energy_against: tuple[str, ...] | None = ()
    energy_variant: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"Case: dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")


def select(
    cases: Sequence[Case],
    *,
    op: str | None = None,
    shape: str | None = None,
    dtype: str | None = None,
    match: str | None = None,
) -> list[Case]:
    """The cases that fit every filter given.

    Raises:
        ValueError: A filter names something that no case has, or nothing fits all of them.
    """
    ops = None if op is None else op.split(",")
    for flag, wanted, known in (
        *(("--op", name, [case.op for case in cases]) for name in ops or ()),
        ("--shape", shape, [case.shape for case in cases]),
        ("--dtype", dtype, [case.dtype for case in cases]),
    ):
        if wanted is not None and wanted not in known:
            names = ", ".join(dict.fromkeys(known))
            raise ValueError(f"bench: {flag} must be one of {names}, got {wanted!r}")
    chosen = [
        case
        for case in cases
        if (ops is None or case.op in ops)
        and shape in (None, case.shape)
        and dtype in (None, case.dtype)
        and (match is None or match in case.name)
    ]
    if not chosen:
        raise ValueError("bench: --op, --shape, --dtype and --match must leave a case, got none")
    return chosen


def relative_error(got: torch.Tensor, want: torch.Tensor, start: torch.Tensor) -> float:
    """Frobenius error of `got` relative to how far `want` moved from `start`, in fp64."""
    want = want.double()
    moved = torch.linalg.vector_norm(want - start.double()).item()
    missed = torch.linalg.vector_norm(got.double() - want).item()
    if not math.isfinite(missed):
        return math.inf
    return missed / max(moved, 1e-300)


@contextmanager
def forced_backend(name: str) -> Iterator[None]:
    """`subkern.backend(name)`, imported when used."""
    import subkern

    with subkern.backend(name):
        yield
