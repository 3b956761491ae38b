"""C. What has not the expected ending is counted and named: a campaign of hand-ins that were changed at random.

Each seed fills a class's folder and grades it: nothing is raised, nothing takes long, no file is dropped uncounted, and
whoever handed something in is in the table.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from csd_edu import cli
from csd_edu.grade import Table, grade, tables
from csd_edu.grade.submissions import read_all
from tests.test_faults_uncounted import BARE, encrypted, fill, zipped
from tests.test_grade import export_of

EACH = 20  # seconds for one hand-in
SEEDS, STUDENTS = range(6), 100

ENDINGS = (".ipynb", ".IPYNB", ".ipynb.txt", ".json", ".txt", ".py", ".html", ".pdf", ".zip", ".docx", ".7z", ".csv",
           ".npz", "", ".ipynb (1)", ".gz", ".png", ".ipynb.zip", ".rtf", ". ", ".ipynb.ipynb")  # fmt: skip
ODD = ("é", "e\u0301", "李 雷", "👩‍🔬", "\u202eabc", "a\tb", "=1+1", "-x", " x ", "x" * 120, "'", '"<b>', "%s{}", "CON",
       "a_12345_678_b", "Zoë_1_assignsubmission_file_", ";,", "~$x", "#", "…", "\u200b")  # fmt: skip
POSIX_ONLY = ("a\nb", "back\\slash", "a:b", "\x1b[2J", os.fsdecode(b"\xff\xfe"), "x?*", "tail.")


def value(rng: random.Random, depth: int = 0) -> object:
    """Return something that JSON can hold."""
    plain: list[Callable[[], object]] = [
        lambda: None, lambda: rng.random() < 0.5, lambda: rng.choice([0, -1, 10**30, 10**4200, 1e308, float("nan")]),
        lambda: "".join(chr(rng.randrange(1, 0x2FFF)) for _ in range(rng.randrange(20))), lambda: "\ud800",
    ]  # fmt: skip
    nested: list[Callable[[], object]] = [
        lambda: [value(rng, depth + 1) for _ in range(rng.randrange(5))],
        lambda: {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(6))},
    ]
    return rng.choice(plain if depth > 4 else [*plain, *nested])()


KEYS = (
    "cells",
    "source",
    "cell_type",
    "exercises",
    "version",
    "student",
    "search",
    "passed",
    "attempts",
    "mistakes",
    "é",
)


def replaced(rng: random.Random, content: bytes) -> bytes:
    """Return JSON in which one value was replaced at random."""
    whole = json.loads(content)
    at, places = whole, []
    while isinstance(at, dict | list) and at:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        places.append((at, key))
        at = at[key]
    place, key = rng.choice(places)
    place[key] = value(rng)
    return json.dumps(whole).encode()


def flipped(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 50])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def packed(rng: random.Random, content: bytes) -> bytes:
    outer = rng.choice(["", "ada/", "a/b/c/", "../", "/", "C:\\", "Zoë/", "a\\b\\", "./", "__MACOSX/", "x" * 300 + "/"])
    files: dict[str, bytes | str | None] = {outer + rng.choice(["02.ipynb", "x.pdf", "e.json"]): content}
    for _ in range(rng.randrange(4)):
        files[rng.choice(ODD) + rng.choice(["/", ""]) + rng.choice(ENDINGS)] = rng.choice([content, b"", None])
    return zipped(files, external_attr=rng.choice([0, 0, 0o120777 << 16, 0o100644 << 16, 0o010644 << 16]))


def tarred(_: random.Random, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("02.ipynb")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda rng, content: content[: rng.randrange(len(content))],
    lambda rng, content: content[rng.randrange(len(content)) :],
    flipped,
    replaced,
    packed,
    lambda rng, content: packed(rng, packed(rng, content)),
    lambda rng, content: flipped(rng, packed(rng, content)),
    lambda rng, content: packed(rng, content)[: rng.randrange(20, 200)],
    lambda rng, content: packed(rng, content)[rng.randrange(1, 100) :],
    lambda _, content: encrypted(content),
    tarred,
    lambda rng, content: content.decode().encode(rng.choice(["utf-16", "utf-8-sig", "utf-16-be", "utf-32", "cp500"])),
    lambda rng, _: json.dumps(value(rng)).encode(),
    lambda rng, _: rng.randbytes(rng.choice([1, 10, 5000])),
    lambda rng, _: rng.choice([b"[", b"{", b'{"cells":']) * rng.choice([1, 30, 200_000]),
    lambda rng, content: content.replace(b"1", b"9" * rng.choice([400, 5000]), 1),
    lambda rng, _: rng.choice(
        [b"", b"\0" * 4096, b"\xef\xbb\xbf", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"<html>"]
    ),
    lambda _, content: b"<<<<<<< HEAD\n" + content + b"\n=======\n>>>>>>> x",
    lambda _, content: content,
)


def hand_in(rng: random.Random, folder: Path, k: int) -> str:
    """Write what one student hands in, and return the name that it has in the folder."""
    odd = rng.choice(ODD if sys.platform != "linux" or rng.random() < 0.7 else POSIX_ONLY)
    ending = rng.choice(ENDINGS if sys.platform == "linux" else [e for e in ENDINGS if e != ". "])
    content = rng.choice([BARE, export_of(f"Student {k}", search=True, forgetting=False).encode()])
    change = CHANGES[k % len(CHANGES)]
    name = f"{k:03} {odd}"
    where = rng.choice(
        ["", "", f"{name}/", f"{name}/a/b/", f"{name}/.hidden/", f"{name}/" + "d/" * rng.randrange(60, 150)]
    )
    path = folder / f"{where}{name}{ending}"
    fill(folder, {str(path.relative_to(folder)): change(rng, content)})
    if where and rng.random() < 0.5:
        fill(path.parent, {rng.choice(["data.csv", ".DS_Store", "photo.png", "help.py", "README"]): b"x"})
        (path.parent / "empty").mkdir(exist_ok=True)
    if where and rng.random() < 0.2 and os.name != "nt":  # links need rights on Windows
        (path.parent / f"link {k}.ipynb").symlink_to(rng.choice([folder, path, Path("nowhere")]))
    return path.relative_to(folder).parts[0]


def accounted(table: Table) -> list[Path]:
    read = [file for row in table.rows if row.source != "not read" for file in row.files]
    return [*read, *(given.file for given in table.unread), *(given.file for given in table.counted)]


def on_disk(folder: Path) -> set[Path]:
    """Return all files and links in a folder; a folder that is deeper than is looked into stands for what it holds."""
    found = set()
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        links = [name for name in folders if Path(place, name).is_symlink()]
        found |= {here / name for name in (*files, *links)}
    return found


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_dropped_uncounted(seed, tmp_path, capsys):
    rng, folder = random.Random(seed), tmp_path / "class"
    handed_in = [hand_in(rng, folder, k) for k in range(STUDENTS)]
    slowest = 0.0
    for name in handed_in:
        alone = tmp_path / "alone"
        alone.mkdir(exist_ok=True)
        (folder / name).rename(alone / name)
        start = time.perf_counter()
        read_all(alone)
        slowest = max(slowest, time.perf_counter() - start)
        (alone / name).rename(folder / name)
    assert slowest < EACH

    table = grade(folder, seconds=10)
    told = accounted(table)
    deep = [file for file in told if len(file.parts) > 100]
    for file in on_disk(folder):
        assert file in told or any(file.is_relative_to(place) for place in deep), file
    assert {file.parts[0] for file in told} == set(handed_in)

    # A student is in the table whatever was handed in, if it is not hidden.
    seen = {file.parts[0] for row in table.rows for file in (*row.files, *(given.file for given in row.unread))}
    assert {name for name in handed_in if not name.startswith("~$")} <= seen
    assert len({row.student for row in table.rows}) == len(table.rows)

    # What an archive on the disk holds is accounted for, too.
    opened = [given.file for given in table.counted if given.what == "opened as archives"]
    assert opened
    for file in opened:
        if (folder / file).is_file():
            with zipfile.ZipFile(folder / file) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.endswith(("/", "\\"))]
            inner = [other for other in opened if other != file and other.is_relative_to(file)]
            below = [t for t in told if t != file and t.is_relative_to(file)]
            below = [t for t in below if not any(t != i and t.is_relative_to(i) for i in inner)]
            assert len({*below}) >= len(members), (file, below)

    for text in (tables.as_text(table, mistakes=True), tables.as_csv(table), tables.as_html(table)):
        assert text.encode("utf-8")
    for arguments in (
        [],
        ["--mistakes", "--out", str(tmp_path / "class.csv")],
        ["--out", str(tmp_path / "class.html")],
    ):
        if not arguments or seed == 0:
            assert cli.main(["grade", str(folder), "--seconds", "10", *arguments]) == 0
            told_in_words = capsys.readouterr()
            assert "Traceback" not in told_in_words.out + told_in_words.err
