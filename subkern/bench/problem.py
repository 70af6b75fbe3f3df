"""Weights and gradients of a benchmark problem, shared by all variants of a case."""

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.bench.gradients import Stream, canonical, normal
from subkern.bench.llama_sets import Matrices
from subkern.bench.registry import DTYPES, relative_error

# A wrong step is off by the size of the update itself; a right one by the rounding of its inputs:
# of the products in fp32, of the stored weights and (for peers) moments in bf16.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}


class Problem:
    """Gradients shared by the variants; weights made anew for each of them."""

    def __init__(self, matrices: Matrices, dtype: str, where: str = "cpu") -> None:
        self.matrices, self.dtype, self.where = matrices, dtype, torch.device(where)
        self.shapes = [*matrices.projected, *matrices.plain]
        self.count = len(matrices.projected)
        self.rank = matrices.rank
        self.streams = [
            Stream(m, n, seed, self.where) for seed, (m, n) in enumerate(matrices.projected)
        ]
        self._bases: dict[tuple[int, int], Tensor] = {}
        kind = DTYPES[dtype]
        self.grads = [torch.empty(s, dtype=kind, device=self.where) for s in self.shapes]
        for i in range(self.count, len(self.shapes)):
            self.grads[i].copy_(1e-2 * self._normal(i, 7))
        self.advance(0)

    def _normal(self, i: int, what: int) -> Tensor:
        return normal(self.shapes[i], 100 * i + what, self.where)

    def advance(self, index: int) -> None:
        """Put the gradients of refresh `index` in place."""
        self.index = index
        for grad, stream in zip(self.grads, self.streams, strict=False):
            grad.copy_(stream.draw(index))

    def weight(self, i: int) -> Tensor:
        """Initial weight `i`, the same at each call."""
        return (0.02 * self._normal(i, 3)).to(DTYPES[self.dtype])

    def parameters(self) -> list[torch.nn.Parameter]:
        """A variant's own weights, with the shared gradients attached."""
        made = []
        for i, grad in enumerate(self.grads):
            parameter = torch.nn.Parameter(self.weight(i))
            parameter.grad = grad
            made.append(parameter)
        return made

    def cheap_basis(self, i: int) -> Tensor:
        """An orthonormal k x r basis for gradient `i`, for variants that are given theirs.

        A good one of the first gradient of that shape: what it captures is not timed, and a QR for
        each matrix of a large model would take longer than everything that is.
        """
        shape = self.shapes[i]
        if shape not in self._bases:
            x = canonical(self.grads[i]).float()
            y = x @ normal((x.shape[1], self.rank), i, self.where)
            y = torch.linalg.qr(x @ (x.T @ y))[0]
            self._bases[shape] = y.to(DTYPES[self.dtype]).contiguous()
        return self._bases[shape].clone()

    def checked(self) -> list[int]:
        """Indices to verify: the first matrix of each shape, projected or not."""
        first: dict[object, int] = {}
        for i, shape in enumerate(self.shapes):
            first.setdefault((shape, i < self.count), i)
        return list(first.values())

    def orthonormal(self, basis: Callable[[int], Tensor]) -> str | None:
        """What is wrong with a variant's bases, if anything."""
        for i in self.checked():
            if i >= self.count:
                continue
            p = basis(i).float()
            off = (p.T @ p - torch.eye(p.shape[1], device=p.device)).abs().max().item()
            limit = 1e-4 if self.dtype == "fp32" else 2e-2
            if not off <= limit:
                return f"basis of {self.shapes[i]}: |P'P - I| must be <= {limit}, got {off:.2g}"
        return None

    def compare(self, got: Tensor, want: Tensor, i: int) -> str | None:
        """What is wrong with weight `i` of a variant, if anything."""
        error, limit = relative_error(got, want, self.weight(i)), TOLERANCE[self.dtype]
        if error <= limit:
            return None
        shape = "x".join(map(str, self.shapes[i]))
        return f"weight {shape}: error over update must be <= {limit}, got {error:.2g}"
