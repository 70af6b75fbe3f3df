"""Small calls of every op, compared with the reference: what bench/gpu.sh runs under the sanitizer.

python bench/small_calls.py [--device cuda] [--backends triton cuda]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

import subkern
from subkern.backends import BackendUnavailableError
from subkern.ops import adam_, lowrank_adam_, packed_adamw_, sst_adamw_

# Past a tile's edge, odd, and with rows that no 16-byte access fits. Few: Triton compiles each.
SIZES = (65, 131, 17)
VECTORS = ((1,), (127,), (33, 65))
Call = Callable[[str], torch.Tensor]
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}


def _random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def lowrank_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """Name, dtype and call(backend) of small low-rank steps; a call returns the weights."""
    for rule in ("galore", "fira"):
        for side in ("left", "right", "full"):
            for dtype in TOLERANCE:
                if side != "full" or dtype == torch.bfloat16:
                    name = f"lowrank_adam {rule} {side} {dtype}".replace("torch.", "")
                    yield name, dtype, _lowrank(rule, side, dtype, device)


def _lowrank(rule: str, side: str, dtype: torch.dtype, device: str) -> Call:
    m, n, rank = SIZES

    def call(backend: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(m + n)

        def basis(k: int) -> torch.Tensor:
            return torch.linalg.qr(_random(generator, k, rank))[0].to(device, dtype)

        low = {"left": (rank, n), "right": (m, rank), "full": (rank, rank)}[side]
        two = range(2)
        W, G = ([_random(generator, m, n).to(device, dtype) for _ in two] for _ in two)
        P = [basis(n if side == "right" else m) for _ in two]
        Q = [basis(n) for _ in two] if side == "full" else []
        M, V = ([torch.zeros(low, device=device) for _ in two] for _ in two)
        t, skips, limiter = ([torch.zeros((), device=device) for _ in two] for _ in range(3))
        state = (W, G, P, M, V, t, skips, limiter if rule == "fira" else [], Q)
        for _ in range(2):
            lowrank_adam_(*state, rule=rule, side=side, lr=0.1, scale=0.25, backend=backend)
        return torch.cat([w.float().flatten() for w in W])

    return call


def adam_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """The same for the unprojected step."""
    for dtype in TOLERANCE:

        def call(backend: str, dtype: torch.dtype = dtype) -> torch.Tensor:
            generator = torch.Generator().manual_seed(1)
            W, G = ([_random(generator, *s).to(device, dtype) for s in VECTORS] for _ in range(2))
            M, V = ([torch.zeros(s, device=device) for s in VECTORS] for _ in range(2))
            t, skips = ([torch.zeros((), device=device) for _ in VECTORS] for _ in range(2))
            for _ in range(2):
                adam_(W, G, M, V, t, skips, lr=0.1, weight_decay=0.1, backend=backend)
            return torch.cat([w.float().flatten() for w in W])

        yield f"adam {dtype}".replace("torch.", ""), dtype, call


# Name, batch, rows, columns: one matrix per block, per part of a warp, over four warps, and tall.
LINALG = {
    "orthonormalize": ((5, 65, 7), (3, 131, 17), (2, 97, 65)),
    "svd_small": ((5, 8, 8), (3, 31, 17), (2, 40, 40), (3, 131, 9)),
    "eigh_small": ((5, 8, 8), (2, 33, 33)),
}


# Products in float32 on every device, so that backends can be compared.
PRODUCTS: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
    ("gram", (2, 131, 65), {"side": "right"}),
    ("gram", (2, 131, 65), {"side": "left"}),
    ("gram", (3, 65, 17), {"accumulate": "fp64"}),
    ("polar", (2, 65, 131), {"dtype": torch.float32}),
    ("polar", (65, 33), {"preset": "orthogonal"}),
    ("tsqr", (131, 17), {"method": "tree"}),
)


def linalg_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """The same for linear algebra, whose results are unique by their rules of signs."""
    for op, shapes in LINALG.items():
        for shape in shapes:
            name = f"{op} {'x'.join(map(str, shape))}"
            options = {"return_r": True} if op == "orthonormalize" else {}
            yield name, torch.float32, _linalg(op, shape, options, device)
    yield "topk_subspace 65x131", torch.float32, _topk(device)
    for op, shape, options in PRODUCTS:
        words = " ".join(str(value) for value in options.values())
        yield (
            f"{op} {'x'.join(map(str, shape))} {words}",
            torch.float32,
            _linalg(op, shape, options, device),
        )


def _linalg(op: str, shape: tuple[int, ...], options: dict[str, Any], device: str) -> Call:
    def call(backend: str) -> torch.Tensor:
        A = _random(torch.Generator().manual_seed(sum(shape)), *shape).to(device)
        if op == "eigh_small":
            A = A + A.mT
        found = getattr(subkern, op)(A, backend=backend, **options)
        results = found if isinstance(found, tuple) else (found,)
        return torch.cat([result.float().flatten() for result in results])

    return call


def _topk(device: str) -> Call:
    m, n, rank = SIZES

    def call(backend: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(m)
        G = _random(generator, m, n).to(device)
        start = torch.linalg.qr(_random(generator, m, rank))[0].to(device)
        found = subkern.topk_subspace(
            G, rank, side="left", mode="iterate", q_prev=start, backend=backend
        )
        return torch.cat([found.basis.flatten(), found.energy.float().flatten()])

    return call


def sample_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """Samples with what they gather: keys in shared memory and, of the longest rows, outside."""
    for rows, columns, k in ((3, 131, 17), (2, 20000, 40)):
        for ascending in (True, False):

            def call(
                backend: str,
                size: tuple[int, int] = (rows, columns),
                k: int = k,
                ascending: bool = ascending,
            ) -> torch.Tensor:
                generator = torch.Generator().manual_seed(k)
                weights = _random(generator, *size).abs().to(device)
                shared = _random(generator, 7, size[1]).to(device).mT
                found = subkern.sample_without_replacement(
                    weights, k, seed=1, sorted=ascending, gather=(weights, shared), backend=backend
                )
                return torch.cat([x.float().flatten() for x in (found.idx, *found.gathered)])

            words = "ascending" if ascending else "as drawn"
            yield f"sample_without_replacement {rows}x{columns} {words}", torch.float32, call


def spectral_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """The step of Sparse Spectral Training: rows by packs, singly, and too long to wait."""
    for dtype in TOLERANCE:
        for length in (64, 37, 12000):

            def call(
                backend: str, dtype: torch.dtype = dtype, length: int = length
            ) -> torch.Tensor:
                generator = torch.Generator().manual_seed(length)
                table = torch.nn.functional.normalize(_random(generator, 7, length), dim=1)
                table, rows = table.to(device, dtype), torch.tensor([5, 0, 3], device=device)
                params = [_random(generator, 7).abs().to(device, dtype), table[rows]]
                grads = [_random(generator, *p.shape).to(device, dtype) for p in params]
                moments = [[torch.zeros_like(p, dtype=torch.float32) for p in params] for _ in "mv"]
                counts = [[torch.zeros((), device=device) for _ in params] for _ in "ts"]
                lists = (params, grads, *moments, *counts, [table], [rows])
                for _ in range(2):
                    sst_adamw_(*lists, lr=0.01, warmup=3, backend=backend)
                return torch.cat([x.float().flatten() for x in (*params, table)])

            yield f"sst_adamw {length} {dtype}".replace("torch.", ""), dtype, call


def packed_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """AdamW on listed entries, with one step count and with one for each entry."""
    for dtype in TOLERANCE:
        for own in (False, True):

            def call(backend: str, dtype: torch.dtype = dtype, own: bool = own) -> torch.Tensor:
                generator = torch.Generator().manual_seed(2)
                W, G = (
                    [_random(generator, *s).to(device, dtype) for s in VECTORS] for _ in range(2)
                )
                at = [torch.arange(0, w.numel(), 3, device=device) for w in W]
                M, V = ([torch.zeros(len(i), device=device) for i in at] for _ in range(2))
                t = [torch.zeros(len(i) if own else (), device=device) for i in at]
                for _ in range(2):
                    packed_adamw_(W, G, at, M, V, t, lr=0.1, weight_decay=0.1, backend=backend)
                return torch.cat([w.float().flatten() for w in W])

            words = "own counts" if own else "one count"
            yield f"packed_adamw {words} {dtype}".replace("torch.", ""), dtype, call


def selection_calls(device: str) -> Iterator[tuple[str, torch.dtype, Call]]:
    """Selections and swaps of a mask, by one block and by several."""
    for n in (131, 20001):
        for dtype in TOLERANCE:

            def kth(backend: str, n: int = n, dtype: torch.dtype = dtype) -> torch.Tensor:
                x = _random(torch.Generator().manual_seed(n), n).to(device, dtype)
                found = subkern.kth_largest(x, n // 3, counts=True, backend=backend)
                return torch.stack([result.float() for result in found])

            def swap(backend: str, n: int = n, dtype: torch.dtype = dtype) -> torch.Tensor:
                x = _random(torch.Generator().manual_seed(n), n).to(device, dtype)
                found = subkern.update_mask(x, x.abs(), x > 0.5, n // 9, backend=backend)
                return torch.cat([result.float() for result in found])

            words = f"{n} {dtype}".replace("torch.", "")
            yield f"kth_largest {words}", dtype, kth
            yield f"update_mask {words}", dtype, swap


def main(argv: list[str]) -> int:
    """Run them: exit code 1 when one is wrong, 2 when no backend takes any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backends", nargs="+", default=["triton", "cuda"])
    options = parser.parse_args(argv)
    wrong = served = 0
    makers = (lowrank_calls, adam_calls, linalg_calls, sample_calls)
    makers += (spectral_calls, packed_calls, selection_calls)
    for name, dtype, call in (found for make in makers for found in make(options.device)):
        want = call("reference")
        for backend in options.backends:
            try:
                got = call(backend)
            except BackendUnavailableError as error:
                print(f"absent  {backend} {name}: {error}")
                continue
            served += 1
            error = ((got - want).norm() / want.norm()).item()
            good = error <= TOLERANCE[dtype]
            wrong += not good
            print(f"{'ok     ' if good else 'WRONG  '} {backend} {name}: difference {error:.1e}")
    if options.device == "cuda":
        torch.cuda.synchronize()
    print(f"{served} calls served, {wrong} wrong")
    return 1 if wrong else 0 if served else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
