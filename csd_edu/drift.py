"""How features drift: numbers between two snapshots of the same images, and maps of all snapshots.

A snapshot is an (N, D) tensor: the features of N probe images under the network after one task. A run has them as
`[run.features(t) for t in range(run.tasks_learnt)]`. Features are compared by direction, as the search compares them.
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

from csd_edu.files import is_writable, read_tensors, write_tensors
from csd_edu.losses import normalize
from csd_edu.runs import Run

SAME = 1e-9
"""Cosines, in float64, closer than this are equal: float32 features of the same image may differ in the last digit."""

FORMULAS = {
    "cka": "‖XᵀY‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F), columns centred; 1: same geometry, even if rotated or scaled",
    "mean_displacement": "mean over images of 1 − cos(x, y); 0: no feature has turned",
    "class_mean_displacement": "1 − cos of the class means of the normalised features, before and after",
    "neighbor_overlap": "mean over images of |kNN(x) ∩ kNN(y)| / k, by cosine; 1: same neighbours",
    "trustworthiness": "1 − 2 / (N k (2N − 3k − 1)) · Σ max(0, rank − k), k neighbours on the map, rank among features",
    "neighbors_kept": "mean over images of |kNN(features) ∩ kNN(map)| / k",
}
"""How each number here is computed, for the captions."""

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
    x, y = _checked([x, y], same_size=False)
    return _cka(_centred(x, "x"), _centred(y, "y"))


def cka_matrix(snapshots: Sequence[Tensor]) -> Tensor:
    """Return the linear CKA of each snapshot (N, D_t) with each other: (T, T) float64; raises as `linear_cka` does."""
    centred = [_centred(x, f"snapshot {t}") for t, x in enumerate(_checked(snapshots, same_size=False))]
    return torch.tensor([[_cka(x, y) for y in centred] for x in centred], dtype=torch.float64)


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
    x, y = _checked([x, y])
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
    x, y = (normalize(features) for features in _checked([x, y], labels))
    classes, of_class = labels.unique(return_inverse=True)
    before, after = (
        torch.zeros(len(classes), x.shape[1], dtype=x.dtype).index_add(0, of_class, features) for features in (x, y)
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
    x, y = _checked([x, y], same_size=False)
    if not 1 <= k <= len(x) - 1:
        raise ValueError(f"k is {k} with {len(x)} images; expected 1 to {len(x) - 1}")
    return _kept(_nearest(normalize(x), k)[0], _nearest(normalize(y), k)[0])


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
    checked = _checked(snapshots, labels)
    k = min(k, len(labels) - 1)
    neighbors = [_nearest(normalize(x), k)[0] for x in checked]
    rows: list[dict[str, Any]] = []
    for j, y in enumerate(checked):
        for i, x in enumerate(checked[:j]):
            row: dict[str, Any] = {"before": i, "after": j, "cka": None}
            with contextlib.suppress(ValueError):  # all features the same
                row["cka"] = linear_cka(x, y)
            row["mean_displacement"] = float(_turned(x, y).mean())
            row["neighbor_overlap"] = float(_kept(neighbors[i], neighbors[j]).mean())
            row["k"] = k
            row["class_mean_displacement"] = class_mean_displacement(x, y, labels)
            rows.append(row)
    return rows


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
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))  # (N,)
    turn = torch.zeros(len(labels), dtype=torch.int64)  # (N,): the how-manieth of its class, in that order
    for label in labels.unique():
        own = labels[order] == label
        turn[own] = torch.arange(int(own.sum()))
    return order[turn.argsort(stable=True)[:n]].sort().values


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
    features, points = _checked([features, points], same_size=False)
    n = len(features)
    if not 1 <= k < n / 2:
        raise ValueError(f"k is {k} with {n} images; expected at least 1 and less than N / 2")
    features, neighbors = normalize(features), _nearest(points, k, euclidean=True)[0]
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
    units = torch.stack([normalize(x) for x in _checked(snapshots)])  # (T, N, D)
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
    units = torch.stack([normalize(x) for x in _checked(snapshots)])  # (T, N, D)
    n_snapshots, n = units.shape[:2]
    if n_neighbors < 2 or n_snapshots * n < 3:
        raise ValueError(f"{n_neighbors} n_neighbors of {n_snapshots} × {n} points; expected at least 2 of at least 3")
    k = max(2, min(n_neighbors, n - 1))
    start = time.perf_counter()
    if progress:
        print(f"fitting UMAP on {n_snapshots} × {n} points …", end="", flush=True)
    import umap

    stacked = units.flatten(0, 1)  # (T·N, D)
    others, similarity = _nearest(stacked, k - 1)
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


def cached_map(run: Run, kind: str = "umap", *, per_class: int = 5, seed: int = 0, progress: bool = True) -> Map:
    """Return the map of one run's snapshots, kept in its folder: `cached_maps` of that run alone."""
    return cached_maps([run], kind, per_class=per_class, seed=seed, progress=progress)[0]


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
            quality[1, t] = _kept(_nearest(x, k)[0], _nearest(p, k, euclidean=True)[0]).mean()
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


def _nearest(x: Tensor, k: int, *, euclidean: bool = False) -> tuple[Tensor, Tensor]:
    """Return indices and similarities (N, k), nearest first, of each row's neighbours, itself left out by index.

    The rows (N, D) float64 are normalised, and compared by cosine, or by negative Euclidean distance.
    """
    indices, similarities = [], []
    for rows in torch.arange(len(x)).split(256):
        similarity = -torch.cdist(x[rows], x) if euclidean else x[rows] @ x.T  # (chunk, N)
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        best = similarity.topk(k, dim=1)
        indices.append(best.indices)
        similarities.append(best.values)
    return torch.cat(indices), torch.cat(similarities)


def _kept(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) float64, the share of each row's indices (N, k) that the other has too."""
    return (before[:, :, None] == after[:, None, :]).any(dim=2).double().mean(dim=1)


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


def _checked(snapshots: Sequence[Tensor], labels: Tensor | None = None, *, same_size: bool = True) -> list[Tensor]:
    """Check the shapes and return the snapshots in float64 on the CPU."""
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
