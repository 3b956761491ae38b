"""Make the notebooks of one's own copy open on Colab: `make colab REPO=https://github.com/…`.

    python notebooks/colab.py https://github.com/NAME/REPOSITORY

Writes the address into csd_edu/start.py, its one place, and from there into the first cell and the badge of every
notebook in this folder.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
USAGE = "usage: make colab REPO=https://github.com/NAME/REPOSITORY"
ADDRESS = re.compile(r'^REPOSITORY = "(.*)"', re.MULTILINE)
BADGE = re.compile(r"^\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)\n*", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Do what the module says and return the exit code: 0 done, 2 a mistake in the call."""
    if len(arguments) != 1 or not arguments[0]:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        changed = write_address(ROOT, arguments[0])
    except ValueError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    print(f"Changed: {', '.join(str(path.relative_to(ROOT)) for path in changed)}" if changed else "Nothing to change.")
    print("Commit and push the branch main; the badges open its notebooks on Colab.")
    return 0


def write_address(root: Path, repository: str) -> list[Path]:
    """Write a repository's address into a checkout.

    Args:
        root: of the checkout.
        repository: such as "https://github.com/you/csd_edu".

    Returns:
        The files that were changed; none the second time.

    Raises:
        ValueError: if it is no repository on GitHub.
    """
    repository = checked(repository)
    start = root / "csd_edu" / "start.py"
    changed = []
    text = start.read_text(encoding="utf-8")
    if text != _addressed(text, repository):
        start.write_text(_addressed(text, repository), encoding="utf-8", newline="\n")
        changed.append(start)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        before = nbformat.read(path, as_version=4)
        notebook = with_address(copy.deepcopy(before), path.name, repository)
        if notebook != before:
            nbformat.write(notebook, path)
            changed.append(path)
    return changed


def with_address(notebook: Any, filename: str, repository: str) -> Any:
    """Put the address into a notebook that has the first cell: into that cell, and as a badge under the title.

    Args:
        notebook: as nbformat has it; changed in place.
        filename: such as "00_start_here.ipynb".
        repository: as `checked` returns it, or "" for no address and no badge.

    Returns:
        The notebook.
    """
    code = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if code is None or not ADDRESS.search(code.source):
        return notebook  # it installs nothing on Colab, so no badge should lead there
    code.source = _addressed(code.source, repository)
    title = next((cell for cell in notebook.cells if cell.cell_type == "markdown"), None)
    if title is not None:
        text = BADGE.sub("", title.source).rstrip("\n")
        if repository:
            heading, _, rest = text.partition("\n") if text.startswith("#") else ("", "", text)
            text = "\n\n".join(part for part in (heading, badge(filename, repository), rest.lstrip("\n")) if part)
        title.source = text
    return notebook


def first_cell(repository: str = "") -> str:
    """Return the source of the notebooks' first cell, with that address."""
    return _addressed((ROOT / "notebooks" / "first_cell.py").read_text(encoding="utf-8"), repository).rstrip("\n")


def badge(filename: str, repository: str) -> str:
    """Return the Markdown of a button that opens a notebook of the repository's branch main on Colab."""
    colab = "https://colab.research.google.com"
    where = repository.removeprefix("https://github.com/")
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{where}/blob/main/notebooks/{filename})"


def checked(repository: str) -> str:
    """Return the address without ".git" or a slash at its end; raise a ValueError if it's no repository on GitHub."""
    match = re.fullmatch(r"(https://github\.com/[\w-]+/[\w-][\w.-]*?)(\.git)?/?", repository, flags=re.ASCII)
    if match is None:
        raise ValueError(
            f"REPO is {repository!r}; expected a repository on GitHub, such as https://github.com/you/csd_edu. Colab "
            "opens notebooks from there; with a copy elsewhere, let students upload the wheel that `make wheel` builds"
        )
    return match[1]


def _addressed(source: str, repository: str) -> str:
    return ADDRESS.sub(f'REPOSITORY = "{repository}"', source, count=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
