"""Builds the native modules with CMake; everything declarative is in pyproject.toml.

SUBKERN_CUDA says whether subkern._CUDA is built: 1, 0, or auto (the default: where nvcc works).
SUBKERN_CUDA_ARCHS lists its architectures in CMake's words, such as "80-real;90".
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
TRITON = "subkern.triton_kernels"
CUDA_SOURCES = "subkern.cuda_sources"  # CuPy compiles them where subkern._CUDA was not built


def find_tool(name: str) -> str:
    """Path of a build tool: on PATH (an isolated build puts its own there) or beside Python."""
    places = [os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise RuntimeError(f"build: {name} must be installed, found none (pip install {name})")
    return found


def find_cmake() -> str:
    """The cmake wheel of this Python if it has one, since a system's may be too old."""
    try:
        import cmake
    except ImportError:
        return find_tool("cmake")
    return str(Path(cmake.CMAKE_BIN_DIR) / "cmake")


CUDA_ARCHS = "80-real;90"  # machine code for both, and PTX of the newer for what comes after
# Kernels have arguments above 4 KB, which CUDA takes since 12.1.
CUDA_PROBE = """struct Large { char bytes[32000]; };
__global__ void probe(const __grid_constant__ Large) {}
void launch() { probe<<<1, 1>>>(Large()); }
"""


def find_nvcc() -> str | None:
    """The CUDA compiler: named by CUDACXX, on PATH, or where toolkits are installed."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [os.environ.get("PATH", os.defpath), *(f"{home}/bin" for home in homes if home)]
    return shutil.which(os.environ.get("CUDACXX") or "nvcc", path=os.pathsep.join(places))


def cuda_archs() -> str:
    """What CMAKE_CUDA_ARCHITECTURES becomes."""
    return os.environ.get("SUBKERN_CUDA_ARCHS") or CUDA_ARCHS


def nvcc_failure(nvcc: str) -> str | None:
    """Why nvcc cannot compile and link for every architecture, or None."""
    command = [nvcc, "-std=c++17", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC"]
    for arch in cuda_archs().split(";"):
        number = arch.partition("-")[0]
        if number.rstrip("af").isdigit():  # else a word such as native: CMake knows those
            command.append(f"-gencode=arch=compute_{number},code=sm_{number}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cu")
        source.write_text(CUDA_PROBE)
        try:
            done = subprocess.run(
                [*command, source, "-o", Path(folder, "probe.so")], capture_output=True, text=True
            )
        except OSError as error:
            return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[0] if lines else f"exit {done.returncode}"


def decide_cuda() -> tuple[str | None, str]:
    """The nvcc with which subkern._CUDA is built, or None; and the reason in words."""
    wish = os.environ.get("SUBKERN_CUDA") or "auto"
    if wish not in ("0", "1", "auto"):
        raise RuntimeError(f"build: SUBKERN_CUDA must be 0, 1 or auto, got {wish}")
    if wish == "0":
        return None, "SUBKERN_CUDA=0"
    nvcc = find_nvcc()
    failure = "nvcc was not found" if nvcc is None else nvcc_failure(nvcc)
    if failure is None:
        return nvcc, f"{nvcc} works, architectures {cuda_archs()}"
    if nvcc is not None:
        failure = f"{nvcc} does not work: {failure}"
    if wish == "1":
        raise RuntimeError(f"build: SUBKERN_CUDA=1 must have a working nvcc, got none: {failure}")
    return None, failure


class CMakeExtension(Extension):
    """A module whose sources are listed in CMakeLists.txt."""

    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    """Configures from an empty folder each time: a cache may name tools that are gone."""

    nvcc: str | None = None

    def build_extensions(self) -> None:
        import pybind11

        folder = Path(self.build_temp).resolve() / "cmake"
        shutil.rmtree(folder, ignore_errors=True)
        targets = [Path(self.get_ext_fullpath(ext.name)).resolve() for ext in self.extensions]
        package = targets[0].parent
        cmake = find_cmake()
        jobs = os.environ.get("MAX_JOBS", "2")
        config = "Debug" if self.debug else "Release"
        cuda = [f"-DSUBKERN_CUDA={'ON' if self.nvcc else 'OFF'}"]
        if self.nvcc:
            cuda += [f"-DCMAKE_CUDA_COMPILER={self.nvcc}"]
            cuda += [f"-DCMAKE_CUDA_ARCHITECTURES={cuda_archs()}"]
        configure = [
            f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}",
            f"-DCMAKE_BUILD_TYPE={config}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *cuda,
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        self.spawn([cmake, "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *configure])
        self.spawn([cmake, "--build", str(folder), "--parallel", jobs])
        self.spawn([cmake, "--install", str(folder), "--prefix", str(package), "--strip"])
        for target in targets:
            if not target.is_file():
                raise RuntimeError(f"build: CMake must install {target.name}, found none")

    def copy_extensions_to_source(self) -> None:
        for stale in ROOT.glob("subkern/_CUDA*.so"):  # of a build with the other decision
            stale.unlink()
        super().copy_extensions_to_source()

    def spawn(self, cmd: list[str], *args: object, **kwargs: object) -> None:
        print("+", " ".join(cmd), flush=True)
        subprocess.run(cmd, check=True)


class CleanBuild(build):
    """Starts from empty folders, so that nothing of an earlier build gets into a wheel."""

    def run(self) -> None:
        for folder in (self.build_lib, self.build_temp):
            shutil.rmtree(folder, ignore_errors=True)
        super().run()


def main() -> None:
    """Decide once about CUDA, say so, and declare exactly the modules that will exist."""
    CMakeBuild.nvcc, reason = decide_cuda()
    print(f"subkern: CUDA module {'on' if CMakeBuild.nvcc else 'off'}: {reason}", flush=True)
    modules = ["subkern._C", *(["subkern._CUDA"] if CMakeBuild.nvcc else [])]
    setup(
        packages=[
            *find_packages(include=["subkern", "subkern.*"], exclude=[TRITON, f"{TRITON}.*"]),
            TRITON,
            CUDA_SOURCES,
            *(f"{TRITON}.{name}" for name in find_packages("triton_kernels")),
        ],
        package_dir={TRITON: "triton_kernels", CUDA_SOURCES: "csrc/cuda"},
        package_data={"subkern": ["py.typed"], CUDA_SOURCES: ["*.cuh", "*.h"]},
        ext_modules=[CMakeExtension(name) for name in modules],
        cmdclass={"build": CleanBuild, "build_ext": CMakeBuild},
    )


if __name__ == "__main__":
    main()
