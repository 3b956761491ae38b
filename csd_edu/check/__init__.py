"""Checks that tell a student why an answer is wrong.

from csd_edu import check

check.recall_at_k(my_recall_at_k)  # ✕ not yet: you counted the query itself as a hit …
check.hint("recall_at_k")          # a first hint; the fourth call shows the solution
check.board()                      # what is done

Each exercise, called with the student's function (`my_memory`: object), runs it on small inputs that separate the
typical mistakes, and returns a `Verdict`; it raises nothing for a wrong answer and prints nothing.

To add one: write its solution and, below that, an `Exercise` with its cases, mistakes and hints (see `searching`);
give it here the solution's name, and so its place among `EXERCISES`.
"""

from __future__ import annotations

import os
from pathlib import Path

from csd_edu import arguments
from csd_edu.check import (
    ageing,
    chance,
    comparing,
    condensing,
    contrasting,
    dreaming,
    intervals,
    keeping,
    matrices,
    methods,
    progress,
    reading,
    remembering,
    rewriting,
    searching,
    teaching,
    training,
    voting,
)
from csd_edu.check.own import yours_or_ours
from csd_edu.check.running import Exercise
from csd_edu.check.verdict import Board, Hint, Verdict

# In the order of the notebooks.
first_and_last, lost_queries = reading.FIRST_AND_LAST, reading.LOST_QUERIES
search, recall_at_k, chance_recall = searching.SEARCH, searching.RECALL_AT_K, chance.CHANCE_RECALL
backward_transfer, forgetting, lost_and_won = matrices.BACKWARD_TRANSFER, matrices.FORGETTING, reading.LOST_AND_WON
temperature_softmax, distillation, push = teaching.TEMPERATURE_SOFTMAX, teaching.DISTILLATION, teaching.PUSH
triplet = contrasting.TRIPLET
contrast_masks, csd, my_csd = contrasting.CONTRAST_MASKS, contrasting.CSD, methods.MY_CSD
mean_displacement, linear_cka = comparing.MEAN_DISPLACEMENT, comparing.LINEAR_CKA
neighbor_overlap = comparing.NEIGHBOR_OVERLAP
stale_recall, representatives, translate = ageing.STALE_RECALL, ageing.REPRESENTATIVES, ageing.TRANSLATE
t_interval, paired_difference = intervals.T_INTERVAL, intervals.PAIRED_DIFFERENCE
training_hours, epochs_left, train_until = training.TRAINING_HOURS, training.EPOCHS_LEFT, training.TRAIN_UNTIL
feature_distance, feature_distillation = methods.FEATURE_DISTANCE, methods.FEATURE_DISTILLATION
relation_distance, my_method = methods.RELATION_DISTANCE, methods.MY_METHOD
my_memory = remembering.MY_MEMORY
images_that_fit, shrink, kept_per_class = keeping.IMAGES_THAT_FIT, keeping.SHRINK, keeping.KEPT_PER_CLASS
herd, dm_loss, as_bytes = condensing.HERD, condensing.DM_LOSS, condensing.AS_BYTES
reservoir, rewrite_logits, past_hinge = rewriting.RESERVOIR, rewriting.REWRITE_LOGITS, rewriting.PAST_HINGE
snn_predict, sharpen, spread = voting.SNN_PREDICT, voting.SHARPEN, voting.SPREAD
worth_in_images, discriminator_loss = dreaming.WORTH_IN_IMAGES, dreaming.DISCRIMINATOR_LOSS
replay_terms = dreaming.REPLAY_TERMS

EXERCISES = {exercise.name: exercise for exercise in list(globals().values()) if isinstance(exercise, Exercise)}
"""All exercises by name, in this order."""

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
    rung = None if rung is None else arguments.whole("rung", rung)
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
