"""Can a network dream its past? Replay of invented images, against none, and against real ones in as many bytes.

    python benchmarks/dreams.py --out runs/dreams [--seeds 0 1 2 3 4] [--jobs 1] [--table-only] [--quick]
    python benchmarks/dreams.py --gpu --out runs/dreams-cifar100

Digits in five tasks, ResNet-8. The learning rate of each method is chosen first, among four values that are the same
for all, and where a method has a weight of its own, that one among three with each of the rates; on held-out images of
the first two tasks, with other seeds than those compared. Then all are trained with every seed, the means
and the differences paired by seed are printed, each with its 95 % interval (Student's t), and all numbers are written
to csd_edu/measured/dreams.json. Every run continues where it stopped. Five seeds take about an hour of one core;
--quick only shows that all of it works, in half a minute, and writes its numbers into its own folder.

--gpu trains on CIFAR-100 in five tasks with a ResNet-32 and 3,000 steps for each generator, with the settings as they
are, into FOLDER/dreams.json. That has not been measured yet.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the other experiments

import csd_edu as csd
from benchmarks import neighbours
from csd_edu import results, tuning
from csd_edu.comparison import in_bytes
from csd_edu.files import read_json, write_json
from csd_edu.generator import Generator, n_bytes, worth_in_images
from csd_edu.results import Results
from csd_edu.sweep import Job, sweep
from csd_edu.tuning import first_two

FOUND = results.SHIPPED / "dreams.json"
METRICS = ("head_accuracy", "recall_at_1")
WITH_CSD = "genifer and csd"
METHODS = ("finetune", "lwf", "pixel_gan", "genifer", WITH_CSD, "er")
PAIRS = (
    ("lwf", "finetune"),
    ("genifer", "finetune"),
    ("genifer", "lwf"),
    ("pixel_gan", "lwf"),
    ("genifer", "pixel_gan"),
    (WITH_CSD, "genifer"),
    ("genifer", "er"),
)
"""Compared with each other: old answers with none, dreams with none, features with pixels, CSD with none, dreams with
real images in as many bytes."""

DREAMING = {
    "pixel_gan": csd.methods.PixelGAN(),
    "genifer": csd.methods.Genifer(),
    WITH_CSD: csd.methods.Genifer(feature=0.1),  # as it was chosen for genifer: CSD alone is between the two
}

GRID: Mapping[str, Mapping[str, Sequence[float]]] = {
    **{name: neighbours.GRID[name] for name in METHODS if name != WITH_CSD},
    WITH_CSD: {**neighbours.LATER, "csd": (0.1, 0.3, 1)},
}
"""What is tried for each method: the same rates, and three values of a weight of its own, where it has one."""


@dataclass(frozen=True)
class Plan:
    """What is trained, and how.

    Attributes:
        dataset, per_class: as `csd.load` takes them.
        config: of all runs.
        gan: settings of the methods that have a generator.
        seeds, tuning_seeds: those compared, and those that settings are chosen with; without any, nothing is chosen.
        found: where the numbers go.
        methods: which are trained.
    """

    dataset: str
    config: csd.Config
    gan: Mapping[str, Any]
    seeds: Sequence[int]
    tuning_seeds: Sequence[int]
    found: Path
    per_class: int | None = None
    methods: Sequence[str] = METHODS

    def data(self) -> csd.Dataset:
        """Return the dataset."""
        return csd.load(self.dataset, per_class=self.per_class, at_most=True)

    def stream(self, seed: int, validation: float = 0.0) -> csd.Stream:
        """Return it in five tasks."""
        return csd.split(self.data(), n_tasks=5, seed=seed, validation=validation)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return what the command line asks for."""
    config, gan = csd.preset("digits").config.replace(later_epochs=12, device="cpu"), {}
    plan = Plan("digits", config, gan, tuple(options.seeds), (101, 102), FOUND)
    if options.gpu:
        config = csd.preset("cifar100", "lab").config
        gan = {"gan_steps": 3000, "width": 96, "ema": 0.999, "record_every": 500, "shown": 1}
        methods = tuple(name for name in METHODS if name != WITH_CSD)  # nothing is chosen here, and it needs a weight
        plan = dataclasses.replace(plan, dataset="cifar100", config=config, gan=gan, tuning_seeds=(), methods=methods)
    if options.quick:
        config = plan.config.replace(epochs=1, later_epochs=1, network="resnet8", batch_size=16, device="cpu")
        gan = {**plan.gan, "gan_steps": 2, "gan_batch": 8, "width": 6, "record_every": 1}
        seeds, tuning_seeds = plan.seeds[:2], plan.tuning_seeds[:1]
        plan = dataclasses.replace(plan, config=config, gan=gan, seeds=seeds, tuning_seeds=tuning_seeds, per_class=10)
    return dataclasses.replace(plan, found=options.out / FOUND.name) if options.quick or options.gpu else plan


def job(plan: Plan, name: str, stream: csd.Stream, seed: int, folder: Path, **changed: float) -> Job:
    """Return what is to be trained; `changed` are settings of the method or of the config."""
    later_lr = changed.pop("later_lr", plan.config.later_lr)
    config = plan.config.replace(seed=seed, later_lr=later_lr)
    method: csd.methods.AnyMethod
    if name == "er":
        method = csd.methods.ER(held(plan, stream))
    elif name in DREAMING:
        method = dataclasses.replace(DREAMING[name], **{**plan.gan, **changed})
    elif changed:
        method = tuning.with_setting(name, *next(iter(changed.items())))
    else:
        method = csd.methods.NAMED[name]
    return Job(stream, method, config, folder)


def held(plan: Plan, stream: csd.Stream) -> int:
    """Return how many real images are replayed: as many as the generator's bytes hold, or all there are."""
    width = plan.gan.get("width", csd.methods.Genifer.width)
    generator = Generator(stream.image_shape, len(stream.classes), width=width)
    n_images = len(stream.train(*range(stream.n_tasks)).labels)
    return min(worth_in_images(n_bytes(generator), stream.image_shape), n_images)


def choose(plan: Plan, out: Path, n_jobs: int | None) -> dict[str, Any]:
    """Try the whole grid, and return for each method the settings tried, their scores, and which were chosen."""
    streams = {seed: first_two(plan.stream(seed, validation=0.25)) for seed in plan.tuning_seeds}

    def one(name: str, settings: Mapping[str, float], seed: int, folder: Path) -> Job:
        return job(plan, name, streams[seed], seed, folder, **settings)

    if not streams:
        return {}
    return tuning.as_json(tuning.try_all(GRID, one, neighbours.score, plan.tuning_seeds, out / "tuning", n_jobs=n_jobs))


def train(plan: Plan, out: Path, chosen: Mapping[str, Mapping[str, Any]], n_jobs: int | None) -> None:
    """Train what is not there yet, one seed after the other."""
    for seed in plan.seeds:
        print(f"seed {seed}:", flush=True)
        stream = plan.stream(seed)
        jobs = {}
        for name in plan.methods:
            changed = chosen[name]["chosen"] if name in chosen else {}
            jobs[name] = job(plan, name, stream, seed, out / f"seed{seed}" / name, **changed)
        sweep(jobs, n_jobs=n_jobs)


def finished(plan: Plan, out: Path) -> dict[int, dict[str, csd.Run]]:
    """Return the runs by seed and method, of the seeds of which all are finished."""
    found: dict[int, dict[str, csd.Run]] = {}
    for seed in plan.seeds:
        folders = {name: out / f"seed{seed}" / name for name in plan.methods}
        if all((folder / "metrics.json").exists() for folder in folders.values()):
            runs = {name: csd.Run.load(folder) for name, folder in folders.items()}
            if all(run.finished for run in runs.values()):
                found[seed] = runs
    return found


def results_of(plan: Plan, runs: Mapping[int, Mapping[str, csd.Run]], chosen: Mapping[str, Any]) -> Results:
    """Return what was found; `runs` are by seed and method."""
    stream = plan.stream(next(iter(runs)))
    of_methods = {name: [by_name[name] for by_name in runs.values()] for name in plan.methods}
    return Results(
        about=f"{plan.dataset} in {stream.n_tasks} tasks; {plan.config.network}, {plan.config.epochs} epochs of the "
        f"first task and {plan.config.later_epochs} of each later one",
        command="python benchmarks/dreams.py" + " --gpu" * (plan.dataset != "digits"),
        seeds=tuple(runs),
        values={
            name: {
                **{measure: [run.metrics["summary"][measure] for run in of] for measure in METRICS},
                "seconds": [run.seconds for run in of],
            }
            for name, of in of_methods.items()
        },
        notes={
            "bytes": {name: sum((of[0].kept_bytes or {}).values()) for name, of in of_methods.items()},
            "real images": {
                "held": held(plan, stream),
                "different": [n_different(run) for run in of_methods["er"]],
                "in all": len(stream.train(*range(stream.n_tasks)).labels),
            },
            "settings": dict(plan.gan),
            "tuning": {"metric": neighbours.METRIC, "seeds": list(plan.tuning_seeds), "methods": dict(chosen)},
        },
    )


def n_different(run: csd.Run) -> int:
    """Return how many different images the memory holds: each epoch offers them anew, so that some come in twice."""
    images = run.kept()["memory"]["rows"]["images"]  # (N, C, H, W)
    return len(images.flatten(1).unique(dim=0))


def table(found: Results) -> str:
    """Return the tables in Markdown."""
    held, in_all = found.notes["real images"]["held"], found.notes["real images"]["in all"]
    different = found.notes["real images"]["different"]
    tuned = found.notes["tuning"]["methods"]
    lines = [
        f"{found.about}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the 95 % interval.",
        f"`er` has room for {held:,} real images of {in_all:,}: "
        + ("all there are take no more bytes than the generator." if held == in_all else "the generator's bytes.")
        + f" They come by in each epoch, and {min(different):,} to {max(different):,} different ones are in it.",
        "",
        found.table([*METRICS, "seconds"]),
        "",
        "| method | chosen | keeps |",
        "| --- | --- | --- |",
    ]
    for name, n in found.notes["bytes"].items():
        chosen = tuning.in_words(tuned[name]["chosen"] if name in tuned else {})
        lines.append(f"| {name} | {chosen} | {in_bytes({name: n})} |")
    return "\n".join([*lines, "", found.differences(PAIRS, METRICS)])


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, default=Path("runs/dreams"), help="folder of the runs")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="(default: 0 to 4)")
    found.add_argument("--jobs", type=int, help="trainings at a time (default: one for each core)")
    found.add_argument("--gpu", action="store_true", help="CIFAR-100, on a GPU")
    found.add_argument("--quick", action="store_true", help="tiny runs, only to see that all of it works")
    found.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    plan = plan_of(options)
    n_jobs = 1 if options.gpu else options.jobs
    tuned = options.out / "tuning.json"
    if not options.table_only:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(tuned, choose(plan, options.out, n_jobs))
        train(plan, options.out, read_json(tuned), n_jobs)
    runs = finished(plan, options.out)
    if not runs:
        raise SystemExit(f"no seed is complete in {options.out}; call without --table-only")
    found = results_of(plan, runs, read_json(tuned))
    found.write(plan.found)
    print(table(found))


if __name__ == "__main__":
    main()
