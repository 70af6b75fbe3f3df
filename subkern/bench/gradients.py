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


class Stream:
    """Gradients of one matrix; `draw(i)` is the one met at the i-th refresh."""

    def __init__(self, m: int, n: int, seed: int) -> None:
        self.shape, self.seed = (m, n), seed
        self.signals = min(m, n, 256)

    def _factor(self, rows: int, which: int, index: int) -> torch.Tensor:
        """A rows x signals factor after `index` turns, columns of about unit length."""
        turned = torch.zeros(())
        for turn in range(index + 1):
            generator = torch.Generator().manual_seed(1000003 * self.seed + 101 * which + turn)
            fresh = torch.randn(rows, self.signals, generator=generator) / rows**0.5
            turned = fresh if turn == 0 else DRIFT * turned + (1 - DRIFT**2) ** 0.5 * fresh
        return turned

    def draw(self, index: int) -> torch.Tensor:
        """The fp32 gradient at refresh `index`; its entries are of size 0.01."""
        m, n = self.shape
        spectrum = 1.0 / torch.arange(1, self.signals + 1)
        signal = (self._factor(m, 0, index) * spectrum) @ self._factor(n, 1, index).T
        generator = torch.Generator().manual_seed(1000003 * self.seed + 211 + index)
        noise = torch.randn(m, n, generator=generator)
        signal *= ((1 - NOISE_ENERGY) * m * n) ** 0.5 / torch.linalg.vector_norm(signal)
        return (1e-2 * signal).add_(noise, alpha=1e-2 * NOISE_ENERGY**0.5)


def canonical(matrix: torch.Tensor) -> torch.Tensor:
    """The k x q view of a matrix in the standard orientation: transposed when tall or square."""
    return matrix.T if matrix.shape[0] >= matrix.shape[1] else matrix


@lru_cache(maxsize=64)
def _best(m: int, n: int, seed: int, index: int, rank: int) -> float:
    x = canonical(Stream(m, n, seed).draw(index)).double()
    return torch.linalg.eigvalsh(x @ x.T)[-rank:].sum().item()


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
    return energy / _best(*stream.shape, stream.seed, index, basis.shape[1])
