"""The first network's plane: a few classes that lay apart in it, and what becomes of them under each later network."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from csd_edu.maps import LIMITS, Plane
from csd_edu.plots.curves import some
from csd_edu.plots.maps import turn
from csd_edu.plots.places import cloud, further_out, mean_mark, rims, rounded, seen, window, window_axis
from csd_edu.plots.style import GREY, GRID, INK, finished, label

HEIGHT, GAP = 250, 62  # pixels: of a panel; below it, for its numbers


def first_plane(
    planes: Mapping[str, Plane],
    *,
    classes: Sequence[str],
    after: Sequence[int] | None = None,
    n_candidates: int | None = None,
    title: str = "What becomes of the classes that the first network told apart?",
) -> go.Figure:
    """Return a row of panels for each run: a few classes in the first network's plane, under later networks.

    Every point is an image of the half to which the plane was not fitted. Under each panel stands how often the nearest
    class mean is the right one, with the means of the same network, and with those of the first. Points far out are
    drawn at the border, with a dark rim, and counted.

    Args:
        planes: for each run its plane, all of the same images.
        classes: the class names, in the order of the labels.
        after: tasks, a column for each; default the first, the middle and the last of the run that learnt most.
        n_candidates: of how many classes these are the best separated ones, for the caption.
        title: above the figure.

    Raises:
        ValueError: if there is no plane, images differ, names are missing, or a task has no snapshot.
    """
    first = next(iter(some("plane", planes).values()))
    last = max(made.first + len(made.points) for made in planes.values()) - 1
    columns = sorted({first.first, (first.first + last) // 2, last}) if after is None else list(after)
    _check(planes, classes, columns, last)
    width = len(columns)
    height = len(planes) * (HEIGHT + GAP) - GAP
    spacing = {"horizontal_spacing": 0.02, "vertical_spacing": GAP / height if len(planes) > 1 else 0}
    heads = [f"after task {t}" + " (first network)" * (t == first.first) for t in columns]
    figure = make_subplots(len(planes), width, column_titles=heads, **spacing)
    windows = {
        name: window(torch.cat([o.points.flatten(0, 1) for o in planes.values() if o.plane == made.plane]))
        for name, made in planes.items()
    }
    leaders: dict[str, int] = {}
    traces: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for row, (name, made) in enumerate(planes.items()):
        for column, t in enumerate(columns):
            k = row * width + column
            axis = str(k + 1) if k else ""
            at = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
            leader = leaders.setdefault(made.plane, k)
            beside = 0.06 * float((windows[name][1] - windows[name][0]).max().clamp(min=1e-3))
            for direction, least, most in zip("xy", *(corner.tolist() for corner in windows[name]), strict=True):
                own = figure.layout[f"{direction}axis{axis}"]
                own.update(window_axis(least, most, beside), showline=True, linecolor=GRID, mirror=True)
                if leader < k:
                    own.update(matches=f"{direction}{leader + 1 if leader else ''}")
                elif direction == "y":
                    own.update(scaleanchor=f"x{axis}")
            place: dict[str, Any] = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "showarrow": False}
            if column == 0:
                head = f"<b>{label(name, 30)}</b>"
                notes.append({"text": head, "textangle": -90, "x": 0, "xshift": -16, "y": 0.5, **place})
            now = t - made.first
            if now >= len(made.points):
                notes.append({"text": "not learnt yet", "font": {"color": GREY}, "x": 0.5, "y": 0.5, **place})
                continue
            own_traces, outside = _panel(made, now, windows[name], classes)
            traces += [
                {**trace, **at, "meta": {**trace["meta"], "run": label(name), "after": t}} for trace in own_traces
            ]
            text = made.told(now)
            below = {"x": 0.5, "y": 0, "yshift": -2, "yanchor": "top", "font": {"size": 14, "color": INK}}
            notes.append({"text": text + further_out(outside), **below, **place})
            if k == 0:
                notes += _names(made, classes, axis)
    figure.add_traces(traces)
    figure.layout.annotations = [*figure.layout.annotations, *(go.layout.Annotation(note) for note in notes)]
    finished(figure, title, _subtitle(first, n_candidates), height)
    margin = {"l": 36, "r": 12, "t": figure.layout.margin.t + 16, "b": GAP}
    notes_of = {label(name): label(made.note, 2000) for name, made in planes.items()}
    figure.update_layout(margin=margin, showlegend=False, hovermode="closest", meta={"notes": notes_of})
    return figure.update_layout(height=height + margin["t"] + margin["b"])


def _check(planes: Mapping[str, Plane], classes: Sequence[str], columns: Sequence[int], last: int) -> None:
    """Raise a ValueError if planes, names or tasks don't fit each other."""
    (name, first), *others = planes.items()
    for other, made in others:
        if made.first != first.first or not torch.equal(made.indices, first.indices):
            raise ValueError(
                f"the planes of {other!r} and {name!r} show different images; expected the same for all runs"
            )
    if int(first.classes.max()) >= len(classes):
        raise ValueError(f"there are {len(classes)} class names, but a plane shows class {int(first.classes.max())}")
    wrong = [t for t in columns if not first.first <= t <= last]
    if wrong or not columns:
        raise ValueError(f"after is {list(columns)}; expected tasks from {first.first} to {last}")


def _panel(
    made: Plane, now: int, corners: tuple[Tensor, Tensor], classes: Sequence[str]
) -> tuple[list[dict[str, Any]], Tensor]:
    """Return the traces of a panel, and which of its points lie outside of the window (n,)."""
    points, outside = seen(made.points[now], *corners)  # (n, 2), (n,)
    means, _ = seen(made.means, *corners)  # (T, C, 2)
    layers: dict[str, list[dict[str, Any]]] = {"ellipse": [], "way": [], "points": [], "mean": []}
    for k, of in enumerate(made.classes.tolist()):
        own, look, name = made.labels == of, turn(k), label(classes[of])
        line = {"color": look.color, "width": 1.5}
        right, stale = (float(made.of_class(of, stale=old)[now]) for old in (False, True))
        told = f"{name}: mean of the fitted half<br>nearest mean {right:.2f}; with the first network’s {stale:.2f}"
        drawn = {
            "ellipse": cloud(points[own], look.color),
            "way": {
                "mode": "lines+markers",
                "line": line,
                "marker": {"color": "white", "size": 5, "line": line},
                "hoverinfo": "skip",
            },
            "points": {
                "mode": "markers",
                "marker": {**look._asdict(), "size": 7, "line": rims(outside[own])},
                "hovertemplate": name,
            },
            "mean": {"mode": "markers", "marker": mean_mark(look.color, look.symbol), "hovertemplate": told},
        }
        where = {"way": means[: now + 1, k], "points": points[own], "mean": means[now, k][None]}
        for role, trace in drawn.items():
            if role in where:
                trace["x"], trace["y"] = rounded(where[role])
            layers[role].append({"type": "scatter", "name": name, "meta": {"role": role}, **trace})
    return [trace for layer in layers.values() for trace in layer], outside


def _names(made: Plane, classes: Sequence[str], axis: str) -> list[dict[str, Any]]:
    """Return the names of the classes in the first panel, above or below their points, where there is more room."""
    notes = []
    for k, of in enumerate(made.classes.tolist()):
        own, others = made.points[0, made.labels == of], made.points[0, made.labels != of]
        x = float(made.means[0, k, 0])
        ends = torch.tensor([[x, float(own[:, 1].max())], [x, float(own[:, 1].min())]], device="cpu")  # (2, 2)
        up = int(torch.cdist(ends, others).min(dim=1).values.argmax()) == 0
        place = {"x": x, "y": float(ends[1 - up, 1]), "xref": f"x{axis}", "yref": f"y{axis}", "showarrow": False}
        where = {"yanchor": "bottom", "yshift": 3} if up else {"yanchor": "top", "yshift": -3}
        notes.append({"text": label(classes[of], 16), "font": {"size": 12, "color": INK}, **place, **where})
    return notes


def _subtitle(made: Plane, n_candidates: int | None) -> list[str]:
    """Return how to read the figure and what it cannot show, in lines that fit."""
    n, chosen = len(made.classes), ""
    if n_candidates is not None:
        chosen = f" of {n_candidates}, those best separated,"
    text = (
        f"{n} classes{chosen} in the plane that tells them apart best under the network after task {made.first}. "
        f"It is fitted to half of their images there, and shows the other {len(made.labels)} under each network. Large "
        "marks: class means of the fitted half, with their way so far; ellipses: 68 % of a normal cloud. Numbers: how "
        f"often the nearest mean in this plane is the right one (by chance {1 / n:.2f}), by the means of the same "
        f"network, and by those of the first, as in a gallery never indexed again. {LIMITS['plane']}"
    )
    return textwrap.wrap(text, 118)
