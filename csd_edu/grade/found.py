"""Every file that was handed in, in folders and in archives: where it lies, whose it is, and how it is read.

Nothing is unpacked: what an archive holds is read from it, into memory, and lies "below" the archive.
"""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

LARGEST = 100 * 2**20
"""Bytes of a file that is read; a notebook with all its pictures has a few million."""

DEEPEST, NESTED, MEMBERS = 100, 3, 20_000
"""Folders within folders, archives within archives, and files in one archive."""

UNPACKED, CONTENTS = 2 * 2**30, 20 * 2**20
"""Bytes that are read from one archive with those in it, and bytes of its table of contents."""

SWELLING, HARMLESS = 200, 10 * 2**20
"""How many times its packed size a file in an archive may have, where it has more than so many bytes."""

ASIDE = ("__MACOSX", "__pycache__", "node_modules", "site-packages")
HIDDEN = ("thumbs.db", "desktop.ini", "icon\r")

ZIPPED = (
    *(".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".pages", ".numbers", ".key"),
    *(".npz", ".pt", ".pth", ".keras", ".whl", ".jar", ".kmz"),
)
"""Endings of formats that are zip archives inside, and not opened as such."""

EMPTY = "it is empty (0 bytes); perhaps it had not been uploaded or downloaded yet: ask for it again"

MOODLE = r"(?P<name>[^/]+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?"
CANVAS = r"(?P<name>[^\W_][^_/]*)_(?:LATE_(?=\d+_\d)|(?!20\d{6}_)(?=\d{5,}_\d{3}))(?P<number>\d+)_\d+_.+"
BLACKBOARD = r".+_(?P<name>[^_/]+)_attempt_(?P<number>)\d{4}(?:-\d\d){5}(?:_.+|\.txt)"
"""How learning platforms name a student's files and, in Moodle, folders; a date is no number of Canvas's."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, OSError)


@dataclass(frozen=True)
class Owner:
    """Whose a file is by its place.

    Attributes:
        parts: names of the folders that it lies in, the outermost first; none for a file that lies in no folder.
        number: a student's on a learning platform, whose folder is theirs with all below it; None for other folders.
    """

    parts: tuple[str, ...] = ()
    number: str | None = None

    def below(self, name: str) -> Owner:
        """Return whose a folder of this name is that lies here."""
        if self.number is not None:
            return self
        return _by_platform(name, MOODLE) or Owner((*self.parts, unicodedata.normalize("NFC", name)))

    def of_file(self, name: str) -> Owner:
        """Return whose a file of this name is that lies here, among files as a learning platform names them."""
        return self if self.number is not None else _by_platform(name, MOODLE, CANVAS, BLACKBOARD) or self

    def line(self) -> list[Owner]:
        """Return the folders that this is in, the outermost first, and itself."""
        return [Owner(self.parts[:k], self.number) for k in range(1, len(self.parts) + 1)]


def _by_platform(name: str, *patterns: str) -> Owner | None:
    for pattern in patterns:
        if match := re.fullmatch(pattern, name, re.DOTALL):
            return Owner((unicodedata.normalize("NFC", match["name"]),), match["number"])
    return None


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    Attributes:
        file: its path in the folder; what an archive holds lies below the archive.
        owner: whose it is by its place.
        kind: a "file" that can be read, an "archive" that was opened, what is "unopened", what is put "aside", or a
            folder that is "empty".
        about: why it was not opened or is put aside.
        size: bytes.
        take: returns the first bytes, as many as are asked for; only as long as nothing else is looked for.
    """

    file: Path
    owner: Owner
    kind: Literal["file", "archive", "unopened", "aside", "empty"] = "file"
    about: str = ""
    size: int = 0
    take: Callable[[int], bytes] | None = None

    def head(self, n: int = 400) -> bytes:
        """Return the first bytes.

        Raises:
            ValueError: if the file is damaged, or cannot be opened.
        """
        if self.take is None:
            raise ValueError(self.about)
        try:
            return self.take(n)
        except OSError as error:
            raise ValueError(in_words(error)) from None
        except MemoryError:
            raise ValueError("it is too large for the memory") from None

    def content(self) -> bytes:
        """Return all bytes.

        Raises:
            ValueError: if the file is too large, is damaged, or cannot be opened.
        """
        content = self.head(LARGEST + 1) if self.size <= LARGEST else b""
        size = max(self.size, len(content))
        if size > LARGEST:
            raise ValueError(f"it has {size / 2**20:.0f} MiB; at most {LARGEST // 2**20} are read")
        return content


def in_words(error: OSError) -> str:
    """Return why a file or folder cannot be opened."""
    reason = error.strerror or str(error)
    return f"it cannot be opened ({reason[:1].lower()}{reason[1:]})"


def find(folder: Path) -> Iterator[Found]:
    """Yield all that lies in a folder, or in an archive, at any depth.

    Links are not followed and special files not opened. A folder in which nothing is to be seen is yielded, too, since
    somebody may have handed it in.

    Raises:
        ValueError: if it is an archive that cannot be opened.
        OSError: if it is a folder that cannot be opened.
    """
    if folder.is_dir():
        yield from _walk(_listed(folder), _Place(Path(), Owner()))
        return
    budget = _Budget(UNPACKED)
    try:
        archive = _opened(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    with archive:
        yield from _walk(_tree(archive, budget), _Place(Path(), Owner(), archives=1, packed=True, budget=budget))


@dataclass
class _Budget:
    """Bytes that may still be read from an archive and those in it."""

    left: int


@dataclass(frozen=True)
class _Entry:
    """What a folder holds: a folder with `entries`, a file to `take` bytes from, or what is in `trouble`."""

    name: str
    size: int = 0
    trouble: str = ""
    take: Callable[[int], bytes] | None = None
    path: str | None = None  # on the disk
    entries: Callable[[], Sequence[_Entry]] | None = None


@dataclass(frozen=True)
class _Place:
    """Where entries lie.

    Attributes:
        path: in the folder that is searched.
        owner: whose is what lies here.
        aside: why all that lies here is put aside.
        archives: how many it lies in.
        packed: whether it is an archive, or the only folder in one.
        mixed: whether it is where a learning platform has put the files of several students.
        budget: of the outermost archive.
    """

    path: Path
    owner: Owner
    aside: str = ""
    archives: int = 0
    packed: bool = False
    mixed: bool = False
    budget: _Budget | None = None


def _walk(entries: Sequence[_Entry], place: _Place) -> Iterator[Found]:
    seen = [entry for entry in entries if not _why_aside(entry.name)]
    if not seen and not place.aside and place.path.parts:
        about = "there are only hidden files in it" if entries else "there is nothing in it"
        yield Found(place.path, place.owner, "empty", about)
    students = {place.owner.of_file(entry.name) for entry in seen if entry.entries is None} - {place.owner}
    place = replace(place, mixed=not place.owner.parts or len(students) > 1)
    for entry in sorted(entries, key=lambda entry: entry.name):
        inner = replace(place, path=place.path / entry.name, aside=place.aside or _why_aside(entry.name))
        if entry.entries is not None:
            yield from _walk_folder(entry, inner, nameless=seen == [entry] and _is_wrapping(entry, place))
        else:
            yield from _walk_file(entry, inner, nameless=seen == [entry] and bool(place.owner.parts))


def _walk_folder(entry: _Entry, place: _Place, nameless: bool) -> Iterator[Found]:
    """Yield what a folder holds; a nameless one is not named in whose that is."""
    owner = place.owner if nameless else place.owner.below(entry.name)
    place = replace(place, owner=owner, packed=place.packed and nameless)
    entries: Sequence[_Entry] = ()
    try:
        trouble = f"it lies in more than {DEEPEST} folders" * (len(place.path.parts) > DEEPEST)
        entries = entry.entries() if entry.entries is not None and not trouble else ()
    except OSError as error:
        trouble = in_words(error)
    if trouble:
        yield Found(place.path, owner, "aside" if place.aside else "unopened", place.aside or trouble)
        return
    if {"pyvenv.cfg", "conda-meta"} & {inner.name for inner in entries}:
        place = replace(place, aside=place.aside or "in a virtual environment")
    yield from _walk(entries, place)


def _walk_file(entry: _Entry, place: _Place, nameless: bool) -> Iterator[Found]:
    """Yield a file; if it is an archive, also what that holds, where a nameless one is not named in whose that is."""
    owner = place.owner.of_file(entry.name) if place.mixed else place.owner
    found = Found(place.path, owner, "file", "", entry.size, entry.take)
    if place.aside or entry.trouble:
        kind: Literal["aside", "unopened"] = "aside" if place.aside else "unopened"
        yield replace(found, kind=kind, about=place.aside or entry.trouble, take=None)
        return
    try:
        if not _is_archive(found):
            yield found
            return
        if not entry.size:
            raise ValueError(EMPTY)
        if place.archives == NESTED:
            raise ValueError(f"it lies in {NESTED} archives, one in another; one deeper is not opened")
        archive = _opened(entry.path if entry.path is not None else io.BytesIO(found.content()))
    except ValueError as error:
        yield replace(found, kind="unopened", about=str(error), take=None)
        return
    stem = entry.name[:-4] if entry.name.lower().endswith(".zip") and len(entry.name) > 4 else entry.name
    owner = found.owner if nameless or found.owner.number is not None else place.owner.below(stem)
    budget = place.budget or _Budget(UNPACKED)
    with archive:
        untold = " (names in a coding that they don't tell)" * any(map(_is_untold, archive.infolist()))
        yield replace(found, kind="archive", about=untold, owner=owner, take=None)
        yield from _walk(_tree(archive, budget), _Place(place.path, owner, "", place.archives + 1, True, False, budget))


def _why_aside(name: str) -> str:
    """Return why a file or folder of this name is put aside, or nothing."""
    if name in ASIDE:
        return f"in {name}"
    return "hidden" if name.startswith((".", "~$")) or name.lower() in HIDDEN else ""


def _is_wrapping(folder: _Entry, place: _Place) -> bool:
    """Return whether a folder that is all that an archive holds says nothing of whose it is.

    In a student's archive it does not. A class's archive may hold the class's folder, in which is none but folders.
    """
    if not place.packed or folder.entries is None:
        return False
    inner = [entry for entry in folder.entries() if not _why_aside(entry.name)]
    return bool(place.owner.parts) or all(e.entries is not None or e.name.lower().endswith(".zip") for e in inner)


# --- on the disk ------------------------------------------------------------------------------------------------------


def _listed(folder: str | os.PathLike[str]) -> list[_Entry]:
    with os.scandir(folder) as entries:
        return [_entry_of(entry) for entry in entries]


def _entry_of(entry: os.DirEntry[str]) -> _Entry:
    try:
        if entry.is_symlink() or getattr(entry, "is_junction", bool)():  # Windows' junctions, since Python 3.12
            return _Entry(entry.name, trouble="it is a link, and was not followed")
        if entry.is_dir(follow_symlinks=False):
            return _Entry(entry.name, entries=functools.partial(_listed, entry.path))
        if not entry.is_file(follow_symlinks=False):
            return _Entry(entry.name, trouble="it is no ordinary file, and was not opened")
        size = entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        return _Entry(entry.name, trouble=in_words(error))
    return _Entry(entry.name, size, "", functools.partial(_take_file, entry.path), entry.path)


def _take_file(path: str, n: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(n)


# --- in archives ------------------------------------------------------------------------------------------------------


def _is_archive(found: Found) -> bool:
    ending, head = found.file.suffix.lower(), found.head(16)
    if ending == ".zip":
        return not head.lstrip().startswith(b"{")  # a notebook under a wrong name
    return ending not in ZIPPED and head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))


def _opened(file: str | os.PathLike[str] | io.BytesIO) -> zipfile.ZipFile:
    """Open an archive on the disk or in memory.

    Raises:
        ValueError: if it is none, is damaged, or holds too much.
    """
    try:
        size = _contents_size(file)
        if size > CONTENTS:
            raise ValueError(f"its table of contents has {size / 2**20:.0f} MiB; at most {CONTENTS // 2**20} are read")
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is no zip archive, or is damaged or cut off ({_reason(error)})") from None
    except OSError as error:
        raise ValueError(in_words(error)) from None
    except _DAMAGED as error:
        raise ValueError(_reason(error)) from None
    n = len(archive.infolist())
    if n > MEMBERS:
        archive.close()
        raise ValueError(f"it holds {n} files; at most {MEMBERS} are read")
    return archive


def _contents_size(file: str | os.PathLike[str] | io.BytesIO) -> int:
    """Return how large an archive says its table of contents is, before that is read; 0 if it doesn't say."""
    with io.BytesIO(file.getbuffer()) if isinstance(file, io.BytesIO) else open(file, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - (2**16 + 22)))
        _, found, end = stream.read().rpartition(b"PK\x05\x06")
    return int.from_bytes(end[8:12], "little") if found and len(end) >= 18 else 0


@dataclass
class _Node:
    """A folder in an archive."""

    files: list[_Entry] = field(default_factory=list)
    folders: dict[str, _Node] = field(default_factory=dict)

    def entries(self) -> list[_Entry]:
        """Return what is in it, each under a name of its own, also where letters' case doesn't count."""
        taken: set[str] = set()
        entries = []
        for entry in (*(_Entry(name, entries=node.entries) for name, node in self.folders.items()), *self.files):
            name, n = entry.name, 1
            while name.casefold() in taken:
                n += 1
                name = f"{entry.name} [{n}]"
            taken.add(name.casefold())
            entries.append(replace(entry, name=name))
        return entries


def _tree(archive: zipfile.ZipFile, budget: _Budget) -> list[_Entry]:
    root = _Node()
    for info in archive.infolist():
        name = _name(info).replace("\\", "/")
        parts = [part.replace(":", "_") for part in name.split("/") if part not in ("", ".", "..")]
        trouble = _why_unopened(info, name)
        if len(parts) > DEEPEST:
            parts, trouble = parts[-1:], f"it lies in more than {DEEPEST} folders"
        folder = info.is_dir() or name.endswith("/")
        node = root
        for part in parts if folder and not trouble else parts[:-1]:
            node = node.folders.setdefault(part, _Node())
        if not folder or trouble:
            take = None if trouble else functools.partial(_take_member, archive, info, budget)
            node.files.append(_Entry(parts[-1] if parts else "without a name", info.file_size, trouble, take))
    return root.entries()


def _why_unopened(info: zipfile.ZipInfo, name: str) -> str:
    """Return why a member of an archive is not opened, or nothing."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(mode):
        return "it is a link, and was not followed"
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "it is no ordinary file, and was not opened"
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/") or not name.strip("./"):
        return "its path leads out of the archive, and it was not opened"
    if info.flag_bits & 0x1:
        return "it is encrypted; ask for it without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        return "it is packed in an unusual way; ask for an ordinary zip archive, or the notebook itself"
    if info.file_size > max(HARMLESS, SWELLING * info.compress_size):
        times = info.file_size // max(1, info.compress_size)
        return f"it would unpack to {times} times its size ({info.file_size / 2**20:.0f} MiB), and was not opened"
    return ""


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's path: in UTF-8 where an archive says so, or where its bytes are that."""
    name = info.orig_filename.partition("\0")[0]
    if info.flag_bits & 0x800:
        return name
    try:
        raw = name.encode("cp437")
        return _unicode_path(info.extra, raw) or raw.decode("utf-8")
    except UnicodeError:
        return _as_russian(name)


def _is_untold(info: zipfile.ZipInfo) -> bool:
    """Return whether it is a guess how a member's path is coded."""
    name = info.orig_filename
    told = info.flag_bits & 0x800 or name.isascii()
    return not told and _name(info) in (name, _as_russian(name))


def _as_russian(name: str) -> str:
    """Return a name as Windows in Russian has written it (cp866), with a word in that and none of mixed letters."""
    try:
        read = name.encode("cp437").decode("cp866")
    except UnicodeError:
        return name
    words = [word for word in re.findall(r"[^\W\d_]+", read) if not word.isascii()]
    russian = any(len(word) > 1 for word in words) and all(re.fullmatch("[Ѐ-ӿ]+", word) for word in words)
    return read if russian else name


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the path in Info-ZIP's extra field (0x7075), if there is one and it is of this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 0x7075 and body[:1] == b"\x01" and body[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return body[5:].decode("utf-8")
    return ""


def _take_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget, n: int) -> bytes:
    if budget.left < 0:
        raise ValueError(f"more than {UNPACKED // 2**30} GiB were read from its archive before it")
    try:
        with archive.open(info) as stream:
            content = stream.read(n)
    except _DAMAGED as error:
        raise ValueError(f"it is damaged in its archive ({_reason(error)})") from None
    budget.left -= len(content)
    return content


def _reason(error: Exception) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"{reason[:1].lower()}{reason[1:]}"[:100]
