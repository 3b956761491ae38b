"""Notebook 08: a kernel killed in mid-training, and what its set-up cells do on other computers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from jupyter_client import BlockingKernelClient, KernelManager

import csd_edu as csd
from csd_edu import runtime
from csd_edu.files import read_tensors
from notebooks import generate
from notebooks.sources import HERE, read_source
from tests.conftest import striped

(PATH,) = (HERE / "src").glob("08_*.py")
CELLS = [cell for cell in generate.edition(read_source(PATH), solved=True).cells if cell.cell_type == "code"]
FIRST, DRIVE, SET_UP = (cell.source for cell in CELLS if "setup" in cell.metadata.get("tags", []))
TRAINING = next(cell.source for cell in CELLS if "widget" in cell.metadata.get("tags", []))

# With one of the lines changed that a student may change: digits train in seconds.
SMALL_SET_UP = SET_UP.replace('DATASET = "auto"', 'DATASET = "digits"')


# --- a kernel that is killed ------------------------------------------------------------------------------------------


@contextmanager
def kernel(folder: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """Start a kernel in a folder, and end it however the block ends."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), env=dict(os.environ))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(client: BlockingKernelClient, code: str) -> str:
    """Run a cell, which must end well, and return what it prints."""
    texts = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=60, output_hook=hear, allow_stdin=False)["content"]
    assert reply["status"] == "ok", reply
    return "".join(texts)


def lines(journal: Path) -> list[bytes]:
    return journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []


def without_times(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) | {"seconds": 0, "images_per_second": 0} for line in lines(journal)]


def records_counted(run: Path) -> int:
    """Return how many records the newest checkpoint counts: where training goes on."""
    path = run / "checkpoint.safetensors"
    path = path if path.exists() else run / "checkpoint-previous.safetensors"  # killed between two renames
    return read_tensors(path)[1]["n_records"]


def file_times(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def epochs(records: list[bytes]) -> int:
    return sum(json.loads(line)["kind"] == "epoch" for line in records)


def wait_for_epochs(folder: Path, n: int) -> Path:
    """Return the journal of the run that is trained in a folder, as soon as it has `n` epochs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for journal in folder.glob("runs/08/digits-quick-*/csd/records.jsonl"):
            if epochs(lines(journal)) >= n:
                return journal
        time.sleep(0.01)
    raise TimeoutError(f"no {n} epochs in a journal after a minute")


@pytest.mark.slow
def test_a_killed_kernel_loses_only_the_epoch_under_way(tmp_path):
    with kernel(tmp_path) as (manager, client):
        execute(client, f"{FIRST}\n{DRIVE}\n{SMALL_SET_UP}")
        client.execute(TRAINING)
        journal = wait_for_epochs(tmp_path, 2)
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        manager.provisioner.process.wait(timeout=10)  # else it might still write
        run = journal.parent
        before, counted = lines(journal), records_counted(run)
    assert not csd.Run.load(run).finished, "it was killed too late to show anything"
    assert 1 <= counted <= len(before) <= counted + 1

    with kernel(tmp_path) as (_, client):
        for cell in (FIRST, DRIVE, SMALL_SET_UP):
            execute(client, cell)
        told = execute(client, TRAINING)
        total = csd.Run.load(run).config.epochs + 4 * csd.Run.load(run).config.later_epochs
        assert f"csd goes on after {epochs(before)} of {total} epochs" in told
        after = lines(journal)
        assert after[:counted] == before[:counted], "the times in these lines would differ if they were trained anew"
        assert epochs(after) == total
        assert csd.Run.load(run).finished

        saved = file_times(run)
        assert "csd was finished already" in execute(client, TRAINING)
        assert file_times(run) == saved

        execute(client, 'FOLDER = Path("whole")')
        assert f"csd begins; {total} epochs" in execute(client, TRAINING)
    whole = tmp_path / "whole" / "csd"
    assert (run / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert without_times(journal) == without_times(whole / "records.jsonl")
    for task in range(5):
        one, other = (read_tensors(folder / f"task-{task}.weights.safetensors")[0] for folder in (run, whole))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


# --- where runs are kept ----------------------------------------------------------------------------------------------


def on_drive(monkeypatch: pytest.MonkeyPatch, mount: Callable[[str], None]) -> dict[str, Any]:
    """Run the cell about Google Drive as on Colab, with what happens when it is to be mounted."""
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mount)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    namespace: dict[str, Any] = {}
    exec(DRIVE, namespace)
    return namespace


def test_elsewhere_than_on_colab_runs_are_kept_beside_the_notebook(capsys):
    assert not runtime.on_colab()
    namespace: dict[str, Any] = {}
    exec(DRIVE, namespace)
    assert namespace["RUNS"] == Path("runs/08")
    assert capsys.readouterr().out == "Runs are kept in runs/08\n"


def test_on_colab_runs_are_kept_on_the_drive(monkeypatch, capsys):
    mounted = []
    assert on_drive(monkeypatch, mounted.append)["RUNS"] == Path("/content/drive/MyDrive/csd_edu/08")
    assert mounted == ["/content/drive"]
    assert "lost" not in capsys.readouterr().out


def test_who_refuses_the_drive_goes_on_and_is_told_what_is_lost(monkeypatch, capsys):
    def refuse(_: str) -> None:
        raise ValueError("mount failed")

    assert on_drive(monkeypatch, refuse)["RUNS"] == Path("runs/08")
    out = capsys.readouterr().out
    assert "Google Drive is not there (ValueError: mount failed)" in out
    assert "If Colab takes this machine back, the runs are lost" in out


# --- what is trained --------------------------------------------------------------------------------------------------


def set_up(
    monkeypatch: pytest.MonkeyPatch, code: str = SET_UP, *, without: str = "", gpu: bool = False
) -> dict[str, Any]:
    """Run the cell that chooses what to train, with stripes in the place of every dataset.

    without: a dataset that is not there, and that cannot be downloaded.
    """
    load, asked = csd.load, []

    def striped_in_its_place(source: str, **options: Any) -> csd.Dataset:
        if source == without:
            raise ConnectionError(f"{source}: the download failed")
        asked.append((source, options))
        data = load(source, **options) if source == "digits" else striped(n_classes=10, train=4, test=2)
        names = tuple(f"{name}/{k}" for k, name in enumerate("ababababab")) if source == "glyphs" else data.classes
        return csd.Dataset(source, data.x_train, data.y_train, data.x_test, data.y_test, names)

    monkeypatch.setattr(csd, "load", striped_in_its_place)
    monkeypatch.setattr(runtime, "pick_device", lambda _: torch.device("cuda" if gpu else "cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    namespace: dict[str, Any] = {"RUNS": Path("runs"), "Path": Path}
    exec(code, namespace)
    return namespace | {"asked": asked}


def test_on_a_cpu_it_is_the_small_part_of_cifar100_and_half_of_the_quick_epochs(monkeypatch, capsys):
    cell = set_up(monkeypatch)
    quick = csd.preset("cifar100", "quick")
    assert cell["asked"][0] == ("cifar100", {"per_class": 100, "at_most": True, "image_size": None})
    assert cell["config"] == quick.config.replace(epochs=4, later_epochs=2)
    assert cell["stream"].n_tasks == 5
    assert (
        "Without a GPU this notebook trains resnet8 on 40 images of cifar100: 5 tasks, 4 epochs"
        in capsys.readouterr().out
    )


def test_on_a_gpu_it_is_the_lab_preset_on_all_of_cifar100(monkeypatch, capsys):
    cell = set_up(monkeypatch, gpu=True)
    assert cell["asked"][0] == ("cifar100", {"per_class": None, "at_most": True, "image_size": None})
    assert cell["config"] == csd.preset("cifar100", "lab").config
    assert "With the GPU (Tesla T4) this notebook trains resnet32 on 40 images of cifar100" in capsys.readouterr().out


def test_without_cifar100_and_without_a_network_it_goes_on_with_glyphs_and_says_how_to_get_it(monkeypatch, capsys):
    cell = set_up(monkeypatch, without="cifar100")
    assert cell["asked"][0] == ("glyphs", {"per_class": None, "at_most": True, "image_size": 24})
    assert cell["stream"].n_tasks == 2  # by alphabets
    out = capsys.readouterr().out
    assert "cifar100 is not on this computer, and it could not be downloaded" in out
    assert "put cifar100.npz into a folder and name that in the environment variable CSD_EDU_DATA" in out
    assert "on 40 images of glyphs: 2 tasks" in out


def test_a_student_may_choose_dataset_and_preset(monkeypatch):
    code = SMALL_SET_UP.replace('PRESET = "auto"', 'PRESET = "paper"')
    cell = set_up(monkeypatch, code)
    assert cell["asked"][0][0] == "digits"
    assert cell["config"] == csd.preset("digits", "paper").config  # as it is, not halved
    assert cell["stream"].n_tasks == 2


def test_other_settings_have_another_folder_and_the_same_ones_the_same(monkeypatch):
    codes = [SET_UP, SET_UP, SET_UP.replace('PRESET = "auto"', 'PRESET = "quick"'), SMALL_SET_UP]
    codes.append(SET_UP.replace("config = preset.config\n", "config = preset.config.replace(seed=1)\n"))
    folders = [set_up(monkeypatch, code)["FOLDER"] for code in codes]
    monkeypatch.undo()
    assert folders[0] == folders[1]
    assert len(set(folders)) == 4
    assert folders[0].parent == Path("runs")
    assert folders[0].name.startswith("cifar100-quick-")
