"""Notebooks in a real browser: in JupyterLab, and in classic Notebook with the versions of a Colab runtime.

A test module takes over the fixture, and each test that asks for it runs once in each front end:

    front_end = browser.front_end

    def test_a_slider(front_end):
        with front_end.open("slider", ["import csd_edu", "csd_edu.widgets. …"]) as notebook:
            notebook.run_all()
            notebook.move_slider("task", 2)
            notebook.wait_for_text(1, "after task 2")
            assert notebook.errors == []

A kernel takes seconds to start and to import: a fixture of module scope may keep one notebook open for several tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, WebSocket, expect, sync_playwright

from tests.conftest import need

ROOT = Path(__file__).parent.parent
ARTEFACTS = Path(os.environ.get("CSD_EDU_ARTEFACTS", ROOT / "build/screenshots"))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FRONT_ENDS = ("lab", pytest.param("classic", marks=pytest.mark.campaign))
PYTHONS = {"lab": Path(sys.executable), "classic": ROOT / ".venv-colab/bin/python"}

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that wants something from the network gets an error, which is noticed, on every machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SERVERS = {
    "lab": (
        *("jupyterlab", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password="),
        *("--ServerApp.port_retries=0", "--ServerApp.root_dir=.", "--ServerApp.shutdown_no_activity_timeout=1800"),
        "--LabApp.expose_app_in_browser=True",  # as window.jupyterapp, for the scripts below
    ),
    "classic": (
        *("notebook", "--NotebookApp.ip=127.0.0.1", "--NotebookApp.token=", "--NotebookApp.password="),
        *("--NotebookApp.port_retries=0", "--NotebookApp.notebook_dir=."),
        "--NotebookApp.shutdown_no_activity_timeout=1800",
    ),
}
# A server that was orphaned ends its kernels, and then itself.
COMMON = ("--no-browser", "--allow-root", "--MappingKernelManager.cull_idle_timeout=900")
PAGES = {"lab": "lab/tree/{}?reset", "classic": "notebooks/{}"}
CELLS = {"lab": ".jp-Notebook .jp-Cell", "classic": "#notebook-container > .cell"}
OUTPUTS = {"lab": ".jp-Cell-outputArea", "classic": ".output"}

# What is done and asked in the page itself; `prompts` are the execution counts as shown, "*" while a cell waits.
SCRIPTS = {
    "lab": {
        "ready": """() => {
            const context = window.jupyterapp?.shell.currentWidget?.sessionContext
            return context?.isReady && context.session.kernel.status == "idle"
        }""",
        "settle": "() => jupyterapp.shell.collapseLeft()",
        "append": """source => {
            const { content } = jupyterapp.shell.currentWidget
            content.model.sharedModel.addCell({ cell_type: "code", source })
            content.activeCellIndex = content.widgets.length - 1
        }""",
        "run_all": "() => { jupyterapp.commands.execute('notebook:run-all-cells') }",
        "run_last": "() => { jupyterapp.commands.execute('notebook:run-cell') }",
        "idle": "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status == 'idle'",
        "prompts": """() => jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type == "code").map(cell => cell.prompt)""",
        "shut_down": "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()",
    },
    "classic": {
        "ready": """() => {
            const notebook = window.Jupyter?.notebook
            return notebook?._fully_loaded && notebook.kernel?.is_connected() && notebook.kernel.widget_manager
                && !notebook.kernel_busy
        }""",
        "settle": "() => {}",
        "append": "source => { Jupyter.notebook.insert_cell_at_bottom('code').set_text(source) }",
        "run_all": "() => Jupyter.notebook.execute_all_cells()",
        "run_last": "() => Jupyter.notebook.get_cells().at(-1).execute()",
        "idle": "() => !Jupyter.notebook.kernel_busy",
        "prompts": """() => Jupyter.notebook.get_cells()
            .filter(cell => cell.cell_type == "code").map(cell => String(cell.input_prompt_number ?? ""))""",
        "shut_down": "() => new Promise(done => Jupyter.notebook.session.delete(done, done))",
    },
}
# Classic Notebook's banner about its successor; without it (show_banner=False) its page raises an error.
NO_BANNER = {"name": "showNotebookNews", "value": "false"}

# In the pages, plots are div elements that plotly.js gives its own attributes; a point is an index, or [row, column].
DRAWN = "plot => plot._fullData?.length > 0 && plot.calcdata?.length == plot._fullData.length"
POSITION = """(plot, [trace, point]) => {
    const data = plot._fullData[trace], box = plot.getBoundingClientRect()
    const axis = name => plot._fullLayout[name[0] + "axis" + name.slice(1)]
    const [row, column] = Array.isArray(point) ? point : [point, point]
    const [x, y] = [axis(data.xaxis), axis(data.yaxis)]
    return [
        box.left + x._offset + x.d2p(data.x ? data.x[column] : column),
        box.top + y._offset + y.d2p(data.y ? data.y[row] : row),
    ]
}"""
HOVERED = """(plot, wanted) => (plot._hoverdata ?? []).some(
    point => JSON.stringify([point.curveNumber, point.pointNumber]) == JSON.stringify(wanted))"""
# A widget takes every listener off when it draws anew: each click needs one of its own.
LISTEN = """plot => {
    const clicks = plot._clicks = []
    plot.on("plotly_click", event => clicks.push(...event.points))
}"""
CLICKED = HOVERED.replace("_hoverdata", "_clicks")
VALUES = """(plot, [trace, key]) => {
    const plain = value => Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value, plain) : value
    return plain(key.split(".").reduce((part, name) => part[name], plot._fullData[trace]))
}"""


class Server(NamedTuple):
    """A Jupyter server and the folder it serves."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def start_server(kind: str, folder: Path) -> Server:
    """Start a front end's server, with nobody's settings but those given here, and wait until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(folder / name.lower()) for name in names}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "PYTHONPATH"))}
    (folder / "notebooks").mkdir()
    if kind == "lab":  # its question about news would lie over the notebook
        settings = folder / "jupyter_config_dir/lab/user-settings/@jupyterlab/apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [PYTHONS[kind], "-m", *SERVERS[kind], *COMMON, f"--port={port}"],
            env=kept | own,
            cwd=folder / "notebooks",
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}/", folder, process)
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(server.url + "api/status", timeout=5).close()
            return server
        except OSError:
            time.sleep(0.1)
    server.stop()
    raise RuntimeError(f"the server of {kind} does not answer:\n{log.read_text()[-3000:]}")


class FrontEnd:
    """A running server of one kind ("lab" or "classic") and a browser."""

    def __init__(self, kind: str, server: Server, browser: Browser) -> None:
        self.kind, self.server, self.browser = kind, server, browser

    def open(self, name: str, cells: Sequence[str], *, width: int = 1280, height: int = 900) -> Notebook:
        """Write a notebook of code cells, and open it in a window of its own with a new kernel.

        Args:
            name: Also the beginning of its screenshots' names.
            cells: Python code.
            width: Of the browser's window, in pixels.
            height: Of the browser's window, in pixels.
        """
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(
            nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel}),
            self.server.folder / "notebooks" / f"{name}.ipynb",
        )
        return Notebook(self, name, width, height)

    def open_copy(self, path: Path, *, width: int = 1280, height: int = 900) -> Notebook:
        """Open a copy of an existing notebook, which must name its kernel; else as `open`."""
        shutil.copy(path, self.server.folder / "notebooks")
        return Notebook(self, path.stem, width, height)


class Notebook:
    """An open notebook.

    `page` is Playwright's. `errors` collects what went wrong, as it arrives: "console: …" and "page: …" from the
    browser, and "Python: …" for each exception in a cell or in a widget's callback, also where the front end shows none
    of it. The front ends themselves were seen to add nothing but what `_on_console` leaves out. Cells count from 0.
    """

    def __init__(self, front_end: FrontEnd, name: str, width: int, height: int) -> None:
        self.name, self.kind, self.errors = name, front_end.kind, list[str]()
        self._scripts, self._seen = SCRIPTS[self.kind], set[str]()
        self._running = self._ended = 0  # the prompts of the last cell that began, and of the last that ended
        url = front_end.server.url
        context = front_end.browser.new_context(
            viewport={"width": width, "height": height},
            storage_state={"cookies": [], "origins": [{"origin": url.rstrip("/"), "localStorage": [NO_BANNER]}]},
        )
        self.page = context.new_page()
        try:
            self.page.on("console", self._on_console)
            self.page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
            self.page.on("websocket", self._on_websocket)
            self.page.goto(url + PAGES[self.kind].format(f"{name}.ipynb"))
            self.page.wait_for_function(self._scripts["ready"], timeout=120_000)
            # The widgets of classic Notebook ask the new kernel for living widgets, and draw every cell anew with its
            # answer; without widgets, but the busy kernel answers late: what was drawn before would go.
            if self.kind == "classic":
                self.wait_for(lambda: "comm_info_reply" in self._seen)
            self.page.evaluate(self._scripts["settle"])
        except BaseException:
            context.close()
            raise

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        told = f"console: {message.text} ({message.location['url']})"
        # MathJax of classic Notebook, where there are formulas, names this as the address of its blank font.
        if message.type == "error" and not (self.kind == "classic" and "about:blank" in told):
            self.errors.append(told)

    def _on_websocket(self, websocket: WebSocket) -> None:
        websocket.on("framereceived", self._on_message)

    def _on_message(self, message: str | bytes) -> None:
        """Note the kernel's messages: JSON, its header first, in JupyterLab with a binary preamble."""
        data = message.encode() if isinstance(message, str) else message
        found = re.search(rb'"msg_type": ?"(\w+)"', data)
        kind = found[1].decode() if found else ""
        self._seen.add(kind)
        if kind == "execute_input" and (count := re.search(rb'"execution_count": ?(\d+)', data)):
            self._running = int(count[1])
        elif kind == "status" and b'"execute_request"' in data and re.search(rb'"execution_state": ?"idle"', data):
            self._ended = self._running
        elif kind == "error":
            parts = [re.search(rb'"%s": ?("(?:[^"\\]|\\.)*")' % key, data) for key in (b"ename", b"evalue")]
            self.errors.append(("Python: " + ": ".join(json.loads(part[1]) for part in parts if part))[:500])

    def _run(self, script: str, timeout: float) -> None:
        counts = self.page.evaluate(self._scripts["prompts"])
        before, n_errors = max([int(count) for count in counts if count.strip().isdigit()], default=0), len(self.errors)
        self.page.evaluate(self._scripts[script])

        def done() -> bool:
            prompts = [prompt.strip() for prompt in self.page.evaluate(self._scripts["prompts"])]
            last = max([int(prompt) for prompt in prompts if prompt.isdigit()], default=0)
            if last <= before or "*" in prompts or not self.page.evaluate(self._scripts["idle"]):
                return False
            return self._ended >= last  # the page may know it before the message, and an error of the cell, is here

        self.wait_for(done, timeout=timeout)
        raised = [error for error in self.errors[n_errors:] if error.startswith("Python: ")]
        if raised:
            raise AssertionError(f"a cell of {self.name} raised {raised}")

    def run_all(self, *, timeout: float = 120) -> None:
        """Run every cell and wait until the kernel is idle; raise AssertionError if a cell raised."""
        self._run("run_all", timeout)

    def run(self, code: str, *, timeout: float = 60) -> Locator:
        """Append a cell, run it as `run_all` does, and return its output."""
        self.page.evaluate(self._scripts["append"], code)
        self._run("run_last", timeout)
        return self.output(self.page.locator(CELLS[self.kind]).count() - 1)

    def output(self, cell: int) -> Locator:
        """Return the output of a cell; cells of text count too."""
        return self.page.locator(CELLS[self.kind]).nth(cell).locator(OUTPUTS[self.kind]).first

    def wait_for(self, condition: Callable[[], object], *, timeout: float = 30) -> None:
        """Wait until a condition of Python holds, while the browser's messages keep coming in."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} in {self.kind}: not so within {timeout} s; errors: {self.errors}")
            self.page.wait_for_timeout(50)

    def wait_for_text(self, cell: int, text: str | re.Pattern[str], *, timeout: float = 30) -> None:
        """Wait until a cell's output contains a text."""
        expect(self.output(cell)).to_contain_text(text, timeout=1000 * timeout)

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Keep a picture of the window, or of a part of the page."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / f"{self.name}-{name}-{self.kind}.png"
        (of or self.page).screenshot(path=path)
        return path

    def _controls(self, kinds: str, cell: int | None) -> Locator:
        """Return the controls of some CSS classes on the page, or in one cell's output."""
        return (self.page if cell is None else self.output(cell)).locator(kinds)

    def slider(self, description: str, *, cell: int | None = None) -> Locator:
        """Return the slider (an IntSlider, FloatSlider or SelectionSlider) with this description.

        Several widgets may have a control of one description: then name the cell, here and in the next three.
        """
        sliders = self._controls(".widget-slider, .widget-hslider, .widget-vslider", cell)
        return sliders.filter(has=self.page.locator(".widget-label", has_text=description)).first

    def move_slider(self, description: str, steps: int, *, cell: int | None = None) -> None:
        """Move a slider by its keyboard: steps to the right, or to the left if negative."""
        handle = self.slider(description, cell=cell).locator(".noUi-handle, .ui-slider-handle")  # ipywidgets 8, 7
        for _ in range(abs(steps)):
            handle.press("ArrowRight" if steps > 0 else "ArrowLeft")

    def choose(self, description: str, option: str, *, cell: int | None = None) -> None:
        """Choose an option of the Dropdown with this description."""
        dropdowns = self._controls(".widget-dropdown", cell)
        labelled = dropdowns.filter(has=self.page.locator(".widget-label", has_text=description)).first
        labelled.locator("select").select_option(label=option)

    def press(self, description: str, *, cell: int | None = None) -> None:
        """Click on the Button (or ToggleButton) with this description."""
        self._controls("button.jupyter-button", cell).filter(has_text=description).first.click()

    def plot(self, cell: int, nth: int = 0) -> Locator:
        """Return a plotly graph in a cell's output, a FigureWidget or a shown Figure, once it is drawn."""
        plot = self.output(cell).locator(".js-plotly-plot").nth(nth)
        self.wait_for(lambda: plot.count() and plot.evaluate(DRAWN))
        return plot

    def values(self, plot: Locator, trace: int, key: str) -> Any:
        """Return what the browser has of a trace, as lists and numbers: key is "x", "z", "marker.color" …"""
        return plot.evaluate(VALUES, [trace, key])

    def hover(self, plot: Locator, trace: int, point: int | tuple[int, int]) -> None:
        """Move the mouse over a point of a trace, or over a heatmap's cell (row, column), until plotly notices."""
        wanted = list(point) if isinstance(point, tuple) else point
        plot.scroll_into_view_if_needed()

        def noticed() -> bool:
            self.page.mouse.move(*plot.evaluate(POSITION, [trace, wanted]))  # the page may still be moving
            return bool(plot.evaluate(HOVERED, [trace, wanted]))

        self.wait_for(noticed, timeout=10)

    def click(self, plot: Locator, trace: int, point: int | tuple[int, int]) -> None:
        """Click on a point as `hover` finds it, until plotly tells of it: between the two the page may move."""
        wanted = list(point) if isinstance(point, tuple) else point

        def noticed() -> bool:
            self.hover(plot, trace, point)
            plot.evaluate(LISTEN)
            self.page.mouse.down()
            self.page.mouse.up()
            self.page.wait_for_timeout(350)  # plotly would take the next click within 0.3 s for a double click
            return bool(plot.evaluate(CLICKED, [trace, wanted]))

        self.wait_for(noticed)

    def close(self) -> None:
        """Keep a picture of the window as it was left, shut the kernel down and close the window."""
        try:
            self.screenshot("last")
            self.page.evaluate(self._scripts["shut_down"])
        finally:
            self.page.context.close()


RUNNING = pytest.StashKey[dict[str, Server]]()


@pytest.fixture(scope="module", params=FRONT_ENDS)
def front_end(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """JupyterLab with the versions of this environment, then classic Notebook with those of Colab."""
    kind = request.param
    need(CHROMIUM, "no Chromium on this machine")
    need(PYTHONS[kind].exists(), "no .venv-colab: make colab-env builds it")
    # A server serves all modules; Playwright keeps an event loop, which other tests may not meet.
    servers = request.config.stash.setdefault(RUNNING, {})
    if kind not in servers:
        servers[kind] = start_server(kind, tmp_path_factory.mktemp(kind))
        request.config.add_cleanup(servers[kind].stop)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield FrontEnd(kind, servers[kind], browser)
        browser.close()
