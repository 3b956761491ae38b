"""Checks that tell a student why an answer is wrong.

from csd_edu import check

check.recall_at_k(my_recall_at_k)  # ✕ not yet: you counted the query itself as a hit …
check.hint("recall_at_k")          # a first hint; the fourth call shows the solution
check.board()                      # what is done

Each exercise, called with the student's function, runs it on small inputs that separate the typical mistakes, and
returns a `Verdict`; it raises nothing for a wrong answer and prints nothing.

To add one: write its solution and, below that, an `Exercise` with its cases, mistakes and hints (see `searching`);
import it here by the solution's name, and give it its place among `EXERCISES`.
"""

from __future__ import annotations

import os
from pathlib import Path

from csd_edu.check import progress
from csd_edu.check.ageing import STALE_RECALL as stale_recall, TRANSLATE as translate
from csd_edu.check.chance import CHANCE_RECALL as chance_recall
from csd_edu.check.comparing import (
    LINEAR_CKA as linear_cka,
    MEAN_DISPLACEMENT as mean_displacement,
    NEIGHBOR_OVERLAP as neighbor_overlap,
)
from csd_edu.check.contrasting import CONTRAST_MASKS as contrast_masks, CSD as csd, TRIPLET as triplet
from csd_edu.check.intervals import PAIRED_DIFFERENCE as paired_difference, T_INTERVAL as t_interval
from csd_edu.check.matrices import BACKWARD_TRANSFER as backward_transfer, FORGETTING as forgetting
from csd_edu.check.methods import (
    FEATURE_DISTANCE as feature_distance,
    FEATURE_DISTILLATION as feature_distillation,
    MY_CSD as my_csd,
    MY_METHOD as my_method,
    RELATION_DISTANCE as relation_distance,
)
from csd_edu.check.own import yours_or_ours
from csd_edu.check.reading import (
    FIRST_AND_LAST as first_and_last,
    LOST_AND_WON as lost_and_won,
    LOST_QUERIES as lost_queries,
    NO_LONGER_FOUND as no_longer_found,
)
from csd_edu.check.running import Exercise
from csd_edu.check.searching import RECALL_AT_K as recall_at_k, SEARCH as search
from csd_edu.check.teaching import (
    DISTILLATION as distillation,
    PUSH as push,
    TEMPERATURE_SOFTMAX as temperature_softmax,
)
from csd_edu.check.training import (
    EPOCHS_LEFT as epochs_left,
    TRAIN_UNTIL as train_until,
    TRAINING_HOURS as training_hours,
)
from csd_edu.check.verdict import Board, Hint, Verdict

# fmt: off
_IN_ORDER = (
    first_and_last, lost_queries,
    search, recall_at_k, chance_recall,
    backward_transfer, forgetting, lost_and_won,
    temperature_softmax, distillation, push,
    triplet, contrast_masks, csd, my_csd,
    mean_displacement, linear_cka, neighbor_overlap,
    stale_recall, no_longer_found, translate,
    t_interval, paired_difference,
    training_hours, epochs_left, train_until,
    feature_distance, feature_distillation, relation_distance, my_method,
)
# fmt: on

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercise in _IN_ORDER}
"""All exercises by name, in the order of the notebooks."""

__all__ = ["EXERCISES", "Board", "Hint", "Verdict", "board", "export", "hint", "yours_or_ours", *EXERCISES]  # noqa: PLE0604


def hint(exercise: str, *, rung: int | None = None) -> Hint:
    """Return the next hint; the last one is the solution.

    Args:
        exercise: its name, such as "csd".
        rung: a hint to see again, from 1; None for the next that was not seen.

    Returns:
        The hint, which a notebook shows.

    Raises:
        ValueError: if there is no such exercise or no such hint.
    """
    found = _exercise(exercise)
    n = len(found.hints) + 1
    if rung is not None and not 1 <= rung <= n:
        raise ValueError(f"rung is {rung}; expected 1 to {n}, or None for the next hint")
    seen = progress.load()[0].get(exercise, progress.untried())["hints"]
    rung = min(seen + 1, n) if rung is None else rung
    note = progress.record_hint(exercise, rung)
    if rung == n:
        text = "One way to write it. Read it line by line, close it, and write your own."
        return Hint(exercise, rung, n, text, found.source, note)
    return Hint(exercise, rung, n, found.hints[rung - 1], note=note)


def board(*exercises: str) -> Board:
    """Return what is done of these exercises, or of all; raise a ValueError if one is not known."""
    chosen = [_exercise(name) for name in exercises or EXERCISES]
    entries, note = progress.load()
    return Board([(e.name, e.title, entries.get(e.name, progress.untried())) for e in chosen], note)


def export(path: str | os.PathLike[str], student: str) -> Path:
    """Write the progress as a small JSON file for an instructor, and return its path.

    Args:
        path: the file; an existing one is replaced.
        student: a name or number, as the instructor wants it.

    Raises:
        ValueError: if the student has no name, or the path is a folder or lies in none.
        OSError: if the file cannot be written.
    """
    return progress.export(path, student, list(EXERCISES))


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; expected one of {', '.join(map(repr, EXERCISES))}")
    return EXERCISES[name]
