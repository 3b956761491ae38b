"""The checks of what keeps features in place: the push of distillation, CSD's masks and its method, and drift.

As in `test_check`: right answers are written with loops, wrong ones are edits of them, and each must be named.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check
from csd_edu.check.verdict import parts, shown
from csd_edu.methods import Step, View
from tests import checking
from tests.checking import checked, edited, function

NAMES = ["push", "contrast_masks", "my_csd", "mean_displacement", "neighbor_overlap"]


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))


RIGHT = {
    "push": """
def push(student_logits, teacher_logits, temperature):
    size, old = teacher_logits.shape
    result = torch.zeros(student_logits.shape)
    for i in range(size):
        t = teacher_logits[i] / temperature
        s = student_logits[i, :old] / temperature
        p = (t - t.max()).exp()
        q = (s - s.max()).exp()
        p = p / p.sum()
        q = q / q.sum()
        for c in range(old):
            result[i, c] = (p[c] - q[c]) / (temperature * size)
    return result
""",
    "contrast_masks": """
def masks(labels):
    n = len(labels)
    contrast, positive = [], []
    for i in range(n):
        a, p = [], []
        for j in range(2 * n):
            same = bool(labels[j % n] == labels[i])
            itself = j == i
            own = j == i + n
            a.append(not itself)
            p.append(same and not itself)
        contrast.append(a)
        positive.append(p)
    return torch.tensor(contrast), torch.tensor(positive)
""",
    "my_csd": """
def method(step):
    def unit(x):
        return x / x.norm(dim=1, keepdim=True)

    def contrast(s, t, temperature):
        s, t = unit(s), unit(t.detach())
        losses = []
        for i in range(len(s)):
            others = [j for j in range(len(s)) if j != i]
            logits = torch.cat([s[others], t]) @ s[i] / temperature
            mine = torch.cat([step.labels[others], step.labels]) == step.labels[i]
            losses.append(-torch.log_softmax(logits, dim=0)[mine].mean())
        return torch.stack(losses).mean()

    f, y = unit(step.features), step.labels
    gaps = []
    for i in range(len(f)):
        near = [f[i] @ f[j] for j in range(len(f)) if y[j] == y[i] and j != i]
        far = [f[i] @ f[j] for j in range(len(f)) if y[j] != y[i]]
        if near and far and max(far) - min(near) + 1 > 0:
            gaps.append(max(far) - min(near) + 1)
    terms = {"ce": F.cross_entropy(step.logits, y), "triplet": torch.stack(gaps).mean()}
    if step.teacher is not None:
        known = step.teacher.logits.shape[1]
        p = torch.softmax(step.teacher.logits / 2, dim=1)
        q = torch.softmax(step.logits[:, :known] / 2, dim=1)
        terms["kd"] = (p * (p.log() - q.log())).sum(dim=1).mean()
        terms["csd"] = contrast(step.features, step.teacher.features, 0.07)
    return terms
""",
    "mean_displacement": """
def displacement(x, y):
    total = 0.0
    for a, b in zip(x, y):
        cosine = (a * b).sum() / (a.norm() * b.norm())
        total += float(1 - cosine)
    return total / len(x)
""",
    "neighbor_overlap": """
def overlap(x, y, k):
    def near(features, i):
        unit = features / features.norm(dim=1, keepdim=True)
        similarity = unit @ unit[i]
        others = [j for j in range(len(features)) if j != i]
        return sorted(others, key=lambda j: -float(similarity[j]))[:k]

    shares = []
    for i in range(len(x)):
        before, after = near(x, i), near(y, i)
        kept = [j for j in before if j in after]
        shares.append(len(kept) / k)
    return shares
""",
}

_CSD_TERM = 'terms["csd"] = contrast(step.features, step.teacher.features, 0.07)'
_COSINE = "cosine = (a * b).sum() / (a.norm() * b.norm())"
_TOTAL = ("total += float(1 - cosine)", "return total / len(x)")
_MEAN_OF_SIMILARITIES = """
def displacement(x, y):
    x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    return 1 - torch.tensor([[float(a @ b) for a in x] for b in y]).mean()
"""
_DOWN_THE_COLUMNS = """
def displacement(x, y):
    x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    return sum(1 - float(a @ b) for a, b in zip(x.T, y.T)) / x.shape[1]
"""
_ALONG_THE_COLUMNS = """
def displacement(x, y):
    x, y = x / x.norm(dim=0), y / y.norm(dim=0)
    return sum(1 - float(a @ b) for a, b in zip(x, y)) / len(x)
"""


def _csd_term(*edits: str) -> tuple[str, ...]:
    """Edits of the line that adds the csd term."""
    line = _CSD_TERM
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in line
        line = line.replace(old, new)
    return (_CSD_TERM, line)


# By exercise and mistake: edits (old, new, old, new, …) of the right answer, or a source of its own.
WRONG: dict[str, dict[str, checking.Edits]] = {
    "push": {
        "gradient instead of the push": ("p[c] - q[c]", "q[c] - p[c]"),
        "not divided by T and B": (" / (temperature * size)", ""),
        "not divided by T": ("(temperature * size)", "size"),
        "not divided by B": ("(temperature * size)", "temperature"),
        "divided by T²": ("(temperature * size)", "(temperature ** 2 * size)"),
        "multiplied by T": ("/ (temperature * size)", "* temperature / size"),
        "divided by all elements": ("(temperature * size)", "(temperature * size * old)"),
        "no temperature in the softmaxes": ("[i] / temperature", "[i]", "[i, :old] / temperature", "[i, :old]"),
        "only the teacher softened": ("[i, :old] / temperature", "[i, :old]"),
        "only the student softened": ("[i] / temperature", "[i]"),
        "difference of the logits": ("(p[c] - q[c])", "(teacher_logits[i, c] - student_logits[i, c])"),
        "difference of the logarithms": ("(p[c] - q[c])", "(p[c].log() - q[c].log())"),
        "the loss instead of its gradient": ("(p[c] - q[c])", "p[c] * (p[c].log() - q[c].log())"),
        "softmax over the batch": (
            "        p = p / p.sum()\n        q = q / q.sum()\n",
            "        p = torch.softmax(teacher_logits / temperature, dim=0)[i]\n"
            "        q = torch.softmax(student_logits[:, :old] / temperature, dim=0)[i]\n",
        ),
        "new classes pushed down": (
            "[i, :old]",
            "[i]",
            "p = p / p.sum()",
            "p = torch.cat([p / p.sum(), torch.zeros(len(s) - old)])",
            "range(old)",
            "range(len(s))",
        ),
        "softmax over all classes": ("[i, :old]", "[i]"),
        "the student's last classes": ("[i, :old]", "[i, -old:]"),
        "filled from the end": ("result[i, c]", "result[i, c - old]"),
        "no column for the new classes": ("return result", "return result[:, :old]"),
        "new classes not told apart": (
            "[i, :old]",
            "[i]",
            "        t = teacher_logits[i] / temperature",
            "        t = torch.zeros(student_logits.shape[1])\n        t[:old] = teacher_logits[i] / temperature",
            "range(old)",
            "range(len(s))",
        ),
        "exp overflows": ("(t - t.max())", "t", "(s - s.max())", "s"),
    },
    "contrast_masks": {
        "masks swapped": (
            "torch.tensor(contrast), torch.tensor(positive)",
            "torch.tensor(positive), torch.tensor(contrast)",
        ),
        "the anchor kept in the contrast set": ("a.append(not itself)", "a.append(True)"),
        "the anchor among its positives": ("same and not itself", "same"),
        "the anchor in both masks": ("a.append(not itself)", "a.append(True)", "same and not itself", "same"),
        "own teacher view not a positive": ("same and not itself", "same and not itself and not own"),
        "own teacher view not compared": ("not itself", "not itself and not own"),
        "own teacher view the only positive": ("same and not itself", "own"),
        "no teacher among the positives": ("same and not itself", "same and not itself and j < n"),
        "no student among the positives": ("same and not itself", "same and j >= n"),
        "teachers not compared": ("not itself", "not itself and j < n"),
        "no columns for the teachers": ("range(2 * n)", "range(n)"),
        "teachers first": ("itself = j == i", "itself = j == i + n"),
        "students and teachers interleaved": (
            "labels[j % n]",
            "labels[j // 2]",
            "itself = j == i",
            "itself = j == 2 * i",
        ),
        "positives left out of the contrast set": ("a.append(not itself)", "a.append(not itself and not same)"),
        "negatives instead of positives": ("same and not itself", "not same and not itself"),
        "both masks inverted": (
            "a.append(not itself)",
            "a.append(itself)",
            "same and not itself",
            "not same or itself",
        ),
    },
    "my_csd": {
        "no csd term": (_CSD_TERM, "pass"),
        "csd in the second task only": (_CSD_TERM, f"if step.task == 1:\n            {_CSD_TERM}"),
        "student and teacher swapped": _csd_term(
            "step.features, step.teacher.features", "step.teacher.features, step.features"
        ),
        "the student contrasted with itself": _csd_term("step.teacher.features", "step.features"),
        "the teacher contrasted with itself": _csd_term("(step.features", "(step.teacher.features"),
        "the teacher's logits instead of its features": _csd_term("step.teacher.features", "step.teacher.logits"),
        "logits instead of features": _csd_term(
            "step.features", "step.logits[:, :known]", "step.teacher.features", "step.teacher.logits"
        ),
        "temperature 2": _csd_term("0.07", "2"),
        "temperature 1": _csd_term("0.07", "1"),
        "temperature 0.7": _csd_term("0.07", "0.7"),
        "csd counted twice": (_CSD_TERM, f'{_CSD_TERM}\n        terms["csd"] = terms["csd"] + terms["csd"]'),
        "csd divided by the batch": _csd_term("0.07)", "0.07) / len(y)"),
        "csd subtracted": _csd_term("contrast", "-contrast"),
        "csd hidden in the cross-entropy": _csd_term('terms["csd"] =', 'terms["ce"] = terms["ce"] +'),
        "csd hidden in the distillation": _csd_term('terms["csd"] =', 'terms["kd"] = terms["kd"] +'),
        "csd in the place of another term": _csd_term('terms["csd"] =', 'terms["kd"] ='),
        "no distillation": ('terms["kd"] = (p', "_ = (p"),
        "no triplet loss": (', "triplet": torch.stack(gaps).mean()', ""),
        "no cross-entropy": ('"ce": F.cross_entropy(step.logits, y), ', ""),
        "nothing but csd": (
            "    return terms",
            '    return {name: term for name, term in terms.items() if name == "csd"}',
        ),
        "a teacher asked in the first task": ("    return terms", f"    {_CSD_TERM}\n    return terms"),
    },
    "mean_displacement": {
        "cosine instead of 1 − cosine": ("float(1 - cosine)", "float(cosine)"),
        "cosine − 1": ("float(1 - cosine)", "float(cosine - 1)"),
        "not normalised": (_COSINE, "cosine = (a * b).sum()"),
        "normalised along the wrong axis": _ALONG_THE_COLUMNS,
        "only one snapshot normalised": (" / (a.norm() * b.norm())", " / a.norm()"),
        "each image compared with all others": _MEAN_OF_SIMILARITIES,
        "products added up over the images": _DOWN_THE_COLUMNS,
        "mean over all numbers": ("(a * b).sum()", "(a * b).mean()"),
        "sum instead of mean": ("return total / len(x)", "return total"),
        "largest instead of mean": (_TOTAL[0], "total = max(total, float(1 - cosine))", _TOTAL[1], "return total"),
        "distance instead of angle": ("float(1 - cosine)", "float((a - b).norm())"),
        "distance of the scaled features": ("float(1 - cosine)", "float((a / a.norm() - b / b.norm()).norm())"),
        "squared distance of the scaled features": (
            "float(1 - cosine)",
            "float((a / a.norm() - b / b.norm()).norm()) ** 2",
        ),
        "angle in radians": ("float(1 - cosine)", "math.acos(max(-1, min(1, float(cosine))))"),
        "angle in degrees": ("float(1 - cosine)", "math.degrees(math.acos(max(-1, min(1, float(cosine)))))"),
        "absolute cosine": ("float(1 - cosine)", "float(1 - abs(cosine))"),
        "cosine of the means": ("zip(x, y)", "[(x.mean(dim=0), y.mean(dim=0))]", "total / len(x)", "total"),
        "one cosine of everything": ("zip(x, y)", "[(x.flatten(), y.flatten())]", "total / len(x)", "total"),
        "centred": ("zip(x, y)", "zip(x - x.mean(dim=0), y - y.mean(dim=0))"),
    },
    "neighbor_overlap": {
        "the image itself among its neighbours": (" if j != i]", "]"),
        "the image itself as one neighbour more": (" if j != i]", "]", "[:k]", "[: k + 1]", "/ k)", "/ (k + 1))"),
        "the image itself counted as kept": (" if j != i]", "]", "[:k]", "[: k + 1]"),
        "the image itself set to similarity 0": (
            " if j != i]",
            "]",
            "unit @ unit[i]",
            "unit @ unit[i]\n        similarity[i] = 0",
        ),
        "dot product instead of cosine": ("features / features.norm(dim=1, keepdim=True)", "features"),
        "Euclidean distance of unscaled features": (
            "features / features.norm(dim=1, keepdim=True)",
            "features",
            "unit @ unit[i]",
            "-(unit - unit[i]).norm(dim=1)",
        ),
        "normalised along the wrong axis": ("dim=1, keepdim", "dim=0, keepdim"),
        "farthest instead of nearest": ("-float(", "float("),
        "nearest in the other snapshot": (
            "near(features, i)",
            "near(one, features, i)",
            "unit @ unit[i]",
            "unit @ (one[i] / one[i].norm())",
            "near(x, i), near(y, i)",
            "near(x, y, i), near(y, x, i)",
        ),
        "same rank only": ("[j for j in before if j in after]", "[a for a, b in zip(before, after) if a == b]"),
        "number instead of share": ("len(kept) / k", "len(kept)"),
        "share of the union": ("len(kept) / k", "len(kept) / len({*before, *after})"),
        "any instead of a share": ("len(kept) / k", "float(len(kept) > 0)"),
        "share of those lost": ("len(kept) / k", "1 - len(kept) / k"),
        "one mean over the images": ("return shares", "return sum(shares) / len(shares)"),
        "one neighbour too few": ("[:k]", "[: k - 1]"),
        "the first answer taken for the image itself": (" if j != i]", "]", "[:k]", "[1 : k + 1]"),
    },
}

CASES = [(name, mistake) for name, wrong in WRONG.items() for mistake in wrong]


def wrong_answer(name: str, mistake: str) -> checking.Function:
    return checking.wrong_answer(RIGHT[name], WRONG[name][mistake])


@pytest.mark.parametrize(("name", "mistake"), CASES)
def test_each_typical_wrong_answer_is_named(name, mistake):
    checking.is_named(name, mistake, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_in_a_table_has_a_wrong_answer_and_a_message_of_its_own(name):
    checking.has_messages_of_their_own(name, WRONG[name])


def test_messages_are_told_apart():
    messages = [mistake.message for exercise in check.EXERCISES.values() for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages)
    ours = [mistake.message for name in NAMES for mistake in check.EXERCISES[name].mistakes]
    assert all(message.endswith((".", "?")) and len(message) < 400 for message in ours)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"my_csd"}))
def test_the_example_of_a_wrong_answer_is_a_true_one(name):
    for mistake in WRONG[name]:
        if mistake != "exp overflows":  # NaN: there is an example, and nothing to compare
            checking.example_is_true(name, wrong_answer(name, mistake))


def test_the_example_of_a_wrong_method_is_a_true_one():
    for mistake in WRONG["my_csd"]:
        f = wrong_answer("my_csd", mistake)
        case = checked("my_csd", f).case
        expected = csd.methods.csd(case.arguments["step"])
        assert case.expected == pytest.approx({name: float(term) for name, term in expected.items()}, abs=1e-5)
        if case.given is not None:
            again = {name: float(term) for name, term in f(case.arguments["step"]).items()}
            assert case.given == pytest.approx(again, abs=1e-5)
            assert case.given != pytest.approx(case.expected, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_corner_cases_name_a_mistake_of_the_table(name):
    checking.corner_cases_come_last(name)


# Right answers in several styles.


@pytest.mark.parametrize("name", NAMES)
def test_loops_pass(name):
    checking.passes(name, function(RIGHT[name]))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_solution_passes_as_it_is_shown(name):
    checking.solution_runs_alone(name)


def autograd_push(student_logits, teacher_logits, temperature):
    s = student_logits.clone().requires_grad_()
    log_q = F.log_softmax(s[:, : teacher_logits.shape[1]] / temperature, dim=1)
    loss = F.kl_div(log_q, F.softmax(teacher_logits / temperature, dim=1), reduction="batchmean")
    return -torch.autograd.grad(loss, s)[0]


def numpy_push(student_logits, teacher_logits, temperature):
    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    s, t = student_logits.double().numpy() / temperature, teacher_logits.double().numpy() / temperature
    gap = (softmax(t) - softmax(s[:, : t.shape[1]])) / temperature / len(t)
    return np.hstack([gap, np.zeros((len(s), s.shape[1] - t.shape[1]))])


def lists_of_masks(labels):
    both = labels.tolist() * 2
    n = len(labels)
    a = [[j != i for j in range(2 * n)] for i in range(n)]
    return [a, [[a[i][j] and both[j] == both[i] for j in range(2 * n)] for i in range(n)]]


def numbers_of_masks(labels):
    n = len(labels)
    a = torch.ones(n, 2 * n)
    a[torch.arange(n), torch.arange(n)] = 0
    onehot = F.one_hot(labels, 10).float()
    return a, a * torch.cat([onehot @ onehot.T] * 2, dim=1)


def numpy_masks(labels):
    y = labels.numpy()
    a = np.hstack([~np.eye(len(y), dtype=bool), np.ones((len(y), len(y)), dtype=bool)])
    return a, (y[:, None] == np.tile(y, 2)[None]) & a


def method_in_one_line(step):
    lwf = csd.methods.lwf(step)
    return lwf if step.task == 0 else {"csd": csd.losses.csd(step.features, step.teacher.features, step.labels), **lwf}


def method_with_zeros(step):
    """All four names from the first task on, and losses of the shape (1,)."""
    terms = {"kd": torch.zeros(1), "csd": step.features.sum()[None] * 0, **csd.methods.finetune(step)}
    if step.task > 0:
        terms["kd"] = csd.losses.distillation(step.logits, step.teacher.logits)[None]
        terms["csd"] = csd.losses.csd(step.features, step.teacher.features, step.labels)[None]
    return terms


def numpy_displacement(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    return np.mean(1 - np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1))


def numpy_overlap(x, y, k):
    near = []
    for features in (x, y):
        unit = F.normalize(features.double(), dim=1).numpy()
        distance = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distance, np.inf)
        near.append(np.argsort(distance, axis=1)[:, :k])
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(*near, strict=True)])


def scattered_overlap(x, y, k):
    both = torch.ones(len(x), len(x))
    for features in (x, y):
        similarity = torch.cosine_similarity(features[:, None], features[None], dim=2) - 9 * torch.eye(len(x))
        both = both * torch.zeros_like(both).scatter(1, similarity.topk(k).indices, 1.0)
    return both.sum(dim=1) / k


OTHERS = [
    ("push", autograd_push),
    ("push", numpy_push),
    ("contrast_masks", lists_of_masks),
    ("contrast_masks", numbers_of_masks),
    ("contrast_masks", numpy_masks),
    ("my_csd", csd.methods.csd),
    ("my_csd", method_in_one_line),
    ("my_csd", method_with_zeros),
    ("mean_displacement", numpy_displacement),
    ("mean_displacement", lambda x, y: 1 - F.cosine_similarity(x, y).mean()),
    ("mean_displacement", lambda x, y: (F.normalize(x) - F.normalize(y)).square().sum(dim=1).mean() / 2),
    ("mean_displacement", csd.drift.mean_displacement),
    ("neighbor_overlap", numpy_overlap),
    ("neighbor_overlap", scattered_overlap),
    ("neighbor_overlap", csd.drift.neighbor_overlap),
]


@pytest.mark.parametrize(("name", "f"), OTHERS)
def test_other_right_answers_pass(name, f):
    checking.passes(name, f)


# What is no answer.


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_told_where_to_begin(name):
    checking.stub_is_told_where_to_begin(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "mistake", "words"), checking.NO_ANSWERS)
def test_what_is_no_answer(name, value, mistake, words):
    checking.is_no_answer(name, value, mistake, words)


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


def test_a_teacher_that_receives_a_gradient():
    verdict = checked("my_csd", edited(RIGHT["my_csd"], "unit(t.detach())", "unit(t)"))
    assert verdict.mistake == "teacher gradient"
    assert "'step.teacher.features'" in verdict.message


@pytest.mark.parametrize(
    ("edits", "mistake"),
    [
        (_csd_term("(step.features", "(step.features.detach()"), "gradient cut"),
        (_csd_term("0.07)", "0.07).detach()"), "gradient cut"),
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
    view = View(x + 1, x + 2)
    step = Step(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]), x, x, 1, lambda _: view)
    found: dict[str, Any] = parts("s", step)
    assert list(found) == ["s.task", "s.labels", "s.features", "s.logits", "s.teacher.features", "s.teacher.logits"]
    assert found["s.teacher.logits"] is view.logits
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


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_ends_with_the_solution(name):
    checking.ladder_ends_with_the_solution(name)


def test_the_order_is_that_of_the_notebooks():
    names = list(check.EXERCISES)
    order = ["distillation", "push", "contrast_masks", "csd", "my_csd", "mean_displacement", "linear_cka"]
    order += ["neighbor_overlap", "stale_recall"]
    assert [name for name in names if name in order] == order
    assert set(NAMES) <= set(check.__all__)
