"""What a method is given: one training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from torch import Tensor


class View(NamedTuple):
    """What a network made of a batch."""

    features: Tensor  # (B, D)
    logits: Tensor  # (B, n_classes it knows)


@dataclass(eq=False)
class Step:
    """One batch as a method sees it.

    Attributes:
        images: (B, C, H, W) uint8, after random crop and flip.
        labels: (B,) int64, in the order of the stream: the classes of task 0 come first.
        features: (B, D) of the network in training (the student), with gradient.
        logits: (B, classes so far) of the student, with gradient.
        task: 0 for the first task.
    """

    images: Tensor
    labels: Tensor
    features: Tensor
    logits: Tensor
    task: int
    ask_teacher: Callable[[Tensor], View] | None = field(default=None, repr=False)

    @cached_property
    def teacher(self) -> View | None:
        """What the frozen network of the task before made of the same images; None in the first task.

        It is asked on first use, so a method that needs no teacher does not pay for one.
        """
        return None if self.ask_teacher is None else self.ask_teacher(self.images)


Method = Callable[[Step], Mapping[str, Tensor]]
"""A method: from a step to its named loss terms, each a scalar. Training minimises their sum."""
