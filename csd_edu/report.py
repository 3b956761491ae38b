"""One page about saved runs: a single HTML file with its pictures, for which no kernel or network is needed."""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from csd_edu import plots
from csd_edu.files import write_atomically
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


def write_report(runs: Sequence[Run], path: str | Path) -> Path:
    """Write one self-contained HTML file about runs that learnt the same data in tasks of the same sizes.

    Args:
        runs: in the order in which to show them; an unfinished one with the tasks it has learnt.
        path: the file to write; folders on the way are made.

    Returns:
        The path.

    Raises:
        ValueError: if there is no run, one has not finished its first task, is given twice, or has other data or tasks.
        OSError: if the file can't be written; an old one is then untouched.
    """
    _check(runs)
    path = Path(path)
    page = string.Template(PAGE).substitute(_content(dict(zip(run_labels(runs), runs, strict=True))))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def run_labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run: its method and, where several have the same, what tells those apart."""
    labels = []
    for run in runs:
        twins = [other for other in runs if other.method == run.method]
        name = run.method
        for tell in (lambda r: f"seed {r.config.seed}", lambda r: r.path.resolve().name, lambda r: str(r.path)):
            if len(twins) > 1:
                name = f"{run.method} ({tell(run)})"
            if len({tell(twin) for twin in twins}) == len(twins):
                break
        labels.append(name)
    return labels


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise ValueError("there is no run to report on; expected at least one")
    first = runs[0]
    for k, run in enumerate(runs):
        if run.tasks_learnt == 0:
            raise ValueError(f"the run in {run.path} has not finished its first task yet; there is nothing to report")
        if run.path.resolve() in {other.path.resolve() for other in runs[:k]}:
            raise ValueError(f"the run in {run.path} is given twice")
        for what, here, there in zip(("data", "tasks"), _stream(run), _stream(first), strict=True):
            if here != there:
                raise ValueError(
                    f"{run.path} and {first.path} have different {what}: {here}, and {there}. "
                    "Write a report for each; only runs on the same data and sizes of tasks can share one"
                )


def _stream(run: Run) -> tuple[str, str]:
    """Return which images a run learns, and in tasks of which sizes."""
    stream = run.description["stream"]
    data = f"{stream['dataset']} with fingerprint {stream['fingerprint']}"
    return data, " + ".join(str(len(task)) for task in run.tasks) + " classes"


def _content(runs: Mapping[str, Run]) -> dict[str, str]:
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


def _share(value: float | None) -> str:
    """Return a cell with a number from 0 to 1 above a bar of that length."""
    return f'<td><span class="share" style="--share: {value or 0:.3f}">{_number(value)}</span></td>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


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


def _figure(plot: Callable[..., go.Figure], *data: Any, narrow: Mapping[str, Any], **options: Any) -> str:
    """Return a figure in two versions, for a wide and a narrow place, with its title as text above it."""
    wide, small = plot(*data, **options), plot(*data, **options, **narrow)
    title = wide.layout.title
    caption = f"<figcaption><h3>{title.text}</h3><p>{title.subtitle.text}</p></figcaption>"
    for figure in (wide, small):
        height = figure.layout.height - figure.layout.margin.t + 40
        figure.update_layout(title=None, height=height, margin_t=40)
    small.update_layout(margin_l=52, margin_r=12, font_size=13, coloraxis_showscale=False)
    small.update_annotations(font_size=13)
    versions = f'{{"wide": {wide.to_json()}, "narrow": {small.to_json()}}}'.replace("<", "\\u003c")
    drawing = '<div class="drawing">This figure is drawn by JavaScript, which is switched off here.</div>'
    return f'<figure>{caption}{drawing}<script type="application/json">{versions}</script></figure>'


def _made(runs: Mapping[str, Run]) -> str:
    """Return the rows of the table that says how the runs were made; what all have in common is said once."""
    facts = []
    for run in runs.values():
        stream, environment = run.description["stream"], run.description["environment"]
        config = {name: value for name, value in run.config.to_json().items() if value != []}
        order = {"seed of the class order": stream["seed"], "validation": stream["validation"]}
        tasks = {f"task {t}": ", ".join(names) for t, names in enumerate(run.tasks)}
        facts.append({"data": _stream(run)[0], **order, **config, **environment, **tasks})
    rows = ["<tr><th></th>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in runs) + "</tr>"]
    for fact in dict.fromkeys(name for run in facts for name in run):
        values = [_text(run.get(fact, "–")) for run in facts]
        same = len(set(values)) == 1
        cells = f'<td colspan="{len(values)}">{values[0]}</td>' if same else "".join(f"<td>{v}</td>" for v in values)
        rows.append(f'<tr><th scope="row">{_text(fact.replace("_", " "))}</th>{cells}</tr>')
    return "\n".join(rows)


def _text(value: object) -> str:
    return html.escape(str(value))


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
const figures = [...document.querySelectorAll("figure")].map(figure => {
  const drawing = figure.querySelector(".drawing");
  drawing.textContent = "";
  return { drawing, versions: JSON.parse(figure.querySelector("script").textContent) };
});
function draw(fixedWidth) {
  for (const { drawing, versions } of figures) {
    const width = fixedWidth || drawing.clientWidth;
    const version = width < 760 ? versions.narrow : versions.wide;
    Plotly.react(drawing, version.data, { ...version.layout, width }, { displayModeBar: false });
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
