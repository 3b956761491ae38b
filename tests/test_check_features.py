"""The checks of what keeps features in place: the push of distillation, CSD's masks and its method, and drift."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu.check.inputs import step_of
from csd_edu.check.verdict import parts, shown
from tests.answers import RIGHT, checked, edited, function, wrong_answer

pytestmark = pytest.mark.usefixtures("progress_file")


# What is no answer.


def test_without_a_cut_the_student_is_told_where_it_breaks():
    f = edited(RIGHT["push"], "s = student_logits[i, :old]", "s = student_logits[i]", "p[c] - q[c]", "(p - q)[c]")
    verdict = checked("push", f)
    assert verdict.mistake == "new classes not told apart"
    assert "must match the size of tensor" in verdict.message
    assert verdict.case.about == "the student knows two classes more than the teacher"


def test_masks_of_other_shapes():
    right = function(RIGHT["contrast_masks"])
    verdict = checked("contrast_masks", lambda labels: (right(labels)[0], right(labels)[1][:, :1]))
    assert verdict.mistake == "wrong shape"
    assert verdict.message == "Your masks have the shapes (2, 4) and (2, 1); expected (2, 4) for each."
    verdict = checked("contrast_masks", lambda labels: right(labels)[0])
    assert verdict.mistake == "wrong shape"
    assert "expected (2, 2, 4). That is 2 masks, each of the shape (2, 4)." in verdict.message
    verdict = checked("contrast_masks", lambda labels: (right(labels)[0] * 2.0, right(labels)[1]))
    assert verdict.mistake == "wrong type"
    assert "expected 2 masks of booleans, each True or False" in verdict.message


def test_losses_that_are_no_dictionary():
    added = checked("my_csd", lambda step: sum(csd.methods.csd(step).values()))
    assert added.mistake == "terms added up"
    assert "The trainer adds the terms up itself" in added.message
    verdict = checked("my_csd", lambda step: list(csd.methods.csd(step).values()))
    assert verdict.mistake == "wrong type"
    assert "returned a list; expected a dictionary of losses" in verdict.message
    verdict = checked("my_csd", lambda step: {**csd.methods.csd(step), "CSD": torch.tensor(1.0)})
    assert verdict.mistake == "unknown term"
    assert "named 'CSD'; expected some of 'ce', 'triplet', 'kd', 'csd'" in verdict.message
    verdict = checked("my_csd", lambda step: {name: term.item() for name, term in csd.methods.csd(step).items()})
    assert verdict.mistake == "not a tensor"
    assert "The term 'ce' is a float" in verdict.message
    for odd in (torch.tensor(1j), torch.tensor(True), torch.ones(2), None):
        assert checked("my_csd", lambda step, odd=odd: {**csd.methods.csd(step), "kd": odd}).mistake == "not a tensor"


def test_an_unusual_term_is_pointed_out():
    verdict = checked("my_csd", edited(RIGHT["my_csd"], "0.07)", "0.09)"))
    assert verdict.mistake is None
    assert verdict.message.endswith("Look at the term 'csd'.")
    verdict = checked("my_csd", edited(RIGHT["my_csd"], "0.07)", "0.09)", "F.cross", "2 * F.cross"))
    assert verdict.message.endswith("Look at the terms 'ce' and 'csd'.")
    verdict = checked("my_csd", lambda step: {name: 3 * term for name, term in csd.methods.csd(step).items()})
    assert verdict.message.endswith("see where the two part.")


# Gradients and inputs of a step.


@pytest.mark.parametrize(
    ("edits", "mistake"),
    [
        (("contrast(step.features", "contrast(step.features.detach()"), "gradient cut"),
        (("0.07)", "0.07).detach()"), "gradient cut"),
        (("    return terms", "    return {name: term.detach() for name, term in terms.items()}"), "detached"),
    ],
)
def test_a_student_that_receives_no_gradient(edits, mistake):
    verdict = checked("my_csd", edited(RIGHT["my_csd"], *edits))
    assert verdict.mistake == mistake
    assert "'step.features'" in verdict.message


def test_a_step_changed_in_place():
    def student(step):
        terms = csd.methods.csd(step)
        step.features.mul_(2)
        return terms

    def teacher(step):
        terms = csd.methods.csd(step)
        if step.teacher is not None:
            step.teacher.features.zero_()
        return terms

    for f in (student, teacher):
        verdict = checked("my_csd", f)
        assert verdict.mistake == "input changed"
        assert "'step'" in verdict.message
    assert checked("my_csd", csd.methods.csd).passed  # the steps are as they were


def test_overlap_by_leaving_out_the_best_match():
    """The plain way with topk, in whatever order it puts the two images with one feature."""

    def overlap(x, y, k):
        near = [(F.normalize(z) @ F.normalize(z).T).topk(k + 1).indices[:, 1:] for z in (x, y)]
        return (near[0][:, :, None] == near[1][:, None]).any(dim=2).float().mean(dim=1)

    verdict = checked("neighbor_overlap", overlap)
    assert verdict.mistake == "the first answer taken for the image itself"
    assert verdict.case.about == "two images with the same feature"


# How it is shown.


def test_a_step_is_shown_by_what_a_method_looks_at():
    verdict = checked("my_csd", wrong_answer("my_csd", "no csd term"))
    lines = str(verdict.case).splitlines()
    names = ["task", "labels", "features", "logits", "teacher.features", "teacher.logits"]
    assert [line.split(" = ")[0] for line in lines[:6]] == [f"step.{name}" for name in names]
    assert lines[0] == "step.task = 1"
    assert lines[1] == "step.labels = [3, 3, 4, 4]"
    assert re.fullmatch(r"step\.features = \[(\[(-?\d\.?\d?,? ?){3}\](, )?){4}\]", lines[2])
    assert re.fullmatch(r"expected: \{'ce': [\d.]+, 'triplet': [\d.]+, 'kd': [\d.]+, 'csd': [\d.]+\}", lines[6])
    assert lines[7] == "your answer: " + re.sub(r", 'csd': [\d.]+", "", lines[6].removeprefix("expected: "))
    assert max(map(len, lines)) < 200
    page = verdict._repr_html_()
    assert "step.teacher.features = " in page
    assert "images" not in str(verdict.case)


def test_a_step_without_a_teacher():
    verdict = checked("my_csd", wrong_answer("my_csd", "a teacher asked in the first task"))
    assert "step.task = 0\n" in str(verdict.case)
    assert "\nstep.teacher = None\n" in str(verdict.case)
    assert "'NoneType' object has no attribute 'features'" in verdict.message
    assert list(verdict.case.expected) == ["ce", "triplet"]


def test_the_parts_of_a_step():
    x = torch.arange(6.0).reshape(2, 3)
    step = step_of([0, 1], 1, (x, x), (x + 1, x + 2))
    found: dict[str, Any] = parts("s", step)
    assert list(found) == ["s.task", "s.labels", "s.features", "s.logits", "s.teacher.features", "s.teacher.logits"]
    assert torch.equal(found["s.teacher.logits"], x + 2)
    assert parts("k", 3) == {"k": 3}


def test_masks_are_shown_one_below_the_other():
    verdict = checked("contrast_masks", wrong_answer("contrast_masks", "own teacher view not a positive"))
    expected = ["", "    0 1 1 1", "    1 0 1 1", "", "    0 1 1 1", "    1 0 1 1"]
    given = ["", "    0 1 1 1", "    1 0 1 1", "", "    0 1 0 1", "    1 0 1 0"]
    assert shown(verdict.case.expected).splitlines() == expected
    assert shown(verdict.case.given).splitlines() == given
    assert "labels = [0, 0]\nexpected: \n    0 1 1 1\n" in str(verdict.case)
    assert shown(torch.ones(3, 4, 4).long()) == "48 numbers, (3, 4, 4)"
    assert shown({"a": 0.12345, "b": torch.tensor([1, 2])}) == "{'a': 0.1235, 'b': [1, 2]}"
