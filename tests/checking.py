"""What the tests of the checks share: students' functions made from source text, and what holds for every exercise.

A test file has, for each of its exercises, a right answer written with loops (RIGHT), and for each mistake of its table
the edits that turn it into a wrong one (WRONG). None of them uses the library's code or the functions by which the
checks know their mistakes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats

from csd_edu import check
from csd_edu.check.verdict import Verdict

Function = Callable[..., Any]
Edits = str | Sequence[str]  # a source of its own, or what is replaced in the right answer: old, new, old, new, …

NO_ANSWERS = [  # a value, the mistake that it is (None: one of several), and words of the message
    (None, "nothing returned", "Did you forget `return`"),
    ("0.5", None, "returned a str"),
    ({1: 0.5}, None, "returned a dict|term named 1"),
    (True, None, "returned a bool"),
    (torch.tensor(1j), None, "Tensor|1 numbers|shape"),
    ([object()], None, "returned a list"),
]


def checked(name: str, f: Any) -> Verdict:
    """Return what the check of that name says of a function."""
    verdict = getattr(check, name)(f)
    assert isinstance(verdict, Verdict)
    assert verdict.exercise == name
    return verdict


def function(source: str) -> Function:
    """Return the function that a source defines, as a cell of a notebook would."""
    namespace: dict[str, Any] = {"torch": torch, "F": F, "np": np, "math": math, "stats": stats}
    before = set(namespace)
    exec(source, namespace)
    return next(value for name, value in namespace.items() if name not in before and callable(value))


def edited(source: str, *edits: str) -> Function:
    """Return the function of a source in which texts (old, new, old, new, …) were replaced; each must be there."""
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source, old
        source = source.replace(old, new)
    return function(source)


def wrong_answer(right: str, edits: Edits) -> Function:
    """Return the function of a source of its own, or of a right one with edits."""
    return function(edits) if isinstance(edits, str) else edited(right, *edits)


def numbers(value: Any) -> np.ndarray:
    """Return an answer as an array of float64, None as NaN."""
    if isinstance(value, list | tuple) and any(isinstance(part, torch.Tensor) for part in value):
        value = torch.stack([torch.as_tensor(part) for part in value])
    return np.asarray(value, dtype=float)


# What holds for every exercise.


def is_named(name: str, mistake: str, f: Function) -> None:
    """A wrong answer is told by the message of its own mistake, with an example and the way to a hint."""
    verdict = checked(name, f)
    assert not verdict.passed
    assert verdict.mistake == mistake, verdict
    table = {known.name: known.message for known in check.EXERCISES[name].mistakes}
    assert verdict.message.startswith(table[mistake])
    assert f'check.hint("{name}")' in repr(verdict)
    assert verdict.case is not None
    assert verdict.tested == ""


def has_messages_of_their_own(name: str, tried: Collection[str], at_least: int = 5) -> None:
    """Every mistake of the table is tried by a test, and no two share a name or a message."""
    mistakes = check.EXERCISES[name].mistakes
    assert {mistake.name for mistake in mistakes} == set(tried)
    assert len({mistake.message for mistake in mistakes}) == len(set(tried)) == len(mistakes) >= at_least


def example_is_true(name: str, f: Function) -> None:
    """Called again with the example's arguments a function gives what the verdict says, and the library the rest."""
    case = checked(name, f).case
    assert case is not None
    expected = numbers(check.EXERCISES[name].truth(*case.arguments.values()))
    assert np.allclose(numbers(case.expected), expected)
    if case.given is not None:
        again = numbers(f(*case.arguments.values()))
        assert np.allclose(numbers(case.given), again, equal_nan=True)
        assert again.shape != expected.shape or not np.allclose(again, expected, rtol=1e-4, atol=1e-5)


def corner_cases_come_last(name: str) -> None:
    """Corner cases name a mistake of the table, and the plain cases come first."""
    exercise = check.EXERCISES[name]
    assert {case.shows for case in exercise.cases} - {None} <= {mistake.name for mistake in exercise.mistakes}
    corner = [case.shows is not None for case in exercise.cases]
    assert corner == sorted(corner)


def passes(name: str, f: Function) -> None:
    """A right answer passes, and is told what was tested."""
    verdict = checked(name, f)
    assert verdict.passed, verdict
    assert verdict.mistake is verdict.case is None
    assert verdict.tested == check.EXERCISES[name].tested
    assert verdict.tested in repr(verdict)


def solution_runs_alone(name: str) -> None:
    """The model solution passes as the last hint shows it, in a cell of its own."""
    namespace: dict[str, Any] = {}
    exec(check.EXERCISES[name].source, namespace)
    assert checked(name, namespace[name]).passed


def stub_is_told_where_to_begin(name: str) -> None:
    """A stub gets a helpful sentence and no example."""
    parameters = ", ".join(check.EXERCISES[name].parameters)
    verdict = checked(name, function(f"def stub({parameters}):\n    raise NotImplementedError('write this')\n"))
    assert verdict.mistake == "still to be written"
    assert "not written yet" in verdict.message
    assert check.EXERCISES[name].hints[0] in verdict.message
    assert "Line 2, in stub" in verdict.message
    assert verdict.case is None


def is_no_answer(name: str, value: Any, mistake: str | None, words: str) -> None:
    """What is no answer at all is told by its type or shape."""
    verdict = checked(name, lambda *_: value)
    assert not verdict.passed
    kinds = ("wrong type", "not a tensor", "wrong shape", "unknown term")
    assert verdict.mistake == mistake if mistake else verdict.mistake in kinds
    assert re.search(words, verdict.message), verdict.message


def ladder_ends_with_the_solution(name: str) -> None:
    """Three hints, one at a time, and then the solution again and again; from an untouched progress file."""
    exercise = check.EXERCISES[name]
    ladder = [check.hint(name) for _ in range(len(exercise.hints) + 2)]
    assert len(exercise.hints) == 3
    assert [step.text for step in ladder[:3]] == list(exercise.hints)
    assert all(step.code == "" for step in ladder[:3])
    for last in ladder[3:]:
        assert f"def {name}(" in last.code
        assert "the solution" in repr(last)
        assert last.code.splitlines()[-1].strip() in repr(last)
    assert "hint 1 of 3" in repr(ladder[0])
    assert "shows another hint" in repr(ladder[0])
    assert "shows the solution" in repr(ladder[2])
