"""What ``info`` says about each matrix of a batch: int32, one bit per event, 0 when all is well."""

from __future__ import annotations

import torch
from torch import Tensor

NONFINITE = 1  # the input holds an inf or a NaN; the results of that matrix are NaN
DEFICIENT = 2  # the columns are dependent; what is missing was filled up
UNCONVERGED = 4  # an iteration stopped at its limit
FALLBACK = 8  # a slower path was taken

_WORDS = {
    NONFINITE: "input that is not finite",
    DEFICIENT: "dependent columns",
    UNCONVERGED: "an iteration that did not converge",
    FALLBACK: "the fallback path",
}

# A sample's first two bits.
INVALID, SHORT = 1, 2
SAMPLING = {INVALID: "a negative weight or a NaN", SHORT: "too few positive weights"}


def raise_on(
    op: str,
    info: Tensor,
    bits: int = NONFINITE | UNCONVERGED,
    words: dict[int, str] = _WORDS,
    member: str = "matrix",
) -> None:
    """Read ``info`` back and raise when one of ``bits`` is set anywhere: what ``check=True`` does.

    Args:
        op: named by the message.
        info: int32, any shape.
        bits: those that count.
        words: what each bit says.
        member: what the batch is made of.

    Raises:
        torch.linalg.LinAlgError: names the first such matrix and what happened to it.
    """
    flat = (info & bits).flatten()
    if not bool(flat.any()):
        return
    first = int(flat.nonzero()[0])
    seen = int(flat[first])
    met = " and ".join(text for bit, text in words.items() if seen & bit)
    count = int((flat != 0).sum())
    raise torch.linalg.LinAlgError(
        f"{op}: {member} {first} of {flat.numel()} met {met}; {count} of them did so or similar"
    )
