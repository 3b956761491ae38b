"""Exercises on how similar two feature spaces are: displacement, linear CKA, and the neighbours that are kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import drift
from csd_edu.check.running import Case, Exercise, Mistake
from csd_edu.check.searching import Compare, cosine, dot, minus_distance, wrong_axis


def mean_displacement(x: Tensor, y: Tensor) -> float:
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)  # (N, D), rows of length 1
    return float((1 - (x * y).sum(dim=1)).mean())


def neighbor_overlap(x: Tensor, y: Tensor, k: int) -> Tensor:
    nearest = []
    for features in (x, y):
        features = F.normalize(features, dim=1)
        similarity = features @ features.T  # (N, N)
        similarity.fill_diagonal_(-torch.inf)  # no image is its own neighbour
        nearest.append(similarity.topk(k, dim=1).indices)  # (N, k)
    before, after = nearest
    return (before[:, :, None] == after[:, None, :]).any(dim=2).float().mean(dim=1)  # (N,)


def linear_cka(x: Tensor, y: Tensor) -> float:
    x = x.double() - x.double().mean(dim=0)  # (N, D), each column centred
    y = y.double() - y.double().mean(dim=0)  # (N, E)
    norm = torch.linalg.matrix_norm  # Frobenius
    return float(norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


Parts = Callable[[Tensor, Tensor], Tensor]


def _norm(x: Tensor, order: str | int = "fro") -> Tensor:
    return torch.as_tensor(torch.linalg.matrix_norm(x, order))


def _cka(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y))


def _columns(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _wrong(x: Tensor, y: Tensor, *, centre: Callable[[Tensor], Tensor] = _columns, score: Parts = _cka) -> Tensor:
    """CKA with one thing done differently."""
    return score(centre(x.double()), centre(y.double()))


def _orientation(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x @ y.T) ** 2 / (_norm(x @ x.T) * _norm(y @ y.T))


def _no_root(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y)) ** 2


def _traces(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x) ** 2 * _norm(y) ** 2)


def _spectral(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y, 2) ** 2 / (_norm(x.T @ x, 2) * _norm(y.T @ y, 2))


def _random(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


_X = torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 4.0]])
_Y = torch.tensor([[2.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
_QUARTER_TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
_EIGHT = _random(8, 3, 0)

LINEAR_CKA = Exercise(
    name="linear_cka",
    title="Linear CKA",
    solution=linear_cka,
    truth=drift.linear_cka,
    answer="number",
    cases=(
        Case("three images, two dimensions", (_X, _Y)),
        Case("y is x, turned by a quarter and twice as large", (_X, 2 * _X @ _QUARTER_TURN)),
        Case("eight images, the second space drifted", (_EIGHT, _EIGHT + 0.8 * _random(8, 3, 1))),
        Case("features far from the origin, as after a ReLU", (_EIGHT + 5, _EIGHT + 4 + 0.8 * _random(8, 3, 2))),
        Case("two spaces of different dimensions", (_random(8, 3, 3), _random(8, 5, 4))),
    ),
    mistakes=(
        Mistake(
            "not centred",
            "The features are not centred: their common mean, which says nothing about who is near whom, then makes "
            "any two spaces look alike. Subtract from each column its mean over the images.",
            partial(_wrong, centre=lambda x: x),
        ),
        Mistake(
            "centred along the wrong axis",
            "You subtract each image's own mean (dim=1). Subtract from each feature dimension, a column, its mean over "
            "the images (dim=0).",
            partial(_wrong, centre=lambda x: x - x.mean(dim=1, keepdim=True)),
        ),
        Mistake(
            "centred by one number",
            "You subtract one number, the mean of all entries. Each column has its own mean: x.mean(dim=0).",
            partial(_wrong, centre=lambda x: x - x.mean()),
        ),
        Mistake(
            "standardised",
            "You also divide each column by its standard deviation. CKA is not blind to that: it would make a "
            "dimension that hardly varies as important as any other. Centre only.",
            partial(_wrong, centre=lambda x: _columns(x) / x.std(dim=0)),
        ),
        Mistake(
            "numerator not squared",
            "The numerator ‖XᵀY‖_F is not squared, while the denominator is a product of two such norms.",
            partial(_wrong, score=lambda x, y: _norm(x.T @ y) / (_norm(x.T @ x) * _norm(y.T @ y))),
        ),
        Mistake(
            "square root of CKA",
            "You return the square root of CKA: numerator and denominator are both too small by a power.",
            partial(_wrong, score=lambda x, y: _cka(x, y).sqrt()),
        ),
        Mistake(
            "denominator squared",
            "A square root is missing in the denominator: it is ‖XᵀX‖_F · ‖YᵀY‖_F, the norms and not their squares. "
            "With x = y the result must be 1.",
            partial(_wrong, score=_no_root),
        ),
        Mistake(
            "product in the wrong orientation",
            "You multiply X Yᵀ, (N, N): that compares image i with image j across two spaces whose axes have nothing "
            "to do with each other. XᵀY, (D, E), compares dimensions over the same images; a rotation must not matter.",
            partial(_wrong, score=_orientation),
        ),
        Mistake(
            "trace instead of norm",
            "Your denominator holds ‖X‖²_F, the trace of XᵀX. It should be the norm of the product, ‖XᵀX‖_F. With "
            "x = y the result must be 1.",
            partial(_wrong, score=_traces),
        ),
        Mistake(
            "spectral norm instead of Frobenius",
            "You take the spectral norm, the largest singular value. F stands for Frobenius: the root of the sum of "
            "all squared entries, .norm() or ord='fro'.",
            partial(_wrong, score=_spectral),
        ),
        Mistake(
            "cosine of the flattened features",
            "You compare entry with entry, as cosine similarity of the two flattened matrices. The axes of two "
            "networks have nothing to do with each other: after a rotation this falls, and CKA does not.",
            partial(_wrong, score=lambda x, y: F.cosine_similarity(x.flatten(), y.flatten(), dim=0)),
        ),
        Mistake(
            "dissimilarity",
            "You return 1 − CKA. CKA is a similarity: 1 for the same geometry.",
            partial(_wrong, score=lambda x, y: 1 - _cka(x, y)),
        ),
    ),
    hints=(
        "Centre first: subtract from each column of x and of y its mean over the images.",
        "Three products are needed: XᵀY (D, E), XᵀX (D, D) and YᵀY (E, E). Of each, the Frobenius norm.",
        "CKA = ‖XᵀY‖² / (‖XᵀX‖ · ‖YᵀY‖). Try it with y = x: is it 1? And with y = x turned and scaled?",
    ),
    tested="centring, norms and powers, blindness to rotation and scale, features far from the origin, D unlike E",
)


def _cosines(x: Tensor, y: Tensor) -> Tensor:
    """The cosine (N,) of each image's two features."""
    return F.cosine_similarity(x, y, dim=1)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1)


_THREE = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
_THREE_LATER = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

MEAN_DISPLACEMENT = Exercise(
    name="mean_displacement",
    title="Mean displacement",
    solution=mean_displacement,
    truth=drift.mean_displacement,
    answer="number",
    cases=(
        Case("two images turned by an acute angle", (_X[:2], torch.tensor([[2.0, 1.0], [3.0, 0.5]]))),
        Case("not turned at all, by a right angle, and right round", (_THREE, _THREE_LATER)),
        Case("four images, three dimensions", (_random(4, 3, 5), _random(4, 3, 6))),
        Case("a small drift, and lengths that change", (4 * _EIGHT, _EIGHT + 0.3 * _random(8, 3, 7))),
    ),
    mistakes=(
        Mistake(
            "cosine instead of 1 − cosine",
            "You return the mean cosine: it is 1 where nothing has moved. Displacement is 1 − cos.",
            lambda x, y: _cosines(x, y).mean(),
        ),
        Mistake(
            "cosine − 1",
            "The sign is swapped: you return cos − 1, which is never above 0.",
            lambda x, y: _cosines(x, y).mean() - 1,
        ),
        Mistake(
            "not normalised",
            "The features are not scaled to length 1, so a product of two is not a cosine: long features would count "
            "as near. Divide each row by its length.",
            lambda x, y: 1 - (x * y).sum(dim=1).mean(),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1 (dim=0). An image is a row: dim=1.",
            lambda x, y: 1 - (F.normalize(x, dim=0) * F.normalize(y, dim=0)).sum(dim=1).mean(),
        ),
        Mistake(
            "only one snapshot normalised",
            "Only x is scaled to length 1. The cosine divides by the length of both features.",
            lambda x, y: 1 - (_unit(x) * y).sum(dim=1).mean(),
        ),
        Mistake(
            "each image compared with all others",
            "You compare each image with every image of the other snapshot: x @ y.T has (N, N) cosines. Displacement "
            "compares an image with itself, row by row: (x * y).sum(dim=1).",
            lambda x, y: 1 - (_unit(x) @ _unit(y).T).mean(),
        ),
        Mistake(
            "products added up over the images",
            "You add up the products down the columns (dim=0), over the images. A cosine belongs to one image, a row: "
            "dim=1.",
            lambda x, y: 1 - (_unit(x) * _unit(y)).sum(dim=0).mean(),
        ),
        Mistake(
            "mean over all numbers",
            "You take the mean of all N · D products. A cosine is the sum of an image's D products; the mean is over "
            "the images.",
            lambda x, y: 1 - (_unit(x) * _unit(y)).mean(),
        ),
        Mistake(
            "sum instead of mean",
            "You add up the images. Take their mean, so that the number does not grow with the probe set.",
            lambda x, y: (1 - _cosines(x, y)).sum(),
        ),
        Mistake(
            "largest instead of mean",
            "You return the largest displacement of an image. The mean is over all images.",
            lambda x, y: (1 - _cosines(x, y)).max(),
        ),
        Mistake(
            "distance instead of angle",
            "You measure the distance between the features. A feature that only grows longer has not turned, and the "
            "search would not notice: 1 − cos.",
            lambda x, y: (x - y).norm(dim=1).mean(),
        ),
        Mistake(
            "distance of the scaled features",
            "You measure the distance between the features of length 1. That is √(2 (1 − cos)): a sensible number, but "
            "not this one.",
            lambda x, y: (_unit(x) - _unit(y)).norm(dim=1).mean(),
        ),
        Mistake(
            "squared distance of the scaled features",
            "Your numbers are twice as large: the squared distance between features of length 1 is 2 (1 − cos).",
            lambda x, y: (_unit(x) - _unit(y)).square().sum(dim=1).mean(),
        ),
        Mistake(
            "angle in radians",
            "You return the angle itself, in radians. Displacement is 1 − cos of it: 1 for a right angle.",
            lambda x, y: _cosines(x, y).clamp(-1, 1).arccos().mean(),
        ),
        Mistake(
            "angle in degrees",
            "You return the angle in degrees. Displacement is 1 − cos of it: 1 for a right angle.",
            lambda x, y: _cosines(x, y).clamp(-1, 1).arccos().rad2deg().mean(),
        ),
        Mistake(
            "absolute cosine",
            "You take the absolute value of the cosine. A feature that is turned right round, cos = −1, has moved as "
            "far as one can: 2.",
            lambda x, y: 1 - _cosines(x, y).abs().mean(),
        ),
        Mistake(
            "cosine of the means",
            "You compare the mean features of the two snapshots. Images may move apart while their mean stays: first "
            "1 − cos for each image, then the mean.",
            lambda x, y: 1 - F.cosine_similarity(x.mean(dim=0), y.mean(dim=0), dim=0),
        ),
        Mistake(
            "one cosine of everything",
            "You take one cosine of the flattened snapshots: images with long features then count more. One cosine for "
            "each image, then the mean.",
            lambda x, y: 1 - F.cosine_similarity(x.flatten(), y.flatten(), dim=0),
        ),
        Mistake(
            "centred",
            "You take away the mean of the columns first. The search compares features as they are; centring belongs "
            "to CKA.",
            lambda x, y: 1 - _cosines(_columns(x), _columns(y)).mean(),
        ),
    ),
    hints=(
        "One cosine for each image: its feature before, and its feature after. Is there a mean at the end?",
        "F.normalize(x, dim=1) scales each row to length 1; the cosine of two such rows is the sum of their products.",
        "(x * y).sum(dim=1) has one cosine for each image, (N,). Take the mean of 1 − these.",
    ),
    tested="cosine of features of any length, row by row, from 0 over 1 to 2, and the mean over the images",
)


def _kept(before: Tensor, after: Tensor) -> Tensor:
    """How many of an image's neighbours (N, k) are in both."""
    return (before[:, :, None] == after[:, None, :]).any(dim=2).sum(dim=1)


def _share(before: Tensor, after: Tensor, k: int) -> Tensor:
    return _kept(before, after) / k


def _of_the_union(before: Tensor, after: Tensor, k: int) -> Tensor:
    kept = _kept(before, after)
    return kept / (2 * k - kept)


def _wrong_overlap(
    x: Tensor,
    y: Tensor,
    k: int,
    *,
    compare: Compare = cosine,
    itself: float | None = -torch.inf,
    skip: int = 0,
    more: int = 0,
    across: bool = False,
    score: Callable[[Tensor, Tensor, int], Tensor] = _share,
) -> Tensor:
    """Neighbour overlap with one thing done differently; `score` gets the neighbours before and after, and k."""
    found = []
    for one, other in ((x, y if across else x), (y, x if across else y)):
        similarity = compare(one, other)
        if itself is not None:
            similarity.fill_diagonal_(itself)
        found.append(similarity.argsort(dim=1, descending=True, stable=True)[:, skip : skip + k + more])
    return score(found[0], found[1], k)


def _spread(n: int, dim: int, seed: int) -> Tensor:
    """Features (n, dim) of different lengths."""
    return _random(n, dim, seed) * _random(n, 1, seed + 100).exp()


_BEFORE = torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.9], [0.0, 1.0]])
_AFTER = torch.tensor([[1.0, 0.0], [0.2, 1.0], [1.0, 0.1], [0.0, 1.0]])  # the images 1 and 2 have changed places
_TWICE = torch.tensor([[1.0, 0.5], [1.0, 0.5], [-1.0, 0.6], [-1.0, 0.2], [-0.1, -1.0]])
_TWICE_LATER = torch.tensor([[1.0, 0.4], [1.0, 0.6], [-0.9, 0.7], [-1.0, 0.1], [0.1, -1.0]])

NEIGHBOR_OVERLAP = Exercise(
    name="neighbor_overlap",
    title="Neighbour overlap",
    solution=neighbor_overlap,
    truth=drift.neighbor_overlap,
    answer="rows",
    cases=(
        Case("four images, two of which have changed places, k = 1", (_BEFORE, _AFTER, 1)),
        Case("the same with k = 2", (_BEFORE, _AFTER, 2)),
        Case("six images with features of any length, k = 2", (_spread(6, 2, 0), _spread(6, 2, 1), 2)),
        Case("nine images, spaces of three and five dimensions, k = 3", (_spread(9, 3, 2), _spread(9, 5, 3), 3)),
        Case(
            "a small drift, k = 4",
            (_spread(10, 4, 4), _spread(10, 4, 4) + 0.3 * _random(10, 4, 5), 4),
        ),
        Case(
            "two images with the same feature",
            (_TWICE, _TWICE_LATER, 1),
            shows="the first answer taken for the image itself",
        ),
    ),
    mistakes=(
        Mistake(
            "the image itself among its neighbours",
            "You count each image as its own nearest neighbour. It is so in both snapshots, whatever has moved: put "
            "−inf on the diagonal of the similarities.",
            partial(_wrong_overlap, itself=None),
        ),
        Mistake(
            "the image itself as one neighbour more",
            "You look at k + 1 neighbours, one of which is the image itself, and which every image keeps. Leave it "
            "out: k others.",
            partial(_wrong_overlap, itself=None, more=1, score=lambda a, b, k: _kept(a, b) / (k + 1)),
        ),
        Mistake(
            "the image itself counted as kept",
            "You look at k + 1 neighbours, with the image itself, and divide by k: the share can be above 1. Leave the "
            "image itself out.",
            partial(_wrong_overlap, itself=None, more=1),
        ),
        Mistake(
            "the image itself set to similarity 0",
            "You set an image's similarity to itself to 0. That is a similarity like any other, and better than those "
            "below 0: −inf loses against all.",
            partial(_wrong_overlap, itself=0.0),
        ),
        Mistake(
            "dot product instead of cosine",
            "You compare by the dot product, so long features are everybody's neighbours. Scale each row to length 1.",
            partial(_wrong_overlap, compare=dot),
        ),
        Mistake(
            "Euclidean distance of unscaled features",
            "You compare by Euclidean distance. The search goes by direction: scale each row to length 1 first.",
            partial(_wrong_overlap, compare=minus_distance),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1 (dim=0). An image's feature is a row of its own, and dim=1 scales it.",
            partial(_wrong_overlap, compare=wrong_axis),
        ),
        Mistake(
            "farthest instead of nearest",
            "You take the least similar images. With similarities the nearest are the largest.",
            partial(_wrong_overlap, compare=lambda x, y: -cosine(x, y)),
        ),
        Mistake(
            "nearest in the other snapshot",
            "You look for the neighbours of one network's features among the other's. Each network has a space of its "
            "own: neighbours are looked for within a snapshot, and then the two lists are compared.",
            partial(_wrong_overlap, across=True),
        ),
        Mistake(
            "same rank only",
            "You compare the two lists place by place. A neighbour that was first and is now second is still kept: "
            "each in one list with each in the other.",
            partial(_wrong_overlap, score=lambda a, b, _: (a == b).float().mean(dim=1)),
        ),
        Mistake(
            "number instead of share",
            "You return how many neighbours are kept. Divide by k: a share, from 0 to 1.",
            partial(_wrong_overlap, score=lambda a, b, _: _kept(a, b)),
        ),
        Mistake(
            "share of the union",
            "You divide by the size of the union. That is Jaccard's index; here the share is of the k that an image "
            "had.",
            partial(_wrong_overlap, score=_of_the_union),
        ),
        Mistake(
            "any instead of a share",
            "You return whether any neighbour is kept. Count them, and divide by k.",
            partial(_wrong_overlap, score=lambda a, b, _: (_kept(a, b) > 0).float()),
        ),
        Mistake(
            "share of those lost",
            "You return the share of the neighbours that are lost. Overlap is 1 if all are kept.",
            partial(_wrong_overlap, score=lambda a, b, k: 1 - _share(a, b, k)),
        ),
        Mistake(
            "one mean over the images",
            "You return one number, the mean. The exercise asks for one for each image, (N,): so one can see whose "
            "neighbours are gone.",
            partial(_wrong_overlap, score=lambda a, b, k: _share(a, b, k).mean()),
        ),
        Mistake(
            "one neighbour too few",
            "You look at k − 1 neighbours: the image itself is left out twice, or takes one of the k places.",
            partial(_wrong_overlap, more=-1),
        ),
        Mistake(
            "the first answer taken for the image itself",
            "You leave out the best match as the image itself. Where another image has the same feature, the best may "
            "be that one: leave the image out by its index, with −inf on the diagonal.",
            partial(_wrong_overlap, itself=None, skip=1),
        ),
    ),
    hints=(
        "Within each snapshot: the cosine similarities of all pairs, (N, N). What stands on the diagonal, and may it "
        "win?",
        "similarity.fill_diagonal_(-torch.inf), then similarity.topk(k, dim=1).indices: (N, k), for both snapshots.",
        "a[:, :, None] == b[:, None, :] compares each neighbour before with each after, (N, k, k). any(dim=2) tells of "
        "each whether it is kept.",
    ),
    tested=(
        "nearest by cosine within each snapshot, without the image itself, in any order, shares, one for each image, "
        "and two images with one feature"
    ),
)
