"""Maps by PCA: instant, linear, and of the widest directions only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csd_edu.features import checked_snapshots, normalize
from csd_edu.maps.quality import Map, rated


def pca_map(snapshots: Sequence[Tensor]) -> Map:
    """Return a map by one PCA of the normalised features of all snapshots together: instant, and linear.

    Args:
        snapshots: T tensors (N, D).

    Returns:
        The map; each axis points to where its largest weight is positive, so the same features give the same map.

    Raises:
        ValueError: if shapes differ, N is below 2 or features are not finite.
    """
    units = torch.stack([normalize(x) for x in checked_snapshots(snapshots)])  # (T, N, D)
    return rated("pca", principal(units), units, f"PCA of {len(units)} × {units.shape[1]} points together")


def principal(units: Tensor) -> Tensor:
    """Return the two principal components (T, N, 2) of snapshots (T, N, D) float64 taken together."""
    centred = units - units.mean(dim=(0, 1))  # (T, N, D)
    flat = centred.flatten(0, 1)  # (T·N, D)
    axes = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1)[:, :2]  # (D, 2), the widest first
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))  # (1, 2)
    points = centred @ (axes * largest.sign())  # (T, N, 2)
    return torch.nn.functional.pad(points, (0, 2 - points.shape[2]))  # of one-dimensional features, a line
