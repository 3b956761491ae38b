"""Task matrices as annotated heatmaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.metrics import PROTOCOLS, Matrix
from csd_edu.plots.curves import checked_curve, some
from csd_edu.plots.style import EMPTY, finished, label, task_axis

FORMULA = "R[i][j]: on the test queries of task j, after learning task i"

# A heatmap has one colour of text, so two lie on each other. Below 0.43 white stands out from viridis, above it black.
LAYERS: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("white", 0.0, 0.43, {"coloraxis": "coloraxis"}),
    ("black", 0.43, 2.0, {"colorscale": [[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]], "showscale": False}),
)


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
        protocol: a name in `csd_edu.metrics.PROTOCOLS`, or the protocol in your own words.
        formula: what a cell is.
        task_names: for the axes; default "0", "1", ….
        columns: heatmaps in a row; default four, or fewer for many tasks.

    Raises:
        ValueError: if there is no matrix, they are not all T × T with one T, or a value is outside 0 to 1.
    """
    tables = {name: _table(name, matrix) for name, matrix in some("matrix", matrices).items()}
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
    axes = {"showgrid": False, **task_axis(n_tasks, task_names)}
    figure.update_xaxes(range=[-0.5, n_tasks - 0.5], **axes)
    figure.update_yaxes(range=[n_tasks - 0.5, -0.5], **axes)  # the first task on top
    bar = {"thickness": 14, "outlinewidth": 0, "dtick": 0.25, "lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"}
    figure.update_layout(coloraxis={"cmin": 0, "cmax": 1, "colorscale": "Viridis", "colorbar": bar}, plot_bgcolor=EMPTY)
    hatched = any(None in row for table in tables.values() for row in table)
    legend = formula + " (hatched: no value)" * hatched
    return finished(
        figure, title, [f"{protocol}: {PROTOCOLS[protocol]}" if protocol in PROTOCOLS else protocol, legend], height
    )


def _table(name: str, matrix: Matrix) -> list[list[float | None]]:
    """Return a task matrix with None for NaN, or raise if it is not T × T."""
    rows = [checked_curve(name, row) for row in matrix]
    if {len(row) for row in rows} != {len(rows)}:
        lengths = " or ".join(map(str, sorted({len(row) for row in rows})))
        raise ValueError(f"the matrix of {name!r} has {len(rows)} rows of {lengths or 'no'} values; expected T × T")
    return rows


def _hatching(table: Matrix) -> str:
    """Return three strokes through each cell without a value, as one path."""
    strokes = []
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            for a, b in ((-0.4, 0.1), (-0.4, 0.4), (-0.1, 0.4)) if value is None else ():
                strokes.append(f"M{j + a},{i + b}L{j + b},{i + a}")
    return "".join(strokes) or "M0,0"
