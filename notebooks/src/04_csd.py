# %% [markdown] budget_minutes=3
# # Which images should pull together, and which push apart?
#
# A search engine compares **features**, so it is the features that must not be forgotten. **Contrastive Supervised
# Distillation** (CSD) does not ask the student to answer like its teacher. It puts the student's features beside the
# teacher's in one space, and draws them together by *class*. Here you see which pairs pull and which push, write the
# loss, train with it, and take it apart.
#
# After this notebook you will be able to
#
# - name the contrast set and the positives of an image, and say what each pair does at which temperature;
# - write the CSD loss and a method that trains with it;
# - say, from an experiment, which of its parts do the work.
#
# | section | minutes |
# | --- | --- |
# | 1. Where does a student feature go? | 8 |
# | 2. Which pairs are compared? | 14 |
# | 3. Write the loss | 22 |
# | 4. Train, alphabet by alphabet | 12 |
# | 5. Break it: a temperature of 5 | 8 |
# | 6. Which part does the work? | 12 |
# | 7. Looking back | 6 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for one and a half to two
# minutes on 2 CPU cores, and no longer on Colab. After the two set-up cells you can start at any section: where one needs
# a function of yours that is not there, or has not passed its check, it takes the library's.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports"
import inspect
from dataclasses import replace

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots

import csd_edu as csd
from csd_edu import check, losses, plots, saved, widgets

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


moving = student_degrees.clone().requires_grad_(True)
optimizer = torch.optim.Adam([moving], lr=3.0)  # degrees
for _ in range(300):
    value = losses.csd(points(moving), points(teacher_degrees), labels, temperature=0.2)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()

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


# %%
def angle(a, b):
    """Return the angle between two directions in degrees, 0 to 180."""
    return float((a - b + 180).remainder(360).sub(180).abs())


at = moving.detach()
print(f"The student feature of the odd image ends {angle(at[ODD], teacher_degrees[ODD]):.0f}° from its own teacher,")
print(f"and {angle(at[ODD], teacher_degrees[:3].mean()):.0f}° from the middle of the other teachers of class A.")
print(f"You predicted: {guess}.")

# %% [markdown]
# **What it means.** Nothing is copied point by point. Each student feature goes where its *class* is, with the teacher
# and with the other students, and away from the other classes. Where the teacher is wrong about one image, the label
# overrules it, though it still draws a little. That is the word *supervised* in the name.
#
# **What it does not show.** Networks. Here each feature could go anywhere on its own; a network moves all features at
# once, also those of old images that the loss never sees.

# %% [markdown] minutes=14
# ## 2. Which pairs are compared?
#
# Take a batch of $B$ images. Each one, as the student sees it, is an **anchor** $i$ once. It is compared with
#
# - the **contrast set** $A(i)$: all other students, and all teachers. That is $2B - 1$ features. Only the anchor itself is
#   left out.
# - the **positives** $P(i)$: those in $A(i)$ that have the anchor's label. The anchor's own teacher view is one of them.
#   All others in $A(i)$ are negatives.
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
# Each pair gets a **weight**: the softmax, over the contrast set, of the similarities divided by a temperature $\tau$.
# What the pair does is its share among the positives minus this weight:
#
# $$w_{ia} = \frac{\exp(s_i \cdot c_a / \tau)}{\sum_{b \in A(i)} \exp(s_i \cdot c_b / \tau)}, \qquad
# \mathrm{pull}_{ia} = \frac{[a \in P(i)]}{|P(i)|} - w_{ia}.$$
#
# Above zero the pair is drawn together, below it is pushed apart. So a negative pushes the harder, the more similar it
# is. A positive pulls until it has its share of the weight; one that has more is let go, and even pushed.
#
# **Predict.** In the saved run, after the fifth alphabet, at $\tau = 0.07$. An anchor is compared with 47 features. How
# much of its weight goes to the one heaviest pair, on average?

# %% tags=["predict"]
guess = "?"  # put a share from 0 to 1 instead of the question mark

# %% tags=["widget"]
view = widgets.PairView(saved.run("csd"))
view

# %%
run = saved.run("csd")
labels, tasks = run.test()["labels"], run.test()["tasks"]
chosen = torch.cat([torch.nonzero(labels == k).flatten()[:4] for k in labels[tasks == 4].unique()[:6].tolist()])
student, teacher = run.features(4)[chosen], run.features(3)[chosen]  # (24, 64) each
pairs = losses.csd_pairs(student, teacher, labels[chosen], temperature=0.07)
n = len(chosen)
others = pairs.similarity[:, :n][~torch.eye(n, dtype=torch.bool)].mean()
print(f"the heaviest pair of an anchor has {pairs.weight.amax(dim=1).mean():.2f} of the weight, on average")
print(f"if all {2 * n - 1} pairs weighed the same, it would be {1 / (2 * n - 1):.2f}; you predicted {guess}")
print(
    f"mean similarity: student and own teacher {pairs.similarity[:, n:].diag().mean():.2f}, student and another student {others:.2f}"
)
both = pairs.similarity[pairs.positive].mean(), pairs.similarity[(pairs.weight > 0) & ~pairs.positive].mean()
print(f"mean similarity: positives {both[0]:.2f}, negatives {both[1]:.2f}")

# %% [markdown]
# **What it means.** At a low temperature, an anchor looks mostly at the pairs that are most similar to it. In the upper
# matrices the blocks are classes; the right half is the student against its teacher. The lower matrices show what the
# pairs do. Move the temperature: at the upper end all pairs do nearly the same, similar or not.
#
# **What it does not show.** A training batch. These are test images of a few classes, after training; in training a
# batch has 48 images of 20 classes, two or three of each.

# %% [markdown] minutes=22
# ## 3. Write the loss
#
# The loss asks each anchor to give its weight to its positives:
#
# $$L_{\mathrm{CSD}} = \frac{1}{B} \sum_{i=1}^{B} \; \frac{-1}{|P(i)|} \sum_{p \in P(i)}
# \log \frac{\exp(s_i \cdot c_p / \tau)}{\sum_{a \in A(i)} \exp(s_i \cdot c_a / \tau)}$$
#
# with $s_i$ the student feature of image $i$, and $c$ the students, then the teachers; all scaled to length 1, so that the
# dot product is the cosine. Three things to watch:
#
# - the temperature stands *inside* the exponential;
# - the mean over the positives stands *outside* the logarithm;
# - no gradient may reach the teacher.
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
# Yours beside the library's, on real features: test images of the second alphabet, with the network after the first
# alphabet as the teacher. Three students: the teacher itself, and the networks that fine-tuning and CSD have made of it.
#
# **Predict.** The first student *is* its teacher. Will its loss be zero?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "zero", "small", "larger than that of the CSD student"

# %%
loss = check.yours_or_ours("csd")  # beside the library's
finetune, contrastive = saved.runs("finetune", "csd")
labels, tasks = contrastive.test()["labels"], contrastive.test()["tasks"]
new = tasks == 1
teacher = contrastive.features(0)[new]
students = {"the teacher itself": teacher, "fine-tuned": finetune.features(1)[new], "CSD": contrastive.features(1)[new]}
for name, student in students.items():
    library = losses.csd(student, teacher, labels[new])
    print(f"{name:<20} {float(loss(student, teacher, labels[new], 0.07)):.4f}   {float(library):.4f}")
print(f"\nYou predicted: {guess}.")

# %% [markdown]
# **What it means.** This is not a distance from the teacher. It is small if an anchor can tell its class from the others,
# among students *and* teachers. A teacher that has never learnt these signs can't, and so even a perfect copy of it has a
# large loss. Learning lowers it; so does staying close. The loss wants both.
#
# **What it does not show.** What becomes of *old* images, which appear in none of these pairs. That takes training.

# %% [markdown] minutes=12
# ## 4. Train, alphabet by alphabet
#
# In this kit a **method** is a function from one training step to its named loss terms; the trainer adds them up. A step
# has `features`, `logits` and `labels`; `step.teacher` has the teacher's `features` and `logits`, and is `None` during
# the first task. CSD is `lwf` (cross-entropy, triplet and the distillation of notebook 03) with one term more. Add it,
# with a temperature of 0.07 and the name `"csd"`.

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
# Only if `step.teacher is not None`: `terms["csd"] = loss(step.features, step.teacher.features, step.labels, 0.07)`. If
# task 0 fails, you have asked a teacher who is not there.
#
# More hints, one at a time, the last is the solution: run `check.hint("my_csd")` in a cell of its own.

# %% [markdown]
# Now train it: five alphabets, one after the other, about twenty seconds. Watch the terms by name; where the background
# changes, a new alphabet begins.
#
# **Predict.** What will your method's Recall@1 be in the end, over all five alphabets? Fine-tuning ends between 0.2 and
# 0.35, joint training, the usual upper bound, near 0.85.

# %% tags=["predict"]
guess = "?"  # put a number from 0 to 1 instead of the question mark

# %% tags=["widget"]
glyphs = csd.load("glyphs", image_size=24)
first_ten = replace(glyphs, x_test=glyphs.x_test[:1000], y_test=glyphs.y_test[:1000])  # of each sign, as the saved runs
stream = csd.split(first_ten, groups=True, seed=0)
method = check.yours_or_ours("my_csd", ours=csd.methods.csd)
config = csd.preset("glyphs", "quick").config.replace(device="cpu")  # small enough, and your loss may make CPU tensors
run = widgets.LiveTraining(stream, method, config).train()

# %%
curves = {name: saved.run(name).metrics["overall"]["recall_at_1"] for name in saved.NAMES}
curves |= {"yours": run.metrics["overall"]["recall_at_1"]}
plots.curves_over_tasks(curves, title="Your run, and four saved ones", metric="Recall@1")

# %%
same = torch.equal(run.test()["images"], saved.run("csd").test()["images"])
print(f"the same test images as in the saved runs: {'yes' if same else 'no, so compare with care'}")
print(
    "Recall@1 in the end, over all alphabets: " + ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in curves.items())
)
print(f"You predicted {guess}.")

# %% [markdown]
# **What it means.** CSD ends far above fine-tuning and LwF, and still far below joint training. It does not stop
# forgetting; it slows it. If your curve is not exactly the saved one of CSD: another computer rounds differently, and
# training amplifies it.
#
# **What it does not show.** That this is *the* gap. One seed is one throw of the dice; the saved runs have three seeds, and
# notebook 07 compares them fairly.
#
# **Think.** While it learns the second alphabet, the loss sees images of the second alphabet only. How can it protect the
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
# **Predict.** At $\tau = 5$, how will an anchor divide its weight among the pairs? And will the loss still change the
# features of a network?

# %% tags=["predict"]
guess = "no prediction yet"  # for instance "all to one pair, and strongly" or "evenly, and hardly"

# %% tags=["break"]
broken = 5.0  # try 0.01, 0.5, 100

run = saved.run("csd")
labels, tasks = run.test()["labels"], run.test()["tasks"]
chosen = torch.nonzero(tasks == 1).flatten()[::4]  # 50 test images of the second alphabet
labels, student, teacher = labels[chosen], run.features(1)[chosen], run.features(0)[chosen]


def effect(temperature):
    """Return among how many pairs an anchor divides its weight, the length of the gradient, and the loss."""
    weight = losses.csd_pairs(student, teacher, labels, temperature=temperature).weight
    spread = -torch.special.xlogy(weight, weight).sum(dim=1)  # the entropy
    moving = F.normalize(student, dim=1).requires_grad_(True)
    loss = losses.csd(moving, teacher, labels, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, moving)
    return float(spread.exp().mean()), float(gradient.norm()), float(loss.detach())


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
figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=1, col=2)
about = "dotted: τ = 0.07, and the one of this experiment"
plots.finished(figure, "What the temperature decides", [about], 270).update_layout(showlegend=False)

# %%
for temperature in (0.07, broken):
    n_pairs, length, value = effect(temperature)
    print(
        f"τ = {temperature:<5g} loss {value:.2f}, length of its gradient {length:.4f}; the weight is spread as over",
        end=" ",
    )
    print(f"{n_pairs:.1f} equal pairs, of {2 * len(chosen) - 1}")
print(f"\nYou predicted: {guess}.")

# %% [markdown]
# **What it means.** At $\tau = 5$ a similar negative and a dissimilar one weigh the same. All negatives push alike, and
# gently: compare the two gradients. The value of the loss, which is what you see in a log, tells nothing of this. Watch
# gradients, not loss values.
#
# A very low temperature has its own trouble: an anchor then looks at a few nearest pairs only, and gradients are long.
#
# **What it does not show.** Which temperature is best. That depends on data and network; 0.07 is a common choice in
# the literature on contrastive learning.

# %% [markdown] minutes=12
# ## 6. Which part does the work?
#
# To learn what a part does, take it away: an **ablation**. All variants go on from the same network, the saved one of
# CSD after *two* alphabets, and learn the third. Each is a method, written as you wrote yours:

# %%
from csd_edu.models import embed


def no_triplet(step):
    """CSD without the triplet loss."""
    return {name: term for name, term in csd.methods.csd(step).items() if name != "triplet"}


def temperature_5(step):
    """CSD at a temperature at which all pairs weigh the same."""
    return csd.methods.csd(step, temperature=5.0)


def students_only(step):
    """The contrast among the students alone: the teacher's features are left out."""
    contrast = losses.supervised_contrastive(step.features, step.labels)
    return {**csd.methods.lwf(step), "contrast": contrast}


def own_teacher_only(step):
    """Without the labels: each image is a class of its own, and its teacher view the only positive."""
    each = torch.arange(len(step.labels), device=step.labels.device)
    return {**csd.methods.lwf(step), "csd": losses.csd(step.features, step.teacher.features, each)}


def csd_alone(step):
    """Nothing but the CSD loss: no cross-entropy, no triplet, no distillation of the answers."""
    return {"csd": losses.csd(step.features, step.teacher.features, step.labels)}


variants = [
    csd.methods.finetune,
    csd.methods.csd,
    no_triplet,
    temperature_5,
    students_only,
    own_teacher_only,
    csd_alone,
]

# %% [markdown]
# **Predict.** Recall@1 on the test images of the two *old* alphabets, in a gallery of all three. Which variant keeps
# it highest, and which CSD variant ends nearest to fine-tuning?

# %% tags=["predict"]
guess = {"highest": "?", "nearest to finetune": "?"}  # names from the list above

# %%
seeds = (0, 1)  # with more of them you know more, and wait longer

run = saved.run("csd")
images, labels, tasks = (run.test()[name] for name in ("images", "labels", "tasks"))
seen = tasks < 3
stream = csd.split(csd.load("glyphs", image_size=24), groups=True, seed=0)


def learn_third_alphabet(method, seed):
    """Return the network that goes on from the saved one after two alphabets, and learns the third."""
    network = run.network(1)
    for _ in csd.learn(network, stream, 2, method, run.config.replace(seed=seed)):
        pass
    return network


def measure(network):
    """Return Recall@1 on the old alphabets and on the new one, and the share of new images that the head names."""
    features, logits = embed(network, images[seen])
    truth, is_old = labels[seen], tasks[seen] < 2
    found = csd.metrics.first_positive_ranks(features, truth, features, truth, exclude_self=True) == 1
    named = logits.argmax(dim=1) == truth
    return [float(hits.double().mean()) for hits in (found[is_old], found[~is_old], named[~is_old])]


before = measure(run.network(1))
results = {}
for method in variants:
    results[method.__name__] = torch.tensor([measure(learn_third_alphabet(method, seed)) for seed in seeds])
    print(f"{method.__name__}: done")

# %%
plots.points(
    {name: (values[:, 0].tolist(), values[:, 1].tolist()) for name, values in results.items()},
    title="Kept, and learnt: one mark for each seed",
    x_title="Recall@1 on the two old alphabets",
    y_title="Recall@1 on the new one",
    subtitle="gallery of all three alphabets",
    joined=True,
    crosses={"before the third alphabet": before[:2]},
)

# %%
print(f"{'mean of ' + str(len(seeds)) + ' seeds':<18}{'old alphabets':>15}{'new alphabet':>15}{'head, new':>12}")
print(f"{'before':<18}{before[0]:>15.3f}{before[1]:>15.3f}{'–':>12}")
means = {name: values.mean(dim=0).tolist() for name, values in results.items()}
for name, (kept, learnt, named) in sorted(means.items(), key=lambda item: -item[1][0]):
    print(f"{name:<18}{kept:>15.3f}{learnt:>15.3f}{named:>12.3f}")
spread = max(float(values[:, 0].max() - values[:, 0].min()) for values in results.values())
print(f"\nTwo seeds of one variant are up to {spread:.3f} apart on the old alphabets.")
nearest = min((name for name in means if name != "finetune"), key=lambda n: abs(means[n][0] - means["finetune"][0]))
print(
    f"You predicted {guess}.\nHighest: {max(means, key=lambda name: means[name][0])}; nearest to finetune: {nearest}."
)

# %% [markdown]
# Take differences that are smaller than the distance between two seeds for noise. Then read:
#
# - **The temperature** matters, as section 5 foresaw: at 5, much less is kept than by CSD as it is.
# - **The labels** matter. Without them (`own_teacher_only`) the old alphabets are kept, but less of the new one is learnt:
#   every image must stay by itself, apart from the rest of its class.
# - **The teacher's features** help. Without them (`students_only`) the result lies between fine-tuning and CSD: a good
#   contrast is already worth something, and the seeds differ a lot.
# - **The triplet loss** can go, in this experiment.
# - `csd_alone` keeps about as much as the whole. Look at the last column, though: its head can't name a single new
#   sign, as nothing teaches it. Who only searches may not care.
#
# **What it does not show.** More than one step, from one small network, on one kind of images, with two seeds. An ablation
# tells what a part does *here, with the other parts in place*. The paper's own comparison is on photographs, with
# ResNet-32 and hundreds of epochs.

# %% [markdown] minutes=6
# ## 7. Looking back
#
# - CSD compares each student feature with all other students and all teachers of the batch; those of its class pull, the
#   others push, and the temperature decides how much the similar ones count.
# - It is not a distance from the teacher: the label decides where a feature belongs, the teacher where that class lies.
# - The teacher's features and the labels are both needed: one to keep, the other to learn.
# - It slows forgetting down, and sees old images only through what new images have in common with them.
#
# Three questions to test yourself:
#
# 1. A batch has 48 images of 48 different classes. How many positives has an anchor, and what remains of CSD?
# 2. Why is the mean over the positives taken outside the logarithm? What would an anchor do with many positives if it
#    were inside?
# 3. A fellow student forgets `.detach()`, but the teacher's weights are frozen. Does it matter?

# %% [markdown] tags=["hint"]
# ### Answers
# 1. One: its own teacher view. CSD then draws each feature to its own teacher's and pushes it from all others: a
#    distillation of features without labels, like `own_teacher_only`.
# 2. Outside, every positive counts: a far one costs as much as ever until it comes closer. Inside, the logarithm of a
#    sum is ruled by its largest term; an anchor that has one close positive could leave the others where they are.
# 3. Not for the numbers: with frozen weights, or under `no_grad`, no gradient arrives anywhere. But the loss should be
#    right by itself. With a teacher that is not frozen, the two would meet halfway, and old features would move.

# %% [markdown]
# **Where to read on**
#
# - T. Barletti, N. Biondi, F. Pernici, M. Bruni, A. Del Bimbo: *Contrastive Supervised Distillation for Continual
#   Representation Learning*, ICIAP 2021 (arXiv 2205.05476): the method.
# - P. Khosla and others: *Supervised Contrastive Learning*, NeurIPS 2020: the contrast by labels, and question 2.
# - A. van den Oord, Y. Li, O. Vinyals: *Representation Learning with Contrastive Predictive Coding*, 2018 (arXiv
#   1807.03748): where the softmax over pairs comes from.
# - Y. Tian, D. Krishnan, P. Isola: *Contrastive Representation Distillation*, ICLR 2020: contrast between a student and a
#   teacher, without labels.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: leaving the anchor's own teacher out of the positives, or the anchor itself
# in the denominator. Let students write the masks of three images on paper first. Start the cell that trains in section
# 4, and the one in section 6, before you explain them. If time is short, do sections 1, 3 and 5, and show the figure of
# section 6.

# %%
check.board("contrast_masks", "csd", "my_csd")
