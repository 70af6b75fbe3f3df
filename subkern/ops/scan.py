"""What other ops scale and judge a matrix by, in one read of it; not public."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._library import define_op


def _fake(X: Tensor, *, backend: str) -> Tensor:
    return X.new_empty((X.shape[0], 3), dtype=torch.float64)


scan = define_op("scan", "(Tensor X, *, str backend) -> Tensor", _fake)
