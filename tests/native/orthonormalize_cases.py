"""The kernel on the gallery. As a script: the part of each bound that was used up, as JSON."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from sktest import linalg

import subkern
from subkern import _C
from subkern.bench.gallery import gallery

SHAPES = [(1, 1), (3, 3), (9, 7), (8, 8), (17, 13), (33, 33), (64, 8), (130, 3), (70, 64), (300, 9)]


def check(shapes=SHAPES):
    """Raises where a bound is exceeded; tall and short, row-major and transposed."""
    for m, k in shapes:
        for dtype in (torch.float32, torch.bfloat16):
            g = gallery(m, k, dtype=dtype, conditions=(1e2, 1e7))
            for Y in (g.batch, g.batch.mT.contiguous().mT):
                Q, R = subkern.orthonormalize(Y, return_r=True, backend="cpu")
                linalg.check_qr(g, Q, R)


if __name__ == "__main__":
    check()
    used = {" ".join(key): part for key, (part, _) in linalg.worst.items()}
    print(json.dumps({"active": _C.isa_info()["active"], "used": used}))
