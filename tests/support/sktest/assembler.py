"""What nvcc's assembler says of a source of csrc/cuda: compiled once, whichever test asks first."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from sktest import emulation

ROOT = Path(__file__).resolve().parents[3]


def report(nvcc: str, source: Path, arch: str) -> str:
    """The words of ``ptxas -v`` for an architecture such as "90", and the PTX; warnings fail."""
    headers = sorted(p for f in ("cuda", "include") for p in (ROOT / "csrc" / f).rglob("*.*h"))
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    texts = [part for path in headers for part in (str(path), path.read_bytes())]
    key = emulation.digest(said, arch, str(source), source.read_bytes(), *texts)
    kept = emulation.cache_folder() / f"{key}.ptxas"
    with emulation.alone(kept.name):
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                command = [nvcc, "-std=c++17", f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v"]
                command += [f"-I{ROOT / 'csrc/include'}", "--keep", "--keep-dir", folder]
                command += ["-o", f"{folder}/out.cubin", str(source)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                assert "warning" not in done.stderr, done.stderr
                words = done.stderr + Path(folder, f"{source.stem}.ptx").read_text()
            unfinished = kept.with_suffix(f".{os.getpid()}")
            unfinished.write_text(words)
            unfinished.replace(kept)
    return kept.read_text()
