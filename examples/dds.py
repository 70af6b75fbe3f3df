#!/usr/bin/env python3
"""Reconstruct a brain slice from a quarter and an eighth of its k-space with a diffusion model.

Trains a small denoiser on the MNI152 template (kept in --out for the next run), samples with
subkern.imaging.dds, and compares with zero-filling, CG-SENSE, total variation and the sampler's
loop as it was released. Leaves a table, all numbers as JSON and a picture with error maps in --out.

    python examples/dds.py                     five seeds; the first run trains for some minutes
    python examples/dds.py --seeds 2 --steps 500    less of everything
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch
from dds_mri import data, experiment, progress, report, train
from rich.console import Console

from subkern.bench import pages

ROOT = Path(__file__).resolve().parents[1]
PAGE, MARKER = ROOT / "docs" / "dds.md", "dds: table"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4000, help="of training")
    parser.add_argument("--seeds", type=int, default=5, help="draws of mask, phase and noise")
    parser.add_argument("--sampling-steps", type=int, default=30)
    parser.add_argument("--solver-steps", type=int, default=5, help="M")
    parser.add_argument("--sigma", type=float, default=0.01, help="of the noise; 1 is white")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "dds")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see it run")
    parser.add_argument("--toy", action="store_true", help="discs instead of brains")
    parser.add_argument("--page", action="store_true", help="write table and picture into docs/")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = train.Settings(steps=args.steps, data="discs" if args.toy else "mni152")
    options = experiment.Options(sigma=args.sigma, steps=args.sampling_steps, M=args.solver_steps)
    try:
        slices = data.toy_slices() if args.toy else data.template_slices()
        magnitude = data.toy_slices()[4, 0, 40:200, 40:200] if args.toy else data.test_slice()
    except data.Missing as error:
        console.print(f"[red]{error}[/red]")
        return 2
    if args.quick:
        settings = dataclasses.replace(
            settings, steps=min(args.steps, 6), batch=2, size=32, widths=(8, 8, 16)
        )
        options = dataclasses.replace(options, steps=4, coils=2, samples=2)
        magnitude = magnitude[::2, ::2].contiguous()
    started = time.perf_counter()
    with progress.make(console) as bar:
        denoiser, facts = train.denoiser(settings, slices, args.out, bar)
        variance = facts.pop("variance")
        rows, pictures = experiment.run(
            magnitude, denoiser, variance, list(range(args.seeds)), options, bar
        )
    facts |= {"settings": dataclasses.asdict(settings), "options": dataclasses.asdict(options)}
    facts |= {"threads": torch.get_num_threads(), "run_seconds": time.perf_counter() - started}
    lines = report.summary(rows)
    report.show(lines, console)
    report.save(rows, facts, args.out / "results.json")
    report.montage(pictures, args.out / "montage.png")
    console.print(
        f"denoiser: {facts['parameters']:,} parameters, trained in {facts['seconds']:.0f} s; "
        f"this run {facts['run_seconds']:.0f} s; files in {args.out}"
    )
    if args.page:
        report.montage(pictures, ROOT / "docs" / "dds.png")
        PAGE.write_text(pages.replaced(PAGE.read_text(), MARKER, report.markdown(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
