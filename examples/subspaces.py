#!/usr/bin/env python3
"""Time against captured energy, on a gradient of the pretraining example: the ways to a subspace.

Trains a model of the example for half a minute to get two gradients of one matrix, 20 steps apart
(kept in --out, so that only the first call trains), then times each way to the subspace of the
later one. The table goes into docs/subspaces.md, the picture beside it, the numbers into --csv.

    python examples/subspaces.py                 everything
    python examples/subspaces.py --capture       only train, and keep the gradients
"""

import argparse
import csv
import sys
from pathlib import Path

import torch
from pretrain import UserError, data
from pretrain import model as models
from pretrain.train import learning_rate

import subkern
from subkern.bench import idle, pages
from subkern.bench.machine import inspect
from subkern.bench.timer import Effort, measure

ROOT = Path(__file__).resolve().parents[1]
# The example's default model, and AdamW at its learning rate.
PRESET, PEAK, SEED = "tiny", 1.25e-3, 0
STEPS = (130, 150)
WEIGHT = "layers.2.mlp.down_proj"
RANK = 64
LEAST_MISSED = 1e-7  # what float32 can tell
SWEEP = (1, 2, 4)
EFFORT = Effort(rounds=9, min_rounds=5, sample_s=0.0, budget_s=25.0)
COLORS = {
    "torch.linalg.svd": "#444444",
    "torch eigh of the Gram matrix": "#7570b3",
    "torch.svd_lowrank": "#d95f02",
    "topk_subspace, exact": "#1b9e77",
    "topk_subspace, cold": "#66a61e",
    "topk_subspace, warm": "#f4a6cf",
    "topk_subspace, warm, relax": "#e7298a",
}
PAGE, MARKER = ROOT / "docs" / "subspaces.md", "subspaces: table"


def capture(folder, steps=STEPS):
    """Train, and return the weight's gradients at the steps; from the folder if they are there."""
    from safetensors.torch import load_file, save_file

    kept = folder / "gradients.safetensors"
    names = [f"step{step}" for step in steps]
    if kept.is_file() and set(names) <= (found := load_file(kept)).keys():
        return [found[name] for name in names]
    p = models.preset(PRESET)
    corpus = data.prepare(None, vocab=p.vocab, seq=p.seq, directory=folder / "data")
    tokens, _ = data.load_tokens(corpus)
    sizes = {"hidden": p.hidden, "intermediate": p.intermediate, "layers": p.layers}
    model = models.build(**sizes, heads=p.heads, vocab=p.vocab, seq=p.seq, seed=SEED)
    (weight,) = (p for n, p in model.named_parameters() if WEIGHT in n)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK)
    gradients = {}
    for step in range(max(steps) + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, peak=PEAK, steps=p.steps)
        batch = data.batch_at(tokens, seed=SEED, step=step, batch=p.batch, seq=p.seq)
        loss = models.loss_of(model, batch)
        loss.backward()
        if step in steps:
            gradients[f"step{step}"] = weight.grad.detach().clone()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(f"\rstep {step + 1} of {max(steps) + 1}: loss {loss.item():.3f}", end="", flush=True)
    print()
    save_file(gradients, kept)
    return [gradients[name] for name in names]


def ways(before, G, rank):
    """Every way to a basis of the shorter side: (name, setting) -> call."""
    short = G if G.shape[0] <= G.shape[1] else G.mT
    left = short is G
    q_prev = torch.linalg.svd(before, full_matrices=False)[0][:, :rank].contiguous()

    side = "left" if left else "right"

    # No way of torch's measures the energy, so neither do ours.
    def ours(**options):
        return lambda: (
            subkern.topk_subspace(G, rank, side=side, return_energy=False, **options).basis
        )

    def lowrank(niter):
        U, _, V = torch.svd_lowrank(G, q=rank, niter=niter)
        return U if left else V

    found = {
        ("torch.linalg.svd", ""): lambda: torch.linalg.svd(short, full_matrices=False)[0][:, :rank],
        ("torch eigh of the Gram matrix", ""): lambda: torch.linalg.eigh(short @ short.mT)[1][
            :, -rank:
        ],
        ("topk_subspace, exact", ""): ours(mode="exact"),
    }
    for count in (0, *SWEEP):
        found["torch.svd_lowrank", f"niter={count}"] = lambda count=count: lowrank(count)
    for count in SWEEP:
        setting, options = f"iters={count}", dict(mode="iterate", iters=count)
        found["topk_subspace, cold", setting] = ours(**options)
        found["topk_subspace, warm", setting] = ours(q_prev=q_prev, **options)
        # As the optimizers refresh, with iters=2.
        found["topk_subspace, warm, relax", setting] = ours(q_prev=q_prev, relax=True, **options)
    return found


def compare(before, G, rank, effort=EFFORT):
    """Rows of name, setting, milliseconds, captured share of the best energy, orthonormality."""
    calls = ways(before, G, rank)
    short = (G if G.shape[0] <= G.shape[1] else G.mT).double()
    values = torch.linalg.eigvalsh(short @ short.mT)
    best = (values[-rank:].sum() / values.sum()).item()
    torch.manual_seed(SEED)
    quality = {}
    for key, call in calls.items():
        basis = call()
        span = torch.linalg.qr(basis.double())[0]
        energy = subkern.diagnostics.captured_energy(short, span).item() / best
        quality[key] = energy, subkern.diagnostics.orthonormality_error(basis).item()
    times = measure({"/".join(key): call for key, call in calls.items()}, effort, threads=1)
    return best, [
        {
            "way": way,
            "setting": setting,
            "ms": 1e3 * times[f"{way}/{setting}"].median,
            "energy": energy,
            "orthonormality": off,
        }
        for (way, setting), (energy, off) in quality.items()
    ]


def table(rows):
    """Lines of Markdown, fastest first."""
    lines = [
        "| way | setting | ms | missed of the best energy | orthonormality error |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: float(row["ms"])):
        lines.append(
            f"| {row['way']} | {row['setting']} | {float(row['ms']):.1f} | "
            f"{max(1 - float(row['energy']), LEAST_MISSED):.0e} | "
            f"{float(row['orthonormality']):.0e} |"
        )
    return lines


def draw(rows, best, shape, rank, path):
    """Milliseconds to the right, less missed energy upwards; lines join the settings of a way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for way, color in COLORS.items():
        points = sorted(
            (row["ms"], max(1 - row["energy"], LEAST_MISSED), row["setting"])
            for row in rows
            if row["way"] == way
        )
        x, y, labels = zip(*points, strict=True)
        axes.plot(x, y, "o-", color=color, label=way, markersize=6)
        for place in range(len(points)):
            axes.annotate(
                labels[place].partition("=")[2], (x[place], y[place]), fontsize=8, color=color,
                xytext=(4, -11), textcoords="offset points",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, one thread (logarithmic)")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set_ylabel(f"energy missed, as a share of the best at rank {rank} (better upwards)")
    axes.set_title(
        f"{shape[0]}x{shape[1]} gradient of the pretraining example, rank {rank} "
        f"(the best captures {100 * best:.1f}%)\nnumbers: niter of svd_lowrank, iters of ours",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def write_csv(path, rows, machine):
    """The rows, each with the machine they are from."""
    keep = ("cpu", "torch", "subkern", "commit", "dirty", "date", "load", "others")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *keep], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **{key: machine[key] for key in keep}} for row in rows)


def parser():
    """Return the argument parser."""
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--out", type=Path, default=Path("runs/subspaces"), help="%(default)s")
    p.add_argument("--csv", type=Path, default=ROOT / "bench" / "results" / "subspaces.csv")
    p.add_argument("--capture", action="store_true", help="only train and keep the gradients")
    p.add_argument("--idle", type=int, default=0, help="wait this long for an idle machine (0 s)")
    return p


def main(argv=None):
    """Capture, compare, write."""
    args = parser().parse_args(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        before, G = capture(args.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.capture:
        return 0
    if args.idle:
        idle.wait(args.idle)
    machine = inspect(1, peaks=False).as_row()
    start = idle.now()
    best, rows = compare(before, G, RANK)
    machine["others"] = idle.others(start, idle.now())
    write_csv(args.csv, rows, machine)
    lines = table(rows)
    PAGE.write_text(pages.replaced(PAGE.read_text(), MARKER, lines))
    draw(rows, best, G.shape, RANK, PAGE.with_suffix(".png"))
    print("\n".join(lines))
    print(f"others used {100 * (machine['others'] or 0):.0f}% of the machine meanwhile")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
