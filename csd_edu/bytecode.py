"""What compiled code says of itself: its steps as text, the variables it reads, the modules it imports."""

from __future__ import annotations

import dis
import inspect
from bisect import bisect_left
from collections.abc import Iterator
from itertools import takewhile
from types import CodeType

Chain = tuple[str, ...]
"""Attributes of attributes that are read of a variable, such as ("nn", "functional"); () where it is used as it is."""

Import = tuple[str, tuple[str, ...]]
"""A module, with a dot for each level if it is relative, and the names that are taken from it."""

LOADS = {
    "LOAD_GLOBAL",
    "LOAD_NAME",
    "LOAD_DEREF",
    "LOAD_CLASSDEREF",
    "LOAD_FROM_DICT_OR_DEREF",
    "LOAD_FROM_DICT_OR_GLOBALS",
}
"""The instructions that read a variable from outside a function."""

ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
"""The instructions that read an attribute."""

SILENT = {"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL"}
"""The instructions that compute nothing."""

NOTES = {"__doc__", "__firstlineno__", "__static_attributes__"}
"""What Python writes down about a class that is defined inside a function."""

KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)
"""The flags of compiled code that say how it is called: others say where it stands, or what its file imports."""

JUMPS = {*dis.hasjrel, *dis.hasjabs}


def as_text(code: CodeType) -> str:
    """Return a function's compiled code as text: without its documentation, its file and its lines."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in SILENT]
    kept = [
        i
        for i, after in zip(instructions, [*instructions[1:], None], strict=True)
        if not _is_note(i) and not (after is not None and _is_note(after))
    ]
    offsets = [i.offset for i in kept]
    steps = []
    for i in kept:
        value = i.argval
        if isinstance(value, CodeType):
            value = as_text(value)
        elif i.opcode in JUMPS:  # to an instruction, or to what computes nothing before it
            value = bisect_left(offsets, value)
        steps.append((i.opname, in_order(value)))
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & KINDS)
    return repr((steps, code.co_varnames, arguments, getattr(code, "co_exceptiontable", b"")))


def in_order(constant: object) -> str:
    """Return a constant as text, a set in an order that does not change with each start of Python."""
    if isinstance(constant, set | frozenset):
        return f"{{{', '.join(sorted(map(in_order, constant)))}}}"
    if type(constant) is tuple:
        return f"({', '.join(map(in_order, constant))}{',' * (len(constant) == 1)})"
    if type(constant) is list:
        return f"[{', '.join(map(in_order, constant))}]"
    if isinstance(constant, dict) and type(constant).__repr__ is dict.__repr__:
        return f"{{{', '.join(f'{in_order(key)}: {in_order(value)}' for key, value in constant.items())}}}"
    return repr(constant)


def variables(code: CodeType) -> tuple[dict[str, set[Chain]], set[Import]]:
    """Return the variables from outside that a function and those inside it read, and the modules they import.

    Each variable comes with what is read of it; under "import" is what is read of what they import, and under "" what
    is read of anything else, such as a result.
    """
    uses: dict[str, set[Chain]] = {"": set(), "import": set()}
    imports: set[Import] = set()
    for part in _and_those_inside(code):
        instructions = [i for i in dis.get_instructions(part) if i.opname not in SILENT]
        pairs = list(zip([None, *instructions], instructions, strict=False))
        imported = {i.argval for before, i in pairs if before and before.opname in ("IMPORT_NAME", "IMPORT_FROM")}
        for n, (before, this) in enumerate(pairs):
            if this.opname == "IMPORT_NAME":
                level, taken = (earlier.argval for earlier in instructions[n - 2 : n])
                imports.add(("." * level + this.argval, taken or ()))
            found = tuple(i.argval for i in takewhile(lambda i: i.opname in ATTRIBUTES, instructions[n + 1 :]))
            if this.opname in LOADS:
                uses.setdefault(this.argval, set()).add(found)
            elif this.opname in ATTRIBUTES and before and before.opname not in LOADS | ATTRIBUTES:
                uses["import" if before.argval in imported else ""].add((this.argval, *found))
    return uses, imports


def names(code: CodeType) -> set[str]:
    """Return the names of all globals, attributes and modules in code and the functions inside it."""
    return {name for part in _and_those_inside(code) for name in part.co_names}


def attributes(code: CodeType) -> set[str]:
    """Return the names of all attributes that a function and those inside it read."""
    return {i.argval for part in _and_those_inside(code) for i in dis.get_instructions(part) if i.opname in ATTRIBUTES}


def _and_those_inside(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _and_those_inside(constant)


def _is_note(instruction: dis.Instruction) -> bool:
    return instruction.opname == "STORE_NAME" and instruction.argval in NOTES
