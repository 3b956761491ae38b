# %% [markdown] budget_minutes=3
# # Is CSD really better? A fair comparison
#
# A table in a paper has one number for each method, and the largest one is printed in bold. How much is such a number
# worth? Here you compare fine-tuning, LwF, CSD and joint training, and ask at each step what could have made the
# difference.
#
# After this notebook you will be able to
#
# - write a confidence interval from a few runs, and say what it does not cover;
# - compare two methods by paired differences, and say why this can be far sharper;
# - name the other explanations of a lead (confounders), and test one of them.
#
# | section | minutes |
# | --- | --- |
# | 1. One run each: who is ahead? | 5 |
# | 2. Three seeds: how sure are we? *Exercise 1* | 12 |
# | 3. Same seed, same start: paired differences. *Exercise 2* | 12 |
# | 4. Chance in the runs, chance in the queries | 5 |
# | 5. Break it: how to win by choosing | 6 |
# | 6. Train longer: what becomes of the lead? | 8 |
# | 7. What may we say? | 7 |
# | Summary and self-test | 5 |
#
# **Computing:** one to two minutes on two CPU cores, nearly all of it in section 6; on a Colab GPU no more. **Needs:**
# nothing from the other notebooks, and no network connection. Sections 1 to 5 and 7 read the small saved runs that come
# with the kit; section 6 trains. After the two set-up cells you may start with any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and scipy’s intervals"
import itertools
import tempfile
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import torch
from scipy import stats

import csd_edu as csd
from csd_edu import check, plots, saved

QUANTITIES = {"recall_at_1": "Recall@1", "forgetting": "forgetting", "head_accuracy": "head accuracy"}


def final(quantity):
    """Return for each method a quantity after the last task, (3,) float64, one value for each seed."""
    runs = {name: [saved.run(name, seed=seed) for seed in saved.SEEDS] for name in saved.NAMES}
    return {name: np.array([run.metrics["summary"][quantity] for run in of]) for name, of in runs.items()}


def library_interval(values):
    """Return the 95 % t-interval of the mean of (n,) values as scipy computes it; from one value there is none."""
    if len(values) < 2:
        return np.nan, np.nan
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


def library_difference(a, b):
    """Return the mean of a − b and its 95 % t-interval as scipy computes it, both (n,)."""
    return np.mean(a - b), *library_interval(a - b)


def about_zero(low, high):
    """Return in words whether an interval contains 0."""
    return "contains 0" if low <= 0 <= high else "excludes 0"


# %% [markdown] minutes=5
# ## 1. One run each: who is ahead?
#
# Fine-tuning, LwF and CSD have learnt five alphabets of 20 signs, one after another. They differ in their loss
# (notebook 00 shows it) and in nothing else: the same network, images, epochs and learning rates. `joint` has learnt
# all five at once. All four are asked for the same test images.

# %%
runs = saved.runs(seed=0)
plots.curves_over_tasks(
    {run.method: run.metrics["overall"]["recall_at_1"] for run in runs},
    title="Recall@1 after each task: one run of each method",
    metric="Recall@1",
)

# %%
first = {run.method: run.metrics["summary"]["recall_at_1"] for run in runs}
print(", ".join(f"{name} {value:.3f}" for name, value in sorted(first.items(), key=lambda item: item[1])))
print(f"LwF is ahead of fine-tuning by {first['lwf'] - first['finetune']:.3f}.")

# %% [markdown]
# **Predict.** Everything is trained twice more, with other **seeds**. A seed decides the order of the alphabets, the
# first weights of the network and the order of the images. In how many of these two seeds is LwF ahead of fine-tuning
# again?

# %% tags=["predict"]
guess_ahead = 2  # your prediction: 0, 1 or 2

# %%
recall = final("recall_at_1")
for name, values in recall.items():
    print(f"{name:9}", "  ".join(f"seed {seed}: {value:.3f}" for seed, value in zip(saved.SEEDS, values, strict=True)))
ahead = (recall["lwf"] > recall["finetune"])[1:].sum()
print(f"\nYou said {guess_ahead}; LwF is ahead in {ahead} of the other two seeds.")

# %% [markdown]
# One run of each method can put two methods in either order. Yet it was no mistake of the program: each number is
# right. It answers the question "which of these two networks is better?", and we wanted to know "which *method* is
# better?"

# %% [markdown] minutes=12
# ## 2. Three seeds: how sure are we?
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
# **Predict.** Compare the interval from three values with their range, from the smallest to the largest.

# %% tags=["predict"]
guess_width = "about as wide"  # your prediction: "narrower", "about as wide", "more than twice as wide"

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
# scipy has the same in one line; see `library_interval` in the set-up cell. Side by side:

# %%
recall = final("recall_at_1")
interval = check.yours_or_ours("t_interval", ours=library_interval)
for name, values in recall.items():
    (low, high), (scipys_low, scipys_high) = interval(values), library_interval(values)
    print(f"{name:9} mean {values.mean():.3f}, {low:.3f} to {high:.3f}; scipy: {scipys_low:.3f} to {scipys_high:.3f}")
plots.per_seed(
    {"Recall@1, gallery of all classes": recall},
    intervals={name: interval(values) for name, values in recall.items()},
    title="Recall@1 after the last task",
    subtitle="one mark for each seed, below them their mean",
    seeds=saved.SEEDS,
)

# %%
print("interval divided by range")
for name, values in recall.items():
    print(f"  {name:9} {np.ptp(library_interval(values)) / np.ptp(values):.2f}")
for where, values in {"in the middle": (0, 0.5, 1), "at an end": (0, 0, 1)}.items():
    print(f"  three values, one of them {where}: {np.ptp(library_interval(values)) / np.ptp(values):.2f}")
print(f"You said: {guess_width}.\n")
for n in (2, 3, 5, 10, 20):
    print(f"{n:2} seeds: mean ± {stats.t.ppf(0.975, n - 1) / np.sqrt(n):.2f} standard deviations")

# %% [markdown]
# The last two lines of the first list are the extremes: with three values the interval is narrowest, for their range,
# if one lies halfway between the others, and widest if two are equal. So it is always more than twice as wide as what
# you see. Three values say little about their spread. Two say next to nothing: the step from two seeds to three is
# worth most, and that from three to five halves the interval once more. After that each seed adds less.
#
# The interval of CSD is narrow because its three values happen to be close. With three values that may be luck; do not
# read from it that CSD depends less on the seed.
#
# **What the interval does not cover:** other datasets, other learning rates, a programming error in one method, or
# seeds that are not a fair draw. It is about *these* four recipes on *these* alphabets. And three values cannot show
# whether they come from a bell curve: here we assume it.

# %% [markdown] minutes=12
# ## 3. Same seed, same start: paired differences
#
# Two intervals that overlap do not settle whether two methods differ. A look at the beginning shows why we can do
# better:

# %%
names = ("finetune", "lwf", "csd")
print("Recall@1 after task 0")
for seed in saved.SEEDS:
    first = {run.method: run.metrics["overall"]["recall_at_1"][0] for run in saved.runs(*names, seed=seed)}
    print(f"  seed {seed}:", ", ".join(f"{name} {value:.3f}" for name, value in first.items()))

# %% [markdown]
# With one seed the three methods see the same alphabets in the same order, and start into task 1 with the *same
# network*. Some seeds are hard for all of them. So we subtract within each seed, $d_i = a_i - b_i$, and ask for the
# mean of the differences: what is common to both falls out. If the interval of the mean difference does not contain
# 0, we say which method is ahead.
#
# **Predict.** For which comparisons does the interval from three seeds exclude 0? Write `True` for those.

# %% tags=["predict"]
guess_clear = {
    ("recall_at_1", "csd", "finetune"): True,
    ("recall_at_1", "csd", "lwf"): True,
    ("recall_at_1", "lwf", "finetune"): False,
    ("forgetting", "csd", "finetune"): True,
    ("forgetting", "csd", "lwf"): True,
    ("forgetting", "lwf", "finetune"): False,
    ("head_accuracy", "csd", "finetune"): False,
}  # your predictions

# %% [markdown]
# ### Exercise 2: the paired difference
#
# You may use your `t_interval`, or `library_interval` of the set-up cell.


# %% tags=["exercise"] minutes=4 difficulty=1
def paired_difference(a, b):
    """Return the mean difference of two methods over the same seeds, with its 95 % t-interval.

    a, b: (n,) float64; a[i] and b[i] are of the same seed.
    Returns three floats: the mean of a − b, and the lower and the upper end of its interval.
    """
    # >>> solution: subtract first, then look at the differences as at any values
    differences = a - b  # (n,)
    low, high = library_interval(differences)  # or your own t_interval
    return differences.mean(), low, high
    # <<< solution


# %% tags=["check"]
check.paired_difference(paired_difference)

# %% [markdown] tags=["hint"]
# ### Hint
#
# `a - b` is an array of *n* numbers, one for each seed. From here on you have only these numbers: their mean is
# `.mean()`, and you have written their interval already. For more, run `check.hint("paired_difference")` in a new cell.

# %%
difference = check.yours_or_ours("paired_difference", ours=library_difference)
rows, intervals = {}, {}
for (quantity, a, b), guess in guess_clear.items():
    values = final(quantity)
    mean, low, high = difference(values[a], values[b])
    row = f"{QUANTITIES[quantity]}: {a} − {b}"
    rows[row], intervals[row] = values[a] - values[b], (low, high)
    right = "as you said" if guess == (about_zero(low, high) == "excludes 0") else "not as you said"
    print(f"{QUANTITIES[quantity]:13} {a:4} − {b:9}{mean:+.3f}, {low:+.3f} to {high:+.3f}", end=" ")
    print(f"{about_zero(low, high)}, {right}")
plots.per_seed(
    {"difference after the last task (dotted: none)": rows},
    intervals=intervals,
    title="Paired differences over three seeds",
    subtitle="one mark for each seed, below them their mean",
    seeds=saved.SEEDS,
    zero=True,
)

# %% [markdown]
# The lead of CSD in Recall@1 is clear, even with three seeds. For forgetting all three differences point the same way
# (CSD forgets less), and still the interval reaches over 0: three seeds are too few for this. That is not "no
# difference"; it is "not known well enough". For head accuracy the difference is small and clear at once. An interval
# says how well a difference is known. Whether it matters is another question.
#
# What has pairing brought? Here is each interval's width, paired, and as if the runs had nothing to do with each
# other (Welch's interval, `stats.ttest_ind(…, equal_var=False)`).

# %%
for quantity, a, b in guess_clear:
    x, y = final(quantity)[a], final(quantity)[b]
    paired = np.ptp(stats.ttest_rel(x, y).confidence_interval(0.95))
    apart = np.ptp(stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95))
    print(f"{QUANTITIES[quantity]:13} {a:4} − {b:9}width {paired:.3f} paired, {apart:.3f} unpaired;", end=" ")
    print(f"correlation {np.corrcoef(x, y)[0, 1]:+.2f}")

# %% [markdown]
# Pairing helps where both methods go up and down together from seed to seed (a correlation near 1): forgetting of LwF
# and fine-tuning is the plainest case. Where they do not, it brings nothing, and may cost a little, as there are
# fewer degrees of freedom. It is never wrong to use the pairs if there are pairs. But decide it before you look.

# %% [markdown] minutes=5
# ## 4. Chance in the runs, chance in the queries
#
# There is a second source of chance: the test images. Recall@1 is a share of *N* queries, and other queries would
# give another share. For one fixed network its 95 % margin is about $1.96 \sqrt{R(1-R)/N}$, if we take the queries as
# independent. (They share one gallery, so this is rough.)

# %%
n_queries = len(saved.run("csd").test()["labels"])
for name, values in final("recall_at_1").items():
    in_queries = 1.96 * np.sqrt(values[0] * (1 - values[0]) / n_queries)
    in_runs = np.ptp(library_interval(values)) / 2
    print(f"{name:9} Recall@1 {values[0]:.3f} ± {in_queries:.3f} from {n_queries:,} queries (seed 0);", end="  ")
    print(f"{values.mean():.3f} ± {in_runs:.3f} from {len(values)} seeds")

# %% [markdown]
# For fine-tuning and LwF the seeds are the larger trouble. More test images make it surer how good *this network* is.
# They do not tell how good the *method* is: for that, only more runs help. For CSD it is the other way round. How can
# its seeds agree better than its queries allow? All seeds are asked for the *same* test images. If these happen to be
# easy ones, they are so for every seed, and no spread between the seeds shows it.
#
# A paper that gives an interval should say which of the two it is.

# %% [markdown] minutes=6
# ## 5. Break it: how to win by choosing
#
# The cell below compares two methods in every case that the saved runs have: two quantities, on each alphabet and on
# all together, after each task but the first, with each seed. Then it reports the best case for the method that it
# wants to win. This is what *not* to do. But it is also what happens, without any bad intent, if one looks at many
# tables and remembers the nice ones.
#
# **Predict.** There are about a hundred such cases. In how many of them is LwF ahead of fine-tuning? And fine-tuning
# ahead of CSD?

# %% tags=["predict"]
guess_cases = {("lwf", "finetune"): 60, ("finetune", "csd"): 30}  # your predictions


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
for winner, loser in itertools.permutations(("lwf", "finetune", "csd"), 2):
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
    print(f"{winner} − {loser}: ahead in {ahead}{said}, behind in {behind} of {len(leads)} cases;", end=" ")
    print(f"median lead {np.median(leads):+.3f}\n    {boast}")
plots.choose(figures)

# %% [markdown]
# Choose the other pairs in the list above the picture. LwF beats fine-tuning, and fine-tuning beats LwF, if they may
# choose where: both sentences are true, and neither says anything about the method. Against CSD there is next to
# nothing to choose, since its lead shows nearly everywhere. (Most of the ties in the middle are old alphabets, which
# both heads have forgotten to classify: 0 % against 0 %.)
#
# The remedy is dull: write down the quantity, the moment and the seeds **before** looking, and report all of them.
#
# The kit has sinned here itself, and you should know: its short preset was chosen by looking at the same three seeds
# that you compare here. That was done to make the lesson plain, and may make the lead larger than it is with fresh
# seeds and other settings. With `csd-edu demo --seed 3` you can train a fresh one. (It is measured on twice as many
# test images, which makes its Recall@1 higher than those here. Compare fresh seeds with each other.)

# %% [markdown] minutes=8
# ## 6. Train longer: what becomes of the lead?
#
# All methods had the same epochs, and few of them: the runs were made for a laptop. Is that fair? Equal is not the
# same as fair. A method that learns slowly loses in a short race, and one that protects what is there may win it.
#
# Let us make the race longer. The cell below trains fine-tuning and CSD on the first three alphabets of each seed, with
# batches of 16 images instead of 48: three times as many steps in the same epochs. The saved runs are the short race,
# measured after their third alphabet on the same test images.
#
# The cell takes about a minute on two free cores, and several if they are busy. With `SEEDS = (1,)` it takes a third
# of that.
#
# **Predict.** CSD's lead over fine-tuning in the long race will be …

# %% tags=["predict"]
guess_lead = "about the same"  # your prediction: "smaller", "about the same", "larger"

# %%
SEEDS = (0, 1, 2)  # or fewer of them; from one there is no interval (nan)
CHANGE = {"batch_size": 16}  # three times as many steps; another way: {"epochs": 24, "later_epochs": 12}

glyphs = csd.load("glyphs", image_size=24)
of_class = [torch.nonzero(glyphs.y_test == c).flatten() for c in range(glyphs.n_classes)]
kept = torch.cat([images[:10] for images in of_class])  # the test images of the saved runs
glyphs = replace(glyphs, x_test=glyphs.x_test[kept], y_test=glyphs.y_test[kept])


def recall_after_three(name, seed, change):
    """Train a method in a race, and return its Recall@1 after three alphabets."""
    stream = csd.split(glyphs, groups=True, seed=seed)
    config = csd.preset("glyphs", "quick").config.replace(save_images=False, seed=seed, **change)
    records = csd.training(stream, csd.methods.NAMED[name], config, out=tempfile.mkdtemp())
    third = next(record for record in records if record["kind"] == "task" and record["task"] == 2)  # and no further
    print(f"{name:9} seed {seed}: Recall@1 {third['overall']['recall_at_1']:.3f}")
    return third["overall"]["recall_at_1"]


short, long = {}, {}  # for each method Recall@1, (n,) one value for each seed
for name in ("finetune", "csd"):
    if saved.dataset() == "glyphs":
        short[name] = np.array([saved.run(name, seed=s).metrics["overall"]["recall_at_1"][2] for s in SEEDS])
    else:  # the saved runs learnt something else: the short race is run here too
        short[name] = np.array([recall_after_three(name, seed, {}) for seed in SEEDS])
    long[name] = np.array([recall_after_three(name, seed, CHANGE) for seed in SEEDS])

# %%
leads = {"short race": short["csd"] - short["finetune"], "long race": long["csd"] - long["finetune"]}
for race, values in (("short race", short), ("long race", long)):
    told = ", ".join(f"{name} {of.mean():.3f}" for name, of in values.items())
    print(f"{race:10}  mean Recall@1: {told}; lead of CSD:", " ".join(f"{lead:+.3f}" for lead in leads[race]))
mean, low, high = library_difference(leads["long race"], leads["short race"])
print(f"The lead changes by {mean:+.3f} ({low:+.3f} to {high:+.3f}, paired by seed). You said: {guess_lead}.")
plots.per_seed(
    {"Recall@1 of CSD − Recall@1 of fine-tuning": leads},
    intervals={race: library_interval(lead) for race, lead in leads.items()},
    title="CSD's lead over fine-tuning, after three alphabets",
    subtitle="long race: " + ", ".join(f"{name} = {value}" for name, value in CHANGE.items()),
    seeds=SEEDS,
    zero=True,
)

# %% [markdown]
# In the long race both methods are far better, and fine-tuning has gained more: the lead of CSD shrinks with every
# seed. So "CSD is better by so much" is a statement about a *training budget*, too. It is a **confounder**: something
# besides the method that makes the difference larger or smaller.
#
# **What this does not show:** how much of the lead is left. Does the lower interval contain 0 on your computer? With
# one thread instead of two, sums are rounded in another order, and the same seeds end with other networks. We have seen
# the lead of a single seed change its sign that way, and the interval contain 0 in one case and exclude it in the
# other. Three seeds are too few for so small a lead. Nor is this a verdict on CSD, whose authors train a larger network
# on photographs for hundreds of epochs.
#
# ### To think about
#
# A batch of 16 changed *two* things at once. Which? And which experiment tells them apart?

# %% [markdown] tags=["answer"]
# There are more steps, and each step sees fewer images. The triplet loss and CSD compare the images of one batch: with
# 16 images out of 20 signs there are few positives, sometimes none, and fewer negatives to choose the hardest from. So
# smaller batches do not only make training longer, they also change what these losses can do (and batch norm becomes
# noisier).
#
# Keep the batch at 48 and train three times the epochs: as many steps, and the same number of pairs. It is the other
# choice of `CHANGE`, and takes a minute or two for each seed. If the lead shrinks as much, the number of steps is the
# reason; if it shrinks less, the smaller batches had a part in it.

# %% [markdown] minutes=7
# ## 7. What may we say?
#
# Before you believe a lead, ask what else could have made it:
#
# | another explanation | here | how to find out |
# | --- | --- | --- |
# | one lucky seed | three seeds, paired | more seeds, and fresh ones |
# | the settings suit one method | one setting for all, chosen by looking at results | tune each method with the same effort, on held-out images (`csd.split(…, validation=0.1)`) |
# | the length of training | short; section 6 | several lengths |
# | more computing | CSD and LwF also run the teacher in each step | compare at the same time, not only at the same epochs |
# | more data | `joint` sees all images at once: it is a bound, not a rival | – |
# | a growing gallery | the same for all methods | protocol *task* beside *seen* (notebook 02) |
# | the choice of quantity | Recall@1, as in the paper | report the others, too (section 3) |
# | looking at the test images while tuning | yes, the preset was chosen so | a test set that nobody has looked at |
# | an easy dataset | one procedural dataset | the digits, CIFAR-100, your own images |
#
# **Your turn.** Which two or three sentences would you put into a paper about the runs of this notebook? Write them
# down, with numbers from sections 2 and 3.

# %% [markdown] tags=["answer"]
# For instance: "On five procedural alphabets learnt one after another, CSD reaches a higher Recall@1 than fine-tuning
# and than LwF after the last task (three seeds, 95 % t-intervals of the paired differences exclude 0). Its forgetting
# is lower in every seed, but with three seeds the interval includes 0. LwF is not distinguishable from fine-tuning.
# All methods share one short training schedule, which was chosen on the same seeds; with longer training the lead is
# smaller."
#
# It takes more words than a bold number, and each of them can be checked.

# %%
for quantity, name in QUANTITIES.items():
    values = final(quantity)
    print(f"{name}: " + ", ".join(f"{method} {of.mean():.3f}" for method, of in values.items()))
    for a, b in itertools.combinations(("csd", "lwf", "finetune"), 2):
        mean, low, high = library_difference(values[a], values[b])
        print(f"    {a} − {b}: {mean:+.3f} ({low:+.3f} to {high:+.3f}); seeds:", end="")
        print("".join(f" {d:+.3f}" for d in values[a] - values[b]))

# %% [markdown] tags=["instructor"]
# **For the instructor.** Stumbling blocks: `np.std` without `ddof=1`; "the interval contains 0" read as "there is no
# difference"; the wish to leave out a seed. Good for the discussion: let half of the room argue for LwF with section
# 5. With more time, let each student train one fresh seed (`csd-edu demo --seed N`), and make one table of all.

# %% [markdown] minutes=5
# ## Summary
#
# - One run answers a question about two networks. A question about methods needs several seeds, and an interval.
# - From three seeds the interval is more than twice as wide as the range of what you see. Subtract within seeds: it can
#   be far sharper.
# - "Contains 0" means not known well enough. "Excludes 0" does not mean large.
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
# ### 3. Would 100,000 queries instead of 1,000 have made the comparison in section 3 surer?
#
# Hardly. The chance in the queries would all but vanish, but most of the differences between the seeds would stay, and
# the intervals of section 3 are made of these.

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
