"""Unprojected Adam for a list of tensors: look at every gradient, then update.

Every tensor is a dense run of elements cut into blocks of CHUNK; ``blocks_ptr`` names the tensor of
each block. The table of int64 (rows x count) holds addresses, element counts and first blocks.
"""

import triton
import triton.language as tl
from subkern.triton_kernels.adam_core import sk_count, sk_moments, sk_step_size
from subkern.triton_kernels.prims import sk_cast, sk_float, sk_inline, sk_nonfinite, sk_pointer


@triton.jit(do_not_specialize=["count"])
def _adam_scan_kernel(
    table_ptr,
    blocks_ptr,  # int32 (blocks,)
    flags_ptr,  # int32 (blocks,): nonzero where a block of the gradient holds an inf or a NaN
    scalars_ptr,  # float32 (count, 2): eta * update_scale, decay factor
    lr_ptr,
    count,
    lr,
    log_beta1,
    log_beta2,
    weight_decay,
    G_ROW: tl.constexpr,
    STEP_ROW: tl.constexpr,
    SIZE_ROW: tl.constexpr,
    FIRST_ROW: tl.constexpr,
    LR_TENSOR: tl.constexpr,
    CORRECT_BIAS: tl.constexpr,
    POST_DECAY: tl.constexpr,
    SKIP: tl.constexpr,
    DTYPE: tl.constexpr,
    VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Flags per block, and the step size of each tensor: the update kernel may then count steps."""
    block = tl.program_id(0)
    tensor = tl.load(blocks_ptr + block).to(tl.int64)
    first = tl.load(table_ptr + FIRST_ROW * count + tensor)
    if block == first:
        step_ptr = sk_pointer(tl.load(table_ptr + STEP_ROW * count + tensor), tl.float32, 1)
        eta, factor = sk_step_size(
            step_ptr,
            lr,
            lr_ptr,
            log_beta1,
            log_beta2,
            weight_decay,
            LR_TENSOR,
            CORRECT_BIAS,
            POST_DECAY,
        )
        tl.store(scalars_ptr + 2 * tensor, eta)
        tl.store(scalars_ptr + 2 * tensor + 1, factor)
    if SKIP:
        size = tl.load(table_ptr + SIZE_ROW * count + tensor)
        g_ptr = sk_pointer(tl.load(table_ptr + G_ROW * count + tensor), DTYPE, VECTOR)
        begin = (block - first) * CHUNK
        end = tl.minimum(begin + CHUNK, size)
        bad = 0
        # Full blocks without a mask: one that compares with a size from memory forbids wide loads.
        for start in range(begin, end - BLOCK + 1, BLOCK):
            at = start + tl.arange(0, BLOCK)
            bad |= sk_nonfinite(sk_float(tl.load(g_ptr + at)))
        at = begin + (end - begin) // BLOCK * BLOCK + tl.arange(0, BLOCK)
        rest = tl.load(g_ptr + at, mask=at < end, other=0.0)
        tl.store(flags_ptr + block, bad | sk_nonfinite(sk_float(rest)))


@sk_inline
def sk_adam_block(w, g, m, v, eta, factor, beta1, beta2, rest1, rest2, eps, DTYPE: tl.constexpr):
    """(W, M, V) of one block after the step; W is rounded once."""
    m, v, n = sk_moments(sk_float(g), m, v, beta1, beta2, rest1, rest2, eps)
    return sk_cast(factor * sk_float(w) - eta * n, DTYPE), m, v


@triton.jit(do_not_specialize=["count"])
def _adam_update_kernel(
    table_ptr,
    blocks_ptr,  # int32 (blocks,)
    flags_ptr,  # int32 (blocks,)
    scalars_ptr,  # float32 (count, 2)
    count,
    beta1,
    beta2,
    rest1,
    rest2,
    eps,
    W_ROW: tl.constexpr,
    G_ROW: tl.constexpr,
    M_ROW: tl.constexpr,
    V_ROW: tl.constexpr,
    STEP_ROW: tl.constexpr,
    SKIPPED_ROW: tl.constexpr,
    SIZE_ROW: tl.constexpr,
    FIRST_ROW: tl.constexpr,
    SKIP: tl.constexpr,
    DTYPE: tl.constexpr,
    VECTOR: tl.constexpr,
    STATE_VECTOR: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """W = decay W - eta N for one block; nothing where the tensor's gradient is not finite."""
    block = tl.program_id(0)
    tensor = tl.load(blocks_ptr + block).to(tl.int64)
    first = tl.load(table_ptr + FIRST_ROW * count + tensor)
    size = tl.load(table_ptr + SIZE_ROW * count + tensor)
    if SKIP:
        last = first + tl.maximum((size + CHUNK - 1) // CHUNK, 1)
        bad = tl.full((256,), 0, tl.int32)
        for start in range(first, last, 256):
            at = start + tl.arange(0, 256)
            bad |= tl.load(flags_ptr + at, mask=at < last, other=0)
        if tl.max(bad, 0) != 0:
            if block == first:
                address = tl.load(table_ptr + SKIPPED_ROW * count + tensor)
                sk_count(sk_pointer(address, tl.float32, 1))
            return
    if block == first:
        sk_count(sk_pointer(tl.load(table_ptr + STEP_ROW * count + tensor), tl.float32, 1))

    eta, factor = tl.load(scalars_ptr + 2 * tensor), tl.load(scalars_ptr + 2 * tensor + 1)
    w_ptr = sk_pointer(tl.load(table_ptr + W_ROW * count + tensor), DTYPE, VECTOR)
    g_ptr = sk_pointer(tl.load(table_ptr + G_ROW * count + tensor), DTYPE, VECTOR)
    m_ptr = sk_pointer(tl.load(table_ptr + M_ROW * count + tensor), tl.float32, STATE_VECTOR)
    v_ptr = sk_pointer(tl.load(table_ptr + V_ROW * count + tensor), tl.float32, STATE_VECTOR)
    begin = (block - first) * CHUNK
    end = tl.minimum(begin + CHUNK, size)
    for start in range(begin, end - BLOCK + 1, BLOCK):
        at = start + tl.arange(0, BLOCK)
        w, g = tl.load(w_ptr + at), tl.load(g_ptr + at)
        m, v = tl.load(m_ptr + at), tl.load(v_ptr + at)
        w, m, v = sk_adam_block(w, g, m, v, eta, factor, beta1, beta2, rest1, rest2, eps, DTYPE)
        tl.store(m_ptr + at, m)
        tl.store(v_ptr + at, v)
        tl.store(w_ptr + at, w)
    at = begin + (end - begin) // BLOCK * BLOCK + tl.arange(0, BLOCK)
    here = at < end
    w, g = tl.load(w_ptr + at, mask=here, other=0.0), tl.load(g_ptr + at, mask=here, other=0.0)
    m, v = tl.load(m_ptr + at, mask=here, other=0.0), tl.load(v_ptr + at, mask=here, other=0.0)
    w, m, v = sk_adam_block(w, g, m, v, eta, factor, beta1, beta2, rest1, rest2, eps, DTYPE)
    tl.store(m_ptr + at, m, mask=here)
    tl.store(v_ptr + at, v, mask=here)
    tl.store(w_ptr + at, w, mask=here)
