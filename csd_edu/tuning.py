"""How the weights of methods are chosen: all on the same grid, with images of the first two tasks that are held out.

The choice is written to tuning.json, which lies beside the run folders:

{"dataset": "glyphs", "preset": "quick", "validation": 0.25, "metric": "in words", "seeds": [101, 102],
 "methods": {"lwf": {"setting": "weight", "grid": {"1": [0.61, 0.63], "5": [0.70, 0.72]}, "chosen": 5}}}
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from csd_edu import arguments
from csd_edu.config import Preset
from csd_edu.data import Dataset
from csd_edu.files import check_file, check_writable, parse_json, write_json
from csd_edu.methods import NAMED, AnyMethod
from csd_edu.paths import given_path
from csd_edu.runs import Run
from csd_edu.runtime import in_shell
from csd_edu.sweep import Job, sweep
from csd_edu.system import words
from csd_edu.tasks import Stream, split

NAME = "tuning.json"

SHIPPED = Path(__file__).parent / "tuned"
"""Where the choices lie that come with the kit, by the dataset's name."""

GRID = (1, 2, 5, 10, 20)
"""The weights tried, the same for every method."""

SETTINGS = {"lwf": "weight", "csd": "distillation", "supcon": "distillation"}
"""Which setting of a method is its weight of the old answers' distillation; everything else stays as it is."""

TRIALS = tuple(f"{method}-{setting}-" for method, setting in SETTINGS.items())
"""How the names of the folders begin in which a weight is tried."""

METRIC = (
    "Recall@1 on the held-out training images of the first two tasks, among each other, after the second; no test "
    "image and no image of a later task is looked at"
)


@dataclass(frozen=True)
class Search:
    """What was tried for one setting of a method.

    Attributes:
        setting: its name, such as "weight".
        grid: by the value tried, the score with each seed; in rising order of the values.
        chosen: the value that was taken.
    """

    setting: str
    grid: Mapping[float, tuple[float, ...]]
    chosen: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        grid = {_in_digits(value): list(scores) for value, scores in self.grid.items()}
        return {"setting": self.setting, "grid": grid, "chosen": self.chosen}


@dataclass(frozen=True)
class Tuning:
    """How the settings of methods were chosen.

    Attributes:
        dataset, preset: what was trained on, and how.
        validation: the share of the training images that was held out to measure on.
        metric: what was measured, in words.
        seeds: with which it was tried.
        methods: the search of each method, by the method's name.
    """

    dataset: str
    preset: str
    validation: float
    metric: str
    seeds: tuple[int, ...]
    methods: Mapping[str, Search]

    def method(self, name: str) -> AnyMethod:
        """Return a method with the setting that was chosen for it: "lwf" as `lwf(weight=5)`.

        Raises:
            ValueError: if none was chosen for it.
        """
        if name not in self.methods:
            raise ValueError(f"no weight was chosen for {name!r}; expected one of {', '.join(self.methods)}")
        search = self.methods[name]
        return with_setting(name, search.setting, search.chosen)

    def write(self, folder: Path) -> None:
        """Write tuning.json into a folder."""
        whole = asdict(self) | {"methods": {name: search.to_json() for name, search in self.methods.items()}}
        write_json(given_path(folder) / NAME, whole)

    def chose(self, run: Run) -> bool:
        """Return whether a run's setting is the chosen one, on the same data, and it has no other setting changed."""
        name, _, inside = run.method.partition("(")
        search = self.methods.get(name)
        if search is None or run.is_own or name not in NAMED or run.description["stream"]["dataset"] != self.dataset:
            return False
        setting, _, value = inside.removesuffix(")").partition("=")
        defaults = {key: parameter.default for key, parameter in inspect.signature(NAMED[name]).parameters.items()}
        if setting not in ("", search.setting) or search.setting not in defaults:
            return False
        try:
            return float(value if setting else defaults[search.setting]) == search.chosen
        except (TypeError, ValueError):  # another setting beside it, or one that is no number
            return False


def tune(
    data: Dataset,
    preset: Preset,
    *,
    seeds: Sequence[int],
    out: Path,
    name: str = "quick",
    validation: float = 0.25,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Tuning:
    """Try every weight of `GRID` for every method of `SETTINGS` on the first two tasks, and choose the best of each.

    Args:
        data: the dataset; of its test images none is used.
        preset: how to train, and in which tasks.
        seeds: of class order, weights and batches; those on which the methods are compared should be others.
        out: the folder of the runs, and of tuning.json.
        name: of the preset.
        validation: share of the training images that is held out.
        n_jobs: trainings at a time; default one for each core.
        progress: show a line for each training.

    Returns:
        The scores, and for each method the weight with the best mean over the seeds; of equals the smallest.

    Raises:
        ValueError: if there is no seed or one twice, or the data can't be split so.
    """
    seeds = _checked_seeds(seeds)
    out = given_path(out, what="out")
    check_writable(out)
    streams = {seed: first_two(split(data, **preset.in_tasks(), seed=seed, validation=validation)) for seed in seeds}

    def job(method: str, setting: str, value: float, seed: int, folder: Path) -> Job:
        return Job(streams[seed], with_setting(method, setting, value), preset.config.replace(seed=seed), folder)

    grids = {method: (setting, GRID) for method, setting in SETTINGS.items()}
    searches = choose(
        grids, job, lambda run: run.metrics["summary"]["recall_at_1"], seeds, out, n_jobs=n_jobs, progress=progress
    )
    tuning = Tuning(data.name, name, validation, METRIC, tuple(seeds), searches)
    tuning.write(out)
    return tuning


def choose(
    grids: Mapping[str, tuple[str, Sequence[float]]],
    job: Callable[[str, str, float, int, Path], Job],
    score: Callable[[Run], float],
    seeds: Sequence[int],
    out: Path,
    *,
    n_jobs: int | None = None,
    progress: bool = True,
) -> dict[str, Search]:
    """Try each value of a setting of each method with each seed, and choose the best.

    Args:
        grids: by method, which of its settings, and the values to try.
        job: what is to be trained, of the method, the setting, its value, the seed and a folder for the run.
        score: how good a finished run is.
        seeds: of class order, weights and batches.
        out: the folder of the runs.
        n_jobs: trainings at a time; default one for each core.
        progress: show a line for each training.

    Returns:
        The scores, and for each method the value with the best mean over the seeds; of equals the smallest.

    Raises:
        ValueError: before any training if there is no value or seed, a seed twice, or a value that is no finite number;
            after it if a score is none, such as NaN; then nothing is chosen, and the runs are kept.
    """

    def one(method: str, settings: Mapping[str, float], seed: int, folder: Path) -> Job:
        ((setting, value),) = settings.items()
        return job(method, setting, value, seed, folder)

    products = {method: {setting: values} for method, (setting, values) in grids.items()}
    found = {}
    for method, trials in try_all(products, one, score, seeds, out, n_jobs=n_jobs, progress=progress).items():
        setting = grids[method][0]
        grid = {float(trial.settings[setting]): trial.scores for trial in trials}
        found[method] = Search(setting, grid, float(best(trials).settings[setting]))
    return found


@dataclass(frozen=True)
class Trial:
    """Some settings of a method, and the score of each seed with them."""

    settings: Mapping[str, float]
    scores: tuple[float, ...]


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the best mean over the seeds; of equals the first."""
    return max(trials, key=lambda trial: sum(trial.scores))


def in_words(settings: Mapping[str, float]) -> str:
    """Return settings as a table tells them: "later_lr 0.001, weight 5"; a dash if there is none."""
    return ", ".join(f"{setting} {value:g}" for setting, value in settings.items()) or "–"


def as_json(trials: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """Return for each method the settings that are chosen, and all that was tried, as plain JSON."""
    return {
        method: {"chosen": dict(best(of).settings), "tried": [asdict(trial) for trial in of]}
        for method, of in trials.items()
    }


def try_all(
    grids: Mapping[str, Mapping[str, Sequence[float]]],
    job: Callable[[str, Mapping[str, float], int, Path], Job],
    score: Callable[[Run], float],
    seeds: Sequence[int],
    out: Path,
    *,
    n_jobs: int | None = None,
    progress: bool = True,
) -> dict[str, list[Trial]]:
    """Try each value of each setting of a method with each of the others, and with each seed.

    Args:
        grids: by method, of each setting the values to try: {"lwf": {"later_lr": [1e-3, 1e-2], "weight": [1, 5]}}.
        job: what is to be trained, of the method, the settings, the seed and a folder for the run.
        score, seeds, out, n_jobs, progress: as in `choose`.

    Returns:
        The trials of each method, in rising order of the first setting's values, then of the next one's.

    Raises:
        ValueError: as in `choose`.
    """
    seeds = _checked_seeds(seeds)
    _check_grids(grids)
    points = {
        method: [dict(zip(of, values, strict=True)) for values in product(*map(sorted, of.values()))]
        for method, of in grids.items()
    }
    tries = {
        f"seed{seed}/{_called(method, point)}": (method, point, seed)
        for seed in seeds
        for method, of in points.items()
        for point in of
    }
    runs = sweep({name: job(*tried, out / name) for name, tried in tries.items()}, n_jobs=n_jobs, progress=progress)

    def scored(name: str) -> float:
        expected = "a finite number; mend the score, or leave the value out of the grid (the runs are kept)"
        return arguments.number(f"the score of {name}", score(runs[name]), expected)

    return {
        method: [Trial(point, tuple(scored(f"seed{seed}/{_called(method, point)}") for seed in seeds)) for point in of]
        for method, of in points.items()
    }


def _called(method: str, point: Mapping[str, float]) -> str:
    return "-".join([method, *(f"{setting}-{_in_digits(value)}" for setting, value in point.items())])


def _checked_seeds(seeds: Any) -> list[int]:
    found = arguments.whole_numbers("seeds", seeds, least=0)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds are {found}; expected at least one, and each once, such as [101, 102, 103]")
    return found


def _check_grids(grids: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    if not grids:
        raise ValueError(f"grids are {grids!r}; expected such as {{'lwf': ('weight', [1, 5])}}")
    for method, of in grids.items():
        for setting, values in of.items():
            if isinstance(values, str) or len(values) == 0:
                told = f"the grid of {method}, {setting}, is {values!r}"
                raise ValueError(f"{told}; expected at least one value, as [1, 5]")
            for k, value in enumerate(values):
                arguments.number(f"the grid of {method}, {setting}[{k}],", value)


def _in_digits(value: float) -> str:
    """Return a number as text from which it can be read back: 5.0 as "5"."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value)).removesuffix(".0")


def first_two(stream: Stream) -> Stream:
    """Return a stream of the first two tasks, whose test images are those that are held out of training.

    Raises:
        ValueError: if there are fewer tasks, or fewer than two images of a class are held out.
    """
    if stream.n_tasks < 2 or stream.validation == 0:
        raise ValueError(f"{stream!r} holds out {stream.validation:.0%}; expected two tasks and a share to choose by")
    fewest = int(stream.held_out(0, 1).labels.bincount(minlength=stream.n_seen[1]).min())
    if fewest < 2:
        raise ValueError(
            f"of a class {fewest} image is held out, which finds no other; expected 2 or more: a larger share than "
            f"{stream.validation:g}, or more images"
        )
    return stream.rehearsal(2)


def with_setting(name: str, setting: str, value: float) -> AnyMethod:
    """Return a method with one of its settings; a whole number is written as one.

    Raises:
        ValueError: if there is no such method, it has no such setting, or the value is no finite number.
    """
    method = NAMED.get(name)
    if method is not None and dataclasses.is_dataclass(method):
        there = {field.name for field in dataclasses.fields(method)}
    else:
        there = set(inspect.signature(method).parameters) if method else set()
    if method is None or setting not in there:
        raise ValueError(f"there is no method {name!r} with a setting {setting!r}; expected such as csd, distillation")
    number = arguments.number(f"{setting} of {name}", value)
    changed = {setting: int(number) if number.is_integer() else number}
    if dataclasses.is_dataclass(method) and not isinstance(method, type):
        return dataclasses.replace(method, **changed)
    return partial(method, **changed)


def shipped(dataset: str = "glyphs") -> Tuning:
    """Return the choice that comes with the kit, as `csd-edu tune` made it.

    Raises:
        ValueError: if there is none for that dataset.
    """
    found = read_tuning(SHIPPED / dataset)
    if found is None:
        tune = in_shell("csd-edu", "tune", "--dataset", dataset)
        raise ValueError(f"no weights were chosen for {dataset!r} yet; expected {tune}")
    return found


def load(folder: Path) -> Tuning:
    """Return what tuning.json in a folder says.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is damaged; says where.
    """
    found = read_tuning(folder)
    if found is None:
        raise FileNotFoundError(f"there is no {NAME} in {folder}; expected a folder that `csd-edu tune --out` wrote")
    return found


def read_tuning(folder: Path) -> Tuning | None:
    """Return what tuning.json in a folder says, or None if there is none.

    Raises:
        ValueError: if the file is damaged; says where.
    """
    path = given_path(folder) / NAME
    advice = "delete it, and `csd-edu tune` writes it anew"
    try:
        if path.exists() and not path.is_dir():
            check_file(path, advice)
        saved = parse_json(path.read_bytes(), f"{path} can't be read", advice)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{path} can't be read ({words(error)}); expected JSON") from None
    try:
        seeds = tuple(map(_seed, saved["seeds"]))
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds are {list(seeds)}, not each once")
        return Tuning(
            dataset=_text(saved["dataset"]),
            preset=_text(saved["preset"]),
            validation=_share(saved["validation"]),
            metric=_text(saved["metric"]),
            seeds=seeds,
            methods={_text(name): _search(name, about, len(seeds)) for name, about in saved["methods"].items()},
        )
    except KeyError as error:
        raise ValueError(f"{path} has no {error}; expected what csd_edu.tuning describes") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}; expected what csd_edu.tuning describes") from None


def _search(name: str, about: Mapping[str, Any], n_seeds: int) -> Search:
    grid = {_number(float(value)): tuple(map(_share, scores)) for value, scores in about["grid"].items()}
    chosen = _number(about["chosen"])
    if chosen not in grid or not all(grid.values()):
        raise ValueError(f"the grid of {name} has no scores for the chosen value {_in_digits(chosen)}, or for another")
    if any(len(scores) != n_seeds for scores in grid.values()):
        raise ValueError(f"the grid of {name} has other than {n_seeds} scores for a value, one for each seed")
    return Search(_text(about["setting"]), dict(sorted(grid.items())), chosen)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r} is no finite number")
    except OverflowError:
        raise ValueError("a whole number is far too large") from None
    return float(value)


def _share(value: Any) -> float:
    if not 0 <= _number(value) <= 1:
        raise ValueError(f"{value!r} is no number from 0 to 1")
    return float(value)


def _seed(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no seed, which is a whole number")
    return value
