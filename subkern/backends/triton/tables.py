"""Tables of addresses on the device, kept as long as the addresses repeat."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

# Tables kept at once: a model has a few per group of parameters, and gradients that are freed and
# allocated anew come back at a few addresses.
LARGEST = 256

# By content, then by stream: another stream would have to wait for the copy.
_tables: OrderedDict[tuple, dict[int, Tensor]] = OrderedDict()
# Pinned bytes that a capture takes its tables from. It cannot always allocate some: CUDA forbids
# that while a stream is captured, and not every torch lifts the ban for itself.
RESERVE = 1 << 20
_reserve: list[Tensor] = []
# What captured graphs read, on the device and on the host: a graph may be replayed for ever.
_captured: list[Tensor] = []
_lock = threading.Lock()  # optimizers of several threads step at once


def table(
    rows: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype = torch.int64
) -> Tensor:
    """The rows (equally long) as one matrix of integers on ``device``."""
    key = (dtype, device, len(rows), *(value for row in rows for value in row))
    with _lock:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return _under_capture(key, rows, device, dtype)
        return _cached(key, rows, device, dtype)


def _cached(
    key: tuple, rows: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """A table from the cache, copied to the device where it is not there yet."""
    on_gpu = device.type == "cuda"
    stream = torch.cuda.current_stream(device).cuda_stream if on_gpu else 0
    streams = _tables.setdefault(key, {})
    _tables.move_to_end(key)
    if stream not in streams:
        if on_gpu and (not _reserve or _reserve[0].numel() < RESERVE // 2):
            _reserve[:] = [torch.empty(RESERVE, dtype=torch.uint8, device="cpu", pin_memory=True)]
        host = torch.tensor(rows, dtype=dtype, device="cpu")
        streams[stream] = host.pin_memory().to(device, non_blocking=True) if on_gpu else host
        if len(_tables) > LARGEST:
            _tables.popitem(last=False)
    return streams[stream]


def _under_capture(
    key: tuple, rows: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """A table made before the capture, which has waited for the device, or one the graph copies."""
    made = next(iter(_tables.get(key, {}).values()), None)
    if made is None:
        # Not for other graphs: it holds nothing before this one's first replay.
        host = _reserved(torch.tensor(rows, dtype=dtype, device="cpu"))
        _captured.append(host)
        made = host.to(device, non_blocking=True)
    _captured.append(made)
    return made


def _reserved(values: Tensor) -> Tensor:
    """The values in pinned memory of their own, from the reserve if it is large enough."""
    size = -(-values.nbytes // 16) * 16
    if not _reserve or _reserve[0].numel() < size:
        return values.pin_memory()
    host, _reserve[0] = _reserve[0][: values.nbytes], _reserve[0][size:]
    return host.view(values.dtype).view(values.shape).copy_(values)
