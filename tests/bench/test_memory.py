"""The measuring of transient bytes."""

import pytest
import torch

from subkern.bench.memory import from_events, scratch_limit, tensor_bytes, transient

FLOATS = 250_000
SIZE = 4 * FLOATS
# Scalars of a call are tensors of a few bytes.
SLIP = 256


def test_sees_peak_total_and_largest():
    def work():
        a = torch.empty(FLOATS)
        del a
        b, c = torch.empty(FLOATS), torch.empty(FLOATS // 2)
        del b, c

    found = transient(work)
    assert found.peak == pytest.approx(1.5 * SIZE, abs=SLIP)
    assert found.total == pytest.approx(2.5 * SIZE, abs=SLIP)
    assert found.largest == pytest.approx(SIZE, abs=SLIP)
    assert found.kept == 0


def test_sees_temporaries_inside_an_op():
    x = torch.ones(FLOATS)
    found = transient(lambda: x.var(dim=0, keepdim=True) + (x * x + x).sum())
    assert found.largest == pytest.approx(SIZE, abs=SLIP)
    assert found.peak >= SIZE


def test_in_place_call_allocates_nothing():
    x, out = torch.ones(FLOATS), torch.empty(FLOATS)
    assert transient(lambda: torch.mul(x, x, out=out)).peak <= SLIP


def test_warm_state_is_not_counted_and_kept_bytes_are():
    state = {}

    def lazy():
        if "buffer" not in state:
            state["buffer"] = torch.zeros(FLOATS)

    assert transient(lazy).peak == 0
    state.clear()
    assert transient(lazy, warmup=0).kept == SIZE


def test_freeing_older_memory_is_no_gain():
    held = [torch.ones(FLOATS)]

    def swap():
        held.pop()
        held.append(torch.empty(FLOATS))

    found = transient(swap, warmup=0)
    assert (found.peak, found.kept) == (SIZE, SIZE)


def test_from_events_replays_reused_addresses():
    found = from_events([(1, 10), (2, 5), (1, -10), (1, 20), (9, -7), (2, -5)])
    assert (found.peak, found.kept, found.total, found.largest, found.count) == (25, 20, 35, 20, 3)


def test_an_error_inside_is_raised():
    def fail():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        transient(fail, warmup=0)


def test_scratch_limit():
    assert scratch_limit(128, 1376, 4) == 32 * 2**20
    assert scratch_limit(4096, 16384, 4) == 4096 * 16384 * 4


def test_tensor_bytes_counts_shared_storage_once():
    x = torch.zeros(10)
    assert tensor_bytes([x, x[2:], torch.zeros(3, dtype=torch.bfloat16)]) == 46
