"""The figures: what they show, what they escape, what they refuse."""

import math
from itertools import chain, pairwise

import plotly.colors
import plotly.graph_objects as go
import pytest

from csd_edu import metrics, plots
from csd_edu.plots.curves import HEIGHT, _apart

SEEN = [[0.9, None], [0.25, 0.8]]
NASTY = "<img src=x onerror=alert(1)>"


def texts(figure: go.Figure) -> str:
    """Everything that a figure writes, in one string."""
    return str(figure.to_plotly_json())


def matrices(**changes):
    return plots.task_matrices({"csd": SEEN, "lwf": SEEN}, **{"title": "Recall@1", "protocol": "seen", **changes})


def test_a_heatmap_for_each_method_with_all_its_values():
    figure = matrices()
    drawn = [trace for trace in figure.data if trace.coloraxis is not None]
    assert [trace.name for trace in drawn] == ["csd", "lwf"]
    assert [list(map(list, trace.z)) for trace in drawn] == [SEEN, SEEN]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert {trace.xaxis for trace in figure.data} == {"x", "x2"}


def test_every_value_is_written_once_and_an_empty_cell_is_hatched_not_zero():
    below, above = matrices().data[:2]
    cells = [
        [a.strip() + b.strip() for a, b in zip(*rows, strict=True)] for rows in zip(below.text, above.text, strict=True)
    ]
    assert cells == [["0.90", ""], ["0.25", "0.80"]]
    hatching = matrices().layout.shapes[0].path
    assert hatching.count("M") == 3  # one empty cell
    assert "hatched" in texts(matrices())


def test_a_full_matrix_has_no_hatching():
    figure = plots.task_matrices({"csd": [[1.0, 0.5], [0.5, 1.0]]}, title="Recall@1", protocol="task")
    assert figure.layout.shapes[0].path.count("M") == 1  # a path of no length
    assert "hatched" not in texts(figure)


def test_numbers_stand_out_from_their_cells():
    def luminance(color: str) -> float:
        channels = [c / 255 for c in plotly.colors.unlabel_rgb(color)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    values = [[(11 * i + j) / 120 for j in range(11)] for i in range(11)]
    figure = plots.task_matrices({"csd": values}, title="Recall@1", protocol="task")
    for layer, ink in zip(figure.data, (1.0, 0.0), strict=True):  # white, black
        assert layer.textfont.color == ("white" if ink else "black")
        for value, text in zip(chain(*values), chain(*layer.text), strict=True):
            cell = luminance(plotly.colors.sample_colorscale("Viridis", [value])[0])
            light, dark = sorted([ink + 0.05, cell + 0.05], reverse=True)
            assert light / dark >= 4.5 or not text.strip(), f"{layer.textfont.color} on {value}"


def test_metric_protocol_and_formula_are_on_the_figure():
    title = matrices().layout.title
    assert "Recall@1" in title.text
    assert metrics.PROTOCOLS["seen"] in title.subtitle.text
    assert "R[i][j]" in title.subtitle.text
    assert "my own protocol" in texts(matrices(protocol="my own protocol"))
    assert "a formula" in texts(matrices(formula="a formula"))
    assert "measured on task" in texts(matrices())
    assert "after learning task" in texts(matrices())


def test_tasks_are_numbered_from_0_or_named():
    assert matrices().layout.xaxis2.ticktext == ("0", "1")
    assert matrices(task_names=["Greek", "Latin"]).layout.xaxis.ticktext == ("Greek", "Latin")


def test_many_matrices_wrap():
    figure = plots.task_matrices(dict.fromkeys("abcde", SEEN), title="Recall@1", protocol="seen")
    wide = plots.task_matrices(dict.fromkeys("abcde", SEEN), title="Recall@1", protocol="seen", columns=5)
    assert figure.layout.height > wide.layout.height


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no matrix"),
        ({"csd": []}, "0 rows"),
        ({"csd": [[0.5, 0.5]]}, "1 rows of 2"),
        ({"csd": [[0.5], [0.5, 0.5]]}, "1 or 2 values"),
        ({"csd": SEEN, "lwf": [[0.5]]}, r"'csd': 2 × 2, 'lwf': 1 × 1"),
        ({"csd": [0.5, 0.5]}, "no sequence"),
        ({"csd": [["high"]]}, "no sequence"),
        ({"csd": [[90.0]]}, "from 0 to 1"),
        ({"csd": [[]]}, "no value"),
    ],
)
def test_matrices_that_cannot_be_drawn(given, message):
    with pytest.raises(ValueError, match=message):
        plots.task_matrices(given, title="Recall@1", protocol="seen")


def test_wrong_number_of_task_names():
    with pytest.raises(ValueError, match="3 task names; expected 2"):
        matrices(task_names=["a", "b", "c"])


def curves(values, **options):
    return plots.curves_over_tasks(values, title="Recall@1 after each task", metric="Recall@1", **options)


def test_curves_show_values_gaps_and_what_is_not_learnt_yet():
    figure = curves({"csd": [1.0, None, 0.5], "lwf": [1.0, math.nan]})
    assert [trace.y for trace in figure.data] == [(1.0, None, 0.5), (1.0, None)]
    assert figure.layout.xaxis.ticktext == ("0", "1", "2")
    assert figure.layout.yaxis.title.text == "Recall@1"


def test_joint_is_dashed_and_called_the_upper_bound():
    figure = curves({"csd": [1.0, 0.5], "joint": [1.0, 0.9]})
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash"]
    assert "upper bound, under the same growing gallery" in figure.layout.title.subtitle.text
    assert "upper bound" not in texts(curves({"csd": [1.0]}))


def test_a_method_looks_the_same_in_every_figure_and_unlike_the_others():
    names = ["finetune", "lwf", "csd", "joint", "mine", "csd (seed 1)", "csd(weight=0.5)", "yours"]
    drawn = [
        (trace.line.color, trace.marker.symbol, trace.line.dash)
        for trace in curves({name: [0.5] for name in names}).data
    ]
    assert len(set(drawn)) == len(names)
    assert len({(symbol, dash) for _, symbol, dash in drawn}) == len(names)  # told apart without colour
    alone = curves({"csd": [0.5]}).data[0]
    assert (alone.line.color, alone.marker.symbol, alone.line.dash) == drawn[2]


def test_names_at_the_ends_of_lines_do_not_overlap():
    names = [f"method {k}" for k in range(6)]
    figure = curves({name: [1.0, 0.9 + k / 1000] for k, name in enumerate(names)})
    notes = figure.layout.annotations
    assert sorted(note.text for note in notes) == names
    pixel = (figure.layout.yaxis.range[1] - figure.layout.yaxis.range[0]) / (HEIGHT - 20)
    heights = sorted(note.y / pixel - note.ay for note in notes)
    assert min(b - a for a, b in pairwise(heights)) > 18
    assert heights[-1] <= figure.layout.yaxis.range[1] / pixel + 1e-6


def test_a_line_that_stops_early_has_its_name_in_the_legend_only():
    figure = curves({"csd": [1.0, 0.9, 0.8], "lwf": [1.0]})
    assert [note.text for note in figure.layout.annotations] == ["csd"]
    assert [trace.name for trace in figure.data] == ["csd", "lwf"]
    assert not curves({"csd": [1.0]}, end_labels=False).layout.annotations


def test_names_move_apart_no_further_than_needed():
    assert _apart([0.1, 0.5, 0.9], 0.1, 1.0) == [0.1, 0.5, 0.9]
    assert _apart([1.0, 1.0], 0.2, 1.0) == pytest.approx([0.8, 1.0])
    assert _apart([], 0.2, 1.0) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "no curve"), ({"csd": []}, "no value"), ({"csd": [[0.5]]}, "no sequence"), ({"csd": [-0.1]}, "from 0 to 1")],
)
def test_curves_that_cannot_be_drawn(given, message):
    with pytest.raises(ValueError, match=message):
        curves(given)


@pytest.mark.parametrize("columns", [1, 2])
def test_classification_beside_retrieval(columns):
    figure = plots.classification_beside_retrieval(
        {"csd": [1.0, 0.1]}, {"csd": [1.0, 0.8]}, queries="task 0's test images", columns=columns
    )
    assert [trace.y for trace in figure.data] == [(1.0, 0.1), (1.0, 0.8)]
    assert [trace.showlegend for trace in figure.data] == [True, False]
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range
    assert "Head accuracy" in texts(figure)
    assert "Recall@1" in texts(figure)
    assert "task 0&#x27;s test images" in figure.layout.title.subtitle.text


def test_classification_and_retrieval_of_other_methods():
    with pytest.raises(ValueError, match="only one of the two has 'lwf'"):
        plots.classification_beside_retrieval({"csd": [1.0], "lwf": [1.0]}, {"csd": [1.0]})
    with pytest.raises(ValueError, match="no curve"):
        plots.classification_beside_retrieval({}, {})


RECORDS = [
    {"kind": "epoch", "task": 0, "losses": {"ce": 2.0}},
    {"kind": "epoch", "task": 0, "losses": {"ce": 1.0}},
    {"kind": "task", "task": 0},
    {"kind": "epoch", "task": 1, "losses": {"ce": 3.0, "kd": 0.5}},
    {"kind": "task", "task": 1},
]


def test_loss_terms_by_name_broken_at_the_boundaries_of_tasks():
    figure = plots.loss_terms(RECORDS)
    lines = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data}
    assert lines["ce"] == {0.5: None, 1: 2.0, 2: 1.0, 2.5: None, 3: 3.0}
    assert lines["kd"] == {0.5: None, 1: None, 2: None, 2.5: None, 3: 0.5}
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.5, 2.5), (2.5, 3.5)]
    assert {"task 0", "1", "ce", "kd"} == {note.text for note in figure.layout.annotations}


def test_loss_terms_may_be_negative():
    figure = plots.loss_terms([{"kind": "epoch", "task": 0, "losses": {"mine": -2.0}}])
    assert figure.layout.yaxis.range[0] < -2 < 0 < figure.layout.yaxis.range[1]


@pytest.mark.parametrize("records", [[], [{"kind": "task", "task": 0}]])
def test_no_epoch_no_loss_terms(records):
    with pytest.raises(ValueError, match="no record of an epoch"):
        plots.loss_terms(records)


@pytest.mark.parametrize(
    "figure",
    [
        lambda name: plots.task_matrices({name: SEEN}, title=name, protocol=name, formula=name, task_names=[name] * 2),
        lambda name: curves({name: [0.5]}, subtitle=name, task_names=[name]),
        lambda name: plots.curves_over_tasks({"csd": [0.5]}, title=name, metric=name),
        lambda name: plots.classification_beside_retrieval({name: [0.5]}, {name: [0.5]}, title=name, queries=name),
        lambda name: plots.loss_terms([{"kind": "epoch", "task": 0, "losses": {name: 1.0}}], title=name),
    ],
)
def test_names_are_escaped_wherever_they_are_written(figure):
    written = texts(figure(NASTY))
    assert "&lt;img" in written
    assert "<img" not in written


def test_label():
    assert plots.label("a\n b\t") == "a b"
    assert plots.label("x" * 50) == "x" * 39 + "…"
    assert plots.label("\ud800") == "?"
    assert plots.label(3) == "3"


def test_figures_have_the_house_style_and_keep_their_width_free():
    for figure in (matrices(), curves({"csd": [0.5]}), plots.loss_terms(RECORDS)):
        assert figure.layout.template.layout.font.size >= 15
        assert figure.layout.width is None
