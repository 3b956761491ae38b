"""One page about saved runs: a single HTML file with its pictures, for which no kernel or network is needed."""

from __future__ import annotations

import contextlib
import html
import importlib.resources
import json
import string
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from torch import Tensor

from csd_edu import drift, pictures, plots
from csd_edu.comparison import Comparison, cards_of, check_comparable, falls_of, in_bytes, run_labels, stream_of
from csd_edu.features import SAME
from csd_edu.files import check_writable, make_folder, write_atomically
from csd_edu.maps import FORMULAS, LIMITS, UmapError
from csd_edu.methods import Card
from csd_edu.metrics import mean_fall
from csd_edu.paths import given_path
from csd_edu.results import number
from csd_edu.runs import Run
from csd_edu.system import worded
from csd_edu.tuning import Tuning, read_tuning

MAPS = (
    "<p>Press play, or move the slider: each point is a test image, and follows its feature from task to task.\n"
    "Which runs keep the tasks apart, and which press them together?</p>\n"
)
TITLES = {
    "pca": "PCA map",
    "umap": "UMAP map, snapshot by snapshot",
    "umap together": "UMAP map of all snapshots together",
}
MAPPED = 4  # runs on the maps and in the strips; of more only the rivals
FIRST = 3  # runs in the first figure, if there are not those to be expected
LOST, KEPT = 3, 2  # queries shown
AS_RELEASED = {"csd": "as released: all weights 1"}
RESULTS, FEWER = 8, 3  # in a row of a strip, in a wide and in a narrow place


@worded()
def write_report(
    runs: Sequence[Run],
    path: str | Path,
    *,
    maps: Sequence[str] = ("plane", "pca", "umap"),
    shared_at: str | None = None,
) -> Path:
    """Write one self-contained HTML file about runs that learnt the same data in tasks of the same sizes.

    Maps are fitted once and kept in the folder of the first run, see `csd_edu.maps.cached_maps`; UMAP takes a while,
    and says so.

    Args:
        runs: in the order in which to show them; an unfinished one with the tasks it has learnt.
        path: the file to write; folders on the way are made.
        maps: pictures of the features: "plane", of a few classes, at the top; and of the kinds of drift map, "pca",
            "umap" (snapshot by snapshot) and "umap together"; () for none.
        shared_at: the address at which the page will be published, such as "https://example.org/report.html". A link to
            it then shows the first picture, which is drawn beside the page, as a PNG of the same name; that takes
            kaleido, and Chromium or Chrome.

    Returns:
        The path.

    Raises:
        ValueError: if there is no run, one has not finished its first task, is given twice, or has other data or tasks,
            there is no such kind of map, `shared_at` is no address, or the path does not end in .html or is a folder.
        OSError: if the file can't be written, an old one is then untouched; or what a run saved is missing.
    """
    check_comparable(runs)
    unknown = [kind for kind in maps if kind not in LIMITS]
    if unknown:
        raise ValueError(f"there is no map {unknown[0]!r}; expected {', '.join(map(repr, LIMITS))}, or none")
    if shared_at is not None and not shared_at.startswith(("https://", "http://")):
        raise ValueError(f"shared_at is {shared_at!r}; expected an address, such as 'https://example.org/report.html'")
    path = given_path(path)
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():  # lest a run's file is written over
        raise ValueError(f"the report is to be {path}; expected a file that ends in .html, such as report.html")
    check_writable(path.parent)
    preview = "" if shared_at is None else _preview(runs, path.with_suffix(".png"), shared_at)
    page = _filled("page.html", preview=preview, **_content(dict(zip(run_labels(runs), runs, strict=True)), maps))
    make_folder(path.parent)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def fit_maps(runs: Sequence[Run]) -> None:
    """Fit the maps of a report that take a while, and keep them in the folders of the runs."""
    comparison = Comparison(runs)
    with contextlib.suppress(UmapError):  # the report says so
        comparison.maps("umap", comparison.few_classes() if comparison.separable() else (), progress=False)


def _content(runs: Mapping[str, Run], maps: Sequence[str]) -> dict[str, str]:
    """Return the parts of the page, by their names in its template."""
    first = next(iter(runs.values()))
    n_learnt = {name: run.tasks_learnt for name, run in runs.items()}
    notes = [
        f"<strong>{_text(name)}</strong>: {n_learnt[name]} of {run.n_tasks} tasks learnt; its numbers are those so far."
        for name, run in runs.items()
        if not run.finished
    ]
    for name, run in runs.items():
        collapsed = [str(record["task"]) for record in run.records if record.get("collapsed")]
        if collapsed:
            notes.append(
                f"<strong>{_text(name)}</strong>: after task {', '.join(collapsed)} all features point the same way "
                "(collapse), so that search cannot tell images apart."
            )
    if any(run.tasks != first.tasks for run in runs.values()):
        notes.append("The runs learn the classes in different orders: task 0 of one is not task 0 of another.")
    notes.append(
        "Each row is one run with one seed. Would another seed change the order of the methods? The table over five "
        "seeds, with intervals, is in the kit’s <code>benchmarks/RESULTS.md</code>."
    )
    tunings, damaged = _tunings(runs.values())
    notes += [f"How the weights were chosen is not known: {_text(mistake)}." for mistake in damaged]

    smallest, largest = min(map(len, first.tasks)), max(map(len, first.tasks))
    sizes = f"{smallest} to {largest}" if smallest < largest else str(largest)
    return {
        "dataset": _text(first.description["stream"]["dataset"]),
        "n_classes": str(len(first.classes)),
        "n_tasks": f"{first.n_tasks} task{'s' * (first.n_tasks > 1)}",
        "sizes": f"{sizes} class{'es' * (largest > 1)}",
        "results": _results(runs, tunings),
        "notes": "".join(f"<li>{note}</li>" for note in notes),
        "methods": "".join(_explained(name, card) for name, card in cards_of(runs.values()).items()),
        "bytes": _against_bytes(runs),
        "tuning": "".join(dict.fromkeys(map(_tuned, tunings.values()))),
        "apart": _apart(runs),
        "made": _made(runs),
        "style": _read("page.css"),
        "plotly": get_plotlyjs(),
        "script": _read("page.js"),
        **_figures(runs),
        **_of_each_image(runs, maps),
    }


def _explained(name: str, card: Card) -> str:
    """Return a method and what it does, for a list of definitions."""
    source = f" ({_text(card.source)})" if card.source else ""
    return f"<dt>{_text(name)}</dt><dd>{_text(card.title)}{source}: {_text(card.sentence)}</dd>"


def _tunings(runs: Iterable[Run]) -> tuple[dict[Path, Tuning], list[str]]:
    """Return how weights were chosen by the folder that says so, for each folder with runs; and what is damaged."""
    found, damaged = {}, []
    for folder in dict.fromkeys(run.path.parent for run in runs):
        try:
            tuning = read_tuning(folder)
        except ValueError as error:
            damaged.append(str(error))
        else:
            if tuning is not None:
                found[folder] = tuning
    return found, damaged


def _tuned(tuning: Tuning) -> str:
    """Return the folded grid from which weights were chosen."""
    values = sorted({value for search in tuning.methods.values() for value in search.grid})
    head = "".join(f'<th scope="col">{value:g}</th>' for value in values)
    rows = []
    for name, search in tuning.methods.items():
        cells = []
        for value in values:
            scores = search.grid.get(value)
            mean = _number(sum(scores) / len(scores) if scores else None)
            cells.append(f"<td><strong>{mean} ✓</strong></td>" if value == search.chosen else f"<td>{mean}</td>")
        setting = f"{_text(name)}<br><small>{_text(search.setting)}</small>"
        rows.append(f'<tr><th scope="row">{setting}</th>{"".join(cells)}</tr>')
    return _filled(
        "tuning.html",
        dataset=_text(tuning.dataset),
        preset=_text(tuning.preset),
        held_out=f"{tuning.validation:.0%}",
        metric=_text(tuning.metric),
        seeds=", ".join(map(str, tuning.seeds)),
        head=head,
        rows="\n".join(rows),
    )


def _about(run: Run, tuning: Tuning | None) -> str:
    """Return a line about a method's setting and its part in the comparison, below its name; or nothing."""
    said = [AS_RELEASED.get(run.method, "") if not run.is_own else ""]
    said.append("tuned" if tuning is not None and tuning.chose(run) else "")
    said.append(f"control: {run.card['control']}" if run.card is not None and run.card.get("control") else "")
    return f'<br><small class="about">{_text("; ".join(filter(None, said)))}</small>' if any(said) else ""


def _results(runs: Mapping[str, Run], tunings: Mapping[Path, Tuning]) -> str:
    """Return the rows of the table of results."""
    rows = []
    for name, run in runs.items():
        metrics, last = run.metrics, run.tasks_learnt - 1
        summary = metrics["summary"]
        state = "" if run.finished else f"<br><small>{last + 1} of {run.n_tasks} tasks learnt</small>"
        about = _about(run, tunings.get(run.path.parent))
        cells = [
            _share(summary["recall_at_1"]),
            f"<td>{_number(summary['forgetting'] if last > 0 else None)}</td>",
            _share(summary["head_accuracy"]),
            _share(metrics["head_accuracy"]["seen"][last][0]),
            f"<td>{in_bytes(run.kept_bytes)}</td>",
            f"<td>{run.seconds:,.1f}</td>",
        ]
        rows.append(f'<tr><th scope="row">{_text(name)}{about}{state}</th>{"".join(cells)}</tr>')
    return "\n".join(rows)


def _share(value: float | None, text: str | None = None) -> str:
    """Return a cell with a number from 0 to 1, or a text for it, above a bar of that length."""
    return f'<td><span class="share" style="--share: {value or 0:.3f}">{text or _number(value)}</span></td>'


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _figures(runs: Mapping[str, Run]) -> dict[str, str]:
    """Return the figures, by their names in the template."""
    metrics = {name: run.metrics for name, run in runs.items()}

    def matrices(metric: str, protocol: str) -> dict[str, Any]:
        return {name: m[metric][protocol] for name, m in metrics.items()}

    def of_task_0(metric: str) -> dict[str, list[float | None]]:
        return {name: [row[0] for row in m[metric]["seen"][: m["tasks_learnt"]]] for name, m in metrics.items()}

    cards = cards_of(runs.values())
    plain, few = {"end_labels": False}, {"columns": 2 if next(iter(runs.values())).n_tasks <= 5 else 1}
    overall = {name: m["overall"]["recall_at_1"] for name, m in metrics.items()}
    head = "seen: the head chooses among the classes of all tasks learnt so far"
    return {
        "curves": _figure(
            plots.curves_over_tasks,
            overall,
            narrow=plain,
            title="Recall@1 after each task",
            metric="Recall@1",
            cards=cards,
        ),
        "seen": _figure(
            plots.task_matrices, matrices("recall_at_1", "seen"), narrow=few, title="Recall@1", protocol="seen"
        ),
        "own": _figure(
            plots.task_matrices, matrices("recall_at_1", "task"), narrow=few, title="Recall@1", protocol="task"
        ),
        "head": _figure(
            plots.task_matrices, matrices("head_accuracy", "seen"), narrow=few, title="Head accuracy", protocol=head
        ),
        "beside": _figure(
            plots.classification_beside_retrieval,
            of_task_0("head_accuracy"),
            of_task_0("recall_at_1"),
            narrow={"columns": 1, **plain},
            title="Head accuracy and Recall@1 on task 0",
            queries="the test images of task 0",
            cards=cards,
        ),
        "losses": "".join(
            _figure(plots.loss_terms, run.records, narrow=plain, title=name, cards=cards) for name, run in runs.items()
        ),
    }


def _against_bytes(runs: Mapping[str, Run]) -> str:
    """Return what is reached against the bytes kept for it, if several runs keep something."""
    if sum(bool(run.kept_bytes) for run in runs.values()) < 2:
        return ""
    figures = [
        _figure(
            pictures.recall_against_bytes, list(runs.values()), narrow={"labels": False}, metric=metric, title=title
        )
        for metric, title in (("recall_at_1", "Recall@1"), ("head_accuracy", "Head accuracy"))
    ]
    return _filled("bytes.html", figures="".join(figures))


def _apart(runs: Mapping[str, Run]) -> str:
    """Return what the section that tells forgetting from crowding has below its heading."""
    falls = {name: mean_fall(falls_of(run)) for name, run in runs.items()}
    if all(None in fall for fall in falls.values()):
        return "<p>There is no earlier task on which Recall@1 could have fallen yet.</p>"
    figure = _figure(plots.forgetting_and_crowding, falls, narrow={"end_labels": False})
    return _filled("apart.html", figure=figure, frozen=_beside_frozen(runs))


def _beside_frozen(runs: Mapping[str, Run]) -> str:
    """Return how far Recall@1 fell on the first task, beside a network that stays as it was after that task."""
    bounds = {name for name, card in cards_of(runs.values()).items() if card.bound}
    whole = {name: run for name, run in runs.items() if run.finished and run.n_tasks > 1}
    still = next((name for name, run in whole.items() if run.method == "frozen" and not run.is_own), None)
    fell = {
        name: first.learnt - first.left
        for name, run in whole.items()
        if still is not None and run.tasks == whole[still].tasks and plots.method_of(run.method) not in bounds
        for first in falls_of(run)[:1]
        if first.learnt is not None and first.left is not None
    }
    if still not in fell or len(fell) == 1:
        return ""
    others = ", ".join(f"{_text(name)} {_number(fall)}" for name, fall in fell.items() if name != still)
    return (
        f"<p>Of the fall on the first task, {_number(fell[still])} is what a network that does not change "
        f"({_text(still)}) loses as well: that much the gallery takes. The whole falls, learnt − left: {others}. "
        "To lose less than the unchanged network is possible: one that has learnt the later tasks can keep them "
        "apart.</p>"
    )


def _of_each_image(runs: Mapping[str, Run], maps: Sequence[str]) -> dict[str, str]:
    """Return the sections about single test images, by their names in the template: for runs that ask the same ones."""
    first = next(iter(runs.values()))
    names = [name for name, run in runs.items() if run.tasks == first.tasks]
    others = [name for name in runs if name not in names]
    left_out = f"<p>Left out here: {_names(others)}, with the classes in another order.</p>" if others else ""
    if all(runs[name].tasks_learnt < 2 for name in names):
        only = "<p>Only one task is learnt so far: nothing has moved, and nothing is lost yet.</p>"
        return {"plane": "", "drift": only + left_out, "queries": only + left_out}
    comparison = Comparison([runs[name] for name in names], names=names)
    few = comparison
    if len(names) > MAPPED:
        rivals = _rivals(names)
        few = Comparison([runs[name] for name in rivals], names=rivals)
    return {
        "plane": _plane(comparison) if "plane" in maps and comparison.separable() else "",
        "drift": _drift(comparison, few, [kind for kind in maps if kind != "plane"]) + left_out,
        "queries": _queries(comparison, few) + left_out,
    }


def _plane(comparison: Comparison) -> str:
    """Return the first figure of the page: a few classes, in the plane that the first network told them apart in."""
    shown = Comparison([comparison.runs[name] for name in _rivals(list(comparison.runs))])
    wide = pictures.first_plane(shown)
    ends = sorted({0, max(run.tasks_learnt for run in shown.runs.values()) - 1})
    small = pictures.first_plane(shown, after=ends)
    small.update_annotations(font_size=11)
    for figure in (wide, small):
        figure.layout.title.subtitle.text = figure.layout.title.subtitle.text.replace("<br>", " ")
    return _drawn(wide, small)


def _preview(runs: Sequence[Run], png: Path, address: str) -> str:
    """Draw the first picture, and return what makes a link to the page show it; say so if it can't be drawn."""
    comparison = Comparison([run for run in runs if run.tasks == runs[0].tasks])
    last = max(run.tasks_learnt for run in comparison.runs.values()) - 1
    try:
        from csd_edu import stills  # takes nbformat, which the page does not

        browser = stills.find_browser()
        if browser is None:
            raise FileNotFoundError("there is no Chromium or Chrome")
        if last == 0 or not comparison.separable():
            raise ValueError("there is nothing to be seen in a plane yet")
        names = _rivals(list(comparison.runs))
        shown = Comparison([comparison.runs[name] for name in dict.fromkeys((names[0], names[-1]))])
        figure = pictures.first_plane(shown, after=[0, last]).to_plotly_json()
        make_folder(png.parent)
        write_atomically(png, stills.as_png(stills.draw([figure], browser)))
    except Exception as error:  # whatever a browser does: the page is more than its picture
        warnings.warn(f"a link to the page will show no picture: {error}", stacklevel=4)
        return ""
    return f'<meta property="og:image" content="{_text(urljoin(address, png.name))}">\n'


def _rivals(names: Sequence[str]) -> list[str]:
    """Return the runs to set against each other first: fine-tuning, LwF and CSD, tuned if there are such."""
    of = {base: [name for name in names if plots.method_of(name) == base] for base in ("finetune", "lwf", "csd")}
    found = [max(same, key=lambda name: "=" in name) for same in of.values() if same]
    return found if len(found) > 1 else list(names[:FIRST])


def _drift(comparison: Comparison, few: Comparison, maps: Sequence[str]) -> str:
    """Return what the section about drift has below its heading."""
    tables = {name: table for name in comparison.runs if (table := comparison.drift_table(name))}
    narrow = {"columns": 2 if comparison.n_tasks <= 5 else 1}
    probe = next(iter(comparison.maps("pca").values())).indices
    return _filled(
        "drift.html",
        maps=MAPS * bool(maps) + "".join(_map(few, kind) for kind in maps),
        shown=_only(few, comparison),
        n_probe=f"{len(probe):,}",
        n_images=f"{len(comparison.labels):,}",
        k=next(iter(tables.values()))[0]["k"],
        rows="".join(_drift_rows(name, table, comparison.classes) for name, table in tables.items()),
        matrices=_figure(plots.drift_matrices, tables, narrow=narrow, quantity="cka"),
        **{name: _text(formula) for name, formula in (drift.FORMULAS | FORMULAS).items()},
    )


def _map(comparison: Comparison, kind: str) -> str:
    """Return a map of all classes; on that of each snapshot by itself, a few classes are followed.

    In the place of a UMAP that can't be computed stands why.
    """
    classes = comparison.few_classes() if kind == "umap" and comparison.separable() else None
    try:
        wide, small = (
            pictures.drift_map(comparison, kind, classes=classes, columns=k) for k in (min(2, len(comparison.runs)), 1)
        )
    except UmapError as error:
        return f"<h3>{TITLES[kind]}</h3><p>{_text(error)}.</p>"
    below = wide.layout.title.subtitle
    below.text = below.text.replace("<br>", " ")  # one text, in lines for a figure by itself
    return _drawn(wide, small, title=TITLES[kind])


def _drift_rows(name: str, table: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return a run's rows of the table of drift: the first network against each later one."""
    since_first = [row for row in table if row["before"] == 0]
    rows = []
    for row in since_first:
        label, farthest = max(row["class_mean_displacement"].items(), key=lambda item: item[1])
        class_ = f"{_text(classes[label])} <small>{_number(farthest)}</small>" if farthest > SAME else "–"
        values = [row["cka"], row["mean_displacement"], row["neighbor_overlap"]]
        numbers = "".join(f"<td>{_number(value)}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{row["after"]}</th>{numbers}<td>{class_}</td></tr>')
    head = f'<th scope="rowgroup" rowspan="{len(rows)}">{_text(name)}</th>'
    return f"<tbody>{rows[0].replace('<tr>', '<tr>' + head, 1)}{''.join(rows[1:])}</tbody>"


def _queries(comparison: Comparison, few: Comparison) -> str:
    """Return what the section about single queries has below its heading."""
    rows = []
    for name in comparison.runs:
        counts = {change: int(mask.sum()) for change, mask in comparison.changes(name).items()}
        total = sum(counts.values())
        cells = [_share(count / max(1, total), f"{count:,}") for count in counts.values()]
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{"".join(cells)}<td>{total:,}</td></tr>')
    rule, lost, kept = _chosen(few)
    figures = [_strips(few, query, what) for what, queries in (("Lost", lost), ("Kept", kept)) for query in queries]
    without = "" if few.images is not None else " The runs saved no images, so that names of classes stand for them."
    return _filled(
        "queries.html",
        rows="".join(rows),
        rule=rule + without,
        shown=_only(few, comparison),
        strips="".join(figures),
    )


def _chosen(comparison: Comparison) -> tuple[str, list[int], list[int]]:
    """Return by which rule queries are chosen, in words, and those that are lost and kept."""
    first, *others = comparison.runs
    changes = {name: comparison.changes(name) for name in comparison.runs}
    # Queries of the last task learnt are asked only once: of these, being kept says little.
    asked_twice = comparison.tasks < comparison.runs[first].tasks_learnt - 1
    lost, kept = changes[first]["lost"], changes[first]["kept"] & asked_twice
    rules = [f"lost by {_text(first)}", f"kept by {_text(first)}"]
    if others:
        bounds = {name for name, card in comparison.cards.items() if card.bound or card.control}
        rivals = [name for name in others if plots.method_of(name) not in bounds] or others
        other = min(rivals, key=lambda name: int(changes[name]["lost"].sum()))
        lost, kept = lost & changes[other]["kept"], kept & changes[other]["kept"]
        rules = [f"lost by {_text(first)} but kept by {_text(other)}", "kept by both"]
    chosen = _spread(lost, comparison.tasks, LOST), _spread(kept, comparison.tasks, KEPT)
    parts = [
        f"{len(queries)} of {int(mask.sum()):,} queries {rule}" if queries else f"no query {rule}"
        for queries, mask, rule in zip(chosen, (lost, kept), rules, strict=True)
    ]
    order = ": of each task the first in the order of the test images, then the second, and so on" * any(chosen)
    return f"Shown: {parts[0]}, and {parts[1]}{order}.", *chosen


def _spread(mask: Tensor, tasks: Tensor, n: int) -> list[int]:
    """Return up to n of the masked images: the first of each task, then the second of each, and so on."""
    turns: Counter[int] = Counter()
    keys = []
    for query in mask.nonzero()[:, 0].tolist():
        task = int(tasks[query])
        keys.append((turns[task], task, query))
        turns[task] += 1
    return [query for _, _, query in sorted(keys)[:n]]


def _strips(comparison: Comparison, query: int, what: str) -> str:
    wide, small = (pictures.strips(comparison, query, k=k, every_task=False) for k in (RESULTS, FEWER))
    return _drawn(wide, small, title=f"{what}: a query of task {int(comparison.tasks[query])}")


def _only(few: Comparison, comparison: Comparison) -> str:
    """Return a sentence if not all runs are drawn."""
    return "" if few is comparison else f"<p>Drawn for {len(few.runs)} of the runs: {_names(list(few.runs))}.</p>"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_text, names))


def _figure(plot: Callable[..., go.Figure], *data: Any, narrow: Mapping[str, Any], **options: Any) -> str:
    """Return a chart for a wide and a narrow place, where the axes get less room."""
    wide, small = plot(*data, **options), plot(*data, **options, **narrow)
    small.update_layout(margin_l=52, margin_r=12, font_size=13, coloraxis_showscale=False)
    small.update_annotations(font_size=13)
    return _drawn(wide, small)


def _drawn(wide: go.Figure, small: go.Figure, title: str | None = None) -> str:
    """Return a figure in two versions, for a wide and a narrow place, with its title as text above it."""
    heading = wide.layout.title
    caption = f"<h3>{heading.text if title is None else title}</h3><p>{heading.subtitle.text}</p>"
    for figure in (wide, small):
        height = figure.layout.height - figure.layout.margin.t + 40
        figure.update_layout(title=None, height=height, margin_t=40)
    versions, images = [json.loads(figure.to_json()) for figure in (wide, small)], []
    for version in versions:  # an image is there once, however often it is drawn
        for placed in version["layout"].get("images", []):
            if placed["source"] not in images:
                images.append(placed["source"])
            placed["source"] = images.index(placed["source"])
    parts = {"wide": versions[0], "narrow": _changes(*versions), "images": images}
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    drawing = '<div class="drawing">This figure is drawn by JavaScript, which is switched off here.</div>'
    return (
        f'<figure><figcaption>{caption}</figcaption>{drawing}<script type="application/json">{text}</script></figure>'
    )


def _changes(old: Any, new: Any) -> Any:
    """Return what turns the JSON `old` into `new`: both versions of a figure have most in common.

    An object holds the changes of an object by key (null: gone) or of a list by index; all else is the new value.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(key for key in old if key not in new)]
        return {key: _changes(old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return {str(k): _changes(*pair) for k, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]}
    return new


def _made(runs: Mapping[str, Run]) -> str:
    """Return the rows of the table that says how the runs were made; what all have in common is said once."""
    facts = []
    for run in runs.values():
        stream, environment = run.description["stream"], run.description["environment"]
        config = {name: value for name, value in run.config.to_json().items() if value != []}
        order = {"seed of the class order": stream["seed"], "validation": stream["validation"]}
        order |= {"labelled": stream["labelled"]} if "labelled" in stream else {}
        tasks = {f"task {t}": ", ".join(names) for t, names in enumerate(run.tasks)}
        facts.append({"data": stream_of(run)[0], **order, **config, **environment, **tasks})
    rows = ["<tr><th></th>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in runs) + "</tr>"]
    for fact in dict.fromkeys(name for run in facts for name in run):
        values = [_text(run.get(fact, "–")) for run in facts]
        same = len(set(values)) == 1
        cells = f'<td colspan="{len(values)}">{values[0]}</td>' if same else "".join(f"<td>{v}</td>" for v in values)
        rows.append(f'<tr><th scope="row">{_text(fact.replace("_", " "))}</th>{cells}</tr>')
    return "\n".join(rows)


def _text(value: object) -> str:
    return html.escape(str(value))


def _filled(template: str, **content: object) -> str:
    """Return one of the templates beside this file with its gaps filled."""
    return string.Template(_read(template)).substitute(content)


def _read(name: str) -> str:
    return importlib.resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
