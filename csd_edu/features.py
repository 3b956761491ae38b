"""What all that compares features has in common: length 1, checks, and who is whose neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

SAME = 1e-9
"""Cosines, in float64, closer than this are equal: float32 features of the same image may differ in the last digit."""

UNLABELLED = -1
"""The label of images whose class nobody has said."""


def numbers_of(name: str, values: Any) -> Tensor:
    """Return a tensor, an array or lists of real numbers as a tensor on the CPU, without gradients.

    Raises:
        ValueError: if it is something else.
    """
    try:
        # Of an array a copy: torch shares no memory with one that is read-only, or runs backwards.
        array = isinstance(values, np.ndarray)
        found = torch.from_numpy(np.array(values)) if array else torch.as_tensor(values, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = torch.empty(0, dtype=torch.complex64, device="cpu")
    if found.is_complex():
        raise ValueError(f"{name} is a {type(values).__name__} that holds no real numbers; expected a tensor of them")
    return found


def at_least_float32(values: Tensor) -> Tensor:
    """Return numbers as float32, those of float64 as they are: half precision has too few digits for a loss."""
    return values if values.dtype == torch.float64 else values.float()


def features_of(name: str, values: Any) -> Tensor:
    """Return features of any real type as float32, or as float64 if they are that, on the CPU, without gradients."""
    return at_least_float32(numbers_of(name, values))


def integers_of(name: str, values: Any, n: int | None = None) -> Tensor:
    """Return n whole numbers, such as labels or ids, of any integer type as (n,) int64 on the CPU.

    Raises:
        ValueError: if they are something else, or not so many.
    """
    numbers = numbers_of(name, values)
    whole = not (numbers.is_floating_point() or numbers.dtype == torch.bool) or numbers.numel() == 0
    if numbers.ndim != 1 or (n is not None and len(numbers) != n) or not whole:
        found = f"{numbers.dtype} of shape {tuple(numbers.shape)}"
        raise ValueError(f"{name} are {found}; expected ({'N' if n is None else n},) integers")
    return numbers.long()


def labels_of(name: str, values: Any) -> Tensor:
    """Return labels, or tasks, of any shape as int64 on the CPU; floats may be whole.

    Raises:
        ValueError: if they are something else.
    """
    found = numbers_of(name, values)
    if found.dtype == torch.bool or (found.is_floating_point() and not bool((found == found.trunc()).all())):
        raise ValueError(f"{name} are {found.dtype}, and not all whole; expected integers (N,)")
    return found.long()


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
    snapshots = [features_of(f"snapshot {t}", x) for t, x in enumerate(snapshots)]
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
    return [x.double() for x in snapshots]


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
    for rows in torch.arange(len(x), device="cpu").split(256):
        similarity = -torch.cdist(x[rows], x) if euclidean else x[rows] @ x.T  # (chunk, N)
        similarity[torch.arange(len(rows), device="cpu"), rows] = -torch.inf
        best = similarity.topk(k, dim=1)
        indices.append(best.indices)
        similarities.append(best.values)
    return torch.cat(indices), torch.cat(similarities)


def shared_neighbors(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) float64, the share of each row's indices (N, k) that the other has too."""
    return (before[:, :, None] == after[:, None, :]).any(dim=2).double().mean(dim=1)
