"""A campaign: 500 folders of mutated images from one seed; each is read, or counted and named, and none hangs."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csd_edu.data import load

N_FOLDERS = 500
SECONDS = 20  # for one folder
FORMATS = {
    "PNG": (".png", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    "JPEG": (".jpg", ("L", "RGB", "CMYK")),
    "GIF": (".gif", ("L", "P", "RGB")),
    "BMP": (".bmp", ("1", "L", "P", "RGB")),
    "TIFF": (".tif", ("1", "L", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")),
    "WEBP": (".webp", ("RGB", "RGBA")),
    "PPM": (".ppm", ("1", "L", "RGB")),
    "TGA": (".tga", ("L", "RGB", "RGBA")),
    "PCX": (".pcx", ("1", "L", "RGB")),
    "ICO": (".ico", ("RGB", "RGBA")),
    "SGI": (".sgi", ("L", "RGB")),
    "JPEG2000": (".jp2", ("L", "RGB")),
}
SIZES = ((1, 1), (1, 40), (3, 7), (16, 16), (40, 30), (64, 64), (300, 20), (5000, 10), (10, 5000))
NAMES = ("image", "a b", "ä", "日本", "x" * 120, "a.b.c", "-r", "%s", "{0}", "it's", "#1", "é̂")
ENDINGS = (
    ".png",
    ".JPG",
    ".jpeg",
    ".txt",
    ".heic",
    ".cr2",
    "",
    ".bak",
    ".zip",
    ".pdf",
    ".mp4",
    ".svg",
    ".tif",
    ".webp",
)


def drawn(rng: np.random.RandomState) -> tuple[bytes, str]:
    """Return an image as the bytes of a file, and its format's ending."""
    kind = list(FORMATS)[rng.randint(len(FORMATS))]
    ending, modes = FORMATS[kind]
    mode = modes[rng.randint(len(modes))]
    width, height = SIZES[rng.randint(len(SIZES))]
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(rng.randint(0, 1 << rng.choice([1, 8, 12, 16]), (height, width)).astype(dtype))
    elif mode == "LAB":
        image = Image.frombytes("LAB", (width, height), rng.bytes(3 * width * height))
    else:
        image = Image.fromarray(rng.randint(0, 256, (height, width, 3)).astype(np.uint8)).convert(mode)
    image = image.resize((32, 32)) if kind == "ICO" else image  # it knows few sizes
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue(), ending


def mutated(content: bytes, rng: np.random.RandomState) -> bytes:
    """Return the bytes as a disk, a network or a person may leave them."""
    data = bytearray(content)
    match rng.randint(7):
        case 0:
            return bytes(data[: rng.randint(len(data) + 1)])
        case 1:
            for _ in range(rng.randint(1, 20)):
                data[rng.randint(len(data))] ^= 1 << rng.randint(8)
        case 2:
            data += rng.bytes(rng.randint(1, 5000))
        case 3:
            data[: rng.randint(1, 40)] = rng.bytes(rng.randint(1, 40))
        case 4:
            other, _ = drawn(rng)
            n = rng.randint(4, 64)
            data[:n] = other[:n]  # another format's head
        case 5:
            start = rng.randint(len(data))
            data[start : start + rng.randint(1, 1000)] = b""
        case _:
            pass
    return bytes(data)


def build(root: Path, rng: np.random.RandomState) -> int:
    """Fill a folder, and return how many files there are to account for."""
    parts = [("",), ("train/", "test/"), ("wrap/train/", "wrap/val/"), ("images/",)][rng.randint(4)]
    inner = ["", "", "images/"][rng.randint(3)]
    places = [root / f"{part}{name}/{inner}" for part in parts for name in ("cat", "dog")]
    for place in places:
        place.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(place / f"good{i}.png")
    for k in range(rng.randint(1, 5)):
        place = places[rng.randint(len(places))]
        content, ending = drawn(rng)
        ending = ENDINGS[rng.randint(len(ENDINGS))] if rng.rand() < 0.3 else ending
        (place / f"{NAMES[rng.randint(len(NAMES))]}{k}{ending}").write_bytes(mutated(content, rng))
    n_odd = 0
    place = places[rng.randint(len(places))]
    match rng.randint(14):
        case 0 if hasattr(os, "mkfifo"):
            os.mkfifo(place / "pipe.png")
        case 1 if os.name == "posix":
            (place / "loop").symlink_to(root, target_is_directory=True)
        case 2 if os.name == "posix":
            (place / "self.png").symlink_to(place / "self.png")
        case 3 if os.name == "posix":
            (place / "gone").symlink_to(root / "nowhere")
        case 4:
            (root / "README.md").write_text("pets")
            (place / "Thumbs.db").write_bytes(b"junk")
            n_odd = -1  # passed over
        case 5 if sys.platform == "linux":
            (place / os.fsdecode(b"\xff\xfe\n.jpg")).write_bytes(mutated(drawn(rng)[0], rng))
        case 6:
            (place / "folder.png").mkdir()
        case 7:
            (root / "emu").mkdir()
        case 8:
            content, ending = drawn(rng)
            (root / f"loose{ending}").write_bytes(content)
        case 9:
            place.rename(place.with_name(place.name.upper()))
        case 10:
            extra = root / "val" / "fox"
            extra.mkdir(parents=True)
            (extra / "a.png").write_bytes(drawn(rng)[0])
        case _:
            pass
    return (
        sum(len(files) + sum((Path(at) / f).is_symlink() for f in folders) for at, folders, files in os.walk(root))
        + n_odd
    )


def accounted(texts: list[str]) -> int:
    """Return how many files these warnings say are not in the dataset."""
    numbers = (re.search(r"(\d+) files? (?:is|are) left out|(\d+) of \d+ images cannot be decoded", t) for t in texts)
    return sum(int(found[1] or found[2]) for found in numbers if found)


def overtime(*_: object) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


@pytest.mark.campaign
def test_mutated_folders_are_read_or_named(tmp_path):
    refusals, n_sets = [], 0
    for k in range(N_FOLDERS):
        rng, root = np.random.RandomState(k), tmp_path / f"case{k}"
        n_files = build(root, rng)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if hasattr(signal, "SIGALRM"):
                signal.signal(signal.SIGALRM, overtime)
                signal.alarm(SECONDS)
            try:
                data = load(root, image_size=16, progress=False, on_error="skip" if k % 3 else "raise")
            except ValueError as error:
                refusals.append((k, str(error)))
                continue
            finally:
                if hasattr(signal, "SIGALRM"):
                    signal.alarm(0)
        texts = [str(w.message) for w in caught]
        assert all(text.isprintable() for text in texts), (k, texts)
        assert all(w.filename == __file__ for w in caught), (k, texts)
        n_read = len(data.x_train) + len(data.x_test)
        assert n_read + accounted(texts) == n_files, (k, n_read, n_files, texts)
        n_sets += 1
    unnamed = [(k, text) for k, text in refusals if f"case{k}" not in text or not text.isprintable()]
    assert not unnamed
    assert n_sets > N_FOLDERS / 4
    assert len(refusals) > N_FOLDERS / 10
