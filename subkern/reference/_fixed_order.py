"""Arithmetic whose bits depend neither on the number of threads nor on what else is in the batch.

torch splits a sum with one result among threads, and its complex products round differently in
full vectors and in what is left over at the end of a thread's part.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 4096  # terms; torch splits sums of 32768


def ordered_sum(terms: Tensor) -> Tensor:
    """(g,): the sums of the rows of ``terms`` (g, n), piece by piece."""
    groups, n = terms.shape
    terms = terms.contiguous()  # other strides are summed in another order
    if n <= PIECE:
        return terms.sum(1)
    padded = torch.nn.functional.pad(terms, (0, -n % PIECE))
    return padded.view(groups, -1, PIECE).sum(2).sum(1)


def times(a: Tensor, b: Tensor) -> Tensor:
    """The product of every a and b, every real product and sum of which is rounded by itself."""
    if not (a.is_complex() and b.is_complex()):
        return a * b
    re = a.real * b.real - a.imag * b.imag
    return torch.complex(re, a.real * b.imag + a.imag * b.real)


def conj_times(a: Tensor, b: Tensor) -> Tensor:
    """The product of every conj(a) and b, likewise.

    Within an op that compiled code calls, torch forgets that a view is conjugate: none is made.
    """
    if not (a.is_complex() and b.is_complex()):
        return a * b if not a.is_complex() else torch.complex(a.real * b, -(a.imag * b))
    re = a.real * b.real + a.imag * b.imag
    return torch.complex(re, a.real * b.imag - a.imag * b.real)
