"""Bad arguments of solvers, their handles and operators: the error and the argument's name."""

import warnings

import pytest
import torch

import subkern
from subkern.imaging import Blur, CartesianSense, Dense, FourierMask, dot_test

N, COILS = 2, 2
B = torch.ones(N, 4, dtype=torch.complex64)
A = Dense(torch.eye(4, dtype=torch.complex64))
MAPS = torch.ones(1, COILS, 4, 6, dtype=torch.complex64)
MANY = MAPS.repeat(3, 1, 1, 1)
MASK = torch.ones(6)
SENSE = CartesianSense(MAPS, (torch.arange(6) % 2).float())
IMAGE = torch.ones(N, 4, 6, dtype=torch.complex64)
PLANE = torch.ones(1, 4, 6)
KERNEL = torch.ones(2, 3)
WIDE = torch.complex128
with warnings.catch_warnings(action="ignore"):  # torch calls it experimental
    HALF = torch.empty(N, 4, dtype=torch.complex32)
ELSEWHERE = torch.ones(2, device="meta")


def row(name, error, words, **change):
    return name, change, error, words


def vectors(name):
    """Rows for a batch of vectors that decides shape and dtype."""
    return [
        row(f"{name}-number", TypeError, f"{name} must be a tensor, got float", **{name: 1.0}),
        row(f"{name}-list", TypeError, f"{name} must be a tensor, got list", **{name: [[1.0]]}),
        row(f"{name}-int", TypeError, f"{name} must be float32, float64", **{name: B.real.int()}),
        row(f"{name}-bool", TypeError, f"{name} must be float32, float64", **{name: B.real > 0}),
        row(f"{name}-half", TypeError, f"{name} must be float32, float64", **{name: B.real.half()}),
        row(f"{name}-bf16", TypeError, "got torch.bfloat16", **{name: B.real.bfloat16()}),
        row(
            f"{name}-chalf",
            TypeError,
            "got torch.complex32",
            **{name: HALF},
        ),
        row(f"{name}-0d", ValueError, f"{name} must have shape (samples", **{name: B[0, 0]}),
        row(f"{name}-1d", ValueError, f"{name} must have shape (samples", **{name: B[0]}),
        row(f"{name}-sparse", ValueError, f"{name} must be a dense", **{name: B.to_sparse()}),
    ]


def alike(name, like):
    """Rows for a tensor that must be like another one."""
    return [
        row(f"{name}-number", TypeError, f"{name} must be a tensor", **{name: 1.0}),
        row(f"{name}-real", TypeError, f"{name} must be torch.complex64 like", **{name: B.real}),
        row(f"{name}-double", TypeError, f"{name} must be torch.complex64", **{name: B.to(WIDE)}),
        row(f"{name}-shape", ValueError, f"{name} must have shape (2, 4) like", **{name: B[:, :3]}),
        row(f"{name}-samples", ValueError, f"{name} must have shape (2, 4)", **{name: B[:1]}),
        row(f"{name}-axes", ValueError, f"{name} must have shape (2, 4)", **{name: B[None]}),
        row(f"{name}-device", ValueError, f"{name} must be on cpu", **{name: B.to("meta")}),
        row(f"{name}-sparse", ValueError, f"{name} must be a dense", **{name: B.to_sparse()}),
    ]


def weights(name, none_is_good=False):
    rows = [
        row(f"{name}-text", TypeError, f"{name} must be a number, got str", **{name: "1"}),
        row(f"{name}-bool", TypeError, f"{name} must be a number, got bool", **{name: True}),
        row(f"{name}-complex", TypeError, f"{name} must be a number, got complex", **{name: 1j}),
        row(f"{name}-list", TypeError, f"{name} must be a number, got list", **{name: [1.0, 2.0]}),
        row(f"{name}-negative", ValueError, f"{name} must be in [0", **{name: -1.0}),
        row(f"{name}-nan", ValueError, f"{name} must be in [0", **{name: float("nan")}),
        row(f"{name}-inf", ValueError, f"{name} must be in [0", **{name: float("inf")}),
        row(f"{name}-huge", ValueError, f"{name} must be finite as torch.float32", **{name: 1e39}),
        row(f"{name}-int", TypeError, f"{name} must be floating", **{name: torch.ones(2).int()}),
        row(f"{name}-c64", TypeError, f"{name} must be floating point", **{name: B[0, 0]}),
        row(f"{name}-count", ValueError, f"{name} must be a number or", **{name: torch.ones(3)}),
        row(f"{name}-axes", ValueError, f"{name} must be a number or", **{name: torch.ones(2, 1)}),
        row(f"{name}-device", ValueError, f"{name} must be on cpu", **{name: ELSEWHERE}),
    ]
    return rows if none_is_good else [*rows, row(f"{name}-none", TypeError, name, **{name: None})]


def numbers(*names):
    return [
        r
        for name in names
        for r in (
            row(f"{name}-text", TypeError, f"{name} must be a number", **{name: "0"}),
            row(f"{name}-none", TypeError, f"{name} must be a number", **{name: None}),
            row(f"{name}-bool", TypeError, f"{name} must be a number", **{name: False}),
            row(f"{name}-tensor", TypeError, f"{name} must be a number", **{name: torch.ones(())}),
            row(f"{name}-negative", ValueError, f"{name} must be in [0", **{name: -1e-3}),
            row(f"{name}-nan", ValueError, f"{name} must be in [0", **{name: float("nan")}),
        )
    ]


def steps(*names, least=0):
    return [
        r
        for name in names
        for r in (
            row(f"{name}-float", TypeError, f"{name} must be an int, got float", **{name: 2.0}),
            row(f"{name}-bool", TypeError, f"{name} must be an int, got bool", **{name: True}),
            row(f"{name}-none", TypeError, f"{name} must be an int", **{name: None}),
            row(f"{name}-low", ValueError, f"{name} must be in [{least}, ", **{name: least - 1}),
            row(f"{name}-huge", ValueError, f"{name} must be in [{least}, ", **{name: 2**31}),
        )
    ]


def operators(only_linear=False):
    rows = [
        row("op-number", TypeError, "op must be a LinearOperator", op=1.0),
        row("op-none", TypeError, "op must be a LinearOperator", op=None),
        row("op-tensor", TypeError, "op must be a LinearOperator", op=torch.eye(4)),
    ]
    if only_linear:
        return [*rows, row("op-callable", TypeError, "got function", op=lambda v: v)]
    return [*rows, row("op-class", TypeError, "result must be a tensor, got Dense", op=Dense)]


BACKENDS = [
    row("backend-unknown", ValueError, "backend must be one of", backend="gpu"),
    row("backend-empty", ValueError, "backend must be a name or None", backend=""),
    row("backend-number", TypeError, "backend must be a string", backend=3),
]
SPACE = torch.zeros(64, dtype=torch.complex64)
ITERATION = [
    *numbers("rtol", "atol"),
    *steps("maxiter", "replace_every", "check_every"),
    *BACKENDS,
    row("precond-tensor", TypeError, "precond must be callable", precond=torch.eye(4)),
    row("coupling-unknown", ValueError, "coupling must be one of", coupling="batch"),
    row("coupling-none", TypeError, "coupling must be a string", coupling=None),
    row("coupling-row", ValueError, "coupling must be 'sample' or 'all'", coupling="row"),
    row("info-number", TypeError, "info must be True or False", info=1),
    row("workspace-number", TypeError, "workspace must be a tensor", workspace=1),
    row("workspace-short", ValueError, "workspace must be a contiguous", workspace=SPACE[:15]),
    row("workspace-steps", ValueError, "workspace must be a contiguous", workspace=SPACE[::2]),
    row("workspace-axes", ValueError, "workspace must be a contiguous", workspace=SPACE.view(8, 8)),
    row("workspace-real", TypeError, "workspace must be torch.complex64", workspace=SPACE.real),
    row("workspace-conj", ValueError, "workspace must be memory", workspace=SPACE.conj()),
    row("workspace-device", ValueError, "workspace must be on cpu", workspace=SPACE.to("meta")),
    *alike("out", "b"),
    row("out-overlap", ValueError, "out must not overlap itself", out=B[:1].clone().expand(2, 4)),
    row("forced-double", subkern.BackendUnavailableError, "float32 and complex64", double=True),
]
CG = [*operators(), *vectors("b"), *alike("x0", "b"), *weights("gamma", True), *ITERATION]
PROX = [
    *operators(),
    *vectors("z"),
    *alike("Aty", "z"),
    *weights("gamma"),
    *ITERATION,
    row("neither", ValueError, "y or Aty must be given, one of them, got neither", Aty=None),
    row("both", ValueError, "y or Aty must be given, one of them, got both", y=B),
    row("y-callable", TypeError, "op must be a LinearOperator", Aty=None, y=B, op=lambda v: v),
    row("y-number", TypeError, "y must be a tensor", Aty=None, y=2.0),
    row("y-shape", ValueError, "Dense: y must have shape", Aty=None, y=B[:, :3]),
    row("y-samples", ValueError, "Dense.adjoint: result must be", Aty=None, y=B[:1]),
    row("y-device", ValueError, "Dense: y must be on cpu", Aty=None, y=B.to("meta")),
]
CGLS = [
    *operators(only_linear=True),
    *vectors("y"),
    *vectors("x0"),
    row("y-shape", ValueError, "Dense: y must have shape", y=B[:, :3]),
    row("y-real", TypeError, "Dense: y must be torch.complex64", y=B.real),
    row("x0-samples", ValueError, "Dense.adjoint: result must be", x0=B[:1]),
    row("x0-shape", ValueError, "Dense.adjoint: result must be", x0=B[:, :3]),
    row("x0-real", TypeError, "Dense.adjoint: result must be", x0=B.real),
    row("x0-device", ValueError, "Dense.adjoint: result must be on meta", x0=B.to("meta")),
    *numbers("damp", "rtol", "atol"),
    *steps("maxiter", "check_every"),
    *BACKENDS,
]
LANCZOS = [
    *operators(),
    *vectors("z"),
    *alike("Aty", "z"),
    *steps("M", least=1),
    *BACKENDS,
    row("reorthogonalize", TypeError, "reorthogonalize must be True", reorthogonalize=1),
    row("neither", ValueError, "y or Aty must be given, one of them, got neither", Aty=None),
    row("y-callable", TypeError, "op must be a LinearOperator", y=B, op=lambda v: v),
    row("y-shape", ValueError, "Dense.matvec: result must be", y=B[:, :3]),
    row("y-samples", ValueError, "Dense.matvec: result must be", y=B[:1]),
    row("y-real", TypeError, "Dense.matvec: result must be", y=B.real),
]
GOOD = {
    "cg": dict(op=A, b=B),
    "cg_prox": dict(op=A, z=B, Aty=B, gamma=1.0),
    "cgls": dict(op=A, y=B),
    "lanczos_prox": dict(op=A, z=B, Aty=B, M=2),
}
TABLE = [
    (op, *rest)
    for op, rows in (("cg", CG), ("cg_prox", PROX), ("cgls", CGLS), ("lanczos_prox", LANCZOS))
    for rest in rows
]


def check(caught, error, words, *starts):
    message = str(caught.value)
    assert type(caught.value) is error
    assert words in message
    assert message.startswith(starts)
    assert "got" in message or error is subkern.BackendUnavailableError


@pytest.mark.parametrize(
    ("op", "change", "error", "words"),
    [(op, *rest) for op, _, *rest in TABLE],
    ids=[f"{op}-{name}" for op, name, *_ in TABLE],
)
def test_solvers(op, change, error, words):
    call = GOOD[op] | change
    if call.pop("double", False):
        double = lambda v: v.to(WIDE) if isinstance(v, torch.Tensor) else v  # noqa: E731
        call = {k: double(v) for k, v in call.items()} | dict(op=lambda v: v, backend="cpu")
    with pytest.raises(error) as caught:
        getattr(subkern, op)(**call)
    unserved = error is subkern.BackendUnavailableError  # the solvers' common op says so
    check(caught, error, words, f"{op}: ", "Dense", *(["cg: "] if unserved else []))


@pytest.mark.parametrize("op", GOOD)
def test_good_arguments_work(op):
    """The tables start from calls that work, else their rows would prove nothing."""
    assert getattr(subkern, op)(**GOOD[op])
    assert len(subkern.cg_prox(A, B, y=B, gamma=1.0)) == 4


HANDLE = [
    *[(m, *r) for m in ("solve", "residual", "data_residual") for r in weights("gamma")],
    *[("discrepancy", *r) for r in weights("target")],
    *[("discrepancy", *r) for r in numbers("low", "high")],
    ("discrepancy", *row("low-zero", ValueError, "low must be in (0, high)", low=0.0)),
    ("discrepancy", *row("crossed", ValueError, "low must be in (0, high)", low=2.0, high=1.0)),
]


@pytest.mark.parametrize(
    ("method", "change", "error", "words"),
    [(m, *rest) for m, _, *rest in HANDLE],
    ids=[f"{m}-{name}" for m, name, *_ in HANDLE],
)
def test_handles(method, change, error, words):
    space = subkern.lanczos_prox(A, B, y=B, M=2)
    call = dict(target=1.0) if method == "discrepancy" else dict(gamma=1.0)
    assert getattr(space, method)(**call) is not None
    with pytest.raises(error) as caught:
        getattr(space, method)(**(call | change))
    check(caught, error, words, "lanczos_prox: ")


NAN = float("nan")
CONSTRUCTORS = {
    "CartesianSense": (CartesianSense, dict(maps=MAPS, mask=MASK)),
    "FourierMask": (FourierMask, dict(mask=PLANE)),
    "Blur": (Blur, dict(kernel=KERNEL, size=(4, 6))),
    "Dense": (Dense, dict(A=torch.eye(3))),
}


def flags(*names):
    return [row(f"{n}-number", TypeError, f"{n} must be True or False", **{n: 1}) for n in names]


CONSTRUCTED = {
    "CartesianSense": [
        row("maps-list", TypeError, "maps must be a tensor", maps=[1.0]),
        row("maps-real", TypeError, "maps must be complex64 or complex128", maps=MAPS.real),
        row("maps-chalf", TypeError, "maps must be complex64", maps=HALF),
        row("maps-axes", ValueError, "maps must have shape ([sets,] samples", maps=MAPS[0]),
        row("maps-more", ValueError, "maps must have shape", maps=MAPS[None, None]),
        row("maps-no-coil", ValueError, "maps must have a coil", maps=MAPS[:, :0]),
        row("maps-no-sample", ValueError, "maps must have a coil and a sample", maps=MAPS[:0]),
        row("maps-sparse", ValueError, "maps must be a dense", maps=MAPS.to_sparse()),
        row("mask-list", TypeError, "mask must be a tensor", mask=[1.0]),
        row("mask-none", TypeError, "mask must be a tensor", mask=None),
        row("mask-complex", TypeError, "mask must be real", mask=MASK + 0j),
        row("mask-length", ValueError, "mask must broadcast to", mask=torch.ones(5)),
        row("mask-coils", ValueError, "mask must broadcast to", mask=torch.ones(1, 2, 4, 6)),
        row("mask-axes", ValueError, "mask must broadcast to", mask=torch.ones(1, 1, 1, 4, 6)),
        row(
            "mask-samples",
            ValueError,
            "mask must broadcast",
            maps=MANY,
            mask=torch.ones(2, 1, 4, 6),
        ),
        row("mask-negative", ValueError, "mask must be zero or more", mask=-MASK),
        row("mask-nan", ValueError, "mask must be zero or more", mask=MASK * NAN),
        row("mask-inf", ValueError, "mask must be zero or more", mask=MASK / 0),
        row("mask-huge", ValueError, "mask must be zero or more", mask=MASK * 1e30),
        row("mask-device", ValueError, "mask must be on cpu", mask=MASK.to("meta")),
        row("ndim-0", ValueError, "spatial_ndim must be 1, 2 or 3", spatial_ndim=0),
        row("ndim-4", ValueError, "spatial_ndim must be 1, 2 or 3", spatial_ndim=4),
        row("ndim-bool", TypeError, "spatial_ndim must be an int", spatial_ndim=True),
        row("ndim-float", TypeError, "spatial_ndim must be an int", spatial_ndim=2.0),
        row("ndim-list", TypeError, "spatial_ndim must be an int", spatial_ndim=[2]),
        *flags("centered", "detect_lines"),
    ],
    "FourierMask": [
        row("mask-list", TypeError, "mask must be a tensor", mask=[[1.0]]),
        row("mask-complex", TypeError, "mask must be real", mask=PLANE + 0j),
        row("mask-axes", ValueError, "mask must have shape (samples or 1, H, W)", mask=PLANE[0]),
        row("mask-negative", ValueError, "mask must be zero or more", mask=-PLANE),
        row("mask-nan", ValueError, "mask must be zero or more", mask=PLANE * NAN),
        row("mask-sparse", ValueError, "mask must be a dense", mask=PLANE.to_sparse()),
        *flags("centered"),
    ],
    "Blur": [
        row("kernel-list", TypeError, "kernel must be a tensor", kernel=[[1.0]]),
        row("kernel-int", TypeError, "kernel must be float32, float64", kernel=KERNEL.int()),
        row("kernel-half", TypeError, "kernel must be float32, float64", kernel=KERNEL.half()),
        row("kernel-axes", ValueError, "kernel must have shape (h, w)", kernel=KERNEL[None]),
        row("kernel-large", ValueError, "size must be (H, W) and hold", size=(4, 2)),
        row("size-number", TypeError, "size must be two whole numbers", size=6),
        row("size-float", TypeError, "size must be two whole numbers", size=(4.0, 6.0)),
        row("size-one", ValueError, "size must be (H, W)", size=(4,)),
        row("size-three", ValueError, "size must be (H, W)", size=(4, 6, 6)),
    ],
    "Dense": [
        row("A-list", TypeError, "A must be a tensor", A=[[1.0]]),
        row("A-int", TypeError, "A must be float32, float64", A=torch.eye(3).int()),
        row("A-half", TypeError, "A must be float32, float64", A=torch.eye(3).half()),
        row("A-vector", ValueError, "A must have shape (m, n)", A=torch.ones(3)),
        row("A-deep", ValueError, "A must have shape (m, n)", A=torch.ones(1, 1, 3, 3)),
        row("A-sparse", ValueError, "A must be a dense", A=torch.eye(3).to_sparse()),
    ],
}
BUILT = [(name, *rest) for name, rows in CONSTRUCTED.items() for rest in rows]


@pytest.mark.parametrize(
    ("name", "change", "error", "words"),
    [(name, *rest) for name, _, *rest in BUILT],
    ids=[f"{name}-{what}" for name, what, *_ in BUILT],
)
def test_constructors(name, change, error, words):
    make, good = CONSTRUCTORS[name]
    assert make(**good)
    with pytest.raises(error) as caught:
        make(**(good | change))
    check(caught, error, words, f"{name}: ")


APPLIED = {
    "CartesianSense": (SENSE, IMAGE, torch.ones(N, COILS, 4, 6, dtype=torch.complex64)),
    "FourierMask": (FourierMask(PLANE), IMAGE, IMAGE),
    "Blur": (Blur(KERNEL, (4, 6)), IMAGE, IMAGE),
    "Dense": (Dense(torch.ones(N, 3, 4)), B, B[:, :3]),
}


@pytest.mark.parametrize("method", ["matvec", "adjoint", "normal"])
@pytest.mark.parametrize("name", APPLIED)
def test_application(name, method):
    """Images and data of the wrong kind, dtype, shape or device."""
    A, x, y = APPLIED[name]
    good, who = (y, "y") if method == "adjoint" else (x, "x")
    call = getattr(A, method)
    assert call(good).shape[0] == N
    bad = [
        (1.0, TypeError, f"{who} must be a tensor"),
        (good.int() if not good.is_complex() else good.real.int(), TypeError, f"{who} must be tor"),
        (good.to(torch.complex128), TypeError, f"{who} must be torch"),
        (good[..., :-1], ValueError, f"{who} must have shape"),
        (good[0], ValueError, f"{who} must have shape"),
        (good[None], ValueError, f"{who} must have shape"),
        (good.to("meta"), ValueError, f"{who} must be on cpu"),
        (good.to_sparse(), ValueError, f"{who} must be a dense"),
    ]
    if name == "FourierMask":  # takes both precisions
        bad.pop(2)
    if name in ("CartesianSense", "FourierMask"):
        bad.append((good.real, TypeError, f"{who} must be torch.complex64"))
    if name == "Dense":  # a matrix for each sample
        bad.append((good[:1], ValueError, f"{who} must have shape (2, "))
    for value, error, words in bad:
        with pytest.raises(error) as caught:
            call(value)
        check(caught, error, words, f"{name}: ")


def test_samples_that_maps_or_masks_do_not_have():
    for maps, mask in ((MAPS.repeat(3, 1, 1, 1), MASK), (MAPS, torch.ones(3, 1, 4, 6))):
        A = CartesianSense(maps, mask)
        for call in (A.matvec, A.normal, lambda v, A=A: subkern.cg(A, v, gamma=1.0)):
            with pytest.raises(ValueError, match=r"must have shape \(3, 4, 6\), got \(2, 4, 6\)"):
                call(IMAGE)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [r[1:] for r in weights("gamma")]
    + [
        (dict(z=IMAGE.real), TypeError, "z must be torch.complex64 or torch.complex128"),
        (dict(z=IMAGE[:, :3]), ValueError, "z must have shape"),
        (dict(y=IMAGE[:1]), ValueError, "y must have shape"),
        (dict(y=IMAGE.real), TypeError, "y must be torch.complex64 like z"),
        (dict(y=2.0), TypeError, "y must be a tensor"),
    ],
)
def test_fourier_prox(change, error, words):
    with pytest.raises(error) as caught:
        FourierMask(PLANE).prox(**(dict(z=IMAGE, y=IMAGE, gamma=1.0) | change))
    check(caught, error, words, "FourierMask: ")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(operator=1), TypeError, "op must be a LinearOperator"),
        (dict(operator=lambda v: v, y=B), TypeError, "operator must be a LinearOperator where y"),
        (dict(x=1.0), TypeError, "x must be a tensor"),
        (dict(y=[1.0]), TypeError, "y must be a tensor"),
        (dict(n=0), ValueError, "n must be a whole number of at least 1"),
        (dict(n=1.0), ValueError, "n must be a whole number"),
        (dict(n=True), ValueError, "n must be a whole number"),
    ],
)
def test_dot_test(change, error, words):
    with pytest.raises(error) as caught:
        dot_test(**(dict(operator=A, x=B) | change))
    check(caught, error, words, "dot_test: ")


def test_registered_ops_on_other_devices():
    """What solvers call inside takes CPU and CUDA tensors; a dry run on meta gives shapes."""
    b = torch.empty(N, 4, device="meta")
    assert subkern.cg(lambda v: v, b, gamma=1.0).x.is_meta
    with pytest.raises(ValueError, match="CartesianSense: b must be on cpu, got meta"):
        subkern.cg(SENSE, IMAGE.to("meta"), gamma=1.0)
