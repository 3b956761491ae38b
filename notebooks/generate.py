"""Make the notebooks from their sources: `make notebooks`.

    python -m notebooks.generate                # students' editions, notebooks/NN_name.ipynb
    python -m notebooks.generate --execute 04   # and the solved edition, notebooks/solutions/04_name.ipynb
    python -m notebooks.generate --check        # nothing is written; exit code 1 if an edition is not up to date

A source is `notebooks/src/NN_name.py`, in jupytext's percent format; nothing else is edited. After the `# %%` or
`# %% [markdown]` of a cell stands what is special about it, as in `# %% tags=["exercise"] minutes=8 difficulty=2`.

budget_minutes: in the first cell; on 2 CPU cores the solved edition may not take longer.
minutes, difficulty (1 to 3): of a heading or an exercise; both editions show them, as "8 min · difficulty ●●○".
tags: what the cell is for, as a tag of the notebook's cell too.

- setup: what every section needs; a reader who starts anywhere else runs this cell first.
- setup, with nothing but `# first cell` in it: becomes notebooks/first_cell.py, which finds or installs the kit.
- exercise: code with the solution between lines `# >>> solution` and `# <<< solution`, as often as needed. Instead, a
  student finds `raise NotImplementedError("your code here")`, or another text: `# >>> solution: rank by similarity`.
- check: code that tests the student's code.
- predict: a question to be answered before the next cells are run.
- hint: text that is folded away; a heading in its first line is what remains to be seen.
- answer: text, the model answer to an open question; the student's edition has a place to write instead.
- instructor: in the solved edition only.
- break: an experiment that is meant to go wrong.
- widget: code that shows something to be touched.

In a solved edition, pictures made by Chromium stand for plotly figures and for widgets: they can be seen on pages that
run no JavaScript, and take kilobytes instead of megabytes.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import base64
import copy
import html
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from csd_edu import start
from notebooks import colab, instructors

FIRST_CELL = "# first cell"
HERE = Path(__file__).resolve().parent

TAGS = ("setup", "exercise", "check", "predict", "hint", "answer", "instructor", "break", "widget")
TEXT_ONLY, CODE_ONLY = ("hint", "answer"), ("setup", "exercise", "check", "widget")
KEYS = ("tags", "minutes", "difficulty", "budget_minutes")
LAYOUT = ("lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker")  # what jupytext notes for itself
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

PLOTLY = "application/vnd.plotly.v1+json"
VIEW = "application/vnd.jupyter.widget-view+json"
WIDTH, SCALE, LARGE = 900, 1.5, 100_000  # of a picture: in CSS pixels; pixels to each of them; bytes

# --- sources and editions ---------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A cell of a source.

    Attributes:
        id: its first tag, or "text" or "code", and its number among the cells of that kind.
        kind: "markdown" or "code".
        text: as in the source, with solutions and their markers.
        tags: some of `TAGS`.
        time: minutes and difficulty in words; may be empty.
    """

    id: str
    kind: str
    text: str
    tags: tuple[str, ...]
    time: str


class Source(NamedTuple):
    """A notebook's source: its name without ".py", its cells, its checksum, and how long it may take."""

    name: str
    cells: tuple[Cell, ...]
    crc32: str
    budget_minutes: float


def read_source(path: Path) -> Source:
    """Read and check a source.

    Raises:
        ValueError: if it is malformed; says which cell and why.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem):
        raise ValueError(f"{path.name}: a source is named like 04_csd.py, two digits and small letters")
    text = path.read_text(encoding="utf-8")
    cells: list[Cell] = []
    counts: Counter[str] = Counter()
    try:
        nodes = jupytext.reads(text, fmt="py:percent").cells
    except nbformat.ValidationError as error:
        hint = 'tags are a list of different strings, as in tags=["exercise"]'
        raise ValueError(f"{path.name}: the metadata of a cell is wrong ({error.message}); {hint}") from None
    for number, node in enumerate(nodes, 1):
        opening = node.source.strip().partition("\n")[0]
        try:
            _check(node, first=number == 1)
        except ValueError as error:
            raise ValueError(f"{path.name}, cell {number} ({opening[:50]!r}): {error}") from None
        tags = tuple(node.metadata.get("tags", ()))
        name = tags[0] if tags else {"markdown": "text", "code": "code"}[node.cell_type]
        counts[name] += 1
        cells.append(Cell(f"{name}-{counts[name]}", node.cell_type, node.source, tags, _time(node.metadata)))
    if not nodes or "budget_minutes" not in nodes[0].metadata:
        raise ValueError(f"{path.name}: the first cell has no budget_minutes; write for instance budget_minutes=2")
    return Source(path.stem, tuple(cells), f"{zlib.crc32(text.encode()):08x}", nodes[0].metadata["budget_minutes"])


def _check(node: NotebookNode, first: bool) -> None:
    """Raise ValueError if a cell is not what the module's docstring describes."""
    given = {key: value for key, value in node.metadata.items() if key not in LAYOUT}
    if unknown := sorted(given.keys() - set(KEYS)):
        raise ValueError(f"{unknown[0]}={given[unknown[0]]!r} is not known here; expected some of {', '.join(KEYS)}")
    tags = given.get("tags", [])
    if not isinstance(tags, list) or not set(tags) <= set(TAGS):
        raise ValueError(f"tags={json.dumps(tags)} is not understood; expected some of {json.dumps(TAGS)}")
    if node.cell_type not in ("markdown", "code"):
        raise ValueError(f"it is of type {node.cell_type}; expected code or [markdown]")
    for tag in set(tags) & set(CODE_ONLY if node.cell_type == "markdown" else TEXT_ONLY):
        raise ValueError(f"a cell tagged {tag!r} can't be {node.cell_type}")
    for key in ("minutes", "budget_minutes"):
        if key in given and not (isinstance(given[key], int | float) and given[key] > 0):
            raise ValueError(f"{key}={given[key]!r} is not a time; expected a positive number")
    if given.get("difficulty", 1) not in (1, 2, 3):
        raise ValueError(f"difficulty={given['difficulty']!r}; expected 1, 2 or 3")
    if "budget_minutes" in given and not first:
        raise ValueError("budget_minutes belongs to the first cell, for it is about the whole notebook")
    heading = node.cell_type == "markdown" and node.source.startswith("#")
    if not heading and "exercise" not in tags and given.keys() & {"minutes", "difficulty"}:
        raise ValueError("only headings and exercises have minutes and a difficulty")
    if node.cell_type == "code":
        _check_solution(node.source, "exercise" in tags)


def _check_solution(code: str, exercise: bool) -> None:
    editions = {"with": with_solution(code, solved=True), "without": with_solution(code, solved=False)}
    if exercise and editions["without"] == code:
        raise ValueError("an exercise without a solution; put `# >>> solution` above and `# <<< solution` below one")
    if not exercise and editions["without"] != code:
        raise ValueError('a solution in a cell without tags=["exercise"]')
    for which, text in editions.items():
        try:
            ast.parse(text if exercise else "")  # elsewhere there may be magic commands
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise ValueError(f"{which} its solution the exercise is not Python: {error.msg} in {line!r}") from None


def with_solution(code: str, *, solved: bool) -> str:
    """Return an exercise's code with the solutions, or with what a student finds instead of them.

    Raises:
        ValueError: if the markers of solutions don't come in pairs.
    """
    lines: list[str] = []
    opened: str | None = None  # the indentation of the marker of the solution that a line is in
    for line in code.split("\n"):
        marker = re.fullmatch(r"(\s*)# *(>>>|<<<) *solution *(?::(.*)| *)", line)
        if marker is None:
            if re.match(r"\s*# *(>>>|<<<)", line):
                raise ValueError(f"{line.strip()!r} is not understood; expected `# >>> solution` or `# <<< solution`")
            if opened is None or solved:
                lines.append(line)
            continue
        indent, sign, what = marker.groups()
        if (sign == "<<<") == (opened is None):
            raise ValueError("a solution is closed that was not opened" if opened is None else "a solution in another")
        if sign == "<<<" and indent != opened:
            raise ValueError("the markers of a solution have different indentations")
        if sign == ">>>" and not solved:
            text = (what or "").strip() or "your code here"
            message = repr(text) if '"' in text else json.dumps(text, ensure_ascii=False)  # as ruff would quote it
            lines.append(f"{indent}raise NotImplementedError({message})")
        opened = indent if sign == ">>>" else None
    if opened is not None:
        raise ValueError("a solution is not closed; end it with `# <<< solution`")
    return "\n".join(lines)


def _time(metadata: Mapping[str, Any]) -> str:
    """Return minutes and difficulty, where a cell has them, as a reader sees them."""
    minutes, difficulty = metadata.get("minutes"), metadata.get("difficulty")
    parts = [f"{minutes:g} min"] if minutes else []
    parts += [f"difficulty {'●' * difficulty}{'○' * (3 - difficulty)}"] if difficulty else []
    return " · ".join(parts)


def edition(source: Source, *, solved: bool) -> NotebookNode:
    """Return a source as a notebook without outputs: the solved edition, or the student's."""
    kept = [cell for cell in source.cells if solved or "instructor" not in cell.tags]
    cells = [_as_node(cell, solved) for cell in kept]
    notebook: NotebookNode = new_notebook(cells=cells, metadata=copy.deepcopy(METADATA))
    return colab.with_address(notebook, f"{source.name}.ipynb", start.REPOSITORY)


def _as_node(cell: Cell, solved: bool) -> NotebookNode:
    if cell.kind == "code":
        text = colab.first_cell(start.REPOSITORY) if cell.text.strip() == FIRST_CELL else cell.text
        code = with_solution(text, solved=solved)
        node: NotebookNode = new_code_cell(f"# {cell.time}\n{code}" if cell.time else code)
    else:
        node = new_markdown_cell(_as_markdown(cell, solved))
    node.id, node.metadata = cell.id, nbformat.from_dict({"tags": list(cell.tags)} if cell.tags else {})
    return node


def _as_markdown(cell: Cell, solved: bool) -> str:
    text = cell.text
    if cell.time:
        heading, _, rest = text.partition("\n")
        text = f"{heading}\n\n*{cell.time}*\n\n{rest.strip()}".rstrip()
    if "hint" in cell.tags:
        heading, _, rest = text.partition("\n") if text.startswith("#") else ("Hint", "", text)
        summary = html.escape(heading.lstrip("# "), quote=False)
        text = f"<details>\n<summary>{summary}</summary>\n\n{rest.strip()}\n\n</details>"
    return "*Your answer:*" if "answer" in cell.tags and not solved else text


def as_text(notebook: NotebookNode) -> str:
    """Return what the file of a notebook holds."""
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return text.rstrip("\n") + "\n"


# --- running ----------------------------------------------------------------------------------------------------------


class Failure(NamedTuple):
    """An error: the id of the cell whose run brought it about, where it was found, and its text without colours."""

    cell: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.cell}, {self.where}: {self.text}"


class Result(NamedTuple):
    """What became of a notebook.

    Attributes:
        notebook: with its outputs, as far as it ran.
        seconds: of each code cell that came to its end, by id.
        errors: none if all is well.
        widgets: the state of each widget, by the id of its model.
    """

    notebook: NotebookNode
    seconds: dict[str, float]
    errors: tuple[Failure, ...]
    widgets: dict[str, dict[str, Any]]


def run_notebook(
    notebook: Path | NotebookNode, *, timeout: float, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Result:
    """Run all cells in a fresh kernel, up to the first that raises, and look for errors that don't stop a notebook too.

    Those are exceptions that a widget shows, that an `Output` widget has caught, that kept a panel from being built, or
    that ended a thread.

    Args:
        notebook: its file, or the notebook itself, which is left as it is.
        timeout: seconds for all cells together.
        folder: where the kernel runs; default the folder of the file, else `notebooks`.
        env: environment variables of the kernel, beside those of this process.
    """
    if isinstance(notebook, Path):
        folder = folder or notebook.parent
    node = nbformat.read(notebook, as_version=4) if isinstance(notebook, Path) else copy.deepcopy(notebook)
    seconds: dict[str, float] = {}
    found: dict[tuple[str, str], Failure] = {}  # by text and place: what a widget goes on showing is one error
    current, started = "the notebook", time.perf_counter()
    deadline = started + timeout

    def start(cell: NotebookNode, **_: Any) -> None:
        nonlocal current, started
        current, started = cell.id, time.perf_counter()

    def finish(cell: NotebookNode, **_: Any) -> None:
        if cell.cell_type == "code":
            seconds[cell.id] = time.perf_counter() - started
            look(cell.outputs)

    def look(outputs: Sequence[NotebookNode]) -> None:
        for text in errors_in(outputs):
            found.setdefault((text, current), Failure(current, "in its output", text))
        for model, state in client.widget_state.items():
            for text in errors_in_widget(state):
                found.setdefault((text, model), Failure(current, f"in a widget ({state.get('_model_name')})", text))

    client = NotebookClient(
        node,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder or HERE)}},
        timeout_func=lambda _: max(1, round(deadline - time.perf_counter())),
        record_timing=False,
        coalesce_streams=True,  # of a progress bar, only how it ended
        store_widget_state=True,
        shutdown_kernel="immediate",
        on_cell_start=start,
        on_cell_executed=finish,
    )
    try:
        client.execute(env={**os.environ, **(env or {})})
    except CellExecutionError:
        pass  # it is among the cell's outputs
    except CellTimeoutError:
        found["", ""] = Failure(current, "stopped", f"TimeoutError: the notebook took more than {timeout:g} s")
    except DeadKernelError:
        found["", ""] = Failure(current, "stopped", "the kernel died")
    return Result(node, seconds, tuple(found.values()), client.widget_state)


def errors_in(outputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the errors that outputs tell of."""
    for output in outputs:
        page = output.get("data", {}).get("text/html", "")
        if output["output_type"] == "error":
            yield _plain("\n".join([f"{output['ename']}: {output['evalue']}", *output["traceback"]]))
        elif output.get("name") == "stderr" and "Traceback (most recent call last)" in output["text"]:
            yield _plain(output["text"])
        elif 'class="csd-error"' in page:
            yield _plain(page)
        elif 'class="csd-twin"' in page and (why := re.search("The interactive widget could not be shown: .*?<", page)):
            yield _plain(why[0][:-1])


def errors_in_widget(state: Mapping[str, Any]) -> Iterator[str]:
    """Yield the errors that the state of a widget tells of."""
    yield from errors_in(state.get("outputs", []))
    yield from (_plain(value) for value in state.values() if isinstance(value, str) and 'class="csd-error"' in value)


def _plain(text: str) -> str:
    """Return a text of a terminal without colours, or a piece of HTML without tags."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return html.unescape(re.sub(r"<[^>]+>", " ", text)) if 'class="csd-error"' in text else html.unescape(text)


# --- pictures ---------------------------------------------------------------------------------------------------------


def find_browser() -> str | None:
    """Return the path of Chromium or one of its kin: `BROWSER_PATH`, or one on the PATH."""
    named = os.environ.get("BROWSER_PATH")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return named if named and Path(named).exists() else next(filter(None, map(shutil.which, names)), None)


def illustrate(notebook: NotebookNode, widgets: Mapping[str, Mapping[str, Any]], browser: str | None) -> None:
    """Put pictures in the place of figures and widgets in a notebook's outputs; without a browser, only their names.

    Args:
        notebook: is changed.
        widgets: their state, by the id of their model.
        browser: the path of Chromium.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = stills(cell.outputs, widgets)
    drawings = [output for cell in code for output in cell.outputs if PLOTLY in output.get("data", {})]
    figures = [output.data.pop(PLOTLY) for output in drawings]  # several for an output
    flat = [figure for several in figures for figure in several]
    pictures = iter(draw(flat, browser)) if browser and flat else itertools.repeat(None)
    for output, several in zip(drawings, figures, strict=True):
        parts = [picture for _, picture in zip(several, pictures, strict=False) if picture is not None]
        if parts:
            output.data["image/png"] = base64.b64encode(as_png(parts)).decode()
            output.metadata["image/png"] = {"width": WIDTH}


def stills(outputs: Sequence[NotebookNode], widgets: Mapping[str, Mapping[str, Any]]) -> list[NotebookNode]:
    """Return outputs that need no kernel and no JavaScript; under `PLOTLY` are lists of figures, still to be drawn."""
    found: list[NotebookNode] = []
    for output, following in itertools.zip_longest(outputs, outputs[1:]):
        data = output.get("data", {})
        if output.output_type == "stream":
            for folder in (str(HERE.parent), tempfile.gettempdir()):  # those of this machine
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


def _is_twin(output: Mapping[str, Any]) -> bool:
    return 'class="csd-twin"' in output.get("data", {}).get("text/html", "")


def of_twin(page: str) -> list[NotebookNode]:
    """Return the figures of a widget's static twin, and what it says in words and numbers.

    Two outputs, because a front end shows only one form of each, and would choose the HTML rather than the picture.
    """
    script = re.search(r'getElementById\("csd-twin-\w+"\), drawings = ', page)
    body = re.search(r'<div class="csd-twin"[^>]*>(.*?)</div><script', page, re.DOTALL)
    if script is None or body is None:
        raise ValueError("a widget's twin is not built as expected; csd_edu/widgets/twin.py and generate.py must agree")
    figures, _ = json.JSONDecoder().raw_decode(page, script.end())
    words = re.sub(r'<div class="csd-figure"[^>]*></div>', "", body[1])
    words = re.sub(r"^<details>", "<details open>", words)
    return [_drawing(figures)] * bool(figures) + [_page(words)]


def of_widget(model: str, widgets: Mapping[str, Mapping[str, Any]]) -> list[NotebookNode]:
    """Return what a widget without a twin shows: figures, captured outputs, HTML, and how its controls are set."""
    state = widgets.get(model, {})
    if "children" in state:
        children = (child.removeprefix("IPY_MODEL_") for child in state["children"])
        return [output for child in children for output in of_widget(child, widgets)]
    if "outputs" in state:
        return stills([nbformat.from_dict(output) for output in state["outputs"]], widgets)
    if isinstance(state.get("figure"), str):
        return [_drawing([json.loads(state["figure"])])]
    if state.get("_model_name") in ("HTMLModel", "HTMLMathModel"):
        return [_page(state["value"])] if state["value"] else []
    value, labels, index = state.get("value"), state.get("_options_labels"), state.get("index")
    if labels and index is not None:
        value = labels[index]
    told = ": ".join(str(part) for part in (state.get("description"), value) if part not in (None, ""))
    return [_page(f"<p>{html.escape(told)}</p>")] if told else []


def _drawing(figures: list[Any]) -> NotebookNode:
    titles = [(figure.get("layout", {}).get("title") or {}).get("text") or "no title" for figure in figures]
    names = "; ".join(html.unescape(re.sub(r"<[^>]+>", "", title)) for title in titles)
    output: NotebookNode = new_output("display_data", {PLOTLY: figures, "text/plain": f"<figure: {names}>"})
    return output


def _page(content: str) -> NotebookNode:
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", content)).split())
    output: NotebookNode = new_output("display_data", {"text/html": content, "text/plain": text})
    return output


def draw(figures: Sequence[Mapping[str, Any]], browser: str) -> list[Image.Image]:
    """Return figures as pictures, all drawn by one browser without a network."""
    import kaleido

    async def drawn() -> list[bytes]:
        async with kaleido.Kaleido(path=browser, mathjax=False) as page:
            sizes = [figure.get("layout", {}).get("height") or 450 for figure in figures]
            options = [{"format": "png", "width": WIDTH, "height": height, "scale": SCALE} for height in sizes]
            return [await page.calc_fig(at_rest(f), opts=o) for f, o in zip(figures, options, strict=True)]

    with ThreadPoolExecutor(1) as pool:  # there may be a running event loop in this thread
        pngs = pool.submit(asyncio.run, drawn()).result()
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
    title = layout.get("title") or {}
    if told and title.get("text"):
        layout["title"] = {**title, "text": f"{title['text']} ({', '.join(told)})"}
    return {"data": figure["data"], "layout": layout}


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


# --- the command ------------------------------------------------------------------------------------------------------


def find_sources(folder: Path, numbers: Sequence[str] = ()) -> list[Path]:
    """Return the sources in `folder/src`, all or those of some numbers.

    Raises:
        ValueError: if there is no source of such a number.
    """
    paths = {path.stem: path for path in sorted((folder / "src").glob("*.py"))}
    for number in numbers:
        if not any(name.startswith(f"{number}_") for name in paths):
            there = ", ".join(name[:2] for name in paths) or "none"
            raise ValueError(f"there is no source {number!r} in {folder / 'src'}; expected two digits of: {there}")
    return [path for name, path in paths.items() if not numbers or name.partition("_")[0] in numbers]


def stale_student_editions(sources: Sequence[Source], folder: Path) -> list[str]:
    """Return a sentence for each student's edition that is not what its source makes."""
    told = []
    for source in sources:
        path = folder / f"{source.name}.ipynb"
        if not path.exists():
            told.append(f"{path.name} is missing: run `make notebooks`")
        elif path.read_text(encoding="utf-8") != as_text(edition(source, solved=False)):
            told.append(f"{path.name} differs from src/{source.name}.py: edit only that, and run `make notebooks`")
    return told


def stale_solved_editions(sources: Sequence[Source], folder: Path) -> list[str]:
    """Return a sentence for each solved edition that was not made from its source as it is now."""
    told = []
    for source in sources:
        path = folder / "solutions" / f"{source.name}.ipynb"
        if not path.exists():
            told.append(f"solutions/{path.name} is missing: run `make notebooks`")
        elif nbformat.read(path, as_version=4).metadata.get("csd_edu", {}).get("source_crc32") != source.crc32:
            told.append(f"solutions/{path.name} was made from another src/{source.name}.py: run `make notebooks`")
    return told


def stale_guide(sources: Sequence[Source], folder: Path) -> list[str]:
    """Return a sentence if INSTRUCTORS.md is there and does not say what all sources and solved editions make."""
    path = folder / instructors.FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if not text or text == instructors.with_made_part(text, sources, folder):
        return []
    return [f"{path.name} has other minutes or answers than the notebooks: run `make notebooks`"]


def orphans(sources: Sequence[Source], folder: Path) -> list[str]:
    """Return a sentence for each notebook that all sources leave unmade."""
    names = {source.name for source in sources}
    found = [*sorted(folder.glob("*.ipynb")), *sorted((folder / "solutions").glob("*.ipynb"))]
    return [f"{path.relative_to(folder)} has no source: delete it" for path in found if path.stem not in names]


def solve(source: Source, folder: Path, browser: str | None) -> Result:
    """Run the solved edition of a source and, unless there are errors, write it with its pictures below `folder`."""
    with tempfile.TemporaryDirectory() as empty:  # what a notebook leaves behind must not serve the next time
        notebook = edition(source, solved=True)
        result = run_notebook(notebook, timeout=4 * 60 * source.budget_minutes, folder=Path(empty))
    if not result.errors:
        notebook = result.notebook
        seconds = round(sum(result.seconds.values()), 1)
        about = {"source_crc32": source.crc32, "seconds": seconds}
        notebook.metadata = nbformat.from_dict({**METADATA, "csd_edu": about})  # and no state of widgets
        illustrate(notebook, result.widgets, browser)
        _write(folder / "solutions" / f"{source.name}.ipynb", as_text(notebook))
    return result


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def main(arguments: Sequence[str] | None = None, folder: Path = HERE) -> int:
    """Run the command; `folder` holds `src`, and gets the notebooks."""
    parser = argparse.ArgumentParser(prog="generate.py", description="Make the notebooks from notebooks/src.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="notebooks by their two digits; default all")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="write nothing; say which editions are not up to date")
    mode.add_argument("--execute", action="store_true", help="run the solved editions as well")
    options = parser.parse_args(arguments)
    try:
        paths = find_sources(folder, options.numbers)
    except ValueError as error:
        parser.error(str(error))
    try:
        known = [read_source(path) for path in find_sources(folder)]
    except ValueError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1

    sources = [source for source in known if source.name in {path.stem for path in paths}]
    if options.check:
        stale = stale_student_editions(sources, folder) + stale_solved_editions(sources, folder)
        stale += orphans(known, folder) + stale_guide(known, folder)
        print("\n".join(stale) or f"{len(sources)} notebooks are up to date")
        return 1 if stale else 0

    for source in sources:
        _write(folder / f"{source.name}.ipynb", as_text(edition(source, solved=False)))
        print(f"{source.name}.ipynb")
    failed = options.execute and not _execute(sources, folder)
    guide = folder / instructors.FILE
    if guide.exists():
        _write(guide, instructors.with_made_part(guide.read_text(encoding="utf-8"), known, folder))
        print(guide.name)
    return 1 if failed else 0


def _execute(sources: Sequence[Source], folder: Path) -> bool:
    """Make the solved editions, say how it went, and return whether all is well."""
    browser = find_browser()
    if browser is None:
        print("Chromium was not found, so the solved editions have no pictures; set BROWSER_PATH", file=sys.stderr)
    failed = False
    for source in sources:
        result = solve(source, folder, browser)
        failed |= bool(result.errors)
        if result.errors:
            print(f"solutions/{source.name}.ipynb was not written:", *result.errors, sep="\n  ", file=sys.stderr)
            continue
        size = (folder / "solutions" / f"{source.name}.ipynb").stat().st_size / 1e6
        seconds, budget = sum(result.seconds.values()), 60 * source.budget_minutes
        print(f"solutions/{source.name}.ipynb: {seconds:.0f} s of {budget:.0f} s, {size:.2f} MB")
    return not failed


if __name__ == "__main__":
    sys.exit(main())
