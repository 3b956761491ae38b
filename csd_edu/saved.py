"""Small runs that come with the kit, so that a notebook can start with trained networks: see data/README.md.

They are for reading. Those of seed 0 hold the features of the test images after each task, those of the other seeds
only what was measured. Runs of your own take their place in notebooks 02, 05, 06 and 07, by one line or a variable of
the environment:

    saved.use("my/runs")             # my/runs/seed0/csd, my/runs/seed1/csd, … or, of one seed, my/runs/csd, …
    CSD_EDU_RUNS=$PWD/my/runs make lab
"""

from __future__ import annotations

import os
from pathlib import Path

from csd_edu import arguments, tuning
from csd_edu.config import PRESET_NAMES, preset
from csd_edu.data import SOURCES
from csd_edu.methods import NAMED
from csd_edu.output import say
from csd_edu.paths import given_path
from csd_edu.runs import FIRST_TASK, Run
from csd_edu.runtime import in_shell

ORDER = ("finetune", "frozen", "supcon", "supcon-tuned", "lwf", "lwf-tuned", "csd", "csd-tuned", "joint")
"""How runs are put in order; those of other names come after."""

ALPHABETS = ("glyphs", "omniglot")
"""Datasets whose tasks are alphabets."""

OPTIONS = ("network", "epochs", "later_epochs", "lr", "later_lr", "batch_size")
"""What `csd-edu train` can be told of a configuration."""

SIZES = {"digits": 16, "omniglot": 28}
"""The images' width and height, in pixels, where nobody asks for another than 32."""

NAMES: tuple[str, ...]
"""`names()`, as it is now."""

SEEDS: tuple[int, ...]
"""`seeds()`, as it is now."""

_chosen: Path | None = None
_told: set[tuple[Path, str]] = set()  # who stands in for whom is said once


def __getattr__(name: str) -> tuple[str, ...] | tuple[int, ...]:
    if name == "NAMES":
        return names()
    if name == "SEEDS":
        return seeds()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def use(path: str | Path | None) -> None:
    """Take the runs of another folder from here on.

    Args:
        path: a folder of runs, as `csd-edu demo --out` writes it, or one that has such folders as seed0, seed1, …;
            None for those of `CSD_EDU_RUNS`, or else of the kit, again.

    Raises:
        FileNotFoundError: if there are no runs in it.
    """
    global _chosen
    chosen = None if path is None else given_path(path).resolve()
    if chosen is not None:
        _find(chosen)
    _chosen = chosen


def run(name: str, *, seed: int | None = None) -> Run:
    """Open one of the saved runs.

    Args:
        name: one of `names()`. Of the kit's, every run has records and metrics; which of them also have features,
            images and networks with seed 0, data/README.md says. "csd" stands in for a missing "csd-tuned", which is
            said once; so with all others.
        seed: one of `seeds()`; default the first.

    Returns:
        The run; of the kit's, `description["saved"]` says where it comes from and how many test images it kept.

    Raises:
        ValueError: if there is no saved run of that name or seed.
        FileNotFoundError: if the saved runs are not here.
    """
    place = folder()
    seed, paths = _of_seed(seed, name)
    plain = name.removesuffix("-tuned")
    if name not in paths and plain in paths:
        if (place, name) not in _told:
            say(f"There is no run {name!r} in {place.name}; {plain!r} stands in for it.")
            _told.add((place, name))
        name = plain
    if name not in paths:
        there = ", ".join(map(repr, paths))
        raise ValueError(
            f"there is no saved run {name!r}; expected one of {there}{_advice(seed, name)} (they are in {place})"
        )
    return Run.load(paths[name])


def runs(*names: str, seed: int | None = None) -> list[Run]:
    """Open several saved runs of one seed, all if none is named; arguments and errors as `run` has them.

    A run that stands in for another one and is among them already does not come twice.
    """
    opened = [run(name, seed=seed) for name in names or _of_seed(seed)[1]]
    return list({each.path: each for each in opened}.values())


def names() -> tuple[str, ...]:
    """Return the names of the runs that are there with every seed."""
    return _names(*seeds())


def seeds() -> tuple[int, ...]:
    """Return the seeds of class order, weights and batches of which there are runs."""
    return tuple(sorted(_find(folder())))


def dataset() -> str:
    """Return the name of the data that the runs learnt, such as "glyphs", or that of a folder of images."""
    return str(_any().description["stream"]["dataset"])


def group() -> str:
    """Return what one task of the data is to be called in titles and texts: "alphabet" or "task"."""
    return "alphabet" if dataset() in ALPHABETS else "task"


def task_names(*, seed: int | None = None) -> list[str]:
    """Return a name for each task of the runs of a seed: the alphabet's, or "task 0", "task 1", …"""
    tasks = _any(seed).tasks
    return [of[0].partition("/")[0] if group() == "alphabet" else f"task {t}" for t, of in enumerate(tasks)]


def folder() -> Path:
    """Return the folder that holds the runs: that of `use`, of the variable `CSD_EDU_RUNS`, or the kit's own.

    The kit's is data/saved of a checkout, or what is installed with the package.

    Raises:
        FileNotFoundError: if neither is there.
    """
    if _chosen is not None:
        return _chosen
    if named := os.environ.get("CSD_EDU_RUNS"):
        return given_path(named, what="CSD_EDU_RUNS").resolve()
    package = Path(__file__).resolve().parent
    places = [package.parent / "data" / "saved", package / "saved_runs"]
    for place in places:
        if (place / "seed0").is_dir():
            return place
    raise FileNotFoundError(
        f"the saved runs are not here (looked in {' and '.join(map(str, places))}); in a checkout `make saved-runs` "
        "makes them, and a wheel built with `make wheel` contains them"
    )


def _names(*of: int) -> tuple[str, ...]:
    """Return the names of the runs that are there with each of these seeds."""
    several = [paths for seed, paths in _find(folder()).items() if seed in of]
    return tuple(name for name in (several[0] if several else ()) if all(name in paths for paths in several))


def _any(seed: int | None = None) -> Run:
    return Run.load(next(iter(_of_seed(seed)[1].values())))


def _of_seed(seed: int | None, name: str = "csd") -> tuple[int, dict[str, Path]]:
    """Return a seed, by default the first, and the paths of its runs by name.

    Raises:
        ValueError: if there is no run with that seed; says how to train the one of that name.
    """
    found = _find(folder())
    seed = min(found) if seed is None else arguments.whole("seed", seed)
    if seed not in found:
        there = ", ".join(map(str, sorted(found)))
        raise ValueError(
            f"there is no saved run with seed {seed!r}; expected one of {there}{_advice(seed, name)} "
            f"(they are in {folder()})"
        )
    return seed, found[seed]


def _find(place: Path) -> dict[int, dict[str, Path]]:
    """Return the paths of the runs in a folder, by seed and then by name, the names in `ORDER`."""
    levels = [path for path in sorted(place.glob("seed*")) if path.name.isascii() and path.name[4:].isdecimal()]
    several = [(int(level.name[4:]), level, paths) for level in levels if (paths := _runs_in(level))]
    if paths := _runs_in(place):  # of one seed, without a folder of its own
        several.append((Run.load(next(iter(paths.values()))).config.seed, place, paths))
    found: dict[int, dict[str, Path]] = {}
    for seed, level, paths in sorted(several, key=lambda of: of[0]):
        taken = next(iter(found.setdefault(seed, paths).values())).parent
        if taken != level and (level, "") not in _told:
            say(f"The runs in {level} are left out: of seed {seed} those in {taken} are taken.")
            _told.add((level, ""))
    if place.is_file():
        raise FileNotFoundError(f"{place} is a file; expected a folder of runs, such as `csd-edu demo --out` writes")
    if not found:
        train = in_shell("csd-edu", "train", "--method", "csd", "--out", place / "csd")
        raise FileNotFoundError(
            f"there are no runs in {place}; expected folders such as finetune and csd, as `{train}` writes them, or "
            "seed0, seed1, … with such folders in each"
        )
    return found


def _runs_in(place: Path) -> dict[str, Path]:
    paths = {config.parent.name: config.parent for config in place.glob("*/config.json")}
    paths = {name: path for name, path in paths.items() if not name.startswith((FIRST_TASK, *tuning.TRIALS))}
    known = [name for name in ORDER if name in paths]
    return {name: paths[name] for name in [*known, *sorted(paths.keys() - set(known))]}


def _advice(seed: int, name: str) -> str:
    """Return the end of a message: the command that trains the run that is missing, if it is one of a known method."""
    found, place, method = _find(folder()), folder(), name.removesuffix("-tuned")
    if not isinstance(seed, int) or seed < 0 or method not in (NAMED if method == name else tuning.SETTINGS):
        return ""
    level = next(iter(found[seed].values())).parent if seed in found else place / f"seed{seed}"
    data, options = _asked_for(_any())
    if data == "glyphs" and seed not in found and options == ["--tasks", "groups"]:
        return f", or train one: {in_shell('csd-edu', 'demo', '--seed', seed, '--out', level)}"
    first = ""
    if method != name:
        kept = [f for f in (place, level, tuning.SHIPPED / data) if (f / tuning.NAME).is_file()]
        weights = kept[0] if kept else place
        if not kept:
            same = options[: 4 if "--preset" in options else 2]
            first = in_shell("csd-edu", "tune", "--dataset", data, *same, "--out", weights) + "  and then  "
        options = [*options, "--tuning", str(weights)]
    tasks, others = options[:2], options[2:]
    train = ["csd-edu", "train", "--dataset", data, "--method", method, *tasks, "--seed", seed]
    where = "" if data in SOURCES else f" ({data} is the folder or the file of its images, wherever it lies)"
    return f", or train it: {first}{in_shell(*train, '--out', level / name, *others)}{where}"


def _asked_for(run: Run) -> tuple[str, list[str]]:
    """Return the dataset and the options, --tasks first, by which `csd-edu train` is asked for a run that learns the
    same, as far as the run's folder tells: where images of one's own lie, and how many a class there were, it doesn't.
    """
    config, stream = run.config.to_json(), run.description["stream"]
    data = str(stream["dataset"])
    groups = [{name.partition("/")[0] for name in task if "/" in name} for task in run.tasks]
    grouped = all(len(of) == 1 for of in groups) and len(set.union(*groups)) == len(groups)

    def changed(name: str) -> list[str]:
        usual = preset(data, name).config.to_json()
        return [option for option in OPTIONS if config[option] != usual[option]]

    name = min(PRESET_NAMES, key=lambda name: len(changed(name)))  # of equals the first
    options = ["--tasks", "groups" if grouped else str(run.n_tasks)]
    options += [] if name == PRESET_NAMES[0] else ["--preset", name]
    for option in changed(name):
        options += [f"--{option.replace('_', '-')}", str(config[option])]
    height, width = run.image_shape[1:] if run.image_shape else (0, 1)
    if height == width != (preset(data, name).image_size or SIZES.get(data, 32)):
        options += ["--image-size", str(width)]
    options += ["--validation", f"{stream['validation']:g}"] if stream["validation"] else []
    return data, options + (["--labelled", str(stream["labelled"])] if "labelled" in stream else [])
