"""Tables of every case against every baseline, from the rows of a benchmark's CSV file."""

from collections.abc import Iterable, Mapping, Sequence

from subkern.bench.targets import count

Record = Mapping[str, str]
# One call of ours, as many iterations as capture what torch.svd_lowrank does, and compiled.
OURS, SECOND = ("subkern", "subkern-matched", "subkern-compiled"), "subkern-2"
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
    for verdict in filter(None, ours["targets"].split("; ")):
        if f"faster than {baseline} " in verdict or f"faster than {baseline}, " in verdict:
            bound = verdict.partition("(at least ")[2].partition(")")[0]
            return f"{bound}x {verdict.rpartition(': ')[2]}"
    return ""


def _label(row: Record) -> str:
    """The case's name; with what sets the row apart from one call of ours."""
    name = row["case"].replace(f"{row['op']}-", f"`{row['op']}` ").replace("-", " ")
    many = row["note"].partition(": ")[2] if row["variant"] == OURS[1] else ""
    compiled = "compiled" * (row["variant"] == OURS[2])
    return ", ".join(filter(None, (name, many and f"iterations {many}", compiled)))


def cases_of(records: Iterable[Record]) -> dict[str, dict[str, Record]]:
    """The timed steps of every case, by variant, in the order of the file."""
    cases: dict[str, dict[str, Record]] = {}
    for row in records:
        if row["status"] == "ok" and row["kind"] == "step":
            cases.setdefault(row["case"], {})[row["variant"]] = row
    return cases


def baselines(rows: Mapping[str, Record]) -> dict[str, Record]:
    """What ours is compared with, on as many threads."""
    return {
        name: row
        for name, row in rows.items()
        if not name.startswith(OURS[0]) and not name.endswith("-2")
    }


def lines_of(records: Iterable[Record]) -> list[str]:
    """A line per case and baseline, in the order of the file."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for rows in cases_of(records).values():
        for ours in (rows[name] for name in OURS if name in rows):
            lines += _against(ours, rows)
    return lines


def _against(ours: Record, rows: Mapping[str, Record]) -> list[str]:
    """A line per baseline."""
    mine, second = float(ours["median_ms"]), ""
    if ours["variant"] == OURS[0] and (twice := rows.get(SECOND)):
        ratio = f"{mine / float(twice['median_ms']):.2f}x"
        second = ", ".join(filter(None, (ratio, _floor(twice, OURS[0]))))
    lines = []
    for name, row in baselines(rows).items():
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
