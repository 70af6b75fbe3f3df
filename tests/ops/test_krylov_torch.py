"""The solvers and their inner ops within torch: schema and fake, torch.compile, global settings."""

import pytest
import torch
from sktest.backends import device_of, simulated, skip
from sktest.krylov import phantom, same_bits, sense
from sktest.krylov_cases import chain, ring, vectors

import subkern
from subkern.backends import BACKENDS, implementations, registry
from subkern.imaging import Dense

pytestmark = pytest.mark.usefixtures("one_thread")


def lines(device):
    A = sense("line", 6, 5, device=device)._normal
    v = A.enter(phantom(6, 5, 2).to(device, torch.complex64))
    return v, A._kernel_maps, A._kernel_weights


def planes(device):
    A = sense("plane", 6, 5, device=device)._normal
    v = A.enter(phantom(6, 5, 2).to(device, torch.complex64))
    return v[:, 0].contiguous(), A._kernel_maps, A._kernel_weights


def running(groups, device):
    """A state before a step."""
    rr = torch.full((groups,), 2.0, dtype=torch.float64, device=device)
    return subkern.reference.cg_step.start(rr, rr, 0.0, 0.0, 1e-7)


def group_vectors(count, device):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 7, generator=generator).to(device) for _ in range(count)]


def ones(*shape, device, dtype=torch.float64):
    return torch.ones(shape, dtype=dtype, device=device)


CALLS = {
    "group_dot": lambda d: (group_vectors(2, d), {}),
    "combine": lambda d: (
        [group_vectors(1, d)[0], torch.stack(group_vectors(2, d), 1), ones(3, 2, device=d)],
        {},
    ),
    "cg_start": lambda d: ([*group_vectors(2, d), 0.5, 0.0], {}),
    "cg_start alone": lambda d: ([*group_vectors(1, d), None, 0.0, 0.0], {}),
    "cg_step_residual_": lambda d: (
        [*group_vectors(2, d), ones(3, device=d), running(3, d)],
        {},
    ),
    "cg_step_direction_": lambda d: ([*group_vectors(3, d), running(3, d)], {}),
    "sense_pack": lambda d: (lines(d)[1:], {}),
    "sense_normal": lambda d: ((*lines(d), None, None), {}),
    "sense_normal weighted": lambda d: (
        (*lines(d), ones(2, device=d, dtype=torch.float32), None),
        {},
    ),
    "sense_normal plane": lambda d: ((*planes(d), None, None), {}),
    "sense_solve": lambda d: (
        (lines(d)[0], None, *lines(d)[1:], None, None),
        dict(prox=False, maxiter=3),
    ),
    "sense_solve prox": lambda d: (
        (*lines(d)[:1], *lines(d), ones(2, device=d, dtype=torch.float32), None),
        dict(prox=True, maxiter=3),
    ),
}


def served():
    """Every call by every backend that has a kernel for its op."""
    known = {(impl.op, impl.backend) for impl in implementations()}
    pairs = [(call, name) for call in CALLS for name in BACKENDS]
    return [p for p in pairs if (p[0].split()[0].removesuffix("_"), p[1]) in known]


@pytest.mark.parametrize(("call", "name"), served())
def test_opcheck(call, name):
    """Schema, fake and tracing; kernels take maps that nothing was prepared of."""
    with simulated(name):
        tensors, options = CALLS[call](device_of(name))
        op = getattr(torch.ops.subkern, call.split()[0]).default
        try:
            torch.library.opcheck(op, tuple(tensors), dict(**options, backend=name))
        except subkern.BackendUnavailableError as error:
            skip(name, str(error))


@pytest.mark.parametrize("coupling", ["sample", "row"])
def test_compiled(coupling):
    """Compiled code that calls a solver has the bits of eager code; it is cut at the solver."""
    A, z = sense("line", 6, 5), phantom(6, 5, 2).to(torch.complex64)

    def step(z, y):
        return 2 * subkern.cg_prox(A, z, y, gamma=3.0, maxiter=3, coupling=coupling).x

    y = A.matvec(1.5 * z)
    assert same_bits(torch.compile(step, backend="aot_eager")(z, y), step(z, y))
    normal = torch.compile(A.normal, backend="aot_eager")
    assert same_bits(normal(z), A.normal(z))


def test_compiled_callable():
    def step(b):
        return subkern.cg(chain, b, gamma=0.5, rtol=1e-3, maxiter=4, check_every=2).x + 1

    b = vectors(2, dtype=torch.float32)
    assert same_bits(torch.compile(step, backend="aot_eager")(b), step(b))


def test_autocast():
    """Lower precision within an operator is an error that names it; ours do not change."""
    b, K = vectors(2, dtype=torch.float32), torch.eye(24)
    plain = subkern.cg(chain, b).x
    by_dense = subkern.cg(Dense(K), b, gamma=1.0).x
    by_space = subkern.lanczos_prox(chain, b, 2 * b, 4).solve(3.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert same_bits(subkern.cg(chain, b).x, plain)
        assert same_bits(subkern.cg(Dense(K), b, gamma=1.0).x, by_dense)
        assert same_bits(subkern.lanczos_prox(chain, b, 2 * b, 4).solve(3.0), by_space)
        with pytest.raises(TypeError, match=r"<lambda>: result must be torch\.float32 .*bfloat16"):
            subkern.cg(lambda v: v @ K, b)


def test_global_settings():
    """Another default dtype, deterministic algorithms, and anomaly detection change nothing."""
    A, z = sense("plane", 6, 5), phantom(6, 5, 2).to(torch.complex64)
    y = A.matvec(1.5 * z)

    def everything():
        space = subkern.lanczos_prox(A, z, y=y, M=3)
        found = subkern.cg_prox(A, z, y, gamma=3.0, rtol=1e-2, precond=lambda r: 0.5 * r)
        real = subkern.cg(chain, vectors(2, dtype=torch.float32), gamma=0.3, replace_every=2)
        return [*found, *real, *subkern.cgls(A, y), *space.discrepancy(1.0), space.residual(2.0)]

    plain = everything()
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autograd.set_detect_anomaly(True):
            other = everything()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
    assert all(map(same_bits, plain, other))


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_errors_leave_nothing_behind(name):
    """An operator that raises: its error arrives, and no backend stays forced."""

    def broken(v):
        raise ZeroDivisionError("of the operator")

    b = vectors(2)
    for run in (
        lambda: subkern.cg(broken, b, backend=name),
        lambda: subkern.cg_prox(broken, b, Aty=b, gamma=1.0, backend=name),
        lambda: subkern.lanczos_prox(broken, b, b, 3, backend=name),
        lambda: subkern.cg(ring, b, precond=broken, backend=name),
    ):
        with pytest.raises(ZeroDivisionError, match="of the operator"):
            run()
        assert registry._forced.get() is None
    with subkern.backend(name), pytest.raises(ZeroDivisionError):
        subkern.cg(broken, b, backend="reference")
    assert torch.is_grad_enabled()
