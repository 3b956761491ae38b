"""What is printed: it reaches the reader as far as the stream can take it, and never stops the work."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

PLAIN = str.maketrans(
    {"×": "x", "–": "-", "—": "-", "−": "-", "±": "+-", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "’": "'", "·": "|"}
)
"""Signs for those that an encoding such as ASCII or cp437 doesn't have."""


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for signs that can't be encoded: a likeness, a letter without its accent, or its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = []
    for sign in error.object[error.start : error.end]:
        likeness = unicodedata.normalize("NFKD", sign.translate(PLAIN)).encode("ascii", "ignore").decode()
        signs.append(likeness or sign.encode("ascii", "backslashreplace").decode())
    return "".join(signs), error.end


codecs.register_error("csd_edu.plain", _in_plain_signs)


class Output:
    """A stream to print to that may be closed, full, without some signs, or not there at all.

    Attributes:
        stream: where to; None where there is none.
        error: why nothing more is written there, if it is so.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text as far as the stream can take it, and return its length."""
        if self.stream is not None and self.error is None:
            try:
                self._write(text)
            except (OSError, ValueError) as error:  # full, or closed
                self.error = error
        return len(text)

    def flush(self) -> None:
        """Write out what is held back."""
        if self.stream is not None and self.error is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def isatty(self) -> bool:
        """Return whether a person is looking."""
        return self.stream is not None and self.error is None and bool(self.stream.isatty())

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding
            self.stream.write(text.encode(encoding, "csd_edu.plain").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def say(text: str, *, end: str = "\n", flush: bool = False) -> None:
    """Print a note, where one can."""
    print(text, end=end, flush=flush, file=Output(sys.stdout))


@contextlib.contextmanager
def safe_output() -> Iterator[Output]:
    """Let everything that a block prints go through an `Output`, standard errors too; lend that of standard output."""
    out, errors = Output(sys.stdout), Output(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            yield out
        finally:
            out.flush()
            errors.flush()
    for output in (out, errors):
        if output.error is not None and output.stream in (sys.__stdout__, sys.__stderr__):
            # What is held back would be tried once more when Python ends, and complained of.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), output.stream.fileno())
