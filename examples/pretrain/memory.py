"""Peak memory of this process."""

import resource
import sys
from pathlib import Path


def peak_mb():
    """Return the peak resident set in MB.

    Linux hands a child its parent's ru_maxrss, so the counter of the address space is read there.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
