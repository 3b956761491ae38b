"""The pairs that the CSD loss sees in a batch: how alike they are, and how hard each one pulls or pushes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from csd_edu import losses, pictures, plots
from csd_edu.comparison import Comparison
from csd_edu.plots import Shown
from csd_edu.results import number
from csd_edu.runs import Run
from csd_edu.widgets.panel import Panel, Picture
from csd_edu.widgets.twin import table

TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
BATCHES = 8


class PairView(Panel):
    """A batch as the CSD loss sees it after a task: the student's features against its own and the teacher's.

    The batch is a small one of test images of the classes of that task: the student is the network after it, the
    teacher the one before.

    Args:
        run: with at least two tasks learnt.
        n_classes: classes in the batch, or all that a task has.
        per_class: images of each, or all that a class has.
        temperatures: the values of τ to choose from, ascending.

    Raises:
        ValueError: if the run has no teacher yet, or a number is impossible.
    """

    comparison: Comparison
    title = "Pair view"

    def __init__(
        self, run: Run, *, n_classes: int = 6, per_class: int = 4, temperatures: Sequence[float] = TEMPERATURES
    ) -> None:
        if n_classes < 1 or per_class < 1 or not temperatures:
            raise ValueError(
                f"n_classes is {n_classes}, per_class {per_class}, temperatures {tuple(temperatures)}; "
                "expected at least one of each"
            )
        self.comparison = Comparison.of(run)
        self._name = next(iter(self.comparison.runs))
        self._learnt = run.tasks_learnt
        if self._learnt < 2:
            raise ValueError(f"the run in {run.path} has learnt one task; expected two, as the first has no teacher")
        self.n_classes, self.per_class = n_classes, per_class
        self.temperatures = tuple(sorted(temperatures))
        self._start = min(self.temperatures, key=lambda temperature: abs(temperature - 0.07))
        self._drawn: dict[tuple[int, int], tuple[Tensor, dict[float, losses.Pairs], go.Figure]] = {}
        super().__init__()

    def build(self) -> Sequence[Any]:
        from ipywidgets import HTML, HBox, IntSlider, SelectionSlider

        wide, row = {"description_width": "initial"}, {"flex_flow": "row wrap"}
        options = [(f"{temperature:g}", temperature) for temperature in self.temperatures]
        self.temperature = SelectionSlider(options=options, value=self._start, description="temperature τ", style=wide)
        last = self._learnt - 1
        self.task = IntSlider(last, 1, last, description="while learning task", continuous_update=False, style=wide)
        self.batch = IntSlider(0, 0, BATCHES - 1, description="batch", continuous_update=False, style=wide)
        self.matrices = Picture(self._pairs(last, 0)[2])
        self.pair = HTML("<p>Click on a pair to see it.</p>")
        self.images = Picture(self._images(0, 1))

        self.temperature.observe(self.guarded(self._heat), "value")
        self._links.append(self.matrices.follow(self.temperature, "index"))
        for control in (self.task, self.batch):
            control.observe(self.guarded(self._draw), "value")
        self.matrices.on_click(self.guarded(self._choose_pair))
        self.anchor, self.other = 0, 1
        self._draw()
        return (
            HBox([self.temperature, self.task, self.batch], layout=row),
            self.matrices.widget,
            self.pair,
            self.images.widget,
        )

    def figures(self) -> list[go.Figure]:
        return [self._pairs(self._learnt - 1, 0)[2]]

    def numbers(self) -> str:
        rows: list[list[object]] = []
        for temperature, pairs in self._pairs(self._learnt - 1, 0)[1].items():
            largest = pairs.weight.amax(dim=1).mean()
            rows.append([f"{temperature:g}", pairs.loss, float(largest)])
        return table(["temperature τ", "CSD loss of the batch", "mean weight of an anchor's heaviest pair"], rows)

    def _pairs(self, task: int, batch: int) -> tuple[Tensor, dict[float, losses.Pairs], go.Figure]:
        """Return the images of a batch (B,), their pairs by temperature, and the figure of them."""
        if (task, batch) not in self._drawn:
            indices = _batch(self.comparison, task, batch, self.n_classes, self.per_class)
            snapshots, labels = self.comparison.snapshots(self._name), self.comparison.labels[indices]
            student, teacher = snapshots[task][indices], snapshots[task - 1][indices]
            pairs = {
                temperature: losses.csd_pairs(student, teacher, labels, temperature=temperature)
                for temperature in self.temperatures
            }
            figure = plots.pair_similarities(pairs, labels, classes=self.comparison.classes, temperature=self._start)
            self._drawn[task, batch] = indices, pairs, figure
        return self._drawn[task, batch]

    def _draw(self, _: Any = None) -> None:
        figure = self._pairs(self.task.value, self.batch.value)[2]
        self.matrices.show(figure, self.temperatures.index(self.temperature.value))
        self._show_pair()

    def _heat(self, _: Any = None) -> None:
        self.matrices.widget.index = self.temperature.index  # in the browser it has followed the slider already
        self._show_pair()

    def _choose_pair(self, clicked: dict[str, Any]) -> None:
        self.anchor, self.other = int(clicked["y"]), int(clicked["x"])
        self._show_pair()
        self.choose(int(self._pairs(self.task.value, self.batch.value)[0][self.anchor]))

    def _show_pair(self) -> None:
        """Say what the chosen pair does, and show its two images."""
        indices, by_temperature, _ = self._pairs(self.task.value, self.batch.value)
        pairs, n = by_temperature[self.temperature.value], len(indices)
        i, j = min(self.anchor, n - 1), min(self.other, 2 * n - 1)
        classes, labels = self.comparison.classes, self.comparison.labels
        whose = "student" if j < n else "teacher"
        pull = float(pairs.pull[i, j])
        does = "is not compared" if i == j else "pulls" if pull > 0 else "pushes" if pull < 0 else "does nothing"
        names = [html.escape(classes[int(labels[indices[x % n]])]) for x in (i, j)]
        force = "" if i == j else f" ({number(pull, '+.3f')})"
        similarity, weight = number(float(pairs.similarity[i, j]), ".2f"), number(float(pairs.weight[i, j]))
        self.pair.value = (
            f"<p>student feature of {names[0]} (row {i}) and {whose} feature of {names[1]}: similarity {similarity}, "
            f"weight {weight}; the pair {does}{force}.</p>"
        )
        self.images.show(self._images(i, j))

    def _images(self, i: int, j: int) -> go.Figure:
        indices = self._pairs(self.task.value, self.batch.value)[0]
        n, labels = len(indices), self.comparison.labels
        first, second = int(indices[i]), int(indices[j % n])
        strip: list[Shown] = [pictures.shown(self.comparison, image, "") for image in (first, second)]
        kind = "itself" if i == j else "a positive" if labels[first] == labels[second] else "a negative"
        whose = "student" if j < n else "teacher"
        return plots.retrieval_strips({f"student | {whose}": strip}, title=f"The pair: an anchor and {kind}")


def _batch(comparison: Comparison, task: int, batch: int, n_classes: int, per_class: int) -> Tensor:
    """Return test images (B,) of some classes of one task, class after class; another batch has other images."""
    generator = torch.Generator().manual_seed(batch)
    of_task = comparison.labels[comparison.tasks == task].unique()
    chosen = of_task[torch.randperm(len(of_task), generator=generator, device="cpu")[:n_classes]].sort().values
    parts = []
    for label in chosen:
        images = torch.nonzero(comparison.labels == label).flatten()
        parts.append(images[torch.randperm(len(images), generator=generator, device="cpu")[:per_class]])
    return torch.cat(parts)
