"""CUDA backend: the C++ kernels of ``csrc/cuda``; the products of a low-rank step by Triton."""

from subkern.backends.cuda import (
    adam,
    eigh_small,
    lowrank_adam,
    orthonormalize,
    rawmodule,
    sample_without_replacement,
    scan,
    sst_adamw,
    svd_small,
)

__all__ = [
    "adam",
    "eigh_small",
    "lowrank_adam",
    "orthonormalize",
    "rawmodule",
    "sample_without_replacement",
    "scan",
    "sst_adamw",
    "svd_small",
]
