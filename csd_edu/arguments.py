"""Numbers as they are given, in NumPy's, torch's or Python's types, as Python's own: what a run saves is plain."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import torch

LARGEST_SEED = 2**32 - 1
"""NumPy's frozen random streams know no larger one."""


def whole(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number as an int.

    Args:
        name: of the argument, for the message.
        value: an integer of Python, NumPy or torch; no bool, no text, and no float, even if it is whole.
        least, most: the range, if there is one.

    Raises:
        ValueError: if it is something else, or outside.
    """
    of_range = {
        (False, False): "",
        (True, False): f" of at least {least}",
        (False, True): f" of at most {most}",
        (True, True): f" from {least} to {most}",
    }[least is not None, most is not None]
    several = isinstance(value, torch.Tensor | np.ndarray) and value.ndim > 0
    try:
        number = None if several or _is_flag(value) else operator.index(value)
    except (TypeError, RuntimeError):  # torch raises the second for a tensor of floats
        number = None
    too_far = number is not None and ((least is not None and number < least) or (most is not None and number > most))
    if number is None or too_far:
        raise ValueError(f"{name} is {_shown(value)}; expected a whole number{of_range}")
    return number


def seed(name: str, value: Any) -> int:
    """Return a seed for NumPy's frozen streams, or raise a ValueError if it is no whole number from 0 to 2³² − 1."""
    return whole(name, value, least=0, most=LARGEST_SEED)


def number(name: str, value: Any, expected: str = "a finite number") -> float:
    """Return a finite number as a float.

    Args:
        name: of the argument, for the message.
        value: a number of Python, NumPy or torch; no bool and no text.
        expected: what is, in words.

    Raises:
        ValueError: if it is something else, NaN or infinite.
    """
    try:
        single = value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value
        found = float(single) if isinstance(single, Real) and not _is_flag(single) else math.nan
    except (OverflowError, RuntimeError):  # beyond all floats; without a value, on the device "meta"
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} is {_shown(value)}; expected {expected}")
    return found


def weight(name: str, value: Any, what: str = "weight") -> float:
    """Return a weight as a float, or raise a ValueError if it is no finite number of at least 0; `what` names it."""
    found = number(name, value)
    if found < 0:
        raise ValueError(f"{name} is {_shown(value)}; expected a {what} of at least 0")
    return found


def positive(name: str, value: Any, such_as: float) -> float:
    """Return a number as a float, or raise a ValueError if it is no finite one above 0, `such_as` this one."""
    found = number(name, value)
    if not found > 0:
        raise ValueError(f"{name} is {_shown(value)}; expected a number above 0, such as {such_as}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return True or False of Python, NumPy or torch as a bool, or raise a ValueError for everything else."""
    if not _is_flag(value):
        raise ValueError(f"{name} is {_shown(value)}; expected True or False")
    return bool(value)


def whole_numbers(name: str, values: Any, *, least: int | None = None) -> list[int]:
    """Return whole numbers as a list of ints.

    Args:
        name: of the argument, for the message.
        values: a list, tuple, range, array or tensor of them, or whatever else yields them.
        least: the smallest allowed.

    Raises:
        ValueError: if it is a single value or a text, or one of them is no whole number.
    """
    try:
        found = None if isinstance(values, str | bytes | dict) else list(values)
    except TypeError:
        found = None
    if not isinstance(values, Iterable) or found is None:
        raise ValueError(f"{name} is {_shown(values)}; expected a list of whole numbers")
    return [whole(f"{name}[{i}]", value, least=least) for i, value in enumerate(found)]


def check_tensors(**values: object) -> None:
    """Raise a ValueError if one of these arguments, by name, is no tensor."""
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}; expected a tensor (of an array: torch.from_numpy)")


def _is_flag(value: Any) -> bool:
    array = isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0
    return isinstance(value, bool | np.bool_) or (array and value.dtype in (torch.bool, np.bool_))


def _shown(value: Any) -> str:
    """Return a value as a message shows it, in one line; NumPy's and torch's types are told."""
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else f"{type(value).__name__} {text[:60]}…"
