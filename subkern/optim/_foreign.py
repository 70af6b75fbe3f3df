"""State of galore-torch and fira under our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def translated(
    owner: str, values: Mapping[str, Any], fresh: Mapping[str, Tensor], side: str
) -> dict[str, Any]:
    """State of galore-torch or fira under our names; the projector object is read, not kept."""
    renamed = {"scaling_grad": "limiter"}
    ours = {renamed.get(name, name): value for name, value in values.items() if name != "projector"}
    ours = {name: value for name, value in ours.items() if name in fresh}
    if "basis" not in fresh:
        return ours
    # Their refreshes follow the step count, ours a count of its own.
    ours["calls"] = int(values.get("step", 0))
    matrix = getattr(values.get("projector"), "ortho_matrix", None)
    if matrix is None:
        return ours
    ours["refreshes"] = 1
    both = isinstance(matrix, (list, tuple)) and len(matrix) == 2
    if both != (side == "full") or not all(map(_is_matrix, matrix if both else [matrix])):
        expected = "two matrices" if side == "full" else "one matrix"
        raise ValueError(
            f"{owner}: projector must hold {expected} for side {side!r}, "
            f"got {type(matrix).__name__}"
        )
    # They store a left basis m x r as we do, a right one transposed.
    if side == "full":
        ours["basis"], ours["basis_right"] = matrix[0], matrix[1].T
    else:
        ours["basis"] = matrix if side == "left" else matrix.T
    return ours


def _is_matrix(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2
