"""A caller's denoiser behind its layout and kind of prediction, and the noise it is shown."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.ops._channels import to_channels, to_complex
from subkern.ops._checks import check_choice

Denoiser = Callable[[Tensor, Tensor], Tensor]
PREDICTIONS = ("noise", "x0", "score")


class Network:
    """(x_t, t) -> (x0, e), whatever the denoiser predicts and in whatever layout it takes images.

    Args:
        op: whose errors these are.
        denoiser: (x_t, t) -> prediction, in the layout and dtype of x_t.
        prediction: "noise", "x0" or "score".
        channels: the denoiser takes complex images as two channels.
    """

    def __init__(self, op: str, denoiser: Denoiser, prediction: str, channels: bool):
        if not callable(denoiser):
            raise TypeError(f"{op}: denoiser must be callable, got {type(denoiser).__name__}")
        self.prediction = check_choice(op, "prediction", prediction, PREDICTIONS)
        self._op, self._denoiser, self._channels = op, denoiser, channels

    def show(self, x: Tensor) -> Tensor:
        """An image as the denoiser sees it."""
        return to_channels(x) if self._channels else x

    def __call__(self, x: Tensor, t: Tensor, scale: float, noise: float) -> tuple[Tensor, Tensor]:
        """(x0, e) with x = scale x0 + noise e; ``t`` is (samples,) int64."""
        shown = self.show(x)
        out = self._denoiser(shown, t)
        if not isinstance(out, Tensor) or out.shape != shown.shape or out.dtype != shown.dtype:
            tensor = isinstance(out, Tensor)
            got = f"{tuple(out.shape)} {out.dtype}" if tensor else type(out).__name__
            raise TypeError(
                f"{self._op}: denoiser must return {tuple(shown.shape)} {shown.dtype} like its "
                f"input, got {got}"
            )
        out = to_complex(out) if self._channels else out
        if self.prediction == "x0":
            return out, (x - scale * out) / noise
        e = out if self.prediction == "noise" else -noise * out
        return (x - noise * e) / scale, e


def takes_channels(op: str, layout: str | None, image: Tensor, start: Tensor | None) -> bool:
    """Whether the denoiser takes complex images, such as ``image``, as two channels."""
    if layout is not None:
        check_choice(op, "layout", layout, ("complex", "channels"))
    if not image.is_complex():
        if layout is not None:
            raise ValueError(f"{op}: layout must be None for real images, got {layout!r}")
        return False
    if start is not None and not start.is_complex():
        if layout == "complex":
            raise ValueError(f"{op}: layout must be 'channels' for a real start, got 'complex'")
        return True
    return layout == "channels"


def draw(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise of unit variance in every real number."""
    shape = (*like.shape, 2) if like.is_complex() else like.shape
    drawn = torch.randn(shape, dtype=like.real.dtype, device=like.device, generator=generator)
    return torch.view_as_complex(drawn) if like.is_complex() else drawn


def check_generator(op: str, generator: object, device: torch.device) -> None:
    """A generator on the device of the images, or none."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"{op}: generator must be a torch.Generator, got {type(generator).__name__}"
        )
    if generator.device.type != device.type:
        raise ValueError(f"{op}: generator must be on {device.type}, got {generator.device}")
