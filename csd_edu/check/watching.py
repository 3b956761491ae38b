"""A made-up stream whose images tell who asks about them: what a method learns again can be seen from outside.

What is wrong is told by the names of the mistakes in `remembering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

import csd_edu as csd
from csd_edu.methods import Step, View

N_IMAGES, BATCH, SIDE = 640, 16, 16  # images of a task and of a step, and pixels of a side
CROPPED = 100  # what the mark of an image has more if it was cropped


@dataclass(frozen=True)
class World:
    """A made-up stream: for each task its number of classes. An image's number is in its first two channels."""

    sizes: tuple[int, ...]

    def __str__(self) -> str:
        classes = ", ".join(map(str, self.sizes))
        return f"{len(self.sizes)} tasks with {classes} classes, {N_IMAGES} images each, in batches of {BATCH}"

    @cached_property
    def stream(self) -> csd.Stream:
        first = [sum(self.sizes[:task]) for task in range(len(self.sizes))]
        tasks = [tuple(range(k, k + n)) for k, n in zip(first, self.sizes, strict=True)]
        labels = torch.tensor([classes[i % len(classes)] for classes in tasks for i in range(N_IMAGES)])
        n = torch.arange(len(labels))
        pixels = torch.stack([n % 256, n // 256 + 1, n % 97], dim=1).to(torch.uint8)  # (N, 3)
        images = pixels[:, :, None, None].repeat(1, 1, SIDE, SIDE)
        names = tuple(f"class {k}" for k in range(sum(self.sizes)))
        return csd.Stream(csd.Dataset("made up", images, labels, images, labels, names), tuple(tasks))


def pixels(images: Tensor) -> Tensor:
    """Return the (n, 3) channels of one-coloured images, cropped or not, from 0 to 255."""
    values = images.detach().amax(dim=(2, 3)).double()
    return (255 * values if images.is_floating_point() else values).round()


def numbers_of(images: Tensor) -> Tensor:
    """Return (n,) which images these are, −1 for what is none of the stream."""
    low, high, mark = pixels(images).long().unbind(dim=1)
    n = low + 256 * (high - 1)
    return torch.where((high > 0) & (mark % CROPPED == n % 97), n, -1)


def crop(images: Tensor) -> Tensor:
    """Return images that are marked as cropped."""
    marked = images.clone()
    marked[:, 2] = marked[:, 2] % CROPPED + CROPPED
    return marked


class Eyes:
    """A network that notes down what it is asked about and, if it learns, where its answers can receive a gradient."""

    def __init__(self, n_classes: int, *, learns: bool) -> None:
        self.learns = learns
        generator = torch.Generator().manual_seed(n_classes)
        self.inner = torch.randn(3, 8, generator=generator)
        self.head = torch.randn(8, n_classes, generator=generator)
        self.asked: list[Tensor] = []
        self.leaves: list[Tensor] = []  # of each look two: features (n, 8), logits (n, n_classes)

    def __call__(self, images: Tensor, *names: str) -> View:
        nothing = [torch.zeros(len(images), n, requires_grad=self.learns) for n in self.head.shape]
        features = torch.cos(pixels(images).float() / 20 @ self.inner) + nothing[0]
        self.asked.append(numbers_of(images))
        self.leaves += nothing
        return View(features, features @ self.head + nothing[1], dict.fromkeys(names, features[:, :, None, None]))

    def all_asked(self) -> Tensor:
        """Return (n,) the images that it was asked about, one look after the other."""
        return torch.cat([torch.empty(0, dtype=torch.int64), *self.asked])


class Seen(NamedTuple):
    """What became of a step.

    Attributes:
        task: of the step.
        batch: (B,) the new images.
        asked: (n,) the images that the student was asked about, and for each of them
        learnt: whether anything is learnt from it,
        label: which label it is taught, by cross-entropy alone; −1 for none, or for something else,
        truth: and its own label.
        teacher: (m,) the images that the teacher was asked about.
        loss: the sum of all terms.
    """

    task: int
    batch: Tensor
    asked: Tensor
    learnt: Tensor
    label: Tensor
    truth: Tensor
    teacher: Tensor
    loss: Tensor

    @property
    def is_new(self) -> Tensor:
        """(n,) whether the image is of the batch."""
        return torch.isin(self.asked, self.batch)

    @property
    def is_old(self) -> Tensor:
        """(n,) whether the image is one of an earlier task."""
        return (self.asked >= 0) & (self.asked < self.task * N_IMAGES)

    @property
    def others(self) -> Tensor:
        """The images asked about that are not of the batch."""
        return self.asked[~self.is_new & (self.asked >= 0)]

    @property
    def n_twice(self) -> int:
        """How many images of the batch the student was asked about more than once."""
        return int(((self.asked[:, None] == self.batch).sum(dim=0) > 1).sum())


def step_of(world: World, task: int, rows: Tensor) -> tuple[Step, Eyes, Eyes]:
    """Return a step of some rows of a task's images, and the eyes of its student and of its teacher."""
    images, labels = world.stream.train(task)
    n_known = world.stream.n_seen
    student, teacher = Eyes(n_known[task], learns=True), Eyes(n_known[max(task - 1, 0)], learns=False)
    raw, answers = images[rows], teacher if task else None
    step = Step(crop(raw), labels[rows], task, student, answers, index=rows, raw=raw, augment=crop)
    return step, student, teacher


def seen(world: World, step: Step, student: Eyes, teacher: Eyes, found: Sequence[Tensor | None], loss: Tensor) -> Seen:
    """Return what became of a step, in which the leaves of the student have received these gradients."""
    pairs = zip(student.leaves, found, strict=True)
    filled = [torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in pairs]
    features, logits = torch.cat(filled[::2]), torch.cat(filled[1::2])
    asked = student.all_asked()
    return Seen(
        task=step.task,
        batch=numbers_of(step.raw),
        asked=asked,
        learnt=(features != 0).any(dim=1) | (logits != 0).any(dim=1),
        label=torch.where((logits < 0).sum(dim=1) == 1, logits.argmin(dim=1), -1),  # one is to rise, all others to fall
        truth=world.stream.dataset.y_train[asked.clamp(min=0)],
        teacher=teacher.all_asked(),
        loss=loss,
    )


def kept_wrongly(kept: Sequence[Tensor], steps: Sequence[Seen]) -> str | None:
    """Return the mistake in what is kept, the tensors, and where, or None."""
    again = any(len(step.others) for step in steps)
    rows = [x.reshape(-1, 3, SIDE, SIDE) for x in kept if x.ndim > 1 and x.numel() % (3 * SIDE**2) == 0 < x.numel()]
    marks = torch.cat([torch.empty(0), *(pixels(x)[numbers_of(x) >= 0, 2] for x in rows)])
    if len(marks) == 0:
        return "kept outside" if again else "no images kept" if kept else "nothing kept"
    return "crops kept" if (marks >= CROPPED).double().mean() > 0.5 else None


def learnt_wrongly(run: Sequence[Seen]) -> str | None:
    """Return the mistake in what is learnt again in the steps of a run, or None."""
    later = [(last, step) for last, step in pairwise(run) if step.task == last.task > 0]
    steps = [step for _, step in later]
    if not any(len(step.others) for step in steps):
        by_teacher = any(not torch.isin(step.teacher, step.batch).all() for step in steps)
        return "only the teacher is asked" if by_teacher else "never seen again"
    if all(torch.isin(step.others, last.batch).all() for last, step in later):
        return "only the last batch"
    if not any(step.is_old.any() for step in steps):
        return "forgotten at a new task"
    if not any((step.is_old & step.learnt).any() for step in steps):
        return "old images without a gradient"
    if sum(bool((step.is_new & step.learnt).any()) for step in steps) < len(steps) / 2:
        return "only old images"
    if run[0].n_twice == BATCH and sum(step.n_twice for step in steps) < len(steps) * BATCH / 2:
        return "the batch replayed to itself"
    if _wrong_labels([(step.label, step.truth, step.is_old) for step in steps]):
        both = _wrong_labels([(step.label, step.truth, step.is_new) for step in steps])
        return "labels in another order" if both else "labels of the new batch"
    return None


def _wrong_labels(told: Sequence[tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Return whether nearly each of some rows is taught one label, and often another than its own."""
    label, truth = (torch.cat([row[part][row[2]] for row in told]) for part in range(2))
    known = label >= 0
    return bool(known.double().mean() > 0.9 and (label == truth)[known].double().mean() < 0.9)
