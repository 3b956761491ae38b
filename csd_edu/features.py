"""What all that compares features has in common: length 1, checks, and who is whose neighbour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SAME = 1e-9
"""Cosines, in float64, closer than this are equal: float32 features of the same image may differ in the last digit."""


def normalize(features: Tensor) -> Tensor:
    """Scale each row to length 1; a zero row (below 1e-30) stays as it is and keeps a finite gradient.

    Args:
        features: (N, D), float32 or float64.

    Returns:
        (N, D) of the same type.
    """
    # First by the largest entry, lest the squares overflow or vanish. It cancels out and needs no gradient.
    largest = features.detach().abs().amax(dim=1, keepdim=True)  # (N, 1)
    features = features / torch.where(largest > 1e-30, largest, 1.0)  # (N, D)
    length = features.norm(dim=1, keepdim=True)  # (N, 1)
    return features / torch.where(length > 0, length, 1.0)


def checked_snapshots(
    snapshots: Sequence[Tensor], labels: Tensor | None = None, *, same_size: bool = True
) -> list[Tensor]:
    """Return snapshots of the same images in float64 on the CPU.

    Args:
        snapshots: T tensors (N, D).
        labels: (N,) of the images.
        same_size: whether D must be the same for all.

    Raises:
        ValueError: if there is no snapshot, shapes don't fit, N is below 2 or features are not finite.
    """
    if len(snapshots) == 0:
        raise ValueError("there are no snapshots; expected at least one tensor (N, D)")
    first = snapshots[0].shape
    for t, x in enumerate(snapshots):
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"snapshot {t} has shape {tuple(x.shape)}; expected (N, D)")
        if len(x) < 2:
            raise ValueError(f"snapshot {t} has {len(x)} images; expected at least 2")
        if len(x) != first[0] or (same_size and x.shape != first):
            raise ValueError(f"snapshot {t} has shape {tuple(x.shape)}, the first {tuple(first)}; expected the same")
        if not torch.isfinite(x).all():
            raise ValueError(f"snapshot {t} holds NaN or infinite features; the network that made them has diverged")
    if labels is not None and labels.shape != first[:1]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected ({first[0]},)")
    return [x.detach().cpu().double() for x in snapshots]


def nearest(x: Tensor, k: int, *, euclidean: bool = False) -> tuple[Tensor, Tensor]:
    """Return each row's neighbours by exact search, itself left out by index.

    Args:
        x: (N, D) float64, normalised unless Euclidean.
        k: from 1 to N − 1.
        euclidean: compare by negative Euclidean distance instead of cosine.

    Returns:
        Indices and similarities (N, k), nearest first.
    """
    indices, similarities = [], []
    for rows in torch.arange(len(x)).split(256):
        similarity = -torch.cdist(x[rows], x) if euclidean else x[rows] @ x.T  # (chunk, N)
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        best = similarity.topk(k, dim=1)
        indices.append(best.indices)
        similarities.append(best.values)
    return torch.cat(indices), torch.cat(similarities)


def shared_neighbors(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) float64, the share of each row's indices (N, k) that the other has too."""
    return (before[:, :, None] == after[:, None, :]).any(dim=2).double().mean(dim=1)
