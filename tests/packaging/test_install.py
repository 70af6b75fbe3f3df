"""Installing: a wheel without torch, an editable checkout, and other versions of Python."""

import shutil

import pytest

from .conftest import QUICK, UNOPTIMISED, build_wheel, run, run_json

# Imports the torch-free modules below a stand-in package, since subkern/__init__.py needs torch.
TORCH_FREE = """
import importlib.util, json, sys, types
site = sys.argv[1]
package = types.ModuleType("subkern")
package.__path__ = [site + "/subkern"]
sys.modules["subkern"] = package
import subkern._C, subkern._version
print(json.dumps({
    "torch": importlib.util.find_spec("torch") is not None,
    "file": subkern._C.__file__,
    "version": subkern._version.__version__,
    "isa": subkern._C.isa_info(),
}))
"""


def check_torch_free(venv):
    seen = run_json(venv.python, "-I", "-c", TORCH_FREE, venv.site)
    assert seen["torch"] is False
    assert seen["file"].startswith(str(venv.site))
    assert seen["version"].count(".") == 2
    assert "generic" in seen["isa"]["compiled"]
    assert seen["isa"]["active"] in seen["isa"]["supported"]


def test_wheel_installs_and_loads_without_torch(wheel, make_venv):
    venv = make_venv()
    venv.pip("install", "--no-deps", "--no-index", wheel)
    check_torch_free(venv)
    assert not (venv.site / "triton_kernels").exists()


def test_cuda_module_loads_without_torch(cuda_wheel, make_venv):
    """Nor does it need a driver, a toolkit or a library of theirs."""
    venv = make_venv()
    venv.pip("install", "--no-deps", "--no-index", cuda_wheel)
    check_torch_free(venv)
    code = (
        TORCH_FREE.partition("import subkern._C")[0]
        + """
import subkern._CUDA
print(json.dumps([subkern._CUDA.device_count(), subkern._CUDA.emulated]))
"""
    )
    devices, emulated = run_json(venv.python, "-I", "-c", code, venv.site)
    assert devices >= 0
    assert emulated is False
    (native,) = venv.site.glob("subkern/_CUDA*.so")
    if shutil.which("ldd"):
        assert "cuda" not in run("ldd", native)


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_other_python(version, other_python, unpacked_sdist, make_venv, tmp_path):
    venv = make_venv(other_python(version))
    out = tmp_path / "wheel"
    out.mkdir()
    wheel = build_wheel(unpacked_sdist, out, venv.python, **QUICK)
    venv.pip("install", "--no-deps", "--no-index", wheel)
    check_torch_free(venv)


def test_editable(pristine, make_venv, tmp_path):
    source = tmp_path / "checkout"
    shutil.copytree(pristine, source)
    venv = make_venv()
    venv.borrow_torch()
    stale = source / "subkern/_CUDA.so"  # of an earlier build that had nvcc
    stale.write_text("stale")
    venv.pip("install", "--no-deps", "--editable", source, **UNOPTIMISED)
    assert len(list(source.glob("subkern/_C*.so"))) == 1
    code = """
import json, subkern, subkern._C, subkern.triton_kernels
print(json.dumps([m.__file__ for m in (subkern, subkern._C, subkern.triton_kernels)]))
"""
    # Elsewhere, and in the checkout itself, where the folder's bare name is also in reach.
    for cwd in (tmp_path, source):
        package, native, triton = run_json(venv.python, "-c", code, cwd=cwd)
        assert package == str(source / "subkern/__init__.py")
        assert native.startswith(str(source / "subkern/_C"))
        assert triton == str(source / "triton_kernels/__init__.py")
        bare = """
try:
    import triton_kernels
except ImportError as error:
    print(type(error).__name__, error)
"""
        assert "Error" in run(venv.python, "-c", bare, cwd=cwd)
