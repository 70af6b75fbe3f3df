"""What the sampler is compared with, each at its best: the truth chooses the stop and the weight.

And the sampler's loop once more as it was released, in plain torch: shifts around every transform,
its own conjugate gradients with Hermitian inner products, for a comparison of speed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import subkern
from subkern.imaging import CartesianSense
from subkern.ops._channels import to_channels, to_complex


def best(candidates: list[Tensor], truth: Tensor) -> tuple[Tensor, int]:
    """The candidate with the least error, and which it was."""
    errors = [float((x - truth).abs().square().sum()) for x in candidates]
    which = min(range(len(errors)), key=errors.__getitem__)
    return candidates[which], which


def zero_filled(A: CartesianSense, y: Tensor) -> Tensor:
    """A* y."""
    return A.adjoint(y)


def cg_sense(A: CartesianSense, y: Tensor, truth: Tensor, steps: int = 20) -> tuple[Tensor, str]:
    """Conjugate gradients on A* A x = A* y, stopped where it is best."""
    Aty = A.adjoint(y)
    found = [subkern.cg(A, Aty, maxiter=k).x for k in range(1, steps + 1)]
    x, which = best(found, truth)
    return x, f"{which + 1} steps"


def differences(x: Tensor) -> Tensor:
    """(..., H, W) -> (..., 2, H, W): forward differences, 0 at the far border."""
    down = torch.cat([x[..., 1:, :] - x[..., :-1, :], torch.zeros_like(x[..., :1, :])], -2)
    right = torch.cat([x[..., 1:] - x[..., :-1], torch.zeros_like(x[..., :1])], -1)
    return torch.stack([down, right], -3)


def divergence(p: Tensor) -> Tensor:
    """The negative adjoint of ``differences``."""
    down, right = p[..., 0, :-1, :], p[..., 1, :, :-1]
    zero = torch.zeros_like(p[..., 0, :1, :]), torch.zeros_like(p[..., 1, :, :1])
    return (
        torch.cat([down, zero[0]], -2)
        - torch.cat([zero[0], down], -2)
        + (torch.cat([right, zero[1]], -1) - torch.cat([zero[1], right], -1))
    )


def total_variation(
    A: CartesianSense, y: Tensor, truth: Tensor, weights: tuple[float, ...], iterations: int = 120
) -> tuple[Tensor, str]:
    """Minimize 1/2 ||A x - y||^2 + w TV(x) for every weight at once (Condat, 2013; Vu, 2013).

    TV is isotropic, of complex differences. The step sizes need 1 / tau >= ||N|| / 2 + 8 dual.
    """
    w = torch.tensor(weights).view(-1, 1, 1)
    dual = 0.25
    tau = 1 / (A.norm_bound / 2 + 8 * dual)
    Aty = A.adjoint(y)
    x = Aty.expand(len(w), -1, -1).clone()
    u = differences(x) * 0
    for _ in range(iterations):
        new = x - tau * (A.normal(x) - Aty - divergence(u))
        u = u + dual * differences(2 * new - x)
        u = u / (u.abs().square().sum(-3, keepdim=True).sqrt() / w.unsqueeze(1)).clamp_min(1)
        x = new
    x, which = best(list(x[:, None]), truth)
    return x, f"weight {weights[which]:g}"


class ReleasedSense:
    """The operator as the published code applies it: shifts in every application, no shortcuts."""

    def __init__(self, maps: Tensor, mask: Tensor):
        self.maps, self.mask = maps, mask

    def matvec(self, x: Tensor) -> Tensor:
        """A x."""
        coils = torch.fft.ifftshift(self.maps * x[:, None], dim=(-2, -1))
        return self.mask * torch.fft.fftshift(torch.fft.fft2(coils, norm="ortho"), dim=(-2, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y."""
        k = torch.fft.ifftshift(self.mask * y, dim=(-2, -1))
        images = torch.fft.fftshift(torch.fft.ifft2(k, norm="ortho"), dim=(-2, -1))
        return (self.maps.conj() * images).sum(1)


def released_cg(A: ReleasedSense, x: Tensor, b: Tensor, gamma: Tensor, M: int) -> Tensor:
    """M steps on (I + gamma A* A) x = b from x; a scalar pair for each sample."""

    def H(v: Tensor) -> Tensor:
        return v + gamma * A.adjoint(A.matvec(v))

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u.conj() * v).sum((1, 2), keepdim=True).real

    r = b - H(x)
    p = r
    rr = dot(r, r)
    for _ in range(M):
        q = H(p)
        alpha = rr / dot(p, q)
        x = x + alpha * p
        r = r - alpha * q
        new = dot(r, r)
        p = r + (new / rr) * p
        rr = new
    return x


def released_dds(
    denoiser, maps: Tensor, mask: Tensor, y: Tensor, *, steps, gammas, M, eta, schedule, generator
) -> Tensor:
    """The sampler with the operator and solver above, and the draws of ``subkern.imaging.dds``."""
    A = ReleasedSense(maps, mask)
    Aty = A.adjoint(y)

    def draw() -> Tensor:
        return torch.view_as_complex(torch.randn(*Aty.shape, 2, generator=generator))

    times = schedule.steps(steps)
    x = draw() * schedule.levels[times[0]][1]
    for i, t in enumerate(times):
        scale, noise = schedule.levels[t]
        x0 = to_complex(denoiser(to_channels(x), torch.full((len(x),), t)))
        e = (x - scale * x0) / noise
        gamma = gammas[i].view(-1, 1, 1)
        x0 = released_cg(A, x0, x0 + gamma * Aty, gamma, M)
        if i + 1 == len(times):
            return x0
        after, level = schedule.levels[times[i + 1]]
        b = level * math.sqrt(1 - (scale * level / (after * noise)) ** 2)
        x = after * x0 + math.sqrt(level**2 - (eta * b) ** 2) * e + eta * b * draw()
    raise AssertionError("steps are never empty")
