"""Made-up inputs that several exercises share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from csd_edu.methods import Step, View

APART = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -0.8], [-1.1, 1.0, -1.0], [-0.7, -1.0, 1.0]])
"""Four features that all point apart: similarities below 0."""

PAIRS = torch.tensor([0, 0, 1, 1])
"""Labels, or tasks, of four images: two and two."""

QUARTER_TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])


def triangle(*rows: Sequence[float]) -> list[list[float | None]]:
    """Return a task matrix with nothing above the diagonal: a task has no value before it was learnt."""
    return [[*row, *[None] * (len(rows) - len(row))] for row in rows]


def random(n: int, dim: int, seed: int, spread: float = 0.0) -> Tensor:
    """Return random features (n, dim); with a spread, of very different lengths."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator)
    return x * torch.rand(n, 1, generator=generator).mul(spread).exp()


Pair = tuple[Tensor, Tensor]  # features and logits


def step_of(labels: list[int], task: int, student: Pair, teacher: Pair) -> Step:
    """Return a step with what student and teacher made of a made-up batch; in task 0 there is no teacher."""
    generator = torch.Generator().manual_seed(len(labels))
    images = torch.randint(0, 256, (len(labels), 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Step(
        images=images,
        labels=torch.tensor(labels),
        task=task,
        view=partial(_same, View(*student)),  # not a lambda: what a partial holds is copied with the step
        teacher_view=partial(_anew, View(*teacher)) if task > 0 else None,
        index=torch.arange(len(labels)),
        raw=images,
        augment=_as_they_are,
    )


def _same(view: View, _images: Tensor) -> View:
    return view


def _anew(view: View, _images: Tensor) -> View:
    return View(view.features.clone(), view.logits.clone())


def _as_they_are(images: Tensor) -> Tensor:
    return images


def normal_step(labels: list[int], task: int, seed: int, dim: int, n_new: int) -> Step:
    """Return a step of numbers around 0, whose teacher knows as many classes as there are features."""
    generator = torch.Generator().manual_seed(seed)
    columns = (dim, dim * (task > 0) + n_new, dim, dim)
    x, logits, taught, answers = (_tenths(torch.randn(len(labels), n, generator=generator)) for n in columns)
    return step_of(labels, task, (x, logits), (taught, answers))


def uniform_step(labels: list[int], task: int, seed: int, dim: int = 3, n_known: int = 3) -> Step:
    """Return a step of features not below 0, as after a ReLU, whose teacher knows so many classes."""
    generator = torch.Generator().manual_seed(seed)
    ranges = ((dim, 0), (dim, 0), (max(labels) + 1, -2), (n_known, -2))
    x, taught, logits, answers = (
        _tenths(torch.rand(len(labels), n, generator=generator) * (2 - low) + low) for n, low in ranges
    )
    return step_of(labels, task, (x, logits), (taught, answers))


def _tenths(x: Tensor) -> Tensor:
    return x.mul(10).round() / 10 + 0.0  # no −0
