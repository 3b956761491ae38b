"""Which function a notebook goes on with: the student's own if it has passed its check, else the kit's.

check.csd(csd_loss)                # the check of one cell …
loss = check.yours_or_ours("csd")  # … decides what another one takes: prints "with your csd_loss"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Function = Callable[..., Any]

_passed: dict[str, Function] = {}
"""By exercise the function, or the object, that was checked last in this session, if it passed."""


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
        print(f"with your {_named(_passed[exercise], exercise)}")
        return _passed[exercise]
    if ours is None:
        what = f"without {exercise}"
    else:
        what = f"with the kit's {exercise if ours == 'solution' else _named(ours, exercise)}"
    print(f"{what}, until yours has passed check.{exercise}")
    if ours != "solution":
        return ours
    solution = EXERCISES[exercise].solution
    return solution() if isinstance(solution, type) else solution


def _named(f: Function, otherwise: str) -> str:
    return getattr(f, "__name__", otherwise)  # a partial has no name
