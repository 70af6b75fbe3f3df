"""Linear layer of fully hyperbolic networks (Chen et al., 2022, arXiv:2105.14686)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from subkern.nn.lorentz import check_curvature, project
from subkern.ops._checks import check_floating, check_number, check_tensor

_OP = "LorentzLinear"
EPS = 1e-8  # added to the squared norm that the space part is divided by


class LorentzLinear(nn.Module):
    """A linear layer from hyperboloid to hyperboloid, points as in :mod:`subkern.nn.lorentz`.

    A linear map of all features, time included, whose space part gets a bounded norm, and a time
    that puts the point back on the hyperboloid::

        (z_0, z) = W x + b
        s = scale sigmoid(z_0) z / sqrt(||z||^2 + 1e-8)        t = sqrt(1/c + ||s||^2)

    ``linear`` is a torch.nn.Linear, and whatever takes its place: an SSTLinear after
    :func:`convert_to_sst`. The bound ``scale`` is trained as its logarithm, ``log_scale``.

    Args:
        in_features: features of a point that comes in, time included; >= 2.
        out_features: features of a point that goes out, time included; >= 2.
        bias: whether ``linear`` has one.
        c: minus the curvature, > 0, of both hyperboloids.
        scale: the bound of ||s|| at first, > 0.
        device, dtype: of the parameters.

    Shape:
        x (*batch, in_features) to (*batch, out_features), of the dtype of ``linear``'s output, or
        float32 at least under autocast. The product alone is in lower precision: norms and times
        take float32 at least, and t comes from s as it is stored. In float32 that leaves
        ``|-t^2 + ||s||^2 + 1/c| < 1e-6 t^2``; the error grows with t^2, as any rounding of t.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape or value.

    Example:
        >>> import torch, subkern
        >>> layer = subkern.nn.LorentzLinear(3, 5)
        >>> y = layer(subkern.nn.lorentz.project(torch.randn(4, 2)))
        >>> time, space = y[:, 0], y[:, 1:]
        >>> y.shape, torch.allclose(time**2, 1 + space.square().sum(dim=1))
        (torch.Size([4, 5]), True)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        c: float = 1.0,
        scale: float = 10.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, count in dict(in_features=in_features, out_features=out_features).items():
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(f"{_OP}: {name} must be an integer, got {count!r}")
            if count < 2:
                raise ValueError(f"{_OP}: {name} must be at least 2, got {count}")
        if check_number(_OP, "scale", scale) == 0:
            raise ValueError(f"{_OP}: scale must be positive, got {scale}")
        self.in_features, self.out_features = in_features, out_features
        self.c = check_curvature(_OP, c)
        self.linear: nn.Module = nn.Linear(
            in_features, out_features, bias, device=device, dtype=dtype
        )
        log_scale = torch.full((), math.log(scale), device=device, dtype=dtype)
        self.log_scale = Parameter(log_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the points that the layer takes the points x (*batch, in_features) to."""
        check_tensor(_OP, "x", x)
        check_floating(_OP, "x", [x])
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"{_OP}: x must have {self.in_features} features, got shape {tuple(x.shape)}"
            )
        z = self.linear(x)
        wide = torch.promote_types(z.dtype, torch.float32)
        stored = wide if _autocasts(x.device.type) else z.dtype
        z = z.to(wide)
        z_0, z = z[..., :1], z[..., 1:]
        norm = self.log_scale.to(wide).exp() * torch.sigmoid(z_0)
        s = z * (norm * torch.rsqrt(z.square().sum(dim=-1, keepdim=True) + EPS))
        return project(s.to(stored), c=self.c)

    def extra_repr(self) -> str:
        """Sizes and curvature, as print(model) shows them."""
        return f"{self.in_features}, {self.out_features}, c={self.c}"


def _autocasts(device: str) -> bool:
    """Whether products are narrowed; torch's own function refuses devices without autocast."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
