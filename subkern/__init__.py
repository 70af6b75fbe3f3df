"""subkern: custom kernels for subspace and low-rank methods in machine learning.

Importing this package compiles nothing, starts no thread, prints nothing and touches no GPU;
native modules are loaded by the first call that needs them.
"""

from subkern import diagnostics, imaging, nn, ops, optim
from subkern._version import __version__
from subkern.backends import BackendUnavailableError, backend
from subkern.ops import (
    cg,
    cg_prox,
    cgls,
    eigh_small,
    gram,
    kth_largest,
    lanczos_prox,
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
    "cg",
    "cg_prox",
    "cgls",
    "diagnostics",
    "eigh_small",
    "gram",
    "imaging",
    "kth_largest",
    "lanczos_prox",
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
