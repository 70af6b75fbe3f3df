"""No kernel without all of its layers: a table entry with limits, a compiled instance, a test."""

import ast
import re
from pathlib import Path

import pytest
from sktest import kernel_tables

ROOT = Path(__file__).resolve().parents[2]
TRITON_SOURCES = sorted((ROOT / "triton_kernels").glob("*.py"))
CUDA_SOURCES = sorted((ROOT / "csrc").rglob("*.cu*")) + sorted((ROOT / "csrc").rglob("*.h"))
OPS = ("lowrank_adam", "adam", "cg_step", "combine", "gram", "group_dot", "polar")
# Attributes between __global__ and the name may span lines and hold parentheses.
GLOBAL = re.compile(r"__global__[^{;]*?\bvoid\b(?:\s*__launch_bounds__\([^{;]*?\)\s)?\s*(\w+)\s*\(")


def jitted(text):
    """(name, whether it is a kernel) of every function that Triton compiles."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            marks = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
            if marks & {"triton.jit", "sk_inline"}:
                found.append((node.name, "triton.jit" in marks))
    return found


def defined_kernels(text):
    """Names of the __global__ functions that a source defines."""
    code = re.sub(r"//[^\n]*", "", text)
    return GLOBAL.findall(code)


def triton_kernels():
    sources = (jitted(path.read_text()) for path in TRITON_SOURCES)
    return [name for found in sources for name, kernel in found if kernel]


def cuda_kernels():
    sources = [p for p in CUDA_SOURCES if "emu" not in p.parts and p.name != "prims.cuh"]
    return [name for path in sources for name in defined_kernels(path.read_text())]


@pytest.mark.parametrize("folder", ["triton", "cuda"])
def test_table_and_sources_name_the_same_kernels(folder):
    found = triton_kernels() if folder == "triton" else cuda_kernels()
    assert found, "the scan found no kernel"
    assert len(found) == len(set(found))
    assert set(kernel_tables.load(folder).KERNELS) == set(found)


@pytest.mark.parametrize("folder", ["triton", "cuda"])
def test_every_kernel_names_a_test_that_exists(folder):
    for name, kernel in kernel_tables.load(folder).KERNELS.items():
        file, _, function = kernel.test.partition("::")
        path = ROOT / "tests" / file
        path = path if path.is_file() else ROOT / "tests" / folder / file
        assert f"def {function}(" in path.read_text(), f"{name}: {kernel.test}"


@pytest.mark.parametrize("folder", ["triton", "cuda"])
def test_every_kernel_is_compiled(folder):
    table = kernel_tables.load(folder)
    if folder == "triton":
        compiled = {job.name for call in table.CALLS.values() for job in call.jobs()}
    else:
        compiled = {name for name, kernel in table.KERNELS.items() if kernel.instances}
    assert compiled == set(table.KERNELS)


def test_names_say_what_a_function_is():
    """Kernels are _<op>_..._kernel in a file of their op, device helpers sk_<something>."""
    for path in TRITON_SOURCES:
        for name, kernel in jitted(path.read_text()):
            if not kernel:
                assert name.startswith("sk_"), f"{path.name}: {name}"
                continue
            assert name.endswith("_kernel"), f"{path.name}: {name}"
            op = next((op for op in OPS if name.startswith(f"_{op}_")), None)
            assert op is not None, f"{path.name}: {name}"
            assert path.stem.startswith(op), f"{path.name}: {name}"


def test_one_file_knows_the_emulator():
    """Kernels compile unchanged: the switch between emulator and CUDA is in prims.cuh alone."""
    for path in CUDA_SOURCES:
        if "emu" not in path.parts and path.name != "prims.cuh":
            assert "SUBKERN_EMULATE" not in path.read_text(), path


def test_one_file_knows_the_interpreter():
    """Kernels are written once: what the interpreter needs is in prims.py."""
    for path in TRITON_SOURCES:
        if path.name != "prims.py":
            assert "INTERPRETING" not in path.read_text(), path


def test_nothing_is_autotuned():
    """A kernel that writes its inputs would be run many times over them."""
    word = "auto" + "tune"
    for folder in ("triton_kernels", "subkern", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"@triton.{word}" not in path.read_text(), path


def test_the_scans_see_what_they_look_for():
    text = "@triton.jit\ndef _a_kernel(): pass\n@triton.jit(x=1)\ndef _b_kernel(): pass\n"
    text += "@sk_inline\ndef sk_c(): pass\ndef host(): pass\n"
    assert jitted(text) == [("_a_kernel", True), ("_b_kernel", True), ("sk_c", False)]
    text = """
    // __global__ void comment(int x) {}
    __global__ void plain(int x) {}
    template <class T, bool kWide>
    __global__ void __launch_bounds__(kWarps* kWarp, 2)
        bounded(const T* x) {}
    __global__ __launch_bounds__(256) void before(const float* x) {}
    """
    assert defined_kernels(text) == ["plain", "bounded", "before"]
