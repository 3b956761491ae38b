"""Search: a gallery of features, in which the items most similar to a query are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from csd_edu import arguments
from csd_edu.features import features_of, integers_of, labels_of, normalize
from csd_edu.files import read_tensors, write_tensors
from csd_edu.metrics import TIE, checked_queries, searches
from csd_edu.optional import imported
from csd_edu.paths import given_path
from csd_edu.runtime import usual_torch

SMALL = 1600  # up to here "ivf" and "hnsw" search exactly: faiss wants 39 items in each of √N lists
CHUNK = 256  # queries searched at once
BLOCK = 2**22  # products in float64 at once: 32 MB
DIGITS = 1e9  # similarities over tasks are the same if they agree to nine decimals


class Gallery:
    """Items known by their features, searched by cosine similarity.

    Similarities are computed in float64 and rounded to float32; items of equal similarity come in the order of
    their ids. So "torch" and "flat" (faiss), both exact, agree to the last bit. "ivf" and "hnsw" (faiss) look at a
    part of the gallery: fast among millions, but they miss some items, and may find fewer than k. They are built in
    the first search after a change, and search exactly among fewer than 1,600 items. On macOS faiss and torch in
    one process can crash; "torch" never imports faiss.

    Args:
        dim: D, the length of a feature.
        index: "torch", "flat", "ivf" or "hnsw".
        nprobe: how many of its √N lists "ivf" looks into; more is slower and misses less.
        ef_search: how many candidates "hnsw" keeps on its way; more is slower and misses less.

    Attributes:
        features: (N, D) float32, normalised, in the order of the ids.
        ids: (N,) int64, ascending.

    Raises:
        ValueError: if there is no such index, or a number is below 1.
        ImportError: if the index needs faiss, and it is not installed.
    """

    def __init__(self, dim: int, *, index: str = "torch", nprobe: int = 16, ef_search: int = 64) -> None:
        if index not in ("torch", "flat", "ivf", "hnsw"):
            raise ValueError(f"index is {index!r}; expected 'torch', 'flat', 'ivf' or 'hnsw'")
        dim, nprobe, ef_search = (
            arguments.whole(name, value, least=1)
            for name, value in (("dim", dim), ("nprobe", nprobe), ("ef_search", ef_search))
        )
        if index != "torch":
            _import_faiss()
        self.dim, self.index, self.nprobe, self.ef_search = dim, index, nprobe, ef_search
        self.features = torch.empty(0, dim, dtype=torch.float32, device="cpu")
        self.ids = torch.empty(0, dtype=torch.int64, device="cpu")
        self._built: Any = None  # faiss's index of the features as they are now

    @usual_torch()
    def add(self, features: Tensor, ids: Tensor | Sequence[int] | None = None) -> None:
        """Add items.

        Args:
            features: (N, D) of any real type, on any device.
            ids: (N,) integers from 0, none of them in the gallery yet; None counts on from the largest id.

        Raises:
            ValueError: if shapes don't fit, features are not finite, or ids are negative or not unique.
        """
        features = self._checked("features", features)  # (N, D)
        if ids is None:
            first = int(self.ids[-1]) + 1 if len(self) else 0
            ids = torch.arange(first, first + len(features))
        ids, order = torch.cat([self.ids, integers_of("ids", ids, len(features))]).sort()  # (all,)
        if len(ids) and ids[0] < 0:
            raise ValueError(f"id {int(ids[0])} is negative; expected ids of at least 0")
        twice = ids[1:][ids[1:] == ids[:-1]]
        if len(twice):
            raise ValueError(
                f"id {int(twice[0])} is there twice; expected new ids (remove an item before replacing it)"
            )
        self.features, self.ids, self._built = torch.cat([self.features, features])[order], ids, None

    def remove(self, ids: Tensor | Sequence[int]) -> None:
        """Remove the items of these ids.

        Raises:
            ValueError: if an id is not in the gallery; nothing is removed then.
        """
        ids = integers_of("ids", ids)
        unknown = ids[~torch.isin(ids, self.ids)]
        if len(unknown):
            raise ValueError(f"id {int(unknown[0])} is not in the gallery; expected ids of its items")
        kept = ~torch.isin(self.ids, ids)  # (N,)
        self.features, self.ids, self._built = self.features[kept], self.ids[kept], None

    @usual_torch()
    def search(
        self, queries: Tensor, k: int, *, exclude_ids: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the k most similar items of each query, the most similar first.

        Args:
            queries: (Q, D) of any real type, on any device.
            k: how many.
            exclude_ids: (Q,) the item that each query must not find (itself); −1 for none.

        Returns:
            Similarities (Q, k) float32 and ids (Q, k) int64; −inf and −1 where there are no more items.

        Raises:
            ValueError: if the gallery is empty, shapes don't fit, queries are not finite, or k is below 1.
        """
        queries = self._checked("queries", queries)  # (Q, D)
        k = arguments.whole("k", k, least=1)
        if len(self) == 0:
            raise ValueError("the gallery is empty; add items before searching")
        excluded = integers_of("exclude_ids", [-1] * len(queries) if exclude_ids is None else exclude_ids, len(queries))
        similarities, ids = torch.full((len(queries), k), -torch.inf), torch.full((len(queries), k), -1)
        for start in range(0, len(queries), CHUNK):
            rows = slice(start, start + CHUNK)
            best, found = self._best(queries[rows], k, excluded[rows])
            similarities[rows, : best.shape[1]], ids[rows, : best.shape[1]] = best, found
        return similarities, ids

    def save(self, path: str | Path) -> None:
        """Save the gallery as one safetensors file; its index is built anew after loading."""
        about = {"gallery": {"dim": self.dim, "index": self.index, "nprobe": self.nprobe, "ef_search": self.ef_search}}
        write_tensors(given_path(path), {"features": self.features, "ids": self.ids}, about)

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Return the gallery that `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, or holds something else.
            ImportError: if the index needs faiss, and it is not installed.
        """
        tensors, about = read_tensors(given_path(path))
        if "gallery" not in about:
            raise ValueError(f"{path} holds no gallery; expected a file that Gallery.save wrote")
        gallery = cls(**about["gallery"])
        gallery.features, gallery.ids = tensors["features"], tensors["ids"]
        return gallery

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Gallery of {len(self):,} items, {self.dim} dimensions, index {self.index!r}"

    def _checked(self, name: str, features: Tensor) -> Tensor:
        """Return features (N, D) normalised, in float32 on the CPU."""
        features = features_of(name, features)
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"{name} have shape {tuple(features.shape)}; this gallery expects (N, {self.dim})")
        features = features.float().contiguous()
        if not torch.isfinite(features).all():
            raise ValueError(f"{name} hold NaN or infinite values; the network that made them has diverged")
        return normalize(features)

    def _best(self, queries: Tensor, k: int, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Return similarities and ids (Q, at most k) of the best candidates."""
        n = min(k + 16, len(self))
        items = self._candidates(queries, n)  # (Q, n) positions, −1 where nothing was found
        similarities = self._similarities(queries, items)  # (Q, n)
        if self._is_exact and n < len(self):
            # The index ranks by float32 dot products, each of them off by at most D · 2⁻²⁴ (and a little for rounding):
            # one that is no candidate may equal or beat the best, unless they are well above the last candidate.
            last_needed = similarities.topk(k + 1, dim=1).values[:, -1]  # (Q,) one more, as one may be excluded
            ties = last_needed <= similarities.amin(dim=1) + (self.dim + 4) * 2**-23  # (Q,)
            if ties.any():
                every = (queries[ties].double() @ self.features.double().T).float()  # (ties, N)
                items[ties] = every.sort(dim=1, descending=True, stable=True).indices[:, :n]
                similarities[ties] = self._similarities(queries[ties], items[ties])
        items, order = items.sort(dim=1)  # positions are in the order of the ids
        similarities, ids = similarities.gather(1, order), self.ids[items]  # (Q, n)
        similarities = similarities.masked_fill((items < 0) | (ids == excluded[:, None]), -torch.inf)
        similarities, order = similarities.sort(dim=1, descending=True, stable=True)
        similarities, ids = similarities[:, :k], ids.gather(1, order)[:, :k]  # (Q, k)
        return similarities, torch.where(similarities > -torch.inf, ids, -1)

    def _candidates(self, queries: Tensor, n: int) -> Tensor:
        """Return the positions (Q, n) of the most similar items as the index ranks them, in any order."""
        if self.index == "torch":
            with torch.autocast("cpu", enabled=False):
                return (queries @ self.features.T).topk(n, dim=1, sorted=False).indices
        self._built = self._built or self._build()
        return torch.from_numpy(self._built.search(queries.numpy(), n)[1])

    def _similarities(self, queries: Tensor, items: Tensor) -> Tensor:
        """Return the similarities (Q, n) float32 of each query and its own candidates, each pair for itself."""
        step = max(1, BLOCK // (items.shape[1] * self.dim))
        blocks = zip(queries.double().split(step), items.split(step), strict=True)
        return torch.cat([(q[:, None] * self.features[i].double()).sum(dim=2).float() for q, i in blocks])

    @property
    def _is_exact(self) -> bool:
        return self.index in ("torch", "flat") or len(self) < SMALL

    def _build(self) -> Any:
        """Return faiss's index of the features."""
        faiss, features = _import_faiss(), self.features.numpy()
        if self._is_exact:
            index = faiss.IndexFlatIP(self.dim)
        elif self.index == "ivf":
            index = faiss.index_factory(self.dim, f"IVF{int(len(self) ** 0.5)},Flat", faiss.METRIC_INNER_PRODUCT)
            index.nprobe = self.nprobe
            index.train(features)
        else:
            index = faiss.IndexHNSWFlat(self.dim, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = self.ef_search
        index.add(features)
        return index


class Neighbors(NamedTuple):
    """What queries find after each task.

    Attributes:
        ids: (T, Q, k) int64, indices of the images found, the most similar first; −1 where there are fewer than k.
        similarities: (T, Q, k) float32, their cosine similarities; −inf where there are fewer than k.
    """

    ids: Tensor
    similarities: Tensor


@usual_torch()
def neighbors_over_tasks(
    snapshots: Sequence[Tensor],
    tasks: Tensor,
    *,
    k: int,
    protocol: str = "seen",
    queries: Tensor | None = None,
    labels: Tensor | None = None,
) -> Neighbors:
    """Return the images most similar to each query after each task, under a protocol; the query itself is left out.

    Images that are equally similar come in their order. With labels, ties never help: those of other classes within
    `metrics.TIE` of a right one come before it. Then the first right neighbour stands where `metrics.query_ranks`
    says; but ranks are computed in float32, and these similarities in float64, so that a difference of nearly TIE
    itself may be a tie for one of them only.

    Args:
        snapshots: T times (N, D), the features of all test images under the network after each task.
        tasks: (N,) the task of each image.
        k: how many neighbours.
        protocol: a name in `metrics.PROTOCOLS`.
        queries: (Q,) integers, the images that ask; None for all.
        labels: (N,) integers, only used to break ties.

    Returns:
        Indices and similarities (T, Q, k). Where the protocol has no value ("seen" and "stale": after tasks before the
        query's own) nothing is found.

    Raises:
        ValueError: if the protocol is unknown, there are no snapshots, shapes don't fit, features are not finite, a
            query is none of the images or k is below 1.
    """
    k, tasks = arguments.whole("k", k, least=1), labels_of("tasks", tasks)
    snapshots = [features_of(f"snapshot {t}", x) for t, x in enumerate(snapshots)]
    labels = None if labels is None else labels_of("labels", labels)
    if labels is not None and labels.shape != tasks.shape:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, tasks {tuple(tasks.shape)}; expected (N,) for both")
    queries = checked_queries(queries, len(tasks))
    shape = (len(snapshots), len(queries), k)
    found = Neighbors(torch.full(shape, -1), torch.full(shape, -torch.inf))
    for task, gallery, images in searches(snapshots, tasks, protocol):
        items = _unit(gallery[images])  # (n, D)
        asking = torch.isin(queries, images).nonzero()[:, 0]
        for rows in asking.split(CHUNK):
            similarity = _unit(snapshots[task][queries[rows]]) @ items.T  # (c, n)
            similarity[queries[rows, None] == images] = -torch.inf
            lowered = (
                similarity if labels is None else similarity - TIE * (labels[queries[rows], None] == labels[images])
            )
            # One number to sort by: first the similarity, then the order of the images.
            order = (lowered * DIGITS).round() * len(images) - torch.arange(len(images))  # (c, n)
            best = order.topk(min(k, len(images)), dim=1).indices  # (c, at most k)
            nearest = similarity.gather(1, best)  # (c, at most k)
            found.ids[task, rows, : best.shape[1]] = torch.where(nearest > -torch.inf, images[best], -1)
            found.similarities[task, rows, : best.shape[1]] = nearest.float()
    return found


def _unit(features: Tensor) -> Tensor:
    """Return features (N, D) normalised in float32, as everywhere, for products in float64."""
    return normalize(features.detach().float()).double()


def _import_faiss() -> Any:
    """Return the module; only here is it imported."""
    without = "pip install faiss-cpu, or use index='torch', which searches exactly without it"
    return imported("faiss", "this index", without)
