"""One run of one method; the command line and the reports of the examples."""

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from pretrain import lora

import subkern

from .lora import LoRAAdamW

VALUES, VECTORS, LORA = 10.0, 4.0, 4.0  # factors on the learning rate


def prepare(method, model, rank, *, lr, seed, restarts=None, **options):
    """Give all linear layers the method's form, and return its optimizer.

    ``restarts`` are ReLoRA's, ``options`` SSTAdamW's.
    """
    if method == "full":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    if method == "SST":
        subkern.nn.convert_to_sst(model, rank=rank)
        options |= dict(value_scale=VALUES, vector_scale=VECTORS)
        return subkern.optim.SSTAdamW(model, lr=lr, seed=seed, weight_decay=0.0, **options)
    lora.convert(model, [""], rank)
    restarts = restarts if method == "ReLoRA" else None
    return LoRAAdamW(model, lr=lr, factor=LORA, restarts=restarts, weight_decay=0.0)


def train(optimizer, loss, *, steps, warmup, after=None):
    """Take steps on ``loss(step)``, call ``after(step)``; a warm-up, then a cosine to zero."""

    def rate(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        schedule.step()
        if after is not None:
            after(step)


def _timed(run, task):
    torch.set_num_threads(1)  # of one run each; threads would wait for each other
    start = time.perf_counter()
    return run(*task), time.perf_counter() - start


def each(run, tasks, jobs):
    """Yield tasks with ``run(*task)`` and its seconds, as they end; in so many processes."""
    if jobs == 1:
        yield from ((task, *_timed(run, task)) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = {pool.submit(_timed, run, task): task for task in tasks}
        yield from ((futures[done], *done.result()) for done in as_completed(futures))


def compare(methods, run, seeds, unit, jobs):
    """Seed -> method -> ``run(method, seed)``; prints a line for each."""
    tasks, found = [(method, seed) for seed in seeds for method in methods], {}
    for (method, seed), result, took in each(run, tasks, jobs):
        found[method, seed] = result
        print(f"seed {seed}  {method:6s}  {unit} {result:7.3f}  {took:5.1f} s", flush=True)
    return {seed: {method: found[method, seed] for method in methods} for seed in seeds}


def table(results, judged):
    """Lines of Markdown: a row per seed, of methods and of what ``judged`` adds to them."""
    rows = {seed: {**row, **judged(row)} for seed, row in results.items()}
    names = list(next(iter(rows.values())))
    lines = ["| seed | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {seed} | " + " | ".join(f"{row[name]:.3f}" for name in names) + " |"
        for seed, row in rows.items()
    ]
    return lines


def main(description, argv, seeds, experiment, judged):
    """Run, print the table, and write it where asked; the exit status."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--seeds", type=int, nargs="+", default=list(seeds), help="%(default)s")
    p.add_argument("--jobs", type=int, default=2, help="processes, of a thread each: %(default)s")
    p.add_argument("--out", type=Path, help="write the numbers to this file, as JSON")
    args = p.parse_args(argv)
    results = experiment(args.seeds, args.jobs)
    print("\n".join(table(results, judged)))
    if args.out:
        found = [{"seed": seed, **row, **judged(row)} for seed, row in results.items()]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0
