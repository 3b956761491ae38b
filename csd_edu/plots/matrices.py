"""Annotated heatmaps: task matrices, and the drift between each two snapshots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from csd_edu.drift import FORMULAS
from csd_edu.metrics import PROTOCOLS, Matrix
from csd_edu.plots.curves import checked_curve, some
from csd_edu.plots.style import EMPTY, finished, label, task_axis

FORMULA = "R[i][j]: on the test queries of task j, after learning task i"

DRIFT = {
    "cka": ("linear CKA", 1.0, 1),
    "mean_displacement": ("mean displacement", 0.0, 2),
    "neighbor_overlap": ("neighbours in common", 1.0, 1),
}
"""For each quantity between two snapshots its name, its value for one snapshot with itself, and its upper bound."""

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
    hover = "after task %{y}, on task %{x}: %{z:.3f}"
    axes = ("measured on task", "after learning task")
    figure, height = _heatmaps(tables, 1, axes, hover, task_names, columns)
    lines = [f"{protocol}: {PROTOCOLS[protocol]}" if protocol in PROTOCOLS else protocol, formula + _hatched(tables)]
    return finished(figure, title, lines, height)


def drift_matrices(
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    quantity: str = "cka",
    title: str | None = None,
    task_names: Sequence[str] | None = None,
    columns: int | None = None,
) -> go.Figure:
    """Return one annotated heatmap for each run, on one colour scale: how far its snapshots are from each other.

    Args:
        tables: for each run the rows of `drift.displacement_table`; of a run that has learnt fewer tasks, fewer.
        quantity: "cka" or "neighbor_overlap", 1 on the diagonal; or "mean_displacement", 0 on the diagonal.
        title: above the figure; default the quantity in words.
        task_names: for the axes; default "0", "1", ….
        columns: heatmaps in a row; default four, or fewer for many tasks.

    Returns:
        The figure, with the quantity's formula. A pair without a value is an empty, hatched cell: a CKA with collapsed
        features, or a task that a run has not learnt.

    Raises:
        ValueError: if there is no table, the quantity is unknown, or a table has no pair of snapshots or other values.
    """
    if quantity not in DRIFT:
        raise ValueError(f"quantity is {quantity!r}; expected {', '.join(map(repr, DRIFT))}")
    name_of_quantity, same, bound = DRIFT[quantity]
    for name, rows in some("table", tables).items():
        if not rows:
            raise ValueError(f"the table of {name!r} has no rows; expected at least one pair of snapshots (two tasks)")
    n_tasks = 1 + max(row["after"] for rows in tables.values() for row in rows)
    squares = {name: _drift_table(name, rows, quantity, same, bound, n_tasks) for name, rows in tables.items()}
    largest = max(
        (value for table in squares.values() for row in table for value in row if value is not None), default=0
    )
    high = 1 if same else next(end for end in (0.25, 0.5, 1, 2) if largest <= end)
    hover = f"after task %{{y}} and after task %{{x}}: {name_of_quantity} %{{z:.3f}}"
    figure, height = _heatmaps(squares, high, ("after learning task",) * 2, hover, task_names, columns)
    neighbors = sorted({row["k"] for rows in tables.values() for row in rows})
    of = f", k = {' or '.join(map(str, neighbors))}" * (quantity == "neighbor_overlap")
    lines = ["between the features of the same test images after one task and after another" + _hatched(squares)]
    return finished(figure, title or f"Feature drift: {name_of_quantity}", [*lines, FORMULAS[quantity] + of], height)


def _heatmaps(
    tables: Mapping[str, Matrix],
    high: float,
    axes: tuple[str, str],
    hover: str,
    task_names: Sequence[str] | None,
    columns: int | None,
) -> tuple[go.Figure, int]:
    """Return annotated heatmaps of T × T values from 0 to `high`, with names for both axes, and their height."""
    n_tasks = len(next(iter(tables.values())))
    columns = min(len(tables), columns or (4 if n_tasks <= 6 else 3 if n_tasks <= 10 else 2))
    rows = math.ceil(len(tables) / columns)
    height = 270 * rows
    spacing = {"horizontal_spacing": 0.1 / columns, "vertical_spacing": 90 / height}
    figure = make_subplots(rows, columns, subplot_titles=[f"<b>{label(name, 22)}</b>" for name in tables], **spacing)
    for k, (name, table) in enumerate(tables.items()):
        cell = {"row": k // columns + 1, "col": k % columns + 1}
        for ink, low, end, colors in LAYERS:
            text = [[f"{v:.2f}" if v is not None and low <= v / high < end else " " for v in row] for row in table]
            layer = go.Heatmap(z=table, text=text, texttemplate="%{text}", textfont_color=ink, xgap=2, ygap=2, **colors)
            layer.update(hovertemplate=hover, hoverongaps=False)
            figure.add_trace(layer.update(name=label(name)), **cell)
        figure.add_shape(type="path", path=_hatching(table), line={"color": "#c4cad1", "width": 1}, **cell)
        figure.update_xaxes(title_text=axes[0] if k + columns >= len(tables) else None, **cell)
        first = cell["col"] == 1
        figure.update_yaxes(title_text=axes[1] if first else None, showticklabels=first, **cell)
    ticks = {"showgrid": False, **task_axis(n_tasks, task_names)}
    figure.update_xaxes(range=[-0.5, n_tasks - 0.5], **ticks)
    figure.update_yaxes(range=[n_tasks - 0.5, -0.5], automargin=True, **ticks)  # the first task on top
    bar = {"thickness": 14, "outlinewidth": 0, "dtick": high / 4, "lenmode": "pixels", "len": 220}
    bar |= {"y": 1, "yanchor": "top"}
    scale = {"cmin": 0, "cmax": high, "colorscale": "Viridis", "colorbar": bar}
    return figure.update_layout(coloraxis=scale, plot_bgcolor=EMPTY), height


def _hatched(tables: Mapping[str, Matrix]) -> str:
    return " (hatched: no value)" * any(None in row for table in tables.values() for row in table)


def _drift_table(
    name: str, rows: Sequence[Mapping[str, Any]], quantity: str, same: float, bound: float, n_tasks: int
) -> list[list[float | None]]:
    """Return the symmetric T × T table of a quantity, None where there is no value, or raise if it is not one."""
    table: list[list[float | None]] = [[None] * n_tasks for _ in range(n_tasks)]
    for row in rows:
        i, j, value = row["before"], row["after"], row.get(quantity)
        if value is not None and not -1e-9 <= value <= bound + 1e-9:
            raise ValueError(f"{name!r} has {quantity} {value}; expected 0 to {bound}, as displacement_table gives it")
        table[i][j] = table[j][i] = None if value is None else min(max(value, 0.0), bound)
    for t, known in enumerate(table):
        if any(value is not None for value in known):  # nothing is known of a collapsed snapshot, even of itself
            known[t] = same
    return table


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
