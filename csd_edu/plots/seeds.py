"""Several runs of each method: one mark for each seed, and the interval of their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.plots.curves import some
from csd_edu.plots.style import GREY, INK, finished, label, method_looks, method_of

SYMBOLS = ("circle-open", "square-open", "triangle-up-open", "diamond-open", "star-open")


def per_seed(
    quantities: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
    seeds: Sequence[int],
    subtitle: str | Sequence[str] = "one mark for each seed",
    intervals: Mapping[str, tuple[float, float]] | None = None,
    zero: bool = False,
) -> go.Figure:
    """Return a row for each method, or difference of two, with one mark for each seed; a panel for each quantity.

    Args:
        quantities: by the name of an axis, for each row its values, one for each seed.
        title: above the figure.
        seeds: whose values they are.
        subtitle: a line below the title, or several.
        intervals: for each row the ends of the 95 % interval of its mean, which are drawn below its marks; NaN for
            none. With a single quantity only.
        zero: draw a line at 0, where there is no difference.

    Raises:
        ValueError: if there is nothing to draw, the panels have other rows than the first, a row has not one value
            for each seed, or there are intervals for several quantities.
    """
    first = next(iter(some("quantity", quantities).values()))
    for quantity, rows in quantities.items():
        if list(some("row", rows)) != list(first):
            raise ValueError(f"{quantity!r} has the rows {', '.join(rows)}; expected {', '.join(first)}, as the first")
        for name, values in rows.items():
            if len(values) != len(seeds):
                raise ValueError(f"{name!r} has {len(values)} values; expected one for each of {len(seeds)} seeds")
    if intervals is not None and (len(quantities) > 1 or set(intervals) != set(first)):
        raise ValueError("the intervals are of other rows; expected one for each row, and a single quantity")
    figure = make_subplots(1, len(quantities), shared_yaxes=True, horizontal_spacing=0.06)
    places = np.arange(len(first))
    spread = np.linspace(-0.33, 0.01, len(seeds)) if intervals and len(seeds) > 1 else np.zeros(len(seeds))
    known = method_looks()
    drawn = [known.get(method_of(name)) for name in first]
    colors = [look.color if look else GREY for look in drawn]
    for column, (quantity, rows) in enumerate(quantities.items(), 1):
        table = np.array(list(rows.values()), dtype=float)  # (rows, seeds)
        for place, color, values in zip(places, colors, table, strict=True) if intervals is None else ():
            line = {"x": [values.min(), values.max()], "y": [place, place], "line": {"color": color, "width": 2}}
            figure.add_scatter(mode="lines", hoverinfo="skip", showlegend=False, name="", **line, row=1, col=column)
        for k, seed in enumerate(seeds):
            marker = {"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 12, "line": {"width": 2}}
            mark = go.Scatter(mode="markers", name=f"seed {seed}", legendgroup=str(k), showlegend=False)
            mark.update(customdata=[label(name) for name in rows], hovertemplate="%{customdata}: %{x:.3f}")
            dots = {"x": table[:, k], "y": places + spread[k], "marker": {**marker, "color": colors}}
            figure.add_trace(go.Scatter(mark).update(dots), row=1, col=column)
            if column == 1:  # in the legend a seed has the colour of no method
                entry = {"x": [None], "y": [None], "marker": {**marker, "color": GREY}, "showlegend": True}
                figure.add_trace(go.Scatter(mark).update(entry), row=1, col=column)
        figure.update_xaxes(title_text=label(quantity, 100), row=1, col=column)
    if intervals is not None:
        means = np.array([np.mean(values) for values in first.values()])
        ends = np.array([intervals[name] for name in first], dtype=float)  # (rows, 2)
        figure.add_trace(_intervals(means, ends, places + 0.25))
    if zero:
        figure.add_vline(0, line={"color": GREY, "dash": "dot", "width": 2})
    names = [label(name).replace("_", " <br>") + " " for name in first]
    figure.update_xaxes(tickangle=0, nticks=max(3, 9 // len(quantities)))  # turned ones would reach into the legend
    figure.update_yaxes(tickvals=places, ticktext=names, automargin=True, showgrid=False)
    figure.update_yaxes(range=[len(first) - 0.4, -0.6])
    below = [subtitle] if isinstance(subtitle, str) else list(subtitle)
    height = (74 if intervals else 56) * len(first)
    return finished(figure, title, below, height, legend=True).update_layout(margin_r=20)


def _intervals(means: np.ndarray, ends: np.ndarray, places: np.ndarray) -> go.Scatter:
    """Return the means, at their places, with the ends (rows, 2) of their intervals."""
    beyond = {"type": "data", "symmetric": False, "array": ends[:, 1] - means, "arrayminus": means - ends[:, 0]}
    marks = go.Scatter(x=means, y=places, mode="markers", name="mean, 95 % interval", customdata=ends)
    marks.update(marker={"symbol": "diamond", "size": 11, "color": INK})
    marks.update(error_x={**beyond, "color": INK, "thickness": 3, "width": 8})
    return marks.update(hovertemplate="%{x:.3f}, from %{customdata[0]:.3f} to %{customdata[1]:.3f}")
