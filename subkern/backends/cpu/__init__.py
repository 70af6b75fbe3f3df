"""CPU backend: the C++ kernels of ``csrc/cpu``, and torch's products where they are faster."""

from subkern.backends.cpu import adam, lowrank_adam, orthonormalize

__all__ = ["adam", "lowrank_adam", "orthonormalize"]
