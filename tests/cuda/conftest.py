"""The kernels' module as the tests of this folder take it: emulated, and real where a GPU is."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from sktest import emulated_cuda

from subkern.backends import native


@dataclass(frozen=True)
class Kernels:
    """A module with the functions of subkern._CUDA, and where its tensors live."""

    module: ModuleType
    device: torch.device
    set_seed: Callable[[int], None]

    @property
    def queue(self) -> dict[str, int]:
        """Arguments device and stream."""
        if self.device.type == "cpu":
            return {"device": 0, "stream": 0}
        return {"device": 0, "stream": torch.cuda.current_stream(self.device).cuda_stream}

    def same_on_every_seed(self, run: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """What ``run`` returns, after checking that the schedule does not change a bit of it."""
        first: list[torch.Tensor] = []
        for seed in emulated_cuda.SEEDS:
            self.set_seed(seed)
            results = [t.cpu().contiguous() for t in run()]
            bits = [
                t.view(torch.uint8) if t.dim() else t.reshape(1).view(torch.uint8) for t in results
            ]
            first = first or bits
            for i, (a, b) in enumerate(zip(bits, first, strict=True)):
                assert torch.equal(a, b), f"result {i} differs on seed {seed}"
        self.set_seed(0)
        return results


@pytest.fixture(scope="session", params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def kernels(request):
    """The CUDA kernels, by the emulator on the CPU and by subkern._CUDA on a GPU."""
    if request.param == "emulated":
        yield Kernels(emulated_cuda.module(), torch.device("cpu"), emulated_cuda.set_seed)
        emulated_cuda.set_seed(0)
        return
    if (reason := native.refusal("_CUDA")) is not None:
        pytest.skip(f"real CUDA kernels: {reason}")
    yield Kernels(native.module("_CUDA"), torch.device("cuda", 0), lambda seed: None)
