"""Lines, points and bars of any quantities, in the house style: for experiments that have no figure of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.plots.curves import HEIGHT, add_lines, some
from csd_edu.plots.style import GREY, any_looks, finished, label

PATTERNS = ("", "/", "x", ".", "-")


def lines(
    curves: Mapping[str, Sequence[float | None]],
    x: Sequence[float | str],
    *,
    title: str,
    x_title: str,
    y_title: str,
    subtitle: str | Sequence[str] = (),
    log: str = "",
    y_range: tuple[float, float] | None = None,
    marks: Mapping[str, float | str] | None = None,
    levels: Mapping[str, float] | None = None,
) -> go.Figure:
    """Return a line for each name over common places x.

    Args:
        curves: for each name its values, one for each place; None for a gap.
        x: the places: numbers, or words for places at equal distances.
        title: above the figure.
        x_title: what x is, with its unit.
        y_title: what the values are, with their unit.
        subtitle: a line below the title, or several.
        log: the axes that are logarithmic, "x", "y" or "xy".
        y_range: the ends of the vertical axis; default from the values.
        marks: places on x to be marked by a dotted line each, by the words beside it.
        levels: values to be marked by a dotted line each, by the words beside it; in the colour of the curve that its
            words begin with.

    Raises:
        ValueError: if there is no curve, one has not a value for each place, or `log` is unknown.
    """
    for name, values in some("curve", curves).items():
        _check_length(name, values, x, "places")
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f"log is {log!r}; expected 'x', 'y', 'xy' or ''")
    figure, drawn = make_subplots(1, 1), any_looks(list(curves))
    places: dict[str, list[tuple[Any, float | None]]] = {
        name: list(zip(x, values, strict=True)) for name, values in curves.items()
    }
    add_lines(figure, places, drawn, f"{label(x_title)} %{{x}}: %{{y:.4g}}", (0, 1), end_labels=False)
    words = any(isinstance(place, str) for place in x)
    figure.update_traces(marker_maxdisplayed=15)
    figure.update_xaxes(title_text=label(x_title, 100), type="category" if words else "log" if "x" in log else None)
    figure.update_yaxes(title_text=label(y_title, 100), range=y_range)
    if "x" in log:
        figure.update_xaxes(tickvals=list(x))
    if "y" in log:
        figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    for text, place in (marks or {}).items():
        before = list(x).index(place) if words else sum(float(other) < float(place) for other in x)
        at = before if words else place  # else plotly would take the word "1" for the second place
        figure.add_shape(x0=at, x1=at, y0=0, y1=1, yref="paper", line={"color": GREY, "dash": "dot"})
        at = math.log10(float(at)) if "x" in log else at  # unlike a shape, an annotation wants the logarithm
        side, shift = ("right", -4) if 2 * before >= len(x) else ("left", 4)
        beside = {"xanchor": side, "yanchor": "top", "xshift": shift, "showarrow": False, "font_color": GREY}
        figure.add_annotation(x=at, y=1, yref="paper", text=label(text), **beside)
    for k, (text, value) in enumerate(sorted((levels or {}).items(), key=lambda item: -item[1])):
        color = next((drawn[name].color for name in curves if text.startswith(name)), GREY)
        beside = {"annotation_text": label(text), "annotation_font_color": color}
        beside["annotation_position"] = (
            f"{'bottom' if k else 'top'} {_emptier_side(curves, value)}"  # highest: above it
        )
        figure.add_hline(value, line={"color": color, "dash": "dot", "width": 1.5}, **beside)
    return _framed(figure, title, subtitle, HEIGHT)


def points(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x_title: str,
    y_title: str,
    subtitle: str | Sequence[str] = (),
    texts: Mapping[str, Sequence[str]] | None = None,
    joined: bool = False,
    crosses: Mapping[str, tuple[float, float]] | None = None,
) -> go.Figure:
    """Return points in a plane, told apart by group.

    Args:
        groups: for each name the x and the y of its points.
        title: above the figure.
        x_title: what x is, with its unit.
        y_title: what y is, with its unit.
        subtitle: a line below the title, or several.
        texts: for each name what the pointer shows at each of its points.
        joined: connect the points of a group by a thin line.
        crosses: single places to compare with, by their names.

    Raises:
        ValueError: if there is no group, or one has not as many y or texts as x.
    """
    figure, drawn = go.Figure(), any_looks(list(some("group", groups)))
    for name, (x, y) in groups.items():
        said = [""] * len(x) if texts is None else [f"{label(text)}<br>" for text in texts[name]]
        _check_length(name, y, x, "x")
        _check_length(name, said, x, "x")
        color, symbol, _ = drawn[name]
        marker = {"color": color, "symbol": symbol, "size": 13 if len(x) < 10 else 9, "opacity": 0.8}
        dots = go.Scatter(x=list(x), y=list(y), name=label(name), text=said, marker=marker, line={"color": color})
        dots.update(mode="lines+markers" if joined else "markers", line_width=1)
        figure.add_trace(dots.update(hovertemplate="%{text}%{x:.3f}, %{y:.3f}"))
    for name, (across, up) in (crosses or {}).items():
        cross = {"symbol": "x-thin", "size": 12, "line": {"width": 3, "color": GREY}}
        figure.add_scatter(x=[across], y=[up], mode="markers", marker=cross, name=label(name))
    figure.update_xaxes(title_text=label(x_title, 100), zeroline=True, zerolinecolor=GREY)
    figure.update_yaxes(title_text=label(y_title, 100), zeroline=True, zerolinecolor=GREY)
    return _framed(figure, title, subtitle, HEIGHT + 60)


def bars(
    groups: Mapping[str, Sequence[float]],
    places: Sequence[str],
    *,
    title: str,
    y_title: str,
    subtitle: str | Sequence[str] = (),
    form: str = ".2f",
    top: float | None = None,
) -> go.Figure:
    """Return bars beside each other at each place, one for each name, with their values on them.

    Args:
        groups: for each name its values from 0, one for each place.
        places: in words, from left to right.
        title: above the figure.
        y_title: what the values are, with their unit.
        subtitle: a line below the title, or several.
        form: how the values are written, as of `format`.
        top: the end of the vertical axis; default a bit above the largest value.

    Raises:
        ValueError: if there is no group, or one has not a value for each place.
    """
    for name, values in some("group", groups).items():
        _check_length(name, values, places, "places")
    figure, drawn = go.Figure(), any_looks(list(groups))
    for k, (name, values) in enumerate(groups.items()):
        marker = {"color": drawn[name].color, "pattern": {"shape": PATTERNS[k % len(PATTERNS)]}}
        texts = [f"{value:{form}}" for value in values]
        bar = go.Bar(x=[label(place) for place in places], y=list(values), text=texts, name=label(name), marker=marker)
        figure.add_trace(bar.update(textposition="outside", cliponaxis=False, hovertemplate="%{x}: %{text}"))
    top = 1.1 * max(max(values) for values in groups.values()) if top is None else top
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title_text=label(y_title, 100), range=[0, top], tickformat=form if "%" in form else None)
    return _framed(figure, title, subtitle, HEIGHT)


def _emptier_side(curves: Mapping[str, Sequence[float | None]], level: float) -> str:
    """Return in which third, at the left or at the right, the curves keep farther from a level: its words go there."""
    far = {}
    for side in ("left", "right"):
        gaps = []
        for values in curves.values():
            third = math.ceil(len(values) / 3)
            ends = values[:third] if side == "left" else values[-third:]
            above = [value - level for value in ends if value is not None]
            crosses = min(above, default=1) < 0 < max(above, default=-1)
            gaps.append(0.0 if crosses else min(map(abs, above), default=math.inf))
        far[side] = min(gaps, default=math.inf)
    return "left" if far["left"] >= far["right"] else "right"


def _framed(figure: go.Figure, title: str, subtitle: str | Sequence[str], height: int) -> go.Figure:
    below = [subtitle] if isinstance(subtitle, str) else list(subtitle)
    return finished(figure, title, below, height, legend=True).update_layout(showlegend=True, margin_r=20)


def _check_length(name: str, values: Sequence[object], places: Sequence[object], what: str) -> None:
    if len(values) != len(places) or not len(places):
        raise ValueError(f"{name!r} has {len(values)} values for {len(places)} {what}; expected one for each")
