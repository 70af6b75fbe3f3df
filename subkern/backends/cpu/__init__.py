"""CPU backend: torch's matrix products around the C++ kernels of ``csrc/cpu``."""

from subkern.backends.cpu import adam, lowrank_adam

__all__ = ["adam", "lowrank_adam"]
