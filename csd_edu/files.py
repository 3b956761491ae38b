"""Files that are whole or absent: atomic writing, and safetensors with a checksum."""

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

import safetensors.torch
import torch
from torch import Tensor

from csd_edu.paths import working_folder
from csd_edu.runtime import usual_torch
from csd_edu.system import in_words, remedy, worded

try:
    import fcntl
except ImportError:  # Windows has no flock; there, only the check for another process is missing
    fcntl = None  # type: ignore[assignment]


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
        why = f"{error.strerror}): {mend}" if (mend := remedy(error)) else f"{error.strerror})"
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
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # What is no text, such as an odd byte in a file's name, becomes an escape as JSON has it: \\udcff.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


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


@usual_torch()
def read_tensors(path: Path, *, advice: str = "delete it") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Args:
        path: where from.
        advice: what to do with a damaged file, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated or its content does not have the recorded checksum.
    """
    _check_there(path, advice)
    with worded(path):
        content = path.read_bytes()  # not mapped into memory: some file systems refuse that, and a file may be cut off
    try:
        tensors = safetensors.torch.load(content)
        metadata = _header(content).get("__metadata__", {})
    except Exception as error:  # a damaged file makes safetensors and torch raise nearly anything
        raise ValueError(f"{path} is damaged ({error}); {advice}") from None
    note = str(metadata.get("about", ""))
    if metadata.get("crc32") != _checksum(tensors, note):
        raise ValueError(f"{path} is damaged (its content does not have the recorded checksum); {advice}")
    return tensors, json.loads(note)


def read_about(path: Path) -> dict[str, Any]:
    """Return only the JSON that `write_tensors` wrote beside the tensors; {} if there is none, or no such file."""
    damaged = (ValueError, KeyError, OverflowError, MemoryError, RecursionError)
    with contextlib.suppress(OSError, *damaged):
        if path.is_file():  # of a pipe nothing may ever come
            with open(path, "rb") as file:
                start = file.read(8)
                header = _header(start + file.read(int.from_bytes(start, "little")))
            about = json.loads(header["__metadata__"]["about"])
            return about if isinstance(about, dict) else {}
    return {}


def _header(content: bytes) -> dict[str, Any]:
    """Return the JSON at the start of a safetensors file, after its length in 8 bytes."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("it has no header")
    return header


def read_json(path: Path, *, advice: str = "delete it") -> Any:
    """Read JSON as other programs know it, without NaN.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON.
    """
    _check_there(path, advice)
    return parse_json(path.read_bytes(), f"{path} is damaged", advice)


def parse_json(content: bytes, damaged: str, advice: str) -> Any:
    """Return what JSON says, or raise a ValueError that begins with `damaged` and ends with the advice."""
    try:
        if not content.strip(b"\0 \r\n\t"):
            raise ValueError("it is empty" if not content else "it holds nothing but zeros or blanks")
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{damaged} ({error}); {advice}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def _check_there(path: Path, advice: str) -> None:
    if not path.exists():
        advice = advice.removeprefix("delete it").removeprefix(", and ").removeprefix(": ")
        raise FileNotFoundError(f"there is no file {path}" + f"; {advice}" * bool(advice))
    check_file(path, advice)


def check_file(path: Path, advice: str) -> None:
    """Raise a ValueError if what is there is no file, or a link to one: reading a pipe would wait for ever."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise ValueError(f"{path} is {what}, and no file; {advice}")


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
