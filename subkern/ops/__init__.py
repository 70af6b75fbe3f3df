"""Contracts: public functions with checks, torch op schema, fake and dispatch."""

from subkern.ops import scan  # noqa: F401 (defines an op that only other ops call)
from subkern.ops.adam import adam_
from subkern.ops.eigh_small import eigh_small
from subkern.ops.gram import gram
from subkern.ops.kth_largest import KthLargest, kth_largest
from subkern.ops.lowrank_adam import lowrank_adam_
from subkern.ops.orthonormalize import orthonormalize
from subkern.ops.packed_adamw import carry_state, packed_adamw_, reset_state_
from subkern.ops.polar import polar, polar_many
from subkern.ops.rsvd import rsvd
from subkern.ops.sample_without_replacement import Sample, sample_without_replacement
from subkern.ops.sst_adamw import sst_adamw_
from subkern.ops.svd_factored import svd_factored
from subkern.ops.svd_small import svd_small
from subkern.ops.topk_subspace import SubspaceResult, topk_subspace
from subkern.ops.tsqr import tsqr
from subkern.ops.update_mask import UpdatedMask, update_mask

__all__ = [
    "KthLargest",
    "Sample",
    "SubspaceResult",
    "UpdatedMask",
    "adam_",
    "carry_state",
    "eigh_small",
    "gram",
    "kth_largest",
    "lowrank_adam_",
    "orthonormalize",
    "packed_adamw_",
    "polar",
    "polar_many",
    "reset_state_",
    "rsvd",
    "sample_without_replacement",
    "sst_adamw_",
    "svd_factored",
    "svd_small",
    "topk_subspace",
    "tsqr",
    "update_mask",
]
