"""Wrong answers that are in no table, mutants of the solutions, and what is said about errors; right answers pass."""

from __future__ import annotations

import re
import sys

import pytest
import torch
import torch.nn.functional as F

from csd_edu import check
from csd_edu.check import own, running
from csd_edu.check.slips import slips
from tests.answers import RIGHT, checked, edited, function, passes
from tests.mutants import EXERCISES_WITH_MUTANTS, as_text, mutants, tally
from tests.slips import SLIPS
from tests.variants import VARIANTS

pytestmark = [pytest.mark.usefixtures("progress_file", "one_thread"), pytest.mark.filterwarnings("ignore")]

OF_SLIPS = [(name, mistake, changes) for name, found in SLIPS.items() for mistake, changes in found]
EVERY_FOURTH = [pytest.param(*slip, marks=[pytest.mark.campaign] * (k % 4 > 0)) for k, slip in enumerate(OF_SLIPS)]


@pytest.mark.parametrize(("name", "mistake", "changes"), EVERY_FOURTH)
def test_slips_are_refused_and_named(name, mistake, changes, monkeypatch):
    monkeypatch.setattr(running, "REPAIR_LIMIT", 60.0)  # on a busy computer, too
    verdict = checked(name, edited(RIGHT[name], *changes))
    assert not verdict.passed
    assert verdict.mistake == (None if mistake == "?" else mistake), verdict


def test_most_slips_are_named():
    unnamed = [mistake for _, mistake, _ in OF_SLIPS if mistake == "?"]
    assert len(OF_SLIPS) >= 250
    assert len(unnamed) / len(OF_SLIPS) < 0.12


@pytest.mark.parametrize(("name", "f"), VARIANTS)
def test_right_answers_in_still_other_styles(name, f):
    passes(name, f)


@pytest.mark.parametrize("name", EXERCISES_WITH_MUTANTS)
def test_a_sample_of_mutants_is_refused(name):
    """Every ninth; all of them in the campaign."""
    assert tally(name, lambda k: k % 9 == len(name) % 9).holes == ()


@pytest.mark.campaign
def test_every_mutant_is_refused_or_equivalent():
    tallies = {name: tally(name) for name in EXERCISES_WITH_MUTANTS}
    print(as_text(tallies))
    assert {name: found.holes for name, found in tallies.items() if found.holes} == {}
    assert sum(found.refused for found in tallies.values()) > 1400
    assert sum(found.named for found in tallies.values()) > 0.85 * sum(found.refused for found in tallies.values())


def test_a_hole_is_found():
    """The tool itself: a check without its last inputs lets mutants pass."""
    exercise = check.EXERCISES["forgetting"]
    cases = exercise.cases
    exercise.cases = cases[:1]
    try:
        assert len(tally("forgetting").holes) > 5
    finally:
        exercise.cases = cases


def test_slips_of_a_function():
    found = {
        slip.source.splitlines()[-1].strip(): slip.name for slip in slips(check.EXERCISES["first_and_last"].solution)
    }
    assert found["return (matrix[task][task], matrix[-2][task])"] == "off by one"
    assert found["return (matrix[-1][task], matrix[task][task])"] == "two things swapped"
    assert list(slips(len)) == []
    assert len(list(mutants("csd"))) > 100


def test_the_students_own_line_is_told():
    f = edited(RIGHT["backward_transfer"], "total += last - first", "total = last - first")
    verdict = checked("backward_transfer", f)
    assert verdict.message.startswith("Each turn of the loop writes over")
    assert verdict.message.endswith("It is here: total = last - first")


def test_what_a_function_prints_is_not_printed_by_the_search(capsys):
    f = edited(RIGHT["backward_transfer"], "total += last - first", "print('x'); total = last - first")
    checked("backward_transfer", f)
    assert capsys.readouterr().out.count("x") < 30


def test_two_mistakes_at_once():
    def interval(values):
        half = 1.96 * values.std(ddof=1)
        return values.mean() - half, values.mean() + half

    verdict = checked("t_interval", interval)
    assert verdict.mistake == "1.96 instead of Student's factor; not divided by √n"
    assert verdict.message.startswith("Two things at once. 1.96 is")


# Errors.


def test_an_error_of_pytorch_is_no_stub():
    verdict = checked("lost_queries", lambda found, tasks: found[tasks, torch.arange(len(tasks))] & -found[-1])
    assert verdict.mistake == "error"
    assert "not written yet" not in verdict.message
    assert '"not" is ~mask' in verdict.message


@pytest.mark.parametrize(
    ("name", "f", "words"),
    [
        ("lost_queries", lambda found, *_: found[0] and not found[-1], "Between masks and is &"),
        ("lost_queries", lambda found, tasks: found[tasks, torch.arange(len(tasks))] - found[-1], "there is no minus"),
        ("forgetting", lambda m: max(row[1] for row in m) - m[-1][1] + m[0][2], "counts from 0"),
        ("first_and_last", lambda m, j: (m[0, j], m[-1, j]), "and not matrix[i, j]"),
        ("temperature_softmax", lambda z, t: (z / t - (z / t).max(dim=1)).exp(), "values and indices"),
        ("temperature_softmax", lambda z, t: z.exp / t, "pair of brackets is missing"),
        ("search", lambda q, g, k: (q @ g).topk(k).indices, "A @ B.T"),
        ("linear_cka", lambda x, y: float((x > 0).mean() + y.sum()), "x.float() first"),
        ("paired_difference", lambda a, b: list(a) - list(b), "does not compute with whole lists"),
        ("csd", lambda s, *_: s.sum() * (1 / 0), "divided by a number that can be 0"),
        ("triplet", lambda *_: torch.stack([]), "of nothing was asked"),
        ("linear_cka", lambda x, y: float(x.T @ y), "take a single number"),
        ("sharpen", lambda p, t: p ^ (1 / t), "A power is written **"),
        ("snn_predict", lambda q, s, y, t: (q @ s.T / t).softmax(dim=1) @ y.argmax(dim=1), "holds whole numbers"),
        ("kept_per_class", lambda labels, _: labels.remove(99), "takes out the first that equals"),
    ],
)
def test_errors_in_words_of_the_subject(name, f, words):
    assert words in checked(name, f).message


def test_where_nothing_is_frozen_no_teacher_is_spoken_of():
    verdict = checked("spread", lambda p: (p.mean(dim=0).detach() * p.mean(dim=0).clamp_min(1e-30).log()).sum())
    assert verdict.mistake == "gradient cut"
    assert "teacher" not in verdict.message


# What passed before, or was told wrongly.


def test_an_empty_cell_written_over():
    def f(matrix):
        for row in matrix:
            row[:] = [0.0 if value is None else value for value in row]
        return check.EXERCISES["backward_transfer"].solution(matrix)

    assert checked("backward_transfer", f).mistake == "input changed"


def test_return_inside_of_the_if():
    source = RIGHT["my_csd"].replace("    return terms\n", "        return terms\n")
    verdict = checked("my_csd", function(source))
    assert verdict.mistake == "nothing returned"
    assert "inside of an `if`" in verdict.message
    assert verdict.case.about == "four images in the first task"


def test_a_pair_in_the_place_of_two_numbers():
    verdict = checked("paired_difference", lambda *_: (0.1, (0.2, 0.3)))
    assert "a tuple, in which there is a tuple" in verdict.message
    assert "*pair" in verdict.message
    assert "in which there is a str" in checked("first_and_last", lambda *_: ("a", "b")).message


# CSD by stages.

BY_STAGES = """
def loss(student, teacher, labels, temperature):
    s, t = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    sim = s @ torch.cat([s, t]).T / temperature
    itself = torch.eye(len(s), 2 * len(s)).bool()
    P = (labels[:, None] == labels.repeat(2)) & ~itself
    log_p = sim - sim.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    return -((log_p * P).sum(dim=1) / P.sum(dim=1)).mean()
"""


def test_the_first_stage_that_differs_is_told():
    passes("csd", function(BY_STAGES))
    for old, new, right in (
        ("/ temperature", "/ (temperature + 0.01 + 0.01 * labels[:, None])", ["positives P"]),
        ("keepdim=True)\n", "keepdim=True) + 0.1 + 0.1 * labels[:, None]\n", ["similarities / τ", "positives P"]),
    ):
        verdict = checked("csd", edited(BY_STAGES, old, new))
        assert verdict.mistake is None, verdict
        assert re.findall(r"^  (.+): right, in your `\w+`$", verdict.message, re.M) == right
        assert verdict.message.count("in none of your variables") == 1


def test_stages_leave_a_profiler_alone():
    seen = []
    sys.setprofile(lambda *_: seen.append(1))
    before = sys.getprofile()
    try:
        checked("csd", lambda student, *_: student.sum() * 0.123)
        assert sys.getprofile() is before
    finally:
        sys.setprofile(None)


def test_the_product_with_a_mask_is_told():
    f = edited(BY_STAGES, "log_p = sim -", "sim = sim.masked_fill(itself, -torch.inf); log_p = sim -")
    verdict = checked("csd", f)
    assert verdict.mistake == "−inf times 0"
    assert "masked_fill(~P, 0)" in verdict.message
    assert "torch.where(P, log_p, " in check.EXERCISES["csd"].hints[2]


# Helpers of a notebook.


def library_interval(values):
    return function(RIGHT["t_interval"])(values)


def another_name(values):
    return function(RIGHT["t_interval"])(values)


@pytest.mark.parametrize("f", [library_interval, lambda values: library_interval(values), another_name])
def test_a_helper_of_the_notebook_is_no_answer(f):
    verdict = checked("t_interval", f)
    assert verdict.mistake == "the notebook's helper"
    assert "`library_interval`" in verdict.message


def test_helpers_of_other_exercises_may_be_used():
    assert own.helper_in("feature_distillation", library_interval) is None
    assert own.helper_in("t_interval", torch.nn.Linear(1, 1)) is None
    assert set(own.HELPERS) <= set(check.EXERCISES)
    assert checked("search", lambda q, g, k: torch.topk(F.normalize(q) @ F.normalize(g).T, k).indices).passed
