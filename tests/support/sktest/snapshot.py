"""Did a call change anything? Copies of nested arguments, and their comparison."""

import torch


def snapshot(value):
    """Values, dtype and version of every tensor found in nested lists and dicts."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.layout != torch.strided:
            return (value.dtype, tuple(value.shape), value._version)
        return (value.dtype, tuple(value.shape), value._version, value.detach().clone())
    if isinstance(value, (list, tuple)):
        return [snapshot(v) for v in value]
    if isinstance(value, dict):
        return {k: snapshot(v) for k, v in value.items()}
    return value


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(torch.nan_to_num(a, 7.5e11), torch.nan_to_num(b, 7.5e11))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)
