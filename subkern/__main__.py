"""Command line: ``python -m subkern doctor`` and ``python -m subkern bench``."""

from __future__ import annotations

import sys

USAGE = """usage: python -m subkern {doctor,bench} ...

  doctor [--json]   versions, native modules, each backend on or off and why, one real call each
  bench [--list]    run the microbenchmarks (python -m subkern bench --help)
"""


def main(argv: list[str]) -> int:
    """Run one command; returns the exit code."""
    command, rest = (argv[0], argv[1:]) if argv else ("", [])
    if command == "doctor":
        from subkern.doctor import main as run
    elif command == "bench":
        from subkern.bench.cli import main as run
    else:
        asked_for_help = command in ("-h", "--help")
        print(USAGE, end="", file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    return run(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
