"""The Adam core of the GaLore family on tiles, shared by the kernels of both ops."""

import triton.language as tl
from subkern.triton_kernels.prims import sk_inline


@sk_inline
def sk_step_size(
    step_ptr,
    lr,
    lr_ptr,
    log_beta1,
    log_beta2,
    weight_decay,
    LR_TENSOR: tl.constexpr,
    CORRECT_BIAS: tl.constexpr,
    POST_DECAY: tl.constexpr,
):
    """(eta * update_scale, decay factor) of the coming step, in float32.

    In float64: near beta = 1, 1 - beta^t cancels. A rate from the host and one read here give the
    same bits, since both start from float32.
    """
    if LR_TENSOR:
        rate = tl.load(lr_ptr).to(tl.float32).to(tl.float64)
    else:
        rate = tl.cast(lr, tl.float32).to(tl.float64)
    factor = 1.0 - rate * tl.cast(weight_decay, tl.float32).to(tl.float64)
    eta = rate
    if CORRECT_BIAS:
        t = tl.load(step_ptr).to(tl.float64) + 1.0
        one_minus_1 = 1.0 - tl.exp(t * tl.cast(log_beta1, tl.float32).to(tl.float64))
        one_minus_2 = 1.0 - tl.exp(t * tl.cast(log_beta2, tl.float32).to(tl.float64))
        eta = rate * tl.sqrt(one_minus_2) / one_minus_1
    if POST_DECAY:
        eta = eta * factor
    return eta.to(tl.float32), factor.to(tl.float32)


@sk_inline
def sk_moments(r, m, v, beta1, beta2, rest1, rest2, eps):
    """(M, V, N): M = b1 M + (1 - b1) R, V = b2 V + (1 - b2) R^2, N = M / (sqrt(V) + eps).

    rest = 1 - beta comes from the host: the difference would lose half of float32.
    """
    m = beta1 * m + rest1 * r
    v = beta2 * v + rest2 * (r * r)
    # Rounded to nearest: the approximations flush subnormal V to zero.
    return m, v, tl.div_rn(m, tl.sqrt_rn(v) + eps)


@sk_inline
def sk_count(counter_ptr):
    """Add one to a step counter that nobody else writes."""
    tl.store(counter_ptr, tl.load(counter_ptr) + 1.0)
