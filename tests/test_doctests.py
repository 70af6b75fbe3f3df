"""The examples in the public docstrings run."""

import doctest
import importlib

import pytest

MODULES = (
    "subkern.backends.registry",
    "subkern.bench.gallery",
    "subkern.diagnostics",
    "subkern.imaging.adapters",
    "subkern.imaging.calibrate",
    "subkern.imaging.dds",
    "subkern.imaging.masks",
    "subkern.imaging.phantom",
    "subkern.imaging.schedules",
    "subkern.nn.lorentz",
    "subkern.nn.lorentz_linear",
    "subkern.ops.adam",
    "subkern.ops.eigh_small",
    "subkern.ops.gram",
    "subkern.ops.kth_largest",
    "subkern.ops.lowrank_adam",
    "subkern.ops.packed_adamw",
    "subkern.ops.rsvd",
    "subkern.ops.sample_without_replacement",
    "subkern.ops.spectral_linear",
    "subkern.ops.sst_adamw",
    "subkern.ops.svd_factored",
    "subkern.ops.svd_small",
    "subkern.ops.topk_subspace",
    "subkern.ops.tsqr",
    "subkern.ops.update_mask",
    "subkern.ops.orthonormalize",
    "subkern.ops.polar",
    "subkern.optim.fira",
    "subkern.optim.galore",
    "subkern.optim.sst",
    "subkern.nn.convert",
    "subkern.nn.sst_linear",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
