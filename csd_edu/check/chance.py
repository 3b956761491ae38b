"""The exercise on what a number is worth: Recall@K of a search that shows items in random order."""

from __future__ import annotations

import math

from csd_edu.check.answers import Number
from csd_edu.check.running import Case, Exercise, table


def chance_recall(n_right: int, n_gallery: int, k: int) -> float:
    n_wrong = n_gallery - n_right
    return 1 - math.comb(n_wrong, k) / math.comb(n_gallery, k)  # one minus the share of choices without a right item


def _one_by_one(n_right: int, n_gallery: int, k: int) -> float:
    """The same on another road: each item shown is wrong with the share of wrong ones among those that are left."""
    n_wrong = n_gallery - n_right
    return 1 - math.prod(max(0, n_wrong - i) / (n_gallery - i) for i in range(k))


CHANCE_RECALL = Exercise(
    chance_recall,
    title="Recall@K by chance",
    doc="Check f(n_right, n_gallery, k) -> float, Recall@K of a search that shows the items in random order.",
    truth=_one_by_one,
    answer=Number(),
    cases=(
        Case("one item is shown", 3, 12, 1),
        Case("two items are shown", 3, 12, 2),
        Case("one right item, five shown", 1, 20, 5),
        Case("nine right items of 999, as in the saved runs", 9, 999, 10),
        Case("more right items than are shown", 6, 10, 3),
        Case(
            "more items are shown than there are wrong ones",
            *(3, 5, 4),
            shows="more items shown than there are wrong ones",
        ),
    ),
    mistakes=table("""
    R / G for every k | 1 - math.comb(n_wrong, k) / math.comb(n_gallery, k) => n_right / n_gallery
        You return R / G, which is right for k = 1 only. The more items are shown, the surer a hit.
    k times R / G | 1 - math.comb(n_wrong, k) / math.comb(n_gallery, k) => k * n_right / n_gallery
        You multiply R / G by k. That is the mean number of right items among the k; it counts a search with two hits
        twice, and can become larger than 1.
    k times R / G, at most 1 | 1 - math.comb(n_wrong, k) / math.comb(n_gallery, k) => min(1, k * n_right / n_gallery)
        You multiply R / G by k and cut at 1. A search with two right items among the k is one hit, not two; before the
        cut it is already too much.
    drawn with replacement | 1 - math.comb(n_wrong, k) / math.comb(n_gallery, k) => 1 - (1 - n_right / n_gallery) ** k
        You take the k items as independent: 1 − (1 − R/G)^k. But no item is shown twice: after a wrong one, fewer wrong
        ones are left. Count the choices, with math.comb.
    the gallery does not get smaller | math.comb(n_gallery, k) => n_gallery**k | math.comb(n_wrong, k)
        => math.prod(n_wrong - i for i in range(k))
        With each item that is shown the wrong ones get fewer with you, but the gallery does not. Both do.
    the wrong ones do not get fewer | math.comb(n_wrong, k) => n_wrong**k
        | math.comb(n_gallery, k) => math.prod(n_gallery - i for i in range(k))
        With each item that is shown the gallery gets smaller with you, but the wrong ones do not get fewer. Both do.
    chance of no hit | 1 - =>
        This is the chance that all k items are wrong. Recall@K is the chance of the opposite: one minus it.
    all k must be right | 1 - math.comb(n_wrong => math.comb(n_right
        This is the chance that all k items are right. For a hit, one of them is enough.
    one minus all right | comb(n_wrong => comb(n_right
        You subtract the choices of only right items. A miss is a choice of only wrong ones: k out of G − R.
    exactly one right item | 1 - math.comb(n_wrong, k) => n_right * math.comb(n_wrong, k - 1)
        This is the chance of exactly one right item among the k. At least one is asked for; two are a hit, too.
    the query taken out once more | comb(n_gallery, k) => comb(n_gallery - 1, k)
        You take the query out of the gallery: G − 1 items, of which R − 1 are right. It is left out already: G and R
        count the others only.
    percent instead of a share | 1 - => 100 - 100 *
        You return percent. Recall@K is a share, from 0 to 1.
    more items shown than there are wrong ones
        | math.comb(n_wrong, k) => math.factorial(n_wrong) // math.factorial(k) // math.factorial(n_wrong - k)
        If more items are shown than there are wrong ones, one of them must be right: the result is 1. math.comb gives 0
        choices then; factorials of negative numbers do not exist.
    """),
    hints=(
        "Begin with k = 1: the result is R / G. For more items, ask first for the chance that all k are wrong.",
        "There are math.comb(G, k) choices of k items, all alike. How many of them have only wrong items?",
        "Three right items of twelve, two shown: 1 − math.comb(9, 2) / math.comb(12, 2) = 1 − 36/66.",
    ),
    tested="one item and several, no item shown twice, at least one hit, more items shown than there are wrong ones",
)
