"""What is reached against what is kept for it: a mark for each method, over the bytes carried from task to task."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from csd_edu.methods import Card
from csd_edu.metrics import mean_interval
from csd_edu.plots.beside import beside
from csd_edu.plots.curves import some
from csd_edu.plots.style import GREY, finished, label, looks, method_looks, method_of

METRICS = {
    "recall_at_1": ("Recall@1", "up: the share of all test images whose nearest other one has their class, in the end"),
    "head_accuracy": ("Head accuracy", "up: the share of all test images whose class the head names, in the end"),
}
"""What is reached: the name of the axis, and what it means."""

CARRIED = "across: what is kept beside the network between two tasks, where it is most"
SEEDS = "a mark: the mean over a method’s seeds; its bar: the 95 % interval of the mean"
UNCOUNTED = "not shown, as an older version did not count the bytes: "
NAME = 48
"""Letters of a method's name: its settings are what marks of one method differ by."""
LONGEST = 85
"""Letters in a line below the title."""
ENTRY = 23
"""How high a line of the legend is in pixels, which in a narrow place holds one name."""
SIZES = (14, 14, 9, 9)
"""Of marks, in pixels: several settings of one method are told apart by size, and by filled and open ones."""
WIDTH, HEIGHT = 620, 400
"""Of the panel in pixels: where it is wider, labels only come to stand farther apart."""
ROOM = 0.13
"""How much of the panel's width is free to the right of all marks, for a name."""

Reached = Sequence[tuple[int | None, float]]
"""For each run of a method the bytes that it carries over, None if they were not counted; and what it reaches."""


class _Mark(NamedTuple):
    name: str
    n_bytes: float
    value: float
    half: float  # of the interval, 0 for none
    n: int


def recall_against_bytes(
    reached: Mapping[str, Reached],
    *,
    metric: str = "recall_at_1",
    title: str = "What does it take to remember?",
    subtitle: str | Sequence[str] = (),
    labels: bool = True,
    cards: Mapping[str, Card] | None = None,
) -> go.Figure:
    """Return one mark for each method: what it reaches in the end, over the bytes it carries from task to task.

    The axis of bytes is logarithmic, with a place for nothing at its left end.

    Args:
        reached: for each method one pair for each of its runs: the bytes, None if they were not counted; and the value,
            0 to 1. `csd_edu.pictures.recall_against_bytes` takes runs.
        metric: which value: "recall_at_1" or "head_accuracy".
        title: above the figure.
        subtitle: a line below the definitions, or several.
        labels: name each mark beside it; else in a legend, as a narrow place needs it.
        cards: by name those of methods that are not the kit's, for their colours and markers.

    Raises:
        ValueError: if no bytes of any run were counted, a value is not between 0 and 1, or there is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; expected one of {', '.join(map(repr, METRICS))}")
    marks = [mark for name, runs in some("method", reached).items() if (mark := _mark(name, runs)) is not None]
    if not marks:
        raise ValueError("the bytes of no run were counted; expected runs of this version of csd_edu")
    axis, meaning = METRICS[metric]
    logs = [math.log10(mark.n_bytes) for mark in marks if mark.n_bytes] or [3.0]
    decades = list(range(math.floor(min(logs)), max(math.floor(max(logs)), math.floor(min(logs)) + 1) + 1))
    step = 1 if labels else math.ceil(len(decades) / 4)
    ticks: dict[float, str] = {decade: _in_units(decade) for decade in decades[::step]}
    nothing = decades[0] - 0.7 * max(1, len(decades) / 5)
    if not all(mark.n_bytes for mark in marks):
        ticks = {nothing: "nothing", **ticks}
    places = [math.log10(mark.n_bytes) if mark.n_bytes else nothing for mark in marks]
    span = _widened(min(min(places), min(ticks)), max(max(places), max(ticks)), 0.05)
    if labels:
        span = span[0], max(span[1], max(places) + ROOM * (span[1] - span[0]))
    ends = [mark.value + sign * mark.half for mark in marks for sign in (-1, 1)]
    low, top = _widened(min(ends), max(ends), 0.09, least=0.05)
    rise = max(low, -0.02), min(top, 1.02)

    figure, drawn = go.Figure(), looks([mark.name for mark in marks], method_looks(cards))
    for k, (mark, place) in enumerate(zip(marks, places, strict=True)):
        nth = sum(method_of(other.name) == method_of(mark.name) for other in marks[:k])
        color, symbol, _ = drawn[mark.name]
        bar = {"array": [mark.half], "color": color, "thickness": 2, "width": 6, "visible": mark.half > 0}
        dot = {"color": color, "symbol": symbol, "size": SIZES[nth % len(SIZES)], "line": {"color": color, "width": 2}}
        within = f" ± {mark.half:.3f} (n = {mark.n})" if mark.half else ""
        said = f"{round(mark.n_bytes):,} bytes: {axis} {mark.value:.3f}{within}"
        point = go.Scatter(
            x=[place], y=[mark.value], mode="markers", marker=dot, error_y=bar, name=label(mark.name, NAME)
        )
        figure.add_trace(point.update(hovertemplate=said))
    if labels:
        x, y = (
            size * (np.array(along) - low) / (high - low)
            for size, along, (low, high) in ((WIDTH, places, span), (HEIGHT, [mark.value for mark in marks], rise))
        )
        bars = HEIGHT * np.array([mark.half for mark in marks]) / (rise[1] - rise[0])
        names = [label(mark.name, NAME) for mark in marks]
        for name, mark, place, at in zip(names, marks, places, beside(names, x, y, bars, (WIDTH, HEIGHT)), strict=True):
            figure.add_annotation(x=place, y=mark.value, text=name, **at)
    if nothing in ticks:  # no logarithm leads there
        middle = (nothing + decades[0]) / 2
        figure.add_vline(middle, line={"color": GREY, "dash": "dot", "width": 1.5}, layer="below")
    figure.update_xaxes(
        title_text="carried over from task to task (1 kB = 1,000 bytes)",
        tickvals=list(ticks),
        ticktext=list(ticks.values()),
        range=span,
        tickangle=0,
    )
    figure.update_yaxes(title_text=f"{axis}, all classes", range=rise, tickformat=".2f")
    lost = {name: sum(n_bytes is None for n_bytes, _ in runs) for name, runs in reached.items()}
    told = [
        name if n == len(reached[name]) else f"{name} ({n} of {len(reached[name])})" for name, n in lost.items() if n
    ]
    below = [meaning, CARRIED, *[SEEDS] * any(mark.half for mark in marks), *[UNCOUNTED + ", ".join(told)] * bool(told)]
    below += [subtitle] * bool(subtitle) if isinstance(subtitle, str) else list(subtitle)
    below = [part for line in below for part in textwrap.wrap(line, LONGEST)]
    finished(figure, title, below, HEIGHT, legend=not labels)
    figure.update_layout(margin_r=20, showlegend=not labels)
    if not labels:
        beneath = ENTRY * len(marks)
        figure.update_layout(height=figure.layout.height + beneath, margin_b=figure.layout.margin.b + beneath)
    return figure


def _mark(name: str, runs: Reached) -> _Mark | None:
    """Return a method's mark, or None if the bytes of none of its runs were counted."""
    for carried, value in runs:
        if value is None or (carried is not None and not 0 <= carried < math.inf):
            what = f"carries {carried} bytes" if value is not None else "a run without a value"
            raise ValueError(
                f"{name!r} {'has ' * (value is None)}{what}; expected a finite number of bytes, not below 0, or None, "
                "and a value for each run (Recall@1 needs two test images of a class)"
            )
    wrong = [value for _, value in runs if not 0 <= value <= 1]
    if wrong or not runs:
        raise ValueError(f"{name!r} has {wrong[0] if wrong else 'no run'}; expected values from 0 to 1, one for a run")
    counted = [(n_bytes, value) for n_bytes, value in runs if n_bytes is not None]
    if not counted:
        return None
    mean, half = mean_interval([value for _, value in counted])
    n_bytes = sum(n_bytes for n_bytes, _ in counted) / len(counted)
    return _Mark(name, n_bytes, mean, 0.0 if math.isnan(half) else half, len(counted))


def _in_units(decade: int) -> str:
    """Return 10 to the power of a whole number as bytes, such as "100 kB"."""
    unit = max(0, min(3, decade // 3))
    return f"{10 ** (decade - 3 * unit):,} {('B', 'kB', 'MB', 'GB')[unit]}"


def _widened(low: float, high: float, share: float, least: float = 0.0) -> tuple[float, float]:
    """Return the ends of an axis: those of the values, and a share of their distance beyond."""
    room = share * max(high - low, least)
    return low - room, high + room
