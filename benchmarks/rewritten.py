"""May one rewrite one's memories? DER++ against X-DER and X-DER without one part each, on glyphs in five tasks.

    python benchmarks/rewritten.py [--out runs/rewritten] [--seeds 5] [--jobs 2] [--only "DER++" ...]
    python benchmarks/rewritten.py --hinges                       # two controls more, into the results that are there
    python benchmarks/rewritten.py --quick                        # a try of a minute or two: few images and epochs
    python benchmarks/rewritten.py --gpu [--minutes 9]            # CIFAR-100 in ten tasks, beside the published numbers

Glyphs at 24 px, a memory of 200, ResNet-8, 8 epochs of the first task and 4 of each later one. First each method is
tuned: at four points of its own, each with the tuning seeds, it learns the first two of the five tasks with a quarter
of the images held out, and the point whose head names most of those rightly is taken. Then each is trained with it, on
other seeds and all images; X-DER without a part also with the weights that were chosen for X-DER, where those are
others. Two controls have the weights of X-DER only: without any hinge, and without the past hinge and the future. For
the hinges pull against each other, and who takes one away lets the other win. The table has head accuracy, Recall@1 and
the share of the test images that is said to be of each task; paired differences have 95 % intervals (Student's t). It
is written to csd_edu/measured/rewritten.json, too. The same call again goes on where it stopped.

The GPU part is not tuned: weights are those of the released code, as far as they have their place here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import torch

import csd_edu as csd
from csd_edu import models
from csd_edu.files import write_json
from csd_edu.methods import DERPP, XDER, AnyMethod
from csd_edu.results import SHIPPED, Results, read

RESULTS = SHIPPED / "rewritten.json"
MEASURES = ("head_accuracy", "recall_at_1")
SIZE = 200
TUNING_SEEDS = (101, 102)
HELD_OUT = 0.25
BASE = "DER++"

Point = Mapping[str, float]
Found = dict[str, Any]


@dataclass(frozen=True)
class Rival:
    """A method, and the points at which it is tried."""

    make: Callable[..., AnyMethod]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[float]] = field(default_factory=lambda: {"alpha": (0.1, 0.3), "eta": (0.1, 0.3)})

    def points(self) -> list[Point]:
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def at(self, point: Point, size: int) -> AnyMethod:
        return self.make(size=size, **self.fixed, **point)


RIVALS = {
    BASE: Rival(DERPP, grid={"alpha": (0.1, 0.3), "beta": (0.5, 1.0)}),
    "X-DER": Rival(XDER),
    "X-DER, no past hinge": Rival(XDER, {"past_hinge": False}),
    "X-DER, no rewriting": Rival(XDER, {"rewrite": False}),
    "X-DER, no future": Rival(XDER, {"future": False}),
    "X-DER and CSD": Rival(XDER, {"eta": 0.1}, grid={"alpha": (0.1, 0.3), "csd": (0.5, 1.0)}),
}
"""Each has a grid of 2 × 2. Without the future η is the weight of the past hinge alone."""

CONTROLS = tuple(name for name in RIVALS if name.startswith("X-DER,"))
"""X-DER without one part each."""


WITHOUT_HINGES: Mapping[str, Mapping[str, Any]] = {
    "X-DER, no hinge": {"eta": 0.0},
    "X-DER, no past hinge, no future": {"past_hinge": False, "future": False},
}
"""Controls with the weights of X-DER, in which no hinge is left to pull alone."""


def at_its_weights(name: str) -> str:
    """Return what a control is called with the weights that were chosen for X-DER."""
    return f"{name}, weights of X-DER"


PAIRS = (
    *((name, BASE) for name in RIVALS if name != BASE),
    *(("X-DER", name) for name in RIVALS if name not in (BASE, "X-DER")),
    *(("X-DER", at_its_weights(name)) for name in CONTROLS),
    *(("X-DER", name) for name in WITHOUT_HINGES),
    *((name, BASE) for name in WITHOUT_HINGES),
    ("X-DER, no hinge", "X-DER, no past hinge"),
    ("X-DER, no past hinge, no future", at_its_weights("X-DER, no future")),
)


@dataclass(frozen=True)
class Work:
    """A training: all tasks, or the first two with images held out."""

    data: csd.Dataset
    split: Mapping[str, Any]
    method: AnyMethod
    config: csd.Config
    out: Path
    tuning: bool = False

    def stream(self) -> csd.Stream:
        held_out = HELD_OUT if self.tuning else 0.0
        return csd.split(self.data, **self.split, seed=self.config.seed, validation=held_out)


def done(work: Work) -> Found:
    """Train, or go on, and return what came of it; of a tuning the head's accuracy on the images held out."""
    if work.config.device == "cpu":
        torch.set_num_threads(1)
    stream, result = work.stream(), work.out / "found.json"
    if result.exists():
        found: Found = json.loads(result.read_text(encoding="utf-8"))
        return found
    records = csd.training(stream, work.method, work.config, out=work.out)
    run, wanted = csd.Run.load(work.out), 2 if work.tuning else stream.n_tasks
    with contextlib.closing(records):
        while run.tasks_learnt < wanted:
            next(records)
    run = csd.Run.load(work.out)
    found = tuned(run, stream) if work.tuning else measured(run, stream)
    write_json(result, found)
    return found


def tuned(run: csd.Run, stream: csd.Stream) -> Found:
    """Return how many of the held-out images of the first two tasks the head names rightly after the second."""
    images, labels = stream.held_out(0, 1)
    logits = models.embed(run.network(1), images)[1]
    return {"score": float((logits[:, : stream.n_seen[1]].argmax(dim=1) == labels).double().mean())}


def measured(run: csd.Run, stream: csd.Stream) -> Found:
    """Return what a finished run has learnt."""
    last, summary = stream.n_tasks - 1, run.metrics["summary"]
    said = stream.task_of_class[run.predictions(last)]  # of which task each test image is said to be
    return {
        "head_accuracy": summary["head_accuracy"],
        "recall_at_1": summary["recall_at_1"],
        "shares": (said.bincount(minlength=stream.n_tasks).double() / len(said)).tolist(),
        "seconds": sum(record.get("seconds", 0.0) for record in run.records),
        "kept_bytes": run.kept_bytes,
    }


def all_done(works: Mapping[str, Work], jobs: int) -> dict[str, Found]:
    """Do all the work, so many at a time, and say so."""
    found = joblib.Parallel(n_jobs=jobs, return_as="generator")(joblib.delayed(done)(work) for work in works.values())
    results = {}
    for name, of in zip(works, found, strict=True):
        results[name] = of
        told = [f"{key} {value:.3f}" for key, value in of.items() if isinstance(value, float)]
        print(f"{name}: {', '.join(told)}", flush=True)
    return results


def folder(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def glyphs(quick: bool) -> tuple[csd.Dataset, dict[str, Any], csd.Config]:
    """Return the images, how they are split, and how they are trained with."""
    preset = csd.preset("glyphs")
    config = preset.config.replace(device="cpu", epochs=1 if quick else 8, later_epochs=1 if quick else 4)
    data = csd.load("glyphs", per_class=8 if quick else preset.per_class, at_most=True, image_size=preset.image_size)
    return data, preset.in_tasks(), config


def compared(
    data: csd.Dataset,
    split: Mapping[str, Any],
    config: csd.Config,
    *,
    out: Path,
    names: Iterable[str],
    seeds: int,
    jobs: int,
    tuning_seeds: Sequence[int] = TUNING_SEEDS,
    size: int = SIZE,
) -> Found:
    """Tune each method, train it at its point with each seed, and return all that was found."""
    names = list(names)
    tries = {
        f"tuning: {name}, {_told(point)}, seed {seed}": (name, k, seed)
        for seed, name in product(tuning_seeds, names)
        for k, point in enumerate(RIVALS[name].points())
    }
    works = {
        told: Work(
            data,
            split,
            RIVALS[name].at(RIVALS[name].points()[k], size),
            config.replace(seed=seed),
            out / "tuning" / f"seed{seed}" / f"{folder(name)}-{k}",
            tuning=True,
        )
        for told, (name, k, seed) in tries.items()
    }
    scores = all_done(works, jobs)
    tuning = {}
    for name in names:
        points = RIVALS[name].points()
        of = [
            [scores[t]["score"] for t, (n, at, _) in tries.items() if (n, at) == (name, k)] for k in range(len(points))
        ]
        best = max(range(len(points)), key=lambda k: sum(of[k]))
        tuning[name] = {"points": points, "scores": of, "chosen": points[best]}
    methods = {name: RIVALS[name].at(tuning[name]["chosen"], size) for name in names}
    of_xder = tuning.get("X-DER", {}).get("chosen")
    for name in CONTROLS:  # with other weights a control differs in more than the part that it is without
        if of_xder and name in names and tuning[name]["chosen"] != of_xder:
            methods[at_its_weights(name)] = RIVALS[name].at(of_xder, size)
    if of_xder:
        methods |= without_hinges(of_xder, size)
    runs = of_seeds(methods, range(seeds), data, split, config, out=out, jobs=jobs)
    return {"seeds": list(range(seeds)), "tuning_seeds": list(tuning_seeds), "tuning": tuning, "runs": runs}


def without_hinges(point: Point, size: int) -> dict[str, AnyMethod]:
    """Return the controls without hinges at a point of X-DER."""
    return {name: XDER(size=size, **{**point, **changed}) for name, changed in WITHOUT_HINGES.items()}


def of_seeds(
    methods: Mapping[str, AnyMethod],
    seeds: Sequence[int],
    data: csd.Dataset,
    split: Mapping[str, Any],
    config: csd.Config,
    *,
    out: Path,
    jobs: int,
) -> dict[str, list[Found]]:
    """Train each method with each seed, and return what was found."""
    works = {
        f"{name}, seed {seed}": Work(data, split, method, config.replace(seed=seed), out / f"seed{seed}" / folder(name))
        for seed, (name, method) in product(seeds, methods.items())
    }
    found = all_done(works, jobs)
    return {name: [found[f"{name}, seed {seed}"] for seed in seeds] for name in methods}


def results_of(found: Found, config: csd.Config) -> Results:
    """Return what was found as all experiments do."""
    first = next(iter(found["runs"].values()))[0]
    return Results(
        about=f"Glyphs at 24 px in {len(first['shares'])} tasks, memories of {SIZE}; {config.network}, {config.epochs} "
        f"epochs of the first task and {config.later_epochs} of each later one",
        command="python benchmarks/rewritten.py",
        seeds=tuple(found["seeds"]),
        values=values_of(found["runs"]),
        notes={
            "bytes": bytes_of(found["runs"]),
            "tuning": {"seeds": found["tuning_seeds"], "methods": found["tuning"]},
        },
    )


def values_of(runs: Mapping[str, Sequence[Found]]) -> dict[str, dict[str, list[float]]]:
    """Return the numbers by method and measure."""
    return {
        name: {
            **{measure: [one[measure] for one in of] for measure in (*MEASURES, "seconds")},
            **{f"share of task {task}": [one["shares"][task] for one in of] for task in range(len(of[0]["shares"]))},
        }
        for name, of in runs.items()
    }


def bytes_of(runs: Mapping[str, Sequence[Found]]) -> dict[str, int]:
    """Return what each method keeps."""
    return {name: sum(of[0]["kept_bytes"].values()) for name, of in runs.items()}


def with_controls(there: Results, out: Path, jobs: int) -> Results:
    """Return results with the controls without hinges, trained at the point that was chosen for X-DER in them."""
    methods = without_hinges(there.notes["tuning"]["methods"]["X-DER"]["chosen"], SIZE)
    runs = of_seeds(methods, there.seeds, *glyphs(quick=False), out=out, jobs=jobs)
    notes = {**there.notes, "bytes": {**there.notes["bytes"], **bytes_of(runs)}}
    return replace(there, values={**there.values, **values_of(runs)}, notes=notes)


def table(found: Results) -> str:
    """Return the tables in Markdown."""
    shares = [measure for measure in next(iter(found.values.values())) if measure.startswith("share")]
    tuned = found.notes["tuning"]["methods"]
    return "\n".join(
        [
            f"{found.about}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the 95 % interval.",
            "",
            found.table([*MEASURES, "seconds"]),
            "",
            f"Share of the test images said to be of each task, true {1 / len(shares):.2f}:",
            "",
            found.table(shares),
            "",
            *[f"{name}: {_told(tuned[name]['chosen'])}" for name in tuned],
            "",
            found.differences(PAIRS, MEASURES),
        ]
    )


def _told(point: Point) -> str:
    return " ".join(f"{name} {value:g}" for name, value in point.items())


# ------------------------------------------------------------------------------------------------------ on a GPU

PUBLISHED = {
    (BASE, 500): 0.3825,
    (BASE, 2000): 0.5363,
    ("X-DER", 500): 0.4993,
    ("X-DER", 2000): 0.5914,
}
"""Final average accuracy on CIFAR-100 in 10 tasks, by method and memory: ResNet-18, SGD, 50 epochs, batches of 32."""

RELEASED: dict[tuple[str, int], dict[str, Any]] = {
    (BASE, 500): {"alpha": 0.1, "beta": 0.5},
    (BASE, 2000): {"alpha": 0.1, "beta": 0.5},
    ("X-DER", 500): {"alpha": 0.3, "beta": 0.8},
    ("X-DER", 2000): {"alpha": 0.6, "beta": 0.9, "margin": 0.2},
}
"""The weights of the released code, but for η: that found there for memory 500, 0.001, would switch the hinges off."""

GPU_CONFIG = csd.Config(network="resnet32", epochs=8, later_epochs=8, lr=1e-2, later_lr=1e-2, batch_size=128, flip=True)


def photographs(
    data: csd.Dataset,
    config: csd.Config,
    *,
    out: Path,
    minutes: float,
    n_tasks: int = 10,
    sizes: Sequence[int] = (500, 2000),
) -> dict[str, Found]:
    """Train the methods on photographs with each size of the memory, until time is up; return what is finished."""
    end, found = time.monotonic() + 60 * minutes, {}
    for size in sizes:
        for name in (BASE, "X-DER", "X-DER, no past hinge"):
            weights = RELEASED.get((name.partition(",")[0], size), {})
            work = Work(
                data, {"n_tasks": n_tasks}, RIVALS[name].at(weights, size), config, out / f"{folder(name)}-{size}"
            )
            there = (work.out / "found.json").exists()
            if there or (time.monotonic() < end and finished(work, end)):
                found[f"{name}, {size}"] = done(work)
    return found


def finished(work: Work, end: float) -> bool:
    """Train until the run is finished, or time is up; the next call goes on from there."""
    with contextlib.closing(csd.training(work.stream(), work.method, work.config, out=work.out)) as records:
        for _ in records:
            if time.monotonic() > end:
                return csd.Run.load(work.out).finished
    return True


def table_of_photographs(found: Mapping[str, Found], config: csd.Config) -> str:
    """Return the table in Markdown, with the published numbers beside: of another network and another schedule."""
    lines = [
        f"{config.network}, {config.epochs} epochs, batches of {config.batch_size}, one seed; published: ResNet-18, "
        "50 epochs, batches of 32",
        "",
        "| method, memory | head accuracy | published | R@1 | share said to be of the last task | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for told, of in found.items():
        name, size = told.rsplit(", ", 1)
        published = PUBLISHED.get((name, int(size)))
        lines.append(
            f"| {told} | {of['head_accuracy']:.3f} | {'' if published is None else f'{published:.3f}'} | "
            f"{of['recall_at_1']:.3f} | {of['shares'][-1]:.2f} | {of['seconds']:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/rewritten"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--only", nargs="+", choices=list(RIVALS), default=list(RIVALS), help="these methods")
    parser.add_argument("--hinges", action="store_true", help="only the controls without hinges, into the JSON file")
    parser.add_argument("--quick", action="store_true", help="few images, an epoch of each task, one seed")
    parser.add_argument("--gpu", action="store_true", help="CIFAR-100 on this machine's GPU instead")
    parser.add_argument("--minutes", type=float, default=9, help="for the GPU part")
    parser.add_argument("--epochs", type=int, default=GPU_CONFIG.epochs, help="of each task in the GPU part")
    options = parser.parse_args(arguments)

    if options.gpu:
        config = GPU_CONFIG.replace(epochs=options.epochs, later_epochs=options.epochs)
        found = photographs(csd.load("cifar100"), config, out=options.out / "cifar100", minutes=options.minutes)
        write_json(options.out / "cifar100.json", found)
        print(table_of_photographs(found, config))
        return
    if options.hinges:
        both = with_controls(read(options.results), options.out, options.jobs)
        both.write(options.results)
        print(table(both))
        return
    out = options.out / "quick" if options.quick else options.out
    seeds, tuning_seeds = (1, TUNING_SEEDS[:1]) if options.quick else (options.seeds, TUNING_SEEDS)
    found = compared(
        *glyphs(options.quick),
        out=out,
        names=options.only,
        seeds=seeds,
        jobs=options.jobs,
        tuning_seeds=tuning_seeds,
    )
    measured = results_of(found, glyphs(options.quick)[2])
    measured.write(out / "rewritten.json" if options.quick else options.results)
    print(table(measured))


if __name__ == "__main__":
    main()
