"""The GPU's benchmark, on a CPU: all of it runs on a bare machine, stops in time, goes on, and can fail."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import csd_edu as csd
from benchmarks import gpu, gpu_checks as checks, parts
from csd_edu import learner, losses

SCRIPT = Path(gpu.__file__)
PLOTS, WIDGETS = ["plotly", "umap", "faiss", "numba"], ["jupyter", "IPython", "ipywidgets", "anywidget", "traitlets"]
MISSING = [*PLOTS, *WIDGETS, "sklearn", "scipy", "pandas", "PIL", "torchvision", "pytest"]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --------------------------------------------------------------------------------------------------- all of it


@pytest.mark.campaign
def test_on_a_bare_machine_it_stops_in_time_and_goes_on(tmp_path):
    """Two calls in processes, with children of their own, that can import nothing but what training needs."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nfor name in {MISSING}: sys.modules[name] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "out"

    def call(minutes: float) -> str:
        command = [sys.executable, str(SCRIPT), "--minutes", str(minutes), "--out", str(out)]
        done = subprocess.run(
            [*command, "--tiny", "--device", "cpu"], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    started = time.monotonic()
    first = call(0.1)
    assert time.monotonic() - started < 6 + 30  # and what it takes to load torch on a busy machine
    assert "the same call again goes on" in first
    begun = json.loads((out / "results.json").read_text())
    assert begun["machine"]["what it is"]["found"]["torch"] == torch.__version__

    second = call(5)
    # Without Pillow there is no plain recipe to compare with: not done, and no failure.
    assert "- not done: speed, a CSD step against the plain recipe: the plain recipe needs torchvision" in second
    results = json.loads((out / "results.json").read_text())
    marks = {entry["ok"] for part in results.values() for entry in part.values()}
    assert marks == {True, None}
    done = {(part, name): entry for part, of in begun.items() for name, entry in of.items() if entry["ok"]}
    assert done
    assert all(results[part][name] == entry for (part, name), entry in done.items())  # not done again
    assert set(results["cifar100"]) == {"schedule", *gpu.CIFAR_METHODS}
    assert results["interrupted"]["generated, float32, killed"]["found"] == {"kills": 1}
    assert results["speed"]["a CSD step, auto"]["found"]["images per second"] > 0
    text = (out / "results.md").read_text()
    assert text in second
    assert "| cifar100 | 4 | 0 | 0 |" in text
    assert "| csd, bfloat16 |" in text
    assert all(f"\n| {name} | " in text for name in gpu.CIFAR_METHODS)


# ------------------------------------------------------------------------------------------ the clock, the results


def results_in(folder: Path) -> gpu.Results:
    return gpu.Results(folder, torch.device("cpu"))


def test_the_clock_stops_what_is_going_on(tmp_path):
    started = time.monotonic()
    plan = [
        gpu.Work("a", "quick", lambda: {"n": 1}, 0),
        gpu.Work("a", "large", lambda: {"n": 2}, 100),
        gpu.Work("b", "slow", lambda: time.sleep(30), 0),
        gpu.Work("b", "never reached", lambda: {"n": 3}, 0),
    ]
    assert not gpu.work_through(plan, results_in(tmp_path), gpu.Clock(0.5 / 60))
    assert time.monotonic() - started < 5
    results = results_in(tmp_path)  # as a second call reads it
    assert results.found("a", "quick") == {"n": 1}
    assert results.parts["a"]["large"]["ok"] is None
    assert "b" not in results.parts
    text = gpu.markdown(plan, results, tiny=False)
    assert "- not done: a, large: needs 100 s, 0 s were left" in text
    assert "- not done: b, slow: time was up" in text


def test_what_is_done_is_kept_and_what_failed_is_tried_again(tmp_path, capsys):
    calls = []

    def work(name: str, outcome: Exception | dict) -> gpu.Work:
        def do() -> dict:
            calls.append(name)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return gpu.Work("part", name, do, 0)

    good, bad = work("good", {"x": 0.25}), work("bad", AssertionError("3 is not 4"))
    later = work("later", gpu.NotDoneError("no images"))
    assert not gpu.work_through([good, bad, later], results_in(tmp_path), gpu.Clock(1))
    results = results_in(tmp_path)
    assert results.failed
    text = gpu.markdown([good, bad, later], results, tiny=False)
    assert "| part | 1 | 1 | 1 |" in text
    assert "- FAILED: part, bad: AssertionError: 3 is not 4" in text
    assert "- not done: part, later: no images" in text

    assert gpu.work_through([good, work("bad", {}), work("later", {})], results, gpu.Clock(1))
    assert calls == ["good", "bad", "later", "bad", "later"]
    assert not results_in(tmp_path).failed
    assert "3 is not 4" in capsys.readouterr().out


def test_a_run_on_cifar100_goes_on_where_the_clock_stopped_it(tmp_path, monkeypatch):
    options = argparse.Namespace(tiny=True, data=None, calls=1, minutes=1, out=tmp_path)
    results, size, cpu = results_in(tmp_path), gpu.TINY, torch.device("cpu")
    results.put(gpu.Work("speed", "a CSD step, auto", dict), ok=True, found={"images per second": 100})

    def work() -> list[gpu.Work]:
        clock = gpu.Clock(1)
        return [gpu.Work("cifar100", "csd", lambda: gpu.cifar("csd", results, clock, cpu, size, options), 0)]

    def stopped(*_: object) -> None:
        raise gpu.OutOfTimeError

    with monkeypatch.context() as patch:
        patch.setattr(csd.train.__globals__["Progress"], "count", stopped)  # after the first epoch
        assert not gpu.work_through(work(), results, gpu.Clock(1))
    run = csd.Run.load(tmp_path / "runs" / "csd")
    assert not run.finished
    schedule = results.found("cifar100", "schedule")
    assert schedule["epochs"] == 2
    assert gpu.work_through(work(), results, gpu.Clock(1))
    assert results.found("cifar100", "schedule") == schedule
    assert results.found("cifar100", "csd")["recall_at_1"] == run.metrics["summary"]["recall_at_1"]


def test_epochs_are_as_many_as_fit():
    stream = csd.split(checks.stripes(n_classes=10, train=40), n_tasks=2)  # 200 + 200 images
    epochs = [gpu.epochs_that_fit(seconds, 1000, stream) for seconds in (0, 41, 60, 120, 10**6)]
    assert epochs == sorted(epochs)
    assert epochs[0] == 1
    assert epochs[-1] == gpu.MOST_EPOCHS
    # 80 s beside what loading and evaluation take; with E + 5/8 E epochs three times, and E epochs of all images.
    assert epochs[3] == pytest.approx(80 * 1000 / 1.15 / (3 * 200 * 1.625 + 400), abs=1)


def test_cifar100_from_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(csd.data, "data_folders", lambda: [Path(os.environ["CSD_EDU_DATA"])])
    with pytest.raises(gpu.NotDoneError, match=r"no cifar100\.npz in .*nothing; name its folder with --data"):
        gpu.cifar_images(None)
    images, labels = np.zeros((100, 16, 16, 3), np.uint8), np.arange(100)
    names = labels.astype(str)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "cifar100.npz", **arrays, classes=names)
    cut = parts.cut(tmp_path / "cifar100.npz", tmp_path / "parts", mb=0.03)
    cut[0].rename(tmp_path / "late.npz")
    with pytest.raises(gpu.NotDoneError, match=cut[0].name):
        gpu.cifar_images(tmp_path / "parts")
    (tmp_path / "late.npz").rename(cut[0])
    assert gpu.cifar_images(tmp_path / "parts").n_classes == 100


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes", "1", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        gpu.main()
    assert caught.value.code == 2
    assert "torch sees 0 CUDA GPUs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- the checks can fail


def plant(monkeypatch: pytest.MonkeyPatch, loss) -> None:
    loss.__module__, loss.__name__ = losses.__name__, "csd"
    monkeypatch.setattr(losses, "csd", loss)


def test_a_loss_that_works_in_bfloat16_is_found(monkeypatch):
    real = losses.csd

    def coarse(student, teacher, labels):
        exact = student.dtype == torch.float64
        return real(student if exact else student.bfloat16(), teacher, labels)

    plant(monkeypatch, coarse)
    with pytest.raises(AssertionError, match=r"csd, random inputs in float32: the value's error is .*limit 1e-05"):
        checks.loss_is_exact("cpu", "csd", "float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_loss_with_a_wrong_gradient_is_found(monkeypatch, precision):
    real = losses.csd

    def tilted(student, teacher, labels):
        slope = 0 if student.dtype == torch.float64 else 1e-4
        return real(student, teacher, labels) + slope * (student - student.detach()).sum().float()

    plant(monkeypatch, tilted)
    with pytest.raises(AssertionError, match=r"csd, random inputs in .*: the gradient's error is"):
        checks.loss_is_exact("cpu", "csd", precision)


def test_a_loss_that_is_not_finite_is_found(monkeypatch):
    real = losses.csd

    def empty(student, teacher, labels):
        return real(student, teacher, labels) * (1 if student.dtype == torch.float64 else torch.nan)

    plant(monkeypatch, empty)
    with pytest.raises(AssertionError, match="the value's error is nan"):
        checks.loss_is_exact("cpu", "csd", "float32")


def test_a_new_loss_is_not_passed_over(monkeypatch):
    def csd_with_weights(student, teacher, labels, weights):
        return losses.cross_entropy(student, labels) * weights.mean() * teacher.mean()

    plant(monkeypatch, csd_with_weights)
    with pytest.raises(AssertionError, match="csd takes weights: give loss_inputs an example"):
        checks.loss_is_exact("cpu", "csd", "float32")


def test_a_training_that_is_not_reproducible_is_found(monkeypatch):
    monkeypatch.setattr(learner, "derive_seed", lambda *_: secrets.randbits(40))
    with pytest.raises(AssertionError, match="trained again: other weights after task 0"):
        checks.training_is_reproducible("cpu", "float32")


@pytest.mark.parametrize("name", ["csd", "generated"])
def test_a_run_that_loses_its_optimiser_is_found(monkeypatch, name):
    real = learner.Unpacker.unpack

    def forgetful(self, packed, there, where):
        return there if where == "optimizer" else real(self, packed, there, where)

    monkeypatch.setattr(learner.Unpacker, "unpack", forgetful)
    with pytest.raises(AssertionError, match="stopped after 1 records: other weights after task 0"):
        checks.interrupted_it_ends_the_same("cpu", name, "float32")


def test_a_memory_with_other_rows_is_found(monkeypatch):
    real, calls = csd.Memory.draw, itertools.count(5)
    monkeypatch.setattr(csd.Memory, "draw", lambda self, _: real(self, next(calls)))
    with pytest.raises(AssertionError, match=r"Memory\(balanced=False\) keeps other rows"):
        checks.memory_and_bank_stay("cpu")


def test_a_teacher_through_which_no_gradient_comes_is_found(monkeypatch):
    real = learner.Learner.frozen

    def without_gradient(self, network):
        look = real(self, network)
        return lambda images, *names: look(images.detach(), *names)

    monkeypatch.setattr(learner.Learner, "frozen", without_gradient)
    with pytest.raises(RuntimeError, match="does not require grad"):
        checks.images_get_a_gradient("cpu", "float32")


def test_other_features_are_found(monkeypatch):
    real, calls = csd.models.embed, itertools.count()
    monkeypatch.setattr(csd.models, "embed", lambda *a: [x * (1 + 1e-3 * next(calls)) for x in real(*a)])
    with pytest.raises(AssertionError, match=r"features differ from the CPU's by .*limit 1e-04"):
        checks.embedding_is_the_cpus("cpu")


def test_a_method_that_does_not_learn_is_found(monkeypatch):
    monkeypatch.setattr(csd.Config, "learning_rate", lambda *_: 0.0)
    with pytest.raises(AssertionError, match="csd: the loss of task 0 went from"):
        checks.method_trains("cpu", "csd")
