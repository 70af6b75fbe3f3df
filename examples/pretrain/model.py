"""Llama configurations by name: the default small one, and those of the GaLore paper."""

from dataclasses import dataclass

from . import UserError


@dataclass(frozen=True)
class Preset:
    """One model size with the training shape that goes with it."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocab: int
    seq: int
    batch: int
    steps: int
    rank: int
    gap: int


def _paper(hidden, intermediate, layers, heads, rank):
    training = {"vocab": 32000, "seq": 256, "batch": 8, "steps": 1000, "gap": 200}
    return Preset(hidden, intermediate, layers, heads, rank=rank, **training)


# "tiny" is sized so that three methods train in under 5 minutes on 2 cores; its gap is 50 because
# a run of 240 steps would see a single basis change at the papers' 200. The others are the shapes
# and ranks of the GaLore paper, with a batch that fits a small machine (the paper's is 512).
PRESETS = {
    "tiny": Preset(256, 688, 4, 4, vocab=2048, seq=128, batch=8, steps=240, rank=64, gap=50),
    "60m": _paper(512, 1376, 8, 8, rank=128),
    "130m": _paper(768, 2048, 12, 12, rank=256),
    "350m": _paper(1024, 2736, 24, 16, rank=256),
    "1b": _paper(2048, 5461, 24, 32, rank=512),
}

# modules whose weight matrices the papers project; embeddings, norms and the head stay plain Adam
LOWRANK_MODULES = ("self_attn", "mlp")


def preset(name):
    """Return the preset of that name."""
    try:
        return PRESETS[name.lower()]
    except KeyError:
        raise UserError(f"model: must be one of {', '.join(PRESETS)}, got {name}") from None


def load_library():
    """Import the model library, which takes seconds and a good part of the memory."""
    from transformers import LlamaForCausalLM  # noqa: F401


def build(*, hidden, intermediate, layers, heads, vocab, seq, seed):
    """Return a fp32 LlamaForCausalLM with weights drawn from `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocab,
        max_position_embeddings=max(seq, 1024),
        rms_norm_eps=1e-6,
        initializer_range=0.02,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).float()


def loss_of(model, batch):
    """Mean next-token cross-entropy of int64 [b, seq + 1] windows."""
    import torch.nn.functional as F

    logits = model(input_ids=batch[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def divide(model):
    """Return (low-rank weights, everything else), both in the order of model.parameters()."""
    lowrank = [
        (name, p)
        for name, p in model.named_parameters()
        if p.ndim == 2 and any(part in name for part in LOWRANK_MODULES)
    ]
    chosen = {id(p) for _, p in lowrank}
    return [p for _, p in lowrank], [p for p in model.parameters() if id(p) not in chosen]
