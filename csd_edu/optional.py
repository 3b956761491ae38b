"""Packages that are imported where they are used: what is said if one can't be."""

from __future__ import annotations

import importlib
from typing import Any


def imported(module: str, purpose: str, instead: str) -> Any:
    """Return a module that only some purpose needs.

    Args:
        module: its name, such as "faiss".
        purpose: what needs it, such as "this index".
        instead: how to get it, or what to do without.

    Raises:
        ImportError: if it is not here, or fails as it is imported, in whatever way: one that was built for another
            NumPy, or finds no library of the system, raises nearly anything.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        why = " ".join(str(error).split()) or "no reason given"
        why = why if isinstance(error, ImportError) else f"{type(error).__name__}: {why}"
        name = module.partition(".")[0]
        raise ImportError(f"{purpose} needs {name}, which is not here ({why}): {instead}", name=name) from error
