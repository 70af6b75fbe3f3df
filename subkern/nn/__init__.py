"""Layers whose weights live in a subspace."""

from subkern.nn import lorentz
from subkern.nn.convert import convert_to_sst, sst_layers, to_dense
from subkern.nn.lorentz_linear import LorentzLinear
from subkern.nn.sst_linear import SSTLinear

__all__ = [
    "LorentzLinear",
    "SSTLinear",
    "convert_to_sst",
    "lorentz",
    "sst_layers",
    "to_dense",
]
