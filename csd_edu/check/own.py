"""Which function a notebook goes on with: the student's own if it has passed its check, else the kit's.

check.csd(csd_loss)                # the check of one cell …
loss = check.yours_or_ours("csd")  # … decides what another one takes: prints "with your csd_loss"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from csd_edu.output import say

Function = Callable[..., Any]

HELPERS = {
    "stale_recall": "recall_at_1",
    "t_interval": "library_interval",
    "paired_difference": "library_difference",
}
"""By exercise the helpers that a notebook's first cells may define, and that would be an answer."""

_passed: dict[str, Function] = {}
"""By exercise the function, or the object, that was checked last in this session, if it passed."""


def helper_in(exercise: str, f: Any) -> str | None:
    """Return the notebook's helper that was handed in as an answer, under whatever name, or that it calls; or None."""
    names, code = HELPERS.get(exercise, ""), getattr(f, "__code__", None)
    if not names or code is None:
        return None
    copies = [
        name for name, g in f.__globals__.items() if getattr(getattr(g, "__code__", None), "co_code", 0) == code.co_code
    ]
    used = [name for name in (f.__name__, *code.co_names, *copies) if re.fullmatch(names, name)]
    return used[0] if used else None


def remember(exercise: str, f: Function, passed: bool) -> None:
    """Note which function was checked, and whether it passed."""
    _passed.pop(exercise, None)
    if passed:
        _passed[exercise] = f


def yours_or_ours(exercise: str, *, ours: Function | Literal["solution"] | None = "solution") -> Any:
    """Return the student's function if it has passed its check in this session, else the kit's; print which one.

    Args:
        exercise: its name, such as "csd".
        ours: what stands in for the student's function: a function with the same parameters, by default the model
            solution; None for nothing.

    Returns:
        The function; None if there is none of either.

    Raises:
        ValueError: if there is no such exercise.
    """
    from csd_edu.check import EXERCISES

    if exercise not in EXERCISES:
        raise ValueError(f"there is no exercise {exercise!r}; expected one of {', '.join(map(repr, EXERCISES))}")
    if exercise in _passed:
        say(f"with your {_named(_passed[exercise], exercise)}")
        return _passed[exercise]
    if ours is None:
        what = f"without {exercise}"
    else:
        what = f"with the kit's {exercise if ours == 'solution' else _named(ours, exercise)}"
    say(f"{what}, until yours has passed check.{exercise}")
    if ours != "solution":
        return ours
    solution = EXERCISES[exercise].solution
    return solution() if isinstance(solution, type) else solution


def _named(f: Function, otherwise: str) -> str:
    return getattr(f, "__name__", otherwise)  # a partial has no name
