"""The house style of all figures: colours, markers, the template, titles, and text that no browser takes for HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from csd_edu.methods import NAMED, Card, Look, card_of

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


OTHERS = tuple(
    Look(color, symbol)
    for color, symbol in zip(
        (PURPLE, SKY, ORANGE, BLUE, GREEN) * 4, ("star", "triangle-down", "hexagon", "cross") * 5, strict=True
    )
)
"""For methods and loss terms without a look on a card."""
SERIES = (
    Look(BLUE, "circle"),
    Look(VERMILION, "square", "dash"),
    Look(GREEN, "triangle-up", "dot"),
    Look(ORANGE, "diamond", "dashdot"),
    Look(PURPLE, "star", "longdash"),
    Look(SKY, "triangle-down", "longdashdot"),
    Look(BLACK, "cross"),
)
"""For what is neither a method nor a loss term, in this order."""
DASHES = ("solid", "dot", "longdash", "dashdot", "longdashdot")


def label(name: object, width: int = 40) -> str:
    """Return a name on one line, shortened, and without anything that plotly or a browser takes for HTML."""
    text = " ".join(str(name).encode("utf-8", "replace").decode().split())
    return html.escape(text if len(text) <= width else text[: width - 1] + "…")


def method_of(name: str) -> str:
    """Return the method that a label such as "csd(weight=0.5)" or "csd (seed 1)" is about."""
    return name.partition("(")[0].strip()


def known_cards(cards: Mapping[str, Card] | None = None) -> dict[str, Card]:
    """Return the cards of the kit's methods by name, and those given beside them or in their place."""
    return {name: card for name, method in NAMED.items() if (card := card_of(method))} | dict(cards or {})


def method_looks(cards: Mapping[str, Card] | None = None) -> dict[str, Look | None]:
    """Return the looks of the kit's methods by name, and of those whose cards are given."""
    return {name: card.look for name, card in known_cards(cards).items()}


def term_looks(cards: Mapping[str, Card] | None = None) -> dict[str, Look | None]:
    """Return the looks of the loss terms of the kit's methods by name, and of those whose cards are given."""
    return {name: term.look for card in known_cards(cards).values() for name, term in card.terms.items()}


def looks(names: Sequence[str], fixed: Mapping[str, Look | None], others: Sequence[Look] = OTHERS) -> dict[str, Look]:
    """Return a look for each name: those that are not fixed take colours that are still free, if there are any.

    Several of one method differ by dash, and by open and filled markers.
    """
    bases = [method_of(name) for name in names]
    strangers = [base for base in dict.fromkeys(bases) if fixed.get(base) is None]
    taken = {look.color for base in bases if (look := fixed.get(base))}
    others = [look for look in others if look.color not in taken] or others
    found = {}
    for k, (name, base) in enumerate(zip(names, bases, strict=True)):
        look = fixed.get(base) or others[strangers.index(base) % len(others)]
        nth = bases[:k].count(base)
        dash = look.dash if nth == 0 else DASHES[nth % len(DASHES)]
        found[name] = Look(look.color, look.symbol + "-open" * (nth % 2), dash)
    return found


def any_looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name: those of the methods if one of them is there, else those of `SERIES`."""
    known = method_looks()
    return looks(names, known, OTHERS if any(method_of(name) in known for name in names) else SERIES)


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
    right = 40 + 8 * min(24, max(len(trace.name or "") for trace in figure.data)) if legend else 20
    margin = {"l": 70, "r": right, "t": top, "b": bottom}
    figure.update_layout(legend_y=-55 / height)  # below the axis's name, and lines that wrap push the panel up
    return figure.update_layout(template=TEMPLATE, title=heading, margin=margin, height=height + top + bottom)
