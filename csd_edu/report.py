"""One page about saved runs: a single HTML file with its pictures, for which no kernel or network is needed."""

from __future__ import annotations

import html
import json
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from torch import Tensor

from csd_edu import drift, pictures, plots
from csd_edu.comparison import Comparison, check_comparable, run_labels, stream_of
from csd_edu.files import write_atomically
from csd_edu.plots.style import number
from csd_edu.runs import Run

METHODS = {
    "finetune": "Fine-tuning: cross-entropy and a triplet loss on the new task, and nothing against forgetting.",
    "lwf": "Learning without Forgetting (Li &amp; Hoiem 2016): fine-tuning, and knowledge distillation (KD) from the "
    "teacher, the network as it was before the task: keep answering for the old classes as it does.",
    "csd": "Contrastive Supervised Distillation (Barletti et al. 2021): LwF, and a contrastive loss that draws an "
    "image’s features to those that student and teacher give to images of its class, and away from the others.",
    "joint": "Joint training: all classes are learnt together at the start, and nothing after; the usual upper bound. "
    "Its network stays the same, so what it loses under <em>seen</em> it loses to the growing gallery: that is "
    "crowding, not forgetting.",
}
MAPPED = 4  # runs on the maps and in the strips, at most
LOST, KEPT = 3, 2  # queries shown
RESULTS, FEWER = 8, 3  # in a row of a strip, in a wide and in a narrow place


def write_report(runs: Sequence[Run], path: str | Path, *, maps: Sequence[str] = ("pca", "umap")) -> Path:
    """Write one self-contained HTML file about runs that learnt the same data in tasks of the same sizes.

    Maps are fitted once and kept in the folder of the first run, see `csd_edu.drift.cached_maps`; UMAP takes a while,
    and says so.

    Args:
        runs: in the order in which to show them; an unfinished one with the tasks it has learnt.
        path: the file to write; folders on the way are made.
        maps: kinds of drift maps, "pca" and "umap"; () for none.

    Returns:
        The path.

    Raises:
        ValueError: if there is no run, one has not finished its first task, is given twice, or has other data or tasks,
            or there is no such kind of map.
        OSError: if the file can't be written, an old one is then untouched; or what a run saved is missing.
    """
    check_comparable(runs)
    unknown = [kind for kind in maps if kind not in drift.LIMITS]
    if unknown:
        raise ValueError(f"there is no map {unknown[0]!r}; expected {' and '.join(map(repr, drift.LIMITS))}, or none")
    path = Path(path)
    page = string.Template(PAGE).substitute(_content(dict(zip(run_labels(runs), runs, strict=True)), maps))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


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
    notes.append("Each row is one run with one seed. Would another seed change the order of the methods?")

    smallest, largest = min(map(len, first.tasks)), max(map(len, first.tasks))
    sizes = f"{smallest} to {largest}" if smallest < largest else str(largest)
    known = dict.fromkeys(
        plots.method_of(name) for name, run in runs.items() if "source_crc32" not in run.description["method"]
    )
    return {
        "dataset": _text(first.description["stream"]["dataset"]),
        "n_classes": str(len(first.classes)),
        "n_tasks": f"{first.n_tasks} task{'s' * (first.n_tasks > 1)}",
        "sizes": f"{sizes} class{'es' * (largest > 1)}",
        "results": _results(runs),
        "notes": "".join(f"<li>{note}</li>" for note in notes),
        "methods": "".join(f"<dt>{name}</dt><dd>{METHODS[name]}</dd>" for name in known if name in METHODS),
        "made": _made(runs),
        "plotly": get_plotlyjs(),
        **_figures(runs),
        **_of_each_image(runs, maps),
    }


def _results(runs: Mapping[str, Run]) -> str:
    """Return the rows of the table of results."""
    rows = []
    for name, run in runs.items():
        metrics, last = run.metrics, run.tasks_learnt - 1
        summary = metrics["summary"]
        state = "" if run.finished else f"<br><small>{last + 1} of {run.n_tasks} tasks learnt</small>"
        cells = [
            _share(summary["recall_at_1"]),
            f"<td>{_number(summary['forgetting'] if last > 0 else None)}</td>",
            _share(summary["head_accuracy"]),
            _share(metrics["head_accuracy"]["seen"][last][0]),
            f"<td>{run.seconds:,.1f}</td>",
        ]
        rows.append(f'<tr><th scope="row">{_text(name)}{state}</th>{"".join(cells)}</tr>')
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

    plain, few = {"end_labels": False}, {"columns": 2 if next(iter(runs.values())).n_tasks <= 5 else 1}
    overall = {name: m["overall"]["recall_at_1"] for name, m in metrics.items()}
    head = "seen: the head chooses among the classes of all tasks learnt so far"
    return {
        "curves": _figure(
            plots.curves_over_tasks, overall, narrow=plain, title="Recall@1 after each task", metric="Recall@1"
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
        ),
        "losses": "".join(
            _figure(plots.loss_terms, run.records, narrow=plain, title=name) for name, run in runs.items()
        ),
    }


def _of_each_image(runs: Mapping[str, Run], maps: Sequence[str]) -> dict[str, str]:
    """Return the sections about single test images, by their names in the template: for runs that ask the same ones."""
    first = next(iter(runs.values()))
    names = [name for name, run in runs.items() if run.tasks == first.tasks]
    others = [name for name in runs if name not in names]
    left_out = f"<p>Left out here: {_names(others)}, with the classes in another order.</p>" if others else ""
    if all(runs[name].tasks_learnt < 2 for name in names):
        only = "<p>Only one task is learnt so far: nothing has moved, and nothing is lost yet.</p>"
        return {"drift": only + left_out, "queries": only + left_out}
    comparison = Comparison([runs[name] for name in names], names=names)
    few = comparison
    if len(names) > MAPPED:
        few = Comparison([runs[name] for name in names[:MAPPED]], names=names[:MAPPED])
    return {
        "drift": _drift(comparison, few, maps) + left_out,
        "queries": _queries(comparison, few) + left_out,
    }


def _drift(comparison: Comparison, few: Comparison, maps: Sequence[str]) -> str:
    """Return what the section about drift has below its heading."""
    tables = {name: table for name in comparison.runs if (table := comparison.drift_table(name))}
    narrow = {"columns": 2 if comparison.n_tasks <= 5 else 1}
    probe = next(iter(comparison.maps("pca").values())).indices
    return string.Template(DRIFT).substitute(
        maps=MAPS * bool(maps) + "".join(_map(few, kind) for kind in maps),
        shown=_only(few, comparison),
        n_probe=f"{len(probe):,}",
        n_images=f"{len(comparison.labels):,}",
        k=next(iter(tables.values()))[0]["k"],
        rows="".join(_drift_rows(name, table, comparison.classes) for name, table in tables.items()),
        matrices=_figure(plots.drift_matrices, tables, narrow=narrow, quantity="cka"),
        **{name: _text(formula) for name, formula in drift.FORMULAS.items()},
    )


def _map(comparison: Comparison, kind: str) -> str:
    wide, small = (pictures.drift_map(comparison, kind, columns=k) for k in (min(2, len(comparison.runs)), 1))
    below = wide.layout.title.subtitle
    below.text = below.text.replace("<br>", " ")  # one text, in lines for a figure by itself
    return _drawn(wide, small, title=f"{kind.upper()} map")


def _drift_rows(name: str, table: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return a run's rows of the table of drift: the first network against each later one."""
    since_first = [row for row in table if row["before"] == 0]
    rows = []
    for row in since_first:
        label, farthest = max(row["class_mean_displacement"].items(), key=lambda item: item[1])
        class_ = f"{_text(classes[label])} <small>{_number(farthest)}</small>" if farthest > drift.SAME else "–"
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
    return string.Template(QUERIES).substitute(
        rows="".join(rows), rule=rule + without, shown=_only(few, comparison), strips="".join(figures)
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
        csd = [name for name in others if plots.method_of(name) == "csd"]
        other = csd[0] if csd else min(others, key=lambda name: int(changes[name]["lost"].sum()))
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
    return "" if few is comparison else f"<p>Drawn for the first {len(few.runs)} runs: {_names(list(few.runs))}.</p>"


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


MAPS = """<p>Press play, or move the slider: each point is a test image, and follows its feature from task to task.
Which runs keep the tasks apart, and which press them together?</p>
"""

DRIFT = """<p>When a network learns a task, the features of all images move, also of those it saw before. Moving by
itself costs a search nothing, as long as neighbours move together. Do they?</p>
$shown
$maps
<p>How far is that in numbers? The network after task 0 is compared with each later one, on $n_probe of $n_images
test images, also of tasks still to come. Do the features turn far where neighbours change?</p>
<div class="scroll"><table class="drift">
<thead><tr><th scope="col">Run</th><th scope="col">After<br><small>task</small></th><th scope="col">Linear
 CKA<br><small>1: alike</small></th><th scope="col">Displacement<br><small>0: none</small></th><th
 scope="col">Neighbours<br><small>1: the same $k</small></th><th scope="col">Moved farthest<br><small>class, and how
 far</small></th></tr></thead>
$rows
</table></div>
<details><summary>What the columns mean</summary>
<dl>
<dt>Linear CKA</dt><dd>Do both networks lay out the images alike (Kornblith et al. 2019)?
<span class="formula">$cka</span></dd>
<dt>Displacement</dt><dd>How far have the features turned? <span class="formula">$mean_displacement</span></dd>
<dt>Neighbours</dt><dd>How many of an image’s $k nearest images are the same?
<span class="formula">$neighbor_overlap</span></dd>
<dt>Moved farthest</dt><dd>The class whose mean has turned farthest. <span
 class="formula">$class_mean_displacement</span></dd>
<dt>Under a map</dt><dd>Trustworthiness: are neighbours on the map neighbours among the features (Venna
&amp; Kaski 2001)?
<span class="formula">$trustworthiness</span> Neighbours kept: are neighbours among the features so on the map?
<span class="formula">$neighbors_kept</span></dd>
</dl></details>
$matrices
"""

QUERIES = """<p>Forgetting is a difference of means. This is what they are made of: each test image is a query right
after its own task, and again in the end, each time among the test images of all tasks learnt by then
(<em>seen</em>). It is found (✓) if the nearest of these has its class, and not found (✕) otherwise. Which runs lose
most, and do they also win some back?</p>
<div class="scroll"><table class="results">
<thead><tr><th scope="col">Run</th><th scope="col">Kept<br><small>✓ ✓</small></th><th
 scope="col">Lost<br><small>✓ ✕</small></th><th scope="col">Won<br><small>✕ ✓</small></th><th
 scope="col">Missed<br><small>✕ ✕</small></th><th scope="col">Queries</th></tr></thead>
<tbody>
$rows
</tbody>
</table></div>
<p>Between the two times, Recall@1 falls by (lost − won) / queries. Queries of the last task are asked only once, and so
are kept or missed. What is lost by a network that does not change, it loses to the growing gallery.</p>
<p>$rule Do the wrong images look like the query?</p>
$shown
$strips
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<title>Learning $dataset in $n_tasks</title>
<style>
:root { color-scheme: light; --ink: #1f2328; --grey: #59636e; --line: #d8dde3; --wash: #f6f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 17px/1.6 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
p, ul { max-width: 44rem; }
h1, h2, h3 { line-height: 1.2; letter-spacing: -0.012em; text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 1.2rem + 2.6vw, 2.9rem); margin: 0 0 1rem; }
h2 { font-size: clamp(1.35rem, 1.1rem + 1vw, 1.75rem); margin: 4rem 0 0.75rem; padding-top: 1.25rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 0; }
.kicker { margin: 0 0 0.5rem; color: var(--accent); font-weight: 600; }
.lead { font-size: 1.15rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.55rem 0.75rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: baseline; }
th { text-align: left; font-weight: 600; }
thead th { border-bottom: 2px solid var(--ink); text-align: right; vertical-align: bottom; line-height: 1.3; }
thead th:first-child { text-align: left; }
.results { width: 100%; font-size: 1.1rem; margin: 1.5rem 0 1rem; }
.results thead th, .results small { font-size: 0.95rem; }
small { white-space: nowrap; }
small, figcaption p { color: var(--grey); font-weight: 400; }
.share { display: inline-block; min-width: 4.5rem; padding-bottom: 0.2rem; print-color-adjust: exact;
  background: linear-gradient(to right, #0072b2 calc(var(--share) * 100%), #dfe5ea 0) no-repeat bottom / 100% 3px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.6rem 1.5rem; max-width: 50rem; }
dt { font-weight: 600; }
dd { margin: 0; }
.formula { display: block; margin: 0.4rem 0; padding: 0.5rem 0.9rem; background: var(--wash); border-radius: 6px; }
figure { margin: 2rem 0 0; min-width: 0; break-inside: avoid; }
figcaption p { margin: 0.15rem 0 0; font-size: 0.95rem; line-height: 1.45; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); column-gap: 2rem; }
details { margin-top: 1rem; }
summary { cursor: pointer; font-weight: 600; color: var(--accent); }
.drift { margin: 1.5rem 0 1rem; }
.drift tbody { border-bottom: 2px solid var(--line); }
.drift [scope=row] { font-weight: 400; text-align: right; }
.made { font-size: 0.9rem; margin-top: 1rem; }
.made th, .made td { padding: 0.3rem 0.9rem 0.3rem 0; text-align: left; min-width: 7rem; }
@media (max-width: 640px) {
  main { padding: 2rem 1rem 3rem; }
  h2 { margin-top: 3rem; }
  th, td { padding: 0.5rem 0.5rem; }
  .results { font-size: 1rem; }
  .share { min-width: 3.2rem; }
  dl { display: block; }
  dd { margin-bottom: 0.8rem; }
}
@media print {
  body { font-size: 11pt; }
  main { padding: 0; max-width: none; }
  h2 { margin-top: 2rem; break-after: avoid; }
  .pair { display: block; }
  .drawing { zoom: 0.67; }
  .scroll { overflow: visible; }
  .results, .results thead th, .results small { font-size: 9.5pt; }
}
@page { margin: 15mm; }
</style>
</head>
<body>
<main>
<header>
<p class="kicker">Continual representation learning</p>
<h1>Learning $dataset in $n_tasks: what is kept, what is forgotten?</h1>
<p class="lead">The $n_classes classes of $dataset arrive in $n_tasks of $sizes. A network turns each image into a
feature vector, and after each task we search with it: every test image of the classes learnt so far is a query, all
the others of these are the gallery, and a query is found if the most similar image has its class. The share found is
Recall@1. A network that learns new classes can lose what it knew about the old ones; that is called forgetting. How
much is lost here, and does it depend on how the network was trained?</p>
</header>

<section>
<h2>After the last task learnt</h2>
<div class="scroll"><table class="results">
<thead><tr><th scope="col">Method</th><th scope="col">Recall@1<br><small>all tasks, ↑</small></th><th
 scope="col">Forgetting<br><small>of Recall@1, ↓</small></th><th scope="col">Head accuracy<br><small>all tasks,
 ↑</small></th><th scope="col">Head accuracy<br><small>task 0, ↑</small></th><th
 scope="col">Time<br><small>seconds</small></th></tr></thead>
<tbody>
$results
</tbody>
</table></div>
<ul>$notes</ul>
<details><summary>What the columns mean</summary>
<dl>
<dt>Recall@1</dt><dd>The share of queries whose nearest neighbour, by cosine similarity and the query itself left out,
has their class. Queries and gallery: the test images of all tasks learnt. Higher is better.</dd>
<dt>Forgetting</dt><dd>How far Recall@1 on an earlier task’s queries, in the gallery of all tasks learnt so far, fell
from its best, averaged over the earlier tasks (Chaudhry et al. 2018). Lower is better; below 0 it rose. With T tasks
learnt, numbered from 0, and R<sub>i,j</sub> the value on task j after task i:
<span class="formula">F = 1/(T−1) · Σ<sub>j&lt;T−1</sub> ( max<sub>i&lt;T−1</sub> R<sub>i,j</sub> −
R<sub>T−1,j</sub> )</span></dd>
<dt>Head accuracy</dt><dd>The share of test images to which the head, the classifier on top of the features, gives
their class, out of all classes learnt so far: of the images of all tasks learnt, and of those of task 0 alone. Higher
is better.</dd>
<dt>Time</dt><dd>Seconds of training and measuring, interruptions not counted, on the machine named at the end.</dd>
</dl></details>
<details><summary>What the methods do</summary><dl>$methods</dl></details>
</section>

<section>
<h2>How well does search work after each task?</h2>
<p>The gallery grows with every task: even for a network that forgets nothing, each query meets more images of other
classes. How much further than that does each line fall?</p>
$curves
</section>

<section>
<h2>Which task is forgotten, and when?</h2>
<p>Follow a column downwards to see what becomes of one task’s images while later tasks are learnt. The diagonal is the
task just learnt. Where does a column fall under <em>seen</em>, but not under <em>task</em>, where the gallery stays
the same? And what can the head still name where search still finds?</p>
$seen
$own
$head
</section>

<section>
<h2>Does retrieval forget as classification does?</h2>
<p>Both panels ask about the same images, those of task 0. In one the head must name their class; in the other search
must find an image of that class, among the same classes. In which panel do the lines fall further?</p>
$beside
</section>

<section>
<h2>Where did the features go?</h2>
$drift
</section>

<section>
<h2>Which queries are lost, which are kept?</h2>
$queries
</section>

<section>
<h2>What did training minimise?</h2>
<p>The loss is the sum of these terms. Which of them jump when a task begins, and which come down again?</p>
<div class="pair">$losses</div>
</section>

<section>
<h2>How these runs were made</h2>
<details><summary>Configuration, seeds, versions and classes</summary>
<div class="scroll"><table class="made">$made</table></div></details>
</section>
</main>
<script>$plotly</script>
<script>
const changed = (old, changes) => {  // as written by the report: an object changes keys or items, all else replaces
  if (changes === null || typeof changes !== "object" || Array.isArray(changes)) return changes;
  const copy = Array.isArray(old) ? [...old] : { ...old };
  for (const key in changes) {
    if (changes[key] === null && !Array.isArray(old)) delete copy[key];
    else copy[key] = changed(copy[key], changes[key]);
  }
  return copy;
};
const figures = [...document.querySelectorAll("figure")].map(figure => {
  const drawing = figure.querySelector(".drawing");
  drawing.textContent = "";
  return { drawing, source: figure.querySelector("script").textContent };
});
function version(source, name) {
  const { wide, narrow, images } = JSON.parse(source);
  const drawn = name === "wide" ? wide : changed(wide, narrow);
  for (const image of drawn.layout.images || []) image.source = images[image.source];
  return drawn;
}
function moveTo(drawn, step) {  // a figure with a slider as it is at that step
  const frame = drawn.frames[step];
  frame.traces.forEach((trace, k) => {
    const { marker, ...moved } = frame.data[k];
    Object.assign(drawn.data[trace], moved);
    Object.assign(drawn.data[trace].marker || {}, marker);
  });
  Object.assign(drawn.layout, frame.layout);
  drawn.layout.sliders[0].active = step;
}
function draw(fixedWidth) {
  for (const figure of figures) {
    const { drawing, source } = figure, width = fixedWidth || drawing.clientWidth;
    if (!width) continue;  // not on screen
    const name = width < 760 ? "narrow" : "wide";
    if (figure.name === name) {
      Plotly.relayout(drawing, { width });
      continue;
    }
    const { data, layout, frames } = version(source, name), slider = drawing.layout?.sliders?.[0];
    if (slider) moveTo({ data, layout, frames }, slider.active);
    figure.name = name;
    Plotly.react(drawing, { data, layout: { ...layout, width }, frames, config: { displayModeBar: false } });
  }
}
draw();
addEventListener("resize", () => draw());
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach(details => { details.open = true; });
  draw(1000);  // the style sheet shrinks it to the paper
});
addEventListener("afterprint", () => draw());
</script>
</body>
</html>
"""
