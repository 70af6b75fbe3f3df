"""What the Triton kernels become for sm_80 and sm_90, compiled here without a GPU.

By the installed Triton, and by 3.6 from the folder that SUBKERN_TRITON_36 names (``make test``
makes one). One process per Triton and architecture compiles everything that it has to.
"""

import functools
import os
from pathlib import Path

import pytest
from sktest import kernel_tables, required

from subkern.bench.machine_code import compile_jobs, parse

TABLE = kernel_tables.load("triton")
CALLS, KERNELS = TABLE.CALLS, TABLE.KERNELS
SHARED = {80: 163 << 10, 90: 227 << 10}  # most bytes of a block
VERSIONS = ("newest", "3.6")
TARGETS = [(version, capability) for version in VERSIONS for capability in SHARED]


def path_of(version):
    """Folder of another Triton, or None for the installed one."""
    if version == "newest":
        return None
    folder = os.environ.get("SUBKERN_TRITON_36", "")
    if not (Path(folder) / "triton").is_dir() or not folder:
        reason = "SUBKERN_TRITON_36 names no folder with triton 3.6 (make test makes one)"
        required.missing(reason)
    return folder


@functools.cache
def launches():
    """(call, job) of everything that is launched by CALLS."""
    return [(name, job) for name, call in CALLS.items() for job in call.jobs()]


@functools.cache
def compiled(version, capability):
    """(call, job, machine code) of what this Triton compiles for this architecture."""
    everything = version == "newest" and capability == 90
    chosen = [(name, job) for name, job in launches() if everything or CALLS[name].basic]
    codes = compile_jobs([job for _, job in chosen], capability, path_of(version))
    return [(*pair, code) for pair, code in zip(chosen, codes, strict=True)]


def collect(found, problem):
    """Every violation at once, each with its call and kernel."""
    wrong = [
        f"{name}: {job.name}: {text}" for name, job, code in found if (text := problem(job, code))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("version", "capability"), TARGETS)
def test_resources(version, capability):
    """No spills, no stack, registers and shared memory within their limits."""

    def problem(job, code):
        assert code.registers > 0, "the assembler's log was not understood"
        if code.spill_bytes or code.stack_bytes:
            return f"{code.spill_bytes} bytes of spills, {code.stack_bytes} of stack"
        if code.registers > KERNELS[job.name].registers:
            return f"{code.registers} registers"
        if code.shared_bytes > SHARED[capability]:
            return f"{code.shared_bytes} bytes of shared memory"
        return None

    collect(compiled(version, capability), problem)


@pytest.mark.parametrize(("version", "capability"), TARGETS)
def test_products_run_on_matrix_units(version, capability):
    """Warp-group MMA on sm_90, MMA on sm_80; nothing of the kind elsewhere."""
    for name, job, code in compiled(version, capability):
        count = code.warpgroup_mma if capability == 90 else code.warp_mma
        excused = (version, job.name, CALLS[name].dtype) in TABLE.WITHOUT_WARP_GROUPS
        if excused and capability == 90:
            assert not code.warpgroup_mma, f"{name}: {job.name}: the excuse is out of date"
            count = code.warp_mma
        assert bool(count) == KERNELS[job.name].products, f"{name}: {job.name}: {count} MMA"


def test_two_blocks_share_a_multiprocessor():
    """One loads while the other computes, in the products that most steps consist of."""
    for name, job, code in compiled("newest", 90):
        if KERNELS[job.name].products:
            blocks = code.occupancy(job.warps)
            assert blocks >= CALLS[name].blocks, f"{name}: {job.name}: {blocks} blocks"


def test_widths_of_loads_and_stores():
    """Aligned matrices move 16 bytes per thread, odd ones what their elements allow."""
    for name, job, code in compiled("newest", 90):
        call, widths = CALLS[name], {**code.loads, **code.copies}
        if call.vector == 16 and call.op == "lowrank_adam":
            assert max(widths) == 16, f"{name}: {job.name}: {widths}"
        if job.constants.get("W_LIST", -1) >= 0:
            assert max(code.stores, key=code.stores.get) == call.vector, f"{name}: {code.stores}"
        if call.op == "vectors" and "VECTOR" in job.constants:
            assert max(w for w in widths if w != 8) == call.vector, f"{name}: {job.name}: {widths}"
            if "dot" not in job.name:  # which stores sums alone, of 8 bytes
                assert max(w for w in code.stores if w != 8) == call.vector, f"{name}: {job.name}"
        if call.op == "adam" and "update" in job.name:
            assert max(widths) == max(code.stores) == 16, f"{name}: {widths}, {code.stores}"


def test_the_newest_compiles_every_kernel():
    assert {job.name for _, job in launches()} == set(KERNELS)
    basic = {job.name for name, job in launches() if CALLS[name].basic}
    assert basic == set(KERNELS)


def test_a_spill_is_seen():
    """The words of the assembler and the instructions, so that the gates can fail."""
    log = """ptxas info    : Function properties for _kernel
    24 bytes stack frame, 28 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 24 bytes cumulative stack size
shared_bytes 98304
"""
    ptx = """
    ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
    @%p1 ld.global.b16 { %rs1 }, [ %rd2 ];
    @%p1 st.global.v2.b32 [ %rd3 + 0 ], { %r1, %r2 };
    cp.async.cg.shared.global [ %r9 + 0 ], [ %rd4 + 0 ], 0x10, %r7;
    wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%f1}, %rd5, %rd6, p, 1, 1, 0, 1;
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 { %f1 }, { %r1 }, { %r2 }, { %f2 };
    """
    code = parse(log, ptx)
    assert (code.registers, code.spill_bytes, code.stack_bytes) == (255, 64, 24)
    assert code.shared_bytes == 98304
    assert code.loads == {16: 1, 2: 1}
    assert (code.stores, code.copies) == ({8: 1}, {16: 1})
    assert (code.warpgroup_mma, code.warp_mma) == (1, 1)
    assert code.occupancy(8) == 1
    assert parse(log.replace("255", "128"), ptx).occupancy(8) == 2
