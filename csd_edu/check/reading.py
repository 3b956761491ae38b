"""Exercises on reading results: a column of a task matrix, and the queries behind a mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from csd_edu import metrics
from csd_edu.check.running import Case, Exercise, Mistake

Matrix = Sequence[Sequence[float | None]]


def first_and_last(matrix: list[list], task: int) -> tuple[float, float]:
    return matrix[task][task], matrix[-1][task]  # both from the task's own column


def lost_queries(found: Tensor, tasks: Tensor) -> Tensor:
    then = found[tasks, torch.arange(len(tasks))]  # (N,) each query in the row of its own task
    return then & ~found[-1]


def lost_and_won(ranks: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
    then = ranks[tasks, torch.arange(len(tasks))] == 1  # (N,) found right after its own task
    now = ranks[-1] == 1  # (N,) found in the end
    return then & ~now, now & ~then


def no_longer_found(ranks: Tensor, tasks: Tensor) -> Tensor:
    then = ranks[tasks, torch.arange(len(tasks))]  # (N,) the rank right after its own task
    now = ranks[-1]  # (N,) the rank in the end
    return (then == 1) & (now != 1)


# A row of each column.


def _own(values: Tensor, tasks: Tensor) -> Tensor:
    return values.gather(0, tasks[None, :])[0]


def _end(values: Tensor, _tasks: Tensor) -> Tensor:
    return values[-1]


def _end_but_one(values: Tensor, _tasks: Tensor) -> Tensor:
    return values[-2]


def _start(values: Tensor, _tasks: Tensor) -> Tensor:
    return values[0]


def _next(values: Tensor, tasks: Tensor) -> Tensor:
    return _own(values, (tasks + 1).clamp_max(len(values) - 1))


def _ever_before(found: Tensor, _tasks: Tensor) -> Tensor:
    return found[:-1].any(dim=0)


def _whole_rows(values: Tensor, tasks: Tensor) -> Tensor:
    return values[tasks]  # (N, N)


Row = Callable[[Tensor, Tensor], Tensor]
Pick = Callable[[Tensor, Tensor], Tensor]


def _lost(then: Tensor, now: Tensor) -> Tensor:
    return then & ~now


def _won(then: Tensor, now: Tensor) -> Tensor:
    return ~then & now


def _kept(then: Tensor, now: Tensor) -> Tensor:
    return then & now


def _missed(then: Tensor, now: Tensor) -> Tensor:
    return ~then & ~now


def _both(one: Pick, other: Pick) -> Pick:
    return lambda then, now: torch.stack([one(then, now), other(then, now)])


def _wrong(found: Tensor, tasks: Tensor, *, before: Row = _own, after: Row = _end, pick: Pick = _lost) -> Tensor:
    """Which queries have changed, with one thing done differently; `pick` gets two masks: found then, found now."""
    return pick(before(found, tasks), after(found, tasks))


def _wrong_ranks(ranks: Tensor, tasks: Tensor, *, first: int = 1, **different: Callable[..., Tensor]) -> Tensor:
    return _wrong((ranks > 0) & (ranks <= first), tasks, **different)


def _by_rank(ranks: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
    """Which queries have a larger rank than before, and which a smaller one."""
    then, now = _own(ranks, tasks), ranks[-1]
    return now > then, now < then


# Above the diagonal there is nothing: a task has no value before it was learnt.
_TWO: Matrix = [[0.9, None], [0.6, 0.8]]
_THREE: Matrix = [[0.9, None, None], [0.7, 0.8, None], [0.4, 0.5, 0.6]]
_FOUR: Matrix = [
    [0.7, None, None, None],
    [0.75, 0.6, None, None],
    [0.2, 0.64, 0.9, None],
    [0.4, 0.5, 0.85, 0.8],
]

FIRST_AND_LAST = Exercise(
    name="first_and_last",
    title="A column of a task matrix",
    solution=first_and_last,
    truth=lambda matrix, task: np.array(matrix, dtype=float)[[task, -1], task],
    answer="rows",
    cases=(
        Case("two tasks, the first of them", (_TWO, 0)),
        Case("three tasks, the second of them", (_THREE, 1)),
        Case("three tasks, the newest: learnt just now", (_THREE, 2)),
        Case("four tasks, and task 1 was best one task after its own", (_FOUR, 1)),
        Case("four tasks, task 2", (_FOUR, 2)),
    ),
    mistakes=(
        Mistake(
            "a row instead of a column",
            "You read along a row: that is what one network can do on several tasks. A task is a column; the first "
            "index says when it was measured, and the second on which task.",
            lambda matrix, task: (matrix[task][task], matrix[task][-1]),
        ),
        Mistake(
            "the first number is of task 0",
            "Your first number is always that of task 0. Task j was measured for the first time after task j: row j, "
            "column j.",
            lambda matrix, task: (matrix[0][0], matrix[-1][task]),
        ),
        Mistake(
            "the column begins in row 0",
            "The column is right, but you begin in row 0. After task 0 the later tasks were not learnt yet, and there "
            "is no value (None): begin in the row of the task itself.",
            lambda matrix, task: (matrix[0][task], matrix[-1][task]),
        ),
        Mistake(
            "the last number is one row too early",
            "Your second number is one row too early. The last row has index -1, or T − 1, as counting begins at 0.",
            lambda matrix, task: (matrix[task][task], matrix[-2][task]),
        ),
        Mistake(
            "the last number is of the newest task",
            "Your second number is that of the newest task, in the lower right corner. Stay in the column of task j.",
            lambda matrix, task: (matrix[task][task], matrix[-1][-1]),
        ),
        Mistake(
            "the last number is of task 0",
            "Your second number is that of task 0. The row is right; stay in the column of task j.",
            lambda matrix, task: (matrix[task][task], matrix[-1][0]),
        ),
        Mistake(
            "first and last swapped",
            "The two numbers are swapped: first the value just after the task was learnt, then the one in the end.",
            lambda matrix, task: (matrix[-1][task], matrix[task][task]),
        ),
        Mistake(
            "the best instead of the first",
            "Your first number is the best value of the column. That need not be the first one: a task may go best "
            "some time after it was learnt.",
            lambda matrix, task: (max(row[task] for row in matrix[task:]), matrix[-1][task]),
        ),
        Mistake(
            "the difference instead of both numbers",
            "You return how far the value fell. Return both values, the first and the last, and leave the subtracting "
            "to the reader.",
            lambda matrix, task: matrix[task][task] - matrix[-1][task],
        ),
        Mistake(
            "the whole column",
            "You return the whole column, from top to bottom. Only two of its values are asked for.",
            lambda matrix, task: [row[task] for row in matrix],
        ),
        Mistake(
            "the column from the task on",
            "You return the whole story of the task, from its own row down. Only its first and its last value are "
            "asked for.",
            lambda matrix, task: [row[task] for row in matrix[task:]],
        ),
    ),
    hints=(
        "matrix[i] is row i: all that was measured after task i. Which row was written just after task j was learnt?",
        "A task is a column, so the second index is j both times. The first one says when: after task j, and at last.",
        "The last row is matrix[-1]. Return two values with a comma between them: first, last.",
    ),
    tested="the column of the task, its own row and the last one, the newest task, cells without a value",
)

_FOUND = torch.tensor([[1, 0, 0], [0, 1, 1]]).bool()
_FOUND_THREE = torch.tensor([[1, 1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0, 0]]).bool()
_TASKS_THREE = torch.tensor([0, 0, 1, 1, 2, 2, 1])
_MANY_TASKS = torch.tensor([3, 0, 1, 2, 0, 1, 3, 2, 0, 1, 2, 0])  # in no order
_MANY_FOUND = torch.tensor(
    [
        [0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1],
        [1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1],
        [0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0],
        [1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0],
    ]
).bool()

LOST_QUERIES = Exercise(
    name="lost_queries",
    title="Lost queries",
    solution=lost_queries,
    truth=lambda found, tasks: metrics.query_changes(torch.where(found, 1, 2), tasks)["lost"],
    answer="masks",
    cases=(
        Case("two tasks, three queries", (_FOUND, torch.tensor([0, 0, 1]))),
        Case("three tasks, seven queries", (_FOUND_THREE, _TASKS_THREE)),
        Case("four tasks, twelve queries in no order", (_MANY_FOUND, _MANY_TASKS)),
    ),
    mistakes=(
        Mistake(
            "every query starts after task 0",
            "You look at row 0 for every query. A query of task 2 was asked for the first time after task 2: each one "
            "starts in the row of its own task.",
            partial(_wrong, before=_start),
        ),
        Mistake(
            "found at any time before the end",
            "You count queries that were found after any task before the last. Ask about one time only: right after "
            "their own task.",
            partial(_wrong, before=_ever_before),
        ),
        Mistake(
            "the won queries",
            "These are found in the end and were not found right after their task: the won ones. Turn it round.",
            partial(_wrong, pick=_won),
        ),
        Mistake(
            "the kept queries",
            "These are found at both times: the kept ones. Lost is found then and NOT found in the end; `not` for a "
            "mask is ~.",
            partial(_wrong, pick=_kept),
        ),
        Mistake(
            "never found counts as lost",
            "You return all that are not found in the end. Some of them were never found, and what was never there "
            "cannot be lost.",
            partial(_wrong, pick=lambda _, now: ~now),
        ),
        Mistake(
            "found after the own task, whatever came later",
            "These are found right after their task. Which of them are not found in the end?",
            partial(_wrong, pick=lambda then, _: then),
        ),
        Mistake(
            "changed either way",
            "You return all queries whose answer has changed, also those that were won. Lost is one of the two ways.",
            partial(_wrong, pick=lambda then, now: then ^ now),
        ),
        Mistake(
            "compared with the task after",
            "You compare with the task right after the query's own. What counts is the end: the last row.",
            partial(_wrong, after=_next),
        ),
        Mistake(
            "one row too late",
            "You start one row too late: rows count from 0, as tasks do, so task t belongs to row t.",
            partial(_wrong, before=_next),
        ),
        Mistake(
            "a whole row for each query",
            "The answer is (N, N): found[tasks] takes a whole row for each query. Pick one entry for each, with two "
            "index tensors: found[tasks, torch.arange(N)].",
            partial(_wrong, before=_whole_rows),
        ),
        Mistake(
            "numbers of the queries instead of a mask",
            "You return the numbers of the lost queries. Return a mask: for each of the N queries, True or False.",
            lambda found, tasks: _wrong(found, tasks).nonzero()[:, 0],
        ),
        Mistake(
            "how many instead of which",
            "You return how many queries are lost. Return which: a mask, True or False for each of the N queries.",
            lambda found, tasks: _wrong(found, tasks).sum(),
        ),
    ),
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
_MANY_RANKS = torch.tensor(
    [
        [7, 1, 5, 1, 1, 1, 3, 8, 2, 9, 4, 5],
        [1, 3, 2, 4, 1, 1, 2, 1, 1, 6, 1, 1],
        [2, 1, 1, 1, 1, 6, 4, 1, 5, 1, 3, 2],
        [1, 6, 5, 2, 1, 3, 5, 4, 1, 1, 1, 3],
    ]
)

LOST_AND_WON = Exercise(
    name="lost_and_won",
    title="Lost and won queries",
    solution=lost_and_won,
    truth=lambda ranks, tasks: [metrics.query_changes(ranks, tasks)[change] for change in ("lost", "won")],
    answer="masks",
    cases=(
        Case("two tasks, four queries", (_RANKS, torch.tensor([0, 0, 1, 0]))),
        Case("three tasks, six queries", (_RANKS_THREE, _RANK_TASKS_THREE)),
        Case("four tasks, twelve queries in no order", (_MANY_RANKS, _MANY_TASKS)),
    ),
    mistakes=(
        Mistake(
            "won before lost",
            "The two masks are in the wrong order: the lost queries come first, then the won ones.",
            partial(_wrong_ranks, pick=_both(_won, _lost)),
        ),
        Mistake(
            "every query starts after task 0",
            "You compare the last row with row 0 for every query. Each query has its own “then”: the row of its own "
            "task.",
            partial(_wrong_ranks, before=_start, pick=_both(_lost, _won)),
        ),
        Mistake(
            "found at any time before the end",
            "You take the best rank of all earlier rows. A query's “then” is one moment: right after its own task.",
            partial(_wrong_ranks, before=_ever_before, pick=_both(_lost, _won)),
        ),
        Mistake(
            "compared with the row before the last",
            "You compare the last two rows. That is what the newest task alone has changed; “then” is the row of each "
            "query's own task.",
            partial(_wrong_ranks, before=_end_but_one, pick=_both(_lost, _won)),
        ),
        Mistake(
            "one row too late",
            "Your “then” is one row too late: rows count from 0, as tasks do, so a query of task t starts in row t.",
            partial(_wrong_ranks, before=_next, pick=_both(_lost, _won)),
        ),
        Mistake(
            "rank larger or smaller than before",
            "You ask whether the rank has grown or fallen. By Recall@1 only rank 1 is found: from 3 to 7 nothing is "
            "lost, and from 7 to 3 nothing is won.",
            _by_rank,
        ),
        Mistake(
            "not found in the end, found in the end",
            "You look at the end alone. Lost are those that were found then and are not found now; won, the other way "
            "round.",
            partial(_wrong_ranks, pick=lambda _, now: torch.stack([~now, now])),
        ),
        Mistake(
            "found then, found now",
            "You return who was found then and who is found now. Combine the two: then and not now, now and not then.",
            partial(_wrong_ranks, pick=lambda then, now: torch.stack([then, now])),
        ),
        Mistake(
            "kept and missed",
            "These are the queries that have not changed: kept (found both times) and missed (found neither time).",
            partial(_wrong_ranks, pick=_both(_kept, _missed)),
        ),
        Mistake(
            "rank 2 counts as found",
            "You count rank 2 as found. Ranks begin at 1, not at 0: by Recall@1 a query is found if its rank is 1.",
            partial(_wrong_ranks, first=2, pick=_both(_lost, _won)),
        ),
        Mistake(
            "the lost ones only",
            "You return one mask, that of the lost queries. Return two, with a comma between them: lost, won.",
            _wrong_ranks,
        ),
        Mistake(
            "whole rows for each query",
            "Your masks are (N, N): ranks[tasks] takes a whole row for each query. Pick one entry for each, with two "
            "index tensors: ranks[tasks, torch.arange(N)].",
            partial(_wrong_ranks, before=_whole_rows, pick=_both(_lost, _won)),
        ),
        Mistake(
            "how many instead of which",
            "You return how many queries are lost and won. Return which: two masks, True or False for each query.",
            lambda ranks, tasks: _wrong_ranks(ranks, tasks, pick=_both(_lost, _won)).sum(dim=1),
        ),
    ),
    hints=(
        "Make two masks first: who was found right after the own task, and who is found in the end? Found is rank 1.",
        "ranks[tasks, torch.arange(len(tasks))] takes one number from each column: for query q that of row tasks[q].",
        "Lost: then and not now. Won: now and not then. For masks `not` is ~ and `and` is &; return lost, won.",
    ),
    tested="each query from the row of its own task, only rank 1 is found, queries that stay as they are, the order",
)

# 0: the task of the query is not learnt yet.
_LATER = torch.tensor([[1, 4, 0, 2], [3, 1, 2, 5]])
_LATER_THREE = torch.tensor([[1, 3, 1, 0, 0, 0], [2, 1, 1, 1, 4, 0], [5, 1, 1, 2, 1, 3]])
_LATER_TASKS_THREE = torch.tensor([0, 0, 0, 1, 1, 2])
_MANY_LATER = torch.where(torch.arange(4)[:, None] < _MANY_TASKS[None, :], 0, _MANY_RANKS)

NO_LONGER_FOUND = Exercise(
    name="no_longer_found",
    title="Queries no longer found",
    solution=no_longer_found,
    truth=lambda ranks, tasks: metrics.query_changes(ranks, tasks)["lost"],
    answer="masks",
    cases=(
        Case("two tasks, four queries", (_LATER, torch.tensor([0, 0, 1, 0]))),
        Case("three tasks, six queries", (_LATER_THREE, _LATER_TASKS_THREE)),
        Case("four tasks, twelve queries in no order", (_MANY_LATER, _MANY_TASKS)),
    ),
    mistakes=(
        Mistake(
            "every query starts after task 0",
            "You look at the ranks after task 0 for every query. Those of later tasks were not asked then (rank 0): "
            "each starts in the row of its own task.",
            partial(_wrong_ranks, before=_start),
        ),
        Mistake(
            "found at any time before the end",
            "You count a query if it was rank 1 after any task before the last. Only the time right after its own task "
            "counts.",
            partial(_wrong_ranks, before=_ever_before),
        ),
        Mistake(
            "the won queries",
            "These are rank 1 in the end and were not right after their task: the won queries. Turn the two "
            "conditions round.",
            partial(_wrong_ranks, pick=_won),
        ),
        Mistake(
            "the kept queries",
            "These are rank 1 at both times: they are still found. The second condition must be != 1.",
            partial(_wrong_ranks, pick=_kept),
        ),
        Mistake(
            "never found counts as lost",
            "You return all queries that are not rank 1 in the end. Some were not found right after their task either; "
            "the first condition is missing.",
            partial(_wrong_ranks, pick=lambda _, now: ~now),
        ),
        Mistake(
            "rank larger than before",
            "You ask whether the rank has grown. By Recall@1 only rank 1 is found: a query that goes from 3 to 7 was "
            "not found before, and is not lost now.",
            lambda ranks, tasks: _by_rank(ranks, tasks)[0],
        ),
        Mistake(
            "compared with the row before the last",
            "You compare the last two rows. That tells what the newest task alone has cost; start from the row of each "
            "query's own task.",
            partial(_wrong_ranks, before=_end_but_one),
        ),
        Mistake(
            "one row too late",
            "You start one row too late: rows count from 0, as tasks do, and ranks[t] holds the ranks after task t.",
            partial(_wrong_ranks, before=_next),
        ),
        Mistake(
            "a whole row for each query",
            "The answer is (N, N): ranks[tasks] takes a whole row for each query. Pick one entry for each, with two "
            "index tensors: ranks[tasks, torch.arange(N)].",
            partial(_wrong_ranks, before=_whole_rows),
        ),
        Mistake(
            "numbers of the queries instead of a mask",
            "You return the numbers of the queries that are no longer found. Return a mask (N,), True or False for "
            "each query.",
            lambda ranks, tasks: _wrong_ranks(ranks, tasks).nonzero()[:, 0],
        ),
        Mistake(
            "how many instead of which",
            "You return how many queries are no longer found. Return which: a mask (N,), True or False for each query.",
            lambda ranks, tasks: _wrong_ranks(ranks, tasks).sum(),
        ),
    ),
    hints=(
        "Two ranks of each query are needed: the one right after its own task, and the one in the end, ranks[-1].",
        "ranks[tasks, torch.arange(len(tasks))] takes from column i the row of its own task.",
        "Then it was rank 1, now it is not: two conditions with & between them, each in brackets.",
    ),
    tested="each query from the row of its own task, only rank 1 is found, tasks not learnt yet, one mask (N,)",
)
