"""Feature drift to play with: a slider over tasks moves every point from where the last network put it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from csd_edu import drift, pictures
from csd_edu.comparison import Comparison
from csd_edu.maps import Map, Plane, UmapError
from csd_edu.runs import Run
from csd_edu.widgets.panel import Film, Panel, Picture
from csd_edu.widgets.twin import table

COLORS = {"task": "task", "class": "class", "found": "found or not (Recall@1, gallery: seen)"}
FEW = "a few classes"
MAPS = {
    "pca": "PCA",
    "umap": "UMAP, snapshot by snapshot",
    "umap together": "UMAP of all snapshots together",
    "plane": "the first network’s plane",
}


class DriftExplorer(Panel):
    """Maps of the features after each task, with their numbers; a click on a point shows the image and its neighbours.

    A few classes can be followed one by one, on every kind of map: those chosen are in colour, and a "plane" is fitted
    to them.

    Args:
        runs: of the same tasks and test images, or one `Comparison` of such runs; two or three fit side by side.
        maps: which kinds to offer, the first one at first: "pca", "umap" (snapshot by snapshot), "umap together" and
            "plane", see `csd_edu.maps`. A UMAP takes a while the first time, and is then kept; if it can't be computed
            on this machine the panel says so, and offers the others. Default: PCA, UMAP and, if the first task has two
            classes of at least two images, the plane.
        k: neighbours shown.
        table: show the numbers below the map at first; a box hides and shows them.

    Raises:
        ValueError: if the runs can't be compared, there is no map, or one of another kind.
    """

    comparison: Comparison
    title = "Drift explorer"

    def __init__(
        self, *runs: Run | Comparison, maps: Sequence[str] | None = None, k: int = 8, table: bool = True
    ) -> None:
        self.comparison = Comparison.of(*runs)
        separable = self.comparison.separable()
        self.maps = ("pca", "umap", *["plane"] * separable) if maps is None else tuple(maps)
        self.k, self._with_table = k, table
        unknown = [kind for kind in self.maps if kind not in MAPS]
        if unknown or not self.maps:
            raise ValueError(f"maps are {self.maps!r}; expected some of {', '.join(map(repr, MAPS))}")
        self.maps, self._without = self._possible(self.maps)
        self._names = list(self.comparison.runs)
        self._few = self.comparison.few_classes() if separable else []
        self._first = pictures.drift_map(self.comparison, self.maps[0])
        self._learnt = max(run.tasks_learnt for run in self.comparison.runs.values())
        self._probe = self._shown(self.maps[0], ())
        super().__init__()

    def build(self) -> Sequence[Any]:
        from ipywidgets import HTML, Checkbox, Dropdown, HBox, IntSlider, SelectMultiple

        wide, row = {"description_width": "initial"}, {"flex_flow": "row wrap"}
        last = self._learnt - 1
        self.after = IntSlider(last, 0, last, description="after learning task", style=wide)
        self.kind = Dropdown(options=[(MAPS[kind], kind) for kind in self.maps], description="map", style=wide)
        colors = [(text, name) for name, text in COLORS.items()] + [(FEW, "few")]
        self.color = Dropdown(options=colors, description="colour", style=wide)
        names = [(f"{name} (task {task})", k) for k, name, task in self._classes()]
        self.classes = SelectMultiple(options=names, value=self._few, rows=6, description="classes shown", style=wide)
        self.others = Checkbox(value=True, description="others in grey", indent=False)
        self.chosen = HBox([self.classes, self.others], layout=row)
        self.trails = Checkbox(value=True, description="trails", indent=False)
        self.told = Checkbox(value=self._with_table, description="table", indent=False)
        self._films: dict[tuple[object, ...], Film] = {}
        for kind in self.maps:  # all but other classes to follow is made now, not while somebody waits
            for color in COLORS:
                self._film(kind, color)
        self.map = Picture(self._film(self.maps[0], "task"))
        self._tables = [self._numbers(after) for after in range(self._learnt)]
        self.note, self.table, self.hint = HTML(), HTML(), HTML()
        lost = self.comparison.changes(self._names[0])["lost"][self._probe]  # the most telling place to begin
        self.query = self._probe[int(lost.int().argmax())]
        self.strips = Picture(self._strips(self.query))

        self.after.observe(self.guarded(self._move), "value")
        for control in (self.kind, self.color, self.classes, self.others):
            control.observe(self.guarded(self._draw), "value")
        self.trails.observe(self.guarded(self._show_trails), "value")
        self.told.observe(self.guarded(self._show_table), "value")
        self._links.append(self.map.follow(self.after, "value"))
        self.map.on_click(self.guarded(self._choose_point))
        self.strips.on_click(self.guarded(self._choose_image))
        self._draw()
        self._show_table()
        return (
            HBox([self.after, self.kind, self.color, self.trails, self.told], layout=row),
            self.chosen,
            self.map.widget,
            self.table,
            self.note,
            self.hint,
            self.strips.widget,
        )

    def figures(self) -> list[go.Figure]:
        return [self._first]

    def numbers(self) -> str:
        return self._numbers(self._learnt - 1) * self._with_table + self._note(self.maps[0])

    def show_query(self, query: int) -> None:
        self._show_place()
        self.strips.show(self._strips(query))

    def _draw(self, _: Any = None) -> None:
        """Show the map and the colours chosen, as they are after the task chosen."""
        kind, few = self.kind.value, tuple(sorted(self.classes.value)) if self._follows() else ()
        self.chosen.layout.display = "" if self._follows() else "none"
        if self._follows() and not few:
            self.hint.value = "<p>Choose at least one class; for the plane at least two of one task.</p>"
            return
        self.map.show(self._film(kind, self.color.value, few, self.others.value), self.after.value)
        self._probe = self._shown(kind, few)
        self._show_place()
        self.note.value = self._note(kind, few)
        self.table.value = self._tables[self.after.value]

    def _follows(self) -> bool:
        """Return whether a few classes are followed, and can be chosen."""
        return bool(self.kind.value == "plane" or self.color.value == "few")

    def _film(self, kind: str, color: str, few: tuple[int, ...] = (), others: bool = True) -> Film:
        """Return the map to be seen, made when it is first asked for; a plane has the colours of its classes."""
        if kind == "plane":
            few = few or tuple(self._few)
        key = (kind, few, others) if few else (kind, color)
        if key not in self._films:
            color, seen = ("class", "grey" if others else "hidden") if few else (color, "grey")
            figure = pictures.drift_map(self.comparison, kind, color=color, classes=few or None, others=seen)
            self._films[key] = Film.of(figure)
        return self._films[key]

    def _of_kind(self, kind: str, few: tuple[int, ...]) -> Mapping[str, Map | Plane]:
        """Return the maps of the runs that are to be seen."""
        return self.comparison.planes(few or None) if kind == "plane" else self.comparison.maps(kind, few)

    def _possible(self, kinds: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """Return those kinds of map that can be made here, at least PCA, and as HTML what can't and why."""
        possible, why = [], ""
        for kind in kinds:
            try:
                if kind.startswith("umap"):
                    self.comparison.maps(kind)
                possible.append(kind)
            except UmapError as error:
                why = f"<p><small>{html.escape(str(error))}.</small></p>"
        return tuple(possible or ["pca"]), why

    def _shown(self, kind: str, few: tuple[int, ...]) -> list[int]:
        """Return which test images are on the map."""
        maps = self._of_kind(kind, few)
        return maps[self._names[0]].indices.tolist()

    def _classes(self) -> list[tuple[int, str, int]]:
        """Return label, name and task of each class with test images, task by task."""
        tasks = {k: int(self.comparison.tasks[self.comparison.labels == k][0]) for k in self.comparison.labels.tolist()}
        return sorted(((k, self.comparison.classes[k], task) for k, task in tasks.items()), key=lambda c: (c[2], c[0]))

    def _move(self, _: Any = None) -> None:
        self.map.widget.index = self.after.value  # in the browser it has followed the slider already
        self.table.value = self._tables[self.after.value]
        if self.query is not None:
            self.strips.show(self._strips(self.query))

    def _show_trails(self, _: Any = None) -> None:
        self.map.widget.trails = self.trails.value

    def _show_table(self, _: Any = None) -> None:
        self.table.layout.display = "" if self.told.value else "none"

    def _show_place(self) -> None:
        """Put a ring around the chosen image, or say that it is not on the map."""
        there = self.query in self._probe
        self.map.widget.chosen = self._probe.index(self.query) if there and self.query is not None else -1
        told = "" if there else f" Test image {self.query} is none of the {len(self._probe):,} on the map."
        self.hint.value = (
            f"<p>Click on a point, or on an image: its neighbours after this task, among all test images.{told}</p>"
        )

    def _choose_point(self, clicked: dict[str, Any]) -> None:
        of_run, role = divmod(clicked["trace"], 3)  # trails, points, ring; the same for each run
        if of_run < len(self._names) and role == 1:
            self.choose(self._probe[clicked["point"]])

    def _choose_image(self, clicked: dict[str, Any]) -> None:
        self.choose(int(self._ids[clicked["point"]]))

    def _strips(self, query: int) -> go.Figure:
        after = self.after.value
        figure = pictures.neighbors(self.comparison, query, after, self.k)
        self._ids = figure.data[0].customdata
        return figure

    def _numbers(self, after: int) -> str:
        """Return how far the features are from where each earlier network left them."""
        rows: list[list[object]] = []
        for name in self._names:
            for row in self.comparison.drift_table(name):
                if row["after"] == after:
                    means = row["class_mean_displacement"]
                    farthest = max(means, key=means.__getitem__)
                    rows.append(
                        [
                            name,
                            f"task {row['before']} → task {after}",
                            row["cka"],
                            row["mean_displacement"],
                            row["neighbor_overlap"],
                            f"{self.comparison.classes[farthest]} ({means[farthest]:.3f})",
                        ]
                    )
        heads = [
            "run",
            "networks",
            "linear CKA",
            "mean displacement",
            "neighbours in common",
            "class that moved farthest",
        ]
        if not rows:
            return "<p>This is the first network: nothing has moved yet.</p>"
        formulas = "".join(
            f"<li>{text}: {html.escape(drift.FORMULAS[key])}</li>"
            for key, text in (
                ("cka", "linear CKA"),
                ("mean_displacement", "mean displacement"),
                ("neighbor_overlap", "neighbours in common"),
                ("class_mean_displacement", "of a class"),
            )
        )
        n = len(self.comparison.probe())
        about = f"<p><b>From network to network</b>, whatever the map shows: measured on {n:,} test images.</p>"
        return f"{about}{table(heads, rows)}<details><summary>formulas</summary><ul>{formulas}</ul></details>"

    def _note(self, kind: str, few: tuple[int, ...] = ()) -> str:
        notes = dict.fromkeys(of_run.note for of_run in self._of_kind(kind, few).values())
        return "".join(f"<p><small>{html.escape(note)}</small></p>" for note in notes) + self._without
