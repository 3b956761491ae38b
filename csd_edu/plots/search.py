"""Search as pictures: strips of what was found, and the pairs of a batch that the CSD loss pulls and pushes."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import plotly.graph_objects as go
import torch
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor

from csd_edu.losses import Pairs
from csd_edu.plots.style import BLUE, EMPTY, GREEN, GREY, INK, VERMILION, finished, label

FRAMES: dict[str, dict[str, Any]] = {
    "query": {"color": INK, "width": 3},
    "right": {"color": GREEN, "width": 4},
    "wrong": {"color": VERMILION, "width": 4, "dash": "7px,4px"},
}
LEGEND = {
    "right": (f'<b><span style="color:{GREEN}">✓</span></b> right', ": same class"),
    "wrong": (f'<b><span style="color:{VERMILION}">✕</span></b> wrong', ": another class"),
}
PLAYER = 95  # pixels that the slider takes
INSET, GAP, QUERY_GAP, ROW_GAP, LINE = 5, 8, 14, 12, 24  # in pixels, as all places in the strips

DIVERGING = ((0, "#7a2a00"), (0.25, VERMILION), (0.5, "#ffffff"), (0.75, BLUE), (1, "#002b52"))
# Features after ReLU have similarities of 0 to 1, most of them high: there the colours change the most.
COSINE = (
    (0, "#571e00"),
    (0.1, VERMILION),
    (0.3, "#f0b488"),
    (0.5, "#ffffff"),
    (0.7, "#9cc9e4"),
    (0.9, BLUE),
    (1, "#001d3a"),
)
ITSELF = "#b4bbc2"
BADGES = {  # the strokes of ✓ and ✕, in radii of the badge
    "right": ((-0.5, 0.05), (-0.12, 0.42), (0.52, -0.4)),
    "wrong": ((-0.4, -0.4), (0.4, 0.4), (-0.4, 0.4), (0.4, -0.4)),
}
PANELS = 500  # the height of the matrices together, in pixels
DOT = {"color": "black", "size": 5, "line": {"color": "white", "width": 1}}
STROKES = {"type": "path", "line": {"color": GREY, "width": 1}}
HEATMAPS = tuple(
    {
        "type": "heatmap",
        "coloraxis": axis,
        "hovertemplate": f"%{{text}}<br>{hover}<extra></extra>",
        "hoverongaps": False,
    }
    for axis, hover in (
        ("coloraxis", "cosine %{z:.3f}"),
        ("coloraxis2", "weight %{customdata:.4f}<br>pull %{z:+.4f}"),
    )
)


class Shown(NamedTuple):
    """An image in a strip.

    Attributes:
        image: (C, H, W) uint8 with C 1 or 3; None where the run saved no images: the caption is written instead.
        mark: "query", "right", "wrong", or "" for no judgement.
        caption: said at the pointer, such as the name of its class.
        id: which test image it is; a click on it gives this number.
    """

    image: Tensor | None
    mark: str
    caption: str
    id: int


class _Cell(NamedTuple):
    """Where an image goes: its left and top in pixels, and what its column is called."""

    x: int
    y: int
    head: str
    shown: Shown


def retrieval_strips(
    strips: Mapping[str, Sequence[Shown]], *, title: str, subtitle: Sequence[str] = (), cell: int = 64
) -> go.Figure:
    """Return one row of images for each name: the query, then what was found for it, by rank.

    There is one trace, "cells": a marker on each image, with its id as customdata, so that a click on an image gives
    its id. All else is layout: for other images in as many rows of the same lengths only `images`, `shapes` and
    `annotations` change.

    Args:
        strips: for each row its images; if any row begins with a query, the first column is for queries.
        title: above the figure.
        subtitle: lines below the title.
        cell: the side of an image in pixels; they become smaller where the figure is too narrow for all of them.

    Raises:
        ValueError: if there is no row, a mark is unknown, an image is not uint8 (C, H, W), or the cell is too small.
    """
    _check_strips(strips, cell)
    with_query = any(_begins_with_query(row) for row in strips.values())
    n_columns = max(len(row) + (with_query and not _begins_with_query(row)) for row in strips.values())
    columns = [c * (cell + GAP) + QUERY_GAP * (with_query and c > 0) for c in range(max(1, n_columns))]
    rows = [r * (cell + ROW_GAP) for r in range(len(strips))]
    heads = ["query", *map(str, range(1, len(columns)))] if with_query else [""] * len(columns)
    cells = []
    for y, row in zip(rows, strips.values(), strict=True):
        first = int(with_query and not _begins_with_query(row))
        cells += [_Cell(columns[c], y, heads[c], shown) for c, shown in enumerate(row, first)]

    width, height, margin = columns[-1] + cell, rows[-1] + cell, 26 + 8 * max(len(x) for n in strips for x in _lines(n))
    notes = [
        _note(head, x + cell / 2, 0, yanchor="bottom", yshift=4) for head, x in zip(heads, columns, strict=True) if head
    ]
    for name, y in zip(strips, rows, strict=True):
        notes.append(_note("<br>".join(_lines(name)), 0, y + cell / 2, xanchor="right", xshift=-10, align="right"))
    for x, y, _, shown in cells:
        if shown.image is None:
            text = "<br>".join(_lines(shown.caption, cell // 7, cell // 16))
            notes.append(_note(text, x + cell / 2, y + cell / 2, font={"size": 11, "color": GREY}))
    marks = {c.shown.mark for c in cells}
    legend = [sign + meaning * with_query for mark, (sign, meaning) in LEGEND.items() if mark in marks]
    if legend:
        notes.append(_note("    ".join(legend), 0, height + 8, xanchor="left", xshift=16 - margin, yanchor="top"))
        height += 8 + LINE
    # One unit is one pixel, or equally less on both axes: the cells stay square, and at the top left.
    axis = {"visible": False, "fixedrange": True, "constrain": "domain"}
    layout = {
        "images": [_placed(c.shown.image, c, cell) for c in cells if c.shown.image is not None],
        "shapes": _frames(cells, cell),
        "annotations": notes,
        "xaxis": {**axis, "range": [-3, width + 3], "constraintoward": "left"},
        "yaxis": {**axis, "range": [height + 3, -3], "constraintoward": "top", "scaleanchor": "x"},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
    }
    figure = finished(go.Figure({"data": [_markers(cells, cell)], "layout": layout}), title, list(subtitle), height + 6)
    return _trimmed(figure, margin, 12)


def pair_similarities(
    pairs: Mapping[float, Pairs],
    labels: Tensor,
    *,
    classes: Sequence[str],
    title: str = "Which pairs pull, which push?",
    temperature: float | None = None,
) -> go.Figure:
    """Return the similarities of a batch above what the CSD loss does to its pairs, with a slider over temperatures.

    The left half has the pairs of two students, the right half those of a student and a teacher. A dot marks a
    positive; the student itself, which is not contrasted, is grey and struck out. The slider works without a kernel.

    Args:
        pairs: for each temperature τ what `csd_edu.losses.csd_pairs` returns, all for one batch of B images.
        labels: (B,) integers, the classes of that batch; sort it by class to see the classes as blocks.
        classes: names, by label.
        title: above the figure.
        temperature: where the slider stands at first; default the one nearest to 0.07.

    Raises:
        ValueError: if there are no pairs, they are of several batches or don't fit the labels, a label has no name, or
            the temperature is not among them.
    """
    _check_pairs(pairs, labels, classes)
    start = min(pairs, key=lambda t: abs(t - 0.07)) if temperature is None else temperature
    if start not in pairs:
        raise ValueError(f"temperature is {start}; expected one of the pairs': {', '.join(map(str, sorted(pairs)))}")
    first, order, n = pairs[start], sorted(pairs), len(labels)
    names = [str(classes[k]) for k in labels.tolist()]
    blocks = [list(block) for _, block in itertools.groupby(range(n), key=labels.tolist().__getitem__)]
    traces, shapes = [], []  # plain dicts, also for the frames: plotly takes long to copy its own objects
    for half, whom in enumerate(("student", "teacher")):
        j = range(half * n, half * n + n)  # columns of (B, 2B): what a click gives as x
        others = [f"{whom} {k} ({label(name, 24)})" for k, name in enumerate(names)]
        said = [[f"student {k} ({label(name, 24)})<br>{other}" for other in others] for k, name in enumerate(names)]
        y, x = first.positive[:, j.start : j.stop].nonzero().T.tolist()
        dots = {
            "type": "scatter",
            "x": [j[k] for k in x],
            "y": y,
            "mode": "markers",
            "marker": DOT,
            "hoverinfo": "skip",
        }
        strokes = _strokes(blocks, j, itself=whom == "student")
        for row, values in enumerate(({"z": _halves(first.similarity)[half]}, _pulls(first)[half])):
            axes = [f"{axis}{2 * row + half + 1}".removesuffix("1") for axis in "xy"]
            place = {"xaxis": axes[0], "yaxis": axes[1]}
            traces.append({**HEATMAPS[row], **values, "x": list(j), "text": said, **place})
            traces.append({**dots, **place})
            shapes.append({**STROKES, "path": strokes, "xref": axes[0], "yref": axes[1]})
    figure = _grid(names, blocks).add_traces(traces)
    figure.update_layout(**_color_axes(first), shapes=shapes, plot_bgcolor=ITSELF, showlegend=False)
    finished(figure, title, _about(start, first), PANELS)
    _trimmed(figure, 110, 190, sliders=[_slider(order, start)], meta={"player": PLAYER})
    moving = [k for k, trace in enumerate(traces) if trace.get("coloraxis") == "coloraxis2"]
    heading = figure.layout.title.to_plotly_json()
    figure.frames = [_frame(t, pairs[t], heading, moving) for t in order]
    return figure


def _check_strips(strips: Mapping[str, Sequence[Shown]], cell: int) -> None:
    if not strips:
        raise ValueError("there is no row to draw; expected at least one name with its images")
    if not cell >= 16:
        raise ValueError(f"cell is {cell}; expected a side of at least 16 pixels, such as 64")
    for name, row in strips.items():
        for k, (image, mark, _, _) in enumerate(row):
            if mark not in ("", *FRAMES):
                known = ", ".join(map(repr, FRAMES))
                raise ValueError(f"the mark of image {k} in {name!r} is {mark!r}; expected {known} or ''")
            if image is not None and not (
                image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] in (1, 3) and image.numel()
            ):
                raise ValueError(
                    f"image {k} in {name!r} is {image.dtype} of shape {tuple(image.shape)}; "
                    "expected torch.uint8 (C, H, W) with C 1 or 3, as run.test()['images'] has them"
                )


def _check_pairs(pairs: Mapping[float, Pairs], labels: Tensor, classes: Sequence[str]) -> None:
    if not pairs:
        raise ValueError("there are no pairs to draw; expected those of at least one temperature")
    n = len(labels)
    first = next(iter(pairs.values()))
    for t, these in pairs.items():
        if not 0 < t < math.inf:
            raise ValueError(f"there are pairs for temperature {t}; expected a number above 0, such as 0.07")
        shapes = {tuple(part.shape) for part in these[:4]}
        if labels.ndim != 1 or n == 0 or shapes != {(n, 2 * n)}:
            raise ValueError(
                f"the pairs for temperature {t} have shape {' or '.join(map(str, shapes))} and labels "
                f"{tuple(labels.shape)}; expected (B, 2B) and (B,) of the same batch"
            )
        if not (torch.equal(these.similarity, first.similarity) and torch.equal(these.positive, first.positive)):
            raise ValueError(
                f"the pairs for temperature {t} have other similarities or positives than the first; "
                "expected one batch at several temperatures"
            )
    if labels.is_floating_point() or not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise ValueError(
            f"labels are {labels.dtype} from {labels.min()} to {labels.max()} with {len(classes)} class names; "
            "expected integers, each with a name"
        )


def _trimmed(figure: go.Figure, left: int, bottom: int, **layout: Any) -> go.Figure:
    """Give a finished figure other margins, and begin its title at the edge: long names leave it too little room."""
    title = {"x": 0, "xref": "container", "pad": {"l": 16}}
    height = figure.layout.height + bottom - figure.layout.margin.b
    return figure.update_layout(title=title, margin={"l": left, "b": bottom}, height=height, **layout)


def _begins_with_query(row: Sequence[Shown]) -> bool:
    return bool(row) and row[0].mark == "query"


def _lines(name: object, width: int = 14, most: int = 2) -> list[str]:
    """Return a name on a few short lines, broken at spaces, slashes and underscores, as `label` writes each."""
    breakable = re.sub(r"(?<=[/_])(?=\w)", "\v", " ".join(str(name).split()))
    lines = textwrap.wrap(breakable, width, replace_whitespace=False, drop_whitespace=False)
    shown = [*lines[: most - 1], "".join(lines[most - 1 :])]
    return [label(line.replace("\v", ""), width) for line in shown if line] or [""]


def _note(text: str, x: float, y: float, **options: Any) -> dict[str, Any]:
    return {"text": text, "x": x, "y": y, "xref": "x", "yref": "y", "showarrow": False, "borderpad": 0, **options}


def _markers(cells: Sequence[_Cell], cell: int) -> dict[str, Any]:
    """Return the trace of see-through markers that answer to the pointer: images and shapes don't."""
    said = [
        ", ".join(dict.fromkeys(filter(None, (f"rank {c.head}" if c.head.isdecimal() else c.head, c.shown.mark))))
        for c in cells
    ]
    return {
        "type": "scatter",
        "name": "cells",
        "mode": "markers",
        "x": [c.x + cell / 2 for c in cells],
        "y": [c.y + cell / 2 for c in cells],
        "customdata": [c.shown.id for c in cells],
        "text": [f"<b>{label(c.shown.caption, 60)}</b><br>{more}" for c, more in zip(cells, said, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "square", "size": cell, "opacity": 0},
    }


def _placed(image: Tensor, c: _Cell, cell: int) -> dict[str, Any]:
    """Return a layout image inside its frame."""
    pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
    side = cell - 2 * INSET
    place = {"xref": "x", "yref": "y", "x": c.x + INSET, "y": c.y + INSET, "sizex": side, "sizey": side}
    return {"source": _data_uri(pixels.tobytes(), *pixels.shape), "layer": "below", **place}


@lru_cache(maxsize=2048)
def _data_uri(pixels: bytes, height: int, width: int, channels: int) -> str:
    """Return an image (H, W, C) as a PNG of 64 to 128 pixels; a small one grows by a whole number, to stay crisp."""
    image = Image.frombytes("L" if channels == 1 else "RGB", (width, height), pixels)
    times = math.ceil(64 / max(height, width))
    image = image.resize((times * width, times * height), Image.Resampling.NEAREST)
    image.thumbnail((128, 128))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # in half the time of the default, for 5 % more bytes
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _frames(cells: Sequence[_Cell], cell: int) -> list[dict[str, Any]]:
    """Return frames and badges, a path for all of a kind: thus they grow and shrink with the cells, and are few."""
    shapes = []
    r = 0.16 * cell
    empty = "".join(_box(c, cell) for c in cells if c.shown.image is None)
    shapes.append({"path": empty, "fillcolor": EMPTY, "line": {"width": 0}, "layer": "below"})
    for mark, line in FRAMES.items():
        marked = [c for c in cells if c.shown.mark == mark]
        shapes.append({"path": "".join(_box(c, cell) for c in marked), "line": line})
        if mark in BADGES:
            centres = [(c.x + cell - 0.9 * r, c.y + 0.9 * r) for c in marked]
            discs = "".join(_disc(x, y, r) for x, y in centres)
            shapes.append({"path": discs, "fillcolor": line["color"], "line": {"color": "white", "width": 1}})
            signs = "".join(
                f"{'ML'[k % 2 if mark == 'wrong' else k > 0]}{x + r * dx:g},{y + r * dy:g}"
                for x, y in centres
                for k, (dx, dy) in enumerate(BADGES[mark])
            )
            shapes.append({"path": signs, "line": {"color": "white", "width": 2}})
    return [{"type": "path", "xref": "x", "yref": "y", **shape} for shape in shapes if shape["path"]]


def _box(c: _Cell, cell: int) -> str:
    return f"M{c.x},{c.y}H{c.x + cell}V{c.y + cell}H{c.x}Z"


def _disc(x: float, y: float, r: float) -> str:
    """Return a circle as four Bézier curves: plotly's paths have no arcs."""
    k = 0.5523 * r
    return (
        f"M{x - r:g},{y:g}C{x - r:g},{y - k:g},{x - k:g},{y - r:g},{x:g},{y - r:g}"
        f"C{x + k:g},{y - r:g},{x + r:g},{y - k:g},{x + r:g},{y:g}"
        f"C{x + r:g},{y + k:g},{x + k:g},{y + r:g},{x:g},{y + r:g}"
        f"C{x - k:g},{y + r:g},{x - r:g},{y + k:g},{x - r:g},{y:g}Z"
    )


def _grid(names: Sequence[str], blocks: Sequence[Sequence[int]]) -> go.Figure:
    """Return the four panels without content; blocks are the images of one class that follow each other."""
    heads = [f"<b>{what}: {whom}</b>" for what in ("cosine", "pull") for whom in ("students", "teachers")]
    spacing = {"horizontal_spacing": 0.03, "vertical_spacing": 0.08}
    figure = make_subplots(2, 2, shared_xaxes=True, shared_yaxes=True, subplot_titles=heads, **spacing)
    n = len(names)
    named = blocks[:: math.ceil(len(blocks) / 12)]
    centres = [(k[0] + k[-1]) / 2 for k in named]
    look = {"ticktext": [label(names[k[0]], 12) for k in named], "tickfont": {"size": 13}, "showgrid": False}
    figure.update_yaxes(range=[n - 0.5, -0.5], tickvals=centres, **look)  # the first anchor on top
    figure.update_yaxes(title_text="student i", col=1)
    for half, whom in enumerate(("student", "teacher")):
        ticks = {"tickvals": [half * n + c for c in centres], "tickangle": -40}
        figure.update_xaxes(range=[half * n - 0.5, half * n + n - 0.5], col=half + 1, **ticks, **look)
        figure.update_xaxes(title_text=f"{whom} j", row=2, col=half + 1)
    return figure


def _strokes(blocks: Sequence[Sequence[int]], columns: range, itself: bool) -> str:
    """Return a path between the classes and, if wanted, through each student with itself."""
    left, right, bottom = columns.start - 0.5, columns.stop - 0.5, len(columns) - 0.5
    path = [f"M{left + k[0]},-0.5V{bottom}M{left},{k[0] - 0.5}H{right}" for k in blocks[1:]]
    path += [f"M{left + k},{k + 0.5}L{left + k + 1},{k - 0.5}" for k in range(len(columns) * itself)]
    return "".join(path) or "M0,0"


def _halves(values: Tensor) -> list[list[list[float | None]]]:
    """Return the two halves of (B, 2B) as nested lists, with None for a student and itself."""
    n = len(values)
    rows: list[list[float | None]] = [[round(v, 4) for v in row] for row in values.tolist()]
    for i, row in enumerate(rows):
        row[i] = None
    return [[row[:n] for row in rows], [row[n:] for row in rows]]


def _pulls(pairs: Pairs) -> list[dict[str, Any]]:
    """Return for each half what of its heatmap changes with the temperature."""
    both = zip(_halves(pairs.pull), _halves(pairs.weight), strict=True)
    return [{"z": pull, "customdata": weight} for pull, weight in both]


def _frame(temperature: float, pairs: Pairs, heading: Mapping[str, Any], traces: Sequence[int]) -> dict[str, Any]:
    """Return what changes with the temperature: two heatmaps, and the title, whole so that it can replace the other."""
    lines = "<br>".join(label(line, 200) for line in _about(temperature, pairs))
    return {
        "name": f"{temperature:g}",
        "data": [{"type": "heatmap", **pull} for pull in _pulls(pairs)],
        "traces": list(traces),
        "layout": {"title": {**heading, "subtitle": {**heading["subtitle"], "text": lines}}},
    }


def _about(temperature: float, pairs: Pairs) -> list[str]:
    """Return the lines below the title."""
    on_positives = float((pairs.weight * pairs.positive).sum(dim=1).mean())
    return [
        "weight w = exp(cos/τ) / Σ exp(cos/τ), the sum over all other students and all teachers",
        "pull = 1/(number of positives) − w for a positive (dot), − w for any other pair",
        f"at τ = {temperature:g} the loss is {pairs.loss:.3f}, and positives have {on_positives:.0%} of the weight",
    ]


def _color_axes(pairs: Pairs) -> dict[str, Any]:
    """Return the scales of similarity, and of pull and push."""
    # The most that a positive can be pulled. A push can be stronger, up to 1; it keeps the darkest colour.
    limit = 1 / float(pairs.positive.sum(dim=1).double().median())
    bar = {"thickness": 14, "outlinewidth": 0, "len": 0.46, "tickfont": {"size": 13}}
    above = {**bar, "y": 0.77, "dtick": 0.5}
    ticks = [f"≤ −{limit:.2f}", "push", "0", "pull", f"≥ {limit:.2f}"]
    below = {**bar, "y": 0.23, "tickvals": [k * limit / 2 for k in range(-2, 3)], "ticktext": ticks}
    return {
        "coloraxis": {"colorscale": COSINE, "cmin": -1, "cmax": 1, "colorbar": above},
        "coloraxis2": {"colorscale": DIVERGING, "cmin": -limit, "cmax": limit, "colorbar": below},
    }


def _slider(temperatures: Sequence[float], start: float) -> dict[str, Any]:
    """Return the slider that moves to the frame of a temperature."""
    how = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "label": f"{t:g}", "args": [[f"{t:g}"], how]} for t in temperatures]
    value = {"prefix": "temperature τ = ", "font": {"size": 16}}
    return {"active": temperatures.index(start), "steps": steps, "currentvalue": value, "pad": {"t": 100}}
