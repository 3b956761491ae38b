"""Each method of the kit against a few lines written independently, its card, and what it carries over."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import csd_edu as csd
from csd_edu.methods import NAMED, Card, Setting, Step, View, card_of
from tests.conftest import TINY, striped

SETTING = Setting((2, 2), (32, 32), (3, 16, 16), 64, torch.device("cpu"), seed=0)


def network(n_classes: int, seed: int = 0) -> csd.models.Network:
    return csd.models.build("resnet8", 3, n_classes=n_classes, seed=seed).eval()


def step_of(
    student: csd.models.Network, teacher: csd.models.Network | None, *, task: int = 0, seed: int = 0, n: int = 12
) -> Step:
    """Return a batch of noise in which the networks are asked in evaluation mode, so that each image is for itself."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % 2 + 2 * task

    def view(of: csd.models.Network, grad: bool) -> Callable[..., View]:
        def look(x: Tensor, *names: str) -> View:
            with torch.set_grad_enabled(grad):
                features, shown = of.look(x, *names)
                return View(features, of.head(features), shown)

        return look

    return Step(
        images=images,
        labels=labels,
        task=task,
        view=view(student, True),
        teacher_view=None if teacher is None else view(teacher, False),
        index=torch.arange(n),
        raw=images.flip(-1),
        augment=lambda x: x.roll(1, dims=-1),
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    rows = [
        -math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    return sum(rows) / len(rows)


def unit(x: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in x))
    return [value / length for value in x]


def triplet(features: Tensor, labels: Tensor) -> float:
    return float(csd.losses.batch_hard_triplet(features.detach(), labels))  # test_losses has its own plain loops


def kl(teacher: list[float], student: list[float], temperature: float) -> float:
    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    return sum(p * math.log(p / q) for p, q in zip(softmax(teacher), softmax(student), strict=True))


def begun(method: Any, setting: Setting = SETTING) -> Any:
    method.begin(setting)
    return method


def assert_terms(terms: Any, expected: dict[str, float]) -> None:
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=2e-4, abs=1e-6)


# ---------------------------------------------------------------------- the terms


@pytest.mark.parametrize("method", [csd.methods.finetune, csd.methods.joint], ids=["finetune", "joint"])
def test_fine_tuning_and_joint(method):
    step = step_of(network(2), network(2, seed=1))
    features, logits = network(2)(step.images)
    expected = {"ce": cross_entropy(logits, step.labels), "triplet": triplet(features, step.labels)}
    assert_terms(method(step), expected)


def test_lwf_and_csd():
    step = step_of(network(4), network(2, seed=1), task=1)
    (features, logits), (old_features, old_logits) = network(4)(step.images), network(2, seed=1)(step.images)
    answers = [kl(t, s[:2], 2.0) for t, s in zip(old_logits.tolist(), logits.tolist(), strict=True)]
    expected = {
        "ce": cross_entropy(logits, step.labels),
        "triplet": triplet(features, step.labels),
        "kd": sum(answers) / len(answers),
    }
    assert_terms(csd.methods.lwf(step), expected)
    students = [unit(row) for row in features.tolist()]
    both = students + [unit(row) for row in old_features.tolist()]
    labels = step.labels.tolist() * 2
    anchors = []
    for i, student in enumerate(students):
        similarity = [sum(a * b for a, b in zip(student, other, strict=True)) / 0.07 for other in both]
        others = [j for j in range(len(both)) if j != i]
        log_sum = math.log(sum(math.exp(similarity[j]) for j in others))
        positives = [j for j in others if labels[j] == labels[i]]
        anchors.append(sum(log_sum - similarity[j] for j in positives) / len(positives))
    assert_terms(csd.methods.csd(step), {**expected, "csd": sum(anchors) / len(anchors)})
    assert_terms(csd.methods.csd(step, weight=0.5), {**expected, "csd": sum(anchors) / len(anchors) / 2})
    assert set(csd.methods.csd(step_of(network(2), None))) == {"ce", "triplet"}


def test_feature_distillation():
    step = step_of(network(4), network(2, seed=1), task=1)
    pairs = list(zip(step.features.tolist(), step.teacher.features.tolist(), strict=True))
    cosine = [1 - sum(a * b for a, b in zip(unit(s), unit(t), strict=True)) for s, t in pairs]
    squared = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) for s, t in pairs]
    terms = csd.methods.feature_distillation(step)
    assert terms["feature"].item() == pytest.approx(10 * sum(cosine) / 12, rel=1e-4)
    terms = csd.methods.feature_distillation(step, weight=2.0, kind="l2")
    assert terms["feature"].item() == pytest.approx(2 * sum(squared) / 12, rel=1e-4)
    assert "feature" not in csd.methods.feature_distillation(step_of(network(2), None))


def test_mmd():
    step = step_of(network(4), network(2, seed=1), task=1)
    s, t = step.features.tolist(), step.teacher.features.tolist()

    def distance(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    sigma = sum(distance(a, b) for a in s + t for b in s + t) / (24 * 23)

    def kernel(a: list[float], b: list[float]) -> float:
        return sum(math.exp(-distance(a, b) / (m * sigma)) for m in (0.25, 0.5, 1, 2, 4))

    loss = sum(kernel(a, b) for a in s for b in s) + sum(kernel(a, b) for a in t for b in t)
    loss -= 2 * sum(kernel(a, b) for a in s for b in t)
    terms = csd.methods.mmd(step, weight=3.0)
    assert terms["mmd"].item() == pytest.approx(3 * loss / 144, rel=1e-3)
    assert set(terms) == {"ce", "triplet", "kd", "mmd"}


def test_kd_against_torchs_formula():
    method = begun(csd.methods.KD(weight=0.7, temperature=3.0), Setting(**{**vars(SETTING), "has_teacher": True}))
    step = step_of(network(2), network(2, seed=1))
    log_student = F.log_softmax(step.logits / 3, dim=1)
    divergence = F.kl_div(log_student, F.softmax(step.teacher.logits / 3, dim=1), reduction="batchmean")
    terms = method(step)
    expected = {"ce": 0.3 * cross_entropy(step.logits, step.labels), "kd": 0.7 * 9 * divergence.item()}
    assert_terms(terms, expected)
    (gradient,) = torch.autograd.grad(terms["kd"], step.logits, retain_graph=True)
    softer = (F.softmax(step.logits / 3, dim=1) - F.softmax(step.teacher.logits / 3, dim=1)) / 3
    torch.testing.assert_close(gradient, 0.7 * 9 * softer / 12, rtol=1e-3, atol=1e-6)


def test_kd_without_a_teacher_is_refused_before_any_file_is_written(tmp_path):
    stream = csd.split(striped(), n_tasks=1)
    with pytest.raises(ValueError, match=r"kd has no teacher; expected csd\.train\(.*teacher=run\)"):
        csd.train(stream, csd.methods.kd, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


# ---------------------------------------------------------------------- with a memory


class ListMemory:
    """A memory that fits all rows, as a plain list."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, **batch: Tensor) -> None:
        self.rows += [{name: rows[i] for name, rows in batch.items()} for i in range(len(batch["labels"]))]

    def draw(self, n: int) -> list[dict[str, Any]]:
        return [self.rows[i] for i in torch.randperm(len(self.rows))[:n].tolist()]


def augmented(rows: list[dict[str, Any]]) -> Tensor:
    return torch.stack([row["images"] for row in rows]).roll(1, dims=-1)


def test_er_learns_the_batch_together_with_as_many_of_its_memory():
    method, memory, student = begun(csd.methods.ER(size=100)), ListMemory(), network(2)
    for seed in range(3):
        step = step_of(student, None, seed=seed)
        torch.manual_seed(seed)
        terms = method(step)
        torch.manual_seed(seed)
        images, labels = step.images, step.labels
        if memory.rows:
            old = memory.draw(12)
            images = torch.cat([images, augmented(old)])
            labels = torch.cat([labels, torch.stack([row["labels"] for row in old])])
        memory.add(images=step.raw, labels=step.labels)
        features, logits = student(images)
        assert_terms(terms, {"ce": cross_entropy(logits, labels), "triplet": triplet(features, labels)})
    assert torch.equal(method.memory.rows["images"], torch.stack([row["images"] for row in memory.rows]))


@pytest.mark.parametrize("name", ["der", "derpp"])
def test_der_and_derpp_hold_on_to_answers_while_the_head_grows(name):
    method = begun(csd.methods.DER(100, alpha=0.4) if name == "der" else csd.methods.DERPP(100, alpha=0.4, beta=0.6))
    memory = ListMemory()
    for seed, n_classes in enumerate((2, 2, 4, 4)):
        student = network(n_classes, seed=seed)
        step = step_of(student, None, seed=seed, task=(n_classes - 2) // 2)
        torch.manual_seed(seed)
        terms = method(step)
        torch.manual_seed(seed)
        features, logits = student(step.images)
        expected = {"ce": cross_entropy(logits, step.labels), "triplet": triplet(features, step.labels)}
        if memory.rows:
            old = memory.draw(12)
            now = student(augmented(old))[1].tolist()
            gaps = [
                (now[i][k] - stored) ** 2
                for i, row in enumerate(old)
                for k, stored in enumerate(row["logits"].tolist())
            ]
            expected["der"] = 0.4 * sum(gaps) / len(gaps)
            if name == "derpp":
                old = memory.draw(12)
                labels = torch.stack([row["labels"] for row in old])
                expected["old ce"] = 0.6 * cross_entropy(student(augmented(old))[1], labels)
        assert_terms(terms, expected)
        memory.add(images=step.raw, labels=step.labels, logits=logits.detach())
    stored = method.memory.rows["logits"]
    assert stored.shape == (48, 4)
    assert stored[:24, 2:].isnan().all()
    assert not stored[24:].isnan().any()


def test_ders_gradient_pulls_the_logits_to_those_stored():
    method, student = begun(csd.methods.DER(100, alpha=0.5)), network(2)
    method(step_of(student, None))
    step, seen = step_of(student, None, seed=1), {}
    looked = step.view

    def view(images: Tensor) -> View:
        seen["view"] = looked(images)
        seen["view"].logits.retain_grad()
        return seen["view"]

    step.view = view
    step.student  # noqa: B018 (asked now, so that the last view is that of the memory)
    method.memory.draw = lambda n: SimpleNamespace(**{k: v[:n] for k, v in method.memory.rows.items()})
    terms = method(step)
    terms["der"].backward()
    logits = seen["view"].logits
    expected = 0.5 * 2 * (logits.detach() - method.memory.rows["logits"][:12]) / 24
    torch.testing.assert_close(logits.grad, expected)


def test_csd_with_an_empty_memory_is_csd_and_then_contrasts_old_images_too():
    method = begun(csd.methods.CSDMemory(size=100))
    student, teacher = network(4), network(2, seed=1)
    step = step_of(student, teacher, task=1)
    plain, terms = csd.methods.csd(step), method(step)
    assert terms.keys() == plain.keys()
    assert all(torch.equal(terms[name], plain[name]) for name in plain)
    step = step_of(student, teacher, task=1, seed=1)
    torch.manual_seed(0)
    terms = method(step)
    torch.manual_seed(0)
    old = torch.randperm(12)
    first = step_of(student, teacher, task=1)
    together = step_of(student, teacher, task=1)
    together.images = torch.cat([step.images, first.raw[old].roll(1, dims=-1)])
    together.labels = torch.cat([step.labels, first.labels[old]])
    expected = csd.methods.csd(together)
    assert_terms(terms, {name: term.item() for name, term in expected.items()})


def test_the_first_step_of_er_is_that_of_fine_tuning_bit_by_bit(tmp_path):
    stream = csd.split(striped(), n_tasks=2)
    config = TINY.replace(epochs=1, later_epochs=1, batch_size=100)
    runs = [
        csd.train(stream, method, config, out=tmp_path / name, progress=False)
        for name, method in (("er", csd.methods.ER(size=20)), ("finetune", csd.methods.finetune))
    ]
    assert torch.equal(runs[0].features(0), runs[1].features(0))
    assert runs[0].records[0]["losses"] == runs[1].records[0]["losses"]
    assert not torch.equal(runs[0].features(1), runs[1].features(1))


# ---------------------------------------------------------------------- feature estimation


def correlation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> float:
    def rows(features: Tensor) -> list[list[float]]:
        units = [unit(row) for row in features.tolist()]
        return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in units] for x in units]

    pairs = zip(rows(teacher), rows(student), strict=True)
    return temperature**2 * sum(kl(t, s, temperature) for t, s in pairs) / len(student)


def free_step(n_classes: int, task: int, seed: int) -> Step:
    """Return a step in which student and teacher see anything but the same: features drawn at random."""
    step = step_of(network(2), network(2), task=task)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(12, 64, generator=generator) for _ in range(2)]
    logits = torch.randn(12, n_classes, generator=generator)
    step.view, step.teacher_view = (lambda _, features=features: View(features, logits) for features in drawn)
    return step


def test_fe_keeps_correlations_and_estimates_those_of_the_networks_before_the_teacher():
    method = begun(csd.methods.FE(weight=2.0))
    step = step_of(network(2), None)
    assert set(method(step)) == {"ce", "triplet"}
    method.end_task(0, step.images, step.labels, step.view)
    assert method.changes == []

    step = free_step(4, task=1, seed=1)
    terms = method(step)
    assert set(terms) == {"ce", "triplet", "correlation"}
    expected = 2 * correlation(step.features, step.teacher.features)
    assert terms["correlation"].item() == pytest.approx(expected, rel=1e-3)  # differences of float32

    ratios = sorted(
        (t - f) / f
        for one, other in zip(step.features.tolist(), step.teacher.features.tolist(), strict=True)
        for f, t in zip(unit(one), unit(other), strict=True)
        if f > 0.01
    )

    def quantile(q: float) -> float:
        at = q * (len(ratios) - 1)
        low = int(at)
        return ratios[low] + (at - low) * (ratios[min(low + 1, len(ratios) - 1)] - ratios[low])

    change = [0.1 * quantile(0.05), 0.1 * quantile(0.95)]  # a tenth of the way from 0
    assert method.change.tolist() == pytest.approx(change, rel=1e-4)
    method.end_task(1, step.images, step.labels, step.view)
    assert [c.tolist() for c in method.changes] == [pytest.approx(change, rel=1e-4)]
    assert method.change.tolist() == [0, 0]

    step = free_step(6, task=2, seed=2)
    torch.manual_seed(3)
    terms = method(step)
    torch.manual_seed(3)
    low, high = change
    estimate = step.teacher.features * (1 + low + (high - low) * torch.rand(12, 64))
    assert terms["estimated"].item() == pytest.approx(2 * correlation(step.features, estimate), rel=1e-3)
    second = method.change.tolist()
    method.end_task(2, step.images, step.labels, step.view)
    older = [(1 + c) * (1 + s) - 1 for c, s in zip(change, second, strict=True)]
    assert [c.tolist() for c in method.changes] == [pytest.approx(older, rel=1e-4), pytest.approx(second, rel=1e-4)]


# ---------------------------------------------------------------------- cards


@pytest.mark.parametrize("name", NAMED)
def test_every_method_has_a_card(name):
    card = card_of(NAMED[name])
    assert card.title
    assert card.sentence.endswith(".")
    assert bool(card.source) == (name not in ("finetune", "frozen", "joint"))
    assert card.look is not None
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_no_two_methods_look_the_same():
    looks = [card_of(method).look for method in NAMED.values()]
    assert len(set(looks)) == len(looks) == 25


# ---------------------------------------------------------------------- what is carried over


class Inventing(csd.methods.Method):
    """Has a generator of 10 · 5 + 5 numbers and a counter of batches in its batch norm."""

    def begin(self, _setting: Setting) -> None:
        self.generator = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.BatchNorm1d(5))
        self.optimizer = torch.optim.Adam(self.generator.parameters())
        self.n = 3

    def __call__(self, step: Step) -> dict[str, Tensor]:
        return csd.methods.finetune(step)


IMAGE, LABEL = 3 * 16 * 16, 8
NETWORK = sum(value.nbytes for value in network(2).state_dict().values())
ROW = 64 * 4  # of the head

KEPT = {
    "finetune": (csd.methods.finetune, {}),
    "er": (csd.methods.ER(size=10), {"memory": 10 * (IMAGE + LABEL)}),
    "der": (csd.methods.DER(size=10), {"memory": 10 * (IMAGE + 6 * 4)}),
    "lwf": (csd.methods.lwf, {"teacher": NETWORK + 2 * ROW}),
    "csd": (csd.methods.csd, {"teacher": NETWORK + 2 * ROW}),
    "joint": (csd.methods.joint, {"images of all tasks": 6 * 8 * IMAGE}),
    "inventing": (Inventing(), {"generator": 4 * (10 * 5 + 5) + 4 * 4 * 5 + 8}),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_carried_over_is_counted_to_the_byte(tmp_path, name):
    method, expected = KEPT[name]
    run = csd.train(csd.split(striped(), n_tasks=3), method, TINY, out=tmp_path / "r", progress=False)
    assert run.kept_bytes == expected


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (csd.methods.CSDMemory(4, weight=None), "weight is None; expected a finite number"),
        (csd.methods.CSDMemory(4, weight="8"), "weight is '8'; expected a finite number"),
        (csd.methods.CSDMemory(4, weight=math.nan), "weight is nan; expected a finite number"),
        (csd.methods.CSDMemory(4, weight=-1), "weight is -1; expected a weight of at least 0"),
        (csd.methods.CSDMemory(4, kd_weight=-1), "kd_weight is -1; expected a weight of at least 0"),
        (csd.methods.CSDMemory(4, temperature=0), "temperature is 0; expected a number above 0, such as 0.07"),
        (csd.methods.CSDMemory(4, temperature="8"), "temperature is '8'; expected a finite number"),
        (csd.methods.CSDMemory(4, kd_temperature=-2.0), r"kd_temperature is -2\.0; expected a number above 0"),
        (csd.methods.DER(4, alpha=-1), "alpha is -1; expected a weight of at least 0"),
        (csd.methods.DERPP(4, alpha=math.inf), "alpha is inf; expected a finite number"),
        (csd.methods.DERPP(4, beta=-0.5), r"beta is -0\.5; expected a weight of at least 0"),
        (csd.methods.KD(weight=1.5), r"weight is 1\.5; expected a share of the loss from 0 to 1"),
        (csd.methods.KD(temperature=0), "temperature is 0; expected a number above 0"),
        (csd.methods.FE(weight=-1), "weight is -1; expected a weight of at least 0"),
        (csd.methods.FE(temperature=0), "temperature is 0; expected a number above 0"),
    ],
)
def test_weights_and_temperatures_that_cannot_be_are_refused_before_any_work(tmp_path, method, told):
    stream = csd.split(striped(n_classes=4), n_tasks=2)
    with pytest.raises(ValueError, match=f"^{told}"):
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_weights_of_zero_are_weights():
    begun(csd.methods.CSDMemory(4, weight=0, kd_weight=0))
    begun(csd.methods.DERPP(4, alpha=0, beta=0))
    begun(csd.methods.FE(weight=0))
    begun(csd.methods.KD(weight=0), Setting(**{**vars(SETTING), "has_teacher": True}))


AGAIN = ("labels_only", "paws", "csl", "nncsl", "xder", "er", "random_images")


def learnt(name: str, tasks: list[int]) -> list[int]:
    """Return the classes in the memory of a method that learns these tasks, one object with `csd.learn`."""
    few = name in ("paws", "csl", "nncsl")
    stream = csd.split(striped(n_classes=4), n_tasks=2, labelled=4 if few else None)
    method = {"random_images": csd.methods.RandomImages(2)}.get(name) or type(NAMED[name])(16)
    learner_config, net = TINY.replace(epochs=1, later_epochs=1), csd.models.build("resnet8", 3)
    for task in tasks:
        for record in csd.learn(net, stream, task, method, learner_config):
            assert all(map(math.isfinite, record.get("losses", {}).values()))
    return sorted(set(method.memory.rows["labels"].tolist()))


@pytest.mark.parametrize("name", AGAIN)
def test_a_notebook_may_learn_a_task_again_with_the_same_object(name):
    assert learnt(name, [0, 1, 1]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", AGAIN)
def test_a_later_task_may_be_learnt_without_the_first(name):
    assert learnt(name, [1, 1]) == [2, 3]


def test_what_x_der_learns_again_it_remembers_once():
    stream, method, net = (
        csd.split(striped(n_classes=4), n_tasks=2),
        csd.methods.XDER(8),
        csd.models.build("resnet8", 3),
    )
    for task in (0, 1, 1):
        list(csd.learn(net, stream, task, method, TINY))
    assert method.memory.rows["labels"].bincount().tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("two", [np.int64(2), np.array(2), torch.tensor(2)])
def test_numbers_of_numpy_and_torch_are_pythons_own_in_settings(two):
    methods: list[Any] = [
        csd.methods.XDER(8, alpha=two),
        csd.methods.Genifer(r1_every=two, feature=two),
        csd.methods.NNCSL(distillation=two, temperature=two),
        csd.methods.DM(per_class=two, iterations=two),
        csd.methods.ER(two),
        csd.methods.DERPP(two, beta=two),
        csd.methods.GDumb(size=two),
        csd.methods.KD(weight=two),
        csd.methods.FE(weight=two),
    ]
    for method in methods:
        given = [value for value in vars(method).values() if value == 2 and type(value) is not float]
        assert given
        assert {type(value) for value in given} == {int}


def test_a_weight_of_numpy_computes_as_pythons():
    one, other = (csd.methods.XDER(8, alpha=alpha) for alpha in (np.array(0.25), 0.25))
    assert one == other


@pytest.mark.parametrize("labelled", [None, 3])
def test_a_memory_that_is_too_large_is_told_with_what_to_do_also_on_the_command_line(labelled):
    stream = csd.split(striped(n_classes=4), n_tasks=2, labelled=labelled)
    n, more = (32, "") if labelled is None else (12, "a larger --labelled, or ")
    told = f"expected a size of at most {n}, such as ER(size={n}); on the command line {more}--method path/to/file.py:"
    with pytest.raises(ValueError, match="is a memory for 200 images") as error:
        csd.train(stream, csd.methods.er, TINY, progress=False)
    assert told in str(error.value)
