"""A folder of images as a dataset: one folder a class. Every file is read, or counted and named."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csd_edu import images, layouts
from csd_edu.doubts import Doubt, few
from csd_edu.images import printable

TEST_SHARE = 0.2  # of each class, where the folder has no split of its own


def read(
    root: Path, *, size: int = 32, seed: int = 0, on_error: str = "raise", progress: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Read `train/<class>/*` and `test/<class>/*`, or `<class>/*` with one split made, 80 to 20 in every class.

    For `test`, `val`, `validation` and `valid` will do; so will Tiny-ImageNet's `val`, whose classes are in a file.
    Class folders may be nested: then the class is named "alphabet/character". A level that all classes share, such as
    `images` in each of them, is no part of the name. Names are composed (NFC), and what cannot be printed is escaped.

    A file is an image if it has the ending of a format that Pillow decodes (with pillow-heif installed HEIC is one),
    or if its first bytes say so. One warning counts and names all that is left out; only hidden files and those that
    systems leave behind, such as Thumbs.db, are passed over. Every image becomes RGB: turned as its EXIF says,
    transparency on white, the first frame of an animation, its shorter side resized to `size`, the longer cropped
    around the centre. 16 bits are scaled to 8: from 8, 10, 12 or 14 bits if no value of any file needs more.

    Args:
        root: the folder.
        size: side of the square images, in pixels.
        seed: of the split, where one is made.
        on_error: "raise" at a file that cannot be decoded, or "skip" such files with one warning.
        progress: show a progress bar.

    Returns:
        x_train (N, 3, size, size) uint8, y_train (N,) int64, x_test, y_test, and the class names, sorted by folder.

    Raises:
        ValueError: no images where some should be, different classes in train and test, a damaged file.
        OSError: a folder that cannot be read.
    """
    images.prepare()
    layout = layouts.find(root)
    by_class, test_images = layout.train, layout.test
    classes = tuple(by_class)
    paths = [path for name in classes for path in by_class[name]]
    labels = [label for label, name in enumerate(classes) for _ in by_class[name]]
    n_train = len(paths)
    if test_images is not None:
        paths += [path for name in classes for path in test_images[name]]
        labels += [label for label, name in enumerate(classes) for _ in test_images[name]]
    for remark in layout.remarks:
        warnings.warn(f"{printable(root)}: {remark}", stacklevel=4)
    for doubt in layout.doubts:
        warnings.warn(f"{printable(root)}: {doubt}", Doubt, stacklevel=4)
    if test_images is None:  # told before thousands of images are decoded
        _check_pairs(root, [len(by_class[name]) for name in classes], classes, "image")

    x, readable, remarks, why = images.read(paths, size, skip=on_error == "skip", progress=progress)
    y = torch.tensor(labels, device="cpu")  # (N,)
    if not readable.all():
        warnings.warn(_undecoded(paths, y, readable, classes, why), stacklevel=4)
    for remark in remarks:
        warnings.warn(remark, Doubt, stacklevel=4)
    in_test = torch.arange(len(y), device="cpu") >= n_train  # (N,)
    if test_images is None:
        counts = y[readable].bincount(minlength=len(classes)).tolist()
        _check_pairs(root, counts, classes, "readable image")
        in_test = _split(y, readable, seed)
    in_train, in_test = readable & ~in_test, readable & in_test
    return x[in_train], y[in_train], x[in_test], y[in_test], classes


def _undecoded(
    paths: Sequence[Path], labels: Tensor, readable: Tensor, classes: Sequence[str], why: Callable[[int], str]
) -> str:
    """Return how many files could not be decoded, why the first of them could not, and which class lacks most."""
    first = int(readable.int().argmin())
    told = f"{(~readable).sum()} of {len(paths)} images cannot be decoded, the first of them {printable(paths[first])}"
    lost, every = (part.bincount(minlength=len(classes)) for part in (labels[~readable], labels))
    worst = int((lost / every).argmax())
    share = f"of class {classes[worst]!r} {lost[worst]} of {every[worst]}"
    return f"{told} ({why(first)}); they are left out, {share}"


def _check_pairs(root: Path, counts: Sequence[int], classes: Sequence[str], what: str) -> None:
    """Refuse classes with too few images to be split, all at once, since there may be thousands.

    Raises:
        ValueError: naming them.
    """
    lacking = {name: count for name, count in zip(classes, counts, strict=True) if count < 2}
    if not lacking:
        return
    has = "has" if len(lacking) == 1 else "have"
    n_none = sum(count == 0 for count in lacking.values())
    how_many = f"no {what}" if n_none == len(lacking) else f"a single {what}" + " or none" * bool(n_none)
    found = f"{printable(root)}: {len(lacking)} of {len(classes)} classes {has} {how_many}: {few(list(lacking))}"
    hint = "add images, or move these folders away" if lacking.keys() < {*classes} else "add images"
    raise ValueError(f"{found}; expected 2 or more in each class, one to train and one to test: {hint}")


def _split(labels: Tensor, readable: Tensor, seed: int) -> Tensor:  # (N,) bool
    """Choose the test images: the same share of every class, at least one, and at least one left to train."""
    rng = np.random.RandomState(seed)  # its stream is frozen: the same split everywhere
    in_test = torch.zeros(len(labels), dtype=torch.bool, device="cpu")
    for label in range(int(labels.max()) + 1):
        members = ((labels == label) & readable).nonzero()[:, 0]
        n_test = max(1, round(TEST_SHARE * len(members)))
        in_test[members[rng.permutation(len(members))[:n_test]]] = True
    return in_test
