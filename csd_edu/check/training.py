"""Exercises on a training that takes long and is interrupted: how long, what is left, and to stop in time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import csd_edu as csd
from csd_edu.check.running import Case, Exercise, Function, Mistake


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


def _passed(images: Numbers, epochs: Numbers) -> float:
    return sum(n * times for n, times in zip(images, epochs, strict=True))


def _mean(values: Numbers) -> float:
    return sum(values) / len(values)


def _at(speed: Callable[[Numbers], float]) -> Function:
    """The hours at one speed for all tasks."""
    return lambda images, epochs, speeds: _passed(images, epochs) / speed(speeds) / 3600


TRAINING_HOURS = Exercise(
    name="training_hours",
    title="Hours of a schedule",
    solution=training_hours,
    truth=_hours_by_task,
    answer="number",
    cases=(
        Case("one task", ([7200], [3], [2])),
        Case("two tasks, the second at a fifth of the speed", ([7200, 3600], [10, 20], [100, 20])),
        Case("three tasks of uneven size", ([9000, 6000, 3000], [8, 5, 3], [40.0, 12.5, 10.0])),
    ),
    mistakes=(
        Mistake(
            "seconds instead of hours",
            "You return seconds. An hour has 3,600 of them.",
            lambda *given: 3600 * _hours_by_task(*given),
        ),
        Mistake(
            "minutes instead of hours",
            "You return minutes. An hour has 60 of them, and each of those 60 seconds.",
            lambda *given: 60 * _hours_by_task(*given),
        ),
        Mistake(
            "mean of the speeds",
            "You divide by the mean of the speeds. A slow task takes more of the time than a fast one: divide in each "
            "task by its own speed, and add up the seconds.",
            _at(_mean),
        ),
        Mistake(
            "sum of the speeds",
            "You divide by the sum of the speeds, as if all tasks were trained side by side. They come one after "
            "another: add up their seconds.",
            _at(sum),
        ),
        Mistake(
            "speed of the first task for all",
            "You take the speed of the first task for all. From the second one on the teacher looks at each image too, "
            "and that takes time: speeds[task].",
            _at(lambda speeds: speeds[0]),
        ),
        Mistake(
            "speed of the last task for all",
            "You take the speed of the last task for all. Each task has its own: speeds[task].",
            _at(lambda speeds: speeds[-1]),
        ),
        Mistake(
            "the first task only",
            "You count the first task only. Is `return` inside the loop? The hours of all tasks are asked for.",
            lambda *given: _hours_by_task(*(part[:1] for part in given)),
        ),
        Mistake(
            "the last task only",
            "You count the last task only. Does your loop write over the sum instead of adding to it? The hours of all "
            "tasks are asked for.",
            lambda *given: _hours_by_task(*(part[-1:] for part in given)),
        ),
        Mistake(
            "multiplied by the speed",
            "You multiply by the speed, so a faster computer would take longer. Images divided by images per second "
            "make seconds.",
            lambda images, epochs, speeds: _hours_by_task(images, epochs, [1 / speed for speed in speeds]),
        ),
        Mistake(
            "whole hours only",
            "You round down to whole hours: is there a // or an int(…)? Twenty minutes are a third of an hour.",
            lambda *given: _hours_by_task(*given) // 1,
        ),
        Mistake(
            "a single epoch",
            "You let each image pass once. In each epoch all images of the task pass: multiply by the epochs.",
            lambda images, _, speeds: _hours_by_task(images, [1] * len(images), speeds),
        ),
        Mistake(
            "all images times all epochs",
            "You multiply the sum of the images by the sum of the epochs. Each task's images pass only in its own "
            "epochs: multiply task by task.",
            lambda images, epochs, speeds: sum(images) * sum(epochs) / _mean(speeds) / 3600,
        ),
        Mistake(
            "mean of the tasks",
            "You return the mean over the tasks. They come one after another: add them up.",
            lambda *given: _hours_by_task(*given) / len(given[0]),
        ),
    ),
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
        return csd.Config(
            epochs=self.epochs,
            later_epochs=self.later_epochs,
            batch_size=12,
            crop_padding=0,
            device="cpu",
            precision="float32",
            save_images=False,
        )

    @property
    def epochs_of(self) -> list[int]:
        """The epochs that each task is to have."""
        return [self.epochs] + [self.later_epochs] * (self.n_tasks - 1)

    @property
    def schedule(self) -> list[tuple[str, int]]:
        """Kind and task of all records that the run has in the end."""
        kinds = [[("epoch", task)] * n + [("task", task)] for task, n in enumerate(self.epochs_of)]
        return list(itertools.chain.from_iterable(kinds))

    @property
    def journal(self) -> list[tuple[str, int]]:
        """Kind and task of the records that are there."""
        return self.schedule[: self.n_records or 0]

    def done(self, kinds: Sequence[str] = ("epoch",)) -> list[int]:
        """How many records of these kinds there are of each task."""
        counts = Counter(task for kind, task in self.journal if kind in kinds)
        return [counts[task] for task in range(self.n_tasks)]

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
    return [n - done for n, done in zip(folder.epochs_of, folder.done(), strict=True)]


def _left_of(plan: Callable[[Stopped], int], folder: Stopped) -> list[int]:
    """What is left if all tasks had the same number of epochs."""
    return [plan(folder) - done for done in folder.done()]


def _measured(folder: Stopped) -> list[int]:
    """What is left for who takes a task for done when it is measured, and not before."""
    return [0 if measured else n for n, measured in zip(folder.epochs_of, folder.done(("task",)), strict=True)]


EPOCHS_LEFT = Exercise(
    name="epochs_left",
    title="Epochs left of a run",
    solution=epochs_left,
    truth=_left,
    tried=_with_folder,
    answer="rows",
    seconds=20.0,
    cases=(
        Case("stopped in the first of two tasks", (Stopped(2, n_tasks=2),)),
        Case("stopped in the second of three tasks", (Stopped(5),)),
        Case("stopped before the last measurement", (Stopped(5, epochs=1),)),
        Case("begun, but nothing is trained", (Stopped(0),)),
        Case("finished", (Stopped(7, n_tasks=2),)),
    ),
    mistakes=(
        Mistake(
            "measurement counted as an epoch",
            "You count every line of the journal. After its last epoch each task is measured, and that is a line too: "
            'only records whose "kind" is "epoch" count.',
            lambda folder: [
                n - lines for n, lines in zip(folder.epochs_of, folder.done(("epoch", "task")), strict=True)
            ],
        ),
        Mistake(
            "epochs of the first task for all",
            "You give all tasks the epochs of the first. Later ones have another number: run.config.epochs_of(task).",
            partial(_left_of, lambda folder: folder.epochs),
        ),
        Mistake(
            "later_epochs for all",
            "You give all tasks as many epochs as the later ones have. The first has its own number: "
            "run.config.epochs_of(task).",
            partial(_left_of, lambda folder: folder.later_epochs),
        ),
        Mistake(
            "done instead of left",
            "You tell how many epochs are done. Subtract them from those that the task is to have.",
            lambda folder: folder.done(),
        ),
        Mistake(
            "sign swapped",
            "The sign is wrong: you subtract what the task is to have from what is done.",
            lambda folder: [-n for n in _left(folder)],
        ),
        Mistake(
            "journal not looked at",
            "These are the epochs that the tasks are to have. Some are in the journal already: subtract those.",
            lambda folder: folder.epochs_of,
        ),
        Mistake(
            "tasks added up",
            "You add up the tasks. A list is asked for, with one number for each task.",
            lambda folder: sum(_left(folder)),
        ),
        Mistake(
            "all epochs subtracted from each task",
            "You subtract the epochs of all tasks from each of them. Count them task by task: a record says which one "
            'it is of, record["task"].',
            lambda folder: [n - sum(folder.done()) for n in folder.epochs_of],
        ),
        Mistake(
            "number of the last epoch taken for their count",
            'You subtract the number of the last epoch, record["epoch"]. Epochs are counted from 0, so that is one too '
            "few: count the records.",
            lambda folder: [n - max(0, done - 1) for n, done in zip(folder.epochs_of, folder.done(), strict=True)],
        ),
        Mistake(
            "only measured tasks counted as done",
            "You take a task for done when it is measured, and for untouched before. Training goes on after the last "
            "whole epoch: count the epochs.",
            _measured,
        ),
        Mistake(
            "tasks that have not begun left out",
            "Tasks without an epoch in the journal are missing from your list. They are still to be trained: go "
            "through range(run.n_tasks).",
            lambda folder: [left for left, done in zip(_left(folder), folder.done(), strict=True) if done],
        ),
        Mistake(
            "finished tasks left out",
            "Finished tasks are missing from your list, and one cannot tell which tasks the numbers belong to. Nothing "
            "left is 0.",
            lambda folder: [left for left in _left(folder) if left],
        ),
    ),
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
    return max(sum(folder.done()), min(n, sum(folder.epochs_of)))


def _wrong_until(
    n: int,
    folder: Stopped,
    *,
    start: Callable[[Stopped], int] = lambda folder: sum(folder.done()),
    counted: Sequence[str] = ("epoch",),
    look: str = "before",
) -> int:
    """The epochs in the journal for who counts from another number, counts other records, or looks too late.

    Whether there are enough is looked at "before" a record is asked for, "between" (it is trained, but not counted yet)
    or "after" it.
    """
    done, at = start(folder), folder.n_records or 0
    for kind, _ in folder.schedule[at:]:
        if look == "before" and done >= n:
            break
        at += 1
        if look == "between" and done >= n:
            break
        done += kind in counted
        if look == "after" and done >= n:
            break
    return sum(kind == "epoch" for kind, _ in folder.schedule[:at])


def _own_number(n: int, folder: Stopped) -> int:
    """The epochs for who stops when an epoch's number within its task says that it is the n-th or a later one."""
    of_task, at = Counter(task for kind, task in folder.journal if kind == "epoch"), folder.n_records or 0
    for kind, task in folder.schedule[at:]:
        at += 1
        of_task[task] += kind == "epoch"
        if kind == "epoch" and of_task[task] >= n:
            break
    return sum(kind == "epoch" for kind, _ in folder.schedule[:at])


def _at_the_end(n: int, folder: Stopped) -> int:
    if n > sum(folder.epochs_of):
        raise StopIteration
    return _enough(n, folder)


def _in_a_new_folder(n: int, folder: Stopped) -> int:
    if folder.n_records is None:
        raise FileNotFoundError
    return _enough(n, folder)


_ANSWER = "the answer is the number of epochs in the journal afterwards"

TRAIN_UNTIL = Exercise(
    name="train_until",
    title="Training that stops in time",
    solution=train_until,
    truth=_enough,
    tried=_epochs_afterwards,
    answer="number",
    seconds=20.0,
    cases=(
        Case(f"to go on within a task; {_ANSWER}", (2, Stopped(1))),
        Case(f"to go on into the next task; {_ANSWER}", (5, Stopped(3))),
        Case(f"to go on after a measurement; {_ANSWER}", (5, Stopped(5))),
        Case(f"there are as many already; {_ANSWER}", (2, Stopped(2))),
        Case(f"there are more already; {_ANSWER}", (3, Stopped(5))),
        Case(
            f"more epochs than the run has; {_ANSWER}",
            (100, Stopped(8)),
            shows="the end of the run not expected",
        ),
        Case(
            f"a run that has not begun; {_ANSWER}",
            (1, Stopped(None)),
            shows="a run looked for before there is one",
        ),
    ),
    mistakes=(
        Mistake(
            "nothing trained",
            "Your function trains nothing. csd.training(…) only looks at the folder; it trains when it is asked for a "
            "record, by next(records, None) or in a for loop.",
            lambda _, folder: sum(folder.done()),
        ),
        Mistake(
            "never stopped",
            "Your function trains to the end of the run. Stop asking for records as soon as there are n epochs.",
            lambda _, folder: sum(folder.epochs_of),
        ),
        Mistake(
            "one epoch too many",
            "You train one epoch too many: with n in the journal there are enough. Is there a <= in the place of a <?",
            lambda n, folder: _enough(n + 1, folder),
        ),
        Mistake(
            "one epoch too few",
            "You stop one epoch too early.",
            lambda n, folder: _enough(n - 1, folder),
        ),
        Mistake(
            "asked for a record, and looked only then",
            "You ask for the next record, and only then look whether there are enough. When you hold the record its "
            "epoch is trained: look first, or at the end of the loop.",
            partial(_wrong_until, look="between"),
        ),
        Mistake(
            "at least one record in each sitting",
            "You train even if there are n epochs in the journal already: whether that is enough is looked at after "
            "the first record only.",
            partial(_wrong_until, look="after"),
        ),
        Mistake(
            "measurement counted as an epoch",
            "You count every new record. The measurement of a task is a record too: only those whose "
            '"kind" is "epoch" count.',
            partial(_wrong_until, counted=("epoch", "task")),
        ),
        Mistake(
            "lines of the journal counted",
            "You count the lines of the journal. Measurements of tasks are lines as well: only those whose "
            '"kind" is "epoch" count, the old ones and the new.',
            partial(_wrong_until, start=lambda folder: len(folder.journal), counted=("epoch", "task")),
        ),
        Mistake(
            "measurement in the journal counted as an epoch",
            "You count the lines that the journal has at first, measurements too. Only those of the "
            '"kind" "epoch" count.',
            partial(_wrong_until, start=lambda folder: len(folder.journal)),
        ),
        Mistake(
            "each sitting counted from 0",
            "You train n more epochs. n counts from the very beginning: first count the epochs in the journal, "
            "csd.Run.load(folder).records.",
            partial(_wrong_until, start=lambda _: 0),
        ),
        Mistake(
            "n more records",
            "You ask for n more records. Some of them are measurements; and the epochs of earlier sittings, which are "
            "in the journal, count as well.",
            partial(_wrong_until, start=lambda _: 0, counted=("epoch", "task")),
        ),
        Mistake(
            "epochs of one task only",
            'You go by record["epoch"], which begins at 0 in each task. Here n counts the epochs of all tasks.',
            _own_number,
        ),
        Mistake(
            "the end of the run not expected",
            "This goes wrong where n is more than the whole run has: it is finished, and there are no more records. "
            "next(records, None) then gives None.",
            _at_the_end,
        ),
        Mistake(
            "a run looked for before there is one",
            "This goes wrong in a new folder, where no run has begun. csd.training(…) begins it as soon as it is "
            "called: look into the journal after that.",
            _in_a_new_folder,
        ),
    ),
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
