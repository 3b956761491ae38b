"""What all widgets here have in common: a frame, a place for errors, a static twin, and a common choice of query."""

from __future__ import annotations

import functools
import html
import json
import traceback
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import torch

from csd_edu.comparison import Comparison
from csd_edu.runtime import on_colab
from csd_edu.widgets.twin import packed_plotly, static_html


class Panel:
    """A widget with its static twin; both are in what a notebook keeps, and a front end shows what it can.

    A kind of panel says what it shows in `build`, `figures` and `numbers`.

    Attributes:
        widget: the ipywidgets box, to be put into other boxes; None if it could not be built.
        reason: why not.
        comparison: the runs shown; None if there are none yet.
        query: the test image chosen, an index; None before the first choice. `link` makes panels share it.
    """

    title = ""
    query: int | None = None
    comparison: Comparison | None = None

    def __init__(self) -> None:
        self.widget: Any = None
        self.reason: str | None = None
        self._id = uuid.uuid4().hex
        self._twin: Any = None  # where the twin is shown
        self._partners: list[Panel] = []
        self._links: list[Any] = []
        self._busy = self._failed = False
        try:
            import ipywidgets

            self._message = ipywidgets.HTML(layout={"max_width": "100%"})
            parts = [*self.build(), self._message]
            for part in parts:
                if part.has_trait("panel"):
                    part.panel = self._id
            self.widget = ipywidgets.VBox(parts, layout={"width": "100%", "min_width": "0"})
        except Exception as error:  # whatever a front end lacks, the twin can be shown
            self.reason = f"{error} ({type(error).__name__})"

    def build(self) -> Sequence[Any]:
        """Return the ipywidgets of the panel, from top to bottom."""
        raise NotImplementedError

    def figures(self) -> list[go.Figure]:
        """Return the plain figures of the static twin."""
        raise NotImplementedError

    def numbers(self) -> str:
        """Return as HTML what the figures show, in numbers."""
        raise NotImplementedError

    def show_query(self, query: int) -> None:
        """Show a newly chosen test image; called for a choice made here as well as in a linked panel."""

    def choose(self, query: int) -> None:
        """Choose a test image, here and in the linked panels."""
        if query == self.query:
            return
        self.query = query
        if self.widget is not None:
            self.guarded(self.show_query)(query)
        for partner in self._partners:
            partner.choose(query)

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return the callback with its errors shown inside the panel, where a front end would swallow them."""

        @functools.wraps(callback)
        def call(*arguments: Any) -> None:
            outermost = not self._busy  # one callback may set off others
            if outermost:
                self._busy, self._failed = True, False
            try:
                callback(*arguments)
            except Exception as error:
                self._failed = True
                self._message.value = _told(error)
            finally:
                if outermost:
                    self._busy = False
                    if not self._failed:
                        self._message.value = ""

        return call

    def close(self) -> None:
        """Take the widget off the page, undo its links and free its memory."""
        for partner in self._partners:
            partner._partners.remove(self)
        self._partners.clear()
        for between in self._links:
            between.close()
        if self.widget is not None:
            _close(self.widget)
            self.widget, self.reason = None, "it was closed"
        self.release()

    def release(self) -> None:
        """Let go of what only an open panel needs."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._static_html()}
        return bundle if self.widget is None else bundle | self._view()

    def _ipython_display_(self) -> None:
        """Show the widget and, as an output of its own, the twin: a front end that finds no widget looks no further."""
        from IPython.display import HTML, display, publish_display_data

        if self.widget is not None:
            publish_display_data({"text/plain": repr(self), **self._view()})
        self._twin = display(HTML(self._static_html()), display_id=True)

    def _renew_twin(self) -> None:
        """Put the twin as it is now in the place of the one shown."""
        if self._twin is not None:
            from IPython.display import HTML

            self._twin.update(HTML(self._static_html()))

    def _view(self) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        return {"application/vnd.jupyter.widget-view+json": view}

    def _static_html(self) -> str:
        panel = None if self.widget is None else self._id
        return static_html(self.figures(), self.numbers(), title=self.title, reason=self.reason, panel=panel)

    def __repr__(self) -> str:
        return f"<{self.title}: shown in a notebook>" if self.reason is None else f"<{self.title}: {self.reason}>"


def link(*panels: Panel) -> None:
    """Let panels share their choice: a test image chosen in one is chosen in all.

    Raises:
        ValueError: if there are fewer than two, or they show different test images.
    """
    if len(panels) < 2:
        raise ValueError(f"there are {len(panels)} panels to link; expected at least two")
    first = panels[0].comparison
    for panel in panels:
        shown = panel.comparison
        if first is None or shown is None or not torch.equal(shown.labels, first.labels):
            raise ValueError(
                f"{panel.title!r} and {panels[0].title!r} don't show the same test images; expected panels of runs "
                "that learnt the same tasks"
            )
    for panel in panels:
        for partner in panels:
            if partner is not panel and partner not in panel._partners:
                panel._partners.append(partner)
    chosen = next((panel.query for panel in panels if panel.query is not None), None)
    if chosen is not None:
        for panel in panels:
            panel.choose(chosen)


class Film(NamedTuple):
    """A figure and its frames as JSON, made before somebody waits for them."""

    figure: str
    frames: str

    @classmethod
    def of(cls, figure: go.Figure) -> Film:
        content = json.loads(figure.to_json())
        frames = content.pop("frames", [])
        return cls(json.dumps(content), json.dumps(frames))


class Picture:
    """A figure in a widget, which can turn into another figure, or into one of its frames.

    Attributes:
        widget: the ipywidget.
    """

    library: Any = None  # one for all pictures of a kernel

    def __init__(self, figure: go.Figure | Film) -> None:
        if on_colab():  # it shows widgets of other packages only after this
            from google.colab import output  # type: ignore[import-not-found]

            output.enable_custom_widget_manager()
        from csd_edu.widgets.plot import Library, Plot

        if Picture.library is None or Picture.library.comm is None:
            Picture.library = Library(packed=packed_plotly())
        self.widget = Plot()
        self.show(figure)

    def show(self, figure: go.Figure | Film, index: int = -1) -> None:
        """Turn into a figure, as it is in one of its frames if that is given."""
        film = figure if isinstance(figure, Film) else Film.of(figure)
        with self.widget.hold_sync():
            self.widget.index, self.widget.figure, self.widget.frames = index, film.figure, film.frames

    def follow(self, control: Any, trait: str) -> Any:
        """Show the frame whose index a control has, at once: in the browser, without asking the kernel."""
        import ipywidgets

        return ipywidgets.jsdlink((control, trait), (self.widget, "index"))

    def on_click(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call back with "trace", "point", "x" and "y" when the user clicks on a point."""
        self.widget.observe(lambda change: callback(change["new"]), "clicked")


def _told(error: Exception) -> str:
    """Return an error as HTML, with where it happened."""
    what = html.escape(f"{type(error).__name__}: {error}")
    trace = html.escape("".join(traceback.format_exception(error)))
    where = f"<details><summary>where</summary><pre>{trace}</pre></details>"
    return f'<div class="csd-error" role="alert"><strong>{what}</strong>{where}</div>'


def _close(widget: Any) -> None:
    """Close a box and everything in it; ipywidgets closes the box alone."""
    owned = [getattr(widget, part) for part in ("layout", "style") if hasattr(getattr(widget, part, None), "close")]
    children = getattr(widget, "children", ())
    widget.unobserve_all()
    widget.close()  # before its parts, which classic notebooks would miss
    for child in children:
        _close(child)
    for part in owned:
        part.close()
