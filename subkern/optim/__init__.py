"""Low-rank optimizers: one engine, many methods (basis x rule x state format)."""

from subkern.optim.fira import FiraAdamW, divide_params
from subkern.optim.galore import GaLoreAdamW
from subkern.optim.sst import SSTAdamW

__all__ = ["FiraAdamW", "GaLoreAdamW", "SSTAdamW", "divide_params"]
