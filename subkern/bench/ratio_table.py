"""The README's tables of ops against baselines, from the benchmark's CSV file.

python -m subkern.bench.ratio_table FILE.csv [--write README.md] [--section linalg]
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from subkern.bench import pages
from subkern.bench.report import read_csv
from subkern.bench.targets import count

SECTIONS = ("linalg", "steps", "krylov")  # of the page, as bench: linalg
Record = Mapping[str, str]
# One call of ours, and as many iterations as capture what torch.svd_lowrank does.
OURS, SECOND = ("subkern", "subkern-matched"), "subkern-2"
HEADER = (
    "case",
    "ours, ms",
    "error",
    "baseline",
    "its ms",
    "its error",
    "ratio",
    "floor",
    "second thread",
)


def _quality(row: Record) -> str:
    """Energy where that is what counts, LAPACK's ratio, else the first error by its name."""
    if row["energy"]:
        return f"energy {float(row['energy']):.5f}"
    if row["lapack_ratio"]:
        return f"{float(row['lapack_ratio']):.2g}"
    return row["accuracy"].partition(",")[0]


def _floor(ours: Record, baseline: str) -> str:
    """The verdict on the floor against this baseline: 3x met, 3x NOT MET, or nothing."""
    for verdict in ours["targets"].split("; "):
        if f"faster than {baseline} " in verdict or f"faster than {baseline}, " in verdict:
            bound = verdict.partition("(at least ")[2].partition(")")[0]
            return f"{bound}x {verdict.rpartition(': ')[2]}"
    return ""


def _label(row: Record) -> str:
    """The case's name; with the iterations of the row that took more than one call's."""
    name = row["case"].replace(f"{row['op']}-", f"`{row['op']}` ").replace("-", " ")
    many = row["note"].partition(": ")[2] if row["variant"] == OURS[1] else ""
    return f"{name}, iterations {many}" if many else name


def lines_of(records: Iterable[Record]) -> list[str]:
    """A line per case and baseline, in the order of the file."""
    cases: dict[str, dict[str, Record]] = {}
    for row in records:
        if row["status"] == "ok" and row["kind"] == "step":
            cases.setdefault(row["case"], {})[row["variant"]] = row
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for rows in cases.values():
        for ours in (rows[name] for name in OURS if name in rows):
            lines += _against(ours, rows)
    return lines


def _against(ours: Record, rows: Mapping[str, Record]) -> list[str]:
    """A line per baseline."""
    mine, second = float(ours["median_ms"]), ""
    if ours["variant"] == OURS[0] and (twice := rows.get(SECOND)):
        second = f"{mine / float(twice['median_ms']):.2f}x"
    lines = []
    for name, row in rows.items():
        if name.startswith("subkern") or name.endswith("-2"):
            continue
        theirs = float(row["median_ms"])
        cells = [
            _label(ours), f"{mine:.3g}", _quality(ours), name, f"{theirs:.3g}", _quality(row),
            f"{theirs / mine:.2f}x", _floor(ours, name), second,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary(records: Sequence[Record]) -> str:
    """Where and on what the numbers were measured, and how many targets were met."""
    first = records[0]
    totals = count([row["targets"] for row in records])
    shares = [float(row["others"]) for row in records if row.get("others")]
    states = (f"{r['commit'][:12]}{' (edited)' * (r['dirty'] == 'True')}" for r in records)
    commits = " and ".join(dict.fromkeys(states))
    return (
        f"{first['cpu']}, torch {first['torch']}, commit {commits}; other processes used at most "
        f"{100 * max(shares, default=0.0):.0f}% of the machine during a case. "
        f"Targets: {totals['met']} met, {totals['missed']} missed."
    )


def main(argv: Sequence[str]) -> int:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(
        prog="python -m subkern.bench.ratio_table", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("csv", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="page with the table's section")
    parser.add_argument("--section", choices=SECTIONS, default=SECTIONS[0], help="%(default)s")
    options = parser.parse_args(argv)
    try:
        records = read_csv(options.csv)
        lines = [*lines_of(records), "", summary(records)]
        if options.write:
            page = options.write.read_text()
            options.write.write_text(pages.replaced(page, f"bench: {options.section}", lines))
    except (OSError, ValueError, IndexError) as error:
        print(f"ratio_table: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
