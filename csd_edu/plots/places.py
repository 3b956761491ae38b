"""What maps and planes have in common: the window through which points are seen, clouds of points, and rims."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from csd_edu.plots.style import INK

INSIDE = 0.68
"""The share of a normal distribution that an ellipse holds."""
RADIUS = math.sqrt(-2 * math.log(1 - INSIDE))  # of that ellipse, in standard deviations


def window(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corners (2,) of the window in which to show points (n, 2): all but the few that are far out.

    In each direction it is as wide as the middle 98 % of the points, and half of that more at each end if need be.
    """
    points = points.double()
    low, high = points.quantile(0.01, dim=0), points.quantile(0.99, dim=0)
    more = (high - low) / 2
    return torch.maximum(low - more, points.min(dim=0).values), torch.minimum(high + more, points.max(dim=0).values)


def seen(points: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return points (..., 2) as they are seen in a window, those outside at its border, and which are (...) bool."""
    inside = torch.minimum(torch.maximum(points.double(), low), high)
    return inside, (points.double() != inside).any(dim=-1)


def window_axis(low: float, high: float, margin: float) -> dict[str, Any]:
    """Return what an axis without numbers needs to show a window."""
    return {"range": [low - margin, high + margin], "showticklabels": False, "showgrid": False, "zeroline": False}


def rims(outside: Tensor) -> dict[str, Any]:
    """Return the rims of points: dark for those outside of the window (n,)."""
    far = outside.tolist()
    return {"width": [2 if out else 0.6 for out in far], "color": [INK if out else "white" for out in far]}


def further_out(outside: Tensor) -> str:
    """Return as a line below a panel how many points (n,) lie outside of its window; "" if none does."""
    n = int(outside.sum())
    return f"<br>{n} point{'s' * (n > 1)} further out (dark rim, at the border)" if n else ""


def ellipse(points: Tensor, corners: int = 32) -> list[list[float | None]]:
    """Return x and y of the ellipse that holds 68 % of a normal cloud with mean and covariance of points (n, 2).

    Of fewer than three points there is none.
    """
    if len(points) < 3:
        return [[None], [None]]
    values, axes = torch.linalg.eigh(points.double().T.cov())  # (2,), (2, 2)
    angles = torch.linspace(0, 2 * math.pi, corners + 1, dtype=torch.float64, device="cpu")
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)  # (corners + 1, 2)
    around = points.double().mean(dim=0) + RADIUS * circle * values.clamp(min=0).sqrt() @ axes.T
    return rounded(around)


def rounded(points: Tensor) -> list[Any]:
    """Return points (..., n, 2) as lists of x and y, three decimals: finer than a pixel and short when written."""
    plain: list[Any] = ((points.double() * 1000).round() / 1000).transpose(-1, -2).tolist()
    return plain


def cloud(points: Tensor, color: str) -> dict[str, Any]:
    """Return a trace's options for the ellipse of points (n, 2)."""
    x, y = ellipse(points)
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    area = {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},0.14)", "line": {"color": color, "width": 1}}
    return {"mode": "lines", "x": x, "y": y, **area, "hoverinfo": "skip"}


def mean_mark(color: str, symbol: str) -> dict[str, Any]:
    """Return the mark of a class mean."""
    return {"color": color, "symbol": symbol, "size": 14, "opacity": 1, "line": {"color": INK, "width": 1.2}}
