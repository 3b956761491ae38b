"""Mistakes in a method, in what it keeps, or in its teacher: each is told by name, with what was expected."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import csd_edu as csd
from csd_edu.methods import Method, Setting, Step
from tests.conftest import TINY, striped


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=2, seed=0)


class Own(Method):
    """A method that fine-tunes; the mistakes are made in what the tests add to it."""

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        return csd.methods.finetune(step)


def beginning(make: Callable[[Any, Setting], None]) -> Method:
    """Return a method with this `begin`."""

    class Begun(Own):
        def begin(self, setting: Setting) -> None:
            make(self, setting)

    return Begun()


def stepping(do: Callable[[Any, Step], Any], begin: Callable[[Any, Setting], None] | None = None) -> Method:
    """Return a method that does this in each step, besides fine-tuning."""

    class Stepping(Own):
        def begin(self, setting: Setting) -> None:
            if begin is not None:
                begin(self, setting)

        def __call__(self, step: Step) -> dict[str, torch.Tensor]:
            do(self, step)
            return csd.methods.finetune(step)

    return Stepping()


def ending(do: Callable[..., Any]) -> Method:
    class Ending(Own):
        def end_task(self, task: int, images: torch.Tensor, labels: torch.Tensor, view: Any) -> Any:
            return do(self, task, images, labels, view)

    return Ending()


def set_to(name: str, make: Callable[..., Any]) -> Callable[..., None]:
    return lambda method, around: setattr(method, name, make(around))


def changed_by(change: Callable[[torch.Tensor], Any]) -> Callable[[Any, Step], None]:
    """Return what changes the network's first weight, which a method finds in the graph of what it is given."""

    def do(_method: Any, step: Step) -> None:
        network = next(
            cell.cell_contents for cell in step.view.__closure__ if isinstance(cell.cell_contents, nn.Module)
        )
        with torch.no_grad():
            change(network.backbone.conv1.weight)

    return do


def bound_later(_method: Any, step: Step) -> None:
    if step.task == 1:
        _method.late = nn.Linear(2, 2)


# ---------------------------------------------------------------------- refused before any work

BEFORE: dict[str, tuple[Any, str]] = {
    "a class instead of an object": (csd.methods.ER, r"method is the class ER; expected an object of it: ER\(\)"),
    "no function at all": ({"ce": 1}, "method is {'ce': 1}; expected a function"),
    "positional arguments": (functools.partial(csd.methods.csd, 1.0), "binds positional arguments"),
    "a memory of size 0": (csd.methods.ER(size=0), "size is 0; expected a whole number of at least 1"),
    "a memory of half an image": (csd.methods.DER(size=0.5), "size is 0.5; expected a whole number of at least 1"),
    "a memory above the data": (
        csd.methods.ER(size=49),
        r"method\.memory is a memory for 49 images, but the stream has 48 to train on; expected a size of at most 48",
    ),
    "a bank for another dataset": (
        beginning(set_to("bank", lambda setting: csd.Bank(23, setting.dim))),
        r"method\.bank is a bank of 23 rows, but a task has 24 training images; expected a row for each.*n_images",
    ),
    "a set": (
        beginning(set_to("seen", lambda _: {1, 2})),
        r"method\.seen is a set, which a checkpoint can't hold; expected tensors",
    ),
    "a graph": (
        beginning(set_to("old", lambda _: [nn.Parameter(torch.ones(1)) * 2])),
        r"method\.old\.0 is a tensor that holds on to the graph.*expected x\.detach\(\)",
    ),
}


@pytest.mark.parametrize("mistake", BEFORE)
def test_before_any_work(stream, tmp_path, mistake):
    method, message = BEFORE[mistake]
    with pytest.raises(ValueError, match=message):
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_what_can_not_be_saved_is_refused_before_it_is_copied(stream, tmp_path):
    method = Own()
    method.file = open(__file__, encoding="utf-8")  # noqa: SIM115 (it is the file that is refused)
    with pytest.raises(ValueError, match=r"method\.file is a TextIOWrapper, which a checkpoint can't hold"):
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    method.file.close()


# ---------------------------------------------------------------------- refused in the first step that has it

WHILE: dict[str, tuple[Any, str]] = {
    "no terms": (lambda step: None, r"the method returned NoneType None; .* Is `return terms` missing\?"),  # noqa: ARG005
    "no tensor": (lambda step: {"ce": 1.0}, "the method's term 'ce' is 1.0"),  # noqa: ARG005
    "no scalar": (lambda step: {"ce": step.logits}, "the method's term 'ce' is a tensor of shape"),
    "nothing to learn from": (lambda step: {"ce": step.logits.detach().sum()}, "nothing would be learnt"),
    "no __call__": (type("Silent", (Method,), {})(), r"Silent has no __call__\(self, step\)"),
    "a graph": (
        stepping(set_to("last", lambda step: step.features)),
        r"method\.last is a tensor that holds on to the graph of its step.*expected x\.detach\(\)",
    ),
    "a graph in a list in a dictionary": (
        stepping(set_to("last", lambda step: {"old": [0, step.features]})),
        r"method\.last\.old\.1 is a tensor that holds on to the graph",
    ),
    "an array": (stepping(set_to("last", lambda step: step.labels.numpy())), r"method\.last is a ndarray"),
    "a module": (
        stepping(set_to("late", lambda _: nn.Linear(2, 2))),
        r"method\.late, a Linear, was made during training.*expected begin\(self, setting\) to make it",
    ),
    "an optimiser": (
        stepping(set_to("late", lambda _: torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1))),
        r"method\.late, a SGD, was made during training",
    ),
    "a memory": (stepping(set_to("late", lambda _: csd.Memory(3))), r"method\.late, a Memory, was made during"),
    "a module in a list": (
        stepping(set_to("nets", lambda _: [nn.Linear(2, 2)])),
        r"method\.nets\.0, a Linear, was made during training",
    ),
    "a module in a later task": (stepping(bound_later), r"method\.late, a Linear, was made during training"),
    "a function": (
        stepping(set_to("loss", lambda _: csd.losses.mmd), begin=set_to("loss", lambda _: csd.losses.csd)),
        r"method\.loss, a function, was made during training",
    ),
    "a parameter": (
        stepping(set_to("center", lambda _: nn.Parameter(torch.ones(2)))),
        r"method\.center has parameters that it did not have when the task began.*expected begin",
    ),
    "two views of one memory": (
        stepping(set_to("pair", lambda step: (step.images, step.images[1:]))),
        r"method\.pair\.1 shares its memory with method\.pair\.0.*expected a copy: x\.clone\(\)",
    ),
    "an index outside its bank": (
        stepping(
            lambda method, step: method.bank.read(step.index + 20),
            begin=set_to("bank", lambda setting: csd.Bank(max(setting.n_images), 2)),
        ),
        "the bank has 24 rows, 0 to 23, but index .* came: it belongs to other data",
    ),
    "a weight changed in place": (
        stepping(changed_by(lambda weight: weight.add_(1))),
        r"the method changed the network's parameter backbone\.conv1\.weight itself; expected loss terms only",
    ),
    "a weight changed through its data": (
        stepping(changed_by(lambda weight: weight.data.mul_(2))),
        r"the method changed the network's parameter backbone\.conv1\.weight itself",
    ),
    "a record that is no dictionary": (ending(lambda *_: [3]), "end_task yielded 3; expected a dictionary"),
    "a record with a tensor": (
        ending(lambda *_: [{"mean": torch.ones(1)}]),
        r"end_task yielded \{'mean': tensor.*x\.item\(\)",
    ),
    "a record with a NaN": (ending(lambda *_: [{"mean": float("nan")}]), "end_task yielded {'mean': nan}.*finite"),
    "a set at the end of a task": (
        ending(lambda method, *_: setattr(method, "seen", {1})),
        r"method\.seen is a set, which a checkpoint can't hold",
    ),
}


@pytest.mark.parametrize("mistake", WHILE)
def test_while_training(stream, tmp_path, mistake):
    method, message = WHILE[mistake]
    error = NotImplementedError if mistake == "no __call__" else ValueError
    with pytest.raises(error, match=message):
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)


def test_other_terms_later_are_no_mistake(stream, tmp_path):
    def mine(step):
        return csd.methods.finetune(step) if step.task == 0 else {"other": step.features.square().mean()}

    run = csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert set(run.records[-2]["losses"]) == {"other"}


def test_what_was_refused_can_be_mended_in_a_new_folder_only(stream, tmp_path):
    wrong = stepping(set_to("late", lambda _: csd.Memory(3)))
    with pytest.raises(ValueError, match="was made during training"):
        csd.train(stream, wrong, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r" / "checkpoint.safetensors").exists()
    with pytest.raises(ValueError, match="holds another run"):
        csd.train(stream, Own(), TINY, out=tmp_path / "r", progress=False)


# ---------------------------------------------------------------------- teachers

SINGLE = TINY.replace(epochs=2)


def single(**changes: Any) -> csd.Stream:
    return csd.split(striped(**changes), n_tasks=1, seed=0)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> csd.Run:
    config = SINGLE.replace(network="resnet14")
    folder = tmp_path_factory.mktemp("teacher") / "large"
    return csd.train(single(), csd.methods.finetune, config, out=folder, progress=False)


def test_a_large_network_teaches_a_small_one(large, tmp_path):
    run = csd.train(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=large, progress=False)
    assert set(run.records[0]["losses"]) == {"ce", "kd"}
    teacher = run.description["teacher"]
    assert teacher["name"] == "finetune"
    assert len(teacher["weights_crc32"]) == 8
    size = sum(value.nbytes for value in large.network(0).state_dict().values())
    assert run.kept_bytes == {"teacher": size}
    assert run.config.network == "resnet8"
    assert large.config.network == "resnet14"
    by_network = csd.train(
        single(), csd.methods.kd, SINGLE, out=tmp_path / "n", teacher=large.network(0), progress=False
    )
    assert torch.equal(by_network.features(0), run.features(0))


def test_distilling_stopped_after_every_record_ends_with_the_same_bits(large, tmp_path):
    whole = csd.train(single(), csd.methods.kd, SINGLE, out=tmp_path / "whole", teacher=large, progress=False)
    while not csd.Run.load(tmp_path / "r").finished if (tmp_path / "r").exists() else True:
        records = csd.training(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=large)
        next(records)
        records.close()
    run = csd.Run.load(tmp_path / "r")
    assert torch.equal(run.features(0), whole.features(0))
    assert (run.path / "metrics.json").read_bytes() == (whole.path / "metrics.json").read_bytes()


def test_another_teacher_is_another_run(large, tmp_path):
    records = csd.training(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=large)
    next(records)
    records.close()
    other = large.network(0)
    with torch.no_grad():
        other.head.weight[0, 0] += 1e-6
    with pytest.raises(ValueError, match=r"its teacher was \{'name': 'finetune', .*\}, now \{'name': 'network'"):
        csd.train(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=other, progress=False)


def test_a_run_with_a_teacher_does_not_go_on_without(large, tmp_path):
    csd.train(single(), csd.methods.csd, SINGLE, out=tmp_path / "r", teacher=large, progress=False)
    with pytest.raises(ValueError, match=r"its teacher was \{.*\}, now None"):
        csd.train(single(), csd.methods.csd, SINGLE, out=tmp_path / "r", progress=False)


def test_the_teacher_itself_is_left_as_it_was(large, tmp_path):
    network = large.network(0)
    before = json.dumps({name: value.tolist() for name, value in network.state_dict().items()})
    config = SINGLE.replace(teacher_mode="train")
    csd.train(single(), csd.methods.kd, config, out=tmp_path / "r", teacher=network, progress=False)
    assert json.dumps({name: value.tolist() for name, value in network.state_dict().items()}) == before
    assert all(parameter.requires_grad for parameter in network.parameters())


def shuffled() -> csd.Stream:
    return csd.split(striped(), n_tasks=1, seed=1)


def unfinished(folder: Path) -> csd.Run:
    records = csd.training(csd.split(striped(), n_tasks=2), csd.methods.finetune, TINY, out=folder)
    next(records)
    records.close()
    return csd.Run.load(folder)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (lambda: single(n_classes=5), r"teacher has learnt 6 classes \(.*\), and the stream has 5 classes \("),
        (shuffled, "teacher has learnt .* in the same order"),
        (lambda: single(size=20), r"teacher has learnt images of shape \(3, 16, 16\), and .* \(3, 20, 20\); expected"),
        (lambda: single(channels=1), r"teacher has learnt images of shape \(3, 16, 16\)"),
    ],
)
def test_a_teacher_that_learnt_something_else(large, tmp_path, stream, message):
    with pytest.raises(ValueError, match=message):
        csd.train(stream(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=large, progress=False)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_classes": 5}, "teacher knows 6 classes in images of 3 channels, and the stream has 5 and 3"),
        ({"channels": 1}, "teacher knows 6 classes in images of 3 channels, and the stream has 6 and 1"),
    ],
)
def test_a_network_that_knows_something_else(large, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        csd.train(
            single(**changes), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=large.network(0), progress=False
        )
    assert not (tmp_path / "r").exists()


def test_a_teacher_that_is_unfinished_or_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"teacher is Run of finetune.*; expected a finished run"):
        csd.train(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=unfinished(tmp_path / "t"))
    for other in ("runs/large", 3, nn.Linear(2, 2)):
        with pytest.raises(ValueError, match=r"teacher is .*; expected a run, such as csd\.Run\.load"):
            csd.train(single(), csd.methods.kd, SINGLE, out=tmp_path / "r", teacher=other)
    assert not (tmp_path / "r").exists()


# ---------------------------------------------------------------------- csd.learn, in a loop of one's own


def test_a_learner_in_the_middle_of_a_task_needs_the_teacher(stream):
    network = csd.models.build("resnet8")
    learner = csd.learner.Learner(network, stream, csd.methods.csd, TINY)
    list(csd.learn(network, stream, 0, csd.methods.csd, TINY, learner=learner))
    next(csd.learn(network, stream, 1, csd.methods.csd, TINY, learner=learner))
    with pytest.raises(ValueError, match=r"learner has begun the task.*expected teacher="):
        next(csd.learn(network, stream, 1, csd.methods.csd, TINY, learner=learner))
