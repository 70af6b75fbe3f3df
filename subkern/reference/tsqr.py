"""QR factors of a tall matrix whose rows lie in several pieces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.reference.orthonormalize import orthonormalize


def tsqr(shards: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Rows of Q in the same pieces, R with Y = Q R and diag(R) >= 0, and orthonormalize's info.

    Args:
        shards: (m_i, k) each; Y is all of them on top of each other, with sum m_i >= k.
    """
    Q, R, info = orthonormalize(torch.cat(list(shards))[None], method="householder")
    return Q[0].split([len(shard) for shard in shards]), R[0], info[0]
