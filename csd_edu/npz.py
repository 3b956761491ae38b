"""The .npz format: images, labels and names as arrays, without pickle; what is wrong is told with how to mend it."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csd_edu import images
from csd_edu.doubts import few
from csd_edu.images import printable

KEYS = ("x_train", "y_train", "x_test", "y_test", "classes")
SAVE = f"np.savez('my.npz', {', '.join(f'{key}=…' for key in KEYS)})"

# Of each kind of array: the type codes and numbers of axes that are good, and in words.
_IMAGES = "B", (3, 4), "uint8 (N, H, W, C) or (N, H, W)"
_LABELS = np.typecodes["AllInteger"], (1,), "integers (N,)"
_NAMES = "U", (1,), "text (n_classes,); np.array(names, dtype=str)"
_NUMBERS = "biuf"  # kinds of types


def read(path: Path) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]], list[str]]:
    """Read a file.

    Returns:
        x_train (N, C, H, W) uint8, y_train (N,) int64, x_test, y_test and the class names, not yet compared with one
        another; and what is doubtful about the file.

    Raises:
        ValueError: if it holds something else, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [name for name in archive.namelist() if not name.endswith("/")]
            if files and not any(name.endswith(".npy") for name in files):
                raise ValueError(f"it is an archive of files, such as {files[0]!r}; unpack it, and load the folder")
            x_train, x_test = (nchw(_array(archive, key, *_IMAGES)) for key in ("x_train", "x_test"))
            y_train, y_test = (_array(archive, key, *_LABELS).astype(np.int64) for key in ("y_train", "y_test"))
            classes = tuple(_array(archive, "classes", *_NAMES).tolist())
    except ValueError:
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(_no_npz(path, error)) from None
    except Exception as error:  # a damaged file makes zipfile and NumPy raise nearly anything
        raise ValueError(_damaged(error)) from None
    unread = sorted({printable(name.removesuffix(".npy")) for name in files} - {*KEYS})
    told = f"{few(unread)} {'are' if unread[1:] else 'is'} in the file, but not read: only {', '.join(KEYS)} are"
    doubts = [f"{told}. np.concatenate joins images and labels to these, if they are to be used"] if unread else []
    return (x_train, torch.from_numpy(y_train), x_test, torch.from_numpy(y_test), classes), doubts


def nchw(pixels: np.ndarray) -> Tensor:  # (N, H, W, C) or (N, H, W) -> (N, C, H, W)
    """Put the channels first *in the same memory*, so that a large set is never there twice."""
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    n, h, w, c = pixels.shape
    flat = pixels.reshape(n, h * w * c)  # a view, but for a file in column-major order
    for i in range(0, n, 1024):
        block = pixels[i : i + 1024].transpose(0, 3, 1, 2)  # (B, C, H, W)
        flat[i : i + 1024] = block.reshape(len(block), -1)  # the reshape copies, so nothing is read too late
    return torch.from_numpy(flat.reshape(n, c, h, w))


def _array(archive: zipfile.ZipFile, key: str, codes: str, axes: tuple[int, ...], expected: str) -> np.ndarray:
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    if key not in keys:
        raise ValueError(f"no array {key!r}, but {few(keys)}; expected {key}: {expected}")
    with archive.open(f"{key}.npy") as member:
        try:
            array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{key} cannot be read ({error}); expected {expected}") from None
        # zipfile compares the checksum at the end of a member, which a damaged header may put out of reach.
        if member.read(1):
            raise ValueError(f"{key} is damaged: it ends before its data; write the file again")
    found = f"{key} is {array.dtype} of shape {array.shape}; expected {expected}"
    if array.dtype.char not in codes or array.ndim not in axes:
        advice = _label_advice(array) if key.startswith("y_") else _image_advice(array) if key.startswith("x_") else ""
        raise ValueError(found + advice)
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        found = f"{key} is of shape {array.shape}, which looks like (N, C, H, W)"
        raise ValueError(f"{found}; expected (N, H, W, C): move the axis, save x.transpose(0, 2, 3, 1)")
    return array


def _label_advice(y: np.ndarray) -> str:
    """Return how to make labels of an array, as far as its shape and values tell."""
    if y.dtype.kind not in _NUMBERS:
        return "; classes, y = np.unique(names, return_inverse=True)"
    if y.ndim == 2 and y.shape[1] > 1:
        return "; if its rows are one-hot, save y.argmax(1)"
    column = "[:, 0]" * (y.ndim == 2)
    if y.dtype.kind != "f":
        return f"; save y{column}" if column else ""
    if y.ndim > 2 or not (np.isfinite(y) & (y == y.round())).all():
        return "; its values are no whole numbers"
    return f"; save y{column}.astype(np.int64)"


def _image_advice(x: np.ndarray) -> str:
    """Return how to make images of an array, as far as its shape and values tell."""
    if x.dtype.kind not in _NUMBERS or not x.size:
        return ""
    told = ""
    if x.ndim == 2:
        grey, colour = math.isqrt(x.shape[1]), math.isqrt(x.shape[1] // 3)
        if grey**2 == x.shape[1]:
            told = f"; its rows may be images of {grey}×{grey}: x.reshape(-1, {grey}, {grey})"
        elif 3 * colour**2 == x.shape[1]:
            order = f"x.reshape(-1, 3, {colour}, {colour}).transpose(0, 2, 3, 1), as CIFAR's are"
            told = f"; its rows may be images of 3×{colour}×{colour}: {order}"
    return told if x.dtype == np.uint8 else f"{told}; {_as_bytes(x)}"


def _as_bytes(x: np.ndarray) -> str:
    """Return from where to where the values go, and what makes bytes of them."""
    if n := x.size - int(np.isfinite(x).sum()):
        return f"{n:,} of its {x.size:,} values are NaN or infinite: mend these images, or leave them out"
    low, high = (int(x.min()), int(x.max())) if x.dtype.kind != "f" else (float(x.min()), float(x.max()))
    rounded = ".round()" * (x.dtype.kind == "f")
    if low >= 0 and high <= 1:
        scaled = f"(255 * x){rounded}"
    elif low >= 0 and high <= 255:
        scaled = f"x{rounded}"
    else:
        is_deep = x.dtype.kind != "f" and low >= 0 and high < 1 << 16
        whole = (
            (0, (1 << images.bits_of(int(high))) - 1)
            if is_deep
            else (-1, 1)
            if low >= -1 and high <= 1
            else (low, high)
        )
        scaled = f"np.interp(x, {whole}, (0, 255)).round()"
    return f"its values are from {low} to {high}: save {scaled}.astype(np.uint8)"


def _damaged(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__}: {error}); expected a .npz file: copy or write it again"


def _no_npz(path: Path, error: Exception) -> str:
    """Return what a file is instead, and what to do with it, as far as its beginning and its ending tell."""
    kind, is_image = images.content(path)
    ending = path.suffix.lower()
    if is_image:
        return f"it is a single image ({kind}); expected a folder with a folder of images for each class"
    if kind == "empty":
        return "it is empty; expected a .npz file: copy or download it again"
    if kind.endswith("archive") and (kind != "a ZIP archive" or ending not in (".npz", ".zip")):
        return f"it is {kind}; expected a .npz file or a folder of images: unpack it, and load the folder"
    if kind == "a web page":
        return "it is a web page; expected a .npz file: download the file itself, which that page may link to"
    if "Git LFS" in kind:
        return f"it is {kind}; expected a .npz file"
    if kind != "a ZIP archive" and (kind or ending != ".npz"):
        what = kind or (f"ends in {printable(ending)}" if ending else "has no ending")
        told = f"it is {what}" if kind else f"it {what} and is no ZIP archive, as a .npz file is"
        return f"{told}; expected a .npz file or a folder of images: read it with what wrote it, and {SAVE}"
    return _damaged(error)
