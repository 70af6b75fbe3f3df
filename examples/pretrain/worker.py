"""The process of one run: a fresh one each, so that peak memory belongs to that method alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from . import UserError

SCRIPT = Path(__file__).resolve().parent.parent / "pretrain_llama.py"
INTERRUPTED = 130


class StopFlag:
    """Turns the first SIGINT or SIGTERM into a request that the training loop asks for.

    Ctrl-C reaches this process twice, from the terminal and from the parent; one that
    comes seconds later is a second wish, and ends the process at once.
    """

    def __init__(self):
        self._since = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __call__(self):
        """Whether the run has been asked to stop."""
        return self._since is not None

    def _on_signal(self, number, frame):
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > 3.0:
            raise KeyboardInterrupt


def launch(config, directory, *, resume, save_every, threads):
    """Run `config` in its own process and return its result.

    Raises:
        KeyboardInterrupt: the run was interrupted and has saved its state.
        UserError: it failed with a message of its own, or died.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    spec = directory / "run.json"
    result = directory / "result.json"
    result.unlink(missing_ok=True)
    settings = {"resume": resume, "save_every": save_every, "threads": threads}
    spec.write_text(json.dumps({"config": asdict(config), **settings}, indent=1))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    child = subprocess.Popen([sys.executable, str(SCRIPT), "--worker", str(spec)], env=environment)
    interrupted = False
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            interrupted = True  # holds even if the run was at its last step and ends well
            child.send_signal(signal.SIGINT)
    if interrupted or code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code == 2:
        raise UserError("")  # the child has said why
    if code != 0:
        raise UserError(f"{config.method}: its process ended with code {code}")
    return json.loads(result.read_text())


def work(spec):
    """Body of the child process; returns its exit code."""
    stop = StopFlag()  # before the slow imports, so that an early Ctrl-C is not lost
    import torch

    from . import data, progress, train

    spec = Path(spec)
    settings = json.loads(spec.read_text())
    fields = settings["config"]
    config = train.RunConfig(**{**fields, "corpus": data.Corpus(**fields["corpus"])})
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    display = progress.make()
    try:
        result = train.run(
            config,
            spec.parent / "checkpoints",
            resume=settings["resume"],
            save_every=settings["save_every"],
            progress=display,
            should_stop=stop,
        )
    except train.Interrupted as message:
        display.finish()
        display.note(f"{config.method}: {message}")
        return INTERRUPTED
    except KeyboardInterrupt:
        display.finish()
        return INTERRUPTED
    finally:
        display.finish()
    temporary = spec.with_name("result.json.tmp")
    temporary.write_text(json.dumps(result))
    os.replace(temporary, spec.with_name("result.json"))
    return 0
