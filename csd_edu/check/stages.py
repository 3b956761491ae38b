"""Where on its way to a single number a function leaves the right road: its own variables beside the expected ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor

Stages = Mapping[str, Sequence[Tensor]]
"""By name, in order, what a variable may hold at this stage, the first one to be shown; NaN for any number."""


def variables(f: Callable[..., Any], call: Callable[[], Any]) -> dict[str, Any]:
    """Return the variables of a function as they were when it returned, while something calls it."""
    found: dict[str, Any] = {}

    def watch(frame: FrameType, event: str, _value: Any) -> None:
        if event == "return" and frame.f_code is getattr(f, "__code__", None):
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def compared(stages: Stages, found: Mapping[str, Any]) -> str:
    """Return in words which stages some variables hold, and which is the first that none of them does."""
    missing = False
    lines = ["Step by step, for the input below:"]
    for name, expected in stages.items():
        holders = [variable for variable, value in found.items() if any(_holds(value, x) for x in expected)]
        if holders:
            lines.append(f"  {name}: right, in your `{holders[0]}`")
        else:
            lines.append(
                f"  {name}: {'' if missing else 'in none of your variables; '}expected\n{_matrix(expected[0])}"
            )
            missing = True
    return "\n".join(lines)


def _holds(value: Any, expected: Tensor) -> bool:
    if not isinstance(value, Tensor) or value.shape != expected.shape:
        return False
    counts = ~expected.isnan()
    return torch.allclose(value.detach().float()[counts], expected[counts], rtol=1e-3, atol=1e-4)


def _matrix(x: Tensor) -> str:
    rows = [[("·" if v != v else f"{v:.3g}") for v in row] for row in (x if x.ndim == 2 else x[None]).tolist()]
    width = max(len(text) for row in rows for text in row)
    return "\n".join("    " + " ".join(text.rjust(width) for text in row) for row in rows)
