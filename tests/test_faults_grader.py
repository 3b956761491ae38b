"""B. The grader runs what an answer needs, and says when it can't.

A right answer is passed, or could not be run; it is never "tried" because of what the grader left out.
"""

from __future__ import annotations

import ast
import builtins
import json
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from csd_edu import check
from csd_edu.check.running import examine
from csd_edu.grade import inside, isolation
from csd_edu.grade.submissions import Notebook, read_all

IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom csd_edu import check"
CALL = "check.temperature_softmax(softmax)"
PLAIN = "def softmax(logits, temperature):\n    return torch.softmax(logits / temperature, dim=1)"
WRONG = PLAIN.replace(" / ", " * ")


def scaled(factor: str, operation: str = "*") -> str:
    """Return a cell with a function that is right if a factor is 1."""
    return (
        "def softmax(logits, temperature):\n"
        f"    return torch.softmax(logits {operation} ({factor}) / temperature, dim=1)"
    )


def judged(*cells: str, exercise: str = "temperature_softmax") -> inside.Judgement:
    """Judge cells here, for code of which is known what it does."""
    names = {name: known.parameters for name, known in check.EXERCISES.items()}
    statements, _ = inside.read_cells(cells)
    calls = [call for call in inside.find_calls(statements, names) if call.exercise == exercise]
    answers = [inside.judge(lambda name, f: examine(check.EXERCISES[name], f), cells, statements, c) for c in calls]
    return inside.settled(answers) if answers else inside.Judgement("absent", None, "")


# --- state that comes from another cell -------------------------------------------------------------------------------

STATE = {  # what sets the factor, in cells; and the function's factor
    "an item": (["d = {}", "d['k'] = 1.0"], "d['k']"),
    "an augmented assignment": (["x = 2.0", "x /= 2"], "x"),
    "an append": (["values = []", "values.append(1.0)"], "values[-1]"),
    "a deleted item": (["values = [1.0, 3.0]", "del values[1]"], "values[-1]"),
    "a deleted name": (["sum = 3", "del sum"], "sum([1.0])"),
    "an attribute": (["class Box:\n    k = 3", "box = Box()", "box.k = 1.0"], "box.k"),
    "an attribute of a class": (["class Box:\n    k = 3", "Box.k = 1.0"], "Box().k"),
    "an attribute of a function": (["def helper():\n    return helper.k", "helper.k = 1.0"], "helper()"),
    "setattr": (["class Box:\n    k = 3", "setattr(Box, 'k', 1.0)"], "Box.k"),
    "update": (["d = {'k': 2}", "d.update(k=1.0)"], "d['k']"),
    "setdefault": (["d = {}", "d.setdefault('k', 1.0)"], "d['k']"),
    "a set": (["s = set()", "s.add(1.0)"], "max(s)"),
    "a sort": (["values = [3.0, 1.0]", "values.sort()"], "values[0]"),
    "a sort by its class": (["values = [3.0, 1.0]", "list.sort(values)"], "values[0]"),
    "clear": (["values = [3.0]", "values.clear()"], "1 + len(values)"),
    "clear, by the name of an imported module": (
        ["from csd_edu import start", "start = [3.0]", "start.clear()"],
        "1 + len(start)",
    ),
    "pop": (["values = [1.0, 3.0]", "last = values.pop()"], "values[-1]"),
    "in place": (["t = torch.zeros(1)", "t.fill_(1.0)"], "t"),
    "in place, of a view": (["t = torch.zeros(2)", "v = t[1:]", "v.add_(1.0)"], "t[1]"),
    "in place, by a function": (["t = torch.zeros(1)", "torch.nn.init.ones_(t)"], "t"),
    "in place, by out": (["t = torch.zeros(1)", "torch.add(torch.zeros(1), 1, out=t)"], "t"),
    "a whole slice": (["t = torch.zeros(2)", "t[:] = 1"], "t[0]"),
    "weights": (
        ["net = torch.nn.Linear(1, 1, bias=False)", "net.load_state_dict({'weight': torch.ones(1, 1)})"],
        "net.weight.detach().item()",
    ),
    "an optimiser's step": (
        ["w = torch.nn.Parameter(torch.tensor(2.0))", "opt = torch.optim.SGD([w], lr=1.0)", "w.sum().backward()",
         "opt.step()"],
        "w.detach()",
    ),
    "a loop": (["d = {}", "for i in range(3):\n    d[i] = 1.0"], "d[2]"),
    "a loop that binds": (["for x in (3.0, 2.0, 1.0):\n    pass"], "x"),
    "a loop over parts": (["rows = [[3.0], [2.0]]", "for row in rows:\n    row[0] = 1.0"], "rows[1][0]"),
    "a while": (["x = 4.0", "while x > 1:\n    x -= 1"], "x"),
    "a with": (["w = torch.zeros(1)", "with torch.no_grad():\n    w += 1"], "w"),
    "a with that defines": (["with torch.no_grad():\n    def one():\n        return 1.0"], "one()"),
    "a try": (["d = {}", "try:\n    d['k'] = 1.0\nexcept KeyError:\n    pass"], "d['k']"),
    "a match": (["match 3:\n    case 3:\n        x = 1.0"], "x"),
    "an if with a call": (["d = {}", "if len(d) == 0:\n    d['k'] = 1.0"], "d['k']"),
    "a comprehension": (["d = {}", "[d.update({k: 1.0}) for k in 'abc']"], "d['c']"),
    "a bound method": (["values = []", "add = values.append", "add(1.0)"], "values[0]"),
    "map": (["values = []", "list(map(values.append, [1.0]))"], "values[0]"),
    "another name": (["a = {}", "b = a", "b['k'] = 1.0"], "a['k']"),
    "the first name": (["a = {}", "b = a", "a['k'] = 1.0"], "b['k']"),
    "a container of it": (["a = {}", "all_of = [a]", "all_of[0]['k'] = 1.0"], "a['k']"),
    "a container it is put into": (["a = {}", "box = []", "box.append(a)", "box[0]['k'] = 1.0"], "a['k']"),
    "global": (["x = 3.0", "def fill():\n    global x\n    x = 1.0", "fill()"], "x"),
    "a global object": (["d = {}", "def fill():\n    d['k'] = 1.0", "fill()"], "d['k']"),
    "a global object by another name": (["d = {}", "def fill():\n    e = d\n    e['k'] = 1.0", "fill()"], "d['k']"),
    "a function of a function": (
        ["d = {}", "def fill():\n    d['k'] = 1.0", "def all_of():\n    fill()", "_ = all_of()"], "d['k']"
    ),
    "a function of its argument": (["d = {}", "def fill(e):\n    e['k'] = 1.0", "fill(d)"], "d['k']"),
    "a method of its own class": (
        ["class Box:\n    k = 3.0\n    def fill(self):\n        self.k = 1.0", "box = Box()", "box.fill()"], "box.k"
    ),
    "a method that fills another": (
        ["d = {}", "class Box:\n    def fill(self):\n        d['k'] = 1.0", "box = Box()", "box.fill()"], "d['k']"
    ),
    "a registry": (
        ["known = {}", "def register(f):\n    known[f.__name__] = f\n    return f",
         "@register\ndef one():\n    return 1.0"],
        "known['one']()",
    ),
    "a registry of classes": (
        ["known = {}\nclass Base:\n    def __init_subclass__(cls):\n        known[cls.__name__] = cls",
         "class One(Base):\n    k = 1.0"],
        "known['One'].k",
    ),
    "a dispatch": (
        ["import functools", "@functools.singledispatch\ndef one(x):\n    return 3.0",
         "@one.register\ndef _(x: int):\n    return 1.0"],
        "one(3)",
    ),
    "globals": (["globals()['x'] = 1.0"], "x"),
    "globals, updated": (["globals().update(x=1.0)"], "x"),
    "exec": (["exec('x = 1.0')"], "x"),
    "tuple unpacking": (["def two():\n    return 3.0, 1.0", "_, x = two()"], "x"),
    "a star": (["*_, x = [3.0, 1.0]"], "x"),
    "a walrus": (["print(x := 1.0)"], "x"),
    "a call": (["def make():\n    return 1.0", "x = make()"], "x"),
    "a method": (["x = torch.ones(1).double().mean().item()"], "x"),
    "another name of a module": (["import torch as th", "x = th.ones(1)"], "x"),
    "another module": (["import random", "x = 1.0 + 0 * random.random()"], "x"),
    "a part of a module": (["from torch import ones", "x = ones(1)"], "x"),
    "a later helper": (["def factor():\n    return helper()", "def helper():\n    return 3.0", "d = {}",
                        "def helper():\n    return d['k']", "d['k'] = 1.0"], "factor()"),
    "a patched class": (["torch.Tensor.one = lambda self: 1.0"], "logits.one()"),
    "a patched module": (["F.one = lambda: 1.0"], "F.one()"),
    "a patched library": (["import csd_edu as csd", "csd.losses.one = 1.0"], "csd.losses.one"),
    "the default type": (["torch.set_default_dtype(torch.float64)"],
                         "1.0 if torch.get_default_dtype() == torch.float64 else 2.0"),
    "a seed": (["torch.manual_seed(3)", "x = torch.rand(1)", "torch.manual_seed(3)", "y = torch.rand(1)"],
               "1.0 if x == y else 2.0"),
    "a setting of Python": (["import sys", "sys.setrecursionlimit(2345)"],
                            "1.0 if sys.getrecursionlimit() == 2345 else 2.0"),
    "a closure's other half": (
        ["def make():\n    x = [3.0]\n    return x.append, lambda: x[-1]", "put, get = make()", "put(1.0)"], "get()"
    ),
    "names of the same": (["a = b = {}", "a['k'] = 1.0"], "b['k']"),
    "a default": (["box = [3.0]\ndef get(b=box):\n    return b[0]", "box[0] = 1.0"], "get()"),
    "an attribute's object": (["box = [3.0]\nclass Box:\n    of = box", "box[0] = 1.0"], "Box.of[0]"),
    "a hook": (
        ["net, seen = torch.nn.Linear(1, 1), [3.0]", "net.register_forward_hook(lambda *_: seen.append(1.0))",
         "_ = net(torch.ones(1, 1))"],
        "seen[-1]",
    ),
    "a hook by name": (
        ["net, seen = torch.nn.Linear(1, 1), [3.0]\ndef note(*_):\n    seen.append(1.0)",
         "_ = net.register_forward_hook(note)", "_ = net(torch.ones(1, 1))"],
        "seen[-1]",
    ),
    "NumPy in place": (["import numpy as np\na = np.zeros(1)", "np.add.at(a, [0], 1.0)"], "float(a[0])"),
    "the environment": (["import os", "%env FACTOR_OF_MINE=1.0"], "float(os.environ.get('FACTOR_OF_MINE', 3))"),
    "what is timed": (["xs = [3.0]", "%timeit -n 1 -r1 xs.append(1.0)"], "xs[-1]"),
    "a loop with a bar": (["from tqdm import tqdm\nd = {}", "for k in tqdm(range(2)):\n    d[k] = 1.0"], "d[1]"),
    "what is awaited": (["import asyncio\nasync def get():\n    return 1.0", "k = await get()"], "k"),
    "a command of several lines": (["!pip install \\\n  torch\nx = 1.0"], "x"),
    "time": (["%time x = 1.0"], "x"),
    "what is measured": (["xs = [3.0]", "%memit -r 1 xs.append(1.0)"], "xs[-1]"),
    "what is measured by lines": (["xs = [3.0]", "%lprun -f print xs.append(1.0)"], "xs[-1]"),
    "a profiled cell": (["x = [0.0]", "%%prun -l 10 -s cumulative\nx[0] += 1"], "x[0]"),
    "a profiled cell and its statement": (["x = [0.0]", "%%prun x[0] += 1\nprint(x)"], "x[0]"),
    "a measured cell": (["x = [0.0]", "%%memit\nx[0] += 1"], "x[0]"),
    "a debugged cell": (["x = [0.0]", "%%debug\nx[0] += 1"], "x[0]"),
    "a cell of two magics": (["x = [0.0]", "%%capture --no-stderr\n%%time\nx[0] += 1"], "x[0]"),
    "a set-up that is timed": (["x = [0.0]", "%%timeit -n 1 -r 1 x[0] = 1.0\nprint(x)"], "x[0]"),
    "a generator's step": (
        ["d = {}\ndef steps():\n    d['k'] = 1.0\n    yield", "it = steps()", "_ = next(it)"], "d['k']"
    ),
    "what a generator is sent": (
        ["d = {}\ndef steps():\n    while True:\n        d['k'] = yield", "g = steps()", "next(g)", "g.send(1.0)"],
        "d['k']",
    ),
    "a coroutine": (["d = {}\nasync def fill():\n    d['k'] = 1.0", "c = fill()", "await c"], "d['k']"),
    "an object that is called": (
        ["d = {}\nclass Box:\n    def __call__(self):\n        d['k'] = 1.0", "b = Box()", "b()"],
        "d['k']",
    ),
    "a module that is called": (
        ["d = {}\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        d['k'] = 1.0",
         "net = Net()", "net(1)"],
        "d['k']",
    ),
    "an object that a function makes": (
        ["class Box:\n    k = 3.0\n    def __invert__(self):\n        self.k = 1.0\ndef make():\n    return Box()",
         "b = make()", "~b"],
        "b.k",
    ),
    "an object of a subclass": (
        ["class Base:\n    k = 3.0\n    def __invert__(self):\n        self.k = 1.0\nclass Box(Base):\n    pass",
         "b = Box()", "~b"],
        "b.k",
    ),
    "an object of a loop": (
        ["class Box:\n    k = 3.0\n    def __getitem__(self, key):\n        self.k = 1.0", "many = [Box()]",
         "for b in many:\n    b[1]"],
        "many[0].k",
    ),
    "a generator's own value": (
        ["def steps():\n    yield 3.0\n    while True:\n        yield 1.0", "it = steps()", "_ = next(it)"], "next(it)"
    ),
    "a timed cell": (["%%time\nx = [0.0]\nx[0] += 1"], "x[0]"),
}  # fmt: skip


USES = {  # a method that is called without its name, its statement, and how it is called
    "an item": ("__getitem__(self, key)", "return 1", "b[1.0]"),
    "a comparison": ("__lt__(self, other)", "return True", "b < 1"),
    "an inversion": ("__invert__(self)", "return 1", "~b"),
    "a format": ("__format__(self, spec)", "return ''", "f'{b}'"),
    "a membership": ("__contains__(self, item)", "return True", "1 in b"),
    "an iteration": ("__iter__(self)", "return iter([1])", "[*b]"),
    "a print": ("__str__(self)", "return ''", "print(b)"),
    "a length": ("__len__(self)", "return 1", "len(b)"),
    "a deletion": ("__del__(self)", "return None", "del b"),
    "a context": ("__enter__(self)", "return self\n    def __exit__(self, *_):\n        pass", "with b:\n    pass"),
}
for use, (head, gives, used) in USES.items():
    for stores, factor in [("d['k'] = 1.0", "d['k']"), ("self.k = 1.0", "b.k")]:
        if used != "del b" or factor != "b.k":
            own = f"d = {{}}\nclass Box:\n    k = 3.0\n    def {head}:\n        {stores}\n        {gives}"
            STATE[f"{use}, of its own class, that sets {factor}"] = ([own, "b = Box()", used], factor)
STATE["a property"] = (
    ["class Box:\n    k = 3.0\n    @property\n    def one(self):\n        self.k = 1.0", "b = Box()", "b.one"],
    "b.k",
)
STATE["an item by a function"] = (
    [STATE["an item, of its own class, that sets b.k"][0][0], "b = Box()\ndef use():\n    b[1]", "use()"],
    "b.k",
)


@pytest.mark.parametrize("name", STATE)
def test_state_from_another_cell_is_there(name):
    cells, factor = STATE[name]
    assert judged(IMPORTS, *cells, scaled(factor), CALL) == inside.Judgement("passed", None, "")
    assert judged(IMPORTS, scaled(factor), *cells, CALL).state == "passed"  # filled after it was defined
    wrong = judged(IMPORTS, *cells, scaled(factor).replace(") / temp", ") * temp"), CALL)
    assert wrong.state == "tried", wrong


@pytest.mark.parametrize("name", STATE)
def test_what_the_state_spoils_is_not_passed(name):
    """Without its last cell the factor is another one, or not there."""
    cells, factor = STATE[name]
    assert judged(IMPORTS, *cells[:-1], scaled(factor), CALL).state != "passed"


LATER = {  # what an object reads when it is called, set after the object was made
    "a constant, of a module": (
        ["class Net(torch.nn.Module):\n    def forward(self, x):\n        return K * x", "net = Net()", "K = 1.0"],
        "net(1.0)",
    ),
    "a class's own attribute": (["class Box:\n    k = 3.0", "box = Box()", "Box.k = 1.0"], "box.k"),
    "a class's method": (
        ["class Net(torch.nn.Module):\n    pass", "net = Net()", "def forward(self, x):\n    return x",
         "Net.forward = forward"],
        "net(1.0)",
    ),
    "a helper, of an object": (
        ["def h():\n    return 3.0", "class Box:\n    def __call__(self):\n        return h()", "box = Box()",
         "def h():\n    return 1.0"],
        "box()",
    ),
    "a helper, of a partial": (
        ["from functools import partial", "def h(x):\n    return 3 * x", "def f(x, y):\n    return h(x) * y",
         "one = partial(f, y=1.0)", "def h(x):\n    return x"],
        "one(1.0)",
    ),
    "a constant, of a closure": (
        ["K = 3.0", "def make():\n    def f():\n        return K\n    return f", "one = make()", "K = 1.0"], "one()"
    ),
    "a constant, of a wrapper": (
        ["def times(f):\n    def g(x):\n        return f(x) * K\n    return g", "@times\ndef one(x):\n    return x",
         "K = 1.0"],
        "one(1.0)",
    ),
    "a constant, of a function in a dict": (
        ["def one():\n    return K", "of = {'one': one}", "also = of", "K = 1.0"], "also['one']()"
    ),
    "a list, of a bound method": (
        ["xs = [3.0]", "class Box:\n    def last(self):\n        return xs[-1]", "last = Box().last", "xs.append(1.0)"],
        "last()",
    ),
    "a constant, of a vectorised function": (
        ["import numpy as np", "K = 3.0\ndef f(x):\n    return K * x", "g = np.vectorize(f)", "K = 1.0"],
        "float(g(1.0))",
    ),
    "a walrus in a generator": (["any((k := x) == 1 for x in (0.0, 1.0))"], "k"),
    "a walrus in a set": (["k = 3.0", "{y: {(k := x) for x in (3.0, y)} for y in (1.0,)}"], "k"),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_what_is_read_in_a_call_is_in_the_plan(name, monkeypatch):
    """It is found in the text, without running all that stands above the check."""
    needed = inside.needed
    monkeypatch.setattr(inside, "needed", lambda *given, **options: needed(*given, **{**options, "whole": False}))
    cells, factor = LATER[name]
    assert judged(IMPORTS, *cells, scaled(factor), CALL) == inside.Judgement("passed", None, "")
    assert judged(IMPORTS, *cells[:-1], scaled(factor), CALL).state == "tried"
    assert judged(IMPORTS, *cells, scaled(factor).replace(") / temp", ") * temp"), CALL).state == "tried"


UNREAD = {  # ways to set the factor that the text doesn't tell
    "a method with a usual name": (
        ["class Notes:\n    k = 3.0\n    def log(self, k):\n        self.k = k", "notes = Notes()", "notes.log(1.0)"],
        "notes.k",
    ),
    "a class that is given": (["class Box:\n    k = 3.0\ndef fill(c):\n    c.k = 1.0", "fill(Box)"], "Box.k"),
    "a method that is added to a class": (
        ["def add_to(c):\n    def add(f):\n        setattr(c, f.__name__, f)\n    return add", "class Box:\n    pass",
         "box = Box()", "@add_to(Box)\ndef one(self):\n    return 1.0"],
        "box.one()",
    ),
    "setattr in a loop": (
        ["class Box:\n    pass", "box = Box()", "for name, k in {'k': 1.0}.items():\n    setattr(Box, name, k)"],
        "box.k",
    ),
    "what a function returns": (["d = {'k': 3.0}\ndef settings():\n    return d", "settings()['k'] = 1.0"], "d['k']"),
    "a default": (["d = {'k': 3.0}\ndef put(k, into=d):\n    into['k'] = k", "put(1.0)"], "d['k']"),
    "an object that keeps a list": (
        ["xs = [3.0]", "class Box:\n    def __init__(self):\n        self.xs = xs\n    def run(self):\n"
         "        self.xs.append(1.0)", "box = Box()", "box.run()"],
        "xs[-1]",
    ),
    "a class's list, by an object": (["class Box:\n    xs = [3.0]", "b = Box()", "b.xs.append(1.0)"], "Box.xs[-1]"),
    "a class method": (
        ["class Box:\n    xs = [3.0]\n    @classmethod\n    def put(cls, x):\n        cls.xs.append(x)\nbox = Box()",
         "Box.put(1.0)"],
        "box.xs[-1]",
    ),
    "a function in a dict": (
        ["d = {'k': 3.0}\ndef fill():\n    d['k'] = 1.0\nactions = {'fill': fill}", "actions['fill']()"], "d['k']"
    ),
    "a callback in a list": (
        ["d, calls = {'k': 3.0}, []\ndef fire():\n    [f() for f in calls]", "calls.append(lambda: d.update(k=1.0))",
         "fire()"],
        "d['k']",
    ),
    "a network made double": (
        ["net = torch.nn.Linear(1, 1, bias=False)\ntorch.nn.init.ones_(net.weight)", "net.double()"],
        "net(torch.ones(1, 1).double()).item()",
    ),
    "an optimiser of no name": (
        ["w = torch.nn.Parameter(torch.tensor(2.0))\nw.backward()", "torch.optim.SGD([w], lr=1.0).step()"], "w.item()"
    ),
    "inplace=True": (["t = torch.tensor([-1.0])", "F.relu(t, inplace=True)"], "1.0 + t"),
    "NumPy's third argument": (["import numpy as np\na = np.zeros(1)", "np.add(a, 1.0, a)"], "float(a[0])"),
    "globals": (["k = 3.0", "k = 1.0"], "globals()['k']"),
    "a text": (["k = 3.0", "k = 1.0"], "eval('k')"),
    "an iterator": (["it = iter([3.0] + [1.0] * 99)", "for x in it:\n    break"], "next(it)"),
    "a mock": (
        ["from unittest import mock\nclass Box:\n    k = 3.0", "mock.patch.object(Box, 'k', 1.0).start()"], "Box.k"
    ),
    "a context's variable": (
        ["import contextvars", "k = contextvars.ContextVar('k', default=3.0)", "getattr(k, 'set')(1.0)"], "k.get()"
    ),
    "the longest list": (["rows = [[3.0], [3.0, 3.0]]", "max(rows, key=len).append(1.0)"], "rows[1][-1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_the_text_does_not_tell_is_run_as_well(name):
    cells, factor = UNREAD[name]
    assert judged(IMPORTS, *cells, scaled(factor), CALL) == inside.Judgement("passed", None, "")
    assert judged(IMPORTS, scaled(factor), *cells, CALL).state == "passed"
    assert judged(IMPORTS, *cells[:-1], scaled(factor), CALL).state != "passed"
    assert judged(IMPORTS, *cells, scaled(factor).replace(") / temp", ") * temp"), CALL).state == "tried"
    assert judged(IMPORTS, *cells[:-1], scaled(factor), CALL, cells[-1]).state != "passed"  # it stands below


FILL = "def fill():\n    d['k'] = {}\nactions = {{'fill': fill}}"


@pytest.mark.parametrize(
    ("cells", "factor"),
    [
        ([FILL.format("csd.train(1)"), "actions['fill']()"], "d['k']"),
        ([FILL.format("2.0"), "while actions:\n    actions['fill']()"], "d['k']"),
        (["import csd_edu as csd\nk = csd.train(1)"], "eval('k')"),
    ],
)
def test_what_cannot_be_run_as_well_is_said_where_it_may_matter(cells, factor, monkeypatch):
    monkeypatch.setattr(inside, "WORK", 0.2)
    judgement = judged(IMPORTS, "d = {'k': 3.0}", *cells, scaled(factor), CALL)
    assert (judgement.state, "code cell" in judgement.message) == ("failed", True), judgement
    wrong = judged(IMPORTS, "d = {'k': 3.0}", *cells, WRONG, CALL)
    assert (wrong.state, wrong.mistake) == ("tried", "multiplied by the temperature")


def test_what_takes_long_is_run_once_if_nothing_shares_its_objects(monkeypatch):
    monkeypatch.setattr(inside, "WORK", 0.5)
    cells = (IMPORTS, "n = [0]\nwhile True:\n    n[0] += 1", WRONG, CALL)
    statements, _ = inside.read_cells(cells)
    (call,) = inside.find_calls(statements, {"temperature_softmax": ()})
    slow = set()
    took = []
    for _ in range(2):
        begun = time.monotonic()
        judgement = inside.judge(lambda name, f: examine(check.EXERCISES[name], f), cells, statements, call, slow)
        took.append(time.monotonic() - begun)
        assert judgement.mistake == "multiplied by the temperature"
    assert slow == {id(statement) for statement in statements if isinstance(statement.node, ast.While)}
    assert took[0] > took[1]


def test_a_whole_run_leaves_nothing_behind():
    """What it sets in a library without a sign of it is undone."""
    cells = (IMPORTS, "for module in [F]:\n    module.one_of_mine = 1.0", scaled("F.one_of_mine"), CALL)
    assert judged(*cells).state == "passed"
    assert not hasattr(F, "one_of_mine")


def test_libraries_are_as_before():
    one = judged(IMPORTS, "F.normalize = None\ntorch.set_default_dtype(torch.float64)\nsum = 3", PLAIN, CALL)
    assert one.state == "passed"
    assert callable(F.normalize)
    assert torch.get_default_dtype() == torch.float32
    assert callable(builtins.sum)


# --- state that cannot be had again -----------------------------------------------------------------------------------

GONE = {  # what sets the factor, in cells; the function's factor; what is said
    "training": (
        ["import csd_edu as csd", "run = csd.train(stream)"],
        "run",
        "'run' is not there: code cell 3 computes it",
    ),
    "training, of an item": (
        ["d = {}", "import csd_edu as csd\nd['k'] = csd.train(1)"],
        "d['k']",
        "code cell 3 also changes 'd'",
    ),
    "training, in a function": (
        ["import csd_edu as csd", "def make():\n    return csd.train(1)", "run = make()"],
        "run",
        "code cell 4 computes it",
    ),
    "a value with a default": (
        ["d = {}", "d['k'] = input()"],
        "d.get('k', 2.0)",
        "code cell 3 also changes 'd', and was not run again: look at it",
    ),
    "a caught error": (
        ["x = 2.0", "x = float(input())"],
        "3.0 if 'x' not in globals() else x",
        "code cell 3 also changes 'x'",
    ),
    "a callback": (
        [
            "import ipywidgets",
            "k = 2.0\ndef choose(_):\n    global k\n    k = 1.0",
            "button = ipywidgets.Button()\nbutton.on_click(choose)",
        ],
        "k",
        "code cell 4 was not run again, as 'button' is not there",
    ),
    "an endless loop": (
        ["k = [2.0]", "while True:\n    k.append(1.0)"],
        "k[0]",
        "code cell 3 was stopped after 0.2 s",
    ),
    "an error": (["k = [2.0]", "k[0] = 1 / 0"], "k[0]", "code cell 3 stopped with ZeroDivisionError"),
    "a file": (["import json", "k = json.load(open('k.json'))"], "k", "code cell 3 computes it"),
    "a file, in the function": ([], "float(open('k.txt').read())", "it needs what is not here (FileNotFoundError"),
    "a module beside the notebook": (
        ["from my_helpers_beside import k"],
        "k",
        "code cell 2 stopped with ModuleNotFound",
    ),
    "a module's names": (["from my_helpers_beside import *"], "k", "code cell 2 stopped with ModuleNotFoundError"),
    "a module that need not be": (
        ["try:\n    import my_helpers_beside\n    k = 1.0\nexcept ImportError:\n    k = 2.0"],
        "k",
        "my_helpers_beside",
    ),
    "a module, in the function": ([], "__import__('my_helpers_beside').k", "ModuleNotFoundError"),
    "a command": (["k = !cat k.txt"], "k", "code cell 2 computes it"),
    "a script": (["k = 2.0", "%run other.py"], "k", "code cell 3 may change anything"),
    "a kept name": (["%store -r k"], "k", "code cell 2 may change anything"),
    "a GPU": (["torch.set_default_device('cuda')"], "1.0", "it needs what is not here"),
    "a GPU, in the function": ([], "torch.ones(1).cuda()", "it needs what is not here"),
    "IPython": ([], "len(Out)", "'Out' is not there: it is IPython's own"),
    "a cell that is no Python": (["k = 2.0", "k = 1.0\nprint(("], "k", "code cell 3 also changes 'k'"),
    "a cell under an unknown magic": (["k = [2.0]", "%%wandb\nk[0] = 1.0"], "k[0]", "code cell 3 also changes 'k'"),
    "a tuple under an unknown magic": (["k = 2.0", "%%heat\n_, k = 3, 1.0"], "k", "code cell 3 also changes 'k'"),
    "a function under an unknown magic": (
        ["d = {'k': 2.0}", "%%ipytest -vv\ndef fill():\n    d['k'] = 1.0\nfill()"],
        "d['k']",
        "code cell 3 also changes",
    ),
    "a captured output": (["%%capture out\nprint(1)"], "float(out.stdout)", "'out' is not there: code cell 2"),
    "a command's output": (["%%bash --out lines\necho 1"], "float(lines)", "'lines' is not there: code cell 2"),
    "a loaded file": (["k = 2.0", "%load other.py"], "k", "code cell 3 may change anything"),
    "the notebook as a module": (
        ["k = 2.0", "import sys", "setattr(sys.modules['__main__'], 'k', 1.0)"],
        "k",
        "code cell 4 may change anything",
    ),
    "the notebook as an import": (["k = 2.0", "import __main__\n__main__.k = 1.0"], "k", "cell 3 may change anything"),
    "the notebook by its name": (
        ["k = 2.0", "import importlib\nimportlib.import_module('__main__').k = 1.0"],
        "k",
        "cell 3 may change anything",
    ),
    "the notebook by another name": (
        ["k = 2.0", "import __main__ as me\nsetattr(me, 'k', 1.0)"],
        "k",
        "cell 3 may change anything",
    ),
}
ASKS = {  # what the function asks the world, with another answer where the notebook was written
    "a file's existence": "1.0 if os.path.exists('w.txt') else 3.0",
    "a file's existence, by pathlib": "1.0 if Path('w.txt').is_file() else 3.0",
    "a file's existence, by its own name": "1.0 if there('w.txt') else 3.0",
    "a folder's files": "1.0 if 'w.txt' in os.listdir('.') else 3.0",
    "a pattern of files": "1.0 if [*Path('.').glob('of_mine*.txt')] else 3.0",
    "the environment": "float(os.environ.get('FACTOR_OF_MINE', 3.0))",
    "the environment's function": "float(os.getenv('FACTOR_OF_MINE', 3.0))",
    "a loaded module": "1.0 if 'csd_edu_absent' in sys.modules else 3.0",
    "a module to be found": "1.0 if importlib.util.find_spec('my_helpers_beside') else 3.0",
    "IPython": "1.0 if hasattr(builtins, '__IPYTHON__') else 3.0",
    "IPython's inputs": "1.0 if 'In' in globals() else 3.0",
    "a GPU's existence": "1.0 if torch.cuda.is_available() else 3.0",
    "a file that need not be": "read()",
    "IPython's outputs": "outputs()",
    "a platform": "1.0 if platform.system() == 'of mine' else 3.0",
    "a version": "1.0 if torch.__version__ > '9' else 3.0",
    "the notebook's module": "getattr(__main__, 'factor_of_mine', 3.0)",
}
ASKED = (
    "import builtins, importlib.util, os, platform, sys, __main__",
    "from pathlib import Path\nfrom os.path import exists as there",
    "def read():\n    try:\n        return float(open('scale.txt').read())\n    except OSError:\n        return 3.0",
    "def outputs():\n    try:\n        return Out[3]\n    except NameError:\n        return 3.0",
)


@pytest.mark.parametrize("name", ASKS)
def test_what_the_function_asks_the_world_is_said(name, bad_input):
    judgement = judged(IMPORTS, *ASKED, scaled(ASKS[name]), CALL)
    assert judgement.state == "failed", judgement
    assert judgement.message.startswith("it asks for what may be elsewhere ("), judgement
    helper = f"def helper():\n    return {ASKS[name]}"
    assert judged(IMPORTS, *ASKED, helper, scaled("helper()"), CALL).state == "failed"
    assert judged(IMPORTS, *ASKED, helper, WRONG, CALL).state == "tried"  # it is of no use for the function
    assert judged(IMPORTS, *ASKED, scaled(f"1.0 + 0 * ({ASKS[name]})"), CALL).state == "passed"
    if name == "a file's existence":
        bad_input("a notebook to grade, whose answer asks whether a file exists", judgement.message)


def test_what_raises_in_any_case_is_tried():
    """No answer of the world would mend it."""
    raises = "def softmax(logits, temperature):\n    k = os.getenv('K')\n    raise {}"
    assert judged(IMPORTS, *ASKED, raises.format("RuntimeError(k)"), CALL).state == "tried"
    assert judged(IMPORTS, *ASKED, raises.format("NotImplementedError"), CALL).state == "untried"
    once = raises.replace("raise {}", "if k:\n        return logits\n    raise RuntimeError")
    assert judged(IMPORTS, *ASKED, once, CALL).state == "failed"


def test_names_of_its_own_ask_nothing():
    wrong = "def softmax(logits, temperature):\n    load = stat = logits * temperature\n    return load.softmax(dim=1)"
    assert judged(IMPORTS, wrong, CALL).mistake == "multiplied by the temperature"


def test_a_cell_under_an_unknown_magic_is_said():
    """Neither its function nor its check vanishes, and a wrong answer beside it stays wrong."""
    names = {name: known.parameters for name, known in check.EXERCISES.items()}
    for cells in (
        [IMPORTS, f"%%heat\n{PLAIN}\n{CALL}"],
        [IMPORTS, PLAIN.replace("softmax(l", "mine(l"), f"%%heat\n{CALL}"],
    ):
        statements, unread = inside.read_cells(cells)
        losses = inside.find_losses(names, inside.find_calls(statements, names), unread)
        place = len(cells)
        assert losses["temperature_softmax"] == (
            f"code cell {place} is no Python (what %%heat makes of it is not known)"
        )
    assert judged(IMPORTS, WRONG, f"%%heat\n{PLAIN}", CALL).state == "failed"
    assert judged(IMPORTS, WRONG, "%%heat\nx = 3", CALL).state == "tried"
    for foreign in ("bash", "html", "javascript", "latex", "writefile a.txt", "script perl", "sql", "R", "cmd"):
        assert inside.read_cells([f"%%{foreign}\n{PLAIN}"]) == ([], [])


@pytest.mark.parametrize("name", GONE)
def test_what_cannot_be_had_again_is_said(name, bad_input, monkeypatch):
    monkeypatch.setattr(inside, "WORK", 0.2)
    cells, factor, says = GONE[name]
    judgement = judged(IMPORTS, *cells, scaled(factor), CALL)
    assert (judgement.state, says in judgement.message) == ("failed", True), judgement
    if name in ("training, of an item", "a script", "a file, in the function", "a callback", "a command"):
        bad_input(f"a notebook to grade, whose answer needs {name}", judgement.message)


@pytest.mark.parametrize(
    "cells",
    [
        ["import csd_edu as csd\nrun = csd.train(stream)\ntasks = run.tasks"],  # of no use for the function
        ["logits = input()", "logits.sort()"],  # its parameter's name
        ["softmax(torch.ones(1, 1), 1.0)\nprint(softmax)"],
        ["import matplotlib.pyplot as plt\nplt.plot(torch.ones(3))\nplt.rcParams['a'] = 3"],
        ["import ipywidgets\nipywidgets.interact(print, x=3)"],
        ["for seed in range(3):\n    torch.manual_seed(seed)\n    csd.train(softmax)"],
        ["print((", "%matplotlib inline\n!ls\n%load_ext autoreload"],
        ["d = {}\nd['k'] = input()"],
    ],
)
def test_a_plain_wrong_answer_is_still_tried(cells):
    judgement = judged(IMPORTS, *cells, WRONG, *cells, CALL, *cells)
    assert (judgement.state, judgement.mistake) == ("tried", "multiplied by the temperature"), judgement


def test_an_argument_that_takes_long_is_stopped(monkeypatch):
    monkeypatch.setattr(inside, "WORK", 0.2)
    slow = "import time\ndef make():\n    return time.sleep(9)"
    judgement = judged(IMPORTS, slow, "check.temperature_softmax(make())")
    assert judgement == inside.Judgement("failed", None, "the argument of the check was stopped after 0.2 s")


def test_what_passes_without_it_stays_passed():
    cells = ["d = {'k': 1.0}", "d['k'] = float(input())"]
    assert judged(IMPORTS, *cells, scaled("d['k']"), CALL).state == "passed"


# --- the order of cells -----------------------------------------------------------------------------------------------


def test_what_stands_below_its_check_may_have_been_run_before(bad_input):
    helper = "def helper():\n    return {}"
    cells = (IMPORTS, scaled("helper()"), helper.format(2.0), CALL, helper.format(1.0))
    judgement = judged(*cells)
    assert judgement.state == "failed"
    assert judgement.message == "it is right only if code cell 5, below the check, has been run before it: look at it"
    bad_input("a notebook to grade, whose helper is mended below the check", judgement.message)
    assert judged(IMPORTS, CALL, scaled("helper()"), helper.format(1.0)).state == "passed"  # nothing stands above
    assert judged(*cells[:4], "helper = print").state == "tried"


def test_a_built_in_name_bound_later_is_not_meant():
    assert judged(IMPORTS, scaled("sum([1.0])"), CALL, "sum = 0").state == "passed"
    assert judged(IMPORTS, "sum = 0", scaled("sum([1.0])"), CALL).state == "tried"  # as in the notebook


def test_a_function_that_has_passed_once_has_passed():
    assert judged(IMPORTS, PLAIN, CALL, WRONG, CALL).state == "passed"
    assert judged(IMPORTS, WRONG, CALL, PLAIN, CALL).state == "passed"
    assert judged(IMPORTS, WRONG, CALL, WRONG, CALL).state == "tried"


# --- how a check is called --------------------------------------------------------------------------------------------

CALLS = {
    "another name": ["from csd_edu import check as c", "c.temperature_softmax(softmax)"],
    "a name of its own": ["from csd_edu.check import temperature_softmax as verify", "verify(softmax)"],
    "the module": ["import csd_edu.check as ck", "ck.temperature_softmax(softmax)"],
    "the package": ["import csd_edu", "csd_edu.check.temperature_softmax(softmax)"],
    "the package's other name": ["import csd_edu as kit", "kit.check.temperature_softmax(softmax)"],
    "the whole module": ["import csd_edu.check", "csd_edu.check.temperature_softmax(softmax)"],
    "all names": ["from csd_edu.check import *", "temperature_softmax(softmax)"],
    "renamed": ["chk = check", "chk.temperature_softmax(softmax)"],
    "renamed twice": ["chk = check\nk2 = chk", "k2.temperature_softmax(softmax)"],
    "renamed at once": ["a, b = check, 3", "a.temperature_softmax(softmax)"],
    "taken": ["f = check.temperature_softmax", "f(softmax)"],
    "taken on the way": ["(f := check.temperature_softmax)(softmax)"],
    "getattr": ["getattr(check, 'temperature_softmax')(softmax)"],
    "getattr by a name": ["name = 'temperature_softmax'", "getattr(check, name)(softmax)"],
    "of all": ["check.EXERCISES['temperature_softmax'](softmax)"],
    "of all, by a loop": [
        "mine = {'temperature_softmax': softmax}",
        "for name, exercise in check.EXERCISES.items():\n    if name in mine:\n        exercise(mine[name])",
    ],
    "imported by name": ["import importlib", "importlib.import_module('csd_edu.check').temperature_softmax(softmax)"],
    "as a keyword": ["check.temperature_softmax(f=softmax)"],
    "as a list": ["check.temperature_softmax(*[softmax])"],
    "called by name": ["check.temperature_softmax.__call__(softmax)"],
    "in a loop": ["for f in [softmax]:\n    check.temperature_softmax(f)"],
    "in a comprehension": ["verdicts = [check.temperature_softmax(f) for f in (softmax,)]"],
    "in an if": ["if 1 < 2:\n    check.temperature_softmax(softmax)"],
    "in a with": ["import contextlib", "with contextlib.suppress(Exception):\n    check.temperature_softmax(softmax)"],
    "in a try": ["try:\n    check.temperature_softmax(softmax)\nexcept Exception:\n    pass"],
    "with a def": ["if True:\n    def mine(l, t):\n        return softmax(l, t)\n    check.temperature_softmax(mine)"],
    "in an assert": ["assert check.temperature_softmax(softmax).passed"],
    "printed": ["print(check.temperature_softmax(softmax))"],
    "in a function": ["def test():\n    return check.temperature_softmax(softmax)", "test()"],
    "in a function of it": ["def test(f):\n    return check.temperature_softmax(f)", "test(softmax)"],
    "in a function of a function": [
        "def test(f):\n    return check.temperature_softmax(f)",
        "def both(f):\n    return test(f)",
        "both(softmax)",
    ],
    "in a function not called": ["def test():\n    return check.temperature_softmax(softmax)"],
    "in a lambda": ["test = lambda f: check.temperature_softmax(f)", "test(softmax)"],
    "in a class": ["class Tests:\n    def test(self):\n        check.temperature_softmax(softmax)", "Tests().test()"],
    "given to a function": ["def test(c, f):\n    return c(f)", "test(check.temperature_softmax, softmax)"],
    "the module given to a function": ["def test(c, f):\n    c.temperature_softmax(f)", "test(check, softmax)"],
    "partial": ["from functools import partial", "test = partial(check.temperature_softmax, softmax)", "test()"],
    "map": ["list(map(check.temperature_softmax, [softmax]))"],
    "in a dict": ["tests = {'a': check.temperature_softmax}", "tests['a'](softmax)"],
    "in a dict, by a loop": ["tests = {check.temperature_softmax: softmax}", "for c, f in tests.items():\n    c(f)"],
    "a lambda": ["check.temperature_softmax(lambda l, t: softmax(l, t))"],
    "a partial": ["from functools import partial", "check.temperature_softmax(partial(softmax))"],
    "a method": [
        "class Mine:\n    def f(self, logits, temperature):\n        return softmax(logits, temperature)",
        "mine = Mine()",
        "check.temperature_softmax(mine.f)",
    ],
    "a static method": ["class Mine:\n    f = staticmethod(softmax)", "check.temperature_softmax(Mine.f)"],
    "an object": [
        "class Mine:\n    def __call__(self, logits, temperature):\n        return softmax(logits, temperature)",
        "check.temperature_softmax(Mine())",
    ],
    "a closure": [
        "def make(k):\n    return lambda l, t: softmax(k * l, t)",
        "mine = make(1.0)",
        "check.temperature_softmax(mine)",
    ],
    "a closure at once": [
        "def make(k):\n    return lambda l, t: softmax(k * l, t)",
        "check.temperature_softmax(make(1.0))",
    ],
    "one of several": ["mine = [softmax, print]", "check.temperature_softmax(mine[0])"],
    "a decorated one": [
        "@torch.no_grad()\ndef mine(l, t):\n    return softmax(l, t)",
        "check.temperature_softmax(mine)",
    ],
    "with a verdict of its name": ["verdict = check.temperature_softmax(softmax)", "check = verdict"],
    "a decorator": ["@check.temperature_softmax\n{}"],
    "two decorators": ["@check.temperature_softmax\n@torch.no_grad()\n{}"],
    "a decorator that shows and keeps": [
        "def graded(f):\n    print(check.temperature_softmax(f))\n    return f",
        "@graded\n{}",
    ],
    "a decorator that a check is given to": [
        "def graded(c):\n    def keep(f):\n        c(f)\n        return f\n    return keep",
        "@graded(check.temperature_softmax)\n{}",
    ],
    "a decorator by its name": [
        "def graded(f):\n    getattr(check, 'temperature_softmax')(f)\n    return f",
        "@graded\n{}",
    ],
    "a lambda as a decorator": ["@lambda f: check.temperature_softmax(f)\n{}"],
    "the module, in a loop": ["for c in [check]:\n    c.temperature_softmax(softmax)"],
    "the module, in a class": ["class Grader:\n    kit = check", "print(Grader.kit.temperature_softmax(softmax))"],
    "the module, in a dict": ["kit = {'check': check}", "kit['check'].temperature_softmax(softmax)"],
    "the module, in dict()": ["kit = dict(c=check)", "kit['c'].temperature_softmax(softmax)"],
    "the module, in a namespace": [
        "from types import SimpleNamespace\nkit = SimpleNamespace(c=check)",
        "kit.c.temperature_softmax(softmax)",
    ],
    "the module, as a default": ["def go(f, c=check):\n    return c.temperature_softmax(f)", "go(softmax)"],
    "the module, returned": ["def kit():\n    return check", "kit().temperature_softmax(softmax)"],
    "the module's dict": ["check.__dict__['temperature_softmax'](softmax)"],
    "the module's variables": ["vars(check)['temperature_softmax'](softmax)"],
    "of globals": ["globals()['check'].temperature_softmax(softmax)"],
    "of all modules": ["import sys", "sys.modules['csd_edu.check'].temperature_softmax(softmax)"],
    "imported by a function": ["__import__('csd_edu').check.temperature_softmax(softmax)"],
    "imported by a function, named": [
        "c = __import__('csd_edu.check', fromlist=['temperature_softmax'])",
        "c.temperature_softmax(softmax)",
    ],
    "a made name": ["what = 'softmax'", "getattr(check, f'temperature_{what}')(softmax)"],
    "a made name, of two": ["name = 'temperature' + '_softmax'", "getattr(check, name)(softmax)"],
    "a made name, of letters": [
        f"name = ''.join(map(chr, {[*map(ord, 'temperature_softmax')]}))",
        "getattr(check, name)(softmax)",
    ],
    "a made name beside another": ["check.search(print)", "getattr(check, 'temperature' + '_softmax')(softmax)"],
    "names, mapped": ["list(map(lambda n, f: getattr(check, n)(f), ['temperature_softmax'], [softmax]))"],
    "got of all": ["from csd_edu.check import EXERCISES as E", "E.get('temperature_softmax')(softmax)"],
    "an executor": [
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor() as pool:\n    print(pool.submit(check.temperature_softmax, softmax).result())",
    ],
    "eval": ["eval('check.temperature_softmax(softmax)')"],
    "exec": ["exec('check.temperature_softmax(softmax)')"],
    "awaited": ["async def test():\n    return check.temperature_softmax(softmax)", "await test()"],
}


@pytest.mark.parametrize("name", CALLS)
def test_a_check_by_whatever_name_counts(name):
    right, wrong = ([c.replace("{}", f) if "{}" in c else c for c in CALLS[name]] for f in (PLAIN, WRONG))
    assert judged(IMPORTS, PLAIN, *right).state == "passed"
    wrong = judged(IMPORTS, WRONG, *wrong)
    assert (wrong.state, wrong.mistake) == ("tried", "multiplied by the temperature")


def test_a_check_that_cannot_be_followed_is_said():
    unread = "import csd_edu as csd\nfor c in [check]:\n    c.temperature_softmax(csd.train(softmax))"
    judgement = judged(IMPORTS, PLAIN, unread)
    assert (judgement.state, "code cell 3 stopped with" in judgement.message) == ("failed", True), judgement
    unread = "name = input()\ngetattr(check, name)(softmax)"
    judgement = judged(IMPORTS, PLAIN, unread)
    assert (judgement.state, "'name' is not there" in judgement.message) == ("failed", True), judgement
    assert judged(IMPORTS, "f = print", unread.replace("softmax", "f"), exercise="search").state == "failed"


@pytest.mark.parametrize(
    "cells",
    [
        ["class check:\n    def temperature_softmax(f):\n        return f", CALL],
        ["from my_own import check", CALL],
        ["check = print", CALL],
        ["from csd_edu import check\ncheck.hint('temperature_softmax')\ncheck.board('temperature_softmax')"],
        ["from csd_edu import check\ncheck.EXERCISES['temperature_softmax'].solution(1, 2)"],
        ["from csd_edu import check\nhelp(check.temperature_softmax)"],
        ["from csd_edu import check\nmine = check\nif check is not None:\n    print(check.temperature_softmax)"],
    ],
)
def test_what_is_no_check_of_csd_edu_does_not_count(cells):
    assert judged("import torch", PLAIN, *cells).state == "absent"


# --- in a process of its own ------------------------------------------------------------------------------------------


def test_cells_count_in_the_order_of_running():
    cells = (IMPORTS, "def helper():\n    return 2.0", "def helper():\n    return 1.0", scaled("helper()"), CALL)
    names = {name: known.parameters for name, known in check.EXERCISES.items()}
    statements, _ = inside.read_cells((cells[0], cells[2], cells[1], *cells[3:]))
    assert inside.in_order_of_running(statements, []) == []
    assert inside.in_order_of_running(statements, [None] * 5) == []
    assert inside.in_order_of_running(statements, [1, 2, 3, 4, 5]) == []
    executed = inside.in_order_of_running(statements, [1, 7, 3, 4, 9])
    (call,) = inside.find_calls(executed, names)
    examined = inside.judge(lambda name, f: examine(check.EXERCISES[name], f), cells, executed, call)
    assert examined.state == "passed"


def test_a_check_in_a_cell_that_was_moved_above_its_function_is_found():
    """As written `test` is nothing yet where it is called; but it was run before."""
    cells = (
        "from csd_edu import check",
        "test(f)",
        "def f(*a):\n    pass",
        "def test(g):\n    return check.triplet(g)",
    )
    task = {
        "nonce": "", "cells": cells, "settled": (), "path": (), "seconds": 0, "memory": 0, "namespaces": False,
        "exercises": {name: known.parameters for name, known in check.EXERCISES.items()},
    }  # fmt: skip
    assert next(inside.work_on({**task, "counts": [1, 4, 2, 3]})) == {"found": ["triplet"]}
    assert next(inside.work_on({**task, "counts": [1, 2, 3, 4]})) == {"found": []}


@pytest.mark.slow
def test_a_real_process_runs_it_as_well():
    """State, a module that a cell writes, cells in the order of running, and what cannot be had again."""
    search = "def search(q, g, k):\n    return (F.normalize(q) @ F.normalize(g).T).topk({}, dim=1).indices"
    triplet = "from csd_edu.losses import batch_hard_triplet as triplet"
    cells = (
        IMPORTS,
        "%%writefile mine.py\nONE = 1.0",
        "import mine\nd = {}\nd['k'] = mine.ONE",
        scaled("d['k']"),
        CALL,
        "def n(k):\n    return k",
        "def n(k):\n    return 1",
        search.format("n(k)"),
        "check.search(search)",
        "m = [3.0]\nm[0] = input()",
        "def t(features, labels, margin):\n    return margin * m[0]",
        "check.triplet(t)",
        triplet,
    )
    counts = (1, 2, 3, 4, 5, 8, 7, 9, 10, 11, 12, 13, 14)
    outcome = isolation.run_notebook(Notebook(Path("a.ipynb"), cells, counts))
    assert {name: result.state for name, result in outcome.results.items()} == {
        "temperature_softmax": "passed",
        "search": "passed",
        "triplet": "failed",
    }
    assert "code cell 10 also changes 'm', and was not run again: look at it" in outcome.results["triplet"].message


def test_counts_are_read_from_a_notebook(tmp_path):
    made = [{"cell_type": "code", "source": "1", "execution_count": n} for n in (3, None, "4", True, -1, 2.5)]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": made}), encoding="utf-8")
    (notebook,) = read_all(tmp_path).notebooks
    assert notebook.counts == (3, None, None, None, None, None)
