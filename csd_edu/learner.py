"""What `learn` needs: the network, the method and the optimiser in training, and where they stand."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_edu import metrics, models
from csd_edu.batches import Batch, Batches
from csd_edu.config import Config
from csd_edu.memory import Bank, Memory
from csd_edu.methods.method import (
    AnyMethod,
    Method,
    Setting,
    Terms,
    holder_of,
    keeper,
    own_parameters,
    own_state,
    training_tasks,
)
from csd_edu.methods.step import Step, View, Viewer
from csd_edu.models import Network
from csd_edu.runtime import derive_seed, pick_device, pick_precision
from csd_edu.state import CONSTANT, Packer, Unpacker, lay_out
from csd_edu.tasks import Images, Stream

Record = dict[str, Any]


class TrainingDivergedError(RuntimeError):
    """A loss term or the weights became NaN or infinite; the run keeps the last good epoch."""


def check_finite(features: Tensor, what: str) -> None:
    """Raise a TrainingDivergedError if features (N, D) are NaN or infinite; `what` says of which images, and when.

    Weights that grow too large in the last step of an epoch are finite, and no later step tells.
    """
    if not bool(features.isfinite().all()):
        raise TrainingDivergedError(
            f"the features of the {what}. Mend the loss, or train into a new folder with a smaller lr or later_lr: the "
            "same call would meet the same"
        )


class Log:
    """The loss terms of an epoch's steps, left on the device: reading them would wait for it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def add(self, terms: Terms) -> None:
        """Note the terms of one step."""
        self.steps.append({name: term.detach() for name, term in terms.items()})

    def values(self) -> dict[str, dict[int, float]]:
        """Return the values by name and step; a term that is absent in a step is absent here."""
        names = dict.fromkeys(name for terms in self.steps for name in terms)
        steps = {name: [i for i, terms in enumerate(self.steps) if name in terms] for name in names}
        return {
            name: dict(zip(at, torch.stack([self.steps[i][name] for i in at]).double().tolist(), strict=True))
            for name, at in steps.items()
        }


class Learner:
    """A network and a method in training, and where they stand: everything a checkpoint holds.

    Args:
        network: what is trained, in place.
        stream: the tasks.
        method: what it is trained by.
        config: how.
        has_teacher: whether there is a teacher in the first task already.

    Attributes:
        task, epoch: the task at hand, and how many of its epochs are done.
        teacher_bytes: the size of the teacher, if the method has looked at it in this task, else 0.
        hook_seconds: what the method's `begin_task` and `end_task` took in this task.
    """

    def __init__(
        self, network: Network, stream: Stream, method: AnyMethod, config: Config, *, has_teacher: bool = False
    ) -> None:
        self.device = pick_device(config.device)
        self.precision = pick_precision(config.precision, self.device)
        self.network, self.method, self.config = network.to(self.device), method, config
        self.task = self.epoch = self.teacher_bytes = 0
        self.hook_seconds = 0.0
        self.best: dict[str, Any] | None = None  # validation "score" R@1, and the weights that reached it
        self.begun = Packer()  # what the method's `begin` left
        self.begun_shapes: dict[str, Any] = {}
        tasks = [training_tasks(method, t, stream.n_tasks) for t in range(stream.n_tasks)]
        self.setting = Setting(
            sizes=stream.sizes,
            n_images=tuple(stream.n_images(*several) for several in tasks),
            image_shape=stream.image_shape,
            dim=network.dim,
            device=self.device,
            seed=derive_seed(config.seed, "method"),
            has_teacher=has_teacher,
            n_unlabelled=tuple(stream.n_unlabelled(*several) for several in tasks),
            n_of_class=stream.n_of_class,
            classes=stream.classes,
        )
        self.begin_optimizer()

    # ------------------------------------------------------------------ what happens once in a run, a task, a step

    def begin_method(self) -> None:
        """Let the method make its state, and see whether it can be saved and fits the data.

        Raises:
            ValueError: if not; names the attribute.
        """
        with self.seeded("begin"):
            self._call("begin", self.setting)
        total, most = sum(self.setting.n_images), max(self.setting.n_images)
        for name, value in own_state(self.method).items():
            if isinstance(value, Memory) and value.size > total:
                those = " with a label" if any(self.setting.n_unlabelled) else ""
                raise ValueError(
                    f"method.{name} is a memory for {value.size:,} images, but the stream has {total:,}{those} to "
                    f"train on; expected a size of at most {total:,}{self._how_smaller(total, bool(those))}"
                )
            if isinstance(value, Bank) and len(value) < most:
                raise ValueError(
                    f"method.{name} is a bank of {len(value):,} rows, but a task has {most:,} training images; "
                    "expected a row for each: make it in begin(self, setting), of max(setting.n_images) rows"
                )
        self.note_begun()
        self.begin_optimizer()

    def _how_smaller(self, size: int, few_labels: bool) -> str:
        """Return how to get a memory of that size with a method of the kit's, also on the command line."""
        owner = keeper(self.method)
        settings = {f.name for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
        if "size" not in settings:
            return ""
        more = "a larger --labelled, or " if few_labels else ""
        return (
            f", such as {type(owner).__name__}(size={size}); on the command line {more}--method path/to/file.py:name, "
            f"where a file has name = {type(owner).__name__}(size={size})"
        )

    def note_begun(self) -> None:
        """Remember what the method has made so far, and see whether it can be saved."""
        self.begun = Packer()
        self.begun.pack_method(keeper(self.method))
        self.begun_shapes = {name: _shape_of(value) for name, value in self.begun.made.items()}

    def begin_task(self, task: int, n_classes: int) -> None:
        """Grow the head to `n_classes`, if it does not know as many already, and start a fresh optimiser.

        A method may ask for a head for all classes from the start, or for a new network in each task.
        """
        if task == 0 or not own_state(self.method):
            self.begin_method()
        elif not self.begun.made:  # another learner began it
            self.note_begun()
        self.task, self.epoch, self.teacher_bytes, self.hook_seconds = task, 0, 0, 0.0
        owner, head = keeper(self.method), self.network.head
        if task > 0 and n_classes and getattr(owner, "fresh_network", False):
            weights = derive_seed(self.config.seed, "weights", task)
            new = models.build(self.config.network, self.setting.image_shape[0], seed=weights)
            self.network.backbone.load_state_dict(new.backbone.state_dict())
            head.forget()
        if n_classes and getattr(owner, "whole_head", False):
            n_classes = self.setting.n_classes
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "head", task))
        head.grow(max(0, n_classes - len(head.weight)), generator)
        self.begin_optimizer()

    def begin_optimizer(self) -> None:
        """Start a fresh optimiser, as every task does."""
        config = self.config
        parameters = [*self.network.parameters(), *own_parameters(self.method)]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, config.lr, weight_decay=config.weight_decay, fused=fused)
        else:
            self.optimizer = torch.optim.SGD(
                parameters, config.lr, config.momentum, weight_decay=config.weight_decay, fused=fused
            )
        # float16 gradients underflow without a loss scale; for the other types this does nothing.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    def batches(self, data: Images) -> Batches:
        """Return what a task is trained on, ready to be drawn from: its images, or those that the method has for them.

        Raises:
            ValueError: if the method's are no such images and labels.
        """
        config = self.config
        labelled, unlabelled = Images(*(part.to(self.device) for part in data.labelled())), data.unlabelled()
        with self.seeded("images", self.task):
            chosen = self._call("training_images", self.task, *labelled) if len(labelled.labels) else None
        return Batches(
            labelled if chosen is None else _checked_images(chosen, self.setting, len(self.network.head.weight)),
            unlabelled=unlabelled,
            batch_size=config.batch_size,
            crop_padding=config.crop_padding,
            flip=config.flip,
            device=self.device,
        )

    def step(self, batch: Batch, batches: Batches, teacher_view: Viewer | None) -> Step:
        """Return a batch as the method sees it."""
        return Step(
            images=batch.images,
            labels=batch.labels,
            task=self.task,
            view=self._view(self.network),
            teacher_view=teacher_view,
            index=batch.index,
            raw=batch.raw,
            augment=batches.augment,
            unlabelled=batch.unlabelled,
        )

    def ask(self, step: Step, *, thoroughly: bool) -> Terms:
        """Return the method's loss terms for a step.

        Args:
            step: the batch.
            thoroughly: look at each weight, and at what the method keeps, afterwards; else at the weights' counters.

        Raises:
            ValueError: if it returns no scalar terms, changes the network itself, or keeps what can't be saved.
        """
        weights = dict(self.network.named_parameters())
        before = {name: (p._version, p.detach().clone() if thoroughly else None) for name, p in weights.items()}
        terms = _checked_terms(self.method(step), self.device)
        for name, parameter in weights.items():
            version, value = before[name]
            if parameter._version != version or (value is not None and not torch.equal(parameter.detach(), value)):
                raise ValueError(
                    f"the method changed the network's parameter {name} itself; expected loss terms only, from which "
                    "the optimiser learns"
                )
        if thoroughly:
            self.check_kept()
            self.check_trained()
        return terms

    def hook(self, name: str, data: Images) -> Iterator[Record]:
        """Call the method's `begin_task` or `end_task`, and pass on what it has to say."""
        hook = getattr(keeper(self.method), name, None)
        if hook is None or getattr(hook, "__func__", None) is getattr(Method, name):  # there is nothing to do
            return
        kind = name.removesuffix("_task")
        images, labels = (part.to(self.device) for part in data.labelled())
        random_numbers: dict[str, Any] | None = None
        records: Iterator[Record] | None = None
        record: Record | None = {}
        learns = [parameter.requires_grad for parameter in self.network.parameters()]
        try:
            while record is not None:
                started = time.perf_counter()
                # The reader of the records has its own random state, and may compute without gradients.
                with self.seeded(kind, self.task, state=random_numbers), torch.enable_grad():
                    if records is None:
                        look = self.frozen(self.network)
                        records = iter(self._call(name, self.task, images, labels, look) or ())
                    record = next(records, None)
                    random_numbers = self._random_state()
                self.hook_seconds += time.perf_counter() - started
                if record is not None:
                    yield _checked_record(record, name) | {"kind": kind, "task": self.task}
        finally:
            for parameter, learnt in zip(self.network.parameters(), learns, strict=True):
                parameter.requires_grad_(learnt)
        self.check_kept()

    # ------------------------------------------------------------------ parts of these

    @contextlib.contextmanager
    def seeded(self, *purpose: str | int, state: dict[str, Any] | None = None) -> Iterator[torch.Generator]:
        """Lend a generator for this purpose, and seed those that methods draw from, for the length of a block.

        Randomness needs no place in a checkpoint: every epoch has its purpose. `state` goes on from an earlier block.
        """
        seed = derive_seed(self.config.seed, *purpose)
        before = self._random_state()
        try:
            if state is not None:
                self._set_random_state(state)
            else:
                of_method = derive_seed(seed, "method")
                torch.manual_seed(of_method)
                random.seed(of_method)
                np.random.seed(of_method % 2**32)  # noqa: NPY002 (methods may draw from it)
            yield torch.Generator().manual_seed(seed)
        finally:
            self._set_random_state(before)

    def _random_state(self) -> dict[str, Any]:
        on_gpu = {"cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {}
        numpy = np.random.get_state()  # noqa: NPY002
        return {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": numpy} | on_gpu

    def _set_random_state(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["torch"])
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def set_learning_rate(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _view(self, network: Network) -> Viewer:
        """Return how to look at images with a network: convolutions in the fast type, head and features in float32."""
        fast = self.precision != torch.float32

        def look(images: Tensor, *names: str) -> View:
            with torch.autocast(self.device.type, dtype=self.precision if fast else None, enabled=fast):
                features, shown = network.look(images, *names)
            features = features.float()
            return View(features, network.head(features), {name: value.float() for name, value in shown.items()})

        return look

    def frozen(self, network: Network) -> Viewer:
        """Freeze a network, and return how to look at images with it; a gradient passes to images that want one."""
        teaches = network is not self.network
        network.to(self.device).requires_grad_(False)
        network.train(teaches and self.config.teacher_mode == "train")
        view = self._view(network)

        def look(images: Tensor, *names: str) -> View:
            if teaches:
                self.teacher_bytes = sum(value.nbytes for value in network.state_dict().values())
            with torch.set_grad_enabled(images.requires_grad):
                seen = view(images, *names)
                known = len(self.network.head.weight)  # a teacher from outside may know classes that are still to come
                return seen if seen.logits.shape[1] <= known else replace(seen, logits=seen.logits[:, :known])

        return look

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the method's, if it has one of that name."""
        hook: Callable[..., Any] | None = getattr(keeper(self.method), name, None)
        return None if hook is None else hook(*arguments)

    def means(self, log: Log) -> dict[str, float]:
        """Return the mean of each loss term of an epoch, over the steps that have it.

        Raises:
            TrainingDivergedError: if a term, or a weight of the network, is NaN or infinite.
        """
        values = log.values()
        bad = sorted((i, name) for name, at in values.items() for i, value in at.items() if not math.isfinite(value))
        if bad:
            culprit = "the loss term " + " and ".join(repr(name) for name in values if (bad[0][0], name) in bad)
            where = f", step {bad[0][0]}"
        elif not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            culprit, where = "a weight of the network (its gradient overflowed)", ""
        else:
            return {name: math.fsum(at.values()) / len(at) for name, at in values.items()}
        raise TrainingDivergedError(
            f"{culprit} became NaN or infinite in task {self.task}, epoch {self.epoch - 1}{where}. The run keeps the "
            "last good epoch. Mend the loss, or train into a new folder with a smaller lr or later_lr"
        )

    def validate(self, held_out: Images) -> Record:
        """Return R@1 on the held-out images, if there are any, and remember the best epoch if that is asked for.

        Raises:
            TrainingDivergedError: if their features are NaN or infinite.
        """
        if not len(held_out.labels):
            return {}
        features, _ = models.embed(self.network, held_out.images)
        check_finite(features, f"held-out images became NaN or infinite in task {self.task}, epoch {self.epoch - 1}")
        score = metrics.recall_at_k(features, held_out.labels, features, held_out.labels, exclude_self=True)[1]
        if self.config.select == "best" and (self.best is None or score > self.best["score"]):
            weights = {name: value.clone() for name, value in self.network.state_dict().items()}
            beside = [parameter.detach().clone() for parameter in own_parameters(self.method)]
            self.best = {"score": score, "weights": weights, "beside": beside}
        return {"validation_recall_at_1": None if math.isnan(score) else score}

    def restore_best(self) -> None:
        """Go back to the epoch that was best on the held-out images, if that is asked for."""
        if self.best is not None:
            self.network.load_state_dict(self.best["weights"])
            with torch.no_grad():
                for parameter, value in zip(own_parameters(self.method), self.best.get("beside", ()), strict=True):
                    parameter.copy_(value)
            self.best = None

    # ------------------------------------------------------------------ what is kept

    def check_kept(self, packer: Packer | None = None) -> None:
        """Make sure that a checkpoint can hold what the method keeps, and that it can be filled again.

        Args:
            packer: what has packed it already.

        Raises:
            ValueError: if not; names the attribute.
        """
        if packer is None:
            packer = Packer()
            packer.pack_method(keeper(self.method))
        for name, value in packer.made.items():
            begun = self.begun.made.get(name)
            same = begun == value if isinstance(value, CONSTANT) else type(begun) is type(value)
            if name.startswith("method.") and not same:
                raise ValueError(
                    f"{name}, a {type(value).__name__}, was made during training, so that a checkpoint can't fill it "
                    "again; expected begin(self, setting) to make it"
                )
            if name.startswith("method.") and self.begun_shapes[name] != _shape_of(value):
                raise ValueError(
                    f"{name}, a {type(value).__name__}, has other parts or sizes than begin(self, setting) made, so "
                    "that a checkpoint can't fill it again; expected begin to make it as large as it will be"
                )
        for name, other in packer.shared.items():
            if name.startswith("method.") and self.begun.shared.get(name) != other:
                raise ValueError(
                    f"{name} shares its memory with {other}, which a checkpoint can't keep; expected a copy: x.clone()"
                )

    def check_trained(self) -> None:
        """Make sure that the optimiser has the parameters that are to be trained with the network.

        Raises:
            ValueError: if not; names the attribute.
        """
        trained = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        for parameter in own_parameters(self.method):
            if id(parameter) not in trained:
                raise ValueError(
                    f"method.{holder_of(self.method, parameter)} has parameters that it did not have when the task "
                    "began, so that no optimiser trains them; expected begin(self, setting) to make them"
                )

    def kept_bytes(self, stream: Stream) -> dict[str, int]:
        """Return what is carried over from task to task, in bytes: by attribute of the method, teacher and images.

        Optimisers are not counted: what they hold is for training alone.
        """
        kept = {}
        for name, value in own_state(self.method).items():
            packer = Packer()
            packed = packer.pack(value, name)
            n = sum(tensor.nbytes for tensor in packer.tensors.values())
            n += 8 * _count_numbers(packed) if isinstance(value, list | tuple | dict) else 0
            if n and not isinstance(value, torch.optim.Optimizer):
                kept[name] = n
        if self.teacher_bytes:
            kept["teacher"] = self.teacher_bytes
        tasks = set(training_tasks(self.method, self.task, stream.n_tasks))
        if tasks - {self.task}:
            kept["images of all tasks"] = stream.train(*tasks).images.nbytes
        return kept

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the JSON of a checkpoint."""
        packer = Packer()
        state = {
            "network": packer.pack_state(self.network.state_dict(), "network"),
            # Between two tasks there is none to keep: the next task's is still to be made.
            "optimizer": packer.pack(self.optimizer, "optimizer") if self.epoch else None,
            "scaler": packer.pack(self.scaler, "scaler") if self.epoch else None,
            "best": packer.pack(self.best, "best"),
            "task": self.task,
            "epoch": self.epoch,
            "teacher_bytes": self.teacher_bytes,
            "hook_seconds": self.hook_seconds,
            "method": packer.pack_method(keeper(self.method)),
        }
        self.check_kept(packer)
        if self.epoch:
            self.check_trained()
        return packer.tensors, state

    @classmethod
    def resume(
        cls,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        stream: Stream,
        method: AnyMethod,
        config: Config,
        *,
        has_teacher: bool = False,
    ) -> Learner:
        """Return the learner that wrote a checkpoint.

        Args:
            tensors, state: of the checkpoint.
            stream, config, has_teacher: as they were.
            method: made anew, with nothing begun.
        """
        network = models.rebuild(config.network, below("network", tensors))
        learner = cls(network, stream, method, config, has_teacher=has_teacher)
        learner.begin_method()
        learner.task, learner.epoch = state["task"], state["epoch"]
        if "optimizer" not in state:
            learner._fill_as_first_version(tensors, state)
            return learner
        learner.teacher_bytes, learner.hook_seconds = state["teacher_bytes"], state.get("hook_seconds", 0.0)
        unpacker = Unpacker(tensors, learner.device)
        unpacker.fill_method(keeper(method), state["method"])
        learner.begin_optimizer()  # with what the method has now
        learner.best = unpacker.unpack(state["best"], None, "best")
        for name in ("optimizer", "scaler") if state["optimizer"] is not None else ():
            unpacker.unpack(state[name], getattr(learner, name), name)
        return learner

    def _fill_as_first_version(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Read a checkpoint as version 0.1.0 wrote it: of Adam's moments, a loss scale and the best weights."""
        parameters = range(len(self.optimizer.param_groups[0]["params"]))
        moments = {i: below(f"adam.{i}", tensors) for i in parameters if f"adam.{i}.step" in tensors}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        lay_out(self.optimizer)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if state["best"] is not None:
            self.best = {"score": state["best"], "weights": below("best", tensors)}


def _shape_of(value: Any) -> Any:
    """Return what has to be the same for a state to be filled in again: shapes of a module, groups of an optimiser."""
    if isinstance(value, torch.nn.Module):
        return {name: tuple(part.shape) for name, part in value.state_dict().items() if isinstance(part, Tensor)}
    if isinstance(value, torch.optim.Optimizer):
        return [len(group["params"]) for group in value.param_groups]
    return value.size if isinstance(value, Memory) else None


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with "prefix.", without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _count_numbers(packed: Any) -> int:
    """Return how many numbers stand in what was packed as JSON."""
    if isinstance(packed, dict):
        return 0 if "tensor" in packed else sum(map(_count_numbers, packed.values()))
    return sum(map(_count_numbers, packed)) if isinstance(packed, list) else isinstance(packed, int | float)


def _checked_images(chosen: Any, setting: Setting, n_classes: int) -> Images:
    """Refuse what a method's `training_images` returns if it can't be trained on."""
    expected = f"expected images (M, {', '.join(map(str, setting.image_shape))}) uint8 and labels (M,)"
    if not isinstance(chosen, tuple | list) or len(chosen) != 2 or not all(isinstance(x, Tensor) for x in chosen):
        raise ValueError(f"training_images returned {type(chosen).__name__} {chosen!r:.60}; {expected}")
    images, labels = chosen
    fits = images.dtype == torch.uint8 and tuple(images.shape[1:]) == setting.image_shape
    if not fits or labels.shape != images.shape[:1] or labels.is_floating_point() or not len(labels):
        raise ValueError(
            f"training_images returned images {tuple(images.shape)} {images.dtype} and labels {tuple(labels.shape)} "
            f"{labels.dtype}; {expected}, at least one of them"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ValueError(
            f"training_images returned labels from {int(labels.min())} to {int(labels.max())}; expected 0 to "
            f"{n_classes - 1}, the classes that the network answers for"
        )
    return Images(images, labels)


def _checked_record(record: Any, hook: str) -> Record:
    """Refuse a record of the method's own that the log can't hold."""
    try:
        plain = json.loads(json.dumps(record, allow_nan=False, default=_of_numpy))
    except (TypeError, ValueError):
        plain = None
    if not isinstance(plain, dict):
        raise ValueError(
            f"{hook} yielded {record!r}; expected a dictionary of finite numbers and texts by name, such as "
            '{"herded": 20}; of a tensor x.item() or x.tolist()'
        )
    return plain


def _of_numpy(value: Any) -> Any:
    """Return a number or an array of NumPy's as Python's own."""
    if not isinstance(value, np.generic | np.ndarray):
        raise TypeError(f"{type(value).__name__} is none")
    return value.tolist()


def _checked_terms(terms: Terms, device: torch.device) -> Terms:
    """Refuse what is no dictionary of scalar loss terms; it comes from a student's own function."""
    example = 'expected a dictionary of named scalar tensors, such as {"ce": losses.cross_entropy(...)}'
    if not isinstance(terms, Mapping) or not terms:
        forgotten = " Is `return terms` missing?" if terms is None else ""
        raise ValueError(f"the method returned {type(terms).__name__} {terms!r}; {example}.{forgotten}")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            what = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else repr(term)
            raise ValueError(f"the method's term {name!r} is {what}; {example}")
        if term.is_complex():
            raise ValueError(f"the method's term {name!r} is {term.dtype}; {example}")
    odd = [name for name, term in terms.items() if term.device.type != device.type]
    if odd:
        raise ValueError(
            f"the method's term {odd[0]!r} is on {terms[odd[0]].device}, and the network on {device}; expected all "
            "terms there, such as torch.zeros((), device=step.images.device)"
        )
    if not any(term.requires_grad for term in terms.values()):
        raise ValueError("no term of the method depends on step.features or step.logits; nothing would be learnt")
    return terms
