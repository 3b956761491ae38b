"""The house style of all figures: colours, markers, the template, titles, and text that no browser takes for HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

INK, GREY, GRID, EMPTY = "#1f2328", "#59636e", "#e3e6ea", "#f3f4f6"

# Of Okabe & Ito (2008), which the colour-blind can tell apart; without the yellow, which white swallows.
BLACK, BLUE, GREEN, ORANGE = "#000000", "#0072B2", "#009E73", "#E69F00"
PURPLE, SKY, VERMILION = "#CC79A7", "#56B4E9", "#D55E00"

_AXIS = {"gridcolor": GRID, "title": {"standoff": 8, "font": {"size": 15}}, "ticks": "", "zeroline": False}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", "size": 15, "color": INK},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 16}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "yanchor": "top"},
        "hoverlabel": {"bgcolor": "white", "font": {"size": 14}},
    }
)
"""The house style: legible when projected, dark on white."""


class Style(NamedTuple):
    """How a method or a loss term is drawn: told apart by more than its colour."""

    color: str
    symbol: str
    dash: str = "solid"


METHODS = {
    "finetune": Style(VERMILION, "square"),
    "lwf": Style(BLUE, "triangle-up"),
    "csd": Style(GREEN, "circle"),
    "joint": Style(BLACK, "diamond", "dash"),
}
TERMS = {
    "ce": Style(BLUE, "square"),
    "triplet": Style(ORANGE, "triangle-up"),
    "kd": Style(PURPLE, "diamond"),
    "csd": Style(GREEN, "circle"),
}
OTHERS = tuple(map(Style, (PURPLE, SKY, ORANGE) * 4, ("star", "triangle-down", "hexagon", "cross") * 3))
SERIES = (
    Style(BLUE, "circle"),
    Style(VERMILION, "square", "dash"),
    Style(GREEN, "triangle-up", "dot"),
    Style(ORANGE, "diamond", "dashdot"),
    Style(PURPLE, "star", "longdash"),
    Style(SKY, "triangle-down", "longdashdot"),
    Style(BLACK, "cross"),
)
"""For what is neither a method nor a loss term, in this order."""
DASHES = ("solid", "dot", "longdash", "dashdot", "longdashdot")


def label(name: object, width: int = 40) -> str:
    """Return a name on one line, shortened, and without anything that plotly or a browser takes for HTML."""
    text = " ".join(str(name).encode("utf-8", "replace").decode().split())
    return html.escape(text if len(text) <= width else text[: width - 1] + "…")


def number(value: float, form: str = ".3f") -> str:
    """Return a number as text, with a true minus sign."""
    return f"{value:{form}}".replace("-", "−")


def method_of(name: str) -> str:
    """Return the method that a label such as "csd(weight=0.5)" or "csd (seed 1)" is about."""
    return name.partition("(")[0].strip()


def styles(names: Sequence[str], fixed: Mapping[str, Style], others: Sequence[Style] = OTHERS) -> dict[str, Style]:
    """Return a style for each name; several of one method differ by dash, and by open and filled markers."""
    bases = [method_of(name) for name in names]
    strangers = [base for base in dict.fromkeys(bases) if base not in fixed]
    styles = {}
    for k, (name, base) in enumerate(zip(names, bases, strict=True)):
        style = fixed[base] if base in fixed else others[strangers.index(base) % len(others)]
        nth = bases[:k].count(base)
        dash = style.dash if nth == 0 else DASHES[nth % len(DASHES)]
        styles[name] = Style(style.color, style.symbol + "-open" * (nth % 2), dash)
    return styles


def any_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return a style for each name: those of the methods if one of them is there, else those of `SERIES`."""
    return styles(names, METHODS, OTHERS if any(method_of(name) in METHODS for name in names) else SERIES)


def task_axis(n_tasks: int, names: Sequence[str] | None) -> dict[str, Any]:
    if names is not None and len(names) != n_tasks:
        raise ValueError(f"there are {len(names)} task names; expected {n_tasks}, one for each task")
    return {"tickvals": list(range(n_tasks)), "ticktext": [label(name, 12) for name in names or range(n_tasks)]}


def finished(figure: go.Figure, title: str, subtitle: list[str], height: int, legend: bool = False) -> go.Figure:
    """Give a figure its title, with the lines below it, its size and the house style."""
    lines = "<br>".join(label(line, 200) for line in subtitle)
    below = {"text": lines, "font": {"size": 14, "color": GREY}}
    heading = {"text": f"<b>{label(title, 200)}</b>", "font": {"size": 20}, "subtitle": below}
    top, bottom = 88 + 19 * len(subtitle), 95 if legend else 55
    right = 40 + 8 * min(18, max(len(trace.name or "") for trace in figure.data)) if legend else 20
    margin = {"l": 70, "r": right, "t": top, "b": bottom}
    figure.update_layout(legend_y=-55 / height)  # below the axis's name, and lines that wrap push the panel up
    return figure.update_layout(template=TEMPLATE, title=heading, margin=margin, height=height + top + bottom)
