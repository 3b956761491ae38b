"""Streams in which few images have a label: which ones, what reaches a method, and all that is done with a stream."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import csd_edu as csd
from csd_edu import cli, losses, saved, tuning
from csd_edu.batches import Batches, in_epoch
from csd_edu.config import Preset
from csd_edu.methods import Step
from csd_edu.models import pixel_statistics
from csd_edu.report import _made, write_report
from csd_edu.sweep import Job, sweep
from csd_edu.tasks import UNLABELLED, Images
from csd_edu.train import Progress
from csd_edu.widgets import LiveTraining
from tests.conftest import TINY, striped
from tests.test_resume import assert_equal_runs

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = striped(train=20)


def split(**how: Any) -> csd.Stream:
    return csd.split(DATA, n_tasks=3, **{"seed": 0, **how})


def whose(images: torch.Tensor) -> list[bytes]:
    return sorted(map(bytes, images.numpy()))


# ---------------------------------------------------------------------- which images have a label


@pytest.mark.parametrize(
    ("labelled", "n"),
    [
        (3, 3),
        (1, 1),
        (20, 20),
        (3.0, 3),
        (0.1, 2),
        (0.001, 1),
        (0.999, 20),
        (np.int64(3), 3),
        (np.float32(0.25), 5),
        (np.float64(0.25), 5),
        (np.array(0.25), 5),
        (torch.tensor(3), 3),
        (torch.tensor(0.25), 5),
    ],
)
def test_as_many_of_every_class_as_asked_for_have_their_own_label(labelled, n):
    stream = split(labelled=labelled)
    whole = split()
    for task in range(3):
        images, labels = stream.train(task)
        known = labels != UNLABELLED
        assert labels[known].bincount(minlength=6)[2 * task : 2 * task + 2].tolist() == [n, n]
        assert stream.n_images(task) == 2 * n
        assert stream.n_unlabelled(task) == 40 - 2 * n
        assert torch.equal(images, whole.train(task).images)
        assert torch.equal(labels[known], whole.train(task).labels[known])
    assert stream.n_images(0, 2) == 4 * n
    assert type(stream.labelled) in (int, float)
    assert json.loads(json.dumps(stream.describe()))["labelled"] == stream.labelled


@pytest.mark.parametrize("labelled", [None, 1.0, np.float64(1), torch.tensor(1.0)])
def test_all_of_them_is_the_stream_that_was_there_before(labelled):
    stream = split(labelled=labelled)
    assert stream.labelled is None
    assert "labelled" not in stream.describe()
    assert stream.describe() == split().describe()
    assert stream.n_unlabelled(0, 1, 2) == 0
    assert stream.train(0).unlabelled() is None
    assert stream.train(0).labelled().labels.min() >= 0


@pytest.mark.parametrize(
    ("labelled", "message"),
    [
        (0, "labelled is 0; expected a share of each class above 0 and up to 1, such as 0.1, or a whole number"),
        (0.0, r"labelled is 0\.0; expected a share"),
        (-1, "labelled is -1; expected a share"),
        (-0.5, r"labelled is -0\.5; expected a share"),
        (1.5, r"labelled is 1\.5; expected a share"),
        (True, "labelled is True; expected a share"),
        (np.True_, "labelled is .*True.*; expected a share"),
        (math.nan, "labelled is nan; expected a share"),
        (math.inf, "labelled is inf; expected a share"),
        ("3", "labelled is '3'; expected a share"),
        ([3], r"labelled is \[3\]; expected a share"),
        (np.array([0.1]), "labelled is array.*; expected a share"),
        (torch.tensor([1, 2]), "labelled is tensor.*; expected a share"),
        (21, "labelled is 21, but class 'stripe 0' has 20 training images; expected at most as many, or a share"),
    ],
)
def test_what_is_no_number_of_labels_is_refused(labelled, message):
    with pytest.raises(ValueError, match=message):
        split(labelled=labelled)
    with pytest.raises(ValueError, match=message):  # also without split
        csd.tasks.Stream(DATA, ((0, 1, 2), (3, 4, 5)), labelled=labelled)


def test_there_are_fewer_to_label_where_some_are_held_out():
    assert split(labelled=15, validation=0.25).n_unlabelled(0, 1, 2) == 0
    with pytest.raises(ValueError, match=r"labelled is 16, but class .* has 15 training images that are not held out"):
        split(labelled=16, validation=0.25)
    uneven = replace(DATA, x_train=DATA.x_train[:-12], y_train=torch.cat([DATA.y_train[:-18], DATA.y_train[:6]]))
    few = csd.split(uneven, n_tasks=2, labelled=0.05)
    assert few.n_images(0, 1) == 6  # no class without a label
    with pytest.raises(ValueError, match="labelled is 20, but class 'stripe"):
        csd.split(replace(DATA, x_train=DATA.x_train[:-1], y_train=DATA.y_train[:-1]), n_tasks=2, labelled=20)


def test_the_seed_decides_which_and_nothing_else_does():
    def labelled(**how: Any) -> list[bytes]:
        return whose(split(labelled=3, **how).train(0, 1, 2).labelled().images)

    assert labelled() == labelled()
    assert labelled() == labelled(shuffle=False)
    assert labelled() != labelled(seed=1)
    task_by_task = [x for t in range(3) for x in whose(split(labelled=3).train(t).labelled().images)]
    assert sorted(task_by_task) == labelled()


def test_the_same_images_have_a_label_everywhere():
    rows = torch.nonzero(csd.split(DATA, n_tasks=3, labelled=3)._has_label).squeeze(1).tolist()
    assert rows == [3, 11, 16, 18, 38, 39, 42, 53, 64, 68, 73, 78, 85, 95, 98, 105, 109, 112]


def test_a_stream_says_how_many_have_a_label():
    assert repr(split(labelled=3)) == f"{split()!r}, 18 training images with a label"
    assert "label" not in repr(split())


def test_held_out_images_and_labels_are_drawn_apart():
    held_out = [whose(split(validation=0.25, labelled=how).held_out(0, 1, 2).images) for how in (None, 3, 0.2)]
    assert held_out[0] == held_out[1] == held_out[2]
    stream = split(validation=0.25, labelled=3)
    assert not set(whose(stream.train(0, 1, 2).images)) & set(held_out[0])
    assert stream.held_out(0, 1, 2).labels.min() >= 0  # they have theirs
    assert stream.test().labels.min() >= 0


@given(
    n=st.integers(1, 30),
    share=st.floats(0, 1, exclude_min=True),
    validation=st.sampled_from([0, 0.2, 0.5]),
    s=st.integers(0, 9),
)
@pytest.mark.filterwarnings("ignore::csd_edu.doubts.Doubt")  # of single images
def test_every_class_has_a_label_and_none_has_more_than_images(n, share, validation, s):
    data = striped(n_classes=3, train=max(n, 2), test=1)
    stream = csd.split(data, n_tasks=2, labelled=share, validation=validation, seed=s)
    counts = stream.train(0, 1).labelled().labels.bincount(minlength=3)
    total = int((stream.train(0, 1).labels == UNLABELLED).sum()) + int(counts.sum())
    assert counts.min() >= 1
    assert counts.max() <= total // 3
    assert len(set(counts.tolist())) == 1
    assert stream.n_images(0, 1) + stream.n_unlabelled(0, 1) == total


# ---------------------------------------------------------------------- what reaches a method


def batches(n_labelled: int, n_unlabelled: int, batch_size: int) -> Batches:
    def numbered(n: int, first: int) -> torch.Tensor:
        return torch.arange(first, first + n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 16, 16).contiguous()

    return Batches(
        Images(numbered(n_labelled, 0), torch.arange(n_labelled)),
        unlabelled=numbered(n_unlabelled, 100) if n_unlabelled else None,
        batch_size=batch_size,
        crop_padding=0,
        flip=False,
        device=torch.device("cpu"),
    )


@given(st.integers(1, 60), st.integers(0, 60), st.integers(2, 20))
def test_an_epoch_goes_once_over_the_larger_kind_and_evenly_over_the_other(n_labelled, n_unlabelled, batch_size):
    source = batches(n_labelled, n_unlabelled, batch_size)
    drawn = list(source.epoch(torch.Generator().manual_seed(0)))
    assert len(drawn) == len(source) == math.ceil(max(n_labelled, n_unlabelled) / batch_size)
    for batch in drawn:
        assert 1 <= len(batch.labels) <= batch_size
        assert torch.equal(batch.raw[:, 0, 0, 0].long(), batch.labels)
        assert torch.equal(batch.images, batch.raw)
        assert torch.equal(batch.index, batch.labels)
        assert (batch.unlabelled is None) == (n_unlabelled == 0)
        if batch.unlabelled is not None:
            assert 1 <= len(batch.unlabelled) <= batch_size
    sizes = {len(batch.labels) for batch in drawn}
    assert max(sizes) - min(sizes) <= 1
    labelled = torch.cat([batch.labels for batch in drawn]).bincount(minlength=n_labelled)
    others = torch.cat([x.unlabelled[:, 0, 0, 0] for x in drawn if x.unlabelled is not None] or [torch.zeros(0)])
    counts = others.long().bincount(minlength=100 + n_unlabelled)[100:] if n_unlabelled else torch.ones(1)
    for count in (labelled, counts):
        assert count.max() - count.min() <= 1
    assert labelled.max() == 1 or n_labelled < n_unlabelled
    assert counts.max() == 1 or n_unlabelled < len(drawn)
    assert source.n_images == len(others) + int(labelled.sum())
    assert in_epoch(n_labelled, n_unlabelled, batch_size) == (len(drawn), int(labelled.sum()), len(others))


def test_where_there_are_fewer_than_a_batch_has_each_batch_has_all_labelled_ones():
    drawn = list(batches(6, 60, 20).epoch(torch.Generator().manual_seed(0)))
    assert [sorted(batch.labels.tolist()) for batch in drawn] == [[0, 1, 2, 3, 4, 5]] * 3
    assert len({tuple(batch.labels.tolist()) for batch in drawn}) > 1


def looks_of(stream: csd.Stream, tmp_path: Any, method: Any = csd.methods.finetune) -> tuple[list[Step], csd.Run]:
    steps: list[Step] = []

    def looking(step: Step) -> dict[str, torch.Tensor]:
        steps.append(step)
        return method(step)

    looking.__module__ = "csd_edu.pretend"  # what it writes down is the test's
    return steps, csd.train(stream, looking, TINY, out=tmp_path, progress=False)


def test_a_step_has_labelled_images_with_labels_and_the_others_raw(tmp_path):
    stream = split(labelled=3)
    steps, run = looks_of(stream, tmp_path / "r")
    for task in range(3):
        of_task = [step for step in steps if step.task == task]
        learnt = stream.train(task)
        known = whose(learnt.labelled().images)
        assert len(of_task) == 2 * math.ceil(34 / 16)  # epochs, steps
        for step in of_task:
            assert step.labels.tolist() != [UNLABELLED]
            assert step.labels.bincount()[2 * task :].tolist() == [3, 3]
            assert whose(step.raw) == known
        unlabelled = learnt.unlabelled()
        for epoch in (of_task[:3], of_task[3:]):
            assert whose(torch.cat([step.unlabelled for step in epoch])) == whose(unlabelled)
    assert {record["images"] for record in run.records if record["kind"] == "epoch"} == {34 + 3 * 6}
    progress = Progress(stream, csd.methods.finetune, TINY, run)
    assert progress.total == progress.done == 6 * (34 + 18)
    assert Progress(stream, csd.methods.finetune, TINY, replace_records(run)).total == progress.total


def replace_records(run: csd.Run) -> Any:
    """Return a run of which nothing is learnt yet."""
    return type("Begun", (), {"records": [], "method": run.method})()


def test_a_supervised_method_takes_as_many_steps_as_one_that_uses_all_images(tmp_path):
    stream = split(labelled=3)
    with_labels, _ = looks_of(stream, tmp_path / "a")
    with_all, _ = looks_of(stream, tmp_path / "b", lambda s: {"x": s.view(s.unlabelled).features.square().mean()})
    assert [s.task for s in with_labels] == [s.task for s in with_all]


class Hooks(csd.methods.Method):
    """Writes down what its hooks are given."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.counts = [list(setting.n_images), list(setting.n_unlabelled)]
        self.least = torch.zeros(1)

    def begin_task(self, task: int, images: Any, labels: Any, view: Any) -> None:
        self.least = torch.minimum(self.least, labels.min() - labels.min().clamp_min(0))
        assert len(images) == len(labels) == 6

    def training_images(self, task: int, images: Any, labels: Any) -> Any:
        assert len(images) == len(labels) == 6
        return images[:4], labels[:4]

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        assert len(step.labels) == 4
        return csd.methods.finetune(step)

    end_task = begin_task


def test_a_methods_hooks_have_the_labelled_images_and_it_is_told_the_numbers(tmp_path):
    run = csd.train(split(labelled=3), Hooks(), TINY, out=tmp_path / "r", progress=False)
    assert run.kept()["counts"] == [[6, 6, 6], [34, 34, 34]]
    assert run.kept()["least"] == 0
    whole = Hooks()
    learner = csd.learner.Learner(csd.models.build("resnet8"), split(), whole, TINY)
    learner.begin_method()
    assert whole.counts == [[40, 40, 40], [0, 0, 0]]


def test_the_networks_pixel_statistics_are_those_of_all_images_of_the_first_task(tmp_path):
    mean, std = pixel_statistics(split().train(0).images)
    network = csd.train(split(labelled=1), csd.methods.finetune, TINY, out=tmp_path, progress=False).network(0)
    torch.testing.assert_close(network.pixel_mean.flatten(), mean.float())
    torch.testing.assert_close(network.pixel_std.flatten(), std.float())


@pytest.mark.parametrize("name", ["finetune", "lwf", "csd", "supcon", "joint", "frozen", "fe", "mmd"])
def test_the_other_methods_learn_from_the_labelled_images(tmp_path, name):
    run = csd.train(split(labelled=3), csd.methods.find(name), TINY, out=tmp_path / "r", progress=False)
    assert run.finished


def test_a_memory_for_more_images_than_have_a_label_is_refused(tmp_path):
    with pytest.raises(ValueError, match="memory for 200 images, but the stream has 18 with a label to train on"):
        csd.train(split(labelled=3), csd.methods.er, TINY, out=tmp_path / "r", progress=False)
    run = csd.train(split(labelled=3), csd.methods.ER(size=18), TINY, out=tmp_path / "r", progress=False)
    assert run.kept()["memory"]["rows"]["labels"].min() >= 0


# ---------------------------------------------------------------------- images without a label go astray


FEATURES = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
ASTRAY = torch.tensor([0, 1, UNLABELLED, 1])


@pytest.mark.parametrize(
    "loss",
    [
        lambda labels: losses.cross_entropy(FEATURES, labels),
        lambda labels: losses.batch_hard_triplet(FEATURES, labels),
        lambda labels: losses.supervised_contrastive(FEATURES, labels),
        lambda labels: losses.csd(FEATURES, FEATURES, labels),
        lambda labels: losses.csd_pairs(FEATURES, FEATURES, labels),
    ],
)
def test_a_supervised_loss_refuses_them(loss):
    loss(ASTRAY.clamp_min(0))
    with pytest.raises(
        ValueError, match=r"labels hold -1, .* unlabelled rows cannot reach a supervised loss; expected"
    ):
        loss(ASTRAY)


def test_a_memory_that_is_balanced_refuses_them_and_keeps_what_it_has():
    memory = csd.Memory(8, balanced=True)
    memory.add(labels=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels hold -1, .* unlabelled rows are of no class to balance; expected"):
        memory.add(labels=ASTRAY)
    assert len(memory) == memory.n_seen == 2
    csd.Memory(8).add(labels=ASTRAY)  # by reservoir sampling a row is a row


# ---------------------------------------------------------------------- a run and its identity


def test_a_run_goes_on_with_the_same_labels_only(tmp_path):
    stream, config = split(labelled=3), TINY.replace(epochs=3)
    csd.train(stream, csd.methods.finetune, config, out=tmp_path / "whole", progress=False)
    for _ in range(20):
        records = csd.training(stream, csd.methods.finetune, config, out=tmp_path / "r")
        if next(records, None) is None:
            break
        records.close()
        for other in (split(labelled=4), split(labelled=0.15), split()):
            with pytest.raises(ValueError, match="labelled"):
                csd.training(other, csd.methods.finetune, config, out=tmp_path / "r")
    assert_equal_runs(tmp_path / "whole", tmp_path / "r")
    assert csd.Run.load(tmp_path / "r").description["stream"]["labelled"] == 3


def test_a_run_with_all_labels_is_not_gone_on_with_fewer(tmp_path):
    next(csd.training(split(), csd.methods.finetune, TINY, out=tmp_path / "r"))
    with pytest.raises(ValueError, match="labelled"):
        csd.training(split(labelled=1), csd.methods.finetune, TINY, out=tmp_path / "r")
    csd.training(split(labelled=1.0), csd.methods.finetune, TINY, out=tmp_path / "r")


# ---------------------------------------------------------------------- all that is done with a stream


def test_the_rehearsal_has_as_many_labels_and_no_test_image(tmp_path):
    stream = split(labelled=3, validation=0.25)
    two = tuning.first_two(stream)
    assert two.labelled == 3
    assert two.describe()["labelled"] == 3
    for task in range(2):
        assert two.train(task).labelled().labels.bincount(minlength=4)[2 * task :][:2].tolist() == [3, 3]
    assert whose(two.train(0, 1).images) == whose(stream.train(0, 1).images)
    assert whose(two.test().images) == whose(stream.held_out(0, 1).images)
    assert two.test().labels.min() >= 0
    assert csd.train(two, csd.methods.finetune, TINY, out=tmp_path, progress=False).finished


def test_the_rehearsal_labels_each_image_as_the_stream_does():
    stream = split(labelled=0.2, validation=0.25, seed=4)
    two, whole = stream.rehearsal(2), split(validation=0.25, seed=4)
    truth = {
        bytes(x): y for x, y in zip(whole.train(0, 1).images.numpy(), whole.train(0, 1).labels.tolist(), strict=True)
    }
    for image, label in zip(*(part.numpy() for part in two.train(0, 1).labelled()), strict=True):
        assert truth[bytes(image)] == label


@pytest.mark.campaign
def test_weights_are_tuned_with_all_labels_as_before(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "GRID", (1,))
    monkeypatch.setattr(tuning, "SETTINGS", {"lwf": "weight"})
    found = tuning.tune(DATA, Preset(TINY, 3), seeds=[5], out=tmp_path, progress=False, n_jobs=1)
    assert "labelled" not in csd.Run.load(tmp_path / "seed5" / "lwf-weight-1").description["stream"]
    assert len(found.methods["lwf"].grid[1.0]) == 1


@pytest.mark.campaign
def test_side_by_side_it_is_the_same_run(tmp_path):
    stream = split(labelled=2)
    alone = csd.train(stream, csd.methods.csd, TINY, out=tmp_path / "alone", progress=False)
    jobs = {name: Job(stream, csd.methods.find(name), TINY, tmp_path / name) for name in ("csd", "finetune")}
    runs = sweep(jobs, n_jobs=1, progress=False)
    assert torch.equal(runs["csd"].features(2), alone.features(2))


def test_watched_in_a_notebook_it_is_the_same_run(tmp_path):
    stream = split(labelled=2)
    run = LiveTraining(stream, csd.methods.finetune, TINY, out=tmp_path / "live").train()
    alone = csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "alone", progress=False)
    assert torch.equal(run.features(2), alone.features(2))


@pytest.mark.slow
def test_the_report_tells_the_number(tmp_path):
    run = csd.train(split(labelled=3), csd.methods.finetune, TINY, out=tmp_path / "r", progress=False)
    page = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<th scope="row">labelled</th><td colspan="1">3</td>' in page
    assert 'scope="row">labelled<' not in _made({"all": csd.train(split(), csd.methods.finetune, TINY, progress=False)})


@pytest.mark.parametrize(("text", "found"), [("3", 3), ("0.1", 0.1), ("1", 1), ("1.0", None), ("1e-1", 0.1)])
def test_asked_for_on_the_command_line(tmp_path, capsys, text, found):
    images = str(csd.data.save(DATA, tmp_path / "stripes.npz"))
    quick = ["--epochs", "1", "--later-epochs", "1", "--tasks", "2", "--threads", "1", "--method", "finetune"]
    out = tmp_path / "run"
    assert cli.main(["train", "--dataset", images, "--labelled", text, *quick, "--out", str(out)]) == 0
    run = csd.Run.load(out)
    assert run.description["stream"].get("labelled") == found
    capsys.readouterr()
    if found is not None:
        assert cli.main(["train", "--dataset", images, *quick, "--out", str(out)]) == cli.EXIT_MISTAKE
        assert "labelled" in capsys.readouterr().err
        _, options = saved._asked_for(run)  # how to train it again
        assert options[options.index("--labelled") + 1] == str(found)
    else:
        assert "--labelled" not in saved._asked_for(run)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [("0", "labelled is 0"), ("1.5", "labelled is 1.5"), ("nan", "labelled is nan"), ("99", "is 99")],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    images = str(csd.data.save(DATA, tmp_path / "stripes.npz"))
    assert cli.main(["train", "--dataset", images, "--tasks", "2", "--labelled", text]) == cli.EXIT_MISTAKE
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    with pytest.raises(SystemExit):
        cli.main(["train", "--labelled", "few"])
    assert "'few' is no number; expected a share of each class" in capsys.readouterr().err
