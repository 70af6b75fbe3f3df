#!/usr/bin/env python3
"""Pretrain a small Llama on real text with AdamW, GaLore and Fira, and compare them.

Each method starts from the same weights and sees the same batches; a table, a plot of the loss
curves and a JSON file of all numbers are left in --out. Everything else: --help.

    python examples/pretrain_llama.py                          three methods, under 5 minutes
    python examples/pretrain_llama.py --peers --basis svd      the published packages beside ours
    python examples/pretrain_llama.py --grid                   learning-rate search, same budget
    python examples/pretrain_llama.py --resume                 go on after Ctrl-C, bit for bit
"""

from pretrain.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
