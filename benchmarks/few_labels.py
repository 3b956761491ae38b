"""What do images without a label teach? Digits in five tasks, with 1, 3 or 10 labels a class: replay, CSL and NNCSL.

    python benchmarks/few_labels.py [--labels 1 3 10] [--seeds 5] [--jobs 2] [--quick] [--table-only]
    python benchmarks/few_labels.py --controls          # no triplet loss, frozen batch norm, CSD's contrast on top
    python benchmarks/few_labels.py --untaught          # raw pixels, an untrained network: beside what is shipped
    python benchmarks/few_labels.py --gpu --minutes 9   # CIFAR-100 in ten tasks: the same call again goes on

Each method runs with the published weights, with the weights 1, and tuned: six settings of each are tried with three
labels a class, on held-out images of the first two tasks and with seeds of their own, and the best mean accuracy of the
head is taken. With three labels a class there are controls, too: without the triplet loss of fine-tuning, which the
released code does not have; with batch norm that is frozen after the first task, as there; and with the contrast of CSD
on the labelled images. Every run continues where it stopped, a control is measured whole; figures are in
runs/few-labels/figures.json after each seed, and in the end in csd_edu/measured/few_labels.json. The tables have means
over the seeds with half of the 95 % interval, and differences paired by seed.

Held-out images have a label each, which the trainings don't: with three labels a class no one could choose so.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

import csd_edu as csd
from csd_edu import results, tuning
from csd_edu.features import normalize
from csd_edu.files import write_json
from csd_edu.learn import learn
from csd_edu.learner import Learner
from csd_edu.methods import CSL, NNCSL, AnyMethod, LabelsOnly, Step
from csd_edu.metrics import recall_at_k
from csd_edu.models import Network, embed
from csd_edu.results import SHIPPED, Results
from csd_edu.runtime import environment
from csd_edu.sweep import Job, sweep
from csd_edu.train import fresh_network
from csd_edu.untaught import PIXELS, UNTRAINED

Figures = dict[str, float]
JSON = Path("runs/few-labels/figures.json")
CONFIG = csd.preset("digits").config.replace(epochs=20, later_epochs=20, device="cpu")
TUNING_SEEDS = (101, 102, 103)
TUNED_AT = 3  # labels a class
MEASURES = {"head": "accuracy of the head", "neighbour": "accuracy of the nearest labelled image", "recall": "R@1"}


class Try(NamedTuple):
    """A method with its settings, the learning rate of all tasks, and what a control changes."""

    name: str
    settings: Mapping[str, float] = {}
    lr: float = CONFIG.lr
    triplet: bool = True
    frozen_norms: bool = False

    @property
    def method(self) -> AnyMethod:
        kinds: dict[str, type[LabelsOnly]] = {"labels": LabelsOnly, "csl": CSL, "nncsl": NNCSL}
        make: Callable[..., AnyMethod] = kinds[self.name] if self.triplet else without_triplet(kinds[self.name])
        return make(**self.settings)

    def config(self, seed: int) -> csd.Config:
        return CONFIG.replace(seed=seed, lr=self.lr, later_lr=self.lr)


WEIGHTS_1 = {"csl": {"label_weight": 1.0}, "nncsl": {"label_weight": 1.0, "distillation": 1.0}}
TRIES = {
    "labels": Try("labels"),
    "csl": Try("csl"),
    "nncsl": Try("nncsl"),
    "csl 1": Try("csl", WEIGHTS_1["csl"]),
    "nncsl 1": Try("nncsl", WEIGHTS_1["nncsl"]),
}
CONTROLS = {
    "labels, no triplet": Try("labels", triplet=False),
    "csl 1, no triplet": Try("csl", WEIGHTS_1["csl"], triplet=False),
    "nncsl 1, no triplet": Try("nncsl", WEIGHTS_1["nncsl"], triplet=False),
    "nncsl, frozen norms": Try("nncsl", frozen_norms=True),
    "nncsl 1, frozen norms": Try("nncsl", WEIGHTS_1["nncsl"], frozen_norms=True),
    "nncsl 1, with csd": Try("nncsl", {**WEIGHTS_1["nncsl"], "csd": 1.0}),
}
GRIDS = {
    "labels": [Try("labels", {}, lr) for lr in (3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2)],
    "csl": [Try("csl", {"label_weight": w}, lr) for w in (0.005, 0.1, 1.0) for lr in (3e-3, 1e-2)],
    "nncsl": [
        Try("nncsl", {"label_weight": w, "distillation": v}, lr)
        for w, v in ((0.005, 0.2), (1.0, 0.2), (1.0, 1.0))
        for lr in (3e-3, 1e-2)
    ],
}
"""Six settings for each; a method that has fewer weights gets more learning rates."""

PAIRS = (
    ("csl", "labels"),
    ("nncsl", "labels"),
    ("nncsl", "csl"),
    ("csl 1", "labels"),
    ("nncsl 1", "labels"),
    ("nncsl 1", "csl 1"),
    ("csl tuned", "labels tuned"),
    ("nncsl tuned", "labels tuned"),
    ("nncsl tuned", "csl tuned"),
    ("labels, no triplet", "labels"),
    ("csl 1, no triplet", "labels, no triplet"),
    ("nncsl 1, no triplet", "labels, no triplet"),
    ("nncsl 1, no triplet", "csl 1, no triplet"),
    ("nncsl, frozen norms", "nncsl"),
    ("nncsl 1, frozen norms", "nncsl 1"),
    ("nncsl 1, with csd", "nncsl 1"),
    *((name, UNTRAINED) for name in ("labels", "csl 1", "nncsl 1", "labels tuned", "csl tuned", "nncsl tuned")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 3, 10], help="a class (default: 1 3 10)")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: 5)")
    parser.add_argument("--jobs", type=int, help="trainings side by side (default: one for each core)")
    parser.add_argument("--out", type=Path, default=Path("runs/few-labels"), help="folder of the runs")
    parser.add_argument("--json", type=Path, default=JSON, help=f"where the figures go (default: {JSON})")
    parser.add_argument("--quick", action="store_true", help="one seed, three labels, nothing tuned: five minutes")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the figures that are there")
    parser.add_argument("--controls", action="store_true", help="the controls, with three labels a class; no tuning")
    parser.add_argument("--untaught", action="store_true", help="only raw pixels and an untrained network, anew")
    parser.add_argument("--gpu", action="store_true", help="CIFAR-100, nearest to the published setting")
    parser.add_argument("--minutes", type=float, default=9.0, help="of --gpu: after these it stops (default: 9)")
    parser.add_argument("--epochs", type=int, default=12, help="of --gpu: a task (default: 12)")
    options = parser.parse_args()
    found = Found(options.json)
    if options.gpu:
        on_gpu(found, csd.load("cifar100"), options.out, options.minutes, gpu_config(options.epochs))
        return
    data = csd.load("digits")
    if options.untaught:
        there = beside_untaught(results.read("few_labels"), data, options.labels)
        there.write(SHIPPED / "few_labels.json")
        print(table(there, options.labels))
        return
    if options.controls:
        controls(found, data, range(options.seeds))
    labels, seeds = ([TUNED_AT], 1) if options.quick else (options.labels, options.seeds)
    if not (options.table_only or options.controls):
        tries = dict(TRIES)
        if not options.quick:
            tries |= {f"{name} tuned": best for name, best in tuned(found, data, options.out, options.jobs).items()}
        for n in labels:
            for seed in range(seeds):
                train(found, data, tries, n, seed, options.out, options.jobs)
    ends = results_of(found, labels)
    if ends is None:
        print("Nothing is there yet.")
        return
    ends = beside_untaught(ends, data, labels)
    print(table(ends, labels))
    ends.write((options.out if options.quick or len(ends.seeds) < 5 else SHIPPED) / "few_labels.json")


class Found:
    """The figures so far, kept in a file: {"digits": {labels: {method: {seed: figures}}}, "tuning": …}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def put(self, value: Any, *where: object) -> None:
        """Keep a value at a place."""
        place = self.all
        for name in where[:-1]:
            place = place.setdefault(str(name), {})
        place[str(where[-1])] = value
        self.all["environment"] = environment()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.all)

    def get(self, *where: object) -> Any:
        """Return what is at a place, or an empty dictionary."""
        place = self.all
        for name in where:
            place = place.get(str(name), {})
        return place


# ---------------------------------------------------------------------------------------------------- digits


def train(
    found: Found, data: csd.Dataset, tries: Mapping[str, Try], n: int, seed: int, out: Path, n_jobs: int | None
) -> None:
    """Train what is not there yet with n labels a class and a seed, and keep the figures."""
    stream = csd.split(data, n_tasks=5, seed=seed, labelled=n)
    missing = {name: one for name, one in tries.items() if not found.get("digits", n, name, seed)}
    # What was tuned to settings that are there already is trained once.
    first = {name: next(other for other, same in tries.items() if same == one) for name, one in missing.items()}
    started = time.perf_counter()
    jobs = {
        name: Job(
            stream,
            tries[name].method,
            tries[name].config(seed),
            out / f"{n}-labels" / f"seed{seed}" / name.replace(" ", "-"),
        )
        for name in dict.fromkeys(first.values())
    }
    runs = sweep(jobs, n_jobs=n_jobs) if jobs else {}
    for name in missing:
        found.put(figures(runs[first[name]], stream), "digits", n, name, seed)
    if missing:
        print(f"{n} labels a class, seed {seed}: {time.perf_counter() - started:.0f} s")


def figures(run: csd.Run, stream: csd.Stream) -> Figures:
    """Return what is measured after the last task, on the test images of all classes."""
    last = run.n_tasks - 1
    end = run.metrics["summary"]
    labels = run.test()["labels"]
    nearest = nearest_accuracy(lambda x: embed(run.network(last), x)[0], stream, run.features(last), labels)
    return {"head": end["head_accuracy"], "neighbour": nearest, "recall": end["recall_at_1"]}


def nearest_accuracy(look: Callable[[Tensor], Tensor], stream: csd.Stream, features: Tensor, labels: Tensor) -> float:
    """Return how often the nearest of all labelled training images, as `look` sees them, is of a test image's class."""
    gallery = stream.train(*range(stream.n_tasks)).labelled()
    known = normalize(look(gallery.images).double())  # (M, D)
    nearest = (normalize(features.double()) @ known.T).argmax(dim=1)  # (N,)
    return float((gallery.labels[nearest] == labels).double().mean())


def tuned(found: Found, data: csd.Dataset, out: Path, n_jobs: int | None) -> dict[str, Try]:
    """Return each method with the best of its six settings; what was tried is kept."""
    best = {}
    for name, grid in GRIDS.items():
        if not found.get("tuning", name):
            jobs = {}
            for seed in TUNING_SEEDS:
                stream = tuning.first_two(csd.split(data, n_tasks=5, seed=seed, validation=0.25, labelled=TUNED_AT))
                for k, one in enumerate(grid):
                    folder = out / "tuning" / f"{name}-{k}-seed{seed}"
                    jobs[f"{k} {seed}"] = Job(stream, one.method, one.config(seed), folder)
            runs = sweep(jobs, n_jobs=n_jobs)
            scores = [
                [runs[f"{k} {s}"].metrics["summary"]["head_accuracy"] for s in TUNING_SEEDS] for k in range(len(grid))
            ]
            tried = [
                {"settings": dict(one.settings), "lr": one.lr, "scores": score}
                for one, score in zip(grid, scores, strict=True)
            ]
            found.put(tried, "tuning", name)
        tried = found.get("tuning", name)
        best[name] = grid[max(range(len(grid)), key=lambda k: sum(tried[k]["scores"]))]
        print(f"{name} tuned: {dict(best[name].settings)}, learning rate {best[name].lr:g}")
    return best


def beside_untaught(found: Results, data: csd.Dataset, labels: Sequence[int]) -> Results:
    """Return the results with what raw pixels find, and a network before its first step: the floor under the others."""
    values: dict[str, dict[str, list[float]]] = {}
    for n, seed in itertools.product(labels, found.seeds):
        stream = csd.split(data, n_tasks=5, seed=seed, labelled=n)
        network = fresh_network(stream, CONFIG.replace(seed=seed))
        images, truth = stream.test()
        looks: dict[str, Callable[[Tensor], Tensor]] = {
            PIXELS: lambda x: x.flatten(1).float(),
            UNTRAINED: lambda x, network=network: embed(network, x)[0],  # type: ignore[misc]
        }
        for name, look in looks.items():
            features = look(images)
            of = {
                "neighbour": nearest_accuracy(look, stream, features, truth),
                "recall": recall_at_k(features, truth, features, truth, exclude_self=True)[1],
            }
            for measure, value in of.items():
                values.setdefault(in_words(name, n), {}).setdefault(MEASURES[measure], []).append(value)
    return dataclasses.replace(found, values={**found.values, **values})


def results_of(found: Found, labels: Sequence[int]) -> Results | None:
    """Return what was found with these numbers of labels a class, over the seeds that all have; None of none."""
    of = {n: found.get("digits", n) for n in labels}
    known = [*TRIES, *(f"{name} tuned" for name in GRIDS)]
    there = {(n, name): of[n][name] for n in labels for name in known if name in of[n]}
    seeds = sorted(set.intersection(*map(set, there.values())), key=int) if there else []
    if not seeds:
        return None
    there |= {(n, name): of[n][name] for n in labels for name in CONTROLS if of[n].get(name, {}).keys() >= set(seeds)}
    return Results(
        about=f"Digits in 5 tasks, a few labels a class; {CONFIG.network}, {CONFIG.epochs} epochs a task",
        command="python benchmarks/few_labels.py",
        seeds=tuple(map(int, seeds)),
        values={
            in_words(name, n): {words: tuple(figures[seed][m] for seed in seeds) for m, words in MEASURES.items()}
            for (n, name), figures in there.items()
        },
        notes={
            "tuning": {"seeds": list(TUNING_SEEDS), "labels": TUNED_AT, "methods": found.get("tuning")},
            "cifar100": found.get("cifar100"),
        },
    )


def in_words(name: str, n: int) -> str:
    """Return how a method with n labels a class is called in the results."""
    return f"{name}, {n} label{'s' * (n != 1)}"


def table(found: Results, labels: Sequence[int]) -> str:
    """Return the tables in Markdown."""
    pairs = [(in_words(one, n), in_words(other, n)) for n in labels for one, other in PAIRS]
    return "\n".join(
        [
            f"{found.about}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the 95 % interval.",
            "",
            found.table(),
            "",
            found.differences(pairs, list(MEASURES.values())),
        ]
    )


# ---------------------------------------------------------------------------------------------------- controls


def freeze_norms(network: Network) -> None:
    """Let batch norm use its running statistics, and no longer move them, also where the network is said to train.

    The released code calls `encoder.eval()` to copy the network after a task, and nowhere `.train()` again.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = types.MethodType(lambda self, _mode=True: self, module)  # type: ignore[method-assign]


def learnt(stream: csd.Stream, method: AnyMethod, config: csd.Config, after: Callable[[Network], None]) -> Figures:
    """Return the figures of a training without a run folder, in which something is done to the network after task 0."""
    network = fresh_network(stream, config)
    learner = Learner(network, stream, method, config)
    for task in range(stream.n_tasks):
        for _ in learn(network, stream, task, method, config, learner=learner):
            pass
        if task == 0:
            after(network)
    images, labels = stream.test()
    features, logits = embed(network, images)
    return {
        "head": float((logits.argmax(dim=1) == labels).double().mean()),
        "neighbour": nearest_accuracy(lambda x: embed(network, x)[0], stream, features, labels),
        "recall": recall_at_k(features, labels, features, labels, exclude_self=True)[1],
    }


def without_triplet(kind: type[LabelsOnly]) -> type[LabelsOnly]:
    """Return a kind of method without its term "triplet"."""

    class Without(kind):  # type: ignore[misc, valid-type]
        def __call__(self, step: Step) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = super().__call__(step)
            return {name: term for name, term in terms.items() if name != "triplet"}

    return Without


def controls(
    found: Found, data: csd.Dataset, seeds: Sequence[int], n: int = TUNED_AT, config: csd.Config = CONFIG
) -> None:
    """Train the controls that are not there yet, and keep their figures."""
    for seed in seeds:
        stream = csd.split(data, n_tasks=5, seed=seed, labelled=n)
        for name, one in CONTROLS.items():
            if not found.get("digits", n, name, seed):
                started = time.perf_counter()
                after = freeze_norms if one.frozen_norms else lambda _: None
                found.put(learnt(stream, one.method, config.replace(seed=seed), after), "digits", n, name, seed)
                print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


# ---------------------------------------------------------------------------------------------------- CIFAR-100


PUBLISHED = {0.008: 27.4, 0.05: 31.4, 0.25: 35.3}
"""NNCSL's accuracy on CIFAR-100 in 10 tasks with a memory of 500, by share of labels: ResNet-18, 250 epochs a task with
LARS, projection, small crops and distortions of colour (Kang et al., ICCV 2023)."""

GPU_TRIES = ("labels", "nncsl 1", "csl 1", "nncsl")  # the most telling first, in case that time runs out


def gpu_config(epochs: int) -> csd.Config:
    """Return how CIFAR-100 is trained: 256 images without a label a step, as published; a ResNet-32 and Adam."""
    return csd.Config(
        network="resnet32", epochs=epochs, later_epochs=epochs, batch_size=256, flip=True, lr=5e-3, later_lr=5e-3
    )


def on_gpu(found: Found, data: csd.Dataset, out: Path, minutes: float, config: csd.Config, share: float = 0.05) -> None:
    """Train on CIFAR-100 in ten tasks until time is up; the same call goes on."""
    end = time.monotonic() + 60 * minutes
    stream = csd.split(data, n_tasks=10, seed=0, labelled=share)
    for name in GPU_TRIES:
        folder = out / "cifar100" / f"{share:g}-{config.epochs}-epochs" / name.replace(" ", "-")
        records = csd.training(stream, TRIES[name].method, config, out=folder)
        if not all_before(records, end):
            learnt_so_far = csd.Run.load(folder).tasks_learnt
            print(f"Time is up: {name} has learnt {learnt_so_far} of 10 tasks. The same call goes on.")
            return
        run = csd.Run.load(folder)
        of = figures(run, stream) | {"seconds": run.seconds, "on": run.description["environment"]["gpu"]}
        found.put(of, "cifar100", f"{share:g}", config.epochs, name)
        cells = "; ".join(f"{words} {of[m]:.3f}" for m, words in MEASURES.items())
        print(f"{name}, {share:.1%} labelled, {config.epochs} epochs: {cells} ({run.seconds:.0f} s)")
    if share in PUBLISHED:
        published = PUBLISHED[share] / 100
        print(f"Published for NNCSL: {published:.3f}, with another network and 250 epochs: compare the order.")


def all_before(records: Iterator[Any], end: float) -> bool:
    """Return whether all records have come before a moment of `time.monotonic`; else stop at the first after it."""
    for _ in records:
        if time.monotonic() > end:
            records.close()  # type: ignore[attr-defined]
            return False
    return True


if __name__ == "__main__":
    main()
