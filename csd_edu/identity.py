"""What a method computes, as far as it can be read: so that a run is continued only by the method that began it.

Read are the settings of objects, what `partial` binds, default values, closure variables, the globals that a function
uses, and the code of the user's own functions and classes, with that of their own helpers. The code is that which
Python runs, without names of files and numbers of lines, so that a comment changes nothing.
"""

from __future__ import annotations

import dataclasses
import dis
import importlib.util
import inspect
import os
import random
import site
import sys
import sysconfig
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import takewhile
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from csd_edu.methods.method import AnyMethod, Method, card_of, keeper, name_of, own_state

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Compiled code can be compared under the same version only."""

APPENDS = {"append", "extend", "insert", "add", "update", "appendleft"}
"""A list, set or dictionary that is only written to by these is a log, no setting: it grows with each step."""

LOG = (list, set, dict, deque)

LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
"""The instructions that read a variable from outside a function."""

UNREAD = {"__annotate__", "__annotate_func__", "_abc_impl", "card"}
"""What Python itself puts into a class, and a method's card, which computes nothing."""

HAS_DOCUMENTATION = getattr(inspect, "CO_HAS_DOCSTRING", 0)
"""A flag of compiled code, from Python 3.14 on."""

SEEDED: tuple[Any, ...] = tuple(getattr(draw, "__self__", None) for draw in (random.random, np.random.random))
"""The generators of the modules `random` and `numpy.random`, which training seeds for each epoch."""

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


def describe_method(method: AnyMethod, *, state: bool = True, made: Collection[str] = ()) -> dict[str, Any]:
    """Return what identifies a method, as JSON: its name, its card and, where there are any, settings and code.

    Args:
        method: a function, a `Method` or another object to call, perhaps with arguments bound by `functools.partial`.
        state: look at what it keeps, too; else at what must not change while it trains.
        made: attributes that its `begin` makes anew, which are not looked at.

    Returns:
        "name", with the settings that were changed, such as "csd(weight=0.5)"; "settings" by name; "code", a checksum
        of the user's own code, with the version of "python" that compiled it; "unreadable", the names of settings that
        can't be told apart from others; "card".

    Raises:
        ValueError: if `partial` binds positional arguments.
    """
    reader = _Reader(keeper(method), state, made)
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
    return _is_own_file(file)


def _is_own_file(file: str) -> bool:
    if file.startswith("<"):  # typed in, or a part of Python
        return not file.startswith("<frozen")
    path = Path(file).resolve()
    return file not in ("built-in", "frozen") and not any(path.is_relative_to(place) for place in _LIBRARIES)


class _Reader:
    """Walks through what a method is made of, and writes down what it finds."""

    def __init__(self, owner: Any, state: bool, made: Collection[str]) -> None:
        self.owner, self.state, self.made = owner, state, made
        self.settings: dict[str, Any] = {}
        self.code: set[str] = set()
        self.unreadable: set[str] = set()
        self.met: dict[int, tuple[str, Any]] = {}  # by id: the name, and the object, so that no id is given twice

    def read(self, name: str, value: Any) -> None:
        """Write down one value, and what it is made of, under names that begin with `name`."""
        plain = _plain(value)
        if plain is not None:
            self.settings[name] = plain
            return
        if id(value) in self.met:
            self.settings[name] = f"the same as {self.met[id(value)][0] or 'the method'}"
            return
        self.met[id(value)] = name, value
        if isinstance(value, partial):
            if value.args and name == "":
                raise ValueError(f"method {value!r} binds positional arguments; expected partial(method, weight=0.5)")
            self.read(name, value.func)
            self._each(name, [*((str(i), part) for i, part in enumerate(value.args)), *value.keywords.items()])
        elif inspect.ismethod(value):
            self.read(name, value.__self__)
            self.read(f"{name}.__func__" if name else value.__name__, value.__func__)
        elif isinstance(value, FunctionType):
            self._function(name, value)
        elif isinstance(value, type):
            self.settings[name] = f"class {value.__module__}.{value.__qualname__}"
            self._class(name, value)
        elif isinstance(value, ModuleType):
            self._module(name, value)
        elif isinstance(value, set | frozenset):
            self._set(name, value)
        elif name.count(".") >= DEEPEST:
            self.unreadable.add(name)
        elif isinstance(value, list | tuple | deque):
            self._each(name, ((str(i), part) for i, part in enumerate(value)))
        elif isinstance(value, Mapping):
            self._each(name, ((str(key), part) for key, part in value.items()))
        elif callable(getattr(value, "state_dict", None)):
            self._keeper(name, value)
        elif hasattr(value, "__dict__") or _slots(value):
            if name:
                self.settings[name] = type(value).__name__
            self._class(name, type(value))
            attributes = _slots(value) | getattr(value, "__dict__", {})
            left_out = self._left_out(value)
            self._each(name, ((key, part) for key, part in attributes.items() if key not in left_out))
        elif callable(value) and hasattr(value, "__name__"):  # built in
            self.settings[name] = f"{getattr(value, '__module__', None)}.{value.__name__}"
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, ModuleType | None) and all(owner is not known for known in SEEDED):
                self.read(f"{name}.__self__", owner)
        else:
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

    def _left_out(self, value: Any) -> set[str]:
        """Return the attributes of an object that are not read: its card and, if that is not wanted, its state."""
        is_state = not self.state and (value is self.owner or isinstance(value, Method))
        kept = own_state(value).items() if is_state else ()
        made = self.made if value is self.owner else ()
        return {"card", "__name__", *made, *(k for k, v in kept if not isinstance(v, Method | FunctionType | partial))}

    def _each(self, name: str, parts: Iterable[tuple[str, Any]]) -> None:
        for key, part in parts:
            self.read(f"{name}.{key}" if name else key, part)

    def _function(self, name: str, f: FunctionType) -> None:
        if name:
            self.settings[name] = f"function {f.__module__}.{f.__qualname__}"
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        inside = {key: cell.cell_contents for key, cell in cells if _is_filled(cell)}
        left_out = self._left_out(f)
        attributes = {key: value for key, value in vars(f).items() if key not in left_out}
        if not is_own(f):  # but it may be wrapped around a function that is
            for key, value in sorted({**inside, **attributes}.items()):
                if isinstance(value, FunctionType | partial) or is_own(type(value)):
                    self.read(f"{name}.{key}" if name else key, value)
            return
        self.code.add(f"{name} {_compiled(f.__code__)}")
        uses, imports = _variables(f.__code__)
        outside = {key: f.__globals__[key] for key in uses if key in f.__globals__}
        variables = {key: value for key, value in {**outside, **inside}.items() if not _is_log(value, uses.get(key))}
        for key in sorted(variables):
            self._variable(f"{name}.{key}" if name else key, variables[key], uses.get(key, {()}))
        arguments = inspect.signature(f, follow_wrapped=False).parameters.values()
        defaults = {p.name: p.default for p in arguments if p.default is not inspect.Parameter.empty}
        self._each(name, sorted({**defaults, **attributes}.items()))
        for key in sorted(imports):
            self._import(f"{name}.{key}" if name else key, key)

    def _variable(self, name: str, value: Any, chains: Collection[tuple[str, ...]]) -> None:
        """Read a variable; of a module of the user's own those attributes that are used: helpers.WEIGHT."""
        if not isinstance(value, ModuleType) or not is_own(value) or () in chains:
            self.read(name, value)
            return
        for chain in sorted(chains):
            part: Any = value
            path = name
            for key in chain:
                if isinstance(part, ModuleType) and is_own(part):
                    part, path = getattr(part, key, None), f"{path}.{key}"
            self.read(path, part)

    def _module(self, name: str, module: ModuleType) -> None:
        if is_own(module) and getattr(module, "__file__", None):
            self.settings[name] = f"module {module.__name__} {_crc(Path(module.__file__ or '').read_bytes())}"
            values = {key: _plain(value) for key, value in vars(module).items() if not key.startswith("__")}
            self.settings |= {f"{name}.{key}": value for key, value in values.items() if value is not None}

    def _import(self, name: str, module: str) -> None:
        """Read a module that a function imports itself; by its file if it isn't imported yet."""
        if module in sys.modules:
            self.read(name, sys.modules[module])
            return
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or (spec.origin is None and not spec.submodule_search_locations):
            self.unreadable.add(name)
        elif spec.origin is not None and _is_own_file(spec.origin):
            self.settings[name] = f"module {module} {_crc(Path(spec.origin).read_bytes())}"

    def _set(self, name: str, values: Collection[Any]) -> None:
        plain = [_plain(value) for value in values]
        if None in plain:
            self.unreadable.add(name)
        self.settings[name] = sorted(repr(value) for value in plain)

    def _keeper(self, name: str, value: Any) -> None:
        """Read what has a state: a module with the code of its parts, an optimiser, a memory."""
        self.settings[name] = type(value).__name__
        self._each(name, value.state_dict().items())
        if not isinstance(value, nn.Module):
            self._class(name, type(value))
        else:
            for key, part in value.named_modules():
                path = f"{name}.{key}" if key else name
                self._class(path, type(part))
                self.settings[f"{path}.(is)"] = f"{type(part).__name__}({part.extra_repr()})"
                own = vars(part).items() if is_own(type(part)) else ()
                self._each(path, ((k, v) for k, v in own if not k.startswith("_")))

    def _class(self, name: str, cls: type) -> None:
        for part in cls.__mro__:
            if part is object or (id(part) in self.met and part is not cls) or not is_own(part):
                continue
            self.met[id(part)] = self.met.get(id(part), (name, part))
            for key, value in sorted(vars(part).items()):
                value = _unwrapped(value)
                path = f"{name}.{key}" if name else key
                if isinstance(value, FunctionType):
                    if key not in UNREAD and id(value) not in self.met:
                        self.met[id(value)] = path, value
                        self._function(path, value)
                elif not key.startswith("__") and key not in UNREAD and not inspect.isdatadescriptor(value):
                    self.read(path, value)


def _plain(value: Any) -> Any:
    """Return a value that says itself what it is, as JSON; None for others."""
    if value is None:
        return "None"
    if isinstance(value, bool | int):
        return value
    if isinstance(value, str | float | complex | bytes | torch.dtype | torch.device | range | os.PathLike):
        return repr(value)
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"tensor {value.dtype} {tuple(value.shape)} {_crc(content)}"
    if isinstance(value, np.ndarray | np.generic):
        return f"array {value.dtype} {value.shape} {_crc(value.tobytes())}"
    if isinstance(value, torch.Generator):
        return f"generator {_crc(value.get_state().numpy().tobytes())}"
    if isinstance(value, random.Random):
        return f"generator {_crc(repr(value.getstate()).encode())}"
    if isinstance(value, np.random.Generator | np.random.RandomState):
        state = value.bit_generator.state if isinstance(value, np.random.Generator) else value.get_state()
        return f"generator {_crc(repr(state).encode())}"
    if isinstance(value, list | tuple) and all(isinstance(v, bool | int | float | str) for v in value):
        return repr(list(value))
    return None


def _shown(value: Any) -> str:
    """Return a value as a name shows it, without an address in memory."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__.lower()}{tuple(value.shape)}"
    if isinstance(value, partial) or callable(value):
        return name_of(value)
    if isinstance(value, set | frozenset):  # in an order that does not change with each start of Python
        return f"{{{', '.join(sorted(map(_shown, value)))}}}"
    text = str(value)
    return text if " at 0x" not in text and len(text) < 80 else type(value).__name__


def _same(a: Any, b: Any) -> bool:
    if _plain(a) is None:
        return a is b or (type(a) is type(b) and _shown(a) == _shown(b))
    return type(a) is type(b) and _plain(a) == _plain(b)


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


def _unwrapped(value: Any) -> Any:
    """Return the function of a static or class method, or of a property."""
    for wrapper, inside in ((staticmethod | classmethod, "__func__"), (property, "fget"), (cached_property, "func")):
        if isinstance(value, wrapper):
            return getattr(value, inside)
    return value


def _slots(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that are in slots."""
    places = (getattr(cls, "__slots__", ()) for cls in type(value).__mro__ if is_own(cls))
    names = [name for slots in places for name in ((slots,) if isinstance(slots, str) else slots)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _is_log(value: Any, chains: Collection[tuple[str, ...]] | None) -> bool:
    return isinstance(value, LOG) and bool(chains) and all(len(c) == 1 and c[0] in APPENDS for c in chains or ())


def _compiled(code: CodeType) -> str:
    """Return a function's compiled code as text: without its documentation, its file and its lines."""
    steps = []
    for i in dis.get_instructions(code):
        if i.opname in ("CACHE", "EXTENDED_ARG", "NOP"):
            continue
        value = i.argval
        if isinstance(value, CodeType):
            value = _compiled(value)
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        steps.append((i.opname, repr(value)))
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~HAS_DOCUMENTATION)
    return repr((steps, code.co_varnames, arguments))


def _variables(code: CodeType) -> tuple[dict[str, set[tuple[str, ...]]], set[str]]:
    """Return the variables from outside that a function and those inside it read, and the modules they import.

    Each variable comes with the attributes of attributes that are read of it: () where it is used as it is.
    """
    uses: dict[str, set[tuple[str, ...]]] = {}
    imports: set[str] = set()
    for part in _code_objects(code):
        instructions = [i for i in dis.get_instructions(part) if i.opname not in ("CACHE", "PRECALL", "PUSH_NULL")]
        for n, this in enumerate(instructions):
            if this.opname == "IMPORT_NAME":
                imports.add(this.argval)
            if this.opname in LOADS:
                after = takewhile(lambda i: i.opname in ("LOAD_ATTR", "LOAD_METHOD"), instructions[n + 1 :])
                uses.setdefault(this.argval, set()).add(tuple(i.argval for i in after))
    return uses, imports
