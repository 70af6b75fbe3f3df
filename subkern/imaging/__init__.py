"""Linear operators of imaging, sampling masks, and a sampler."""

from subkern.imaging import masks, phantom, schedules
from subkern.imaging.adapters import deepinv_prox, from_callables, from_deepinv, from_sigpy
from subkern.imaging.blur import Blur
from subkern.imaging.calibrate import calibrate
from subkern.imaging.cartesian_sense import CartesianSense
from subkern.imaging.dds import DDSStep, dds
from subkern.imaging.dense import Dense
from subkern.imaging.fourier_mask import FourierMask
from subkern.ops._operator import LinearOperator, NormalOperator, dot_test

__all__ = [
    "Blur",
    "CartesianSense",
    "DDSStep",
    "Dense",
    "FourierMask",
    "LinearOperator",
    "NormalOperator",
    "calibrate",
    "dds",
    "deepinv_prox",
    "dot_test",
    "from_callables",
    "from_deepinv",
    "from_sigpy",
    "masks",
    "phantom",
    "schedules",
]
