"""What is told on the way never stops what is done: the pipe may be closed, the disk behind `>` be full."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any, ParamSpec

from csd_edu.files import words

P = ParamSpec("P")


class Unfailing:
    """A text stream that falls silent when what is behind it can't be written any more.

    Attributes:
        stream: what is behind it; None if the process has no output.
        error: why it fell silent.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(lambda: self.stream.flush())

    def isatty(self) -> bool:
        return self.stream is not None and bool(self.stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

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
    return Unfailing(sys.stderr)


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
        before, told = sys.stdout, stdout()
        sys.stdout = told
        try:
            code = main(*args, **kwargs)
        finally:
            told.flush()
            sys.stdout = before
            if told.error is not None:
                _let_go(told)
        if told.error is None or isinstance(told.error, BrokenPipeError):
            return code
        print(f"csd-edu: error: what was to be read here could not be written ({words(told.error)})", file=sys.stderr)
        return code or 1

    return heard


def _let_go(told: Unfailing) -> None:
    """Let what is still to be written go nowhere, lest the interpreter tries once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, told.stream.fileno())
        os.close(nowhere)
