"""What is measured: retrieval, classification, and what becomes of both along the tasks.

A task matrix is a list of T rows; R[i][j] is the metric on task j's test queries after learning task i,
None where the protocol has no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_edu.losses import normalize

TIE = 1e-6
"""Cosine similarities closer than this are ties: float32 sums of the same numbers may differ in the last digits."""

COLLAPSE = 1e-4
"""Features whose mean direction is longer than 1 − this all point the same way."""

Matrix = Sequence[Sequence[float | None]]


def first_positive_ranks(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    exclude_self: bool = False,
    chunk: int = 256,
) -> Tensor:
    """Return for each query the rank, by cosine similarity, of the first gallery item of its class.

    Ties never help: items of other classes that are as similar as the best positive are ranked before it.

    Args:
        queries: (Q, D) floats.
        query_labels: (Q,) integers.
        gallery: (G, D) floats.
        gallery_labels: (G,) integers.
        exclude_self: queries and gallery are the same rows, and query i must not find item i.
        chunk: queries compared at once; bounds the memory at chunk × G floats.

    Returns:
        (Q,) int64: 1 for a right nearest neighbour; 0 for a query without any positive in the gallery.

    Raises:
        ValueError: if shapes don't fit, features are not finite, or `exclude_self` is set for different rows.
    """
    queries, gallery = _checked(queries, query_labels, gallery, gallery_labels, exclude_self)
    ranks = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(queries), chunk):
        rows = torch.arange(start, min(start + chunk, len(queries)))
        similarity = queries[rows] @ gallery.T  # (chunk, G)
        positive = query_labels[rows, None] == gallery_labels[None, :]  # (chunk, G)
        other = ~positive
        if exclude_self:
            positive[torch.arange(len(rows)), rows] = False
        best = similarity.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True)  # (chunk, 1)
        before = ((similarity >= best - TIE) & other).sum(dim=1)  # (chunk,)
        ranks[rows] = torch.where(positive.any(dim=1), before + 1, 0)
    return ranks


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
    if any(k < 1 for k in ks):
        raise ValueError(f"ks are {tuple(ks)}; expected whole numbers of at least 1")
    ranks = first_positive_ranks(queries, query_labels, gallery, gallery_labels, exclude_self=exclude_self)
    return {k: _mean_or_nan((ranks[ranks > 0] <= k).double()) for k in ks}


def is_collapsed(features: Tensor) -> bool:
    """Return whether all features (N, D) point in the same direction, so that search cannot tell them apart."""
    return bool(normalize(features.double()).mean(dim=0).norm() > 1 - COLLAPSE) or bool((features == 0).all())


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
    n_tasks = int(tasks.max()) + 1
    seen = tasks <= task
    found = torch.full((len(labels),), -1.0, dtype=torch.float64)  # 1 found, 0 not, −1 no positive in the gallery
    ranks = first_positive_ranks(features[seen], labels[seen], features[seen], labels[seen], exclude_self=True)
    found[seen] = torch.where(ranks > 0, (ranks == 1).double(), -1.0)

    own_gallery: list[float | None] = []
    for j in range(n_tasks):
        own = tasks == j
        own_gallery.append(
            _none_if_nan(recall_at_k(features[own], labels[own], features[own], labels[own], exclude_self=True)[1])
        )
    right = (predictions == labels).double()
    return {
        "recall_at_1": {
            "seen": [_none_if_nan(_mean_or_nan(found[(tasks == j) & (found >= 0)])) for j in range(n_tasks)],
            "task": own_gallery,
        },
        "head_accuracy": {
            "seen": [_none_if_nan(_mean_or_nan(right[seen & (tasks == j)])) for j in range(n_tasks)],
        },
        "overall": {
            "recall_at_1": _none_if_nan(_mean_or_nan(found[seen & (found >= 0)])),
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


def _square(matrix: Matrix) -> np.ndarray:
    """Return a task matrix as float64 with NaN for None, or raise if values on or below its diagonal are missing."""
    try:
        r = np.array([[np.nan if value is None else value for value in row] for row in matrix], dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("the task matrix has rows of different lengths or of no numbers; expected T × T") from None
    if r.ndim != 2 or r.shape[0] != r.shape[1] or r.size == 0:
        raise ValueError(f"the task matrix has shape {r.shape}; expected T × T, one row and one column a task")
    missing = np.argwhere(np.isnan(r) & np.tri(len(r), dtype=bool))
    if len(missing):
        i, j = missing[0]
        raise ValueError(f"R[{i}][{j}] of the task matrix has no value; expected one wherever j ≤ i (a finished run)")
    return r


def _checked(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, exclude_self: bool
) -> tuple[Tensor, Tensor]:
    """Check the shapes and return both feature sets normalised, in float32."""
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
    if exclude_self and len(queries) != len(gallery):
        raise ValueError(
            f"exclude_self is set for {len(queries)} queries and a gallery of {len(gallery)}; "
            "expected the same rows on both sides"
        )
    return normalize(queries.float()), normalize(gallery.float())


def _mean_or_nan(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
