"""Exercises on how sure a mean is: a confidence interval, and paired differences."""

from __future__ import annotations

import numpy as np
import scipy

from csd_edu.check.answers import Rows
from csd_edu.check.running import Case, Exercise, table


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


def _library(values: np.ndarray) -> tuple[float, float]:
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    return float(low), float(high)


T_INTERVAL = Exercise(
    t_interval,
    title="Confidence interval",
    doc="Check f(values (n,) float64 array) -> two floats, the ends of the 95 % t-interval of the mean.",
    truth=_library,
    answer=Rows(),
    cases=(
        Case("two values", np.array([0.3, 0.5])),
        Case("three values", np.array([0.2, 0.4, 0.6])),
        Case("five values in no order", np.array([0.52, 0.47, 0.61, 0.5, 0.45])),
        Case("ten values, some below 0", np.array([0.3, -0.1, 0.2, 0.05, 0.4, -0.3, 0.15, 0.1, 0.25, 0.35])),
    ),
    mistakes=table("""
    1.96 instead of Student's factor | scipy.stats.t.ppf(0.975, df=n - 1) => 1.96
        1.96 is the factor for a spread that is known. Yours is estimated from a few values, and the factor is larger,
        with three values more than twice as large: stats.t.ppf.
    standard deviation divided by n | ddof=1 => ddof=0
        Your standard deviation is divided by n. The values lie closer to their own mean than to the true one; dividing
        by n − 1 makes up for it: np.std(values, ddof=1).
    not divided by √n | / np.sqrt(n) =>
        This is where single runs lie. The mean of n runs is surer than one of them: divide by √n.
    a 90 % interval | 0.975 => 0.95
        This is a 90 % interval: with q = 0.95 there are 5 % left on each side. Of 95 % half of the rest, 2.5 %, lies
        above, so q = 0.975.
    a 99 % interval | 0.975 => 0.995
        This is a 99 % interval: with q = 0.995 only 0.5 % are left on each side. For 95 % it is 2.5 %, so q = 0.975.
    2 instead of Student's factor | scipy.stats.t.ppf(0.975, df=n - 1) => 2
        You take two standard errors. That is right for many values; for a few the factor is larger: stats.t.ppf.
    the median instead of the mean | np.mean(values) => np.median(values) (twice)
        Your interval lies around the median. It belongs around the mean.
    half the margin | - margin) => - margin / 2) | + margin) => + margin / 2)
        Your interval is half as wide as it should be: the margin goes to each side.
    n degrees of freedom | df=n - 1 => df=n
        You take n degrees of freedom. The mean is estimated from the same values, so there are n − 1.
    divided by n instead of √n | np.sqrt(n) => n
        You divide by n, which makes the interval too narrow. The spread of a mean falls with √n: four times the runs,
        half the interval.
    variance instead of standard deviation | np.std => np.var
        You used the variance s². The interval needs its square root, s, which has the unit of the values.
    no factor | scipy.stats.t.ppf(0.975, df=n - 1) * =>
        You go one standard error, s/√n, to each side. That leaves far more than 5 % outside: multiply by
        stats.t.ppf(0.975, df=n − 1).
    mean plus and minus the standard deviation | scipy.stats.t.ppf(0.975, df=n - 1) * s / np.sqrt(n) => s
        This is the mean plus and minus one standard deviation: it says how the runs spread, not how well their mean is
        known.
    smallest and largest value
        | float(np.mean(values) - margin), float(np.mean(values) + margin) => min(values), max(values)
        These are the smallest and the largest value. The true mean may well lie outside of what a few runs have
        reached.
    the ends are swapped
        | float(np.mean(values) - margin), float(np.mean(values) + margin)
        => np.mean(values) + margin, np.mean(values) - margin
        The two ends are swapped: the lower one comes first.
    around 0 instead of the mean | np.mean(values) => 0 (twice)
        Your interval lies around 0. Its middle is the mean of the values.
    mean and margin | float(np.mean(values) - margin), float(np.mean(values) + margin) => np.mean(values), margin
        You return the mean and the margin. Asked for are the two ends: mean − margin and mean + margin.
    the mean in between | - margin), => - margin), np.mean(values),
        You return three numbers, with the mean in the middle. Asked for are the two ends only.
    the margin only | float(np.mean(values) - margin), float(np.mean(values) + margin) => margin
        This is the margin. Return the mean minus it and the mean plus it.
    """),
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


PAIRED_DIFFERENCE = Exercise(
    paired_difference,
    title="Paired difference",
    doc="Check f(a (n,), b (n,)) -> three floats: the mean of a − b, and the ends of its 95 % t-interval.",
    truth=lambda a, b: (_difference(a, b), *_library(a - b)),
    answer=Rows(),
    cases=(
        Case("three seeds", np.array([0.5, 0.6, 0.9]), np.array([0.4, 0.5, 0.6])),
        Case("three seeds, and b is ahead", np.array([0.31, 0.42, 0.37]), np.array([0.35, 0.51, 0.39])),
        Case(
            "four seeds, some hard for both methods", np.array([0.2, 0.55, 0.71, 0.4]), np.array([0.11, 0.5, 0.6, 0.37])
        ),
        Case(
            "five seeds, and the methods have nothing in common",
            np.array([0.4, 0.3, 0.7, 0.2, 0.5]),
            np.array([0.2, 0.6, 0.1, 0.5, 0.3]),
        ),
    ),
    mistakes=table("""
    sign swapped | a - b => b - a
        The sign is wrong: you take b − a. The difference is a − b, so that a positive one says that a is larger.
    taken as unpaired | return => low, high = scipy.stats.ttest_ind(a, b).confidence_interval(0.95); return
        | return => margin = (high - low) / 2; return
        You take a and b as unrelated, with one common spread. They share their seeds: subtract seed by seed, and then
        use the n differences.
    taken as unpaired (Welch)
        | return => low, high = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95); return
        | return => margin = (high - low) / 2; return
        This is Welch's interval, for two groups of runs that have nothing to do with each other. Here each a[i] has a
        partner b[i]: subtract seed by seed first.
    ends of two intervals subtracted | np.std(differences, ddof=1) => (np.std(a, ddof=1) - np.std(b, ddof=1))
        You subtracted the ends of two intervals. What is common to both methods is in each of them; make one interval,
        of the differences.
    margins of two intervals added | np.std(differences, ddof=1) => (np.std(a, ddof=1) + np.std(b, ddof=1))
        You added the margins of two intervals. That is much too wide where both methods find the same seeds hard; make
        one interval, of the differences.
    interval of a alone | np.std(differences => np.std(a
        Your interval is as wide as that of a alone: b varies from seed to seed as well. Make the interval of the
        differences.
    1.96 instead of Student's factor | scipy.stats.t.ppf(0.975, df=n - 1) => 1.96
        The differences are right, but 1.96 is the factor for a spread that is known. For n differences it is
        stats.t.ppf(0.975, df=n − 1), as in your t_interval.
    standard deviation divided by n | ddof=1 => ddof=0
        The standard deviation of your differences is divided by n. Divide by n − 1: np.std(differences, ddof=1).
    not divided by √n | / np.sqrt(n) =>
        Your interval says where the difference of a single seed lies. For the mean of n of them, divide by √n.
    size of the differences | a - b => np.abs(a - b)
        You took the size of each difference, without its sign. If a is ahead with one seed and b with the next, the two
        must cancel.
    a 90 % interval of the difference | 0.975 => 0.95
        This is a 90 % interval: of 95 % half of the rest, 2.5 %, lies above, so q = 0.975.
    variance of the differences | np.std( => np.var(
        You take the variance of the differences. The interval needs its square root, the standard deviation.
    the upper end first | - margin), float(mean + margin) => + margin), float(mean - margin)
        The two ends are swapped: after the mean comes the lower one.
    the ends around 0 | float(mean - margin), float(mean + margin) => -margin, margin
        Your interval lies around 0. Its middle is the mean difference.
    the mean comes last | return float(mean), => return | + margin) => + margin), mean
        The three numbers are in another order: first the mean difference, then the lower and the upper end.
    the mean in the middle
        | float(mean), float(mean - margin), => float(mean - margin), float(mean),
        The three numbers are in another order: first the mean difference, then the two ends, the lower one first.
    mean and margin | float(mean - margin), float(mean + margin) => margin
        You return the mean and the margin. Return three numbers: the mean, the mean minus the margin, and plus it.
    the mean is missing | float(mean), =>
        The interval is right. Return three numbers: the mean difference comes before it.
    the interval is missing | , float(mean - margin), float(mean + margin) =>
        This is the mean difference alone. Without an interval nobody can tell whether it is more than chance: return
        the mean, the lower and the upper end.
    the differences themselves | float(mean), float(mean - margin), float(mean + margin) => differences
        These are the n differences. Return their mean, and the two ends of its interval.
    """),
    hints=(
        "a - b is an array of n numbers, one for each seed. From here on you have only these numbers.",
        "Their mean is .mean(); their interval is made as that of any n values, and you have written that already.",
        "low, high = t_interval(a - b), and then three numbers in this order: the mean, low, high.",
    ),
    tested="seed by seed, the sign, Student's interval of the differences, either method ahead, the order",
)
