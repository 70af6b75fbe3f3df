"""LorentzLinear and the functions of the Lorentz model against bad input: the named outcome."""

import math

import pytest
import torch

from subkern.nn import LorentzLinear, lorentz

X = lorentz.project(torch.ones(3, 4))
LAYER = LorentzLinear(5, 3)

LAYERS = [
    ("in-1", dict(in_features=1), ValueError, "in_features must be at least 2, got 1"),
    ("in-float", dict(in_features=4.0), TypeError, "in_features must be an integer, got 4.0"),
    ("out-0", dict(out_features=0), ValueError, "out_features must be at least 2, got 0"),
    ("out-bool", dict(out_features=True), TypeError, "out_features must be an integer"),
    ("c-0", dict(c=0), ValueError, "c must be positive, got 0"),
    ("c-negative", dict(c=-1.0), ValueError, "c must be in"),
    ("c-nan", dict(c=math.nan), ValueError, "c must be in"),
    ("c-tensor", dict(c=torch.ones(())), TypeError, "c must be a number"),
    ("scale-0", dict(scale=0.0), ValueError, "scale must be positive"),
    ("scale-infinite", dict(scale=math.inf), ValueError, "scale must be in"),
]
POINTS = [
    ("list", X.tolist(), TypeError, "must be a tensor, got list"),
    ("int", X.int(), TypeError, "must be floating point, got torch.int32"),
    ("complex", torch.complex(X, X), TypeError, "must be floating point"),
    ("scalar", X[0, 0], ValueError, "got shape ()"),
    ("sparse", X.to_sparse(), ValueError, "dense"),
]
CALLS = {
    "layer": lambda x: LAYER(x),
    "project": lambda x: lorentz.project(x),
    "distance-x": lambda x: lorentz.distance(x, X),
    "distance-y": lambda x: lorentz.distance(X, x),
}


@pytest.mark.parametrize(
    ("change", "error", "words"), [r[1:] for r in LAYERS], ids=[r[0] for r in LAYERS]
)
def test_layer(change, error, words):
    with pytest.raises(error) as caught:
        LorentzLinear(**{"in_features": 5, "out_features": 3, **change})
    assert str(caught.value).startswith(f"LorentzLinear: {words}")


@pytest.mark.parametrize(
    ("value", "error", "words"), [r[1:] for r in POINTS], ids=[r[0] for r in POINTS]
)
@pytest.mark.parametrize("name", CALLS)
def test_points(name, value, error, words):
    with pytest.raises(error) as caught:
        CALLS[name](value)
    assert words in str(caught.value)
    op = {"layer": "LorentzLinear", "project": "project"}.get(name, "distance")
    argument = {"project": "features", "distance-y": "y"}.get(name, "x")
    assert str(caught.value).startswith(f"{op}: {argument}")


@pytest.mark.parametrize("shape", [(3, 4), (3, 6), (3, 0)], ids=str)
def test_layer_counts_features(shape):
    with pytest.raises(ValueError, match=r"LorentzLinear: x must have 5 features, got shape"):
        LAYER(torch.ones(shape))


@pytest.mark.parametrize("shape", [(3, 4), (2, 5), (5, 2, 5)], ids=str)
def test_distance_of_points_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"distance: y must have features and a batch that fit"):
        lorentz.distance(X, torch.ones(shape))


@pytest.mark.parametrize("call", [lorentz.project, lambda x, c: lorentz.distance(x, x, c=c)])
def test_curvature(call):
    with pytest.raises(ValueError, match=r"c must be positive, got 0"):
        call(X, c=0)
    with pytest.raises(TypeError, match=r"c must be a number, got str"):
        call(X, c="1")


def test_no_space():
    with pytest.raises(ValueError, match=r"project: features must have a last dimension"):
        lorentz.project(torch.ones(3, 0))
    with pytest.raises(ValueError, match=r"distance: x must have a last dimension of at least 2"):
        lorentz.distance(torch.ones(3, 1), torch.ones(3, 1))
