"""The one rule for every path that is given; and the working folder, which may be gone."""

from __future__ import annotations

import os
import re
from pathlib import Path


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


def working_folder() -> Path:
    """Return the working folder.

    Raises:
        FileNotFoundError: if it was deleted since.
    """
    try:
        return Path.cwd()
    except OSError:
        raise FileNotFoundError("the working folder was deleted; change to another one, as with  cd ~") from None
