"""State as a checkpoint holds it: whatever a method may keep comes back as it was, and the rest is refused by name."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

import csd_edu as csd
from csd_edu.methods import Method
from csd_edu.state import STORED, Packer, Unpacker, plain

CPU = torch.device("cpu")


def written(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return a value as a file gives it back: JSON and tensors."""
    packer = Packer()
    packed = json.loads(json.dumps(packer.pack(value, "x"), allow_nan=False))
    tensors = {name: tensor.detach().contiguous() for name, tensor in packer.tensors.items()}
    return packed, safetensors.torch.load(safetensors.torch.save(tensors))


def there_and_back(value: Any, there: Any = None) -> Any:
    packed, tensors = written(value)
    return Unpacker(tensors, CPU).unpack(packed, there, "x")


def bits(x: Tensor) -> list[int]:
    return x.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same: types, bits, and the layout of tensors that is not lost in a copy."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        about = [(x.dtype, x.shape, x.requires_grad, x.stride() if x.numel() > 1 else None) for x in (one, other)]
        return about[0] == about[1] and bits(one) == bits(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(sorted(STORED, key=str)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    n_bytes = math.prod(shape) * dtype.itemsize
    drawn = torch.randint(2 if dtype == torch.bool else 256, (n_bytes,), generator=generator, dtype=torch.uint8)
    tensor = drawn.view(dtype).reshape(shape)
    order = draw(st.permutations(range(len(shape))))
    return tensor.permute(order)  # the layout of its memory is another than its order of dimensions


keys = st.text(max_size=3) | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text(max_size=2))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | tensors()
nests = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3) | st.just(())
    ),
    max_leaves=12,
)


@given(nests)
def test_any_nest_comes_back_bit_by_bit(value):
    assert same(there_and_back(value), value)


@given(nests, nests)
def test_any_nest_comes_back_whatever_was_there(value, there):
    assert same(there_and_back(value, there), value)


@pytest.mark.parametrize("dtype", sorted(STORED, key=str), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
def test_tensors_of_every_type_and_shape(dtype, shape):
    value = torch.ones(shape).to(dtype)
    assert same(there_and_back(value), value)


def test_keys_that_look_alike_stay_apart():
    value = {"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1), 1: torch.ones(2), "1": torch.zeros(2), "[1]": None}
    assert same(there_and_back(value), value)


def test_a_channels_last_map_keeps_its_layout():
    value = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert there_and_back(value).is_contiguous(memory_format=torch.channels_last)
    there = torch.zeros(2, 3, 4, 4)
    assert there_and_back(value, there).is_contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------------- one thing under two names


def test_what_is_one_thing_stays_one():
    tensor, numbers, table = torch.rand(3), [1, 2], {"n": 1}
    a, b, c, d, e, f = there_and_back([tensor, tensor, numbers, numbers, table, table])
    a += 1
    c.append(3)
    e["n"] = 2
    assert same(b, tensor + 1)
    assert d == [1, 2, 3]
    assert f == {"n": 2}


def test_what_was_one_when_it_was_made_and_is_two_now_becomes_two():
    made = torch.zeros(2)
    numbers: list[int] = []
    there = {"a": made, "b": made, "c": numbers, "d": numbers}
    now = {"a": torch.ones(2), "b": torch.zeros(2), "c": [1], "d": [2]}
    assert same(there_and_back(now, there), now)


def test_what_was_two_when_it_was_made_and_is_one_now_becomes_one():
    there = {"a": torch.zeros(2), "b": torch.zeros(2)}
    both = torch.ones(2)
    found = there_and_back({"a": both, "b": both}, there)
    assert found["a"] is found["b"]


def test_a_list_inside_itself_and_a_method_that_holds_itself():
    value: list[Any] = [1]
    value.append(value)
    found = there_and_back(value)
    assert found[1] is found

    class Own(Method):
        pass

    method, again = Own(), Own()
    method.me, method.n = method, 3
    packer = Packer()
    packed = packer.pack_method(method)
    Unpacker(packer.tensors, CPU).fill_method(again, packed)
    assert again.me is again
    assert again.n == 3


def test_two_views_of_one_memory_are_noticed():
    x = torch.rand(4, 3)
    packer = Packer()
    packer.pack({"all": x, "some": x[1:2], "twice": x.detach()}, "x")
    assert packer.shared == {"x.some": "x.all", "x.twice": "x.all"}
    packer = Packer()
    packer.pack([x[0], x[1]], "x")
    assert not packer.shared, "two rows are no memory in common"


def test_the_tensor_that_is_there_is_filled_as_an_optimiser_may_hold_it():
    there = torch.zeros(3, requires_grad=True)
    found = there_and_back(torch.ones(3, requires_grad=True), there)
    assert found is there
    assert there.tolist() == [1, 1, 1]
    assert there_and_back(torch.ones(3), there) is not there, "one that learns is another"


def test_parameters_stay_parameters():
    grown = nn.Parameter(torch.rand(5, 2))
    assert isinstance(there_and_back(grown), nn.Parameter)
    there = nn.Parameter(torch.rand(3, 2))
    found = there_and_back(grown, there)
    assert found is there
    assert torch.equal(found, grown)
    frozen = there_and_back(nn.Parameter(torch.rand(2), requires_grad=False))
    assert isinstance(frozen, nn.Parameter)
    assert not frozen.requires_grad


# ---------------------------------------------------------------------- what has a state of its own


class Net(nn.Module):
    """A module with all that `state_dict` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.parts = nn.ModuleDict({"w": nn.Linear(2, 2)})
        self.register_buffer("kept_out", torch.zeros(2), persistent=False)
        self.steps = 0


def test_a_module_with_what_its_own_state_leaves_out():
    net, there = Net(), Net()
    net.body(torch.rand(2, 3, 5, 5))
    net.steps = 7
    net.kept_out += 3
    net.body.eval()
    net.body[0].requires_grad_(False)
    found = there_and_back(net, there)
    assert found is there
    assert same(dict(found.state_dict()), dict(net.state_dict()))
    assert found.steps == 7
    assert found.kept_out.tolist() == [3, 3]
    assert [m.training for m in found.modules()] == [m.training for m in net.modules()]
    assert [p.requires_grad for p in found.parameters()] == [p.requires_grad for p in net.parameters()]


def test_a_module_with_tied_weights():
    def tied() -> nn.Module:
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        net[1].weight = net[0].weight
        return net

    net, there = tied(), tied()
    found = there_and_back(net, there)
    assert found[0].weight is found[1].weight
    assert torch.equal(found[0].weight, net[0].weight)


def stepped(optimizer: torch.optim.Optimizer, network: nn.Module, n: int = 2) -> None:
    for k in range(n):
        images = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(k)).contiguous(
            memory_format=torch.channels_last
        )
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()


OPTIMIZERS = {
    "Adam": partial(torch.optim.Adam, lr=0.01, weight_decay=1e-3),
    "Adam, fused": partial(torch.optim.Adam, lr=0.01, fused=True),
    "AdamW, amsgrad": partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
    "SGD": partial(torch.optim.SGD, lr=0.01),
    "SGD with momentum": partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True),
    "SGD, fused": partial(torch.optim.SGD, lr=0.01, momentum=0.9, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_of_channels_last_parameters_goes_on_to_the_same_bits(name):
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
        return network, OPTIMIZERS[name](network.parameters())

    network, optimizer = fresh()
    stepped(optimizer, network)
    optimizer.param_groups[0]["lr"] = 0.003
    found = there_and_back({"net": network, "opt": optimizer}, dict(zip(("net", "opt"), fresh(), strict=True)))
    assert found["opt"].param_groups[0]["lr"] == 0.003
    for parameter, moments in found["opt"].state.items():
        assert all(m.stride() == parameter.stride() for m in moments.values() if m is not None and m.ndim == 4)
    stepped(optimizer, network)
    stepped(found["opt"], found["net"])
    assert all(map(torch.equal, network.parameters(), found["net"].parameters()))


def test_a_schedule_of_learning_rates_goes_on():
    def fresh() -> dict[str, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        return {"opt": optimizer, "schedule": torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])}

    now = fresh()
    for _ in range(3):
        now["opt"].step()
        now["schedule"].step()
    found = there_and_back(now, fresh())
    for kept in (now, found):
        kept["opt"].step()
        kept["schedule"].step()
    assert found["opt"].param_groups[0]["lr"] == now["opt"].param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_memory_goes_on_as_if_nothing_had_happened(balanced):
    memory = csd.Memory(5, balanced=balanced)
    rows = {"images": torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8), "labels": torch.arange(9) % 3}
    memory.add(**rows, logits=torch.rand(9, 2))
    memory.add(**rows, logits=torch.rand(9, 4))
    found = there_and_back(memory, csd.Memory(5, balanced=balanced))
    for kept in (memory, found):
        torch.manual_seed(0)
        kept.add(**rows, logits=torch.rand(9, 4))
    assert same(found.state_dict(), memory.state_dict())
    assert found.draw(3).logits.shape == (3, 4)


def test_an_empty_memory_a_bank_and_a_generator():
    assert len(there_and_back(csd.Memory(3), csd.Memory(3))) == 0
    bank = csd.Bank(4, 2)
    bank.write(torch.tensor([1, 3]), torch.rand(2, 2))
    assert torch.equal(there_and_back(bank, csd.Bank(4, 2)).values, bank.values)
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    found = there_and_back(generator, torch.Generator())
    assert torch.equal(torch.rand(4, generator=found), torch.rand(4, generator=generator))


def test_a_loss_scale_and_one_that_does_nothing():
    for enabled in (False, True):
        scaler = torch.amp.GradScaler("cpu", enabled=enabled, init_scale=512.0)
        scaler.scale(torch.ones(1))
        found = there_and_back(scaler, torch.amp.GradScaler("cpu", enabled=enabled))
        assert found.state_dict() == scaler.state_dict()


@dataclass
class Inner(Method):
    weight: float = 1.0

    def begin(self, _setting: csd.methods.Setting) -> None:
        self.n, self.memory = 0, csd.Memory(3)


@dataclass
class Outer(Method):
    inner: Method
    nets: int = 2

    def begin(self, setting: csd.methods.Setting) -> None:
        self.inner.begin(setting)
        self.list = [nn.Linear(2, 2) for _ in range(self.nets)]
        self.by_class: defaultdict[int, list[int]] = defaultdict(list)


def test_a_method_of_methods_with_lists_of_modules_and_a_dictionary_that_makes_its_values():
    method, again = Outer(Inner(2.0)), Outer(Inner(2.0))
    for each in (method, again):
        each.begin(None)
    method.inner.n = 5
    method.inner.memory.add(x=torch.ones(1, 2))
    method.by_class[4].append(7)
    packer = Packer()
    packed = json.loads(json.dumps(packer.pack_method(method)))
    Unpacker(packer.tensors, CPU).fill_method(again, packed)
    assert again.inner.n == 5
    assert len(again.inner.memory) == 1
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(again.list, method.list, strict=True))
    again.by_class[9].append(1)
    assert again.by_class == {4: [7], 9: [1]}
    assert plain(packed, packer.tensors)["inner"]["memory"]["n_seen"] == 1
    assert plain(packed, packer.tensors)["by_class"] == {4: [7]}


def test_an_attribute_that_is_gone_is_gone_again():
    method, again = Inner(), Inner()
    for each in (method, again):
        each.begin(None)
    del method.n
    packer = Packer()
    Unpacker(packer.tensors, CPU).fill_method(again, packer.pack_method(method))
    assert not hasattr(again, "n")


# ---------------------------------------------------------------------- what is refused

Point = namedtuple("Point", "x y")


def grown() -> Tensor:
    return torch.ones(2, requires_grad=True) * 2


REFUSED: dict[str, Any] = {
    "set": {1, 2},
    "frozenset": frozenset([1]),
    "TextIOWrapper": open(__file__, encoding="utf-8"),  # noqa: SIM115 (it is the file that is refused)
    "SimpleNamespace": SimpleNamespace(loss=lambda x: x),
    "deque": deque([1]),
    "ndarray": np.ones(2),
    "float32": np.float32(1),
    "Point": Point(1, 2),
    "generator": (x for x in [1]),
    "bytes": b"1",
    "complex": 1j,
    "object": object(),
    "partial": partial(print, 1),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_checkpoint_holds_is_refused_by_its_name(kind):
    with pytest.raises(
        ValueError, match=rf"^method\.history\.a\.3 is a {kind}, which a checkpoint can't hold; expected"
    ):
        Packer().pack({"a": [0, 1, 2, REFUSED[kind]]}, "method.history")


@pytest.mark.parametrize(
    ("nest", "name"),
    [
        ([1, 2, 3, grown()], r"method\.history\.3"),
        ({"old": [0, {"last": grown()}]}, r"method\.history\.old\.1\.last"),
        ({3: (grown(),)}, r"method\.history\[3\]\.0"),
    ],
)
def test_a_tensor_with_its_graph_is_refused_wherever_it_is(nest, name):
    with pytest.raises(ValueError, match=rf"^{name} is a tensor that holds on to the graph of its step.*x\.detach"):
        Packer().pack(nest, "method.history")


@pytest.mark.parametrize("tensor", [torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.complex128)], ids=str)
def test_a_tensor_that_no_file_holds_is_refused(tensor):
    with pytest.raises(ValueError, match=r"^method\.x is a tensor of torch\..*expected another type"):
        Packer().pack(tensor, "method.x")


def test_what_was_not_made_anew_is_named():
    packed, saved = written({"net": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"^x\.net was saved, and is not there to be filled; expected begin"):
        Unpacker(saved, CPU).unpack(packed, None, "x")
