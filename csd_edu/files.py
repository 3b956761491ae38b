"""Files that are whole or absent: atomic writing, safetensors with a checksum, and in words what the system refuses."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows has no flock; there, only the check for another process is missing
    fcntl = None  # type: ignore[assignment]

# ---------------------------------------------------------------------- what the system refuses

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
    return "".join([f"{where}: " * bool(where), str(error.strerror), f"; {mend}" if (mend := advice(error)) else ""])


def advice(error: OSError) -> str:
    """Return what to do about an error of the system, or nothing if that is not known."""
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


# ---------------------------------------------------------------------- files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Lend a file to write the new content of `path` into; it takes the old one's place when the block ends well.

    A reader, or a crash at any moment, meets the old content or the new, never a mixture.

    Raises:
        OSError: if the disk is full or the folder not writable; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")  # no longer than a name may be
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            _reach_the_disk(file)
        replace(temporary, path)
    except OSError as error:
        if error.strerror is None:
            raise
        why = f"{error.strerror}): {mend}" if (mend := advice(error)) else f"{error.strerror})"
        raise in_words(error, f"could not save {path} ({why}; what was saved before is whole") from None
    finally:
        with contextlib.suppress(OSError):  # gone where it should be; what can't be tidied up is no error
            temporary.unlink()


def _reach_the_disk(file: BinaryIO) -> None:
    """Wait until a file is on the disk, not only on its way; where a file system can't tell, go on."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        warnings.warn(
            "this disk does not tell when a file is safely on it (it knows no fsync): what was saved last can be lost "
            "if the machine stops at once",
            stacklevel=2,
        )


def replace(source: Path, target: Path) -> None:
    """Give a file the place of another, in one step; what holds that for a moment, such as a scanner, is waited for.

    Raises:
        OSError: if that can't be.
    """
    for pause in (0.05, 0.1, 0.2, 0.4):
        try:
            return os.replace(source, target)
        except OSError as error:
            held = error.errno == errno.EBUSY or (os.name == "nt" and isinstance(error, PermissionError))
            if not held:
                raise
            time.sleep(pause)
    return os.replace(source, target)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since other readers of JSON don't know it."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Write named tensors, and a little JSON about them, as one safetensors file, atomically.

    Args:
        path: where to.
        tensors: any shapes and types, on any device.
        about: JSON that `read_tensors` returns beside the tensors.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    note = json.dumps(about or {})
    metadata = {"about": note, "crc32": _checksum(plain, note)}
    write_atomically(path, safetensors.torch.save(plain, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated or its content does not have the recorded checksum.
    """
    try:
        content = path.read_bytes()  # not mapped into memory: some file systems refuse that, and a file may be replaced
        tensors = safetensors.torch.load(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise in_words(error, words(error, path)) from None
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it") from None
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    note = metadata.get("about", "")
    if metadata.get("crc32") != _checksum(tensors, note):
        raise ValueError(f"{path} is damaged (its content does not have the recorded checksum); delete it")
    return tensors, json.loads(note)


def _checksum(tensors: Mapping[str, Tensor], note: str) -> str:
    crc = zlib.crc32(note.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


# ---------------------------------------------------------------------- folders


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which need not be there yet."""
    try:
        check_writable(folder)
    except OSError:
        return False
    return True


def check_writable(folder: Path) -> None:
    """Make sure that files can be made in a folder, which need not be there yet.

    Raises:
        FileNotFoundError: if nothing above it is there, or the working folder is gone.
        NotADirectoryError: if the path, or a part of it, is a file.
        PermissionError: if the folder, or the nearest one above it that exists, is read-only.
    """
    if not folder.is_absolute():
        working_folder()
    above = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    if above is None:
        raise FileNotFoundError(f"there is no drive or folder {folder.anchor}; choose another folder than {folder}")
    if not os.path.isdir(above):
        what = "a file" if os.path.exists(above) else "a link that leads nowhere"
        raise NotADirectoryError(f"{above} is {what}; expected a folder to save into")
    # To root os.access says yes whatever the mode; but who took every write bit off a shared folder meant root too.
    if not os.stat(above).st_mode & 0o222 or not os.access(above, os.W_OK | os.X_OK):
        found = f"{folder} is" if above == folder else f"{folder} can't be made, since {above} is"
        raise PermissionError(f"{found} read-only; choose another folder, or make it writable")


def make_folder(folder: Path) -> None:
    """Make a folder and those on the way to it, if need be, and a file in it, since not all systems tell before.

    Raises:
        OSError: if that can't be, as `check_writable` does or the system.
    """
    check_writable(folder)
    with worded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tried = folder / f".{secrets.token_hex(4)}.tmp"
        tried.touch(exist_ok=False)
    with contextlib.suppress(OSError):
        tried.unlink()


def working_folder() -> Path:
    """Return the working folder.

    Raises:
        FileNotFoundError: if it was deleted since.
    """
    try:
        return Path.cwd()
    except OSError:
        raise FileNotFoundError("the working folder was deleted; change to another one, as with  cd ~") from None


def temporary_folder() -> Path:
    """Return a new folder for a run, where files may be deleted some day.

    Raises:
        OSError: if there is no place for such; says what else to do.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="csd_edu-run-"))
    except OSError as error:
        message = f"there is no folder for what is temporary ({error.strerror}); give out=, a folder to save the run in"
        raise in_words(error, message) from None


@contextlib.contextmanager
def copied(source: Path, target: Path, *, leave_out: Collection[str] = ()) -> Iterator[Path]:
    """Lend a copy of a folder's files to be finished; it gets its place, whole, when the block ends well.

    Raises:
        FileExistsError: if the place is taken.
        OSError: if it can't be written.
    """
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already; choose another folder")
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        with worded(temporary):
            temporary.mkdir()
            for path in source.iterdir():
                if path.is_file() and not path.name.startswith(".") and path.name not in leave_out:
                    shutil.copyfile(path, temporary / path.name)  # without modes and times, which not all disks keep
        yield temporary
        with worded(target):
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock goes with the process, however it ends.

    Where the file system has no locks this is said, and nothing is held.

    Raises:
        RuntimeError: if another process holds it.
    """
    held: int | None = None
    try:
        held = _open_lock(folder / ".lock")
        if fcntl is not None:
            _lock(held, folder)
    except OSError as error:
        warnings.warn(
            f"{folder} can't be locked here ({error.strerror}): take care that only one process trains into it",
            stacklevel=4,
        )
    try:
        yield
    finally:
        if held is not None:
            with contextlib.suppress(OSError):  # nothing was written
                os.close(held)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's, which may be locked all the same
        return os.open(path, os.O_RDONLY)


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # which of them depends on the file system
        os.close(file)
        raise RuntimeError(
            f"another process or notebook is training into {folder}; stop it, or choose another folder"
        ) from None
