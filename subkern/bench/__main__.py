"""`python -m subkern.bench`, the same command as `python -m subkern bench`."""

import sys

from subkern.bench.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
