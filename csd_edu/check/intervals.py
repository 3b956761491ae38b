"""Exercises on how sure a mean is: a confidence interval, and paired differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy

from csd_edu.check.running import Case, Exercise, Mistake


def t_interval(values: np.ndarray) -> tuple[float, float]:
    n = len(values)
    s = np.std(values, ddof=1)  # divided by n − 1
    margin = scipy.stats.t.ppf(0.975, df=n - 1) * s / np.sqrt(n)  # 2.5 % lie above it, 2.5 % below
    return float(np.mean(values) - margin), float(np.mean(values) + margin)


def paired_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    differences = a - b  # (n,) seed by seed; from here on they are values like any others
    n, mean = len(differences), np.mean(differences)
    margin = scipy.stats.t.ppf(0.975, df=n - 1) * np.std(differences, ddof=1) / np.sqrt(n)
    return float(mean), float(mean - margin), float(mean + margin)


Part = Callable[[np.ndarray], float]


def _library(values: np.ndarray) -> tuple[float, float]:
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    return float(low), float(high)


def _student(values: np.ndarray) -> float:
    return float(scipy.stats.t.ppf(0.975, len(values) - 1))


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1))


def _root(values: np.ndarray) -> float:
    return float(len(values) ** 0.5)


def _wrong(
    values: np.ndarray, *, factor: Part = _student, spread: Part = _deviation, share: Part = _root
) -> tuple[float, float]:
    """An interval with one thing done differently: mean ± factor · spread / share."""
    margin = factor(values) * spread(values) / share(values)
    return float(values.mean() - margin), float(values.mean() + margin)


T_INTERVAL = Exercise(
    name="t_interval",
    title="Confidence interval",
    solution=t_interval,
    truth=_library,
    answer="rows",
    cases=(
        Case("two values", (np.array([0.3, 0.5]),)),
        Case("three values", (np.array([0.2, 0.4, 0.6]),)),
        Case("five values in no order", (np.array([0.52, 0.47, 0.61, 0.5, 0.45]),)),
        Case("ten values, some below 0", (np.array([0.3, -0.1, 0.2, 0.05, 0.4, -0.3, 0.15, 0.1, 0.25, 0.35]),)),
    ),
    mistakes=(
        Mistake(
            "1.96 instead of Student's factor",
            "1.96 is the factor for a spread that is known. Yours is estimated from a few values, and the factor is "
            "larger, with three values more than twice as large: stats.t.ppf.",
            partial(_wrong, factor=lambda _: 1.96),
        ),
        Mistake(
            "standard deviation divided by n",
            "Your standard deviation is divided by n. The values lie closer to their own mean than to the true one; "
            "dividing by n − 1 makes up for it: np.std(values, ddof=1).",
            partial(_wrong, spread=lambda values: float(values.std())),
        ),
        Mistake(
            "not divided by √n",
            "This is where single runs lie. The mean of n runs is surer than one of them: divide by √n.",
            partial(_wrong, share=lambda _: 1.0),
        ),
        Mistake(
            "a 90 % interval",
            "This is a 90 % interval: with q = 0.95 there are 5 % left on each side. Of 95 % half of the rest, 2.5 %, "
            "lies above, so q = 0.975.",
            partial(_wrong, factor=lambda values: float(scipy.stats.t.ppf(0.95, len(values) - 1))),
        ),
        Mistake(
            "n degrees of freedom",
            "You take n degrees of freedom. The mean is estimated from the same values, so there are n − 1.",
            partial(_wrong, factor=lambda values: float(scipy.stats.t.ppf(0.975, len(values)))),
        ),
        Mistake(
            "divided by n instead of √n",
            "You divide by n, which makes the interval too narrow. The spread of a mean falls with √n: four times the "
            "runs, half the interval.",
            partial(_wrong, share=lambda values: float(len(values))),
        ),
        Mistake(
            "variance instead of standard deviation",
            "You used the variance s². The interval needs its square root, s, which has the unit of the values.",
            partial(_wrong, spread=lambda values: float(values.var(ddof=1))),
        ),
        Mistake(
            "no factor",
            "You go one standard error, s/√n, to each side. That leaves far more than 5 % outside: multiply by "
            "stats.t.ppf(0.975, df=n − 1).",
            partial(_wrong, factor=lambda _: 1.0),
        ),
        Mistake(
            "mean plus and minus the standard deviation",
            "This is the mean plus and minus one standard deviation: it says how the runs spread, not how well their "
            "mean is known.",
            partial(_wrong, factor=lambda _: 1.0, share=lambda _: 1.0),
        ),
        Mistake(
            "smallest and largest value",
            "These are the smallest and the largest value. The true mean may well lie outside of what a few runs have "
            "reached.",
            lambda values: (values.min(), values.max()),
        ),
        Mistake(
            "the ends are swapped",
            "The two ends are swapped: the lower one comes first.",
            lambda values: _library(values)[::-1],
        ),
        Mistake(
            "around 0 instead of the mean",
            "Your interval lies around 0. Its middle is the mean of the values.",
            lambda values: _library(values - values.mean()),
        ),
        Mistake(
            "the margin only",
            "This is the margin. Return the mean minus it and the mean plus it.",
            lambda values: (_library(values)[1] - _library(values)[0]) / 2,
        ),
    ),
    hints=(
        "Three lines: n = len(values), the standard deviation s = np.std(values, ddof=…), and the margin. Return mean "
        "− margin and mean + margin.",
        "The margin is stats.t.ppf(q, df=n − 1) · s / √n. Which q leaves 2.5 % above it?",
        "np.std divides by n; with ddof=1 it divides by n − 1. And q = 0.975.",
    ),
    tested="Student's factor and its degrees of freedom, n − 1 in the standard deviation, √n, both ends in order",
)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.mean() - b.mean())


def _around(a: np.ndarray, b: np.ndarray, margin: float) -> tuple[float, float, float]:
    """The mean difference, and an interval around it."""
    mean = _difference(a, b)
    return mean, mean - margin, mean + margin


def _unpaired(a: np.ndarray, b: np.ndarray, *, equal_var: bool) -> tuple[float, float, float]:
    """As if the runs had nothing to do with each other; Welch's interval where the variances may differ."""
    ends = scipy.stats.ttest_ind(a, b, equal_var=equal_var).confidence_interval(0.95)
    return _around(a, b, (ends.high - ends.low) / 2)


def _margin(values: np.ndarray) -> float:
    low, high = _library(values)
    return (high - low) / 2


def _wrong_pairs(a: np.ndarray, b: np.ndarray, **different: Part) -> tuple[float, ...]:
    """The mean difference, and its interval with one thing done differently."""
    return _difference(a, b), *_wrong(a - b, **different)


def _ends_subtracted(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    (a_low, a_high), (b_low, b_high) = _library(a), _library(b)
    return _difference(a, b), a_low - b_low, a_high - b_high


PAIRED_DIFFERENCE = Exercise(
    name="paired_difference",
    title="Paired difference",
    solution=paired_difference,
    truth=lambda a, b: (_difference(a, b), *_library(a - b)),
    answer="rows",
    cases=(
        Case("three seeds", (np.array([0.5, 0.6, 0.9]), np.array([0.4, 0.5, 0.6]))),
        Case("three seeds, and b is ahead", (np.array([0.31, 0.42, 0.37]), np.array([0.35, 0.51, 0.39]))),
        Case(
            "four seeds, some hard for both methods",
            (np.array([0.2, 0.55, 0.71, 0.4]), np.array([0.11, 0.5, 0.6, 0.37])),
        ),
        Case(
            "five seeds, and the methods have nothing in common",
            (np.array([0.4, 0.3, 0.7, 0.2, 0.5]), np.array([0.2, 0.6, 0.1, 0.5, 0.3])),
        ),
    ),
    mistakes=(
        Mistake(
            "sign swapped",
            "The sign is wrong: you take b − a. The difference is a − b, so that a positive one says that a is larger.",
            lambda a, b: (_difference(b, a), *_library(b - a)),
        ),
        Mistake(
            "taken as unpaired",
            "You take a and b as unrelated, with one common spread. They share their seeds: subtract seed by seed, and "
            "then use the n differences.",
            partial(_unpaired, equal_var=True),
        ),
        Mistake(
            "taken as unpaired (Welch)",
            "This is Welch's interval, for two groups of runs that have nothing to do with each other. Here each a[i] "
            "has a partner b[i]: subtract seed by seed first.",
            partial(_unpaired, equal_var=False),
        ),
        Mistake(
            "ends of two intervals subtracted",
            "You subtracted the ends of two intervals. What is common to both methods is in each of them; make one "
            "interval, of the differences.",
            _ends_subtracted,
        ),
        Mistake(
            "margins of two intervals added",
            "You added the margins of two intervals. That is much too wide where both methods find the same seeds "
            "hard; make one interval, of the differences.",
            lambda a, b: _around(a, b, _margin(a) + _margin(b)),
        ),
        Mistake(
            "interval of a alone",
            "Your interval is as wide as that of a alone: b varies from seed to seed as well. Make the interval of the "
            "differences.",
            lambda a, b: _around(a, b, _margin(a)),
        ),
        Mistake(
            "1.96 instead of Student's factor",
            "The differences are right, but 1.96 is the factor for a spread that is known. For n differences it is "
            "stats.t.ppf(0.975, df=n − 1), as in your t_interval.",
            partial(_wrong_pairs, factor=lambda _: 1.96),
        ),
        Mistake(
            "standard deviation divided by n",
            "The standard deviation of your differences is divided by n. Divide by n − 1: np.std(differences, ddof=1).",
            partial(_wrong_pairs, spread=lambda values: float(values.std())),
        ),
        Mistake(
            "not divided by √n",
            "Your interval says where the difference of a single seed lies. For the mean of n of them, divide by √n.",
            partial(_wrong_pairs, share=lambda _: 1.0),
        ),
        Mistake(
            "size of the differences",
            "You took the size of each difference, without its sign. If a is ahead with one seed and b with the next, "
            "the two must cancel.",
            lambda a, b: (float(np.abs(a - b).mean()), *_library(np.abs(a - b))),
        ),
        Mistake(
            "the mean comes last",
            "The three numbers are in another order: first the mean difference, then the lower and the upper end.",
            lambda a, b: (*_library(a - b), _difference(a, b)),
        ),
        Mistake(
            "the mean is missing",
            "The interval is right. Return three numbers: the mean difference comes before it.",
            lambda a, b: _library(a - b),
        ),
        Mistake(
            "the interval is missing",
            "This is the mean difference alone. Without an interval nobody can tell whether it is more than chance: "
            "return the mean, the lower and the upper end.",
            _difference,
        ),
        Mistake(
            "the differences themselves",
            "These are the n differences. Return their mean, and the two ends of its interval.",
            lambda a, b: a - b,
        ),
    ),
    hints=(
        "a - b is an array of n numbers, one for each seed. From here on you have only these numbers.",
        "Their mean is .mean(); their interval is made as that of any n values, and you have written that already.",
        "low, high = t_interval(a - b), and then three numbers in this order: the mean, low, high.",
    ),
    tested="seed by seed, the sign, Student's interval of the differences, either method ahead, the order",
)
