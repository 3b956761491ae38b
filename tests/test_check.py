"""The checks of the exercises: each typical wrong answer gets its own name, and right answers pass however written.

What holds for every exercise comes first, with the answers of `tests.answers`; then what is told, shown and kept. What
only some exercises have is tested in `test_check_reading`, `test_check_features`, `test_check_own` and
`test_check_remembering`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pydoc
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check
from csd_edu.check import running
from csd_edu.check.answers import Answer, Loss, Terms
from csd_edu.check.verdict import Board, Hint, Verdict
from tests.answers import OTHERS, RIGHT, WRONG, checked, edited, function, passes, wrong_answer

pytestmark = pytest.mark.usefixtures("progress_file")

NAMES = list(check.EXERCISES)
FUNCTIONS = [name for name in NAMES if name != "my_memory"]  # there it is an object
WITH_FOLDERS = ["epochs_left", "train_until"]
MISTAKES = [
    pytest.param(name, mistake, marks=[pytest.mark.slow] * (name == "train_until"))  # it trains
    for name in RIGHT
    for mistake in WRONG[name]
]


def _answer(name: str) -> Answer:
    return check.EXERCISES[name].answer


OF_TERMS = [(name, mistake) for name in RIGHT for mistake in WRONG[name] if isinstance(_answer(name), Terms)]
OF_NUMBERS = [
    (name, mistake)
    for name in RIGHT
    for mistake in WRONG[name]
    if name not in WITH_FOLDERS and not isinstance(_answer(name), Terms) and mistake != "exp overflows"  # NaN
]

NO_ANSWERS = [  # a value, the mistake that it is (None: one of several), and words of the message
    (None, "nothing returned", "Did you forget `return`"),
    ("0.5", None, "returned a str"),
    ({1: 0.5}, None, "returned a dict|term named 1"),
    (True, None, "returned a bool"),
    (torch.tensor(1j), None, "Tensor|1 numbers|shape"),
    ([object()], None, "returned a list"),
]


def test_every_exercise_is_answered():
    assert list(RIGHT) == list(WRONG) == [name for name in FUNCTIONS if name != "my_method"]  # there many are right
    few = {name for name in FUNCTIONS if sum(other == name for other, _ in OTHERS) < 2}
    assert few == {"feature_distillation", "my_method"}


# Wrong answers.


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_each_typical_wrong_answer_is_named(name, mistake):
    """It is told by the message of its own mistake, with an example and the way to a hint."""
    verdict = checked(name, wrong_answer(name, mistake))
    assert not verdict.passed
    assert verdict.mistake == mistake, verdict
    table = {known.name: known.message for known in check.EXERCISES[name].mistakes}
    assert verdict.message.startswith(table[mistake])
    assert f'check.hint("{name}")' in repr(verdict)
    assert verdict.case is not None
    assert verdict.tested == ""


@pytest.mark.parametrize("name", RIGHT)
def test_every_mistake_in_a_table_has_a_wrong_answer_and_a_message_of_its_own(name):
    mistakes = check.EXERCISES[name].mistakes
    assert {mistake.name for mistake in mistakes} == set(WRONG[name])
    assert len({mistake.message for mistake in mistakes}) == len(WRONG[name]) == len(mistakes) >= 5


def test_messages_are_told_apart_across_the_exercises():
    messages = [mistake.message for exercise in check.EXERCISES.values() for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages) > 400
    assert all(message.endswith((".", "?")) and len(message) < 400 for message in messages)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_each_edit_fits_and_gives_another_answer(name, mistake):
    """What is replaced is there as often as it should be, and on some case the answer is not the right one."""
    exercise = check.EXERCISES[name]
    known = next(known for known in exercise.mistakes if known.name == mistake)
    changed = known.function(exercise.solution)  # a ValueError if an edit does not fit, a SyntaxError if it is no code
    assert callable(changed)
    assert any(_differs(exercise, changed, case) for case in exercise.cases)


def _differs(exercise: running.Exercise, changed: running.Function, case: running.Case) -> bool:
    expected = exercise.right_answer(case)
    try:
        answer = exercise.answer_of(changed, case)
    except (AttributeError, ValueError, RuntimeError, TypeError, StopIteration, OSError):
        return True
    return answer.shape != expected.shape or not torch.allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_edits_that_do_not_fit_are_refused():
    def double(x):
        return x + x

    once, gone, twice = running.table("""
    a | x + => x - x +
        You subtract.
    b | y => z
        There is no y.
    c | x => 1 (twice) | return => return 2 *
        There are four x.
    """)
    assert (once.name, once.message, once.edits) == ("a", "You subtract.", (("x +", "x - x +", 1),))
    assert twice.edits == (("x", "1", 2), ("return", "return 2 *", 1))
    for mistake, text in ((gone, "b: 'y' is there 0 times, and not 1"), (twice, "c: 'x' is there 3 times, and not 2")):
        with pytest.raises(ValueError, match=re.escape(text)):
            mistake.function(double)


@pytest.mark.parametrize(("name", "mistake"), OF_NUMBERS)
def test_the_example_of_a_wrong_answer_is_a_true_one(name, mistake):
    """Called again with the example's arguments a function gives what the verdict says, and the library the rest."""
    f = wrong_answer(name, mistake)
    case = checked(name, f).case
    expected = _numbers(check.EXERCISES[name].truth(*case.arguments.values()))
    assert np.allclose(_numbers(case.expected), expected)
    if case.given is not None:
        again = _numbers(f(*case.arguments.values()))
        assert np.allclose(_numbers(case.given), again, equal_nan=True)
        assert again.shape != expected.shape or not np.allclose(again, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "mistake"), OF_TERMS)
def test_the_example_of_wrong_terms_is_a_true_one(name, mistake):
    f = wrong_answer(name, mistake)
    case = checked(name, f).case
    right = function(RIGHT[name])(**case.arguments)
    assert case.expected == pytest.approx({term: float(value) for term, value in right.items()}, abs=1e-5)
    if case.given is not None:
        again = {term: float(value) for term, value in f(**case.arguments).items()}
        assert {**dict.fromkeys(again, 0.0), **case.given} == pytest.approx(again, abs=1e-5)
        assert case.given != pytest.approx(case.expected, abs=1e-4)


def _numbers(value: Any) -> np.ndarray:
    """Return an answer as an array of float64, None as NaN."""
    if isinstance(value, list | tuple) and any(isinstance(part, torch.Tensor) for part in value):
        value = torch.stack([torch.as_tensor(part) for part in value])
    return np.asarray(value, dtype=float)


@pytest.mark.parametrize("name", NAMES)
def test_corner_cases_come_last(name):
    """They name a mistake of the table, and the plain cases come first."""
    exercise = check.EXERCISES[name]
    assert {case.shows for case in exercise.cases} - {None} <= {mistake.name for mistake in exercise.mistakes}
    corner = [case.shows is not None for case in exercise.cases]
    assert corner == sorted(corner)


# Right answers in several styles.


@pytest.mark.parametrize("name", RIGHT)
def test_loops_pass(name):
    passes(name, function(RIGHT[name]))


@pytest.mark.parametrize(("name", "f"), OTHERS)
def test_other_right_answers_pass(name, f):
    passes(name, f)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_solution_passes_as_it_is_shown(name):
    """As the last hint shows it, in a cell of its own."""
    namespace: dict[str, Any] = {}
    exec(check.EXERCISES[name].source, namespace)
    answer = namespace[check.EXERCISES[name].solution.__name__]
    assert checked(name, answer if name in FUNCTIONS else answer()).passed


# What is no answer.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_stub_is_told_where_to_begin(name):
    """It gets a helpful sentence and no example."""
    parameters = ", ".join(check.EXERCISES[name].parameters)
    verdict = checked(name, function(f"def stub({parameters}):\n    raise NotImplementedError('write this')\n"))
    assert verdict.mistake == "still to be written"
    assert "not written yet" in verdict.message
    assert check.EXERCISES[name].hints[0] in verdict.message
    assert "Line 2, in stub" in verdict.message
    assert verdict.case is None


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "train_until"])
@pytest.mark.parametrize(("value", "mistake", "words"), NO_ANSWERS)
def test_what_is_no_answer(name, value, mistake, words):
    """It is told by its type or shape."""
    verdict = checked(name, lambda *_: value)
    assert not verdict.passed
    kinds = ("wrong type", "not a tensor", "wrong shape", "unknown term")
    assert verdict.mistake == mistake if mistake else verdict.mistake in kinds
    assert re.search(words, verdict.message), verdict.message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_parameters(name):
    verdict = checked(name, lambda: None)
    assert verdict.mistake == "other arguments"
    assert f"calls it with ({', '.join(check.EXERCISES[name].parameters)})" in verdict.message


# Gradients.


@pytest.mark.parametrize("name", [name for name in NAMES if _answer(name).frozen])
def test_a_teacher_that_receives_a_gradient(name):
    verdict = checked(name, edited(RIGHT[name], ".detach()", ""))
    assert verdict.mistake == "teacher gradient"
    assert "The teacher received a gradient" in verdict.message
    assert f"'{_answer(name).frozen}'" in verdict.message


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(_answer(name), Loss)])
def test_a_loss_without_a_gradient(name):
    right = function(RIGHT[name])
    for cut in (lambda *a: right(*a).detach(), torch.no_grad()(right), lambda *a: torch.tensor(right(*a).item())):
        verdict = checked(name, cut)
        assert verdict.mistake == "detached"
        assert f"'{_answer(name).learns}'" in verdict.message


# Hints.


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_ends_with_the_solution(name):
    """Three hints, one at a time, and then the solution again and again; from an untouched progress file."""
    exercise = check.EXERCISES[name]
    ladder = [check.hint(name) for _ in range(len(exercise.hints) + 2)]
    assert len(exercise.hints) == 3
    assert [step.text for step in ladder[:3]] == list(exercise.hints)
    assert all(step.code == "" for step in ladder[:3])
    for last in ladder[3:]:
        assert re.search(rf"^(def {name}\(|class {exercise.solution.__name__}\()", last.code, re.M)
        assert "the solution" in repr(last)
        assert last.code.splitlines()[-1].strip() in repr(last)
    assert "hint 1 of 3" in repr(ladder[0])
    assert "shows another hint" in repr(ladder[0])
    assert "shows the solution" in repr(ladder[2])


# What the module offers.


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_is_called_by_its_name_and_says_what_it_expects(name):
    exercise = getattr(check, name)
    assert exercise is check.EXERCISES[name]
    assert callable(exercise)
    assert name in check.__all__
    assert repr(exercise) == f"check.{name}"
    assert exercise.__doc__.startswith("Check ")
    assert exercise.__doc__ in pydoc.render_doc(exercise, renderer=pydoc.plaintext).replace("\n    ", "\n")


def test_no_two_exercises_share_a_title():
    for first, second in itertools.combinations(check.EXERCISES.values(), 2):
        assert first.title != second.title


def test_the_order_is_that_of_the_notebooks():
    notebooks = sorted((Path(__file__).parent.parent / "notebooks" / "src").glob("*.py"))
    boards = [re.findall(r"^check\.board\((.+)\)$", path.read_text(encoding="utf-8"), re.M) for path in notebooks]
    shown = [name for board in boards for name in re.findall(r'"(\w+)"', board[-1])]
    assert shown == [name for name in NAMES if name != "triplet"]  # which no notebook has


# What is told.


def test_one_mistake_at_a_time():
    """A mistake on plain inputs is named although corner cases fail too, and then the corner is."""
    source = RIGHT["distillation"]
    naive = WRONG["distillation"]["exp overflows"]
    both = edited(source, *naive, *WRONG["distillation"]["factor T²"])
    assert checked("distillation", both).mistake == "factor T²"
    assert checked("distillation", edited(source, *naive)).mistake == "exp overflows"
    uncut = edited(source, *WRONG["distillation"]["not cut to the teacher's classes"], ".sum(dim=1).mean()", ".sum()")
    assert checked("distillation", uncut).mistake == "sum instead of mean over the batch"


def test_ties_left_to_the_order_of_the_gallery():
    for key in ("(item[0], item[2])", "(item[0], -item[2])"):
        f = edited(RIGHT["recall_at_k"], "sorted(items)", f"sorted(items, key=lambda item: {key})")
        verdict = checked("recall_at_k", f)
        assert verdict.mistake == "ties helped the query"
        assert (verdict.case.expected, verdict.case.given) == (0.0, 1.0)


def test_recall_by_topk_is_told_about_ties():
    """The plain way: right on all inputs without ties."""

    def recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
        similarity = F.normalize(queries) @ F.normalize(gallery).T
        if exclude_self:
            similarity.fill_diagonal_(-torch.inf)
        right = query_labels[:, None] == gallery_labels[similarity.topk(k).indices]
        return right.any(dim=1).float().mean()

    assert checked("recall_at_k", recall).mistake == "ties helped the query"


def test_what_is_not_in_the_table_gets_the_smallest_input():
    verdict = checked("forgetting", lambda _: 0.123456)
    assert verdict.mistake is None
    assert "none of the usual mistakes" in verdict.message
    assert "wrong on 7 of 7 inputs" in verdict.message
    assert verdict.case.arguments == {"matrix": [[0.8, 0.1], [0.5, 0.9]]}
    assert str(verdict.case) == "matrix = [[0.8, 0.1], [0.5, 0.9]]\nexpected: 0.3\nyour answer: 0.1235"


def test_numbers_that_look_the_same_are_printed_in_full():
    verdict = checked("forgetting", lambda matrix: csd.metrics.forgetting(matrix) + 4.5e-5)
    expected, given = str(verdict.case).splitlines()[-2:]
    assert expected.split(": ")[1] != given.split(": ")[1]


# What is wrong without any value.


def test_an_exception_is_shown_with_the_students_line():
    def recall(queries, _, gallery, *__):
        similarity = queries @ gallery  # the second should be transposed
        return similarity.mean()

    verdict = checked("recall_at_k", recall)
    assert verdict.mistake == "error"
    assert re.search("RuntimeError: .*mat1 and mat2 shapes cannot be multiplied", verdict.message)
    line = recall.__code__.co_firstlineno + 1
    assert f"Line {line}, in recall: similarity = queries @ gallery" in verdict.message
    assert "Traceback" not in repr(verdict)
    assert verdict.case.given is None
    assert "your answer" not in repr(verdict)


def test_the_innermost_line_of_the_student_is_shown():
    def helper(_):
        return np.linalg.inv(np.zeros((2, 2)))

    def f(matrix):
        return helper(matrix)

    verdict = checked("forgetting", f)
    assert f"Line {helper.__code__.co_firstlineno + 1}, in helper: return np.linalg.inv" in verdict.message
    assert "LinAlgError" in verdict.message


def test_an_exception_on_a_corner_case_explains_the_corner():
    verdict = checked("triplet", wrong_answer("triplet", "mean of no losses"))
    assert "stack expects a non-empty TensorList" in verdict.message
    assert "return torch.stack(losses).mean()" in verdict.message or "Line 12" in verdict.message


def test_after_an_error_the_function_is_not_called_again():
    calls = []

    def f(_):
        calls.append(1)
        raise ValueError

    checked("forgetting", f)
    assert len(calls) == 1


def test_exits_and_long_messages():
    verdict = checked("forgetting", lambda _: sys.exit("bye"))
    assert "SystemExit: bye" in verdict.message

    def f(_):
        raise KeyError("x" * 2000)

    assert len(checked("forgetting", f).message) < 600


def test_interrupting_still_works():
    def f(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check.forgetting(f)


def test_shapes():
    verdict = checked("csd", lambda student, *_: student)
    assert verdict.mistake == "wrong shape"
    assert "returned 4 numbers, of shape (2, 2)" in verdict.message
    assert "mean or a sum missing" in verdict.message
    transposed = checked("search", lambda q, _, k: torch.zeros(k, len(q)).long())
    assert transposed.mistake == "wrong shape"
    assert "swapped" in transposed.message
    verdict = checked("search", lambda q, g, k: (F.normalize(q) @ F.normalize(g).T).topk(k).values)
    assert verdict.mistake == "wrong type"
    assert "similarities" in verdict.message
    assert checked("linear_cka", lambda x, y: torch.tensor([csd.drift.linear_cka(x, y)])).passed


@pytest.mark.parametrize("name", ["as_bytes", "shrink"])
@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (torch.float32, r"numbers with a decimal point \(float32\); expected uint8, .* one byte and not 4"),
        (torch.int64, "returned int64; expected uint8, .* one byte and not 8"),
        (torch.int16, "returned int16; expected uint8, .* one byte and not 2"),
    ],
)
def test_bytes_are_uint8(name, dtype, words):
    right = check.EXERCISES[name].solution
    assert checked(name, right).passed
    verdict = checked(name, lambda *given: right(*given).to(dtype))
    assert verdict.mistake == "wrong type"
    assert re.search(words, verdict.message), verdict.message


def test_a_loss_that_is_no_tensor():
    verdict = checked("csd", lambda *a: csd.losses.csd(*a[:3], temperature=a[3]).item())
    assert verdict.mistake == "not a tensor"
    assert "returned a float" in verdict.message
    assert ".item()" in verdict.message


def test_not_finite():
    verdict = checked("linear_cka", lambda *_: float("nan"))
    assert verdict.mistake == "not finite"
    assert "NaN" in verdict.message
    assert "expected" in str(verdict.case)


def test_not_a_function():
    verdict = checked("csd", torch.tensor(1.0))
    assert verdict.mistake == "not a function"
    assert "a Tensor" in verdict.message
    assert "check.csd(my_function)" in verdict.message
    assert "an int (3)" in checked("csd", 3).message


def test_other_parameters_by_name():
    verdict = checked("csd", lambda student, teacher, labels: (student + teacher + labels).sum())
    assert verdict.mistake == "other arguments"
    assert "takes (student, teacher, labels); the check calls it with (student, teacher, labels, temperature)" in (
        verdict.message
    )


def test_an_input_changed_in_place():
    def f(logits, temperature):
        logits /= temperature
        return F.softmax(logits, dim=1)

    verdict = checked("temperature_softmax", f)
    assert verdict.mistake == "input changed"
    assert "'logits'" in verdict.message

    def g(matrix):
        value = csd.metrics.forgetting(matrix)
        matrix[0][0] = 0.0
        return value

    assert checked("forgetting", g).mistake == "input changed"
    assert checked("forgetting", csd.metrics.forgetting).passed  # the cases are as they were

    def h(snapshots, *_):
        snapshots[-1].fill_(0.0)
        return 0.5

    assert checked("stale_recall", h).mistake == "input changed"


# Gradients.


def test_a_part_of_the_gradient_is_cut():
    f = edited(RIGHT["csd"], "torch.cat([s[others], t])", "torch.cat([s[others].detach(), t])")
    assert checked("csd", f).mistake == "gradient cut"


def test_a_gradient_that_is_not_finite():
    def f(features, labels, margin):
        zero = (features - features).norm(dim=1).sum() * 0 + (features[0] - features[0]).sum().sqrt() * 0
        return csd.losses.batch_hard_triplet(features, labels, margin=margin) + zero

    verdict = checked("triplet", f)
    assert verdict.mistake == "gradient not finite"


@pytest.mark.parametrize(
    "f",
    [
        lambda m: torch.special.xlogy(m, m).sum(),
        lambda m: -torch.special.entr(m).sum(),
        lambda m: torch.where(m > 0, m * m.log(), 0.0).sum(),
        lambda m: torch.nan_to_num(m * m.log()).sum(),
    ],
)
def test_a_gradient_that_is_not_finite_on_a_corner_case(f):
    verdict = checked("spread", lambda p: f(p.mean(dim=0)))
    assert verdict.mistake == "gradient not finite"
    assert "Here it does so: a class that never comes" in verdict.message
    assert checked("spread", lambda p: f(p.mean(dim=0).clamp_min(1e-30))).passed


def test_a_gradient_that_cannot_be_computed():
    def f(features, labels, margin):
        if features.requires_grad:
            features.numpy()
        return csd.losses.batch_hard_triplet(features, labels, margin=margin)

    verdict = checked("triplet", f)
    assert verdict.mistake == "gradient fails"
    assert "features.numpy()" in verdict.message


def test_a_check_works_where_gradients_are_switched_off():
    with torch.no_grad():
        assert checked("csd", function(RIGHT["csd"])).passed


# Time.


def test_an_endless_loop_is_stopped(monkeypatch):
    monkeypatch.setattr(running, "TIME_LIMIT", 0.3)
    before = signal.getsignal(signal.SIGALRM)

    def f(_):
        n = 0
        while True:
            with contextlib.suppress(Exception):
                n += 1

    started = time.monotonic()
    verdict = checked("forgetting", f)
    assert time.monotonic() - started < 3
    assert verdict.mistake == "not finished in time"
    assert "in f" in verdict.message
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_check_in_another_thread_has_no_limit():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(check.forgetting(csd.metrics.forgetting)))
    thread.start()
    thread.join()
    assert verdicts[0].passed


def test_checks_are_quick_and_silent(capsys):
    started = time.monotonic()
    for name in (name for name in NAMES if name not in WITH_FOLDERS):
        checked(name, check.EXERCISES[name].solution)
        checked(name, lambda *_: None)
    assert time.monotonic() - started < 5
    assert capsys.readouterr() == ("", "")


def test_random_numbers_of_the_student_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    checked("csd", function(RIGHT["csd"]))
    assert torch.equal(torch.rand(2), expected)


# How it is shown.


def test_a_verdict_in_words():
    text = repr(checked("recall_at_k", wrong_answer("recall_at_k", "the query itself counted as a hit")))
    assert text.startswith("✕ recall_at_k: not yet (the query itself counted as a hit)\nYou counted the query itself")
    assert "The smallest input that shows it (" in text
    assert re.search(r"expected: [\d.]+\n +your answer: 1", text)
    assert repr(checked("csd", function(RIGHT["csd"]))).startswith("✓ csd: passed\nAll 7 inputs")


def test_html_says_the_same_in_words_and_colour():
    good = checked("csd", function(RIGHT["csd"]))._repr_html_()
    bad = checked("csd", wrong_answer("csd", "sign swapped"))._repr_html_()
    assert "#009E73" in good
    assert "✓</span> csd: passed" in good
    assert "#D55E00" in bad
    assert "✕</span> csd: not yet (sign swapped)" in bad
    assert "check.hint(&quot;csd&quot;)" in bad
    assert "expected: " in bad


def test_nothing_of_the_student_becomes_html():
    planted = "<img src=x onerror=alert(1)>"

    def f(_):
        raise ValueError("<img src=x onerror=alert(1)>")

    verdict = checked("forgetting", f)
    assert planted in verdict.message
    page = verdict._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    odd = type("<img onerror>", (), {})()
    assert "<img" not in checked("forgetting", lambda _: odd)._repr_html_()
    everywhere = Verdict(planted, False, planted, planted, note=planted)._repr_html_()
    everywhere += Hint(planted, 1, 4, planted, planted, planted)._repr_html_()
    entry = {"passed": False, "attempts": 1, "hints": 0}
    everywhere += Board([(planted, planted, entry)], planted)._repr_html_()
    assert "<img" not in everywhere


def test_large_inputs_are_not_printed():
    case = checked("stale_recall", wrong_answer("stale_recall", "mean of the tasks' recalls")).case
    assert max(map(len, str(case).splitlines())) < 900


# Hints.


def test_the_ladder_of_one_exercise_is_not_that_of_another():
    check.hint("csd")
    check.hint("csd")
    assert check.hint("search").rung == 1
    assert check.hint("csd").rung == 3
    assert check.hint("csd", rung=1).text == check.EXERCISES["csd"].hints[0]
    assert check.hint("csd").rung == 4


def test_the_solution_of_a_hint_in_html():
    page = [check.hint("csd") for _ in range(4)][-1]._repr_html_()
    assert "<pre" in page
    assert "def csd(" in page
    assert "-&gt; Tensor" in page


def test_unknown_exercises():
    with pytest.raises(
        ValueError, match="there is no exercise 'cds'; expected one of 'first_and_last', 'lost_queries'"
    ):
        check.hint("cds")
    with pytest.raises(ValueError, match="there is no exercise 'x'"):
        check.board("csd", "x")
    with pytest.raises(ValueError, match="rung is 5; expected 1 to 4"):
        check.hint("csd", rung=5)


# Progress.


def test_what_is_recorded(progress_file):
    checked("csd", wrong_answer("csd", "sign swapped"))
    checked("csd", lambda *_: torch.tensor(0.0))
    check.hint("csd")
    checked("csd", function(RIGHT["csd"]))
    checked("csd", wrong_answer("csd", "sign swapped"))
    entry = json.loads(progress_file.read_text())["exercises"]["csd"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry.pop("time"))
    mistakes = {"sign swapped": 2, "unknown": 1}
    assert entry == {"passed": True, "attempts": 4, "hints": 1, "mistakes": mistakes}  # once passed is passed


def test_the_default_file_is_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("CSD_EDU_PROGRESS")
    monkeypatch.chdir(tmp_path)
    checked("forgetting", csd.metrics.forgetting)
    assert (tmp_path / "csd_edu-progress.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["csd_edu-progress.json"]  # nothing temporary is left


def test_the_board():
    checked("csd", function(RIGHT["csd"]))
    checked("forgetting", lambda _: None)
    checked("forgetting", lambda _: None)
    check.hint("search")
    nine = ["search", "recall_at_k", "forgetting", "distillation", "triplet", "csd", "linear_cka", "push", "translate"]
    text = repr(check.board(*nine))
    assert text.startswith("Progress: 1 of 9 passed")
    lines = {line.split()[2]: line for line in text.splitlines()[1:] if not line.startswith("– to do")}
    assert "✓ passed" in lines["csd"]
    assert lines["forgetting"].endswith("2 attempts")
    assert lines["search"].endswith("1 hint")
    assert text.count("– to do") == 6
    assert repr(check.board()).startswith(f"Progress: 1 of {len(check.EXERCISES)} passed")
    few = check.board("csd", "linear_cka")
    assert repr(few).startswith("Progress: 1 of 2 passed")
    page = few._repr_html_()
    assert "Linear CKA" in page
    assert "✓ passed" in page
    assert "forgetting" not in page


@pytest.mark.slow
def test_progress_survives_a_restart():
    code = (
        "from csd_edu import check, metrics\n"
        "check.forgetting(metrics.forgetting); check.hint('csd'); check.hint('csd')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), timeout=60)
    assert repr(check.board("forgetting")).startswith("Progress: 1 of 1 passed")
    assert check.hint("csd").rung == 3


def test_a_folder_that_cannot_be_written_loses_the_record_only(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "nowhere" / "progress.json"))
    verdict = checked("csd", function(RIGHT["csd"]))
    assert verdict.passed
    assert re.fullmatch(r"The progress is not saved in progress.json: .*No such file.*\.", verdict.note)
    assert verdict.note in repr(verdict)
    assert verdict.note in verdict._repr_html_()
    assert check.hint("csd").rung == 1
    assert check.hint("csd").rung == 2  # the session still knows
    assert repr(check.board("csd")).startswith("Progress: 1 of 1 passed")
    (tmp_path / "nowhere").mkdir()
    assert checked("search", function(RIGHT["search"])).note == ""
    assert set(json.loads((tmp_path / "nowhere" / "progress.json").read_text())["exercises"]) == {"csd", "search"}


@pytest.mark.parametrize(
    "content",
    [
        b"{not json",
        b"[]",
        b"\xff\xfe",
        b'{"version": 2, "exercises": {}}',
        b'{"version": 1, "exercises": {"csd": {"passed": "yes"}}}',
        b'{"version": 1, "exercises": {"csd": 1}}',
    ],
)
def test_a_damaged_file_is_left_alone(progress_file, content):
    progress_file.write_bytes(content)
    for attempt in (1, 2):
        verdict = checked("csd", function(RIGHT["csd"]))
        assert verdict.passed
        assert "cannot be read (it is damaged); delete or rename it" in verdict.note
        assert progress_file.read_bytes() == content
        board = check.board("csd")
        assert board.rows[0][2]["attempts"] == attempt
        assert "cannot be read" in repr(board)
    progress_file.unlink()
    assert checked("csd", function(RIGHT["csd"])).note == ""
    assert check.board("csd").rows[0][2]["attempts"] == 3


def test_export(tmp_path):
    checked("csd", function(RIGHT["csd"]))
    path = check.export(tmp_path / "ada.json", student=" Ada ")
    assert path == tmp_path / "ada.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["student"] == "Ada"
    assert content["csd_edu"] == csd.__version__
    assert list(content["exercises"]) == list(check.EXERCISES)
    assert content["exercises"]["csd"]["passed"] is True
    assert content["exercises"]["search"] == {"passed": False, "attempts": 0, "hints": 0, "mistakes": {}, "time": None}
    assert path.stat().st_size < 10_000
    assert check.export(str(path), student="Bob") == path


def test_export_refuses(tmp_path):
    with pytest.raises(ValueError, match="student is '  '; expected a name"):
        check.export(tmp_path / "a.json", student="  ")
    with pytest.raises(ValueError, match=r"is a folder; expected a file, such as .*progress\.json"):
        check.export(tmp_path, student="Ada")
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        check.export(tmp_path / "nowhere" / "a.json", student="Ada")
