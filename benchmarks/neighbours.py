"""What does it take to remember? All methods of the kit on one stream: what they reach, and the bytes that they keep.

    python benchmarks/neighbours.py [--out runs/neighbours] [--seeds 0 1 2 3 4] [--jobs 2] [--table-only] [--quick]

Digits in five tasks, ResNet-8. The learning rate of each method is chosen first, among four values that are the same
for all, and where a method has a weight of its own, that one among three with each of the rates; on held-out images of
the first two tasks, with other seeds than those compared. Then all are trained with every seed. The table has Recall@1,
head accuracy and bytes; it is written to csd_edu/measured/neighbours.json, which `pictures.recall_against_bytes` draws.
Every run continues where it stopped. --quick only shows that all of it works, and writes into its own folder.

Three methods learn from images without a label, of which this stream has none: they get it with ten labels a class,
and what the labels give by themselves stands beside them. `kd` is not there: it needs a teacher from elsewhere. What
was taught nothing is there as well: the cosine of raw pixels, and a network as it is before the first step. --untaught
measures these two alone, and puts them beside the numbers that are there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import csd_edu as csd
from csd_edu import results, tuning
from csd_edu.comparison import in_bytes
from csd_edu.files import read_json, write_json
from csd_edu.methods import NAMED
from csd_edu.results import Results
from csd_edu.sweep import Job, sweep
from csd_edu.untaught import recall_untaught

FOUND = results.SHIPPED / "neighbours.json"
METRICS = ("recall_at_1", "head_accuracy")
METRIC = "mean of head accuracy and Recall@1 on held-out images of the first two tasks, after the second"
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (101, 102)
LABELS = 10  # a class, for the methods that learn from images without one
CONFIG = csd.preset("digits").config.replace(later_epochs=12, device="cpu")
QUICK = CONFIG.replace(epochs=1, later_epochs=1, batch_size=16)

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
WEIGHTS = (1, 5, 20)
LATER = {"later_lr": RATES}
ANEW = {"lr": RATES}
GRID: Mapping[str, Mapping[str, Sequence[float]]] = {
    "finetune": LATER,
    "frozen": {},
    "lwf": {**LATER, "weight": WEIGHTS},
    "mmd": {**LATER, "weight": WEIGHTS},
    "feature_distillation": {**LATER, "weight": (2, 10, 50)},
    "fe": {**LATER, "weight": (2, 10, 50)},
    "supcon": {**LATER, "distillation": WEIGHTS},
    "csd": {**LATER, "distillation": WEIGHTS},
    "er": LATER,
    "gdumb": ANEW,
    "der": {**LATER, "alpha": (0.1, 0.3, 1)},
    "derpp": {**LATER, "alpha": (0.1, 0.3, 1)},
    "xder": {**LATER, "alpha": (0.1, 0.3, 1)},
    "csd_memory": {**LATER, "weight": WEIGHTS},
    "random_images": ANEW,
    "herding": ANEW,
    "dm": ANEW,
    "genifer": {**LATER, "feature": (0.02, 0.1, 0.5)},
    "pixel_gan": {**LATER, "feature": (0.02, 0.1, 0.5)},
    "joint": ANEW,
    "labels_only": LATER,
    "csl": {**LATER, "label_weight": (0.005, 0.1, 1)},
    "nncsl": {**LATER, "label_weight": (0.005, 0.1, 1)},
}
"""What is tried for each method: the same rates, and three values of a weight of its own, where it has one.

The first task has the preset's rate in all that go on from there, and no choice moves it. What begins anew with every
task, or has but one, is trained with `lr` throughout. What is frozen after the first task has nothing to choose.
"""

FEW_LABELS = ("labels_only", "csl", "nncsl")

FIXED: Mapping[str, Mapping[str, Any]] = {"gdumb": {"size": 200}}
"""Settings without a default."""

MEMORIES = ("er", "gdumb", "der", "derpp", "xder", "csd_memory", *FEW_LABELS)
GENERATORS = ("genifer", "pixel_gan")
TINY: Mapping[str, Mapping[str, Any]] = {
    **{name: {"size": 20} for name in MEMORIES},
    **{name: {"gan_steps": 2, "gan_batch": 8, "width": 6, "record_every": 1} for name in GENERATORS},
    "random_images": {"per_class": 1, "per_epoch": 20},
    "herding": {"per_class": 1, "per_epoch": 20, "epochs": 1},
    "dm": {"per_class": 1, "per_epoch": 20, "iterations": 2, "batch": 4},
}
"""Settings of --quick."""


def stream_of(data: csd.Dataset, name: str, seed: int, validation: float = 0.0) -> csd.Stream:
    """Return the digits in five tasks, with as many labels as the method is to see."""
    labelled = LABELS if name in FEW_LABELS else None
    return csd.split(data, n_tasks=5, seed=seed, validation=validation, labelled=labelled)


def job(stream: csd.Stream, name: str, settings: Mapping[str, float], seed: int, folder: Path, quick: bool) -> Job:
    """Return what is to be trained: a method with some settings, its own ones and those of the config."""
    rates = {setting: value for setting, value in settings.items() if setting in ("lr", "later_lr")}
    config = (QUICK if quick else CONFIG).replace(seed=seed, **rates)
    fixed = {**FIXED.get(name, {}), **(TINY.get(name, {}) if quick else {})}
    method = NAMED[name]
    for setting in settings.keys() - rates.keys():
        method = tuning.with_setting(name, setting, settings[setting])
    if fixed:
        method = dataclasses.replace(method, **fixed)  # type: ignore[type-var]  # those with settings of this kind
    return Job(stream, method, config, folder)


def choose(data: csd.Dataset, out: Path, n_jobs: int | None, quick: bool) -> dict[str, Any]:
    """Try the whole grid, and return for each method the settings tried, their scores, and which were chosen."""
    seeds = TUNING_SEEDS[: 1 if quick else None]
    streams = {
        (few, seed): tuning.first_two(stream_of(data, name, seed, validation=0.25))
        for seed in seeds
        for few, name in ((True, FEW_LABELS[0]), (False, "finetune"))
    }

    def one(name: str, settings: Mapping[str, float], seed: int, folder: Path) -> Job:
        return job(streams[name in FEW_LABELS, seed], name, settings, seed, folder, quick)

    grid = {name: of for name, of in GRID.items() if of}
    return tuning.as_json(tuning.try_all(grid, one, score, seeds, out / "tuning", n_jobs=n_jobs))


def score(run: csd.Run) -> float:
    """Return what settings are chosen by."""
    return sum(run.metrics["summary"][metric] for metric in METRICS) / len(METRICS)


def called(name: str) -> str:
    """Return how a method is called in the results."""
    return f"{name} ({LABELS} labels a class)" if name in FEW_LABELS else name


def untaught(data: csd.Dataset, seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Return what raw pixels reach, and a network before its first step; neither has a head, and nothing is kept."""
    found = [recall_untaught(stream_of(data, "finetune", seed), CONFIG.replace(seed=seed)) for seed in seeds]
    recalls = {name: [of[name] for of in found] for name in found[0]}
    return {name: {"recall_at_1": of, "bytes": [0.0] * len(of)} for name, of in recalls.items()}


def results_of(
    data: csd.Dataset, runs: Mapping[str, Sequence[csd.Run]], seeds: Sequence[int], chosen: Mapping[str, Any]
) -> Results:
    """Return what was found; `runs` are by method, one for each seed."""
    first = runs["finetune"][0]
    config = csd.Config(**first.description["config"])
    return Results(
        about=f"Digits in {first.n_tasks} tasks; {config.network}, {config.epochs} epochs of the first task and "
        f"{config.later_epochs} of each later one",
        command="python benchmarks/neighbours.py",
        seeds=tuple(seeds),
        values={
            called(name): {
                **{measure: [run.metrics["summary"][measure] for run in of] for measure in METRICS},
                "bytes": [sum((run.kept_bytes or {}).values()) for run in of],
                "seconds": [run.seconds for run in of],
            }
            for name, of in runs.items()
        }
        | untaught(data, seeds),
        notes={"tuning": {"metric": METRIC, "seeds": list(TUNING_SEEDS), "methods": dict(chosen)}},
    )


def table(found: Results) -> str:
    """Return the table in Markdown."""
    tuned = found.notes["tuning"]["methods"]
    lines = [
        f"{found.about}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the 95 % interval.",
        "",
        "| method | chosen | keeps | Recall@1 | head accuracy | − fine-tuning, Recall@1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, of in found.values.items():
        chosen = tuned.get(name.partition(" (")[0], {"chosen": {}})["chosen"]
        cells = [
            tuning.in_words(chosen),
            in_bytes({"kept": round(max(of["bytes"]))}),
            *(str(found.interval(name, measure)) if measure in of else "–" for measure in METRICS),
            "" if name == "finetune" else found.difference(name, "finetune", "recall_at_1").signed(),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/neighbours"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(default: 0 to 4)")
    parser.add_argument("--jobs", type=int, help="trainings at a time (default: one for each core)")
    parser.add_argument("--quick", action="store_true", help="tiny runs, only to see that all of it works")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    parser.add_argument("--untaught", action="store_true", help="only raw pixels and an untrained network, anew")
    options = parser.parse_args(arguments)
    data = csd.load("digits", per_class=40 if options.quick else None, at_most=options.quick)
    if options.untaught:
        there = results.read("neighbours")
        found = dataclasses.replace(there, values={**there.values, **untaught(data, there.seeds)})
        found.write(FOUND)
        print(table(found))
        return
    tuned = options.out / "tuning.json"
    if not options.table_only:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(tuned, choose(data, options.out, options.jobs, options.quick))
    chosen = read_json(tuned)
    runs: dict[str, list[csd.Run]] = {name: [] for name in GRID}
    seeds = []
    for seed in options.seeds:
        folders = {name: options.out / f"seed{seed}" / name for name in GRID}
        if not options.table_only:
            print(f"seed {seed}:", flush=True)
            jobs = {
                name: job(
                    stream_of(data, name, seed),
                    name,
                    chosen[name]["chosen"] if name in chosen else {},
                    seed,
                    folder,
                    options.quick,
                )
                for name, folder in folders.items()
            }
            sweep(jobs, n_jobs=options.jobs)
        if all((folder / "metrics.json").exists() for folder in folders.values()):
            of_seed = {name: csd.Run.load(folder) for name, folder in folders.items()}
            if all(run.finished for run in of_seed.values()):
                seeds.append(seed)
                for name, run in of_seed.items():
                    runs[name].append(run)
    if not seeds:
        raise SystemExit(f"no seed is complete in {options.out}; call without --table-only")
    found = results_of(data, runs, seeds, chosen)
    whole = not options.quick and tuple(seeds) == SEEDS
    found.write(FOUND if whole else options.out / FOUND.name)
    print(table(found))


if __name__ == "__main__":
    main()
