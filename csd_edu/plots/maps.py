"""Drift maps: where the feature of each test image lies after each task, with a slider over the tasks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from csd_edu.maps import LIMITS, Map, Plane
from csd_edu.plots.curves import some
from csd_edu.plots.places import cloud, further_out, mean_mark, rims, rounded, seen, window, window_axis
from csd_edu.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    finished,
    label,
)

HEIGHT = 420  # of a panel, in pixels
NUMBERS, PLAYER = 68, 105  # pixels under the panels: numbers; buttons and slider

# 7 colours and 8 symbols come together again after 56 turns.
COLORS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, BLACK)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "hourglass")
COLOR_BY = ("task", "class", "found")
OTHERS = ("grey", "hidden")
FEW = 12  # classes that the legend can name


class Look(NamedTuple):
    """How a point is drawn."""

    color: str
    symbol: str
    opacity: float = 0.9


FOUND, NOT_FOUND = Look(GREEN, "circle"), Look(VERMILION, "circle-open")
TO_COME = Look(GREY, "circle-open", 0.4)
OTHER = Look(GREY, "circle", 0.25)

# The points have their colours by number: plotly takes half as long to check them, and the figure is smaller.
PALETTE = (*COLORS, GREY)
BY_NUMBER = {
    "cmin": -0.5,  # so that each number is in the middle of its step
    "cmax": len(PALETTE) - 0.5,
    "colorscale": [[(k + end) / len(PALETTE), color] for k, color in enumerate(PALETTE) for end in (0, 1)],
    "showscale": False,
}


def drift_map(
    maps: Mapping[str, Map | Plane],
    labels: Tensor,
    tasks: Tensor,
    *,
    classes: Sequence[str],
    color: str = "task",
    shown: Sequence[int] | None = None,
    others: str = "grey",
    found: Mapping[str, Tensor] | None = None,
    after: int | None = None,
    selected: int | None = None,
    trails: bool = True,
    task_names: Sequence[str] | None = None,
    title: str = "Where did the features go?",
    columns: int | None = None,
) -> go.Figure:
    """Return a map for each run, side by side, with a slider that moves every point from task to task.

    Maps of one plane have common axes, fixed over all snapshots. In each panel are three traces, told by their `meta`:
    "trails", "points" (customdata: which of the N) and "selected"; then come those of the legend, and with `shown`
    those of its classes, "ellipse", "way" and "mean". The frames, one for each snapshot, hold all that changes, and for
    every `color` the traces are the same in number and order. Points far out are drawn at the border, with a dark rim,
    and counted.

    Args:
        maps: for each run its map, or its plane, all of the same N images; a run that has learnt fewer tasks stays
            where it is.
        labels: (N,) integers, the class of each point.
        tasks: (N,) integers, the task of each point.
        classes: the class names, in the order of the labels.
        color: "task", "class", or "found" for what the search finds after each task.
        shown: labels of a few classes to have in colour, with an ellipse for each, and its mean with the way that it
            went; for color "class" only. Default: all alike.
        others: the points of other classes than those shown: "grey" or "hidden".
        found: for "found", by run a (T, N) bool such as `metrics.query_ranks(…) == 1`.
        after: the snapshot shown first; default the last.
        selected: a point to ring, 0 to N − 1.
        trails: draw a line to each point from where it was one task before.
        task_names: one for each task; default "0", "1", ….
        title: above the figure.
        columns: panels in a row; default up to three.

    Raises:
        ValueError: if there is no map, lengths or images don't fit, or an option is unknown or out of range.
    """
    n_snapshots = max(made.first + len(made.points) for made in some("map", maps).values())
    n_tasks = _checked(maps, labels, tasks, classes, color, found, task_names)
    _check_shown(shown, others, color, labels)
    after = n_snapshots - 1 if after is None else after
    for what, value, end in (("after", after, n_snapshots), ("selected", selected, len(labels))):
        if value is not None and not 0 <= value < end:
            raise ValueError(f"{what} is {value}; expected 0 to {end - 1}")
    if columns is not None and columns < 1:
        raise ValueError(f"columns is {columns}; expected at least 1")
    columns = min(len(maps), columns or (len(maps) if len(maps) <= 3 else math.ceil(math.sqrt(len(maps)))))
    rows = math.ceil(len(maps) / columns)
    height = HEIGHT * rows + 90 * (rows - 1)

    looks, legend = _looks(color, labels.tolist(), tasks.tolist(), classes, n_tasks, task_names, shown)
    windows = _windows(maps)
    in_window = {name: seen(made.points, *windows[name]) for name, made in maps.items()}
    markers = {
        name: _per_snapshot(looks, tasks, made.first, found[name] if found and color == "found" else None, outside)
        for (name, made), (_, outside) in zip(maps.items(), in_window.values(), strict=True)
    }
    gone = torch.zeros_like(labels, dtype=torch.bool)
    if shown is not None and others == "hidden":
        gone = ~torch.isin(labels, torch.tensor(shown, device="cpu"))
    places = {name: _places(points, gone) for name, (points, _) in in_window.items()}
    still = torch.zeros_like(gone) if shown is None else ~torch.isin(labels, torch.tensor(shown, device="cpu"))
    frames = [
        [trace for name in maps for trace in _panel(places[name], markers[name], t - maps[name].first, selected, still)]
        for t in range(n_snapshots)
    ]
    moving_classes = [
        [trace for name in maps for trace in _of_classes(maps[name], windows[name], labels, tasks, shown or (), t)]
        for t in range(n_snapshots)
    ]
    spacing = {"horizontal_spacing": 0.04 / columns, "vertical_spacing": 90 / height}
    figure = make_subplots(rows, columns, subplot_titles=[f"<b>{label(name, 30)}</b>" for name in maps], **spacing)
    fixed = _fixed(labels, tasks, classes, task_names, trails)
    traces: list[dict[str, Any]] = []  # plain dicts, also in the frames: plotly is slow at copying its own objects
    for k, name in enumerate(maps):
        axes = {"xaxis": f"x{k + 1 if k else ''}", "yaxis": f"y{k + 1 if k else ''}"}
        for (role, options), moving in zip(fixed.items(), frames[after][3 * k : 3 * k + 3], strict=True):
            about = {"name": label(name), "meta": {"role": role, "run": label(name)}, "showlegend": False}
            traces.append({**options, **moving, **about, **axes})
    for name, look in legend:  # those of no name keep the number of traces the same for every colouring
        marker = {"color": look.color, "symbol": look.symbol, "opacity": look.opacity, "size": 10}
        dummy = {"x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip", "meta": {"role": "legend"}}
        traces.append({"type": "scatter", **dummy, "name": name, "marker": marker, "showlegend": bool(name)})
    begin = len(traces)
    traces += _class_traces(maps, shown or (), classes, moving_classes[after])
    figure.add_traces(traces)
    _fix_axes(figure, maps, windows)

    heads = [head.to_plotly_json() for head in figure.layout.annotations]
    outsides = {name: outside & ~gone for name, (_, outside) in in_window.items()}
    texts = [[*heads, *_numbers(maps, outsides, t)] for t in range(n_snapshots)]
    changing = [*range(3 * len(maps)), *range(begin, len(traces))]
    figure.frames = [
        {
            "name": str(t),
            "data": [*frames[t], *moving_classes[t]],
            "traces": changing,
            "layout": {"annotations": texts[t]},
        }
        for t in range(n_snapshots)
    ]
    figure.layout.annotations = texts[after]
    many = color == "class" and shown is None and len(classes) > FEW
    finished(figure, title, _subtitle(maps, trails, many, shown), height)
    if n_snapshots > 1:
        _add_controls(figure, [_task(t, task_names) for t in range(n_snapshots)], after, height)
    figure.update_layout(
        meta={"player": PLAYER, "notes": {label(name): label(made.note, 2000) for name, made in maps.items()}},
        margin={"l": 12, "r": 12, "b": NUMBERS + PLAYER + 50},
        legend={"y": -(NUMBERS + PLAYER) / height, "itemclick": False, "itemdoubleclick": False},
        hovermode="closest",
    )
    return figure.update_layout(height=height + figure.layout.margin.t + figure.layout.margin.b)


def _checked(
    maps: Mapping[str, Map | Plane],
    labels: Tensor,
    tasks: Tensor,
    classes: Sequence[str],
    color: str,
    found: Mapping[str, Tensor] | None,
    task_names: Sequence[str] | None,
) -> int:
    """Return the number of tasks, or raise if the arguments don't fit each other."""
    first, expected = next(iter(maps.items()))
    n = len(expected.indices)
    for name, made in maps.items():
        if not torch.equal(made.indices, expected.indices):
            raise ValueError(
                f"the maps of {name!r} and {first!r} show different images; expected the same for all runs"
            )
    for what, values in (("labels", labels), ("tasks", tasks)):
        if tuple(values.shape) != (n,):
            raise ValueError(
                f"{what} have shape {tuple(values.shape)}; expected ({n},), one for each point: {what}[map.indices]"
            )
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise ValueError(
            f"labels are {int(labels.min())} to {int(labels.max())}, but there are {len(classes)} classes; expected a "
            "class name for each label"
        )
    if color not in COLOR_BY:
        raise ValueError(f"color is {color!r}; expected {', '.join(map(repr, COLOR_BY))}")
    if color == "found":
        for name, made in maps.items():
            wanted = (len(made.points), n)
            given = (found or {}).get(name)
            if given is None or given.dtype != torch.bool or tuple(given.shape) != wanted:
                what = "nothing" if given is None else f"{given.dtype} of shape {tuple(given.shape)}"
                raise ValueError(
                    f"found has {what} for {name!r}; expected bool of shape {wanted}, as query_ranks(…) == 1 gives it"
                )
    n_tasks = max(int(tasks.max()) + 1, *(made.first + len(made.points) for made in maps.values()))
    if int(tasks.min()) < 0:
        raise ValueError(f"tasks are {int(tasks.min())} to {int(tasks.max())}; expected 0, 1, …")
    if task_names is not None and len(task_names) < n_tasks:
        raise ValueError(f"there are {len(task_names)} task names; expected {n_tasks}, one for each task")
    return n_tasks


def _check_shown(shown: Sequence[int] | None, others: str, color: str, labels: Tensor) -> None:
    """Raise a ValueError if the classes to show are not some of those on the maps."""
    if others not in OTHERS:
        raise ValueError(f"others is {others!r}; expected {' or '.join(map(repr, OTHERS))}")
    if shown is None:
        return
    if color != "class":
        raise ValueError(f"color is {color!r}; expected 'class' to have a few classes in colour")
    there = set(labels.tolist())
    strange = [k for k in shown if k not in there]
    if strange or not 1 <= len(shown) <= FEW or len(set(shown)) < len(shown):
        raise ValueError(
            f"shown is {list(shown)}; expected 1 to {FEW} labels of classes on the map, each once"
            + (f", where {strange[0]} is not" if strange else "")
        )


def _task(task: int, names: Sequence[str] | None) -> str:
    return str(task) if names is None else label(names[task], 14)


def turn(k: int) -> Look:
    """Return the k-th look of tasks and classes; the same colour, and the same symbol, come back at different turns."""
    return Look(COLORS[k % len(COLORS)], SYMBOLS[k % len(SYMBOLS)])


def _looks(
    color: str,
    labels: Sequence[int],
    tasks: Sequence[int],
    classes: Sequence[str],
    n_tasks: int,
    task_names: Sequence[str] | None,
    shown: Sequence[int] | None,
) -> tuple[list[Look], list[tuple[str, Look]]]:
    """Return the look of each point once its task is learnt, and names and looks for the legend."""
    if shown is not None:
        of = {k: turn(nth) for nth, k in enumerate(shown)}
        rest = [("other classes", OTHER)] * any(k not in of for k in labels) + [("of a task to come", TO_COME)]
        return [of.get(k, OTHER) for k in labels], [*((label(classes[k], 20), look) for k, look in of.items()), *rest]
    few = len(classes) <= FEW
    if color == "task":
        looks = [turn(task) for task in tasks]
        legend = [(f"task {_task(t, task_names)}", turn(t)) for t in range(n_tasks)]
    elif color == "class":
        looks = [turn(k) for k in labels]
        legend = [(label(name, 20), turn(k)) for k, name in enumerate(classes)] * few
    else:
        looks, legend = [FOUND] * len(labels), [("found", FOUND), ("not found", NOT_FOUND)]
    n_entries = max(n_tasks, 2, len(classes) * few)
    return looks, [*legend, ("of a task to come", TO_COME), *[("", TO_COME)] * (n_entries - len(legend))]


def _per_snapshot(
    looks: Sequence[Look], tasks: Tensor, first: int, found: Tensor | None, outside: Tensor
) -> list[dict[str, Any]]:
    """Return for each snapshot the marker of all points: colours, symbols, opacities, and rims if some are far out."""
    markers = []
    for t, far in enumerate(outside):
        now = list(looks)
        for i in [] if found is None else (~found[t]).nonzero().flatten().tolist():
            now[i] = NOT_FOUND
        for i in (tasks > first + t).nonzero().flatten().tolist():
            # Open and filled have one outline; between others plotly's transition would pass through broken paths.
            now[i] = TO_COME._replace(symbol=now[i].symbol.removesuffix("-open") + "-open")
        colors = torch.tensor([PALETTE.index(look.color) for look in now], dtype=torch.uint8, device="cpu").numpy()
        symbols, opacities = [look.symbol for look in now], [look.opacity for look in now]
        marker = {"color": colors, "symbol": symbols, "opacity": opacities}
        markers.append(marker | ({"line": rims(far)} if outside.any() else {}))
    return markers


def _windows(maps: Mapping[str, Map | Plane]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return for each run the corners of the window that maps of its plane have in common, over all snapshots."""
    planes: dict[str, list[Tensor]] = {}
    for made in maps.values():
        planes.setdefault(made.plane, []).append(made.points.flatten(0, 1))
    of_planes = {plane: window(torch.cat(points)) for plane, points in planes.items()}
    return {name: of_planes[made.plane] for name, made in maps.items()}


def _places(points: Tensor, gone: Tensor) -> list[list[list[float | None]]]:
    """Return points (T, N, 2) as (T, 2, N), with nothing for those that are gone (N,)."""
    plain: list[list[list[float | None]]] = rounded(points)
    for i in gone.nonzero().flatten().tolist():
        for snapshot in plain:
            snapshot[0][i] = snapshot[1][i] = None
    return plain


def _of_classes(
    made: Map | Plane, corners: tuple[Tensor, Tensor], labels: Tensor, tasks: Tensor, shown: Sequence[int], t: int
) -> list[dict[str, Any]]:
    """Return what changes after task t in the three traces of each class shown: ellipse, mean's way, mean."""
    traces = []
    now = min(t - made.first, len(made.points) - 1)
    for nth, k in enumerate(shown):
        own, color = labels == k, turn(nth).color
        begin = max(0, int(tasks[own][0]) - made.first)  # the snapshot after which the class is learnt
        means = made.means[:, made.classes == k][:, 0] if isinstance(made, Plane) else made.points[:, own].mean(dim=1)
        means = seen(means[begin : max(0, now + 1)], *corners)[0]  # (≤ T, 2)
        x, y = rounded(means)
        ellipse = cloud(seen(made.points[now, own], *corners)[0] if len(x) else means, color)
        traces += [
            {"type": "scatter", "x": ellipse["x"], "y": ellipse["y"]},
            {"type": "scatter", "x": x or [None], "y": y or [None]},
            {"type": "scatter", "x": x[-1:] or [None], "y": y[-1:] or [None]},
        ]
    return traces


def _class_traces(
    maps: Mapping[str, Map | Plane],
    shown: Sequence[int],
    classes: Sequence[str],
    moving: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the traces of the classes shown, by run, with what they have at one snapshot."""
    traces: list[dict[str, Any]] = []
    for k, run in enumerate(maps):
        for nth, of in enumerate(shown):
            look = turn(nth)
            line = {"color": look.color, "width": 1.5}
            fixed = {
                "ellipse": cloud(torch.empty(0, 2, device="cpu"), look.color),
                "way": {"mode": "lines+markers", "line": line, "marker": {"color": "white", "size": 5, "line": line}},
                "mean": {"mode": "markers", "marker": mean_mark(look.color, look.symbol)},
            }
            for role, options in fixed.items():
                axes = {"xaxis": f"x{k + 1 if k else ''}", "yaxis": f"y{k + 1 if k else ''}"}
                about = {"name": label(classes[of]), "meta": {"role": role, "run": label(run)}, "showlegend": False}
                traces.append({**options, **moving[len(traces)], "hoverinfo": "skip", **about, **axes})
    return traces


def _panel(
    places: Sequence[list[list[float | None]]],
    markers: Sequence[dict[str, Any]],
    t: int,
    selected: int | None,
    still: Tensor,
) -> list[dict[str, Any]]:
    """Return what changes in the three traces of a panel from snapshot to snapshot; the last one stays.

    Before the first one, t < 0, nothing is there. Those that are still (N,) have no trail.
    """
    if t < 0:
        nowhere: list[list[float | None]] = [[None] * len(places[0][0])] * 2
        return _panel([nowhere], markers[:1], 0, None, still)
    now, before = min(t, len(places) - 1), max(0, min(t - 1, len(places) - 1))
    trails: list[list[float | None]] = []
    for old, new in zip(places[before], places[now], strict=True):  # x, y
        line: list[float | None] = [None] * (3 * len(new))
        line[::3], line[1::3] = old, new
        for i in still.nonzero().flatten().tolist():
            line[3 * i] = line[3 * i + 1] = None
        trails.append(line)
    ring: list[list[float | None]] = [[None if selected is None else values[selected]] for values in places[now]]
    x, y = places[now]
    return [
        {"type": "scatter", "x": trails[0], "y": trails[1]},
        {"type": "scatter", "x": x, "y": y, "marker": markers[now]},
        {"type": "scatter", "x": ring[0], "y": ring[1]},
    ]


def _fixed(
    labels: Tensor, tasks: Tensor, classes: Sequence[str], task_names: Sequence[str] | None, trails: bool
) -> dict[str, dict[str, Any]]:
    """Return what stays the same in the three traces of a panel, by their role."""
    n = len(labels)
    names = [label(name) for name in classes]
    text = [f"{names[k]}<br>task {_task(t, task_names)}" for k, t in zip(labels.tolist(), tasks.tolist(), strict=True)]
    size = 9 if n <= 100 else 6 if n <= 600 else 5
    return {
        "trails": {
            "mode": "lines",
            "line": {"color": GREY, "width": 0.7},
            "opacity": 0.3,
            "hoverinfo": "skip",
            "visible": trails,
        },
        "points": {
            "mode": "markers",
            "marker_size": size,
            "marker_line": {"width": 0.6, "color": "white"},
            **{f"marker_{name}": value for name, value in BY_NUMBER.items()},
            "customdata": list(range(n)),
            "text": text,
            "hovertemplate": "%{text}",
        },
        "selected": {
            "mode": "markers",
            "marker": {"symbol": "circle-open", "size": size + 10, "color": INK, "line": {"width": 3}},
            "hoverinfo": "skip",
        },
    }


def _fix_axes(figure: go.Figure, maps: Mapping[str, Map | Plane], windows: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Give maps of one plane common ranges, for all snapshots, with one scale for both directions."""
    leaders: dict[str, int] = {}
    for k, (name, made) in enumerate(maps.items()):
        leader = leaders.setdefault(made.plane, k)
        low, high = windows[name]
        margin = 0.04 * max(float((high - low).max()), 1e-3)
        for direction in (0, 1):
            axis = figure.layout[f"{'xy'[direction]}axis{k + 1 if k else ''}"]
            axis.update(window_axis(float(low[direction]), float(high[direction]), margin))
            axis.update(showline=True, linecolor=GRID, mirror=True)
            if leader < k:
                axis.update(matches=f"{'xy'[direction]}{leader + 1 if leader else ''}")
            elif direction == 1:
                axis.update(scaleanchor=f"x{k + 1 if k else ''}")


def _numbers(maps: Mapping[str, Map | Plane], outsides: Mapping[str, Tensor], t: int) -> list[dict[str, Any]]:
    """Return for each panel the text under it: how good the map is after task t, or what it tells."""
    notes = []
    for k, (name, made) in enumerate(maps.items()):
        now = min(t - made.first, len(made.points) - 1)
        text = "its classes are not learnt yet"
        if now >= 0:
            text = made.told(now) + f" (task {made.first + now}, its last)" * (made.first + now < t)
            text += further_out(outsides[name][now])
        axis = str(k + 1) if k else ""
        place = {"xref": f"x{axis} domain", "yref": f"y{axis} domain", "x": 0.5, "y": 0, "yshift": -4}
        notes.append({"text": text, "font": {"size": 14, "color": GREY}, "showarrow": False, "yanchor": "top", **place})
    return notes


def _subtitle(maps: Mapping[str, Map | Plane], trails: bool, many: bool, shown: Sequence[int] | None) -> list[str]:
    """Return how to read the map and what it cannot show, in lines that fit."""
    planes: dict[str, list[str]] = {}
    for name, made in maps.items():
        planes.setdefault(made.plane, []).append(name)
    text = ["Each point is a test image" + (", with a line from where it lay one task before." if trails else ".")]
    if many:
        text.append(f"{len(COLORS)} colours and {len(SYMBOLS)} symbols take turns: point at one for its class.")
    if shown is not None:
        text.append("Large: the mean of a class, with its way so far; its ellipse holds 68 % of a normal cloud.")
    kinds = {made.kind for made in maps.values()}
    for names in planes.values():
        if len(names) > 1:
            listed = f"{', '.join(names[:-1])} and {names[-1]}"
            begin = "begin with one map" if kinds == {"umap"} else "share one map"
            text.append(f"The runs {listed} {begin}: their positions can be compared.")
        elif len(planes) > 1:
            text.append(f"{names[0]} has a map of its own: compare no positions with the others.")
    text += [LIMITS[kind] for kind in dict.fromkeys(made.kind for made in maps.values())]
    return textwrap.wrap(" ".join(text), 84)  # fits into 680 pixels


def _add_controls(figure: go.Figure, names: Sequence[str], after: int, height: int) -> None:
    """Add play and pause, and the slider, below the numbers of the lowest panels."""
    step = {"mode": "immediate", "transition": {"duration": 400, "easing": "cubic-in-out"}}
    play = {**step, "frame": {"duration": 1400, "redraw": True}}  # redrawn, else the numbers stay
    pause = {"mode": "immediate", "transition": {"duration": 0}, "frame": {"duration": 0, "redraw": False}}
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, play]},
        {"label": "Pause", "method": "animate", "args": [[None], pause]},
    ]
    steps = [
        {"label": name, "method": "animate", "args": [[str(t)], {**step, "frame": {"duration": 400, "redraw": True}}]}
        for t, name in enumerate(names)
    ]
    place = {"x": 0, "xanchor": "left", "yanchor": "top", "y": -46 / height}
    half = 4 * max(map(len, names))  # pixels, of the longest name under an end of the slider
    current = {"prefix": "after learning task ", "xanchor": "right", "font": {"size": 16, "color": INK}}
    figure.update_layout(
        sliders=[
            {
                "steps": steps,
                "active": after,
                "currentvalue": current,
                "len": 1,
                "pad": {"t": 4, "l": half, "r": half},
                **place,
            }
        ],
        updatemenus=[
            {"type": "buttons", "direction": "left", "buttons": buttons, "showactive": False, "pad": {"t": 0}, **place}
        ],
    )
