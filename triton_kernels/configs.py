"""Tile shapes and split counts, chosen from the shape and dtype alone; plain Python, no triton.

A result must not depend on how parameters are grouped, nor on the GPU it happens to run on: nothing
here looks at the number of parameters in a launch or at the device.
"""

from __future__ import annotations

from dataclasses import dataclass

# The machine that the split counts are balanced for: an H100's multiprocessors, its matrix
# throughput (FLOP/s, bfloat16 and TF32 taken three times) and what its L2 cache moves (bytes/s).
PROCESSORS = 132
MATRIX_RATE = {2: 800e12, 4: 130e12}
CACHE_RATE = 5.5e12

# A slice of a sum is at least this long: shorter ones move more partial sums than gradient.
SHORTEST_SLICE = 1024
MOST_SLICES = 8


@dataclass(frozen=True)
class Tile:
    """Block of one program: ``m`` x ``n`` outputs, ``k`` terms at a time."""

    m: int
    n: int
    k: int
    warps: int
    stages: int

    def count(self, rows: int, cols: int) -> int:
        """Tiles that cover rows x cols."""
        return ceil_div(rows, self.m) * ceil_div(cols, self.n)


def ceil_div(a: int, b: int) -> int:
    """Quotient, rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """Smallest multiple of ``b`` that is at least ``a``."""
    return ceil_div(a, b) * b


def _rank_block(rank: int) -> int:
    """Columns of a tile.

    With 128 two blocks share a multiprocessor and one loads while the other computes; for larger
    ranks the gradient is read again, from L2.
    """
    return 128 if rank > 64 else 64


def project_tile(rank: int, itemsize: int, fira: bool) -> Tile:
    """Tile of X P: canonical columns by rank."""
    block = _rank_block(rank)
    if itemsize == 2 and fira:  # the squares of X take the registers of deeper tiles
        return Tile(128, block, 32, 8, 5)
    if itemsize == 2:
        return Tile(128, block, 64, 8, 3)
    return Tile(64, block, 32, 8, 3)


def fused_tile(rank: int, itemsize: int) -> Tile:
    """The same where the moments are updated from the tile, beside it in registers."""
    return Tile(64, _rank_block(rank), 64 if itemsize == 2 else 32, 8, 3)


def update_tile(itemsize: int, fira: bool) -> Tile:
    """Tile of W; its sum is as long as the rank, so that reading and writing W dominates."""
    if itemsize == 2:
        return Tile(128, 128, 32 if fira else 64, 8, 3)
    return Tile(64, 128, 32, 8, 3)


def update_parts(itemsize: int) -> int:
    """Into how many parts a tile of W is cut to be written; four leave room for a second block."""
    return 4 if itemsize == 2 else 1


def slices(tile: Tile, rows: int, cols: int, length: int, itemsize: int, largest: int) -> int:
    """Into how many slices the sums of a rows x cols product of ``length`` terms are cut.

    Fewest slices among those of least predicted time for a single matrix; ``largest`` bounds them
    from outside (scratch).
    """
    tiles = tile.count(rows, cols)
    flops = 2 * tile.m * tile.n * length * PROCESSORS / MATRIX_RATE[itemsize]

    def seconds(count: int) -> float:
        waves = ceil_div(tiles * count, PROCESSORS)
        moved = 2 * 4 * rows * cols * count
        return waves * flops / count + moved / CACHE_RATE

    most = max(1, min(MOST_SLICES, largest, length // SHORTEST_SLICE))
    return min(range(1, most + 1), key=lambda count: (seconds(count), count))


def slice_length(tile: Tile, length: int, count: int) -> int:
    """Terms of every slice but the last, a multiple of the tile's depth."""
    return round_up(ceil_div(length, count), tile.k)


def moments_tile(by_column: bool, rank: int) -> Tile:
    """Tile of R in the stage between the products: a narrow band of canonical columns.

    Narrow bands make many programs of a matrix; 16 float32 are still two whole sectors.
    """
    if rank <= 16:  # wide instead of mostly empty
        return Tile(16, 64, 1, 4, 1) if by_column else Tile(64, 16, 1, 4, 1)
    return Tile(64, 16, 1, 4, 1) if by_column else Tile(8, 128, 1, 4, 1)


def symmetric_tile(side: int, itemsize: int, aligned: bool) -> Tile:
    """Square tile of a symmetric product; float32 is multiplied as three TF32 products.

    Large tiles only where loads are wide: the addresses of narrow ones take the registers.
    """
    if side <= 32:
        return Tile(32, 32, 32, 4, 3)
    if side <= 512 or itemsize == 4 or not aligned:
        return Tile(64, 64, 64 if itemsize == 2 and aligned else 32, 4, 3)
    return Tile(128, 128, 64, 8, 3)


ADAM_BLOCK = 1024  # elements at once: eight per thread of bfloat16
ADAM_WARPS = 4


def adam_chunk(total: int) -> int:
    """Elements of one program; long lists take longer ones, to read fewer flags."""
    return (4 if total <= 1 << 24 else 32 if total <= 1 << 28 else 128) * ADAM_BLOCK


GROUP_BLOCK = 1024  # numbers of a group at once: eight per thread
GROUP_WARPS = 4
GROUP_SUMS = 256  # sums of parts at once


def group_chunk(n: int) -> int:
    """Numbers of a group of ``n`` that one program takes; at most 1024 programs share a group."""
    return max(2 * GROUP_BLOCK, round_up(ceil_div(n, 1024), GROUP_BLOCK))
