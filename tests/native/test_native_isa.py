"""Instruction sets: the choice, and every compiled and supported one against generic."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_cases import all_cases

from subkern import _C

CASES = Path(__file__).with_name("native_cases.py")
KNOWN = ["generic", "avx2", "avx512"]


def run_python(isa, *arguments):
    environment = {**os.environ, "SUBKERN_CPU_ISA": isa}
    # Not from the repository root: there the source tree would hide an installed package.
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=CASES.parent,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of all cases per supported instruction set, each from its own process."""
    found = {}
    for isa in _C.isa_info()["supported"]:
        path = tmp_path_factory.mktemp("isa") / f"{isa}.npz"
        done = run_python(isa, str(CASES), str(path), "2")
        assert done.returncode == 0, done.stderr
        with np.load(path) as saved:
            found[isa] = dict(saved)
    return found


def test_isa_info():
    info = _C.isa_info()
    assert set(info) == {"active", "compiled", "supported"}
    assert info["compiled"] == KNOWN[: len(info["compiled"])]
    assert set(info["supported"]) <= set(info["compiled"])
    assert "generic" in info["supported"]
    forced = os.environ.get("SUBKERN_CPU_ISA")
    assert info["active"] == (forced or info["supported"][-1])


def test_isa_supported_agrees_with_the_operating_system():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo on this system")
    flags = set(cpuinfo.read_text().partition("flags")[2].partition("\n")[0].split())
    supported = _C.isa_info()["supported"]
    assert ("avx2" in supported) == ({"avx2", "fma", "f16c"} <= flags)
    assert ("avx512" in supported) == (
        {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx2"} <= flags
    )


@pytest.mark.parametrize("isa", KNOWN)
def test_isa_agrees_with_generic(results, isa):
    if isa not in results:
        pytest.skip(f"{isa} is not supported by this machine")
    assert results[isa].pop("active", isa) == isa
    generic = results["generic"]
    for name, value in results[isa].items():
        if name == "active":
            continue
        want = generic[name]
        bf16 = name.endswith("-1") and not name.startswith(("project", "norms"))
        stored_in_bf16 = bf16 and any(part in name for part in ("-W-", "-R-", "apply", "update"))
        scale = np.abs(want).max() if want.size else 0.0
        # Contracted or not, split sums or not: a few fp32 roundings, or one bf16 rounding.
        relative, absolute = (2.0**-7, 1e-5) if stored_in_bf16 else (2e-6, 2e-6)
        if name.startswith("moments-limiter"):
            relative = 1e-5
        np.testing.assert_allclose(
            value, want, rtol=relative, atol=absolute * scale, err_msg=f"{isa}: {name}"
        )


def test_isa_active_matches_this_process(results):
    here = all_cases(threads=1)
    saved = results[_C.isa_info()["active"]]
    for name, value in here.items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2 "])
def test_isa_unknown_name(isa):
    program = """
from subkern import _C
for call in (_C.isa_info, _C.isa_info, lambda: _C.lowrank_product_workspace(
             rows=0, cols=0, rank=0, column_axis=0, threads=1)):
    try:
        call()
    except RuntimeError as error:
        print(error)
print(_C.call_counts()["lowrank_project"])
"""
    done = run_python(isa, "-c", program)
    assert done.returncode == 0, done.stderr
    *messages, count = done.stdout.splitlines()
    assert len(messages) == 3
    for message in messages:
        for part in ("SUBKERN_CPU_ISA", f"'{isa}'", "generic"):
            assert part in message
    assert count == "0"


def test_isa_empty_name_means_unset():
    done = run_python("", "-c", "from subkern import _C; print(_C.isa_info()['active'])")
    assert done.stdout.strip() == _C.isa_info()["supported"][-1]
