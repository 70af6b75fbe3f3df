"""One body for every backend: the same samples, their edge cases and what they gather."""

import math

import pytest
import torch
import torch._dynamo.testing
from sktest import emulated_cuda, sampling
from sktest.backends import device_of, is_simulated

import subkern
from subkern.reference import sample_without_replacement as meaning

OP = "sample_without_replacement"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Rows, columns, drawn: around vectors, groups of 64 and 128 columns, and several thinnings.
SHAPES = [(1, 1, 1), (3, 5, 2), (2, 63, 63), (2, 64, 7), (2, 65, 1), (3, 129, 40), (1, 1500, 90)]
LARGE = [(2, 4096, 128), (1, 30000, 64), (2, 3000, 2500)]
RATHER_LONG = (1, 20000, 30)  # more keys than the shared memory of a block holds


def draw(weights, k, backend, **options):
    """A Sample on the CPU."""
    options = dict(seed=5, offset=2**40 + 3, info=True) | options
    gather = tuple(x.to(device_of(backend)) for x in options.pop("gather", ()))
    found = subkern.sample_without_replacement(
        weights.to(device_of(backend)), k, gather=gather, backend=backend, **options
    )
    return type(found)(found.idx.cpu(), tuple(x.cpu() for x in found.gathered), found.info.cpu())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", sampling.KINDS)
def test_same_sets_as_the_reference(backend, kind, dtype):
    shapes = SHAPES if is_simulated(backend) else SHAPES + LARGE
    for shape in shapes[::3] if is_simulated(backend) and kind != "uniform" else shapes:
        *size, k = shape
        weights = sampling.weights(kind, *size).to(DTYPES[dtype])
        found = draw(weights, k, backend)
        sampling.check_sets(weights, found.idx, seed=5, offset=2**40 + 3)
        assert torch.equal(found.info, draw(weights, k, "reference").info)


@pytest.mark.parametrize("kind", ["uniform", "wide", "sparse"])
def test_order_of_an_unsorted_sample(backend, kind):
    """Keys fall; sorted, it is the same sample in ascending order."""
    for size in ((3, 50), (2, 700)):
        weights = sampling.weights(kind, *size)
        for k in (size[1] // 3, size[1]):
            found = draw(weights, k, backend, sorted=False)
            sampling.check_order(weights, found.idx, seed=5, offset=2**40 + 3)
            assert torch.equal(found.idx.sort(1)[0], draw(weights, k, backend).idx)


def test_cpu_and_cuda_have_the_same_keys():
    """Bit for bit, so that not even near ties are drawn in another order."""
    if is_simulated("cuda"):
        with emulated_cuda.install():
            compare_orders((2, 3000))
    else:
        compare_orders((20, 100000))


def compare_orders(size):
    for kind in ("uniform", "wide"):
        weights = sampling.weights(kind, *size)
        one, two = (
            draw(weights, size[1] // 2, backend, sorted=False) for backend in ("cpu", "cuda")
        )
        assert torch.equal(one.idx, two.idx)


def test_rows_too_long_for_shared_memory(backend):
    rows, n, k = RATHER_LONG
    weights = sampling.weights("uniform", rows, n)
    for is_sorted in (True, False):
        found = draw(weights, k, backend, sorted=is_sorted)
        sampling.check_sets(weights, found.idx.sort(1)[0], seed=5, offset=2**40 + 3)


def test_schedules(backend):
    """Whatever the order in which blocks and threads run."""
    if not (backend == "cuda" and is_simulated(backend)):
        pytest.skip("the emulator alone has an order to shuffle")
    weights = sampling.weights("sparse", 3, 300)
    rows = torch.arange(900.0).reshape(3, 300)
    expected = draw(weights, 60, "cpu", sorted=False, gather=(rows,))
    for seed in emulated_cuda.SEEDS:
        emulated_cuda.set_seed(seed)
        found = draw(weights, 60, backend, sorted=False, gather=(rows,))
        assert torch.equal(found.idx, expected.idx)
        assert torch.equal(found.gathered[0], expected.gathered[0])
        assert torch.equal(found.info, expected.info)


EDGES = {
    # name: weights, k, expected columns (None: as the reference), info
    "nothing": ([1.0, 2.0], 0, [], 0),
    "no columns": ([], 0, [], 0),
    "the only one": ([0.25], 1, [0], 0),
    "all": ([1.0, 3.0, 2.0], 3, [0, 1, 2], 0),
    "zeros fill up": ([0.0, 0.0, 5.0, 0.0, 1.0], 4, [0, 1, 2, 4], 2),
    "all zero": ([0.0, -0.0, 0.0], 2, [0, 1], 2),
    "negative zero": ([-0.0, 2.0, -0.0], 2, [0, 1], 2),
    "positive before zero": ([0.0, 1e-45, 0.0, 1e-38], 2, [1, 3], 0),
    "infinite first": ([1e38, math.inf, 3e38, 1.0, math.inf], 2, [1, 4], 0),
    "one of the infinite": ([math.inf, 1.0, math.inf, math.inf], 1, None, 0),
    "infinite, then weights": ([0.0, 1e-30, math.inf, 0.0], 2, [1, 2], 0),
    "subnormal": ([1e-45, 0.0, 1e-40, 1e-42, 1e-44], 2, None, 0),
    "tiny": ([1e-38, 3e-38, 2e-38, 1e-37], 2, None, 0),
    "huge": ([1e38, 3e38, 2e38, 3.4e38], 2, None, 0),
    "tiny beside huge": ([1e-38, 1e38, 1e-38, 1e38], 2, [1, 3], 0),
    "negative": ([1.0, -1e-45, 2.0], 2, [-1, -1], 1),
    "minus infinity": ([1.0, -math.inf, 2.0], 1, [-1], 1),
    "NaN": ([math.nan, 1.0, math.inf], 3, [-1, -1, -1], 1),
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges(backend, edge):
    """Beside good rows, whose samples do not change."""
    values, k, expected, info = EDGES[edge]
    n = len(values)
    weights = torch.ones(3, n)
    clean = draw(weights, k, backend, sorted=False)
    weights[1] = torch.tensor(values)
    rows = torch.arange(1.0, 3 * n + 1).reshape(3, n)
    for is_sorted in (True, False):
        found = draw(weights, k, backend, sorted=is_sorted, gather=(rows,))
        reference = draw(weights, k, "reference", sorted=is_sorted)
        assert torch.equal(found.idx, reference.idx)
        assert found.info.tolist() == [0, info, 0]
        if expected is not None:
            assert found.idx[1].sort()[0].tolist() == sorted(expected)
        if info == 1:
            assert not found.gathered[0][1].any()
        else:
            assert torch.equal(found.gathered[0], rows.gather(1, found.idx))
    assert torch.equal(found.idx[::2], clean.idx[::2])
    if n:
        bf16 = draw(weights.bfloat16(), k, backend)
        assert torch.equal(bf16.idx, draw(weights.bfloat16(), k, "reference").idx)


@pytest.mark.parametrize("scale", [2.0**-130, 2.0**-126, 2.0**-100, 2.0**100, 2.0**126])
def test_weights_need_no_scale(backend, scale):
    """The sample depends on ratios alone; thresholds of the CPU's test would leave float32."""
    size, k = ((1, 300), 20) if is_simulated(backend) else ((4, 3000), 100)
    weights = sampling.weights("uniform", *size).clamp_min(0.125).bfloat16().float()
    expected = draw(weights, k, backend)
    assert torch.equal(draw(weights * scale, k, backend).idx, expected.idx)


def test_flush_to_zero_changes_nothing(backend):
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormal numbers")
    try:
        weights = torch.full((2, 200), 1e-40)
        weights[:, 100:] = 3.0
        flushed = draw(weights, 150, backend, sorted=False)
    finally:
        torch.set_flush_denormal(False)
    if backend != "reference":
        assert torch.equal(flushed.idx, draw(weights, 150, backend, sorted=False).idx)
    assert flushed.idx.sort(1)[0].diff(dim=1).gt(0).all()


def test_ties_go_to_the_lower_index(backend):
    """Columns of the same noise and weight, of which the first alone is drawn."""
    n = 100000
    weights = torch.ones(1, n)
    keys = sampling.keys(weights, seed=5, offset=2**40 + 3)[0]
    falling, order = keys.sort(descending=True, stable=True)
    gaps = falling[:-1] - falling[1:]
    alone = (gaps[1:-1] == 0) & (gaps[:-2] > 1e-4) & (gaps[2:] > 1e-4)
    (places,) = alone.nonzero(as_tuple=True)
    assert len(places) > 0
    k = int(places[0]) + 2  # of the two the first is the k-th
    found = draw(weights, k, backend).idx[0]
    assert set(found.tolist()) == set(order[:k].tolist())
    assert order[k - 1] < order[k]


def sources(batch, n):
    """Tensors of every kind and layout, by name."""
    g = torch.Generator().manual_seed(1)
    wide = torch.randn(batch, n, 24, generator=g)
    return {
        "vectors": torch.randn(batch, n, generator=g),
        "rows": torch.randn(batch, n, 5, generator=g),
        "wide rows": wide,
        "columns": torch.randn(batch, 7, n, generator=g).mT,
        "part": wide[:, :, 3:9],
        "every third": wide[:, :, ::3],
        "shared vector": torch.randn(n, generator=g),
        "shared rows": torch.randn(n, 16, generator=g),
        "shared columns": torch.randn(33, n, generator=g).mT,
        "bf16": torch.randn(batch, n, 8, generator=g).bfloat16(),
        "bool": torch.rand(batch, n, 3, generator=g) > 0.5,
        "int64": torch.randint(-9, 9, (batch, n, 2), generator=g),
        "complex128": torch.randn(n, 3, dtype=torch.complex128, generator=g),
        "empty": torch.ones(batch, n, 0),
        "tracked": torch.randn(n, 2, generator=g).requires_grad_(),
    }


def test_gather(backend):
    batch, n, k = 3, 40, 9
    given = sources(batch, n)
    weights = sampling.weights("uniform", batch, n)
    weights[1, 3] = math.nan
    found = draw(weights, k, backend, gather=given.values())
    idx = found.idx.clamp_min(0)
    for (name, source), got in zip(given.items(), found.gathered, strict=True):
        x = source.detach()
        x = x if x.shape[:2] == (batch, n) else x.expand(batch, *x.shape)
        want = torch.stack([row[i] for row, i in zip(x, idx, strict=True)])
        want[1] = 0
        assert got.dtype == x.dtype, name
        assert torch.equal(got, want), name
        assert not got.requires_grad, name
        assert got.is_contiguous(), name


def test_much_to_gather_for_one_row(backend):
    """What several blocks, or threads, share."""
    n, k, d = 40, 30, 700 if is_simulated(backend) else 5000
    g = torch.Generator().manual_seed(2)
    U, V = torch.randn(d, n, generator=g), torch.randn(n, d, generator=g)
    found = draw(torch.ones(n), k, backend, gather=(U.mT, V))
    assert torch.equal(found.gathered[0].mT, U[:, found.idx])
    assert torch.equal(found.gathered[1], V[found.idx])


def test_batches_and_views(backend):
    weights = sampling.weights("uniform", 6, 70)
    flat = draw(weights, 8, backend)
    rows = torch.randn(2, 3, 70, 4)
    found = draw(weights.reshape(2, 3, 70), 8, backend, gather=(rows, weights.reshape(2, 3, 70)))
    assert found.idx.shape == (2, 3, 8)
    assert found.info.shape == (2, 3)
    assert torch.equal(found.idx.reshape(6, 8), flat.idx)
    assert found.gathered[0].shape == (2, 3, 8, 4)
    assert torch.equal(found.gathered[1], weights.reshape(2, 3, 70).gather(2, found.idx))
    wide = torch.zeros(6, 143)
    wide[:, 2:142:2] = weights
    for view in (wide[:, 2:142:2], weights.mT.contiguous().mT):
        assert torch.equal(draw(view, 8, backend).idx, flat.idx)
    # A row's noise follows from its place: rows before it do not matter, its place does.
    assert torch.equal(draw(weights[:2], 8, backend).idx, flat.idx[:2])
    assert not torch.equal(draw(weights[:1].expand(6, 70), 8, backend).idx[5], flat.idx[0])
    none = draw(torch.ones(0, 5), 2, backend, gather=(torch.ones(5, 3),))
    assert none.idx.shape == (0, 2)
    assert none.gathered[0].shape == (0, 2, 3)


def test_one_row_without_a_batch(backend):
    weights = sampling.weights("uniform", 1, 50)[0]
    found = draw(weights, 4, backend, gather=(weights,))
    assert found.idx.shape == found.gathered[0].shape == (4,)
    assert found.info.shape == ()
    bare = subkern.sample_without_replacement(weights.to(device_of(backend)), 4, seed=1)
    assert type(bare) is torch.Tensor


def test_threads(backend):
    """Rows and gathered pieces land the same, however many threads there are."""
    weights, rows = torch.rand(40, 3000), torch.randn(3000, 300)
    if is_simulated(backend):
        weights, rows = weights[:2, :200], rows[:200, :9]
    two = draw(weights, 20, backend, gather=(rows,))
    torch.set_num_threads(1)
    one = draw(weights, 20, backend, gather=(rows,))
    assert torch.equal(one.idx, two.idx)
    assert torch.equal(one.gathered[0], two.gathered[0])


@pytest.mark.parametrize("words", [(0, 0), (2**64 - 1, 2**64 - 1), (2**63, 1), (7, 2**32)])
def test_words_of_64_bits(backend, words):
    seed, offset = words
    weights = torch.ones(2, 100)
    found = draw(weights, 10, backend, seed=seed, offset=offset)
    sampling.check_sets(weights, found.idx, seed=seed, offset=offset)


def test_global_generator_is_not_touched(backend):
    before = torch.get_rng_state()
    draw(torch.ones(2, 9), 3, backend)
    assert torch.equal(torch.get_rng_state(), before)


def test_check_raises(backend):
    weights = torch.ones(3, 4)
    weights[1, 2] = -1.0
    with pytest.raises(torch.linalg.LinAlgError, match=r": row 1 of 3 met a negative weight or a"):
        draw(weights, 2, backend, check=True)
    draw(torch.zeros(2, 4), 2, backend, check=True)  # a short row is no error


def test_opcheck(backend):
    op, device = torch.ops.subkern.sample_without_replacement.default, device_of(backend)
    for shape, dtype, k in (((3, 6), torch.bfloat16, 2), ((2, 0), torch.float32, 0)):
        weights = torch.rand(shape, device=device).to(dtype)
        gather = [torch.rand(*shape, 2, device=device), torch.rand(*shape, 1, device=device)]
        options = dict(k=k, seed=-1, offset=3, sorted=True, backend=backend)
        torch.library.opcheck(op, (weights, gather), options)


def test_compile_once_for_all_offsets():
    def run(weights, rows, offset):
        return subkern.sample_without_replacement(
            weights, 3, seed=9, offset=offset, gather=(rows.mT,), info=True
        )

    frames = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(run, backend=frames, fullgraph=True)
    weights, rows = torch.rand(2, 8), torch.rand(4, 8)
    for offset in (0, 1, 2, 5, 100):
        got, want = compiled(weights, rows, offset), run(weights, rows, offset)
        assert torch.equal(got.idx, want.idx)
        assert torch.equal(got.gathered[0], want.gathered[0])
    assert frames.frame_count <= 3  # 0 and 1 are special to torch, the rest is one number


def test_float64_goes_to_the_reference():
    weights = torch.tensor([1e-300, 1e300, 0.0, 1e299, 5e-324], dtype=torch.float64)
    assert subkern.sample_without_replacement(weights, 2, seed=0).tolist() == [1, 3]
    assert subkern.sample_without_replacement(weights, 4, seed=0).tolist() == [0, 1, 3, 4]
    assert meaning.INVALID == 1
