"""What became of what was learnt: kept, lost to the growing gallery, or forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from csd_edu.metrics import Fall
from csd_edu.plots.curves import some
from csd_edu.plots.style import GREY, INK, ORANGE, SKY, finished, label
from csd_edu.results import number

PARTS = {
    "left": (GREY, "", "white"),
    "crowding": (SKY, "/", INK),
    "forgetting": (ORANGE, "x", INK),
}
"""The parts from left to right: the colour of each, its pattern, and the colour of its number."""

SMALL = 0.07  # a part in which its number has no room; twice that where the axis is shorter
ROW = 46  # pixels for each method


def forgetting_and_crowding(
    falls: Mapping[str, Fall],
    *,
    title: str = "What is left of what was learnt, and what took the rest?",
    of: str = "mean over the tasks before the last one",
    end_labels: bool = True,
) -> go.Figure:
    """Return a bar for each method, as long as what it had learnt: left, taken by the gallery's growth, forgotten.

    Args:
        falls: for each method its `csd_edu.metrics.Fall`, of one task or from `mean_fall`; a method with a part that is
            None, as an unfinished run has, gets no bar.
        title: above the figure.
        of: what the falls are of.
        end_labels: write at the end of each bar what was learnt, and the parts that are too short for their number.

    Returns:
        The figure, with the definitions. Forgetting below 0 is a gain since the task was learnt: the bar then ends
        right of the mark of what was learnt, and the gain is an outline over its end.

    Raises:
        ValueError: if there is no method, or a part is no finite number from −1 to 1.
    """
    for name, fall in some("method", falls).items():
        _check(name, fall)
    whole = {name: fall for name, fall in falls.items() if None not in fall}
    figure, small = go.Figure(), SMALL if end_labels else 2 * SMALL
    rows = list(range(len(whole)))  # numbers, as names that are shortened may be the same
    names, starts = [label(name) for name in whole], [0.0] * len(whole)
    for part, (color, pattern, ink) in PARTS.items():
        values = [getattr(fall, part) for fall in whole.values()]
        bar = go.Bar(name=part, y=rows, x=values, base=list(starts), orientation="h")
        bar.update(marker={"color": color, "line": {"color": "white", "width": 1}})
        look = {"shape": pattern, "fillmode": "overlay", "fgcolor": INK, "fgopacity": 0.35, "solidity": 0.12, "size": 9}
        bar.update(marker_pattern=look)
        said = [f"{name}: {part} {number(value)}" for name, value in zip(names, values, strict=True)]
        bar.update(customdata=said, hovertemplate="%{customdata}")
        # Below 0 a bar goes back over those before it: only its outline, so that these are seen.
        bar.update(marker_opacity=[float(value >= 0) for value in values])
        bar.update(text=[number(value, ".2f") if value >= small else "" for value in values], textfont_color=ink)
        figure.add_trace(bar.update(textposition="inside", insidetextanchor="middle", textangle=0))
        for row, value in enumerate(values):
            if value < 0:
                ends = {"x0": starts[row] + value, "x1": starts[row], "y0": row - 0.4, "y1": row + 0.4}
                figure.add_shape(**ends, line={"color": color, "width": 3, "dash": "dot"})
            starts[row] += value
    learnt = [fall.learnt for fall in whole.values()]
    mark = go.Scatter(x=learnt, y=rows, mode="markers", name="learnt", customdata=names)
    mark.update(marker={"symbol": "line-ns", "size": 24, "line": {"color": INK, "width": 4}})
    figure.add_trace(mark.update(hovertemplate="%{customdata}: learnt %{x:.3f}"))
    for row, fall in enumerate(whole.values()) if end_labels else ():
        end = max(sum(part or 0.0 for part in parts) for parts in (fall[3:], fall[2:], fall[1:]))
        beside = {"xanchor": "left", "xshift": 8, "align": "left", "showarrow": False, "font_size": 13}
        figure.add_annotation(x=end, y=row, text=_said(fall), **beside)
    figure.update_xaxes(title_text="Recall@1", range=[0, 1.45 if end_labels else 1.03])
    figure.update_xaxes(tickvals=[k / 5 for k in range(6)])
    broken = [name.replace("(", " <br>(", 1) + " " for name in names]
    figure.update_yaxes(tickvals=rows, ticktext=broken, range=[len(rows) - 0.5, -0.5], showgrid=False, automargin=True)
    lines = [
        of + _left_out(falls, whole),
        "learnt: right after the task, searched in its own test images = left + crowding + forgetting",
        "left: in the end, searched in those of all tasks; crowding: what that larger gallery takes, last network",
        "forgetting: lost in the task's own images since they were learnt; below 0, a dotted outline: gained",
    ]
    figure = finished(figure, title, lines, ROW * max(1, len(whole)), legend=True)
    return figure.update_layout(barmode="overlay", bargap=0.2, margin_r=20)


def _said(fall: Fall) -> str:
    """Return what stands at the end of a bar."""
    parts = {part: getattr(fall, part) for part in PARTS}
    small = ", ".join(f"{part} {number(value, '.2f')}" for part, value in parts.items() if value < SMALL)
    return f"<b>learnt {number(fall.learnt or 0.0, '.2f')}</b>" + f"<br>{small}" * bool(small)


def _left_out(falls: Mapping[str, Fall], drawn: Mapping[str, Fall]) -> str:
    without = [name for name in falls if name not in drawn]
    return f"; not measured: {', '.join(without)}" if without else ""


def _check(name: str, fall: Fall) -> None:
    for part, value in fall._asdict().items():
        if value is not None and not (math.isfinite(value) and -1 <= value <= 1):
            raise ValueError(f"{name!r} has {part} {value}; expected a difference of shares, from −1 to 1, or None")
