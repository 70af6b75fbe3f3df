"""Triton backend: the kernels of ``triton_kernels``, imported when the first call needs them."""

from subkern.backends.triton import adam, gram, lowrank_adam

__all__ = ["adam", "gram", "lowrank_adam"]
