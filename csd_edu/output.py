"""What is told on the way never stops what is done: the pipe may be closed, the disk behind `>` full, signs missing."""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import Any, ParamSpec

from csd_edu.system import words

P = ParamSpec("P")

LIKENESS = str.maketrans(
    {"×": "x", "–": "-", "—": "-", "−": "-", "±": "+-", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "’": "'", "·": "|"}
)
"""Signs for those that an encoding such as ASCII or cp437 doesn't have."""


def _alike(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for signs that can't be encoded: a likeness, a letter without its accent, or its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = []
    for sign in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", sign.translate(LIKENESS)).encode("ascii", "ignore").decode()
        signs.append(plain or sign.encode("ascii", "backslashreplace").decode())
    return "".join(signs), error.end


codecs.register_error("csd_edu.alike", _alike)


class Unfailing:
    """A text stream that writes what it can, and falls silent when what is behind it can't be written any more.

    Attributes:
        stream: what is behind it; None if the process has no output.
        error: why it fell silent.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda: self.stream.flush())

    def isatty(self) -> bool:
        return self.stream is not None and self.error is None and bool(self.stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding
            self.stream.write(text.encode(encoding, "csd_edu.alike").decode(encoding))

    def _try(self, act: Callable[[], object]) -> None:
        if self.stream is None or self.error is not None:
            return
        try:
            act()
        except OSError as error:
            self.error = error
        except ValueError as error:
            if not getattr(self.stream, "closed", False):
                raise
            self.error = error


def stdout() -> Unfailing:
    """Return the output as it is now, made unfailing."""
    return sys.stdout if isinstance(sys.stdout, Unfailing) else Unfailing(sys.stdout)


def stderr() -> Unfailing:
    """Return where warnings go, made unfailing."""
    return sys.stderr if isinstance(sys.stderr, Unfailing) else Unfailing(sys.stderr)


def has_sign(sign: str) -> bool:
    """Return whether the output can show a sign."""
    try:
        sign.encode(getattr(stdout(), "encoding", None) or "utf-8")
    except UnicodeError:
        return False
    return True


def say(*parts: object, end: str = "\n") -> None:
    """Print at once, where that can be."""
    print(*parts, end=end, file=stdout(), flush=True)


def unfailing(main: Callable[P, int]) -> Callable[P, int]:
    """Decorate the function behind a command: it does its work to the end, and what was not heard is told then.

    Returns:
        The function; its exit code is 1 if its output could not be written, but for a reader that has left, as `head`
        does.
    """

    @functools.wraps(main)
    def heard(*args: P.args, **kwargs: P.kwargs) -> int:
        out, errors = stdout(), stderr()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                code = main(*args, **kwargs)
            finally:
                for stream in (out, errors):
                    stream.flush()
                    if stream.error is not None:
                        _let_go(stream)
            if out.error is None or isinstance(out.error, BrokenPipeError):
                return code
            print(f"csd-edu: error: what was to be read here could not be written ({words(out.error)})", file=errors)
        return code or 1

    return heard


def _let_go(told: Unfailing) -> None:
    """Let what is still to be written go nowhere, lest the interpreter tries once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, told.stream.fileno())
        os.close(nowhere)
