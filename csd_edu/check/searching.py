"""Exercises on visual search: find the most similar items, and measure how often one of them is right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.running import Case, Exercise, Mistake
from csd_edu.retrieval import Gallery


def search(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (Q, G) cosines
    return similarity.topk(k, dim=1).indices  # (Q, k), the most similar first


def recall_at_k(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, k: int, exclude_self: bool = False
) -> float:
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (Q, G) cosines
    right = query_labels[:, None] == gallery_labels[None, :]  # (Q, G)
    if exclude_self:  # query i is item i of the gallery: neither right nor wrong
        similarity.fill_diagonal_(-torch.inf)
        right.fill_diagonal_(False)
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)  # (Q, 1) the nearest right item
    before = (~right & (similarity >= best - 1e-6)).sum(dim=1)  # (Q,) wrong items before it; a tie is one of them
    hit = before < k  # (Q,)
    return hit[right.any(dim=1)].float().mean().item()  # without queries that have nothing to find


Compare = Callable[[Tensor, Tensor], Tensor]


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=1) @ F.normalize(y, dim=1).T


def dot(x: Tensor, y: Tensor) -> Tensor:
    return x @ y.T


def minus_distance(x: Tensor, y: Tensor) -> Tensor:
    return -torch.cdist(x, y)


def wrong_axis(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=0) @ F.normalize(y, dim=0).T


def farness(x: Tensor, y: Tensor) -> Tensor:
    return -cosine(x, y)


def _wrong_search(
    queries: Tensor, gallery: Tensor, k: int, *, compare: Compare = cosine, skip: int = 0, backwards: bool = False
) -> Tensor:
    order = compare(queries, gallery).argsort(dim=1, descending=True)[:, skip : skip + k]
    return order.flip(1) if backwards else order


def _share_of_hits(right: Tensor, _n_right: Tensor) -> Tensor:
    return right.any(dim=1).float().mean()


def _wrong_recall(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    k: int,
    exclude_self: bool = False,
    *,
    compare: Compare = cosine,
    self_similarity: float | None = -torch.inf,
    skip: int = 0,
    more: int = 0,
    score: Callable[[Tensor, Tensor], Tensor] = _share_of_hits,
) -> Tensor:
    """Recall@K with one thing done differently; `score` gets right (Q, k) and the number of positives (Q,)."""
    similarity = compare(queries, gallery)
    same = query_labels[:, None] == gallery_labels[None, :]
    if exclude_self and self_similarity is not None:
        similarity.fill_diagonal_(self_similarity)
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, skip : skip + k + more]
    n_right = same.sum(dim=1) - int(exclude_self)
    return score(same.gather(1, order), n_right)


def _queries_found(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    k: int,
    exclude_self: bool = False,
) -> Tensor:
    """Recall@K with the two sides of the search swapped."""
    return _wrong_recall(gallery, gallery_labels, queries, query_labels, min(k, len(queries)), exclude_self)


def _ties_help(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    k: int,
    exclude_self: bool = False,
) -> Tensor:
    similarity = cosine(queries, gallery)
    right = query_labels[:, None] == gallery_labels[None, :]
    if exclude_self:
        similarity.fill_diagonal_(-torch.inf)
        right.fill_diagonal_(False)
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    hit = (~right & (similarity > best + 1e-6)).sum(dim=1) < k
    return hit[right.any(dim=1)].float().mean()


def _random(n: int, dim: int, seed: int) -> Tensor:
    """Features (n, dim) of very different lengths."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator) * torch.rand(n, 1, generator=generator).mul(3).exp()


_QUERIES, _GALLERY = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.2], [0.3, 6.0]])
_QUERY_LABELS, _GALLERY_LABELS = torch.tensor([0, 1]), torch.tensor([0, 1, 1])
_FOUR = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
_APART = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -0.8], [-1.1, 1.0, -1.0], [-0.7, -1.0, 1.0]])
_PAIRS = torch.tensor([0, 0, 1, 1])
_MANY, _MANY_LABELS = _random(12, 3, 1), torch.arange(12) % 4

SEARCH = Exercise(
    name="search",
    title="Visual search",
    solution=search,
    truth=lambda queries, gallery, k: _library_search(queries, gallery, k),
    answer="indices",
    cases=(
        Case("two queries, three items of different lengths", (_QUERIES, _GALLERY, 1)),
        Case("the same, but two answers each", (_QUERIES, _GALLERY, 2)),
        Case("features with negative numbers", (_APART, _FOUR @ torch.tensor([[1.0, 0.3, -1.0], [-0.4, 1.0, 0.2]]), 3)),
        Case("random features of very different lengths", (_random(5, 4, 2), _random(9, 4, 3), 4)),
    ),
    mistakes=(
        Mistake(
            "dot product instead of cosine",
            "You compare by the dot product: a long feature then wins every search, whatever it shows. Cosine "
            "similarity compares directions; the gallery features must be scaled to length 1 first.",
            partial(_wrong_search, compare=dot),
        ),
        Mistake(
            "Euclidean distance of unscaled features",
            "You compare by Euclidean distance without scaling the features to length 1. Between features of length "
            "1, distance and cosine give the same order; between features of different lengths they do not.",
            partial(_wrong_search, compare=minus_distance),
        ),
        Mistake(
            "least similar first",
            "You return the least similar items. Similarities are sorted the other way round than distances: the "
            "largest is the best.",
            partial(_wrong_search, compare=farness),
        ),
        Mistake(
            "answers in reverse order",
            "You find the right k items, but the most similar of them stands last. A search lists it first.",
            partial(_wrong_search, backwards=True),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1, each feature dimension over all images. Each image, a row, must have "
            "length 1.",
            partial(_wrong_search, compare=wrong_axis),
        ),
        Mistake(
            "first answer skipped",
            "You leave out the first answer. That is right only where the query itself lies in the gallery.",
            partial(_wrong_search, skip=1),
        ),
    ),
    hints=(
        "Cosine similarity is the dot product of vectors of length 1. F.normalize(x, dim=1) scales each row.",
        "All similarities at once are one matrix product, of shape (Q, G): which of the two must be transposed?",
        "topk(k, dim=1) returns values and indices; the exercise asks for one of the two.",
    ),
    tested="cosine and not dot product or distance, the number and the order of the answers, one row for each query",
)


def _library_search(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    index = Gallery(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, k)[1]


def _library_recall(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, k: int, exclude_self: bool = False
) -> float:
    sides = (queries, query_labels, gallery, gallery_labels)
    return metrics.recall_at_k(*sides, ks=(k,), exclude_self=exclude_self)[k]


RECALL_AT_K = Exercise(
    name="recall_at_k",
    title="Recall@K",
    solution=recall_at_k,
    truth=_library_recall,
    answer="number",
    cases=(
        Case("two queries, three items, k = 1", (_QUERIES, _QUERY_LABELS, _GALLERY, _GALLERY_LABELS, 1, False)),
        Case("the same, with k = 2", (_QUERIES, _QUERY_LABELS, _GALLERY, _GALLERY_LABELS, 2, False)),
        Case("four images ask among each other, k = 1", (_FOUR, _PAIRS, _FOUR, _PAIRS, 1, True)),
        Case("the same, but each query may find itself", (_FOUR, _PAIRS, _FOUR, _PAIRS, 1, False)),
        Case("four images that all point apart: similarities below 0", (_APART, _PAIRS, _APART, _PAIRS, 1, True)),
        Case("the same, with k = 2", (_APART, _PAIRS, _APART, _PAIRS, 2, True)),
        Case(
            "random features of very different lengths, k = 3",
            (_random(7, 4, 0), torch.arange(7) % 4, _random(13, 4, 10), torch.arange(13) % 5 % 4, 3, False),
        ),
        Case("twelve images ask among each other, k = 1", (_MANY, _MANY_LABELS, _MANY, _MANY_LABELS, 1, True)),
        Case("twelve images ask among each other, k = 2", (_MANY, _MANY_LABELS, _MANY, _MANY_LABELS, 2, True)),
        Case(
            "an item of another class is exactly as similar as the right one, and comes after it",
            (_QUERIES[:1], torch.tensor([0]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), 1, False),
            shows="ties helped the query",
        ),
        Case(
            "an item of another class is exactly as similar as the right one, and comes before it",
            (_QUERIES[:1], torch.tensor([0]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([1, 0]), 1, False),
            shows="ties helped the query",
        ),
        Case(
            "two images of different classes have the same feature",
            (
                torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [-0.6, 0.8]]),
                torch.tensor([0, 1, 0, 1]),
                torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [-0.6, 0.8]]),
                torch.tensor([0, 1, 0, 1]),
                1,
                True,
            ),
            shows="the first answer taken for the query itself",
        ),
        Case(
            "the last query is the only image of its class: it has nothing to find",
            (_FOUR[:3], torch.tensor([0, 0, 1]), _FOUR[:3], torch.tensor([0, 0, 1]), 1, True),
            shows="a query with nothing to find counted as a miss",
        ),
    ),
    mistakes=(
        Mistake(
            "the query itself counted as a hit",
            "You counted the query itself as a hit. With exclude_self=True, query i and item i are the same image, and "
            "nothing is more similar to it than itself: it must not be among the answers.",
            partial(_wrong_recall, self_similarity=None),
        ),
        Mistake(
            "the query itself set to similarity 0",
            "You give the query itself the similarity 0 to keep it out. Cosine goes down to −1: where all others point "
            "away, 0 is the best. Use −inf.",
            partial(_wrong_recall, self_similarity=0.0),
        ),
        Mistake(
            "dot product instead of cosine",
            "You compare by the dot product: long features then win every search. Recall is measured by cosine "
            "similarity: scale the features to length 1 first.",
            partial(_wrong_recall, compare=dot),
        ),
        Mistake(
            "Euclidean distance of unscaled features",
            "You compare by Euclidean distance without scaling the features to length 1, and so by length as well as "
            "by direction. Scale them first: then distance and cosine give the same order.",
            partial(_wrong_recall, compare=minus_distance),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale each feature dimension over all images (dim=0). Each image, a row, must have length 1 (dim=1).",
            partial(_wrong_recall, compare=wrong_axis),
        ),
        Mistake(
            "least similar first",
            "You look at the least similar items: is the sorting ascending? The largest similarity is the best.",
            partial(_wrong_recall, compare=farness),
        ),
        Mistake(
            "k off by one: one too many",
            "You look at k + 1 answers. If the extra one was to make up for the query itself: it does not always find "
            "itself, and exclude_self has already left it out.",
            partial(_wrong_recall, more=1),
        ),
        Mistake(
            "first answer always skipped",
            "You leave out the first answer of every search, also where queries and gallery are different images and "
            "it is a true answer (exclude_self=False).",
            lambda *a: _wrong_recall(*a, skip=int(not a[5])),
        ),
        Mistake(
            "only the k-th answer looked at",
            "You look at the k-th answer alone. A hit is a right one anywhere among the first k.",
            partial(_wrong_recall, score=lambda right, _: right[:, -1].float().mean()),
        ),
        Mistake(
            "precision instead of recall",
            "You average the share of right ones among the k answers: that is Precision@K. For Recall@K a query is a "
            "hit, 1, as soon as one of the k answers is right, otherwise 0.",
            partial(_wrong_recall, score=lambda right, _: right.float().mean()),
        ),
        Mistake(
            "all k answers must be right",
            "You count a query only if all k answers are right (all). One right answer is enough (any).",
            partial(_wrong_recall, score=lambda right, _: right.all(dim=1).float().mean()),
        ),
        Mistake(
            "share of the positives found",
            "You divide the right answers by the number of right items in the gallery, as recall is defined in "
            "information retrieval. Recall@K of visual search asks of each query only whether it found one: 0 or 1.",
            partial(_wrong_recall, score=lambda right, n: (right.sum(dim=1) / n).mean()),
        ),
        Mistake(
            "number of hits instead of their share",
            "You return how many queries were hits. Divide by the number of queries: a share from 0 to 1.",
            partial(_wrong_recall, score=lambda right, _: right.any(dim=1).float().sum()),
        ),
        Mistake(
            "percent instead of a share",
            "You return percent. The exercise asks for a share from 0 to 1.",
            partial(_wrong_recall, score=lambda right, _: 100 * right.any(dim=1).float().mean()),
        ),
        Mistake(
            "queries and gallery swapped",
            "The similarities look transposed: you search, for each item of the gallery, among the queries.",
            _queries_found,
        ),
        Mistake(
            "ties helped the query",
            "Where a right and a wrong item are equally similar, you count the right one as found first, or leave it "
            "to chance. Ties must never help: otherwise a network whose features are all the same finds everything. "
            "Count how many wrong items are at least as similar as the best right one.",
            _ties_help,
        ),
        Mistake(
            "the first answer taken for the query itself",
            "You take the first answer for the query itself and drop it. If another image has the same feature, the "
            "first may be that one, and then the query finds itself. Leave out item i for query i, by its index.",
            lambda *a: _wrong_recall(*a[:5], skip=int(a[5])),
        ),
        Mistake(
            "a query with nothing to find counted as a miss",
            "A query whose class has no item in the gallery cannot be a hit, however good the features are. Leave it "
            "out, of the number of hits and of the number of queries.",
            _wrong_recall,
        ),
    ),
    hints=(
        "Start with the (Q, G) matrix of cosine similarities, and a second (Q, G) matrix that says which pairs have "
        "the same label.",
        "With exclude_self, the diagonal is no answer at all: give it the similarity −inf, and count it as no "
        "positive.",
        "A query is a hit if fewer than k wrong items stand before its best right one. An equally similar wrong item "
        "stands before it. Leave out queries without any right item; then take the mean.",
    ),
    tested=(
        "cosine similarity, k = 1 to 3, the query itself left out by its index, ties that do not help, queries with "
        "nothing to find left out"
    ),
)
