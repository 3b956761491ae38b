"""State as a checkpoint holds it: any nest of values as named tensors and JSON, and back.

Numbers, texts, tensors, lists and dictionaries are written as they are, and what is there twice stays one. Whatever has
`state_dict` and `load_state_dict` (modules, optimisers, memories) and methods are written as their state, which is
filled back into the object that is there: it was made anew in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from csd_edu.methods.method import Method, has_state, own_state

CONSTANT = (FunctionType, type, ModuleType, torch.dtype, torch.device, range)
"""What never changes, and so need not be saved."""

STORED = {
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32),
    *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
}
"""The types of tensors that a file can hold."""

Scalar = bool | int | float | str | None


class Packer:
    """Writes values as JSON and named tensors, which `Unpacker` reads.

    Attributes:
        tensors: by name, collected from all values.
        made: what has to be made before it can be filled: modules, optimisers, memories, functions, by name.
        shared: names of tensors that share memory with one packed before, and the name of that one.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.made: dict[str, Any] = {}
        self.shared: dict[str, str] = {}
        self._met: dict[int, tuple[str, Any]] = {}  # by id: the name, and the object, so that no id is given twice
        self._memory: dict[int, list[tuple[int, int, str]]] = {}  # by storage: what is taken, from where to where

    def pack(self, value: Any, name: str) -> Any:
        """Return a value as JSON, and collect its tensors under names that begin with `name`.

        Raises:
            ValueError: if a part can't be saved, or is a tensor that holds on to its graph; names the part.
        """
        if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, float):
            return {"float": str(value)}
        if isinstance(value, CONSTANT):
            self.made[name] = value
            return {"constant": str(getattr(value, "__qualname__", value))}
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return {"tuple": [self.pack(part, f"{name}.{i}") for i, part in enumerate(value)]}
        if id(value) in self._met:
            return {"same": self._met[id(value)][0]}
        self._met[id(value)] = name, value
        if isinstance(value, Tensor):
            return self._tensor(value, name)
        if isinstance(value, list):
            return {"list": [self.pack(part, f"{name}.{i}") for i, part in enumerate(value)]}
        if isinstance(value, dict):
            if type(value) is not dict:
                self.made[name] = value
            return {"dict": [[self.pack(k, f"{name}, a key,"), self.pack(v, _part(name, k))] for k, v in value.items()]}
        if isinstance(value, Method):
            self.made[name] = value
            return {"attributes": {key: self.pack(v, f"{name}.{key}") for key, v in own_state(value).items()}}
        if isinstance(value, torch.Generator):
            self.made[name] = value
            return {"state": self.pack_state({"generator": value.get_state()}, name)}
        if has_state(value):
            self.made[name] = value
            packed: dict[str, Any] = {"state": self.pack_state(value.state_dict(), name)}
            if isinstance(value, nn.Module):
                packed["beside"] = self.pack_state(_beside(value), f"{name}.(beside)")
            return packed
        raise ValueError(
            f"{name} is a {type(value).__name__}, which a checkpoint can't hold; expected tensors (of an array: "
            "torch.from_numpy), modules, optimisers, csd.Memory, numbers, texts, or lists and dictionaries of these. "
            "What never changes can be a dataclass field"
        )

    def pack_state(self, state: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return as JSON what `state_dict` returns; whose it is makes it anew, whatever it holds."""
        made = dict(self.made)
        packed = {key: self.pack(value, f"{name}.{key}") for key, value in state.items()}
        self.made = made
        return packed

    def pack_method(self, owner: Any) -> dict[str, Any]:
        """Return the state of a method, or of any object to call, as JSON by attribute."""
        self._met[id(owner)] = "method", owner
        return {key: self.pack(value, f"method.{key}") for key, value in own_state(owner).items()}

    def _tensor(self, value: Tensor, name: str) -> dict[str, Any]:
        if value.grad_fn is not None:
            raise ValueError(
                f"{name} is a tensor that holds on to the graph of its step, and with it to ever more memory; "
                "expected x.detach(), if it is kept for a later step"
            )
        if value.layout != torch.strided or value.dtype not in STORED:
            what = value.dtype if value.layout == torch.strided else value.layout
            raise ValueError(f"{name} is a tensor of {what}, which a checkpoint can't hold; expected another type")
        strides = value.stride()
        if value.numel():
            start = value.data_ptr()
            last = sum((n - 1) * stride for n, stride in zip(value.shape, strides, strict=True))
            end = start + value.element_size() * (last + 1)
            taken = self._memory.setdefault(value.untyped_storage().data_ptr(), [])
            other = next((other for first, after, other in taken if start < after and first < end), None)
            taken.append((start, end, name))
            if other is not None:
                self.shared[name] = other
                value = value.clone()  # a file holds no memory twice
        self.tensors[name] = value
        packed = {"tensor": name, "on_cpu": value.device.type == "cpu", "learns": value.requires_grad}
        if isinstance(value, nn.Parameter):
            packed["parameter"] = True
        if strides != torch.empty(value.shape, device="meta").stride() and 0 not in strides:
            packed["strides"] = strides  # the layout decides in which order numbers are summed up
        return packed


class Unpacker:
    """Reads what `Packer` wrote, and fills it into what is there already wherever that is possible.

    Args:
        tensors: those that were collected.
        device: where tensors go that were not on the CPU.
        bare: nothing is there, and of a memory its state is wanted, as a dictionary.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device, *, bare: bool = False) -> None:
        self.tensors, self.device, self.bare = tensors, device, bare
        self._read: dict[str, Any] = {}  # by name
        self._filled: dict[int, Any] = {}  # by id: what was there, and has its value now

    def unpack(self, packed: Any, there: Any, name: str) -> Any:
        """Return the value that `Packer.pack` returned as JSON.

        Args:
            packed: the JSON.
            there: the value as it was made anew, or None.
            name: of the value, as it was given to the packer.

        Raises:
            ValueError: if something has a state to fill and is not there.
        """
        if not isinstance(packed, dict):
            return packed
        kind, content = next(iter(packed.items()))
        if kind == "float":
            return float(content)
        if kind == "constant":
            return content if self.bare else there
        if kind == "same":
            return self._read[content]
        if kind == "tuple":
            parts = there if isinstance(there, tuple) and len(there) == len(content) else [None] * len(content)
            numbered = enumerate(zip(content, parts, strict=True))
            return tuple(self.unpack(c, part, f"{name}.{i}") for i, (c, part) in numbered)
        if id(there) in self._filled:
            there = None  # it was one with another value when it was made, and isn't any more
        if kind == "tensor":
            return self._keep(name, self._tensor(packed, there))
        if kind == "list":
            found = self._keep(name, there if isinstance(there, list) else [])
            parts = [*found[: len(content)], *[None] * (len(content) - len(found))]
            numbered = enumerate(zip(content, parts, strict=True))
            found[:] = [self.unpack(c, part, f"{name}.{i}") for i, (c, part) in numbered]
            return found
        if kind == "dict":
            known = self._keep(name, there if isinstance(there, dict) else {})
            named = [(self.unpack(key, None, name), c) for key, c in content]
            values = {key: self.unpack(c, known.get(key), _part(name, key)) for key, c in named}
            known.clear()
            known.update(values)  # what is there may be a dictionary of another kind
            return known
        if self.bare:
            return self._keep(name, self.unpack_state(content, name))
        if there is None:
            raise ValueError(
                f"{name} was saved, and is not there to be filled; expected begin(self, setting) to make it"
            )
        self._keep(name, there)
        if kind == "attributes":
            self._fill(there, content, name)
            return there
        state = self.unpack_state(content, name)
        if isinstance(there, torch.Generator):
            there.set_state(state["generator"].cpu())
        elif state:  # a scaler that does nothing has none
            there.load_state_dict(state)
        if isinstance(there, torch.optim.Optimizer):
            lay_out(there)
        if isinstance(there, nn.Module):
            _set_beside(there, self.unpack_state(packed["beside"], f"{name}.(beside)"))
        return there

    def unpack_state(self, packed: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return the state that `Packer.pack_state` wrote, or the attributes of a method, by name."""
        return {key: self.unpack(content, None, f"{name}.{key}") for key, content in packed.items()}

    def fill_method(self, owner: Any, packed: Mapping[str, Any]) -> None:
        """Set the state of a method, as `Packer.pack_method` wrote it."""
        self._read["method"] = owner
        self._fill(owner, packed, "method")

    def _fill(self, owner: Any, packed: Mapping[str, Any], name: str) -> None:
        for key in own_state(owner).keys() - packed.keys():
            delattr(owner, key)
        for key, content in packed.items():
            setattr(owner, key, self.unpack(content, getattr(owner, key, None), f"{name}.{key}"))

    def _keep(self, name: str, value: Any) -> Any:
        self._filled[id(value)] = value
        self._read[name] = value
        return value

    def _tensor(self, packed: Mapping[str, Any], there: Any) -> Tensor:
        saved = self.tensors[packed["tensor"]]
        if "strides" in packed:
            saved = torch.empty_strided(saved.shape, packed["strides"], dtype=saved.dtype).copy_(saved)
        if isinstance(there, Tensor) and there.dtype == saved.dtype and there.requires_grad == packed["learns"]:
            if there.shape == saved.shape and there.stride() == saved.stride():
                with torch.no_grad():
                    return there.copy_(saved)  # the same tensor: an optimiser may hold it
            if isinstance(there, nn.Parameter):
                there.data = saved.to(there.device)
                return there
        found = saved.to("cpu" if packed["on_cpu"] else self.device)
        if "parameter" in packed:
            return nn.Parameter(found, requires_grad=packed["learns"])
        return found.requires_grad_(packed["learns"])


def plain(packed: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return by attribute what `Packer.pack_method` wrote, with the state of a memory as a dictionary."""
    return Unpacker(tensors, torch.device("cpu"), bare=True).unpack_state(packed, "method")


def _part(name: str, key: object) -> str:
    """Return the name of a part of a dictionary, another for each key."""
    return f"{name}.{key}" if isinstance(key, str) and "." not in key else f"{name}[{key!r}]"


def lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser's moments the memory layout of their parameter, which fused optimisers rely on."""
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


def _beside(module: nn.Module) -> dict[str, Any]:
    """Return what a module's own state leaves out: which parts train, their numbers and texts, buffers not to save."""
    saved = module.state_dict()
    return {
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
        "buffers": {name: value for name, value in module.named_buffers() if name not in saved},
        "numbers": {
            name: {key: value for key, value in vars(part).items() if isinstance(value, Scalar) and key[0] != "_"}
            for name, part in module.named_modules()
        },
    }


def _set_beside(module: nn.Module, beside: Mapping[str, Any]) -> None:
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in beside["frozen"])
    for name, value in beside["buffers"].items():
        module.get_buffer(name).copy_(value)
    for name, numbers in beside["numbers"].items():
        vars(module.get_submodule(name)).update(numbers)
