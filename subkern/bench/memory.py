"""Transient memory of a call: what it allocates while it runs, measured.

Every allocation that goes through torch's CPU allocator is seen, those inside ATen and inside
oneDNN's scratchpads included. Memory that a native library takes from malloc itself is not.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Transient:
    """Bytes that a call allocated.

    Attributes:
        peak: Most bytes held at one time beyond those held at the start.
        kept: Bytes still held at the end (a lazily created state, say).
        count: Number of allocations.
        total: Sum of all allocations; None where only counters are kept.
        largest: The largest single allocation; None likewise.
    """

    peak: int
    kept: int
    count: int
    total: int | None = None
    largest: int | None = None


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """The profiler writes notes of its own to file descriptor 2, at start, frees and stop."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(null)
        os.close(saved)


def from_events(events: Iterable[tuple[int, int]]) -> Transient:
    """Replay (address, bytes) events in order; negative bytes free an address.

    A free of memory that was there before the first event is not a gain of this call.
    """
    live: dict[int, int] = {}
    held = peak = total = largest = count = 0
    for address, size in events:
        if size >= 0:
            live[address] = size
            held += size
            total += size
            count += 1
            peak = max(peak, held)
            largest = max(largest, size)
        else:
            held -= live.pop(address, 0)
    return Transient(peak, held, count, total, largest)


def transient(function: Callable[[], object], *, warmup: int = 1) -> Transient:
    """Measure what `function` allocates on the CPU.

    Args:
        function: Called `warmup` times unobserved, so that lazy state is not counted, then once.
        warmup: Number of unobserved calls.

    Returns:
        Peak, kept, total and largest bytes of the observed call.

    Example:
        >>> x, out = torch.ones(256), torch.empty(256)
        >>> transient(lambda: torch.add(x * x, x, out=out)).peak
        1024
    """
    for _ in range(warmup):
        function()
    session = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with _quiet_stderr(), session:
        function()
    with tempfile.TemporaryDirectory() as folder:
        # The exported trace is public, its events carry addresses; the profiler's own lists do not.
        trace = Path(folder) / "trace.json"
        session.export_chrome_trace(str(trace))
        recorded = json.loads(trace.read_text())["traceEvents"]
    memory = [event for event in recorded if event.get("name") == "[memory]"]
    memory.sort(key=lambda event: event["args"]["Ev Idx"])
    cpu = (event["args"] for event in memory if event["args"]["Device Type"] == 0)
    return from_events((arg["Addr"], arg["Bytes"]) for arg in cpu)


def scratch_limit(rank: int, longer: int, itemsize: int) -> int:
    """Bytes that an optimizer step may hold on the CPU: max(32 MB, r x max(m, n) elements)."""
    return max(32 * 1024 * 1024, rank * longer * itemsize)


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
