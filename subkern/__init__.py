"""subkern: custom kernels for subspace and low-rank methods in machine learning.

Importing this package compiles nothing, starts no thread, prints nothing and touches no GPU;
native modules are loaded by the first call that needs them.
"""

from subkern import diagnostics, nn, ops, optim
from subkern._version import __version__
from subkern.backends import BackendUnavailableError, backend
from subkern.ops import (
    eigh_small,
    gram,
    kth_largest,
    orthonormalize,
    polar,
    polar_many,
    rsvd,
    sample_without_replacement,
    svd_factored,
    svd_small,
    topk_subspace,
    tsqr,
    update_mask,
)

__all__ = [
    "BackendUnavailableError",
    "__version__",
    "backend",
    "diagnostics",
    "eigh_small",
    "gram",
    "kth_largest",
    "nn",
    "ops",
    "optim",
    "orthonormalize",
    "polar",
    "polar_many",
    "rsvd",
    "sample_without_replacement",
    "svd_factored",
    "svd_small",
    "topk_subspace",
    "tsqr",
    "update_mask",
]
