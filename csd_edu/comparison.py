"""Runs on the same test images, side by side: what the report and the widgets show of them.

Each table is computed when it is first asked for, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from csd_edu import drift, metrics, retrieval
from csd_edu.maps import Map, Plane, best_separated, cached_maps, first_plane
from csd_edu.methods import Card
from csd_edu.runs import Run, check_runs

Kept = TypeVar("Kept")

METRICS = {
    "Recall@1": "the nearest other image is of the query's class",
    "Recall@5": "one of the five nearest other images is of the query's class",
    "Head accuracy": "the head names the class, out of those of all tasks learnt so far",
    "Class-mean accuracy": "the nearest mean of a class learnt so far is its own class's, the image itself left out",
}
"""What makes a test image count as right."""

POINTS = 500  # on a map, about
FEW = 6  # classes to follow one by one


class Comparison:
    """Runs that learnt the same tasks, with the same test images.

    Args:
        runs: in the order in which to show them; an unfinished one with the tasks it has learnt.
        names: one for each run; default `run_labels`.

    Attributes:
        runs: by their names.
        labels, tasks: (N,) int64 of the test images.
        images: (N, C, H, W) uint8, or None if no run has saved them.
        classes: names, in the order of the labels.
        cards: of the methods that have one, by their names without settings.
        n_tasks: T.

    Raises:
        ValueError: if there is no run, one has not finished its first task, is given twice, or has other data or tasks;
            or the names are not one for each run, each another.
    """

    def __init__(self, runs: Sequence[Run], *, names: Sequence[str] | None = None) -> None:
        check_comparable(runs)
        self.runs = dict(zip(run_labels(runs) if names is None else _checked(names, runs), runs, strict=True))
        first = runs[0]
        for run in runs:
            if run.tasks != first.tasks:
                raise ValueError(
                    f"{run.path} and {first.path} learn the classes in different orders; expected runs with the same "
                    "seed of the class order, as only these have the same queries in each task"
                )
        tests = [run.test() for run in runs]
        self.labels, self.tasks = tests[0]["labels"], tests[0]["tasks"]
        self.images: Tensor | None = next((test["images"] for test in tests if "images" in test), None)
        self.classes = first.classes
        self.cards = cards_of(runs)
        self.n_tasks = first.n_tasks

        self._kept: dict[tuple[object, ...], Any] = {}

    @classmethod
    def of(cls, *runs: Run | Comparison) -> Comparison:
        """Return the comparison of these runs, or the one that is given itself, with what it has computed."""
        if len(runs) == 1 and isinstance(runs[0], Comparison):
            return runs[0]
        wrong = [run for run in runs if not isinstance(run, Run)]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} is no run; expected runs, such as csd.Run.load('runs/csd'), or one Comparison"
            )
        return cls([run for run in runs if isinstance(run, Run)])

    def snapshots(self, name: str) -> list[Tensor]:
        """Return the features (N, D) of all test images under the network after each task learnt."""
        return self._once(("snapshots", name), self.runs[name].snapshots)

    def ranks(self, name: str, protocol: str = "seen") -> Tensor:
        """Return for each query the rank of its first right answer after each task, see `metrics.query_ranks`."""
        return self._once(
            ("ranks", name, protocol),
            lambda: metrics.query_ranks(self.snapshots(name), self.labels, self.tasks, protocol=protocol),
        )

    def scores(self, name: str, metric: str, protocol: str = "seen") -> Tensor:
        """Return which test images are right after each task learnt, by a metric of `METRICS`.

        Returns:
            (T, N) float64: 1 right, 0 wrong, NaN where metric and protocol have no value.
        """
        return self._once(("scores", name, metric, protocol), lambda: self._scores(name, metric, protocol))

    def matrix(self, name: str, metric: str, protocol: str = "seen") -> list[list[float | None]]:
        """Return the T × T task matrix of a metric of `METRICS`: the mean of its `scores` for each task."""
        empty: list[float | None] = [None] * self.n_tasks
        rows = []
        for scores in self.scores(name, metric, protocol):
            means = [float(scores[self.tasks == task].nanmean()) for task in range(self.n_tasks)]
            rows.append([None if math.isnan(mean) else mean for mean in means])
        return rows + [empty] * (self.n_tasks - len(rows))

    def changes(self, name: str, protocol: str = "seen") -> dict[str, Tensor]:
        """Return the masks (N,) of the queries kept, lost, won and missed, see `metrics.query_changes`.

        A query of a task that the run has not learnt yet is in none of them.
        """

        def changes() -> dict[str, Tensor]:
            ranks = self.ranks(name, protocol)
            learnt = self.tasks < len(ranks)
            masks = metrics.query_changes(ranks, self.tasks.clamp(max=len(ranks) - 1))
            return {change: mask & learnt for change, mask in masks.items()}

        return self._once(("changes", name, protocol), changes)

    def neighbors(self, query: int, name: str, protocol: str = "seen", k: int = 8) -> Tensor:
        """Return the ids (T, k) of the images that one query finds after each task learnt; −1 where there are none."""
        one = torch.tensor([query], device="cpu")
        return retrieval.neighbors_over_tasks(
            self.snapshots(name), self.tasks, k=k, protocol=protocol, queries=one, labels=self.labels
        ).ids[:, 0]

    def maps(self, kind: str = "umap", classes: Sequence[int] = (), *, progress: bool = True) -> dict[str, Map]:
        """Return a map of each run on the same class-balanced sample of about 500 test images.

        Args:
            kind: as for `maps.cached_maps`.
            classes: labels of a few classes to follow: of these more images.
            progress: print a line while UMAP fits.
        """

        def fit() -> dict[str, Map]:
            runs, per_class = list(self.runs.values()), max(1, round(POINTS / len(self.classes)))
            maps = cached_maps(runs, kind, per_class=per_class, classes=sorted(classes), progress=progress)
            return dict(zip(self.runs, maps, strict=True))

        return self._once(("maps", kind, *sorted(classes)), fit)

    def probe(self) -> Tensor:
        """Return which test images the maps and the numbers about drift are of."""
        return self.maps("pca")[next(iter(self.runs))].indices

    def separable(self, task: int = 0) -> bool:
        """Return whether a task has classes to tell apart: at least two with two test images."""
        return int((self.labels[self.tasks == task].bincount() > 1).sum()) >= 2

    def few_classes(self, task: int = 0, n: int = FEW) -> list[int]:
        """Return labels of a few classes of a task, those best separated under the first run's network after it.

        Raises:
            ValueError: if there is no such task, no run has learnt it, or under two of its classes have two images.
        """

        def choose() -> list[int]:
            learnt = [name for name, run in self.runs.items() if run.tasks_learnt > task >= 0]
            if not learnt:
                raise ValueError(f"task is {task}; expected one that a run has learnt, of 0 to {self.n_tasks - 1}")
            candidates = self.labels[self.tasks == task].unique().tolist()
            return best_separated(self.snapshots(learnt[0])[task], self.labels, candidates, n=n)

        return self._once(("few classes", task, n), choose)

    def planes(self, classes: Sequence[int] | None = None) -> dict[str, Plane]:
        """Return for each run the plane of a few classes under its network after the task that taught them.

        Args:
            classes: labels of one task; default `few_classes()`.

        Raises:
            ValueError: if they are of several tasks, a run has not learnt that task, or as `maps.first_plane` does.
        """
        chosen = self.few_classes() if classes is None else sorted(classes)
        of_tasks = {int(self.tasks[self.labels == k].min()) for k in chosen if k in self.labels}
        if len(of_tasks) > 1:
            raise ValueError(
                f"classes are of tasks {', '.join(map(str, sorted(of_tasks)))}; expected those of one task"
            )
        task = min(of_tasks, default=0)
        return self._once(
            ("planes", *chosen),
            lambda: {name: first_plane(self.snapshots(name), self.labels, chosen, after=task) for name in self.runs},
        )

    def drift_table(self, name: str) -> list[dict[str, Any]]:
        """Return the drift between each pair of snapshots on the maps' sample, see `drift.displacement_table`."""

        def measure() -> list[dict[str, Any]]:
            probe = self.probe()
            return drift.displacement_table([x[probe] for x in self.snapshots(name)], self.labels[probe])

        return self._once(("drift", name), measure)

    def _scores(self, name: str, metric: str, protocol: str) -> Tensor:
        if protocol not in protocols_of(metric):
            raise ValueError(
                f"{metric!r} has no protocol {protocol!r}; expected one of {', '.join(protocols_of(metric))}"
            )
        if metric.startswith("Recall@"):
            ranks = self.ranks(name, protocol)
            return torch.where(ranks > 0, (ranks <= int(metric[7:])).double(), torch.nan)
        scores = torch.full((len(self.snapshots(name)), len(self.labels)), torch.nan, dtype=torch.float64, device="cpu")
        for t, features in enumerate(self.snapshots(name)):
            seen = self.tasks <= t
            if metric == "Head accuracy":
                right = self.runs[name].predictions(t)[seen] == self.labels[seen]
                scores[t, seen] = right.double()
            else:
                scores[t, seen] = metrics.nearest_class_mean(features[seen], self.labels[seen])
        return scores

    def _once(self, key: tuple[object, ...], compute: Callable[[], Kept]) -> Kept:
        if key not in self._kept:
            self._kept[key] = compute()
        kept: Kept = self._kept[key]
        return kept


def protocols_of(metric: str) -> tuple[str, ...]:
    """Return the protocols under which a metric of `METRICS` is defined.

    Raises:
        ValueError: if there is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; expected one of {', '.join(map(repr, METRICS))}")
    return tuple(metrics.PROTOCOLS) if metric.startswith("Recall@") else ("seen",)


def run_labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run: its method and, where several have the same, what tells those apart."""
    labels = []
    for run in runs:
        twins = [other for other in runs if other.method == run.method]
        name = run.method
        for tell in (lambda r: f"seed {r.config.seed}", lambda r: r.path.resolve().name, lambda r: str(r.path)):
            if len(twins) > 1:
                name = f"{run.method} ({tell(run)})"
            if len({tell(twin) for twin in twins}) == len(twins):
                break
        labels.append(name)
    return labels


def _checked(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Return names for runs, or raise a ValueError if they are not one for each, each another."""
    wrong = isinstance(names, str) or not all(isinstance(name, str) for name in names)
    if wrong or len(names) != len(runs) or len(set(names)) < len(names):
        raise ValueError(
            f"names is {names!r}; expected a list of {len(runs)} text{'s' * (len(runs) != 1)}, another for each run"
        )
    return list(names)


def cards_of(runs: Iterable[Run]) -> dict[str, Card]:
    """Return the cards of the runs' methods that have one, by their names without settings."""
    return {run.method.partition("(")[0]: Card.from_json(run.card) for run in runs if run.card is not None}


def in_bytes(kept: Mapping[str, int] | None) -> str:
    """Return what a run carries over from task to task as text, such as "312 kB"; "–" if it was not counted."""
    if kept is None:
        return "–"
    n = sum(kept.values())
    return f"{n / 1e6:.1f} MB" if n >= 999_500 else f"{n / 1e3:.0f} kB" if n >= 1e3 else f"{n} B"


def of_methods(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each method, with the arguments that were set, by its name."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.method, []).append(run)
    return found


def against_bytes(runs: Sequence[Run], metric: str = "recall_at_1") -> list[tuple[int | None, float]]:
    """Return for each run what it carries over from task to task, and what it reaches.

    Args:
        runs: with at least one task learnt.
        metric: of `run.metrics["summary"]`: "recall_at_1" or "head_accuracy".

    Returns:
        The bytes, None if an older version did not count them; and the value, 0 to 1.

    Raises:
        ValueError: if one is no run, or has not finished its first task.
    """
    check_runs(runs)
    found: list[tuple[int | None, float]] = []
    for run in runs:
        if run.tasks_learnt == 0:
            raise ValueError(f"the run in {run.path} has not finished its first task yet; there is nothing to show")
        kept = run.kept_bytes
        found.append((None if kept is None else sum(kept.values()), run.metrics["summary"][metric]))
    return found


def falls_of(run: Run) -> list[metrics.Fall]:
    """Return how Recall@1 fell on each task but the last one learnt, see `metrics.forgetting_and_crowding`."""
    n = run.tasks_learnt
    own, seen = ([row[:n] for row in run.metrics["recall_at_1"][protocol][:n]] for protocol in ("task", "seen"))
    return metrics.forgetting_and_crowding(own, seen)


def across_networks(run: Run) -> dict[str, float]:
    """Return what features of an earlier network are worth to the last one of a finished run.

    Returns:
        "stale", the share of queries of earlier tasks that are found with the last network in a gallery that each
        task's own network has left behind (Recall@1, protocol "stale"); and "drift", how far the features of the first
        task's images have turned from the first network to the last: the mean of 1 − cosine. Of a run that kept no
        features these are the numbers that it has kept in their place.

    Raises:
        ValueError: if the run has a single task, or is not finished.
        FileNotFoundError: if it has kept neither.
    """
    if not run.finished or run.n_tasks < 2:
        raise ValueError(f"{run!r}; expected a finished run of at least two tasks")
    kept: dict[str, float] | None = run.description.get("saved", {}).get("across_networks")
    if kept is not None:
        return kept
    snapshots, test = run.snapshots(), run.test()
    ranks = metrics.query_ranks(snapshots, test["labels"], test["tasks"], protocol="stale")[-1]  # (N,)
    old, first = test["tasks"] < run.n_tasks - 1, test["tasks"] == 0  # (N,)
    return {
        "stale": float((ranks[old] == 1).double().mean()),
        "drift": drift.mean_displacement(snapshots[0][first], snapshots[-1][first]),
    }


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise a ValueError if there is no run, one has nothing to show, is given twice, or has other data or sizes."""
    check_runs(runs)
    if not runs:
        raise ValueError("there is no run; expected at least one")
    first = runs[0]
    for k, run in enumerate(runs):
        if run.tasks_learnt == 0:
            raise ValueError(f"the run in {run.path} has not finished its first task yet; there is nothing to show")
        if run.path.resolve() in {other.path.resolve() for other in runs[:k]}:
            raise ValueError(f"the run in {run.path} is given twice")
        for what, here, there in zip(("data", "tasks"), stream_of(run), stream_of(first), strict=True):
            if here != there:
                raise ValueError(
                    f"{run.path} and {first.path} have different {what}: {here}, and {there}. "
                    "Only runs on the same data and sizes of tasks can be compared; show each by itself"
                )


def stream_of(run: Run) -> tuple[str, str]:
    """Return which images a run learns, and in tasks of which sizes."""
    stream = run.description["stream"]
    data = f"{stream['dataset']} with fingerprint {stream['fingerprint']}"
    return data, " + ".join(str(len(task)) for task in run.tasks) + " classes"
