"""One line of the report, and how a timing becomes one."""

from dataclasses import asdict, dataclass

from subkern.bench.machine import Machine
from subkern.bench.registry import Absent, Case, Variant
from subkern.bench.targets import Times, energy_against, energy_verdict
from subkern.bench.timer import Timing


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
    # The roofline's time; until a call returned to the host; and, where the time is that of a
    # replayed CUDA graph, the time of a plain call.
    floor_ms: float | None = None
    host_ms: float | None = None
    plain_ms: float | None = None
    # Matrices of a call, torch's threads, errors by name, the largest as LAPACK counts it, and the
    # share of the machine that other processes took while the case was timed.
    batch: int = 1
    step_threads: int | None = None
    accuracy: str = ""
    lapack_ratio: float | None = None
    others: float | None = None

    def as_row(self) -> dict[str, object]:
        """Columns for CSV and JSON."""
        return asdict(self)


def untimed(case: Case, variant: Variant | Absent, status: str, note: str) -> Row:
    """A row that says why there is no time."""
    backend = variant.backend if isinstance(variant, Variant) else ""
    return Row(
        case.name, case.op, case.shape, case.rank, case.dtype, variant.name, "step", backend,
        status, note, batch=case.batch,
    )  # fmt: skip


def timed(case: Case, variant: Variant, kind: str, timing: Timing, machine: Machine) -> Row:
    """A row with times; steps also get rates and their share of the peaks."""
    row = untimed(case, variant, "ok", variant.note)
    row.kind = kind
    row.median_ms, row.p20_ms, row.p80_ms = (
        1e3 * seconds for seconds in (timing.median, timing.p20, timing.p80)
    )
    row.samples = timing.samples
    row.step_threads = variant.threads or machine.threads
    if machine.device != "cpu" and timing.host is not None:
        row.host_ms = 1e3 * timing.host
    if kind == "step":
        row.bytes = case.bytes if variant.bytes is None else variant.bytes
        row.flops = case.flops if variant.flops is None else variant.flops
        row.gb_s = row.bytes / timing.median / 1e9
        row.gflop_s = row.flops / timing.median / 1e9
        floor = machine.floor_s(row.bytes, row.flops, case.dtype)
        # The peaks are those of the run's own thread count.
        if floor and row.step_threads == machine.threads:
            row.floor_ms = 1e3 * floor
            row.peak_share = floor / timing.median
    return row


def describe(row: Row, variant: Variant) -> None:
    """Copy what the variant's checks measured."""
    row.energy = variant.facts.get("energy")
    row.accuracy = ", ".join(f"{name} {value:.1e}" for name, value in variant.accuracy.items())
    row.lapack_ratio = variant.lapack_ratio
    row.note = variant.note


def judge(
    case: Case, times: Times, rows: list[Row], machine: Machine, earlier: dict[str, Times]
) -> None:
    """Fill in the ratios between ours and the others, and the verdicts on the targets.

    Args:
        case: Whose targets.
        times: Times of the case by kind and variant.
        rows: Its rows with times.
        machine: Whose peaks make the floor.
        earlier: Times of the cases that ran before, by name.
    """
    for row in rows:
        ours = times[row.kind].get(case.ours)
        theirs = times[row.kind].get(row.variant)
        if ours and theirs:
            row.ours_speedup = theirs.median / ours.median
    floor = machine.floor_s(case.bytes, case.flops, case.dtype)
    energies = {row.variant: row.energy for row in rows}
    for row in rows:
        verdicts = []
        # Of a case that refreshes now and then, the average stands for the quality of its basis.
        kind = "amortised" if case.gap else "step"
        judged = row.kind == kind and row.variant == (case.energy_variant or case.ours)
        peers = case.energy_against
        if judged and row.energy is not None and peers is not None:
            verdicts += [energy_against(row.energy, p, energies.get(p)) for p in peers]
            if not peers:
                verdicts.append(energy_verdict(row.energy))
        for target in case.targets:
            if target.kind == row.kind and (target.variant or case.ours) == row.variant:
                case_of = getattr(target, "case", "")
                others = earlier.get(case_of, {}) if case_of else times
                verdicts.append(target.verdict(times[row.kind][row.variant], others, floor))
        row.targets = "; ".join(text for text, _ in verdicts)
        row.targets_missed = sum(missed for _, missed in verdicts)
