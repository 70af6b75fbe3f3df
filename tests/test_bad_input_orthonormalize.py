"""orthonormalize against bad input: the outcome that the contract names."""

import pytest
import torch

import subkern

Y = torch.ones(3, 2)
UNAVAILABLE = subkern.BackendUnavailableError

TABLE = [
    ("number", 1.0, {}, TypeError, "must be a tensor"),
    ("none", None, {}, TypeError, "must be a tensor"),
    ("int", Y.int(), {}, TypeError, "float32, bfloat16 or float64"),
    ("complex", torch.complex(Y, Y), {}, TypeError, "float32, bfloat16 or float64"),
    ("fp16", Y.half(), {}, TypeError, "float32, bfloat16 or float64"),
    ("vector", Y[0], {}, ValueError, "must be matrices"),
    ("sparse", Y.to_sparse(), {}, ValueError, "dense"),
    ("wide", Y.mT, {}, ValueError, "no more columns than rows, got 2 x 3; pass Y.mT"),
    ("no-rows", torch.ones(0, 1), {}, ValueError, "no more columns than rows"),
    ("method-unknown", Y, {"method": "gram"}, ValueError, "method"),
    ("method-none", Y, {"method": None}, TypeError, "method"),
    ("return_r-number", Y, {"return_r": 1}, TypeError, "return_r"),
    ("info-text", Y, {"info": "yes"}, TypeError, "info"),
    ("check-none", Y, {"check": None}, TypeError, "check"),
    ("backend-unknown", Y, {"backend": "gpu"}, ValueError, "backend"),
    ("backend-empty", Y, {"backend": ""}, ValueError, "backend"),
    ("backend-number", Y, {"backend": 3}, TypeError, "backend"),
    ("backend-fp64", Y.double(), {"backend": "cpu"}, UNAVAILABLE, "float64"),
    ("cpu-householder", Y, {"backend": "cpu", "method": "householder"}, UNAVAILABLE, "householder"),
    ("backend-triton", Y, {"backend": "triton"}, UNAVAILABLE, "no kernel"),
]


@pytest.mark.parametrize(
    ("value", "options", "error", "words"),
    [row for _, *row in TABLE],
    ids=[name for name, *_ in TABLE],
)
def test_bad_input(value, options, error, words):
    with pytest.raises(error) as caught:
        subkern.orthonormalize(value, **options)
    message = str(caught.value)
    assert message.startswith(("orthonormalize: ", "backend="))
    assert words in message
    assert "got" in message or error is UNAVAILABLE


def test_good_input_is_left_alone():
    before = Y.clone()
    subkern.orthonormalize(Y)
    assert torch.equal(Y, before)


def test_meta_is_a_dry_run():
    Q, R = subkern.orthonormalize(Y.to("meta"), return_r=True)
    assert (Q.shape, R.shape, Q.device.type) == ((3, 2), (2, 2), "meta")
