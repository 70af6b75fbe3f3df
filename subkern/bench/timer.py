"""Interleaved timing of callables that compete with each other.

Each round takes one sample of every variant, so that a change of the machine's mood (clock,
neighbours, page cache) meets all of them. `torch.utils.benchmark.Timer` warms up again on every
`timeit` call and cannot take a single sample, so samples are taken here, by the device's own clock.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from subkern.bench.device import CPU, Device


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median and the 20th and 80th percentiles of the samples.

    `host` is the median until the call returned; on a GPU the work goes on behind it.
    """

    median: float
    p20: float
    p80: float
    samples: int
    calls: int
    host: float | None = None

    def scaled(self, factor: float) -> "Timing":
        """The same timing with every duration multiplied by `factor`."""
        durations = (self.median * factor, self.p20 * factor, self.p80 * factor)
        return Timing(*durations, self.samples, self.calls)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Samples per variant when time allows.
        min_rounds: Samples per variant whatever they cost.
        sample_s: Least time of one sample; a faster call is repeated within the sample.
        budget_s: Time after which no further round starts.
        warm_s: Time for which each variant is called before its first sample, beyond the calls of
            the warm-up: a GPU's clocks take milliseconds to rise.
    """

    rounds: int = 15
    min_rounds: int = 3
    sample_s: float = 0.02
    budget_s: float = 6.0
    warm_s: float = 0.0


def percentile(samples: Sequence[float], q: float) -> float:
    """The `q`-quantile (0 to 1) of `samples`, interpolated linearly."""
    if not samples:
        raise ValueError("percentile: samples must not be empty")
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"percentile: q must be in [0, 1], got {q}")
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summarize(samples: Sequence[float], calls: int) -> Timing:
    """Median and percentiles of `samples`, each the time of one call."""
    return Timing(
        percentile(samples, 0.5),
        percentile(samples, 0.2),
        percentile(samples, 0.8),
        len(samples),
        calls,
    )


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run torch with `count` threads and without garbage collection, then restore both."""
    if count < 1:
        raise ValueError(f"fixed_threads: count must be at least 1, got {count}")
    before, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(count)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()


def _warm_up(function: Callable[[], object], calls: int, seconds: float, device: Device) -> float:
    """Call `function`; returns the time of the last of `calls` calls."""
    once = math.inf
    for _ in range(calls):
        once, _ = device.sample(function, 1)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        function()
        device.synchronize()
    return once


def measure(
    variants: Mapping[str, Callable[[], object]],
    effort: Effort | None = None,
    *,
    threads: int | None = None,
    warmup: int = 2,
    device: Device = CPU,
) -> dict[str, Timing]:
    """Time every variant in interleaved rounds.

    Args:
        variants: What to call, by name; calls must be repeatable.
        effort: How long to measure.
        threads: torch's thread count meanwhile, its current one when None.
        warmup: Calls before the first sample; the last of them decides how many fit one sample.
        device: What the calls run on: its clock is read.

    Returns:
        One `Timing` per variant, in the order given.
    """
    effort = effort or Effort()
    samples: dict[str, list[float]] = {name: [] for name in variants}
    hosts: dict[str, list[float]] = {name: [] for name in variants}
    calls: dict[str, int] = {}
    with fixed_threads(threads or torch.get_num_threads()):
        start = time.perf_counter()
        for name, function in variants.items():
            once = _warm_up(function, warmup, effort.warm_s, device)
            calls[name] = max(1, math.ceil(effort.sample_s / max(once, 1e-9)))
        for index in range(effort.rounds):
            spent = time.perf_counter() - start
            if index >= effort.min_rounds and spent > effort.budget_s:
                break
            # A rotating order: no variant always follows the same neighbour's cache.
            order = list(variants)
            shift = index % len(order)
            for name in order[shift:] + order[:shift]:
                spent, host = device.sample(variants[name], calls[name])
                samples[name].append(spent)
                hosts[name].append(host)
    return {
        name: replace(summarize(times, calls[name] * len(times)), host=percentile(hosts[name], 0.5))
        for name, times in samples.items()
    }


def amortised(step: Timing, refresh: Timing, gap: int) -> Timing:
    """Cost of a step averaged over `gap` of them, one of which refreshes the basis."""
    if gap < 1:
        raise ValueError(f"amortised: gap must be at least 1, got {gap}")

    def mean(common: float, rare: float) -> float:
        return ((gap - 1) * common + rare) / gap

    return Timing(
        mean(step.median, refresh.median),
        mean(step.p20, refresh.p20),
        mean(step.p80, refresh.p80),
        min(step.samples, refresh.samples),
        step.calls + refresh.calls,
    )
