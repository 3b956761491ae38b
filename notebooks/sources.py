"""Read what the notebooks are made from.

A source is `notebooks/src/NN_name.py`, in jupytext's percent format; nothing else is edited. After the `# %%` or
`# %% [markdown]` of a cell stands what is special about it, as in `# %% tags=["exercise"] minutes=8 difficulty=2`.

budget_minutes: in the first cell; on 2 CPU cores the solved edition may not take longer.
minutes, difficulty (1 to 3): of a heading or an exercise; both editions show them, as "8 min · difficulty ●●○".
tags: what the cell is for, as a tag of the notebook's cell too.

- setup: what every section needs; a reader who starts anywhere else runs this cell first.
- setup, with nothing but `# first cell` in it: becomes notebooks/first_cell.py, which finds or installs the kit.
- exercise: code with the solution between lines `# >>> solution` and `# <<< solution`, as often as needed. Instead, a
  student finds `raise NotImplementedError("your code here")`, or another text: `# >>> solution: rank by similarity`.
  It only defines functions or classes, and no cell but its check calls them: others take `check.yours_or_ours("name")`,
  so that *Run all* goes through while exercises are open.
- check: code that tests the student's code.
- predict: a question to be answered before the next cells are run.
- hint: text that is folded away; a heading in its first line is what remains to be seen.
- answer: text, the model answer to an open question; the student's edition has a place to write instead.
- instructor: in the solved edition only.
- break: an experiment that is meant to go wrong.
- widget: code that shows something to be touched.
- claim: code in no edition: assertions of what the text above says, which hold for the saved runs and for those of
  fresh seeds; `tests/test_claims.py` runs them where they stand.
- folded: code that nobody needs to read, such as forty lines that draw a picture. It starts folded in JupyterLab and as
  a form on Colab; its title remains: `# %% tags=["folded"] title="Draw the map"`. The first cell is folded without
  being told. The generator adds to the opening text how to unfold a cell.
"""

from __future__ import annotations

import ast
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent

TAGS = ("setup", "exercise", "check", "predict", "hint", "answer", "instructor", "break", "widget", "folded", "claim")
TEXT_ONLY, CODE_ONLY = ("hint", "answer"), ("setup", "exercise", "check", "widget", "folded", "claim")
KEYS = ("tags", "title", "minutes", "difficulty", "budget_minutes")
FIRST_CELL, FIRST_TITLE = "# first cell", "Find the kit"
LAYOUT = ("lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker")  # what jupytext notes for itself


class Cell(NamedTuple):
    """A cell of a source.

    Attributes:
        id: its first tag, or "text" or "code", and its number among the cells of that kind.
        kind: "markdown" or "code".
        text: as in the source, with solutions and their markers.
        tags: some of `TAGS`.
        time: minutes and difficulty in words; may be empty.
        title: what is to be seen of a folded cell; empty for any other.
    """

    id: str
    kind: str
    text: str
    tags: tuple[str, ...]
    time: str
    title: str = ""


class Source(NamedTuple):
    """A notebook's source: its name without ".py", its cells, its checksum, and how long it may take."""

    name: str
    cells: tuple[Cell, ...]
    crc32: str
    budget_minutes: float


def find_sources(folder: Path, numbers: Sequence[str] = ()) -> list[Path]:
    """Return the sources in `folder/src`, all or those of some numbers.

    Raises:
        ValueError: if there is no source of such a number.
    """
    paths = {path.stem: path for path in sorted((folder / "src").glob("*.py"))}
    for number in numbers:
        if not any(name.startswith(f"{number}_") for name in paths):
            there = ", ".join(name[:2] for name in paths) or "none"
            raise ValueError(f"there is no source {number!r} in {folder / 'src'}; expected two digits of: {there}")
    return [path for name, path in paths.items() if not numbers or name.partition("_")[0] in numbers]


def read_source(path: Path) -> Source:
    """Read and check a source.

    Raises:
        ValueError: if it is malformed; says which cell and why.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem):
        raise ValueError(f"{path.name}: a source is named like 04_csd.py, two digits and small letters")
    text = path.read_text(encoding="utf-8")
    cells: list[Cell] = []
    counts: Counter[str] = Counter()
    try:
        nodes = jupytext.reads(text, fmt="py:percent").cells
    except nbformat.ValidationError as error:
        hint = 'tags are a list of different strings, as in tags=["exercise"]'
        raise ValueError(f"{path.name}: the metadata of a cell is wrong ({error.message}); {hint}") from None
    for number, node in enumerate(nodes, 1):
        opening = node.source.strip().partition("\n")[0]
        try:
            _check(node, first=number == 1)
        except ValueError as error:
            raise ValueError(f"{path.name}, cell {number} ({opening[:50]!r}): {error}") from None
        tags = tuple(node.metadata.get("tags", ()))
        name = tags[0] if tags else {"markdown": "text", "code": "code"}[node.cell_type]
        counts[name] += 1
        title = FIRST_TITLE if node.source.strip() == FIRST_CELL else node.metadata.get("title", "")
        cells.append(Cell(f"{name}-{counts[name]}", node.cell_type, node.source, tags, _time(node.metadata), title))
    if not nodes or "budget_minutes" not in nodes[0].metadata:
        raise ValueError(f"{path.name}: the first cell has no budget_minutes; write for instance budget_minutes=2")
    return Source(path.stem, tuple(cells), f"{zlib.crc32(text.encode()):08x}", nodes[0].metadata["budget_minutes"])


def _check(node: NotebookNode, first: bool) -> None:
    """Raise ValueError if a cell is not what the module's docstring describes."""
    given = {key: value for key, value in node.metadata.items() if key not in LAYOUT}
    if unknown := sorted(given.keys() - set(KEYS)):
        raise ValueError(f"{unknown[0]}={given[unknown[0]]!r} is not known here; expected some of {', '.join(KEYS)}")
    tags = given.get("tags", [])
    if not isinstance(tags, list) or not set(tags) <= set(TAGS):
        raise ValueError(f"tags={json.dumps(tags)} is not understood; expected some of {json.dumps(TAGS)}")
    if node.cell_type not in ("markdown", "code"):
        raise ValueError(f"it is of type {node.cell_type}; expected code or [markdown]")
    for tag in set(tags) & set(CODE_ONLY if node.cell_type == "markdown" else TEXT_ONLY):
        raise ValueError(f"a cell tagged {tag!r} can't be {node.cell_type}")
    if ("folded" in tags) != ("title" in given) or not isinstance(given.get("title", ""), str):
        raise ValueError('a folded cell, and no other, has a title; write tags=["folded"] title="Draw the map"')
    for key in ("minutes", "budget_minutes"):
        if key in given and not (isinstance(given[key], int | float) and given[key] > 0):
            raise ValueError(f"{key}={given[key]!r} is not a time; expected a positive number")
    if given.get("difficulty", 1) not in (1, 2, 3):
        raise ValueError(f"difficulty={given['difficulty']!r}; expected 1, 2 or 3")
    if "budget_minutes" in given and not first:
        raise ValueError("budget_minutes belongs to the first cell, for it is about the whole notebook")
    heading = node.cell_type == "markdown" and node.source.startswith("#")
    if not heading and "exercise" not in tags and given.keys() & {"minutes", "difficulty"}:
        raise ValueError("only headings and exercises have minutes and a difficulty")
    if node.cell_type == "code":
        _check_solution(node.source, "exercise" in tags)


def _check_solution(code: str, exercise: bool) -> None:
    editions = {"with": with_solution(code, solved=True), "without": with_solution(code, solved=False)}
    if exercise and editions["without"] == code:
        raise ValueError("an exercise without a solution; put `# >>> solution` above and `# <<< solution` below one")
    if not exercise and editions["without"] != code:
        raise ValueError('a solution in a cell without tags=["exercise"]')
    for which, text in editions.items():
        try:
            ast.parse(text if exercise else "")  # elsewhere there may be magic commands
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise ValueError(f"{which} its solution the exercise is not Python: {error.msg} in {line!r}") from None


def with_solution(code: str, *, solved: bool) -> str:
    """Return an exercise's code with the solutions, or with what a student finds instead of them.

    Raises:
        ValueError: if the markers of solutions don't come in pairs.
    """
    lines: list[str] = []
    opened: str | None = None  # the indentation of the marker of the solution that a line is in
    for line in code.split("\n"):
        marker = re.fullmatch(r"(\s*)# *(>>>|<<<) *solution *(?::(.*)| *)", line)
        if marker is None:
            if re.match(r"\s*# *(>>>|<<<)", line):
                raise ValueError(f"{line.strip()!r} is not understood; expected `# >>> solution` or `# <<< solution`")
            if opened is None or solved:
                lines.append(line)
            continue
        indent, sign, what = marker.groups()
        if (sign == "<<<") == (opened is None):
            raise ValueError("a solution is closed that was not opened" if opened is None else "a solution in another")
        if sign == "<<<" and indent != opened:
            raise ValueError("the markers of a solution have different indentations")
        if sign == ">>>" and not solved:
            text = (what or "").strip() or "your code here"
            message = repr(text) if '"' in text else json.dumps(text, ensure_ascii=False)  # as ruff would quote it
            lines.append(f"{indent}raise NotImplementedError({message})")
        opened = indent if sign == ">>>" else None
    if opened is not None:
        raise ValueError("a solution is not closed; end it with `# <<< solution`")
    return "\n".join(lines)


def _time(metadata: Mapping[str, Any]) -> str:
    """Return minutes and difficulty, where a cell has them, as a reader sees them."""
    minutes, difficulty = metadata.get("minutes"), metadata.get("difficulty")
    parts = [f"{minutes:g} min"] if minutes else []
    parts += [f"difficulty {'●' * difficulty}{'○' * (3 - difficulty)}"] if difficulty else []
    return " · ".join(parts)
