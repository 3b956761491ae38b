"""Runs a notebook's functions in a process of their own, within limits.

This protects the instructor from mistakes and from simple tricks: endless loops, floods, a full memory, files that are
written or deleted, secrets in environment variables. It is no sandbox against a determined attacker, and a student's
code runs in the same process as its check, so code that looks for a way can forge its result. Where that matters, grade
in a container, and read the code.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from csd_edu.check import EXERCISES
from csd_edu.grade import inside
from csd_edu.grade.submissions import Notebook, Result, State, printable
from csd_edu.system import words

SECONDS = 60.0
"""For the code of one notebook; longer than the checks' own limit for a few exercises."""

MEMORY = 2 * 2**30
"""Bytes, beyond what Python and torch need themselves."""

START = 180.0
"""Seconds for Python and torch to start; no student's code runs in them."""

OUTPUT, MESSAGES = 4000, 2**20
"""Bytes of what is printed (the last ones), and of messages (the first ones), that are kept."""

KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What of the environment Python itself may need to start."""

UNSHARE = (
    ("--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"),
    ("--map-root-user", "--net"),
)
"""Namespaces of Linux, tried in this order."""

LIMITS = {
    "cpu": "CPU time and the size of files are limited",
    "memory": f"so is the memory ({MEMORY // 2**30} GiB)",
    "network": "the network is cut off",
    "files": "all other files are read-only",
    "processes": "other processes are hidden",
}
NOT_HELD = {
    "cpu": "CPU time and the size of files are not limited",
    "memory": "the memory is not limited",
    "network": "the network was NOT cut off",
    "files": "files outside that folder were NOT protected from being written",
    "processes": "other processes of yours could be seen",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a notebook.

    Attributes:
        results: of the exercises found in it, by name.
        held: the names of `LIMITS` that held; None if nothing of it was run.
        trouble: why nothing is known, or nothing.
    """

    results: dict[str, Result]
    held: frozenset[str] | None = None
    trouble: str = ""


def run_notebook(notebook: Notebook, *, seconds: float = SECONDS) -> Outcome:
    """Check the functions of a notebook in another process.

    Where the process ends before its time, the exercise that it was at could not be run, and another process goes on
    with the next one.

    Args:
        notebook: only its code cells are used, and of them only what the checked functions need.
        seconds: for the code of each process.

    Returns:
        What came of it; nothing that the code does is raised, nor what the system refuses.
    """
    results: dict[str, Result] = {}
    held: frozenset[str] | None = None
    found: list[str] | None = None
    while True:
        session = _Session()
        try:
            _run(session, notebook, tuple(results), seconds)
        except (OSError, RuntimeError, MemoryError) as error:  # of no room, no process, no thread: others may find some
            session.ended = session.ended or printable(words(error))
        held = session.held if held is None or session.held is None else held & session.held
        results |= session.results
        found = found if session.found is None else session.found
        if found is None:
            return Outcome(results, held, session.ended and f"could not be run: {session.ended}")
        left = [name for name in found if name not in results]
        if not left:
            return Outcome({name: results[name] for name in EXERCISES if name in results}, held)
        at_fault = [session.begun] if session.begun in left else left  # nothing begun: the next would fail as well
        results |= {name: Result("failed", None, session.ended) for name in at_fault}


def describe(held: Sequence[frozenset[str]], seconds: float) -> str:
    """Return in one line how notebooks were run, and what this system could not do.

    Args:
        held: of each notebook of which something was run, the limits that held.
        seconds: the time limit.
    """
    if not held:
        return ""
    always = frozenset.intersection(*held)
    kept = [sentence for name, sentence in LIMITS.items() if name in always]
    amiss = [sentence for name, sentence in NOT_HELD.items() if name not in always]
    first = f"each in a process of its own for at most {seconds:g} s, in an empty folder, without your environment"
    return f"Notebooks were run {'; '.join([first, *kept])}." + f" On this system {'; '.join(amiss)}." * bool(amiss)


@dataclass
class _Session:
    """What a process told: the exercises it found, the one it began last, the results, and how it ended."""

    found: list[str] | None = None
    begun: str = ""
    results: dict[str, Result] = field(default_factory=dict)
    held: frozenset[str] | None = None
    ended: str = ""


def _run(session: _Session, notebook: Notebook, settled: Sequence[str], seconds: float) -> None:
    """Start a process and take down what it tells.

    Raises:
        OSError, RuntimeError, MemoryError: if the system gives no folder, no process or no thread for it.
    """
    if not sys.executable:
        raise OSError("Python does not know where its own program is (sys.executable); start it by its whole path")
    nonce, options = secrets.token_hex(16), _namespaces()
    with tempfile.TemporaryDirectory(prefix="csd_edu-grade-", ignore_cleanup_errors=True) as folder:
        task = {
            "nonce": nonce,
            "cells": list(notebook.cells),
            "counts": list(notebook.counts),
            "exercises": {name: exercise.parameters for name, exercise in EXERCISES.items()},
            "settled": list(settled),
            "path": _path(),
            "seconds": seconds,
            "memory": MEMORY,
            "namespaces": "--mount" in options,
        }
        process = subprocess.Popen(
            [*options, sys.executable, "-I", "-B", "-X", "utf8", inside.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        try:
            printed = _Tail(process.stderr)
            lines = _lines(process.stdout)
            threading.Thread(target=_send, args=(process.stdin, json.dumps(task).encode()), daemon=True).start()
            session.ended = _listen(session, lines, nonce, seconds) or _ending(process, printed)
        finally:
            _kill(process)


def _listen(session: _Session, lines: queue.Queue[bytes | None], nonce: str, seconds: float) -> str:
    """Take down what a process tells until it is at its end; return why it was stopped, or nothing."""
    deadline = time.monotonic() + START
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return "Python did not start in time" if session.held is None else f"it was stopped after {seconds:g} s"
        if line is None:
            return ""
        message = _message(line, nonce)
        if "end" in message:
            return "it ended"
        with contextlib.suppress(KeyError, TypeError, ValueError):  # forged, by who has found the nonce
            if session.held is None and "held" in message:
                session.held = frozenset(LIMITS) & frozenset(message["held"])
                deadline = time.monotonic() + seconds
            _take_down(session, message)


def _take_down(session: _Session, message: dict[str, Any]) -> None:
    if "found" in message and session.found is None:
        session.found = [name for name in EXERCISES if name in message["found"]]
    elif "begun" in message:
        session.begun = str(message["begun"])
    elif session.found is not None and message.get("done") in session.found:
        if message["state"] not in get_args(State):
            raise ValueError(message["state"])
        mistake = message["mistake"]
        told = printable(str(message["message"]), 500)
        session.results[message["done"]] = Result(message["state"], mistake and printable(str(mistake), 60), told)


def _message(line: bytes, nonce: str) -> dict[str, Any]:
    """Return a message of the process; nothing if the student's code has written the line."""
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict) and message.pop("nonce", None) == nonce:
            return message
    return {}


def _ending(process: subprocess.Popen[bytes], printed: _Tail) -> str:
    """Return how a process ended that was not stopped."""
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "it closed its output"
    last = printable(printed.text().strip().rpartition("\n")[2])
    killed = code in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9), 128 + 9, -getattr(signal, "SIGXCPU", 24))
    why = "its process was killed by the system, at a limit" if killed else f"its process ended with exit code {code}"
    return f"{why}{': ' * bool(last)}{last}"


class _Tail:
    """Reads a stream to its end, and keeps the last of it."""

    def __init__(self, stream: Any) -> None:
        self._kept = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with contextlib.suppress(OSError), stream:
            while part := stream.read1(2**16):
                self._kept = (self._kept + part)[-OUTPUT:]

    def text(self) -> str:
        self._thread.join(1)
        return self._kept.decode(errors="replace")


def _lines(stream: Any) -> queue.Queue[bytes | None]:
    """Return a queue that gets the lines of a stream, and None at its end or when there is too much."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        left = MESSAGES
        with contextlib.suppress(OSError), stream:
            while left > 0 and (line := stream.readline(left)):
                left -= len(line)
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _send(stream: Any, content: bytes) -> None:
    with contextlib.suppress(OSError), stream:
        stream.write(content)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, as far as it can be found."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _environment(folder: str) -> dict[str, str]:
    """Return all the environment that a process gets."""
    own = {
        "PATH": os.defpath,
        "HOME": folder,
        "USERPROFILE": folder,
        "TMPDIR": folder,
        "TEMP": folder,
        "TMP": folder,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "CSD_EDU_PROGRESS": str(Path(folder) / "progress.json"),
        "CSD_EDU_DATA": str(Path(folder) / "data"),
    }
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **own}


def _path() -> list[str]:
    """Return where csd_edu and packages of this user lie: an isolated Python does not look there by itself."""
    own: Iterable[str] = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [*own, str(Path(inside.__file__).resolve().parents[2])]


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """Return the command that cuts a process off as far as this system allows; empty if it does not.

    Raises:
        OSError: if the system gives no process just now: who comes later may be cut off.
    """
    unshare = shutil.which("unshare") if sys.platform == "linux" else None
    for options in UNSHARE if unshare else ():
        command = (str(unshare), *options, "--")
        with contextlib.suppress(FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
            tried = subprocess.run([*command, sys.executable, "-I", "-S", "-c", ""], capture_output=True, timeout=30)
            if tried.returncode == 0:
                return command
    return ()
