"""Drift maps and drift matrices: what they show at each snapshot, what their frames hold, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, product

import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given, settings, strategies as st

from csd_edu import drift, plots
from csd_edu.maps import LIMITS, pca_map
from csd_edu.plots import maps as module, places
from tests.snapshots import random

NASTY = "<img src=x onerror=alert(1)>"
N, SNAPSHOTS = 12, 3
LABELS = torch.arange(N) % 6
TASKS = LABELS // 2  # six classes in three tasks
CLASSES = [f"class {k}" for k in range(6)]
ROLES = ("trails", "points", "selected")


def pair(first=SNAPSHOTS, second=SNAPSHOTS, n=N):
    """Return the maps of two runs on one plane, made of so many snapshots."""
    start, *rest = [random(n, 5, seed=k) for k in range(first + second - 1)]
    made = pca_map([start, *rest])
    split = [list(range(first)), [0, *range(first, first + second - 1)]]
    names = ("points", "trustworthiness", "neighbors_kept")
    parts = [replace(made, **{name: getattr(made, name)[own] for name in names}) for own in split]
    return dict(zip(("finetune", "csd"), parts, strict=True))


MAPS = pair()
FOUND = {name: torch.arange(SNAPSHOTS * N).view(SNAPSHOTS, N) % k == 0 for name, k in (("finetune", 2), ("csd", 3))}


def draw(maps=MAPS, **options):
    found = FOUND if options.get("color") == "found" else None
    return plots.drift_map(maps, LABELS, TASKS, **{"classes": CLASSES, "found": found, **options})


FIGURE = draw()


def trace(figure: go.Figure, role: str, run: str = "csd", frame: int | None = None):
    """Return a run's trace with that role, in the figure or in one of its frames."""
    where = next(k for k, part in enumerate(figure.data) if part.meta == {"role": role, "run": run})
    if frame is None:
        return figure.data[where]
    return figure.frames[frame].data[figure.frames[frame].traces.index(where)]


def placed(part) -> list[tuple[float, float]]:
    return list(zip(part.x, part.y, strict=True))


def assert_at(places: list[tuple[float, float]], points: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(places), points, rtol=0, atol=0.0006)  # three decimals are written


@pytest.mark.parametrize(("run", "t"), list(product(MAPS, range(SNAPSHOTS))))
def test_points_lie_where_the_map_has_them_and_trails_lead_there(run, t):
    figure = FIGURE
    assert_at(placed(trace(figure, "points", run, t)), MAPS[run].points[t])
    lines = placed(trace(figure, "trails", run, t))
    assert_at(lines[::3], MAPS[run].points[max(0, t - 1)])  # at the start of no length
    assert_at(lines[1::3], MAPS[run].points[t])
    assert set(lines[2::3]) == {(None, None)}
    assert list(trace(figure, "points", run).customdata) == list(range(N))


@pytest.mark.parametrize("color", module.COLOR_BY)
def test_every_frame_holds_all_that_a_figure_begun_there_shows(color):
    moved = draw(color=color, after=0, selected=4)
    for t in (2, 0, 1):  # whatever was shown before
        begun = draw(color=color, after=t, selected=4)
        frame = moved.frames[t]
        for k, part in zip(frame.traces, frame.data, strict=True):
            moved.data[k].update(part)
        moved.update_layout(frame.layout)
        assert moved.data == begun.data
        assert moved.layout.annotations == begun.layout.annotations
        assert begun.layout.sliders[0].active == t
        assert moved.frames == begun.frames


def test_what_is_found_shows_only_where_asked_for():
    assert draw(color="task", found=FOUND).data == FIGURE.data


def test_the_last_snapshot_is_shown_first_by_default():
    assert draw().data == draw(after=2).data
    assert draw().data != draw(after=1).data


def test_all_colourings_have_the_same_traces_in_the_same_order():
    shapes = set()
    for color, trails, selected in (("task", True, None), ("class", False, 3), ("found", True, 3)):
        figure = draw(color=color, trails=trails, selected=selected)
        shapes.add(tuple((part.type, str(part.meta), part.xaxis, part.mode) for part in figure.data))
        assert [trace(figure, "trails", run).visible for run in MAPS] == [trails] * 2
    (shape,) = shapes
    moving = [(role, run) for run in MAPS for role in ROLES]
    assert [meta for _, meta, *_ in shape[:6]] == [str({"role": role, "run": run}) for role, run in moving]
    assert [axis for _, _, axis, _ in shape[:6]] == ["x"] * 3 + ["x2"] * 3
    assert {meta for _, meta, *_ in shape[6:]} == {str({"role": "legend"})}


def markers(figure: go.Figure, t: int, run: str = "csd") -> list[tuple[str, str, float]]:
    marker, fixed = trace(figure, "points", run, t).marker, trace(figure, "points", run).marker
    ends = fixed.colorscale[::2], fixed.colorscale[1::2]  # where each colour begins and ends
    colors = []
    for number in marker.color:
        place = (int(number) - fixed.cmin) / (fixed.cmax - fixed.cmin)
        colors += [color for (low, color), (high, _) in zip(*ends, strict=True) if low + 0.01 < place < high - 0.01]
    to_come = legend(figure)["of a task to come"]  # in the open form of whatever they become
    looks = zip(colors, marker.symbol, marker.opacity, strict=True)
    return [to_come if look[::2] == to_come[::2] and look[1].endswith("-open") else look for look in looks]


def legend(figure: go.Figure) -> dict[str, tuple[str, str, float]]:
    entries = [part for part in figure.data if part.meta["role"] == "legend" and part.showlegend]
    return {part.name: (part.marker.color, part.marker.symbol, part.marker.opacity) for part in entries}


@pytest.mark.parametrize("t", range(SNAPSHOTS))
def test_points_look_as_the_legend_says_by_task(t):
    figure = draw(task_names=["Greek", "Latin", "Norse"])
    key = legend(figure)
    assert list(key) == ["task Greek", "task Latin", "task Norse", "of a task to come"]
    names = [["task Greek", "task Latin", "task Norse"][k] if k <= t else "of a task to come" for k in TASKS]
    assert markers(figure, t) == [key[name] for name in names]
    assert len({color for color, *_ in key.values()}) == len({symbol for _, symbol, _ in key.values()}) == 4
    assert key["of a task to come"][1] == "circle-open"
    assert key["of a task to come"][2] < 0.5 < key["task Greek"][2]


@pytest.mark.parametrize(("t", "run"), list(product(range(SNAPSHOTS), MAPS)))
def test_points_look_as_the_legend_says_by_what_is_found(t, run):
    figure = draw(color="found")
    key = legend(figure)
    assert key["found"][:2] == ("#009E73", "circle")
    assert key["not found"][:2] == ("#D55E00", "circle-open")
    for i, look in enumerate(markers(figure, t, run)):
        name = "of a task to come" if TASKS[i] > t else "found" if FOUND[run][t, i] else "not found"
        assert look == key[name]


def test_few_classes_are_in_the_legend_and_many_take_turns():
    key = legend(draw(color="class"))
    assert list(key) == [*CLASSES, "of a task to come"]
    assert markers(draw(color="class"), 2) == [key[CLASSES[k]] for k in LABELS.tolist()]
    many = [f"class {k}" for k in range(56)]
    labels = torch.arange(56)
    made = {"csd": pca_map([random(56, 5)])}
    figure = plots.drift_map(made, labels, labels * 0, classes=many, color="class")
    assert list(legend(figure)) == ["of a task to come"]
    assert "7 colours and 8 symbols take turns" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert len(set(markers(figure, 0))) == 56  # no two alike
    single = plots.drift_map(made, labels, labels, classes=many, color="class")  # as many tasks as classes
    assert "take turns" in single.layout.title.subtitle.text.replace("<br>", " ")
    assert "take turns" not in draw(color="class").layout.title.subtitle.text
    assert "take turns" not in plots.drift_map(made, labels, labels * 0, classes=many).layout.title.subtitle.text


def test_pointing_at_a_point_tells_class_and_task():
    part = trace(draw(task_names=["Greek", "Latin", "Norse"]), "points")
    assert part.text[5] == "class 5<br>task Norse"
    assert part.hovertemplate == "%{text}"
    assert trace(FIGURE, "points").text[0] == "class 0<br>task 0"
    assert trace(FIGURE, "trails").hoverinfo == trace(FIGURE, "selected").hoverinfo == "skip"


def test_the_selected_point_is_ringed_in_every_panel_and_frame():
    figure = draw(selected=7)
    for run, t in product(MAPS, range(SNAPSHOTS)):
        assert_at(placed(trace(figure, "selected", run, t)), MAPS[run].points[t, 7:8])
        assert placed(trace(FIGURE, "selected", run, t)) == [(None, None)]
    assert "open" in trace(figure, "selected").marker.symbol
    assert trace(figure, "selected").marker.size > trace(figure, "points").marker.size


def test_maps_of_one_plane_share_axes_that_hold_every_snapshot_at_one_scale():
    apart = {**MAPS, "joint": pca_map([10 * random(N, 5, seed=20 + t) + 3 for t in range(2)])}
    layout = draw(apart).layout
    assert (layout.xaxis2.matches, layout.yaxis2.matches) == ("x", "y")
    assert layout.xaxis2.range == layout.xaxis.range
    assert layout.xaxis3.matches is layout.yaxis3.matches is layout.xaxis.matches is None
    assert (layout.yaxis.scaleanchor, layout.yaxis3.scaleanchor) == ("x", "x3")
    for k, made in zip(("", "2", "3"), apart.values(), strict=True):
        for direction, points in zip("xy", made.points.flatten(0, 1).T, strict=True):
            axis = layout[f"{direction}axis{k}"]
            assert axis.range[0] < points.min() <= points.max() < axis.range[1]
            assert axis.showticklabels is False
    assert {*chain(*(frame.layout.to_plotly_json() for frame in FIGURE.frames))} == {"annotations"}  # no axes
    subtitle = layout.title.subtitle.text.replace("<br>", " ")
    assert "The runs finetune and csd share one map" in subtitle
    assert "joint has a map of its own" in subtitle
    assert "share" not in draw({"csd": MAPS["csd"]}).layout.title.subtitle.text


def numbers(figure: go.Figure, t: int) -> list[str]:
    return [note.text for note in figure.frames[t].layout.annotations if "quality" in note.text]


def test_the_quality_of_the_map_is_under_each_panel_at_each_snapshot():
    figure = FIGURE
    for t in range(SNAPSHOTS):
        assert numbers(figure, t) == [
            f"quality of this map: trustworthiness {made.trustworthiness[t]:.2f},<br>"
            f"map keeps {100 * made.neighbors_kept[t]:.0f} % of neighbours"
            for made in MAPS.values()
        ]
        heads = [note.text for note in figure.frames[t].layout.annotations[:2]]
        assert heads == ["<b>finetune</b>", "<b>csd</b>"]
    two = {"csd": pca_map([random(2, 5), random(2, 5, seed=1)])}  # too few for neighbours
    figure = plots.drift_map(two, LABELS[:2], TASKS[:2], classes=CLASSES)
    assert numbers(figure, 1) == ["quality of this map: –"]
    assert "nan" not in str(figure.to_plotly_json())


def test_what_a_map_cannot_show_is_said_and_its_whole_note_is_kept():
    figure = FIGURE
    assert LIMITS["pca"] in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert figure.layout.meta["notes"]["csd"] == plots.label(MAPS["csd"].note, 2000)
    assert "one task before" in figure.layout.title.subtitle.text
    assert "one task before" not in draw(trails=False).layout.title.subtitle.text
    assert max(map(len, figure.layout.title.subtitle.text.split("<br>"))) <= 84


def test_a_run_that_has_learnt_fewer_tasks_stays_where_it_is_and_says_so():
    maps = pair(first=3, second=2)
    figure = draw(maps)
    assert len(figure.frames) == 3
    last, before = (trace(figure, "points", "csd", t) for t in (2, 1))
    assert placed(last) == placed(before)
    assert list(last.marker.color) == list(before.marker.color)
    still = placed(trace(figure, "trails", "csd", 2))
    assert still[::3] == still[1::3] == placed(last)
    assert numbers(figure, 2)[1].endswith("(task 1, its last)")
    assert not numbers(figure, 1)[1].endswith("its last)")
    assert not numbers(figure, 2)[0].endswith("its last)")


def test_slider_and_buttons_play_the_frames_by_name():
    figure = draw(task_names=["Greek", "Latin", "Norse", "one more"])
    (slider,), (menu,) = figure.layout.sliders, figure.layout.updatemenus
    assert [step.label for step in slider.steps] == ["Greek", "Latin", "Norse"]
    assert [step.args[0] for step in slider.steps] == [(frame.name,) for frame in figure.frames]
    assert {step.method for step in slider.steps} | {button.method for button in menu.buttons} == {"animate"}
    for step in slider.steps:
        assert step.args[1]["frame"]["redraw"] is True  # the numbers under the panels change too
        assert 0 < step.args[1]["transition"]["duration"] <= step.args[1]["frame"]["duration"]
    assert [(button.label, button.args[0]) for button in menu.buttons] == [("Play", None), ("Pause", (None,))]


def test_one_snapshot_needs_no_slider():
    figure = draw({"csd": pca_map([random(N, 5)])})
    assert not figure.layout.sliders
    assert not figure.layout.updatemenus
    assert len(figure.frames) == 1


@pytest.mark.parametrize(("n", "columns", "rows_of"), [(2, None, 2), (3, None, 3), (4, None, 2), (2, 1, 1), (2, 9, 2)])
def test_panels_stand_in_rows(n, columns, rows_of):
    made = dict(zip("abcd"[:n], [MAPS["csd"]] * n, strict=False))
    layout = draw(made, columns=columns).layout
    lefts = {tuple(layout[f"xaxis{k + 1 if k else ''}"].domain) for k in range(n)}
    assert len(lefts) == rows_of
    assert layout.height > draw({"csd": MAPS["csd"]}).layout.height or rows_of == n
    assert layout.width is None


@settings(max_examples=10)
@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4), st.floats(0.1, 100))
def test_any_points_are_inside_the_axes(shift, scale):
    points = scale * random(2, 2, 2).float() + torch.tensor(shift).view(1, 2, 2)
    made = replace(MAPS["csd"], points=points, indices=torch.arange(2))
    figure = plots.drift_map({"csd": made}, LABELS[:2], TASKS[:2], classes=CLASSES)
    for frame, direction in product(figure.frames, "xy"):
        low, high = figure.layout[f"{direction}axis"].range
        assert all(low < value < high for value in frame.data[1][direction])


def test_points_that_are_all_in_one_place():
    made = replace(MAPS["csd"], points=torch.zeros(SNAPSHOTS, N, 2))
    low, high = draw({"csd": made}).layout.xaxis.range
    assert low < 0 < high


def test_the_figure_stays_small():
    made = pca_map([100 * random(500, 5, seed=t) for t in range(5)])
    wide = replace(made, points=20 * made.points)  # as wide as a UMAP map
    labels = torch.arange(500) % 100
    names = [f"Lintara/{k:02}" for k in range(100)]
    figure = plots.drift_map({"csd": wide}, labels, labels // 20, classes=names)
    assert len(figure.to_json()) < 270_000


def test_names_are_escaped_wherever_they_are_written():
    made = replace(MAPS["csd"], note=NASTY)
    for color in module.COLOR_BY:
        options = {"color": color, "found": {NASTY: FOUND["csd"]}, "classes": [NASTY] * 6}
        written = str(draw({NASTY: made}, **options, task_names=[NASTY] * 3, title=NASTY).to_plotly_json())
        assert "&lt;img" in written
        assert "<img" not in written


def test_house_style():
    figure = FIGURE
    assert figure.layout.template.layout.font.size >= 15
    assert figure.layout.title.text == "<b>Where did the features go?</b>"


WRONG = [
    ({"maps": {}}, "there is no map"),
    ({"color": "method"}, "color is 'method'; expected 'task', 'class', 'found'"),
    ({"after": 3}, "after is 3; expected 0 to 2"),
    ({"after": -1}, "after is -1"),
    ({"selected": 12}, "selected is 12; expected 0 to 11"),
    ({"selected": -1}, "selected is -1"),
    ({"columns": 0}, "columns is 0; expected at least 1"),
    ({"classes": CLASSES[:5]}, "labels are 0 to 5, but there are 5 classes"),
    ({"task_names": ["a", "b"]}, "2 task names; expected 3"),
    ({"color": "found", "found": None}, "found has nothing for 'finetune'; expected bool of shape"),
    ({"color": "found", "found": {"finetune": FOUND["csd"]}}, "found has nothing for 'csd'"),
    ({"color": "found", "found": {name: value[:2] for name, value in FOUND.items()}}, r"shape \(2, 12\)"),
    ({"color": "found", "found": {name: value.int() for name, value in FOUND.items()}}, "torch.int32"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_maps_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)


def test_labels_tasks_and_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r"labels have shape \(11,\); expected \(12,\), one for each point"):
        plots.drift_map(MAPS, LABELS[1:], TASKS, classes=CLASSES)
    with pytest.raises(ValueError, match=r"tasks have shape \(12, 1\)"):
        plots.drift_map(MAPS, LABELS, TASKS[:, None], classes=CLASSES)
    with pytest.raises(ValueError, match="labels are -1 to 4"):
        plots.drift_map(MAPS, LABELS - 1, TASKS, classes=CLASSES)
    with pytest.raises(ValueError, match="tasks are -1 to 1; expected 0, 1"):
        plots.drift_map(MAPS, LABELS, TASKS - 1, classes=CLASSES)
    other = {**MAPS, "csd": replace(MAPS["csd"], indices=torch.arange(N) + 1)}
    with pytest.raises(ValueError, match="'csd' and 'finetune' show different images"):
        draw(other)


def far_out(n=200):
    """Return a map of one run in whose second snapshot one point lies far away."""
    points = random(2, n, 2).clamp(-2, 2).float()
    points[1, 7] = torch.tensor([500.0, 0.5])
    return replace(
        MAPS["csd"], points=points, trustworthiness=torch.ones(2), neighbors_kept=torch.ones(2), indices=torch.arange(n)
    )


def test_one_point_far_out_is_at_the_border_marked_and_counted():
    made = far_out()
    labels = torch.arange(200) % 6
    figure = plots.drift_map({"csd": made}, labels, labels * 0, classes=CLASSES)
    low, high = figure.layout.xaxis.range
    assert -5 < low < high < 6
    for t, frame in enumerate(figure.frames):
        part = frame.data[1]
        assert len(part.x) == 200
        assert all(low < x < high for x in part.x)
        dark = [i for i, color in enumerate(part.marker.line.color) if color != "white"]
        assert dark == [7] * (t == 1)
        assert ("1 point further out" in numbers(figure, t)[0]) == (t == 1)
    others = torch.arange(200) != 7
    drawn = torch.tensor([figure.frames[1].data[1].x, figure.frames[1].data[1].y]).T
    torch.testing.assert_close(drawn[others], made.points[1, others], rtol=0, atol=0.0006)


@given(st.integers(3, 300), st.floats(0.01, 1e4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_window_holds_almost_all_points_and_every_point_is_seen_in_it(n, scale, seed):
    points = scale * random(n, 2, seed=seed)
    low, high = places.window(points)
    inside, outside = places.seen(points, low, high)
    assert (low <= inside).all()
    assert (inside <= high).all()
    assert torch.equal(inside[~outside], points[~outside])
    assert outside.double().mean() <= 0.04  # 1 % at each end in each direction, at most


def test_a_few_classes_are_in_colour_and_their_ellipses_and_means_are_theirs():
    figure = draw(color="class", shown=[1, 4])
    assert list(legend(figure)) == ["class 1", "class 4", "other classes", "of a task to come"]
    for i, (color, symbol, *_) in enumerate(markers(figure, 2)):
        assert (color, symbol) == {1: ("#0072B2", "circle"), 4: ("#E69F00", "square")}.get(
            int(LABELS[i]), (plots.GREY, "circle")
        )
    for role, k in product(("way", "mean"), (1, 4)):
        (place,) = (
            n for n, p in enumerate(figure.data) if p.meta == {"role": role, "run": "csd"} and p.name == f"class {k}"
        )
        expected = MAPS["csd"].points[:, k == LABELS].mean(dim=1)[k // 2 :]  # from its task on
        for t, frame in enumerate(figure.frames):
            got = placed(frame.data[frame.traces.index(place)])
            if t < k // 2:
                assert got == [(None, None)]
            else:
                way = expected[: t - k // 2 + 1]
                assert_at(got, way if role == "way" else way[-1:])


def test_other_classes_can_be_hidden_and_nothing_of_the_rest_changes():
    grey, hidden = (draw(color="class", shown=[1, 4], others=others) for others in ("grey", "hidden"))
    for t in range(SNAPSHOTS):
        for i, (there, gone) in enumerate(
            zip(placed(trace(grey, "points", frame=t)), placed(trace(hidden, "points", frame=t)), strict=True)
        ):
            assert gone == (there if int(LABELS[i]) in (1, 4) else (None, None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shown": [1]}, "color is 'task'; expected 'class'"),
        ({"color": "class", "shown": []}, r"shown is \[\]; expected 1 to 12"),
        ({"color": "class", "shown": [1, 1]}, "each once"),
        ({"color": "class", "shown": [1, 9]}, "where 9 is not"),
        ({"others": "red"}, "others is 'red'; expected 'grey' or 'hidden'"),
    ],
)
def test_classes_that_cannot_be_shown(options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)


@pytest.mark.parametrize("spread", [(3.0, 1.0), (0.2, 5.0)])
def test_an_ellipse_holds_two_thirds_of_a_normal_cloud(spread):
    cloud = random(4000, 2) * torch.tensor(spread) @ torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    x, y = places.ellipse(cloud, corners=200)
    corners = torch.tensor([x, y], dtype=torch.float64).T
    edges, from_corner = corners.diff(dim=0), cloud[:, None] - corners[:-1]  # (200, 2), (4000, 200, 2)
    side = edges[:, 0] * from_corner[..., 1] - edges[:, 1] * from_corner[..., 0]
    inside = (side > 0).all(dim=1) | (side < 0).all(dim=1)
    assert inside.double().mean().item() == pytest.approx(0.68, abs=0.02)
    assert places.ellipse(cloud[:2]) == [[None], [None]]


SNAPS = [random(20, 6, seed=t) for t in range(3)]
TABLES = {
    "csd": drift.displacement_table(SNAPS, torch.arange(20) % 4),
    "lwf": drift.displacement_table([*SNAPS[:2], torch.ones(20, 6)], torch.arange(20) % 4),  # the last collapsed
}


def cells(figure: go.Figure, run: str) -> list[list[float | None]]:
    table, *_ = [part.z for part in figure.data if part.name == run and part.coloraxis is not None]
    return [list(row) for row in table]


@pytest.mark.parametrize(
    ("quantity", "measure"),
    [
        ("cka", drift.linear_cka),
        ("mean_displacement", drift.mean_displacement),
        ("neighbor_overlap", lambda x, y: float(drift.neighbor_overlap(x, y).mean())),
    ],
)
def test_drift_matrices_have_every_pair_of_snapshots(quantity, measure):
    figure = plots.drift_matrices(TABLES, quantity=quantity)
    for row, x in zip(cells(figure, "csd"), SNAPS, strict=True):
        assert row == pytest.approx([measure(x, y) for y in SNAPS])
    written = [part.text for part in figure.data[:2]]
    shown = [[a.strip() + b.strip() for a, b in zip(*rows, strict=True)] for rows in zip(*written, strict=True)]
    assert shown == [[f"{value:.2f}" for value in row] for row in cells(figure, "csd")]
    assert {part.xaxis for part in figure.data} == {"x", "x2"}
    assert drift.FORMULAS[quantity].split(";")[0] in figure.layout.title.subtitle.text
    assert ("k = 10" in figure.layout.title.subtitle.text) == (quantity == "neighbor_overlap")


def test_a_collapsed_snapshot_and_a_task_not_learnt_are_hatched():
    figure = plots.drift_matrices({**TABLES, "joint": TABLES["csd"][:1]})
    for run in ("lwf", "joint"):
        table = cells(figure, run)
        assert [[value is None for value in row] for row in table] == [[False, False, True]] * 2 + [[True] * 3]
        assert table[0][0] == table[1][1] == 1
    assert [shape.path.count("M") for shape in figure.layout.shapes] == [1, 15, 15]  # 5 cells of 3 strokes
    assert "hatched" in figure.layout.title.subtitle.text
    assert "hatched" not in plots.drift_matrices({"csd": TABLES["csd"]}).layout.title.subtitle.text


@pytest.mark.parametrize(("largest", "high"), [(0.1, 0.25), (0.25, 0.25), (0.4, 0.5), (1.0, 1), (1.2, 2), (2.0, 2)])
def test_all_runs_share_one_scale_that_holds_the_largest_value(largest, high):
    rows = [{"before": 0, "after": 1, "mean_displacement": value, "k": 1} for value in (0.05, largest)]
    tables = {"csd": rows[:1], "lwf": rows[1:]}
    figure = plots.drift_matrices(tables, quantity="mean_displacement")
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, high)
    white, black = [part.text[0][1].strip() for part in figure.data if part.name == "lwf"]
    assert (white, black) == (("", f"{largest:.2f}") if largest / high >= 0.43 else (f"{largest:.2f}", ""))
    assert plots.drift_matrices(TABLES).layout.coloraxis.cmax == 1


def test_drift_matrices_escape_and_name():
    written = str(plots.drift_matrices({NASTY: TABLES["csd"]}, title=NASTY, task_names=[NASTY] * 3).to_plotly_json())
    assert "&lt;img" in written
    assert "<img" not in written
    assert plots.drift_matrices(TABLES, task_names=["a", "b", "c"]).layout.yaxis.ticktext == ("a", "b", "c")
    assert plots.drift_matrices(TABLES).layout.title.text == "<b>Feature drift: linear CKA</b>"


@pytest.mark.parametrize(
    ("tables", "quantity", "message"),
    [
        ({}, "cka", "no table"),
        ({"csd": []}, "cka", "'csd' has no rows; expected at least one pair"),
        (TABLES, "cosine", "quantity is 'cosine'; expected 'cka', 'mean_displacement', 'neighbor_overlap'"),
        ({"csd": [{"before": 0, "after": 1, "cka": 1.5, "k": 1}]}, "cka", "cka 1.5; expected 0 to 1"),
        ({"csd": [{"before": 0, "after": 1, "cka": float("nan"), "k": 1}]}, "cka", "cka nan"),
    ],
)
def test_drift_matrices_that_cannot_be_drawn(tables, quantity, message):
    with pytest.raises(ValueError, match=message):
        plots.drift_matrices(tables, quantity=quantity)
