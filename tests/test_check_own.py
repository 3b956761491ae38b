"""The checks of notebooks 08 and 09: how long a training takes, how it goes on, and losses and methods of one's own.

As in `test_check`: right answers are written with loops, wrong ones are edits of them, and each must be named.
"""

from __future__ import annotations

import contextlib
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
from csd_edu.check.running import examine
from csd_edu.check.training import METHOD, Stopped, run_folder, stream_of
from csd_edu.grade import isolation
from csd_edu.grade.submissions import Notebook
from tests import checking
from tests.checking import checked, edited, function

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


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))


RIGHT = {
    "training_hours": """
def hours(images, epochs, speeds):
    total = 0.0
    for task in range(len(images)):
        passed = images[task] * epochs[task]
        total += passed / speeds[task]
    return total / 3600
""",
    "epochs_left": """
import json

def left(folder):
    about = json.loads((folder / "config.json").read_text())
    plan = [about["config"]["later_epochs"] for _ in about["stream"]["tasks"]]
    plan[0] = about["config"]["epochs"]
    done = [0] * len(plan)
    for line in (folder / "records.jsonl").read_text().splitlines() if (folder / "records.jsonl").exists() else []:
        record = json.loads(line)
        if record["kind"] == "epoch":
            done[record["task"]] += 1
    result = []
    for task in range(len(plan)):
        result.append(plan[task] - done[task])
    return result
""",
    "train_until": """
import csd_edu as csd

def until(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    done = 0
    for record in csd.Run.load(folder).records:
        if record["kind"] == "epoch":
            done += 1
    while done < n:
        record = next(records, None)
        if record is None:
            break
        if record["kind"] == "epoch":
            done += 1
    records.close()
""",
    "feature_distance": """
def distance(student, teacher):
    teacher = teacher.detach()
    total = 0
    for s, t in zip(student, teacher):
        gap = s / s.norm() - t / t.norm()
        total = total + sum(x ** 2 for x in gap)
    return total / len(student)
""",
    "feature_distillation": """
def method(step, weight=3.0):
    terms = {"ce": F.cross_entropy(step.logits, step.labels), "triplet": triplet(step.features, step.labels)}
    if step.teacher is not None:
        s, t = step.features, step.teacher.features.detach()
        gap = s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)
        terms["feature"] = weight * (gap ** 2).sum() / len(s)
    return terms

def triplet(features, labels):
    f = features / features.norm(dim=1, keepdim=True)
    gaps = []
    for i in range(len(f)):
        near = [f[i] @ f[j] for j in range(len(f)) if labels[j] == labels[i] and j != i]
        far = [f[i] @ f[j] for j in range(len(f)) if labels[j] != labels[i]]
        if near and far and max(far) - min(near) + 1 > 0:
            gaps.append(max(far) - min(near) + 1)
    return torch.stack(gaps).mean()
""",
    "relation_distance": """
def distance(student, teacher):
    def relations(rows):
        rows = [row / row.norm() for row in rows]
        found = []
        for i in range(len(rows)):
            for j in range(i + 1, len(rows)):
                found.append((rows[i] - rows[j]).norm())
        mean = sum(found) / len(found)
        return [d / mean for d in found]

    total, pairs = 0, list(zip(relations(student), relations(teacher.detach())))
    for a, b in pairs:
        gap = abs(a - b)
        total = total + (gap ** 2 / 2 if gap <= 1 else gap - 0.5)
    return total / len(pairs)
""",
}

_FEATURE = 'terms["feature"] = weight * (gap ** 2).sum() / len(s)'
_GAP = "gap = s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)"
_COUNTED = '        if record["kind"] == "epoch":\n            done += 1\n    records.close()'
_LOADED = '        if record["kind"] == "epoch":\n            done += 1\n    while'
_JOURNAL = (
    '    for record in csd.Run.load(folder).records:\n        if record["kind"] == "epoch":\n            done += 1\n'
)
_FOR = """
import csd_edu as csd

def until(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    done = sum(record["kind"] == "epoch" for record in csd.Run.load(folder).records)
    for record in records:
        # look
        done += record["kind"] == "epoch"
        # or here
    records.close()
"""
_LOOK = "if done >= n:\n            break"


def _by_feature(s: str, t: str = "t") -> tuple[str, str]:
    """The edit that takes the gap of two other things."""
    return (_GAP, f"gap = {s} - {t}")


# By exercise and mistake: edits (old, new, old, new, …) of the right answer, or a source of its own.
WRONG: dict[str, dict[str, checking.Edits]] = {
    "training_hours": {
        "seconds instead of hours": ("total / 3600", "total"),
        "minutes instead of hours": ("total / 3600", "total / 60"),
        "mean of the speeds": ("/ speeds[task]", "/ (sum(speeds) / len(speeds))"),
        "sum of the speeds": ("/ speeds[task]", "/ sum(speeds)"),
        "speed of the first task for all": ("/ speeds[task]", "/ speeds[0]"),
        "speed of the last task for all": ("/ speeds[task]", "/ speeds[-1]"),
        "the first task only": ("    return", "        return"),
        "the last task only": ("total +=", "total ="),
        "multiplied by the speed": ("/ speeds[task]", "* speeds[task]"),
        "whole hours only": ("return total / 3600", "return int(total / 3600)"),
        "a single epoch": ("images[task] * epochs[task]", "images[task]"),
        "all images times all epochs": """
def hours(images, epochs, speeds):
    return sum(images) * sum(epochs) / np.mean(speeds) / 3600
""",
        "mean of the tasks": ("total / 3600", "total / 3600 / len(images)"),
    },
    "epochs_left": {
        "measurement counted as an epoch": ('if record["kind"] == "epoch":', "if True:"),
        "epochs of the first task for all": ('["later_epochs"]', '["epochs"]'),
        "later_epochs for all": ('plan[0] = about["config"]["epochs"]', ""),
        "done instead of left": ("plan[task] - done[task]", "done[task]"),
        "sign swapped": ("plan[task] - done[task]", "done[task] - plan[task]"),
        "journal not looked at": ("plan[task] - done[task]", "plan[task]"),
        "tasks added up": ("return result", "return sum(result)"),
        "all epochs subtracted from each task": ("- done[task]", "- sum(done)"),
        "number of the last epoch taken for their count": ("] += 1", '] = record["epoch"]'),
        "only measured tasks counted as done": (
            'if record["kind"] == "epoch":\n            done[record["task"]] += 1',
            'if record["kind"] == "task":\n            done[record["task"]] = plan[record["task"]]',
        ),
        "tasks that have not begun left out": (
            "result.append(plan[task] - done[task])",
            "result += [plan[task] - done[task]] if done[task] else []",
        ),
        "finished tasks left out": (
            "result.append(plan[task] - done[task])",
            "result += [plan[task] - done[task]] if plan[task] > done[task] else []",
        ),
    },
    "train_until": {
        "nothing trained": ("while done < n:", "while False:"),
        "never stopped": ("while done < n:", "while True:"),
        "one epoch too many": ("while done < n:", "while done <= n:"),
        "one epoch too few": ("while done < n:", "while done < n - 1:"),
        "asked for a record, and looked only then": _FOR.replace("# look", _LOOK),
        "at least one record in each sitting": _FOR.replace("# or here", _LOOK),
        "measurement counted as an epoch": (_COUNTED, "        done += 1\n    records.close()"),
        "lines of the journal counted": (
            _COUNTED,
            "        done += 1\n    records.close()",
            _LOADED,
            "        done += 1\n    while",
        ),
        "measurement in the journal counted as an epoch": (_LOADED, "        done += 1\n    while"),
        "each sitting counted from 0": (_JOURNAL, ""),
        "n more records": """
import itertools
import csd_edu as csd

def until(n, stream, method, config, folder):
    for _ in itertools.islice(csd.training(stream, method, config, out=folder), n):
        pass
""",
        "epochs of one task only": """
import csd_edu as csd

def until(n, stream, method, config, folder):
    for record in csd.training(stream, method, config, out=folder):
        if record["kind"] == "epoch" and record["epoch"] + 1 >= n:
            break
""",
        "the end of the run not expected": ("next(records, None)", "next(records)"),
        "a run looked for before there is one": (
            "    records = csd.training(stream, method, config, out=folder)\n",
            "",
            "    while",
            "    records = csd.training(stream, method, config, out=folder)\n    while",
        ),
    },
    "feature_distance": {
        "not scaled": ("s / s.norm() - t / t.norm()", "s - t"),
        "not scaled, mean over all numbers": (
            "s / s.norm() - t / t.norm()",
            "s - t",
            "/ len(student)",
            "/ student.numel()",
        ),
        "mean over all numbers": ("/ len(student)", "/ student.numel()"),
        "sum over the images": (" / len(student)", ""),
        "1 − cosine": ("sum(x ** 2 for x in gap)", "1 - (s @ t) / (s.norm() * t.norm())"),
        "cosine instead of a distance": ("sum(x ** 2 for x in gap)", "(s @ t) / (s.norm() * t.norm())"),
        "distance not squared": ("sum(x ** 2 for x in gap)", "gap.norm()"),
        "absolute differences": ("x ** 2", "abs(x)"),
        "differences not squared": ("x ** 2", "x"),
        "normalised along the wrong axis": (
            "s / s.norm() - t / t.norm()",
            "s - t",
            "total = 0",
            "student, teacher, total = student / student.norm(dim=0).clamp_min(1e-9), teacher / "
            "teacher.norm(dim=0).clamp_min(1e-9), 0",
        ),
        "one length for the whole batch": ("s / s.norm() - t / t.norm()", "s / student.norm() - t / teacher.norm()"),
        "only the student scaled": ("t / t.norm()", "t"),
        "only the teacher scaled": ("s / s.norm()", "s"),
        "sign swapped": ("return total", "return -total"),
    },
    "feature_distillation": {
        "no feature term": (_FEATURE, "pass"),
        "weight left out": ("weight * (", "("),
        "weight always 3": ("weight * (", "3.0 * ("),
        "divided by the weight": ("weight * (gap", "1 / weight * (gap"),
        "weight on all terms": ("    return terms", "    return {name: term * (weight if name != 'feature' else 1) "
                                "for name, term in terms.items()}"),
        "feature in the second task only": ("if step.teacher is not None:", "if step.task == 1:"),
        "logits instead of features": (
            "s, t = step.features, step.teacher.features.detach()",
            "t = step.teacher.logits.detach()\n        s = step.logits[:, : t.shape[1]]",
        ),
        "features not scaled": _by_feature("s"),
        "1 − cosine in the feature term": ("(gap ** 2).sum() / len(s)", "(1 - F.cosine_similarity(s, t)).mean()"),
        "feature subtracted": ("= weight * (", "= -weight * ("),
        "feature hidden in the cross-entropy": ('terms["feature"] =', 'terms["ce"] +='),
        "nothing but feature": (_FEATURE, _FEATURE.replace('terms["feature"] = ', "return {'feature': ") + "}"),
        "cross-entropy missing": (_FEATURE, f"{_FEATURE}\n        del terms['ce']"),
        "triplet loss missing": (_FEATURE, f"{_FEATURE}\n        del terms['triplet']"),
        "a teacher asked in the first task": ("if step.teacher is not None:", "if True:"),
    },
    "relation_distance": {
        "not scaled": ("row / row.norm()", "row"),
        "not divided by the mean": ("d / mean", "d"),
        "neither scaled nor divided by the mean": ("row / row.norm()", "row", "d / mean", "d"),
        "normalised along the wrong axis": ("[row / row.norm() for row in rows]", "rows / rows.norm(dim=0)"),
        "squared distances": ("(rows[i] - rows[j]).norm()", "(rows[i] - rows[j]).norm() ** 2"),
        "1 − cosine instead of a distance": ("(rows[i] - rows[j]).norm()", "1 - rows[i] @ rows[j]", "d / mean", "d"),
        "each image paired with itself": ("range(i + 1, len(rows))", "range(len(rows))"),
        "squared difference": ("(gap ** 2 / 2 if gap <= 1 else gap - 0.5)", "gap ** 2"),
        "half the squared difference": ("(gap ** 2 / 2 if gap <= 1 else gap - 0.5)", "gap ** 2 / 2"),
        "absolute difference": ("(gap ** 2 / 2 if gap <= 1 else gap - 0.5)", "gap"),
        "sum over the pairs": ("total / len(pairs)", "total"),
        "both divided by the teacher's mean": (
            "relations(rows):",
            "relations(rows, mean=None):",
            "        mean = sum(found) / len(found)\n        return [d / mean for d in found]",
            "        return found",
            "    for a, b in pairs:",
            "    mean = sum(b for _, b in pairs) / len(pairs)\n"
            "    for a, b in pairs:\n        a, b = a / mean, b / mean",
        ),
        "both divided by the student's mean": (
            "        mean = sum(found) / len(found)\n        return [d / mean for d in found]",
            "        return found",
            "    for a, b in pairs:",
            "    mean = sum(a for a, _ in pairs) / len(pairs)\n"
            "    for a, b in pairs:\n        a, b = a / mean, b / mean",
        ),
        "each image compared with itself": """
def distance(student, teacher):
    return ((student / student.norm(dim=1)[:, None] - teacher / teacher.norm(dim=1)[:, None]) ** 2).sum() / len(student)
""",
    },
}  # fmt: skip

SLOW = {"train_until"}  # it trains
CASES = [
    pytest.param(name, mistake, marks=[pytest.mark.slow] * (name in SLOW))
    for name, wrong in WRONG.items()
    for mistake in wrong
]


def wrong_answer(name: str, mistake: str) -> checking.Function:
    return checking.wrong_answer(RIGHT[name], WRONG[name][mistake])


@pytest.mark.parametrize(("name", "mistake"), CASES)
def test_each_typical_wrong_answer_is_named(name, mistake):
    checking.is_named(name, mistake, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", RIGHT)
def test_every_mistake_in_a_table_has_a_wrong_answer_and_a_message_of_its_own(name):
    checking.has_messages_of_their_own(name, WRONG[name])


def test_messages_are_told_apart():
    ours = [mistake.message for name in NAMES for mistake in check.EXERCISES[name].mistakes]
    others = [m.message for name, known in check.EXERCISES.items() if name not in NAMES for m in known.mistakes]
    assert len(set(ours)) == len(ours) > 60
    assert not set(ours) & set(others)
    assert all(message.endswith((".", "?")) and len(message) < 400 for message in ours)


@pytest.mark.parametrize("name", ["training_hours", "feature_distance", "relation_distance"])
def test_the_example_of_a_wrong_answer_is_a_true_one(name):
    for mistake in WRONG[name]:
        checking.example_is_true(name, wrong_answer(name, mistake))


def test_the_example_of_wrong_terms_is_a_true_one():
    right = function(RIGHT["feature_distillation"])
    for mistake in WRONG["feature_distillation"]:
        f = wrong_answer("feature_distillation", mistake)
        case = checked("feature_distillation", f).case
        expected = {name: float(term) for name, term in right(**case.arguments).items()}
        assert case.expected == pytest.approx(expected, abs=1e-5)
        if case.given is not None:
            again = {name: float(term) for name, term in f(**case.arguments).items()}
            assert {**dict.fromkeys(again, 0.0), **case.given} == pytest.approx(again, abs=1e-5)
            assert case.given != pytest.approx(case.expected, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_corner_cases_name_a_mistake_of_the_table(name):
    checking.corner_cases_come_last(name)


# Right answers in several styles.


@pytest.mark.parametrize("name", RIGHT)
def test_loops_pass(name):
    checking.passes(name, function(RIGHT[name]))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_solution_passes_as_it_is_shown(name):
    checking.solution_runs_alone(name)


def hours_from_rows(images, epochs, speeds):
    rows = torch.tensor([images, epochs, speeds], dtype=torch.float64).T  # (tasks, 3)
    return (rows[:, 0] * rows[:, 1] / rows[:, 2]).sum() / 60 / 60


def left_by_counting_down(folder):
    run = csd.Run.load(folder)
    left = np.full(run.n_tasks, run.config.later_epochs)
    left[0] = run.config.epochs
    np.subtract.at(left, [record["task"] for record in run.records if "losses" in record], 1)
    return left


def until_by_reading_the_journal_each_time(n, stream, method, config, folder):
    records = csd.training(stream, method, config, out=folder)
    while sum('"kind": "epoch"' in line for line in lines(folder)) < n and next(records, None):
        pass


def until_in_sittings_of_one_record(n, stream, method, config, *, folder):
    while True:
        with contextlib.closing(csd.training(stream, method, config, out=folder)) as records:
            run = csd.Run.load(folder)
            if run.finished or Counter(record["kind"] for record in run.records)["epoch"] >= n:
                return n  # what it returns makes no difference
            next(records)


def lines(folder: Path) -> list[str]:
    journal = folder / "records.jsonl"
    return journal.read_text().splitlines() if journal.exists() else []


def distillation_on_top_of_the_library(step, weight=3.0):
    terms = dict(csd.methods.finetune(step))
    if step.task > 0:
        cosine = F.cosine_similarity(step.features, step.teacher.features.detach())
        terms = {"feature": weight * (2 - 2 * cosine).mean(), **terms}
    return terms


def relations_by_cdist(student, teacher):
    """All pairs in both orders, without the diagonal."""
    d = []
    for x in (student, teacher.detach()):
        x = F.normalize(x)
        d.append(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[~torch.eye(len(x), dtype=torch.bool)])
    return F.huber_loss(d[0] / d[0].mean(), d[1] / d[1].mean())


OTHERS = [
    ("training_hours", hours_from_rows),
    ("training_hours", lambda images, epochs, speeds: sum(
        n / v * e / 3600 for n, v, e in zip(images, speeds, epochs, strict=True))),
    ("epochs_left", left_by_counting_down),
    ("epochs_left", lambda folder: tuple(
        csd.Run.load(folder).config.epochs_of(task)
        - sum(r["task"] == task and r["kind"] == "epoch" for r in csd.Run.load(folder).records)
        for task in range(csd.Run.load(folder).n_tasks))),
    ("train_until", until_by_reading_the_journal_each_time),
    ("train_until", until_in_sittings_of_one_record),
    ("feature_distance", lambda s, t: 2 * (1 - F.cosine_similarity(s, t.detach(), dim=1)).mean()),
    ("feature_distance", lambda s, t: F.mse_loss(F.normalize(s), F.normalize(t).detach()) * s.shape[1]),
    ("feature_distance", lambda student, teacher: (
        (F.normalize(student.double()) - F.normalize(teacher.double().detach())).norm(dim=1) ** 2).mean()),
    ("feature_distillation", distillation_on_top_of_the_library),
    ("relation_distance", relations_by_cdist),
    ("relation_distance", lambda s, t: F.smooth_l1_loss(*(
        (d / d.mean()) for d in (F.pdist(F.normalize(s)), F.pdist(F.normalize(t.detach())))))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "f"), OTHERS)
def test_other_right_answers_pass(name, f):
    checking.passes(name, f)


# Folders of runs.


@pytest.mark.parametrize("name", WITH_FOLDERS)
def test_the_folders_are_those_of_runs_and_the_answers_are_what_is_trained(name):
    """The journals are as the cases say; what is said to be left is what is trained when training goes on."""
    for case in check.EXERCISES[name].cases:
        stopped: Stopped = case.arguments[-1]
        with run_folder(stopped) as folder:
            assert folder.exists() == (stopped.n_records is not None)
            records = list(map(json.loads, lines(folder)))
            assert [(record["kind"], record["task"]) for record in records] == stopped.journal
            assert len(records) == (stopped.n_records or 0)
            if name == "epochs_left":
                rest = csd.training(stream_of(stopped.n_tasks), METHOD, stopped.config, out=folder)
                left = Counter(record["task"] for record in rest if record["kind"] == "epoch")
                assert check.EXERCISES[name].truth(stopped) == [left[task] for task in range(stopped.n_tasks)]
                assert check.EXERCISES[name].solution(folder) == [0] * stopped.n_tasks


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
                assert case.given == sum('"kind": "epoch"' in line for line in lines(folder)) != case.expected


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


def method(*changes: str, first: str = "", then: str = "") -> checking.Function:
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
    method(then="terms['ask'] = (step.ask_teacher(step.images.flip(3)).features - step.features).abs().mean()"),
    lambda step: csd.methods.csd(step) if step.task > 0 else {"wait": step.logits.square().mean()},
    lambda step: {"features": (step.features.double() ** 2).sum()},
]


@pytest.mark.parametrize("f", FREE)
def test_any_method_that_keeps_the_rules_passes(f):
    checking.passes("my_method", f)


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


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_told_where_to_begin(name):
    checking.stub_is_told_where_to_begin(name)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"train_until"}))
@pytest.mark.parametrize(("value", "mistake", "words"), checking.NO_ANSWERS)
def test_what_is_no_answer(name, value, mistake, words):
    checking.is_no_answer(name, value, mistake, words)


def test_lists_in_the_place_of_a_number():
    verdict = checked("training_hours", lambda images, _, speeds: [n / v for n, v in zip(images, speeds, strict=True)])
    assert verdict.mistake == "wrong type"
    assert "returned a list; expected a single number" in verdict.message
    verdict = checked("epochs_left", lambda _: Counter({0: 1}))
    assert verdict.mistake == "wrong type"
    assert "returned a Counter; expected 2 numbers" in verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_other_parameters(name):
    verdict = checked(name, lambda: None)
    assert verdict.mistake == "other arguments"
    assert f"calls it with ({', '.join(check.EXERCISES[name].parameters)})" in verdict.message


# Gradients.


@pytest.mark.parametrize("name", ["feature_distance", "feature_distillation", "relation_distance"])
def test_a_teacher_that_receives_a_gradient(name):
    verdict = checked(name, edited(RIGHT[name], ".detach()", ""))
    assert verdict.mistake == "teacher gradient"
    assert f"'{check.EXERCISES[name].answer.frozen}'" in verdict.message


@pytest.mark.parametrize("name", ["feature_distance", "relation_distance"])
def test_a_student_that_receives_no_gradient(name):
    right = function(RIGHT[name])
    for cut in (lambda s, t: right(s, t).detach(), torch.no_grad()(right), lambda s, t: right(t, s) + 0 * s.sum()):
        verdict = checked(name, cut)
        assert verdict.mistake in ("detached", "teacher gradient")
    assert checked(name, lambda s, t: right(s, t).item()).mistake == "not a tensor"
    assert checked(name, lambda s, t: right(s.detach(), t)).mistake == "detached"


def test_student_and_teacher_swapped_in_a_symmetric_loss():
    """The value is the same, and so is found by the gradient only."""
    swap = (
        "s, t = step.features, step.teacher.features.detach()",
        "t, s = step.features.detach(), step.teacher.features",
    )
    verdict = checked("feature_distillation", edited(RIGHT["feature_distillation"], *swap))
    assert verdict.mistake == "teacher gradient"


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


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_ends_with_the_solution(name):
    checking.ladder_ends_with_the_solution(name)


def test_the_order_is_that_of_the_notebooks():
    assert list(check.EXERCISES)[-len(NAMES) :] == NAMES
    assert set(NAMES) <= set(check.__all__)


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
