"""Task matrices to click through: which queries stand behind a number?"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from csd_edu import metrics, pictures, plots
from csd_edu.comparison import METRICS, Comparison, protocols_of
from csd_edu.plots import Shown
from csd_edu.runs import Run
from csd_edu.widgets.panel import Panel, Picture
from csd_edu.widgets.twin import table

SHOWN = 10  # images in a row

SUMMARIES = {
    "forgetting": metrics.forgetting,
    "first_minus_last": metrics.first_minus_last,
    "backward_transfer": metrics.backward_transfer,
    "average_incremental": metrics.average_incremental,
}


class ForgettingMatrices(Panel):
    """Task matrices of one or several runs; a click on a cell shows the queries behind its number.

    Args:
        runs: of the same tasks and test images, or one `Comparison` of such runs.

    Raises:
        ValueError: if the runs can't be compared.
    """

    comparison: Comparison
    title = "Forgetting matrices"

    def __init__(self, *runs: Run | Comparison) -> None:
        self.comparison = Comparison.of(*runs)
        self._names = list(self.comparison.runs)
        self._figures: dict[tuple[str, str], go.Figure] = {}
        super().__init__()

    def build(self) -> Sequence[Any]:
        from ipywidgets import HTML, Dropdown, HBox, IntSlider

        comparison = self.comparison
        for metric in METRICS:
            for protocol in protocols_of(metric):
                self._figures[metric, protocol] = pictures.matrices(comparison, metric, protocol)
        learnt = max(run.tasks_learnt for run in comparison.runs.values()) - 1
        wide = {"description_width": "initial"}
        row = {"flex_flow": "row wrap"}
        self.metric = Dropdown(options=list(METRICS), description="metric", style=wide)
        self.protocol = Dropdown(options=list(metrics.PROTOCOLS), value="seen", description="gallery", style=wide)
        self.matrices = Picture(self._figures["Recall@1", "seen"])
        self.summary = HTML(self._summary("Recall@1", "seen"))
        self.run = Dropdown(options=self._names, description="run", style=wide)
        self.after = IntSlider(learnt, 0, learnt, description="after learning task", style=wide)
        self.on = IntSlider(0, 0, comparison.n_tasks - 1, description="on the images of task", style=wide)
        self.cell = HTML()
        self.behind = Picture(self._behind()[0])

        self.metric.observe(self.guarded(self._choose_metric), "value")
        self.protocol.observe(self.guarded(self._draw_matrices), "value")
        for control in (self.run, self.after, self.on):
            control.observe(self.guarded(self._draw_queries), "value")
        self.matrices.on_click(self.guarded(self._choose_cell))
        self.behind.on_click(self.guarded(self._choose_image))
        self._draw_queries()
        return (
            HBox([self.metric, self.protocol], layout=row),
            self.matrices.widget,
            self.summary,
            HTML("<p>Which queries stand behind a number? Click on a cell, or choose one here.</p>"),
            HBox([self.run, self.after, self.on], layout=row),
            self.cell,
            self.behind.widget,
        )

    def figures(self) -> list[go.Figure]:
        return [pictures.matrices(self.comparison)]

    def numbers(self) -> str:
        return self._summary("Recall@1", "seen")

    def _summary(self, metric: str, protocol: str) -> str:
        """Return the numbers that are derived from the matrices, with their formulas."""
        rows: list[list[object]] = []
        for name in self._names:
            learnt = self.comparison.runs[name].tasks_learnt
            square = [row[:learnt] for row in self.comparison.matrix(name, metric, protocol)[:learnt]]
            rows.append([name, *(_or_none(summary, square) for summary in SUMMARIES.values())])
        heads = [key.replace("_", " ") for key in SUMMARIES]
        formulas = "".join(
            f"<li>{key.replace('_', ' ')}: {html.escape(metrics.FORMULAS[key])}</li>" for key in SUMMARIES
        )
        return f"{table(['run', *heads], rows)}<details><summary>formulas</summary><ul>{formulas}</ul></details>"

    def _choose_metric(self, _: Any = None) -> None:
        allowed = protocols_of(self.metric.value)
        if self.protocol.value not in allowed:
            self.protocol.value = "seen"  # draws
        self.protocol.disabled = len(allowed) == 1
        self._draw_matrices()

    def _draw_matrices(self, _: Any = None) -> None:
        metric, protocol = self.metric.value, self.protocol.value
        self.matrices.show(self._figures[metric, protocol])
        self.summary.value = self._summary(metric, protocol)
        self._draw_queries()

    def _choose_cell(self, clicked: dict[str, Any]) -> None:
        run = self._names[clicked["trace"] // 2]  # a heatmap has two layers, for black and for white text
        for control, value in ((self.run, run), (self.on, clicked["x"]), (self.after, clicked["y"])):
            control.value = value

    def _draw_queries(self, _: Any = None) -> None:
        figure, text = self._behind()
        self.cell.value = text
        self._ids = figure.data[0].customdata
        self.behind.show(figure)

    def _behind(self) -> tuple[go.Figure, str]:
        """Return the queries behind the chosen number, those that are right and those that are not, and the number."""
        comparison = self.comparison
        name, after, on = self.run.value, self.after.value, self.on.value
        after = min(after, comparison.runs[name].tasks_learnt - 1)
        scores = comparison.scores(name, self.metric.value, self.protocol.value)[after]
        of_task = comparison.tasks == on
        right = torch.nonzero(of_task & (scores == 1)).flatten().tolist()
        wrong = torch.nonzero(of_task & (scores == 0)).flatten().tolist()
        n = len(right) + len(wrong)
        head = f"R[{after}][{on}] of {name}"
        share = f"= {len(right) / n:.3f}: {len(right)} of {n} queries right" if n else "has no value"
        strips = {
            f"{len(right)} right": self._shown(right, "right"),
            f"{len(wrong)} wrong": self._shown(wrong, "wrong"),
        }
        some = "" if n <= 2 * SHOWN else f"; at most {SHOWN} of each, evenly spread over the classes"
        figure = plots.retrieval_strips(strips, title=f"Behind {head}", subtitle=[self.metric.value + some])
        return figure, f"<p><strong>{html.escape(head)}</strong> {share}</p>"

    def _shown(self, queries: list[int], mark: str) -> list[Shown]:
        spread = [queries[i * len(queries) // min(SHOWN, len(queries))] for i in range(min(SHOWN, len(queries)))]
        return [pictures.shown(self.comparison, query, mark) for query in spread]

    def _choose_image(self, clicked: dict[str, Any]) -> None:
        self.choose(int(self._ids[clicked["point"]]))


def _or_none(summary: Any, square: Any) -> float | None:
    """Return the number, or None where the matrix lacks a value that it needs (one test image a class)."""
    try:
        return float(summary(square))
    except ValueError:
        return None
