"""The guide for instructors: its plans add up, and its lower half says what the notebooks say."""

from __future__ import annotations

import re

import pytest

from notebooks import generate, instructors
from notebooks.sources import HERE, find_sources, read_source

PATHS = find_sources(HERE)
SAMPLE = '''\
# %% [markdown] budget_minutes=1.5
# # What is a rank?
#
# Text.

# %% [markdown] minutes=8 difficulty=2
# ## 1. Sort
# Text.

# %% tags=["exercise"] minutes=5 difficulty=3
def ranks(values):
    """Return the places of sorted values."""
    # >>> solution
    return sorted(range(len(values)), key=values.__getitem__)
    # <<< solution

# %% [markdown] minutes=2.5
# ## 2. Think
#
# **What it means.** Little.
#
# **To discuss.** Are ranks numbers?
#
# Say why.

# %% [markdown] tags=["answer"]
# **A model answer.**
#
# - Yes.
# - No.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Ask again.

# %% [markdown]
# ## Summary
'''


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "04_ranks.py"
    path.write_text(SAMPLE, encoding="utf-8")
    return read_source(path)


@pytest.fixture(scope="module")
def sources():
    return [read_source(path) for path in PATHS]


def test_what_is_read_from_a_source(sample):
    assert instructors.title(sample) == "What is a rank?"
    assert instructors.sections(sample) == [(1, "Sort", 8.0), (2, "Think", 2.5)]
    assert instructors.exercises(sample) == [("ranks", "5 min · difficulty ●●●")]
    assert instructors.discussions(sample) == [("**To discuss.** Are ranks numbers?\n\nSay why.", "- Yes.\n- No.")]
    assert instructors.notes(sample) == ["Ask again."]


def test_a_question_below_a_heading(sample):
    asked = "**What it means.** Little.\n\n### To think about\n\nAre ranks numbers?"
    cells = [cell._replace(text=asked) if "To discuss" in cell.text else cell for cell in sample.cells]
    assert instructors.discussions(sample._replace(cells=tuple(cells)))[0][0] == "Are ranks numbers?"


def test_the_made_part(sample, tmp_path):
    made = instructors.made([sample], tmp_path)
    assert made.startswith(instructors.BEGINS)
    assert "| [04 What is a rank?](04_ranks.ipynb) | 2 | 10.5 | 1: 5 | – | 90 s |" in made  # it was never run
    assert "`ranks` (5 min · difficulty ●●●)" in made
    assert "**Question.** Are ranks numbers?\n\nSay why.\n\n**Model answer.**\n\n- Yes.\n- No.\n" in made


def test_what_stands_above_is_kept_and_what_stands_below_is_made_anew(sample, tmp_path):
    text = instructors.with_made_part(f"# By hand\n\n{instructors.BEGINS}\nold", [sample], tmp_path)
    assert text == "# By hand\n\n" + instructors.made([sample], tmp_path)
    assert instructors.with_made_part(text, [sample], tmp_path) == text
    with pytest.raises(ValueError, match=r"INSTRUCTORS\.md has no line '<!-- made by"):
        instructors.with_made_part("# By hand", [sample], tmp_path)


def test_the_command_writes_and_checks_the_guide(tmp_path, capsys):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "04_ranks.py").write_text(SAMPLE, encoding="utf-8")
    guide = tmp_path / instructors.FILE
    guide.write_text(f"# By hand\n\n{instructors.BEGINS}\n", encoding="utf-8")
    assert generate.main([], tmp_path) == 0
    assert "What is a rank?" in guide.read_text(encoding="utf-8")
    (tmp_path / "09_gone.ipynb").write_text("{}", encoding="utf-8")
    guide.write_text(guide.read_text(encoding="utf-8").replace("10.5", "11"), encoding="utf-8")
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().out
    assert "INSTRUCTORS.md has other minutes or answers than the notebooks" in told
    assert "09_gone.ipynb has no source: delete it" in told


# --- the real guide ---------------------------------------------------------------------------------------------------

GUIDE = (HERE / instructors.FILE).read_text(encoding="utf-8")
PLANS = re.findall(r"^##+ (?:One session|First|Second|Third|Fourth).*?(?=^##)", GUIDE, re.MULTILINE | re.DOTALL)


def planned(text):
    """The rows of a plan: minutes, the notebook's digits or nothing, and the numbers of its sections."""
    rows = re.findall(r"^\| (\d+) \| (\d\d)? *\| ([\d, –]*)\|", text, re.MULTILINE)
    return [(int(minutes), notebook, _numbers(sections)) for minutes, notebook, sections in rows]


def _numbers(text):
    spans = [part.strip().split("–") for part in text.split(",") if part.strip()]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def test_the_guide_is_what_the_notebooks_make(sources):
    assert generate.stale_guide(sources, HERE) == []


@pytest.mark.parametrize(("plan", "minutes"), list(zip(PLANS, (180, *7 * [90]), strict=True)), ids=range(8))
def test_a_plan_adds_up(plan, minutes, sources):
    known = {source.name[:2]: {s.number: s.minutes for s in instructors.sections(source)} for source in sources}
    rows = planned(plan)
    assert sum(bool(notebook) for _, notebook, _ in rows) >= 1
    for given, notebook, sections in rows:
        if notebook:
            assert given == sum(known[notebook][number] for number in sections), (notebook, sections)
    # Room for a beginning and an end, but no idle quarter of an hour more.
    assert minutes - 35 <= sum(given for given, _, _ in rows) <= minutes - 5


def test_every_notebook_has_an_open_question_with_an_answer(sources):
    for source in sources:
        found = instructors.discussions(source)
        assert found, source.name
        assert all("?" in question or "Describe" in question for question, _ in found), found
