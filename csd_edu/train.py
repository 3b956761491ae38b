"""Training, task by task: a generator of records, and `train`, which drains it with a progress bar."""

from __future__ import annotations

import contextlib
import copy
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from csd_edu import arguments, metrics, models
from csd_edu.batches import in_epoch
from csd_edu.config import Config
from csd_edu.files import copied, locked, temporary_folder, write_json
from csd_edu.identity import converts, describe_method, differences
from csd_edu.learn import check_setting, learn
from csd_edu.learner import Learner, Record, check_finite
from csd_edu.methods.method import (
    AnyMethod,
    begins_as,
    check_method,
    keeper,
    like_task,
    name_of,
    own_state,
    training_tasks,
)
from csd_edu.models import SMALLEST_IMAGE, Network
from csd_edu.output import say, stdout
from csd_edu.paths import given_path, working_folder
from csd_edu.runs import Journal, Run, hand_over, identity_of, open_run
from csd_edu.runtime import (
    derive_seed,
    each_in_usual_torch,
    environment,
    keep_freed_memory,
    memory_worded,
    pick_device,
    pick_precision,
    reproducible_kernels,
    usual_torch,
)
from csd_edu.state import Packer
from csd_edu.system import worded
from csd_edu.tasks import Images, Stream


def train(
    stream: Stream,
    method: AnyMethod,
    config: Config | None = None,
    *,
    out: str | Path | None = None,
    teacher: Run | Network | None = None,
    progress: bool | Watch = True,
) -> Run:
    """Train a network on one task after another; continue if `out` holds this run unfinished.

    Args:
        stream: the tasks, from `csd.split`.
        method: one of `csd.methods`, or your own: a function from a step to its loss terms, or a `csd.methods.Method`.
            It is not changed: a copy of it is trained with.
        config: how to train; default `Config()`.
        out: the run folder; default a new temporary folder.
        teacher: a trained network, or a run whose last one is meant, that the steps of every task compare with in
            place of the network of the task before: to distil it into another, in a stream of one task.
        progress: show one line with the loss terms, R@1 and the time left; or a function that passes the records on
            and shows them in another way.

    Returns:
        The finished run. A finished run found in `out` is returned as it is, which is said.

    Raises:
        ValueError: if an argument is impossible, or `out` holds a run with other settings (says which).
        TrainingDivergedError: if a loss term becomes NaN or infinite; the run keeps its last good epoch.
        KeyboardInterrupt: if interrupted; the same call continues the run.
    """
    config = Config() if config is None else config
    check_setting(stream, config)
    progress = progress if callable(progress) else arguments.flag("progress", progress)
    out = temporary_folder() if out is None else given_path(out, what="out")
    place = working_folder() / out  # torch, too, needs a working folder
    records = training(stream, method, config, out=out, teacher=teacher)
    run = Run.load(out)
    if progress is True and run.finished:
        for _ in records:  # its files are looked at
            pass
        say(as_it_is(run))
        return run
    watch = _bar if progress is True else progress
    try:
        with contextlib.closing(records):  # an interrupt between two records must not leave the folder locked
            watched = watch(records, Progress(stream, method, config, run)) if watch else records
            for _ in watched:
                pass
    except KeyboardInterrupt:
        say(f"\nInterrupted. What was learnt so far is saved in {out}: the same call goes on from there.")
        raise
    return Run.load(out if out.absolute() == place else place)  # a method may have changed the working folder


def as_it_is(run: Run) -> str:
    """Return what there is to say where a run is asked for that is finished."""
    return (
        f"{run.path} is finished: nothing to train; it is returned as it is (delete the folder, or choose another "
        "out, to train anew)"
    )


@usual_torch()
def training(
    stream: Stream, method: AnyMethod, config: Config, *, out: str | Path, teacher: Run | Network | None = None
) -> Generator[Record, None, None]:
    """Return a generator that trains while you iterate: one record after each epoch and after each task.

    Arguments and errors are those of `train`; the arguments are checked at once, before the first record. Stopping
    early, or being killed, leaves a run that the same call continues, to the same numbers as if never stopped.
    """
    outer, description, began = describe_run(stream, method, config, teacher)
    method = copy.deepcopy(method)
    if pick_device(config.device).type == "cpu":
        keep_freed_memory()
    run = open_run(given_path(out, what="out"), description, stream)
    run = Run(run.path.absolute(), run.description)  # the working folder may change on the way
    return _training(run, stream, method, config, outer, began)


def begin_with(first: Run, stream: Stream, method: AnyMethod, config: Config, *, out: str | Path) -> Run:
    """Begin a run with a copy of another one's first task, as if the method had learnt it by itself.

    Args:
        first: a run that has learnt its first task, and stopped there; of the method that this one `begins_as`.
        stream, method, config: of the new run; stream and config are those of `first`.
        out: the new run's folder, which is not there yet.

    Returns:
        The run, with one task learnt: `train` with the same arguments goes on.

    Raises:
        ValueError: if the method's card doesn't say that it begins as that of `first`, stream or config is another,
            or `first` has learnt another number of tasks.
        FileExistsError: if `out` is there.
    """
    out = given_path(out, what="out")
    _, description, _ = describe_run(stream, method, config)
    of_first = first.description
    if [of_first["config"], of_first["stream"]] != [description["config"], description["stream"]]:
        raise ValueError(f"{first.path} has another stream or config; expected the same as those of the new run")
    if first.method != begins_as(method):
        raise ValueError(
            f"{name_of(method)} does not begin as {first.method} does, as far as its card says; expected "
            f"Card(begins_as={first.method!r})"
        )
    if first.tasks_learnt != 1 or any(record["task"] > 0 for record in first.records):
        raise ValueError(f"{first!r}; expected a run that has learnt its first task, and nothing of the second")
    begun = of_first | {"method": description["method"]}
    begun["id"] = identity_of(begun)
    with copied(first.path, out, leave_out=("config.json",)) as folder:
        hand_over(folder, begun["id"])
        write_json(folder / "config.json", begun)
    return Run.load(out)


@usual_torch()
def describe_run(
    stream: Stream, method: AnyMethod, config: Config, teacher: Run | Network | None = None
) -> tuple[Network | None, dict[str, Any], dict[str, Any]]:
    """Check the arguments of `train`, and return the teacher's network, what identifies the run, and the begun method.

    Raises:
        ValueError: if an argument is impossible.
    """
    check_setting(stream, config)
    device = pick_device(config.device)
    pick_precision(config.precision, device)
    check_method(method)
    _check_images(stream)
    if config.select == "best" and not all(_has_pairs(stream.held_out(t)) for t in range(stream.n_tasks)):
        raise ValueError(
            "select is 'best', but the stream holds out fewer than two images of some class; "
            "expected csd.split(..., validation=0.1) or more"
        )
    outer = None if teacher is None else _teacher(teacher, stream)
    Packer().pack_method(keeper(method))  # before it is copied: what can't be saved is refused by its name
    trial = _copied(method)  # what can't be begun is refused before any work
    before = own_state(trial)
    Learner(fresh_network(stream, config), stream, trial, config, has_teacher=outer is not None).begin_method()
    made = [name for name, value in own_state(trial).items() if before.get(name) is not value]
    made = [name for name in made if name not in before or not converts(trial, name, before[name])]
    description = {
        "method": describe_method(method, made=made, network=models.BACKBONES[config.network]),
        "config": config.to_json(),
        "stream": stream.describe(),
        "environment": environment(),
    }
    if outer is not None:
        description["teacher"] = _describe_teacher(teacher, outer)
    return outer, description, describe_method(trial, state=False)


def _copied(method: AnyMethod) -> AnyMethod:
    """Return a copy of a method, or raise a ValueError if something in it can't be copied."""
    try:
        return copy.deepcopy(method)
    except Exception as error:
        raise ValueError(
            f"{name_of(method)} can't be copied ({type(error).__name__}: {error}), and it is a copy that is trained; "
            "expected attributes that copy.deepcopy takes (a __getattr__ of one's own has to raise AttributeError)"
        ) from error


@each_in_usual_torch
def _training(
    run: Run, stream: Stream, method: AnyMethod, config: Config, outer: Network | None, began: dict[str, Any]
) -> Generator[Record, None, None]:
    _mend(run, stream)  # without a lock: what is made anew is the same for all, and a whole run stays untouched
    if run.finished:
        return
    in_memory = memory_worded(config.batch_size, run.path)
    with worded(), locked(run.path), in_memory, reproducible_kernels(), _attributes_restored(method):
        journal = Journal(run)
        checkpoint = journal.resume()
        if checkpoint is None:
            learner = Learner(fresh_network(stream, config), stream, method, config, has_teacher=outer is not None)
        else:
            learner = Learner.resume(*checkpoint, stream, method, config, has_teacher=outer is not None)
        test = stream.test()
        test_tasks = stream.task_of_class[test.labels]
        rows = [
            metrics.task_row(run.features(i), run.predictions(i), test.labels, test_tasks, i)
            for i in range(learner.task)
        ]
        metrics_file = run.path / "metrics.json"
        if rows:  # it may have stopped between the checkpoint and the metrics
            write_json(metrics_file, metrics.summarize(rows, stream.n_tasks))
        features: Tensor | None = None
        for task in range(learner.task, stream.n_tasks):
            teacher = outer if outer is not None else run.network(task - 1) if task > 0 else None
            for record in learn(learner.network, stream, task, method, config, teacher=teacher, learner=learner):
                if record["kind"] == "epoch":
                    _check_constant(method, began)
                    journal.write(record, *learner.state())
                else:
                    journal.append(record)
                yield record

            _check_constant(method, began)
            started = time.perf_counter()
            if training_tasks(method, task, stream.n_tasks) or features is None:  # else it is the network of before
                features, logits = models.embed(learner.network, test.images)
                check_finite(features, f"test images became NaN or infinite in the last steps of task {task}")
            predictions = logits[:, : stream.n_seen[task]].argmax(dim=1)
            run.save_task(task, learner.network, features, predictions)
            row = metrics.task_row(features, predictions, test.labels, test_tasks, task)
            rows.append(row)
            record = {
                "kind": "task",
                "task": task,
                "collapsed": metrics.is_collapsed(features),
                **row,
                **run.about(),
                "kept_bytes": learner.kept_bytes(stream),
                "seconds": learner.hook_seconds + time.perf_counter() - started,
            }
            learner.task, learner.epoch = task + 1, 0
            journal.write(record, *learner.state())
            write_json(metrics_file, metrics.summarize(rows, stream.n_tasks))  # last: it says that the task is learnt
            yield record


def _mend(run: Run, stream: Stream) -> None:
    """Make damaged or missing files of a run anew, as far as others hold what was in them, and say so.

    Raises:
        ValueError: if a folder is in the place of a file.
    """
    if "saved" in run.description:  # a smaller copy, of a few test images
        return

    def trouble(path: Path, read: Callable[[], object]) -> str:
        try:
            read()
        except (FileNotFoundError, ValueError) as error:
            if path.is_dir():
                raise
            return str(error).partition(";")[0]
        return ""

    if found := trouble(run.path / "test.safetensors", run.test):
        run.save_test(stream)
        say(f"csd_edu: {found}: written anew.")
    for task in range(run.tasks_learnt):
        weights, measured = run.task_file(task, "weights"), run.task_file(task, "features")
        if (found := trouble(measured, partial(run.measured, task))) and weights.exists():  # else who reads is told
            network = run.network(task).to(pick_device(run.config.device))
            features, logits = models.embed(network, stream.test().images)
            run.save_features(task, features, logits[:, : stream.n_seen[task]].argmax(dim=1))
            say(f"csd_edu: {found}: made anew from {weights.name}.")
        if lost := trouble(weights, partial(run.network, task)):
            say(f"csd_edu: {lost}: that network is lost, and what was measured with it is not.")
    metrics_file = run.path / "metrics.json"
    if metrics_file.is_dir():
        raise ValueError(f"{metrics_file} is a folder, and no file; delete it, and call the same csd.train")
    if run.tasks_learnt:
        content, found = run.read_metrics()
        if found:
            write_json(metrics_file, content)
            say(f"csd_edu: {found}: made anew from records.jsonl.")


@contextlib.contextmanager
def _attributes_restored(method: AnyMethod) -> Iterator[None]:
    """Give a function its attributes back after a block: unlike an object, it can't be copied."""
    owner = keeper(method)
    before = copy.deepcopy(own_state(owner)) if isinstance(owner, FunctionType) else None
    try:
        yield
    finally:
        if before is not None:
            for name in own_state(owner):
                delattr(owner, name)
            vars(owner).update(before)


class Progress:
    """How far a training is, counted in images passed through the network.

    Attributes:
        run: where it is saved.
        stream, config: what is learnt, and how.
        name: the method's.
        total, done: images, in all and so far.
    """

    def __init__(self, stream: Stream, method: AnyMethod, config: Config, run: Run) -> None:
        self.stream, self.config, self.run, self.name = stream, config, run, run.method
        tasks = range(stream.n_tasks)
        learnt = [training_tasks(method, task, stream.n_tasks) for task in tasks]
        counts = [(stream.n_images(*several), stream.n_unlabelled(*several)) for several in learnt]
        self.per_epoch = [sum(in_epoch(*both, config.batch_size)[1:]) for both in counts]
        self.epochs = [config.epochs_of(like_task(method, task)) for task in tasks]
        self.done = 0
        for record in run.records:
            self.count(record)

    @property
    def total(self) -> int:
        return sum(n * epochs for n, epochs in zip(self.per_epoch, self.epochs, strict=True))

    def count(self, record: Record) -> int:
        """Return how many images a record stands for, and count them as done."""
        if record["kind"] != "epoch":
            return 0
        task = record["task"]
        self.per_epoch[task] = record.get("images", self.per_epoch[task])  # a method may have chosen others
        self.done += self.per_epoch[task]
        return self.per_epoch[task]


SHORT = 60
"""Letters of a method's text that has its place beside the bar; pictures are longer."""

Watch = Callable[[Iterator[Record], Progress], Iterable[Record]]
"""What passes the records of a training on, and shows them on the way."""


def _bar(records: Iterator[Record], progress: Progress) -> Iterator[Record]:
    """Pass the records on and show them as one line; its unit is images passed through the network."""
    try:
        from tqdm import tqdm
    except Exception as error:  # a bar is a comfort
        say(f"csd_edu: no progress bar: tqdm can't be imported ({error})")
        yield from records
        return

    form = "{desc:9}{percentage:3.0f}%|{bar:12}| {elapsed}, {remaining} left{postfix}"
    terms = recall = ""
    with tqdm(total=progress.total, initial=progress.done, file=(told := stdout()), bar_format=form) as bar:
        bar.set_description_str(progress.name)
        for record in records:
            if record["kind"] == "task":
                value = record["overall"]["recall_at_1"]
                recall = "" if value is None else f" R@1 {value:.3f}"
                if record["collapsed"]:
                    bar.write(f"csd_edu: after task {record['task']} all features point the same way (collapse)", told)
            elif record["kind"] == "epoch":
                n = progress.count(record)
                bar.total = progress.total
                bar.update(n)
                terms = "".join(f" {term} {value:.2f}" for term, value in record["losses"].items())
            else:
                terms = {"begin": " before it:", "end": " after it:"}[record["kind"]] + _in_words(record)
            bar.set_postfix_str(f"task {record['task'] + 1}/{progress.stream.n_tasks}{terms}{recall}")
            yield record


def _in_words(record: Record) -> str:
    """Return the numbers and the short texts of what a method says before or after a task."""
    told = {name: value for name, value in record.items() if name not in ("kind", "task", "seconds")}
    numbers = {name: f"{value:.3g}" for name, value in told.items() if isinstance(value, int | float)}
    texts = {name: value for name, value in told.items() if isinstance(value, str) and len(value) <= SHORT}
    return "".join(f" {name} {value}" for name, value in (numbers | texts).items())


def fresh_network(stream: Stream, config: Config) -> Network:
    """Return the network that a training begins with, before its first step, on the CPU and in training mode."""
    # From the first task's images only: those of later tasks are not there yet.
    mean, std = models.pixel_statistics(stream.train(0).images)
    channels = stream.dataset.x_train.shape[1]
    seed = derive_seed(config.seed, "weights")
    return models.build(config.network, channels, seed=seed, pixel_mean=mean, pixel_std=std)


def _teacher(teacher: Run | Network, stream: Stream) -> Network:
    """Return a copy of the network that teaches in every task.

    Raises:
        ValueError: if it has learnt other classes, or images of another size.
    """
    if not isinstance(teacher, Run | Network):
        raise ValueError(f"teacher is {teacher!r}; expected a run, such as csd.Run.load('runs/large'), or a network")
    shape = stream.image_shape
    if isinstance(teacher, Run):
        if not teacher.finished:
            raise ValueError(f"teacher is {teacher!r}; expected a finished run")
        if teacher.classes != list(stream.classes):
            raise ValueError(
                f"teacher has learnt {_some(teacher.classes)}, and the stream has {_some(stream.classes)}; expected "
                "the same classes in the same order (the same seed in csd.split)"
            )
        if teacher.image_shape not in (None, shape):
            raise ValueError(
                f"teacher has learnt images of shape {teacher.image_shape}, and those of the stream are {shape}; "
                "expected the same (image_size= in csd.load)"
            )
    network = teacher.network(teacher.n_tasks - 1) if isinstance(teacher, Run) else copy.deepcopy(teacher)
    if network.pixel_mean.shape[1] != shape[0] or len(network.head.weight) != len(stream.classes):
        raise ValueError(
            f"teacher knows {len(network.head.weight)} classes in images of {network.pixel_mean.shape[1]} channels, "
            f"and the stream has {len(stream.classes)} and {shape[0]}; expected the same"
        )
    return network


def _describe_teacher(teacher: Run | Network | None, network: Network) -> dict[str, Any]:
    crc = 0
    for name, value in sorted(network.state_dict().items()):
        crc = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), zlib.crc32(name.encode(), crc))
    return {"name": teacher.method if isinstance(teacher, Run) else "network", "weights_crc32": f"{crc:08x}"}


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{', …' * (len(names) > 3)})"


def _check_constant(method: AnyMethod, began: dict[str, Any]) -> None:
    """Refuse a method that keeps something where no checkpoint finds it: in a variable outside, or a default value."""
    if "code" in began:
        now = describe_method(method, state=False) | {"name": began["name"]}  # which would tell of settings as well
        different, _ = differences(began, now)
        if different:
            raise ValueError(
                f"{different[0]}: it changed during training, and a checkpoint can't hold it. What a method keeps is "
                "in attributes of a csd.methods.Method that are no dataclass fields: those are settings. Only a list "
                "outside of a function that it appends to, and never reads, is taken for a log"
            )


def _check_images(stream: Stream) -> None:
    height, width = stream.dataset.x_train.shape[-2:]
    if min(height, width) < SMALLEST_IMAGE:
        raise ValueError(
            f"the images of {stream.dataset.name!r} are {height}×{width} pixels; expected at least "
            f"{SMALLEST_IMAGE}×{SMALLEST_IMAGE} (load them with image_size={SMALLEST_IMAGE} or more)"
        )


def _has_pairs(data: Images) -> bool:
    """Return whether every class present has at least two images."""
    return len(data.labels) > 0 and bool((torch.unique(data.labels, return_counts=True)[1] >= 2).all())
