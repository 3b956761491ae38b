"""What a method computes, as far as it can be read: so that a run is continued only by the method that began it.

Read are the settings of objects, what `partial` binds, default values, closure variables, the globals that a function
uses, and the code of the user's own functions and classes, with that of their own helpers. The code is that which
Python runs, without names of files and numbers of lines, so that a comment changes nothing.
"""

from __future__ import annotations

import dataclasses
import dis
import inspect
import os
import site
import sys
import sysconfig
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_edu.methods.method import AnyMethod, card_of, keeper, name_of

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Compiled code can be compared under the same version only."""

APPENDS = {"append", "extend", "insert", "add", "update", "appendleft"}
"""A variable that is only written to by these is a log, no setting: it grows with each step."""

DEEPEST = 8
"""How many attributes of attributes are followed."""

_LIBRARIES = [
    Path(place).resolve()
    for place in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages(),
        str(Path(__file__).parent),
    )
]


def describe_method(method: AnyMethod, *, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return what identifies a method, as JSON: its name, its card and, where there are any, settings and code.

    Args:
        method: a function, a `Method` or another object to call, perhaps with arguments bound by `functools.partial`.
        skip: attributes of the object that are not looked at, as they are state.

    Returns:
        "name", with the settings that were changed, such as "csd(weight=0.5)"; "settings" by name; "code", a checksum
        of the user's own code, with the version of "python" that compiled it; "unreadable", the names of settings that
        can't be told apart from others; "card".

    Raises:
        ValueError: if `partial` binds positional arguments.
    """
    reader = _Reader(skip)
    reader.read("", method)
    changed = reader.changed(method)
    name = name_of(method) + (f"({', '.join(f'{key}={value}' for key, value in changed)})" if changed else "")
    card = card_of(method)
    found = {
        "settings": reader.settings,
        "code": f"{zlib.crc32(chr(10).join(sorted(reader.code)).encode()):08x}" if reader.code else None,
        "python": PYTHON if reader.code else None,
        "unreadable": sorted(reader.unreadable),
        "card": card.to_json() if card else None,
    }
    return {"name": name, **{key: value for key, value in found.items() if value}}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Compare two descriptions of a method.

    Returns:
        Where they differ, in words; and what could not be compared, in words.
    """
    differ: list[str] = []
    unknown: list[str] = []
    if saved["name"] != now["name"]:
        differ.append(f"its method has name {saved['name']!r}, now {now['name']!r}")
        return differ, unknown
    before, after = saved.get("settings", {}), now.get("settings", {})
    if not saved.keys() & {"settings", "code", "card"}:  # as version 0.1.0 wrote it
        if now.get("code"):
            unknown.append(
                "an older version saved the method's name only, so whether its settings and code are the same"
            )
        return differ, unknown
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            both = key in before and key in after
            differ.append(f"the method's {key} " + (f"was {before[key]}, now {after[key]}" if both else "has changed"))
    if saved.get("python") != now.get("python"):
        unknown.append(f"the code was compiled by Python {saved.get('python')}, so whether it is the same")
    elif saved.get("code") != now.get("code"):
        differ.append(f"the code of method {now['name']!r} has changed since")
    unknown += [f"the method's {key} can't be read, so whether it is the same" for key in now.get("unreadable", ())]
    return differ, unknown


def is_own(thing: Any) -> bool:
    """Return whether a function, class or module is the user's: not of Python, an installed package or this kit."""
    module = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or ""
    if module.partition(".")[0] == "csd_edu":
        return False
    if module == "__main__":
        return True
    if isinstance(thing, FunctionType):
        file = thing.__code__.co_filename
    else:
        file = getattr(thing if isinstance(thing, ModuleType) else sys.modules.get(module), "__file__", None) or ""
        if not file:  # typed at a prompt or in a notebook, or built in
            return module not in sys.modules
    path = Path(file).resolve()
    return not file.startswith("<frozen") and not any(path.is_relative_to(place) for place in _LIBRARIES)


class _Reader:
    """Walks through what a method is made of, and writes down what it finds."""

    def __init__(self, skip: Collection[str]) -> None:
        self.skip = {*skip, "card", "__name__"}
        self.settings: dict[str, Any] = {}
        self.code: set[str] = set()
        self.unreadable: set[str] = set()
        self.met: dict[int, Any] = {}  # by id; the objects are kept, so that no id is given twice

    def read(self, name: str, value: Any) -> None:
        """Write down one value, and what it is made of, under names that begin with `name`."""
        plain = _plain(value)
        if plain is not None:
            self.settings[name] = plain
            return
        if id(value) in self.met:
            return
        self.met[id(value)] = value
        if isinstance(value, partial):
            if value.args and name == "":
                raise ValueError(f"method {value!r} binds positional arguments; expected partial(method, weight=0.5)")
            self.read(name, value.func)
            self._each(name, [*((str(i), part) for i, part in enumerate(value.args)), *value.keywords.items()])
        elif inspect.ismethod(value):
            self.read(name, value.__self__)
            self.read(name, value.__func__)
        elif isinstance(value, FunctionType):
            self._function(name, value)
        elif isinstance(value, type):
            self._class(name, value)
        elif isinstance(value, ModuleType):
            if is_own(value) and value.__file__ is not None:
                self.settings[name] = f"module {value.__name__} {_crc(Path(value.__file__).read_bytes())}"
        elif isinstance(value, set | frozenset):
            self.settings[name] = sorted(map(_shown, value))
        elif name.count(".") >= DEEPEST:
            self.unreadable.add(name)
        elif isinstance(value, list | tuple):
            self._each(name, ((str(i), part) for i, part in enumerate(value)))
        elif isinstance(value, Mapping):
            self._each(name, ((str(key), part) for key, part in value.items()))
        elif callable(getattr(value, "state_dict", None)):
            self.settings[name] = type(value).__name__
            self._each(name, value.state_dict().items())
        elif hasattr(value, "__dict__"):
            if name:
                self.settings[name] = type(value).__name__
            self._class(name, type(value))
            skipped = self.skip if not name else ()
            self._each(name, ((key, part) for key, part in vars(value).items() if key not in skipped))
        elif not callable(value):  # a built-in function is known by the code that calls it
            self.settings[name] = type(value).__name__
            self.unreadable.add(name)

    def changed(self, method: Any) -> list[tuple[str, str]]:
        """Return the settings that are not the defaults, as they are shown in a name."""
        given: dict[str, Any] = {}
        while isinstance(method, partial):
            given = {**method.keywords, **given}
            method = method.func
        owner = keeper(method)
        if dataclasses.is_dataclass(owner) and not isinstance(owner, type):
            for field in dataclasses.fields(owner):
                value = getattr(owner, field.name)
                default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
                if field.init and not _same(value, default):
                    given[field.name] = value
        return [(key, _shown(value)) for key, value in sorted(given.items())]

    def _each(self, name: str, parts: Iterable[tuple[str, Any]]) -> None:
        for key, part in parts:
            self.read(f"{name}.{key}" if name else key, part)

    def _function(self, name: str, f: FunctionType) -> None:
        if not is_own(f):
            if name:
                self.settings[name] = f"{f.__module__}.{f.__qualname__}"
            return
        self.code.add(_compiled(f.__code__))
        uses, logs = _names_used(f.__code__)
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        inside = {key: cell.cell_contents for key, cell in cells if _is_filled(cell)}
        outside = {key: f.__globals__[key] for key in uses if key in f.__globals__}
        arguments = inspect.signature(f).parameters.values()
        defaults = {p.name: p.default for p in arguments if p.default is not inspect.Parameter.empty}
        variables = {key: value for key, value in {**outside, **inside}.items() if key not in logs}
        attributes = {key: value for key, value in vars(f).items() if key not in self.skip}
        self._each(name, sorted({**variables, **defaults, **attributes}.items()))

    def _class(self, name: str, cls: type) -> None:
        for part in cls.__mro__:
            if part is object or (id(part) in self.met and part is not cls) or not is_own(part):
                continue
            self.met[id(part)] = part
            for key, value in sorted(vars(part).items()):
                value = getattr(
                    value, "__func__", getattr(value, "fget", value)
                )  # static and class methods, properties
                if isinstance(value, FunctionType):
                    self._function(f"{name}.{key}" if name else key, value)
                elif not key.startswith("__") and _plain(value) is not None:
                    self.settings[f"{name}.{key}" if name else key] = _plain(value)


def _plain(value: Any) -> Any:
    """Return a value that says itself what it is, as JSON; None for others."""
    if value is None:
        return "None"
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | complex | bytes | torch.dtype | torch.device | range | os.PathLike):
        return repr(value)
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"tensor {value.dtype} {tuple(value.shape)} {_crc(content)}"
    if isinstance(value, np.ndarray | np.generic):
        return f"array {value.dtype} {value.shape} {_crc(value.tobytes())}"
    if isinstance(value, torch.Generator):
        return f"generator {_crc(value.get_state().numpy().tobytes())}"
    if isinstance(value, list | tuple) and all(isinstance(v, bool | int | float | str) for v in value):
        return repr(list(value))
    return None


def _shown(value: Any) -> str:
    """Return a value as a name shows it, without an address in memory."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__.lower()}{tuple(value.shape)}"
    if isinstance(value, partial) or callable(value):
        return name_of(value)
    text = str(value)
    return text if " at 0x" not in text and len(text) < 80 else type(value).__name__


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and _plain(a) is not None and _plain(a) == _plain(b))


def _crc(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (asking raises if there is nothing)
    except ValueError:
        return False
    return True


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects(constant)


def _compiled(code: CodeType) -> str:
    """Return a function's compiled code as text: without its documentation, its file and its lines."""
    first = code.co_consts[0] if code.co_consts and not code.co_name.startswith("<") else None
    documentation = first if isinstance(first, str) else None
    constants = [
        _compiled(c) if isinstance(c, CodeType) else repr(sorted(map(repr, c)) if isinstance(c, frozenset) else c)
        for c in code.co_consts
        if c is not documentation
    ]
    return repr((code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount))


def _names_used(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the globals that a function and those inside it use, and the variables that are logs."""
    used: set[str] = set()
    variables: dict[str, set[bool]] = {}
    for part in _code_objects(code):
        instructions = [i for i in dis.get_instructions(part) if i.opname not in ("CACHE", "PRECALL", "PUSH_NULL")]
        for this, after in zip(instructions, [*instructions[1:], None], strict=True):
            if this.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
                if this.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                    used.add(this.argval)
                appends = after is not None and after.opname in ("LOAD_METHOD", "LOAD_ATTR") and after.argval in APPENDS
                variables.setdefault(this.argval, set()).add(appends)
    return used, {name for name, kinds in variables.items() if kinds == {True}}
