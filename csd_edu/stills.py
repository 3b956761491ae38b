"""Still pictures in the place of figures and widgets of a notebook: `csd-edu export notebook.ipynb`.

Chromium draws them. They can be seen on pages that run no JavaScript, and take kilobytes instead of megabytes. They are
drawn when a notebook is exported and not when its cells run, as starting a browser takes seconds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import io
import itertools
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbformat import NotebookNode
from nbformat.v4 import new_output
from PIL import Image

from csd_edu.files import write_atomically
from csd_edu.optional import imported
from csd_edu.paths import given_path
from csd_edu.system import worded, words

PLOTLY = "application/vnd.plotly.v1+json"
VIEW = "application/vnd.jupyter.widget-view+json"
ROOT = Path(__file__).resolve().parents[1]
WIDTH, SCALE, LARGE = 900, 1.5, 100_000  # of a picture: in CSS pixels; pixels to each of them; bytes


def find_browser() -> str | None:
    """Return the path of Chromium or one of its kin: `BROWSER_PATH`, or one on the PATH."""
    named = os.environ.get("BROWSER_PATH")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return named if named and os.path.isfile(named) else next(filter(None, map(shutil.which, names)), None)


@worded()
def export(path: Path, out: Path, browser: str | None) -> int:
    """Write a notebook that was run as a page or as a notebook that shows its figures and widgets without scripts.

    Args:
        path: of the notebook, with its outputs.
        out: the page (.html) or the notebook (.ipynb) to write.
        browser: the path of Chromium; without it the names of figures stand for them.

    Returns:
        The number of outputs that show a picture.

    Raises:
        ValueError: if `path` is no notebook or a damaged one, `out` ends otherwise or is `path`, or the notebook has no
            outputs.
        OSError: if one can't be read, or the other not written.
    """
    path, out = given_path(path), given_path(out, what="out")
    if out.suffix not in (".html", ".ipynb"):
        raise ValueError(f"{out} can't be written; expected another name that ends with .html or .ipynb")
    content = path.read_bytes()
    try:
        notebook = nbformat.reads(content.decode(json.detect_encoding(content)), as_version=4)
        nbformat.validate(notebook)
    except Exception:  # of what is no notebook nbformat raises nearly anything
        raise ValueError(
            f"{path} is no notebook; expected a file that JupyterLab has saved, such as 02.ipynb"
        ) from None
    if out.resolve() == path.resolve():
        raise ValueError(f"{out} is the notebook itself, and can't be written; expected another name for the page")
    if not any(cell.get("outputs") for cell in notebook.cells):
        raise ValueError(f"{path} has no outputs; run all its cells and save it, then export it")
    saved = notebook.metadata.pop("widgets", {})
    try:
        states = saved.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
        widgets = {name: {"_model_name": of.get("model_name"), **of.get("state", {})} for name, of in states.items()}
        illustrate(notebook, widgets, browser)
    except BrowserError as error:  # the page is more than its pictures
        warnings.warn(f"the figures are not drawn, only named: {error}", stacklevel=3)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is damaged: a figure or a widget in it is none that plotly or ipywidgets wrote ({what}); run its "
            "cells again and save it"
        ) from error
    if out.suffix == ".html":
        from nbconvert import HTMLExporter  # comes with JupyterLab

        text, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    else:
        text = nbformat.writes(notebook)
    write_atomically(out, text.encode("utf-8", "replace"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def illustrate(notebook: NotebookNode, widgets: Mapping[str, Mapping[str, Any]], browser: str | None) -> None:
    """Put pictures in the place of figures and widgets in a notebook's outputs; without a browser, only their names.

    Args:
        notebook: is changed.
        widgets: their state, by the id of their model.
        browser: the path of Chromium.

    Raises:
        BrowserError: if the browser fails; figures are then only named.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = without_kernel(cell.outputs, widgets)
    drawings = [output for cell in code for output in cell.outputs if PLOTLY in output.get("data", {})]
    figures = [output.data.pop(PLOTLY) for output in drawings]  # several for an output
    flat = [figure for several in figures for figure in several]
    pictures = iter(draw(flat, browser)) if browser and flat else itertools.repeat(None)
    for output, several in zip(drawings, figures, strict=True):
        parts = [picture for _, picture in zip(several, pictures, strict=False) if picture is not None]
        if parts:
            output.data["image/png"] = base64.b64encode(as_png(parts)).decode()
            output.metadata["image/png"] = {"width": WIDTH}


def without_kernel(outputs: Sequence[NotebookNode], widgets: Mapping[str, Mapping[str, Any]]) -> list[NotebookNode]:
    """Return outputs that need no kernel and no JavaScript; under `PLOTLY` are lists of figures, still to be drawn."""
    found: list[NotebookNode] = []
    for output, following in itertools.zip_longest(outputs, outputs[1:]):
        data = output.get("data", {})
        if output.output_type == "stream":
            for folder in _folders():
                output.text = output.text.replace(folder, "…")
            found += [output] * bool(output.text.strip())
        elif PLOTLY in data:
            found.append(_drawing([data[PLOTLY]]))
        elif _is_twin(output):
            found += of_twin(data["text/html"])
        elif VIEW in data and following and _is_twin(following):
            continue  # the picture of a panel is made of its twin
        elif VIEW in data:
            plain = new_output("display_data", {"text/plain": data.get("text/plain", "")})
            found += of_widget(data[VIEW]["model_id"], widgets) or [plain]
        else:
            found.append(output)
    return found


def _folders() -> list[str]:
    """Return folders of this machine, which nobody else needs to read of."""
    found = [str(ROOT)]
    with contextlib.suppress(OSError):  # some machines have none for what is temporary
        found.append(tempfile.gettempdir())
    return found


def _is_twin(output: Mapping[str, Any]) -> bool:
    return 'class="csd-twin"' in output.get("data", {}).get("text/html", "")


def of_twin(page: str) -> list[NotebookNode]:
    """Return the figures of a widget's static twin, and what it says in words and numbers.

    Two outputs, because a front end shows only one form of each, and would choose the HTML rather than the picture.
    """
    script = re.search(r'getElementById\("csd-twin-\w+"\), drawings = ', page)
    body = re.search(r'<div class="csd-twin"[^>]*>(.*?)</div><script', page, re.DOTALL)
    if script is None or body is None:
        raise ValueError("a widget's twin is not built as expected; csd_edu/widgets/twin.py and stills.py must agree")
    figures, _ = json.JSONDecoder().raw_decode(page, script.end())
    words = re.sub(r'<div class="csd-figure"[^>]*></div>', "", body[1])
    words = re.sub(r"^<details>", "<details open>", words)
    return [_drawing(figures)] * bool(figures) + [_page(words)]


def of_widget(model: str, widgets: Mapping[str, Mapping[str, Any]]) -> list[NotebookNode]:
    """Return what a widget without a twin shows: figures, captured outputs, HTML, and how its controls are set."""
    state = widgets.get(model, {})
    if "children" in state:
        children = [child.removeprefix("IPY_MODEL_") for child in state["children"]]
        inside = {name: widget for name, widget in widgets.items() if name != model}  # no box holds itself
        return [output for child in children for output in of_widget(child, inside)]
    if "outputs" in state:
        return without_kernel([nbformat.from_dict(output) for output in state["outputs"]], widgets)
    if isinstance(state.get("figure"), str):
        return [_drawing([json.loads(state["figure"])])]
    if state.get("_model_name") in ("HTMLModel", "HTMLMathModel"):
        return [_page(str(state["value"]))] if state.get("value") else []
    value, labels, index = state.get("value"), state.get("_options_labels"), state.get("index")
    if labels and index is not None:
        value = labels[index]
    told = ": ".join(str(part) for part in (state.get("description"), value) if part not in (None, ""))
    return [_page(f"<p>{html.escape(told)}</p>")] if told else []


def _drawing(figures: list[Any]) -> NotebookNode:
    titles = [_title(figure.get("layout", {})).get("text") or "no title" for figure in figures]
    names = "; ".join(html.unescape(re.sub(r"<[^>]+>", "", title)) for title in titles)
    output: NotebookNode = new_output("display_data", {PLOTLY: figures, "text/plain": f"<figure: {names}>"})
    return output


def _page(content: str) -> NotebookNode:
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", content)).split())
    output: NotebookNode = new_output("display_data", {"text/html": content, "text/plain": text})
    return output


def _title(layout: Mapping[str, Any]) -> dict[str, Any]:
    """Return the title of a figure, which older notebooks have as a mere text."""
    title = layout.get("title") or {}
    return {"text": title} if isinstance(title, str) else dict(title)


class BrowserError(RuntimeError):
    """The browser, or what speaks to it, fails; says how."""


def draw(figures: Sequence[Mapping[str, Any]], browser: str) -> list[Image.Image]:
    """Return figures as pictures, all drawn by one browser without a network.

    Raises:
        BrowserError: if the browser fails, in whatever way.
    """

    async def drawn() -> list[bytes]:
        kaleido = imported("kaleido", "a picture", "pip install kaleido")
        async with kaleido.Kaleido(path=browser, mathjax=False) as page:
            given = [figure.get("layout", {}).get("height") for figure in figures]
            sizes = [height if isinstance(height, int | float) and height >= 10 else 450 for height in given]
            options = [{"format": "png", "width": WIDTH, "height": height, "scale": SCALE} for height in sizes]
            return [await page.calc_fig(at_rest(f), opts=o) for f, o in zip(figures, options, strict=True)]

    with ThreadPoolExecutor(1) as pool:  # there may be a running event loop in this thread
        try:
            pngs = pool.submit(lambda: asyncio.run(drawn())).result()
        except Exception as error:
            why = words(error) if isinstance(error, OSError) else " ".join(map(str, error.args))
            raise BrowserError(f"{browser} fails: {why or type(error).__name__}") from error
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    return [closed_up(p) if _controls(f) else p for p, f in zip(pictures, figures, strict=True)]


def at_rest(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure without buttons and sliders, which move nothing in a picture; its title says how they stand."""
    layout = {key: value for key, value in figure.get("layout", {}).items() if key not in ("sliders", "updatemenus")}
    told = [
        slider.get("currentvalue", {}).get("prefix", "") + slider["steps"][slider.get("active", 0)]["label"]
        for slider in _controls(figure)
        if slider.get("steps")
    ]
    title = _title(layout)
    if told and title.get("text"):
        layout["title"] = {**title, "text": f"{title['text']} ({', '.join(told)})"}
    return {"data": figure.get("data", []), "layout": layout}


def _controls(figure: Mapping[str, Any]) -> list[Any]:
    layout = figure.get("layout", {})
    return [*(layout.get("sliders") or []), *(layout.get("updatemenus") or [])]


def closed_up(picture: Image.Image, most: int = 45) -> Image.Image:
    """Return a picture with at most so many empty rows of pixels in a row: no gaps where controls have been."""
    pixels = np.asarray(picture)  # (H, W, 3)
    empty = (pixels == 255).all(axis=(1, 2))
    run = np.zeros(len(empty), dtype=int)  # how many rows have been empty, up to this one
    for row in range(len(empty)):
        run[row] = run[row - 1] + 1 if empty[row] else 0
    return Image.fromarray(pixels[run <= most])


def as_png(pictures: Sequence[Image.Image]) -> bytes:
    """Return pictures, one below the other, as a PNG, of few colours if that saves many bytes."""
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    page, top = Image.new("RGB", (width, height), "white"), 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height
    file = io.BytesIO()
    page.save(file, "png", optimize=True)
    if file.tell() > LARGE:
        file = io.BytesIO()
        page.quantize(256, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()
