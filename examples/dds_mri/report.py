"""Table, numbers and picture of a run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "psnr": ("PSNR dB", ".2f"),
    "nrmse": ("NRMSE", ".3f"),
    "ssim": ("SSIM", ".3f"),
    "residual": ("residual / noise", ".2f"),
    "denoiser_s": ("denoiser s", ".2f"),
    "solver_s": ("solver s", ".3f"),
}


def summary(rows: list[dict]) -> list[dict]:
    """Mean and standard deviation over the seeds, for every mask and method in order."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["mask"], row["method"]), []).append(row)
    found = []
    for (mask, method), members in groups.items():
        line = {"mask": mask, "method": method, "seeds": len(members)}
        line["fraction"] = mean(m["fraction"] for m in members)
        for key in COLUMNS:
            values = [m[key] for m in members]
            line[key] = (mean(values), stdev(values) if len(values) > 1 else 0.0)
        found.append(line)
    return found


def _cell(key: str, value: tuple[float, float]) -> str:
    form = COLUMNS[key][1]
    spread = "" if key.endswith("_s") else f" ± {value[1]:{form}}"
    return f"{value[0]:{form}}{spread}"


def show(lines: list[dict], console: Console) -> None:
    """A table for each mask."""
    for mask in dict.fromkeys(line["mask"] for line in lines):
        members = [line for line in lines if line["mask"] == mask]
        title = f"{mask}: {members[0]['fraction']:.1%} sampled, {members[0]['seeds']} seeds"
        table = Table(title=title)
        table.add_column("method")
        for name, _ in COLUMNS.values():
            table.add_column(name, justify="right")
        for line in members:
            table.add_row(line["method"], *(_cell(key, line[key]) for key in COLUMNS))
        console.print(table)


def markdown(lines: list[dict]) -> list[str]:
    """The same for a page."""
    text = [
        "| mask | sampled | method | " + " | ".join(name for name, _ in COLUMNS.values()) + " |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    for line in lines:
        cells = " | ".join(_cell(key, line[key]) for key in COLUMNS)
        text.append(f"| {line['mask']} | {line['fraction']:.1%} | {line['method']} | {cells} |")
    return text


def save(rows: list[dict], facts: dict, path: Path) -> None:
    """All numbers, as JSON."""
    path.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n")


def montage(pictures: dict, path: Path) -> None:
    """Magnitudes above errors that are five times as bright, for each mask."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 1 + min(len(found) for _, found in pictures.values())
    figure, axes = plt.subplots(
        2 * len(pictures), columns, figsize=(2.1 * columns, 4.3 * len(pictures)), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (kind, (case, found)) in enumerate(pictures.items()):
        top, bottom = axes[2 * i], axes[2 * i + 1]
        truth, most = case.truth[0], float(case.truth.abs().max())
        top[0].imshow(truth.abs().numpy(), cmap="gray", vmin=0, vmax=most)
        top[0].set_title("truth", fontsize=8)
        bottom[0].imshow(case.A.mask[0, 0].numpy(), cmap="gray")
        bottom[0].set_title(f"{kind}: {case.fraction:.1%} sampled", fontsize=8)
        shown = {name: x for name, x in found.items() if not name.endswith("row")}  # looks the same
        for j, (name, x) in enumerate(shown.items(), 1):
            top[j].imshow(x[0].abs().numpy(), cmap="gray", vmin=0, vmax=most)
            top[j].set_title(name, fontsize=8)
            bottom[j].imshow((x[0] - truth).abs().numpy(), cmap="inferno", vmin=0, vmax=most / 5)
            bottom[j].set_title("|error| x 5", fontsize=8)
    figure.tight_layout(pad=0.3, h_pad=1.0)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)
