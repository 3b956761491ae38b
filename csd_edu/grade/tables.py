"""The table of a class as plain text, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
import os
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from csd_edu.check.verdict import BLUE, GREEN, GREY, INK, VERMILION
from csd_edu.files import check_writable, write_atomically
from csd_edu.grade import NOT_READ, Mark, Row, Table, count
from csd_edu.grade.found import in_words
from csd_edu.grade.submissions import TABLE_HEAD, TABLE_TITLE, TOLD, Result, Unread, printable
from csd_edu.paths import given_path

SIGNS = {"passed": "✓", "tried": "✕", "untried": "–", "failed": "!"}
WORDS = {"passed": "passed", "tried": "tried", "untried": "not tried", "failed": "could not be run"}
PLAIN = str.maketrans("✓✕–×…“”", '+x-x.""')
"""Signs for what can show letters only."""

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


def shown_in(text: str, encoding: str | None) -> str:
    """Return a text with other signs, one for one as columns need it, if an encoding doesn't have these."""
    try:
        "".join(SIGNS.values()).encode(encoding or "utf-8")
    except (UnicodeError, LookupError):
        return text.translate(PLAIN)
    return text


def as_csv(table: Table, *, mistakes: bool = False) -> str:
    """Return the table as CSV, a row for each student; no cell is read as a formula by a spreadsheet.

    Args:
        table: of a class.
        mistakes: name the mistake in the cell of an answer that was tried.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*TABLE_HEAD.split(","), "of", *table.exercises, "notes"])
    for row in table.rows:
        cells = [_words(mark, mistakes) for mark in row.marks.values()]
        notes = "; ".join([*_differences(row), *row.notes, *([] if _is_empty(row) else _unread(row.unread))])
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
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{TABLE_TITLE}</title><style>{_STYLE}</style></head><body><h1>{TABLE_TITLE}</h1>"
        f"<div class='wide'><table><thead><tr><th class='name'>student</th><th>passed</th><th>from</th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div><p>{html.escape(_tried_by_nobody(table))}</p><p>{html.escape(KEY)}</p>{remarks}"
        f"<p class='grey'>{html.escape(table.isolation)}</p></body></html>\n"
    )


def check_output(path: Path) -> None:
    """Make sure that a table can be written there.

    Raises:
        ValueError: if the file does not end in .csv or .html, is a folder, or lies in none.
        PermissionError: if the folder is read-only.
    """
    path = given_path(path, what="out")
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"out is {path}; expected a file that ends in .csv or .html")
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; expected a file that ends in .csv or .html")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}; make it first, or choose another")
    except OSError as error:
        raise ValueError(f"{printable(str(path))}: {in_words(error)}") from None
    check_writable(path.parent)


def write(table: Table, path: str | os.PathLike[str], *, mistakes: bool = False) -> Path:
    """Write the table as CSV or HTML in UTF-8, by the file's ending, and return its path.

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
    text = _FORMATS[path.suffix.lower()](table, mistakes=mistakes)
    # Excel takes a file for one in the system's old encoding unless it begins with the mark of UTF-8.
    encoding = "utf-8-sig" if path.suffix.lower() == ".csv" else "utf-8"
    write_atomically(path, text.encode(encoding, "replace"))
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
    f".not{{color:{VERMILION};font-weight:600}}"
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
    why = f" class='not' title='{html.escape('; '.join(row.notes), quote=True)}'" if _is_empty(row) else ""
    passed = f"<td>{_passed(row)}</td><td{why}>{html.escape(row.source)}</td>"
    return f"<tr><th class='name' scope='row'>{html.escape(row.student)}</th>{passed}{''.join(cells)}</tr>"


def _is_empty(row: Row) -> bool:
    return row.source == NOT_READ


def _unread(unread: Iterable[Unread]) -> list[str]:
    return [f"{printable(given.file.as_posix())}: {given.reason}" for given in unread]


def _remarks(table: Table, mistakes: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield headings, each with the lines below it; none without lines."""
    marks = [(row, name, mark) for row in table.rows for name, mark in row.marks.items()]
    tried = [
        _about(row, name, mark.result, named=True)
        for row, name, mark in marks
        if mistakes and mark.result.state == "tried"
    ]
    failed = [_about(row, name, mark.result) for row, name, mark in marks if mark.result.state == "failed"]
    empty = [row for row in table.rows if _is_empty(row)]
    told = {given.file for row in empty if len(row.unread) <= TOLD for given in row.unread}
    unread = [f"{row.student}: {printable(note, 400)}" for row in empty for note in row.notes]
    unread += _unread(given for given in table.unread if given.file not in told)
    sections = {
        "Tried": tried,
        "Could not be run": failed,
        "The export says otherwise": [
            f"{row.student}: {difference}" for row in table.rows for difference in _differences(row)
        ],
        "Not read": unread,
        "Notes": [
            f"{row.student}: {printable(note, 400)}" for row in table.rows if row not in empty for note in row.notes
        ],
        "Only counted": [f"{count(given.what for given in table.counted)}."] if table.counted else [],
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
    return f"'{cell}" if cell.lstrip()[:1] in tuple("=+-@＝＋－＠") or cell[:1] in ("\t", "\r") else cell


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
