"""Exercises on what a task matrix tells: how later tasks changed earlier ones, and how much was forgotten."""

from __future__ import annotations

from csd_edu import metrics
from csd_edu.check.answers import Number
from csd_edu.check.inputs import triangle
from csd_edu.check.running import Case, Exercise, table


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


# Above the diagonal: how a task went before it was learnt, as some protocols measure it.
_TWO = [[0.8, 0.1], [0.5, 0.9]]
_THREE = [[0.9, 0.2, 0.1], [0.6, 0.8, 0.15], [0.3, 0.7, 0.95]]
_BEFORE = [[0.9, 0.8, 0.1], [0.6, 0.7, 0.1], [0.5, 0.6, 0.9]]
_RISES = [[0.6, 0.1, 0.05], [0.7, 0.5, 0.2], [0.4, 0.75, 0.85]]
_TRIANGLE = triangle([0.9], [0.95, 0.8], [0.5, 0.9, 0.7])
_FOUR = triangle([0.7], [0.75, 0.6], [0.2, 0.64, 0.9], [0.4, 0.5, 0.7, 0.8])

_FALLS = triangle([0.9], [0.5, 0.8])
_ONE_RISES = triangle([0.9], [0.95, 0.6], [0.8, 0.7, 0.9])
_NOTHING = triangle([0.0], [0.2, 0.6], [0.3, 0.5, 0.9])
_FIVE = triangle([0.6], [0.5, 0.7], [0.65, 0.4, 0.8], [0.3, 0.45, 0.9, 0.5], [0.35, 0.55, 0.6, 0.52, 0.75])

BACKWARD_TRANSFER = Exercise(
    backward_transfer,
    title="Backward transfer",
    doc="Check f(matrix) -> float, as `metrics.backward_transfer`.",
    truth=metrics.backward_transfer,
    answer=Number(),
    cases=(
        Case("two tasks", _FALLS),
        Case("three tasks, and task 1 goes better in the end", _ONE_RISES),
        Case("four tasks", _FOUR),
        Case("five tasks, and the last but one goes better in the end", _FIVE),
        Case("three tasks, and the first was not learnt at all", _NOTHING),
    ),
    mistakes=table("""
    zeros skipped | matrix[-1][j] - matrix[j][j] => matrix[-1][j] - matrix[j][j] if matrix[j][j] else 0
        You skip tasks that begin with 0, as if there were no value: `if value` is false for 0, too. A task that was not
        learnt at all can still go better in the end.
    diagonal minus last row | matrix[-1][j] - matrix[j][j] => matrix[j][j] - matrix[-1][j]
        You subtract the last row from the diagonal. It is the other way round: less than zero means that something was
        lost.
    divided by T | len(changes) => len(matrix)
        You divide by T. Nothing came after the last task to change it: the mean is over the T − 1 others.
    added up, not averaged | / len(changes) =>
        You add up the changes of the tasks. Divide by their number, T − 1, or a longer stream looks worse only for
        being longer.
    starts from the best value | matrix[j][j] => max(row[j] for row in matrix[j:-1])
        You start from the best value that each task ever had. That is forgetting (section 3) with its sign turned;
        backward transfer starts from the diagonal.
    starts from the row before the last | matrix[j][j] => matrix[-2][j]
        You start from the row before the last. That is what the newest task alone has changed; each task starts from
        the diagonal.
    ends one task later | matrix[-1][j] => matrix[j + 1][j]
        You end with the row after the task's own. That is what one task has changed; the end is the last row.
    the first task alone | sum(changes) / len(changes) => changes[0]
        You measure the first task alone. The mean is over all tasks but the last.
    changes without their sign | matrix[-1][j] - matrix[j][j] => abs(matrix[-1][j] - matrix[j][j])
        You take the size of each change. Keep the sign: a task that goes worse in the end counts as less than zero, one
        that goes better as more.
    gains are left out | matrix[-1][j] - matrix[j][j] => min(matrix[-1][j] - matrix[j][j], 0)
        You count the losses only. Backward transfer can be positive: a task that goes better in the end belongs to the
        mean as well.
    divided by the first value | - matrix[j][j] => / matrix[j][j] - 1
        You divide each change by the value that it starts from. It is a plain difference, in the units of the metric.
    the last row alone | - matrix[j][j] =>
        You average the last row. How good the tasks are in the end says nothing about a change: subtract the diagonal.
    """),
    hints=(
        "For two tasks there is one column to look at: matrix[-1][0] - matrix[0][0]. And for three tasks?",
        "Each task starts on the diagonal, matrix[j][j], and ends in the last row, matrix[-1][j].",
        "j runs over range(len(matrix) - 1). Add up the changes, and divide by len(matrix) - 1.",
    ),
    tested="diagonal and last row, the sign, gains and losses, the mean over T − 1 tasks, cells without a value",
)

FORGETTING = Exercise(
    forgetting,
    title="Forgetting",
    doc="""Check f(matrix) -> float, with matrix[i][j] the metric on task j after task i, perhaps None where j > i.

    The mean over the tasks but the last of the best value before the last row, minus the last row's.
    """,
    truth=metrics.forgetting,
    answer=Number(),
    cases=(
        Case("two tasks", _TWO),
        Case("three tasks", _THREE),
        Case("task 0 was best after task 1, and task 1 is best in the end", _RISES),
        Case("no values above the diagonal, and task 1 is best in the end", _TRIANGLE),
        Case("four tasks, no values above the diagonal", _FOUR),
        Case("task 1 was best before it was learnt", _BEFORE),
        Case("all tasks go better in the end", triangle([0.5], [0.55, 0.62], [0.7, 0.7, 0.8])),
        Case("the first task was never found before the end", triangle([0.0], [0.2, 0.9]), shows="zeros skipped"),
    ),
    mistakes=table("""
    zeros skipped | if row[j] is not None => if row[j]
        You skip values that are 0, as if the cells were empty: `if value` is false for 0, too. An empty cell is None:
        ask for `is not None`.
    the best includes the last row | in earlier => in matrix
        A task that goes better in the end than ever before counts as 0 with you, and should count as less than nothing
        forgotten. Do you look for the best in all rows, the last one too, or cut with max(0, …)?
    only from the task's own row on | in earlier if => in earlier[j:] if
        You look for the best from the task's own row on. Where there are values above the diagonal (how a task went
        before it was learnt) they count like any other: all rows but the last.
    the mean instead of the best | max(row => (lambda found: sum(found) / len(found))([row
        | if row[j] is not None) => if row[j] is not None])
        You start from the mean of the earlier values. Forgetting starts from the best of them.
    the first value instead of the best | max(row => next(row
        You start from the first value of the column. Forgetting starts from the best that came before the last row.
    first minus last | best - last[j] => matrix[j][j] - last[j]
        You subtract from the value right after the task was learnt, R[j][j]. Forgetting starts from the best value that
        the task ever had before the last row; that may come later than the diagonal.
    averaged over all T tasks | len(falls) => len(matrix)
        You divide by T. The last task has just been learnt and cannot have been forgotten: the mean is over the T − 1
        earlier ones.
    sign swapped | best - last[j] => last[j] - best
        The sign is swapped: forgetting is what was, minus what is left. More forgotten is a larger number.
    rows and columns swapped | last = matrix => last = matrix = np.array(matrix, dtype=float).T
        Rows and columns are swapped. Row i is what the network can do after task i; task j is a column, read downwards.
    compared with the task just before | best - last[j] => earlier[-1][j] - last[j]
        You subtract the last row from the one before it. That is what the last task alone made forget; take the best of
        all earlier rows.
    sum instead of mean | / len(falls) =>
        You add up what was forgotten of each task. Take the mean over the T − 1 earlier tasks, so that streams of
        different lengths can be compared.
    only the first task | sum(falls) / len(falls) => falls[0]
        You measure the first task only. Forgetting is the mean over all tasks but the last.
    relative to the best | best - last[j] => 1 - last[j] / best
        You divide by the best value. Forgetting is a plain difference, in the metric's own units.
    best minus worst | best - last[j] => best - min(row[j] for row in matrix[j:])
        You subtract the lowest value of each column. What counts is what is left in the end: the last row.
    best of the whole matrix | row[j] for row in earlier if row[j] => value for row in earlier for value in row if value
        You subtract from the best value of the whole matrix. Each task has its own best: the maximum of its column.
    """),
    hints=(
        "matrix[i][j] is the metric on task j after task i. Which column belongs to one task? Which row is the end?",
        "For each task j but the last: the largest value in column j, in all rows but the last; skip None.",
        "From that, subtract the last row's value of the same column; then take the mean over the T − 1 tasks.",
    ),
    tested="the best of all rows but the last, tasks that improve, the mean over T − 1 tasks, cells without a value",
)
