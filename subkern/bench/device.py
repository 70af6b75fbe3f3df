"""What differs between a CPU and a GPU when calls are timed: clock, caches, graphs, memory.

`Device` is the CPU. `CudaDevice` is its twin; everything it asks of the machine goes through one
object with the names of `torch.cuda`, so that tests run it on a CPU with a stand-in.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

from subkern.bench.memory import Transient, transient

# Read before each sample: several times the second-level cache of any GPU, and long enough at work
# (0.1 ms or more) that the host has launched a few kernels before the sample begins. Reading leaves
# clean lines; lines that a flush had written would be written back on the sample's time.
FLUSH_BYTES = 512 * 2**20


class Device:
    """The CPU: a call has ended when it returns."""

    type = "cpu"

    def __init__(self) -> None:
        self.where = torch.device("cpu")

    def synchronize(self) -> None:
        """Wait for everything that was started."""

    def sample(self, function: Callable[[], object], calls: int) -> tuple[float, float]:
        """Seconds per call, and seconds until a call returned to the host."""
        start = time.perf_counter()
        for _ in range(calls):
            function()
        spent = (time.perf_counter() - start) / calls
        return spent, spent

    def capture(self, function: Callable[[], object]) -> Callable[[], object] | None:
        """A call that replays what `function` does on the device; None where there is no such."""
        del function
        return None

    def transient(self, function: Callable[[], object]) -> Transient:
        """Bytes that one call of a warm `function` allocates."""
        return transient(function, warmup=0)

    def release(self) -> None:
        """Give unused memory back, reference cycles included."""
        gc.collect()


class CudaDevice(Device):
    """A GPU: events around each call, a cold second-level cache, graphs.

    Args:
        api: What offers `Event`, `Stream`, `CUDAGraph`, ... under the names of `torch.cuda`.
        where: Device of the tensors.
        flush_bytes: Size of the buffer that is read before each sample.
    """

    type = "cuda"

    def __init__(
        self, api: Any = torch.cuda, where: str = "cuda", flush_bytes: int = FLUSH_BYTES
    ) -> None:
        super().__init__()
        self.api, self.where = api, torch.device(where)
        self._flush = torch.zeros(flush_bytes // 4, device=self.where)
        self._sink = torch.empty((), device=self.where)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        self.api.synchronize()

    def cool(self) -> None:
        """Start to fill the second-level cache with lines that no call wants."""
        torch.sum(self._flush, dim=0, out=self._sink)

    def sample(self, function: Callable[[], object], calls: int) -> tuple[float, float]:
        """Mean over `calls` calls, each after a flush and between two events of its own."""
        device_ms = host = 0.0
        for _ in range(calls):
            start, end = (self.api.Event(enable_timing=True) for _ in range(2))
            self.api.synchronize()
            self.cool()
            start.record()
            before = time.perf_counter()
            function()
            host += time.perf_counter() - before
            end.record()
            end.synchronize()
            device_ms += start.elapsed_time(end)
        return device_ms / 1e3 / calls, host / calls

    def capture(self, function: Callable[[], object]) -> Callable[[], object] | None:
        """`function` as a CUDA graph; raises where it does what a graph cannot hold."""
        side = self.api.Stream()
        side.wait_stream(self.api.current_stream())
        with self.api.stream(side):
            function()
        self.api.current_stream().wait_stream(side)
        graph = self.api.CUDAGraph()
        with self.api.graph(graph):
            function()
        return graph.replay

    def transient(self, function: Callable[[], object]) -> Transient:
        """By the caching allocator's own statistics; the count of allocations with them."""
        self.api.synchronize()
        self.api.reset_peak_memory_stats()
        before, count = self.api.memory_allocated(), self._allocations()
        function()
        self.api.synchronize()
        return Transient(
            peak=self.api.max_memory_allocated() - before,
            kept=self.api.memory_allocated() - before,
            count=self._allocations() - count,
        )

    def _allocations(self) -> int:
        return self.api.memory_stats().get("allocation.all.allocated", 0)

    def release(self) -> None:
        """Collect cycles, then empty the allocator's cache."""
        super().release()
        self.api.synchronize()
        self.api.empty_cache()


CPU = Device()


def refusal(kind: str) -> str | None:
    """Why `--device kind` cannot be had here, or None."""
    if kind == "cpu":
        return None
    if torch.version.cuda is None:
        return f"no GPU: torch {torch.__version__} is a build without CUDA"
    return None if torch.cuda.is_available() else "no GPU: torch.cuda finds none"


def make(kind: str) -> Device:
    """The device of that kind; ask `refusal` first."""
    return CPU if kind == "cpu" else CudaDevice()
