"""Checkpoints that are whole or absent, load no code, and continue a run bit for bit.

A checkpoint is a folder step-000123 with model.safetensors, state.pt (optimizer, generator,
history; torch.save of tensors and plain containers) and meta.json (the run's settings and the
SHA-256 of both files). It is written under another name, flushed, and renamed in one step; the
previous one goes only then.
"""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import torch

from . import UserError, methods

FORMAT = 1
FILES = ("model.safetensors", "state.pt")


def save(directory, *, model, optimizer, step, identity, history):
    """Write the checkpoint of `step` into `directory` and drop the older ones."""
    from safetensors.torch import save_file

    directory = Path(directory)
    final = directory / f"step-{step:06d}"
    if final.exists():  # a run stopped right after it was resumed: its checkpoint is this one
        return final
    directory.mkdir(parents=True, exist_ok=True)
    for cut_short in directory.glob("writing-*"):
        shutil.rmtree(cut_short, ignore_errors=True)
    temporary = directory / f"writing-{os.getpid()}"
    temporary.mkdir()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary / FILES[0])
    state = {
        "step": step,
        "optimizer": methods.pack(optimizer),
        "generator": torch.get_rng_state(),
        "history": history,
    }
    torch.save(state, temporary / FILES[1])
    meta = {
        "format": FORMAT,
        "step": step,
        "identity": identity,
        "sha256": {name: _sha256(temporary / name) for name in FILES},
    }
    (temporary / "meta.json").write_text(json.dumps(meta, indent=1))
    for name in (*FILES, "meta.json"):
        _flush(temporary / name)
    _flush(temporary)
    os.rename(temporary, final)
    _flush(directory)
    for old in directory.glob("step-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    return final


def latest(directory):
    """Return the newest checkpoint folder in `directory`, or None."""
    return max(Path(directory).glob("step-*"), default=None)


def clear(directory):
    """Remove all checkpoints in `directory`; returns whether there were any."""
    found = latest(directory) is not None
    shutil.rmtree(directory, ignore_errors=True)
    return found


def load(path, *, model, optimizer, identity):
    """Restore model, optimizer and generator; returns (step, history).

    Raises:
        UserError: if a file is missing or damaged, or the checkpoint is of a run with other
            settings. Checksums and settings are compared before anything is loaded.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        meta = json.loads((path / "meta.json").read_text())
        if meta["format"] != FORMAT:
            raise UserError(f"checkpoint: {path} has format {meta['format']}, expected {FORMAT}")
        saved, sums = meta["identity"], meta["sha256"]
        damaged = [name for name in FILES if _sha256(path / name) != sums[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"checkpoint: {path} is incomplete or damaged: {error!r}") from error
    if damaged:
        raise UserError(f"checkpoint: {path}/{damaged[0]} is damaged: its checksum does not match")
    differences = [
        f"{key} {saved.get(key)!r} -> {identity.get(key)!r}"
        for key in sorted({*saved, *identity})
        if saved.get(key) != identity.get(key)
    ]
    if differences:
        raise UserError(
            f"checkpoint: {path} is of a run with other settings: {', '.join(differences)}; "
            "use those settings, or drop --resume to start again"
        )
    try:
        weights = load_file(path / FILES[0])
        state = torch.load(path / FILES[1], weights_only=True)
        model.load_state_dict(weights)
        methods.unpack(optimizer, state["optimizer"])
        torch.set_rng_state(state["generator"])
        return state["step"], state["history"]
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"checkpoint: {path} cannot be loaded: {reason}") from error


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
