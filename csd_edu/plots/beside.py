"""Where the names of marks stand in a panel: near their marks, and on top of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from csd_edu.plots.style import GREY

LETTER, LINE = 7.6, 18
"""How wide a letter and how high a line of a name is, about, in pixels."""
MARK = 9
"""From a mark's middle to its rim, in pixels."""
GAPS = (18, 42, 66)
"""From a mark's middle across to its name, in pixels: beside it, or farther where marks stand close together. Plotly
draws no line to a name of which a corner lies in the diagonal below the mark: with `RUNGS` these keep clear of that."""
RUNGS = 12.0 * np.arange(-10, 11)
"""From a mark's middle up to that of its name, in pixels."""
ORDERS = 5
"""In how many orders the names are placed, of which the best is taken."""


def beside(
    names: Sequence[str], x: np.ndarray, y: np.ndarray, bars: np.ndarray, size: tuple[float, float]
) -> list[dict[str, Any]]:
    """Return for each mark how plotly should place its name: where it covers least, and as near as it can.

    One name after the other takes the best place among those that are there, and then twice more another one if that is
    better by now.

    Args:
        names: as they are written.
        x, y: (M,) of the marks, in pixels from the panel's lower left corner.
        bars: (M,) how far a bar reaches up and down from each mark, in pixels.
        size: width and height of the panel in pixels.
    """
    side, gap, rung = (part.ravel() for part in np.meshgrid([1, -1], GAPS, RUNGS))  # (P,) places to try
    away = np.hypot(rung, gap - GAPS[0])  # (P,)
    starts = np.stack([x[:, None] + side * gap, y[:, None] + rung], axis=-1)  # (M, P, 2), the end at the mark
    marks = np.stack([x, y], axis=1)  # (M, 2)
    halves = LETTER / 2 * np.array([[len(name)] for name in names])  # (M, 1) of the names' widths
    inwards = np.stack([side * halves, 0 * side * halves], axis=-1)  # (M, P, 2)
    boxes = _boxes(starts + inwards, halves, LINE / 2)  # (M, P, 4)
    shares = np.linspace(0.3, 0.95, 6)[:, None]
    leaders = _boxes(marks[:, None, None] + shares * (starts - marks[:, None])[:, :, None], 3, 3)  # (M, P, 6, 4)
    dots, whiskers = _boxes(marks, MARK, MARK), _boxes(marks, 4, np.maximum(MARK, bars))  # (M, 4) each
    panel = np.array([[0, 0, *size]])

    costs = []  # of each mark's name at each place (P,), as far as the other names play no part
    for k in range(len(names)):
        outside = 2 * halves[k] * LINE - shared(boxes[k], panel)
        hidden = shared(leaders[k], np.delete(dots, k, axis=0)).sum(axis=1)
        gaps = np.linalg.norm(starts[k][:, None] - np.delete(marks, k, axis=0), axis=-1)  # (P, M − 1)
        mistaken = np.maximum(np.hypot(rung, gap) + LINE - gaps.min(axis=1, initial=np.inf), 0)  # for another's name
        covered = shared(boxes[k], dots) + shared(boxes[k], whiskers) / 3
        costs.append(covered + hidden + 5 * outside + 4 * mistaken + away + away**2 / 40 + (side < 0))

    def placed(order: Sequence[int]) -> tuple[float, list[int]]:
        """Return the cost of all names, and the place of each, when they were placed in this order."""
        found: dict[int, int] = {}
        total = np.zeros(len(names))
        for k in [*order] * 3:
            others = [(boxes[j, at], leaders[j, at]) for j, at in found.items() if j != k]
            taken = np.concatenate([np.zeros((0, 4)), *[part.reshape(-1, 4) for pair in others for part in pair]])
            cost = costs[k] + shared(boxes[k], taken) + 5 * shared(leaders[k], taken).sum(axis=1)
            found[k], total[k] = int(cost.argmin()), cost.min()
        return float(total.sum()), [found[k] for k in range(len(names))]

    orders = np.random.default_rng(0)
    _, chosen = min(placed(orders.permutation(len(names)).tolist()) for _ in range(ORDERS))
    return [
        {
            "ax": int(side[at] * gap[at]),
            "ay": -float(rung[at]),
            "xanchor": "left" if side[at] > 0 else "right",
            "arrowhead": 0,
            "arrowwidth": 1,
            "arrowcolor": GREY if away[at] > MARK else "rgba(0,0,0,0)",
            "standoff": 7,
            "font": {"size": 14},
        }
        for at in chosen
    ]


def shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area (...) that boxes (..., 4) share with others (M, 4), summed over these.

    A box is left, bottom, right and top.
    """
    boxes = boxes[..., None, :]  # (..., 1, 4)
    sides = np.maximum(np.minimum(boxes[..., 2:], others[:, 2:]) - np.maximum(boxes[..., :2], others[:, :2]), 0)
    areas: np.ndarray = (sides[..., 0] * sides[..., 1]).sum(axis=-1)
    return areas


def _boxes(middles: np.ndarray, half_width: float | np.ndarray, half_height: float | np.ndarray) -> np.ndarray:
    """Return boxes (..., 4) around their middles (..., 2)."""
    x, y = middles[..., 0], middles[..., 1]
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)
