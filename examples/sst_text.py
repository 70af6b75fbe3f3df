#!/usr/bin/env python3
"""Sparse Spectral Training against LoRA, ReLoRA and full training: a byte language model.

The text is that of the interpreter's own help topics, whose last tenth is held out. All methods
start from the same weights and see the same batches; all linear layers, the head too, are dense,
low-rank or spectral, the rest is trained by all. Prints held-out perplexities, and how much of the
gap between full and low-rank training Sparse Spectral Training closes: (best of LoRA and ReLoRA -
SST) / (that best - full).

    python examples/sst_text.py --seeds 0 1 --out runs/sst_text.json
"""

import math

import torch
from spectral_training import runs
from torch import nn
from torch.nn import functional

METHODS = ("full", "LoRA", "ReLoRA", "SST")
LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 2, 64, 4, 32, 32
STEPS, WARMUP, PEAK = 600, 50, 3e-3
RANK, ITERATION, RESTARTS = 8, 20, 200
STD = 0.02  # of the first weights, as in GPT-2 and OPT


def load():
    """Training and held-out text as indices into the bytes that occur, and their number."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).encode()
    vocabulary, tokens = torch.tensor(list(text)).unique(return_inverse=True)
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:], len(vocabulary)


class Block(nn.Module):
    """Attention and a network of two layers, each behind a norm and around a sum."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        sizes = [(1, 1)] * 4 + [(1, 4), (4, 1)]
        self.q, self.k, self.v, self.out, self.up, self.down = (
            nn.Linear(m * WIDTH, n * WIDTH, bias=False) for m, n in sizes
        )

    def forward(self, x):
        h = self.norms[0](x)
        q, k, v = (
            f(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class ByteModel(nn.Module):
    """Embeddings of bytes and places, blocks, a norm and a head."""

    def __init__(self, vocabulary):
        super().__init__()
        self.bytes, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=STD)

    def forward(self, tokens):
        x = self.bytes(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def loss_of(model, windows):
    logits = model(windows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def run(method, seed, steps=STEPS, watch=None):
    """Held-out perplexity after training; ``watch(model, step)`` sees the model at 0 and after."""
    train, held_out, vocabulary = load()
    torch.manual_seed(seed)
    model = ByteModel(vocabulary)
    options = dict(restarts=RESTARTS, iteration_steps=ITERATION)
    optimizer = runs.prepare(method, model, RANK, lr=PEAK, seed=seed, **options)
    place = torch.Generator().manual_seed(seed)
    offsets = torch.arange(CONTEXT + 1)
    after = None if watch is None else lambda step: watch(model, step + 1)
    if watch is not None:
        watch(model, 0)

    def loss(step):
        starts = torch.randint(len(train) - CONTEXT, (BATCH, 1), generator=place)
        return loss_of(model, train[starts + offsets])

    runs.train(optimizer, loss, steps=steps, warmup=WARMUP, after=after)
    with torch.no_grad():
        windows = held_out.unfold(0, CONTEXT + 1, CONTEXT)
        return math.exp(loss_of(model, windows))


def judged(row):
    """What is asked of a seed's perplexities."""
    best = min(row["LoRA"], row["ReLoRA"])
    return {"gap closed": (best - row["SST"]) / (best - row["full"])}


def experiment(seeds=(0, 1), jobs=2):
    """Perplexities: seed -> method -> number."""
    return runs.compare(METHODS, run, seeds, "perplexity", jobs)


if __name__ == "__main__":
    raise SystemExit(runs.main(__doc__.partition("\n")[0], None, (0, 1), experiment, judged))
