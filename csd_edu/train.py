"""Training, task by task: a generator of records, and `train`, which drains it with a progress bar."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csd_edu import metrics
from csd_edu.batches import Batches
from csd_edu.config import Config
from csd_edu.files import locked, write_json
from csd_edu.methods.step import Method, Step, View
from csd_edu.models import SMALLEST_IMAGE, Network, resnet
from csd_edu.runs import Journal, Record, Run, network_from, open_run
from csd_edu.runtime import (
    derive_seed,
    environment,
    keep_freed_memory,
    pick_device,
    pick_precision,
    reproducible_kernels,
)
from csd_edu.tasks import Images, Stream


class TrainingDivergedError(RuntimeError):
    """A loss term or the weights became NaN or infinite; the run keeps the last good epoch."""


def train(
    stream: Stream,
    method: Method,
    config: Config | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a network on one task after another; continue if `out` holds this run unfinished.

    Args:
        stream: the tasks, from `csd.split`.
        method: `csd.methods.finetune`, `lwf`, `csd`, `joint`, or a function of your own from a step to its loss terms.
        config: how to train; default `Config()`.
        out: the run folder; default a new temporary folder.
        progress: show one line with the loss terms, R@1 and the time left.

    Returns:
        The finished run. A finished run found in `out` is returned as it is.

    Raises:
        ValueError: if an argument is impossible, or `out` holds a run with other settings (says which).
        TrainingDivergedError: if a loss term becomes NaN or infinite; the run keeps its last good epoch.
        KeyboardInterrupt: if interrupted; the same call continues the run.
    """
    config = Config() if config is None else config
    out = Path(tempfile.mkdtemp(prefix="csd_edu-run-") if out is None else out)
    records = training(stream, method, config, out=out)
    try:
        with contextlib.closing(records):  # an interrupt between two records must not leave the folder locked
            for _ in _with_progress_bar(records, stream, method, config, out) if progress else records:
                pass
    except KeyboardInterrupt:
        print(f"\nInterrupted. What was learnt so far is saved in {out}: the same call goes on from there.")
        raise
    return Run.load(out)


def training(stream: Stream, method: Method, config: Config, *, out: str | Path) -> Generator[Record, None, None]:
    """Return a generator that trains while you iterate: one record after each epoch and after each task.

    Arguments and errors are those of `train`; the arguments are checked at once, before the first record. Stopping
    early, or being killed, leaves a run that the same call continues, to the same numbers as if never stopped.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    if not callable(method):
        raise ValueError(f"method is {method!r}; expected a function such as csd.methods.csd (without calling it)")
    _check_images(stream)
    if config.select == "best" and not all(_has_pairs(stream.held_out(t)) for t in range(stream.n_tasks)):
        raise ValueError(
            "select is 'best', but the stream holds out fewer than two images of some class; "
            "expected csd.split(..., validation=0.1) or more"
        )
    if device.type == "cpu":
        keep_freed_memory()
    run = open_run(Path(out), stream, describe_method(method), config, environment())
    return _training(run, stream, method, config, device, precision)


def _training(
    run: Run, stream: Stream, method: Method, config: Config, device: torch.device, precision: torch.dtype
) -> Generator[Record, None, None]:
    if run.finished:
        return
    with locked(run.path), reproducible_kernels():
        journal = Journal(run)
        learner = Learner.resume(journal, stream, config, device, precision)
        test = stream.test()
        test_tasks = stream.task_of_class[test.labels]
        rows = [
            metrics.task_row(run.features(i), run.predictions(i), test.labels, test_tasks, i)
            for i in range(learner.task)
        ]
        features: Tensor | None = None
        for task in range(learner.task, stream.n_tasks):
            training_tasks = _training_tasks(method, task, stream.n_tasks)
            if learner.epoch == 0:
                n_known = stream.n_seen[max([task, *training_tasks])]
                learner.begin_task(task, n_known)
            teacher = run.network(task - 1).to(device) if task > 0 else None
            n_epochs = config.epochs_of(task) if training_tasks else 0
            if learner.epoch < n_epochs:
                batches = Batches(
                    stream.train(*training_tasks),
                    batch_size=config.batch_size,
                    crop_padding=config.crop_padding,
                    flip=config.flip,
                    device=device,
                )
                held_out = stream.held_out(*training_tasks)
            for _ in range(learner.epoch, n_epochs):
                record = learner.train_epoch(method, batches, teacher, held_out)
                journal.write(record, *learner.state())
                yield record

            started = time.perf_counter()
            learner.finish_task()
            if n_epochs > 0 or features is None:  # else the network is still the same, as joint's is
                features, logits = embed(learner.network, test.images)
            predictions = logits[:, : stream.n_seen[task]].argmax(dim=1)
            run.save_task(task, learner.network, features, predictions)
            row = metrics.task_row(features, predictions, test.labels, test_tasks, task)
            rows.append(row)
            record = {
                "kind": "task",
                "task": task,
                "collapsed": metrics.is_collapsed(features),
                **row,
                "seconds": time.perf_counter() - started,
            }
            journal.append(record)
            write_json(run.path / "metrics.json", metrics.summarize(rows, stream.n_tasks))
            learner.task, learner.epoch = task + 1, 0
            journal.checkpoint(*learner.state())
            yield record


class Learner:
    """The network in training and where it stands: everything a checkpoint holds.

    Attributes:
        task, epoch: the task at hand, and how many of its epochs are done.
    """

    def __init__(self, network: Network, config: Config, device: torch.device, precision: torch.dtype) -> None:
        self.network = network.to(device)
        self.config = config
        self.device = device
        self.precision = precision
        self.task = 0
        self.epoch = 0
        self.best: tuple[float, dict[str, Tensor]] | None = None  # validation R@1 and the weights that reached it
        self.begin_optimizer()

    @classmethod
    def resume(
        cls, journal: Journal, stream: Stream, config: Config, device: torch.device, precision: torch.dtype
    ) -> Learner:
        """Return the learner of the newest good checkpoint, or a fresh one."""
        checkpoint = journal.resume()
        if checkpoint is None:
            mean, std = _pixel_statistics(stream.train(0).images)
            channels = stream.dataset.x_train.shape[1]
            seed = derive_seed(config.seed, "weights")
            network = resnet(config.depth, channels, seed=seed, pixel_mean=mean, pixel_std=std)
            return cls(network, config, device, precision)

        tensors, state = checkpoint
        learner = cls(network_from(_below("network", tensors), config.depth), config, device, precision)
        learner.task, learner.epoch = state["task"], state["epoch"]
        for i, parameter in enumerate(learner.optimizer.param_groups[0]["params"]):
            moments = _below(f"adam.{i}", tensors)
            if moments:
                step = moments.pop("step")
                # In the parameter's own memory layout (channels last), which the fused optimiser relies on.
                laid_out = {name: torch.empty_like(parameter).copy_(value) for name, value in moments.items()}
                learner.optimizer.state[parameter] = {"step": step.to(device), **laid_out}
        if state["scaler"]:
            learner.scaler.load_state_dict(state["scaler"])
        if state["best"] is not None:
            learner.best = (state["best"], _below("best", tensors))
        return learner

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the JSON of a checkpoint.

        Randomness needs no place in it: every epoch seeds its generators from (seed, task, epoch).
        """
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for i, parameter in enumerate(self.optimizer.param_groups[0]["params"]):
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        best = None
        if self.best is not None:
            best, weights = self.best
            tensors |= {f"best.{name}": value for name, value in weights.items()}
        return tensors, {
            "task": self.task,
            "epoch": self.epoch,
            "scaler": self.scaler.state_dict(),
            "best": best,
        }

    def begin_optimizer(self) -> None:
        """Start a fresh Adam, as every task does."""
        config = self.config
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused
        )
        # float16 gradients underflow without a loss scale; for the other types this does nothing.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    def begin_task(self, task: int, n_classes: int) -> None:
        """Grow the head to `n_classes`, if it does not know as many already, and start a fresh optimiser."""
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "head", task))
        self.network.head.grow(max(0, n_classes - len(self.network.head.weight)), generator)
        self.begin_optimizer()

    def finish_task(self) -> None:
        """Go back to the epoch that was best on the held-out images, if that is asked for."""
        if self.best is not None:
            self.network.load_state_dict(self.best[1])
            self.best = None

    def train_epoch(self, method: Method, batches: Batches, teacher: Network | None, held_out: Images) -> Record:
        """Train one epoch and return its record.

        Raises:
            TrainingDivergedError: if a loss term or a weight is NaN or infinite.
        """
        config, task, epoch = self.config, self.task, self.epoch
        started = time.perf_counter()
        seed = derive_seed(config.seed, "epoch", task, epoch)
        ask_teacher = self._teacher(teacher) if teacher is not None else None
        history: list[Tensor] = []  # loss terms of each step, left on the device: reading them would wait for it
        names: tuple[str, ...] = ()
        self.network.train()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(seed)  # for a method that draws random numbers itself
            generator = torch.Generator().manual_seed(seed)
            for i, (images, labels) in enumerate(batches.epoch(generator)):
                for group in self.optimizer.param_groups:
                    group["lr"] = config.learning_rate(task, epoch + i / len(batches))
                features, logits = self._view(self.network, images)
                terms = _checked_terms(method(Step(images, labels, features, logits, task, ask_teacher)))
                loss = torch.stack(list(terms.values())).sum()
                self.optimizer.zero_grad(set_to_none=True)
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                names = tuple(terms)
                history.append(torch.stack([term.detach() for term in terms.values()]))

        steps = torch.stack(history).double().cpu()  # (steps, terms); the only wait for the device in an epoch
        self._check_finite(steps, names)
        self.epoch += 1
        record: Record = {
            "kind": "epoch",
            "task": task,
            "epoch": epoch,
            "losses": dict(zip(names, steps.mean(dim=0).tolist(), strict=True)),
            "learning_rate": config.learning_rate(task, epoch),
        }
        if len(held_out.labels):
            features, _ = embed(self.network, held_out.images)
            score = metrics.recall_at_k(features, held_out.labels, features, held_out.labels, exclude_self=True)[1]
            record["validation_recall_at_1"] = None if math.isnan(score) else score
            if config.select == "best" and (self.best is None or score > self.best[0]):
                self.best = (
                    score,
                    {name: value.clone() for name, value in self.network.state_dict().items()},
                )
        seconds = time.perf_counter() - started
        return {**record, "seconds": seconds, "images_per_second": len(batches.labels) / seconds}

    def _view(self, network: Network, images: Tensor) -> View:
        """Return what a network makes of a batch: convolutions in the fast type, head and features in float32."""
        fast = self.precision != torch.float32
        with torch.autocast(self.device.type, dtype=self.precision if fast else None, enabled=fast):
            features = network.embed(images)
        features = features.float()
        return View(features, network.head(features))

    def _teacher(self, teacher: Network) -> Callable[[Tensor], View]:
        """Return the function that asks the frozen network of the task before."""
        teacher.requires_grad_(False)
        teacher.train(self.config.teacher_mode == "train")

        def ask(images: Tensor) -> View:
            with torch.no_grad():
                return self._view(teacher, images)

        return ask

    def _check_finite(self, steps: Tensor, names: Sequence[str]) -> None:
        bad = torch.nonzero(~torch.isfinite(steps))  # rows of (step, term), the earliest step first
        if len(bad):
            first = bad[bad[:, 0] == bad[0, 0], 1].tolist()
            culprit = "the loss term " + " and ".join(repr(names[term]) for term in first)
            where = f", step {int(bad[0, 0])}"
        elif not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            culprit, where = "a weight of the network (its gradient overflowed)", ""
        else:
            return
        raise TrainingDivergedError(
            f"{culprit} became NaN or infinite in task {self.task}, epoch {self.epoch}{where}. The run keeps the last "
            "good epoch. Mend the loss, or train into a new folder with a smaller lr or later_lr"
        )


@torch.inference_mode()
def embed(network: Network, images: Tensor, *, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Return what a network makes of images, in evaluation mode and float32.

    Args:
        network: any `Network`; its training mode is restored afterwards.
        images: (N, C, H, W) uint8.
        batch_size: images embedded at once.

    Returns:
        Features (N, 64) and logits (N, n_classes), float32, on the CPU.
    """
    device = network.pixel_mean.device
    was_training = network.training
    network.eval()
    views = [network(batch.to(device)) for batch in images.split(batch_size)]
    network.train(was_training)
    features, logits = (torch.cat([view[part].cpu() for view in views]) for part in range(2))
    return features, logits


def _checked_terms(terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Refuse what is no dictionary of scalar loss terms; it comes from a student's own function."""
    example = 'expected a dictionary of named scalar tensors, such as {"ce": losses.cross_entropy(...)}'
    if not isinstance(terms, Mapping) or not terms:
        raise ValueError(f"the method returned {type(terms).__name__} {terms!r}; {example}")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            what = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else repr(term)
            raise ValueError(f"the method's term {name!r} is {what}; {example}")
    if not any(term.requires_grad for term in terms.values()):
        raise ValueError("no term of the method depends on step.features or step.logits; nothing would be learnt")
    return terms


def _training_tasks(method: Method, task: int, n_tasks: int) -> tuple[int, ...]:
    """Return the tasks whose images the method trains on when the stream reaches `task`: usually that one."""
    choose = getattr(method, "training_tasks", None)
    return (task,) if choose is None else tuple(choose(task, n_tasks))


def images_per_epoch(stream: Stream, method: Method) -> list[int]:
    """Return for each task how many images an epoch passes through the network: what progress is counted in."""
    return [len(stream.train(*_training_tasks(method, task, stream.n_tasks)).labels) for task in range(stream.n_tasks)]


def describe_method(method: Method) -> dict[str, Any]:
    """Return the method's name and, for a student's own, a checksum of its code, so that a changed one is noticed."""
    function: Any = method
    arguments: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        arguments = function.keywords | arguments
        if function.args:
            raise ValueError(f"method {method!r} binds positional arguments; expected partial(method, weight=0.5)")
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    if arguments:
        name += "(" + ", ".join(f"{key}={value}" for key, value in sorted(arguments.items())) + ")"
    description = {"name": name}
    if not (getattr(function, "__module__", None) or "").startswith("csd_edu."):
        try:
            source = inspect.getsource(function if inspect.isroutine(function) else type(function))
        except (OSError, TypeError):  # typed at a prompt that keeps no source
            return description
        description["source_crc32"] = f"{zlib.crc32(source.encode()):08x}"
    return description


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


def _pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of uint8 images (N, C, H, W), in units of 0..1.

    From the first task's images only: those of later tasks are not there yet.
    """
    grey = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack(
        [torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])]
    ).double()  # (C, 256)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = share @ grey  # (C,)
    variance = share @ grey**2 - mean**2  # (C,)
    return mean, variance.clamp_min(1e-4).sqrt()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with "prefix.", without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _with_progress_bar(
    records: Iterator[Record], stream: Stream, method: Method, config: Config, out: Path
) -> Iterator[Record]:
    """Pass the records on and show them as one line; its unit is images passed through the network."""
    from tqdm import tqdm

    sizes = images_per_epoch(stream, method)
    total = sum(size * config.epochs_of(task) for task, size in enumerate(sizes))
    done = sum(sizes[r["task"]] for r in Run.load(out).records if r["kind"] == "epoch")
    form = "{desc:9}{percentage:3.0f}%|{bar:12}| {elapsed}, {remaining} left{postfix}"
    terms = recall = ""
    with tqdm(total=total, initial=min(done, total), file=sys.stdout, bar_format=form) as bar:
        bar.set_description_str(describe_method(method)["name"])
        for record in records:
            if record["kind"] == "task":
                value = record["overall"]["recall_at_1"]
                recall = "" if value is None else f" R@1 {value:.3f}"
                if record["collapsed"]:
                    bar.write(f"csd_edu: after task {record['task']} all features point the same way (collapse)")
            else:
                bar.update(sizes[record["task"]])
                terms = "".join(f" {term} {value:.2f}" for term, value in record["losses"].items())
            bar.set_postfix_str(f"task {record['task'] + 1}/{stream.n_tasks}{terms}{recall}")
            yield record
