"""Does all of it hold on a GPU, and how fast? Checks, exactness of losses, resuming, speed, CIFAR-100.

    python benchmarks/gpu.py --minutes 9 --out runs/gpu --data runs/parts

It needs torch, NumPy, safetensors and tqdm, and nothing else; what does need more says so and is left out. It stops in
time, having written FOLDER/results.json after each piece of work and FOLDER/results.md; the same call again goes on
where it stopped. What has failed is tried again. It fails (exit code 1) if a check does.

On a borrowed machine that is reached in calls of limited length and size:

 1. Here, `python benchmarks/parts.py cifar100.npz runs/parts --mb 40` cuts the images. A part and the sources have to
    pass through the door together.
 2. Send a part with each call, the first one with runs/parts/parts.json, into runs/parts on the machine, and call
    `python benchmarks/parts.py runs/parts` there: it names what is missing, and in the end joins the parts.
 3. Then call this, with a minute less than the limit. `--calls 2` says that another such call will follow, for which
    the CIFAR-100 runs may be longer. Bring FOLDER back after each call; where it is lost in between, send results.json
    and the unfinished run in FOLDER/runs again. Of finished runs all numbers are in results.json.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where csd_edu is not installed

import torch

import csd_edu as csd
from benchmarks import gpu_checks as checks, parts, step
from csd_edu.files import write_json
from csd_edu.learner import Record
from csd_edu.runtime import environment, keep_freed_memory, pick_device, pick_precision
from csd_edu.tasks import Images
from csd_edu.train import Progress

CIFAR_METHODS = ("finetune", "csd", "lwf", "joint")  # the most telling first, in case that time runs out
MOST_EPOCHS = 200
Found = dict[str, Any]


class OutOfTimeError(BaseException):
    """The minutes are over; no `except Exception` is to hold that up."""


class NotDoneError(Exception):
    """A piece of work that can't be done here and now, for this reason; no failure."""


class Clock:
    """How much of the minutes is left."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Raise OutOfTimeError in the block when time is up, whatever it is doing."""

        def ring(_signal: int, _frame: FrameType | None) -> None:
            raise OutOfTimeError

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 1e-3), 5)  # and again, should the first not get through
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class Work(NamedTuple):
    """A piece of work: what it returns is kept, and it is not done again."""

    part: str
    name: str
    do: Callable[[], Found | None]
    needs: float = 5  # seconds left, or it isn't begun


class Results:
    """What was found so far, in FOLDER/results.json: {part: {name: {"ok", "seconds", "on", "found" or "why"}}}."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.path = folder / "results.json"
        self.on = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        folder.mkdir(parents=True, exist_ok=True)
        self.parts: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.parts = json.loads(self.path.read_text(encoding="utf-8"))

    def put(self, work: Work, **entry: Any) -> None:
        self.parts.setdefault(work.part, {})[work.name] = {**entry, "on": self.on}
        write_json(self.path, self.parts)

    def found(self, part: str, name: str) -> Found | None:
        """Return what a piece of work has found, or None if it is not done."""
        entry = self.parts.get(part, {}).get(name, {})
        return entry["found"] if entry.get("ok") else None

    @property
    def failed(self) -> bool:
        return any(entry["ok"] is False for part in self.parts.values() for entry in part.values())


def work_through(plan: list[Work], results: Results, clock: Clock) -> bool:
    """Do what is not done yet, one after another, until time is up; return whether all was done."""
    try:
        with clock.running():
            for work in plan:
                if results.found(work.part, work.name) is not None:
                    continue
                if clock.left < work.needs:
                    results.put(work, ok=None, why=f"needs {work.needs:.0f} s, {max(0, clock.left):.0f} s were left")
                    continue
                started = time.perf_counter()
                try:
                    entry: dict[str, Any] = {"ok": True, "found": work.do() or {}}
                except NotDoneError as error:
                    entry = {"ok": None, "why": str(error)}
                except Exception as error:
                    traceback.print_exc()
                    entry = {"ok": False, "why": f"{type(error).__name__}: {error}"}
                seconds = time.perf_counter() - started
                results.put(work, **entry, seconds=round(seconds, 2))
                says = entry.get("why") or " ".join(f"{k} {_short(v)}" for k, v in entry["found"].items())
                print(f"{MARKS[entry['ok']]:8} {seconds:6.1f} s  {work.part}: {work.name}  {says}", flush=True)
    except OutOfTimeError:
        print(f"Time is up, in the midst of {work.part}: {work.name}.", flush=True)
    return all(results.found(work.part, work.name) is not None for work in plan)


# ---------------------------------------------------------------------------------------------------- what is done


@dataclass(frozen=True)
class Size:
    """How large the work is: as on a GPU by default."""

    loss: dict[str, int] = field(default_factory=dict)  # of `loss_inputs`
    precisions: int = 3  # in which runs are interrupted
    depth: int = 32
    steps: int = 40  # an epoch whose speed is measured
    rounds: int = 5
    images: int = 10_000
    kills: int = 3
    kill_needs: float = 240  # seconds left: CIFAR-100 is worth more
    epochs: int | None = None  # None: as many as fit


TINY = Size(
    loss={"n": 16, "dim": 8, "n_classes": 24, "n_old": 12},
    precisions=1,
    depth=8,
    steps=1,
    rounds=1,
    images=200,
    kills=1,
    kill_needs=10,
    epochs=2,
)


def plan(results: Results, clock: Clock, device: torch.device, size: Size, options: argparse.Namespace) -> list[Work]:
    """Return all the work, the most important first."""
    where = device.type
    todo = [Work("machine", "what it is", partial(machine, device), 0)]
    todo += [Work("checks", name, check) for name, check in checks.all_checks(where).items()]
    todo += [
        Work("losses", f"{name}, {precision}", partial(checks.loss_is_exact, where, name, precision, **size.loss))
        for precision in ("float32", "bfloat16", "float16")
        for name in checks.public_losses()
    ]
    todo += [
        Work(
            "interrupted",
            f"{name}, {precision}",
            partial(checks.interrupted_it_ends_the_same, where, name, precision),
        )
        for name in checks.METHODS
        for precision in checks.precisions(where)[-size.precisions :]
    ]
    todo += [
        Work("speed", f"a CSD step, {precision}", partial(our_speed, device, precision, size), 10)
        for precision in ("auto", *checks.precisions(where))
    ]
    todo += [
        Work("speed", "a CSD step against the plain recipe", partial(ratio, device, size), 20),
        Work("speed", "evaluation", partial(evaluation, device, size), 10),
        Work(
            "interrupted",
            "generated, float32, killed",
            partial(checks.killed_it_ends_the_same, where, "generated", "float32", size.kills),
            size.kill_needs,
        ),
    ]
    return todo + [
        Work("cifar100", name, partial(cifar, name, results, clock, device, size, options)) for name in CIFAR_METHODS
    ]


def machine(device: torch.device) -> Found:
    """Return what the numbers were measured on."""
    about: Found = {"date": datetime.date.today().isoformat(), **environment()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "compute capability": f"{properties.major}.{properties.minor}",
            "memory in GiB": round(properties.total_memory / 2**30, 1),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    return about


def random_images(n: int) -> Images:
    """Return CIFAR-like images of the classes that benchmarks/step.py trains on."""
    images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(images, torch.arange(n) % (step.CLASSES - step.OLD) + step.OLD)


def our_speed(device: torch.device, precision: str, size: Size) -> Found:
    """Time CSD steps as csd.train does them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    epoch = step.our_epoch(random_images(step.BATCH * size.steps), size.depth, device, precision=precision)
    epoch()
    times = []
    for _ in range(size.rounds):
        started = time.perf_counter()
        steps = epoch()
        times.append((time.perf_counter() - started) / steps)
    found: Found = {
        "precision": str(pick_precision(precision, device)).removeprefix("torch."),
        "ms a step": round(1000 * median(times), 2),
        "images per second": round(step.BATCH / median(times)),
    }
    if device.type == "cuda":
        found["peak MB"] = round(torch.cuda.max_memory_allocated(device) / 1e6)
    return found


def ratio(device: torch.device, size: Size) -> Found:
    """Time CSD steps, the plain way and ours in turn."""
    data = random_images(step.BATCH * size.steps)
    try:
        plain = step.plain_epoch(data, size.depth, device)
    except ImportError as error:
        raise NotDoneError(f"the plain recipe needs torchvision and Pillow ({error})") from None
    ours = step.our_epoch(data, size.depth, device)
    pairs = list(step.alternate(plain, ours, size.rounds))
    ratios = sorted(slow / fast for slow, fast in pairs)
    return {
        "plain ms a step": round(1000 * median(slow for slow, _ in pairs), 2),
        "our ms a step": round(1000 * median(fast for _, fast in pairs), 2),
        "ratio": round(median(ratios), 2),
        "lowest": round(ratios[0], 2),
        "highest": round(ratios[-1], 2),
    }


def evaluation(device: torch.device, size: Size) -> Found:
    """Time what csd.train does after a task: features of test images, and their R@1."""
    data = random_images(size.images)
    network = csd.models.build(f"resnet{size.depth}", n_classes=step.CLASSES).to(device)
    embedding, searching = [], []
    for _ in range(4):
        started = time.perf_counter()
        features, _ = csd.models.embed(network, data.images)
        embedded = time.perf_counter()
        csd.metrics.recall_at_k(features, data.labels, features, data.labels, exclude_self=True)
        embedding.append(embedded - started)
        searching.append(time.perf_counter() - embedded)
    return {
        "images": size.images,
        "seconds to embed": round(median(embedding[1:]), 3),
        "seconds for R@1, on the CPU": round(median(searching[1:]), 3),
    }


def cifar(
    name: str, results: Results, clock: Clock, device: torch.device, size: Size, options: argparse.Namespace
) -> Found:
    """Train a method on CIFAR-100 in 2 tasks, or go on with it."""
    data = checks.stripes(n_classes=10, train=40, test=8) if options.tiny else cifar_images(options.data)
    stream = csd.split(data, n_tasks=2, seed=0)
    schedule = results.found("cifar100", "schedule")
    if schedule is None:
        speed = results.found("speed", "a CSD step, auto")
        if speed is None:
            raise NotDoneError("the speed of a step is not known, by which the epochs are chosen")
        seconds = clock.left + (options.calls - 1) * 60 * 0.9 * options.minutes
        epochs = size.epochs or epochs_that_fit(seconds, speed["images per second"], stream)
        schedule = {"epochs": epochs, "later epochs": later_epochs(epochs), "seconds planned": round(seconds)}
        results.put(Work("cifar100", "schedule", dict), ok=True, found=schedule)
    config = csd.preset("cifar100", "lab").config.replace(
        network=f"resnet{size.depth}",
        epochs=schedule["epochs"],
        later_epochs=schedule["later epochs"],
        save_images=False,
        device=device.type,
    )

    def watch(records: Iterator[Record], progress: Progress) -> Iterator[Record]:
        for record in records:
            progress.count(record)
            if record["kind"] == "task":
                share = progress.done / progress.total
                print(f"         {name}: {share:.0%}, R@1 {record['overall']['recall_at_1']:.3f}", flush=True)
            yield record

    run = csd.train(stream, csd.methods.NAMED[name], config, out=options.out / "runs" / name, progress=watch)
    speeds = [record["images_per_second"] for record in run.records if record["kind"] == "epoch"]
    return {
        **run.metrics["summary"],
        "seen": run.metrics["recall_at_1"]["seen"],
        "task": run.metrics["recall_at_1"]["task"],
        "seconds": round(run.seconds, 1),
        "images per second": round(median(speeds)),
    }


def cifar_images(folder: Path | None) -> csd.Dataset:
    """Return CIFAR-100, from a folder that has it, whole or in parts, or from where csd.load looks; no download."""
    if folder is not None:
        os.environ["CSD_EDU_DATA"] = str(folder)
        if not (folder / "cifar100.npz").is_file():
            try:
                parts.join(folder, folder)
            except FileNotFoundError as error:
                raise NotDoneError(str(error)) from None
    folders = csd.data.data_folders()
    if not any((place / "cifar100.npz").is_file() for place in folders):
        raise NotDoneError(f"there is no cifar100.npz in {', '.join(map(str, folders))}; name its folder with --data")
    return csd.load("cifar100")


def later_epochs(epochs: int) -> int:
    """Return how many epochs a later task has: the share that it has in the preset for a GPU."""
    lab = csd.preset("cifar100", "lab").config
    return math.ceil(epochs * lab.later_epochs / lab.epochs)


def epochs_that_fit(seconds: float, images_per_second: float, stream: csd.Stream) -> int:
    """Return how many epochs the first task may have, so that all methods are trained in these seconds."""
    first, second = (stream.n_images(task) for task in range(2))

    def cost(epochs: int) -> float:
        images = 3 * (first * epochs + second * later_epochs(epochs)) + (first + second) * epochs  # and once jointly
        return 1.15 * images / images_per_second + 10 * len(CIFAR_METHODS)  # checkpoints; loading and evaluation

    return max((epochs for epochs in range(1, MOST_EPOCHS + 1) if cost(epochs) <= seconds), default=1)


# ----------------------------------------------------------------------------------------------------- what is told

MARKS = {True: "ok", False: "FAILED", None: "not done"}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.3f}".rstrip("0").rstrip(".")
    return "–" if value is None else " ".join(map(_short, value)) if isinstance(value, list) else str(value)


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Return lines of Markdown."""
    lines = [head, ["---"] * len(head), *([_short(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def markdown(plan: list[Work], results: Results, tiny: bool) -> str:
    """Return all results as Markdown."""

    def where(entry: dict[str, Any]) -> str:
        return f" ({entry['on']})" if len(places) > 1 else ""

    about = results.found("machine", "what it is") or {}
    places = sorted({entry["on"] for part in results.parts.values() for entry in part.values()})
    lines = [f"## {', '.join(places)}, {about.get('date', 'date unknown')}", ""]
    if tiny:
        lines += ["Tiny sizes and invented images, to see that all of it runs: the numbers mean nothing.", ""]
    lines += [", ".join(f"{key} {_short(value)}" for key, value in about.items() if key != "date"), ""]

    entries = {(work.part, work.name): results.parts.get(work.part, {}).get(work.name, {}) for work in plan}
    counts = []
    for part in dict.fromkeys(work.part for work in plan):
        marks = [entry.get("ok") for (of, _), entry in entries.items() if of == part]
        counts.append([part, *(marks.count(mark) for mark in (True, False, None))])
    lines += table(["part", "done", "failed", "not done"], counts)
    for (part, name), entry in entries.items():
        if not entry.get("ok"):
            lines.append(f"- {MARKS[entry.get('ok')]}: {part}, {name}: {entry.get('why', 'time was up')}")
    lines.append("")

    losses = {
        name: found for (part, name), entry in entries.items() if part == "losses" and (found := entry.get("found"))
    }
    if losses:
        kinds = list(next(iter(losses.values())))
        lines += ["Errors of losses against float64 on the CPU:", ""]
        lines += table(["loss, inputs", *kinds], [[name, *found.values()] for name, found in losses.items()])
    for (part, name), entry in entries.items():
        if part == "speed" and "found" in entry:
            numbers = ", ".join(f"{key} {_short(value)}" for key, value in entry["found"].items())
            lines.append(f"- {name}{where(entry)}: {numbers}")
    lines.append("")

    schedule = results.found("cifar100", "schedule")
    if schedule is not None:
        name = "Invented images" if tiny else "CIFAR-100"
        lines += [
            f"{name} in 2 tasks, ResNet-{TINY.depth if tiny else Size().depth}, batch 128, {schedule['epochs']} + "
            f"{schedule['later epochs']} epochs, one seed:",
            "",
        ]
        head = ["method", "R@1 seen", "task 0 / 1, seen", "task 0 / 1, task", "forgetting", "head accuracy", "seconds"]
        rows = []
        for method in sorted(CIFAR_METHODS, key=("finetune", "lwf", "csd", "joint").index):
            found = results.found("cifar100", method)
            if found is not None:
                seen, task = (" / ".join(_short(value) for value in found[name][-1]) for name in ("seen", "task"))
                row = [found["recall_at_1"], seen, task, found["forgetting"], found["head_accuracy"], found["seconds"]]
                rows.append([method + where(results.parts["cifar100"][method]), *row])
        lines += table(head, rows)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="stop after so many")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; go on if it has some")
    parser.add_argument("--data", type=Path, help="folder of cifar100.npz, whole or in parts (benchmarks/parts.py)")
    parser.add_argument("--calls", type=int, default=1, help="calls of so many minutes to come, with this one")
    parser.add_argument("--tiny", action="store_true", help="see in a minute, on a CPU, that all of it runs")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    clock = Clock(options.minutes)
    try:
        device = pick_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    if device.type == "cpu":
        keep_freed_memory()
    results = Results(options.out, device)
    work = plan(results, clock, device, TINY if options.tiny else Size(), options)
    complete = work_through(work, results, clock)
    text = markdown(work, results, options.tiny)
    (options.out / "results.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{options.out / 'results.md'}: " + ("complete" if complete else "the same call again goes on"))
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
