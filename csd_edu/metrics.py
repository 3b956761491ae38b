"""What is measured: retrieval, classification, and what becomes of both along the tasks.

A task matrix is a list of T rows; R[i][j] is the metric on task j's test queries after learning task i,
None where the protocol has no value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import features_of, labels_of, normalize, numbers_of
from csd_edu.runtime import usual_torch

TIE = 1e-6
"""Cosine similarities closer than this are ties: float32 sums of the same numbers may differ in the last digits."""

CHUNK = 256
"""Queries compared at once; bounds the memory at CHUNK × G floats."""

COLLAPSE = 1e-4
"""Features whose mean direction is longer than 1 − this all point the same way."""

PROTOCOLS = {
    "task": "search among the test images of the query's own task",
    "seen": "search among the test images of all tasks learnt so far",
    "all": "search among the test images of every task, also those not learnt yet",
    "stale": "new queries search the features that each task's own network left behind",
}
"""What each retrieval protocol searches in."""

FORMULAS = {
    "forgetting": "1/(T−1) Σ_{j<T} ( max_{i<T} R[i][j] − R[T][j] )  (Chaudhry et al. 2018)",
    "first_minus_last": "1/(T−1) Σ_{j<T} ( R[j][j] − R[T][j] )",
    "backward_transfer": "1/(T−1) Σ_{j<T} ( R[T][j] − R[j][j] )  (Lopez-Paz & Ranzato 2017)",
    "forward_transfer": "1/(T−1) Σ_{j>1} ( R[j−1][j] − b[j] )  (Lopez-Paz & Ranzato 2017)",
    "average_incremental": "1/T Σ_i 1/i Σ_{j≤i} R[i][j]  (Rebuffi et al. 2017)",
    "forgetting_and_crowding": "learnt R[j][j] = forgetting (R[j][j] − R[T][j]) + crowding (R[T][j] − S[T][j]) + "
    "left S[T][j], with R under protocol task and S under seen",
}
"""Public libraries disagree on what goes by these names: show the formula with the number."""

Matrix = Sequence[Sequence[float | None]]


@usual_torch()
def first_positive_ranks(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    exclude_self: bool = False,
) -> Tensor:
    """Return for each query the rank, by cosine similarity, of the first gallery item of its class.

    Ties never help: items of other classes that are as similar as the best positive are ranked before it.

    Args:
        queries: (Q, D) floats.
        query_labels: (Q,) integers.
        gallery: (G, D) floats.
        gallery_labels: (G,) integers.
        exclude_self: queries and gallery are the same rows, and query i must not find item i.

    Returns:
        (Q,) int64: 1 for a right nearest neighbour; 0 for a query without any positive in the gallery.

    Raises:
        ValueError: if shapes don't fit, features are not finite, or `exclude_self` is set for different rows.
    """
    query_labels, gallery_labels = _labels_of(query_labels, gallery_labels)
    itself = _itself(query_labels, gallery_labels, exclude_self)
    return _first_ranks(queries, query_labels, gallery, gallery_labels, itself)


def recall_at_k(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    ks: Sequence[int] = (1,),
    exclude_self: bool = False,
) -> dict[int, float]:
    """Return the share of queries with at least one item of their class among the K nearest, for each K.

    Ties never help. A query without any positive in the gallery is left out.

    Args:
        queries: (Q, D) floats, compared by cosine similarity.
        query_labels: (Q,) integers.
        gallery: (G, D) floats.
        gallery_labels: (G,) integers.
        ks: the values of K, each at least 1.
        exclude_self: queries and gallery are the same rows, and a query must not find itself.

    Returns:
        For each K a share from 0 to 1; NaN if no query has a positive.

    Raises:
        ValueError: if shapes don't fit, features are not finite or a K is below 1.
    """
    ks = _checked_ks(ks)
    ranks = first_positive_ranks(queries, query_labels, gallery, gallery_labels, exclude_self=exclude_self)
    return {k: _mean_or_nan((ranks[ranks > 0] <= k).double()) for k in ks}


def map_at_r(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    exclude_self: bool = False,
) -> float:
    """Return the mean average precision at R: how many of the R nearest are right, and how far in front they stand.

        MAP@R = mean over queries of 1/R Σ_{i=1}^{R} P(i) · [the i-th nearest is right]

    with R the number of the query's positives in the gallery and P(i) the share of right ones among the first i.
    Ties never help. A query without any positive is left out.

    Args:
        queries: (Q, D) floats, compared by cosine similarity.
        query_labels: (Q,) integers.
        gallery: (G, D) floats.
        gallery_labels: (G,) integers.
        exclude_self: queries and gallery are the same rows, and a query must not find itself.

    Returns:
        A number from 0 to 1; NaN if no query has a positive.

    Raises:
        ValueError: if shapes don't fit or features are not finite.

    Source: Musgrave, Belongie & Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2.
    """
    search = (queries, query_labels, gallery, gallery_labels)
    return recall_and_map(*search, ks=(), exclude_self=exclude_self)[1]


@usual_torch()
def recall_and_map(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    ks: Sequence[int] = (1, 5, 10),
    exclude_self: bool = False,
) -> tuple[dict[int, float], float]:
    """Return what `recall_at_k` and `map_at_r` return, from one pass over the similarities.

    The i-th nearest positive has the rank r_i = i + the number of other items before it. Both measures are sums over
    these ranks: a hit is r_1 ≤ K, and MAP@R = mean over queries of 1/R Σ_i [r_i ≤ R] · i / r_i.

    Args:
        queries: (Q, D) floats, compared by cosine similarity.
        query_labels: (Q,) integers.
        gallery: (G, D) floats.
        gallery_labels: (G,) integers.
        ks: the values of K, each at least 1.
        exclude_self: queries and gallery are the same rows, and a query must not find itself.

    Returns:
        Recall@K for each K, and MAP@R; NaN if no query has a positive.

    Raises:
        ValueError: if shapes don't fit, features are not finite or a K is below 1.
    """
    ks = _checked_ks(ks)
    query_labels, gallery_labels = _labels_of(query_labels, gallery_labels)
    itself = _itself(query_labels, gallery_labels, exclude_self)
    first_ranks, precisions = [torch.empty(0)], [torch.empty(0)]
    for _, positives, others in _compare(queries, query_labels, gallery, gallery_labels, itself):
        n_positives = (positives > -torch.inf).sum(dim=1, keepdim=True)  # (c, 1)
        # Further down than this no rank counts, and so no more than this many others are looked at.
        deepest = min(max([int(n_positives.max()), *ks]), others.shape[1])
        nearest = np.partition(others.numpy(), -deepest, axis=1)[:, -deepest:]  # (c, deepest)
        # numpy sorts many times faster than torch here.
        ascending = torch.from_numpy(np.sort(nearest, axis=1))  # (c, deepest)
        descending = torch.from_numpy(-np.sort(-positives.numpy(), axis=1))  # (c, R)
        before = deepest - torch.searchsorted(ascending, descending - TIE)  # (c, R)
        place = torch.arange(1, positives.shape[1] + 1)  # (R,)
        rank = place + before  # (c, R)
        precision = torch.where(rank <= n_positives, place.double() / rank, 0.0)  # (c, R)
        first_ranks.append(rank[:, 0])
        precisions.append(precision.sum(dim=1) / n_positives[:, 0])
    found = torch.cat(first_ranks)  # (queries with a positive,)
    return {k: _mean_or_nan((found <= k).double()) for k in ks}, _mean_or_nan(torch.cat(precisions))


@usual_torch()
def nearest_class_mean(features: Tensor, labels: Tensor) -> Tensor:
    """Return which images are nearest, by cosine similarity, to the mean of their own class's other images.

    Args:
        features: (N, D) floats.
        labels: (N,) integers.

    Returns:
        (N,) float64: 1 where the nearest class mean is the right one, 0 where it is not (ties never help), NaN for
        an image whose class has no other.

    Raises:
        ValueError: if shapes don't fit or features are not finite.

    Source: Mensink et al., TPAMI 2013; as a measure of features in Rebuffi et al., "iCaRL", CVPR 2017. Here an
    image is left out of its own class's mean.
    """
    labels = labels_of("labels", labels)
    unit, _ = _checked(features, labels, features, labels)
    classes, class_of = labels.unique(return_inverse=True)
    sums = torch.zeros(len(classes), unit.shape[1]).index_add_(0, class_of, unit)  # (n_classes, D)
    own = normalize(sums[class_of] - unit)  # (N, D): the mean's direction is the sum's
    to_own = (unit * own).sum(dim=1)  # (N,)
    to_others = (unit @ normalize(sums).T).scatter(1, class_of[:, None], -torch.inf).amax(dim=1)  # (N,)
    right = (to_own > to_others + TIE).double()
    return torch.where(class_of.bincount()[class_of] > 1, right, torch.nan)


@usual_torch()
def query_ranks(
    snapshots: Sequence[Tensor],
    labels: Tensor,
    tasks: Tensor,
    *,
    protocol: str = "seen",
    queries: Tensor | None = None,
) -> Tensor:
    """Return for every test query, after every task, the rank of its first right answer.

    Query set and gallery are the same images; the query itself is left out, and ties never help.

    Args:
        snapshots: T times (N, D), the features of all test images under the network after each task.
        labels: (N,) integers.
        tasks: (N,) the task of each image.
        protocol: a name in `PROTOCOLS`.
        queries: (Q,) int64, the images that ask; None for all. The gallery stays the same.

    Returns:
        (T, Q) int64: 1 for a right nearest neighbour; 0 where the protocol has no value, or no positive is there.

    Raises:
        ValueError: if the protocol is unknown, there are no snapshots, shapes don't fit, features are not finite or a
            query is none of the images.
    """
    labels, tasks = labels_of("labels", labels), labels_of("tasks", tasks)
    snapshots = [features_of(f"snapshot {t}", x) for t, x in enumerate(snapshots)]
    queries = checked_queries(queries, len(tasks))
    if labels.shape != tasks.shape:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, tasks {tuple(tasks.shape)}; expected (N,) for both")
    ranks = torch.zeros(len(snapshots), len(queries), dtype=torch.int64)
    for task, gallery, images in searches(snapshots, tasks, protocol):
        asking = torch.isin(queries, images)
        ranks[task, asking] = _ranks_among(images, queries[asking], snapshots[task], gallery, labels)
    return ranks


def searches(snapshots: Sequence[Tensor], tasks: Tensor, protocol: str) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield every search that a protocol asks for.

    Args:
        snapshots: T times (N, D), the features of all test images under the network after each task.
        tasks: (N,) the task of each image.
        protocol: a name in `PROTOCOLS`.

    Yields:
        The task just learnt, the features (N, D) found in the gallery, and the images (n,), ascending, that take part:
        each of them asks with its features in `snapshots[task]`, and finds the others.

    Raises:
        ValueError: if the protocol is unknown, there are no snapshots, shapes don't fit or features are not finite.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(map(repr, PROTOCOLS))}")
    if len(snapshots) == 0:
        raise ValueError("there are no snapshots; expected the features (N, D) after at least one task")
    for t, features in enumerate(snapshots):
        if features.ndim != 2 or tasks.shape != features.shape[:1] or features.shape[1] != snapshots[0].shape[1]:
            raise ValueError(
                f"snapshot {t} has shape {tuple(features.shape)}, the first {tuple(snapshots[0].shape)} and tasks "
                f"{tuple(tasks.shape)}; expected (N, D) for all snapshots and (N,)"
            )
        if not torch.isfinite(features).all():
            raise ValueError(f"snapshot {t} holds NaN or infinite features; the network that made them has diverged")
    gallery = snapshots[0].clone()
    for task, features in enumerate(snapshots):
        if protocol == "stale":
            gallery[tasks == task] = features[tasks == task]
        else:
            gallery = features
        for images in _searched_together(tasks, task, protocol):
            yield task, gallery, images


def checked_queries(queries: Tensor | None, n: int) -> Tensor:
    """Return the images (Q,) that ask among n, all for None, or raise a ValueError if they are not from 0 to n − 1."""
    if queries is None:
        return torch.arange(n, device="cpu")
    queries = numbers_of("queries", queries)
    if queries.ndim != 1 or queries.is_floating_point() or queries.dtype == torch.bool:
        found = f"{queries.dtype} of shape {tuple(queries.shape)}"
        raise ValueError(f"queries are {found}; expected (Q,) integers, the indices of images")
    outside = queries[(queries < 0) | (queries >= n)]
    if len(outside):
        raise ValueError(f"query {int(outside[0])} is none of the {n} images; expected indices from 0 to {n - 1}")
    return queries.long()


def recall_matrix(ranks: Tensor, tasks: Tensor, *, k: int = 1) -> list[list[float | None]]:
    """Return the task matrix of Recall@K from the ranks (T, Q) of `query_ranks` and the tasks (Q,) of the queries."""
    ranks, tasks = numbers_of("ranks", ranks), labels_of("tasks", tasks)
    n_tasks = int(tasks.max()) + 1

    def recall(row: Tensor, task: int) -> float | None:
        found = row[(tasks == task) & (row > 0)]
        return _none_if_nan(_mean_or_nan((found <= k).double()))

    return [[recall(row, task) for task in range(n_tasks)] for row in ranks]


def query_changes(ranks: Tensor, tasks: Tensor, *, k: int = 1) -> dict[str, Tensor]:
    """Return which queries were found right after their task, and which are found in the end.

    A query counts as found if its first right answer is among the K nearest. Forgetting is a difference of means;
    this is what the means are made of: as many queries may be won as are lost.

    Args:
        ranks: (T, N) from `query_ranks`.
        tasks: (N,) the task of each query.
        k: how many answers are looked at.

    Returns:
        Masks (N,): "kept" found then and now, "lost" then but not now, "won" now but not then, "missed" neither.
        Queries without a positive at either time are in none of them.
    """
    ranks, tasks = numbers_of("ranks", ranks), labels_of("tasks", tasks)
    then, now = ranks.gather(0, tasks[None, :])[0], ranks[-1]  # (N,)
    counted = (then > 0) & (now > 0)
    before, after = then <= k, now <= k
    masks = {"kept": before & after, "lost": before & ~after, "won": ~before & after, "missed": ~before & ~after}
    return {name: mask & counted for name, mask in masks.items()}


def is_collapsed(features: Tensor) -> bool:
    """Return whether all features (N, D) point in the same direction, so that search cannot tell them apart."""
    features = features_of("features", features)
    return bool(normalize(features.double()).mean(dim=0).norm() > 1 - COLLAPSE) or bool((features == 0).all())


@usual_torch()
def task_row(features: Tensor, predictions: Tensor, labels: Tensor, tasks: Tensor, task: int) -> dict[str, Any]:
    """Return row `task` of every task matrix: what the network can do on each task's test images after that task.

    Protocols: "task" searches among the test images of the query's own task; "seen" among those of all tasks so
    far. Query set and gallery are the same images; the query itself is left out.

    Args:
        features: (N, D) of all test images under the network after `task`.
        predictions: (N,) labels that its head gives, among the classes seen so far.
        labels: (N,) true labels.
        tasks: (N,) the task of each image.
        task: the task just learnt.

    Returns:
        {"recall_at_1": {"seen": row, "task": row}, "head_accuracy": {"seen": row}}, each row of length T, with
        None where the protocol has no value, and "overall": the same over all test queries seen so far.
    """
    features, predictions = features_of("features", features), labels_of("predictions", predictions)
    labels, tasks = labels_of("labels", labels), labels_of("tasks", tasks)
    n_tasks = int(tasks.max()) + 1
    seen = tasks <= task
    ranks = {name: torch.zeros(len(labels), dtype=torch.int64) for name in ("seen", "task")}
    for name, of_all in ranks.items():
        for images in _searched_together(tasks, task, name):
            of_all[images] = _ranks_among(images, images, features, features, labels)
    found = ranks["seen"][ranks["seen"] > 0]
    right = (predictions == labels).double()
    return {
        "recall_at_1": {name: recall_matrix(of_all[None], tasks)[0] for name, of_all in ranks.items()},
        "head_accuracy": {
            "seen": [_none_if_nan(_mean_or_nan(right[seen & (tasks == j)])) for j in range(n_tasks)],
        },
        "overall": {
            "recall_at_1": _none_if_nan(_mean_or_nan((found == 1).double())),
            "head_accuracy": _mean_or_nan(right[seen]),
        },
    }


def summarize(rows: Sequence[dict[str, Any]], n_tasks: int) -> dict[str, Any]:
    """Put the rows of the tasks learnt so far together into the task matrices and their summary.

    Args:
        rows: what `task_row` returned after each task.
        n_tasks: T; rows still to come are filled with None.

    Returns:
        The content of a run's metrics.json; its summary, after the last task learnt, is over all queries seen so far.
    """
    empty: list[None] = [None] * n_tasks
    missing = [empty] * (n_tasks - len(rows))

    def matrix(metric: str, protocol: str) -> list[list[float | None]]:
        return [row[metric][protocol] for row in rows] + missing

    square = matrix("recall_at_1", "seen")
    learnt = [row[: len(rows)] for row in square[: len(rows)]]
    # With a single test image a class no query has anything to find, and there is nothing to forget.
    measured = all(learnt[i][j] is not None for i in range(len(rows)) for j in range(i + 1))
    return {
        "recall_at_1": {"seen": square, "task": matrix("recall_at_1", "task")},
        "head_accuracy": {"seen": matrix("head_accuracy", "seen")},
        "overall": {name: [row["overall"][name] for row in rows] for name in ("recall_at_1", "head_accuracy")},
        "tasks_learnt": len(rows),
        "summary": {
            "recall_at_1": rows[-1]["overall"]["recall_at_1"],
            "forgetting": forgetting(learnt) if measured else None,
            "head_accuracy": rows[-1]["overall"]["head_accuracy"],
        },
    }


def forgetting(matrix: Matrix) -> float:
    """Return how far the metric fell from its best, averaged over the earlier tasks: lower is better.

        F = 1/(T−1) Σ_{j<T} ( max_{i<T} R[i][j] − R[T][j] )

    Args:
        matrix: T × T, R[i][j] on task j after task i; None or NaN where there is no value.

    Returns:
        The mean fall in the metric's own units; 0 for a single task, which has nothing to forget.

    Raises:
        ValueError: if the matrix is not square or its last row lacks a value.

    Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, section 3.
    """
    r = _square(matrix)
    if len(r) == 1:
        return 0.0
    return float(np.mean(np.nanmax(r[:-1, :-1], axis=0) - r[-1, :-1]))


def backward_transfer(matrix: Matrix) -> float:
    """Return how learning the later tasks changed the earlier ones: negative means forgetting.

        BWT = 1/(T−1) Σ_{j<T} ( R[T][j] − R[j][j] )

    Args:
        matrix: T × T, R[i][j] on task j after task i; None or NaN where there is no value.

    Returns:
        The mean change in the metric's own units; 0 for a single task.

    Raises:
        ValueError: if the matrix is not square or lacks a value that the formula needs.

    Source: Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, eq. 3.
    """
    r = _square(matrix)
    if len(r) == 1:
        return 0.0
    return float(np.mean((r[-1] - np.diagonal(r))[:-1]))


def first_minus_last(matrix: Matrix) -> float:
    """Return how far the metric fell since each task was learnt; minus `backward_transfer`.

    Args:
        matrix: T × T, R[i][j] on task j after task i; None or NaN where there is no value.

    Raises:
        ValueError: if the matrix is not square or lacks a value on or below its diagonal.
    """
    return 0.0 - backward_transfer(matrix)


def forward_transfer(matrix: Matrix, baseline: Sequence[float]) -> float:
    """Return how much better a task goes, before it is learnt, than without any learning.

        FWT = 1/(T−1) Σ_{j>1} ( R[j−1][j] − b[j] )

    Args:
        matrix: T × T of a protocol with values above the diagonal ("task" or "all").
        baseline: T values b, the metric on each task with an untrained network.

    Returns:
        The mean gain in the metric's own units; 0 for a single task.

    Raises:
        ValueError: if the matrix is not square or lacks a value that the formula needs, or the lengths differ.

    Source: Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, eq. 4.
    """
    r = _square(matrix)
    if len(baseline) != len(r):
        raise ValueError(f"baseline has {len(baseline)} values for {len(r)} tasks; expected one a task")
    if len(r) == 1:
        return 0.0
    ahead = np.diagonal(r, offset=1)
    if np.isnan(ahead).any():
        raise ValueError("the task matrix has no values above its diagonal; expected protocol 'task' or 'all'")
    return float(np.mean(ahead - np.asarray(baseline)[1:]))


def average_incremental(matrix: Matrix) -> float:
    """Return the metric averaged over the seen tasks after each task, then over the tasks.

        A = 1/T Σ_i 1/i Σ_{j≤i} R[i][j]

    Args:
        matrix: T × T, R[i][j] on task j after task i; None or NaN where there is no value.

    Returns:
        The average in the metric's own units.

    Raises:
        ValueError: if the matrix is not square or lacks a value on or below its diagonal.

    Source: Rebuffi et al., "iCaRL", CVPR 2017, section 4 (average incremental accuracy).
    """
    r = _square(matrix)
    return float(np.mean([r[i, : i + 1].mean() for i in range(len(r))]))


class Fall(NamedTuple):
    """How a metric on an earlier task fell, in parts: learnt = left + crowding + forgetting; None where unmeasured.

    Attributes:
        learnt: right after the task, in a gallery of its own images.
        forgetting: what was lost since then in that same gallery, because the network has changed; below 0: gained.
        crowding: what the final network loses when the gallery grows to the images of all tasks.
        left: in the end, in the gallery of all tasks.
    """

    learnt: float | None
    forgetting: float | None
    crowding: float | None
    left: float | None


def just_learnt(own: Matrix) -> list[float]:
    """Return the diagonal of a task matrix of protocol "task": each task right after it, as far as there are values.

    A network whose values are low here has not learnt, and so has nothing to forget.

    Args:
        own: T × T; R[i][j] on task j after task i.

    Raises:
        ValueError: if the matrix is not square.
    """
    diagonal = np.diagonal(_table(own))
    return [float(value) for value in diagonal[~np.isnan(diagonal)]]


def forgetting_and_crowding(own: Matrix, seen: Matrix) -> list[Fall]:
    """Return how Recall@1 fell on each task but the last: what the network forgot, and what the larger gallery took.

        learnt R[j][j] = forgetting (R[j][j] − R[T][j]) + crowding (R[T][j] − S[T][j]) + left S[T][j]

    A network that does not change forgets nothing, and has crowding all the same: the first `crowding` of the method
    `frozen` is how much of another method's fall on the first task it loses as well.

    Args:
        own: T × T of protocol "task", R: on task j after task i, in a gallery of task j's images.
        seen: T × T of protocol "seen" of the same run, S: the same queries in a gallery of the images of tasks 0 to i.

    Returns:
        T − 1 falls, none for a single task. A part for which a value is None or NaN, as in the rows that an unfinished
        run still lacks, is None.

    Raises:
        ValueError: if the matrices are not both T × T with one T.
    """
    of_own, of_seen = _table(own), _table(seen)
    if of_own.shape != of_seen.shape:
        raise ValueError(
            f"the task matrices have shapes {of_own.shape} and {of_seen.shape}; expected two of the same run, "
            "of protocols 'task' and 'seen'"
        )

    def parts(task: int) -> Fall:
        learnt, kept, left = of_own[task, task], of_own[-1, task], of_seen[-1, task]
        return Fall(*(_none_if_nan(float(part)) for part in (learnt, learnt - kept, kept - left, left)))

    return [parts(task) for task in range(len(of_own) - 1)]


def mean_fall(falls: Sequence[Fall]) -> Fall:
    """Return the mean of each part over the tasks; None where one has none, or there is no task."""
    columns = list(zip(*falls, strict=True)) or [()] * len(Fall._fields)
    means = (sum(column) / len(column) if column and None not in column else None for column in columns)
    return Fall(*means)


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean of a few independent values, and half the width of its confidence interval (Student's t).

        mean ± t_{n−1} · s / √n

    Args:
        values: one for each seed; or, for a paired comparison, the differences.
        confidence: between 0 and 1.

    Returns:
        The mean, and half the width: NaN for a single value.

    Raises:
        ValueError: if there is no value, or the confidence is impossible.
    """
    from scipy import stats

    confidence = arguments.number("confidence", confidence)
    if len(values) == 0 or not 0 < confidence < 1:
        raise ValueError(f"there are {len(values)} values, confidence is {confidence}; expected some, and 0 to 1")
    x = np.asarray(values, dtype=np.float64)
    if len(x) == 1:
        return float(x[0]), math.nan
    quantile = stats.t.ppf((1 + confidence) / 2, len(x) - 1)
    return float(x.mean()), float(quantile * x.std(ddof=1) / math.sqrt(len(x)))


def _square(matrix: Matrix) -> np.ndarray:
    """Return a task matrix as float64 with NaN for None, or raise if values on or below its diagonal are missing."""
    r = _table(matrix)
    missing = np.argwhere(np.isnan(r) & np.tri(len(r), dtype=bool))
    if len(missing):
        i, j = missing[0]
        raise ValueError(f"R[{i}][{j}] of the task matrix has no value; expected one wherever j ≤ i (a finished run)")
    return r


def _table(matrix: Matrix) -> np.ndarray:
    """Return a task matrix as float64 with NaN for None, or raise if it is not square."""
    try:
        r = np.array([[np.nan if value is None else value for value in row] for row in matrix], dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("the task matrix has rows of different lengths or of no numbers; expected T × T") from None
    if r.ndim != 2 or r.shape[0] != r.shape[1] or r.size == 0:
        raise ValueError(f"the task matrix has shape {r.shape}; expected T × T, one row and one column a task")
    return r


def _checked(queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes and return both feature sets normalised, in float32 on the CPU."""
    queries, gallery = features_of("queries", queries), features_of("gallery", gallery)
    for name, features, labels in (("queries", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"{name} have shape {tuple(features.shape)} and their labels {tuple(labels.shape)}; "
                "expected (N, D) and (N,)"
            )
        if not torch.isfinite(features).all():
            raise ValueError(f"{name} hold NaN or infinite features; the network that made them has diverged")
    if len(gallery) == 0:
        raise ValueError("the gallery is empty; expected at least one item to search among")
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions and the gallery {gallery.shape[1]}; "
            "expected features of networks with the same feature size"
        )
    return normalize(queries.float()), normalize(gallery.float())


def _labels_of(query_labels: Tensor, gallery_labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels_of("query_labels", query_labels), labels_of("gallery_labels", gallery_labels)


def _itself(query_labels: Tensor, gallery_labels: Tensor, exclude_self: bool) -> Tensor | None:
    """Return the item (Q,) that each query must not find, or None."""
    if not exclude_self:
        return None
    if len(query_labels) != len(gallery_labels):
        raise ValueError(
            f"exclude_self is set for {len(query_labels)} queries and a gallery of {len(gallery_labels)}; "
            "expected the same rows on both sides"
        )
    differ = (query_labels != gallery_labels).nonzero()
    if len(differ):
        raise ValueError(
            f"exclude_self is set, but query {int(differ[0, 0])} has another label than that item of the gallery; "
            "expected the same rows on both sides"
        )
    return torch.arange(len(query_labels))


def _checked_ks(ks: Sequence[int]) -> list[int]:
    try:
        return arguments.whole_numbers("ks", ks, least=1)
    except ValueError:
        shown = tuple(ks) if isinstance(ks, list | tuple) else ks
        raise ValueError(f"ks are {shown}; expected whole numbers of at least 1") from None


def _searched_together(tasks: Tensor, task: int, protocol: str) -> list[Tensor]:
    """Return the groups of images (n,), ascending, of which each asks among the others of its group after a task."""
    if protocol == "task":
        return [(tasks == j).nonzero()[:, 0] for j in tasks.unique()]
    images = (tasks >= 0 if protocol == "all" else tasks <= task).nonzero()[:, 0]
    return [images] if len(images) else []


def _ranks_among(images: Tensor, queries: Tensor, features: Tensor, gallery: Tensor, labels: Tensor) -> Tensor:
    """Return the ranks (q,) of queries that look, with their features (N, D), among these images of the gallery."""
    itself = torch.searchsorted(images, queries)
    return _first_ranks(features[queries], labels[queries], gallery[images], labels[images], itself)


def _first_ranks(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    itself: Tensor | None,
) -> Tensor:
    """Return (Q,) what `first_positive_ranks` does; query i does not find the item itself[i]."""
    ranks = torch.zeros(len(query_labels), dtype=torch.int64)
    for rows, positives, others in _compare(queries, query_labels, gallery, gallery_labels, itself):
        best = positives.amax(dim=1, keepdim=True)  # (c, 1)
        ranks[rows] = 1 + (others >= best - TIE).sum(dim=1)
    return ranks


def _compare(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    itself: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, `CHUNK` queries at a time, their rows (c,), and similarities to positives (c, R) and to others (c, G).

    `itself` (Q,) is the item that a query must not find. Queries without a positive are left out; similarities are
    −inf where a query has fewer than R positives, and among the others at its positives and at itself.
    """
    queries, gallery = _checked(queries, query_labels, gallery, gallery_labels)
    both = torch.cat([query_labels, gallery_labels]).cpu().unique(return_inverse=True)[1]
    of_query, of_item = both.split([len(queries), len(gallery)])
    # With the gallery in the order of its classes, the positives of a query are the columns from start to end.
    of_item, order = of_item.sort(stable=True)
    gallery = gallery[order]
    start = torch.searchsorted(of_item, of_query)  # (Q,)
    end = torch.searchsorted(of_item, of_query, right=True)  # (Q,)
    excluded = torch.full_like(start, -1) if itself is None else order.argsort()[itself]  # (Q,)
    asking = (end - start > (excluded >= 0)).nonzero()[:, 0]
    for first in range(0, len(asking), CHUNK):
        rows = asking[first : first + CHUNK]  # (c,)
        with torch.autocast("cpu", enabled=False):
            similarity = queries[rows] @ gallery.T  # (c, G)
        from_start = torch.arange(int((end - start)[rows].max()))  # (R,)
        columns = start[rows, None] + from_start  # (c, R)
        missing = (columns >= end[rows, None]) | (columns == excluded[rows, None])  # (c, R)
        columns = columns.minimum(end[rows, None] - 1)  # (c, R)
        positives = similarity.gather(1, columns).masked_fill(missing, -torch.inf)  # (c, R)
        yield rows, positives, similarity.scatter_(1, columns, -torch.inf)


def _mean_or_nan(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
