"""Strips of retrieved images, and the pairs of the CSD loss: what is drawn, what is clicked, what is refused."""

import base64
import io
import itertools
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from csd_edu import losses, plots
from csd_edu.plots import Shown
from csd_edu.plots.search import DOT, FRAMES, GREEN, INK, VERMILION

NASTY = "<img src=x onerror=alert(1)>"


def picture(seed=0, shape=(3, 12, 12)):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def strip(marks, start=0):
    return [Shown(picture(start + k), mark, f"class {start + k}", 100 + start + k) for k, mark in enumerate(marks)]


STRIPS = {"csd": strip(["query", "right", "wrong"]), "finetune": strip(["query", "wrong", "wrong", "wrong"], 10)}


def draw(strips=None, **options):
    return plots.retrieval_strips(STRIPS if strips is None else strips, **{"title": "Found", **options})


def decoded(image):
    """Return the pixels (H, W, C) of a layout image."""
    head, _, data = image.source.partition(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def centre(image):
    return image.x + image.sizex / 2, image.y + image.sizey / 2


def written(figure):
    return [note.text for note in figure.layout.annotations]


def boxes(figure, color):
    """Return the (left, top, right, bottom) of all frames of a colour, read back from the paths."""
    paths = [shape.path for shape in figure.layout.shapes if shape.line.color == color and "C" not in shape.path]
    rectangle = re.compile(r"M([\d.]+),([\d.]+)H([\d.]+)V([\d.]+)H[\d.]+Z")
    return [tuple(map(float, found)) for path in paths for found in rectangle.findall(path)]


# --------------------------------------------------------------------------------------------------- strips


def test_each_image_is_drawn_once_in_its_own_cell():
    figure = draw()
    shown = [item for row in STRIPS.values() for item in row]
    assert len(figure.layout.images) == 7
    (cells,) = figure.data
    assert list(cells.customdata) == [item.id for item in shown]
    assert [centre(image) for image in figure.layout.images] == list(zip(cells.x, cells.y, strict=True))
    for image, item in zip(figure.layout.images, shown, strict=True):
        pixels = decoded(image)
        assert pixels.shape == (72, 72, 3)  # 12 × 6, at least 64
        expected = item.image.permute(1, 2, 0).repeat_interleave(6, dim=0).repeat_interleave(6, dim=1)
        assert torch.equal(torch.from_numpy(pixels.copy()), expected)  # not blurred
        assert (image.layer, image.xref, image.yref) == ("below", "x", "y")


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 28, 28), (84, 84)),
        ((3, 64, 64), (64, 64)),
        ((3, 100, 90), (100, 90)),
        ((3, 8, 32), (16, 64)),
        ((3, 300, 200), (128, 85)),
        ((3, 1, 1), (64, 64)),
    ],
)
def test_small_images_are_enlarged_by_whole_numbers_and_large_ones_reduced(shape, size):
    (image,) = draw({"csd": [Shown(picture(1, shape), "", "", 0)]}).layout.images
    pixels = decoded(image)
    assert pixels.shape == (*size, shape[0])
    times = size[0] // shape[1]
    if shape[1] <= 100:
        assert np.array_equal(pixels[::times, ::times], picture(1, shape).permute(1, 2, 0).numpy())


def test_rows_lie_below_each_other_and_ranks_run_to_the_right_after_a_gap():
    (cells,) = draw().data
    x, y = list(cells.x), list(cells.y)
    assert len(set(y[:3])) == len(set(y[3:])) == 1
    assert y[3] > y[0]
    assert draw().layout.yaxis.range[0] > draw().layout.yaxis.range[1]  # so larger is lower
    assert x[:3] == x[3:6]
    to_first, to_second, to_third = (b - a for a, b in itertools.pairwise(x[3:]))
    assert to_first > to_second == to_third >= 64


def test_columns_are_headed_query_and_rank_and_the_rows_by_their_names():
    assert written(draw())[:6] == ["query", "1", "2", "3", "csd", "finetune"]
    figure = draw()
    heads = {note.text: note.x for note in figure.layout.annotations[:4]}
    (cells,) = figure.data
    assert [heads[head] for head in ("query", "1", "2", "3")] == list(cells.x[3:])
    names = {note.text: note.y for note in figure.layout.annotations[4:6]}
    assert (names["csd"], names["finetune"]) == (cells.y[0], cells.y[3])


def test_without_a_query_there_are_no_ranks_and_no_gap():
    figure = draw({"2 right": strip(["right", "right"]), "1 wrong": strip(["wrong"])})
    assert written(figure)[:2] == ["2 right", "1 wrong"]
    assert "same class" not in written(figure)[2]  # right and wrong are said of the images themselves
    first, second, third = figure.data[0].x
    assert third == first
    assert second - first < draw().data[0].x[1] - draw().data[0].x[0]


def test_a_row_without_a_query_leaves_the_column_of_queries_empty():
    cells = draw({"csd": STRIPS["csd"], "lwf": strip(["right"])}).data[0]
    assert cells.x[3] == cells.x[1]
    assert "rank 1" in cells.text[3]


def test_an_empty_row_keeps_its_place():
    figure = draw({"csd": [], "lwf": strip(["right"])})
    assert written(figure)[:2] == ["csd", "lwf"]
    assert figure.data[0].y[0] > 64
    assert len(draw({"csd": []}).layout.images) == 0


def test_right_wrong_and_query_have_frames_of_their_own_around_their_images():
    figure = draw()
    by_mark = {"query": [0, 3], "right": [1], "wrong": [2, 4, 5, 6]}
    for (mark, members), color in zip(by_mark.items(), (INK, GREEN, VERMILION), strict=True):
        images = [figure.layout.images[k] for k in members]
        around = boxes(figure, color)
        assert len(around) == len(images), mark
        for (left, top, right, bottom), image in zip(around, images, strict=True):
            assert ((left + right) / 2, (top + bottom) / 2) == centre(image)
            assert right - left == bottom - top > image.sizex
    dashes = {shape.line.dash for shape in figure.layout.shapes if shape.line.color == VERMILION}
    assert dashes - {None}, "wrong is dashed"
    assert not [shape for shape in figure.layout.shapes if shape.line.color == GREEN and shape.line.dash]


def test_badges_lie_on_their_images_and_have_other_strokes_for_right_and_wrong():
    figure = draw()
    badges = {shape.fillcolor: shape.path for shape in figure.layout.shapes if shape.fillcolor in (GREEN, VERMILION)}
    assert {color: path.count("Z") for color, path in badges.items()} == {GREEN: 1, VERMILION: 4}
    signs = [shape.path for shape in figure.layout.shapes if shape.line.color == "white" and not shape.fillcolor]
    assert [path.count("M") for path in signs] == [1, 2 * 4]  # a tick is one stroke, a cross two
    left, top, right, bottom = boxes(figure, GREEN)[0]
    points = [tuple(map(float, pair)) for pair in re.findall(r"([-\d.]+),([-\d.]+)", badges[GREEN] + signs[0])]
    assert len(points) == 13 + 3
    for x, y in points:
        assert (left + right) / 2 < x < right + 4
        assert top - 4 < y < (top + bottom) / 2


def test_the_legend_says_only_what_is_there():
    assert "right: same class" in written(draw())[-1]
    assert "wrong: another class" in written(draw())[-1]
    only_right = written(draw({"csd": strip(["query", "right"])}))[-1]
    assert "right" in only_right
    assert "wrong" not in only_right
    assert written(draw({"csd": strip(["query", "", ""])})) == ["query", "1", "2", "csd"]


def test_the_pointer_tells_class_rank_and_mark():
    assert list(draw().data[0].text[:3]) == [
        "<b>class 0</b><br>query",
        "<b>class 1</b><br>rank 1, right",
        "<b>class 2</b><br>rank 2, wrong",
    ]


def test_a_run_without_images_has_captions_in_empty_cells():
    shown = [Shown(None, "query", "Latin/07", 4), Shown(picture(), "right", "Latin/07", 5), Shown(None, "", "B", 6)]
    figure = draw({"csd": shown})
    assert len(figure.layout.images) == 1
    assert list(figure.data[0].customdata) == [4, 5, 6]
    captions = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert captions["Latin/07"] == (figure.data[0].x[0], figure.data[0].y[0])
    assert captions["B"] == (figure.data[0].x[2], figure.data[0].y[2])
    empty = [shape for shape in figure.layout.shapes if shape.fillcolor and shape.layer == "below"]
    assert [shape.path.count("Z") for shape in empty] == [2]


def test_long_names_go_on_two_lines_and_into_the_margin():
    figure = draw({"fine-tuning after the first of many tasks": strip(["right"])})
    name = written(figure)[0]
    assert name.count("<br>") == 1
    assert name.startswith("fine-tuning")
    assert name.endswith("…")
    assert figure.layout.margin.l > draw({"a": strip(["right"])}).layout.margin.l
    assert written(draw({"greek_letters_old": strip([""])}))[0] == "greek_<br>letters_old"


def test_names_and_captions_are_escaped():
    figure = draw({NASTY: [Shown(None, "query", NASTY, 0)]}, title=NASTY, subtitle=[NASTY])
    text = str(figure.to_plotly_json())
    assert "<img" not in text
    assert "&lt;img" in figure.layout.title.text
    assert "&lt;img" in figure.layout.title.subtitle.text
    assert "&lt;img" in figure.data[0].text[0]
    assert sum("&lt;img" in note for note in written(figure)) == 2


def test_cells_are_square_and_the_height_is_that_of_the_rows():
    for n_rows, cell in [(1, 64), (3, 64), (3, 96)]:
        figure = draw({f"row {k}": strip(["query", "right"]) for k in range(n_rows)}, cell=cell)
        layout = figure.layout
        plot_height = layout.height - layout.margin.t - layout.margin.b
        assert plot_height == layout.yaxis.range[0] - layout.yaxis.range[1]  # a unit is a pixel
        assert plot_height >= n_rows * cell
        assert layout.yaxis.scaleanchor == "x"
        assert layout.xaxis.constrain == layout.yaxis.constrain == "domain"
        assert (layout.xaxis.constraintoward, layout.yaxis.constraintoward) == ("left", "top")
        assert all(image.sizex == image.sizey > 0.8 * cell for image in layout.images)
        assert figure.data[0].marker.size == cell
        (left, right), (top, bottom) = layout.xaxis.range, layout.yaxis.range
        assert all(min(left, right) < x < max(left, right) for x in figure.data[0].x)
        assert all(min(top, bottom) < y < max(top, bottom) for y in figure.data[0].y)


def test_the_number_of_traces_does_not_depend_on_the_rows():
    many = {f"row {k}": strip(["query", *["right", "wrong"] * 4], 10 * k) for k in range(10)}
    assert [[trace.name for trace in draw(strips).data] for strips in (many, STRIPS, {"a": []})] == [["cells"]] * 3
    assert len(draw(many).layout.shapes) == len(draw().layout.shapes)  # paths for all of a kind


def test_a_figure_turns_into_another_by_its_trace_images_shapes_and_annotations():
    other = draw({"csd": strip(["query", "wrong", "right"], 30), "finetune": strip(["query", *["right"] * 3], 40)})
    figure = draw()
    figure.data[0].update(other.data[0].to_plotly_json())
    for part in ("images", "shapes", "annotations"):
        setattr(figure.layout, part, getattr(other.layout, part))
    assert figure.to_plotly_json() == other.to_plotly_json()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no row to draw; expected at least one"),
        ({"csd": [Shown(None, "maybe", "", 0)]}, r"mark of image 0 in 'csd' is 'maybe'; expected 'query', 'right'"),
        ({"csd": [*strip(["right"]), Shown(picture().float(), "", "", 0)]}, r"image 1 in 'csd' is torch.float32 of sh"),
        (
            {"csd": [Shown(picture(0, (12, 12, 3)), "", "", 0)]},
            r"shape \(12, 12, 3\); expected torch.uint8 \(C, H, W\)",
        ),
        ({"csd": [Shown(picture(0, (4, 12, 12)), "", "", 0)]}, r"with C 1 or 3"),
        ({"csd": [Shown(picture(0, (12, 12)), "", "", 0)]}, r"shape \(12, 12\)"),
        ({"csd": [Shown(picture(0, (3, 0, 12)), "", "", 0)]}, r"shape \(3, 0, 12\)"),
    ],
)
def test_strips_that_cannot_be_drawn(given, message):
    with pytest.raises(ValueError, match=message):
        draw(given)


@pytest.mark.parametrize("cell", [0, -64, 15, math.nan])
def test_a_cell_must_have_room_for_an_image(cell):
    with pytest.raises(ValueError, match=f"cell is {cell}; expected a side of at least 16 pixels"):
        draw(cell=cell)


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from(["", *FRAMES]), max_size=6), min_size=1, max_size=5))
def test_no_two_images_overlap_whatever_the_rows(rows):
    figure = draw({f"row {k}": strip(marks, 10 * k) for k, marks in enumerate(rows)})
    cells = list(zip(figure.data[0].x or (), figure.data[0].y or (), strict=True))
    assert len(cells) == sum(map(len, rows))
    for (x, y), (other_x, other_y) in itertools.combinations(cells, 2):
        assert max(abs(x - other_x), abs(y - other_y)) > 64
    framed = sum(len(boxes(figure, color)) for color in (INK, GREEN, VERMILION))
    assert framed == sum(mark != "" for marks in rows for mark in marks)


# ---------------------------------------------------------------------------------------------------- pairs

CLASSES = ["alpha", "beta", NASTY, "delta"]
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
TEMPERATURES = (0.5, 0.05, 0.1)


def pairs_of(labels=LABELS, temperatures=TEMPERATURES, seed=0):
    student, teacher = torch.randn(2, len(labels), 5, generator=torch.Generator().manual_seed(seed)).relu()
    return {t: losses.csd_pairs(student, teacher, labels, temperature=t) for t in temperatures}


@pytest.fixture(scope="module")
def pairs():
    return pairs_of()


@pytest.fixture(scope="module")
def figure(pairs):
    return plots.pair_similarities(pairs, LABELS, classes=CLASSES)


def heatmaps(figure, coloraxis):
    """Return the students' and the teachers' heatmap on one colour scale."""
    return [trace for trace in figure.data if trace.type == "heatmap" and trace.coloraxis == coloraxis]


def assert_shows(table, values):
    """Compare (B, 2B) with two halves of nested lists, in which a student has None with itself."""
    n = len(values)
    rows = [[*a, *b] for a, b in zip(*table, strict=True)]
    assert [len(row) for row in rows] == [2 * n] * n
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if i == j:
                assert value is None
            else:
                assert value == pytest.approx(float(values[i, j]), abs=6e-5)


def test_similarities_and_pulls_of_all_pairs_are_drawn(figure, pairs):
    assert_shows([trace.z for trace in heatmaps(figure, "coloraxis")], pairs[0.05].similarity)
    pulls = heatmaps(figure, "coloraxis2")
    assert_shows([trace.z for trace in pulls], pairs[0.05].pull)
    assert_shows([trace.customdata for trace in pulls], pairs[0.05].weight)
    assert all("%{customdata" in trace.hovertemplate for trace in pulls)


def test_students_lie_on_the_left_and_teachers_on_the_right(figure):
    n = len(LABELS)
    for coloraxis in ("coloraxis", "coloraxis2"):
        left, right = heatmaps(figure, coloraxis)
        assert (list(left.x), list(right.x)) == (list(range(n)), list(range(n, 2 * n)))  # the columns of (B, 2B)
        assert left.text[1][3] == "student 1 (alpha)<br>student 3 (beta)"
        assert right.text[1][3] == "student 1 (alpha)<br>teacher 3 (beta)"
        axes = [figure.layout["xaxis" + trace.xaxis[1:]] for trace in (left, right)]
        assert axes[0].domain[1] < axes[1].domain[0]
        assert [axis.range for axis in axes] == [(-0.5, n - 0.5), (n - 0.5, 2 * n - 0.5)]
    heads = written(figure)
    assert sum(": students" in head for head in heads) == sum(": teachers" in head for head in heads) == 2


def test_a_dot_marks_each_positive_in_both_rows(figure, pairs):
    places = {(i, j) for i, j in pairs[0.1].positive.nonzero().tolist()}
    dots = [trace for trace in figure.data if trace.type == "scatter"]
    for row in (dots[0::2], dots[1::2]):  # similarities, pulls
        drawn = [(i, j) for trace in row for i, j in zip(trace.y, trace.x, strict=True)]
        assert set(drawn) == places
        assert len(drawn) == len(places)
    assert {trace.hoverinfo for trace in dots} == {"skip"}  # the cells below answer to the pointer
    assert {trace.marker.size for trace in dots} == {DOT["size"]}
    for heatmap, dot in zip([t for t in figure.data if t.type == "heatmap"], dots, strict=True):
        assert (heatmap.xaxis, heatmap.yaxis) == (dot.xaxis, dot.yaxis)


def test_colours_are_symmetric_fixed_and_not_of_red_and_green(figure):
    similarity, pull = figure.layout.coloraxis, figure.layout.coloraxis2
    assert (similarity.cmin, similarity.cmax) == (-1, 1)
    # The positives of six anchors are 5 5 5 3 3 1: a typical positive pulls by up to 1/3.
    assert (pull.cmin, pull.cmax) == (pytest.approx(-1 / 3), pytest.approx(1 / 3))
    assert pull.colorbar.ticktext[0] == "≤ −0.33"
    for axis in (similarity, pull):
        assert axis.colorscale[len(axis.colorscale) // 2] == (0.5, "#ffffff")
        low, high = axis.colorscale[0][1], axis.colorscale[-1][1]
        assert int(low[1:3], 16) > int(low[5:7], 16)  # orange
        assert int(high[1:3], 16) < int(high[5:7], 16)  # blue
    assert figure.layout.plot_bgcolor not in ("#ffffff", "white", None)  # a student with itself


def test_the_first_anchor_is_on_top_and_class_names_stand_at_their_blocks(figure):
    assert figure.layout.yaxis.range == (5.5, -0.5)
    assert list(figure.layout.yaxis.tickvals) == [1.0, 3.5, 5.0]
    assert list(figure.layout.xaxis4.tickvals) == [7.0, 9.5, 11.0]
    assert list(figure.layout.xaxis3.ticktext) == ["alpha", "beta", "&lt;img src=x …"]


def test_boundaries_lie_between_the_classes_and_students_themselves_are_struck_out(figure):
    shapes = {(shape.xref, shape.yref): shape.path for shape in figure.layout.shapes}
    assert set(shapes) == {("x", "y"), ("x2", "y2"), ("x3", "y3"), ("x4", "y4")}
    for (x, _), path in shapes.items():
        offset = 6 * (x in ("x2", "x4"))
        assert re.findall(r"M([\d.]+),-0.5V5.5", path) == [str(offset + 2.5), str(offset + 4.5)]
        assert re.findall(r"M[-\d.]+,([\d.]+)H", path) == ["2.5", "4.5"]
        assert path.count("L") == (0 if offset else 6)


def test_one_frame_for_each_temperature_with_what_changes(figure, pairs):
    assert [frame.name for frame in figure.frames] == ["0.05", "0.1", "0.5"]
    moving = [k for k, trace in enumerate(figure.data) if trace in heatmaps(figure, "coloraxis2")]
    for t, frame in zip(sorted(pairs), figure.frames, strict=True):
        assert list(frame.traces) == moving
        assert_shows([trace.z for trace in frame.data], pairs[t].pull)
        assert_shows([trace.customdata for trace in frame.data], pairs[t].weight)
        assert all(set(trace.to_plotly_json()) == {"type", "z", "customdata"} for trace in frame.data)
        below = frame.layout.title.subtitle.text
        assert f"τ = {t:g}" in below
        assert f"loss is {pairs[t].loss:.3f}" in below
        share = sum(float(pairs[t].weight[i][pairs[t].positive[i]].sum()) for i in range(6)) / 6
        assert f"positives have {share:.0%}" in below
        assert set(frame.layout.to_plotly_json()) == {"title"}
        assert frame.layout.title.text == figure.layout.title.text  # whole: a widget replaces all of it
    assert len({frame.layout.title.subtitle.text for frame in figure.frames}) == 3


def test_the_slider_moves_to_the_frames(figure):
    (slider,) = figure.layout.sliders
    assert [list(step.args[0]) for step in slider.steps] == [[frame.name] for frame in figure.frames]
    assert [step.method for step in slider.steps] == ["animate"] * 3
    assert all(step.args[1]["frame"]["redraw"] for step in slider.steps)  # without it heatmaps stay as they are
    assert slider.active == 0  # 0.05 is the nearest to 0.07


def test_it_starts_at_the_temperature_that_is_asked_for(pairs):
    figure = plots.pair_similarities(pairs, LABELS, classes=CLASSES, temperature=0.5, title=NASTY)
    assert figure.layout.sliders[0].active == 2
    assert "τ = 0.5 " in figure.layout.title.subtitle.text
    assert figure.layout.title.to_plotly_json() == figure.frames[2].layout.title.to_plotly_json()
    assert_shows([trace.z for trace in heatmaps(figure, "coloraxis2")], pairs[0.5].pull)
    near = pairs_of(temperatures=(0.01, 0.08, 1.0))
    assert plots.pair_similarities(near, LABELS, classes=CLASSES).layout.sliders[0].active == 1


def test_class_names_and_title_of_pairs_are_escaped(pairs):
    figure = plots.pair_similarities(pairs, LABELS, classes=CLASSES, title=NASTY)
    assert "<img" not in str(figure.to_plotly_json())
    assert "&lt;img" in figure.layout.title.text
    assert "&lt;img" in heatmaps(figure, "coloraxis")[0].text[5][0]


def test_many_classes_leave_out_names():
    labels = torch.arange(40)
    figure = plots.pair_similarities(pairs_of(labels, (0.1,)), labels, classes=[f"class {k}" for k in range(40)])
    assert list(figure.layout.yaxis.tickvals) == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert list(figure.layout.yaxis.ticktext)[-1] == "class 36"


def test_one_image_or_one_class_will_do():
    one = torch.tensor([3])
    figure = plots.pair_similarities(pairs_of(one, (0.1,)), one, classes=CLASSES)
    assert [list(map(list, trace.z)) for trace in heatmaps(figure, "coloraxis2")] == [[[None]], [[0.0]]]
    labels = torch.tensor([1, 1])
    figure = plots.pair_similarities(pairs_of(labels, (0.1,)), labels, classes=CLASSES)
    assert {shape.path for shape in figure.layout.shapes if shape.xref in ("x2", "x4")} == {"M0,0"}  # no boundary


@pytest.mark.parametrize("labels", [LABELS[:-1], LABELS[:, None], LABELS[:0]])
def test_labels_must_be_those_of_the_batch(pairs, labels):
    with pytest.raises(ValueError, match=r"temperature 0.5 have shape \(6, 12\) and labels \(.*expected \(B, 2B\) and"):
        plots.pair_similarities(pairs, labels, classes=CLASSES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 2, "from 2 to 4 with 4 class names; expected integers, each with a name"),
        (LABELS - 1, "from -1 to 1"),
        (LABELS.float(), "labels are torch.float32"),
    ],
)
def test_each_label_needs_a_name(pairs, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.pair_similarities(pairs, labels, classes=CLASSES)


def test_pairs_that_cannot_be_drawn(pairs):
    def draws(pairs, message, **options):
        with pytest.raises(ValueError, match=message):
            plots.pair_similarities(pairs, LABELS, classes=CLASSES, **options)

    draws({}, "no pairs to draw; expected those of at least one temperature")
    draws(pairs, r"temperature is 0.07; expected one of the pairs': 0.05, 0.1, 0.5", temperature=0.07)
    draws({0.0: pairs[0.1]}, "pairs for temperature 0.0; expected a number above 0")
    draws({math.inf: pairs[0.1]}, "pairs for temperature inf; expected a number above 0")
    draws({**pairs, 1.0: pairs_of(seed=1)[0.1]}, "temperature 1.0 have other similarities or positives than the first")
    other_positives = pairs[0.1]._replace(positive=~pairs[0.1].positive)
    draws({**pairs, 1.0: other_positives}, "other similarities or positives")
    draws({0.1: pairs[0.1]._replace(weight=torch.ones(3, 3))}, r"\(3, 3\)")
