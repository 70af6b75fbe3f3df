"""Calls of the binding ``lowrank_adam_moments`` and their truth in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from sktest.tolerance import assert_close
from torch import Tensor

from subkern.reference import adam as reference

CODES = {torch.float32: 0, torch.bfloat16: 1}
SENTINEL = -77.0
OPTIONS = dict(
    **dict(lr=0.5, lr_address=0, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1),
    **dict(post_decay=True, correct_bias=True, skip_nonfinite=True),
    **dict(scale=0.25, gamma=1.01, norm_eps=1e-8, residual_scale=0.25, matrix_norm=False),
)
STATE = ("exp_avg", "exp_avg_sq", "step", "limiter")
SCRATCH = ("direction", "lowrank", "phi", "scalars")


@dataclass
class Case:
    """A chunk of parameters in the middle of a step."""

    rows: int
    cols: int
    axis: int = 1
    fira: bool = True
    count: int = 1
    slices: int = 1
    square_slices: int = 1
    dtype: torch.dtype = torch.float32
    columns: int = 0  # canonical columns of the gradient; 0: those of R
    tiles: int = 5
    offset: int = 0  # elements of the moments past an aligned address
    seed: int = 0
    previous: float = 0.0  # limiter before the step
    options: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = self.columns or (self.cols if self.axis else self.rows)
        self.ld = (self.cols + 7) // 8 * 8

    def inputs(self, device: torch.device) -> dict:
        """Fresh tensors; the same on every call."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.count, self.rows, self.cols)

        def random(*sizes):
            return torch.rand(sizes, generator=generator)

        R = (random(*shape) + 0.5) * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)
        partials = torch.full((self.slices, self.count, self.rows, self.ld), math.nan)
        rest = R
        for i in range(1, self.slices):
            partials[i, ..., : self.cols] = torch.randn(shape, generator=generator)
            rest = rest - partials[i, ..., : self.cols]
        partials[0, ..., : self.cols] = rest
        # ||X_j||^2 beyond ||R_j||^2, so that a residual is left.
        share = R.square().sum() / (self.count * self.columns)
        squares = (random(self.square_slices, self.count, self.columns) + 1.2) * share

        def state(values):
            room = torch.empty(values.numel() + self.offset, device=device)
            return room[self.offset :].view(values.shape).copy_(values)

        matrix = (self.count, self.rows, self.ld)
        made = {
            "partials": partials,
            "squares": squares,
            "tile_flags": torch.zeros(self.count, self.tiles, dtype=torch.int32),
            "counters": torch.zeros(self.count, dtype=torch.int32),
            "direction": torch.full(matrix, SENTINEL, dtype=self.dtype),
            "lowrank": torch.full(matrix, SENTINEL, dtype=self.dtype),
            "phi": torch.full((self.count, self.columns), SENTINEL),
            "scalars": torch.full((self.count, 4), SENTINEL),
        }
        made = {name: t.to(device) for name, t in made.items()}
        made["exp_avg"] = [state(0.1 * random(*shape[1:]) - 0.05) for _ in range(self.count)]
        made["exp_avg_sq"] = [state(random(*shape[1:])) for _ in range(self.count)]
        made["step"] = [torch.tensor(float(i % 5), device=device) for i in range(self.count)]
        made["limiter"] = [torch.tensor(self.previous, device=device) for _ in range(self.count)]
        return made

    def arguments(self, kernels, made: dict, **changes) -> tuple[dict, Tensor]:
        """Keyword arguments of the binding, and the scratch to keep alive."""
        rule = 1 if self.fira else 0
        floats = kernels.module.lowrank_adam_block_sums(
            count=self.count, rows=self.rows, cols=self.cols, column_axis=self.axis, rule=rule
        )
        sums = torch.full((floats,), math.nan, device=kernels.device)
        call = {name: [t.data_ptr() for t in made[name]] for name in STATE}
        names = ("partials", "squares", "tile_flags", "counters", *SCRATCH)
        call |= {name: made[name].data_ptr() for name in names}
        call |= dict(rows=self.rows, cols=self.cols, ld=self.ld, column_axis=self.axis)
        call |= dict(dtype=CODES[self.dtype], rule=rule, slices=self.slices, tiles=self.tiles)
        call |= dict(square_slices=self.square_slices, columns=self.columns)
        call |= dict(block_sums=sums.data_ptr(), block_sums_floats=floats)
        return call | OPTIONS | self.options | kernels.queue | changes, sums

    def run(self, kernels, made: dict, **changes) -> list[Tensor]:
        """One call; returns every written tensor."""
        call, _sums = self.arguments(kernels, made, **changes)
        kernels.module.lowrank_adam_moments(**call)
        names = SCRATCH if self.fira else ("direction", "scalars")
        return [t for name in STATE for t in made[name]] + [made[name] for name in names]

    def truth(self, made: dict, p: int) -> dict[str, Tensor]:
        """What parameter ``p`` of fresh inputs becomes, in float64."""
        o = {**OPTIONS, **self.options}
        partials, squares = made["partials"].cpu().double(), made["squares"].cpu().double()
        R, xx = partials[:, p, :, : self.cols].sum(0), squares[:, p].sum(0)
        M, V = made["exp_avg"][p].cpu().double(), made["exp_avg_sq"][p].cpu().double()
        lr = torch.tensor(o["lr"], dtype=torch.float64)
        step = made["step"][p].cpu()
        _, eta = reference.step_size(lr, step, o["beta1"], o["beta2"], o["correct_bias"])
        M, V, N = reference.moments(R, M, V, o["beta1"], o["beta2"], o["eps"])
        factor = 1 - lr * o["weight_decay"]
        eta = eta * factor if o["post_decay"] else eta
        out = {"exp_avg": M, "exp_avg_sq": V, "R": R}
        limit = torch.ones(())
        out["direction"] = N if self.fira else -eta * o["scale"] * N
        if self.fira:
            a, previous = o["residual_scale"], made["limiter"][p].cpu().double()
            along = (0, 1) if o["matrix_norm"] else (0,) if self.axis else (1,)
            rr, nn = R.square().sum(along), N.square().sum(along)
            xx = xx.sum() if o["matrix_norm"] else xx
            phi = torch.where(rr > 0, nn.sqrt() / (rr.sqrt() + o["norm_eps"]), 0)
            energy = xx - 2 * a * rr + a * a * rr
            energy = torch.where(energy < 1e-6 * xx, 0, energy.clamp_min(0))
            norm = (phi.square() * energy).sum().sqrt()
            growth = (norm / (previous + o["norm_eps"])).clamp_min(o["gamma"]) / o["gamma"]
            growth = growth if previous > 0 else torch.ones_like(growth)
            limit, out["phi"], out["limiter"] = 1 / growth, phi, norm / growth
        out["scalars"] = torch.stack([t.double() for t in (eta, factor, limit, torch.zeros(()))])
        return out

    def check(self, made: dict, before: dict) -> None:
        """Every written tensor of every parameter against the truth."""
        matrix_norm = {**OPTIONS, **self.options}["matrix_norm"]
        canonical = self.rows if self.axis else self.cols
        length = self.rows * self.cols if matrix_norm else canonical
        for p in range(self.count):
            exact = self.truth(before, p)
            terms = dict(work=torch.float32)

            def close(name, got, length, exact=exact, terms=terms, p=p):
                assert_close(f"{name}[{p}]", got.cpu(), exact[name], length, **terms)

            close("exp_avg", made["exp_avg"][p], self.slices)
            close("exp_avg_sq", made["exp_avg_sq"][p], self.slices)
            close("direction", made["direction"][p, :, : self.cols], self.slices)
            close("scalars", made["scalars"][p], self.columns * length if self.fira else 1)
            assert (made["direction"][p, :, self.cols :] == SENTINEL).all(), "padding was written"
            assert torch.equal(made["step"][p], before["step"][p])
            if not self.fira:
                continue
            got = made["lowrank"][p, :, : self.cols]
            assert_close(f"lowrank[{p}]", got.cpu(), exact["R"], self.slices, **terms)
            assert (made["lowrank"][p, :, self.cols :] == SENTINEL).all(), "padding was written"
            phi = made["phi"][p, 0] if matrix_norm else made["phi"][p]
            close("phi", phi, length)
            close("limiter", made["limiter"][p], self.columns * length)
            assert made["counters"][p] >= 1
