"""The notebooks themselves: what each of them has, and runs of both editions with the versions of Jupyter and of Colab.

All fifteen take minutes to run, so only `make test-all` does: the solved editions with the versions of this environment
and with Colab's, the students' editions with every cell run, and each section after the set-up cells alone. The kernels
have no network, and who asks for it is written down.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from csd_edu import start
from notebooks import generate
from notebooks.sources import HERE, read_source
from tests.conftest import REAL_DATA, need

SOURCES = sorted((HERE / "src").glob("*.py"))
PYTHONS = {"lab": Path(sys.executable), "colab": HERE.parent / ".venv-colab" / "bin" / "python"}
TOGETHER = 20 * 60  # seconds for all solved editions on 2 cores

each_notebook = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SOURCES])
each_environment = pytest.mark.parametrize("environment", PYTHONS)
read = functools.cache(read_source)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def sections(notebook: NotebookNode) -> list[list[NotebookNode]]:
    """Return the cells in parts: what comes before the first heading of level 2, then one part for each of these."""
    parts: list[list[NotebookNode]] = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    return parts


def minutes(cell: NotebookNode) -> float:
    """Return the minutes that a cell says it takes; 0 if it says nothing."""
    told = re.search(r"([\d.]+) min", cell.source)
    return float(told[1]) if told else 0


# --- what each notebook has -------------------------------------------------------------------------------------------


@pytest.fixture
def student(path: Path) -> NotebookNode:
    return generate.edition(read(path), solved=False)


@pytest.fixture
def text(student: NotebookNode) -> str:
    """Return what a student has to read."""
    return "\n\n".join(cell.source for cell in student.cells if cell.cell_type == "markdown")


def test_the_students_editions_are_what_their_sources_make():
    assert generate.stale_student_editions([read(path) for path in SOURCES], HERE) == []


def test_the_solved_editions_were_made_from_their_sources():
    assert generate.stale_solved_editions([read(path) for path in SOURCES], HERE) == []


def test_there_are_fifteen_notebooks_and_the_first_one_lists_the_others():
    notebook = generate.edition(read(SOURCES[0]), solved=False)
    assert [path.name[:2] for path in SOURCES] == [f"{number:02}" for number in range(15)]
    listed = [number for cell in notebook.cells for number in re.findall(r"^\| (\d\d) \w", cell.source, re.M)]
    assert listed == [path.name[:2] for path in SOURCES[1:]]


@each_notebook
def test_a_notebook_opens_with_a_question_and_what_a_student_must_know(student):
    opening = " ".join(cell.source for cell in sections(student)[0] if cell.cell_type == "markdown")
    title = opening.partition("\n")[0]
    assert title.startswith("# ")
    assert "?" in title
    opening = " ".join(opening.split())
    assert re.search(r"(After this notebook|Afterwards) you (can|will be able to)", opening)
    assert re.search(r"(2|two) (free )?CPU cores", opening)
    assert re.search(r"Colab|GPU", opening)
    assert re.search(r"nothing from (the )?other notebooks", opening)


@each_notebook
def test_the_table_of_sections_agrees_with_the_headings(student):
    rows = re.findall(r"^\| (.+) \| *([\d.]+) *\|$", student.cells[0].source, re.M)
    headings = [part[0] for part in sections(student)[1:] if minutes(part[0])]
    assert len(rows) == len(headings)
    for (row, told), heading in zip(rows, headings, strict=True):
        title = heading.source.partition("\n")[0].removeprefix("## ")
        assert row.replace(" | ", ". ").startswith(title)  # after it the row may name an exercise
        assert float(told) == minutes(heading), title
    numbered = [int(n) for part in sections(student) for n in re.findall(r"\A## (\d+)\. ", part[0].source)]
    assert numbered == list(range(1, len(numbered) + 1))
    assert len(numbered) >= len(headings) - 1  # all but a summary


@each_notebook
def test_a_section_is_longer_than_its_exercises(student):
    for part in sections(student)[1:]:
        inside = sum(minutes(cell) for cell in part if "exercise" in cell.metadata.get("tags", []))
        assert inside <= minutes(part[0]), part[0].source.partition("\n")[0]


@each_notebook
def test_a_notebook_has_all_that_it_should(student):
    exercises = tagged(student, "exercise")
    assert 2 <= len(exercises) <= 5
    for cell in exercises:
        assert re.match(r"# [\d.]+ min · difficulty ●", cell.source), cell.id
    assert len({cell.source.partition("\n")[0].count("●") for cell in exercises}) > 1  # they are graded
    order = [tag for cell in student.cells for tag in cell.metadata.get("tags", []) if tag in ("exercise", "check")]
    assert re.fullmatch("(exercise check )+", " ".join(order) + " ")
    for part in sections(student):
        tags = [tag for cell in part for tag in cell.metadata.get("tags", [])]
        assert tags.count("hint") >= tags.count("exercise"), part[0].source.partition("\n")[0]
    for tag in ("predict", "answer", "break"):
        assert tagged(student, tag), tag


@each_notebook
def test_the_set_up_cells_come_first_and_are_the_same_in_both_editions(path, student):
    solved = generate.edition(read(path), solved=True)
    set_up = tagged(student, "setup")
    assert [cell.source for cell in set_up] == [cell.source for cell in tagged(solved, "setup")]
    assert "start.check_set_up()" in set_up[0].source
    before = [cell for cell in sections(student)[0] if cell.cell_type == "code"]
    assert [cell.id for cell in before] == [cell.id for cell in set_up]


@each_notebook
def test_a_notebook_ends_with_questions_literature_and_the_board(student, text):
    _, *tails = re.split(r"(?i)(?:ask|test) yourself", text)
    assert tails
    questions, *literature = re.split(r"Where to read on|Read on", tails[-1])
    assert re.findall(r"^(?:<details>)?(?:<summary>)?(\d)\. ", questions, re.M)[:3] == ["1", "2", "3"]
    assert "<details>" in questions  # the answers are folded away
    assert literature
    entries = re.split(r"^- ", literature[-1], flags=re.M)[1:]
    cited = [entry for entry in entries if re.search(r"\b(19|20)\d\d\b", entry)]
    assert len(cited) >= 3
    code = [cell.source for cell in student.cells if cell.cell_type == "code"]
    assert code[-1].startswith("check.board(")


@each_notebook
def test_a_notebook_imports_only_what_the_kit_requires(student):
    required = {start.MODULES.get(package, package) for package in start.requirements()}
    known = {*required, *sys.stdlib_module_names, "csd_edu", "IPython", "google"}  # google.colab is on Colab only
    code = "\n".join(cell.source for cell in student.cells if cell.cell_type == "code")
    for node in ast.walk(ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", code, flags=re.M))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= known


# --- kernels without a network ----------------------------------------------------------------------------------------

# A hook that no library can go round: it sees every call of Python's sockets, also those whose failure is swallowed.
# Port 9 is where the variables for proxies lead, so that other programs find no network either.
CLOSED = """
import os
import sys

NAMES, ADDRESSES = ("socket.getaddrinfo", "socket.gethostbyname"), ("socket.connect", "socket.sendto", "socket.sendmsg")


def refuse(event, arguments):
    if event not in NAMES + ADDRESSES:
        return
    host, port = arguments[:2] if event in NAMES[:1] else (arguments[0], None)
    if event in ADDRESSES:
        if not isinstance(arguments[1], tuple):  # a file, or an address given before
            return
        host, port = arguments[1][:2]
    host = host.decode() if isinstance(host, bytes) else host
    local = not host or host in ("localhost", "::1") or host.startswith("127.")
    if not local or str(port) == "9":
        with open(os.environ["NETWORK_LOG"], "a") as log:
            print(event, host, port, file=log)
        raise OSError(f"there is no network here ({event} {host})")


sys.addaudithook(refuse)
"""


class Kernels:
    """Runs notebooks in fresh kernels of an environment, each in an empty folder and without a network.

    Attributes:
        python: the interpreter of the environment.
        log: a file with a line for each time that somebody asked for the network.
    """

    def __init__(self, environment: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.python, self.log, self._folder = PYTHONS[environment], folder / "network.txt", folder
        need(self.python.exists(), "no .venv-colab; `make colab-env` makes it")
        spec = folder / "kernels" / "python3" / "kernel.json"  # found before any other of this name
        spec.parent.mkdir(parents=True)
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": command, "display_name": environment, "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(folder))
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(CLOSED, encoding="utf-8")
        for name in ("empty", "tmp"):
            (folder / name).mkdir()

    def run(self, notebook: NotebookNode, *, timeout: float) -> generate.Result:
        nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        nowhere |= {name.lower(): proxy for name, proxy in nowhere.items()} | {"NO_PROXY": "", "no_proxy": ""}
        path = [str(self._folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**nowhere, "PYTHONPATH": os.pathsep.join(path), "NETWORK_LOG": str(self.log)}
        env |= {"CSD_EDU_PROGRESS": str(self._folder / "progress.json"), "TMPDIR": str(self._folder / "tmp")}
        return generate.run_notebook(notebook, timeout=timeout, folder=self._folder / "empty", env=env)

    def network(self) -> str:
        """Return what was asked of the network."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


@pytest.fixture
def environment() -> str:
    """Return the environment of tests that need no other."""
    return "lab"


@pytest.fixture
def kernels(environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    return Kernels(environment, tmp_path, monkeypatch)


def told(cell: NotebookNode) -> str:
    """Return what a code cell shows, as plain text."""
    shown = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "\n".join(shown)


ASKS = {
    "where": "import sys\nprint(sys.executable)",
    "swallowed": """
import socket
try:
    socket.socket().connect(("192.0.2.1", 80))  # an address that is nobody's
except OSError as error:
    print(error)""",
    "proxy": """
import urllib.request
try:
    urllib.request.urlopen("http://paper.example/")
except OSError as error:
    print(error)""",
    "by name": 'socket.getaddrinfo("paper.example", 443)',
    "at home": """
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    print("connected")""",
    "child": """
import subprocess
code = "import socket; socket.create_connection(('192.0.2.2', 80))"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr)""",
}


@pytest.mark.slow
@each_environment
def test_a_kernel_is_of_its_environment_and_who_asks_for_the_network_is_noticed(kernels):
    cells = [new_code_cell(code.strip(), id=id.replace(" ", "-")) for id, code in ASKS.items()]
    result = kernels.run(going_on(new_notebook(cells=cells)), timeout=60)
    shown = {cell.id: told(cell) for cell in result.notebook.cells}
    assert Path(shown["where"].strip()).parent.parent == kernels.python.parent.parent
    assert shown["swallowed"] == "there is no network here (socket.connect 192.0.2.1)\n"
    assert "there is no network here (socket.getaddrinfo 127.0.0.1)" in shown["proxy"]
    assert shown["at-home"] == "connected\n"
    assert "OSError: there is no network here (socket.getaddrinfo 192.0.2.2)" in shown["child"]
    assert [error.cell for error in result.errors] == ["by-name"]
    for host in ("192.0.2.1 80", "127.0.0.1 9", "paper.example 443", "192.0.2.2 80"):
        assert kernels.network().count(f" {host}\n") == 1
    assert len(kernels.network().splitlines()) == 4


# --- solved editions --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seconds() -> dict[str, dict[str, float]]:
    """Return the seconds that solved editions took, by environment and name."""
    return {environment: {} for environment in PYTHONS}


def downloads(notebook: NotebookNode) -> bool:
    """Return whether a notebook may ask for a dataset that is not on this machine."""
    here = REAL_DATA and any(Path(REAL_DATA).glob("cifar100*.npz"))
    return not here and any("cifar100" in cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.campaign
@each_notebook
@each_environment
def test_a_solved_edition_runs_alone_within_its_budget(environment, path, kernels, seconds):
    """In this environment with the claims in between: what a notebook says holds for the saved runs."""
    source = read(path)
    notebook = generate.edition(source, solved=True, claims=environment == "lab")
    budget = 60 * source.budget_minutes
    result = kernels.run(notebook, timeout=2 * budget)
    spent = sum(taken for cell, taken in result.seconds.items() if not cell.startswith("claim"))
    slowest = sorted(result.seconds.items(), key=lambda item: -item[1])[:3]
    print(source.name, environment, f"{spent:.0f} s of {budget:.0f} s; slowest: {slowest}")
    assert not result.errors, "\n".join(map(str, result.errors))
    seconds[environment][path.stem] = spent
    assert spent <= budget
    for cell in tagged(result.notebook, "check"):
        assert "✓" in told(cell), cell.id
        assert "✕" not in told(cell), cell.id
    found = told(tagged(result.notebook, "setup")[0])
    assert re.fullmatch(r"csd_edu .* · widgets: ready\n", found)  # one line, for there is nothing to be mended
    assert kernels.network() == "" or downloads(notebook)


@pytest.mark.campaign
@each_environment
@pytest.mark.usefixtures("kernels")
def test_all_solved_editions_together_take_less_than_twenty_minutes(environment, seconds, request):
    names = {path.stem for path in SOURCES}
    chosen = [item.name for item in request.session.items]
    if not all(
        f"{test_a_solved_edition_runs_alone_within_its_budget.__name__}[{environment}-{n}]" in chosen for n in names
    ):
        pytest.skip("only some notebooks were to be run")
    assert seconds[environment].keys() == names  # else one of them did not come to its end
    assert sum(seconds[environment].values()) < TOGETHER, seconds[environment]


# --- students' editions -----------------------------------------------------------------------------------------------


def going_on(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook that does not stop at an error; its cells are changed."""
    for cell in notebook.cells:
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]
    return notebook


@each_notebook
def test_an_exercise_only_defines_and_later_cells_ask_whose_function_to_take(student):
    """So that *Run all* goes through while exercises are open: a stub is called by its check alone."""
    stubs: set[str] = set()
    for cell in tagged(student, "exercise"):
        for line in ast.parse(cell.source).body:
            assert isinstance(line, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom), ast.unparse(line)
            stubs |= {line.name} if isinstance(line, ast.FunctionDef | ast.ClassDef) else set()
    for cell in student.cells:
        if cell.cell_type == "code" and not {"exercise", "check"} & set(cell.metadata.get("tags", ())):
            code = ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M))
            read = {n.id for n in ast.walk(code) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            assert not read & stubs, f"{cell.id} needs {read & stubs}; take check.yours_or_ours(…) instead"


@pytest.mark.campaign
@each_notebook
def test_a_students_edition_runs_through_and_its_checks_say_what_is_not_written(path, student, kernels):
    result = kernels.run(going_on(student), timeout=120 * read(path).budget_minutes)
    assert not result.errors, "\n\n".join(map(str, result.errors))
    for cell in tagged(result.notebook, "check"):
        assert "not written yet" in told(cell).lower(), cell.id
        assert "✓" not in told(cell), cell.id


# --- out of order -----------------------------------------------------------------------------------------------------

KEEP = """\
import copy as _copy


def _own():
    hidden = get_ipython().user_ns_hidden
    return {name: value for name, value in globals().items() if name not in hidden and not name.startswith("_")}


def _copied(names):
    return {name: _copy.copy(x) if isinstance(x, (dict, list, set)) else x for name, x in names.items()}


_kept = _copied(_own())"""
RESTORE = """\
for _name in _own():
    del globals()[_name]
globals().update(_copied(_kept))"""


def out_of_order(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with the set-up cells, then the sections from the last to the first.

    Before each section everything is as the set-up cells have left it. No section can rely on one before it, because
    that has not been run yet.
    """
    opening, *parts = sections(notebook)
    cells = [cell for cell in opening if "setup" in cell.metadata.get("tags", [])] + [new_code_cell(KEEP, id="keep")]
    for number, part in reversed(list(enumerate(parts, 1))):
        cells += [new_code_cell(RESTORE, id=f"restore-{number}"), *part]
    return going_on(new_notebook(cells=cells, metadata=notebook.metadata))


def unexplained(errors: Sequence[generate.Failure]) -> list[generate.Failure]:
    """Return the errors that do not say which cell or section must be run first."""
    first_line = ((error, error.text.partition("\n")[0]) for error in errors)
    return [error for error, line in first_line if not re.search(r"\b[Rr]un\b.*\b(cell|section|exercise)", line)]


PARTS = {
    "text": "# A title",
    "setup": "known, import_count = {}, 0",
    "first": "## 1. First",
    "defines": "import_count += 1\nknown['x'] = here = 1",
    "second": "## 2. Second",
    "needs": "here + 1",
    "asks": 'raise SystemExit("run the first cell of section 1 before this one")',
    "adds": "import_count += 1\nknown['y'] = here = 2\nprint(import_count, known)",
    "third": "## 3. Third",
    "alone": "import_count += 1\nprint(import_count, known)\nhere = 3",
}


@pytest.mark.slow
def test_what_a_section_takes_from_another_is_found(kernels):
    cells = [
        new_markdown_cell(text, id=id) if text.startswith("#") else new_code_cell(text, id=id)
        for id, text in PARTS.items()
    ]
    cells[1].metadata["tags"] = ["setup"]
    result = kernels.run(out_of_order(new_notebook(cells=cells)), timeout=60)
    shown = {cell.id: told(cell) for cell in result.notebook.cells if cell.cell_type == "code"}
    assert shown["alone"] == "1 {}\n"
    assert shown["adds"] == "1 {'y': 2}\n"
    assert [error.cell for error in result.errors] == ["needs", "asks"]
    (bare,) = unexplained(result.errors)
    assert bare.text.startswith("NameError: name 'here' is not defined")


@pytest.mark.campaign
@each_notebook
def test_each_section_runs_after_the_set_up_cells_alone(path, kernels):
    source = read(path)
    result = kernels.run(out_of_order(generate.edition(source, solved=True)), timeout=120 * source.budget_minutes)
    assert not unexplained(result.errors), "\n\n".join(map(str, unexplained(result.errors)))
    stopped = {error.cell for error in result.errors}
    for cell in tagged(result.notebook, "check"):
        assert cell.id in stopped or "✕" not in told(cell), cell.id
