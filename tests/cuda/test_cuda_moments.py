"""The moments kernels: values on every rule and side; every result on five schedules."""

import math
from dataclasses import replace

import pytest
import torch
from moments_cases import STATE, Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# rule, canonical axis, options
KINDS = {
    "galore": (False, 1, {}),
    "columns": (True, 1, {}),
    "rows": (True, 0, {}),
    "columns_matrix": (True, 1, {"matrix_norm": True}),
    "rows_matrix": (True, 0, {"matrix_norm": True}),
}
# Around a quad (4), a strip and a warp (32), a run (128), a block of rows (32), 64 row groups.
SHAPES = [(1, 1), (1, 37), (2, 8), (3, 40), (5, 127), (8, 64), (33, 129), (70, 33), (130, 260)]
SHAPES += [(17, 1301)]
kinds = pytest.mark.parametrize("kind", KINDS)
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def make(kind, rows, cols, **fields):
    """A case; of the shape turned round where rows are the canonical columns."""
    fira, axis, options = KINDS[kind]
    rows, cols = (rows, cols) if axis else (cols, rows)
    options = options | fields.pop("options", {})
    return Case(rows, cols, axis=axis, fira=fira, options=options, **fields)


def step(kernels, case, **changes):
    """(before, after) of one step; the same on every schedule."""
    before, after = case.inputs(kernels.device), {}

    def once():
        nonlocal after
        after = case.inputs(kernels.device)
        return case.run(kernels, after, **changes)

    kernels.same_on_every_seed(once)
    return before, after


@dtypes
@kinds
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "{}x{}".format(*s))
def test_against_truth(kernels, shape, slices, kind, dtype):
    case = make(kind, *shape, slices=slices, square_slices=4 - slices, dtype=dtype, count=2)
    before, after = step(kernels, case)
    case.check(after, before)


@kinds
def test_rank_one(kernels, kind):
    for rows, cols in ((1, 300), (1, 5), (1, 64)):
        case = make(kind, rows, cols)
        before, after = step(kernels, case)
        case.check(after, before)


@kinds
@pytest.mark.parametrize(
    "options",
    [
        dict(post_decay=False, norm_eps=0.05),
        dict(correct_bias=False, residual_scale=1.0),
        dict(beta1=0.0, beta2=0.0),
        dict(weight_decay=0.0, skip_nonfinite=False, gamma=1.5),
    ],
    ids=lambda o: "-".join(o),
)
def test_options(kernels, kind, options):
    case = make(kind, 20, 50, options=options, previous=1e-3)
    made = case.inputs(kernels.device)
    case.run(kernels, made)
    case.check(made, case.inputs(kernels.device))


@dtypes
def test_columns_of_the_gradient(kernels, dtype):
    """Two-sided: R is r x r, and ||X||^2 is a sum over the gradient's columns."""
    options = {"matrix_norm": True}
    case = Case(24, 24, columns=777, square_slices=2, options=options, dtype=dtype, count=2)
    before, after = step(kernels, case)
    case.check(after, before)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "galore"])
@pytest.mark.parametrize("previous", [1e-3, 1e6], ids=["fires", "rests"])
def test_limiter(kernels, kind, previous):
    case = make(kind, 9, 70, previous=previous)
    before, after = step(kernels, case)
    case.check(after, before)
    limit = after["scalars"][0, 2].item()
    assert limit < 0.5 if previous < 1 else limit == 1


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "galore"])
def test_no_projection_no_phi(kernels, kind):
    """R = 0: phi is zero, not 0 / 0, even without epsilons; N is what the moments say."""
    case = make(kind, 8, 40, options=dict(norm_eps=0.0))
    before, after = case.inputs(kernels.device), case.inputs(kernels.device)
    for made in (before, after):
        made["partials"].zero_()
    case.run(kernels, after)
    case.check(after, before)
    phi = after["phi"] if not case.options.get("matrix_norm") else after["phi"][:, :1]
    assert (phi == 0).all()
    assert after["limiter"][0] == 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "galore"])
def test_residual_energy_below_the_floor(kernels, kind):
    """Round-off left of X does not reach the limiter."""
    case = make(kind, 16, 48, options=dict(residual_scale=1.0))
    made = case.inputs(kernels.device)
    along = 1 if case.axis else 2
    energy = made["partials"][0, ..., : case.cols].square().sum(along)
    made["squares"][0] = energy * (1 + 1e-7)
    case.run(kernels, made)
    assert made["limiter"][0] == 0
    assert made["scalars"][0, 2] == 1


@dtypes
@kinds
def test_alignment_does_not_change_a_bit(kernels, kind, dtype):
    """Moments at odd addresses go element by element, in the same order of sums."""
    aligned = make(kind, 70, 132, dtype=dtype, slices=2)
    expected = aligned.run(kernels, aligned.inputs(kernels.device))
    for offset in (1, 2, 3):
        shifted = replace(aligned, offset=offset)
        made = shifted.inputs(kernels.device)
        assert made["exp_avg"][0].data_ptr() % 16 == 4 * offset
        for i, (a, b) in enumerate(zip(shifted.run(kernels, made), expected, strict=True)):
            assert torch.equal(a.nan_to_num(), b.nan_to_num()), f"result {i} at offset {offset}"


@kinds
def test_chunk_equals_one_at_a_time(kernels, kind):
    """More parameters than a launch takes; each as if it were alone."""
    count = kernels.module.moments_params_per_launch + 3
    case = make(kind, 6, 20, count=count, slices=2, square_slices=2)
    before, after = case.inputs(kernels.device), case.inputs(kernels.device)
    counted = kernels.module.call_counts()["lowrank_adam_moments"]
    case.run(kernels, after)
    assert kernels.module.call_counts()["lowrank_adam_moments"] - counted == 2
    case.check(after, before)
    for p in (0, 7, count - 4, count - 1):
        one = {name: before[name][p : p + 1] for name in (*STATE, "tile_flags", "counters")}
        one |= {name: before[name][:, p : p + 1].contiguous() for name in ("partials", "squares")}
        scratch = ("direction", "lowrank", "phi", "scalars")
        one |= {name: before[name][p : p + 1].clone() for name in scratch}
        replace(case, count=1).run(kernels, one)
        for name in (*STATE, *scratch):
            assert torch.equal(one[name][0], after[name][p]), f"{name}[{p}]"


@dtypes
@kinds
def test_skips_by_any_tile_flag(kernels, kind, dtype):
    for tile in (0, 299):
        case = make(kind, 21, 34, dtype=dtype, count=3, tiles=300, previous=2.0)
        clean, flagged = case.inputs(kernels.device), case.inputs(kernels.device)
        start = case.inputs(kernels.device)
        case.run(kernels, clean)
        flagged["tile_flags"][1, tile] = 1
        flagged["partials"][:, 1] = math.nan
        case.run(kernels, flagged)
        assert flagged["scalars"][:, 3].tolist() == [0, 1, 0]
        for name in STATE:
            assert torch.equal(flagged[name][1], start[name][1]), name
        names = (*STATE, "direction", "scalars", *(("lowrank", "phi") if case.fira else ()))
        for name in names:
            for p in (0, 2):
                assert torch.equal(flagged[name][p], clean[name][p]), f"{name}[{p}]"


@kinds
def test_nonfinite_spreads_when_asked(kernels, kind):
    case = make(kind, 6, 40, count=2, options=dict(skip_nonfinite=False))
    made, clean = case.inputs(kernels.device), case.inputs(kernels.device)
    made["tile_flags"].fill_(1)
    made["partials"][0, 1, 3, 4] = math.nan
    case.run(kernels, made)
    case.run(kernels, clean)
    assert made["scalars"][:, 3].tolist() == [0, 0]
    for name in ("exp_avg", "exp_avg_sq"):
        assert made[name][1].isnan().nonzero().tolist() == [[3, 4]], name
    assert made["direction"][1, 3, 4].isnan()
    assert torch.equal(made["direction"][0], clean["direction"][0])
    if case.fira:
        assert made["limiter"][1].isnan()


def test_rate_on_the_device(kernels):
    case = make("columns", 8, 40)
    number, read = case.inputs(kernels.device), case.inputs(kernels.device)
    rate = torch.tensor(0.125, device=kernels.device)
    expected = case.run(kernels, number, lr=0.125)
    got = case.run(kernels, read, lr=77.0, lr_address=rate.data_ptr())
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_no_parameters(kernels):
    case = Case(4, 8)
    made = case.inputs(kernels.device)
    before = kernels.module.call_counts()
    call, _sums = case.arguments(kernels, made)
    kernels.module.lowrank_adam_moments(**call | {name: [] for name in STATE})
    assert kernels.module.call_counts() == before
    assert (made["scalars"] == -77).all()
