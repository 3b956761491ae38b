"""More images or better ones, where a memory is tiny and trains in seconds: digits, at four sizes of image.

    python benchmarks/quantity_digits.py --out runs/quantity_digits [--seeds 0 1 2 3 4] [--jobs 2] [--table-only]

Digits in five tasks, ResNet-8. GDumb and experience replay, each with a memory that takes at most as many bytes as ten
full images of 16×16 with replay's labels do, labels counted: of 8 bytes in replay's memory, of 1 in GDumb's. All images
are shrunk to the same side, new ones and those of the test too. Two points more, with GDumb at 4×4: "tested on full
images", whose memory alone is shrunk; and "cropped first", which sees what 4×4 could not keep. No setting was tuned.

Means and differences paired by seed are printed with their 95 % interval (Student's t), and written to
csd_edu/measured/quantity_digits.json. Every run goes on where it stopped; five seeds take some ten minutes of two quiet
cores. With --quick one seed is trained for one epoch, into its own folder: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import csd_edu as csd
from csd_edu import results
from csd_edu.methods import ER, GDumb
from csd_edu.results import Results
from csd_edu.small import image_bytes, small_dataset
from csd_edu.sweep import Job, sweep

SIDES = (16, 8, 4, 2)
LABEL_BYTES = {"gdumb": 1, "er": 8}
"""What a label takes beside its image, by method: uint8 and int64."""
BUDGET = 10 * (image_bytes(SIDES[0], 1) + LABEL_BYTES["er"])
CONFIG = csd.preset("digits").config.replace(epochs=4, later_epochs=4, device="cpu", save_images=False)
PER_EPOCH = 600
"""Images in an epoch of GDumb, whatever its memory: at least as many as the largest one has."""
MEASURES = ("recall_at_1", "head_accuracy")


@dataclass(frozen=True)
class Point:
    """One way to spend the bytes.

    Attributes:
        method: "gdumb" or "er".
        side: of the images in the memory.
        tested_full: the test images are left as they are, and new images for replay, too.
        crop_first: crop full images, and shrink them afterwards; they are what is kept.
    """

    method: str
    side: int
    tested_full: bool = False
    crop_first: bool = False

    @property
    def name(self) -> str:
        how = ", tested on full images" * self.tested_full + ", cropped first" * self.crop_first
        return f"{self.method} {self.side}×{self.side}{how}"

    @property
    def size(self) -> int:
        """How many images the memory holds."""
        return BUDGET // (image_bytes(self.side, 1) + LABEL_BYTES[self.method])

    def job(self, seed: int, out: Path, *, quick: bool = False) -> Job:
        """Return what is to be trained with a seed, in a folder of its own below `out`."""
        data = csd.load("digits")
        if not self.tested_full:
            data = small_dataset(data, self.side, test_only=self.crop_first)
        method: GDumb | ER
        if self.method == "er":
            method = ER(self.size, side=self.side)
        else:
            method = GDumb(self.size, side=self.side, per_epoch=PER_EPOCH, crop_first=self.crop_first)
        config = CONFIG.replace(seed=seed, **{"epochs": 1, "later_epochs": 1} if quick else {})
        return Job(csd.split(data, n_tasks=5, seed=seed), method, config, out / f"seed{seed}" / self.name)


POINTS = [
    *(Point(method, side) for method in LABEL_BYTES for side in SIDES),
    Point("gdumb", 4, tested_full=True),
    Point("gdumb", 4, crop_first=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/quantity_digits"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=None, help="trainings at a time, one for each core if not said")
    parser.add_argument("--table-only", action="store_true", help="train nothing, show the seeds that are complete")
    parser.add_argument("--quick", action="store_true", help="one seed and one epoch, in a folder beside")
    options = parser.parse_args()
    out = options.out.with_name(f"{options.out.name}-quick") if options.quick else options.out
    runs: dict[int, dict[str, csd.Run]] = {}
    for seed in options.seeds[:1] if options.quick else options.seeds:
        jobs = {point.name: point.job(seed, out, quick=options.quick) for point in POINTS}
        if not options.table_only:
            sweep(jobs, n_jobs=options.jobs)
        if all((job.out / "metrics.json").exists() for job in jobs.values()):
            found = {name: csd.Run.load(job.out) for name, job in jobs.items()}
            if all(run.finished for run in found.values()):
                runs[seed] = found
    if not runs:
        print("No seed is complete.")
        return
    found_in_all = measured(runs)
    print(table(found_in_all))
    path = (out if options.quick else results.SHIPPED) / "quantity_digits.json"
    found_in_all.write(path)
    print(f"\nwritten to {path}")


def measured(runs: dict[int, dict[str, csd.Run]]) -> Results:
    """Return what was found; `runs` are by seed and point."""
    of_points = {point.name: [found[point.name] for found in runs.values()] for point in POINTS}
    return Results(
        about=f"digits in 5 tasks; memories of at most {BUDGET:,} bytes with their labels; {CONFIG.network}, "
        f"{CONFIG.epochs} epochs of each task, GDumb's of {PER_EPOCH} images, batches of {CONFIG.batch_size}",
        command="python benchmarks/quantity_digits.py",
        seeds=tuple(runs),
        values={
            name: {measure: [run.metrics["summary"][measure] for run in found] for measure in MEASURES}
            for name, found in of_points.items()
        },
        notes={
            "budget": BUDGET,
            "images": {point.name: point.size for point in POINTS},
            "bytes": {name: sum((found[0].kept_bytes or {}).values()) for name, found in of_points.items()},
        },
    )


def table(found: Results) -> str:
    """Return the tables in Markdown."""
    of_sides = {method: [Point(method, side).name for side in SIDES] for method in LABEL_BYTES}
    pairs = [(small, large) for names in of_sides.values() for large, small in pairwise(names)]
    pairs += [(point.name, Point("gdumb", 4).name) for point in POINTS if point.tested_full or point.crop_first]
    kept = [f"| {name} | {n} | {found.notes['bytes'][name]:,} |" for name, n in found.notes["images"].items()]
    seeds = ", ".join(map(str, found.seeds))
    return "\n".join(
        [
            f"{found.about}; seeds {seeds}. Mean ± half of the 95 % interval.",
            "",
            found.table(MEASURES),
            "",
            "| memory | images | bytes |",
            "| --- | --- | --- |",
            *kept,
            "",
            found.differences(pairs, MEASURES),
        ]
    )


if __name__ == "__main__":
    main()
