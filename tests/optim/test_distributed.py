"""Distributed use: state dicts by parameter name, DTensor, and two ranks that agree bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed import checkpoint
from torch.distributed.checkpoint import state_dict as distributed

from subkern.optim import GaLoreAdamW, SSTAdamW

from .small import (
    METHODS,
    assert_same_state,
    assert_same_weights,
    small_model,
    small_optimizer,
    train,
)

WORKER = Path(__file__).with_name("gloo_worker.py")


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("flatten", "full"), [(False, False), (True, False), (False, True)])
def test_round_trip_by_name(cls, dtype, flatten, full):
    """Keys are names, and the groups list biases before weights, unlike the model.

    Flat and full at once fails inside torch for every optimizer (KeyError, torch 2.13).
    """
    options = distributed.StateDictOptions(
        flatten_optimizer_state_dict=flatten, full_state_dict=full
    )
    model, other = small_model(dtype), small_model(dtype, seed=2)
    optimizer, loaded = small_optimizer(cls, model), small_optimizer(cls, other)
    train(model, optimizer, 6)
    train(other, loaded, 3)
    saved = distributed.get_optimizer_state_dict(model, optimizer, options=options)
    weights = distributed.get_model_state_dict(model)
    distributed.set_model_state_dict(other, weights)
    distributed.set_optimizer_state_dict(other, loaded, saved, options=options)
    assert_same_state(optimizer, loaded)
    train(model, optimizer, 6, start=6)
    train(other, loaded, 6, start=6)
    assert_same_weights(model, other)
    assert_same_state(optimizer, loaded)


@pytest.mark.parametrize("cls", METHODS)
def test_through_a_distributed_checkpoint(cls, tmp_path):
    def parts(model, optimizer):
        names = ("model", "optim")
        return dict(zip(names, distributed.get_state_dict(model, optimizer), strict=True))

    model, other = small_model(torch.bfloat16), small_model(torch.bfloat16, seed=2)
    optimizer, loaded = small_optimizer(cls, model), small_optimizer(cls, other)
    train(model, optimizer, 5)
    checkpoint.save(parts(model, optimizer), checkpoint_id=tmp_path, no_dist=True)
    template = parts(other, loaded)
    checkpoint.load(template, checkpoint_id=tmp_path, no_dist=True)
    distributed.set_state_dict(
        other, loaded, model_state_dict=template["model"], optim_state_dict=template["optim"]
    )
    assert_same_state(optimizer, loaded)
    train(model, optimizer, 4, start=5)
    train(other, loaded, 4, start=5)
    assert_same_weights(model, other)


@pytest.mark.parametrize("cls", METHODS)
def test_reading_state_takes_no_step(cls):
    """torch fills an empty state by a step with zero gradients; ours is never empty."""
    model = small_model()
    optimizer = small_optimizer(cls, model)
    saved = distributed.get_optimizer_state_dict(model, optimizer)
    assert set(saved["state"]) == {name for name, _ in model.named_parameters()}
    assert all(int(s["step"]) == 0 for s in optimizer.state.values())


@pytest.fixture
def one_process_group(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
def test_dtensors_are_refused(one_process_group):
    from torch.distributed.tensor import DTensor, Replicate, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    p = torch.nn.Parameter(DTensor.from_local(torch.ones(4, 6), mesh, [Replicate()]))
    for group in ({"params": [p], "rank": 2}, {"params": [p]}):
        with pytest.raises(TypeError, match=r"params\[0\] must be a local tensor, got a DTensor"):
            GaLoreAdamW([group])


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
@pytest.mark.parametrize("cls", [*METHODS, SSTAdamW])
def test_two_ranks_agree_bit_for_bit(cls, tmp_path):
    """DDP over gloo with different data per rank: weights and state stay equal on both."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUBKERN_")}
    environment |= {"OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, cls.__name__, str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=240)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(outputs)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["data"] != second["data"], "the ranks saw the same batches"
    assert first["tensors"].keys() == second["tensors"].keys()
    for name, value in first["tensors"].items():
        assert torch.equal(value, second["tensors"][name]), name
    if cls is SSTAdamW:
        drawn = [v for n, v in first["tensors"].items() if n.endswith("sampled")]
        assert [len(v) for v in drawn] == [3, 3]
    else:
        refreshes = [int(v) for n, v in first["tensors"].items() if n.endswith("refreshes")]
        assert refreshes == [3, 3]
