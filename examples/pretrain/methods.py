"""The methods compared, how each optimizer is made, and its learning rate."""

import importlib
import sys
import warnings
from dataclasses import dataclass

import torch

from . import UserError, lora
from .model import LOWRANK_MODULES, divide

SST_STEPS = 20  # between draws: a run of 240 steps sees twelve; papers take hundreds


@dataclass(frozen=True)
class Method:
    """A named optimizer with its label, its default learning rate and its grid of four."""

    label: str
    make: object
    lr: float
    grid: tuple


def _adamw(model, _, lr):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=lr, weight_decay=0.0, fused=True)


def _lora(model, config, lr):
    lora.convert(model, LOWRANK_MODULES, _thin(config))
    return _adamw(model, config, lr)


def _sst(model, config, lr):
    nn, optim = _subkern("nn"), _subkern("optim")
    nn.convert_to_sst(model, LOWRANK_MODULES, _thin(config))
    steps = {"iteration_steps": SST_STEPS, "seed": config.seed}
    return optim.SSTAdamW(model, lr=lr, weight_decay=0.0, **steps)


def _thin(config):
    """The rank at which full-rank training is out of reach of plain low-rank factors."""
    return max(1, config.hidden // 12)


def _subkern(part):
    try:
        return importlib.import_module(f"subkern.{part}")
    except ImportError as error:
        raise UserError(f"methods: subkern is not installed: {error}") from error


def _groups(model, config, factor, **more):
    lowrank, plain = divide(model)
    projected = {
        "params": lowrank,
        "rank": config.rank,
        "update_proj_gap": config.gap,
        factor: config.scale,
        "proj_type": "std",
        **more,
    }
    return [{"params": plain}, projected]


def _ours(name):
    def make(model, config, lr):
        cls = getattr(_subkern("optim"), name)
        more = {"basis": config.basis} if config.basis else {}
        return cls(_groups(model, config, "scale", **more), lr=lr)

    return make


def _official(rule, factor):
    def make(model, config, lr):
        cls = _import_peer(rule)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(_groups(model, config, factor), lr=lr, no_deprecation_warning=True)

    return make


def _import_peer(rule):
    try:
        from subkern.bench import peers

        return peers.adamw(rule)
    except ImportError as error:
        raise UserError(f"peers: {error}") from error


# Learning rates: the best of each grid, found by `python examples/pretrain_llama.py --grid`
# (default model, text, steps and seed). The official packages use the rates of ours.
# held-out loss there: AdamW 4.920 4.851 4.879 5.112, GaLore 4.487 4.256 4.206 4.410,
# Fira 4.546 4.311 4.322 4.740, SST 4.946 4.704 4.975 5.541, factors 5.330 4.989 5.203 6.042. The
# grids of GaLore and Fira lie higher because `scale` leaves the projected matrices a quarter of the
# rate, which embeddings and head take in full.
ADAMW_GRID = (6.25e-4, 1.25e-3, 2.5e-3, 5e-3)
GALORE_GRID = (2.5e-3, 5e-3, 1e-2, 2e-2)
FIRA_GRID = (1.25e-3, 2.5e-3, 5e-3, 1e-2)
METHODS = {
    "adamw": Method("AdamW (torch, fused)", _adamw, 1.25e-3, ADAMW_GRID),
    "galore": Method("GaLore (subkern)", _ours("GaLoreAdamW"), 1e-2, GALORE_GRID),
    "fira": Method("Fira (subkern)", _ours("FiraAdamW"), 2.5e-3, FIRA_GRID),
    "sst": Method("SST (subkern)", _sst, 1.25e-3, ADAMW_GRID),
    "lora": Method("LoRA-style factors", _lora, 1.25e-3, ADAMW_GRID),
    "galore-official": Method(
        "GaLore (galore-torch)", _official("galore", "scale"), 1e-2, GALORE_GRID
    ),
    "fira-official": Method("Fira (fira)", _official("fira", "alpha"), 2.5e-3, FIRA_GRID),
}
PEERS = ("galore-official", "fira-official")


def parse(names):
    """Return the list of method names in a comma-separated string."""
    chosen = list(dict.fromkeys(n.strip() for n in names.split(",") if n.strip()))
    unknown = [n for n in chosen if n not in METHODS]
    if unknown or not chosen:
        raise UserError(f"methods: must be among {', '.join(METHODS)}, got {names!r}")
    return chosen


def make_optimizer(model, config):
    """Return the optimizer of `config.method`; some methods replace the model's layers first."""
    return METHODS[config.method].make(model, config, config.lr)


def state_bytes(optimizer):
    """Bytes of all tensors the optimizer keeps, projectors of the official packages included."""
    sizes = {}

    def visit(value):
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            for v in value.values():
                visit(v)
        elif isinstance(value, (list, tuple)):
            for v in value:
                visit(v)
        elif hasattr(value, "__dict__"):
            visit(vars(value))

    for state in optimizer.state.values():
        visit(state)
    return sum(sizes.values())


def pack(optimizer):
    """Return optimizer.state_dict() as tensors, numbers and containers only.

    The official packages keep projector objects in their state, which safe loading refuses;
    such an object becomes the dict of its attributes.
    """
    saved = optimizer.state_dict()
    saved["state"] = {
        index: {
            k: {"attributes": dict(vars(v))} if hasattr(v, "__dict__") and not _is_plain(v) else v
            for k, v in state.items()
        }
        for index, state in saved["state"].items()
    }
    return saved


def unpack(optimizer, saved):
    """Load what `pack` returned."""
    projectors = {}
    for index, state in saved["state"].items():
        for key in [k for k, v in state.items() if isinstance(v, dict) and "attributes" in v]:
            projectors[index, key] = state.pop(key)["attributes"]
    optimizer.load_state_dict(saved)
    if not projectors:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for (index, key), attributes in projectors.items():
        projector = _projector_class(optimizer).__new__(_projector_class(optimizer))
        vars(projector).update(attributes)
        optimizer.state[parameters[index]][key] = projector


def _is_plain(value):
    return isinstance(value, (torch.Tensor, int, float, str, dict, list, tuple))


def _projector_class(optimizer):
    module = sys.modules[type(optimizer).__module__]
    return getattr(module, "GaLoreProjector", None) or module.GradientProjector
