"""The run on a GPU machine, with every part of it made up: no number here was measured."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from subkern.bench import hardware
from subkern.bench.machine import commit, inspect
from subkern.bench.rows import Row

ROOT = Path(__file__).parents[2]
XML = """<testsuites><testsuite>
<testcase classname="tests.made_up" name="test_a[triton]"/>
<testcase classname="tests.made_up" name="test_b"><failure message="wrong&#10;more"/></testcase>
<testcase classname="tests.made_up" name="test_c"><skipped message="made-up reason"/></testcase>
<testcase classname="tests.made_up" name="test_d"><error message="broken"/></testcase>
</testsuite></testsuites>"""
GOOD_XML = XML.splitlines()[0] + XML.splitlines()[1] + "</testsuite></testsuites>"


def _row(**more):
    options = dict(
        case="made-up-case", op="made-up", shape="1x1", rank=1, dtype="bf16", variant="subkern",
        kind="step", backend="cuda", status="ok", median_ms=1.0, p20_ms=1.0, p80_ms=1.0,
        targets="step 1.10x of floor (at most 1.3): met; step 1.5x of x (at most 1): NOT MET",
    )  # fmt: skip
    return Row(**(options | more)).as_row()


def _bench():
    machine = inspect(1, peaks=False).as_row() | {"device": "cuda", "gpu": "Made-up GPU"}
    machine |= {"peak_gb_s": 1.0, "peak_gflop_s_fp32": 1.0, "peak_gflop_s_bf16": 1.0}
    return {
        "machine": machine,
        "rows": [_row(), _row(variant="eager", status="absent", note="no", targets="")],
    }


def _part(work, name, code, log="", seconds=3):
    (work / f"{name}.rc").write_text(f"{code}\n")
    (work / f"{name}.log").write_text(log)
    (work / f"{name}.cmd").write_text(f"made-up {name}\n")
    (work / f"{name}.seconds").write_text(f"{seconds}\n")


@pytest.fixture
def work(tmp_path):
    """A folder as gpu.sh leaves it after a run in which everything passed."""
    for name in ("build", "tests", "bench", "small"):
        _part(tmp_path, name, 0)
    _part(tmp_path, "doctor", 0, 'a warning\n{"subkern": "made up"}\n')
    _part(tmp_path, "memcheck", 0, "== ========= ERROR SUMMARY: 0 errors\n")
    _part(tmp_path, "racecheck", 0, "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors)\n")
    (tmp_path / "tests.xml").write_text(GOOD_XML)
    (tmp_path / "bench.json").write_text(json.dumps(_bench()))
    (tmp_path / "name.txt").write_text("Made-up GPU 80GB\n")
    (tmp_path / "device.txt").write_text("made-up device report\n")
    return tmp_path


def test_a_run_in_which_everything_passed(work, tmp_path_factory, capsys):
    out = tmp_path_factory.mktemp("out")
    assert hardware.main([str(work), str(out)]) == 0
    found = json.loads((out / "made-up-gpu-80gb.json").read_text())
    assert found["green"] is True
    assert found["device_report"] == "made-up device report"
    assert (found["commit"], found["dirty"]) == commit()
    assert found["doctor"] == {"subkern": "made up"}
    assert found["budgets"]["met"] == found["budgets"]["missed"] == 1
    assert found["budgets"]["verdicts"][0].startswith("made-up-case: step 1.10x of floor")
    assert Row(**found["rows"][0]).variant == "subkern"
    page = (out / "made-up-gpu-80gb.md").read_text()
    assert page.startswith("# Made-up GPU 80GB\n")
    assert "Tests: 1 passed, 0 failed, 0 errors, 0 skipped." in page
    assert "ABSENT" in page
    assert "Budgets: 1 met, 1 missed, 0 not measured." in page
    assert "all green" in capsys.readouterr().out


def test_failures_are_named_and_the_rest_is_kept(work):
    _part(work, "tests", 1, "the end of the log")
    (work / "tests.xml").write_text(XML)
    found = hardware.assemble(work)
    assert found["green"] is False
    counts = {name: found["tests"][name] for name in ("passed", "failed", "errors", "skipped")}
    assert counts == {"passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert found["tests"]["failures"] == [
        "tests.made_up::test_b wrong", "tests.made_up::test_d broken",
    ]  # fmt: skip
    assert found["tests"]["skips"] == {"made-up reason": 1}
    assert len(found["rows"]) == 2
    assert "- failed: `tests.made_up::test_b wrong`" in hardware.markdown(found)


def test_a_run_of_no_tests_is_not_green(work):
    (work / "tests.xml").write_text("<testsuites/>")
    found = hardware.assemble(work)
    assert found["green"] is False
    assert {"failed"} == {p["status"] for p in found["parts"] if p["name"] == "tests"}


@pytest.mark.parametrize(
    ("code", "log", "status", "words"),
    [
        ("0", "========= ERROR SUMMARY: 0 errors", "passed", "ERROR SUMMARY: 0 errors"),
        ("9", "========= ERROR SUMMARY: 4 errors", "failed", "ERROR SUMMARY: 4 errors"),
        (
            "1",
            "x\n========= Error: Device not supported\n",
            "refused",
            "Error: Device not supported",
        ),
        ("127", "timeout: no tool: No such file or directory", "refused", "No such file"),
        ("1", "Traceback", "failed", "Traceback"),
        ("0", "no summary at all", "failed", "no summary"),
        ("124", "half way", "timed out", "half way"),
        ("skipped", "no time left", "skipped", "no time left"),
    ],
)
def test_what_the_sanitizer_said(tmp_path, code, log, status, words):
    _part(tmp_path, "memcheck", code, log)
    found = hardware.part(tmp_path, "memcheck")
    assert found["status"] == status
    assert words in found["detail"]


def test_parts_that_left_nothing(tmp_path):
    found = hardware.assemble(tmp_path)
    assert {entry["status"] for entry in found["parts"]} == {"missing"}
    assert (found["green"], found["rows"], found["tests"], found["doctor"]) == (False, [], {}, None)
    assert "unknown GPU" in hardware.markdown(found)


def test_logs_do_not_carry_the_folder_they_ran_in(tmp_path):
    _part(tmp_path, "build", 1, f"error in {ROOT}/setup.py\n")
    assert hardware.part(tmp_path, "build")["detail"] == "error in ./setup.py"


def test_file_names():
    assert hardware.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert hardware.slug("") == "unknown-gpu"


def test_a_copy_without_git_is_told_its_commit(tmp_path, monkeypatch):
    from subkern.bench import machine

    monkeypatch.setattr(machine, "__file__", str(tmp_path / "subkern" / "bench" / "machine.py"))
    assert machine.commit() == ("", False)
    monkeypatch.setenv("SUBKERN_COMMIT", "abc123-dirty")
    assert machine.commit() == ("abc123", True)


PYTHON = f"""#!{sys.executable}
import json, os, subprocess, sys
arguments = sys.argv[1:]
text = " ".join(arguments)
if arguments[0] == "-c":
    raise SystemExit("xdist" in text)
if "subkern.bench.hardware" in text:
    raise SystemExit(subprocess.call([sys.executable, *arguments]))
print("made-up output of", text)
if "--json" in arguments and "bench" in arguments:
    with open(arguments[arguments.index("--json") + 1], "w") as file:
        file.write(os.environ["MADE_UP_BENCH"])
if "pytest" in text:
    (xml,) = [a.partition("=")[2] for a in arguments if a.startswith("--junitxml")]
    with open(xml, "w") as file:
        file.write(os.environ["MADE_UP_XML"])
if "pip" in text:
    raise SystemExit(int(os.environ.get("MADE_UP_BUILD", "0")))
"""
SANITIZER = "#!/bin/sh\necho '========= Error: Device not supported'\nexit 1\n"


def _script(path, text):
    path.write_text(text)
    path.chmod(0o755)


def _gpu_sh(tmp_path, *arguments, **environment):
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    _script(tools / "python", PYTHON)
    _script(tools / "compute-sanitizer", SANITIZER)
    _script(tools / "nvidia-smi", "#!/bin/sh\necho Made-up GPU\n")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SUBKERN_")}
    environment = inherited | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": str(tools / "python"),
        "PYTHONPATH": str(ROOT),
        "MADE_UP_XML": GOOD_XML,
        "MADE_UP_BENCH": json.dumps(_bench()),
        **environment,
    }
    return subprocess.run(
        [ROOT / "bench" / "gpu.sh", *arguments], capture_output=True, text=True, env=environment
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="bench/gpu.sh needs bash")
@pytest.mark.parametrize("build", ["0", "1"])
def test_the_script_runs_every_part_and_writes_both_files(tmp_path, build):
    done = _gpu_sh(tmp_path, str(tmp_path / "out"), MADE_UP_BUILD=build)
    assert done.returncode == int(build), done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "made-up-gpu.json").read_text())
    status = {entry["name"]: entry["status"] for entry in found["parts"]}
    assert status.pop("build") == ("passed" if build == "0" else "failed")
    assert status.pop("memcheck") == status.pop("racecheck") == "refused"
    assert set(status.values()) == {"passed"}
    assert "Device not supported" in (tmp_path / "out" / "made-up-gpu.md").read_text()
    assert [row["variant"] for row in found["rows"]] == ["subkern", "eager"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bench/gpu.sh needs bash")
def test_the_script_stops_where_there_is_no_gpu(tmp_path):
    _script(tmp_path / "python", "#!/bin/sh\necho torch.cuda finds none >&2\nexit 1\n")
    done = _gpu_sh(tmp_path, str(tmp_path / "out"), PYTHON=str(tmp_path / "python"))
    assert done.returncode == 2
    assert done.stderr == "bench/gpu.sh: no GPU: torch.cuda finds none\n"
    assert not (tmp_path / "out").exists()
    assert _gpu_sh(tmp_path, "--seconds", "soon").returncode == 2
    assert "--seconds" in _gpu_sh(tmp_path, "--help").stdout


def test_small_calls_find_a_wrong_backend(monkeypatch, capsys):
    sys.path.insert(0, str(ROOT / "bench"))
    import small_calls

    sys.path.pop(0)
    assert small_calls.main(["--device", "cpu", "--backends", "cpu", "reference"]) == 0
    assert "100 calls served, 0 wrong" in capsys.readouterr().out
    right = small_calls.adam_

    def wrong(W, *rest, backend, **options):
        right(W, *rest, backend=backend, **options)
        if backend == "cpu":
            W[0].mul_(3.0)

    monkeypatch.setattr(small_calls, "adam_", wrong)
    assert small_calls.main(["--device", "cpu", "--backends", "cpu"]) == 1
    assert "WRONG" in capsys.readouterr().out
