"""The layer between the harness and a GPU, run on the CPU with a stand-in for torch.cuda."""

import pytest
import torch
from sktest.fake_cuda import FakeCuda

from subkern.bench import cli, device, gpu_machine, report, runner
from subkern.bench.device import CudaDevice, Device
from subkern.bench.machine import inspect
from subkern.bench.registry import Case, Setup, Variant
from subkern.bench.timer import Effort, Timing, measure

BRIEF = Effort(rounds=4, min_rounds=4, sample_s=0.0)


@pytest.fixture
def api():
    return FakeCuda()


@pytest.fixture
def gpu(api):
    return CudaDevice(api, where="cpu", flush_bytes=4096)


def test_a_sample_is_the_time_between_its_events(api, gpu):
    spent, host = gpu.sample(lambda: api.work(3.0), 4)
    assert spent == pytest.approx(3e-3)
    assert host >= 0
    one = ["synchronize", "record", "work", "record", "wait"]
    assert api.log == 4 * one


def test_every_sample_begins_with_a_cold_cache(api, gpu):
    order = []
    cool = gpu.cool
    gpu.cool = lambda: (cool(), order.append("flush"))
    gpu.sample(lambda: order.append("call"), 2)
    assert order == ["flush", "call", "flush", "call"]


def test_measure_takes_the_devices_clock(api, gpu):
    found = measure({"a": lambda: api.work(2.0), "b": lambda: api.work(5.0)}, BRIEF, device=gpu)
    assert found["a"].median == pytest.approx(2e-3)
    assert found["b"].p80 == pytest.approx(5e-3)
    assert found["a"].calls == found["a"].samples == 4
    assert found["a"].host is not None


def test_warm_up_by_time_runs_beyond_the_calls(api, gpu):
    calls = []
    effort = Effort(rounds=1, min_rounds=1, sample_s=0.0, warm_s=0.01)
    measure({"a": lambda: calls.append(1)}, effort, warmup=0, device=gpu)
    assert len(calls) > 10


def test_a_graph_replays_what_was_captured(api, gpu):
    seen = []

    def step():
        seen.append(1)
        api.work(0.5)

    replay = gpu.capture(step)
    before, calls = api.now_ms, len(seen)
    replay()
    assert api.now_ms == before + 0.5
    assert len(seen) == calls == 2  # once beside the capture, once for it
    with pytest.raises(RuntimeError, match="capturing"):
        gpu.capture(api.read)
    assert Device().capture(step) is None


def test_transient_memory_is_the_peak_beyond_the_start(api, gpu):
    api.allocated = api.peak = 1000

    def step():
        api.work(1.0, nbytes=300)

    found = gpu.transient(step)
    assert (found.peak, found.kept, found.count, found.largest) == (300, 0, 1, None)


def _variant(api, name, milliseconds, reads=False, **more):
    def step():
        api.work(milliseconds)
        if reads:
            api.read()

    return Variant(name, step, lambda: None, **more)


def _case(variants, **more):
    setup = Setup(variants, **{k: more.pop(k) for k in ("alone", "start", "ready") if k in more})
    options = dict(name="toy", op="toy", shape="8x8", dtype="bf16", bytes=3 * 10**6, flops=0)
    return Case(**(options | more), setup=lambda quick: setup)


@pytest.fixture
def machine(gpu):
    found = inspect(1, device=gpu, peaks=False)
    rates = {"peak_gb_s": 3000.0, "peak_gflop_s_fp32": 5e4, "peak_gflop_s_bf16": 8e5}
    return type(found)(**(found.as_row() | rates))


def test_short_steps_are_timed_as_graphs_where_they_can_be(api, gpu, machine):
    variants = [
        _variant(api, "subkern", 0.05),
        _variant(api, "reads", 0.5, reads=True),
        _variant(api, "official", 0.2, capturable=False),
    ]
    rows = {r.variant: r for r in runner.run_case(_case(variants), machine, device=gpu)}
    assert rows["subkern"].plain_ms == pytest.approx(0.05)
    assert rows["subkern"].median_ms == pytest.approx(0.05)
    assert rows["subkern"].host_ms is not None
    assert rows["subkern"].floor_ms == pytest.approx(1e-3)
    assert rows["subkern"].peak_share == pytest.approx(0.02)
    assert rows["reads"].plain_ms is None
    assert "not captured: RuntimeError" in rows["reads"].note
    assert rows["official"].plain_ms is None
    assert rows["official"].note == ""
    table = report.table(list(rows.values()))
    assert "host ms" in table
    assert "plain ms" in table


def test_long_steps_are_not_captured(api, gpu, machine):
    (row,) = runner.run_case(_case([_variant(api, "subkern", 2.0)]), machine, device=gpu)
    assert row.plain_ms is None
    assert "side stream" not in api.log


def test_steps_that_keep_the_host_busy_are_timed_as_graphs():
    def may_show(median, host):
        return runner._launches_may_show(Timing(median, median, median, 1, 1, host=host))

    assert not may_show(2e-3, 0.9e-3)
    assert may_show(2e-3, 1.1e-3)
    assert may_show(0.9e-4, 1e-6)
    assert not may_show(1.1e-4, None)


def test_alone_makes_one_variant_at_a_time(api, gpu, machine):
    events = []

    def make():
        for name in ("subkern", "adamw-fused"):
            events.append(f"make {name}")
            yield _variant(api, name, 1.0)

    case = _case(
        make(), alone=True, start=lambda: events.append("start"), ready=lambda: events.append("go")
    )
    rows = runner.run_case(case, machine, device=gpu)
    one = ["start", "make subkern", "go", "start", "make adamw-fused", "go"]
    assert events[:6] == one
    assert [row.variant for row in rows] == ["subkern", "adamw-fused"]
    assert rows[1].ours_speedup == pytest.approx(1.0)
    assert api.log.count("empty_cache") >= 3


def test_a_slow_call_is_made_once_and_checked_after(api, gpu, machine):
    calls = []

    def step():
        calls.append(1)
        api.work(2000.0)

    good = Variant("svd", step, lambda: None, once=True)
    bad = Variant("bad", lambda: api.work(1.0), lambda: None, once=True, confirm=lambda: "wrong")
    rows = runner.run_case(_case([good, bad]), machine, device=gpu)
    by_name = {row.variant: row for row in rows}
    assert calls == [1]
    assert by_name["svd"].median_ms == pytest.approx(2000.0)
    assert (by_name["bad"].status, by_name["bad"].note) == ("error", "wrong")
    assert len(rows) == 2


def test_without_a_gpu_the_command_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cli.main(["--device", "cuda"]) == 2
    assert "no GPU: torch" in capsys.readouterr().err
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.refusal("cuda") == "no GPU: torch.cuda finds none"


def test_peaks_are_measured_with_the_devices_clock(api, gpu):
    class Ticking(CudaDevice):
        def sample(self, function, calls):
            function()
            return 1e-3, 0.0

    ticking = Ticking(api, where="cpu", flush_bytes=4096)
    copy, fp32, bf16 = gpu_machine.gpu_peaks(ticking, megabytes=1, size=64)
    assert copy == pytest.approx(2 * 2**20 / 1e-3 / 1e9)
    assert fp32 == pytest.approx(2 * 32**3 / 1e-3 / 1e9)
    assert bf16 == pytest.approx(2 * 64**3 / 1e-3 / 1e9)


SMI = """#!/bin/sh
case "$*" in
  *driver_version*) echo 1.2.3 ;;
  -q) echo "made-up report" ;;
  *broken*) echo "no such field" >&2; exit 3 ;;
  *) echo "345 MHz, 3201 MHz" ;;
esac
"""


def test_the_drivers_words_are_kept(tmp_path, monkeypatch, gpu):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = gpu_machine.gpu_fields(gpu)
    assert found["driver"] == "1.2.3"
    assert found["clocks"].endswith("345 MHz, 3201 MHz")
    assert gpu_machine.smi("-q") == "made-up report"
    assert gpu_machine.smi("broken") == "nvidia-smi: no such field"
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_machine.smi("-q").startswith("nvidia-smi: ")
    assert gpu_machine.gpu_fields(Device()) == {}


@pytest.mark.gpu
def test_a_real_gpu_is_timed():
    gpu = device.make("cuda")
    x = torch.randn(1 << 22, device="cuda")
    found = measure({"copy": lambda: x.mul_(1.0)}, BRIEF, device=gpu)["copy"]
    assert found.median > 0
    replay = gpu.capture(lambda: x.mul_(2.0))
    before = x[:8].clone()
    replay()
    torch.testing.assert_close(x[:8], 2 * before)
    held = gpu.transient(lambda: (x * 2).sum())
    assert held.peak >= x.nbytes
