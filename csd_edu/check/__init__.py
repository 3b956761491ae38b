"""Checks that tell a student why an answer is wrong.

from csd_edu import check

check.recall_at_k(my_recall_at_k)  # ✕ not yet: you counted the query itself as a hit …
check.hint("recall_at_k")          # a first hint; the fourth call shows the solution
check.board()                      # what is done

Each function here takes the student's function, runs it on small inputs that separate the typical mistakes, and
returns a `Verdict`; it raises nothing for a wrong answer and prints nothing.

To add an exercise: write a module with its solution, cases, mistakes and hints (see `searching`), and add it to
`EXERCISES` and a function below.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from csd_edu.check import own, progress
from csd_edu.check.ageing import STALE_RECALL, TRANSLATE
from csd_edu.check.chance import CHANCE_RECALL
from csd_edu.check.comparing import LINEAR_CKA, MEAN_DISPLACEMENT, NEIGHBOR_OVERLAP
from csd_edu.check.contrasting import CSD, TRIPLET
from csd_edu.check.intervals import PAIRED_DIFFERENCE, T_INTERVAL
from csd_edu.check.masks import CONTRAST_MASKS, MY_CSD
from csd_edu.check.matrices import BACKWARD_TRANSFER, FORGETTING
from csd_edu.check.methods import FEATURE_DISTANCE, FEATURE_DISTILLATION, MY_METHOD, RELATION_DISTANCE
from csd_edu.check.own import yours_or_ours
from csd_edu.check.reading import FIRST_AND_LAST, LOST_AND_WON, LOST_QUERIES, NO_LONGER_FOUND
from csd_edu.check.running import Exercise, Function, examine
from csd_edu.check.searching import RECALL_AT_K, SEARCH
from csd_edu.check.teaching import DISTILLATION, PUSH, TEMPERATURE_SOFTMAX
from csd_edu.check.training import EPOCHS_LEFT, TRAIN_UNTIL, TRAINING_HOURS
from csd_edu.check.verdict import Board, Hint, Verdict

__all__ = [
    "EXERCISES",
    "Board",
    "Hint",
    "Verdict",
    "backward_transfer",
    "board",
    "chance_recall",
    "contrast_masks",
    "csd",
    "distillation",
    "epochs_left",
    "export",
    "feature_distance",
    "feature_distillation",
    "first_and_last",
    "forgetting",
    "hint",
    "linear_cka",
    "lost_and_won",
    "lost_queries",
    "mean_displacement",
    "my_csd",
    "my_method",
    "neighbor_overlap",
    "no_longer_found",
    "paired_difference",
    "push",
    "recall_at_k",
    "relation_distance",
    "search",
    "stale_recall",
    "t_interval",
    "temperature_softmax",
    "train_until",
    "training_hours",
    "translate",
    "triplet",
    "yours_or_ours",
]

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FIRST_AND_LAST,
        LOST_QUERIES,
        SEARCH,
        RECALL_AT_K,
        CHANCE_RECALL,
        BACKWARD_TRANSFER,
        FORGETTING,
        LOST_AND_WON,
        TEMPERATURE_SOFTMAX,
        DISTILLATION,
        PUSH,
        TRIPLET,
        CONTRAST_MASKS,
        CSD,
        MY_CSD,
        MEAN_DISPLACEMENT,
        LINEAR_CKA,
        NEIGHBOR_OVERLAP,
        STALE_RECALL,
        NO_LONGER_FOUND,
        TRANSLATE,
        T_INTERVAL,
        PAIRED_DIFFERENCE,
        TRAINING_HOURS,
        EPOCHS_LEFT,
        TRAIN_UNTIL,
        FEATURE_DISTANCE,
        FEATURE_DISTILLATION,
        RELATION_DISTANCE,
        MY_METHOD,
    )
}
"""All exercises by name, in the order of the notebooks."""


def first_and_last(f: Function) -> Verdict:
    """Check f(matrix, task) -> two floats, with matrix[i][j] the metric on task j after task i, None where j > i.

    The metric on that task right after it was learnt, and after the last task.
    """
    return _checked(FIRST_AND_LAST, f)


def lost_queries(f: Function) -> Verdict:
    """Check f(found (T, N) bool, tasks (N,)) -> (N,) bool, with found[i, n]: is query n found after task i?

    The queries that are found right after their own task, and not after the last one.
    """
    return _checked(LOST_QUERIES, f)


def search(f: Function) -> Verdict:
    """Check f(queries (Q, D), gallery (G, D), k) -> (Q, k) indices of the most similar items by cosine, best first."""
    return _checked(SEARCH, f)


def recall_at_k(f: Function) -> Verdict:
    """Check f(queries (Q, D), query_labels (Q,), gallery (G, D), gallery_labels (G,), k, exclude_self=False) -> float.

    The share of queries with at least one item of their class among the k most similar by cosine. With exclude_self,
    query i and item i are the same image, which it must not find. Ties never help; a query whose class has no item in
    the gallery is left out.
    """
    return _checked(RECALL_AT_K, f)


def chance_recall(f: Function) -> Verdict:
    """Check f(n_right, n_gallery, k) -> float, Recall@K of a search that shows the items in random order."""
    return _checked(CHANCE_RECALL, f)


def backward_transfer(f: Function) -> Verdict:
    """Check f(matrix) -> float, as `metrics.backward_transfer`."""
    return _checked(BACKWARD_TRANSFER, f)


def forgetting(f: Function) -> Verdict:
    """Check f(matrix) -> float, with matrix[i][j] the metric on task j after task i, perhaps None where j > i.

    The mean over the tasks but the last of the best value before the last row, minus the last row's.
    """
    return _checked(FORGETTING, f)


def lost_and_won(f: Function) -> Verdict:
    """Check f(ranks (T, N), tasks (N,)) -> two masks (N,), with ranks[i, n] that of query n's first right answer.

    The queries of rank 1 right after their own task and not after the last one, and the other way round.
    """
    return _checked(LOST_AND_WON, f)


def temperature_softmax(f: Function) -> Verdict:
    """Check f(logits (B, C), temperature) -> (B, C) softmax(logits/temperature) of each row."""
    return _checked(TEMPERATURE_SOFTMAX, f)


def distillation(f: Function) -> Verdict:
    """Check f(student_logits (B, C), teacher_logits (B, K), temperature) -> scalar, as `losses.distillation`."""
    return _checked(DISTILLATION, f)


def push(f: Function) -> Verdict:
    """Check f(student_logits (B, C), teacher_logits (B, K), temperature) -> (B, C) minus the gradient of distillation.

    The gradient is that of `losses.distillation` in the student's logits; it is 0 for the classes from K on.
    """
    return _checked(PUSH, f)


def triplet(f: Function) -> Verdict:
    """Check f(features (B, D), labels (B,), margin) -> scalar, as `losses.batch_hard_triplet`."""
    return _checked(TRIPLET, f)


def contrast_masks(f: Function) -> Verdict:
    """Check f(labels (B,)) -> two masks (B, 2B), the contrast set A and the positives P of each anchor.

    Columns 0 to B−1 are the students, columns B to 2B−1 the teachers of the same images.
    """
    return _checked(CONTRAST_MASKS, f)


def csd(f: Function) -> Verdict:
    """Check f(student (B, D), teacher (B, D), labels (B,), temperature) -> scalar, as `losses.csd`."""
    return _checked(CSD, f)


def my_csd(f: Function) -> Verdict:
    """Check f(step) -> dict of losses by name, as `methods.csd`."""
    return _checked(MY_CSD, f)


def mean_displacement(f: Function) -> Verdict:
    """Check f(x (N, D), y (N, D)) -> float, as `drift.mean_displacement`."""
    return _checked(MEAN_DISPLACEMENT, f)


def linear_cka(f: Function) -> Verdict:
    """Check f(x (N, D), y (N, E)) -> float, as `drift.linear_cka`."""
    return _checked(LINEAR_CKA, f)


def neighbor_overlap(f: Function) -> Verdict:
    """Check f(x (N, D), y (N, E), k) -> (N,) shares from 0 to 1, as `drift.neighbor_overlap`."""
    return _checked(NEIGHBOR_OVERLAP, f)


def stale_recall(f: Function) -> Verdict:
    """Check f(snapshots, labels (N,), tasks (N,)) -> float, with T snapshots (N, D), one after each task.

    Recall@1 after the last task, of all N images: each asks with its newest feature among the features of the others as
    their own task's network left them.
    """
    return _checked(STALE_RECALL, f)


def no_longer_found(f: Function) -> Verdict:
    """Check f(ranks (T, N), tasks (N,)) -> (N,) bool, with ranks as for `lost_and_won`, 0 before a task is learnt.

    The queries of rank 1 right after their own task, and not after the last one.
    """
    return _checked(NO_LONGER_FOUND, f)


def translate(f: Function) -> Verdict:
    """Check f(gallery (G, D), old (M, D), new (M, D), ridge) -> (G, D) features in the space of the new network.

    By ridge regression from `old` to `new`, the same images by two networks, each with its mean taken away.
    """
    return _checked(TRANSLATE, f)


def t_interval(f: Function) -> Verdict:
    """Check f(values (n,) float64 array) -> two floats, the ends of the 95 % t-interval of the mean."""
    return _checked(T_INTERVAL, f)


def paired_difference(f: Function) -> Verdict:
    """Check f(a (n,), b (n,)) -> three floats: the mean of a − b, and the ends of its 95 % t-interval."""
    return _checked(PAIRED_DIFFERENCE, f)


def training_hours(f: Function) -> Verdict:
    """Check f(images, epochs, speeds) -> float, hours; three lists with an entry for each task; images per second."""
    return _checked(TRAINING_HOURS, f)


def epochs_left(f: Function) -> Verdict:
    """Check f(folder) -> for each task how many epochs are still to be trained, with the folder of a run.

    The check trains a few small runs, in a temporary folder, and stops them at different moments.
    """
    return _checked(EPOCHS_LEFT, f)


def train_until(f: Function) -> Verdict:
    """Check f(n, stream, method, config, folder), which trains on until the run in `folder` has n epochs.

    They count from the very beginning, over all tasks; a run that has as many already, or is finished, is left as it
    is. The check trains a few small runs, in a temporary folder, and counts the epochs in the journal afterwards.
    """
    return _checked(TRAIN_UNTIL, f)


def feature_distance(f: Function) -> Verdict:
    """Check f(student (B, D), teacher (B, D)) -> scalar, the mean squared distance of features scaled to length 1."""
    return _checked(FEATURE_DISTANCE, f)


def feature_distillation(f: Function) -> Verdict:
    """Check f(step, weight) -> dict of losses by name: those of `methods.finetune` and, with a teacher, "feature".

    That is the weight times the distance of `feature_distance`.
    """
    return _checked(FEATURE_DISTILLATION, f)


def relation_distance(f: Function) -> Verdict:
    """Check f(student (B, D), teacher (B, D)) -> scalar, the distance-wise loss of relational knowledge distillation.

    On features scaled to length 1. Source: Park et al., CVPR 2019.
    """
    return _checked(RELATION_DISTANCE, f)


def my_method(f: Function) -> Verdict:
    """Check that f(step) keeps the rules of methods; which terms it returns is free.

    A dictionary of finite losses by name, scalar tensors, in the first task and in later ones; a gradient for the
    student, and none for the teacher.
    """
    return _checked(MY_METHOD, f)


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


def _checked(exercise: Exercise, f: Function) -> Verdict:
    verdict = examine(exercise, f)
    own.remember(exercise.name, f, verdict.passed)
    note = progress.record_attempt(exercise.name, verdict.passed, verdict.mistake)
    return dataclasses.replace(verdict, note=note)


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}; expected one of {', '.join(map(repr, EXERCISES))}")
    return EXERCISES[name]
