"""setup.py decides about subkern._CUDA: what it picks, and the reason it gives."""

import importlib.util
import shutil
import stat

import pytest

from .conftest import ROOT

VARIABLES = ("SUBKERN_CUDA", "SUBKERN_CUDA_ARCHS", "CUDACXX", "CUDA_HOME", "CUDA_PATH")


@pytest.fixture
def setup(monkeypatch):
    """setup.py as a module, in an environment that says nothing about CUDA."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("setup_of_subkern", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake_nvcc(tmp_path, monkeypatch):
    """Puts a script in the place of nvcc and returns where it writes its arguments."""

    def make(body):
        script = tmp_path / "nvcc"
        script.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\n{body}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CUDACXX", str(script))
        return tmp_path / "arguments"

    return make


def test_told_not_to(setup, fake_nvcc, monkeypatch):
    arguments = fake_nvcc("exit 0")
    monkeypatch.setenv("SUBKERN_CUDA", "0")
    assert setup.decide_cuda() == (None, "SUBKERN_CUDA=0")
    assert not arguments.exists(), "nvcc was asked all the same"


@pytest.mark.parametrize("wish", ["auto", ""])
def test_no_nvcc(setup, monkeypatch, wish):
    monkeypatch.setenv("SUBKERN_CUDA", wish)
    monkeypatch.setenv("CUDACXX", "no-such-nvcc")
    assert setup.decide_cuda() == (None, "nvcc was not found")
    monkeypatch.setenv("SUBKERN_CUDA", "1")
    with pytest.raises(RuntimeError, match="working nvcc, got none: nvcc was not found"):
        setup.decide_cuda()


def test_nvcc_that_fails(setup, fake_nvcc, monkeypatch):
    """Auto goes on without, and says what nvcc said; 1 is an error."""
    fake_nvcc('echo "unsupported GNU version" >&2; exit 1')
    nvcc, reason = setup.decide_cuda()
    assert nvcc is None
    assert reason.endswith("nvcc does not work: unsupported GNU version")
    monkeypatch.setenv("SUBKERN_CUDA", "1")
    with pytest.raises(RuntimeError, match="unsupported GNU version"):
        setup.decide_cuda()


def test_nvcc_that_does_not_start(setup, tmp_path, monkeypatch):
    broken = tmp_path / "nvcc"
    broken.write_bytes(b"\x7fELF not really")
    broken.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(broken))
    nvcc, reason = setup.decide_cuda()
    assert nvcc is None
    assert "does not work: " in reason


@pytest.mark.parametrize("wish", ["auto", "1"])
def test_architectures_are_probed(setup, fake_nvcc, monkeypatch, wish):
    arguments = fake_nvcc("exit 0")
    monkeypatch.setenv("SUBKERN_CUDA", wish)
    nvcc, reason = setup.decide_cuda()
    assert nvcc is not None
    assert reason.endswith("works, architectures 80-real;90")
    for arch in ("80", "90"):
        assert f"-gencode=arch=compute_{arch},code=sm_{arch}" in arguments.read_text()
    monkeypatch.setenv("SUBKERN_CUDA_ARCHS", "90a-real;native")
    setup.decide_cuda()
    assert "code=sm_90a" in arguments.read_text()
    assert "native" not in arguments.read_text()


def test_other_words(setup, monkeypatch):
    monkeypatch.setenv("SUBKERN_CUDA", "yes")
    with pytest.raises(RuntimeError, match="SUBKERN_CUDA must be 0, 1 or auto, got yes"):
        setup.decide_cuda()


@pytest.mark.skipif(
    not any(shutil.which("nvcc", path=p) for p in (None, "/usr/local/cuda/bin")),
    reason="the decision with a real nvcc: it was not found",
)
def test_the_nvcc_of_this_machine(setup):
    nvcc, reason = setup.decide_cuda()
    assert nvcc is not None, reason
    assert nvcc in reason
