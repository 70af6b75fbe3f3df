"""CUDA backend: the C++ kernels of ``csrc/cuda``; the products of a low-rank step by Triton."""

from subkern.backends.cuda import adam, lowrank_adam

__all__ = ["adam", "lowrank_adam"]
