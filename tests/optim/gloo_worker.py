"""One rank of the two-process test: trains under DDP and saves its weights and state.

Usage: gloo_worker.py CLASS RANK FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from subkern import optim
from subkern.nn import convert_to_sst


def groups(name: str, model: nn.Module) -> list[dict]:
    """What the optimizer of this name is handed."""
    if name == "SSTAdamW":
        keys = {"iteration_steps": 3, "iterations_per_round": 2}
        return [{"params": model.parameters(), **keys}]
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    return [{"params": vectors}, {"params": matrices, "rank": 3, "update_proj_gap": 4}]


def main(name: str, rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(rank)  # DDP sends rank 0's weights to the others
    model = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 8))
    if name == "SSTAdamW":
        convert_to_sst(model, rank=3)
    model = DistributedDataParallel(model)
    optimizer = getattr(optim, name)(groups(name, model), lr=0.02, weight_decay=0.1)
    data = 0.0
    for step in range(10):
        torch.manual_seed(100 * step + rank)
        x = torch.randn(16, 20)
        data += float(x.sum())
        optimizer.zero_grad()
        (model(x) - x[:, :8]).square().mean().backward()
        optimizer.step()
    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(model.parameters())}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"state.{index}.{key}": value for key, value in state.items()}
    torch.save({"data": data, "tensors": tensors}, folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
