"""Exercises on search that ages: new queries in a gallery that is not indexed again, and how to translate it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.running import Case, Exercise, Mistake
from csd_edu.check.searching import cosine, dot


def stale_recall(snapshots: list[Tensor], labels: Tensor, tasks: Tensor) -> float:
    gallery = snapshots[-1].clone()  # (N, D)
    for task, features in enumerate(snapshots):
        gallery[tasks == task] = features[tasks == task]  # as this task's own network left them
    similarity = F.normalize(snapshots[-1], dim=1) @ F.normalize(gallery, dim=1).T  # (N, N)
    similarity.fill_diagonal_(-torch.inf)  # no query finds itself
    nearest = similarity.argmax(dim=1)  # (N,)
    return (labels[nearest] == labels).float().mean().item()


def translate(gallery: Tensor, old: Tensor, new: Tensor, ridge: float = 0.1) -> Tensor:
    mean_old, mean_new = old.mean(dim=0), new.mean(dim=0)  # (D,), (D,)
    a, b = old - mean_old, new - mean_new  # (M, D), (M, D): the dictionary, centred
    W = torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1]), a.T @ b)  # (D, D)
    translated: Tensor = (gallery - mean_old) @ W + mean_new  # (G, D)
    return translated


Choose = Callable[[Sequence[Tensor], Tensor], Tensor]


def _as_left(snapshots: Sequence[Tensor], tasks: Tensor) -> Tensor:
    """The features (N, D), each under its own task's network."""
    return torch.stack(list(snapshots))[tasks, torch.arange(len(tasks))]


def _newest(snapshots: Sequence[Tensor], _tasks: Tensor) -> Tensor:
    return snapshots[-1]


def _first(snapshots: Sequence[Tensor], _tasks: Tensor) -> Tensor:
    return snapshots[0]


def _as_found(snapshots: Sequence[Tensor], tasks: Tensor) -> Tensor:
    """The features (N, D), each under the network before its own task's."""
    return _as_left(snapshots, (tasks - 1).clamp_min(0))


def _mean(hit: Tensor, _tasks: Tensor) -> Tensor:
    return hit.mean()


def _wrong(
    snapshots: Sequence[Tensor],
    labels: Tensor,
    tasks: Tensor,
    *,
    asking: Choose = _newest,
    found: Choose = _as_left,
    compare: Callable[[Tensor, Tensor], Tensor] = cosine,
    itself: bool = False,
    own_task: bool = False,
    score: Callable[[Tensor, Tensor], Tensor] = _mean,
) -> Tensor:
    """Stale recall with one thing done differently; `score` gets the hits (N,) and the tasks (N,)."""
    similarity = compare(asking(snapshots, tasks), found(snapshots, tasks))
    if not itself:
        similarity.fill_diagonal_(-torch.inf)
    if own_task:
        similarity = similarity.masked_fill(tasks[:, None] != tasks[None, :], -torch.inf)
    return score((labels[similarity.argmax(dim=1)] == labels).float(), tasks)


def _mean_of_tasks(hit: Tensor, tasks: Tensor) -> Tensor:
    return torch.stack([hit[tasks == task].mean() for task in tasks.unique()]).mean()


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


_OLD = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.5, 0.5], [0.4, 0.6]])
_NEW = torch.tensor([[0.0, 1.0], [0.2, 0.9], [5.0, 0.5], [0.8, -0.2]])

STALE_RECALL = Exercise(
    name="stale_recall",
    title="Recall with a stale gallery",
    solution=stale_recall,
    truth=lambda snapshots, labels, tasks: _library(snapshots, labels, tasks),
    answer="number",
    cases=(
        Case(
            "four images, two tasks, and the network has swapped its axes",
            ([_OLD, _NEW], torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])),
        ),
        Case("ten images, two tasks of four and six", _drifting((4, 6), 1)),
        Case("fourteen images, three tasks", _drifting((6, 4, 4), 2)),
        Case("twenty-four images, three tasks of uneven size", _drifting((4, 8, 12), 3)),
    ),
    mistakes=(
        Mistake(
            "gallery indexed again",
            "Your gallery holds the newest network's features. That is a gallery that was indexed again; a stale one "
            "keeps each image as the network of its own task left it.",
            partial(_wrong, found=_newest),
        ),
        Mistake(
            "queries by the old networks",
            "Your queries are old features too. Who searches today has the newest network: only the gallery is stale.",
            partial(_wrong, asking=_as_left),
        ),
        Mistake(
            "queries and gallery swapped",
            "Queries and gallery are swapped: your old features search among new ones.",
            partial(_wrong, asking=_as_left, found=_newest),
        ),
        Mistake(
            "gallery from the first network",
            "Your whole gallery comes from the first network. It had not seen the later tasks; each image was indexed "
            "by the network of its own task.",
            partial(_wrong, found=_first),
        ),
        Mistake(
            "gallery one task too old",
            "Your gallery is one task too old: images of task t were indexed after task t, by snapshots[t].",
            partial(_wrong, found=_as_found),
        ),
        Mistake(
            "the query itself counted as a hit",
            "You counted the query itself as a hit. Its old feature lies in the gallery, and the newest task's is even "
            "identical: leave out item i for query i.",
            partial(_wrong, itself=True),
        ),
        Mistake(
            "only the last task's queries",
            "You ask with the last task's images only. Those of earlier tasks are the interesting ones: all N images "
            "ask.",
            partial(_wrong, score=lambda hit, tasks: hit[tasks == tasks.max()].mean()),
        ),
        Mistake(
            "only the earlier tasks' queries",
            "You leave out the queries of the last task. All N images ask.",
            partial(_wrong, score=lambda hit, tasks: hit[tasks < tasks.max()].mean()),
        ),
        Mistake(
            "searched within the own task",
            "You search among the images of the query's own task. The gallery holds those of all tasks, and to be "
            "mistaken for a class of another task is what goes wrong.",
            partial(_wrong, own_task=True),
        ),
        Mistake(
            "mean of the tasks' recalls",
            "You average each task's recall. Tasks are of uneven size, and each query counts the same: one mean over "
            "all.",
            partial(_wrong, score=_mean_of_tasks),
        ),
        Mistake(
            "dot product instead of cosine",
            "You compare by the dot product: networks differ in how long their features are, and the longest would "
            "win. Scale to length 1.",
            partial(_wrong, compare=dot),
        ),
    ),
    hints=(
        "snapshots[t] holds all images under the network after task t. Which of its rows were put into the gallery "
        "then?",
        "Build the gallery task by task: rows with tasks == t come from snapshots[t]. The queries are snapshots[-1].",
        "Cosine similarities (N, N), −inf on the diagonal, the label of each row's best; the mean of the hits.",
    ),
    tested="which network made which feature, all queries in one mean, the query itself left out, cosine, uneven tasks",
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


Centre = Callable[[Tensor, Tensor, Tensor], Tensor]


def _solved(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    """The matrix W (D, D) of ridge regression, by W = (AᵀA + λI)⁻¹ AᵀB."""
    return torch.as_tensor(torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1]), a.T @ b))


def _penalty_on_all(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    return torch.as_tensor(torch.linalg.solve(a.T @ a + ridge, a.T @ b))


def _unpenalised(a: Tensor, b: Tensor, _ridge: float) -> Tensor:
    return _solved(a, b, 0.0)


def _penalty_per_image(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    return _solved(a, b, ridge * len(a))


def _squared_penalty(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    return _solved(a, b, ridge**2)


def _backwards(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    return _solved(b, a, ridge)


def _not_solved(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    return (a.T @ a + ridge * torch.eye(a.shape[1])) @ (a.T @ b)


def _turn(a: Tensor, b: Tensor, _ridge: float) -> Tensor:
    """The best rotation (orthogonal Procrustes)."""
    u, _, v = torch.linalg.svd(a.T @ b)
    return torch.as_tensor(u @ v)


def _wrong_translation(
    gallery: Tensor,
    old: Tensor,
    new: Tensor,
    ridge: float,
    *,
    fitted: bool = True,
    taken: Centre = lambda _gallery, old, _new: old.mean(dim=0),
    added: Centre = lambda _gallery, _old, new: new.mean(dim=0),
    matrix: Callable[[Tensor, Tensor, float], Tensor] = _solved,
    apply: Callable[[Tensor, Tensor], Tensor] = lambda x, w: x @ w,
) -> Tensor:
    """A translation with one thing done differently; not `fitted`: W is found without taking the means away."""
    gallery, old, new = gallery.double(), old.double(), new.double()
    a, b = (old - old.mean(dim=0), new - new.mean(dim=0)) if fitted else (old, new)
    w = matrix(a, b, ridge)
    return apply(gallery - taken(gallery, old, new), w) + added(gallery, old, new)


def _nothing(_gallery: Tensor, old: Tensor, _new: Tensor) -> Tensor:
    return torch.zeros(old.shape[1])


def _dictionary(m: int, d: int, seed: int, noise: float, shift: float) -> tuple[Tensor, Tensor]:
    """Features (m, d) by an old network, and by a new one: turned, stretched, shifted and with noise."""
    generator = torch.Generator().manual_seed(seed)
    old = torch.randn(m, d, generator=generator) + 1
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    stretch = 0.5 + torch.rand(d, generator=generator)
    return old, (old @ turn) * stretch + shift + noise * torch.randn(m, d, generator=generator)


_PAIRS = torch.tensor([[1.0, 0.0], [3.0, 1.0], [2.0, 4.0]])
_QUARTER_TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
_THREE_TO_TRANSLATE = torch.randn(3, 3, generator=torch.Generator().manual_seed(5)) + 1

TRANSLATE = Exercise(
    name="translate",
    title="Translation of stored features",
    solution=translate,
    truth=_least_squares,
    answer="rows",
    cases=(
        Case(
            "one feature; the new network has turned and shifted everything; no penalty",
            (torch.tensor([[2.0, 0.0]]), _PAIRS, 2 * _PAIRS @ _QUARTER_TURN + 1, 0.0),
        ),
        Case("one feature, and λ = 2", (torch.tensor([[2.0, 0.0]]), _PAIRS, 2 * _PAIRS @ _QUARTER_TURN + 1, 2.0)),
        Case("three features, noisy pairs", (_THREE_TO_TRANSLATE, *_dictionary(8, 3, 1, 0.3, 2.0), 0.5)),
        Case(
            "two features of four dimensions, a small dictionary",
            (torch.eye(4)[:2], *_dictionary(7, 4, 2, 0.1, -1.0), 0.1),
        ),
    ),
    mistakes=(
        Mistake(
            "no means taken away",
            "You do not take the means away. W can turn and stretch, but it cannot shift: what has moved as a whole "
            "must be taken away before and added after.",
            partial(_wrong_translation, fitted=False, taken=_nothing, added=_nothing),
        ),
        Mistake(
            "means taken away only to find W",
            "You find W from centred features, and then apply it to the gallery as it is. Take the old mean away "
            "first, and add the new one in the end.",
            partial(_wrong_translation, taken=_nothing, added=_nothing),
        ),
        Mistake(
            "W found without taking the means away",
            "You find W from features whose means are still there. Take from `old` and from `new` its own mean, then "
            "solve.",
            partial(_wrong_translation, fitted=False),
        ),
        Mistake(
            "new mean not added",
            "The new mean is missing: your features lie around 0, and those of the new network elsewhere. Add it last.",
            partial(_wrong_translation, added=_nothing),
        ),
        Mistake(
            "old mean not taken from the gallery",
            "You do not take the old mean from the gallery. W was made for centred features.",
            partial(_wrong_translation, taken=_nothing),
        ),
        Mistake(
            "gallery's own mean taken away",
            "You take away the gallery's own mean. The gallery shows other images than the dictionary; only the "
            "dictionary says what becomes of a mean: take away old.mean(dim=0).",
            partial(_wrong_translation, taken=lambda gallery, _old, _new: gallery.mean(dim=0)),
        ),
        Mistake(
            "old mean added in the end",
            "In the end you add the old mean again. Translated features belong around the new mean.",
            partial(_wrong_translation, added=lambda _gallery, old, _new: old.mean(dim=0)),
        ),
        Mistake(
            "one mean for all dimensions",
            "You take the mean of all entries, one number. Each dimension has its own mean: old.mean(dim=0).",
            lambda gallery, old, new, ridge: (
                (gallery - old.mean()) @ _solved(old - old.mean(), new - new.mean(), ridge) + new.mean()
            ),
        ),
        Mistake(
            "translated backwards",
            "Your W goes from new to old. The gallery is old and must become new: A is the old side, B the new one.",
            partial(_wrong_translation, matrix=_backwards),
        ),
        Mistake(
            "W transposed",
            "You apply W transposed. A stored feature is a row, so W stands on its right: gallery @ W.",
            partial(_wrong_translation, apply=lambda x, w: x @ w.T),
        ),
        Mistake(
            "λ left out",
            "You leave λ out. Where the dictionary says little, W then takes any value; ridge * torch.eye(D) belongs "
            "to AᵀA.",
            partial(_wrong_translation, matrix=_unpenalised),
        ),
        Mistake(
            "λ added to every entry",
            "You add λ to every entry of AᵀA. It belongs on the diagonal only: ridge * torch.eye(D).",
            partial(_wrong_translation, matrix=_penalty_on_all),
        ),
        Mistake(
            "λ times the number of images",
            "You multiply λ by the number of images. That would be right if the errors were averaged; here they are "
            "summed.",
            partial(_wrong_translation, matrix=_penalty_per_image),
        ),
        Mistake(
            "λ squared",
            "You square λ. As a term of AᵀA it stands there as it is; its square root is needed only where the "
            "penalty is written as more rows of A.",
            partial(_wrong_translation, matrix=_squared_penalty),
        ),
        Mistake(
            "multiplied instead of solved",
            "You multiply by AᵀA + λI. Its inverse is needed: torch.linalg.solve(M, R) returns M⁻¹R.",
            partial(_wrong_translation, matrix=_not_solved),
        ),
        Mistake(
            "a rotation only",
            "You look for the best rotation. W may stretch and shear as well: the formula has no such condition.",
            partial(_wrong_translation, matrix=_turn),
        ),
    ),
    hints=(
        "First the dictionary: take from `old` its mean, old.mean(dim=0) of shape (D,), and from `new` its own. These "
        "are A and B, (M, D).",
        "torch.linalg.solve(M, R) returns M⁻¹R. Here M is A.T @ A + ridge * torch.eye(D), and R is A.T @ B.",
        "Then the gallery: take the old mean away, multiply by W from the right, add the new mean.",
    ),
    tested="both means, the side of W, its direction, λ on the diagonal, with and without a penalty",
)
