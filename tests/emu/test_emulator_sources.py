"""The emulator is small, needs no library, and has one copy of its state per module."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from sktest import emulation

HEADERS = sorted((emulation.CSRC / "emu").iterdir())
LINES = 350
SYSTEM = {"sys/mman.h", "ucontext.h", "sanitizer/asan_interface.h"}
SYSTEM |= {"sanitizer/common_interface_defs.h", "math.h"}


@pytest.fixture
def own_cache(compiler, tmp_path, monkeypatch):
    """What these tests build is of no use to the next run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_headers_exist():
    assert "cuda_emu.h" in [header.name for header in HEADERS]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.name)
def test_header_is_small_and_has_no_dependency(header):
    text = header.read_text()
    assert len(text.splitlines()) <= LINES
    own = {other.name for other in HEADERS}
    for name in re.findall(r'^#include ["<](.*)[">]', text, re.MULTILINE):
        standard = re.fullmatch(r"[a-z_]+", name)  # C++ headers have no suffix
        assert standard or name in SYSTEM | own, name


@pytest.mark.usefixtures("own_cache")
def test_plain_shared_arrays_are_refused(tmp_path):
    """They would not be filled before each block: the error names the macro."""
    source = tmp_path / "plain.cu"
    source.write_text('#include "cuda_emu.h"\n__global__ void kernel() { __shared__ int x[4]; }\n')
    with pytest.raises(RuntimeError, match="declare by SK_SHARED"):
        emulation.build([source], "plain")


@pytest.mark.usefixtures("own_cache")
def test_build_is_cached_by_content(tmp_path):
    source, header = tmp_path / "one.cu", tmp_path / "value.h"
    source.write_text('#include "value.h"\nextern "C" EXPORT int value() { return VALUE; }\n')

    def build(number: int, *defines: str) -> Path:
        header.write_text(
            f'#define VALUE {number}\n#define EXPORT __attribute__((visibility("default")))\n'
        )
        return emulation.build([source], "one", defines=defines)

    first = build(1)
    built = first.stat().st_mtime_ns
    second = build(2)
    again = build(1)
    assert again == first != second
    assert again.stat().st_mtime_ns == built
    assert build(1, "OTHER") != first
    assert [emulation.load(path).value() for path in (first, second)] == [1, 2]


@pytest.mark.usefixtures("own_cache")
def test_emulated_modules_share_no_state(tmp_path):
    libraries = []
    for number in (1, 2):
        source = tmp_path / f"kernel{number}.cu"
        source.write_text(
            '#include "cuda_emu.h"\n'
            "__global__ void kernel() { __syncthreads(); }\n"
            'extern "C" __attribute__((visibility("default"))) void run() {\n'
            "  SK_LAUNCH(kernel, 1, 32, 0, nullptr);\n}\n"
        )
        libraries.append(emulation.load(emulation.build([source], f"kernel{number}")))
    libraries[0].run()
    assert [library.sk_emu_switches() for library in libraries] == [65, 0]
