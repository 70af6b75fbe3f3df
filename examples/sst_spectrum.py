#!/usr/bin/env python3
"""Singular values of one layer over training: full, low-rank, and Sparse Spectral Training.

Trains the byte language model of sst_text.py by each method from the same weights on the same
batches, and takes the singular values of one layer's weight on the way. Draws them into
docs/sst.png, writes the numbers to --out and the table into docs/sst.md.

    python examples/sst_spectrum.py
"""

import argparse
import json
from pathlib import Path

import sst_text
import torch
from pretrain.lora import LoRALinear
from spectral_training import runs

from subkern.bench import pages

ROOT = Path(__file__).resolve().parents[1]
PAGE, MARKER = ROOT / "docs" / "sst.md", "sst: spectrum"
METHODS, SEED = ("full", "LoRA", "SST"), 0
LAYER = "blocks.1.up"
TITLES = {
    "full": "all weights",
    "LoRA": f"fixed weights + rank {sst_text.RANK}",
    "SST": f"SST, {sst_text.RANK} pairs at a time",
}
COLORS = ("#c7c7c7", "#7fcdbb", "#2c7fb8", "#253494")


def steps_of(steps):
    """When singular values are taken: at the start, early, halfway, at the end."""
    return [0, steps // 6, steps // 2, steps]


def weight_of(layer):
    """The dense weight that a layer stands for."""
    if isinstance(layer, LoRALinear):
        return (layer.weight + layer.B @ layer.A).detach()
    return layer.weight.detach()


def spectra(method, seed=SEED, steps=sst_text.STEPS):
    """Held-out perplexity, and singular values by step."""
    found = {}

    def watch(model, step):
        if step in steps_of(steps):
            values = torch.linalg.svdvals(weight_of(model.get_submodule(LAYER)).double())
            found[step] = values.tolist()

    return {"perplexity": sst_text.run(method, seed, steps, watch), "values": found}


def stable_rank(values):
    """||W||_F^2 / ||W||_2^2."""
    values = torch.tensor(values)
    return (values.square().sum() / values[0] ** 2).item()


def table(results):
    """Lines of Markdown."""
    lines = [
        "| method | held-out perplexity | largest singular value | stable rank | at the start |",
        "|---|---|---|---|---|",
    ]
    for method, found in results.items():
        first, last = (list(found["values"].values())[i] for i in (0, -1))
        lines.append(
            f"| {TITLES[method]} | {found['perplexity']:.3f} | {last[0]:.2f} | "
            f"{stable_rank(last):.1f} | {first[0]:.2f}, {stable_rank(first):.1f} |"
        )
    return lines


def draw(results, path):
    """A panel for each method; a line for each step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(10, 3.6), sharey=True)
    for axes, (method, found) in zip(panels, results.items(), strict=True):
        for (step, values), color in zip(found["values"].items(), COLORS, strict=True):
            axes.plot(range(1, len(values) + 1), values, color=color, lw=2, label=f"step {step}")
        axes.set_title(
            f"{TITLES[method]}\nheld-out perplexity {found['perplexity']:.2f}", fontsize=10
        )
        axes.set_xlabel("index of the singular value")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("singular value")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize=8, loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(argv=None):
    """Train, write, draw."""
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--jobs", type=int, default=2, help="processes, of a thread each: %(default)s")
    p.add_argument("--steps", type=int, default=sst_text.STEPS, help="%(default)s")
    p.add_argument("--page", type=Path, default=PAGE, help="the page; the picture goes beside it")
    p.add_argument("--out", type=Path, default=Path("runs/sst_spectrum.json"), help="%(default)s")
    args = p.parse_args(argv)
    found = {}
    for (method, *_), result, took in runs.each(
        spectra, [(method, SEED, args.steps) for method in METHODS], args.jobs
    ):
        found[method] = result
        print(f"{method:5s} perplexity {result['perplexity']:.3f}  {took:.1f} s", flush=True)
    results = {method: found[method] for method in METHODS}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    lines = table(results)
    args.page.write_text(pages.replaced(args.page.read_text(), MARKER, lines))
    draw(results, args.page.with_suffix(".png"))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
