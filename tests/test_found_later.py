"""Faults that a first look at methods with state found: each as it was met, and what holds instead."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import csd_edu as csd
from csd_edu.comparison import in_bytes
from csd_edu.metrics import mean_interval
from csd_edu.report import write_report
from tests.conftest import TINY, striped


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=3, seed=0)


def resumed(stream: csd.Stream, method: Any, out: Path, config: csd.Config = TINY) -> csd.Run:
    """Train with a stop after each record."""
    while True:
        records = csd.training(stream, method, config, out=out)
        found = list(itertools.islice(records, 1))
        records.close()
        if not found:
            return csd.Run.load(out)


def assert_equal(one: csd.Run, other: csd.Run) -> None:
    for task in range(one.n_tasks):
        weights, others = (run.network(task).state_dict() for run in (one, other))
        assert all(torch.equal(weights[name], others[name]) for name in weights)


class Fine(csd.methods.Method):
    def __call__(self, step: csd.methods.Step) -> dict[str, Tensor]:
        return csd.methods.finetune(step)


class Counts(Fine):
    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> Iterator[dict[str, Any]]:
        yield {"n": len(images)}


def test_a_record_of_end_task_needs_no_seconds(stream, tmp_path):
    run = csd.train(stream, Counts(), TINY, out=tmp_path / "r", progress=False)
    assert [record["n"] for record in run.records if record["kind"] == "end"] == [16, 16, 16]
    assert run.seconds > 0
    assert write_report([run], tmp_path / "report.html", maps=()).exists()


class Freezes(Fine):
    """A projection that is trained with the network until its first task ends."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.projection = nn.Linear(setting.dim, 4)

    def __call__(self, step: csd.methods.Step) -> dict[str, Tensor]:
        return {**super().__call__(step), "projected": self.projection(step.features).square().mean()}

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> None:
        self.projection.requires_grad_(False)


def test_what_is_frozen_when_a_task_ends_goes_on_frozen(stream, tmp_path):
    whole = csd.train(stream, Freezes(), TINY, out=tmp_path / "whole", progress=False)
    stopped = resumed(stream, Freezes(), tmp_path / "stopped")
    assert_equal(whole, stopped)
    for name, value in whole.kept()["projection"].items():
        assert torch.equal(value, stopped.kept()["projection"][name])


@pytest.mark.parametrize("grow", ["append", "replace"])
def test_a_module_that_grows_is_refused_while_it_trains(stream, tmp_path, grow):
    class Grows(Fine):
        def begin(self, setting: csd.methods.Setting) -> None:
            self.heads = nn.ModuleList([nn.Linear(2, 2)])

        def end_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> None:
            if grow == "append":
                self.heads.append(nn.Linear(2, 2))
            else:
                self.heads = nn.ModuleList([nn.Linear(2, 3)])

    with pytest.raises(ValueError, match=r"method\.heads, a ModuleList, has other parts or sizes than begin"):
        csd.train(stream, Grows(), TINY, out=tmp_path / "r", progress=False)


def test_a_function_among_the_attributes_keeps_nothing_unseen(stream, tmp_path):
    class Bumps(Fine):
        def begin(self, setting: csd.methods.Setting) -> None:
            box = [0]

            def bump() -> int:
                box[0] += 1
                return box[0]

            self.bump = bump

        def __call__(self, step: csd.methods.Step) -> dict[str, Tensor]:
            return {name: term * self.bump() for name, term in super().__call__(step).items()}

    with pytest.raises(ValueError, match=r"the method's bump\.box was \[0\], now"):
        csd.train(stream, Bumps(), TINY, out=tmp_path / "r", progress=False)


def test_a_method_that_learn_has_used_is_still_the_same(stream, tmp_path):
    used = csd.methods.ER(20)
    for _ in csd.learn(csd.models.build("resnet8"), stream, 0, used, TINY):
        pass
    assert len(used.memory) > 0
    records = csd.training(stream, used, TINY, out=tmp_path / "r")
    next(records)
    records.close()
    assert csd.train(stream, csd.methods.ER(20), TINY, out=tmp_path / "r", progress=False).finished


def test_a_frozen_network_stays_frozen_after_a_task(stream):
    network = csd.models.build("resnet8")
    network.backbone.requires_grad_(False)
    before = network.backbone.conv1.weight.clone()
    for _ in csd.learn(network, stream, 0, csd.methods.finetune, TINY):
        pass
    assert torch.equal(network.backbone.conv1.weight, before)
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert network.head.weight.requires_grad


def test_the_best_epoch_is_that_of_the_methods_modules_too(tmp_path):
    class Watches(Freezes):
        def end_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> Iterator[dict[str, Any]]:
            yield {"sum": float(self.projection.weight.sum())}

    stream = csd.split(striped(train=20, noise=200), n_tasks=1, validation=0.3)
    config = TINY.replace(epochs=5, select="best", lr=0.02)
    sums, scores = [], []
    for record in csd.training(stream, Watches(), config, out=tmp_path / "r"):
        if record["kind"] == "epoch":
            sums.append(float(csd.Run.load(tmp_path / "r").kept()["projection"]["weight"].sum()))
            scores.append(record["validation_recall_at_1"])
        if record["kind"] == "end":
            assert record["sum"] == pytest.approx(sums[int(np.argmax(scores))])
    assert len(set(sums)) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, s: csd.learn(n, s, 0, csd.methods.ER, TINY), r"class ER; expected an object of it: ER\(\)"),
        (lambda n, s: csd.learn(n, s, 3, csd.methods.csd, TINY), "task is 3; expected 0 to 2"),
        (lambda n, s: csd.learn(n, s, -1, csd.methods.csd, TINY), "task is -1; expected 0 to 2"),
        (lambda n, s: csd.learn(n, s, 1, csd.methods.csd, TINY, teacher="run"), "teacher is no network"),
    ],
)
def test_learn_by_hand_is_told_what_is_wrong(stream, call, message):
    with pytest.raises(ValueError, match=message):
        next(call(csd.models.build("resnet8"), stream))


def test_a_learner_of_another_network_is_refused(stream):
    from csd_edu.learner import Learner

    learner = Learner(csd.models.build("resnet8"), stream, csd.methods.finetune, TINY)
    with pytest.raises(ValueError, match="that of another network or method"):
        next(csd.learn(csd.models.build("resnet8"), stream, 0, csd.methods.finetune, TINY, learner=learner))


def test_float_images_up_to_255_are_refused():
    with pytest.raises(ValueError, match="float images go up to 255; expected values from 0 to 1"):
        csd.models.build("resnet8").embed(torch.full((2, 3, 16, 16), 255.0))


def test_fe_takes_no_teacher_from_outside(stream, tmp_path):
    teacher = csd.models.build("resnet8", n_classes=6)
    with pytest.raises(ValueError, match="takes no teacher= from outside"):
        csd.train(stream, csd.methods.fe, TINY, out=tmp_path / "r", teacher=teacher, progress=False)
    assert not (tmp_path / "r").exists()


def test_numbers_in_lists_are_counted_as_kept(stream, tmp_path):
    class Lists(Fine):
        def begin(self, setting: csd.methods.Setting) -> None:
            self.means = [[0.5] * 64 for _ in range(3)]

    run = csd.train(stream, Lists(), TINY, out=tmp_path / "r", progress=False)
    assert run.kept_bytes == {"means": 8 * 3 * 64}


def test_a_term_on_another_device_is_named(stream, tmp_path):
    def mixed(step: csd.methods.Step) -> dict[str, Tensor]:
        return {**csd.methods.finetune(step), "odd": torch.zeros((), device="meta")}

    with pytest.raises(ValueError, match="term 'odd' is on meta, and the network on cpu"):
        csd.train(stream, mixed, TINY, out=tmp_path / "r", progress=False)


def test_bytes_in_words():
    assert [in_bytes({"a": n}) for n in (0, 999, 1000, 999_499, 999_600, 2_340_000)] == [
        *("0 B", "999 B", "1 kB", "999 kB", "1.0 MB", "2.3 MB")
    ]
    assert in_bytes(None) == "–"


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.61, 0.7, 0.66, 0.64, 0.73]])
def test_an_interval_is_students(values):
    mean, half = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    with pytest.raises(ValueError, match="there are 0 values"):
        mean_interval([])
