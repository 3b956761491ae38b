"""J. Commands in a text work on the folder the text speaks of."""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import json
import re
import shlex
import shutil
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

import csd_edu as csd
from csd_edu import cli, config, saved, tuning
from tests.conftest import striped

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
    return re.match(r"csd-edu \w", command) is not None


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


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the texts speak of; trainings are short, data sets tiny; the rest is as it is."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("CSD_EDU_DATA", str(data))
    for size in (24, 32):
        alphabets("glyphs", data / f"glyphs-v{csd.data.GLYPHS_VERSION}-seed0-{size}px.npz", size)
    alphabets("omniglot", data / "omniglot.npz", 16, channels=1)
    csd.data.save(striped(n_classes=100, train=2, test=2), data / "cifar100.npz")
    digits = striped(n_classes=10, size=16, channels=1)
    digits = csd.Dataset("digits", digits.x_train, digits.y_train, digits.x_test, digits.y_test, digits.classes)
    monkeypatch.setattr(csd.data, "_digits", lambda *_: digits)
    short = {"network": "resnet8", "epochs": 1, "later_epochs": 1, "milestones": (), "schedule": "constant"}
    tiny = {
        kind: {name: p._replace(config=p.config.replace(**short, device="cpu")) for name, p in of.items()}
        for kind, of in config._PRESETS.items()
    }
    monkeypatch.setattr(config, "_PRESETS", tiny)
    work = tmp_path / "place"
    work.mkdir()
    monkeypatch.chdir(work)
    pictures(work / "my_images", {"ant": 5, "bee": 8, "cow": 22, "dog": 13, "elk": 6})
    pictures(work / "my" / "folder", {"ant": 10, "bee": 12, "cow": 22})
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    mine = "".join(b for b in blocks if "def feature_distillation" in b or "class Replay" in b)
    for path in (work / "mine.py", work / "path" / "to" / "file.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import csd_edu as csd\n{mine}\nreplay = Replay()\n", encoding="utf-8")
    shown = nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=1)
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[shown])])
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

    tried = SimpleNamespace(metrics={"summary": {"recall_at_1": 0.5}})

    def sweep(jobs, **_options):
        for job in jobs.values():  # a trial is a run like others
            shutil.copytree(ROOT / "data" / "saved" / "seed0" / "csd", job.out)
        return dict.fromkeys(jobs, tried)

    monkeypatch.setattr("csd_edu.report.write_report", page)
    monkeypatch.setattr(tuning, "sweep", sweep)
    monkeypatch.setattr("csd_edu.stills.find_browser", lambda: None)


def run(command: str, *more: str) -> int:
    """Run one command of a text: with a number for N, and one job where it can have them."""
    _, *words = shlex.split(re.sub(r"(?<= )N\b", "7", command), comments=True)
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


def follow(name: str, capsys: pytest.CaptureFixture[str], *leave_out: str) -> None:
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


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "INSTRUCTORS.md"])
@pytest.mark.usefixtures("cheap")
@pytest.mark.usefixtures("place")
def test_the_commands_of_a_text_run_in_its_order(name, capsys):
    follow(name, capsys, *HARD)


@pytest.mark.campaign
@pytest.mark.usefixtures("cheap")
def test_the_runs_that_instructors_train_take_the_place_of_the_kits(place, monkeypatch, capsys):
    follow("INSTRUCTORS.md", capsys, *HARD)
    monkeypatch.setenv("CSD_EDU_RUNS", str(place / "runs" / "mine"))  # as the text has it
    assert "CSD_EDU_RUNS=$PWD/runs/mine make lab" in TEXTS["INSTRUCTORS.md"]
    wanted = {
        name
        for path in NOTEBOOKS
        for name in re.findall(r'"((?:lwf|csd|supcon)-tuned)"', path.read_text(encoding="utf-8"))
    }
    assert {"lwf-tuned", "csd-tuned"} <= wanted
    assert saved.seeds() == (0, 1)
    for name in [*wanted, "finetune", "frozen", "supcon", "csd", "joint"]:
        assert saved.run(name).path == (place / "runs" / "mine" / "seed0" / name).resolve()
    chosen = tuning.read_tuning(saved.folder())  # as 03, 04 and 07 read it
    assert chosen is not None
    assert [chosen.chose(saved.run(f"{name}-tuned", seed=1)) for name in tuning.SETTINGS] == [True] * 3


@pytest.mark.campaign
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.usefixtures("place")
def test_the_commands_of_a_text_run_with_all_that_takes_long(name, capsys):
    if name == "INSTRUCTORS.md":
        shutil.make_archive("submissions", "zip", "handed-in")
    follow(name, capsys)


def test_the_collector_sees_what_there_is():
    """A line, one that is wrapped, one in a comment, a loop, a message."""
    assert "csd-edu demo --seed 0" in OF_THE_KIT["README.md"]
    assert any(
        c.startswith("csd-edu train --dataset my_images") and c.endswith("my_images") for c in TEXTS["notebooks"]
    )
    assert "csd-edu grade submissions.zip --out class.html" in TEXTS["INSTRUCTORS.md"]
    loop = [c for c in TEXTS["INSTRUCTORS.md"] if c.startswith("csd-edu train --dataset my/folder --method ")]
    assert len(loop) == 2 * 6 + 2 * 3
    assert any(HOLE in c for commands in EVERYTHING.values() for c in commands)
    assert len([c for commands in EVERYTHING.values() for c in commands if is_csd(c)]) > 40


# ---- what else texts name


def test_every_make_target_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, flags=re.MULTILINE))
    named = {
        (path, target)
        for path, commands in EVERYTHING.items()
        for c in commands
        if (m := re.match(r"(?:\w+=\S+ )*make ((?:\w+=\S+ )*[\w-]+)", c))
        for target in [m[1].split()[-1]]
    }
    assert len({target for _, target in named}) > 7
    assert [(path, target) for path, target in sorted(named) if target not in targets] == []
    assert "$(REPO)" in makefile


def options_of(script: Path) -> set[str]:
    """Return the options that a script knows, as far as its source says."""
    calls = [node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    added = [call for call in calls if getattr(call.func, "attr", "") == "add_argument"]
    return {arg.value for call in added for arg in call.args if isinstance(arg, ast.Constant)}


def test_every_script_is_there_and_knows_its_options():
    seen = 0
    for path, commands in EVERYTHING.items():
        for command in commands:
            if not re.match(r"python \S", command) or command.startswith(("python -c", "python -m pytest")):
                continue
            words = command.split("#")[0].replace("[", " ").replace("]", " ").split()[1:]
            script = ROOT / (f"{words[1].replace('.', '/')}.py" if words[0] == "-m" else words[0])
            assert script.is_file(), f"{path}: {command}"
            wrong = [w for w in words if w.startswith("--") and w not in options_of(script)]
            assert not wrong, f"{path}: {command}: {wrong}"
            seen += 1
    assert seen >= 5


def test_every_package_that_is_to_be_installed_is_one_that_the_kit_uses():
    """Of pyproject.toml, or imported where it is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    known = {re.split(r"[ <>=!~;\[]", r)[0] for rs in [project["dependencies"], *extras.values()] for r in rs}
    known |= {"pillow-heif", "faiss-cpu", "numba", HOLE}  # numba comes with umap-learn
    named = {(path, c) for path, of in EVERYTHING.items() for c in of if re.match(r"%?pip install", c)}
    assert len(named) >= 4
    for path, command in sorted(named):
        for word in command.split("install")[1].replace(HOLE, f" {HOLE} ").split():
            if extra := re.fullmatch(r"'?\.\[(\w+)\]'?", word):
                assert extra[1] in extras, f"{path}: {command}"
            elif not word.startswith("-") and word.strip("'.,") not in {*known, "in", "a", "cell", "first"}:
                pytest.fail(f"{path}: {command}: {word}")


def test_every_option_that_a_message_advises_is_one_of_its_command():
    of = {name: {s for a in p._actions for s in a.option_strings} for name, p in parsers().items()}
    every = {"--version"}.union(*of.values())
    seen = 0
    for path in MODULES:
        for text in strings(path):
            if path.suffix == ".html" or "<" in text:  # a style
                continue
            command = re.search(r"csd-edu (\w+)", text)
            mine = of.get(command[1], every) if command else every
            mine = mine | ({"--no-deps", "--upgrade"} if "pip install" in text or path.name == "start.py" else set())
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
                seen += 1
                assert option in mine, f"{path.relative_to(ROOT)}: {text!r}"
    assert seen > 40


def test_every_call_that_a_message_advises_fits_the_signature():
    seen = 0
    for path in [*MODULES, *NOTEBOOKS, *MARKDOWN]:
        texts = [path.read_text(encoding="utf-8")] if path.suffix == ".md" else strings(path)
        for text in texts:
            for name, inside in re.findall(r"(?<![\w.])((?:csd\.)[\w.]+|Card|Config)\(([^()]*)\)", text):
                if HOLE in name:
                    continue
                thing = csd.methods if name == "Card" else csd
                for part in name.removeprefix("csd.").split("."):
                    thing = getattr(thing, part, None)
                    assert thing is not None, f"{path.relative_to(ROOT)}: {name}"
                parameters = inspect.signature(thing).parameters
                for word in re.findall(r"(?:^|, ?)(\w+)=", inside):
                    assert word in parameters, f"{path.relative_to(ROOT)}: {name}({inside})"
                    seen += 1
            for word, name in re.findall(r"\b(\w+)=\S* in (csd\.\w+)", text):
                assert word in inspect.signature(getattr(csd, name[4:])).parameters, text
                seen += 1
    assert seen > 10


# ---- a preset's images a class are the most

UNEVEN = {"ant": 5, "bee": 8, "cow": 22, "dog": 13, "elk": 6}
SOURCES = ("my_images", "mine.npz", "digits", "cifar100", "glyphs", "omniglot")


@pytest.mark.parametrize("name", config.PRESET_NAMES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.usefixtures("place")
def test_a_presets_images_a_class_are_the_most(source, name, monkeypatch):
    many = striped(n_classes=6, train=120, test=2)
    few = torch.cat([torch.arange(720)[many.y_train == c][: 9 + 30 * c] for c in range(6)])
    csd.data.save(
        csd.Dataset("mine", many.x_train[few], many.y_train[few], many.x_test, many.y_test, many.classes), "mine.npz"
    )
    if source == "glyphs":  # of which as many are drawn as anybody asks for
        monkeypatch.setattr(csd.data, "_draw_glyphs", lambda n, size, _: striped(train=n, size=size))
    preset = csd.preset(source, name)
    data = csd.load(source, **preset.of_images(), progress=False)
    counts = data.y_train.bincount()
    whole = csd.load(source, image_size=preset.image_size, progress=False).y_train.bincount()
    if source != "glyphs":
        assert counts.tolist() == whole.clamp(max=preset.per_class or 10**9).tolist()
    else:
        assert set(counts.tolist()) == {preset.per_class or 8}


@pytest.mark.usefixtures("place")
def test_on_the_command_line_images_a_class_are_always_the_most(capsys, bad_input):
    """As in the library with at_most=True, which the library's own message names."""
    for more in ([], ["--per-class", "all"], ["--per-class", "100"], ["--per-class", "18"]):
        assert run("csd-edu train --dataset my_images --method finetune --tasks 2 --out a", *more) == 0
    assert run("csd-edu train --dataset my_images --method finetune --tasks 2 --per-class 5 --out b") == 0
    assert "24 train" in capsys.readouterr().out.split("\nStream")[-1]  # 4 + 4 · 5
    with pytest.raises(ValueError, match="at_most=True") as error:
        csd.load("my_images", per_class=csd.preset("my_images").per_class, progress=False)
    assert csd.load("my_images", per_class=100, at_most=True, progress=False).n_classes == 5
    bad_input("`csd.load(folder, per_class=100)`, and a class has fewer images", error.value)


@pytest.mark.usefixtures("place")
def test_the_defaults_of_the_command_line_are_those_of_the_library():
    """Nothing but what is asked for differs from `csd.train` at the preset."""
    assert run("csd-edu train --dataset my_images --tasks 2 --out a") == 0
    preset = csd.preset("my_images")
    stream = csd.split(csd.load("my_images", **preset.of_images(), progress=False), n_tasks=2)
    assert csd.train(stream, csd.methods.csd, preset.config, out="a", progress=False).finished  # else it is refused
    said = {a.dest: a.default for a in parsers()["train"]._actions}
    library = inspect.signature(csd.split).parameters
    assert (said["seed"], said["validation"]) == (library["seed"].default, library["validation"].default)
    assert said["seed"] == csd.Config().seed
    assert said["on_error"] == inspect.signature(csd.load).parameters["on_error"].default
    assert said["preset"] == inspect.signature(csd.preset).parameters["name"].default
    assert {a.dest: a.default for a in parsers()["tune"]._actions}["validation"] == 0.25
    assert inspect.signature(tuning.tune).parameters["validation"].default == 0.25


# ---- what is refused, and what is advised


@pytest.mark.parametrize("command", ["train --seed", "demo --seed", "tune --seeds 101"])
@pytest.mark.usefixtures("place")
def test_a_seed_below_zero_is_refused_before_any_work(command, capsys, monkeypatch, bad_input):
    monkeypatch.setattr(csd, "load", lambda *_, **__: pytest.fail("data was loaded"))
    assert run(f"csd-edu {command} -1") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "-1 is no seed; expected a whole number of at least 0" in error
    bad_input(f"`csd-edu {command} -1`", error)


@pytest.mark.usefixtures("place")
def test_a_folder_that_holds_another_run_says_which_option_names_another(capsys, bad_input):
    assert run("csd-edu train --dataset my_images --method finetune --tasks 2") == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    capsys.readouterr()
    for more in (["--tasks", "3"], ["--tasks", "2", "--epochs", "2"], ["--tasks", "2", "--image-size", "16"]):
        assert run("csd-edu train --dataset my_images --method finetune", *more) == cli.EXIT_MISTAKE
        error = capsys.readouterr().err
        assert "holds another run" in error
        assert "--out" in error
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before
    bad_input("`csd-edu train` with other settings, into the same folder", error.splitlines()[-1])


@pytest.mark.usefixtures("place", "cheap")
def test_tuned_and_plain_runs_have_folders_of_their_own_by_default(capsys, bad_input):
    assert run("csd-edu tune --dataset my/folder --tasks 3") == 0
    for more in ([], ["--tuning", "runs/tune-folder"]):
        assert run("csd-edu train --dataset my/folder --tasks 3", *more) == 0
    plain, tuned = (csd.Run.load(f"runs/folder-csd{end}-seed0") for end in ("", "-tuned"))
    assert (plain.method, tuned.method) == ("csd", "csd(distillation=1)")
    capsys.readouterr()
    for wrong, said in (("--tuning nowhere", "csd-edu tune --out"), ("--method er --tuning runs/tune-folder", "'er'")):
        assert run(f"csd-edu train --dataset my/folder --tasks 3 {wrong} --out x") == cli.EXIT_MISTAKE
        error = capsys.readouterr().err
        assert said in error
    bad_input("`csd-edu train --tuning` for a method without a chosen weight", error.splitlines()[-1])


@pytest.fixture
def some_runs(place):
    """Runs of one seed, with settings that are no preset's."""
    also = "--tasks 2 --epochs 2 --image-size 24 --validation 0.2 --batch-size 16 --seed 3"
    for method in ("finetune", "joint"):
        assert run(f"csd-edu train --dataset my/folder --method {method} {also} --out 'some runs/{method}'") == 0
    Path("folder").symlink_to("my/folder")  # the name that a run knows
    saved._told.clear()
    yield place / "some runs"
    saved.use(None)


def advised(error: pytest.ExceptionInfo[ValueError]) -> list[str]:
    return re.findall(r"csd-edu .*?(?=  and then| \(|$)", str(error.value))


@pytest.mark.parametrize(("name", "seed"), [("csd", 3), ("csd", 4), ("lwf-tuned", 3), ("csd-tuned", 4)])
@pytest.mark.usefixtures("cheap")
def test_the_advised_command_makes_the_run_that_is_missing(name, seed, some_runs, bad_input):
    saved.use(some_runs)
    with pytest.raises(ValueError, match="no saved run") as error:
        saved.run(name, seed=seed)
    commands = advised(error)
    assert len(commands) == 1 + name.endswith("-tuned")
    for command in commands:
        assert run(command) == 0, command
    made = saved.run(name, seed=seed)
    assert made.path.name == name
    assert made.method == {"csd": "csd", "lwf-tuned": "lwf(weight=1)", "csd-tuned": "csd(distillation=1)"}[name]
    there = csd.Run.load(some_runs / "finetune")
    assert made.config.replace(seed=3) == there.config
    if seed == 3:
        assert made.description["stream"] == there.description["stream"]
    assert saved.run("finetune", seed=3).path == there.path  # it is still found
    if (name, seed) == ("lwf-tuned", 3):
        bad_input("`saved.run` of a tuned run that is missing", error.value)


@pytest.mark.usefixtures("place")
def test_what_is_no_folder_of_runs_names_a_command_that_makes_one(monkeypatch, bad_input):
    monkeypatch.setenv("CSD_EDU_RUNS", "not there")
    with pytest.raises(FileNotFoundError, match="csd-edu train --method csd --out") as error:
        saved.names()
    command = re.search(r"`(csd-edu [^`]+)`", str(error.value))[1]
    assert run(command) == 0
    assert saved.names() == ("csd",)
    bad_input("`CSD_EDU_RUNS` names no folder", error.value)


@pytest.mark.usefixtures("place", "cheap")
def test_weights_for_another_dataset_name_the_command_that_chooses_them():
    with pytest.raises(ValueError, match="csd-edu tune --dataset omniglot") as error:
        tuning.shipped("omniglot")
    assert run(re.search(r"csd-edu tune.*", str(error.value))[0]) == 0


@pytest.mark.usefixtures("place", "cheap")
def test_what_a_command_prints_can_be_pasted(capsys):
    assert run("csd-edu train --dataset my_images --method finetune --tasks 2 --out 'my runs/a'") == 0
    assert run(re.search(r"`(csd-edu report .*?)`", capsys.readouterr().out)[1]) == 0
    assert Path("report.html").is_file()


def test_every_option_is_explained():
    """As the README says of `csd-edu train --help`."""
    for name, parser in parsers().items():
        assert [a.dest for a in parser._actions if not a.help] == [], name


@pytest.mark.usefixtures("place", "cheap")
@pytest.mark.parametrize("command", ["train", "tune"])
def test_too_few_classes_for_the_presets_tasks_names_the_option(command, capsys, bad_input):
    """A folder of three classes, where the preset has five tasks."""
    assert run(f"csd-edu {command} --dataset my/folder --out a") == cli.EXIT_MISTAKE
    error = capsys.readouterr().err.splitlines()[-1]
    assert "n_tasks is 5; expected 1 to 3" in error
    assert "--tasks" in error
    assert not Path("a").exists()
    assert run(f"csd-edu {command} --dataset my/folder --tasks 3 --out a") == 0
    if command == "train":
        bad_input("`csd-edu train` on a folder of three classes", error)


@pytest.mark.usefixtures("place", "cheap")
def test_a_weight_of_another_dataset_is_taken_and_said(capsys):
    assert run("csd-edu tune --dataset my/folder --tasks 3 --out t") == 0
    assert run("csd-edu train --dataset my/folder --tasks 3 --tuning t --out a") == 0
    assert "was chosen on" not in capsys.readouterr().err
    assert run("csd-edu train --dataset my_images --tasks 3 --tuning t --out b") == 0
    assert "the weight in t was chosen on 'folder', not 'my_images'" in capsys.readouterr().err


@pytest.mark.usefixtures("place")
def test_a_damaged_choice_is_refused_in_words(capsys):
    """A setting that the method does not have."""
    chosen = json.loads((tuning.SHIPPED / "glyphs" / tuning.NAME).read_text(encoding="utf-8"))
    chosen["methods"]["csd"]["setting"] = "heaviness"
    Path(tuning.NAME).write_text(json.dumps(chosen), encoding="utf-8")
    assert run("csd-edu train --tuning .") == cli.EXIT_MISTAKE
    assert "no method 'csd' with a setting 'heaviness'" in capsys.readouterr().err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("report a --out a", "expected a file that ends in .html"),
        ("report a --out a/config.json", "expected a file that ends in .html"),
        ("report a --out a/config.json/page.html", "a/config.json is a file"),
        ("tune --dataset my/folder --tasks 3 --out a/config.json", "a/config.json is a file"),
        ("demo --tasks 2 --out a/config.json/demo", "a/config.json is a file"),
        ("train --tasks 2 --out a/config.json", "a/config.json is a file"),
    ],
)
def test_nothing_is_written_over_and_no_work_is_done_for_a_place_that_cannot_be(command, said, capsys, bad_input):
    shutil.copytree(ROOT / "data" / "saved" / "seed1" / "csd", "a")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert run(f"csd-edu {command}") == cli.EXIT_MISTAKE
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error.replace("\\", "/")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    if command.startswith("report a --out a/config.json"):
        bad_input(f"`csd-edu {command}`", error)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--seed 1.5", "1.5 is no seed; expected a whole number"),
        ("--tasks five", "five is no number of tasks, nor 'groups'"),
        ("--tasks -2", "-2 is no number of tasks"),
        ("--per-class some", "some is no number of images, nor 'all'"),
        ("--threads 0", "threads is 0; expected at least 1 and at most 1024"),
        ("--threads 20000", "threads is 20000; expected at least 1 and at most 1024"),
        ("--threads 99999999999", "threads is 99999999999; expected at least 1 and at most 1024"),
    ],
)
def test_what_is_no_number_is_named_in_words(option, said, capsys):
    assert run(f"csd-edu train {option}") == 2
    assert said in capsys.readouterr().err


# ---- a method in a file of one's own


FAULTY = {
    "a wrong value": ("def f(step):\n    a, b = (1, 2, 3)", ", line 2, in f: ValueError: too many values to unpack"),
    "sizes that differ": ("def f(step):\n    return step.features + step.labels", ", line 2, in f: RuntimeError: "),
    "a package that is missing": ("import nothere\nf = 1", ", line 1: ModuleNotFoundError: No module named"),
    "a name that is missing": ("f = g", ", line 1: NameError: name 'g' is not defined"),
    "a missing key": ("def g(d):\n    return d['k']\ndef f(step):\n    g({})", ", line 2, in g: KeyError: 'k'"),
    "a missing attribute": ("def f(step):\n    step.nothing", ", line 2, in f: AttributeError: 'Step' object has no"),
    "a wrong type": ("def f(step):\n    1 + ''", ", line 2, in f: TypeError: unsupported operand"),
    "an assertion": ("def f(step):\n\n    assert False", ", line 3, in f: AssertionError"),
    "an end": ("import sys\nsys.exit(0)", ", line 2: SystemExit: 0"),
    "the kit's own refusal": (
        "import csd_edu as csd\ndef f(step):\n    csd.losses.cross_entropy(step.logits, step.labels[1:])",
        ", line 3, in f: ValueError: ",
    ),
}  # fmt: skip
NO_PYTHON = {
    "an open bracket": (b"x = 1\ndef f(step:\n", ", line 2: it is no Python: '(' was never closed"),
    "letters in cp1251": ("x = 'Привет'".encode("cp1251"), ", line 1: it is no Python: (unicode error) 'utf-8' codec"),
    "zeros": (b"x = 1\n\0\n", ": it is no Python: source code string cannot contain null bytes"),
    "an unknown coding": (b"# -*- coding: foo -*-\n", ": it is no Python: unknown encoding: foo"),
}


@pytest.mark.parametrize("what", FAULTY)
def test_an_error_in_a_file_of_ones_own_names_its_line(what, place, capsys, bad_input):
    text, said = FAULTY[what]
    (place / "wrong.py").write_text(text)
    assert run("csd-edu train --dataset my/folder --tasks 3 --method wrong.py:f") == cli.EXIT_FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"csd-edu: error: wrong.py{said}")
    if what in ("sizes that differ", "a missing key"):
        bad_input(f"`csd-edu train --method wrong.py:f`, and {what} in it", error)


@pytest.mark.parametrize("what", NO_PYTHON)
def test_a_file_of_ones_own_that_is_no_python(what, place, capsys, bad_input):
    content, said = NO_PYTHON[what]
    (place / "wrong.py").write_bytes(content)
    assert run("csd-edu train --dataset my/folder --method wrong.py:f") == cli.EXIT_MISTAKE
    error = capsys.readouterr().err.splitlines()[-1]
    named = error.replace("source code cannot", "source code string cannot")  # since Python 3.12, with a line
    assert named.replace(", line 1" * (what == "zeros"), "").startswith(f"csd-edu: error: wrong.py{said}")
    if what != "zeros":
        bad_input(f"`csd-edu train --method wrong.py:f`, and {what} in it", error)


def test_an_error_in_what_lies_beside_a_file_of_ones_own(place, monkeypatch, capsys):
    monkeypatch.syspath_prepend(place)
    (place / "wrong.py").write_text("import beside_wrong\nf = beside_wrong.f")
    (place / "beside_wrong.py").write_text("def f(step):\n    return 1 / 0")
    assert run("csd-edu train --dataset my/folder --tasks 3 --method wrong.py:f") == cli.EXIT_FAILED
    assert "beside_wrong.py, line 2, in f: ZeroDivisionError" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("place")
def test_an_error_of_the_kit_is_no_users(monkeypatch):
    csd.methods.find("mine.py:replay")
    monkeypatch.setattr(cli, "_split", lambda *_: {}["k"])
    with pytest.raises(KeyError):
        run("csd-edu train --dataset my/folder --method mine.py:replay")


@pytest.mark.parametrize(
    "text", ["def f(): pass", "def f(step, weight): pass", "f = type('M', (), {'__call__': id})()"]
)
def test_a_method_that_takes_no_step_is_refused_before_any_work(text, place, capsys, bad_input):
    (place / "wrong.py").write_text(text)
    code = run("csd-edu train --dataset my/folder --tasks 3 --method wrong.py:f")
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == cli.EXIT_MISTAKE
    if "weight" in text:
        bad_input("a method that takes more than a step", error)
