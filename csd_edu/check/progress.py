"""What a student has tried and passed, kept in a small JSON file beside the notebooks."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from csd_edu.files import write_json
from csd_edu.paths import given_path
from csd_edu.system import worded
from csd_edu.version import __version__

VERSION = 1
FILE = "csd_edu-progress.json"

_unsaved: dict[Path, dict[str, Any]] = {}
"""What could not be written, so that the session at least remembers it."""


def progress_file() -> Path:
    """Return where the progress is kept: the file that CSD_EDU_PROGRESS names, or one in the working folder."""
    named = os.environ.get("CSD_EDU_PROGRESS") or FILE
    path = Path(named)
    with contextlib.suppress(ValueError):  # of an unknown home folder: that nothing is saved there is told by a note
        path = given_path(named)
    with contextlib.suppress(OSError):  # the working folder was deleted: that is told, too
        path = path.absolute()
    return path


def untried() -> dict[str, Any]:
    """Return the entry of an exercise that nobody has touched."""
    return {"passed": False, "attempts": 0, "hints": 0, "mistakes": {}, "time": None}


def load() -> tuple[dict[str, dict[str, Any]], str]:
    """Return the entry of each exercise that was touched, and a sentence if the file cannot be used, or nothing.

    An entry has: passed (once, whatever came after), attempts, hints (the highest rung seen), mistakes (how often
    each), and the time of the last attempt or hint (ISO 8601, UTC).
    """
    path = progress_file()
    entries, trouble = {}, ""
    try:
        entries = _checked(json.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "it is damaged"
        trouble = f"The progress is not saved: {path.name} cannot be read ({reason}); delete or rename it."
    return (_copy(_unsaved[path]) if path in _unsaved else entries), trouble


def record_attempt(exercise: str, passed: bool, mistake: str | None) -> str:
    """Note one call of a check; return a sentence if that cannot be saved, or nothing."""
    entries, trouble = load()
    entry = entries.setdefault(exercise, untried())
    entry["attempts"] += 1
    entry["passed"] = entry["passed"] or passed
    if not passed:
        name = mistake or "unknown"
        entry["mistakes"][name] = entry["mistakes"].get(name, 0) + 1
    return _save(exercise, entries, trouble)


def record_hint(exercise: str, rung: int) -> str:
    """Note which rung of an exercise's hints was seen; return a sentence if that cannot be saved, or nothing."""
    entries, trouble = load()
    entry = entries.setdefault(exercise, untried())
    entry["hints"] = max(entry["hints"], rung)
    return _save(exercise, entries, trouble)


@worded()
def export(path: str | os.PathLike[str], student: str, known: Sequence[str]) -> Path:
    """Write the progress as `check.export` says; of all known exercises, also those that were not tried."""
    path = given_path(path)
    if not isinstance(student, str) or not student.strip():
        raise ValueError(f"student is {student!r}; expected a name or a number as text, such as student='Ada'")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file, such as {path / 'progress.json'}")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}; make it first, or choose another")
    entries, _ = load()
    write_json(
        path,
        {
            "csd_edu": __version__,
            "version": VERSION,
            "student": student.strip(),
            "time": _now(),
            "exercises": {name: entries.get(name, untried()) for name in known},
        },
    )
    return path


def _save(exercise: str, entries: dict[str, dict[str, Any]], trouble: str) -> str:
    path = progress_file()
    entries[exercise]["time"] = _now()
    try:
        if trouble:  # a file that cannot be read may hold something dear: it is left alone
            raise OSError
        write_json(path, {"version": VERSION, "exercises": entries})
        _unsaved.pop(path, None)
        return ""
    except (OSError, ValueError) as error:
        _unsaved[path] = _copy(entries)
        reason = _reason(error) if isinstance(error, OSError) else str(error)
        return trouble or f"The progress is not saved in {path.name}: {reason}. All else works."


def _reason(error: OSError) -> str:
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))


def _checked(value: Any) -> dict[str, dict[str, Any]]:
    """Return the entries of a progress file, or raise a ValueError if it is none."""
    if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("exercises"), dict):
        raise ValueError("no progress file")
    model = untried()
    for entry in value["exercises"].values():
        if not isinstance(entry, dict) or any(
            not isinstance(entry.get(key), type(model[key])) for key in ("passed", "attempts", "hints", "mistakes")
        ):
            raise ValueError("no progress file")
        counts = (entry["attempts"], entry["hints"], *entry["mistakes"].values())
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("no progress file")
    return dict(value["exercises"])


def _copy(entries: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(json.loads(json.dumps(entries)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
