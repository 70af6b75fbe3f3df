"""The doctor: real calls, honest verdicts, exit codes."""

import json
import subprocess
import sys

import pytest
import torch

from subkern import doctor
from subkern.backends import BACKENDS, native, registry


def entry(report, backend):
    return next(e for e in report["backends"] if e["backend"] == backend)


def test_report_covers_every_backend_and_op():
    report = doctor.report()
    assert [e["backend"] for e in report["backends"]] == list(BACKENDS)
    ops = {impl.op for impl in registry.implementations()}
    assert {c["op"] for c in entry(report, "reference")["calls"]} == ops
    assert set(doctor.PROBES) == ops
    for e in report["backends"]:
        assert e["on"] or e["reason"]


def test_healthy_machine_exits_zero_and_prints_json(capsys):
    assert doctor.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["torch"] == torch.__version__
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "every available backend works" in text
    assert "backend triton" in text


def test_wrong_result_fails(monkeypatch, capsys):
    def broken(**call):
        call["params"][0].zero_()

    impl = registry.Implementation("adam", "triton", broken, lambda **_: None)
    monkeypatch.setitem(registry._table, ("adam", "triton"), impl)
    assert doctor.main([]) == 1
    assert "FAIL adam" in capsys.readouterr().out


def test_raising_backend_fails_without_a_traceback(monkeypatch, capsys):
    def broken(**call):
        raise RuntimeError("no such instruction")

    impl = registry.Implementation("adam", "triton", broken, lambda **_: None)
    monkeypatch.setitem(registry._table, ("adam", "triton"), impl)
    assert doctor.main([]) == 1
    assert "RuntimeError: no such instruction" in capsys.readouterr().out


@pytest.mark.skipif(native.refusal() is not None, reason=str(native.refusal()))
def test_silent_fallback_of_the_cpu_backend_fails(monkeypatch, capsys):
    reference = registry._table["adam", "reference"].function
    fallback = registry.Implementation("adam", "cpu", reference, lambda **_: None)
    monkeypatch.setitem(registry._table, ("adam", "cpu"), fallback)
    assert doctor.main([]) == 1
    assert "no native entry was called" in capsys.readouterr().out


def test_command_line_usage_errors():
    run = [sys.executable, "-m", "subkern"]
    assert subprocess.run(run, capture_output=True).returncode == 2
    done = subprocess.run([*run, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "doctor" in done.stdout
