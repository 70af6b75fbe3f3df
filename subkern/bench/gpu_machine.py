"""What a GPU is, as its driver says, and the peaks it reaches."""

import subprocess
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import torch

from subkern.bench.device import Device
from subkern.bench.timer import Effort, measure


def gpu_peaks(device: Device, megabytes: int = 2048, size: int = 8192) -> tuple[float, ...]:
    """GB/s of a copy on the device, read and written; GFLOP/s of fp32 and bf16 products.

    The products are of random numbers: on zeros they would run faster than on data.
    """
    effort = Effort(rounds=10, sample_s=0.0, budget_s=1.0, warm_s=0.2)

    def best(call: Callable[[], object]) -> float:
        return measure({"peak": call}, effort, device=device)["peak"].p20

    source = torch.randn(megabytes * 2**20 // 4, device=device.where)
    target = torch.empty_like(source)
    found = [2 * source.nbytes / best(partial(target.copy_, source)) / 1e9]
    del source, target  # two peaks at once need not fit
    for dtype, side in ((torch.float32, size // 2), (torch.bfloat16, size)):
        a, b, out = (torch.randn(side, side, device=device.where).to(dtype) for _ in range(3))
        found.append(2 * side**3 / best(partial(torch.mm, a, b, out=out)) / 1e9)
    device.release()
    return tuple(found)


def smi(*arguments: str) -> str:
    """What nvidia-smi says, or why it says nothing."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    said = done.stdout if done.returncode == 0 else f"nvidia-smi: {done.stderr or done.stdout}"
    return said.strip()


def nvcc_build() -> str:
    """Yes where subkern._CUDA was built, else why not."""
    try:
        import_module("subkern._CUDA")
    except ImportError as error:
        return f"no: {error}"
    return "yes"


def gpu_fields(device: Device) -> dict[str, str]:
    """What is written of a GPU beside each number."""
    if device.type == "cpu":
        return {}
    query = "clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw"
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = ""
    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "driver": smi("--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0],
        "cuda": torch.version.cuda or "",
        "triton": triton,
        "nvcc_build": nvcc_build(),
        "clocks": f"{query}: " + smi(f"--query-gpu={query}", "--format=csv,noheader"),
    }
