# %% [markdown] budget_minutes=3
# # What can an old network teach a new one?
#
# Before a network learns the next task (here: an alphabet), keep a frozen copy of it: the **teacher**. The network that
# goes on learning is the **student**. For each new image, ask the teacher as well, and let the student answer for the old
# signs as the teacher does. This is **knowledge distillation**, one of the best-known remedies against forgetting. Here you
# write it, see which way it pushes, choose how much it weighs, and find out what it cannot see.
#
# After this notebook you will be able to
#
# - say what a teacher's *soft* answers tell that a label does not, and what the temperature does to them;
# - write the distillation loss, and say which way each logit is pushed;
# - say what a heavier weight buys and what it costs, and on which images one may choose it;
# - say what a student that agrees with its teacher may get wrong all the same, and why.
#
# | section | minutes |
# | --- | --- |
# | 1. What does the teacher say about a sign it has never seen? | 12 |
# | 2. How far is the student from its teacher? | 18 |
# | 3. Which way does the loss push? | 12 |
# | 4. How much should it weigh? | 14 |
# | 5. What can the loss not see? | 8 |
# | 6. Does it help, over all tasks? | 8 |
# | 7. Break it: a teacher that is not frozen | 8 |
# | 8. Looking back | 6 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for about a minute on 2 CPU
# cores, most of it in section 4, and no longer on Colab. After the two set-up cells you can start at any section. Later sections use the
# library's functions in place of yours; they give the same answers.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and a saved run"
import inspect
from functools import partial

import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots

import csd_edu as csd
from csd_edu import check, losses, metrics, plots, saved
from csd_edu.models import embed
from csd_edu.tuning import read_tuning, shipped

run = saved.run("finetune")  # one task after another; here only the first two matter
images, labels, tasks = (run.test()[name] for name in ("images", "labels", "tasks"))
old, new = tasks == 0, tasks == 1  # (N,) masks: test images of the first task, and of the second
first, second = saved.task_names()[:2]
stream = csd.split(csd.load("glyphs", image_size=24), groups=True, seed=run.config.seed)  # to learn from
tuning = read_tuning(saved.folder()) or shipped()  # how the weights of methods were chosen: see section 4
WEIGHT = tuning.methods["lwf"].chosen
print(f"the first {saved.group()} is {first}, the second {second}; {len(run.tasks[0])} classes in the first")
print(f"test images: {int(old.sum())} of {first}, {int(new.sum())} of {second}, each {tuple(images.shape[1:])}")

# %% [markdown] minutes=12
# ## 1. What does the teacher say about a sign it has never seen?
#
# The teacher is the network after the first task. Its head has one row for each sign of that task. Show it an image of
# the *second* task: it has to answer with one number for each *old* sign, a **logit**. A larger logit means
# that this sign is more likely. The **softmax** makes probabilities of logits:
#
# $$p_c = \frac{\exp(z_c / T)}{\sum_d \exp(z_d / T)}$$
#
# $T$ is the **temperature**. With $T = 1$ it is the usual softmax.
#
# **Predict.** The image shows a new sign, so no old sign is right. With $T = 1$, what will the teacher's answer be like,
# on average?

# %% tags=["predict"]
guess = "no prediction yet"
# one of: "sure of one old sign", "some signs much likelier than others", "all about equal"

# %% [markdown]
# First write the softmax with a temperature, without `torch.softmax`. Each row is one image. Beware of large logits:
# `exp(500)` is infinite in float32.


# %% tags=["exercise"] minutes=5 difficulty=1
def temperature_softmax(logits, temperature):
    """Return softmax(logits / temperature) of each row.

    logits: (B, C) floats; temperature: a number above 0. Returns (B, C): each row sums to 1.
    """
    # >>> solution: divide, take the exponential, and divide by the row's sum
    scaled = logits / temperature  # (B, C)
    exps = (scaled - scaled.amax(dim=1, keepdim=True)).exp()  # the largest is exp(0) = 1: no overflow
    return exps / exps.sum(dim=1, keepdim=True)
    # <<< solution


# %% tags=["check"]
check.temperature_softmax(temperature_softmax)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Adding the same number to all logits of a row changes no probability. So subtract the row's largest first.
#
# More hints, one at a time, the last is the solution: run `check.hint("temperature_softmax")` in a cell of its own.

# %%
softmax = check.yours_or_ours("temperature_softmax")

teacher = run.network(0)
with torch.no_grad():
    logits = teacher(images[new])[1]  # (N, K): one logit for each old sign

print("\nmeans over the new images")
print("temperature   largest probability   as wide as … signs that are equally likely")
largest, width = {}, {}
for temperature in (0.5, 1.0, 2.0, 5.0):
    p = softmax(logits, temperature)  # (N, K)
    largest[temperature] = p.amax(dim=1)
    width[temperature] = (-torch.special.xlogy(p, p).sum(dim=1)).exp()  # (N,): exp of the entropy
    print(f"{temperature:>11g} {largest[temperature].mean():>21.2f} {width[temperature].mean():>15.1f} of {p.shape[1]}")
sure, flat = float(largest[1.0].mean()) > 0.9, float(width[1.0].mean()) > 0.8 * logits.shape[1]
answer = "sure of one old sign" if sure else "all about equal" if flat else "some signs much likelier than others"
print(f"\nYou predicted: {guess}. At temperature 1 it is: {answer}.")

# %% [markdown]
# The *width* is the exponential of the entropy: 1 if all is on one sign, $K$ if all $K$ signs are equally likely.
#
# Three new images: the one at which the teacher's answer is narrowest, one with a typical width, and the one with the
# widest answer. Beside each, examples of the five old signs that the teacher finds likeliest, with their probabilities.

# %% tags=["folded"] title="Three new images, and the old signs that the teacher takes them for"
by_width = width[1.0].argsort()
chosen = {"narrow": by_width[0], "typical": by_width[len(by_width) // 2], "wide": by_width[-1]}
strips, below = {}, []
for kind, k in chosen.items():
    p = softmax(logits[k : k + 1], 1.0)[0]
    query = int(torch.nonzero(new)[k])
    shown = [(query, f"new: {run.classes[int(labels[query])]}")]
    likeliest = p.argsort(descending=True)[:5].tolist()
    shown += [(int(torch.nonzero(labels == k)[0]), f"{run.classes[k]} {p[k]:.2f}") for k in likeliest]
    strips[f"{kind}: {width[1.0][k]:.1f}"] = [plots.Shown(images[n], "", text, n) for n, text in shown]
    below += [text for _, text in shown]
about = "left a new image, then five old signs, with their probabilities at T = 1; the row has the answer's width"
figure = plots.retrieval_strips(strips, title="What does the teacher take it for?", subtitle=[about], cell=100)
for image in figure.layout.images:
    image.update(sizex=0.82 * image.sizex, sizey=0.82 * image.sizey)
for x, y, text in zip(figure.data[0].x, figure.data[0].y, below, strict=True):
    figure.add_annotation(x=x - 9, y=y + 42, text=plots.label(text), showarrow=False, font_size=12)
figure

# %% tags=["folded"] title="One answer at three temperatures"
one = logits[chosen["typical"]][None]  # (1, K)
ranked = one[0].argsort(descending=True)  # old signs, the likeliest first
temperatures = (1.0, 2.0, 5.0)
figure = make_subplots(1, 3, shared_yaxes=True, subplot_titles=[f"<b>T = {t:g}</b>" for t in temperatures])
for column, temperature in enumerate(temperatures, 1):
    p = softmax(one, temperature)[0][ranked]
    names = [plots.label(run.classes[k]) for k in ranked.tolist()]
    figure.add_bar(x=list(range(len(p))), y=p.tolist(), text=names, textposition="none", row=1, col=column)
figure.update_traces(marker_color=plots.BLUE, hovertemplate="%{text}: %{y:.3f}<extra></extra>", showlegend=False)
figure.update_xaxes(title_text="old signs", showticklabels=False, showgrid=False)
figure.update_yaxes(title_text="probability", row=1, col=1)
about = "the typical image: softmax(z / T) over all old signs, the likeliest first"
plots.finished(figure, "One answer at three temperatures", [about], 220)

# %% [markdown]
# **What it means.** Although every answer is wrong, the teacher is not silent. It says which old signs the new one is
# *like*, as far as this network can tell. A label says only "none of these". This is sometimes called *dark knowledge*: it
# is in the small probabilities. A higher temperature brings them up; the order of the signs stays the same. A very high
# one makes all answers alike.
#
# **What it does not show.** That the likenesses are good: look at the three rows and judge for yourself. The teacher has
# seen the signs of one style only, and it may look at the colour of the paper as much as at the strokes. For distillation
# that matters little: the student is to keep what this network *does*, well or badly.

# %% [markdown] minutes=18
# ## 2. How far is the student from its teacher?
#
# Take an image. The teacher answers with $K$ logits, one for each old sign. The student has learnt new signs as well: it
# answers with $C > K$ logits, and **the old signs are the first $K$**. Soften both answers over the old signs, and
# measure how far apart they are with the Kullback–Leibler divergence:
#
# $$L_{\mathrm{KD}} = \frac{1}{B} \sum_{i=1}^{B} \sum_{c=1}^{K} p_{ic} \, (\log p_{ic} - \log q_{ic}),
# \qquad p_i = \mathrm{softmax}(t_i / T), \quad q_i = \mathrm{softmax}(s_{i,1 \dots K} / T)$$
#
# with the teacher's logits $t$, the student's $s$, and $B$ images in the batch. It is 0 if both say the same, and never
# below. Hinton et al. (2015) multiply by $T^2$; the code published with CSD does not, and nor do we: section 3 shows
# what that means.
#
# Write it. Three things to watch: cut the student's logits *before* the softmax; the teacher comes first in the KL; and
# the teacher must not learn, so no gradient may reach its logits (`.detach()`).


# %% tags=["exercise"] minutes=12 difficulty=2
def distillation(student_logits, teacher_logits, temperature):
    """Return the mean over the batch of KL(teacher ‖ student), over the teacher's classes.

    student_logits: (B, C) floats; teacher_logits: (B, K) floats with K <= C, the student's first K classes;
    temperature: a number above 0. Returns a scalar tensor, with a gradient for the student only.
    """
    # >>> solution: cut to the old classes, soften both, and compare them by KL
    n_old = teacher_logits.shape[1]
    student = F.log_softmax(student_logits[:, :n_old] / temperature, dim=1)  # (B, K)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)  # (B, K)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    # <<< solution


# %% tags=["check"]
check.distillation(distillation)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# `F.log_softmax` gives the logarithms without overflow. Begin with `log_q = F.log_softmax(student_logits[:, :K] / T,
# dim=1)`, the same for the teacher, and then the formula, term by term.
#
# More hints, one at a time, the last is the solution: run `check.hint("distillation")` in a cell of its own.

# %% [markdown]
# The library's function does the same, after checking its arguments. Its last lines:

# %%
print("\n".join(inspect.getsource(losses.distillation).splitlines()[-3:]))

# %% [markdown]
# Now measure two students that have learnt the second task. One was fine-tuned; nobody asked the teacher. The other was
# trained with **LwF**, *Learning without Forgetting* (Li & Hoiem 2016): fine-tuning with your loss as one more term.
# During training both saw *new* images only.
#
# **Predict.** On which images is the second student closer to its teacher?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "on new images", "on old images", "the same on both"

# %%
kd = check.yours_or_ours("distillation")

teacher = run.network(0)
lwf = saved.run("lwf-tuned")
students = {"the teacher itself": teacher, "fine-tuned": run.network(1), "with distillation": lwf.network(1)}
measured = {}
print(f"\nwith distillation: {lwf.method}")
print(f"{'loss at T = 2':<26}{'on new images':>16}{'on old images':>16}")
with torch.no_grad():
    for name, student in students.items():
        for which, mask in {"on new images": new, "on old images": old}.items():
            measured[name, which] = float(kd(student(images[mask])[1], teacher(images[mask])[1], 2.0))
        print(f"{name:<26}{measured[name, 'on new images']:>16.3f}{measured[name, 'on old images']:>16.3f}")
closer = min(("on new images", "on old images"), key=lambda which: measured["with distillation", which])
print(f"\nYou predicted: {guess}. Measured: closer {closer}.")
other = min(("on new images", "on old images"), key=lambda which: measured["fine-tuned", which])
print(f"The fine-tuned student, who was never asked, is closer {other}.")
for which in ("on new images", "on old images"):
    ratio = measured["fine-tuned", which] / measured["with distillation", which]
    print(f"{which}: the fine-tuned student is {ratio:.1f} times as far from the teacher as the other one")

# %% [markdown]
# **What it means.** Compare the two rows, not the two columns: a student can be nearer on one kind of images than on
# another for many reasons, and the fine-tuned one shows it. What distillation does is in the last two lines. On the new
# images, where it was asked to, the student stays far nearer to its teacher. The old images are gone, and nobody can ask
# about them; there the likeness is a by-product, and smaller. It is what distillation hopes for: that new images remind
# the student of enough of what the teacher knows.
#
# **What it does not show.** Whether the student is still *right* about old signs. The loss compares two networks, and the
# truth does not occur in it.

# %% [markdown] minutes=12
# ## 3. Which way does the loss push?
#
# A loss teaches through its gradient. That of the distillation loss is short. For the old classes, $c \le K$,
#
# $$-\frac{\partial L_{\mathrm{KD}}}{\partial s_{ic}} = \frac{p_{ic} - q_{ic}}{T \, B}.$$
#
# Gradient descent moves each logit in this direction: up where the teacher finds a sign likelier than the student does,
# down where it is the other way round.
#
# **Predict.** The student also has logits for the *new* classes, $c > K$. Which way does this loss push them?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "up", "down", "not at all"

# %% [markdown]
# Write the push by the formula, with zeros where there is none. No autograd: the check compares yours with it.


# %% tags=["exercise"] minutes=5 difficulty=2
def push(student_logits, teacher_logits, temperature):
    """Return minus the gradient of the distillation loss in the student's logits.

    student_logits: (B, C) floats; teacher_logits: (B, K) floats with K <= C; temperature: a number above 0.
    Returns (B, C).
    """
    # >>> solution: the difference of two softmaxes for the old classes; what for the others?
    n_samples, n_old = teacher_logits.shape
    p = torch.softmax(teacher_logits / temperature, dim=1)  # (B, K)
    q = torch.softmax(student_logits[:, :n_old] / temperature, dim=1)  # (B, K)
    pushes = torch.zeros_like(student_logits)  # (B, C)
    pushes[:, :n_old] = (p - q) / (temperature * n_samples)
    return pushes
    # <<< solution


# %% tags=["check"]
check.push(push)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Both softmaxes have the shape (B, K). Begin with `torch.zeros_like(student_logits)`, and fill its first K columns. If
# yours is twice the expected push, $T$ or $B$ is missing.
#
# More hints, one at a time, the last is the solution: run `check.hint("push")` in a cell of its own.

# %%
teacher, student = run.network(0), run.network(1)  # before and after fine-tuning on the second task
query = int(torch.nonzero(new)[60])  # any other new image will do
with torch.no_grad():
    t, s = teacher(images[query : query + 1])[1], student(images[query : query + 1])[1]  # (1, K), (1, C)
n_old, n_all = t.shape[1], s.shape[1]
pushes = check.yours_or_ours("push")(s, t, 2.0)[0]  # (C,)
print(f"You predicted: {guess}. The largest push on a new class is {pushes[n_old:].abs().max():g}.")
print(f"The pushes on the old classes add up to {pushes[:n_old].sum():.1e}.")

# %% tags=["folded"] title="Two answers to one new image, and the push"
figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.12)
p, q = torch.softmax(t[0] / 2, dim=0), torch.softmax(s[0, :n_old] / 2, dim=0)
figure.add_bar(x=list(range(n_old)), y=p.tolist(), name="teacher p", marker_color=plots.BLUE, row=1, col=1)
look = {"color": plots.VERMILION, "pattern": {"shape": "/"}}
figure.add_bar(x=list(range(n_old)), y=q.tolist(), name="student q", marker=look, row=1, col=1)
figure.add_bar(x=list(range(n_all)), y=pushes.tolist(), name="push", marker_color=plots.GREEN, row=2, col=1)
figure.add_vline(n_old - 0.5, line_dash="dot", line_color=plots.GREY)
figure.add_annotation(
    x=n_old / 2, y=1, yref="paper", text=f"{plots.label(first)}, old", showarrow=False, yanchor="bottom"
)
figure.add_annotation(
    x=(n_old + n_all) / 2, y=1, yref="paper", text=f"{plots.label(second)}, new", showarrow=False, yanchor="bottom"
)
figure.update_xaxes(range=[-0.7, n_all - 0.3], showgrid=False)
figure.update_xaxes(title_text="class", row=2, col=1)
figure.update_yaxes(title_text="probability", row=1, col=1)
figure.update_yaxes(title_text="push", zeroline=True, row=2, col=1)
about = "T = 2; push: minus the gradient of the loss in the student's logits"
plots.finished(figure, "Two answers to one new image, and the push", [about], 340, legend=True)

# %% [markdown]
# **What it means.** Two facts to remember for section 5. The new classes feel nothing. And the pushes on the old classes
# add up to zero (but for rounding): the loss shifts likelihood *between* old signs, and never lifts all of them together.
#
# How strong is the push, as the temperature rises?

# %%
with torch.no_grad():
    t, s = teacher(images[new])[1], student(images[new])[1]
temperatures = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
strength = []
for temperature in temperatures:
    x = s.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(losses.distillation(x, t, temperature=temperature), x)
    strength.append(float(gradient.norm()))

figure = plots.lines(
    {"as here": strength, "with the factor T²": [T**2 * g for T, g in zip(temperatures, strength, strict=True)]},
    temperatures,
    title="How strong is the push?",
    x_title="temperature T",
    y_title="length of the gradient",
    subtitle="of the loss in the student's logits, all new images together",
    log="xy",
)
figure.update_yaxes(exponentformat="none", tickformat="~g").update_layout(margin_l=90)

# %%
slope = torch.tensor(strength[-1] / strength[-2]).log2()
print(
    f"From T = {temperatures[-2]:g} to {temperatures[-1]:g} the gradient changes by a factor of 2 to the {slope:.2f}."
)

# %% [markdown]
# **What it means.** At high temperatures the gradient fades like $1/T^2$: one $1/T$ stands in the formula, the other
# comes in because $p$ and $q$ both grow flat. Hinton's factor $T^2$ makes up for it. Without it, a higher temperature
# also means a smaller weight. Who reports "we tried temperatures" without that factor has changed two things at once.

# %% [markdown] minutes=14
# ## 4. How much should it weigh?
#
# Take the network after the first task, and teach it the second. The library's method `lwf` is fine-tuning with your loss
# as one more term, times a **weight**:

# %%
print(inspect.getsource(csd.methods.lwf))


# %%
def learn_second_task(method, seed):
    """Return the network that goes on from the saved one after the first task, and learns the second."""
    network = run.network(0)
    for _ in csd.learn(network, stream, 1, method, run.config.replace(seed=seed)):  # csd.learn?? shows the whole loop
        pass
    return network


# %% [markdown]
# Train students with several weights: 0, which is fine-tuning, 1, a usual default, and heavier ones. Then ask each of
# them about the test images of both tasks.
#
# **Predict.** The last student is pushed very hard to answer as its teacher does. Its head has a row for each new sign as
# well now. Which share of the *old* test images does it name correctly, out of all signs? (The teacher's own share, out
# of the old signs only, is printed below.) And its Recall@1 on the *new* images: higher or lower than with weight 0?

# %% tags=["predict"]
guess = {"old, of all signs": "?", "Recall@1 new": "?"}  # a number from 0 to 1; and "higher" or "lower"

# %%
seeds = (0, 1)  # of batches and crops; with more of them you know more, and wait longer
weights = sorted({0, 1, int(WEIGHT), 20, 100})

both = old | new
of_old, truth = old[both], labels[both]
with torch.no_grad():
    teacher_logits = run.network(0)(images[both])[1]  # (N, K)
n_old = teacher_logits.shape[1]


def measure(network):
    """Return what a network knows about the test images of both tasks, as shares of them."""
    features, logits = embed(network, images[both])  # (N, 64) and (N, C)
    named = logits[:, :n_old].argmax(dim=1)  # if only old signs may be named
    found = metrics.first_positive_ranks(features, truth, features, truth, exclude_self=True) == 1
    hits = {
        "agrees with teacher": (named == teacher_logits.argmax(dim=1))[~of_old],
        "old, of the old signs": (named == truth)[of_old],
        "old, of all signs": (logits.argmax(dim=1) == truth)[of_old],
        "new, of all signs": (logits.argmax(dim=1) == truth)[~of_old],
        "Recall@1 old": found[of_old],
        "Recall@1 new": found[~of_old],
        "Recall@1 both": found,
    }
    return {what: float(hit.double().mean()) for what, hit in hits.items()}


measured = {}
for weight in weights:
    method = partial(csd.methods.lwf, weight=weight)
    measured[weight] = [measure(learn_second_task(method, seed)) for seed in seeds]

# %%
rows = list(measured[0][0])
means = {row: [sum(one[row] for one in measured[weight]) / len(seeds) for weight in weights] for row in rows}
by_teacher = float((teacher_logits.argmax(dim=1) == truth)[of_old].double().mean())
print(f"mean of {len(seeds)} trainings{'':<4}" + "".join(f"{f'weight {weight}':>12}" for weight in weights))
for row in rows:
    print(f"{row:<24}" + "".join(f"{value:>12.2f}" for value in means[row]))
spread = max(abs(one["Recall@1 both"] - other["Recall@1 both"]) for one, other in measured.values())
print(f"\nTwo trainings with one weight are up to {spread:.2f} apart in Recall@1 on both.")
print(f"The teacher named {by_teacher:.2f} of the old images, out of the old signs.")
ends = means["Recall@1 new"][0], means["Recall@1 new"][-1]
print(f"You predicted {guess}. Measured: {means['old, of all signs'][-1]:.2f};", end=" ")
print(
    f"Recall@1 on the new images is {'higher' if ends[1] > ends[0] else 'lower'} ({ends[0]:.2f}, then {ends[1]:.2f})."
)

# %%
plots.lines(
    {name: means[name] for name in ("Recall@1 old", "Recall@1 new", "Recall@1 both")},
    [str(weight) for weight in weights],
    title="What a heavier weight buys, and what it costs",
    x_title="weight of the distillation loss",
    y_title="Recall@1",
    subtitle="test images of two tasks, in the gallery of both, after the second; mean of the seeds",
    marks={"chosen": str(int(WEIGHT))},
)

# %% [markdown]
# The rows: on new images, how often the student's likeliest *old* sign is its teacher's; which old test images the head
# names correctly, if only the old signs may be named, and if all may; the new ones; and Recall@1.
#
# **What it means.** The heavier the loss, the more the student agrees with its teacher and, up to a point, the better
# old images are found: **stability**. The new ones are found the worse, a little at first and much in the end: **plasticity** is what it costs. In between
# lies the best for both together. So "distillation helps retrieval", or "does not", says little without the weight.
# Weight 1 is not a natural choice, only a round number: how large the right one is depends on the temperature (section
# 3) and on how large the other terms are. And yet the third row stays at (almost) nothing, whatever the weight: see
# section 5.
#
# **What it does not show.** Which weight to take. To read the best one off this figure would be cheating: these are test
# images, and afterwards they would praise the choice that was made for them.
#
# How then? From images that are *held out* of training. The weight "chosen" in the figure was found so, without a look at a
# test image. (The values are lower than the figure's: other pairs of tasks, fewer images to learn from, and a smaller
# gallery.)

# %%
search = tuning.methods["lwf"]
print(f"held out: {tuning.validation:.0%} of the training images, trained on the rest, with {len(tuning.seeds)}")
print(f"seeds of their own; measured: {tuning.metric}\n")
print(f"{'weight of lwf':<16}" + "".join(f"{f'seed {seed}':>10}" for seed in tuning.seeds) + f"{'mean':>10}")
for weight, scores in search.grid.items():
    mark = "  <- chosen" if weight == search.chosen else ""
    print(f"{weight:<16g}" + "".join(f"{score:>10.3f}" for score in scores), end="")
    print(f"{sum(scores) / len(scores):>10.3f}{mark}")

# %% [markdown]
# Neighbouring weights lie close together, and the seeds disagree: the choice is good enough, not exact. Every method
# that is compared has to get the same care: the same grid, the same images, the same seeds. A new method that is tuned
# beside an old one with weight 1 wins easily. Notebook 07 comes back to this.

# %% [markdown] minutes=8
# ## 5. What can the loss not see?
#
# **Think first.** A student answers for the old signs much as its teacher does, and still its head names (almost) no old
# image correctly when all signs may be named (the third row of section 4). How can both be true? Section 3 holds the key.

# %% [markdown] tags=["answer"]
# The softmax in the distillation loss is taken over the *old* classes only. Take the same number off all old logits:
# the loss does not change, because the softmax does not. Cross-entropy does feel it. In the second task every label is a
# new class, so cross-entropy pushes all old logits down and that of the image's own class up, image after image, and distillation does
# not resist: its pushes add up to zero. So the *order* of the old signs is kept, while all of them together sink below
# the new ones. The head then names a new sign whatever it is shown.

# %% [markdown]
# See it in the saved student with distillation. Add a constant to all its old logits, from −5 to 15, and name the images
# again.

# %%
teacher, student = run.network(0), saved.run("lwf-tuned").network(1)  # after the first and the second task
both = old | new
of_old, truth = old[both], labels[both]
with torch.no_grad():
    s, t = student(images[both])[1], teacher(images[both])[1]  # (N, C), (N, K)
n_old = t.shape[1]
constants = torch.arange(-5, 15.1, 0.5).tolist()
loss, on_old, on_new = [], [], []
for constant in constants:
    shifted = torch.cat([s[:, :n_old] + constant, s[:, n_old:]], dim=1)
    hit = shifted.argmax(dim=1) == truth
    loss.append(float(losses.distillation(shifted, t)))
    on_old.append(float(hit[of_old].double().mean()))
    on_new.append(float(hit[~of_old].double().mean()))

plots.lines(
    {"old images named correctly": on_old, "new images named correctly": on_new, "distillation loss": loss},
    constants,
    title="The loss is blind to a shift",
    x_title="added to all old logits",
    y_title="share of images, and loss",
    subtitle="test images of both tasks, named out of all signs of both",
    y_range=(-0.03, 1.02),
    marks={"as trained": 0},
)

# %%
balanced = min(range(len(constants)), key=lambda k: abs(on_old[k] - on_new[k]))
print(f"loss: from {min(loss):.6f} to {max(loss):.6f}, whatever the constant")
for what, k in {"as trained": constants.index(0), "balanced": balanced, "the largest": len(constants) - 1}.items():
    print(f"{what} ({constants[k]:+g}): {on_old[k]:.2f} of the old and {on_new[k]:.2f} of the new images")

# %% [markdown]
# **What it means.** The old signs are not gone from this head: most are *outvoted*. One number brings many of them back,
# at a cost for the new ones: a better balance, and nothing for free. "BiC" (Wu et al. 2019) learns such a correction from
# a few stored images.
#
# **What it does not show.** A fair score: such a constant would be found on the test images themselves. And for a search
# engine nothing of this matters, as it compares features and never asks the head.

# %% [markdown] minutes=8
# ## 6. Does it help, over all tasks?
#
# The saved runs learnt all tasks, with several seeds each (a seed decides the order of the tasks, the first weights and
# the batches). `lwf` is `finetune` with the distillation loss at the chosen weight and $T = 2$. Beside them stand two
# marks: `frozen`, the network of the first task that never learns again, and `joint`, which learnt all tasks at once.
#
# **Predict.** Recall@1 in the end, over all test images, searching among all of them. After section 4 it will be no
# surprise that LwF helps. But what share of the gap between fine-tuning and joint training does it close?

# %% tags=["predict"]
guess = "no prediction yet"  # put a share instead, from 0 to 1

# %%
names = ("frozen", "finetune", "lwf-tuned", "joint")
ends = {}
for name in names:
    of_seeds = [saved.run(name, seed=seed) for seed in saved.SEEDS]
    ends[of_seeds[0].method] = [one.metrics["summary"]["recall_at_1"] for one in of_seeds]
plots.per_seed(
    {"Recall@1 on all test images, after the last task": ends},
    title="One mark for each seed",
    seeds=saved.SEEDS,
    subtitle="gallery of all test images; searched by the network after the last task",
).update_xaxes(range=[0, 1])

# %%
for name, values in ends.items():
    print(f"{name:<16} " + "  ".join(f"{value:.3f}" for value in values) + f"   mean {sum(values) / len(values):.3f}")

frozen, finetune, lwf, joint = ends.values()
difference = [a - b for a, b in zip(lwf, finetune, strict=True)]
mean, half = metrics.mean_interval(difference)
better = sum(d > 0 for d in difference)
print(f"\nlwf is above finetune in {better} of {len(saved.SEEDS)} seeds.")
print(f"lwf − finetune, seed by seed: {mean:+.3f} ± {half:.3f} (95 % interval of the mean)")
told_apart = abs(mean) > half  # never of one seed, which has no interval
print("The interval does not contain 0." if told_apart else "So these seeds can't tell the two apart.")
share = mean / (sum(joint) / len(joint) - sum(finetune) / len(finetune))
print(f"lwf closes {share:.0%} of the gap between finetune and joint. You predicted: {guess}.")

# %% [markdown]
# **What it means.** With the five seeds that come with the kit, distilling the *answers* at a fitting weight helps
# *retrieval* a good deal, although the features do not occur in the loss. They stand behind the answers: who must answer
# as before has to compute much as before. A part of the way to joint training is left, and it is what notebook 04 is
# about: does it help to hold the features themselves?
#
# The interval holds the mean differences that go together with these seeds. If 0 is among them, the order is not known, and
# we say *not told apart*. (Notebook 07 has the whole story.)
#
# **What it does not show.** Other images, longer training, other networks; nor weight 1, which section 4 had for one step
# only.

# %% [markdown] minutes=8
# ## 7. Break it: a teacher that is not frozen
#
# A frozen teacher gives the same answer to the same image, always. Batch normalisation can spoil this. In **evaluation
# mode** it scales by averages that it collected while the network was learning. In **train mode** it scales by the mean
# and spread of the *batch at hand*, and, without any gradient, goes on collecting. The code published with CSD runs its
# teacher in train mode.
#
# **Predict.** Ask the teacher about an image, once among new images and once among old ones. In train mode, how often
# does its likeliest sign depend on the company? And after it has been asked for as many epochs as a task has, will it
# still know its own signs as well?

# %% tags=["predict"]
guess = {"depends on the company": "?", "knows its own signs": "?"}
# two answers instead of the question marks: a share from 0 to 1; and "as well", "less well" or "not at all"

# %% tags=["break"]
mode = "train"  # try "eval" too

teacher = run.network(0)
teacher.train(mode == "train")
size = run.config.batch_size
asked = images[new][::20]  # a few new images
n_asked = len(asked)
with torch.no_grad():
    among_new = teacher(torch.cat([asked, images[new][1 : 1 + size - n_asked]]))[1][:n_asked]  # a batch as in training
    among_old = teacher(torch.cat([asked, images[old][1 : 1 + size - n_asked]]))[1][:n_asked]
changed = (among_new.argmax(dim=1) != among_old.argmax(dim=1)).double().mean()
apart = losses.distillation(among_new, among_old)

teacher = run.network(0)
with torch.no_grad():
    before = teacher(images[old])[1].argmax(dim=1) == labels[old]
    teacher.train(mode == "train")
    learning = stream.train(1).images
    for epoch in range(run.config.later_epochs):
        order = torch.randperm(len(learning), generator=torch.Generator().manual_seed(epoch))
        for batch in learning[order].split(size):
            teacher(batch)  # only asked: no loss, no gradient, no optimiser
    teacher.eval()
    after = teacher(images[old])[1].argmax(dim=1) == labels[old]

print(f"teacher in {mode} mode")
print(f"likeliest sign depends on the company: {changed:.0%} of the {n_asked} images", end=" ")
print(f"(loss between its two answers {apart:.3f})")
print(f"own test images named correctly: {before.double().mean():.2f} before, {after.double().mean():.2f} after")
print(f"\nYou predicted {guess}.")

# %% [markdown]
# **What it means.** In train mode the teacher is not one network but as many as there are batches, and by being asked
# about new images it slides towards them: its statistics are no longer those of its own task. In eval mode there is
# neither of the two; set `mode` and see. In this kit the teacher is in eval mode; `Config(teacher_mode="train")` gives
# the other one.
#
# **What it does not show.** That training with such a teacher ends worse. A batch of new images, scaled by its own
# statistics, may even suit a student whose own batch normalisation is in train mode as well. That needs an experiment of
# its own, with several seeds.

# %% [markdown] minutes=6
# ## 8. Looking back
#
# - A teacher's soft answer tells which old classes a new image is *like*, as far as the teacher can tell; the temperature
#   decides how much the small probabilities count.
# - The distillation loss is the KL divergence from the teacher's softened answer to the student's, over the old classes;
#   its push is the difference of two softmaxes.
# - It is blind to a common shift of all old logits, and so can't keep the new classes from outvoting the old.
# - Its weight buys stability with plasticity. It is chosen on held-out images, never on test images, and with the same
#   care for every method.
# - It acts on answers, and on new images only. At a fitting weight that holds a good part of the features too, which
#   retrieval lives on.
#
# Four questions to test yourself:
#
# 1. Student and teacher give the same answer over the old classes. What are the loss, and the push?
# 2. You raise the temperature from 2 to 8, without a factor $T^2$. What happens to the loss's share of the gradient?
# 3. Why must the student's logits be cut *before* the softmax, and not after it?
# 4. A paper compares its new method, tuned, with LwF at weight 1. What would you like to see?

# %% [markdown] tags=["hint"]
# ### Answers
# 1. Both are 0: KL is 0 only where the two answers agree, and $p - q = 0$.
# 2. It falls to about a sixteenth, if the temperature was high already; the loss then weighs less beside
#    cross-entropy and triplet, as if its weight had been lowered.
# 3. After a softmax over all classes the old probabilities no longer sum to 1. The teacher's do. So the loss would
#    punish the student for finding the new classes likely, and fight cross-entropy. (That is a possible design, and it
#    would resist the shift. But it is not this loss.)
# 4. LwF at a weight that was chosen in the same way, with the same number of tries and on the same held-out images.
#    Section 4 shows how much may hang on it.

# %% [markdown]
# **Where to read on**
#
# - G. Hinton, O. Vinyals, J. Dean: *Distilling the Knowledge in a Neural Network*, 2015 (arXiv 1503.02531): the
#   temperature, and the factor $T^2$.
# - Z. Li, D. Hoiem: *Learning without Forgetting*, ECCV 2016: distillation against forgetting.
# - Y. Wu and others: *Large Scale Incremental Learning*, CVPR 2019: BiC, the correction of section 5.
# - T. Barletti, N. Biondi, F. Pernici, M. Bruni, A. Del Bimbo: *Contrastive Supervised Distillation for Continual
#   Representation Learning*, ICIAP 2021: what comes in notebook 04.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: dividing the probabilities by the temperature instead of the logits; KL the
# wrong way round; `reduction="mean"`, which also divides by the number of classes; the teacher's fewer classes. Let the
# room find out why the new classes are not pushed at all before anybody computes it. Who knows Hinton's factor $T^2$
# will miss it: the figure in section 3 shows what it would do.

# %% tags=["claim"]
for seed in saved.seeds():
    end = {name: saved.run(name, seed=seed).metrics for name in ("frozen", "finetune", "lwf-tuned", "joint")}
    recall = {name: metrics["summary"]["recall_at_1"] for name, metrics in end.items()}
    assert recall["frozen"] < recall["finetune"] < recall["lwf-tuned"] - 0.03
    assert recall["lwf-tuned"] < recall["joint"] - 0.05
    for name in ("finetune", "lwf-tuned"):  # the head names nothing old, whatever was distilled
        assert end[name]["head_accuracy"]["seen"][-1][0] < 0.02
        assert end[name]["recall_at_1"]["seen"][-1][0] > 0.4

# %%
check.board("temperature_softmax", "distillation", "push")
