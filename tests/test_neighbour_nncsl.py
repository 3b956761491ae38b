"""Soft nearest neighbours with few labels: PAWS, CSL, NNCSL and their control, against loops and the released code.

The references are written from the formulas, one Python loop for each sum, and share no code with `csd_edu.methods`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor

import csd_edu as csd
from benchmarks import few_labels
from csd_edu import results
from csd_edu.methods import CSL, NNCSL, PAWS, LabelsOnly, Setting, Step, View
from csd_edu.methods.paws import (
    agreement,
    head_only,
    mean_entropy,
    sharpen,
    smoothed_onehot,
    snn_predict,
    soft_cross_entropy,
)
from csd_edu.models import embed
from csd_edu.sweep import Job
from csd_edu.untaught import PIXELS, UNTRAINED
from tests.conftest import TINY, striped
from tests.test_losses import unit
from tests.test_losses_rivals import by_formula
from tests.test_methods_state import assert_equal, go_on

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILY: dict[str, Callable[..., Any]] = {"labels_only": LabelsOnly, "paws": PAWS, "csl": CSL, "nncsl": NNCSL}
SEMI = ("paws", "csl", "nncsl")


def features(n: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# ---------------------------------------------------------------------- references


def loop_snn(queries: Tensor, supports: Tensor, onehot: Tensor, temperature: float = 0.1) -> Tensor:
    rows = []
    for query in queries:
        likes = [(unit(query) @ unit(support) / temperature).exp() for support in supports]
        row = [sum(like * y[c] for like, y in zip(likes, onehot, strict=True)) for c in range(onehot.shape[1])]
        rows.append(torch.stack([value / sum(likes) for value in row]))
    return torch.stack(rows)


def loop_onehot(labels: Tensor, n_classes: int, smoothing: float = 0.1) -> Tensor:
    rows = [
        [smoothing / n_classes + (1 - smoothing) * (c == label) for c in range(n_classes)] for label in labels.tolist()
    ]
    return torch.tensor(rows, dtype=torch.float64)


def loop_sharpen(p: Tensor, temperature: float = 0.25) -> Tensor:
    powers = [[value ** (1 / temperature) for value in row] for row in p]
    return torch.stack([torch.stack([power / sum(row) for power in row]) for row in powers])


def loop_soft(p: Tensor, target: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row, wanted in zip(p, target, strict=True):
        for value, t in zip(row, wanted.tolist(), strict=True):
            total = total - t * value.log()
    return total / len(p)


def loop_agreement(p: Tensor, other: Tensor, temperature: float = 0.25) -> Tensor:
    target = loop_sharpen(other.detach(), temperature)
    return loop_soft(p, torch.tensor([[t if t >= 1e-4 else 0.0 for t in row] for row in target.tolist()]))


def loop_entropy(p: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for c in range(p.shape[1]):
        mean = sum(row[c] for row in p) / len(p)
        total = total - mean * mean.log()
    return total


# ---------------------------------------------------------------------- the functions, against loops and by hand


def check_snn(predict: Callable[..., Tensor]) -> None:
    for seed, (n, m, n_classes, dim) in enumerate([(1, 1, 1, 2), (4, 3, 2, 5), (3, 9, 4, 6), (6, 2, 5, 3)]):
        queries, supports = 3 * features(n, dim, seed), features(m, dim, seed + 50)
        onehot = loop_onehot(torch.arange(m).remainder(n_classes).sort().values, n_classes)
        found = predict(queries, supports, onehot, 0.2)
        torch.testing.assert_close(found, loop_snn(queries, supports, onehot, 0.2))
        torch.testing.assert_close(found.sum(dim=1), torch.ones(n, dtype=torch.float64))


def check_sharpen(sharper: Callable[..., Tensor]) -> None:
    p = features(5, 4).softmax(dim=1)
    for temperature in (0.25, 1.0, 0.5):
        torch.testing.assert_close(sharper(p, temperature), loop_sharpen(p, temperature))


def check_agreement(agree: Callable[..., Tensor]) -> None:
    p, other = ((4 * features(6, 4, seed)).softmax(dim=1).requires_grad_() for seed in (1, 2))
    value, expected = agree(p, other, 0.25), loop_agreement(p, other)
    torch.testing.assert_close(value, expected)
    found, wanted = torch.autograd.grad(value, (p, other), allow_unused=True), torch.autograd.grad(expected, p)
    torch.testing.assert_close(found[0], wanted[0])
    assert found[1] is None or not found[1].any()


def check_entropy(entropy: Callable[[Tensor], Tensor]) -> None:
    p = features(5, 4).softmax(dim=1)
    torch.testing.assert_close(entropy(p), loop_entropy(p))
    assert entropy(torch.eye(4)).item() == pytest.approx(math.log(4))  # each sure, and all classes come
    assert entropy(torch.eye(4)[:1].repeat(3, 1)).item() == 0


CHECKS = {
    "snn": (check_snn, snn_predict),
    "sharpen": (check_sharpen, sharpen),
    "agreement": (check_agreement, agreement),
    "entropy": (check_entropy, mean_entropy),
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_function_equals_the_loop(name):
    check, function = CHECKS[name]
    check(function)


def cosines(q: Tensor, s: Tensor) -> Tensor:
    return F.normalize(q) @ F.normalize(s).T


WRONG = {
    "not normalised": ("snn", lambda q, s, y, tau: (q @ s.T / tau).softmax(dim=1) @ y),
    "softmax over the queries": ("snn", lambda q, s, y, tau: (cosines(q, s) / tau).softmax(dim=0) @ y),
    "softmax after the product": ("snn", lambda q, s, y, tau: (cosines(q, s) / tau @ y).softmax(dim=1)),
    "divided by the class counts": (
        "snn",
        lambda q, s, y, tau: F.normalize((cosines(q, s) / tau).softmax(dim=1) @ (y / y.sum(dim=0)), p=1),
    ),
    "temperature as a factor": ("snn", lambda q, s, y, tau: (cosines(q, s) * tau).softmax(dim=1) @ y),
    "p to the T": ("sharpen", lambda p, t: p**t / (p**t).sum(dim=1, keepdim=True)),
    "not divided by the sum": ("sharpen", lambda p, t: p ** (1 / t)),
    "sum over the batch": ("sharpen", lambda p, t: p ** (1 / t) / (p ** (1 / t)).sum(dim=0, keepdim=True)),
    "gradient through targets": ("agreement", lambda p, o, t: -(sharpen(o, t) * p.log()).sum(dim=1).mean()),
    "own crop as target": ("agreement", lambda p, _, t: agreement(p, p, t)),
    "small targets kept": ("agreement", lambda p, o, t: soft_cross_entropy(p, sharpen(o, t))),
    "targets not sharpened": ("agreement", lambda p, o, _: soft_cross_entropy(p, o)),
    "the two exchanged": ("agreement", lambda p, o, t: soft_cross_entropy(o, sharpen(p, t))),
    "sum over the classes' mean": ("agreement", lambda p, o, t: agreement(p, o, t) / p.shape[1]),
    "sign of the entropy": ("entropy", lambda p: -mean_entropy(p)),
    "mean of the entropies": ("entropy", lambda p: -(p * p.clamp_min(1e-30).log()).sum(dim=1).mean()),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_told_from_the_right_one(name):
    of, wrong = WRONG[name]
    with pytest.raises(AssertionError):
        CHECKS[of][0](wrong)


def test_two_supports_at_cosine_one_and_nought():
    supports, onehot = torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.eye(2)
    p = snn_predict(torch.tensor([[3.0, 0.0]]), supports, onehot)
    assert p[0].tolist() == pytest.approx([0.99995, 0.00005], abs=5e-6)


def test_sharpened_by_hand():
    assert sharpen(torch.tensor([[0.8, 0.2]]))[0].tolist() == pytest.approx([0.99611, 0.00389], abs=5e-6)
    assert sharpen(torch.tensor([[0.8, 0.2]]), 1.0)[0].tolist() == pytest.approx([0.8, 0.2])
    assert sharpen(torch.tensor([[1.0, 0.0, 0.0]]))[0].tolist() == [1, 0, 0]


def test_where_all_features_are_equal_all_classes_are_equally_likely():
    z = torch.ones(6, 4)
    p = snn_predict(z, z, smoothed_onehot(torch.tensor([0, 1, 2, 0, 1, 2]), 3))
    torch.testing.assert_close(p, torch.full((6, 3), 1 / 3))
    assert -mean_entropy(sharpen(p)).item() == pytest.approx(-math.log(3))


def test_labels_smoothed_by_hand():
    found = smoothed_onehot(torch.tensor([1, 0]), 4, 0.2)
    assert found.tolist() == [pytest.approx(row) for row in ([0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05])]
    assert smoothed_onehot(torch.tensor([1]), 2, 0.0).tolist() == [[0, 1]]


def test_the_numbers_of_the_released_code():
    """Computed by src/losses.py of kangzhiq/NNCSL at 0d4dbf7 in float64, without small crops, on a single machine."""
    onehot = smoothed_onehot(torch.arange(6) % 3, 3)
    assert onehot[1].tolist() == pytest.approx([0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3])
    z = by_formula(8, 5, 0.7, 0.3).requires_grad_()
    supports = by_formula(6, 5, 1.3, 0.9).requires_grad_()
    p = snn_predict(z, supports, onehot)
    assert p[0].tolist() == pytest.approx([0.6187695296, 0.2775267178, 0.1037037600], rel=1e-6)
    assert sharpen(p)[0].tolist() == pytest.approx([0.9603784284, 0.0388638586, 0.0007577130], rel=1e-6)
    agree, spread = agreement(p, p.roll(4, dims=0)), -mean_entropy(sharpen(p))
    assert agree.item() == pytest.approx(2.4744831600, rel=1e-6)
    assert spread.item() == pytest.approx(-1.0868709802, rel=1e-6)
    of_z, of_supports = torch.autograd.grad(agree + spread, (z, supports), retain_graph=True)
    expected = [0.0199638439, -0.1788590806, -0.0439379251, -0.0021156374, 0.0851068674]
    assert of_z[0].tolist() == pytest.approx(expected, rel=1e-5)
    expected = [-0.0759716904, -0.0998894975, 0.0119774040, 0.0591770850, -0.0933084085]
    assert of_supports[0].tolist() == pytest.approx(expected, rel=1e-5)
    before = snn_predict(by_formula(8, 5, 0.5, 0.2), by_formula(6, 5, 1.1, 0.8), onehot)
    loss = soft_cross_entropy(p, before)
    assert loss.item() == pytest.approx(1.9533668560, rel=1e-6)
    expected = [0.0092675644, -0.1905430481, -0.0607701730, 0.0273103289, 0.0742778144]
    assert torch.autograd.grad(loss, z)[0][0].tolist() == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------- what makes no difference, and the edges


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 7), st.floats(1e-3, 1e3))
def test_lengths_of_features_and_the_order_of_the_supports_make_no_difference(seed, n, m, scale):
    queries, supports = features(n, 5, seed), features(m, 5, seed + 1)
    onehot = loop_onehot(torch.arange(m) % 3, 3)
    p = snn_predict(queries, supports, onehot)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(snn_predict(scale * queries, supports[order] / scale, onehot[order]), p)
    classes = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(snn_predict(queries, supports, onehot[:, classes]), p[:, classes])


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.01, 0.1, 1.0]))
def test_probabilities_stay_probabilities(seed, n, n_classes, temperature):
    p = (9 * features(n, n_classes, seed)).softmax(dim=1)
    sharp = sharpen(p, temperature)
    torch.testing.assert_close(sharp.sum(dim=1), torch.ones(n, dtype=torch.float64))
    assert (sharp >= 0).all()
    assert (sharp.amax(dim=1) >= p.amax(dim=1) - 1e-12).all()
    assert -1e-12 <= mean_entropy(p).item() <= math.log(n_classes) + 1e-12
    assert soft_cross_entropy(p, p).item() >= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_autocast_left(dtype):
    queries, supports, onehot = features(5, 6), features(4, 6, 1), loop_onehot(torch.tensor([0, 1, 0, 1]), 2)
    exact = loop_snn(queries.to(dtype).double(), supports.to(dtype).double(), onehot)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p = snn_predict(queries.to(dtype), supports.to(dtype), onehot.float())
        assert p.dtype == torch.float32
        torch.testing.assert_close(p.double(), exact, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sharpen(p).double(), loop_sharpen(exact), rtol=1e-4, atol=1e-6)
        assert mean_entropy(p).dtype == agreement(p, p).dtype == torch.float32


def test_classes_without_a_support_give_finite_losses_and_gradients():
    z = features(4, 3, dtype=torch.float32).requires_grad_()
    p = snn_predict(z, z.detach(), smoothed_onehot(torch.zeros(4, dtype=torch.int64), 3, 0.0))
    assert p[:, 1:].eq(0).all()
    loss = agreement(p, p.roll(2, dims=0)) - mean_entropy(sharpen(p)) + soft_cross_entropy(p, p)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_the_head_alone_learns():
    z, weight = features(4, 3).requires_grad_(), features(2, 3, 1).requires_grad_()
    labels = torch.tensor([0, 1, 1, 0])
    loss = csd.losses.cross_entropy(z @ weight.T, labels)
    (expected,) = torch.autograd.grad(loss, weight, retain_graph=True)
    alone = head_only(loss, z)
    assert alone.item() == pytest.approx(loss.item())
    of_z, of_weight = torch.autograd.grad(alone, (z, weight))
    torch.testing.assert_close(of_weight, expected)
    assert of_z.abs().max() < 1e-12


def test_old_and_new_alike_give_no_gradient_and_the_mean_entropy():
    z = features(6, 4).requires_grad_()
    p = snn_predict(z, z.detach(), loop_onehot(torch.arange(6) % 2, 2))
    loss = soft_cross_entropy(p, p)
    assert loss.item() == pytest.approx(-(p * p.log()).sum(dim=1).mean().item())
    loss.backward()
    assert z.grad.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: snn_predict(torch.ones(2, 3), torch.ones(2, 4), torch.eye(2)), r"queries \(2, 3\), supports \(2, 4\)"),
        (lambda: snn_predict(torch.ones(2, 3), torch.ones(2, 3), torch.eye(3)), "don't fit; expected"),
        (lambda: snn_predict(torch.ones(2, 3), torch.ones(0, 3), torch.ones(0, 2)), "at least one of each"),
        (lambda: snn_predict(torch.ones(3), torch.ones(2, 3), torch.eye(2)), "don't fit"),
        (
            lambda: snn_predict(torch.ones(2, 3), torch.ones(2, 3), torch.eye(2), 0),
            "temperature is 0; expected a number",
        ),
        (lambda: snn_predict([[1.0]], torch.ones(1, 1), torch.eye(1)), "queries is a list; expected a tensor"),
        (lambda: sharpen(torch.ones(3)), r"\(3,\).*expected the same \(B, C\)"),
        (lambda: sharpen(torch.ones(1, 3), -1.0), r"temperature is -1\.0"),
        (lambda: sharpen(torch.ones(1, 3), math.nan), "temperature is nan"),
        (lambda: sharpen(torch.ones(1, 3), True), "temperature is True"),
        (lambda: mean_entropy(torch.ones(0, 3)), "B > 0"),
        (lambda: agreement(torch.ones(2, 3), torch.ones(2, 2)), "expected the same"),
        (lambda: soft_cross_entropy(torch.ones(2, 3), torch.ones(1, 3)), "expected the same"),
        (lambda: smoothed_onehot(torch.tensor([0, 3]), 3), "labels go from 0 to 3; expected 0 to 2"),
        (lambda: smoothed_onehot(torch.tensor([-1, 0]), 3), "an image without a label can't vote"),
        (lambda: smoothed_onehot(torch.tensor([0.0]), 3), "expected integers"),
        (lambda: smoothed_onehot(torch.tensor([0]), 3, 1.0), r"smoothing is 1\.0; expected"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------------- one step, against loops


N_BATCH, N_UNLABELLED, DIM = 4, 3, 5
SETTING = Setting((2, 2), (4, 4), (1, 16, 16), DIM, torch.device("cpu"), 0, n_unlabelled=(6, 6))


class Seen:
    """A second task of two classes: what a network makes of the 14 images of a step is drawn, whatever they show."""

    def __init__(self, method: Any) -> None:
        n = 2 * N_BATCH + 2 * N_UNLABELLED
        self.features = features(n, DIM, 1, torch.float32).requires_grad_()
        self.weight = features(4, DIM, 2, torch.float32).requires_grad_()
        self.before = features(n, DIM, 3, torch.float32)
        self.asked: list[Tensor] = []
        method.begin(SETTING)
        images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 16, 16).contiguous()
        old = torch.tensor([0, 1, 1, 1])
        method.begin_task(0, images[:4], old, None)
        method.end_task(0, images[:4], old, None)
        method.begin_task(1, images[4:], old + 2, None)
        rows = method.memory.rows
        method.memory.draw = lambda n: SimpleNamespace(**{name: row[:n] for name, row in rows.items()})
        self.labels = torch.tensor([2, 3, 3, 2])
        self.old = rows["labels"]
        self.step = Step(
            images=images[4:] + 100,
            labels=self.labels,
            task=1,
            view=self.view,
            teacher_view=lambda x: View(self.before[: len(x)], torch.zeros(len(x), 2)),
            index=torch.arange(4),
            raw=images[4:],
            augment=lambda x: x + 50,
            unlabelled=images[:N_UNLABELLED] + 200,
        )

    def view(self, images: Tensor) -> View:
        self.asked.append(images)
        z = self.features[: len(images)]
        return View(z, z @ self.weight.T)


def loop_terms(seen: Seen, name: str, method: Any) -> dict[str, Tensor]:
    """Return the terms by the formulas, in float64."""
    z, weight, before = (x.double() for x in (seen.features, seen.weight, seen.before))
    labels = torch.cat([seen.labels, seen.old])
    m = len(labels)
    logits = (z[:m].detach() if name == "paws" else z[:m]) @ weight.T
    rows = zip(logits, labels.tolist(), strict=True)
    ce = sum(-row[label] + row.exp().sum().log() for row, label in rows) / m
    if name == "labels_only":
        return {"ce": ce, "triplet": csd.losses.batch_hard_triplet(z[:m], labels)}
    first, n_classes, voters = (0, 4, m) if name == "paws" else (2, 2, N_BATCH)
    onehot = loop_onehot(labels[:voters] - first, n_classes, method.smoothing)
    p = loop_snn(z[m:], z[:voters], onehot, method.temperature)
    other = torch.cat([p[N_UNLABELLED:], p[:N_UNLABELLED]])
    terms = {
        "agree": loop_agreement(p, other, method.sharpening),
        "spread": -loop_entropy(loop_sharpen(p, method.sharpening)),
        "ce": method.label_weight * ce,
    }
    if name != "paws":
        terms["triplet"] = method.label_weight * csd.losses.batch_hard_triplet(z[:m], labels)
    if name == "nncsl":
        onehot = loop_onehot(seen.old, 2, method.smoothing)
        new, old = (loop_snn(x[m:], x[N_BATCH:m], onehot, method.temperature) for x in (z, before))
        terms["neighbours"] = method.distillation * loop_soft(new, old.detach())
        if method.csd:
            contrast = csd.losses.csd(z[:m], before[:m], labels, temperature=method.csd_temperature)
            terms["csd"] = method.csd * contrast
    return terms


SETTINGS: dict[str, list[dict[str, float]]] = {
    "labels_only": [{}],
    "paws": [{}, {"label_weight": 2.0, "smoothing": 0.0}],
    "csl": [{}, {"label_weight": 1.0, "sharpening": 0.5}],
    "nncsl": [{}, {"label_weight": 1.0, "distillation": 1.0, "temperature": 0.3, "csd": 0.7, "csd_temperature": 0.2}],
}


def check_step(name: str, make: Callable[..., Any]) -> None:
    for settings in SETTINGS[name]:
        method = make(**settings)
        seen = Seen(method)
        terms, expected = method(seen.step), loop_terms(seen, name, method)
        wanted = {key: term.item() for key, term in expected.items()}
        assert {key: term.item() for key, term in terms.items()} == pytest.approx(wanted, rel=1e-5)
        leaves = (seen.features, seen.weight)
        found, gradients = (torch.autograd.grad(sum(of.values()), leaves) for of in (terms, expected))
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_equals_the_loops_value_and_gradient(name):
    check_step(name, FAMILY[name])


@pytest.mark.parametrize("name", FAMILY)
def test_one_look_at_the_labelled_images_and_at_two_crops_of_the_others(name):
    method = FAMILY[name]()
    seen, shifts = Seen(method), iter((50, 100, 20))
    method(replace(seen.step, augment=lambda x: x + next(shifts)))
    assert len(seen.asked) == 1
    shown = seen.asked[0][:, 0, 0, 0].tolist()
    kept = method.memory.rows["images"][:, 0, 0, 0]
    assert shown[:8] == seen.step.images[:, 0, 0, 0].tolist() + (kept + 50).tolist()
    assert shown[8:] == ([] if name == "labels_only" else [44, 45, 46, 220, 221, 222])  # 200 + 100 − 256


MISTAKES: dict[str, dict[str, Any]] = {
    "own crop as target": {"agreement": lambda p, _, t: agreement(p, p, t)},
    "sign of the entropy": {"mean_entropy": lambda p: -mean_entropy(p)},
    "gradient through targets": {"agreement": lambda p, o, t: -(sharpen(o, t) * p.log()).sum(dim=1).mean()},
    "p to the T": {"sharpen": lambda p, t: sharpen(p, 1 / t)},
    "labels not smoothed": {"smoothed_onehot": lambda labels, n, _: smoothed_onehot(labels, n, 0.0)},
    "features not normalised": {"snn_predict": lambda q, s, y, t: (q @ s.T / t).softmax(dim=1) @ y},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_method_is_seen(monkeypatch, name):
    for attribute, wrong in MISTAKES[name].items():
        monkeypatch.setitem(PAWS.__call__.__globals__, attribute, wrong)
    with pytest.raises(AssertionError):
        check_step("csl", CSL)


class AllVote(NNCSL):
    def voters(self, labels: Tensor) -> tuple[Tensor, range]:
        return PAWS.voters(self, labels)


class NewNeighbours(NNCSL):
    def old_neighbours(self, features: Tensor, labels: Tensor) -> Tensor:
        m = len(labels)
        new = labels >= self.n_old
        onehot = smoothed_onehot(labels[new] - self.n_old, 2, self.smoothing)
        return snn_predict(features[m:], features[:m][new], onehot, self.temperature)


class Sharpened(NNCSL):
    def old_neighbours(self, features: Tensor, labels: Tensor) -> Tensor:
        return sharpen(super().old_neighbours(features, labels), self.sharpening)


class HeadApart(NNCSL):
    def from_labels(self, view: View, labels: Tensor) -> dict[str, Tensor]:
        return PAWS.from_labels(self, view, labels)


@pytest.mark.parametrize("wrong", [AllVote, NewNeighbours, Sharpened, HeadApart])
def test_another_method_is_told_from_nncsl(wrong):
    with pytest.raises(AssertionError):
        check_step("nncsl", wrong)


def test_where_old_and_new_network_are_the_same_distillation_is_at_rest():
    method = NNCSL(label_weight=0, distillation=1.0)
    seen = Seen(method)
    seen.before = seen.features.detach().clone()
    term = method(seen.step)["neighbours"]
    (gradient,) = torch.autograd.grad(term, seen.features)
    assert gradient.abs().max() < 1e-6
    onehot = loop_onehot(seen.old, 2)
    p = loop_snn(seen.before[8:].double(), seen.before[4:8].double(), onehot)
    assert term.item() == pytest.approx(loop_soft(p, p).item(), rel=1e-5)


def test_in_the_first_task_there_is_nothing_to_distil():
    method = NNCSL(csd=1.0)
    seen = Seen(method)
    step = replace(seen.step, teacher_view=None, task=0, labels=torch.tensor([0, 1, 1, 0]))
    method.begin(SETTING)
    method.begin_task(0, step.images, step.labels, None)
    assert set(method(step)) == {"agree", "spread", "ce", "triplet"}
    assert len(method.memory) == 0


def test_csl_with_weight_one_is_its_control_and_two_terms_more():
    control, method = LabelsOnly(), CSL(label_weight=1.0)
    terms = control(Seen(control).step)
    more = method(Seen(method).step)
    assert {name: more[name].item() for name in terms} == {name: pytest.approx(v.item()) for name, v in terms.items()}
    assert set(more) - set(terms) == {"agree", "spread"}


# ---------------------------------------------------------------------- the memory


def test_the_memory_holds_labelled_images_once_and_evenly():
    stream = csd.split(striped(train=12), n_tasks=3, labelled=3)
    method = LabelsOnly(size=8)
    method.begin(Setting((2, 2, 2), (6, 6, 6), (3, 16, 16), 64, torch.device("cpu"), 0))
    known = []
    for task, expected in enumerate([[3, 3], [2, 2, 2, 2], [2, 2, 1, 1, 1, 1]]):
        images, labels = stream.train(task).labelled()
        known += list(map(bytes, images.numpy()))
        method.begin_task(task, images, labels, None)
        assert (method.n_old, method.n_seen) == (2 * task, 2 * task + 2)
        method.end_task(task, images, labels, None)
        held = list(map(bytes, method.memory.rows["images"].numpy()))
        assert len(set(held)) == len(held)
        assert set(held) <= set(known)
        assert sorted(method.memory.rows["labels"].bincount().tolist(), reverse=True) == expected


@pytest.mark.parametrize(("n_batch", "n_drawn"), [(2, 4), (4, 8), (1, 2), (10, 12)])
def test_a_step_has_as_many_of_an_old_class_as_of_a_new_one_as_far_as_there_are(n_batch, n_drawn):
    method = LabelsOnly(size=12)
    method.begin(Setting((4, 2), (12, 6), (1, 16, 16), 5, torch.device("cpu"), 0))
    images = torch.zeros(12, 1, 16, 16, dtype=torch.uint8)
    method.begin_task(0, images, torch.arange(12) % 4, None)
    method.end_task(0, images, torch.arange(12) % 4, None)
    method.begin_task(1, images[:6], torch.arange(6) % 2 + 4, None)
    step = SimpleNamespace(images=images[:n_batch], labels=torch.full((n_batch,), 4), augment=lambda x: x)
    _, labels = method.labelled(step)
    assert len(labels) == n_batch + n_drawn
    assert labels[:n_batch].tolist() == [4] * n_batch


# ---------------------------------------------------------------------- whole runs


def few(**how: Any) -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, **{"seed": 0, "labelled": 2, **how})


@pytest.mark.parametrize("name", SEMI)
def test_without_images_that_have_no_label_it_is_refused_before_any_work(tmp_path, name):
    message = (
        "learns from images without a label, and task 0 has none; expected csd.split.*labelled=0.1.*--labelled 0.1"
    )
    for stream in (few(labelled=None), few(labelled=16)):
        with pytest.raises(ValueError, match=message):
            csd.train(stream, FAMILY[name](), TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    csd.train(few(labelled=None), LabelsOnly(), TINY, out=tmp_path / "r", progress=False)


@pytest.mark.parametrize("name", SEMI)
@pytest.mark.parametrize("counts", [(0, 6), (6, 0)])
def test_also_if_a_single_task_has_none(name, counts):
    with pytest.raises(ValueError, match=f"task {counts.index(0)} has none"):
        FAMILY[name]().begin(replace(SETTING, n_unlabelled=counts))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (PAWS(size=0), "size is 0; expected a whole number of at least 1"),
        (LabelsOnly(size="5"), "size is '5'; expected a whole number"),
        (LabelsOnly(size=2.5), r"size is 2\.5; expected a whole number"),
        (PAWS(label_weight=-1), "label_weight is -1; expected a weight of at least 0"),
        (PAWS(label_weight=math.nan), "label_weight is nan"),
        (PAWS(label_weight="1"), "label_weight is '1'"),
        (CSL(temperature=0), "temperature is 0; expected a number above 0"),
        (CSL(sharpening=-0.25), r"sharpening is -0\.25; expected a number above 0"),
        (CSL(smoothing=1), "smoothing is 1; expected a number from 0 to below 1"),
        (NNCSL(distillation=-0.2), r"distillation is -0\.2; expected a weight of at least 0"),
        (NNCSL(csd=-1.0), r"csd is -1\.0; expected a weight of at least 0"),
        (NNCSL(csd_temperature=0.0), r"csd_temperature is 0\.0; expected a number above 0"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(tmp_path, method, message):
    with pytest.raises(ValueError, match=message):
        csd.train(few(), method, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_a_teacher_from_outside_is_refused(tmp_path):
    teacher = csd.train(few(), csd.methods.finetune, TINY, out=tmp_path / "t", progress=False)
    with pytest.raises(ValueError, match="NNCSL distils from the network of the task before, and takes no teacher="):
        csd.train(few(), NNCSL(), TINY, out=tmp_path / "r", teacher=teacher, progress=False)


@pytest.mark.parametrize("name", FAMILY)
def test_stopped_after_every_record_it_ends_with_the_same_bits(tmp_path, name):
    config = TINY.replace(epochs=2, later_epochs=2)
    settings = {"csd": 0.5} if name == "nncsl" else {}
    go_on(FAMILY[name](**settings), tmp_path / "whole", 1000, few(), config)
    n = 0
    while go_on(FAMILY[name](**settings), tmp_path / "r", 1, few(), config) == 1:
        n += 1
    assert n == 3 * (2 + 1)
    assert_equal(tmp_path / "whole", tmp_path / "r")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, csd.Run]:
    folder = tmp_path_factory.mktemp("few")
    return {name: csd.train(few(), make(), TINY, out=folder / name, progress=False) for name, make in FAMILY.items()}


def test_what_is_carried_over_is_counted_to_the_byte(runs):
    memory = 12 * (3 * 16 * 16 + 8)  # two of six classes each: the 500 of the setting are never reached
    network = csd.models.build("resnet8", 3, n_classes=4)
    teacher = sum(value.nbytes for value in network.state_dict().values())
    for name, run in runs.items():
        assert run.kept_bytes == {"memory": memory, **({"teacher": teacher} if name == "nncsl" else {})}
        assert run.kept()["memory"]["rows"]["labels"].bincount().tolist() == [2] * 6


def test_the_terms_in_the_records(runs):
    def of(name: str, task: int) -> list[str]:
        return list(next(r for r in runs[name].records if r["kind"] == "epoch" and r["task"] == task)["losses"])

    assert of("labels_only", 1) == ["ce", "triplet"]
    assert of("paws", 1) == ["agree", "spread", "ce"]
    assert of("csl", 1) == of("nncsl", 0) == ["agree", "spread", "ce", "triplet"]
    assert of("nncsl", 1) == ["agree", "spread", "ce", "triplet", "neighbours"]


def with_hidden_labels_permuted(stream: csd.Stream) -> csd.Stream:
    """Return the stream with other labels for all images that show none, in each task among themselves."""
    data, labels = stream.dataset, stream.dataset.y_train.clone()
    for task in stream.tasks:
        rows = torch.nonzero(torch.isin(labels, torch.tensor(task)) & ~stream._has_label).squeeze(1)
        labels[rows] = labels[rows.flip(0).roll(1)]
    assert not torch.equal(labels, data.y_train)
    other = replace(stream, dataset=replace(data, y_train=labels))
    other.__dict__["_has_label"] = stream._has_label  # the same images show their label
    return other


@pytest.mark.parametrize("name", FAMILY)
def test_hidden_labels_are_never_used(runs, tmp_path, name):
    stream = few()
    other = with_hidden_labels_permuted(stream)
    for task in range(3):
        assert all(torch.equal(a, b) for a, b in zip(stream.train(task), other.train(task), strict=True))
    run = csd.train(other, FAMILY[name](), TINY, out=tmp_path / "r", progress=False)
    for task in range(3):
        one, two = (r.network(task).state_dict() for r in (run, runs[name]))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_images_without_a_label_are_left_aside_by_the_control_and_used_by_the_others(runs, tmp_path):
    data = few().dataset
    noise = torch.randint(256, data.x_train.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    later = torch.isin(data.y_train, torch.tensor(few().tasks[0]))  # the first task's give the pixel statistics
    x_train = torch.where((few()._has_label | later)[:, None, None, None], data.x_train, noise)
    stream = replace(few(), dataset=replace(data, x_train=x_train))
    for name in FAMILY:
        run = csd.train(stream, FAMILY[name](), TINY, out=tmp_path / name, progress=False)
        assert torch.equal(run.features(0), runs[name].features(0))
        assert torch.equal(run.features(2), runs[name].features(2)) == (name == "labels_only")


def test_under_a_callers_no_grad_and_float64_it_is_the_same_run(runs, tmp_path):
    stream = few()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            run = csd.train(stream, NNCSL(), TINY, out=tmp_path / "r", progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(run.features(2), runs["nncsl"].features(2))


@pytest.mark.slow
def test_images_without_a_label_teach_where_three_have_one(tmp_path):
    """Two tasks of two digits, three labels each: by weight 1 the features search well, in all of the family."""
    digits = csd.load("digits")
    keep = [torch.isin(y, torch.tensor([0, 1, 2, 3])) for y in (digits.y_train, digits.y_test)]
    data = csd.Dataset(
        "four digits",
        digits.x_train[keep[0]],
        digits.y_train[keep[0]],
        digits.x_test[keep[1]],
        digits.y_test[keep[1]],
        digits.classes[:4],
    )
    stream = csd.split(data, n_tasks=2, labelled=3, seed=0)
    config = csd.preset("digits").config.replace(device="cpu", epochs=10, later_epochs=10)
    ends = {
        name: csd.train(stream, method, config, out=tmp_path / name, progress=False).metrics["summary"]
        for name, method in {"csl": CSL(label_weight=1.0), "nncsl": NNCSL(label_weight=1.0, distillation=1.0)}.items()
    }
    assert all(end["recall_at_1"] > 0.9 for end in ends.values()), ends
    assert all(end["head_accuracy"] > 0.7 for end in ends.values()), ends


# ---------------------------------------------------------------------- the experiment


def test_frozen_batch_norm_stays_as_it_is_where_a_network_trains_and_in_its_copies():
    network = csd.models.build("resnet8", 3, n_classes=2)
    images = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
    network.train()
    network(images)
    few_labels.freeze_norms(network)
    for one in (network, copy.deepcopy(network)):
        before = {name: value.clone() for name, value in one.state_dict().items()}
        one.train()
        in_training = one(images)[0]
        assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
        one.eval()
        assert torch.equal(one(images)[0], in_training)
        assert one.training is False


def test_the_experiment_without_a_run_folder_learns_the_same(runs):
    seen = []
    found = few_labels.learnt(few(), NNCSL(), TINY, seen.append)
    assert len(seen) == 1
    assert found == pytest.approx(few_labels.figures(runs["nncsl"], few()), abs=1e-12)
    frozen = few_labels.learnt(few(), NNCSL(), TINY, few_labels.freeze_norms)
    assert frozen.keys() == found.keys()
    assert frozen != found


@pytest.mark.parametrize(
    ("name", "terms"), [("labels", ["ce"]), ("csl", ["agree", "spread", "ce"]), ("nncsl", ["agree", "spread", "ce"])]
)
def test_a_control_without_the_triplet_loss_has_all_other_terms(name, terms):
    network, method = csd.models.build("resnet8", 3, n_classes=0), few_labels.Try(name, triplet=False).method
    record = next(csd.learn(network, few(), 0, method, TINY))
    assert list(record["losses"]) == terms
    assert few_labels.Try(name).method == FAMILY[{"labels": "labels_only"}.get(name, name)]()


def test_controls_are_measured_once_and_stand_beside_the_others_if_they_have_all_seeds(tmp_path, monkeypatch):
    chosen = ("labels, no triplet", "nncsl 1, frozen norms", "nncsl 1, with csd")
    monkeypatch.setattr(few_labels, "CONTROLS", {name: few_labels.CONTROLS[name] for name in chosen})
    data, found = striped(n_classes=10, train=8), few_labels.Found(tmp_path / "few.json")
    config = TINY.replace(epochs=1, later_epochs=1, batch_size=48)
    few_labels.controls(found, data, [0], 3, config)
    assert list(found.get("digits", 3)) == list(chosen)
    monkeypatch.setattr(few_labels, "learnt", None)  # would fail
    few_labels.controls(found, data, [0], 3, config)
    assert few_labels.results_of(found, [3]) is None
    for seed in (0, 1):
        found.put(dict.fromkeys(few_labels.MEASURES, 0.5), "digits", 3, "labels", seed)
    assert list(few_labels.results_of(found, [3]).values) == ["labels, 3 labels"]
    for name in chosen[:2]:
        found.put(dict.fromkeys(few_labels.MEASURES, 0.4), "digits", 3, name, 1)
    ends = few_labels.results_of(found, [3])
    assert list(ends.values) == ["labels, 3 labels", "labels, no triplet, 3 labels", "nncsl 1, frozen norms, 3 labels"]
    assert ends.of("labels, no triplet, 3 labels", "R@1")[1] == 0.4
    assert "| labels, no triplet, 3 labels − labels, 3 labels |" in few_labels.table(ends, [3])


def test_the_nearest_labelled_image_by_hand(runs):
    run, stream = runs["csl"], few()
    known, labels = stream.train(0, 1, 2).labelled()
    network = run.network(2).eval()
    with torch.no_grad():
        gallery, queries = network(known)[0].double(), network(stream.test().images)[0].double()
    right = 0
    for query, label in zip(queries, stream.test().labels.tolist(), strict=True):
        likes = [float(unit(query) @ unit(row)) for row in gallery]
        right += labels[likes.index(max(likes))].item() == label
    found = few_labels.nearest_accuracy(lambda x: embed(network, x)[0], stream, run.features(2), stream.test().labels)
    assert found == pytest.approx(right / len(queries))


@pytest.mark.slow
def test_what_was_taught_nothing_stands_beside_the_methods():
    there = results.read("few_labels")
    anew = few_labels.beside_untaught(there, csd.load("digits"), [1, 3, 10])
    assert list(anew.values) == list(there.values)
    recall, nearest = few_labels.MEASURES["recall"], few_labels.MEASURES["neighbour"]
    floor = results.read("neighbours")
    for n in (1, 3, 10):
        for name, near in ((PIXELS, 1e-9), (UNTRAINED, 0.01)):  # another machine's rounding, within a network
            row = few_labels.in_words(name, n)
            assert anew.of(row, recall) == pytest.approx(there.of(row, recall), abs=near)
            assert anew.of(row, nearest) == pytest.approx(there.of(row, nearest), abs=near)
            assert there.of(row, recall) == floor.of(name, "recall_at_1")  # whatever the labels
    stream = csd.split(csd.load("digits"), n_tasks=5, seed=0, labelled=1)
    known, labels = stream.train(*range(5)).labelled()
    images, truth = stream.test()
    flat, queries = known.flatten(1).double(), images.flatten(1).double()
    cosines = (queries @ flat.T) / queries.norm(dim=1)[:, None] / flat.norm(dim=1)
    share = float((labels[cosines.argmax(dim=1)] == truth).double().mean())
    assert anew.of(few_labels.in_words(PIXELS, 1), nearest)[0] == pytest.approx(share)


def test_the_tables_of_figures_that_are_there(tmp_path):
    found = few_labels.Found(tmp_path / "few.json")
    assert few_labels.results_of(found, [3]) is None
    for name, head in {"labels": 0.5, "csl": 0.6}.items():
        for seed, more in enumerate((0.0, 0.1)):
            found.put({"head": head + more, "neighbour": 0.5, "recall": 0.5 + more / 10}, "digits", 3, name, seed)
    found.put({"head": 0.9, "neighbour": 0.9, "recall": 0.9}, "digits", 3, "csl", 2)  # the other has none
    ends = few_labels.results_of(few_labels.Found(tmp_path / "few.json"), [1, 3])
    assert ends is not None
    table = few_labels.table(ends, [1, 3])
    assert "seeds 0, 1." in table
    assert "| labels, 3 labels | 0.550 ± 0.635 | 0.500 ± 0.000 | 0.505 ± 0.064 |" in table
    assert "| csl, 3 labels − labels, 3 labels | +0.100 ± 0.000 | above 0 | +0.000 ± 0.000 | not told apart |" in table


def in_this_process(jobs: dict[str, Job], **_: Any) -> dict[str, csd.Run]:
    """Do what `sweep` does, without its processes."""
    ends = {}
    for name, job in jobs.items():
        ends[name] = csd.train(job.stream, job.method, job.config, out=job.out, progress=False)
    return ends


@pytest.mark.slow
def test_the_experiment_goes_on_where_it_stopped_and_takes_the_best_of_each_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(few_labels, "CONFIG", TINY.replace(epochs=1, later_epochs=1, batch_size=48))
    monkeypatch.setattr(few_labels, "TUNING_SEEDS", (101,))
    monkeypatch.setattr(few_labels, "sweep", in_this_process)
    grids = {name: [grid[0], grid[-1]] for name, grid in few_labels.GRIDS.items()}
    monkeypatch.setattr(few_labels, "GRIDS", grids)
    data, found = striped(n_classes=10, train=12), few_labels.Found(tmp_path / "few.json")
    best = few_labels.tuned(found, data, tmp_path / "runs", 1)
    for name, tried in found.get("tuning").items():
        assert [one["lr"] for one in tried] == [one.lr for one in grids[name]]
        scores = [one["scores"] for one in tried]
        assert best[name] == grids[name][scores.index(max(scores))]
    again = few_labels.Found(tmp_path / "few.json")
    assert few_labels.tuned(again, data, tmp_path / "elsewhere", 1) == best
    assert not (tmp_path / "elsewhere").exists()
    tries = {"labels": few_labels.TRIES["labels"], "nncsl tuned": best["nncsl"]}
    few_labels.train(found, data, tries, 3, 0, tmp_path / "runs", 1)
    assert set(found.get("digits", 3)) == {"labels", "nncsl tuned"}
    assert set(found.get("digits", 3, "labels", 0)) == set(few_labels.MEASURES)


@pytest.mark.slow
def test_what_a_gpu_does_tiny_on_a_cpu(tmp_path, capsys):
    data, config = striped(n_classes=20, train=6), few_labels.gpu_config(1).replace(network="resnet8", device="cpu")
    found = few_labels.Found(tmp_path / "few.json")
    few_labels.on_gpu(found, data, tmp_path, 0, config, 0.25)
    assert "Time is up: labels has learnt 0 of 10 tasks. The same call goes on." in capsys.readouterr().out
    assert found.get("cifar100") == {}
    few_labels.on_gpu(found, data, tmp_path, 9, config, 0.25)
    assert set(found.get("cifar100", "0.25", 1)) == set(few_labels.GPU_TRIES)
    assert "Published for NNCSL: 0.353" in capsys.readouterr().out
