"""A whole training step under torch.compile takes the steps that it takes without."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from .small import GAP, METHODS, batches, loss_of, small_model, small_optimizer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

BREAKS = ("`Optimizer.zero_grad`", "Tensor.backward()", "LowRankOptimizer.step")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def training_step(cls, device, **engine):
    model = small_model().to(device)
    optimizer = small_optimizer(cls, model, **engine)

    def step(batch):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, optimizer, step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
@pytest.mark.parametrize("cls", METHODS)
def test_training_step(cls, compiler, device):
    """Through two refreshes. What breaks the graph is torch's, and one call: ``step``.

    torch does not trace ``zero_grad`` and ``backward``; ours, whose host decides anew in each call
    what to refresh, runs as it is. Nothing is compiled again later.
    """
    model, optimizer, compiled = training_step(cls, device)
    other, expected, eager = training_step(cls, device)
    compiled = torch.compile(compiled, backend=compiler)
    graphs = 0
    for i, batch in enumerate(batches(GAP + 3)):
        batch = [x.to(device) for x in batch]
        torch.testing.assert_close(compiled(batch), eager(batch), rtol=1e-5, atol=1e-6)
        graphs = counters["stats"]["unique_graphs"] if i == 1 else graphs
    assert 1 <= counters["stats"]["unique_graphs"] == graphs
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        for name, value in optimizer.state[p].items():
            theirs = expected.state[q][name]
            torch.testing.assert_close(value, theirs, rtol=1e-4, atol=1e-6, msg=name)
    assert int(optimizer.state[model[0].weight]["refreshes"]) == 2
    for reason in counters["graph_break"]:
        assert any(name in reason for name in BREAKS), reason


def test_step_is_left_to_python():
    """None of our frames is traced: the compiled graphs hold the model alone."""
    seen = []

    def collect(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    _, _, step = training_step(METHODS[0], "cpu")
    step = torch.compile(step, backend=collect)
    for batch in batches(2):
        step(batch)
    assert any("linear" in name for name in seen)
    assert not any("subkern" in name or "cholesky" in name for name in seen)
