"""The notebooks as students meet them, in a real browser: all cells run, every widget is used, no error anywhere.

What a widget then shows is compared with what the saved runs hold. Cells are found by their tags and what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from nbformat import NotebookNode
from playwright.sync_api import Locator, expect

import csd_edu as csd
from csd_edu import drift, metrics, pictures, saved, widgets
from csd_edu.comparison import Comparison
from csd_edu.widgets.drift import COLORS, MAPS
from csd_edu.widgets.search import CHANGES
from notebooks import generate
from notebooks.sources import read_source
from tests import browser
from tests.browser import FrontEnd, Notebook

front_end = browser.front_end

NOTEBOOKS = browser.ROOT / "notebooks"
IN_LAB = pytest.mark.parametrize("front_end", ["lab"], indirect=True)

# What a page shows where something went wrong: in a panel, instead of a living widget or of a figure, on stderr.
FAILURES = (
    ".csd-error",
    ".csd-twin >> visible=true",
    "text=could not be drawn",
    "text=could not be shown",
    "[data-mime-type='application/vnd.jupyter.stderr'], .output_stderr",
)
PLANTED = (
    "from IPython.display import HTML\nHTML('<div class=\"csd-error\">planted</div>')",
    "HTML('<div class=\"csd-twin\">planted</div>')",
    "HTML('<p>The figure could not be drawn: planted</p>')",
    "HTML('<p>The interactive widget could not be shown: planted</p>')",
    "import sys\nprint('planted', file=sys.stderr)",
)


@pytest.fixture(scope="module")
def both() -> Comparison:
    """Return the two saved runs that the widgets of the notebooks compare."""
    return Comparison(saved.runs("finetune", "csd-tuned"), names=("finetune", "csd"))


class Lesson:
    """An open notebook, and its cells as the file has them."""

    def __init__(self, notebook: Notebook, cells: Sequence[NotebookNode]) -> None:
        self.notebook, self.cells = notebook, cells

    def all(self, tag: str) -> list[int]:
        """Return the numbers of the cells with a tag."""
        return [i for i, cell in enumerate(self.cells) if tag in cell.metadata.get("tags", ())]

    def cell(self, text: str) -> int:
        """Return the number of the only code cell with a text."""
        found = [i for i, cell in enumerate(self.cells) if cell.cell_type == "code" and text in cell.source]
        assert len(found) == 1, f"{text!r} is in the cells {found} of {self.notebook.name}"
        return found[0]

    def text(self, cell: int) -> str:
        """Return what can be read in a cell's output."""
        output = self.notebook.output(cell)
        output.scroll_into_view_if_needed()  # what is far from the window, JupyterLab does not render
        self.notebook.wait_for(lambda: output.inner_text().strip() or not (output.text_content() or "").strip())
        return output.inner_text()

    def says(self, cell: int, expected: str) -> None:
        """Wait until something, in any spacing, can be read in a cell's output, where a hidden twin does not count."""
        words = " ".join(expected.split())
        self.notebook.wait_for(lambda: words in " ".join(self.text(cell).split()))

    def picture(self, name: str, cell: int) -> None:
        """Keep a picture of all of a cell's output."""
        self.notebook.output(cell).scroll_into_view_if_needed()
        self.notebook.page.wait_for_timeout(600)  # points may still be on their way
        self.notebook.screenshot(name, self.notebook.output(cell))


def with_solutions(name: str) -> list[NotebookNode]:
    """Return the cells of the students' edition, those of exercises with what the solved edition has in them."""
    cells: list[NotebookNode] = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    source = read_source(NOTEBOOKS / "src" / f"{name}.py")
    solved = {cell.id: cell.source for cell in generate.edition(source, solved=True).cells}
    for cell in cells:
        if "exercise" in cell.metadata.get("tags", ()):
            assert "raise NotImplementedError" in cell.source, f"{cell.id} of {name} is not to be solved"
            assert "raise NotImplementedError" not in solved[cell.id]
            cell.source = solved[cell.id]
    return cells


@contextmanager
def opened(front_end: FrontEnd, name: str, folder: Path, *, solved: bool = True) -> Iterator[Lesson]:
    """Open the students' edition, with the solutions put in or as it is, and run all; at the end look for errors."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.cells = with_solutions(name) if solved else notebook.cells
    nbformat.write(notebook, folder / f"{name}.ipynb")
    with front_end.open_copy(folder / f"{name}.ipynb", height=1700) as page:
        lesson = Lesson(page, notebook.cells)
        page.run_all(timeout=900)
        page.page.locator(browser.CELLS[page.kind]).first.scroll_into_view_if_needed()
        page.page.wait_for_timeout(1000)
        page.screenshot("top")
        yield lesson
        assert page.errors == []
        assert failures(page) == []


def failures(notebook: Notebook) -> list[str]:
    """Return which of `FAILURES` are on the page."""
    return [failure for failure in FAILURES if notebook.page.locator(failure).count()]


def heading(lesson: Lesson, cell: int, nth: int = 0) -> str:
    """Return the text above a figure of a widget."""
    lesson.notebook.output(cell).scroll_into_view_if_needed()
    return str(lesson.notebook.plot(cell, nth).evaluate("plot => plot.parentElement.innerText"))


def shows(lesson: Lesson, cell: int, expected: str, nth: int = 0) -> None:
    """Wait until the text above a figure of a widget has something in it."""
    lesson.notebook.wait_for(lambda: expected in heading(lesson, cell, nth))


def hovered(lesson: Lesson, plot: Locator, trace: int, point: int | tuple[int, int], expected: str) -> None:
    """Point at something, and wait for what is then said."""
    lesson.notebook.hover(plot, trace, point)
    expect(plot.locator(".hoverlayer")).to_contain_text(expected)


def about(comparison: Comparison, query: int) -> str:
    """Return what a widget says of a query."""
    name, task = comparison.classes[int(comparison.labels[query])], int(comparison.tasks[query])
    return f"test image {query}, of class {name}, learnt in task {task}"


def found_for(comparison: Comparison, query: int, protocol: str, k: int = 8) -> list[int]:
    """Return the images that are shown for a query, row by row: it begins each row in which something is found."""
    shown = []
    for name in comparison.runs:
        for ids in comparison.neighbors(query, name, protocol, k).tolist():
            results = [i for i in ids if i >= 0]
            shown += [query, *results] if results else []
    return shown


def isolated(points: torch.Tensor) -> int:
    """Return which of the points (N, 2) is farthest from its next, so that a click can't hit another one."""
    gaps = torch.cdist(points.double(), points.double()).fill_diagonal_(torch.inf)
    return int(gaps.amin(dim=1).argmax())


# --- the widgets, each used as a student would ------------------------------------------------------------------------


def use_search(lesson: Lesson, cell: int, comparison: Comparison, protocol: str, other: str) -> None:
    """Choose, step, slide, change the gallery, click on what was found."""
    notebook, n = lesson.notebook, f"{len(comparison.labels):,}"

    def displayed(query: int, protocol: str) -> None:
        shows(lesson, cell, f"query: {about(comparison, query)}\n{protocol}: {metrics.PROTOCOLS[protocol]}")
        expected = found_for(comparison, query, protocol)
        notebook.wait_for(lambda: notebook.values(notebook.plot(cell), 0, "customdata") == expected)
        n_images = "plot => plot._fullLayout.images.filter(i => i.source.startsWith('data:image/png')).length"
        assert notebook.plot(cell).evaluate(n_images) == len(expected)

    def chosen(run: str, change: str, protocol: str, query: int | None) -> tuple[list[int], int]:
        """Wait for a choice of queries; return them, and the one shown: as before if it is among them, or the first."""
        ids = comparison.changes(run, protocol)[change].nonzero()[:, 0].tolist()
        assert len(ids) > 4
        shown = query if query in ids else ids[0]
        lesson.says(cell, f"{len(ids):,} of {n} queries")
        displayed(shown, protocol)
        return ids, shown

    _, query = chosen("finetune", "lost", protocol, None)
    lesson.picture("search-before", cell)
    notebook.choose("by", "csd", cell=cell)
    _, query = chosen("csd", "lost", protocol, query)
    for change in ("missed", "lost"):  # few are won in a stale gallery
        notebook.choose("show", CHANGES[change], cell=cell)
        ids, query = chosen("csd", change, protocol, query)
    at = ids.index(query)
    notebook.press("next", cell=cell)
    displayed(ids[at + 1], protocol)
    notebook.move_slider("query", 2, cell=cell)
    displayed(ids[at + 3], protocol)
    notebook.press("previous", cell=cell)
    displayed(ids[at + 2], protocol)
    lesson.picture("search-stepped", cell)

    notebook.choose("gallery", other, cell=cell)
    query = ids[at + 2]  # it stays, so that the galleries can be compared
    ids = comparison.changes("csd", other)["lost"].nonzero()[:, 0].tolist()
    lesson.says(cell, f"{len(ids):,} of {n} queries{'' if query in ids else '; the one shown is none of them'}")
    displayed(query, other)
    shown = found_for(comparison, query, other)
    hovered(lesson, notebook.plot(cell), 0, 1, comparison.classes[int(comparison.labels[shown[1]])])
    notebook.click(notebook.plot(cell), 0, len(shown) - 1)
    displayed(shown[-1], other)
    lesson.picture("search-after", cell)


def use_drift(
    lesson: Lesson,
    cell: int,
    comparison: Comparison,
    linked: int | None = None,
    kinds: tuple[str, str] = ("pca", "umap"),
    told: bool = True,
) -> None:
    """Move the slider, click on a point of the last run, choose colours, the other of two maps and no trails.

    The search of the cell `linked`, if there is one, follows. The table is shown first if it is not `told` yet.
    """
    notebook, plot = lesson.notebook, lesson.notebook.plot(cell)
    last, (first, other) = comparison.n_tasks - 1, kinds
    csd, points = list(comparison.runs)[-1], 3 * len(comparison.runs) - 2  # of each run: trails, points, ring

    def are_at(kind: str, after: int) -> None:
        for k, name in enumerate(comparison.runs):
            trace, expected = 3 * k + 1, comparison.maps(kind)[name].points[after]

            def arrived(trace: int = trace, expected: torch.Tensor = expected) -> bool:
                shown = torch.tensor([notebook.values(plot, trace, key) for key in "xy"]).T
                return torch.allclose(shown, expected, atol=2e-3)

            notebook.wait_for(arrived)

    def numbers_are(after: int) -> None:
        for name in comparison.runs:
            for row in comparison.drift_table(name):
                if row["after"] == after:
                    measures = (row["cka"], row["mean_displacement"], row["neighbor_overlap"])
                    numbers = " ".join(f"{value:.3f}" for value in measures)
                    lesson.says(cell, f"{name} task {row['before']} → task {after} {numbers}")

    are_at(first, last)
    if not told:
        assert "linear CKA" not in notebook.output(cell).inner_text()
        notebook.output(cell).get_by_text("table", exact=True).click()
    numbers_are(last)
    lesson.picture("drift-before", cell)
    notebook.move_slider("after learning task", -last, cell=cell)
    are_at(first, 0)
    lesson.says(cell, "nothing has moved yet")
    lesson.picture("drift-first-task", cell)
    notebook.move_slider("after learning task", 2, cell=cell)
    are_at(first, 2)
    numbers_are(2)

    made = comparison.maps(first)[csd]
    point = isolated(made.points[2])
    chosen = int(made.indices[point])
    hovered(lesson, plot, points, point, comparison.classes[int(comparison.labels[chosen])])
    notebook.click(plot, points, point)
    shows(lesson, cell, f"Nearest after task 2, among all test images\nquery: {about(comparison, chosen)}", nth=1)
    ring = torch.tensor([notebook.values(plot, points + 1, key) for key in "xy"])[:, 0]
    assert torch.allclose(ring, made.points[2, point], atol=2e-3)
    near = [i for name in comparison.runs for i in (chosen, *comparison.neighbors(chosen, name, "all", 8)[2].tolist())]
    assert notebook.values(notebook.plot(cell, 1), 0, "customdata") == near
    if linked is not None:
        shows(lesson, linked, about(comparison, chosen))
    lesson.picture("drift-clicked", cell)

    notebook.choose("colour", COLORS["found"], cell=cell)
    missed = int((comparison.ranks(csd)[2, made.indices] != 1).sum() - (comparison.tasks[made.indices] > 2).sum())
    assert missed > 0
    figure = pictures.drift_map(comparison, first, color="found")
    colours = [int(number) for number in figure.frames[2].data[points].marker.color]
    notebook.wait_for(lambda: notebook.values(plot, points, "marker.color") == colours)
    notebook.choose("map", MAPS[other], cell=cell)
    are_at(other, 2)
    notebook.move_slider("after learning task", last - 2, cell=cell)
    are_at(other, last)
    notebook.output(cell).get_by_text("trails", exact=True).click()
    notebook.wait_for(lambda: plot.evaluate("plot => [0, 3].every(t => !plot._fullData[t].visible)"))
    lesson.picture("drift-after", cell)


def use_matrices(lesson: Lesson, cell: int, comparison: Comparison) -> None:
    """Choose metrics and galleries, click on a cell, move to another."""
    notebook, plot = lesson.notebook, lesson.notebook.plot(cell)

    def displayed(metric: str, protocol: str) -> None:
        shows(lesson, cell, metric)
        shows(lesson, cell, f"{protocol}: {metrics.PROTOCOLS[protocol]}")
        for trace, name in ((0, "finetune"), (2, "csd")):
            expected = comparison.matrix(name, metric, protocol)
            notebook.wait_for(lambda t=trace, e=expected: notebook.values(plot, t, "z") == e)
            lesson.says(cell, f"{name} {metrics.forgetting(expected):.3f}".replace("-", "−"))

    displayed("Recall@1", "seen")
    lesson.picture("matrices-before", cell)
    notebook.choose("metric", "Recall@5", cell=cell)
    notebook.choose("gallery", "stale", cell=cell)
    displayed("Recall@5", "stale")
    notebook.choose("metric", "Head accuracy", cell=cell)  # which has no other gallery
    displayed("Head accuracy", "seen")
    notebook.choose("metric", "Recall@1", cell=cell)
    displayed("Recall@1", "seen")

    last = comparison.n_tasks - 1
    hovered(lesson, plot, 3, (last, 0), f"{comparison.matrix('csd', 'Recall@1')[last][0]:.3f}")
    notebook.click(plot, 3, (last, 0))
    for task in (0, 1):
        if task:
            notebook.move_slider("on the images of task", 1, cell=cell)
        value = comparison.matrix("csd", "Recall@1")[last][task]
        lesson.says(cell, f"R[{last}][{task}] of csd = {value:.3f}")
        shows(lesson, cell, f"Behind R[{last}][{task}] of csd", nth=1)
        images = notebook.values(notebook.plot(cell, 1), 0, "customdata")
        assert {int(comparison.tasks[int(i)]) for i in images} == {task}
        right = comparison.ranks("csd")[last, images] == 1
        assert right.any()
        assert not right.all()
    lesson.picture("matrices-after", cell)


def use_pairs(lesson: Lesson, cell: int, view: widgets.PairView) -> None:
    """Move the temperature up and down, click on a pair, and go to another task and batch."""
    notebook, plot = lesson.notebook, lesson.notebook.plot(cell)
    # Its own table of numbers: τ, the loss of the batch, and the mean weight of an anchor's heaviest pair.
    rows = [re.findall(r">([^<]+)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", view.numbers())]
    loss = {row[0]: row[1] for row in rows if row}

    figure, hardest = view.figures()[0], []

    lesson.picture("pairs-before", cell)
    for steps, temperature in ((0, "0.07"), (-2, "0.03"), (10, "5")):
        notebook.move_slider("temperature", steps, cell=cell)
        shows(lesson, cell, f"at τ = {temperature} the loss is {loss[temperature]}")
        frame = next(frame for frame in figure.frames if frame.name == temperature)
        for trace, pulls in zip(frame.traces, frame.data, strict=True):
            expected = [list(row) for row in pulls.z]
            notebook.wait_for(lambda t=trace, e=expected: notebook.values(plot, t, "z") == e)
        hardest.append(-min(v for row in notebook.values(plot, 6, "z") for v in row))
    assert hardest[1] > hardest[0] > 4 * hardest[2] > 0, "at the upper end all others are pushed alike"
    lesson.picture("pairs-hot", cell)
    notebook.move_slider("temperature", -8, cell=cell)
    shows(lesson, cell, f"at τ = 0.07 the loss is {loss['0.07']}")

    hovered(lesson, plot, 6, (5, 1), "student 5")
    notebook.click(plot, 6, (5, 1))  # columns of the right half are counted on
    weight = notebook.values(plot, 6, "customdata")[5][1]
    pull = notebook.values(plot, 6, "z")[5][1]
    lesson.says(cell, "(row 5) and teacher feature of")
    said = re.search(r"weight ([\d.]+); the pair (pulls|pushes) \(([+−-][\d.]+)\)", lesson.text(cell))
    assert said is not None
    assert float(said[1]) == pytest.approx(weight, abs=6e-4)
    assert float(said[3].replace("−", "-")) == pytest.approx(pull, abs=6e-4)
    lesson.picture("pairs-clicked", cell)
    before = notebook.values(plot, 2, "z")
    for slider, steps in (("while learning task", -1), ("batch", 1)):
        notebook.move_slider(slider, steps, cell=cell)
        notebook.wait_for(lambda b=before: notebook.values(plot, 2, "z") != b)
        before = notebook.values(plot, 2, "z")
    lesson.picture("pairs-after", cell)


def recalls(lesson: Lesson, cell: int, config: csd.Config, n_tasks: int, method: str) -> list[str]:
    """Look at a finished training, and return Recall@1 after each task as it is shown there."""
    notebook = lesson.notebook
    lesson.says(cell, f"done: {n_tasks} tasks learnt")
    assert any(line.startswith(f"{method} on ") for line in lesson.text(cell).splitlines())
    plot = notebook.plot(cell)
    assert plot.evaluate("plot => plot.data.map(trace => trace.name)") == ["ce", "triplet", "kd", "csd"]
    epochs = [config.epochs_of(task) for task in range(n_tasks)]
    lengths = [sum(v is not None for v in notebook.values(plot, trace, "y")) for trace in range(4)]
    assert lengths == [sum(epochs), sum(epochs), sum(epochs[1:]), sum(epochs[1:])], "a teacher comes with task 1"
    done = notebook.output(cell).locator(".progress-bar, .jupyter-widgets .progress > div").first
    assert done.evaluate("bar => bar.getBoundingClientRect().width / bar.parentElement.clientWidth") > 0.98
    lesson.picture("live", cell)
    rows = notebook.output(cell).locator("table:visible").first.locator("tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == [str(task) for task in range(n_tasks)]
    return [row.split()[1] for row in rows]


def choose_in_figure(plot: Locator, option: str) -> None:
    """Choose from the list that a plotly figure has itself."""
    plot.scroll_into_view_if_needed()
    plot.locator(".updatemenu-header").click()
    plot.locator(".updatemenu-dropdown-button").filter(has_text=option).click()
    expect(plot.locator(".updatemenu-header")).to_contain_text(option)


def visible(plot: Locator) -> list[int]:
    """Return which traces of a figure are shown."""
    shown: list[int] = plot.evaluate("plot => plot._fullData.flatMap((t, i) => t.visible === true ? [i] : [])")
    return shown


def checks_passed(lesson: Lesson) -> None:
    """Look at what all checks, and the progress board, say of right answers."""
    assert re.search(r"Progress: (\d+) of \1 passed", lesson.text(lesson.cell("check.board(")))
    for cell in lesson.all("check"):
        lesson.says(cell, "✓")  # the page may show it a moment later
        assert "✕" not in lesson.text(cell), f"{lesson.cells[cell].id}: {lesson.text(cell)}"


# --- the notebooks ----------------------------------------------------------------------------------------------------


@pytest.mark.campaign
@IN_LAB
def test_start_here(front_end: FrontEnd, both: Comparison, tmp_path: Path) -> None:
    with opened(front_end, "00_start_here", tmp_path, solved=False) as lesson:
        notebook, search = lesson.notebook, lesson.cell("RetrievalExplorer(")
        for cell in lesson.all("check"):  # the exercises are still to be done
            assert lesson.text(cell).strip()
            assert "✓" not in lesson.text(cell)
        use_search(lesson, search, both, "seen", "all")
        use_drift(lesson, lesson.cell("DriftExplorer("), both, linked=search, told=False)
        use_matrices(lesson, lesson.cell("ForgettingMatrices("), both)
        config = csd.preset("digits", "quick").config
        shown = recalls(lesson, lesson.cell("LiveTraining("), config, 5, "csd")
        lesson.says(lesson.cell("csd.Run.load("), f"Recall@1 after each task: {' '.join(shown)}")

        solutions = with_solutions("00_start_here")
        yours = lesson.cell("lost_of(ranks == 1")
        again = [*lesson.all("exercise"), *lesson.all("check"), yours, lesson.cell("check.board(")]
        for number in sorted(again):
            type_and_run(notebook, number, solutions[number].source)
        checks_passed(lesson)
        lost = {name: int(both.changes(name)["lost"].sum()) for name in both.runs}
        for name, n in lost.items():
            assert re.search(rf"{name} .*; the function: {n}, the same queries", lesson.text(yours))


def type_and_run(notebook: Notebook, cell: int, code: str) -> None:
    """Put code into a cell of JupyterLab in the place of what is there, and run the cell, all by keyboard."""
    place = notebook.page.locator(browser.CELLS["lab"]).nth(cell)
    prompt = place.locator(".jp-InputPrompt").first
    before = prompt.inner_text()
    place.locator(".cm-content").first.click()
    notebook.page.keyboard.press("Control+A")
    notebook.page.keyboard.insert_text(code)
    notebook.page.keyboard.press("Shift+Enter")
    notebook.wait_for(lambda: re.fullmatch(r"\[\d+\]:", prompt.inner_text()) and prompt.inner_text() != before)


@pytest.mark.campaign
@IN_LAB
def test_csd(front_end: FrontEnd, tmp_path: Path) -> None:
    with opened(front_end, "04_csd", tmp_path) as lesson:
        checks_passed(lesson)
        use_pairs(lesson, lesson.cell("PairView("), widgets.PairView(saved.run("csd-tuned")))
        config = csd.preset("glyphs", "quick").config
        shown = recalls(lesson, lesson.cell("LiveTraining("), config, 5, "my_csd")
        lesson.says(lesson.cell("Recall@1 in the end"), f"yours {shown[-1]}")
        curves = lesson.notebook.plot(lesson.cell("Your run among saved ones"))
        names = curves.evaluate("plot => plot.data.map(trace => trace.name)")
        drawn = lesson.notebook.values(curves, names.index("yours"), "y")
        assert [f"{value:.3f}" for value in drawn] == shown


@pytest.mark.campaign
def test_feature_drift(front_end: FrontEnd, tmp_path: Path) -> None:
    comparison = Comparison(saved.runs("finetune", "lwf-tuned", "csd-tuned"))
    with opened(front_end, "05_feature_drift", tmp_path) as lesson:
        checks_passed(lesson)
        use_drift(lesson, lesson.cell("DriftExplorer("), comparison, kinds=("umap", "pca"), told=False)
        cell = lesson.cell("Which number notices?")
        plot = lesson.notebook.plot(cell)
        lesson.picture("fooled-before", cell)
        last = comparison.snapshots(list(comparison.runs)[-1])[-1]
        centre = last.mean(dim=0)
        U, S, V = torch.linalg.svd(last - centre, full_matrices=False)
        fewer = [drift.linear_cka(last, (U[:, :k] * S[:k]) @ V[:k] + centre) for k in (64, 32, 16, 8, 4, 2)]
        assert lines(plot)["linear CKA"] == pytest.approx(fewer, abs=1e-4)
        for option in ("turn", "gather"):
            choose_in_figure(plot, option)
            lesson.notebook.wait_for(lambda o=option: plot.evaluate("plot => plot._fullLayout.xaxis.title.text") == o)
            shown = lines(plot)
            assert len(shown) == len(visible(plot)) == 4
            if option == "turn":
                assert shown["1 − displacement"][-1] < 0.9
                for name in ("linear CKA", "neighbours in common", "Recall@1"):
                    assert shown[name] == pytest.approx([shown[name][0]] * 6, abs=2e-3), name
            else:
                assert shown["Recall@1"][-1] == 1
        lesson.picture("fooled-after", cell)


def lines(plot: Locator) -> dict[str, list[float]]:
    """Return the values of the lines that a figure shows."""
    found: dict[str, list[float]] = plot.evaluate(
        "plot => Object.fromEntries(plot._fullData.filter(t => t.visible === true).map(t => [t.name, Array.from(t.y)]))"
    )
    return found


@pytest.mark.campaign
@IN_LAB
def test_search_that_ages(front_end: FrontEnd, tmp_path: Path) -> None:
    both = Comparison(saved.runs("finetune", "csd-tuned"), names=("finetune", "csd"))
    with opened(front_end, "06_search_that_ages", tmp_path) as lesson:
        checks_passed(lesson)
        use_search(lesson, lesson.cell("RetrievalExplorer("), both, "stale", "seen")
        cell = lesson.cell("Who understands whom?")
        plot = lesson.notebook.plot(cell)
        lesson.picture("strangers-before", cell)
        for translated in (False, True):
            if translated:
                choose_in_figure(plot, "galleries translated")
                lesson.notebook.wait_for(lambda: visible(plot) == [2, 3])
            assert visible(plot) == ([2, 3] if translated else [0, 1])  # each in two layers
            shown = torch.tensor(lesson.notebook.values(plot, 2 * translated, "z"))
            assert torch.allclose(shown, understood(translated), atol=0.002)  # one query more or less may be found
        lesson.picture("strangers-after", cell)


def understood(translated: bool) -> torch.Tensor:
    """Return Recall@1 (4, 4) of each run's last network, asking in each one's gallery, translated by the last task."""
    runs = saved.runs("finetune", "lwf-tuned", "csd-tuned", "joint")
    labels, tasks = runs[0].test()["labels"], runs[0].test()["tasks"]
    new, last = tasks == 4, [F.normalize(run.features(4), dim=1).double() for run in runs]
    table = torch.zeros(4, 4)
    for q, g in torch.cartesian_prod(torch.arange(4), torch.arange(4)).tolist():
        gallery = last[g]
        if translated and q != g:
            a, b = (x[new] - x[new].mean(dim=0) for x in (last[g], last[q]))
            W = torch.linalg.solve(a.T @ a + 0.1 * torch.eye(64), a.T @ b)
            gallery = (gallery - last[g][new].mean(dim=0)) @ W + last[q][new].mean(dim=0)
        similarity = last[q][~new] @ F.normalize(gallery[~new], dim=1).T
        nearest = similarity.fill_diagonal_(-torch.inf).argmax(dim=1)
        table[q, g] = (labels[~new][nearest] == labels[~new]).double().mean()
    return table


@pytest.mark.campaign
@IN_LAB
def test_dreamed_past(front_end: FrontEnd, tmp_path: Path) -> None:
    with opened(front_end, "14_dreamed_past", tmp_path) as lesson:
        checks_passed(lesson)
        for name in ("Through the classifier's eyes", "What it dreams", "Of what it never saw"):
            lesson.picture(name.split()[-1], lesson.cell(f'title="{name}"'))
        for text, other in (("plots.choose(figures)", "Recall@1"), ('results.read("neighbours")', "head accuracy")):
            cell = lesson.cell(text)
            plot = lesson.notebook.plot(cell)
            before = visible(plot)
            lesson.picture(f"before-{cell}", cell)
            choose_in_figure(plot, other)
            lesson.notebook.wait_for(lambda plot=plot, before=before: not set(visible(plot)) & set(before))
            lesson.picture(f"after-{cell}", cell)


@pytest.mark.campaign
def test_planted_failures_are_found(front_end: FrontEnd) -> None:
    with front_end.open("planted", PLANTED) as notebook:
        notebook.run_all()
        notebook.wait_for(lambda: failures(notebook) == list(FAILURES))
