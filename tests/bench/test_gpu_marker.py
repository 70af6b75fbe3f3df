"""The marker that keeps tests of a real GPU off other machines, and finds them on one."""

import pytest
import torch
from sktest.gpu import mark, missing

pytest_plugins = ["pytester"]

BODY = """
    import pytest

    @pytest.mark.gpu
    def test_device(): pass

    @pytest.mark.parametrize("backend", ["reference", "triton", "cuda"])
    def test_backends(backend): pass
"""


class Plugin:
    def __init__(self, reason):
        self.reason = reason

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        mark(items, self.reason)


def _run(pytester, reason, *arguments):
    pytester.makeini("[pytest]\nmarkers = gpu: needs a GPU")
    pytester.makepyfile(BODY)
    return pytester.inline_run(*arguments, plugins=[Plugin(reason)])


def test_without_a_gpu_the_marked_tests_skip_and_the_backends_run(pytester):
    passed, skipped, failed = _run(pytester, "none here").listoutcomes()
    assert (len(passed), len(failed)) == (3, 0)
    assert [report.longrepr[2] for report in skipped] == ["Skipped: none here"]


def test_on_a_gpu_the_marker_selects_what_touches_it(pytester):
    passed, skipped, failed = _run(pytester, None, "-m", "gpu").listoutcomes()
    assert (len(passed), len(skipped), len(failed)) == (3, 0, 0)


def test_missing_agrees_with_torch():
    assert (missing() is None) == torch.cuda.is_available()
