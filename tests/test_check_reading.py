"""The checks of the smaller exercises: reading matrices and ranks, chance, intervals, a translation."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from csd_edu import check
from tests.answers import RIGHT, WRONG, checked, edited, function, wrong_answer

pytestmark = pytest.mark.usefixtures("progress_file")


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


def test_the_ranks_begin_at_one():
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
