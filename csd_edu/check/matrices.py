"""Exercises on what a task matrix tells: how later tasks changed earlier ones, and how much was forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from csd_edu import metrics
from csd_edu.check.running import Case, Exercise, Mistake


def backward_transfer(matrix: list[list]) -> float:
    changes = [matrix[-1][j] - matrix[j][j] for j in range(len(matrix) - 1)]  # all tasks but the last
    return float(sum(changes) / len(changes))


def forgetting(matrix: list[list]) -> float:
    *earlier, last = matrix
    falls = []
    for j in range(len(matrix) - 1):  # the last task has had no time to be forgotten
        best = max(row[j] for row in earlier if row[j] is not None)
        falls.append(best - last[j])
    return float(sum(falls) / len(falls))


Change = Callable[[np.ndarray, np.ndarray], float]


def _mean_change(first: np.ndarray, last: np.ndarray) -> float:
    return float(np.mean(last - first))


def _wrong_transfer(
    matrix: Sequence[Sequence[float | None]],
    *,
    first: Callable[[np.ndarray], np.ndarray] = lambda r: np.diagonal(r)[:-1],
    last: Callable[[np.ndarray], np.ndarray] = lambda r: r[-1, :-1],
    score: Change = _mean_change,
) -> float:
    """Backward transfer with one thing done differently; `first` and `last` (T − 1,) are taken from the matrix."""
    r = np.array(matrix, dtype=float)
    return score(first(r), last(r))


def _mean_fall(before: np.ndarray, last: np.ndarray) -> float:
    return float(np.mean(before - last))


def _wrong(
    matrix: Sequence[Sequence[float | None]],
    *,
    before: Callable[[np.ndarray], np.ndarray] = lambda r: np.nanmax(r[:-1, :-1], axis=0),
    last: Callable[[np.ndarray], np.ndarray] = lambda r: r[-1, :-1],
    score: Change = _mean_fall,
) -> float:
    """Forgetting with one thing done differently; `before` and `last` (T − 1,) are taken from the matrix (T, T)."""
    r = np.array(matrix, dtype=float)  # None becomes NaN
    return score(before(r), last(r))


# Above the diagonal: how a task went before it was learnt, as some protocols measure it.
_TWO = [[0.8, 0.1], [0.5, 0.9]]
_THREE = [[0.9, 0.2, 0.1], [0.6, 0.8, 0.15], [0.3, 0.7, 0.95]]
_RISES = [[0.6, 0.1, 0.05], [0.7, 0.5, 0.2], [0.4, 0.75, 0.85]]
_TRIANGLE: list[list[float | None]] = [[0.9, None, None], [0.95, 0.8, None], [0.5, 0.9, 0.7]]
_FOUR: list[list[float | None]] = [
    [0.7, None, None, None],
    [0.75, 0.6, None, None],
    [0.2, 0.64, 0.9, None],
    [0.4, 0.5, 0.7, 0.8],
]

_FALLS: list[list[float | None]] = [[0.9, None], [0.5, 0.8]]
_ONE_RISES: list[list[float | None]] = [[0.9, None, None], [0.95, 0.6, None], [0.8, 0.7, 0.9]]
_FIVE: list[list[float | None]] = [
    [0.6, None, None, None, None],
    [0.5, 0.7, None, None, None],
    [0.65, 0.4, 0.8, None, None],
    [0.3, 0.45, 0.9, 0.5, None],
    [0.35, 0.55, 0.6, 0.52, 0.75],
]

BACKWARD_TRANSFER = Exercise(
    name="backward_transfer",
    title="Backward transfer",
    solution=backward_transfer,
    truth=metrics.backward_transfer,
    answer="number",
    cases=(
        Case("two tasks", (_FALLS,)),
        Case("three tasks, and task 1 goes better in the end", (_ONE_RISES,)),
        Case("four tasks", (_FOUR,)),
        Case("five tasks, and the last but one goes better in the end", (_FIVE,)),
    ),
    mistakes=(
        Mistake(
            "diagonal minus last row",
            "You subtract the last row from the diagonal. It is the other way round: less than zero means that "
            "something was lost.",
            partial(_wrong_transfer, score=lambda first, last: _mean_fall(first, last)),
        ),
        Mistake(
            "divided by T",
            "You divide by T. Nothing came after the last task to change it: the mean is over the T − 1 others.",
            partial(_wrong_transfer, score=lambda first, last: float((last - first).sum() / (len(first) + 1))),
        ),
        Mistake(
            "added up, not averaged",
            "You add up the changes of the tasks. Divide by their number, T − 1, or a longer stream looks worse only "
            "for being longer.",
            partial(_wrong_transfer, score=lambda first, last: float((last - first).sum())),
        ),
        Mistake(
            "starts from the best value",
            "You start from the best value that each task ever had. That is forgetting (section 3) with its sign "
            "turned; backward transfer starts from the diagonal.",
            partial(_wrong_transfer, first=lambda r: np.nanmax(r[:-1, :-1], axis=0)),
        ),
        Mistake(
            "starts from the row before the last",
            "You start from the row before the last. That is what the newest task alone has changed; each task starts "
            "from the diagonal.",
            partial(_wrong_transfer, first=lambda r: r[-2, :-1]),
        ),
        Mistake(
            "ends one task later",
            "You end with the row after the task's own. That is what one task has changed; the end is the last row.",
            partial(_wrong_transfer, last=lambda r: np.diagonal(r, -1)),
        ),
        Mistake(
            "the first task alone",
            "You measure the first task alone. The mean is over all tasks but the last.",
            partial(_wrong_transfer, score=lambda first, last: float((last - first)[0])),
        ),
        Mistake(
            "changes without their sign",
            "You take the size of each change. A task that goes better in the end counts as more than zero, and makes "
            "up for one that goes worse.",
            partial(_wrong_transfer, score=lambda first, last: float(np.abs(last - first).mean())),
        ),
        Mistake(
            "gains are left out",
            "You count the losses only. Backward transfer can be positive: a task that goes better in the end belongs "
            "to the mean as well.",
            partial(_wrong_transfer, score=lambda first, last: float(np.minimum(last - first, 0).mean())),
        ),
        Mistake(
            "divided by the first value",
            "You divide each change by the value that it starts from. It is a plain difference, in the units of the "
            "metric.",
            partial(_wrong_transfer, score=lambda first, last: float((last / first - 1).mean())),
        ),
        Mistake(
            "the last row alone",
            "You average the last row. How good the tasks are in the end says nothing about a change: subtract the "
            "diagonal.",
            partial(_wrong_transfer, score=lambda _, last: float(last.mean())),
        ),
    ),
    hints=(
        "For two tasks there is one column to look at: matrix[-1][0] - matrix[0][0]. And for three tasks?",
        "Each task starts on the diagonal, matrix[j][j], and ends in the last row, matrix[-1][j].",
        "j runs over range(len(matrix) - 1). Add up the changes, and divide by len(matrix) - 1.",
    ),
    tested="diagonal and last row, the sign, gains and losses, the mean over T − 1 tasks, cells without a value",
)

FORGETTING = Exercise(
    name="forgetting",
    title="Forgetting",
    solution=forgetting,
    truth=metrics.forgetting,
    answer="number",
    cases=(
        Case("two tasks", (_TWO,)),
        Case("three tasks", (_THREE,)),
        Case("task 0 was best after task 1, and task 1 is best in the end", (_RISES,)),
        Case("no values above the diagonal, and task 1 is best in the end", (_TRIANGLE,)),
        Case("four tasks, no values above the diagonal", (_FOUR,)),
    ),
    mistakes=(
        Mistake(
            "the best includes the last row",
            "You look for the best value in all rows, the last one too. Then a task that goes better in the end than "
            "ever before counts as 0, while it should count as less than nothing forgotten. Leave the last row out.",
            partial(_wrong, before=lambda r: np.nanmax(r[:, :-1], axis=0)),
        ),
        Mistake(
            "first minus last",
            "You subtract from the value right after the task was learnt, R[j][j]. Forgetting starts from the best "
            "value that the task ever had before the last row; that may come later than the diagonal.",
            partial(_wrong, before=lambda r: np.diagonal(r)[:-1]),
        ),
        Mistake(
            "averaged over all T tasks",
            "You divide by T. The last task has just been learnt and cannot have been forgotten: the mean is over the "
            "T − 1 earlier ones.",
            partial(_wrong, score=lambda before, last: float((before - last).sum() / (len(last) + 1))),
        ),
        Mistake(
            "sign swapped",
            "The sign is swapped: forgetting is what was, minus what is left. More forgotten is a larger number.",
            partial(_wrong, score=lambda before, last: _mean_fall(last, before)),
        ),
        Mistake(
            "rows and columns swapped",
            "Rows and columns are swapped. Row i is what the network can do after task i; task j is a column, read "
            "downwards.",
            lambda matrix: _wrong(np.array(matrix, dtype=float).T.tolist()),
        ),
        Mistake(
            "compared with the task just before",
            "You subtract the last row from the one before it. That is what the last task alone made forget; take the "
            "best of all earlier rows.",
            partial(_wrong, before=lambda r: r[-2, :-1]),
        ),
        Mistake(
            "sum instead of mean",
            "You add up what was forgotten of each task. Take the mean over the T − 1 earlier tasks, so that streams "
            "of different lengths can be compared.",
            partial(_wrong, score=lambda before, last: float((before - last).sum())),
        ),
        Mistake(
            "only the first task",
            "You measure the first task only. Forgetting is the mean over all tasks but the last.",
            partial(_wrong, score=lambda before, last: float((before - last)[0])),
        ),
        Mistake(
            "relative to the best",
            "You divide by the best value. Forgetting is a plain difference, in the metric's own units.",
            partial(_wrong, score=lambda before, last: _mean_fall(before / before, last / before)),
        ),
        Mistake(
            "best minus worst",
            "You subtract the lowest value of each column. What counts is what is left in the end: the last row.",
            partial(_wrong, last=lambda r: np.nanmin(np.where(np.tri(len(r), dtype=bool), r, np.nan)[:, :-1], axis=0)),
        ),
        Mistake(
            "best of the whole matrix",
            "You subtract from the best value of the whole matrix. Each task has its own best: the maximum of its "
            "column.",
            partial(_wrong, before=lambda r: np.nanmax(r[:-1])),
        ),
    ),
    hints=(
        "matrix[i][j] is the metric on task j after task i. Which column belongs to one task? Which row is the end?",
        "For each task j but the last: the largest value in column j, in all rows but the last; skip None.",
        "From that, subtract the last row's value of the same column; then take the mean over the T − 1 tasks.",
    ),
    tested="the best of all rows but the last, tasks that improve, the mean over T − 1 tasks, cells without a value",
)
