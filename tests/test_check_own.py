"""The checks of notebooks 08 and 09: how a training goes on, in folders of runs, and methods of one's own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check
from csd_edu.check.running import Function, examine
from csd_edu.check.training import METHOD, Stopped, run_folder, stream_of
from csd_edu.grade import isolation
from csd_edu.grade.submissions import Notebook
from tests.answers import RIGHT, WRONG, checked, edited, function, journal, passes, wrong_answer

pytestmark = pytest.mark.usefixtures("progress_file")


NAMES = [
    "training_hours",
    "epochs_left",
    "train_until",
    "feature_distance",
    "feature_distillation",
    "relation_distance",
    "my_method",
]


WITH_FOLDERS = ["epochs_left", "train_until"]


# Folders of runs.


@pytest.mark.parametrize("name", WITH_FOLDERS)
def test_the_folders_are_those_of_runs_and_the_answers_are_what_is_trained(name):
    """The journals are as the cases say; what is said to be left is what is trained when training goes on."""
    for case in check.EXERCISES[name].cases:
        stopped: Stopped = case.arguments[-1]
        with run_folder(stopped) as folder:
            assert folder.exists() == (stopped.n_records is not None)
            records = list(map(json.loads, journal(folder)))
            assert [(record["kind"], record["task"]) for record in records] == stopped.journal
            assert len(records) == (stopped.n_records or 0)
            if name == "epochs_left":
                rest = csd.training(stream_of(stopped.n_tasks), METHOD, stopped.config, out=folder)
                left = Counter(record["task"] for record in rest if record["kind"] == "epoch")
                assert check.EXERCISES[name].truth(stopped) == [left[task] for task in range(stopped.n_tasks)]
                assert check.EXERCISES[name].solution(folder) == [0] * stopped.n_tasks


@pytest.mark.campaign
@pytest.mark.parametrize("name", WITH_FOLDERS)
def test_the_example_of_a_run_is_a_true_one(name):
    corners = {case.shows for case in check.EXERCISES[name].cases} - {None}
    for mistake in {*list(WRONG[name])[::3], *corners}:
        f = wrong_answer(name, mistake)
        case = checked(name, f).case
        stopped: Stopped = case.arguments["folder"]
        with run_folder(stopped) as folder:
            if name == "epochs_left":
                assert np.array_equal(case.given, f(folder))
                assert not np.array_equal(case.given, case.expected)
                continue
            arguments = (case.arguments["n"], stream_of(stopped.n_tasks), METHOD, stopped.config, folder)
            if case.given is None:
                with pytest.raises((StopIteration, FileNotFoundError)):
                    f(*arguments)
            else:
                f(*arguments)
                assert case.given == sum('"kind": "epoch"' in line for line in journal(folder)) != case.expected


def test_a_run_is_shown_in_words():
    verdict = checked("epochs_left", wrong_answer("epochs_left", "measurement counted as an epoch"))
    assert str(verdict.case).splitlines() == [
        "folder = a run of 3 tasks with 3, 2, 2 epochs; "
        "its journal: 3 epochs of task 0, its measurement, 1 epoch of task 1",
        "expected: [0, 1, 2]",
        "your answer: [-1, 1, 2]",
    ]  # fmt: skip
    verdict = checked("train_until", wrong_answer("train_until", "a run looked for before there is one"))
    assert verdict.case.about.startswith("a run that has not begun; the answer is the number of epochs in the journal")
    assert str(verdict.case).splitlines() == [
        "n = 1",
        "folder = where a run of 3 tasks with 3, 2, 2 epochs is to begin; nothing is there yet",
        "expected: 1",
    ]
    assert "no line yet" in str(Stopped(0))


def test_other_settings_than_those_given_are_refused_by_the_run():
    f = edited(RIGHT["train_until"], "csd.training(stream, method,", "csd.training(stream, csd.methods.csd,")
    verdict = checked("train_until", f)
    assert verdict.mistake == "error"
    assert "holds another run: its method has name 'finetune', now 'csd'" in verdict.message
    assert "Line 5, in until" in verdict.message


def test_a_function_that_trains_elsewhere_has_trained_nothing(tmp_path):
    places = (tmp_path / str(number) for number in itertools.count())

    def elsewhere(n, stream, method, config, folder):  # noqa: ARG001
        function(RIGHT["train_until"])(n, stream, method, config, next(places))

    assert checked("train_until", elsewhere).mistake == "nothing trained"


def endless(n, stream, method, config, folder):  # noqa: ARG001
    records = csd.training(stream, method, config, out=folder)
    while True:
        next(records, None)


def stops_halfway(n, stream, method, config, folder):  # noqa: ARG001
    kept.append(csd.training(stream, method, config, out=folder))
    next(kept[-1])
    raise RuntimeError("halfway")


kept: list[Any] = []


@pytest.mark.parametrize(
    ("f", "mistake"),
    [
        (function(RIGHT["train_until"]), None),
        (wrong_answer("train_until", "never stopped"), "never stopped"),
        (endless, "not finished in time"),
        (stops_halfway, "error"),
    ],
)
def test_no_folder_and_no_lock_is_left(f, mistake, tmp_path, monkeypatch, capsys):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    checked("epochs_left", function(RIGHT["epochs_left"]))  # the first training is slow
    exercise = check.EXERCISES["train_until"]
    started = time.monotonic()
    verdict = examine(dataclasses.replace(exercise, seconds=0.7) if f is endless else exercise, f)
    if f is endless:
        assert 0.6 < time.monotonic() - started < 3
        assert "had not finished after 0.7 seconds" in verdict.message
        assert exercise.seconds > 10
    assert (verdict.passed, verdict.mistake) == (mistake is None, mistake)
    assert list(place.iterdir()) == []
    kept.clear()
    if Path("/proc/self/fd").is_dir():
        opened = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)]
        assert not [path for path in opened if str(place) in path]
    assert capsys.readouterr() == ("", "")


def _is_open(number: str) -> bool:
    """Whether a file is open still: the listing's own is not."""
    return os.path.lexists(f"/proc/self/fd/{number}")


def test_checks_with_training_are_quick_and_leave_random_numbers_alone(capsys):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    started = time.monotonic()
    for name in WITH_FOLDERS:
        checked(name, function(RIGHT[name]))
    assert time.monotonic() - started < 8
    assert torch.equal(torch.rand(2), expected)
    assert capsys.readouterr() == ("", "")


# A method of one's own.


def method(*changes: str, first: str = "", then: str = "") -> Function:
    """Return a small right method with texts replaced, and with more lines, for all tasks and if there is a teacher."""
    source = """
def method(step):
    terms = {"ce": F.cross_entropy(step.logits, step.labels)}
    FIRST
    if step.teacher is not None:
        old = step.teacher.features.detach()
        terms["kept"] = (F.normalize(step.features) - F.normalize(old)).norm(dim=1).mean()
        THEN
    return terms
"""
    return edited(source, *changes, "FIRST", first or "pass", "THEN", then or "pass")


FREE = [
    method(),
    csd.methods.finetune,
    csd.methods.lwf,
    csd.methods.csd,
    csd.methods.joint,
    method(first="terms['images'] = step.images.float().mean() * 0 + step.features.mean() * 0"),
    method(then="terms['ce'] = terms['ce'] / step.task"),
    method(then="terms['ask'] = (step.teacher_view(step.images.flip(3)).features - step.features).abs().mean()"),
    lambda step: csd.methods.csd(step) if step.task > 0 else {"wait": step.logits.square().mean()},
    lambda step: {"features": (step.features.double() ** 2).sum()},
]


@pytest.mark.parametrize("f", FREE)
def test_any_method_that_keeps_the_rules_passes(f):
    passes("my_method", f)


BROKEN = {
    "a teacher asked in the first task": (method("if step.teacher is not None:", "if True:"), "step.teacher is None"),
    "nothing returned": (method("\n    return terms", "\n        return terms"), "None in the first task"),
    "wrong type": (method("return terms", "return list(terms.values())"), "returned a list in a later task"),
    "no terms": (method("return terms", "return terms if step.task else {}"), "no terms at all in the first task"),
    "not a tensor": (method(then="terms['kept'] = terms['kept'].item()"), "'kept' is a float in a later task"),
    "wrong shape": (method(".norm(dim=1).mean()", ".norm(dim=1)"), r"'kept' has the shape \(4,\)"),
    "not finite": (method(then="terms['log'] = (step.features - step.features).mean().log()"), "'log' is -inf"),
    "detached": (method(first="terms = {k: v.detach() for k, v in terms.items()}"), "student in the first task"),
    "teacher gradient": (method(".detach()", ""), "The teacher received a gradient"),
    "gradient not finite": (
        method(then="terms['pairs'] = (step.features[:, None] - step.features).square().sum(dim=2).sqrt().mean()"),
        "gradient is NaN or infinite",
    ),
    "input changed": (method(first="with torch.no_grad(): step.features.mul_(2)"), "'step' in place"),
    "error": (method(first="step.features[:, 99]"), "IndexError"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_each_broken_rule_is_named(mistake):
    f, words = BROKEN[mistake]
    verdict = checked("my_method", f)
    assert verdict.mistake == mistake, verdict
    assert re.search(words, verdict.message)
    assert len(verdict.message) < 400
    assert str(verdict.case).endswith("expected: any that keeps the rules")
    task = 0 if "first task" in words or mistake.endswith("first task") else 1
    assert f"step.task = {task}\n" in str(verdict.case)
    assert 'check.hint("my_method")' in repr(verdict)


@pytest.mark.parametrize(
    ("f", "mistake", "words"),
    [
        (
            method("return terms", "return sum(terms.values())"),
            "wrong type",
            "a Tensor in a later.*adds them up itself",
        ),
        (method(then="terms[1] = terms['ce']"), "wrong type", "a term named 1; expected a name, as text"),
        (method(then="terms['n'] = torch.tensor(3)"), "not a tensor", "'n' is a Tensor"),
        (method(then="terms['t'] = step.teacher.logits.square().mean()"), "teacher gradient", "same for its logits"),
        (lambda _: {"a": torch.zeros(())}, "detached", "No term depends on the student in a later task"),
        (lambda step: {"a": (step.teacher or step).features.mean()}, "detached", "made of the teacher alone"),
        (lambda step: step.teacher.nothing, "error", "'View' object has no attribute 'nothing'"),
    ],
)
def test_rules_that_are_broken_in_other_ways(f, mistake, words):
    verdict = checked("my_method", f)
    assert verdict.mistake == mistake
    assert re.search(words, verdict.message), verdict.message


def test_one_message_for_each_rule():
    messages = {checked("my_method", f).message for f, _ in BROKEN.values()}
    assert len(messages) == len(BROKEN)


def test_a_method_that_calls_a_stub_is_not_written_yet():
    def relation_distance(student, teacher):
        raise NotImplementedError("your code here")

    def f(step):
        terms = csd.methods.csd(step)
        if step.teacher is not None:
            terms["relation"] = relation_distance(step.features, step.teacher.features)
        return terms

    verdict = checked("my_method", f)
    assert verdict.mistake == "still to be written"
    assert "in relation_distance" in verdict.message


def test_what_keeps_the_rules_can_be_trained_with(tmp_path):
    """The trainer takes what the check takes."""
    for number, f in enumerate(FREE):
        config = Stopped(0).config.replace(epochs=1, later_epochs=1)
        run = csd.train(stream_of(2), f, config, out=tmp_path / str(number), progress=False)
        assert run.finished


# What is no answer.


def test_lists_in_the_place_of_a_number():
    verdict = checked("training_hours", lambda images, _, speeds: [n / v for n, v in zip(images, speeds, strict=True)])
    assert verdict.mistake == "wrong type"
    assert "returned a list; expected a single number" in verdict.message
    verdict = checked("epochs_left", lambda _: Counter({0: 1}))
    assert verdict.mistake == "wrong type"
    assert "returned a Counter; expected 2 numbers" in verdict.message


# Gradients.


@pytest.mark.parametrize("name", ["feature_distance", "relation_distance"])
def test_a_student_that_receives_no_gradient(name):
    right = function(RIGHT[name])
    for cut in (lambda s, t: right(s, t).detach(), torch.no_grad()(right)):
        assert checked(name, cut).mistake == "detached"
    for swapped in (lambda s, t: right(t, s) + 0 * s.sum(), lambda s, t: right(t, s)):
        assert checked(name, swapped).mistake == "student and teacher swapped"
    assert checked(name, lambda s, t: right(s, t).item()).mistake == "not a tensor"
    assert checked(name, lambda s, t: right(s.detach(), t)).mistake == "detached"


def test_student_and_teacher_swapped_in_a_symmetric_loss():
    """The value is the same, and so is found by the gradient only."""
    swap = (
        "s, t = step.features, step.teacher.features.detach()",
        "t, s = step.features.detach(), step.teacher.features",
    )
    verdict = checked("feature_distillation", edited(RIGHT["feature_distillation"], *swap))
    assert verdict.mistake == "student and teacher swapped"
    assert "'step.teacher.features' instead of 'step.features'" in verdict.message


def test_the_root_of_an_images_distance_from_itself():
    def distance(student, teacher):
        d = []
        for x in (F.normalize(student), F.normalize(teacher.detach())):
            gaps = (x[:, None] - x[None]).square().sum(dim=2).sqrt()
            d.append(gaps[torch.ones_like(gaps).triu(1).bool()])
        return F.smooth_l1_loss(d[0] / d[0].mean(), d[1] / d[1].mean())

    verdict = checked("relation_distance", distance)
    assert verdict.mistake == "gradient not finite"
    assert "A square root or a log of exactly 0" in verdict.message


def test_a_rotation_is_noticed_by_one_of_the_two_losses():
    """What notebook 09 says of the model solutions."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, 8, generator=generator)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    feature, relation = (check.EXERCISES[f"{name}_distance"].solution for name in ("feature", "relation"))
    assert feature(x @ turn, x) > 0.1
    assert relation(x @ turn, x) < 1e-5
    assert relation(x.roll(1, dims=0), x) > 0.01


# With the rest of the kit.


def test_the_board_has_them():
    checked("my_method", csd.methods.csd)
    checked("train_until", lambda *_: None)
    text = repr(check.board("training_hours", "epochs_left", "train_until", "my_method"))
    assert text.startswith("Progress: 1 of 4 passed")
    assert re.search(r"✓ passed +my_method", text)
    assert re.search(r"… begun +train_until +1 attempt", text)


@pytest.mark.slow
def test_they_are_graded_where_files_memory_and_time_are_limited():
    cells = ["from csd_edu import check"]
    for name in NAMES:
        cells += [check.EXERCISES[name].source, f"check.{name}({name})"]
    outcome = isolation.run_notebook(Notebook(Path("own.ipynb"), tuple(cells)))
    assert {name: result.state for name, result in outcome.results.items()} == dict.fromkeys(NAMES, "passed"), outcome
