"""Exercises on visual search: find the most similar items, and measure how often one of them is right."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.answers import Indices, Number
from csd_edu.check.inputs import APART, PAIRS, random
from csd_edu.check.running import Case, Exercise, table
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


def _library_search(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    index = Gallery(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, k)[1]


def _library_recall(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, k: int, exclude_self: bool = False
) -> float:
    sides = (queries, query_labels, gallery, gallery_labels)
    return metrics.recall_at_k(*sides, ks=(k,), exclude_self=exclude_self)[k]


def _in_order(
    queries: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, k: int, exclude_self: bool = False
) -> float:
    """Recall@K by the first k of a sorted list, as it comes: ties are left to luck, and nothing to find is a miss."""
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (Q, G)
    same = query_labels[:, None] == gallery_labels[None, :]  # (Q, G)
    if exclude_self:
        similarity.fill_diagonal_(-torch.inf)
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]  # (Q, k)
    right = same.gather(1, order)
    return right.any(dim=1).float().mean().item()


_QUERIES, _GALLERY = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.2], [0.3, 6.0]])
_FOUR = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])

SEARCH = Exercise(
    search,
    title="Visual search",
    doc="""
    Check f(queries (Q, D), gallery (G, D), k) -> (Q, k) indices of the most similar items by cosine, best first.
    """,
    truth=_library_search,
    answer=Indices(),
    cases=(
        Case("two queries, three items of different lengths", _QUERIES, _GALLERY, 1),
        Case("the same, but two answers each", _QUERIES, _GALLERY, 2),
        Case("features with negative numbers", APART, _FOUR @ torch.tensor([[1.0, 0.3, -1.0], [-0.4, 1.0, 0.2]]), 3),
        Case("random features of very different lengths", random(5, 4, 2, 3), random(9, 4, 3, 3), 4),
    ),
    mistakes=table("""
    dot product instead of cosine | F.normalize(gallery, dim=1) => gallery
        You compare by the dot product: a long feature then wins every search, whatever it shows. Cosine similarity
        compares directions; the gallery features must be scaled to length 1 first.
    Euclidean distance of unscaled features
        | F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T => -torch.cdist(queries, gallery)
        You compare by Euclidean distance without scaling the features to length 1. Between features of length 1,
        distance and cosine give the same order; between features of different lengths they do not.
    least similar first | topk(k, dim=1) => topk(k, dim=1, largest=False)
        You return the least similar items. Similarities are sorted the other way round than distances: the largest is
        the best.
    answers in reverse order | .indices => .indices.flip(1)
        You find the right k items, but the most similar of them stands last. A search lists it first.
    normalised along the wrong axis | queries, dim=1 => queries, dim=0 | gallery, dim=1 => gallery, dim=0
        You scale the columns to length 1, each feature dimension over all images. Each image, a row, must have length
        1.
    first answer skipped | topk(k, dim=1).indices => topk(k + 1, dim=1).indices[:, 1:]
        You leave out the first answer. That is right only where the query itself lies in the gallery.
    """),
    hints=(
        "Cosine similarity is the dot product of vectors of length 1. F.normalize(x, dim=1) scales each row.",
        "All similarities at once are one matrix product, of shape (Q, G): which of the two must be transposed?",
        "topk(k, dim=1) returns values and indices; the exercise asks for one of the two.",
    ),
    tested="cosine and not dot product or distance, the number and the order of the answers, one row for each query",
)


# Queries, their labels, the gallery, its labels.
_SMALL = (_QUERIES, torch.tensor([0, 1]), _GALLERY, torch.tensor([0, 1, 1]))
_LARGE = (random(7, 4, 0, 3), torch.arange(7) % 4, random(13, 4, 10, 3), torch.arange(13) % 5 % 4)
_ONE_QUERY, _TWO_ALIKE = (torch.tensor([[1.0, 0.0]]), torch.tensor([0])), torch.tensor([[1.0, 0.0], [1.0, 0.0]])


def _among(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images that are both queries and gallery."""
    return features, labels, features, labels


_MANY = _among(random(12, 3, 1, 3), torch.arange(12) % 4)
_AWAY = (
    *(torch.tensor([[1.0, 0.1], [0.8, -0.3]]), torch.tensor([0, 1])),
    *(torch.tensor([[-1.0, 0.5], [-0.3, 1.0], [-0.95, -0.4]]), torch.tensor([0, 1, 0])),
)
_COLLAPSED = torch.tensor([[0.3, -0.7, 0.11]]) * random(16, 1, 5).exp()
_TWINS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [-0.6, 0.8]])

RECALL_AT_K = Exercise(
    recall_at_k,
    title="Recall@K",
    doc="""
    Check f(queries (Q, D), query_labels (Q,), gallery (G, D), gallery_labels (G,), k, exclude_self=False) -> float.

    The share of queries with at least one item of their class among the k most similar by cosine. With exclude_self,
    query i and item i are the same image, which it must not find. Ties never help; a query whose class has no item in
    the gallery is left out.
    """,
    truth=_library_recall,
    answer=Number(),
    cases=(
        Case("two queries, three items, k = 1", *_SMALL, 1, False),
        Case("the same, with k = 2", *_SMALL, 2, False),
        Case("four images ask among each other, k = 1", *_among(_FOUR, PAIRS), 1, True),
        Case("the same, but each query may find itself", *_among(_FOUR, PAIRS), 1, False),
        Case("four images that all point apart: similarities below 0", *_among(APART, PAIRS), 1, True),
        Case("the same, with k = 2", *_among(APART, PAIRS), 2, True),
        Case("two queries, and all items point away", *_AWAY, 1, False),
        Case("random features of very different lengths, k = 3", *_LARGE, 3, False),
        Case("twelve images ask among each other, k = 1", *_MANY, 1, True),
        Case("twelve images ask among each other, k = 2", *_MANY, 2, True),
        Case(
            "an item of another class is exactly as similar as the right one, and comes after it",
            *(*_ONE_QUERY, _TWO_ALIKE, torch.tensor([0, 1]), 1, False),
            shows="ties helped the query",
        ),
        Case(
            "an item of another class is exactly as similar as the right one, and comes before it",
            *(*_ONE_QUERY, _TWO_ALIKE, torch.tensor([1, 0]), 1, False),
            shows="ties helped the query",
        ),
        Case(
            "collapsed features: all in one direction, of any length",
            *(*_among(_COLLAPSED, torch.arange(16) % 2), 1, True),
            shows="equal but for the last digit",
        ),
        Case(
            "two images of different classes have the same feature",
            *(*_among(_TWINS, torch.tensor([0, 1, 0, 1])), 1, True),
            shows="the first answer taken for the query itself",
        ),
        Case(
            "the last query is the only image of its class: it has nothing to find",
            *(*_among(_FOUR[:3], torch.tensor([0, 0, 1])), 1, True),
            shows="a query with nothing to find counted as a miss",
        ),
    ),
    mistakes=table("""
    the query itself counted as a hit | _in_order | if exclude_self: => if False:
        You counted the query itself as a hit. With exclude_self=True, query i and item i are the same image, and
        nothing is more similar to it than itself: it must not be among the answers.
    wrong items set to similarity 0 | similarity.masked_fill(~right, -torch.inf) => (similarity.nan_to_num() * right)
        To find the best right item you give all wrong ones the similarity 0, perhaps by a product with a mask. Where
        all right ones point away, below 0, a 0 wins: −inf loses against all.
    the query itself set to similarity 0 | _in_order | -torch.inf => 0
        You give the query itself the similarity 0 to keep it out. Cosine goes down to −1: where all others point away,
        0 is the best. Use −inf.
    dot product instead of cosine | _in_order | F.normalize(gallery, dim=1) => gallery
        You compare by the dot product: long features then win every search. Recall is measured by cosine similarity:
        scale the features to length 1 first.
    Euclidean distance of unscaled features | _in_order
        | F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T => -torch.cdist(queries, gallery)
        You compare by Euclidean distance without scaling the features to length 1, and so by length as well as by
        direction. Scale them first: then distance and cosine give the same order.
    normalised along the wrong axis | _in_order | queries, dim=1 => queries, dim=0 | gallery, dim=1 => gallery, dim=0
        You scale each feature dimension over all images (dim=0). Each image, a row, must have length 1 (dim=1).
    least similar first | _in_order | similarity = F => similarity = -F
        You look at the least similar items: is the sorting ascending? The largest similarity is the best.
    k off by one: one too many | _in_order | [:, :k] => [:, : k + 1]
        You look at k + 1 answers. If the extra one was to make up for the query itself: it does not always find itself,
        and exclude_self has already left it out.
    first answer always skipped | _in_order | [:, :k] => [:, int(not exclude_self) :][:, :k]
        You leave out the first answer of every search, also where queries and gallery are different images and it is a
        true answer (exclude_self=False).
    only the k-th answer looked at | _in_order | right.any(dim=1) => right[:, -1]
        You look at the k-th answer alone. A hit is a right one anywhere among the first k.
    precision instead of recall | _in_order | right.any(dim=1) => right
        You average the share of right ones among the k answers: that is Precision@K. For Recall@K a query is a hit, 1,
        as soon as one of the k answers is right, otherwise 0.
    all k answers must be right | _in_order | right.any => right.all
        You count a query only if all k answers are right (all). One right answer is enough (any).
    share of the positives found | _in_order
        | right.any(dim=1).float() => (right.sum(dim=1) / (same.sum(dim=1) - int(exclude_self)))
        You divide the right answers by the number of right items in the gallery, as recall is defined in information
        retrieval. Recall@K of visual search asks of each query only whether it found one: 0 or 1.
    number of hits instead of their share | _in_order | .mean() => .sum()
        You return how many queries were hits. Divide by the number of queries: a share from 0 to 1.
    percent instead of a share | _in_order | return => return 100 *
        You return percent. The exercise asks for a share from 0 to 1.
    queries and gallery swapped | _in_order | similarity = => queries, gallery = gallery, queries; similarity =
        | similarity = => query_labels, gallery_labels = gallery_labels, query_labels; similarity =
        The similarities look transposed: you search, for each item of the gallery, among the queries.
    ties helped the query | >= best - 1e-6 => > best + 1e-6
        Where a right and a wrong item are equally similar, you count the right one as found first, or leave it to
        chance. Ties must never help: otherwise a network whose features are all the same finds everything. Count how
        many wrong items are at least as similar as the best right one.
    equal but for the last digit | >= best - 1e-6 => >= best
        Similarities that are equal come out of the computer with other last digits, and you compare them exactly: so
        features that have collapsed find something. What differs by less than 1e-6 is a tie.
    the first answer taken for the query itself | _in_order | if exclude_self: => if False:
        | [:, :k] => [:, int(exclude_self) :][:, :k]
        You take the first answer for the query itself and drop it. If another image has the same feature, the first may
        be that one, and then the query finds itself. Leave out item i for query i, by its index.
    a query with nothing to find counted as a miss | _in_order
        A query whose class has no other item in the gallery cannot be a hit, however good the features are. Leave it
        out of the mean; and see that it does not count as its own right item, or it seems to have something to find.
    """),
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
