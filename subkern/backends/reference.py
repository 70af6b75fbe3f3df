"""The plain PyTorch reference as a backend: serves every device and floating-point dtype."""

from __future__ import annotations

from subkern.backends.registry import register
from subkern.reference.adam import adam_
from subkern.reference.lowrank_adam import lowrank_adam_


def _always(**call: object) -> None:
    return None


register("adam", "reference", _always)(adam_)
register("lowrank_adam", "reference", _always)(lowrank_adam_)
