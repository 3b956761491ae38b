"""Grids of images: what is drawn where, what the pointer is told, and what is refused."""

from __future__ import annotations

import base64
import io

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from csd_edu import plots
from csd_edu.plots.images import BETWEEN, GAP


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


FOUR, ONE, LATE = pictures(4, 1, 16, 16), pictures(1, 16, 16, seed=1), pictures(2, 1, 16, 16, seed=2)
ROWS = {"digit 3": [FOUR, FOUR], "digit <8>": [None, LATE], "real": [ONE, None]}


def grid(rows=ROWS, columns=("after task 0", "after task 1"), **options):
    return plots.image_grid(rows, columns, **{"title": "Dreams", **options})


def drawn(figure: go.Figure) -> np.ndarray:
    """Return the pixels of all images together, with the gaps between them."""
    (image,) = figure.layout.images
    head, _, data = image.source.partition(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert pixels.shape[:2] == (image.sizey, image.sizex)
    return pixels


def test_each_image_is_in_its_place_and_enlarged_by_a_whole_number():
    pixels, side = drawn(grid()), 48  # three times 16: at least 40
    first, second = 0, 4 * (side + GAP) - GAP + BETWEEN
    assert pixels.shape == (3 * side + 2 * BETWEEN, 2 * (4 * (side + GAP) - GAP) + BETWEEN)
    for k, image in enumerate(FOUR):
        for column in (first, second):
            left = column + k * (side + GAP)
            assert (pixels[:side:3, left : left + side : 3] == image[0].numpy()).all()
            assert (pixels[2:side:3, left + 1 : left + side : 3] == image[0].numpy()).all()
    row = side + BETWEEN
    assert (pixels[row : row + side : 3, second : second + side : 3] == LATE[0, 0].numpy()).all()
    assert (pixels[2 * row :: 3, :side:3] == ONE[0].numpy()).all()
    assert (pixels[row : row + side, : second - 1] == 255).all()  # nothing was drawn there
    assert (pixels[2 * row :, side:] == 255).all()


def test_colours_and_other_sizes():
    pixels = drawn(grid({"a": [pictures(3, 24, 30)]}, ["x"]))
    assert pixels.shape == (48, 60, 3)
    assert (pixels[::2, ::2] == pictures(3, 24, 30).permute(1, 2, 0).numpy()).all()


def test_rows_and_columns_are_named_and_so_is_each_cell_at_the_pointer():
    figure = grid(subtitle=["one line", "another"])
    assert list(figure.layout.xaxis.ticktext) == ["after task 0", "after task 1"]
    assert list(figure.layout.yaxis.ticktext) == ["digit 3 ", "digit &lt;8&gt; ", "real "]
    (cells,) = figure.data
    assert list(cells.text) == [
        "digit 3, after task 0",
        "digit 3, after task 1",
        "digit &lt;8&gt;, after task 1",
        "real, after task 0",
    ]
    assert set(cells.x) == set(figure.layout.xaxis.tickvals)
    assert set(cells.y) == set(figure.layout.yaxis.tickvals)
    assert "one line<br>another" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1] == 0  # the first row is at the top


def test_one_unit_is_one_pixel_of_the_panel():
    figure = grid()
    panel = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    assert panel == figure.layout.images[0].sizey
    assert figure.layout.yaxis.scaleanchor == "x"


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        ({}, ["x"], "there is no row"),
        ({"a": [ONE]}, ["x", "y"], "'a' has 1 cells; expected 2"),
        ({"a": [None, None]}, ["x", "y"], "none at all; expected at least one image"),
        ({"a": [ONE], "b": [pictures(1, 8, 8)]}, ["x"], r"\(1, 8, 8\) and \(1, 16, 16\)"),
        ({"a": [ONE.float()]}, ["x"], "torch.float32 of shape"),
        ({"a": [ONE[0]]}, ["x"], r"of shape \(16, 16\)"),
        ({"a": [FOUR[:0]]}, ["x"], r"of shape \(0, 1, 16, 16\)"),
        ({"a": [pictures(2, 16, 16)]}, ["x"], "2 channels"),
        ({"a": ["image"]}, ["x"], "is a str"),
    ],
)
def test_what_is_no_grid(rows, columns, told):
    with pytest.raises(ValueError, match=told):
        grid(rows, columns)
