"""Live progress: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time

SECONDS_BETWEEN_LINES = 10.0


def make(stream=None):
    """Return the progress display that suits the stream."""
    stream = stream or sys.stdout
    return Bar() if stream.isatty() else Lines(stream)


class NoProgress:
    """Says nothing; also the interface."""

    def note(self, text):
        """Show one line of information."""

    def start(self, config, step):
        """A run begins (or goes on) at `step`."""

    def update(self, step, history, tokens_per_step):
        """`step` steps are done."""

    def finish(self):
        """The run is over, or is being left."""


class Lines(NoProgress):
    """At most one line in ten seconds, for logs."""

    def __init__(self, stream):
        self._stream = stream
        self._last = 0.0

    def note(self, text):
        """Show one line of information."""
        print(text, file=self._stream, flush=True)

    def start(self, config, step):
        """A run begins (or goes on) at `step`."""
        self._config = config
        self.note(f"{config.method} seed {config.seed} lr {config.lr:g}: {config.steps} steps")

    def update(self, step, history, tokens_per_step):
        """`step` steps are done."""
        done = step == self._config.steps
        if not done and time.monotonic() - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        fields = _fields(step, history, tokens_per_step)
        self.note(f"{self._config.method} {step}/{self._config.steps} {fields}")


class Bar(NoProgress):
    """A rich progress bar with loss, tokens per second and optimizer time."""

    def __init__(self):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
        )

    def note(self, text):
        """Show one line of information."""
        self._progress.console.print(text, markup=False, highlight=False)

    def start(self, config, step):
        """A run begins (or goes on) at `step`."""
        name = f"{config.method} seed {config.seed}" if config.seed else config.method
        self._task = self._progress.add_task(
            name, total=config.steps, completed=step, numbers=f"lr {config.lr:g}"
        )
        self._progress.start()

    def update(self, step, history, tokens_per_step):
        """`step` steps are done."""
        self._progress.update(
            self._task, completed=step, numbers=_fields(step, history, tokens_per_step)
        )

    def finish(self):
        """The run is over, or is being left."""
        self._progress.stop()


def _fields(step, history, tokens_per_step):
    recent = history["loss"][-10:]
    text = f"loss {sum(recent) / len(recent):.3f}"
    if history["heldout"]:
        text += f" held-out {history['heldout'][-1][1]:.3f}"
    speed = step * tokens_per_step / history["seconds"]
    return f"{text} {speed:,.0f} tok/s opt {1e3 * history['optimizer_seconds'] / step:.1f} ms"
