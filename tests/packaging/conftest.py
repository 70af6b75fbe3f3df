"""Artifacts built once per run and shared by the packaging tests."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The CUDA module adds half a minute to a build: one wheel has it, all the others say no.
WITHOUT_CUDA = {"SUBKERN_CUDA": "0"}
# For builds whose speed does not matter; the shared wheel is built as users build it. One build is
# of every instruction set, since some intrinsics want their constants without optimisation too.
UNOPTIMISED = WITHOUT_CUDA | {"CMAKE_ARGS": "-DCMAKE_CXX_FLAGS_RELEASE=-O0"}
QUICK = UNOPTIMISED | {"CMAKE_ARGS": f"{UNOPTIMISED['CMAKE_ARGS']} -DTARGET_IS_X86_64=OFF"}
JUNK = shutil.ignore_patterns(
    "__pycache__", "*.so", "*.o", "*.egg-info", "build", "dist", "venv", "runs", "node_modules"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder: they build wheels and need a package index."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("packaging")


def run(*cmd: object, **kwargs) -> str:
    """Runs a command; a failure shows everything it printed."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SUBKERN_BACKEND")}
    env |= {"MAX_JOBS": os.environ.get("MAX_JOBS", "2"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env |= kwargs.pop("env", {})
    done = subprocess.run(
        [str(part) for part in cmd], capture_output=True, text=True, env=env, **kwargs
    )
    if done.returncode:
        pytest.fail(f"{cmd}: exit {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def run_json(*cmd: object, **kwargs):
    """Runs a command that prints one line of JSON and nothing else."""
    out = run(*cmd, **kwargs)
    assert out.count("\n") == 1, f"more than the answer was printed: {out!r}"
    return json.loads(out)


@dataclass
class Venv:
    """A virtual environment without pip of its own; the outer pip installs into it."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def site(self) -> Path:
        (found,) = self.path.glob("lib/python*/site-packages")
        return found

    def pip(self, *args: object, **env: str) -> str:
        pip = [sys.executable, "-m", "pip", "--python", self.python]
        return run(*pip, *args, cwd=self.path, env=env)

    def borrow_torch(self) -> None:
        """Puts the outer packages behind its own; an editable subkern among them stays unseen."""
        import torch

        (self.site / "borrowed.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")


@pytest.fixture(scope="session")
def make_venv(tmp_path_factory):
    """Makes an empty virtual environment, by default of this Python."""

    def make(creator: Path | str = sys.executable) -> Venv:
        path = tmp_path_factory.mktemp("env") / "venv"
        run(creator, "-m", "venv", "--without-pip", path)
        return Venv(path)

    return make


@pytest.fixture(scope="session")
def torch_venv(make_venv) -> Venv:
    """An environment with torch and no subkern: an installed one would lend its native module."""
    venv = make_venv()
    venv.borrow_torch()
    return venv


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """A copy of the sources without builds, caches and hidden folders of other tools."""
    target = tmp_path_factory.mktemp("source") / "subkern"
    target.mkdir()
    for entry in ROOT.iterdir():
        hidden = entry.name.startswith(".") and (entry.is_dir() and entry.name != ".ci")
        if hidden or entry.name in JUNK(ROOT, [entry.name]):
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, ignore=JUNK)
        else:
            shutil.copy2(entry, target / entry.name)
    return target


@pytest.fixture(scope="session")
def sdist(pristine, tmp_path_factory) -> Path:
    """The source archive, made by the build backend."""
    out = tmp_path_factory.mktemp("sdist")
    code = f"import setuptools.build_meta as b; b.build_sdist({str(out)!r})"
    run(sys.executable, "-c", code, cwd=pristine)
    (archive,) = out.iterdir()
    return archive


@pytest.fixture(scope="session")
def unpacked_sdist(sdist, tmp_path_factory) -> Path:
    """The source archive's folder: what a build from the package index starts from."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def build_wheel(source: Path, out: Path, python: Path | str = sys.executable, **env: str) -> Path:
    """Builds a wheel with build isolation, as `pip install .` does."""
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", out, source, cwd=out, env=env)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(unpacked_sdist, tmp_path_factory) -> Path:
    """The wheel of this Python without the CUDA module, built from the source archive."""
    return build_wheel(unpacked_sdist, tmp_path_factory.mktemp("wheel"), **WITHOUT_CUDA)


@pytest.fixture(scope="session")
def cuda_wheel(pristine, tmp_path_factory) -> Path:
    """The wheel with the CUDA module, in PTX alone: nothing assembles it here."""
    if not any(shutil.which("nvcc", path=p) for p in (None, "/usr/local/cuda/bin")):
        pytest.skip("building subkern._CUDA: nvcc was not found")
    source = tmp_path_factory.mktemp("cuda") / "subkern"
    shutil.copytree(pristine, source)
    options = QUICK | {"SUBKERN_CUDA": "1", "SUBKERN_CUDA_ARCHS": "90-virtual"}
    return build_wheel(source, tmp_path_factory.mktemp("cuda_wheel"), **options)


@pytest.fixture(scope="session")
def unpacked_wheel(wheel, tmp_path_factory) -> Path:
    """The wheel's files, to put on PYTHONPATH in front of an installed subkern."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def wheel_files():
    """Reads a wheel's list of files, native suffix and metadata folder made neutral."""

    def read(path: Path) -> set[str]:
        names = zipfile.ZipFile(path).namelist()
        return {re.sub(r"\.cpython[^/]*\.so$", ".so", name) for name in names}

    return read


@pytest.fixture(scope="session")
def other_python():
    """Finds an interpreter of another version that runs, or skips with the reason."""

    def find(version: str) -> Path:
        homes = [os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")]
        places = [Path(p) for p in [shutil.which(f"python{version}")] if p]
        for home in filter(None, homes):
            places += sorted(Path(home).glob(f"versions/{version}.*/bin/python{version}"))
        for place in places:
            check = subprocess.run([place, "-c", "import venv"], capture_output=True)
            if check.returncode == 0:
                return place
        pytest.skip(f"no Python {version} on PATH or under pyenv")

    return find
