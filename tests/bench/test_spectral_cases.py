"""The cases of Sparse Spectral Training: costs by hand, competitors verified, a wrong one found."""

import pytest
import torch
from sktest.fake_cuda import FakeCuda

from subkern.bench import spectral_linear, sst_adamw, svd_factored
from subkern.bench.cases import all_cases
from subkern.bench.device import CudaDevice
from subkern.bench.llama_sets import Llama
from subkern.bench.machine import inspect
from subkern.bench.registry import Absent
from subkern.bench.runner import run


class Stopwatch(CudaDevice):
    """A made-up GPU on which every call takes one millisecond."""

    def __init__(self):
        super().__init__(FakeCuda(), where="cpu", flush_bytes=4096)

    def sample(self, function, calls):
        function()
        return 1e-3, 1e-4


def rows_of(case):
    device = Stopwatch()
    ((_, rows, _),) = run([case], inspect(1, device=device, peaks=False), quick=True, device=device)
    return {row.variant: row for row in rows}


def test_costs():
    # A 3 x 2 layer, one pair: 8 passes over 5 entries of vectors and 7 over 2 values.
    assert sst_adamw.step_bytes(((3, 2),), 1) == 4 * (8 * 5 + 7 * 2)
    assert svd_factored.cost(2, 3) == svd_factored.cost(3, 2) == (8 * 2 * 6, 7 * 12 + 9 * 8)


@pytest.mark.parametrize(
    ("name", "peer", "floor"),
    [
        ("sst_adamw-1024x1024-r64-fp32", "eager", 3),
        ("sst_adamw-1024x1024-r64-fp32", "compiled", 3),
        ("sst_adamw-1024x2736-r64-fp32", "eager", 3),
        ("sst_adamw-1024x2736-r64-fp32", "compiled", 3),
        ("svd_factored-1024x1024-fp32", "linalg-svd", 1),
        ("svd_factored-1024x2736-fp32", "linalg-svd", 2),
    ],
)
def test_floors(name, peer, floor):
    (case,) = (case for case in all_cases() if case.name == name)
    assert {t.baseline: t.bound for t in case.targets}[peer] == floor


def test_the_step_is_verified_for_every_competitor():
    found = rows_of(sst_adamw._case("small", ((9, 7), (5, 8)), 3, "cpu", None))
    for name in ("subkern", "eager", "subkern-2", "eager-2"):
        assert found[name].status == "ok", found[name].note
    assert found["compiled"].status != "ok"  # left out by --quick


def test_the_compiled_rules_are_verified_too():
    made = sst_adamw.setup(((9, 7), (5, 8)), 3, "cpu", False)
    variants = {v.name: v for v in made.variants}
    assert not any(isinstance(v, Absent) for v in variants.values())
    assert variants["compiled"].verify() is None


def test_a_wrong_step_has_no_time(monkeypatch):
    right = sst_adamw.adam
    monkeypatch.setattr(sst_adamw, "adam", lambda *call: 1.01 * right(*call))
    found = rows_of(sst_adamw._case("small", ((9, 7),), 3, "cpu", None))
    assert found["subkern"].status == "ok"
    assert found["eager"].status == "error"
    assert "params[" in found["eager"].note


def test_the_decomposition_is_verified():
    found = rows_of(svd_factored._case(20, 30, None, "cpu"))
    for name in ("subkern", "linalg-svd"):
        assert found[name].status == "ok", found[name].note
        for error in ("orth U", "orth V", "residual", "values"):
            assert error in found[name].accuracy
    Uh, S, Vh = svd_factored.factors(20, 30, "cpu")
    assert torch.linalg.matrix_norm(Uh @ Uh.mT - torch.eye(20), 2) > 1e-3
    assert torch.allclose(Vh.norm(dim=1), torch.ones(20))
    assert S[0] == 1


def test_gpu_cases_are_verified_too():
    """Their competitors, on this machine."""
    (case,) = sst_adamw.gpu_cases("cpu", {"small": (((9, 7),), 3, 1.0)})
    assert rows_of(case)["eager"].status == "ok"
    (case,) = svd_factored.gpu_cases("cpu", [(20, 30, 2.0)])
    assert rows_of(case)["linalg-svd"].status == "ok"


TRAINING = {
    "factored": (lambda: spectral_linear.layer_of(40, 24, 16), 5),
    "merged": (lambda: spectral_linear.layer_of(24, 40, 160), 5),
    "llama": (lambda: spectral_linear.llama(Llama(32, 48, 2, 4, vocabulary=64), 2, 8), 5),
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_step_is_verified(name):
    make, rank = TRAINING[name]
    found = rows_of(spectral_linear._case("small", make, rank, 1, 1))
    for variant in ("subkern", "eager"):
        assert found[variant].status == "ok", found[variant].note
    assert found["compiled"].status != "ok"  # left out by --quick


def test_a_wrong_gradient_has_no_time(monkeypatch):
    right = spectral_linear.gradients
    swapped = lambda *call: (right(*call)[0], *(g.flip(0) for g in right(*call)[1:]))  # noqa: E731
    make, rank = TRAINING["factored"]
    case = spectral_linear._case("small", make, rank, 1, 1)
    theirs = spectral_linear.plain

    def plain(model, *rest):
        if model.weight.dtype == torch.float32:
            monkeypatch.setattr(spectral_linear, "gradients", swapped)
        return theirs(model, *rest)

    monkeypatch.setattr(spectral_linear, "plain", plain)
    found = rows_of(case)
    assert found["eager"].status == "error"
    assert "result 1" in found["eager"].note


def test_cost_of_a_training_step():
    # Two tokens through a 3 x 2 layer go by the factors: (2 k + r)(m + n) multiply-adds for each.
    nbytes, flops = spectral_linear.cost(3, 2, 2, 1)
    assert nbytes == 4 * 2 * 2 * 5 + sst_adamw.step_bytes(((3, 2),), 1)
    assert flops == 2 * 2 * 5 * 5
