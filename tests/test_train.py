"""The training loop: what it computes, what it saves, and what it refuses."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu.batches import Batches
from csd_edu.models import build, embed
from csd_edu.runtime import derive_seed, pick_device, pick_precision
from csd_edu.tasks import Images
from tests.conftest import TINY, striped


@pytest.fixture(scope="module")
def stream(stripes):
    return csd.split(stripes, n_tasks=3, seed=0)


@pytest.fixture(scope="module")
def run(stream, tmp_path_factory):
    return csd.train(stream, csd.methods.csd, TINY, out=tmp_path_factory.mktemp("runs") / "csd", progress=False)


# ---------------------------------------------------------------------- what a run leaves behind


def test_a_run_holds_everything_that_comes_after_needs(run, stream):
    names = {path.name for path in run.path.iterdir()}
    assert {"config.json", "records.jsonl", "metrics.json", "test.safetensors"} <= names
    for task in range(3):
        assert run.features(task).shape == (24, 64)
        assert run.predictions(task).max() < stream.n_seen[task]
        assert len(run.network(task).head.weight) == stream.n_seen[task]
    test = run.test()
    assert torch.equal(test["labels"], stream.test().labels)
    assert torch.equal(test["images"], stream.test().images)
    assert run.finished
    assert run.method == "csd"
    assert run.classes == list(stream.classes)
    assert not any(name.endswith((".pt", ".pkl", ".pth", ".tmp")) for name in names)


def test_records_name_the_terms_of_the_method(run):
    epochs = [r for r in run.records if r["kind"] == "epoch"]
    assert [(r["task"], r["epoch"]) for r in epochs] == [(t, e) for t in range(3) for e in range(2)]
    assert set(epochs[0]["losses"]) == {"ce", "triplet"}
    assert set(epochs[-1]["losses"]) == {"ce", "triplet", "kd", "csd"}
    assert [r["task"] for r in run.records if r["kind"] == "task"] == [0, 1, 2]


def test_metrics_have_the_whole_square_and_its_summary(run):
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert set(metrics["summary"]) == {"recall_at_1", "forgetting", "head_accuracy"}
    seen, own = metrics["recall_at_1"]["seen"], metrics["recall_at_1"]["task"]
    for i in range(3):
        for j in range(3):
            assert (seen[i][j] is None) == (j > i)
            assert 0 <= own[i][j] <= 1
            assert (metrics["head_accuracy"]["seen"][i][j] is None) == (j > i)


def test_saved_features_are_what_the_saved_network_makes_of_the_saved_images(run):
    for task in range(3):
        features, logits = embed(run.network(task), run.test()["images"])
        assert torch.equal(features, run.features(task))
        assert torch.equal(logits.argmax(dim=1), run.predictions(task))


def test_images_can_be_left_out(stream, tmp_path):
    run = csd.train(stream, csd.methods.finetune, TINY.replace(save_images=False), out=tmp_path / "r", progress=False)
    assert set(run.test()) == {"labels", "tasks"}


def test_loading_what_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run in"):
        csd.Run.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        csd.Run.load(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="run format 99"):
        csd.Run.load(tmp_path)


# ---------------------------------------------------------------------- what it computes


def test_one_step_equals_plain_torch(stripes, tmp_path):
    """One epoch of one batch, without augmentation, against a few lines of plain PyTorch in NCHW float32."""
    stream = csd.split(stripes, n_tasks=1, seed=0)
    config = TINY.replace(epochs=1, batch_size=1000, crop_padding=0, schedule="constant", lr=0.01)
    run = csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)

    images, labels = stream.train(0)
    pixels = images.double() / 255
    mean, std = pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3), correction=0)
    network = build("resnet8", 3, n_classes=0, seed=derive_seed(0, "weights"), pixel_mean=mean, pixel_std=std)
    network.head.grow(6, torch.Generator().manual_seed(derive_seed(0, "head", 0)))
    network = network.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=5e-4)
    features, logits = network.train()(images)
    loss = F.cross_entropy(logits, labels) + csd.losses.batch_hard_triplet(features, labels)
    loss.backward()
    optimizer.step()

    losses = run.records[0]["losses"]
    assert losses["ce"] + losses["triplet"] == pytest.approx(loss.item(), rel=1e-5)
    trained = run.network(0)
    for name, value in network.named_parameters():
        # Adam's first step is lr · sign(gradient): tiny gradients of either sign may land on either side.
        close = (trained.get_parameter(name) - value).abs() < 1e-4
        assert close.float().mean() > 0.99, name


def test_every_epoch_shows_every_image_once_cropped_and_flipped():
    n, size, padding = 200, 6, 2
    images = torch.arange(1, n + 1, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, size, size).clone()
    images[:, 1] = torch.arange(1, size + 1, dtype=torch.uint8)  # columns: where the crop and the flip went
    images[:, 2] = torch.arange(1, size + 1, dtype=torch.uint8)[:, None]  # rows
    batches = Batches(
        Images(images, torch.arange(n)), batch_size=64, crop_padding=padding, flip=True, device=torch.device("cpu")
    )
    assert len(batches) == 4
    seen, offsets, flips = [], set(), 0
    for drawn in batches.epoch(torch.Generator().manual_seed(0)):
        batch, labels = drawn.images, drawn.labels
        assert batch.dtype == torch.uint8
        assert len(labels) == 50  # equal batches, not 64 + 64 + 64 + 8
        for crop, label in zip(batch, labels.tolist(), strict=True):
            seen.append(label)
            inside = crop[0] > 0
            assert set(crop[0][inside].tolist()) == {label + 1}
            rows = crop[2].amax(dim=1)
            columns = crop[1].amax(dim=0).tolist()
            flipped = [c for c in columns if c] != sorted(c for c in columns if c)
            flips += flipped
            offsets.add((tuple(rows.tolist()), tuple(columns[::-1] if flipped else columns)))
    assert sorted(seen) == list(range(n))
    assert len(offsets) == (2 * padding + 1) ** 2  # every shift occurs among 200 images
    assert 60 < flips < 140


def test_without_padding_and_flip_the_images_come_as_they_are():
    images = torch.randint(256, (10, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = Batches(
        Images(images, torch.arange(10)), batch_size=4, crop_padding=0, flip=False, device=torch.device("cpu")
    )
    for batch in batches.epoch(torch.Generator().manual_seed(1)):
        assert torch.equal(batch.images, images[batch.labels])
        assert torch.equal(batch.raw, batch.images)
        assert torch.equal(batch.index, batch.labels)


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_generator_alone(stream, run, tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = csd.train(stream, csd.methods.csd, TINY, out=tmp_path / "again", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert (again.path / "metrics.json").read_bytes() == (run.path / "metrics.json").read_bytes()
    assert torch.equal(again.features(2), run.features(2))
    other = csd.train(stream, csd.methods.csd, TINY.replace(seed=1), out=tmp_path / "other", progress=False)
    assert not torch.equal(other.features(2), run.features(2))


def test_a_method_that_draws_random_numbers_is_reproducible(stream, tmp_path):
    def noisy(step):
        return {"ce": F.cross_entropy(step.logits + torch.randn_like(step.logits), step.labels)}

    one, two = (csd.train(stream, noisy, TINY, out=tmp_path / name, progress=False) for name in "ab")
    assert torch.equal(one.features(2), two.features(2))


def test_the_teacher_is_the_frozen_network_of_the_task_before(stream, tmp_path):
    seen = []

    def spy(step):
        if step.teacher is not None:
            network = csd.Run.load(tmp_path / "r").network(step.task - 1)
            with torch.no_grad():
                features, logits = network(step.images)
            torch.testing.assert_close(step.teacher.features, features)
            torch.testing.assert_close(step.teacher.logits, logits)
            assert not step.teacher.features.requires_grad
        seen.append((step.task, step.teacher is None, step.logits.shape[1]))
        return csd.methods.finetune(step)

    csd.train(stream, spy, TINY, out=tmp_path / "r", progress=False)
    assert {s for s in seen if s[0] == 0} == {(0, True, 2)}
    assert {s for s in seen if s[0] == 2} == {(2, False, 6)}


def test_the_teacher_in_train_mode_sees_batch_statistics(stream, tmp_path):
    def spy(step):
        if step.teacher is not None:
            network = csd.Run.load(tmp_path / "r").network(step.task - 1).train()
            with torch.no_grad():
                torch.testing.assert_close(step.teacher.features, network(step.images)[0])
        return csd.methods.finetune(step)

    csd.train(stream, spy, TINY.replace(teacher_mode="train"), out=tmp_path / "r", progress=False)


def test_joint_learns_everything_once_and_then_stands_still(stream, tmp_path):
    run = csd.train(stream, csd.methods.joint, TINY, out=tmp_path / "joint", progress=False)
    assert torch.equal(run.features(0), run.features(2))
    assert len(run.network(0).head.weight) == 6
    assert run.predictions(0).max() < 2  # answers only among the classes of the stream so far
    assert {r["task"] for r in run.records if r["kind"] == "epoch"} == {0}
    own = run.metrics["recall_at_1"]["task"]
    assert own[0] == own[1] == own[2]


def test_uneven_tasks_grow_the_head_step_by_step(stripes, tmp_path):
    stream = csd.split(stripes, sizes=[1, 3, 2])
    run = csd.train(stream, csd.methods.csd, TINY, out=tmp_path / "r", progress=False)
    assert [len(run.network(t).head.weight) for t in range(3)] == [1, 4, 6]


def test_the_network_learns(tmp_path):
    data = striped(train=30)
    stream = csd.split(data, n_tasks=1)
    run = csd.train(stream, csd.methods.finetune, TINY.replace(epochs=6), out=tmp_path / "r", progress=False)
    assert run.metrics["summary"]["recall_at_1"] > 0.9
    assert run.metrics["summary"]["head_accuracy"] > 0.9


def test_grey_images_of_an_odd_size(tmp_path):
    data = striped(size=19, channels=1)
    run = csd.train(csd.split(data, n_tasks=2), csd.methods.csd, TINY, out=tmp_path / "r", progress=False)
    assert run.finished


def test_the_best_epoch_on_the_held_out_images_is_kept(tmp_path):
    data = striped(train=20, noise=200)
    stream = csd.split(data, n_tasks=2, validation=0.3)
    weights_after = {}

    config = TINY.replace(epochs=5, later_epochs=5, select="best", lr=0.02, later_lr=0.02)
    for record in csd.training(stream, csd.methods.finetune, config, out=tmp_path / "r"):
        if record["kind"] == "epoch" and record["task"] == 0:
            tensors, _ = csd.runs.Journal(csd.Run.load(tmp_path / "r")).resume()
            weights_after[record["epoch"]] = (record["validation_recall_at_1"], tensors["network.head.weight"])
    best = max(weights_after, key=lambda epoch: weights_after[epoch][0])
    kept = csd.Run.load(tmp_path / "r").network(0).head.weight
    assert torch.equal(kept, weights_after[best][1])
    assert len({score for score, _ in weights_after.values()}) > 1, "all epochs scored the same: nothing to choose"


def test_learning_rate_schedules():
    step = csd.Config(schedule="multistep", milestones=(2, 4), lr=1.0, epochs=6)
    assert [step.learning_rate(0, e) for e in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cycle = csd.Config(schedule="one_cycle", lr=1.0, later_lr=0.5, epochs=8, later_epochs=4)
    assert cycle.learning_rate(0, 2) == pytest.approx(1.0)
    assert cycle.learning_rate(1, 1) == pytest.approx(0.5)
    assert cycle.learning_rate(0, 0) < 0.05
    assert cycle.learning_rate(0, 8) == pytest.approx(0.0)
    assert csd.Config(schedule="constant", lr=0.3).learning_rate(0, 5.5) == 0.3


def test_published_schedule():
    config = csd.preset("cifar100", "paper").config
    milestones = (200, 400, 600)
    assert (config.network, config.epochs, config.batch_size, config.milestones) == ("resnet32", 800, 128, milestones)
    assert (config.lr, config.later_lr, config.weight_decay) == (1e-3, 1e-5, 5e-4)
    assert (config.crop_padding, config.flip) == (4, True)


@pytest.mark.parametrize("dataset", ["glyphs", "digits", "omniglot", "cifar100", "my/folder"])
@pytest.mark.parametrize("name", ["quick", "lab", "paper"])
def test_there_is_a_preset_for_everything(dataset, name):
    preset = csd.preset(dataset, name)
    assert preset.config.flip == (dataset in ("cifar100", "my/folder"))  # mirrored writing is other writing


def test_precision_is_what_the_hardware_truly_has(monkeypatch):
    cuda = torch.device("cuda")
    for capability, expected in [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((6, 1), torch.float32)]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert pick_precision("auto", cuda) == expected
    assert pick_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_on_the_cpu(stream, precision, tmp_path):
    run = csd.train(stream, csd.methods.csd, TINY.replace(precision=precision), out=tmp_path / "r", progress=False)
    assert run.features(2).dtype == torch.float32


def test_the_progress_line_shows_terms_recall_and_time_left(stream, tmp_path, capsys):
    run = csd.train(stream, csd.methods.csd, TINY, out=tmp_path / "r")
    last = capsys.readouterr().out.replace("\r", "\n").strip().splitlines()[-1]
    assert "100%" in last
    assert "00:00 left" in last
    for term in ("ce ", "triplet ", "kd ", "csd "):
        assert term in last
    assert f"R@1 {run.metrics['summary']['recall_at_1']:.3f}" in last


def test_a_collapse_is_reported(stream, tmp_path, capsys, monkeypatch):
    constant = torch.ones(24, 64), torch.zeros(24, 6)
    monkeypatch.setattr(csd.models, "embed", lambda *_: constant)
    run = csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "r")
    assert "after task 0 all features point the same way (collapse)" in capsys.readouterr().out
    assert all(r["collapsed"] for r in run.records if r["kind"] == "task")
    assert run.metrics["summary"]["recall_at_1"] == 0.0


# ---------------------------------------------------------------------- a student's own method


def test_a_students_own_function(stream, tmp_path):
    def mine(step):
        terms = csd.methods.lwf(step)
        if step.teacher is not None:
            terms["feature"] = 1 - F.cosine_similarity(step.features, step.teacher.features).mean()
        return terms

    run = csd.train(stream, mine, TINY, out=tmp_path / "mine", progress=False)
    assert run.method == "mine"
    assert set(run.records[-2]["losses"]) == {"ce", "triplet", "kd", "feature"}


def test_a_method_with_arguments(stream, tmp_path):
    method = functools.partial(csd.methods.csd, weight=0.5)
    run = csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert run.method == "csd(weight=0.5)"
    with pytest.raises(ValueError, match=r"'csd\(weight=0.5\)', now 'csd\(weight=0.6\)'"):
        csd.train(stream, functools.partial(csd.methods.csd, weight=0.6), TINY, out=tmp_path / "r", progress=False)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType"),
        (torch.tensor(1.0), "returned Tensor"),
        ({}, "returned dict"),
        ({"ce": 0.5}, "term 'ce' is 0.5"),
        ({"ce": torch.ones(3)}, r"term 'ce' is a tensor of shape \(3,\)"),
        ({"ce": torch.tensor(1.0)}, "depends on step.features"),
    ],
)
def test_a_method_that_returns_no_loss_terms_is_told_so(stream, tmp_path, returned, message):
    with pytest.raises(ValueError, match=message):
        csd.train(stream, lambda step: returned, TINY, out=tmp_path / "r", progress=False)  # noqa: ARG005


def test_a_changed_method_does_not_continue_an_old_run(stream, tmp_path):
    def make(weight):
        source = f"def mine(step):\n    return {{'ce': {weight} * step.logits.square().mean()}}\n"
        path = tmp_path / f"mine_{weight}.py".replace(".", "_", 1)
        path.write_text(source)
        namespace = {"__name__": "student"}
        exec(compile(source, path, "exec"), namespace)
        return namespace["mine"]

    csd.train(stream, make(1.0), TINY, out=tmp_path / "r", progress=False)
    with pytest.raises(ValueError, match="the code of method 'mine' has changed"):
        csd.train(stream, make(2.0), TINY, out=tmp_path / "r", progress=False)


# ---------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize("term", ["csd", "kd"])
def test_a_loss_that_becomes_nan_stops_and_keeps_the_last_good_epoch(stream, tmp_path, term):
    class Breaks(csd.methods.Method):
        def __init__(self):
            self.steps = 0

        def __call__(self, step):
            terms = csd.methods.csd(step)
            self.steps += step.task == 1
            if self.steps > 2:  # in the third step of task 1: 16 images make one step of 16 an epoch
                terms[term] = terms[term] * float("nan")
            return terms

    with pytest.raises(csd.TrainingDivergedError, match=f"'{term}' became NaN or infinite in task 1, epoch 2, step 0"):
        csd.train(stream, Breaks(), TINY.replace(later_epochs=4), out=tmp_path / "r", progress=False)
    run = csd.Run.load(tmp_path / "r")
    assert [(r["task"], r["epoch"]) for r in run.records if r["kind"] == "epoch"][-1] == (1, 1)
    assert run.tasks_learnt == 1
    assert torch.isfinite(run.features(0)).all()


def test_a_gradient_that_overflows_is_noticed_too(stream, tmp_path):
    def overflows(step):
        return {"ce": (step.logits * 0).sum().sqrt()}  # finite value, infinite slope

    with pytest.raises(csd.TrainingDivergedError, match="weight of the network"):
        csd.train(stream, overflows, TINY.replace(batch_size=100, epochs=1), out=tmp_path / "r", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "resnet9"}, "network is .resnet9.; expected one of .resnet8., .resnet14."),
        ({"epochs": 0}, "epochs is 0"),
        ({"later_epochs": 1.5}, "later_epochs is 1.5"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"schedule": "cosine"}, "schedule is 'cosine'"),
        ({"schedule": "multistep", "milestones": (5, 3)}, "milestones"),
        ({"milestones": (5,)}, "expected 'multistep'"),
        ({"teacher_mode": "frozen"}, "teacher_mode is 'frozen'"),
        ({"select": "test"}, "select is 'test'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"seed": "zero"}, "seed is 'zero'"),
        ({"epoch": 3}, "no field 'epoch'"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        csd.Config().replace(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu9"}, "device is 'tpu9'"),
        ({"device": "cuda:99"}, "device is 'cuda:99'"),
        ({"device": "cpu", "precision": "float16"}, "float16"),
        ({"select": "best"}, "select is 'best'"),
    ],
)
def test_what_this_machine_or_stream_cannot_do_is_refused_before_any_work(stream, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        csd.train(stream, csd.methods.csd, TINY.replace(**changes), out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_a_method_called_by_mistake_and_an_unknown_preset(stream, tmp_path):
    with pytest.raises(ValueError, match="expected a function"):
        csd.train(stream, {"ce": 1}, TINY, out=tmp_path / "r", progress=False)
    with pytest.raises(ValueError, match="preset is 'fast'; expected one of 'quick', 'lab', 'paper'"):
        csd.preset("glyphs", "fast")


def test_automatic_device_is_always_there():
    assert pick_device("auto").type in ("cpu", "cuda")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP library, which tells its settings, is that of Linux")
@pytest.mark.parametrize(("policy", "spins"), [(None, "0"), ("ACTIVE", "30000000000")])
def test_threads_that_wait_sleep_unless_it_is_wanted_otherwise(policy, spins):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    env |= {"OMP_DISPLAY_ENV": "VERBOSE"} | ({"OMP_WAIT_POLICY": policy} if policy else {})
    told = subprocess.run(
        [sys.executable, "-c", "import csd_edu; csd_edu.train"], env=env, capture_output=True, text=True
    ).stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", told)[0] == spins
