"""docs/gpu.md is what the command writes, and the command's numbers follow from their formulas."""

import importlib.util
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from sktest import assembler

import subkern
from subkern.bench import launches, predict, predict_nvcc, predict_triton
from subkern.bench.cases import all_cases
from subkern.bench.lowrank_adam import step_bytes

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"


@pytest.mark.parametrize("name", ["floors", "stages", "linalg", "gram"])
def test_the_page_is_what_the_command_writes(name):
    found = predict.section_of(PAGE.read_text(), name)
    assert found == "\n".join(predict.SECTIONS[name]()), "python -m subkern.bench.predict --write"


def _written_by(name):
    """The compiler and its version that a table of the page names."""
    return predict.section_of(PAGE.read_text(), name).partition(",")[0]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton to compile")
def test_the_triton_table_is_what_the_compiler_says():
    import triton

    if (known := _written_by("triton")) != f"Triton {triton.__version__}":
        pytest.skip(f"the page was written by {known}, here is Triton {triton.__version__}")
    assert predict.section_of(PAGE.read_text(), "triton") == "\n".join(
        predict_triton.triton_table()
    ), "python -m subkern.bench.predict --write"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc to compile")
def test_the_nvcc_tables_are_what_the_compiler_says(monkeypatch):
    here = predict_nvcc.head().partition(",")[0]
    if (known := _written_by("nvcc")) != here:
        pytest.skip(f"the page was written by {known}, here is {here}")
    # Compiled already, or for whoever comes next.
    monkeypatch.setattr(predict_nvcc, "report", partial(assembler.report, arch="90"))
    predict_nvcc.compiled.cache_clear()
    for name in ("nvcc", "launches"):
        found = "\n".join(predict.SECTIONS[name]())
        assert predict.section_of(PAGE.read_text(), name) == found, (
            "python -m subkern.bench.predict --write"
        )
    predict_nvcc.compiled.cache_clear()


def test_the_page_calls_its_times_predicted():
    page = PAGE.read_text()
    assert "**Nothing on this page was measured.**" in page
    for line in (
        predict.floors()[0],
        predict.stage_table()[0],
        predict.linalg_table()[0],
        predict.gram_table()[0],
    ):
        assert "predicted" in line


def test_floor_is_the_slower_of_traffic_and_products():
    assert predict.floor_s(3 * 10**12, 0, "bf16") == pytest.approx(1.0)
    assert predict.floor_s(3 * 10**12, 1600 * 10**12, "bf16") == pytest.approx(2.0)
    (line,) = [line for line in predict.floors() if "galore-4096x4096-r256-bf16" in line]
    nbytes = step_bytes("galore", 4096, 4096, 256, 2)
    assert f"| {nbytes / 1e6:.1f} | 17.2 | {1e3 * nbytes / 3e12:.3f} | memory |" in line
    assert f"| {1e3 * 14 * 4096**2 / 3e12:.3f} |" in line
    assert len(predict.floors()) == 2 + len(all_cases(device="cuda"))


def test_stages_by_hand():
    m, n, r = 4096, 11008, 256
    project, moments, update = predict.stages("galore", m, n, r, "bf16")
    low, item = r * n, 2
    slices = predict.plan_of("galore", m, n, r, "bf16").slices
    assert project.tensors == m * n * item + m * r * item
    assert project.scratch == 4 * slices * low
    assert moments.tensors == 16 * low
    assert moments.scratch == 4 * slices * low + low * item
    assert update.tensors == 2 * m * n * item + m * r * item
    assert update.scratch == low * item
    assert project.flops == update.flops == 2 * m * n * r
    fira = predict.stages("fira", m, n, r, "bf16")[2]
    assert fira.tensors == update.tensors + m * n * item
    assert fira.scratch == 2 * update.scratch


def test_cache_traffic_by_hand():
    """Every 128 x 128 tile reads both of its operands; a stage may be bound by that."""
    m, n, r = 4096, 11008, 256
    project, _, update = predict.stages("galore", m, n, r, "bf16")
    tiles = (n // 128) * (r // 128)
    assert project.cache == tiles * 2 * 128 * m * 2 + project.scratch
    assert update.cache == (m // 128) * (n // 128) * 2 * 128 * r * 2 + 2 * m * n * 2
    assert update.seconds("bf16") == update.cache / predict.CACHE_RATE
    fira = predict.stages("fira", m, n, r, "bf16")[2]
    assert fira.cache == update.cache + (m // 128) * (n // 128) * 128 * r * 2 + m * n * 2


def test_blocks_by_hand():
    # 2048 x 8 floats and three 8 x 8 of float64: three blocks of 67 KB in 227 KB.
    found = predict.Blocks(1000, 4 * 2048 * 8 + 3 * 8 * 64, 132_000_000)
    assert found.per_sm == 3
    assert found.waves == pytest.approx(1000 / (3 * 132))
    assert found.seconds() == pytest.approx(132e6 / 3e12 * 3 / found.waves)
    # Fewer blocks than there are places: no wave is longer than it needs to be.
    alone = predict.Blocks(100, 4000, 3_000_000)
    assert alone.seconds() == pytest.approx(1e-6)


def test_budgets_are_called_goals_and_times_predicted():
    head, _, *lines = predict.linalg_table()
    assert "budget, ms (goal)" in head
    assert head.count("predicted") == 2
    (thin,) = [line for line in lines if "orthonormalize-2048x8-b1000" in line]
    assert "| 0.090 |" in thin
    assert "| 3 | 2.53 |" in thin


def test_write_then_check(tmp_path, monkeypatch, capsys):
    def missing():
        raise predict_triton.MissingCompilerError("made-up reason")

    monkeypatch.setattr(predict, "SECTIONS", {"floors": lambda: ["a", "b"], "triton": missing})
    page = tmp_path / "page.md"
    page.write_text("x\n<!-- predict: floors -->\nold\n<!-- end -->\ny\n")
    assert predict.main(["--check", str(page)]) == 1
    assert "section floors" in capsys.readouterr().err
    assert predict.main(["--write", str(page)]) == 0
    assert page.read_text() == "x\n<!-- predict: floors -->\na\nb\n<!-- end -->\ny\n"
    assert predict.main(["--check", str(page)]) == 0
    assert "triton: left as it is: made-up reason" in capsys.readouterr().err
    assert predict.main([]) == 0
    assert "## floors\n\na\nb" in capsys.readouterr().out


REPORT = """
ptxas info    : Compiling entry function '_ZN7subkern17adam_apply_kernelIfEEvNS_1AE' for 'sm_90'
ptxas info    : Function properties for _ZN7subkern17adam_apply_kernelIfEEvNS_1AE
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 59 registers, used 1 barriers, 16 bytes smem
ptxas info    : Compiling entry function 'plain' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers
.visible .entry plain(
	.param .u64 plain_param_0
)
.maxntid 128
{
	ld.global.v4.f32 	{%f1, %f2, %f3, %f4}, [%rd1];
	st.shared.f32 	[%r1], %f1;
	st.global.f32 	[%rd2], %f1;
	st.global.f32 	[%rd2+4], %f2;
}
.visible .entry _ZN7subkern17adam_apply_kernelIfEEvNS_1AE(
	.param .u64 p
)
.maxntid 256, 1, 1
{
	ld.global.u16 	%rs1, [%rd1];
}
"""


def test_the_assemblers_report_is_read():
    found = predict_nvcc.kernels(REPORT)
    name = "adam_apply_kernel<float>" if shutil.which("c++filt") else next(iter(found))
    threads, code = found[name]
    assert (threads, code.registers, code.shared_bytes) == (256, 59, 16)
    assert (code.stack_bytes, code.spill_bytes) == (8, 16)
    assert (code.loads, code.stores) == ({2: 1}, {})
    threads, code = found["plain"]
    assert (threads, code.registers, code.shared_bytes, code.spill_bytes) == (128, 30, 0, 0)
    assert (code.loads, code.stores) == ({16: 1}, {4: 2})


def test_launches_are_those_of_the_kernels():
    """A call on the CPU's tensors launches what it would on a GPU, and nothing runs."""
    A = torch.randn(6, 40, 40)
    (found,) = launches.record(lambda: subkern.svd_small(A, backend="cuda"))
    assert found == launches.Launch("svd_small_block_kernel<float>", 6, 128, 0)
    with pytest.raises(subkern.BackendUnavailableError):
        launches.record(lambda: subkern.svd_small(A.double(), backend="cuda"))


def test_every_budgeted_case_of_our_kernels_is_in_the_table():
    """Ops whose kernels are planned launches; the others call torch, or Triton, or both."""
    ops = {name.partition("-")[0] for name in predict_nvcc.calls()}
    judged = {case.name for case in all_cases(device="cuda") if case.targets and case.op in ops}
    too_large = {"sst_adamw-llama-1b-r170-fp32"}
    assert judged - too_large == {name for name in predict_nvcc.calls() if name in judged}
