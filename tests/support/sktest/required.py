"""What may be missing on a developer's machine, and may not where CI is set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn

import pytest


def in_ci(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether CI=true or CI=1."""
    return environment.get("CI", "").lower() in ("true", "1")


def missing(reason: str) -> NoReturn:
    """Skip with the reason; fail where CI is set."""
    (pytest.fail if in_ci() else pytest.skip)(reason)
    raise AssertionError("pytest's outcomes raise")
