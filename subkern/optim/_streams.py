"""Work beside the current stream: one side stream per CUDA device, made on first use."""

from __future__ import annotations

import contextlib
import functools

import torch


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def is_capturing() -> bool:
    """Whether the current stream records a CUDA graph; never initializes CUDA."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


class SideStreams:
    """Launches that run beside the current streams from their first ``on`` to ``join``.

    A side stream waits for everything launched before its first use, and ``join`` makes the current
    stream wait for it. No tensor needs record_stream: what the side stream reads and writes
    (gradients, states) comes from the current stream's pool and is freed, at the earliest, after
    the join, so that its next owner on the current stream is ordered after the last use here; what
    is allocated beside stays in the side stream's pool and is used nowhere else.
    Devices without CUDA streams run everything in order.
    """

    def __init__(self) -> None:
        self._used: dict[torch.device, torch.cuda.Stream] = {}

    def on(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """Context in which launches for ``device`` go to its side stream."""
        if device.type != "cuda":
            return contextlib.nullcontext()
        if device not in self._used:
            stream = _side_stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            self._used[device] = stream
        return torch.cuda.stream(self._used[device])

    def join(self) -> None:
        """Make the current streams wait for what was launched beside them."""
        for device, stream in self._used.items():
            torch.cuda.current_stream(device).wait_stream(stream)
        self._used.clear()
