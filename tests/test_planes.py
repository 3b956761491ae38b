"""The first network's plane: honest halves, numbers class by class, and the figure that shows it."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings, strategies as st

from csd_edu import maps, plots
from csd_edu.features import normalize
from tests.snapshots import random

C, EACH, D = 6, 20, 32
LABELS = torch.arange(C).repeat_interleave(EACH)
NAMES = [f"class {k}" for k in range(C)]


def clouds(seed: int = 0) -> torch.Tensor:
    """Return features of six classes that lie well apart."""
    return 4 * random(C, D, seed=3)[LABELS] + random(C * EACH, D, seed=seed)


def dissolved(gone: int = 2) -> torch.Tensor:
    """Return the same features, of which one class's images lie each where one of another class lies."""
    features = clouds()
    others = [k for k in range(C) if k != gone]
    images = torch.tensor([others[i % len(others)] * EACH + i for i in range(EACH)])
    features[gone == LABELS] = features[images] + 0.01 * random(EACH, D, seed=8)
    return features


PLANE = maps.first_plane([clouds(), clouds(), dissolved()], LABELS, range(C))


def test_one_class_dissolves_and_its_number_falls_alone():
    assert PLANE.points.shape == (3, C * EACH // 2, 2)
    before, after = ([float(PLANE.of_class(k)[t]) for k in range(C)] for t in (1, 2))
    assert min(before) >= 0.9
    assert after[2] <= 0.4
    assert all(after[k] >= before[k] - 0.3 for k in range(C) if k != 2)
    stale = [float(PLANE.of_class(k, stale=True)[2]) for k in range(C)]
    assert stale[2] <= 0.3
    assert all(stale[k] == before[k] for k in range(C) if k != 2)  # neither they nor the old means have moved
    overall = PLANE.stale.double().mean(dim=1)
    assert float(overall[1] - overall[2]) == pytest.approx((before[2] - stale[2]) / C)
    assert f"{float(PLANE.right[2].double().mean()):.2f}".removeprefix("0") in PLANE.told(2)


def test_numbers_are_those_of_the_nearest_mean_counted_by_hand():
    for t in range(3):
        for old, hits in ((t, PLANE.right), (0, PLANE.stale)):
            nearest = [
                int(PLANE.classes[min(range(C), key=lambda k: float((p - PLANE.means[old, k]).norm()))])
                for p in PLANE.points[t]
            ]
            assert [a == b for a, b in zip(nearest, PLANE.labels.tolist(), strict=True)] == hits[t].tolist()


def test_random_features_are_separated_in_the_fitted_half_only():
    shares, fitted_shares = [], []
    for seed in range(12):
        features = random(C * EACH, 128, seed=seed)
        made = maps.first_plane([features], LABELS, range(C), seed=seed)
        shares.append(float(made.right[0].double().mean()))
        fitted, shown = maps.halves(LABELS, seed)
        assert torch.equal(made.indices, shown)
        # The plane looks at the fitted half alone, so that the shown half may be anything: here the fitted half itself.
        twin = features.clone()
        for k in range(C):
            twin[shown[LABELS[shown] == k]] = features[fitted[LABELS[fitted] == k]]
        fitted_shares.append(float(maps.first_plane([twin], LABELS, range(C), seed=seed).right[0].double().mean()))
    assert sum(shares) / 12 == pytest.approx(1 / C, abs=0.06)
    assert sum(fitted_shares) / 12 > 0.8


def test_directions_are_those_of_the_generalised_eigenproblem():
    fitted, shown = maps.halves(LABELS)
    units = normalize(clouds())
    x, y = units[fitted], LABELS[fitted]
    means = torch.stack([x[y == k].mean(dim=0) for k in range(C)])
    within = (x - means[y]).T @ (x - means[y]) / len(x)
    between = (means - x.mean(dim=0)).T @ (means - x.mean(dim=0)) / C
    shrunk = 0.7 * within + 0.3 * within.trace() / D * torch.eye(D, dtype=torch.float64)
    vectors = scipy.linalg.eigh(between.numpy(), shrunk.numpy())[1][:, ::-1][:, :2]
    expected = (units[shown] - x.mean(dim=0)) @ torch.from_numpy(vectors.copy())
    expected = (
        expected
        * torch.from_numpy(vectors.copy()).gather(0, torch.from_numpy(abs(vectors).argmax(axis=0)[None])).sign()
    )
    torch.testing.assert_close(PLANE.points[0].double(), expected, atol=1e-2, rtol=0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_halves_are_equal_in_each_class_and_have_nothing_in_common(labels, seed):
    labels = torch.tensor(labels)
    first, second = maps.halves(labels, seed)
    assert not set(first.tolist()) & set(second.tolist())
    for k in labels.unique():
        a, b, n = (labels[first] == k).sum(), (labels[second] == k).sum(), (labels == k).sum()
        assert (int(a), int(b)) == ((int(n) + 1) // 2, int(n) // 2) if n > 1 else (a, b) == (0, 0)
    small = maps.halves(labels, seed, per_class=4)
    assert all((labels[half] == k).sum() <= 2 for half in small for k in labels.unique())


def test_best_separated_looks_at_the_fitted_half_only():
    features, (fitted, shown) = clouds(), maps.halves(LABELS)
    features[LABELS == 5] = features[LABELS == 4]  # two classes alike
    chosen = maps.best_separated(features, LABELS, range(C), n=5)
    assert len(chosen) == 5
    assert not {4, 5} <= set(chosen)
    spoilt = features.clone()
    spoilt[shown] = random(len(shown), D, seed=77)
    assert maps.best_separated(spoilt, LABELS, range(C), n=5) == chosen
    assert maps.best_separated(features, LABELS, [1, 3]) == [1, 3]
    spoilt[fitted] = random(len(fitted), D, seed=78)
    assert maps.first_plane([spoilt], LABELS, chosen).plane != maps.first_plane([features], LABELS, chosen).plane


def test_a_plane_of_a_later_task_begins_there():
    late = maps.first_plane([random(C * EACH, D), clouds(), dissolved()], LABELS, [1, 2, 3], after=1)
    assert (late.first, len(late.points)) == (1, 2)
    assert late.classes.tolist() == [1, 2, 3]
    same = maps.first_plane([clouds(), clouds(5)], LABELS, [1, 2, 3])
    assert late.plane == same.plane  # fitted to the same features
    assert torch.equal(late.points[0], same.points[0])


@pytest.mark.parametrize("size", [1, 2, 32])
def test_two_classes_and_flat_or_collapsed_features(size):
    for features in (random(40, size), torch.ones(40, size), torch.zeros(40, size)):
        made = maps.first_plane([features, features], torch.arange(40) % 2, [0, 1])
        assert made.points.shape == (2, 20, 2)
        assert made.points.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [1]}, "at least two, each once"),
        ({"classes": [1, 1]}, "at least two, each once"),
        ({"classes": [1, 9]}, "which 9 has not"),
        ({"after": 2}, "after is 2; expected 0 to 1"),
        ({"after": -1}, "after is -1"),
        ({"labels": LABELS[1:]}, r"labels have shape \(119,\)"),
        ({"snapshots": [clouds() / 0]}, "NaN or infinite"),
        ({"snapshots": []}, "no snapshots"),
    ],
)
def test_planes_that_cannot_be(options, message):
    wanted = {"snapshots": [clouds()] * 2, "labels": LABELS, "classes": range(C), **options}
    with pytest.raises(ValueError, match=message):
        maps.first_plane(**wanted)


def test_too_few_classes_to_choose_from():
    with pytest.raises(ValueError, match="1 classes with at least two images"):
        maps.best_separated(clouds(), LABELS, [3])
    with pytest.raises(ValueError, match="1 of 6 classes"):
        maps.best_separated(clouds(), LABELS, range(C), n=1)


def texts(figure):
    return [note.text for note in figure.layout.annotations]


def test_figure_has_a_row_for_each_run_and_the_numbers_below():
    figure = plots.first_plane({"finetune": PLANE, "csd": PLANE}, classes=NAMES, n_candidates=20)
    for t, head in enumerate(("after task 0 (first network)", "after task 1", "after task 2")):
        assert texts(figure).count(head) == 1
        assert texts(figure).count(PLANE.told(t)) >= 2
    assert {"<b>finetune</b>", "<b>csd</b>", *NAMES} <= set(texts(figure))
    for t in range(3):
        for run in ("finetune", "csd"):
            own = [
                p for p in figure.data if p.meta["run"] == run and p.meta["after"] == t and p.meta["role"] == "points"
            ]
            assert [p.name for p in own] == NAMES
            drawn = torch.cat([torch.tensor([p.x, p.y]).T for p in own])
            order = PLANE.labels.argsort(stable=True)
            torch.testing.assert_close(drawn, PLANE.points[t][order], rtol=0, atol=0.0006)
    axes = [figure.layout[f"xaxis{k}"] for k in ("", "2", "3", "4", "5", "6")]
    assert len({axis.range for axis in axes}) == 1
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert maps.LIMITS["plane"] in said
    assert "by chance 0.17" in said
    assert "6 classes of 20, those best separated" in said


def test_figure_names_are_escaped_and_runs_of_other_lengths_say_so():
    nasty = "<img src=x onerror=alert(1)>"
    short = maps.first_plane([clouds()], LABELS, range(C))
    figure = plots.first_plane({nasty: PLANE, "short": short}, classes=[nasty] * C, after=[0, 2])
    assert "<img" not in str(figure.to_plotly_json())
    assert "not learnt yet" in texts(figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planes": {}}, "there is no plane"),
        ({"classes": NAMES[:4]}, "4 class names, but a plane shows class 5"),
        ({"after": [3]}, r"after is \[3\]; expected tasks from 0 to 2"),
        ({"after": []}, r"after is \[\]"),
        ({"planes": {"a": PLANE, "b": maps.first_plane([clouds()], LABELS, [1, 2])}}, "different images"),
    ],
)
def test_figures_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        plots.first_plane(**{"planes": {"csd": PLANE}, "classes": NAMES, **options})


def test_a_slider_moves_a_plane_and_before_its_task_nothing_is_there():
    late = maps.first_plane([random(C * EACH, D), clouds(), dissolved()], LABELS, [1, 2, 3], after=1)
    labels = LABELS[late.indices]
    figure = plots.drift_map({"csd": late}, labels, labels * 0 + 1, classes=NAMES, color="class", shown=[1, 2, 3])
    assert len(figure.frames) == 3
    assert set(figure.frames[0].data[1].x) == {None}
    assert "not learnt yet" in str(figure.frames[0].layout.annotations)
    for t in (1, 2):
        drawn = torch.tensor([figure.frames[t].data[1].x, figure.frames[t].data[1].y]).T
        torch.testing.assert_close(drawn, late.points[t - 1], rtol=0, atol=0.0006)
        assert late.told(t - 1) in str(figure.frames[t].layout.annotations)
        means = [
            p
            for p, k in zip(figure.frames[t].data, figure.frames[t].traces, strict=True)
            if figure.data[k].meta["role"] == "mean"
        ]
        drawn = torch.tensor([[p.x[0], p.y[0]] for p in means])
        torch.testing.assert_close(drawn, late.means[t - 1], rtol=0, atol=0.0006)
