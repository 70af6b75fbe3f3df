"""What every test starts from: a clean environment, two threads, helpers on the import path.

Helpers live in tests/support: ``from sktest.tolerance import assert_close``. The fixture
``backend`` runs a test once per backend (sktest.backends); the module names its op in ``OP``.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

from sktest import gpu, interpreter, parallel
from sktest.backends import (  # noqa: F401  (a plugin: pytest finds these by name)
    backend,
    pytest_terminal_summary,
)
from sktest.parallel import (  # noqa: F401  (a plugin as well)
    pytest_sessionfinish,
    pytest_testnodedown,
    pytest_xdist_make_scheduler,
)

from subkern.backends import registry

interpreter.switch_on()

THREADS = 2
KEPT = ("SUBKERN_CPU_ISA", "SUBKERN_TRITON_36")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks and skips what needs a GPU, and starts with the longest part."""
    gpu.mark(items, gpu.missing())
    parallel.start_with_the_longest(items)


# No deadline: the first example pays for loading; CI draws the same examples on every run.
settings.register_profile("subkern", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("subkern")


@pytest.fixture(autouse=True)
def clean_slate(monkeypatch):
    """No forced backend from outside, two threads, and nothing left behind by the test.

    SUBKERN_CPU_ISA stays: the whole suite can be run on a lower instruction set. So does
    SUBKERN_TRITON_36, the folder of the second Triton that kernels are compiled with.
    """
    for name in list(os.environ):
        if name.startswith("SUBKERN_") and name not in KEPT:
            monkeypatch.delenv(name)
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)
    assert registry._forced.get() is None, "the test left a forced backend behind"


@pytest.fixture
def one_thread(clean_slate):
    """Small problems in many calls, to which a second thread brings nothing but waiting."""
    torch.set_num_threads(1)


@pytest.fixture
def guard():
    """Hands out guarded views and checks the bands when the test ends."""
    from sktest.guard import Guard

    watch = Guard()
    yield watch
    watch.check()
