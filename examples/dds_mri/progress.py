"""Live progress: rich bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Lines:
    """As much of rich's Progress as is used here, for logs."""

    def __init__(self, console: Console):
        self.console, self.tasks, self.last = console, [], 0.0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, name: str, *, total: int, note: str = "") -> int:
        """Begin something of ``total`` steps."""
        self.tasks.append({"name": name, "total": total, "done": 0})
        return len(self.tasks) - 1

    def update(
        self, task: int, *, completed: int | None = None, advance: int = 0, note: str = ""
    ) -> None:
        """Say how far it is, every ten seconds and at its end."""
        t = self.tasks[task]
        t["done"] = t["done"] + advance if completed is None else completed
        if t["done"] < t["total"] and time.monotonic() - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = time.monotonic()
        self.console.print(f"{t['name']} {t['done']}/{t['total']} {note}")


def make(console: Console) -> Progress | Lines:
    """The display that suits the console."""
    if not console.is_terminal:
        return Lines(console)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
