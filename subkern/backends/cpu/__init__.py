"""CPU backend: the C++ kernels of ``csrc/cpu``, and torch's products where they are faster."""

from subkern.backends.cpu import (
    adam,
    eigh_small,
    gram,
    lowrank_adam,
    orthonormalize,
    scan,
    sst_adamw,
    svd_small,
)

__all__ = [
    "adam",
    "eigh_small",
    "gram",
    "lowrank_adam",
    "orthonormalize",
    "scan",
    "sst_adamw",
    "svd_small",
]
