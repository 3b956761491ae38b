"""A plotly figure as a living widget: it fits its place, moves to frames made beforehand, and tells of clicks.

plotly's own FigureWidget brings its five megabytes of JavaScript along with every single figure, keeps a fixed width in
JupyterLab, and stays in memory when it is closed. Here plotly.js comes once, compressed.
"""

from __future__ import annotations

import anywidget
import traitlets

from csd_edu.widgets.twin import javascript


class Library(anywidget.AnyWidget):
    """Brings plotly.js to the page, without anything to be seen."""

    _esm = (
        javascript("view", "library")
        + "export default { initialize({ model }) { return unpack(model.get('packed')); } };"
    )
    packed = traitlets.Bytes().tag(sync=True)


class Plot(anywidget.AnyWidget):
    """A figure.

    Attributes:
        figure: its JSON.
        frames: the JSON of a list of frames of it: "traces", "data" and "layout", as in plotly.
        index: which frame is shown; −1 for none.
        trails: whether the traces of role "trails" are shown.
        chosen: the point that the traces of role "selected" ring, each in the trace before it; −1 for none.
        panel: the id of the panel that it is a part of.
        clicked: the point last clicked: "trace", "point" (of a heatmap [row, column]), "x", "y".
    """

    _esm = javascript("view", "plot")
    figure = traitlets.Unicode().tag(sync=True)
    frames = traitlets.Unicode("[]").tag(sync=True)
    index = traitlets.Int(-1).tag(sync=True)
    trails = traitlets.Bool(True).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    panel = traitlets.Unicode().tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)
