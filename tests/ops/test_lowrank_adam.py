"""One body for every backend: the fused low-rank Adam step against the reference in float64."""

import functools
import itertools
import math

import pytest
import torch
from sktest.backends import device_of, is_simulated
from sktest.lowrank import READ, WRITTEN, check_steps, compare, make

from subkern.backends.cpu import products
from subkern.ops import lowrank_adam_

OP = "lowrank_adam"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIDES = ("left", "right", "full")
RULES = {
    "galore": dict(rule="galore"),
    "fira": dict(rule="fira"),
    "fira_paper": dict(rule="fira", alpha_in_residual=False, norm_eps=0.05, gamma=1.2),
    "fira_matrix": dict(rule="fira", granularity="matrix"),
    "fira_matrix_paper": dict(rule="fira", granularity="matrix", alpha_in_residual=False),
}
# decay, correct_bias, weight_decay, skip_nonfinite: every pair of values occurs.
PAIRWISE = [
    ("post", True, 0.1, True),
    ("post", False, 0.0, False),
    ("pre", True, 0.0, True),
    ("pre", False, 0.1, True),
    ("pre", True, 0.1, False),
]
PAIRS_OF_LAYOUTS = [
    ("transposed", "transposed"),
    ("offset", "offset"),
    ("contiguous", "transposed"),
    ("transposed", "offset"),
    ("strided", "contiguous"),
    ("contiguous", "strided"),
]
# (m, n, rank): 1, 2, primes, around vector and block widths, wide, tall, rank 1 and rank k.
SHAPES = [
    (1, 1, 1),
    (1, 2, 1),
    (2, 1, 1),
    (2, 2, 2),
    (7, 13, 1),
    (13, 7, 7),
    (63, 64, 5),
    (64, 65, 64),
    (65, 63, 63),
    (31, 257, 8),
    (257, 31, 17),
    (16, 5461, 3),
    (5461, 16, 2),
    (129, 131, 1),
    (140, 523, 33),
    (256, 1024, 130),  # GQA's 1024 x 4096, scaled; above the small-matrix kernel
    (600, 133, 129),  # sums longer than one slice of torch.mm
]
UNITS = [(140, 523, 33), (300, 901, 136)]


def ids(shapes):
    return ["m{}-n{}-r{}".format(*shape) for shape in shapes]


def fits(m, n, rank, side):
    """Whether the rank is legal on this side."""
    return rank <= {"left": m, "right": n, "full": min(m, n)}[side]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", SIDES)
def test_options(backend, side, rule, dtype):
    """Every pair of decay, bias correction, weight decay and skip_nonfinite."""
    options = dict(RULES[rule])
    cases = PAIRWISE
    if is_simulated(backend):  # one each, all of them over the cases of this test
        which = SIDES.index(side) + list(RULES).index(rule) + list(DTYPES).index(dtype)
        cases = [PAIRWISE[which % len(PAIRWISE)]]
    rule = options.pop("rule")
    for decay, correct_bias, weight_decay, skip in cases:
        problem = make(33, 70, 5, side, rule, DTYPES[dtype], seed=1, backend=backend)
        check_steps(
            problem,
            backend,
            steps=2,
            decay=decay,
            correct_bias=correct_bias,
            weight_decay=weight_decay,
            skip_nonfinite=skip,
            **options,
        )


def combinations(backend, which):
    """Every rule with every dtype; of a simulated backend one, another for each ``which``."""
    every = list(itertools.product(("galore", "fira"), DTYPES.values()))
    return [every[which % len(every)]] if is_simulated(backend) else every


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", SHAPES, ids=ids(SHAPES))
def test_shapes(backend, shape, side):
    m, n, rank = shape
    rank = min(rank, m, n) if side == "full" else min(rank, m if side == "left" else n)
    steps = 1 if is_simulated(backend) else 2
    for rule, dtype in combinations(backend, SHAPES.index(shape) + SIDES.index(side)):
        problem = make(m, n, rank, side, rule, dtype, seed=m * n, backend=backend)
        check_steps(problem, backend, steps=steps)


@pytest.mark.parametrize("side", SIDES)
def test_large(backend, side):
    """Wider than one panel of the weight update, longer than one slice of a product."""
    wide = (300, 901, 136) if is_simulated(backend) else (600, 1801, 136)
    shape = (wide[1], wide[0], wide[2]) if side == "right" else wide
    for rule, dtype in combinations(backend, 1 + 2 * SIDES.index(side)):
        check_steps(make(*shape, side, rule, dtype, backend=backend), backend, steps=1)


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", UNITS, ids=ids(UNITS))
def test_matrix_units(shape, side, rule, monkeypatch):
    """The bfloat16 products of machines with matrix units, which torch emulates elsewhere."""
    monkeypatch.setattr(products, "has_bf16_units", lambda: True)
    check_steps(make(*shape, side, rule, torch.bfloat16), "cpu", steps=2)


@pytest.mark.parametrize("layouts", PAIRS_OF_LAYOUTS, ids="-".join)
@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", SIDES)
def test_strided(backend, side, rule, layouts, guard):
    """Views as parameters and gradients, with guard bands around and between their rows."""
    kernels = backend
    if backend != "reference" and "strided" in layouts:
        kernels = None  # no unit stride: the registry falls back, see test_registry
    dtypes = list(DTYPES.values())
    if is_simulated(backend):  # both over the pairs of layouts
        dtypes = [dtypes[PAIRS_OF_LAYOUTS.index(layouts) % 2]]
    for dtype in dtypes:
        problem = make(19, 45, 4, side, rule, dtype, count=2, backend=backend)
        problem = problem.mapped(lambda t: guard.view(t, layouts[0]), ("params",))
        problem = problem.mapped(lambda t: guard.view(t, layouts[1]), ("grads",))
        problem = problem.mapped(guard.view, ("bases", "bases_right", *WRITTEN[1:]))
        check_steps(problem, kernels, steps=1)


@pytest.mark.parametrize("shape", [(8, 12, 2), (150, 160, 130)], ids=["small", "torch"])
@pytest.mark.parametrize("side", SIDES)
def test_transposed_bases(backend, side, shape):
    """A basis may be any view of its dtype: only shapes are in the contract."""
    problem = make(*shape, side, "fira", count=2, backend=backend)
    problem = problem.mapped(lambda t: t.T.contiguous().T, ("bases", "bases_right"))
    check_steps(problem, backend, steps=1 if is_simulated(backend) else 3)


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", SIDES)
def test_mixed_layouts_in_one_list(backend, side, rule, guard):
    problem = make(20, 31, 3, side, rule, count=3, backend=backend)
    views = zip(problem.params, ("contiguous", "transposed", "offset"), strict=True)
    problem.params = [guard.view(t, layout) for t, layout in views]
    check_steps(problem, backend, steps=1 if is_simulated(backend) else 3)


@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_expanded_gradient(backend, rule):
    """The gradient of a sum is one row seen m times."""
    problem = make(9, 33, 2, "right", rule, backend=backend)
    problem.grads = [problem.grads[0][:1].clone().expand(9, 33)]
    check_steps(problem, backend, steps=1, growth=1)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_float64(rule, side):
    """float64 weights are stepped in float64 (by the reference; see the property tests)."""
    problem = make(11, 14, 3, side, rule, torch.float64)
    truth = problem.clone()
    problem.step(None)
    truth.step("reference")
    compare(problem, truth, truth)


def test_moments_in_the_dtype_of_the_weights():
    """states="reference": M and V stored in bfloat16, arithmetic in float32."""
    problem = make(24, 40, 4, "left", "fira", torch.bfloat16, moment_dtype=torch.bfloat16)
    check_steps(problem, "reference")


def test_empty_list(backend):
    lowrank_adam_([], [], [], [], [], [], [], lr=0.1, backend=backend)


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize(("m", "n", "side"), [(6, 0, "left"), (0, 6, "right")])
def test_matrix_without_elements(backend, m, n, side, rule):
    """Zero columns (rows) beside a basis: a step of nothing."""
    problem = make(6, 6, 2, side, rule, backend=backend)
    zeros = functools.partial(torch.zeros, device=device_of(backend))
    shape = (2, 0) if side == "left" else (0, 2)
    problem.params, problem.grads = [zeros(m, n)], [zeros(m, n)]
    problem.exp_avgs, problem.exp_avg_sqs = [zeros(shape)], [zeros(shape)]
    problem.step(backend)
    assert problem.steps[0] == 1
    assert problem.skipped[0] == 0


@pytest.mark.parametrize("granularity", ["column", "matrix"])
@pytest.mark.parametrize("side", SIDES)
def test_limiter_fires(backend, side, granularity):
    """Growing gradients: the stored norm may grow by gamma a step, no more."""
    problem = make(40, 66, 6, side, "fira", seed=3, backend=backend)
    norms = []
    for _ in range(7):
        check_steps(problem, backend, steps=1, growth=4.0, granularity=granularity)
        norms.append(problem.limiters[0].item())
    assert norms[0] > 0
    ratios = [b / a for a, b in itertools.pairwise(norms)]
    assert max(ratios) <= 1.01 * (1 + 1e-5), ratios
    assert sum(abs(ratio - 1.01) < 1e-5 for ratio in ratios) >= 2, f"never fired: {ratios}"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
def test_zero_gradient(backend, side, rule, warm):
    """No NaN, no limiter from nothing: weights only decay on a first step."""
    options = dict(RULES[rule])
    problem = make(12, 20, 3, side, options.pop("rule"), backend=backend)
    if warm:
        problem.step(backend, **options)
    before = problem.clone()
    problem.grads[0].zero_()
    limiters = [t.clone() for t in problem.limiters]
    check_steps(problem, backend, steps=1, **options)
    assert problem.steps[0] == before.steps[0] + 1
    assert problem.skipped[0] == 0
    if not warm:
        decay = 1 - 0.5 * 0.1
        assert torch.equal(
            problem.params[0], before.params[0] * torch.tensor(decay).to(before.params[0])
        )
        assert all(torch.equal(a, b) for a, b in zip(problem.limiters, limiters, strict=True))


@pytest.mark.parametrize("granularity", ["column", "matrix"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_zero_columns(backend, side, granularity):
    """A zero R_j gives phi_j = 0, not 0 / 0: that column of the residual is left out."""
    problem = make(12, 40, 3, side, "fira", backend=backend)
    for grad in problem.grads:
        (grad if side == "left" else grad.T)[:, 1:5] = 0
    check_steps(problem, backend, steps=3, granularity=granularity, norm_eps=0.0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradient_outside_the_basis(backend, side):
    """R is exactly zero and the residual is everything: phi = 0, so nothing but decay moves W."""
    problem = make(8, 12, 2, side, "fira", backend=backend)
    k = 8 if side == "left" else 12
    problem.bases = [torch.eye(k, 2, device=device_of(backend))]
    (problem.grads[0] if side == "left" else problem.grads[0].T)[:2] = 0
    before = problem.clone()
    check_steps(problem, backend, steps=1, weight_decay=0.0)
    assert torch.equal(problem.params[0], before.params[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_residual_below_the_floor_does_not_count(backend, side):
    """Columns whose residual energy is round-off leave the limiter alone."""
    problem = make(16, 30, 4, side, "fira", backend=backend)
    W, X, P = problem.params[0], problem.grads[0], problem.bases[0]
    inside = P @ (P.T @ X) if side == "left" else (X @ P) @ P.T
    X.copy_(inside)  # nothing of X lies outside the basis but rounding
    start = W.clone()
    check_steps(problem, backend, steps=2, scale=1.0)
    assert problem.limiters[0] == 0
    assert not torch.equal(W, start)


@pytest.mark.parametrize("side", SIDES)
def test_basis_of_the_whole_space(backend, side):
    """rank = k and alpha = 1: the residual is round-off, W moves as under GaLore, prev stays."""
    before, galore = (
        make(24, 24, 24, side, rule, seed=2, backend=backend) for rule in ("fira", "galore")
    )
    before.limiters[0].fill_(3.0)
    fira = before.clone()
    for problem in (fira, galore):
        problem.step(backend, scale=1.0)
    galore.rule, galore.limiters = "fira", before.limiters
    compare(fira, galore.double(), before, "reference")
    assert fira.limiters[0] == 3.0


def bits(problem):
    return {name: [t.clone() for t in getattr(problem, name)] for name in (*WRITTEN, *READ)}


def assert_same_bits(a, b, message):
    for name, tensors in a.items():
        for i, (x, y) in enumerate(zip(tensors, b[name], strict=True)):
            same = torch.equal(torch.nan_to_num(x, 7.5e11), torch.nan_to_num(y, 7.5e11))
            assert same, f"{message}: {name}[{i}]"


# The last one makes a list longer than one chunk of the CPU backend.
@pytest.mark.parametrize("shape", [(5, 3, 1), (65, 130, 7), (150, 1801, 140)], ids=str)
@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", SIDES)
def test_list_equals_one_at_a_time(backend, side, rule, shape):
    m, n, rank = shape
    if side != "left" or is_simulated(backend):
        n = min(n, 181)  # the projected gradient of the other sides is small anyway
    rank = min(rank, {"left": m, "right": n, "full": min(m, n)}[side])
    count = 2 if is_simulated(backend) else 6
    rank = min(rank, 20) if is_simulated(backend) else rank
    for dtype in DTYPES.values():
        together = make(m, n, rank, side, rule, dtype, count=count, backend=backend)
        alone = together.clone()
        together.step(backend)
        for i in range(count):
            alone.part(slice(i, i + 1)).step(backend)
        assert_same_bits(bits(together), bits(alone), "the list changed a result")


@pytest.mark.parametrize("rule", ["galore", "fira", "fira_matrix"])
@pytest.mark.parametrize("side", SIDES)
def test_one_bad_member(backend, side, rule):
    """A non-finite gradient skips its own matrix and changes no other one's result."""
    options = dict(RULES[rule])
    rule = options.pop("rule")
    cases = list(itertools.product(DTYPES.values(), (math.nan, math.inf, -math.inf)))
    for dtype, poison in cases[:: 3 if is_simulated(backend) else 1]:
        problem = make(21, 34, 3, side, rule, dtype, count=3, backend=backend)
        clean = problem.clone()
        problem.grads[1][20, 0] = poison
        before = problem.clone()
        problem.step(backend, **options)
        clean.step(backend, **options)
        for i in (0, 2):
            one = slice(i, i + 1)
            got, expected = problem.part(one), clean.part(one)
            assert_same_bits(bits(got), bits(expected), f"matrix {i} of a list with a bad one")
        skipped = bits(problem.part(slice(1, 2)))
        untouched = bits(before.part(slice(1, 2)))
        assert skipped.pop("skipped")[0] == 1
        assert untouched.pop("skipped")[0] == 0
        assert_same_bits(skipped, untouched, "the bad matrix")


@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_nonfinite_spreads_when_asked(backend, rule):
    problem = make(21, 34, 3, "left", rule, count=2, backend=backend)
    problem.grads[1][4, 5] = math.nan
    problem.step(backend, skip_nonfinite=False)
    assert problem.params[0].isfinite().all()
    assert problem.params[1][:, 5].isnan().all()
    assert problem.steps[1] == 1
    assert problem.skipped[1] == 0


def test_version_counters(backend):
    problem = make(10, 12, 2, "left", "fira", count=2, backend=backend)
    before = {name: [t._version for t in tensors] for name, tensors in problem.lists.items()}
    problem.step(backend)
    for name, tensors in problem.lists.items():
        for i, t in enumerate(tensors):
            bumped = t._version > before[name][i]
            assert bumped == (name in WRITTEN), f"{name}[{i}]: version {t._version}"


def test_backward_notices_the_write(backend):
    """A graph that saved W raises instead of using the new values."""
    problem = make(6, 8, 2, backend=backend)
    W = problem.params[0].requires_grad_()
    loss = (W * W).sum()
    problem.step(backend)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_tensor_lr(backend):
    number, tensor = (make(10, 12, 2, backend=backend) for _ in range(2))
    number.step(backend, lr=0.125)
    tensor.step(backend, lr=torch.tensor([0.125]))
    assert_same_bits(bits(number), bits(tensor), "lr as a tensor")
