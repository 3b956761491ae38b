"""A run on disk: saved atomically while it trains, read by everything that comes after.

config.json                       configuration, method, stream, and the machine it ran on
records.jsonl                     one line for each epoch and each task
metrics.json                      task matrices and their summary, after each task
test.safetensors                  labels, tasks and images (uint8) of the test images, task after task
task-0.weights.safetensors        the network after task 0, and so on
task-0.features.safetensors       features and predictions of all test images under that network
checkpoint.safetensors            where training goes on, with the method's state, and the one before it
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csd_edu.config import Config
from csd_edu.files import check_writable, read_tensors, write_json, write_tensors
from csd_edu.identity import differences
from csd_edu.learner import Record
from csd_edu.methods import NAMED
from csd_edu.methods.method import card_of
from csd_edu.models import Network, rebuild
from csd_edu.state import plain
from csd_edu.tasks import Stream

FORMAT = 1
"""Version of the run folder's layout."""

FIRST_TASK = "first-task-"
"""How the names of folders begin in which a first task is learnt for several runs that go on from copies of it."""


class Run:
    """A training run, finished or not, as its folder has it.

    Attributes:
        path: the folder.
        description: the content of config.json.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.description = description

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run folder for reading.

        Raises:
            FileNotFoundError: if there is no run in that folder.
            ValueError: if the folder was written by a newer version, or its config.json is damaged.
        """
        path = Path(path)
        try:
            description = json.loads((path / "config.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"there is no run in {path} (no config.json); expected a folder that csd.train or `csd-edu train` wrote"
            ) from None
        except ValueError as error:
            raise ValueError(f"{path / 'config.json'} is damaged ({error}); train into a new folder") from None
        if description.get("format") != FORMAT:
            raise ValueError(
                f"{path} has run format {description.get('format')!r}, this version of csd_edu reads {FORMAT}; "
                "update csd_edu, or train again"
            )
        return cls(path, description)

    @property
    def config(self) -> Config:
        """The configuration it is trained with."""
        return Config.from_json(self.description["config"])

    @property
    def method(self) -> str:
        """The method's name, with the arguments that were set: "csd", "csd(weight=0.5)"."""
        return str(self.description["method"]["name"])

    @property
    def is_own(self) -> bool:
        """Whether the method is one of the user's own, and none of the kit's."""
        return bool(self.description["method"].keys() & {"code", "source_crc32"})

    @property
    def card(self) -> dict[str, Any] | None:
        """The method's card, as `methods.Card.to_json` wrote it; None if it has none."""
        saved: dict[str, Any] | None = self.description["method"].get("card")
        if saved is not None or self.is_own:
            return saved
        known = NAMED.get(self.method.partition("(")[0])
        card = None if known is None else card_of(known)
        return card.to_json() if card else None  # runs of version 0.1.0 have none of their own

    @property
    def kept_bytes(self) -> dict[str, int] | None:
        """What is carried over from task to task, in bytes by name, where it is most; None if that was not counted."""
        counts = [record["kept_bytes"] for record in self.records if "kept_bytes" in record]
        return max(counts, key=lambda kept: sum(kept.values())) if counts else None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the images; None if an older version did not write it down and no images are saved."""
        shape = self.description["stream"].get("image_shape") or self.test().get("images", torch.empty(0)).shape[1:]
        return tuple(shape) or None

    @property
    def tasks(self) -> list[list[str]]:
        """The class names of each task, in the order of the labels."""
        tasks: list[list[str]] = self.description["stream"]["tasks"]
        return tasks

    @property
    def n_tasks(self) -> int:
        return len(self.tasks)

    @property
    def classes(self) -> list[str]:
        """All class names, in the order of the labels."""
        return [name for task in self.tasks for name in task]

    @property
    def records(self) -> list[Record]:
        """What was written down after each epoch ("kind": "epoch") and task ("task"), and by `end_task` ("end")."""
        path = self.path / "records.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # a line without its end is not whole
        return [json.loads(line) for line in lines]

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: task matrices and their summary.

        Raises:
            FileNotFoundError: if the run has not finished its first task yet.
        """
        path = self.path / "metrics.json"
        if not path.exists():
            raise FileNotFoundError(f"the run in {self.path} has no metrics yet: its first task is not finished")
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return metrics

    @property
    def tasks_learnt(self) -> int:
        """How many tasks are trained and measured."""
        return int(self.metrics["tasks_learnt"]) if (self.path / "metrics.json").exists() else 0

    @property
    def finished(self) -> bool:
        return self.tasks_learnt == self.n_tasks

    @property
    def seconds(self) -> float:
        """Seconds spent training and measuring, interruptions not counted."""
        return float(sum(record.get("seconds", 0.0) for record in self.records))

    def test(self) -> dict[str, Tensor]:
        """Return "labels" (N,) and "tasks" (N,) of the test images and, if saved, "images" (N, C, H, W) uint8."""
        return read_tensors(self.path / "test.safetensors")[0]

    def features(self, task: int) -> Tensor:
        """Return the features (N, D) float32 of all test images under the network after `task`."""
        return read_tensors(self.task_file(task, "features"))[0]["features"].float()  # saved runs keep float16

    def snapshots(self) -> list[Tensor]:
        """Return the features (N, D) float32 of all test images after each task learnt.

        Raises:
            ValueError: if the run has not finished its first task yet.
        """
        if self.tasks_learnt == 0:
            raise ValueError(f"the run in {self.path} has no features yet: its first task is not finished")
        return [self.features(task) for task in range(self.tasks_learnt)]

    def predictions(self, task: int) -> Tensor:
        """Return the labels (N,) int64 that the head gives all test images after `task`, among the classes seen."""
        return read_tensors(self.task_file(task, "features"))[0]["predictions"]

    def network(self, task: int) -> Network:
        """Return the network as it was after `task`, on the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: if that task is not trained yet.
            ValueError: if the file is damaged.
        """
        return rebuild(self.config.network, read_tensors(self.task_file(task, "weights"))[0]).eval()

    def kept(self) -> dict[str, Any]:
        """Return what the method keeps, by attribute, as the newest checkpoint has it: tensors, numbers, nests of them.

        Raises:
            FileNotFoundError: if the run has no checkpoint yet.
        """
        newest = self.path / "checkpoint.safetensors"
        # Stopped while the newest was written, there is the one before.
        tensors, about = read_tensors(newest if newest.exists() else newest.with_stem("checkpoint-previous"))
        return plain(about["state"].get("method", {}), tensors)

    def task_file(self, task: int, what: str) -> Path:
        """Return the path of a task's "weights" or "features"."""
        return self.path / f"task-{task}.{what}.safetensors"

    def __repr__(self) -> str:
        stream = self.description["stream"]["dataset"]
        state = "finished" if self.finished else f"{self.tasks_learnt} of {self.n_tasks} tasks learnt"
        return f"Run of {self.method} on {stream}, {self.n_tasks} tasks, {state} ({self.path})"

    def save_task(self, task: int, network: Network, features: Tensor, predictions: Tensor) -> None:
        """Save what a task leaves behind: weights, features (N, D) and predictions (N,) of all test images."""
        write_tensors(self.task_file(task, "weights"), network.state_dict())
        write_tensors(self.task_file(task, "features"), {"features": features, "predictions": predictions})


def open_run(path: Path, description: dict[str, Any], stream: Stream) -> Run:
    """Return the run of that folder, begun now or continued.

    Args:
        path: the folder.
        description: of "method", "config", "stream", "environment" and, if there is one, the "teacher".
        stream: the tasks.

    Raises:
        ValueError: if the folder holds a run of another configuration, method or stream, and which; or other files.
        NotADirectoryError, PermissionError: if it can't be written.
    """
    wanted = {"format": FORMAT, **description}
    check_writable(path)
    path.mkdir(parents=True, exist_ok=True)
    if (path / "config.json").exists():
        run = Run.load(path)
        different, unknown = _differences(run.description, wanted)
        if different:
            raise ValueError(
                f"{path} holds another run: {'; '.join(different)}. "
                "Choose another folder (out=, or --out), or give the same settings to continue that run"
            )
        for reason in unknown:
            print(f"csd_edu: {path}: {reason} as when the run began can't be told; it goes on as if it were.")
        return run
    foreign = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if foreign and foreign != ["test.safetensors"]:  # killed before config.json: only the test images may be there
        raise ValueError(f"{path} holds other files ({', '.join(foreign[:3])}, …); choose an empty or a new folder")
    test = stream.test()
    tensors = {"labels": test.labels, "tasks": stream.task_of_class[test.labels]}
    if wanted["config"]["save_images"]:
        tensors["images"] = test.images
    write_tensors(path / "test.safetensors", tensors)
    write_json(path / "config.json", wanted)  # last: a folder with a config.json is a run
    return Run(path, wanted)


def _differences(saved: dict[str, Any], wanted: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return in words where two run descriptions differ, and what can't be told; the machine may be another one.

    A part of the stream's description that an older version did not write is not compared.
    """
    found, unknown = differences(saved["method"], wanted["method"])
    config = Config.from_json(saved["config"]).to_json()
    for part, before in (("config", config), ("stream", wanted["stream"] | saved["stream"])):
        for name, now in wanted[part].items():
            if json.dumps(before[name]) != json.dumps(now):
                of_tasks = part == "stream" and name == "tasks"
                other = (
                    "other classes in its tasks" if of_tasks else f"its {part} has {name} {before[name]!r}, now {now!r}"
                )
                found.append(other)
    if saved.get("teacher") != wanted.get("teacher"):
        found.append(f"its teacher was {saved.get('teacher')}, now {wanted.get('teacher')}")
    return found, unknown


class Journal:
    """Where a run's training stands: records.jsonl and the checkpoints, kept in step with each other.

    A record is appended first, then the checkpoint that counts it is put in place. Whatever is killed in
    between leaves records that no checkpoint counts; they are cut off when the run goes on.
    """

    def __init__(self, run: Run) -> None:
        self.records = run.path / "records.jsonl"
        self.current = run.path / "checkpoint.safetensors"
        self.previous = run.path / "checkpoint-previous.safetensors"
        self.n_records = 0

    def resume(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and state of the newest checkpoint that is whole, or None to start from the beginning."""
        for unfinished in self.current.parent.glob(".*.tmp"):  # left by a process that was killed while writing
            unfinished.unlink()
        for path in (self.current, self.previous):
            try:
                tensors, about = read_tensors(path)
            except FileNotFoundError:
                continue
            except ValueError as error:
                print(f"csd_edu: {error}. Going on from the checkpoint before it.")
                path.unlink()
                continue
            self._keep_records(about["n_records"])
            return tensors, about["state"]
        self._keep_records(0)
        return None

    def write(self, record: Record, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Append a record and save the checkpoint that counts it."""
        self.append(record)
        self.checkpoint(tensors, state)

    def append(self, record: Record) -> None:
        """Append a record; it counts once a checkpoint follows."""
        with open(self.records, "ab") as file:
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self.n_records += 1

    def checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Save a checkpoint that counts all records so far, and keep the one before it."""
        if self.current.exists():
            self.current.replace(self.previous)
        write_tensors(self.current, tensors, {"n_records": self.n_records, "state": state})

    def _keep_records(self, n: int) -> None:
        """Cut off the records after the first n, which no checkpoint counts."""
        lines = self.records.read_bytes().splitlines(keepends=True)[:n] if self.records.exists() else []
        with open(self.records, "ab") as file:
            file.truncate(sum(map(len, lines)))
        self.n_records = n
