"""What the README and the notebook say is run here."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import torch

import csd_edu as csd
from tests.conftest import TINY

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_spec = importlib.util.spec_from_file_location("methods_table", ROOT / "docs" / "methods_table.py")
methods_table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(methods_table)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_the_twenty_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    import plotly.graph_objects as go

    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    exec(python_blocks()[0], {"__name__": "__main__"})
    assert "'recall_at_1'" in capsys.readouterr().out
    assert len(shown) == 1
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert csd.Run.load("runs/digits-csd").finished


def test_the_method_of_the_readme(stripes, tmp_path):
    block = next(block for block in python_blocks() if "def feature_distillation" in block)
    assert len(block.strip().splitlines()) == 5
    namespace = {"csd": csd}
    exec(block, namespace)
    stream = csd.split(stripes, n_tasks=2)
    run = csd.train(stream, namespace["feature_distillation"], TINY, out=tmp_path / "mine", progress=False)
    last = [r for r in run.records if r["kind"] == "epoch"][-1]
    assert set(last["losses"]) == {"ce", "triplet", "feature"}
    assert last["losses"]["feature"] > 0


def test_the_method_that_keeps_something_of_the_readme(stripes, tmp_path):
    block = next(block for block in python_blocks() if "class Replay" in block)
    namespace = {"csd": csd, "torch": torch, "dataclass": dataclass, "__name__": "readme"}
    exec(compile(block, "README.md", "exec", dont_inherit=True), namespace)
    run = csd.train(csd.split(stripes, n_tasks=2), namespace["Replay"](20), TINY, out=tmp_path / "r", progress=False)
    assert run.method == "Replay(size=20)"
    assert run.kept_bytes == {"memory": 20 * (3 * 16 * 16 + 8)}
    assert len(run.kept()["memory"]["rows"]["images"]) == 20


def test_the_readmes_table_of_methods_is_made_from_their_cards():
    assert methods_table.table() in README, "run python docs/methods_table.py"


def test_the_readme_names_what_is_there():
    for name in (*csd.methods.NAMED, "glyphs", "digits", "cifar100", "omniglot", "CSD_EDU_DATA"):
        assert f"`{name}`" in README
    for path in re.findall(r"`([a-z_]+\.py)`", README):
        assert (ROOT / "csd_edu" / path).exists(), path
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) - {"instead"} <= targets


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_clean(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_page_of_bad_inputs_has_the_sections_of_the_tests():
    told = re.findall(r"^## (.*)$", (ROOT / "docs" / "bad_inputs.md").read_text(encoding="utf-8"), re.MULTILINE)
    modules = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_faults_*.py")}
    titles = {text.split('"""')[1].partition("\n")[0] for text in modules.values() if "bad_input(" in text}
    assert told == sorted(title.rstrip(".") for title in titles)
