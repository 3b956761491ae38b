# %% [markdown] budget_minutes=4
# # Which images should pull together, and which push apart?
#
# A search engine compares **features**, so it is the features that must not be forgotten. **Contrastive Supervised
# Distillation** (CSD) does not only ask the network in training, the **student**, to answer like the network as it was
# before the task, the frozen **teacher**. It also compares their features, in one space. Here you see which pairs pull
# and which push, write the loss, train with it, and take it apart.
#
# After this notebook you will be able to
#
# - name the contrast set and the positives of an image, and say what each pair does at which temperature;
# - write the CSD loss, say which values it can take, and write a method that trains with it;
# - say, from an experiment with controls, which of its parts do the work, and what a few seeds can't tell apart.
#
# | section | minutes |
# | --- | --- |
# | 1. Where does a student feature go? | 8 |
# | 2. Which pairs are compared? | 18 |
# | 3. Write the loss | 24 |
# | 4. Train, task by task | 16 |
# | 5. Break it: a temperature of 5 | 8 |
# | 6. Which part does the work? | 18 |
# | 7. Looking back | 6 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. (What LwF is, notebook 03 tells: fine-tuning, and
# distillation of the teacher's *answers*.) The computer works for about two minutes on 2 CPU cores, nearly all of it in
# sections 4 and 6, and no longer on Colab. After the two set-up cells you can start at any section: where one needs a
# function of yours that is not there, or has not passed its check, it takes the library's.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and how saved runs are compared"
import inspect
import math
from functools import partial

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots

import csd_edu as csd
from csd_edu import check, losses, metrics, plots, saved, widgets
from csd_edu.models import embed
from csd_edu.tuning import read_tuning, shipped

finetune = saved.run("finetune")
stream = csd.split(csd.load("glyphs", image_size=24), groups=True, seed=finetune.config.seed)  # to learn from
tuning = read_tuning(saved.folder()) or shipped()  # the weights that notebook 03 tells of


def ends(name):
    """Return Recall@1 on all test images after the last task, one value for each seed of the saved runs."""
    return [saved.run(name, seed=seed).metrics["summary"]["recall_at_1"] for seed in saved.SEEDS]


def say_difference(name, other):
    """Print the mean difference of two saved runs over the seeds, with its 95 % interval, and what it tells."""
    mean, half = metrics.mean_interval([a - b for a, b in zip(ends(name), ends(other), strict=True)])
    told = "not told apart" if abs(mean) <= half else "above 0" if mean > 0 else "below 0"
    print(
        f"{name} − {other}: {mean:+.3f}", f"± {half:.3f}, {told}" if len(saved.SEEDS) > 1 else "(one seed: no interval)"
    )


print(f"saved runs on {saved.dataset()}, one {saved.group()} after another:", ", ".join(saved.NAMES))

# %% [markdown] minutes=8
# ## 1. Where does a student feature go?
#
# Features have 64 numbers. Before you meet them, a world with two: each feature is a point on a circle, and two features
# are alike if the angle between them is small (their *cosine* is the dot product). There are three classes of four images
# each. Every image has two features: the frozen teacher's, outside, and the student's, inside. The student has drifted.
#
# One teacher feature is odd: an image of class A lies among those of class B. The teacher has got this one wrong.
#
# **Predict.** The CSD loss draws on the student features, and on nothing else. Where does the student feature of that odd
# image go?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "to its own teacher", "nearer to class A", "nowhere"

# %%
labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])  # A, B, C
teacher_degrees = torch.tensor([10.0, 35, 60, 150, 125, 140, 160, 175, 250, 265, 285, 300])  # 150 is the odd one
student_degrees = torch.tensor([70.0, 20, 110, 185, 95, 200, 230, 150, 215, 320, 345, 270])
ODD = 3


def points(degrees):
    """Return the points (B, 2) on the unit circle at these angles."""
    return torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)


def angle(a, b):
    """Return the angle between two directions in degrees, 0 to 180."""
    return float((a - b + 180).remainder(360).sub(180).abs())


moving = student_degrees.clone().requires_grad_(True)
optimizer = torch.optim.Adam([moving], lr=3.0)  # degrees
for _ in range(300):
    value = losses.csd(points(moving), points(teacher_degrees), labels, temperature=0.2)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()

at = moving.detach()
print(f"The student feature of the odd image ends {angle(at[ODD], teacher_degrees[ODD]):.0f}° from its own teacher,")
print(f"and {angle(at[ODD], teacher_degrees[:3].mean()):.0f}° from the middle of the other teachers of class A.")
print(f"You predicted: {guess}.")

# %% tags=["folded"] title="Twelve images, twice, before and after"
looks = (("A", plots.BLUE, "circle"), ("B", plots.VERMILION, "square"), ("C", plots.GREEN, "triangle-up"))
figure = make_subplots(1, 2, subplot_titles=["<b>before</b>", "<b>after 300 steps</b>"], horizontal_spacing=0.04)
for column, students in enumerate((points(student_degrees), points(moving.detach())), 1):
    teachers = points(teacher_degrees)
    between = torch.stack([0.8 * students, teachers], dim=1)  # (B, 2, 2): a line from each student to its teacher
    x, y = ([v for pair in between[..., axis].tolist() for v in (*pair, None)] for axis in (0, 1))
    thin = {"line": {"color": plots.GREY, "width": 1}, "opacity": 0.3, "mode": "lines"}
    figure.add_scatter(x=x, y=y, **thin, row=1, col=column, name="", showlegend=False)
    for k, (name, color, symbol) in enumerate(looks):
        for features, radius, fill, whose in ((teachers, 1.0, "-open", "teacher"), (students, 0.8, "", "student")):
            x, y = (radius * features[labels == k]).T.tolist()
            marker = {"color": color, "symbol": symbol + fill, "size": 14, "line": {"width": 2, "color": color}}
            text = {"name": f"{name}, {whose}", "showlegend": column == 1, "mode": "markers"}
            figure.add_scatter(x=x, y=y, marker=marker, **text, row=1, col=column)
    x, y = torch.stack([teachers[ODD], 0.8 * students[ODD]]).T.tolist()
    ring = {"symbol": "circle-open", "size": 25, "color": plots.BLACK, "line": {"width": 2}}
    text = {"name": "the odd image", "showlegend": column == 1, "mode": "markers"}
    figure.add_scatter(x=x, y=y, marker=ring, **text, row=1, col=column)
figure.update_xaxes(visible=False, range=[-1.2, 1.2])
figure.update_yaxes(visible=False, range=[-1.2, 1.2])
figure.update_yaxes(scaleanchor="x", row=1, col=1)
figure.update_yaxes(scaleanchor="x2", row=1, col=2)
about = "a thin line joins the two features of an image"
plots.finished(figure, "Twelve images, twice: student inside, teacher outside", [about], 400, legend=True)
figure.update_layout(margin={"l": 10, "r": 10}, legend_y=-0.02)

# %% [markdown]
# **What it means.** Nothing is copied point by point. Each student feature goes where its *class* is, with the teacher
# and with the other students, and away from the other classes. Where the teacher is wrong about one image, the label
# overrules it, though it still draws a little. That is the word *supervised* in the name.
#
# **What it does not show.** Networks. Here each feature could go anywhere on its own; a network moves all features at
# once, also those of old images that the loss never sees.

# %% [markdown] minutes=18
# ## 2. Which pairs are compared?
#
# Take a batch of $B$ images. Each one, as the student sees it, is an **anchor** $i$ once. It is compared with
#
# - the **contrast set** $A(i)$: all other students, and all teachers. That is $2B - 1$ features. Only the anchor itself is
#   left out.
# - the **positives** $P(i)$: those in $A(i)$ that have the anchor's label. The teacher's feature of the anchor's own
#   image, its *teacher view*, is one of them. All others in $A(i)$ are negatives.
#
# Put the students first and the teachers after them, in the order of the batch. Then both sets are masks with $B$ rows
# and $2B$ columns. Write them.


# %% tags=["exercise"] minutes=6 difficulty=2
def contrast_masks(labels):
    """Return which features each anchor is compared with, and which of them are its positives.

    labels: (B,) integers. Returns two masks of booleans, both (B, 2B): the contrast set A and the positives P. Columns
    0 to B−1 are the students, columns B to 2B−1 the teachers of the same images.
    """
    # >>> solution: who has the same label? who is the anchor itself?
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)  # (B, B)
    itself = torch.cat([itself, torch.zeros_like(itself)], dim=1)  # (B, 2B): among the students, not the teachers
    same_class = (labels[:, None] == labels[None, :]).repeat(1, 2)  # (B, 2B)
    return ~itself, same_class & ~itself
    # <<< solution


# %% tags=["check"]
check.contrast_masks(contrast_masks)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# `labels[:, None] == labels[None, :]` compares all with all, (B, B). `torch.eye(B, dtype=torch.bool)` is the anchor
# itself among the students. `torch.cat([…, …], dim=1)` puts two halves side by side. Whom must the right half leave out?
#
# More hints, one at a time, the last is the solution: run `check.hint("contrast_masks")` in a cell of its own.

# %% [markdown]
# How many positives are there? In training a batch is drawn without looking at the classes: the images of the task are
# shuffled and cut into batches of 32. The saved runs had 20 classes in a task.
#
# **Predict.** Which share of the images of a batch are *alone* in their class there?

# %% tags=["predict"]
guess = "?"  # put a share from 0 to 1 instead of the question mark

# %%
labels = stream.train(1).labels  # (N,), of the second task
size = finetune.config.batch_size
shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
batches = labels[shuffled].tensor_split(math.ceil(len(labels) / size))  # one epoch
n_of_own_class = torch.cat([(batch[:, None] == batch).sum(dim=1) for batch in batches])  # (N,), itself included
classes_in = [len(batch.unique()) for batch in batches]
alone = float((n_of_own_class == 1).double().mean())
print(f"{len(batches)} batches of {len(batches[0])} images, of {len(labels.unique())} classes:")
print(f"a batch has {min(classes_in)} to {max(classes_in)} of the classes")
for n in range(1, 5):
    print(f"{float((n_of_own_class == n).double().mean()):.2f} of the images have {n} of their class in the batch")
print(f"so {alone:.2f} are alone; you predicted {guess}")
print(f"an anchor has {float((2 * n_of_own_class - 1).double().mean()):.1f} positives on average,", end=" ")
print(f"in a contrast set of {2 * len(batches[0]) - 1}")

# %% [markdown]
# An image that is alone still has one positive, its own teacher view. In CSD it is drawn there and pushed from all
# others. (Without a teacher it would have no positive at all, and take no part.)
#
# Each pair gets a **weight**: the softmax, over the contrast set, of the similarities divided by a temperature $\tau$.
# What the pair does is its share among the positives minus this weight:
#
# $$w_{ia} = \frac{\exp(s_i \cdot c_a / \tau)}{\sum_{b \in A(i)} \exp(s_i \cdot c_b / \tau)}, \qquad
# \mathrm{pull}_{ia} = \frac{[a \in P(i)]}{|P(i)|} - w_{ia}.$$
#
# Here $s_i$ is the student's feature of the anchor, $c_a$ are the features that it is compared with, all of length 1, and
# the bracket is 1 for a positive, 0 for a negative.
#
# Above zero the pair is drawn together, below it is pushed apart. So a negative pushes the harder, the more similar it
# is. A positive pulls until it has its share of the weight; one that has more is let go, and even pushed.
#
# **Predict.** In a saved run of CSD, after the last task, at $\tau = 0.07$. An anchor is compared with 63 features. How
# much of its weight goes to the one heaviest pair, on average?

# %% tags=["predict"]
guess = "?"  # put a share from 0 to 1 instead of the question mark

# %%
run = saved.run("csd-tuned")
labels, tasks = run.test()["labels"], run.test()["tasks"]
last = run.n_tasks - 1
of_last = torch.nonzero(tasks == last).flatten()
chosen = of_last[torch.randperm(len(of_last), generator=torch.Generator().manual_seed(0))[:size]]  # as in training
student, teacher = run.features(last)[chosen], run.features(last - 1)[chosen]  # (B, D) each
pairs = losses.csd_pairs(student, teacher, labels[chosen], temperature=0.07)
n = len(chosen)
print(f"the heaviest pair of an anchor has {pairs.weight.amax(dim=1).mean():.2f} of the weight, on average")
print(f"if all {2 * n - 1} pairs weighed the same, it would be {1 / (2 * n - 1):.2f}; you predicted {guess}")
others = pairs.similarity[:, :n][~torch.eye(n, dtype=torch.bool)].mean()
print(f"mean similarity: student and own teacher {pairs.similarity[:, n:].diag().mean():.2f},", end=" ")
print(f"student and another student {others:.2f}")
both = pairs.similarity[pairs.positive].mean(), pairs.similarity[(pairs.weight > 0) & ~pairs.positive].mean()
print(f"mean similarity: positives {both[0]:.2f}, negatives {both[1]:.2f}")

# %% [markdown]
# Look at the pairs themselves. So that blocks can be seen, this is another batch: six classes with four images each.

# %% tags=["widget"]
view = widgets.PairView(saved.run("csd-tuned"))
view

# %% [markdown]
# **What it means.** At a low temperature, an anchor looks mostly at the pairs that are most similar to it. In the upper
# matrices the blocks are classes; the right half is the student against its teacher. The lower matrices show what the
# pairs do. Move the temperature: at the upper end all pairs do nearly the same, similar or not.
#
# **What it does not show.** Training images: these are test images, after training.

# %% [markdown] minutes=24
# ## 3. Write the loss
#
# The loss asks each anchor to give its weight to its positives:
#
# $$L_{\mathrm{CSD}} = \frac{1}{B} \sum_{i=1}^{B} \; \frac{-1}{|P(i)|} \sum_{p \in P(i)}
# \log \frac{\exp(s_i \cdot c_p / \tau)}{\sum_{a \in A(i)} \exp(s_i \cdot c_a / \tau)}$$
#
# with $s_i$ the student feature of image $i$, and $c$ the students, then the teachers; all scaled to length 1, so that the
# dot product is the cosine. $A(i)$ are all other students and all teachers of the batch, $P(i)$ those of them that have the
# anchor's label, its own teacher's feature among them (section 2 draws both). Four things to watch:
#
# - the temperature stands *inside* the exponential;
# - the mean over the positives stands *outside* the logarithm;
# - no gradient may reach the teacher;
# - the −∞ that leaves the anchor itself out belongs into the sum below the fraction, and nowhere else: $-\infty \cdot 0$ is
#   NaN, so pick the positives with `torch.where` or `masked_fill`, not by a product with a mask.
#
# `exp(1 / 0.005)` is infinite in float32: `torch.logsumexp` computes the logarithm of a sum of exponentials without ever
# forming them.


# %% tags=["exercise"] minutes=18 difficulty=3
def csd_loss(student, teacher, labels, temperature):
    """Return the Contrastive Supervised Distillation loss.

    student: (B, D) features, with gradient, not yet normalised; teacher: (B, D) features of the same images under the
    frozen old network; labels: (B,) integers; temperature: τ, a number above 0. Returns a scalar tensor.
    """
    # >>> solution: normalise, compare with A(i), and average log-probabilities over P(i), then over the batch
    student = F.normalize(student, dim=1)  # (B, D)
    teacher = F.normalize(teacher.detach(), dim=1)  # (B, D)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)  # (B, B)
    itself = torch.cat([itself, torch.zeros_like(itself)], dim=1)  # (B, 2B)
    positive = (labels[:, None] == labels[None, :]).repeat(1, 2) & ~itself  # (B, 2B)
    similarity = student @ torch.cat([student, teacher]).T / temperature  # (B, 2B)
    log_sum = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)  # (B, 1) over A(i)
    log_probability = torch.where(positive, similarity - log_sum, 0.0)  # (B, 2B)
    return (-log_probability.sum(dim=1) / positive.sum(dim=1)).mean()
    # <<< solution


# %% tags=["check"]
check.csd(csd_loss)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Write it in five steps, and print the shape after each: normalise (B, D); similarities (B, 2B); masks (B, 2B), as in
# section 2; logarithm of the softmax (B, 2B); means.
#
# More hints, one at a time, the last is the solution: run `check.hint("csd")` in a cell of its own.

# %% [markdown]
# Now open the library. Its loss is in two parts: one prepares the pairs, the other contrasts them. You should recognise
# each line:

# %%
print("\n".join(inspect.getsource(losses._csd_pairs).splitlines()[-6:]))
print("\n".join(inspect.getsource(losses._contrast).splitlines()[-5:]))

# %% [markdown]
# **Which values can it take?** If an anchor gives all its weight to its positives, and the same to each, every fraction is
# $1 / |P(i)|$, and its loss is $\ln |P(i)|$: not 0. If all pairs weigh the same, as with features that say nothing, it is
# $\ln(2B - 1)$. It is above that if the positives have less than an equal share (in the geometric mean): because negatives
# are more similar, or, at a very low temperature, because one positive takes nearly all the weight (τ = 0.02 in the
# table of section 2).

# %%
labels = stream.train(1).labels
shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
batches = labels[shuffled].tensor_split(math.ceil(len(labels) / finetune.config.batch_size))
n_positives = torch.cat([2 * (batch[:, None] == batch).sum(dim=1) - 1 for batch in batches])  # (N,)
print(f"in training, batches of {len(batches[0])}:", end=" ")
print(f"at best {n_positives.double().log().mean():.2f}, all alike {math.log(2 * len(batches[0]) - 1):.2f}")
ones, four = torch.ones(4, 3), torch.tensor([0, 0, 1, 1])  # four images, one and the same feature
print(f"four images with one and the same feature: {losses.csd(ones, ones, four):.4f} = ln 7 = {math.log(7):.4f}")

# %% [markdown]
# Yours beside the library's, on real features: test images of the second task, with the network after the first task as
# the teacher. Four students: the teacher itself, and the networks that fine-tuning, LwF and CSD have made of it.
#
# **Predict.** The first student *is* its teacher. Will its loss be as low as can be?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "zero", "as low as can be", "larger than the CSD student's"

# %%
loss = check.yours_or_ours("csd")  # beside the library's
labels, tasks = finetune.test()["labels"], finetune.test()["tasks"]
new = tasks == 1
teacher = finetune.features(0)[new]
students = {"the teacher itself": teacher}
students |= {name: saved.run(name).features(1)[new] for name in ("finetune", "lwf-tuned", "csd")}
values = {}
print(f"{'student':<20}{'yours':>10}{'library':>10}")
for name, student in students.items():
    values[name] = float(losses.csd(student, teacher, labels[new]))
    print(f"{name:<20}{float(loss(student, teacher, labels[new], 0.07)):>10.3f}{values[name]:>10.3f}")
n_positives = 2 * (labels[new][:, None] == labels[new]).sum(dim=1) - 1  # (N,)
print(f"\n{int(new.sum())} images at once: at best {n_positives.double().log().mean():.2f},", end=" ")
print(f"all alike {math.log(2 * int(new.sum()) - 1):.2f}")
larger = values["the teacher itself"] > values["csd"]
print(f"You predicted: {guess}. It is {'larger' if larger else 'not larger'} than that of the CSD student.")

# %% [markdown]
# **What it means.** This is not a distance from the teacher. It is small if an anchor can tell its class from the others,
# among students *and* teachers. A teacher that has never learnt these signs does that badly, and so a perfect copy of it
# has a large loss too. Learning lowers it; so does staying close. The loss wants both. And a loss means something only
# beside its two marks: 4.8 among 400 images may be better than 4.0 among 32.
#
# **What it does not show.** What becomes of *old* images, which appear in none of these pairs. That takes training.

# %% [markdown] minutes=16
# ## 4. Train, task by task
#
# In this kit a **method** is a function from one training step to its named loss terms; the trainer adds them up. A step
# has `features`, `logits` and `labels`; `step.teacher` has the teacher's `features` and `logits`, and is `None` during
# the first task. CSD is `lwf` (cross-entropy, triplet and the distillation of notebook 03) with one term more.
#
# The **batch-hard triplet loss** is a term of nearly every method here, and looks at one batch as well. For each image $i$ it
# takes two others: the positive that is *farthest* from it, and the negative that is *nearest*. It asks the first to be
# more similar than the second by a margin of 1:
#
# $$\max\bigl(0, \; \max_n \cos(f_i, f_n) - \min_p \cos(f_i, f_p) + 1\bigr)$$
#
# and averages over the images at which it is not 0 already. See what it does with a batch:

# %%
labels, tasks = finetune.test()["labels"], finetune.test()["tasks"]
of_second = torch.nonzero(tasks == 1).flatten()
shuffled = torch.randperm(len(of_second), generator=torch.Generator().manual_seed(0))
chosen = of_second[shuffled[: finetune.config.batch_size]]
label = labels[chosen]
same = label[:, None] == label  # (B, B)
positive = same & ~torch.eye(len(label), dtype=torch.bool)
has_one = positive.any(dim=1)
print(f"{len(label)} images; {int((~has_one).sum())} are alone in their class: no positive, no triplet, no part in it")
for name, task in {"before the task": 0, "after it, fine-tuned": 1}.items():
    f = F.normalize(finetune.features(task)[chosen], dim=1)  # (B, D)
    cosine = f @ f.T
    farthest = cosine.masked_fill(~positive, torch.inf).amin(dim=1)[has_one].mean()
    nearest = cosine.masked_fill(same, -torch.inf).amax(dim=1)[has_one].mean()
    value = losses.batch_hard_triplet(f, label)
    print(f"{name}: farthest positive {farthest:.2f}, nearest negative {nearest:.2f}, loss {value:.2f}")
print(f"all features the same: loss {losses.batch_hard_triplet(torch.ones(len(label), 3), label):.2f}")

# %% [markdown]
# It lies between 0 and 3, and for features without negative numbers, as here, between 0 and 2. At 1 nothing is told apart, at these hardest pairs; above, the nearest negative is even more
# similar than the farthest positive. One image per
# class in a batch would leave it nothing to do, and of CSD the own teacher only.
#
# Now add CSD's term, with a temperature of 0.07 and the name `"csd"`.

# %%
loss = check.yours_or_ours("csd")


# %% tags=["exercise"] minutes=4 difficulty=1
def my_csd(step):
    """Return the loss terms of CSD for one training step, a dictionary from names to scalar tensors."""
    terms = csd.methods.lwf(step)
    # >>> solution: with a teacher there is one term more; use loss(student, teacher, labels, 0.07)
    if step.teacher is not None:
        terms["csd"] = loss(step.features, step.teacher.features, step.labels, 0.07)
    # <<< solution
    return terms


# %% tags=["check"]
check.my_csd(my_csd)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Begin with what `csd.methods.lwf(step)` returns, and add one entry to that dictionary. When is there a teacher? If task 0
# fails, you have asked one who is not there.
#
# More hints, one at a time, the last is the solution: run `check.hint("my_csd")` in a cell of its own.

# %% [markdown]
# Now train it: one task after the other, about half a minute. Watch the terms by name; where the background changes, a
# new task begins. First what the saved runs say of the two ends:

# %%
for name in ("finetune", "joint"):
    print(f"{name} ends between {min(ends(name)):.3f} and {max(ends(name)):.3f} (seeds: {len(saved.SEEDS)})")

# %% [markdown]
# **Predict.** What will your method's Recall@1 be in the end, over all tasks?

# %% tags=["predict"]
guess = "?"  # put a number from 0 to 1 instead of the question mark

# %% tags=["widget"]
method = check.yours_or_ours("my_csd", ours=csd.methods.csd)
config = finetune.config.replace(device="cpu")  # small enough, and your loss may make CPU tensors
run = widgets.LiveTraining(stream, method, config).train()

# %%
shown = saved.runs("frozen", "finetune", "lwf-tuned", "csd", "joint")
curves = {each.method: each.metrics["overall"]["recall_at_1"] for each in shown}
curves |= {"yours": run.metrics["overall"]["recall_at_1"]}
plots.curves_over_tasks(curves, title="Your run among saved ones", metric="Recall@1")

# %%
same = torch.equal(run.test()["images"], finetune.test()["images"])
print(f"the same test images as in the saved runs: {'yes' if same else 'no, so compare with care'}")
print("Recall@1 in the end: " + ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in curves.items()))
mean, half = metrics.mean_interval(ends("csd"))
reach = half * math.sqrt(len(saved.SEEDS) + 1)  # of one more run, not of the mean
print(f"\nYou predicted {guess}; yours ends at {curves['yours'][-1]:.3f}.", end=" ")
print(f"The saved run of the same seed: {ends('csd')[0]:.3f}.")
if len(saved.SEEDS) > 1:
    print(f"The saved runs of csd end at {mean:.3f} on average, and one more, with a seed of its own,", end=" ")
    print(f"between {mean - reach:.3f} and {mean + reach:.3f}, 95 times in 100.")
print()
for other in ("finetune", "lwf-tuned", "joint"):
    say_difference("csd", other)

# %% [markdown]
# The next picture is the CSD term beside its two marks from section 3:

# %%
epochs = [record for record in run.records if record["kind"] == "epoch" and record["task"] > 0]
epochs = [record for record in epochs if "csd" in record["losses"]]
labels = stream.train(1).labels
size = math.ceil(len(labels) / math.ceil(len(labels) / config.batch_size))
shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
n_positives = torch.cat([2 * (b[:, None] == b).sum(dim=1) - 1 for b in labels[shuffled].split(size)])
plots.lines(
    {"CSD term": [record["losses"]["csd"] for record in epochs]},
    [record["task"] + (record["epoch"] + 1) / config.epochs_of(record["task"]) for record in epochs],
    title="A healthy curve lies between two marks",
    x_title="task, and the part of it that is learnt",
    y_title="mean over the epoch",
    subtitle=f"in batches of {size} images, drawn as in section 2",
    y_range=(0, 4.5),
    levels={
        "all pairs alike, ln(2B − 1)": math.log(2 * size - 1),
        "at best, mean of ln|P|": float(n_positives.double().log().mean()),
    },
)

# %% [markdown]
# **What it means.** Read the printed differences, seed by seed, with their 95 % intervals. CSD ends well above fine-tuning
# and below joint training. Against LwF at its tuned weight the interval contains 0: these seeds can't tell the two apart,
# and another handful could turn the order round. "Not told apart" is not "equal" either; it says how much we know. CSD
# does not stop forgetting; it slows it.
#
# The term falls while a task is learnt, and jumps where a new one begins: other classes, another teacher. A curve that
# stays at the upper mark has learnt nothing; none can fall below the lower one.
#
# If your number is not exactly the saved one of the same seed: another computer rounds differently, and training
# amplifies it, to about a hundredth here. Another seed changes more: the order of the tasks, too. Inside the printed
# range all is well.
#
# **What it does not show.** Where the *features* of old images are, which matters if a gallery is not to be indexed anew:
# notebooks 05 and 06. There LwF and CSD are not alike.
#
# **Think.** While it learns the second task, the loss sees images of the second task only. How can it protect the
# features of the first?

# %% [markdown] tags=["answer"]
# It can't do so directly. It keeps what the network *computes*, seen through new images: their features must stay, class by
# class, where the teacher has them. The layers are shared, so filters that serve old and new images alike are held, and
# the old images' features profit. Where an old feature depends on something that no new image shows, nothing holds it.
# So one should expect CSD to help more, the more the new images resemble the old ones; a few stored old images (replay)
# would protect them directly.

# %% [markdown] minutes=8
# ## 5. Break it: a temperature of 5
#
# The similarities lie between −1 and 1. Divided by $\tau = 0.07$ they lie between −14 and 14, and the softmax has much to
# choose from. Divided by 5 they lie between −0.2 and 0.2.
#
# **Predict.** At $\tau = 5$ all pairs share nearly evenly, as section 2 shows. And how strongly does the loss still change
# the features? How many times as long is its gradient at 0.07?

# %% tags=["predict"]
guess = "no prediction yet"  # put a factor instead

# %% tags=["break"]
broken = 5.0  # try 0.01, 0.5, 100

run = saved.run("csd")
labels, tasks = run.test()["labels"], run.test()["tasks"]
chosen = torch.nonzero(tasks == 1).flatten()[::8]  # some test images of the second task
labels, student, teacher = labels[chosen], run.features(1)[chosen], run.features(0)[chosen]


def effect(temperature):
    """Return among how many pairs an anchor divides its weight, the length of the gradient, and the loss."""
    weight = losses.csd_pairs(student, teacher, labels, temperature=temperature).weight
    spread = -torch.special.xlogy(weight, weight).sum(dim=1)  # the entropy
    moving = F.normalize(student, dim=1).requires_grad_(True)
    loss = losses.csd(moving, teacher, labels, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, moving)
    return float(spread.exp().mean()), float(gradient.norm()), float(loss.detach())


lengths = []
for temperature in (0.07, broken):
    n_pairs, length, value = effect(temperature)
    lengths.append(length)
    print(f"τ = {temperature:<5g} loss {value:.2f}, length of its gradient {length:.4f};", end=" ")
    print(f"the weight is spread as over {n_pairs:.1f} equal pairs, of {2 * len(chosen) - 1}")
print(f"all pairs alike would be a loss of {math.log(2 * len(chosen) - 1):.2f}; at τ = 0.07 the gradient is", end=" ")
print(f"{lengths[0] / lengths[1]:.1f} times as long")
print(f"\nYou predicted: {guess}.")

# %% tags=["folded"] title="What the temperature decides, drawn"
temperatures = sorted({0.01, 0.02, 0.035, 0.07, 0.14, 0.25, 0.5, 1.0, 2.0, 5.0, broken})
effects = [effect(temperature) for temperature in temperatures]
panels = {f"pairs that share, of {2 * len(chosen) - 1}": 0, "length of the gradient": 1}
figure = make_subplots(1, 2, horizontal_spacing=0.12, subplot_titles=[f"<b>{name}</b>" for name in panels])
for column, k in enumerate(panels.values(), 1):
    figure.add_scatter(
        x=temperatures,
        y=[of[k] for of in effects],
        mode="lines+markers",
        line_color=plots.GREEN,
        marker_size=8,
        row=1,
        col=column,
    )
    for temperature, color in ((0.07, plots.BLACK), (broken, plots.VERMILION)):
        figure.add_vline(temperature, line={"color": color, "dash": "dot"}, row=1, col=column)
figure.update_xaxes(title_text="temperature τ", type="log", tickvals=sorted({0.01, 0.07, 0.5, broken}))
figure.update_yaxes(rangemode="tozero", row=1, col=1)
figure.update_yaxes(type="log", exponentformat="none", tickformat="~g", dtick=1, row=1, col=2)
about = "dotted: τ = 0.07, and the one of this experiment"
plots.finished(figure, "What the temperature decides", [about], 270).update_layout(showlegend=False)

# %% [markdown]
# **What it means.** At $\tau = 5$ a similar negative and a dissimilar one weigh the same. All negatives push alike, and
# gently: compare the two gradients. The value of the loss, which is what you see in a log, tells little of this: at a
# high temperature it is near "all alike" whatever the features are. So two things have changed at once: *which* pairs
# push, and *how hard* all of them do. (The formula's factor $1/\tau$ alone would make the gradient 71 times as short; but
# positives with less than their share pull the more.) Section 6 tries to tell them apart.
#
# A very low temperature has its own trouble: an anchor then looks at a few nearest pairs only, and gradients are long.
#
# **What it does not show.** Which temperature is best. That depends on data and network; 0.07 is a common choice in
# the literature on contrastive learning.

# %% [markdown] minutes=18
# ## 6. Which part does the work?
#
# To learn what a part does, take it away and leave all else in place: an **ablation**. What is left is a **control**. All
# variants go on from the same network, the one after the first task, which no method has touched yet, and learn the
# second. These are new:


# %%
def own_teacher_only(step):
    """Without the labels: each image is a class of its own, and its teacher view the only positive."""
    each = torch.arange(len(step.labels), device=step.labels.device)
    return {**csd.methods.lwf(step), "csd": losses.csd(step.features, step.teacher.features, each)}


def csd_alone(step):
    """Nothing but the CSD loss: no cross-entropy, no triplet, no distillation of the answers."""
    return {"csd": losses.csd(step.features, step.teacher.features, step.labels)}


# %% [markdown]
# The others are the library's. The one that matters most is `supcon`, the **students' contrast**: the same loss as CSD's,
# among the students alone. The teacher is missing, with its features and its answers. `supcon and answers` has the answers
# again, with weight 1 as in CSD: of CSD only the teacher's *features* are missing.
#
# And the temperature of 5, twice: as it is, and with a weight that makes the gradient as long as at 0.07, at least at the
# beginning. Else two things would change at once (section 5).

# %%
images, labels = stream.train(1).images, stream.train(1).labels
chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: finetune.config.batch_size]
first = embed(finetune.network(0), images[chosen])[0]  # (B, D): at the beginning the student is its teacher


def gradient_length(temperature):
    """Return the length of the gradient of the CSD loss in the students' features, as the second task begins."""
    moving = F.normalize(first, dim=1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(losses.csd(moving, first, labels[chosen], temperature=temperature), moving)
    return float(gradient.norm())


heavy = round(gradient_length(0.07) / gradient_length(5.0))
print(f"at τ = 5 the gradient is {heavy} times as short as at 0.07: this is the weight that makes up for it")
print("(another student than in section 5, the teacher itself, and another batch: so another factor)")

tuned_lwf = f"lwf(weight={tuning.methods['lwf'].chosen:g})"
tuned_csd = f"csd(distillation={tuning.methods['csd'].chosen:g})"
variants = {
    "finetune": csd.methods.finetune,
    "supcon": csd.methods.supcon,
    "supcon and answers": partial(csd.methods.supcon, distillation=1.0),
    tuned_lwf: tuning.method("lwf"),
    "csd": csd.methods.csd,
    tuned_csd: tuning.method("csd"),
    "csd at τ = 5": partial(csd.methods.csd, temperature=5.0),
    "csd at τ = 5, heavy": partial(csd.methods.csd, temperature=5.0, weight=float(heavy)),
    "own teacher only": own_teacher_only,
    "csd alone": csd_alone,
}

# %% [markdown]
# **Predict.** Recall@1 on the test images of the *old* task, in a gallery of both. Which variant keeps it highest, and
# which variant with a contrast ends nearest to fine-tuning?

# %% tags=["predict"]
guess = {"highest": "?", "nearest to finetune": "?"}  # names from the list above

# %%
seeds = (0, 1)  # with more of them you know more, and wait longer


def learn(task, method, seed, teacher=None):
    """Return the network that goes on from a saved one, and learns one more task: the second, or the third by CSD."""
    network = finetune.network(0) if task == 1 else saved.run("csd-tuned").network(1)
    for _ in csd.learn(network, stream, task, method, finetune.config.replace(seed=seed), teacher=teacher):
        pass
    return network


def measure(network, n_tasks):
    """Return what is found and named of the test images of the first tasks, as shares of them."""
    test = finetune.test()
    seen = test["tasks"] < n_tasks
    truth, is_old = test["labels"][seen], test["tasks"][seen] < n_tasks - 1
    features, logits = embed(network, test["images"][seen])
    found = metrics.first_positive_ranks(features, truth, features, truth, exclude_self=True) == 1
    of_old = features[is_old], truth[is_old]
    among_old = metrics.first_positive_ranks(*of_old, *of_old, exclude_self=True) == 1
    named = logits.argmax(dim=1) == truth
    hits = {"old": found[is_old], "old among old": among_old, "new": found[~is_old], "all": found}
    hits |= {"head, new": named[~is_old]} | {f"task {t}": found[test["tasks"][seen] == t] for t in range(n_tasks)}
    return {what: float(hit.double().mean()) for what, hit in hits.items()}


before = measure(finetune.network(0), 2)
results = {}
for name, method in variants.items():
    results[name] = [measure(learn(1, method, seed), 2) for seed in seeds]
    print(f"{name}: done")

# %%
plots.points(
    {name: ([one["old"] for one in each], [one["new"] for one in each]) for name, each in results.items()},
    title="Kept, and learnt: one mark for each seed",
    x_title="Recall@1 on the old task",
    y_title="Recall@1 on the new one",
    subtitle="gallery of both tasks, after the second; dotted: the old task before",
    joined=True,
).add_vline(before["old"], line={"color": plots.GREY, "dash": "dot"})

# %%
columns = ("old", "old among old", "new", "all", "head, new")
means = {name: {c: sum(one[c] for one in each) / len(seeds) for c in columns} for name, each in results.items()}
print(f"{f'mean of {len(seeds)} seeds':<20}" + "".join(f"{column:>15}" for column in columns))
print(f"{'before':<20}" + "".join(f"{before[column]:>15.3f}" for column in columns))
for name, of in sorted(means.items(), key=lambda item: -item[1]["all"]):
    print(f"{name:<20}" + "".join(f"{of[column]:>15.3f}" for column in columns))


def seeds_apart(name, column):
    """Return how far the seeds of a variant are from each other: a rough measure of chance."""
    values = [one[column] for one in results[name]]
    return max(values) - min(values)


print()
for name, other, column in (
    ("supcon", "finetune", "old"),
    ("csd", "supcon", "old"),
    ("csd", "supcon and answers", "old"),
    ("csd at τ = 5", "csd", "old"),
    ("csd at τ = 5, heavy", "csd", "old"),
    ("own teacher only", "csd", "old"),
    ("own teacher only", "csd", "new"),
    (tuned_lwf, "csd", "old"),
    ("csd alone", "csd", "all"),
):
    difference = means[name][column] - means[other][column]
    apart = max(seeds_apart(name, column), seeds_apart(other, column))
    chance = "may well be chance: the" if abs(difference) <= 2 * apart else "the"
    print(f"{column}: {name} − {other}: {difference:+.3f}; {chance} seeds are up to {apart:.3f} apart")

contrasts = [name for name in means if name not in ("finetune", tuned_lwf)]
nearest = min(contrasts, key=lambda name: abs(means[name]["old"] - means["finetune"]["old"]))
print(f"\nYou predicted {guess}.")
print(f"Highest: {max(means, key=lambda name: means[name]['old'])}; nearest to finetune: {nearest}.")
for what in ("old", "old among old"):
    better = [name for name in means if means[name][what] > before[what]]
    print(f"better than before the task, {what}: {', '.join(better) or 'none'}")

# %% tags=["claim"]
assert means["csd"]["old"] > max(means["supcon"]["old"], means["supcon and answers"]["old"]) + 0.03

# %% [markdown]
# *Old* is Recall@1 of the old test images in the gallery of both tasks, *old among old* in a gallery of the old ones only.
# Take the differences that "may well be chance" for noise; of two seeds one learns only roughly what chance does. Then read:
#
# - **The teacher**: `csd − supcon`. A contrast among the students alone, however good, keeps the old task about as well as
#   fine-tuning does. **Its features alone**: `csd − supcon and answers` takes away nothing else. It is clear, too:
#   with only the answers, at the weight 1 that they have in CSD as released, less of the old task is kept.
# - **The temperature**: both variants at 5 end lower in the mean, the heavy one too, but their seeds may lie so far apart
#   that two of them can't tell. If it is so, strength is not what was missing, but a choice of *which* pairs push. Put
#   more seeds into `seeds` before you say it.
# - **The labels**: without them (`own teacher only`) most of the old task is kept, but less of the new one is learnt. Every
#   image must stay by itself, apart from the rest of its class. The labels buy plasticity, and pay with stability.
# - **LwF at its tuned weight** keeps about as much as CSD as released, or more. So the teacher's *answers* can do what its
#   features do, if they weigh enough.
# - `csd alone` searches nearly as well as the whole. Look at the last column, though: nothing teaches its head. Who only
#   searches may not care.
#
# **Can an old task get better?** The last two printed lines say whether it did. It may happen in the gallery of both:
# *before* the new task its images have no place of their own yet, and lie in the way of the old ones; once they are
# learnt they get out of it. (The next table has a case.) If it happens among the old ones alone, the features themselves
# have improved: *positive backward transfer*.
#
# One step and two seeds are little. The saved runs have whole streams, of several seeds, with the same controls:

# %%
for name, other in (
    ("supcon", "finetune"),
    ("csd", "supcon"),
    ("csd", "lwf-tuned"),
    ("csd-tuned", "csd"),
    ("csd-tuned", "lwf-tuned"),
    ("csd-tuned", "supcon-tuned"),
):
    say_difference(name, other)

# %% [markdown]
# `supcon-tuned` and `csd-tuned` both distil the answers, each at the weight that suited it best on held-out images
# (notebook 03).
#
# **What it means.** With the five seeds that come with the kit: the teacher brings CSD 0.12 over the students' contrast, which
# by itself brings nothing that we can tell. But the last line takes away only its *features*, and leaves its answers at a
# weight that suits: then no difference can be told in Recall@1. Three roads end within what five seeds
# can tell of each other: the answers alone (`lwf-tuned`), the answers with a contrast among the students
# (`supcon-tuned`), and the answers with the teacher's features (`csd-tuned`). (On Omniglot CSD as released ends just above
# tuned LwF: README.) That there is a teacher matters *for Recall@1*, in
# this small world; how it is asked, less than we can see.
#
# **And which teacher?** The one of the last step knows all tasks so far, though each of them through its own forgetting.
# The one of the very first step has forgotten nothing, and knows nothing of what came later. Let CSD learn a *third* task
# with either.
#
# **Predict.** With the teacher of the first task: what is found better, and what worse?

# %% tags=["predict"]
guess = {"task 0": "?", "task 1": "?"}  # put "better", "worse" or "the same" than with the last teacher

# %%
start = saved.run("csd-tuned").network(1)
teachers = {"the last one": start, "that of task 0": finetune.network(0)}
by_teacher = {}
for name, teacher in teachers.items():
    by_teacher[name] = [measure(learn(2, csd.methods.csd, seed, teacher), 3) for seed in seeds]

columns = ("task 0", "task 1", "task 2", "old among old", "all")
before = measure(start, 3)
print(f"{'teacher':<20}" + "".join(f"{column:>15}" for column in columns))
print(f"{'before':<20}" + "".join(f"{before[column]:>15.3f}" for column in columns))
for name, each in by_teacher.items():
    print(f"{name:<20}" + "".join(f"{sum(one[c] for one in each) / len(seeds):>15.3f}" for c in columns))
for column in columns[:2]:
    last, oldest = ([one[column] for one in each] for each in by_teacher.values())
    better = (
        "better in both seeds" if min(oldest) > max(last) else "worse in both seeds" if max(oldest) < min(last) else ""
    )
    print(f"{column}, with the teacher of task 0: {better or 'the seeds overlap'}")
print(f"You predicted: {guess}.")

# %% [markdown]
# **What it means.** Each teacher holds what it knows. With the older one the first task is held as firmly or more so, and
# the second, of which that teacher knows nothing, less firmly. The last teacher carries both, through a chain of copies
# that gets a little less true with each task. (Where task 0 is found better than *before*: in that row the images of the
# third task are not learnt yet, and lie in the way. *Old among old* leaves them out.)
#
# **What it does not show.** More than these steps, from small networks, on one kind of images. An ablation tells what a part
# does *here, with the other parts in place*. The paper's own comparison is on photographs, with ResNet-32 and hundreds
# of epochs.

# %% [markdown] minutes=6
# ## 7. Looking back
#
# - CSD compares each student feature with all other students and all teachers of the batch; those of its class pull, the
#   others push, and the temperature decides how much the similar ones count.
# - It is not a distance from the teacher: the label decides where a feature belongs, the teacher where that class lies. At
#   best it is the mean of $\ln |P(i)|$, not 0; with all pairs alike it is $\ln(2B - 1)$.
# - Something of the teacher keeps the old task: its features in the contrast, or its answers at a weight that suits. In
#   CSD's term the labels give plasticity, and take stability.
# - For Recall@1, LwF at a well-chosen weight and CSD are not told apart by five seeds.
# - It slows forgetting down, and sees old images only through what new images have in common with them.
#
# Five questions to test yourself:
#
# 1. A batch has 48 images of 48 different classes. How many positives has an anchor, and what remains of CSD?
# 2. Why is the mean over the positives taken outside the logarithm? What would an anchor do with many positives if it
#    were inside?
# 3. A fellow student forgets `.detach()`, but the teacher's weights are frozen. Does it matter?
# 4. What does the triplet loss make of the batch of question 1?
# 5. In a log the CSD term stands at 4.1 with batches of 32 images, for all epochs. What do you make of it?

# %% [markdown] tags=["hint"]
# ### Answers
# 1. One: its own teacher view. CSD then draws each feature to its own teacher's and pushes it from all others: a
#    distillation of features without labels, like `own_teacher_only`.
# 2. Outside, every positive counts: a far one costs as much as ever until it comes closer. Inside, the logarithm of a
#    sum is ruled by its largest term; an anchor that has one close positive could leave the others where they are.
# 3. Not for the numbers: with frozen weights, or under `no_grad`, no gradient arrives anywhere. But the loss should be
#    right by itself. With a teacher that is not frozen, the two would meet halfway, and old features would move.
# 4. Nothing: no image has a positive, so there is no triplet, and the loss is 0. That is no sign of success.
# 5. $\ln 63 = 4.14$: all pairs weigh (nearly) the same. Nothing is learnt from it; the temperature may be far too high, or
#    all features may have become one.

# %% [markdown]
# **Where to read on**
#
# - T. Barletti, N. Biondi, F. Pernici, M. Bruni, A. Del Bimbo: *Contrastive Supervised Distillation for Continual
#   Representation Learning*, ICIAP 2021 (arXiv 2205.05476): the method.
# - P. Khosla and others: *Supervised Contrastive Learning*, NeurIPS 2020: the contrast by labels, and question 2.
# - A. van den Oord, Y. Li, O. Vinyals: *Representation Learning with Contrastive Predictive Coding*, 2018 (arXiv
#   1807.03748): which made the softmax over pairs known as InfoNCE.
# - Y. Tian, D. Krishnan, P. Isola: *Contrastive Representation Distillation*, ICLR 2020: contrast between a student and a
#   teacher, without labels.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: leaving the anchor's own teacher out of the positives, or the anchor itself
# in the denominator. Let students write the masks of three images on paper first. Start the cell that trains in section
# 4, and the one in section 6, before you explain them. If time is short, do sections 1, 3 and 5, and show the figure of
# section 6.

# %% tags=["claim"]
from csd_edu.comparison import across_networks

for seed in saved.seeds():
    runs = {name: saved.run(name, seed=seed) for name in saved.names()}
    recall = {name: run.metrics["summary"]["recall_at_1"] for name, run in runs.items()}
    assert recall["csd"] > recall["supcon"] + 0.03  # the teacher does it
    assert recall["csd"] > recall["finetune"] + 0.03
    assert abs(recall["supcon"] - recall["finetune"]) < 0.08
    assert recall["csd"] < recall["joint"] - 0.05
    far = {name: across_networks(run) for name, run in runs.items()}
    assert far["csd"]["drift"] < far["supcon"]["drift"]
    assert far["csd-tuned"]["drift"] < min(far["lwf-tuned"]["drift"], far["supcon-tuned"]["drift"])

# %%
check.board("contrast_masks", "csd", "my_csd")
