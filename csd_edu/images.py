"""Image files as pixels: which files are images, and any format, mode and size that Pillow reads as RGB of 8 bits."""

from __future__ import annotations

import importlib
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from csd_edu.output import stderr

if TYPE_CHECKING:
    from PIL import Image

# How files begin. What is marked is read as an image whatever the file is called.
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "PNG", True),
    (b"\xff\xd8\xff", "JPEG", True),
    (b"GIF8", "GIF", True),
    (b"II*\0", "TIFF", True),
    (b"MM\0*", "TIFF", True),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000", True),
    (b"<!DOCTYPE", "a web page", False),
    (b"<!doctype", "a web page", False),
    (b"<html", "a web page", False),
    (b"<svg", "SVG", False),
    (b"version https://git-lfs", "a pointer of Git LFS (`git lfs pull` brings the file)", False),
    (b"PK\x03\x04", "a ZIP archive", False),
    (b"\x1f\x8b", "a GZIP archive", False),
    (b"BZh", "a BZIP2 archive", False),
    (b"\xfd7zXZ\0", "an XZ archive", False),
    (b"Rar!\x1a\x07", "a RAR archive", False),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", False),
    (b"\x93NUMPY", "a single array of NumPy (.npy)", False),
    (b"\x89HDF\r\n\x1a\n", "a file of HDF5", False),
    (b"PAR1", "a table (Parquet)", False),
    *((bytes([0x80, version]), "a pickle", False) for version in range(2, 6)),
    (b"%PDF", "PDF", False),
)
HEIC = "for HEIC: pip install pillow-heif, and load again"
ADVICE = {
    **dict.fromkeys((".heic", ".heif", ".hif"), HEIC),
    **dict.fromkeys((".avif", ".webp", ".jp2", ".jxl"), "for this format install a newer Pillow, or its plugin"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"),
        "develop raw photographs to JPEG or PNG",
    ),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z"), "unpack archives first"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"), "save frames of videos as PNG"),
    **dict.fromkeys((".npz",), "load a .npz file by its own path"),
    **dict.fromkeys((".svg", ".pdf", ".ai", ".wmf", ".emf"), "export drawings and pages as PNG"),
}
NEVER = {ending for ending, advice in ADVICE.items() if "raw" in advice}  # they begin as TIFF, with a mere thumbnail
FAINT = 16  # what differs by less is hardly to be seen
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow recognises these, but does not decode them


class Decoded(NamedTuple):
    """One image.

    Attributes:
        pixels: (3, size, size) uint8; (size, size) uint16 if the file has more than 8 bits.
        sides: the file's own width and height.
        top: the greatest value in the file, if it has more than 8 bits.
        vanished: something transparent became nearly a single colour on white.
        several: there are more frames or pages, which are not read.
    """

    pixels: np.ndarray
    sides: tuple[int, int]
    top: int
    vanished: bool
    several: bool


def printable(name: object) -> str:
    """Return a name that can be shown and saved anywhere: composed (NFC), control characters and odd bytes escaped."""
    composed = unicodedata.normalize("NFC", str(name))
    return "".join(
        character.encode("unicode_escape").decode().replace("\\udc", "\\x")
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        else character
        for character in composed
    )


@cache
def _endings() -> frozenset[str]:
    """Return the endings of the formats that Pillow decodes; HEIC is one of them if pillow-heif is installed."""
    from PIL import Image

    known = Image.registered_extensions()  # all of Pillow's own
    return frozenset(ending for ending, kind in known.items() if kind in Image.OPEN and kind not in STUBS)


def _register_heic() -> None:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except Exception:  # absent or broken: then HEIC is left out, and that is said
        return
    _endings.cache_clear()


def content(path: Path) -> tuple[str, bool]:
    """Return what a file begins like, "" if unknown, and whether it is an image that Pillow reads.

    Raises:
        OSError: if the file cannot be opened.
    """
    from PIL import Image

    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        return "empty", False
    kind, is_image = next(((kind, image) for start, kind, image in BEGINNINGS if head.startswith(start)), ("", False))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind, is_image = "WEBP", True
    elif head[:2] == b"BM" and head[6:10] == bytes(4):
        kind, is_image = "BMP", True
    elif head[4:8] == b"ftyp":
        brand = head[8:12]
        kind = "AVIF" if brand in (b"avif", b"avis") else "HEIF" if brand[:2] in (b"he", b"mi", b"ms") else "a video"
        is_image = kind != "a video"
    elif head[257:262] == b"ustar":
        kind = "a TAR archive"
    return kind, is_image and kind in Image.OPEN


def is_image(path: Path) -> bool:
    """Return whether a file is to be read as an image: by its ending, or if that is none of an image, by its content.

    Raises:
        OSError: if the file cannot be opened.
    """
    ending = path.suffix.lower()
    return ending in _endings() or (ending not in NEVER and content(path)[1])


def has_known_ending(path: Path) -> bool:
    """Return whether a file's ending is that of a format that Pillow decodes."""
    return path.suffix.lower() in _endings()


def prepare() -> None:
    """Learn the formats that Pillow decodes here; those of pillow-heif too, if that is installed."""
    from PIL import Image

    Image.init()
    _endings.cache_clear()
    _register_heic()


def _why(error: Exception, path: Path) -> str:
    """Return what is wrong with a file that cannot be decoded, as plainly as its first bytes allow."""
    told = printable(f"{type(error).__name__}: {error}".replace(repr(str(path)), repr(path.name)))
    if type(error).__name__ == "DecompressionBombError":
        return f"{told}; make it smaller"
    try:
        kind, is_image = content(path)
    except OSError:
        return told
    if kind == "HEIF" and not is_image:
        return f"{told}; its content is HEIC, {HEIC}"
    return f"{told}; its content is {kind}" if kind and not is_image else told


def decode(path: Path, size: int) -> Decoded:
    """Decode one file: turned as its EXIF says, transparency on white, the first frame, cropped to a square.

    Raises:
        Exception: of nearly any kind, if the file is damaged.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        sides = file.size
        file.draft(None, (2 * size, 2 * size))  # a JPEG photograph is decoded at a fraction of its size, far faster
        image = ImageOps.exif_transpose(file)
        several = _has_several(file)
        inverted = _has_white_at_zero(file)
    if image.mode.startswith(("I", "F")):  # more than 8 bits, to which Pillow would clip
        values = np.asarray(image)
        pixels, top = _deep(65535 - values if inverted else values, size)
        return Decoded(pixels, sides, top, vanished=False, several=several)
    vanished = False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        opaque = bool((np.asarray(image.getchannel("A")) == 255).all())
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        values = np.asarray(image)
        vanished = not opaque and int(np.ptp(values, (0, 1)).max()) < FAINT
    image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(image).transpose(2, 0, 1), sides, 0, vanished, several)


def _has_white_at_zero(file: Image.Image) -> bool:
    """Return whether 0 is white in an open TIFF of 16 bits, which Pillow heeds only up to 8."""
    from PIL import TiffImagePlugin as tiff

    if not isinstance(file, tiff.TiffImageFile) or not file.mode.startswith("I;16"):
        return False
    return bool(file.tag_v2.get(tiff.PHOTOMETRIC_INTERPRETATION) == 0)


def _has_several(file: Image.Image) -> bool:
    """Return whether an open file has more frames or pages than one, other than a photograph's thumbnail or layers."""
    try:
        return file.format not in ("MPO", "PSD") and bool(getattr(file, "is_animated", False))
    except Exception:  # a second frame that is damaged is no harm to the first
        return True


def _deep(values: np.ndarray, size: int) -> tuple[np.ndarray, int]:  # (H, W) -> (size, size) uint16
    from PIL import Image, ImageOps

    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        found = f"values from {values.min()} to {values.max()}, {values.dtype}"
        raise ValueError(f"{found}; expected at most 16 bits: integers, 0 to 65535; scale them and save the file so")
    square = ImageOps.fit(Image.fromarray(values.astype(np.float32)), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).round().astype(np.uint16), int(values.max())


def bits_of(top: int) -> int:
    """Return with how many bits values up to `top` were probably taken: cameras have 8, 10, 12, 14 or 16."""
    return next(bits for bits in (8, 10, 12, 14, 16) if top < 1 << bits)


def to_bytes(pixels: np.ndarray, bits: int) -> np.ndarray:  # (H, W) uint16 -> (H, W) uint8
    """Scale values of so many bits to 8."""
    return (pixels * (255 / ((1 << bits) - 1))).round().astype(np.uint8)


def read(
    paths: Sequence[Path], size: int, *, skip: bool, progress: bool
) -> tuple[Tensor, Tensor, list[str], Callable[[int], str]]:
    """Decode files, a few at a time.

    Args:
        paths: the files, N of them.
        size: side of the square images, in pixels.
        skip: go on after a file that cannot be decoded.
        progress: show a progress bar.

    Returns:
        The images (N, 3, size, size) uint8, black where a file could not be decoded; which could be (N,) bool; what
        else is to be said about them all; and a function that says why a file could not be decoded.

    Raises:
        ValueError: at the first file that cannot be decoded, unless `skip`.
    """
    from tqdm.auto import tqdm

    reasons: dict[int, str] = {}

    def attempt(i: int) -> Decoded | None:
        try:
            return decode(paths[i], size)
        except Exception as error:  # for a damaged file Pillow's decoders raise nearly anything
            reasons[i] = _why(error, paths[i])
            if skip:
                return None
            found = f"{printable(paths[i])} cannot be decoded ({reasons[i]})"
            raise ValueError(f"{found}; mend or remove it, or leave such files out: on_error='skip'") from error

    x = np.zeros((len(paths), 3, size, size), np.uint8)
    found: dict[int, Decoded] = {}  # without the pixels, except for those of more than 8 bits
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        # Odd metadata and large photographs, which are decoded all the same: Pillow would tell of every file.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        decoded: Iterable[Decoded | None]
        try:
            decoded = pool.map(attempt, range(len(paths)))  # Pillow decodes outside the interpreter's lock
        except RuntimeError:  # the machine starts no more threads: one image after the other
            decoded = map(attempt, range(len(paths)))
        bar = tqdm(decoded, "Reading images", len(paths), disable=not progress, unit=" images", file=stderr())
        for i, image in enumerate(bar):
            if image is not None:
                found[i] = image if image.pixels.ndim == 2 else image._replace(pixels=np.empty(0))
                x[i] = 0 if image.pixels.ndim == 2 else image.pixels
    deep = [i for i, image in found.items() if image.pixels.ndim == 2]
    bits = bits_of(max((found[i].top for i in deep), default=0))
    for i in deep:
        x[i] = to_bytes(found[i].pixels, bits)
    readable = torch.tensor([i in found for i in range(len(paths))], dtype=torch.bool)
    return torch.from_numpy(x), readable, _remarks(paths, found, deep, bits, size), reasons.__getitem__


def _remarks(paths: Sequence[Path], found: dict[int, Decoded], deep: Sequence[int], bits: int, size: int) -> list[str]:
    """Return what was done with images that a reader may not expect, a sentence for each kind."""
    remarks = []

    def first(members: Sequence[int]) -> str:
        width, height = found[members[0]].sides
        path = paths[members[0]]
        return f"{len(members)} of {len(found)} images, such as {printable(path)} ({width}×{height}),"

    if deep and bits < 16:
        top = max(found[i].top for i in deep)
        remarks.append(
            f"{len(deep)} of {len(found)} images have 16 bits, such as {printable(paths[deep[0]])}, but none of them a "
            f"value above {top}: they are taken for {bits} bits, so that {(1 << bits) - 1} is white. If {top} is meant "
            "to be dark, save them as 8-bit images, scaled as you want them"
        )
    if small := [i for i, image in found.items() if min(image.sides) < size]:
        remarks.append(
            f"{first(small)} are smaller than {size}×{size} and were enlarged: "
            "they are no sharper than they were; image_size=… takes another size"
        )
    if long := [i for i, image in found.items() if max(image.sides) > 3 * min(image.sides)]:
        remarks.append(
            f"{first(long)} are more than three times as long as wide: most of such an image was cut off "
            "around its centre; cut them to their subject before you load them"
        )
    if several := [i for i, image in found.items() if image.several]:
        remarks.append(
            f"{first(several)} have several frames or pages, of which only the first is read; to use the others, save "
            "each as a file of its own"
        )
    if vanished := [i for i, image in found.items() if image.vanished]:
        remarks.append(
            f"{first(vanished)} are transparent and became nearly a single colour on white, with nothing to be seen; "
            "save them without transparency, on a background of another colour"
        )
    return remarks
