"""The command line, in this process: `--malloc default` keeps it from starting another."""

import json

import pytest
import torch

from subkern.bench import cases, cli, machine
from subkern.bench.registry import Absent, Case, Setup, Variant


@pytest.fixture
def toy(monkeypatch):
    """Two cases, one of which has a wrong variant; peaks are not measured."""

    def setup(wrong, quick):
        x = torch.ones(8)
        verdict = "error 1.0" if wrong else None
        return Setup([
            Variant("subkern", lambda: x.add_(0.0), lambda: None),
            Variant("eager", lambda: x.mul_(1.0), lambda: verdict),
            Absent("official", "not installed"),
        ])  # fmt: skip

    made = [
        Case(f"toy-{name}", "toy", name, "fp32", lambda quick, w=wrong: setup(w, quick), 8, 8)
        for name, wrong in (("good", False), ("wrong", True))
    ]
    monkeypatch.setattr(cases, "all_cases", lambda quick, device: made)
    inspect = machine.inspect
    monkeypatch.setattr(cli, "inspect", lambda threads, device: inspect(threads, peaks=False))
    return made


def test_list_names_every_case(capsys):
    assert cli.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in cases.all_cases()]


def test_list_filters(capsys):
    options = ["--op", "lowrank_adam", "--shape", "1024x2736", "--dtype", "bf16", "--match", "fira"]
    assert cli.main(["--list", *options]) == 0
    assert capsys.readouterr().out.startswith("lowrank_adam-fira-1024x2736-r256-bf16")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--op", "nope"], "--op must be one of"),
        (["--shape", "3x3"], "--shape must be one of"),
        (["--match", "nope"], "must leave a case"),
        (["--dtype", "fp8"], "invalid choice"),
        (["--threads", "0"], "at least 1"),
        (["--threads", "two"], "whole number"),
        (["--csv", "/no/such/folder/a.csv"], "folder that exists"),
        (["--unknown"], "unrecognized"),
    ],
)
def test_misuse_is_exit_code_2(argv, words, capsys):
    assert cli.main(["--list", *argv]) == 2
    assert words in capsys.readouterr().err


def test_help(capsys):
    assert cli.main(["--help"]) == 0
    assert "--malloc" in capsys.readouterr().out


def test_good_run_is_exit_code_0(toy, tmp_path, capsys):
    files = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    argv = ["--quick", "--malloc", "default", "--threads", "1", "--shape", "good", *files]
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert "toy-good" in captured.out
    assert captured.err.splitlines()[-1].startswith("1/1 toy-good: verified")
    body = json.loads((tmp_path / "a.json").read_text())
    assert body["machine"]["threads"] == 1
    assert [row["status"] for row in body["rows"]] == ["absent", "ok", "ok"]
    assert (tmp_path / "a.csv").read_text().count("\n") == 4


def test_wrong_variant_is_exit_code_1(toy, capsys):
    assert cli.main(["--quick", "--malloc", "default"]) == 1
    captured = capsys.readouterr()
    assert "2/2 toy-wrong: 1 ERRORS" in captured.err
    assert "error   toy-wrong eager: error 1.0" in captured.out


def test_interrupt_reports_what_ended(toy, tmp_path, monkeypatch, capsys):
    run = cli.run

    def interrupted(cases, *arguments, **options):
        yield next(run(cases, *arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    argv = ["--quick", "--malloc", "default", "--csv", str(tmp_path / "a.csv")]
    assert cli.main(argv) == 130
    assert "toy-good" in (tmp_path / "a.csv").read_text()
    assert "interrupted" in capsys.readouterr().err


def test_tuned_malloc_runs_again_with_its_settings(toy, monkeypatch):
    seen = {}

    def execve(program, command, environment):
        seen.update(program=program, command=command, environment=environment)
        raise SystemExit(7)

    monkeypatch.setattr(cli.os, "execve", execve)
    for name in machine.TUNED_MALLOC:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match="7"):
        cli.main(["--quick", "--shape", "good"])
    assert seen["program"] == seen["command"][0]
    assert seen["command"][1:] == ["-m", "subkern.bench", "--quick", "--shape", "good"]
    assert machine.TUNED_MALLOC.items() <= seen["environment"].items()


def test_malloc_mode(monkeypatch):
    for name in machine.TUNED_MALLOC:
        monkeypatch.delenv(name, raising=False)
    assert machine.malloc_mode() == "default"
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    assert machine.malloc_mode() == "custom"
    for name, value in machine.TUNED_MALLOC.items():
        monkeypatch.setenv(name, value)
    assert machine.malloc_mode() == "tuned"


def test_machine_describes_itself():
    found = machine.inspect(1, peaks=False)
    assert found.threads == 1
    assert found.torch == torch.__version__
    assert found.cores >= 1
    assert found.floor_s(1, 1, "fp32") == 0.0


def test_floor_is_the_slower_of_traffic_and_arithmetic():
    found = machine.inspect(1, peaks=False)
    values = {"peak_gb_s": 10.0, "peak_gflop_s_fp32": 100.0, "peak_gflop_s_bf16": 50.0}
    found = machine.Machine(**(found.as_row() | values))
    assert found.floor_s(10**9, 10**9, "fp32") == pytest.approx(0.1)
    assert found.floor_s(10**8, 10**10, "bf16") == pytest.approx(0.1)
