"""What students handed in: exports of their progress and notebooks, found in a folder and read as mere data."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from csd_edu.check import EXERCISES
from csd_edu.check.progress import VERSION

LARGEST = 100 * 2**20
"""Bytes of a file that is read; a notebook with all its pictures has a few million."""

SKIPPED = ("__MACOSX", "__pycache__", "node_modules", "venv")

State = Literal["passed", "tried", "untried", "failed"]
"""What came of an exercise; "failed" means that it could not be run."""


@dataclass(frozen=True)
class Result:
    """What came of an exercise, the name of the mistake if it was tried, and a sentence about it."""

    state: State
    mistake: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Export:
    """A file of `check.export`: its path in the folder, the student's name, and what it claims of each exercise."""

    file: Path
    student: str
    claims: dict[str, Result]


@dataclass(frozen=True)
class Notebook:
    """A notebook: its path in the folder, the texts of its code cells, and the counts of when they were last run."""

    file: Path
    cells: tuple[str, ...]
    counts: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Student:
    """A student's name, and what is theirs."""

    name: str
    export: Export | None
    notebooks: tuple[Notebook, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        exports = [] if self.export is None else [self.export.file]
        return (*(notebook.file for notebook in self.notebooks), *exports)


@dataclass(frozen=True)
class Unread:
    """A file that could not be read, and why."""

    file: Path
    reason: str


def find_files(folder: Path) -> list[Path]:
    """Return the paths in `folder` of all .json and .ipynb files below it, sorted; hidden folders are left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        found += [Path(place, name).relative_to(folder) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in (".json", ".ipynb"))


def read_all(folder: Path) -> tuple[list[Export], list[Notebook], list[Unread]]:
    """Read what lies in a folder, at any depth.

    Args:
        folder: with exports (.json) and notebooks (.ipynb).

    Returns:
        The exports, the notebooks, and the files that are neither.
    """
    exports, notebooks, unread = [], [], []
    for file in find_files(folder):
        try:
            value = _read_json(folder / file)
            if file.suffix.lower() == ".json":
                exports.append(_export(file, value))
            else:
                notebooks.append(_notebook(file, value))
        except ValueError as error:
            unread.append(Unread(file, str(error)))
        except OSError as error:
            unread.append(Unread(file, error.strerror or "it cannot be opened"))
    return exports, notebooks, unread


def by_student(exports: Sequence[Export], notebooks: Sequence[Notebook]) -> list[Student]:
    """Bring together what is of one student.

    The notebooks in a folder are one student's, named like the folder; a notebook that lies in none is a student's of
    its own, named like the file. An export belongs to the notebooks beside it if it is the only one there, or else to
    the only notebooks that are named like its student. Students of the same name stay apart.

    Returns:
        The students by name, each name once: a second Ada is told from the first by a file.
    """
    theirs: dict[Path, list[Notebook]] = {}
    for notebook in notebooks:
        alone = notebook.file.parent == Path()
        theirs.setdefault(notebook.file if alone else notebook.file.parent, []).append(notebook)
    beside = Counter(export.file.parent for export in exports)
    owned = {e.file.parent: e for e in exports if e.file.parent in theirs and beside[e.file.parent] == 1}
    others = [export for export in exports if owned.get(export.file.parent) is not export]
    named = Counter(export.student.casefold() for export in others)
    on_their_own = []
    for export in others:
        name = export.student.casefold()
        namesakes = [key for key in theirs if key.parent == Path() and _name(key).casefold() == name]
        if len(namesakes) == 1 and namesakes[0] not in owned and named[name] == 1:
            owned[namesakes[0]] = export
        else:
            on_their_own.append(export)
    students = [Student(_title(key, owned.get(key)), owned.get(key), tuple(of)) for key, of in theirs.items()]
    students += [Student(export.student, export, ()) for export in on_their_own]
    shared = Counter(student.name.casefold() for student in students)
    told_apart = [
        replace(student, name=f"{student.name} [{printable(student.files[0].as_posix())}]")
        if shared[student.name.casefold()] > 1
        else student
        for student in students
    ]
    return sorted(told_apart, key=lambda student: (student.name.casefold(), student.files))


def printable(text: str, longest: int = 200) -> str:
    """Return a text on one line and without what could steer a terminal; cut where it is longer."""
    joiners = "\u200c\u200d"  # parts of names in some scripts
    kept = "".join(c if c.isprintable() or c in joiners else " " if c.isspace() else "\ufffd" for c in text)
    kept = " ".join(unicodedata.normalize("NFC", kept).split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _name(key: Path) -> str:
    return printable((key.with_suffix("") if key.suffix.lower() == ".ipynb" else key).as_posix(), 80)


def _title(key: Path, export: Export | None) -> str:
    name = _name(key)
    same = export is None or export.student.casefold() in (name.casefold(), key.name.casefold())
    return name if same or export is None else f"{name} ({export.student})"


def _read_json(path: Path) -> Any:
    if path.is_symlink() or not path.is_file():
        raise ValueError("it is a link or no ordinary file, and was not opened")
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size / 2**20:.0f} MiB; at most {LARGEST // 2**20} are read")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON, or cut off (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError):
        raise ValueError("it is JSON that is too deep, or has too large a number") from None


def _export(file: Path, value: Any) -> Export:
    if not isinstance(value, dict) or not isinstance(value.get("exercises"), dict):
        raise ValueError("it is no export; a student makes one by check.export(file, student=name)")
    if value.get("version") != VERSION:
        raise ValueError(f"it is of version {printable(repr(value.get('version')), 40)}; expected {VERSION}")
    student = value.get("student")
    if not isinstance(student, str) or not printable(student):
        raise ValueError("it has no student's name; a student writes one by check.export(file, student=name)")
    claims = {name: _claim(name, value["exercises"][name]) for name in EXERCISES if name in value["exercises"]}
    return Export(file, printable(student, 80), claims)


def _claim(name: str, entry: Any) -> Result:
    if not isinstance(entry, dict):
        raise ValueError(f"its entry of {name} is damaged")
    passed, attempts, mistakes = entry.get("passed"), entry.get("attempts"), entry.get("mistakes")
    if not isinstance(passed, bool) or not isinstance(mistakes, dict) or not _are_counts(attempts, *mistakes.values()):
        raise ValueError(f"its entry of {name} is damaged")
    if passed:
        return Result("passed")
    made = {mistake: count for mistake, count in mistakes.items() if mistake != "still to be written"}
    if not attempts or (mistakes and not made):
        return Result("untried")
    usual = sorted(made, key=lambda mistake: -made[mistake])
    names = {mistake: "no usual mistake" if mistake == "unknown" else printable(mistake, 60) for mistake in usual}
    message = "; ".join(f"{names[mistake]} ×{made[mistake]}" for mistake in usual[:3])
    if len(usual) == 1:
        message = f"×{made[usual[0]]}"
    return Result("tried", names[usual[0]] if usual else None, message)


def _are_counts(*values: object) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _notebook(file: Path, value: Any) -> Notebook:
    if not isinstance(value, dict) or not isinstance(value.get("cells"), list):
        old = isinstance(value, dict) and "worksheets" in value
        raise ValueError("it is in an old format; open it in Jupyter and save it" if old else "it is no notebook")
    cells, counts = [], []
    for cell in value["cells"]:
        source = cell.get("source") if isinstance(cell, dict) else None
        source = source if isinstance(source, list) else [source]
        if not all(isinstance(line, str) for line in source):
            raise ValueError("it is no notebook: a cell has no source")
        if cell.get("cell_type") == "code":
            cells.append("".join(source))
            count = cell.get("execution_count")
            counts.append(count if type(count) is int and 0 < count < 10**9 else None)
    return Notebook(file, tuple(cells), tuple(counts))
