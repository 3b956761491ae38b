"""The part of INSTRUCTORS.md that is made from the notebooks: their minutes, and the model answers.

`make notebooks` writes it below the line `BEGINS`; what stands above is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat

from notebooks.sources import Cell, Source

FILE = "INSTRUCTORS.md"
BEGINS = "<!-- made by `make notebooks`: from here on nothing is edited by hand -->"


class Section(NamedTuple):
    """A section of a notebook: its number, its title, and the minutes a class is given for it."""

    number: int
    title: str
    minutes: float


def title(source: Source) -> str:
    """Return what a notebook's first heading says."""
    return source.cells[0].text.partition("\n")[0].lstrip("# ")


def sections(source: Source) -> list[Section]:
    """Return the numbered sections of a notebook."""
    headings = [(re.match(r"## (\d+)\. (.+)", cell.text), cell) for cell in source.cells if cell.kind == "markdown"]
    return [Section(int(found[1]), found[2], _minutes(cell)) for found, cell in headings if found]


def exercises(source: Source) -> list[tuple[str, str]]:
    """Return for each exercise of a notebook the function or class to be written, minutes and difficulty in words."""
    cells = [cell for cell in source.cells if "exercise" in cell.tags]
    names = [re.search(r"^(?:def|class) (\w+)", cell.text, re.MULTILINE) for cell in cells]
    return [(name[1], cell.time) for name, cell in zip(names, cells, strict=True) if name]


def discussions(source: Source) -> list[tuple[str, str]]:
    """Return the open questions of a notebook, each with its model answer.

    The question is the end of the text before the answer, from its last heading or the last paragraph with a bold
    beginning.
    """
    found = []
    for before, cell in zip(source.cells, source.cells[1:], strict=False):
        if "answer" in cell.tags:
            paragraphs = before.text.split("\n\n")
            first = max((k for k, p in enumerate(paragraphs) if p.startswith(("#", "**"))), default=0)
            question = [p for p in paragraphs[first:] if not p.startswith("#")]
            found.append(("\n\n".join(question), cell.text.removeprefix("**A model answer.**").strip()))
    return found


def notes(source: Source) -> list[str]:
    """Return what a notebook says to instructors only."""
    texts = (cell.text for cell in source.cells if "instructor" in cell.tags)
    return [text.removeprefix("**For the instructor.**").strip() for text in texts]


def made(sources: Sequence[Source], folder: Path) -> str:
    """Return the part that is made, of sources whose solved editions are in `folder/solutions`."""
    return "\n\n".join([BEGINS, timetable(sources, folder), *(_about(source) for source in sources)]) + "\n"


def timetable(sources: Sequence[Source], folder: Path) -> str:
    """Return a table of the notebooks: minutes for a class, seconds of computing as measured, and their limit."""
    rows = ["| notebook | sections | minutes | of which exercises | computing | limit |", "| --- |" + " ---: |" * 5]
    for source in sources:
        counted, given = sections(source), [_minutes(cell) for cell in source.cells if "exercise" in cell.tags]
        rows.append(
            f"| [{source.name[:2]} {title(source)}]({source.name}.ipynb) | {len(counted)} "
            f"| {sum(section.minutes for section in counted):g} | {len(given)}: {sum(given):g} "
            f"| {_seconds(source, folder)} | {60 * source.budget_minutes:g} s |"
        )
    return "## Minutes of each notebook\n\n" + "\n".join(rows)


def with_made_part(text: str, sources: Sequence[Source], folder: Path) -> str:
    """Return the text of INSTRUCTORS.md with its made part as it should be.

    Raises:
        ValueError: if the line is missing below which it begins.
    """
    by_hand, line, _ = text.partition(BEGINS)
    if not line:
        raise ValueError(f"{FILE} has no line {BEGINS!r}; write it where the made part should begin")
    return by_hand + made(sources, folder)


def _about(source: Source) -> str:
    parts = [f"## {source.name[:2]} {title(source)}"]
    written = [f"`{name}` ({time})" for name, time in exercises(source)]
    parts.append(
        f"Exercises: {', '.join(written)}; written out in [the solved edition](solutions/{source.name}.ipynb)."
        if written
        else f"See [the solved edition](solutions/{source.name}.ipynb)."
    )
    parts += notes(source)
    for question, answer in discussions(source):
        parts += [f"**Question.** {re.sub(r'^[*][*].+?[*][*]', '', question).strip()}", "**Model answer.**", answer]
    return "\n\n".join(parts)


def _minutes(cell: Cell) -> float:
    found = re.match(r"([\d.]+) min", cell.time)
    return float(found[1]) if found else 0.0


def _seconds(source: Source, folder: Path) -> str:
    path = folder / "solutions" / f"{source.name}.ipynb"
    if not path.exists():
        return "–"
    return f"{nbformat.read(path, as_version=4).metadata['csd_edu']['seconds']:.0f} s"
