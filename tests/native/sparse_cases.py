"""Ready calls of selection, mask updates and packed AdamW on small seeded inputs."""

import numpy as np
from native_model import Buffer

from subkern import _C

PACKED = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decay": 0.99}


class Bytes:
    """Integers, bools or scratch between two guard bands."""

    BAND = 64

    def __init__(self, values, dtype):
        values = np.asarray(values, dtype=dtype).reshape(-1)
        size = values.nbytes
        self._base = np.full(size + 2 * self.BAND, 0xA5, dtype=np.uint8)
        self.array = np.ndarray(values.shape, dtype, self._base[self.BAND :].data)
        self.array[...] = values
        self._before = self._base.copy()

    @property
    def address(self):
        return self._base.ctypes.data + self.BAND

    def assert_guarded(self):
        for band in (self._base[: self.BAND], self._base[-self.BAND :]):
            np.testing.assert_array_equal(band, 0xA5)

    def assert_unchanged(self):
        np.testing.assert_array_equal(self._base, self._before)


def scratch(size):
    """A workspace of exactly so many bytes, aligned to 64."""
    return Bytes(np.zeros(size), np.uint8)


def run_kth(x, k, threads=1, magnitude=False, changes=None):
    """(value, above, equal, bracketed)."""
    n = x.array.size
    space = scratch(_C.kth_largest_workspace(n=n, threads=threads))
    value = Buffer(0.0, x.code)
    above, equal = Bytes([0], np.int64), Bytes([0], np.int64)
    arguments = {
        **{"x": x.address, "dtype": x.code, "n": n, "k": k, "magnitude": magnitude},
        **{"value": value.address, "above": above.address, "equal": equal.address},
        **{"workspace": space.address, "workspace_bytes": space.array.size, "threads": threads},
    }
    bracketed = _C.kth_largest(**{**arguments, **(changes or {})})
    for buffer in (x, value, above, equal, space):
        buffer.assert_guarded()
    return float(value.array), int(above.array[0]), int(equal.array[0]), bracketed


def run_swap(remove, add, mask, count, threads=1, changes=None):
    """(mask, removed, added)."""
    n = remove.array.size
    space = scratch(_C.update_mask_workspace(n=n, threads=threads))
    updated = Bytes(np.zeros(n), np.uint8)
    removed, added = (Bytes(np.zeros(count), np.int64) for _ in range(2))
    arguments = {
        **{"score_remove": remove.address, "score_add": add.address, "dtype": remove.code},
        **{"mask": mask.address, "n": n, "n_swap": count, "new_mask": updated.address},
        **{"removed": removed.address, "added": added.address, "workspace": space.address},
        **{"workspace_bytes": space.array.size, "threads": threads},
    }
    _C.update_mask(**{**arguments, **(changes or {})})
    for buffer in (updated, removed, added, space):
        buffer.assert_guarded()
    return updated.array, removed.array, added.array


def packed_inputs(numel, listed, code, *, packed=False, own=False, wide=True, seed=0):
    """Buffers of one parameter."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.permutation(numel)[:listed])
    return {
        "W": Buffer(rng.standard_normal(numel), code),
        "G": Buffer(rng.standard_normal(listed if packed else numel), code),
        "indices": Bytes(at, np.int64 if wide else np.int32),
        "exp_avg": Buffer(rng.standard_normal(listed) * 0.1),
        "exp_avg_sq": Buffer(rng.random(listed) * 0.1),
        "step": Buffer(np.arange(listed) % 40.0 if own else 4.0),
    }


def run_packed(inputs, code, threads=1, changes=None):
    """Calls the kernel on one parameter's buffers."""
    numel, listed = inputs["W"].array.size, inputs["indices"].array.size
    bits = Bytes(np.zeros((numel + 63) // 64), np.int64)
    arguments = {
        **{name: [buffer.address] for name, buffer in inputs.items()},
        **{"numel": [numel], "listed": [listed], "w_dtype": code, "threads": threads, **PACKED},
        **{
            "packed": [inputs["G"].array.size != numel],
            "wide": inputs["indices"].array.itemsize == 8,
        },
        **{"per_entry": [inputs["step"].array.ndim == 1], "bits": bits.address},
        **{"bits_bytes": bits.array.nbytes},
    }
    _C.packed_adamw(**{**arguments, **(changes or {})})
    for buffer in (*inputs.values(), bits):
        buffer.assert_guarded()


def missed_by_the_sample(n):
    """Numbers of which the sample sees only large ones, so that its bracket misses: -1 to 1."""
    x = np.linspace(-1.0, 0.0, n, dtype=np.float32)
    sample = int(0.5 * np.cbrt(n) * np.cbrt(n))
    stride = n // sample
    i = np.arange(sample, dtype=np.uint64)
    mixed = ((i + 1) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    x[
        (i * np.uint64(stride) + ((mixed * np.uint64(stride)) >> np.uint64(32))).astype(np.int64)
    ] += 1
    return x


def sparse_cases(code, threads):
    """Results by name, as native_cases.all_cases collects them."""
    results = {}
    rng = np.random.default_rng(2)
    for n in (1, 15, 17, 1000, 40_003):
        x = rng.standard_normal(n).astype(np.float32)
        for kind, values in (("normal", x), ("ties", np.round(x * 2)), ("missed", x)):
            if kind == "missed" and n > 30_000:
                values = missed_by_the_sample(n)
            for k in {1, (n + 1) // 3 + 1, n} & set(range(1, n + 1)):
                found = run_kth(Buffer(values, code), k, threads, magnitude=kind == "normal")
                results[f"kth-{kind}-{n}-{k}-{code}"] = np.asarray(found[:3])
        mask = rng.random(n) < 0.4
        count = min(mask.sum(), n - mask.sum()) // 2
        swap = (Buffer(x, code), Buffer(x[::-1], code), Bytes(mask, np.uint8), int(count))
        for name, value in zip(("mask", "out", "in"), run_swap(*swap, threads), strict=True):
            results[f"swap-{name}-{n}-{code}"] = value
    for own in (False, True):
        for packed in (False, True):
            inputs = packed_inputs(30_000, 9001, code, packed=packed, own=own, wide=own)
            run_packed(inputs, code, threads)
            for name in ("W", "exp_avg", "exp_avg_sq", "step"):
                results[f"packed-{name}-{own}-{packed}-{code}"] = inputs[name].array
    return results
