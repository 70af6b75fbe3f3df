"""pytest plugin: one test body for every backend, and no silent skips.

A test that takes the fixture ``backend`` runs once per backend; its module names the op in ``OP``.
A backend that cannot serve the op's probe call skips with the words of the registry; with CI=true
a backend of REQUIRED fails the test instead. The run ends with a count per skip reason.

With a GPU "triton" and "cuda" take CUDA tensors. Without one "triton" runs in Triton's interpreter
(tests/conftest.py sets TRITON_INTERPRET) and "cuda" in the emulator, both on CPU tensors.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NoReturn

import pytest
import torch

from sktest import emulated_cuda, linalg, required
from subkern import doctor
from subkern.backends import BACKENDS, BackendUnavailableError, implementations

REQUIRED = frozenset({"cpu", "reference", "triton", "cuda"})
GPU_BACKENDS = frozenset({"triton", "cuda"})


def device_of(name: str | None) -> str:
    """Device type of the tensors that a backend is tested with."""
    return "cuda" if name in GPU_BACKENDS and torch.cuda.is_available() else "cpu"


def is_simulated(name: str | None) -> bool:
    """Whether the backend's kernels run in an interpreter or emulator, far slower."""
    return name in GPU_BACKENDS and device_of(name) == "cpu"


@contextlib.contextmanager
def simulated(name: str) -> Iterator[None]:
    """Lets "cuda" serve CPU tensors where there is no GPU; nothing for other backends."""
    if name == "cuda" and is_simulated(name):
        with emulated_cuda.install():
            yield
    else:
        yield


@functools.cache
def refusal(op: str, name: str) -> str | None:
    """Why the backend cannot serve the op's probe call, or None."""
    try:
        doctor.PROBES[op](name)
    except BackendUnavailableError as error:
        return str(error)
    return None


def skip(name: str, reason: str) -> NoReturn:
    """Skip what needs the backend; fail where CI is set and the backend is required."""
    if name in REQUIRED:
        required.missing(f"the {name} path: {reason}")
    pytest.skip(reason)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend in turn."""
    with simulated(request.param):
        if (reason := refusal(request.module.OP, request.param)) is not None:
            # A backend without a kernel for the op is no path that could be missing.
            if any(impl.backend == request.param for impl in implementations(request.module.OP)):
                skip(request.param, reason)
            pytest.skip(reason)
        yield request.param


def count_reasons(reports: Iterable[pytest.TestReport]) -> Counter[str]:
    """Number of skipped tests per reason."""
    reasons: Counter[str] = Counter()
    for report in reports:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    return reasons


def pytest_terminal_summary(terminalreporter) -> None:
    reasons = count_reasons(terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("skips per reason")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:6d}  {reason}")
    if terminalreporter.verbosity > 0 and (lines := linalg.worst_lines()):
        terminalreporter.section("parts of the accuracy bounds used up")
        for line in lines:
            terminalreporter.write_line(line)
