"""Hugging Face's Trainer with ours handed in: wrapped by accelerate, scheduled, checkpointed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from subkern.nn import convert_to_sst
from subkern.optim import SSTAdamW

from .small import METHODS, assert_same_weights, groups

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="accelerate is not installed")


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(20, 12), nn.Tanh(), nn.Linear(12, 8))

    def forward(self, x, labels):
        return {"loss": (self.layers(x) - labels).square().mean()}


def dataset(count=32):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(count, 28, generator=generator)
    return [{"x": row[:20], "labels": row[20:]} for row in rows]


def trainer(cls, folder, model, **options):
    if cls is SSTAdamW:
        convert_to_sst(model, rank=3)
        optimizer = cls(model.parameters(), 0.01, iteration_steps=3, iterations_per_round=2)
    else:
        optimizer = cls(groups(model), lr=0.01, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        max_steps=8,
        logging_steps=1,
        save_steps=5,
        max_grad_norm=1.0,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **options,
    )
    return transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset(),
        optimizers=(optimizer, scheduler),
    )


@pytest.mark.parametrize("cls", [*METHODS, SSTAdamW])
def test_trainer_takes_resumes_and_keeps_state(cls, tmp_path):
    model = Regression()
    first = copy.deepcopy(model.state_dict())
    run = trainer(cls, tmp_path / "a", model)
    run.train()
    if cls is not SSTAdamW:  # whose weights have other names
        assert any(not torch.equal(v, first[k]) for k, v in model.state_dict().items())
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert len(losses) == 8
    state = run.optimizer.state_dict()["state"]
    steps = [int(s["step"]) for s in state.values()]
    if cls is SSTAdamW:  # vectors drawn after step 6; values and biases take all
        assert steps == [8, 2, 2, 8] * 2
    else:
        assert steps == [8] * 4
        assert [int(s["refreshes"]) for s in state.values() if "refreshes" in s] == [2, 2]
    assert all(s["exp_avg"].dtype == torch.float32 for s in state.values())

    other = Regression()
    resumed = trainer(cls, tmp_path / "a", other)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-5"))
    assert_same_weights(model, other)
    after = resumed.optimizer.state_dict()["state"]
    for index, values in state.items():
        for name, value in values.items():
            assert torch.equal(value, after[index][name]), name
