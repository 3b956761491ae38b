from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import socket
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

from csd_edu import check, cli
from csd_edu.check.running import examine
from csd_edu.grade import Mark, Row, Table, grade, inside, isolation, merged, tables
from csd_edu.grade.submissions import Export, Notebook, Result, Unread, by_student, printable, read_all

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

IMPORTS = "import torch\nfrom csd_edu import check"
RIGHT = "def softmax(logits, temperature):\n    return torch.softmax(logits / temperature, dim=1)"
WRONG = "def softmax(logits, temperature):\n    return torch.softmax(logits * temperature, dim=1)"
STUB = "def softmax(logits, temperature):\n    raise NotImplementedError('divide')"
CALL = "check.temperature_softmax(softmax)"

SEARCH = (
    "import torch.nn.functional as F\ndef search(q, g, k):\n"
    "    return (F.normalize(q, dim=1) @ F.normalize(g, dim=1).T).topk(k, dim=1).indices",
    "check.search(search)",
)


def notebook_of(*cells: str) -> str:
    made = [{"cell_type": "code", "metadata": {}, "source": cell.splitlines(keepends=True)} for cell in cells]
    text = {"cell_type": "markdown", "metadata": {}, "source": "check.search(search)"}
    return json.dumps({"cells": [text, *made], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def put(folder: Path, **files: str) -> Path:
    """Write files, named with __ for / and _DOT_ for a dot, into a folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def export_of(student: str, **exercises: object) -> str:
    known = {
        True: {"passed": True, "attempts": 2, "hints": 0, "mistakes": {"wrong axis": 1}, "time": None},
        False: {"passed": False, "attempts": 3, "hints": 1, "mistakes": {"wrong axis": 1, "self": 2}, "time": None},
        None: {"passed": False, "attempts": 0, "hints": 0, "mistakes": {}, "time": None},
    }
    entries = {name: entry if isinstance(entry, dict) else known[entry] for name, entry in exercises.items()}
    return json.dumps({"version": 1, "student": student, "exercises": entries})


def judged(*cells: str, exercise: str = "temperature_softmax") -> list[inside.Judgement]:
    """Judge cells here, for code of which is known what it does."""
    names = {name: known.parameters for name, known in check.EXERCISES.items()}
    statements, _ = inside.read_cells(cells)
    calls = [call for call in inside.find_calls(statements, names) if call.exercise == exercise]
    return [inside.judge(lambda name, f: examine(check.EXERCISES[name], f), cells, statements, c) for c in calls]


# --- which code of a notebook is run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "state", "says"),
    [
        ([IMPORTS, RIGHT, CALL], "passed", ""),
        ([IMPORTS, WRONG, CALL], "tried", "temperature"),
        ([IMPORTS, STUB, CALL], "untried", "not written yet"),
        ([IMPORTS, RIGHT + "\n1 / 0", CALL], "passed", ""),  # what else a cell does is not run
        ([IMPORTS, RIGHT, f"verdict = {CALL}\nverdict"], "passed", ""),
        ([IMPORTS, RIGHT, "check.temperature_softmax(f=softmax)"], "passed", ""),
        ([IMPORTS, RIGHT, "check.temperature_softmax(lambda l, t: softmax(l, t))"], "passed", ""),
        ([IMPORTS, RIGHT, f"if True:\n    {CALL}"], "passed", ""),
        (["import csd_edu as csd, torch", RIGHT, "csd.check.temperature_softmax(softmax)"], "passed", ""),
        ([IMPORTS, CALL, RIGHT], "passed", ""),  # written below, run out of order
        ([IMPORTS, WRONG, RIGHT, CALL], "passed", ""),  # the last one before the check
        ([IMPORTS, RIGHT, CALL, WRONG], "passed", ""),
        ([IMPORTS, RIGHT, WRONG, CALL], "tried", "temperature"),
        ([IMPORTS, "ONE = 1.0", RIGHT.replace("/ temp", "* ONE / temp"), CALL], "passed", ""),
        ([IMPORTS, "ONE = torch.ones(1)", RIGHT.replace("/ temp", "* ONE / temp"), CALL], "passed", ""),
        ([IMPORTS, "def soft(x):\n    return torch.softmax(x, 1)", "alias = lambda x: soft(x)",
          "def softmax(logits, temperature):\n    return alias(logits / temperature)", CALL], "passed", ""),
        (["try:\n    import torch\nexcept ImportError:\n    torch = None", IMPORTS, RIGHT, CALL], "passed", ""),
        (["from __future__ import annotations", IMPORTS, RIGHT.replace("temperature)", "temperature: Nowhere)"), CALL],
         "passed", ""),
        ([IMPORTS, "run = csd.train(stream)", RIGHT.replace("/ temp", "* run / temp"), CALL], "failed",
         "'run' is not there: code cell 2 computes it"),
        ([IMPORTS, "import nowhere_at_all", RIGHT.replace("/ temp", "* nowhere_at_all / temp"), CALL], "failed",
         "code cell 2 stopped with ModuleNotFoundError"),
        ([IMPORTS, RIGHT.replace("/ temp", "* typo / temp"), CALL], "tried", "name 'typo' is not defined"),
        ([IMPORTS, CALL], "untried", "no cell defines 'softmax'"),
        ([IMPORTS, STUB.replace("NotImplementedError('divide')", "KeyboardInterrupt"), CALL], "tried", "KeyboardInt"),
    ],
)  # fmt: skip
def test_a_function_is_run_with_what_it_needs(cells, state, says):
    (judgement,) = judged(*cells)
    assert (judgement.state, says in judgement.message) == (state, True), judgement


MEMORY = """
import csd_edu as csd
import torch.nn.functional as F
from csd_edu import check
""".strip()
REMEMBERS = """
class Remembers(csd.methods.Method):
    def __init__(self, size=SIZE):
        self.size = size

    def begin(self, setting):
        self.memory = csd.Memory(self.size)

    def __call__(self, step):
        terms = csd.methods.finetune(step)
        if len(self.memory):
            old = self.memory.draw(16)
            terms["old"] = F.cross_entropy(step.view(step.augment(old.images)).logits, old.labels)
        self.memory.add(images=step.raw, labels=step.labels)
        return terms
""".strip()
CROPS = REMEMBERS.replace("images=step.raw", "images=step.images")
OF_AN_OBJECT = (  # how an object is handed in
    ("check.my_memory(Remembers())",),
    ("mine = Remembers(size=20)\ncheck.my_memory(mine)",),
    ("mine = Remembers(20)", "check.my_memory(mine)"),
    ("class More(Remembers):\n    size = 3", "check.my_memory(f=More(size=min(SIZE, 30)))"),
)


@pytest.mark.parametrize("calls", OF_AN_OBJECT)
def test_an_object_is_made_of_its_class(calls):
    for source, state, mistake in ((REMEMBERS, "passed", None), (CROPS, "tried", "crops kept")):
        (judgement,) = judged(MEMORY, "SIZE = 30", source, *calls, exercise="my_memory")
        assert (judgement.state, judgement.mistake) == (state, mistake), judgement


def test_an_object_that_cannot_be_made_is_told():
    call = "check.my_memory(Remembers())"
    (judgement,) = judged(MEMORY, "SIZE = train()", REMEMBERS, call, exercise="my_memory")
    assert judgement.state == "failed"
    assert "'Remembers' is not there" in judgement.message
    (judgement,) = judged(MEMORY, "SIZE = 1", REMEMBERS, "check.my_memory(Remembers)", exercise="my_memory")
    assert judgement.mistake == "the class itself"
    stub = REMEMBERS.replace("self.memory = csd.Memory(self.size)", "raise NotImplementedError('write')")
    assert [answer.state for answer in judged(MEMORY, "SIZE = 1", stub, call, exercise="my_memory")] == ["untried"]
    names = {name: exercise.parameters for name, exercise in check.EXERCISES.items()}
    statements, unread = inside.read_cells([MEMORY, REMEMBERS + ")", call])
    losses = inside.find_losses(names, inside.find_calls(statements, names), unread)
    assert losses.keys() == {"my_memory"}
    assert losses["my_memory"].startswith("code cell 2 is no Python")


def test_an_error_is_shown_with_the_students_line():
    (judgement,) = judged(IMPORTS, "def softmax(logits, temperature):\n    x = 1\n    return logits / nothing", CALL)
    assert judgement.mistake == "error"
    assert "Line 3, in softmax: return logits / nothing" in judgement.message


def test_each_different_function_counts_and_the_best_is_taken():
    answers = judged(
        IMPORTS, RIGHT, WRONG.replace("softmax(l", "other(l"), CALL, CALL.replace("(s", "(other or s"), CALL
    )
    assert [answer.state for answer in answers] == ["passed", "tried"]
    assert inside.best(answers).state == inside.best(answers[::-1]).state == "passed"
    first, last = inside.Judgement("tried", "a", ""), inside.Judgement("tried", "b", "")
    failed, untried = inside.Judgement("failed", None, ""), inside.Judgement("untried", None, "")
    assert inside.best([first, last, failed, untried]) == last
    assert inside.best([failed, untried]) == failed


@pytest.mark.parametrize("removed", ["", "import os\nos.getcwd()"])
def test_without_its_check_a_function_is_known_by_name_and_parameters(removed):
    named = RIGHT.replace("def softmax", "def temperature_softmax")
    assert [judgement.state for judgement in judged(IMPORTS, named, removed)] == ["passed"]
    assert judged(IMPORTS, named.replace("temperature)", "t)").replace("/ temperature", "/ t")) == []


def test_magics_are_left_out():
    cells = ("%matplotlib inline\n!ls -l\n" + IMPORTS, "%%time\n" + RIGHT, "x = !ls\nsoftmax?\n" + CALL)
    assert [judgement.state for judgement in judged(*cells)] == ["passed"]
    assert inside.without_magics("%%bash\nrm -rf x") == ""
    assert inside.without_magics("if a:\n    %pip install b\nc = %env D\n") == "if a:\n    pass\nc = None\n"
    kept = "x = ('%d'\n     % 3)\n"
    statements, unread = inside.read_cells([kept])
    assert (len(statements), unread) == (1, [])  # Python's own % is no magic


def test_a_cell_that_is_no_python_is_named():
    names = {name: exercise.parameters for name, exercise in check.EXERCISES.items()}
    cells = [IMPORTS, "def softmax(logits, temperature):\n    return (logits", CALL, "def unrelated(:", "(" * 5000]
    statements, unread = inside.read_cells(cells)
    assert [cell.cell for cell in unread] == [1, 3, 4]
    losses = inside.find_losses(names, inside.find_calls(statements, names), unread)
    assert list(losses) == ["temperature_softmax"]
    assert re.match(r"code cell 2 is no Python \(line 2: '\(' was never closed", losses["temperature_softmax"])


@pytest.mark.parametrize(
    ("code", "quick"),
    [
        ("x = 1", True), ("x = [1, 2 ** 3, -4.0]", True), ("x, (y, z) = a, b", True), ("x: int = 3", True),
        ("x = torch.zeros(3)", True), ("x = float('-inf')", True), ("x = mine.get('a') or (lambda: train())", True),
        ("x = check.csd(f)", True), ("x = check.yours_or_ours('csd', ours=f)", True), ("x = csd.train(s)", False),
        ("x = [train(s) for s in range(3)]", False),
        ("x = saved.run('csd')", False), ("x = f(1)", False), ("x = A()", False), ("x = torch.zeros(train(s))", False),
        ("x = await y", False), ("x += 1", False), ("for i in range(3):\n    x = i", False), ("f(x)", False),
        ("if GPU:\n    x = 1\nelse:\n    x = 2", True), ("if GPU:\n    x = train()", False),
        ("try:\n    import a\nexcept ImportError:\n    a = None", True), ("import a", True), ("from a import *", True),
    ],
)  # fmt: skip
def test_which_statements_are_run(code, quick):
    (statement,) = inside.read_cells([code])[0]
    assert statement.defines is quick


# --- what was handed in -----------------------------------------------------------------------------------------------


def test_files_are_found_at_any_depth_and_unreadable_ones_are_listed(tmp_path):
    put(
        tmp_path,
        ada__deep__one_DOT_ipynb=notebook_of(RIGHT),
        bob_DOT_json=export_of("Bob", search=True),
        broken_DOT_ipynb='{"cells": [',
        old_DOT_ipynb='{"worksheets": [], "nbformat": 3}',
        list_DOT_ipynb="[1]",
        sourceless_DOT_ipynb='{"cells": [{"cell_type": "code"}]}',
        config_DOT_json='{"epochs": 3}',
        later_DOT_json='{"version": 2, "student": "a", "exercises": {}}',
        nobody_DOT_json='{"version": 1, "student": " ", "exercises": {}}',
        damaged_DOT_json=export_of("C", search={"passed": "yes"}),
        damagedtoo_DOT_json=export_of("C", search={"passed": False, "attempts": 1, "mistakes": {"a": "many"}}),
        deep_DOT_json="[" * 100_000,
        ada___DOT_ipynb_checkpoints__one_DOT_ipynb=notebook_of(WRONG),
        notes_DOT_txt="hello",
    )
    (tmp_path / "latin.json").write_bytes(b'{"student": "Zo\xeb"}')
    exports, notebooks, unread, counted = read_all(tmp_path)
    assert [(str(given.file), given.what) for given in counted] == [
        (os.path.join("ada", ".ipynb_checkpoints", "one.ipynb"), "hidden"), ("notes.txt", ".txt"),
    ]  # fmt: skip
    assert [export.student for export in exports] == ["Bob"]
    assert [(notebook.file, notebook.cells) for notebook in notebooks] == [(Path("ada/deep/one.ipynb"), (RIGHT,))]
    reasons = {given.file.name: given.reason for given in unread}
    expected = {
        "broken.ipynb": "cut off", "old.ipynb": "old format", "list.ipynb": "no notebook", "latin.json": "UTF-8",
        "sourceless.ipynb": "a cell has no source", "config.json": "no export", "later.json": "version 2; expected 1",
        "nobody.json": "no student's name", "damaged.json": "entry of search", "damagedtoo.json": "entry of search",
        "deep.json": "too deep",
    }  # fmt: skip
    assert reasons.keys() == expected.keys()
    assert all(words in reasons[name] for name, words in expected.items()), reasons


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights on Windows")
def test_links_are_not_followed(tmp_path):
    secret = put(tmp_path / "own", x_DOT_json=export_of("Instructor")) / "x.json"
    handed_in = put(tmp_path / "in", bob_DOT_json=export_of("Bob"))
    (handed_in / "link.json").symlink_to(secret)
    (handed_in / "folder").symlink_to(secret.parent)
    exports, _, unread, _ = read_all(handed_in)
    assert [export.student for export in exports] == ["Bob"]
    assert [(str(given.file), "link" in given.reason) for given in unread] == [("folder", True), ("link.json", True)]


def test_what_an_export_claims(tmp_path):
    stub = {"passed": False, "attempts": 4, "hints": 2, "mistakes": {"still to be written": 4}}
    text = export_of("Ada", search=True, recall_at_k=False, forgetting=None, csd=stub, of_the_future=True)
    claims = read_all(put(tmp_path, a_DOT_json=text))[0][0].claims
    assert {name: claim.state for name, claim in claims.items()} == {
        "search": "passed", "recall_at_k": "tried", "forgetting": "untried", "csd": "untried",
    }  # fmt: skip
    assert (claims["recall_at_k"].mistake, claims["recall_at_k"].message) == ("self", "self ×2; wrong axis ×1")
    unnamed = {"search": {"passed": False, "attempts": 3, "hints": 0, "mistakes": {"unknown": 3}}}
    claim = read_all(put(tmp_path / "b", b_DOT_json=export_of("Bob", **unnamed)))[0][0].claims["search"]
    assert (claim.state, claim.mistake, claim.message) == ("tried", "no usual mistake", "×3")


def test_the_checks_own_export_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.txt"))
    check.temperature_softmax(lambda logits, temperature: torch.softmax(logits / temperature, dim=1))
    check.search(lambda q, g, k: (q @ g.T).topk(k).indices)
    check.export(tmp_path / "ada.json", "Ada")
    (export,) = read_all(tmp_path)[0]
    assert export.claims.keys() == check.EXERCISES.keys()
    assert {name for name, claim in export.claims.items() if claim.state == "passed"} == {"temperature_softmax"}
    assert {name for name, claim in export.claims.items() if claim.state == "tried"} == {"search"}


def test_whose_a_file_is():
    def notebook(file):
        return Notebook(Path(file), ())

    def export(file, student):
        return Export(Path(file), student, {})

    students = by_student(
        [
            export("ada/progress.json", "Ada Lovelace"),  # beside her notebooks
            export("bob.json", "BOB"),  # named like his
            export("x/a.json", "Zoë"),
            export("y/a.json", "Zoë"),
            export("group/1/p.json", "Eve"),  # two beside the same notebooks: whose are they?
            export("group/1/q.json", "Dan"),
        ],
        [
            *map(
                notebook,
                ("ada/01.ipynb", "ada/02.ipynb", "bob/01.ipynb", "solo.ipynb", "group/1/a.ipynb", "Łukasz/1.ipynb"),
            )
        ],
    )
    assert [(s.name, s.export and s.export.student, len(s.notebooks)) for s in students] == [
        ("ada (Ada Lovelace)", "Ada Lovelace", 2),
        ("bob", "BOB", 1),
        ("Dan", "Dan", 0),
        ("Eve", "Eve", 0),
        ("group/1", None, 1),
        ("solo", None, 1),
        ("Zoë [x/a.json]", "Zoë", 0),
        ("Zoë [y/a.json]", "Zoë", 0),
        ("Łukasz", None, 1),
    ]


def test_the_folder_of_the_solutions_is_not_mixed_with_the_students():
    students = by_student([], [Notebook(Path(f"ada/{where}01.ipynb"), ()) for where in ("", "solutions/")])
    assert [student.name for student in students] == ["ada", "ada/solutions"]


@given(st.text())
def test_a_printable_name_stays_on_its_line(text):
    shown = printable(text, 80)
    assert len(shown) <= 80
    assert shown.isprintable() or set(shown) & {"\u200c", "\u200d"}
    assert shown.encode("utf-8").decode() == shown
    assert printable(shown, 80) == shown


def test_a_name_cannot_steer_the_terminal():
    assert printable("Ada\x1b[2J\n\u202eBob") == "Ada\ufffd[2J \ufffdBob"
    assert printable("Zoe\u0308 李雷") == "Zoë 李雷"


# --- the table --------------------------------------------------------------------------------------------------------

NASTY = "<script>alert('x')</script>"


def small_table() -> Table:
    passed, tried = Result("passed"), Result("tried", "wrong <axis>", "=1+1 <b>")
    rows = (
        Row("=HYPERLINK(1)", "claimed", {"a": Mark(passed, claimed=True), "b": Mark(Result("untried"), claimed=True)}),
        Row("李雷", "run, claimed", {"a": Mark(tried, instead=passed), "b": Mark(Result("failed", None, "it ended"))}),
        Row(NASTY, "run", {"a": Mark(passed), "b": Mark(tried)}, ("look & see",)),
    )
    return Table({"a": "Title A", "b": "Title <B>"}, rows, (Unread(Path("x.json"), "no <export>"),), "Run in a box.")


def test_the_text_is_aligned_and_says_everything():
    lines = tables.as_text(small_table()).splitlines()
    assert lines[0].split() == ["student", "1", "2", "passed", "from"]
    assert lines[1].split() == ["=HYPERLINK(1)", "(✓)", "–", "0", "+", "(1)", "of", "2", "claimed"]
    assert lines[2].split() == ["李雷", "✕*", "!", "0", "of", "2", "run,", "claimed"]
    assert lines[3].split() == [NASTY, "✓", "✕", "1", "of", "2", "run"]
    assert len({line.index(sign) + wide for line, sign, wide in zip(lines[1:4], "✓✕✓", (0, 2, 0), strict=True)}) == 1
    text = "\n".join(lines)
    assert "李雷, b: it ended" in text
    assert "李雷: a tried, but the export says passed" in text
    assert "x.json: no <export>" in text
    assert f"{NASTY}: look & see" in text
    assert text.endswith("\n\nRun in a box.")
    assert "wrong <axis>" not in text
    assert "李雷, a: wrong <axis>: =1+1 <b>" in tables.as_text(small_table(), mistakes=True)


def test_the_csv_can_be_read_and_holds_no_formula():
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(small_table(), mistakes=True))))
    assert [row["student"] for row in rows] == ["'=HYPERLINK(1)", "李雷", NASTY]
    assert [(row["a"], row["b"]) for row in rows] == [
        ("claimed passed", "not tried"),
        ("tried (wrong <axis>)", "could not be run"),
        ("passed", "tried (wrong <axis>)"),
    ]
    assert [(row["from"], row["passed"], row["claimed"], row["of"]) for row in rows] == [
        ("claimed", "0", "1", "2"), ("run, claimed", "0", "0", "2"), ("run", "1", "0", "2"),
    ]  # fmt: skip
    assert rows[1]["notes"] == "a tried, but the export says passed"
    assert "wrong" not in tables.as_csv(small_table())


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "a=1", "李", "'=1"])
def test_formulas_are_made_text(name):
    row = Row(name, "run", {"a": Mark(Result("untried"))})
    (read,) = csv.DictReader(io.StringIO(tables.as_csv(Table({"a": ""}, (row,), (), ""))))
    dangerous = name.strip()[0] in "=+-@"
    assert read["student"] == ("'" + name if dangerous else name)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.words += [value for _, value in attrs if value]

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("mistakes", [False, True])
def test_the_page_shows_names_as_they_are_and_runs_nothing(mistakes):
    page = _Page(tables.as_html(small_table(), mistakes=mistakes))
    assert not {"script", "b", "axis", "export", "img", "link"} & set(page.tags)
    assert {NASTY, "李雷", "=HYPERLINK(1)", "Title <B>", "x.json: no <export>", "Run in a box."} <= set(page.words)
    assert page.tags.count("tr") == 1 + 3
    assert ("李雷, a: wrong <axis>: =1+1 <b>" in page.words) is mistakes
    assert {"✓", "✕", "✕*", "!", "–", "(✓)"} <= set(page.words)


@pytest.mark.parametrize("file", ["t.txt", "t", "nowhere/t.csv", "folder.csv"])
def test_a_table_is_written_only_where_it_can_be(file, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"expected a file that ends in .csv or .html|there is no folder"):
        tables.write(small_table(), tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_the_better_of_two_notebooks_counts():
    of = {state: Result(state) for state in ("passed", "tried", "untried", "failed")}
    assert merged([of["untried"], of["failed"], of["tried"], of["passed"]]).state == "passed"
    assert merged([of["untried"], of["failed"], of["tried"]]).state == "tried"
    assert merged([of["untried"], of["failed"]]).state == "failed"
    assert merged([]).state == "untried"


def test_what_did_not_hold_is_said():
    everything = frozenset(isolation.LIMITS)
    assert isolation.describe([], 60) == ""
    full = isolation.describe([everything, everything], 60)
    assert "at most 60 s" in full
    assert "network is cut off" in full
    assert "NOT" not in full
    partly = isolation.describe([everything, everything - {"network", "files"}], 60)
    assert "network is cut off" not in partly
    assert "the network was NOT cut off" in partly
    assert "NOT protected" in partly
    assert "\n" not in partly


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_class_of_exports_on_the_command_line(tmp_path, capsys):
    folder = put(
        tmp_path / "in",
        a_DOT_json=export_of("Ada", search=True, recall_at_k=False),
        b_DOT_json=export_of("@SUM(A1)", search=None),
        c_DOT_json="{",
    )
    out = tmp_path / "class.csv"
    assert cli.main(["grade", str(folder), "--mistakes", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^Ada +\(✓\) +\(✕\) +0 \+ \(1\) of \d+ +claimed$", text, re.M)
    assert "Ada, recall_at_k: self" in text
    assert re.search(r"c\.json: it is no JSON, or cut off", text)
    assert "1 search, 2 recall_at_k. Tried by nobody: " in " ".join(text.split())
    assert "Notebooks were run" not in text
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8-sig")))}
    assert rows["Ada"]["recall_at_k"] == "claimed tried (self)"
    assert rows.keys() == {"Ada", "'@SUM(A1)", "c"}
    assert (rows["c"]["from"], "it is no JSON" in rows["c"]["notes"]) == ("not read", True)
    assert cli.main(["grade", str(folder), "--out", str(tmp_path / "class.html")]) == 0
    assert "<td" in (tmp_path / "class.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist; expected the folder"),
        (["file"], "file is a file; expected the folder"),
        (["empty"], r"no export \(.json\) and no notebook \(.ipynb\) to grade in empty"),
        (["bad"], r"to grade in bad\n  x.json: it is no JSON"),
        (["full", "--out", "table.pdf"], "table.pdf; expected a file that ends in .csv or .html"),
        (["full", "--seconds", "0"], "seconds is 0.0; expected more than 0"),
        (["full", "--jobs", "0"], "jobs is 0; expected at least 1"),
    ],
)
def test_a_mistake_gets_exit_code_2(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(put(tmp_path, file="", bad__x_DOT_json="{", full__a_DOT_json=export_of("Ada")))
    (tmp_path / "empty").mkdir()
    assert cli.main(["grade", *arguments]) == cli.EXIT_MISTAKE
    assert re.search(message, capsys.readouterr().err)


def test_the_help_says_that_it_is_no_sandbox(capsys):
    with pytest.raises(SystemExit):
        cli.main(["grade", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "no sandbox against a determined attacker" in text
    assert "can forge its own result" in text
    assert "example: csd-edu grade" in text


# --- real processes ---------------------------------------------------------------------------------------------------


def one(*cells: str, **options: float) -> isolation.Outcome:
    return isolation.run_notebook(Notebook(Path("x.ipynb"), cells), **options)


def test_a_notebook_without_exercises_starts_no_torch():
    outcome = one("import os\nos._exit(3)", "print('hello')")
    assert outcome == isolation.Outcome({}, None, "")


@pytest.mark.slow
def test_an_object_is_checked_elsewhere():
    for source, call, state in zip((REMEMBERS, CROPS), OF_AN_OBJECT[:2], ("passed", "tried"), strict=True):
        outcome = one(MEMORY, "SIZE = 30", source, *call)
        assert {name: result.state for name, result in outcome.results.items()} == {"my_memory": state}, outcome


@pytest.mark.slow
def test_a_notebook_is_run_elsewhere_and_what_crashes_costs_only_itself(tmp_path, monkeypatch):
    """One exercise ends the process, the others are still checked; nothing is recorded as this user's progress."""
    progress = tmp_path / "progress.json"
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(progress))
    leaves = "import os\ndef recall_at_k(q, ql, g, gl, k, exclude_self=False):\n    os._exit(0)"
    outcome = one(IMPORTS, *SEARCH, leaves, "check.recall_at_k(recall_at_k)", WRONG, CALL)
    assert {name: result.state for name, result in outcome.results.items()} == {
        "search": "passed", "recall_at_k": "failed", "temperature_softmax": "tried",
    }  # fmt: skip
    assert "exit code 0" in outcome.results["recall_at_k"].message
    assert outcome.results["temperature_softmax"].mistake == "multiplied by the temperature"
    assert not progress.exists()


def body(*lines: str) -> tuple[str, str, str]:
    """Return cells with a function of these lines, after which it answers rightly."""
    text = "".join(f"    {line}\n" for line in lines)
    answer = "    return torch.softmax(logits / temperature, dim=1)"
    return (IMPORTS, f"def softmax(logits, temperature):\n{text}{answer}", CALL)


def attempts(outside: Path, port: int) -> list[str]:
    """Return the lines of a function that tries one thing after another, and raises what came of each."""
    tries = {
        "torch": "torch.ones(2**30)",
        "bytes": "bytearray(2**33)",
        "shared": "mmap.mmap(-1, 2**33)",
        "fills": "[open('big', 'ab').write(bytes(2**20)) for _ in range(100)]",
        "writes": f"open({str(outside / 'note')!r}, 'w').write('hello')",
        "removes": f"shutil.rmtree({str(outside)!r})",
        "remounts": "subprocess.run(['mount', '-o', 'remount,bind,rw', '/'], check=True, stderr=-3)",
        "calls": f"socket.create_connection(('127.0.0.1', {port}), 1)",
        "reads": "input()",
        "secret": "os.environ['INSTRUCTORS_TOKEN']",
        "spies": "[p for p in pathlib.Path('/proc').glob('[0-9]*/environ') if b'INSTRUCTORS' in p.read_bytes()][0]",
    }
    lines = ["import mmap, os, pathlib, shutil, socket, subprocess", "told = []"]
    for name, code in tries.items():
        lines += ["try:", f"    {code}", f"    told.append('{name} done')", "except Exception as e:"]
        lines += [f"    told.append(f'{name} {{type(e).__name__}} {{getattr(e, \"errno\", None)}}')"]
    return [*lines, "raise RuntimeError('; '.join(told) + ';')"]


@pytest.fixture(scope="module")
def tricks(tmp_path_factory):
    """Return what came of a class that tries all sorts of things, the isolation's sentence, and two folders."""
    home, outside = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("outside")
    (outside / "dear").write_text("kept")
    listening = socket.create_server(("127.0.0.1", 0))
    done = json.dumps({"done": "temperature_softmax", "state": "passed", "mistake": None, "message": "", "nonce": "0"})
    forged = ["import os", f"line = {done!r}", "print(line, flush=True)"]
    cells = {
        "loops": body("while True:", "    try: pass", "    except: pass"),
        "floods": body("while True: print('x' * 10**5)"),
        "prints": body("import os", "print('x' * 10**7)", "os.write(1, b'y' * 10**7)",
                       "open(os.path.expanduser('~/note'), 'w').write('hello')"),
        "exits": body("import sys", "sys.exit(0)"),
        "forges": body(*forged, "for n in (1, 2): os.write(n, (line + '\\n').encode())", "os._exit(0)"),
        "attempts": body(*attempts(outside, listening.getsockname()[1])),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("class")
    for name, texts in cells.items():
        put(folder, **{f"{name}_DOT_ipynb": notebook_of(*texts)})
    with pytest.MonkeyPatch.context() as patch, listening:
        patch.setenv("HOME", str(home))
        patch.setenv("INSTRUCTORS_TOKEN", "secret")
        table = grade(folder, seconds=5)
    results = {row.student: row.marks["temperature_softmax"].result for row in table.rows}
    return results, table.isolation, home, outside


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "state", "says"),
    [
        ("loops", "failed", "it was stopped after 5 s"),
        ("floods", "failed", "it was stopped after 5 s"),
        ("prints", "passed", ""),
        ("exits", "tried", "SystemExit: 0"),
        ("forges", "failed", "its process ended with exit code 0"),
        ("attempts", "tried", "reads EOFError None;"),
        ("attempts", "tried", "secret KeyError None;"),
    ],
)
def test_tricks_that_no_system_falls_for(name, state, says, tricks):
    result = tricks[0][name]
    assert (result.state, says in result.message) == (state, True), result


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit of memory")
@pytest.mark.parametrize("says", ["torch RuntimeError", "bytes MemoryError", "shared OSError 12", "fills OSError 27"])
def test_tricks_that_linux_does_not_fall_for(says, tricks):
    assert f"{says}" in tricks[0]["attempts"].message


@pytest.mark.slow
@pytest.mark.parametrize(
    "says",
    ["writes OSError 30", "removes OSError 30", "remounts CalledProcessError", "calls OSError 101", "spies IndexError"],
)
def test_tricks_that_namespaces_guard_against(says, tricks):
    if len(isolation._namespaces()) < 5:
        pytest.skip("this system gives no namespaces")
    assert says in tricks[0]["attempts"].message


@pytest.mark.slow
def test_the_instructors_folders_stay_as_they_were(tricks):
    _, sentence, home, outside = tricks
    assert list(home.iterdir()) == []
    assert [path.name for path in outside.glob("*")] == ["dear"] or "NOT protected" in sentence
    assert sentence.startswith("Notebooks were run each in a process of its own for at most 5 s")


@pytest.mark.slow
def test_without_namespaces_the_rest_holds_and_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(isolation, "_namespaces", tuple)
    outcome = one(*body("import os", f"open({str(tmp_path / 'note')!r}, 'w').write('x')"))
    assert outcome.results["temperature_softmax"].state == "passed"
    assert outcome.held is not None
    assert not outcome.held & {"files", "processes"}
    assert (tmp_path / "note").exists()
    assert "NOT protected" in isolation.describe([outcome.held], 60)


@pytest.mark.slow
def test_what_is_left_running_is_ended():
    """Also what has left its session, where processes have a namespace of their own."""
    start = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(987)'], start_new_session={})"
    session = len(isolation._namespaces()) > 5
    lines = ("import subprocess, sys", start.format(session))
    outcome = one(*body(*lines))
    assert outcome.results["temperature_softmax"].state == "passed"
    if not Path("/proc").is_dir():
        pytest.skip("processes cannot be listed here")

    def is_running() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"time.sleep(987)" in path.read_bytes():
                    return True
        return False

    deadline = time.monotonic() + 10  # the system takes a moment
    while is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running()


@pytest.mark.slow
def test_a_run_wins_over_a_claim_and_differences_are_flagged(tmp_path):
    put(
        tmp_path,
        ada__02_DOT_ipynb=notebook_of(IMPORTS, WRONG, CALL, *SEARCH),
        ada__p_DOT_json=export_of("Ada", temperature_softmax=True, search=None, forgetting=True, csd=False),
        broken_DOT_ipynb="{",
        eve__05_DOT_ipynb=notebook_of("%pip install x\n" + IMPORTS, "def softmax(:", CALL, "print(1"),
    )
    table = grade(tmp_path)
    ada, broken, eve = table.rows
    assert (broken.student, broken.source, len(broken.notes)) == ("broken", "not read", 1)
    assert (ada.student, ada.source, ada.passed(claimed=False), ada.passed(claimed=True)) == (
        "ada",
        "run, claimed",
        1,
        1,
    )
    softmax = ada.marks["temperature_softmax"]
    assert (softmax.result.state, softmax.claimed, softmax.instead) == ("tried", False, Result("passed"))
    assert ada.marks["search"] == Mark(Result("passed"), instead=Result("untried"))
    assert (ada.marks["forgetting"].result.state, ada.marks["forgetting"].claimed) == ("passed", True)
    assert eve.marks["temperature_softmax"].result.state == "failed"
    assert "code cell 2 is no Python (line 1: " in eve.marks["temperature_softmax"].result.message
    assert [given.file.name for given in table.unread] == ["broken.ipynb"]
    text = tables.as_text(table)
    assert "ada: temperature_softmax tried, but the export says passed" in text
    assert "ada: search passed, but the export says not tried" in text


@pytest.mark.campaign
def test_the_kits_own_editions(tmp_path):
    """Of the solved editions all exercises pass, of the students' none was tried."""
    for edition, where in (("student", NOTEBOOKS), ("solved", NOTEBOOKS / "solutions")):
        for path in sorted(where.glob("0*.ipynb")):
            put(tmp_path, **{f"{edition}__{path.stem}_DOT_ipynb": path.read_text(encoding="utf-8")})
    solved, student = grade(tmp_path).rows
    assert (solved.student, student.student) == ("solved", "student")
    called = re.findall(r"check\.(\w+)\((?!\\?\")\w", "".join(p.read_text() for p in NOTEBOOKS.glob("0*.ipynb")))
    expected = set(called) & check.EXERCISES.keys()
    assert len(expected) >= 8
    assert {name for name, mark in solved.marks.items() if mark.result.state == "passed"} >= expected
    assert {mark.result.state for mark in solved.marks.values()} <= {"passed", "untried"}
    assert {mark.result.state for mark in student.marks.values()} == {"untried"}
    assert all("not written yet" in student.marks[name].result.message for name in expected)
