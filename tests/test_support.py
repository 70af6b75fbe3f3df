"""The test helpers do what the tests rely on."""

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sktest.backends import count_reasons
from sktest.guard import LAYOUTS, SENTINEL, Guard
from sktest.parallel import scope
from sktest.snapshot import same, snapshot
from sktest.tolerance import assert_close, assert_within, limit, relative_bound, unit_roundoff

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_roundoff_is_what_rounding_does(dtype):
    u = unit_roundoff(dtype)
    one = torch.ones((), dtype=dtype)
    assert one + one * u == one  # ties to even
    assert one + one * (4 * u) > one


@pytest.mark.parametrize("length", [1, 17, 1000, 5461])
def test_bound_covers_float32_sums_and_little_more(length):
    generator = torch.Generator().manual_seed(length)
    A = torch.randn(200, length, generator=generator)
    B = torch.randn(length, 50, generator=generator)
    exact = A.double() @ B.double()
    assert_close("product", A @ B, exact, length)
    wrong = A @ B
    wrong[3, 4] += 20 * relative_bound(torch.float32, length) * exact.abs().max()
    with pytest.raises(AssertionError, match=r"product\[\d+, \d+\]"):
        assert_close("product", wrong, exact, length)


def test_bound_grows_with_length_and_storage():
    assert relative_bound(torch.float32, 100) < relative_bound(torch.float32, 10000)
    assert relative_bound(torch.float64, 100) < relative_bound(torch.float32, 100)
    exact = torch.tensor([1.0, 100.0], dtype=torch.float64)
    narrow, wide = limit(exact, torch.bfloat16, 4), limit(exact, torch.float32, 4)
    assert (narrow > 1000 * wide)[1]
    assert narrow[0] < narrow[1]  # storage is relative to the element
    with pytest.raises(ValueError, match="length"):
        relative_bound(torch.float32, 0)


def test_bound_catches_one_rounding_too_many_in_bfloat16():
    exact = torch.linspace(1.0, 2.0, 1001, dtype=torch.float64)
    once = exact.float().bfloat16()
    assert_close("once", once, exact, 1)
    with pytest.raises(AssertionError, match="once"):
        assert_close("once", once + 2**-7, exact, 1)


def test_intermediate_rounding_scales_with_the_change():
    exact = torch.full((3,), 100.0, dtype=torch.float64)
    change = torch.full((3,), 1e-3, dtype=torch.float64)
    plain = limit(exact, torch.float32, 1)
    more = limit(exact, torch.float32, 1, intermediate=torch.bfloat16, change=change)
    assert torch.allclose(more - plain, torch.full_like(plain, 4 * 2**-8 * 1e-3), rtol=1e-3)
    assert torch.equal(limit(exact, torch.float32, 1, intermediate=torch.float32), plain)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nonfinite_is_never_close(bad):
    exact = torch.zeros(3)
    got = torch.tensor([0.0, bad, 0.0])
    with pytest.raises(AssertionError, match=r"x\[1\]"):
        assert_within("x", got, exact, torch.full((3,), math.inf).nan_to_num(posinf=1e300))


def test_cancellation_keeps_the_error_of_the_terms():
    exact = torch.tensor([1e-3], dtype=torch.float64)
    change = torch.tensor([-10.0], dtype=torch.float64)
    apart = limit(exact, torch.float32, 1, change=change) / limit(exact, torch.float32, 1)
    assert 5e3 < apart.item() < 2e4


def test_wrong_shape_and_empty():
    with pytest.raises(AssertionError, match="shape"):
        assert_close("x", torch.zeros(2), torch.zeros(3), 1)
    assert_close("x", torch.zeros(0, 3), torch.zeros(0, 3), 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4,), (), (0, 3)])
def test_guard_gives_the_values_and_sees_strays(layout, shape):
    guard = Guard()
    values = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
    view = guard.view(values, layout)
    assert torch.equal(view, values)
    view.add_(1)
    guard.check()  # writing the view is what views are for
    whole = view.as_strided((view.storage_offset() + 1,), (1,), 0)
    assert (whole[:-1] == SENTINEL).all()
    whole[-2] = 0.0
    with pytest.raises(AssertionError, match="guard band"):
        guard.check()


def test_guard_layouts_have_the_strides_they_promise():
    values = torch.zeros(4, 6)
    guard = Guard()
    assert guard.view(values).is_contiguous()
    assert guard.view(values, "transposed").T.is_contiguous()
    assert guard.view(values, "offset").stride() == (11, 1)
    plain, moved = guard.view(values), guard.view(values, shift=1)
    assert moved.is_contiguous()
    assert (moved.storage_offset(), moved.tolist()) == (plain.storage_offset() + 1, values.tolist())
    assert 1 not in guard.view(values, "strided").stride()
    with pytest.raises(ValueError, match="layout"):
        guard.view(values, "spiral")


def test_guard_sees_a_gap_between_rows():
    guard = Guard()
    view = guard.view(torch.zeros(4, 6), "offset")
    view.as_strided((4, 7), view.stride(), view.storage_offset())[1, 6] = float("nan")
    with pytest.raises(AssertionError, match="guard band"):
        guard.check()


def test_snapshot_sees_values_writes_and_keys():
    call = {"a": [torch.tensor([1.0, math.nan])], "b": 2}
    before = snapshot(call)
    assert same(snapshot(call), before)
    call["a"][0].add_(0)  # the same value, but written
    assert not same(snapshot(call), before)
    assert not same(snapshot({"a": call["a"]}), before)
    assert not same(snapshot([1]), snapshot([1, 2]))
    assert same(snapshot(math.nan), math.nan)


def test_count_reasons():
    reports = [SimpleNamespace(longrepr=("f", 1, f"Skipped: {why}")) for why in "aab"]
    assert count_reasons(reports) == {"a": 2, "b": 1}


INNER = """
from subkern import doctor
from subkern.backends import BackendUnavailableError, registry
from sktest.backends import *  # noqa
from sktest.parallel import *  # noqa

def refuse(**call):
    return "needs a machine that is not here"

registry.register("adam", "cpu", refuse)(print)
"""


def test_who_takes_what():
    """A file stays whole; the wheels' tests stay together, from the repository and from tests/."""
    assert scope("tests/ops/test_gram.py::test_a[x::y]") == "tests/ops/test_gram.py"
    assert scope("tests/packaging/test_import.py::test_a") == "tests/packaging/"
    assert scope("tests/packaging/test_install.py::test_b[3.12]") == "tests/packaging/"


BOUND = """
from sktest import linalg
def test_bound(): linalg.remember("gap", "graded", {used}, "matrix {used}")
"""
# A backend that must be there and is not; parts of a bound, by tests that two workers share.
INNER_TESTS = {
    "test_a.py": "OP = 'adam'\ndef test_it(backend): pass\n",
    "test_b.py": BOUND.format(used=0.25),
    "test_c.py": BOUND.format(used=0.5),
}


@pytest.mark.parametrize(("ci", "workers"), [("", 0), ("true", 0), ("true", 2)])
def test_a_run_without_the_cpu_path(tmp_path, ci, workers):
    """Skips with the registry's words and counts them; fails in CI alone, with workers as well."""
    support = Path(__file__).parent / "support"
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(support)!r})\n{INNER}"
    )
    for name, text in INNER_TESTS.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"]
    inner = ["test_a.py::test_it[cpu]", "test_b.py", "test_c.py"]
    command += ["--rootdir", str(tmp_path), "-n", str(workers), *inner]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "CI" and not name.startswith("PYTEST_")
    }
    environment |= {"CI": ci, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "needs a machine that is not here" in done.stdout, done.stdout + done.stderr
    assert ("skips per reason" in done.stdout) != bool(ci)
    assert ("Failed: the cpu path: " in done.stdout) == bool(ci)
    assert done.returncode == (1 if ci else 0)
    assert "50.0%  gap (graded): matrix 0.5" in done.stdout
    assert "25.0%" not in done.stdout
