"""The first cell of the notebooks, on Colab and elsewhere; what it says; the wheel; an instructor's own address."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version

from csd_edu import start
from csd_edu.version import __version__
from tests.conftest import need

ROOT = Path(__file__).parent.parent
CELL = ROOT / "notebooks" / "first_cell.py"
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
REPO = "https://github.com/you/csd_edu"

spec = importlib.util.spec_from_file_location("colab", ROOT / "notebooks" / "colab.py")
colab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(colab)

# ---- the first cell, run by a Python that has nothing but the standard library and these stand-ins

FAKE_PIP = """
import json, os, sys
from pathlib import Path
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if "PIP_FAILS" in os.environ:
    sys.exit(1)
package = Path(os.environ["PIP_TARGET_FOR_TESTS"], "faiss" if sys.argv[-1] == "faiss-cpu" else "csd_edu")
package.mkdir()
(package / "__init__.py").touch()
(package / "start.py").write_text("def check_set_up(): print('checked the installed one')")
"""


class Machine:
    """A folder to work in, and packages that are there."""

    def __init__(self, folder: Path) -> None:
        self.work, self.packages, self.log = folder / "work", folder / "packages", folder / "pip.log"
        self.work.mkdir()
        self.add("pip", __main__=FAKE_PIP)

    def add(self, package: str, **modules: str) -> None:
        write_package(self.packages / package, **modules)

    def make_colab(self) -> None:
        self.add("google/colab")  # google itself is a namespace, as on Colab

    def run(
        self, cell: str | None = None, folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-c", cell or CELL.read_text(encoding="utf-8")],
            cwd=folder or self.work,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(self.packages),
                "PIP_LOG": str(self.log),
                "PIP_TARGET_FOR_TESTS": str(self.packages),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def installed(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def write_package(folder: Path, **modules: str) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)


def pip(package: str) -> list[str]:
    return ["install", "--quiet", "--no-deps", package]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


CHECKED = "def check_set_up(): print('checked what was there')"


def test_on_colab_only_faiss_and_the_kit_are_installed(machine):
    machine.make_colab()
    done = machine.run(colab.first_cell(REPO))
    assert machine.installed == [pip("faiss-cpu"), pip(f"git+{REPO}")]
    assert (done.stdout, done.stderr, done.returncode) == ("checked the installed one\n", "", 0)


def test_on_colab_what_is_there_is_not_installed_again(machine):
    machine.make_colab()
    cell = colab.first_cell(REPO)
    twice = f"exec({cell!r})\nexec({cell!r})"
    done = machine.run(twice)
    assert machine.installed == [pip("faiss-cpu"), pip(f"git+{REPO}")]  # once, without a restart in between
    assert done.stdout == "checked the installed one\n" * 2
    machine.log.unlink()
    shutil.rmtree(machine.packages / "faiss")
    machine.run(cell)
    assert machine.installed == [pip("faiss-cpu")]


def test_on_colab_an_uploaded_wheel_is_taken_and_the_newest_of_several(machine):
    machine.make_colab()
    names = ["csd_edu-0.10.0-py3-none-any.whl", "csd_edu-0.9.0-py3-none-any.whl", "csd_edu-0.9.0-py3-none-any (1).whl"]
    for age, name in zip((100, 50, 0), names, strict=True):
        (machine.work / name).touch()
        os.utime(machine.work / name, (10**9 - age, 10**9 - age))
    machine.run(colab.first_cell(REPO))
    # A copy that the browser numbered has no valid name of a wheel any more: pip would refuse it.
    assert machine.installed == [pip("faiss-cpu"), pip(str(machine.work.resolve() / names[1]))]


def test_on_colab_without_address_and_wheel_it_says_how_to_go_on(machine):
    machine.make_colab()
    done = machine.run()
    assert machine.installed == [pip("faiss-cpu")]
    assert done.returncode == 1
    assert done.stderr.startswith("There is no csd_edu here. Write the kit's address on GitHub between the quotes")
    assert "upload the wheel that `make wheel` builds" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_colab_a_failed_installation_is_no_traceback(machine):
    machine.make_colab()
    done = machine.run(colab.first_cell(REPO), PIP_FAILS="1")
    assert done.returncode == 1
    assert f"pip could not install git+{REPO}: is there a network" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_colab_a_cloned_repository_is_not_mistaken_for_the_package(machine):
    machine.make_colab()
    write_package(machine.work / "csd_edu" / "csd_edu", start=CHECKED)  # csd_edu/ itself has no __init__.py
    machine.run(colab.first_cell(REPO))
    assert pip(f"git+{REPO}") in machine.installed


@pytest.mark.parametrize("on_colab", [False, True])
def test_in_a_checkout_the_checkout_is_used(machine, on_colab):
    if on_colab:
        machine.make_colab()
    write_package(machine.work / "csd_edu", start=CHECKED)
    folder = machine.work / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    done = machine.run(colab.first_cell(REPO), folder)
    assert (done.stdout, done.stderr) == ("checked what was there\n", "")
    assert machine.installed == ([pip("faiss-cpu")] if on_colab else [])


def test_an_installed_csd_edu_comes_before_a_checkout(machine):
    machine.add("csd_edu", start=CHECKED.replace("what was there", "what is installed"))
    write_package(machine.work / "csd_edu", start=CHECKED)
    (machine.work / "notebooks").mkdir()
    done = machine.run(folder=machine.work / "notebooks")
    assert (done.stdout, machine.installed) == ("checked what is installed\n", [])


def test_elsewhere_nothing_is_installed(machine):
    machine.add("google/protobuf")  # many machines have a google of some kind
    done = machine.run(colab.first_cell(REPO))
    assert machine.installed == []
    assert done.returncode == 1
    assert done.stderr == (
        "There is no csd_edu here. Open this notebook with `make lab` in a checkout of the kit, or run "
        "`pip install -e '.[lab]'` there first.\n"
    )


def test_a_checkout_without_torch_says_so(machine):
    write_package(machine.work / "csd_edu")
    (machine.work / "csd_edu" / "__init__.py").write_text("import torch")
    done = machine.run()
    assert done.stderr.startswith("csd_edu needs torch, which is not installed here. In a checkout `make lab` installs")
    assert "Traceback" not in done.stderr


LINE = r"csd_edu \d+\.\d+\.\d+ · torch \d+\.\d+\.\d+ · GPU: .+ · widgets: ready"


def run_for_real(python: Path | str, folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [python, CELL], cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_cell_in_this_checkout():
    lines = run_for_real(sys.executable, ROOT / "notebooks")
    assert len(lines) == 1
    assert re.fullmatch(LINE, lines[0])


@pytest.mark.slow
def test_the_cell_with_the_versions_of_colab():
    python = ROOT / ".venv-colab" / "bin" / "python"
    need(python.exists(), "no .venv-colab; `make colab-env` makes it")
    lines = run_for_real(python, ROOT / "notebooks")
    assert re.fullmatch(LINE, lines[0])
    missing = [] if "faiss-cpu" not in " ".join(lines) else lines[1:]  # Colab has none; the cell installs it there
    assert lines[1:] == missing


# ---- what it says


def test_the_line_says_what_is_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    own = torch.__version__.split("+")[0]
    assert start.describe({}) == f"csd_edu 0.1.0 · torch {own} · GPU: none, the CPU will do · widgets: ready"
    assert start.describe({"plotly": "is missing"}).endswith("widgets: ready")
    for package in ("ipywidgets", "anywidget"):
        assert start.describe({package: "is missing"}).endswith("widgets: not ready")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert "· GPU: Tesla T4 ·" in start.describe({})


def test_one_line_if_everything_fits_and_two_if_not(monkeypatch, capsys):
    monkeypatch.setattr(start, "find_misfits", lambda _: {})
    assert start.check_set_up() is None  # a value would be shown below the cell
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(start, "find_misfits", lambda _: {"ipywidgets": "is missing"})
    start.check_set_up()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("widgets: not ready")
    assert second == (
        'ipywidgets is missing. What to do: run  %pip install "ipywidgets>=7.7.1"  in a cell and restart the kernel.'
    )


def test_misfits_are_what_is_missing_or_too_old(monkeypatch):
    versions = {"torch": "2.11.0+cu128", "numpy": "1.26.4", "plotly": "5.24.1", "scipy": "1.10.0.post1", "tqdm": "4.9"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    bounds = {"torch": "2.5", "numpy": "2.0", "plotly": "5.24.1", "scipy": "1.10", "tqdm": "4.66"}
    assert start.find_misfits(bounds) == {
        "numpy": "is 1.26.4, too old: csd_edu needs 2.0 or newer",
        "tqdm": "is 4.9, too old: csd_edu needs 4.66 or newer",
    }


def test_a_module_without_metadata_is_not_missing(monkeypatch):
    def no_metadata(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", no_metadata)
    bounds = {"scikit-learn": "1", "json": "1", "no-such-package": "1"}
    assert start.find_misfits(bounds) == {"no-such-package": "is missing"}


def test_advice_leaves_colabs_own_packages_alone():
    bounds = {"numpy": "2.0", "torch": "2.5", "faiss-cpu": "1.9", "anywidget": "0.9.13"}
    misfits = dict.fromkeys(bounds, "is missing")
    advice = start.advise(misfits, bounds, colab=True)
    assert 'run  %pip install --no-deps "faiss-cpu>=1.9" "anywidget>=0.9.13"  in a cell' in advice
    assert "choose the latest version under Runtime > Change runtime type; then run" in advice
    only = start.advise({"numpy": "is 1.26.4"}, bounds, colab=True)
    assert "pip" not in only
    assert "Runtime" not in start.advise(misfits, bounds, colab=False)
    assert '"numpy>=2.0"' in start.advise(misfits, bounds, colab=False)


def test_faiss_is_optional(monkeypatch, capsys):
    def version(name: str) -> str:
        if name == "faiss-cpu":
            raise importlib.metadata.PackageNotFoundError(name)
        return "9999"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "faiss", None)  # importing it now fails
    start.check_set_up()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("widgets: ready")
    assert second == (
        "faiss-cpu is missing (optional: without it a Gallery searches exactly, with torch). If you want it: "
        'run  %pip install "faiss-cpu>=1.9"  in a cell and restart the kernel.'
    )
    both = start.advise({"faiss-cpu": "is missing", "tqdm": "is missing"}, start.requirements(), colab=False)
    assert "tqdm is missing. What to do: run" in both


@pytest.mark.parametrize("installed", [True, False])
def test_requirements_are_those_of_the_project(monkeypatch, installed):
    if not installed:

        def no_metadata(name: str) -> list[str]:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "requires", no_metadata)
    assert start.requirements() == dict(line.split(">=") for line in DEPENDENCIES)
    assert start.find_misfits(start.requirements()) == {}


def test_what_colab_has_is_enough():
    listing = (ROOT / "constraints-colab.txt").read_text(encoding="utf-8").split("# Not in the listing")[0]
    listed = dict(re.findall(r"^([\w.-]+)==(\S+)$", listing, flags=re.MULTILINE))
    for requirement in map(Requirement, DEPENDENCIES):
        if requirement.name == "faiss-cpu":
            assert requirement.name not in listed
        else:
            assert requirement.specifier.contains(Version(listed[requirement.name])), requirement


# ---- the wheel


@pytest.fixture(scope="module")
def wheel_installed(tmp_path_factory) -> Path:
    """A folder into which the wheel was installed, without a network; built elsewhere, to leave the checkout alone."""
    checkout, target = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("target")
    for name in ("csd_edu", "data/saved"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, checkout)
    stray = checkout / "data" / "saved" / "seed0" / "csd" / "map-pca-5-per-class-seed0.safetensors"
    stray.write_bytes(b"kept by somebody's notebook")
    (checkout / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        ["make", "-o", ".venv/.lab", "wheel"],  # with .venv as it is
        cwd=checkout,
        env={**os.environ, "UV_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (checkout / "dist").glob("csd_edu-*-any.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(wheel_installed):
    def files(folder: Path) -> set[str]:
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)) for path in found}

    saved_runs = {f"saved_runs/{name}" for name in files(ROOT / "data" / "saved") if "map-pca" not in name}
    assert files(wheel_installed / "csd_edu") == files(ROOT / "csd_edu") | saved_runs
    assert (wheel_installed / f"csd_edu-{__version__}.dist-info").is_dir()


@pytest.mark.slow
def test_the_wheel_works_and_finds_its_saved_runs(wheel_installed, tmp_path):
    program = (
        "import csd_edu; from csd_edu import report, saved, start; print(csd_edu.__file__); print(saved.folder());"
        "print(saved.run('csd').features(4).shape); start.check_set_up();"
        "report.write_report([saved.run('csd')], 'report.html', maps=())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel_installed)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    module, folder, shape, line = done.stdout.splitlines()
    assert Path(module) == wheel_installed / "csd_edu" / "__init__.py"
    assert Path(folder) == wheel_installed / "csd_edu" / "saved_runs"
    assert shape == "torch.Size([2000, 64])"
    assert re.fullmatch(LINE, line)
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")


# ---- an instructor's own address


def notebook(*, title: str = "# Title\n\nText.", code: str | None = None) -> nbformat.NotebookNode:
    cells = [
        nbformat.v4.new_markdown_cell(title, id="title"),
        nbformat.v4.new_code_cell(colab.first_cell() if code is None else code, id="set-up"),
        nbformat.v4.new_code_cell('REPOSITORY = "mine"', id="other"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def checkout(tmp_path) -> Path:
    (tmp_path / "csd_edu").mkdir()
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "csd_edu" / "start.py", tmp_path / "csd_edu")
    nbformat.write(notebook(), tmp_path / "notebooks" / "01_one.ipynb")
    nbformat.write(notebook(code="print(1)"), tmp_path / "notebooks" / "02_installs_nothing.ipynb")
    return tmp_path


def address_in(path: Path) -> str:
    return re.search(r'^REPOSITORY = "(.*)"', path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]


def test_the_address_is_written_into_its_place_the_cell_and_the_badge(checkout):
    changed = colab.write_address(checkout, REPO)
    assert [path.name for path in changed] == ["start.py", "01_one.ipynb"]
    assert address_in(checkout / "csd_edu" / "start.py") == REPO
    first = nbformat.read(checkout / "notebooks" / "01_one.ipynb", as_version=4)
    title, code, other = (cell.source for cell in first.cells)
    url = "https://colab.research.google.com/github/you/csd_edu/blob/main/notebooks/01_one.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({url})"
    assert title == f"# Title\n\n{badge}\n\nText."
    assert code == colab.first_cell(REPO)
    assert f'REPOSITORY = "{REPO}"  # the kit' in code
    assert other == 'REPOSITORY = "mine"'
    assert [cell.id for cell in first.cells] == ["title", "set-up", "other"]


def test_writing_the_address_again_changes_nothing_and_another_replaces_it(checkout):
    colab.write_address(checkout, REPO)
    path = checkout / "notebooks" / "01_one.ipynb"
    before = path.read_bytes()
    assert colab.write_address(checkout, f"{REPO}.git") == []
    assert path.read_bytes() == before
    assert len(colab.write_address(checkout, "https://github.com/they/kit/")) == 2
    text = path.read_text(encoding="utf-8")
    assert REPO not in text
    assert "you/csd_edu" not in text
    assert text.count("https://colab.research.google.com/github/they/kit/blob/main/notebooks/01_one.ipynb") == 1


@pytest.mark.parametrize("title", ["# Title\n\nText.", "# Title", "Text without a title."])
def test_an_empty_address_takes_the_badge_away_again(title):
    there = colab.with_address(notebook(title=title), "01_one.ipynb", REPO)
    assert "[![Open in Colab]" in there.cells[0].source
    back = colab.with_address(there, "01_one.ipynb", "")
    assert [cell.source for cell in back.cells] == [cell.source for cell in notebook(title=title).cells]


@pytest.mark.parametrize(
    "strange",
    [
        "",
        "you/csd_edu",
        "http://github.com/you/csd_edu",
        "https://github.com/you",
        "https://github.com/you/csd_edu/tree/main",
        'https://github.com/you/"; import os',
        "https://github.com/you/csd edu",
        "https://github.com/you/..",
        "https://gitlab.com/you/csd_edu",
        "git@github.com:you/csd_edu.git",
    ],
)
def test_a_strange_address_is_refused_before_anything_is_written(checkout, strange):
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"expected a repository on GitHub, such as https://github\.com/you/csd_edu"):
        colab.write_address(checkout, strange)
    assert {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_make_colab_without_an_address_says_its_usage():
    done = subprocess.run(["make", "-o", ".venv/.lab", "colab"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "usage: make colab REPO=https://github.com/NAME/REPOSITORY" in done.stderr


def test_the_command_refuses_with_a_sentence(capsys):
    assert colab.main(["ftp://somewhere"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("REPO is 'ftp://somewhere'; expected a repository on GitHub")
    assert "usage: make colab" in told


def test_the_command_says_what_it_changed(checkout, monkeypatch, capsys):
    monkeypatch.setattr(colab, "ROOT", checkout)
    assert colab.main([REPO]) == 0
    assert capsys.readouterr().out.startswith("Changed: csd_edu/start.py, notebooks/01_one.ipynb\n")
    assert colab.main([REPO]) == 0
    assert capsys.readouterr().out.startswith("Nothing to change.\n")
