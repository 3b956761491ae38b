"""How far features drift: numbers between two snapshots of the same images. Where they lie is told by `csd_edu.maps`.

A snapshot is an (N, D) tensor: the features of N probe images under the network after one task. A run has them as
`[run.features(t) for t in range(run.tasks_learnt)]`. Features are compared by direction, as the search compares them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import checked_snapshots, labels_of, nearest, normalize, shared_neighbors
from csd_edu.runtime import usual_torch

FORMULAS = {
    "cka": "‖XᵀY‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F), columns centred; 1: same geometry, even if rotated or scaled",
    "mean_displacement": "mean over images of 1 − cos(x, y); 0: no feature has turned",
    "class_mean_displacement": "1 − cos of the class means of the normalised features, before and after",
    "neighbor_overlap": "mean over images of |kNN(x) ∩ kNN(y)| / k, by cosine; 1: same neighbours",
}
"""How each number here is computed, for the captions."""


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Return the similarity of two feature spaces on the same images, blind to rotation and scale.

        CKA = ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), columns centred, in float64

    Args:
        x: (N, D) floats.
        y: (N, E) floats of the same images; E may differ from D.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: if N differs or is below 2, or features are not finite or all the same.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, section 3.
    """
    x, y = checked_snapshots([x, y], same_size=False)
    return _cka(_centred(x, "x"), _centred(y, "y"))


def cosine_displacement(x: Tensor, y: Tensor) -> Tensor:
    """Return how far each image's feature has turned: 1 − cos(x, y).

    Args:
        x: (N, D) floats, before.
        y: (N, D) floats, after.

    Returns:
        (N,) float64 from 0 to 2; between a zero feature and another, which have no angle, ½; between two zeros, 0.

    Raises:
        ValueError: if shapes differ, N is below 2 or features are not finite.
    """
    x, y = checked_snapshots([x, y])
    return _turned(x, y)


def mean_displacement(x: Tensor, y: Tensor) -> float:
    """Return the mean of `cosine_displacement` over the images; arguments and errors as there."""
    return float(cosine_displacement(x, y).mean())


def class_mean_displacement(x: Tensor, y: Tensor, labels: Tensor) -> dict[int, float]:
    """Return for each class how far the mean of its normalised features has turned: 1 − cos.

    Args:
        x: (N, D) floats, before.
        y: (N, D) floats, after.
        labels: (N,) integers.

    Returns:
        For each label present, in ascending order, a number from 0 to 2.

    Raises:
        ValueError: if shapes don't fit, N is below 2 or features are not finite.
    """
    labels = labels_of("labels", labels)
    x, y = (normalize(features) for features in checked_snapshots([x, y], labels))
    classes, of_class = labels.unique(return_inverse=True)
    before, after = (
        x.new_zeros(len(classes), x.shape[1]).index_add(0, of_class, features) for features in (x, y)
    )  # (C, D): sums, which point where the means do
    return dict(zip(classes.tolist(), _turned(before, after).tolist(), strict=True))


def neighbor_overlap(x: Tensor, y: Tensor, k: int = 10) -> Tensor:
    """Return for each image the share of its k nearest neighbours that are so in both snapshots.

    The search is exact, by cosine; the image itself is left out by index. Which of several equally near images
    count as neighbours is arbitrary, but the same for the same features.

    Args:
        x: (N, D) floats, before.
        y: (N, E) floats, after.
        k: from 1 to N − 1.

    Returns:
        (N,) float64 from 0 to 1.

    Raises:
        ValueError: if N differs, k is out of range or features are not finite.
    """
    x, y = checked_snapshots([x, y], same_size=False)
    k = arguments.whole("k", k)
    if not 1 <= k <= len(x) - 1:
        raise ValueError(f"k is {k} with {len(x)} images; expected 1 to {len(x) - 1}")
    return shared_neighbors(nearest(normalize(x), k)[0], nearest(normalize(y), k)[0])


def displacement_table(snapshots: Sequence[Tensor], labels: Tensor, *, k: int = 10) -> list[dict[str, Any]]:
    """Return the drift between each pair of snapshots as numbers that a table or plot can show.

    Args:
        snapshots: T tensors (N, D).
        labels: (N,) integers.
        k: neighbours compared; reduced to N − 1 if that is less.

    Returns:
        A row for each pair i < j: "before" i, "after" j, "cka", "mean_displacement", "neighbor_overlap" with its "k",
        and "class_mean_displacement" by label. `FORMULAS` has the formulas. "cka" is None if a snapshot is collapsed.

    Raises:
        ValueError: if shapes don't fit, N is below 2 or features are not finite.
    """
    labels = labels_of("labels", labels)
    checked = checked_snapshots(snapshots, labels)
    k = min(arguments.whole("k", k, least=1), len(labels) - 1)
    neighbors = [nearest(normalize(x), k)[0] for x in checked]
    rows: list[dict[str, Any]] = []
    for j, y in enumerate(checked):
        for i, x in enumerate(checked[:j]):
            row: dict[str, Any] = {"before": i, "after": j, "cka": None}
            with contextlib.suppress(ValueError):  # all features the same
                row["cka"] = linear_cka(x, y)
            row["mean_displacement"] = float(_turned(x, y).mean())
            row["neighbor_overlap"] = float(shared_neighbors(neighbors[i], neighbors[j]).mean())
            row["k"] = k
            row["class_mean_displacement"] = class_mean_displacement(x, y, labels)
            rows.append(row)
    return rows


@usual_torch()
def balanced_sample(labels: Tensor, n: int, seed: int = 0) -> Tensor:
    """Return the indices of a random sample with as equally many of each class as there are.

    Args:
        labels: (N,) integers.
        n: how many; all if there are no more than n.
        seed: the same seed gives the same sample, and a smaller n a part of it.

    Returns:
        (min(n, N),) int64, ascending.

    Raises:
        ValueError: if n is below 1.
    """
    labels, n = labels_of("labels", labels), arguments.whole("n", n)
    seed = arguments.seed("seed", seed)
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))  # (N,)
    turn = torch.zeros(len(labels), dtype=torch.int64)  # (N,): the how-manieth of its class, in that order
    for label in labels.unique():
        own = labels[order] == label
        turn[own] = torch.arange(int(own.sum()))
    return order[turn.argsort(stable=True)[:n]].sort().values


def _turned(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 − cos of each pair of rows (N, D) as ½‖x̂ − ŷ‖², which is exact also for the smallest angles."""
    return (normalize(x) - normalize(y)).square().sum(dim=1) / 2


def _cka(x: Tensor, y: Tensor) -> float:
    """Return the CKA of centred features."""
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def _centred(x: Tensor, name: str) -> Tensor:
    """Return features with centred columns, at a scale at which squares neither overflow nor vanish."""
    centred = x - x.mean(dim=0)  # (N, D)
    largest = centred.abs().max()
    if largest <= 1e-12 * x.abs().max():
        raise ValueError(f"{name} has the same feature for all images (collapsed); CKA is not defined")
    return centred / largest
