"""What identifies a method: nothing that changes what it computes goes unnoticed, and nothing else counts."""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
import random
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import csd_edu as csd
from csd_edu.identity import describe_method, differences
from csd_edu.methods import Method
from csd_edu.methods.method import own_state
from csd_edu.reader import is_own
from tests.conftest import TINY, striped

HERE = Path(__file__).parent


def compare(one: Any, other: Any) -> tuple[list[str], list[str]]:
    return differences(describe_method(one), describe_method(other))


def differ(one: Any, other: Any) -> bool:
    """Return whether two methods are told apart, both ways round."""
    found = bool(compare(one, other)[0])
    assert bool(compare(other, one)[0]) == found
    return found


def written(source: str, *, name: str = "mine", file: str = "<a cell>", **names: Any) -> Any:
    """Return a method as a student's text makes it."""
    names = {"__name__": "student", "csd": csd, "torch": torch, **names}
    exec(compile(textwrap.dedent(source), file, "exec"), names)
    return names[name]


def imported(folder: Path, name: str, source: str) -> ModuleType:
    """Write a module of the student's own, and import it."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)  # of a text of the same second and size
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _modules_forgotten():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and "pytest" in (sys.modules[name].__file__ or ""):
            del sys.modules[name]


# ---------------------------------------------------------------------- code


BASE = """
def mine(step):
    weight = 2.0
    return {"ce": weight * step.logits.square().mean()}
"""


@pytest.mark.parametrize(
    "source",
    [
        BASE,
        BASE.replace("weight = 2.0", "weight = 2.0  # a comment"),
        BASE.replace("    weight", "    # a comment\n\n\n    weight"),
        "# a header\n\n\n" + BASE,
        BASE.replace("    weight = ", '    """What it does."""\n    weight = '),
        BASE.replace("    weight = ", '    """Another\n    text."""\n\n    weight = '),
        BASE.replace("(step)", "(step: object) -> dict"),
    ],
)
def test_comments_documentation_and_blank_lines_change_nothing(source):
    assert compare(written(BASE), written(source, file="another.py")) == ([], [])


@pytest.mark.parametrize(
    "source",
    [
        BASE.replace("2.0", "2.5"),
        BASE.replace("2.0", "2"),
        BASE.replace('"ce"', '"other"'),
        BASE.replace("square", "abs"),
        BASE.replace("weight *", "weight +"),
        BASE.replace("step.logits", "step.features"),
        BASE.replace("mean()", "mean(0).sum()"),
        BASE.replace("weight * step", "weight * (lambda x: x)(1) * step"),
    ],
)
def test_any_other_code_is_another_method(source):
    assert compare(written(BASE), written(source))[0] == ["the code of method 'mine' has changed since"]


def test_a_function_without_documentation_and_one_with_it_whose_text_is_used_too():
    one = written('def mine(step):\n    """ce"""\n    return {"ce": step.logits.mean(), "also": 1}')
    other = written('def mine(step):\n    """ce"""\n    return {"kd": step.logits.mean(), "also": 1}')
    assert differ(one, other)


def test_functions_inside_a_function_count():
    source = """
    def mine(step):
        def scaled(x):
            "Inside."
            return x * 2
        return {"ce": scaled(step.logits.mean())}
    """
    assert differ(written(source), written(source.replace("* 2", "* 3")))
    assert not differ(written(source), written(source.replace("Inside", "Within")))


def test_two_lambdas_on_one_line():
    one, other = (lambda step: {"ce": step.logits.mean()}), (lambda step: {"ce": step.logits.sum()})
    assert differ(one, other)


def test_the_code_of_another_python_is_said_not_to_be_known():
    saved = describe_method(written(BASE)) | {"python": "3.0", "code": "0"}
    different, unknown = differences(saved, describe_method(written(BASE)))
    assert not different
    assert "the code was compiled by Python 3.0" in unknown[0]


# ---------------------------------------------------------------------- values around a function


def with_closure(value: Any) -> Any:
    def mine(step):
        return {"ce": value * step.logits.mean()}

    return mine


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1.0, 2.0),
        (1.0, 1),
        (0.1, 0.1 + 2e-17),
        (None, "None"),
        ("1.0", 1.0),
        (True, 2),
        ("a" * 100, "a" * 99 + "b"),
        (torch.zeros(3), torch.tensor([0.0, 0.0, 1e-30])),
        (torch.zeros(3), torch.zeros(3, dtype=torch.float64)),
        (torch.zeros(4, 1), torch.zeros(1, 4)),
        (np.zeros(3), np.ones(3)),
        ([1, 2], [2, 1]),
        ([torch.zeros(1), [1]], [torch.zeros(1), [2]]),
        ({"a": {"b": torch.zeros(1)}}, {"a": {"b": torch.ones(1)}}),
        ({"a", "b"}, {"a", "c"}),
        ({"a" * 99, "b"}, {"a" * 99 + "c", "b"}),
        (torch.float32, torch.float64),
        (range(3), range(4)),
        (dict, list),
        (torch.sum, torch.mean),
        (operator.add, operator.mul),
        ({"x": 1}.get, {"x": 2}.get),
        (torch.nn.functional.relu, torch.nn.functional.gelu),
        (csd.losses.csd, csd.losses.mmd),
        (lambda x: x, lambda x: x + 1),
        ([lambda x: x], [lambda x: x + 1]),
        (partial(torch.sum, dim=0), partial(torch.sum, dim=1)),
        (partial(torch.sum, dim=0), partial(torch.mean, dim=0)),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (nn.ReLU(), nn.GELU()),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU())),
        (random.Random(0), random.Random(1)),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
        (csd.Config(), csd.Config(lr=0.5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_value_in_a_closure_is_another_method(one, other):
    assert differ(with_closure(one), with_closure(other))
    assert not differ(with_closure(one), with_closure(one))


def test_a_module_with_other_weights_in_a_closure():
    net = nn.Linear(2, 2)
    other = nn.Linear(2, 2)
    assert differ(with_closure(net), with_closure(other))
    other.load_state_dict(net.state_dict())
    assert not differ(with_closure(net), with_closure(other))


def test_functions_that_change_places_are_noticed():
    def made(first, second):
        def mine(step):
            return {"ce": first(step.logits).mean() + 2 * second(step.logits).mean()}

        return mine

    one, other = (lambda x: x.abs()), (lambda x: x.exp())
    assert differ(made(one, other), made(other, one))
    assert differ(made(one, other), made(one, one))


GLOBAL = "def mine(step):\n    return {'ce': WEIGHT * step.logits.mean()}"


def test_globals_and_what_is_built_in():
    assert compare(written(GLOBAL, WEIGHT=1.0), written(GLOBAL, WEIGHT=1.5))[0] == [
        "the method's WEIGHT was 1.0, now 1.5"
    ]
    assert not differ(written(GLOBAL, WEIGHT=1.0, OTHER=1), written(GLOBAL, WEIGHT=1.0, OTHER=2))
    assert differ(written("def mine(step):\n    return min(step)"), written("def mine(step):\n    return max(step)"))


def test_defaults_by_position_and_by_keyword():
    def made(a, b):
        def mine(step, weight=a, *, power=b):
            return {"ce": weight * step.logits.mean() ** power}

        return mine

    assert compare(made(1, 2), made(3, 2))[0] == ["the method's weight was 1, now 3"]
    assert compare(made(1, 2), made(1, 4))[0] == ["the method's power was 2, now 4"]
    assert not differ(made(1, 2), made(1, 2))


HELPED = """
SCALE = 3.0
def innermost(x):
    return x * SCALE
def helper(x):
    return innermost(x) + 1
def mine(step):
    return {"ce": helper(step.logits).mean()}
"""


@pytest.mark.parametrize(
    ("before", "after"), [("+ 1", "+ 2"), ("x * SCALE", "x / SCALE"), ("3.0", "4.0"), ("def mine(step)", "def mine(s)")]
)
def test_helpers_and_theirs_count(before, after):
    other = HELPED.replace(before, after)
    assert differ(written(HELPED), written(other.replace("step.logits", "s.logits") if "(s)" in after else other))
    assert not differ(written(HELPED), written(HELPED.replace("SCALE = ", "# three\nSCALE = ")))


def test_functions_that_call_each_other_end():
    source = """
    def even(n):
        return n == 0 or odd(n - 1)
    def odd(n):
        return n != 0 and even(n - 1)
    def mine(step):
        return {"ce": even(2) * step.logits.mean()} if step else mine(step)
    """
    assert differ(written(source), written(source.replace("n != 0", "n > 0")))
    assert not differ(written(source), written(source))


def test_data_that_holds_itself_ends():
    loop: list[Any] = [torch.ones(1)]
    loop.append(loop)
    again: list[Any] = [torch.ones(1)]
    again.append(again)
    assert not differ(with_closure(loop), with_closure(again))


def test_what_wraps_a_function():
    def times(factor):
        def wrap(function):
            @functools.wraps(function)
            def wrapped(step):
                return {name: factor * term for name, term in function(step).items()}

            return wrapped

        return wrap

    assert not differ(times(2)(written(BASE)), times(2)(written(BASE)))
    assert differ(times(2)(written(BASE)), times(3)(written(BASE)))
    assert differ(times(2)(written(BASE)), times(2)(written(BASE.replace("2.0", "2.5"))))


@pytest.mark.parametrize("wrap", [torch.enable_grad(), torch.no_grad(), functools.lru_cache, functools.singledispatch])
def test_what_a_library_wraps_around_a_function(wrap):
    assert not differ(wrap(written(BASE)), wrap(written(BASE)))
    assert differ(wrap(written(BASE)), wrap(written(BASE.replace("2.0", "2.5"))))
    source = "def mine(step):\n    return {'ce': helper(step.logits)}"
    helper = "def helper(x):\n    return x.mean()"
    one = wrap(written(helper, name="helper"))
    other = wrap(written(helper.replace("mean", "sum"), name="helper"))
    assert differ(written(source, helper=one), written(source, helper=other))


# ---------------------------------------------------------------------- modules of one's own


HELPERS = """
import math
WEIGHT = 2.0
TABLE = {"a": 1}
def loss(x):
    return WEIGHT * x.square().mean()
def unused(x):
    return x
"""


def using(module: ModuleType, what: str) -> Any:
    return written(f"def mine(step):\n    return {{'ce': {what} * step.logits.mean()}}", helpers=module)


@pytest.mark.parametrize("what", ["helpers.WEIGHT", "helpers.TABLE['a']", "helpers.loss(1)", "vars(helpers)['WEIGHT']"])
def test_the_constants_and_functions_of_a_module_of_ones_own(tmp_path, what):
    def changed(before: str, after: str) -> Any:
        return using(imported(tmp_path, "own_helpers", HELPERS.replace(before, after)), what)

    one = describe_method(changed("", ""))
    assert differences(one, describe_method(changed("", ""))) == ([], [])
    changes = {"WEIGHT": ("2.0", "2.5"), "TABLE": ('"a": 1', '"a": 3'), "loss": ("square", "abs")}
    for name, change in changes.items():
        noticed = bool(differences(one, describe_method(changed(*change)))[0])
        assert noticed or name not in what


def test_a_constant_that_was_changed_in_the_module_after_it_was_imported(tmp_path):
    helpers = imported(tmp_path, "own_helpers", HELPERS)
    before = describe_method(using(helpers, "helpers.WEIGHT"))
    helpers.WEIGHT = 9.0
    different, _ = differences(before, describe_method(using(helpers, "helpers.WEIGHT")))
    assert different == ["the method's helpers.WEIGHT was 2.0, now 9.0"]


def test_what_a_method_does_not_use_of_a_module_does_not_count(tmp_path):
    one = describe_method(using(imported(tmp_path, "own_helpers", HELPERS), "helpers.WEIGHT"))
    other = imported(tmp_path, "own_helpers", HELPERS.replace("return x\n", "return -x\n") + "\n# a comment\n")
    assert differences(one, describe_method(using(other, "helpers.WEIGHT"))) == ([], [])


def test_a_module_that_the_function_imports_itself(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "def mine(step):\n    from late_helpers import WEIGHT\n    return {'ce': WEIGHT * step.logits.mean()}"
    (tmp_path / "late_helpers.py").write_text("WEIGHT = 1.0\n")
    one = describe_method(written(source))
    assert differences(one, describe_method(written(source))) == ([], [])
    (tmp_path / "late_helpers.py").write_text("WEIGHT = 2.0\n")
    assert differences(one, describe_method(written(source)))[0]
    missing = written("def mine(step):\n    import nowhere_to_be_found\n    return {}")
    assert any("nowhere_to_be_found can't be read" in reason for reason in compare(missing, missing)[1])


def test_what_is_ones_own():
    assert is_own(written(BASE))
    assert is_own(sys.modules[__name__])
    for other in (torch, np, os, csd, csd.losses.csd, partial, nn.Linear, csd.Memory, json_like := textwrap.dedent):
        assert not is_own(other)
    assert callable(json_like)


# ---------------------------------------------------------------------- objects


class Weighted:
    """A plain object to call."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, step):
        return {"ce": self.weight * step.logits.mean()}

    def loss(self, step):
        return {"ce": -self.weight * step.logits.mean()}


@dataclass
class Setup(Method):
    weight: float = 1.0
    loss: Any = torch.sum
    table: dict = field(default_factory=dict)

    def __call__(self, step):
        return {"ce": self.weight * self.loss(step.logits)}


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, step):
        return {"ce": self.weight * step.logits.mean()}


def test_objects_with_other_attributes():
    assert compare(Weighted(1), Weighted(2))[0] == ["the method's weight was 1, now 2"]
    assert not differ(Weighted(1), Weighted(1))
    assert differ(Slotted(1), Slotted(2))
    assert differ(with_closure(Weighted(1)), with_closure(Weighted(2)))
    assert differ(with_closure(Slotted(1)), with_closure(Slotted(2)))


def test_a_dataclass_names_the_settings_that_are_not_its_defaults():
    assert describe_method(Setup())["name"] == "Setup"
    assert describe_method(Setup(weight=0.5, table={"a": 1}))["name"] == "Setup(table={'a': 1}, weight=0.5)"
    assert differ(Setup(weight=0.5), Setup())
    assert differ(Setup(table={"a": torch.zeros(1)}), Setup(table={"a": torch.ones(1)}))
    assert differ(Setup(loss=lambda x: x.sum()), Setup(loss=lambda x: x.mean()))


def test_bound_methods():
    assert not differ(Weighted(1).loss, Weighted(1).loss)
    assert differ(Weighted(1).loss, Weighted(2).loss)
    assert differ(Weighted(1).loss, Weighted(1).__call__)


CLASS = """
class Base:
    FACTOR = 2
    TABLE = {"a": 1.0}
    @property
    def scale(self):
        return self.FACTOR
    @staticmethod
    def power(x):
        return x ** 2
    @classmethod
    def shift(cls, x):
        return x + 1
    @functools.cached_property
    def cached(self):
        return 5
class Mine(Base):
    def __call__(self, step):
        return {"ce": self.helped(step.logits.mean())}
    def helped(self, x):
        return self.power(x) * self.scale
mine = Mine()
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FACTOR = 2", "FACTOR = 3"),
        ('"a": 1.0', '"a": 2.0'),
        ("return self.FACTOR", "return -self.FACTOR"),
        ("x ** 2", "x ** 4"),
        ("x + 1", "x - 1"),
        ("return 5", "return 6"),
        ("* self.scale", "/ self.scale"),
        ("step.logits", "step.features"),
    ],
)
def test_everything_in_a_class_and_its_bases_counts(before, after):
    one = written(CLASS, functools=functools)
    assert not differ(one, written(CLASS, functools=functools))
    assert differ(one, written(CLASS.replace(before, after), functools=functools))


def test_a_module_of_ones_own_counts_with_its_code():
    source = """
    class Net(torch.nn.Module):
        power = 2
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Identity()
        def forward(self, x):
            return self.body(x) ** self.power
    net = Net()
    def mine(step):
        return {"ce": net(step.logits).mean()}
    """
    one = written(source)
    assert not differ(one, written(source))
    assert differ(one, written(source.replace("self.body(x)", "-self.body(x)")))
    assert differ(one, written(source.replace("power = 2", "power = 3")))
    assert differ(one, written(source.replace("Identity()", "ReLU()")))


def test_the_kits_own_methods_carry_settings_and_no_code():
    found = describe_method(csd.methods.ER(size=500))
    assert found["name"] == "er(size=500)"
    assert found["settings"] == {"size": 500}
    assert not found.keys() & {"code", "python", "unreadable"}
    assert found["card"]["title"] == "Experience replay"
    assert compare(csd.methods.er, csd.methods.ER(size=500))[0]
    for method in csd.methods.NAMED.values():
        assert not describe_method(method).keys() & {"code", "python", "unreadable"}


def test_arguments_bound_by_partial():
    assert describe_method(partial(csd.methods.csd, weight=0.5))["name"] == "csd(weight=0.5)"
    assert differ(partial(csd.methods.csd, weight=0.5), csd.methods.csd)
    twice = partial(partial(csd.methods.csd, weight=0.5), temperature=1)
    assert describe_method(twice)["name"] == "csd(temperature=1, weight=0.5)"
    assert compare(twice, partial(csd.methods.csd, temperature=1, weight=0.5)) == ([], [])

    def chosen(step, loss):
        return {"ce": loss(step.logits)}

    assert describe_method(partial(chosen, loss=torch.sum))["name"] == "chosen(loss=sum)"
    assert differ(partial(chosen, loss=lambda x: x.sum()), partial(chosen, loss=lambda x: x.mean()))
    assert " at 0x" not in str(describe_method(partial(chosen, loss=[lambda x: x], obj=object())))
    with pytest.raises(ValueError, match="binds positional arguments"):
        describe_method(partial(chosen, 1))


# ---------------------------------------------------------------------- the same after Python has started again

PROGRAM = """
import functools, json, torch
from dataclasses import dataclass, field
import csd_edu as csd
from csd_edu.identity import describe_method

NAMES = {"kd", "csd", "ce", "triplet", "a rather long name so that the whole set takes more than eighty characters"}

def halved(x):
    return {"some", "constants"} and x / 2

@dataclass
class Mine(csd.methods.Method):
    names: set = field(default_factory=lambda: {"alpha", "beta", "gamma"})
    loss: object = halved
    def __call__(self, step):
        return {"ce": self.loss(step.logits.mean()) if "ce" in NAMES else 0}

def chosen(step, loss, names):
    return {"ce": loss(step.logits) if step in {"x", "y", "z"} else 0}

class Thing:
    pass

methods = [
    Mine(),
    Mine(names={"p", "q", "r"}),
    functools.partial(chosen, loss=halved, names={"x", "y", "z"}),
    functools.partial(chosen, loss=lambda x: x, names=frozenset("abcdef")),
    functools.partial(chosen, loss=Thing(), names=[Thing(), halved]),
    Mine(loss=functools.partial(halved, x=Thing())),
]
print(json.dumps([describe_method(method) for method in methods]))
"""


@pytest.mark.slow
def test_a_description_is_the_same_after_a_restart():
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert "0x" not in told[0]
    assert "unreadable" not in told[0]


# ---------------------------------------------------------------------- training: said, refused, and logs


@pytest.fixture(scope="module")
def stream():
    return csd.split(striped(), n_tasks=2, seed=0)


def interrupted(stream: csd.Stream, method: Any, out: Path, n_records: int = 1) -> None:
    records = csd.training(stream, method, TINY, out=out)
    for _ in range(n_records):
        next(records)
    records.close()


def test_what_cannot_be_read_is_said_when_a_run_is_continued(stream, tmp_path, capsys):
    hidden = (i for i in range(3))

    def mine(step):
        assert hidden is not None
        return csd.methods.finetune(step)

    interrupted(stream, mine, tmp_path / "r")
    assert capsys.readouterr().out == ""
    csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert "the method's hidden can't be read, so whether it is the same as when the run began" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("kind", ["closure", "default", "dictionary", "global", "attribute of a class", "generator"])
def test_what_is_counted_outside_is_refused_by_its_name_after_the_first_epoch(stream, tmp_path, kind):
    n = 0
    table = {"n": 0}
    generator = random.Random(0)

    class Counting(Method):
        n = 0

        def __call__(self, step):
            type(self).n += 1
            return counted(step, type(self).n)

    def counted(step, n):
        return {name: term * (1 + n) for name, term in csd.methods.finetune(step).items()}

    def closure(step):
        nonlocal n
        n += 1
        return counted(step, n)

    def default(step, n=[0]):  # noqa: B006 (that is the mistake)
        n[0] += 1
        return counted(step, n[0])

    def dictionary(step):
        table["n"] += 1
        return counted(step, table["n"])

    def drawing(step):
        return counted(step, generator.random())

    source = "n = 0\ndef mine(step):\n    global n\n    n += 1\n    return counted(step, n)"
    methods = {
        "closure": closure,
        "default": default,
        "dictionary": dictionary,
        "global": written(source, counted=counted),
        "attribute of a class": Counting(),
        "generator": drawing,
    }
    name = {"dictionary": r"table\.n", "generator": "generator"}.get(kind, "n")
    with pytest.raises(ValueError, match=rf"^the method's ([\w.]+\.)?{name} was .*: it changed during training"):
        csd.train(stream, methods[kind], TINY, out=tmp_path / "r", progress=False)
    assert not list((tmp_path / "r").glob("checkpoint*")), "nothing is there to go on from"


class Decaying(Method):
    """The base of methods that change a setting."""

    def __call__(self, step):
        self.change()
        return {k: v * self.rate for k, v in csd.methods.finetune(step).items()}


@dataclass
class Number(Decaying):
    rate: float = 1.0

    def change(self):
        self.rate *= 0.9


@dataclass
class Listed(Decaying):
    rates: list = field(default_factory=lambda: [1.0])

    @property
    def rate(self):
        return self.rates[-1]

    def change(self):
        self.rates.append(self.rates[-1] * 0.9)


@dataclass
class Nested(Method):
    inner: Method

    def begin(self, setting):
        self.inner.begin(setting)

    def __call__(self, step):
        return self.inner(step)


@pytest.mark.parametrize(
    ("method", "name"), [(Number(), "rate"), (Listed(), "rates"), (Nested(Number()), r"inner\.rate")], ids=str
)
def test_a_setting_that_changes_is_refused_as_it_is_no_state(stream, tmp_path, method, name):
    with pytest.raises(ValueError, match=rf"^the method's {name} was .*, now .*: it changed during training"):
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert not list((tmp_path / "r").glob("checkpoint*"))


def test_the_state_of_a_method_inside_another_may_change(stream, tmp_path):
    run = csd.train(stream, Nested(csd.methods.ER(size=9)), TINY, out=tmp_path / "r", progress=False)
    assert run.finished


def test_what_only_end_task_changes_outside_is_refused_before_the_task_counts(stream, tmp_path):
    seen = {"tasks": 0}

    class Ends(Method):
        def __call__(self, step):
            return {k: v * (1 + seen["tasks"]) for k, v in csd.methods.finetune(step).items()}

        def end_task(self, task, images, labels, view):
            seen["tasks"] += 1

    with pytest.raises(ValueError, match=r"the method's .*seen\.tasks was 0, now 1: it changed during training"):
        csd.train(stream, Ends(), TINY, out=tmp_path / "r", progress=False)
    assert csd.Run.load(tmp_path / "r").tasks_learnt == 0


def test_logs_do_not_count(stream, tmp_path):
    history, seen, by_step = [], set(), {}

    def mine(step):
        terms = csd.methods.finetune(step)
        history.append(terms["ce"].item())
        seen.add(step.task)
        by_step.update({len(terms): step.task})
        return terms

    interrupted(stream, mine, tmp_path / "r")
    csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert len(history) > 4
    assert seen == {0, 1}


def test_a_list_that_is_read_is_no_log(stream, tmp_path):
    history: list[float] = []

    def mine(step):
        terms = csd.methods.finetune(step)
        history.append(terms["ce"].item())
        return {k: v * len(history) for k, v in terms.items()}

    with pytest.raises(ValueError, match=r"the method's history .*changed during training"):
        csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)


def test_what_is_added_to_a_tensor_is_no_log():
    source = "def mine(step):\n    return {'ce': weights.add(step.logits).mean()}"
    assert differ(written(source, weights=torch.zeros(1)), written(source, weights=torch.ones(1)))


def test_a_function_with_a_counter_of_its_own_goes_on_and_is_left_as_it_was(stream, tmp_path):
    def mine(step):
        mine.n += 1
        return {name: term * (1 + 0.1 * mine.n) for name, term in csd.methods.finetune(step).items()}

    mine.n = 0
    whole = csd.train(stream, mine, TINY, out=tmp_path / "whole", progress=False)
    assert mine.n == 0
    interrupted(stream, mine, tmp_path / "r", n_records=2)
    assert mine.n == 0
    run = csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert torch.equal(run.features(1), whole.features(1))
    assert run.kept() == whole.kept() == {"n": 8}
    mine.n = 3
    with pytest.raises(ValueError, match="the method's n was 0, now 3"):
        csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert own_state(mine) == {"n": 3}


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: float(torch.rand(()))])
def test_random_numbers_of_python_and_numpy_are_the_same_in_a_continued_run(stream, tmp_path, draw):
    def mine(step):
        return {name: term * draw() for name, term in csd.methods.finetune(step).items()}

    random.seed(5)
    before = random.getstate()
    whole = csd.train(stream, mine, TINY, out=tmp_path / "whole", progress=False)
    assert random.getstate() == before, "the caller's own go on as if nothing had happened"
    interrupted(stream, mine, tmp_path / "r", n_records=2)
    random.seed(6)
    run = csd.train(stream, mine, TINY, out=tmp_path / "r", progress=False)
    assert torch.equal(run.features(1), whole.features(1))


ENDING = """
import sys, torch
import csd_edu as csd
sys.path.insert(0, "tests/..")
from tests.conftest import TINY, striped
stream = csd.split(striped(), n_tasks=2, seed=0)
out, kind = sys.argv[1:]
source = "def mine(step):\\n    return {'ce': 2 * step.logits.square().mean()}"
if kind == "exec":
    names = {}
    exec(source, names)
    mine = names["mine"]
else:
    def mine(step):
        return {"ce": 2 * step.logits.square().mean()}
records = csd.training(stream, mine, TINY, out=out)
for _ in range(2):
    print(next(records)["epoch"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exec", "prompt"])
def test_a_method_that_is_in_no_file(tmp_path, kind):
    def start(program: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        command = [sys.executable, "-c", program, str(tmp_path / "r"), kind]
        return subprocess.run(command, env=env, capture_output=True, text=True, cwd=HERE.parent)

    assert start(ENDING).stdout.split() == ["0", "1"]
    assert "mine" in csd.Run.load(tmp_path / "r").method
    other = start(ENDING.replace("2 * step", "3 * step"))
    assert "the code of method 'mine' has changed" in other.stderr
