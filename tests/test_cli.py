from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import csd_edu as csd
from csd_edu import cli
from tests.conftest import real_images, striped


@pytest.fixture
def stripes_file(tmp_path):
    return str(csd.data.save(striped(), tmp_path / "stripes.npz"))


def call(*arguments: object) -> int:
    return cli.main([str(a) for a in arguments])


QUICK = ("--epochs", 1, "--later-epochs", 1, "--batch-size", 16, "--tasks", 2, "--per-class", "all", "--threads", 1)


@pytest.mark.slow
def test_train_then_report(stripes_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert call("train", "--dataset", stripes_file, "--method", "csd", *QUICK, "--out", out) == 0
    text = capsys.readouterr().out
    run = csd.Run.load(out)
    assert run.finished
    assert run.n_tasks == 2
    row = next(line for line in reversed(text.splitlines()) if line.startswith("csd "))
    assert float(row.split()[1]) == pytest.approx(run.metrics["summary"]["recall_at_1"], abs=5e-4)

    assert call("report", out, "--out", tmp_path / "page.html") == 0
    assert "<html" in (tmp_path / "page.html").read_text()[:500].lower()


def test_the_same_call_continues_and_another_is_refused(stripes_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert call("train", "--dataset", stripes_file, *QUICK, "--out", out) == 0
    before = (out / "records.jsonl").read_bytes()
    assert call("train", "--dataset", stripes_file, *QUICK, "--out", out) == 0
    assert (out / "records.jsonl").read_bytes() == before
    assert call("train", "--dataset", stripes_file, *QUICK, "--out", out, "--lr", 0.5) == cli.EXIT_MISTAKE
    error = capsys.readouterr().err
    assert "config has lr" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar1000"], "cifar1000.*cifar100"),
        (["--dataset", "nowhere/at/all"], "nowhere/at/all"),
        (["--method", "cds"], "method is 'cds'; expected one of finetune, lwf, csd, "),
        (["--preset", "fast"], "preset is 'fast'; expected one of 'quick', 'lab', 'paper'"),
        (["--dataset", "digits", "--tasks", "11"], "n_tasks is 11; expected 1 to 10"),
        (["--dataset", "digits", "--tasks", "groups"], "no groups"),
        (["--dataset", "digits", "--network", "resnet7"], "network is 'resnet7'"),
        (["--dataset", "digits", "--device", "cuda:99"], "cuda:99"),
        (["--dataset", "digits", "--threads", "0"], "threads is 0"),
        (["--dataset", "digits", "--labelled", "2.5"], r"labelled is 2\.5; expected a share"),
        (["--dataset", "digits", "--method", "nncsl"], r"task 0 has none; expected .*, or --labelled 0\.1"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("train", *arguments) == cli.EXIT_MISTAKE
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("csd-edu: error: ")
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(capsys):
    assert call("train", "--debug", "--dataset", "digits", "--method", "cds") == cli.EXIT_MISTAKE
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "--tasks", "five"], ["report"]])
def test_what_cannot_be_read_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    assert stop.value.code == 2
    assert "usage: csd-edu" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["train"], ["demo"], ["report"]])
def test_help_can_be_followed(command, capsys):
    with pytest.raises(SystemExit) as stop:
        call(*command, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "csd-edu" in text
    assert "None" not in text
    if command:
        assert "example:" in text


def test_a_report_about_nothing(tmp_path, capsys):
    assert call("report", tmp_path / "missing", "--out", tmp_path / "page.html") == cli.EXIT_MISTAKE
    assert "there is no run in" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.campaign
def test_an_interrupted_command_leaves_a_run_that_continues(tmp_path):
    """Ctrl-C in a terminal: SIGINT to the process, once it has saved its first epoch."""
    images = striped(train=64)
    path = csd.data.save(images, tmp_path / "stripes.npz")
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "csd_edu",
        "train",
        "--dataset",
        path,
        "--out",
        out,
        "--tasks",
        "2",
        "--threads",
        "1",
    ]
    command += ["--per-class", "all", "--epochs", "120", "--later-epochs", "1"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == cli.EXIT_INTERRUPTED, error
    assert "the same call goes on from there" in output
    assert "Traceback" not in error
    n_done = len(csd.Run.load(out).records)
    assert 0 < n_done < 121
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    assert csd.Run.load(out).finished


@pytest.mark.slow
def test_digits_in_a_few_seconds(tmp_path):
    assert call("train", "--dataset", "digits", "--method", "csd", "--out", tmp_path / "run") == 0
    assert csd.Run.load(tmp_path / "run").metrics["summary"]["recall_at_1"] > 0.8


@pytest.mark.slow
def test_omniglot_with_alphabets_as_tasks(tmp_path):
    real_images("omniglot")
    arguments = ("--epochs", 1, "--later-epochs", 1)
    assert call("train", "--dataset", "omniglot", "--tasks", "groups", *arguments, "--out", tmp_path / "run") == 0
    run = csd.Run.load(tmp_path / "run")
    assert run.n_tasks == 8
    for task in run.tasks:
        assert len({name.split("/")[0] for name in task}) == 1


@pytest.mark.slow
def test_the_same_cifar_images_through_the_folder_loader(tmp_path):
    from PIL import Image

    data = csd.load(real_images("cifar100"), per_class=4)
    for split in ("train", "test"):
        for i, (image, label) in enumerate(
            zip(getattr(data, f"x_{split}"), getattr(data, f"y_{split}").tolist(), strict=True)
        ):
            if label < 20:
                folder = tmp_path / "images" / split / data.classes[label]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:04}.png")
    folder = csd.load(tmp_path / "images")
    assert folder.classes == data.classes[:20]
    for label in range(20):  # a lossless format and the native size: the very same pixels
        one = folder.x_train[folder.y_train == label].numpy()
        other = data.x_train[data.y_train == label].numpy()
        assert np.array_equal(
            np.sort(one.reshape(len(one), -1), axis=0), np.sort(other.reshape(len(other), -1), axis=0)
        )
    arguments = ("--epochs", 1, "--later-epochs", 1, "--per-class", "all", "--tasks", 2)
    assert call("train", "--dataset", tmp_path / "images", *arguments, "--out", tmp_path / "run") == 0
    assert csd.Run.load(tmp_path / "run").finished
    # Its single test image a class has nothing to find: a run and a report all the same.
    assert call("report", tmp_path / "run", "--out", tmp_path / "page.html") == 0
