"""Runs a case: verify every variant, then time those that passed."""

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice

import torch

from subkern.bench import idle
from subkern.bench.device import CPU, Device
from subkern.bench.machine import Machine
from subkern.bench.registry import Absent, Case, Variant
from subkern.bench.rows import Row, describe, judge, timed, untimed
from subkern.bench.targets import Times
from subkern.bench.timer import Effort, Timing, amortised, measure


@dataclass(frozen=True)
class Plan:
    """How long to measure steps, and steps that refresh."""

    step: Effort
    refresh: Effort


# No warm-up changes calls of seconds: a sample or two say enough.
SLOW_PART = Effort(rounds=3, min_rounds=1, sample_s=0.0, budget_s=1.0)
ONCE = Effort(rounds=1, min_rounds=1, sample_s=0.0)
# Verification has called everything before, so that a call or none warms up what follows.
_QUICK = Effort(rounds=3, min_rounds=1, sample_s=0.002, budget_s=1.0)
PLANS = {
    "cpu": Plan(
        Effort(rounds=15, min_rounds=3, sample_s=0.02, budget_s=3.0),
        Effort(rounds=5, min_rounds=2, sample_s=0.0, budget_s=2.0),
    ),
    # A call per sample: each must find a cold cache.
    "cuda": Plan(
        Effort(rounds=30, min_rounds=5, sample_s=0.0, budget_s=1.5, warm_s=0.05),
        Effort(rounds=5, min_rounds=2, sample_s=0.0, budget_s=1.5),
    ),
}
QUICK = {"cpu": Plan(_QUICK, _QUICK), "cuda": Plan(replace(_QUICK, sample_s=0.0), _QUICK)}
# Where launches from Python may be what is timed, replays of a graph are timed as well: below this,
# or where the host is busy for a large share of the step.
GRAPH_BELOW_S = 100e-6
HOST_SHARE = 0.5
# How often a case is timed at most where others disturb it.
ATTEMPTS = 3


def describe_error(error: BaseException) -> str:
    """One line: type, text and the innermost line of this project that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1] if frames else None
    where = f" ({place.name}, line {place.lineno})" if place else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{where}"


def _guarded(variant: Variant, function: Callable[[], object]) -> str | None:
    """A variant that raises must not take the other variants' numbers with it."""
    try:
        with _threads(variant), variant.context():
            wrong = function()
        return wrong if isinstance(wrong, str) else None
    except Exception as error:
        return describe_error(error)


@contextmanager
def _threads(variant: Variant) -> Iterator[None]:
    """The variant's own thread count, where it has one."""
    if variant.threads is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(variant.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _inside(variant: Variant, function: Callable[[], object]) -> Callable[[], object]:
    """`function` in the variant's context, entered once per call as a user would."""
    if variant.context is nullcontext and variant.threads is None:
        return function

    def call() -> object:
        with _threads(variant), variant.context():
            return function()

    return call


@dataclass
class _Run:
    """A case at work: what it runs on, and what was found so far."""

    case: Case
    machine: Machine
    device: Device
    plan: Plan
    rows: list[Row] = field(default_factory=list)
    timed: list[Row] = field(default_factory=list)
    times: dict[str, dict[str, Timing]] = field(default_factory=dict)

    def measure(self, calls: dict[str, Callable], effort: Effort, warmup: int = 0):
        """`measure` on this run's device and threads; of nothing, nothing."""
        if not calls:
            return {}
        threads = self.machine.threads
        return measure(calls, effort, threads=threads, warmup=warmup, device=self.device)

    def keep(self, variant: Variant, kind: str, timing: Timing) -> Row:
        """Note a timing."""
        row = timed(self.case, variant, kind, timing, self.machine)
        self.times.setdefault(kind, {})[variant.name] = timing
        self.timed.append(row)
        return row

    def without(self, variants: list[Variant], check: Callable[[Variant], Callable]) -> None:
        """Run a check of each variant; one that fails gets an error row and leaves the list."""
        for variant in list(variants):
            if (wrong := _guarded(variant, check(variant))) is not None:
                variants.remove(variant)
                self.rows.append(untimed(self.case, variant, "error", wrong))


def _launches_may_show(timing: Timing) -> bool:
    return timing.median < max(GRAPH_BELOW_S, (timing.host or 0.0) / HOST_SHARE)


def _replays(run: _Run, variants: list[Variant], plain: dict[str, Timing]) -> dict[str, Timing]:
    """Times of captured steps, for those that can be; without the launches from Python."""
    candidates = [variant for variant in variants if variant.capturable]
    if not any(_launches_may_show(plain[variant.name]) for variant in candidates):
        return {}
    graphs: dict[str, Callable[[], object]] = {}
    for variant in candidates:
        try:
            with variant.context():
                replay = run.device.capture(variant.step)
        except Exception as error:
            variant.note = f"{variant.note}; not captured: {describe_error(error)}".lstrip("; ")
            continue
        if replay is not None:
            graphs[variant.name] = replay
    return run.measure(graphs, run.plan.step, warmup=1)


def _steps(run: _Run, variants: list[Variant]) -> None:
    """Time the steps, then measure what they allocate."""
    fast = [variant for variant in variants if not variant.once]
    plain = run.measure({v.name: _inside(v, v.step) for v in fast}, run.plan.step, warmup=1)
    replayed = _replays(run, fast, plain)
    for variant in variants:
        if variant.once:
            call = _inside(variant, variant.step)
            run.keep(variant, "step", run.measure({"once": call}, ONCE)["once"])
            continue
        timing = plain[variant.name]
        if graph := replayed.get(variant.name):
            row = run.keep(variant, "step", replace(graph, host=timing.host))
            row.plain_ms = 1e3 * timing.median
        else:
            row = run.keep(variant, "step", timing)
        with _threads(variant), variant.context():
            held = run.device.transient(variant.step)
        row.transient_bytes, row.largest_alloc_bytes = held.peak, held.largest


def _refreshes(run: _Run, variants: list[Variant]) -> dict[str, Timing]:
    """Time of a step that refreshes, per variant that has one."""
    whole = {v.name: _inside(v, v.refresh) for v in variants if v.refresh and not v.refresh_parts}
    found = run.measure(whole, run.plan.refresh)
    for variant in variants:
        if not variant.refresh_parts:
            continue
        parts = []
        for often, part in variant.refresh_parts:
            timing = run.measure({"part": _inside(variant, part)}, SLOW_PART)["part"]
            parts.append(timing.scaled(often))
        base = run.times["step"][variant.name]
        found[variant.name] = Timing(
            base.median + sum(part.median for part in parts),
            base.p20 + sum(part.p20 for part in parts),
            base.p80 + sum(part.p80 for part in parts),
            min(part.samples for part in parts),
            sum(part.calls for part in parts),
        )
    return found


def _averages(run: _Run, variants: list[Variant]) -> None:
    """Refreshes, and steps averaged over a gap with one of them."""
    refreshes = _refreshes(run, variants)
    for variant in variants:
        step = run.times["step"][variant.name]
        refresh = refreshes.get(variant.name)
        if refresh:
            run.keep(variant, "refresh", refresh)
        elif variant.refreshless:
            refresh = step
        if refresh:
            run.keep(variant, "amortised", amortised(step, refresh, run.case.gap))


def _group(run: _Run, variants: list[Variant | Absent], ready: Callable[[], object]) -> None:
    """Verify and time variants that share memory."""
    for variant in variants:
        if isinstance(variant, Absent):
            run.rows.append(untimed(run.case, variant, "absent", variant.reason))
    good = [variant for variant in variants if isinstance(variant, Variant)]
    run.without(good, lambda variant: variant.verify)
    ready()
    run.without(good, lambda variant: variant.drifted)
    if not good:
        return
    _steps(run, good)
    if run.case.gap:
        _averages(run, good)
    confirmed = list(good)
    run.without(confirmed, lambda variant: variant.confirm)
    for variant in good:
        if variant not in confirmed:
            run.timed = [row for row in run.timed if row.variant != variant.name]
            for known in run.times.values():
                known.pop(variant.name, None)
    by_name = {variant.name: variant for variant in confirmed}
    for row in run.timed:
        if (measured := by_name.get(row.variant)) is not None:
            describe(row, measured)


def run_case(
    case: Case,
    machine: Machine,
    *,
    quick: bool = False,
    device: Device = CPU,
    earlier: dict[str, Times] | None = None,
) -> list[Row]:
    """Verify and time one case.

    Args:
        case: What to run.
        machine: Where; gives the thread count and the peaks.
        quick: Fewer samples and smaller sets: to see that it works, not for the record.
        device: What the case's tensors are on.
        earlier: Times of earlier cases by name; this case's are added.

    Returns:
        Rows of every variant: "ok" with times, "error" with the reason and no time, or "absent".
    """
    device.release()
    try:
        setup = case.setup(quick)
    except Exception as error:
        return [untimed(case, Absent("setup", ""), "error", describe_error(error))]
    run = _Run(case, machine, device, (QUICK if quick else PLANS)[device.type])
    pending = iter(setup.variants)
    while True:
        if setup.alone:
            setup.start()
        group = list(islice(pending, 1 if setup.alone else None))
        if not group:
            break
        _group(run, group, setup.ready)
        group.clear()
        device.release()
    earlier = {} if earlier is None else earlier
    judge(case, run.times, run.timed, machine, earlier)
    earlier[case.name] = run.times
    return [*run.rows, *run.timed]


def run(
    cases: Iterable[Case],
    machine: Machine,
    *,
    quick: bool = False,
    device: Device = CPU,
    budget_s: float | None = None,
    idle_s: float = 0.0,
) -> Iterator[tuple[Case, list[Row], float]]:
    """Run `cases` in order, yielding each with its rows and the seconds it took.

    A case that would start after `budget_s` seconds is reported as absent. With `idle_s` each case
    waits for an idle machine, that long at most, and is timed again where others came between.
    """
    earlier: dict[str, Times] = {}
    began = time.perf_counter()
    for case in cases:
        start = time.perf_counter()
        if budget_s is not None and start - began > budget_s:
            late = Absent("every variant", "")
            yield case, [untimed(case, late, "absent", f"not begun within {budget_s:g} s")], 0.0
            continue
        rows = _undisturbed(case, machine, quick, device, earlier, idle_s)
        yield case, rows, time.perf_counter() - start


def _undisturbed(
    case: Case,
    machine: Machine,
    quick: bool,
    device: Device,
    earlier: dict[str, Times],
    idle_s: float,
) -> list[Row]:
    """The rows of the attempt that others disturbed least; one attempt unless told to wait."""
    best: list[Row] = []
    least = math.inf
    for _ in range(ATTEMPTS if idle_s else 1):
        if idle_s:
            idle.wait(idle_s)
        before = idle.now()
        times: dict[str, Times] = dict(earlier)
        try:
            rows = run_case(case, machine, quick=quick, device=device, earlier=times)
        except Exception as error:
            # A variant that passed and raised later: the other cases are still worth their time.
            rows = [untimed(case, Absent("timing", ""), "error", describe_error(error))]
        share = idle.others(before, idle.now())
        for row in rows:
            row.others = None if share is None else round(share, 4)
        if (share or 0.0) < least:
            best, least = rows, share or 0.0
            earlier.update(times)
        if least <= idle.DISTURBED:
            break
    return best
