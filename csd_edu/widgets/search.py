"""Search results after each task: which queries are lost, which are kept?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from csd_edu import metrics, pictures
from csd_edu.comparison import Comparison
from csd_edu.runs import Run
from csd_edu.widgets.panel import Panel, Picture
from csd_edu.widgets.twin import table

CHANGES = {
    "all": "all queries",
    "lost": "lost: found after their task, not in the end",
    "kept": "kept: found then and in the end",
    "won": "won: not found then, but in the end",
    "missed": "missed: found neither then nor in the end",
}


class RetrievalExplorer(Panel):
    """A query and what each run finds for it after each task; queries can be chosen by what became of them.

    Args:
        runs: of the same tasks and test images, or one `Comparison` of such runs.
        k: results in a row.
        protocol: what is searched in at first, a name in `metrics.PROTOCOLS`.

    Raises:
        ValueError: if the runs can't be compared, k is below 1, or the protocol is unknown.
    """

    comparison: Comparison
    title = "Retrieval explorer"

    def __init__(self, *runs: Run | Comparison, k: int = 8, protocol: str = "seen") -> None:
        self.comparison = Comparison.of(*runs)
        if k < 1 or protocol not in metrics.PROTOCOLS:
            known = ", ".join(map(repr, metrics.PROTOCOLS))
            raise ValueError(f"k is {k} and protocol {protocol!r}; expected at least 1, and one of {known}")
        self.k, self._first_protocol = k, protocol
        self._names = list(self.comparison.runs)
        for name in self._names:  # now, not while somebody waits for a click
            for one in metrics.PROTOCOLS:
                self.comparison.changes(name, one)
        super().__init__()

    def build(self) -> Sequence[Any]:
        from ipywidgets import HTML, Button, Dropdown, HBox, IntSlider

        wide, row = {"description_width": "initial"}, {"flex_flow": "row wrap"}
        self.protocol = Dropdown(
            options=list(metrics.PROTOCOLS), value=self._first_protocol, description="gallery", style=wide
        )
        changes = [(text, name) for name, text in CHANGES.items()]
        first = "lost" if self._chosen("lost", self._names[0], self._first_protocol) else "all"
        self.change = Dropdown(options=changes, value=first, description="show", style=wide, layout={"width": "380px"})
        self.by = Dropdown(options=self._names, description="by", style=wide)
        self.place = IntSlider(0, 0, 0, description="query", continuous_update=False, style=wide)
        self.before, self.next = Button(description="◀ previous"), Button(description="next ▶")
        self.count = HTML()
        self._choices = self._chosen(first, self._names[0], self._first_protocol)
        self.strips = Picture(self._strips(self._choices[0]))

        for control in (self.protocol, self.change, self.by):
            control.observe(self.guarded(self._filter), "value")
        self.place.observe(self.guarded(self._go), "value")
        self.before.on_click(self.guarded(lambda _: self._step(-1)))
        self.next.on_click(self.guarded(lambda _: self._step(1)))
        self.strips.on_click(self.guarded(self._choose_image))
        self._filter()
        return (
            HBox([self.change, self.by, self.protocol], layout=row),
            HBox([self.place, self.before, self.next, self.count], layout=row),
            self.strips.widget,
        )

    def figures(self) -> list[go.Figure]:
        lost = self._chosen("lost", self._names[0], self._first_protocol) or [0]
        return [self._strips(lost[0], self._first_protocol)]

    def numbers(self) -> str:
        rows = []
        for name in self._names:
            changes = self.comparison.changes(name, self._first_protocol)
            rows.append([name, *(int(mask.sum()) for mask in changes.values())])
        return table(["queries of", "kept", "lost", "won", "missed"], rows)

    def show_query(self, query: int) -> None:
        self.strips.show(self._strips(query))
        if query in self._choices and self._choices[self.place.value] != query:
            self.place.value = self._choices.index(query)
        self._tell()

    def _chosen(self, change: str = "all", by: str | None = None, protocol: str | None = None) -> list[int]:
        """Return the queries that became what is asked for."""
        if change == "all" or by is None:
            return list(range(len(self.comparison.labels)))
        return torch.nonzero(self.comparison.changes(by, protocol or "seen")[change]).flatten().tolist()

    def _filter(self, changed: Any = None) -> None:
        """Take the queries that are asked for now; another gallery is shown with the same query, so as to compare."""
        self._choices = self._chosen(self.change.value, self.by.value, self.protocol.value)
        another_gallery = changed is not None and changed["owner"] is self.protocol
        keeps = self.query is not None and (another_gallery or self.query in self._choices or not self._choices)
        with self.place.hold_trait_notifications():
            self.place.max = max(0, len(self._choices) - 1)
            self.place.value = min(self.place.value, self.place.max) if keeps else 0
        self.place.disabled = self.before.disabled = self.next.disabled = not self._choices
        if keeps and self.query is not None:
            self.show_query(self.query)
        else:
            self._go()
            self._tell()

    def _tell(self) -> None:
        """Say how many queries there are to choose from, and if the one shown is not one of them."""
        otherwise = "" if self.query is None or self.query in self._choices else "; the one shown is none of them"
        self.count.value = f"{len(self._choices):,} of {len(self.comparison.labels):,} queries{otherwise}"

    def _go(self, _: Any = None) -> None:
        if self._choices:
            self.choose(self._choices[self.place.value])

    def _step(self, by: int) -> None:
        self.place.value = (self.place.value + by) % (self.place.max + 1)

    def _choose_image(self, clicked: dict[str, Any]) -> None:
        self.choose(int(self._ids[clicked["point"]]))

    def _strips(self, query: int, protocol: str | None = None) -> go.Figure:
        figure = pictures.strips(self.comparison, query, protocol or self.protocol.value, self.k)
        self._ids = figure.data[0].customdata
        return figure
