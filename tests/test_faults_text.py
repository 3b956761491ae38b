"""E. Text that can't be encoded, and streams that take none."""

from __future__ import annotations

import ast
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import csd_edu as csd
from csd_edu import cli, models
from csd_edu.files import write_json
from csd_edu.images import printable
from csd_edu.output import Unfailing, say
from tests.conftest import TINY, striped

ROOT = Path(__file__).parents[1]
ODD = os.fsdecode(b"f\xff\xfe")  # a name of bytes that are no text
QUICK = ("--epochs", 1, "--later-epochs", 1, "--batch-size", 16, "--tasks", 2, "--threads", 1, "--device", "cpu")


@pytest.fixture
def stripes_file(tmp_path):
    return csd.data.save(striped(), tmp_path / "stripes.npz")


def call(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def output(monkeypatch):
    """Return a function that makes standard output one of an encoding that refuses what it doesn't have."""

    def make(encoding: str) -> io.BytesIO:
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, errors="strict", write_through=True))
        return written

    return make


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1251", "cp1252", "latin-1", "utf-8", "utf-16"])
def test_everything_can_be_printed(encoding):
    written = io.BytesIO()
    output = Unfailing(io.TextIOWrapper(written, encoding, errors="strict", write_through=True))
    text = f"3×16×16 – .5 ± .1 … → Привет José 日本 \U0001f600 {ODD}\n"
    assert output.write(text) == len(text)
    assert output.error is None
    shown = written.getvalue().decode(encoding)
    assert shown.endswith("\n")
    assert {"ascii": r"3x16x16 - .5 +- .1 ... -> \u041f"}.get(encoding, "16") in shown
    assert "Jos" in shown
    assert r"f\udcff\udcfe" in shown


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()])
def test_a_stream_that_takes_nothing_stops_nothing(error):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    output = Unfailing(Full())
    print("one", "two", file=output, flush=True)
    assert output.error is error
    assert output.write("three") == 5
    assert not output.isatty()


def test_no_stream_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    say("into nothing")
    assert not Unfailing(None).isatty()


# ---------------------------------------------------------------------- the command line


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1251"])
def test_train_under_an_encoding_without_our_signs_and_a_cyrillic_path(encoding, stripes_file, tmp_path, output):
    written = output(encoding)
    out = tmp_path / "прогоны" / "первый"
    assert call("train", "--dataset", stripes_file, *QUICK, "--out", out) == 0
    assert csd.Run.load(out).finished
    text = written.getvalue().decode(encoding)
    assert "forgetting" in text
    assert "The run is in" in text


@pytest.mark.parametrize("command", [[], ["train"], ["demo"], ["tune"], ["report"], ["grade"], ["export"]])
def test_help_under_ascii(command, output):
    written = output("ascii")
    with pytest.raises(SystemExit) as ended:
        call(*command, "--help")
    assert ended.value.code == 0
    assert written.getvalue().startswith(b"usage: csd-edu")


def test_a_mistake_with_an_odd_name_is_told_under_ascii(tmp_path, monkeypatch):
    errors = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(errors, "ascii", errors="strict", write_through=True))
    assert call("train", "--dataset", tmp_path / "нет" / ODD) == cli.EXIT_MISTAKE
    assert rb"\u043d\u0435\u0442/f\udcff\udcfe" in errors.getvalue().replace(b"\\\\", b"\\")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_in_bytes_that_are_no_text_go_through_a_run(stripes_file, tmp_path, output):
    written = output("ascii")
    out = tmp_path / ODD
    assert call("train", "--dataset", stripes_file, *QUICK, "--out", out) == 0
    assert call("report", out, "--out", tmp_path / f"{ODD}.html") == 0
    assert rb"\udcff" in written.getvalue()
    assert "<html" in (tmp_path / f"{ODD}.html").read_text(encoding="utf-8")[:500]


def test_class_names_that_are_no_text_go_through_a_run_as_they_can_be_shown(tmp_path):
    data = striped()
    names = (ODD, "ко́шка", "a\nb", "\U0001f600", "x" * 300, "<b>")
    data = csd.Dataset("по", data.x_train, data.y_train, data.x_test, data.y_test, names)
    classes = tuple(map(printable, names))
    assert data.classes == classes
    data = csd.load(csd.data.save(data, tmp_path / "odd.npz"))
    assert data.classes == classes
    run = csd.train(csd.split(data, n_tasks=2), csd.methods.finetune, TINY, out=tmp_path / "r", progress=False)
    assert sorted(run.classes) == sorted(classes)
    assert csd.train(
        csd.split(data, n_tasks=2), csd.methods.finetune, TINY, out=tmp_path / "r", progress=False
    ).finished


def test_json_has_names_that_are_no_text_again(tmp_path):
    write_json(tmp_path / "a.json", {"name": ODD, "other": "é"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": ODD, "other": "é"}
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


# ---------------------------------------------------------------------- in processes of their own


def command(*arguments: object, **environment: str) -> tuple[list[str], dict[str, str]]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"))}
    return [sys.executable, "-m", "csd_edu", *map(str, arguments)], {**env, "PYTHONPATH": str(ROOT), **environment}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
def test_a_log_file_under_the_c_locale(stripes_file, tmp_path):
    out = tmp_path / "бег"
    arguments, env = command(
        "train", "--dataset", stripes_file, *QUICK, "--out", out, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    with open(tmp_path / "log", "wb") as log:
        done = subprocess.run(arguments, env=env, cwd=tmp_path, stdout=log, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert csd.Run.load(out).finished
    assert b"The run is in" in (tmp_path / "log").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_output_that_is_closed_full_or_no_longer_read(stripes_file, tmp_path, bad_input):
    train = ("train", "--dataset", stripes_file, *QUICK, "--out")
    ran = {}
    for name, shell in (("closed", ">&-"), ("full", ">/dev/full"), ("head", "| head -c 1 >/dev/null")):
        arguments, env = command(*train, tmp_path / name)
        line = f"set -o pipefail; {' '.join(arguments)} {shell}"
        ran[name] = subprocess.run(["bash", "-c", line], env=env, cwd=tmp_path, capture_output=True, encoding="utf-8")
        assert csd.Run.load(tmp_path / name).finished
        assert "Traceback" not in ran[name].stderr
        assert "Exception ignored" not in ran[name].stderr
    assert [done.returncode for done in ran.values()] == [0, cli.EXIT_FAILED, 0]
    bad_input("`csd-edu train … > log` on a full disk", ran["full"].stderr)


HELP = """
import sys
from csd_edu.cli import main
for arguments in (["--help"], ["--version"], ["train", "--tasks", "x"], ["train", "--help"], ["grade", "--help"], []):
    try:
        main(arguments)
    except SystemExit:
        pass
print(sorted({"torch", "numpy", "PIL", "plotly", "scipy"} & sys.modules.keys()))
"""


def test_what_only_parses_imports_no_torch():
    _, env = command()
    done = subprocess.run([sys.executable, "-c", HELP], env=env, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    as_a_script = [sys.executable, "-X", "importtime", "-m", "csd_edu.cli", "--help"]
    done = subprocess.run(as_a_script, env=env, capture_output=True, encoding="utf-8")
    assert " argparse\n" in done.stderr
    assert " torch\n" not in done.stderr


def test_help_names_all_methods_and_networks(capsys):
    with pytest.raises(SystemExit):
        call("train", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for name in (*csd.methods.NAMED, *models.BACKBONES):
        assert f" {name}" in text


def test_the_kits_names_come_when_they_are_asked_for():
    assert sorted(csd.__all__) == sorted(set(csd.__all__) & set(dir(csd)))
    assert all(getattr(csd, name) is not None for name in csd.__all__)
    import csd_edu.sweep  # imports csd_edu.train, the module

    assert callable(csd_edu.train)
    assert callable(csd_edu.learn)
    assert csd.plots.__name__ == "csd_edu.plots"
    with pytest.raises(AttributeError, match="module 'csd_edu' has no attribute 'trian'"):
        csd.trian  # noqa: B018


# ---------------------------------------------------------------------- in the source


def test_every_text_file_is_opened_with_its_encoding():
    """Else it depends on the machine: a file written on one can't be read on another."""
    missing = []
    for path in sorted((ROOT / "csd_edu").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {keyword.arg for keyword in node.keywords}
            mode = next((a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)), "r")
            opens = isinstance(node.func, ast.Name) and name == "open" and "b" not in mode
            runs = name in ("run", "Popen", "check_output") and "text" in given
            if (name in ("read_text", "write_text") or opens or runs) and "encoding" not in given:
                missing.append(f"{path.name}:{node.lineno}")
    assert missing == []
