"""What decomposed diffusion sampling draws, where the posterior is known in closed form.

The prior is a complex Gaussian with a power-law spectrum, so that the best denoiser is a filter,
and posterior mean and covariance are dense algebra at 24 x 24. A table tells, over gamma, steps and
M, how far the mean of many samples is from the posterior's, and how much of its variance they have.

    python examples/dds_closed_form.py [--samples 64] [--csv FILE] [--page]
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from subkern.bench import pages
from subkern.imaging import CartesianSense, dds, masks, schedules
from subkern.imaging.phantom import birdcage_maps

PAGE = Path(__file__).resolve().parents[1] / "docs" / "dds.md"
SHOWN = {"dds: smooth prior": (0.01, 4.0), "dds: rough prior": (0.05, 2.0)}  # sigma, exponent
SETTINGS = (  # gamma, steps, M
    *((gamma, 50, M) for gamma in (5.0, 25.0, 100.0, "matched") for M in (1, 5, 20)),
    *((gamma, 200, 20) for gamma in (25.0, "matched")),
)
COLUMNS = ("gamma", "steps", "M", "bias", "floor", "variance")


@dataclass
class Problem:
    """Data y = A x + noise of an image from the prior.

    Attributes:
        spectrum: (n, n) variance of the prior's Fourier coefficients.
        operator: A, in complex64.
        y: (1, coils, n, n).
        truth: (1, n, n) complex128.
        sigma: sigma^2 = E|noise|^2.
    """

    spectrum: Tensor
    operator: CartesianSense
    y: Tensor
    truth: Tensor
    sigma: float
    schedule: schedules.Schedule

    def denoiser(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x_t]: Wiener's filter."""
        scale, noise = (a[t].float()[:, None, None] for a in self._levels())
        p = self.spectrum.float()
        gain = scale * p / (scale.square() * p + 2 * noise.square())
        return torch.fft.ifft2(gain * torch.fft.fft2(x))

    def variance(self) -> Tensor:
        """(T,): mean over the pixels of the variance of x0 given x_t."""
        scale, noise = (a[:, None, None] for a in self._levels())
        p, n2 = self.spectrum, 2 * noise.square()  # the noise has unit variance in each channel
        return (n2 * p / (scale.square() * p + n2)).mean((1, 2))

    def _levels(self) -> tuple[Tensor, Tensor]:
        return self.schedule.scale, self.schedule.noise

    def normal_matrix(self) -> Tensor:
        """N, (n n, n n) complex128."""
        count = self.spectrum.numel()
        eye = torch.eye(count, dtype=torch.complex128).view(count, *self.spectrum.shape)
        return self._wide().normal(eye).view(count, count).T

    def back_projection(self) -> Tensor:
        """A* y, (n n,) complex128."""
        return self._wide().adjoint(self.y.to(torch.complex128)).view(-1)

    def _wide(self) -> CartesianSense:
        return CartesianSense(self.operator.maps.to(torch.complex128), self.operator.mask)

    def posterior(self) -> tuple[Tensor, float]:
        """Mean (n, n) and the trace of the covariance."""
        n = len(self.spectrum)
        eye = torch.eye(n * n, dtype=torch.complex128).view(n * n, n, n)
        F = torch.fft.fft2(eye, norm="ortho").view(n * n, n * n).T
        precision = F.mH @ (F / self.spectrum.view(-1, 1))
        covariance = torch.linalg.inv(precision + self.normal_matrix() / self.sigma**2)
        mean = covariance @ self.back_projection() / self.sigma**2
        return mean.view(n, n), float(covariance.diagonal().real.sum())


def problem(
    n: int = 24,
    *,
    coils: int = 4,
    acceleration: float = 4,
    sigma: float = 0.01,
    power: float = 0.02,
    exponent: float = 4.0,
    seed: int = 0,
) -> Problem:
    """An image whose pixels have variance ``power``, seen by coils through a line mask."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.fft.fftfreq(n, dtype=torch.float64) * n
    spectrum = (1 + torch.hypot(k[:, None], k)) ** -exponent
    spectrum = spectrum * (power / spectrum.mean())
    mask = masks.uniform1d(n, acceleration, generator=generator).mask
    A = CartesianSense(birdcage_maps(coils, n), mask)
    draw = torch.randn(1, n, n, dtype=torch.complex128, generator=generator)
    truth = torch.fft.ifft2(spectrum.sqrt() * draw, norm="ortho")
    y = A.matvec(truth.to(torch.complex64))
    y = y + sigma * mask * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    return Problem(spectrum, A, y, truth, sigma, schedules.vp())


def sample(p: Problem, gamma: float | str, steps: int, M: int, samples: int, **options) -> Tensor:
    """(samples, n, n) complex128."""
    if gamma == "matched":
        options.update(sigma=p.sigma, variance=p.variance())
    drawn = dds(
        p.denoiser,
        p.operator,
        p.y.expand(samples, *p.y.shape[1:]),
        steps=steps,
        gamma=gamma,
        M=M,
        schedule=p.schedule,
        prediction="x0",
        **options,
    )
    return drawn.to(torch.complex128)


def compare(drawn: Tensor, mean: Tensor, trace: float) -> dict[str, float]:
    """Bias of the mean and its Monte-Carlo floor relative to the posterior mean; variance ratio."""
    samples = len(drawn)
    spread = float((drawn - drawn.mean(0)).abs().square().sum() / (samples - 1))
    size = float(mean.norm())
    return {
        "bias": float((drawn.mean(0) - mean).norm()) / size,
        "floor": math.sqrt(spread / samples) / size,
        "variance": spread / trace,
    }


def table(p: Problem, settings=SETTINGS, samples: int = 64, seed: int = 1) -> list[dict]:
    """A row for each setting."""
    mean, trace = p.posterior()
    rows = []
    for gamma, steps, M in settings:
        generator = torch.Generator().manual_seed(seed)
        drawn = sample(p, gamma, steps, M, samples, generator=generator)
        rows.append({"gamma": gamma, "steps": steps, "M": M, **compare(drawn, mean, trace)})
    return rows


def lines(rows: list[dict]) -> list[str]:
    """The table as text."""
    text = [f"{'gamma':>8} {'steps':>5} {'M':>3}   bias  floor  variance"]
    for row in rows:
        text.append(
            f"{row['gamma']!s:>8} {row['steps']:5d} {row['M']:3d}  {row['bias']:.3f}  "
            f"{row['floor']:.3f}  {row['variance']:.2f}"
        )
    return text


def write(rows: list[dict], path: Path) -> None:
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        out.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--sigma", type=float, default=0.01, help="of the noise")
    parser.add_argument("--exponent", type=float, default=4.0, help="of the spectrum's decay")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--page", action="store_true", help="write both tables of docs/dds.md")
    args = parser.parse_args()
    if args.page:
        text = PAGE.read_text()
        for marker, (sigma, exponent) in SHOWN.items():
            rows = table(problem(sigma=sigma, exponent=exponent), samples=args.samples)
            text = pages.replaced(text, marker, ["```", *lines(rows), "```"])
        PAGE.write_text(text)
        return
    rows = table(problem(sigma=args.sigma, exponent=args.exponent), samples=args.samples)
    print("\n".join(lines(rows)))
    print("bias and floor relative to the posterior mean; variance as a share of the posterior's")
    if args.csv:
        write(rows, args.csv)


if __name__ == "__main__":
    main()
