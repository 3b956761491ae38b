"""Cut a dataset into parts that fit through a narrow door, and put them together again.

    python benchmarks/parts.py cifar100.npz runs/parts --mb 60    # cut
    python benchmarks/parts.py runs/parts                         # what is there; join, once every part is

Each part is an .npz file of its own with some rows of every array, at most so many megabytes (of 10⁶ bytes) large, not
compressed. A manifest beside them has their checksums, and one of all arrays together.

A machine that takes a limited amount a call gets the manifest and one part with each call, into the same folder. What
has come is kept, in any order; what is missing or damaged is named.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SLACK = 10_000  # bytes of a part that are not rows: headers, and the last row begun


def cut(source: Path, folder: Path, mb: float = 60) -> list[Path]:
    """Cut an .npz file of arrays into parts.

    Args:
        source: the file; no pickles inside.
        folder: where the parts and the manifest go.
        mb: the most megabytes (10⁶ bytes) a part may have.

    Returns:
        The parts.

    Raises:
        ValueError: if no part can be as small as that.
    """
    with np.load(source, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    rows = sum(array.nbytes // max(1, len(array)) for array in arrays.values())  # bytes of one row of each
    room = mb * 1e6 - SLACK - rows
    if room <= 0:
        raise ValueError(f"mb is {mb}; expected at least {(SLACK + 2 * rows) / 1e6:.2f}, for one row of each array")
    n = math.ceil(sum(array.nbytes for array in arrays.values()) / room)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / f"{source.stem}-part-{i + 1}-of-{n}.npz" for i in range(n)]
    for i, part in enumerate(parts):
        with open(part, "wb") as file:
            np.savez(file, **{name: np.array_split(array, n)[i] for name, array in arrays.items()})
    manifest = {
        "name": source.name,
        "sha256": _checksum(arrays),
        "parts": [{"file": part.name, "bytes": part.stat().st_size, "sha256": _file_checksum(part)} for part in parts],
    }
    _manifest(folder).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return parts


def missing(folder: Path) -> list[str]:
    """Return the names of the parts that are not there yet.

    Raises:
        FileNotFoundError: if there is no manifest.
    """
    return [part["file"] for part in _read_manifest(folder)["parts"] if not (folder / part["file"]).is_file()]


def join(folder: Path, into: Path) -> Path:
    """Put the parts in a folder together again; what is already whole stays as it is.

    Args:
        folder: where the parts and the manifest are.
        into: where the file goes: the folder that `CSD_EDU_DATA` then names.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the manifest or parts are missing; names them.
        ValueError: if a part is damaged, or the parts belong to different files; names it.
    """
    manifest = _read_manifest(folder)
    target = into / str(manifest["name"])
    if target.is_file():
        return target
    absent = missing(folder)
    if absent:
        raise FileNotFoundError(
            f"{folder}: {', '.join(absent)} missing, of {len(manifest['parts'])} parts; send it too"
        )
    pieces: list[dict[str, np.ndarray]] = []
    for part in manifest["parts"]:
        path = folder / part["file"]
        if _file_checksum(path) != part["sha256"]:
            raise ValueError(
                f"{path} is damaged: it has {path.stat().st_size:,} bytes and another checksum, expected "
                f"{part['bytes']:,}; send it again"
            )
        with np.load(path, allow_pickle=False) as archive:
            pieces.append({name: archive[name] for name in archive.files})
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    if _checksum(arrays) != manifest["sha256"]:
        raise ValueError(f"{folder}: the parts together are not {manifest['name']} as it was cut; cut it again")
    into.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.tmp")
    with open(unfinished, "wb") as file:
        np.savez(file, **arrays)
    os.replace(unfinished, target)
    return target


def _manifest(folder: Path) -> Path:
    return folder / "parts.json"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = _manifest(folder)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; expected the folder that `parts.py FILE FOLDER` wrote")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def _file_checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="FILE FOLDER to cut, FOLDER to join")
    parser.add_argument("--mb", type=float, default=60, help="megabytes of a part at most (default: %(default)s)")
    options = parser.parse_args()
    try:
        if len(options.paths) == 2:
            source, folder = options.paths
            for part in cut(source, folder, options.mb):
                print(f"{part}: {part.stat().st_size / 1e6:.1f} MB")
        elif len(options.paths) == 1:
            print(join(options.paths[0], options.paths[0]))
        else:
            parser.error("expected FILE FOLDER to cut, or FOLDER to join")
    except (OSError, ValueError) as error:
        print(f"parts.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
