"""Gradients that look like those of a language model's matrices.

A gradient is a signal of decaying spectrum plus noise: G = A diag(s) B' + noise, s_i = 1/(i + 1),
with `NOISE_ENERGY` of the energy in white noise, new in each gradient. Between two refreshes of a
basis the signal's factors turn by `DRIFT` (cosine to where they were) and the noise is drawn again,
so a warm-started basis meets a gradient that it has not seen.
"""

from functools import lru_cache

import torch

NOISE_ENERGY = 0.02
DRIFT = 0.8


def normal(shape: tuple[int, ...], seed: int, where: torch.device) -> torch.Tensor:
    """Normal random numbers, drawn on the device."""
    generator = torch.Generator(where).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=where)


class Stream:
    """Gradients of one matrix; `draw(i)` is the one met at the i-th refresh.

    Random numbers come from the device that the matrix is on: on another one it is another matrix.
    """

    def __init__(self, m: int, n: int, seed: int, where: str | torch.device = "cpu") -> None:
        self.shape, self.seed, self.where = (m, n), seed, torch.device(where)
        self.signals = min(m, n, 256)

    def _factor(self, rows: int, which: int, index: int) -> torch.Tensor:
        """A rows x signals factor after `index` turns, columns of about unit length."""
        turned = torch.zeros((), device=self.where)
        for turn in range(index + 1):
            shape = (rows, self.signals)
            fresh = normal(shape, 1000003 * self.seed + 101 * which + turn, self.where) / rows**0.5
            turned = fresh if turn == 0 else DRIFT * turned + (1 - DRIFT**2) ** 0.5 * fresh
        return turned

    def draw(self, index: int) -> torch.Tensor:
        """The fp32 gradient at refresh `index`; its entries are of size 0.01."""
        m, n = self.shape
        spectrum = 1.0 / torch.arange(1, self.signals + 1, device=self.where)
        signal = (self._factor(m, 0, index) * spectrum) @ self._factor(n, 1, index).T
        noise = normal((m, n), 1000003 * self.seed + 211 + index, self.where)
        signal *= ((1 - NOISE_ENERGY) * m * n) ** 0.5 / torch.linalg.vector_norm(signal)
        return (1e-2 * signal).add_(noise, alpha=1e-2 * NOISE_ENERGY**0.5)


def canonical(matrix: torch.Tensor) -> torch.Tensor:
    """The k x q view of a matrix in the standard orientation: transposed when tall or square."""
    return matrix.T if matrix.shape[0] >= matrix.shape[1] else matrix


@lru_cache(maxsize=64)
def _energies(m: int, n: int, seed: int, index: int, where: torch.device) -> torch.Tensor:
    """Squared singular values, ascending."""
    x = canonical(Stream(m, n, seed, where).draw(index)).double()
    return torch.linalg.eigvalsh(x @ x.T)


def captured(basis: torch.Tensor, stream: Stream, index: int) -> float:
    """Energy ||P'X||^2 of the stream's gradient in span(P), relative to the best of that rank.

    Args:
        basis: k x r, as stored; only its span counts.
        stream: Whose gradient.
        index: Which of its gradients.
    """
    x = canonical(stream.draw(index)).double()
    q = torch.linalg.qr(basis.double())[0]
    energy = torch.linalg.vector_norm(q.T @ x).item() ** 2
    energies = _energies(*stream.shape, stream.seed, index, stream.where)
    return energy / energies[-basis.shape[1] :].sum().item()
