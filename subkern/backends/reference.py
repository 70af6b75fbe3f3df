"""The plain PyTorch reference as a backend: serves every device and floating-point dtype."""

from __future__ import annotations

from subkern.backends.registry import register
from subkern.reference.adam import adam_
from subkern.reference.cg import cg
from subkern.reference.cg_step import cg_start, cg_step_, cg_step_direction_, cg_step_residual_
from subkern.reference.combine import combine
from subkern.reference.eigh_small import eigh_small
from subkern.reference.gram import gram
from subkern.reference.group_dot import group_dot
from subkern.reference.kth_largest import kth_largest
from subkern.reference.lowrank_adam import lowrank_adam_
from subkern.reference.orthonormalize import orthonormalize
from subkern.reference.packed_adamw import packed_adamw_
from subkern.reference.polar import polar
from subkern.reference.rsvd import rsvd
from subkern.reference.sample_without_replacement import sample_without_replacement
from subkern.reference.scan import scan
from subkern.reference.sense_normal import sense_normal, sense_pack
from subkern.reference.sense_solve import sense_solve
from subkern.reference.sst_adamw import sst_adamw_
from subkern.reference.svd_factored import svd_factored
from subkern.reference.svd_small import svd_small
from subkern.reference.topk_subspace import topk_subspace
from subkern.reference.update_mask import update_mask


def _always(**call: object) -> None:
    return None


register("adam", "reference", _always)(adam_)
register("cg", "reference", _always)(cg)
register("cg_start", "reference", _always)(cg_start)
register("cg_step", "reference", _always)(cg_step_)
register("cg_step_direction", "reference", _always)(cg_step_direction_)
register("cg_step_residual", "reference", _always)(cg_step_residual_)
register("combine", "reference", _always)(combine)
register("eigh_small", "reference", _always)(eigh_small)
register("gram", "reference", _always)(gram)
register("group_dot", "reference", _always)(group_dot)
register("kth_largest", "reference", _always)(kth_largest)
register("lowrank_adam", "reference", _always)(lowrank_adam_)
register("packed_adamw", "reference", _always)(packed_adamw_)
register("rsvd", "reference", _always)(rsvd)
register("sample_without_replacement", "reference", _always)(sample_without_replacement)
register("scan", "reference", _always)(scan)
register("sense_normal", "reference", _always)(sense_normal)
register("sense_pack", "reference", _always)(sense_pack)
register("sense_solve", "reference", _always)(sense_solve)
register("sst_adamw", "reference", _always)(sst_adamw_)
register("svd_factored", "reference", _always)(svd_factored)
register("svd_small", "reference", _always)(svd_small)
register("topk_subspace", "reference", _always)(topk_subspace)
register("orthonormalize", "reference", _always)(orthonormalize)
register("polar", "reference", _always)(polar)
register("update_mask", "reference", _always)(update_mask)
