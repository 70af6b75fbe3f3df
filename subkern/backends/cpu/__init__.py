"""CPU backend: the C++ kernels of ``csrc/cpu``, and torch's products where they are faster."""

from subkern.backends.cpu import adam, gram, lowrank_adam, orthonormalize, scan

__all__ = ["adam", "gram", "lowrank_adam", "orthonormalize", "scan"]
