"""The checks of the exercises: each typical wrong answer gets its own name, and right answers pass however written.

The wrong answers are edits of a right one that is written with loops, as a student would: none of them uses the
library's code or the functions by which the checks know their mistakes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check
from csd_edu.check import running
from csd_edu.check.verdict import Board, Hint, Verdict
from tests import checking, test_check_features, test_check_own, test_check_reading
from tests.checking import checked, edited, function


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


RIGHT = {
    "search": """
def find(queries, gallery, k):
    a = queries / queries.norm(dim=1, keepdim=True)
    b = gallery / gallery.norm(dim=1, keepdim=True)
    found = []
    for query in a:
        similarity = [float(query @ item) for item in b]
        order = sorted(range(len(b)), key=lambda j: -similarity[j])
        found.append(order[:k])
    return found
""",
    "recall_at_k": """
def recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    queries = queries / queries.norm(dim=1, keepdim=True)
    gallery = gallery / gallery.norm(dim=1, keepdim=True)
    hits = []
    for i in range(len(queries)):
        items = []
        for j in range(len(gallery)):
            if exclude_self and i == j:
                continue
            similarity = float(queries[i] @ gallery[j])
            right = bool(query_labels[i] == gallery_labels[j])
            items.append((-round(similarity, 5), right, j))
        if not any(right for _, right, _ in items):
            continue
        answers = [right for _, right, _ in sorted(items)[:k]]
        hits.append(any(answers))
    return sum(hits) / len(hits)
""",
    "forgetting": """
def forgotten(matrix):
    n = len(matrix)
    total = 0.0
    for j in range(n - 1):
        before = [matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]
        total += max(before) - matrix[n - 1][j]
    return total / (n - 1)
""",
    "temperature_softmax": """
def soft(logits, temperature):
    z = logits / temperature
    z = z - z.max(dim=1, keepdim=True).values
    e = torch.exp(z)
    return e / e.sum(dim=1, keepdim=True)
""",
    "distillation": """
def kd(student_logits, teacher_logits, temperature):
    old = teacher_logits.shape[1]
    s = student_logits[:, :old] / temperature
    t = teacher_logits.detach() / temperature
    log_q = s - torch.logsumexp(s, dim=1, keepdim=True)
    log_p = t - torch.logsumexp(t, dim=1, keepdim=True)
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(dim=1).mean()
""",
    "triplet": """
def hard(features, labels, margin):
    f = features / features.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(f)):
        positives = [f[i] @ f[j] for j in range(len(f)) if labels[j] == labels[i] and j != i]
        negatives = [f[i] @ f[j] for j in range(len(f)) if labels[j] != labels[i]]
        if positives and negatives:
            loss = max(negatives) - min(positives) + margin
            if loss > 0:
                losses.append(loss)
    return torch.stack(losses).mean() if losses else 0 * features.sum()
""",
    "csd": """
def contrast(student, teacher, labels, temperature):
    s = student / student.norm(dim=1, keepdim=True)
    t = teacher.detach() / teacher.detach().norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(s)):
        others = [j for j in range(len(s)) if j != i]
        candidates = torch.cat([s[others], t])
        positive = torch.cat([labels[others], labels]) == labels[i]
        logits = candidates @ s[i] / temperature
        log_p = logits - torch.logsumexp(logits, dim=0)
        losses.append(-log_p[positive].mean())
    return torch.stack(losses).mean()
""",
    "linear_cka": """
def cka(x, y):
    x = x - x.mean(dim=0)
    y = y - y.mean(dim=0)
    top = ((x.T @ y) ** 2).sum()
    below_x = ((x.T @ x) ** 2).sum().sqrt()
    below_y = ((y.T @ y) ** 2).sum().sqrt()
    return float(top / (below_x * below_y))
""",
    "stale_recall": """
def stale(snapshots, labels, tasks):
    hits = []
    for i in range(len(labels)):
        query = snapshots[-1][i]
        best, answer = -1e9, None
        for j in range(len(labels)):
            if i == j:
                continue
            item = snapshots[int(tasks[j])][j]
            similarity = float(torch.cosine_similarity(query, item, dim=0))
            if similarity > best:
                best, answer = similarity, labels[j]
        hits.append(float(answer == labels[i]))
    return sum(hits) / len(hits)
""",
}

_UNSCALED_RECALL = (
    "    queries = queries / queries.norm(dim=1, keepdim=True)\n",
    "",
    "    gallery = gallery / gallery.norm(dim=1, keepdim=True)\n",
    "",
)
_TWO_MEANS = ("        losses.append(-log_p[positive].mean())", "    return torch.stack(losses).mean()")
_CSD_ALONG_THE_COLUMNS = """
def contrast(student, teacher, labels, temperature):
    n = len(labels)
    s, t = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    logits = s @ torch.cat([s, t]).T / temperature
    logits[torch.arange(n), torch.arange(n)] = float("-inf")
    log_p = torch.log_softmax(logits, dim=0)
    loss = 0
    for i in range(n):
        positives = [j for j in range(2 * n) if labels[j % n] == labels[i] and j != i]
        loss = loss - sum(log_p[i, j] for j in positives) / len(positives)
    return loss / n
"""

# By exercise and mistake: edits (old, new, old, new, …) of the right answer, or a source of its own.
WRONG = {
    "search": {
        "dot product instead of cosine": ("b = gallery / gallery.norm(dim=1, keepdim=True)", "b = gallery"),
        "Euclidean distance of unscaled features": (
            "a = queries / queries.norm(dim=1, keepdim=True)",
            "a = queries",
            "b = gallery / gallery.norm(dim=1, keepdim=True)",
            "b = gallery",
            "float(query @ item)",
            "-float((query - item).norm())",
        ),
        "least similar first": ("-similarity[j]", "similarity[j]"),
        "answers in reverse order": ("order[:k]", "order[:k][::-1]"),
        "normalised along the wrong axis": ("dim=1", "dim=0"),
        "first answer skipped": ("order[:k]", "order[1 : k + 1]"),
    },
    "recall_at_k": {
        "the query itself counted as a hit": ("if exclude_self and i == j:", "if False:"),
        "the query itself set to similarity 0": (
            "                continue\n            sim",
            "                items.append((-0.0, True, j))\n                continue\n            sim",
        ),
        "dot product instead of cosine": _UNSCALED_RECALL,
        "Euclidean distance of unscaled features": (
            *_UNSCALED_RECALL,
            "float(queries[i] @ gallery[j])",
            "-float((queries[i] - gallery[j]).norm())",
        ),
        "normalised along the wrong axis": ("dim=1", "dim=0"),
        "least similar first": ("-round(", "round("),
        "k off by one: one too many": ("[:k]]", "[: k + 1]]"),
        "first answer always skipped": ("sorted(items)[:k]", "sorted(items)[0 if exclude_self else 1 :][:k]"),
        "only the k-th answer looked at": ("any(answers)", "answers[-1]"),
        "precision instead of recall": ("any(answers)", "sum(answers) / k"),
        "all k answers must be right": ("any(answers)", "all(answers)"),
        "share of the positives found": ("any(answers)", "sum(answers) / sum(item[1] for item in items)"),
        "number of hits instead of their share": ("sum(hits) / len(hits)", "sum(hits)"),
        "percent instead of a share": ("sum(hits) / len(hits)", "100 * sum(hits) / len(hits)"),
        "queries and gallery swapped": (
            "    hits = []",
            "    queries, gallery, query_labels, gallery_labels = gallery, queries, gallery_labels, query_labels\n"
            "    hits = []",
        ),
        "ties helped the query": ("sorted(items)", "sorted(items, key=lambda item: (item[0], not item[1]))"),
        "the first answer taken for the query itself": (
            "if exclude_self and i == j:",
            "if False:",
            "sorted(items)[:k]",
            "sorted(items)[int(exclude_self) :][:k]",
            "not any(right for _, right, _ in items)",
            "sum(right for _, right, _ in items) == int(exclude_self)",
        ),
        "a query with nothing to find counted as a miss": ("if not any(right for _, right, _ in items):", "if False:"),
    },
    "forgetting": {
        "the best includes the last row": ("i in range(n - 1) if", "i in range(n) if"),
        "first minus last": ("max(before)", "matrix[j][j]"),
        "averaged over all T tasks": ("total / (n - 1)", "total / n"),
        "sign swapped": ("max(before) - matrix[n - 1][j]", "matrix[n - 1][j] - max(before)"),
        "rows and columns swapped": (
            "[matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]",
            "[matrix[j][i] for i in range(n - 1) if matrix[j][i] is not None]",
            "matrix[n - 1][j]",
            "matrix[j][n - 1]",
        ),
        "compared with the task just before": ("max(before)", "before[-1]"),
        "sum instead of mean": ("total / (n - 1)", "total"),
        "only the first task": ("range(n - 1):", "range(1):", "total / (n - 1)", "total"),
        "relative to the best": ("max(before) - matrix[n - 1][j]", "1 - matrix[n - 1][j] / max(before)"),
        "best minus worst": ("matrix[n - 1][j]\n", "min(matrix[i][j] for i in range(j, n))\n"),
        "best of the whole matrix": (
            "[matrix[i][j] for i in range(n - 1) if matrix[i][j] is not None]",
            "[value for row in matrix[:-1] for value in row if value is not None]",
        ),
    },
    "temperature_softmax": {
        "no temperature": ("z = logits / temperature", "z = logits", "torch.exp(z)", "torch.exp(z) / temperature"),
        "multiplied by the temperature": ("logits / temp", "logits * temp"),
        "temperature outside the exponent": (
            "logits / temperature",
            "logits",
            "return e /",
            "return e / temperature /",
        ),
        "normalised along the wrong axis": ("dim=1", "dim=0"),
        "log-probabilities": ("return e / e.sum(dim=1, keepdim=True)", "return z - e.sum(dim=1, keepdim=True).log()"),
        "not normalised": (
            "    z = z - z.max(dim=1, keepdim=True).values\n",
            "",
            "return e / e.sum(dim=1, keepdim=True)",
            "return e",
        ),
        "exp overflows": ("    z = z - z.max(dim=1, keepdim=True).values\n", ""),
    },
    "distillation": {
        "factor T²": (".mean()", ".mean() * temperature ** 2"),
        "KL reversed": ("(p * (log_p - log_q))", "(log_q.exp() * (log_q - log_p))"),
        "temperature on the teacher only": ("[:, :old] / temperature", "[:, :old]"),
        "temperature on the student only": (".detach() / temperature", ".detach()"),
        "no temperature": (" / temperature", ""),
        "cut at the wrong end": ("[:, :old]", "[:, -old:]"),
        "cut after the softmax": (
            "student_logits[:, :old]",
            "student_logits",
            "torch.logsumexp(s, dim=1, keepdim=True)",
            "torch.logsumexp(s, dim=1, keepdim=True)\n    log_q = log_q[:, :old]",
        ),
        "not cut to the teacher's classes": ("[:, :old]", ""),
        "sum instead of mean over the batch": (".sum(dim=1).mean()", ".sum()"),
        "mean over all elements": (".sum(dim=1).mean()", ".mean()"),
        "log of the student's softmax forgotten": ("(log_p - log_q)", "(log_p - log_q.exp())"),
        "log of the teacher's softmax instead of the softmax": (
            "return (p * (log_p - log_q)).sum(dim=1).mean()",
            "return F.kl_div(log_q, log_p, reduction='batchmean')",
        ),
        "cross-entropy instead of KL": ("(log_p - log_q)", "-log_q"),
        "softmax along the wrong axis": ("dim=1, keepdim", "dim=0, keepdim"),
        "sign swapped": ("return (", "return -("),
        "squared difference of the logits": (
            "return (p * (log_p - log_q)).sum(dim=1).mean()",
            "return ((student_logits - teacher_logits) ** 2).mean()",
        ),
        "exp overflows": (
            "s - torch.logsumexp(s, dim=1, keepdim=True)",
            "(s.exp() / s.exp().sum(dim=1, keepdim=True)).log()",
        ),
    },
    "triplet": {
        "dot product instead of cosine": ("features / features.norm(dim=1, keepdim=True)", "features"),
        "Euclidean distance of unscaled features": (
            "features / features.norm(dim=1, keepdim=True)",
            "features",
            "f[i] @ f[j]",
            "-(f[i] - f[j]).norm()",
        ),
        "normalised along the wrong axis": ("dim=1", "dim=0"),
        "nearest positive instead of the farthest": ("min(positives)", "max(positives)"),
        "farthest negative instead of the nearest": ("max(negatives)", "min(negatives)"),
        "sign swapped": ("max(negatives) - min(positives)", "min(positives) - max(negatives)"),
        "no margin": (" + margin", ""),
        "margin subtracted": (" + margin", " - margin"),
        "no relu": ("if loss > 0:", "if True:"),
        "mean over all samples": (".mean()", ".sum() / len(f)"),
        "sum instead of mean": (".mean()", ".sum()"),
        "masked with 0": (
            "max(negatives)",
            "max([*negatives, torch.tensor(0.0)])",
            "min(positives)",
            "min([*positives, torch.tensor(0.0)])",
        ),
        "all triplets instead of the hardest": (
            "            loss = max(negatives) - min(positives) + margin\n"
            "            if loss > 0:\n"
            "                losses.append(loss)",
            "            every = [n - p + margin for n in negatives for p in positives]\n"
            "            losses += [loss for loss in every if loss > 0]",
        ),
        "a sample without a positive takes part": (" and j != i", ""),
        "mean of no losses": (" if losses else 0 * features.sum()", ""),
    },
    "csd": {
        "temperature outside the exponent": (
            " / temperature",
            "",
            "-log_p[positive].mean()",
            "-log_p[positive].mean() / temperature",
        ),
        "no temperature": (" / temperature", ""),
        "multiplied by the temperature": (" / temperature", " * temperature"),
        "own teacher view missing from the positives": (
            "        logits =",
            "        positive[len(others) + i] = False\n        logits =",
        ),
        "no teacher among the positives": (
            "        logits =",
            "        positive[len(others) :] = False\n        logits =",
        ),
        "self kept in the denominator": (
            "torch.logsumexp(logits, dim=0)",
            "torch.logsumexp(torch.cat([logits, (s[i] @ s[i] / temperature)[None]]), dim=0)",
        ),
        "self among the positives": ("[j for j in range(len(s)) if j != i]", "list(range(len(s)))"),
        "no teachers in the contrast set": (
            "torch.cat([s[others], t])",
            "s[others]",
            "torch.cat([labels[others], labels])",
            "labels[others]",
        ),
        "no students in the contrast set": (
            "torch.cat([s[others], t])",
            "t",
            "torch.cat([labels[others], labels])",
            "labels",
        ),
        "positives left out of the denominator": ("torch.logsumexp(logits,", "torch.logsumexp(logits[~positive],"),
        "positives averaged inside the log": ("-log_p[positive].mean()", "-log_p[positive].exp().mean().log()"),
        "positives summed, not averaged": ("-log_p[positive].mean()", "-log_p[positive].sum()"),
        "one mean over all pairs": (_TWO_MEANS[0], "        losses += list(-log_p[positive])"),
        "sum instead of mean over the batch": (_TWO_MEANS[1], "    return torch.stack(losses).sum()"),
        "not normalised": (
            "student / student.norm(dim=1, keepdim=True)",
            "student",
            "teacher.detach() / teacher.detach().norm(dim=1, keepdim=True)",
            "teacher.detach()",
        ),
        "softmax along the wrong axis": _CSD_ALONG_THE_COLUMNS,
        "sign swapped": ("-log_p", "log_p"),
        "exp overflows": ("logits - torch.logsumexp(logits, dim=0)", "(logits.exp() / logits.exp().sum()).log()"),
    },
    "linear_cka": {
        "not centred": ("x - x.mean(dim=0)", "x", "y - y.mean(dim=0)", "y"),
        "centred along the wrong axis": ("mean(dim=0)", "mean(dim=1, keepdim=True)"),
        "centred by one number": ("mean(dim=0)", "mean()"),
        "standardised": (
            "- x.mean(dim=0)",
            "- x.mean(dim=0)\n    x = x / x.std(dim=0)",
            "- y.mean(dim=0)",
            "- y.mean(dim=0)\n    y = y / y.std(dim=0)",
        ),
        "numerator not squared": ("** 2).sum()\n    below_x", "** 2).sum().sqrt()\n    below_x"),
        "square root of CKA": ("float(top / (below_x * below_y))", "float(top / (below_x * below_y)) ** 0.5"),
        "denominator squared": ("** 2).sum().sqrt()", "** 2).sum()"),
        "product in the wrong orientation": ("x.T @ y", "x @ y.T", "x.T @ x", "x @ x.T", "y.T @ y", "y @ y.T"),
        "trace instead of norm": (
            "((x.T @ x) ** 2).sum().sqrt()",
            "(x.T @ x).trace()",
            "((y.T @ y) ** 2).sum().sqrt()",
            "(y.T @ y).trace()",
        ),
        "spectral norm instead of Frobenius": (
            "((x.T @ y) ** 2).sum()",
            "torch.linalg.norm(x.T @ y, 2) ** 2",
            "((x.T @ x) ** 2).sum().sqrt()",
            "torch.linalg.norm(x.T @ x, 2)",
            "((y.T @ y) ** 2).sum().sqrt()",
            "torch.linalg.norm(y.T @ y, 2)",
        ),
        "cosine of the flattened features": (
            "float(top / (below_x * below_y))",
            "float((x * y).sum() / (x.norm() * y.norm()))",
        ),
        "dissimilarity": ("return float(", "return 1 - float("),
    },
    "stale_recall": {
        "gallery indexed again": ("snapshots[int(tasks[j])][j]", "snapshots[-1][j]"),
        "queries by the old networks": ("query = snapshots[-1][i]", "query = snapshots[int(tasks[i])][i]"),
        "queries and gallery swapped": (
            "snapshots[int(tasks[j])][j]",
            "snapshots[-1][j]",
            "query = snapshots[-1][i]",
            "query = snapshots[int(tasks[i])][i]",
        ),
        "gallery from the first network": ("snapshots[int(tasks[j])][j]", "snapshots[0][j]"),
        "gallery one task too old": ("snapshots[int(tasks[j])][j]", "snapshots[max(0, int(tasks[j]) - 1)][j]"),
        "the query itself counted as a hit": ("if i == j:", "if False:"),
        "only the last task's queries": (
            "        query =",
            "        if tasks[i] != tasks.max():\n            continue\n        query =",
        ),
        "only the earlier tasks' queries": (
            "        query =",
            "        if tasks[i] == tasks.max():\n            continue\n        query =",
        ),
        "searched within the own task": ("if i == j:", "if i == j or tasks[i] != tasks[j]:"),
        "mean of the tasks' recalls": (
            "    return sum(hits) / len(hits)",
            "    hits = torch.tensor(hits)\n"
            "    return np.mean([hits[tasks == t].mean() for t in range(len(snapshots))])",
        ),
        "dot product instead of cosine": ("torch.cosine_similarity(query, item, dim=0)", "query @ item"),
    },
}

NAMES = list(RIGHT)
CASES = [(name, mistake) for name, wrong in WRONG.items() for mistake in wrong]


def wrong_answer(name, mistake):
    return checking.wrong_answer(RIGHT[name], WRONG[name][mistake])


@pytest.mark.parametrize(("name", "mistake"), CASES)
def test_each_typical_wrong_answer_is_named(name, mistake):
    checking.is_named(name, mistake, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", NAMES)
def test_every_mistake_in_a_table_has_a_wrong_answer_and_a_message_of_its_own(name):
    checking.has_messages_of_their_own(name, WRONG[name])


def test_messages_are_told_apart_across_the_exercises():
    messages = [mistake.message for exercise in check.EXERCISES.values() for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages)
    assert all(message.endswith((".", "?")) and len(message) < 400 for message in messages)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_wrong_answer_is_a_true_one(name):
    for mistake in list(WRONG[name])[:6]:
        checking.example_is_true(name, wrong_answer(name, mistake))


@pytest.mark.parametrize("name", NAMES)
def test_corner_cases_come_last(name):
    checking.corner_cases_come_last(name)


# Right answers in several styles.


@pytest.mark.parametrize("name", NAMES)
def test_loops_pass(name):
    checking.passes(name, function(RIGHT[name]))


@pytest.mark.parametrize("name", NAMES)
def test_the_model_solution_passes_as_it_is_shown(name):
    checking.solution_runs_alone(name)


def _normalised(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def numpy_search(queries, gallery, k):
    distance = ((_normalised(queries.numpy())[:, None] - _normalised(gallery.numpy())[None]) ** 2).sum(axis=2)
    return np.argsort(distance, axis=1)[:, :k]


def numpy_recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    """By Euclidean distance between features of length 1, which gives the same order."""
    a, b = _normalised(queries.double().numpy()), _normalised(gallery.double().numpy())
    distance = np.linalg.norm(a[:, None] - b[None], axis=2).round(6)
    right = query_labels.numpy()[:, None] == gallery_labels.numpy()[None]
    hits = []
    for i in range(len(a)):
        items = [j for j in range(len(b)) if not (exclude_self and j == i)]
        if right[i, items].any():
            order = np.lexsort((right[i, items], distance[i, items]))
            hits.append(right[i, items][order[:k]].any())
    return np.mean(hits)


def sorted_recall(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    similarity = torch.cosine_similarity(queries[:, None], gallery[None], dim=2)
    right = query_labels[:, None] == gallery_labels[None]
    similarity = similarity - 1e-4 * right  # a tie is lost
    if exclude_self:
        eye = torch.eye(len(queries), dtype=torch.bool)
        similarity, right = similarity.masked_fill(eye, -9), right & ~eye
    order = similarity.argsort(dim=1, descending=True)[:, :k]
    hit = right.gather(1, order).any(dim=1)[right.any(dim=1)]
    return hit.double().mean()  # a tensor


def numpy_forgetting(matrix):
    r = np.array(matrix, dtype=float)
    return (np.nanmax(r[:-1, :-1], axis=0) - r[-1, :-1]).mean()


def torch_forgetting(matrix):
    r = torch.tensor([[-1.0 if value is None else value for value in row] for row in matrix])
    return (r[:-1].max(dim=0).values - r[-1])[:-1].mean()


def functional_kd(student_logits, teacher_logits, temperature):
    log_p = F.log_softmax(teacher_logits.detach() / temperature, 1)
    log_q = F.log_softmax(student_logits[:, : teacher_logits.size(1)] / temperature, 1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="sum") / len(log_p)


def entropies_kd(student_logits, teacher_logits, temperature):
    with torch.no_grad():
        p = torch.softmax(teacher_logits / temperature, dim=-1)
    log_q = torch.log_softmax(student_logits.narrow(1, 0, p.shape[1]) / temperature, dim=-1)
    return (torch.xlogy(p, p) - p * log_q).sum(-1).mean()


def cross_entropy_csd(student, teacher, labels, temperature):
    """Log-softmax with the diagonal cut out, and targets that are uniform over the positives."""
    n = len(labels)
    z = F.normalize(torch.cat([student, teacher.detach()]), dim=1)
    keep = ~torch.eye(n, 2 * n, dtype=torch.bool)
    logits = (z[:n] @ z.T / temperature)[keep].view(n, 2 * n - 1)
    target = (labels[:, None] == labels.repeat(2)[None])[keep].view(n, 2 * n - 1).float()
    return F.cross_entropy(logits, target / target.sum(dim=1, keepdim=True))


def shifted_csd(student, teacher, labels, temperature):
    """exp and log by hand, after the largest similarity is subtracted, in float64."""
    s = F.normalize(student.double(), dim=1)
    t = F.normalize(teacher.double(), dim=1).detach()
    total = 0
    for i in range(len(s)):
        logits = torch.cat([torch.cat([s[:i], s[i + 1 :]]) @ s[i], t @ s[i]]) / temperature
        of = torch.cat([labels[:i], labels[i + 1 :], labels])
        logits = logits - logits.max().detach()
        total = total - (logits - logits.exp().sum().log())[of == labels[i]].mean() / len(s)
    return total


def hsic_cka(x, y):
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = h @ (x @ x.T).double().numpy() @ h, h @ (y @ y.T).double().numpy() @ h
    return np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))


def singular_cka(x, y):
    """By the cosines between principal directions."""
    ux, sx, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    uy, sy, _ = torch.linalg.svd(y - y.mean(0), full_matrices=False)
    cross = (sx**2 @ (ux.T @ uy) ** 2) @ sy**2
    return cross / ((sx**4).sum() * (sy**4).sum()).sqrt()


def numpy_stale(snapshots, labels, tasks):
    x = np.stack([snapshot.numpy() for snapshot in snapshots])
    old = x[tasks.numpy(), np.arange(len(tasks))]
    distance = ((_normalised(x[-1])[:, None] - _normalised(old)[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return (labels.numpy()[distance.argmin(axis=1)] == labels.numpy()).mean()


def library_stale(snapshots, labels, tasks):
    gallery = torch.cat([snapshots[t][tasks == t] for t in range(len(snapshots))])
    order = torch.cat([torch.nonzero(tasks == t)[:, 0] for t in range(len(snapshots))])
    index = csd.retrieval.Gallery(gallery.shape[1])
    index.add(gallery, order)
    found = index.search(snapshots[-1], 1, exclude_ids=torch.arange(len(labels)))[1][:, 0]
    return (labels[found] == labels).float().mean().numpy()  # an array without dimensions


def distance_triplet(features, labels, margin):
    distance = 1 - torch.cosine_similarity(features[:, None], features[None], dim=2)
    same = labels[:, None] == labels[None]
    own = same.clone().fill_diagonal_(False)
    far = (distance - 9 * (~own)).max(dim=1).values
    near = (distance + 9 * same).min(dim=1).values
    loss = (far - near + margin)[own.any(dim=1) & ~same.all(dim=1)].clamp(min=0)
    return loss.sum() / max(1, int((loss > 0).sum()))


OTHERS = [
    ("search", numpy_search),
    ("search", lambda q, g, k: torch.cosine_similarity(q[:, None], g[None], dim=2).argsort(1, descending=True)[:, :k]),
    ("recall_at_k", numpy_recall),
    ("recall_at_k", sorted_recall),
    ("forgetting", numpy_forgetting),
    ("forgetting", torch_forgetting),
    ("forgetting", csd.metrics.forgetting),
    ("temperature_softmax", lambda logits, temperature: torch.softmax(logits / temperature, 1)),
    ("temperature_softmax", lambda logits, temperature: F.log_softmax(logits / temperature, 1).exp().numpy()),
    ("distillation", functional_kd),
    ("distillation", entropies_kd),
    ("distillation", csd.losses.distillation),
    ("triplet", distance_triplet),
    ("triplet", csd.losses.batch_hard_triplet),
    ("csd", cross_entropy_csd),
    ("csd", shifted_csd),
    ("csd", csd.losses.csd),
    ("linear_cka", hsic_cka),
    ("linear_cka", singular_cka),
    ("linear_cka", csd.drift.linear_cka),
    ("stale_recall", numpy_stale),
    ("stale_recall", library_stale),
]


@pytest.mark.parametrize(("name", "f"), OTHERS)
def test_other_right_answers_pass(name, f):
    checking.passes(name, f)


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
    assert "wrong on 5 of 5 inputs" in verdict.message
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


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_told_where_to_begin(name):
    checking.stub_is_told_where_to_begin(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "mistake", "words"), checking.NO_ANSWERS)
def test_what_is_no_answer(name, value, mistake, words):
    checking.is_no_answer(name, value, mistake, words)


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


def test_other_parameters():
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


@pytest.mark.parametrize("name", ["csd", "distillation"])
def test_a_teacher_that_receives_a_gradient(name):
    verdict = checked(name, edited(RIGHT[name], ".detach()", ""))
    assert verdict.mistake == "teacher gradient"
    assert "The teacher received a gradient" in verdict.message
    frozen = check.EXERCISES[name].answer.frozen
    assert f"'{frozen}'" in verdict.message


@pytest.mark.parametrize("name", ["csd", "distillation", "triplet"])
def test_a_loss_without_a_gradient(name):
    right = function(RIGHT[name])
    for cut in (lambda *a: right(*a).detach(), torch.no_grad()(right), lambda *a: torch.tensor(right(*a).item())):
        verdict = checked(name, cut)
        assert verdict.mistake == "detached"
        assert f"'{check.EXERCISES[name].answer.learns}'" in verdict.message


def test_a_part_of_the_gradient_is_cut():
    f = edited(RIGHT["csd"], "torch.cat([s[others], t])", "torch.cat([s[others].detach(), t])")
    assert checked("csd", f).mistake == "gradient cut"


def test_a_gradient_that_is_not_finite():
    def f(features, labels, margin):
        zero = (features - features).norm(dim=1).sum() * 0 + (features[0] - features[0]).sum().sqrt() * 0
        return csd.losses.batch_hard_triplet(features, labels, margin=margin) + zero

    verdict = checked("triplet", f)
    assert verdict.mistake == "gradient not finite"


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
    for name in NAMES:
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


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_ends_with_the_solution(name):
    checking.ladder_ends_with_the_solution(name)


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
    text = repr(check.board(*NAMES))
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


def test_every_exercise_has_its_tests_in_one_file():
    files = (NAMES, test_check_reading.NAMES, test_check_features.NAMES, test_check_own.NAMES)
    assert sorted(name for names in files for name in names) == sorted(check.EXERCISES)


def test_every_exercise_has_its_function():
    assert all(callable(getattr(check, name)) and name in check.__all__ for name in check.EXERCISES)
    for first, second in itertools.combinations(check.EXERCISES, 2):
        assert check.EXERCISES[first].title != check.EXERCISES[second].title
