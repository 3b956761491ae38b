"""The widgets in real browsers: JupyterLab with the current versions, classic Notebook with those of Colab.

Each is clicked and moved, and what it then shows is compared with what the run holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

import csd_edu as csd
from csd_edu.comparison import Comparison
from tests import browser
from tests.browser import FrontEnd, Notebook
from tests.conftest import TINY, striped

pytestmark = pytest.mark.slow

front_end = browser.front_end

SETUP = """
import csd_edu as csd
from csd_edu import widgets
from csd_edu.comparison import Comparison
comparison = Comparison.of(*[csd.Run.load(path) for path in {paths!r}])
"""
MATRICES, DRIFT, SEARCH, PAIRS = 1, 2, 3, 4  # cells
CELLS = (
    "matrices = widgets.ForgettingMatrices(comparison); matrices",
    "drift = widgets.DriftExplorer(comparison); drift",
    "search = widgets.RetrievalExplorer(comparison, k=4); widgets.link(matrices, drift, search); search",
    "pairs = widgets.PairView(comparison.runs['csd'], n_classes=2, per_class=4); pairs",
)
TRAIN = """
stream = csd.split(data, n_tasks=2, seed=0)
config = csd.Config(epochs={epochs}, later_epochs={epochs}, batch_size=16, crop_padding=1, device="cpu")
live = widgets.LiveTraining(stream, csd.methods.csd, config, out="live-{epochs}")
run = live.train()
"""
SAVE = {
    "lab": "() => window.jupyterapp.commands.execute('docmanager:save')",
    "classic": "() => Jupyter.notebook.save_notebook()",
}
INTERRUPT = {
    "lab": "() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')",
    "classic": "() => Jupyter.notebook.kernel.interrupt()",
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return fine-tuning and CSD on stripes so noisy that some queries are lost."""
    stream = csd.split(striped(noise=150), n_tasks=3, seed=0)
    folder = tmp_path_factory.mktemp("runs")
    methods = (csd.methods.finetune, csd.methods.csd)
    return Comparison.of(*[csd.train(stream, m, TINY, out=folder / m.__name__, progress=False) for m in methods])


@pytest.fixture(scope="module")
def notebook(front_end: FrontEnd, comparison: Comparison) -> Iterator[Notebook]:
    setup = SETUP.format(paths=[str(run.path) for run in comparison.runs.values()])
    with front_end.open("widgets", [setup, *CELLS], height=1000) as notebook:
        notebook.run_all()
        yield notebook


def heading(notebook: Notebook, cell: int, nth: int) -> str:
    """Return the text above a figure."""
    notebook.plot(cell, nth)
    return str(notebook.output(cell).locator(".js-plotly-plot").nth(nth).evaluate("p => p.parentElement.innerText"))


def test_matrices_change_with_their_metric_and_tell_of_a_cell(notebook: Notebook, comparison: Comparison) -> None:
    plot = notebook.plot(MATRICES)
    for metric, protocol in (("Recall@5", "seen"), ("Recall@1", "all"), ("Recall@1", "seen")):
        notebook.choose("metric", metric)
        notebook.choose("gallery", protocol)
        for trace, name in ((0, "finetune"), (2, "csd")):
            expected = comparison.matrix(name, metric, protocol)
            notebook.wait_for(lambda t=trace, e=expected: notebook.values(plot, t, "z") == e)
        assert f"{protocol}: search" in heading(notebook, MATRICES, 0)
    notebook.click(plot, 3, (2, 0))
    value = comparison.matrix("csd", "Recall@1")[2][0]
    notebook.wait_for_text(MATRICES, f"R[2][0] of csd = {value:.3f}")
    notebook.move_slider("on the images of task", 1)
    notebook.wait_for_text(MATRICES, "R[2][1] of csd")
    images = notebook.values(notebook.plot(MATRICES, 1), 0, "customdata")
    assert {int(comparison.tasks[int(i)]) for i in images} == {1}
    notebook.screenshot("matrices", notebook.output(MATRICES))
    assert notebook.errors == []


def test_the_drift_slider_moves_the_points_and_a_click_reaches_the_search(
    notebook: Notebook, comparison: Comparison
) -> None:
    plot = notebook.plot(DRIFT)
    maps, probe = comparison.maps("pca"), comparison.maps("pca")["csd"].indices

    def are_at(after: int) -> None:
        for trace, name in ((1, "finetune"), (4, "csd")):
            expected = maps[name].points[after]

            def arrived(trace: int = trace, expected: torch.Tensor = expected) -> bool:
                shown = torch.tensor([notebook.values(plot, trace, key) for key in "xy"]).T
                return torch.allclose(shown, expected, atol=1e-3)

            notebook.wait_for(arrived)

    are_at(2)
    move(notebook, DRIFT, "after learning task", -2)
    are_at(0)
    notebook.wait_for_text(DRIFT, "nothing has moved yet")
    move(notebook, DRIFT, "after learning task", 1)
    are_at(1)
    notebook.wait_for_text(DRIFT, "task 0 → task 1")
    now = maps["csd"].points[1].double()
    gaps = (torch.cdist(now, now) + torch.eye(len(now)) * 9).amin(dim=1)
    for point in gaps.topk(2).indices.tolist():  # two that no other point covers
        notebook.click(plot, 4, point)
        chosen = int(probe[point])
        notebook.wait_for(lambda c=chosen: f"test image {c}," in heading(notebook, DRIFT, 1))
        notebook.wait_for(lambda c=chosen: f"test image {c}," in heading(notebook, SEARCH, 0))
        ring = [notebook.values(plot, 5, key) for key in "xy"]
        assert torch.allclose(torch.tensor(ring)[:, 0], maps["csd"].points[1, point], atol=1e-3)
    notebook.choose("colour", "found or not (Recall@1, gallery: seen)")
    notebook.wait_for(lambda: "not found" in notebook.output(DRIFT).inner_text())
    notebook.choose("map", "UMAP, snapshot by snapshot")
    umap = comparison.maps("umap", progress=False)["csd"].points[1]
    notebook.wait_for(lambda: abs(notebook.values(plot, 4, "x")[0] - float(umap[0, 0])) < 2e-3)
    notebook.choose("map", "the first network’s plane")
    plane = comparison.planes()["csd"]
    notebook.wait_for(lambda: abs(notebook.values(plot, 4, "x")[0] - float(plane.points[1, 0, 0])) < 2e-3)
    ids = [notebook.values(plot, trace, "customdata") for trace in (1, 4)]
    assert [len(own) for own in ids] == [len(plane.indices)] * 2
    notebook.click(plot, 4, 0)
    chosen = int(plane.indices[0])
    notebook.wait_for(lambda: f"test image {chosen}," in heading(notebook, DRIFT, 1))
    notebook.screenshot("drift", notebook.output(DRIFT))
    assert notebook.errors == []


def move(notebook: Notebook, cell: int, description: str, steps: int) -> None:
    """Move a slider of one cell; several widgets may have one of the same name."""
    sliders = notebook.output(cell).locator(".widget-slider, .widget-hslider")
    handle = sliders.filter(has=notebook.page.locator(".widget-label", has_text=description)).first.locator(
        ".noUi-handle, .ui-slider-handle"
    )
    for _ in range(abs(steps)):
        handle.press("ArrowRight" if steps > 0 else "ArrowLeft")


def test_the_search_shows_lost_queries_and_selects_in_the_map(notebook: Notebook, comparison: Comparison) -> None:
    changes = comparison.changes("finetune")
    for change, text in (("kept", "kept: found then and in the end"), ("lost", "lost: found after their task")):
        option = notebook.output(SEARCH).locator("option", has_text=text).first.inner_text()
        notebook.choose("show", option)
        n = int(changes[change].sum())
        assert n > 1
        notebook.wait_for_text(SEARCH, f"{n} of {len(comparison.labels)} queries")

        def shown() -> int:
            return int(re.search(r"test image (\d+),", heading(notebook, SEARCH, 0))[1])

        notebook.wait_for(lambda c=change: changes[c][shown()])
        before = shown()
        notebook.press("next")
        notebook.wait_for(lambda b=before: shown() != b)
        assert changes[change][shown()]
    query = shown()
    ids = [int(i) for i in notebook.values(notebook.plot(SEARCH), 0, "customdata")]
    expected = comparison.neighbors(query, "csd", "seen", 4)[-1].tolist()
    assert ids[-4:] == expected, "the last row is CSD's after the last task"
    notebook.wait_for(lambda: f"test image {query}," in heading(notebook, DRIFT, 1))
    notebook.click(notebook.plot(SEARCH), 0, len(ids) - 1)
    notebook.wait_for(lambda: shown() == expected[-1])
    notebook.wait_for(lambda: f"test image {expected[-1]}," in heading(notebook, DRIFT, 1))
    images = notebook.plot(SEARCH).evaluate(
        "p => p._fullLayout.images.filter(i => i.source.startsWith('data:')).length"
    )
    assert images == len(notebook.values(notebook.plot(SEARCH), 0, "customdata"))
    notebook.screenshot("search", notebook.output(SEARCH))
    assert notebook.errors == []


def test_the_pair_view_follows_the_temperature(notebook: Notebook) -> None:
    plot = notebook.plot(PAIRS)
    steepest = []
    for steps, temperature in ((0, 0.07), (3, 0.2), (4, 2)):
        move(notebook, PAIRS, "temperature", steps)
        notebook.wait_for(lambda t=temperature: f"at τ = {t} the loss" in heading(notebook, PAIRS, 0))
        values = [v for row in notebook.values(plot, 2, "z") for v in row if v is not None]
        steepest.append(max(values) - min(values))
    assert steepest[0] > steepest[1] > steepest[2]
    notebook.click(plot, 4, (3, 1))
    notebook.wait_for_text(PAIRS, "(row 3) and teacher feature")
    notebook.screenshot("pairs", notebook.output(PAIRS))
    assert notebook.errors == []


def test_an_error_in_a_callback_is_shown_in_the_widget(notebook: Notebook) -> None:
    notebook.run("kept, search.comparison = search.comparison, None")
    notebook.press("next")
    notebook.wait_for_text(SEARCH, "AttributeError")
    notebook.run("search.comparison = kept")
    notebook.press("next")
    notebook.wait_for(lambda: "AttributeError" not in notebook.output(SEARCH).inner_text())
    assert notebook.errors == [], "shown inside, not thrown at the kernel"


def test_closing_takes_the_widget_away(notebook: Notebook) -> None:
    notebook.run("other = widgets.RetrievalExplorer(comparison, k=2)\nother")
    other = notebook.page.locator(".js-plotly-plot").count()
    notebook.run("other.close()")
    notebook.wait_for(lambda: notebook.page.locator(".js-plotly-plot").count() == other - 1)
    notebook.press("next")
    assert notebook.errors == []


def test_live_training_goes_on_where_it_was_interrupted(front_end: FrontEnd, tmp_path: Path) -> None:
    data = striped()
    images = {f"x_{part}": getattr(data, f"x_{part}").permute(0, 2, 3, 1).numpy() for part in ("train", "test")}
    labels = {f"y_{part}": getattr(data, f"y_{part}").numpy() for part in ("train", "test")}
    np.savez(tmp_path / "stripes.npz", classes=np.array(data.classes), **images, **labels)
    setup = f"import csd_edu as csd\nfrom csd_edu import widgets\ndata = csd.load({str(tmp_path / 'stripes.npz')!r})"
    with front_end.open("live", [setup, TRAIN.format(epochs=2)]) as notebook:
        notebook.run_all()
        notebook.wait_for_text(1, "done: 2 tasks learnt")
        names = notebook.plot(1).evaluate("p => p.data.map(trace => trace.name)")
        assert names == ["ce", "triplet", "kd", "csd"]
        assert len(notebook.values(notebook.plot(1), 0, "x")) >= 4
        expect(notebook.output(1).locator("table").first).to_contain_text("Recall@1")
        notebook.screenshot("done", notebook.output(1))
        assert notebook.errors == []

        notebook.page.evaluate(notebook._scripts["append"], TRAIN.format(epochs=4000))
        notebook.page.evaluate(notebook._scripts["run_last"])
        notebook.wait_for_text(2, re.compile(r"task 1/2, epoch \d+/4000; \d+ s so far, about .* left"), timeout=60)
        notebook.page.evaluate(INTERRUPT[notebook.kind])
        notebook.wait_for_text(2, "interrupted; what was learnt is saved")
        notebook.wait_for(lambda: notebook.errors)
        assert [error.split(":")[1] for error in notebook.errors] == [" KeyboardInterrupt"]
        # A cell sent before the kernel is idle again would be dropped with the one interrupted.
        notebook.wait_for(lambda: notebook.page.evaluate(notebook._scripts["idle"]))
        notebook.page.wait_for_timeout(1000)
        output = notebook.run(
            "import json\nbefore = len(live.records)\n"
            "again = csd.training(stream, csd.methods.csd, config, out='live-4000')\n"
            "print(json.dumps([before, next(again)['epoch']]))"
        )
        notebook.wait_for(lambda: re.search(r"\[\d+, \d+\]", output.inner_text()))
        n_records, epoch = json.loads(re.search(r"\[\d+, \d+\]", output.inner_text())[0])
        assert n_records > 0
        # An epoch that was saved just when the interrupt came is not done again.
        assert epoch in (n_records, n_records + 1)


@pytest.mark.campaign
def test_a_reopened_notebook_without_its_kernel_shows_the_twins(front_end: FrontEnd, comparison: Comparison) -> None:
    setup = SETUP.format(paths=[str(run.path) for run in comparison.runs.values()])
    notebook = front_end.open("reopened", [setup, CELLS[0], CELLS[3]])
    try:
        notebook.run_all()
        notebook.plot(1)
        twins = notebook.page.locator(".csd-twin")
        expect(twins).to_have_count(2)
        notebook.page.wait_for_timeout(3000)  # by now they would have opened
        assert not any(twin.is_visible() for twin in twins.all()), "hidden where the widget is alive"
        notebook.page.evaluate(SAVE[notebook.kind])
        notebook.page.wait_for_timeout(2000)
        notebook.page.evaluate(notebook._scripts["shut_down"])
        page = notebook.page.context.new_page()
        page.goto(front_end.server.url + browser.PAGES[notebook.kind].format("reopened.ipynb"))
        expect(page.locator(".csd-twin .js-plotly-plot")).to_have_count(2, timeout=60_000)
        expect(page.locator(".csd-twin table").first).to_contain_text("forgetting")
        page.screenshot(path=browser.ARTEFACTS / f"reopened-{notebook.kind}.png")
        page.close()
    finally:
        notebook.page.context.close()  # its kernel is gone already


def test_a_narrow_page_needs_no_sideways_scrolling(front_end: FrontEnd, comparison: Comparison) -> None:
    setup = SETUP.format(paths=[str(run.path) for run in comparison.runs.values()])
    with front_end.open("narrow", [setup, *CELLS], width=700) as notebook:
        notebook.run_all()
        for cell in (MATRICES, DRIFT, SEARCH, PAIRS):
            for nth in range(notebook.output(cell).locator(".js-plotly-plot").count()):
                plot = notebook.plot(cell, nth)
                plot.scroll_into_view_if_needed()
                wide, room = plot.evaluate("p => [p._fullLayout.width, p.parentElement.clientWidth]")
                assert 300 < wide <= room
            scroll, client = notebook.output(cell).evaluate("o => [o.scrollWidth, o.clientWidth]")
            assert scroll <= client + 1
            notebook.screenshot(f"cell-{cell}", notebook.output(cell))
        assert notebook.errors == []
