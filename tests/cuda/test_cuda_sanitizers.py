"""The kernels under the address and undefined-behaviour sanitizers, on the emulator."""

import subprocess
from pathlib import Path

from sktest import emulated_cuda, emulation

DRIVER = Path(__file__).parent / "sanitized_driver.cpp"
# Two seeds, two dtypes: adam 6 x 2 launches and 2 x 2 for one tensor too many; moments 8 x 5;
# 5 x 2 square decompositions, 4 x 3 tall or wide ones and one of 35 columns; 2 x 2 samples;
# 3 spectral steps and 2 x 2 packed ones.
LAUNCHES = 2 * 2 * (6 * 2 + 2 * 2 + 8 * 5 + 5 * 2 + 4 * 3 + 1 + 2 * 2 + 3 + 2 * 2)
# Selections and swaps, of many blocks in float32 and in bfloat16, and of one block in both.
LAUNCHES += 2 * ((3 + 5) + (2 + 4) + 2 * (1 + 2))
# The four kernels on groups of vectors, on two lengths at two alignments.
LAUNCHES += 2 * 4 * 2 * 2
# A normal operator and a solve of rows, three kernels of a plane; three widths, and many coils.
LAUNCHES += 2 * (3 * (2 + 3) + 2)


def test_driver_is_clean():
    sources = [*emulated_cuda.KERNEL_SOURCES, DRIVER]
    program = emulation.build(sources, "cuda_driver", sanitize="address,undefined")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.split() == [str(LAUNCHES)]
