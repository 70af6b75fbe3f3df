"""The command `python -m subkern bench`."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from subkern.bench import cases as listed
from subkern.bench import device as devices
from subkern.bench import registry, report
from subkern.bench.machine import TUNED_MALLOC, Machine, inspect, malloc_mode
from subkern.bench.registry import Case
from subkern.bench.rows import Row
from subkern.bench.runner import run


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _writable(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be in a folder that exists, got {text!r}")
    return path


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="python -m subkern bench",
        description="Verify every variant of a case against fp64, then time those that passed. "
        "Exit code 1 when one did not pass.",
    )
    made.add_argument("--list", action="store_true", help="list the cases and stop")
    made.add_argument("--op", help="only these ops, e.g. lowrank_adam or svd_small,gram")
    made.add_argument("--shape", help="only this shape or set, e.g. 1024x2736 or llama-60m")
    made.add_argument("--dtype", choices=list(registry.DTYPES), help="only this dtype")
    made.add_argument("--match", metavar="TEXT", help="only cases with TEXT in their name")
    made.add_argument(
        "--quick", action="store_true", help="few samples, sets of two layers, nothing compiled"
    )
    made.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="what to time on (default cpu); each has cases of its own",
    )
    made.add_argument(
        "--budget",
        type=_positive,
        metavar="SECONDS",
        help="begin no further case after that time; those left are listed as absent",
    )
    made.add_argument(
        "--idle",
        type=_positive,
        metavar="SECONDS",
        default=0,
        help="before each case wait that long at most for an idle machine, and time a case again "
        "where other processes came between",
    )
    made.add_argument("--threads", type=_positive, help="torch threads (default: torch's own)")
    made.add_argument(
        "--malloc",
        choices=("tuned", "default"),
        default="tuned",
        help="tuned (default): run again with glibc told to keep freed memory, for all variants",
    )
    made.add_argument("--csv", type=_writable, metavar="FILE", help="write rows as CSV")
    made.add_argument("--json", type=_writable, metavar="FILE", help="write rows as JSON")
    made.add_argument("--plot", type=_writable, metavar="FILE", help="write a PNG of the rows")
    return made


def _start_again_tuned(argv: Sequence[str]) -> NoReturn:
    """Replace this process by the same command: malloc reads its settings at start only."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "subkern.bench", *argv]
    os.execve(sys.executable, command, {**os.environ, **TUNED_MALLOC})


def _print_list(cases: Sequence[Case]) -> None:
    width = max(len(case.name) for case in cases)
    for case in cases:
        print(f"{case.name:{width}}  {case.bytes / 1e6:9.1f} MB  {case.flops / 1e9:8.2f} GFLOP")


class Progress:
    """One line per case; on a terminal, the case at work is shown below them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.live = sys.stderr.isatty()
        self.done = 0
        self.announce()

    def announce(self) -> None:
        """Draw the bar, with the case that runs next."""
        if self.live and self.done < len(self.cases):
            filled = 20 * self.done // len(self.cases)
            bar = "#" * filled + "." * (20 - filled)
            name = self.cases[self.done].name
            sys.stderr.write(f"\r\x1b[K[{bar}] {self.done}/{len(self.cases)} {name}")
            sys.stderr.flush()

    def report(self, case: Case, rows: list[Row], seconds: float) -> None:
        """Print the line of a finished case."""
        self.done += 1
        if self.live:
            sys.stderr.write("\r\x1b[K")
        wrong = sum(row.status == "error" for row in rows)
        missed = sum(row.targets_missed for row in rows)
        timed = any(row.status == "ok" for row in rows)
        verdict = f"{wrong} ERRORS" if wrong else "verified" if timed else "nothing timed"
        if missed:
            verdict += f", {missed} budgets not met"
        count = f"{self.done}/{len(self.cases)}"
        print(f"{count} {case.name}: {verdict}, {seconds:.1f} s", file=sys.stderr, flush=True)
        self.announce()


def main(argv: Sequence[str]) -> int:
    """Run the command: exit code 0, 1 after a failed verification, 2 on misuse, 130 on Ctrl-C.

    Unless `--malloc default` is among the arguments or malloc is tuned already, the process is
    replaced by one that has it tuned.
    """
    try:
        options = parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        cases = registry.select(
            listed.all_cases(options.quick, options.device),
            op=options.op,
            shape=options.shape,
            dtype=options.dtype,
            match=options.match,
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if options.list:
        _print_list(cases)
        return 0
    if (reason := devices.refusal(options.device)) is not None:
        print(f"bench: --device {options.device}: {reason}", file=sys.stderr)
        return 2
    on_cpu = options.device == "cpu"
    if on_cpu and options.malloc == "tuned" and malloc_mode() != "tuned":
        _start_again_tuned(argv)
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        print("bench: --plot needs matplotlib (pip install matplotlib)", file=sys.stderr)
        return 2
    device = devices.make(options.device)
    machine = inspect(options.threads or torch.get_num_threads(), device=device)
    print(report.heading(machine), flush=True)
    rows: list[Row] = []
    code = 0
    try:
        progress = Progress(cases)
        for case, found, seconds in run(
            cases,
            machine,
            quick=options.quick,
            device=device,
            budget_s=options.budget,
            idle_s=options.idle,
        ):
            rows.extend(found)
            progress.report(case, found, seconds)
    except KeyboardInterrupt:
        print("\nbench: interrupted; the cases that ended are reported", file=sys.stderr)
        code = 130
    _report(rows, machine, options)
    return code or int(any(row.status == "error" for row in rows))


def _report(rows: list[Row], machine: Machine, options: argparse.Namespace) -> None:
    """Print the table and write the files asked for."""
    print(report.table(rows))
    for line in report.remarks(rows):
        print(line)
    if options.csv:
        report.write_csv(options.csv, rows, machine)
    if options.json:
        report.write_json(options.json, rows, machine)
    if options.plot:
        from subkern.bench.plot import save

        try:
            save(report.as_text(rows, machine), options.plot)
        except ValueError as error:
            print(error, file=sys.stderr)
