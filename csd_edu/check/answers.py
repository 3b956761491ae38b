"""The kinds of answers: how each is read, compared with the right one, and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from csd_edu.check.verdict import shown


@dataclass(frozen=True)
class Problem:
    """What keeps an answer from being compared with the right one; with its numbers, if it has another shape."""

    mistake: str
    message: str
    given: Tensor | None = None


class Answer:
    """What a function is to return.

    Attributes:
        learns: of a loss or several, the parameter, or the part of a step, that gets the gradient.
        frozen: the same of what must not get any.
        also: where several are to learn, pairs of the same two for the others; None where nothing is frozen.
        shares: whether what learns are rows that sum to 1: then a gradient is right but for a constant in each row.
        dtype: that answers are compared in.
        kinds, booleans: what may hold the numbers, and whether they may be booleans.
        passed: what is said if all is right, with the number of inputs as {n}.
    """

    learns: str | None = None
    frozen: str | None = None
    also: Sequence[tuple[str, str | None]] = ()
    shares: bool = False
    dtype: ClassVar[torch.dtype] = torch.float64
    kinds: ClassVar[tuple[type, ...]] = (Tensor, np.ndarray, np.number, int, float)
    booleans: ClassVar[bool] = False
    passed: ClassVar[str] = "All {n} inputs are answered correctly."

    def tensor(self, answer: Any) -> Tensor:
        """Return a right answer, or that of a known mistake, as one tensor."""
        return stacked(answer).to(self.dtype).detach()

    def read(self, answer: Any, expected: Tensor) -> Tensor | Problem:
        """Return a student's answer as a tensor like the expected one, or why it is none."""
        if answer is None:
            return Problem(
                "nothing returned",
                "Your function returned None. Did you forget `return`, or does it stand inside of an `if`?",
            )
        return self._read(answer, expected)

    def plain(self, value: Tensor) -> Any:
        """Return an answer as an example shows it."""
        return value.item() if value.ndim == 0 else value

    def clue(self, _gaps: Sequence[Tensor]) -> str:
        """Return where to look for an unknown mistake, if the differences from the right answers tell, or nothing."""
        return ""

    def _read(self, answer: Any, expected: Tensor) -> Tensor | Problem:
        raise NotImplementedError

    def _numbers(self, answer: Any) -> Tensor | None:
        """Return an answer as a tensor, or None if it is not of the kinds that are expected."""
        if isinstance(answer, bool) or not isinstance(answer, self.kinds):
            return None
        try:
            read = stacked(answer).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            return None
        return None if read.is_complex() or (read.dtype == torch.bool and not self.booleans) else read


class Number(Answer):
    """A single number."""

    wanted: ClassVar[str] = "a single number"

    def _read(self, answer: Any, _expected: Tensor) -> Tensor | Problem:
        read = self._numbers(answer)
        if read is None:
            return Problem("wrong type", f"Your function returned {article(answer)}; expected {self.wanted}.")
        if read.numel() != 1:
            message = (
                f"Your function returned {read.numel()} numbers, of shape {tuple(read.shape)}; expected {self.wanted}. "
                "Is a mean or a sum missing at the end?"
            )
            return Problem("wrong shape", message)
        return read.reshape(()).to(self.dtype)


class Loss(Number):
    """A scalar tensor, with a gradient in one parameter and perhaps none in another."""

    wanted = "a scalar tensor"

    def __init__(
        self,
        learns: str,
        *,
        frozen: str | None = None,
        also: Sequence[tuple[str, str | None]] = (),
        shares: bool = False,
    ) -> None:
        self.learns, self.frozen, self.also, self.shares = learns, frozen, also, shares

    def _read(self, answer: Any, expected: Tensor) -> Tensor | Problem:
        if isinstance(answer, Tensor):
            return super()._read(answer, expected)
        message = (
            f"Your function returned {article(answer)}. A loss must stay a tensor: .item(), float() and NumPy cut it "
            "off from the network, and then nothing can be learnt from it."
        )
        return Problem("not a tensor", message)


class Rows(Answer):
    """A matrix, or a few numbers."""

    kinds = (*Answer.kinds, list, tuple)

    def wanted(self, expected: Tensor) -> str:
        return f"{len(expected)} numbers" if expected.ndim == 1 else "a tensor"

    def _read(self, answer: Any, expected: Tensor) -> Tensor | Problem:
        read = self._numbers(answer)
        if read is None:
            apart = isinstance(answer, tuple) and any(isinstance(part, tuple) for part in answer)
            message = f"Your function returned {article(answer)}; expected {self.wanted(expected)}."
            return Problem("wrong type", message + " Take the inner tuple apart with a star: *pair." * apart)
        if read.shape == expected.shape:
            return self._other_kind(read, expected) or read.to(self.dtype)
        message = f"Your function returned the shape {tuple(read.shape)}; expected {tuple(expected.shape)}."
        if read.ndim == 0:
            wanted = f"{self.wanted(expected)}, of shape {tuple(expected.shape)}"
            message = f"Your function returned a single number; expected {wanted}."
        if expected.ndim == 2 and read.shape == expected.T.shape:
            message += " Rows and columns are swapped."
        whole = expected.is_floating_point() or not read.is_floating_point()
        return Problem("wrong shape", message, read.to(expected.dtype) if whole else None)

    def _other_kind(self, _read: Tensor, _expected: Tensor) -> Problem | None:
        """Return why numbers of the right shape are no answer, or None."""
        return None


class Indices(Rows):
    """A matrix of integers."""

    dtype = torch.int64

    def _other_kind(self, read: Tensor, _expected: Tensor) -> Problem | None:
        message = (
            "Your function returned numbers with a decimal point; expected indices, which say where in the gallery "
            "the answers are. Are these the similarities?"
        )
        return Problem("wrong type", message) if read.is_floating_point() else None


class Bytes(Rows):
    """Pixels as uint8."""

    def _other_kind(self, read: Tensor, _expected: Tensor) -> Problem | None:
        if read.dtype == torch.uint8:
            return None
        what = str(read.dtype).removeprefix("torch.")
        if read.is_floating_point():
            what = f"numbers with a decimal point ({what})"
        message = (
            f"Your function returned {what}; expected uint8, in which each number takes one byte and not "
            f"{read.element_size()}: end with .to(torch.uint8), after rounding and cutting off."
        )
        if read.element_size() == 1:
            message = f"Your function returned {what}; expected uint8, a byte from 0 to 255: end with .to(torch.uint8)."
        return Problem("wrong type", message)


class Masks(Rows):
    """One tensor of booleans, or several."""

    dtype = torch.int64
    booleans = True

    def wanted(self, expected: Tensor) -> str:
        return f"{len(expected)} masks of booleans" if expected.ndim == 3 else "booleans"

    def _read(self, answer: Any, expected: Tensor) -> Tensor | Problem:
        read = super()._read(answer, expected)
        if not isinstance(read, Problem):
            return read
        if read.mistake == "wrong shape" and expected.ndim == 3:
            about = f" That is {len(expected)} masks, each of the shape {tuple(expected.shape[1:])}."
            return Problem(read.mistake, read.message + about, read.given)
        several = isinstance(answer, tuple) and all(isinstance(part, Tensor) for part in answer)
        if several and self._numbers(answer) is None:
            shapes = " and ".join(str(tuple(part.shape)) for part in answer)
            message = f"Your masks have the shapes {shapes}; expected {tuple(expected.shape[1:])} for each."
            return Problem("wrong shape", message)
        return read

    def _other_kind(self, read: Tensor, expected: Tensor) -> Problem | None:
        if bool(((read == 0) | (read == 1)).all()):
            return None
        message = f"Your function returned numbers; expected {self.wanted(expected)}, each True or False."
        return Problem("wrong type", message)


class Terms(Answer):
    """A dictionary of losses, with some of these names."""

    def __init__(self, *names: str, learns: str, frozen: str, also: Sequence[tuple[str, str | None]] = ()) -> None:
        self.names, self.learns, self.frozen, self.also = names, learns, frozen, also

    def tensor(self, answer: Any) -> Tensor:
        """Return losses in the order of their names; one that is not there is 0, for a sum it makes no difference."""
        found = [torch.as_tensor(answer.get(name, 0.0), dtype=self.dtype).detach() for name in self.names]
        return torch.stack([term.reshape(()).cpu() for term in found])

    def _read(self, answer: Any, _expected: Tensor) -> Tensor | Problem:
        if isinstance(answer, Tensor) and answer.numel() == 1 and answer.is_floating_point():
            message = (
                "Your function returned one number. The trainer adds the terms up itself, and logs each by its name: "
                "return the dictionary."
            )
            return Problem("terms added up", message)
        if not isinstance(answer, dict):
            return Problem("wrong type", f"Your function returned {article(answer)}; expected a dictionary of losses.")
        known = ", ".join(map(repr, self.names))
        for name, term in answer.items():
            if name not in self.names:
                message = f"Your function returned a term named {name!r}; expected some of {known}."
                return Problem("unknown term", message)
            if not isinstance(term, Tensor) or term.numel() != 1 or not term.is_floating_point():
                message = f"The term {name!r} is {article(term)}; expected a scalar tensor, from which can be learnt."
                return Problem("not a tensor", message)
        return self.tensor(answer)

    def plain(self, value: Tensor) -> Any:
        return {name: term for name, term in zip(self.names, value.tolist(), strict=True) if term != 0}

    def clue(self, gaps: Sequence[Tensor]) -> str:
        names = [repr(name) for k, name in enumerate(self.names) if any(gap[k].abs() > 1e-4 for gap in gaps)]
        if len(names) == len(self.names):
            return ""
        return f" Look at the term{'s' * (len(names) > 1)} {' and '.join(names)}."


class Rules(Answer):
    """Anything that keeps some rules: what is read is the first one that is broken, a `Problem`, or None."""

    passed = "The rules are kept on all {n} inputs."

    def tensor(self, _answer: Any) -> Tensor:
        return torch.zeros(())  # many are right

    def read(self, answer: Problem | None, expected: Tensor) -> Tensor | Problem:
        return expected if answer is None else answer

    def plain(self, _value: Tensor) -> Any:
        return "any that keeps the rules"


def stacked(value: Any) -> Tensor:
    """Return a value as one tensor; several tensors lie one upon the other, and None becomes NaN."""
    if has_gaps(value):
        value = [float("nan") if part is None else part for part in value]
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor | np.ndarray) for part in value):
        return torch.stack([torch.as_tensor(part) for part in value])
    return torch.as_tensor(value)


def has_gaps(value: Any) -> bool:
    """Return whether there is a None among several values."""
    return isinstance(value, list | tuple) and any(part is None for part in value)


def article(value: Any) -> str:
    """Return what a value is, in words: "a dict", "an int"; a small number with its value."""
    name = type(value).__name__
    text = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    if isinstance(value, list | tuple) and value:  # what is in it, if that is what is wrong
        inner = [part for part in value if isinstance(part, str | list | tuple | dict | set) or part is None]
        return f"{text}, in which there is {article(inner[0])}" if inner else text
    return f"{text} ({shown(value)})" if isinstance(value, bool | int | float) else text
