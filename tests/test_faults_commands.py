"""J. Commands in a text work on the folder the text speaks of."""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import itertools
import json
import re
import shlex
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

import csd_edu as csd
from csd_edu import cli, config, saved, tuning
from csd_edu.methods import NAMED
from tests.conftest import TINY, striped

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKDOWN = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("notebooks/*.md"))]
MARKDOWN = [*(path for path in MARKDOWN if path.name != "bad_inputs.md"), *sorted(ROOT.glob("*/R*.md"))]
NOTEBOOKS = sorted(ROOT.glob("notebooks/src/*.py"))
MODULES = [path for path in sorted(ROOT.glob("csd_edu/**/*.py")) if path.name != "isolation.py"]  # unshare's options
SCRIPTS = [*sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("docs/*.py")), *sorted(ROOT.glob("notebooks/*.py"))]
HOLE = "HOLE"  # in place of what a message is filled with

# ---- collecting


def commands_in_markdown(text: str) -> Iterator[str]:
    """Yield every command in fenced sh blocks and between backticks, in the order of the text."""
    for part in re.split(r"(^ *```.*?^ *```)", text, flags=re.DOTALL | re.MULTILINE):
        if re.match(r" *```", part):
            kind, _, block = part.strip().partition("\n")
            if kind == "```sh":
                yield from commands_in_shell(block.rpartition("\n")[0])
        else:
            for quoted in re.findall(r"`([^`]+)`", part):
                yield from map(str.strip, " ".join(quoted.split()).split("&&"))


def commands_in_shell(block: str) -> Iterator[str]:
    """Yield the commands of a shell script, loops unrolled; also one in a comment after "or"."""
    loops: list[tuple[str, list[str], list[str]]] = []
    for line in block.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition("#")
        if loop := re.match(r" *for (\w+) in (.*); do", command):
            loops.append((loop[1], loop[2].split(), []))
        elif command.strip() == "done":
            name, values, body = loops.pop()
            body = [re.sub(rf"\${name}\b", value, c) for value in values for c in body]
            if loops:
                loops[-1][2].extend(body)
            else:
                yield from body
        elif command.strip():
            (loops[-1][2].append(command.strip()) if loops else None)
            if not loops:
                yield command.strip()
        if comment.strip().startswith("or "):
            yield comment.strip()[3:].strip()


def comments(path: Path) -> str:
    """Return the text of a script's comments: a notebook's markdown."""
    lines = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return "\n".join(re.sub(r"^# ?", "", t.string) for t in lines if t.type == tokenize.COMMENT)


def strings(path: Path) -> list[str]:
    """Return a module's texts, each in one piece, without docstrings; `HOLE` stands for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = node.values
            found.append("".join(p.value if isinstance(p, ast.Constant) else HOLE for p in parts))
    return found


def told(path: Path) -> list[str]:
    """Return the commands that a text names."""
    if path.suffix == ".md":
        return list(commands_in_markdown(path.read_text(encoding="utf-8")))
    found = list(commands_in_markdown(comments(path)))
    for text in strings(path):
        found += commands_in_markdown(text)
        found += re.findall(r"(?<![`\w])%?pip install [^`()\n]+?(?=  |[;),]|$)", text)
    return found


def epilogs() -> list[str]:
    """Return the examples of the command line's help."""
    return [p.epilog.partition(": ")[2] for p in [cli._parser(), *parsers().values()]]


def parsers() -> dict[str, argparse.ArgumentParser]:
    actions = cli._parser()._actions
    return next(dict(a.choices) for a in actions if isinstance(a, argparse._SubParsersAction))


def is_csd(command: str) -> bool:
    return re.match(r"(\w+=\S+ )*csd-edu \w", command) is not None


TEXTS = {
    "README.md": told(ROOT / "README.md"),
    "INSTRUCTORS.md": told(ROOT / "notebooks/INSTRUCTORS.md"),
    "epilogs": epilogs(),
    "notebooks": [command for path in NOTEBOOKS for command in told(path)],
}
OF_THE_KIT = {name: [c for c in dict.fromkeys(commands) if is_csd(c)] for name, commands in TEXTS.items()}
EVERYTHING = {path.relative_to(ROOT).as_posix(): told(path) for path in [*MARKDOWN, *NOTEBOOKS, *MODULES, *SCRIPTS]}

# ---- the folders that the texts speak of


def pictures(folder: Path, sizes: dict[str, int]) -> Path:
    """Write a folder of images with so many of each class."""
    generator = np.random.default_rng(0)
    for k, (name, n) in enumerate(sizes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = generator.integers(0, 60, (20, 20, 3)) + 30 * k
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def alphabets(name: str, path: Path, size: int, channels: int = 3) -> None:
    data = striped(n_classes=10, train=8, test=3, size=size, channels=channels)
    names = tuple(f"{'abcde'[c // 2]}/{c % 2}" for c in range(10))
    csd.data.save(csd.Dataset(name, data.x_train, data.y_train, data.x_test, data.y_test, names), path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """A working folder with what the texts speak of; trainings are short, data sets tiny; the rest is as it is."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("CSD_EDU_DATA", str(data))
    for size in (24, 32):
        alphabets("glyphs", data / f"glyphs-v{csd.data.GLYPHS_VERSION}-seed0-{size}px.npz", size)
    alphabets("omniglot", data / "omniglot.npz", 16, channels=1)
    csd.data.save(striped(n_classes=10), data / "cifar100.npz")
    digits = striped(n_classes=10, size=16, channels=1)
    digits = csd.Dataset("digits", digits.x_train, digits.y_train, digits.x_test, digits.y_test, digits.classes)
    monkeypatch.setattr(csd.data, "_digits", lambda size, seed: digits)
    short = {"network": "resnet8", "epochs": 1, "later_epochs": 1, "milestones": (), "schedule": "constant"}
    tiny = {
        kind: {name: p._replace(config=p.config.replace(**short, device="cpu")) for name, p in of.items()}
        for kind, of in config._PRESETS.items()
    }
    monkeypatch.setattr(config, "_PRESETS", tiny)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    pictures(work / "my_images", {"ant": 5, "bee": 8, "cow": 22, "dog": 13, "elk": 6})
    pictures(work / "my" / "folder", {"ant": 10, "bee": 12, "cow": 22})
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    mine = "".join(b for b in blocks if "def feature_distillation" in b or "class Replay" in b)
    for path in (work / "mine.py", work / "path" / "to" / "file.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import csd_edu as csd\n{mine}\nreplay = Replay()\n", encoding="utf-8")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[])])
    nbformat.write(page, work / "02_learning_in_tasks.ipynb")
    for folder in ("handed-in", "handed_in"):
        (work / folder / "ada").mkdir(parents=True)
        nbformat.write(page, work / folder / "ada" / "02_learning_in_tasks.ipynb")
    return work


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page and no search: what they are given is looked at, and they leave a file where they would."""

    def page(runs, path, **_options):
        assert runs
        assert all(run.finished for run in runs)
        Path(path).write_text("page")
        return Path(path)

    def sweep(jobs, **_options):
        for job in jobs.values():
            Path(job.out).mkdir(parents=True)
        return {name: Tried() for name in jobs}

    class Tried:
        metrics = {"summary": {"recall_at_1": 0.5}}

    monkeypatch.setattr("csd_edu.report.write_report", page)
    monkeypatch.setattr(tuning, "sweep", sweep)
    monkeypatch.setattr("csd_edu.stills.find_browser", lambda: None)


def run(command: str, *more: str) -> int:
    """Run one command of a text: with a number for N, and one job where it can have them."""
    words = shlex.split(re.sub(r"(?<= )N\b", "7", command), comments=True)
    words = words[next(k for k, word in enumerate(words) if word == "csd-edu") + 1 :]
    jobs = ["--jobs", "1"] if words[0] in ("demo", "tune", "grade") else []
    try:
        return cli.main([*words, *jobs, *more])
    except SystemExit as stop:  # --help
        return int(stop.code or 0)


HARD = "demo", "grade"  # take long, and are run in the campaign


def of_text(name: str) -> list[str]:
    """Return the commands of a text that can be run as they stand: not a command's mere name."""
    bare = ("csd-edu report", "csd-edu grade", "csd-edu export")
    return [c for c in OF_THE_KIT[name] if c not in bare and "…" not in c]


def follow(name: str, place: Path, capsys: pytest.CaptureFixture[str], *leave_out: str) -> None:
    """Run the commands of a text in their order in one folder."""
    commands = of_text(name)
    assert commands
    if name in ("README.md", "epilogs"):  # `make demo` stands there, or the command that it runs
        assert "csd-edu demo --out runs/demo" in (ROOT / "Makefile").read_text(encoding="utf-8")
        commands = ["csd-edu demo --out runs/demo", *commands]
    for command in commands:
        if command.split()[1] in leave_out and "--help" not in command:
            cli._parser().parse_args(shlex.split(command.replace(" N", " 7"), comments=True)[1:])
            for method in ("finetune", "csd") if command.endswith("--out runs/demo") else ():
                assert run(f"csd-edu train --method {method} --out runs/demo/{method}") == 0
            continue
        code = run(command)
        assert code == 0, f"{name}: {command}\n{capsys.readouterr().err}"


# ---- the tests


@pytest.mark.parametrize("name", TEXTS)
def test_the_commands_of_a_text_run_in_its_order(name, place, cheap, capsys):
    follow(name, place, capsys, *HARD)


@pytest.mark.campaign
@pytest.mark.parametrize("name", TEXTS)
def test_the_commands_of_a_text_run_with_all_that_takes_long(name, place, capsys):
    if name == "INSTRUCTORS.md":
        import shutil

        shutil.make_archive("submissions", "zip", "handed-in")
    follow(name, place, capsys)


def test_the_collector_sees_what_there_is():
    """A line, one that is wrapped, one in a comment, a loop, a message."""
    assert "csd-edu demo --seed 0" in OF_THE_KIT["README.md"]
    assert any(c.startswith("csd-edu train --dataset my_images") and c.endswith("my_images") for c in TEXTS["notebooks"])
    assert "csd-edu grade submissions.zip --out class.html" in TEXTS["INSTRUCTORS.md"]
    loop = [c for c in TEXTS["INSTRUCTORS.md"] if c.startswith("csd-edu train --dataset my/folder --method ")]
    assert len(loop) == 2 * 6 + 2 * 3
    assert any(HOLE in c for commands in EVERYTHING.values() for c in commands)
    assert len([c for commands in EVERYTHING.values() for c in commands if is_csd(c)]) > 40


def test_the_runs_of_instructors_take_the_place_of_the_kits(place, cheap, monkeypatch, capsys):
    follow("INSTRUCTORS.md", place, capsys, *HARD, "tune")
    monkeypatch.setenv("CSD_EDU_RUNS", str(place / "runs" / "mine"))
    wanted = {name for path in NOTEBOOKS for name in re.findall(r'"(\w+-tuned)"', path.read_text(encoding="utf-8"))}
    assert {"lwf-tuned", "csd-tuned"} <= wanted
    assert saved.seeds() == (0, 1)
    for name in [*wanted, "finetune", "frozen", "supcon", "csd", "joint"]:
        assert saved.run(name).path == (place / "runs" / "mine" / "seed0" / name).resolve()
