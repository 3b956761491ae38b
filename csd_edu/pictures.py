"""Figures of a comparison of runs: what the report prints, the widgets show and their static twins keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from csd_edu import plots, untaught
from csd_edu.comparison import METRICS, Comparison, against_bytes, cards_of, of_methods
from csd_edu.maps import Map, Plane
from csd_edu.metrics import PROTOCOLS
from csd_edu.plots import Shown
from csd_edu.plots.bytes import METRICS as REACHED
from csd_edu.results import Results
from csd_edu.runs import Run, check_runs


def matrices(comparison: Comparison, metric: str = "Recall@1", protocol: str = "seen") -> go.Figure:
    """Return the task matrices of all runs by a metric of `comparison.METRICS`."""
    of_runs = {name: comparison.matrix(name, metric, protocol) for name in comparison.runs}
    return plots.task_matrices(of_runs, title=f"{metric}: {METRICS[metric]}", protocol=protocol)


def recall_against_bytes(
    runs: Sequence[Run] | Mapping[str, Sequence[Run]] | Results,
    *,
    metric: str = "recall_at_1",
    title: str = "What does it take to remember?",
    subtitle: str | Sequence[str] = (),
    labels: bool = True,
) -> go.Figure:
    """Return one mark for each method: what it reaches, over the bytes that it carries from task to task.

    Runs of one method with other seeds are one mark, at their mean. They need not be of the same images: small ones and
    large ones can stand beside each other.

    Args:
        runs: in any order; or by the words that name their mark, such as {"8×8": [run, …]}; or the results of an
            experiment that has counted the bytes, such as `results.read("neighbours")`.
        metric: "recall_at_1" or "head_accuracy".
        title: above the figure.
        subtitle: a line below the definitions, or several.
        labels: name each mark beside it as well as in the legend.

    Raises:
        ValueError: if there is no run, one has not finished its first task, or bytes were counted in none; if it is
            a single run, or there is no such metric.
    """
    if metric not in REACHED:
        raise ValueError(f"metric is {metric!r}; expected one of {', '.join(map(repr, REACHED))}")
    below = [subtitle] if isinstance(subtitle, str) else list(subtitle)
    if isinstance(runs, Results):
        measured = {
            name: [(round(n), value) for n, value in zip(runs.of(name, "bytes"), runs.of(name, metric), strict=True)]
            for name, of in runs.values.items()
            if metric in of
        }
        return plots.recall_against_bytes(
            measured, metric=metric, title=title, subtitle=[runs.about, *below], labels=labels, cards=untaught.CARDS
        )
    for several in runs.values() if isinstance(runs, Mapping) else [runs]:
        check_runs(several)
    by_name = runs if isinstance(runs, Mapping) else of_methods(runs)
    every = [run for several in by_name.values() for run in several]
    begun = [name for name, several in by_name.items() if not all(run.finished for run in several)]
    so_far = [f"not finished, and shown with the tasks learnt so far: {', '.join(begun)}"] * bool(begun)
    reached = {name: against_bytes(several, metric) for name, several in by_name.items()}
    return plots.recall_against_bytes(
        reached, metric=metric, title=title, subtitle=[*so_far, *below], labels=labels, cards=cards_of(every)
    )


def strips(
    comparison: Comparison,
    query: int,
    protocol: str = "seen",
    k: int = 8,
    *,
    every_task: bool = True,
    title: str = "What does the search find after each task?",
) -> go.Figure:
    """Return a query and the k images that each run finds for it after each task, those of its class marked right.

    With `every_task` off, there are two rows for each run: right after the query's own task, and in the end.
    """
    rows = {}
    for name in comparison.runs:
        found = comparison.neighbors(query, name, protocol, k).tolist()
        ends = int(comparison.tasks[query]), len(found) - 1
        for t, ids in enumerate(found):
            row = _row(comparison, query, ids)
            if len(row) > 1 and (every_task or t in ends):
                rows[f"{name}, after task {t}"] = row
    rows = rows or {"not learnt yet": _row(comparison, query, [])}
    subtitle = [_about(comparison, query), f"{protocol}: {PROTOCOLS[protocol]}"]
    return plots.retrieval_strips(rows, title=title, subtitle=subtitle)


def neighbors(comparison: Comparison, query: int, after: int, k: int = 8) -> go.Figure:
    """Return an image and its k nearest among all test images, in each run's feature space after one task."""
    rows = {}
    for name in comparison.runs:
        ids = comparison.neighbors(query, name, "all", k)
        rows[name] = _row(comparison, query, ids[min(after, len(ids) - 1)].tolist())
    title = f"Nearest after task {after}, among all test images"
    return plots.retrieval_strips(rows, title=title, subtitle=[_about(comparison, query)])


def first_plane(
    comparison: Comparison, classes: Sequence[int] | None = None, *, after: Sequence[int] | None = None
) -> go.Figure:
    """Return what becomes of a few classes of one task in the plane that separated them when they had been learnt.

    Args:
        comparison: of runs that have all learnt that task.
        classes: their labels; default the best separated ones of task 0.
        after: tasks, a column for each; default the first, the middle and the last.
    """
    planes = comparison.planes(classes)
    n_candidates = None
    if classes is None:
        n_candidates = len(comparison.labels[comparison.tasks == 0].unique())
    return plots.first_plane(planes, classes=comparison.classes, after=after, n_candidates=n_candidates)


def drift_map(
    comparison: Comparison,
    kind: str = "umap",
    *,
    color: str = "task",
    classes: Sequence[int] | None = None,
    others: str = "grey",
    trails: bool = True,
    columns: int | None = None,
) -> go.Figure:
    """Return the maps of all runs, side by side, with a slider over the tasks.

    Args:
        comparison: of the runs.
        kind: "pca", "umap" (snapshot by snapshot), "umap together", or "plane": of a few classes, in their colours.
        color: "task", "class", or "found".
        classes: labels of a few classes to have in colour, whatever `color`; for "plane" those of the plane.
        others: the points of other classes than these: "grey" or "hidden".
        trails: draw a line to each point from where it was one task before.
        columns: panels in a row.
    """
    maps: Mapping[str, Map | Plane]
    if kind == "plane":
        planes = comparison.planes(classes)
        classes = next(iter(planes.values())).classes.tolist()
        maps = planes
    else:
        maps = comparison.maps(kind, classes or ())
    probe = maps[next(iter(maps))].indices
    color = color if classes is None else "class"
    found = {name: comparison.ranks(name)[:, probe] == 1 for name in comparison.runs} if color == "found" else None
    return plots.drift_map(
        maps,
        comparison.labels[probe],
        comparison.tasks[probe],
        classes=comparison.classes,
        color=color,
        shown=classes,
        others=others,
        found=found,
        trails=trails,
        columns=columns,
    )


def shown(comparison: Comparison, index: int, mark: str) -> Shown:
    """Return a test image with its class and task as its caption."""
    image = None if comparison.images is None else comparison.images[index]
    name, task = comparison.classes[int(comparison.labels[index])], int(comparison.tasks[index])
    return Shown(image, mark, f"{name} (task {task}), test image {index}", index)


def _row(comparison: Comparison, query: int, found: Sequence[int]) -> list[Shown]:
    """Return a query and what was found for it (−1 for nothing), those of its class marked right."""
    results = [i for i in found if i >= 0]
    marks = ["right" if comparison.labels[i] == comparison.labels[query] else "wrong" for i in results]
    return [shown(comparison, i, mark) for i, mark in zip([query, *results], ["query", *marks], strict=True)]


def _about(comparison: Comparison, query: int) -> str:
    name, task = comparison.classes[int(comparison.labels[query])], int(comparison.tasks[query])
    return f"query: test image {query}, of class {name}, learnt in task {task}"
