"""Launches of the three stages of a low-rank step: from plan, chunk and scratch to arguments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from subkern.backends.triton import launch
from subkern.backends.triton.lowrank_plan import (
    LISTS,
    SCALAR_LISTS,
    Chunk,
    Layout,
    Plan,
    Product,
    Scratch,
)
from subkern.triton_kernels.configs import Tile, ceil_div, moments_tile, round_up, update_parts

# Rows of the address table.
ROWS = {name: row for row, name in enumerate((*LISTS, *SCALAR_LISTS))}
ABSENT = -1


def project(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    """First stage: partial sums of R, or D itself where the moments are fused into the product."""
    layouts = chunk.layouts
    grad, basis = layouts["grads"], ("bases", layouts["bases"])
    if plan.side == "right":
        _product(plan, chunk, scratch, plan.project, ("grads", grad), basis)
        return
    # Canonical columns come first: the kernel sees G^T P.
    first = plan.project if plan.wide is None else plan.wide
    _product(plan, chunk, scratch, first, ("grads", _transposed(grad)), basis)
    if plan.wide is not None:
        wide = "wide", Layout(unit=1, stride=plan.wide_ld, vector=_padded_vector(plan))
        right = "bases_right", layouts["bases_right"]
        _product(plan, chunk, scratch, plan.project, wide, right)


def moments(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    """Second stage, in Triton: moments and direction; Fira's phi and limiter."""
    from subkern.triton_kernels.lowrank_adam_moments import _lowrank_adam_moments_kernel

    across, along = (plan.cols, plan.rows) if plan.column_axis == 1 else (plan.rows, plan.cols)
    tile = moments_tile(plan.column_axis == 1, plan.rank)
    band, stride = (tile.n, tile.m) if plan.column_axis == 1 else (tile.m, tile.n)
    bands = ceil_div(across, band)
    # Without norms along the canonical columns each tile is a program of its own.
    part = round_up(along, stride) if plan.fira else stride
    launch.run(
        _lowrank_adam_moments_kernel,
        (bands, ceil_div(along, part), chunk.count),
        table_ptr=chunk.table,
        partials_ptr=scratch.partials,
        flags_ptr=scratch.tile_flags,
        squares_ptr=_present(scratch.squares, scratch),
        counters_ptr=scratch.counters,
        sums_ptr=torch.empty(chunk.count, bands, 2, dtype=torch.float32, device=plan.device),
        direction_ptr=scratch.direction,
        lowrank_ptr=scratch.direction if scratch.lowrank is None else scratch.lowrank,
        phi_ptr=_present(scratch.phi, scratch),
        scalars_ptr=scratch.scalars,
        lr_ptr=_present(plan.lr_tensor, scratch),
        count=chunk.count,
        rows=plan.rows,
        cols=plan.cols,
        ld=plan.ld,
        columns=plan.columns,
        tiles=plan.tiles,
        part_length=part,
        **_numbers(plan),
        residual_scale=plan.residual_scale,
        gamma=plan.gamma,
        norm_eps=plan.norm_eps,
        LIMITER_LIST=ROWS["limiters"],
        SLICES=plan.slices,
        SQUARE_SLICES=plan.square_slices,
        COLUMN_AXIS=plan.column_axis,
        FIRA=plan.fira,
        MATRIX_NORM=plan.matrix_norm,
        SKIP=plan.skip_nonfinite,
        **_adam_facts(plan, chunk),
        BLOCK_R=tile.m,
        BLOCK_C=tile.n,
        num_warps=tile.warps,
    )


def update(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    """Third stage: the weights; T2 = D Q^T before it where the projection is two-sided."""
    if plan.back is None:
        _apply(plan, chunk, scratch, plan.update, scratch.direction, to_weights=True)
        return
    assert scratch.wide is not None  # made with plan.back
    _apply(plan, chunk, scratch, plan.back, scratch.direction, to_weights=False)
    _apply(plan, chunk, scratch, plan.update, scratch.wide, to_weights=True)


def _product(
    plan: Plan,
    chunk: Chunk,
    scratch: Scratch,
    product: Product,
    x: tuple[str, Layout],
    basis: tuple[str, Layout],
) -> None:
    from subkern.triton_kernels.lowrank_adam_project import _lowrank_adam_project_kernel

    out, target = "partials", scratch.partials
    if product is plan.wide:
        out, target = "wide", scratch.wide
    elif plan.fused:
        out, target = "direction", scratch.direction
    assert target is not None  # each is made where the plan needs it
    launch.run(
        _lowrank_adam_project_kernel,
        (product.tiles, product.slices, chunk.count),
        table_ptr=chunk.table,
        x_ptr=scratch.direction if scratch.wide is None else scratch.wide,
        out_ptr=target,
        flags_ptr=scratch.tile_flags,
        squares_ptr=_present(scratch.squares, scratch),
        counters_ptr=scratch.counters,
        scalars_ptr=scratch.scalars,
        lr_ptr=_present(plan.lr_tensor, scratch),
        count=chunk.count,
        rows=product.rows,
        cols=product.cols,
        length=product.length,
        slice_length=product.slice_length,
        ld=target.shape[-1],
        x_end=plan.wide_ld if x[0] == "wide" else product.length,
        x_stride=x[1].stride,
        basis_stride=basis[1].stride,
        **_numbers(plan),
        **_operand("X", *x),
        **_operand("BASIS", *basis),
        OUT=out,
        OUT_UNIT=0 if x[0] == "grads" and plan.side != "right" else 1,
        SQUARES=plan.fira and x[0] == "grads",
        **_adam_facts(plan, chunk),
        **_blocks(product.tile),
    )


def _apply(
    plan: Plan,
    chunk: Chunk,
    scratch: Scratch,
    product: Product,
    direction: Tensor,
    to_weights: bool,
) -> None:
    from subkern.triton_kernels.lowrank_adam_update import _lowrank_adam_update_kernel

    layouts = chunk.layouts
    left = plan.side != "right" and to_weights
    basis = "bases" if to_weights else "bases_right"
    residual = plan.fira and to_weights
    nothing = Layout(1, 0, 1)
    w, g = (layouts[name] if to_weights else nothing for name in ("params", "grads"))
    launch.run(
        _lowrank_adam_update_kernel,
        (product.tiles, chunk.count),
        table_ptr=chunk.table,
        direction_ptr=direction,
        lowrank_ptr=direction if scratch.lowrank is None else scratch.lowrank,
        phi_ptr=_present(scratch.phi, scratch),
        scalars_ptr=scratch.scalars,
        out_ptr=direction if scratch.wide is None else scratch.wide,
        count=chunk.count,
        rows=product.rows,
        cols=product.cols,
        rank=plan.rank,
        columns=plan.columns,
        ld=direction.shape[-1],
        out_ld=plan.wide_ld,
        basis_stride=layouts[basis].stride,
        w_stride=w.stride,
        g_stride=g.stride,
        scale=plan.scale,
        residual_scale=plan.residual_scale,
        LEFT=left,
        **_operand("BASIS", basis, layouts[basis]),
        RANK_VECTOR=_padded_vector(plan) if plan.rank % 8 == 0 else 1,
        **_operand("W", "params" if to_weights else "", w),
        **_operand("G", "grads" if residual else "", g),
        FORM=plan.fira and direction is scratch.direction,
        MATRIX_NORM=plan.matrix_norm,
        STEP_LIST=ROWS["steps"],
        SKIPPED_LIST=ROWS["skipped"],
        DTYPE=_triton_dtype(plan),
        PARTS=update_parts(plan.dtype.itemsize),
        **_blocks(product.tile),
    )


def _present(found: Tensor | None, scratch: Scratch) -> Tensor:
    """A float32 tensor, or a stand-in that the kernel does not touch."""
    return scratch.scalars if found is None else found


def _triton_dtype(plan: Plan) -> Any:
    import triton.language as tl

    return tl.bfloat16 if plan.dtype == torch.bfloat16 else tl.float32


def _numbers(plan: Plan) -> dict[str, float]:
    """Scalars of the Adam core; 1 - beta is taken in float64."""
    log_beta1, log_beta2 = plan.log_betas
    return dict(
        lr=plan.lr,
        log_beta1=log_beta1,
        log_beta2=log_beta2,
        beta1=plan.beta1,
        beta2=plan.beta2,
        rest1=1.0 - plan.beta1,
        rest2=1.0 - plan.beta2,
        eps=plan.eps,
        weight_decay=plan.weight_decay,
        scale=plan.scale,
    )


def _adam_facts(plan: Plan, chunk: Chunk) -> dict[str, Any]:
    """What kernels that update the moments know when they are compiled."""
    layouts = chunk.layouts
    return dict(
        M_LIST=ROWS["exp_avgs"],
        V_LIST=ROWS["exp_avg_sqs"],
        STEP_LIST=ROWS["steps"],
        # The kernels walk rows. A contiguous column may be laid out as a row, by its strides.
        M_VECTOR=math.gcd(
            plan.cols, *(layouts[name].vector for name in ("exp_avgs", "exp_avg_sqs"))
        ),
        LR_TENSOR=plan.lr_tensor is not None,
        CORRECT_BIAS=plan.correct_bias,
        POST_DECAY=plan.post_decay,
        DTYPE=_triton_dtype(plan),
    )


def _operand(prefix: str, name: str, layout: Layout) -> dict[str, int]:
    facts = {"LIST": ROWS.get(name, ABSENT), "UNIT": layout.unit, "VECTOR": layout.vector}
    return {f"{prefix}_{key}": value for key, value in facts.items()}


def _blocks(tile: Tile) -> dict[str, int]:
    return dict(
        BLOCK_M=tile.m,
        BLOCK_N=tile.n,
        BLOCK_K=tile.k,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def _transposed(layout: Layout) -> Layout:
    return Layout(1 - layout.unit, layout.stride, layout.vector)


def _padded_vector(plan: Plan) -> int:
    """Elements of an aligned access to a padded scratch matrix."""
    return 16 // plan.dtype.itemsize
