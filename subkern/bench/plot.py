"""A picture of one or more CSV files of the benchmark.

python -m subkern.bench.plot results.csv [more.csv ...] picture.png
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from subkern.bench.report import read_csv

Record = Mapping[str, str]
KINDS = ("step", "amortised")
COLORS = {
    "triton": "#a6761d",
    "cuda": "#66a61e",
    "official": "#d95f02",
    "eager": "#7570b3",
    "compiled": "#1b9e77",
    "adamw-fused": "#666666",
    "pair": "#e6ab02",
}


def family(record: Record) -> str:
    """What shares a panel: the case's name without its sizes and dtype."""
    return record["case"].partition(f"-{record['shape']}-")[0]


def bars(records: Sequence[Record], kind: str) -> dict[str, dict[str, float]]:
    """Per shape and variant: how many times faster ours was."""
    found: dict[str, dict[str, float]] = {}
    several = len({(r["shape"], r["rank"]) for r in records}) > len({r["shape"] for r in records})
    for record in records:
        if record["kind"] == kind and record["status"] == "ok" and record["ours_speedup"]:
            label = f"{record['shape']}\nr{record['rank']}" if several else record["shape"]
            shape = found.setdefault(label, {})
            shape[record["variant"]] = float(record["ours_speedup"])
    return found


def _panel(axes, values: Mapping[str, Mapping[str, float]], title: str) -> None:
    names = [name for name in COLORS if any(name in shape for shape in values.values())]
    width = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        spots = [(i, shape[name]) for i, shape in enumerate(values.values()) if name in shape]
        where = [i + (place - (len(names) - 1) / 2) * width for i, _ in spots]
        # From 1 up or down on a logarithmic scale: twice as slow is as long as twice as fast.
        heights = [value - 1.0 for _, value in spots]
        drawn = axes.bar(where, heights, width, bottom=1.0, color=COLORS[name], label=name)
        axes.bar_label(drawn, [f"{value:.2f}" for _, value in spots], fontsize=6, padding=1)
    axes.set_yscale("log")
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xticks(range(len(values)), list(values), fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("time over subkern's", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def save(records: Sequence[Record], path: Path) -> None:
    """Draw every variant's time over ours: a row per op, rule and dtype, a bar per variant.

    Args:
        records: Lines of `report.read_csv`.
        path: The picture; its suffix decides the format.

    Raises:
        ValueError: There is no ratio to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        panels.setdefault((family(record), record["dtype"]), []).append(record)
    drawn = [
        (name, dtype, [(kind, values) for kind in KINDS if (values := bars(rows, kind))])
        for (name, dtype), rows in panels.items()
    ]
    drawn = [panel for panel in drawn if panel[2]]
    if not drawn:
        raise ValueError("bench: --plot needs a timed case of subkern beside a baseline, got none")
    columns = max(len(kinds) for _, _, kinds in drawn)
    size = (6.5 * columns, 2.6 * len(drawn) + 0.6)
    figure, grid = pyplot.subplots(len(drawn), columns, figsize=size, squeeze=False)
    for line, (name, dtype, kinds) in zip(grid, drawn, strict=True):
        for axes in line[len(kinds) :]:
            axes.axis("off")
        for axes, (kind, values) in zip(line, kinds, strict=False):
            _panel(axes, values, f"{name} {dtype}, {kind}")
    found = {}
    for axes in grid.flat:
        found.update({bar.get_label(): bar for bar in axes.containers})
    first = records[0]
    device = first.get("gpu") or f"{first['cpu']}, {first['threads']} threads"
    where = f"{device}, torch {first['torch']}"
    legend = f"malloc {first['malloc']}; above 1: subkern is faster"
    figure.suptitle(f"{where}\n{legend}", fontsize=8)
    figure.legend(handles=list(found.values()), loc="lower center", ncols=len(found), fontsize=8)
    figure.tight_layout(rect=(0, 0.5 / size[1], 1, 1))
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(argv: Sequence[str]) -> int:
    """Read CSV files, write a picture."""
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        save([line for name in argv[:-1] for line in read_csv(Path(name))], Path(argv[-1]))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
