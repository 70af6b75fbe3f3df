"""Operators of deepinv and sigpy, the real packages, and our solver inside a deepinv pipeline."""

import copy
import sys

import pytest
import torch
from sktest.peers import peer

import subkern
from subkern.bench.stand_ins import StandIn
from subkern.imaging import (
    CartesianSense,
    deepinv_prox,
    dot_test,
    from_callables,
    from_deepinv,
    from_sigpy,
    masks,
)
from subkern.imaging.phantom import birdcage_maps, phantom
from subkern.ops._channels import to_channels, to_complex

N, COILS = 24, 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def deepinv():
    with peer("deepinv") as module:
        yield module


@pytest.fixture(scope="module")
def sigpy():
    with peer("sigpy") as module:
        yield module


@pytest.fixture
def sense():
    return CartesianSense(birdcage_maps(COILS, N), masks.uniform1d(N, 3, generator=seeded()).mask)


@pytest.fixture
def physics(deepinv, sense):
    return deepinv.physics.MultiCoilMRI(mask=sense.mask, coil_maps=sense.maps)


@pytest.fixture
def images():
    """Two of them, in two channels."""
    truth = phantom(N, generator=seeded(1))
    return to_channels(torch.cat([truth, truth.flip(1)])).contiguous()


def gap(a, b):
    return float((a - b).norm() / b.norm())


def test_stand_ins_leave_with_the_import():
    with peer("deepinv"):
        assert "deepinv.physics" in sys.modules
        assert not any(isinstance(module, StandIn) for module in sys.modules.values())
    assert "deepinv" not in sys.modules


def test_deepinv_is_the_same_operator(physics, sense, images):
    A = from_deepinv(physics)
    y = sense.matvec(to_complex(images))
    assert gap(A.matvec(images), torch.stack([y.real, y.imag], 1)) < 1e-6
    assert gap(to_complex(A.adjoint(A.matvec(images))), sense.adjoint(y)) < 1e-6
    assert dot_test(A, images, A.matvec(images)) < 1e-6


@pytest.mark.parametrize("coupling", ["sample", "row"])
@pytest.mark.parametrize("gamma", [None, 10.0])
def test_two_channels_are_solved_as_complex_numbers(physics, sense, images, coupling, gamma):
    A = from_deepinv(physics)
    b = torch.randn(images.shape, generator=seeded(2))
    found = subkern.cg(A, b, gamma=gamma, maxiter=6, coupling=coupling)
    expected = subkern.cg(sense, to_complex(b), gamma=gamma, maxiter=6, coupling=coupling)
    assert found.x.shape == images.shape
    assert gap(to_complex(found.x), expected.x) < 1e-5
    assert torch.allclose(found.residual_norm, expected.residual_norm, rtol=1e-4)


def test_other_physics_are_solved_by_their_own_functions(deepinv):
    physics = deepinv.physics.Denoising()
    found = subkern.cg_prox(
        from_deepinv(physics), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), gamma=3.0
    )
    assert torch.allclose(found.x, torch.full((1, 1, 4, 4), 0.75))


def test_a_new_mask_is_seen(deepinv, physics, images):
    A = from_deepinv(physics)
    b = torch.randn(images.shape, generator=seeded(2))
    before = subkern.cg(A, b, gamma=10.0, maxiter=6).x
    new = masks.uniform1d(N, 2, generator=seeded(9)).mask

    def expected():
        fresh = deepinv.physics.MultiCoilMRI(mask=physics.mask.clone(), coil_maps=physics.coil_maps)
        return subkern.cg(fresh.A_adjoint_A, b, gamma=10.0, maxiter=6).x

    physics.update(mask=new)
    replaced = subkern.cg(A, b, gamma=10.0, maxiter=6).x
    assert gap(replaced, before) > 1e-2
    assert gap(replaced, expected()) < 1e-5
    physics.mask[:, :, :, : N // 2] = 1
    written = subkern.cg(A, b, gamma=10.0, maxiter=6).x
    assert gap(written, replaced) > 1e-2
    assert gap(written, expected()) < 1e-5


@pytest.mark.parametrize("gamma", [2.0, torch.tensor(2.0), torch.tensor([1.0, 30.0])])
def test_the_proximal_step_is_deepinvs(physics, images, gamma):
    y = physics.A(images)
    z = torch.randn(images.shape, generator=seeded(3))
    theirs = physics.prox_l2(z, y, gamma, max_iter=60, tol=1e-6)
    physics.prox_l2 = deepinv_prox(physics, maxiter=60)
    ours = physics.prox_l2(z, y, gamma)
    # Theirs stops at a residual of 1e-6; an error may be larger by the condition of I + gamma N.
    worst = float(torch.as_tensor(gamma).max())
    assert gap(ours, theirs) < 2e-6 * (1 + worst)
    assert ours.shape == theirs.shape
    few = physics.prox_l2(z, y, gamma, max_iter=1)
    assert gap(few, theirs) > 1e-3
    wide = gamma.view(-1, 1, 1, 1) if isinstance(gamma, torch.Tensor) and gamma.dim() else gamma
    assert torch.equal(physics.prox_l2(z, y, wide), ours)
    del physics.prox_l2
    again = physics.prox_l2(z, y, gamma, max_iter=60, tol=1e-6)
    assert torch.equal(again, theirs)


@pytest.mark.parametrize("z", [None, 0.0, 0.5])
def test_a_number_stands_for_a_constant_image(physics, images, z):
    y = physics.A(images)
    theirs = physics.prox_l2(z, y, 3.0, max_iter=60, tol=1e-6)
    assert gap(deepinv_prox(physics, maxiter=60)(z, y, 3.0), theirs) < 2e-5


def test_a_pipeline_runs_with_our_solver_in_one_line(deepinv, physics, images):
    """Plug-and-play half-quadratic splitting, and its images with deepinv's own solver."""
    generator = seeded(4)
    y = physics.A(images)
    y = y + 0.01 * physics.mask[:, :, None] * torch.randn(y.shape, generator=generator)
    calls = []

    def run():
        model = deepinv.optim.HQS(
            data_fidelity=deepinv.optim.L2(),
            prior=deepinv.optim.PnP(denoiser=deepinv.models.TVDenoiser(n_it_max=30)),
            stepsize=20.0,
            sigma_denoiser=0.01,
            max_iter=8,
            early_stop=False,
        )
        return model(y, physics)

    theirs = run()
    prox = deepinv_prox(physics, maxiter=40)
    physics.prox_l2 = lambda *args, **options: calls.append(1) or prox(*args, **options)
    ours = run()
    assert len(calls) == 8
    # deepinv stops at a residual of 1e-4 by itself; the condition of I + 20 N is 21.
    assert gap(ours, theirs) < 21e-4
    assert gap(ours, images) < gap(physics.A_adjoint(y), images)


def test_a_copy_of_the_physics_is_a_copy_of_its_solver(physics, images):
    y = physics.A(images)
    physics.prox_l2 = deepinv_prox(physics, maxiter=8)
    before = physics.prox_l2(None, y, 3.0)
    for copied in (copy.deepcopy(physics), physics.clone()):
        assert copied.prox_l2 is not physics.prox_l2
        copied.update(mask=torch.ones(N, N))
        assert gap(copied.prox_l2(None, y, 3.0), before) > 1e-3
        assert torch.equal(physics.prox_l2(None, y, 3.0), before)


def test_gradients_are_refused(physics, images):
    y = physics.A(images)
    prox = deepinv_prox(physics)
    with pytest.raises(ValueError, match="must not require gradients"):
        prox(images.clone().requires_grad_(), y, 1.0)
    with torch.no_grad():
        assert not prox(images.clone().requires_grad_(), y, 1.0).requires_grad


def linop(sigpy, sense):
    """The same operator of sigpy, for one sample."""
    S = sense.maps[0].numpy()
    multiply = sigpy.linop.Multiply((N, N), S)
    transform = sigpy.linop.FFT((COILS, N, N), axes=(-2, -1))
    return sigpy.linop.Multiply((COILS, N, N), sense.mask[0].numpy()) * transform * multiply


def test_sigpy_is_the_same_operator(sigpy, sense, images):
    x = to_complex(images)
    A = from_sigpy(linop(sigpy, sense))
    y = sense.matvec(x)
    assert gap(A.matvec(x), y) < 1e-6
    assert gap(A.adjoint(y), sense.adjoint(y)) < 1e-6
    assert gap(A.normal(x), sense.normal(x)) < 1e-6
    assert A.matvec(x).dtype == torch.complex64
    assert A.matvec(x[:0]).shape == (0, COILS, N, N)
    assert dot_test(A, x, y) < 1e-6


def test_a_linop_is_solved_for(sigpy, sense, images):
    x = to_complex(images)
    y = sense.matvec(x)
    found = subkern.cg_prox(from_sigpy(linop(sigpy, sense)), torch.zeros_like(x), y, gamma=10.0)
    expected = subkern.cg_prox(sense, torch.zeros_like(x), y, gamma=10.0)
    assert gap(found.x, expected.x) < 1e-5


def test_sigpys_own_solver_finds_the_same(sigpy, sense, images):
    x = to_complex(images)[:1]
    y = sense.matvec(x)
    app = sigpy.app.LinearLeastSquares(
        linop(sigpy, sense), y[0].numpy(), lamda=0.1, max_iter=60, show_pbar=False
    )
    ours = subkern.cg_prox(
        from_sigpy(linop(sigpy, sense)), torch.zeros_like(x), y, gamma=10.0, maxiter=60
    )
    assert gap(ours.x[0], torch.from_numpy(app.run())) < 1e-4


def test_callables(sense, images):
    x = to_complex(images)
    A = from_callables(sense.matvec, sense.adjoint)
    short = from_callables(sense.matvec, sense.adjoint, sense.normal)
    assert torch.equal(A.normal(x), sense.adjoint(sense.matvec(x)))
    assert torch.equal(short.normal(x), sense.normal(x))
    b = torch.randn(x.shape, dtype=x.dtype, generator=seeded())
    assert gap(subkern.cg(A, b, gamma=5.0).x, subkern.cg(sense, b, gamma=5.0).x) < 1e-5


def test_what_is_no_operator_is_refused(sigpy, sense, physics, images):
    with pytest.raises(TypeError, match="matvec must be callable"):
        from_callables(None, len)
    with pytest.raises(TypeError, match="normal must be callable"):
        from_callables(len, len, 3)
    with pytest.raises(TypeError, match="physics must be a deepinv LinearPhysics"):
        from_deepinv(sense)
    with pytest.raises(TypeError, match="physics must be a deepinv LinearPhysics"):
        deepinv_prox(sense)
    with pytest.raises(TypeError, match=r"linop must be a sigpy\.linop\.Linop"):
        from_sigpy(sense)
    with pytest.raises(ValueError, match="x must have shape"):
        from_sigpy(linop(sigpy, sense)).matvec(torch.zeros(1, N, N + 1))
    with pytest.raises(ValueError, match="maxiter must be in"):
        deepinv_prox(physics, maxiter=-1)
    y = physics.A(images)
    with pytest.raises(TypeError, match="arguments must be prox_l2's"):
        deepinv_prox(physics)(images, y, 1.0, mask=None)
    with pytest.raises(ValueError, match="gamma must be a number or have one for each"):
        deepinv_prox(physics)(images, y, torch.ones(3))
