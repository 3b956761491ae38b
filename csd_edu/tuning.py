"""How the weights of methods were chosen: tuning.json, which lies beside the run folders.

{"dataset": "glyphs", "preset": "quick", "validation": 0.25, "metric": "in words", "seeds": [101, 102],
 "methods": {"lwf": {"setting": "weight", "grid": {"1": [0.61, 0.63], "5": [0.70, 0.72]}, "chosen": 5}}}
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csd_edu.methods import NAMED
from csd_edu.runs import Run

NAME = "tuning.json"


@dataclass(frozen=True)
class Search:
    """What was tried for one setting of a method.

    Attributes:
        setting: its name, such as "weight".
        grid: by the value tried, the score with each seed; in rising order of the values.
        chosen: the value that was taken.
    """

    setting: str
    grid: Mapping[float, tuple[float, ...]]
    chosen: float


@dataclass(frozen=True)
class Tuning:
    """How the settings of methods were chosen.

    Attributes:
        dataset, preset: what was trained on, and how.
        validation: the share of the training images that was held out to measure on.
        metric: what was measured, in words.
        seeds: with which it was tried.
        methods: the search of each method, by the method's name.
    """

    dataset: str
    preset: str
    validation: float
    metric: str
    seeds: tuple[int, ...]
    methods: Mapping[str, Search]

    def chose(self, run: Run) -> bool:
        """Return whether a run's setting is the chosen one, on the same data, and it has no other setting changed."""
        name, _, inside = run.method.partition("(")
        search = self.methods.get(name)
        if search is None or run.is_own or name not in NAMED or run.description["stream"]["dataset"] != self.dataset:
            return False
        setting, _, value = inside.removesuffix(")").partition("=")
        defaults = {key: parameter.default for key, parameter in inspect.signature(NAMED[name]).parameters.items()}
        if setting not in ("", search.setting) or search.setting not in defaults:
            return False
        try:
            return float(value if setting else defaults[search.setting]) == search.chosen
        except (TypeError, ValueError):  # another setting beside it, or one that is no number
            return False


def read_tuning(folder: Path) -> Tuning | None:
    """Return what tuning.json in a folder says, or None if there is none.

    Raises:
        ValueError: if the file is damaged; says where.
    """
    path = folder / NAME
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read ({error}); expected JSON") from None
    try:
        return Tuning(
            dataset=_text(saved["dataset"]),
            preset=_text(saved["preset"]),
            validation=_number(saved["validation"]),
            metric=_text(saved["metric"]),
            seeds=tuple(int(_number(seed)) for seed in saved["seeds"]),
            methods={_text(name): _search(name, about) for name, about in saved["methods"].items()},
        )
    except KeyError as error:
        raise ValueError(f"{path} has no {error}; expected what csd_edu.tuning describes") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}; expected what csd_edu.tuning describes") from None


def _search(name: str, about: Mapping[str, Any]) -> Search:
    grid = {float(value): tuple(map(_number, scores)) for value, scores in about["grid"].items()}
    chosen = _number(about["chosen"])
    if chosen not in grid or not all(grid.values()):
        raise ValueError(f"the grid of {name} has no scores for the chosen value {chosen:g}, or for another")
    return Search(_text(about["setting"]), dict(sorted(grid.items())), chosen)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
