# %% [markdown] budget_minutes=3
# # Is CSD really better? A fair comparison
#
# A table in a paper has one number for each method, and the largest one is printed in bold. How much is such a number
# worth? Here you compare fine-tuning, LwF and CSD, each with weights that were chosen with the same effort, beside
# controls that leave out one part of CSD, and ask at each step what could have made the difference.
#
# After this notebook you will be able to
#
# - write a confidence interval from a few runs, and say what it does not cover;
# - compare two methods by paired differences, and say when this is sharper;
# - name the other explanations of a lead (confounders), and test one of them.
#
# | section | minutes |
# | --- | --- |
# | 1. One run each: who is ahead? | 6 |
# | 2. A few seeds: how sure are we? *Exercise 1* | 12 |
# | 3. Same seed, same start: paired differences. *Exercise 2* | 14 |
# | 4. Chosen with the same effort? | 6 |
# | 5. Chance in the runs, chance in the queries | 5 |
# | 6. Break it: how to win by choosing | 6 |
# | 7. A shorter race: how to win by the budget | 8 |
# | 8. What may we say? | 7 |
# | Summary and self-test | 5 |
#
# **Computing:** one to two minutes on two CPU cores, nearly all of it in section 7; on a Colab GPU no more. **Needs:**
# nothing from the other notebooks, and no network connection. All sections but 7 read the small saved runs that come
# with the kit; section 7 trains. After the two set-up cells you may start with any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and what was measured with each seed"
import itertools
import tempfile
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from scipy import stats

import csd_edu as csd
from csd_edu import check, plots, saved, tuning
from csd_edu.comparison import across_networks
from csd_edu.metrics import just_learnt
from csd_edu.sweep import Job, sweep

QUANTITIES = {
    "recall_at_1": "Recall@1",
    "forgetting": "forgetting",
    "head_accuracy": "head accuracy",
    "stale": "Recall@1 in an old index",
    "drift": "drift",
}


def final(quantity):
    """Return for each saved run a quantity after the last task, (n,) float64, one value for each seed."""
    runs = {name: [saved.run(name, seed=seed) for seed in saved.SEEDS] for name in saved.NAMES}
    if quantity in ("stale", "drift"):
        return {name: np.array([across_networks(run)[quantity] for run in of]) for name, of in runs.items()}
    return {name: np.array([run.metrics["summary"][quantity] for run in of]) for name, of in runs.items()}


def about_zero(low, high):
    """Return in words whether an interval contains 0."""
    return "contains 0" if low <= 0 <= high else "excludes 0"


# %% [markdown] minutes=6
# ## 1. One run each: who is ahead?
#
# The first six have learnt the same tasks, one after another. They differ in their loss, and in nothing else: the same
# network, images, epochs and learning rates. The last two mark the ends of the scale. **Recall@1** is the share of test
# images whose nearest other image is of the same class. The **teacher** is the network as it was before the task; to
# **distil** its answers is to make the network in training answer as it does.
#
# | name | its loss |
# | --- | --- |
# | `finetune` | the new task only |
# | `lwf-tuned` | and the old answers are distilled, at a weight that was chosen (section 4) |
# | `csd` | and features are contrasted with the teacher's: CSD as released, all weights 1 |
# | `csd-tuned` | CSD, with the old answers distilled at a weight that was chosen |
# | `supcon` | **control**: CSD's contrast among the student's features only, without any teacher |
# | `supcon-tuned` | **control**: tuned CSD without the teacher's *features*; the teacher's answers are distilled |
# | `frozen` | **control**: the first network, never trained again |
# | `joint` | all tasks at once: a bound, no rival |
#
# A **control** removes just the part that a claim is about. If CSD is better because of the teacher's features, it must
# be better than its control without them.

# %%
runs = saved.runs("finetune", "lwf-tuned", "csd", "csd-tuned", seed=saved.SEEDS[0])
plots.curves_over_tasks(
    {run.method: run.metrics["overall"]["recall_at_1"] for run in runs},
    title="Recall@1 after each task: one run of each method",
    metric="Recall@1",
)

# %%
recall = final("recall_at_1")
first = {name: values[0] for name, values in recall.items()}
print(", ".join(f"{name} {value:.3f}" for name, value in sorted(first.items(), key=lambda item: item[1])))
leader, behind = sorted(("csd", "lwf-tuned"), key=first.get, reverse=True)
print(f"With seed {saved.SEEDS[0]}, {leader} is ahead of {behind} by {first[leader] - first[behind]:.3f}.")

# %% [markdown]
# **Predict.** Everything is trained again, with other **seeds**. A seed decides the order of the tasks, the first weights
# of the network and the order of the images. In how many of the other seeds is that method ahead again?

# %% tags=["predict"]
guess_ahead = "no prediction yet"  # put a number instead, from 0 to len(saved.SEEDS) − 1

# %%
for name, values in recall.items():
    print(f"{name:13}", "  ".join(f"seed {seed}: {value:.3f}" for seed, value in zip(saved.SEEDS, values, strict=True)))
ahead = int((recall[leader] > recall[behind])[1:].sum())
others = len(saved.SEEDS) - 1
print(f"\nYou said: {guess_ahead}. {leader} is ahead of {behind} in {ahead} of the other {others} seeds,", end=" ")
print(f"and csd of supcon in {int((recall['csd'] > recall['supcon']).sum())} of all {others + 1}.")

# %% [markdown]
# One run of each method can put two methods in either order, if they are about as good. It is no mistake of the
# program: each number is right. It answers the question "which of these two networks is better?", and we wanted to know
# "which *method* is better?"

# %% tags=["claim"]
assert (recall["csd"] > recall["supcon"]).all()
assert (recall["csd"] > recall["finetune"]).all()
if len(saved.SEEDS) == 5:
    assert 0 < (recall["csd"] > recall["lwf-tuned"]).sum() < 5

# %% [markdown] minutes=12
# ## 2. A few seeds: how sure are we?
#
# We think of a method's result as a draw: each seed gives another one. What we want is the mean over *all* seeds, μ;
# what we have is a few of them. A **95 % confidence interval** is a rule that makes, from few values, an interval
# that contains μ in 95 % of all cases in which it is used. For values that are spread like a bell curve it is
# Student's:
#
# $$\bar x \pm t_{n-1} \frac{s}{\sqrt n}, \qquad s^2 = \frac{1}{n-1} \sum_{i=1}^{n} (x_i - \bar x)^2$$
#
# Here $\bar x$ is the mean of the *n* values and *s* their standard deviation. The factor $t_{n-1}$ is larger than
# the well-known 1.96, because *s*, too, is only estimated.
#
# **Predict.** Compare the interval from *three* values with their range, from the smallest to the largest.

# %% tags=["predict"]
guess_width = "no prediction yet"  # one of: "narrower", "about as wide", "more than twice as wide"

# %% [markdown]
# ### Exercise 1: write the interval
#
# `stats.t.ppf(q, df)` is the value that a t-distributed number with `df` degrees of freedom stays below with
# probability *q*. A 95 % interval leaves 5 % outside, half of them below and half above.


# %% tags=["exercise"] minutes=6 difficulty=2
def t_interval(values):
    """Return the 95 % t-interval of a mean.

    values: (n,) float64, n of at least 2.
    Returns two floats: its lower and its upper end.
    """
    # >>> solution: the mean, minus and plus the margin
    n = len(values)
    s = np.std(values, ddof=1)  # divided by n − 1
    margin = stats.t.ppf(0.975, df=n - 1) * s / np.sqrt(n)
    return np.mean(values) - margin, np.mean(values) + margin
    # <<< solution


# %% tags=["check"]
check.t_interval(t_interval)

# %% [markdown] tags=["hint"]
# ### Hint
#
# Three lines: `n = len(values)`, then `s = np.std(values, ddof=…)`, then the margin `stats.t.ppf(…, df=…) * s /
# np.sqrt(n)`. Which *q* leaves 2.5 % above it? For more, run `check.hint("t_interval")` in a new cell, once or several
# times.

# %% [markdown]
# scipy has the same in one line. Side by side:

# %%
recall = final("recall_at_1")
interval = check.yours_or_ours("t_interval")
for name, values in recall.items():
    scipys = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    print("{:13} mean {:.3f}, {:.3f} to {:.3f}; scipy: {:.3f} to {:.3f}".format(
        name, values.mean(), *interval(values), *scipys))  # fmt: skip
plots.per_seed(
    {"Recall@1, gallery of all classes": recall},
    intervals={name: interval(values) for name, values in recall.items()},
    title="Recall@1 after the last task",
    subtitle="one mark for each seed, below them their mean",
    seeds=saved.SEEDS,
)

# %%
print("interval divided by range")
for where, values in {"one in the middle": (0, 0.5, 1), "two alike": (0, 0, 1)}.items():
    print(f"  any three values, {where}: {np.ptp(interval(np.array(values))):.2f}")
for name in ("finetune", "csd"):
    values = recall[name]
    print(f"  {name}, all {len(values)} seeds: {np.ptp(interval(values)) / np.ptp(values):.2f}")
print(f"You said: {guess_width}.\n")
for n in (2, 3, 5, 10, 20):
    print(f"{n:2} seeds: mean ± {stats.t.ppf(0.975, n - 1) / np.sqrt(n):.2f} standard deviations")

# %% [markdown]
# The first two lines are the extremes: with three values the interval is narrowest, for their range, if one lies halfway
# between the others, and widest if two are equal. So it is always more than twice as wide as what you see. Three values
# say little about their spread. Two say next to nothing: the step from two seeds to three is worth most, and that from
# three to five halves the interval. After that each seed adds less. This kit takes five.
#
# **What the interval does not cover:** other datasets, other learning rates, a programming error in one method, or seeds
# that are not a fair draw. It is about *these* recipes on *these* tasks. And a few values cannot show whether they come
# from a bell curve: here we assume it.

# %% [markdown] minutes=14
# ## 3. Same seed, same start: paired differences
#
# Two intervals that overlap do not settle whether two methods differ. But look at the beginning:

# %%
names = ("finetune", "lwf-tuned", "csd")
print("Recall@1 after task 0")
for seed in saved.SEEDS:
    first = {run.method: run.metrics["overall"]["recall_at_1"][0] for run in saved.runs(*names, seed=seed)}
    print(f"  seed {seed}:", ", ".join(f"{name} {value:.3f}" for name, value in first.items()))

# %% [markdown]
# With one seed the three methods see the same tasks in the same order, and start into task 1 with the *same network*.
# Whether a seed that is hard at first stays hard for all of them, the correlations below will tell. So we subtract within
# each seed, $d_i = a_i - b_i$, and ask for the mean of the differences: what is common to both falls out. If the interval
# of the mean difference does not contain 0, we say which method is ahead.
#
# Beside Recall@1 there will be two quantities about features that an *old* network gave. **stale** is Recall@1 for images
# of earlier tasks if the index is never made again for the new network; **drift** says how far the features of the first
# task's images have turned (the mean of 1 − cosine). Notebooks 05 and 06 are about them.
#
# **Predict.** For which comparisons does the interval from these seeds exclude 0? Write `True` for those.

# %% tags=["predict"]
guess_clear = {  # your predictions: True or False instead of None
    ("recall_at_1", "csd", "finetune"): None,
    ("recall_at_1", "csd", "supcon"): None,
    ("recall_at_1", "supcon", "finetune"): None,
    ("recall_at_1", "csd-tuned", "lwf-tuned"): None,
    ("recall_at_1", "csd-tuned", "supcon-tuned"): None,
    ("stale", "csd-tuned", "lwf-tuned"): None,
    ("stale", "csd-tuned", "supcon-tuned"): None,
    ("drift", "csd-tuned", "lwf-tuned"): None,
    ("drift", "csd-tuned", "supcon-tuned"): None,
}

# %% [markdown]
# ### Exercise 2: the paired difference
#
# You may call your `t_interval` in it.


# %% tags=["exercise"] minutes=4 difficulty=1
def paired_difference(a, b):
    """Return the mean difference of two methods over the same seeds, with its 95 % t-interval.

    a, b: (n,) float64; a[i] and b[i] are of the same seed.
    Returns three floats: the mean of a − b, and the lower and the upper end of its interval.
    """
    # >>> solution: subtract first, then look at the differences as at any values
    differences = a - b  # (n,)
    margin = stats.t.ppf(0.975, df=len(differences) - 1) * stats.sem(differences)
    return differences.mean(), differences.mean() - margin, differences.mean() + margin
    # <<< solution


# %% tags=["check"]
check.paired_difference(paired_difference)

# %% [markdown] tags=["hint"]
# ### Hint
#
# `a - b` is an array of *n* numbers, one for each seed. From here on you have only these numbers: their mean is
# `.mean()`, and you have written their interval already. For more, run `check.hint("paired_difference")` in a new cell.

# %%
difference = check.yours_or_ours("paired_difference")
rows, intervals, clear = {}, {}, {}
for (quantity, a, b), guess in guess_clear.items():
    values = final(quantity)
    mean, low, high = difference(values[a], values[b])
    row = f"{QUANTITIES[quantity]}: {a} − {b}"
    rows[row], intervals[row] = values[a] - values[b], (low, high)
    clear[quantity, a, b] = about_zero(low, high) == "excludes 0"
    right = "" if guess is None else ", as you said" if guess == clear[quantity, a, b] else ", not as you said"
    print(f"{row:52} {mean:+.3f}, {low:+.3f} to {high:+.3f} {about_zero(low, high)}{right}")
plots.per_seed(
    {"difference after the last task (dotted: none)": rows},
    intervals=intervals,
    title=f"Paired differences over {len(saved.SEEDS)} seeds",
    subtitle="one mark for each seed, below them their mean",
    seeds=saved.SEEDS,
    zero=True,
)

# %% [markdown]
# With the kit's five seeds this is what the rows say, from the top:
#
# - **The teacher does it.** CSD is far above fine-tuning, and above `supcon`, which has the contrast but no teacher at all;
#   and `supcon` is not told apart from fine-tuning. So the contrast alone does not keep the old tasks. But the teacher
#   gives CSD two things, its answers and its features. Which of them counts in Recall@1 is what the fifth row asks.
# - **In Recall@1, tuned CSD is not told apart from tuned LwF, nor from its control** that has the teacher's answers, but
#   not its features. "Not told apart" is not "equal": it says that a difference, if there is one, is small beside what
#   five seeds can show.
# - **In an old index, and in drift, it is.** There the teacher's features make a difference, and the control shows that it
#   is they. This is what the paper builds CSD for: features that stay comparable.
#
# So was the prediction "CSD is better" right? It depends on what for.

# %% tags=["claim"]
for row, values in rows.items():  # in every seed, also fresh ones
    if "− finetune" in row and "supcon −" not in row:
        assert (values > 0).all(), row
    if "csd − supcon" in row or "old index: csd-tuned" in row:
        assert (values > 0).all(), row
    if row.startswith("drift"):
        assert (values < 0).all(), row
if len(saved.SEEDS) == 5:
    assert [name for name, said in clear.items() if not said] == [
        ("recall_at_1", "supcon", "finetune"),
        ("recall_at_1", "csd-tuned", "lwf-tuned"),
        ("recall_at_1", "csd-tuned", "supcon-tuned"),
    ]

# %% [markdown]
# What has pairing brought? Here is each interval's width, paired, and as if the runs had nothing to do with each
# other (Welch's interval, `stats.ttest_ind(…, equal_var=False)`).

# %%
for quantity, a, b in guess_clear:
    x, y = final(quantity)[a], final(quantity)[b]
    paired = np.ptp(stats.ttest_rel(x, y).confidence_interval(0.95))
    apart = np.ptp(stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95))
    row = f"{QUANTITIES[quantity]}: {a} − {b}"
    print(f"{row:52} width {paired:.3f} paired, {apart:.3f} unpaired;", end=" ")
    print(f"correlation {np.corrcoef(x, y)[0, 1]:+.2f}")

# %% [markdown]
# The variance of a difference is $\mathrm{Var}\,a + \mathrm{Var}\,b - 2\,\mathrm{Cov}(a, b)$. Pairing makes the
# interval narrower where both methods go up and down together from seed to seed, and wider where one goes up when the
# other goes down. It also has fewer degrees of freedom: one less than there are seeds. Still the paired interval is the
# honest one, as the other assumes that the runs have nothing to do with each other. Decide for it before you look.

# %% [markdown] minutes=6
# ## 4. Chosen with the same effort?
#
# LwF has a weight: how much the old answers count. The code published with CSD has 1 for all its weights. Is it fair to
# compare one method at a weight that suits it with another at one that doesn't? Then the comparison is about who has
# tried more.
#
# So each method gets the same grid. But *where* to look for the best weight? Not at the test images: who chooses by the
# test images has seen the answers. And not at later tasks: whoever learns one task after another doesn't have them yet.
# What is left are training images of the first two tasks, a share of which is held out.
#
# **Predict.** LwF's weight from 1 to 20: what happens to Recall@1 over both tasks?

# %% tags=["predict"]
guess_weight = "no prediction yet"  # one of: "the more, the better", "best in between", "it hardly matters"

# %%
chosen = tuning.read_tuning(saved.folder())
if chosen is None:
    print("These runs have no tuning.json: their weights were not chosen with `csd-edu tune`.")
else:
    print(f"{chosen.metric}.\nSeeds {', '.join(map(str, chosen.seeds))}; {chosen.validation:.0%} held out.\n")
    print(f"{'weight':24}" + "".join(f"{value:>9g}" for value in next(iter(chosen.methods.values())).grid))
    for name, search in chosen.methods.items():
        cells = (f"{np.mean(s):.3f}{'*' if v == search.chosen else ' '}" for v, s in search.grid.items())
        print(f"{f'{name}, {search.setting}':24}" + "".join(f"{cell:>9}" for cell in cells))
    print(f"\n* chosen. You said: {guess_weight}.")

# %% [markdown]
# **What it means.** A weight is a trade-off: too little, and the old task is forgotten; too much, and the new one isn't
# learnt. The best lies in between, and it is another one for each method, so a comparison at one weight for all would
# have favoured one of them. The seeds are others than those that are compared, and the effort is the same: five values
# each.
#
# **What it does not show.** That these are the best weights for five tasks; they were chosen on two. And neighbouring
# weights differ by little, less than a few seeds can tell apart: with other seeds a neighbour might have been chosen.

# %% tags=["claim"]
for search in chosen.methods.values():
    means = [np.mean(scores) for scores in search.grid.values()]
    assert 0 < np.argmax(means) < len(means) - 1  # best in between
    assert not set(chosen.seeds) & set(saved.SEEDS)

# %% [markdown] minutes=5
# ## 5. Chance in the runs, chance in the queries
#
# There is a second source of chance: the test images. Recall@1 is a share of *N* queries, and other queries would
# give another share. For one fixed network its 95 % margin is about $1.96 \sqrt{R(1-R)/N}$, if we take the queries as
# independent. (They share one gallery, so this is rough.)

# %%
n_queries = len(saved.run("csd").test()["labels"])
interval = check.yours_or_ours("t_interval")
for name, values in final("recall_at_1").items():
    in_queries = 1.96 * np.sqrt(values[0] * (1 - values[0]) / n_queries)
    low, high = interval(values)
    print(f"{name:13} ± {in_queries:.3f} from {n_queries:,} queries (one network);", end="  ")
    print(f"± {(high - low) / 2:.3f} from {len(values)} seeds")

# %% [markdown]
# Where the second number is the larger one, seeds are the larger trouble: more test images would make it surer how good
# *this network* is, not how good the *method* is. For that, only more runs help. Where it is the smaller one, how can
# seeds agree better than the queries allow? All seeds are asked for the *same* test images. If these happen to be easy
# ones, they are so for every seed, and no spread between the seeds shows it.
#
# A paper that gives an interval should say which of the two it is.

# %% [markdown] minutes=6
# ## 6. Break it: how to win by choosing
#
# The cell below compares two methods in every case that the saved runs have: two quantities, on each task and on all
# together, after each task but the first, with each seed. Then it reports the best case for the method that it
# wants to win. This is what *not* to do. But it is also what happens, without any bad intent, if one looks at many
# tables and remembers the nice ones.
#
# **Predict.** Of each hundred such cases, in how many is tuned LwF ahead of tuned CSD? And fine-tuning ahead of CSD?

# %% tags=["predict"]
guess_cases = {("lwf-tuned", "csd-tuned"): "?", ("finetune", "csd-tuned"): "?"}  # two numbers from 0 to 100


# %% tags=["break", "widget"]
def all_leads(winner, loser):
    """Return every lead of one method over another, smallest first, as pairs (lead, in words)."""
    cases = []
    for seed in saved.SEEDS:
        ours, theirs = (saved.run(name, seed=seed).metrics for name in (winner, loser))
        for quantity, task in itertools.product(("recall_at_1", "head_accuracy"), range(1, saved.run(winner).n_tasks)):
            what = f"{QUANTITIES[quantity]} after task {task}, seed {seed}"
            cases.append(
                (ours["overall"][quantity][task] - theirs["overall"][quantity][task], f"{what}, all {saved.group()}s")
            )
            for j in range(task + 1):
                lead = ours[quantity]["seen"][task][j] - theirs[quantity]["seen"][task][j]
                cases.append((lead, f"{what}, {saved.group()} {j}"))
    return sorted(cases)


figures = {}
for winner, loser in itertools.permutations(("lwf-tuned", "csd-tuned", "finetune"), 2):
    leads, words = zip(*all_leads(winner, loser), strict=True)
    boast = f"“{winner} beats {loser} by {leads[-1]:.3f}” ({words[-1]})"
    boast = boast if leads[-1] > 0 else f"{winner} is nowhere ahead of {loser}"
    colours = [plots.GREY] * (len(leads) - 1) + [plots.VERMILION]
    bars = go.Bar(x=np.arange(len(leads)), y=leads, marker_color=colours, name="", hovertext=words)
    figure = go.Figure(bars.update(hovertemplate="%{y:+.3f}: %{hovertext}"))
    figure.update_xaxes(title_text="all cases, in order; the last one is reported", showticklabels=False)
    figure.update_yaxes(title_text="lead")
    figures[f"{winner} beats {loser}"] = plots.finished(figure, "The best case of many", [boast], 280)
    ahead, behind = sum(lead > 0 for lead in leads), sum(lead < 0 for lead in leads)
    said = f" (you said {guess_cases[winner, loser]})" if (winner, loser) in guess_cases else ""
    print(f"{winner} − {loser}: ahead in {ahead / len(leads):.0%}{said}, behind in {behind / len(leads):.0%}", end=" ")
    print(f"of {len(leads)} cases;", end=" ")
    print(f"median lead {np.median(leads):+.3f}\n    {boast}")
plots.choose(figures)

# %% [markdown]
# Choose the other pairs in the list above the picture. Tuned LwF beats tuned CSD, and tuned CSD beats tuned LwF, if they
# may choose where: both sentences are true, and neither says anything about the method. Even fine-tuning finds a case in
# which it wins. (Most of the ties in the middle are old tasks, which all heads have forgotten to classify: 0 % against
# 0 %.)
#
# The remedy is dull: write down the quantity, the moment and the seeds **before** looking, and report all of them.

# %% tags=["claim"]
best = {pair: all_leads(*pair)[-1][0] for pair in itertools.permutations(("lwf-tuned", "csd-tuned", "finetune"), 2)}
assert all(lead > 0 for lead in best.values())

# %% [markdown] minutes=8
# ## 7. A shorter race: how to win by the budget
#
# All methods had the same epochs. Is that fair? Equal is not the same as fair: a method that learns slowly loses in a
# short race. And a network that has hardly learnt has hardly anything to forget.
#
# The cell below makes the race shorter: half of the epochs, with larger batches, so a third of the steps. It trains tuned
# LwF, CSD as released and its control `supcon` with three seeds, side by side, in about a minute on two free cores. The
# saved runs are the long race.
#
# **Predict.** CSD's lead over tuned LwF in the short race will be …

# %% tags=["predict"]
guess_lead = "no prediction yet"  # one of: "smaller", "about the same", "larger"

# %%
CHANGE = {"epochs": 8, "later_epochs": 4, "batch_size": 48}  # instead of 16, 8 and 32
RACE = saved.SEEDS[:3] if saved.dataset() == "glyphs" else ()  # fewer of them, if you are in a hurry

glyphs = csd.load("glyphs", image_size=csd.preset("glyphs").image_size)
config = csd.preset("glyphs").config.replace(save_images=False, **CHANGE)
rivals = {"lwf-tuned": tuning.shipped().method("lwf"), "supcon": csd.methods.supcon, "csd": csd.methods.csd}
jobs, folder = {}, Path(tempfile.mkdtemp())
for seed in RACE:
    stream = csd.split(glyphs, groups=True, seed=seed)
    for name, method in rivals.items():
        jobs[f"{name}, seed {seed}"] = Job(stream, method, config.replace(seed=seed), folder / f"{name}-{seed}")
short = sweep(jobs)
long = {f"{name}, seed {seed}": saved.run(name, seed=seed) for seed in RACE for name in rivals}

# %%
leads, ends = {}, {}
for race, runs in (("short race", short), ("long race", long)):
    end = {
        name: np.array([runs[f"{name}, seed {s}"].metrics["summary"]["recall_at_1"] for s in RACE]) for name in rivals
    }
    new = {
        name: np.mean([just_learnt(runs[f"{name}, seed {s}"].metrics["recall_at_1"]["task"]) for s in RACE] or [np.nan])
        for name in rivals
    }
    leads[race], ends[race] = end["csd"] - end["lwf-tuned"], end
    if RACE:
        told = ", ".join(f"{name} {of.mean():.3f} (just learnt {new[name]:.2f})" for name, of in end.items())
        print(f"{race}, mean Recall@1: {told}")
        print(f"    lead of CSD over tuned LwF, seed by seed: {' '.join(f'{lead:+.3f}' for lead in leads[race])}")
if len(RACE) > 1:
    mean, low, high = check.yours_or_ours("paired_difference")(leads["short race"], leads["long race"])
    print(f"In the short race the lead is larger by {mean:+.3f} ({low:+.3f} to {high:+.3f}, paired by seed).")
    print(f"You said: {guess_lead}.")
else:
    print("The races are run on the glyphs only, with two seeds or more.")

# %% [markdown]
# **What it means.** The short race would have given you another paper: CSD ahead of LwF in every seed. But look at *just
# learnt*, the Recall@1 on each task right after it: these networks have learnt far less than those of the long race. And
# look at the control. In the short race the contrast *without any teacher* is ahead of tuned LwF as well, with every seed;
# in the long race it is behind. So a good part of CSD's lead here is that its contrast learns faster, and not that it
# keeps more. "CSD is better by so much" is a statement about a **training budget**, too. It is a **confounder**: something
# besides the method that makes the difference larger or smaller.
#
# **What it does not show.** That LwF was treated fairly: its weight was chosen for the long race. (Put `csd.methods.lwf`,
# with weight 1, into `rivals` and see.) Nor what happens in a race of hundreds of epochs, with a larger network, on photographs: that is
# the paper's, and its result stands beside this one. And it is no verdict on CSD; section 3 says what it is good for.

# %% tags=["claim"]
if len(RACE) > 1:
    assert (leads["short race"] > 0.03).all()
    assert leads["short race"].mean() > leads["long race"].mean() + 0.05
    assert (ends["short race"]["supcon"] > ends["short race"]["lwf-tuned"]).all()
    assert (ends["long race"]["supcon"] < ends["long race"]["lwf-tuned"]).all()
    assert all(np.mean(just_learnt(run.metrics["recall_at_1"]["task"])) < 0.85 for run in short.values())
    assert all(np.mean(just_learnt(run.metrics["recall_at_1"]["task"])) > 0.9 for run in long.values())

# %% [markdown]
# ### To think about
#
# `CHANGE` changes *two* things at once. Which? And which experiment tells them apart?

# %% [markdown] tags=["answer"]
# There are fewer steps, and each step sees more images. The triplet loss and CSD compare the images of one batch: with 48
# images of 20 signs there are more positives and more negatives to choose the hardest from than with 32. So the batch
# changes what these losses can do, and not only the length of the training (batch norm is less noisy, too).
#
# Keep the batch at 32 and train 6 and 3 epochs: about as many steps as in the short race, and as many pairs as in the long
# one. If the lead is large there too, the number of steps is the reason.
#
# And a third thing is no longer fair: the weights were chosen for the long training. Choose them again for the short one.

# %% [markdown] minutes=7
# ## 8. What may we say?
#
# Before you believe a lead, ask what else could have made it:
#
# | another explanation | here | how to find out |
# | --- | --- | --- |
# | one lucky seed | five seeds, paired | more seeds, and fresh ones |
# | the settings suit one method | each tuned with the same effort (section 4) | a finer grid, more settings |
# | another part of the method does it | controls: `supcon`, `supcon-tuned` | remove just the part that the claim is about |
# | the length of training | networks that have learnt; section 7 | several lengths |
# | more computing | CSD and LwF also run the teacher in each step | compare at the same time, not only at the same epochs |
# | more data | `joint` sees all images at once: it is a bound, not a rival | – |
# | a growing gallery | the same gallery, but it does not crowd all networks alike | protocol *task* beside *seen*, the frozen network (notebook 02) |
# | the choice of quantity | Recall@1, as in the paper, and four more | report them all (the cell below) |
# | looking at the test images while tuning | no: held-out images, other seeds | a test set that nobody has looked at |
# | an easy dataset | one procedural dataset | Omniglot and CIFAR-100: `benchmarks/lesson.py` |

# %%
difference = check.yours_or_ours("paired_difference")
for quantity, name in QUANTITIES.items():
    values = final(quantity)
    print(f"{name}: " + ", ".join(f"{method} {of.mean():.3f}" for method, of in values.items()))
    for a, b in itertools.combinations(("csd-tuned", "lwf-tuned", "supcon-tuned", "finetune"), 2):
        mean, low, high = difference(values[a], values[b])
        print(f"    {a} − {b}: {mean:+.3f} ({low:+.3f} to {high:+.3f}); seeds:", end="")
        print("".join(f" {d:+.3f}" for d in values[a] - values[b]))

# %% [markdown]
# **Your turn.** Which two or three sentences would you put into a paper about the runs of this notebook? Write them
# down, with numbers from section 3, or from the cell above.

# %% [markdown] tags=["answer"]
# For instance, of the kit's own runs: "On five procedural alphabets learnt one after another, CSD reaches a higher
# Recall@1 than fine-tuning after the last task, and than the same contrast without a teacher (five seeds, 95 %
# t-intervals of the paired differences exclude 0). With weights chosen with equal effort, neither tuned LwF nor a control
# without the teacher's features is told apart from it in Recall@1. Features drift less under CSD than under both, and more
# is found in an index that is not made again. The networks are small and were trained for 16 and 8 epochs; with a
# third of the steps CSD as released ended above LwF, whose weight had been chosen for the longer training, and so did the
# contrast without a teacher."
#
# It takes more words than a bold number, and each of them can be checked.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Stumbling blocks: `np.std` without `ddof=1`; "the interval contains 0" read as "there is no
# difference"; the wish to leave out a seed. Good for the discussion: let half of the room argue for LwF with section
# 6, and for CSD with section 7. With more time, let each student train one fresh seed (`csd-edu demo --seed N`), and make
# one table of all.

# %% [markdown] minutes=5
# ## Summary
#
# - One run answers a question about two networks. A question about methods needs several seeds, and an interval.
# - From three seeds the interval is more than twice as wide as the range of what you see. Subtract within seeds: it can
#   be sharper, and it is honest where it is not.
# - "Contains 0" means not known well enough. "Excludes 0" does not mean large.
# - Tune each method with the same effort, on images that are held out; remove just the part that the claim is about.
# - A lead belongs to a training budget, a dataset and a quantity. Say which, and choose before you look.
#
# ### Test yourself

# %% [markdown] tags=["hint"]
# ### 1. Two methods have overlapping 95 % intervals. Can their paired difference still exclude 0?
#
# Yes. The intervals of the means contain what varies from seed to seed; if it is common to both methods, it falls out
# of the differences.

# %% [markdown] tags=["hint"]
# ### 2. You make 20 comparisons of methods that are all equal. How many 95 % intervals will exclude 0?
#
# One, on average: 5 % of 20. If you then report only that one, you report chance. Say how many you made.

# %% [markdown] tags=["hint"]
# ### 3. Would 100,000 queries instead of 2,000 have made the comparison in section 3 surer?
#
# It depends on the row. How much 2,000 queries leave to chance in a difference of two methods, notebook 06 computes in its
# section 2. Where the differences of section 3 spread from seed to seed by no more than that, more queries could help;
# where they spread by far more, only more seeds do. And no number of queries says anything about other seeds.

# %% [markdown]
# ### Read on
#
# - K. Musgrave, S. Belongie, S.-N. Lim: *A Metric Learning Reality Check*, ECCV 2020. What is left of reported gains
#   in retrieval when the comparison is fair.
# - X. Bouthillier et al.: *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021. Which sources of
#   chance there are, and how many runs are needed.
# - P. Henderson et al.: *Deep Reinforcement Learning that Matters*, AAAI 2018. How much seeds alone can do.
# - J. Demšar: *Statistical Comparisons of Classifiers over Multiple Data Sets*, Journal of Machine Learning Research,
#   2006.
# - S.-A. Rebuffi, A. Kolesnikov, G. Sperl, C. H. Lampert: *iCaRL: Incremental Classifier and Representation
#   Learning*, CVPR 2017. The average over tasks that many comparisons report.

# %%
check.board("t_interval", "paired_difference")
