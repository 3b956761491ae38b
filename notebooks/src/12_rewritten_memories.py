# %% [markdown] budget_minutes=3
# # May one rewrite one's memories?
#
# A network that learns one task after another may keep a few old images, and beside each the answer that it gave to it
# at the time. That is **dark experience replay**, DER. But an old answer knows nothing of what was learnt later.
# **X-DER** goes back and rewrites that part of its memories, and it keeps room in its answers for classes that are
# still to come. Here you write the rules of such a memory, and find out which of them matter, and for what.
#
# After this notebook you will be able to
#
# - fill a memory so that every image has the same chance to be in it, however many come;
# - rewrite a stored answer without touching what it remembers;
# - say which part of a loss compares new classes with old ones, and see in the answers what happens without it;
# - tell what a method does to the *head* from what it does to *retrieval*.
#
# | section | minutes |
# | --- | --- |
# | 1. Who gets a place in the memory? *Exercise 1* | 14 |
# | 2. What does an old answer not know? *Exercise 2* | 18 |
# | 3. Who compares the new with the old? *Exercise 3* | 14 |
# | 4. Which task do the answers name? | 10 |
# | 5. Break it: without the past hinge | 7 |
# | 6. Five seeds: which of the parts show? | 12 |
# | 7. And retrieval? | 10 |
# | 8. At the paper's scale | 5 |
# | 9. Looking back | 6 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for about a minute and a
# half on 2 CPU cores, in sections 2, 4 and 5, and no longer on Colab. After the two set-up cells you can start at any
# section. What five seeds have shown comes with the kit.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, what was measured, and a small stream to learn"
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import csd_edu as csd
from csd_edu import check, pictures, plots, results
from csd_edu.comparison import in_bytes
from csd_edu.methods import DERPP, XDER

found = results.read("rewritten")  # of each method and seed, on glyphs
AS_XDER = ", weights of X-DER"  # how controls are called that have these, and not those that were chosen for them
N_TASKS = sum(measure.startswith("share") for measure in found.values["X-DER"])
SHARES = [f"share of task {task}" for task in range(N_TASKS)]  # of the test images, by the task they are said to be of

digits = csd.split(csd.load("digits"), n_tasks=5, seed=0)  # to learn here: two digits a task
config = csd.preset("digits").config.replace(epochs=4, later_epochs=4, device="cpu")
DER_PLUS, X_DER = DERPP(size=100), XDER(size=100, eta=0.3)
RUNS = Path(tempfile.mkdtemp(prefix="rewritten-"))


def trained(method):
    """Return a run of a method on the digits; what was trained already is not trained again."""
    folder = RUNS / f"{zlib.crc32(repr((method, config)).encode()):08x}"
    return csd.train(digits, method, config, out=folder, progress=False)


def said_shares(run):
    """Return which share of the test images the head says to be of each task, after the last one."""
    said = digits.task_of_class[run.predictions(digits.n_tasks - 1)]  # (N,)
    return (said.bincount(minlength=digits.n_tasks) / len(said)).tolist()


def shares_figure(by_name, title, about):
    """Return bars: for each name the shares of the tasks, and what the truth would be."""
    places = [f"task {task}" for task in range(len(next(iter(by_name.values()))))]
    below = [about, "dotted: about as many test images are of each task"]
    figure = plots.bars(by_name, places, title=title, subtitle=below, y_title="share of the test images", top=1.08)
    return figure.add_hline(1 / len(places), line={"color": plots.GREY, "dash": "dot"}, layer="below")


def versus(one, other):
    """Return what a difference is called in a figure, whose title says with which weights."""
    return f"{one} − {other.removesuffix(AS_XDER)}"


def head_differences(pairs, title):
    """Return marks: for each pair of methods the differences in head accuracy, seed by seed, and their interval."""
    rows, intervals = {}, {}
    for one, other in pairs:
        name, of = versus(one, other), found.difference(one, other, "head_accuracy")
        rows[name] = np.subtract(found.of(one, "head_accuracy"), found.of(other, "head_accuracy"))
        intervals[name] = (of.mean - of.half, of.mean + of.half)
    return plots.per_seed(
        {"difference in head accuracy (dotted: none)": rows},
        intervals=intervals,
        title=title,
        subtitle="one mark for each seed, below them their mean",
        seeds=found.seeds,
        zero=True,
    )


def told(method, measure):
    """Return mean and interval of a measured method as text."""
    return str(found.interval(method, measure))


names = [f"{', '.join(digits.dataset.classes[k] for k in task)}" for task in digits.tasks]
print(f"to learn here: digits in {digits.n_tasks} tasks, {'; '.join(names)}; memories of {X_DER.size} images")
print(f"measured: {found.about}; seeds {', '.join(map(str, found.seeds))}")

# %% [markdown] minutes=14
# ## 1. Who gets a place in the memory?
#
# A memory has room for a few hundred images, and thousands come. Nobody says how many there will be. When image number
# $n$ comes (the first is number 0), who should be in a memory of size $M$?
#
# **Reservoir sampling** has a short rule. As long as there is room, an image takes the next place. From then on, draw
# one of the numbers $0, 1, \dots, n$. If there is a place of that number, the new image takes it, and the old one is
# gone. If not, the new image is not stored. (DER and DER++ fill their memories like this, and so does plain replay.
# X-DER shares its places out among the classes, at the end of each task.)
#
# **Predict.** Fifty images have come, one after another, and the memory holds ten. Which is likelier to be among them:
# the first image, or the last?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "the first", "the last", "both alike"

# %% [markdown]
# The draws are given, so that your answer can be checked: a number in $[0, 1)$ for each image. The whole number that
# was drawn for image $n$ is `int(draw * (n + 1))`.


# %% tags=["exercise"] minutes=6 difficulty=1
def reservoir(draws, size):
    """Return which images a memory holds after all have come.

    draws: for each image a number in [0, 1); size: how many places there are.
    Returns a list of the images' numbers, place by place: at most `size` of them.
    """
    # >>> solution: the first ones just move in; later ones take the place that was drawn, if there is one
    held = []
    for n, draw in enumerate(draws):
        place = int(draw * (n + 1))  # one of 0, …, n
        if n < size:
            held.append(n)
        elif place < size:
            held[place] = n
    return held
    # <<< solution


# %% tags=["check"]
check.reservoir(reservoir)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Loop over `for n, draw in enumerate(draws)`. The list grows by `held.append(n)` while `n < size`; later it is written
# to, as in `held[place] = n`.
#
# More hints, one at a time, the last is the solution: run `check.hint("reservoir")` in a cell of its own.

# %% [markdown]
# Two thousand times fifty images, and how often each was in the memory in the end. Beside it is a rule that sounds
# natural too: *every* new image is let in, and takes a place drawn at random.

# %%
keep = check.yours_or_ours("reservoir")


def always(draws, size):
    """Let every image in."""
    held = list(range(size))
    for n, draw in list(enumerate(draws))[size:]:
        held[int(draw * size)] = n
    return held


N_IMAGES, SIZE, TIMES = 50, 10, 2000
rng = np.random.default_rng(0)
counts = {"reservoir": np.zeros(N_IMAGES), "always let in": np.zeros(N_IMAGES)}
for draws in rng.random((TIMES, N_IMAGES)).tolist():
    counts["reservoir"][keep(draws, SIZE)] += 1
    counts["always let in"][always(draws, SIZE)] += 1
chance = {name: (count / TIMES).tolist() for name, count in counts.items()}
plots.lines(
    chance,
    list(range(N_IMAGES)),
    title="Who is still in the memory?",
    x_title="number of the image",
    y_title="share of the repetitions in which it is held",
    subtitle=f"after {N_IMAGES} images, {SIZE} places; {TIMES:,} repetitions",
    y_range=(0, 1.05),
    levels={"places / images": SIZE / N_IMAGES},
)

# %%
ends = {name: (of[0], of[-1]) for name, of in chance.items()}
for name, (first, last) in ends.items():
    print(f"{name:<14} first image {first:.2f}, last image {last:.2f}")
first, last = ends["reservoir"]
alike = abs(first - last) < 0.05
print(
    f"\nYou predicted: {guess}. With the reservoir: {'both alike' if alike else 'not alike: look at your rule again'}."
)

# %% tags=["claim"]
assert abs(ends["reservoir"][0] - 0.2) < 0.04
assert abs(ends["reservoir"][1] - 0.2) < 0.04
assert ends["always let in"][1] == 1
assert ends["always let in"][0] < 0.05

# %% [markdown]
# **What it means.** A rule that lets everybody in remembers the recent past only. The reservoir lets in fewer and
# fewer, and so every image has the same chance, at any moment: $M / (n + 1)$ after image $n$, although nobody knew that
# there would be fifty.
#
# **What it does not show.** That "the same chance for each image" is what one wants. A class with few images gets few
# places, which X-DER's memory avoids. And the kit's networks learn for several epochs: the same image then comes several times, and each time it
# takes part in the draw.

# %% [markdown] minutes=18
# ## 2. What does an old answer not know?
#
# Beside image $x'$ the memory of DER holds $z'$, the **logits** that the network gave to it when it was stored: one
# number for each class, the larger the likelier. They say more than a label (notebook 03). The network in training is
# asked to go on answering so:
#
# $$L_{\mathrm{DER}} = L(\text{new batch}) + \alpha \cdot \mathrm{mean}\,(z(x') - z')^2$$
#
# **DER++** keeps the label $y''$ as well, and adds $\beta \cdot$ cross-entropy on other images of the memory.
#
# But a memory of the first task was stored when nobody knew of the second. In DER its logits simply end with the
# classes of that time. X-DER has a row for *all* classes from the start. (*The head* is the last layer, which names an
# image. By *head $k$* we mean its row for class $k$, and the logit that this row makes.) So a stored answer also has
# numbers for classes that nobody had learnt: they come from heads that had seen no image of their own. Should the
# network be held to those?
#
# X-DER **rewrites** them. Let $z'$ be the stored logits of an image with the label $y$, and $z$ what the network says
# of it now. With the limit $\ell = \max(\gamma \, z'_y, 0)$, for the heads $lo \le k < hi$,
#
# $$z'_k \leftarrow \begin{cases} z_k \cdot \ell \,/ \max_{lo \le j < hi} z_j & \text{if } \max_{lo \le j < hi} z_j > \ell \\ z_k & \text{else.} \end{cases}$$
#
# All others stay: they are the memory. Which heads are $lo$ to $hi - 1$? In a step, those of the current task and of
# all that are still to come, for the images that were just drawn (with probability 1 over how often an image was drawn
# in this task). At the end of a task, the same for all images of earlier tasks; and for the new images, whose own task
# this is, the heads of the *past*. If the network now finds one of these classes too likely, this part is made smaller,
# so that it stays below $\gamma$ times the true class. With $\gamma = 0.75$ a memory may learn that a later class looks
# *similar*; it may not be turned into that class.
#
# **Predict.** The network has learnt the second task. You rewrite the answers to images of the first. For how many of
# them are the new logits too large, and have to be made smaller?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "hardly any", "some", "most"

# %% [markdown]
# Write the rule. If $\gamma z'_y$ is negative, the limit is 0. Where the largest new logit is not above the limit, the
# new logits are taken as they are: then the factor is 1, also where all of them are negative.


# %% tags=["exercise"] minutes=10 difficulty=3
def rewrite_logits(stored, current, labels, lo, hi, gamma):
    """Return stored logits whose heads lo to hi − 1 are taken from the current ones, made smaller where too large.

    stored, current: (B, C) floats, of the same images; labels: (B,) integers, none of them from lo to hi − 1;
    gamma: a number from 0 to 1. Returns (B, C), a new tensor: `stored` is not changed.
    """
    # >>> solution: a limit and a factor for each image, then a copy in which the block is written
    true = stored.gather(1, labels[:, None])  # (B, 1)
    limit = (gamma * true).clamp_min(0)  # (B, 1)
    block = current[:, lo:hi]  # (B, hi − lo)
    largest = block.amax(dim=1, keepdim=True)  # (B, 1)
    factor = torch.where(largest > limit, limit / largest, 1.0)  # (B, 1)
    rewritten = stored.clone()
    rewritten[:, lo:hi] = factor * block
    return rewritten
    # <<< solution


# %% tags=["check"]
check.rewrite_logits(rewrite_logits)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# `stored.gather(1, labels[:, None])` picks from each row the logit of its label, as a column (B, 1). Compute the limit
# and the factor as columns too; they then multiply whole rows.
#
# More hints, one at a time, the last is the solution: run `check.hint("rewrite_logits")` in a cell of its own.

# %% [markdown]
# See it on a network. X-DER learns the digits (this takes some seconds). The images of the first task get their answers
# from the network after task 0; then the network after task 1 rewrites them. The picture shows the mean over these
# images.

# %%
rewrite = check.yours_or_ours("rewrite_logits")
GAMMA = X_DER.gamma

run = trained(X_DER)
test = run.test()
of_first = test["tasks"] == 0  # (N,)
labels = test["labels"][of_first]  # (n,)
n_first, n_second, n_all = digits.n_seen[0], digits.n_seen[1], len(run.classes)
with torch.no_grad():
    stored, current = (run.network(task)(test["images"][of_first])[1] for task in (0, 1))  # (n, C) each
rewritten = rewrite(stored, current, labels, n_first, n_all, GAMMA)

of_one = labels == 0  # one class, so that its own head is one bar
answers = {"stored after task 0": stored, "said after task 1": current, "rewritten": rewritten}
means = {name: logits[of_one].mean(dim=0).tolist() for name, logits in answers.items()}
task_of = digits.task_of_class.tolist()
places = [f"{name} (task {task_of[k]})" for k, name in enumerate(run.classes)]
figure = plots.bars(
    means,
    places,
    title=f"One class’s answers: test images of the digit {run.classes[0]}",
    subtitle=f"mean of {int(of_one.sum())} images for each head; γ = {GAMMA:g}; the first two heads are the memory",
    y_title="logit",
    form=".1f",
)
low = min(min(values) for values in means.values())
figure.update_traces(textposition="none").update_yaxes(
    range=[1.2 * min(low, 0), 1.15 * max(max(values) for values in means.values())], zeroline=True
)

# %%
true = stored.gather(1, labels[:, None]).squeeze(1)  # (n,)
largest = current[:, n_first:].amax(dim=1)  # (n,)
smaller = float((largest > GAMMA * true.clamp_min(0)).double().mean())
turned = float((largest > true).double().mean())
after = float((rewritten[:, n_first:].amax(dim=1) > true).double().mean())
answer = "hardly any" if smaller < 0.1 else "most" if smaller > 0.5 else "some"
print(f"{len(labels)} images of task 0, asked again after task 1")
print(f"made smaller: {smaller:.0%}. You predicted: {guess}. It is: {answer}.")
print(f"a later head above the stored true one: {turned:.0%} without the factor, {after:.0%} with it")

# %% tags=["claim"]
assert torch.equal(rewritten[:, :n_first], stored[:, :n_first])
assert after == 0

# %% [markdown]
# **What it means.** Before they were learnt, the later heads said *something*, and the term with $\alpha$ would hold
# the network to it. After rewriting, each memory says of them what the network finds now, up to the limit. The two
# heads of the image's own task are exactly as they were stored.
#
# **What it does not show.** That this makes a better network. It is a rule that sounds reasonable; section 6 asks
# whether it can be seen in the result. And the images here are test images: what the memory holds are training images,
# which the network knows better.

# %% [markdown] minutes=14
# ## 3. Who compares the new with the old?
#
# In fine-tuning, and in DER++, the cross-entropy of a *new* batch goes over all classes there are. Every label in the
# batch is a new class; so every old head is pushed down, with each image, and is hardly ever lifted. Notebook 03 showed
# where this ends: the head names a new class, whatever it is shown.
#
# X-DER **separates** its cross-entropy. On new images only the heads of the current task compete. Old heads are not
# pushed down by them. The whole loss:
#
# | term | on which images | which heads it moves |
# | --- | --- | --- |
# | cross-entropy of the current heads | new | current |
# | $\alpha$ · stored answers | memory | all |
# | $\beta$ · cross-entropy of the past heads | memory | past |
# | $\lambda$ · contrast of the heads to come, in several views | new and memory | future |
# | $\eta$ · future hinge: the largest head to come below the true one | new and memory | future, and the true one |
# | $\eta$ · past hinge: the largest past head below the true one | new | past, and the true one |
#
# (The triplet loss of fine-tuning is there as well, as in all methods of this kit; it acts on features.) The lines with
# $\lambda$ and the future hinge prepare heads for classes to come: images of one class are to look alike to them as
# well, and they must stay low until it is their turn. In the authors' code of 2022 the last line is there, with a small
# $\eta$; in the library in which they keep it (mammoth) it has been switched **off** since December 2024, unless one asks
# for it.
#
# **Think first.** Take the last line away. A new image comes, and the head of an *old* class gives the largest logit.
# Which of the other lines tells the network that this is wrong?

# %% [markdown] tags=["answer"]
# None. Cross-entropy on new images does not look at the past heads. The stored answers and the second cross-entropy
# look at them, but on old images only. The future hinge and the contrast are about heads to come; and on images of the
# memory the future hinge *lifts* the true heads, which are past ones. So nothing says on a new image which of the old heads and the
# new ones should be higher. Test images are named by the largest of all logits seen so far: the comparison that decides
# was never trained.

# %% [markdown]
# The **past hinge** is that comparison. For a new image $i$ with the label $y_i$, a margin $m$, and the heads $k <
# n_{\mathrm{past}}$ of earlier tasks:
#
# $$\ell_i = \max\left(0,\ \max_{k < n_{\mathrm{past}}} z_{ik} + m - z_{i y_i}\right)$$
#
# The loss is the mean over those images whose $\ell_i$ is above 0, and 0 if there are none.


# %% tags=["exercise"] minutes=7 difficulty=2
def past_hinge(logits, labels, n_past, margin):
    """Return the mean hinge, over the images for which it is not 0, of the largest past head above the true one.

    logits: (B, C) floats; labels: (B,) integers of at least n_past; n_past: how many heads are of earlier tasks;
    margin: a number of at least 0. Returns a scalar tensor, with a gradient for the logits.
    """
    # >>> solution: the largest past logit against the true one, cut off at 0; the mean of what is left
    true = logits.gather(1, labels[:, None]).squeeze(1)  # (B,)
    largest = logits[:, :n_past].amax(dim=1)  # (B,)
    loss = torch.relu(largest + margin - true)  # (B,)
    return loss.sum() / (loss > 0).sum().clamp_min(1)
    # <<< solution


# %% tags=["check"]
check.past_hinge(past_hinge)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# The true logit of each row, as in section 2: `logits.gather(1, labels[:, None]).squeeze(1)`. `torch.relu` cuts off
# what is below 0. How many losses are above 0 is `(loss > 0).sum()`, which may be 0.
#
# More hints, one at a time, the last is the solution: run `check.hint("past_hinge")` in a cell of its own.

# %% [markdown]
# Which way does it push? Three new images, two past heads (a, b) and two current ones (c, d). The first image is
# answered wrongly, by head b; the second rightly, but within the margin; the third is far enough.

# %%
hinge = check.yours_or_ours("past_hinge")
logits = torch.tensor([[0.0, 2.0, 1.0, 0.0], [0.5, 0.2, 0.0, 0.7], [0.0, -1.0, 2.0, 0.0]], requires_grad=True)
loss = hinge(logits, torch.tensor([2, 3, 2]), 2, 0.3)
(gradient,) = torch.autograd.grad(loss, logits)
print(f"loss {loss.item():.2f}; minus the gradient, which is where gradient descent pushes each logit:")
print(f"{'':9}" + "".join(f"{head:>7}" for head in ("past a", "past b", "now c", "now d")))
for n, row in enumerate((0.0 - gradient).tolist()):
    print(f"image {n}  " + "".join(f"{push:>+7.1f}" for push in row))

# %% [markdown]
# **What it means.** Where a past head is in the way, it is pushed down and the true one lifted, equally. Where nothing
# is in the way, nothing happens: unlike cross-entropy, a hinge leaves old heads alone as soon as they are low enough on
# *these* images.
#
# **What it does not show.** How much it should weigh. For a memory of 500 images the published settings have $\eta =
# 0.001$; section 5 tries what happens without any hinge.

# %% tags=["claim"]
assert torch.allclose(0.0 - gradient, torch.tensor([[0, -0.5, 0.5, 0], [-0.5, 0, 0, 0.5], [0, 0, 0, 0]]))

# %% [markdown] minutes=10
# ## 4. Which task do the answers name?
#
# An accuracy says how many answers are right. *How* a head fails is seen better in another number: of all test images,
# which share does it say to be of task 0, of task 1, …? All tasks have about as many test images here, so a good head
# has about a fifth in each.
#
# Two methods learn the digits, in five tasks of two: DER++ and X-DER, both with a memory of 100 images, for four epochs
# a task.
#
# **Predict.** Which share of all test images does DER++ say to be of the *last* task?

# %% tags=["predict"]
guess = "no prediction yet"  # put a share from 0 to 1 instead

# %%
runs = {"DER++": trained(DER_PLUS), "X-DER": trained(X_DER)}
shares = {name: said_shares(run) for name, run in runs.items()}
about = f"digits, {len(digits.dataset.y_test)} test images of all tasks, after the last one; one seed"
shares_figure(shares, "Of which task are they said to be?", about)

# %%
print(f"You predicted: {guess}. Measured: {shares['DER++'][-1]:.2f}.\n")
print(f"{'':<10}{'named by the head':>20}{'Recall@1':>12}")
for name, run in runs.items():
    end = run.metrics["summary"]
    print(f"{name:<10}{end['head_accuracy']:>20.3f}{end['recall_at_1']:>12.3f}")

# %% tags=["claim"]
assert shares["DER++"][-1] > 0.6 > 0.4 > max(shares["X-DER"])
ends = {name: run.metrics["summary"] for name, run in runs.items()}
assert ends["X-DER"]["head_accuracy"] > ends["DER++"]["head_accuracy"] + 0.3
assert abs(ends["X-DER"]["recall_at_1"] - ends["DER++"]["recall_at_1"]) < 0.06

# %% [markdown]
# **What it means.** DER++ has its memory and its stored answers, and still its head leans far to the newest task: on
# new images cross-entropy pushes down all old heads. X-DER's answers are spread over the tasks. Now look at the last
# column. A search compares features, and never asks the head; the two networks search about equally well. The head of
# DER++ is not blind: it is *biased*. What it would need to answer is there, in the features.
#
# **What it does not show.** Which method is better. This is one seed, on an easy dataset, trained for seconds. DER++
# has the kit's settings; X-DER has $\eta = 0.3$, so that one sees in seconds what its hinges do. A fair comparison gives
# both the same care: see section 6.

# %% [markdown] minutes=7
# ## 5. Break it: without the past hinge
#
# Now train X-DER without the past hinge, and once more without *any* hinge.
#
# **Predict.** Which share of the test images does each of the two heads say to be of the last task? (Look at section 3
# again.)

# %% tags=["predict"]
guess = {"no past hinge": "?", "no hinge": "?"}  # put shares from 0 to 1 instead

# %% tags=["break"]
without = {  # afterwards try a hinge that weighs more than three times as much: {"heavy": {"eta": 1.0}}
    "no past hinge": {"past_hinge": False},
    "no hinge": {"eta": 0.0},
}
runs = {"X-DER": trained(X_DER)} | {name: trained(replace(X_DER, **changed)) for name, changed in without.items()}
shares = {name: said_shares(run) for name, run in runs.items()}
for name, run in runs.items():
    end = run.metrics["summary"]
    print(f"{name:<14}head accuracy {end['head_accuracy']:.3f}, Recall@1 {end['recall_at_1']:.3f}, ", end="")
    print(f"said to be of the last task {shares[name][-1]:.3f}")
print(f"\nYou predicted: {guess}.")
shares_figure(
    shares,
    "X-DER, and with a part less",
    about="digits, test images of all tasks, after the last one; one seed",
)

# %%
last = digits.n_tasks - 1
n_past = digits.n_seen[last - 1]
for name, run in runs.items():
    test = run.test()
    newest = test["tasks"] == last
    with torch.no_grad():
        logits = run.network(last)(test["images"][newest])[1]  # (n, C)
    true = logits.gather(1, test["labels"][newest][:, None]).mean()
    own = (logits[:, n_past:].argmax(dim=1) + n_past == test["labels"][newest]).double().mean()
    print(f"{name:<14}on images of the last task: true head {true:.2f} on average, ", end="")
    print(f"largest past head {logits[:, :n_past].amax(dim=1).mean():.2f}; right among the task's own heads {own:.2f}")

# %% tags=["claim"]
assert shares["no past hinge"][-1] < 0.02
assert shares["X-DER"][-1] > 0.08
assert shares["no hinge"][-1] > 0.05
ends = {name: run.metrics["summary"]["head_accuracy"] for name, run in runs.items()}
assert ends["no past hinge"] < min(ends["X-DER"], ends["no hinge"])
assert ends["no hinge"] > ends["X-DER"] - 0.05

# %% [markdown]
# **What it means.** Without the past hinge the newest task is not named at all, or hardly ever, although the network
# has just learnt it, and its own heads tell its classes apart: they are only lower than the old ones. It is the
# opposite of fine-tuning, where the newest task is all that is named. In the end it is the *newest* task that is
# missing, because once the next one comes, the memory holds images of this one, and the cross-entropy of the past heads
# compares it with the others.
#
# But is it "because nothing compares the new heads with the old ones"? In the third row nothing compares them either,
# and the newest task *is* named. What differs is the future hinge: it lifts true heads above the heads to come, on new
# images and on old ones, and on old ones the true heads are past ones. The two hinges pull against each other. Take one
# of them away, and the other wins; take both away, and neither does. A control that leaves out *one* part of a balance
# shows the balance, and not what the part is worth.
#
# Accuracy alone would not tell: the mean over all tasks may look fine while one of them is missing. Look at shares, or
# at the accuracy of each task.
#
# Now write `without = {"heavy": {"eta": 1.0}}` in the cell and run it again. A hinge can also be too heavy.
#
# **What it does not show.** How the published numbers were reached. They are of other settings, and a long training
# moves heads in other ways, too.

# %% [markdown] minutes=12
# ## 6. Five seeds: which of the parts show?
#
# X-DER has several parts: memories are rewritten, the future is prepared, the past hinge compares. A **control** leaves
# out one of them. All methods learnt glyphs in five tasks, with a memory of 200 images; each was tuned with the same
# effort (four points, two seeds of their own, images held out of training, the first *two* of the five tasks), and then
# trained with other seeds on all five. These results come with the kit: `python benchmarks/rewritten.py` makes them
# anew.

# %%
three = ("DER++", "X-DER", "X-DER, no past hinge", "X-DER, no hinge")
mean_shares = {name: [found.interval(name, share).mean for share in SHARES] for name in three}
about = "glyphs, all test images, after the last task; means over the seeds"
shares_figure(mean_shares, "Of which task are they said to be?", about)

# %% [markdown]
# **Predict.** Which differences in *head accuracy* will have an interval that excludes 0? Write `True` for those.

# %% tags=["predict"]
guess_clear = {  # your predictions: True or False instead of None
    ("X-DER", "DER++"): None,
    ("X-DER", "X-DER, no past hinge"): None,
    ("X-DER", "X-DER, no rewriting"): None,
    ("X-DER", "X-DER, no future"): None,
}

# %%
print(f"{'':<40}{'head accuracy':>16}")
for name in found.values:
    print(f"{name:<40}{told(name, 'head_accuracy'):>16}")
print("\npaired differences, mean ± half of the 95 % interval")
heads = {}
for (one, other), guess in guess_clear.items():
    heads[other] = found.difference(one, other, "head_accuracy")
    clear = heads[other].verdict != "not told apart"
    right = "" if guess is None else ", as you said" if guess == clear else ", not as you said"
    print(f"{f'{one} − {other}':<40}{heads[other].signed():>16}  {heads[other].verdict}{right}")
head_differences(list(guess_clear), "What does each part do to the head?")

# %% [markdown]
# Before you believe a row, ask what else differs. Each control was tuned by itself. Here are the points that were
# tried, and what the head was worth there on images held out, with two seeds.

# %%
tuning = found.notes["tuning"]["methods"]
for name, of in tuning.items():
    print(name)
    for point, scores in zip(of["points"], of["scores"], strict=True):
        values = ", ".join(f"{key} {value:g}" for key, value in point.items())
        mark = "  <- chosen" if point == of["chosen"] else ""
        print(f"    {values:<22}" + "  ".join(f"{score:.3f}" for score in scores) + mark)

# %% [markdown]
# Look at the control without rewriting. Its two best points are as good as equal, while the two seeds of one point are
# far apart: another pair of seeds could well have chosen the other. By a hair it got other weights than X-DER, $\alpha$
# and $\eta$ three times as large. So in its row above *three* things differ, and nobody can tell which of them makes
# the difference. That is a trap which careful tuning sets: what is equal is the effort, not the setting.
#
# And look how the points of DER++ are *above* those of X-DER, which wins in the end. They were scored after two tasks:
# what is good for five need not show there. Tuning on a part of the stream is cheap and honest, but it is another
# question.
#
# The experiment therefore trained each control that was tuned to other weights once more, with the weights of X-DER:
# one difference at a time. And after section 5 it has two more, in which no hinge is left to pull alone: one without any
# hinge, and one without the past hinge *and* without the future (its hinge and its contrast).

# %% tags=["claim"]
control = tuning["X-DER, no rewriting"]
best, second = sorted((np.mean(scores) for scores in control["scores"]), reverse=True)[:2]
assert best - second < 0.01 < 0.1 < min(abs(np.ptp(scores)) for scores in sorted(control["scores"], key=np.mean)[-2:])
for key in ("alpha", "eta"):
    assert abs(control["chosen"][key] / tuning["X-DER"]["chosen"][key] - 3) < 1e-6

# %%
same = {name: name + AS_XDER for name in tuning if name + AS_XDER in found.values}
at_same = {name: found.difference("X-DER", other, "head_accuracy") for name, other in same.items()}
for name in same:
    print(f"X-DER − {name}")
    for how, difference in {"each as tuned": heads[name], "both with X-DER’s weights": at_same[name]}.items():
        print(f"    {how:<28}{difference.signed():>16}  {difference.verdict}")
balanced = ("X-DER, no hinge", "X-DER, no past hinge, no future")
print("\nno hinge left to pull alone, all with X-DER’s weights")
for pair in [
    *(("X-DER", other) for other in balanced),
    ("X-DER, no hinge", "X-DER, no past hinge"),
    ("X-DER, no past hinge, no future", "X-DER, no future" + AS_XDER),
    *((other, "DER++") for other in ("X-DER, no past hinge", *balanced)),
]:
    difference = found.difference(*pair, "head_accuracy")
    print(f"    {versus(*pair):<60}{difference.signed():>16}  {difference.verdict}")
print("\nsaid to be of the newest task:")
for name in ("DER++", "X-DER", "X-DER, no past hinge", *balanced, *same.values()):
    print(f"    {name:<45}{found.interval(name, SHARES[-1])}")
head_differences([("X-DER", other) for other in (*same.values(), *balanced)], "With the weights of X-DER")

# %% [markdown]
# **What it means.**
#
# - **X-DER against DER++.** The head of X-DER names more images rightly. The figure of shares says how: DER++ says of
#   too many images that they are of the newest task; X-DER spreads its answers.
# - **The past hinge.** Without it alone no test image is said to be of the newest task, in any seed, and X-DER falls
#   behind DER++. Without *both* hinges the newest task is named, if too seldom (0.09 instead of 0.2): so it is not only
#   that nothing compares new heads with old ones. Whether the head is better then than without the past hinge alone, five
#   seeds can't tell. Both hinges together are worth about 0.1.
# - **Rewriting** shows. So one may rewrite one's memories, and it is worth it, for the head. But see how much of the
#   row "each as tuned" was the weights: at equal weights the difference is, in the mean, less than half as large.
# - **Preparing heads** seems to show most, at equal weights: 0.31. But that control has the past hinge left to pull
#   alone, and three quarters of all images are said to be of the newest task. Without both, two thirds of the
#   difference are gone: what is left, about 0.1, is what the future *and* the past hinge are worth together.
# - **And DER++?** X-DER without any hinge is not told apart from it. On this stream most of X-DER's lead in the head, as
#   far as means tell, comes from its two hinges.
#
# **What it does not show.** Why rewriting helps, which these numbers don't tell. Nor other streams, other networks or
# longer training; nor other weights: a grid of four points, chosen by two seeds on two tasks, leaves much to chance, as
# you have seen. In particular it has no $\eta$ as small as the published one.

# %% tags=["claim"]
newest = SHARES[-1]
assert max(found.of("X-DER, no past hinge", newest)) == 0
assert min(found.of("DER++", newest)) > 2 / N_TASKS
assert max(found.of("X-DER", newest)) < 1.5 / N_TASKS
for name in same.values():
    assert min(found.of(name, newest)) > 1.5 / N_TASKS
for name in balanced:
    assert found.difference("X-DER", name, "head_accuracy").verdict == "above 0"
    assert 0.05 < found.difference("X-DER", name, "head_accuracy").mean < 0.13
    assert 0 < min(found.of(name, newest)) <= max(found.of(name, newest)) < 0.75 / N_TASKS
assert found.difference("X-DER, no hinge", "X-DER, no past hinge", "head_accuracy").verdict == "not told apart"
assert found.difference("X-DER, no hinge", "DER++", "head_accuracy").verdict == "not told apart"
left = found.difference("X-DER", "X-DER, no past hinge, no future", "head_accuracy").mean
assert left < 0.4 * at_same["X-DER, no future"].mean
assert [heads[name].verdict for name in heads] == 4 * ["above 0"]
assert found.difference("X-DER, no past hinge", "DER++", "head_accuracy").verdict == "below 0"
assert [of.verdict for of in at_same.values()] == ["above 0", "above 0"]
assert at_same["X-DER, no rewriting"].mean < heads["X-DER, no rewriting"].mean / 2
assert at_same["X-DER, no future"].mean > heads["X-DER, no future"].mean
assert at_same["X-DER, no future"].mean > max(at_same["X-DER, no rewriting"].mean, heads["X-DER, no past hinge"].mean)

# %% [markdown] minutes=10
# ## 7. And retrieval?
#
# This kit asks more than whether the head names the right class. A search engine compares *features*. **Recall@1** is
# the share of test images whose nearest other image is of their class.
#
# **Predict.** DER++ and X-DER: which has the higher Recall@1?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "DER++", "X-DER", "not told apart"

# %%
print(f"{'':<40}{'head accuracy':>16}{'Recall@1':>18}")
for name in found.values:
    print(f"{name:<40}{told(name, 'head_accuracy'):>16}{told(name, 'recall_at_1'):>18}")

parts = ("X-DER, no past hinge", "X-DER, no rewriting", "X-DER, no future")
alike = [name + AS_XDER if name + AS_XDER in found.values else name for name in parts]  # one difference at a time
pairs = [("X-DER", "DER++"), *(("X-DER", name) for name in alike), ("X-DER and CSD", "X-DER")]
both = {"head accuracy": "head_accuracy", "Recall@1": "recall_at_1"}
plots.per_seed(
    {
        axis: {versus(a, b): np.subtract(found.of(a, measure), found.of(b, measure)) for a, b in pairs}
        for axis, measure in both.items()
    },
    title="Differences in the head, and in the search",
    subtitle=[
        "one mark for each seed; right of the dotted line the first of the two is ahead",
        "X-DER without a part: with the weights of X-DER",
    ],
    seeds=found.seeds,
    zero=True,
)

# %%
print("paired differences, mean ± half of the 95 % interval\n")
for a, b in pairs:
    differences = [found.difference(a, b, measure) for measure in both.values()]
    print(f"{versus(a, b):<34}" + "   ".join(f"{d.signed()} ({d.verdict})" for d in differences))
ahead = found.difference("X-DER", "DER++", "recall_at_1")
answer = {"above 0": "X-DER", "below 0": "DER++"}.get(ahead.verdict, ahead.verdict)
print(f"\nYou predicted: {guess}. Recall@1: {answer}.")

# %% [markdown]
# **What it means.** In the head X-DER is far ahead of DER++. In the search there is no such lead: the two are not told
# apart, and the mean is even on the other side. A possible reason: the separated cross-entropy and the hinges put the
# *heads* in order; the bias of DER++'s head, which costs it so many right answers, need be no fault of its features, and
# a search does not notice.
#
# So "X-DER is better than DER++" is a sentence about heads. The same holds for rewriting: it shows in the head, and not
# in the search. The past hinge and the prepared heads show in the search as well, by less; and without the past hinge
# X-DER is *behind* DER++ in the search, as it is without both. (The two panels have other scales: mind the numbers below them.) Who builds a
# search engine should look at the right-hand panel first.
#
# **Would CSD's losses on top help?** See the last row: X-DER with CSD's contrast, on the batch and on what was drawn
# from the memory, at a weight that was tuned. With these seeds head and search both gain a little. It costs bytes: a
# teacher is kept.
#
# **What it does not show.** That X-DER searches worse: 0 is in the interval. Nor why the features are alike; that would
# take another experiment, such as X-DER with the cross-entropy of DER++ and all else as it is.

# %% tags=["claim"]
assert found.difference("X-DER", "DER++", "head_accuracy").verdict == "above 0"
assert ahead.verdict == "not told apart"
assert ahead.mean < 0
assert found.difference("X-DER", "X-DER, no rewriting" + AS_XDER, "recall_at_1").verdict == "not told apart"
for name in ("X-DER, no past hinge", *balanced):
    assert found.difference(name, "DER++", "recall_at_1").verdict == "below 0"
for name in ("X-DER, no past hinge", "X-DER, no future" + AS_XDER):
    of_head, of_search = (found.difference("X-DER", name, measure) for measure in both.values())
    assert of_search.verdict == "above 0"
    assert of_search.mean < of_head.mean
assert found.difference("X-DER and CSD", "X-DER", "head_accuracy").verdict == "above 0"
assert found.difference("X-DER and CSD", "X-DER", "recall_at_1").verdict == "above 0"

# %% [markdown]
# And the bytes? Both memories hold 200 images here, and beside each image an answer and a label.

# %%
for name, n_bytes in found.notes["bytes"].items():
    print(f"{name:<40} {in_bytes({'': n_bytes})}")
one = 3 * 24 * 24 + 4 * 100 + 8
print(f"an image of 3 × 24 × 24 bytes, 100 logits of 4 bytes, a label of 8: {one:,} bytes; 200 of them {200 * one:,}")

# %% [markdown]
# Here are all methods of the kit on one stream of digits, with the bytes that each carries from task to task.

# %%
pictures.recall_against_bytes(results.read("neighbours"))

# %% [markdown]
# **What it means.** First the floor: `raw pixels`, left of the dotted line, where nothing is kept, search these digits as
# well as the best methods, within a hundredth, and have learnt nothing. So here Recall@1 shows what a method loses. (The glyphs of section 6
# are another matter: there pixels have a Recall@1 of .12, by `benchmarks/untaught.py`.) An answer costs few bytes beside
# its image: what counts is how many images are kept. X-DER keeps what DER++ keeps, and a count for each place (how often
# it was drawn); with CSD on top a teacher has to be kept as well. And look at `er`, which keeps images and labels and no
# answers at all: it searches better than the three that do, with fewer bytes.
#
# **What it does not show.** The time. X-DER looks at several views of each image, and at each batch of the memory
# twice: its training took more than one and a half times as long as that of DER++ (`found.table(["seconds"])`; the last
# four rows were measured on a busier computer).

# %% tags=["claim"]
assert 1.5 < np.mean(found.of("X-DER", "seconds")) / np.mean(found.of("DER++", "seconds")) < 1.8
everyone = results.read("neighbours")
for name in ("der", "derpp", "xder"):
    assert everyone.difference("er", name, "recall_at_1").verdict == "above 0"
    assert max(everyone.of("er", "bytes")) < min(everyone.of(name, "bytes"))

# %% [markdown] minutes=5
# ## 8. At the paper's scale
#
# The published numbers are of CIFAR-100 in ten tasks. The next cell trains nothing on a CPU. On a GPU it trains DER++
# and X-DER for a few epochs; `python benchmarks/rewritten.py --gpu` takes longer, with two sizes of the memory.

# %%
PUBLISHED = {("DER++", 500): 0.3825, ("X-DER", 500): 0.4993, ("DER++", 2000): 0.5363, ("X-DER", 2000): 0.5914}
EPOCHS = 3  # of each task; the paper's networks learn for 50
ours = {}
if torch.cuda.is_available():
    photographs = csd.split(csd.load("cifar100"), n_tasks=10, seed=0)
    at_scale = csd.Config(network="resnet32", epochs=EPOCHS, later_epochs=EPOCHS, batch_size=128, flip=True)
    for name, method in {"DER++": DERPP(size=500, alpha=0.1), "X-DER": XDER(size=500)}.items():
        run = csd.train(photographs, method, at_scale, out=RUNS / f"cifar100-{name}")
        ours[name, 500] = run.metrics["summary"]["head_accuracy"]
else:
    print("There is no GPU here, so nothing is trained.\n")
print(f"{'':<8}{'memory':>8}{'published':>12}{'ours':>15}")
for (name, size), published in PUBLISHED.items():
    measured = f"{ours[name, size]:.3f}" if (name, size) in ours else "not measured"
    print(f"{name:<8}{size:>8,}{published:>12.3f}{measured:>15}")
print(
    "\nwhat differs: ResNet-18 and 50 epochs of SGD in batches of 32 there, ResNet-32 and few epochs of Adam in batches"
)
print("of 128 here; a triplet loss here; other weights of the hinges; α, β, η not tuned for this")

# %% [markdown]
# **What it means.** In the paper X-DER is ahead of DER++ with both memories, and by more with the small one. Where
# "ours" has numbers they are of a far shorter training; compare the order at most.
#
# There is more that differs: the X-DER of this kit is small. It has $\gamma = 0.75$ where the authors' code has 0.85; there
# a largest logit between $\gamma z'_y$ and $z'_y$ stays as it is; its past hinge compares probabilities and moves no past
# head; both hinges take the largest of the own heads instead of the true one; views are cropped and coloured more
# strongly; and batch norm is kept from following old images. `help(XDER)` has the list.
#
# **What it does not show.** Retrieval. The paper counts right answers of the head, and so do nearly all papers on this
# subject.

# %% [markdown] minutes=6
# ## 9. Looking back
#
# - A reservoir gives each image the same chance to be remembered, however many come.
# - Rewriting revises what a memory says of classes that its image is *not*, and keeps what it says of its own. The
#   limit $\gamma z'_y$ keeps it from being turned into another class.
# - Two parts of a loss may hold each other in balance. Without the past hinge the newest task is not named, because the
#   future hinge is left to pull alone; without either it is. Take away a part, and ask what it was balancing.
# - Shares of predictions show *how* a head fails; an accuracy only shows that it does.
# - A control that was tuned with the same effort may still get other weights, and then differs in more than one thing.
#   Compare it at equal weights, too.
# - What is good for the head need not be good for the search. Measure what will be used.
#
# Four questions to test yourself:
#
# 1. Image number 999 has just come (the first was number 0); the memory has 100 places. With which chance is it held?
#    And image number 3?
# 2. A stored answer is $(2, 0, 0)$ with the label 0, and the network now says $(5, 4, 1)$. Heads 1 and 2 are rewritten
#    with $\gamma = 0.75$. What does the memory say afterwards?
# 3. Your X-DER answers four of five tasks well, and one not at all. Which one will it be, and what do you look at?
# 4. Two methods have the same Recall@1, but one names twice as many images rightly. Which of the two would you take for
#    an image search, and what else would you ask?

# %% [markdown] tags=["hint"]
# ### Answers
# 1. 100/1000 = 0.1, and the same for image 3.
# 2. The limit is $0.75 \cdot 2 = 1.5$, the largest new logit is 4, so the factor is 0.375: $(2, 1.5, 0.375)$. The 5
#    does not matter: head 0 is the memory.
# 3. Most likely the newest, if the past hinge is missing or too weak for what pulls against it. Look at the share of
#    answers that name each task, and at the logits: is the true head below the largest past one?
# 4. For search they are alike. Ask what each keeps in bytes, how long a step takes, and whether features drift
#    (notebook 05): a head can be mended later, for instance by a few images of each class.

# %% [markdown]
# **Where to read on**
#
# - M. Boschini, L. Bonicelli, P. Buzzega, A. Porrello, S. Calderara: *Class-Incremental Continual Learning into the
#   eXtended DER-verse*, IEEE TPAMI 2022 (arXiv 2201.00766): X-DER.
# - P. Buzzega, M. Boschini, A. Porrello, D. Abati, S. Calderara: *Dark Experience for General Continual Learning: a
#   Strong, Simple Baseline*, NeurIPS 2020 (arXiv 2004.07211): DER and DER++.
# - J. S. Vitter: *Random Sampling with a Reservoir*, ACM Transactions on Mathematical Software, 1985.
# - H. Ahn, J. Kwak, S. Lim, H. Bang, H. Kim, T. Moon: *SS-IL: Separated Softmax for Incremental Learning*, ICCV 2021:
#   the cross-entropy that is separated.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: `int(draw * n)` in the reservoir, which lets in too many; in rewriting,
# scaling rows that need not be scaled, and writing into `stored` itself; in the hinge, a mean over all images. Let the
# room answer the open question of section 3 with the table in front of them before anybody trains. If time is short,
# leave out exercise 1 and section 8. The discussion that is worth most is the end of section 7: which number would you
# have put into a paper?

# %%
check.board("reservoir", "rewrite_logits", "past_hinge")
