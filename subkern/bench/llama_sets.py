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

    def matrices(self, layers: int | None = None) -> Matrices:
        """Attention q, k, v, o and MLP gate, up, down of each layer; embedding and head.

        Args:
            layers: Fewer layers than the model has, for a quick look.
        """
        hidden, inner = self.hidden, self.intermediate
        layer = [(hidden, hidden)] * 4 + [(inner, hidden)] * 2 + [(hidden, inner)]
        count = self.layers if layers is None else min(layers, self.layers)
        return Matrices(
            tuple(layer * count), ((self.vocabulary, hidden), (self.vocabulary, hidden)), self.rank
        )


SETS = {
    "llama-60m": Llama(hidden=512, intermediate=1376, layers=8, rank=128),
    "llama-130m": Llama(hidden=768, intermediate=2048, layers=12, rank=256),
}
