import io
import json
import math
import os
import signal
import subprocess
import sys

import pytest
from pretrain import checkpoint, cli, progress, report, worker

OPTIONS = "--seq 16 --batch 4 --vocab 300 --rank 16 --gap 5 --threads 1 --lr 0.01"
TINY = OPTIONS.split()


def command(script, text_file, out, *more):
    return [sys.executable, str(script), "--text", str(text_file), "--out", str(out), *TINY, *more]


def environment(script):
    path = os.pathsep.join(filter(None, [str(script.parents[1]), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.slow
def test_three_methods_end_to_end(script, text_file, tmp_path):
    done = subprocess.run(
        command(script, text_file, tmp_path, "--steps", "10"),
        env=environment(script), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "results.json").read_text())
    assert [r["method"] for r in saved["summary"]] == ["adamw", "galore", "fira"]
    assert saved["settings"]["steps"] == 10
    first = {r["train_curve"][0] for r in saved["runs"]}
    assert len(first) == 1  # same weights, same first batch
    for row, run in zip(saved["summary"], saved["runs"], strict=True):
        assert f"{row['heldout_loss']:.4f}" in done.stdout
        assert f"{row['state_mb']:.2f}" in done.stdout
        assert run["heldout_loss"] == row["heldout_loss"] == run["heldout_curve"][-1][1]
        assert run["heldout_loss"] < run["train_curve"][0] == run["train_curve"][0]
        assert 0 < run["start_mb"] < run["peak_mb"] < 10_000
        assert run["optimizer_ms"] > 0
        assert run["tokens_per_second"] > 0
    adamw, galore, fira = saved["summary"]
    assert galore["state_mb"] < adamw["state_mb"]
    assert adamw["over_adamw"] == 0
    assert fira["over_adamw"] == pytest.approx(fira["heldout_loss"] / adamw["heldout_loss"] - 1)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_interrupt_leaves_a_checkpoint_that_resumes(script, text_file, tmp_path):
    more = ("--methods", "fira", "--steps", "200")
    child = subprocess.Popen(
        command(script, text_file, tmp_path, *more),
        env=environment(script), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in child.stdout:
            if line.startswith("fira 1/"):
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=600)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert "--resume" in out
    assert "Traceback" not in err
    last = checkpoint.latest(tmp_path / "fira-seed0" / "checkpoints")
    step = int(last.name.removeprefix("step-"))
    assert 1 <= step < 200
    done = subprocess.run(
        command(script, text_file, tmp_path, *more, "--resume"),
        env=environment(script), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {step}" in done.stdout
    (run,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert run["steps"] == len(run["train_curve"]) == 200


def test_interrupt_in_the_last_step_still_stops_the_plan(make_config, tmp_path, monkeypatch):
    sent = []

    class Child:
        def wait(self):
            if not sent:
                raise KeyboardInterrupt
            return 0

        def send_signal(self, number):
            sent.append(number)

    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: Child())
    with pytest.raises(KeyboardInterrupt):
        worker.launch(make_config(), tmp_path, resume=False, save_every=1, threads=None)
    assert sent == [signal.SIGINT]


def fail(capsys, *argv):
    """Run the command line in this process; returns its one line of error."""
    assert cli.main([*map(str, argv)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_errors_of_use_are_one_line_and_exit_code_2(text_file, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.touch()
    out = ["--out", tmp_path / "out"]
    text = ["--text", text_file, *TINY]
    assert "must not be empty" in fail(capsys, *out, "--text", empty)
    assert "must be one of tiny" in fail(capsys, *out, *text, "--model", "huge")
    assert "must be among adamw" in fail(capsys, *out, *text, "--methods", "adam")
    assert "no checkpoint" in fail(capsys, *out, *text, "--resume")
    assert "cannot write" in fail(capsys, "--out", empty, *text)
    assert "too short" in fail(capsys, *out, *text, "--seq", "100000")


@pytest.mark.parametrize(
    "options", ["--steps 0", "--lr 0", "--lr nan", "--seeds x", "--basis qr", "--threads -1"]
)
def test_bad_options_exit_with_code_2(options, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(options.split())
    assert caught.value.code == 2
    assert options.split()[0] in capsys.readouterr().err


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(make_config, capsys):
    history = {"loss": [4.0, 2.0], "heldout": [[1, 3.5]], "seconds": 1.0, "optimizer_seconds": 0.01}
    stream = io.StringIO()
    stream.isatty = lambda: True
    for display, shows in (
        (progress.make(io.StringIO()), None),
        (progress.Lines(sys.stdout), "adamw 12/12 loss 3.000 held-out 3.500 768 tok/s opt 0.8 ms"),
        (progress.make(stream), "12/12"),
    ):
        display.note("[/] is no markup")
        display.start(make_config(), 0)
        display.update(1, history, 64)
        display.update(12, history, 64)
        display.finish()
        assert shows is None or shows in capsys.readouterr().out
    assert isinstance(display, progress.Bar)


def result(method, seed, loss):
    return {
        "method": method, "label": method.upper(), "seed": seed, "lr": 0.01, "heldout_loss": loss,
        "heldout_curve": [[1, loss]], "train_curve": [5.0, loss], "state_mb": 1.0 + seed,
        "optimizer_ms": 2.0, "tokens_per_second": 100.0, "peak_mb": 50.0, "start_mb": 40.0,
    }  # fmt: skip


def test_seeds_are_averaged_and_compared_with_adamw():
    rows = report.summarize(
        [result("adamw", 0, 4.0), result("adamw", 1, 4.2), result("fira", 0, 4.0)]
    )
    assert rows[0]["heldout_loss"] == pytest.approx(4.1)
    assert rows[0]["heldout_std"] == pytest.approx(math.sqrt(0.02))
    assert rows[0]["state_mb"] == pytest.approx(1.5)
    assert rows[1]["over_adamw"] == pytest.approx(4.0 / 4.1 - 1)
    assert report.summarize([result("fira", 0, 4.0)])[0]["over_adamw"] is None


def test_diverged_runs_are_reported_not_crashed_on(tmp_path):
    results = [result("adamw", 0, float("nan")), result("fira", 0, 4.0)]
    rows = report.summarize(results)
    report.print_table(rows)
    report.save_json(tmp_path / "r.json", settings={}, rows=rows, results=results)
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["summary"][0]["heldout_loss"] is None
    report.save_plot(tmp_path / "r.png", results)
    assert (tmp_path / "r.png").stat().st_size > 1000


def test_grid_picks_the_lowest_finite_loss(capsys):
    best = report.print_grid({"fira": {0.1: float("nan"), 0.2: 4.5, 0.3: 4.4, 0.4: 9.0}})
    assert best == {"fira": 0.3}
    assert "0.3 (best)" in capsys.readouterr().out
