"""Contracts: public functions with checks, torch op schema, fake and dispatch."""

from subkern.ops.adam import adam_
from subkern.ops.eigh_small import eigh_small
from subkern.ops.lowrank_adam import lowrank_adam_
from subkern.ops.orthonormalize import orthonormalize
from subkern.ops.rsvd import rsvd
from subkern.ops.svd_small import svd_small
from subkern.ops.topk_subspace import SubspaceResult, topk_subspace

__all__ = [
    "SubspaceResult",
    "adam_",
    "eigh_small",
    "lowrank_adam_",
    "orthonormalize",
    "rsvd",
    "svd_small",
    "topk_subspace",
]
