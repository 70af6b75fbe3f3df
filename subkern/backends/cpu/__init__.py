"""CPU backend: the C++ kernels of ``csrc/cpu``, and torch's products where they are faster."""

from subkern.backends.cpu import (
    adam,
    eigh_small,
    gram,
    kth_largest,
    lowrank_adam,
    orthonormalize,
    packed_adamw,
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
    "gram",
    "kth_largest",
    "lowrank_adam",
    "orthonormalize",
    "packed_adamw",
    "sample_without_replacement",
    "scan",
    "sense_normal",
    "sense_solve",
    "sst_adamw",
    "svd_small",
    "update_mask",
]
