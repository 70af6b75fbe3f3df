"""A stand-in for torch.cuda that runs on the CPU: what the benchmark harness asks of a GPU.

Its clock is made up: each call that a test declares with `work` advances it.
"""

from contextlib import contextmanager


class FakeCuda:
    """Events on a clock that only `work` moves; graphs that repeat the captured calls."""

    def __init__(self):
        self.now_ms = 0.0
        self.log = []
        self.allocated = self.peak = self.allocations = 0
        self.capturing = None

    def work(self, milliseconds, nbytes=0):
        """Device work of a call; host code calls it, a graph replays it."""
        if self.capturing is not None:
            self.capturing.append((milliseconds, nbytes))
            return
        self.now_ms += milliseconds
        self.log.append("work")
        self.peak = max(self.peak, self.allocated + nbytes)
        self.allocations += nbytes > 0

    def read(self):
        """A host read, which no graph can hold."""
        if self.capturing is not None:
            raise RuntimeError("operation not permitted when stream is capturing")

    def Event(self, enable_timing):
        return _Event(self, enable_timing)

    def CUDAGraph(self):
        return _Graph(self)

    def Stream(self):
        return _Stream()

    def current_stream(self):
        return _Stream()

    @contextmanager
    def stream(self, stream):
        self.log.append("side stream")
        yield

    @contextmanager
    def graph(self, graph):
        self.capturing = []
        try:
            yield
            graph.calls = self.capturing
        finally:
            self.capturing = None

    def synchronize(self):
        self.log.append("synchronize")

    def empty_cache(self):
        self.log.append("empty_cache")

    def reset_peak_memory_stats(self):
        self.peak = self.allocated

    def memory_allocated(self):
        return self.allocated

    def max_memory_allocated(self):
        return self.peak

    def memory_stats(self):
        return {"allocation.all.allocated": self.allocations}


class _Stream:
    def wait_stream(self, other):
        assert isinstance(other, _Stream)


class _Event:
    def __init__(self, api, enable_timing):
        assert enable_timing
        self.api = api

    def record(self):
        self.at_ms = self.api.now_ms
        self.api.log.append("record")

    def synchronize(self):
        self.api.log.append("wait")

    def elapsed_time(self, end):
        return end.at_ms - self.at_ms


class _Graph:
    def __init__(self, api):
        self.api = api

    def replay(self):
        assert self.calls, "a graph without work"
        for milliseconds, nbytes in self.calls:
            self.api.work(milliseconds, nbytes)
