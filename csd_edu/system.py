"""What the system refuses, in words: which file, why, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_MEND = {
    "ENOSPC": "make room on the disk, or choose a folder on another one",
    "EDQUOT": "your share of the disk is used up: delete what you no longer need, or choose a folder on another disk",
    "EFBIG": "files may not grow so large here: raise the limit (ulimit -f), or choose a folder on another disk",
    "EROFS": "that disk is read-only: choose a folder on another one",
    "EACCES": "change its permissions, or choose another place",
    "EPERM": "change its permissions, or choose another place",
    "EIO": "the disk, or the connection to it, fails: try again, or choose a folder on another disk",
    "ESTALE": "the connection to the network disk was lost: try again",
    "ENAMETOOLONG": "choose a shorter name",
    "ELOOP": "a link there leads back to itself: remove it",
    "ENOENT": "check the path, and that no folder on the way was deleted",
    "ENOTDIR": "a part of the path is a file: choose another folder",
    "EISDIR": "expected a file there, and it is a folder: choose another name",
    "EEXIST": "choose another name",
    "EBUSY": "another program uses it: close that, and try again",
    "ETXTBSY": "another program uses it: close that, and try again",
    "EMFILE": "too many files are open: raise the limit (ulimit -n), or restart the program",
    "ENFILE": "too many files are open on this machine: close other programs",
    "ENOMEM": "memory is full: close other programs",
    "EAGAIN": "the machine starts no more processes: close other programs",
}
ADVICE = {getattr(errno, name): advice for name, advice in _MEND.items() if hasattr(errno, name)}
"""What to do about an error of the system, by its number."""

OUT_OF_ROOM = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}


def words(error: BaseException, path: str | Path | None = None) -> str:
    """Return in words what the system refused: which file, why, and what to do. All other errors have their own.

    Args:
        error: as Python raised it.
        path: which file it is about, if the error names none.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    names = [name for name in (error.filename, error.filename2) if name is not None] or [path] * (path is not None)
    where = " and ".join(str(os.fsdecode(name) if isinstance(name, bytes) else name) for name in names)
    return "".join([f"{where}: " * bool(where), str(error.strerror), f"; {mend}" if (mend := remedy(error)) else ""])


def remedy(error: OSError) -> str:
    """Return what to do about an error of the system, or nothing if that is not known."""
    if str(error.strerror).startswith("No usable temporary directory"):  # Python's word for it, as ENOENT
        return "name a folder that can be written to in the environment variable TMPDIR"
    return ADVICE.get(error.errno or 0, "")


def in_words(error: OSError, message: str) -> OSError:
    """Return an error of the same kind and number whose text is the message alone."""
    told: OSError = type(OSError(error.errno, ""))(message)
    told.errno = error.errno
    return told


@contextlib.contextmanager
def worded(path: str | Path | None = None) -> Iterator[None]:
    """Put into words what the system refuses in a block, or in a function that is decorated with this.

    Args:
        path: which file it is about, if the system names none.

    Raises:
        OSError: of the same kind, with the file and what to do in its text.
    """
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise in_words(error, words(error, path)) from None
