"""The notebooks' generator: two editions of one source, and a runner that finds hidden errors."""

from __future__ import annotations

import ast
import json
import re
import time
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output

from csd_edu import start
from csd_edu.widgets import Panel
from csd_edu.widgets.twin import static_html
from notebooks import colab, generate
from notebooks.sources import Source, read_source, with_solution

SAMPLE = '''\
# %% [markdown] budget_minutes=1.5
# # Ranks
#
# What you will be able to do.

# %% tags=["setup"]
# %precision 3
import plotly.graph_objects as go

# %% [markdown] minutes=8 difficulty=2
# ## 1. Sort
# Text with ⟨x, y⟩ and `code`.

# %% [markdown] tags=["predict"]
# Which comes first?

# %% tags=["exercise"] minutes=5 difficulty=3
def ranks(values):
    """Return the places of sorted values."""
    if not values:
        # >>> solution
        return []
        # <<< solution
    # >>> solution: sort the "places" by value
    places = range(len(values))
    return sorted(places, key=values.__getitem__)
    # <<< solution


# %% tags=["check"]
print(ranks([3, 1, 2]))

# %% [markdown] tags=["hint"]
# ### Which function sorts?
# `sorted` has a `key`.

# %% [markdown] tags=["hint"]
# Look at `sorted`.

# %% [markdown] tags=["answer"]
# It sorts places, not values.

# %% [markdown] tags=["instructor"]
# Ten minutes are enough.

# %% tags=["instructor"]
secret = 1

# %% tags=["break"]
ranks([])

# %% tags=["widget"]
go.Figure(go.Scatter(y=[1, 2]), layout={"title": {"text": "A <b>line</b>"}}).show()

# %% [markdown]
# The end.
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "04_ranks.py").write_text(SAMPLE, encoding="utf-8")
    return tmp_path


def read(text: str, tmp_path: Path, name: str = "04_ranks.py") -> Source:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_source(path)


def sources_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells}


# --- editions ---------------------------------------------------------------------------------------------------------


def test_the_student_finds_stubs_where_the_solved_edition_has_solutions(folder):
    assert generate.main([], folder) == 0
    student = nbformat.read(folder / "04_ranks.ipynb", as_version=4)
    assert sources_of(student)["exercise-1"] == (
        "# 5 min · difficulty ●●●\n"
        "def ranks(values):\n"
        '    """Return the places of sorted values."""\n'
        "    if not values:\n"
        '        raise NotImplementedError("your code here")\n'
        "    raise NotImplementedError('sort the \"places\" by value')"
    )
    source = read_source(folder / "src" / "04_ranks.py")
    solved = sources_of(generate.edition(source, solved=True))
    assert solved["exercise-1"] == (
        "# 5 min · difficulty ●●●\n"
        "def ranks(values):\n"
        '    """Return the places of sorted values."""\n'
        "    if not values:\n"
        "        return []\n"
        "    places = range(len(values))\n"
        "    return sorted(places, key=values.__getitem__)"
    )


def test_each_tag_does_what_it_says(folder):
    source = read_source(folder / "src" / "04_ranks.py")
    student, solved = (sources_of(generate.edition(source, solved=s)) for s in (False, True))
    assert student["text-1"] == "# Ranks\n\nWhat you will be able to do."
    assert student["setup-1"].startswith("%precision 3\nimport")
    assert student["text-2"] == "## 1. Sort\n\n*8 min · difficulty ●●○*\n\nText with ⟨x, y⟩ and `code`."
    folded = "<details>\n<summary>Which function sorts?</summary>\n\n`sorted` has a `key`.\n\n</details>"
    assert student["hint-1"] == folded
    assert student["hint-2"] == "<details>\n<summary>Hint</summary>\n\nLook at `sorted`.\n\n</details>"
    assert (student["answer-1"], solved["answer-1"]) == ("*Your answer:*", "It sorts places, not values.")
    assert (solved["instructor-1"], solved["instructor-2"]) == ("Ten minutes are enough.", "secret = 1")
    assert [id for id in solved if id not in student] == ["instructor-1", "instructor-2"]
    same = [id for id in student if id not in ("exercise-1", "answer-1")]
    assert {id: student[id] for id in same} == {id: solved[id] for id in same}
    assert list(student) == [
        *("text-1", "setup-1", "text-2", "predict-1", "exercise-1", "check-1"),
        *("hint-1", "hint-2", "answer-1", "break-1", "widget-1", "text-3"),
    ]


FOLDED = """\
# %% [markdown] budget_minutes=1
# # A

# %% tags=["setup"]
# first cell

# %% tags=["folded", "widget"] title="Draw a line"
draw()

# %%
shown()
"""


@pytest.mark.parametrize("solved", [True, False])
def test_a_folded_cell_shows_its_title_and_the_opening_text_says_how_to_unfold_it(solved, tmp_path):
    notebook = generate.edition(read(FOLDED, tmp_path), solved=solved)
    opening, first, folded, shown = notebook.cells
    nbformat.validate(notebook)
    assert opening.source == f"# A\n\n{generate.UNFOLD}"
    hidden = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    assert first.metadata == {"tags": ["setup"], **hidden}
    assert first.source == f"# @title Find the kit\n{colab.first_cell(start.REPOSITORY)}"
    assert folded.metadata == {"tags": ["folded", "widget"], **hidden}
    assert folded.source == "# @title Draw a line\ndraw()"
    assert (shown.metadata, shown.source) == ({}, "shown()")


def test_colab_finds_its_address_in_a_folded_first_cell(tmp_path):
    notebook = generate.edition(read(FOLDED, tmp_path), solved=False)
    colab.with_address(notebook, "04_ranks.ipynb", "https://github.com/you/kit")
    assert notebook.cells[1].source.startswith("# @title Find the kit\n")
    assert 'REPOSITORY = "https://github.com/you/kit"' in notebook.cells[1].source
    assert notebook.cells[0].source.startswith("# A\n\n[![Open in Colab]")
    assert notebook.cells[0].source.endswith(f"\n\n{generate.UNFOLD}")


def test_nothing_is_said_of_folding_where_nothing_is_folded(folder):
    notebook = generate.edition(read_source(folder / "src" / "04_ranks.py"), solved=False)
    assert generate.UNFOLD not in nbformat.writes(notebook)


def test_a_student_edition_has_nothing_that_changes_from_run_to_run(folder):
    path = folder / "04_ranks.ipynb"
    assert generate.main([], folder) == 0
    first = path.read_bytes()
    assert generate.main(["04"], folder) == 0
    assert path.read_bytes() == first
    content = json.loads(first)
    assert content["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert content["nbformat"] == 4
    for cell in content["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    by_id = {cell["id"]: cell["metadata"] for cell in content["cells"]}
    assert by_id["exercise-1"] == {"tags": ["exercise"]}
    assert by_id["text-2"] == {}
    assert not (folder / "solutions").exists()


def test_a_cell_keeps_its_id_when_one_of_another_kind_is_put_before_it(tmp_path):
    before = read(SAMPLE, tmp_path)
    new = '# %% [markdown] tags=["predict"]\n# And the last?\n\n# %% tags=["exercise"] minutes=5'
    after = read(SAMPLE.replace('# %% tags=["exercise"] minutes=5', new), tmp_path)
    kept = {cell.text: cell.id for cell in before.cells}
    assert {cell.text: cell.id for cell in after.cells if cell.text in kept} == kept
    assert len(after.cells) == len(before.cells) + 1


CODE = st.sampled_from(["a = 1", "    b = 2", "if a:", "    return a", "", "# a remark", "x = '# >>> solution'"])


@given(
    st.lists(st.tuples(st.booleans(), st.lists(CODE, min_size=1, max_size=3)), max_size=5), st.sampled_from(["", "  "])
)
def test_editions_are_the_source_with_each_block_kept_or_replaced(parts, indent):
    code, solved, student = [], [], []
    for is_solution, lines in parts:
        code += [f"{indent}# >>> solution", *lines, f"{indent}# <<< solution"] if is_solution else lines
        solved += lines
        student += [f'{indent}raise NotImplementedError("your code here")'] if is_solution else lines
    assert with_solution("\n".join(code), solved=True) == "\n".join(solved)
    assert with_solution("\n".join(code), solved=False) == "\n".join(student)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1))
def test_any_text_can_be_the_message_of_a_stub(text):
    stub = with_solution(f"# >>> solution: {text}\npass\n# <<< solution", solved=False)
    call = ast.parse(stub).body[0].exc
    assert call.args[0].value == (text.strip() or "your code here")


EXERCISE = '# %% [markdown] budget_minutes=1\n# # A\n\n# %% tags=["exercise"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXERCISE + "# >>> solution\nx = 1", r"04_ranks.py, cell 2 \('# >>> solution'\): .*not closed; end it with"),
        (EXERCISE + "x = 1\n# <<< solution", "closed that was not opened"),
        (EXERCISE + "# >>> solution\n# >>> solution\nx = 1\n# <<< solution", "a solution in another"),
        (EXERCISE + "if 1:\n    # >>> solution\n    x = 1\n# <<< solution", "different indentations"),
        (EXERCISE + "# >>> soluton\nx = 1\n# <<< solution", "'# >>> soluton' is not understood; expected"),
        (EXERCISE + "x = 1", "cell 2 .'x = 1'.: an exercise without a solution; put"),
        (EXERCISE + "if 1:\n# >>> solution\n    x = 1\n# <<< solution", "without its solution the .* not Python"),
        (EXERCISE + "# >>> solution\nx = = 1\n# <<< solution", "with its solution the .* not Python: .*'x = = 1'"),
        (EXERCISE.replace('tags=["exercise"]', "") + "# >>> solution\nx = 1\n# <<< solution", "a solution in a cell w"),
        (
            EXERCISE.replace("exercise", "exercize") + "x = 1",
            r'\["exercize"\] is not understood; expected .*"exercise"',
        ),
        (EXERCISE.replace('["exercise"]', '"exercise"') + "x = 1", r"04_ranks.py: .*'exercise' is not .*; tags are"),
        (EXERCISE.replace("tags=", "minute=3 tags=") + "x = 1", "minute=3 is not known here; expected some of tags"),
        (EXERCISE.replace('tags=["exercise"]', "minutes=3") + "x = 1", "only headings and exercises have minutes"),
        (EXERCISE.replace("tags=", "minutes=0 tags=") + "x = 1", "minutes=0 is not a time; expected a positive"),
        (EXERCISE.replace("tags=", "difficulty=4 tags=") + "x = 1", "difficulty=4; expected 1, 2 or 3"),
        (EXERCISE.replace("tags=", "budget_minutes=4 tags=") + "x = 1", "budget_minutes belongs to the first cell"),
        (EXERCISE.replace("exercise", "hint") + "x = 1", "a cell tagged 'hint' can't be code"),
        (
            EXERCISE.replace('# %% tags=["exercise"]', '# %% [markdown] tags=["check"]') + "# x",
            "'check' can't be markdown",
        ),
        (FOLDED.replace(' title="Draw a line"', ""), r"cell 3 .*a folded cell, and no other, has a title; write tags="),
        (FOLDED.replace('"folded", ', ""), "a folded cell, and no other, has a title"),
        (FOLDED.replace('title="Draw a line"', "title=3"), "a folded cell, and no other, has a title"),
        (
            FOLDED.replace('# %% tags=["fol', '# %% [markdown] tags=["fol').replace("draw", "# draw"),
            "can't be markdown",
        ),
        (EXERCISE.replace("# %% tags", "# %% [raw] tags") + "x", "of type raw; expected code or"),
        (EXERCISE.replace(" budget_minutes=1", "").partition("# %% tags")[0], "the first cell has no budget_minutes"),
    ],
)
def test_a_malformed_source_is_refused_with_a_reason(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(text, tmp_path)


@pytest.mark.parametrize("name", ["ranks.py", "4_ranks.py", "04-ranks.py", "04_Ranks.py"])
def test_a_source_must_be_named_by_number(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name}: a source is named like 04_csd.py"):
        read(SAMPLE, tmp_path, name)


# --- the command ------------------------------------------------------------------------------------------------------


def test_check_says_which_edition_is_not_up_to_date(folder, capsys):
    source = folder / "src" / "04_ranks.py"
    student, solved = folder / "04_ranks.ipynb", folder / "solutions" / "04_ranks.ipynb"
    assert generate.main(["--check"], folder) == 1
    told = capsys.readouterr().out
    assert "04_ranks.ipynb is missing: run `make notebooks`" in told.splitlines()
    assert "solutions/04_ranks.ipynb is missing: run `make notebooks`" in told.splitlines()
    assert not student.exists()

    generate.main([], folder)
    solved.parent.mkdir()
    notebook = new_notebook(metadata={"csd_edu": {"source_crc32": read_source(source).crc32}})
    nbformat.write(notebook, solved)
    assert generate.main(["--check"], folder) == 0

    student.write_text(student.read_text(encoding="utf-8").replace("The end.", "The End."), encoding="utf-8")
    capsys.readouterr()
    assert generate.main(["--check"], folder) == 1
    assert capsys.readouterr().out.startswith("04_ranks.ipynb differs from src/04_ranks.py: edit only that")

    source.write_text(SAMPLE + "# Indeed.\n", encoding="utf-8")
    generate.main([], folder)
    capsys.readouterr()
    assert generate.main(["--check"], folder) == 1
    told = capsys.readouterr().out
    assert told.startswith("solutions/04_ranks.ipynb was made from another src/04_ranks.py")
    assert len(told.splitlines()) == 1


def test_a_number_chooses_a_notebook(folder):
    (folder / "src" / "05_more.py").write_text(SAMPLE, encoding="utf-8")
    generate.main(["05"], folder)
    assert [path.name for path in folder.glob("*.ipynb")] == ["05_more.ipynb"]


@pytest.mark.parametrize("number", ["06", "4", "04_ranks"])
def test_a_number_without_a_source_is_refused(number, folder, capsys):
    with pytest.raises(SystemExit) as error:
        generate.main([number], folder)
    assert error.value.code == 2
    assert f"there is no source {number!r} in" in (told := capsys.readouterr().err)
    assert "expected two digits of: 04" in told


def test_a_malformed_source_is_told_without_a_traceback(folder, capsys):
    (folder / "src" / "04_ranks.py").write_text(SAMPLE.replace('"check"', '"chek"'), encoding="utf-8")
    assert generate.main([], folder) == 1
    assert "04_ranks.py, cell 6 ('print(ranks([3, 1, 2]))'): tags=[\"chek\"]" in capsys.readouterr().err
    assert not list(folder.glob("*.ipynb"))


# --- running ----------------------------------------------------------------------------------------------------------

PLANTED = {
    "callback": """
import ipywidgets as widgets
slider, shown = widgets.IntSlider(), widgets.HTML()
def draw(change):
    shown.value = '<div class="csd-error" role="alert"><strong>ValueError: in a &lt;callback&gt;</strong></div>'
slider.observe(draw, "value")
slider.value = 3
widgets.VBox([slider, shown])""",
    "mended": 'shown.value = ""',
    "output": """
with (box := widgets.Output()):
    raise KeyError("in an Output")
box""",
    "interact": """
def move(a=3):
    return 1 / (a - 3)
_ = widgets.interact(move, a=(0, 5))""",
    "thread": """
import threading
thread = threading.Thread(target=lambda: [].pop())
thread.start()
thread.join()""",
    "twin": """
from IPython.display import HTML
HTML('<div class="csd-twin"><p>The interactive widget could not be shown: no front end (OSError)</p></div>')""",
    "clean": """
print("Traceback: nothing; csd-error: nothing")
with widgets.Output():
    print("well")
HTML('<div class="csd-twin"><p>a still picture</p></div>')""",
    "raises": 'raise RuntimeError("in the open")',
    "after": "print(1)",
}


def test_errors_hidden_in_widgets_outputs_and_threads_are_found(tmp_path):
    notebook = new_notebook(cells=[new_code_cell(code.strip(), id=id) for id, code in PLANTED.items()])
    untouched = nbformat.writes(notebook)
    started = time.perf_counter()
    result = generate.run_notebook(notebook, timeout=300, folder=tmp_path)
    elapsed = time.perf_counter() - started
    assert nbformat.writes(notebook) == untouched
    found = {error.cell: error for error in result.errors}
    assert [error.cell for error in result.errors] == ["callback", "output", "interact", "thread", "twin", "raises"]
    assert "ValueError: in a <callback>" in found["callback"].text
    assert found["callback"].where == "in a widget (HTMLModel)"
    assert found["output"].text.startswith("KeyError: 'in an Output'")
    assert found["output"].where == "in a widget (OutputModel)"
    assert found["interact"].text.startswith("ZeroDivisionError: division by zero")
    assert "IndexError: pop from empty list" in found["thread"].text
    assert found["twin"].text == "The interactive widget could not be shown: no front end (OSError)"
    assert found["raises"].text.startswith("RuntimeError: in the open\n")
    assert "\x1b" not in str(found["raises"])
    assert str(found["raises"]).startswith("raises, in its output: RuntimeError")
    assert list(result.seconds) == [id for id in PLANTED if id != "after"]
    assert min(result.seconds.values()) > 0
    assert sum(result.seconds.values()) < elapsed
    assert result.notebook.cells[-1].outputs == []


def test_the_twin_that_says_why_there_is_no_widget_is_recognised():
    page = static_html([], "<p>1</p>", title="Title", reason="no <front> end")
    output = new_output("display_data", {"text/html": page})
    assert list(generate.errors_in([output])) == ["The interactive widget could not be shown: no <front> end"]
    assert not list(generate.errors_in([new_output("display_data", {"text/html": static_html([], "", title="T")})]))


def test_the_error_that_a_panel_shows_is_recognised():
    class Fragile(Panel):
        def build(self):
            return []

    panel = Fragile()
    panel.guarded(lambda: [].pop())()
    shown = {"value": panel.widget.children[-1].value, "_model_name": "HTMLModel"}
    (text,) = generate.errors_in_widget(shown)
    assert "IndexError: pop from empty list" in text
    panel.guarded(lambda: None)()
    assert not list(generate.errors_in_widget({"value": panel.widget.children[-1].value}))


@pytest.mark.slow
def test_time_out_environment_and_folder_reach_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_QUICK", "1")
    told = 'import os; print(os.environ["CSD_EDU_QUICK"], os.environ["MORE"], os.getcwd())'
    path = tmp_path / "one.ipynb"
    cells = [new_code_cell(told, id="told"), new_code_cell("import time; time.sleep(60)", id="long")]
    nbformat.write(new_notebook(cells=cells), path)
    result = generate.run_notebook(path, timeout=4, env={"MORE": "2"})
    assert result.notebook.cells[0].outputs[0].text == f"1 2 {tmp_path}\n"
    assert [str(error) for error in result.errors] == ["long, stopped: TimeoutError: the notebook took more than 4 s"]
    assert list(result.seconds) == ["told"]


def stub_that_stopped(result: generate.Result) -> str:
    """Return the id of the exercise whose stub stopped a student's edition; fail if anything else did."""
    (error,) = result.errors
    assert error.text.startswith("NotImplementedError: "), error
    counts = re.findall(r"Cell In\[(\d+)\]", error.text)  # the innermost frame is the last
    (cell,) = [cell for cell in result.notebook.cells if str(cell.get("execution_count")) == counts[-1]]
    assert "exercise" in cell.metadata.tags, error
    return str(cell.id)


@pytest.mark.slow
def test_the_student_edition_stops_at_its_stub_and_the_solved_one_runs_through(folder, capsys, monkeypatch):
    monkeypatch.setattr(generate, "find_browser", lambda: None)
    assert generate.main(["--execute"], folder) == 0
    told = capsys.readouterr()
    assert re.search(r"solutions/04_ranks.ipynb: \d+ s of 90 s, 0.0\d MB", told.out)
    assert "Chromium was not found" in told.err
    assert generate.main(["--check"], folder) == 0

    solved = nbformat.read(folder / "solutions" / "04_ranks.ipynb", as_version=4)
    assert set(solved.metadata) == {"kernelspec", "language_info", "csd_edu"}
    assert solved.metadata.language_info == {"name": "python"}
    assert set(solved.metadata.csd_edu) == {"source_crc32", "seconds"}
    outputs = {cell.id: cell.outputs for cell in solved.cells if cell.cell_type == "code"}
    assert outputs["check-1"][0].text == "[1, 2, 0]\n"
    assert outputs["widget-1"][0].data == {"text/plain": "<figure: A line>"}  # without a browser, no picture
    assert all(set(cell.metadata) <= {"tags"} for cell in solved.cells)

    result = generate.run_notebook(folder / "04_ranks.ipynb", timeout=60)
    assert stub_that_stopped(result) == "exercise-1"
    assert result.errors[0].cell == "check-1"


def test_a_solved_edition_with_an_error_is_not_written(folder, capsys):
    source = folder / "src" / "04_ranks.py"
    source.write_text(SAMPLE.replace("print(ranks([3, 1, 2]))", "print(ranks(7))"), encoding="utf-8")
    assert generate.main(["--execute"], folder) == 1
    told = capsys.readouterr().err
    assert "solutions/04_ranks.ipynb was not written:\n  check-1, in its output: TypeError" in told
    assert not (folder / "solutions").exists()
