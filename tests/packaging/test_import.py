"""`import subkern` as an installed wheel: quiet, light, and not broken by a native module."""

import shutil

import pytest

from .conftest import ROOT, run, run_json

WATCHED_IMPORT = """
import json, os, sys, warnings
import torch
def threads():
    return len(os.listdir("/proc/self/task"))
events, before, modules = [], threads(), set(sys.modules)
started = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec")
sys.addaudithook(lambda name, args: events.append(name) if name in started else None)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import subkern
new = set(sys.modules) - modules
print(json.dumps({
    "file": subkern.__file__,
    "version": subkern.__version__,
    "threads": threads() - before,
    "triton": sorted(n for n in new if n.split(".")[0] in ("triton", "triton_kernels")),
    "cuda": torch.cuda.is_initialized(),
    "processes": events,
    "warnings": [str(w.message) for w in caught],
    "cuda_module": "subkern._CUDA" in new,
}))
"""


@pytest.fixture
def python(unpacked_wheel, torch_venv, tmp_path):
    """Runs Python on the wheel's files, in an environment that has torch."""

    def call(*args, site=unpacked_wheel, cwd=tmp_path, answer=run_json):
        return answer(torch_venv.python, *args, cwd=cwd, env={"PYTHONPATH": str(site)})

    return call


def test_import_does_nothing_else(python, unpacked_wheel):
    seen = python("-c", WATCHED_IMPORT)
    assert seen.pop("file") == str(unpacked_wheel / "subkern/__init__.py")
    assert seen.pop("version")
    assert seen == {
        "threads": 0,
        "triton": [],
        "cuda": False,
        "processes": [],
        "warnings": [],
        "cuda_module": False,
    }


def test_import_prints_nothing(python):
    code = "import os, torch; os.dup2(1, 2); import subkern, subkern.optim, subkern.ops"
    assert python("-c", code, answer=run) == ""


@pytest.mark.parametrize("native", ["missing", "broken"])
def test_import_without_native_module(python, unpacked_wheel, tmp_path, native):
    site = tmp_path / "site"
    shutil.copytree(unpacked_wheel, site)
    (module,) = site.glob("subkern/_C*.so")
    if native == "missing":
        module.unlink()
    else:
        module.write_bytes(b"not a shared object")
    seen = python("-c", WATCHED_IMPORT, site=site)
    assert seen["file"] == str(site / "subkern/__init__.py")
    # The first use of what the module would have served says what is wrong.
    code = """
import json, subkern, subkern.optim, torch
w = torch.nn.Parameter(torch.ones(4, 4))
w.grad = torch.ones(4, 4)
subkern.optim.GaLoreAdamW([w]).step()
try:
    with subkern.backend("cpu"):
        subkern.optim.GaLoreAdamW([w]).step()
except subkern.BackendUnavailableError as error:
    print(json.dumps(str(error)))
"""
    assert "_C" in python("-W", "ignore", "-c", code, site=site)


def test_no_cuda_module(python):
    code = """
import json, subkern
try:
    import subkern._CUDA
except ModuleNotFoundError as error:
    print(json.dumps(error.name))
"""
    assert python("-c", code) == "subkern._CUDA"


def test_triton_kernels_only_below_subkern(python, unpacked_wheel):
    code = "import json, subkern.triton_kernels as t; print(json.dumps(t.__file__))"
    assert python("-c", code) == str(unpacked_wheel / "subkern/triton_kernels/__init__.py")
    bare = """
import json
try:
    import triton_kernels
except ImportError as error:
    print(json.dumps(str(error)))
"""
    assert "subkern.triton_kernels" in python("-c", bare, cwd=ROOT)
