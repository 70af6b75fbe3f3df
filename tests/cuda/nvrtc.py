"""NVRTC, the run-time compiler of CUDA C++, from the wheel nvidia-cuda-nvrtc by ctypes."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path


def find() -> Path | None:
    """The library under site-packages/nvidia, or None without the wheel."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [
        path
        for folder in folders or ()
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*"))
        if "alt" not in path.name
    ]
    return found[0] if found else None


class Nvrtc:
    """The few calls that turn a source into PTX."""

    def __init__(self, path: Path) -> None:
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            text = self._library.nvrtcGetErrorString(status).decode()
            raise RuntimeError(f"{name}: {text}")

    def _text(self, name: str, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{name}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{name}", program, buffer)
        return buffer.value.decode()

    def compile(
        self, source: str, expressions: Sequence[str], options: Sequence[str]
    ) -> tuple[str, list[str]]:
        """PTX of ``source`` with the named kernels, and their names in it; raises with the log."""
        program = ctypes.c_void_p()
        create = (source.encode(), b"source.cu", 0, None, None)
        self._call("nvrtcCreateProgram", ctypes.byref(program), *create)
        try:
            for expression in expressions:
                self._call("nvrtcAddNameExpression", program, expression.encode())
            words = [option.encode() for option in options]
            array = (ctypes.c_char_p * len(words))(*words)
            try:
                self._call("nvrtcCompileProgram", program, len(words), array)
            except RuntimeError as error:
                raise RuntimeError(f"{error}\n{self._text('ProgramLog', program)}") from None
            lowered = []
            for expression in expressions:
                name = ctypes.c_char_p()
                arguments = (program, expression.encode(), ctypes.byref(name))
                self._call("nvrtcGetLoweredName", *arguments)
                assert name.value is not None
                lowered.append(name.value.decode())
            return self._text("PTX", program), lowered
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))
