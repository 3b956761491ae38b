# %% [markdown] budget_minutes=3
# # Can sixty images stand for six thousand?
#
# A small memory can hold one image in a hundred, or fewer: sixty of six thousand, ten of a thousand. Which ones? One may **choose** them, so that together
# they look like all. Or one may **learn** them: begin with any images, and change their pixels until a network cannot
# tell their mean from the mean of all. This is *dataset condensation*; the method here is **distribution matching**, DM (Zhao &
# Bilen, WACV 2023). Here you write both, watch images being learnt, and find out what they are good for, and what
# not.
#
# After this notebook you will be able to
#
# - choose images by herding, and say what it does that "the nearest to the mean" does not;
# - write the loss of distribution matching, and say what it asks of a learnt image, and what it does not ask;
# - name the controls that learnt images have to beat, one of which costs nothing;
# - say why images that are good to *classify* with need not be good to *search* with.
#
# | section | minutes |
# | --- | --- |
# | 1. Any ten images? | 8 |
# | 2. Choose them: herding | 20 |
# | 3. Learn them: distribution matching | 24 |
# | 4. Do they stand for the rest? | 14 |
# | 5. What is a learnt image in bytes? | 9 |
# | 6. Can one search with them? | 14 |
# | 7. Break it: one network for ever, or two changes | 12 |
# | 8. At the paper's scale | 4 |
# | 9. Looking back | 7 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for one to two minutes on 2
# CPU cores, and no longer on Colab. After the two set-up cells you can start at any section. Later sections use the
# library's functions in place of yours; they give the same answers.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, the digits, and what was measured with five seeds"
import functools
import inspect
import textwrap
from pathlib import Path

import torch

import csd_edu as csd
from csd_edu import augmentation, check, few, models, pictures, plots, results
from csd_edu.methods.dm import condense, distribution_matching
from csd_edu.methods.random_images import selected

digits = csd.load("digits")
x, y = digits.x_train, digits.y_train  # (N, 1, 16, 16) uint8, (N,)
MEASURED = {"digits": results.read("condensed_digits"), "CIFAR-100": results.read("condensed")}  # five seeds each


@functools.cache
def trained():
    """Return a ConvNet that has learnt all training images."""
    return few.train_on(x, y, width=32, epochs=8, batch_size=64)


@functools.cache
def learnt():
    """Return the stages of condensing the digits, one image a class."""
    return list(condense(x, y, 1, iterations=150, every=15, generator=torch.Generator().manual_seed(0)))


def mean_images():
    """Return the mean image of each class, (10, 1, 16, 16) uint8."""
    return few.as_uint8(torch.stack([few.as_float(x[y == c]).mean(dim=0) for c in range(10)]))


def taught_by(images, labels, seed=0):
    """Return accuracy and Recall@1 on the test images, the means of two new ConvNets taught by these images alone."""
    scores = few.evaluate(images, labels, digits.x_test, digits.y_test, n_networks=2, width=32, epochs=100, seed=seed)
    return few.Score(*(sum(values) / len(values) for values in zip(*scores, strict=True)))


def strips(rows, title, about="", cell=58):
    """Return rows of images, each with its name, as a figure."""
    shown = {name: [plots.Shown(image, "", name, k) for k, image in enumerate(images)] for name, images in rows.items()}
    return plots.retrieval_strips(shown, title=title, subtitle=[about] * bool(about), cell=cell)


print(
    f"{len(x):,} digits to learn from, {len(digits.x_test)} to be tested with; ten are {10 / len(x):.1%} of the former"
)

# %% [markdown] minutes=8
# ## 1. Any ten images?
#
# The first try costs nothing: take one image of each class at random. A new network is trained on these ten, and on
# nothing else, for many epochs; crops, turns and other changes make them last. It is a **ConvNet** with three
# convolutions, as the literature on condensing uses it.
#
# **Predict.** All images together teach it to name almost all test digits. What share will it name after ten random
# ones? And from one draw of ten to another, how far apart will the shares be?

# %% tags=["predict"]
guess = {"share": "?", "apart": "?"}  # two numbers from 0 to 1 instead of the question marks

# %%
draws = {}
for seed in range(3):
    images, labels = selected(x, y, 1, generator=torch.Generator().manual_seed(seed))  # (10, 1, 16, 16), (10,)
    draws[f"draw {seed}: {taught_by(images, labels).accuracy:.3f}"] = images

untaught = few.score(models.build("convnet32", 1, n_classes=10), digits.x_test, digits.y_test)
everything = few.score(trained(), digits.x_test, digits.y_test)
print(f"accuracy: not trained {untaught.accuracy:.3f}, after all {len(x):,} images {everything.accuracy:.3f}")
print(f"You predicted {guess}.")
strips(
    draws, "Three draws of ten images", "beside each: the accuracy on test images, after training on these ten alone"
)

# %% [markdown]
# And with five seeds, each with its own draw, more epochs and three networks:

# %%
digit_results = MEASURED["digits"]
print("five draws:", "  ".join(f"{value:.3f}" for value in digit_results.of("random", "accuracy, set")))
print("all images:", "  ".join(f"{value:.3f}" for value in digit_results.of("all images", "accuracy, set")))

# %% [markdown]
# **What it means.** Ten images teach a good deal already. And it matters *which* ten: look at the digits of the worst
# draw for one that you would not have chosen.
#
# **What it does not show.** How good a better choice would be. To take the best of many draws would be cheating, if
# it were judged by the test images.

# %% [markdown] minutes=20
# ## 2. Choose them: herding
#
# Look at the images as a trained network does: each is a feature, here of length 1. A class has a **mean feature**
# $\mu$. Choose $n$ images whose *own* mean comes as near to $\mu$ as possible. To try all sets of $n$ would take for
# ever. **Herding** (Welling 2009; Rebuffi et al. 2017) is greedy: when the first $k - 1$ have been chosen, the $k$-th is
#
# $$\arg\min_i \Big\| \mu - \frac{1}{k} \Big( \varphi_i + \sum_{j \text{ chosen before}} \varphi_j \Big) \Big\|,$$
#
# among those that have not been chosen yet.


# %% tags=["exercise"] minutes=9 difficulty=2
def herd(features, n):
    """Choose n rows one by one, each so that the mean of those chosen comes nearest to the mean of all.

    features: (N, D) floats of one class, each row of length 1; n: from 1 to N.
    Returns (n,) integers: which rows, in the order of their choice.
    """
    # >>> solution: keep the sum of those chosen, and try every image as the next one
    mean = features.mean(dim=0)  # (D,)
    total = torch.zeros_like(mean)  # (D,) the sum of those chosen so far
    chosen = []
    for k in range(1, n + 1):
        far = (mean - (total + features) / k).norm(dim=1)  # (N,) if this one were the k-th
        far[chosen] = torch.inf  # nobody is chosen twice
        best = int(far.argmin())
        chosen.append(best)
        total = total + features[best]
    return torch.tensor(chosen)
    # <<< solution


# %% tags=["check"]
check.herd(herd)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Keep two things while you choose: the sum of the features chosen so far, and the list of their numbers. For all
# candidates at once, `(total + features) / k` has one row for each.
#
# More hints, one at a time, the last is the solution: run `check.hint("herd")` in a cell of its own.

# %% [markdown]
# **Predict.** Beside herding stand two others: the $n$ images *nearest* to the mean feature, and $n$ *random* ones.
# Take $n = 20$ images of the threes. Whose mean will be nearest to that of all threes?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "herding", "nearest", "random"

# %%
choose = check.yours_or_ours("herd")

DIGIT, MOST = 3, 20
threes = x[y == DIGIT]
features = torch.nn.functional.normalize(models.embed(trained(), threes)[0], dim=1)  # (N, D)
mean = features.mean(dim=0)  # (D,)


def distances(rows):
    """Return for the first 1, 2, … of these rows how far their mean is from that of all."""
    return [float((features[rows[:k]].mean(dim=0) - mean).norm()) for k in range(1, MOST + 1)]


generator = torch.Generator().manual_seed(0)
random = torch.tensor([distances(torch.randperm(len(threes), generator=generator)) for _ in range(50)])  # (50, n)
by_herding, by_distance = choose(features, MOST), (features - mean).norm(dim=1).argsort()[:MOST]
gaps = {"herding": distances(by_herding), "nearest": distances(by_distance), "random": random.mean(dim=0).tolist()}
print(f"with {MOST} images:", ", ".join(f"{name} {values[-1]:.3f}" for name, values in gaps.items()))
print(f"You predicted: {guess}. It is: {min(gaps, key=lambda name: gaps[name][-1])}.")
plots.lines(
    gaps,
    list(range(1, MOST + 1)),
    title="How near is the mean of a few?",
    x_title="images chosen, of the threes",
    y_title="distance from the mean feature",
    subtitle="features by a ConvNet that has learnt all digits; random: mean of 50 draws",
)

# %%
rows = {"herding": threes[by_herding[:10]], "nearest": threes[by_distance[:10]]}
strips(rows, "The first ten threes", "in the order of their choice, left to right")

# %% tags=["claim"]
assert gaps["herding"][-1] < 0.5 * gaps["random"][-1]
assert gaps["herding"][-1] < 0.5 * gaps["nearest"][-1]
assert abs(gaps["herding"][0] - gaps["nearest"][0]) < 1e-6

# %% [markdown]
# **What it means.** The first image is the same for both: the most typical three. From the second on they part. "The
# nearest" takes another typical one, and another; their mean comes nearer only slowly. Herding looks for what is *missing*, and
# soon the mean of a few is very near to that of all. With one image a class, as in most of this notebook, herding *is* the
# nearest to the mean.
#
# **What it does not show.** That such images teach well. Herding matches one mean, of the features that *one* trained
# network has. And it needs that network: somebody must have learnt all images first.

# %% [markdown] minutes=24
# ## 3. Learn them: distribution matching
#
# Why only real images? A learnt image is a tensor of pixels with a gradient. DM asks of the learnt images $S_c$ of a
# class that their mean feature be that of the real ones, $B_c$:
#
# $$L = \sum_c \Big\| \frac{1}{|B_c|} \sum_{x \in B_c} \psi(x) - \frac{1}{|S_c|} \sum_{s \in S_c} \psi(s) \Big\|^2$$
#
# Two things are unusual. The network $\psi$ is **not trained**: each step takes a new one with random weights. And the
# square is a **sum** over the numbers of a feature, and over the classes, not a mean.
#
# Write it. `labels` say which class each row is of; the classes may be any numbers, in any order.


# %% tags=["exercise"] minutes=9 difficulty=2
def dm_loss(real, real_labels, synthetic, synthetic_labels):
    """Return the squared distance of the mean features of real and of learnt images, added up over the classes.

    real: (N, D) floats; real_labels: (N,) integers; synthetic: (M, D); synthetic_labels: (M,), of the same classes.
    Returns a scalar tensor, with a gradient for the synthetic ones.
    """
    # >>> solution: for each class two means; the square of their difference, summed
    loss = torch.zeros(())
    for c in synthetic_labels.unique():
        of_real, of_synthetic = real[real_labels == c], synthetic[synthetic_labels == c]  # (N_c, D), (M_c, D)
        gap = of_real.mean(dim=0) - of_synthetic.mean(dim=0)  # (D,)
        loss = loss + gap.square().sum()
    return loss
    # <<< solution


# %% tags=["check"]
check.dm_loss(dm_loss)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# First for one class: two means over the images, `dim=0`, each of shape (D,). Then a loop over
# `synthetic_labels.unique()`.
#
# More hints, one at a time, the last is the solution: run `check.hint("dm_loss")` in a cell of its own.

# %% [markdown]
# Try it without any network first: let $\psi$ be the pixels themselves. One learnt image, which begins as a random
# three, follows the gradient.
#
# **Predict.** Where does it go?

# %% tags=["predict"]
guess = "no prediction yet"
# one of: "to the real three nearest to the mean", "to the mean of all threes", "to an image that nobody can read"

# %%
loss_of = check.yours_or_ours("dm_loss")

real = few.as_float(x[y == 3]).flatten(1)  # (N, 256)
image = real[:1].clone().requires_grad_()  # (1, 256)
ones, one = torch.zeros(len(real), dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
on_the_way = [image.detach().clone()]
for _ in range(6):
    loss = loss_of(real, ones, image, one)
    (gradient,) = torch.autograd.grad(loss, image)  # (1, 256)
    image = (image - 0.25 * gradient).detach().requires_grad_()
    on_the_way.append(image.detach().clone())
    print(f"loss {loss:.4f}, distance from the mean image {(image - real.mean(dim=0)).norm():.4f}")
print(f"You predicted: {guess}.")
steps = {"0 to 6 steps": few.as_uint8(torch.stack(on_the_way).view(-1, 1, 16, 16))}
strips(steps, "A learnt image, without a network")

# %% [markdown]
# **What it means.** To the mean: the gradient is $2 (s - \mu)$, and nothing else pulls. So the plainest condensed image is
# the **mean image** of its class, and nobody has to learn that one. Remember it as a control. Random networks look at
# edges, corners and their places, each at others; the mean feature that is to be met is another one for each. That is
# what DM adds.
#
# Now with networks. The library's `condense` does what you wrote, in a loop. Its heart:

# %%
source = inspect.getsource(inspect.getmodule(condense)._condense)
lines = source.splitlines()
begin = next(k for k, line in enumerate(lines) if "for iteration in" in line)
end = next(k for k, line in enumerate(lines) if "optimizer.step()" in line)
print(textwrap.dedent("\n".join(lines[begin : end + 1])))

# %% [markdown]
# Condense the digits: one image a class, 150 steps, 32 real images of each class in a step. It takes some seconds.
#
# **Predict.** The images begin as random real ones. Will you still be able to read them in the end?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "as well as before", "worse, but yes", "no"

# %%
stages = learnt()
for stage in stages[::3]:
    print(f"step {stage.iteration:>4}: loss {stage.loss:.2f} a class, the mean since the stage before")

# %% tags=["widget"]
films = {"0": stages[0].start, **{str(stage.iteration): stage.images for stage in stages}}
about = "drag the slider, or click on it"
plots.choose(
    {step: strips({"learnt": images}, "Ten images being learnt", about, cell=64) for step, images in films.items()},
    slider="after step ",
)

# %%
rows = {"real, step 0": stages[0].start}
rows |= {f"step {stage.iteration}": stage.images for stage in (stages[0], stages[3], stages[-1])}
rows |= {"mean image": mean_images()}
print(f"You predicted: {guess}.")
strips(rows, "Before and after", "one image for each class; below them the mean image of each class")

# %% [markdown]
# **What it means.** The images change fast at first, and little later. A digit that was written oddly becomes a usual one: look at
# the seven and the nine. In the end they have the outlines of the mean images, but not their blur: they are grainy, and
# black and white are stronger. Nobody wrote them, and one can read them. The loss does not go to 0: each step has another network, other real images and another change, and one image cannot
# be the mean under all of them.
#
# **What it does not show.** That they are good to learn from. The loss does not know what they are for.
#
# ### To think about
#
# In each step one random change (a turn, a crop, a darker tone, …) is drawn for each class, and *both* sides, the real
# images and the learnt ones, are changed by it. Why both, and why by the same one?

# %% [markdown] tags=["answer"]
# A network that is trained on the learnt images later will see them turned, cropped and darkened. So it is their
# changed versions that must stand for the changed real ones: turned by ten degrees, a learnt three shall look like the
# mean of threes turned by ten degrees. If the two sides were changed in different ways, the loss would ask that a learnt image
# turned to the left have the feature of real ones turned to the right. No image can do that; what comes
# out is a compromise between all turns. Section 7 tries it.

# %% [markdown] minutes=14
# ## 4. Do they stand for the rest?
#
# Now the test: new networks are trained on ten images alone. Four sets, of equal size: the random images that the
# learnt ones began as, the herded ones, the mean images, and the learnt ones.
#
# **Predict.** Put them in order, the best first.

# %% tags=["predict"]
guess = []  # for instance ["dm", "mean images", "herding", "random"]

# %%
last = learnt()[-1]
by_features = models.embed(trained(), x)[0]
sets = {
    "random": last.start,
    "herding": selected(x, y, 1, "herding", features=by_features)[0],
    "mean images": mean_images(),
    "dm": last.images,
}
live = {name: taught_by(images, last.labels).accuracy for name, images in sets.items()}
print(f"one run: {', '.join(f'{name} {accuracy:.3f}' for name, accuracy in live.items())}")
print(f"You predicted: {guess}.")
strips(sets, "Four sets of ten images")

# %% [markdown]
# One run shows what one run shows. Here are five seeds of the same on the digits, and on ten classes of photographs
# (CIFAR-100, ten images for 5,000), with 300 steps of condensing. "All images" were learnt for 80 epochs, until little more
# came of it: a comparison with a network that was stopped early would flatter the ten.

# %%
print("\n".join(found.about for found in MEASURED.values()))
some = ("not trained", "random", "herding", "mean images", "dm", "all images")
for name, found in MEASURED.items():
    kinds = [kind for kind in some if "accuracy, set" in found.values[kind]]
    told = [f"{kind} {found.interval(kind, 'accuracy, set')}" for kind in kinds]
    print(f"\n{name}\n    " + "\n    ".join(told))
    whole = found.interval("all images", "accuracy, set").mean
    print(f"    dm has {found.interval('dm', 'accuracy, set').mean / whole:.0%} of what all images teach")

# %%
figures = {}
for name, found in MEASURED.items():
    shown = {kind: found.of(kind, "accuracy, set") for kind in ("random", "herding", "mean images", "dm")}
    ends = {kind: found.interval(kind, "accuracy, set") for kind in shown}
    figures[name] = plots.per_seed(
        {"accuracy on test images": shown},
        intervals={kind: (mean - half, mean + half) for kind, (mean, half) in ends.items()},
        title=f"What ten images teach: {name}",
        subtitle="one mark for each seed, below them their mean",
        seeds=found.seeds,
    )
plots.choose(figures)

# %%
PAIRS = (("dm", "random"), ("herding", "random"), ("dm", "herding"), ("dm", "mean images"), ("mean images", "herding"))
for name, found in MEASURED.items():
    print(name)
    for one, other in PAIRS:
        difference = found.difference(one, other, "accuracy, set")
        print(f"    {f'{one} − {other}':<26}{difference.signed():<18}{difference.verdict}")

# %% tags=["claim"]
verdicts = {
    name: {pair: found.difference(*pair, "accuracy, set").verdict for pair in PAIRS} for name, found in MEASURED.items()
}
for of in verdicts.values():
    assert of["dm", "random"] == of["herding", "random"] == of["mean images", "herding"] == "above 0"
assert verdicts["digits"]["dm", "herding"] == verdicts["digits"]["dm", "mean images"] == "above 0"
assert verdicts["CIFAR-100"]["dm", "herding"] == "not told apart"
assert verdicts["CIFAR-100"]["dm", "mean images"] == "below 0"
share = {
    name: found.interval("dm", "accuracy, set").mean / found.interval("all images", "accuracy, set").mean
    for name, found in MEASURED.items()
}
assert share["digits"] > 0.9
of_digits = MEASURED["digits"]
assert 0.90 <= of_digits.interval("dm", "accuracy, set").mean < 0.91
assert 0.985 < of_digits.interval("all images", "accuracy, set").mean < 0.995
assert 0.4 < share["CIFAR-100"] < 0.47
assert all(live[name] > live["random"] for name in ("herding", "mean images", "dm"))

# %% [markdown]
# **What it means.** On both sets of data, herded and learnt images teach more than random ones: fewer than one
# image in a hundred go a long way, if they are the right ones. (Not all the way: compare with "all images".) Then the two
# sets part. On the digits the learnt images are ahead of the herded ones, and a little ahead of the mean images. On the
# photographs learnt and herded images are *not told apart*, and the **mean images** are ahead of both. Blurs that nobody had
# to learn win there.
#
# The literature has DM ahead of herding, with one image a class as with ten. Why not on these photographs? What we know is what differs:
# 300 steps here and 20,000 there, a ConvNet of width 32 and not 128, 32 real images of each class in a step and not
# 256. What we do not know is which of these it is; to find out, one would change one of them alone, with five seeds. That
# is not done here. What the mean images show is that our 300 steps on photographs have not passed the plainest answer: section 3
# tells that without a network it is the best one.
#
# **What it does not show.** More images a class. There is one mean image of a class, and no second one; herding and DM
# have a tenth image, too. And tables that have random and herded rows only cannot tell you whether a learnt image
# beats the mean image. If you read such a table for one image a class, miss that row.

# %% [markdown] minutes=9
# ## 5. What is a learnt image in bytes?
#
# A learnt image is float32: four bytes for each number, where a real one has one. Whoever compares "twenty images of each
# class" with twenty real ones has four times the bytes. So the kit stores them as bytes, 0 to 255. Gradient descent has
# made some pixels brighter than white, and some darker than black. A byte cannot hold these.


# %% tags=["exercise"] minutes=4 difficulty=1
def as_bytes(pixels):
    """Return images as they are stored: rounded to whole numbers from 0 to 255.

    pixels: (M, C, H, W) floats, black 0 and white 1; some may lie outside. Returns (M, C, H, W) uint8.
    """
    # >>> solution: scale, round, cut off, and only then change the type
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    # <<< solution


# %% tags=["check"]
check.as_bytes(as_bytes)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Three steps before `.to(torch.uint8)`. That last one does neither round nor cut off: it drops what is behind the point,
# and wraps around beyond 255.
#
# More hints, one at a time, the last is the solution: run `check.hint("as_bytes")` in a cell of its own.

# %%
store = check.yours_or_ours("as_bytes")

pixels, labels = learnt()[-1].pixels, learnt()[-1].labels  # (10, 1, 16, 16) float32
outside = (pixels < 0) | (pixels > 1)
wrapped = (pixels * 255).round().to(torch.int64).remainder(256).to(torch.uint8)  # what happens without a clamp
versions = {"float32": pixels, "bytes": store(pixels), "not cut off": wrapped}
print(
    f"{outside.double().mean():.0%} of the learnt pixels are outside of black and white, {pixels.min():.2f} to", end=" "
)
print(f"{pixels.max():.2f}\n")
for name, images in versions.items():
    print(f"{name:<12}{images.nbytes:>7,} bytes, accuracy {taught_by(images, labels).accuracy:.3f}")
strips({"bytes": store(pixels), "not cut off": wrapped}, "The same ten images, stored in two ways")

# %%
for name, found in MEASURED.items():
    difference = found.difference("dm", "dm, not rounded", "accuracy, set")
    print(f"{name}, five seeds: rounded − not rounded {difference.signed()}, {difference.verdict}")

# %% tags=["claim"]
assert all(
    found.difference("dm", "dm, not rounded", "accuracy, set").verdict == "not told apart"
    for found in MEASURED.values()
)

# %% [markdown]
# **What it means.** Rounding costs nothing that shows, on either set. So a learnt image is as cheap as a real one, and the
# comparisons of section 4 are of equal bytes. A forgotten clamp is another matter: a large part of the
# pixels lies outside, and with each of them black turns white, or white black. The last row of the table has what is left.
#
# **What it does not show.** That no cheaper form would do: fewer bits, or smaller images. How small an image may become
# is the question of notebook 10.

# %% [markdown] minutes=14
# ## 6. Can one search with them?
#
# So far a network had to *name* an image. A search engine does something else: it looks for the nearest feature, among
# images of classes that it may never have been taught. **Recall@1** is the share of test images whose nearest other test
# image is of the same class.
#
# **Predict.** CIFAR-100, ten classes. The features of a ConvNet that was never trained have some Recall@1: colours and
# edges are not nothing. After training on ten learnt images, will it be higher?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "higher", "about the same", "lower"

# %%
photographs = MEASURED["CIFAR-100"]
kinds = ("not trained", "random", "herding", "mean images", "dm", "all images")
print(f"{'CIFAR-100, ten classes':<26}{'accuracy':>18}{'Recall@1':>18}")
for kind in kinds:
    both = [str(photographs.interval(kind, f"{measure}, set")) for measure in ("accuracy", "recall_at_1")]
    print(f"{kind:<26}{both[0]:>18}{both[1]:>18}")
print("\nRecall@1, paired with the network that was not trained:")
for kind in kinds[1:]:
    difference = photographs.difference(kind, "not trained", "recall_at_1, set")
    print(f"    {kind:<22}{difference.signed():<18}{difference.verdict}")
print(f"\nYou predicted: {guess}.")
on_digits = MEASURED["digits"].interval("not trained", "recall_at_1, set")
print(f"\nand on the digits, a network that was not trained: Recall@1 {on_digits}")

# %% tags=["claim"]
assert on_digits.mean > 0.95
for kind in ("random", "herding", "mean images", "dm"):
    assert photographs.difference(kind, "not trained", "recall_at_1, set").verdict != "above 0"
    assert photographs.difference(kind, "not trained", "accuracy, set").verdict == "above 0"
assert photographs.difference("all images", "not trained", "recall_at_1, set").verdict == "above 0"

# %% [markdown]
# **What it means.** Of no set of ten images is it shown that it makes a network search better than one that was never
# trained, though each of them teaches it to name far more. It is not that nothing is to be gained: all images together do raise
# Recall@1. Naming and searching are different questions. To name, a network needs ten directions in its features, one for
# each class. To search, *neighbours* must be of one class, everywhere among the features; and with one image a class
# there are no two images of a class from which it could be learnt what they share. (The digits say nothing here: there,
# untrained features find almost everything already: see the last line.)
#
# **What it does not show.** That condensed images are of no use for search. With more images a class, or with a loss
# that is made for search, it may be otherwise. Nobody has measured it here.
#
# ### As a memory
#
# In a stream of tasks the images are a **memory**: each new class is condensed once, in its task, and a new network is
# trained on all that is kept. The network itself is not carried over.

# %%
print(f"{'memory, five tasks':<26}{'accuracy':>18}{'Recall@1':>18}")
for kind in ("random", "herding", "dm"):
    both = [str(photographs.interval(kind, f"{measure}, memory")) for measure in ("accuracy", "recall_at_1")]
    print(f"{kind:<26}{both[0]:>18}{both[1]:>18}")
for one, other in (("dm", "random"), ("herding", "random"), ("dm", "herding")):
    for measure in ("accuracy", "recall_at_1"):
        difference = photographs.difference(one, other, f"{measure}, memory")
        print(f"{f'{one} − {other}':<20}{measure:<14}{difference.signed():<18}{difference.verdict}")
one = 3 * 32 * 32 + 8
print(f"\na photograph of 3 × 32 × 32 bytes and a label of 8: {one:,} bytes; ten of them {10 * one:,}")

# %% tags=["claim"]
assert photographs.difference("dm", "random", "accuracy, memory").verdict == "above 0"
assert photographs.difference("herding", "random", "accuracy, memory").verdict == "above 0"
assert photographs.difference("dm", "herding", "accuracy, memory").verdict == "not told apart"
for pair in (("dm", "random"), ("herding", "random"), ("dm", "herding")):
    assert photographs.difference(*pair, "recall_at_1, memory").verdict == "not told apart"

# %% [markdown]
# As a memory it is the same picture: learnt and herded images name more than random ones, in equally many bytes, and are
# not told apart from each other; in Recall@1 no two of the three are told apart.
#
# And all methods of the kit, on one stream of digits, with the bytes that each carries from task to task:

# %%
pictures.recall_against_bytes(results.read("neighbours"))

# %% [markdown]
# Look for `random_images`, `herding` and `dm`. They stand at the same number of bytes. Which others keep as much, and how far
# do they get? And look for `raw pixels` at the left: on digits they search as well as the best methods, within a
# hundredth, without having learnt anything, so in this picture Recall@1 shows what is *lost*.
#
# **Would CSD's losses on top help?** Not on these methods as they are. CSD contrasts the features of a student with those of
# its *teacher*, the network before the task. Here a new network is trained each time, and there is no teacher. And
# with one image a class, a contrast finds no second image of the class in a batch. What one could do instead is to keep the
# network, and give it condensed images as a memory beside CSD's losses. Nobody has measured that here.

# %% [markdown] minutes=12
# ## 7. Break it: one network for ever, or two changes
#
# Two parts of the recipe look like a luxury. Each step builds a **new** random network, where one might do. And real and
# learnt images are changed by the **same** draw, where each might have its own. The cell below has the loop with a switch for each.
#
# **Predict.** Which of the two costs more accuracy on the digits?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "one network for ever", "two changes", "neither costs anything"


# %% tags=["break"]
def learn(steps, seed, *, new_network=True, same_change=True):
    """Return one learnt image for each digit, (10, 1, 16, 16) uint8."""
    generator = torch.Generator().manual_seed(seed)
    mean, std = (value.float().view(1, -1, 1, 1) for value in models.pixel_statistics(x))
    normalised = [(few.as_float(x[y == c]) - mean) / std for c in range(10)]

    def some(c, n):
        return normalised[c][torch.randperm(len(normalised[c]), generator=generator)[:n]]

    def change():
        return augmentation.draw(16, 16, generator=generator)

    pixels = torch.cat([some(c, 1) for c in range(10)]).requires_grad_()  # (10, 1, 16, 16)
    labels = torch.arange(10)
    optimizer = torch.optim.SGD([pixels], lr=1.0, momentum=0.5)
    for step in range(steps):
        network = models.build("convnet32", 1, seed=1000 * seed + step * new_network).requires_grad_(False)
        real, synthetic = [], []
        for c in range(10):
            one = change()
            other = one if same_change else change()
            real.append(one(some(c, 32)))
            synthetic.append(other(pixels[c : c + 1]))
        loss = distribution_matching(
            network.backbone(torch.cat(real), ("map",))[1]["map"],  # (320, 32, 2, 2)
            labels.repeat_interleave(32),
            network.backbone(torch.cat(synthetic), ("map",))[1]["map"],  # (10, 32, 2, 2)
            labels,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return few.as_uint8(pixels.detach() * std + mean)


WAYS = {
    "as it should be": {},
    "one network for ever": {"new_network": False},
    "two changes": {"same_change": False},
}
STEPS, SEEDS = 80, (0, 1)  # more of both, if you have the time
broken = {name: [learn(STEPS, seed, **how) for seed in SEEDS] for name, how in WAYS.items()}
accuracy = {
    name: [taught_by(images, torch.arange(10), seed).accuracy for seed, images in zip(SEEDS, of, strict=True)]
    for name, of in broken.items()
}
for name, values in accuracy.items():
    print(f"{name:<24}" + "  ".join(f"{value:.3f}" for value in values) + f"   mean {sum(values) / len(values):.3f}")
print(f"\nYou predicted: {guess}.")
strips({name: of[0] for name, of in broken.items()}, f"Learnt in {STEPS} steps, in three ways", "seed 0")

# %% [markdown]
# **What it means.** Look at the two rows that were broken, beside the one that was not. With one network for ever, the
# images match the mean under *that* network, and it is the only one that sees them; the networks that learn from them later
# are others. With two changes, each learnt image is asked to look, turned one way, like real ones that are turned another
# way. Whether either costs accuracy, and which costs more, says the table above for two seeds. That is too few for a claim:
# take five, and a paired interval, before you write it down.
#
# **What it does not show.** What the released code gains by either on photographs, in 20,000 steps.

# %% [markdown] minutes=4
# ## 8. At the paper's scale
#
# The published experiment nearest to what fits ten minutes of a large GPU: CIFAR-100, all classes, ten images each.
# `python benchmarks/condensed.py --gpu` measures it; nothing of it is computed here.

# %%
PUBLISHED = {"random": 0.146, "herding": 0.173, "dm": 0.297, "all images": 0.562}  # as tables of later papers have it
file = Path("runs") / "condensed gpu.json"  # where the command writes it
ours = results.read(file) if file.exists() else None
if not torch.cuda.is_available():
    print("There is no GPU here, so there is nothing to be run in this section.\n")
print(f"{'accuracy, ten images a class':<30}{'published':>10}{'ours':>15}")
for kind, value in PUBLISHED.items():
    here = str(ours.interval(kind, "accuracy, set")) if ours else "not measured"
    print(f"{kind:<30}{value:>10.3f}{here:>15}")
print("\nwhat differs: 20,000 steps on 256 real images a class there; 2,500 steps on 128 in our command;")
print("a linear head with bias there, one without bias and with normalised rows here")

# %% [markdown]
# **What it means.** At this scale the literature has learnt images far ahead of herded ones. Section 4 does not have
# that on photographs. There the images are one a class, not ten, learnt in 300 steps, not 20,000, by networks a quarter
# as wide. Which of these makes the difference, we don't know: they differ all at once, and none was tried by itself.

# %% [markdown] minutes=7
# ## 9. Looking back
#
# - Can sixty stand for six thousand? Ten learnt digits have taught a network to name 0.90 of the test images, all 1,198 to
#   name 0.99; ten photographs less than half of what 5,000 teach. To name images, that is, and not to search among them.
# - Herding chooses real images so that *together* they have the mean of all. The nearest to the mean do not.
# - Distribution matching learns images whose mean feature is that of the real ones, under random networks that were
#   never trained: means first, then the square, summed over features and classes.
# - Without a network, or with a linear one, the single image that this loss likes best is the mean image. It costs
#   nothing, and belongs in every comparison of one image a class.
# - A learnt image must be stored as bytes, rounded and cut off, before its memory is compared with that of real ones.
# - What teaches a network to name need not teach it to search.
#
# Four questions to test yourself:
#
# 1. Ten learnt images of a class have the right mean, and each of them looks odd. Does the loss mind?
# 2. You take the mean over the 128 numbers of a map instead of the sum. What happens to the images, at the same learning rate?
# 3. A paper compares its condensed images with random real ones only. Which two rows would you like to see in its table?
# 4. Why does herding need a trained network, and DM none?

# %% [markdown] tags=["hint"]
# ### Answers
# 1. No. It compares means. Any images with that mean are as good to it, however they share the work.
# 2. The gradient is a 128th, so in as many steps they hardly move: you would have random real images.
# 3. Herded ones, and for one image a class the mean images. (And how many bytes each image has.)
# 4. Herding compares by one fixed network, so that network must see what matters. DM asks for the mean to be right
#    under very many random ones. That is another bet: what looks alike to all of them is alike enough.

# %% [markdown]
# **Where to read on**
#
# - B. Zhao, H. Bilen: *Dataset Condensation with Distribution Matching*, WACV 2023.
# - B. Zhao, K. R. Mopuri, H. Bilen: *Dataset Condensation with Gradient Matching*, ICLR 2021: the method before it,
#   which trains a network in an inner loop.
# - M. Welling: *Herding Dynamical Weights to Learn*, ICML 2009.
# - S.-A. Rebuffi and others: *iCaRL: Incremental Classifier and Representation Learning*, CVPR 2017: herding as a memory.
# - A. Prabhu, P. H. S. Torr, P. K. Dokania: *GDumb: A Simple Approach that Questions Our Progress in Continual Learning*,
#   ECCV 2020: to train a new network on the memory alone.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: distances first and means afterwards, in both exercises; the mean over the
# features out of habit; a clamp before the multiplication. Let the room argue about the mean images before
# section 4 is run: most expect a blur to be useless. The question "why do our numbers not show the paper's lead?" has
# no answer in this notebook, and that is the lesson: several things differ, and none was tried alone. With more time let groups
# take one each (steps, width, images a class), with seeds.

# %% [markdown]
# What is done:

# %%
check.board("herd", "dm_loss", "as_bytes")
