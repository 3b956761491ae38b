"""One training step as a method sees it, and `csd.learn`, the loop behind `csd.train`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import csd_edu as csd
from csd_edu.learner import Learner
from csd_edu.methods import Step
from csd_edu.train import fresh_network
from tests.conftest import TINY, striped


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=2, seed=0)


def steps_of(stream: csd.Stream, look: Any, tmp_path: Any, config: csd.Config = TINY) -> csd.Run:
    """Train by fine-tuning, with a look at each step."""

    def looking(step: Step) -> dict[str, Tensor]:
        look(step)
        return csd.methods.finetune(step)

    looking.__module__ = "csd_edu.pretend"  # what it writes down is the test's
    return csd.train(stream, looking, config, out=tmp_path / "r", progress=False)


# ---------------------------------------------------------------------- views


def test_the_maps_of_each_stage(stream, tmp_path):
    shapes = {"stage1": (16, 16, 16), "stage2": (32, 8, 8), "stage3": (64, 4, 4)}
    seen = []

    def look(step: Step) -> None:
        view = step.view(step.images, "stage2")
        assert set(view.shown) == {"stage2"}
        assert view["stage2"].shape == (len(step.labels), 32, 8, 8)
        view = step.view(step.images, *shapes)
        for name, shape in shapes.items():
            assert view[name].shape == (len(step.labels), *shape)
            assert view[name].requires_grad
        torch.testing.assert_close(view["stage3"].mean(dim=(2, 3)), view.features)
        assert view.logits.shape == (len(step.labels), 3 * (step.task + 1))
        if step.teacher_view is not None:
            assert step.teacher_view(step.images, "stage1")["stage1"].shape[1:] == shapes["stage1"]
            assert step.teacher.logits.shape[1] == 3
        seen.append(step.task)

    steps_of(stream, look, tmp_path)
    assert set(seen) == {0, 1}


def test_the_maps_are_those_that_the_next_layer_gets():
    network = csd.models.build("resnet14", n_classes=2).eval()
    met = {}
    for k, stage in ((2, "stage2"), (4, "stage3")):
        network.backbone.blocks[k].register_forward_pre_hook(
            lambda _, inputs, stage=stage: met.setdefault(f"stage{int(stage[-1]) - 1}", inputs[0])
        )
    images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    _, shown = network.look(images, "stage1", "stage2")
    assert all(torch.equal(shown[name], met[name]) for name in ("stage1", "stage2"))


def test_a_name_that_the_network_does_not_show(stream, tmp_path):
    with pytest.raises(ValueError, match="this network shows no 'attention'; expected some of stage1, stage2, stage3"):
        steps_of(stream, lambda step: step.view(step.images, "stage1", "attention"), tmp_path)


def test_float_images_get_a_gradient_and_bytes_and_floats_look_the_same(stream, tmp_path):
    def look(step: Step) -> None:
        images = (step.images.float() / 255).requires_grad_()
        (gradient,) = torch.autograd.grad(step.view(images).features.square().sum(), images)
        assert gradient.shape == images.shape
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(step.view(images).features, step.view(step.images).features)

    steps_of(stream, look, tmp_path)


def test_the_teacher_passes_a_gradient_to_images_and_not_to_its_weights(stream, tmp_path):
    teachers = []

    def look(step: Step) -> None:
        if step.teacher_view is None:
            assert step.teacher is None
            return
        assert not step.teacher.features.requires_grad
        images = (step.images.float() / 255).requires_grad_()
        view = step.teacher_view(images, "stage2")
        (gradient,) = torch.autograd.grad(view.features.sum() + view["stage2"].sum(), images)
        assert gradient.abs().sum() > 0
        assert torch.equal(view.features.detach(), step.teacher_view(images.detach()).features)
        waiting, leaves = [view.features.grad_fn], set()
        while waiting:
            node = waiting.pop()
            leaves |= {id(node.variable)} if hasattr(node, "variable") else set()
            waiting += [following for following, _ in node.next_functions if following is not None]
        assert leaves == {id(images)}
        teachers.append(step.task)

    steps_of(stream, look, tmp_path)
    assert set(teachers) == {1}


def test_networks_are_asked_only_when_a_method_looks(stream, tmp_path, monkeypatch):
    asked = []
    real = csd.models.Network.look
    monkeypatch.setattr(csd.models.Network, "look", lambda self, *given: (asked.append(given), real(self, *given))[1])

    def once(step: Step) -> None:
        assert not asked
        assert step.labels is not None
        assert step.task in (0, 1)
        assert step.index is not None
        assert step.raw is not None
        step.augment(step.raw)
        assert not asked, "what needs no network asks none"
        assert step.features is step.student.features
        assert step.logits is step.student.logits
        assert len(asked) == 1
        if step.task == 1:
            assert step.teacher is step.teacher
            assert len(asked) == 2

    def look(step: Step) -> None:
        once(step)
        asked.clear()

    def looking(step: Step) -> dict[str, Tensor]:
        look(step)
        terms = csd.methods.finetune(step)
        assert not asked, "the view is kept"
        return terms

    looking.__module__ = "csd_edu.pretend"
    records = csd.training(stream, looking, TINY.replace(save_images=False), out=tmp_path / "r")
    for record in records:
        asked.clear()
        if record["kind"] == "task" and record["task"] == 0:
            assert record["kept_bytes"] == {}


@pytest.mark.parametrize("name", ["finetune", "er"])
def test_a_method_without_a_teacher_does_not_pay_for_one(stream, tmp_path, name):
    method = csd.methods.finetune if name == "finetune" else csd.methods.ER(size=10)
    run = csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert "teacher" not in run.kept_bytes


# ---------------------------------------------------------------------- the batch


def test_index_and_raw_are_the_tasks_own_images(stream, tmp_path):
    seen: list[tuple[int, list[int]]] = []

    def look(step: Step) -> None:
        images, labels = stream.train(step.task)
        assert torch.equal(step.raw, images[step.index])
        assert torch.equal(step.labels, labels[step.index])
        assert step.images.shape == step.raw.shape
        assert step.images.dtype == step.raw.dtype == torch.uint8
        seen.append((step.task, step.index.tolist()))

    steps_of(stream, look, tmp_path)
    for task in (0, 1):
        of_task = [index for index_task, index in seen if index_task == task]
        for first, second in (of_task[:2], of_task[2:]):  # two steps an epoch
            assert sorted(first + second) == list(range(24)), "each image once in an epoch"


def test_images_are_crops_of_raw(stream, tmp_path):
    padding = TINY.crop_padding

    def crops(raw: Tensor) -> list[Tensor]:
        padded = torch.nn.functional.pad(raw, (padding,) * 4)
        shifts = range(2 * padding + 1)
        return [padded[..., y : y + 16, x : x + 16] for y in shifts for x in shifts]

    def look(step: Step) -> None:
        for images in (step.images, step.augment(step.raw)):
            for image, raw in zip(images, step.raw, strict=True):
                assert any(torch.equal(image, crop) for crop in crops(raw))
        assert not torch.equal(step.augment(step.raw), step.augment(step.raw))

    steps_of(stream, look, tmp_path)


def test_augment_mirrors_where_the_config_says_so(stream, tmp_path):
    found = set()

    def look(step: Step) -> None:
        for image, raw in zip(step.augment(step.raw), step.raw, strict=True):
            found.add("as it is" if torch.equal(image, raw) else "mirrored")
            assert torch.equal(image, raw) or torch.equal(image, raw.flip(-1))

    steps_of(stream, look, tmp_path, TINY.replace(crop_padding=0, flip=True))
    assert found == {"as it is", "mirrored"}


# ---------------------------------------------------------------------- csd.learn, task by task


@pytest.mark.parametrize("name", ["finetune", "csd", "joint", "er", "fe", "csd_memory"])
@pytest.mark.parametrize("shared", [False, True], ids=["a learner each", "one learner"])
def test_learning_task_by_task_gives_the_bits_of_train(stream, tmp_path, name, shared):
    makers = {"er": lambda: csd.methods.ER(size=20), "csd_memory": lambda: csd.methods.CSDMemory(size=20)}
    method = makers[name]() if name in makers else csd.methods.NAMED[name]
    run = csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    own = copy.deepcopy(method)
    network = fresh_network(stream, TINY)
    learner = Learner(network, stream, own, TINY) if shared else None
    records = []
    for task in range(stream.n_tasks):
        records += csd.learn(network, stream, task, own, TINY, learner=learner)
        expected = run.network(task).state_dict()
        found = network.state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected), task
    losses = [record["losses"] for record in records if record["kind"] == "epoch"]
    assert losses == [record["losses"] for record in run.records if record["kind"] == "epoch"]


def test_learning_with_a_given_teacher(stream):
    network, teacher = fresh_network(stream, TINY), csd.models.build("resnet8", 3, n_classes=6, seed=5)
    records = list(csd.learn(network, stream, 0, csd.methods.KD(), TINY, teacher=teacher))
    assert all(set(record["losses"]) == {"ce", "kd"} for record in records)
    records += csd.learn(network, stream, 1, csd.methods.KD(), TINY, teacher=teacher)
    assert len(records) == 4, "the teacher knows all classes already, and answers for those that have come"
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_that_knows_later_classes_answers_for_those_that_have_come():
    teacher = csd.models.build("resnet8", 3, n_classes=6, seed=5)
    stream = csd.split(striped(), n_tasks=2, seed=0)

    def looking(step: Step) -> dict[str, Tensor]:
        assert step.teacher.logits.shape == step.logits.shape
        expected = teacher.eval()(step.images)[1][:, : step.logits.shape[1]]
        torch.testing.assert_close(step.teacher.logits, expected)
        return csd.methods.lwf(step)

    network = fresh_network(stream, TINY)
    for task in (0, 1):
        list(csd.learn(network, stream, task, looking, TINY, teacher=teacher))


def test_learning_leaves_the_callers_random_numbers_alone(stream):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for _ in csd.learn(fresh_network(stream, TINY), stream, 0, csd.methods.ER(size=20), TINY):
        torch.rand(5)
    torch.set_rng_state(before)
    network = fresh_network(stream, TINY)
    list(csd.learn(network, stream, 0, csd.methods.ER(size=20), TINY))
    assert torch.equal(torch.get_rng_state(), before)


def test_learning_where_gradients_are_off(stream):
    networks = [fresh_network(stream, TINY) for _ in range(2)]
    list(csd.learn(networks[0], stream, 0, csd.methods.finetune, TINY))
    with torch.no_grad():
        list(csd.learn(networks[1], stream, 0, csd.methods.finetune, TINY))
    assert all(map(torch.equal, networks[0].parameters(), networks[1].parameters()))
