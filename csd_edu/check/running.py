"""Runs a student's function on the inputs of an exercise, and finds out what is wrong with it.

An `Exercise` has cases (inputs), the truth (mostly the library's own function) and a table of mistakes, each with a
function that computes what that mistake gives. A function whose answers are those of a mistake has made it.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import re
import signal
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from csd_edu.check.verdict import Example, Verdict, parts, shown
from csd_edu.methods.step import Step

Function = Callable[..., Any]

TIME_LIMIT = 10.0
"""Seconds for all cases of an exercise together, if it does not say otherwise."""

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


@dataclass(frozen=True, eq=False)
class Case:
    """One input of an exercise.

    Attributes:
        about: what is special about it, as words in brackets.
        arguments: in the order of the solution's parameters.
        shows: for a corner case, the name of the mistake that who fails here, but on no plain case, has made.
    """

    about: str
    arguments: tuple[Any, ...]
    shows: str | None = None


@dataclass(frozen=True, eq=False)
class Mistake:
    """A typical wrong answer.

    Attributes:
        name: a few words.
        message: what was done, why it is wrong, and where to look, in words of the subject.
        wrong: computes what this mistake gives, from the same arguments as the solution.
    """

    name: str
    message: str
    wrong: Function


@dataclass(frozen=True, eq=False)
class Exercise:
    """A function for the student to write.

    Attributes:
        name: of the function, and of its check.
        title: for the progress board.
        solution: the model solution, one function that needs no other; its source is the last hint.
        truth: the library's own function, or the same computed in another way, with the solution's parameters.
        answer: "number"; "loss", a scalar tensor with a gradient; "rows", a matrix, or a few numbers; "indices", a
            matrix of integers; "masks", one tensor of booleans or several; "terms", a dictionary of losses; or "rules",
            anything that `tried` finds no fault with.
        cases: plain ones first, the smallest first.
        mistakes: the table; the first that explains all answers is named.
        hints: without the solution.
        tested: what a function that passes has got right.
        learns: for a loss or several, the parameter, or the part of a step, that gets the gradient.
        frozen: the same of what must not get any.
        terms: for a dictionary of losses, the names that there may be.
        tried: for a function that is not just called with the arguments of a case: `tried(f, *arguments)` tries it, and
            returns what is compared; with "rules", the first problem or None. The arguments are then the truth's.
        seconds: for all cases together; None for TIME_LIMIT.
    """

    name: str
    title: str
    solution: Function
    truth: Function
    answer: Literal["number", "loss", "rows", "indices", "masks", "terms", "rules"]
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    tested: str
    learns: str | None = None
    frozen: str | None = None
    terms: tuple[str, ...] = ()
    tried: Callable[..., Any] | None = None
    seconds: float | None = None

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
        source = inspect.getsource(self.solution)
        imports = [line for name, line in IMPORTS.items() if re.search(rf"\b{name}\b", source)]
        return "\n".join(imports) + "\n\n\n" * bool(imports) + source


@dataclass(frozen=True)
class Problem:
    """What keeps an answer from being compared with the right one; with its numbers, if it has another shape."""

    mistake: str
    message: str
    given: Tensor | None = None


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


class _TimeUpError(BaseException):
    """No Exception, so that a student's `except Exception` does not swallow it."""


def examine(exercise: Exercise, f: Any) -> Verdict:
    """Return whether a student's function is right, and if not, why; whatever the function does.

    Args:
        exercise: what it should do.
        f: the student's function.

    Returns:
        The verdict, which is not recorded yet.
    """
    problem = _unusable(exercise, f)
    if problem is not None:
        return _failed(exercise, problem.message, problem.mistake)
    expected = [_truth(exercise, case) for case in exercise.cases]  # before the student's time begins to count
    limit = TIME_LIMIT if exercise.seconds is None else exercise.seconds
    try:
        with _time_limit(limit), torch.enable_grad():
            outcomes = _outcomes(exercise, f, expected)
            if all(outcome.right for outcome in outcomes):
                return _gradient_verdict(exercise, f) if exercise.learns else _passed(exercise)
    except _TimeUpError as error:
        message = (
            f"Your function was stopped: it had not finished after {limit:g} seconds, and the inputs are tiny. "
            f"Is there a loop that never ends?{_their_line(error)}"
        )
        return _failed(exercise, message, "not finished in time")
    return _diagnosis(exercise, outcomes)


def _diagnosis(exercise: Exercise, outcomes: Sequence[Outcome]) -> Verdict:
    """Explain outcomes of which at least one is wrong.

    What goes wrong on plain cases is explained by them alone: one mistake at a time, and corner cases come last.
    """
    plain = [outcome for outcome in outcomes if outcome.case.shows is None]
    in_question = plain if any(not outcome.right for outcome in plain) else outcomes
    wrong = [outcome for outcome in in_question if not outcome.right]
    for mistake in exercise.mistakes:
        if _explains(exercise, mistake, in_question):
            return _failed(exercise, mistake.message, mistake.name, [o for o in wrong if o.comparable] or wrong)
    named = {mistake.name: mistake for mistake in exercise.mistakes}
    if wrong[0].case.shows is not None:
        mistake = named[wrong[0].case.shows]
        problem = wrong[0].problem
        detail = f"\n{problem.message}" if problem is not None else ""
        return _failed(exercise, mistake.message + detail, mistake.name, wrong[:1])
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
    if exercise.answer == "terms":
        gaps = [(o.given - o.expected).abs() for o in wrong if o.given is not None]
        names = [repr(name) for k, name in enumerate(exercise.terms) if any(gap[k] > 1e-4 for gap in gaps)]
        if len(names) < len(exercise.terms):
            message += f" Look at the term{'s' * (len(names) > 1)} {' and '.join(names)}."
    return _failed(exercise, message, None, wrong)


def _explains(exercise: Exercise, mistake: Mistake, outcomes: Sequence[Outcome]) -> bool:
    """Return whether a mistake gives all the answers that were given.

    Answers that are not finite differ with the way that a mistake is written, and are compared only if all wrong ones
    are like that.
    """
    compared = [outcome for outcome in outcomes if outcome.comparable]
    if all(outcome.right for outcome in compared):
        compared = [outcome for outcome in outcomes if outcome.given is not None]
    for outcome in compared:
        try:
            answer = mistake.wrong(*copy.deepcopy(outcome.case.arguments))
        except Exception:  # a mistake that cannot answer this does not explain an answer
            return False
        answer = _in_order(exercise, answer) if exercise.answer == "terms" else answer
        wrong = _stacked(answer).to(outcome.expected.dtype).detach()
        if outcome.given is None or wrong.shape != outcome.given.shape or not _same(outcome.given, wrong):
            return False
    return not all(outcome.right for outcome in compared)


def _outcomes(exercise: Exercise, f: Function, expected: Sequence[Tensor]) -> list[Outcome]:
    """Run a function on the cases; no answer before any wrong one ends it, as that is what will be told."""
    outcomes: list[Outcome] = []
    for case, answer in zip(exercise.cases, expected, strict=True):
        outcomes.append(_outcome(exercise, f, case, answer))
        if (
            outcomes[-1].problem is not None
            and outcomes[-1].given is None
            and all(outcome.right for outcome in outcomes[:-1])
        ):
            break
    return outcomes


def _outcome(exercise: Exercise, f: Function, case: Case, expected: Tensor) -> Outcome:
    arguments = copy.deepcopy(case.arguments)
    try:
        answer = _call(exercise, f, arguments)
    except (Exception, SystemExit) as error:
        return Outcome(case, expected, problem=_raised(exercise, error))
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
    if exercise.answer == "rules":
        return Outcome(case, expected, expected if answer is None else None, answer)
    read = _read(exercise, answer, expected)
    if isinstance(read, Problem):
        return Outcome(case, expected, read.given, read)
    return Outcome(case, expected, read, gaps=answer if _has_gaps(answer) else None)


def _truth(exercise: Exercise, case: Case) -> Tensor:
    if exercise.answer == "rules":  # many answers are right
        return torch.zeros(())
    answer = exercise.truth(*copy.deepcopy(case.arguments))
    if exercise.answer == "terms":
        answer = _in_order(exercise, answer)
    dtype = torch.int64 if exercise.answer in ("indices", "masks") else torch.float64
    return _stacked(answer).to(dtype).detach()


def _stacked(value: Any) -> Tensor:
    """Return a value as one tensor; several tensors lie one upon the other, and None becomes NaN."""
    if _has_gaps(value):
        value = [float("nan") if part is None else part for part in value]
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor | np.ndarray) for part in value):
        return torch.stack([torch.as_tensor(part) for part in value])
    return torch.as_tensor(value)


def _has_gaps(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(part is None for part in value)


def _in_order(exercise: Exercise, terms: dict[str, Any]) -> Tensor:
    """Return losses in the order of their names; one that is not there is 0, for a sum it makes no difference."""
    found = [torch.as_tensor(terms.get(name, 0.0), dtype=torch.float64).detach() for name in exercise.terms]
    return torch.stack([term.reshape(()).cpu() for term in found])


def _call(exercise: Exercise, f: Function, arguments: Sequence[Any]) -> Any:
    def call(*values: Any) -> Any:
        positional, keywords = _arguments(exercise, f, values) or (list(values), {})
        return f(*positional, **keywords)

    return call(*arguments) if exercise.tried is None else exercise.tried(call, *arguments)


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


def _unusable(exercise: Exercise, f: Any) -> Problem | None:
    """Return why a function cannot be called, or None."""
    if not callable(f):
        message = (
            f"The check got {_article(f)} and wants the function itself: check.{exercise.name}(my_function), without "
            "calling it."
        )
        return Problem("not a function", message)
    if _arguments(exercise, f, exercise.parameters) is None:  # whatever the values, they are as many
        wanted, has = f"({', '.join(exercise.parameters)})", inspect.signature(f)
        parameters = f"({', '.join(has.parameters)})"
        message = f"Your function takes {parameters}; the check calls it with {wanted}, in this order."
        return Problem("other arguments", message)
    return None


def _raised(exercise: Exercise, error: BaseException) -> Problem:
    where = _their_line(error)
    if isinstance(error, NotImplementedError):
        message = (
            f"Your function is not written yet: it still raises NotImplementedError.{where}\n"
            f"Replace that line with your own. A first hint: {exercise.hints[0]}"
        )
        return Problem("still to be written", message)
    text = " ".join(str(error).split())
    text = text if len(text) <= 400 else text[:399] + "…"
    message = f"Your function stopped with an error: {type(error).__name__}{': ' * bool(text)}{text}{where}"
    return Problem("error", message)


def _their_line(error: BaseException) -> str:
    """Return the innermost line of the student's own code in a traceback, on a line of its own, or nothing."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THEIRS)
    ]
    if not frames:
        return ""
    line = f": {frames[-1].line}" if frames[-1].line else ""
    return f"\nLine {frames[-1].lineno}, in {frames[-1].name}{line}"


_NOT_THEIRS = (
    str(Path(__file__).parent.parent) + os.sep,
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(torch.__file__).parent),
    str(Path(np.__file__).parent),
    "<frozen",
    "<__array_function__",
)


def _read(exercise: Exercise, answer: Any, expected: Tensor) -> Tensor | Problem:
    """Return an answer as a tensor like the expected one, or why it is none."""
    if answer is None:
        return Problem("nothing returned", "Your function returned None. Did you forget `return`?")
    if exercise.answer == "loss" and not isinstance(answer, Tensor):
        message = (
            f"Your function returned {_article(answer)}. A loss must stay a tensor: .item(), float() and NumPy cut it "
            "off from the network, and then nothing can be learnt from it."
        )
        return Problem("not a tensor", message)
    if exercise.answer == "terms":
        return _read_terms(exercise, answer)
    wanted = {"number": "a single number", "loss": "a scalar tensor"}.get(exercise.answer, "a tensor")
    if exercise.answer == "rows" and expected.ndim == 1:
        wanted = f"{len(expected)} numbers"
    if exercise.answer == "masks":
        wanted = f"{expected.shape[0]} masks of booleans" if expected.ndim == 3 else "booleans"
    many = exercise.answer in ("rows", "indices", "masks")
    kinds = (Tensor, np.ndarray, np.number, int, float) + ((list, tuple) if many else ())
    try:
        if isinstance(answer, bool) or not isinstance(answer, kinds):
            raise TypeError
        read = _stacked(answer).detach().cpu()
        if (read.dtype == torch.bool and exercise.answer != "masks") or read.is_complex():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        if exercise.answer == "masks" and isinstance(answer, tuple) and all(isinstance(p, Tensor) for p in answer):
            shapes = " and ".join(str(tuple(part.shape)) for part in answer)
            message = f"Your masks have the shapes {shapes}; expected {tuple(expected.shape[1:])} for each."
            return Problem("wrong shape", message)
        return Problem("wrong type", f"Your function returned {_article(answer)}; expected {wanted}.")
    if not many:
        if read.numel() != 1:
            message = (
                f"Your function returned {read.numel()} numbers, of shape {tuple(read.shape)}; expected {wanted}. "
                "Is a mean or a sum missing at the end?"
            )
            return Problem("wrong shape", message)
        return read.reshape(()).double()
    if read.shape != expected.shape:
        message = f"Your function returned the shape {tuple(read.shape)}; expected {tuple(expected.shape)}."
        if read.ndim == 0:
            message = f"Your function returned a single number; expected {wanted}, of shape {tuple(expected.shape)}."
        if expected.ndim == 2 and read.shape == expected.T.shape:
            message += " Rows and columns are swapped."
        if exercise.answer == "masks" and expected.ndim == 3:
            message += f" That is {len(expected)} masks, each of the shape {tuple(expected.shape[1:])}."
        whole = expected.is_floating_point() or not read.is_floating_point()
        return Problem("wrong shape", message, read.to(expected.dtype) if whole else None)
    if exercise.answer == "indices" and read.is_floating_point():
        message = (
            "Your function returned numbers with a decimal point; expected indices, which say where in the gallery "
            "the answers are. Are these the similarities?"
        )
        return Problem("wrong type", message)
    if exercise.answer == "masks" and not bool(((read == 0) | (read == 1)).all()):
        return Problem("wrong type", f"Your function returned numbers; expected {wanted}, each True or False.")
    return read.double() if exercise.answer in ("number", "rows") else read.long()


def _read_terms(exercise: Exercise, answer: Any) -> Tensor | Problem:
    if isinstance(answer, Tensor) and answer.numel() == 1 and answer.is_floating_point():
        message = (
            "Your function returned one number. The trainer adds the terms up itself, and logs each by its name: "
            "return the dictionary."
        )
        return Problem("terms added up", message)
    if not isinstance(answer, dict):
        return Problem("wrong type", f"Your function returned {_article(answer)}; expected a dictionary of losses.")
    known = ", ".join(map(repr, exercise.terms))
    for name, term in answer.items():
        if name not in exercise.terms:
            return Problem("unknown term", f"Your function returned a term named {name!r}; expected some of {known}.")
        if not isinstance(term, Tensor) or term.numel() != 1 or not term.is_floating_point():
            message = f"The term {name!r} is {_article(term)}; expected a scalar tensor, from which can be learnt."
            return Problem("not a tensor", message)
    return _in_order(exercise, answer)


def _gradient_verdict(exercise: Exercise, f: Function) -> Verdict:
    """Return the verdict on a loss whose values are right: does its gradient flow, and only where it should?"""
    case = [case for case in exercise.cases if case.shows is None][-1]
    expected = _gradients(exercise, exercise.truth, case)
    try:
        given = _gradients(exercise, f, case)
    except (Exception, SystemExit) as error:
        message = (
            "The loss has the right value, but its gradient cannot be computed. " + _raised(exercise, error).message
        )
        return _failed(exercise, message, "gradient fails")
    learns, frozen = exercise.learns, exercise.frozen
    leaked = given[frozen] if frozen is not None else None
    if leaked is not None and bool((leaked != 0).any()):
        message = (
            f"The teacher received a gradient through {frozen!r}. The teacher is a frozen copy that shows what the old "
            "features were: if it could learn, it would drift along with the student. Cut it off with .detach()."
        )
        return _failed(exercise, message, "teacher gradient")
    wanted, found = expected[str(learns)], given[str(learns)]
    if found is None or wanted is None or not bool((found != 0).any()):
        message = (
            f"The loss has the right value, but no gradient reaches {learns!r}: nothing could be learnt from it. It is "
            "cut off by .detach(), .item(), torch.no_grad(), NumPy or a new torch.tensor(…)."
        )
        return _failed(exercise, message, "detached")
    if not bool(torch.isfinite(found).all()):
        message = (
            "The loss has the right value, but its gradient is NaN or infinite. A square root or a log of exactly 0 "
            "does that, even where torch.where or a product with 0 hides its value."
        )
        return _failed(exercise, message, "gradient not finite")
    if not torch.allclose(found.double(), wanted.double(), rtol=1e-3, atol=1e-5):
        message = (
            f"The loss has the right value, but not the right gradient in {learns!r}: a part of it is cut off. Detach "
            "nothing but what the teacher gives."
        )
        return _failed(exercise, message, "gradient cut")
    return _passed(exercise)


def _gradients(exercise: Exercise, f: Function, case: Case) -> dict[str, Tensor | None]:
    """Return the gradients of a loss in what learns and in what is frozen."""
    arguments = dict(zip(exercise.inputs, copy.deepcopy(case.arguments), strict=True))
    tensors = {name: part for argument in arguments.items() for name, part in parts(*argument).items()}
    leaves = {name: tensors[name].requires_grad_() for name in (exercise.learns, exercise.frozen) if name}
    loss = _call(exercise, f, list(arguments.values()))
    loss = sum(loss.values()) if isinstance(loss, dict) else loss
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TimeUpError in the block after so long, where the system and the thread allow it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TimeUpError

    handler = signal.signal(signal.SIGALRM, stop)
    # Once more each second, should a bare `except:` in a loop swallow the first.
    before = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # before the old handler is back, which may end the process
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


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
    return not isinstance(before, bool | int | float | str) or bool(before == after)


def _passed(exercise: Exercise) -> Verdict:
    n = len(exercise.cases)
    message = (
        f"The rules are kept on all {n} inputs."
        if exercise.answer == "rules"
        else f"All {n} inputs are answered correctly."
    )
    return Verdict(exercise.name, True, message, tested=exercise.tested)


def _failed(exercise: Exercise, message: str, mistake: str | None, outcomes: Sequence[Outcome] = ()) -> Verdict:
    """Return a verdict with the smallest of the cases, unless the message is all that there is to say."""
    if not outcomes or mistake == "still to be written":
        return Verdict(exercise.name, False, message, mistake)
    smallest = min(outcomes, key=lambda outcome: _size(outcome.case.arguments))
    arguments = dict(zip(exercise.inputs, copy.deepcopy(smallest.case.arguments), strict=True))
    expected = _plain(exercise, smallest.expected)
    given = None if smallest.given is None else _plain(exercise, smallest.given)
    given = given if smallest.gaps is None else list(smallest.gaps)
    return Verdict(exercise.name, False, message, mistake, Example(smallest.case.about, arguments, expected, given))


def _plain(exercise: Exercise, value: Tensor) -> Any:
    if exercise.answer == "rules":
        return "any that keeps the rules"
    if exercise.answer == "terms":
        return {name: term for name, term in zip(exercise.terms, value.tolist(), strict=True) if term != 0}
    return value.item() if value.ndim == 0 else value


def _size(value: Any) -> int:
    if isinstance(value, Tensor | np.ndarray):
        return int(np.prod(value.shape))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _article(value: Any) -> str:
    """Return what a value is, in words: "a dict", "an int"; a small number with its value."""
    name = type(value).__name__
    text = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    return f"{text} ({shown(value)})" if isinstance(value, bool | int | float) else text
