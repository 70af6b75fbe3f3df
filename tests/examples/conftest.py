"""Fixtures of the example's tests: a tiny text, a tiny run."""

import random
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

TEXT = "the old river runs past a quiet mill and every boat on it carries grain to town"
PACKAGES = {"galore-official": "galore_torch", "fira-official": "fira"}


@pytest.fixture(scope="session")
def script():
    return EXAMPLES / "pretrain_llama.py"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    draw = random.Random(0)
    known = TEXT.split()
    words = (known[(i * 3 + draw.randrange(2)) % len(known)] for i in range(6000))
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(text_file, tmp_path_factory):
    from pretrain import data

    return data.prepare([text_file], vocab=300, seq=16, directory=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def make_config(corpus):
    """Return a function (method, **changes) -> RunConfig of a run that takes a moment."""
    from pretrain import train

    base = train.RunConfig(
        method="adamw",
        seed=0,
        lr=1e-2,
        steps=12,
        batch=4,
        seq=16,
        hidden=32,
        intermediate=48,
        layers=1,
        heads=2,
        vocab=300,
        rank=8,
        gap=3,
        scale=0.25,
        basis="",
        clip=0.0,
        corpus=corpus,
    )

    def make(method="adamw", **changes):
        package = PACKAGES.get(method)
        if package and find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
        return replace(base, method=method, **changes)

    return make
