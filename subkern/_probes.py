"""A tiny real call of every op, by which a backend shows that it works."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern import ops
from subkern.backends import native
from subkern.reference import cg_step

GPU_BACKENDS = ("triton", "cuda")


def _device_of(backend: str) -> str:
    """Where a backend's probe runs: a GPU's on the GPU, unless the emulator stands in for it."""
    if backend not in GPU_BACKENDS or not torch.cuda.is_available():
        return "cpu"
    emulated = native.refusal("_CUDA") is None and native.module("_CUDA").emulated
    return "cpu" if backend == "cuda" and emulated else "cuda"


def _probe_adam(backend: str) -> list[Tensor]:
    generator, device = torch.Generator().manual_seed(0), _device_of(backend)
    w, g = (torch.randn(37, generator=generator).to(device) for _ in range(2))
    m, v = (torch.zeros(37, device=device) for _ in range(2))
    t, skips = (torch.zeros((), device=device) for _ in range(2))
    ops.adam_([w], [g], [m], [v], [t], [skips], lr=0.1, weight_decay=0.1, backend=backend)
    return [x.cpu() for x in (w, m, v, t)]


def _probe_lowrank_adam(backend: str) -> list[Tensor]:
    generator, device = torch.Generator().manual_seed(0), _device_of(backend)
    W, G = (torch.randn(40, 64, generator=generator).to(device) for _ in range(2))
    P = torch.linalg.qr(torch.randn(40, 8, generator=generator))[0].to(device)
    M, V = (torch.zeros(8, 64, device=device) for _ in range(2))
    t, skips, limiter = (torch.zeros((), device=device) for _ in range(3))
    state = ([W], [G], [P], [M], [V], [t], [skips], [limiter])
    ops.lowrank_adam_(*state, rule="fira", lr=0.1, scale=0.25, backend=backend)
    return [x.cpu() for x in (W, M, V, t, limiter)]


def _probe_sst_adamw(backend: str) -> list[Tensor]:
    generator, device = torch.Generator().manual_seed(0), _device_of(backend)
    table = torch.eye(5, 9, device=device)
    rows = torch.tensor([3, 1], device=device)
    params = [torch.rand(5, generator=generator).to(device), table[rows]]
    grads = [torch.randn(p.shape, generator=generator).to(device) for p in params]
    moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
    counts = [[torch.zeros((), device=device) for _ in params] for _ in range(2)]
    lists = (params, grads, *moments, *counts, [table], [rows])
    ops.sst_adamw_(*lists, lr=0.1, backend=backend)
    return [x.cpu() for x in (*params, *moments[0], *moments[1], table)]


def _probe_matrices(backend: str) -> Tensor:
    return torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0)).to(_device_of(backend))


def _probe_svd_small(backend: str) -> list[Tensor]:
    return [x.cpu() for x in ops.svd_small(_probe_matrices(backend), backend=backend)]


def _probe_svd_factored(backend: str) -> list[Tensor]:
    X = _probe_matrices(backend)
    return [x.cpu() for x in ops.svd_factored(X.mT, X[:, 0].abs(), X.mT, backend=backend)]


def _probe_eigh_small(backend: str) -> list[Tensor]:
    X = _probe_matrices(backend)
    return [x.cpu() for x in ops.eigh_small(X.mT @ X, backend=backend)]


def _probe_orthonormalize(backend: str) -> list[Tensor]:
    Y = _probe_matrices(backend)
    return [x.cpu() for x in ops.orthonormalize(Y, return_r=True, backend=backend)]


def _probe_rsvd(backend: str) -> list[Tensor]:
    return [x.cpu() for x in ops.rsvd(_probe_matrices(backend), 2, backend=backend)]


def _probe_topk_subspace(backend: str) -> list[Tensor]:
    found = ops.topk_subspace(_probe_matrices(backend), 2, order=True, backend=backend)
    assert found.energy is not None
    assert found.values is not None
    basis = found.basis.cpu()
    return [basis @ basis.mT, found.energy.cpu(), found.values.cpu()]  # columns may change sign


def _probe_gram(backend: str) -> list[Tensor]:
    X = torch.randn(3, 40, 9, generator=torch.Generator().manual_seed(0)).to(_device_of(backend))
    return [ops.gram(X, side, backend=backend).cpu() for side in ("right", "left")]


def _probe_polar(backend: str) -> list[Tensor]:
    X = torch.randn(2, 12, 30, generator=torch.Generator().manual_seed(0)).to(_device_of(backend))
    return [
        ops.polar(X, preset=preset, dtype=torch.float32, backend=backend).cpu()
        for preset in ("direction", "orthogonal")
    ]


def _probe_sample_without_replacement(backend: str) -> list[Tensor]:
    weights, rows = _probe_matrices(backend).abs().split([1, 3], dim=-1)
    drawn = ops.sample_without_replacement(
        weights[..., 0], 4, seed=1, gather=(rows,), info=True, backend=backend
    )
    assert drawn.info is not None
    return [x.cpu() for x in (drawn.idx, *drawn.gathered, drawn.info)]


def _probe_scan(backend: str) -> list[Tensor]:
    return [ops.scan.scan(_probe_matrices(backend), backend=backend).cpu()]


def _probe_vectors(backend: str, count: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 37, generator=generator).to(_device_of(backend)).unbind()


def _probe_group_dot(backend: str) -> list[Tensor]:
    u, v = _probe_vectors(backend, 2)
    return [ops.group_dot.group_dot(u, v, backend=backend).cpu()]


def _probe_combine(backend: str) -> list[Tensor]:
    z, *basis = _probe_vectors(backend, 6)
    c = z[:, :5].double().contiguous()
    return [ops.combine.combine(z, torch.stack(basis, 1), c, backend=backend).cpu()]


def _probe_state(v: Tensor) -> Tensor:
    """Three groups: one that moves, one that is done, one whose curvature will be negative."""
    rr = v.double().square().sum(1)
    state = cg_step.start(rr, rr, 0.0, 0.0, 0.0)
    state[1, cg_step.STATUS] = cg_step.CONVERGED
    return state


def _probe_cg_start(backend: str) -> list[Tensor]:
    r, b = _probe_vectors(backend, 2)
    found = ((None, 0.0, 0.0), (b, 1.0, 0.0))
    return [ops.cg_step.cg_start(r, *given, backend=backend).cpu() for given in found]


def _probe_cg_step_residual(backend: str) -> list[Tensor]:
    r, q = _probe_vectors(backend, 2)
    state, curvature = _probe_state(r), r.new_tensor([50.0, 50.0, -1.0], dtype=torch.float64)
    ops.cg_step.cg_step_residual_(r, q, curvature, state, backend=backend)
    return [x.cpu() for x in (r, state)]


def _probe_cg_step_direction(backend: str) -> list[Tensor]:
    x, p, z = _probe_vectors(backend, 3)
    state = _probe_state(z)
    state[0, cg_step.ALPHA], state[0, cg_step.BETA] = 0.5, 0.25
    ops.cg_step.cg_step_direction_(x, p, z, state, backend=backend)
    return [x.cpu(), p.cpu()]


def _probe_cg_step(backend: str) -> list[Tensor]:
    x, r, p = _probe_vectors(backend, 3)
    state = _probe_state(r)
    ops.cg_step.cg_step_(x, r, p, 2.0 * p, None, state, backend=backend)
    return [t.cpu() for t in (x, r, p, state)]


def _probe_kth_largest(backend: str) -> list[Tensor]:
    x = _probe_matrices(backend)
    found = (ops.kth_largest(x, k, counts=True, backend=backend) for k in (1, 30, 72))
    return [part.cpu() for one in found for part in one]


def _probe_update_mask(backend: str) -> list[Tensor]:
    score = _probe_matrices(backend)
    found = ops.update_mask(score, score.abs(), score > 0.5, 5, backend=backend)
    return [part.cpu() for part in found]


def _probe_packed_adamw(backend: str) -> list[Tensor]:
    generator, device = torch.Generator().manual_seed(0), _device_of(backend)
    w, g = (torch.randn(9, 7, generator=generator).to(device) for _ in range(2))
    at = torch.arange(1, 63, 4, device=device)
    m, v = (torch.zeros(at.shape, device=device) for _ in range(2))
    t = torch.arange(at.numel(), device=device).float()
    ops.packed_adamw_([w], [g], [at], [m], [v], [t], lr=0.1, backend=backend)
    return [x.cpu() for x in (w, m, v, t)]


def _probe_cg(backend: str) -> list[Tensor]:
    X = _probe_matrices(backend)
    b, C = X[:, 0] + 1j * X[:, 1], X.mT @ X
    found = ops.cg(
        lambda v: (C.to(v.dtype) @ v[:, :, None])[:, :, 0], b, gamma=0.5, info=True, backend=backend
    )
    return [torch.view_as_real(found.x).cpu(), found.status.cpu()]


def _sense(backend: str) -> tuple[Tensor, Tensor]:
    """An image, and maps of two coils."""
    v, *maps = _probe_matrices(backend).to(torch.complex64)
    return v[None], torch.stack(maps)[None]


def _probe_sense_pack(backend: str) -> list[Tensor]:
    # What is packed is the backend's own affair: it shows in what is computed from it.
    v, maps = _sense(backend)
    weights = torch.ones(1, 4, device=v.device)
    packed = ops.sense_normal.sense_pack(maps, weights, backend=backend)
    return [
        ops.sense_normal.sense_normal(v, maps, weights, None, packed, backend=backend)[0].cpu().real
    ]


def _probe_sense_normal(backend: str) -> list[Tensor]:
    v, maps = _sense(backend)
    gamma = torch.ones(1, device=v.device)
    found = []
    for shape in ((1, 4), v.shape):
        weights = torch.arange(4.0, device=v.device).expand(shape).contiguous()
        out, dot = ops.sense_normal.sense_normal(v, maps, weights, gamma, None, backend=backend)
        found += [torch.view_as_real(out).cpu(), dot.cpu()]
    return found


def _probe_sense_solve(backend: str) -> list[Tensor]:
    v, maps = _sense(backend)
    weights, gamma = torch.ones(1, 4, device=v.device), torch.ones(1, device=v.device)
    x, *_, status = ops.sense_solve.sense_solve(
        v, v, maps, weights, gamma, None, prox=True, maxiter=2, backend=backend
    )
    return [torch.view_as_real(x).cpu(), status.cpu()]


PROBES: dict[str, Callable[[str], list[Tensor]]] = {
    "adam": _probe_adam,
    "cg": _probe_cg,
    "cg_start": _probe_cg_start,
    "cg_step": _probe_cg_step,
    "cg_step_direction": _probe_cg_step_direction,
    "cg_step_residual": _probe_cg_step_residual,
    "combine": _probe_combine,
    "eigh_small": _probe_eigh_small,
    "gram": _probe_gram,
    "group_dot": _probe_group_dot,
    "kth_largest": _probe_kth_largest,
    "lowrank_adam": _probe_lowrank_adam,
    "orthonormalize": _probe_orthonormalize,
    "packed_adamw": _probe_packed_adamw,
    "polar": _probe_polar,
    "rsvd": _probe_rsvd,
    "sample_without_replacement": _probe_sample_without_replacement,
    "scan": _probe_scan,
    "sense_normal": _probe_sense_normal,
    "sense_pack": _probe_sense_pack,
    "sense_solve": _probe_sense_solve,
    "sst_adamw": _probe_sst_adamw,
    "svd_factored": _probe_svd_factored,
    "svd_small": _probe_svd_small,
    "topk_subspace": _probe_topk_subspace,
    "update_mask": _probe_update_mask,
}
