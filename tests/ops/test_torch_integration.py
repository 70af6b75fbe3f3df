"""The torch ops: schema and fake (opcheck), torch.compile, meta tensors."""

import pytest
import torch
from sktest.backends import device_of, refusal, simulated
from sktest.lowrank import make

import subkern
from subkern.backends import BACKENDS
from subkern.ops import adam_, lowrank_adam_, packed_adamw_

NUMBERS = dict(beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1, correct_bias=True, decay="post")
LOWRANK = dict(scale=0.25, gamma=1.01, norm_eps=1e-8, alpha_in_residual=True, granularity="column")


@pytest.fixture(params=BACKENDS)
def served(request):
    """Every backend of the package; the GPU's on CPU tensors where there is none."""
    with simulated(request.param):
        if (reason := refusal("adam", request.param)) is not None:
            pytest.skip(reason)
        yield request.param


def adam_lists(dtype=torch.float32, device="cpu"):
    big = [[torch.rand(s, dtype=dtype, device=device) for s in ((3, 5), (7,))] for _ in range(4)]
    return [*big, *([torch.zeros((), device=device) for _ in range(2)] for _ in range(2))]


def lowrank_lists(rule, side, dtype=torch.float32, backend=None):
    p = make(6, 9, 2, side, rule, dtype, count=2, backend=backend)
    state = (p.exp_avgs, p.exp_avg_sqs, p.steps, p.skipped, p.limiters, p.bases_right)
    return [p.params, p.grads, p.bases, *state]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_opcheck_adam(served, dtype):
    lists = adam_lists(dtype, device_of(served))
    lists[2:4] = [[t.float() for t in tensors] for tensors in lists[2:4]]
    options = dict(lr=torch.tensor(0.1), skip_nonfinite=True, backend=served, **NUMBERS)
    torch.library.opcheck(torch.ops.subkern.adam_.default, tuple(lists), options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_opcheck_lowrank_adam(served, rule, dtype):
    for side in ("left", "full"):
        options = dict(lr=torch.tensor(0.1), side=side, rule=rule, skip_nonfinite=True)
        options |= dict(backend=served, **NUMBERS, **LOWRANK)
        lists = tuple(lowrank_lists(rule, side, dtype, served))
        torch.library.opcheck(torch.ops.subkern.lowrank_adam_.default, lists, options)


def packed_lists(own, dtype=torch.float32, device="cpu"):
    params, grads = ([torch.rand(s, dtype=dtype, device=device) for s in ((3, 5), (7,))]
                     for _ in range(2))  # fmt: skip
    at = [torch.tensor(i, device=device) for i in ([1, 4, 14], [6, 0])]
    state = [[torch.zeros(i.shape, device=device) for i in at] for _ in range(2)]
    steps = [torch.zeros(i.shape if own else (), device=device) for i in at]
    return [params, grads, at, *state, steps]


def scores(device="cpu"):
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).to(device)
    return x[0], x[1], x[0] > 0.3


def skip_without(op, name):
    if (reason := refusal(op, name)) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
def test_opcheck_packed_adamw(served, own, dtype):
    skip_without("packed_adamw", served)
    options = dict(lr=torch.tensor(0.1), beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1)
    lists = tuple(packed_lists(own, dtype, device_of(served)))
    torch.library.opcheck(
        torch.ops.subkern.packed_adamw_.default, lists, dict(**options, backend=served)
    )


@pytest.mark.parametrize("magnitude", [False, True])
def test_opcheck_kth_largest(served, magnitude):
    skip_without("kth_largest", served)
    options = dict(k=7, magnitude=magnitude, backend=served)
    x, _, _ = scores(device_of(served))
    torch.library.opcheck(torch.ops.subkern.kth_largest.default, (x,), options)


def test_opcheck_update_mask(served):
    skip_without("update_mask", served)
    options = dict(n_swap=5, backend=served)
    arguments = scores(device_of(served))
    torch.library.opcheck(torch.ops.subkern.update_mask.default, arguments, options)


def clone(lists):
    return [[t.clone() for t in tensors] for tensors in lists]


def flat(lists):
    return [t for tensors in lists for t in tensors]


def test_compile_adam(served):
    def function(*lists):
        adam_(*lists, lr=0.1, weight_decay=0.1, backend=served)
        return lists[0][0] * 2

    lists = adam_lists(device=device_of(served))
    eager = clone(lists)
    expected = function(*eager)
    got = torch.compile(function, fullgraph=True)(*lists)
    assert torch.equal(got, expected)
    for a, b in zip(flat(lists), flat(eager), strict=True):
        assert torch.equal(a, b)


def test_compile_lowrank_adam(served):
    def function(*lists):
        lowrank_adam_(*lists, lr=0.1, rule="fira", side="left", scale=0.25, backend=served)
        return lists[0][0] * 2

    lists = lowrank_lists("fira", "left", backend=served)
    eager = clone(lists)
    expected = function(*eager)
    got = torch.compile(function, fullgraph=True)(*lists)
    assert torch.equal(got, expected)
    for a, b in zip(flat(lists), flat(eager), strict=True):
        assert torch.equal(a, b)


def test_compile_packed_adamw(served):
    skip_without("packed_adamw", served)

    def function(*lists):
        packed_adamw_(*lists, lr=0.1, weight_decay=0.1, backend=served)
        return lists[0][0] * 2

    lists = packed_lists(True, device=device_of(served))
    eager = clone(lists)
    expected = function(*eager)
    got = torch.compile(function, fullgraph=True)(*lists)
    assert torch.equal(got, expected)
    for a, b in zip(flat(lists), flat(eager), strict=True):
        assert torch.equal(a, b)


def test_compile_selection(served):
    skip_without("kth_largest", served)

    def function(x):
        found = subkern.kth_largest(x, 7, magnitude=True, counts=True, backend=served)
        return x.abs() >= found.value, found.above + found.equal

    x, _, _ = scores(device_of(served))
    for got, want in zip(torch.compile(function, fullgraph=True)(x), function(x), strict=True):
        assert torch.equal(got, want)


def test_compile_update_mask(served):
    skip_without("update_mask", served)

    def function(*arguments):
        return subkern.update_mask(*arguments, 5, backend=served)

    arguments = scores(device_of(served))
    compiled = torch.compile(function, fullgraph=True)
    for got, want in zip(compiled(*arguments), function(*arguments), strict=True):
        assert torch.equal(got, want)


def test_compiled_code_honours_the_context():
    """The backend is picked when the compiled graph runs, not when it is traced."""

    @torch.compile(fullgraph=True, backend="aot_eager")
    def function(*lists):
        adam_(*lists, lr=0.1)

    function(*adam_lists(torch.float64))  # which no kernel serves
    with subkern.backend("cpu"), pytest.raises(subkern.BackendUnavailableError):
        function(*adam_lists(torch.float64))


def test_meta_tensors_pass_without_arithmetic():
    """Shapes alone: what torch.compile and a dry run on the meta device need."""
    lists = adam_lists(device="meta")
    adam_(*lists, lr=0.1)
    lists = [[t.to("meta") for t in tensors] for tensors in lowrank_lists("fira", "left")]
    lowrank_adam_(*lists, lr=0.1, rule="fira")
    lists[2] = [torch.zeros(6, 7, device="meta")] * 2
    with pytest.raises(ValueError, match="rank"):
        lowrank_adam_(*lists, lr=0.1, rule="fira")


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_vmap_maps_over_an_op():
    """By torch's fallback: wrapped tensors have no memory that a kernel could be handed."""
    A = torch.rand(3, 2, 6, 4)
    _, want, _ = subkern.svd_small(A)
    torch.testing.assert_close(torch.vmap(lambda a: subkern.svd_small(a)[1])(A), want)


def test_results_carry_no_gradient():
    A = torch.rand(6, 4, requires_grad=True)
    assert not any(t.requires_grad for t in subkern.svd_small(A))
    torch.testing.assert_close(subkern.svd_small(A)[1], subkern.svd_small(A.detach())[1])


def test_a_profiler_sees_ops():
    A = torch.rand(6, 4)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        subkern.svd_small(A)
    assert "subkern::svd_small" in {event.key for event in seen.key_averages()}
