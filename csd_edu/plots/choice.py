"""Several figures in one, with a list or a slider to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from csd_edu.plots.curves import some

LIST, HEADING, SLIDER = 34, 24, 125  # pixels: the list above the panels, a heading that it stands on, the slider


def choose(figures: Mapping[str, go.Figure], *, slider: str | None = None) -> go.Figure:
    """Return one figure that shows one of several at a time: the first, until another is chosen.

    Args:
        figures: by the words to choose them by; of one size, and with the same panels. Images change as well.
        slider: what a slider below the figure chooses, such as "s = "; default a list above it.

    Raises:
        ValueError: if there is no figure, or the first one has no height or margins, beside which the list is placed.
    """
    first_layout = next(iter(some("figure", figures).values())).layout
    if None in (first_layout.height, first_layout.margin.t, first_layout.margin.b):
        raise ValueError(
            f"the figure {next(iter(figures))!r} has no height, or no margin at top or bottom; expected such as "
            "figure.update_layout(height=400, margin_t=60, margin_b=60)"
        )
    drawn = [figure.to_plotly_json() for figure in figures.values()]
    owners = [k for k, each in enumerate(drawn) for _ in each["data"]]
    seen = [trace.get("visible", True) for each in drawn for trace in each["data"]]
    traces = [trace for each in drawn for trace in each["data"]]
    parts = {part for each in drawn for part in each["layout"] if part[:5] in ("xaxis", "yaxis", "title")}
    steps: list[dict[str, Any]] = []
    for k, (name, each) in enumerate(zip(figures, drawn, strict=True)):
        layout = {part: each["layout"].get(part) for part in sorted(parts)}
        layout |= {part: list(each["layout"].get(part, ())) for part in ("annotations", "shapes", "images")}
        visible = [old if owner == k else False for owner, old in zip(owners, seen, strict=True)]
        steps.append({"label": str(name), "method": "update", "args": [{"visible": visible}, layout]})
    first = steps[0]["args"][0]["visible"]
    traces = [{**trace, "visible": visible} for trace, visible in zip(traces, first, strict=True)]
    figure = go.Figure(traces, drawn[0]["layout"])
    layout = figure.layout
    if slider is not None:
        legend = any(trace.showlegend is not False for trace in figure.data)
        control = {"steps": steps, "currentvalue": {"prefix": slider}, "pad": {"t": 110 if legend else 60}}
        return figure.update_layout(
            sliders=[control], height=layout.height + SLIDER, margin_b=layout.margin.b + SLIDER, margin_r=40
        )
    headings = any(note.yref == "paper" and note.y == 1 and note.yanchor == "bottom" for note in layout.annotations)
    above = HEADING if headings else 0
    panels = layout.height - layout.margin.t - layout.margin.b
    place = {"x": 0, "xanchor": "left", "y": 1 + (6 + above) / panels, "yanchor": "bottom"}
    control = {"buttons": steps, "bgcolor": "white", **place}
    return figure.update_layout(
        updatemenus=[control], height=layout.height + LIST + above, margin_t=layout.margin.t + LIST + above
    )
