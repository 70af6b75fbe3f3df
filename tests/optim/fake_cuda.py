"""CUDA tensors without CUDA: fakes that have a device and a shape, and refuse to be read.

Inside ``FakeCuda`` every tensor made on a CUDA device is fake. What would make the host wait for
the device raises ``HostWaits``: reading a value, an op that checks its result on the host, a copy
between pageable host memory and the device. CPU tensors stay real; those of one element may enter
arithmetic, as PyTorch passes them by value.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "unique"),
    *("masked_select", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig"),
    *("linalg_cholesky", "linalg_inv", "_linalg_solve_ex", "linalg_lstsq"),
}
COPIES = {"_to_copy", "copy_", "copy", "_foreach_copy_"}


class HostWaits(Exception):
    """The op would make the host wait for the device."""


class _Unguarded(TorchFunctionMode):
    """Calls whose Python binding asks for a device guard, which CPU builds lack, by other names."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.copy_ and isinstance(args[0], FakeTensor):
            torch._foreach_copy_([args[0]], [args[1].expand_as(args[0])])
            return args[0]
        if func is torch.Tensor.__invert__ and isinstance(args[0], FakeTensor):
            return torch.logical_not(args[0])
        if func is torch.Tensor.contiguous and isinstance(args[0], FakeTensor):
            return torch.clone(args[0], memory_format=torch.contiguous_format)
        if func is torch.Tensor.__getitem__ and isinstance(args[0], FakeTensor):
            return _indexed(args[0], args[1] if isinstance(args[1], tuple) else (args[1],))
        return func(*args, **(kwargs or {}))


def _indexed(t: Tensor, index: tuple) -> Tensor:
    """Basic indexing by the ops that it stands for; a mask is what the device would be read for."""
    dim = 0
    for item in index:
        if item is None:
            t, dim = t.unsqueeze(dim), dim + 1
        elif isinstance(item, int):
            t = t.select(dim, item)
        elif isinstance(item, slice):
            stop = t.shape[dim] if item.stop is None else item.stop
            t = torch.ops.aten.slice.Tensor(t, dim, item.start or 0, stop, item.step or 1)
            dim += 1
        else:
            return torch.masked_select(t, item)
    return t


class FakeCuda(TorchDispatchMode):
    """Mode under which CUDA tensors are fake; counts the ops that ran on them, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.calls: Counter[str] = Counter()
        self.unguarded = _Unguarded()

    def __enter__(self):
        self.unguarded.__enter__()
        self.fake.__enter__()  # below this mode, so that no device is initialized
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.fake.__exit__(*error)
        self.unguarded.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        fakes = [t for t in tensors if isinstance(t, FakeTensor)]
        device = torch.device(kwargs.get("device") or "cpu")
        if not fakes and device.type != "cuda":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        self.calls[name] += 1
        if name in READS:
            raise HostWaits(f"{name} reads the device")
        real = [t for t in tensors if not isinstance(t, FakeTensor)]
        crosses = real or (kwargs.get("device") is not None and device.type != "cuda")
        if (name in COPIES and crosses) or any(t.numel() > 1 for t in real):
            raise HostWaits(f"{name} copies between host and device")
        return func(*args, **kwargs)


class FakeStream:
    """Stands in for a CUDA stream; the log holds what was asked of it, in order."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: FakeStream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")

    def __enter__(self) -> None:
        self.log.append(f"on {self.name}")

    def __exit__(self, *_: object) -> None:
        self.log.append(f"off {self.name}")


def fake_streams(monkeypatch) -> list[str]:
    """Replace the streams of the optimizers by fakes; returns their common log."""
    from subkern.optim import _streams

    log: list[str] = []
    side: dict[torch.device, FakeStream] = {}

    def side_stream(device: torch.device) -> FakeStream:
        if device not in side:
            side[device] = FakeStream(f"side {device}", log)
        return side[device]

    monkeypatch.setattr(_streams, "_side_stream", side_stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda d: FakeStream(f"current {d}", log))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    return log
