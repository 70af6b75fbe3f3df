"""Multi-coil imaging: bad arguments are refused by name before anything is written."""

import numpy as np
import pytest

from subkern import _C

LINE = dict(map_sets=1, weight_sets=1, coils=3, h=5, w=12)
ADDRESSES = {
    "sense_pack": ("maps", "weights", "packed"),
    "sense_normal": ("v", "packed", "out", "dot", "workspace"),
    "sense_solve": (
        "rhs",
        "start",
        "gamma",
        "packed",
        "x",
        "rr",
        "iterations",
        "status",
        "workspace",
    ),
}
BAD = [(op, {n: 0}, f"{n} must be the address") for op, names in ADDRESSES.items() for n in names]
for _op in ADDRESSES:
    BAD += [(_op, {name: 0}, f"{name} must be in") for name in ("map_sets", "weight_sets", "coils")]
    BAD += [(_op, {"w": w}, "w must be in .* with the factors") for w in (0, 1, 7, 1025, 2**40)]
    BAD += [
        (_op, {"h": -1}, "h must be in"),
        (_op, {"packed_floats": 3}, "packed_floats must be at least"),
        (_op, {"threads": 0}, "threads must be at least 1"),
    ]
BAD += [
    ("sense_normal", {"images": -1}, "images must be in"),
    ("sense_normal", {"line": False, "h": 7}, "h must be in .* with the factors"),
    ("sense_normal", {"workspace_bytes": 8}, "workspace_bytes must be at least"),
    ("sense_solve", {"maxiter": -1}, "maxiter must be zero or more"),
    ("sense_solve", {"workspace_bytes": 8}, "workspace_bytes must be at least"),
]


def sense_call(op):
    """The arguments of a good call, and the arrays behind them by name."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal((*shape, 2), dtype=np.float32)

    packed = np.zeros(_C.sense_pack_floats(line=True, **LINE), dtype=np.float32)
    arrays = dict(maps=draw(1, 3, 5, 12), weights=np.ones(12, dtype=np.float32), packed=packed)
    call = dict(LINE, packed_floats=packed.size, threads=1)
    if op != "sense_solve":
        call["line"] = True
    good = call | {name: array.ctypes.data for name, array in arrays.items()}
    if op == "sense_pack":
        return good, arrays
    _C.sense_pack(**good, **({} if "line" in good else {"line": True}))
    sizes = dict(line=True, images=2, coils=3, h=5, w=12, threads=1)
    room = np.zeros(_C.sense_workspace(**sizes), dtype=np.uint8)
    images = {"sense_normal": ("v", "out"), "sense_solve": ("rhs", "start", "x")}[op]
    arrays = dict(packed=packed, workspace=room, gamma=np.ones(2, dtype=np.float32))
    arrays |= {name: draw(2, 5, 12) for name in images}
    if op == "sense_normal":
        arrays["dot"] = np.full(10, 7.0)
    else:
        arrays["rr"] = np.full(10, 7.0)
        arrays |= {name: np.full(10, 7, dtype=np.int32) for name in ("iterations", "status")}
        call |= dict(prox=True, maxiter=3)
    call |= dict(images=2, workspace_bytes=room.nbytes)
    return call | {name: array.ctypes.data for name, array in arrays.items()}, arrays


@pytest.mark.parametrize(("op", "changes", "message"), BAD)
def test_arguments(op, changes, message):
    call, arrays = sense_call(op)
    start = {name: array.tobytes() for name, array in arrays.items()}
    before = _C.call_counts()[op]
    with pytest.raises(ValueError, match=f"^{op}: {message}.*, got "):
        getattr(_C, op)(**call | changes)
    assert {name: array.tobytes() for name, array in arrays.items()} == start
    getattr(_C, op)(**call)
    assert {name: array.tobytes() for name, array in arrays.items()} != start
    assert _C.call_counts()[op] == before + 1


def test_without_images():
    call, arrays = sense_call("sense_normal")
    _C.sense_normal(**call | dict(images=0, v=0, out=0, dot=0))
    assert (arrays["dot"] == 7).all()
