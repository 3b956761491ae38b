"""A run on disk: saved atomically while it trains, read by everything that comes after.

config.json                       configuration, method, stream, and the machine it ran on
records.jsonl                     one line for each epoch and each task
metrics.json                      task matrices and their summary, after each task
test.safetensors                  labels, tasks and images (uint8) of the test images, task after task
task-0.weights.safetensors        the network after task 0, and so on
task-0.features.safetensors       features and predictions of all test images under that network
checkpoint.safetensors            where training goes on, with the method's state, and the one before it

Each file names the run and the task that it belongs to, so that none takes another's place unseen. What a damaged file
held is made anew from others where that can be: metrics.json from the records, features from weights and images.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csd_edu import arguments, metrics
from csd_edu.config import Config
from csd_edu.files import (
    check_file,
    make_folder,
    parse_json,
    read_about,
    read_json,
    read_tensors,
    replace,
    write_atomically,
    write_json,
    write_tensors,
)
from csd_edu.identity import differences
from csd_edu.learner import Record
from csd_edu.methods import NAMED, Card
from csd_edu.methods.method import card_of
from csd_edu.models import Network, rebuild
from csd_edu.output import say
from csd_edu.paths import given_path
from csd_edu.state import plain
from csd_edu.system import worded
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
    @worded()
    def load(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run folder for reading.

        Raises:
            FileNotFoundError: if there is no run in that folder.
            ValueError: if the folder was written by a newer version, or its config.json is damaged.
        """
        path = given_path(path)
        advice = "train into a new folder, or put a copy of it in its place"
        try:
            description = read_json(path / "config.json", advice=advice)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"there is no run in {path} (no config.json); expected a folder that csd.train or `csd-edu train` wrote"
            ) from None
        if not isinstance(description, dict) or "format" not in description:
            raise ValueError(f"{path / 'config.json'} is damaged (it holds no run); {advice}")
        if description.get("format") != FORMAT:
            raise ValueError(
                f"{path} has run format {description.get('format')!r}, this version of csd_edu reads {FORMAT}; "
                "update csd_edu, or train again"
            )
        try:
            _check_description(description)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path / 'config.json'} is damaged ({told}); {advice}") from None
        _check_own(path, description, advice)
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
        counts = [r["kept_bytes"] for r in self.records if r["kind"] == "task" and "kept_bytes" in r]
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
        """What was written down after each epoch ("kind": "epoch") and task ("task"), and by the
        method's `begin_task` ("begin") and `end_task` ("end")."""
        counted = read_about(self.path / "checkpoint.safetensors").get("n_records", 0)  # it may grow
        found = read_records(self.path / "records.jsonl", self.description)
        # Each task leaves a record before metrics.json counts it.
        lost = sorted(set(range(self._tasks_counted())) - {r["task"] for r in found if r["kind"] == "task"})
        if lost or len(found) < counted:
            of_tasks = f" of task {', '.join(map(str, lost))}" if lost else ""
            _warn_once(
                self.path / "records.jsonl",
                f"{self.path / 'records.jsonl'} is cut off or missing: what was written down{of_tasks} is lost, such "
                "as losses and seconds; measures and features are not",
            )
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: task matrices and their summary; made anew from the records if it is damaged.

        Raises:
            FileNotFoundError: if the run has not finished its first task yet.
            ValueError: if the file is damaged, and the records are not there.
        """
        path = self.path / "metrics.json"
        found, trouble = self.read_metrics()
        if trouble and path.exists():
            _warn_once(path, f"{trouble}; its numbers are made anew from {self.path / 'records.jsonl'}")
        return found

    def read_metrics(self) -> tuple[dict[str, Any], str]:
        """Return `metrics`, and in words what is wrong with the file if they had to be made anew, else ""."""
        path, rows = self.path / "metrics.json", self._rows()
        try:
            found: dict[str, Any] = read_json(path, advice="delete it, and call the same csd.train: it is made anew")
            trouble = _trouble_in(found, rows, path)
        except (FileNotFoundError, ValueError) as error:
            if not rows and isinstance(error, FileNotFoundError):
                told = f"the run in {self.path} has no metrics yet: its first task is not finished"
                raise FileNotFoundError(told) from None
            if not rows:
                raise
            trouble = str(error).partition(";")[0]
        return (metrics.summarize(rows, _n_tasks(rows)) if trouble else found), trouble

    @property
    def tasks_learnt(self) -> int:
        """How many tasks are trained and measured."""
        try:
            return int(self.metrics["tasks_learnt"])
        except FileNotFoundError:
            return 0

    @property
    def finished(self) -> bool:
        return self.tasks_learnt == self.n_tasks

    @property
    def seconds(self) -> float:
        """Seconds spent training and measuring, interruptions not counted."""
        timed = (record for record in self.records if record["kind"] in ("epoch", "task"))  # "task" counts the hooks'
        return float(sum(record.get("seconds", 0.0) for record in timed))

    def test(self) -> dict[str, Tensor]:
        """Return "labels" (N,) and "tasks" (N,) of the test images and, if saved, "images" (N, C, H, W) uint8."""
        advice = "delete it, and call the same csd.train: it is written anew"
        return self._read(self.path / "test.safetensors", advice, "labels", what="test")

    def features(self, task: int) -> Tensor:
        """Return the features (N, D) float32 of all test images under the network after `task`.

        Raises:
            FileNotFoundError: if that task is not trained yet, or its features are not kept.
            ValueError: if there is no such task, or the file is damaged.
        """
        return self.measured(task)["features"].float()  # saved runs keep float16

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
        return self.measured(task)["predictions"]

    def network(self, task: int) -> Network:
        """Return the network as it was after `task`, on the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: if that task is not trained yet.
            ValueError: if there is no such task, or the file is damaged.
        """
        path, advice = self._file_of(task, "weights"), "what it held is lost: train into a new folder"
        weights = self._read(path, advice, "head.weight", "pixel_mean", what="weights", task=task)
        try:
            return rebuild(self.config.network, weights).eval()
        except RuntimeError as error:
            raise ValueError(f"{path} holds no {self.config.network} ({_in_a_line(error)}); {advice}") from None

    def kept(self) -> dict[str, Any]:
        """Return what the method keeps, by attribute, as the newest checkpoint has it: tensors, numbers, nests of them.

        Raises:
            FileNotFoundError: if the run has no checkpoint yet.
        """
        newest = self.path / "checkpoint.safetensors"
        # Stopped while the newest was written, there is the one before.
        path = newest if newest.exists() else newest.with_stem("checkpoint-previous")
        tensors, about = _read_checkpoint(path, self.description)
        return plain(about["state"].get("method", {}), tensors)

    def measured(self, task: int) -> dict[str, Tensor]:
        """Return "features" (N, D), as they are saved, and "predictions" (N,); errors are those of `features`."""
        path, weights = self._file_of(task, "features"), self.task_file(task, "weights")
        if weights.exists() or not path.exists():
            advice = f"delete it, and call the same csd.train: it is made anew from {weights.name}"
        else:
            advice = "what it held is lost: train into a new folder"
        return self._read(path, advice, "features", what="features", task=task)

    def _file_of(self, task: int, what: str) -> Path:
        """Return the path of what is to be read of a task, or raise if there is no such task or it is still to come."""
        path = self.task_file(arguments.whole("task", task), what)
        if path.exists():  # perhaps before it is counted, in a run that was stopped
            return path
        if arguments.whole("task", task, least=0, most=self.n_tasks - 1) >= (learnt := self.tasks_learnt):
            raise FileNotFoundError(
                f"task is {task}, and the run in {self.path} has learnt {learnt} of {self.n_tasks} tasks, counted from "
                "0; call the same csd.train: it goes on"
            )
        return path

    def _read(self, path: Path, advice: str, *names: str, **of: Any) -> dict[str, Tensor]:
        """Return the tensors in a file of this run, or raise if it is damaged, another's or lacks these names."""
        tensors, about = read_tensors(path, advice=advice)
        _check_belongs(path, about, self.description, advice, **of)
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"{path} holds {', '.join(tensors) or 'nothing'}, and no {missing[0]}; {advice}")
        return tensors

    def _rows(self) -> list[Record]:
        """Return the records of the tasks learnt, as far as they can be read, one after the other."""
        try:
            found = read_records(self.path / "records.jsonl", self.description)
        except (OSError, ValueError):  # who asks for the records is told
            return []
        if not (self.path / "metrics.json").exists() and all(record["task"] == 0 for record in found):
            return []  # it is not written yet: that comes before the second task
        of_task = {record["task"]: record for record in found if record["kind"] == "task"}
        in_order = [of_task[task] for task in range(len(of_task)) if task in of_task]
        return in_order if len(in_order) == len(of_task) else []

    def _tasks_counted(self) -> int:
        """Return how many tasks metrics.json counts, as far as it can be read."""
        try:
            found = read_json(self.path / "metrics.json")
        except (OSError, ValueError):
            return 0
        count = found.get("tasks_learnt") if isinstance(found, dict) else 0
        return min(count, self.n_tasks) if isinstance(count, int) else 0

    def task_file(self, task: int, what: str) -> Path:
        """Return the path of a task's "weights" or "features"."""
        return self.path / f"task-{task}.{what}.safetensors"

    def __repr__(self) -> str:
        stream = self.description["stream"]["dataset"]
        state = "finished" if self.finished else f"{self.tasks_learnt} of {self.n_tasks} tasks learnt"
        return f"Run of {self.method} on {stream}, {self.n_tasks} tasks, {state} ({self.path})"

    def save_task(self, task: int, network: Network, features: Tensor, predictions: Tensor) -> None:
        """Save what a task leaves behind: weights, features (N, D) and predictions (N,) of all test images."""
        write_tensors(self.task_file(task, "weights"), network.state_dict(), self.about(what="weights", task=task))
        self.save_features(task, features, predictions)

    def save_features(self, task: int, features: Tensor, predictions: Tensor) -> None:
        """Save features (N, D) and predictions (N,) of all test images under the network after a task."""
        measured = {"features": features, "predictions": predictions}
        write_tensors(self.task_file(task, "features"), measured, self.about(what="features", task=task))

    def save_test(self, stream: Stream) -> None:
        """Save the labels, tasks and, if that is configured, images of the test images."""
        test = stream.test()
        tensors = {"labels": test.labels, "tasks": stream.task_of_class[test.labels]}
        if self.config.save_images:
            tensors["images"] = test.images
        write_tensors(self.path / "test.safetensors", tensors, self.about(what="test"))

    def about(self, **of: Any) -> dict[str, Any]:
        """Return what a file of this run says of itself; runs of older versions have no name to say."""
        return {"run": self.description["id"], **of} if "id" in self.description else {}


def identity_of(description: Mapping[str, Any]) -> str:
    """Return a name for a run, the same for runs that compute the same: a checksum of what identifies it."""
    method = {key: value for key, value in description["method"].items() if key != "card"}
    parts = [method, *(description.get(part) for part in ("config", "stream", "teacher"))]
    return f"{zlib.crc32(json.dumps(parts).encode()):08x}"


def _check_belongs(
    path: Path, about: Mapping[str, Any], description: Mapping[str, Any], advice: str, **of: Any
) -> None:
    """Raise a ValueError if a file says that it is another run's, or another part's; older ones say nothing."""
    own = {"run": description["id"], **of} if "id" in description else of
    for key, value in own.items():
        if about.get(key, value) != value:
            raise ValueError(f"{path} says that it is of {key} {about[key]!r}, and not of {value!r}; {advice}")


def _read_checkpoint(path: Path, description: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, about = read_tensors(path)
    _check_belongs(path, about, description, "delete it", what="checkpoint")
    if not isinstance(about, dict) or not {"n_records", "state"} <= about.keys():
        raise ValueError(f"{path} is damaged (it holds no checkpoint); delete it")
    return tensors, about


def read_records(path: Path, description: Mapping[str, Any], *, most: int | None = None) -> list[Record]:
    """Return the records of a run; a last line without its end is still being written, and left out.

    Args:
        path: of records.jsonl, which need not be there.
        description: of the run.
        most: read so many lines only.

    Raises:
        ValueError: if a line is damaged, or says that it is another run's.
    """
    advice = "delete it: losses and seconds are lost, and the rest of the run is not"
    if path.exists():
        check_file(path, advice)
    *lines, last = (path.read_bytes() if path.exists() else b"").split(b"\n")
    lines += [last] * (not b'{"kind": '.startswith(last[:9]))  # it does not begin as a record: no one writes it
    found = []
    for n, line in enumerate(lines[:most], start=1):
        record = parse_json(line, f"{path} is damaged in line {n}", advice)
        fields = record if isinstance(record, dict) else {}
        if not isinstance(fields.get("kind"), str) or type(fields.get("task")) is not int:
            raise ValueError(f"{path} is damaged in line {n} (it is no record of training); {advice}")
        if wrong := _wrong_in(fields, len(description["stream"]["tasks"])):
            raise ValueError(f"{path} is damaged in line {n} (its {wrong} is {fields.get(wrong)!r:.40}); {advice}")
        _check_belongs(path, record, description, advice)
        found.append(record)
    return found


def _wrong_in(record: Record, n_tasks: int) -> str:
    """Return which field of a record is none that training writes, among those that are read later; "" if none is.

    Whatever a version may have left out ("seconds", "kept_bytes") need not be there.
    """
    wanted: dict[str, bool] = {
        "kind": record["kind"] in ("epoch", "task", "begin", "end"),
        "task": 0 <= record["task"] < n_tasks,
    }
    if record["kind"] not in ("begin", "end"):  # which has what the method says
        wanted["seconds"] = _is_number(record.get("seconds", 0.0))
        wanted["kept_bytes"] = _are_numbers(record.get("kept_bytes", {}))
    if record["kind"] == "epoch":
        wanted["losses"] = _are_numbers(record.get("losses"))
    if record["kind"] == "task":
        for name, keys in (("recall_at_1", ("seen", "task")), ("head_accuracy", ("seen",))):
            rows = [_part(record.get(name), key) for key in keys]
            wanted[name] = all(
                isinstance(row, list) and len(row) == n_tasks and all(v is None or _is_number(v) for v in row)
                for row in rows
            )
        overall = [_part(record.get("overall"), key) for key in ("recall_at_1", "head_accuracy")]
        wanted["overall"] = all(value is None or _is_number(value) for value in overall)
    return next((name for name, is_right in wanted.items() if not is_right), "")


def _part(found: Any, key: str) -> Any:
    """Return what JSON has under a key, and something that is no value anywhere if it has no such key."""
    return found.get(key, "") if isinstance(found, dict) else ""


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _are_numbers(found: Any) -> bool:
    return isinstance(found, dict) and all(map(_is_number, found.values()))


_warned: set[tuple[str, int]] = set()


def _warn_once(path: Path, message: str) -> None:
    """Warn of what is wrong with a file: once, however often it is read, until the file is another."""
    told = (message, path.stat().st_mtime_ns if path.exists() else 0)
    if told not in _warned:
        _warned.add(told)
        warnings.warn(message, stacklevel=3)


def check_runs(runs: Any) -> None:
    """Raise a ValueError if it is no list of runs."""
    expected = "expected a list of runs, such as [csd.Run.load('runs/csd')]"
    if isinstance(runs, str) or not isinstance(runs, Sequence):
        raise ValueError(f"runs is {runs!r}; {expected}")
    for k, run in enumerate(runs):
        if not isinstance(run, Run):
            raise ValueError(f"runs[{k}] is {run!r}; {expected}")


def _trouble_in(found: Any, rows: Sequence[Record], path: Path) -> str:
    """Return in words what is wrong with the content of metrics.json, beside the records of the tasks; "" for nothing.

    Raises:
        ValueError: if it counts no tasks.
    """
    learnt = found.get("tasks_learnt") if isinstance(found, dict) else None
    if type(learnt) is not int or learnt < 1:
        raise ValueError(f"{path} is damaged (it does not say how many tasks are learnt); delete it")
    last = path.with_name(f"task-{learnt - 1}.weights.safetensors")
    known = learnt <= len(rows) or last.exists()  # else it counts a task that left nothing behind
    if not rows or (known and _agree(found, rows[:learnt], _n_tasks(rows))):
        return ""
    return f"{path} says other than the records of the same run"


def _agree(found: dict[str, Any], rows: Sequence[Record], n_tasks: int) -> bool:
    """Return whether the content of metrics.json is that of these records, which may lack the last tasks."""
    told = metrics.summarize(rows, n_tasks)
    if found["tasks_learnt"] == len(rows):
        return found == told
    try:
        parts = [(found[name][key], told[name][key]) for name in ("recall_at_1", "head_accuracy") for key in told[name]]
        return found["tasks_learnt"] <= n_tasks and all(a[: len(rows)] == b[: len(rows)] for a, b in parts)
    except (KeyError, TypeError):
        return False


def _n_tasks(rows: Sequence[Record]) -> int:
    return len(rows[0]["head_accuracy"]["seen"])


def _check_own(folder: Path, description: Mapping[str, Any], advice: str) -> None:
    """Raise a ValueError if the other files of a run say, all of them, that they are another run's."""
    others = set()
    for file in sorted(folder.glob("t*.safetensors"), reverse=True):  # first test.safetensors, which is always there
        run = read_about(file).get("run")
        if "id" not in description or run == description["id"]:
            return
        others |= {run} if run else set()
    if others:
        raise ValueError(f"{folder / 'config.json'} is of another run than all files beside it; {advice}")


def _check_description(description: Mapping[str, Any]) -> None:
    """Raise an error if the content of config.json describes no run."""
    method, stream = description["method"], description["stream"]
    Config.from_json(description["config"])
    if method.get("card") is not None:
        Card.from_json(method["card"])
    tasks = stream["tasks"]
    names = [name for task in tasks for name in task]
    for what, value in (
        ("method's name", method["name"]),
        ("dataset", stream["dataset"]),
        *(("class", n) for n in names),
    ):
        if not isinstance(value, str):
            raise ValueError(f"the {what} is {value!r}")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, list) and task for task in tasks):
        raise ValueError(f"the tasks are {tasks!r:.40}")


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


@worded()
def open_run(path: Path, description: dict[str, Any], stream: Stream) -> Run:
    """Return the run of that folder, begun now or continued.

    Args:
        path: the folder.
        description: of "method", "config", "stream", "environment" and, if there is one, the "teacher".
        stream: the tasks.

    Raises:
        ValueError: if the folder holds a run of another configuration, method or stream, and which; or other files.
        OSError: if it can't be written.
    """
    wanted = {"format": FORMAT, "id": identity_of(description), **description}
    make_folder(path)
    if (path / "config.json").exists():
        run = Run.load(path)
        different, unknown = _differences(run.description, wanted)
        if different:
            raise ValueError(
                f"{path} holds another run: {'; '.join(different)}. "
                "Choose another folder (out=, or --out), or give the same settings to continue that run"
            )
        for reason in unknown:
            say(f"csd_edu: {path}: {reason} as when the run began can't be told; it goes on as if it were.")
        return run
    foreign = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if foreign and foreign != ["test.safetensors"]:  # killed before config.json: only the test images may be there
        raise ValueError(
            f"{path} holds other files ({', '.join(foreign[:3])}, …), and no config.json of a run; choose an empty or "
            "a new folder"
        )
    run = Run(path, wanted)
    run.save_test(stream)
    write_json(path / "config.json", wanted)  # last: a folder with a config.json is a run
    return run


def _differences(saved: dict[str, Any], wanted: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return in words where two run descriptions differ, and what can't be told; the machine may be another one.

    A part of the stream's description that an older version did not write is not compared; but where it does not say
    how many images are labelled, all are.
    """
    found, unknown = differences(saved["method"], wanted["method"])
    config = Config.from_json(saved["config"]).to_json()
    all_labelled = {"labelled": None}
    streams = (wanted["stream"] | all_labelled | saved["stream"], all_labelled | wanted["stream"])
    for part, before, after in (("config", config, wanted["config"]), ("stream", *streams)):
        for name, now in after.items():
            if before[name] != json.loads(json.dumps(now)):
                of_tasks = part == "stream" and name == "tasks"
                other = (
                    "other classes in its tasks" if of_tasks else f"its {part} has {name} {before[name]!r}, now {now!r}"
                )
                found.append(other)
    if saved.get("teacher") != wanted.get("teacher"):
        found.append(f"its teacher was {saved.get('teacher')}, now {wanted.get('teacher')}")
    return found, unknown


def hand_over(folder: Path, identity: str) -> None:
    """Let the files in a copy of a run say that they are of another one, which goes on from them."""
    for path in folder.glob("*.safetensors"):
        tensors, about = read_tensors(path)
        if "run" in about:
            write_tensors(path, tensors, about | {"run": identity})
    path = folder / "records.jsonl"
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    records = [record | {"run": identity} if "run" in record else record for record in records]
    write_atomically(path, b"".join(map(_as_line, records)))


def _as_line(record: Record) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


class Journal:
    """Where a run's training stands: records.jsonl and the checkpoints, kept in step with each other.

    A record is appended first, then the checkpoint that counts it is put in place. Whatever is killed in
    between leaves records that no checkpoint counts; they are cut off when the run goes on.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records = run.path / "records.jsonl"
        self.current = run.path / "checkpoint.safetensors"
        self.previous = run.path / "checkpoint-previous.safetensors"
        self.n_records = 0

    def resume(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and state of the newest checkpoint that is whole, or None to start from the beginning."""
        for unfinished in self.current.parent.glob(".*.tmp"):  # left by a process that was killed while writing
            with contextlib.suppress(OSError):  # another user's perhaps; it harms nothing
                unfinished.unlink()
        for path, rest in (
            (self.current, "the checkpoint before it, if it is whole"),
            (self.previous, "the beginning"),
        ):
            try:
                tensors, about = _read_checkpoint(path, self.run.description)
            except FileNotFoundError:
                continue
            except ValueError as error:
                if path.is_dir():
                    raise
                say(f"csd_edu: {error}. Going on from {rest}.")
                with contextlib.suppress(OSError):  # where nothing can be deleted, nothing can be saved: told then
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
        with worded(self.records), open(self.records, "ab") as file:
            file.write(_as_line(record))
        self.n_records += 1

    def checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Save a checkpoint that counts all records so far, and keep the one before it."""
        with worded(self.current):
            if self.current.exists():
                replace(self.current, self.previous)
        about = self.run.about(what="checkpoint")
        write_tensors(self.current, tensors, {**about, "n_records": self.n_records, "state": state})

    def _keep_records(self, n: int) -> None:
        """Cut off the records after the first n, which no checkpoint counts."""
        read_records(self.records, self.run.description, most=n)
        with worded(self.records):
            content = self.records.read_bytes() if self.records.exists() else b""
            lines = [line + b"\n" for line in content.split(b"\n")[:-1]][:n]
            if len(lines) < n:
                say(f"csd_edu: {self.records} has {len(lines)} of {n} records; it goes on without the others.")
            with open(self.records, "ab") as file:
                file.truncate(sum(map(len, lines)))
        self.n_records = len(lines)
