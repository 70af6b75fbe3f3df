"""Verify first, time second; rows, verdicts, files."""

import csv
import json

import pytest
import torch

from subkern.bench import registry, report
from subkern.bench.machine import Machine
from subkern.bench.plot import bars, family, save
from subkern.bench.registry import Absent, Case, Setup, Variant
from subkern.bench.rows import Row
from subkern.bench.runner import run, run_case
from subkern.bench.targets import Target

MACHINE = Machine(
    device="cpu", cpu="a cpu", cores=2, threads=1, cpu_flags="avx2", malloc="default",
    python="3.11", torch="2", subkern="0", commit="abc", dirty=False, date="today", load=0.1,
    peak_gb_s=10.0, peak_gflop_s_fp32=100.0, peak_gflop_s_bf16=200.0,
)  # fmt: skip


def _variant(name, **more):
    x = torch.ones(64)
    return Variant(name, lambda: x.mul_(1.0), lambda: None, **more)


def _case(variants, **more):
    options = dict(
        name="toy-gal-8x8-fp32", op="toy", shape="8x8", dtype="fp32", bytes=640, flops=64
    )
    return Case(**(options | more), setup=lambda quick: Setup(variants))


def test_wrong_variant_gets_an_error_and_no_time():
    timed = []
    wrong = Variant("wrong", lambda: timed.append(1), lambda: "weight 8x8: error 0.5")
    rows = run_case(_case([_variant("subkern"), wrong]), MACHINE, quick=True)
    by_name = {row.variant: row for row in rows}
    assert by_name["wrong"].status == "error"
    assert by_name["wrong"].note == "weight 8x8: error 0.5"
    assert by_name["wrong"].median_ms is None
    assert not timed
    assert by_name["subkern"].status == "ok"
    assert by_name["subkern"].median_ms > 0


def test_raising_variant_does_not_stop_the_others():
    def fail():
        raise RuntimeError("no such\nkernel")

    rows = run_case(_case([Variant("bad", fail, fail), _variant("subkern")]), MACHINE, quick=True)
    assert [row.status for row in rows] == ["error", "ok"]
    assert rows[0].note.startswith("RuntimeError: no such kernel")


def test_failing_setup_is_one_error_row():
    def setup(quick):
        raise MemoryError("too large")

    case = Case("toy", "toy", "8x8", "fp32", setup, 1, 1)
    (row,) = run_case(case, MACHINE, quick=True)
    assert (row.status, row.variant) == ("error", "setup")


def test_absent_variant_is_reported():
    rows = run_case(_case([Absent("official", "not installed"), _variant("subkern")]), MACHINE)
    assert (rows[0].status, rows[0].note) == ("absent", "not installed")


def test_rates_and_shares_follow_the_formulas():
    case = _case([_variant("subkern"), _variant("pair", bytes=6400, flops=0)])
    ours, pair = run_case(case, MACHINE, quick=True)
    seconds = ours.median_ms / 1e3
    assert ours.gb_s == pytest.approx(640 / seconds / 1e9)
    assert ours.gflop_s == pytest.approx(64 / seconds / 1e9)
    # 640 bytes at 10 GB/s take longer than 64 operations at 100 GFLOP/s.
    assert ours.peak_share == pytest.approx(640 / 10e9 / seconds)
    assert pair.bytes == 6400
    assert ours.ours_speedup == 1.0
    assert pair.ours_speedup == pytest.approx(pair.median_ms / ours.median_ms)
    assert ours.transient_bytes < 64


def test_context_surrounds_every_call():
    seen, inside = [], []

    class Inside:
        def __enter__(self):
            inside.append(1)

        def __exit__(self, *_):
            inside.pop()

    variant = Variant(
        "subkern", lambda: seen.append(len(inside)), lambda: None, drifted=lambda: seen.append(
            len(inside)), refresh=lambda: seen.append(len(inside)), context=Inside,
    )  # fmt: skip
    run_case(_case([variant], gap=200), MACHINE, quick=True)
    assert set(seen) == {1}


def test_amortised_rows_and_targets():
    targets = (
        Target("step", "pair", "over", 1e9),
        Target("amortised", "official", "speedup", 1e9),
        Target("step", "nobody", "speedup", 1.0),
    )
    parts = [(3, lambda: None)]
    variants = [
        _variant("subkern", refresh=lambda: None, facts={"energy": 0.5}),
        _variant("official", refresh=lambda: None, refresh_parts=parts),
        _variant("adamw", refreshless=True),
        _variant("pair"),
    ]
    rows = run_case(_case(variants, gap=200, targets=targets), MACHINE, quick=True)
    kinds = {(row.variant, row.kind): row for row in rows}
    assert ("pair", "amortised") not in kinds
    dense = kinds["adamw", "amortised"]
    assert dense.median_ms == pytest.approx(kinds["adamw", "step"].median_ms)
    official = kinds["official", "refresh"]
    assert official.median_ms >= kinds["official", "step"].median_ms
    step, whole = kinds["subkern", "step"], kinds["subkern", "amortised"]
    assert "(at most 1e+09): met; step against nobody: not measured" in step.targets
    assert "NOT MET" in whole.targets
    assert "captures 0.5000" in whole.targets
    assert (step.targets_missed, whole.targets_missed) == (0, 2)


def test_target_senses():
    over, speedup = Target("step", "pair", "over", 1.1), Target("step", "pair", "speedup", 2.0)
    assert (over.value(2.0, 1.0), speedup.value(2.0, 1.0)) == (2.0, 0.5)
    assert over.met(1.1)
    assert not over.met(1.2)
    assert speedup.met(2.0)
    assert not speedup.met(1.9)
    with pytest.raises(ValueError, match="Target"):
        Target("step", "pair", "under", 1.0)


def test_csv_and_json_round_trip(tmp_path):
    case = _case([_variant("subkern"), Absent("official", 'not here, "yet"')])
    (_, rows, seconds), = run([case], MACHINE, quick=True)  # fmt: skip
    assert seconds > 0
    report.write_csv(tmp_path / "a.csv", rows, MACHINE)
    back = report.read_csv(tmp_path / "a.csv")
    assert back == report.as_text(rows, MACHINE)
    assert {"commit", "cpu_flags", "threads", "malloc", "date", "torch"} <= set(back[0])
    assert float(back[1]["median_ms"]) == rows[1].median_ms
    report.write_json(tmp_path / "a.json", rows, MACHINE)
    body = json.loads((tmp_path / "a.json").read_text())
    assert [Row(**row) for row in body["rows"]] == rows
    assert Machine(**body["machine"]) == MACHINE


def test_heading_says_when_the_machine_was_busy():
    assert "BUSY" not in report.heading(MACHINE)
    busy = report.heading(Machine(**(MACHINE.as_row() | {"load": 3.5})))
    assert busy.splitlines()[-1].startswith("BUSY: load 3.5")


def test_csv_without_rows_has_a_header(tmp_path):
    report.write_csv(tmp_path / "a.csv", [], MACHINE)
    with (tmp_path / "a.csv").open() as file:
        assert "median_ms" in next(csv.reader(file))


def test_table_is_aligned():
    rows = run_case(_case([Absent("official", "no"), _variant("subkern")]), MACHINE, quick=True)
    lines = report.table(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].index("official") == lines[3].index("subkern") == lines[0].index("variant")
    assert lines[3].startswith(" ")
    assert any("absent" in line and "official" in line for line in report.remarks(rows))


def test_plot_from_records(tmp_path):
    pytest.importorskip("matplotlib")
    rows = run_case(_case([_variant("subkern"), _variant("official")]), MACHINE, quick=True)
    records = report.as_text(rows, MACHINE)
    assert family(records[0]) == "toy-gal"
    assert set(bars(records, "step")["8x8"]) == {"subkern", "official"}
    assert bars(records, "amortised") == {}
    save(records, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="--plot"):
        save([], tmp_path / "b.png")


def test_relative_error():
    start, want = torch.zeros(4), torch.full((4,), 2.0)
    assert registry.relative_error(torch.full((4,), 3.0), want, start) == pytest.approx(0.5)
    assert registry.relative_error(torch.full((4,), torch.nan), want, start) == float("inf")
