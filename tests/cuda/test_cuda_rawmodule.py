"""The stand-in for subkern._CUDA that CuPy serves: a fake CuPy here, the real one on a GPU."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import fake_cupy
import orthonormalize_cases
import packed_adamw_cases
import pytest
import select_cases
import sense_cases
import sst_adamw_cases
import torch
from conftest import Kernels
from kernels import KERNELS
from nvrtc import Nvrtc, find
from sktest import emulated_cuda, emulation, required
from svd_small_cases import svd
from test_cuda_arguments_linalg import prepared
from test_cuda_eigh_small import eigh

from subkern import doctor, ops
from subkern.backends import native
from subkern.backends.cuda import adam, rawmodule

SHARED = 227 << 10
DRIVER = Path(__file__).with_name("raw_driver.cu")
# What CuPy adds to the options that RawModule is given, for a device of compute capability 9.0.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space", "-arch=compute_90")


@pytest.fixture
def raw(monkeypatch):
    """The stand-in on a fake CuPy, and what that recorded; it works on CPU tensors."""
    library = emulation.load(emulation.build([DRIVER], "raw_driver"))
    fake, recorded = fake_cupy.make(library)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(rawmodule, "_most_shared", lambda device: SHARED)
    rawmodule._kernel.cache_clear()
    yield Kernels(rawmodule.RawModule(), torch.device("cpu"), lambda seed: None), recorded
    rawmodule._kernel.cache_clear()


@pytest.fixture(scope="module")
def emulated():
    return Kernels(emulated_cuda.module(), torch.device("cpu"), lambda seed: None)


def matrices(*shape):
    X = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    X[0, :, -1] = X[0, :, 0]  # one needs repair
    return X


def sample(kernels):
    call, tensors = prepared(kernels, "sample_without_replacement")
    kernels.module.sample_without_replacement(**call)
    return [tensors["idx"], tensors["info"], tensors["gathered"]]


def sst(kernels):
    call, written = sst_adamw_cases.prepared(kernels, [4], 20)
    kernels.module.sst_adamw(**call)
    return written


def packed(kernels):
    call, written = packed_adamw_cases.prepared(kernels)
    kernels.module.packed_adamw(**call)
    return written


def kth(kernels):
    return select_cases.kth(kernels, select_cases.numbers(8200, "hard", torch.float32), 900)


def swap(kernels):
    return select_cases.swap(
        kernels, *select_cases.problem(8200, 0.3, "few", torch.float32), count=90
    )


def vectors(kernels, op):
    call, tensors = prepared(kernels, op)
    if op.startswith("cg_step"):
        tensors["state"].view(2, -1)[:, 6] = -1  # running
    getattr(kernels.module, op)(**call)
    return [*tensors.values()]


CALLS = {
    "svd 7x5": (lambda kernels: svd(kernels, matrices(9, 7, 5)), 1),
    "svd 35x40": (lambda kernels: svd(kernels, matrices(2, 35, 40)), 1),
    "eigh 6": (lambda kernels: eigh(kernels, (X := matrices(5, 6, 6)).mT @ X), 1),
    "kth of 8200": (lambda kernels: kth(kernels), 3),
    "swap of 8200": (lambda kernels: swap(kernels), 5),
    "packed 9 of 20": (lambda kernels: packed(kernels), 1),
    "sst 4x20": (lambda kernels: sst(kernels), 1),
    "sample 9": (lambda kernels: sample(kernels), 1),
    "orthonormalize 70x5": (
        lambda kernels: orthonormalize_cases.run(kernels, matrices(3, 70, 5)),
        1,
    ),
}
VECTORS = ("group_dot", "cg_step_residual", "cg_step_direction", "combine")
CALLS |= {op: (lambda kernels, op=op: vectors(kernels, op), 1) for op in VECTORS}

CALLS |= {
    "sense line": (lambda kernels: sense_cases.run(kernels, "sense_normal"), 1),
    "sense plane": (lambda kernels: sense_cases.run(kernels, "sense_normal", line=False), 3),
    "sense solve": (lambda kernels: sense_cases.run(kernels, "sense_solve"), 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_same_bits_as_the_launchers(raw, emulated, name):
    """Names, geometry, order and bytes of arguments: the kernels are run by them."""
    kernels, recorded = raw
    run, launches = CALLS[name]
    for mine, theirs in zip(run(kernels), run(emulated), strict=True):
        assert torch.equal(mine, theirs)
    assert len(recorded.launched) == launches


def test_tall_matrices(raw, emulated):
    """The kernels between which a workspace lies, all on the queue of the call."""
    kernels, recorded = raw
    Y = matrices(2, 12000, 5)
    elsewhere = SimpleNamespace(module=kernels.module, queue={"device": 3, "stream": 77})
    for mine, theirs in zip(
        orthonormalize_cases.run(elsewhere, Y),
        orthonormalize_cases.run(emulated, Y),
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    names = [re.sub(r"<.*", "", launch.name) for launch in recorded.launched]
    slices, factors = (
        "subkern::orthonormalize_slice_kernel",
        "subkern::orthonormalize_factor_kernel",
    )
    assert names[:7] == [slices, factors] * 3 + [slices]
    assert {(launch.device, launch.stream) for launch in recorded.launched} == {(3, 77)}


def test_each_kernel_is_compiled_once(raw):
    kernels, recorded = raw
    for _ in range(2):
        svd(kernels, matrices(9, 7, 5))
    ((code, options, names),) = recorded.compiled
    assert names == ("subkern::svd_small_kernel<float, 8>",)
    assert options == ("-std=c++17", f"-I{rawmodule.sources()}")
    assert code.endswith('\n#include "svd_small.cuh"\n')


def test_code_changes_with_what_it_includes(monkeypatch, tmp_path):
    for path in rawmodule.sources().glob("*.cuh"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(rawmodule, "sources", lambda: tmp_path)
    before = rawmodule.code("svd_small.cuh")
    assert rawmodule.code("svd_small.cuh") == before
    rawmodule._digest.cache_clear()
    (tmp_path / "jacobi.cuh").write_text("// changed")
    assert rawmodule.code("svd_small.cuh") != before
    rawmodule._digest.cache_clear()


def planned():
    """Every kernel that a call can plan, as (header, name expression)."""
    plans, launches = native.module().plans, native.module().plans.Launches()
    where = {"device": SHARED, "stream": launches.address}
    steps = ("row_stride", "col_stride")
    for dtype in (0, 1):
        for n in (8, 16, 32, 64):
            call = dict(dtype=dtype, batch=1, batch_stride=n * n, info=1, **where)
            call |= dict(zip(steps, (n, 1), strict=True))
            plans.svd_small(A=1, m=n, n=n, U=1, S=1, Vh=1, **call)
            plans.eigh_small(C=1, n=n, w=1, V=1, **call)
    for k in (8, 16, 32, 64):
        for rows in (64, 100000):
            call = dict(Y=1, dtype=0, count=1, rows=rows, cols=k, matrix_stride=rows * k, **where)
            call |= dict(row_stride=k, col_stride=1, Q=1, R=1, info=1, scratch=16)
            plans.orthonormalize(**call, scratch_bytes=1 << 40)
    for dtype in (0, 1):
        call = dict(X=1, dtype=dtype, count=1, n=9, matrix_stride=9, results=1, scratch=16, **where)
        plans.scan(**call, scratch_bytes=1 << 20, counters=1)
    for dtype in (0, 1):
        call = dict(weights=1, dtype=dtype, count=1, n=9, k=2, row_stride=9, seed=1, offset=0)
        call |= dict(sorted=True, idx=1, info=1, sources=[], scratch=0, scratch_bytes=0, **where)
        plans.sample_without_replacement(**call)
        call = dict(X=[8], G=[8], exp_avg=[8], exp_avg_sq=[8], step=[8], skipped=[8], table=[8])
        call |= dict(sampled=[8], rows=[1], table_rows=[1], dtype=dtype, counters=8, **where)
        for length in (9, 12000):
            plans.sst_adamw(length=[length], **call, **sst_adamw_cases.OPTIONS)
        call = dict(x=8, dtype=dtype, n=9, k=2, magnitude=False, value=8, above=8, equal=8, **where)
        plans.kth_largest(**call, scratch=8, scratch_bytes=1 << 20)
        call = dict(score_remove=8, score_add=8, mask=8, new_mask=8, removed=8, added=8, **where)
        plans.update_mask(**call, dtype=dtype, n=9000, n_swap=2, scratch=8, scratch_bytes=1 << 20)
        call = dict(W=[8], G=[8], indices=[8], exp_avg=[8], exp_avg_sq=[8], step=[8], numel=[9])
        call |= dict(listed=[2], packed=[0], per_entry=[0], w_dtype=dtype, counters=8, **where)
        for wide in (True, False):
            plans.packed_adamw(wide=wide, **call, **packed_adamw_cases.OPTIONS)
    call = dict(groups=2, n=5000, **where)
    space = dict(workspace=8, workspace_bytes=1 << 20, counters=8)
    plans.group_dot(u=8, v=8, dot=8, **call, **space)
    plans.cg_step_residual(r=8, q=8, curvature=8, state=8, **call, **space)
    plans.cg_step_direction(x=8, p=8, z=8, state=8, **call)
    plans.combine(z=8, V=8, coefficients=8, m=3, out=8, **call)
    call = dict(G=1, wanted=1, threshold=0.0, count=1, cols=4, R=1, good=1, **where)
    plans.orthonormalize_cholesky(**call)
    return {(header, name) for header, name, *_ in launches.take()}


@pytest.mark.skipif(native.refusal() is not None, reason=str(native.refusal()))
def test_plans_name_every_kernel_of_their_headers():
    headers = {header for header, _ in planned()}
    table = {
        f"subkern::{name}<{t}>" if t else f"subkern::{name}"
        for name, kernel in KERNELS.items()
        for t in kernel.instances
        if kernel.header in headers
    }
    assert {name for _, name in planned()} == table


@pytest.mark.skipif(native.refusal() is not None, reason=str(native.refusal()))
def test_nvrtc_takes_what_rawmodule_is_given():
    path = find()
    if path is None:
        required.missing("NVRTC: the package nvidia-cuda-nvrtc is not installed")
    nvrtc, found = Nvrtc(path), planned()
    for header in sorted({header for header, _ in found}):
        names = sorted((n for of, n in found if of == header), key=len)[:1]  # all: test_cuda_nvrtc
        options = (*rawmodule.options(), *CUPY_OPTIONS)
        ptx, lowered = nvrtc.compile(rawmodule.code(header), names, options)
        assert len(set(lowered)) == len(names)
        for symbol in lowered:
            assert f".entry {symbol}(" in ptx


def test_refuses_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert rawmodule.stand_in() == "there is no CUDA device"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(rawmodule.importlib.util, "find_spec", lambda name: None)
    assert rawmodule.stand_in() == "CuPy is not installed"
    monkeypatch.undo()


def test_native_falls_back(raw, monkeypatch):
    """Where the native module is not there; the optimizers stay with other backends."""
    monkeypatch.setitem(sys.modules, "subkern._CUDA", None)  # importing it fails
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(rawmodule.importlib.util, "find_spec", lambda name: True)
    native._attempt.cache_clear()
    try:
        assert native.refusal("_CUDA") is None
        assert isinstance(native.module("_CUDA"), rawmodule.RawModule)
        assert doctor._module_state("_CUDA") == rawmodule.RawModule.state
        ones = [torch.ones(3)]
        call = dict(params=ones, grads=ones, exp_avgs=ones, exp_avg_sqs=ones)
        assert "which CuPy does not replace" in adam.can_serve(**call)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        native._attempt.cache_clear()
        assert native.refusal("_CUDA").endswith("CuPy cannot stand in: there is no CUDA device")
    finally:
        native._attempt.cache_clear()


@pytest.mark.gpu
@pytest.mark.parametrize(
    "shape", [(7, 5), (40, 33), (64, 8), (70000, 5)], ids="{0[0]}x{0[1]}".format
)
def test_on_a_gpu(shape):
    pytest.importorskip("cupy", reason="CuPy is not installed")
    Y = matrices(3, *shape).cuda()
    with native.replace("_CUDA", rawmodule.RawModule()):
        Q, R = ops.orthonormalize(Y, return_r=True, backend="cuda")
        reference = ops.orthonormalize(Y, return_r=True, backend="reference")
        torch.testing.assert_close(
            (Q[1:], R[1:]), tuple(x[1:] for x in reference), rtol=1e-4, atol=1e-4
        )
        orthonormalize_cases.check(Y, Q, R)
        if max(shape) <= 64:
            S = ops.svd_small(Y, backend="cuda")[1]
            torch.testing.assert_close(S, torch.linalg.svdvals(Y), rtol=1e-4, atol=1e-5)
