"""Derives the coefficients of `subkern.polar`: `python -m subkern.bench.polar_coefficients`.

Polar Express (Amsel, Persson, Musco, Gower, 2025, arXiv:2505.16932): if all singular values lie in
[l, u], the odd quintic p(x) = a x + b x^3 + c x^5 that stays nearest to 1 on [l, u] brings them to
[1 - E, 1 + E], and the composition of such steps is the best composition of quintics there is. Each
polynomial comes from Remez' exchange: 1 - p takes its largest size at l, at both critical points of
p and at u, with alternating signs.
"""

from __future__ import annotations

import numpy as np

# All but the last step are p(x / SAFETY): rounding may push values past the upper end.
SAFETY = 1.01
# The least l/u that a step is made for: at its critical points a polynomial takes large values down
# to those at l, where the rounding of the large ones would hide them.
CUSHION = 0.024
DIRECTION_STEPS, DIRECTION_BOUND = 5, 1e-3
ORTHOGONAL_BOUND, ORTHOGONAL_DONE = 1e-7, 0.99
# After these steps the classical cubic doubles the number of right digits.
CUBIC = (1.5, -0.5, 0.0)
CUBICS = 2
Step = tuple[float, float, float]


def minimax(low: float, high: float) -> tuple[Step, float]:
    """The odd quintic nearest to 1 on [low, high], and the distance E."""
    q, r, error = (3 * low + high) / 4, (low + 3 * high) / 4, np.inf
    for _ in range(100):
        x = np.array([low, q, r, high])
        terms = np.stack([x, x**3, x**5, np.array([1.0, -1.0, 1.0, -1.0])], 1)
        a, b, c, new = np.linalg.solve(terms, np.ones(4))
        root = np.sqrt(9 * b * b - 20 * a * c)
        q, r = np.sqrt((-3 * b + np.array([-1, 1]) * root) / (10 * c))
        if abs(error - new) <= 1e-15:
            break
        error = new
    return (float(a), float(b), float(c)), float(new)


def apply(step: Step, x: float) -> float:
    """p(x)."""
    a, b, c = step
    return x * (a + b * x * x + c * x**4)


def steps(bound: float, count: int | None = None) -> list[Step]:
    """The steps for values in [bound, 1]: ``count``, or until they reach ORTHOGONAL_DONE."""
    low, high = bound, 1.0
    made: list[Step] = []
    while len(made) < count if count is not None else low < ORTHOGONAL_DONE:
        step, error = minimax(max(low, CUSHION * high), high)
        low, high = apply(step, low), 1.0 + error
        scale = 2.0 / (low + high)  # centred again where the interval was cut
        a, b, c = (scale * value for value in step)
        made.append((a, b, c))
        low, high = scale * low, scale * high
    shrunk = [(a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in made[:-1]]
    return shrunk + made[-1:]


def table() -> dict[str, list[Step]]:
    """The steps of every preset."""
    return {
        "direction": steps(DIRECTION_BOUND, DIRECTION_STEPS),
        "orthogonal": steps(ORTHOGONAL_BOUND) + [CUBIC] * CUBICS,
    }


def text() -> str:
    """The table as it stands in subkern/reference/polar_table.py."""
    lines = ["STEPS: dict[str, tuple[tuple[float, float, float], ...]] = {"]
    for name, made in table().items():
        lines.append(f'    "{name}": (')
        lines += [f"        ({a:.9g}, {b:.9g}, {c:.9g})," for a, b, c in made]
        lines.append("    ),")
    return "\n".join([*lines, "}"])


if __name__ == "__main__":
    print(text())
