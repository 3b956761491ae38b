"""Maps of runs, kept in their folders."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.drift import balanced_sample
from csd_edu.files import is_writable, read_tensors, write_tensors
from csd_edu.maps.pca import pca_map
from csd_edu.maps.quality import Map
from csd_edu.maps.umaps import umap_chain, umap_map
from csd_edu.runs import Run, check_runs
from csd_edu.runtime import usual_torch

KINDS = ("pca", "umap", "umap together")
"""Of maps that runs keep; a plane is made in no time."""
CLOUD = 40  # images of a class to follow


@usual_torch()
def cached_maps(
    runs: Sequence[Run],
    kind: str = "umap",
    *,
    per_class: int = 5,
    classes: Sequence[int] = (),
    seed: int = 0,
    progress: bool = True,
) -> list[Map]:
    """Return the maps of runs on a class-balanced sample of their test images, kept in the runs' folders.

    Runs that start from the same network, with exactly the same features after task 0, share one feature space there:
    by PCA and "umap together" they are fitted together, that first snapshot once; by "umap" each snapshot has a map of
    its own, and that of the first is the same for all. Their maps have the same `plane` and can be laid side by side;
    a run that starts from another network gets a plane of its own, and the notes say which is which.

    Args:
        runs: each with at least one task learnt, also of different numbers; of the same test images in the same order.
        kind: "umap" (snapshot by snapshot), "umap together" or "pca".
        per_class: images of each class, or all it has; of the classes of all tasks, also of those to come.
        classes: labels of a few classes to follow: of these up to 40 images each, so that one sees them as clouds.
        seed: of the sample and of the map.
        progress: print a line while UMAP fits.

    Returns:
        A map for each run, read from its folder, or for maps fitted together that of the first run of the plane, if
        parameters and features are still the same; the `indices` are among `run.test()`. If the folder can't be written
        they are computed each time. UMAP's n_neighbors is 15, or fitted together twice the number of snapshots on the
        plane if that is more.

    Raises:
        ValueError: if there is no run, the kind is unknown, no task is learnt, runs have other test images, features
            are not finite, or as `umap_map` does.
        UmapError: if UMAP can't be computed on this machine, and no map is kept.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected {', '.join(map(repr, KINDS))}")
    check_runs(runs)
    if not runs:
        raise ValueError("there is no run to draw a map of; expected at least one")
    for run in runs:
        if run.tasks_learnt == 0:
            raise ValueError(f"the run in {run.path} has no features yet: its first task is not finished")
    per_class, seed = arguments.whole("per_class", per_class), arguments.seed("seed", seed)
    classes = arguments.whole_numbers("classes", classes, least=0)
    labels = _common_labels(runs)
    indices = _sample(labels, per_class, classes, seed)  # (N,)
    starts = [run.features(0) for run in runs]
    first = [next((j for j in range(k) if torch.equal(starts[j], starts[k])), k) for k in range(len(runs))]
    methods = [run.method for run in runs]
    names = [f"{run.method} in {run.path.name}" * (methods.count(run.method) > 1) or run.method for run in runs]
    sample = f"{per_class}-per-class" + (f"-and-of-{'-'.join(map(str, sorted(classes)))}" if classes else "")
    maps: dict[int, Map] = {}
    for leader in dict.fromkeys(first):
        members = [k for k in range(len(runs)) if first[k] == leader]
        own = [runs[k] for k in members]
        if kind == "umap":
            made = _one_by_one(own, indices, sample, seed, progress)
        else:
            made = _together(own, kind, indices, sample, seed, progress)
        note, others = "", ", ".join(name for name, j in zip(names, first, strict=True) if j != leader)
        if len(members) > 1:
            what = "one first map" if kind == "umap" else "one map"
            note = f"{what} for {', '.join(names[k] for k in members)}: they start from the same network; "
        note = f"{len(indices)} of {len(labels)} test images; {note}"
        end = f" Not comparable with the map of {others}: that starts from another network." if others else ""
        for k, part in zip(members, made, strict=True):
            maps[k] = replace(part, note=f"{note}{part.note}{end}")
    return [maps[k] for k in range(len(runs))]


def _sample(labels: Tensor, per_class: int, classes: Sequence[int], seed: int) -> Tensor:
    """Return the indices (N,) of so many images of each class, and of more of a few classes, ascending."""
    everywhere = balanced_sample(labels, int(labels.bincount().clamp(max=per_class).sum()), seed)
    of_few = torch.isin(labels, torch.tensor(list(classes), dtype=torch.int64)).nonzero()[:, 0]
    if len(of_few) == 0:
        return everywhere
    more = of_few[balanced_sample(labels[of_few], CLOUD * len(classes), seed)]
    every: Tensor = torch.cat([everywhere, more]).unique()
    return every


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


def _one_by_one(runs: Sequence[Run], indices: Tensor, sample: str, seed: int, progress: bool) -> list[Map]:
    """Return the maps, snapshot by snapshot, of runs that have the first snapshot in common, and so its map."""
    made: list[Map] = []
    of_runs = [_snapshots(run, indices) for run in runs]  # all are looked at before the first map is fitted
    for run, snapshots in zip(runs, of_runs, strict=True):
        start = made[0].points[0] if made else None
        path = run.path / f"map-umap-{sample}-seed{seed}.safetensors"
        wanted = _parameters("umap", indices, sample, seed, snapshots)
        own = _read(path, wanted)
        if own is None or (start is not None and not torch.equal(own.points[0], start)):
            own = umap_chain(snapshots, seed=seed, start=start, progress=progress)
            own = _keep(path, wanted, replace(own, indices=indices))
        made.append(own)
    return made


def _together(runs: Sequence[Run], kind: str, indices: Tensor, sample: str, seed: int, progress: bool) -> list[Map]:
    """Return the maps, fitted together, of runs that have the first snapshot in common."""
    of_runs = [_snapshots(run, indices) for run in runs]
    owners = [(0, 0)] + [(k, t) for k, own in enumerate(of_runs) for t in range(1, len(own))]
    snapshots = [of_runs[k][t] for k, t in owners]  # each (N, D)
    folders = "/".join(run.path.resolve().name for run in runs)
    several = f"-of-{len(runs)}-runs-{zlib.crc32(os.fsencode(folders)):08x}" if len(runs) > 1 else ""
    path = runs[0].path / f"map-{kind.replace(' ', '-')}-{sample}-seed{seed}{several}.safetensors"
    wanted = _parameters(kind, indices, sample, seed, snapshots)
    made = _read(path, wanted)
    if made is None:
        wide = max(15, 2 * len(snapshots))  # a feature that stays is a neighbour of itself in all other snapshots
        made = (
            pca_map(snapshots) if kind == "pca" else umap_map(snapshots, n_neighbors=wide, seed=seed, progress=progress)
        )
        made = _keep(path, wanted, replace(made, indices=indices))
    parts = []
    for k in range(len(runs)):
        rows = [row for row, (owner, t) in enumerate(owners) if t == 0 or owner == k]  # all share the first snapshot
        values = {name: getattr(made, name)[rows] for name in ("points", "trustworthiness", "neighbors_kept")}
        parts.append(replace(made, **values))
    return parts


def _snapshots(run: Run, indices: Tensor) -> list[Tensor]:
    """Return the features (N, D) of some test images after each task, or raise if they are not finite."""
    snapshots = [run.features(t)[indices] for t in range(run.tasks_learnt)]
    for t, features in enumerate(snapshots):
        if not torch.isfinite(features).all():
            raise ValueError(f"{run.path} holds NaN or infinite features after task {t}: the training has diverged")
    return snapshots


def _parameters(kind: str, indices: Tensor, sample: str, seed: int, snapshots: Sequence[Tensor]) -> dict[str, Any]:
    """Return all on which a map depends, to be compared with what a file was made of."""
    return {
        "version": 3,
        "kind": kind,
        "sample": sample,
        "seed": seed,
        "indices": zlib.crc32(indices.numpy().data),
        "features": [zlib.crc32(features.numpy().data) for features in snapshots],
    }


def _read(path: Path, wanted: dict[str, Any]) -> Map | None:
    """Return the map in a file if it is whole and made of what is wanted."""
    with contextlib.suppress(OSError, ValueError):  # none yet, damaged, or not to be read: make it again
        tensors, about = read_tensors(path)
        if about.get("parameters") == wanted:
            return Map(kind=wanted["kind"], note=about["note"], plane=about["plane"], **tensors)
    return None


def _keep(path: Path, wanted: dict[str, Any], made: Map) -> Map:
    """Write a map into a run's folder if that can be, and return it."""
    if is_writable(path.parent):
        kept = {name: getattr(made, name) for name in ("points", "trustworthiness", "neighbors_kept", "indices")}
        with contextlib.suppress(OSError):  # a full disk: the map is here all the same
            write_tensors(path, kept, {"parameters": wanted, "note": made.note, "plane": made.plane})
    return made
