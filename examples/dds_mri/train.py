"""Training of the denoiser, and its cache."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from subkern.imaging import calibrate, schedules
from subkern.ops._channels import to_complex

from .data import Crops
from .model import Denoiser, OnSchedule


@dataclass(frozen=True)
class Settings:
    """All that the trained denoiser depends on."""

    steps: int = 4000
    batch: int = 8
    size: int = 64
    widths: tuple[int, int, int] = (32, 48, 64)
    lr: float = 2.5e-3
    average: float = 0.998
    seed: int = 0
    data: str = "mni152"

    def key(self) -> str:
        """A short name of these settings."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def train(settings: Settings, slices, progress) -> tuple[Denoiser, dict]:
    """The average of the last weights, and what happened: loss and seconds."""
    torch.manual_seed(settings.seed)
    model = Denoiser(widths=settings.widths)
    averaged = copy.deepcopy(model)
    crops = Crops(slices, settings.size, settings.seed)
    optimizer = torch.optim.Adam(model.parameters(), settings.lr, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps + 1, pct_start=0.05
    )
    generator = torch.Generator().manual_seed(settings.seed + 1)
    started, losses = time.perf_counter(), []
    task = progress.add_task("training", total=settings.steps, note="")
    for step in range(settings.steps):
        clean = crops.batch(settings.batch)
        noise = torch.randn(clean.shape, generator=generator)
        level = (1.6 * torch.randn(settings.batch, generator=generator) - 2.0).exp()
        loss = model.loss(clean, noise, level)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay.step()
        kept = min(settings.average, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - kept)
        losses.append(loss.detach())
        if step % 20 == 19 or step + 1 == settings.steps:
            recent = float(torch.stack(losses[-200:]).mean())
            progress.update(task, completed=step + 1, note=f"loss {recent:.4f}")
    seconds = time.perf_counter() - started
    return averaged, {"loss": recent, "seconds": seconds}


def denoiser(settings: Settings, slices, folder: Path, progress) -> tuple[OnSchedule, dict]:
    """The trained denoiser and its variances, from the cache if they are there."""
    schedule = schedules.vp()
    path = folder / f"denoiser-{settings.key()}.pt"
    if path.exists():
        stored = torch.load(path, weights_only=True)
        model = Denoiser(widths=settings.widths)
        model.load_state_dict(stored["model"])
        return OnSchedule(model, schedule), {**stored["facts"], "variance": stored["variance"]}
    model, facts = train(settings, slices, progress)
    on_schedule = OnSchedule(model, schedule)
    known = to_complex(Crops(slices, settings.size, settings.seed + 2).batch(64))
    variance = calibrate(
        on_schedule,
        known,
        schedule=schedule,
        prediction="x0",
        layout="channels",
        generator=torch.Generator().manual_seed(settings.seed + 3),
    )
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "variance": variance, "facts": facts}, path)
    return on_schedule, {**facts, "variance": variance}
