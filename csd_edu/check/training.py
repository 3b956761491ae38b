"""Exercises on a training that takes long and is interrupted: how long, what is left, and to stop in time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import csd_edu as csd
from csd_edu.check.answers import Number, Rows
from csd_edu.check.running import Case, Exercise, Function, table


def training_hours(images: list[int], epochs: list[int], speeds: list[float]) -> float:
    seconds = sum(n * times / speed for n, times, speed in zip(images, epochs, speeds, strict=True))
    return seconds / 3600


def epochs_left(folder: Path) -> list[int]:
    run = csd.Run.load(folder)
    done = Counter(record["task"] for record in run.records if record["kind"] == "epoch")
    return [run.config.epochs_of(task) - done[task] for task in range(run.n_tasks)]


def train_until(n: int, stream: csd.Stream, method: csd.methods.Method, config: csd.Config, folder: Path) -> None:
    with contextlib.closing(csd.training(stream, method, config, out=folder)) as records:
        done = sum(record["kind"] == "epoch" for record in csd.Run.load(folder).records)
        while done < n and (record := next(records, None)) is not None:
            done += record["kind"] == "epoch"


Numbers = Sequence[float]


def _hours_by_task(images: Numbers, epochs: Numbers, speeds: Numbers) -> float:
    hours = 0.0
    for task in range(len(images)):
        hours += images[task] / speeds[task] / 3600 * epochs[task]
    return hours


TRAINING_HOURS = Exercise(
    training_hours,
    title="Hours of a schedule",
    doc="Check f(images, epochs, speeds) -> float, hours; three lists with an entry for each task; images per second.",
    truth=_hours_by_task,
    answer=Number(),
    cases=(
        Case("one task", [7200], [3], [2]),
        Case("two tasks, the second at a fifth of the speed", [7200, 3600], [10, 20], [100, 20]),
        Case("speeds that divide nothing", [10000, 7000], [7, 5], [3.33, 9.7]),
        Case("a few seconds", [10, 7], [1, 2], [3.33, 9.7]),
        Case("three tasks of uneven size", [9000, 6000, 3000], [8, 5, 3], [40.0, 12.5, 10.0]),
    ),
    mistakes=table("""
    seconds instead of hours | / 3600 =>
        You return seconds. An hour has 3,600 of them.
    minutes instead of hours | 3600 => 60
        You return minutes. An hour has 60 of them, and each of those 60 seconds.
    days instead of hours | 3600 => 86400
        You return days. Asked for are hours, of 3,600 seconds.
    added, not multiplied | n * times => (n + times)
        You add the epochs to the images. In each epoch all images pass: multiply.
    mean of the speeds | / speed for => / (sum(speeds) / len(speeds)) for
        You divide by the mean of the speeds. A slow task takes more of the time than a fast one: divide in each task by
        its own speed, and add up the seconds.
    sum of the speeds | / speed for => / sum(speeds) for
        You divide by the sum of the speeds, as if all tasks were trained side by side. They come one after another: add
        up their seconds.
    speed of the first task for all | / speed for => / speeds[0] for
        You take the speed of the first task for all. From the second one on the teacher looks at each image too, and
        that takes time: speeds[task].
    speed of the last task for all | / speed for => / speeds[-1] for
        You take the speed of the last task for all. Each task has its own: speeds[task].
    the first task only | images, epochs, speeds, => images[:1], epochs[:1], speeds[:1],
        You count the first task only. Is `return` inside the loop? The hours of all tasks are asked for.
    the last task only | images, epochs, speeds, => images[-1:], epochs[-1:], speeds[-1:],
        You count the last task only. Does your loop write over the sum instead of adding to it? The hours of all tasks
        are asked for.
    multiplied by the speed | / speed for => * speed for
        You multiply by the speed, so a faster computer would take longer. Images divided by images per second make
        seconds.
    whole hours only | / 3600 => // 3600
        You round down to whole hours: is there a // or an int(…)? Twenty minutes are a third of an hour.
    rounded to whole hours | seconds / 3600 => round(seconds / 3600)
        You round to whole hours. Twenty minutes are a third of an hour: return the number as it is.
    a single epoch | n * times => n
        You let each image pass once. In each epoch all images of the task pass: multiply by the epochs.
    all images times all epochs | return seconds => return sum(images) * sum(epochs) / (sum(speeds) / len(speeds))
        You multiply the sum of the images by the sum of the epochs. Each task's images pass only in its own epochs:
        multiply task by task.
    mean of the tasks | / 3600 => / 3600 / len(images)
        You return the mean over the tasks. They come one after another: add them up.
    """),
    hints=(
        "How many images pass through the network in one task? Divided by images per second, that makes seconds.",
        "Add up the seconds of the tasks, not the speeds: the tasks run at different ones. Hours come last.",
        "zip(images, epochs, speeds) gives the three numbers of one task at a time: n * times / speed.",
    ),
    tested="one task and several, uneven sizes, the epochs and the speed of each task, hours",
)


@dataclass(frozen=True)
class Stopped:
    """A small run of three classes, stopped when it had written so many records.

    Attributes:
        n_records: lines of its journal; None if it has not even begun.
        n_tasks: 2 or 3.
        epochs, later_epochs: as in `Config`.
    """

    n_records: int | None
    n_tasks: int = 3
    epochs: int = 3
    later_epochs: int = 2

    @property
    def config(self) -> csd.Config:
        small = csd.Config(batch_size=12, crop_padding=0, device="cpu", precision="float32", save_images=False)
        return small.replace(epochs=self.epochs, later_epochs=self.later_epochs)

    @property
    def epochs_of(self) -> list[int]:
        """The epochs that each task is to have."""
        return [self.epochs] + [self.later_epochs] * (self.n_tasks - 1)

    @property
    def journal(self) -> list[tuple[str, int]]:
        """Kind and task of the records that are there."""
        schedule = [[("epoch", task)] * n + [("task", task)] for task, n in enumerate(self.epochs_of)]
        return list(itertools.chain.from_iterable(schedule))[: self.n_records or 0]

    @property
    def done(self) -> list[int]:
        """How many epochs there are of each task."""
        return [self.journal.count(("epoch", task)) for task in range(self.n_tasks)]

    def __str__(self) -> str:
        plan = f"a run of {self.n_tasks} tasks with {', '.join(map(str, self.epochs_of))} epochs"
        if self.n_records is None:
            return f"where {plan} is to begin; nothing is there yet"
        return f"{plan}; its journal: {', '.join(self._told()) or 'no line yet'}"

    def _told(self) -> Iterator[str]:
        for (kind, task), group in itertools.groupby(self.journal):
            n = len(list(group))
            yield f"{n} epoch{'s' * (n > 1)} of task {task}" if kind == "epoch" else "its measurement"


METHOD = csd.methods.finetune


def stream_of(n_tasks: int) -> csd.Stream:
    """Three classes of four images each, all made from numbers, in two or three tasks."""
    images = torch.arange(12 * 256).reshape(12, 1, 16, 16).mul(7).remainder(256).to(torch.uint8)
    labels = torch.arange(12) % 3
    data = csd.Dataset("numbers", images, labels, images[:6], labels[:6], ("one", "two", "three"))
    return csd.split(data, n_tasks)


@functools.cache
def _files(stopped: Stopped) -> dict[str, bytes]:
    """Train until the run is where it was stopped, once in a session; return its files by name."""
    if stopped.n_records is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="csd_edu-check-", ignore_cleanup_errors=True) as place:
        with contextlib.closing(csd.training(stream_of(stopped.n_tasks), METHOD, stopped.config, out=place)) as records:
            for _ in itertools.islice(records, stopped.n_records):
                pass
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


@contextlib.contextmanager
def run_folder(stopped: Stopped) -> Iterator[Path]:
    """Lend a folder with a run that was stopped; if it has not begun, the folder is not there."""
    files = _files(stopped)
    with tempfile.TemporaryDirectory(prefix="csd_edu-check-", ignore_cleanup_errors=True) as place:
        folder = Path(place) / "run"
        if files:
            folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield folder


def _with_folder(f: Function, folder: Stopped) -> Any:
    """Call a function of a run folder with one that is there while it runs."""
    with run_folder(folder) as path:
        return f(path)


def _left(folder: Stopped) -> list[int]:
    return [n - done for n, done in zip(folder.epochs_of, folder.done, strict=True)]


EPOCHS_LEFT = Exercise(
    epochs_left,
    title="Epochs left of a run",
    doc="""Check f(folder) -> for each task how many epochs are still to be trained, with the folder of a run.

    The check trains a few small runs, in a temporary folder, and stops them at different moments.
    """,
    truth=_left,
    answer=Rows(),
    tried=_with_folder,
    seconds=20.0,
    cases=(
        Case("stopped in the first of two tasks", Stopped(2, n_tasks=2)),
        Case("stopped in the second of three tasks", Stopped(5)),
        Case("stopped before the last measurement", Stopped(5, epochs=1)),
        Case("begun, but nothing is trained", Stopped(0)),
        Case("finished", Stopped(7, n_tasks=2)),
    ),
    mistakes=table("""
    measurement counted as an epoch | if record["kind"] == "epoch" =>
        You count every line of the journal. After its last epoch each task is measured, and that is a line too: only
        records whose "kind" is "epoch" count.
    epochs of the first task for all | epochs_of(task) => epochs
        You give all tasks the epochs of the first. Later ones have another number: run.config.epochs_of(task).
    later_epochs for all | epochs_of(task) => later_epochs
        You give all tasks as many epochs as the later ones have. The first has its own number:
        run.config.epochs_of(task).
    done instead of left | run.config.epochs_of(task) - =>
        You tell how many epochs are done. Subtract them from those that the task is to have.
    sign swapped | run.config.epochs_of(task) - done[task] => done[task] - run.config.epochs_of(task)
        The sign is wrong: you subtract what the task is to have from what is done.
    journal not looked at | - done[task] =>
        These are the epochs that the tasks are to have. Some are in the journal already: subtract those.
    tasks added up | return [ => return sum( | n_tasks)] => n_tasks))
        You add up the tasks. A list is asked for, with one number for each task.
    all epochs subtracted from each task | done[task] => sum(done.values())
        You subtract the epochs of all tasks from each of them. Count them task by task: a record says which one it is
        of, record["task"].
    number of the last epoch taken for their count | done[task] => max(0, done[task] - 1)
        You subtract the number of the last epoch, record["epoch"]. Epochs are counted from 0, so that is one too few:
        count the records.
    only measured tasks counted as done | "epoch" => "task" | - done[task] => * (1 - done[task])
        You take a task for done when it is measured, and for untouched before. Training goes on after the last whole
        epoch: count the epochs.
    tasks that have not begun left out | range(run.n_tasks) => done
        Tasks without an epoch in the journal are missing from your list. They are still to be trained: go through
        range(run.n_tasks).
    finished tasks left out | n_tasks)] => n_tasks) if run.config.epochs_of(task) > done[task]]
        Finished tasks are missing from your list, and one cannot tell which tasks the numbers belong to. Nothing left
        is 0.
    """),
    hints=(
        'Two things are known of each task: how many epochs it is to have, and how many the journal has, by "task".',
        'Only records whose "kind" is "epoch" are epochs; after a task there is one for its measurement.',
        'Counter(…) counts how often each value occurs, and says 0 for one that does not. Give it the "task" of those '
        "records, and subtract it from run.config.epochs_of(task).",
    ),
    tested=(
        "runs stopped within a task and before its measurement, just begun and finished, with two and three tasks, and "
        "tasks of different length"
    ),
)


def _epochs_afterwards(f: Function, n: int, folder: Stopped) -> int:
    """How many epochs the journal has after a call."""
    with run_folder(folder) as path:
        f(n, stream_of(folder.n_tasks), METHOD, folder.config, path)
        records = csd.Run.load(path).records if (path / "config.json").exists() else []
        return sum(record["kind"] == "epoch" for record in records)


def _enough(n: int, folder: Stopped) -> int:
    return max(sum(folder.done), min(n, sum(folder.epochs_of)))


_ANSWER = "the answer is the number of epochs in the journal afterwards"

TRAIN_UNTIL = Exercise(
    train_until,
    title="Training that stops in time",
    doc="""Check f(n, stream, method, config, folder), which trains on until the run in `folder` has n epochs.

    They count from the very beginning, over all tasks; a run that has as many already, or is finished, is left as it
    is. The check trains a few small runs, in a temporary folder, and counts the epochs in the journal afterwards.
    """,
    truth=_enough,
    answer=Number(),
    tried=_epochs_afterwards,
    seconds=20.0,
    cases=(
        Case(f"to go on within a task; {_ANSWER}", 2, Stopped(1)),
        Case(f"to go on into the next task; {_ANSWER}", 5, Stopped(3)),
        Case(f"to go on after a measurement; {_ANSWER}", 5, Stopped(5)),
        Case(f"there are as many already; {_ANSWER}", 2, Stopped(2)),
        Case(f"there are more already; {_ANSWER}", 3, Stopped(5)),
        Case(f"more epochs than the run has; {_ANSWER}", 100, Stopped(8), shows="the end of the run not expected"),
        Case(f"a run that has not begun; {_ANSWER}", 1, Stopped(None), shows="a run looked for before there is one"),
    ),
    mistakes=table("""
    nothing trained | while => while False and
        Your function trains nothing. csd.training(…) only looks at the folder; it trains when it is asked for a record,
        by next(records, None) or in a for loop.
    never stopped | done < n and =>
        Your function trains to the end of the run. Stop asking for records as soon as there are n epochs.
    one epoch too many | done < n => done <= n
        You train one epoch too many: with n in the journal there are enough. Is there a <= in the place of a <?
    one epoch too few | done < n => done < n - 1
        You stop one epoch too early.
    asked for a record, and looked only then
        | done < n and (record := next(records, None)) is not None
        => (record := next(records, None)) is not None and done < n
        You ask for the next record, and only then look whether there are enough. When you hold the record its epoch is
        trained: look first, or at the end of the loop.
    at least one record in each sitting | done = sum( => next(records, None); done = sum(
        You train even if there are n epochs in the journal already: whether that is enough is looked at after the first
        record only.
    measurement counted as an epoch | done += record["kind"] == "epoch" => done += 1
        You count every new record. The measurement of a task is a record too: only those whose "kind" is "epoch" count.
    lines of the journal counted | done += record["kind"] == "epoch" => done += 1
        | sum(record["kind"] == "epoch" for => sum(1 for
        You count the lines of the journal. Measurements of tasks are lines as well: only those whose "kind" is "epoch"
        count, the old ones and the new.
    measurement in the journal counted as an epoch | sum(record["kind"] == "epoch" for => sum(1 for
        You count the lines that the journal has at first, measurements too. Only those of the "kind" "epoch" count.
    each sitting counted from 0 | csd.Run.load(folder).records => []
        You train n more epochs. n counts from the very beginning: first count the epochs in the journal,
        csd.Run.load(folder).records.
    n more records | csd.Run.load(folder).records => [] | done += record["kind"] == "epoch" => done += 1
        You ask for n more records. Some of them are measurements; and the epochs of earlier sittings, which are in the
        journal, count as well.
    epochs of one task only | done < n and =>
        | done += record["kind"] == "epoch" => if record["kind"] == "epoch" and record["epoch"] + 1 >= n: break
        You go by record["epoch"], which begins at 0 in each task. Here n counts the epochs of all tasks.
    the end of the run not expected | next(records, None) => next(records)
        This goes wrong where n is more than the whole run has: it is finished, and there are no more records.
        next(records, None) then gives None.
    a run looked for before there is one | csd.training( => csd.Run.load(folder) and csd.training(
        This goes wrong in a new folder, where no run has begun. csd.training(…) begins it as soon as it is called: look
        into the journal after that.
    """),
    hints=(
        "csd.Run.load(folder).records is the journal so far. Count its epochs before you train.",
        "Then a while loop, as long as there are fewer than n: next(records, None) trains until the next record, and "
        "gives None when the run is finished.",
        'Not every record is an epoch: done += record["kind"] == "epoch". With `for record in records:` take care '
        "that nothing is trained if there is nothing to do.",
    ),
    tested=(
        "the epochs of all tasks and sittings, measurements, nothing to do, the end of the run, and a run that has not "
        "begun"
    ),
)
