"""The table of optimizer steps: a line for both rules, baselines as columns."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from subkern.bench.ratio_table import OURS, Record

RULES = ("galore", "fira")
# Heading of a column: the baseline's name, and whether refreshes are averaged in.
COLUMNS = {
    "official package": ("official", "step"),
    "compiled reference": ("compiled", "step"),
    "AdamW (fused)": ("adamw-fused", "step"),
    "the pair": ("pair", "step"),
    "official, amortised": ("official", "amortised"),
}
Times = Mapping[tuple[str, str], float]


def lines_of(records: Iterable[Record]) -> list[str]:
    """A line per matrix or model and dtype, in the order of the first rule."""
    timed: dict[tuple[str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for row in records:
        _, rule, name = row["case"].split("-", 2)
        if row["status"] == "ok":
            times = timed.setdefault((name, row["dtype"]), {}).setdefault(rule, {})
            times[row["variant"], row["kind"]] = float(row["median_ms"])
    heads = ["matrix or model", "dtype", "our step, ms", *COLUMNS]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for (name, dtype), rules in timed.items():
        label = name.removesuffix(f"-{dtype}")
        shape, _, rank = label.rpartition("-")
        cells = [f"{shape} {rank}", dtype, _both(rules, _ms)]
        cells += [_both(rules, partial(_ratio, *c)) for c in COLUMNS.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _both(rules: Mapping[str, Times], show: Callable[[Times], str]) -> str:
    return " / ".join(show(rules.get(rule, {})) for rule in RULES)


def _ms(times: Times) -> str:
    ours = times.get((OURS[0], "step"))
    return "-" if ours is None else f"{ours:.1f}"


def _ratio(baseline: str, kind: str, times: Times) -> str:
    ours, theirs = times.get((OURS[0], kind)), times.get((baseline, kind))
    return "-" if ours is None or theirs is None else f"{theirs / ours:.2f}"
