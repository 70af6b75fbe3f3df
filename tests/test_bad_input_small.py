"""Bad arguments of svd_small and eigh_small: the error, the argument's name, nothing written."""

import pytest
import torch

import subkern

OPS = ("svd_small", "eigh_small")
SHARED = [
    ("not-a-tensor", [[1.0, 2.0], [3.0, 4.0]], {}, TypeError, "must be a tensor"),
    ("integers", torch.ones(2, 2, dtype=torch.int64), {}, TypeError, "float32"),
    ("complex", torch.ones(2, 2, dtype=torch.complex64), {}, TypeError, "float32"),
    ("vector", torch.ones(4), {}, ValueError, "must be matrices"),
    ("sparse", torch.eye(3).to_sparse(), {}, ValueError, "strided"),
    ("large", torch.ones(65, 65), {}, ValueError, "at most 64"),
    ("info-number", torch.eye(3), dict(info=1), TypeError, "info"),
    ("check-text", torch.eye(3), dict(check="yes"), TypeError, "check"),
    ("backend-unknown", torch.eye(3), dict(backend="gpu"), ValueError, "backend"),
    ("backend-empty", torch.eye(3), dict(backend=""), ValueError, "backend"),
    (
        "float64-forced",
        torch.eye(3, dtype=torch.float64),
        dict(backend="cpu"),
        subkern.BackendUnavailableError,
        "float64",
    ),
    ("float16", torch.eye(3).half(), {}, TypeError, "float16"),
]
TABLE = [(op, *row) for op in OPS for row in SHARED]
TABLE.append(("eigh_small", "not-square", torch.ones(3, 4), {}, ValueError, "square"))


@pytest.mark.parametrize(
    ("op", "matrix", "options", "error", "words"),
    [(op, *row) for op, _, *row in TABLE],
    ids=[f"{op}-{name}" for op, name, *_ in TABLE],
)
def test_op(op, matrix, options, error, words):
    with pytest.raises(error) as caught:
        getattr(subkern, op)(matrix, **options)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert "got" in str(caught.value) or error is subkern.BackendUnavailableError


@pytest.mark.parametrize("op", OPS)
def test_on_meta_is_a_dry_run(op):
    results = getattr(subkern, op)(torch.empty(2, 5, 5, device="meta"), info=True)
    assert all(x.is_meta for x in results)
    assert results[-1].shape == (2,)
