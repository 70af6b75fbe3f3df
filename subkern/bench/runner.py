"""Runs a case: verify every variant, then time those that passed."""

import gc
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial

from subkern.bench.machine import Machine
from subkern.bench.memory import Transient, transient
from subkern.bench.registry import Absent, Case, Variant
from subkern.bench.timer import Effort, Timing, amortised, measure

# Verification has called everything before, so that a call or none warms up what follows.
FULL = Effort(rounds=15, min_rounds=3, sample_s=0.02, budget_s=3.0)
REFRESH = Effort(rounds=5, min_rounds=2, sample_s=0.0, budget_s=2.0)
# Share of the best basis's energy below which an amortised time does not count.
LEAST_ENERGY = 0.99
# Seconds each, and no warm-up changes them: a sample or two say enough.
SLOW_PART = Effort(rounds=3, min_rounds=1, sample_s=0.0, budget_s=1.0)
QUICK = Effort(rounds=3, min_rounds=1, sample_s=0.002, budget_s=1.0)


@dataclass
class Row:
    """One line of the report; times in milliseconds, empty (None) where nothing was timed."""

    case: str
    op: str
    shape: str
    rank: int
    dtype: str
    variant: str
    kind: str
    backend: str
    status: str
    note: str = ""
    median_ms: float | None = None
    p20_ms: float | None = None
    p80_ms: float | None = None
    samples: int | None = None
    # How many times faster ours was than this row's variant, in the same rounds.
    ours_speedup: float | None = None
    bytes: int | None = None
    flops: int | None = None
    gb_s: float | None = None
    gflop_s: float | None = None
    peak_share: float | None = None
    transient_bytes: int | None = None
    largest_alloc_bytes: int | None = None
    energy: float | None = None
    targets: str = ""
    targets_missed: int = 0

    def as_row(self) -> dict[str, object]:
        """Columns for CSV and JSON."""
        return asdict(self)


def describe_error(error: BaseException) -> str:
    """One line: type, text and the innermost line of this project that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1] if frames else None
    where = f" ({place.name}, line {place.lineno})" if place else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{where}"


def _guarded(function: Callable[[], str | None]) -> str | None:
    """A variant that raises must not take the other variants' numbers with it."""
    try:
        return function()
    except Exception as error:
        return describe_error(error)


def _verify(variant: Variant) -> str | None:
    with variant.context():
        return variant.verify()


def _drift(variant: Variant) -> None:
    with variant.context():
        variant.drifted()


def _allocations(variant: Variant) -> Transient:
    with variant.context():
        return transient(variant.step, warmup=0)


def _inside(variant: Variant, function: Callable[[], object]) -> Callable[[], object]:
    """`function` in the variant's context, entered once per call as a user would."""
    if variant.context is nullcontext:
        return function

    def call() -> object:
        with variant.context():
            return function()

    return call


def _refreshes(variants: list[Variant], effort: Effort, threads: int, step: dict[str, Timing]):
    """Time of a step that refreshes, per variant that has one."""
    whole = {v.name: _inside(v, v.refresh) for v in variants if v.refresh and not v.refresh_parts}
    found = measure(whole, effort, threads=threads, warmup=0) if whole else {}
    for variant in variants:
        if not variant.refresh_parts:
            continue
        parts = []
        for often, part in variant.refresh_parts:
            timing = measure(
                {"part": _inside(variant, part)}, SLOW_PART, threads=threads, warmup=0
            )["part"]
            parts.append(timing.scaled(often))
        base = step[variant.name]
        found[variant.name] = Timing(
            base.median + sum(part.median for part in parts),
            base.p20 + sum(part.p20 for part in parts),
            base.p80 + sum(part.p80 for part in parts),
            min(part.samples for part in parts),
            sum(part.calls for part in parts),
        )
    return found


def _row(case: Case, variant: Variant | Absent, kind: str, status: str, note: str = "") -> Row:
    backend = variant.backend if isinstance(variant, Variant) else ""
    return Row(
        case.name, case.op, case.shape, case.rank, case.dtype, variant.name, kind, backend,
        status, note,
    )  # fmt: skip


def _timed_row(case: Case, variant: Variant, kind: str, timing: Timing, machine: Machine) -> Row:
    row = _row(case, variant, kind, "ok", variant.note)
    row.median_ms, row.p20_ms, row.p80_ms = (
        1e3 * seconds for seconds in (timing.median, timing.p20, timing.p80)
    )
    row.samples = timing.samples
    row.energy = variant.facts.get("energy")
    if kind == "step":
        row.bytes = case.bytes if variant.bytes is None else variant.bytes
        row.flops = case.flops if variant.flops is None else variant.flops
        row.gb_s = row.bytes / timing.median / 1e9
        row.gflop_s = row.flops / timing.median / 1e9
        if floor := machine.floor_s(row.bytes, row.flops, case.dtype):
            row.peak_share = floor / timing.median
    return row


def _judge(case: Case, times: dict[str, dict[str, Timing]], rows: list[Row]) -> None:
    """Fill in the ratios between ours and the others, and the verdicts on the targets."""
    for row in rows:
        ours = times[row.kind].get(case.ours)
        theirs = times[row.kind].get(row.variant)
        if ours and theirs:
            row.ours_speedup = theirs.median / ours.median
    for row in rows:
        if row.variant != case.ours:
            continue
        verdicts = []
        if row.kind == "amortised" and row.energy is not None:
            enough = row.energy >= LEAST_ENERGY
            verdict = "met" if enough else "NOT MET"
            verdicts.append(
                f"basis captures {row.energy:.4f} of the best (at least {LEAST_ENERGY}): {verdict}"
            )
            row.targets_missed += not enough
        for target in case.targets:
            baseline = times.get(target.kind, {}).get(target.baseline)
            if target.kind != row.kind:
                continue
            if baseline is None:
                verdicts.append(f"{target.kind} against {target.baseline}: not measured")
                continue
            value = target.value(times[row.kind][case.ours].median, baseline.median)
            verdicts.append(target.describe(value))
            row.targets_missed += not target.met(value)
        row.targets = "; ".join(verdicts)


def run_case(case: Case, machine: Machine, *, quick: bool = False) -> list[Row]:
    """Verify and time one case.

    Args:
        case: What to run.
        machine: Where; gives the thread count and the peaks.
        quick: Fewer samples and smaller sets: to see that it works, not for the record.

    Returns:
        Rows of every variant: "ok" with times, "error" with the reason and no time, or "absent".
    """
    effort = QUICK if quick else FULL
    gc.collect()
    try:
        setup = case.setup(quick)
    except Exception as error:
        everything = Absent("setup", "")
        return [_row(case, everything, "step", "error", describe_error(error))]
    rows: list[Row] = []
    good: list[Variant] = []
    for variant in setup.variants:
        if isinstance(variant, Absent):
            rows.append(_row(case, variant, "step", "absent", variant.reason))
            continue
        wrong = _guarded(partial(_verify, variant))
        if wrong is None:
            good.append(variant)
        else:
            rows.append(_row(case, variant, "step", "error", wrong))
    setup.ready()
    for variant in list(good):
        if (wrong := _guarded(partial(_drift, variant))) is not None:
            good.remove(variant)
            rows.append(_row(case, variant, "step", "error", wrong))
    if not good:
        return rows
    timed: list[Row] = []
    times: dict[str, dict[str, Timing]] = {}
    steps = {variant.name: _inside(variant, variant.step) for variant in good}
    times["step"] = measure(steps, effort, threads=machine.threads, warmup=1)
    for variant in good:
        row = _timed_row(case, variant, "step", times["step"][variant.name], machine)
        held = _allocations(variant)
        row.transient_bytes, row.largest_alloc_bytes = held.peak, held.largest
        timed.append(row)
    if case.gap:
        times["refresh"] = _refreshes(
            good, QUICK if quick else REFRESH, machine.threads, times["step"]
        )
        times["amortised"] = {}
        for variant in good:
            name, step = variant.name, times["step"][variant.name]
            refresh = times["refresh"].get(name)
            if refresh:
                timed.append(_timed_row(case, variant, "refresh", refresh, machine))
            elif variant.refreshless:
                refresh = step
            if refresh:
                cost = amortised(step, refresh, case.gap)
                times["amortised"][name] = cost
                timed.append(_timed_row(case, variant, "amortised", cost, machine))
    _judge(case, times, timed)
    return [*rows, *timed]


def run(
    cases: Iterable[Case], machine: Machine, *, quick: bool = False
) -> Iterator[tuple[Case, list[Row], float]]:
    """Run `cases` in order, yielding each with its rows and the seconds it took."""
    for case in cases:
        start = time.perf_counter()
        try:
            rows = run_case(case, machine, quick=quick)
        except Exception as error:
            # A variant that passed and raised later: the other cases are still worth their time.
            rows = [_row(case, Absent("timing", ""), "step", "error", describe_error(error))]
        yield case, rows, time.perf_counter() - start
