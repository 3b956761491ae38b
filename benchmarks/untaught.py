"""What is found without any learning? Recall@1 of raw pixels and of untrained networks, on each experiment's images.

    python benchmarks/untaught.py [--seeds 5]

A Recall@1 says something about a method only as far as it is above these. The table has the mean over the seeds with
half of its 95 % interval (Student's t): of the streams' test images among each other, in the classes and with the
networks of the experiments in this folder. Beside the images of benchmarks/quantity.py stands what its networks have
more, paired by seed, if the seeds are those of csd_edu/measured/quantity.json. CIFAR-100 is read from `CSD_EDU_DATA`;
without it its rows are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the other experiments

import csd_edu as csd
from benchmarks.condensed import first_classes
from benchmarks.quantity import N_TASKS, SIDES, some_classes
from csd_edu.results import interval, read
from csd_edu.untaught import PIXELS, UNTRAINED, recall_untaught

Streams = Callable[[int], csd.Stream]
"""A stream for each seed."""


def experiments() -> Iterator[tuple[str, csd.Config, Streams, str]]:
    """Yield for each experiment its images, how it trains, its streams, and what quantity.json calls it, or nothing."""
    digits = csd.load("digits")
    yield (
        "digits, 16×16, ten classes",
        csd.preset("digits").config,
        lambda seed: csd.split(digits, n_tasks=5, seed=seed),
        "",
    )
    preset = csd.preset("glyphs")
    glyphs = csd.load("glyphs", per_class=preset.per_class, at_most=True, image_size=preset.image_size)
    yield (
        f"glyphs, {preset.image_size} px, {glyphs.n_classes} classes",
        preset.config,
        lambda seed: csd.split(glyphs, **preset.in_tasks(), seed=seed),
        "",
    )
    try:
        photographs = csd.load("cifar100")
    except FileNotFoundError as error:
        print(f"CIFAR-100 is left out: {error}")
        return
    config = csd.preset("cifar100").config
    for point in SIDES:
        yield (
            f"CIFAR-100, 20 classes, {point.name}",
            config,
            lambda seed, point=point: csd.split(  # type: ignore[misc]  # bound now, not when it is called
                point.dataset(some_classes(photographs, 20, seed)), n_tasks=N_TASKS, seed=seed
            ),
            point.name,
        )
    ten = first_classes(photographs, 10, None)
    yield "CIFAR-100, its first ten classes", config, lambda seed: csd.split(ten, n_tasks=5, seed=seed), ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: 5)")
    options = parser.parse_args()
    taught, seeds = read("quantity"), tuple(range(options.seeds))
    print(f"| images | network | {PIXELS} | {UNTRAINED} | taught − {PIXELS} | | taught − {UNTRAINED} | |")
    print("| --- |" + " --- |" * 7)
    for words, config, stream, name in experiments():
        found = [recall_untaught(stream(seed), config.replace(seed=seed)) for seed in seeds]
        floors = {floor: [of[floor] for of in found] for floor in (PIXELS, UNTRAINED)}
        cells = [str(interval(values)) for values in floors.values()]
        for values in floors.values():
            if name and seeds == taught.seeds:
                pairs = zip(taught.of(name, "recall_at_1"), values, strict=True)
                more = interval([one - other for one, other in pairs])
                cells += [more.signed(), more.verdict]
            else:
                cells += ["–", "–"]
        print(f"| {words} | {config.network} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
