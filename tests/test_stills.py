"""Still pictures of notebooks: what stands for figures, panels and widgets, and how they are drawn."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from csd_edu import cli, stills
from csd_edu.widgets.twin import static_html, table
from notebooks.sources import HERE
from tests.conftest import need


def bars(title: str, height: int = 300) -> go.Figure:
    figure = go.Figure(go.Bar(x=["a", "b"], y=[1, 3], marker={"color": "#0072B2"}))
    return figure.update_layout(title={"text": title}, height=height)


def twin_outputs(figures: list[go.Figure], together: bool) -> list[nbformat.NotebookNode]:
    """Return what a panel shows: one output of two forms, or two outputs."""
    numbers = table(["run", "drawings = [1]"], [["</div><script>", 0.25]])
    page = static_html(figures, numbers, title="A <panel>")
    view = {stills.VIEW: {"model_id": "m"}, "text/plain": "<A panel: shown in a notebook>"}
    if together:
        return [new_output("display_data", {**view, "text/html": page})]
    return [new_output("display_data", view), new_output("display_data", {"text/html": page, "text/plain": ""})]


@pytest.fixture
def handed_in(tmp_path) -> Path:
    """A notebook as JupyterLab saves it: a figure, a panel with its twin, a widget with the state that was saved."""
    figure = json.loads(bars("Alone").to_json())
    view = new_output("display_data", {stills.VIEW: {"model_id": "w"}, "text/plain": "HTML(…)"})
    outputs = [new_output("display_data", {stills.PLOTLY: figure}), *twin_outputs([bars("One")], together=True), view]
    notebook = new_notebook(cells=[new_code_cell("show", outputs=outputs)])
    state = {"w": {"model_name": "HTMLModel", "model_module": "m", "state": {"value": "<p>the living widget</p>"}}}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    return tmp_path / "mine.ipynb"


def test_an_exported_notebook_shows_its_figures_and_widgets_without_scripts(handed_in, capsys):
    need(stills.find_browser(), "Chromium is not there")
    before = handed_in.read_bytes()
    assert cli.main(["export", str(handed_in)]) == 0
    assert re.fullmatch(r"Wrote .*mine.html, 2 pictures in 0.\d MB\n", capsys.readouterr().out)
    page = re.sub(r"<script.*?</script>", "", handed_in.with_suffix(".html").read_text(encoding="utf-8"), flags=re.S)
    pngs = re.findall(r'<img[^>]* src="data:image/png;base64,([^"]+)"', page)
    assert [Image.open(io.BytesIO(base64.b64decode(png))).width for png in pngs] == [1350, 1350]
    assert "the living widget" in page
    assert "A &lt;panel&gt;" in page

    out = handed_in.with_name("shown.ipynb")
    assert cli.main(["export", str(handed_in), "--out", str(out)]) == 0
    shown = nbformat.read(out, as_version=4)
    nbformat.validate(shown)
    assert [("image/png" in o.data, stills.PLOTLY in o.data) for o in shown.cells[0].outputs] == [
        *[(True, False)] * 2,
        *[(False, False)] * 2,
    ]
    assert handed_in.read_bytes() == before


def test_without_a_browser_an_export_names_the_figures_and_says_so(handed_in, capsys, monkeypatch):
    monkeypatch.setattr(stills, "find_browser", lambda: None)
    assert cli.main(["export", str(handed_in)]) == 0
    assert capsys.readouterr().out.startswith("The figures are not drawn, only named: that needs kaleido")
    assert "&lt;figure: Alone&gt;" in handed_in.with_suffix(".html").read_text(encoding="utf-8")


def test_a_browser_that_fails_costs_only_the_pictures(handed_in, tmp_path):
    need(Path("/bin/true").exists(), "/bin/true is not there")
    with pytest.warns(UserWarning, match="the figures are not drawn, only named: /bin/true fails"):
        assert stills.export(handed_in, tmp_path / "page.html", "/bin/true") == 0
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_what_cannot_be_exported_is_named(handed_in, tmp_path, capsys):
    (tmp_path / "text.ipynb").write_text("no notebook", encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "fresh.ipynb")
    for arguments, told in (
        ([tmp_path / "text.ipynb"], "text.ipynb is no notebook; expected a file"),
        ([tmp_path / "fresh.ipynb"], "fresh.ipynb has no outputs; run all its cells and save it"),
        (
            [handed_in, "--out", handed_in],
            "mine.ipynb is the notebook itself, and can't be written",
        ),
        ([handed_in, "--out", tmp_path / "page.pdf"], "page.pdf can't be written; expected another name"),
        ([tmp_path / "none.ipynb"], "none.ipynb"),
    ):
        assert cli.main(["export", *map(str, arguments)]) == 2
        assert told in capsys.readouterr().err


def test_each_solved_edition_has_a_picture_for_each_figure_and_is_small():
    for path in sorted((HERE / "solutions").glob("*.ipynb")):
        outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", ())]
        named = [o for o in outputs if o.get("data", {}).get("text/plain", "").startswith("<figure: ")]
        assert named
        assert all("image/png" in o.data for o in named), path.name
        assert not any({stills.PLOTLY, stills.VIEW} & o.get("data", {}).keys() for o in outputs), path.name
        assert path.stat().st_size < 1.5e6, path.name


@pytest.mark.parametrize("together", [True, False])
def test_a_panel_becomes_its_figures_and_its_numbers(together):
    figures = [bars("One <b>bold</b>"), bars("Two")]
    widgets = {"m": {"_model_name": "HTMLModel", "value": "the living widget"}}
    drawing, numbers = stills.without_kernel(twin_outputs(figures, together), widgets)
    assert drawing.data[stills.PLOTLY] == [json.loads(figure.to_json()) for figure in figures]
    assert drawing.data["text/plain"] == "<figure: One bold; Two>"
    assert set(numbers.data) == {"text/html", "text/plain"}
    assert "A &lt;panel&gt;" in numbers.data["text/html"]
    assert "<td" in numbers.data["text/html"]
    assert "0.250" in numbers.data["text/html"]
    assert "<script" not in numbers.data["text/html"]
    assert len(numbers.data["text/html"]) < 1000
    assert "run drawings = [1] </div><script> 0.250" in numbers.data["text/plain"]


def test_a_panel_without_figures_keeps_its_words():
    (words,) = stills.without_kernel(twin_outputs([], together=True), {})
    assert "0.250" in words.data["text/html"]


def test_a_twin_that_has_changed_its_form_is_not_passed_over():
    with pytest.raises(ValueError, match="not built as expected"):
        stills.of_twin('<div class="csd-twin" id="csd-twin-1">x</div><script>figures = []</script>')


def test_a_box_of_widgets_becomes_what_it_shows():
    printed = {"output_type": "stream", "name": "stdout", "text": "loss 2.5\n"}
    widgets = {
        "box": {
            "children": ["IPY_MODEL_slider", "IPY_MODEL_choice", "IPY_MODEL_text", "IPY_MODEL_out", "IPY_MODEL_plot"]
        },
        "slider": {"_model_name": "FloatSliderModel", "description": "τ <", "value": 0.0},
        "choice": {
            "_model_name": "DropdownModel",
            "description": "",
            "_options_labels": ["with", "without"],
            "index": 1,
        },
        "text": {"_model_name": "HTMLModel", "value": "<p>bold</p>", "description": ""},
        "out": {"_model_name": "OutputModel", "outputs": [printed]},
        "plot": {"_model_name": "AnyModel", "figure": bars("A bar").to_json(), "frames": "[]"},
    }
    view = new_output("display_data", {stills.VIEW: {"model_id": "box"}, "text/plain": "VBox(…)"})
    shown = stills.without_kernel([view], widgets)
    assert [still.data["text/html"] for still in shown[:3]] == ["<p>τ &lt;: 0.0</p>", "<p>without</p>", "<p>bold</p>"]
    assert shown[3].text == "loss 2.5\n"
    assert shown[4].data["text/plain"] == "<figure: A bar>"
    assert len(shown) == 5
    (unknown,) = stills.without_kernel([view], {})
    assert unknown.data == {"text/plain": "VBox(…)"}


def test_other_outputs_stay_and_say_nothing_of_this_machine():
    kept = new_output("execute_result", {"text/html": "<p>1</p>", "text/plain": "1"}, execution_count=3)
    warned = new_output("stream", name="stderr", text=f"{HERE.parent}/csd_edu/data.py:1: UserWarning\n")
    cleared = new_output("stream", name="stderr", text="\n")
    first, second = stills.without_kernel([kept, warned, cleared], {})
    assert first is kept
    assert second.text == "…/csd_edu/data.py:1: UserWarning\n"


def test_controls_are_left_out_of_a_picture_and_its_title_says_how_they_stand():
    steps = [{"label": "0"}, {"label": "1"}]
    slider = {"active": 1, "currentvalue": {"prefix": "after task "}, "steps": steps}
    figure = bars("<b>Map</b>").update_layout(sliders=[slider], updatemenus=[{"buttons": [{"label": "play"}]}])
    still = stills.at_rest(json.loads(figure.to_json()))
    assert still["layout"]["title"]["text"] == "<b>Map</b> (after task 1)"
    assert not {"sliders", "updatemenus"} & set(still["layout"])
    assert still["layout"]["height"] == 300
    plain = json.loads(bars("Map").to_json())
    assert stills.at_rest(plain) == {"data": plain["data"], "layout": plain["layout"]}


def test_gaps_are_closed_and_everything_else_kept():
    pixels = np.full((300, 4, 3), 255, dtype=np.uint8)
    pixels[[0, 100, 110]] = 7
    closed = np.asarray(stills.closed_up(Image.fromarray(pixels)))
    assert np.flatnonzero(closed[:, 0, 0] == 7).tolist() == [0, 46, 56]
    assert len(closed) == 57 + 45


def test_pictures_lie_one_below_the_other_and_large_ones_are_made_small():
    red, blue = Image.new("RGB", (30, 10), "red"), Image.new("RGB", (20, 5), "blue")
    page = Image.open(io.BytesIO(stills.as_png([red, blue]))).convert("RGB")
    assert page.size == (30, 15)
    assert [page.getpixel(at) for at in ((29, 9), (19, 14), (29, 14))] == [(255, 0, 0), (0, 0, 255), (255, 255, 255)]
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    assert Image.open(io.BytesIO(stills.as_png([noise]))).mode == "P"


@pytest.mark.slow
def test_a_picture_shows_the_figure():
    browser = stills.find_browser()
    need(browser, "Chromium is not there")
    moved = bars("Moved", 500).update_layout(margin={"b": 200}, sliders=[{"steps": [{"label": "0"}], "active": 0}])
    outputs = [new_output("display_data", {stills.PLOTLY: json.loads(bars("Alone", 250).to_json())})]
    outputs += twin_outputs([bars("One"), moved], together=True)
    notebook = new_notebook(cells=[new_code_cell("show", outputs=outputs)])
    stills.illustrate(notebook, {}, browser)
    first, second, numbers = notebook.cells[0].outputs
    assert set(first.data) == set(second.data) == {"image/png", "text/plain"}
    assert set(numbers.data) == {"text/html", "text/plain"}
    assert first.metadata == {"image/png": {"width": 900}}
    pictures = [Image.open(io.BytesIO(base64.b64decode(o.data["image/png"]))).convert("RGB") for o in (first, second)]
    assert pictures[0].size == (1350, 375)
    assert pictures[1].width == 1350
    assert 450 + 350 < pictures[1].height < 450 + 750 - 200  # two below each other, without the slider's place
    blue = (np.asarray(pictures[0]) == (0x00, 0x72, 0xB2)).all(axis=2)
    left, right = blue[:, :675].sum(), blue[:, 675:].sum()
    assert right == pytest.approx(3 * left, rel=0.1)  # the bars are 1 and 3 high
    nbformat.validate(notebook)
