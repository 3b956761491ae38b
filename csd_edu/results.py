"""What an experiment has measured: a number for each setting, measure and seed, with intervals over the seeds.

The experiments of the second part come with the kit as csd_edu/measured/NAME.json; the command in the file makes it
anew:

{"about": "CIFAR-100, 20 classes, …", "command": "python benchmarks/quantity.py", "environment": {"torch": "2.8.0", …},
 "date": "2026-11-27", "seeds": [0, 1], "values": {"32²": {"recall_at_1": [0.41, 0.43]}}, "notes": {"chosen": …}}
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from csd_edu import arguments
from csd_edu.files import make_folder, read_json, write_json
from csd_edu.metrics import mean_interval
from csd_edu.paths import given_path
from csd_edu.runtime import environment

SHIPPED = Path(__file__).parent / "measured"
"""Where the tables lie that come with the kit."""


class Interval(NamedTuple):
    """The mean over the seeds of a value, or of a difference paired by seed, and half of its 95 % interval."""

    mean: float
    half: float

    @property
    def verdict(self) -> str:
        """On which side of 0 the whole interval lies, in words, or that it contains 0."""
        if math.isnan(self.half) or abs(self.mean) <= self.half:  # of one seed there is no interval
            return "not told apart"
        return "above 0" if self.mean > 0 else "below 0"

    def __str__(self) -> str:
        return self.signed("")

    def signed(self, sign: str = "+") -> str:
        """Return the mean ± half as text, with a sign also of what is above 0; of one seed its value alone."""
        return number(self.mean, f"{sign}.3f") + f" ± {number(self.half)}" * (not math.isnan(self.half))


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of some values, one for each seed, and half of its 95 % interval (Student's t)."""
    return Interval(*mean_interval(values))


def _today() -> str:
    return datetime.date.today().isoformat()


@dataclass(frozen=True)
class Results:
    """What an experiment has measured.

    Attributes:
        about: data, network and training, in a sentence.
        command: what measures it anew.
        seeds: of class order, weights and batches.
        values: by setting and measure, one number for each seed, in their order.
        notes: what else belongs to it, as JSON, such as which weights were chosen.
        environment: machine and versions; default those of now.
        date: when it was measured; default today.
    """

    about: str
    command: str
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[str, tuple[float, ...]]]
    notes: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=environment)
    date: str = field(default_factory=_today)

    def __post_init__(self) -> None:
        for name in ("about", "command", "date"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a text")
        for name in ("notes", "environment", "values"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a dictionary")
        seeds = arguments.whole_numbers("seeds", self.seeds)
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds are {seeds}; expected each once")
        values: dict[str, dict[str, tuple[float, ...]]] = {}
        for setting, measures in self.values.items():
            if not isinstance(measures, Mapping):
                raise ValueError(f"the values of {setting!r} are {measures!r}; expected a dictionary, by measure")
            values[setting] = {m: _of_seeds(setting, m, given, len(seeds)) for m, given in measures.items()}
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "seeds", tuple(seeds))

    def of(self, setting: str, measure: str) -> tuple[float, ...]:
        """Return the values of a setting, one for each seed.

        Raises:
            ValueError: if there is no such setting or measure; names those there are.
        """
        if setting not in self.values:
            raise ValueError(f"there is no setting {setting!r}; expected one of {', '.join(map(repr, self.values))}")
        if measure not in self.values[setting]:
            there = ", ".join(map(repr, self.values[setting]))
            raise ValueError(f"{setting!r} has no measure {measure!r}; expected one of {there}")
        return self.values[setting][measure]

    def interval(self, setting: str, measure: str) -> Interval:
        """Return the mean of a setting's values and half of its 95 % interval (Student's t)."""
        return interval(self.of(setting, measure))

    def difference(self, one: str, other: str, measure: str) -> Interval:
        """Return the mean of one setting minus another, seed by seed, and half of its 95 % interval."""
        pairs = zip(self.of(one, measure), self.of(other, measure), strict=True)
        return interval([a - b for a, b in pairs])

    def table(self, measures: Sequence[str] | None = None) -> str:
        """Return the means and intervals as a table in Markdown; by default of all measures."""
        names = measures or list(dict.fromkeys(name for of in self.values.values() for name in of))
        lines = [f"| | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
        for setting, of in self.values.items():
            cells = [str(self.interval(setting, name)) if name in of else "–" for name in names]
            lines.append(f"| {setting} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def differences(self, pairs: Sequence[tuple[str, str]], measures: Sequence[str]) -> str:
        """Return the differences of pairs of settings as a table in Markdown, with a verdict for each.

        A pair of which one was not measured is left out; a measure that one of a pair does not have is a dash.
        """
        lines = [f"| difference, paired | {' | | '.join(measures)} | |", "| --- |" + " --- | --- |" * len(measures)]
        for one, other in pairs:
            if not {one, other} <= self.values.keys():
                continue
            there = self.values[one].keys() & self.values[other].keys()
            found = [self.difference(one, other, measure) if measure in there else None for measure in measures]
            cells = ["– | –" if d is None else f"{d.signed()} | {d.verdict}" for d in found]
            lines.append(f"| {one} − {other} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def write(self, path: str | Path) -> None:
        """Write the results as JSON, with the folders on the way.

        Raises:
            ValueError: if the notes or the environment hold what JSON does not know, such as NaN; nothing is written.
        """
        plain = {}
        for name, part in asdict(self).items():
            try:
                plain[name] = json.loads(json.dumps(part, allow_nan=False))
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{name} can't be written as JSON ({error}); expected plain, finite values") from None
        make_folder(given_path(path).parent)
        write_json(given_path(path), plain)


def _of_seeds(setting: str, measure: str, values: Any, n_seeds: int) -> tuple[float, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{setting!r} has {values!r} as {measure!r}; expected a list of numbers, one for each seed")
    found = tuple(arguments.number(f"{measure!r} of {setting!r}, [{k}],", value) for k, value in enumerate(values))
    if len(found) != n_seeds:
        raise ValueError(f"{setting!r} has {len(found)} values of {measure!r}; expected {n_seeds}, one for each seed")
    return found


def read(path: str | Path) -> Results:
    """Return the results that `Results.write` wrote.

    Args:
        path: of the file; or the name of one that comes with the kit, such as "quantity".

    Raises:
        FileNotFoundError: if there is no such file; names those that come with the kit.
        ValueError: if it is damaged.
    """
    file = SHIPPED / f"{path}.json" if isinstance(path, str) and path in shipped() else given_path(path)
    advice = f"expected a file of results, or one of {', '.join(shipped()) or 'none'}, which come with the kit"
    saved = read_json(file, advice=advice)
    try:
        return Results(**saved)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} holds no results ({error}); {advice}") from error


def shipped() -> tuple[str, ...]:
    """Return the names of the results that come with the kit."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.json")))


def number(value: float, form: str = ".3f") -> str:
    """Return a number as text, with a true minus sign."""
    return f"{value:{form}}".replace("-", "−")
