"""Pictures of runs: data in, a plotly figure out; nothing is shown, trained or read here.

Every method keeps its colour, marker and dash in all figures. A task matrix (see `csd_edu.metrics`) has in R[i][j]
a metric on task j's test queries after learning task i, None where there is no value.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.metrics import Matrix

Curve = Sequence[float | None]

PROTOCOLS = {
    "task": "task: search among the test images of the query's own task",
    "seen": "seen: search among the test images of all tasks learnt so far",
    "all": "all: search among the test images of every task, also those not learnt yet",
    "stale": "stale: new queries search the features that each task's own network left behind",
}
"""What each retrieval protocol searches in."""

FORMULA = "R[i][j]: on the test queries of task j, after learning task i"

INK, GREY, GRID, EMPTY = "#1f2328", "#59636e", "#e3e6ea", "#f3f4f6"

_AXIS = {"gridcolor": GRID, "title": {"standoff": 8, "font": {"size": 15}}, "ticks": "", "zeroline": False}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", "size": 15, "color": INK},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 16}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "yanchor": "top"},
        "hoverlabel": {"bgcolor": "white", "font": {"size": 14}},
    }
)
"""The house style: legible when projected, dark on white."""


class Style(NamedTuple):
    """How a method or a loss term is drawn: told apart by more than its colour."""

    color: str
    symbol: str
    dash: str = "solid"


# The colours of Okabe & Ito (2008), which the colour-blind can tell apart.
METHODS = {
    "finetune": Style("#D55E00", "square"),
    "lwf": Style("#0072B2", "triangle-up"),
    "csd": Style("#009E73", "circle"),
    "joint": Style("#000000", "diamond", "dash"),
}
TERMS = {
    "ce": Style("#0072B2", "square"),
    "triplet": Style("#E69F00", "triangle-up"),
    "kd": Style("#CC79A7", "diamond"),
    "csd": Style("#009E73", "circle"),
}
OTHERS = tuple(map(Style, ("#CC79A7", "#56B4E9", "#E69F00") * 4, ("star", "triangle-down", "hexagon", "cross") * 3))
# A heatmap has one colour of text, so two lie on each other. Below 0.43 white stands out from viridis, above it black.
LAYERS: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("white", 0.0, 0.43, {"coloraxis": "coloraxis"}),
    ("black", 0.43, 2.0, {"colorscale": [[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]], "showscale": False}),
)
HEIGHT = 320  # of a panel of curves, in pixels
DASHES = ("solid", "dot", "longdash", "dashdot", "longdashdot")


def task_matrices(
    matrices: Mapping[str, Matrix],
    *,
    title: str,
    protocol: str,
    formula: str = FORMULA,
    task_names: Sequence[str] | None = None,
    columns: int | None = None,
) -> go.Figure:
    """Return one annotated heatmap for each method, side by side on one colour scale from 0 to 1.

    Args:
        matrices: for each method a T × T task matrix of values from 0 to 1; None or NaN becomes an empty, hatched cell.
        title: the metric, such as "Recall@1".
        protocol: a name in `PROTOCOLS`, or the protocol in your own words.
        formula: what a cell is.
        task_names: for the axes; default "0", "1", ….
        columns: heatmaps in a row; default four, or fewer for many tasks.

    Raises:
        ValueError: if there is no matrix, they are not all T × T with one T, or a value is outside 0 to 1.
    """
    tables = {name: _table(name, matrix) for name, matrix in _some("matrix", matrices).items()}
    sizes = {name: len(table) for name, table in tables.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name!r}: {size} × {size}" for name, size in sizes.items())
        raise ValueError(f"the matrices have different sizes ({found}); expected the same tasks for all methods")
    n_tasks = next(iter(sizes.values()))
    columns = min(len(tables), columns or (4 if n_tasks <= 6 else 3 if n_tasks <= 10 else 2))
    rows = math.ceil(len(tables) / columns)
    height = 270 * rows
    spacing = {"horizontal_spacing": 0.1 / columns, "vertical_spacing": 90 / height}
    figure = make_subplots(rows, columns, subplot_titles=[f"<b>{label(name, 22)}</b>" for name in tables], **spacing)
    for k, (name, table) in enumerate(tables.items()):
        cell = {"row": k // columns + 1, "col": k % columns + 1}
        for ink, low, high, colors in LAYERS:
            text = [[f"{v:.2f}" if v is not None and low <= v < high else " " for v in row] for row in table]
            layer = go.Heatmap(z=table, text=text, texttemplate="%{text}", textfont_color=ink, xgap=2, ygap=2, **colors)
            layer.update(hovertemplate="after task %{y}, on task %{x}: %{z:.3f}", hoverongaps=False)
            figure.add_trace(layer.update(name=label(name)), **cell)
        figure.add_shape(type="path", path=_hatching(table), line={"color": "#c4cad1", "width": 1}, **cell)
        figure.update_xaxes(title_text="measured on task" if k + columns >= len(tables) else None, **cell)
        first = cell["col"] == 1
        figure.update_yaxes(title_text="after learning task" if first else None, showticklabels=first, **cell)
    axes = {"showgrid": False, **_task_axis(n_tasks, task_names)}
    figure.update_xaxes(range=[-0.5, n_tasks - 0.5], **axes)
    figure.update_yaxes(range=[n_tasks - 0.5, -0.5], **axes)  # the first task on top
    bar = {"thickness": 14, "outlinewidth": 0, "dtick": 0.25, "lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"}
    figure.update_layout(coloraxis={"cmin": 0, "cmax": 1, "colorscale": "Viridis", "colorbar": bar}, plot_bgcolor=EMPTY)
    hatched = any(None in row for table in tables.values() for row in table)
    legend = formula + " (hatched: no value)" * hatched
    return _finished(figure, title, [PROTOCOLS.get(protocol, protocol), legend], height)


def curves_over_tasks(
    curves: Mapping[str, Curve],
    *,
    title: str,
    metric: str,
    subtitle: str = "over the test queries of all tasks learnt so far",
    task_names: Sequence[str] | None = None,
    end_labels: bool = True,
) -> go.Figure:
    """Return one line for each method: a metric after each task.

    Args:
        curves: for each method its values, 0 to 1, after task 0, 1, …; None for a gap, fewer for an unfinished run.
            The method "joint" is dashed: the usual upper bound, under the same growing gallery.
        title: above the figure.
        metric: the name of the vertical axis.
        subtitle: what the metric is averaged over.
        task_names: one for each task; default "0", "1", ….
        end_labels: name each line at its end as well as in the legend.

    Raises:
        ValueError: if there is no curve, or one is empty or not of numbers from 0 to 1.
    """
    bound = "; joint training is the usual upper bound, under the same growing gallery"
    with_bound = any(method_of(name) == "joint" for name in curves)
    figure = _curve_panels({metric: curves}, task_names, 1, end_labels)
    return _finished(figure, title, [subtitle + bound * with_bound], HEIGHT, legend=True)


def classification_beside_retrieval(
    classification: Mapping[str, Curve],
    retrieval: Mapping[str, Curve],
    *,
    title: str = "Classification beside retrieval",
    queries: str = "the test images of all tasks learnt so far",
    task_names: Sequence[str] | None = None,
    columns: int = 2,
    end_labels: bool = True,
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

    Raises:
        ValueError: if there is no curve, the methods differ, or a curve is empty or not of numbers from 0 to 1.
    """
    odd = set(classification) ^ set(retrieval)
    if odd:
        raise ValueError(f"only one of the two has {', '.join(map(repr, sorted(odd)))}; expected the same methods")
    panels = {"Head accuracy": classification, "Recall@1": retrieval}
    figure = _curve_panels(panels, task_names, columns, end_labels)
    how = "chosen among the classes seen so far; searched in the test images of those classes"
    return _finished(figure, title, [f"the same images in both: {queries}", how], HEIGHT * (3 - columns), legend=True)


def loss_terms(
    records: Sequence[Mapping[str, Any]], *, title: str = "Loss terms", end_labels: bool = True
) -> go.Figure:
    """Return each loss term by name over the epochs of all tasks, with a boundary where a task begins.

    Args:
        records: of a run; those of kind "epoch" are drawn.
        title: above the figure.
        end_labels: name each line at its end as well as in the legend.

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
    figure.update_yaxes(title_text="mean over the epoch", range=span)
    _add_lines(figure, lines, _styles(names, TERMS), "epoch %{x}: %{y:.4f}", span, end_labels)
    for n, (start, stop) in enumerate(zip(starts, [*starts[1:], len(epochs)], strict=True)):
        band = {"fillcolor": "white" if n % 2 else EMPTY, "line_width": 0, "layer": "below"}
        text = {"annotation_text": f"{'' if n else 'task '}{epochs[start]['task']}", "annotation_font_color": GREY}
        figure.add_vrect(start + 0.5, stop + 0.5, annotation_position="top left", **band, **text)
    return _finished(figure, title, ["each term as the method returned it, weights included"], HEIGHT, legend=True)


def label(name: object, width: int = 40) -> str:
    """Return a name on one line, shortened, and without anything that plotly or a browser takes for HTML."""
    text = " ".join(str(name).encode("utf-8", "replace").decode().split())
    return html.escape(text if len(text) <= width else text[: width - 1] + "…")


def _some(what: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not values:
        raise ValueError(f"there is no {what} to draw; expected at least one, by the name of its method")
    return values


def _curve(name: str, curve: Curve) -> list[float | None]:
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


def _table(name: str, matrix: Matrix) -> list[list[float | None]]:
    """Return a task matrix with None for NaN, or raise if it is not T × T."""
    rows = [_curve(name, row) for row in matrix]
    if {len(row) for row in rows} != {len(rows)}:
        lengths = " or ".join(map(str, sorted({len(row) for row in rows})))
        raise ValueError(f"the matrix of {name!r} has {len(rows)} rows of {lengths or 'no'} values; expected T × T")
    return rows


def method_of(name: str) -> str:
    """Return the method that a label such as "csd(weight=0.5)" or "csd (seed 1)" is about."""
    return name.partition("(")[0].strip()


def _styles(names: Sequence[str], fixed: Mapping[str, Style]) -> dict[str, Style]:
    """Return a style for each name; several of one method differ by dash, and by open and filled markers."""
    bases = [method_of(name) for name in names]
    strangers = [base for base in dict.fromkeys(bases) if base not in fixed]
    styles = {}
    for k, (name, base) in enumerate(zip(names, bases, strict=True)):
        style = fixed[base] if base in fixed else OTHERS[strangers.index(base) % len(OTHERS)]
        nth = bases[:k].count(base)
        dash = style.dash if nth == 0 else DASHES[nth % len(DASHES)]
        styles[name] = Style(style.color, style.symbol + "-open" * (nth % 2), dash)
    return styles


def _curve_panels(
    panels: Mapping[str, Mapping[str, Curve]], task_names: Sequence[str] | None, columns: int, end_labels: bool
) -> go.Figure:
    """Return a figure with a panel for each metric: a line for each method over the tasks, from 0 to 1."""
    rows = len(panels) // columns
    spacing = {"horizontal_spacing": 0.2 if end_labels else 0.08, "vertical_spacing": 0.2}
    titles = [f"<b>{label(metric)}</b>" for metric in panels] if len(panels) > 1 else None
    figure = make_subplots(rows, columns, shared_yaxes=True, subplot_titles=titles, **spacing)
    for k, (metric, curves) in enumerate(panels.items()):
        values = {name: _curve(name, curve) for name, curve in _some("curve", curves).items()}
        n_tasks = max(map(len, values.values()))
        cell = {"row": k // columns + 1, "col": k % columns + 1}
        span, margin = (-0.03, 1.03), 0.06 * max(1, n_tasks - 1)
        figure.update_xaxes(
            title_text="after learning task", range=[-margin, n_tasks - 1 + margin], showgrid=False, **cell
        )
        figure.update_xaxes(**_task_axis(n_tasks, task_names), **cell)
        figure.update_yaxes(
            title_text=None if titles else label(metric), range=span, dtick=0.2, tickformat=".1f", **cell
        )
        hover = f"after task %{{x}}: {label(metric)} %{{y:.3f}}"
        lines = {name: list(enumerate(line)) for name, line in values.items()}
        _add_lines(figure, lines, _styles(list(lines), METHODS), hover, span, end_labels, showlegend=k == 0, **cell)
    return figure


def _add_lines(
    figure: go.Figure,
    lines: Mapping[str, Sequence[tuple[float, float | None]]],
    styles: Mapping[str, Style],
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
        style = styles[name]
        x, y = zip(*points, strict=True)
        line = {"color": style.color, "dash": style.dash, "width": 2.5}
        marker = {"symbol": style.symbol, "size": 9, "maxdisplayed": 60, "line": {"color": style.color, "width": 1.5}}
        trace = go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker=marker, hovertemplate=hover)
        trace.update(name=label(name), legendgroup=label(name), showlegend=showlegend)
        figure.add_trace(trace, row=row, col=col)
        ends += [(y_end, x_end, name) for x_end, y_end in points[-1:] if y_end is not None]
    last = max((x_end for _, x_end, _ in ends), default=None)
    ends = sorted(end for end in ends if end[1] == last and end_labels)  # a line that stops earlier is in others' way
    pixel = (span[1] - span[0]) / (HEIGHT - 20)
    for (y_end, x_end, name), place in zip(ends, _apart([end[0] for end in ends], 19 * pixel, span[1]), strict=True):
        arrow = {"ax": 24, "ay": (y_end - place) / pixel, "arrowhead": 0, "arrowwidth": 1, "standoff": 6}
        text = {"text": label(name, 18), "xanchor": "left", "font": {"size": 14}, "arrowcolor": styles[name].color}
        figure.add_annotation(x=x_end, y=y_end, row=row, col=col, **arrow, **text)


def _apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Return rising heights moved as little as needed to be a gap apart and below the top."""
    places = list(heights)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top - (len(places) - 1 - i) * gap)
    return places


def _hatching(table: Matrix) -> str:
    """Return three strokes through each cell without a value, as one path."""
    strokes = []
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            for a, b in ((-0.4, 0.1), (-0.4, 0.4), (-0.1, 0.4)) if value is None else ():
                strokes.append(f"M{j + a},{i + b}L{j + b},{i + a}")
    return "".join(strokes) or "M0,0"


def _task_axis(n_tasks: int, names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None and len(names) != n_tasks:
        raise ValueError(f"there are {len(names)} task names; expected {n_tasks}, one for each task")
    return {"tickvals": list(range(n_tasks)), "ticktext": [label(name, 12) for name in names or range(n_tasks)]}


def _finished(figure: go.Figure, title: str, subtitle: list[str], height: int, legend: bool = False) -> go.Figure:
    """Give a figure its title, with the lines below it, its size and the house style."""
    lines = "<br>".join(label(line, 200) for line in subtitle)
    below = {"text": lines, "font": {"size": 14, "color": GREY}}
    heading = {"text": f"<b>{label(title, 200)}</b>", "font": {"size": 20}, "subtitle": below}
    top, bottom = 88 + 19 * len(subtitle), 95 if legend else 55
    right = 40 + 8 * min(18, max(len(trace.name) for trace in figure.data)) if legend else 20
    margin = {"l": 70, "r": right, "t": top, "b": bottom}
    figure.update_layout(legend_y=-55 / height)  # below the axis's name, and lines that wrap push the panel up
    return figure.update_layout(template=TEMPLATE, title=heading, margin=margin, height=height + top + bottom)
