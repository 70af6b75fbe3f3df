"""Low-rank optimizers: one engine, many methods (basis x rule x state format)."""

from subkern.optim.fira import FiraAdamW, divide_params
from subkern.optim.galore import GaLoreAdamW

__all__ = ["FiraAdamW", "GaLoreAdamW", "divide_params"]
