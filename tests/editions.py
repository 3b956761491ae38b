"""Notebooks that run on other runs than the saved ones."""

from __future__ import annotations

from pathlib import Path

from notebooks import generate
from notebooks.sources import HERE, find_sources, read_source


def run_on(runs: Path, number: str, folder: Path, *, claims: bool = False) -> None:
    """Run a solved edition, in a folder, on a folder of runs; an error in it is an AssertionError."""
    (path,) = find_sources(HERE, [number])
    source = read_source(path)
    notebook = generate.edition(source, solved=True, claims=claims)
    env = {"CSD_EDU_RUNS": str(runs), "CSD_EDU_PROGRESS": str(folder / "progress.json")}
    result = generate.run_notebook(notebook, timeout=240 * source.budget_minutes, folder=folder, env=env)
    assert not result.errors, "\n\n".join(map(str, result.errors))
