"""Notebooks by the hundred, made from a seed: what a right answer lives on is moved about, and files are damaged."""

from __future__ import annotations

import ast
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from csd_edu import check
from csd_edu.check.running import examine
from csd_edu.grade import inside, isolation
from csd_edu.grade.submissions import Notebook, read_all
from tests.answers import RIGHT, WRONG

pytestmark = pytest.mark.campaign

IMPORTS = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\nimport csd_edu as csd\n"
IMPORTS += "from scipy import stats\nfrom csd_edu import check"
SLOW = ("train_until", "my_memory")
EXERCISES = [name for name in RIGHT if name not in SLOW]

STATE: dict[str, tuple[list[str], str]] = {  # how a number comes to be, in cells; how the function reads it
    "an item": (["S = {{}}", "S['k'] = {0}"], "S['k']"),
    "an append": (["S = []\nS.append({0})"], "S[-1]"),
    "a sum": (["S = {0} - 2", "S += 1\nS += 1"], "S"),
    "a loop": (["S = {{}}", "for i in range(3):\n    S[i] = {0}"], "S[2]"),
    "a loop over parts": (["S = [[0], [1]]", "for part in S:\n    part[0] = {0}"], "S[1][0]"),
    "a while": (["S = [0]", "while len(S) < 3:\n    S.append({0})"], "S[2]"),
    "a with": (["S = [0]\nwith torch.no_grad():\n    S[0] = {0}"], "S[0]"),
    "a try": (["S = {{}}", "try:\n    S['k']\nexcept KeyError:\n    S['k'] = {0}"], "S['k']"),
    "update": (["S = dict(k=None)", "S.update(k={0})"], "S['k']"),
    "setdefault": (["S = {{}}", "_ = S.setdefault('k', {0})"], "S['k']"),
    "a slice": (["S = [1, 2, 3]", "S[1:] = [{0}]"], "S[1]"),
    "a class": (["class S:\n    k = None", "S.k = {0}"], "S.k"),
    "an object": (["class Box:\n    pass", "S = Box()", "S.k = {0}"], "S.k"),
    "setattr": (["class Box:\n    pass", "S = Box()\nsetattr(S, 'k', {0})"], "S.k"),
    "a method": (["class Box:\n    def fill(self, k):\n        self.k = k", "S = Box()", "S.fill({0})"], "S.k"),
    "an attribute of a function": (["def S():\n    return S.k", "S.k = {0}"], "S()"),
    "global": (["def fill():\n    global S\n    S = {0}", "fill()"], "S"),
    "a function that fills": (["S = []", "def fill(k):\n    S.append(k)", "fill({0})"], "S[0]"),
    "a function of its argument": (["S = []", "def fill(s, k):\n    s.append(k)", "fill(S, {0})"], "S[0]"),
    "another name": (["S = []", "T = S", "T.append({0})"], "S[0]"),
    "a bound method": (["S = []", "put = S.append", "put({0})"], "S[0]"),
    "map": (["S = []", "list(map(S.append, [{0}]))"], "S[0]"),
    "a comprehension": (["S = []", "[S.append({0}) for _ in range(2)]"], "S[1]"),
    "globals": (["globals()['S'] = {0}"], "S"),
    "exec": (["exec('S = {0}')"], "S"),
    "a walrus": (["print(S := {0})"], "S"),
    "unpacking": (["def two():\n    return 1, {0}", "_, S = two()"], "S"),
    "a helper": (["def S():\n    return {0}"], "S()"),
    "a helper made again": (["def S():\n    return None", "def S():\n    return {0}"], "S()"),
    "a helper of a helper": (["def S():\n    return T()", "def T():\n    return {0}"], "S()"),
    "a registry": (
        ["S = {{}}\ndef known(f):\n    S[f.__name__] = f\n    return f", "@known\ndef k():\n    return {0}"],
        "S['k']()",
    ),
    "a tensor": (["S = torch.zeros(1, dtype=torch.float64)", "S.fill_({0})"], "type({0})(S.item())"),
    "an array": (["S = np.zeros(2)", "S[1:] += {0}"], "type({0})(S[1])"),
    "a deque": (["from collections import deque\nS = deque()", "S.appendleft({0})"], "S[0]"),
    "a counter": (["import collections\nS = collections.defaultdict(list)", "S['k'].append({0})"], "S['k'][0]"),
    "a heap": (["import heapq\nS = []", "heapq.heappush(S, {0})"], "S[0]"),
    "json": (["import json\nS = json.loads('[{0}]')"], "S[0]"),
    "time": (["%time S = {0}"], "S"),
    "a timed cell": (["%%time\nS = []\nS.append({0})"], "S[0]"),
    "a patched module": (["F.number_k = {0}"], "F.number_k"),
    "a written module": (["%%writefile {1}.py\nk = {0}", "import {1}"], "{1}.k"),
}
GONE: dict[str, tuple[list[str], str]] = {
    "asked": (["S = {{}}", "S['k'] = input()"], "S.get('k')"),
    "trained": (["S = csd.train(csd.split(csd.load('digits')), csd.methods.csd).n_tasks * 0 + {0}"], "S"),
    "a file": (["S = [None]", "S[0] = {0} if open('numbers.txt').read() else 0"], "S[0]"),
    "a script": (["S = None", "%run numbers.py"], "S"),
    "a shell": (["S = !echo {0}"], "type({0})(S[0])"),
    "elsewhere": (["from numbers_of_mine import S"], "S"),
    "endless": (["S = [None]", "while S:\n    S.append(1)"], "S[0]"),
}
CALLS = {
    "plainly": ["check.{name}({f})"],
    "by a keyword": ["check.{name}(f={f})"],
    "renamed": ["from csd_edu import check as c", "c.{name}({f})"],
    "alone": ["from csd_edu.check import {name} as verify", "verify({f})"],
    "by its module": ["import csd_edu.check as ck", "ck.{name}({f})"],
    "by the package": ["csd.check.{name}({f})"],
    "by the whole package": ["import csd_edu", "csd_edu.check.{name}({f})"],
    "by another name": ["chk = check", "chk.{name}({f})"],
    "taken": ["verify = check.{name}", "verify({f})"],
    "by getattr": ["getattr(check, '{name}')({f})"],
    "of all": ["check.EXERCISES['{name}']({f})"],
    "in a loop": ["for candidate in ({f},):\n    check.{name}(candidate)"],
    "in a function": ["def test():\n    return check.{name}({f})", "test()"],
    "in a function of it": ["def test(candidate):\n    return check.{name}(candidate)", "test({f})"],
    "by map": ["list(map(check.{name}, [{f}]))"],
    "by a table": [
        "tests = {{'{name}': {f}}}",
        "for n, candidate in tests.items():\n    getattr(check, n)(candidate)",
    ],
    "in a with": ["import warnings\nwith warnings.catch_warnings():\n    check.{name}({f})"],
    "in a try": ["try:\n    assert check.{name}({f}).passed\nfinally:\n    pass"],
    "printed": ["print(check.{name}({f}))"],
    "by partial": ["import functools", "check.{name}(functools.partial({f}))"],
    "by a lambda": ["check.{name}(lambda {parameters}: {f}({parameters}))"],
    "by a wrapper": ["def mine({parameters}):\n    return {f}({parameters})", "check.{name}(mine)"],
    "by one of a list": ["mine = []\nmine.append({f})", "check.{name}(mine[0])"],
    "by a method": [
        "class Mine:\n    def f(self, {parameters}):\n        return {f}({parameters})",
        "check.{name}(Mine().f)",
    ],
}
NOISE = [
    "%matplotlib inline", "!ls -l", "# a remark", "", "print(torch.rand(3).sum())", "%%bash\nls", "np.zeros(3)?",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])", "run = csd.train(1, 2)\nprint(run.metrics)", "1 / 0",
    "%load_ext autoreload\n%autoreload 2", "torch.manual_seed(0)", "help(check)", "check.board('csd')", "x = (1,\n 2)",
    "for step in range(2):\n    print(step)", "%%html\n<b>hello</b>", "'''\n%time\n'''", "print((", "check.hint('csd')",
]  # fmt: skip


def name_of(source: str) -> str:
    return re.findall(r"^(?:def|class) (\w+)", source, re.M)[0]


def wrong_source(exercise: str, mistake: str) -> str:
    how = WRONG[exercise][mistake]
    if isinstance(how, str):
        return how
    source = RIGHT[exercise]
    for old, new in zip(how[::2], how[1::2], strict=True):
        source = source.replace(old, new)
    return source


def numbers(source: str) -> list[ast.Constant]:
    """Return the numbers in the bodies of a source's functions."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    inner = [node for function in functions for statement in function.body for node in ast.walk(statement)]
    strings = {id(part) for node in inner if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    constants = [node for node in inner if isinstance(node, ast.Constant) and id(node) not in strings]
    return [node for node in constants if type(node.value) in (int, float)]


def moved(source: str, rng: random.Random, ways: dict[str, tuple[list[str], str]]) -> tuple[str, list[str], str]:
    """Return a source in which a number is read from a state, the cells that make the state, and how they do."""
    found = numbers(source)
    if not found:
        return source, [], "nothing"
    number, way = rng.choice(found), rng.choice(sorted(ways))
    value, own = repr(number.value), f"module_{rng.randrange(10**9)}"
    lines = source.split("\n")
    line = lines[number.lineno - 1]
    cells, read = ways[way]
    lines[number.lineno - 1] = f"{line[: number.col_offset]}({read.format(value, own)}){line[number.end_col_offset :]}"
    return "\n".join(lines), [cell.format(value, own) for cell in cells], way


def notebook(
    rng: random.Random, exercise: str, source: str, ways: dict[str, tuple[list[str], str]] = STATE
) -> tuple[list[str], list[int | None], str]:
    """Return cells that check a source, the counts of their running, and in words what was done."""
    source, state, way = moved(source.strip(), rng, ways)
    how = rng.choice(sorted(CALLS))
    given = {"name": exercise, "f": name_of(source), "parameters": ", ".join(check.EXERCISES[exercise].parameters)}
    calls = [cell.format(**given) for cell in CALLS[how]]
    definition = [source]
    if rng.random() < 0.2:  # an earlier try, overwritten
        definition.insert(0, f"def {given['f']}(*anything):\n    raise NotImplementedError")
    body = rng.choice([[*state, *definition], [*definition, *state], [*definition[:-1], *state, definition[-1]]])
    cells = [*rng.choice([[IMPORTS], IMPORTS.split("\n")]), *body, *calls]
    for _ in range(rng.randrange(4)):
        cells.insert(rng.randrange(len(cells) + 1), rng.choice(NOISE))
    counts: list[int | None] = [n + 1 for n in range(len(cells))] if rng.random() < 0.5 else [None] * len(cells)
    if counts[0] and rng.random() < 0.5:  # a cell was moved after it had been run
        n = rng.randrange(len(cells))
        m = rng.randrange(len(cells))
        cells.insert(m, cells.pop(n))
        counts.insert(m, counts.pop(n))
        way += ", moved"
    style = rng.choice(["\n", "\n", "\r\n", "tabs", "\ufeff"])
    if style == "tabs":
        cells = [re.sub(r"^( {4})+", lambda found: "\t" * (len(found[0]) // 4), cell, flags=re.M) for cell in cells]
    elif style == "\r\n":
        cells = [cell.replace("\n", "\r\n") for cell in cells]
    elif style == "\ufeff":
        cells[0] = style + cells[0]
    return cells, counts, f"{exercise}: a number from {way}; checked {how}; {style!r}"


def graded(cells: Sequence[str], counts: Sequence[int | None]) -> dict[str, inside.Judgement]:
    """Judge in this process, as the process of a notebook would."""
    task = {
        "nonce": "", "cells": cells, "counts": counts, "settled": (), "path": (), "seconds": 0, "memory": 0,
        "exercises": {name: exercise.parameters for name, exercise in check.EXERCISES.items()}, "namespaces": False,
    }  # fmt: skip
    done = [message for message in inside.work_on(task) if "done" in message]
    return {one["done"]: inside.Judgement(one["state"], one["mistake"], one["message"]) for one in done}


@pytest.fixture
def in_here(monkeypatch, tmp_path):
    """Nothing of what limits a process is done to the one of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inside, "limit_work", lambda _: True)
    monkeypatch.setattr(inside, "limit_memory", lambda _: True)
    monkeypatch.setattr(inside, "_load_checks", lambda _: lambda name, f: examine(check.EXERCISES[name], f))
    monkeypatch.setattr(inside, "WORK", 1.0)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])


def told(words: str, judgement: object, cells: Sequence[str]) -> str:
    return f"{words}\n{judgement}\n" + "\n# ---\n".join(cells)


@pytest.mark.usefixtures("in_here", "one_thread")
def test_right_answers_are_passed_whatever_they_live_on():
    rng, states = random.Random(0), Counter()
    for n in range(420):
        exercise = EXERCISES[n % len(EXERCISES)]
        cells, counts, words = notebook(rng, exercise, RIGHT[exercise])
        judgement = graded(cells, counts).get(exercise)
        assert judgement is not None, told(words, judgement, cells)
        assert judgement.state in ("passed", "failed"), told(words, judgement, cells)
        states[judgement.state] += 1
        if judgement.state == "failed":
            print(told(words, judgement, cells))
    assert states["passed"] >= 0.97 * states.total(), states


@pytest.mark.usefixtures("in_here", "one_thread")
def test_what_cannot_be_had_again_blames_nobody():
    rng, states = random.Random(1), Counter()
    for n in range(72):
        exercise = EXERCISES[n % len(EXERCISES)]
        cells, counts, words = notebook(rng, exercise, RIGHT[exercise], GONE)
        judgement = graded(cells, counts).get(exercise)
        assert judgement is not None, told(words, judgement, cells)
        assert judgement.state in ("passed", "failed"), told(words, judgement, cells)
        states[judgement.state] += 1
    assert states["failed"] > states["passed"]


@pytest.mark.usefixtures("in_here", "one_thread")
def test_wrong_answers_are_never_passed():
    rng, states = random.Random(2), Counter()
    wrong = [(exercise, mistake) for exercise in EXERCISES for mistake in WRONG[exercise]]
    for exercise, mistake in rng.sample(wrong, 160):
        source = wrong_source(exercise, mistake)
        cells, counts, words = notebook(rng, exercise, source)
        judgement = graded(cells, counts).get(exercise)
        assert judgement is not None, told(words, judgement, cells)
        assert judgement.state != "passed", told(words, judgement, cells)
        if not may_be_elsewhere(judgement, source):
            states[judgement.state] += 1
        if judgement.state != "tried":
            print(told(words, judgement, cells))
    assert states["tried"] >= 0.95 * states.total(), states


@pytest.mark.usefixtures("in_here", "one_thread")
def test_wrong_answers_in_the_kits_notebooks_are_named():
    """They stand where the stubs stood; nothing else in these notebooks makes an answer doubtful."""
    seen = set()
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("0*.ipynb")):
        cells = ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"] if is_code(cell)]
        for exercise in EXERCISES:
            checks = [n for n, text in enumerate(cells) if re.match(rf"check\.{exercise}\(\w", text)]
            for n in checks:
                mistake = next(iter(WRONG[exercise]))
                source = wrong_source(exercise, mistake)
                given = re.findall(r"\((\w+)", cells[n])[0]
                answered = [*cells[:n], f"{IMPORTS}\n{source}\n{given} = {name_of(source)}", *cells[n:]]
                judgement = graded(answered, [])[exercise]
                if may_be_elsewhere(judgement, source):
                    continue
                assert (judgement.state, judgement.mistake) == ("tried", mistake), told(path.name, judgement, [source])
                seen.add(exercise)
    assert len(seen) >= 20


def may_be_elsewhere(judgement: inside.Judgement, source: str) -> bool:
    """Return whether an answer reads files, and is listed to be looked at for just that: it is blamed for nothing."""
    said = "it asks for what may be elsewhere (read_text)" in judgement.message
    return judgement.state == "failed" and said and "read_text" in source


def is_code(cell: dict[str, object]) -> bool:
    return cell["cell_type"] == "code"


def test_a_sample_in_processes_of_their_own():
    rng = random.Random(3)
    for n in range(0, 24, 3):
        exercise = EXERCISES[n % len(EXERCISES)]
        cells, counts, words = notebook(rng, exercise, RIGHT[exercise])
        outcome = isolation.run_notebook(Notebook(Path("a.ipynb"), tuple(cells), tuple(counts)))
        assert outcome.results[exercise].state == "passed", told(words, outcome, cells)


# --- damaged files ----------------------------------------------------------------------------------------------------

PLAIN = [IMPORTS, RIGHT["search"], "check.search(find)"]


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def code(source: object, **more: object) -> dict[str, object]:
    return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": 1, "source": source, **more}


def written(*cells: object, **more: object) -> bytes:
    return json.dumps({"cells": [*map(code, PLAIN), *cells], "metadata": {}, "nbformat": 4, **more}).encode()


DAMAGE: dict[str, Callable[[], bytes]] = {
    "a cell is a number": lambda: written(3),
    "a cell is null": lambda: written(None),
    "a source is a dict": lambda: written(code({"a": 1})),
    "a source is a list of numbers": lambda: written(code([1, 2])),
    "a source is null": lambda: written(code(None)),
    "no kind": lambda: written({"source": "x"}),
    "null bytes": lambda: written(code("x = 1\0\ncheck.csd(x)")),
    "nested brackets": lambda: written(code("(" * 500 + ")" * 500)),
    "a long sum": lambda: written(code("x = " + "+".join("1" * 9000)), code("check.csd(" + "-" * 3000 + "1)")),
    "many ifs": lambda: written(code("\n".join(" " * n + "if x:" for n in range(120)))),
    "many elifs": lambda: written(code("if x: pass\n" + "elif x: pass\n" * 3000)),
    "deep attributes": lambda: written(code("x" + ".a" * 5000), code("check.csd(x" + ".a" * 5000 + ")")),
    "deep calls": lambda: written(code("f(" * 90 + ")" * 90)),
    "nested JSON": lambda: written(metadata={"a": nested(900)}),
    "too deeply nested JSON": lambda: written().replace(b'"metadata": {}', b'"a": ' + b"[" * 10**5, 1),
    "cut off": lambda: written()[:-40],
    "empty": lambda: b"",
    "lone surrogates": lambda: written(code("x = '\ud800'\n\udfff = 3"), code("check.csd('\ud800')")),
    "carriage returns": lambda: json.dumps({"cells": [code(text.replace("\n", "\r")) for text in PLAIN]}).encode(),
    "BOM": lambda: b"\xef\xbb\xbf" + written(),
    "UTF-16": lambda: written().decode().encode("utf-16"),
    "Latin-1": lambda: written().replace(b"import math", b"import math # Zo\xeb"),
    "counts of all kinds": lambda: written(*(code("1", execution_count=n) for n in ("3", -1, 1e400, True, [], 10**30))),
    "duplicate keys": lambda: b'{"cells": 3, ' + written()[1:],
    "cells are a dict": lambda: b'{"cells": {}}',
    "a huge number": lambda: written().replace(b'"nbformat": 4', b'"nbformat": ' + b"9" * 10_000),
    "many cells": lambda: written(*(code(f"x{n} = {n}\nprint(x{n})") for n in range(3000))),
    "a huge cell": lambda: written(code("x = 1\n" * 50_000)),
    "a huge line": lambda: written(code("x = '" + "a" * 10**6 + "'")),
    "strange names": lambda: written(code("class check: pass\ndef __build_class__(): pass"), code("del check, torch")),
    "what no regex likes": lambda: written(code("a " * 20_000 + "= !ls"), code("import " + "a, " * 20_000)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_notebook_is_graded_or_listed_in_time(name, tmp_path):
    """Nothing is raised, nothing hangs, and nothing that is still there is lost."""
    (tmp_path / "a.ipynb").write_bytes(DAMAGE[name]())
    start = time.monotonic()
    given = read_all(tmp_path)
    assert len(given.notebooks) + len(given.unread) == 1
    for found in given.notebooks:
        outcome = isolation.run_notebook(found)
        assert outcome.trouble == "", outcome
        assert outcome.results["search"].state == "passed", outcome
        assert all("Traceback" not in result.message for result in outcome.results.values())
    for one in given.unread:
        assert one.reason
        assert "Traceback" not in one.reason
    assert time.monotonic() - start < 20
