"""What the cases of the linear algebra ops share: competitors on one batch, verified, then timed.

Floors on a CPU hold for one thread, so that each competitor has its own thread count and the rows
of two threads stand beside those of one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench.accuracy import Error, judge
from subkern.bench.registry import DTYPES, Absent, Case, Setup, Variant
from subkern.bench.targets import Budget, Target
from subkern.bench.variants import PICKS, attempt

# What a second thread must bring, from this many matrices on.
SECOND_THREAD = 1.7
SECOND_THREAD_BATCH = 256
ITEMSIZE = {"fp32": 4, "bf16": 2}

Call = Callable[[], Any]
Judge = Callable[[Any], Sequence[Error]]


def normal_batch(batch: int, m: int, n: int, dtype: str, where: str, seed: int = 0) -> Tensor:
    """Normal matrices, the same on every device."""
    generator = torch.Generator().manual_seed(1009 * m + n + seed)
    made = torch.randn(batch, m, n, generator=generator)
    return made.to(where, DTYPES[dtype])


def one_by_one(where: str, m: int, n: int) -> bool:
    """Whether torch.linalg on a GPU factors a batch matrix after matrix, for seconds a call.

    The library's batched Jacobi kernels end at 32 x 32.
    """
    return torch.device(where).type != "cpu" and max(m, n) > 32


def competitor(
    name: str,
    call: Call,
    errors: Judge,
    *,
    held: bool = False,
    once: bool = False,
    measured: Callable[[Any, Variant], None] | None = None,
    **more: Any,
) -> Variant:
    """A way to compute something.

    Args:
        name: Of the report.
        call: What is timed.
        errors: Of what `call` returned.
        held: Whether the contract's bounds hold for it; else its errors are shown alone.
        once: Too slow for a second call: verified on the result of the timed one.
        measured: Leaves further facts with the variant.
        more: Fields of `Variant`.
    """
    kept: list[Any] = []

    def step() -> None:
        kept[:] = [call()]

    def check() -> str | None:
        if not kept:
            step()
        result = kept[0]
        if measured is not None:
            measured(result, variant)
        return judge(variant, errors(result), held)

    def first() -> str | None:
        kept.clear()
        wrong = check()
        kept.clear()
        return wrong

    variant = Variant(
        name,
        step if once else call,
        (lambda: None) if once else first,
        confirm=check if once else (lambda: None),
        once=once,
        **more,
    )
    return variant


def serving(op: Callable[..., object], where: str) -> tuple[str, str]:
    """The backend that takes a small call on this device, and why no better one does.

    Args:
        op: Takes `backend=` alone.
        where: Device type of the call's tensors.
    """
    from subkern import BackendUnavailableError

    reasons = []
    for backend in PICKS[torch.device(where).type]:
        try:
            op(backend=backend)
        except BackendUnavailableError as error:
            reasons.append(f"no {backend} kernels: {error}")
        else:
            return backend, "; ".join(reasons)
    return "reference", "; ".join(reasons)


def competitors(
    op: Callable[..., Any],
    probe: Callable[..., Any],
    peers: Mapping[str, Call],
    errors: Judge,
    where: str,
    *,
    two_threads: bool = False,
    notes: Mapping[str, str] | None = None,
    once: Collection[str] = (),
    own: Collection[str] = (),
    capturable: bool = True,
) -> Setup:
    """Ours and the baselines on one input; on a CPU at one thread, and ours at two.

    Args:
        op: Our call on the case's input; takes `backend=`.
        probe: The same on a small input.
        peers: Baselines by name.
        errors: Of what any of them returns.
        where: Device of the tensors.
        two_threads: Whether the batch is large enough to be shared.
        notes: Remarks on the baselines.
        once: Baselines that are too slow to be called again and again.
        own: Baselines that are ours as well, by another op or other options.
        capturable: Whether a CUDA graph may hold ours.
    """
    notes = notes or {}
    backend, why = serving(probe, where)
    on_cpu = torch.device(where).type == "cpu"
    one: dict[str, Any] = {"threads": 1} if on_cpu else {}
    call = partial(op, backend=backend)
    ours: dict[str, Any] = {"errors": errors, "held": True, "backend": backend}
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(
            competitor, "subkern", call, note=why, capturable=capturable, **ours, **one
        )
    }
    by = {name: backend if name in own else "torch" for name in peers}
    for name, peer in peers.items():
        made[name] = partial(
            competitor, name, peer, errors, once=name in once, note=notes.get(name, ""),
            capturable=False, backend=by[name], **one,
        )  # fmt: skip
    if on_cpu and two_threads:
        made["subkern-2"] = partial(competitor, "subkern-2", call, threads=2, **ours)
        for name, peer in peers.items():
            made[f"{name}-2"] = partial(
                competitor, f"{name}-2", peer, errors, threads=2, backend=by[name]
            )
    return Setup(list(attempt(made)))


def targets(
    floor: float | None, peer: str, batch: int, *, where: str, budget_s: float | None = None
) -> tuple[Target | Budget, ...]:
    """A floor against a baseline, the second thread's on a CPU, a budget on a GPU."""
    found: list[Target | Budget] = []
    if floor is not None:
        found.append(Target("step", peer, "speedup", floor))
    if torch.device(where).type == "cpu" and batch >= SECOND_THREAD_BATCH:
        found.append(Target("step", "subkern", "speedup", SECOND_THREAD, variant="subkern-2"))
    if budget_s is not None:
        found.append(Budget("step", budget_s))
    return tuple(found)


def batch_case(
    op: str,
    batch: int,
    m: int,
    n: int,
    dtype: str,
    setup: Callable[[bool], Setup],
    cost: tuple[int, int],
    bounds: tuple[Target | Budget, ...],
) -> Case:
    """A case of `batch` matrices m x n; `cost` is bytes and FLOPs of one matrix."""
    return Case(
        name=f"{op}-{m}x{n}-b{batch}-{dtype}",
        op=op,
        shape=f"{m}x{n}",
        dtype=dtype,
        setup=setup,
        bytes=batch * cost[0],
        flops=batch * cost[1],
        targets=bounds,
        batch=batch,
    )
