"""The front page's table: for each op and baseline the worst and the best ratio of all cases."""

from collections.abc import Iterable, Mapping, Sequence

from subkern.bench.ratio_table import OURS, Record, baselines, cases_of, summary

HEADER = ("op", "cases", "baseline: worst to best")


def lines_of(records: Iterable[Record]) -> list[str]:
    """A line per op, in the order of the records."""
    counts: dict[str, int] = {}
    ratios: dict[str, dict[str, list[float]]] = {}
    for rows in cases_of(records).values():
        ours = _best(rows)
        op = ours["op"]
        counts[op] = counts.get(op, 0) + 1
        for name, row in baselines(rows).items():
            ratio = float(row["median_ms"]) / float(ours["median_ms"])
            ratios.setdefault(op, {}).setdefault(name, []).append(ratio)
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for op, found in ratios.items():
        ranges = ", ".join(f"{name} {_range(values)}" for name, values in found.items())
        lines.append(f"| `{op}` | {counts[op]} | {ranges} |")
    return lines


def _best(rows: Mapping[str, Record]) -> Record:
    """The row to compare with: the one that matches what the baselines capture, or the fastest."""
    found = [rows[name] for name in OURS if name in rows]
    matched = [row for row in found if row["variant"] == OURS[1]]
    return min(matched or found, key=lambda row: float(row["median_ms"]))


def _range(ratios: Sequence[float]) -> str:
    """0.90x to 14x, or one figure where they are the same."""
    ends = dict.fromkeys(f"{r:.2f}x" if r < 10 else f"{r:.0f}x" for r in (min(ratios), max(ratios)))
    return " to ".join(ends)


def origin(records: Sequence[Record]) -> str:
    """Which ops a file is about, where they were measured, on how many threads."""
    ops = ", ".join(dict.fromkeys(f"`{row['op']}`" for row in records))
    threads = records[0].get("step_threads") or records[0]["threads"]
    where = summary(records).partition("; ")[0]
    return f"- {ops}: {where}, {threads} thread{'s' * (threads != '1')}."
