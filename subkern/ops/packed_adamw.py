"""AdamW whose state lives on a list of entries, for lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.ops._checks import (
    check_backend,
    check_floating,
    check_like,
    check_list,
    check_rate_device,
)
from subkern.ops._library import define_inplace_op, scalar_tensor
from subkern.ops.adam import check_adam_numbers

_op = define_inplace_op(
    "packed_adamw",
    "(Tensor(a!)[] params, Tensor[] grads, Tensor[] indices, Tensor(b!)[] exp_avgs, "
    "Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] steps, *, Tensor lr, float beta1, float beta2, "
    "float eps, float weight_decay, str backend) -> ()",
    written=("params", "exp_avgs", "exp_avg_sqs", "steps"),
)
INDEX_DTYPES = (torch.int64, torch.int32)


def _check_indices(op: str, name: str, value: Tensor) -> None:
    if value.dtype not in INDEX_DTYPES:
        raise TypeError(f"{op}: {name} must be int64 or int32, got {value.dtype}")
    if value.dim() != 1:
        raise ValueError(f"{op}: {name} must be one-dimensional, got shape {tuple(value.shape)}")


def _check_entries(
    op: str,
    i: int,
    param: Tensor,
    grad: Tensor,
    at: Tensor,
    states: tuple[Tensor, Tensor, Tensor],
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
) -> None:
    """One parameter with what belongs to it; `dtypes` are those of the list's first."""
    exp_avg, exp_avg_sq, step = states
    dtype, state_dtype, index_dtype = dtypes
    device, listed = param.device, at.shape
    check_like(op, "params", [param], param.shape, dtype, device, i)
    _check_indices(op, f"indices[{i}]", at)
    check_like(op, "indices", [at], listed, index_dtype, device, i)
    if grad.shape != param.shape and grad.shape != listed:
        raise ValueError(
            f"{op}: grads[{i}] must have the shape of its parameter, {tuple(param.shape)}, or of "
            f"its indices, {tuple(listed)}, got {tuple(grad.shape)}"
        )
    check_like(op, "grads", [grad], grad.shape, dtype, device, i)
    check_like(op, "exp_avgs", [exp_avg], listed, state_dtype, device, i)
    check_like(op, "exp_avg_sqs", [exp_avg_sq], listed, state_dtype, device, i)
    check_like(op, "steps", [step], () if step.dim() == 0 else listed, torch.float32, device, i)


def packed_adamw_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    indices: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    backend: str | None = None,
) -> None:
    """Take one AdamW step on the listed entries of each parameter and on nothing else.

    For every listed entry w with gradient g, moments m and v and step count t, as torch.optim.AdamW
    does for all of them (Loshchilov and Hutter, 2019, arXiv:1711.05101)::

        t <- t + 1       m <- b1 m + (1 - b1) g       v <- b2 v + (1 - b2) g^2
        w <- w (1 - lr wd) - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)

    The other entries keep their bits. Arithmetic is float32 (float64 for float64 tensors) whatever
    the storage; w is rounded once. A gradient that is not finite spreads to its own entry alone.

    Args:
        params: tensors of one dtype and any shapes; modified in place.
        grads: dense, in the shape of the parameter, and read at the indices; or packed, in the
            shape of the indices. A shape that is both is taken as dense.
        indices: flat positions in each parameter, (k,) int64 or int32 (one dtype for the list), in
            any order; ascending ones are fastest. No index may be out of range or listed twice: the
            CPU refuses the call before anything is written. An accelerator reads nothing back:
            there, of an entry listed twice, one of the results is kept, each with its own m and v,
            and an index out of range is left to torch's own indexing by the reference, while
            backend "cuda" reads and writes nothing there.
        exp_avgs: m, (k,) float32 or the dtype of ``params``; modified in place.
        exp_avg_sqs: v, like ``exp_avgs``; modified in place.
        steps: float32, t before this step: 0-dim for all entries of a parameter, or (k,), one for
            each; modified in place.
        lr: learning rate, a number or a one-element tensor on the CPU or beside the parameters.
        betas: decay rates of the moments, each in [0, 1).
        eps: added to the corrected root, >= 0.
        weight_decay: decoupled weight decay of the listed entries, >= 0.
        backend: implementation to use; None picks.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, count, device or value, an index out of range or listed twice
            (CPU), or written memory that overlaps.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16, moments in float32).

    Example:
        >>> import torch
        >>> w, g, at = torch.ones(4), torch.ones(4), torch.tensor([0, 2])
        >>> m, v, t = torch.zeros(2), torch.zeros(2), torch.zeros(())
        >>> packed_adamw_([w], [g], [at], [m], [v], [t], lr=0.1, weight_decay=0.0)
        >>> [round(x, 3) for x in w.tolist()], t.item()
        ([0.9, 1.0, 0.9, 1.0], 1.0)
    """
    op = "packed_adamw"
    check_list(op, "params", params, len(params))
    count = len(params)
    lists = dict(
        grads=grads, indices=indices, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, steps=steps
    )
    for name, tensors in lists.items():
        check_list(op, name, tensors, count)
    check_adam_numbers(op, lr, betas, eps, weight_decay, "pre")
    name = check_backend(op, backend)
    if not count:
        return
    check_floating(op, "params", params)
    check_floating(op, "exp_avgs", exp_avgs)
    dtypes = (params[0].dtype, exp_avgs[0].dtype, indices[0].dtype)
    rows = zip(params, grads, indices, exp_avgs, exp_avg_sqs, steps, strict=True)
    for i, (p, g, at, m, v, t) in enumerate(rows):
        _check_entries(op, i, p, g, at, (m, v, t), dtypes)
        if p.device != params[0].device:
            raise ValueError(f"{op}: params[{i}] must be on {params[0].device}, got {p.device}")
    check_rate_device(op, lr, params[0].device)
    with torch.no_grad():
        _op(
            params,
            grads,
            indices,
            exp_avgs,
            exp_avg_sqs,
            steps,
            lr=scalar_tensor(lr),
            beta1=float(betas[0]),
            beta2=float(betas[1]),
            eps=float(eps),
            weight_decay=float(weight_decay),
            backend=name,
        )


def _check_index_list(op: str, name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(value).__name__}")
    _check_indices(op, name, value)


def _check_states(op: str, name: str, indices: Tensor, states: Sequence[Tensor]) -> None:
    for i, state in enumerate(states):
        if not isinstance(state, Tensor):
            raise TypeError(f"{op}: states[{i}] must be a tensor, got {type(state).__name__}")
        if state.shape != indices.shape or state.device != indices.device:
            raise ValueError(
                f"{op}: states[{i}] must have the shape and device of {name}, "
                f"{tuple(indices.shape)} on {indices.device}, got {tuple(state.shape)} on "
                f"{state.device}"
            )


def _places(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """(position in `old` of each index of `new`, whether it is there at all); `old` not empty."""
    ascending, order = torch.sort(old)
    place = torch.searchsorted(ascending, new).clamp_(max=old.numel() - 1)
    return order[place], ascending[place] == new


def carry_state(old_indices: Tensor, new_indices: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """Move state of :func:`packed_adamw_` to a new list of entries.

    new_state[j] = state[i] where old_indices[i] = new_indices[j], else 0: entries that stay keep
    their moments (and step count, if each entry has its own), those that enter start at zero.

    Args:
        old_indices: (k,) int64 or int32, no index twice, any order.
        new_indices: (l,), likewise.
        states: (k,) tensors of any dtype.

    Returns:
        New tensors (l,), one for each state; nothing is written and nothing read back.

    Raises:
        TypeError: an argument is no tensor, or indices are no integers.
        ValueError: a wrong shape or device.

    Example:
        >>> import torch
        >>> old, new, m = torch.tensor([1, 4, 6]), torch.tensor([4, 5, 1]), torch.ones(3)
        >>> carry_state(old, new, m)[0].tolist()
        [1.0, 0.0, 1.0]
    """
    _check_index_list("carry_state", "old_indices", old_indices)
    _check_index_list("carry_state", "new_indices", new_indices)
    _check_states("carry_state", "old_indices", old_indices, states)
    if new_indices.device != old_indices.device:
        raise ValueError(
            f"carry_state: new_indices must be on {old_indices.device}, got {new_indices.device}"
        )
    if not old_indices.numel():
        return tuple(state.new_zeros(new_indices.shape) for state in states)
    place, kept = _places(old_indices.long(), new_indices.long())
    return tuple(torch.where(kept, state[place], 0).to(state.dtype) for state in states)


def reset_state_(indices: Tensor, chosen: Tensor, *states: Tensor) -> None:
    """Start chosen entries of :func:`packed_adamw_` anew: state[i] = 0 where indices[i] is chosen.

    Args:
        indices: (k,) int64 or int32, the entries that the states belong to.
        chosen: (l,) int64 or int32; what is not among `indices` is ignored.
        states: (k,) tensors of any dtype; modified in place.

    Raises:
        TypeError: an argument is no tensor, or indices are no integers.
        ValueError: a wrong shape or device.

    Example:
        >>> import torch
        >>> m = torch.ones(3)
        >>> reset_state_(torch.tensor([1, 4, 6]), torch.tensor([6, 7]), m)
        >>> m.tolist()
        [1.0, 1.0, 0.0]
    """
    _check_index_list("reset_state", "indices", indices)
    _check_index_list("reset_state", "chosen", chosen)
    _check_states("reset_state", "indices", indices, states)
    if chosen.device != indices.device:
        raise ValueError(f"reset_state: chosen must be on {indices.device}, got {chosen.device}")
    if not chosen.numel():
        return
    _, found = _places(chosen.long(), indices.long())
    for state in states:
        state.masked_fill_(found, 0)
