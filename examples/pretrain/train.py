"""One run: one method, one seed, from the first step (or a checkpoint) to the last."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from . import checkpoint, data, memory, methods
from . import model as models
from .progress import NoProgress

WARMUP = 0.1  # share of the steps; warm-up and the cosine to a tenth are those of the papers
FLOOR = 0.1


@dataclass(frozen=True)
class RunConfig:
    """All that decides the numbers of a run."""

    method: str
    seed: int
    lr: float
    steps: int
    batch: int
    seq: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocab: int
    rank: int
    gap: int
    scale: float
    basis: str  # "" leaves the optimizer its default
    clip: float
    corpus: data.Corpus

    def identity(self):
        """Settings that must agree for a checkpoint to be continued."""
        settings = asdict(self)
        settings["data"] = settings.pop("corpus")["fingerprint"][:16]
        return settings


class Interrupted(Exception):
    """The run was asked to stop and has left a checkpoint."""


def learning_rate(step, *, peak, steps):
    """Linear warm-up, then a cosine to a tenth of the peak."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def evaluate(model, tokens, *, batch, seq):
    """Mean cross-entropy over all held-out windows."""
    total, count = 0.0, 0
    for windows in data.heldout_batches(tokens, batch=batch, seq=seq):
        total += float(models.loss_of(model, windows)) * len(windows)
        count += len(windows)
    return total / count


def run(config, directory, *, resume=False, save_every=100, progress=None, should_stop=bool):
    """Train, leaving checkpoints in `directory`; returns the result as a dict of plain values.

    Raises:
        Interrupted: `should_stop()` became true; the step in progress was finished and saved.
        UserError: the checkpoint to resume from is damaged or of another run.
    """
    progress = progress or NoProgress()
    directory = Path(directory)
    train, heldout = data.load_tokens(config.corpus)
    models.load_library()  # so that its share of the memory is not counted as the run's
    history = {
        "loss": [],
        "heldout": [],
        "seconds": 0.0,
        "optimizer_seconds": 0.0,
        "start_mb": memory.peak_mb(),
        "peak_mb": 0.0,
        "threads": torch.get_num_threads(),
    }
    model = models.build(
        hidden=config.hidden,
        intermediate=config.intermediate,
        layers=config.layers,
        heads=config.heads,
        vocab=config.vocab,
        seq=config.seq,
        seed=config.seed,
    )
    optimizer = methods.make_optimizer(model, config)
    step = 0
    if resume and (last := checkpoint.latest(directory)) is not None:
        step, history = checkpoint.load(
            last, model=model, optimizer=optimizer, identity=config.identity()
        )
        progress.note(f"resumed at step {step} from {last}")
        if history["threads"] != torch.get_num_threads():
            progress.note(f"it ran on {history['threads']} threads before: last bits may differ")
    elif checkpoint.clear(directory):
        progress.note(f"starting again: earlier checkpoints in {directory} removed")

    def save():
        history["peak_mb"] = max(history["peak_mb"], memory.peak_mb())
        checkpoint.save(
            directory,
            model=model,
            optimizer=optimizer,
            step=step,
            identity=config.identity(),
            history=history,
        )

    eval_every = max(1, math.ceil(config.steps / 5))
    shape = {"batch": config.batch, "seq": config.seq}
    progress.start(config, step)
    while step < config.steps:
        if should_stop():
            save()
            raise Interrupted(f"stopped after step {step}; --resume goes on from there")
        _step(model, optimizer, train, config, step, history)
        step += 1
        if step % eval_every == 0 or step == config.steps:
            history["heldout"].append([step, evaluate(model, heldout, **shape)])
        progress.update(step, history, config.batch * config.seq)
        if step % save_every == 0 or step == config.steps:
            save()
    progress.finish()
    return {
        "method": config.method,
        "label": methods.METHODS[config.method].label,
        "seed": config.seed,
        "lr": config.lr,
        "steps": step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_loss": history["heldout"][-1][1],
        "heldout_curve": history["heldout"],
        "train_curve": history["loss"],
        "state_mb": methods.state_bytes(optimizer) / 1e6,
        "optimizer_ms": 1e3 * history["optimizer_seconds"] / step,
        "tokens_per_second": step * config.batch * config.seq / history["seconds"],
        **{key: history[key] for key in ("seconds", "start_mb", "peak_mb", "threads")},
    }


def _step(model, optimizer, tokens, config, step, history):
    start = time.perf_counter()
    rate = learning_rate(step, peak=config.lr, steps=config.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = data.batch_at(tokens, seed=config.seed, step=step, batch=config.batch, seq=config.seq)
    loss = models.loss_of(model, batch)
    loss.backward()
    if config.clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    before = time.perf_counter()
    optimizer.step()
    after = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    history["loss"].append(float(loss.detach()))
    history["optimizer_seconds"] += after - before
    history["seconds"] += time.perf_counter() - start
