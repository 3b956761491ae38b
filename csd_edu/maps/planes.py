"""The first network's plane: a few classes lie apart in it, and every later network's features are shown in it.

Fine-tuning loses what told the classes apart: in this plane one sees it happen, class by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import SAME, checked_snapshots, labels_of, normalize
from csd_edu.maps.quality import LIMITS, plane_of
from csd_edu.runtime import usual_torch

SHRINKAGE = 0.3
ENOUGH = 64  # of the widest directions, for choosing classes
TIE = 1e-6  # of two directions that separate nothing, as for two classes one always is, the wider one


@dataclass(frozen=True, eq=False)
class Plane:
    """A few classes in the plane that separates them best under the network that had just learnt them.

    Attributes:
        points: (T, n, 2) float32, the half of their images that is shown, under each network from that one on.
        means: (T, C, 2) float32, of each class the mean of the other half, to which the plane was fitted.
        right: (T, n) bool, whether the nearest of the means under the same network is the right one.
        stale: (T, n) bool, the same with the means under the first network: of a gallery that was never indexed again.
        indices: (n,) int64, which of the images are shown.
        labels: (n,) int64, their classes.
        classes: (C,) int64, the labels of the classes, in the order of `means`.
        first: the task after which the plane was fitted.
        note: how it was made, and what it cannot show.
        plane: equal for planes that were fitted to the same features.
    """

    points: Tensor
    means: Tensor
    right: Tensor
    stale: Tensor
    indices: Tensor
    labels: Tensor
    classes: Tensor
    first: int
    note: str
    plane: str
    kind: ClassVar[str] = "plane"

    def of_class(self, label: int, *, stale: bool = False) -> Tensor:
        """Return (T,) float64, how often the nearest class mean is the right one for the images of one class.

        Args:
            label: one of `classes`.
            stale: go by the first network's means.
        """
        return (self.stale if stale else self.right)[:, self.labels == label].double().mean(dim=1)

    def told(self, t: int) -> str:
        """Return what stands under a panel at snapshot t: how often the nearest class mean is the right one."""
        right, stale = (float(hits[t].double().mean()) for hits in (self.right, self.stale))
        return f"nearest mean {_share(right)};<br>with the first network’s means {_share(stale)}"


@usual_torch()
def first_plane(
    snapshots: Sequence[Tensor],
    labels: Tensor,
    classes: Sequence[int],
    *,
    after: int = 0,
    seed: int = 0,
    per_class: int = 200,
) -> Plane:
    """Return the plane in which a network that has just learnt some classes tells them apart best.

    Linear discriminant analysis of half of their images finds the two directions; the other half is shown, as an honest
    test of the first half. With W and B the scatter within and between the classes, of features of length 1,

        B v = λ (0.7 W + 0.3 tr(W) / D · I) v,  v of the two largest λ

    Args:
        snapshots: T tensors (N, D), after each task.
        labels: (N,) integers.
        classes: at least two labels.
        after: the task that taught these classes: the plane is fitted under the network after it, and starts there.
        seed: of the halves.
        per_class: images of each class, both halves together, or all it has.

    Raises:
        ValueError: if shapes don't fit, features are not finite, `after` is out of range, or classes are fewer than
            two, given twice, or have fewer than two images.

    Source: Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 1936; Friedman,
    "Regularized discriminant analysis", JASA 1989.
    """
    labels, classes = labels_of("labels", labels), arguments.whole_numbers("classes", classes)
    checked = checked_snapshots(snapshots, labels)
    after, per_class = arguments.whole("after", after), arguments.whole("per_class", per_class, least=1)
    if not 0 <= after < len(checked):
        raise ValueError(f"after is {after}; expected 0 to {len(checked) - 1}, a task that has been learnt")
    fitted, shown = (half[torch.isin(labels[half], torch.tensor(classes))] for half in halves(labels, seed, per_class))
    missing = [k for k in classes if k not in labels[fitted]]
    if len(set(classes)) < 2 or len(set(classes)) < len(classes) or missing:
        raise ValueError(
            f"classes are {list(classes)}; expected at least two, each once and with at least two images"
            + (f", which {missing[0]} has not" if missing else "")
        )
    units = torch.stack([normalize(x) for x in checked[after:]])  # (T, N, D)
    of_fitted, of_shown = _turns(labels[fitted], classes), _turns(labels[shown], classes)
    directions, centre = _discriminants(units[0, fitted], of_fitted)
    known, points = ((units[:, half] - centre) @ directions for half in (fitted, shown))  # (T, n, 2)
    means = torch.stack([known[:, of_fitted == k].mean(dim=1) for k in range(len(classes))], dim=1)  # (T, C, 2)
    right, stale = (torch.cdist(points, of).argmin(dim=2) == of_shown for of in (means, means[:1].expand_as(means)))
    note = (
        f"Discriminant directions of {len(classes)} classes under the network after task {after}, shrinkage "
        f"{SHRINKAGE}, of {len(fitted)} test images; shown: {len(shown)} others of the same classes, halves drawn at "
        f"random with seed {seed}. {LIMITS['plane']}"
    )
    return Plane(
        points.float(),
        means.float(),
        right,
        stale,
        shown,
        labels[shown],
        torch.tensor(classes),
        after,
        note,
        plane_of(known[0].float()),
    )


@usual_torch()
def best_separated(
    features: Tensor, labels: Tensor, candidates: Sequence[int], *, n: int = 6, seed: int = 0, per_class: int = 200
) -> list[int]:
    """Return the classes that a plane separates best, chosen one after the other, on the half that it is fitted to.

    The distance of two classes is that of their means, in units of the sum of their mean distances from these. The two
    farthest come first, then each time the one with which the plane of all chosen has its two nearest classes farthest
    apart.

    Args:
        features: (N, D) floats, under the network that has just learnt these classes.
        labels: (N,) integers.
        candidates: labels to choose from; those with fewer than two images are left out.
        n: how many classes, or all there are.
        seed: of the halves, as for the plane.
        per_class: images of each class, as for the plane.

    Returns:
        Labels in ascending order.

    Raises:
        ValueError: if shapes don't fit, features are not finite, or fewer than two classes have two images.
    """
    labels, candidates = labels_of("labels", labels), arguments.whole_numbers("candidates", candidates)
    n, per_class = arguments.whole("n", n), arguments.whole("per_class", per_class, least=1)
    (checked,) = checked_snapshots([features], labels)
    fitted, _ = halves(labels, seed, per_class)
    classes = [k for k in dict.fromkeys(candidates) if k in labels[fitted]]
    if len(classes) < 2 or n < 2:
        raise ValueError(
            f"{n} of {len(classes)} classes with at least two images are to be shown; expected at least 2 of 2"
        )
    fitted = fitted[torch.isin(labels[fitted], torch.tensor(classes))]
    units, of_class = normalize(checked)[fitted], _turns(labels[fitted], classes)  # (n, D), (n,)
    units = units @ torch.linalg.eigh(units.T @ units).eigenvectors[:, -ENOUGH:]  # (n, ≤ 64)

    def nearest_two(chosen: list[int]) -> float:
        own = torch.isin(of_class, torch.tensor(chosen))
        x, turns = units[own], _turns(of_class[own], chosen)
        directions, _ = _discriminants(x, turns)
        return float(_apart(x @ directions, turns).min())

    distances = _apart(units, of_class).nan_to_num(posinf=-1)  # (C, C)
    chosen = list(divmod(int(distances.argmax()), len(classes)))
    while len(chosen) < min(n, len(classes)):
        rest = [k for k in range(len(classes)) if k not in chosen]
        chosen.append(max(rest, key=lambda k: nearest_two([*chosen, k])))
    return sorted(classes[k] for k in chosen)


@usual_torch()
def halves(labels: Tensor, seed: int = 0, per_class: int = 200) -> tuple[Tensor, Tensor]:
    """Return two halves of the images of each class, drawn at random: test images may be stored in an order.

    Args:
        labels: (N,) integers.
        seed: the same seed gives the same halves, whichever classes are looked at.
        per_class: images of each class, both halves together, or all it has; of an odd number the first half has more.

    Returns:
        The indices of the first and of the second half, ascending, int64; a class with one image is in neither.
    """
    labels, seed = labels_of("labels", labels), arguments.seed("seed", seed)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))  # (N,)
    first, second = [], []
    for label in labels.unique():
        own = order[labels[order] == label][:per_class]
        if len(own) > 1:
            first.append(own[::2])
            second.append(own[1::2])
    none = torch.empty(0, dtype=torch.int64)
    return torch.cat([none, *first]).sort().values, torch.cat([none, *second]).sort().values


def _turns(labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Return for each label (n,) its place among the classes."""
    return (labels[:, None] == torch.tensor(classes)).int().argmax(dim=1)


def _apart(x: Tensor, of_class: Tensor) -> Tensor:
    """Return how far each two classes of points (n, D) lie apart, in units of their spreads, (C, C); of one, ∞."""
    own = [x[of_class == k] for k in range(int(of_class.max()) + 1)]
    means = torch.stack([points.mean(dim=0) for points in own])  # (C, D)
    spread = torch.stack([(p - m).norm(dim=1).mean() for p, m in zip(own, means, strict=True)])  # (C,)
    distances = torch.cdist(means, means) / (spread[:, None] + spread).clamp(min=SAME)
    return distances.fill_diagonal_(torch.inf)


def _discriminants(units: Tensor, of_class: Tensor) -> tuple[Tensor, Tensor]:
    """Return two directions (D, 2) that separate classes 0 to C − 1 of features (n, D) float64, and the centre (D,)."""
    n, d = units.shape
    centre = units.mean(dim=0)
    means = torch.stack([units[of_class == k].mean(dim=0) for k in range(int(of_class.max()) + 1)])  # (C, D)
    within, between = units - means[of_class], means[of_class] - centre  # (n, D) each
    w, b = within.T @ within / n, between.T @ between / n  # (D, D)
    shrunk = (1 - SHRINKAGE) * w + (SHRINKAGE * w.trace() / d).clamp(min=SAME) * torch.eye(d, dtype=w.dtype)
    root = torch.linalg.cholesky(shrunk)  # B v = λ W v is an ordinary problem for rootᵀ v
    inverse = torch.linalg.solve_triangular(root, torch.eye(d, dtype=w.dtype), upper=False)
    vectors = torch.linalg.eigh(inverse @ (b + TIE * w) @ inverse.T).eigenvectors.flip(1)[:, :2]  # the largest first
    directions = inverse.T @ vectors  # (D, 2)
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))  # (1, 2)
    directions = directions * largest.sign()  # the same features give the same plane
    return torch.nn.functional.pad(directions, (0, 2 - directions.shape[1])), centre


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")
