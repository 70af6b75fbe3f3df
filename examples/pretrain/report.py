"""Table, JSON and plot of the results."""

import json
import math
import os
import platform
import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table


def summarize(results):
    """Return one row per method (means over seeds), in the order in which they were run.

    `over_adamw` is the held-out loss relative to AdamW's minus 1, None without AdamW.
    """
    rows = {}
    for result in results:
        rows.setdefault(result["method"], []).append(result)
    keys = ("state_mb", "optimizer_ms", "tokens_per_second", "peak_mb", "start_mb")
    table = []
    for method, runs in rows.items():
        losses = [r["heldout_loss"] for r in runs]
        row = {key: statistics.mean(r[key] for r in runs) for key in keys}
        row.update(
            method=method,
            label=runs[0]["label"],
            lr=runs[0]["lr"],
            seeds=len(runs),
            heldout_loss=statistics.mean(losses),
            heldout_std=statistics.stdev(losses) if len(losses) > 1 else None,
        )
        table.append(row)
    base = next((r["heldout_loss"] for r in table if r["method"] == "adamw"), None)
    for row in table:
        row["over_adamw"] = None if base is None else row["heldout_loss"] / base - 1
    return table


def print_table(rows, console=None):
    """Print the comparison."""
    console = console or make_console()
    table = Table(title="Same model, data order and seeds for all methods")
    table.add_column("method")
    columns = ("lr", "held-out loss", "vs AdamW", "state MB", "opt ms/step", "tokens/s", "peak MB")
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        loss = f"{row['heldout_loss']:.4f}"
        if row["heldout_std"] is not None:
            loss += f" ± {row['heldout_std']:.4f}"
        over = "-" if row["over_adamw"] is None else f"{100 * row['over_adamw']:+.2f} %"
        table.add_row(
            row["label"],
            f"{row['lr']:g}",
            loss,
            over,
            f"{row['state_mb']:.2f}",
            f"{row['optimizer_ms']:.2f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['peak_mb']:.0f}",
        )
    console.print(table)


def print_grid(grids, console=None):
    """Print held-out loss over learning rate for each method; returns the best rates."""
    console = console or make_console()
    best = {}
    for method, losses in grids.items():
        table = Table(title=f"{method}: held-out loss by learning rate, same budget")
        best[method] = min(losses, key=lambda lr: _finite(losses[lr]))
        for lr in losses:
            table.add_column(f"{lr:g}" + (" (best)" if lr == best[method] else ""))
        table.add_row(*(f"{loss:.4f}" for loss in losses.values()))
        console.print(table)
    return best


def make_console():
    """A console that does not fold the table where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def save_json(path, *, settings, rows, results):
    """Write every number of the comparison, atomically."""
    import torch

    machine = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    content = {"settings": settings, "machine": machine, "summary": rows, "runs": results}
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(_jsonable(content), indent=1))
    os.replace(temporary, path)


def save_plot(path, results):
    """Plot smoothed training loss (lines) and held-out loss (dots) over steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    colors = {}
    for result in results:
        color = colors.setdefault(result["method"], f"C{len(colors)}")
        first = result["seed"] == min(r["seed"] for r in results if r["method"] == result["method"])
        curve = _smooth(result["train_curve"])
        axes.plot(range(1, len(curve) + 1), curve, color=color, linewidth=1, alpha=0.6)
        steps, losses = zip(*result["heldout_curve"], strict=True)
        label = f"{result['label']}, lr {result['lr']:g}" if first else None
        axes.plot(steps, losses, "o", color=color, label=label, markersize=5)
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy (lines: training, dots: held-out)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _smooth(values, keep=0.9):
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def _finite(value):
    return value if math.isfinite(value) else math.inf


def _jsonable(value):
    # JSON has no NaN; a diverged run is null there
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    return value
