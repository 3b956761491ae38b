"""The harness for notebooks in a browser does what it says, in both front ends; and what Colab has suffices."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import browser

front_end = browser.front_end

PINS = dict(re.findall(r"^([\w-]+)==(\S+)$", (browser.ROOT / "constraints-colab.txt").read_text(), flags=re.MULTILINE))

ENVIRONMENT = """
import importlib.metadata, json, os, sys
names = ("ipywidgets", "plotly", "anywidget", "numpy", "torch")
print(json.dumps([sys.prefix, os.getpid(), {name: importlib.metadata.version(name) for name in names}]))
"""
CONTROLS = """
import ipywidgets, plotly.graph_objects as go
task, method = ipywidgets.IntSlider(description="task", max=5), ipywidgets.Dropdown(options=["lwf", "csd"])
method.description, button, told = "method", ipywidgets.Button(description="again"), ipywidgets.HTML("nothing yet")
def tell(_): told.value = f"{method.value} after task <b>{task.value}</b>"
task.observe(tell, "value"); method.observe(tell, "value")
button.on_click(lambda _: setattr(told, "value", "pressed"))
ipywidgets.VBox([task, method, button, told])
"""
FIGURE = """
figure = go.FigureWidget(layout={"height": 360, "margin": {"t": 30, "b": 30}})
figure.add_scatter(x=[1.0, 2.0, 3.0], y=[3.5, 1.0, 2.0], mode="markers", marker={"size": 14, "color": [0, 1, 2]})
figure.add_scatter(x=[1.5, 2.5], y=[1.5, 3.0], mode="markers", marker_size=14)
figure.add_heatmap(x=[10, 11, 12], y=[1, 2], z=[[1, 2, 3], [4, 5, 6]], xaxis="x2", showscale=False)
figure.update_layout(xaxis={"domain": [0, 0.6]}, xaxis2={"domain": [0.65, 1]})
clicked = ipywidgets.HTML("no click")
def click(trace, points, _):
    if points.point_inds: clicked.value = f"trace {trace._trace_ind}: {points.point_inds} at {points.xs}"
for trace in figure.data: trace.on_click(click)
ipywidgets.VBox([figure, clicked])
"""


def test_colab_has_what_the_library_requires():
    project = tomllib.loads((browser.ROOT / "pyproject.toml").read_text())["project"]
    required = {canonicalize_name(r.name): r.specifier for r in map(Requirement, project["dependencies"])}
    del required["faiss-cpu"]  # installed by the notebooks' first cell
    assert required.keys() <= PINS.keys()
    assert {name: PINS[name] for name in required if not required[name].contains(PINS[name])} == {}


@pytest.fixture(scope="module")
def notebook(front_end):
    with front_end.open("harness", [ENVIRONMENT, CONTROLS, FIGURE]) as notebook:
        notebook.run_all()
        yield notebook


@pytest.mark.slow
def test_the_kernel_is_that_of_the_environment(notebook):
    prefix, _, versions = json.loads(notebook.output(0).inner_text())
    assert Path(prefix) == browser.PYTHONS[notebook.kind].parent.parent
    if notebook.kind == "lab":
        assert versions == {name: importlib.metadata.version(name) for name in versions}
    else:
        assert versions == {name: PINS[name] for name in versions}
    assert notebook.errors == []


@pytest.mark.slow
def test_sliders_dropdowns_and_buttons_reach_python(notebook):
    notebook.wait_for_text(1, "nothing yet")
    notebook.move_slider("task", 3)
    notebook.wait_for_text(1, "lwf after task 3")
    notebook.move_slider("task", -1)
    notebook.wait_for_text(1, "lwf after task 2")
    notebook.choose("method", "csd")
    notebook.wait_for_text(1, "csd after task 2")
    notebook.press("again")
    notebook.wait_for_text(1, "pressed")
    with pytest.raises(AssertionError, match="csd after"):
        notebook.wait_for_text(1, "csd after", timeout=0.2)
    assert notebook.errors == []
    assert notebook.screenshot("controls", notebook.output(1)).stat().st_size > 1000


@pytest.mark.slow
def test_clicks_on_points_reach_python(notebook):
    plot = notebook.plot(2)
    for trace, point, told in [
        (0, 1, "trace 0: [1] at [2]"),
        (1, 0, "trace 1: [0] at [1.5]"),
        (0, 0, "trace 0: [0] at [1]"),
        (2, (1, 2), "trace 2: [[1, 2]] at [12]"),
    ]:
        notebook.click(plot, trace, point)
        notebook.wait_for_text(2, told)
    assert notebook.errors == []
    notebook.screenshot("clicked")


@pytest.mark.slow
def test_the_browser_has_the_figures_values(notebook):
    plot = notebook.plot(2)
    assert notebook.values(plot, 0, "y") == [3.5, 1.0, 2.0]
    assert notebook.values(plot, 0, "marker.color") == [0, 1, 2]
    assert notebook.values(plot, 2, "z") == [[1, 2, 3], [4, 5, 6]]
    output = notebook.run("figure.data[1].x = [1.25, 2.75]; print('moved', len(figure.data))")
    assert output.inner_text().strip() == "moved 3"
    notebook.wait_for(lambda: notebook.values(plot, 1, "x") == [1.25, 2.75])
    assert notebook.errors == []


@pytest.mark.slow
def test_errors_are_noticed_and_the_kernel_ends(front_end):
    script = "console.error('planted in the console'); setTimeout(() => { throw new Error('planted in the page') })"
    cells = [
        ENVIRONMENT,
        f"from IPython.display import Javascript; Javascript({script!r})",
        "import ipywidgets; b = ipywidgets.Button(description='fall'); b.on_click(lambda _: {}['planted']); b",
    ]
    with front_end.open("errors", cells) as notebook:
        notebook.run_all()
        notebook.wait_for(lambda: len(notebook.errors) >= 2)
        assert [error.split(" (")[0] for error in sorted(notebook.errors)] == [
            "console: planted in the console",
            "page: planted in the page",
        ]
        notebook.press("fall")
        notebook.wait_for(lambda: len(notebook.errors) >= 3)
        assert notebook.errors[2] == "Python: KeyError: 'planted'"
        with pytest.raises(AssertionError, match='ValueError: say "no"'):
            notebook.run("raise ValueError('say \"no\"')")
        assert notebook.errors[3:] == ['Python: ValueError: say "no"']
        notebook.run("from IPython.display import HTML; HTML('<img src=\"https://example.org/x.png\">')")
        notebook.wait_for(lambda: len(notebook.errors) > 4)
        assert "net::ERR_NAME_NOT_RESOLVED (https://example.org/x.png)" in notebook.errors[-1]
        kernel = json.loads(notebook.output(0).inner_text())[1]
        os.kill(kernel, 0)  # raises if there is no such process
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
