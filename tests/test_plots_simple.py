"""Lines, points, bars, marks for each seed, and figures to choose from: what they show, escape and refuse."""

import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from csd_edu import plots
from csd_edu.plots.style import SERIES, method_looks

NASTY = "<img src=x onerror=alert(1)>"
NAMED = {"title": "A title", "x_title": "a place", "y_title": "a value"}


def texts(figure: go.Figure) -> str:
    """Everything that a figure writes, in one string."""
    return str(figure.to_plotly_json())


def points_of(trace) -> list[tuple]:
    return list(zip(trace.x, trace.y, strict=True))


# --- lines ------------------------------------------------------------------------------------------------------------


def lines(curves=None, x=(1, 2, 4), **changes):
    return plots.lines(curves or {"a": [0.1, None, 0.3], "b": [3, 2, 1]}, x, **{**NAMED, **changes})


def test_a_line_for_each_name_over_common_places():
    figure = lines(subtitle="a line below")
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert points_of(figure.data[0]) == [(1, 0.1), (2, None), (4, 0.3)]
    assert points_of(figure.data[1]) == [(1, 3), (2, 2), (4, 1)]
    assert figure.layout.title.text == "<b>A title</b>"
    assert figure.layout.title.subtitle.text == "a line below"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("a place", "a value")
    assert figure.layout.template == plots.TEMPLATE


def test_lines_are_told_apart_by_more_than_colour_and_methods_keep_theirs():
    figure = lines({name: [0.1, 0.2, 0.3] for name in "abcdefg"})
    for what in ("marker.symbol", "line.color", "line.dash"):
        assert len({trace[what] for trace in figure.data}) >= 6, what
    assert [trace.line.color for trace in figure.data] == [style.color for style in SERIES]
    figure = lines({"something else": [1, 2, 3], "csd": [1, 2, 3], "csd (seed 1)": [1, 2, 3]})
    assert [trace.line.color for trace in figure.data][1:] == [method_looks()["csd"].color] * 2
    assert figure.data[0].line.color not in {trace.line.color for trace in figure.data[1:]}
    figure = lines({name: [1, 2, 3] for name in ("mine", "der", "derpp", "yours")})
    assert len({trace.line.color for trace in figure.data}) == 4, "a stranger takes no colour of a method that is there"


def test_words_are_places_at_equal_distances_and_marks_stand_at_theirs():
    figure = lines(x=("1", "0.3", "0"), marks={"here": "1", "there": "0"})
    assert figure.layout.xaxis.type == "category"
    assert [shape.x0 for shape in figure.layout.shapes] == [0, 2]  # not the category of number 1
    assert [(note.text, note.x, note.xanchor) for note in figure.layout.annotations] == [
        ("here", 0, "left"),
        ("there", 2, "right"),  # words that would leave the panel are on the other side
    ]


def test_logarithmic_axes():
    figure = lines(log="xy", marks={"here": 2})
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert figure.layout.xaxis.tickvals == (1, 2, 4)
    assert figure.layout.shapes[0].x0 == 2
    assert figure.layout.annotations[0].x == pytest.approx(math.log10(2))
    for log, types in (("x", ("log", None)), ("y", (None, "log")), ("", (None, None))):
        figure = lines(log=log)
        assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == types


def test_words_of_a_level_stand_where_no_curve_crosses_it():
    (words,) = lines({"a": [3.0, 1.0, 1.2, 1.1, 1.15, 1.2]}, range(6), levels={"level": 1.3}).layout.annotations
    assert words.xanchor == "right"
    (words,) = lines({"a": [1.0, 1.1, 1.2, 1.25, 3.0, 1.2]}, range(6), levels={"level": 1.3}).layout.annotations
    assert words.xanchor == "left"


def test_levels_have_the_colour_of_their_curve():
    figure = lines(levels={"a, before": 0.2, "b, before": 0.7, "elsewhere": 0.1})
    assert [shape.y0 for shape in figure.layout.shapes] == [0.7, 0.2, 0.1]
    colors = [figure.data[1].line.color, figure.data[0].line.color, plots.GREY]
    assert [shape.line.color for shape in figure.layout.shapes] == colors
    assert [note.font.color for note in figure.layout.annotations] == colors
    assert [note.yanchor for note in figure.layout.annotations] == ["bottom", "top", "top"]


def test_the_words_of_a_level_stand_where_the_curves_are_far_away():
    curves = {"a": [0.5, None, 0.1], "b": [None, 0.5, 0.2]}
    figure = lines(curves, levels={"high": 0.5, "low": 0.1})
    assert [note.xanchor for note in figure.layout.annotations] == ["right", "left"]


def test_the_range_of_the_values_may_be_given():
    assert lines(y_range=(0, 1)).layout.yaxis.range == (0, 1)
    assert lines().layout.yaxis.range is None


def test_several_lines_below_the_title():
    assert lines(subtitle=["one", "two"]).layout.title.subtitle.text == "one<br>two"


# --- points and bars --------------------------------------------------------------------------------------------------


def scatter(groups=None, **changes):
    return plots.points(groups or {"csd": ([0.1, 0.2], [0.3, 0.4]), "mine": ([0.5], [0.6])}, **{**NAMED, **changes})


def test_points_of_each_group():
    figure = scatter(texts={"csd": ["one", NASTY], "mine": ["two"]}, crosses={"before": (0.7, 0.8)})
    assert [trace.name for trace in figure.data] == ["csd", "mine", "before"]
    assert [points_of(trace) for trace in figure.data] == [[(0.1, 0.3), (0.2, 0.4)], [(0.5, 0.6)], [(0.7, 0.8)]]
    assert figure.data[0].marker.color == method_looks()["csd"].color
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert figure.data[0].text == ("one<br>", "&lt;img src=x onerror=alert(1)&gt;<br>")
    assert {trace.mode for trace in figure.data} == {"markers"}
    assert scatter(joined=True).data[0].mode == "lines+markers"


def test_bars_have_their_values_on_them():
    figure = plots.bars({"a": [0.25, 0.5], "b": [1, 0]}, ["x", "y"], title="A title", y_title="a value", form=".0%")
    assert [points_of(trace) for trace in figure.data] == [[("x", 0.25), ("y", 0.5)], [("x", 1), ("y", 0)]]
    assert [trace.text for trace in figure.data] == [("25%", "50%"), ("100%", "0%")]
    assert len({(trace.marker.color, trace.marker.pattern.shape) for trace in figure.data}) == 2
    assert len({trace.marker.pattern.shape for trace in figure.data}) == 2  # not by colour alone
    assert figure.layout.yaxis.range == pytest.approx((0, 1.1))
    assert figure.layout.yaxis.tickformat == ".0%"
    figure = plots.bars({"a": [0.25]}, ["x"], title="A title", y_title="a value", top=1)
    assert figure.layout.yaxis.range == (0, 1)
    assert figure.data[0].text == ("0.25",)


# --- seeds ------------------------------------------------------------------------------------------------------------

ENDS = {"csd": [0.5, 0.6], "a_method_of_mine": np.array([0.4, 0.7])}


def seeds(quantities=None, **changes):
    return plots.per_seed(quantities or {"Recall@1": ENDS}, **{"title": "A title", "seeds": (0, 3), **changes})


def test_a_mark_for_each_seed_in_the_row_of_its_method():
    figure = seeds()
    marks = [trace for trace in figure.data if trace.mode == "markers" and not trace.showlegend]
    entries = [trace for trace in figure.data if trace.showlegend]
    assert [trace.name for trace in marks] == [trace.name for trace in entries] == ["seed 0", "seed 3"]
    assert [trace.marker.symbol for trace in marks] == [trace.marker.symbol for trace in entries]
    assert {trace.marker.color for trace in entries} == {plots.GREY}  # no method's
    assert [points_of(trace) for trace in marks] == [[(0.5, 0), (0.4, 1)], [(0.6, 0), (0.7, 1)]]
    assert marks[0].marker.symbol != marks[1].marker.symbol
    assert marks[0].marker.color == (method_looks()["csd"].color, plots.GREY)
    assert figure.layout.yaxis.ticktext == ("csd ", "a <br>method <br>of <br>mine ")
    assert figure.layout.xaxis.title.text == "Recall@1"
    between = [trace for trace in figure.data if trace.mode == "lines"]
    assert [points_of(trace) for trace in between] == [[(0.5, 0), (0.6, 0)], [(0.4, 1), (0.7, 1)]]


def test_a_panel_for_each_quantity_and_one_legend():
    figure = seeds({"Recall@1": ENDS, "forgetting": ENDS})
    assert {trace.xaxis for trace in figure.data} == {"x", "x2"}
    assert figure.layout.xaxis2.title.text == "forgetting"
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert shown == ["seed 0", "seed 3"]


def test_intervals_below_the_marks():
    figure = seeds(intervals={"csd": (0.1, 0.9), "a_method_of_mine": (np.nan, np.nan)}, zero=True)
    *drawn, means = figure.data
    marks = [trace for trace in drawn if not trace.showlegend]
    assert {trace.mode for trace in figure.data} == {"markers"}
    assert list(means.x) == pytest.approx([0.55, 0.55])
    assert means.error_x.array[0] == pytest.approx(0.35)
    assert means.error_x.arrayminus[0] == pytest.approx(0.45)
    assert max(trace.y[0] for trace in marks) < means.y[0]  # the axis goes downwards
    assert len({trace.y[0] for trace in marks}) == 2
    assert figure.layout.shapes[0].x0 == 0
    assert "95 %" in means.name


def test_one_seed():
    figure = seeds({"Recall@1": {"csd": [0.5]}}, seeds=(1,), intervals={"csd": (np.nan, np.nan)})
    assert points_of(figure.data[0]) == [(0.5, 0)]


# --- several figures in one -------------------------------------------------------------------------------------------


def several():
    return {
        name: lines({"a": values, NASTY: values}, x, x_title=name, subtitle=f"about {name}", marks={"here": x[0]})
        for name, values, x in (("first", [1, 2], ("p", "q")), ("second", [3, 4], ("r", "s")))
    }


def test_the_first_figure_is_shown_and_a_list_chooses_another():
    figure = plots.choose(several())
    assert [trace.visible for trace in figure.data] == [True, True, False, False]
    assert figure.layout.xaxis.title.text == "first"
    first, second = figure.layout.updatemenus[0].buttons
    assert (first.label, second.label, second.method) == ("first", "second", "update")
    traces, layout = second.args
    assert traces == {"visible": [False, False, True, True]}
    assert layout["title"]["subtitle"]["text"] == "about second"
    assert layout["xaxis"]["title"]["text"] == "second"
    assert layout["shapes"][0]["x0"] == 0
    assert layout["annotations"][0]["text"] == "here"
    assert [points_of(trace) for trace in figure.data[1:3]] == [[("p", 1), ("q", 2)], [("r", 3), ("s", 4)]]


def test_the_list_stands_above_headings_and_the_panels_keep_their_height():
    def panels(figure):
        return figure.layout.height - figure.layout.margin.t - figure.layout.margin.b

    plain = several()
    heads = {name: plots.task_matrices({name: [[0.5]]}, title="R", protocol="seen") for name in "ab"}
    for figures in (plain, heads):
        assert panels(plots.choose(figures)) == panels(next(iter(figures.values())))
    places = [plots.choose(figures).layout.updatemenus[0].y for figures in (plain, heads)]
    assert 1 < places[0] < places[1]


def test_a_slider_chooses_too():
    figure = plots.choose(several(), slider="s = ")
    assert not figure.layout.updatemenus
    (slider,) = figure.layout.sliders
    assert slider.currentvalue.prefix == "s = "
    assert [step.label for step in slider.steps] == ["first", "second"]
    assert slider.steps[1].args == plots.choose(several()).layout.updatemenus[0].buttons[1].args


def test_figures_without_a_height_have_no_place_for_a_list():
    with pytest.raises(ValueError, match=r"the figure 'a' has no height, .* expected such as figure\.update_layout"):
        plots.choose({"a": go.Figure()})


def test_images_change_with_the_figure():
    strips = {
        str(grey): plots.retrieval_strips(
            {"row": [plots.Shown(torch.full((1, 8, 8), grey, dtype=torch.uint8), "", "grey", 0)]}, title="Greys"
        )
        for grey in (0, 255)
    }
    figure = plots.choose(strips, slider="grey ")
    sources = [step.args[1]["images"][0]["source"] for step in figure.layout.sliders[0].steps]
    assert sources == [strip.layout.images[0].source for strip in strips.values()]
    assert sources[0] != sources[1]
    assert plots.choose(several()).layout.updatemenus[0].buttons[0].args[1]["images"] == []


def test_figures_to_choose_from_stay_as_they_are():
    figures = several()
    before = {name: figure.to_json() for name, figure in figures.items()}
    plots.choose(figures)
    assert {name: figure.to_json() for name, figure in figures.items()} == before


# --- what all of them escape and refuse -------------------------------------------------------------------------------


def test_names_are_no_html():
    drawn = (
        lines({NASTY: [1, 2]}, (1, 2), title=NASTY, x_title=NASTY, y_title=NASTY, subtitle=NASTY, marks={NASTY: 1}),
        lines(levels={NASTY: 0.5}),
        scatter({NASTY: ([1], [2])}, crosses={NASTY: (1, 2)}),
        plots.bars({NASTY: [1]}, [NASTY], title=NASTY, y_title=NASTY),
        seeds({NASTY: {NASTY: [1, 2]}}),
    )
    for figure in drawn:
        assert "<img" not in texts(figure)
        json.loads(figure.to_json())


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.lines({}, (1,), **NAMED), "there is no curve to draw"),
        (lambda: lines({"a": [1, 2]}), "'a' has 2 values for 3 places; expected one for each"),
        (lambda: lines({"a": []}, ()), "'a' has 0 values for 0 places"),
        (lambda: lines(log="z"), "log is 'z'; expected 'x', 'y', 'xy' or ''"),
        (lambda: plots.points({}, **NAMED), "there is no group to draw"),
        (lambda: scatter({"a": ([1], [1, 2])}), "'a' has 2 values for 1 x"),
        (lambda: scatter({"a": ([1], [1])}, texts={"a": []}), "'a' has 0 values for 1 x"),
        (lambda: plots.bars({}, ["x"], title="", y_title=""), "there is no group to draw"),
        (lambda: plots.bars({"a": [1]}, ["x", "y"], title="", y_title=""), "'a' has 1 values for 2 places"),
        (lambda: plots.per_seed({}, title="", seeds=(0,)), "there is no quantity to draw"),
        (lambda: seeds({"R": {}}), "there is no row to draw"),
        (lambda: seeds({"R": {"a": [1]}}), "'a' has 1 values; expected one for each of 2 seeds"),
        (lambda: seeds({"R": ENDS, "F": {"csd": [1, 2]}}), "'F' has the rows csd; expected csd, a_method_of_mine"),
        (lambda: seeds(intervals={"csd": (0, 1)}), "the intervals are of other rows"),
        (lambda: seeds({"R": ENDS, "F": ENDS}, intervals=dict.fromkeys(ENDS, (0, 1))), "a single quantity"),
        (lambda: plots.choose({}), "there is no figure to draw"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
