"""How fast the widgets answer, on maps of 5 × 1,000 points, in JupyterLab in headless Chromium.

    python benchmarks/widgets.py [runs/demo]

Prints, for each control, the milliseconds that its callback takes in the kernel, and those from the key press to the
first frame of the browser in which what is drawn has changed. Needs Chromium.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import browser

SETUP = """
import time, csd_edu as csd
from csd_edu import comparison, widgets
comparison.POINTS = 1000
runs = [csd.Run.load({folder!r} + "/" + name) for name in ("finetune", "csd")]
shared = comparison.Comparison.of(*runs)
one = widgets.DriftExplorer(runs[1], maps=("pca",))
two = widgets.DriftExplorer(shared, maps=("pca",))
search = widgets.RetrievalExplorer(shared)
"""
KERNEL = """
import json, statistics
def milliseconds(control, values):
    times = []
    for value in values:
        begun = time.perf_counter(); control.value = value; times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)
print(json.dumps({
    "drift, one run: task": milliseconds(one.after, [0, 1, 2, 3, 4] * 2),
    "drift, two runs: task": milliseconds(two.after, [0, 1, 2, 3, 4] * 2),
    "drift, two runs: colour": milliseconds(two.color, ["class", "found", "task"] * 3),
    "search, two runs: query": milliseconds(search.place, range(1, 11)),
}))
"""
WAIT = """(output, nth) => new Promise(done => {
    const plot = () => output.querySelectorAll(".js-plotly-plot")[nth];
    const before = plot().data, begun = performance.now();
    const look = () => plot()?.data !== before ? done(performance.now() - begun) : requestAnimationFrame(look);
    window.csdAnswer = new Promise(answer => { const was = done; done = ms => { was(ms); answer(ms); }; });
    requestAnimationFrame(look);
})"""


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        server = browser.start_server("lab", Path(temporary))
        try:
            chromium = playwright.chromium.launch(executable_path=browser.CHROMIUM, args=browser.ARGUMENTS)
            front_end = browser.FrontEnd("lab", server, chromium)
            cells = [SETUP.format(folder=str(folder.resolve())), KERNEL, "one", "two", "search"]
            with front_end.open("speed", cells, height=1400) as notebook:
                notebook.run_all(timeout=300)
                in_kernel = json.loads(notebook.output(1).inner_text())
                in_browser = {
                    "drift, one run: task": answer(notebook, 2, "after learning task", "ArrowLeft", 4),
                    "drift, two runs: task": answer(notebook, 3, "after learning task", "ArrowLeft", 4),
                    "search, two runs: query": answer(notebook, 4, "query", "ArrowRight", 8),
                }
        finally:
            server.stop()
    print("what                      kernel, ms    key press to drawn, ms (median; slowest)")
    for what, kernel in in_kernel.items():
        times = in_browser.get(what)
        print(f"{what:26}{kernel:10.0f}    {f'{statistics.median(times):.0f}; {max(times):.0f}' if times else '–'}")


def answer(notebook: browser.Notebook, cell: int, slider: str, key: str, n: int) -> list[float]:
    """Return the milliseconds from each of n key presses on a slider to the drawing of the cell's first figure."""
    notebook.plot(cell)
    output = notebook.output(cell)
    handle = output.locator(".widget-slider").filter(has_text=slider).first.locator(".noUi-handle")
    times = []
    for _ in range(n):
        handle.focus()
        output.evaluate(f"(output, nth) => {{ ({WAIT})(output, nth); }}", 0)
        notebook.page.keyboard.press(key)
        times.append(notebook.page.evaluate("() => window.csdAnswer"))
        notebook.page.wait_for_timeout(1000)
    return times


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
