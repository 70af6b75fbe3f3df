"""Which implementation serves a call, and why another one does not."""

from subkern.backends import composed, cpu, cuda, reference, triton  # noqa: F401  (importing registers)
from subkern.backends.registry import (
    BACKENDS,
    BackendUnavailableError,
    Implementation,
    backend,
    implementations,
    register,
    run,
)

__all__ = [
    "BACKENDS",
    "BackendUnavailableError",
    "Implementation",
    "backend",
    "implementations",
    "register",
    "run",
]
