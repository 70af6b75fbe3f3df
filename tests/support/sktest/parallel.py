"""pytest plugin for runs in several processes (pytest -n 2, by pytest-xdist).

One process takes a whole file, because its tests share what is slow to compile or to compute, and
one takes all of tests/packaging, where they share the wheels. That is the longest part and starts
first; files follow in the order of the collection, which ends with short ones.
"""

from __future__ import annotations

import pytest

from sktest import linalg

TOGETHER = ("tests/packaging/",)


def scope(nodeid: str) -> str:
    """What one process takes as a whole: a folder of TOGETHER or the test's file."""
    return next((folder for folder in TOGETHER if folder in nodeid), nodeid.split("::")[0])


def start_with_the_longest(items: list[pytest.Item]) -> None:
    """Move TOGETHER to the front: no process waits for it at the end."""
    items.sort(key=lambda item: scope(item.nodeid) not in TOGETHER)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid)

    config.option.loadscopereorder = False
    return Files(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands the bounds it saw used up to the process that prints them."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["worst"] = [[*key, *value] for key, value in linalg.worst.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Takes what a worker handed over; one that crashed left nothing."""
    for what, family, used, name in getattr(node, "workeroutput", {}).get("worst", []):
        linalg.remember(what, family, used, name)
