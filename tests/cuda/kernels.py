"""Every CUDA kernel: its header, the instances that are built, its limits, the test that runs it.

``tests/cuda/test_cuda_gates.py`` compiles each instance and holds it to the limits;
``tests/gates`` compares the names with a scan of the sources for ``__global__``.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHS = ("80", "90")
MOST_SHARED = 48 << 10  # static shared memory that every device offers
_ELEMENTS = ("float", "subkern::bf16")


@dataclass(frozen=True)
class Kernel:
    """Limits of a kernel's machine code; none may spill or use local memory.

    Attributes:
        header: the file of ``csrc/cuda`` that defines it.
        instances: template arguments of what the launchers use; "" without a template.
        threads: of the largest block.
        registers: most for a thread, on every architecture.
        shared: most bytes of static shared memory.
        test: the emulated test that covers it, as ``file::function``.
        resident: least threads on a multiprocessor at a time, so that enough loads fly.
    """

    header: str
    instances: tuple[str, ...]
    threads: int
    registers: int
    shared: int
    test: str
    resident: int = 768


_BOTH_WIDTHS = tuple(f"{t}, {vector}" for t in _ELEMENTS for vector in ("true", "false"))
_COLUMNS = ("8", "16", "32", "64")
_LANES = tuple(f"{t}, {columns}" for t in _ELEMENTS for columns in (8, 16, 32))
_SVD, _EIGH = "test_cuda_svd_small.py::test_contract", "test_cuda_eigh_small.py::test_contract"
_SMALL = "test_cuda_orthonormalize.py::test_against_truth"
_TALL = "test_cuda_orthonormalize_tall.py::test_against_truth"
_RARE = "test_cuda_orthonormalize_tall.py::test_"
_SENSE = "ops/test_sense_normal.py::test_against_truth"
_ADAM, _MOMENTS = "test_cuda_adam.py::test_sizes", "test_cuda_moments.py::test_against_truth"

KERNELS = {
    "adam_scan_kernel": Kernel("adam.cuh", _ELEMENTS, 256, 48, 0, _ADAM),
    "adam_apply_kernel": Kernel("adam.cuh", _ELEMENTS, 256, 80, 16, _ADAM),
    "galore_moments_kernel": Kernel("lowrank_adam.cuh", _BOTH_WIDTHS, 256, 64, 16, _MOMENTS),
    "fira_columns_kernel": Kernel("fira_moments.cuh", _BOTH_WIDTHS, 512, 64, 21 << 10, _MOMENTS),
    "fira_rows_kernel": Kernel("fira_moments.cuh", _BOTH_WIDTHS, 256, 80, 3 << 10, _MOMENTS),
    # A block's shared memory holds the matrix: few threads with all their work in registers.
    "orthonormalize_kernel": Kernel(*("orthonormalize.cuh", _COLUMNS, 256, 192, 0), _SMALL, 256),
    "orthonormalize_slice_kernel": Kernel(
        *("orthonormalize_split.cuh", _COLUMNS, 128, 208, 0), _TALL, 256
    ),
    "orthonormalize_factor_kernel": Kernel(
        *("orthonormalize_split.cuh", _COLUMNS, 128, 176, 0), _TALL, 256
    ),
    "orthonormalize_finish_kernel": Kernel(
        *("orthonormalize_split.cuh", _COLUMNS, 256, 40, 0), _TALL
    ),
    # Rare paths, a block for each matrix.
    "orthonormalize_repair_kernel": Kernel(
        *("orthonormalize_rows.cuh", ("",), 512, 128, 5 << 10), _RARE + "repair", 512
    ),
    "orthonormalize_cholesky_kernel": Kernel(
        *("orthonormalize_rows.cuh", ("",), 512, 128, 5 << 10), _RARE + "cholesky", 512
    ),
    "sample_kernel": Kernel(
        *("sample_without_replacement.cuh", _ELEMENTS, 512, 64, 9 << 10),
        *("ops/test_sample_without_replacement.py::test_schedules", 1024),
    ),
    "cg_step_residual_kernel": Kernel(
        *("cg_step.cuh", ("",), 256, 48, 3 << 10),
        *("ops/test_cg_step.py::test_residual_depends_on_nothing_else", 1024),
    ),
    "cg_step_direction_kernel": Kernel(
        *("cg_step.cuh", ("",), 256, 40, 0),
        *("ops/test_cg_step.py::test_direction_depends_on_nothing_else", 1536),
    ),
    "combine_kernel": Kernel(
        *("combine.cuh", ("",), 256, 64, 512),
        *("ops/test_combine.py::test_nothing_else_matters", 1024),
    ),
    "group_dot_kernel": Kernel(
        *("group_dot.cuh", ("",), 256, 40, 3 << 10),
        *("ops/test_group_dot.py::test_nothing_else_matters", 1536),
    ),
    "packed_adamw_kernel": Kernel(
        *("packed_adamw.cuh", _BOTH_WIDTHS, 256, 64, 16),
        *("test_cuda_packed_adamw.py::test_runs", 1024),
    ),
    "scan_kernel": Kernel("scan.cuh", _ELEMENTS, 256, 64, 3 << 10, "ops/test_scan.py::test_values"),
    # Dynamic shared memory holds the row, what warps transform and, for solves, the maps.
    "sense_line_kernel": Kernel(*("sense_normal.cuh", ("",), 256, 64, 0), _SENSE, 1024),
    "sense_rows_kernel": Kernel(*("sense_normal.cuh", ("",), 256, 64, 0), _SENSE, 1024),
    "sense_columns_kernel": Kernel(*("sense_normal.cuh", ("",), 256, 64, 0), _SENSE, 1024),
    "sense_gather_kernel": Kernel(*("sense_normal.cuh", ("",), 256, 64, 0), _SENSE, 1024),
    "sense_solve_kernel": Kernel(
        *("sense_solve.cuh", ("true", "false"), 256, 80, 0),
        "ops/test_sense_solve.py::test_solves",
    ),
    "sst_adamw_kernel": Kernel(
        *("sst_adamw.cuh", _BOTH_WIDTHS, 256, 64, 3 << 10),
        *("test_cuda_sst_adamw.py::test_one_launch_for_all", 1024),
    ),
    "select_kernel": Kernel(
        *("kth_largest.cuh", _BOTH_WIDTHS, 512, 64, 33 << 10),
        *("test_cuda_select.py::test_numbers_of_many_blocks", 1024),
    ),
    "swap_count_kernel": Kernel(
        *("update_mask.cuh", _ELEMENTS, 512, 64, 16, "test_cuda_select.py::test_swaps", 1024)
    ),
    "swap_kernel": Kernel(
        *("update_mask.cuh", _ELEMENTS, 512, 64, 128, "test_cuda_select.py::test_swaps", 1024)
    ),
    # A matrix in registers: ten warps keep the shuffle unit of a multiprocessor busy.
    "svd_small_kernel": Kernel("svd_small.cuh", _LANES, 32, 168, 4480, _SVD, 320),
    "svd_small_block_kernel": Kernel(
        "svd_small_block.cuh", _ELEMENTS, 128, 168, 38 << 10, _SVD, 384
    ),
    "svd_small_tall_kernel": Kernel(
        *("svd_small_tall.cuh", ("8", "16", "32"), 256, 255, 0),
        *("test_cuda_svd_small_tall.py::test_contract", 256),
    ),
    "eigh_small_kernel": Kernel("eigh_small.cuh", _LANES, 32, 128, 4096, _EIGH, 512),
    "eigh_small_block_kernel": Kernel(
        "eigh_small_block.cuh", _ELEMENTS, 128, 128, 38 << 10, _EIGH, 512
    ),
}
