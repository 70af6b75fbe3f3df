"""One JSON and one Markdown page from the parts that `bench/gpu.sh` ran on a GPU machine.

python -m subkern.bench.hardware WORKDIR OUTDIR

WORKDIR holds, for each part, its command, exit status, seconds and output (`<part>.cmd`, `.rc`,
`.seconds`, `.log`), and `tests.xml`, `bench.json`, `device.txt` and `name.txt` where they exist.
"""

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subkern.bench import report
from subkern.bench.machine import commit, inspect
from subkern.bench.rows import Row
from subkern.bench.targets import count

PARTS = ("build", "doctor", "tests", "bench", "small", "memcheck", "racecheck")
SANITIZERS = ("memcheck", "racecheck")
FINDINGS_CODE = 9  # what gpu.sh tells the sanitizer to exit with
CLEAN = re.compile(r"(ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards)")
SUMMARY = re.compile(r"=+ *((?:ERROR|RACECHECK) SUMMARY: .*)")
REFUSAL = re.compile(r"^.*(not supported|Failed to initialize|Unable to|No such file).*$", re.M)
TAIL_LINES = 15


def slug(name: str) -> str:
    """A file name from a device's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown-gpu"


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.is_file() else ""


def _tail(text: str) -> str:
    """The last lines, without the folder that they ran in."""
    root = str(Path(__file__).resolve().parents[2])
    return "\n".join(text.replace(root, ".").splitlines()[-TAIL_LINES:])


def part(work: Path, name: str) -> dict[str, Any]:
    """How a part went: passed, failed, timed out, skipped or missing; with its last lines.

    A sanitizer that the machine's runtime refuses is "refused", with its own words.
    """
    code, log = _text(work / f"{name}.rc"), _text(work / f"{name}.log")
    found: dict[str, Any] = {
        "name": name,
        "command": _tail(_text(work / f"{name}.cmd")),
        "seconds": int(_text(work / f"{name}.seconds") or 0),
        "code": int(code) if code.isdigit() else None,
        "detail": "",
    }
    if not code:
        found["status"] = "missing"
    elif code == "skipped":
        found |= {"status": "skipped", "detail": log}
    elif code in ("124", "130", "137"):
        found |= {"status": "timed out", "detail": _tail(log)}
    elif name in SANITIZERS:
        found |= _sanitizer(code, log)
    elif code == "0":
        found["status"] = "passed"
    else:
        found |= {"status": "failed", "detail": _tail(log)}
    return found


def _sanitizer(code: str, log: str) -> dict[str, Any]:
    summary = SUMMARY.findall(log)
    if code == "0" and CLEAN.search(log):
        return {"status": "passed", "detail": summary[-1]}
    if code != str(FINDINGS_CODE) and (quoted := REFUSAL.search(log)):
        return {"status": "refused", "detail": quoted[0].strip("= ")}
    return {"status": "failed", "detail": summary[-1] if summary else _tail(log)}


def junit_counts(xml: Path) -> dict[str, Any]:
    """Totals, reasons of skips and names of failures of a JUnit file; {} without one."""
    try:
        cases = list(ET.parse(xml).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return {}
    outcomes: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    failures = []
    for case in cases:
        kinds = {child.tag: child for child in case if child.tag in ("failure", "error", "skipped")}
        outcome = next(iter(kinds), "passed")
        outcomes[outcome] += 1
        if outcome == "skipped":
            skips[kinds["skipped"].get("message", "")] += 1
        elif outcome != "passed":
            words = (kinds[outcome].get("message") or "").splitlines()[:1]
            failures.append(" ".join([f"{case.get('classname')}::{case.get('name')}", *words]))
    names = {"passed": "passed", "failed": "failure", "errors": "error", "skipped": "skipped"}
    return {
        **{name: outcomes[tag] for name, tag in names.items()},
        "skips": dict(skips.most_common()),
        "failures": failures,
    }


def _json(text: str) -> Any:
    """The JSON object in a text that may have lines before and after it; None without one."""
    try:
        return json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return None


def assemble(work: Path) -> dict[str, Any]:
    """Everything that is known about the run, as plain data."""
    parts = [part(work, name) for name in PARTS]
    tests = junit_counts(work / "tests.xml")
    bench = _json(_text(work / "bench.json")) or {}
    rows = bench.get("rows", [])
    machine = bench.get("machine") or inspect(1, peaks=False).as_row()
    revision, dirty = commit()
    verdicts = [row["targets"] for row in rows if row.get("targets")]
    for entry in parts:
        # Counted twice if it said so itself: a run of no tests proves nothing.
        if entry["name"] == "tests" and entry["status"] == "passed" and not tests.get("passed"):
            entry |= {"status": "failed", "detail": "no test ran"}
    return {
        "device": _text(work / "name.txt").partition("\n")[0] or machine.get("gpu") or "",
        "device_report": _text(work / "device.txt"),
        "commit": revision,
        "dirty": dirty,
        "green": all(entry["status"] in ("passed", "refused") for entry in parts),
        "parts": parts,
        "doctor": _json(_text(work / "doctor.log")),
        "tests": tests,
        "budgets": {**count(verdicts), "verdicts": _verdicts(rows)},
        "machine": machine,
        "rows": rows,
    }


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['case']}: {verdict}"
        for row in rows
        for verdict in filter(None, row.get("targets", "").split("; "))
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """The page for people."""
    machine, tests, budgets = found["machine"], found["tests"], found["budgets"]
    state = f"{found['commit'][:12] or 'unknown'}{' (edited)' if found['dirty'] else ''}"
    lines = [
        f"# {found['device'] or 'unknown GPU'}",
        "",
        f"Written by `bench/gpu.sh` at commit {state}, {machine.get('date', '')}.",
        f"{_versions(machine)}.",
        "",
        "| part | result | seconds | |",
        "|---|---|---|---|",
    ]
    for entry in found["parts"]:
        words = " ".join(entry["detail"].split()).replace("|", "\\|")[:300]
        lines.append(f"| {entry['name']} | {entry['status']} | {entry['seconds']} | {words} |")
    if tests:
        totals = ", ".join(f"{tests[k]} {k}" for k in ("passed", "failed", "errors", "skipped"))
        lines += ["", f"Tests: {totals}.", ""]
        lines += [f"- failed: `{name}`" for name in tests["failures"]]
        lines += [f"- skipped, {number}: {reason}" for reason, number in tests["skips"].items()]
    if found["rows"]:
        rows = [Row(**row) for row in found["rows"]]
        totals = ", ".join(f"{budgets[k]} {k}" for k in ("met", "missed", "not measured"))
        lines += ["", "## Benchmarks", "", f"Peaks measured: {_peaks(machine)}. Budgets: {totals}."]
        lines += ["", "```", report.table(rows), *report.remarks(rows), "```"]
    return "\n".join(lines) + "\n"


def _versions(machine: Mapping[str, Any]) -> str:
    names = {"torch": "torch", "cuda": "CUDA", "triton": "Triton", "driver": "driver"}
    names["nvcc_build"] = "nvcc build:"
    return ", ".join(f"{name} {machine.get(key) or '-'}" for key, name in names.items())


def _peaks(machine: Mapping[str, Any]) -> str:
    return (
        f"copy {machine['peak_gb_s']:.0f} GB/s (read and written), products "
        f"{machine['peak_gflop_s_bf16'] / 1e3:.0f} TFLOP/s bf16, "
        f"{machine['peak_gflop_s_fp32'] / 1e3:.0f} TFLOP/s fp32"
    )


def main(argv: Sequence[str]) -> int:
    """Write both files: exit code 0 when every part passed, else 1."""
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    work, out = map(Path, argv)
    found = assemble(work)
    stem = slug(found["device"])
    (out / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / f"{stem}.md").write_text(markdown(found))
    for entry in found["parts"]:
        print(f"{entry['name']:10} {entry['status']:10} {entry['seconds']:4} s  ", end="")
        print(entry["detail"].splitlines()[-1] if entry["detail"] else "")
    budgets = found["budgets"]
    print(f"budgets: {budgets['met']} met, {budgets['missed']} missed")
    print(f"written: {stem}.json and {stem}.md; {'all green' if found['green'] else 'NOT green'}")
    return 0 if found["green"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
