"""Selection, mask updates and packed AdamW: guard bands, the path without a bracket, arguments."""

import numpy as np
import pytest
from native_model import BF16, FP32, Buffer, adam_core, assert_close, from_bf16, to_bf16
from sparse_cases import (
    PACKED,
    Bytes,
    missed_by_the_sample,
    packed_inputs,
    run_kth,
    run_packed,
    run_swap,
)

CODES = pytest.mark.parametrize("code", [FP32, BF16], ids=["fp32", "bf16"])


def truth(x, k):
    order = np.sort(x)[::-1]
    return order[k - 1], (x > order[k - 1]).sum(), (x == order[k - 1]).sum()


@CODES
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_where_the_bracket_misses_histograms_answer(code, threads):
    n = 60_000
    x = missed_by_the_sample(n)
    x = from_bf16(to_bf16(x)) if code == BF16 else x
    missed = 0
    for k in (1, 700, 3000, n // 2, n):
        *found, bracketed = run_kth(Buffer(x, code), k, threads)
        assert tuple(found) == truth(x, k), k
        missed += not bracketed
    assert missed >= 2


@CODES
def test_the_bracket_holds_for_ordinary_numbers(code):
    x = Buffer(np.random.default_rng(0).standard_normal(300_000), code)
    for k in (1, 3000, 150_000, 300_000):
        *found, bracketed = run_kth(x, k, 2)
        assert tuple(found) == truth(x.array, k)
        assert bracketed


@CODES
def test_swaps_where_the_bracket_misses(code):
    """Counts of blocks come from another read then."""
    n, count = 60_000, 20_000
    x = missed_by_the_sample(n)
    x = from_bf16(to_bf16(x)) if code == BF16 else x
    mask = np.arange(n) % 2 == 0
    for threads in (1, 2):
        updated, removed, added = run_swap(
            Buffer(x, code), Buffer(x, code), Bytes(mask, np.uint8), count, threads
        )
        inside, outside = np.flatnonzero(mask), np.flatnonzero(~mask)
        leave = inside[np.lexsort((inside, x[inside]))[:count]]
        enter = outside[np.lexsort((outside, -x[outside]))[:count]]
        np.testing.assert_array_equal(removed, np.sort(leave))
        np.testing.assert_array_equal(added, np.sort(enter))
        expected = mask.copy()
        expected[leave], expected[enter] = False, True
        np.testing.assert_array_equal(updated, expected)


@CODES
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_packed_adamw(packed, own, code):
    for numel, listed in ((1, 1), (40, 0), (9000, 255), (9000, 257), (20_000, 4097)):
        inputs = packed_inputs(numel, listed, code, packed=packed, own=own, wide=not own)
        before = {name: buffer.array.copy() for name, buffer in inputs.items()}
        run_packed(inputs, code, threads=2)
        at = before["indices"]
        g = before["G"] if packed and listed != numel else before["G"][at]
        m, v, _, m_size, _ = adam_core(g, before["exp_avg"], before["exp_avg_sq"], 0.9, 0.999, 0)
        t = before["step"].astype(np.float64) + 1
        root = np.sqrt(v) / np.sqrt(1 - 0.999**t) + PACKED["eps"]
        rate = PACKED["lr"] / (1 - 0.9**t)
        expected = PACKED["decay"] * before["W"][at] - rate * m / root
        size = np.abs(before["W"][at]) + rate * m_size / root
        assert_close(inputs["exp_avg"].array, m, m_size, name="exp_avg")
        assert_close(inputs["exp_avg_sq"].array, v, v, name="exp_avg_sq")
        assert_close(inputs["W"].array[at], expected, size, code, name="W")
        np.testing.assert_array_equal(inputs["step"].array, t)
        others = np.ones(numel, dtype=bool)
        others[at] = False
        np.testing.assert_array_equal(inputs["W"].array[others], before["W"][others])


KTH_BAD = {"n": -1, "k": 0, "dtype": 2, "threads": 0, "x": 0, "value": 0, "above": 0, "equal": 0,
           "workspace": 0, "workspace_bytes": 1}  # fmt: skip
SWAP_BAD = {"n": -1, "n_swap": -1, "dtype": 3, "threads": 0, "score_remove": 0, "score_add": 0,
            "mask": 0, "new_mask": 0, "removed": 0, "added": 0, "workspace": 0,
            "workspace_bytes": 1}  # fmt: skip
PACKED_BAD = {"W": [0], "G": [0], "indices": [0], "exp_avg": [0], "exp_avg_sq": [0], "step": [0],
              "numel": [-1], "listed": [-1], "packed": [], "per_entry": [True, False],
              "w_dtype": 2, "threads": 0, "bits": 0, "bits_bytes": 8}  # fmt: skip


@pytest.mark.parametrize("name", KTH_BAD)
def test_kth_largest_arguments(name):
    with pytest.raises(ValueError, match=f"^kth_largest: {name} must .*, got "):
        run_kth(Buffer(np.ones(20_000)), 5, changes={name: KTH_BAD[name]})


@pytest.mark.parametrize("name", SWAP_BAD)
def test_update_mask_arguments(name):
    x, mask = Buffer(np.ones(90)), Bytes(np.arange(90) % 2, np.uint8)
    with pytest.raises(ValueError, match=f"^update_mask: {name} must .*, got "):
        run_swap(x, x, mask, 5, changes={name: SWAP_BAD[name]})


@pytest.mark.parametrize("name", PACKED_BAD)
def test_packed_adamw_arguments(name):
    inputs = packed_inputs(100, 30, FP32)
    message = f"^packed_adamw: {name}(\\[0\\])? must .*, got "
    with pytest.raises(ValueError, match=message):
        run_packed(inputs, FP32, changes={name: PACKED_BAD[name]})
    for buffer in inputs.values():
        buffer.assert_unchanged()


@pytest.mark.parametrize("name", ["kth_largest", "update_mask"])
def test_workspace_arguments(name):
    from subkern import _C

    workspace = getattr(_C, f"{name}_workspace")
    assert workspace(n=0, threads=1) >= 0
    assert workspace(n=10**6, threads=4) > workspace(n=10**6, threads=1) > 0
    for bad in (dict(n=-1, threads=1), dict(n=1, threads=0), dict(n=2**61, threads=1)):
        with pytest.raises(ValueError, match=f"^{name}_workspace: "):
            workspace(**bad)
