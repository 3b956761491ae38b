"""Mutants of the model solutions: does a check refuse each one that is wrong, and does it say why?

A mutant is the solution with a slip in one place, with one more thing done to its result, or with an input that it
spoils. It must be refused, or be equivalent: give the solution's answers to many random inputs of the exercise's kind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from csd_edu.check import EXERCISES, running
from csd_edu.check.answers import Indices, Masks, Rules, Terms
from csd_edu.check.dreaming import replayed
from csd_edu.check.inputs import uniform_step
from csd_edu.check.slips import RELATIONS, slips

Function = Callable[..., Any]
Rng = np.random.Generator


@dataclass(frozen=True)
class Mutant:
    """A name, the place of the slip, and the function."""

    slip: str
    place: str
    function: Function


def mutants(name: str) -> Iterator[Mutant]:
    """Yield the mutants of an exercise's solution."""
    exercise = EXERCISES[name]
    for slip in slips(exercise.solution):
        yield Mutant(slip.name, slip.place, running._compiled(exercise.solution, slip.source))
    if exercise.tried is None:
        yield from _spoilt(exercise)
        if not isinstance(exercise.answer, Rules | Masks | Indices | Terms):
            for relation, (change, _) in RELATIONS.items():
                yield Mutant(relation, "the result", _then(exercise, change))


def _then(exercise: running.Exercise, change: Function) -> Function:
    def mutant(*arguments: Any) -> Any:
        answer = exercise.solution(*arguments)
        return change(answer if isinstance(answer, torch.Tensor) else torch.as_tensor(answer, dtype=torch.float64))

    return mutant


def _spoilt(exercise: running.Exercise) -> Iterator[Mutant]:
    """Yield functions that give the right answer, and change one of their inputs."""
    for k, parameter in enumerate(exercise.parameters):

        def mutant(*arguments: Any, k: int = k) -> Any:
            answer = exercise.solution(*copy.deepcopy(arguments))
            spoil(arguments[k])
            return answer

        if _can_be_spoilt(exercise.cases[0].arguments[k]):
            yield Mutant("input changed", parameter, mutant)


def _can_be_spoilt(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | list)


def spoil(value: Any) -> None:
    """Change one entry in place; in a matrix with empty cells one of these."""
    if isinstance(value, list):
        rows = [row for row in value if isinstance(row, list)]
        row = next((row for row in rows if None in row), rows[0] if rows else value)
        k = row.index(None) if None in row else 0
        if isinstance(row[k], torch.Tensor):
            spoil(row[k])
        else:
            row[k] = 0.0
    elif isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        value.logical_not_()
    else:
        value += 1


def random_input(name: str, rng: Rng) -> tuple[Any, ...]:
    """Return arguments of an exercise's kind."""
    return _INPUTS[name](rng)


def _normal(rng: Rng, *shape: int, scale: float = 1.0) -> torch.Tensor:
    lengths = np.exp(rng.normal(size=(shape[0], *[1] * (len(shape) - 1))))
    return torch.from_numpy(scale * rng.normal(size=shape) * lengths).float()


def _labels(rng: Rng, n: int, n_classes: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, n_classes, n))


def _matrix(rng: Rng) -> list[list[float | None]]:
    """A task matrix of two to five tasks; above the diagonal None or any value."""
    n, full = int(rng.integers(2, 6)), rng.random() < 0.5
    return [[float(rng.random()) if full or j <= i else None for j in range(n)] for i in range(n)]


def _first_and_last(rng: Rng) -> tuple[Any, ...]:
    matrix = _matrix(rng)
    matrix = [
        [value if j <= i and value is not None else None for j, value in enumerate(row)] for i, row in enumerate(matrix)
    ]
    if rng.random() < 0.3:
        matrix[-1][0] = 0.0
    return matrix, int(rng.integers(len(matrix)))


def _recall(rng: Rng) -> tuple[Any, ...]:
    n, k = int(rng.integers(3, 9)), int(rng.integers(1, 3))
    x, labels = _normal(rng, n, 3), _labels(rng, n, 3)
    if rng.random() < 0.3:
        x[1] = 2 * x[0]
    if rng.random() < 0.5:
        labels[-1] = labels[0]
        return x, labels, x.clone(), labels.clone(), k, True
    return x, labels, _normal(rng, n + 2, 3), torch.cat([labels[:1], _labels(rng, n + 1, 3)]), k, False


def _chance(rng: Rng) -> tuple[Any, ...]:
    n = int(rng.integers(3, 20))
    return int(rng.integers(1, n)), n, int(rng.integers(1, n))


def _found(rng: Rng) -> tuple[Any, ...]:
    t, n = int(rng.integers(2, 5)), int(rng.integers(4, 10))
    return torch.from_numpy(rng.random((t, n)) < 0.5), _labels(rng, n, t)


def _ranks(rng: Rng) -> tuple[Any, ...]:
    t, n = int(rng.integers(2, 5)), int(rng.integers(4, 10))
    return torch.from_numpy(rng.integers(1, 4, (t, n))), _labels(rng, n, t)


def _logits(rng: Rng) -> tuple[Any, ...]:
    n, k = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    extra = int(rng.integers(0, 3))
    return _normal(rng, n, k + extra, scale=2), _normal(rng, n, k, scale=2), float(rng.choice([0.5, 1, 2, 4]))


def _two_each(rng: Rng, n: int) -> torch.Tensor:
    return torch.from_numpy(rng.permutation(np.arange(n) % max(2, n // 3)))


def _triplet(rng: Rng) -> tuple[Any, ...]:
    n = int(rng.integers(4, 10))
    return _normal(rng, n, 3), _labels(rng, n, 3), float(rng.choice([0.1, 0.3, 1]))


def _csd(rng: Rng) -> tuple[Any, ...]:
    n = int(rng.integers(2, 8))
    return _normal(rng, n, 4), _normal(rng, n, 4), _labels(rng, n, 3), float(rng.choice([0.07, 0.2, 0.5]))


def _stale(rng: Rng) -> tuple[Any, ...]:
    t, n = int(rng.integers(2, 5)), int(rng.integers(8, 16))
    tasks = _labels(rng, n, t)
    tasks[-t:] = torch.arange(t)
    return [_normal(rng, n, 3) for _ in range(t)], 2 * tasks + torch.arange(n) % 2, tasks


def _dictionary(rng: Rng) -> tuple[Any, ...]:
    m, d = int(rng.integers(12, 20)), int(rng.integers(2, 5))
    old = torch.from_numpy(rng.normal(size=(m, d))) + 1  # float64: what cancels, cancels
    new = torch.from_numpy(rng.normal(size=(m, d))) - 2
    return _normal(rng, 3, d).double(), old, new, float(rng.choice([0.5, 2]))


def _hours(rng: Rng) -> tuple[Any, ...]:
    n = int(rng.integers(1, 5))
    columns = rng.integers(1, 50, n) * 3600, rng.integers(1, 9, n), rng.integers(1, 90, n)
    return tuple(column.tolist() for column in columns)


def _matched(rng: Rng) -> tuple[Any, ...]:
    """Features of real and of learnt images, of one to three classes."""
    k = int(rng.integers(1, 4))
    labels = [torch.from_numpy(rng.permutation(np.arange(n) % k)) + int(k > 1) for n in (9, 5)]
    return _normal(rng, 9, 4), labels[0], _normal(rng, 5, 4), labels[1]


def _worth(rng: Rng) -> tuple[Any, ...]:
    return int(rng.integers(0, 2000)), (int(rng.choice([1, 3])), *map(int, rng.integers(3, 9, 2)))


def _replayed(rng: Rng) -> tuple[Any, ...]:
    n, n_old, n_new, seed = map(int, rng.integers(1, [5, 4, 4, 10**6]))
    return replayed(n, n_old, n_new, float(rng.choice([0.1, 0.5, 2])), seed)


def _votes(rng: Rng) -> tuple[Any, ...]:
    b, m, c = (int(rng.integers(low, high)) for low, high in ((1, 5), (2, 7), (2, 4)))
    return _normal(rng, b, 3), _normal(rng, m, 3), torch.eye(c)[_labels(rng, m, c)], float(rng.choice([0.1, 0.3, 2]))


def _answers(rng: Rng) -> torch.Tensor:
    """Probabilities (B, C), now and then with a class that none of them has."""
    p = _normal(rng, int(rng.integers(1, 6)), int(rng.integers(2, 5))).softmax(dim=1)
    if rng.random() < 0.3:
        p[:, -1] = 0
    return p / p.sum(dim=1, keepdim=True)


def _draws(rng: Rng) -> tuple[Any, ...]:
    size = int(rng.integers(1, 5))
    return rng.random(size + int(rng.integers(-1, 12))).tolist(), size


def _of_tasks(rng: Rng) -> tuple[Any, ...]:
    """Stored and current logits, labels of the first two classes, heads of later ones, and γ."""
    n, c = int(rng.integers(1, 6)), int(rng.integers(4, 7))
    lo = int(rng.integers(2, c - 1))
    hi = int(rng.integers(lo + 1, c + 1))
    return _normal(rng, n, c, scale=2), _normal(rng, n, c, scale=2), _labels(rng, n, 2), lo, hi, float(rng.random())


def _past(rng: Rng) -> tuple[Any, ...]:
    n, past = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    return _normal(rng, n, past + 2), past + _labels(rng, n, 2), past, float(rng.choice([0.1, 0.3, 1]))


def _step(rng: Rng) -> tuple[Any, ...]:
    task = int(rng.integers(0, 3))
    labels = [3 * task, 3 * task + 1] * 3
    return (uniform_step(labels, task, int(rng.integers(10**6)), n_known=3 * max(task, 1)),)


def _images(rng: Rng) -> tuple[Any, ...]:
    k, side = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    shape = (int(rng.integers(1, 4)), int(rng.choice([1, 3])), k * side, k * side)
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)), side


_INPUTS: dict[str, Callable[[Rng], tuple[Any, ...]]] = {
    "first_and_last": _first_and_last,
    "lost_queries": _found,
    "search": lambda rng: (_normal(rng, 4, 3), _normal(rng, 6, 3), int(rng.integers(1, 5))),
    "recall_at_k": _recall,
    "chance_recall": _chance,
    "backward_transfer": lambda rng: (_matrix(rng),),
    "forgetting": lambda rng: (_matrix(rng),),
    "lost_and_won": _ranks,
    "temperature_softmax": lambda rng: _logits(rng)[1:],
    "distillation": _logits,
    "push": _logits,
    "triplet": _triplet,
    "contrast_masks": lambda rng: (_labels(rng, int(rng.integers(2, 8)), 3),),
    "csd": _csd,
    "my_csd": _step,
    "mean_displacement": lambda rng: (_normal(rng, 5, 3), _normal(rng, 5, 3)),
    "linear_cka": lambda rng: (_normal(rng, 6, 3) + 1, _normal(rng, 6, 4)),
    "neighbor_overlap": lambda rng: (_normal(rng, 7, 3), _normal(rng, 7, 4), int(rng.integers(1, 5))),
    "stale_recall": _stale,
    "representatives": lambda rng: (_normal(rng, 12, 3), int(rng.integers(1, 3))),
    "translate": _dictionary,
    "t_interval": lambda rng: (rng.normal(size=int(rng.integers(2, 9))),),
    "paired_difference": lambda rng: (rng.normal(size=5), rng.normal(size=5)),
    "training_hours": _hours,
    "feature_distance": lambda rng: (_normal(rng, 5, 4), _normal(rng, 5, 4)),
    "feature_distillation": lambda rng: (*_step(rng), float(rng.choice([0.5, 2, 3]))),
    "relation_distance": lambda rng: (_normal(rng, 5, 4), _normal(rng, 5, 4)),
    "herd": lambda rng: (F.normalize(_normal(rng, 9, 3), dim=1), int(rng.integers(1, 6))),
    "dm_loss": _matched,
    "as_bytes": lambda rng: (torch.from_numpy(rng.uniform(-0.3, 1.3, (2, 1, 3, 3))).float(),),
    "worth_in_images": _worth,
    "discriminator_loss": lambda rng: tuple(_normal(rng, n, 1)[:, 0] for n in rng.integers(1, 6, 2)),
    "replay_terms": _replayed,
    "images_that_fit": lambda rng: tuple(int(n) for n in rng.integers((0, 1, 1, 0), (4000, 12, 4, 9))),
    "shrink": _images,
    "kept_per_class": lambda rng: (rng.integers(0, 4, int(rng.integers(1, 15))).tolist(), int(rng.integers(1, 8))),
    "snn_predict": _votes,
    "sharpen": lambda rng: (_answers(rng), float(rng.choice([0.25, 0.5, 3]))),
    "spread": lambda rng: (_answers(rng),),
    "reservoir": _draws,
    "rewrite_logits": _of_tasks,
    "past_hinge": _past,
}
EXERCISES_WITH_MUTANTS = list(_INPUTS)
"""All but those whose cases are runs or rules: there are no random inputs of these kinds."""


def equivalent(name: str, mutant: Mutant, n: int = 200) -> bool:
    """Return whether a mutant answers n random inputs as the solution does, and leaves them as they are."""
    exercise = EXERCISES[name]
    return all(_alike(exercise, mutant.function, random_input(name, np.random.default_rng(seed))) for seed in range(n))


def _alike(exercise: running.Exercise, f: Function, arguments: tuple[Any, ...]) -> bool:
    right = exercise.answer.tensor(exercise.solution(*copy.deepcopy(arguments)))
    given = copy.deepcopy(arguments)
    try:
        answer = exercise.answer.read(f(*given), right)
    except Exception:
        return False
    unchanged = all(map(running._untouched, arguments, given))
    return unchanged and isinstance(answer, torch.Tensor) and running._same_shape(answer, right)


@dataclass
class Tally:
    """How many mutants of an exercise were equivalent, refused, named or explained (by its own table); the holes."""

    equivalent: int = 0
    refused: int = 0
    named: int = 0
    by_table: int = 0
    holes: tuple[str, ...] = ()


def tally(name: str, chosen: Callable[[int], bool] = lambda _: True) -> Tally:
    """Give the mutants of an exercise to its check, or only those with chosen numbers."""
    exercise, found = EXERCISES[name], Tally()
    known = {mistake.name for mistake in exercise.mistakes}
    for k, mutant in enumerate(mutants(name)):
        if not chosen(k):
            continue
        verdict = running.examine(exercise, mutant.function)
        if not verdict.passed:
            found.refused += 1
            explained = verdict.mistake == "error" and not verdict.message.splitlines()[-1].startswith("Line ")
            found.named += explained or verdict.mistake not in (None, "error", "not finite")
            found.by_table += verdict.mistake in known
        elif equivalent(name, mutant):
            found.equivalent += 1
        else:
            found.holes += (f"{mutant.slip}: {mutant.place}",)
    return found


def as_text(tallies: dict[str, Tally]) -> str:
    """Return a table: of each exercise the number of mutants, and what became of them."""
    lines = [f"{'exercise':<22}{'equivalent':>11}{'refused':>9}{'named':>7}{'by its table':>14}{'passed':>8}"]
    for name, found in tallies.items():
        numbers = f"{found.equivalent:>11}{found.refused:>9}{found.named:>7}{found.by_table:>14}{len(found.holes):>8}"
        lines.append(f"{name:<22}{numbers}")
    refused = sum(found.refused for found in tallies.values())
    share = sum(found.named for found in tallies.values()) / max(refused, 1)
    return "\n".join([*lines, f"{refused} refused, of which {share:.0%} are named"])
