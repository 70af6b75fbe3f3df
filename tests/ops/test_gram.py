"""One body for every backend: Gram matrices against the product in float64."""

import pytest
import torch
from sktest import linalg
from sktest.backends import device_of, is_simulated
from sktest.tolerance import assert_close, limit

import subkern
from subkern.bench.gallery import gallery, nonfinite

OP = "gram"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPES = [(0, 3, 4), (2, 0, 3), (2, 3, 0), (1, 1, 1), (17, 5, 8), (3, 63, 9), (5, 33, 31)]
SHAPES += [(2, 70, 65), (1, 130, 64), (2, 150, 100)]
LARGE = [(1, 600, 300), (2, 530, 257), (1, 40, 700)]  # beyond what the CPU's own kernels take


def serves_fp64(backend):
    """Triton's sums are float32."""
    return backend != "triton"


def check(X, side, accumulate, backend, **options):
    got = subkern.gram(X, side, accumulate=accumulate, backend=backend, **options)
    x = X.double() if side == "right" else X.double().mT
    depth, k = x.shape[-2:]
    assert got.shape == (*X.shape[:-2], k, k)
    assert got.is_contiguous()
    assert torch.equal(got, got.mT), "not symmetric"
    exact = x.mT @ x
    wide = accumulate == "fp64" or X.dtype == torch.float64
    assert got.dtype == options.get("out_dtype", torch.float64 if wide else torch.float32)
    work = torch.float64 if wide else torch.float32
    count = X.shape[:-2].numel()
    for g, e in zip(got.reshape(count, k, k), exact.reshape(count, k, k), strict=True):
        # Products of small numbers are subnormal or vanish.
        allowed = limit(e, got.dtype, max(depth, 1), work=work) + depth * 2.0**-149
        assert (g.double() - e).abs().le(allowed).all(), (tuple(X.shape), side)
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", ["fp32", "fp64"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_shapes(backend, side, accumulate, dtype):
    if accumulate == "fp64" and not serves_fp64(backend):
        with pytest.raises(subkern.BackendUnavailableError, match="sums in float32"):
            subkern.gram(torch.ones(2, 2), accumulate=accumulate, backend=backend)
        return
    generator = torch.Generator().manual_seed(1)
    for shape in SHAPES + ([] if is_simulated(backend) else LARGE):
        X = torch.randn(shape, generator=generator).to(DTYPES[dtype]).to(device_of(backend))
        check(X, side, accumulate, backend)


def test_layouts(backend):
    """Views with any strides, and batches of any number of dimensions."""
    base = torch.randn(4, 40, 24, generator=torch.Generator().manual_seed(2)).to(device_of(backend))
    views = (
        base.mT,
        base[:, 1:, 3:],
        base[:, ::2, ::3],
        base.permute(1, 0, 2),
        base[0],
        base[:1].expand(3, 40, 24),
        base.reshape(2, 2, 40, 24),
    )
    for view in views:
        for side in ("right", "left"):
            got = check(view, side, "fp32", backend)
            assert torch.equal(got, subkern.gram(view.contiguous(), side, backend=backend))


@pytest.mark.parametrize("out_dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_out_dtype(backend, out_dtype):
    X = torch.randn(2, 30, 20, generator=torch.Generator().manual_seed(3)).to(device_of(backend))
    check(X, "right", "fp32", backend, out_dtype=out_dtype)
    if serves_fp64(backend):
        check(X, "right", "fp64", backend, out_dtype=out_dtype)


def test_fp64_sums_keep_what_fp32_sums_lose(backend):
    """A column of 1 and one of 1 + 2^-20: their products differ by less than float32 resolves."""
    X = torch.ones(4096, 2, device=device_of(backend))
    X[:, 1] += 2.0**-20
    if serves_fp64(backend):
        G = subkern.gram(X, accumulate="fp64", backend=backend).cpu()
        assert (G[0, 0] * G[1, 1] - G[0, 1] ** 2).abs() < 1e-5
        assert G[1, 1] == 4096 * (1 + 2.0**-20) ** 2


def test_gallery(backend):
    """Hard matrices; those of one batch at several scales."""
    g = gallery(9, 7) if is_simulated(backend) else gallery(33, 33)
    for scale in (1.0, 1e-18, 1e18):
        check(g.scaled(scale).batch.to(device_of(backend)), "right", "fp32", backend)


def test_one_bad_matrix_stays_alone(backend):
    def run(batch):
        return (subkern.gram(batch.to(device_of(backend)), backend=backend),)

    for case in nonfinite(9, 7):
        got, clean = run(case.batch)[0], run(case.others)[0]
        rest = torch.cat([got[: case.position], got[case.position + 1 :]])
        if backend == "reference":  # its products are torch's, whose bits vary with the batch
            others = case.others.double()
            assert_close(case.name, rest, others.mT @ others, 9, work=torch.float32)
        else:
            assert torch.equal(rest, clean), case.name
        assert not got[case.position].isfinite().all(), case.name


@pytest.mark.parametrize("accumulate", ["fp32", "fp64"])
def test_alone_and_on_one_thread(backend, accumulate):
    """The bits of a matrix depend neither on its batch nor on the number of threads."""
    if accumulate == "fp64" and not serves_fp64(backend):
        pytest.skip("sums in float32 only")
    shapes = [(17, 200, 24), (3, 900, 130)] if not is_simulated(backend) else [(3, 40, 40)]
    if not is_simulated(backend):
        shapes.append((2, 1100, 600))
    for shape in shapes:
        X = torch.randn(shape, generator=torch.Generator().manual_seed(4)).to(device_of(backend))
        for x in (X, X.mT.contiguous().mT):

            def run(batch):
                return (subkern.gram(batch, accumulate=accumulate, backend=backend),)

            if backend != "reference":  # its batched products are torch's
                linalg.check_alone(run, x, (0, shape[0] - 1))
            if backend == "cpu":
                two = run(x)[0]
                torch.set_num_threads(1)
                assert torch.equal(run(x)[0], two)
                torch.set_num_threads(2)


def test_gradients_are_cut():
    X = torch.ones(3, 2, requires_grad=True)
    assert not subkern.gram(X).requires_grad


def test_compile_and_opcheck():
    X = torch.randn(2, 6, 4)
    options = dict(side="right", accumulate="fp64", out_dtype=None, backend="")
    torch.library.opcheck(torch.ops.subkern.gram.default, (X,), options)


def test_symmetric_product_with_an_addend():
    """What polar builds on: alpha x^T x + gamma C + delta I."""
    from sktest.backends import refusal

    if (reason := refusal("gram", "triton")) is not None:
        pytest.skip(reason)
    from subkern.backends.triton.gram import symmetric_product

    device = device_of("triton")
    generator = torch.Generator().manual_seed(5)
    for side in (5, 40, 72):
        x = torch.randn(2, 50, side, generator=generator).to(device)
        C = torch.randn(2, side, side, generator=generator).to(device)
        C = C + C.mT
        for dtype in (torch.float32, torch.float16):
            got = symmetric_product(
                x.to(dtype), dtype, alpha=0.02, C=C.to(dtype), gamma=-0.5, delta=0.25
            )
            wide = x.to(dtype).double()
            exact = 0.02 * wide.mT @ wide - 0.5 * C.to(dtype).double()
            exact += 0.25 * torch.eye(side, device=device)
            assert torch.equal(got, got.mT)
            allowed = limit(exact, dtype, 50, work=torch.float32)
            assert (got.double() - exact).abs().le(allowed).all()
