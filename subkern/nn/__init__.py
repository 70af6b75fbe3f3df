"""Layers whose weights live in a subspace."""

from subkern.nn.convert import convert_to_sst, sst_layers, to_dense
from subkern.nn.sst_linear import SSTLinear

__all__ = ["SSTLinear", "convert_to_sst", "sst_layers", "to_dense"]
