"""The figure of forgetting and crowding: its bars are the parts, also where there was a gain or nothing measured."""

import pytest
from hypothesis import given, strategies as st

from csd_edu import plots
from csd_edu.metrics import Fall

FALLS = {
    "finetune": Fall(0.9, 0.4, 0.2, 0.3),
    "csd(distillation=5)": Fall(0.8, -0.0625, 0.125, 0.7375),
    "half": Fall(0.75, None, None, None),
}


def trace(figure, name):
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def notes(figure) -> dict[int, str]:
    return {note.y: note.text for note in figure.layout.annotations}


def test_parts_lie_end_to_end_up_to_what_was_learnt():
    figure = plots.forgetting_and_crowding(FALLS)
    assert trace(figure, "left").x == pytest.approx((0.3, 0.7375))
    assert trace(figure, "left").base == (0, 0)
    assert trace(figure, "crowding").base == pytest.approx((0.3, 0.7375))
    assert trace(figure, "forgetting").base == pytest.approx((0.5, 0.8625))
    ends = [a + b for a, b in zip(trace(figure, "forgetting").base, trace(figure, "forgetting").x, strict=True)]
    assert trace(figure, "learnt").x == (0.9, 0.8)
    assert ends == pytest.approx([0.9, 0.8])
    patterns = {trace(figure, part).marker.pattern.shape for part in ("left", "crowding", "forgetting")}
    assert len(patterns) == 3  # told apart without their colours


def test_a_gain_is_an_outline_over_the_end_of_the_bar_and_no_bar():
    figure = plots.forgetting_and_crowding(FALLS)
    (outline,) = figure.layout.shapes
    assert (outline.x0, outline.x1) == pytest.approx((0.8, 0.8625))
    assert (outline.y0 + outline.y1) / 2 == 1  # the second row
    assert trace(figure, "forgetting").marker.opacity == (1, 0)
    assert notes(figure)[1] == "<b>learnt 0.80</b><br>forgetting −0.06"


def test_every_number_is_written_once_in_its_part_or_beside_the_bar():
    figure = plots.forgetting_and_crowding({"a": Fall(0.9, 0.02, 0.08, 0.8)})
    inside = [trace(figure, part).text[0] for part in ("left", "crowding", "forgetting")]
    assert inside == ["0.80", "0.08", ""]
    assert notes(figure) == {0: "<b>learnt 0.90</b><br>forgetting 0.02"}
    assert plots.forgetting_and_crowding(FALLS, end_labels=False).layout.annotations == ()


def test_a_method_without_all_its_parts_is_named_in_place_of_a_bar():
    figure = plots.forgetting_and_crowding(FALLS)
    assert figure.layout.yaxis.ticktext == ("finetune ", "csd <br>(distillation=5) ")
    assert figure.layout.yaxis.tickvals == trace(figure, "left").y == (0, 1)
    assert "not measured: half" in figure.layout.title.subtitle.text
    nothing = plots.forgetting_and_crowding({"half": FALLS["half"]})
    assert not trace(nothing, "left").x


def test_the_definitions_are_on_the_figure_and_names_are_escaped():
    figure = plots.forgetting_and_crowding({"<img src=x>": FALLS["finetune"]}, of="task 0", title="What is left?")
    text = str(figure.to_plotly_json())
    assert "<img" not in text
    below = figure.layout.title.subtitle.text
    assert below.startswith("task 0<br>")
    assert all(f"{word}: " in below for word in ("learnt", "left", "crowding", "forgetting"))
    assert figure.layout.title.text == "<b>What is left?</b>"


@pytest.mark.parametrize(
    ("falls", "message"),
    [
        ({}, "there is no method"),
        ({"a": Fall(0.5, float("nan"), 0.0, 0.5)}, "'a' has forgetting nan; expected a difference of shares"),
        ({"a": Fall(50.0, 0.0, 0.0, 50.0)}, "'a' has learnt 50.0; expected a difference of shares"),
    ],
)
def test_what_is_no_fall(falls, message):
    with pytest.raises(ValueError, match=message):
        plots.forgetting_and_crowding(falls)


SHARE = st.floats(0, 1)


@given(st.dictionaries(st.text(max_size=5), st.tuples(SHARE, SHARE, SHARE), min_size=1, max_size=4), st.booleans())
def test_any_falls_are_drawn_from_their_left_to_what_was_learnt(shares, end_labels):
    falls = {name: Fall(learnt, learnt - kept, kept - left, left) for name, (learnt, kept, left) in shares.items()}
    figure = plots.forgetting_and_crowding(falls, end_labels=end_labels)
    last = trace(figure, "forgetting")
    assert [a + b for a, b in zip(last.base, last.x, strict=True)] == pytest.approx([f.learnt for f in falls.values()])
    n_gains = sum(part < 0 for fall in falls.values() for part in (fall.crowding, fall.forgetting))
    assert len(figure.layout.shapes) == n_gains
    figure.to_json()
