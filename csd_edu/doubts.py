"""What is legal in a dataset, but probably not meant: found and said before anything is trained."""

from __future__ import annotations

import hashlib
import warnings
import weakref
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from csd_edu.data import Dataset

DARK = 25  # no pixel is brighter: masks, and what 12 bits become that are taken for 16
UNEVEN = 10  # the largest class has so many times the images of the smallest

_told: weakref.WeakSet[Dataset] = weakref.WeakSet()  # of whose numbers of test images one has been warned


class Doubt(UserWarning):
    """Something is legal, but probably not meant."""


def of(dataset: Dataset) -> list[str]:
    """Return what is doubtful about a dataset's pixels and copies, a sentence for each kind, with numbers."""
    images = dataset.x_train.flatten(2), dataset.x_test.flatten(2)  # not one tensor: the set may be large
    y = torch.cat([dataset.y_train, dataset.y_test])  # (N,)
    low, high = (torch.cat([side(part, 2) for part in images]) for side in (torch.amin, torch.amax))  # (N, C)
    constant = (low == high).all(1)  # (N,)
    return [
        *_dark(high.amax(1), constant, y, dataset.classes),
        *_constant(constant, y, dataset.classes),
        *_grey(images, y, dataset.classes),
        *_copies(images, constant, y),
        *_uneven(dataset),
    ]


def say_sizes(dataset: Dataset, stacklevel: int) -> None:
    """Warn, once for each dataset, of classes with a single test image: a search among test images needs two."""
    single = dataset.y_test.bincount(minlength=dataset.n_classes) == 1  # (n_classes,)
    if dataset in _told or not single.any():
        return
    _told.add(dataset)
    names = _some(single, dataset.classes)
    which = "every class has" if single.all() else f"{int(single.sum())} of {len(single)} classes have"
    effect = "no Recall@1 can be measured: '–'" if single.all() else f"these count in no Recall@1: {names}"
    advice = "in a folder without a split from 8 images a class, or by a test/ folder; with per_class, by a larger one"
    warnings.warn(
        f"{dataset.name}: {which} a single test image, which has no other of its class to find, so {effect}. "
        f"Give each class two test images or more: {advice}",
        Doubt,
        stacklevel=stacklevel + 1,
    )


def few(names: Sequence[str]) -> str:
    """Return the first five of some names, and how many more there are."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _some(which: Tensor, classes: tuple[str, ...]) -> str:
    """Return the names of classes by a mask (n_classes,)."""
    return few([classes[c] for c in which.nonzero()[:, 0].tolist()])


def _most(which: Tensor, y: Tensor, classes: tuple[str, ...]) -> str:
    """Return the class that has the most of the images in a mask (N,), with numbers."""
    counts = y[which].bincount(minlength=len(classes))
    worst = int(counts.argmax())
    return f"of class {classes[worst]!r} {counts[worst]} of {int((y == worst).sum())}"


def _dark(high: Tensor, constant: Tensor, y: Tensor, classes: tuple[str, ...]) -> list[str]:
    top = int(high.max())
    if top == 0:
        return []  # all black: said of constant images
    if top == 1:
        return [
            f"no pixel of the {len(high)} images is above 1 of 255. If they were floats from 0 to 1, their detail "
            "was lost when they became integers: make them anew with (255 * x).round().astype(np.uint8); if they are "
            "masks, multiply them by 255"
        ]
    dark = (high <= DARK) & ~constant
    if not dark.any():
        return []
    return [
        f"{int(dark.sum())} of {len(high)} images are nearly black ({_most(dark, y, classes)}): no pixel above "
        f"{DARK} of 255. Masks, or photographs of more bits than their format says? Scale their values to 0 to 255"
    ]


def _constant(constant: Tensor, y: Tensor, classes: tuple[str, ...]) -> list[str]:
    if not constant.any():
        return []
    return [
        f"{int(constant.sum())} of {len(constant)} images are of a single colour ({_most(constant, y, classes)}): "
        "there is nothing in them to learn. Look at them, and remove or replace them"
    ]


def _grey(images: tuple[Tensor, Tensor], y: Tensor, classes: tuple[str, ...]) -> list[str]:
    """Say which classes are grey throughout, where the others are in colour throughout."""
    blocks = chain(*(part.split(1024) for part in images))  # the comparison takes as much memory as they do
    grey = torch.cat([(block == block[:, :1]).flatten(1).all(1) for block in blocks])  # (N,)
    n_grey, n = y[grey].bincount(minlength=len(classes)), y.bincount(minlength=len(classes))  # (n_classes,)
    all_grey = n_grey == n
    if not all_grey.any() or all_grey.all() or n_grey[~all_grey].any():
        return []
    what = "class is" if all_grey.sum() == 1 else "classes are"
    return [
        f"{int(all_grey.sum())} {what} grey in every image, {_some(all_grey, classes)}, the others in none: colour "
        "alone tells them apart. If that is not what is to be learnt, make all images grey, or replace these"
    ]


def _copies(images: tuple[Tensor, Tensor], constant: Tensor, y: Tensor) -> list[str]:
    """Say how many images are there twice, pixel for pixel, where that does harm."""
    n_train, n_test = map(len, images)
    rows: dict[bytes, list[int]] = {}  # of the same pixels
    for i, pixels in enumerate(chain(*(part.numpy() for part in images))):
        if not constant[i]:
            rows.setdefault(hashlib.blake2b(pixels, digest_size=16).digest(), []).append(i)
    several = [same for same in rows.values() if len(same) > 1]
    in_test = [sum(i >= n_train for i in same) for same in several]
    in_both = sum(n for n, same in zip(in_test, several, strict=True) if n < len(same))
    twins = sum(n for n in in_test if n > 1)
    mixed = sum(len({int(y[i]) for i in same}) > 1 for same in several)
    told = []
    if in_both:
        told.append(f"{in_both} of {n_test} test images are training images as well")
    if twins:
        told.append(
            f"{twins} test images have a copy among the test images, which finds them whatever the network learns"
        )
    if mixed:
        told.append(f"{mixed} {'images are' if mixed > 1 else 'image is'} in two classes or more")
    if not told:
        return []
    return [f"copies, pixel for pixel: {'; '.join(told)}. Results then say too much: keep one of each, and load again"]


def _uneven(dataset: Dataset) -> list[str]:
    counts = dataset.y_train.bincount(minlength=dataset.n_classes)
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[many] < UNEVEN * counts[few]:
        return []
    return [
        f"classes are of very different sizes: {dataset.classes[few]!r} has {counts[few]} training images, "
        f"{dataset.classes[many]!r} {counts[many]}, and large ones weigh more in training and in results; "
        f"per_class={max(2, 2 * int(counts[few]))}, at_most=True makes them more alike"
    ]
