"""Files that are whole or absent: atomic writing, and safetensors with a checksum."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Lend a file to write the new content of `path` into; it takes the old one's place when the block ends well.

    A reader, or a crash at any moment, meets the old content or the new, never a mixture.

    Raises:
        OSError: if the disk is full or the folder not writable; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        message = f"could not save ({error.strerror}); what was saved before is whole"
        raise OSError(error.errno, message, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


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
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it") from None
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


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    # To root os.access says yes whatever the mode; but who took every write bit off a shared folder meant root too.
    return folder.is_dir() and bool(folder.stat().st_mode & 0o222) and os.access(folder, os.W_OK)


def check_writable(folder: Path) -> None:
    """Make sure that files can be made in a folder, which need not be there yet.

    Raises:
        NotADirectoryError: if the path is a file, or lies in one.
        PermissionError: if the folder, or the nearest one above it that exists, is read-only.
    """
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{above} is a file; expected a folder to save into")
    if not is_writable(folder):
        raise PermissionError(f"{folder} is read-only; choose another folder, or make it writable")


@contextlib.contextmanager
def copied(source: Path, target: Path, *, leave_out: Collection[str] = ()) -> Iterator[Path]:
    """Lend a copy of a folder's files to be finished; it gets its place, whole, when the block ends well.

    Raises:
        FileExistsError: if the place is taken.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already; choose another folder")
    check_writable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(".*", *leave_out))
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock goes with the process, however it ends.

    Raises:
        RuntimeError: if another process holds it.
    """
    with open(folder / ".lock", "w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"another process or notebook is training into {folder}; stop it, or choose another folder"
                ) from None
        yield
