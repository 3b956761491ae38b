"""What a method may decide before a task: its images, whether its network is new, and for which classes it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import csd_edu as csd
from csd_edu.methods import Method, Step
from tests.conftest import TINY, striped

CONFIG = TINY.replace(epochs=3, later_epochs=2)


def stream() -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, seed=0)


@dataclass
class Plain(Method):
    """Fine-tuning that writes down what it is called with."""

    def begin(self, _setting: Any) -> None:
        self.told: list[str] = []

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> None:
        self.told.append(f"begin {task} {len(images)} {labels.unique().tolist()} {tuple(view(images).features.shape)}")

    def __call__(self, step: Step) -> dict[str, Tensor]:
        if not self.told[-1].startswith("step"):
            self.told.append(f"step {tuple(step.logits.shape)[1]} {step.teacher is not None}")
        return csd.methods.finetune(step)


@dataclass
class New(Plain):
    """The same with a new network for each task."""

    fresh_network = True


@dataclass
class Whole(Plain):
    """The same with a head for all classes."""

    whole_head = True


def trained(method: Method, out: Any, **changes: Any) -> csd.Run:
    return csd.train(stream(), method, CONFIG.replace(**changes), out=out, progress=False)


def weights(run: csd.Run, task: int) -> list[Tensor]:
    return list(run.network(task).state_dict().values())


def test_each_task_is_begun_once_before_its_first_step(tmp_path):
    told = trained(Plain(), tmp_path / "r").kept()["told"]
    assert told == [
        "begin 0 32 [0, 1] (32, 64)",
        "step 2 False",
        "begin 1 32 [2, 3] (32, 64)",
        "step 4 True",
        "begin 2 32 [4, 5] (32, 64)",
        "step 6 True",
    ]


def test_a_method_without_hooks_learns_the_same_bits_as_the_function(tmp_path):
    one, other = (
        trained(Plain(), tmp_path / "a"),
        csd.train(stream(), csd.methods.finetune, CONFIG, out=tmp_path / "b", progress=False),
    )
    assert all(map(torch.equal, weights(one, 2), weights(other, 2)))


def test_a_new_network_owes_nothing_to_the_tasks_before(tmp_path):
    """Whatever came before, and however long that was trained, it ends with the same bits."""
    runs = [trained(New(), tmp_path / f"{lr}", lr=1e-2, later_lr=lr) for lr in (1e-2, 1e-4)]
    for task in range(3):  # the first task's learning rate counts for all
        assert all(map(torch.equal, weights(runs[0], task), weights(runs[1], task)))
    backbones = [{k: v for k, v in runs[0].network(t).state_dict().items() if "conv1" in k} for t in range(3)]
    assert not any(torch.equal(backbones[0][name], backbones[1][name]) for name in backbones[0])


def test_a_new_network_does_not_see_how_the_one_before_ended(tmp_path):
    @dataclass
    class Spoilt(New):
        """Learns nonsense in the first task."""

        def __call__(self, step: Step) -> dict[str, Tensor]:
            terms = super().__call__(step)
            return terms if step.task else {"ce": terms["ce"] * -0.01}

    one, other = trained(New(), tmp_path / "a"), trained(Spoilt(), tmp_path / "b")
    assert not torch.equal(one.features(0), other.features(0))
    assert torch.equal(one.features(1), other.features(1))


def test_a_new_network_is_trained_with_the_epochs_and_rates_of_the_first_task(tmp_path):
    run = trained(New(), tmp_path / "r", schedule="multistep", milestones=(1,), later_lr=1e-4)
    epochs = [record for record in run.records if record["kind"] == "epoch"]
    assert [record["task"] for record in epochs] == [0] * 3 + [1] * 3 + [2] * 3
    assert [record["learning_rate"] for record in epochs] == pytest.approx([1e-2, 1e-3, 1e-3] * 3)


def test_a_whole_head_answers_for_all_classes_and_predicts_those_that_came(tmp_path):
    run = trained(Whole(), tmp_path / "r")
    assert [line.split()[1] for line in run.kept()["told"] if line.startswith("step")] == ["6", "6", "6"]
    assert [len(run.network(task).head.weight) for task in range(3)] == [6, 6, 6]
    for task in range(3):
        assert int(run.predictions(task).max()) < 2 * (task + 1)


@dataclass
class Chosen(Method):
    """Trains on what it is given here."""

    images: Any = None
    labels: Any = None

    def training_images(self, task: int, images: Tensor, labels: Tensor) -> Any:
        return (
            images[:8] if self.images is None else self.images,
            labels[:8] if self.labels is None else self.labels,
        )

    def __call__(self, step: Step) -> dict[str, Tensor]:
        assert len(step.labels) <= 8
        return csd.methods.finetune(step)


def test_an_epoch_goes_over_the_images_that_a_method_chose(tmp_path):
    run = trained(Chosen(), tmp_path / "r")
    assert {record["images"] for record in run.records if record["kind"] == "epoch"} == {8}


def test_the_bar_counts_the_images_that_a_method_chose(tmp_path, capsys):
    csd.train(stream(), Chosen(), CONFIG, out=tmp_path / "r")
    assert "100%" in "".join(capsys.readouterr())


def test_beside_the_bar_stands_what_a_method_says_before_and_after_a_task(tmp_path, capsys):
    class Telling(Plain):
        def begin_task(self, *_: Any) -> Any:
            Plain.begin_task(self, *_)
            yield {"condensed": 0.25, "loss": 1234.5678, "picture": "x" * 1000}

        def end_task(self, *_: Any) -> Any:
            yield {"kept": 12, "which": "the nearest"}

    csd.train(stream(), Telling(), CONFIG, out=tmp_path / "r")
    shown = "".join(capsys.readouterr())
    assert "task 1/3 before it: condensed 0.25 loss 1.23e+03" in shown
    assert "task 3/3 after it: kept 12 which the nearest" in shown
    assert "xxx" not in shown


@pytest.mark.parametrize(
    ("images", "labels", "found"),
    [
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), None, r"\(4, 3, 8, 8\).*expected images \(M, 3, 16, 16\) uint8"),
        (torch.zeros(8, 3, 16, 16), None, "float32"),
        (None, torch.zeros(7, dtype=torch.int64), r"labels \(7,\)"),
        (None, torch.full((8,), 5), "labels from 5 to 5; expected 0 to 1"),
        (None, torch.full((8,), -1), "labels from -1 to -1"),
        (torch.zeros(0, 3, 16, 16, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "at least one"),
        ("many", None, "training_images returned"),
    ],
)
def test_images_that_can_not_be_trained_on_are_refused(tmp_path, images, labels, found):
    method = Chosen()
    method.training_images = lambda *given: Chosen.training_images(Chosen(images, labels), *given)  # type: ignore
    with pytest.raises(ValueError, match=found):
        trained(method, tmp_path / "r")


def test_what_begin_task_says_must_fit_into_the_log(tmp_path):
    @dataclass
    class Babbling(Plain):
        """Says something that is no record."""

        def begin_task(self, *_: Any) -> Any:
            yield {"loss": float("nan")}

    with pytest.raises(ValueError, match="begin_task yielded"):
        trained(Babbling(), tmp_path / "r")
