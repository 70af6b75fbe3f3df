"""What a whole training step of Sparse Spectral Training costs: forward, backward, optimizer.

Beside it the published rules in plain PyTorch: the weight built from its factors, its gradient
G = dL/dW by autograd, and from that the gradients of values and sampled vectors.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from subkern.bench import sst_adamw
from subkern.bench.llama_sets import Llama
from subkern.bench.registry import Absent, Case, Setup, Variant, relative_error
from subkern.bench.variants import attempt

OP = "spectral_linear"
# Of what the first step moves: the sign of an entry's gradient may fall either way next to zero.
TOLERANCE = 1e-2
# Outputs, inputs, tokens of a step, pairs sampled.
LAYERS = ((1024, 1024, 1024, 64), (2736, 1024, 1024, 64), (1024, 1024, 8192, 64))
# The example's model, with its batch.
TINY, BATCH, SEQUENCE, TINY_RANK = Llama(256, 688, 4, 64, vocabulary=2048), 8, 128, 21

Loss = Callable[[nn.Module], Tensor]


def layer_of(m: int, n: int, tokens: int) -> tuple[nn.Module, Loss]:
    """One layer on an input that needs a gradient too, as within a model."""
    generator = torch.Generator().manual_seed(m + n)
    layer = nn.Linear(n, m, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(m, n, generator=generator) / n**0.5)
    x = torch.randn(tokens, n, generator=generator)
    dy = torch.randn(tokens, m, generator=generator) / tokens

    def loss(model: nn.Module) -> Tensor:
        kind = next(model.parameters()).dtype
        return (model(x.to(kind).requires_grad_()) * dy.to(kind)).sum()

    return layer, loss


def llama(sizes: Llama, batch: int, sequence: int) -> tuple[nn.Module, Loss]:
    """A Llama model and the next-token loss of one batch of random tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    options: dict[str, Any] = dict(vocab_size=sizes.vocabulary, hidden_size=sizes.hidden)
    options |= dict(intermediate_size=sizes.intermediate, num_hidden_layers=sizes.layers)
    options |= dict(num_attention_heads=4, attn_implementation="sdpa", use_cache=False)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**options))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, sizes.vocabulary, (batch, sequence + 1), generator=generator)

    def loss(model: nn.Module) -> Tensor:
        logits = model(input_ids=tokens[:, :-1]).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return model, loss


def spectral(name: str, layer: nn.Linear) -> bool:
    """Whether it is trained spectrally: every linear layer but a model's head."""
    return not name.endswith("lm_head")


def ours(
    model: nn.Module, loss: Loss, rank: int, compiled: bool = False
) -> tuple[Callable[[], None], Any]:
    """The step by SSTLinear and SSTAdamW; draws and decompositions fall outside."""
    from subkern.nn import convert_to_sst, sst_layers
    from subkern.optim import SSTAdamW

    model = convert_to_sst(model, spectral, rank)
    if compiled:
        model.compile()
    options: dict[str, Any] = dict(betas=(sst_adamw.BETA1, sst_adamw.BETA2), eps=sst_adamw.EPS)
    options |= dict(weight_decay=sst_adamw.DECAY, warmup_steps=sst_adamw.WARMUP)
    optimizer = SSTAdamW(model, lr=sst_adamw.LR, iteration_steps=10**9, **options)

    def step() -> None:
        loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, [layer for _, layer in sst_layers(model)]


def gradients(U: Tensor, V: Tensor, sampled: Tensor, G: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The published ones, of values and of the sampled vectors of both sides."""
    return (U.mT @ G * V.mT).sum(1), G @ V[:, sampled], G.mT @ U[:, sampled]


class Published:
    """A layer under the published rules; ``state`` is S, two sides (X, M, V) and moments of S."""

    def __init__(self, layer: nn.Linear, Uh: Tensor, S: Tensor, Vh: Tensor, sampled: Tensor):
        kind = layer.weight.dtype
        self.layer, self.sampled, self.S = layer, sampled, S.detach().to(kind, copy=True)
        self.sides = []
        for X in (Uh, Vh):
            columns = X.detach().to(kind).mT.contiguous()
            moments = [torch.zeros_like(columns[:, sampled]) for _ in range(2)]
            self.sides.append((columns, *moments))
        self.moments = [torch.zeros_like(self.S) for _ in range(2)]
        self.t = torch.zeros((), dtype=kind)

    def results(self) -> list[Tensor]:
        """S, and the sampled vectors as rows."""
        return [self.S, *(X[:, self.sampled].mT for X, *_ in self.sides)]


def published(
    weight: Tensor, G: Tensor, S: Tensor, sides: Any, sampled: Tensor, moments: Any, t: Tensor
) -> None:
    """The rules for one layer, and its weight built again."""
    (U, *of_u), (V, *of_v) = sides
    dS, dU, dV = gradients(U, V, sampled, G)
    both = [(U, dU, *of_u), (V, dV, *of_v)]
    sst_adamw.published(S, both, sampled, dS, moments[0], moments[1], t)
    weight.copy_(U * S @ V.mT)


def plain(
    model: nn.Module, loss: Loss, factors: list[Any], rule: Callable[..., None]
) -> tuple[Callable[[], None], list[Published]]:
    """The step by autograd's dense gradients and ``rule``; the rest by torch's AdamW."""
    named = [(name, x) for name, x in model.named_modules() if isinstance(x, nn.Linear)]
    found = [x for name, x in named if spectral(name, x)]
    layers = [Published(x, *f) for x, f in zip(found, factors, strict=True)]
    own = {id(layer.layer.weight) for layer in layers}
    rest = [p for p in model.parameters() if id(p) not in own]
    options: dict[str, Any] = dict(betas=(sst_adamw.BETA1, sst_adamw.BETA2), eps=sst_adamw.EPS)
    options |= dict(lr=sst_adamw.LR, weight_decay=sst_adamw.DECAY, fused=True)
    optimizer = torch.optim.AdamW(rest, **options) if rest else None

    def step() -> None:
        loss(model).backward()
        with torch.no_grad():
            for x in layers:
                x.t.add_(1)
                weight = x.layer.weight
                rule(weight, weight.grad, x.S, x.sides, x.sampled, x.moments, x.t)
        if optimizer is not None:
            optimizer.step()
        model.zero_grad()

    return step, layers


def verify(
    step: Callable[[], None],
    results: Callable[[], list[Tensor]],
    truth: list[Tensor],
    start: list[Tensor],
) -> str | None:
    """Compare the first step with the published rules in float64."""
    step()
    for i, (got, want, old) in enumerate(zip(results(), truth, start, strict=True)):
        error = relative_error(got, want, old)
        if not error <= TOLERANCE:
            return f"result {i} is off by {error:.1e} of what the step moves"
    return None


def setup(make: Callable[[], tuple[nn.Module, Loss]], rank: int, quick: bool) -> Setup:
    """Ours, the published rules, and both with the model (there the rules, too) compiled."""
    try:
        model, loss = make()
    except ImportError as error:
        return Setup([Absent("subkern", f"the model needs transformers: {error}")])
    _, layers = ours(copy.deepcopy(model), loss, rank)
    factors = [(x.Uh, x.S, x.Vh, x.sampled) for x in layers]
    start = [p.detach().clone() for x in layers for p in (x.S, x.U_sampled, x.V_sampled)]
    step, exact = plain(copy.deepcopy(model).double(), loss, factors, published)
    step()
    truth = [p for x in exact for p in x.results()]

    def fused(name: str, compiled: bool = False) -> Variant:
        step, mine = ours(copy.deepcopy(model), loss, rank, compiled)

        def results() -> list[Tensor]:
            return [p for x in mine for p in (x.S, x.U_sampled, x.V_sampled)]

        return Variant(name, step, partial(verify, step, results, truth, start), backend="cpu")

    def literal(name: str, rule: Callable[..., None], compiled: bool = False) -> Variant:
        own = copy.deepcopy(model)
        if compiled:
            own.compile()
        step, theirs = plain(own, loss, factors, rule)
        check = partial(verify, step, lambda: [p for x in theirs for p in x.results()])
        return Variant(name, step, partial(check, truth, start))

    torch._dynamo.reset()  # forgets the shapes of the case before, of which it keeps eight
    made: dict[str, Callable[[], Variant | Absent]] = {
        "subkern": partial(fused, "subkern"),
        "subkern-compiled": partial(fused, "subkern-compiled", compiled=True),
        "eager": partial(literal, "eager", published),
        "compiled": partial(
            literal, "compiled", torch.compile(published, dynamic=False), compiled=True
        ),
    }
    for name in ("subkern-compiled", "compiled") if quick else ():
        made[name] = partial(Absent, name, "left out by --quick")
    return Setup(list(attempt(made)))


def cost(m: int, n: int, tokens: int, rank: int) -> tuple[int, int]:
    """Bytes of the step (x, dy, dx, y once; the optimizer's), and FLOPs by the cheaper mode."""
    from subkern.ops.spectral_linear import merged_pays

    k = min(m, n)
    merged = m * n * (2 * k + rank + 3 * tokens)
    factored = tokens * (2 * k + rank) * (m + n)
    pays = merged_pays(tokens, m, n, k, rank, training=True)
    nbytes = 4 * 2 * tokens * (m + n) + sst_adamw.step_bytes(((m, n),), rank)
    return nbytes, 2 * (merged if pays else factored)


def cases() -> list[Case]:
    """Layers of a language model with few and many tokens, and the example's whole model."""
    found = []
    for m, n, tokens, rank in LAYERS:
        nbytes, flops = cost(m, n, tokens, rank)
        make = partial(layer_of, m, n, tokens)
        found.append(_case(f"{m}x{n}-t{tokens}", make, rank, nbytes, flops))
    tokens = BATCH * SEQUENCE
    each = [cost(m, n, tokens, TINY_RANK) for m, n in TINY.matrices().projected]
    nbytes, flops = (sum(parts) for parts in zip(*each, strict=True))
    model = partial(llama, TINY, BATCH, SEQUENCE)
    return [*found, _case("tiny", model, TINY_RANK, nbytes, flops)]


def _case(
    name: str, make: Callable[[], tuple[nn.Module, Loss]], rank: int, nbytes: int, flops: int
) -> Case:
    return Case(
        name=f"{OP}-{name}-r{rank}-fp32",
        op=OP,
        shape=name,
        dtype="fp32",
        setup=partial(setup, make, rank),
        bytes=nbytes,
        flops=flops,
        rank=rank,
    )
