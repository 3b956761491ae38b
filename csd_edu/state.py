"""State as a checkpoint holds it: any nest of values as named tensors and JSON, and back.

Numbers, texts, tensors, lists and dictionaries are written as they are. Whatever has `state_dict` and `load_state_dict`
(modules, optimisers, memories) and methods are written as their state, which is filled back into the object that is
there: it was made anew in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from csd_edu.methods.method import Method, has_state, own_state

CONSTANT = (FunctionType, type, ModuleType, torch.dtype, torch.device, range)
"""What never changes, and so need not be saved."""


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON, and put its tensors into `tensors`, under names that begin with `name`.

    Raises:
        ValueError: if a part can't be saved, or is a tensor that holds on to its graph; names the part.
    """
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, float):
        return {"float": str(value)}
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            raise ValueError(
                f"{name} is a tensor that holds on to the graph of its step, and with it to ever more memory; "
                "expected x.detach(), if it is kept for a later step"
            )
        same = next((other for other, tensor in tensors.items() if tensor is value), None)
        tensors.setdefault(same or name, value)
        return {"tensor": same or name, "on_cpu": value.device.type == "cpu", "learns": value.requires_grad}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(part, f"{name}.{i}", tensors) for i, part in enumerate(value)]}
    if isinstance(value, Mapping):
        pairs = [[pack(key, f"{name}, a key,", tensors), pack(v, f"{name}.{key}", tensors)] for key, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, torch.Generator):
        return {"state": pack({"generator": value.get_state()}, name, tensors)}
    if isinstance(value, Method):
        return {"attributes": {key: pack(v, f"{name}.{key}", tensors) for key, v in own_state(value).items()}}
    if has_state(value):
        return {"state": pack(dict(value.state_dict()), name, tensors)}
    if isinstance(value, CONSTANT):
        return {"constant": None}
    raise ValueError(
        f"{name} is a {type(value).__name__}, which a checkpoint can't hold; expected tensors, modules, optimisers, "
        "csd.Memory, numbers, texts, or lists and dictionaries of these. What never changes can be a dataclass field"
    )


def unpack(packed: Any, there: Any, name: str, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """Return the value that `pack` wrote, filled into what is there already wherever that is possible.

    Args:
        packed: JSON from `pack`.
        there: the value as it was made anew, or None.
        name: of the value, for what is said if it doesn't fit.
        tensors: those that `pack` collected.
        device: where tensors go that were not on the CPU.

    Raises:
        ValueError: if something has a state to fill and is not there.
    """
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = ((k, v) for k, v in packed.items() if k not in ("on_cpu", "learns"))
    if kind == "float":
        return float(content)
    if kind == "constant":
        return there
    if kind == "tensor":
        saved = tensors[content]
        if isinstance(there, Tensor) and there.shape == saved.shape and there.dtype == saved.dtype:
            with torch.no_grad():
                return there.copy_(saved)  # the same tensor: an optimiser may hold it
        return saved.to("cpu" if packed["on_cpu"] else device).requires_grad_(packed["learns"])
    if kind in ("list", "tuple"):
        parts = there if isinstance(there, list | tuple) and len(there) == len(content) else [None] * len(content)
        pairs = enumerate(zip(content, parts, strict=True))
        filled = [unpack(c, p, f"{name}.{i}", tensors, device) for i, (c, p) in pairs]
        return tuple(filled) if kind == "tuple" else filled
    if kind == "dict":
        named = [(unpack(key, None, name, tensors, device), c) for key, c in content]
        known = there if isinstance(there, dict) else {}
        values = {key: unpack(c, known.get(key), f"{name}.{key}", tensors, device) for key, c in named}
        known.clear()
        known.update(values)  # what is there may be a dictionary of another kind
        return known
    if there is None:
        raise ValueError(f"{name} was saved, and is not there to be filled; expected begin(self, setting) to make it")
    if kind == "attributes":
        fill(there, content, name, tensors, device)
    elif isinstance(there, torch.Generator):
        there.set_state(unpack(content, None, name, tensors, torch.device("cpu"))["generator"])
    else:
        state = unpack(content, None, name, tensors, device)
        if state:  # a scaler that does nothing has none
            there.load_state_dict(state)
        if isinstance(there, torch.optim.Optimizer):
            lay_out(there)
    return there


def fill(owner: Any, packed: Mapping[str, Any], name: str, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the attributes of an object, as `pack` wrote each of them."""
    for key, content in packed.items():
        setattr(owner, key, unpack(content, getattr(owner, key, None), f"{name}.{key}", tensors, device))


def plain(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `pack` wrote without what it was in: the state of a memory as a dictionary."""
    if isinstance(packed, dict):
        for kind in ("state", "attributes"):
            if kind in packed:
                content = packed[kind]
                return plain(content if kind == "state" else {"dict": list(content.items())}, tensors)
        if "dict" in packed:
            return {plain(key, tensors): plain(value, tensors) for key, value in packed["dict"]}
        for kind in ("list", "tuple"):
            if kind in packed:
                return [plain(part, tensors) for part in packed[kind]]
    return unpack(packed, None, "state", tensors, torch.device("cpu"))


def lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser's moments the memory layout of their parameter, which fused optimisers rely on."""
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
