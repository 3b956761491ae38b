"""Exercises on how similar two feature spaces are: displacement, linear CKA, and the neighbours that are kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import drift
from csd_edu.check.answers import Number, Rows
from csd_edu.check.inputs import QUARTER_TURN, random
from csd_edu.check.running import Case, Exercise, table


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


_X = torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 4.0]])
_Y = torch.tensor([[2.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
_EIGHT = random(8, 3, 0)

LINEAR_CKA = Exercise(
    linear_cka,
    title="Linear CKA",
    doc="Check f(x (N, D), y (N, E)) -> float, as `drift.linear_cka`.",
    truth=drift.linear_cka,
    answer=Number(),
    cases=(
        Case("three images, two dimensions", _X, _Y),
        Case("y is x, turned by a quarter and twice as large", _X, 2 * _X @ QUARTER_TURN),
        Case("eight images, the second space drifted", _EIGHT, _EIGHT + 0.8 * random(8, 3, 1)),
        Case("features far from the origin, as after a ReLU", _EIGHT + 5, _EIGHT + 4 + 0.8 * random(8, 3, 2)),
        Case("two spaces of different dimensions", random(8, 3, 3), random(8, 5, 4)),
    ),
    mistakes=table("""
    not centred | - x.double().mean(dim=0) => | - y.double().mean(dim=0) =>
        The features are not centred: their common mean, which says nothing about who is near whom, then makes any two
        spaces look alike. Subtract from each column its mean over the images.
    only x centred | - y.double().mean(dim=0) =>
        You centre x only. Each of the two has a mean of its own, which is to be taken away: y as well.
    only y centred | - x.double().mean(dim=0) =>
        You centre y only. Each of the two has a mean of its own, which is to be taken away: x as well.
    brackets missing in the denominator | (norm(x.T @ x) * norm(y.T @ y)) => norm(x.T @ x) * norm(y.T @ y)
        a / b * c divides by b only. Put the whole denominator in brackets: a / (b * c).
    centred along the wrong axis | mean(dim=0) => mean(dim=1, keepdim=True) (twice)
        You subtract each image's own mean (dim=1). Subtract from each feature dimension, a column, its mean over the
        images (dim=0).
    centred by one number | mean(dim=0) => mean() (twice)
        You subtract one number, the mean of all entries. Each column has its own mean: x.mean(dim=0).
    standardised | norm = => x, y = x / x.std(dim=0), y / y.std(dim=0); norm =
        You also divide each column by its standard deviation. CKA is not blind to that: it would make a dimension that
        hardly varies as important as any other. Centre only.
    rows scaled to length 1 | x = x => x, y = F.normalize(x), F.normalize(y); x = x
        You scale each image's feature to length 1 first. The search does so; CKA takes the features as they are, and
        centres their columns.
    rows scaled instead of columns centred | x.double() - x.double().mean(dim=0) => F.normalize(x.double())
        | y.double() - y.double().mean(dim=0) => F.normalize(y.double())
        You scale each image's feature to length 1, and do not centre. CKA subtracts from each column its mean.
    entries added up instead of a norm | norm(x.T @ y) ** 2 => (x.T @ y).sum() ** 2
        You add up the entries of XᵀY and square the sum. The Frobenius norm squares first: (XᵀY)² entry by entry, then
        the sum.
    denominator added up | norm(x.T @ x) * norm(y.T @ y) => norm(x.T @ x) + norm(y.T @ y)
        In your denominator the two norms are added. Multiply them.
    numerator not squared | ** 2 =>
        The numerator ‖XᵀY‖_F is not squared, while the denominator is a product of two such norms.
    square root of CKA | y.T @ y))) => y.T @ y))) ** 0.5
        You return the square root of CKA: numerator and denominator are both too small by a power.
    denominator squared | y.T @ y)) => y.T @ y)) ** 2
        A square root is missing in the denominator: it is ‖XᵀX‖_F · ‖YᵀY‖_F, the norms and not their squares. With x =
        y the result must be 1.
    product in the wrong orientation | x.T @ y => x @ y.T | x.T @ x => x @ x.T | y.T @ y => y @ y.T
        You multiply X Yᵀ, (N, N): that compares image i with image j across two spaces whose axes have nothing to do
        with each other. XᵀY, (D, E), compares dimensions over the same images; a rotation must not matter.
    trace instead of norm | norm(x.T @ x) * norm(y.T @ y) => norm(x) ** 2 * norm(y) ** 2
        Your denominator holds ‖X‖²_F, the trace of XᵀX. It should be the norm of the product, ‖XᵀX‖_F. With x = y the
        result must be 1.
    spectral norm instead of Frobenius | torch.linalg.matrix_norm => lambda z: torch.linalg.matrix_norm(z, 2)
        You take the spectral norm, the largest singular value. F stands for Frobenius: the root of the sum of all
        squared entries, .norm() or ord='fro'.
    cosine of the flattened features
        | norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)) => F.cosine_similarity(x.flatten(), y.flatten(), dim=0)
        You compare entry with entry, as cosine similarity of the two flattened matrices. The axes of two networks have
        nothing to do with each other: after a rotation this falls, and CKA does not.
    dissimilarity | return float => return 1 - float
        You return 1 − CKA. CKA is a similarity: 1 for the same geometry.
    """),
    hints=(
        "Centre first: subtract from each column of x and of y its mean over the images.",
        "Three products are needed: XᵀY (D, E), XᵀX (D, D) and YᵀY (E, E). Of each, the Frobenius norm.",
        "CKA = ‖XᵀY‖² / (‖XᵀX‖ · ‖YᵀY‖). Try it with y = x: is it 1? And with y = x turned and scaled?",
    ),
    tested="centring, norms and powers, blindness to rotation and scale, features far from the origin, D unlike E",
)


_THREE = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
_THREE_LATER = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

MEAN_DISPLACEMENT = Exercise(
    mean_displacement,
    title="Mean displacement",
    doc="Check f(x (N, D), y (N, D)) -> float, as `drift.mean_displacement`.",
    truth=drift.mean_displacement,
    answer=Number(),
    cases=(
        Case("two images turned by an acute angle", _X[:2], torch.tensor([[2.0, 1.0], [3.0, 0.5]])),
        Case("not turned at all, by a right angle, and right round", _THREE, _THREE_LATER),
        Case("four images, three dimensions", random(4, 3, 5), random(4, 3, 6)),
        Case("a small drift, and lengths that change", 4 * _EIGHT, _EIGHT + 0.3 * random(8, 3, 7)),
    ),
    mistakes=table("""
    cosine instead of 1 − cosine | 1 - =>
        You return the mean cosine: it is 1 where nothing has moved. Displacement is 1 − cos.
    cosine − 1 | 1 - (x * y).sum(dim=1) => (x * y).sum(dim=1) - 1
        The sign is swapped: you return cos − 1, which is never above 0.
    not normalised | F.normalize(x, dim=1), F.normalize(y, dim=1) => x, y
        The features are not scaled to length 1, so a product of two is not a cosine: long features would count as near.
        Divide each row by its length.
    normalised along the wrong axis | x, dim=1 => x, dim=0 | y, dim=1 => y, dim=0
        You scale the columns to length 1 (dim=0). An image is a row: dim=1.
    only one snapshot normalised | F.normalize(y, dim=1) => y
        Only x is scaled to length 1. The cosine divides by the length of both features.
    each image compared with all others | (x * y).sum(dim=1) => x @ y.T
        You compare each image with every image of the other snapshot: x @ y.T has (N, N) cosines. Displacement compares
        an image with itself, row by row: (x * y).sum(dim=1).
    products added up over the images | sum(dim=1) => sum(dim=0)
        You add up the products down the columns (dim=0), over the images. A cosine belongs to one image, a row: dim=1.
    cosine along the wrong axis | x, dim=1 => x, dim=0 | y, dim=1 => y, dim=0 | sum(dim=1) => sum(dim=0)
        You take cosines of the columns (dim=0), one for each dimension. An image is a row: one cosine for each, dim=1.
    mean over all numbers | .sum(dim=1) =>
        You take the mean of all N · D products. A cosine is the sum of an image's D products; the mean is over the
        images.
    sum instead of mean | .mean() => .sum()
        You add up the images. Take their mean, so that the number does not grow with the probe set.
    largest instead of mean | .mean() => .max()
        You return the largest displacement of an image. The mean is over all images.
    distance instead of angle | F.normalize(x, dim=1), F.normalize(y, dim=1) => x, y
        | 1 - (x * y).sum(dim=1) => (x - y).norm(dim=1)
        You measure the distance between the features. A feature that only grows longer has not turned, and the search
        would not notice: 1 − cos.
    distance of the scaled features | 1 - (x * y).sum(dim=1) => (x - y).norm(dim=1)
        You measure the distance between the features of length 1. That is √(2 (1 − cos)): a sensible number, but not
        this one.
    squared distance of the scaled features | 1 - (x * y).sum(dim=1) => (x - y).square().sum(dim=1)
        Your numbers are twice as large: the squared distance between features of length 1 is 2 (1 − cos).
    angle in radians | 1 - (x * y).sum(dim=1) => (x * y).sum(dim=1).clamp(-1, 1).arccos()
        You return the angle itself, in radians. Displacement is 1 − cos of it: 1 for a right angle.
    angle in degrees | 1 - (x * y).sum(dim=1) => (x * y).sum(dim=1).clamp(-1, 1).arccos().rad2deg()
        You return the angle in degrees. Displacement is 1 − cos of it: 1 for a right angle.
    absolute cosine | .sum(dim=1) => .sum(dim=1).abs()
        You take the absolute value of the cosine. A feature that is turned right round, cos = −1, has moved as far as
        one can: 2.
    cosine of the means | x, y = => x, y = x.mean(dim=0, keepdim=True), y.mean(dim=0, keepdim=True); x, y =
        You compare the mean features of the two snapshots. Images may move apart while their mean stays: first 1 − cos
        for each image, then the mean.
    one cosine of everything | x, y = => x, y = x.reshape(1, -1), y.reshape(1, -1); x, y =
        You take one cosine of the flattened snapshots: images with long features then count more. One cosine for each
        image, then the mean.
    centred | x, y = => x, y = x - x.mean(dim=0), y - y.mean(dim=0); x, y =
        You take away the mean of the columns first. The search compares features as they are; centring belongs to CKA.
    """),
    hints=(
        "One cosine for each image: its feature before, and its feature after. Is there a mean at the end?",
        "F.normalize(x, dim=1) scales each row to length 1; the cosine of two such rows is the sum of their products.",
        "(x * y).sum(dim=1) has one cosine for each image, (N,). Take the mean of 1 − these.",
    ),
    tested="cosine of features of any length, row by row, from 0 over 1 to 2, and the mean over the images",
)


def _spread(n: int, dim: int, seed: int) -> Tensor:
    """Features (n, dim) of different lengths."""
    return random(n, dim, seed) * random(n, 1, seed + 100).exp()


_BEFORE = torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.9], [0.0, 1.0]])
_AFTER = torch.tensor([[1.0, 0.0], [0.2, 1.0], [1.0, 0.1], [0.0, 1.0]])  # the images 1 and 2 have changed places
_TWICE = torch.tensor([[1.0, 0.5], [1.0, 0.5], [-1.0, 0.6], [-1.0, 0.2], [-0.1, -1.0]])
_TWICE_LATER = torch.tensor([[1.0, 0.4], [1.0, 0.6], [-0.9, 0.7], [-1.0, 0.1], [0.1, -1.0]])

NEIGHBOR_OVERLAP = Exercise(
    neighbor_overlap,
    title="Neighbours in common",
    doc="Check f(x (N, D), y (N, E), k) -> (N,) shares from 0 to 1, as `drift.neighbor_overlap`.",
    truth=drift.neighbor_overlap,
    answer=Rows(),
    cases=(
        Case("four images, two of which have changed places, k = 1", _BEFORE, _AFTER, 1),
        Case("the same with k = 2", _BEFORE, _AFTER, 2),
        Case("six images with features of any length, k = 2", _spread(6, 2, 0), _spread(6, 2, 1), 2),
        Case("nine images, spaces of three and five dimensions, k = 3", _spread(9, 3, 2), _spread(9, 5, 3), 3),
        Case("a small drift, k = 4", _spread(10, 4, 4), _spread(10, 4, 4) + 0.3 * random(10, 4, 5), 4),
        Case(
            "two images with the same feature",
            *(_TWICE, _TWICE_LATER, 1),
            shows="the first answer taken for the image itself",
        ),
    ),
    mistakes=table("""
    the image itself among its neighbours | .fill_diagonal_(-torch.inf) =>
        You count each image as its own nearest neighbour. It is so in both snapshots, whatever has moved: put −inf on
        the diagonal of the similarities.
    the image itself as one neighbour more | .fill_diagonal_(-torch.inf) => | topk(k, => topk(k + 1,
        You look at k + 1 neighbours, one of which is the image itself, and which every image keeps. Leave it out: k
        others.
    the image itself counted as kept | .fill_diagonal_(-torch.inf) => | topk(k, => topk(k + 1,
        | float().mean(dim=1) => sum(dim=1) / k
        You look at k + 1 neighbours, with the image itself, and divide by k: the share can be above 1. Leave the image
        itself out.
    the image itself set to similarity 0 | -torch.inf => 0
        You set an image's similarity to itself to 0. That is a similarity like any other, and better than those below
        0: −inf loses against all.
    dot product instead of cosine | F.normalize(features, dim=1) => features
        You compare by the dot product, so long features are everybody's neighbours. Scale each row to length 1.
    Euclidean distance of unscaled features | F.normalize(features, dim=1) => features
        | features @ features.T => -torch.cdist(features, features)
        You compare by Euclidean distance. The search goes by direction: scale each row to length 1 first.
    normalised along the wrong axis | features, dim=1 => features, dim=0
        You scale the columns to length 1 (dim=0). An image's feature is a row of its own, and dim=1 scales it.
    farthest instead of nearest | similarity = => similarity = -
        You take the least similar images. With similarities the nearest are the largest.
    nearest in the other snapshot | features in (x, y) => features, other in ((x, y), (y, x))
        | features.T => F.normalize(other, dim=1).T
        You look for the neighbours of one network's features among the other's. Each network has a space of its own:
        neighbours are looked for within a snapshot, and then the two lists are compared.
    same rank only | (before[:, :, None] == after[:, None, :]).any(dim=2) => (before == after)
        You compare the two lists place by place. A neighbour that was first and is now second is still kept: each in
        one list with each in the other.
    kept by any image | (before[:, :, None] == after[:, None, :]).any(dim=2) => torch.isin(before, after)
        You ask whether a neighbour is in the list of any image, as torch.isin does with two whole tables. Compare row
        by row: the neighbours of image i before with those of image i after.
    number instead of share | float().mean(dim=1) => sum(dim=1)
        You return how many neighbours are kept. Divide by k: a share, from 0 to 1.
    share of the union | return ( => kept = ( | float().mean(dim=1) => sum(dim=1); return kept / (2 * k - kept)
        You divide by the size of the union. That is Jaccard's index; here the share is of the k that an image had.
    any instead of a share | float().mean(dim=1) => any(dim=1).float()
        You return whether any neighbour is kept. Count them, and divide by k.
    share of those lost | return ( => return 1 - (
        You return the share of the neighbours that are lost. Overlap is 1 if all are kept.
    one mean over the images | mean(dim=1) => mean()
        You return one number, the mean. The exercise asks for one for each image, (N,): so one can see whose neighbours
        are gone.
    one neighbour too few | topk(k, => topk(k - 1, | float().mean(dim=1) => sum(dim=1) / k
        You look at k − 1 neighbours: the image itself is left out twice, or takes one of the k places.
    the first answer taken for the image itself | .fill_diagonal_(-torch.inf) =>
        | topk(k, dim=1).indices => argsort(dim=1, descending=True, stable=True)[:, 1 : k + 1]
        You leave out the best match as the image itself. Where another image has the same feature, the best may be that
        one: leave the image out by its index, with −inf on the diagonal.
    """),
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
