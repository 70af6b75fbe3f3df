"""The examples of Sparse Spectral Training: what their methods do, and the full experiments."""

import copy
import itertools
import json

import pytest
import sst_spectrum
import sst_text
import sst_tree
import torch
from pretrain.lora import convert
from spectral_training import runs
from spectral_training.lora import LoRAAdamW
from torch import nn


@pytest.mark.slow
def test_text_closes_half_of_the_gap():
    """Half of what low-rank training loses to full training, on every seed."""
    results = sst_text.experiment(seeds=(0, 1))
    assert list(results) == [0, 1]
    for row in results.values():
        assert row["full"] < row["SST"] < min(row["LoRA"], row["ReLoRA"]) < 107
        assert sst_text.judged(row)["gap closed"] >= 0.50


@pytest.mark.slow
def test_tree_stays_near_dense_and_above_lora():
    """On every seed."""
    results = sst_tree.experiment()
    assert list(results) == [0, 1, 2]
    for row in results.values():
        assert sst_tree.judged(row)["below full"] <= 3.0
        assert sst_tree.judged(row)["above LoRA"] > 0.0
        assert row["full"] > 98.0


def test_lora_starts_at_the_weight_and_restarts_keep_the_function():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)), torch.randn(3, 6)
    before = model(x)
    convert(model, [""], 2)
    torch.testing.assert_close(model(x), before)
    optimizer = LoRAAdamW(model, lr=0.01, factor=4.0, restarts=3, warmup=2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.04, 0.01]
    first = model[0].weight.clone()
    for step in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if step == 1:
            assert torch.equal(model[0].weight, first)
            change = model[0].B @ model[0].A
    assert torch.linalg.matrix_rank(model[0].weight - first) == 2
    assert (model[0].weight - first - change).norm() < 0.7 * change.norm()  # and one more step
    assert not model[0].B.any()
    assert not optimizer.state[model[0].A]
    assert optimizer.state[model[0].bias]


def test_rates_after_a_restart_rise_again():
    model = nn.Sequential(nn.Linear(3, 3))
    convert(model, [""], 1)
    optimizer = LoRAAdamW(model, lr=1.0, factor=4.0, restarts=3, warmup=2)
    seen = []
    for _ in range(7):
        for group in optimizer.param_groups:
            group["lr"] = 1.0
        optimizer.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 0.5, 1, 1, 0.5]


def test_the_schedule_warms_up_and_ends_at_zero():
    p = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([p], lr=1.0)
    places = []

    def loss(step):
        places.append(p.item())
        return -p

    runs.train(optimizer, loss, steps=8, warmup=4)
    rates = [b - a for a, b in zip(places, [*places[1:], p.item()], strict=True)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[4:]))


@pytest.mark.parametrize("method", sst_text.METHODS)
def test_methods_start_from_one_model_and_train_what_is_theirs(method):
    torch.manual_seed(1)
    dense = sst_text.ByteModel(20)
    model = copy.deepcopy(dense)
    options = dict(lr=1e-2, seed=0, restarts=5, iteration_steps=5)
    optimizer = runs.prepare(method, model, 8, **options)
    windows = torch.randint(20, (4, 33), generator=torch.Generator().manual_seed(0))
    before = sst_text.loss_of(dense, windows)
    torch.testing.assert_close(sst_text.loss_of(model, windows), before)
    runs.train(optimizer, lambda _: sst_text.loss_of(model, windows), steps=12, warmup=2)
    assert sst_text.loss_of(model, windows) < 0.95 * before
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    share = trained / sum(p.numel() for p in dense.parameters())
    assert (share == 1) if method == "full" else (0.2 < share < 0.3)


def test_pairs_are_all_pairs_once_and_links_are_ancestors():
    parts = sst_tree.pairs_of(3)
    both = torch.cat(parts, dim=1)
    assert both.shape[1] == 500 * 499 // 2 == len({(a, b) for a, b in both.mT.tolist()})
    share = sum(part.shape[1] for part in parts[2:]) / both.shape[1]
    assert share == pytest.approx(0.1, abs=1e-4)
    linked = torch.zeros(500, 500, dtype=torch.bool)
    for part in (parts[0], parts[2]):
        linked[part[0], part[1]] = True
    assert bool(linked[1:, 0].all())  # the root is everyone's ancestor
    # Ancestors of one node are each other's: along a path, every pair is linked.
    for node in (17, 250, 499):
        path = linked[node].nonzero()[:, 0]
        assert bool(
            linked[path][:, path].tril(-1).eq(torch.ones(len(path), len(path)).tril(-1)).all()
        )


def test_area_counts_ordered_pairs():
    class Scores(nn.Module):
        def forward(self, scores):
            return scores

    high, low = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0, 5.0])
    # 3 is above three of four; 1 above one, and level with another.
    assert sst_tree.area(Scores(), high, low) == pytest.approx(100 * (3 + 1.5) / 8)


@pytest.mark.parametrize("script", [sst_text, sst_tree])
def test_command_prints_and_writes_what_it_found(script, tmp_path, capsys):
    def experiment(seeds, jobs):
        rows = {"full": 2.0, "LoRA": 6.0, "ReLoRA": 5.0, "SST": 3.5}
        return runs.compare(rows, lambda method, seed: rows[method] + seed, seeds, "number", jobs)

    argv = ["--seeds", "4", "7", "--jobs", "1", "--out", str(tmp_path / "x" / "y.json")]
    assert runs.main("words", argv, (0,), experiment, script.judged) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8 + 4
    assert printed[3].startswith("seed 4  SST     number   7.500")
    assert printed[-1].startswith("| 7 | 9.000 | 13.000 | 12.000 | 10.500 |")
    found = json.loads((tmp_path / "x" / "y.json").read_text())
    assert [row["seed"] for row in found] == [4, 7]
    assert found[1].items() >= script.judged(dict(full=9, LoRA=13, ReLoRA=12, SST=10.5)).items()


def test_spectra_start_alike_and_are_drawn(tmp_path, capsys):
    page, numbers = tmp_path / "sst.md", tmp_path / "numbers.json"
    page.write_text(f"before\n<!-- {sst_spectrum.MARKER} -->\n<!-- end -->\nafter\n")
    arguments = ["--steps", "6", "--jobs", "1", "--page", str(page), "--out", str(numbers)]
    assert sst_spectrum.main(arguments) == 0
    found = json.loads(numbers.read_text())
    assert list(found) == list(sst_spectrum.METHODS)
    full, low, spectral = (row["values"] for row in found.values())
    assert list(full) == list(spectral) == ["0", "1", "3", "6"]
    assert full["0"] == low["0"]
    torch.testing.assert_close(torch.tensor(spectral["0"]), torch.tensor(full["0"]))
    for values in (full, low, spectral):
        assert values["6"] != values["0"]
        assert values["6"] == sorted(values["6"], reverse=True)
    assert page.with_suffix(".png").stat().st_size > 10_000
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert sum(title in "".join(lines) for title in sst_spectrum.TITLES.values()) == 3
    assert "perplexity" in capsys.readouterr().out


def test_stable_rank():
    assert sst_spectrum.stable_rank([2.0, 2.0, 2.0]) == 3.0
    assert sst_spectrum.stable_rank([2.0, 1.0]) == 1.25


def test_the_page_has_the_table_of_its_picture():
    """Rows for every method, with numbers; the picture lies beside."""
    from subkern.bench import pages

    rows = pages.section(sst_spectrum.PAGE.read_text(), sst_spectrum.MARKER).splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [
        sst_spectrum.TITLES[method] for method in sst_spectrum.METHODS
    ]
    assert sst_spectrum.PAGE.with_suffix(".png").is_file()
