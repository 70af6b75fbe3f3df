"""CUDA backend: the C++ kernels of ``csrc/cuda``; the products of a low-rank step by Triton."""

from subkern.backends.cuda import (
    adam,
    eigh_small,
    kth_largest,
    lowrank_adam,
    orthonormalize,
    packed_adamw,
    rawmodule,
    sample_without_replacement,
    scan,
    sense_normal,
    sense_solve,
    sst_adamw,
    svd_small,
    update_mask,
)

__all__ = [
    "adam",
    "eigh_small",
    "kth_largest",
    "lowrank_adam",
    "orthonormalize",
    "packed_adamw",
    "rawmodule",
    "sample_without_replacement",
    "scan",
    "sense_normal",
    "sense_solve",
    "sst_adamw",
    "svd_small",
    "update_mask",
]
