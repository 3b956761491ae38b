from __future__ import annotations

import math
import re
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from csd_edu import metrics


def sorted_galleries(queries, query_labels, gallery, gallery_labels, exclude_self):
    """Yield for each query whether each item is right, most similar first, the wrong one first where they tie."""
    for i, (query, label) in enumerate(zip(queries.double(), query_labels.tolist(), strict=True)):
        entries = []
        for j, (item, item_label) in enumerate(zip(gallery.double(), gallery_labels.tolist(), strict=True)):
            if exclude_self and i == j:
                continue
            norms = float(query.norm() * item.norm())
            similarity = float(query @ item) / norms if norms > 0 else 0.0
            entries.append((-round(similarity, 5), item_label == label))
        yield [right for _, right in sorted(entries)]


def brute_force_ranks(*search):
    """Look for the first right answer in each sorted gallery."""
    return torch.tensor([hits.index(True) + 1 if True in hits else 0 for hits in sorted_galleries(*search)])


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
    with mock.patch.object(metrics, "CHUNK", chunk):
        got = metrics.first_positive_ranks(queries, labels, gallery, gallery_labels, exclude_self=exclude_self)
    assert got.tolist() == brute_force_ranks(queries, labels, gallery, gallery_labels, exclude_self).tolist()


def test_recall_at_several_k():
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    labels = torch.tensor([1, 1, 0, 0])
    queries, query_labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    # The first query finds its class third, the second at once.
    recall = metrics.recall_at_k(queries, query_labels, gallery, labels, ks=(1, 2, 3))
    assert recall == {1: 0.5, 2: 0.5, 3: 1.0}


def brute_force_map_at_r(*search):
    """Average precision among the first R of each sorted gallery."""
    scores = [
        sum(sum(hits[: k + 1]) / (k + 1) for k in range(r) if hits[k]) / r
        for hits in sorted_galleries(*search)
        if (r := sum(hits))
    ]
    return float(np.mean(scores)) if scores else math.nan


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 14),
    n_classes=st.integers(1, 4),
    coarse=st.booleans(),
    exclude_self=st.booleans(),
    chunk=st.integers(1, 5),
)
def test_map_at_r_equals_brute_force(seed, n, n_classes, coarse, exclude_self, chunk):
    g = torch.Generator().manual_seed(seed)
    x, y = (
        (torch.randint(-1, 2, (n, 3), generator=g).float(), torch.randint(-1, 2, (9, 3), generator=g).float())
        if coarse
        else (torch.randn(n, 4, generator=g), torch.randn(9, 4, generator=g))
    )
    labels, other = torch.randint(n_classes, (n,), generator=g), torch.randint(n_classes, (9,), generator=g)
    gallery, gallery_labels = (x, labels) if exclude_self else (y, other)
    with mock.patch.object(metrics, "CHUNK", chunk):
        got = metrics.map_at_r(x, labels, gallery, gallery_labels, exclude_self=exclude_self)
    expected = brute_force_map_at_r(x, labels, gallery, gallery_labels, exclude_self)
    assert got == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_queries=st.integers(1, 14),
    n_gallery=st.integers(1, 14),
    n_classes=st.integers(1, 12),
    coarse=st.booleans(),
    exclude_self=st.booleans(),
    chunk=st.integers(1, 5),
    ks=st.lists(st.integers(1, 20), max_size=4, unique=True),
)
def test_one_pass_equals_brute_force_and_the_separate_measures(
    seed, n_queries, n_gallery, n_classes, coarse, exclude_self, chunk, ks
):
    g = torch.Generator().manual_seed(seed)

    def draw(n):  # many classes of a single image, and some of which only one side has any
        features = torch.randint(-1, 2, (n, 3), generator=g).float() if coarse else torch.randn(n, 4, generator=g)
        return features, 7 * torch.randint(n_classes, (n,), generator=g) - 20

    gallery = draw(n_gallery)
    search = (*(gallery if exclude_self else draw(n_queries)), *gallery)
    with mock.patch.object(metrics, "CHUNK", chunk):
        recall, precision = metrics.recall_and_map(*search, ks=ks, exclude_self=exclude_self)
        alone = metrics.map_at_r(*search, exclude_self=exclude_self)
    ranks = brute_force_ranks(*search, exclude_self)
    found = ranks[ranks > 0]
    expected = {k: float((found <= k).double().mean()) for k in ks}
    assert recall == pytest.approx(expected, nan_ok=True)
    assert precision == pytest.approx(brute_force_map_at_r(*search, exclude_self), abs=1e-6, nan_ok=True)
    separate = metrics.recall_at_k(*search, ks=ks, exclude_self=exclude_self)
    assert recall == pytest.approx(separate, abs=0, nan_ok=True)
    assert precision == pytest.approx(alone, abs=0, nan_ok=True)


def test_map_at_r_and_precision_equal_a_public_library():
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=("mean_average_precision_at_r", "precision_at_1"), k="max_bin_count")
    compared = 0
    for seed in range(30):
        g = torch.Generator().manual_seed(seed)
        labels = torch.randint(6, (60,), generator=g)
        features = torch.nn.functional.one_hot(labels, 8) + 0.8 * torch.randn(60, 8, generator=g)
        # It searches by Euclidean distance, which ranks normalised features as cosine similarity does.
        unit = torch.nn.functional.normalize(features, dim=1)
        gaps = (unit @ unit.T).sort(dim=1).values.diff(dim=1)
        if gaps.min() < 4 * metrics.TIE:  # a near tie: the library lets chance decide, this one is strict
            continue
        theirs = calculator.get_accuracy(unit, labels, unit, labels, ref_includes_query=True)
        ours = metrics.map_at_r(features, labels, features, labels, exclude_self=True)
        assert ours == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)
        recall = metrics.recall_at_k(features, labels, features, labels, exclude_self=True)
        assert recall[1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
        one_pass = metrics.recall_and_map(features, labels, features, labels, ks=(1,), exclude_self=True)
        assert one_pass[0][1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
        assert one_pass[1] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)
        compared += 1
    assert compared >= 5


@pytest.mark.parametrize(("behind", "rank"), [(-1.5, 3), (0.0, 3), (0.5, 3), (1.5, 1)])
def test_all_measures_draw_the_same_line_between_a_tie_and_a_defeat(behind, rank):
    """Two wrong items at the similarity of the right one less a part of TIE, where float32 is fine enough."""
    similarities = torch.tensor([0.01, 0.01 - behind * metrics.TIE, 0.01 - behind * metrics.TIE, 0.001])
    gallery = torch.stack([similarities, (1 - similarities**2).sqrt()], dim=1)
    search = (torch.tensor([[1.0, 0.0]]), torch.tensor([0]), gallery, torch.tensor([0, 1, 1, 0]))
    assert metrics.first_positive_ranks(*search).tolist() == [rank]
    recall, precision = metrics.recall_and_map(*search, ks=(1, 2, 3))
    assert recall == metrics.recall_at_k(*search, ks=(1, 2, 3)) == {k: float(rank <= k) for k in (1, 2, 3)}
    assert precision == metrics.map_at_r(*search) == (0.5 if rank == 1 else 0.0)


def test_a_difference_of_exactly_tie_is_still_a_tie():
    gallery = torch.tensor([[metrics.TIE, 1.0], [0.0, 1.0]])
    search = (torch.tensor([[1.0, 0.0]]), torch.tensor([0]), gallery, torch.tensor([0, 1]))
    assert metrics.first_positive_ranks(*search).tolist() == [2]
    assert metrics.recall_and_map(*search, ks=(1, 2)) == ({1: 0.0, 2: 1.0}, 0.0)


def test_recall_and_map_by_hand():
    gallery = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    labels = torch.tensor([1, 0, 0, 1, 0])  # right for class 0: the second, third and fifth
    search = (torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 5]), gallery, labels)
    recall, precision = metrics.recall_and_map(*search, ks=(1, 2))  # the third query has nothing to find
    assert recall == {1: 0.5, 2: 1.0}
    forwards, backwards = (1 / 2 + 2 / 3) / 3, (1 + 2 / 3) / 3  # R = 3: hits at 2 and 3; at 1 and 3
    assert precision == pytest.approx((forwards + backwards) / 2)


def test_a_gallery_of_one_class_is_all_right_and_one_without_it_leaves_nothing():
    g = torch.Generator().manual_seed(0)
    x, same = torch.randn(9, 4, generator=g), torch.zeros(9, dtype=torch.int64)
    assert metrics.recall_and_map(x, same, x, same, exclude_self=True) == ({1: 1.0, 5: 1.0, 10: 1.0}, 1.0)
    recall, precision = metrics.recall_and_map(x, same, x, same + 1)
    assert all(math.isnan(value) for value in (*recall.values(), precision))
    recall, precision = metrics.recall_and_map(x, torch.arange(9), x, torch.arange(9), exclude_self=True)
    assert all(math.isnan(value) for value in (*recall.values(), precision))
    recall, precision = metrics.recall_and_map(x[:0], same[:0], x, same)
    assert all(math.isnan(value) for value in (*recall.values(), precision))


def test_large_classes_many_classes_and_whole_chunks_equal_a_full_sort():
    """More than a chunk of queries, classes from 1 to 400 images, against one sort of all similarities."""
    g = torch.Generator().manual_seed(0)
    sizes = torch.tensor([400, 1, 150, 2, 40, 7])
    labels = torch.arange(6).repeat_interleave(sizes)[torch.randperm(600, generator=g)]
    x = torch.randn(6, 16, generator=g)[labels] + 1.5 * torch.randn(600, 16, generator=g)
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    right = (labels[:, None] == labels)[torch.arange(600)[:, None], similarity.argsort(dim=1, descending=True)[:, :-1]]
    n_right = right.sum(dim=1)
    place = torch.arange(1, 600)
    average = (right * (place <= n_right[:, None]) * right.cumsum(dim=1) / place).sum(dim=1) / n_right
    first = right.double().argmax(dim=1)[n_right > 0]
    recall, precision = metrics.recall_and_map(x, labels, x, labels, exclude_self=True)
    assert recall == pytest.approx({k: float((first < k).double().mean()) for k in (1, 5, 10)})
    assert precision == pytest.approx(float(average[n_right > 0].mean()), abs=1e-5)


def test_ranking_stays_in_float32_under_autocast_and_leaves_no_gradient():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 8
    x = (1 + 0.1 * torch.randn(200, 16, generator=g)).requires_grad_()
    expected = metrics.recall_and_map(x.detach(), labels, x.detach(), labels, exclude_self=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert metrics.recall_and_map(x, labels, x, labels, exclude_self=True) == expected


@pytest.mark.parametrize("n", [2, 7, 64, 257, 1000])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-20])
def test_constant_features_do_not_score(n, value):
    features = torch.full((n, 64), value)
    labels = torch.arange(n) % 2
    recall = metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1]
    assert recall == 0.0 if n > 3 else math.isnan(recall)  # of two images of two classes, none has a positive
    assert metrics.is_collapsed(features)


def test_constant_features_have_no_precision_as_long_as_there_are_enough_wrong_items():
    features, labels = torch.ones(60, 16), torch.arange(60) % 20
    assert metrics.map_at_r(features, labels, features, labels, exclude_self=True) == 0.0


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
        ((torch.full((2, 3), torch.inf), torch.ones(2), torch.ones(2, 3), torch.ones(2)), "queries hold NaN or inf"),
        ((torch.ones(2, 3), torch.ones(2), torch.ones(0, 3), torch.ones(0)), "gallery is empty"),
    ],
)
@pytest.mark.parametrize(
    "measure", [metrics.first_positive_ranks, metrics.recall_at_k, metrics.map_at_r, metrics.recall_and_map]
)
def test_bad_features_say_what_was_expected(measure, arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


@pytest.mark.parametrize("measure", [metrics.recall_at_k, metrics.recall_and_map])
@pytest.mark.parametrize("ks", [(0,), (1, -5), (1.5,)])
def test_a_bad_k_is_named(measure, ks):
    x, y = torch.ones(2, 3), torch.ones(2)
    with pytest.raises(ValueError, match=re.escape(f"ks are {ks}; expected whole numbers of at least 1")):
        measure(x, y, x, y, ks=ks)


@pytest.mark.parametrize(
    "measure", [metrics.first_positive_ranks, metrics.recall_at_k, metrics.map_at_r, metrics.recall_and_map]
)
def test_who_excludes_itself_must_be_in_the_gallery(measure):
    x, y = torch.ones(2, 3), torch.ones(2)
    with pytest.raises(ValueError, match=r"for 2 queries and a gallery of 3; expected the same rows"):
        measure(x, y, torch.ones(3, 3), torch.ones(3), exclude_self=True)
    with pytest.raises(ValueError, match=r"query 1 has another label than that item .* expected the same rows"):
        measure(x, y, x, torch.tensor([1.0, 2.0]), exclude_self=True)


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


def test_every_summary_of_two_tasks_and_of_one_by_hand():
    two = [[0.75, 0.25], [0.5, 1.0]]  # exact in binary
    assert metrics.forgetting(two) == metrics.first_minus_last(two) == 0.25
    assert metrics.backward_transfer(two) == -0.25
    assert metrics.forward_transfer(two, [0.5, 0.125]) == 0.125
    assert metrics.average_incremental(two) == (0.75 + (0.5 + 1.0) / 2) / 2
    assert metrics.first_minus_last([[0.9]]) == metrics.forward_transfer([[0.9]], [0.1]) == 0.0


def test_uneven_tasks_count_by_queries_in_recall_and_by_tasks_in_forgetting():
    """Task 0 has one class, task 1 three; the features are angles, so that each query's neighbour is plain to see."""
    labels = torch.arange(4).repeat_interleave(2)
    tasks = torch.tensor([0, 1, 1, 1])[labels]

    def at(degrees):
        angle = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    first = at([0.0, 10, 50, 51, 70, 71, 90, 91])
    last = at([0.0, 53, 50, 51, 70, 71, 90, 91])  # one image of class 0 has drifted to those of class 1
    whole = metrics.summarize([metrics.task_row(x, labels, labels, tasks, t) for t, x in enumerate([first, last])], 2)
    assert whole["recall_at_1"]["seen"] == [[1.0, None], [0.0, 1.0]]
    assert whole["summary"]["recall_at_1"] == 6 / 8
    assert whole["summary"]["forgetting"] == 1.0


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


# ---------------------------------------------------------------------- protocols and single queries


def snapshots_of(sizes, per_class, seed=0):
    """Random features of the same images after each task, with their labels and tasks."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(sum(sizes)).repeat_interleave(per_class)
    tasks = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[labels]
    centres = torch.randn(sum(sizes), 8, generator=g)
    snapshots = [centres[labels] + 1.2 * torch.randn(len(labels), 8, generator=g) for _ in sizes]
    return snapshots, labels, tasks


@pytest.mark.parametrize("protocol", ["task", "seen", "all", "stale"])
@pytest.mark.parametrize(("sizes", "per_class"), [((2, 2), 3), ((1, 4, 2), 3), ((3,), 2), ((2, 3), 1)])
def test_every_protocol_equals_plain_loops(protocol, sizes, per_class):
    snapshots, labels, tasks = snapshots_of(sizes, per_class)
    got = metrics.query_ranks(snapshots, labels, tasks, protocol=protocol)
    n = len(labels)
    for i, features in enumerate(snapshots):
        for q in range(n):
            admitted = {
                "task": [g for g in range(n) if tasks[g] == tasks[q]],
                "all": list(range(n)),
                "seen": [g for g in range(n) if tasks[g] <= i],
                "stale": [g for g in range(n) if tasks[g] <= i],
            }[protocol]
            if q not in admitted:
                assert got[i, q] == 0
                continue
            items = [g for g in admitted if g != q]
            old = [snapshots[int(tasks[g])][g] if protocol == "stale" else features[g] for g in items]
            score = [float(torch.cosine_similarity(features[q].double(), x.double(), dim=0)) for x in old]
            order = sorted(range(len(items)), key=lambda k: -score[k])
            right = [place for place, k in enumerate(order, start=1) if labels[items[k]] == labels[q]]
            assert got[i, q] == (right[0] if right else 0)


@pytest.mark.parametrize("protocol", ["task", "seen", "all", "stale"])
def test_some_queries_have_the_ranks_that_they_have_among_all(protocol):
    snapshots, labels, tasks = snapshots_of((1, 4, 2), 3)
    everybody = metrics.query_ranks(snapshots, labels, tasks, protocol=protocol)
    for queries in (torch.tensor([20, 3, 3, 0]), torch.tensor([4], dtype=torch.int16), torch.arange(0), None):
        some = metrics.query_ranks(snapshots, labels, tasks, protocol=protocol, queries=queries)
        assert torch.equal(some, everybody if queries is None else everybody[:, queries.long()])
    assert everybody.max() > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": torch.tensor([0, 12])}, "query 12 is none of the 12 images; expected indices from 0 to 11"),
        ({"queries": torch.tensor([-1])}, "query -1 is none of the 12 images"),
        ({"queries": torch.ones(12, dtype=torch.bool)}, r"queries are torch.bool of shape \(12,\); expected \(Q,\)"),
        ({"queries": torch.ones(2)}, "queries are torch.float32"),
        ({"queries": torch.tensor(3)}, r"queries are torch.int64 of shape \(\)"),
        ({"snapshots": []}, "there are no snapshots"),
        ({"snapshots": [torch.ones(12, 8), torch.ones(11, 8)]}, r"snapshot 1 has shape \(11, 8\), .* tasks \(12,\)"),
        ({"snapshots": [torch.ones(12, 8), torch.ones(12, 9)]}, r"snapshot 1 has shape \(12, 9\), the first \(12, 8\)"),
        ({"snapshots": [torch.ones(12)]}, r"snapshot 0 has shape \(12,\)"),
        ({"snapshots": [torch.ones(12, 8), torch.full((12, 8), torch.nan)]}, "snapshot 1 holds NaN"),
        ({"labels": torch.arange(11)}, r"labels have shape \(11,\), tasks \(12,\)"),
    ],
)
def test_bad_snapshots_and_queries_say_what_was_expected(change, message):
    snapshots, labels, tasks = snapshots_of((2, 2), 3)
    arguments = {"snapshots": snapshots, "labels": labels, "tasks": tasks} | change
    with pytest.raises(ValueError, match=message):
        metrics.query_ranks(**arguments)


def test_the_matrix_of_the_ranks_is_the_row_that_training_saves():
    snapshots, labels, tasks = snapshots_of((2, 3, 1), 4)
    for protocol in ("seen", "task"):
        ranks = metrics.query_ranks(snapshots, labels, tasks, protocol=protocol)
        rows = [
            metrics.task_row(features, labels, labels, tasks, i)["recall_at_1"][protocol]
            for i, features in enumerate(snapshots)
        ]
        assert metrics.recall_matrix(ranks, tasks) == rows
        five = metrics.recall_matrix(ranks, tasks, k=5)
        assert all(b is None or b >= a for r, s in zip(rows, five, strict=True) for a, b in zip(r, s, strict=True))


def test_lost_kept_won_and_missed_queries_by_hand():
    tasks = torch.tensor([0, 0, 0, 0, 1, 1, 0])
    ranks = torch.tensor(
        [
            [1, 1, 3, 4, 0, 0, 0],  # after task 0
            [1, 2, 1, 9, 1, 2, 1],  # after task 1; the last query had no positive before
        ]
    )
    changes = {name: mask.nonzero()[:, 0].tolist() for name, mask in metrics.query_changes(ranks, tasks).items()}
    assert changes == {"kept": [0, 4], "lost": [1], "won": [2], "missed": [3, 5]}
    assert metrics.query_changes(ranks, tasks, k=2)["lost"].sum() == 0


def test_lost_and_won_queries_add_up_to_the_change_of_the_mean():
    snapshots, labels, tasks = snapshots_of((3, 3, 3), 5, seed=4)
    ranks = metrics.query_ranks(snapshots, labels, tasks)
    changes, matrix = metrics.query_changes(ranks, tasks), metrics.recall_matrix(ranks, tasks)
    for j in range(3):
        own = tasks == j
        change = (changes["won"][own].sum() - changes["lost"][own].sum()) / own.sum()
        assert float(change) == pytest.approx(matrix[-1][j] - matrix[j][j], abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_nearest_class_mean_equals_plain_loops(seed):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (25,), generator=g)
    labels[0] = 9  # a class with a single image
    features = torch.randn(25, 4, generator=g)
    unit = features / features.norm(dim=1, keepdim=True)
    for i, got in enumerate(metrics.nearest_class_mean(features, labels).tolist()):
        score = {}
        for c in set(labels.tolist()):
            others = [unit[j] for j in range(25) if labels[j] == c and j != i]
            if others:
                mean = torch.stack(others).mean(dim=0)
                score[c] = float(unit[i] @ (mean / mean.norm()))
        own = int(labels[i])
        if own not in score:
            assert math.isnan(got)
        else:
            assert got == float(max(score, key=score.get) == own)


def test_nearest_class_mean_of_constant_features_scores_nothing():
    assert metrics.nearest_class_mean(torch.ones(12, 8), torch.arange(12) % 3).tolist() == [0.0] * 12


def test_forward_transfer_and_first_minus_last_by_hand():
    square = [[0.9, 0.3, 0.2], [0.5, 0.8, 0.4], [0.6, 0.4, 0.7]]
    assert metrics.forward_transfer(square, [0.1, 0.1, 0.2]) == pytest.approx(((0.3 - 0.1) + (0.4 - 0.2)) / 2)
    assert metrics.first_minus_last(square) == pytest.approx(-metrics.backward_transfer(square))
    with pytest.raises(ValueError, match="above its diagonal"):
        metrics.forward_transfer(MATRIX, [0, 0, 0])
    with pytest.raises(ValueError, match="baseline has 2 values for 3 tasks"):
        metrics.forward_transfer(square, [0, 0])


def recall_by_loops(features, labels, queries, gallery):
    hits = []
    for q in queries:
        nearest = max((g for g in gallery if g != q), key=lambda g: float(features[q] @ features[g]))
        hits.append(labels[nearest] == labels[q])
    return sum(map(float, hits)) / len(hits)


@pytest.mark.parametrize("sizes", [(2, 2), (1, 4, 2), (2, 1, 2, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_forgetting_and_crowding_equal_plain_loops_over_the_features(sizes, seed):
    snapshots, labels, tasks = snapshots_of(sizes, 4, seed)
    rows = [metrics.task_row(x, labels, labels, tasks, t) for t, x in enumerate(snapshots)]
    recall = metrics.summarize(rows, len(sizes))["recall_at_1"]
    falls = metrics.forgetting_and_crowding(recall["task"], recall["seen"])
    assert len(falls) == len(sizes) - 1
    unit = [x.double() / x.double().norm(dim=1, keepdim=True) for x in snapshots]
    everyone = list(range(len(labels)))
    for task, fall in enumerate(falls):
        images = [i for i in everyone if tasks[i] == task]
        then = recall_by_loops(unit[task], labels, images, images)
        same_gallery = recall_by_loops(unit[-1], labels, images, images)
        whole_gallery = recall_by_loops(unit[-1], labels, images, everyone)
        assert fall == pytest.approx((then, then - same_gallery, same_gallery - whole_gallery, whole_gallery))
        assert fall.crowding >= 0
    assert metrics.mean_fall(falls) == pytest.approx(np.mean(falls, axis=0))


def test_a_network_that_does_not_change_forgets_nothing_and_is_crowded_all_the_same():
    (first, *_), labels, tasks = snapshots_of((2, 3, 2), 4)
    rows = [metrics.task_row(first, labels, labels, tasks, t) for t in range(3)]
    recall = metrics.summarize(rows, 3)["recall_at_1"]
    falls = metrics.forgetting_and_crowding(recall["task"], recall["seen"])
    assert [fall.forgetting for fall in falls] == [0, 0]
    assert falls[0].crowding == recall["task"][0][0] - recall["seen"][2][0] > 0


def test_forgetting_and_crowding_by_hand():
    own = [[0.75, 0.25, 0.5], [0.5, 0.5, 0.5], [0.5, 0.625, 1.0]]  # exact in binary
    seen = [[0.75, N, N], [0.375, 0.5, N], [0.25, 0.5, 0.875]]
    falls = metrics.forgetting_and_crowding(own, seen)
    assert falls == [(0.75, 0.25, 0.25, 0.25), (0.5, -0.125, 0.125, 0.5)]
    assert metrics.mean_fall(falls) == (0.625, 0.0625, 0.1875, 0.375)


def test_what_an_unfinished_run_and_a_single_task_have_not_lost_yet():
    own, seen = [[0.75, 0.25], [N, N]], [[0.75, N], [N, N]]
    assert metrics.forgetting_and_crowding(own, seen) == [(0.75, N, N, N)]
    assert metrics.mean_fall([metrics.Fall(0.75, N, N, N), metrics.Fall(0.25, 0.0, 0.0, 0.25)]) == (0.5, N, N, N)
    assert metrics.forgetting_and_crowding([[0.75]], [[0.75]]) == []
    assert metrics.mean_fall([]) == (N, N, N, N)


SHARE = st.floats(0, 1)


@given(data=st.data(), n_tasks=st.integers(1, 5))
def test_the_parts_of_a_fall_add_up(data, n_tasks):
    square = st.lists(st.lists(SHARE, min_size=n_tasks, max_size=n_tasks), min_size=n_tasks, max_size=n_tasks)
    falls = metrics.forgetting_and_crowding(data.draw(square), data.draw(square))
    assert len(falls) == n_tasks - 1
    for fall in [*falls, *([metrics.mean_fall(falls)] if falls else [])]:
        assert fall.left + fall.crowding + fall.forgetting == pytest.approx(fall.learnt, abs=1e-12)


@pytest.mark.parametrize(
    ("own", "seen", "message"),
    [
        ([[0.5]], [[0.5, N], [0.5, 0.5]], r"shapes \(1, 1\) and \(2, 2\); expected two of the same run"),
        ([[0.5, 0.5]], [[0.5, 0.5]], r"shape \(1, 2\); expected T × T"),
        ([[0.5], [0.5, 0.5]], [[0.5]], "rows of different lengths"),
        ([], [], r"shape \(0,\); expected T × T"),
    ],
)
def test_matrices_that_have_no_parts(own, seen, message):
    with pytest.raises(ValueError, match=message):
        metrics.forgetting_and_crowding(own, seen)


def test_an_unknown_protocol_names_the_choices():
    snapshots, labels, tasks = snapshots_of((2, 2), 2)
    with pytest.raises(ValueError, match="'seem'; expected one of 'task', 'seen', 'all', 'stale'"):
        metrics.query_ranks(snapshots, labels, tasks, protocol="seem")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_distractors=st.integers(1, 8))
def test_distractors_never_raise_recall_or_precision(seed, n_distractors):
    g = torch.Generator().manual_seed(seed)
    gallery, labels = torch.randn(12, 4, generator=g), torch.randint(3, (12,), generator=g)
    queries, query_labels = torch.randn(6, 4, generator=g), torch.randint(3, (6,), generator=g)
    more = torch.cat([gallery, torch.randn(n_distractors, 4, generator=g)])
    more_labels = torch.cat([labels, torch.full((n_distractors,), 99)])
    before, mean_before = metrics.recall_and_map(queries, query_labels, gallery, labels, ks=(1, 3))
    after, mean_after = metrics.recall_and_map(queries, query_labels, more, more_labels, ks=(1, 3))
    assert all(after[k] <= before[k] or math.isnan(before[k]) for k in (1, 3))
    assert mean_after <= mean_before + 1e-12 or math.isnan(mean_before)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_measures_do_not_depend_on_order_scale_or_rotation(seed):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (15,), generator=g)
    features = torch.randn(15, 5, generator=g, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    order = torch.randperm(15, generator=g)

    def measure(x, y):
        same = {"exclude_self": True}
        ncm = metrics.nearest_class_mean(x, y)
        recall, precision = metrics.recall_and_map(x, y, x, y, ks=(1, 2, 5), **same)
        alone = metrics.recall_at_k(x, y, x, y, **same)[1], metrics.map_at_r(x, y, x, y, **same)
        return *recall.values(), precision, *alone, ncm.nansum().item()

    expected = measure(features, labels)
    for changed, named in [
        (features[order], labels[order]),
        (features * (torch.rand(15, 1, generator=g) + 0.1), labels),
        (features * 1e12, labels),
        (features @ rotation, labels),
        (features, 5 - 1000 * labels),  # other names for the classes
    ]:
        assert measure(changed, named) == pytest.approx(expected, abs=1e-6, nan_ok=True)
