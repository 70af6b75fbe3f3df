"""Multi-coil imaging on a Cartesian grid."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.imaging._fourier import checkerboard, fft, ifft
from subkern.imaging._sense import SenseNormal
from subkern.ops._called import check_batch
from subkern.ops._checks import check_flag, check_tensor
from subkern.ops._operator import LinearOperator, NormalOperator

KINDS = {1: "line", 2: "plane", 3: "volume"}


class CartesianSense(LinearOperator):
    """A x = mask * F (S_c x): coil sensitivities, an orthonormal Fourier transform, a mask.

    Where the mask is constant along an axis, N = A* A acts along the others alone, and solvers
    transform along those alone; a mask that varies along one axis leaves the rows of an image
    independent (``kind`` "line"), which ``coupling="row"`` and the whole solve in one kernel need.
    For N it does not matter whether F is centred: a circular convolution does not care where the
    origin is.

    Args:
        maps: S, (samples or 1, coils, *spatial) complex64 or complex128; (sets, samples or 1,
            coils, *spatial) for several sets of maps (soft SENSE), whose images are (samples, sets,
            *spatial). Must not be written afterwards, nor the mask: see :meth:`update`.
        mask: real, >= 0, (samples or 1, 1, *spatial) or what broadcasts to that; values other than
            0 and 1 weight the data, and N by their squares.
        centered: the zero frequency and the image's origin lie at n // 2; else first.
        spatial_ndim: 1, 2 or 3.
        detect_lines: look for axes along which the mask is constant.

    Attributes:
        kind: "line", "plane" or "volume", by the axes that the mask varies along.
        norm_bound: an upper bound of ||N||: 1 for maps of unit root sum of squares and a 0/1 mask.

    Raises:
        TypeError, ValueError: maps or mask of the wrong kind, dtype, shape or device.

    Example:
        >>> import torch
        >>> maps = torch.full((1, 4, 6, 8), 0.5 + 0j)
        >>> mask = (torch.arange(8) % 2 == 0).float()
        >>> A = CartesianSense(maps, mask)
        >>> A.kind, A.norm_bound, tuple(A.matvec(torch.ones(1, 6, 8) + 0j).shape)
        ('line', 1.0, (1, 4, 6, 8))
    """

    def __init__(
        self,
        maps: Tensor,
        mask: Tensor,
        *,
        centered: bool = True,
        spatial_ndim: int = 2,
        detect_lines: bool = True,
    ):
        if isinstance(spatial_ndim, bool) or not isinstance(spatial_ndim, int):
            raise TypeError(
                f"CartesianSense: spatial_ndim must be an int, got {type(spatial_ndim).__name__}"
            )
        if spatial_ndim not in KINDS:
            raise ValueError(f"CartesianSense: spatial_ndim must be 1, 2 or 3, got {spatial_ndim}")
        self.spatial_ndim = spatial_ndim
        self.centered = check_flag("CartesianSense", "centered", centered)
        self._detect = check_flag("CartesianSense", "detect_lines", detect_lines)
        self._set(maps, mask)

    def update(self, *, maps: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Replace maps, mask or both, and all that was prepared for them."""
        self._set(self.maps if maps is None else maps, self.mask if mask is None else mask)

    def _set(self, maps: Tensor, mask: Tensor) -> None:
        d = self.spatial_ndim
        check_tensor("CartesianSense", "maps", maps)
        check_tensor("CartesianSense", "mask", mask)
        if maps.dtype not in (torch.complex64, torch.complex128):
            raise TypeError(
                f"CartesianSense: maps must be complex64 or complex128, got {maps.dtype}"
            )
        if maps.dim() not in (d + 2, d + 3):
            raise ValueError(
                f"CartesianSense: maps must have shape ([sets,] samples, coils, *spatial) with "
                f"{d} spatial axes, got {tuple(maps.shape)}"
            )
        if mask.is_complex():
            raise TypeError(f"CartesianSense: mask must be real, got {mask.dtype}")
        if mask.device != maps.device:
            raise ValueError(f"CartesianSense: mask must be on {maps.device}, got {mask.device}")
        samples, coils, spatial = maps.shape[-d - 2], maps.shape[-d - 1], maps.shape[-d:]
        if not coils or not samples:
            raise ValueError(
                f"CartesianSense: maps must have a coil and a sample, got {tuple(maps.shape)}"
            )
        maps = maps.detach().resolve_conj().resolve_neg().contiguous()
        mask = mask.detach().resolve_neg().to(maps.real.dtype)
        mask = mask.reshape(*[1] * (d + 2 - mask.dim()), *mask.shape)
        fits = mask.dim() == d + 2 and mask.shape[1] == 1
        fits = fits and (samples == 1 or mask.shape[0] in (1, samples))
        if not fits or any(k not in (1, n) for k, n in zip(mask.shape[2:], spatial, strict=True)):
            raise ValueError(
                f"CartesianSense: mask must broadcast to ({samples} or 1, 1, "
                f"{', '.join(map(str, spatial))}), got {tuple(mask.shape)}"
            )
        if mask.numel() and not bool((mask >= 0).all() & torch.isfinite(mask.square()).all()):
            raise ValueError(
                "CartesianSense: mask must be zero or more and its square finite, got others"
            )
        self.maps, self.mask = maps, mask
        self._sets = maps.shape[0] if maps.dim() == d + 3 else None
        self.image_dim, self.data_dim = d + 1 + (self._sets is not None), d + 2
        varied = self._varied_axes()
        self.kind = KINDS[len(varied)]
        power = self.maps.abs().square().sum((0, 2) if self._sets else 1)
        most = mask.square().max() if mask.numel() else mask.sum()
        self.norm_bound = float(power.max() * most) if power.numel() else 0.0
        self._normal = SenseNormal(maps, mask, varied, self.centered, self._check_image)
        self._set_transforms()

    def _set_transforms(self) -> None:
        """What A and A* multiply by: pairs of real numbers, which torch multiplies in one pass.

        Its complex products round by where an element lies in the batch. Shifts of even lengths are
        signs, of the image and of the mask; odd ones are left to be done.
        """
        d, spatial = self.spatial_ndim, tuple(self.maps.shape[-self.spatial_ndim :])
        lengths = spatial if self.centered else (1,) * d
        self._shifted = tuple(axis - d for axis, n in enumerate(lengths) if n % 2 and n > 1)
        signs = checkerboard(lengths, [0] * d, self.mask)
        weights = self.mask * checkerboard(lengths, [n // 2 for n in lengths], self.mask)
        self._signs, self._weights = (
            v[..., None].repeat_interleave(2, -1) for v in (signs, weights)
        )
        sets = self.maps if self._sets else self.maps[None]
        pairs = torch.view_as_real(sets)
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), -1)  # i S
        # Complex, like the maps whose memory they share: torch saves no memory of two dtypes.
        self._factors = tuple(zip(sets, torch.view_as_complex(turned), strict=True))

    def _varied_axes(self) -> tuple[int, ...]:
        """Spatial axes along which the mask varies; at least one, and all if not looked for."""
        d = self.spatial_ndim
        if not self._detect:
            return tuple(range(d))
        varied = [
            axis
            for axis in range(d)
            if self.mask.shape[2 + axis] > 1
            and not bool((self.mask == self.mask.narrow(2 + axis, 0, 1)).all())
        ]
        return tuple(varied) or (d - 1,)

    def _check(self, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
        samples = max(self.maps.shape[-self.spatial_ndim - 2], self.mask.shape[0])
        made_of = ((self.maps.dtype,), self.maps.device)
        check_batch("CartesianSense", name, value, shape, samples, *made_of)

    def _check_image(self, name: str, value: Tensor) -> None:
        spatial = tuple(self.maps.shape[-self.spatial_ndim :])
        self._check(name, value, spatial if self._sets is None else (self._sets, *spatial))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.spatial_ndim, 0))

    def matvec(self, x: Tensor) -> Tensor:
        """Images (samples, [sets,] *spatial) -> data (samples, coils, *spatial)."""
        self._check_image("x", x)
        pairs = torch.view_as_real(x.resolve_conj().resolve_neg()) * self._signs
        pairs = pairs if self._sets else pairs[:, None]
        shape, coils = (len(x), 1, *pairs.shape[2:]), None
        for e, factors in enumerate(self._factors):
            for part, S in enumerate(map(torch.view_as_real, factors)):  # re x S + im x (i S)
                numbers = pairs[:, e, None, ..., part, None].expand(shape).contiguous()
                coils = numbers * S if coils is None else coils.addcmul_(numbers, S)
        assert coils is not None
        data = fft(torch.view_as_complex(coils), self._axes, self._shifted)
        torch.view_as_real(data).mul_(self._weights)
        return data

    def adjoint(self, y: Tensor) -> Tensor:
        """Data (samples, coils, *spatial) -> images (samples, [sets,] *spatial)."""
        spatial = tuple(self.maps.shape[-self.spatial_ndim :])
        self._check("y", y, (self.maps.shape[-self.spatial_ndim - 1], *spatial))
        data = torch.view_as_real(y.resolve_conj().resolve_neg()) * self._weights
        coils = ifft(torch.view_as_complex(data), self._axes, self._shifted)
        pairs = torch.view_as_real(coils)
        found = []
        for factors in self._factors:
            parts = []  # re conj(S) v = re S re v + im S im v; the imaginary one likewise, of i S
            for S in map(torch.view_as_real, factors):
                total = pairs[:, 0] * S[:, 0]
                for c in range(1, S.shape[1]):
                    total.addcmul_(pairs[:, c], S[:, c])
                parts.append((total[..., 0] + total[..., 1]) * self._signs[..., 0])
            found.append(torch.complex(*parts))
        return torch.stack(found, 1) if self._sets else found[0]

    def normal(self, x: Tensor) -> Tensor:
        """A* A x, transformed along the axes alone that the mask varies along."""
        self._check_image("x", x)
        if torch.is_grad_enabled() and x.requires_grad:
            return self.adjoint(self.matvec(x))  # which autograd knows
        x = x.resolve_conj().resolve_neg()
        return self._normal.leave(self._normal(self._normal.enter(x)))

    def normal_operator(self) -> NormalOperator:
        """N for solvers."""
        return self._normal
