"""Sharded problems that every rank of a process group solves, and one process alone.

Usage: sharded_cases.py RANK COUNT FOLDER
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

import subkern

# Rows on each rank; the first as many as there are ranks count, the last takes what is left.
TSQR = {
    "even": (90, 8, (45, 45)),
    "uneven": (101, 12, (97, 3)),
    "empty first": (40, 5, (0, 40)),
    "empty last": (40, 5, (40, 0)),
    "all shorter than wide": (9, 8, (4, 3)),
    "one row": (1, 1, (1, 0)),
    "wide": (300, 70, (100, 90)),
    "no column": (7, 0, (3, 4)),
}
MATRICES = ("normal", "ill", "deficient", "zero", "huge", "tiny", "nan")
SUBSPACE = {
    "left": dict(side="left", iters=2),
    "right": dict(side="right", iters=2),
    "cold": dict(mode="iterate", iters=3, oversample=4, cold=True),
    "cold right": dict(side="right", mode="iterate", iters=2, oversample=4, cold=True),
    "ordered": dict(order=True, mode="iterate"),
    "ordered right": dict(side="right", order=True, mode="iterate"),
    "procrustes": dict(align="procrustes", mode="iterate"),
    "start": dict(mode="iterate", return_energy="start"),
    "bfloat16": dict(mode="iterate", iters=2, bfloat16=True),
    "whole": dict(side="left", rank=60),
}


def tall(m: int, k: int, name: str) -> torch.Tensor:
    """The matrix that the ranks share, float32."""
    generator = torch.Generator().manual_seed(m + k)
    Y = torch.randn(m, k, generator=generator, dtype=torch.float64)
    if name == "ill" and k:
        U, _, Vh = torch.linalg.svd(Y, full_matrices=False)
        Y = (U * torch.logspace(0, -6, k, dtype=torch.float64)) @ Vh
    elif name == "deficient":
        Y[:, k // 2 :] = Y[:, : k - k // 2]
    elif name == "zero":
        Y.zero_()
    elif name == "nan" and Y.numel():
        Y[-1, 0] = float("nan")
    return (Y * {"huge": 1e30, "tiny": 1e-30}.get(name, 1.0)).float()


def gradient(name: str = "normal") -> torch.Tensor:
    """The 60 x 90 matrix whose subspace is wanted."""
    generator = torch.Generator().manual_seed(5)
    U, V = (torch.linalg.qr(torch.randn(n, 60, generator=generator))[0] for n in (60, 90))
    G = (U * torch.arange(1.0, 61.0) ** -1.0) @ V.T
    if name == "nan":
        G[0, 0] = float("nan")
    return G * {"huge": 1e30, "tiny": 1e-30, "zero": 0.0}.get(name, 1.0)


def shard(t: torch.Tensor, sizes: tuple[int, ...], rank: int, count: int) -> torch.Tensor:
    """The rows of one rank."""
    if count == 1:
        return t
    sizes = sizes[: count - 1]
    first = sum(sizes[:rank])
    return t[first : first + sizes[rank]] if rank < count - 1 else t[first:]


def solve(rank: int, count: int, group) -> dict[str, tuple]:
    """Results of every problem, on this rank."""
    found = {}
    for shape, (m, k, sizes) in TSQR.items():
        for name in MATRICES if k < 64 else MATRICES[:1]:
            for method in ("cholesky", "tree"):
                Y = shard(tall(m, k, name), sizes, rank, count)
                found[f"tsqr {shape} {name} {method}"] = subkern.tsqr(
                    Y, group, method=method, info=True
                )
    for name, options in SUBSPACE.items():
        for scale in ("normal", "huge", "tiny", "zero", "nan"):
            found[f"topk {name} {scale}"] = _subspace(scale, dict(options), rank, count, group)
    return found


def _subspace(scale: str, options: dict, rank: int, count: int, group) -> tuple:
    G = gradient(scale)
    G = G.bfloat16() if options.pop("bfloat16", False) else G
    if group is None and count == 1:
        options.setdefault("mode", "iterate")  # "auto" of a small side is exact without a group
    r, left = options.pop("rank", 6), options.get("side", "left") == "left"
    start = None
    if not options.pop("cold", False):
        generator = torch.Generator().manual_seed(6)
        start = torch.randn(60 if left else 90, r, generator=generator)
        start = torch.linalg.qr(start)[0]
        start = shard(start, (25, 0), rank, count) if left else start
    G = shard(G, (25, 0), rank, count)
    return tuple(subkern.topk_subspace(G, r, q_prev=start, group=group, **options))


@functools.cache
def solved(count: int) -> list[dict[str, tuple]]:
    """Results of every rank of a gloo process group of ``count`` processes; one runs here."""
    if count == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as the processes have
        try:
            return [solve(0, 1, None)]
        finally:
            torch.set_num_threads(threads)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUBKERN_")}
    environment |= {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, str(rank), str(count), folder],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(count)
        ]
        try:
            outputs = [worker.communicate(timeout=300)[0] for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        assert [worker.returncode for worker in workers] == [0] * count, "\n".join(outputs)
        return [torch.load(Path(folder) / f"rank{rank}.pt") for rank in range(count)]


def main(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), count)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    torch.save(solve(rank, count, dist.group.WORLD), folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
