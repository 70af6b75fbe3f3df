"""Contracts: public functions with checks, torch op schema, fake and dispatch."""

from subkern.ops import (  # noqa: F401 (define ops that only other ops call)
    cg_step,
    combine,
    group_dot,
    scan,
    sense_normal,
    sense_solve,
)
from subkern.ops.adam import adam_
from subkern.ops.cg import CGResult, cg, cg_prox
from subkern.ops.cgls import cgls
from subkern.ops.eigh_small import eigh_small
from subkern.ops.gram import gram
from subkern.ops.kth_largest import KthLargest, kth_largest
from subkern.ops.lanczos_prox import LanczosProx, lanczos_prox
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
    "CGResult",
    "KthLargest",
    "LanczosProx",
    "Sample",
    "SubspaceResult",
    "UpdatedMask",
    "adam_",
    "carry_state",
    "cg",
    "cg_prox",
    "cgls",
    "eigh_small",
    "gram",
    "kth_largest",
    "lanczos_prox",
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
