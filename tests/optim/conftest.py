"""Every test of a step runs on each backend that an optimizer picks on a CPU."""

from __future__ import annotations

import pytest
import torch
from sktest import backends

import subkern

OP = "lowrank_adam"  # the probe of the native module


@pytest.fixture(autouse=True)
def one_thread(clean_slate):
    """The matrices here are small: a second thread costs more than it saves."""
    torch.set_num_threads(1)


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    if (reason := backends.refusal(OP, request.param)) is not None:
        backends.skip(request.param, reason)
    with subkern.backend(request.param):
        yield request.param
