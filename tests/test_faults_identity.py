"""A. "The same method" is judged by what it computes.

Whatever changes the numbers is told, or said to be unreadable; what doesn't is the same after a restart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import csd_edu as csd
from csd_edu import models
from csd_edu.identity import describe_method, differences
from tests.conftest import TINY, striped

ROOT = Path(__file__).parents[1]

CELL = """
import collections, contextlib, decimal, enum, fractions, functools, itertools, os, re, types
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
import csd_edu as csd
"""


def _changes() -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield notebooks by what changes in them: the text, and a piece of it before and after."""
    text = (ROOT / "tests" / "data" / "changed_methods.txt").read_text(encoding="utf-8")
    for block in text.split("=== ")[1:]:
        name, _, rest = block.partition("\n")
        source, _, change = rest.partition("\n--- ")
        before, _, after = change.strip("\n").partition("\n+++ ")
        yield name, (source, before, after)


CHANGES = dict(_changes())
"""Of a notebook, between two calls of csd.train into the same folder."""

A_TRY = """
def mine(step):
    x = 0
    try:
        x = step.logits.mean()
        x.nothing
    except AttributeError:
        x = 1
    return {"ce": x}
"""


def typed(source: str) -> Any:
    """Return the method of a notebook."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(CELL + source, "<cell>", "exec"), names)
    return names["mine"]


@contextmanager
def restored() -> Iterator[None]:
    """Take back what a notebook has put into libraries."""
    loss, begin = csd.losses.cross_entropy, torch.nn.init.kaiming_normal_
    try:
        yield
    finally:
        csd.losses.cross_entropy, torch.nn.init.kaiming_normal_ = loss, begin
        vars(csd.losses).pop("CSD_EDU_TEST", None)
        csd.methods.NAMED.pop("csd_edu_test", None)
        vars(torch.nn.functional).pop("csd_edu_test", None)
        os.environ.pop("CSD_EDU_TEST_W", None)


def described(source: str) -> dict[str, Any]:
    """Return the description of a notebook's method, as a run's folder has it."""
    with restored():
        return json.loads(json.dumps(describe_method(typed(source))))


def told(source: str, other: str) -> str:
    """Return what is said of the difference between two notebooks, "" for nothing."""
    different, unknown = differences(described(source), described(other))
    return "; ".join([*different, *unknown])


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_the_numbers_is_told(what):
    source, before, after = CHANGES[what]
    assert before in source
    assert told(source, source.replace(before, after))


def test_where_a_try_begins_is_told():
    begins = "    try:\n        x = step.logits.mean()\n        x.nothing"
    assert begins in A_TRY
    assert told(A_TRY, A_TRY.replace(begins, "    x = step.logits.mean()\n    try:\n        x.nothing"))


@pytest.mark.parametrize("what", CHANGES)
def test_what_does_not_change_the_numbers_is_not(what):
    source, *_ = CHANGES[what]
    moved = "\n\n# a comment\n" + source.replace("\ndef mine", "\n\n# another\ndef mine")
    assert differences(described(source), described(moved))[0] == []


@pytest.mark.parametrize(
    ("first", "what", "named"),
    [
        ("import subprocess", "subprocess.run(['cat', 'w'])", "subprocess.run"),
        ("from subprocess import getoutput", "getoutput('cat w')", "getoutput"),
        ("import configparser", "configparser.ConfigParser().read('w')", "configparser.ConfigParser"),
        ("from linecache import getline as line", "line('w', 1)", "line"),
        ("import sqlite3", "sqlite3.connect('w')", "sqlite3.connect"),
        ("from pathlib import Path", "Path('w').stat().st_size", "stat"),
        ("from pathlib import Path; path = Path('w')", "path.read_text()", "path.read_text"),
        ("", "os.path.getsize('w')", "os.path.getsize"),
        ("", "os.path.isfile('w')", "os.path.isfile"),
        ("", "next(os.walk('w'))", "os.walk"),
        ("", "os.cpu_count()", "os.cpu_count"),
        ("import time", "time.time()", "time.time"),
        ("", "torch.from_file('w', size=1)", "torch.from_file"),
        ("import torchvision", "torchvision.io.read_image('w')", "torchvision.io.read_image"),
        ("seen = eval", "seen('w')", "seen"),
        ("read = functools.partial(np.load, 'w')", "read()", "read"),
    ],
)
def test_what_brings_in_something_is_said(first, what, named):
    source = f"{first}\ndef mine(step): return {{'ce': {what}}}"
    same = f"what the method gets from {named}(…) can't be read, so whether it is the same"
    assert same in differences(described(source), described(source))[1]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import os; os.cpu_count()", "cpu_count"),
        ("import numpy as n; n.load('w')", "load"),
        ("import subprocess as s; s.run('w')", "subprocess"),
        ("from os import environ; environ['w']", "environ"),
        ("from os import path as p; p.isfile('w')", "isfile"),
    ],
)
def test_what_an_import_in_the_function_brings_in_is_said(line, named):
    source = f"def mine(step):\n    {line}\n    return {{'ce': 0}}"
    assert f"what the method gets from {named}(…)" in "".join(differences(described(source), described(source))[1])


SHOWN_FUNCTION = """
class Act(nn.Module):
    def extra_repr(self): return str(self.f)
net = Act()
net.f = lambda x: x
"""


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ("net = nn.ReLU()", "net.eval()"),
        ("", "step.network.eval()"),
        ("", "list(step.network.modules())"),
        ("", "re.compile('a')"),
        ("", "torch.compile(lambda x: x)"),
        ("", "locals()['step']"),
        ("", "import math; math.exp(len(list(step.network.modules())))"),
        ("import time", "time.perf_counter()"),
        ("import threading; lock = threading.Lock()", "lock.acquire()"),
        ("import queue; waiting = queue.Queue()", "waiting.get()"),
        ("class Kind(enum.Enum):\n    A = 1\n    B = 2", "Kind.A"),
        ("class Bits(enum.IntFlag):\n    A = 1\n    B = 2\nfound = [Bits.A, None]", "found"),
        ("class Bank:\n    input = 1\n    def load(self): return self.input\nbank = Bank()", "bank.load()"),
        ("take = {'a': 1}.get", "take('a')"),
        (SHOWN_FUNCTION, "net"),
        (SHOWN_FUNCTION.replace("nn.Module", "nn.GELU"), "net"),
    ],
)
def test_what_is_read_or_computes_nothing_is_not_said_to_be_unreadable(first, line):
    source = f"{first}\ndef mine(step):\n    {line}\n    return {{'ce': 0}}"
    assert told(source, source) == ""


@pytest.mark.parametrize(
    "line", ["import csd_edu_own as p", "p = package", "import csd_edu_own.weights as w; import csd_edu_own as p"]
)
def test_a_module_of_ones_own_package_is_read_and_one_that_another_cell_imports_is_not(line, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "csd_edu_own"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import weights")
    source = f"import csd_edu_own as package\ndef mine(step):\n    {line}\n    return {{'ce': p.weights.W}}"
    (folder / "plots.py").write_text("COLOUR = 1")

    def found(w: int, first: str = "") -> dict[str, Any]:
        for name in [name for name in sys.modules if name.startswith("csd_edu_own")]:
            monkeypatch.delitem(sys.modules, name)
        (folder / "weights.py").write_text(f"W = {w}")
        return described(f"import importlib; importlib.invalidate_caches()\n{first}\n{source}")

    assert differences(found(10), found(10, "import csd_edu_own.plots")) == ([], [])
    assert differences(found(10), found(200))[0]


@pytest.mark.parametrize("value", ["((1, 2), (3, 4))", "(None, 0.5)", "(None, ('a', (None,)))"])
def test_equal_constants_of_one_cell_are_the_same_in_two(value):
    source = f"A = {value}\nB = {value}\ndef mine(step): return {{'ce': len(A + B)}}"
    assert told(source, source.replace(f"B = {value}", f'exec("B = {value}")')) == ""
    assert told(source, source.replace(f"B = {value}", "B = (None, 7)"))


def main() -> None:
    """Print the descriptions of all notebooks, for a comparison with those of another Python."""
    print(json.dumps({name: described(source) for name, (source, *_) in CHANGES.items()}))


@pytest.mark.slow
def test_a_description_is_the_same_after_a_restart():
    def start(seed: str) -> dict[str, Any]:
        command = [sys.executable, "-c", "from tests.test_faults_identity import main; main()"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, encoding="utf-8")
        return json.loads(ran.stdout.splitlines()[-1])

    first, second = start("1"), start("2")
    assert first.keys() == CHANGES.keys()
    for name in first:
        assert first[name] == second[name], name


# ---------------------------------------------------------------------- in a run's folder


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=2, seed=0)


WEIGHTED = "W = 0\ndef mine(step): return {'ce': csd.methods.finetune(step)['ce'] + W * step.features.square().mean()}"


def begun(stream: csd.Stream, method: Any, out: Path, n_records: int) -> None:
    """Train for a few records only."""
    records = csd.training(stream, method, TINY, out=out)
    for _ in range(n_records):
        next(records)
    records.close()


def test_a_finished_run_of_another_weight_is_not_handed_back(stream, tmp_path, bad_input):
    run = csd.train(stream, typed(WEIGHTED), TINY, out=tmp_path / "r", progress=False)
    with pytest.raises(ValueError, match="the method's W was 0, now 50") as caught:
        csd.train(stream, typed(WEIGHTED.replace("W = 0", "W = 50")), TINY, out=tmp_path / "r", progress=False)
    bad_input("a global that a finished run's method uses has been changed from 0 to 50", caught.value)
    again = csd.train(stream, typed(WEIGHTED), TINY, out=tmp_path / "r", progress=False)
    assert again.metrics == run.metrics


def test_an_interrupted_run_does_not_go_on_with_another_loss(stream, tmp_path, bad_input):
    begun(stream, typed(WEIGHTED), tmp_path / "r", 1)
    changed = WEIGHTED.replace("square()", "abs()")
    with pytest.raises(ValueError, match="the code of method 'mine' has changed since") as caught:
        csd.train(stream, typed(changed), TINY, out=tmp_path / "r", progress=False)
    bad_input("the code of an interrupted run's method has been changed", caught.value)


def test_a_class_typed_in_a_notebook_does_not_go_on_with_another_attribute(stream, tmp_path, bad_input):
    source = (
        "class Mine(csd.methods.Method):\n    w = 1\n"
        "    def __call__(self, step): return {'ce': self.w * csd.methods.finetune(step)['ce']}\nmine = Mine()"
    )
    begun(stream, typed(source), tmp_path / "r", 1)
    with pytest.raises(ValueError, match="the method's w was 1, now 2") as caught:
        csd.train(stream, typed(source.replace("w = 1", "w = 2")), TINY, out=tmp_path / "r", progress=False)
    bad_input("a class typed in a notebook has another class variable than the run", caught.value)


def test_a_setting_that_begin_converts_is_not_forgotten(stream, tmp_path):
    source = (
        "class Mine(csd.methods.Method):\n    def __init__(self, w): self.w = w\n"
        "    def begin(self, setting): self.w = torch.tensor(self.w)\n"
        "    def __call__(self, step): return {'ce': self.w * csd.methods.finetune(step)['ce']}\nmine = Mine(0.5)"
    )
    csd.train(stream, typed(source), TINY, out=tmp_path / "r", progress=False)
    csd.train(stream, typed(source), TINY, out=tmp_path / "r", progress=False)
    with pytest.raises(ValueError, match=r"the method's w was 0\.5, now 0\.25"):
        csd.train(stream, typed(source.replace("0.5", "0.25")), TINY, out=tmp_path / "r", progress=False)


SHOWN = """
from tqdm import tqdm
from dataclasses import dataclass, field
bar = tqdm(total=9, disable=True)
import ipywidgets
progress = ipywidgets.IntProgress(value=0)
class Dotted(dict):
    def __getattr__(self, key):
        if key not in self: raise AttributeError(key)
        return self[key]
class Noted(list):
    def append(self, x): super().append(float(x))
noted = Noted()
class Helper:
    @functools.cached_property
    def weight(self): return 0.5
helper = Helper()
@dataclass
class Mine(csd.methods.Method):
    options: Dotted = field(default_factory=lambda: Dotted(w=0.5))
    def __call__(self, step):
        bar.update(1)
        progress.value += 1
        noted.append(step.task)
        return {"ce": self.options.w * helper.weight * csd.methods.finetune(step)["ce"]}
mine = Mine()
"""


def test_what_cannot_be_copied_is_named(stream, tmp_path, bad_input):
    source = (
        "class Dotted(dict):\n    __getattr__ = dict.__getitem__\n"
        "class Mine(csd.methods.Method):\n    def __init__(self): self.options = Dotted(w=0.5)\n"
        "    def __call__(self, step): return csd.methods.finetune(step)\nmine = Mine()"
    )
    with pytest.raises(ValueError, match="Mine can't be copied") as caught:
        csd.train(stream, typed(source), TINY, out=tmp_path / "r", progress=False)
    bad_input("a method with a dictionary whose `__getattr__` raises KeyError", caught.value)


def test_what_only_shows_or_remembers_stops_no_run(stream, tmp_path):
    begun(stream, typed(SHOWN), tmp_path / "r", 2)
    assert csd.train(stream, typed(SHOWN), TINY, out=tmp_path / "r", progress=False).finished


def test_what_cannot_be_read_is_said_when_a_run_goes_on(stream, tmp_path, capsys, bad_input):
    source = (
        "import json\nfrom pathlib import Path\n"
        f"def mine(step): return {{'ce': json.loads(Path({str(tmp_path / 'w')!r}).read_text()) * "
        "csd.methods.finetune(step)['ce']}"
    )
    (tmp_path / "w").write_text("1.0")
    begun(stream, typed(source), tmp_path / "r", 1)
    assert capsys.readouterr().out == ""
    csd.train(stream, typed(source), TINY, out=tmp_path / "r", progress=False)
    said = next(line for line in capsys.readouterr().out.splitlines() if "read_text" in line)
    bad_input("a run goes on whose method reads a file", said)


def test_a_replaced_loss_of_the_kit_is_another_method(stream, tmp_path, bad_input):
    begun(stream, csd.methods.lwf, tmp_path / "r", 1)
    with restored():
        csd.losses.cross_entropy = lambda logits, _: logits.mean()
        with pytest.raises(ValueError, match=r"losses\.cross_entropy") as caught:
            csd.train(stream, csd.methods.lwf, TINY, out=tmp_path / "r", progress=False)
    bad_input("a notebook has put its own function into csd_edu.losses", caught.value)
    csd.train(stream, csd.methods.lwf, TINY, out=tmp_path / "r", progress=False)


def test_a_network_of_ones_own_is_told_by_its_code(stream, tmp_path, monkeypatch, bad_input):
    def build(scale: float) -> Any:
        class Scaled(models.ResNet):
            def forward(self, *images: Any) -> Any:
                features, *maps = super().forward(*images)
                return (scale * features, *maps)

        return lambda in_channels: Scaled(8, in_channels)

    config = TINY.replace(epochs=1, later_epochs=1)
    monkeypatch.setitem(models.BACKBONES, "mine", build(1.0))
    config = config.replace(network="mine")
    csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)
    csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)
    monkeypatch.setitem(models.BACKBONES, "mine", build(2.0))
    with pytest.raises(ValueError, match=r"network\.Scaled\.forward\.scale was 1\.0, now 2\.0") as caught:
        csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)
    bad_input("a network of one's own, in `models.BACKBONES`, has been changed", caught.value)


def test_a_network_that_partial_makes_of_the_kits_class_is_told_by_what_it_binds(stream, tmp_path, monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "mine", partial(models.ResNet, 8))
    config = TINY.replace(epochs=1, later_epochs=1, network="mine")
    csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)
    csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)
    monkeypatch.setitem(models.BACKBONES, "mine", partial(models.ResNet, 14))
    with pytest.raises(ValueError, match=r"network\.0 was 8, now 14"):
        csd.train(stream, csd.methods.finetune, config, out=tmp_path / "r", progress=False)


def test_what_an_older_version_did_not_write_down_is_said_and_not_refused():
    for method, network in ((typed(WEIGHTED), None), (csd.methods.finetune, partial(models.ResNet, 8))):
        now = describe_method(method, network=network)
        older = {key: value for key, value in now.items() if key not in ("reader", "settings")}
        different, unknown = differences(older, now)
        assert different == []
        assert unknown == ["another version of csd_edu read its settings and code, so whether they are the same"]
    plain = describe_method(csd.methods.ER(size=9), network=models.BACKBONES["resnet8"])
    assert differences({key: value for key, value in plain.items() if key != "reader"}, plain) == ([], [])
    assert differences({**plain, "reader": None, "settings": {"size": 8}}, plain)[0]


RESTARTED = """
import sys
from functools import partial
import csd_edu as csd
from tests.conftest import TINY, striped

def base(step, loss, weight=1.0):
    return {"ce": csd.methods.finetune(step)["ce"] + weight * loss(step.features)}

method = partial(partial(base, weight=0.5), loss=lambda x: x.square().mean())
stream = csd.split(striped(), n_tasks=2, seed=0)
records = csd.training(stream, method, TINY, out=sys.argv[1])
next(records)
records.close()
print(csd.Run.load(sys.argv[1]).method, len(csd.Run.load(sys.argv[1]).records))
"""


@pytest.mark.campaign
def test_a_function_bound_by_partial_goes_on_after_a_restart(tmp_path):
    (tmp_path / "mine.py").write_text(RESTARTED, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for n_records in (1, 2):
        command = [sys.executable, str(tmp_path / "mine.py"), str(tmp_path / "r")]
        ran = subprocess.run(command, env=environment, capture_output=True, check=True, encoding="utf-8")
        assert ran.stdout.splitlines() == [f"base(loss=<lambda>, weight=0.5) {n_records}"]
