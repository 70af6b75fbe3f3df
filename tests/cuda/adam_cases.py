"""Calls of the binding ``adam`` and their truth in float64."""

from __future__ import annotations

import torch
from sktest.tolerance import assert_close

from subkern.reference import adam as reference

CODES = {torch.float32: 0, torch.bfloat16: 1}
LISTS = ("W", "G", "exp_avg", "exp_avg_sq", "step", "skipped")
OPTIONS = dict(
    **dict(lr=0.5, lr_address=0, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1),
    **dict(post_decay=True, correct_bias=True, skip_nonfinite=True),
)


def inputs(sizes, dtype, device, offset=0, seed=0):
    """Lists of vectors after a few steps; ``offset`` elements past an aligned address."""
    generator = torch.Generator().manual_seed(seed)

    def place(values, stored):
        room = torch.empty(values.numel() + offset, dtype=stored, device=device)
        room[offset:] = values
        return room[offset:]

    lists = {name: [] for name in LISTS}
    for i, n in enumerate(sizes):
        size = torch.rand(n, generator=generator) + 0.5
        sign = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
        lists["W"].append(place(torch.randn(n, generator=generator), dtype))
        lists["G"].append(place(size * sign, dtype))
        lists["exp_avg"].append(place(0.1 * torch.randn(n, generator=generator), torch.float32))
        lists["exp_avg_sq"].append(place(torch.rand(n, generator=generator), torch.float32))
        lists["step"].append(torch.tensor(float(i % 7), device=device))
        lists["skipped"].append(torch.tensor(float(i), device=device))
    return lists


def copy(lists):
    """The same values in the same alignment."""

    def same(t):
        if not t.dim():
            return t.clone()
        start = t.storage_offset()
        return t.new_empty(t.numel() + start)[start:].copy_(t)

    return {name: [same(t) for t in tensors] for name, tensors in lists.items()}


def arguments(kernels, lists, **changes):
    """Keyword arguments of the binding, and the scratch to keep alive."""
    numel = [w.numel() for w in lists["W"]]
    floats = kernels.module.adam_workspace(numel=numel) // 4
    # What a caching allocator hands out: anything.
    scratch = torch.full((floats,), -1, dtype=torch.int32, device=kernels.device)
    call = {name: [t.data_ptr() for t in tensors] for name, tensors in lists.items()}
    call |= dict(numel=numel, w_dtype=CODES[lists["W"][0].dtype] if numel else 0)
    call |= dict(scratch=scratch.data_ptr(), scratch_bytes=4 * floats)
    return call | OPTIONS | kernels.queue | changes, scratch


def run(kernels, lists, **changes):
    """One call; returns every written tensor."""
    call, _scratch = arguments(kernels, lists, **changes)
    kernels.module.adam(**call)
    return [t for name in LISTS if name != "G" for t in lists[name]]


def check(lists, before, **changes):
    """Everything against the float64 truth of one step."""
    o = {**OPTIONS, **changes}
    lr = torch.tensor(o["lr"], dtype=torch.float64)
    for i, start in enumerate(before["W"]):
        W, G, M, V = (before[name][i].cpu().double() for name in LISTS[:4])
        t, eta = reference.step_size(
            lr, before["step"][i].cpu(), o["beta1"], o["beta2"], o["correct_bias"]
        )
        M, V, N = reference.moments(G, M, V, o["beta1"], o["beta2"], o["eps"])
        decay = "post" if o["post_decay"] else "pre"
        W = reference.updated(W, N, eta, lr, o["weight_decay"], decay)
        change = W - start.cpu().double()
        for name, exact in (("W", W), ("exp_avg", M), ("exp_avg_sq", V)):
            got, old = lists[name][i].cpu(), before[name][i].cpu().double()
            change = exact - old
            assert_close(f"{name}[{i}]", got, exact, 1, work=torch.float32, change=change)
        assert lists["step"][i] == t
        assert lists["skipped"][i] == before["skipped"][i]
