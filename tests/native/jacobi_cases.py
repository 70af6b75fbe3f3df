"""The contracts of svd_small and eigh_small on this process's instruction set: run as a script.

Every path is taken: a matrix per lane and partial groups, one matrix by its rows, tall and wide
input that is factored first, views, bad members.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from sktest import linalg

import subkern
from subkern.bench import gallery as matrices

SHAPES = [(8, 8), (9, 17), (33, 33), (120, 5), (40, 150)]


def svd(A):
    return subkern.svd_small(A, info=True, backend="cpu")


def eigh(C):
    return subkern.eigh_small(C, info=True, backend="cpu")


def check_svd():
    for m, n in SHAPES:
        g = matrices.gallery(m, n, conditions=(1e7,))
        for scale in (1.0, 1e-38):
            scaled = g if scale == 1.0 else g.scaled(scale)
            U, S, Vh, info = svd(scaled.batch)
            linalg.check_svd(scaled, U, S, Vh)
            linalg.assert_all("info", (info & ~2) == 0, scaled)
        linalg.check_alone(svd, g.batch[:19], (0, 18))
        for case in list(matrices.nonfinite(m, n))[::5]:
            linalg.check_poisoned(svd, case)


def check_eigh():
    for n in (5, 19, 40):
        batch = matrices.gallery(n, n, conditions=(1e7,)).batch
        C = (batch + batch.mT) / 2
        g = linalg.as_gallery(C)
        w, V, info = eigh(C)
        linalg.check_eigh(g, w, V)
        linalg.assert_all("info", info == 0, g)
        linalg.check_alone(eigh, C[:19], (0, 18))
        for case in list(matrices.nonfinite(n, n))[::5]:
            linalg.check_poisoned(eigh, case)


if __name__ == "__main__":
    check_svd()
    check_eigh()
    print(subkern._C.isa_info()["active"])
