"""Bad arguments of sample_without_replacement: the error and the argument's name."""

import pytest
import torch

import subkern

W = torch.ones(2, 5)
TABLE = [
    ("not-a-tensor", dict(weights=[1.0, 2.0]), TypeError, "weights must be a tensor"),
    ("integers", dict(weights=W.long()), TypeError, "weights must be float32"),
    ("float16", dict(weights=W.half()), TypeError, "weights must be float32"),
    ("scalar", dict(weights=torch.tensor(1.0)), ValueError, "weights must be rows"),
    ("sparse", dict(weights=W.to_sparse()), ValueError, "weights must be a dense"),
    (
        "many-rows",
        dict(weights=torch.ones(1, 1).expand(2**31, 1)),
        ValueError,
        "weights must have fewer than 2^31",
    ),
    ("k-float", dict(k=2.0), TypeError, "k must be a whole number"),
    ("k-flag", dict(k=True), TypeError, "k must be a whole number"),
    ("k-negative", dict(k=-1), ValueError, "k must be at least 0"),
    ("k-large", dict(k=6), ValueError, "k must be at most n = 5"),
    ("seed-none", dict(seed=None), TypeError, "seed must be a whole number"),
    ("seed-negative", dict(seed=-1), ValueError, "seed must be at least 0"),
    ("seed-large", dict(seed=2**64), ValueError, "seed must be below 2^64"),
    ("offset-negative", dict(offset=-1), ValueError, "offset must be at least 0"),
    ("offset-large", dict(offset=2**64), ValueError, "offset must be below 2^64"),
    ("sorted-number", dict(sorted=1), TypeError, "sorted must be True or False"),
    ("info-number", dict(info=0), TypeError, "info must be True or False"),
    ("check-text", dict(check="no"), TypeError, "check must be True or False"),
    ("gather-tensor", dict(gather=W), TypeError, "gather must be a tuple"),
    ("gather-number", dict(gather=(1.0,)), TypeError, "gather[0] must be a tensor"),
    ("gather-short", dict(gather=(W, W[:, :4])), ValueError, "gather[1] must have shape"),
    ("gather-batch", dict(gather=(torch.ones(3, 5, 2),)), ValueError, "gather[0] must have shape"),
    ("gather-deep", dict(gather=(torch.ones(2, 5, 2, 2),)), ValueError, "gather[0] must have sh"),
    ("gather-device", dict(gather=(W.to("meta"),)), ValueError, "gather[0] must be on cpu"),
    ("backend-unknown", dict(backend="gpu"), ValueError, "backend"),
    ("backend-empty", dict(backend=""), ValueError, "backend"),
    (
        "float64-forced",
        dict(weights=W.double(), backend="cpu"),
        subkern.BackendUnavailableError,
        "float64",
    ),
]


@pytest.mark.parametrize(
    ("options", "error", "words"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_op(options, error, words):
    call = dict(weights=W, k=2, seed=0) | options
    with pytest.raises(error) as caught:
        subkern.sample_without_replacement(**call)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert "got" in str(caught.value) or error is subkern.BackendUnavailableError


def test_on_meta_is_a_dry_run():
    weights = torch.empty(2, 3, 5, device="meta")
    found = subkern.sample_without_replacement(
        weights, 2, seed=0, gather=(weights, torch.empty(5, 4, device="meta")), info=True
    )
    assert found.idx.is_meta
    assert [x.shape for x in found.gathered] == [(2, 3, 2), (2, 3, 2, 4)]
    assert found.info.shape == (2, 3)
