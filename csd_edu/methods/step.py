"""What a method is given: one training step, in which the networks are asked only when a method looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """What a network makes of images: `view.features`, `view.logits`, and by name what else was asked for.

    Attributes:
        features: (B, D).
        logits: (B, classes the network knows).
        shown: what else the network shows, such as {"stage2": (B, 32, H/2, W/2)}; `view["stage2"]` for short.
    """

    features: Tensor
    logits: Tensor
    shown: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.shown[name]


Viewer = Callable[..., View]
"""`view(images, *names)`: a network's view of images, uint8 or float in 0..1, with what it shows under these names."""


@dataclass(eq=False)
class Step:
    """One batch as a method sees it.

    Attributes:
        images: (B, C, H, W) uint8, after random crop and flip.
        labels: (B,) int64, in the order of the stream: the classes of task 0 come first.
        task: 0 for the first task.
        view: the network in training (the student) on any images, with gradient; `view(images, "stage2")` shows a
            feature map as well (`network.shows` has the names).
        teacher_view: the same of the frozen teacher, None if there is none; a gradient passes to images that want one.
            Its logits are those of classes that have come.
        index: (B,) int64, which of the training images of this task these are: the rows of a bank.
        raw: (B, C, H, W) uint8, the images before crop and flip: what a memory keeps.
        augment: another random crop and flip, of any uint8 images of this size: a second view, or a memory's images.
        unlabelled: (U, C, H, W) uint8, raw images of the task without labels, in streams that have them; else None.
    """

    images: Tensor
    labels: Tensor
    task: int
    view: Viewer = field(repr=False)
    teacher_view: Viewer | None = field(repr=False)
    index: Tensor = field(repr=False)
    raw: Tensor = field(repr=False)
    augment: Callable[[Tensor], Tensor] = field(repr=False)
    unlabelled: Tensor | None = field(default=None, repr=False)

    @cached_property
    def student(self) -> View:
        """What the network in training makes of the batch, asked on first use."""
        return self.view(self.images)

    @property
    def features(self) -> Tensor:
        """(B, D) of the student, with gradient."""
        return self.student.features

    @property
    def logits(self) -> Tensor:
        """(B, classes so far) of the student, with gradient."""
        return self.student.logits

    @cached_property
    def teacher(self) -> View | None:
        """What the frozen network of the task before makes of the same images; None in the first task.

        It is asked on first use, so a method that needs no teacher does not pay for one.
        """
        return None if self.teacher_view is None else self.teacher_view(self.images)
