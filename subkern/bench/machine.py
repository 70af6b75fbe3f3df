"""What the numbers were measured on, and the peaks they are shares of."""

import datetime
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from subkern.bench.device import CPU, Device
from subkern.bench.gpu_machine import gpu_fields, gpu_peaks
from subkern.bench.timer import Effort, measure

# The parts of the CPU's flag list that decide how fast these kernels can be.
FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "amx_bf16")

# glibc gives large blocks back to the system and takes them again on each step, so that a baseline
# pays page faults rather than arithmetic; raised, these keep the memory in the process.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 27),
}


@dataclass(frozen=True)
class Machine:
    """Machine, versions and settings of one run; peaks are 0 when not measured.

    `load` is the system's load average before the run: numbers of a busy machine say little.
    """

    device: str
    cpu: str
    cores: int
    threads: int
    cpu_flags: str
    malloc: str
    python: str
    torch: str
    subkern: str
    commit: str
    dirty: bool
    date: str
    load: float
    peak_gb_s: float
    peak_gflop_s_fp32: float
    peak_gflop_s_bf16: float
    # Of a GPU; empty on a CPU.
    gpu: str = ""
    driver: str = ""
    cuda: str = ""
    triton: str = ""
    nvcc_build: str = ""
    clocks: str = ""

    @property
    def busy(self) -> bool:
        """Whether others were at work."""
        return self.load > 0.5

    def as_row(self) -> dict[str, object]:
        """Columns for CSV and JSON."""
        return asdict(self)

    def peak_gflop_s(self, dtype: str) -> float:
        """Best product rate for `dtype`; bf16 may also be computed in fp32 where that is faster."""
        if dtype == "bf16":
            return max(self.peak_gflop_s_bf16, self.peak_gflop_s_fp32)
        return self.peak_gflop_s_fp32

    def floor_s(self, nbytes: int, flops: int, dtype: str) -> float:
        """Least time for that much traffic and arithmetic at this machine's peaks."""
        if not self.peak_gb_s:
            return 0.0
        return max(nbytes / self.peak_gb_s, flops / self.peak_gflop_s(dtype)) / 1e9


def malloc_mode() -> str:
    """Whether glibc was told to keep freed memory ("tuned"), or left alone ("default")."""
    given = {name: os.environ.get(name) for name in TUNED_MALLOC}
    if given == TUNED_MALLOC:
        return "tuned"
    return "default" if not any(given.values()) else "custom"


def cpu_model() -> tuple[str, str]:
    """Model name and the flags of `FLAGS` that the CPU has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    present = set(fields.get("flags", "").split())
    return fields.get("model name", platform.machine()), " ".join(f for f in FLAGS if f in present)


def commit() -> tuple[str, bool]:
    """Commit of the checkout this package runs from and whether it was edited.

    A copy without its .git may be told by SUBKERN_COMMIT, "-dirty" at the end; else ("", False).
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        told = os.environ.get("SUBKERN_COMMIT", "")
        return told.removesuffix("-dirty"), told.endswith("-dirty")

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        edited = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD"), bool(edited)
    except (OSError, subprocess.CalledProcessError):
        return "", False


def bandwidth(threads: int, megabytes: int = 128) -> float:
    """Memory bandwidth in GB/s: the better of a copy and a triad over arrays beyond the caches."""
    count = megabytes * 1024 * 1024 // 4
    a, b, c = (torch.ones(count) for _ in range(3))
    times = measure(
        {"copy": lambda: b.copy_(a), "triad": lambda: torch.add(a, b, alpha=0.5, out=c)},
        Effort(rounds=5, sample_s=0.05, budget_s=2.0),
        threads=threads,
    )
    # Bytes as the program asked for them: the read for ownership of a store is not counted.
    return max(8 * count / times["copy"].p20, 12 * count / times["triad"].p20) / 1e9


def product_rate(dtype: torch.dtype, threads: int, size: int = 1536) -> float:
    """GFLOP/s of `torch.mm` on square matrices."""
    a, b, out = (torch.ones(size, size, dtype=dtype) for _ in range(3))
    effort = Effort(rounds=5, sample_s=0.05, budget_s=1.5)
    times = measure({"mm": lambda: torch.mm(a, b, out=out)}, effort, threads=threads)
    return 2 * size**3 / times["mm"].p20 / 1e9


def inspect(threads: int, *, device: Device = CPU, peaks: bool = True) -> Machine:
    """Describe this machine; `peaks` measures bandwidth and product rates (seconds)."""
    from subkern._version import __version__

    load = os.getloadavg()[0]
    name, flags = cpu_model()
    revision, dirty = commit()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rates: tuple[float, ...] = (0.0, 0.0, 0.0)
    if peaks and device.type == "cpu":
        kinds = (torch.float32, torch.bfloat16)
        rates = (bandwidth(threads), *(product_rate(dtype, threads) for dtype in kinds))
    elif peaks:
        rates = gpu_peaks(device)
    return Machine(
        device=device.type,
        cpu=name,
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        threads=threads,
        cpu_flags=flags,
        malloc=malloc_mode(),
        python=platform.python_version(),
        torch=torch.__version__,
        subkern=__version__,
        commit=revision,
        dirty=dirty,
        date=now,
        load=round(load, 2),
        peak_gb_s=rates[0],
        peak_gflop_s_fp32=rates[1],
        peak_gflop_s_bf16=rates[2],
        **gpu_fields(device),
    )
