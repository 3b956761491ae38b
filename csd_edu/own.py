"""A file of a user's own: the module that it is, and in which of its lines an error was raised."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from csd_edu.system import words

FROM_FILE = "method_in_"
"""How the names of modules begin that are files of a user's own."""


class _FromText(SourceFileLoader):
    """A loader that compiles the text each time, and keeps no bytecode.

    Python takes the bytecode it kept for the text's, where size and second of both agree: 1.0 made 2.0 stays 1.0.
    """

    def path_stats(self, path: str) -> Mapping[str, float]:  # noqa: ARG002 (Python calls it so)
        raise OSError("the time of writing does not tell two texts apart")

    def source_to_code(self, data: Any, path: Any, **options: Any) -> CodeType:  # type: ignore[override]
        try:
            return super().source_to_code(data, path, **options)
        except (SyntaxError, ValueError) as error:  # the second of a file with bytes of value 0, before Python 3.12
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            said = error.msg if isinstance(error, SyntaxError) else error
            raise ValueError(f"{path}{line}: it is no Python: {said}") from None


def module_of(path: str) -> ModuleType:
    """Return the module that a file is, run anew.

    Raises:
        ValueError: if it can't be compiled; says in which line.
        Exception: that the file raises as it is run.
    """
    name = f"{FROM_FILE}{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromText(name, path))
    assert spec is not None  # as a loader is given
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def told(error: BaseException) -> str:
    """Return an error that was raised in a user's own code in a line, with the place; of all others nothing.

    A user's own is the file that was given, and what lies beside it.
    """
    files = [module.__file__ for name, module in sys.modules.items() if name.startswith(FROM_FILE) and module.__file__]
    folders = {Path(file).resolve().parent for file in files}
    places = [
        (frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if (path := Path(frame.f_code.co_filename)).is_file() and path.resolve().parent in folders
    ]
    if not places:
        return ""
    code, line = places[-1]
    function = "" if code.co_name == "<module>" else f", in {code.co_name}"
    said = " ".join(words(error).split())
    name = type(error).__name__
    return f"{code.co_filename}, line {line}{function}: {name}{f': {said}' * (said != name)}"
