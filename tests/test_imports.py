"""Training needs little: with all that draws, maps and searches missing, a network still learns. Help needs nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import csd_edu as csd
from csd_edu import cli, start

NEEDED = {"torch", "torchvision", "numpy", "safetensors", "tqdm"}
PROGRAM = """
import sys
blocked = sys.argv[1].split(",")
sys.modules.update(dict.fromkeys(blocked))  # importing one of them now fails
import csd_edu as csd

stream = csd.split(csd.load("tiny.npz"), n_tasks=2, seed=0)
run = csd.train(stream, csd.methods.csd, csd.Config(epochs=1, later_epochs=1), out="run", progress=False)
print(run.finished, sorted(name for name in blocked if sys.modules[name]))
"""


@pytest.mark.slow
def test_training_needs_nothing_that_draws_or_searches(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    y = np.arange(40) % 4
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=y, x_test=x, y_test=y, classes=np.array(list("abcd")))
    required = {start.MODULES.get(package, package) for package in start.requirements()}
    blocked = required - NEEDED | {"jupyter", "IPython", "traitlets", "numba"}
    assert {"plotly", "umap", "faiss", "ipywidgets", "anywidget", "sklearn", "scipy", "PIL"} < blocked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(blocked)],
        cwd=tmp_path,
        env={**os.environ, "CSD_EDU_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "True []\n", done.stderr


SENT = """
import joblib
import csd_edu as csd

def seed_of(k):
    return csd.Config(seed=k).seed

print(joblib.Parallel(n_jobs=2)(joblib.delayed(seed_of)(k) for k in range(3)))
"""


@pytest.mark.slow
def test_a_function_of_a_notebook_is_sent_to_other_processes():
    """joblib sends what stands in `__main__` by its code, and with it the modules that it names."""
    done = subprocess.run([sys.executable, "-c", SENT], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[0, 1, 2]\n", done.stderr


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """Return the exit code of a command, and which of what is slow to load it has loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, encoding="utf-8", timeout=60
    )
    slow = NEEDED | {"scipy", "sklearn", "plotly", "PIL", "pandas", "joblib"}
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "csd_edu" in names
    return done.returncode, slow & names


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("train", "--help"), 0),
        (("grade", "--help"), 0),
        ((), 2),
        (("trian",), 2),
        (("train", "--tasks", "x"), 2),
        (("report",), 2),
    ],
)
def test_what_only_reads_its_arguments_loads_no_torch(arguments, code):
    assert loaded_by("-m", "csd_edu", *arguments) == (code, set())


def test_every_way_to_start_the_command_line_runs_it():
    for module in ("csd_edu", "csd_edu.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, encoding="utf-8")
        assert done.stdout == f"csd-edu {csd.__version__}\n"


def test_help_names_what_there_is():
    assert set(cli._methods()) == set(csd.methods.NAMED)
    assert tuple(csd.models.BACKBONES) == cli.NETWORKS


def test_the_package_has_what_it_names_whatever_was_loaded_first():
    program = """
import {FIRST}
import csd_edu as csd
assert csd.train.__module__ == "csd_edu.train" and csd.learn.__module__ == "csd_edu.learn"
assert all(hasattr(csd, name) for name in csd.__all__)
from csd_edu import *
assert train is csd.train and Config is csd.Config and methods is csd.methods
assert csd.data.load is csd.load and not hasattr(csd, "nothing")
print(sorted(set(csd.__all__) - set(dir(csd))), list(methods.NAMED))
"""
    firsts = ("csd_edu", "csd_edu.train", "csd_edu.learn", "csd_edu.methods.er", "csd_edu.sweep")
    told = {
        subprocess.run(
            [sys.executable, "-c", program.format(FIRST=first)], capture_output=True, encoding="utf-8"
        ).stdout
        for first in firsts
    }
    assert told == {f"[] {list(csd.methods.NAMED)}\n"}


def test_what_the_package_promises_to_a_type_checker_is_what_it_loads():
    source = ast.parse(inspect.getsource(csd))
    imports = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    promised = {
        alias.name: node.module
        for node in imports
        if str(node.module).startswith("csd_edu")
        for alias in node.names
        if alias.asname is None  # the package's own tools come under a name with an underscore
    }
    assert set(promised) == set(csd.__all__)
    modules = {name for name, module in promised.items() if module == "csd_edu"}
    for name, module in promised.items():
        home = importlib.import_module(f"csd_edu.{name}" if name in modules else str(module))
        assert getattr(csd, name) is (home if name in modules else getattr(home, name))


def test_threads_that_wait_sleep_before_torch_is_loaded():
    program = "import csd_edu, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", env=env)
    assert done.stdout == "PASSIVE False\n"


@pytest.mark.campaign
def test_every_module_may_be_the_first_that_is_imported():
    program = (
        "import importlib, sys; importlib.import_module(sys.argv[1]); import csd_edu; csd_edu.train; csd_edu.losses"
    )
    names = sorted(path.stem for path in Path(csd.__file__).parent.glob("*.py") if not path.stem.startswith("__"))
    started = [
        (name, subprocess.Popen([sys.executable, "-c", program, f"csd_edu.{name}"], stderr=subprocess.PIPE))
        for name in ("data", "learner", "tasks", "runs", "folders", "reader", "files", "output", "losses", "methods")
        if name in (*names, "methods")
    ]
    errors = {name: process.communicate()[1].decode(errors="replace") for name, process in started}
    assert {name: text for name, text in errors.items() if "Error" in text} == {}
