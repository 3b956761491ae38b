"""A folder of images as a dataset: one folder a class, any format that Pillow reads, any size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csd_edu.output import stderr

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "validation", "valid")
TEST_SHARE = 0.2  # of each class, where the folder has no split of its own


def read(
    root: Path, *, size: int = 32, seed: int = 0, on_error: str = "raise", progress: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Read `train/<class>/*` and `test/<class>/*`, or `<class>/*` with one split made, 80 to 20 in every class.

    For `test`, `val`, `validation` and `valid` will do. Class folders may be nested: then the class is named
    "alphabet/character". Hidden files, and files without an image's extension, are passed over. Every image
    becomes RGB: turned as its EXIF says, transparency on white, 16 bits scaled to 8, the first frame of an
    animation; its shorter side resized to `size`, the longer cropped around the centre.

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
    """
    train, test = _parts(root)
    by_class = _scan(train)
    if "" in by_class:
        raise ValueError(f"{train} holds images itself; expected a folder for each class: sort them into such")
    classes = tuple(by_class)
    paths = [path for images in by_class.values() for path in images]
    labels = [label for label, images in enumerate(by_class.values()) for _ in images]
    n_train = len(paths)
    if test is not None:
        test_images = _scan(test)
        if odd := sorted(set(by_class) ^ set(test_images)):
            here, there = (train, test) if odd[0] in by_class else (test, train)
            raise ValueError(f"class {odd[0]!r} is in {here}, but not in {there}; expected every class in both")
        paths += [path for name in classes for path in test_images[name]]
        labels += [label for label, name in enumerate(classes) for _ in test_images[name]]

    x, readable = _decode_all(paths, size, on_error == "skip", progress)
    y = torch.tensor(labels)  # (N,)
    in_test = torch.arange(len(y)) >= n_train  # (N,)
    if test is None:
        in_test = _split(y, readable, classes, seed)
    in_train, in_test = readable & ~in_test, readable & in_test
    return x[in_train], y[in_train], x[in_test], y[in_test], classes


def _parts(root: Path) -> tuple[Path, Path | None]:
    """Return the folders to train and to test on, or the root and None if it holds the classes themselves."""
    folders = {path.name.lower(): path for path in _visible(root) if path.is_dir()}
    train, test = (
        next((folders[name] for name in names if name in folders), None) for names in (TRAIN_NAMES, TEST_NAMES)
    )
    if train and test:
        return train, test
    # A class may well be called "train"; but one that holds folders is half of a split.
    half = train or test
    if half and any(path.is_dir() for path in _visible(half)):
        missing = "test" if train else "train"
        hint = f"add it, or load {half} itself, of which a split will be made"
        raise ValueError(f"{root} holds {half.name}/, but no {missing}/; expected both: {hint}")
    return root, None


def _visible(folder: Path) -> list[Path]:
    entries = (path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")
    return sorted(entries, key=lambda path: path.name)


def _scan(root: Path) -> dict[str, list[Path]]:
    """Return the images of each class, by its name, in sorted order."""
    from PIL import Image

    extensions = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found: dict[str, list[Path]] = {}

    def visit(folder: Path, name: str) -> None:
        if any(os.path.samefile(folder, above) for above in folder.parents if root in (above, *above.parents)):
            raise ValueError(f"{folder} is a link back to a folder that it is in; expected images: remove it")
        entries = _visible(folder)
        folders = [path for path in entries if path.is_dir()]
        images = [path for path in entries if path.suffix.lower() in extensions and path not in folders]
        if bool(images) == bool(folders):
            what = f"both images, such as {images[0].name}, and folders" if images else "no images"
            raise ValueError(f"{folder} holds {what}; expected images, or folders of images: mend or remove it")
        if images:
            found[name] = images
        for subfolder in folders:
            visit(subfolder, f"{name}/{subfolder.name}".lstrip("/"))

    visit(root, "")
    return found


def _split(labels: Tensor, readable: Tensor, classes: tuple[str, ...], seed: int) -> Tensor:  # (N,) bool
    """Choose the test images: the same share of every class, at least one, and at least one left to train."""
    rng = np.random.RandomState(seed)  # its stream is frozen: the same split everywhere
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    for label, name in enumerate(classes):
        members = ((labels == label) & readable).nonzero()[:, 0]
        if len(members) < 2:
            found = f"class {name!r} has {len(members)} readable images"
            raise ValueError(f"{found}; expected 2 or more, one to train and one to test: add some or remove it")
        n_test = max(1, round(TEST_SHARE * len(members)))
        in_test[members[rng.permutation(len(members))[:n_test]]] = True
    return in_test


def _decode_all(paths: list[Path], size: int, skip: bool, progress: bool) -> tuple[Tensor, Tensor]:
    """Return the images (N, 3, size, size) uint8, and which of them could be decoded (N,) bool."""
    from tqdm.auto import tqdm

    def decode(path: Path) -> np.ndarray | None:
        try:
            return _decode(path, size)
        except Exception as error:  # for a damaged file Pillow's decoders raise nearly anything
            if skip:
                return None
            found = f"{path} cannot be decoded ({type(error).__name__}: {error})"
            raise ValueError(f"{found}; mend or remove it, or leave such files out: on_error='skip'") from error

    x = np.zeros((len(paths), 3, size, size), np.uint8)
    readable = np.zeros(len(paths), bool)
    with ThreadPoolExecutor(4) as pool:  # Pillow decodes outside the interpreter's lock
        decoded: Iterable[np.ndarray | None]
        try:
            decoded = pool.map(decode, paths)
        except RuntimeError:  # the machine starts no more threads: one image after the other
            decoded = map(decode, paths)
        bar = tqdm(decoded, "Reading images", len(paths), disable=not progress, unit=" images", file=stderr())
        for i, image in enumerate(bar):
            if image is not None:
                x[i], readable[i] = image, True
    if not readable.all():
        first = paths[int(readable.argmin())]
        found = f"{(~readable).sum()} of {len(paths)} images cannot be decoded, the first of them {first}"
        warnings.warn(f"{found}; they are left out", stacklevel=5)
    return torch.from_numpy(x), torch.from_numpy(readable)


def _decode(path: Path, size: int) -> np.ndarray:  # (3, size, size) uint8
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        file.draft(None, (2 * size, 2 * size))  # a JPEG photograph is decoded at a fraction of its size, far faster
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):  # more than 8 bits, to which Pillow would clip
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"values from {values.min()} to {values.max()}; expected at most 16 bits: 0 to 65535")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
