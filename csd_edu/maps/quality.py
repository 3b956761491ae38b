"""What a map is, and how far it can be trusted."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import SAME, checked_snapshots, nearest, normalize, shared_neighbors
from csd_edu.runtime import usual_torch

FORMULAS = {
    "trustworthiness": "1 − 2 / (N k (2N − 3k − 1)) · Σ max(0, rank − k), k neighbours on the map, rank among features",
    "neighbors_kept": "mean over images of |kNN(features) ∩ kNN(map)| / k, features and map of the same network",
}
"""How the quality of a map is computed, for the captions."""

LIMITS = {
    "pca": "A PCA map shows the two widest directions only: what lies apart may look together.",
    "umap": (
        "A UMAP of each snapshot shows who is near whom then: distances between groups, and their sizes, mean little."
    ),
    "umap together": (
        "One UMAP of all snapshots shows what has moved away: distances between groups, and their sizes, mean little."
    ),
    "plane": (
        "The plane shows two directions, those that told these classes apart: a class lost here may still be told by "
        "others, and other classes are not shown."
    ),
}
"""What a map of each kind cannot show, in one line."""


@dataclass(frozen=True, eq=False)
class Map:
    """All snapshots on one plane: where each image's feature lies after each task.

    Attributes:
        points: (T, N, 2) float32.
        kind: "pca", "umap" or "umap together".
        trustworthiness: (T,) for each snapshot, how far neighbours on the map are neighbours in feature space too.
        neighbors_kept: (T,) for each snapshot, the share of neighbours in feature space that are so on the map.
        note: number of images, settings, what was reduced, and what such a map cannot show.
        indices: (N,) int64, which of the images these are.
        plane: equal for maps that were fitted together or begin at the same points; only those may be compared by
            position.
    """

    points: Tensor
    kind: str
    trustworthiness: Tensor
    neighbors_kept: Tensor
    note: str
    indices: Tensor
    plane: str
    first: ClassVar[int] = 0  # the task after which the first snapshot was taken

    def told(self, t: int) -> str:
        """Return what stands under a panel at snapshot t: how far this map can be trusted."""
        trust, kept = float(self.trustworthiness[t]), float(self.neighbors_kept[t])
        if math.isnan(trust):
            return "quality of this map: –"
        return f"quality of this map: trustworthiness {trust:.2f},<br>map keeps {100 * kept:.0f} % of neighbours"


@usual_torch()
def trustworthiness(features: Tensor, points: Tensor, k: int = 10) -> float:
    """Return how far neighbours on a map are neighbours in feature space (cosine) too.

        1 − 2 / (N k (2N − 3k − 1)) · Σ_i Σ_{j in kNN_map(i)} max(0, rank_features(i, j) − k)

    Args:
        features: (N, D) floats.
        points: (N, 2) floats.
        k: neighbours on the map, below N / 2.

    Returns:
        From 0 to 1: 1 if no neighbour on the map is an intruder, about ½ for a random map. Equally near images share
        their mean rank, so the map of collapsed features gets ½ too.

    Raises:
        ValueError: if N differs, k is out of range or values are not finite.

    Source: Venna & Kaski, "Neighborhood Preservation in Nonlinear Projection Methods", ICANN 2001.
    """
    features, points = checked_snapshots([features, points], same_size=False)
    n, k = len(features), arguments.whole("k", k)
    if not 1 <= k < n / 2:
        raise ValueError(f"k is {k} with {n} images; expected at least 1 and less than N / 2")
    features, neighbors = normalize(features), nearest(points, k, euclidean=True)[0]
    excess = 0.0
    for rows in torch.arange(n).split(256):
        similarity = features[rows] @ features.T  # (chunk, N)
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        own = similarity.gather(1, neighbors[rows])  # (chunk, k)
        ascending = similarity.sort(dim=1).values  # (chunk, N)
        nearer = n - torch.searchsorted(ascending, own + SAME, right=True)  # (chunk, k)
        no_farther = n - torch.searchsorted(ascending, own - SAME)  # (chunk, k), itself among them
        excess += float(((nearer + 1 + no_farther) / 2 - k).clamp(min=0).sum())
    return 1 - 2 * excess / (n * k * (2 * n - 3 * k - 1))


@usual_torch()
def rated(kind: str, points: Tensor, units: Tensor, note: str, *, plane: str | None = None) -> Map:
    """Return the map of normalised snapshots (T, N, D) with its quality at 10 neighbours, or fewer for few images."""
    n = units.shape[1]
    k = min(10, (n - 1) // 2)
    points = points.float()
    quality = torch.full((2, len(units)), torch.nan, dtype=torch.float64)  # stays NaN for two images
    for t, (x, p) in enumerate(zip(units, points.double(), strict=True)):
        if k:
            quality[0, t] = trustworthiness(x, p, k)
            quality[1, t] = shared_neighbors(nearest(x, k)[0], nearest(p, k, euclidean=True)[0]).mean()
    note += f"; quality at {k} neighbours. {LIMITS[kind]}"
    return Map(points, kind, quality[0], quality[1], note, torch.arange(n), plane or plane_of(points))


def plane_of(points: Tensor) -> str:
    """Return a name for the plane on which all these points (..., 2) lie."""
    return f"{zlib.crc32(points.contiguous().numpy().data):08x}"
