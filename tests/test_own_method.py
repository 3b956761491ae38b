"""A new method is one file: it trains from the command line, and has its title, sentence and look everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import csd_edu as csd
from csd_edu import plots
from csd_edu.comparison import Comparison

HERE = Path(__file__).parent

METHODS = """
from dataclasses import dataclass

import torch

import csd_edu as csd
from csd_edu.methods import Card, Look, Method, Term


@Card(
    title="Anchored fine-tuning",
    sentence="Fine-tuning with an anchor that nobody else throws.",
    source="Own 2024",
    look=Look("#123456", "hourglass", "dashdot"),
    terms={"anchor": Term("distance from the anchor", Look("#654321", "bowtie"))},
)
def anchored(step):
    return {**csd.methods.finetune(step), "anchor": 0.1 * step.features.square().mean()}


@dataclass
class Keeping(Method):
    __name__ = "keeping"
    card = Card("Keeping a mean", "It keeps the mean of what it saw.", look=Look("#ABCDEF", "star-square"))

    rate: float = 0.1

    def begin(self, setting):
        self.mean = torch.zeros(setting.dim)

    def __call__(self, step):
        self.mean = torch.lerp(self.mean, step.features.detach().mean(dim=0), self.rate)
        return {**csd.methods.finetune(step), "keep": (step.features - self.mean).square().mean()}


keeping = Keeping(rate=0.2)
"""


def csd_edu(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "csd_edu", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


def train(folder: Path, method: str, out: str) -> subprocess.CompletedProcess:
    sizes = ("--tasks", 2, "--epochs", 1, "--later-epochs", 1, "--per-class", 6)
    return csd_edu(folder, "train", "--dataset", "striped.npz", "--method", method, "--out", out, *sizes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A student's folder: a file of methods, images, and a run of each method."""
    folder = tmp_path_factory.mktemp("student")
    (folder / "mine.py").write_text(METHODS)
    shutil.copy(HERE / "data" / "first_version" / "striped.npz", folder)
    for name in ("anchored", "keeping"):
        done = train(folder, f"mine.py:{name}", f"runs/{name}")
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def runs(folder) -> list[csd.Run]:
    return [csd.Run.load(folder / "runs" / name) for name in ("anchored", "keeping")]


@pytest.mark.slow
def test_its_row_is_in_the_printed_table(folder):
    for name, row, keeps in (("anchored", "anchored ", "0 B"), ("keeping", "keeping(rate=0.2) ", "256 B")):
        _, table = (folder / f"{name}.txt").read_text().split("\nmethod ")
        lines = [line for line in table.splitlines() if line.startswith(row)]
        assert len(lines) == 1
        assert keeps in lines[0]


@pytest.mark.slow
def test_its_card_is_in_the_run(runs):
    assert [run.method for run in runs] == ["anchored", "keeping(rate=0.2)"]
    assert runs[0].card["title"] == "Anchored fine-tuning"
    cards = Comparison(runs).cards
    assert cards["anchored"].sentence == "Fine-tuning with an anchor that nobody else throws."
    assert cards["keeping"].look == csd.methods.Look("#ABCDEF", "star-square")


@pytest.mark.slow
def test_its_look_is_that_of_its_curves(runs):
    comparison = Comparison(runs)
    curves = {name: [0.5, 0.6] for name in comparison.runs}
    figure = plots.curves_over_tasks(curves, title="R@1", metric="Recall@1", cards=comparison.cards)
    lines = {trace.name: trace for trace in figure.data if trace.name in curves}
    assert set(lines) == {"anchored", "keeping(rate=0.2)"}
    one, other = lines["anchored"], lines["keeping(rate=0.2)"]
    assert (one.line.color, one.marker.symbol, one.line.dash) == ("#123456", "hourglass", "dashdot")
    assert (other.line.color, other.marker.symbol, other.line.dash) == ("#ABCDEF", "star-square", "solid")
    terms = plots.loss_terms(runs[0].records, cards=comparison.cards)
    anchor = next(trace for trace in terms.data if trace.name == "anchor")
    assert (anchor.line.color, anchor.marker.symbol) == ("#654321", "bowtie")


@pytest.mark.campaign
def test_its_title_and_sentence_are_in_the_report(folder):
    done = csd_edu(folder, "report", "runs/anchored", "runs/keeping", "--out", "report.html")
    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (
        "Anchored fine-tuning",
        "Fine-tuning with an anchor that nobody else throws.",
        "Keeping a mean",
        "It keeps the mean of what it saw.",
    ):
        assert text in page
    assert "#123456" in page


@pytest.mark.slow
def test_the_same_call_goes_on_and_a_changed_file_does_not(folder):
    again = train(folder, "mine.py:keeping", "runs/keeping")
    assert again.returncode == 0, again.stderr
    (folder / "other.py").write_text(METHODS.replace("self.mean).square()", "self.mean).abs()"))
    (folder / "other.py").rename(folder / "mine.py")
    changed = train(folder, "mine.py:keeping", "runs/keeping")
    assert changed.returncode == 2
    assert "the code of method 'keeping(rate=0.2)' has changed" in changed.stderr
    (folder / "mine.py").write_text("# a comment\n" + METHODS)
    assert train(folder, "mine.py:keeping", "runs/keeping").returncode == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:mine", "there is no file nowhere.py"),
        ("mine.py:nothing", "mine.py has no method 'nothing'; expected the name of a function or of a Method object"),
        ("unknown", "method is 'unknown'; expected one of finetune, lwf, csd, "),
    ],
)
def test_a_method_that_is_not_there(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    with pytest.raises((ValueError, FileNotFoundError), match=message.replace(".", r"\.")):
        csd.methods.find(name)


def test_a_file_changed_within_a_second_is_read_anew_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "mine.py"
    for weight in ("1.0", "2.0", "1.0"):
        file.write_text(f"def mine(step):\n    return {{'ce': {weight}}}\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))  # as if all were written in one second
        assert csd.methods.find(f"{file}:mine")(None) == {"ce": float(weight)}
    assert list(tmp_path.iterdir()) == [file]
