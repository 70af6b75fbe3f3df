"""The doctor: real calls, honest verdicts, exit codes."""

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

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


@pytest.mark.parametrize("name", doctor.GPU_BACKENDS)
def test_silent_fallback_of_a_gpu_backend_fails(monkeypatch, name):
    """No kernel was launched: neither Triton's count nor the CUDA module's moved."""
    module = SimpleNamespace(device_count=lambda: 1, call_counts=dict, emulated=True)
    reference = registry._table["adam", "reference"].function
    fallback = registry.Implementation("adam", name, reference, lambda **_: None)
    monkeypatch.setitem(registry._table, ("adam", name), fallback)
    with native.replace("_CUDA", module):
        call = next(c for c in doctor._backend_report(name)["calls"] if c["op"] == "adam")
        assert (call["ok"], call["detail"]) == (False, "no native entry was called")
        assert doctor.report()["modules"]["subkern._CUDA"] == "emulated on the CPU"


def in_a_process(**environment):
    """The report of a fresh process: Triton reads its variables when it is imported."""
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    run = [sys.executable, "-m", "subkern", "doctor", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, env=kept | environment)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_backends_are_off_without_a_gpu():
    code, report = in_a_process()
    assert code == 0
    assert report["cuda"]["devices"] == []
    for name in doctor.GPU_BACKENDS:
        found = entry(report, name)
        assert not found["on"]
        assert found["reason"].startswith("no CUDA device (")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_interpreted_triton_is_on():
    code, report = in_a_process(TRITON_INTERPRET="1")
    assert code == 0
    found = entry(report, "triton")
    assert found["on"]
    served = {impl.op for impl in registry.implementations() if impl.backend == "triton"}
    assert {call["op"] for call in found["calls"]} == served


@pytest.mark.gpu
@pytest.mark.parametrize("name", doctor.GPU_BACKENDS)
def test_gpu_backends_pass_their_probes(name):
    found = entry(doctor.report(), name)
    assert found["on"], found["reason"]
    assert all(call["ok"] for call in found["calls"]), found["calls"]


def test_gpus_and_versions_are_named(monkeypatch, capsys):
    found = doctor.report()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13020, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Some GPU")
    found["cuda"] = doctor._cuda_report()
    text = doctor._text(found)
    assert "CUDA of torch 13.0, driver 13.2" in text
    assert "GPU 0: Some GPU (sm_90)" in text
    assert "subkern._CUDA" in text


def test_command_line_usage_errors():
    run = [sys.executable, "-m", "subkern"]
    assert subprocess.run(run, capture_output=True).returncode == 2
    done = subprocess.run([*run, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "doctor" in done.stdout
