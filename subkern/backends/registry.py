"""Registry of implementations: (op, backend, can_serve) and the rules that pick one.

``can_serve(**call)`` answers ``None`` for yes, or the reason for no in words. The same answer
serves dispatch, the skip reasons of the tests, and ``python -m subkern doctor``.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

BACKENDS = ("reference", "cpu", "triton", "cuda")

# Order tried when nothing is asked for, by the device type of the call's tensors.
_ORDER = {"cpu": ("cpu", "reference"), "cuda": ("cuda", "triton", "reference")}
_DEFAULT_ORDER = ("reference",)

_log = logging.getLogger("subkern")


class BackendUnavailableError(RuntimeError):
    """No backend can serve the call, or the one that was asked for cannot."""


@dataclass(frozen=True)
class Implementation:
    """One backend's implementation of one op.

    Attributes:
        composed: made of torch's products and other ops; it may call no kernel of its own.
        prepare: what makes, of the tensors that calls to come will share, a function of the rest.
    """

    op: str
    backend: str
    function: Callable[..., Any]
    can_serve: Callable[..., str | None]
    composed: bool = False
    prepare: Callable[..., Callable[..., Any]] | None = None


_table: dict[tuple[str, str], Implementation] = {}
_forced: ContextVar[str | None] = ContextVar("subkern_backend", default=None)
_logged: set[tuple[str, str, str]] = set()


def _check_name(name: str, source: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{source}: backend must be a string, got {name!r}")
    if name not in BACKENDS:
        raise ValueError(f"{source}: backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    return name


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Force every subkern op in this context onto one backend.

    A forced backend that cannot serve a call raises :class:`BackendUnavailableError` instead of
    falling back. The choice is a context variable: threads and async tasks keep their own.

    Args:
        name: ``"reference"``, ``"cpu"``, ``"triton"`` or ``"cuda"``.

    Raises:
        ValueError: ``name`` is not a known backend.

    Example:
        >>> import subkern
        >>> with subkern.backend("reference"):
        ...     pass
    """
    token = _forced.set(_check_name(name, "subkern.backend"))
    try:
        yield
    finally:
        _forced.reset(token)


@contextlib.contextmanager
def unless_absent(op: str) -> Iterator[None]:
    """Forget a forced backend that has no kernel for ``op`` at all: the device's order decides."""
    name = _asked_for(None)
    token = _forced.set(name if name is not None and (op, name) in _table else "")
    try:
        yield
    finally:
        _forced.reset(token)


def register(
    op: str,
    name: str,
    can_serve: Callable[..., str | None],
    *,
    composed: bool = False,
    prepare: Callable[..., Callable[..., Any]] | None = None,
) -> Callable:
    """Decorator: register a function as the implementation of ``op`` on backend ``name``."""
    _check_name(name, "register")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _table[op, name] = Implementation(op, name, function, can_serve, composed, prepare)
        return function

    return decorate


def implementations(op: str | None = None) -> list[Implementation]:
    """Everything registered, or everything registered for one op."""
    return [impl for impl in _table.values() if op in (None, impl.op)]


def _asked_for(explicit: str | None) -> str | None:
    """The forced backend: argument first, then the context manager, then SUBKERN_BACKEND."""
    if explicit is not None:
        return _check_name(explicit, "backend=")
    if (context := _forced.get()) is not None:
        return context or None
    # Asking for a variable that is not set raises and catches: a tenth of a small solve.
    if "SUBKERN_BACKEND" in os.environ and (environment := os.environ["SUBKERN_BACKEND"]):
        return _check_name(environment, "SUBKERN_BACKEND")
    return None


def _refusal(op: str, name: str, call: Mapping[str, Any]) -> str | None:
    impl = _table.get((op, name))
    return f"has no kernel for {op}" if impl is None else impl.can_serve(**call)


def select(op: str, device_type: str, call: Mapping[str, Any], explicit: str | None = None):
    """The implementation that serves ``call``; raises when none does."""
    if (name := _asked_for(explicit)) is not None:
        if (reason := _refusal(op, name, call)) is not None:
            raise BackendUnavailableError(f"{op}: backend {name!r} was asked for but {reason}")
        return _table[op, name]
    reasons: list[tuple[str, str]] = []
    for name in _ORDER.get(device_type, _DEFAULT_ORDER):
        reason = _refusal(op, name, call)
        if reason is None:
            for tried, why in reasons:
                if (op, tried, why) not in _logged:
                    _logged.add((op, tried, why))
                    _log.warning("%s: %s serves the call, %s %s", op, name, tried, why)
            return _table[op, name]
        reasons.append((name, reason))
    detail = "; ".join(f"{name} {reason}" for name, reason in reasons)
    raise BackendUnavailableError(f"{op}: no backend can serve this {device_type} call: {detail}")


def run(op: str, device_type: str, call: Mapping[str, Any], explicit: str | None = None) -> Any:
    """Select an implementation and call it."""
    return select(op, device_type, call, explicit).function(**call)
