"""Maps by UMAP: who is near whom, snapshot by snapshot or of all snapshots together."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import SAME, checked_snapshots, nearest, normalize
from csd_edu.maps.pca import principal
from csd_edu.maps.quality import Map, plane_of, rated
from csd_edu.optional import imported
from csd_edu.output import say
from csd_edu.runtime import usual_torch

GENTLY = 0.3  # UMAP's learning rate from the second snapshot on: what need not move stays, and maps are no worse


class UmapError(RuntimeError):
    """UMAP can't be computed on this machine; says why. All other maps can."""


@usual_torch()
def umap_chain(
    snapshots: Sequence[Tensor],
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    start: Tensor | None = None,
    progress: bool = True,
) -> Map:
    """Return a map for which each snapshot has a UMAP of its own, so that each shows who is near whom there alone.

    Each UMAP starts from the points of the snapshot before and is then turned onto them, so that what stays together
    stays in its place.

    Args:
        snapshots: T tensors (N, D).
        n_neighbors: how many points, itself included, make up a point's surroundings; reduced to N − 1 if that is less.
        min_dist: how tightly points may lie together on the map.
        seed: the same seed gives the same map on the same machine, not on another.
        start: (N, 2) the first snapshot's points, from the map of another run that begins with the same network.
        progress: print a line while it fits.

    Returns:
        The map; its note says if `n_neighbors` was reduced. Maps with the same first points have the same `plane`.

    Raises:
        ValueError: if shapes differ, there are fewer than 3 images, features are not finite, or n_neighbors is below 2.
        UmapError: if UMAP can't be computed on this machine.

    Source: McInnes et al., "UMAP: Uniform Manifold Approximation and Projection", arXiv 1802.03426; for the turn,
    Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.
    """
    units = torch.stack([normalize(x) for x in checked_snapshots(snapshots)])  # (T, N, D)
    n_snapshots, n = units.shape[:2]
    n_neighbors, seed = arguments.whole("n_neighbors", n_neighbors), arguments.seed("seed", seed)
    min_dist = _closest(min_dist)
    if n_neighbors < 2 or n < 3:
        raise ValueError(f"{n_neighbors} n_neighbors of {n} images; expected at least 2 of at least 3")
    start = None if start is None else torch.as_tensor(start)
    if start is not None and start.shape != (n, 2):
        raise ValueError(f"start has shape {tuple(start.shape)}; expected ({n}, 2), a point for each image")
    k = max(2, min(n_neighbors, n - 1))
    points = [] if start is None else [start.double()]
    with _told(f"{n_snapshots} snapshots of {n} points", progress):
        for x in units[len(points) :]:
            if not points:
                points = [_fitted(x, principal(x[None])[0], k, min_dist, seed)]
            else:
                points.append(turned_onto(_fitted(x, points[-1], k, min_dist, seed, GENTLY), points[-1]))
    note = (
        f"UMAP of {n} points, snapshot by snapshot ({n_snapshots}), each started from the one before and turned onto "
        f"it, {k} neighbours, min_dist {min_dist}, seed {seed}{_reduced(k, n_neighbors, n)}"
    )
    return rated("umap", torch.stack(points), units, note, plane=plane_of(points[0].float()))


@usual_torch()
def umap_map(
    snapshots: Sequence[Tensor], *, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0, progress: bool = True
) -> Map:
    """Return a map by one UMAP of the normalised features of all snapshots together.

    It shows drift as such: what has moved away from all that was there before makes an island of its own. A feature
    that has not changed is T times the same point, so more snapshots leave fewer of the `n_neighbors` for other images:
    keep it well above T.

    Args:
        snapshots: T tensors (N, D).
        n_neighbors: how many points, itself included, make up a point's surroundings; reduced to N − 1 if that is less.
        min_dist: how tightly points may lie together on the map.
        seed: the same seed gives the same map on the same machine, not on another.
        progress: print a line while it fits.

    Returns:
        The map; its note says if `n_neighbors` was reduced.

    Raises:
        ValueError: if shapes differ, there are fewer than 2 images or 3 points, features are not finite, or
            n_neighbors is below 2.
        UmapError: if UMAP can't be computed on this machine.

    Source: McInnes et al., "UMAP: Uniform Manifold Approximation and Projection", arXiv 1802.03426.
    """
    units = torch.stack([normalize(x) for x in checked_snapshots(snapshots)])  # (T, N, D)
    n_snapshots, n = units.shape[:2]
    n_neighbors, seed = arguments.whole("n_neighbors", n_neighbors), arguments.seed("seed", seed)
    min_dist = _closest(min_dist)
    if n_neighbors < 2 or n_snapshots * n < 3:
        raise ValueError(f"{n_neighbors} n_neighbors of {n_snapshots} × {n} points; expected at least 2 of at least 3")
    k = max(2, min(n_neighbors, n - 1))
    with _told(f"{n_snapshots} × {n} points", progress):
        points = _fitted(units.flatten(0, 1), principal(units).flatten(0, 1), k, min_dist, seed)  # (T·N, 2)
    note = f"UMAP of {n_snapshots} × {n} points together, {k} neighbours, min_dist {min_dist}, seed {seed}"
    return rated("umap together", points.view(n_snapshots, n, 2), units, note + _reduced(k, n_neighbors, n))


def turned_onto(points: Tensor, target: Tensor) -> Tensor:
    """Return points turned, mirrored and shifted, not stretched, so that they lie as near as possible to a target.

    Args:
        points: (N, 2) floats.
        target: (N, 2) floats, where each would best lie.

    Returns:
        (N, 2) float64; all distances between points are as before.

    Raises:
        ValueError: if shapes differ or values are not finite.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.
    """
    points, target = checked_snapshots([points, target])
    moved, fixed = points - points.mean(dim=0), target - target.mean(dim=0)
    left, _, right = torch.linalg.svd(moved.T @ fixed)  # (2, 2) each
    turned: Tensor = moved @ (left @ right) + target.mean(dim=0)
    return turned


def _closest(min_dist: float) -> float:
    """Return how tightly points may lie, or raise a ValueError if UMAP knows no such distance."""
    expected = "a number from 0 to 1, the spread of the points"
    min_dist = arguments.number("min_dist", min_dist, expected)
    if not 0 <= min_dist <= 1:
        raise ValueError(f"min_dist is {min_dist}; expected {expected}")
    return min_dist


def _fitted(units: Tensor, start: Tensor, k: int, min_dist: float, seed: int, rate: float = 1.0) -> Tensor:
    """Return where UMAP puts features of length 1 (N, D) that start at points (N, 2), as (N, 2) float64."""
    others, similarity = nearest(units, k - 1)
    distance = torch.where(1 - similarity > SAME, 1 - similarity, 0.0)  # (N, k − 1)
    itself = torch.arange(len(units))[:, None]  # (N, 1); UMAP wants it first, also before its duplicates
    knn = torch.cat([itself, others], dim=1).int(), torch.cat([torch.zeros(len(units), 1), distance], dim=1).float()

    # UMAP's own start fails on duplicates and collapsed features; a given one also keeps the map's large shape.
    start = 10 * start / start.abs().max().clamp(min=SAME)
    start = start + 1e-3 * torch.randn(start.shape, generator=torch.Generator().manual_seed(seed))
    settings = {
        "n_neighbors": k,
        "min_dist": min_dist,
        "metric": "cosine",
        "n_epochs": 200,  # umap's 500 for few points are no more trustworthy, and push what is apart even further
        "disconnection_distance": torch.inf,  # opposite features, distance 2, may be neighbours too
        "precomputed_knn": tuple(part.numpy() for part in knn),
        "init": start.float().numpy(),
        "learning_rate": rate,
        "random_state": seed,
        "n_jobs": 1,
    }
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # it misses TensorFlow, and a part of precomputed_knn: neither is needed
            points = _umap().UMAP(**settings).fit_transform(units.float().numpy())
    except Exception as error:  # all was checked before: what fails here is the machine, or what is installed on it
        why = " ".join(str(error).split()) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise UmapError(f"UMAP can't be computed here: {why}. A PCA map needs nothing of it") from error
    finally:
        torch.set_num_threads(threads)  # numba's threads are torch's, and it takes all; more threads round otherwise
    return torch.as_tensor(points, dtype=torch.float64)


def _umap() -> Any:
    """Return the module, compiled for this process alone where it can't be kept for the next one."""
    get = "pip install --upgrade umap-learn numba"
    try:
        return imported("umap", "the map", get)
    except ImportError as error:
        if "no locator available" not in str(error):  # numba finds no folder for what it compiles
            raise
        numba = imported("numba", "the map", get)

        numba.config.CACHE_DIR = _folder_to_compile_in().name
        return imported("umap", "the map", get)


@cache
def _folder_to_compile_in() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="csd_edu-numba-", ignore_cleanup_errors=True)


def _reduced(k: int, n_neighbors: int, n: int) -> str:
    return f" (neighbours reduced from {n_neighbors}: there are only {n} images)" if k < n_neighbors else ""


@contextmanager
def _told(what: str, progress: bool) -> Iterator[None]:
    """Print what is fitted while it is, and how long it took."""
    start = time.perf_counter()
    if progress:
        if "umap" not in sys.modules:
            say("UMAP is compiled first: that happens once in a process, and takes longer than the maps.")
        say(f"fitting UMAP on {what} …", end="")
    try:
        yield
    finally:
        if progress:
            say(f" {time.perf_counter() - start:.1f} s")
