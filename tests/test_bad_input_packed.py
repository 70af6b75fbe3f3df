"""Bad arguments of kth_largest, update_mask and packed_adamw_: the error, and nothing written."""

import pytest
import torch

import subkern
from subkern.ops import carry_state, packed_adamw_, reset_state_

X = torch.arange(12.0).reshape(3, 4)
KTH = [
    ("list", [1.0, 2.0], 1, {}, TypeError, "x must be a tensor"),
    ("integers", X.long(), 1, {}, TypeError, "x must be real floating point"),
    ("complex", X + 0j, 1, {}, TypeError, "x must be real floating point"),
    ("sparse", X.to_sparse(), 1, {}, ValueError, "x must be a dense strided tensor"),
    ("empty", X[:0], 1, {}, ValueError, "x must not be empty, got shape (0, 4)"),
    ("k-zero", X, 0, {}, ValueError, "k must be in [1, 12], got 0"),
    ("k-large", X, 13, {}, ValueError, "k must be in [1, 12], got 13"),
    ("k-float", X, 2.0, {}, TypeError, "k must be an integer, got float"),
    ("k-bool", X, True, {}, TypeError, "k must be an integer, got bool"),
    ("k-tensor", X, torch.tensor(2), {}, TypeError, "k must be an integer"),
    ("magnitude", X, 2, dict(magnitude=1), TypeError, "magnitude must be True or False"),
    ("counts", X, 2, dict(counts="yes"), TypeError, "counts must be True or False"),
    ("backend", X, 2, dict(backend="gpu"), ValueError, "backend must be one of"),
    ("forced", X.double(), 2, dict(backend="cpu"), subkern.BackendUnavailableError, "float64"),
]
SWAP = [
    ("list", dict(score_remove=[1.0]), TypeError, "score_remove must be a tensor"),
    ("integers", dict(score_add=X.long()), TypeError, "score_add must be real floating point"),
    ("dtypes", dict(score_add=X.bfloat16()), TypeError, "score_add must be torch.float32"),
    ("mask-bytes", dict(mask=(X > 5).byte()), TypeError, "mask must be torch.bool"),
    ("shape", dict(score_add=X[:2]), ValueError, "score_add must have shape (3, 4), got (2, 4)"),
    ("mask-shape", dict(mask=X.T > 5), ValueError, "mask must have shape (3, 4), got (4, 3)"),
    ("device", dict(mask=(X > 5).to("meta")), ValueError, "mask must be on cpu, got meta"),
    ("negative", dict(n_swap=-1), ValueError, "n_swap must be in [0, 6], got -1"),
    ("more-than-half", dict(n_swap=7), ValueError, "n_swap must be in [0, 6], got 7"),
    ("inside", dict(mask=X > 9, n_swap=3), ValueError, "inside the mask (2), got 3"),
    ("outside", dict(mask=X < 9, n_swap=4), ValueError, "outside the mask (3), got 4"),
    ("float", dict(n_swap=1.0), TypeError, "n_swap must be an integer, got float"),
    ("backend", dict(backend=3), TypeError, "backend must be a string or None"),
]


@pytest.mark.parametrize(("x", "k", "options", "error", "words"), [row[1:] for row in KTH],
                         ids=[row[0] for row in KTH])  # fmt: skip
def test_kth_largest(x, k, options, error, words):
    with pytest.raises(error) as caught:
        subkern.kth_largest(x, k, **options)
    assert type(caught.value) is error
    assert words in str(caught.value)


@pytest.mark.parametrize(("changes", "error", "words"), [row[1:] for row in SWAP],
                         ids=[row[0] for row in SWAP])  # fmt: skip
def test_update_mask(changes, error, words):
    good = dict(score_remove=X, score_add=X, mask=X > 5, n_swap=2)
    subkern.update_mask(**good)
    with pytest.raises(error) as caught:
        subkern.update_mask(**good | changes)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert "got" in str(caught.value)


def adamw_lists():
    return dict(
        params=[torch.ones(5), torch.ones(2, 3)],
        grads=[torch.ones(5), torch.ones(2)],
        indices=[torch.tensor([0, 3, 4]), torch.tensor([1, 5])],
        exp_avgs=[torch.zeros(3), torch.zeros(2)],
        exp_avg_sqs=[torch.zeros(3), torch.zeros(2)],
        steps=[torch.zeros(()), torch.zeros(2)],
    )


SHARED = torch.ones(5)
ADAMW = [
    ("tensor", dict(params=torch.ones(2, 5)), TypeError, "params must be a list of tensors"),
    ("count", dict(grads=[torch.ones(5)]), ValueError, "grads must hold 2 tensors, got 1"),
    ("member", dict(steps=[torch.zeros(()), 0.0]), TypeError, "steps[1] must be a tensor"),
    ("integers", dict(params=[torch.ones(5).long()] * 2), TypeError, "params[0] must be floating"),
    ("grad-dtype", {"grads": (1, torch.ones(2).half())}, TypeError, "grads[1] must be"),
    ("grad-shape", {"grads": (1, torch.ones(3, 2))}, ValueError,
     "grads[1] must have the shape of its parameter, (2, 3), or of its indices, (2,), got (3, 2)"),
    ("index-dtype", {"indices": (0, torch.ones(3))}, TypeError, "[0] must be int64 or int32"),
    ("index-dtypes", {"indices": (1, torch.tensor([1, 5]).int())}, TypeError,
     "indices[1] must be torch.int64, got torch.int32"),
    ("index-shape", {"indices": (1, torch.tensor([[1, 5]]))}, ValueError,
     "indices[1] must be one-dimensional, got shape (1, 2)"),
    ("moment-shape", {"exp_avgs": (0, torch.zeros(5))}, ValueError,
     "exp_avgs[0] must have shape (3,), got (5,)"),
    ("square-shape", {"exp_avg_sqs": (1, torch.zeros(3))}, ValueError, "exp_avg_sqs[1] must have"),
    ("moment-dtype", {"exp_avg_sqs": (1, torch.zeros(2).half())}, TypeError, "exp_avg_sqs[1]"),
    ("step-shape", {"steps": (0, torch.zeros(2))}, ValueError, "steps[0] must have shape (3,)"),
    ("step-dtype", {"steps": (1, torch.zeros(2).long())}, TypeError, "must be torch.float32"),
    ("device", {"grads": (0, torch.ones(5, device="meta"))}, ValueError, "grads[0] must be on cpu"),
    ("range", {"indices": (1, torch.tensor([1, 6]))}, ValueError,
     "indices[1] must be in [0, 6), got 6"),
    ("repeat", {"indices": (1, torch.tensor([1, 1]))}, ValueError,
     "indices[1] must not repeat, got 1 more than once"),
    ("overlap", dict(params=[SHARED, torch.ones(2, 3)], grads=[SHARED, torch.ones(2)]), ValueError,
     "must not share memory"),
    ("lr", dict(lr=-0.1), ValueError, "lr must be in [0"),
    ("betas", dict(betas=(0.9, 1.0)), ValueError, "betas[1] must be in [0.0, 1.0), got 1.0"),
    ("eps", dict(eps=float("nan")), ValueError, "eps must be in"),
    ("decay", dict(weight_decay="no"), TypeError, "weight_decay must be a number"),
    ("lr-device", dict(lr=torch.tensor(0.1, device="meta")), ValueError, "lr must be on the CPU"),
    ("backend", dict(backend=""), ValueError, "backend must be a name or None"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), [row[1:] for row in ADAMW],
                         ids=[row[0] for row in ADAMW])  # fmt: skip
def test_packed_adamw(changes, error, words):
    lists = adamw_lists()
    call = dict(lists, lr=0.1)
    for name, value in changes.items():
        if isinstance(value, tuple) and name in lists:
            i, replaced = value
            call[name] = [replaced if j == i else t for j, t in enumerate(lists[name])]
        else:
            call[name] = value
    before = {name: [t.clone() for t in tensors] for name, tensors in lists.items()}
    with pytest.raises(error) as caught:
        packed_adamw_(**call)
    assert type(caught.value) is error
    assert str(caught.value).startswith("packed_adamw: ")
    assert words in str(caught.value)
    for name, tensors in lists.items():
        assert all(map(torch.equal, tensors, before[name])), name


STATE = [
    ([1, 2], "old_indices must be a tensor", TypeError),
    (torch.tensor([1.0, 2.0]), "old_indices must be int64 or int32", TypeError),
    (torch.tensor([[1, 2]]), "old_indices must be one-dimensional", ValueError),
    (torch.tensor([1, 2, 3]), "states[0] must have the shape and device", ValueError),
]


@pytest.mark.parametrize(("old", "words", "error"), STATE)
def test_carry_and_reset(old, words, error):
    with pytest.raises(error) as caught:
        carry_state(old, torch.tensor([2]), torch.zeros(2))
    assert words in str(caught.value)
    with pytest.raises(error) as caught:
        reset_state_(old, torch.tensor([2]), torch.zeros(2))
    assert words.replace("old_", "") in str(caught.value)


def test_states_must_be_tensors_on_one_device():
    at = torch.tensor([1, 2])
    with pytest.raises(TypeError, match=r"carry_state: states\[1\] must be a tensor, got list"):
        carry_state(at, at, torch.zeros(2), [0.0, 0.0])
    with pytest.raises(ValueError, match="carry_state: new_indices must be on cpu, got meta"):
        carry_state(at, at.to("meta"), torch.zeros(2))
    with pytest.raises(ValueError, match="reset_state: chosen must be on cpu, got meta"):
        reset_state_(at, at.to("meta"), torch.zeros(2))
