"""Every Triton kernel: its limits and the calls whose launches are compiled to hold it to them.

``tests/triton/test_compile_gates.py`` compiles the launches of CALLS, recorded from the backend, so
that what is compiled is what is launched; ``tests/gates`` compares KERNELS with a scan of the
sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from subkern.backends.triton.gram import symmetric_product
from subkern.bench.machine_code import Job, record
from subkern.ops import adam_, gram, lowrank_adam_
from subkern.ops.cg_step import cg_step_direction_, cg_step_residual_
from subkern.ops.combine import combine
from subkern.ops.group_dot import group_dot
from subkern.reference.cg_step import COLUMNS

FP32, BF16 = torch.float32, torch.bfloat16


@dataclass(frozen=True)
class Kernel:
    """Limits of a kernel's machine code; none may spill or use local memory.

    Attributes:
        registers: most for a thread, on every architecture.
        products: whether it multiplies matrices, which sm_90 must do by warp groups.
        test: a test that runs it in the interpreter, as ``file::function``.
    """

    registers: int
    products: bool
    test: str


_LOWRANK = "ops/test_lowrank_adam.py::test_shapes"
KERNELS = {
    "_lowrank_adam_project_kernel": Kernel(255, True, _LOWRANK),
    "_lowrank_adam_moments_kernel": Kernel(168, False, _LOWRANK),
    "_lowrank_adam_update_kernel": Kernel(255, True, _LOWRANK),
    "_gram_symmetric_kernel": Kernel(255, True, "ops/test_gram.py::test_shapes"),
    "_adam_scan_kernel": Kernel(64, False, "ops/test_adam.py::test_options"),
    "_adam_update_kernel": Kernel(128, False, "ops/test_adam.py::test_options"),
    "_cg_step_residual_kernel": Kernel(64, False, "ops/test_cg_step.py::test_residual_lengths"),
    "_cg_step_state_kernel": Kernel(64, False, "ops/test_cg_step.py::test_residual_lengths"),
    "_cg_step_direction_kernel": Kernel(64, False, "ops/test_cg_step.py::test_direction"),
    "_combine_sum_kernel": Kernel(64, False, "ops/test_combine.py::test_lengths"),
    "_group_dot_parts_kernel": Kernel(64, False, "ops/test_group_dot.py::test_values"),
    "_group_dot_finish_kernel": Kernel(64, False, "ops/test_group_dot.py::test_values"),
}


@dataclass(frozen=True)
class Call:
    """A call whose launches are compiled.

    Attributes:
        basic: compiled by every Triton for every architecture, not only by the newest for sm_90.
        blocks: least number of blocks that share a multiprocessor of sm_90, in the products.
        vector: bytes of the widest access to W and G that their width allows.
    """

    op: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    side: str = "left"
    rule: str = "galore"
    skip: bool = True
    basic: bool = False
    blocks: int = 1
    vector: int = 16

    def jobs(self) -> list[Job]:
        """The launches, recorded; big matrices are never touched."""
        if self.op == "adam":
            w, g, m, v = (torch.empty(self.shape, dtype=t) for t in (self.dtype,) * 2 + (FP32,) * 2)
            scalars = [torch.empty(())], [torch.empty(())]
            options = dict(lr=0.1, skip_nonfinite=self.skip, backend="triton")
            return record(lambda: adam_([w], [g], [m], [v], *scalars, **options))
        if self.op == "gram":
            X = torch.empty(self.shape, dtype=self.dtype)
            return record(lambda: gram(X, self.side, out_dtype=self.dtype, backend="triton"))
        if self.op == "polar":  # its polynomial, which on CPU tensors goes to torch
            R = torch.empty(1, *self.shape, dtype=self.dtype)
            step = dict(alpha=0.5, C=R, gamma=-1.0, delta=2.0)
            return record(lambda: symmetric_product(R, self.dtype, **step))
        if self.op == "vectors":
            return record(lambda: vector_kernels(*self.shape))
        m, n, rank = self.shape
        low = {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[self.side]
        basis = n if self.side == "right" else m

        def one(*shape: int, dtype: torch.dtype = FP32) -> list[torch.Tensor]:
            return [torch.empty(shape, dtype=dtype)]

        lists = [one(m, n, dtype=self.dtype), one(m, n, dtype=self.dtype)]
        lists += [one(basis, rank, dtype=self.dtype), one(*low), one(*low), one(), one()]
        lists.append(one() if self.rule == "fira" else [])
        lists.append(one(n, rank, dtype=self.dtype) if self.side == "full" else [])
        options = dict(side=self.side, rule=self.rule, skip_nonfinite=self.skip, scale=0.25)
        return record(lambda: lowrank_adam_(*lists, lr=0.1, backend="triton", **options))


def vector_kernels(groups: int, m: int, n: int) -> None:
    """All kernels on groups of vectors."""
    x, p, r = (torch.empty(groups, n) for _ in range(3))
    state = torch.empty(groups, COLUMNS, dtype=torch.float64)
    curvature = group_dot(x, p, backend="triton")
    cg_step_residual_(r, p, curvature, state, backend="triton")
    cg_step_direction_(x, p, r, state, backend="triton")
    coefficients = torch.empty(groups, m, dtype=torch.float64)
    combine(r, torch.empty(groups, m, n), coefficients, backend="triton")


_LOW = "lowrank_adam"
CALLS = {
    "left-galore-bf16": Call(_LOW, (4096, 11008, 256), BF16, basic=True, blocks=2),
    "left-galore-bf16-5464": Call(_LOW, (2048, 5464, 512), BF16, blocks=2),
    "left-galore-bf16-fused": Call(_LOW, (4096, 11008, 256), BF16, skip=False),
    "right-fira-bf16": Call(_LOW, (4096, 4096, 256), BF16, "right", "fira", basic=True, blocks=2),
    "left-fira-bf16-odd": Call(_LOW, (2048, 5461, 512), BF16, "left", "fira", vector=2),
    "right-galore-bf16-odd": Call(_LOW, (5461, 2047, 13), BF16, "right", vector=2),
    "full-fira-bf16": Call(_LOW, (1024, 1024, 64), BF16, "full", "fira"),
    "left-fira-fp32": Call(_LOW, (4096, 4096, 256), FP32, "left", "fira", basic=True),
    "right-galore-fp32-odd": Call(_LOW, (1025, 2047, 63), FP32, "right", vector=4),
    "gram-left-bf16": Call("gram", (4096, 11008), BF16, basic=True),
    "gram-right-bf16": Call("gram", (11008, 4096), BF16, "right"),
    "gram-left-fp32": Call("gram", (4096, 11008), FP32, basic=True),
    "gram-right-fp32": Call("gram", (11008, 4096), FP32, "right"),
    "gram-left-small": Call("gram", (20, 64, 200), BF16),
    "gram-right-bf16-odd": Call("gram", (5461, 2047), BF16, "right", vector=2),
    "polar-fp16": Call("polar", (4096, 4096), torch.float16, basic=True),
    "polar-bf16": Call("polar", (4096, 4096), BF16),
    "polar-fp32": Call("polar", (4096, 4096), FP32),
    "adam-bf16": Call("adam", (32000, 4096), BF16, basic=True),
    "adam-fp32": Call("adam", (4099,), FP32, skip=False),
    "vectors": Call("vectors", (2, 10, 204800), FP32, basic=True),
    "vectors-odd": Call("vectors", (3, 5, 40009), FP32, vector=4),
}

# Products that sm_90 computes without warp groups: (Triton, kernel, dtype) -> why that is accepted.
WITHOUT_WARP_GROUPS: dict[tuple[str, str, torch.dtype], str] = {}
