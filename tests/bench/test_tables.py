"""The tables of the pages: what the command writes, and ranges and columns by hand."""

from pathlib import Path

import pytest

from subkern.bench import optimizer_table, pages, range_table, tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "marker"), tables.tables(ROOT))
def test_the_pages_are_what_the_command_writes(page, marker):
    found = pages.section((ROOT / page).read_text(), marker)
    wanted = "\n".join(tables.tables(ROOT)[page, marker])
    assert found == wanted, "python -m subkern.bench.tables --write"


def test_the_command_writes_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "tables", lambda: {(Path("page.md"), "bench: a"): ["new"]})
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("x\n<!-- bench: a -->\nold\n<!-- end -->\ny\n")
    assert tables.main([]) == 0
    assert "new" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert tables.main(["--write"]) == 0
    assert page.read_text() == "x\n<!-- bench: a -->\nnew\n<!-- end -->\ny\n"
    page.write_text("no markers")
    assert tables.main(["--write"]) == 1
    assert "must have a section" in capsys.readouterr().err


def row(case, variant, ms, **more):
    found = {"case": case, "op": case.partition("-")[0], "variant": variant, "kind": "step"}
    return found | {"status": "ok", "median_ms": str(ms), "dtype": "fp32"} | more


def test_a_range_is_of_the_worst_and_the_best_case():
    records = [
        row("a-1", "subkern", 2), row("a-1", "subkern-2", 1), row("a-1", "peer", 1),
        row("a-1", "peer-2", 9), row("a-2", "subkern", 1), row("a-2", "peer", 20),
        row("a-2", "other", 3), row("a-2", "lost", 1, status="error"),
        row("b-1", "subkern", 1), row("b-1", "subkern-matched", 2), row("b-1", "peer", 3),
    ]  # fmt: skip
    assert range_table.lines_of(records)[2:] == [
        "| `a` | 2 | peer 0.50x to 20x, other 3.00x |",
        "| `b` | 1 | peer 1.50x |",
    ]


def test_both_rules_of_an_optimizer_share_a_line():
    galore, fira = "lowrank_adam-galore-9x8-r4-fp32", "lowrank_adam-fira-9x8-r4-fp32"
    records = [
        row(galore, "subkern", 2), row(galore, "official", 3), row(fira, "subkern", 4),
        row(fira, "pair", 1), row(galore, "official", 8, kind="amortised"),
        row(galore, "subkern", 4, kind="amortised"),
    ]  # fmt: skip
    (line,) = optimizer_table.lines_of(records)[2:]
    assert line == (
        "| 9x8 r4 | fp32 | 2.0 / 4.0 | 1.50 / - | - / - | - / - | - / 0.25 | 2.00 / - |"
    )
