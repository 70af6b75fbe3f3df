"""Builds the native module with CMake; everything declarative is in pyproject.toml."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
TRITON = "subkern.triton_kernels"


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


class CMakeExtension(Extension):
    """A module whose sources are listed in CMakeLists.txt."""

    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    """Configures from an empty folder each time: a cache may name tools that are gone."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        folder = Path(self.build_temp).resolve() / f"cmake-{ext.name}"
        shutil.rmtree(folder, ignore_errors=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        cmake = find_cmake()
        jobs = os.environ.get("MAX_JOBS", "2")
        config = "Debug" if self.debug else "Release"
        configure = [
            f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}",
            f"-DCMAKE_BUILD_TYPE={config}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]
        self.spawn([cmake, "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *configure])
        self.spawn([cmake, "--build", str(folder), "--parallel", jobs])
        self.spawn([cmake, "--install", str(folder), "--prefix", str(target.parent), "--strip"])
        if not target.is_file():
            raise RuntimeError(f"build: CMake must install {target.name}, found none")

    def spawn(self, cmd: list[str], *args: object, **kwargs: object) -> None:
        print("+", " ".join(cmd), flush=True)
        subprocess.run(cmd, check=True)


class CleanBuild(build):
    """Starts from empty folders, so that nothing of an earlier build gets into a wheel."""

    def run(self) -> None:
        for folder in (self.build_lib, self.build_temp):
            shutil.rmtree(folder, ignore_errors=True)
        super().run()


setup(
    packages=[
        *find_packages(include=["subkern", "subkern.*"], exclude=[TRITON, f"{TRITON}.*"]),
        TRITON,
        *(f"{TRITON}.{name}" for name in find_packages("triton_kernels")),
    ],
    package_dir={TRITON: "triton_kernels"},
    package_data={"subkern": ["py.typed"]},
    ext_modules=[CMakeExtension("subkern._C")],
    cmdclass={"build": CleanBuild, "build_ext": CMakeBuild},
)
