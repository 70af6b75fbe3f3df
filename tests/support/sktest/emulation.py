"""Builds CUDA sources for the CPU: g++ against the emulator in ``csrc/emu``.

    library = emulation.load(emulation.build(["probe.cu"], "probe"))

Objects and modules are cached by content, outside of the checkout: in the directory for temporary
files, one folder per user.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).resolve().parents[3] / "csrc"
HEADERS = ("emu", "cuda", "include", "bind")  # folders whose headers a source may include
SUFFIXES = (".h", ".cuh")
JOBS = 2

# Kernels read vectors through pointers to elements, as nvcc allows; products are not contracted,
# so that a result does not depend on the machine.
FLAGS = (
    *("-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas", "-fPIC", "-pthread"),
    *("-fvisibility=hidden", "-fno-gnu-unique", "-fno-strict-aliasing", "-ffp-contract=off"),
)


def missing() -> str | None:
    """Why nothing can be built here, or None."""
    return None if shutil.which("g++") else "the emulator needs g++, which is not on PATH"


def _include_folders(sources: Sequence[Path]) -> list[Path]:
    folders = [*dict.fromkeys(source.parent for source in sources)]
    folders += [CSRC / "emu", CSRC / "cuda", CSRC / "include"]
    folders.append(Path(sysconfig.get_paths()["include"]))
    pybind = importlib.util.find_spec("pybind11")
    if pybind is not None and pybind.origin is not None:
        folders.append(Path(pybind.origin).parent / "include")
    return folders


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise RuntimeError(f"emulation: {words} failed\n{done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def _compiler() -> str:
    return _run(["g++", "--version"])


def cache_folder() -> Path:
    """Where objects and modules lie; nobody else can write there."""
    folder = Path(tempfile.gettempdir()) / f"subkern-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"emulation: {folder} belongs to another user")
    return folder


def digest(*parts: str | bytes) -> str:
    """A name for these contents."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()[:24]


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """One process at a time builds what has this name; the next one finds it done."""
    with open(cache_folder() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(target: Path, command: Sequence[str | Path]) -> Path:
    """Runs ``command -o target`` unless the target is there."""
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        unfinished = target.with_name(f".{os.getpid()}-{target.name}")
        _run([*command, "-o", unfinished])
        unfinished.replace(target)
    return target


def build(
    sources: Iterable[str | Path],
    name: str,
    *,
    defines: Sequence[str] = (),
    sanitize: str | None = None,
) -> Path:
    """Compiles sources for the emulator.

    Args:
        sources: ``.cu`` and ``.cpp`` files.
        name: of the result, without suffix; a pybind module's own name.
        defines: macros, as ``NAME`` or ``NAME=VALUE``; SUBKERN_EMULATE is always defined.
        sanitize: for g++'s ``-fsanitize``, such as "address,undefined".

    Returns:
        A shared object, which Python can import if it defines a pybind module; with ``sanitize``
        an executable, because sanitizers cannot enter a running interpreter.
    """
    paths = [Path(source).resolve() for source in sources]
    folders = _include_folders(paths)
    flags = [*FLAGS, *(f"-D{define}" for define in ("SUBKERN_EMULATE", *defines))]
    if sanitize is not None:
        flags += [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-g1", "-O0"]
    places = {*(source.parent for source in paths), *(CSRC / folder for folder in HEADERS)}
    headers = {path for place in places for path in place.rglob("*") if path.suffix in SUFFIXES}
    texts = [part for path in sorted(headers) for part in (str(path), path.read_bytes())]
    common = digest(_compiler(), *flags, *map(str, folders), *texts)
    cache = cache_folder()

    def compiled(source: Path) -> Path:
        target = cache / f"{digest(common, str(source), source.read_bytes())}.o"
        includes = [f"-I{folder}" for folder in folders]
        return _make(target, ["g++", *flags, *includes, "-x", "c++", "-c", source])

    with alone(name):
        with ThreadPoolExecutor(JOBS) as pool:
            objects = list(pool.map(compiled, paths))
        folder = cache / digest(*map(str, objects))
        if sanitize is not None:
            return _make(folder / name, ["g++", *flags, *objects])
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        return _make(folder / f"{name}{suffix}", ["g++", *flags, "-shared", *objects])


def load(path: Path) -> ctypes.CDLL:
    """The functions of a shared object."""
    return ctypes.CDLL(str(path))


def set_seed(library: ctypes.CDLL, seed: int) -> None:
    """Order in which the library's emulator runs blocks and threads; 0 is the natural one."""
    library.sk_emu_set_seed.argtypes = [ctypes.c_uint64]
    library.sk_emu_set_seed.restype = None
    library.sk_emu_set_seed(seed)
