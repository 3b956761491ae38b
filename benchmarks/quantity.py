"""Is it better to keep more images, or better ones? CIFAR-100 in a memory of equal bytes, at five sizes of image.

    python benchmarks/quantity.py [--seeds 5] [--device cpu] [--table-only] [--quick] [--gpu]

GDumb, a new network on the memory alone in each task, on 20 classes in two tasks; which classes, and in which order, is
drawn from the seed. The memory has the bytes of two full images a class: 40 images of 32×32, 160 of 16×16, 640 of 8×8,
2,560 of 4×4; of 2×2 all 10,000 training images take less. Every point trains for equally many steps, and is tested on
images that were shrunk as those in its memory were. Two points more, "cropped first", do as the code released with
the thesis does: they crop full images, and shrink afterwards. What they see small images could not have kept, and their
bytes say so.

The table has the mean over the seeds of Recall@1 and head accuracy on all classes after the last task with its 95 %
interval (Student's t), the paired differences between neighbouring sizes, and the bytes kept. No setting was tuned.
Every run goes on where it stopped, and a finished one is taken as it is. CIFAR-100 is read from `CSD_EDU_DATA`. With
`--quick` one seed of two sizes is trained for a few steps, to see that all works: its numbers mean nothing.

`--gpu` is nearer to the thesis: all 100 classes, a ResNet-32, and the bytes of 1,000 full images, which are 4,000 of
16×16 and 16,000 of 8×8; of 4×4 all 50,000 training images take less. It goes to FOLDER-gpu/quantity.json. That has not
been measured yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import csd_edu as csd
from csd_edu import results
from csd_edu.comparison import in_bytes
from csd_edu.methods import GDumb
from csd_edu.results import Results
from csd_edu.small import image_bytes, small_dataset
from csd_edu.sweep import Job, sweep

N_TASKS = 2
SIDE, CHANNELS = 32, 3  # of the images as they come
MEASURES = ("recall_at_1", "head_accuracy")


class Point(NamedTuple):
    """One way to spend the bytes."""

    side: int
    crop_first: bool = False

    @property
    def name(self) -> str:
        return f"{self.side}×{self.side}" + ", cropped first" * self.crop_first

    @property
    def folder(self) -> str:
        return f"side{self.side}" + "-cropped-first" * self.crop_first

    def dataset(self, data: csd.Dataset) -> csd.Dataset:
        """Return the images that the point is trained and tested on."""
        return small_dataset(data, self.side, test_only=self.crop_first)

    def method(self, budget: int, per_epoch: int, n_images: int) -> GDumb:
        """Return GDumb with a memory of the budget, or of all images if they take less."""
        fits = budget // image_bytes(self.side, CHANNELS) <= n_images
        room = {"budget": budget} if fits else {"size": n_images}
        return GDumb(**room, side=self.side, per_epoch=per_epoch, crop_first=self.crop_first)


SIDES = [Point(32), Point(16), Point(8), Point(4), Point(2)]
POINTS = [*SIDES, Point(8, crop_first=True), Point(4, crop_first=True)]


class Plan(NamedTuple):
    """What is trained.

    Attributes:
        points: the ways to spend the bytes.
        n_classes: of CIFAR-100, drawn from the seed.
        full_images: how many of them the memory has the bytes of.
        size: of the preset whose network and batches are taken.
        epochs: of each task.
        per_epoch: images in an epoch, as many as the largest memory has.
        flags: of the command line.
    """

    points: Sequence[Point]
    n_classes: int = 20
    full_images: int = 40
    size: str = "quick"
    epochs: int = 3
    per_epoch: int = 10_000
    flags: str = ""

    @property
    def budget(self) -> int:
        """The bytes that the images in a memory may take."""
        return self.full_images * image_bytes(SIDE, CHANNELS)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return what the command line asks for."""
    plan = Plan(POINTS)
    if options.gpu:
        points = [point for point in POINTS if point.side > 2]
        plan = Plan(points, n_classes=100, full_images=1000, size="lab", epochs=8, per_epoch=50_000, flags=" --gpu")
    if options.quick:
        plan = plan._replace(points=[Point(32), Point(8)], epochs=1, flags=f"{plan.flags} --quick")
        plan = plan._replace(per_epoch=16 * plan.full_images)  # as many as there are of 8×8
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/quantity"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--jobs", type=int, default=None, help="trainings at a time, one for each core if not said")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    parser.add_argument("--quick", action="store_true", help="one seed, two sizes and a few steps, in a folder beside")
    parser.add_argument("--gpu", action="store_true", help="all classes and a larger network, in a folder beside")
    options = parser.parse_args()
    plan, seeds = plan_of(options), range(1 if options.quick else options.seeds)
    out = options.out.with_name(f"{options.out.name}{plan.flags.replace(' --', '-')}")

    data = None if options.table_only else csd.load("cifar100")
    runs: dict[int, dict[str, csd.Run]] = {}
    for seed in seeds:
        folders = {point.name: out / f"seed{seed}" / point.folder for point in plan.points}
        if data is not None:
            chosen = some_classes(data, plan.n_classes, seed)
            config = csd.preset("cifar100", plan.size).config.replace(seed=seed, device=options.device)
            config = config.replace(epochs=plan.epochs, later_epochs=plan.epochs, save_images=False)
            jobs = {
                point.name: Job(
                    csd.split(point.dataset(chosen), n_tasks=N_TASKS, seed=seed),
                    point.method(plan.budget, plan.per_epoch, len(chosen.x_train)),
                    config,
                    folders[point.name],
                )
                for point in plan.points
            }
            sweep(jobs, n_jobs=options.jobs)
        if all((folder / "metrics.json").exists() for folder in folders.values()):
            found = {name: csd.Run.load(folder) for name, folder in folders.items()}
            if all(run.finished for run in found.values()):
                runs[seed] = found
    if not runs:
        print("No seed is complete.")
        return
    found = measured(runs, plan)
    print(table(found))
    path = (out if plan.flags else results.SHIPPED) / "quantity.json"
    found.write(path)
    print(f"\nwritten to {path}")


def measured(runs: dict[int, dict[str, csd.Run]], plan: Plan) -> Results:
    """Return what was found; `runs` are by seed and point."""
    points = plan.points
    of_points = {point.name: [found[point.name] for found in runs.values()] for point in points}
    first = of_points[points[0].name][0]
    kept = {name: sum((found[0].kept_bytes or {}).values()) for name, found in of_points.items()}
    labelled = {point.name: image_bytes(SIDE if point.crop_first else point.side, CHANNELS) + 1 for point in points}
    return Results(
        about=f"CIFAR-100, {plan.n_classes} classes in {N_TASKS} tasks; GDumb with {plan.budget:,} bytes of images; "
        f"{first.config.network}, {N_TASKS} × {first.config.epochs} epochs of {plan.per_epoch:,} images, batches of "
        f"{first.config.batch_size}",
        command=f"python benchmarks/quantity.py{plan.flags}",
        seeds=tuple(runs),
        values={
            name: {measure: [run.metrics["summary"][measure] for run in found] for measure in MEASURES}
            for name, found in of_points.items()
        },
        notes={
            "bytes": kept,
            "images": {name: n // labelled[name] for name, n in kept.items()},
            "sides": {point.name: point.side for point in points if not point.crop_first},
        },
    )


def table(found: Results) -> str:
    """Return the tables in Markdown, and where the peak is."""
    sides = list(found.notes["sides"])
    first = [name for name in found.values if name not in sides]
    pairs = [(small, large) for large, small in pairwise(sides)]
    pairs += [(name, side) for name in first for side in sides if name.startswith(side)]
    kept = [
        f"| {name} | {n:,} | {in_bytes({'memory': found.notes['bytes'][name]})} |"
        for name, n in found.notes["images"].items()
    ]
    peaks = [max(sides, key=lambda side: found.interval(side, measure).mean) for measure in MEASURES]
    return "\n".join(
        [
            f"{found.about}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the 95 % interval.",
            "",
            found.table(MEASURES),
            "",
            "| stored | images | keeps |",
            "| --- | --- | --- |",
            *kept,
            "",
            found.differences(pairs, MEASURES),
            "",
            "Highest mean, of those that are cropped after shrinking: "
            + ", ".join(f"{measure} at {peak}" for measure, peak in zip(MEASURES, peaks, strict=True)),
        ]
    )


def some_classes(data: csd.Dataset, n: int, seed: int) -> csd.Dataset:
    """Return the part of a dataset that has n of its classes, drawn from a seed."""
    chosen = np.random.RandomState(seed).permutation(data.n_classes)[:n].tolist()  # its stream is frozen
    new_label = torch.full((data.n_classes,), -1)
    new_label[chosen] = torch.arange(n)
    train, test = new_label[data.y_train], new_label[data.y_test]
    return replace(
        data,
        x_train=data.x_train[train >= 0],
        y_train=train[train >= 0],
        x_test=data.x_test[test >= 0],
        y_test=test[test >= 0],
        classes=tuple(data.classes[c] for c in chosen),
    )


if __name__ == "__main__":
    main()
