"""The checks of the smaller exercises: reading matrices and ranks, chance, intervals, a translation.

As in test_check.py the wrong answers are edits of a right one that is written with loops.
"""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats

import csd_edu as csd
from csd_edu import check
from tests import checking
from tests.checking import checked, edited, function

RIGHT = {
    "first_and_last": """
def ends(matrix, task):
    column = [row[task] for row in matrix]
    first = column[task]
    last = column[len(matrix) - 1]
    return first, last
""",
    "lost_queries": """
def lost(found, tasks):
    T, N = found.shape
    mask = []
    for n in range(N):
        t = int(tasks[n])
        then, now = bool(found[t, n]), bool(found[T - 1, n])
        mask.append(then and not now)
    return torch.tensor(mask)
""",
    "lost_and_won": """
def changed(ranks, tasks):
    T, N = ranks.shape
    lost, won = [], []
    for n in range(N):
        t = int(tasks[n])
        before, after = int(ranks[t, n]), int(ranks[T - 1, n])
        then, now = before == 1, after == 1
        lost.append(then and not now)
        won.append(now and not then)
    return torch.tensor(lost), torch.tensor(won)
""",
    "no_longer_found": """
def gone(ranks, tasks):
    T, N = ranks.shape
    mask = []
    for n in range(N):
        t = int(tasks[n])
        before, after = int(ranks[t, n]), int(ranks[T - 1, n])
        mask.append(before == 1 and after != 1)
    return torch.tensor(mask)
""",
    "backward_transfer": """
def transfer(matrix):
    n = len(matrix)
    total = 0.0
    for j in range(n - 1):
        first, last = matrix[j][j], matrix[n - 1][j]
        total += last - first
    return total / (n - 1)
""",
    "chance_recall": """
def chance(n_right, n_gallery, k):
    n_wrong = n_gallery - n_right
    miss = 1.0
    for i in range(k):
        miss *= (n_wrong - i) / (n_gallery - i)
        if miss == 0:
            break
    return 1 - miss
""",
    "translate": """
def translated(gallery, old, new, ridge):
    gallery, old, new = gallery.double(), old.double(), new.double()
    D = old.shape[1]
    away, home = old.mean(dim=0), new.mean(dim=0)
    A, B = old - away, new - home
    M, R = torch.zeros(D, D).double(), torch.zeros(D, D).double()
    for a, b in zip(A, B):
        M += a[:, None] * a
        R += a[:, None] * b
    for d in range(D):
        M[d, d] += ridge
    W = torch.linalg.inv(M) @ R
    rows = [(g - away) @ W + home for g in gallery]
    return torch.stack(rows)
""",
    "t_interval": """
def interval(values):
    n = len(values)
    mean = sum(values) / n
    s2 = sum((x - mean) ** 2 for x in values) / (n - 1)
    s = s2 ** 0.5
    t = stats.t(n - 1).ppf(0.975)
    margin = t * s / n ** 0.5
    return mean - margin, mean + margin
""",
    "paired_difference": """
def paired(a, b):
    d = [x - y for x, y in zip(a, b)]
    n = len(d)
    mean = sum(d) / n
    s = (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5
    t = stats.t(n - 1).ppf(0.975)
    margin = t * s / n ** 0.5
    return mean, mean - margin, mean + margin
""",
}

_OTHER_S = "    s = (sum((x - mean) ** 2 for x in d) / (n - 1)) ** 0.5\n"
_MARGIN = "    margin = t * s / n ** 0.5\n"


def _margin_of(name):
    return f"t * np.std({name}, ddof=1) / n ** 0.5"


_ROWS = "int(ranks[t, n])"
_LAST = "int(ranks[T - 1, n])"
_NEXT = "min(t + 1, T - 1)"

# By exercise and mistake: edits (old, new, old, new, …) of the right answer, or a source of its own.
WRONG = {
    "first_and_last": {
        "a row instead of a column": ("[row[task] for row in matrix]", "matrix[task]"),
        "the first number is of task 0": ("first = column[task]", "first = matrix[0][0]"),
        "the column begins in row 0": ("first = column[task]", "first = column[0]"),
        "the last number is one row too early": ("len(matrix) - 1", "len(matrix) - 2"),
        "the last number is of the newest task": ("last = column[", "last = matrix[-1]["),
        "the last number is of task 0": ("column[len(matrix) - 1]", "matrix[len(matrix) - 1][0]"),
        "first and last swapped": ("first, last\n", "last, first\n"),
        "the best instead of the first": ("column[task]", "max(value for value in column if value is not None)"),
        "the difference instead of both numbers": ("return first, last", "return first - last"),
        "the whole column": ("return first, last", "return column"),
        "the column from the task on": ("return first, last", "return column[task:]"),
    },
    "lost_queries": {
        "every query starts after task 0": ("t = int(tasks[n])", "t = 0"),
        "found at any time before the end": ("bool(found[t, n])", "any(found[i, n] for i in range(T - 1))"),
        "the won queries": ("then and not now", "now and not then"),
        "the kept queries": ("then and not now", "then and now"),
        "never found counts as lost": ("then and not now", "not now"),
        "found after the own task, whatever came later": ("then and not now", "then"),
        "changed either way": ("then and not now", "then != now"),
        "compared with the task after": ("found[T - 1, n]", f"found[{_NEXT}, n]"),
        "one row too late": ("found[t, n]", f"found[{_NEXT}, n]"),
        "a whole row for each query": "def f(found, tasks):\n    return found[tasks] & ~found[-1]\n",
        "numbers of the queries instead of a mask": (
            "return torch.tensor(mask)",
            "return torch.tensor(mask).nonzero().flatten()",
        ),
        "how many instead of which": ("return torch.tensor(mask)", "return sum(mask)"),
    },
    "lost_and_won": {
        "won before lost": (
            "return torch.tensor(lost), torch.tensor(won)",
            "return torch.tensor(won), torch.tensor(lost)",
        ),
        "every query starts after task 0": ("t = int(tasks[n])", "t = 0"),
        "found at any time before the end": (_ROWS, "int(ranks[:-1, n].min())"),
        "compared with the row before the last": ("ranks[t, n]", "ranks[T - 2, n]"),
        "one row too late": ("ranks[t, n]", f"ranks[{_NEXT}, n]"),
        "rank larger or smaller than before": (
            "then and not now",
            "after > before",
            "now and not then",
            "before > after",
        ),
        "not found in the end, found in the end": ("then and not now", "not now", "now and not then", "now"),
        "found then, found now": ("then and not now", "then", "now and not then", "now"),
        "kept and missed": ("then and not now", "then and now", "now and not then", "not (then or now)"),
        "rank 2 counts as found": ("before == 1, after == 1", "before < 3, after < 3"),
        "the lost ones only": (", torch.tensor(won)\n", "\n"),
        "whole rows for each query": """
def f(ranks, tasks):
    then, now = ranks[tasks] == 1, ranks[-1] == 1
    return then & ~now, ~then & now
""",
        "how many instead of which": ("torch.tensor(lost), torch.tensor(won)", "sum(lost), sum(won)"),
    },
    "no_longer_found": {
        "every query starts after task 0": ("t = int(tasks[n])", "t = 0"),
        "found at any time before the end": ("before == 1", "1 in ranks[: T - 1, n]"),
        "the won queries": ("before == 1 and after != 1", "before != 1 and after == 1"),
        "the kept queries": ("after != 1", "after == 1"),
        "never found counts as lost": ("before == 1 and after", "after"),
        "rank larger than before": ("before == 1 and after != 1", "after > before"),
        "compared with the row before the last": ("ranks[t, n]", "ranks[T - 2, n]"),
        "one row too late": ("ranks[t, n]", f"ranks[{_NEXT}, n]"),
        "a whole row for each query": "def f(ranks, tasks):\n    return (ranks[tasks] == 1) & (ranks[-1] != 1)\n",
        "numbers of the queries instead of a mask": (
            "return torch.tensor(mask)",
            "return [n for n in range(N) if mask[n]]",
        ),
        "how many instead of which": ("return torch.tensor(mask)", "return torch.tensor(mask).sum()"),
    },
    "backward_transfer": {
        "diagonal minus last row": ("last - first", "first - last"),
        "divided by T": ("total / (n - 1)", "total / n"),
        "added up, not averaged": ("total / (n - 1)", "total"),
        "starts from the best value": ("matrix[j][j]", "max(matrix[i][j] for i in range(j, n - 1))"),
        "starts from the row before the last": ("matrix[j][j]", "matrix[n - 2][j]"),
        "ends one task later": ("matrix[n - 1][j]", "matrix[j + 1][j]"),
        "the first task alone": ("range(n - 1)", "range(1)", "total / (n - 1)", "total"),
        "changes without their sign": ("last - first", "abs(last - first)"),
        "gains are left out": ("last - first", "min(0, last - first)"),
        "divided by the first value": ("last - first", "(last - first) / first"),
        "the last row alone": ("last - first", "last"),
    },
    "chance_recall": {
        "R / G for every k": ("return 1 - miss", "return n_right / n_gallery"),
        "k times R / G": ("return 1 - miss", "return sum(n_right / n_gallery for _ in range(k))"),
        "k times R / G, at most 1": ("return 1 - miss", "return min(1, n_right * k / n_gallery)"),
        "drawn with replacement": ("(n_wrong - i) / (n_gallery - i)", "n_wrong / n_gallery"),
        "chance of no hit": ("return 1 - miss", "return miss"),
        "all k must be right": ("(n_wrong - i)", "(n_right - i)", "return 1 - miss", "return miss"),
        "one minus all right": ("(n_wrong - i)", "(n_right - i)"),
        "exactly one right item": """
def f(n_right, n_gallery, k):
    p = 0.0
    for place in range(k):
        q, wrong, left = 1.0, n_gallery - n_right, n_gallery
        for i in range(k):
            if i == place:
                q *= n_right / left
            else:
                q *= max(wrong, 0) / left
                wrong -= 1
            left -= 1
        p += q
    return p
""",
        "the query taken out once more": (
            "miss = 1.0",
            "miss = 1.0\n    n_gallery, n_right = n_gallery - 1, n_right - 1",
        ),
        "percent instead of a share": ("return 1 - miss", "return 100 - 100 * miss"),
        "more items shown than there are wrong ones": """
def f(n_right, n_gallery, k):
    n_wrong = n_gallery - n_right
    choices = lambda n: math.factorial(n) // math.factorial(k) // math.factorial(n - k)
    return 1 - choices(n_wrong) / choices(n_gallery)
""",
    },
    "translate": {
        "no means taken away": ("old.mean(dim=0), new.mean(dim=0)", "0 * old[0], 0 * new[0]"),
        "means taken away only to find W": ("(g - away) @ W + home", "g @ W"),
        "W found without taking the means away": ("A, B = old - away, new - home", "A, B = old, new"),
        "new mean not added": ("@ W + home", "@ W"),
        "old mean not taken from the gallery": ("(g - away)", "g"),
        "gallery's own mean taken away": ("(g - away)", "(g - gallery.mean(dim=0))"),
        "old mean added in the end": ("@ W + home", "@ W + away"),
        "one mean for all dimensions": ("mean(dim=0)", "mean()"),
        "translated backwards": ("zip(A, B)", "zip(B, A)"),
        "W transposed": ("(g - away) @ W", "W @ (g - away)"),
        "λ left out": ("M[d, d] += ridge", "M[d, d] += 0"),
        "λ added to every entry": ("M[d, d] += ridge", "M[d] += ridge"),
        "λ times the number of images": ("+= ridge", "+= ridge * len(old)"),
        "λ squared": ("+= ridge", "+= ridge * ridge"),
        "multiplied instead of solved": ("torch.linalg.inv(M) @ R", "M @ R"),
        "a rotation only": (
            "W = torch.linalg.inv(M) @ R",
            "U, _, V = np.linalg.svd(R.numpy())\n    W = torch.tensor(U @ V)",
        ),
    },
    "t_interval": {
        "1.96 instead of Student's factor": ("t = stats.t(n - 1).ppf(0.975)", "t = 1.96"),
        "standard deviation divided by n": ("for x in values) / (n - 1)", "for x in values) / n"),
        "not divided by √n": (" / n ** 0.5", ""),
        "a 90 % interval": ("0.975", "0.95"),
        "n degrees of freedom": ("stats.t(n - 1)", "stats.t(n)"),
        "divided by n instead of √n": ("n ** 0.5", "n"),
        "variance instead of standard deviation": ("s = s2 ** 0.5", "s = s2"),
        "no factor": ("margin = t * s", "margin = s"),
        "mean plus and minus the standard deviation": ("margin = t * s / n ** 0.5", "margin = s"),
        "smallest and largest value": ("mean - margin, mean + margin", "min(values), max(values)"),
        "the ends are swapped": ("mean - margin, mean + margin", "mean + margin, mean - margin"),
        "around 0 instead of the mean": ("mean - margin, mean + margin", "-margin, margin"),
        "the margin only": ("return mean - margin, mean + margin", "return margin"),
    },
    "paired_difference": {
        "sign swapped": ("x - y for", "y - x for"),
        "taken as unpaired": (
            _MARGIN,
            "    pooled = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)\n"
            "    margin = stats.t(2 * n - 2).ppf(0.975) * pooled * np.sqrt(2 / n)\n",
        ),
        "taken as unpaired (Welch)": (
            _MARGIN,
            "    va, vb = np.var(a, ddof=1) / n, np.var(b, ddof=1) / n\n"
            "    df = (va + vb) ** 2 * (n - 1) / (va**2 + vb**2)\n"
            "    margin = stats.t(df).ppf(0.975) * np.sqrt(va + vb)\n",
        ),
        "ends of two intervals subtracted": (
            "return mean, mean - margin, mean + margin",
            f"wide, narrow = {_margin_of('a')}, {_margin_of('b')}\n"
            "    return mean, mean - wide + narrow, mean + wide - narrow",
        ),
        "margins of two intervals added": (_MARGIN, f"    margin = {_margin_of('a')} + {_margin_of('b')}\n"),
        "interval of a alone": (_OTHER_S, "    s = np.std(a, ddof=1)\n"),
        "1.96 instead of Student's factor": ("t = stats.t(n - 1).ppf(0.975)", "t = 1.96"),
        "standard deviation divided by n": ("for x in d) / (n - 1)", "for x in d) / n"),
        "not divided by √n": (" / n ** 0.5", ""),
        "size of the differences": ("x - y for", "abs(x - y) for"),
        "the mean comes last": (
            "return mean, mean - margin, mean + margin",
            "return mean - margin, mean + margin, mean",
        ),
        "the mean is missing": ("return mean, ", "return "),
        "the interval is missing": ("return mean, mean - margin, mean + margin", "return mean"),
        "the differences themselves": ("return mean, mean - margin, mean + margin", "return d"),
    },
}

NAMES = list(RIGHT)
CASES = [(name, mistake) for name, wrong in WRONG.items() for mistake in wrong]


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


def wrong_answer(name, mistake):
    return checking.wrong_answer(RIGHT[name], WRONG[name][mistake])


@pytest.mark.parametrize(("name", "mistake"), CASES)
def test_each_typical_wrong_answer_is_named(name, mistake):
    checking.is_named(name, mistake, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_in_a_table_has_a_wrong_answer_and_a_message_of_its_own(name):
    checking.has_messages_of_their_own(name, WRONG[name])


@pytest.mark.parametrize(("name", "mistake"), CASES)
def test_the_example_of_a_wrong_answer_is_a_true_one(name, mistake):
    checking.example_is_true(name, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", NAMES)
def test_corner_cases_come_last(name):
    checking.corner_cases_come_last(name)


@pytest.mark.parametrize("name", NAMES)
def test_loops_pass(name):
    checking.passes(name, function(RIGHT[name]))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_solution_passes_as_it_is_shown(name):
    checking.solution_runs_alone(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_told_where_to_begin(name):
    checking.stub_is_told_where_to_begin(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "mistake", "words"), checking.NO_ANSWERS)
def test_what_is_no_answer(name, value, mistake, words):
    checking.is_no_answer(name, value, mistake, words)


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_ends_with_the_solution(name):
    checking.ladder_ends_with_the_solution(name)


# Right answers in several styles.


def first_values(matrix, task):
    """The first number of the column that is there."""
    column = np.array([row[task] for row in matrix], dtype=float)
    return [column[~np.isnan(column)][0], column[-1]]


def gathered(found, tasks):
    return (found.gather(0, tasks[None])[0] > found[-1]).float()


def numpy_lost(found, tasks):
    found, tasks = found.numpy(), tasks.numpy()
    return found[tasks, np.arange(len(tasks))] & ~found[-1]


def diagonal_lost(ranks, tasks):
    """By a whole row for each query, of which the diagonal is taken."""
    then = torch.diagonal(ranks[tasks]) == 1
    return then ^ (then & (ranks[-1] == 1))


def numpy_changed(ranks, tasks):
    r = ranks.numpy()
    then, now = np.take_along_axis(r, tasks.numpy()[None], axis=0)[0] == 1, r[-1] == 1
    return np.stack([then & ~now, now & ~then])


def mixed_changed(ranks, tasks):
    """A list of 0 and 1 beside an array of booleans."""
    n = len(tasks)
    ends = [(int(ranks[tasks[i], i]), int(ranks[-1, i])) for i in range(n)]
    return [int(a == 1 and b > 1) for a, b in ends], [int(a > 1 and b == 1) for a, b in ends]


def numpy_transfer(matrix):
    r = np.array(matrix, dtype=float)
    return np.mean(r[-1, :-1] - np.diag(r)[:-1])


def torch_transfer(matrix):
    """With the last task among the sum, which adds 0."""
    r = torch.tensor([[0.0 if value is None else value for value in row] for row in matrix])
    return (r[-1] - r.diagonal()).sum() / (len(r) - 1)


def logarithms(n_right, n_gallery, k):
    if k > n_gallery - n_right:
        return 1
    ways = [math.lgamma(n + 1) - math.lgamma(n - k + 1) for n in (n_gallery - n_right, n_gallery)]
    return -math.expm1(ways[0] - ways[1])


def counted(n_right, n_gallery, k):
    """Chance of one, two, … right items, added up."""
    ways = [math.comb(n_right, r) * math.comb(n_gallery - n_right, k - r) for r in range(1, k + 1)]
    return torch.tensor(sum(ways) / math.comb(n_gallery, k))


def stacked_translation(gallery, old, new, ridge=0.1):
    """The penalty as more rows of a least-squares problem, in numpy."""
    a, b = (x.double().numpy() for x in (old, new))
    d = a.shape[1]
    rows = np.vstack([a - a.mean(0), np.sqrt(ridge) * np.eye(d)])
    w = np.linalg.lstsq(rows, np.vstack([b - b.mean(0), np.zeros((d, d))]), rcond=None)[0]
    return (gallery.numpy() - a.mean(0)) @ w + b.mean(0)


def inverse_translation(gallery, old, new, ridge=0.1):
    """The mean as a constant, W by an inverse, in float32."""
    a, b = old - old.mean(0), new - new.mean(0)
    w = torch.inverse(a.T @ a + torch.diag(torch.full((a.shape[1],), float(ridge)))) @ a.T @ b
    return gallery @ w + (new.mean(0) - old.mean(0) @ w)


def by_hand(values):
    v = torch.from_numpy(values)
    half = stats.t.isf(0.025, len(v) - 1) * v.std() / len(v) ** 0.5
    return torch.stack([v.mean() - half, v.mean() + half])


OTHERS = [
    ("first_and_last", first_values),
    ("first_and_last", lambda matrix, task: torch.tensor([matrix[task][task], matrix[len(matrix) - 1][task]])),
    ("lost_queries", gathered),
    ("lost_queries", numpy_lost),
    ("lost_queries", lambda found, tasks: [bool(found[t, n] and not found[-1, n]) for n, t in enumerate(tasks)]),
    ("lost_and_won", numpy_changed),
    ("lost_and_won", mixed_changed),
    ("lost_and_won", lambda r, t: [csd.metrics.query_changes(r, t)[change] for change in ("lost", "won")]),
    ("no_longer_found", diagonal_lost),
    ("no_longer_found", lambda ranks, tasks: numpy_changed(ranks, tasks)[0]),
    ("no_longer_found", lambda ranks, tasks: csd.metrics.query_changes(ranks, tasks)["lost"].int().tolist()),
    ("backward_transfer", numpy_transfer),
    ("backward_transfer", torch_transfer),
    ("backward_transfer", lambda matrix: -csd.metrics.first_minus_last(matrix)),
    ("chance_recall", logarithms),
    ("chance_recall", counted),
    ("chance_recall", lambda n_right, n_gallery, k: stats.hypergeom.sf(0, n_gallery, n_right, k)),
    ("translate", stacked_translation),
    ("translate", inverse_translation),
    ("t_interval", by_hand),
    ("t_interval", lambda v: stats.t.interval(0.95, len(v) - 1, v.mean(), stats.sem(v))),
    ("t_interval", lambda v: stats.ttest_1samp(v, 0).confidence_interval()),
    ("paired_difference", lambda a, b: (np.mean(a - b), *stats.ttest_rel(a, b).confidence_interval())),
    ("paired_difference", lambda a, b: np.array([(a - b).mean(), *by_hand(a - b)])),
]


@pytest.mark.parametrize(("name", "f"), OTHERS)
def test_other_right_answers_pass(name, f):
    checking.passes(name, f)


def test_every_exercise_here_has_two_other_right_answers():
    assert {name for name in NAMES if sum(other == name for other, _ in OTHERS) >= 2} == set(NAMES)


# The truth of the cases, found in another way.


def test_the_truth_of_chance_is_what_random_searches_reach():
    generator = torch.Generator().manual_seed(0)
    for case in check.EXERCISES["chance_recall"].cases:
        n_right, n_gallery, k = case.arguments
        order = torch.rand(4000, n_gallery, generator=generator).argsort(dim=1)
        reached = (order[:, :k] < n_right).any(dim=1).double().mean()
        assert check.EXERCISES["chance_recall"].truth(n_right, n_gallery, k) == pytest.approx(float(reached), abs=0.03)


@given(st.integers(1, 12), st.data())
def test_the_truth_of_chance_is_the_hypergeometric_distribution(n_gallery, data):
    n_right, k = data.draw(st.integers(1, n_gallery)), data.draw(st.integers(1, n_gallery))
    truth = check.EXERCISES["chance_recall"].truth(n_right, n_gallery, k)
    choices = list(combinations(range(n_gallery), k))
    assert truth == pytest.approx(sum(min(chosen) < n_right for chosen in choices) / len(choices))


def test_the_first_case_of_the_translation_is_found_exactly():
    gallery, old, new, ridge = check.EXERCISES["translate"].cases[0].arguments
    assert ridge == 0
    answer = check.EXERCISES["translate"].truth(gallery, old, new, ridge)
    assert torch.allclose(answer, torch.tensor([[1.0, 5.0]]).double())  # (2, 0) turned, doubled, plus 1


def test_the_truth_of_the_translation_is_a_minimum():
    """What the formula minimises grows in whatever direction W is moved."""
    truth = check.EXERCISES["translate"].truth
    for case in check.EXERCISES["translate"].cases:
        _, old, new, ridge = case.arguments
        d = old.shape[1]
        a, b = (old - old.mean(0)).double(), (new - new.mean(0)).double()
        w = truth(torch.eye(d) + old.mean(0), old, new, ridge) - new.mean(0).double()  # the images of the axes

        def cost(w, a=a, b=b, ridge=ridge):
            return float(((a @ w - b) ** 2).sum() + ridge * (w**2).sum())

        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            assert cost(w + 0.1 * torch.randn(d, d, generator=generator).double()) > cost(w)


def test_the_interval_covers_the_mean_in_95_of_100_cases():
    truth = check.EXERCISES["t_interval"].truth
    generator = np.random.default_rng(0)
    ends = np.array([truth(generator.normal(2.0, 3.0, size=4)) for _ in range(600)])
    assert np.mean((ends[:, 0] < 2) & (ends[:, 1] > 2)) == pytest.approx(0.95, abs=0.025)


# What is told.


def test_none_is_named_and_shown_as_none():
    verdict = checked("first_and_last", wrong_answer("first_and_last", "the column begins in row 0"))
    assert str(verdict.case).splitlines()[-1] == "your answer: [None, 0.5]"
    assert "matrix = [[0.9, None, None], [0.7, 0.8, None], [0.4, 0.5, 0.6]]" in str(verdict.case)
    verdict = checked("first_and_last", lambda matrix, task: (None, matrix[-1][task]))
    assert verdict.mistake == "not finite"
    assert "None in the place of a number" in verdict.message
    assert "a cell of the input without a value" in verdict.message


def test_none_in_a_mask_is_no_answer():
    verdict = checked("lost_queries", lambda _, tasks: [None] * len(tasks))
    assert verdict.mistake == "wrong type"
    assert "expected booleans, each True or False" in verdict.message


def test_shapes_that_no_mistake_explains():
    verdict = checked("t_interval", lambda values: [*values, *values])
    assert verdict.mistake == "wrong shape"
    assert "returned the shape (4,); expected (2,)" in verdict.message
    assert str(verdict.case).endswith("your answer: [0.3, 0.5, 0.3, 0.5]")
    verdict = checked("paired_difference", lambda *_: 0.25)
    assert verdict.mistake == "wrong shape"
    assert "returned a single number; expected 3 numbers, of shape (3,)" in verdict.message
    transposed = checked("lost_and_won", lambda ranks, _: torch.zeros(ranks.shape[1], 2))
    assert transposed.mistake == "wrong shape"
    assert "Rows and columns are swapped" in transposed.message


def test_a_shape_right_by_luck_is_not_taken_for_an_answer():
    """(N,) of a right shape but another kind, and a number that would be right if it were one of two."""
    assert checked("lost_queries", lambda _, tasks: tasks + 5).mistake == "wrong type"
    assert checked("t_interval", lambda _: torch.zeros(2, 1)).mistake == "wrong shape"


def test_arrays_are_shown_as_numbers():
    text = str(checked("t_interval", wrong_answer("t_interval", "a 90 % interval")).case)
    assert text.splitlines()[0] == "values = [0.3, 0.5]"


def test_an_array_changed_in_place():
    def f(values):
        values -= values.mean()
        return values.min(), values.max()

    assert checked("t_interval", f).mistake == "input changed"


def test_the_smallest_input_is_shown():
    case = checked("backward_transfer", lambda _: 7.0).case
    assert case.arguments == {"matrix": [[0.9, None], [0.5, 0.8]]}
    assert case.expected == pytest.approx(-0.4)
    case = checked("lost_queries", wrong_answer("lost_queries", "the kept queries")).case
    assert case.arguments["found"].shape == (2, 3)
    case = checked("translate", wrong_answer("translate", "λ left out")).case
    assert case.arguments["ridge"] == 2.0


def test_only_the_earlier_rows_of_unlearnt_tasks_are_zero():
    """What the docstring of the exercise says: 0 before a task is learnt, and from then on 1 or more."""
    for case in check.EXERCISES["no_longer_found"].cases:
        ranks, tasks = case.arguments
        assert torch.equal(ranks == 0, torch.arange(len(ranks))[:, None] < tasks[None, :])
    for case in check.EXERCISES["lost_and_won"].cases:
        assert case.arguments[0].min() >= 1


def test_one_mistake_at_a_time():
    """On plain inputs a mistake is named although the corner fails, too."""
    corner = WRONG["chance_recall"]["more items shown than there are wrong ones"]
    assert checked("chance_recall", function(corner)).mistake == "more items shown than there are wrong ones"
    both = edited(corner, "return 1 - ", "return ")
    assert checked("chance_recall", both).mistake == "chance of no hit"


def test_a_corner_that_ends_with_an_error_shows_the_line():
    verdict = checked("chance_recall", wrong_answer("chance_recall", "more items shown than there are wrong ones"))
    assert "ValueError: factorial() not defined for negative values" in verdict.message
    assert verdict.case.arguments == {"n_right": 3, "n_gallery": 5, "k": 4}


def test_the_solutions_of_the_hints_bring_their_imports():
    assert check.hint("t_interval", rung=4).code.startswith("import numpy as np\nimport scipy\n\n\ndef t_interval(")
    assert check.hint("chance_recall", rung=4).code.startswith("import math\n\n\ndef chance_recall(")
    assert check.hint("first_and_last", rung=4).code.startswith("def first_and_last(")


def test_passing_is_recorded(progress_file):
    checked("t_interval", function(RIGHT["t_interval"]))
    checked("t_interval", wrong_answer("t_interval", "no factor"))
    entry = json.loads(progress_file.read_text())["exercises"]["t_interval"]
    assert (entry["passed"], entry["attempts"], entry["mistakes"]) == (True, 2, {"no factor": 1})
    assert repr(check.board("t_interval", "paired_difference")).startswith("Progress: 1 of 2 passed")
