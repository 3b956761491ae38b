"""The exercise on search that ages: new queries, and a gallery that is not indexed again."""

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
