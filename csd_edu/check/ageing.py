"""Exercises on search that ages: new queries in a gallery that is not indexed again, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.answers import Indices, Number, Rows
from csd_edu.check.inputs import APART, PAIRS, QUARTER_TURN, random
from csd_edu.check.running import Case, Exercise, table


def stale_recall(snapshots: list[Tensor], labels: Tensor, tasks: Tensor) -> float:
    gallery = snapshots[-1].clone()  # (N, D)
    for task, features in enumerate(snapshots):
        gallery[tasks == task] = features[tasks == task]  # as this task's own network left them
    similarity = F.normalize(snapshots[-1], dim=1) @ F.normalize(gallery, dim=1).T  # (N, N)
    similarity.fill_diagonal_(-torch.inf)  # no query finds itself
    nearest = similarity.argmax(dim=1)  # (N,)
    return (labels[nearest] == labels).float().mean().item()


def representatives(features: Tensor, n: int) -> Tensor:
    features = F.normalize(features, dim=1)  # (N, D)
    similarity = features @ features.T  # (N, N) cosines
    nearest = similarity.new_full((len(features),), -1.0)  # (N,) of each image, to the nearest chosen one: none yet
    chosen: list[int] = []
    for _ in range(n):
        gain = (similarity - nearest[:, None]).clamp(min=0).sum(dim=0)  # (N,) what each candidate would add
        best = int(gain.argmax())
        chosen.append(best)
        nearest = torch.maximum(nearest, similarity[best])
    return torch.tensor(chosen)


def translate(gallery: Tensor, old: Tensor, new: Tensor, ridge: float = 0.1) -> Tensor:
    mean_old, mean_new = old.mean(dim=0), new.mean(dim=0)  # (D,), (D,)
    a, b = old - mean_old, new - mean_new  # (M, D), (M, D): the dictionary, centred
    W = torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1]), a.T @ b)  # (D, D)
    translated: Tensor = (gallery - mean_old) @ W + mean_new  # (G, D)
    return translated


def _drifting(per_task: Sequence[int], seed: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Snapshots of classes (two a task) whose features drift, labels and tasks; the tasks have uneven sizes."""
    generator = torch.Generator().manual_seed(seed)
    tasks = torch.cat([torch.full((n,), task) for task, n in enumerate(per_task)])
    labels = 2 * tasks + torch.arange(len(tasks)) % 2
    centres = torch.randn(2 * len(per_task), 3, generator=generator)
    features = centres[labels] + 0.5 * torch.randn(len(tasks), 3, generator=generator)
    snapshots = []
    for _ in per_task:
        snapshots.append(features * torch.rand(len(tasks), 1, generator=generator).mul(2).exp())
        features = features + 0.6 * torch.randn(len(tasks), 3, generator=generator)
    return snapshots, labels, tasks


def _shuffled(snapshots: list[Tensor], labels: Tensor, tasks: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return [features[order] for features in snapshots], labels[order], tasks[order]


_OLD = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.5, 0.5], [0.4, 0.6]])
_NEW = torch.tensor([[0.0, 1.0], [0.2, 0.9], [5.0, 0.5], [0.8, -0.2]])

STALE_RECALL = Exercise(
    stale_recall,
    title="Recall with a stale gallery",
    doc="""Check f(snapshots, labels (N,), tasks (N,)) -> float, with T snapshots (N, D), one after each task.

    Recall@1 after the last task, of all N images: each asks with its newest feature among the features of the others as
    their own task's network left them.
    """,
    truth=lambda snapshots, labels, tasks: _library(snapshots, labels, tasks),
    answer=Number(),
    cases=(
        Case("four images, two tasks, and the network has swapped its axes", [_OLD, _NEW], PAIRS, PAIRS),
        Case("ten images, two tasks of four and six", *_drifting((4, 6), 1)),
        Case("fourteen images, three tasks", *_drifting((6, 4, 4), 2)),
        Case("twenty-four images, three tasks of uneven size", *_drifting((4, 8, 12), 3)),
        Case("twenty images in no order of their tasks", *_shuffled(*_drifting((6, 6, 8), 4))),
        Case("features that all point apart", [APART, APART.roll(1, dims=1)], PAIRS, PAIRS.flip(0)),
    ),
    mistakes=table("""
    gallery indexed again | F.normalize(gallery => F.normalize(snapshots[-1]
        Your gallery holds the newest network's features. That is a gallery that was indexed again; a stale one keeps
        each image as the network of its own task left it.
    queries by the old networks | F.normalize(snapshots[-1] => F.normalize(gallery
        Your queries are old features too. Who searches today has the newest network: only the gallery is stale.
    queries and gallery swapped
        | normalize(snapshots[-1], dim=1) @ F.normalize(gallery => normalize(gallery, dim=1) @ F.normalize(snapshots[-1]
        Queries and gallery are swapped: your old features search among new ones.
    gallery from the first network | F.normalize(gallery => F.normalize(snapshots[0]
        Your whole gallery comes from the first network. It had not seen the later tasks; each image was indexed by the
        network of its own task.
    gallery one task too old | = features => = snapshots[max(0, task - 1)]
        Your gallery is one task too old: images of task t were indexed after task t, by snapshots[t].
    the query itself counted as a hit | .fill_diagonal_(-torch.inf) =>
        You counted the query itself as a hit. Its old feature lies in the gallery, and the newest task's is even
        identical: leave out item i for query i.
    the query itself set to similarity 0 | -torch.inf => 0
        You set the similarity of a query to itself to 0. Where all others point away that is the best: −inf.
    put together as if sorted by task | similarity = F.
        => gallery = torch.cat([x[tasks == task] for task, x in enumerate(snapshots)]); similarity = F.
        You put the gallery together task by task, so that its rows stand in another order than the labels. Images need
        not be sorted by task: write each into its own row, gallery[tasks == t].
    normalised along the wrong axis | snapshots[-1], dim=1 => snapshots[-1], dim=0 | gallery, dim=1 => gallery, dim=0
        You scale the columns to length 1 (dim=0). Each image's feature, a row, has its own length: dim=1.
    number of hits instead of their share | .float().mean() => .sum()
        You return how many queries are hits. Divide by N: a share, from 0 to 1.
    only the last task's queries | (labels[nearest] == labels) => (labels[nearest] == labels)[tasks == tasks.max()]
        You ask with the last task's images only. Those of earlier tasks are the interesting ones: all N images ask.
    only the earlier tasks' queries | (labels[nearest] == labels) => (labels[nearest] == labels)[tasks < tasks.max()]
        You leave out the queries of the last task. All N images ask.
    searched within the own task
        | .fill_diagonal_(-torch.inf) => .fill_diagonal_(-torch.inf).masked_fill_(tasks[:, None] != tasks, -torch.inf)
        You search among the images of the query's own task. The gallery holds those of all tasks, and to be mistaken
        for a class of another task is what goes wrong.
    mean of the tasks' recalls | return ( => hit = (
        | .mean().item() => ; return sum(hit[tasks == t].mean() for t in tasks.unique()) / len(tasks.unique())
        You average each task's recall. Tasks are of uneven size, and each query counts the same: one mean over all.
    Euclidean distance of unscaled features
        | F.normalize(snapshots[-1], dim=1) @ F.normalize(gallery, dim=1).T
        => -torch.cdist(snapshots[-1], gallery)
        You compare by Euclidean distance without scaling the features to length 1. Networks differ in how long their
        features are; the search goes by direction.
    dot product instead of cosine | F.normalize(gallery, dim=1) => gallery
        You compare by the dot product: networks differ in how long their features are, and the longest would win. Scale
        to length 1.
    """),
    hints=(
        "snapshots[t] holds all images under the network after task t. Which of its rows were put into the gallery "
        "then?",
        "Build the gallery task by task: rows with tasks == t come from snapshots[t]. The queries are snapshots[-1].",
        "Cosine similarities (N, N), −inf on the diagonal, the label of each row's best; the mean of the hits.",
    ),
    tested="which network made which feature, all queries in one mean, the query itself left out, cosine, uneven tasks",
)


def _one_by_one(features: Tensor, n: int) -> Tensor:
    """The greedy choice by the whole sum that is to be large, for each candidate anew."""
    unit = F.normalize(features.double(), dim=1)
    similarity = unit @ unit.T
    chosen: list[int] = []
    for _ in range(n):
        rest = [j for j in range(len(unit)) if j not in chosen]
        chosen.append(max(rest, key=lambda j: float(similarity[[*chosen, j]].amax(dim=0).sum())))
    return torch.tensor(chosen)


_TWO_GROUPS = torch.tensor([[0.2, 1.0], [1.0, 0.1], [1.0, -0.2], [1.0, 0.3], [-0.3, 1.0], [1.0, 0.6], [-0.1, 1.0]])
_OUTLIER = torch.tensor([[1.0, 0.2], [1.0, -0.1], [0.9, 0.5], [0.1, 1.0], [-0.2, 1.0], [-1.0, -0.6], [0.3, 1.1]])

REPRESENTATIVES = Exercise(
    representatives,
    title="Images that speak for the others",
    doc="""Check f(features (N, D), n) -> (n,) indices, in the order in which they are chosen.

    Each is the one that adds most to the sum over all images of the similarity to the nearest chosen image, by cosine.
    """,
    truth=_one_by_one,
    answer=Indices(),
    cases=(
        Case("seven images in two groups, the first choice only", _TWO_GROUPS, 1),
        Case("the same, two to be chosen", _TWO_GROUPS, 2),
        Case("seven images, and one far from all others", _OUTLIER, 3),
        Case("nine images that point anywhere, features of any length", random(9, 3, 211, 2), 3),
        Case("fourteen of them, five to be chosen", random(14, 3, 22, 2), 5),
        Case("fourteen in four dimensions", random(14, 4, 279, 2) + 0.5, 5),
    ),
    mistakes=table("""
    those most similar to all the others | torch.tensor(chosen) => similarity.sum(dim=0).topk(n).indices
        You take the images that are most similar to all others. They are similar to each other as well: all speak for
        the same crowd, and nobody for the rest. After each choice, ask what the next one would *add*.
    the choice is forgotten | nearest = torch.maximum(nearest, similarity[best]) =>
        You choose the same image again and again: after each choice, the similarity to the nearest chosen image must be
        brought up to date, and the larger one stays: torch.maximum.
    only the last choice counts | torch.maximum(nearest, similarity[best]) => similarity[best]
        You remember the similarity to the last chosen image only. What counts is the nearest of all chosen ones: the
        larger of the two, torch.maximum.
    the worst served image next | gain = => gain = -nearest; _ =
        You choose the image that is farthest from all chosen ones. That is another rule (k-centre), and it likes
        outliers, which speak for nobody but themselves. Choose the image that adds most for all.
    the least gain | argmax() => argmin()
        You choose the image that adds least. The largest gain is wanted: argmax.
    similarities below 0 count as 0 | -1.0 => 0.0
        You begin as if every image had a similarity of 0 already. Similarities can be below 0; begin at −1, the least
        that a cosine can be.
    the candidate's own similarity taken off | nearest[:, None] => nearest
        You compare with the candidate's own similarity to the chosen images, or add up along the wrong axis. Each
        *image* compares the candidate with its own nearest chosen one, nearest[:, None]; then the sum is over the
        images, dim=0.
    images counted instead of what they gain | .clamp(min=0).sum => .gt(0).sum
        You count how many images would come nearer. By how much matters too: add up the gains.
    sorted by number | torch.tensor(chosen) => torch.tensor(sorted(chosen))
        These are the right images, in order of their numbers. Return them as they were chosen: then the first m of
        them are the choice for m.
    dot product instead of cosine | F.normalize(features, dim=1) => features
        You compare by the dot product, so long features speak for everybody. Scale each row to length 1.
    Euclidean distance of unscaled features | F.normalize(features, dim=1) => features
        | features @ features.T => -torch.cdist(features, features) | -1.0 => -100.0
        You compare by Euclidean distance without scaling the features to length 1. The search goes by direction.
    normalised along the wrong axis | features, dim=1 => features, dim=0
        You scale the columns to length 1 (dim=0). An image's feature is a row, and dim=1 scales it.
    """),
    hints=(
        "First all cosines, (N, N). Then keep one number for each image, (N,): its similarity to the nearest chosen "
        "image. Before the first choice it is −1, the least that a cosine can be.",
        "Candidate j raises the number of image i from nearest[i] to similarity[i, j], if that is more. Its gain is "
        "the sum over i of max(0, similarity[i, j] − nearest[i]): "
        "(similarity - nearest[:, None]).clamp(min=0).sum(dim=0).",
        "n times: the index of the largest gain, then nearest = torch.maximum(nearest, similarity[best]).",
    ),
    tested="each choice by what it adds to those before it, for all images, by cosine, and the order of the choices",
)


def _library(snapshots: Sequence[Tensor], labels: Tensor, tasks: Tensor) -> float:
    ranks = metrics.query_ranks(snapshots, labels, tasks, protocol="stale")[-1]
    return float((ranks[ranks > 0] == 1).double().mean())


def _least_squares(gallery: Tensor, old: Tensor, new: Tensor, ridge: float) -> Tensor:
    """The translation on another road: the penalty on W as D more rows of a least-squares problem."""
    a, b = (x.double() - x.double().mean(dim=0) for x in (old, new))
    d = a.shape[1]
    a, b = torch.cat([a, ridge**0.5 * torch.eye(d)]), torch.cat([b, torch.zeros(d, d)])
    w = torch.as_tensor(torch.linalg.lstsq(a, b).solution)  # (D, D)
    return (gallery - old.mean(dim=0)).double() @ w + new.double().mean(dim=0)


def _dictionary(m: int, d: int, seed: int, noise: float, shift: float) -> tuple[Tensor, Tensor]:
    """Features (m, d) by an old network, and by a new one: turned, stretched, shifted and with noise."""
    generator = torch.Generator().manual_seed(seed)
    old = torch.randn(m, d, generator=generator) + 1
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    stretch = 0.5 + torch.rand(d, generator=generator)
    return old, (old @ turn) * stretch + shift + noise * torch.randn(m, d, generator=generator)


_STORED = torch.tensor([[2.0, 0.0]])
_DICTIONARY = torch.tensor([[1.0, 0.0], [3.0, 1.0], [2.0, 4.0]])
_TURNED = 2 * _DICTIONARY @ QUARTER_TURN + 1

TRANSLATE = Exercise(
    translate,
    title="Translation of stored features",
    doc="""Check f(gallery (G, D), old (M, D), new (M, D), ridge) -> (G, D) features in the space of the new network.

    By ridge regression from `old` to `new`, the same images by two networks, each with its mean taken away.
    """,
    truth=_least_squares,
    answer=Rows(),
    cases=(
        Case(
            "one feature; the new network has turned and shifted everything; no penalty",
            *(_STORED, _DICTIONARY, _TURNED, 0.0),
        ),
        Case("one feature, and λ = 2", _STORED, _DICTIONARY, _TURNED, 2.0),
        Case("three features, noisy pairs", random(3, 3, 5) + 1, *_dictionary(8, 3, 1, 0.3, 2.0), 0.5),
        Case(
            "two features of four dimensions, a small dictionary",
            *(torch.eye(4)[:2], *_dictionary(7, 4, 2, 0.1, -1.0), 0.1),
        ),
    ),
    mistakes=table("""
    no means taken away | old.mean(dim=0), new.mean(dim=0) => 0, 0
        You do not take the means away. W can turn and stretch, but it cannot shift: what has moved as a whole must be
        taken away before and added after.
    means taken away only to find W | (gallery - mean_old) @ W + mean_new => gallery @ W
        You find W from centred features, and then apply it to the gallery as it is. Take the old mean away first, and
        add the new one in the end.
    W found without taking the means away | old - mean_old, new - mean_new => old, new
        You find W from features whose means are still there. Take from `old` and from `new` its own mean, then solve.
    new mean not added | + mean_new =>
        The new mean is missing: your features lie around 0, and those of the new network elsewhere. Add it last.
    old mean not taken from the gallery | (gallery - mean_old) => gallery
        You do not take the old mean from the gallery. W was made for centred features.
    gallery's own mean taken away | gallery - mean_old => gallery - gallery.mean(dim=0)
        You take away the gallery's own mean. The gallery shows other images than the dictionary; only the dictionary
        says what becomes of a mean: take away old.mean(dim=0).
    old mean added in the end | + mean_new => + mean_old
        In the end you add the old mean again. Translated features belong around the new mean.
    one mean for all dimensions | mean(dim=0) => mean() (twice)
        You take the mean of all entries, one number. Each dimension has its own mean: old.mean(dim=0).
    translated backwards | a, b = => b, a =
        Your W goes from new to old. The gallery is old and must become new: A is the old side, B the new one.
    W transposed | @ W => @ W.T
        You apply W transposed. A stored feature is a row, so W stands on its right: gallery @ W.
    λ left out | ridge * torch => 0 * torch
        You leave λ out. Where the dictionary says little, W then takes any value; ridge * torch.eye(D) belongs to AᵀA.
    λ added to every entry | ridge * torch.eye(a.shape[1]) => ridge
        You add λ to every entry of AᵀA. It belongs on the diagonal only: ridge * torch.eye(D).
    λ times the number of images | ridge * torch => ridge * len(a) * torch
        You multiply λ by the number of images. That would be right if the errors were averaged; here they are summed.
    λ squared | ridge * torch => ridge**2 * torch
        You square λ. As a term of AᵀA it stands there as it is; its square root is needed only where the penalty is
        written as more rows of A.
    multiplied instead of solved | torch.linalg.solve( => ( | a.shape[1]), a.T @ b => a.shape[1])) @ (a.T @ b
        You multiply by AᵀA + λI. Its inverse is needed: torch.linalg.solve(M, R) returns M⁻¹R.
    a rotation only | translated: => u, _, v = torch.linalg.svd(a.T @ b); W = u @ v; translated:
        You look for the best rotation. W may stretch and shear as well: the formula has no such condition.
    """),
    hints=(
        "First the dictionary: take from `old` its mean, old.mean(dim=0) of shape (D,), and from `new` its own. These "
        "are A and B, (M, D).",
        "torch.linalg.solve(M, R) returns M⁻¹R. Here M is A.T @ A + ridge * torch.eye(D), and R is A.T @ B.",
        "Then the gallery: take the old mean away, multiply by W from the right, add the new mean.",
    ),
    tested="both means, the side of W, its direction, λ on the diagonal, with and without a penalty",
)
