"""Runs a student's function on the inputs of an exercise, and finds out what is wrong with it.

An `Exercise` has cases (inputs), the truth (mostly the library's own function) and a table of mistakes, most of them
edits of the model solution. A function whose answers are those of a mistake has made it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import io
import itertools
import re
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_edu.check import own, progress
from csd_edu.check.answers import Answer, Indices, Masks, Problem, Rules, Terms, article, has_gaps
from csd_edu.check.errors import raised, their_line
from csd_edu.check.limits import TimeUpError, time_limit
from csd_edu.check.slips import RELATIONS, message, opposite, slips
from csd_edu.check.stages import Stages, compared, variables
from csd_edu.check.verdict import Example, Verdict, parts
from csd_edu.methods.step import Step

Function = Callable[..., Any]

TIME_LIMIT = 10.0
"""Seconds for all cases of an exercise together, if it does not say otherwise."""

REPAIR_LIMIT = 3.0
"""Seconds for the search of a single slip in a function."""

LONGER = 0.25, 20
"""Seconds that a changed function may take, and how many times those of the function itself on top: some never end."""

IMPORTS = {
    "math": "import math",
    "np": "import numpy as np",
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "scipy": "import scipy",
    "contextlib": "import contextlib",
    "Counter": "from collections import Counter",
    "Path": "from pathlib import Path",
    "Tensor": "from torch import Tensor",
    r"csd\.\w+": "import csd_edu as csd",
}
"""What a solution may need to run in a cell of its own, by the name that it uses (a regular expression)."""


class Case:
    """One input of an exercise: Case("two tasks, the first of them", matrix, 0).

    Attributes:
        about: what is special about it, as words in brackets.
        arguments: in the order of the solution's parameters.
        shows: for a corner case, the name of the mistake that who fails here, but on no plain case, has made.
    """

    def __init__(self, about: str, *arguments: Any, shows: str | None = None) -> None:
        self.about, self.arguments, self.shows = about, arguments, shows


@dataclass(frozen=True, eq=False)
class Mistake:
    """A typical wrong answer: the model solution with a change or, where it is another algorithm, another function.

    Attributes:
        name: a few words.
        message: what was done, why it is wrong, and where to look, in words of the subject.
        edits: what is replaced by what, one after the other, and how often it is there.
        of: the name of the function that is changed, beside the solution; None for the solution itself.
    """

    name: str
    message: str
    edits: tuple[tuple[str, str, int], ...]
    of: str | None = None

    def function(self, solution: Function) -> Function:
        """Return the function that makes this mistake; raise a ValueError if an edit does not fit."""
        f: Function = solution.__globals__[self.of] if self.of else solution
        if not self.edits:
            return f
        source = inspect.getsource(f)
        for old, new, times in self.edits:
            if source.count(old) != times:
                raise ValueError(f"{self.name}: {old!r} is there {source.count(old)} times, and not {times}")
            source = source.replace(old, new)
        return _compiled(f, source)


def table(text: str) -> tuple[Mistake, ...]:
    """Return the mistakes of a table in words, the first one first.

    Each has a line with its name and its edits, and its message below, further in:

        no margin | + margin =>
            The margin is missing: it is added to the difference before the relu.
        softmax along the wrong axis | dim=1 => dim=0 (twice) | a second edit => of the result
            …
        all triplets instead of the hardest | _all_triplets
            …

    A line that begins with | or => goes on with the edits. What has no => names a function, which is edited in the
    place of the solution, or which is the mistake as it stands.
    """
    entries = re.split(r"\n(?=\S)", textwrap.dedent(text).strip())
    return tuple(_mistake([line.strip() for line in entry.splitlines()]) for entry in entries)


def _mistake(lines: Sequence[str]) -> Mistake:
    n = next(n for n, line in enumerate(lines) if n > 0 and not line.startswith(("| ", "=> ")))
    name, *parts = " ".join(lines[:n]).split(" | ")
    edits = []
    for part in parts:
        old, arrow, new = part.partition(" =>")
        new, twice, _ = new.partition(" (twice)")
        edits += [(old, new.strip(), 2 if twice else 1)] if arrow else []
    of = next((part for part in parts if " =>" not in part), None)
    return Mistake(name, " ".join(lines[n:]), tuple(edits), of)


@functools.cache
def _compiled(f: Function, source: str) -> Function:
    """Return a function with another source, which knows the same names."""
    namespace = dict(f.__globals__)
    exec(compile(_with_imports(source), f"<an edit of {f.__name__}>", "exec"), namespace)
    changed: Function = namespace[f.__name__]
    return changed


def _with_imports(source: str) -> str:
    imports = [line for name, line in IMPORTS.items() if re.search(rf"\b{name}\b", source)]
    return "\n".join(imports) + "\n\n\n" * bool(imports) + source


@dataclass(eq=False, repr=False)
class Exercise:
    """A function for the student to write; called with one, an exercise checks it.

    Attributes:
        solution: the model solution, one function that needs no other; its source is the last hint.
        title: for the progress board.
        doc: what the check expects, for `help`.
        truth: the library's own function, or the same computed in another way, with the solution's parameters.
        answer: what kind it is.
        cases: plain ones first, the smallest first.
        mistakes: the table; the first that explains all answers is named.
        hints: without the solution.
        tested: what a function that passes has got right.
        tried: for a function that is not just called with the arguments of a case: `tried(f, *arguments)` tries it, and
            returns what is compared. The arguments are then the truth's.
        seconds: for all cases together; None for TIME_LIMIT.
        called: the exercise's name, if it is not the solution's.
        unusable: for objects instead of functions: `unusable(f)` says why f cannot be tried, or None. The solution is
            then a class, and f itself is given to `tried`.
        stages: `stages(*arguments)` returns what there is on the way to the answer; it is compared with the variables
            of a function whose mistake is not known.
    """

    solution: Function
    title: str
    doc: str
    truth: Function
    answer: Answer
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    tested: str
    tried: Callable[..., Any] | None = None
    seconds: float | None = None
    called: str | None = None
    unusable: Callable[[Any], Problem | None] | None = None
    stages: Callable[..., Stages] | None = None

    def __post_init__(self) -> None:
        self.__doc__ = inspect.cleandoc(self.doc)

    def __call__(self, f: Function) -> Verdict:
        """Check a function, and note it down in the progress file."""
        verdict = examine(self, f)
        own.remember(self.name, f, verdict.passed)
        note = progress.record_attempt(self.name, verdict.passed, verdict.mistake)
        return dataclasses.replace(verdict, note=note)

    def __repr__(self) -> str:
        return f"check.{self.name}"

    @property
    def name(self) -> str:
        return self.called or str(self.solution.__name__)

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.solution).parameters)

    @property
    def inputs(self) -> list[str]:
        """The names of a case's arguments."""
        return self.parameters if self.tried is None else list(inspect.signature(self.truth).parameters)

    @property
    def source(self) -> str:
        """The model solution, ready to be pasted into a cell."""
        return _with_imports(inspect.getsource(self.solution))

    def try_out(self, f: Function, *arguments: Any) -> Any:
        """Return what a function, which takes the solution's parameters, makes of the arguments of a case."""
        return f(*arguments) if self.tried is None else self.tried(f, *arguments)

    def right_answer(self, case: Case) -> Tensor:
        return self.answer.tensor(self.truth(*copy.deepcopy(case.arguments)))

    def answer_of(self, f: Function, case: Case) -> Tensor:
        """Return the answer of a known mistake."""
        return self.answer.tensor(self.try_out(f, *copy.deepcopy(case.arguments)))


@dataclass(frozen=True, eq=False)
class Outcome:
    """A case, the right answer, and the answer that was given, or the problem with it, or both."""

    case: Case
    expected: Tensor
    given: Tensor | None = None
    problem: Problem | None = None
    gaps: Sequence[Any] | None = None  # the answer itself, if there is a None in it

    @property
    def right(self) -> bool:
        return self.problem is None and self.given is not None and _same(self.given, self.expected)

    @property
    def comparable(self) -> bool:
        return self.given is not None and bool(torch.isfinite(self.given).all())


def examine(exercise: Exercise, f: Any) -> Verdict:
    """Return whether a student's function is right, and if not, why; whatever the function does.

    Args:
        exercise: what it should do.
        f: the student's function.

    Returns:
        The verdict, which is not recorded yet.
    """
    problem = _unusable(exercise, f) if exercise.unusable is None else exercise.unusable(f)
    if problem is not None:
        return _failed(exercise, problem.message, problem.mistake)
    expected = list(map(exercise.right_answer, exercise.cases))  # before the student's time begins to count
    limit = TIME_LIMIT if exercise.seconds is None else exercise.seconds
    try:
        with time_limit(limit), torch.enable_grad():
            outcomes = _outcomes(exercise, f, expected)
            if all(outcome.right for outcome in outcomes):
                return _gradient_verdict(exercise, f)
    except TimeUpError as error:
        message = (
            f"Your function was stopped: it had not finished after {limit:g} seconds, and the inputs are tiny. "
            f"Is there a loop that never ends?{their_line(error)}"
        )
        return _failed(exercise, message, "not finished in time")
    with warnings.catch_warnings():  # of what known mistakes compute
        warnings.simplefilter("ignore")
        return _diagnosis(exercise, f, outcomes)


def _diagnosis(exercise: Exercise, f: Function, outcomes: Sequence[Outcome]) -> Verdict:
    """Explain outcomes of which at least one is wrong.

    What goes wrong on plain cases is explained by them alone: one mistake at a time, and corner cases come last.
    """
    plain = [outcome for outcome in outcomes if outcome.case.shows is None]
    in_question = plain if any(not outcome.right for outcome in plain) else outcomes
    wrong = [outcome for outcome in in_question if not outcome.right]
    for mistake in exercise.mistakes:
        if _explains(exercise, partial(mistake.function, exercise.solution), in_question):
            return _failed(exercise, mistake.message, mistake.name, [o for o in wrong if o.comparable] or wrong)
    repair = _repair(exercise, f, outcomes) if wrong[0].case.shows is None else None
    if repair is not None:
        return _failed(exercise, repair[1], repair[0], [o for o in wrong if o.comparable] or wrong)
    named = {mistake.name: mistake for mistake in exercise.mistakes}
    problem = wrong[0].problem
    if wrong[0].case.shows is not None and (problem is None or problem.mistake == "error" or problem.given is not None):
        mistake = named[wrong[0].case.shows]
        detail = f"\n{problem.message}" if problem is not None else ""
        return _failed(exercise, mistake.message + detail, mistake.name, wrong[:1])
    slip = _slip(exercise, in_question)
    if slip is not None:
        return _failed(exercise, slip[1], slip[0], [o for o in wrong if o.comparable])
    for outcome in wrong:
        if outcome.problem is not None:
            return _failed(exercise, outcome.problem.message, outcome.problem.mistake, [outcome])
    for outcome in wrong:
        if not outcome.comparable:
            message = (
                "Your function returned NaN, infinity or None in the place of a number. Look for 0/0, for the mean of "
                "nothing, for log(0), for an exp of a large number, and for a cell of the input without a value."
            )
            return _failed(exercise, message, "not finite", [outcome])
    message = (
        f"The answer is wrong on {len(wrong)} of {len(in_question)} inputs, and it is none of the usual mistakes. "
        "Work out the input below by hand, print what your lines make of it, and see where the two part."
    )
    if _constant(wrong):
        message += " Your answer is the same for all of them: does it depend on the input?"
    message += exercise.answer.clue([o.given - o.expected for o in wrong if o.given is not None])
    smallest = min(wrong, key=lambda outcome: _size(outcome.case.arguments))
    if exercise.stages is not None:
        arguments = copy.deepcopy(smallest.case.arguments)
        found = variables(f, partial(_call, exercise, f, arguments))
        message += "\n" + compared(exercise.stages(*smallest.case.arguments), found)
    return _failed(exercise, message, None, wrong)


def _repair(exercise: Exercise, f: Function, outcomes: Sequence[Outcome]) -> tuple[str, str] | None:
    """Return name and message of a slip in a student's own function that makes it right if it is undone, or None."""
    problems = {outcome.problem.mistake for outcome in outcomes if outcome.problem is not None}
    if exercise.seconds is not None or problems - {"wrong shape", "wrong type"}:
        return None  # an error, say, tells itself what is wrong
    if isinstance(exercise.answer, Rules) or not inspect.isfunction(f):
        return None
    order = sorted(outcomes, key=lambda outcome: outcome.right)  # the wrong ones first: most changes leave them wrong
    end = time.perf_counter() + REPAIR_LIMIT

    def left() -> float:
        return end - time.perf_counter()

    def rights(function: Function) -> Iterator[bool]:
        return (_outcome(exercise, function, o.case, o.expected).right for o in order)

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(TimeUpError):
        before = left()
        with time_limit(REPAIR_LIMIT):
            list(rights(f))
        longest = LONGER[0] + LONGER[1] * (before - left())
        for slip in slips(f, of_all_names=True):
            if left() <= 0:
                break
            try:
                with time_limit(min(longest, left())):
                    right = all(rights(_compiled(f, slip.source)))
            except (Exception, TimeUpError):  # the slip leaves no function that runs, or none that ends
                continue
            if right:
                name = opposite(slip)
                return name, f"{message(name)}\nIt is here: {slip.place}"
    return None


def _slip(exercise: Exercise, outcomes: Sequence[Outcome]) -> tuple[str, str] | None:
    """Return name and message of what explains the answers although it is in no table, or None.

    That is a simple relation between the right numbers and the given ones, a slip that any solution can have, or two
    mistakes of the table at once.
    """
    compared = [outcome for outcome in outcomes if outcome.comparable and not isinstance(exercise.answer, Rules)]
    if all(outcome.right for outcome in compared) or _constant(compared):
        return None
    if len(compared) == len(outcomes) and not isinstance(exercise.answer, Masks | Indices | Terms):
        for name, (relation, words) in RELATIONS.items():
            if all(_same_shape(outcome.given, relation(outcome.expected)) for outcome in compared):
                return name, words
    if exercise.seconds is not None:  # it trains
        return None
    for slip in slips(exercise.solution):
        if _explains(exercise, partial(_compiled, exercise.solution, slip.source), outcomes):
            return slip.name, slip.message
    edits = [mistake for mistake in exercise.mistakes if mistake.edits and mistake.of is None]
    for first, second in itertools.combinations(edits, 2):
        both = Mistake("", "", (*first.edits, *second.edits))
        if _explains(exercise, partial(both.function, exercise.solution), outcomes):
            return f"{first.name}; {second.name}", f"Two things at once. {first.message}\nAnd: {second.message}"
    return None


def _constant(outcomes: Sequence[Outcome]) -> bool:
    """Return whether one and the same answer was given to several inputs."""
    given = [outcome.given for outcome in outcomes if outcome.given is not None]
    return len(given) > 1 and all(torch.equal(given[0], other) for other in given)


def _same_shape(given: Tensor | None, expected: Tensor) -> bool:
    return given is not None and given.shape == expected.shape and _same(given, expected)


def _explains(exercise: Exercise, wrong_function: Callable[[], Function], outcomes: Sequence[Outcome]) -> bool:
    """Return whether another function gives all the answers that were given.

    Answers that are not finite differ with the way that a mistake is written, and are compared only if all wrong ones
    are like that.
    """
    compared = [outcome for outcome in outcomes if outcome.comparable]
    if all(outcome.right for outcome in compared):
        compared = [outcome for outcome in outcomes if outcome.given is not None]
    for outcome in compared:
        try:
            wrong = exercise.answer_of(wrong_function(), outcome.case)
        except Exception:  # a mistake that cannot answer this does not explain an answer
            return False
        if not _same_shape(outcome.given, wrong):
            return False
    return not all(outcome.right for outcome in compared)


def _outcomes(exercise: Exercise, f: Function, expected: Sequence[Tensor]) -> list[Outcome]:
    """Run a function on the cases; no answer before any wrong one ends it, as that is what will be told."""
    outcomes: list[Outcome] = []
    for case, answer in zip(exercise.cases, expected, strict=True):
        last = _outcome(exercise, f, case, answer)
        none = last.problem is not None and last.given is None
        outcomes.append(last)
        if none and all(outcome.right for outcome in outcomes[:-1]):
            break
    return outcomes


def _outcome(exercise: Exercise, f: Function, case: Case, expected: Tensor) -> Outcome:
    arguments = copy.deepcopy(case.arguments)
    try:
        answer = _call(exercise, f, arguments)
    except (Exception, SystemExit) as error:
        return Outcome(case, expected, problem=raised(error, exercise.hints[0]))
    changed = [
        name
        for name, before, after in zip(exercise.inputs, case.arguments, arguments, strict=True)
        if not _untouched(before, after)
    ]
    if changed:
        message = (
            f"Your function changes its input {changed[0]!r} in place; whoever calls it goes on with spoilt numbers. "
            "Work on a copy (.clone(), or an operation without a trailing underscore, such as masked_fill)."
        )
        return Outcome(case, expected, problem=Problem("input changed", message))
    read = exercise.answer.read(answer, expected)
    if isinstance(read, Problem):
        return Outcome(case, expected, read.given, read)
    return Outcome(case, expected, read, gaps=answer if has_gaps(answer) else None)


def _call(exercise: Exercise, f: Function, arguments: Sequence[Any]) -> Any:
    def call(*values: Any) -> Any:
        positional, keywords = _arguments(exercise, f, values) or (list(values), {})
        return f(*positional, **keywords)

    if exercise.unusable is not None:
        return exercise.try_out(f, *arguments)
    return exercise.try_out(call, *arguments)


def _arguments(exercise: Exercise, f: Function, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]] | None:
    """Return how a function takes these arguments, the last ones by keyword if it must be so; None if in no way."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # some built-in functions have none
        return list(values), {}
    for n in range(len(values), 0, -1):
        keywords = dict(zip(exercise.parameters[n:], values[n:], strict=True))
        with contextlib.suppress(TypeError):
            signature.bind(*values[:n], **keywords)
            return list(values[:n]), keywords
    return None


_OURS = (
    "This is the notebook's own `{0}`, or calls it: it is there so that later cells run before you have written yours. "
    "Write your own, from the parameters that it is given."
)


def _unusable(exercise: Exercise, f: Any) -> Problem | None:
    """Return why a function cannot be called, or None."""
    if not callable(f):
        message = (
            f"The check got {article(f)} and wants the function itself: check.{exercise.name}(my_function), without "
            "calling it."
        )
        return Problem("not a function", message)
    helper = own.helper_in(exercise.name, f)
    if helper is not None:
        return Problem("the notebook's helper", _OURS.format(helper))
    if _arguments(exercise, f, exercise.parameters) is None:  # whatever the values, they are as many
        wanted, has = f"({', '.join(exercise.parameters)})", inspect.signature(f)
        parameters = f"({', '.join(has.parameters)})"
        message = f"Your function takes {parameters}; the check calls it with {wanted}, in this order."
        return Problem("other arguments", message)
    return None


def _gradient_verdict(exercise: Exercise, f: Function) -> Verdict:
    """Return the verdict on what has the right values: of losses, does a gradient flow, and only where it should?"""
    answer = exercise.answer
    for learns, frozen in [(answer.learns, answer.frozen), *answer.also] if answer.learns else ():
        verdict = _wrong_gradient(exercise, f, str(learns), frozen) or _infinite_gradient(exercise, f, str(learns))
        if verdict is not None:
            return verdict
    return _passed(exercise)


def _wrong_gradient(exercise: Exercise, f: Function, learns: str, frozen: str | None) -> Verdict | None:
    """Return the verdict on a gradient that is wrong in what learns or in what is frozen, or None."""
    case = [case for case in exercise.cases if case.shows is None][-1]
    names = [learns] if frozen is None else [learns, frozen]
    expected = _gradients(exercise, exercise.truth, case, names)
    try:
        given = _gradients(exercise, f, case, names)
    except (Exception, SystemExit) as error:
        message = (
            "The loss has the right value, but its gradient cannot be computed. "
            + raised(error, exercise.hints[0]).message
        )
        return _failed(exercise, message, "gradient fails")
    leaked = given[frozen] if frozen is not None else None
    wanted, found = expected[learns], given[learns]
    if leaked is not None and bool((leaked != 0).any()) and not _close(found, wanted):
        message = (
            f"The number is right, but the gradient goes to {frozen!r} instead of {learns!r}: student and teacher are "
            "swapped, or the wrong one of the two is detached. The student learns; the teacher stays as it was."
        )
        return _failed(exercise, message, "student and teacher swapped")
    if leaked is not None and bool((leaked != 0).any()):
        message = (
            f"The teacher received a gradient through {frozen!r}. The teacher is a frozen copy that shows what the old "
            "features were: if it could learn, it would drift along with the student. Cut it off with .detach()."
        )
        return _failed(exercise, message, "teacher gradient")
    if found is None or wanted is None or not bool((found != 0).any()):
        message = (
            f"The loss has the right value, but no gradient reaches {learns!r}: nothing could be learnt from it. It is "
            "cut off by .detach(), .item(), torch.no_grad(), NumPy or a new torch.tensor(…)."
        )
        return _failed(exercise, message, "detached")
    if not bool(torch.isfinite(found).all()):
        return _failed(exercise, _NOT_FINITE, "gradient not finite")
    if exercise.answer.shares:  # a change of a row along (1, …, 1) would leave the shares
        found, wanted = (x - x.mean(dim=-1, keepdim=True) for x in (found, wanted))
    if not _close(found, wanted):
        message = f"The loss has the right value, but not the right gradient in {learns!r}: a part of it is cut off. "
        if frozen is None:
            message += "Nothing is to be detached here: do .detach(), .item() or a new torch.tensor(…) occur?"
        else:
            message += "Detach only what the teacher gives; and are student and teacher handed over in the right order?"
        return _failed(exercise, message, "gradient cut")
    return None


_NOT_FINITE = (
    "The loss has the right value, but its gradient is NaN or infinite. A square root or a log of exactly 0 "
    "does that, even where torch.where or a product with 0 hides its value. Keep what is inside of it above 0, as with "
    ".clamp_min(1e-30)."
)


def _infinite_gradient(exercise: Exercise, f: Function, learns: str) -> Verdict | None:
    """Return the verdict on a gradient that is NaN or infinite on a corner case, where the truth's is finite."""
    for case in exercise.cases:
        if case.shows is None:
            continue
        expected = _gradients(exercise, exercise.truth, case, [learns])[learns]
        if expected is None or not bool(torch.isfinite(expected).all()):
            continue
        try:
            found = _gradients(exercise, f, case, [learns])[learns]
        except (Exception, SystemExit) as error:
            message = (
                f"The loss has the right value, but for this input ({case.about}) its gradient cannot be computed. "
                + raised(error, exercise.hints[0]).message
            )
            return _failed(exercise, message, "gradient fails")
        if found is not None and not bool(torch.isfinite(found).all()):
            return _failed(exercise, f"{_NOT_FINITE}\nHere it does so: {case.about}.", "gradient not finite")
    return None


def _close(found: Tensor | None, wanted: Tensor | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return torch.allclose(found.double(), wanted.double(), rtol=1e-3, atol=1e-5)


def _gradients(exercise: Exercise, f: Function, case: Case, names: Sequence[str]) -> dict[str, Tensor | None]:
    """Return the gradients of a loss in some of its arguments, or parts of these."""
    arguments = dict(zip(exercise.inputs, copy.deepcopy(case.arguments), strict=True))
    tensors = {name: part for argument in arguments.items() for name, part in parts(*argument).items()}
    leaves = {name: tensors[name].requires_grad_() for name in names}
    loss = _call(exercise, f, list(arguments.values()))
    loss = sum(loss.values()) if isinstance(loss, dict) else loss
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


def _same(given: Tensor, expected: Tensor) -> bool:
    if not given.is_floating_point():
        return torch.equal(given, expected)
    return torch.allclose(given, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def _untouched(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return isinstance(after, Tensor) and before.shape == after.shape and torch.equal(before, after)
    if isinstance(before, list):
        return len(before) == len(after) and all(map(_untouched, before, after))
    if isinstance(before, Step):
        return _untouched(list(parts("", before).values()), list(parts("", after).values()))
    if isinstance(before, np.ndarray):
        return isinstance(after, np.ndarray) and np.array_equal(before, after, equal_nan=True)
    return not isinstance(before, bool | int | float | str | None) or bool(before == after)


def _passed(exercise: Exercise) -> Verdict:
    message = exercise.answer.passed.format(n=len(exercise.cases))
    return Verdict(exercise.name, True, message, tested=exercise.tested)


def _failed(exercise: Exercise, message: str, mistake: str | None, outcomes: Sequence[Outcome] = ()) -> Verdict:
    """Return a verdict with the smallest of the cases, unless the message is all that there is to say."""
    if not outcomes or mistake == "still to be written":
        return Verdict(exercise.name, False, message, mistake)
    smallest = min(outcomes, key=lambda outcome: _size(outcome.case.arguments))
    arguments = dict(zip(exercise.inputs, copy.deepcopy(smallest.case.arguments), strict=True))
    expected = exercise.answer.plain(smallest.expected)
    given = None if smallest.given is None else exercise.answer.plain(smallest.given)
    given = given if smallest.gaps is None else list(smallest.gaps)
    return Verdict(exercise.name, False, message, mistake, Example(smallest.case.about, arguments, expected, given))


def _size(value: Any) -> int:
    if isinstance(value, Tensor | np.ndarray):
        return int(np.prod(value.shape))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1
