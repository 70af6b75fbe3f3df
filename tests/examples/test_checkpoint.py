import json
import os
import shutil

import pytest
import torch
from pretrain import UserError, checkpoint, methods, train
from safetensors.torch import load_file

ALL = tuple(methods.METHODS)


class StopAfter:
    """Stands in for Ctrl-C: asks to stop once a number of steps is done."""

    def __init__(self, steps):
        self.left = steps + 1

    def __call__(self):
        self.left -= 1
        return self.left <= 0


def interrupt(config, directory, steps=5, **options):
    with pytest.raises(train.Interrupted, match=f"after step {steps}"):
        train.run(config, directory, should_stop=StopAfter(steps), **options)
    return checkpoint.latest(directory)


def interrupt_at_once(config, directory):
    with pytest.raises(train.Interrupted):
        train.run(config, directory, resume=True, should_stop=lambda: True)
    return checkpoint.latest(directory)


def leaves(value, path=""):
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, x in items for k, v in leaves(x, f"{path}/{key}").items()}
    return {path: value}


def assert_same_checkpoint(first, second):
    for a, b in (
        (load_file(first / "model.safetensors"), load_file(second / "model.safetensors")),
        (torch.load(first / "state.pt"), torch.load(second / "state.pt")),
    ):
        a, b = leaves(a), leaves(b)
        assert a.keys() == b.keys()
        for name in a:
            if name.endswith(("seconds", "_mb")):
                continue
            same = torch.equal(a[name], b[name]) if torch.is_tensor(a[name]) else a[name] == b[name]
            assert same, name


@pytest.mark.parametrize("method", ALL)
def test_resume_is_bit_identical(make_config, method, tmp_path):
    config = make_config(method)
    whole = train.run(config, tmp_path / "whole")
    assert interrupt(config, tmp_path / "parts").name == "step-000005"
    torch.manual_seed(99)  # whatever the new process did to the generator must not matter
    parts = train.run(config, tmp_path / "parts", resume=True)
    for key in ("heldout_loss", "heldout_curve", "train_curve", "state_mb", "steps"):
        assert whole[key] == parts[key], key
    assert_same_checkpoint(
        checkpoint.latest(tmp_path / "whole"), checkpoint.latest(tmp_path / "parts")
    )


@pytest.mark.parametrize("method", ["adamw", "galore", "fira"])
def test_training_lowers_the_loss(make_config, method, tmp_path):
    result = train.run(make_config(method, steps=40, lr=2e-2, gap=10), tmp_path)
    assert result["heldout_loss"] < 0.6 * result["train_curve"][0]
    assert len(result["train_curve"]) == 40
    assert result["heldout_curve"][-1] == [40, result["heldout_loss"]]


def test_a_stop_before_the_first_step_is_resumable(make_config, tmp_path):
    config = make_config("fira")
    assert interrupt(config, tmp_path, steps=0).name == "step-000000"
    assert train.run(config, tmp_path, resume=True)["steps"] == config.steps


def test_a_finished_run_resumes_to_its_result(make_config, tmp_path):
    config = make_config()
    first = train.run(config, tmp_path)
    again = train.run(config, tmp_path, resume=True)
    assert again == first


def test_a_stop_right_after_a_resume_keeps_the_checkpoint(make_config, tmp_path):
    config = make_config()
    path = interrupt(config, tmp_path)
    before = (path / "meta.json").stat().st_mtime_ns
    assert interrupt_at_once(config, tmp_path) == path
    assert (path / "meta.json").stat().st_mtime_ns == before


def test_only_the_newest_checkpoint_stays_and_a_new_run_starts_clean(make_config, tmp_path):
    config = make_config()
    train.run(config, tmp_path, save_every=2)
    assert os.listdir(tmp_path) == ["step-000012"]
    interrupt(config, tmp_path, steps=3)
    assert os.listdir(tmp_path) == ["step-000003"]


def test_a_write_cut_short_leaves_the_previous_checkpoint(make_config, tmp_path, monkeypatch):
    config = make_config("galore")
    before = interrupt(config, tmp_path)
    monkeypatch.setattr(torch, "save", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        train.run(config, tmp_path, resume=True, save_every=2)
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path) == before
    train.run(config, tmp_path, resume=True)
    assert os.listdir(tmp_path) == ["step-000012"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_file_is_a_user_error(make_config, tmp_path, name, damage):
    config = make_config("fira")
    path = interrupt(config, tmp_path) / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with pytest.raises(UserError, match="damaged") as caught:
        train.run(config, tmp_path, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"format": 99}'])
def test_damaged_description_is_a_user_error(make_config, tmp_path, content):
    config = make_config()
    (interrupt(config, tmp_path) / "meta.json").write_text(content)
    with pytest.raises(UserError, match=r"checkpoint: .*(damaged|format)"):
        train.run(config, tmp_path, resume=True)


def test_checkpoint_with_code_in_it_is_refused(make_config, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    config = make_config()
    path = interrupt(config, tmp_path / "run")
    torch.save({"step": Payload()}, path / "state.pt")
    meta = json.loads((path / "meta.json").read_text())
    meta["sha256"]["state.pt"] = checkpoint._sha256(path / "state.pt")
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="cannot be loaded"):
        train.run(config, tmp_path / "run", resume=True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.5), ("seed", 1), ("hidden", 64), ("rank", 4), ("steps", 13), ("basis", "svd")],
)
def test_other_settings_are_a_user_error_that_names_them(make_config, tmp_path, key, value):
    interrupt(make_config("galore"), tmp_path)
    with pytest.raises(UserError, match=f"other settings: {key} ") as caught:
        train.run(make_config("galore", **{key: value}), tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert checkpoint.latest(tmp_path).name == "step-000005"


def test_other_method_in_the_same_folder_is_a_user_error(make_config, tmp_path):
    path = interrupt(make_config("galore"), tmp_path / "galore")
    shutil.copytree(path, tmp_path / "fira" / path.name)
    with pytest.raises(UserError, match="method 'galore' -> 'fira'"):
        train.run(make_config("fira"), tmp_path / "fira", resume=True)
