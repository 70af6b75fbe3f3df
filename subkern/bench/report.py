"""Rows as an aligned table, CSV or JSON."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from subkern.bench.gpu_machine import smi
from subkern.bench.machine import Machine
from subkern.bench.rows import Row


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "" if value is None else format(value / unit, form)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "case": lambda row: row.case,
    "variant": lambda row: row.variant,
    "threads": lambda row: "" if row.step_threads is None else str(row.step_threads),
    "kind": lambda row: row.kind if row.status == "ok" else row.status.upper(),
    "median ms": lambda row: _number(row.median_ms, ".3f"),
    "p20..p80": lambda row: (
        "" if row.p20_ms is None else f"{row.p20_ms:.3f}..{_number(row.p80_ms, '.3f')}"
    ),
    "plain ms": lambda row: _number(row.plain_ms, ".3f"),
    "host ms": lambda row: _number(row.host_ms, ".3f"),
    "ours is": lambda row: "" if row.ours_speedup is None else f"{row.ours_speedup:.2f}x",
    "GB/s": lambda row: _number(row.gb_s, ".1f"),
    "GFLOP/s": lambda row: _number(row.gflop_s, ".0f") if row.flops else "",
    "floor ms": lambda row: _number(row.floor_ms, ".3f"),
    "of peak": lambda row: "" if row.peak_share is None else f"{100 * row.peak_share:.0f}%",
    "transient MB": lambda row: _number(row.transient_bytes, ".2f", 1e6),
    "energy": lambda row: _number(row.energy, ".5f"),
    "errors": lambda row: row.accuracy,
    "ratio": lambda row: _number(row.lapack_ratio, ".2g"),
    "others": lambda row: "" if row.others is None else f"{100 * row.others:.0f}%",
    "backend": lambda row: row.backend,
}
TEXT_COLUMNS = ("case", "variant", "kind", "backend", "errors")
# Left out of the table where no row has them.
RARE_COLUMNS = ("plain ms", "host ms", "energy", "errors", "ratio")


def table(rows: Sequence[Row]) -> str:
    """An aligned plain table; a case's name stands on its first line only."""
    columns = {
        name: show
        for name, show in COLUMNS.items()
        if name not in RARE_COLUMNS or any(show(row) for row in rows)
    }
    lines = [list(columns)]
    previous = ""
    for row in rows:
        cells = [show(row) for show in columns.values()]
        if row.case == previous:
            cells[0] = ""
        previous = row.case
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    out = []
    for line in lines:
        cells = [
            cell.ljust(width) if name in TEXT_COLUMNS else cell.rjust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        ]
        out.append("  ".join(cells).rstrip())
    out.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(out)


def remarks(rows: Iterable[Row]) -> list[str]:
    """What does not fit a column: budgets with verdicts, errors, absent baselines, notes."""
    lines = []
    for row in rows:
        for verdict in filter(None, row.targets.split("; ")):
            lines.append(f"budget  {row.case}: {verdict}")
    for row in rows:
        if row.status != "ok":
            lines.append(f"{row.status:7} {row.case} {row.variant}: {row.note}")
    notes = {(row.op, row.variant, row.note): None for row in rows if row.status == "ok"}
    lines += [f"note    {op} {variant}: {note}" for op, variant, note in notes if note]
    return lines


def heading(machine: Machine) -> str:
    """A few lines on where the numbers come from."""
    state = f"{machine.commit[:12]}{' (edited)' if machine.dirty else ''}" or "unknown"
    busy = f"\nBUSY: load {machine.load} before the start; ratios are rough" if machine.busy else ""
    gpu = ""
    if machine.gpu:
        built = f"nvcc build: {machine.nvcc_build}"
        gpu = (
            f"{machine.gpu}, driver {machine.driver}, CUDA {machine.cuda}, "
            f"Triton {machine.triton or 'absent'}, {built}\n{machine.clocks}\n"
        )
    return (
        f"{gpu}{machine.cpu}, {machine.threads} of {machine.cores} cores, {machine.cpu_flags}\n"
        f"torch {machine.torch}, subkern {machine.subkern} at {state}, "
        f"malloc {machine.malloc}, {machine.date}\n"
        f"peaks measured: {machine.peak_gb_s:.1f} GB/s, {machine.peak_gflop_s_fp32:.0f} GFLOP/s "
        f"fp32, {machine.peak_gflop_s_bf16:.0f} GFLOP/s bf16 (torch.mm){busy}"
    )


def _records(rows: Iterable[Row], machine: Machine) -> list[dict[str, object]]:
    return [{**row.as_row(), **machine.as_row()} for row in rows]


def as_text(rows: Iterable[Row], machine: Machine) -> list[dict[str, str]]:
    """What `read_csv` reads back from `write_csv`."""
    return [
        {name: "" if value is None else str(value) for name, value in record.items()}
        for record in _records(rows, machine)
    ]


def write_csv(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """One line per row, machine included: each line stands for itself."""
    records = _records(rows, machine)
    with path.open("w", newline="") as file:
        columns = [field.name for kind in (Row, Machine) for field in fields(kind)]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def write_json(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """An object with "machine", "rows", and on a GPU the driver's own "device_report"."""
    body: dict[str, object] = {"machine": machine.as_row(), "rows": [row.as_row() for row in rows]}
    if machine.device == "cuda":
        body["device_report"] = smi("-q")
    path.write_text(json.dumps(body, indent=1) + "\n")


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of `write_csv`, as text; several files may be read and joined."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
