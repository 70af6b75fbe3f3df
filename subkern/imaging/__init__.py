"""Linear operators of imaging."""

from subkern.imaging import masks, phantom
from subkern.imaging.blur import Blur
from subkern.imaging.cartesian_sense import CartesianSense
from subkern.imaging.dense import Dense
from subkern.imaging.fourier_mask import FourierMask
from subkern.ops._operator import LinearOperator, NormalOperator, dot_test

__all__ = [
    "Blur",
    "CartesianSense",
    "Dense",
    "FourierMask",
    "LinearOperator",
    "NormalOperator",
    "dot_test",
    "masks",
    "phantom",
]
