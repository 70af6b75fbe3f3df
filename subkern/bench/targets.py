"""Budgets: bounds on measured times and on their ratios, and their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from subkern.bench.timer import Timing

KINDS = ("step", "refresh", "amortised")
# The baseline that is no variant: the case's bytes and FLOPs at the machine's measured peaks.
FLOOR = "floor"
# Share of the best basis's energy below which an amortised time does not count.
LEAST_ENERGY = 0.99
# Two energies that differ by less are equal: float32 products leave that much.
ENERGY_ROUNDING = 1e-6

Times = Mapping[str, Mapping[str, Timing]]


@dataclass(frozen=True)
class Target:
    """A bound on a ratio of two measured times.

    Attributes:
        kind: "step", "refresh" or "amortised".
        baseline: The variant compared with, `FLOOR`, or several variants: the fastest of those
            that were measured.
        ratio: "over" (ours / baseline, at most the bound) or "speedup" (baseline / ours, at
            least the bound).
        bound: The number.
        case: Another case, run earlier, whose `baseline` is meant.
        variant: Whose time is bounded; that of the case's own when empty.
    """

    kind: str
    baseline: str | tuple[str, ...]
    ratio: str
    bound: float
    case: str = ""
    variant: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.ratio not in ("over", "speedup"):
            raise ValueError(f"Target: kind and ratio must be known, got {self.kind} {self.ratio}")

    @property
    def name(self) -> str:
        """The baseline in words."""
        names = self.baseline if isinstance(self.baseline, tuple) else (self.baseline,)
        return " or ".join(names) + (f" of {self.case}" if self.case else "")

    def value(self, ours: float, baseline: float) -> float:
        """The measured ratio in this target's sense."""
        return ours / baseline if self.ratio == "over" else baseline / ours

    def met(self, value: float) -> bool:
        """Whether a measured ratio is within the bound."""
        return value <= self.bound if self.ratio == "over" else value >= self.bound

    def describe(self, value: float, baseline: str = "") -> str:
        """One line for the report: ratio, bound, verdict."""
        baseline = baseline or self.name
        if self.ratio == "over":
            text = f"{self.kind} {value:.2f}x of {baseline} (at most {self.bound:g})"
        else:
            text = f"{self.kind} {value:.2f}x faster than {baseline} (at least {self.bound:g})"
        return f"{text}: {'met' if self.met(value) else 'NOT MET'}"

    def verdict(self, ours: Timing, times: Times, floor_s: float) -> tuple[str, bool]:
        """The report's line, and whether the budget was missed.

        Args:
            ours: Our time of this kind.
            times: Times by kind and variant, of this case or of the other one.
            floor_s: Roofline time of this case, 0 where unknown.
        """
        if self.baseline == FLOOR:
            found = {FLOOR: floor_s} if floor_s else {}
        else:
            names = self.baseline if isinstance(self.baseline, tuple) else (self.baseline,)
            known = times.get(self.kind, {})
            found = {name: known[name].median for name in names if name in known}
        if not found:
            return f"{self.kind} against {self.name}: not measured", False
        best = min(found, key=found.__getitem__)
        label = best + (f" of {self.case}" if self.case else "")
        if isinstance(self.baseline, tuple):
            missing = [name for name in self.baseline if name not in found]
            label += f", the fastest of {len(found)}"
            label += f" ({', '.join(missing)} not measured)" if missing else ""
        value = self.value(ours.median, found[best])
        return self.describe(value, label), not self.met(value)


@dataclass(frozen=True)
class Budget:
    """A bound on a time itself, for hardware whose rates are known.

    Attributes:
        kind: As a target's.
        seconds: At most.
        variant: As a target's.
    """

    kind: str
    seconds: float
    variant: str = ""
    ratio = "time"

    def verdict(self, ours: Timing, times: Times, floor_s: float) -> tuple[str, bool]:
        """The report's line, and whether the budget was missed."""
        del times, floor_s
        missed = ours.median > self.seconds
        words = f"{self.kind} {1e3 * ours.median:.4g} ms (budget {1e3 * self.seconds:.4g} ms)"
        return f"{words}: {'NOT MET' if missed else 'met'}", missed


def energy_verdict(energy: float) -> tuple[str, bool]:
    """The same for the energy that a basis captures."""
    enough = energy >= LEAST_ENERGY
    words = f"basis captures {energy:.4f} of the best (at least {LEAST_ENERGY})"
    return f"{words}: {'met' if enough else 'NOT MET'}", not enough


def energy_against(energy: float, peer: str, theirs: float | None) -> tuple[str, bool]:
    """The same relative to what another way's basis captures of the same matrix."""
    if theirs is None:
        return f"energy against {peer}: not measured", False
    enough = energy >= theirs - ENERGY_ROUNDING
    words = f"basis captures {energy:.5f}, {peer}'s {theirs:.5f} (no less)"
    return f"{words}: {'met' if enough else 'NOT MET'}", not enough


def count(lines: Sequence[str]) -> dict[str, int]:
    """How many verdicts say met, missed, and not measured."""
    texts = [verdict for line in lines for verdict in line.split("; ") if verdict]
    return {
        "met": sum(text.endswith(": met") for text in texts),
        "missed": sum(text.endswith(": NOT MET") for text in texts),
        "not measured": sum(text.endswith(": not measured") for text in texts),
    }
