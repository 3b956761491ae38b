"""What students handed in: exports of their progress and notebooks, known by their content, and read as mere data."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import re
import tokenize
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from csd_edu.check import EXERCISES, progress
from csd_edu.check.progress import VERSION
from csd_edu.grade.found import EMPTY, Found, Owner, find

DOCUMENTS = (
    *(".html", ".htm", ".mhtml", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".pages", ".pptx", ".tex"),
    *(".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".url", ".webloc", ".lnk", ".gdoc"),
)
"""Endings of what a student may take for the work itself, but which can't be read."""

OTHERS = (".py", ".csv", ".md", ".png", ".jpg", ".jpeg", ".heic", *DOCUMENTS)
"""Endings of what is no notebook, even if an earlier one says so."""

DROPPED = (".ipynb", ".json", ".txt", ".zip", *OTHERS)
"""Endings that are no part of a student's name."""

BARE = "without an ending"

ASK = "ask for the notebook itself (.ipynb; File > Download)"

TOLD = 3
"""Files of a student of which a row says why they can't be read; all are below the table."""

CELL = r"(?m)^(?=# ?%%|# In ?\[)"
"""Where a cell begins in a script."""

TABLE_TITLE, TABLE_HEAD = "Exercises of a class", "student,from,passed,claimed"
"""What a table of this command begins with, as .html and as .csv."""

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
    owner: Owner | None = None  # by the folder that it lies in


@dataclass(frozen=True)
class Notebook:
    """A notebook: its path in the folder, the texts of its code cells, and the counts of when they were last run."""

    file: Path
    cells: tuple[str, ...]
    counts: tuple[int | None, ...] = ()
    owner: Owner | None = None  # by the folder that it lies in


@dataclass(frozen=True)
class Unread:
    """A file or folder that could not be read, and why."""

    file: Path
    reason: str
    owner: Owner | None = None  # by the folder that it lies in


@dataclass(frozen=True)
class Counted:
    """A file that was left out or, if it is an archive, opened; what is said of it is how many there are of `what`."""

    file: Path
    what: str
    owner: Owner | None = None  # nobody: no student gets a row for it


Given = Export | Notebook | Unread | Counted
_One = TypeVar("_One", Export, Notebook, Unread, Counted)
_Some = TypeVar("_Some", bound=Given)


class HandedIn(NamedTuple):
    """All that lies in a folder: each file is in one of these lists."""

    exports: list[Export]
    notebooks: list[Notebook]
    unread: list[Unread]
    counted: list[Counted]


@dataclass(frozen=True)
class Student:
    """A student's name, and what is theirs: what was read, and what could not be.

    Attributes:
        name: which no other has.
        export, notebooks: what was read.
        unread: files that were not.
        besides: files that are only counted, if nothing was read.
    """

    name: str
    export: Export | None
    notebooks: tuple[Notebook, ...]
    unread: tuple[Unread, ...] = ()
    besides: tuple[Counted, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What was read; what was not, if that is all."""
        read = (*(notebook.file for notebook in self.notebooks), *([self.export.file] if self.export else []))
        return read or (*(given.file for given in self.unread), *(given.file for given in self.besides))


def read_all(folder: Path) -> HandedIn:
    """Read what lies in a folder or an archive, at any depth.

    Exports and notebooks are known by their content, whatever they are called; so are scripts (.py) that were made from
    a notebook. A script that says nothing of that is a notebook only if nothing else of the student's is; a module of a
    package, such as this one, never. What lies loose in a folder of several students is of who is named like it.

    Args:
        folder: with exports, notebooks, and all else that students hand in.

    Raises:
        ValueError: if it is an archive that cannot be opened.
        OSError: if the folder cannot be opened.
    """
    read: list[Given] = []
    scripts: list[Notebook] = []
    empty: list[Unread] = []
    for found in find(folder):
        if found.kind == "empty":
            empty.append(Unread(found.file, found.about, found.owner))
            continue
        one = _read(found)
        if isinstance(one, Notebook) and ending(found.file) == ".py":
            scripts.append(one)
        else:
            read.append(one)
    read = _by_name(read, read)
    read += _settled_scripts(_by_name(scripts, read), read)
    work, names = _Work(map(whose, _work(read))), _names(read)
    for k, one in enumerate(read):
        if isinstance(one, Counted) and one.what in DOCUMENTS and not _is_copy(one, names):
            read[k] = Unread(one.file, _as_document(one.what), one.owner)
        if isinstance(one, Unread) and one.file.name == progress.FILE and work.around(whose(one)):
            read[k] = Counted(one.file, ".json", one.owner)
    read += [folder for folder in empty if not work.around(whose(folder))]
    read = _by_name(read, read)  # once more: a script may be work, and a document is not read
    return HandedIn(_only(Export, read), _only(Notebook, read), _only(Unread, read), _only(Counted, read))


def _settled_scripts(scripts: Sequence[Notebook], read: Sequence[Given]) -> list[Notebook | Counted]:
    """Return which scripts are notebooks, and which are merely counted, given what else was read."""
    work, names = _Work(map(whose, _work(read))), _names(read)
    packages = {script.file.parent for script in scripts if script.file.name == "__init__.py"}
    settled: list[Notebook | Counted] = []
    for script in scripts:
        is_module = script.file.parent in packages or _is_copy(script, names)
        helps = work.around(whose(script)) is not None and not _is_notebooks("\n".join(script.cells))
        settled.append(Counted(script.file, ".py", script.owner) if is_module or helps else script)
    return settled


def _by_name(given: Sequence[_Some], read: Sequence[Given]) -> list[_Some]:
    """Return what was read; what lies loose in a folder of several students is of who is named like the file.

    Such a folder has two exports, or two places of work in it; work of its own makes it one student's, unless all that
    was handed in lies in it. A single place of work is enough if all lies in it, or for what may be work, unread.
    """
    twins = Counter(whose(one) for one in read if isinstance(one, Export))
    owners = {
        one.file: _named(one) if isinstance(one, Export) and twins[whose(one)] > 1 else whose(one) for one in read
    }
    work = _Work(owners[one.file] for one in _work(read))
    lines = [set(whose(one).line()) for one in read if not _is_nobodys(one)]
    of_all = set.intersection(*lines) if lines else set()

    def is_loose(one: Given) -> bool:
        place = whose(one)
        if work.within(place):
            return len(work.below(place)) > 1 and place in of_all
        may_be_work = isinstance(one, Unread) and one.file.name != progress.FILE
        return len(work.below(place)) >= (1 if may_be_work or place in of_all else 2)

    return [replace(one, owner=_named(one)) if is_loose(one) and not _is_nobodys(one) else one for one in given]


def _work(given: Iterable[Given]) -> list[Given]:
    return [one for one in given if isinstance(one, Export | Notebook)]


def _names(given: Iterable[Given]) -> set[tuple[Owner, str]]:
    """Return what notebooks are called, and whose they are."""
    return {(whose(one), _stem(one.file.name)) for one in given if isinstance(one, Notebook)}


def _is_copy(one: Given, names: Collection[tuple[Owner, str]]) -> bool:
    """Return whether there is a notebook of the same name, in the same folder or in one above."""
    return any((owner, _stem(one.file.name)) in names for owner in whose(one).line())


def _only(kind: type[_One], given: Sequence[Given]) -> list[_One]:
    return sorted((one for one in given if isinstance(one, kind)), key=lambda one: one.file)


def whose(given: Given) -> Owner:
    """Return whose a file is by its place: a folder's, or, if it lies in none, that of a student named like it."""
    owner = Owner(given.file.parent.parts) if given.owner is None else given.owner
    return owner if owner.parts else owner.below(_stem(given.file.name))


def _named(given: Given) -> Owner:
    """Return whose a file is by its name, in its folder."""
    place, named = whose(given), whose(given).below(_stem(given.file.name))
    return place if place.parts[-1] == named.parts[-1] else named


def _is_nobodys(given: Given) -> bool:
    return isinstance(given, Counted) and given.owner is None


def by_student(
    exports: Sequence[Export], notebooks: Sequence[Notebook], rest: Sequence[Unread | Counted] = ()
) -> list[Student]:
    """Bring together what is of one student.

    The notebooks in a folder are one student's, named like the folder; a notebook that lies in none is a student's of
    its own, named like the file. An export belongs to the notebooks beside it if it is the only one there, or else to
    the only notebooks that are named like its student. Students of the same name stay apart. Who has handed in nothing
    that could be read is a student as well, named by the same rules.

    Args:
        exports: that were read.
        notebooks: that were read.
        rest: what could not be read, or is only counted.

    Returns:
        The students by name, each name once: a second Ada is told from the first by a file.
    """
    theirs: dict[Owner, list[Notebook]] = {}
    for notebook in notebooks:
        theirs.setdefault(whose(notebook), []).append(notebook)
    places = [Owner(e.file.parent.parts) if e.owner is None else e.owner for e in exports]
    beside = Counter(places)
    owned = {place: e for place, e in zip(places, exports, strict=True) if place in theirs and beside[place] == 1}
    others = [export for place, export in zip(places, exports, strict=True) if owned.get(place) is not export]
    named = Counter(_folded(export.student) for export in others)
    on_their_own = []
    for export in others:
        name = _folded(export.student)
        namesakes = [key for key in theirs if len(key.parts) == 1 and _folded(_name(key)) == name]
        if len(namesakes) == 1 and namesakes[0] not in owned and named[name] == 1:
            owned[namesakes[0]] = export
        else:
            on_their_own.append(export)
    work = _Work([*theirs, *(whose(export) for export in on_their_own)])
    known = {_folded(export.student) for export in on_their_own}
    more: dict[Owner, list[Unread | Counted]] = {}
    for given in sorted(rest, key=lambda given: len(whose(given).parts)):
        if _is_nobodys(given):
            continue
        place = whose(given)
        first = work.around(place) or next((owner for owner in place.line() if owner in more), place)
        if first in work or _folded(_name(place)) not in known:
            more.setdefault(first, []).append(given)
    students = [
        _student(_title(key, owned.get(key)), owned.get(key), of, more.get(key, ())) for key, of in theirs.items()
    ]
    students += [_student(export.student, export, (), more.get(whose(export), ())) for export in on_their_own]
    students += [_student(_name(key), None, (), of) for key, of in more.items() if key not in work]
    return _told_apart(students)


def _student(
    name: str, export: Export | None, notebooks: Sequence[Notebook], rest: Sequence[Unread | Counted]
) -> Student:
    unread = tuple(given for given in rest if isinstance(given, Unread))
    besides = tuple(given for given in rest if isinstance(given, Counted))
    return Student(name, export, tuple(notebooks), unread, () if export or notebooks else besides)


def _told_apart(students: Sequence[Student]) -> list[Student]:
    """Return the students by name; where a name is shared, each says of which file it is, and if need be, a number."""
    shared = Counter(_folded(student.name) for student in students)
    told_apart: dict[str, Student] = {}
    for student in sorted(students, key=lambda student: (_folded(student.name), student.files)):
        name, n = student.name, 1
        if shared[_folded(name)] > 1:
            name = f"{name} [{printable(student.files[0].as_posix())}]"
        while (numbered := f"{name} ({n})" if n > 1 else name) in told_apart:
            n += 1
        told_apart[numbered] = replace(student, name=numbered)
    return list(told_apart.values())


def why_not_read(student: Student) -> list[str]:
    """Return why nothing of a student's could be read; nothing if something was."""
    if student.export or student.notebooks:
        return []
    documents = [given for given in student.unread if given.reason == _as_document(ending(given.file))]
    endings = {ending(given.file) for given in documents} | {given.what for given in student.besides}
    reasons = [given for given in student.unread if given not in documents]
    files = [printable(given.file.as_posix()) for given in reasons[:TOLD]]
    told = [f"{file}: " * (file != student.name) + one.reason for file, one in zip(files, reasons, strict=False)]
    told += [f"{len(reasons) - TOLD} more that can't be read"] * (len(reasons) > TOLD)
    return [*told, *([_as_document(*sorted(endings))] if endings else [])]


class _Work:
    """The places from which something was read."""

    def __init__(self, owners: Iterable[Owner]) -> None:
        self._owners = set(owners)
        self._below: dict[Owner, set[Owner]] = {}
        for owner in self._owners:
            for above in owner.line()[:-1]:
                self._below.setdefault(above, set()).add(owner)

    def __contains__(self, owner: object) -> bool:
        return owner in self._owners

    def below(self, owner: Owner) -> Collection[Owner]:
        """Return the places that a place has in it."""
        return self._below.get(owner, ())

    def within(self, owner: Owner) -> Owner | None:
        """Return the place that a place is or lies in."""
        return next((above for above in reversed(owner.line()) if above in self._owners), None)

    def around(self, owner: Owner) -> Owner | None:
        """Return the place that a place is or lies in, or the only one that it has in it."""
        below = self.below(owner)
        return self.within(owner) or (next(iter(below)) if len(below) == 1 else None)


def _read(found: Found) -> Given:
    """Return what a file is, by its content if that says it, or else by its ending."""
    if found.kind in ("aside", "archive"):
        return Counted(found.file, found.about if found.kind == "aside" else f"opened as archives{found.about}")
    try:
        head = found.head()
        if head.lstrip(_BLANK)[:1] == b"{" or _is_named(found.file):
            known = _known(found)
            if known is not None:
                return known
        if ending(found.file) == ".py":
            return Notebook(found.file, _cells(found.content()), owner=found.owner)
    except ValueError as error:
        return Unread(found.file, str(error), found.owner)
    if f"<title>{TABLE_TITLE}</title>".encode() in head or head.removeprefix(codecs.BOM_UTF8).startswith(
        TABLE_HEAD.encode()
    ):
        return Counted(found.file, "tables of this command")
    return Counted(found.file, ending(found.file), found.owner)


def _known(found: Found) -> Export | Notebook | None:
    """Return the export or notebook that a file of JSON holds; None if it is something else, and not called that.

    Raises:
        ValueError: if it is called an export or notebook and is none, or is a damaged one.
    """
    try:
        value = _json(found.content())
    except ValueError:
        if _is_named(found.file):
            raise
        return None
    notebook = _holds(value, "cells") or _holds(value, "worksheets")
    export = _holds(value, "exercises", "version")
    if not notebook and not export and not _is_named(found.file):
        return None
    if notebook or (not export and ending(found.file) != ".json"):
        return _notebook(found, value)
    return _export(found, value)


def printable(text: str, longest: int = 200) -> str:
    """Return a text on one line and without what could steer a terminal; cut where it is longer."""
    joiners = "\u200c\u200d"  # parts of names in some scripts
    with contextlib.suppress(UnicodeError):  # bytes that a system without UTF-8 could not read, though they are UTF-8
        text = text.encode("utf-8", "surrogateescape").decode("utf-8")
    kept = "".join(c if c.isprintable() or c in joiners else " " if c.isspace() else "\ufffd" for c in text)
    kept = " ".join(unicodedata.normalize("NFC", kept).split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _folded(name: str) -> str:
    """Return what is the same for names that look the same, whatever system wrote them; capitals don't count."""
    return unicodedata.normalize("NFC", name).casefold()


def _name(owner: Owner) -> str:
    return printable("/".join(owner.parts), 80) or "without a name"


def _title(owner: Owner, export: Export | None) -> str:
    name = _name(owner)
    same = export is None or _folded(export.student) in (_folded(name), _folded(owner.parts[-1]))
    return name if same or export is None else f"{name} ({export.student})"


def ending(file: Path) -> str:
    """Return a file's ending for people to read."""
    return printable(file.suffix.lower(), 12) or BARE


def _stem(name: str) -> str:
    """Return a file's name without its endings, and without the number of a download: a student's name, it may be."""
    while True:
        match = re.search(r"(\.\w+)(?: ?\(\d+\))?$", name)
        if match is None or not match.start() or match[1].lower() not in DROPPED:
            return name
        name = name[: match.start()]


def _as_document(*endings: str) -> str:
    named = ", ".join(one for one in endings if one != BARE)
    how = " and ".join([*([f"as {named}"] if named else []), *([BARE] if BARE in endings else [])])
    return f"handed in {how}: can't be read; {ASK}"


_BLANK = codecs.BOM_UTF8 + codecs.BOM_UTF16 + b"\xfe\xff \t\r\n\0"


def _is_named(file: Path) -> bool:
    """Return whether a file is called an export or a notebook, perhaps with another ending behind that."""
    return ending(file) in (".json", ".ipynb") or (".ipynb" in file.name.lower() and ending(file) not in OTHERS)


def _json(content: bytes) -> Any:
    if not content:
        raise ValueError(EMPTY)
    if content.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS, not the file itself (`git lfs pull` brings that)")
    try:
        return json.loads(content)  # in UTF-8, or UTF-16 as Windows' editor may write it
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        if re.search(rb"^<<<<<<< ", content, re.MULTILINE):
            raise ValueError("it holds a conflict of Git (<<<<<<<), still to be solved") from None
        if content.lstrip(_BLANK).startswith(b"<"):
            raise ValueError(f"it is a web page, not the file itself; {ASK}") from None
        raise ValueError(f"it is no JSON, or cut off (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError):
        raise ValueError("it is JSON that is too deep, or has too large a number") from None
    except MemoryError:
        raise ValueError("it is too large for the memory") from None


def _holds(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def _cells(content: bytes) -> tuple[str, ...]:
    """Return the code cells of a script as Jupytext, nbconvert, Colab or an editor writes it; all, if it marks none."""
    try:
        utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if utf_16 else tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        text = content.decode(encoding).replace("\r\n", "\n")
    except (SyntaxError, LookupError, UnicodeError):
        raise ValueError("it is not text in UTF-8") from None
    cells = re.split(CELL, text)
    return tuple(cell for cell in cells if cell.strip() and not re.match(r"# ?%% *\[(markdown|raw)\]", cell))


def _is_notebooks(text: str) -> bool:
    """Return whether a script was made from a notebook, or gives functions to a check."""
    return bool(
        re.search(CELL, text) or re.search(r"\bcheck\.\w+\(|^Automatically generated by Colab", text, re.MULTILINE)
    )


def _export(found: Found, value: Any) -> Export:
    if not isinstance(value, dict) or not isinstance(value.get("exercises"), dict):
        raise ValueError("it is no export; a student makes one by check.export(file, student=name)")
    if value.get("version") != VERSION:
        later = isinstance(value.get("version"), int) and value["version"] > VERSION
        mend = "; a newer csd_edu wrote it: grade with that" * later
        raise ValueError(f"it is of version {printable(repr(value.get('version')), 40)}; expected {VERSION}{mend}")
    student = value.get("student")
    if not isinstance(student, str) or not printable(student):
        raise ValueError("it has no student's name; a student writes one by check.export(file, student=name)")
    claims = {name: _claim(name, value["exercises"][name]) for name in EXERCISES if name in value["exercises"]}
    return Export(found.file, printable(student, 80), claims, found.owner)


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
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 for value in values)


def _notebook(found: Found, value: Any) -> Notebook:
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
    return Notebook(found.file, tuple(cells), tuple(counts), found.owner)
