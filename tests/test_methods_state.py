"""Methods that keep something: killed at any moment they go on to the same bits, with all that they keep."""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # which the first step of an optimiser imports: once here, not in each child
from torch import nn

import csd_edu as csd
from csd_edu.methods import Method, Setting, Step
from tests.conftest import TINY, striped
from tests.test_resume import assert_equal_runs, truncate
from tests.test_state import same

CONFIG = TINY.replace(epochs=3)


# ---------------------------------------------------------------------- methods that keep things


@dataclass
class Dreaming(Method):
    """Has a generator, and an optimiser for it; trained in the middle of a step, by a backward pass of its own.

    The network's loss leaves gradients in the generator, which are there when the next step goes backward.
    """

    size: int = 8

    def begin(self, setting: Setting) -> None:
        self.shape = setting.image_shape
        n_pixels = self.shape[0] * self.shape[1] * self.shape[2]
        self.generator = nn.Sequential(
            nn.Linear(self.size, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, n_pixels)
        )
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=1e-2)

    def dream(self) -> torch.Tensor:
        return self.generator(torch.randn(8, self.size)).sigmoid().view(8, *self.shape)

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.finetune(step)
        distance = step.view(self.dream()).features.mean(dim=0) - step.features.detach().mean(dim=0)
        distance.square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {**terms, "dream": 0.1 * step.view(self.dream()).features.square().mean()}

    def end_task(self, task: int, *_: Any) -> None:
        self.generator[2 if task else 3].eval()
        self.generator[0].requires_grad_(task % 2 == 0)


@dataclass
class Banked(Method):
    """Has a feature for each image, by its index: a running mean that the image's feature is drawn to."""

    momentum: float = 0.5

    def begin(self, setting: Setting) -> None:
        self.bank = csd.Bank(max(setting.n_images), setting.dim, device=setting.device)

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        old = self.bank.read(step.index)
        self.bank.write(step.index, torch.lerp(old, step.features.detach(), self.momentum))
        return {**csd.methods.finetune(step), "bank": (step.features - old).square().mean()}


class Counting:
    """No `Method` at all: an object with a number, a tensor and a growing list."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(64)
        self.history: list[Any] = []

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        self.n += 1
        self.mean = torch.lerp(self.mean, step.features.detach().mean(dim=0), 0.1)
        self.history.append({"task": step.task, "first": step.features[0].detach().clone()})
        far = sum((step.features - kept["first"]).square().mean() for kept in self.history[-3:])
        return {**csd.methods.finetune(step), "far": far * (self.n % 3) + (step.features - self.mean).square().mean()}


@dataclass
class Projected(Method):
    """Has a projection that is trained with the network, and how it was after the task before."""

    dim: int = 16

    def begin(self, setting: Setting) -> None:
        self.projection = nn.Sequential(nn.Linear(setting.dim, self.dim), nn.BatchNorm1d(self.dim))
        self.center = nn.Parameter(torch.zeros(self.dim))
        self.before = copy.deepcopy(self.projection).requires_grad_(False)

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        now = self.projection(step.features)
        terms = {**csd.methods.finetune(step), "center": (now - self.center).square().mean()}
        if step.teacher is not None:
            terms["held"] = (now - self.before(step.teacher.features)).square().mean()
        return terms

    def end_task(self, *_: Any) -> None:
        self.before.load_state_dict(self.projection.state_dict())
        self.before.eval()


@dataclass
class Herding(Method):
    """Chooses what it remembers at the end of a task, and says so, class by class."""

    per_class: int = 3

    def begin(self, setting: Setting) -> None:
        self.memory = csd.Memory(self.per_class * setting.n_classes)

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.finetune(step)
        if len(self.memory):
            old = self.memory.draw(8)
            terms["old"] = csd.losses.cross_entropy(step.view(step.augment(old.images)).logits, old.labels)
        return terms

    def end_task(self, _task: int, images: torch.Tensor, labels: torch.Tensor, view: Any) -> Any:
        for label in labels.unique().tolist():
            rows = torch.nonzero(labels == label).squeeze(1)
            features = view(images[rows]).features
            far = (features - features.mean(dim=0)).norm(dim=1) * torch.rand(len(rows))
            chosen = rows[far.argsort()[: self.per_class]]
            self.memory.add(images=images[chosen], labels=labels[chosen])
            yield {"class": label, "farthest": far.max().item(), "held": len(self.memory)}


@dataclass
class Averaging(Method):
    """Begins each task with a new network, which learns from blurred pictures alone, made before the first epoch."""

    per_class: int = 3
    fresh_network = True
    whole_head = True

    def begin(self, setting: Setting) -> None:
        self.memory = csd.Memory(self.per_class * setting.n_classes)

    def begin_task(self, _task: int, images: torch.Tensor, labels: torch.Tensor, view: Any) -> Any:
        for label in labels.unique().tolist():
            rows = torch.nonzero(labels == label).squeeze(1)
            chosen = rows[torch.rand(self.per_class, len(rows)).argsort(dim=1)[:, :4]]  # (per_class, 4)
            blurred = images[chosen].float().mean(dim=1).round().byte()
            self.memory.add(images=blurred, labels=labels[rows[: self.per_class]])
            yield {"class": label, "far": view(blurred).features.norm().item()}

    def training_images(self, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.memory.rows["images"], self.memory.rows["labels"]

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        return csd.methods.finetune(step)


METHODS: dict[str, Callable[[], Any]] = {
    "er": lambda: csd.methods.ER(size=20),
    "derpp": lambda: csd.methods.DERPP(size=20),
    "fe": lambda: csd.methods.fe,
    "dreaming": Dreaming,
    "banked": Banked,
    "counting": Counting,
    "projected": Projected,
    "herding": Herding,
    "averaging": Averaging,
}

NEIGHBOURS: dict[str, Callable[[], Any]] = {
    "gdumb": lambda: csd.methods.GDumb(size=20, side=8),
    "random_images": lambda: csd.methods.RandomImages(per_class=2, per_epoch=16),
    "herding, the kit's": lambda: csd.methods.Herding(per_class=2, per_epoch=16, epochs=1),
    "dm": lambda: csd.methods.DM(per_class=2, per_epoch=16, iterations=3, batch=4),
    "xder": lambda: csd.methods.XDER(size=20),
    "labels_only": lambda: csd.methods.LabelsOnly(size=8),
    "csl": lambda: csd.methods.CSL(size=8),
    "nncsl": lambda: csd.methods.NNCSL(size=8),
    "genifer": lambda: csd.methods.Genifer(gan_steps=6, gan_batch=8, width=6, record_every=2),
    "pixel_gan": lambda: csd.methods.PixelGAN(gan_steps=6, gan_batch=8, width=6, record_every=2),
}
"""Those of the course's second part; that each can be stopped after every record is tested beside its losses."""

FEW_LABELS = ("labels_only", "csl", "nncsl")


# ---------------------------------------------------------------------- trained whole, and in pieces


def stream_of_stripes(validation: float = 0.0, labelled: int | None = None) -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, seed=0, validation=validation, labelled=labelled)


def train_quietly(name: str, out: Path, limit_bytes: int | None = None) -> None:
    """Train in this process; with a limit, no file can grow beyond it, as on a full disk."""
    torch.set_num_threads(1)
    if limit_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails with EFBIG, as ENOSPC would
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    stream = stream_of_stripes(labelled=4 if name in FEW_LABELS else None)
    csd.train(stream, (METHODS | NEIGHBOURS)[name](), CONFIG, out=out, progress=False)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def processes():
    """Children that start in milliseconds, from a server that has imported csd_edu but never computed anything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_methods_state"])
    return context


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that were never interrupted, by name, and the seconds that they took."""
    folder = tmp_path_factory.mktemp("whole")

    def made(name: str) -> tuple[Path, float]:
        started = time.perf_counter()
        if not (folder / name).exists():
            train_quietly(name, folder / name)
        seconds[name] = seconds.get(name, time.perf_counter() - started)
        return folder / name, seconds[name]

    seconds: dict[str, float] = {}
    return made


def assert_equal(one: Path, other: Path) -> None:
    assert_equal_runs(one, other)
    assert same(csd.Run.load(one).kept(), csd.Run.load(other).kept())


def kill_and_continue(processes: Any, name: str, out: Path, seconds: float, rng: random.Random) -> int:
    """Start training again and again, killing it at a random moment of a whole run's, until it gets through."""
    kills = 0
    while True:
        child = processes.Process(target=train_quietly, args=(name, out))
        child.start()
        child.join(timeout=rng.random() * seconds * 1.2**kills)  # ever longer, so that it ends
        if child.exitcode is not None:
            assert child.exitcode == 0
            return kills
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1


def killed_often(processes: Any, name: str, whole: Any, folder: Path, n: int) -> None:
    expected, seconds = whole(name)
    rng, kills = random.Random(f"{name} {n}"), 0
    for attempt in range(10 * n):
        kills += kill_and_continue(processes, name, folder / str(attempt), seconds, rng)
        assert_equal(expected, folder / str(attempt))
        if kills >= n:
            return
    pytest.fail(f"killed {kills} times only")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["er", "dreaming", "averaging"])
def test_killed_at_ten_random_moments_it_ends_with_the_same_bits(processes, whole, tmp_path, name):
    killed_often(processes, name, whole, tmp_path, 10)


@pytest.mark.campaign
@pytest.mark.parametrize(("name", "n"), [*((name, 100) for name in METHODS), *((name, 20) for name in NEIGHBOURS)])
def test_killed_so_often_it_ends_with_the_same_bits(processes, whole, tmp_path, name, n):
    killed_often(processes, name, whole, tmp_path, n)


def go_on(method: Any, out: Path, n_records: int, stream: csd.Stream | None = None, config: csd.Config = CONFIG) -> int:
    """Train for some records and stop; return how many came."""
    records = csd.training(stream or stream_of_stripes(), method, config, out=out)
    got = sum(1 for _ in zip(range(n_records), records, strict=False))
    records.close()
    return got


@pytest.mark.parametrize("name", METHODS)
def test_stopped_after_every_record_it_ends_with_the_same_bits(whole, tmp_path, name):
    """A record of a hook alone is not kept, as what it tells of is not: so the records grow by two each time."""
    n = 1
    while not go_on(METHODS[name](), tmp_path / "r", n) < n:
        last = csd.Run.load(tmp_path / "r").records[-1]
        n = n + 1 if last["kind"] in ("begin", "end") else 1
    assert_equal(whole(name)[0], tmp_path / "r")


@pytest.mark.parametrize("name", METHODS)
def test_a_truncated_checkpoint_goes_on_from_the_one_before(whole, tmp_path, name):
    go_on(METHODS[name](), tmp_path / "r", 6)
    truncate(tmp_path / "r" / "checkpoint.safetensors")
    train_quietly(name, tmp_path / "r")
    assert_equal(whole(name)[0], tmp_path / "r")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["derpp", "dreaming", "herding"])
def test_the_disk_is_full_while_saving(processes, whole, tmp_path, name):
    out = tmp_path / "r"
    sizes = sorted({path.stat().st_size for path in whole(name)[0].iterdir() if path.stat().st_size > 1000})
    for limit in sizes:  # room for the smallest files only, then for larger ones too
        child = processes.Process(target=train_quietly, args=(name, out, limit - 1))
        child.start()
        child.join()
        assert child.exitcode == 1  # ended by an exception, not by a signal
        assert not list(out.glob("*.tmp")) + list(out.glob(".*.tmp"))
    train_quietly(name, out)
    assert_equal(whole(name)[0], out)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("task", [0, 1, 2])
def test_stopped_inside_end_task_it_does_that_again(whole, tmp_path, task, nth):
    records = csd.training(stream_of_stripes(), Herding(), CONFIG, out=tmp_path / "r")
    ends = (record for record in records if record["kind"] == "end" and record["task"] == task)
    for _ in range(nth):
        assert next(ends)["class"] in (2 * task, 2 * task + 1)
    records.close()
    train_quietly("herding", tmp_path / "r")
    assert_equal(whole("herding")[0], tmp_path / "r")
    kinds = [record["kind"] for record in csd.Run.load(tmp_path / "r").records]
    assert kinds == ["epoch"] * 3 + ["end"] * 2 + ["task"] + (["epoch"] * 2 + ["end"] * 2 + ["task"]) * 2


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("task", [0, 1, 2])
def test_stopped_inside_begin_task_it_does_that_again(whole, tmp_path, task, nth):
    records = csd.training(stream_of_stripes(), Averaging(), CONFIG, out=tmp_path / "r")
    begins = (record for record in records if record["kind"] == "begin" and record["task"] == task)
    for _ in range(nth):
        assert next(begins)["class"] in (2 * task, 2 * task + 1)
    records.close()
    train_quietly("averaging", tmp_path / "r")
    assert_equal(whole("averaging")[0], tmp_path / "r")
    kinds = [record["kind"] for record in csd.Run.load(tmp_path / "r").records]
    assert kinds == (["begin"] * 2 + ["epoch"] * 3 + ["task"]) * 3  # a new network learns as long as the first


@pytest.mark.parametrize("name", METHODS)
def test_resumed_exactly_at_the_end_of_a_task(whole, tmp_path, name):
    for task in (0, 1):
        records = csd.training(stream_of_stripes(), METHODS[name](), CONFIG, out=tmp_path / "r")
        assert any(record["kind"] == "task" and record["task"] == task for record in records)
        records.close()
    train_quietly(name, tmp_path / "r")
    assert_equal(whole(name)[0], tmp_path / "r")


@pytest.mark.parametrize("name", ["derpp", "projected", "herding"])
def test_stopped_where_the_best_epoch_is_kept(tmp_path, name):
    stream, config = stream_of_stripes(validation=0.3), CONFIG.replace(select="best", epochs=4, later_epochs=3)
    go_on(METHODS[name](), tmp_path / "whole", 1000, stream, config)
    n = 1
    while not go_on(METHODS[name](), tmp_path / "r", n, stream, config) < n:
        n = n + 1 if csd.Run.load(tmp_path / "r").records[-1]["kind"] == "end" else 1
    assert csd.Run.load(tmp_path / "r").finished
    assert_equal(tmp_path / "whole", tmp_path / "r")


def test_with_sgd_too(tmp_path):
    config = CONFIG.replace(optimizer="sgd")
    go_on(Projected(), tmp_path / "whole", 1000, config=config)
    while go_on(Projected(), tmp_path / "r", 2, config=config) == 2:
        pass
    assert_equal(tmp_path / "whole", tmp_path / "r")


def test_the_parameters_a_method_keeps_are_trained_with_the_network_or_by_its_own_optimiser(whole):
    kept = csd.Run.load(whole("projected")[0]).kept()
    assert kept["center"].abs().sum() > 0
    fresh = Projected()
    torch.manual_seed(0)
    fresh.begin(Setting((2,), (32,), (3, 16, 16), 64, torch.device("cpu"), 0))
    assert not torch.equal(kept["projection"]["0.weight"], fresh.projection[0].weight)
    steps = [moments["step"] for moments in csd.Run.load(whole("dreaming")[0]).kept()["optimizer"]["state"].values()]
    assert max(map(float, steps)) == 2 * (3 + 2 + 2)


@dataclass
class InLists(Method):
    """Has modules and optimisers in lists, in a dictionary and in another method."""

    inner: Method

    def begin(self, setting: Setting) -> None:
        self.inner.begin(setting)
        self.trained = {"a": [nn.Linear(setting.dim, 1)]}
        self.owned = [nn.Linear(setting.dim, 1)]
        self.optimizers = (torch.optim.SGD(self.owned[0].parameters(), lr=0.1),)

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        terms = dict(self.inner(step))
        for module in (*self.trained["a"], *self.owned):
            terms[f"pull {len(terms)}"] = module(step.features).square().mean()
        return terms


def test_modules_in_lists_are_trained_with_the_network_but_for_those_with_an_optimiser(tmp_path):
    method = InLists(Projected())
    for k, n in enumerate((1000, 1, 2, 1000)):
        go_on(method, tmp_path / ("whole" if k == 0 else "r"), n)
    assert_equal(tmp_path / "whole", tmp_path / "r")
    before = InLists(Projected())
    with csd.learner.Learner(csd.models.build("resnet8"), stream_of_stripes(), before, CONFIG).seeded("begin"):
        before.begin(Setting((2, 2, 2), (32, 32, 32), (3, 16, 16), 64, torch.device("cpu"), 0))
    kept = csd.Run.load(tmp_path / "r").kept()
    assert not torch.equal(kept["trained"]["a"][0]["weight"], before.trained["a"][0].weight)
    assert torch.equal(kept["owned"][0]["weight"], before.owned[0].weight), "its own optimiser was never asked"
    assert kept["inner"]["center"].abs().sum() > 0


# ---------------------------------------------------------------------- terms that come and go


class Sometimes(Method):
    """Returns a term in some steps only, and remembers what it returned."""

    def __init__(self) -> None:
        self.returned: list[dict[str, float]] = []
        self.task: list[int] = []

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.finetune(step)
        if len(self.returned) % 3 == 0:
            terms = {"rare": step.features.square().mean(), **terms}
        self.returned.append({name: term.item() for name, term in terms.items()})
        self.task.append(step.task)
        return terms


def test_a_term_that_is_absent_in_a_step_is_absent_from_the_mean(tmp_path):
    run = csd.train(stream_of_stripes(), Sometimes(), CONFIG, out=tmp_path / "r", progress=False)
    epochs = [record["losses"] for record in run.records if record["kind"] == "epoch"]
    steps = run.kept()["returned"]
    assert len(steps) == 2 * len(epochs)
    for k, losses in enumerate(epochs):
        for name in ("ce", "triplet", "rare"):
            values = [step[name] for step in steps[2 * k : 2 * k + 2] if name in step]
            if values:
                assert losses[name] == pytest.approx(sum(values) / len(values), rel=1e-12)
            else:
                assert name not in losses
    assert {len(losses) for losses in epochs} == {2, 3}


class Killed(BaseException):
    """What a test raises in place of SIGKILL where it wants a certain moment."""


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_stopped_between_a_tasks_checkpoint_and_its_metrics(whole, tmp_path, monkeypatch, nth):
    real, calls = csd.train.__globals__["write_json"], []

    def stopping(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == nth:
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setitem(csd.train.__globals__, "write_json", stopping)
        with pytest.raises(Killed):
            train_quietly("herding", tmp_path / "r")
    run = csd.Run.load(tmp_path / "r")
    assert run.tasks_learnt == nth - 1
    train_quietly("herding", tmp_path / "r")
    assert_equal(whole("herding")[0], tmp_path / "r")


def test_what_is_kept_can_be_read_while_a_checkpoint_is_written(tmp_path):
    go_on(Herding(), tmp_path / "r", 7)
    (tmp_path / "r" / "checkpoint.safetensors").rename(tmp_path / "r" / "checkpoint-previous.safetensors")
    assert csd.Run.load(tmp_path / "r").kept()["memory"]["n_seen"] == 6
    (tmp_path / "r" / "checkpoint-previous.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="there is no file"):
        csd.Run.load(tmp_path / "r").kept()
