"""Contracts: public functions with checks, torch op schema, fake and dispatch."""

from subkern.ops.adam import adam_
from subkern.ops.lowrank_adam import lowrank_adam_

__all__ = ["adam_", "lowrank_adam_"]
