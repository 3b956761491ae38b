"""Images in rows and columns, such as what a generator draws of each class after each task."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import plotly.graph_objects as go
import torch
from PIL import Image
from torch import Tensor

from csd_edu.plots.curves import some
from csd_edu.plots.style import finished, label

SIDE = 40  # pixels that an image takes at least; all are enlarged by the same whole number, to stay crisp
GAP, BETWEEN = 2, 14  # pixels between the images of a cell, and between cells
LETTER = 8  # pixels, about, that a letter of a row's name takes


def image_grid(
    rows: Mapping[str, Sequence[Tensor | None]],
    columns: Sequence[str],
    *,
    title: str,
    subtitle: str | Sequence[str] = (),
) -> go.Figure:
    """Return images in a grid, one or several side by side in each cell.

    Args:
        rows: for each name its cells, one for each column: uint8 images (C, H, W) or (n, C, H, W), with C of 1 or 3 and
            all of one size; None leaves the cell empty.
        columns: their names.
        title: above the figure.
        subtitle: a line below the title, or several.

    Raises:
        ValueError: if there is no image, a row has not one cell for each column, or an image is none or of another
            size.
    """
    cells = {name: [_several(cell, name) for cell in row] for name, row in some("row", rows).items()}
    for name, row in cells.items():
        if len(row) != len(columns):
            raise ValueError(f"{name!r} has {len(row)} cells; expected {len(columns)}, one for each column")
    shapes = {tuple(image.shape) for row in cells.values() for cell in row for image in cell}
    if len(shapes) != 1:
        found = " and ".join(map(str, sorted(shapes))) or "none at all"
        raise ValueError(f"the images have the shapes {found}; expected at least one image, and all of one shape")
    ((channels, height, width),) = shapes
    times = math.ceil(SIDE / max(height, width))
    height, width = times * height, times * width
    wide = [max(1, *(len(row[k]) for row in cells.values())) for k in range(len(columns))]
    lefts = [sum(n * (width + GAP) - GAP + BETWEEN for n in wide[:k]) for k in range(len(columns) + 1)]
    tops = [k * (height + BETWEEN) for k in range(len(cells) + 1)]
    canvas = torch.full((tops[-1] - BETWEEN, lefts[-1] - BETWEEN, channels), 255, dtype=torch.uint8)
    for top, row in zip(tops, cells.values(), strict=False):
        for left, cell in zip(lefts, row, strict=False):
            for k, image in enumerate(cell):
                pixels = image.cpu().permute(1, 2, 0).repeat_interleave(times, 0).repeat_interleave(times, 1)
                begin = left + k * (width + GAP)
                canvas[top : top + height, begin : begin + width] = pixels

    middles = [(left + right - BETWEEN) / 2 for left, right in pairwise(lefts)]
    lines = [top + height / 2 for top in tops[:-1]]
    places = [
        (x, y, f"{label(name)}, {label(column)}")
        for y, (name, row) in zip(lines, cells.items(), strict=True)
        for x, column, cell in zip(middles, columns, row, strict=True)
        if cell
    ]
    across, down, said = zip(*places, strict=True)
    marker = {"symbol": "square", "size": height, "opacity": 0}  # it answers to the pointer; an image does not
    figure = go.Figure(go.Scatter(x=across, y=down, text=said, mode="markers", marker=marker, name=""))
    figure.update_traces(hovertemplate="%{text}")
    size = {"sizex": canvas.shape[1], "sizey": canvas.shape[0]}
    figure.add_layout_image(source=_png(canvas), xref="x", yref="y", x=0, y=0, sizing="stretch", layer="below", **size)
    # One unit is one pixel, or equally less on both axes: images keep their shape, at the top left.
    axis = {"showgrid": False, "zeroline": False, "showline": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(range=[0, canvas.shape[1]], tickvals=middles, ticktext=[label(c, 30) for c in columns])
    figure.update_xaxes(side="top", constraintoward="left", tickangle=0, ticklabelstandoff=5, **axis)
    figure.update_yaxes(range=[canvas.shape[0], 0], tickvals=lines, ticktext=[f"{label(name, 30)} " for name in cells])
    figure.update_yaxes(scaleanchor="x", constraintoward="top", **axis)
    below = [subtitle] if isinstance(subtitle, str) else list(subtitle)
    finished(figure, title, below, canvas.shape[0])
    margin = figure.layout.margin
    left = 24 + LETTER * max(len(label(name, 30)) for name in cells)
    figure.update_layout(
        height=figure.layout.height + 26 - margin.b + 12, margin={"t": margin.t + 26, "b": 12, "l": left}
    )
    return figure.update_layout(showlegend=False, hovermode="closest", dragmode=False)


def _several(cell: Tensor | None, name: str) -> Sequence[Tensor]:
    """Return the images (C, H, W) of a cell."""
    if cell is None:
        return ()
    if not isinstance(cell, Tensor) or cell.dtype != torch.uint8 or cell.ndim not in (3, 4) or not cell.numel():
        found = f"{cell.dtype} of shape {tuple(cell.shape)}" if isinstance(cell, Tensor) else f"a {type(cell).__name__}"
        raise ValueError(f"a cell of {name!r} is {found}; expected uint8 images (C, H, W) or (n, C, H, W), or None")
    images = list(cell) if cell.ndim == 4 else [cell]
    if len(images[0]) not in (1, 3):
        raise ValueError(f"a cell of {name!r} has images of {len(images[0])} channels; expected 1 or 3")
    return images


def _png(pixels: Tensor) -> str:
    """Return an image (H, W, C) as a PNG in an address."""
    array = pixels.numpy()
    file = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
