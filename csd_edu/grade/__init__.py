"""Tabulates what a class has handed in: `csd-edu grade FOLDER`.

from csd_edu.grade import grade, tables

table = grade("handed_in")         # exports and notebooks, at any depth
print(tables.as_text(table))       # student × exercise
tables.write(table, "class.html")  # or class.csv

An export (`check.export`) is what a student claims. A notebook is run: not all of it, but the functions that it gives
to a check and what they need, each notebook in a process of its own, as `csd_edu.grade.isolation` says. That is no
sandbox against a determined attacker. Where something that a function needs cannot be run again, such as training, the
function is passed if it passes all the same, and else it "could not be run": nobody is blamed for what was left out.

    found (files, also in archives) ──> submissions (what they are, and whose) ──> tables
                                              └──> isolation (a process each) ── inside (what runs there)
                                                                                   └ cells, effects (what needs what)
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from csd_edu import arguments
from csd_edu.check import EXERCISES
from csd_edu.grade import isolation
from csd_edu.grade.found import in_words
from csd_edu.grade.isolation import Outcome, run_notebook
from csd_edu.grade.submissions import (
    Counted,
    HandedIn,
    Notebook,
    Result,
    Student,
    Unread,
    by_student,
    ending,
    printable,
    read_all,
    why_not_read,
)
from csd_edu.paths import given_path

__all__ = ["Mark", "Row", "Table", "grade"]


NOT_READ = "not read"
"""In place of the source of a student's marks, where nothing of theirs could be read."""

LONGEST = 86_400
"""Seconds that may be given to one notebook: a day."""


@dataclass(frozen=True)
class Mark:
    """What came of an exercise, whether that is merely claimed, and what the export says if it says otherwise."""

    result: Result
    claimed: bool = False
    instead: Result | None = None


@dataclass(frozen=True)
class Row:
    """A student.

    Attributes:
        student: the name, which no other row has.
        source: "run" (from notebooks), "claimed" (from an export), "run, claimed", or "not read" (nothing could be).
        marks: of all exercises, by name.
        notes: what an instructor should know; why nothing could be read, if that is so.
        files: what was read, or all that was handed in, if none of it could be.
        unread: which files could not be read, and why.
    """

    student: str
    source: str
    marks: dict[str, Mark]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    unread: tuple[Unread, ...] = ()

    def passed(self, *, claimed: bool) -> int:
        """Return how many exercises were passed in a run, or, merely claimed, in an export."""
        return sum(mark.result.state == "passed" and mark.claimed == claimed for mark in self.marks.values())


@dataclass(frozen=True)
class Table:
    """A class. Each file that was handed in is a row's, or unread, or counted.

    Attributes:
        exercises: their titles, by name.
        rows: one for each student, also for one of whom nothing could be read.
        unread: the files that could not be read, and why.
        isolation: how notebooks were run, in a line; nothing if none was.
        counted: the files that were left out, or opened as archives.
    """

    exercises: dict[str, str]
    rows: tuple[Row, ...]
    unread: tuple[Unread, ...]
    isolation: str
    counted: tuple[Counted, ...] = ()


def grade(folder: str | os.PathLike[str], *, seconds: float = isolation.SECONDS, jobs: int = 2) -> Table:
    """Tabulate the exports and notebooks in a folder.

    Args:
        folder: what was handed in, at any depth: a folder or .zip for each student, or files named like them; or one
            .zip with all of that, as a learning platform makes it.
        seconds: for the code of one notebook.
        jobs: how many notebooks are run at the same time.

    Returns:
        The table; a student of whom nothing can be read is in it, and a file that cannot be read is listed.

    Raises:
        ValueError: if there is no such folder, it cannot be opened, there is nothing to grade in it, or a limit is out
            of its range.
    """
    expected = f"more than 0 and at most {LONGEST}, for the code of one notebook"
    seconds = arguments.number("seconds", seconds, expected)
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"seconds is {seconds}; expected {expected}")
    jobs = arguments.whole("jobs", jobs)
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; expected at least 1")
    path = given_path(folder, what="folder")
    handed_in = _read(path)
    exports, notebooks, unread = handed_in.exports, handed_in.notebooks, list(handed_in.unread)
    if not exports and not notebooks:
        raise ValueError(f"there is no export (.json) and no notebook (.ipynb) to grade in {_found(path, handed_in)}")
    ran = _run(notebooks, seconds, jobs)
    outcomes = {notebook.file: outcome for notebook, outcome in zip(notebooks, ran, strict=True)}
    unread += [Unread(n.file, outcomes[n.file].trouble, n.owner) for n in notebooks if outcomes[n.file].trouble]
    return Table(
        {name: exercise.title for name, exercise in EXERCISES.items()},
        tuple(_row(student, outcomes) for student in by_student(exports, notebooks, [*unread, *handed_in.counted])),
        tuple(sorted(unread, key=lambda given: given.file)),
        isolation.describe([outcome.held for outcome in ran if outcome.held is not None], seconds),
        tuple(handed_in.counted),
    )


def _run(notebooks: Sequence[Notebook], seconds: float, jobs: int) -> list[Outcome]:
    """Return what came of the notebooks, of which so many are run at the same time."""
    run = functools.partial(run_notebook, seconds=seconds)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return list(pool.map(run, notebooks))
        except RuntimeError:  # the machine starts no more threads: one notebook after the other
            pool.shutdown(cancel_futures=True)
    return [run(notebook) for notebook in notebooks]


def _read(path: Path) -> HandedIn:
    """Read what was handed in, in a folder or an archive."""
    expected = "expected the folder in which the exports and notebooks lie, or a .zip of it"
    try:
        if not path.exists():
            raise ValueError(f"{printable(str(path))} does not exist; {expected}")
        if not path.is_dir() and not zipfile.is_zipfile(path) and path.suffix.lower() != ".zip":
            raise ValueError(f"{printable(str(path))} is a file; {expected}")
        return read_all(path)
    except OSError as error:
        raise ValueError(f"{printable(str(path))}: {in_words(error)}") from None


def _found(path: Path, handed_in: HandedIn) -> str:
    """Return a folder's name, with what is in it in place of something to grade."""
    told = [f"\n  {printable(given.file.as_posix())}: {given.reason}" for given in handed_in.unread[:5]]
    more = count(ending(given.file) for given in handed_in.unread[5:])
    told += [f"\n  and of those that can't be read: {more}"] * bool(more)
    left_out = count(given.what for given in handed_in.counted)
    return f"{printable(str(path))}{''.join(told)}" + f"\n  left out: {left_out}" * bool(left_out)


def count(kinds: Iterable[str]) -> str:
    """Return how many there are of each kind, the most frequent first."""
    return ", ".join(f"{n} {kind}" for kind, n in Counter(kinds).most_common())


def merged(results: Sequence[Result]) -> Result:
    """Return the best of what came of one exercise in several notebooks: passed, tried, failed, untried."""
    order = ("passed", "tried", "failed", "untried")
    return min(results, key=lambda result: order.index(result.state), default=Result("untried"))


def _row(student: Student, outcomes: dict[Path, Outcome]) -> Row:
    own = [outcomes[notebook.file] for notebook in student.notebooks]
    claims = student.export.claims if student.export is not None else {}
    marks = {}
    for name in EXERCISES:
        results = [outcome.results[name] for outcome in own if name in outcome.results]
        claim = claims.get(name)
        if not results:
            marks[name] = Mark(claim or Result("untried"), claimed=claim is not None)
        else:
            result = merged(results)
            differs = claim is not None and (claim.state == "passed") != (result.state == "passed")
            marks[name] = Mark(result, instead=claim if differs else None)
    sources = [name for name, given in (("run", student.notebooks), ("claimed", student.export)) if given]
    notes = why_not_read(student) or [printable(note, 400) for note in _notes(student, own)]
    return Row(student.name, ", ".join(sources) or NOT_READ, marks, tuple(notes), student.files, student.unread)


def _notes(student: Student, outcomes: Sequence[Outcome]) -> list[str]:
    notes = []
    twice = Counter(name for outcome in outcomes for name in outcome.results)
    both = [name for name, n in twice.items() if n > 1]
    if both:
        files = [notebook.file.as_posix() for notebook, o in zip(student.notebooks, outcomes, strict=True) if o.results]
        notes.append(
            f"{', '.join(both)} in more than one notebook, of which the best counts: {', '.join(files)}. Are they all "
            "of one student?"
        )
    if outcomes and not any(outcome.results or outcome.trouble for outcome in outcomes):
        notes.append(f"no exercise in {', '.join(notebook.file.as_posix() for notebook in student.notebooks)}")
    return notes
