"""A step of conjugate gradients, whole or by its halves; what solvers call, not public."""

from __future__ import annotations

from subkern.ops._library import define_inplace_op

cg_step_ = define_inplace_op(
    "cg_step",
    "(Tensor(a!) x, Tensor(b!) r, Tensor(c!) p, Tensor q, Tensor? curvature, Tensor(d!) state, *, "
    "str backend) -> ()",
    written=("x", "r", "p", "state"),
)
cg_step_residual_ = define_inplace_op(
    "cg_step_residual",
    "(Tensor(a!) r, Tensor q, Tensor curvature, Tensor(b!) state, *, str backend) -> ()",
    written=("r", "state"),
)
cg_step_direction_ = define_inplace_op(
    "cg_step_direction",
    "(Tensor(a!) x, Tensor(b!) p, Tensor z, Tensor state, *, str backend) -> ()",
    written=("x", "p"),
)
