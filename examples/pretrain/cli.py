"""Command line: prepare the text, run each method in its own process, report."""

import argparse
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from . import UserError


def parser():
    """Return the argument parser; options left out take the values of the model's preset."""
    p = argparse.ArgumentParser(
        prog="pretrain_llama.py",
        description="Pretrain a small Llama on real text with AdamW, GaLore and Fira.",
    )
    p.add_argument(
        "--methods",
        default="adamw,galore,fira",
        help="comma-separated (%(default)s); also sst, lora",
    )
    p.add_argument("--peers", action="store_true", help="add the galore-torch and fira packages")
    p.add_argument("--model", default="tiny", help="tiny, 60m, 130m, 350m or 1b (%(default)s)")
    p.add_argument("--text", nargs="+", metavar="FILE", help="UTF-8 text instead of the default")
    p.add_argument("--seeds", type=_positive, default=1, metavar="N", help="seeds 0..N-1 (1)")
    p.add_argument("--steps", type=_positive)
    p.add_argument("--batch", type=_positive, help="sequences per step")
    p.add_argument("--seq", type=_positive, help="tokens per sequence")
    p.add_argument("--vocab", type=_positive, help="size of the BPE vocabulary")
    p.add_argument("--lr", type=_rate, help="peak learning rate for all methods")
    p.add_argument(
        "--rank",
        type=_positive,
        help="rank of GaLore and Fira; sst and lora take a twelfth of the width",
    )
    p.add_argument("--gap", type=_positive, help="steps between basis refreshes")
    p.add_argument("--scale", type=float, default=0.25, help="GaLore scale, Fira alpha (0.25)")
    p.add_argument(
        "--basis", default="", choices=("warm", "rsvd", "svd"), help="refresh engine of ours"
    )
    p.add_argument("--clip", type=float, default=0.0, help="clip gradients to this norm (off)")
    p.add_argument("--threads", type=_positive, help="CPU threads (all)")
    p.add_argument("--save-every", type=_positive, default=100, help="steps per checkpoint (100)")
    p.add_argument("--out", default="runs/pretrain", help="folder of all results (%(default)s)")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    p.add_argument(
        "--grid",
        action="store_true",
        help="run each method at each of its four grid learning rates and print the best",
    )
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


def main(argv=None):
    """Run the command line; returns 0, 2 after an error of use, 130 after an interrupt."""
    args = parser().parse_args(argv)
    try:
        if args.worker:
            from .worker import work

            return work(args.worker)
        # a polite kill ends like Ctrl-C, and a shell's background job hears both;
        # worker.launch passes them on
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        return compare(args)
    except UserError as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume goes on where it stopped", file=sys.stderr)
        return 130


def compare(args):
    """Train all methods and write the report."""
    from . import data, methods, report
    from . import model as models

    start = time.monotonic()
    names = methods.parse(args.methods)
    if args.peers:
        names += [n for n in methods.PEERS if n not in names]
    preset = models.preset(args.model)
    given = {k: getattr(args, k) for k in ("steps", "batch", "seq", "vocab", "rank", "gap")}
    preset = replace(preset, **{k: v for k, v in given.items() if v is not None})
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        corpus = data.prepare(args.text, vocab=preset.vocab, seq=preset.seq, directory=out / "data")
    except OSError as error:
        raise UserError(f"out: cannot write to {out}: {error}") from error
    print(
        f"text: {corpus.train_tokens:,} training and {corpus.heldout_tokens:,} held-out tokens, "
        f"vocabulary {corpus.vocab}",
        flush=True,
    )
    plan = _plan(args, names, preset, corpus)
    folders = [out / _folder(config, args.grid) for config in plan]
    if args.resume and not any((f / "checkpoints").is_dir() for f in folders):
        raise UserError(f"resume: no checkpoint of these runs in {out}")
    results = [_launch(c, f, args) for c, f in zip(plan, folders, strict=True)]
    rows = report.summarize(results)
    settings = {**{k: v for k, v in vars(args).items() if k != "worker"}, **asdict(preset)}
    if args.grid:
        grids = {}
        for r in results:
            grids.setdefault(r["method"], {})[r["lr"]] = r["heldout_loss"]
        best = report.print_grid(grids)
        settings["best"] = best
        report.save_json(out / "grid.json", settings=settings, rows=[], results=results)
        print(f"best: {', '.join(f'{m} {lr:g}' for m, lr in best.items())}")
    else:
        report.print_table(rows)
        report.save_json(out / "results.json", settings=settings, rows=rows, results=results)
        report.save_plot(out / "loss.png", results)
        print(f"written: {out / 'loss.png'}, {out / 'results.json'}")
    print(f"{results[0]['parameters'] / 1e6:.2f} M parameters; {time.monotonic() - start:.0f} s")
    return 0


def _plan(args, names, preset, corpus):
    from . import methods, train

    plan = []
    for name in names:
        method = methods.METHODS[name]
        rates = method.grid if args.grid else (args.lr or method.lr,)
        seeds = (0,) if args.grid else range(args.seeds)
        for lr in rates:
            for seed in seeds:
                config = train.RunConfig(
                    method=name,
                    seed=seed,
                    lr=lr,
                    scale=args.scale,
                    basis=args.basis if name in ("galore", "fira") else "",
                    clip=args.clip,
                    corpus=corpus,
                    **asdict(preset),
                )
                plan.append(config)
    if args.grid:
        for name in names:
            print(f"grid of {name}: {', '.join(f'{lr:g}' for lr in methods.METHODS[name].grid)}")
    return plan


def _launch(config, folder, args):
    from .worker import launch

    return launch(
        config, folder, resume=args.resume, save_every=args.save_every, threads=args.threads
    )


def _folder(config, grid):
    return f"grid/{config.method}-lr{config.lr:g}" if grid else f"{config.method}-seed{config.seed}"


def _rate(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive and finite, got {text}")
    return value


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
