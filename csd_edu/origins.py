"""Where something comes from: the user's own code, a library, or from outside of the program, such as a file."""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from csd_edu.bytecode import Chain, Import

BUILT_IN = {"eval", "exec", "compile", "input", "globals", "__import__"}
"""Functions of Python's own that bring in what can't be read beforehand."""

OUTSIDE = {
    *("open", "environ", "environb", "getenv", "popen", "argv", "stdin", "modules", "import_module", "reload"),
    *("load", "loadtxt", "genfromtxt", "fromfile", "from_file", "memmap", "imread", "read_image", "read_file"),
    *("read_csv", "read_json", "read_parquet", "load_file", "safe_open", "safe_load", "full_load", "ZipFile"),
    *("listdir", "scandir", "walk", "glob", "iglob", "exists", "isfile", "isdir", "getsize", "getmtime", "stat"),
    *("cpu_count", "time", "time_ns", "now", "today", "urandom", "currentframe", "_getframe"),
}
"""What else does, in modules and classes of libraries: such as the content of a file."""

BRINGING = {"configparser", "fileinput", "h5py", "http", "linecache", "requests", "socket", "sqlite3", "subprocess"}
"""Libraries of which everything brings in something."""

OF_ANYTHING = {
    *("open", "read", "readline", "readlines", "read_text", "read_bytes", "iterdir", "glob", "rglob", "exists"),
    *("is_file", "is_dir", "stat", "urlopen", "urlretrieve", "f_globals", "f_locals", "__globals__"),
}
"""What brings in something whatever it is an attribute of, such as a path."""

_LIBRARIES = [
    Path(place).resolve()
    for place in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages(),
        str(Path(__file__).parent),
    )
]


def is_own(thing: Any) -> bool:
    """Return whether a function, class or module is the user's: not of Python, an installed package or this kit."""
    if isinstance(thing, FunctionType):  # functools.wraps gives it the module of what it is wrapped around
        made_in = thing.__globals__.get("__name__") or thing.__module__
        return any(_is_own(thing, module or "") for module in {made_in, thing.__module__})
    return _is_own(thing, thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or "")


def _is_own(thing: Any, module: str) -> bool:
    if module.partition(".")[0] == "csd_edu" or module.startswith("namedtuple_"):  # as collections.namedtuple names it
        return False
    if module == "__main__":
        return True
    file = thing.__code__.co_filename if isinstance(thing, FunctionType) else ""
    if not file or file.startswith("<"):  # typed in, or made by a library, such as a dataclass's __init__
        known = thing if isinstance(thing, ModuleType) else sys.modules.get(module)
        file = getattr(known, "__file__", None) or next(iter(getattr(known, "__path__", ())), file)
        if not file:  # typed at a prompt or in a notebook, or built in
            return module not in sys.modules
    return _is_own_file(file)


def is_module(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def own_module(name: str) -> ModuleType | None:
    """Return a module of the user's own, imported if it isn't yet; None for one of a library.

    Raises:
        Exception: if there is none of that name, or it can't be imported.
    """
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"there is no module {name}")
        places = [spec.origin] if spec.has_location else spec.submodule_search_locations
        if not all(place and _is_own_file(place) for place in places or ("",)):
            return None
    module = importlib.import_module(name)
    return module if is_own(module) else None


@cache
def _is_own_file(file: str) -> bool:
    if file.startswith("<"):  # typed in, or a part of Python
        return not file.startswith("<frozen")
    path = Path(file).resolve()
    of_library = any(path.is_relative_to(place) for place in _LIBRARIES)
    return not of_library and not {"site-packages", "dist-packages"} & set(path.parts)


def brought(
    uses: Mapping[str, Collection[Chain]], imports: Collection[Import], variables: Mapping[str, Any]
) -> set[str]:
    """Return what brings in something of all that a function reads: see `bytecode.variables`.

    Args:
        uses, imports: what it reads and imports.
        variables: the values of those variables that are no built-in functions, by name.
    """
    imported = [*uses["import"], *(taken for _, taken in imports)]
    found = {
        *(key for key in uses if key in BUILT_IN | {"open"} and key not in variables),
        *(key for chain in [*uses[""], *imported] for key in chain if key in OF_ANYTHING),
        *(key for chain in imported for key in chain if key in OUTSIDE),
        *(module for module, _ in imports if module.partition(".")[0] in BRINGING),
        *(_of_variable(key, value, chain) for key, value in variables.items() for chain in uses.get(key, ())),
    }
    return found - {""}


def _of_variable(path: str, value: Any, chain: Chain) -> str:
    """Return what brings in something of what is read of a variable, such as "np.load"; "" for nothing."""
    for key in chain:
        path = f"{path}.{key}"
        if isinstance(value, ModuleType | type):
            found, value = key in OUTSIDE and not is_own(value), getattr(value, key, None)
        else:
            found, value = key in OF_ANYTHING and not is_own(type(value)), None
        if found or brings(value):
            return path
    return ""


def brings(value: Any) -> bool:
    """Return whether a function or class of a library brings in something, by whatever name."""
    if not callable(value) or not hasattr(value, "__name__") or is_own(value):
        return False
    home = str(getattr(value, "__module__", None) or "").partition(".")[0].lstrip("_")
    return home in BRINGING or value.__name__ in (BUILT_IN if home == "builtins" else OUTSIDE)
