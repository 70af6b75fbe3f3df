"""Gram matrices and polar factors against bad input: the outcome that the contract names."""

import pytest
import torch

import subkern

X = torch.ones(3, 2)

SHARED = [
    ("number", (1.0,), {}, TypeError, "must be a tensor"),
    ("none", (None,), {}, TypeError, "must be a tensor"),
    ("int", (X.int(),), {}, TypeError, "float32, bfloat16 or float64"),
    ("complex", (torch.complex(X, X),), {}, TypeError, "float32, bfloat16 or float64"),
    ("fp16", (X.half(),), {}, TypeError, "float32, bfloat16 or float64"),
    ("vector", (X[0],), {}, ValueError, "must be matrices"),
    ("sparse", (X.to_sparse(),), {}, ValueError, "dense"),
    ("backend-unknown", (X,), {"backend": "gpu"}, ValueError, "backend"),
    ("backend-empty", (X,), {"backend": ""}, ValueError, "backend"),
    ("backend-number", (X,), {"backend": 3}, TypeError, "backend"),
    ("backend-fp64", (X.double(),), {"backend": "cpu"}, subkern.BackendUnavailableError, "float64"),
]
GRAM = [
    ("side-unknown", (X, "both"), {}, ValueError, "side"),
    ("side-number", (X, 1), {}, TypeError, "side"),
    ("accumulate", (X,), {"accumulate": "bf16"}, ValueError, "accumulate"),
    ("out_dtype-int", (X,), {"out_dtype": torch.int32}, TypeError, "out_dtype"),
    ("out_dtype-text", (X,), {"out_dtype": "float32"}, TypeError, "out_dtype"),
]
POLAR = [
    ("preset-unknown", (X,), {"preset": "exact"}, ValueError, "preset"),
    ("form-unknown", (X,), {"form": "short"}, ValueError, "form"),
    ("steps-0", (X,), {"steps": 0}, ValueError, "steps"),
    ("steps-many", (X,), {"steps": 6}, ValueError, "steps"),
    ("steps-float", (X,), {"steps": 2.0}, TypeError, "steps"),
    ("dtype-fp64", (X,), {"dtype": torch.float64}, TypeError, "dtype"),
    ("dtype-text", (X,), {"dtype": "bf16"}, TypeError, "dtype"),
    ("gram-orthogonal", (X,), {"form": "gram", "preset": "orthogonal"}, ValueError, "form"),
    ("gram-bf16", (X,), {"form": "gram", "dtype": torch.bfloat16}, ValueError, "dtype"),
]
TABLE = [("gram", *row) for row in SHARED + GRAM]
TABLE += [("polar", *row) for row in SHARED + POLAR]
TABLE += [
    ("polar_many", "tensor", (X,), {}, TypeError, "Xs must be a list"),
    ("polar_many", "number", ([X, 1.0],), {}, TypeError, "Xs[1] must be a tensor"),
]


@pytest.mark.parametrize(
    ("op", "arguments", "options", "error", "words"),
    [(op, *row) for op, _, *row in TABLE],
    ids=[f"{op}-{name}" for op, name, *_ in TABLE],
)
def test_bad_input(op, arguments, options, error, words):
    with pytest.raises(error) as caught:
        getattr(subkern, op)(*arguments, **options)
    message = str(caught.value)
    assert message.startswith((f"{op}: ", "backend="))
    assert words in message
    assert "got" in message


def test_meta_tensors_are_a_dry_run():
    assert subkern.gram(X.to("meta")).shape == (2, 2)
    assert subkern.polar(X.to("meta")).shape == X.shape
