"""Small runs that come with the kit, so that a notebook can start with trained networks: see data/README.md.

They are for reading. Those of seed 0 hold the features of 1,000 test images after each task, those of the other seeds
what was measured on the same images.
"""

from __future__ import annotations

from pathlib import Path

from csd_edu.runs import Run

NAMES = ("finetune", "lwf", "csd", "joint")
"""The methods."""

SEEDS = (0, 1, 2)
"""The seeds of class order, weights and batches."""


def run(name: str, *, seed: int = 0) -> Run:
    """Open one of the saved runs.

    Args:
        name: one of `NAMES`.
        seed: one of `SEEDS`. Every run has records and metrics; with seed 0 it also has features and predictions of
            the test images after each task, "finetune" and "csd" also the images, and the networks after tasks 0 and 1.

    Returns:
        The run; its `description["saved"]` says where it comes from and how many test images of each class it kept.

    Raises:
        ValueError: if there is no saved run of that name or seed.
        FileNotFoundError: if the saved runs are not here.
    """
    if name not in NAMES:
        raise ValueError(f"there is no saved run {name!r}; expected one of {', '.join(map(repr, NAMES))}")
    if seed not in SEEDS:
        raise ValueError(
            f"there is no saved run with seed {seed!r}; expected one of {', '.join(map(str, SEEDS))}, "
            f"or train one: csd-edu demo --seed {seed}"
        )
    return Run.load(folder() / f"seed{seed}" / name)


def runs(*names: str, seed: int = 0) -> list[Run]:
    """Open several saved runs of one seed, all four if none is named; arguments and errors as `run` has them."""
    return [run(name, seed=seed) for name in names or NAMES]


def folder() -> Path:
    """Return the folder that holds the saved runs: data/saved of a checkout, or the one installed with the package.

    Raises:
        FileNotFoundError: if neither is there.
    """
    package = Path(__file__).resolve().parent
    places = [package.parent / "data" / "saved", package / "saved_runs"]
    for place in places:
        if (place / "seed0").is_dir():
            return place
    raise FileNotFoundError(
        f"the saved runs are not here (looked in {' and '.join(map(str, places))}); in a checkout `make saved-runs` "
        "makes them, and a wheel built with `make wheel` contains them"
    )
