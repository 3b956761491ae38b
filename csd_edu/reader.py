"""Reads what a method is made of, and all that it computes with.

Read are the settings of objects, what `partial` binds, default values, closure variables, the globals that a function
uses, and the code of the user's own functions and classes, with that of their own helpers. The code is that which
Python runs, without names of files and numbers of lines, so that a comment changes nothing. What can't be read is
named, and said when a run is continued.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import importlib.util
import inspect
import os
import random
import sys
import warnings
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from functools import cached_property, partial, partialmethod
from itertools import pairwise
from pathlib import Path, PurePath
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from csd_edu import bytecode, models
from csd_edu.bytecode import Chain
from csd_edu.methods.method import Method, keeper, name_of, own_state
from csd_edu.origins import brings, brought, is_module, is_own, own_module

APPENDS = {"append", "extend", "insert", "add", "update", "appendleft"}
"""A list, set or dictionary that is only written to by these is a log, no setting: it grows with each step."""

LOG = (list, set, dict, deque)

UNREAD = {
    "__annotate__",
    "__annotate_func__",
    "_abc_impl",
    "cache_token",
    "dispatch_cache",
    "dynamo_ctx",
    "_torchdynamo_wrapper_id",
}
"""What libraries themselves put into a class or around a function."""

SEEDED: tuple[Any, ...] = tuple(getattr(draw, "__self__", None) for draw in (random.random, np.random.random))
"""The generators of the modules `random` and `numpy.random`, which training seeds for each epoch."""

DEEPEST = 8
"""How many attributes of attributes are followed."""

SHOWS = {"IPython", "ipywidgets", "logging", "matplotlib", "plotly", "tqdm"}
"""Packages whose objects show something, and compute nothing."""

QUIET = {"_csv.writer", "_thread.RLock", "_thread.lock"}
"""Other objects that compute nothing."""

MANY = 1000
"""Parts of a list or dictionary that are written down one by one; of more, a checksum."""

COMPUTES = (
    "augmentation",
    "batches",
    "features",
    "few",
    "generator",
    "learn",
    "learner",
    "losses",
    "methods",
    "models",
    "small",
)
"""The parts of the kit that take part in training, in which a notebook may have put a function of its own."""

MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: its parts are read in another way."""

HOOKS = sorted(name for name in MODULE if name.endswith("_hooks"))

GETTERS = ("fget", "fset", "fdel")
"""What a property calls."""


class Reader:
    """Walks through what a method is made of, and writes down what it finds."""

    def __init__(self, owner: Any, state: bool, made: Collection[str]) -> None:
        self.owner, self.state, self.made = owner, state, made
        self.settings: dict[str, Any] = {}
        self.code: set[str] = set()
        self.unreadable: set[str] = set()
        self.shown: list[tuple[str, Any]] = []
        self.asked: set[Chain] = set()  # an attribute and what is read of it
        self.met: dict[int, tuple[str, Any]] = {}  # by id: the name, and the object, so that no id is given twice

    def read(self, name: str, value: Any) -> None:
        """Write down one value, and what it is made of, under names that begin with `name`."""
        if name.rpartition(".")[2] == "card" and (value is None or not is_plain(value)):  # which computes nothing
            return
        try:
            self._read(name, value)
        except Exception:  # an object of the user's may answer to questions with any error
            self._say_unreadable(name, value)

    def read_own(self, name: str, value: Any) -> None:
        """Write down a value if it is the user's own: a function or class, an object of such a class, a `partial`."""
        if isinstance(value, partial) or is_own(value if isinstance(value, FunctionType | type) else type(value)):
            self.read(name, value)

    def read_replaced(self) -> None:
        """Write down what a notebook has put in the place of something that training calls, of the kit or of torch."""
        for owner, inside in _places():
            for key, value in sorted(inside.items()):
                path = f"{owner}.{key}"
                if ORIGINAL.get(path, ORIGINAL) is value or key in UNREAD:
                    continue
                for part in _functions(value) or [value]:
                    if callable(part):
                        self.read_own(path, part)
                if path in ORIGINAL and path not in self.settings and owner.startswith(("csd_edu.", "torch.nn.func")):
                    self.read(path, value)  # a library's, or a number

    def read_shown(self) -> None:
        """Write down those numbers and texts of what is shown that the code reads, such as a slider's value."""
        for name, value in self.shown:
            for _, key in sorted(asked for asked in self.asked if asked[0] == name.rpartition(".")[2]):
                with contextlib.suppress(Exception):
                    if _plain(part := getattr(value, key)) is not None:
                        self.read(f"{name}.{key}", part)

    def checksum(self) -> str | None:
        """Return that of all code that was read; None without any."""
        return _crc("\n".join(sorted(self.code)).encode("utf-8", "replace")) if self.code else None

    def _say_unreadable(self, name: str, value: Any) -> None:
        self.settings[name] = type(value).__name__
        self.unreadable.add(name)

    def _read(self, name: str, value: Any) -> None:
        plain = _plain(value)
        if plain is not None:
            self.settings[name] = plain
            self._added(name, value)
            return
        if id(value) in self.met:
            self.settings[name] = f"the same as {self.met[id(value)][0] or 'the method'}"
            return
        self.met[id(value)] = name, value
        if brings(value) and not name.endswith(")"):  # what something could be made of again isn't called
            self.unreadable.add(f"{name}(…)")
        if isinstance(value, partial):
            self.read(name, value.func)
            self._class(name, type(value))
            arguments = getattr(getattr(value.func, "__code__", None), "co_varnames", value.keywords)
            named = {k if k in arguments else f"{k} (named)": part for k, part in value.keywords.items()}
            self._each(name, [*((str(i), part) for i, part in enumerate(value.args)), *named.items()])
        elif inspect.ismethod(value):
            self.read(name, value.__self__)
            self.read(f"{name}.__func__" if name else value.__name__, value.__func__)
        elif isinstance(value, FunctionType):
            self._function(name, value)
        elif isinstance(value, staticmethod | classmethod):
            self.read(name, value.__func__)
        elif isinstance(value, type):
            self.settings[name] = f"class {_full_name(value)}"
            self._class(name, value)
        elif isinstance(value, ModuleType):
            self._module(name, value)
        elif type(value).__module__.partition(".")[0] in SHOWS or _full_name(type(value)) in QUIET:
            self.settings[name] = _full_name(type(value))
            self.shown.append((name, value))
        elif name.count(".") >= DEEPEST or value is os.environ:
            self._say_unreadable(name, value)
        elif isinstance(value, set | frozenset):
            self._set(name, value)
            self._added(name, value)
        elif isinstance(value, list | tuple | deque):
            longest, n_settings = getattr(value, "maxlen", None), len(self.settings)
            self.settings[name] = type(value).__name__ + f" of at most {longest}" * (longest is not None)
            self._added(name, value)
            self._each(name, ((str(i), part) for i, part in enumerate(value)))
            self._shorten(name, len(value))
            if type(value) is tuple and len(self.settings) - n_settings < 100:  # equal ones of one cell are the same
                del self.met[id(value)]
        elif isinstance(value, Mapping):
            self._mapping(name, value)
            self._added(name, value)
            self._shorten(name, len(value))
        elif isinstance(value, np.ndarray):  # of objects
            self.read(name, value.tolist())
        elif isinstance(value, Enum):
            self.settings[name] = f"{_full_name(type(value))}.{value.name}"
            self._each(name, [("value", value.value)])
            self._added(name, value)
        elif isinstance(value, nn.Module):
            self._torch_module(name, value)
        elif callable(getattr(type(value), "state_dict", None)) and not is_own(type(value)):
            self.settings[name] = type(value).__name__
            kept = {key: part for key, part in getattr(value, "__dict__", {}).items() if key[0] != "_"}
            self._each(name, (value.state_dict() | kept).items())  # LambdaLR's functions are in no state_dict
        elif hasattr(value, "__dict__") or (is_own(type(value)) and _slots(value)):
            if name:
                self.settings[name] = type(value).__name__
            attributes = _slots(value) | getattr(value, "__dict__", {})
            left_out = self._left_out(value) | _computed_once(type(value))
            self._class(name, type(value), attributes.keys() - left_out)
            if not attributes and not is_own(type(value)):  # it keeps what it has where Python doesn't see it
                self._each(name, _made_of(value))
            if isinstance(wrapped := attributes.get("py_func"), FunctionType):  # compiled by numba
                attributes = {"py_func": wrapped}
            self._each(name, ((key, part) for key, part in attributes.items() if key not in left_out))
        elif callable(value) and hasattr(value, "__name__"):  # built in
            self.settings[name] = f"{getattr(value, '__module__', None)}.{value.__name__}"
            home = getattr(value, "__objclass__", None)
            if home is not None:  # such as dict.__getitem__
                self.settings[name] = f"{_full_name(home)}.{value.__name__}"
            elif getattr(value, "__module__", None) and is_own(value):  # compiled
                self.unreadable.add(name)
            owner = getattr(value, "__self__", None)
            if not isinstance(owner, ModuleType | None) and all(owner is not known for known in SEEDED):
                self.read(f"{name}.__self__", owner)
        else:
            self.settings[name] = type(value).__name__
            self._each(name, _made_of(value))

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

    def _added(self, name: str, value: Any) -> None:
        """Read what a notebook has added to a number, a tensor, a list …: attributes, the code of its own class."""
        attributes = getattr(value, "__dict__", {})
        if isinstance(value, Enum):
            attributes = {key: part for key, part in attributes.items() if not key.startswith("_")}
        if (attributes and attributes is not value) or is_own(type(value)):
            if id(value) in self.met and self.met[id(value)][0] != name:
                return
            self.met[id(value)] = name, value
            self._class(name, type(value))
            self._each(name, () if attributes is value else attributes.items())

    def _shorten(self, name: str, n: int) -> None:
        """Put a checksum in the place of a container's parts, if there are many."""
        if n > MANY:
            inside = sorted(key for key in self.settings if key.startswith(f"{name}."))
            content = repr([(key, self.settings.pop(key)) for key in inside]).encode("utf-8", "replace")
            self.settings[name] = f"{self.settings[name][:40]} of {n} parts {_crc(content)}"

    def _left_out(self, value: Any) -> set[str]:
        """Return the attributes of an object that are not read: if that is not wanted, its state."""
        is_state = not self.state and (value is self.owner or isinstance(value, Method))
        kept = own_state(value).items() if is_state else ()
        made = self.made if value is self.owner else ()
        return {
            "__name__",
            *made,
            *_unused(value),
            *(k for k, v in kept if not isinstance(v, Method | FunctionType | partial)),
        }

    def _each(self, name: str, parts: Iterable[tuple[str, Any]]) -> None:
        for key, part in parts:
            self.read(f"{name}.{key}" if name and key else name or key, part)

    def _function(self, name: str, f: FunctionType) -> None:
        if name:
            self.settings[name] = f"function {_full_name(f)}"
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        inside = {key: cell.cell_contents for key, cell in cells if _is_filled(cell)}
        left_out = self._left_out(f) | UNREAD
        attributes = {key: value for key, value in vars(f).items() if key not in left_out}
        if not is_own(f):  # but it may be wrapped around a function that is
            for key, value in sorted({**inside, **attributes}.items()):
                if key in UNREAD:
                    continue
                bound = key in inside and is_plain(value)  # such as the decay of a moving average
                if bound or isinstance(value, FunctionType | partial | Mapping) or is_own(type(value)):
                    self.read(f"{name}.{key}" if name else key, value)
            return
        self.code.add(f"{name} {bytecode.as_text(f.__code__)}")
        uses, imports = bytecode.variables(f.__code__)
        chains = [(key, *chain) if key else chain for key, found in uses.items() for chain in found]
        self.asked |= {pair for chain in chains for pair in pairwise(chain)}
        met = {key: f.__globals__[key] for key in uses if key in f.__globals__} | inside
        variables = {key: value for key, value in met.items() if not _is_log(value, uses.get(key))}
        for key in sorted(met.keys() - variables.keys()):  # the `append` of a class of one's own may compute
            self._class(f"{name}.{key}" if name else key, type(met[key]))
        found = brought(uses, imports, variables)
        self.unreadable |= {f"{name}.{path}(…)" if name else f"{path}(…)" for path in found}
        for key in sorted(variables):
            self._variable(f"{name}.{key}" if name else key, variables[key], uses.get(key, {()}))
        positional = f.__code__.co_varnames[: f.__code__.co_argcount]
        defaults = dict(zip(reversed(positional), reversed(f.__defaults__ or ()), strict=False))
        defaults |= f.__kwdefaults__ or {}
        given = {f"{k} (attribute)" if k in defaults.keys() | variables.keys() else k: v for k, v in attributes.items()}
        self._each(name, sorted({**defaults, **given}.items()))
        for module, taken in sorted(imports):
            self._import(name, module, taken, f.__globals__.get("__package__"))

    def _variable(self, name: str, value: Any, chains: Collection[Chain]) -> None:
        """Read a variable; of a module those attributes that are used, of the user's own: helpers.WEIGHT."""
        if not isinstance(value, ModuleType) or (is_own(value) and () in chains):
            self.read(name, value)
            return
        if not is_own(value):
            self.settings[name] = f"module {value.__name__}"
        for chain in sorted(chains):
            part: Any = value
            path = name
            for key in chain:
                if isinstance(part, ModuleType):
                    part, path = getattr(part, key, None), f"{path}.{key}"
            hung = is_plain(part) and value.__name__ not in sys.stdlib_module_names and not chain[-1].startswith("__")
            if is_own(value) or hung:
                self.read(path, part)
            elif isinstance(part, Mapping):  # such as csd.methods.NAMED
                for key, inside in part.items():
                    self.read_own(f"{path}.{_as_key(key)}", inside)
            else:
                self.read_own(path, part)

    def _module(self, name: str, module: ModuleType) -> None:
        """Read a module that is used as a whole: its file, and what stands in it now."""
        self.settings[name] = f"module {module.__name__}"
        if is_own(module):
            file = Path(getattr(module, "__file__", None) or "")
            parts = {key for key, value in vars(module).items() if isinstance(value, ModuleType)}
            inside = {key for key in parts if vars(module)[key].__name__ == f"{module.__name__}.{key}"}
            if file.suffix == ".py" and file.is_file():
                code = compile(file.read_bytes(), "", "exec", dont_inherit=True)
                self.code.add(f"{name} {bytecode.as_text(code)}")
                # another cell may have imported others of a package's modules, which are no part of this one's work
                inside &= {part for text in bytecode.names(code) for part in text.split(".")}
            left_out = parts - inside
            values = ((key, value) for key, value in vars(module).items() if not key.startswith("__"))
            self._each(name, ((key, value) for key, value in values if key not in left_out))

    def _import(self, name: str, module: str, taken: Collection[str], package: str | None) -> None:
        """Read a module of one's own that a function imports itself, as it would in the first step."""
        path = f"{name}.{module}" if name else module
        try:
            module = importlib.util.resolve_name(module, package)
            found = own_module(module)
            path = f"{name}.{module}" if name else module
            inside = [key for key in taken if hasattr(found, "__path__") and is_module(f"{module}.{key}")]
            parts = {key: own_module(f"{module}.{key}") for key in inside}
        except Exception:  # the user's own module may fail in any way
            self.unreadable.add(path)
            return
        self.settings[path] = f"module {module}"
        for key, part in ({"": found} | parts).items():
            if part is not None:
                self.read(f"{path}.{key}" if key else path, part)

    def _set(self, name: str, values: Collection[Any]) -> None:
        plain = [_plain(value) for value in values]
        self.settings[name] = sorted(
            _shown(value) if p is None else repr(p) for value, p in zip(values, plain, strict=True)
        )
        others = {_shown(value): value for value, p in zip(values, plain, strict=True) if p is None}
        if len(others) < plain.count(None):  # two that can't be told apart by their names have no order
            self.unreadable.add(name)
        else:
            self._each(name, sorted(others.items()))

    def _mapping(self, name: str, value: Mapping[Any, Any]) -> None:
        shown = [_as_key(key) for key in value]
        twice = {text for text, n in Counter(shown).items() if n > 1}
        names = [f"{text} ({i})" if text in twice else text for i, text in enumerate(shown)]
        self.settings[name] = f"{type(value).__name__} of {', '.join(names)}" if names else type(value).__name__
        self._each(name, zip(names, value.values(), strict=True))
        self._each(
            name, ((f"{text}.(key)", key) for text, key in zip(names, value, strict=True) if _plain(key) is None)
        )
        if isinstance(value, defaultdict):
            self.read(f"{name}.default_factory", value.default_factory)

    def _torch_module(self, name: str, module: nn.Module) -> None:
        """Read a torch module: its weights, the code and settings of its parts, and what was hung onto them."""
        self.settings[name] = type(module).__name__
        self._each(name, (dict(module.named_parameters()) | module.state_dict()).items())  # which may leave out some
        for key, part in module.named_modules():
            path = f"{name}.{key}" if key else name
            self._class(path, type(part))
            mode = "training" if part.training else "evaluating"
            shown = "" if is_own(getattr(type(part), "extra_repr", None)) else part.extra_repr()  # may show an address
            self.settings[f"{path}.(is)"] = f"{type(part).__name__}({'' if ' at 0x' in shown else shown}) {mode}"
            self.settings[f"{path}.(parts)"] = list(part._modules)
            frozen = [
                k for k, parameter in part._parameters.items() if parameter is not None and not parameter.requires_grad
            ]
            if frozen:
                self.settings[f"{path}.(frozen)"] = frozen
            self._each(path, ((k, part._buffers[k]) for k in sorted(part._non_persistent_buffers_set)))
            self._each(path, ((k, list(vars(part)[k].values())) for k in HOOKS if vars(part).get(k)))
            for k, v in vars(part).items():
                if k in UNREAD:
                    continue
                plain = _plain(v) is not None or isinstance(v, FunctionType)
                if k not in MODULE and (is_own(type(part)) or plain or not k.startswith("_")):
                    self.read(f"{path}.{k}", v)  # such as nn.CrossEntropyLoss's label_smoothing, which it doesn't show
                elif k not in MODULE:
                    self.read_own(f"{path}.{k}", v)

    def _class(self, name: str, cls: type, taken: Collection[str] = ()) -> None:
        """Read what the user's own among a class and its bases hold, which names are taken by an object's attributes.

        What is overridden counts, too: `super()` finds it. It stands under the name of its class.
        """
        paths = set(taken)
        for n, part in enumerate(cls.__mro__):
            if not is_own(part):
                continue
            if self.met.setdefault(id(part), (name, part))[0] != name:
                self.settings[f"{name}.(class {n})"] = f"the same as {self.met[id(part)][0] or 'the method'}"
                continue
            self.code.add(f"{name} {n} {[base.__name__ for base in part.__bases__]}")
            if is_own(type(part)):
                self._class(f"{name}.(metaclass)", type(part))
            asked = {n for v in vars(part).values() for f in _functions(v) for n in bytecode.names(f.__code__)}
            for key, value in sorted(vars(part).items()):
                if key in UNREAD:
                    continue
                if isinstance(value, staticmethod | classmethod):
                    value = value.__func__
                path = key
                while path in paths:
                    path = f"({part.__name__}).{path}"
                paths.add(path)
                path = f"{name}.{path}" if name else path
                functions = _functions(value)
                self._each(path, ((str(i) if i else "", function) for i, function in enumerate(functions)))
                if isinstance(value, property):
                    self._each(path, ((k, f) for k in GETTERS if (f := getattr(value, k)) and f not in functions))
                of_python = inspect.isdatadescriptor(value) and not is_own(type(value))
                computes = not key.startswith("__") or key in asked or callable(value)
                computes |= isinstance(value, partialmethod)
                if computes and not (functions or of_python):
                    self.read(path, value)


def _places() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield where a notebook may put something else, by name: modules and classes that take part in training."""
    parts = tuple(f"csd_edu.{part}" for part in COMPUTES)
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith(parts)]
    classes = [cls for module in modules for cls in vars(module).values() if isinstance(cls, type)]
    layers = [cls for module in (nn, torch.optim) for cls in vars(module).values() if isinstance(cls, type)]
    yield from ((module.__name__, vars(module)) for module in (*modules, torch, nn.functional, nn.init))
    for cls in dict.fromkeys([cls for cls in classes if cls.__module__.startswith("csd_edu.")] + layers + [Tensor]):
        yield f"{cls.__module__}.{cls.__name__}", vars(cls)


def is_plain(value: Any) -> bool:
    """Return whether a value says itself what it is: a number, a text, a tensor, …."""
    try:
        return _plain(value) is not None
    except Exception:  # such as a tensor without values
        return False


def _plain(value: Any) -> Any:
    """Return a value that says itself what it is, as JSON; None for others."""
    if value is None:
        return "None"
    if isinstance(value, np.generic) and isinstance(value, np.bool_ | np.number):
        return _plain(value.item())  # a number is one, whatever its type
    if isinstance(value, bool | int):
        return value
    if isinstance(value, str | float | complex | bytes | torch.dtype | torch.device | range | PurePath):
        return repr(value)
    if isinstance(value, Tensor):
        whole = value.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
        grows = " with gradient" if value.requires_grad else ""
        content = _crc(whole.reshape(-1).view(torch.uint8).numpy().tobytes())
        return f"tensor {value.dtype} {tuple(value.shape)}{grows} {content}"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"array {value.dtype} {value.shape} {_crc(value.tobytes())}"
    if isinstance(value, torch.Generator):
        return f"generator {_crc(value.get_state().numpy().tobytes())}"
    if isinstance(value, random.Random):
        return f"generator {_crc(repr(value.getstate()).encode())}"
    if isinstance(value, np.random.Generator | np.random.RandomState):
        state = value.bit_generator.state if isinstance(value, np.random.Generator) else value.get_state()
        return f"generator {_crc(repr(state).encode())}"
    if isinstance(value, list | tuple) and all(isinstance(v, bool | int | float | str) for v in value):
        text = repr(list(value) if isinstance(value, list) else tuple(value))
        return text if len(text) <= MANY else f"{text[:40]}… of {len(value)} parts {_crc(text.encode())}"
    return None


def _shown(value: Any) -> str:
    """Return a value as a name shows it, without an address in memory, and in the same order after each start."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__.lower()}{tuple(value.shape) if value.ndim else f'({value.item():g})'}"
    if isinstance(value, np.generic):
        value = value.item()
    try:
        if isinstance(value, partial) or callable(value):
            return name_of(value)
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(map(_shown, value)))}}}"
        text = bytecode.in_order(value) if isinstance(value, list | tuple | dict) else str(value)
    except Exception:  # an object of the user's may not say what it is
        return type(value).__name__
    in_order = isinstance(value, str | list | tuple | dict) or "{" not in text  # else there may be a set in it
    return text if in_order and " at 0x" not in text and len(text) < 80 else type(value).__name__


def _as_key(key: Any) -> str:
    """Return a dictionary's key as a name shows it, such that a number is told from its text."""
    if isinstance(key, str) and key.isidentifier() and key not in ("None", "True", "False"):
        return key
    plain = _plain(key)
    text = _shown(key) if plain is None else str(plain)
    return text if len(text) < 80 else f"{text[:40]}…{_crc(text.encode())}"


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


def _unused(value: Any) -> set[str]:
    """Return the settings of the kit's own methods that are None, as they are by default: as if there were none.

    A run from before there was such a setting is the same as one without it.
    """
    fields = [found for part in type(value).__mro__ if not is_own(part) for found in _fields_of(part)]
    return {found.name for found in fields if found.default is None and getattr(value, found.name, found) is None}


def _fields_of(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls) if issubclass(cls, Method) and dataclasses.is_dataclass(cls) else ()


def _functions(value: Any) -> list[FunctionType]:
    """Return the functions behind a part of a class: a function, a static or class method, a property."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property | cached_property):
        behind = [getattr(value, name, None) for name in (*GETTERS, "func")]
        return [function for function in behind if isinstance(function, FunctionType)]
    return [value] if isinstance(value, FunctionType) else []


def _computed_once(cls: type) -> set[str]:
    """Return the names of attributes that appear when they are first asked for."""
    return {key for part in cls.__mro__ for key, value in vars(part).items() if isinstance(value, cached_property)}


def _made_of(value: Any) -> list[tuple[str, Any]]:
    """Return what an object without attributes says it can be made of again, such as a pattern or an iterator.

    Raises:
        Exception: whatever such an object raises that can't be made again.
    """
    reduce = copyreg.dispatch_table.get(type(value))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        found = reduce(value) if reduce else value.__reduce_ex__(2)
    if isinstance(found, str):
        return [("(is)", found)]
    return [(f"({i})", list(part) if i > 2 else part) for i, part in enumerate(found) if part is not None]


def _full_name(value: Any) -> str:
    """Return the name of a function or class, with its library; the user's own may move from a notebook to a file."""
    return str(value.__qualname__ if is_own(value) else f"{value.__module__}.{value.__qualname__}")


def _slots(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that are in slots."""
    found = {}
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            hidden = f"_{cls.__name__.lstrip('_')}{name}" if private else name
            if hidden not in ("__dict__", "__weakref__") and hasattr(value, hidden):
                found[name] = getattr(value, hidden)
    return found


def _is_log(value: Any, chains: Collection[Chain] | None) -> bool:
    return isinstance(value, LOG) and bool(chains) and all(len(c) == 1 and c[0] in APPENDS for c in chains or ())


for _part in COMPUTES:
    importlib.import_module(f"csd_edu.{_part}")

ORIGINAL = {f"{owner}.{key}": value for owner, inside in _places() for key, value in inside.items()}
"""What is there before a notebook can put something else in its place."""

NETWORKS = tuple(models.BACKBONES.values())
"""The kit's own networks, which their names describe."""
