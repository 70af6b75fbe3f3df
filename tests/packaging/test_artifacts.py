"""What is in the source archive and in the wheel, and that an earlier build leaves no trace."""

import shutil
import subprocess
import sysconfig
import tarfile
import zipfile

import pytest

from .conftest import QUICK, build_wheel


def expected_modules(source):
    """Files of the package, kernel sources too, under the names they are installed by."""
    files = {p.relative_to(source).as_posix() for p in source.glob("subkern/**/*.py")}
    triton = (p.relative_to(source).as_posix() for p in source.glob("triton_kernels/**/*.py"))
    cuda = {p.name for p in (source / "csrc/cuda").iterdir() if p.suffix in (".cuh", ".h")}
    assert "svd_small.cuh" in cuda
    sources = {f"subkern/cuda_sources/{name}" for name in cuda}
    return files | {f"subkern/{name}" for name in triton} | sources


def test_wheel_contents(wheel, wheel_files, pristine):
    files = wheel_files(wheel)
    package = {name for name in files if ".dist-info/" not in name}
    assert package == expected_modules(pristine) | {"subkern/py.typed", "subkern/_C.so"}
    assert {name.split("/")[0] for name in package} == {"subkern"}
    assert "subkern/triton_kernels/__init__.py" in package
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in files)


def test_cuda_wheel_contents(cuda_wheel, wheel_files, pristine):
    package = {name for name in wheel_files(cuda_wheel) if ".dist-info/" not in name}
    native = {"subkern/_C.so", "subkern/_CUDA.so"}
    assert package == expected_modules(pristine) | native | {"subkern/py.typed"}


def test_wheel_native_suffix_and_tag(wheel):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert f"subkern/_C{suffix}" in zipfile.ZipFile(wheel).namelist()
    assert "-none-any" not in wheel.name


def test_wheel_metadata(wheel, pristine):
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    namespace: dict[str, str] = {}
    exec((pristine / "subkern/_version.py").read_text(), namespace)
    assert f"Version: {namespace['__version__']}" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.11" in lines
    plain = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.split()[1].split(">")[0] for line in plain] == ["torch", "numpy"]
    assert not any("galore" in line or "fira" in line for line in lines if "Requires" in line)


def test_wheel_native_has_no_build_paths(wheel, unpacked_wheel, unpacked_sdist):
    (native,) = unpacked_wheel.glob("subkern/_C*.so")
    assert str(unpacked_sdist).encode() not in native.read_bytes()


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
def test_variants_share_no_inline_code(wheel, unpacked_sdist):
    """A weak symbol compiled for AVX-512 could be the one that the linker keeps for all."""
    folders = list((unpacked_sdist / "build").glob("temp*/*/CMakeFiles/subkern_*.dir"))
    assert any("generic" in folder.name for folder in folders)
    for folder in folders:
        name = folder.name.removeprefix("subkern_").removesuffix(".dir")
        objects = list(folder.rglob("*.o"))
        assert objects
        out = subprocess.check_output(["nm", "-C", "--defined-only", *objects], text=True)
        symbols = [line.split(" ", 2)[1:] for line in out.splitlines() if line.count(" ") > 1]
        shared = [symbol for kind, symbol in symbols if kind.isupper() or kind == "u"]
        assert shared
        assert [symbol for symbol in shared if f"subkern::{name}::" not in symbol] == []
        assert [symbol for kind, symbol in symbols if kind in "WVu"] == []


def test_sdist_contents(sdist, pristine):
    with tarfile.open(sdist) as archive:
        files = {m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()}
    folders = ("csrc", "tests", "examples", "bench", "subkern", "triton_kernels", ".ci")
    wanted = {"pyproject.toml", "setup.py", "CMakeLists.txt", "MANIFEST.in", "LICENSE", "Makefile"}
    for folder in folders:
        wanted |= {
            p.relative_to(pristine).as_posix()
            for p in (pristine / folder).rglob("*")
            if p.is_file()
        }
    assert wanted - files == set()
    assert [n for n in files if n.endswith((".so", ".o", ".pyc")) or n.startswith("build/")] == []


@pytest.fixture
def soiled(wheel, unpacked_sdist):
    """The folder in which `wheel` was built, with remains that must not reach the next wheel."""
    stale = [f"subkern/_CUDA{sysconfig.get_config_var('EXT_SUFFIX')}", "subkern/_old.so"]
    (built,) = (unpacked_sdist / "build").glob("lib*")
    stale += [f"{built.relative_to(unpacked_sdist)}/subkern/{name}" for name in ("_old.so", "x.py")]
    for name in stale:
        (unpacked_sdist / name).write_text("stale")
    (cache,) = (unpacked_sdist / "build").glob("temp*/**/CMakeCache.txt")
    cache.write_text("CMAKE_MAKE_PROGRAM:FILEPATH=/nonexistent/ninja\n")
    yield unpacked_sdist
    for name in stale:
        (unpacked_sdist / name).unlink(missing_ok=True)


def test_second_isolated_build(wheel, soiled, wheel_files, tmp_path):
    again = build_wheel(soiled, tmp_path, **QUICK)
    assert wheel_files(again) == wheel_files(wheel)
