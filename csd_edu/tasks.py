"""A dataset in tasks: which classes come when, and the images of each task."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from csd_edu import arguments, doubts
from csd_edu.data import Dataset
from csd_edu.features import UNLABELLED
from csd_edu.runtime import derive_seed


class Images(NamedTuple):
    """Images with their labels in the order of the stream: task 0's classes are 0, 1, …, then task 1's follow."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64; UNLABELLED where nobody has said which class it is

    def labelled(self) -> Images:
        """Return those that have a label."""
        known = self.labels != UNLABELLED  # (N,)
        return self if bool(known.all()) else Images(self.images[known], self.labels[known])

    def unlabelled(self) -> Tensor | None:
        """Return the images (M, C, H, W) that have none, or None if all have one."""
        unknown = self.labels == UNLABELLED  # (N,)
        return self.images[unknown] if bool(unknown.any()) else None


@dataclass(frozen=True, eq=False)
class Stream:
    """A dataset whose classes arrive task by task.

    Attributes:
        dataset: where the images come from.
        tasks: for each task, the dataset's ids of its classes, in the order in which the network learns them.
        validation: share of each class's training images that is held out, 0 to below 1.
        seed: of the class order, of the held-out images and of which images have a label.
        labelled: how many training images of each class have a label: a share, a whole number, or None for all; those
            that are held out for validation are not counted, and have theirs.

    Raises:
        ValueError: if a class has fewer images to train on than are to have a label.
    """

    dataset: Dataset
    tasks: tuple[tuple[int, ...], ...]
    validation: float = 0.0
    seed: int = 0
    labelled: float | int | None = None

    def __post_init__(self) -> None:
        plain = {
            "tasks": tuple(tuple(arguments.whole_numbers("tasks", task, least=0)) for task in self.tasks),
            "validation": arguments.number("validation", self.validation),
            "seed": arguments.seed("seed", self.seed),
            "labelled": _checked_labelled(self.labelled),
        }
        for name, value in plain.items():  # Python's own numbers: they are saved as JSON
            object.__setattr__(self, name, value)
        if isinstance(self.labelled, int):
            _check_enough(self.dataset, ~self._held_out, self.labelled, self.validation)

    @property
    def n_tasks(self) -> int:
        return len(self.tasks)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes in each task."""
        return tuple(len(task) for task in self.tasks)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.dataset.x_train.shape[1:]
        return channels, height, width

    @cached_property
    def n_seen(self) -> tuple[int, ...]:
        """Number of classes known after each task."""
        return tuple(accumulate(self.sizes))

    @property
    def class_order(self) -> tuple[int, ...]:
        """The dataset's ids in the order of the stream: label k of the stream is the dataset's class_order[k]."""
        return tuple(c for task in self.tasks for c in task)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by the stream's labels."""
        return tuple(self.dataset.classes[c] for c in self.class_order)

    @cached_property
    def task_of_class(self) -> Tensor:  # (n_classes,) int64
        """The task of each of the stream's labels."""
        return torch.arange(self.n_tasks, device="cpu").repeat_interleave(torch.tensor(self.sizes, device="cpu"))

    @cached_property
    def _new_label(self) -> Tensor:  # (n_classes,) int64
        return torch.argsort(torch.tensor(self.class_order, device="cpu"))

    @cached_property
    def _held_out(self) -> Tensor:  # (N_train,) bool
        """Which training images are kept for validation: the same share of every class, at least one."""
        held_out = torch.zeros(len(self.dataset.y_train), dtype=torch.bool, device="cpu")
        if self.validation > 0:
            rng = np.random.RandomState(self.seed)  # its stream is frozen: the same images everywhere
            for c in range(self.dataset.n_classes):
                rows = torch.nonzero(self.dataset.y_train == c).squeeze(1).numpy()
                n = min(max(1, round(self.validation * len(rows))), len(rows) - 1)
                held_out[torch.from_numpy(rng.permutation(rows)[:n])] = True
        return held_out

    @cached_property
    def _has_label(self) -> Tensor:  # (N_train,) bool
        """Which training images have a label: as many of every class, drawn from those that are not held out."""
        if self.labelled is None:
            return torch.ones(len(self.dataset.y_train), dtype=torch.bool, device="cpu")
        has_label = torch.zeros(len(self.dataset.y_train), dtype=torch.bool, device="cpu")
        rng = np.random.RandomState(derive_seed(self.seed, "labelled") % 2**32)
        for c in range(self.dataset.n_classes):
            rows = torch.nonzero((self.dataset.y_train == c) & ~self._held_out).squeeze(1).numpy()
            n = self.labelled if isinstance(self.labelled, int) else max(1, round(self.labelled * len(rows)))
            has_label[torch.from_numpy(rng.permutation(rows)[:n])] = True
        return has_label

    def train(self, *tasks: int) -> Images:
        """Return the training images of these tasks, in the dataset's own order; those without a label have −1."""
        keep = self._rows(tasks) & ~self._held_out
        labels = self._labels[keep].masked_fill(~self._has_label[keep], UNLABELLED)
        return Images(self.dataset.x_train[keep], labels)

    def n_images(self, *tasks: int) -> int:
        """Return how many training images with a label these tasks have."""
        return int((self._rows(tasks) & ~self._held_out & self._has_label).sum())

    @property
    def n_of_class(self) -> tuple[int, ...]:
        """How many training images with a label each class has, by the stream's labels."""
        counted = self._labels[~self._held_out & self._has_label]
        return tuple(torch.bincount(counted, minlength=len(self.classes)).tolist())

    def n_unlabelled(self, *tasks: int) -> int:
        """Return how many training images without a label these tasks have."""
        return int((self._rows(tasks) & ~self._held_out & ~self._has_label).sum())

    def held_out(self, *tasks: int) -> Images:
        """Return the validation images of these tasks; empty if the stream was split without a validation share."""
        keep = self._rows(tasks) & self._held_out
        return Images(self.dataset.x_train[keep], self._labels[keep])

    @cached_property
    def _labels(self) -> Tensor:  # (N_train,) int64
        """The training images' labels in the order of the stream."""
        return self._new_label[self.dataset.y_train]

    def _rows(self, tasks: Sequence[int]) -> Tensor:  # (N_train,) bool
        """Return which training images are of these tasks."""
        wanted = torch.tensor(arguments.whole_numbers("tasks", tasks), dtype=torch.int64, device="cpu")
        return torch.isin(self.task_of_class[self._labels], wanted)

    def rehearsal(self, n_tasks: int) -> Stream:
        """Return a stream of the first tasks whose test images are those held out here: to choose settings with.

        Of its training images as many have a label as here, though it may be others.
        """
        tasks = range(n_tasks)
        learnt = self._rows(tasks) & ~self._held_out
        classes, ends = self.classes[: self.n_seen[n_tasks - 1]], (0, *self.n_seen)
        images = Dataset(
            self.dataset.name, self.dataset.x_train[learnt], self._labels[learnt], *self.held_out(*tasks), classes
        )
        return Stream(images, tuple(tuple(range(*ends[k : k + 2])) for k in tasks), 0.0, self.seed, self.labelled)

    def test(self) -> Images:
        """Return the test images of all tasks, task after task, so that each task is one slice."""
        labels = self._new_label[self.dataset.y_test]
        order = torch.argsort(self.task_of_class[labels], stable=True)
        return Images(self.dataset.x_test[order], labels[order])

    def describe(self) -> dict[str, Any]:
        """Return what identifies this stream, as JSON: a run continues only on the same one."""
        return {
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "tasks": [[self.dataset.classes[c] for c in task] for task in self.tasks],
            "validation": self.validation,
            "seed": self.seed,
            "image_shape": list(self.image_shape),
            **({} if self.labelled is None else {"labelled": self.labelled}),
        }

    def __repr__(self) -> str:
        sizes = " + ".join(map(str, self.sizes))
        labelled = (
            "" if self.labelled is None else f", {self.n_images(*range(self.n_tasks)):,} training images with a label"
        )
        tasks = f"{self.n_tasks} task{'s' * (self.n_tasks > 1)}"
        return f"Stream of {tasks} ({sizes} classes) from {self.dataset!r}{labelled}"


def split(
    dataset: Dataset,
    n_tasks: int | None = None,
    *,
    sizes: Sequence[int] | None = None,
    classes: Sequence[Sequence[int | str]] | None = None,
    groups: bool = False,
    shuffle: bool = True,
    validation: float = 0.0,
    labelled: float | int | None = None,
    seed: int = 0,
) -> Stream:
    """Divide a dataset's classes into tasks. Say how in exactly one of four ways.

    Args:
        dataset: what to divide.
        n_tasks: that many tasks, as even as possible (100 classes in 3 tasks: 34, 33, 33).
        sizes: the number of classes of each task; they add up to the dataset's classes.
        classes: the classes of each task, by name or id; every class once.
        groups: one task for each group of the dataset (an alphabet of Omniglot or of the glyphs).
        shuffle: draw the class order (with `groups`, the order of the groups) from the seed; False keeps the dataset's.
        validation: share of each class's training images to hold out, 0 to below 1.
        labelled: how many of each class's other training images have a label: a share above 0 and up to 1, such as 0.1
            (at least one image), or a whole number, such as 3. 1 is one image; 1.0 is all of them, as is the default
            None. The rest have label −1, and reach a method as `step.unlabelled` only.
        seed: of the class order, of the held-out images and of which images have a label.

    Returns:
        The stream of tasks.

    Raises:
        ValueError: if there are more tasks than classes, sizes or lists that overlap or miss classes, no groups, …
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(f"dataset is {dataset!r}; expected one that csd.load returns")
    groups, shuffle = arguments.flag("groups", groups), arguments.flag("shuffle", shuffle)
    seed, validation = arguments.seed("seed", seed), arguments.number("validation", validation)
    ways = {"n_tasks": n_tasks, "sizes": sizes, "classes": classes, "groups": groups or None}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"split was told {' and '.join(given) or 'nothing'}; expected exactly one of n_tasks=5, "
            "sizes=[50, 25, 25], classes=[['cat', 'dog'], ['ship']] or groups=True"
        )
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation}; expected a share of the training images from 0 to below 1")
    if validation > 0 and int(torch.bincount(dataset.y_train, minlength=dataset.n_classes).min()) < 2:
        raise ValueError(
            f"validation is {validation}, but a class has a single training image; use validation=0 or add images"
        )
    labelled = _checked_labelled(labelled)
    rng = np.random.RandomState(seed)  # its stream is frozen: the same order everywhere
    n_classes = dataset.n_classes

    if classes is not None:
        tasks = [[_class_id(dataset, c) for c in task] for task in _in_order(classes)]
        _check_lists(dataset, tasks)
    elif groups:
        tasks = [list(ids) for ids in dataset.groups.values()]
        if len(tasks) < 2 or sum(map(len, tasks)) != n_classes:
            raise ValueError(
                f"dataset {dataset.name!r} has no groups; its class names would have to read 'group/class'. "
                "Use n_tasks=… instead"
            )
        if shuffle:
            tasks = [tasks[g] for g in rng.permutation(len(tasks))]
    else:
        if n_tasks is not None:
            n_tasks = arguments.whole("n_tasks", n_tasks)
            if not 1 <= n_tasks <= n_classes:
                raise ValueError(
                    f"n_tasks is {n_tasks}; expected 1 to {n_classes}, the number of classes of {dataset.name!r} "
                    "(n_tasks=, or --tasks)"
                )
            sizes = [n_classes // n_tasks + (t < n_classes % n_tasks) for t in range(n_tasks)]
        sizes = arguments.whole_numbers("sizes", sizes)
        if any(size < 1 for size in sizes) or sum(sizes) != n_classes:
            raise ValueError(
                f"sizes are {list(sizes)} (sum {sum(sizes)}); expected positive numbers that add up to the "
                f"{n_classes} classes of {dataset.name!r}"
            )
        order = rng.permutation(n_classes) if shuffle else np.arange(n_classes)
        tasks = [part.tolist() for part in np.split(order, np.cumsum(sizes)[:-1])]
    stream = Stream(dataset, tuple(tuple(int(c) for c in task) for task in tasks), validation, seed, labelled)
    doubts.say_sizes(dataset, stacklevel=2)
    if validation > 0 and (n := int((dataset.y_train[stream._held_out].bincount() == 1).sum())):
        warnings.warn(
            f"{dataset.name}: validation={validation} holds out a single image of {n} of {n_classes} classes, with "
            "nothing of its class to find: they count in no held-out Recall@1; take a larger share, or more images",
            doubts.Doubt,
            stacklevel=2,
        )
    return stream


def _checked_labelled(labelled: Any) -> float | int | None:
    """Return a share or a number of labelled images as Python's own number; the whole share as None.

    Raises:
        ValueError: if it is neither.
    """
    if labelled is None:
        return None
    expected = "a share of each class above 0 and up to 1, such as 0.1, or a whole number of images, such as 3"
    try:
        return arguments.whole("labelled", labelled, least=1)
    except ValueError:  # a share, or a mistake
        found = arguments.number("labelled", labelled, expected)
    if 0 < found <= 1:
        return found if found < 1 else None
    if found < 1 or not found.is_integer():
        raise ValueError(f"labelled is {labelled!r}; expected {expected}")
    return int(found)


def _check_enough(dataset: Dataset, learnt: Tensor, labelled: int, validation: float) -> None:
    """Refuse to label more images of a class than it has to train on: those of the rows `learnt` (N_train,) bool."""
    counts = torch.bincount(dataset.y_train[learnt], minlength=dataset.n_classes)
    least = int(counts.argmin())
    if int(counts[least]) < labelled:
        rest = " that are not held out" if validation > 0 else ""
        raise ValueError(
            f"labelled is {labelled}, but class {dataset.classes[least]!r} has {int(counts[least])} training images"
            f"{rest}; expected at most as many, or a share such as labelled=0.1"
        )


def _in_order(classes: Sequence[Sequence[int | str]]) -> list[list[int | str]]:
    """Return the classes of each task as lists; a set has no order, and in a text each letter would be a class."""
    example = "expected a list for each task, such as [['cat', 'dog'], ['ship']]"
    if isinstance(classes, str | bytes | set | frozenset | dict) or not isinstance(classes, Iterable):
        raise ValueError(f"classes is {classes!r}; {example}")
    tasks = list(classes)
    for t, task in enumerate(tasks):
        if isinstance(task, str | bytes | set | frozenset | dict) or not isinstance(task, Iterable):
            raise ValueError(f"classes[{t}] is {task!r}; {example}")
    return [list(task) for task in tasks]


def _class_id(dataset: Dataset, name: int | str) -> int:
    if isinstance(name, str):
        if name not in dataset.classes:
            raise ValueError(f"classes name {name!r}, which {dataset.name!r} does not have; see dataset.classes")
        return dataset.classes.index(name)
    name = arguments.whole("an id in classes", name)
    if not 0 <= name < dataset.n_classes:
        raise ValueError(f"classes hold the id {name}; expected 0 to {dataset.n_classes - 1}")
    return name


def _check_lists(dataset: Dataset, tasks: list[list[int]]) -> None:
    """Refuse class lists in which a task is empty, a class comes twice, or a class is missing."""
    if not tasks or any(not task for task in tasks):
        raise ValueError("classes hold an empty task; expected at least one class in every task")
    flat = [c for task in tasks for c in task]
    twice = sorted({dataset.classes[c] for c in flat if flat.count(c) > 1})
    missing = sorted({dataset.classes[c] for c in range(dataset.n_classes) if c not in set(flat)})
    if twice or missing:
        problems = [f"{doubts.few(twice)} more than once"] * bool(twice) + [f"no {doubts.few(missing)}"] * bool(missing)
        raise ValueError(f"classes hold {' and '.join(problems)}; expected every class of {dataset.name!r} once")
