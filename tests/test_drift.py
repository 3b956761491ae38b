"""The numbers of drift, against formulas, brute force, and snapshots in which one class has turned."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from csd_edu import drift
from tests.snapshots import BAD, one_class_rotated, random


def hsic_cka(x, y):
    """Linear CKA from centred N × N Gram matrices, in numpy."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    h = np.eye(len(x)) - 1 / len(x)

    def hsic(k, m):
        return np.trace(k @ h @ m @ h)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize(("n", "d", "e"), [(2, 3, 3), (40, 8, 8), (40, 8, 5), (10, 64, 32)])
def test_cka_equals_the_gram_matrix_form(n, d, e):
    x, y = random(n, d) + 3, random(n, e, seed=1) + 0.3
    y[:, : min(d, e)] += x[:, : min(d, e)]
    assert drift.linear_cka(x, y) == pytest.approx(hsic_cka(x, y), rel=1e-10)
    assert drift.linear_cka(y, x) == pytest.approx(hsic_cka(x, y), rel=1e-10)
    assert drift.linear_cka(x, x) == pytest.approx(1)
    assert drift.linear_cka(x, x + 1) == pytest.approx(1)


def test_cka_is_blind_to_rotation_scale_and_shift_but_not_to_a_general_linear_map():
    x, y = random(50, 6), random(50, 6, seed=1).exp()
    rotation = torch.linalg.qr(random(6, 6, seed=2)).Q
    value = drift.linear_cka(x, y)
    assert drift.linear_cka(x @ rotation * 1e-3 + 5, y * 1e20) == pytest.approx(value, rel=1e-9)
    assert drift.linear_cka(x, x @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 1], dtype=torch.float64))) < 0.9


def test_float32_gives_the_same_as_float64():
    x, y = random(300, 64).float().relu() + 10, random(300, 64, seed=1).float().relu() + 10  # a mean that dominates
    assert drift.linear_cka(x, y) == drift.linear_cka(x.double(), y.double()) == pytest.approx(hsic_cka(x, y), rel=1e-8)
    assert torch.equal(drift.cosine_displacement(x, y), drift.cosine_displacement(x.double(), y.double()))


def test_cka_of_collapsed_features_says_which():
    x = random(10, 4)
    with pytest.raises(ValueError, match="y has the same feature"):
        drift.linear_cka(x, torch.full((10, 4), 0.1))
    with pytest.raises(ValueError, match="x has the same feature"):
        drift.linear_cka(torch.zeros(10, 4), x)


@pytest.mark.parametrize("angle", [1e-6, 0.3, math.pi / 2, math.pi])
def test_displacement_is_one_minus_the_cosine_of_the_angle(angle):
    before, after, labels = one_class_rotated(angle)
    expected = 2 * math.sin(angle / 2) ** 2  # 1 − cos(angle), without cancellation
    moved = drift.cosine_displacement(before, after)
    assert moved[labels == 0].tolist() == pytest.approx([expected] * 30, rel=1e-6)
    assert not moved[labels != 0].any()
    assert drift.mean_displacement(before, after) == pytest.approx(expected / 4)
    of_class = drift.class_mean_displacement(before, after, labels)
    assert of_class == pytest.approx({0: expected, 1: 0, 2: 0, 3: 0}, rel=1e-6)


def test_class_means_are_of_normalised_features():
    x = torch.tensor([[1.0, 0.0], [0.0, 100.0]])  # their normalised mean points to 45°
    y = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert drift.class_mean_displacement(x, y, torch.tensor([7, 7])) == pytest.approx({7: 0}, abs=1e-12)


def test_zero_features_have_no_angle():
    x, y = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert drift.cosine_displacement(x, y).tolist() == [0, 0.5]


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (30, 10), (300, 7)])  # 300: more than one chunk
def test_neighbor_overlap_equals_brute_force(n, k):
    x, y = random(n, 6), random(n, 5, seed=1)

    def neighbors(features, i):
        cosine = torch.nn.functional.cosine_similarity(features[i : i + 1], features).tolist()
        return set(sorted((j for j in range(n) if j != i), key=lambda j: -cosine[j])[:k])

    expected = [len(neighbors(x, i) & neighbors(y, i)) / k for i in range(n)]
    assert drift.neighbor_overlap(x, y, k).tolist() == pytest.approx(expected)
    assert drift.neighbor_overlap(x, 3 * x, k).tolist() == [1] * n


def test_neighbors_of_duplicates_leave_out_the_image_itself_not_its_double():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert drift.neighbor_overlap(x, x, 1).tolist() == [1] * 4
    assert drift.neighbor_overlap(x, y, 1).tolist() == [0] * 4


def test_table_has_each_pair_with_formulas_and_is_plain():
    before, after, labels = one_class_rotated(1.0)
    snapshots = [before, after, torch.ones_like(before)]
    rows = drift.displacement_table(snapshots, labels, k=5)
    assert [(row["before"], row["after"]) for row in rows] == [(0, 1), (0, 2), (1, 2)]
    assert rows[0].keys() - {"before", "after", "k"} <= drift.FORMULAS.keys()
    assert rows[0]["cka"] == pytest.approx(drift.linear_cka(before, after))
    assert rows[1]["cka"] is None  # collapsed
    assert rows[0]["mean_displacement"] == drift.mean_displacement(before, after)
    assert rows[0]["neighbor_overlap"] == float(drift.neighbor_overlap(before, after, 5).mean())
    assert rows[0]["class_mean_displacement"] == drift.class_mean_displacement(before, after, labels)
    json.dumps(rows, allow_nan=False)
    assert drift.displacement_table([x[:4] for x in snapshots], labels[:4])[0]["k"] == 3
    assert drift.displacement_table([before], labels) == []


def test_balanced_sample():
    labels = torch.tensor([0] * 50 + [1] * 50 + [5] * 3)
    sample = drift.balanced_sample(labels, 23, seed=1)
    assert torch.equal(sample, sample.unique())  # ascending, without doubles
    assert labels[sample].bincount().tolist() == [10, 10, 0, 0, 0, 3]
    assert torch.equal(sample, drift.balanced_sample(labels, 23, seed=1))
    assert not torch.equal(sample, drift.balanced_sample(labels, 23, seed=2))
    assert set(drift.balanced_sample(labels, 5, seed=1).tolist()) < set(sample.tolist())
    assert torch.equal(drift.balanced_sample(labels, 999), torch.arange(103))
    with pytest.raises(ValueError, match="n is 0"):
        drift.balanced_sample(labels, 0)


@pytest.mark.parametrize(("snapshots", "message"), BAD)
def test_bad_snapshots_say_what_was_expected(snapshots, message):
    with pytest.raises(ValueError, match=message):
        drift.displacement_table(snapshots, torch.zeros(5))


def test_bad_sizes_labels_and_k():
    x, y = random(5, 3), random(5, 4)
    with pytest.raises(ValueError, match=r"snapshot 1 has shape \(5, 4\)"):
        drift.cosine_displacement(x, y)
    for labels in (torch.zeros(4), torch.zeros(5, 1)):
        with pytest.raises(ValueError, match="labels have shape"):
            drift.displacement_table([x], labels)
        with pytest.raises(ValueError, match="labels have shape"):
            drift.class_mean_displacement(x, x, labels)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k} with 5 images"):
            drift.neighbor_overlap(x, x, k)


@pytest.mark.parametrize("moved", [0, 3, 7])
def test_every_measure_names_the_class_that_moved_and_no_other(moved):
    before, after, labels = one_class_rotated(1.2, per_class=12, n_classes=8, moved=moved)
    classes = labels.unique().tolist()
    others = [c for c in classes if c != moved]
    turned = drift.cosine_displacement(before, after)
    assert {c for c in classes if turned[labels == c].any()} == {moved}
    assert {c for c, way in drift.class_mean_displacement(before, after, labels).items() if way > 1e-9} == {moved}
    # CKA is blind to the rotation of a class by itself; it sees it against the rest, so all is well without that class.
    without = {c: drift.linear_cka(before[labels != c], after[labels != c]) for c in classes}
    assert without[moved] == pytest.approx(1, abs=1e-9)
    assert max(without[c] for c in others) < 0.95
    overlap = drift.neighbor_overlap(before, after, k=40)  # the neighbours of others change where it left or arrived
    assert overlap[labels == moved].mean() < min(overlap[labels == c].mean() for c in others) - 0.1
    row = drift.displacement_table([before, after], labels)[0]
    assert max(row["class_mean_displacement"], key=row["class_mean_displacement"].get) == moved


def test_one_class_and_one_task_have_no_drift_but_no_error_either():
    x, labels = random(20, 6), torch.zeros(20, dtype=torch.int64)
    assert drift.displacement_table([x], labels) == []
    assert drift.class_mean_displacement(x, 2 * x, labels) == {0: 0}
    assert drift.displacement_table([x, x], labels)[0]["cka"] == pytest.approx(1)
