"""Exercises on reading results: a column of a task matrix, and the queries behind a mean."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.answers import Masks, Rows
from csd_edu.check.inputs import triangle
from csd_edu.check.running import Case, Exercise, table


def first_and_last(matrix: list[list], task: int) -> tuple[float, float]:
    return matrix[task][task], matrix[-1][task]  # both from the task's own column


def lost_queries(found: Tensor, tasks: Tensor) -> Tensor:
    then = found[tasks, torch.arange(len(tasks))]  # (N,) each query in the row of its own task
    return then & ~found[-1]


def lost_and_won(ranks: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
    then = ranks[tasks, torch.arange(len(tasks))] == 1  # (N,) found right after its own task
    now = ranks[-1] == 1  # (N,) found in the end
    return then & ~now, now & ~then


_TWO = triangle([0.9], [0.6, 0.8])
_THREE = triangle([0.9], [0.7, 0.8], [0.4, 0.5, 0.6])
_FOUR = triangle([0.7], [0.75, 0.6], [0.2, 0.64, 0.9], [0.4, 0.5, 0.85, 0.8])
_HEADS = triangle([0.5813], [0.0, 0.6152], [0.0, 0.0, 0.6427])

FIRST_AND_LAST = Exercise(
    first_and_last,
    title="A column of a task matrix",
    doc="""Check f(matrix, task) -> two floats, with matrix[i][j] the metric on task j after task i, None where j > i.

    The metric on that task right after it was learnt, and after the last task.
    """,
    truth=lambda matrix, task: np.array(matrix, dtype=float)[[task, -1], task],
    answer=Rows(),
    cases=(
        Case("two tasks, the first of them", _TWO, 0),
        Case("three tasks, the second of them", _THREE, 1),
        Case("three tasks, the newest: learnt just now", _THREE, 2),
        Case("four tasks, and task 1 was best one task after its own", _FOUR, 1),
        Case("four tasks, task 2", _FOUR, 2),
        Case("four tasks, and task 0 goes better again in the end", _FOUR, 0),
        Case("nothing is left of task 0", _HEADS, 0),
    ),
    mistakes=table("""
    a row instead of a column | matrix[-1][task] => matrix[task][-1]
        You read along a row: that is what one network can do on several tasks. A task is a column; the first index says
        when it was measured, and the second on which task.
    the first number is of task 0 | matrix[task][task] => matrix[0][0]
        Your first number is always that of task 0. Task j was measured for the first time after task j: row j, column
        j.
    the column begins in row 0 | matrix[task][task] => matrix[0][task]
        The column is right, but you begin in row 0. After task 0 the later tasks were not learnt yet, and there is no
        value (None): begin in the row of the task itself.
    the last number is one row too early | matrix[-1] => matrix[-2]
        Your second number is one row too early. The last row has index -1, or T − 1, as counting begins at 0.
    the last number is of the newest task | matrix[-1][task] => matrix[-1][-1]
        Your second number is that of the newest task, in the lower right corner. Stay in the column of task j.
    the last number is of task 0 | matrix[-1][task] => matrix[-1][0]
        Your second number is that of task 0. The row is right; stay in the column of task j.
    first and last swapped | matrix[task][task], matrix[-1][task] => matrix[-1][task], matrix[task][task]
        The two numbers are swapped: first the value just after the task was learnt, then the one in the end.
    the best instead of the first | matrix[task][task] => max(row[task] for row in matrix[task:])
        Your first number is the best value of the column. That need not be the first one: a task may go best some time
        after it was learnt.
    the lowest instead of the last | matrix[-1][task] => min(row[task] for row in matrix[task:])
        Your second number is the lowest of the column. That need not be the last one: a task may go better again.
    zeros skipped | matrix[task][task], matrix[-1][task]
        => [row[task] for row in matrix if row[task]][0], [row[task] for row in matrix if row[task]][-1]
        You skip cells that are 0, as if they were empty: `if value` is false for 0, too. Nothing found is a value; an
        empty cell is None, so ask for `is not None`.
    the difference instead of both numbers | [task], => [task] -
        You return how far the value fell. Return both values, the first and the last, and leave the subtracting to the
        reader.
    the whole column | matrix[task][task], matrix[-1][task] => [row[task] for row in matrix]
        You return the whole column, from top to bottom. Only two of its values are asked for.
    the column from the task on | matrix[task][task], matrix[-1][task] => [row[task] for row in matrix[task:]]
        You return the whole story of the task, from its own row down. Only its first and its last value are asked for.
    """),
    hints=(
        "matrix[i] is row i: all that was measured after task i. Which row was written just after task j was learnt?",
        "A task is a column, so the second index is j both times. The first one says when: after task j, and at last.",
        "The last row is matrix[-1]. Return two values with a comma between them: first, last.",
    ),
    tested="the column of the task, its own row and the last one, the newest task, cells without a value",
)


def _digits(*rows: str) -> Tensor:
    """A row for each task, with a digit for each query."""
    return torch.tensor([list(map(int, row)) for row in rows])


_AGAIN = _digits("1541", "2121", "3211", "1221")  # ranks: found again in the end, or missed again
_FOUND = torch.tensor([[1, 0, 0], [0, 1, 1]]).bool()
_FOUND_THREE = torch.tensor([[1, 1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0, 0]]).bool()
_TASKS_THREE = torch.tensor([0, 0, 1, 1, 2, 2, 1])
_MANY_TASKS = torch.tensor([3, 0, 1, 2, 0, 1, 3, 2, 0, 1, 2, 0])  # in no order
_MANY_FOUND = _digits("010111100001", "101011011011", "011110010100", "101010001110").bool()

LOST_QUERIES = Exercise(
    lost_queries,
    title="Lost queries",
    doc="""Check f(found (T, N) bool, tasks (N,)) -> (N,) bool, with found[i, n]: is query n found after task i?

    The queries that are found right after their own task, and not after the last one.
    """,
    truth=lambda found, tasks: metrics.query_changes(torch.where(found, 1, 2), tasks)["lost"],
    answer=Masks(),
    cases=(
        Case("two tasks, three queries", _FOUND, torch.tensor([0, 0, 1])),
        Case("three tasks, seven queries", _FOUND_THREE, _TASKS_THREE),
        Case("four tasks, twelve queries in no order", _MANY_FOUND, _MANY_TASKS),
        Case("found, missed in between, and found again in the end", _AGAIN == 1, torch.tensor([0, 1, 0, 1])),
    ),
    mistakes=table("""
    lost at any later time | ~found[-1] => (~found & (torch.arange(len(found))[:, None] > tasks)).any(dim=0)
        You ask whether `found` is False at any time after the query's own task. What counts is the end, the last row:
        who is found again is not lost.
    every query starts after task 0 | found[tasks, torch.arange(len(tasks))] => found[0]
        You look at row 0 for every query. A query of task 2 was asked for the first time after task 2: each one starts
        in the row of its own task.
    found at any time before the end | found[tasks, torch.arange(len(tasks))] => found[:-1].any(dim=0)
        You count queries that were found after any task before the last. Ask about one time only: right after their own
        task.
    the won queries | then & ~found => ~then & found
        These are found in the end and were not found right after their task: the won ones. Turn it round.
    the kept queries | ~found => found
        These are found at both times: the kept ones. Lost is found then and NOT found in the end; `not` for a mask is
        ~.
    never found counts as lost | then & ~ => ~
        You return all that are not found in the end. Some of them were never found, and what was never there cannot be
        lost.
    found after the own task, whatever came later | then & ~found[-1] => then
        These are found right after their task. Which of them are not found in the end?
    changed either way | & ~ => ^
        You return all queries whose answer has changed, also those that were won. Lost is one of the two ways.
    compared with the task after | found[-1] => found[(tasks + 1).clamp_max(len(found) - 1), torch.arange(len(tasks))]
        You compare with the task right after the query's own. What counts is the end: the last row.
    one row too late | found[tasks, => found[(tasks + 1).clamp_max(len(found) - 1),
        You start one row too late: rows count from 0, as tasks do, so task t belongs to row t.
    a whole row for each query | found[tasks, torch.arange(len(tasks))] => found[tasks]
        The answer is (N, N): found[tasks] takes a whole row for each query. Pick one entry for each, with two index
        tensors: found[tasks, torch.arange(N)].
    numbers of the queries instead of a mask | then & ~found[-1] => (then & ~found[-1]).nonzero()[:, 0]
        You return the numbers of the lost queries. Return a mask: for each of the N queries, True or False.
    how many instead of which | then & ~found[-1] => (then & ~found[-1]).sum()
        You return how many queries are lost. Return which: a mask, True or False for each of the N queries.
    """),
    hints=(
        "Take one query n of task t. Which entry of `found` says whether it was found right after task t? And in the "
        "end?",
        "found[a, b] with two index tensors of length N picks N single entries: found[a[0], b[0]], found[a[1], b[1]], "
        "… Rows: tasks; columns: torch.arange(N).",
        "The last row is found[-1]. For masks `not` is ~ and `and` is &: found then, and not found in the end.",
    ),
    tested="each query from the row of its own task, tasks in any order, never found is not lost, one mask (N,)",
)

_RANKS = torch.tensor([[1, 4, 9, 2], [3, 1, 2, 5]])
_RANKS_THREE = torch.tensor([[1, 4, 7, 2, 9, 3], [3, 1, 1, 1, 6, 2], [5, 1, 2, 1, 1, 4]])
_RANK_TASKS_THREE = torch.tensor([0, 0, 1, 1, 2, 0])
_MANY_RANKS = _digits("715111382945", "132411211611", "211116415132", "165213541113")

LOST_AND_WON = Exercise(
    lost_and_won,
    title="Lost and won queries",
    doc="""Check f(ranks (T, N), tasks (N,)) -> two masks (N,), with ranks[i, n] that of query n's first right answer.

    The queries of rank 1 right after their own task and not after the last one, and the other way round.
    """,
    truth=lambda ranks, tasks: [metrics.query_changes(ranks, tasks)[change] for change in ("lost", "won")],
    answer=Masks(),
    cases=(
        Case("two tasks, four queries", _RANKS, torch.tensor([0, 0, 1, 0])),
        Case("three tasks, six queries", _RANKS_THREE, _RANK_TASKS_THREE),
        Case("four tasks, twelve queries in no order", _MANY_RANKS, _MANY_TASKS),
        Case("found, missed in between, found again; and the other way round", _AGAIN, torch.tensor([0, 1, 0, 1])),
    ),
    mistakes=table("""
    lost at any later time | then & ~now, now
        => then & ((ranks != 1) & (torch.arange(len(ranks))[:, None] > tasks)).any(dim=0), now
        You ask whether a query was missed at any time after its own task. What counts is the end, the last row: who is
        found again is not lost.
    won at any later time | now & ~then
        => ~then & ((ranks == 1) & (torch.arange(len(ranks))[:, None] > tasks)).any(dim=0)
        You ask whether a query was found at any time after its own task. What counts is the end, the last row: who is
        missed again is not won.
    won before lost | then & ~now, now & ~then => now & ~then, then & ~now
        The two masks are in the wrong order: the lost queries come first, then the won ones.
    every query starts after task 0 | ranks[tasks, torch.arange(len(tasks))] => ranks[0]
        You compare the last row with row 0 for every query. Each query has its own “then”: the row of its own task.
    found at any time before the end | ranks[tasks, torch.arange(len(tasks))] == 1 => (ranks[:-1] == 1).any(dim=0)
        You take the best rank of all earlier rows. A query's “then” is one moment: right after its own task.
    compared with the row before the last | ranks[tasks, torch.arange(len(tasks))] => ranks[-2]
        You compare the last two rows. That is what the newest task alone has changed; “then” is the row of each query's
        own task.
    one row too late | ranks[tasks, => ranks[(tasks + 1).clamp_max(len(ranks) - 1),
        Your “then” is one row too late: rows count from 0, as tasks do, so a query of task t starts in row t.
    rank larger or smaller than before | ))] == 1 => ))] | [-1] == 1 => [-1]
        | then & ~now, now & ~then => now > then, now < then
        You ask whether the rank has grown or fallen. By Recall@1 only rank 1 is found: from 3 to 7 nothing is lost, and
        from 7 to 3 nothing is won.
    not found in the end, found in the end | then & ~now, now & ~then => ~now, now
        You look at the end alone. Lost are those that were found then and are not found now; won, the other way round.
    found then, found now | then & ~now, now & ~then => then, now
        You return who was found then and who is found now. Combine the two: then and not now, now and not then.
    kept and missed | then & ~now, now & ~then => then & now, ~then & ~now
        These are the queries that have not changed: kept (found both times) and missed (found neither time).
    rank 2 counts as found | == 1 => <= 2 (twice)
        You count rank 2 as found. Ranks begin at 1, not at 0: by Recall@1 a query is found if its rank is 1.
    the lost ones only | , now & ~then =>
        You return one mask, that of the lost queries. Return two, with a comma between them: lost, won.
    whole rows for each query | ranks[tasks, torch.arange(len(tasks))] => ranks[tasks]
        Your masks are (N, N): ranks[tasks] takes a whole row for each query. Pick one entry for each, with two index
        tensors: ranks[tasks, torch.arange(N)].
    how many instead of which | then & ~now, now & ~then => (then & ~now).sum(), (now & ~then).sum()
        You return how many queries are lost and won. Return which: two masks, True or False for each query.
    """),
    hints=(
        "Make two masks first: who was found right after the own task, and who is found in the end? Found is rank 1.",
        "ranks[tasks, torch.arange(len(tasks))] takes one number from each column: for query q that of row tasks[q].",
        "Lost: then and not now. Won: now and not then. For masks `not` is ~ and `and` is &; return lost, won.",
    ),
    tested="each query from the row of its own task, only rank 1 is found, queries that stay as they are, the order",
)
