"""Curves: metrics after each task, and loss terms over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.methods import Card, Look
from csd_edu.plots.style import (
    EMPTY,
    GREY,
    finished,
    known_cards,
    label,
    looks,
    method_looks,
    method_of,
    task_axis,
    term_looks,
)

Curve = Sequence[float | None]

HEIGHT = 320  # of a panel, in pixels


def curves_over_tasks(
    curves: Mapping[str, Curve],
    *,
    title: str,
    metric: str,
    subtitle: str = "over the test queries of all tasks learnt so far",
    task_names: Sequence[str] | None = None,
    end_labels: bool = True,
    cards: Mapping[str, Card] | None = None,
) -> go.Figure:
    """Return one line for each method: a metric after each task.

    Args:
        curves: for each method its values, 0 to 1, after task 0, 1, …; None for a gap, fewer for an unfinished run.
        title: above the figure.
        metric: the name of the vertical axis.
        subtitle: what the metric is averaged over.
        task_names: one for each task; default "0", "1", ….
        end_labels: name each line at its end as well as in the legend.
        cards: by name those of methods that are not the kit's, for their colours, markers and dashes.

    Raises:
        ValueError: if there is no curve, or one is empty or not of numbers from 0 to 1.
    """
    known = known_cards(cards)
    cards_drawn = {name: known[name] for name in map(method_of, some("curve", curves)) if name in known}.values()
    bounds = [f"; {card.title.lower()} is {card.bound}" for card in cards_drawn if card.bound]
    bound = "".join(bounds) + ", under the same growing gallery" * bool(bounds)
    figure = _curve_panels({metric: curves}, task_names, 1, end_labels, known)
    return finished(figure, title, [subtitle + bound], HEIGHT, legend=True)


def classification_beside_retrieval(
    classification: Mapping[str, Curve],
    retrieval: Mapping[str, Curve],
    *,
    title: str = "Classification beside retrieval",
    queries: str = "the test images of all tasks learnt so far",
    task_names: Sequence[str] | None = None,
    columns: int = 2,
    end_labels: bool = True,
    cards: Mapping[str, Card] | None = None,
) -> go.Figure:
    """Return two panels on one scale: head accuracy, and Recall@1, after each task, for each method.

    Args:
        classification: for each method the accuracy of its head after task 0, 1, …, among the classes seen so far.
        retrieval: for the same methods Recall@1 of the same images in the gallery of the same classes.
        title: above the figure.
        queries: which images are classified and searched for.
        task_names: one for each task; default "0", "1", ….
        columns: 2 for side by side, 1 for one above the other.
        end_labels: name each line at its end as well as in the legend.
        cards: by name those of methods that are not the kit's, for their colours, markers and dashes.

    Raises:
        ValueError: if there is no curve, the methods differ, or a curve is empty or not of numbers from 0 to 1.
    """
    odd = set(classification) ^ set(retrieval)
    if odd:
        raise ValueError(f"only one of the two has {', '.join(map(repr, sorted(odd)))}; expected the same methods")
    panels = {"Head accuracy": classification, "Recall@1": retrieval}
    figure = _curve_panels(panels, task_names, columns, end_labels, known_cards(cards))
    how = "chosen among the classes seen so far; searched in the test images of those classes"
    return finished(figure, title, [f"the same images in both: {queries}", how], HEIGHT * (3 - columns), legend=True)


def loss_terms(
    records: Sequence[Mapping[str, Any]],
    *,
    title: str = "Loss terms",
    end_labels: bool = True,
    cards: Mapping[str, Card] | None = None,
) -> go.Figure:
    """Return each loss term by name over the epochs of all tasks, with a boundary where a task begins.

    Args:
        records: of a run; those of kind "epoch" are drawn.
        title: above the figure.
        end_labels: name each line at its end as well as in the legend.
        cards: by name those of methods that are not the kit's, for their colours, markers and dashes.

    Raises:
        ValueError: if there is no record of an epoch.
    """
    epochs = [record for record in records if record["kind"] == "epoch"]
    if not epochs:
        raise ValueError("there is no record of an epoch; expected those of a run that has trained for at least one")
    names = list(dict.fromkeys(name for record in epochs for name in record["losses"]))
    values = [value for record in epochs for value in record["losses"].values()]
    low, high = min(0.0, *values), max(0.1, *values)
    span = (low - 0.04 * (high - low), high + 0.12 * (high - low))
    starts = [k for k, record in enumerate(epochs) if k == 0 or record["task"] != epochs[k - 1]["task"]]
    figure = make_subplots(1, 1)
    lines: dict[str, list[tuple[float, float | None]]] = {name: [] for name in names}
    for k, record in enumerate(epochs):
        for name, points in lines.items():  # a gap at each boundary: other classes, a fresh optimiser
            points += [(k + 0.5, None)] * (k in starts) + [(k + 1, record["losses"].get(name))]
    figure.update_xaxes(title_text="epoch, counted over all tasks", range=[0.5, len(epochs) + 0.5], showgrid=False)
    figure.update_xaxes(dtick=1 if len(epochs) <= 12 else None)  # else plotly would count half epochs
    figure.update_yaxes(title_text="mean over the epoch", range=span)
    add_lines(figure, lines, looks(names, term_looks(cards)), "epoch %{x}: %{y:.4f}", span, end_labels)
    for n, (start, stop) in enumerate(zip(starts, [*starts[1:], len(epochs)], strict=True)):
        band = {"fillcolor": "white" if n % 2 else EMPTY, "line_width": 0, "layer": "below"}
        text = {"annotation_text": f"{'' if n else 'task '}{epochs[start]['task']}", "annotation_font_color": GREY}
        figure.add_vrect(start + 0.5, stop + 0.5, annotation_position="top left", **band, **text)
    return finished(figure, title, ["each term as the method returned it, weights included"], HEIGHT, legend=True)


def some(what: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        name = type(values).__name__
        raise ValueError(f"expected each {what} by the name of its method, such as {{'csd': …}}, and not a {name}")
    if not values:
        raise ValueError(f"there is no {what} to draw; expected at least one, by the name of its method")
    return values


def checked_curve(name: str, curve: Curve) -> list[float | None]:
    """Return the values with None for NaN, or raise if they can't be drawn on a scale from 0 to 1."""
    try:
        values = [None if value is None or math.isnan(value) else float(value) for value in curve]
    except (TypeError, ValueError):
        raise ValueError(
            f"the values of {name!r} are no sequence of numbers; expected one such as [0.9, None]"
        ) from None
    wrong = [value for value in values if value is not None and not 0 <= value <= 1]
    if wrong or not values:
        raise ValueError(f"{name!r} has {wrong[0] if wrong else 'no value'}; expected values from 0 to 1, or None")
    return values


def _curve_panels(
    panels: Mapping[str, Mapping[str, Curve]],
    task_names: Sequence[str] | None,
    columns: int,
    end_labels: bool,
    cards: Mapping[str, Card],
) -> go.Figure:
    """Return a figure with a panel for each metric: a line for each method over the tasks, from 0 to 1."""
    rows = len(panels) // columns
    spacing = {"horizontal_spacing": 0.2 if end_labels else 0.08, "vertical_spacing": 0.2}
    titles = [f"<b>{label(metric)}</b>" for metric in panels] if len(panels) > 1 else None
    figure = make_subplots(rows, columns, shared_yaxes=True, subplot_titles=titles, **spacing)
    for k, (metric, curves) in enumerate(panels.items()):
        values = {name: checked_curve(name, curve) for name, curve in some("curve", curves).items()}
        n_tasks = max(map(len, values.values()))
        cell = {"row": k // columns + 1, "col": k % columns + 1}
        span, margin = (-0.03, 1.03), 0.06 * max(1, n_tasks - 1)
        figure.update_xaxes(
            title_text="after learning task", range=[-margin, n_tasks - 1 + margin], showgrid=False, **cell
        )
        figure.update_xaxes(**task_axis(n_tasks, task_names), **cell)
        figure.update_yaxes(
            title_text=None if titles else label(metric), range=span, dtick=0.2, tickformat=".1f", **cell
        )
        hover = f"after task %{{x}}: {label(metric)} %{{y:.3f}}"
        lines = {name: list(enumerate(line)) for name, line in values.items()}
        drawn = looks(list(lines), method_looks(cards))
        add_lines(figure, lines, drawn, hover, span, end_labels, showlegend=k == 0, **cell)
    return figure


def add_lines(
    figure: go.Figure,
    lines: Mapping[str, Sequence[tuple[float, float | None]]],
    drawn: Mapping[str, Look],
    hover: str,
    span: tuple[float, float],
    end_labels: bool,
    showlegend: bool = True,
    row: int = 1,
    col: int = 1,
) -> None:
    """Draw lines through their points (x, y) and, if wanted, write each one's name beside its last point."""
    ends = []
    for name, points in lines.items():
        look = drawn[name]
        x, y = zip(*points, strict=True)
        line = {"color": look.color, "dash": look.dash, "width": 2.5}
        marker = {"symbol": look.symbol, "size": 9, "maxdisplayed": 60, "line": {"color": look.color, "width": 1.5}}
        trace = go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker=marker, hovertemplate=hover)
        trace.update(name=label(name), legendgroup=label(name), showlegend=showlegend)
        figure.add_trace(trace, row=row, col=col)
        ends += [(y_end, x_end, name) for x_end, y_end in points[-1:] if y_end is not None]
    last = max((x_end for _, x_end, _ in ends), default=None)
    ends = sorted(end for end in ends if end[1] == last and end_labels)  # a line that stops earlier is in others' way
    pixel = (span[1] - span[0]) / (HEIGHT - 20)
    for (y_end, x_end, name), place in zip(ends, _apart([end[0] for end in ends], 19 * pixel, span[1]), strict=True):
        arrow = {"ax": 24, "ay": (y_end - place) / pixel, "arrowhead": 0, "arrowwidth": 1, "standoff": 6}
        text = {"text": label(name, 24), "xanchor": "left", "font": {"size": 14}, "arrowcolor": drawn[name].color}
        figure.add_annotation(x=x_end, y=y_end, row=row, col=col, **arrow, **text)


def _apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Return rising heights moved as little as needed to be a gap apart and below the top."""
    places = list(heights)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top - (len(places) - 1 - i) * gap)
    return places
