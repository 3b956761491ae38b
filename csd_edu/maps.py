"""Where features lie in the plane: maps of all snapshots together, by PCA and UMAP, and how far they can be trusted.

A snapshot is an (N, D) tensor: the features of N probe images under the network after one task. A run has them as
`[run.features(t) for t in range(run.tasks_learnt)]`. Maps of runs are kept in their folders.
"""

from __future__ import annotations

import contextlib
import time
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from csd_edu.drift import balanced_sample
from csd_edu.features import SAME, checked_snapshots, nearest, normalize, shared_neighbors
from csd_edu.files import is_writable, read_tensors, write_tensors
from csd_edu.runs import Run

FORMULAS = {
    "trustworthiness": "1 − 2 / (N k (2N − 3k − 1)) · Σ max(0, rank − k), k neighbours on the map, rank among features",
    "neighbors_kept": "mean over images of |kNN(features) ∩ kNN(map)| / k",
}
"""How the quality of a map is computed, for the captions."""

LIMITS = {
    "pca": "A PCA map shows the two widest directions only: what lies apart may look together.",
    "umap": "A UMAP map shows who is near whom: distances between groups and the size of a group mean little.",
}
"""What a map of each kind cannot show, in one line."""


@dataclass(frozen=True, eq=False)
class Map:
    """All snapshots on one plane: a point that has moved from one snapshot to the next is a feature that has moved.

    Attributes:
        points: (T, N, 2) float32.
        kind: "pca" or "umap".
        trustworthiness: (T,) for each snapshot, how far neighbours on the map are neighbours in feature space too.
        neighbors_kept: (T,) for each snapshot, the share of neighbours in feature space that are so on the map.
        note: number of images, settings, what was reduced, and what such a map cannot show.
        indices: (N,) int64, which of the images these are.
        plane: equal for maps that were fitted together, and only for those can positions be compared.
    """

    points: Tensor
    kind: str
    trustworthiness: Tensor
    neighbors_kept: Tensor
    note: str
    indices: Tensor
    plane: str


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
    n = len(features)
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
    return _map("pca", _principal(units), units, f"PCA of {len(units)} × {units.shape[1]} points together")


def umap_map(
    snapshots: Sequence[Tensor], *, n_neighbors: int = 15, min_dist: float = 0.1, seed: int = 0, progress: bool = True
) -> Map:
    """Return a map by one UMAP of the normalised features of all snapshots together.

    A feature that has not changed is T times the same point, so more snapshots leave fewer of the `n_neighbors` for
    other images: keep it well above T.

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

    Source: McInnes et al., "UMAP: Uniform Manifold Approximation and Projection", arXiv 1802.03426.
    """
    units = torch.stack([normalize(x) for x in checked_snapshots(snapshots)])  # (T, N, D)
    n_snapshots, n = units.shape[:2]
    if n_neighbors < 2 or n_snapshots * n < 3:
        raise ValueError(f"{n_neighbors} n_neighbors of {n_snapshots} × {n} points; expected at least 2 of at least 3")
    k = max(2, min(n_neighbors, n - 1))
    start = time.perf_counter()
    if progress:
        print(f"fitting UMAP on {n_snapshots} × {n} points …", end="", flush=True)
    import umap

    stacked = units.flatten(0, 1)  # (T·N, D)
    others, similarity = nearest(stacked, k - 1)
    distance = torch.where(1 - similarity > SAME, 1 - similarity, 0.0)  # (T·N, k − 1)
    itself = torch.arange(len(stacked))[:, None]  # (T·N, 1); UMAP wants it first, also before its duplicates
    knn = torch.cat([itself, others], dim=1).int(), torch.cat([torch.zeros(len(stacked), 1), distance], dim=1).float()

    # UMAP's own start fails on duplicates and collapsed features; this one also keeps the map's large shape.
    first = _principal(units).flatten(0, 1)  # (T·N, 2)
    first = 10 * first / first.abs().max().clamp(min=SAME)
    first = first + 1e-3 * torch.randn(first.shape, generator=torch.Generator().manual_seed(seed))
    fit = umap.UMAP(
        n_neighbors=k,
        min_dist=min_dist,
        metric="cosine",
        n_epochs=200,  # umap's 500 for few points are no more trustworthy, and push what is apart even further
        disconnection_distance=torch.inf,  # opposite features, distance 2, may be neighbours too
        precomputed_knn=tuple(part.numpy() for part in knn),
        init=first.float().numpy(),
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")  # only needed to place new points
        points = torch.from_numpy(fit.fit_transform(stacked.float().numpy())).view(n_snapshots, n, 2)
    if progress:
        print(f" {time.perf_counter() - start:.1f} s")
    note = f"UMAP of {n_snapshots} × {n} points together, {k} neighbours, min_dist {min_dist}, seed {seed}"
    if k < n_neighbors:
        note += f" (neighbours reduced from {n_neighbors}: there are only {n} images)"
    return _map("umap", points, units, note)


def cached_maps(
    runs: Sequence[Run], kind: str = "umap", *, per_class: int = 5, seed: int = 0, progress: bool = True
) -> list[Map]:
    """Return the maps of runs on a class-balanced sample of their test images, kept in the runs' folders.

    Runs that start from the same network, with exactly the same features after task 0, share one feature space there
    and are fitted together, that first snapshot once. Their maps have the same `plane` and can be laid side by side;
    a run that starts from another network gets a plane of its own, and the notes say which is which.

    Args:
        runs: each with at least one task learnt, also of different numbers; of the same test images in the same order.
        kind: "umap" or "pca".
        per_class: images of each class, or all it has; of the classes of all tasks, also of those to come.
        seed: of the sample and of the map.
        progress: print a line while UMAP fits.

    Returns:
        A map for each run, read from the folder of the first run of its plane if parameters and features are still the
        same; the `indices` are among `run.test()`. If the folder can't be written they are computed each time. UMAP's
        n_neighbors is 15, or twice the number of snapshots on the plane if that is more.

    Raises:
        ValueError: if there is no run, the kind is unknown, no task is learnt, runs have other test images, features
            are not finite, or as `umap_map` does.
    """
    if kind not in LIMITS:
        raise ValueError(f"kind is {kind!r}; expected {' or '.join(map(repr, LIMITS))}")
    if not runs:
        raise ValueError("there is no run to draw a map of; expected at least one")
    for run in runs:
        if run.tasks_learnt == 0:
            raise ValueError(f"the run in {run.path} has no features yet: its first task is not finished")
    labels = _common_labels(runs)
    indices = balanced_sample(labels, int(labels.bincount().clamp(max=per_class).sum()), seed)  # (N,)
    starts = [run.features(0) for run in runs]
    first = [next((j for j in range(k) if torch.equal(starts[j], starts[k])), k) for k in range(len(runs))]
    methods = [run.method for run in runs]
    names = [f"{run.method} in {run.path.name}" * (methods.count(run.method) > 1) or run.method for run in runs]
    maps: dict[int, Map] = {}
    for leader in dict.fromkeys(first):
        members = [k for k in range(len(runs)) if first[k] == leader]
        made = _cached_plane([runs[k] for k in members], kind, indices, per_class, seed, progress)
        note, others = "", ", ".join(name for name, j in zip(names, first, strict=True) if j != leader)
        if len(members) > 1:
            note = f"one map for {', '.join(names[k] for k in members)}: they start from the same network; "
        note = f"{len(indices)} of {len(labels)} test images; {note}{made[0].note}"
        if others:
            note += f" Not comparable with the map of {others}: that starts from another network."
        maps.update({k: replace(part, note=note) for k, part in zip(members, made, strict=True)})
    return [maps[k] for k in range(len(runs))]


def _common_labels(runs: Sequence[Run]) -> Tensor:
    """Return the labels (N,) of the runs' test images, or raise if these are not the same in the same order."""

    def images(run: Run) -> dict[str, Any]:
        return {"data": run.description["stream"].get("fingerprint"), "classes in their tasks": run.tasks}

    first, test = runs[0], runs[0].test()
    for run in runs[1:]:
        other = run.test()
        different = [what for what, value in images(run).items() if value != images(first)[what]]
        different += [what for what in ("labels", "tasks") if not torch.equal(other[what], test[what])]
        if different:
            raise ValueError(
                f"{run.path} and {first.path} have different {', '.join(different)}; expected the same test images in "
                "the same order. Train both on one stream, or make a map of each by itself"
            )
    return test["labels"]


def _cached_plane(
    runs: Sequence[Run], kind: str, indices: Tensor, per_class: int, seed: int, progress: bool
) -> list[Map]:
    """Return the maps, fitted together, of runs that have the first snapshot in common."""
    owners = [(0, 0)] + [(k, t) for k, run in enumerate(runs) for t in range(1, run.tasks_learnt)]
    snapshots = [runs[k].features(t)[indices] for k, t in owners]  # each (N, D)
    for (k, t), features in zip(owners, snapshots, strict=True):
        if not torch.isfinite(features).all():
            raise ValueError(f"{runs[k].path} holds NaN or infinite features after task {t}: the training has diverged")
    wanted = {
        "version": 2,
        "kind": kind,
        "per_class": per_class,
        "seed": seed,
        "indices": zlib.crc32(indices.numpy().data),
        "features": [zlib.crc32(features.numpy().data) for features in snapshots],
    }
    folders = "/".join(run.path.resolve().name for run in runs)
    several = f"-of-{len(runs)}-runs-{zlib.crc32(folders.encode()):08x}" if len(runs) > 1 else ""
    path = runs[0].path / f"map-{kind}-{per_class}-per-class-seed{seed}{several}.safetensors"
    made = None
    with contextlib.suppress(FileNotFoundError, ValueError):  # none yet, or damaged: make it again
        tensors, about = read_tensors(path)
        if about["parameters"] == wanted:
            made = Map(kind=kind, note=about["note"], plane=_plane(tensors["points"]), **tensors)
    if made is None:
        wide = max(15, 2 * len(snapshots))  # a feature that stays is a neighbour of itself in all other snapshots
        made = (
            pca_map(snapshots) if kind == "pca" else umap_map(snapshots, n_neighbors=wide, seed=seed, progress=progress)
        )
        made = replace(made, indices=indices)
        if is_writable(runs[0].path):
            kept = {name: getattr(made, name) for name in ("points", "trustworthiness", "neighbors_kept", "indices")}
            with contextlib.suppress(OSError):  # a full disk: the map is here all the same
                write_tensors(path, kept, {"parameters": wanted, "note": made.note})
    parts = []
    for k in range(len(runs)):
        own = [row for row, (owner, t) in enumerate(owners) if t == 0 or owner == k]  # all share the first snapshot
        values = {name: getattr(made, name)[own] for name in ("points", "trustworthiness", "neighbors_kept")}
        parts.append(replace(made, **values))
    return parts


def _plane(points: Tensor) -> str:
    """Return a name for the plane on which all these points (T, N, 2) lie."""
    return f"{zlib.crc32(points.contiguous().numpy().data):08x}"


def _map(kind: str, points: Tensor, units: Tensor, note: str) -> Map:
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
    return Map(points, kind, quality[0], quality[1], note, torch.arange(n), _plane(points))


def _principal(units: Tensor) -> Tensor:
    """Return the two principal components (T, N, 2) of snapshots (T, N, D) float64 taken together."""
    centred = units - units.mean(dim=(0, 1))  # (T, N, D)
    flat = centred.flatten(0, 1)  # (T·N, D)
    axes = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1)[:, :2]  # (D, 2), the widest first
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))  # (1, 2)
    points = centred @ (axes * largest.sign())  # (T, N, 2)
    return torch.nn.functional.pad(points, (0, 2 - points.shape[2]))  # of one-dimensional features, a line
