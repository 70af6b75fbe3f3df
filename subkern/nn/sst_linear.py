"""Linear layers for Sparse Spectral Training (Zhao et al., 2024, arXiv:2405.15481)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from subkern.backends.watched import is_traced
from subkern.ops._checks import check_choice, check_flag
from subkern.ops.spectral_linear import merge, merged_pays, spectral_linear

MODES = ("auto", "factored", "merged")
# Every layer there is: an optimizer that is handed parameters finds theirs.
_layers: weakref.WeakSet[SSTLinear] = weakref.WeakSet()


def owners(params: Sequence[Tensor]) -> list[SSTLinear]:
    """The layers that any of these parameters belong to, in their order."""
    place = {id(p): i for i, p in reversed(list(enumerate(params)))}
    found = [
        (min(places), layer)
        for layer in list(_layers)
        if (places := [place[id(p)] for p in layer.trained() if id(p) in place])
    ]
    return [layer for _, layer in sorted(found, key=lambda one: one[0])]


class SSTLinear(nn.Module):
    """A linear layer held as the singular value decomposition of its weight.

    y = x W^T + bias with W = Uh^T diag(S) Vh (m x n), k = min(m, n). All singular values are
    trained, and ``rank`` of the vector pairs at a time: the rows ``sampled`` of ``Uh`` and ``Vh``,
    of which ``U_sampled`` and ``V_sampled`` are copies that autograd gives gradients to.
    :class:`subkern.optim.SSTAdamW` steps them, keeps both places equal, draws new pairs and
    restores orthogonality; no other optimizer can, and a forward pass raises RuntimeError where
    one has moved the copies alone. No gradient of the size of W is ever held, nor are there
    gradients of gradients. To average weights (EMA, SWA), average those of :meth:`to_dense`: means
    of factors are no factors of the mean.

    ``mode`` says how W is applied: ``"factored"`` (two thin products), ``"merged"`` (W is built
    once per step, 2 m n k operations, and kept), or ``"auto"``, whichever takes fewer operations
    for the number of tokens at hand (:func:`subkern.ops.spectral_linear.merged_pays`). Writing to
    ``.data`` of a factor hides the change from the kept W; write under ``torch.no_grad()`` instead.

    Args:
        in_features: n.
        out_features: m.
        rank: vector pairs trained at a time, in [1, k].
        bias: whether to add one.
        mode: see above.
        enhanced: gradients of the vectors without the factor S_i, as published; False for those of
            autograd.
        device, dtype: of the parameters.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range.

    Example:
        >>> import torch, subkern
        >>> layer = subkern.nn.SSTLinear.from_linear(torch.nn.Linear(6, 4), rank=2)
        >>> layer(torch.ones(3, 6)).shape, layer.U_sampled.shape, layer.V_sampled.shape
        (torch.Size([3, 4]), torch.Size([2, 4]), torch.Size([2, 6]))
        >>> type(layer.to_dense())
        <class 'torch.nn.modules.linear.Linear'>
    """

    sampled: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        bias: bool = True,
        *,
        mode: str = "auto",
        enhanced: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = dict(in_features=in_features, out_features=out_features, rank=rank)
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"SSTLinear: {name} must be an integer, got {size!r}")
        for name in ("in_features", "out_features"):
            if sizes[name] < 1:
                raise ValueError(f"SSTLinear: {name} must be at least 1, got {sizes[name]}")
        largest = min(in_features, out_features)
        if not 1 <= rank <= largest:
            raise ValueError(f"SSTLinear: rank must be in [1, {largest}], got {rank}")
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.mode = check_choice("SSTLinear", "mode", mode, MODES)
        self.enhanced = check_flag("SSTLinear", "enhanced", enhanced)
        made: dict[str, Any] = dict(device=device, dtype=dtype)
        self.Uh = Parameter(torch.empty(largest, out_features, **made), requires_grad=False)
        self.S = Parameter(torch.empty(largest, **made))
        self.Vh = Parameter(torch.empty(largest, in_features, **made), requires_grad=False)
        self.U_sampled = Parameter(torch.empty(rank, out_features, **made))
        self.V_sampled = Parameter(torch.empty(rank, in_features, **made))
        self.bias = Parameter(torch.empty(out_features, **made)) if bias else None
        self.register_buffer("sampled", torch.arange(rank, device=device))
        self._kept: tuple[_State, Tensor] | None = None
        self._seen: tuple[_State, _State] | None = None
        _layers.add(self)
        if self.S.device.type != "meta":
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight and the bias as torch.nn.Linear does."""
        shape = (self.in_features, self.out_features)
        made: dict[str, Any] = dict(device=self.S.device, dtype=torch.float32)
        self._take(nn.Linear(*shape, bias=self.bias is not None, **made))

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, rank: int, *, mode: str = "auto", enhanced: bool = True
    ) -> SSTLinear:
        """The layer whose weight is that of ``linear``, by torch.linalg.svd in float32 at least."""
        if not isinstance(linear, nn.Linear):
            raise TypeError(
                f"SSTLinear: linear must be a torch.nn.Linear, got {type(linear).__name__}"
            )
        weight = linear.weight
        if not weight.is_floating_point():
            raise TypeError(f"SSTLinear: linear must be real floating point, got {weight.dtype}")
        if not weight.is_meta and not bool(weight.isfinite().all()):
            raise ValueError("SSTLinear: linear must have a finite weight, got one that is not")
        layer = cls(
            linear.in_features,
            linear.out_features,
            rank,
            bias=linear.bias is not None,
            mode=mode,
            enhanced=enhanced,
            device="meta",
            dtype=weight.dtype,
        ).to_empty(device=weight.device)
        layer._take(linear)
        for p in layer.trained():
            p.requires_grad_(weight.requires_grad)
        if layer.bias is not None:
            layer.bias.requires_grad_(linear.bias.requires_grad)
        return layer.train(linear.training)

    def trained(self) -> tuple[Parameter, Parameter, Parameter]:
        """What Sparse Spectral Training steps: S, U_sampled, V_sampled."""
        return self.S, self.U_sampled, self.V_sampled

    @torch.no_grad()
    def _take(self, linear: nn.Linear) -> None:
        weight = linear.weight.detach()
        wide = weight.double() if weight.dtype == torch.float64 else weight.float()
        U, S, Vh = torch.linalg.svd(wide, full_matrices=False)
        self.set_factors(U.mT, S, Vh)
        if self.bias is not None:
            self.bias.copy_(linear.bias)

    @torch.no_grad()
    def set_factors(self, Uh: Tensor, S: Tensor, Vh: Tensor, sampled: Tensor | None = None) -> None:
        """Overwrite the factors in place, and the sampled copies; ``sampled`` starts leading."""
        self.Uh.copy_(Uh)
        self.S.copy_(S)
        self.Vh.copy_(Vh)
        self.set_sampled(torch.arange(self.rank, device=S.device) if sampled is None else sampled)

    @torch.no_grad()
    def set_sampled(self, sampled: Tensor) -> None:
        """Train these vector pairs from now on."""
        self._seen = None
        self.sampled.copy_(sampled)
        torch.index_select(self.Uh, 0, self.sampled, out=self.U_sampled.detach())
        torch.index_select(self.Vh, 0, self.sampled, out=self.V_sampled.detach())

    def merges(self, tokens: int) -> bool:
        """Whether a forward pass over so many tokens goes by the merged weight."""
        if self.mode != "auto":
            return self.mode == "merged"
        training = torch.is_grad_enabled() and self.S.requires_grad
        if not training and self._counts_writes() and self._keeps_weight():
            return True
        (k, m), n = self.Uh.shape, self.in_features
        return merged_pays(tokens, m, n, k, self.rank, training=training)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + bias; x (*batch, n)."""
        self._check_copies()
        weight = self.weight if self.merges(x.numel() // max(1, x.shape[-1])) else None
        factors = (self.Uh, self.S, self.Vh, self.U_sampled, self.V_sampled, self.sampled)
        return spectral_linear(x, *factors, self.bias, weight=weight, enhanced=self.enhanced)

    @property
    @torch.no_grad()
    def weight(self) -> Tensor:
        """W = Uh^T diag(S) Vh, m x n, without gradient; built again only after a factor changed."""
        if not self._counts_writes():
            return merge(self.Uh, self.S, self.Vh)
        if self._kept is None or not self._keeps_weight():
            with torch.inference_mode(False), torch.no_grad():  # training may be next to use it
                made = merge(self.Uh, self.S, self.Vh)
            self._kept = (_State(self.Uh, self.S, self.Vh, made), made)
        return self._kept[1]

    def _counts_writes(self) -> bool:
        """Whether tensors have addresses, and count what is written to them."""
        return not (is_traced() or self.Uh.is_inference())

    def _keeps_weight(self) -> bool:
        """Whether the kept W is that of the factors, and nobody wrote to it."""
        if self._kept is None:
            return False
        state, made = self._kept
        return state.holds(self.Uh, self.S, self.Vh, made)

    def _check_copies(self) -> None:
        """Raise where the copies have been written and what they are copies of has not."""
        if not self._counts_writes():
            return
        copies, tables = (self.U_sampled, self.V_sampled), (self.Uh, self.Vh)
        if self._seen is not None and self._seen[1].holds(*tables):
            if self._seen[0].holds(*copies):
                return
            if self._seen[0].same(*copies):
                raise RuntimeError(
                    "SSTLinear: U_sampled and V_sampled must move with Uh and Vh, as "
                    "subkern.optim.SSTAdamW steps them, got copies that were written alone"
                )
        self._seen = (_State(*copies), _State(*tables))

    def to_dense(self) -> nn.Linear:
        """A torch.nn.Linear with the same weight and bias, in memory of their own."""
        made: dict[str, Any] = dict(device="meta", dtype=self.S.dtype)
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, **made)
        linear = linear.to_empty(device=self.S.device).train(self.training)
        with torch.no_grad():
            linear.weight.copy_(merge(self.Uh, self.S, self.Vh))
            if self.bias is not None:
                linear.bias.copy_(self.bias)
                linear.bias.requires_grad_(self.bias.requires_grad)
        linear.weight.requires_grad_(any(p.requires_grad for p in self.trained()))
        return linear

    def extra_repr(self) -> str:
        """Sizes and options, as print(model) shows them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, "
            f"bias={self.bias is not None}, mode={self.mode!r}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the kept weight behind."""
        return {**self.__dict__, "_kept": None, "_seen": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies are layers of their own."""
        super().__setstate__(state)
        _layers.add(self)


class _State:
    """Tensors as they are: which ones, where, and how often torch or an op of ours wrote them."""

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors  # kept, so that no other tensor can be mistaken for one of them
        self._marks = self._now()

    def _now(self) -> list[object]:
        return [(t.data_ptr(), t._version, t.dtype, t.device) for t in self._tensors]

    def same(self, *tensors: Tensor) -> bool:
        """Whether these are the same tensors, written or not."""
        return all(a is b for a, b in zip(self._tensors, tensors, strict=True))

    def holds(self, *tensors: Tensor) -> bool:
        """Whether these are the same tensors, and nothing has written or moved them."""
        return self.same(*tensors) and self._marks == self._now()
