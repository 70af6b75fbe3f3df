"""Matrices of the Llama configurations of the GaLore paper."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Matrices:
    """Shapes of a model's matrices: those a low-rank optimizer projects, and the others.

    Norm vectors are left out: 60 thousand numbers at most.
    """

    projected: tuple[tuple[int, int], ...]
    plain: tuple[tuple[int, int], ...]
    rank: int


@dataclass(frozen=True)
class Llama:
    """Sizes of a Llama model, and the rank its recipe uses."""

    hidden: int
    intermediate: int
    layers: int
    rank: int
    vocabulary: int = 32000

    def matrices(self, layers: int | None = None, rank: int | None = None) -> Matrices:
        """Attention q, k, v, o and MLP gate, up, down of each layer; embedding and head.

        Args:
            layers: Fewer layers than the model has, for a quick look.
            rank: Another one than the recipe's.
        """
        hidden, inner = self.hidden, self.intermediate
        layer = [(hidden, hidden)] * 4 + [(inner, hidden)] * 2 + [(hidden, inner)]
        count = self.layers if layers is None else min(layers, self.layers)
        plain = ((self.vocabulary, hidden),) * 2
        return Matrices(tuple(layer * count), plain, rank or self.rank)


SETS = {
    "llama-60m": Llama(hidden=512, intermediate=1376, layers=8, rank=128),
    "llama-130m": Llama(hidden=768, intermediate=2048, layers=12, rank=256),
}
GPU_SETS = {
    "llama-1b": Llama(hidden=2048, intermediate=5461, layers=24, rank=512),
    "llama-7b": Llama(hidden=4096, intermediate=11008, layers=32, rank=1024),
}
