"""Samples drawn on this process's instruction set: run as a script, which prints their digest.

Unsorted, so that the order shows every bit of the keys that matters.
"""

import hashlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from sktest import sampling

import subkern

SHAPES = [(3, 1, 1), (2, 63, 20), (2, 129, 129), (2, 5000, 300), (1, 100000, 100000)]


def digest() -> str:
    """Of samples of every kind of weights, float32 and bfloat16, and what they gather."""
    whole = hashlib.sha256()
    for rows, columns, k in SHAPES:
        for kind in sampling.KINDS:
            for dtype in (torch.float32, torch.bfloat16):
                weights = sampling.weights(kind, rows, columns).to(dtype)
                found = subkern.sample_without_replacement(
                    weights, k, seed=3, sorted=False, gather=(weights,), info=True, backend="cpu"
                )
                gathered = found.gathered[0].float()
                for x in (found.idx, found.info, gathered):
                    whole.update(x.numpy().tobytes())
    return whole.hexdigest()


if __name__ == "__main__":
    print(digest(), subkern._C.isa_info()["active"])
