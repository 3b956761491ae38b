"""Make the notebooks from their sources: `make notebooks`.

    python -m notebooks.generate                # students' editions, notebooks/NN_name.ipynb
    python -m notebooks.generate --execute 04   # and the solved edition, notebooks/solutions/04_name.ipynb
    python -m notebooks.generate --check        # nothing is written; exit code 1 if an edition is not up to date

How a source is written stands in notebooks/sources.py. In a solved edition still pictures stand for plotly figures and
for widgets, see csd_edu/stills.py.
"""

from __future__ import annotations

import argparse
import copy
import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from csd_edu import start
from csd_edu.stills import find_browser, illustrate
from notebooks import colab, instructors
from notebooks.sources import FIRST_CELL, HERE, Cell, Source, find_sources, read_source, with_solution

UNFOLD = (
    "*Some cells are folded. To read one, click on its three dots (JupyterLab) or double-click its title (Colab); "
    "**View → Expand All Code** opens all of them in JupyterLab.*"
)
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


# --- editions ---------------------------------------------------------------------------------------------------------


def edition(source: Source, *, solved: bool, claims: bool = False) -> NotebookNode:
    """Return a source as a notebook without outputs: solved, or a student's edition; with its claims, for tests."""
    left_out = {tag for tag, kept in (("claim", claims), ("instructor", solved)) if not kept}
    kept = [cell for cell in source.cells if not left_out & set(cell.tags)]
    cells = [_as_node(cell, solved) for cell in kept]
    if any(cell.title for cell in kept):
        cells[0].source += f"\n\n{UNFOLD}"
    notebook: NotebookNode = new_notebook(cells=cells, metadata=copy.deepcopy(METADATA))
    return colab.with_address(notebook, f"{source.name}.ipynb", start.REPOSITORY)


def _as_node(cell: Cell, solved: bool) -> NotebookNode:
    if cell.kind == "code":
        text = colab.first_cell(start.REPOSITORY) if cell.text.strip() == FIRST_CELL else cell.text
        code = with_solution(text, solved=solved)
        above = [f"# @title {cell.title}"] * bool(cell.title) + [f"# {cell.time}"] * bool(cell.time)
        node: NotebookNode = new_code_cell("\n".join([*above, code]))
    else:
        node = new_markdown_cell(_as_markdown(cell, solved))
    folded = {"jupyter": {"source_hidden": True}, "cellView": "form"} if cell.title else {}  # for JupyterLab, for Colab
    tags = {"tags": list(cell.tags)} if cell.tags else {}
    node.id, node.metadata = cell.id, nbformat.from_dict({**tags, **folded})
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


# --- the command ------------------------------------------------------------------------------------------------------


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
