"""What a student gets to see: verdicts, hints and the progress board, as plain text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from csd_edu.methods.step import Step

# Of Okabe & Ito's colours; signs and words say the same. The text is dark on white, also on a dark page.
GREEN, VERMILION, BLUE, INK, GREY = "#009E73", "#D55E00", "#0072B2", "#1f2328", "#59636e"

FEW = 40  # numbers of a tensor that are still printed


@dataclass(frozen=True, eq=False)
class Example:
    """The smallest input on which a function fails.

    Attributes:
        about: what is special about it.
        arguments: what the function was called with, by name.
        expected: the right answer.
        given: what the function returned; None if it returned nothing that can be compared.
    """

    about: str
    arguments: Mapping[str, Any]
    expected: Any
    given: Any = None

    def __str__(self) -> str:
        flat = {name: part for argument in self.arguments.items() for name, part in parts(*argument).items()}
        lines = [f"{name} = {shown(value)}" for name, value in flat.items()]
        expected, given = shown(self.expected), shown(self.given)
        if expected == given:  # they differ further down
            expected, given = str(self.expected), str(self.given)
        return "\n".join([*lines, f"expected: {expected}", *[f"your answer: {given}"] * (self.given is not None)])


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """Whether a function is right, and if it is not, why.

    Attributes:
        exercise: its name.
        passed: whether all answers were right.
        mistake: the name of the mistake; None if the function passed or the mistake is not a known one.
        message: what is wrong, or that nothing is.
        case: the smallest input that shows it, or None.
        tested: what was tested, if the function passed.
        note: what else is to be said, such as that the progress was not saved; or nothing.
    """

    exercise: str
    passed: bool
    message: str
    mistake: str | None = None
    case: Example | None = None
    tested: str = ""
    note: str = ""

    def __repr__(self) -> str:
        lines = [self._heading(), self.message]
        if self.case is not None:
            lines += [f"The smallest input that shows it ({self.case.about}):", _indented(str(self.case))]
        if self.passed:
            lines.append(f"Tested: {self.tested}")
        else:
            lines.append(f"For a hint: {self._offer()}")
        return "\n".join([*lines, *filter(None, [self.note])])

    def _repr_html_(self) -> str:
        parts = [_paragraph(self.message)]
        if self.case is not None:
            parts.append(_paragraph(f"The smallest input that shows it ({self.case.about}):") + _code(str(self.case)))
        if self.passed:
            parts.append(_paragraph(f"Tested: {self.tested}"))
        else:
            parts.append(f"<p style='margin:6px 0'>For a hint: <code>{html.escape(self._offer())}</code></p>")
        if self.note:
            parts.append(_paragraph(self.note, GREY))
        return _card(GREEN if self.passed else VERMILION, self._heading(), "".join(parts))

    def _heading(self) -> str:
        if self.passed:
            return f"✓ {self.exercise}: passed"
        return f"✕ {self.exercise}: not yet" + (f" ({self.mistake})" if self.mistake else "")

    def _offer(self) -> str:
        return f'check.hint("{self.exercise}")'


@dataclass(frozen=True, repr=False)
class Hint:
    """One rung of the ladder to an exercise's solution.

    Attributes:
        exercise: its name.
        rung: from 1.
        of: the number of rungs; the last is the solution.
        text: the hint.
        code: the source of the solution on the last rung, otherwise nothing.
    """

    exercise: str
    rung: int
    of: int
    text: str
    code: str = ""
    note: str = ""

    def __repr__(self) -> str:
        code = [_indented(self.code)] if self.code else []
        return "\n".join([self._heading(), self.text, *code, *filter(None, [self._next(), self.note])])

    def _repr_html_(self) -> str:
        code = _code(self.code, "pre") if self.code else ""
        after = "".join(_paragraph(text, GREY) for text in (self._next(), self.note) if text)
        return _card(BLUE, self._heading(), _paragraph(self.text) + code + after)

    def _heading(self) -> str:
        return f"{self.exercise}: " + ("the solution" if self.code else f"hint {self.rung} of {self.of - 1}")

    def _next(self) -> str:
        if self.code:
            return ""
        what = "the solution" if self.rung == self.of - 1 else "another hint"
        return f'Try with this first; check.hint("{self.exercise}") again shows {what}.'


@dataclass(frozen=True, repr=False)
class Board:
    """What is done of the exercises.

    Attributes:
        rows: for each exercise its name, title, and entry of the progress file.
        note: that the progress was not saved, or nothing.
    """

    rows: Sequence[tuple[str, str, Mapping[str, Any]]]
    note: str = field(default="")

    def __repr__(self) -> str:
        width = max(len(name) for name, _, _ in self.rows)
        lines = [f"{_state(entry):<10}  {name:<{width}}  {_effort(entry)}".rstrip() for name, _, entry in self.rows]
        return "\n".join([self._heading(), *lines, *filter(None, [self.note])])

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='{_CELL}'>{text}</th>" for text in ("state", "exercise", "check", "tried"))
        body = "".join(_board_row(*row) for row in self.rows)
        note = _paragraph(self.note, GREY) if self.note else ""
        table = f"<table style='border-collapse:collapse;background:white;color:{INK};margin:6px 0'>"
        return _card(BLUE, self._heading(), f"{table}<tr>{head}</tr>{body}</table>{note}")

    def _heading(self) -> str:
        return f"Progress: {sum(bool(entry['passed']) for _, _, entry in self.rows)} of {len(self.rows)} passed"


def parts(name: str, value: Any) -> dict[str, Any]:
    """Return a value by its name; of a training step what a method looks at, each part by its own name."""
    if not isinstance(value, Step):
        return {name: value}
    found = {f"{name}.{part}": getattr(value, part) for part in ("task", "labels", "features", "logits")}
    if value.teacher is None:
        return {**found, f"{name}.teacher": None}
    return {**found, **{f"{name}.teacher.{part}": getattr(value.teacher, part) for part in ("features", "logits")}}


def shown(value: Any) -> str:
    """Return a value as short text: numbers to four digits, of a larger tensor the shape only.

    Several matrices of whole numbers, such as masks, are written one below the other.
    """
    value = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    if isinstance(value, torch.Tensor) and value.ndim == 3 and not value.is_floating_point() and value.numel() <= FEW:
        return "\n".join(
            "\n" + "\n".join(f"    {' '.join(map(str, row))}" for row in table) for table in value.tolist()
        )
    if isinstance(value, torch.Tensor):
        return shown(value.tolist()) if value.numel() <= FEW else f"{value.numel()} numbers, {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(part)}" for key, part in value.items()) + "}"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # no −0
    return str(value)


def _state(entry: Mapping[str, Any]) -> str:
    if entry["passed"]:
        return "✓ passed"
    return "… begun" if entry["attempts"] or entry["hints"] else "– to do"


def _effort(entry: Mapping[str, Any]) -> str:
    counts = ((entry["attempts"], "attempt"), (entry["hints"], "hint"))
    return ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts if n)


def _board_row(name: str, title: str, entry: Mapping[str, Any]) -> str:
    color = GREEN if entry["passed"] else GREY
    state = f"<td style='{_CELL};border-left:6px solid {color};white-space:nowrap'>{html.escape(_state(entry))}</td>"
    call = f"<td style='{_CELL}'><code>check.{html.escape(name)}</code></td>"
    words = [f"<td style='{_CELL}'>{html.escape(text)}</td>" for text in (title, _effort(entry))]
    return f"<tr>{state}{words[0]}{call}{words[1]}</tr>"


_CELL = f"text-align:left;padding:4px 12px;border-bottom:1px solid #e3e6ea;background:white;color:{INK};font-size:15px"


def _card(color: str, heading: str, body: str) -> str:
    n = int(heading[0] in "✓✕")
    sign, rest = f"<span style='color:{color}'>{heading[:n]}</span>" * n, heading[n:]
    return (
        f"<div style='border-left:6px solid {color};background:white;color:{INK};padding:8px 14px;margin:6px 0;"
        "max-width:900px;font-size:15px;line-height:1.45;overflow-wrap:anywhere'>"
        f"<div style='font-weight:bold;font-size:17px'>{sign}{html.escape(rest)}</div>{body}</div>"
    )


def _paragraph(text: str, color: str = INK) -> str:
    return f"<p style='margin:6px 0;color:{color};white-space:pre-wrap'>{html.escape(text)}</p>"


def _code(text: str, wrap: str = "pre-wrap") -> str:
    style = f"margin:6px 0;padding:8px;background:#f3f4f6;color:{INK};white-space:{wrap};overflow-x:auto;font-size:14px"
    return f"<pre style='{style}'>{html.escape(text)}</pre>"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())
