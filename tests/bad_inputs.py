"""docs/bad_inputs.md: what the kit says to bad input, as the tests in tests/test_faults_*.py heard it.

A test that takes the fixture `bad_input` gives it one row: what was given, and the answer. The row must stand in the
page; `pytest tests/test_faults_*.py --write-bad-inputs` (without -n) writes the page anew, or the sections of the files
that are named.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "bad_inputs.md"
HEAD = """# What the kit says to bad input

Each row was heard by a test: `python -m pytest tests/test_faults_*.py --write-bad-inputs` writes this page. An ellipsis
stands for a folder.
"""

Rows = dict[str, dict[str, str]]  # by section: by test, the row
_written = pytest.StashKey[Rows]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-bad-inputs", action="store_true", help=f"write {PAGE.name} anew from what is heard")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_written] = {}


@pytest.fixture
def bad_input(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, object], None]:
    """Return a function that takes what was given, in words, and what was answered: an error or a text."""

    def row(given: str, answer: object) -> None:
        text = _row(given, str(answer), tmp_path)
        if request.config.getoption("--write-bad-inputs"):
            section = (inspect.getdoc(request.module) or "").partition("\n")[0].rstrip(".")
            request.config.stash[_written].setdefault(section, {})[request.node.nodeid] = text
        else:
            lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
            assert text in lines, f"{PAGE.name} has no such row; write it anew with --write-bad-inputs"

    return row


def pytest_sessionfinish(session: pytest.Session) -> None:
    heard = session.config.stash[_written]
    if not heard:
        return
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sections = {part.partition("\n")[0]: part.strip() for part in page.split("\n## ")[1:]}
    for title, rows in heard.items():
        sections[title] = "\n".join([title, "", "| given | answer |", "| --- | --- |", *dict.fromkeys(rows.values())])
    PAGE.write_text(HEAD + "".join(f"\n## {text}\n" for _, text in sorted(sections.items())), encoding="utf-8")


def _row(given: str, answer: str, folder: Path) -> str:
    for place in dict.fromkeys((str(folder.resolve()), str(folder), str(folder.parent), str(Path.cwd()))):
        answer = answer.replace(place, "…")
    cells = (re.sub(r"\s+", " ", cell).strip().replace("|", r"\|") for cell in (given, answer))
    return "| " + " | ".join(cells) + " |"
