"""The widgets without a browser: what they compute, link, escape, free, and leave behind where nothing shows them."""

from __future__ import annotations

import base64
import gc
import html
import json
import re
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

import csd_edu as csd
from csd_edu import metrics, pictures, widgets
from csd_edu.comparison import Comparison, protocols_of
from csd_edu.files import read_tensors, write_tensors
from csd_edu.train import Progress
from csd_edu.widgets import twin
from csd_edu.widgets.panel import Picture
from tests.conftest import TINY, striped

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[csd.Run]:
    """Return fine-tuning and CSD on three tasks of two classes, one of them with a name that is HTML."""
    stripes = striped(noise=150)
    classes = (EVIL, *stripes.classes[1:])
    data = csd.Dataset("stripes", stripes.x_train, stripes.y_train, stripes.x_test, stripes.y_test, classes)
    stream = csd.split(data, n_tasks=3, seed=0)
    folder = tmp_path_factory.mktemp("runs")
    methods = (csd.methods.finetune, csd.methods.csd)
    return [csd.train(stream, m, TINY, out=folder / m.__name__, progress=False) for m in methods]


@pytest.fixture(scope="module")
def comparison(runs: list[csd.Run]) -> Comparison:
    return Comparison.of(*runs)


PANELS = {
    "matrices": lambda runs: widgets.ForgettingMatrices(*runs),
    "drift": lambda runs: widgets.DriftExplorer(*runs, maps=("pca",)),
    "search": lambda runs: widgets.RetrievalExplorer(*runs, k=3),
    "pairs": lambda runs: widgets.PairView(runs[-1], n_classes=2, per_class=3, temperatures=(0.07, 1.0)),
    "live": lambda _: widgets.LiveTraining(csd.split(striped(), n_tasks=2), csd.methods.csd, TINY),
}


@pytest.fixture(params=PANELS)
def panel(request: pytest.FixtureRequest, runs: list[csd.Run]) -> widgets.Panel:
    made = PANELS[request.param](runs)
    yield made
    made.close()


def drawn(picture: Picture) -> dict[str, Any]:
    """Return the figure that the widget shows, in its frame."""
    figure = json.loads(picture.widget.figure)
    frames, index = json.loads(picture.widget.frames), picture.widget.index
    frame = frames[index] if index >= 0 else {}
    for index, part in zip(frame.get("traces", []), frame.get("data", []), strict=True):
        figure["data"][index] |= part
    figure["layout"]["title"] |= frame.get("layout", {}).get("title", {})
    return figure


def html_of(panel: widgets.Panel) -> str:
    return panel._repr_mimebundle_()["text/html"]


# ---- what stands behind the pictures --------------------------------------------------------------------------------


def test_matrices_equal_those_that_the_run_saved(comparison: Comparison) -> None:
    for name, run in comparison.runs.items():
        for metric, key, protocol in (
            ("Recall@1", "recall_at_1", "seen"),
            ("Recall@1", "recall_at_1", "task"),
            ("Head accuracy", "head_accuracy", "seen"),
        ):
            saved = run.metrics[key][protocol]
            for made, kept in zip(comparison.matrix(name, metric, protocol), saved, strict=True):
                assert made == [None if value is None else pytest.approx(value) for value in kept]


def test_class_mean_accuracy_is_that_of_the_seen_classes(comparison: Comparison) -> None:
    scores = comparison.scores("csd", "Class-mean accuracy")
    seen = comparison.tasks <= 1
    features = comparison.snapshots("csd")[1]
    assert torch.equal(scores[1, seen], metrics.nearest_class_mean(features[seen], comparison.labels[seen]))
    assert scores[1, ~seen].isnan().all()


def test_neighbors_leave_out_the_query_and_what_is_not_learnt(comparison: Comparison) -> None:
    query = int(torch.nonzero(comparison.tasks == 1)[0])
    ids = comparison.neighbors(query, "csd", "seen", 20)  # (T, 20)
    assert (ids[0] == -1).all(), "its task was not learnt yet"
    assert set(comparison.tasks[ids[1][ids[1] >= 0]].tolist()) == {0, 1}
    assert query not in ids
    first = comparison.labels[ids[1:, 0]] == comparison.labels[query]
    assert first.tolist() == (comparison.ranks("csd")[1:, query] == 1).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda _: (), "there is no run"),
        (lambda _: ("runs/csd",), "'runs/csd' is no run; expected runs"),
        (lambda runs: (runs[0], runs[0]), "given twice"),
    ],
)
def test_runs_that_cannot_be_compared(given, message: str, runs: list[csd.Run]) -> None:
    with pytest.raises(ValueError, match=message):
        Comparison.of(*given(runs))


def test_runs_with_other_classes_in_their_tasks_are_refused(runs: list[csd.Run], tmp_path: Path) -> None:
    shutil.copytree(runs[0].path, tmp_path / "other")
    about = json.loads((tmp_path / "other/config.json").read_text())
    about["stream"]["tasks"] = about["stream"]["tasks"][::-1]
    (tmp_path / "other/config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="in different orders"):
        widgets.DriftExplorer(runs[0], csd.Run.load(tmp_path / "other"))


def test_protocols_of_a_metric() -> None:
    assert protocols_of("Recall@5") == tuple(metrics.PROTOCOLS)
    assert protocols_of("Head accuracy") == ("seen",)
    with pytest.raises(ValueError, match="metric is 'accuracy'; expected one of 'Recall@1'"):
        protocols_of("accuracy")


# ---- interaction ----------------------------------------------------------------------------------------------------


def test_panels_are_built(panel: widgets.Panel) -> None:
    assert panel.reason is None
    assert panel.widget.children


def test_another_metric_draws_its_matrix(runs: list[csd.Run]) -> None:
    panel = PANELS["matrices"](runs)
    panel.metric.value = "Head accuracy"
    figure = drawn(panel.matrices)
    assert figure["data"][0]["z"] == panel.comparison.matrix("finetune", "Head accuracy")
    assert panel.protocol.disabled
    for formula in (metrics.FORMULAS[key] for key in ("forgetting", "backward_transfer", "average_incremental")):
        assert html.escape(formula) in panel.summary.value, "a browser would take j<T for a tag"
    assert "Head accuracy" in figure["layout"]["title"]["text"]
    panel.metric.value = "Recall@1"
    panel.protocol.value = "stale"
    assert "stale: new queries" in drawn(panel.matrices)["layout"]["title"]["subtitle"]["text"]
    panel.close()


def test_a_cell_shows_the_queries_behind_its_number(runs: list[csd.Run]) -> None:
    panel = PANELS["matrices"](runs)
    panel.run.value, panel.after.value, panel.on.value = "csd", 2, 0
    ranks, of_task = panel.comparison.ranks("csd")[2], panel.comparison.tasks == 0
    right = int((ranks[of_task] == 1).sum())
    assert f"{right} of {int(of_task.sum())} queries right" in panel.cell.value
    shown = drawn(panel.behind)["data"][0]["customdata"]
    assert {int(panel.comparison.tasks[i]) for i in shown} == {0}
    panel.matrices.widget.clicked = {"trace": 1, "point": [1, 1], "x": 1, "y": 1}  # the second layer of finetune
    assert (panel.run.value, panel.after.value, panel.on.value) == ("finetune", 1, 1)
    assert "R[1][1] of finetune" in panel.cell.value
    panel.behind.widget.clicked = {"trace": 0, "point": 2, "x": 0, "y": 0}
    assert panel.query == drawn(panel.behind)["data"][0]["customdata"][2]
    panel.close()


def test_the_slider_moves_every_point_to_where_that_network_puts_it(runs: list[csd.Run]) -> None:
    panel = PANELS["drift"](runs)

    def traces(role: str) -> list[dict[str, Any]]:
        return [trace for trace in drawn(panel.map)["data"] if trace["meta"]["role"] == role]

    for after in (0, 2, 1):
        panel.after.value = after
        for name, points in zip(panel.comparison.runs, traces("points"), strict=True):
            expected = panel.comparison.maps("pca")[name].points[after]
            assert torch.allclose(torch.tensor([points["x"], points["y"]]).T, expected, atol=1e-3)
    assert "task 0 → task 1" in panel.table.value
    panel.trails.value = False
    assert not panel.map.widget.trails
    panel.color.value = "found"
    found = panel.comparison.ranks("finetune")[1][panel._probe] == 1
    learnt = panel.comparison.tasks[panel._probe] <= 1
    colors = set(zip(_numbers(traces("points")[0]["marker"]["color"]), found.tolist(), learnt.tolist(), strict=True))
    assert len({color for color, right, seen in colors if seen}) == 2
    assert len({(color, right) for color, right, seen in colors if seen}) == 2
    panel.map.widget.clicked = {"trace": 1, "point": 3, "x": 0, "y": 0}
    assert panel.query == panel._probe[3]
    assert panel.map.widget.chosen == 3
    panel.close()


def test_a_few_classes_are_followed_on_a_map_and_in_a_plane(runs: list[csd.Run]) -> None:
    panel = widgets.DriftExplorer(*runs, maps=("pca", "plane"))
    assert panel.chosen.layout.display == "none"
    whole = list(panel._probe)
    panel.kind.value = "plane"
    assert panel.chosen.layout.display == ""
    planes = panel.comparison.planes()
    assert panel._probe == planes["csd"].indices.tolist() != whole
    assert panel.classes.value == tuple(panel.comparison.few_classes())
    shown = drawn(panel.map)["data"]
    assert planes["finetune"].told(2) in str(drawn(panel.map)["layout"]) or panel.after.value != 2
    assert {trace["name"] for trace in shown if trace["meta"]["role"] == "mean"} == {
        panel.comparison.classes[k] for k in panel.classes.value
    }
    panel.map.widget.clicked = {"trace": 1, "point": 2, "x": 0, "y": 0}
    assert panel.query == planes["csd"].indices[2]
    panel.map.widget.clicked = {"trace": len(shown) - 2, "point": 0, "x": 0, "y": 0}  # of a class, no image
    assert panel.query == planes["csd"].indices[2]
    panel.kind.value, panel.color.value = "pca", "few"
    panel.classes.value = panel.classes.value[:1]
    panel.others.value = False
    assert not panel._message.value
    points = next(trace for trace in drawn(panel.map)["data"] if trace["meta"]["role"] == "points")
    there = [panel._probe[i] for i, x in enumerate(points["x"]) if x is not None]
    assert {int(panel.comparison.labels[i]) for i in there} == {panel.classes.value[0]}
    panel.kind.value = "plane"  # of one class
    assert "at least two" in panel._message.value
    panel.classes.value = ()
    assert "Choose at least one class" in panel.hint.value
    panel.color.value, panel.kind.value = "task", "pca"
    assert panel._probe == whole
    panel.close()


def _numbers(values: Any) -> list[float]:
    """Return a list that plotly may have written as base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()
    return list(values)


def test_lost_queries_are_lost(runs: list[csd.Run]) -> None:
    panel = PANELS["search"](runs)
    for change in ("lost", "kept", "won", "missed"):
        panel.change.value, panel.by.value = change, "finetune"
        mask = panel.comparison.changes("finetune")[change]
        assert panel.count.value.startswith(f"{int(mask.sum())} of ")
        assert panel.place.disabled == (not mask.any())
        if mask.any():
            assert mask[panel.query]
            panel.next.click()
            assert mask[panel.query]
    panel.close()


def test_the_widgets_of_the_readme(runs: list[csd.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "widgets" in block)
    for run in runs:
        shutil.copytree(run.path, tmp_path / "runs/demo" / run.method)
    monkeypatch.chdir(tmp_path)
    namespace = {"csd": csd}
    exec(block.replace("(*runs)  # a slider", "(*runs, maps=('pca',))  # a slider"), namespace)
    namespace["search"].change.value = "all"
    namespace["search"].choose(3)
    assert namespace["drift"].query == 3
    for name in re.findall(r"`(\w+)\((?:\*runs|run|stream)", readme.partition("## In a notebook")[2]):
        assert hasattr(widgets, name), name
    namespace["search"].close()
    namespace["drift"].close()


def test_a_query_that_was_learnt_late_has_no_row_before_its_task(comparison: Comparison) -> None:
    late = int(torch.nonzero(comparison.tasks == 2)[0])
    figure = pictures.strips(comparison, late, "seen", 3)
    rows = [note.text for note in figure.layout.annotations if "after" in (note.text or "")]
    assert len(rows) == 2
    assert "not learnt yet" not in str(rows)


def test_a_lower_temperature_sharpens_the_weights(runs: list[csd.Run]) -> None:
    panel = PANELS["pairs"](runs)
    pulls = []
    for temperature in (0.07, 1.0):
        panel.temperature.value = temperature
        figure = drawn(panel.matrices)
        heat = [trace["z"] for trace in figure["data"] if trace["type"] == "heatmap"]
        pulls.append(max(abs(v) for half in (heat[1], heat[3]) for row in half for v in row if v is not None))
        assert f"{panel._pairs(2, 0)[1][temperature].loss:.3f}" in figure["layout"]["title"]["subtitle"]["text"]
    assert pulls[0] > pulls[1]
    assert figure["layout"]["title"]["text"]
    panel.matrices.widget.clicked = {"trace": 4, "point": [1, 0], "x": 6, "y": 1}  # with the teacher's first image
    assert "(row 1) and teacher feature" in panel.pair.value
    panel.task.value = 1
    assert {int(panel.comparison.tasks[i]) for i in panel._pairs(1, 0)[0]} == {1}
    panel.close()


def test_linked_panels_share_the_query(runs: list[csd.Run]) -> None:
    comparison = Comparison.of(*runs)
    drift = widgets.DriftExplorer(comparison, maps=("pca",))
    search = widgets.RetrievalExplorer(comparison, k=3)
    matrices = widgets.ForgettingMatrices(comparison)
    alone = widgets.RetrievalExplorer(comparison, k=3)
    widgets.link(drift, search, matrices)
    search.change.value = "all"
    search.choose(5)
    assert (drift.query, matrices.query) == (5, 5)
    assert "test image 5" in drawn(drift.strips)["layout"]["title"]["subtitle"]["text"]
    drift.choose(7)
    assert search.query == 7
    assert search.place.value == 7
    assert alone.query != 7
    matrices.close()
    drift.choose(9)
    assert (search.query, matrices.query) == (9, 7)
    with pytest.raises(ValueError, match="at least two"):
        widgets.link(drift)
    live = PANELS["live"](runs)
    with pytest.raises(ValueError, match="'Live training' and 'Drift explorer' don't show the same test images"):
        widgets.link(drift, live)
    live.close()
    for panel in (drift, search, alone):
        panel.close()


def test_an_error_in_a_callback_is_shown_inside(runs: list[csd.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    panel = PANELS["search"](runs)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"the gallery burnt down {EVIL}")

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "strips", broken)
        panel.next.click()
    assert "RuntimeError: the gallery burnt down &lt;img" in panel._message.value
    assert 'role="alert"' in panel._message.value
    assert "<img" not in panel._message.value
    panel.next.click()
    assert panel._message.value == "", "the next callback that works takes the message away"
    panel.close()


# ---- static twins ---------------------------------------------------------------------------------------------------


def test_every_panel_brings_its_static_twin(panel: widgets.Panel) -> None:
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert "still picture" in bundle["text/html"]
    assert panel.title in bundle["text/plain"]
    assert "<details>" in bundle["text/html"], "folded, as the widget is there"


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["ipywidgets", "anywidget"])
def test_without_a_widget_package_the_twin_says_why(missing: str, runs: list[csd.Run]) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
import csd_edu as csd
from csd_edu import widgets
runs = [csd.Run.load(path) for path in {[str(run.path) for run in runs]!r}]
for panel in (widgets.ForgettingMatrices(*runs), widgets.DriftExplorer(*runs, maps=("pca",)),
              widgets.RetrievalExplorer(*runs), widgets.PairView(runs[1], temperatures=(0.07,))):
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {{"text/plain", "text/html"}}, set(bundle)
    assert "could not be shown" in bundle["text/html"] and {missing!r} in bundle["text/html"]
    assert "csd-figure" in bundle["text/html"] and "<table>" in bundle["text/html"]
    panel.choose(3)
    panel.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_names_cannot_break_out(panel: widgets.Panel) -> None:
    page = html_of(panel)
    assert EVIL not in page
    assert "<img src=x" not in page
    script = page[page.rindex("<script>") : page.rindex("</script>")]
    assert "<" not in script.partition("const drawings = ")[2].partition("\n")[0]
    if panel.widget is not None:
        for child in _all(panel.widget):
            assert "<img src=x" not in str(getattr(child, "value", ""))
            assert "<img src=x" not in getattr(child, "figure", "")


def test_plotly_comes_along_once(runs: list[csd.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "_bringer", [])
    panel = PANELS["matrices"](runs)
    first, second = html_of(panel), html_of(panel)
    assert 'id="csd-plotly-js"' in first
    assert len(first) < 3_000_000
    assert 'id="csd-plotly-js"' not in second
    assert len(second) < 400_000
    panel.close()


def test_an_exported_notebook_keeps_the_twin(panel: widgets.Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbconvert import HTMLExporter

    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda data, **_: shown.append(data))
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append({"text/html": data.data}))
    panel._ipython_display_()
    assert len(shown) == 2
    cell = nbformat.v4.new_code_cell("panel", outputs=[nbformat.v4.new_output("display_data", d) for d in shown])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "csd-twin" in page
    assert "widget-view+json" not in page


def test_tables_escape_and_round() -> None:
    made = twin.table(["run", "R"], [[EVIL, 0.12345], ["csd", None], ["csd", -0.5]])
    assert "<img" not in made
    assert "0.123" in made
    assert "–" in made
    assert "−0.500" in made


# ---- closing --------------------------------------------------------------------------------------------------------


def _all(widget: object) -> list[object]:
    return [widget, *(w for child in getattr(widget, "children", ()) for w in _all(child))]


def _open_widgets() -> int:
    import ipywidgets

    registry = getattr(ipywidgets.widgets.widget, "_instances", None)
    return len(ipywidgets.Widget.widgets if registry is None else registry)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PANELS)
def test_closing_frees_memory(kind: str, runs: list[csd.Run]) -> None:
    PANELS[kind](runs).close()
    gc.collect()
    before = _open_widgets()
    panel = PANELS[kind](runs)
    other = PANELS[kind](runs)
    if kind != "live":  # which shows no test images
        widgets.link(panel, other)
    assert _open_widgets() > before
    picture = weakref.ref(next(widget for widget in _all(panel.widget) if type(widget).__name__ == "Plot"))
    gone = weakref.ref(panel)
    panel.close()
    assert "closed" in repr(panel)
    other.choose(1)
    other.close()
    assert _open_widgets() == before
    del panel
    gc.collect()
    assert gone() is None
    assert picture() is None


def test_two_instances_do_not_disturb_each_other(runs: list[csd.Run]) -> None:
    first, second = PANELS["drift"](runs), PANELS["drift"](runs)
    first.after.value = 0
    assert second.after.value == 2
    assert drawn(first.map)["data"][1]["x"] != drawn(second.map)["data"][1]["x"]
    first.close()
    second.after.value = 1
    assert second._message.value == ""
    second.close()


# ---- live training --------------------------------------------------------------------------------------------------


def test_without_a_kernel_training_shows_its_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = widgets.LiveTraining(csd.split(striped(), n_tasks=2), csd.methods.csd, TINY, out=tmp_path / "run")
    run = live.train()
    assert run.finished
    assert "task 2/2" in capsys.readouterr().out
    live.close()


def test_live_training_shows_terms_progress_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csd_edu.widgets.live.PAUSE", 0.0)
    live = widgets.LiveTraining(csd.split(striped(), n_tasks=2), csd.methods.csd, TINY, out=tmp_path / "run")
    records = csd.training(live.stream, live.method, TINY, out=live.out)
    for record in live._watch(records, Progress(live.stream, live.method, TINY, csd.Run.load(live.out))):
        if record["kind"] == "epoch" and record["task"] == 1 and record["epoch"] == 0:
            assert live.progress.value == pytest.approx(0.75)
            assert "task 2/2, epoch 1/2" in live.status.value
            assert "about 0 s left" in live.status.value
    traces = drawn(live.losses)["data"]
    assert [trace["name"] for trace in traces] == ["ce", "triplet", "kd", "csd"]
    assert len(traces[0]["x"]) >= 4
    assert f"{csd.Run.load(live.out).metrics['overall']['recall_at_1'][1]:.3f}" in live.recall.value
    live.close()


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_a_run_without_saved_images_says_so(runs: list[csd.Run], tmp_path: Path) -> None:
    shutil.copytree(runs[1].path, tmp_path / "bare")
    tensors = csd.Run.load(tmp_path / "bare").test()
    del tensors["images"]
    write_tensors(tmp_path / "bare/test.safetensors", tensors)
    assert "images" not in read_tensors(tmp_path / "bare/test.safetensors")[0]
    bare = csd.Run.load(tmp_path / "bare")
    for make in (PANELS["search"], PANELS["drift"], PANELS["matrices"], PANELS["pairs"]):
        panel = make([bare])
        assert panel.reason is None
        assert "stripe" in html_of(panel) or "Recall@1" in html_of(panel)
        panel.close()
    figure = pictures.strips(Comparison.of(bare), 0, "seen", 3)
    assert not figure.layout.images
    assert any("stripe" in (note.text or "") or "img" in (note.text or "") for note in figure.layout.annotations)


def test_impossible_arguments(runs: list[csd.Run], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="k is 0 and protocol 'seen'"):
        widgets.RetrievalExplorer(runs[0], k=0)
    with pytest.raises(ValueError, match="protocol 'new'; expected at least 1, and one of 'task'"):
        widgets.RetrievalExplorer(runs[0], protocol="new")
    with pytest.raises(ValueError, match=r"maps are \('tsne',\); expected some of 'pca', 'umap', 'umap together', 'pl"):
        widgets.DriftExplorer(runs[0], maps=("tsne",))
    with pytest.raises(ValueError, match="per_class 0"):
        widgets.PairView(runs[1], per_class=0)
    stream = csd.split(striped(), n_tasks=2)
    records = csd.training(stream, csd.methods.csd, TINY, out=tmp_path / "one")
    while next(records)["kind"] != "task":
        pass
    records.close()
    with pytest.raises(ValueError, match="has learnt one task; expected two"):
        widgets.PairView(csd.Run.load(tmp_path / "one"))
    half = PANELS["matrices"]([csd.Run.load(tmp_path / "one")])
    assert half.reason is None
    assert half.numbers()
    half.close()


def test_one_task_is_shown_too(tmp_path: Path) -> None:
    run = csd.train(csd.split(striped(), n_tasks=1), csd.methods.csd, TINY, out=tmp_path / "run", progress=False)
    for make in (PANELS["matrices"], PANELS["drift"], PANELS["search"]):
        panel = make([run])
        assert panel.reason is None
        assert html_of(panel)
        panel.close()


def test_nan_features_are_named_before_anything_is_drawn(runs: list[csd.Run], tmp_path: Path) -> None:
    shutil.copytree(runs[1].path, tmp_path / "nan")
    path = csd.Run.load(tmp_path / "nan").task_file(1, "features")
    tensors = read_tensors(path)[0]
    tensors["features"][3, 0] = torch.nan
    write_tensors(path, tensors)
    with pytest.raises(ValueError, match="NaN or infinite features"):
        widgets.DriftExplorer(csd.Run.load(tmp_path / "nan"), maps=("pca",))


def test_another_gallery_keeps_the_query_and_says_when_it_is_no_longer_one_of_the_choice(runs: list[csd.Run]) -> None:
    panel = PANELS["search"](runs)
    panel.by.value, panel.change.value = "finetune", "all"
    changes = {name: panel.comparison.changes("finetune", name) for name in ("seen", "stale")}
    change, query = next(
        (change, int(query))
        for change in ("lost", "kept", "won", "missed")
        for query in torch.nonzero(changes["seen"][change] & ~changes["stale"][change]).flatten()
    )
    panel.change.value = change
    panel.choose(query)
    n = {name: int(masks[change].sum()) for name, masks in changes.items()}
    assert panel.count.value == f"{n['seen']} of {len(panel.comparison.labels)} queries"
    panel.protocol.value = "stale"
    assert panel.query == query
    assert panel.count.value.endswith("queries; the one shown is none of them")
    assert panel.count.value.startswith(f"{n['stale']} of ")
    assert "stale: new queries" in drawn(panel.strips)["layout"]["title"]["subtitle"]["text"]
    panel.protocol.value = "seen"
    assert panel.query == query
    assert panel._choices[panel.place.value] == query
    assert panel.count.value.endswith("queries")
    other = next(i for i in range(len(panel.comparison.labels)) if i not in panel._choices)
    panel.choose(other)  # as a click on a found image does
    assert panel.count.value.endswith("; the one shown is none of them")
    panel.close()


def test_the_drift_explorer_says_when_the_image_chosen_is_not_on_its_map(
    runs: list[csd.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csd_edu.comparison.POINTS", 6)
    panel = widgets.DriftExplorer(*runs, maps=("pca",))
    outside = next(i for i in range(len(panel.comparison.labels)) if i not in panel._probe)
    assert "none of the" not in panel.hint.value
    panel.choose(outside)
    assert f"Test image {outside} is none of the 6 on the map" in panel.hint.value
    assert panel.map.widget.chosen == -1
    panel.choose(panel._probe[2])
    assert "none of the" not in panel.hint.value
    assert panel.map.widget.chosen == 2
    panel.close()
