"""Datasets: `load` turns a name, a .npz file or a folder of images into tensors that fit in memory."""

from __future__ import annotations

import difflib
import http.client
import os
import socket
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from csd_edu import arguments, doubts, npz
from csd_edu.files import is_writable, make_folder, replacing
from csd_edu.images import printable
from csd_edu.models import SMALLEST_IMAGE
from csd_edu.optional import imported
from csd_edu.paths import given_path, working_folder
from csd_edu.system import OUT_OF_ROOM, in_words, worded, words

SOURCES = ("glyphs", "digits", "cifar100", "omniglot")
GLYPHS_VERSION = 1  # part of the cache's name: raise it when glyphs.py draws other images
LARGEST_IMAGE = 4096  # pixels; more is a slip, and would take up all memory
GLYPHS_PER_CLASS = 40, 20  # train and test images of a class in the usual set, the one that is cached


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with class labels, split into train and test; it refuses to exist with anything wrong in it.

    Attributes:
        name: what to call it in titles.
        x_train: (N, C, H, W) uint8, with C = 1 (grey) or 3 (RGB).
        y_train: (N,) int64, positions in `classes`.
        x_test: (M, C, H, W) uint8.
        y_test: (M,) int64.
        classes: the names, at least two, as they can be shown: composed (NFC), control characters escaped; each has a
            training and a test image.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", _shown(self.classes))
        _check_part("train", self.x_train, self.y_train, self.classes)
        _check_part("test", self.x_test, self.y_test, self.classes)
        train, test = _times(self.x_train.shape[1:]), _times(self.x_test.shape[1:])
        _require(train == test, f"x_train has images of {train}, x_test of {test}; expected one C×H×W: resize")

    def __repr__(self) -> str:
        return (
            f"Dataset {self.name!r}: {len(self.x_train):,} train + {len(self.x_test):,} test images, "
            f"{self.n_classes} classes, {_times(self.image_shape)}"
        )

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.x_train.shape[1:])

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Class ids by the part of the name before "/" (alphabets); empty unless every name has one."""
        groups: dict[str, tuple[int, ...]] = {}
        for label, name in enumerate(self.classes):
            group, slash, _ = name.partition("/")
            if not slash:
                return {}
            groups[group] = (*groups.get(group, ()), label)
        return groups

    @cached_property
    def fingerprint(self) -> str:
        """Eight hex digits that change with any pixel, label or class name, but not with `name`."""
        crc = zlib.crc32("\0".join(self.classes).encode("utf-8", "surrogatepass"))
        for tensor in (self.x_train, self.y_train, self.x_test, self.y_test):
            crc = zlib.crc32(str(tuple(tensor.shape)).encode(), crc)
            crc = zlib.crc32(tensor.contiguous().numpy().data, crc)
        return f"{crc:08x}"


@worded()
def load(
    source: str | Path,
    *,
    per_class: int | None = None,
    at_most: bool = False,
    image_size: int | None = None,
    seed: int = 0,
    on_error: str = "raise",
    progress: bool = True,
) -> Dataset:
    """Load a dataset by name, from a .npz file, or from a folder of images.

    Args:
        source: "glyphs" (procedural) or "digits" (scikit-learn's 8×8 digits, upscaled to the 16×16 that the
            networks need), neither of which needs a network; "cifar100"; "omniglot" (from `omniglot.npz`, else
            the smaller `omniglot-small.npz`); a .npz file as `save` writes it; or a folder as
            `csd_edu.folders.read` describes it.
        per_class: keep the first so many training images of each class, at least 2, and test images in the
            set's own proportion. Of glyphs there are as many as you ask for.
        at_most: let a class that has fewer than `per_class` images give all it has.
        image_size: centre crop to a square and resize to so many pixels, with antialiasing; glyphs are drawn
            at it. Without it images keep their size, but those of a folder become 32×32.
        seed: of the glyphs' world, and of the split of digits and of a folder without one.
        on_error: for a folder: "raise" at a file that cannot be decoded, or "skip" it with a warning.
        progress: for a folder: show a progress bar.

    Returns:
        Contiguous uint8 images (N, C, H, W) with their labels and class names.

    Warns:
        UserWarning: of what a folder holds and is left out.
        Doubt: of what is legal, but probably not meant.

    Raises:
        ValueError: unknown name, damaged or unsuitable data, too few images for `per_class`.
        FileNotFoundError: no such path.
        ConnectionError: the data is in no data folder, and it cannot be downloaded.
    """
    per_class = None if per_class is None else arguments.whole("per_class", per_class)
    image_size = None if image_size is None else arguments.whole("image_size", image_size)
    seed, at_most = arguments.seed("seed", seed), arguments.flag("at_most", at_most)
    _require(per_class is None or per_class >= 2, f"per_class is {per_class}; expected 2 or more, to make pairs")
    fitting = image_size is None or SMALLEST_IMAGE <= image_size <= LARGEST_IMAGE
    _require(fitting, f"image_size is {image_size}; expected {SMALLEST_IMAGE} pixels or more, up to {LARGEST_IMAGE}")
    _require(on_error in ("raise", "skip"), f"on_error is {on_error!r}; expected 'raise' or 'skip'")
    told: list[str] = []
    match source:
        case "glyphs":
            n_train, size = max(per_class or 0, GLYPHS_PER_CLASS[0]), image_size or 32
            draw = partial(_draw_glyphs, n_train, size, seed)
            usual, filename = n_train == GLYPHS_PER_CLASS[0], f"glyphs-v{GLYPHS_VERSION}-seed{seed}-{size}px.npz"
            dataset = _cached("glyphs", [filename], draw) if usual else draw()
        case "digits":
            dataset = _digits(image_size or 16, seed)
        case "cifar100":
            dataset = _cached("cifar100", ["cifar100.npz"], _download_cifar100, n_classes=100)
        case "omniglot":
            dataset = _cached("omniglot", ["omniglot.npz", "omniglot-small.npz"], _download_omniglot)
        case _:
            path = _existing(source)
            if path.is_dir():
                from csd_edu import folders

                size = image_size or 32
                tensors = folders.read(path, size=size, seed=seed, on_error=on_error, progress=progress)
                dataset = Dataset(printable(path.resolve().name), *tensors)
            else:
                what = f"{printable(path)} is neither a file nor a folder"
                _require(path.is_file(), f"{what}; expected a .npz file or a folder of images")  # a pipe would hang
                dataset, told = _read_npz(path, printable(path.stem))

    if per_class is not None:
        dataset = _first_per_class(dataset, per_class, at_most)
    if image_size is not None and dataset.image_shape[1:] != (image_size, image_size):
        x_train, x_test = _resize(dataset.x_train, image_size), _resize(dataset.x_test, image_size)
        dataset = replace(dataset, x_train=x_train, x_test=x_test)
    for doubt in told if source in SOURCES else [*told, *doubts.of(dataset)]:
        warnings.warn(f"{dataset.name}: {doubt}", doubts.Doubt, stacklevel=3)
    doubts.say_sizes(dataset, stacklevel=3)
    return dataset


def save(dataset: Dataset, path: str | Path) -> Path:
    """Write a dataset as a .npz file that `load` reads; a reader sees the old file or the whole new one.

    Args:
        dataset: what to write; its name is not kept, for the file's name becomes it.
        path: where to; folders on the way are made.

    Returns:
        The path.

    Raises:
        OSError: if the file cannot be written; nothing is left behind then.
    """
    path = given_path(path)
    make_folder(path.parent)
    with replacing(path) as file:
        np.savez(  # not compressed: photographs hardly shrink, and load three times faster as they are
            file,
            x_train=dataset.x_train.permute(0, 2, 3, 1).numpy(),  # (N, H, W, C)
            y_train=dataset.y_train.numpy(),
            x_test=dataset.x_test.permute(0, 2, 3, 1).numpy(),
            y_test=dataset.y_test.numpy(),
            classes=np.array(dataset.classes),
        )
    return path


def data_folders() -> list[Path]:
    """Return where datasets are looked for, in this order, and cached, in the first that is writable.

    Raises:
        NotADirectoryError: if the environment's CSD_EDU_DATA names a file.
        FileNotFoundError: if it begins with ~, and there is no home folder.
    """
    folders = []
    if named := os.environ.get("CSD_EDU_DATA"):
        folder = given_path(named, what="CSD_EDU_DATA")
        folder = folder if folder.is_absolute() else working_folder() / folder
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(f"CSD_EDU_DATA is {named!r}, a file; expected the folder of datasets")
        folders.append(folder)
    checkout = Path(__file__).resolve().parents[1]
    if os.path.isfile(checkout / "pyproject.toml") and os.path.isdir(checkout / "data"):
        folders.append(checkout / "data")
    places = {"win32": ("LOCALAPPDATA", "~/AppData/Local"), "darwin": ("XDG_CACHE_HOME", "~/Library/Caches")}
    variable, default = places.get(sys.platform, ("XDG_CACHE_HOME", "~/.cache"))
    cache = os.path.expanduser(os.environ.get(variable) or default)
    return folders if cache.startswith("~") else [*folders, Path(cache) / "csd_edu"]  # some users have no home


# ---- checks


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _times(shape: Sequence[int]) -> str:
    return "×".join(str(n) for n in shape)


def _some(names: Sequence[object]) -> str:
    return ", ".join(repr(str(name)) for name in names[:5]) + (", …" if len(names) > 5 else "")


def _shown(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of classes as they can be shown, each another."""
    names = isinstance(classes, tuple) and all(isinstance(name, str) for name in classes)
    _require(names, f"classes is {classes!r}; expected a tuple of names (str)")
    _require(len(classes) >= 2, f"classes is {classes!r}; expected two or more, to tell one from another")
    blank = [label for label, name in enumerate(classes) if not name.strip()]
    _require(not blank, f"classes is blank at {blank[:5]}; expected a name for each class: give them names")
    twice = sorted(name for name, count in Counter(classes).items() if count > 1)
    _require(not twice, f"classes has {_some(twice)} more than once; expected each once: merge or rename them")
    shown = tuple(map(printable, classes))
    twice = sorted(name for name, count in Counter(shown).items() if count > 1)
    _require(not twice, f"classes has {_some(twice)} coded in two ways; expected each once: merge or rename them")
    return shown


def _check_part(part: str, x: Tensor, y: Tensor, classes: tuple[str, ...]) -> None:
    for name, value, dtype, axes in ("x_", x, torch.uint8, "NCHW"), ("y_", y, torch.int64, "N"):
        found = f"{name}{part} is {value.dtype} of shape {tuple(value.shape)}"
        good = isinstance(value, Tensor) and value.dtype == dtype and value.ndim == len(axes)
        _require(good, f"{found}; expected {dtype} ({', '.join(axes)})")
    _require(len(x) == len(y), f"x_{part} has {len(x)} images, y_{part} {len(y)} labels; expected as many")
    _require(len(x) > 0, f"x_{part} is empty; expected an image or more of each class")
    expected = "expected 1 (grey) or 3 (RGB): convert them, or move the axis (in a file it is the last)"
    _require(x.shape[1] in (1, 3), f"x_{part} has images of {x.shape[1]} channels; {expected}")
    expected = f"expected {SMALLEST_IMAGE}×{SMALLEST_IMAGE} or more: enlarge them"
    _require(min(x.shape[2:]) >= SMALLEST_IMAGE, f"x_{part} has images of {_times(x.shape[2:])} pixels; {expected}")
    low, high, top = int(y.min()), int(y.max()), len(classes) - 1
    hint = ": subtract 1" if (low, high) == (1, top + 1) else ""
    _require(low >= 0 and high <= top, f"y_{part} has labels {low} to {high}; expected 0 to {top}, as in classes{hint}")
    counts = y.bincount(minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    found = f"{len(missing)} of {len(classes)} classes have no {part} image: {_some(missing)}"
    _require(not missing, f"{found}; add some, or remove these classes")


# ---- sources


def _read_npz(path: Path, name: str) -> tuple[Dataset, list[str]]:
    """Return what a file holds, and what is doubtful about the file."""
    try:
        arrays, told = npz.read(path)
        return Dataset(name, *arrays), told
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from None


def _existing(source: str | Path) -> Path:
    path = Path() if source == "" else given_path(source, what="source")
    if source != "" and path.exists():
        return path
    if isinstance(source, str) and source in (path.stem, ""):  # a bare word is meant as a name
        near = difflib.get_close_matches(source.lower(), SOURCES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        place = f"there is none of that name in {working_folder()}"
        raise ValueError(f"source is {source!r}; expected {_some(SOURCES)}, a .npz file or a folder; {place}.{hint}")
    raise FileNotFoundError(f"there is no file or folder {str(path)!r}, seen from {working_folder()}")


def _draw_glyphs(n_train: int, size: int, seed: int) -> Dataset:
    from csd_edu import glyphs

    n_test = round(n_train * GLYPHS_PER_CLASS[1] / GLYPHS_PER_CLASS[0])
    *arrays, classes = glyphs.generate(seed=seed, train_per_class=n_train, test_per_class=n_test, size=size)
    x_train, y_train, x_test, y_test = map(torch.from_numpy, arrays)  # images (N, H, W, C), labels (N,)
    x_train, x_test = (x.permute(0, 3, 1, 2).contiguous() for x in (x_train, x_test))  # (N, C, H, W)
    return Dataset("glyphs", x_train, y_train, x_test, y_test, tuple(classes))


def _digits(size: int, seed: int) -> Dataset:
    get = "pip install scikit-learn, or use 'glyphs'"
    digits = imported("sklearn.datasets", "'digits'", get).load_digits()
    order = np.random.RandomState(seed).permutation(len(digits.target))  # its stream is frozen
    y = torch.from_numpy(digits.target[order]).long()  # (1797,)
    x = torch.from_numpy(digits.images[order])[:, None]  # (1797, 1, 8, 8) float64, 0 to 16
    x = _resize((x * 255 / 16).round().byte(), size)
    in_test = _ranks(y) < (y.bincount() / 3).round()[y]
    train, test = (part.nonzero()[:, 0] for part in (~in_test, in_test))
    train, test = (part[_interleaved(y[part])] for part in (train, test))
    return Dataset("digits", x[train], y[train], x[test], y[test], tuple("0123456789"))


def _download_cifar100() -> Dataset:
    datasets = _torchvision("cifar100")
    tensors = []
    with _downloading("cifar100") as folder:
        for train in (True, False):
            part = datasets.CIFAR100(folder, train=train, download=True)  # it compares the archive's checksum
            labels = torch.tensor(part.targets, device="cpu")  # (N,)
            order = _interleaved(labels)
            tensors += [npz.nchw(part.data[order.numpy()]), labels[order]]
    x_train, y_train, x_test, y_test = tensors
    return Dataset("cifar100", x_train, y_train, x_test, y_test, tuple(part.classes))


def _download_omniglot() -> Dataset:
    from PIL import Image

    datasets = _torchvision("omniglot")

    def ink(path: Path) -> np.ndarray:  # (28, 28) uint8
        with Image.open(path) as page:  # 105×105, black ink on white; each pixel becomes the mean of those it covers
            return 255 - np.asarray(page.convert("L").resize((28, 28), Image.Resampling.BOX))

    with _downloading("omniglot") as folder:
        root = Path(datasets.Omniglot(folder, background=True, download=True).target_folder)
        characters = sorted(root.glob("*/character*"))
        # The files are named by drawer, whom torchvision lists in whatever order the disk has them.
        drawn = np.array([[ink(path) for path in sorted(folder.glob("*.png"))] for folder in characters])
    images = torch.from_numpy(drawn)[:, :, None]  # (964, 20, 1, 28, 28)
    labels = torch.arange(len(images), device="cpu")[:, None].expand(-1, images.shape[1])  # (964, 20)
    (x_train, x_test), (y_train, y_test) = (
        (every[:, :15].flatten(0, 1), every[:, 15:].flatten(0, 1)) for every in (images, labels)
    )
    classes = tuple(f"{folder.parent.name}/{folder.name}" for folder in characters)
    return Dataset("omniglot", x_train, y_train, x_test, y_test, classes)


def _torchvision(name: str) -> Any:
    get = f"pip install torchvision, or put {name}.npz into the folder that CSD_EDU_DATA names"
    return imported("torchvision", f"the download of {name!r}", get).datasets


@contextmanager
def _downloading(name: str) -> Iterator[str]:
    """Lend a folder to download into; if that fails, say in plain words what to do."""
    tempfile.gettempdir()  # where there is none, no network is to blame
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)  # seconds without a byte: a network that swallows packets would hang forever
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield folder
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_ROOM:
            told = f"{name} could not be unpacked for want of room: {words(error)}, by the variable TMPDIR"
            raise in_words(error, told) from None
        tried = f"there is no {name}.npz in {_some(data_folders())}, and the download failed"
        advice = f"Put {name}.npz into the folder that the environment variable CSD_EDU_DATA names, or use"
        raise ConnectionError(
            f"{name}: {tried} ({type(error).__name__}: {error}). {advice} 'glyphs' or 'digits', which need no network"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


# ---- the cache


def _cached(
    name: str, filenames: Sequence[str], build: Callable[[], Dataset], *, n_classes: int | None = None
) -> Dataset:
    """Read the first of these files that some data folder holds whole; without one, build it and keep it.

    Raises:
        ValueError: if the file has not so many classes: it is another dataset, and not to be written over.
    """
    folders = data_folders()
    for path in (folder / filename for filename in filenames for folder in folders):
        if os.path.isfile(path):
            try:
                dataset = _read_npz(path, name)[0]
            except ValueError as error:
                warnings.warn(f"{error}. Passed over, and made anew if there is no other", stacklevel=4)
                continue
            found = f"{printable(path)} has {dataset.n_classes} classes; expected the {n_classes} of {name}"
            _require(
                n_classes in (None, dataset.n_classes),
                f"{found}: call it by another name, and load it by its path, if it is another dataset",
            )
            return dataset
    dataset = build()
    for folder in filter(is_writable, folders):
        try:
            save(dataset, folder / filenames[0])
            return dataset
        except OSError as error:
            warnings.warn(f"{folder / filenames[0]} could not be written: {error}", stacklevel=4)
    tried = f" ({_some(folders)})" if folders else ", and there is no home folder"
    advice = f"no data folder is writable{tried}: set CSD_EDU_DATA to one of yours"
    warnings.warn(f"{name} is not cached and will be made again each time, for {advice}", stacklevel=4)
    return dataset


# ---- tensors


def _ranks(labels: Tensor) -> Tensor:  # (N,) -> (N,): how many items of its class stand before each
    order = labels.argsort(stable=True)
    counts = labels.bincount()  # (n_classes,)
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    return ranks


def _interleaved(labels: Tensor) -> Tensor:  # (N,) -> (N,): the order 0 1 2 … 0 1 2 …, any prefix balanced
    return (_ranks(labels) * (labels.max() + 1) + labels).argsort()


def _first_per_class(dataset: Dataset, n_train: int, at_most: bool) -> Dataset:
    counts = dataset.y_train.bincount()  # (n_classes,)
    fewest = f"class {dataset.classes[int(counts.argmin())]!r} has {counts.min()} training images"
    enough = at_most or int(counts.min()) >= n_train
    _require(
        enough,
        f"per_class is {n_train}, but {fewest}; expected at most so many, or at_most=True",
    )
    n_test = max(1, round(n_train * len(dataset.y_test) / len(dataset.y_train)))
    train, test = _ranks(dataset.y_train) < n_train, _ranks(dataset.y_test) < n_test
    x_train, y_train, x_test, y_test = dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test
    return Dataset(dataset.name, x_train[train], y_train[train], x_test[test], y_test[test], dataset.classes)


def _resize(images: Tensor, size: int) -> Tensor:  # (N, C, H, W) uint8 -> (N, C, size, size) uint8
    n, c, h, w = images.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    images = images[:, :, top : top + side, left : left + side]
    try:
        resized = images.new_empty(n, c, size, size)
    except (RuntimeError, MemoryError):
        found = f"image_size is {size}, at which {n:,} images take {n * c * size**2 / 1e9:,.0f} GB, more than is free"
        raise ValueError(f"{found}; expected a smaller size, or load a part: per_class=") from None
    for block, result in zip(images.split(1024), resized.split(1024), strict=True):
        result.copy_(F.interpolate(block, (size, size), mode="bilinear", antialias=True))
    return resized
