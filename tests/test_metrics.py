from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csd_edu import metrics


def brute_force_ranks(queries, query_labels, gallery, gallery_labels, exclude_self):
    """Sort each query's gallery, the wrong one first where similarities tie, and look for the first right one."""
    ranks = []
    for i, (query, label) in enumerate(zip(queries.double(), query_labels.tolist(), strict=True)):
        entries = []
        for j, (item, item_label) in enumerate(zip(gallery.double(), gallery_labels.tolist(), strict=True)):
            if exclude_self and i == j:
                continue
            norms = float(query.norm() * item.norm())
            similarity = float(query @ item) / norms if norms > 0 else 0.0
            entries.append((-round(similarity, 5), item_label == label))
        entries.sort()
        ranks.append(next((rank for rank, (_, right) in enumerate(entries, start=1) if right), 0))
    return torch.tensor(ranks)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_queries=st.integers(1, 12),
    n_gallery=st.integers(1, 15),
    n_classes=st.integers(1, 5),
    coarse=st.booleans(),
    exclude_self=st.booleans(),
    chunk=st.integers(1, 5),
)
def test_ranks_equal_brute_force(seed, n_queries, n_gallery, n_classes, coarse, exclude_self, chunk):
    g = torch.Generator().manual_seed(seed)
    # Coarse features (−1, 0, 1) have many exact ties and zero vectors.
    draw = (
        (lambda n: torch.randint(-1, 2, (n, 3), generator=g).float())
        if coarse
        else (lambda n: torch.randn(n, 4, generator=g))
    )
    gallery, gallery_labels = draw(n_gallery), torch.randint(n_classes, (n_gallery,), generator=g)
    queries, labels = (
        (gallery, gallery_labels)
        if exclude_self
        else (draw(n_queries), torch.randint(n_classes, (n_queries,), generator=g))
    )
    got = metrics.first_positive_ranks(queries, labels, gallery, gallery_labels, exclude_self=exclude_self, chunk=chunk)
    assert got.tolist() == brute_force_ranks(queries, labels, gallery, gallery_labels, exclude_self).tolist()


def test_recall_at_several_k():
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    labels = torch.tensor([1, 1, 0, 0])
    queries, query_labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    # The first query finds its class third, the second at once.
    recall = metrics.recall_at_k(queries, query_labels, gallery, labels, ks=(1, 2, 3))
    assert recall == {1: 0.5, 2: 0.5, 3: 1.0}


@pytest.mark.parametrize("n", [2, 7, 64, 257, 1000])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-20])
def test_constant_features_do_not_score(n, value):
    features = torch.full((n, 64), value)
    labels = torch.arange(n) % 2
    recall = metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1]
    assert recall == 0.0 if n > 3 else math.isnan(recall)  # of two images of two classes, none has a positive
    assert metrics.is_collapsed(features)


def test_nearly_constant_features_do_not_score_by_rounding():
    g = torch.Generator().manual_seed(0)
    direction = torch.randn(64, generator=g)
    features = direction * (torch.rand(500, 1, generator=g) + 0.5)  # one direction, many lengths
    labels = torch.arange(500) % 50
    assert metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1] == 0.0


def test_ordinary_features_are_not_collapsed():
    assert not metrics.is_collapsed(torch.rand(100, 64, generator=torch.Generator().manual_seed(0)))


def test_queries_without_a_positive_are_left_out():
    features = torch.eye(3)
    labels = torch.tensor([0, 0, 1])  # class 1 has no other image
    ranks = metrics.first_positive_ranks(features, labels, features, labels, exclude_self=True)
    assert ranks[2] == 0
    assert math.isnan(metrics.recall_at_k(features[2:], labels[2:], features[:2], labels[:2])[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2, 3), torch.ones(3), torch.ones(2, 3), torch.ones(2)), "queries have shape"),
        ((torch.ones(2, 3), torch.ones(2), torch.ones(2, 4), torch.ones(2)), "3 dimensions and the gallery 4"),
        ((torch.ones(2, 3), torch.ones(2), torch.full((2, 3), torch.nan), torch.ones(2)), "gallery hold NaN"),
        ((torch.ones(2, 3), torch.ones(2), torch.ones(0, 3), torch.ones(0)), "gallery is empty"),
    ],
)
def test_bad_features_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.recall_at_k(*arguments)


def test_bad_k_and_bad_self():
    x, y = torch.ones(2, 3), torch.ones(2)
    with pytest.raises(ValueError, match="at least 1"):
        metrics.recall_at_k(x, y, x, y, ks=(0,))
    with pytest.raises(ValueError, match="same rows"):
        metrics.recall_at_k(x, y, torch.ones(3, 3), torch.ones(3), exclude_self=True)


N = None
MATRIX = [[0.9, N, N], [0.5, 0.8, N], [0.6, 0.4, 0.7]]


def test_forgetting_transfer_and_average_by_hand():
    assert metrics.forgetting(MATRIX) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.4)) / 2)
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((0.6 - 0.9) + (0.4 - 0.8)) / 2)
    assert metrics.average_incremental(MATRIX) == pytest.approx((0.9 + 0.65 + (0.6 + 0.4 + 0.7) / 3) / 3)


def test_forgetting_counts_from_the_best_and_backward_transfer_from_the_diagonal():
    matrix = [[0.5, N, N], [0.8, 0.6, N], [0.7, 0.6, 0.9]]
    assert metrics.forgetting(matrix) == pytest.approx(((0.8 - 0.7) + 0) / 2)
    assert metrics.backward_transfer(matrix) == pytest.approx(((0.7 - 0.5) + 0) / 2)


def test_two_tasks_and_one():
    assert metrics.forgetting([[0.9, N], [0.4, 0.8]]) == pytest.approx(0.5)
    assert metrics.backward_transfer([[0.9, N], [0.4, 0.8]]) == pytest.approx(-0.5)
    assert metrics.forgetting([[0.9]]) == metrics.backward_transfer([[0.9]]) == 0.0
    assert metrics.average_incremental([[0.9]]) == pytest.approx(0.9)


def test_a_better_zero_shot_value_counts_as_the_best():
    assert metrics.forgetting([[0.9, 0.7], [0.9, 0.6]]) == 0.0  # two tasks: only task 0 is earlier
    assert metrics.forgetting([[0.9, 0.7, 0.1], [0.9, 0.6, 0.1], [0.9, 0.5, 0.1]]) == pytest.approx((0 + 0.2) / 2)


@pytest.mark.parametrize("matrix", [[[0.5, 0.5]], [[0.5, N], [N, 0.5]], [[0.5], [0.5, 0.5]], []])
def test_impossible_matrices(matrix):
    for measure in (metrics.forgetting, metrics.backward_transfer, metrics.average_incremental):
        with pytest.raises(ValueError, match="task matrix"):
            measure(matrix)


def reference_row(features, predictions, labels, tasks, task):
    """One row of every matrix by plain loops over queries."""
    f = features / features.norm(dim=1, keepdim=True)
    n_tasks = int(tasks.max()) + 1

    def recall(queries, gallery):
        hits = []
        for q in queries:
            items = [g for g in gallery if g != q]
            if any(labels[g] == labels[q] for g in items):
                best = max(items, key=lambda g: float(f[q] @ f[g]))
                hits.append(float(labels[best] == labels[q]))
        return float(np.mean(hits)) if hits else None

    of = {j: [i for i in range(len(labels)) if tasks[i] == j] for j in range(n_tasks)}
    seen = [i for j in range(task + 1) for i in of[j]]
    return {
        "seen": [recall(of[j], seen) if j <= task else None for j in range(n_tasks)],
        "task": [recall(of[j], of[j]) for j in range(n_tasks)],
        "head": [
            float(np.mean([float(predictions[i] == labels[i]) for i in of[j]])) if j <= task else None
            for j in range(n_tasks)
        ],
        "overall": recall(seen, seen),
    }


@pytest.mark.parametrize("sizes", [(2, 2), (1, 4, 2), (3,)])
@pytest.mark.parametrize("per_class", [1, 3])
def test_task_rows_equal_plain_loops_also_for_uneven_tasks_and_single_images(sizes, per_class):
    g = torch.Generator().manual_seed(sum(sizes))
    labels = torch.arange(sum(sizes)).repeat_interleave(per_class)
    tasks = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[labels]
    features = torch.randn(len(labels), 8, generator=g)
    predictions = torch.randint(sum(sizes), (len(labels),), generator=g)
    for task in range(len(sizes)):
        row = metrics.task_row(features, predictions, labels, tasks, task)
        expected = reference_row(features, predictions, labels, tasks, task)
        assert row["recall_at_1"]["seen"] == pytest.approx(expected["seen"])
        assert row["recall_at_1"]["task"] == pytest.approx(expected["task"])
        assert row["head_accuracy"]["seen"] == pytest.approx(expected["head"])
        assert row["overall"]["recall_at_1"] == pytest.approx(expected["overall"])


def test_summary_is_over_queries_and_matches_its_matrices():
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(5).repeat_interleave(4)
    tasks = torch.tensor([0, 0, 0, 0, 1])[labels]
    rows = [
        metrics.task_row(torch.randn(20, 8, generator=g), torch.randint(5, (20,), generator=g), labels, tasks, t)
        for t in range(2)
    ]
    whole = metrics.summarize(rows, 2)
    last = whole["recall_at_1"]["seen"][1]
    assert whole["summary"]["recall_at_1"] == pytest.approx((16 * last[0] + 4 * last[1]) / 20)
    assert whole["summary"]["forgetting"] == pytest.approx(whole["recall_at_1"]["seen"][0][0] - last[0])
    half = metrics.summarize(rows[:1], 2)
    assert half["recall_at_1"]["seen"][1] == [None, None]
    assert half["tasks_learnt"] == 1
    assert half["summary"]["forgetting"] == 0.0


def test_with_one_test_image_a_class_there_is_nothing_to_find_and_nothing_to_forget():
    labels, tasks = torch.arange(4), torch.tensor([0, 0, 1, 1])
    rows = [metrics.task_row(torch.eye(4), labels, labels, tasks, t) for t in range(2)]
    assert metrics.summarize(rows, 2)["summary"] == {"recall_at_1": None, "forgetting": None, "head_accuracy": 1.0}
