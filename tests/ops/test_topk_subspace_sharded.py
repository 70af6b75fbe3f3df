"""topk_subspace of rows on two and three processes, against one process."""

import pytest
import torch
import torch.distributed as dist
from sktest import sharded_cases
from sktest.linalg import same_bits

import subkern
from subkern.diagnostics import captured_energy, orthonormality_error, principal_angles

EPS = 2.0**-23
COUNTS = [
    pytest.param(n, marks=pytest.mark.skipif(not dist.is_available(), reason="no distributed"))
    for n in (1, 2, 3)
]
FIELDS = ("basis", "energy", "info", "values", "rotation")


def joined(results, case, left):
    """The whole basis; of the other results every rank must hold the same bits."""
    parts = [subkern.ops.SubspaceResult(*r[case]) for r in results]
    for field in FIELDS[left:]:
        values = [getattr(p, field) for p in parts]
        for value in values[1:]:
            if value is None:
                assert values[0] is None, (case, field)
            else:
                assert same_bits(value[None], values[0][None]).all(), (case, field)
    whole = torch.cat([p.basis for p in parts]) if left else parts[0].basis
    return parts[0]._replace(basis=whole)


@pytest.mark.parametrize("name", sharded_cases.SUBSPACE)
@pytest.mark.parametrize("count", COUNTS)
def test_equals_one_process(count, name):
    left = sharded_cases.SUBSPACE[name].get("side", "left") == "left"
    for scale in ("normal", "huge", "tiny"):
        case = f"topk {name} {scale}"
        found = joined(sharded_cases.solved(count), case, left)
        alone = joined(sharded_cases.solved(1), case, left)
        assert orthonormality_error(found.basis) <= 8 * EPS * found.basis.shape[1] ** 0.5, case
        assert int(found.info) == 0, case
        assert float(found.energy) == pytest.approx(float(alone.energy), abs=1e-6), case
        # Rounding differs, and what it does to the directions that the iteration has not settled.
        angle = principal_angles(found.basis, alone.basis).amax()
        assert float(angle.sin()) <= (0.05 if "bfloat16" in name else 1e-4), case
        X = sharded_cases.gradient(scale).double()
        if name not in ("start", "bfloat16"):
            energy = captured_energy(X if left else X.T, found.basis)
            assert float(found.energy) == pytest.approx(float(energy), abs=1e-6), case
        if found.values is not None:
            assert torch.allclose(found.values, alone.values, rtol=1e-4), case
            assert (found.values[1:] <= found.values[:-1]).all(), case


@pytest.mark.parametrize("name", sharded_cases.SUBSPACE)
@pytest.mark.parametrize("count", COUNTS)
def test_zero_and_nan_keep_the_start(count, name):
    left = sharded_cases.SUBSPACE[name].get("side", "left") == "left"
    results = sharded_cases.solved(count)
    zero = joined(results, f"topk {name} zero", left)
    nan = joined(results, f"topk {name} nan", left)
    assert torch.equal(zero.basis, nan.basis)
    assert (float(zero.energy), int(zero.info)) == (0.0, 2)
    assert nan.energy.isnan()
    assert int(nan.info) == 1
    alone = joined(sharded_cases.solved(1), f"topk {name} zero", left)
    assert torch.equal(zero.basis, alone.basis)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(mode="exact"), "mode must be"),
        (dict(q_prev=torch.eye(9, 2)), "q_prev must have shape"),
        (dict(G=torch.ones(2, 6, 9)), "G must be one float32 or bfloat16 matrix"),
        (dict(G=torch.ones(6, 9).double()), "G must be one float32 or bfloat16 matrix"),
    ],
)
def test_bad_input(tmp_path, change, words):
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        call = dict(G=torch.ones(6, 9), rank=2, group=dist.group.WORLD) | change
        with pytest.raises(ValueError, match=words):
            subkern.topk_subspace(**call)
    finally:
        dist.destroy_process_group()


def test_group_must_be_one():
    with pytest.raises(TypeError, match="group must be a process group or None"):
        subkern.topk_subspace(torch.ones(6, 9), 2, group="world")
    with pytest.raises(TypeError, match="group must be a process group or None"):
        subkern.tsqr(torch.ones(9, 2), group=3)
