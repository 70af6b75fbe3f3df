"""How much of the machine others use: observed from the kernel's counters, nothing is stopped."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Share of the machine that others may use before a timing counts as disturbed, and the length of
# the look that decides whether it is idle now.
DISTURBED = 0.03
LOOK_S = 1.0
# Fields of a cpu line of /proc/stat that are not work: idle, and waiting for a disk.
_IDLE_FIELDS = (3, 4)


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the start: of this process, of all of them, and what there was."""

    own: float
    all: float
    wall: float


def now(stat: Path = Path("/proc/stat")) -> Usage | None:
    """The counters; None where there are none to read."""
    try:
        fields = [int(field) for field in stat.read_text().partition("\n")[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    work = sum(value for place, value in enumerate(fields) if place not in _IDLE_FIELDS)
    mine = os.times()
    return Usage(mine.user + mine.system, work / ticks, time.perf_counter())


def others(before: Usage | None, after: Usage | None, cores: int | None = None) -> float | None:
    """Share of the machine's CPU time between the two that other processes took, 0 to 1."""
    if before is None or after is None or after.wall <= before.wall:
        return None
    foreign = (after.all - before.all) - (after.own - before.own)
    share = foreign / ((after.wall - before.wall) * (cores or os.cpu_count() or 1))
    return min(1.0, max(0.0, share))


def wait(seconds: float, look_s: float = LOOK_S) -> bool:
    """Wait until others leave the machine alone for `look_s`; False when `seconds` ran out."""
    end = time.monotonic() + seconds
    while True:
        before = now()
        time.sleep(look_s)
        share = others(before, now())
        if share is None or share <= DISTURBED:
            return True
        if time.monotonic() >= end:
            return False
