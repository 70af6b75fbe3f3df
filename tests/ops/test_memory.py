"""Scratch of one step outside a refresh, measured: max(32 MB, one parameter's r x max(m, n))."""

import pytest
import torch
from sktest.backends import refusal

from subkern.backends.cpu import products
from subkern.bench.memory import transient
from subkern.ops import adam_, lowrank_adam_

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# The widest matrix of the benchmarks, and all matrices of one shape of a 60M model.
SETS = {"one": (2048, 5461, 512, 1), "list": (512, 1376, 128, 56)}


def allowed(rank, longer):
    return max(32 << 20, rank * longer * 4)


@pytest.fixture(autouse=True)
def cpu_only():
    if (reason := refusal("lowrank_adam", "cpu")) is not None:
        pytest.skip(reason)


# The products of machines with bfloat16 units are emulated here, slowly: small matrices only.
CASES = [(which, dtype, False) for which in SETS for dtype in DTYPES] + [("list", "bf16", True)]


@pytest.mark.parametrize(("which", "dtype", "units"), CASES)
@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_lowrank_adam(which, rule, dtype, units, monkeypatch):
    monkeypatch.setattr(products, "has_bf16_units", lambda: units)
    m, n, rank, count = SETS[which]
    side, dtype = "left", DTYPES[dtype]
    W, G = (torch.full((count, m, n), 1e-2, dtype=dtype) for _ in range(2))
    P = torch.eye(m, rank, dtype=dtype)
    M, V = torch.zeros(count, rank, n), torch.zeros(count, rank, n)
    steps, skipped, limiters = (list(torch.zeros(3, count)[i]) for i in range(3))
    lists = [list(W), list(G), [P] * count, list(M), list(V), steps, skipped]
    lists += [limiters] if rule == "fira" else []
    used = transient(
        lambda: lowrank_adam_(*lists, lr=0.1, side=side, rule=rule, scale=0.25, backend="cpu")
    )
    assert used.peak <= allowed(rank, max(m, n)), f"{used.peak / 2**20:.1f} MiB"
    assert used.largest < m * n * G.element_size() * (count == 1) + (32 << 20) * (count > 1)
    assert used.kept == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(dtype):
    W, G = (torch.full((8, 1 << 20), 1e-2, dtype=DTYPES[dtype]) for _ in range(2))
    M, V = torch.zeros(8, 1 << 20), torch.zeros(8, 1 << 20)
    lists = [list(t) for t in (W, G, M, V, torch.zeros(8), torch.zeros(8))]
    used = transient(lambda: adam_(*lists, lr=0.1, backend="cpu"))
    assert used.peak <= 1 << 16, used
