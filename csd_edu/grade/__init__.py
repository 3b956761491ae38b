"""Tabulates what a class has handed in: `csd-edu grade FOLDER`.

from csd_edu.grade import grade, tables

table = grade("handed_in")         # exports and notebooks, at any depth
print(tables.as_text(table))       # student × exercise
tables.write(table, "class.html")  # or class.csv

An export (`check.export`) is what a student claims. A notebook is run: not all of it, but the functions that it gives
to a check and what they need, each notebook in a process of its own, as `csd_edu.grade.isolation` says. That is no
sandbox against a determined attacker. Where something that a function needs cannot be run again, such as training, the
function is passed if it passes all the same, and else it "could not be run": nobody is blamed for what was left out.

    submissions (what was found, and whose it is) ──> isolation (a process each) ── inside (what runs there) ──> tables
                                                                                      └ cells, effects (what needs what)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from csd_edu.check import EXERCISES
from csd_edu.grade import isolation
from csd_edu.grade.isolation import Outcome, run_notebook
from csd_edu.grade.submissions import Result, Student, Unread, by_student, read_all

__all__ = ["Mark", "Row", "Table", "grade"]


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
        source: "run" (from notebooks), "claimed" (from an export), or "run, claimed".
        marks: of all exercises, by name.
        notes: what an instructor should know.
    """

    student: str
    source: str
    marks: dict[str, Mark]
    notes: tuple[str, ...] = ()

    def passed(self, *, claimed: bool) -> int:
        """Return how many exercises were passed in a run, or, merely claimed, in an export."""
        return sum(mark.result.state == "passed" and mark.claimed == claimed for mark in self.marks.values())


@dataclass(frozen=True)
class Table:
    """A class.

    Attributes:
        exercises: their titles, by name.
        rows: one for each student.
        unread: the files that could not be read, and why.
        isolation: how notebooks were run, in a line; nothing if none was.
    """

    exercises: dict[str, str]
    rows: tuple[Row, ...]
    unread: tuple[Unread, ...]
    isolation: str


def grade(folder: str | os.PathLike[str], *, seconds: float = isolation.SECONDS, jobs: int = 2) -> Table:
    """Tabulate the exports and notebooks in a folder.

    Args:
        folder: what was handed in, at any depth: a folder for each student, or files named like them.
        seconds: for the code of one notebook.
        jobs: how many notebooks are run at the same time.

    Returns:
        The table; a file that cannot be read is listed in it.

    Raises:
        ValueError: if there is no such folder, nothing to grade in it, or a limit below its least value.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected more than 0, for the code of one notebook")
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; expected at least 1")
    path = Path(folder)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; expected the folder in which the exports and notebooks lie")
    exports, notebooks, unread = read_all(path)
    if not exports and not notebooks:
        reasons = "".join(f"\n  {given.file}: {given.reason}" for given in unread[:5])
        raise ValueError(f"there is no export (.json) and no notebook (.ipynb) to grade in {path}{reasons}")
    with ThreadPoolExecutor(jobs) as pool:
        ran = list(pool.map(lambda notebook: run_notebook(notebook, seconds=seconds), notebooks))
    outcomes = {notebook.file: outcome for notebook, outcome in zip(notebooks, ran, strict=True)}
    unread += [Unread(file, outcome.trouble) for file, outcome in outcomes.items() if outcome.trouble]
    return Table(
        {name: exercise.title for name, exercise in EXERCISES.items()},
        tuple(_row(student, outcomes) for student in by_student(exports, notebooks)),
        tuple(sorted(unread, key=lambda given: given.file)),
        isolation.describe([outcome.held for outcome in ran if outcome.held is not None], seconds),
    )


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
    return Row(student.name, ", ".join(sources), marks, tuple(_notes(student, own)))


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
