"""The tables of README.md and docs/benchmarks.md, from the CSV files of bench/results.

python -m subkern.bench.tables [--write]
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from subkern.bench import optimizer_table, pages, range_table, ratio_table
from subkern.bench.ratio_table import Record
from subkern.bench.report import read_csv

RESULTS = Path("bench/results")
FRONT, FULL = Path("README.md"), Path("docs/benchmarks.md")
# Sections and the files that they are made of.
FILES = {
    "optimizer": "cpu-icelake-2core.csv",
    "linalg": "cpu-linalg.csv",
    "steps": "cpu-steps.csv",
    "krylov": "cpu-krylov.csv",
    "solvers": "cpu-solvers.csv",
}


def _ratios(records: Sequence[Record]) -> list[str]:
    return [*ratio_table.lines_of(records), "", ratio_table.summary(records)]


def tables(root: Path = Path()) -> dict[tuple[Path, str], list[str]]:
    """The lines of every section, by page and marker; ``root`` is that of the checkout."""
    files = {name: read_csv(root / RESULTS / file) for name, file in FILES.items()}
    write: dict[str, Callable[[Sequence[Record]], list[str]]] = dict.fromkeys(files, _ratios)
    write["optimizer"] = optimizer_table.lines_of
    made = {(FULL, f"bench: {name}"): write[name](records) for name, records in files.items()}
    ranges = range_table.lines_of(row for records in files.values() for row in records)
    made[FRONT, "bench: ranges"] = [*ranges, "", *map(range_table.origin, files.values())]
    return made


def main(argv: Sequence[str]) -> int:
    """Print the tables, or write them into their pages."""
    parser = argparse.ArgumentParser(
        prog="python -m subkern.bench.tables", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help="into the pages of this checkout")
    options = parser.parse_args(argv)
    try:
        for (page, marker), lines in tables().items():
            if options.write:
                page.write_text(pages.replaced(page.read_text(), marker, lines))
            else:
                print(f"{page}, {marker}", *lines, "", sep="\n")
    except (OSError, ValueError) as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
