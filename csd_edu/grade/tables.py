"""The table of a class as plain text, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
import os
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from csd_edu.check.verdict import BLUE, GREEN, GREY, INK, VERMILION
from csd_edu.files import given_path, write_atomically
from csd_edu.grade import Mark, Row, Table
from csd_edu.grade.submissions import Result, printable

SIGNS = {"passed": "✓", "tried": "✕", "untried": "–", "failed": "!"}
WORDS = {"passed": "passed", "tried": "tried", "untried": "not tried", "failed": "could not be run"}
COLOURS = {"passed": GREEN, "tried": VERMILION, "untried": GREY, "failed": BLUE}
KEY = (
    "✓ passed, ✕ tried, – not tried, ! could not be run; in brackets: claimed by an export, not run; "
    "* the export says otherwise."
)


def as_text(table: Table, *, mistakes: bool = False) -> str:
    """Return the table for a terminal: a line for each student, and what there is to say below.

    Args:
        table: of a class.
        mistakes: also say which mistake each answer that was tried has made.
    """
    shown = _begun(table)
    heads = ["student", *(f" {n}" for n in range(1, len(shown) + 1)), "passed", "from"]
    rows = [[row.student, *(_cell(row.marks[name]) for name in shown), _passed(row), row.source] for row in table.rows]
    widths = [max(map(_width, column)) for column in zip(heads, *rows, strict=True)]
    lines = [_line(cells, widths) for cells in (heads, *rows)]
    legend = ", ".join(f"{n} {name}" for n, name in enumerate(shown, 1))
    lines += [""]
    for text in (f"Exercises: {legend}.", _tried_by_nobody(table), KEY):
        lines += textwrap.wrap(text, 100)
    for heading, about in _remarks(table, mistakes):
        lines += ["", f"{heading}:", *(f"  {line}" for line in about)]
    return "\n".join([*lines, *(["", table.isolation] if table.isolation else [])])


def as_csv(table: Table, *, mistakes: bool = False) -> str:
    """Return the table as CSV, a row for each student; no cell is read as a formula by a spreadsheet.

    Args:
        table: of a class.
        mistakes: name the mistake in the cell of an answer that was tried.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "from", "passed", "claimed", "of", *table.exercises, "notes"])
    for row in table.rows:
        cells = [_words(mark, mistakes) for mark in row.marks.values()]
        notes = "; ".join([*_differences(row), *row.notes])
        counts = [row.passed(claimed=False), row.passed(claimed=True), len(row.marks)]
        found = [row.student, row.source, *counts, *cells, notes]
        writer.writerow([_no_formula(str(cell)) for cell in found])
    return text.getvalue()


def as_html(table: Table, *, mistakes: bool = False) -> str:
    """Return the table as one page that needs nothing else.

    Args:
        table: of a class.
        mistakes: also say which mistake each answer that was tried has made.
    """
    head = "".join(
        f"<th title='{html.escape(table.exercises[name], quote=True)}'><span>{html.escape(name)}</span></th>"
        for name in _begun(table)
    )
    body = "".join(_html_row(row, _begun(table)) for row in table.rows)
    remarks = "".join(
        f"<h2>{html.escape(heading)}</h2><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in about)}</ul>"
        for heading, about in _remarks(table, mistakes)
    )
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>Exercises of a class</title>"
        f"<style>{_STYLE}</style></head><body><h1>Exercises of a class</h1>"
        f"<div class='wide'><table><thead><tr><th class='name'>student</th><th>passed</th><th>from</th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div><p>{html.escape(_tried_by_nobody(table))}</p><p>{html.escape(KEY)}</p>{remarks}"
        f"<p class='grey'>{html.escape(table.isolation)}</p></body></html>\n"
    )


def check_output(path: Path) -> None:
    """Make sure that a table can be written there.

    Raises:
        ValueError: if the file does not end in .csv or .html, is a folder, or lies in none.
    """
    path = given_path(path, what="out")
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"out is {path}; expected a file that ends in .csv or .html")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file that ends in .csv or .html")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it first, or choose another")


def write(table: Table, path: str | os.PathLike[str], *, mistakes: bool = False) -> Path:
    """Write the table as CSV (UTF-8) or HTML, by the file's ending, and return its path.

    Args:
        table: of a class.
        path: a file; an existing one is replaced.
        mistakes: also name the mistakes.

    Raises:
        ValueError: if the file does not end in .csv or .html, is a folder, or lies in none.
        OSError: if the file cannot be written.
    """
    path = given_path(path)
    check_output(path)
    write_atomically(path, _FORMATS[path.suffix.lower()](table, mistakes=mistakes).encode("utf-8"))
    return path


_FORMATS = {".csv": as_csv, ".html": as_html, ".htm": as_html}

_STYLE = (
    f"body{{font:16px/1.45 system-ui,sans-serif;color:{INK};background:white;margin:24px;max-width:1400px}}"
    "h1{font-size:24px}h2{font-size:18px;margin:20px 0 4px}ul{margin:4px 0;padding-left:22px}.wide{overflow-x:auto}"
    "table{border-collapse:collapse}th,td{padding:6px 8px;border-bottom:1px solid #e3e6ea;text-align:center}"
    "thead th{vertical-align:bottom}thead th span{writing-mode:vertical-rl;transform:rotate(180deg)}"
    ".name{text-align:left;position:sticky;left:0;background:white;min-width:7em;max-width:20em;overflow-wrap:break-word}"
    "td{white-space:nowrap}td.mark{font-size:19px;line-height:1.2}"
    f"tbody tr:hover td,tbody tr:hover th{{background:#f3f4f6}}th{{font-weight:600}}.grey{{color:{GREY}}}"
)


def _cell(mark: Mark) -> str:
    sign = SIGNS[mark.result.state]
    claimed = mark.claimed and mark.result.state != "untried"
    return (f"({sign})" if claimed else f" {sign}") + "*" * (mark.instead is not None)


def _passed(row: Row) -> str:
    claimed = row.passed(claimed=True)
    return f"{row.passed(claimed=False)}{f' + ({claimed})' * bool(claimed)} of {len(row.marks)}"


def _words(mark: Mark, mistakes: bool) -> str:
    words = ["claimed"] * (mark.claimed and mark.result.state != "untried") + [WORDS[mark.result.state]]
    named = f" ({mark.result.mistake})" if mistakes and mark.result.mistake and mark.result.state == "tried" else ""
    return " ".join(words) + named


def _begun(table: Table) -> list[str]:
    """Return the exercises that somebody has tried; all, if there are none."""
    tried = {name for row in table.rows for name, mark in row.marks.items() if mark.result.state != "untried"}
    return [name for name in table.exercises if name in tried or not tried]


def _tried_by_nobody(table: Table) -> str:
    others = [name for name in table.exercises if name not in _begun(table)]
    return f"Tried by nobody: {', '.join(others)}." if others else ""


def _html_row(row: Row, shown: Sequence[str]) -> str:
    cells = []
    for mark in (row.marks[name] for name in shown):
        title = html.escape(f"{_words(mark, True)}. {mark.result.message}".strip(), quote=True)
        colour = COLOURS[mark.result.state]
        cells.append(f"<td class='mark' style='color:{colour}' title='{title}'>{_cell(mark).strip()}</td>")
    passed = f"<td>{_passed(row)}</td><td>{html.escape(row.source)}</td>"
    return f"<tr><th class='name' scope='row'>{html.escape(row.student)}</th>{passed}{''.join(cells)}</tr>"


def _remarks(table: Table, mistakes: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield headings, each with the lines below it; none without lines."""
    marks = [(row, name, mark) for row in table.rows for name, mark in row.marks.items()]
    tried = [
        _about(row, name, mark.result, named=True)
        for row, name, mark in marks
        if mistakes and mark.result.state == "tried"
    ]
    failed = [_about(row, name, mark.result) for row, name, mark in marks if mark.result.state == "failed"]
    sections = {
        "Tried": tried,
        "Could not be run": failed,
        "The export says otherwise": [
            f"{row.student}: {difference}" for row in table.rows for difference in _differences(row)
        ],
        "Not read": [f"{printable(given.file.as_posix())}: {given.reason}" for given in table.unread],
        "Notes": [f"{row.student}: {printable(note, 400)}" for row in table.rows for note in row.notes],
    }
    yield from ((heading, lines) for heading, lines in sections.items() if lines)


def _about(row: Row, name: str, result: Result, named: bool = False) -> str:
    what = [result.mistake or "no usual mistake"] if named else []
    return ": ".join([f"{row.student}, {name}", *what, *filter(None, [result.message])])


def _differences(row: Row) -> list[str]:
    return [
        f"{name} {WORDS[mark.result.state]}, but the export says {WORDS[mark.instead.state]}"
        for name, mark in row.marks.items()
        if mark.instead is not None
    ]


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.lstrip()[:1] in tuple("=+-@") or cell[:1] in ("\t", "\r") else cell


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of the table: a student, marks in narrow columns, how many passed, and the source."""
    student, *marks, passed, source = (
        cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
    )
    return f"{student}  {' '.join(marks)}   {passed}   {source}".rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)
