"""``python -m subkern doctor``: what is installed, what works here, and why the rest does not."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
from importlib import metadata
from typing import Any

import torch

from subkern._probes import GPU_BACKENDS, PROBES
from subkern._version import __version__
from subkern.backends import BACKENDS, BackendUnavailableError, native, registry
from subkern.backends.triton import launch

PACKAGES = ("numpy", "triton", "cupy", "transformers")
VARIABLES = ("SUBKERN_BACKEND", "SUBKERN_CPU_ISA", "TRITON_INTERPRET")
MODULES = ("_C", "_CUDA")
PROBE_TOLERANCE = 1e-5  # float32 sums of a few dozen terms


def _native_calls(backend: str) -> int | None:
    """Calls that reached the backend's own entries so far; None for one without any."""
    if backend == "triton":
        return sum(launch.call_counts().values())
    name = {"cpu": "_C", "cuda": "_CUDA"}.get(backend)
    if name is None or native.refusal(name) is not None:
        return None
    return sum(native.module(name).call_counts().values())


def _probe(op: str, backend: str) -> dict[str, Any]:
    """One tiny real call, forced to the backend and compared with the reference."""
    try:
        before = _native_calls(backend)
        got = PROBES[op](backend)
        after = _native_calls(backend)
    except Exception as error:  # the report must survive any failure of a backend
        return {"op": op, "ok": False, "detail": f"{type(error).__name__}: {error}"}
    composed = any(
        impl.composed for impl in registry.implementations(op) if impl.backend == backend
    )
    if before is not None and after == before and not composed:
        return {"op": op, "ok": False, "detail": "no native entry was called"}
    worst = max(
        float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30))
        for a, b in zip(got, PROBES[op]("reference"), strict=True)
    )
    ok = worst <= PROBE_TOLERANCE
    return {"op": op, "ok": ok, "detail": f"relative difference to the reference {worst:.1e}"}


def _refusal(backend: str, served: list[str]) -> str | None:
    """Why none of the backend's ops can run here, or None."""
    if backend == "cpu":
        return native.refusal()
    if backend not in GPU_BACKENDS:
        return None
    reason = ""
    for op in served:
        try:
            PROBES[op](backend)
        except BackendUnavailableError as error:
            reason = str(error).partition(" was asked for but ")[2] or str(error)
        except Exception:  # the probe will tell
            return None
        else:
            return None
    return reason if torch.cuda.is_available() else f"no CUDA device ({reason})"


def _backend_report(backend: str) -> dict[str, Any]:
    stood_in = backend == "cuda" and native.refusal("_CUDA") is None
    lacks = getattr(native.module("_CUDA"), "lacks", ()) if stood_in else ()
    served = [
        impl.op
        for impl in registry.implementations()
        if impl.backend == backend and impl.op not in lacks
    ]
    reason = _refusal(backend, served) if served else "no op has a kernel for it"
    if reason is not None:
        return {"backend": backend, "on": False, "reason": reason, "calls": []}
    calls = [_probe(op, backend) for op in served]
    return {"backend": backend, "on": True, "reason": "", "calls": calls}


def _module_state(name: str) -> str:
    if (reason := native.refusal(name)) is not None:
        return reason
    module = native.module(name)
    emulated = getattr(module, "emulated", False)
    return getattr(module, "state", "emulated on the CPU" if emulated else "loaded")


def _cuda_report() -> dict[str, Any]:
    """CUDA of this torch build and of the driver, and the devices that torch sees."""
    version = getattr(torch._C, "_cuda_getDriverVersion", int)() if torch.version.cuda else 0
    devices = []
    for i in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(i)
        devices.append(f"{torch.cuda.get_device_name(i)} (sm_{major}{minor})")
    return {
        "runtime": torch.version.cuda,
        "driver": f"{version // 1000}.{version % 1000 // 10}" if version else None,
        "devices": devices,
    }


def _version_of(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "present"


def report() -> dict[str, Any]:
    """Everything the doctor knows, as plain data."""
    reason = native.refusal()
    return {
        "subkern": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "packages": {name: _version_of(name) for name in PACKAGES},
        "environment": {name: os.environ.get(name) for name in VARIABLES},
        "cuda": _cuda_report(),
        "modules": {f"subkern.{name}": _module_state(name) for name in MODULES},
        "cpu_isa": native.module().isa_info() if reason is None else None,
        "backends": [_backend_report(name) for name in BACKENDS],
    }


def works(found: dict[str, Any]) -> bool:
    """Every backend that is on passed every probe."""
    return all(call["ok"] for entry in found["backends"] for call in entry["calls"])


def _text(found: dict[str, Any]) -> str:
    lines = [f"subkern {found['subkern']}, Python {found['python']}, torch {found['torch']}"]
    lines.append(found["platform"])
    lines += [f"  {name:<14}{version or 'absent'}" for name, version in found["packages"].items()]
    lines += [f"  {name:<18}{value or 'not set'}" for name, value in found["environment"].items()]
    lines += [f"  {name:<14}{state}" for name, state in found["modules"].items()]
    cuda = found["cuda"]
    lines.append(f"  CUDA of torch {cuda['runtime'] or 'none'}, driver {cuda['driver'] or 'none'}")
    lines += [f"  GPU {i}: {name}" for i, name in enumerate(cuda["devices"])]
    if isa := found["cpu_isa"]:
        compiled, supported = ", ".join(isa["compiled"]), ", ".join(isa["supported"])
        lines.append(f"  CPU instruction set {isa['active']} (compiled {compiled};")
        lines.append(f"    supported here {supported})")
    for entry in found["backends"]:
        state = "on" if entry["on"] else f"off: {entry['reason']}"
        lines.append(f"backend {entry['backend']:<10}{state}")
        for call in entry["calls"]:
            lines.append(f"  {'ok  ' if call['ok'] else 'FAIL'} {call['op']}: {call['detail']}")
    lines.append("every available backend works" if works(found) else "a backend does not work")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the report; 0 when every available backend works, else 1."""
    parser = argparse.ArgumentParser(prog="python -m subkern doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(argv)
    found = report()
    print(json.dumps(found, indent=2) if arguments.json else _text(found))
    return 0 if works(found) else 1
