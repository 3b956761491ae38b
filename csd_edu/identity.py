"""What identifies a method, as far as it can be read: so that a run is continued only by the method that began it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from csd_edu import bytecode
from csd_edu.methods.method import AnyMethod, card_of, keeper, name_of
from csd_edu.reader import NETWORKS, Reader, is_plain

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Compiled code can be compared under the same version only."""

READER = 4
"""Raised when code and what it uses are written down in another way, which can't be compared with the one before."""


def describe_method(
    method: AnyMethod, *, state: bool = True, made: Collection[str] = (), network: Any = None
) -> dict[str, Any]:
    """Return what identifies a method, as JSON: its name, its card and, where there are any, settings and code.

    Args:
        method: a function, a `Method` or another object to call, perhaps with arguments bound by `functools.partial`.
        state: look at what it keeps, too; else at what must not change while it trains.
        made: attributes that its `begin` makes anew, which are not looked at.
        network: what builds the network that it trains, which is read with it if it is none of the kit's.

    Returns:
        "name", with the settings that were changed, such as "csd(weight=0.5)"; "settings" by name; "code", a checksum
        of the user's own code, with the version of "python" that compiled it; that of the "reader"; "unreadable", the
        names of settings that can't be told apart from others; "card".

    Raises:
        ValueError: if `partial` binds positional arguments.
    """
    bound = method
    while isinstance(bound, partial):
        if bound.args:
            raise ValueError(f"method {method!r} binds positional arguments; expected partial(method, weight=0.5)")
        bound = bound.func
    reader = Reader(keeper(method), state, made)
    reader.read("", method)
    if all(network is not known for known in NETWORKS):
        reader.read_own("network", network)
    reader.read_replaced()
    reader.read_shown()
    changed = reader.changed(method)
    name = name_of(method) + (f"({', '.join(f'{key}={value}' for key, value in changed)})" if changed else "")
    card = card_of(method)
    found = {
        "settings": reader.settings,
        "code": reader.checksum(),
        "python": PYTHON if reader.code else None,
        "reader": READER,
        "unreadable": sorted(reader.unreadable),
        "card": card.to_json() if card else None,
    }
    return {"name": name, **{key: value for key, value in found.items() if value}}


def converts(method: AnyMethod, name: str, value: Any) -> bool:
    """Return whether a method's `begin` makes an attribute out of what it was given: a tensor of a number, say."""
    code = getattr(getattr(type(keeper(method)), "begin", None), "__code__", None)
    return is_plain(value) and code is not None and name in bytecode.attributes(code)


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
    if not saved.keys() & {"settings", "code", "card", "reader"}:  # as version 0.1.0 wrote it
        if now.get("code"):
            unknown.append(
                "an older version saved the method's name only, so whether its settings and code are the same"
            )
        return differ, unknown
    another = saved.get("reader") != now.get("reader")
    if another and (now.get("code") or after.keys() - before.keys()):
        unknown.append("another version of csd_edu read its settings and code, so whether they are the same")
        if saved.get("code") and now.get("code"):
            return differ, unknown
    for key in sorted(before.keys() if another else before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            both = key in before and key in after
            what = key if key.startswith(("csd_edu.", "torch.")) else f"the method's {key}"
            differ.append(f"{what} was {before[key]}, now {after[key]}" if both else f"{what} has changed")
    codes = saved.get("code"), now.get("code")
    if all(codes) and saved["python"] != now["python"]:
        unknown.append(f"the code was compiled by Python {saved['python']}, so whether it is the same")
    elif codes[0] != codes[1] and (all(codes) or not (differ or unknown)):
        differ.append(f"the code of method {now['name']!r} has changed since")
    for key in now.get("unreadable", ()):
        what = f"what the method gets from {key}" if key.endswith("(…)") else f"the method's {key}"
        unknown.append(f"{what} can't be read, so whether it is the same")
    return differ, unknown
