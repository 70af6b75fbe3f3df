#!/usr/bin/env python3
"""Link prediction on a random tree by a Lorentz network: dense, Sparse Spectral Training, LoRA.

Every node of a random recursive tree hangs on an earlier one drawn uniformly. A link joins a node
and an ancestor of it; a tenth of all pairs is held out, links or not. The network takes a node's
number, as a unit vector, through two Lorentz layers; the closer two points, the likelier a link.
All layers are dense, spectral, or low-rank, at rank 2 of 16. Prints the area under the ROC curve,
in percent, of held-out links against the other held-out pairs.

    python examples/sst_tree.py --seeds 0 1 2 --out runs/sst_tree.json
"""

import torch
from spectral_training import runs
from torch import nn
from torch.nn import functional

from subkern.nn import LorentzLinear, lorentz

METHODS = ("full", "LoRA", "SST")
NODES, WIDTH, RANK = 500, 16, 2
STEPS, WARMUP, PEAK, BATCH = 600, 30, 1e-2, 512
ITERATION, FRESH, HELD_OUT = 10, 2, 0.1


def pairs_of(seed):
    """Training links and other pairs, held-out links and others; each (2, count)."""
    draw = torch.Generator().manual_seed(seed)
    ancestor = torch.zeros(NODES, NODES, dtype=torch.bool)
    for node in range(1, NODES):
        parent = int(torch.randint(node, (), generator=draw))
        ancestor[node] = ancestor[parent]
        ancestor[node, parent] = True
    pairs = torch.tril_indices(NODES, NODES, -1)
    pairs = pairs[:, torch.randperm(pairs.shape[1], generator=draw)]
    parts = pairs.tensor_split([round((1 - HELD_OUT) * pairs.shape[1])], dim=1)
    linked = [ancestor[part[0], part[1]] for part in parts]
    return [
        part[:, which] for part, yes in zip(parts, linked, strict=True) for which in (yes, ~yes)
    ]


class TreeModel(nn.Module):
    """Points of all nodes, and how likely two of them are linked."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(LorentzLinear(NODES + 1, WIDTH), LorentzLinear(WIDTH, WIDTH))
        self.margin, self.slope = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(1.0))

    def forward(self, pairs):
        points = self.layers(lorentz.project(torch.eye(NODES)))
        gaps = lorentz.distance(points[pairs[0]], points[pairs[1]])
        return functional.softplus(self.slope) * (self.margin - gaps)


def area(model, positive, negative):
    """Share of (positive, negative) pairs that the model puts in order, in percent."""
    with torch.no_grad():
        high, low = model(positive), model(negative).sort().values
    below = (torch.searchsorted(low, high) + torch.searchsorted(low, high, right=True)) / 2
    return 100 * (below.double().mean() / len(low)).item()


def run(method, seed, steps=STEPS):
    """Area under the curve of held-out pairs after training."""
    links, others, held_out, held_out_others = pairs_of(seed)
    torch.manual_seed(seed)
    model = TreeModel()
    optimizer = runs.prepare(
        method, model, RANK, lr=PEAK, seed=seed, iteration_steps=ITERATION, warmup_steps=FRESH
    )
    draw = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])

    def loss(step):
        drawn = [
            pairs[:, torch.randint(pairs.shape[1], (BATCH,), generator=draw)]
            for pairs in (links, others)
        ]
        return functional.binary_cross_entropy_with_logits(model(torch.cat(drawn, 1)), labels)

    runs.train(optimizer, loss, steps=steps, warmup=WARMUP)
    return area(model, held_out, held_out_others)


def judged(row):
    """What is asked of a seed's areas, in points."""
    return {"below full": row["full"] - row["SST"], "above LoRA": row["SST"] - row["LoRA"]}


def experiment(seeds=(0, 1, 2), jobs=2):
    """Areas in percent: seed -> method -> number."""
    return runs.compare(METHODS, run, seeds, "area", jobs)


if __name__ == "__main__":
    raise SystemExit(runs.main(__doc__.partition("\n")[0], None, (0, 1, 2), experiment, judged))
