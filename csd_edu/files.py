"""Files that are whole or absent: atomic writing, and safetensors with a checksum."""

from __future__ import annotations

import contextlib
import json
import os
import re
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

from csd_edu.runtime import usual_torch

try:
    import fcntl
except ImportError:  # Windows has no flock; there, only the check for another process is missing
    fcntl = None  # type: ignore[assignment]


def given_path(path: str | os.PathLike[str], *, what: str = "path") -> Path:
    """Return a path as it was given, with the home folder in the place of "~": the one rule for every path.

    Args:
        path: a text or a path; relative ones stay so.
        what: the argument's name, for the message.

    Raises:
        ValueError: if it is empty, an address on the web or no path, or there is no such home folder.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError(f"{what} is {path!r}; expected the path of a file or folder, such as 'runs/csd'")
    if re.match(r"[A-Za-z][\w+.-]+://", text):
        raise ValueError(f"{what} is {text!r}, an address; expected a path on this machine, such as 'runs/csd'")
    found = Path(text)
    if not text.startswith("~"):  # nor is "./~", which must not become "~"
        return found.absolute() if found.parts and found.parts[0].startswith("~") else found
    try:
        return found.expanduser()
    except RuntimeError:
        name = found.parts[0]
        raise ValueError(
            f"{what} is {text!r}, and no home folder of {name!r} is known; expected a whole path, or './{text}' for a "
            "file of that name"
        ) from None


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
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(
        path, text.encode("utf-8", "backslashreplace")
    )  # of bytes that are no text: as JSON has it, \\udcff


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
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: what is mapped from the file kills the process if the file is cut off later.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except PermissionError:
        raise PermissionError(f"{path} may not be read; change its permissions") from None
    except Exception as error:  # a damaged file makes safetensors and torch raise nearly anything
        raise ValueError(f"{path} is damaged ({error}); {advice}") from None
    note = metadata.get("about", "")
    if metadata.get("crc32") != _checksum(tensors, note):
        raise ValueError(f"{path} is damaged (its content does not have the recorded checksum); {advice}")
    return tensors, json.loads(note)


def read_about(path: Path) -> dict[str, Any]:
    """Return only the JSON that `write_tensors` wrote beside the tensors; {} if there is none, or no such file."""
    with contextlib.suppress(Exception), safetensors.safe_open(path, framework="pt") as file:  # else it may be damaged
        about = json.loads((file.metadata() or {})["about"])
        return about if isinstance(about, dict) else {}
    return {}


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
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and no file; {advice}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}" + (f"; {advice}" if advice != "delete it" else ""))


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
        NotADirectoryError: if the path is a file.
        PermissionError: if the folder, or the nearest one above it that exists, is read-only.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder to save into")
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
    with open(folder / ".lock", "wb") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"another process or notebook is training into {folder}; stop it, or choose another folder"
                ) from None
        yield
