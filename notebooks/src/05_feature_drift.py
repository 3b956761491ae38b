# %% [markdown] budget_minutes=1
# # Where do the features go?
#
# A network that learns one task after another (here a task is an alphabet) is, after each of them, another function.
# Show all these functions the same image, and each answers with another feature. This is **feature drift**. It can be
# seen on a map, and it can be measured; and neither a map nor a single number tells the whole story.
#
# After this notebook you can
#
# - read three kinds of maps of drifting features, and say what each cannot show;
# - say how far features have moved, in three numbers: displacement, linear CKA, and neighbours in common;
# - say what each of these numbers does *not* notice, and choose one for a purpose;
# - tell a correlation over all classes from one within the tasks.
#
# | section | minutes |
# | --- | --- |
# | 1. What becomes of classes that lay apart? | 7 |
# | 2. Break it: what is the other half for? | 7 |
# | 3. What can a map show? | 9 |
# | 4. How far has an image moved? *Exercise 1* | 8 |
# | 5. Moved, or only turned? *Exercise 2: linear CKA* | 15 |
# | 6. Who are its neighbours now? *Exercise 3* | 11 |
# | 7. Break it: fool a number | 8 |
# | 8. Is drift the same as forgetting? | 9 |
# | Summary and self-test | 5 |
#
# **Computing:** at most one minute in all, on two CPU cores; on a Colab GPU no more. **Needs:** nothing from the
# other notebooks. It reads the small saved runs that come with the kit. After the two set-up cells you may start with
# any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, saved runs and their snapshots"
import math

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots
from scipy import stats

from csd_edu import check, drift, maps, metrics, pictures, plots, saved, widgets
from csd_edu.comparison import Comparison
from csd_edu.features import nearest

FRAME = {"showticklabels": False, "showgrid": False, "showline": True, "mirror": True, "linecolor": plots.GRID}
RUNS = ("finetune", "lwf-tuned", "csd-tuned")
comparison = Comparison(saved.runs(*RUNS))
labels, tasks = comparison.labels, comparison.tasks  # (N,) the class of each test image, and the task that teaches it
snapshots = {name: comparison.snapshots(name) for name in comparison.runs}  # of each run, T tensors (N, D)
finetune, *_, csd = snapshots  # the names of the first and of the last run


def recall_at_1(features):
    """Return Recall@1 among all test images, queries and gallery under the same network: features (N, D)."""
    return metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1]


def plus_minus(share, n):
    """Return about half of the 95 % interval of a share of n images (Agresti & Coull 1998)."""
    near = (share * n + 2) / (n + 4)
    return 2 * math.sqrt(near * (1 - near) / (n + 4))


T, (N, D) = comparison.n_tasks, snapshots[csd][0].shape
print(f"{', '.join(snapshots)}: {T} networks each, and from each of them {N:,} features of {D} numbers")

# %% [markdown] minutes=7
# ## 1. What becomes of classes that lay apart?
#
# Three runs begin with the *same* network, trained on the first task. Then they part:
#
# - `finetune` learns each new task, and does nothing against forgetting;
# - `lwf` (Learning without Forgetting) also keeps answering for the old classes as the network before did;
# - `csd` does that too, and draws features to where the network before has the images of their class.
#
# The number in brackets is the weight that was chosen for keeping the old answers. After each task, all are asked for
# the features of the same test images. We call the features of all images under one network a **snapshot**.
#
# A feature has many numbers, and a picture two. Let us take a few classes of the first task, and the *plane* in which
# the network that has just learnt them tells them apart best. Then keep this plane, and look at the same images under
# the later networks. A class's **mean** is the middle of its features. **Predict**, for fine-tuning: in the end, for
# how many of these images is the nearest class mean in the plane still that of their own class? (After the first
# task it is for nearly all.)

# %% tags=["predict"]
nearest_mean_guess = "no prediction yet"  # a share from 0 to 1

# %%
pictures.first_plane(comparison)

# %%
planes = comparison.planes()  # what the picture shows
n_shown = len(planes[csd].labels)
print(f"You predicted: {nearest_mean_guess}. Of the {n_shown} images shown, right in the end:")
for name, plane in planes.items():
    right, stale = (float(hits[-1].double().mean()) for hits in (plane.right, plane.stale))
    print(f"  {name:<21} nearest mean {right:.2f} ± {plus_minus(right, n_shown):.2f};", end=" ")
    print(f"with the first network's means {stale:.2f} ± {plus_minus(stale, n_shown):.2f}")
print(f"by chance {1 / len(planes[csd].classes):.2f}\n")
print(f"Class by class, how often the nearest mean is the right one, after task 0 … {T - 1}")
print(f"{'':<22}" + "".join(f"{name:<{4 * T + 4}}" for name in planes))
for k in planes[csd].classes.tolist():
    rows = (" ".join(f"{share:.1f}" for share in plane.of_class(k)) for plane in planes.values())
    print(f"{comparison.classes[k][:20]:<22}" + "".join(f"{row:<{4 * T + 4}}" for row in rows))

# %% [markdown]
# **What it means.** Under each panel stand two numbers, and they answer two questions.
#
# - *Nearest mean*: images and means by the **same** network. It asks whether the classes still lie apart. If it falls,
#   clouds have run into each other: they *dissolve*, one class earlier and another later, as the table shows.
# - *With the first network's means*: today's images, and the means as they were. It asks whether the classes are still
#   *where they were*, as a search needs it whose stored features, the *gallery*, are never computed again. A cloud that has moved as a whole loses here
#   and not above.
#
# The second number is mostly the smaller one: to come apart is one thing, to move another. The rest of this notebook
# keeps these two questions apart.
#
# **What it does not show.** The plane is two directions, those of the *first* network. Classes that run into each other
# here may be told apart by other directions: the search uses all of them. It shows the classes that lay apart best, and
# of one seed. And few images: mind the ± before you call one run better than another.

# %% [markdown] minutes=7
# ## 2. Break it: what is the other half for?
#
# Below the picture's title it says that the plane is fitted to one half of the images, and shows the other. Why not
# use all images for both? Try it with features that *know nothing*: random numbers, drawn for each image without
# looking at it. The plane is the one of section 1: the two directions in which the class means lie far apart, measured
# by how wide the classes are (linear discriminant analysis, Fisher 1936).
#
# **Predict**: with random features, how often is the nearest mean the right one, among the images to which the plane
# was fitted? And among the others?

# %% tags=["predict"]
fitted_guess, others_guess = "no prediction yet", "no prediction yet"  # two shares from 0 to 1

# %% tags=["break"]
few = torch.tensor(comparison.few_classes())
n_random = D  # how many random numbers a feature has; try 8, or 500


def plane_of(x, of_class):
    """Return the two directions (D, 2) that separate classes 0 … C − 1 of features x (n, D) best."""
    means = torch.stack([x[of_class == k].mean(dim=0) for k in range(len(few))])[of_class]  # (n, D)
    within, between = (torch.cov(part.T, correction=0) for part in (x - means, means))  # (D, D) each
    within = 0.7 * within + 0.3 * within.trace() / len(within) * torch.eye(len(within))
    return torch.as_tensor(scipy.linalg.eigh(between, within)[1][:, -2:])


def right_class(points, of_class, means):
    """Return for points (n, 2) whether the nearest of the means (C, 2) is that of their class."""
    return torch.cdist(points, means).argmin(dim=1) == of_class


halves = [half[torch.isin(labels[half], few)] for half in maps.halves(labels)]  # of each class
own = [(labels[half][:, None] == few).int().argmax(dim=1) for half in halves]  # (n,) which of the few classes
spaces = {
    "random features": torch.randn(N, n_random, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    "first network": F.normalize(snapshots[csd][0].double(), dim=1),
}
in_plane = {}  # of each space the points of both halves
print(f"You predicted {fitted_guess} and {others_guess}; by chance it is {1 / len(few):.2f}.")
for name, x in spaces.items():
    directions = plane_of(x[halves[0]], own[0])
    in_plane[name] = [x[half] @ directions for half in halves]
    means = torch.stack([in_plane[name][0][own[0] == k].mean(dim=0) for k in range(len(few))])
    hits = [right_class(points, of, means).double().mean() for points, of in zip(in_plane[name], own, strict=True)]
    print(f"{name:<16} nearest mean right: fitted half {hits[0]:.2f}, other half {hits[1]:.2f}")

# %% tags=["folded"] title="Draw both halves in the plane of the first"
titles = [f"{name}: {half}" for name in spaces for half in ("the fitted half", "the other half")]
figure = make_subplots(2, 2, subplot_titles=titles, horizontal_spacing=0.04, vertical_spacing=0.1)
for row, of_space in enumerate(in_plane.values(), 1):
    for column, (points, of) in enumerate(zip(of_space, own, strict=True), 1):
        for k, label in enumerate(few.tolist()):
            x, y = points[of == k].T.tolist()
            marker = {"color": plots.turn(k).color, "symbol": plots.turn(k).symbol, "size": 8}
            about = {"name": comparison.classes[label], "legendgroup": k, "showlegend": row == column == 1}
            figure.add_scatter(x=x, y=y, mode="markers", marker=marker, **about, row=row, col=column)
    figure.update_xaxes(matches=f"x{2 * row - 1}", row=row).update_yaxes(matches=f"y{2 * row - 1}", row=row)
figure.update_xaxes(FRAME).update_yaxes(FRAME)
lines = [f"{len(own[0])} images of {len(few)} classes to fit the plane, {len(own[1])} others of the same classes"]
plots.finished(figure, "The same plane, two halves", lines, 560, legend=True).update_layout(margin_r=20, margin_l=20)

# %% [markdown]
# **What it means.** With about as many directions as images, some plane separates *anything*, also noise. On the half
# to which it was fitted, a picture of nothing looks like knowledge. The other half knows better: there the noise is
# noise, and what the network has learnt remains. The classes, too, were chosen as the best separated ones *on the
# fitted half*, so the other half is an honest test of the choice as well. Try `n_random = 8`, then `500`.
#
# **What it does not show.** That the other half is free of luck: it is few images, and the ± of section 1 is for them.
#
# A rule to take home: what is fitted is judged on images that the fit has not seen. It holds for planes as for networks.

# %% [markdown] minutes=9
# ## 3. What can a map show?
#
# The plane shows a few classes. A map of *all* presses the directions into two in another way:
#
# - **PCA** keeps the two directions in which the points vary most. It is linear: a straight movement stays straight.
#   But what differs only in the other directions falls together.
# - **UMAP** tries to put neighbours beside neighbours. It bends the space for that, so distances between groups, and
#   the sizes of groups, mean little. Here each snapshot gets a UMAP *of its own*, which starts from the one before and
#   is turned onto it: it shows who is near whom *then*. It does not show how far anything has moved.
#
# Each point is an image. Grey open points belong to tasks that are still to come. The lines say which point is which;
# under UMAP their length means nothing. **Predict** for the maps: of an image's ten nearest by its features, how many are
# among its ten nearest on a UMAP?

# %% tags=["predict"]
umap_keeps = "no prediction yet"  # a share from 0 to 1

# %% [markdown]
# Begin with UMAP:
#
# 1. Move the slider from the first task to the last. Do the groups of the first task hold together?
# 2. Choose *found or not* as the colour. Where do the points lie that are not found?
# 3. Click on a point. You see the image, and its nearest images under that network, in all directions.
# 4. Choose *PCA*, then *the first network's plane*. Which question does each of the three answer?

# %% tags=["widget"]
kinds = ("umap", "pca", "plane") if comparison.separable() else ("umap", "pca")
widgets.DriftExplorer(comparison, maps=kinds, table=False)

# %% [markdown]
# Under each map stand two numbers about the **quality of the map**. Both ask: are neighbours on the map neighbours
# among the features of the same network?
#
# - *Map keeps N % of neighbours*: of an image's ten nearest by its features, how many are among its ten nearest on the
#   map?
# - **Trustworthiness** is milder: it counts false neighbours only, and forgives one that was nearly true. It is 1
#   without any intruder, and about ½ for a map drawn at random.
#
# They say nothing about the networks. What does is measured in sections 4 to 6, and can be shown under the maps as a
# *table*; leave it hidden until section 6, so that you can predict.

# %%
kinds = {kind: comparison.maps(kind)[csd] for kind in ("pca", "umap")}
on_map = kinds["pca"].indices  # the images on the maps: a sample, equally many of each class
print(f"You predicted: {umap_keeps}. The maps of {csd}, after task 0 … {T - 1}:")
for kind, made in kinds.items():
    print(f"  {kind.upper():<5} keeps " + "  ".join(f"{kept:.0%}" for kept in made.neighbors_kept), end=";  ")
    print("trustworthiness " + "  ".join(f"{trust:.2f}" for trust in made.trustworthiness))
print(f"  by chance a map keeps {min(1, 10 / (len(on_map) - 1)):.0%}")
better = max(kinds, key=lambda kind: float(kinds[kind].neighbors_kept.mean()))
print(f"On average {better.upper()} keeps more; of the true neighbours, it misses", end=" ")
print(f"{1 - float(kinds[better].neighbors_kept.mean()):.0%}.")

# %% [markdown]
# One more map, for one purpose only: to see drift *as such*. Take all snapshots of one run together, and fit **one**
# UMAP to them, in which each image is there once for each network. (The next cell takes some seconds, as UMAP is
# compiled first.) **Predict**: do the networks use *one* part of the space, or a part each?

# %% tags=["predict"]
networks_lie = "no prediction yet"  # put one of these instead: "together", "apart"

# %%
together = maps.umap_map([x[on_map] for x in snapshots[csd]], n_neighbors=max(15, 2 * T), progress=False)
print(maps.LIMITS["umap together"])

# %% tags=["folded"] title="Draw the map of all snapshots together, beside PCA"
figure = make_subplots(1, 2, subplot_titles=["PCA", "UMAP of all snapshots together"], horizontal_spacing=0.04)
for column, made in enumerate((kinds["pca"], together), 1):
    for t, points in enumerate(made.points):
        marker = {"color": plots.turn(t).color, "symbol": plots.turn(t).symbol, "size": 5, "opacity": 0.7}
        about = {"name": f"after task {t}", "legendgroup": t, "showlegend": column == 1, "hoverinfo": "skip"}
        figure.add_scatter(x=points[:, 0], y=points[:, 1], mode="markers", marker=marker, **about, row=1, col=column)
figure.update_xaxes(FRAME).update_yaxes(FRAME)
about = f"{csd}: each image under the network after each task. Colour: which network"
plots.finished(figure, "One image, a feature from each network", [about], 400, legend=True)
figure.update_layout(margin_r=20, margin_l=20, legend={"y": -0.04, "itemsizing": "constant"})

# %% [markdown]
# The two maps need not agree. So ask the features themselves, in all directions: of the ten features nearest to a
# feature, how many were made by the same network?

# %%
print(f"You predicted: {networks_lie}. Of the ten nearest features, made by the same network:")
network = torch.arange(T).repeat_interleave(len(on_map))  # which network made which feature
for name, run in snapshots.items():
    unit = F.normalize(torch.cat([x[on_map] for x in run]), dim=1)  # (T · images, D)
    neighbors, _ = nearest(unit, min(10, len(unit) - 1))  # (T · images, k) ids, by cosine
    same = float((network[neighbors] == network[:, None]).double().mean())
    print(f"  {name:<21} {same:.0%}")
print(f"  if it made no difference {1 / T:.0%}")

# %% [markdown]
# **What it means.** Where the share is far above the last line, each network answers in a *dialect* of its own: a
# feature's neighbours are mostly features of the same network. That is what the patches of the UMAP are. How *far*
# they are from each other, it cannot say; and on a PCA map they may lie on each other. (Remember the patches: they
# decide what happens in notebook 06.)
#
# **What it does not show.** That forgetting has taken place. Patches tell that networks differ, not that one is worse.
# A map is a place to find questions; the answers come from the features, as in the sections that follow.

# %% [markdown] minutes=8
# ## 4. How far has an image moved?
#
# The search compares features by their direction, so we measure a change of direction. Let $x_i$ be the feature of
# image $i$ before, and $y_i$ after. The **mean displacement** is
#
# $$\frac{1}{N}\sum_i \bigl(1 - \cos(x_i, y_i)\bigr),
# \qquad \cos(x, y) = \frac{x \cdot y}{\lVert x\rVert\,\lVert y\rVert}$$
#
# It is 0 if no feature has turned, and 1 if each has turned by a right angle. **Predict** before you measure: which run
# has moved farthest in the end, and which the least?

# %% tags=["predict"]
farthest_first = "no prediction yet"  # names of runs, the farthest first, such as ["csd", "lwf", "finetune"]

# %% [markdown]
# ### Exercise 1: displacement


# %% tags=["exercise"] minutes=4 difficulty=1
def mean_displacement(x, y):
    """Return the mean over the images of 1 − cos.

    x: (N, D) features before.
    y: (N, D) features of the same images after.
    Returns a number from 0 to 2.
    """
    # >>> solution: scale each row to length 1, multiply row by row, and take the mean of 1 − the sum
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)  # (N, D) rows of length 1
    return (1 - (x * y).sum(dim=1)).mean()
    # <<< solution


# %% tags=["check"]
check.mean_displacement(mean_displacement)

# %% [markdown] tags=["hint"]
# ### Hint
# `F.normalize(x, dim=1)` scales each row to length 1. The cosine of two rows of length 1 is the sum of their
# products, number by number: `(x * y).sum(dim=1)` has one cosine for each image. A matrix product `x @ y.T` would
# compare each image with all others, which is not asked here. For more, run
# `check.hint("mean_displacement")` in a new cell, once or several times.

# %% [markdown]
# The library's function is `drift.mean_displacement`; it gives the same, and computes what
# follows. Now all networks, each compared with the first:

# %%
of_exercise = check.yours_or_ours("mean_displacement")
print(f"{csd}, first to last network: {float(of_exercise(snapshots[csd][0], snapshots[csd][-1])):.3f}")
displacement = {name: [drift.mean_displacement(run[0], x) for x in run] for name, run in snapshots.items()}
unit = F.normalize(snapshots[csd][0], dim=1)
apart = float((1 - unit @ unit.T).sum() / (N * (N - 1)))  # between two different images, under the first network

print(f"You predicted: {farthest_first}. From the first to the last network, the farthest first:")
for name, of_run in sorted(displacement.items(), key=lambda item: -item[1][-1]):
    print(f"  {name:<21} {of_run[-1]:.3f}, {'more' if of_run[-1] > apart else 'less'} than", end=" ")
    print(f"two different images were apart under the first network ({apart:.3f})")
plots.curves_over_tasks(
    displacement,
    title="How far from the first network?",
    metric="mean displacement",
    subtitle="mean of 1 − cos between an image's feature after task 0 and after a later task",
    end_labels=False,
)

# %%
largest = {
    name: 1 + max(range(T - 1), key=lambda t: of_run[t + 1] - of_run[t]) for name, of_run in displacement.items()
}
print("The largest step away from the first network:", ", ".join(f"{n} after task {t}" for n, t in largest.items()))

# %% [markdown]
# **What it means.** The distance in brackets is the yardstick: that far apart were two *different* images under the
# first network, on average. Compare how far an image is from its own old feature. To hold on to the old network makes
# the way shorter; it does not prevent it.
#
# **What it does not show.** Whether the search suffers. If all features move together, each image may keep its
# neighbours. The next section takes this to its extreme.

# %% [markdown] minutes=15
# ## 5. Moved, or only turned?
#
# Take the features of the last CSD network and turn the whole space, as one turns a globe: multiply all features by
# one orthogonal matrix $Q$. Distances and angles between images stay as they are. **Predict** what becomes of two
# numbers, the mean displacement (the mean of 1 − cos between an image's feature before and after) and Recall@1 (the share
# of images whose nearest other image is of the same class):

# %% tags=["predict"]
displacement_after_turning = "no prediction yet"  # a number from 0 (nothing turned) to 1 (right angles) or more
recall_after_turning = "no prediction yet"  # put one of these instead: "falls", "stays", "rises"

# %%
last = snapshots[csd][-1]
Q = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q  # a random rotation: QᵀQ = 1
turned = last @ Q  # (N, D)

print(f"displacement: you predicted {displacement_after_turning}; it is {drift.mean_displacement(last, turned):.3f}")
print(
    f"Recall@1:     you predicted {recall_after_turning}; it was {recall_at_1(last):.3f}, it is {recall_at_1(turned):.3f}"
)

# %% [markdown]
# Every feature is somewhere else, and no search result has changed. A measure that should tell whether the *geometry*
# has changed, who is near whom, must be blind to turning. **Linear CKA** (centred kernel alignment) is one:
#
# $$\mathrm{CKA}(X, Y) = \frac{\lVert X^\top Y\rVert_F^2}{\lVert X^\top X\rVert_F \,\lVert Y^\top Y\rVert_F}
# \qquad\text{with the mean of each column taken away first.}$$
#
# $X$ and $Y$ are two snapshots: a row for each image, its feature, and a column for each of its D numbers.
# $\lVert M\rVert_F$ is the root of the sum of all squared entries. $X^\top Y$ is, up to a factor, the covariance of each
# *column* of the one network with each column of the other: do these two numbers rise and fall together, from image to
# image? CKA is 1 if the two spaces are the same up to turning and scaling, and small if they have little in common.
#
# ### Exercise 2: linear CKA


# %% tags=["exercise"] minutes=8 difficulty=2
def linear_cka(x, y):
    """Return the linear CKA of two snapshots of the same images.

    x: (N, D) features under one network.
    y: (N, E) features of the same images under another; E may differ from D.
    Returns a number from 0 to 1.
    """
    x, y = x.double(), y.double()  # sums of many squares: float32 would lose digits
    # >>> solution: centre the columns, then the formula
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))
    # <<< solution


# %% tags=["check"]
check.linear_cka(linear_cka)

# %% [markdown] tags=["hint"]
# ### Hint
# Which mean? One for each of the D columns: `x.mean(dim=0)` has the shape (D,). Then `x.T @ y` is (D, E), whatever N
# is. `M.norm()` is the Frobenius norm of a matrix M, and `M.square().sum()` is its square. For more, run
# `check.hint("linear_cka")` in a new cell, once or several times.

# %% [markdown]
# Compare your lines with the library's: `drift.linear_cka` is the same formula, with checks of what it is given.
#
# Now for the real networks. **Predict**: which run keeps the geometry of the first network best, so that the CKA between
# its first and its last network is highest?

# %% tags=["predict"]
best_kept = "no prediction yet"  # the name of a run, such as "csd"

# %%
of_exercise = check.yours_or_ours("linear_cka")
print(f"the last network of {csd} and itself: {of_exercise(snapshots[csd][-1], snapshots[csd][-1]):.3f}")
tables = {name: drift.displacement_table(run, labels) for name, run in snapshots.items()}
first_to_last = {name: of_exercise(run[0], run[-1]) for name, run in snapshots.items()}
print(f"You predicted: {best_kept}. CKA from the first to the last network, on all {N:,} test images:")
for name, value in first_to_last.items():
    print(f"  {name:<21} {value:.3f}")
plots.drift_matrices(tables)

# %% [markdown]
# Each matrix is symmetric: CKA does not ask which network came first. So read one half. Down from the diagonal, each row
# compares a network with the earlier ones.
#
# Before you explain a number, ask *which images* were measured. Most tasks were new to the first network. On those, a
# network that learns something **must** change. Here is the corner of each matrix, first to last network, for the
# images of each task alone:

# %%
print(f"CKA from the first to the last network, on the images of one {saved.group()} only")
print(f"{saved.group():<16} ", *(f"{name:>21}" for name in snapshots))
by_task = []  # for each task the CKA of each run
for t, task_name in enumerate(saved.task_names()):
    by_task.append([drift.linear_cka(run[0][tasks == t], run[-1][tasks == t]) for run in snapshots.values()])
    print(f"{task_name:<12} ({t})  ", *(f"{value:>21.3f}" for value in by_task[-1]))
highest = [list(snapshots)[max(range(len(row)), key=row.__getitem__)] for row in by_task]
print("Highest: " + ", ".join(f"task {t} {name}" for t, name in enumerate(highest)))
print(f"Highest CKA on all images: {max(first_to_last, key=first_to_last.get)};", end=" ")
moved = {name: drift.mean_displacement(run[0], run[-1]) for name, run in snapshots.items()}
print(f"least displaced (section 4): {min(moved, key=moved.get)}.")

# %% [markdown]
# **What it means.** Only the first task had been learnt by the first network; only there *can* change be a loss. On the
# others, change may be learning. So choose the images that you measure on, the *probe set*, with the question in mind.
# For forgetting, take images that the earlier network had learnt.
#
# And look at the last two lines. Two measures of the same drift may name two winners, as they ask different questions; and
# so may one measure on two probe sets. Where values differ by a hundredth, there is no winner to be named.
#
# **What it does not show.** This is one run of each method, from one seed. A difference of a few hundredths may be
# luck. Notebook 07 shows how to tell.

# %% [markdown] minutes=11
# ## 6. Who are its neighbours now?
#
# The search asks only for the nearest images. So ask directly: of the k nearest neighbours that an image had, how
# many does it still have? For image $i$ with the neighbours $A_i$ before and $B_i$ after, the share of its **neighbours
# in common** is
#
# $$\frac{|A_i \cap B_i|}{k}$$
#
# It is 1 if all neighbours are the same, and 0 if all are others. Here both lists are by features, of two networks;
# the "neighbours kept" by a map, in section 3, are another thing. **Predict**, for k = 10:

# %% tags=["predict"]
share_in_common = "no prediction yet"  # from 0 to 1: what the first and the last network of csd have in common

# %% [markdown]
# ### Exercise 3: neighbours in common


# %% tags=["exercise"] minutes=6 difficulty=2
def neighbor_overlap(x, y, k):
    """Return for each image the share of its k nearest others, by cosine, that are so in both snapshots.

    x: (N, D) features before.
    y: (N, E) features of the same images after.
    k: how many neighbours.
    Returns (N,) numbers from 0 to 1.
    """

    def nearest(features):
        """Return (N, k): for each image the indices of its k most similar others."""
        # >>> solution: similarities of all pairs, −inf for an image and itself, then the k largest
        features = F.normalize(features, dim=1)  # (N, D)
        similarity = features @ features.T  # (N, N)
        similarity.fill_diagonal_(-torch.inf)
        return similarity.topk(k, dim=1).indices
        # <<< solution

    a, b = nearest(x), nearest(y)  # (N, k), (N, k)
    # >>> solution: for each row, count what is in both
    return (a[:, :, None] == b[:, None, :]).any(dim=2).double().mean(dim=1)
    # <<< solution


# %% tags=["check"]
check.neighbor_overlap(neighbor_overlap)

# %% [markdown] tags=["hint"]
# ### Hint
# An image is its own best match, so put −∞ on the diagonal of the similarities:
# `similarity.fill_diagonal_(-torch.inf)`. `similarity.topk(k, dim=1).indices` has the k best of each row. To compare
# each index in one row of `a` with each in the same row of `b`, let both grow by an axis: `a[:, :, None] == b[:,
# None, :]` is (N, k, k). For more, run `check.hint("neighbor_overlap")` in a new cell, once or several times.

# %%
of_exercise = check.yours_or_ours("neighbor_overlap")
k = min(10, N - 1)
in_common = {name: [float(of_exercise(run[0], x, k).mean()) for x in run] for name, run in snapshots.items()}
print(f"You predicted {share_in_common}. Of an image's {k} neighbours, the first and the last network have in common:")
for name, of_run in in_common.items():
    of_first = [row[0] for row in comparison.matrix(name, "Recall@1", "task")]  # R[i][0]
    print(f"  {name:<21} {of_run[-1]:.0%}; Recall@1 on the first {saved.group()}, searched within itself:", end=" ")
    print(f"{of_first[0]:.3f} → {of_first[-1]:.3f} ± {plus_minus(of_first[-1], int((tasks == 0).sum())):.3f}")
print(f"  by chance {k / (N - 1):.1%}")
plots.curves_over_tasks(
    in_common,
    title="Who still has its neighbours?",
    metric="neighbours in common",
    subtitle="share of an image's ten nearest under the first network that are so after a later task too, by cosine",
    end_labels=False,
)

# %% [markdown]
# **What it means.** Most neighbours change, and far fewer searches fail. Both can be true: Recall@1 asks that *some*
# image of the right class is nearest, not that it is the same image as before.
#
# **What it does not show.** Whether the new neighbours are better or worse. This share counts every change as a loss,
# and so do displacement and CKA.
#
# ### The table under the maps
#
# Tick *table* under the maps of section 3: it has the same three measures, and its numbers differ a little from those
# here. It takes the images that are on the map, a part of all test images. For the mean of many images that matters little. But with
# *fewer images around*, the ten nearest are a larger share of all, and by chance alone more of them are in common:

# %%
probe = comparison.probe()  # the images on the maps
measures = {
    "mean displacement": drift.mean_displacement,
    "linear CKA": drift.linear_cka,
    "neighbours in common": lambda x, y: float(drift.neighbor_overlap(x, y, min(10, len(x) - 1)).mean()),
}
winners = {name: [] for name in measures}
print(f"first to last network: on the {len(probe):,} images of the maps / on all {N:,}")
print(f"{'':<22}", *(f"{measure:>22}" for measure in measures))
for name, run in snapshots.items():
    pairs = [(f(run[0][probe], run[-1][probe]), f(run[0], run[-1])) for f in measures.values()]
    print(f"{name:<22}", *(f"{f'{few:.3f} / {all_of:.3f}':>22}" for few, all_of in pairs))
    for measure, (_, all_of) in zip(measures, pairs, strict=True):
        winners[measure].append(-all_of if measure == "mean displacement" else all_of)
least = {measure: list(snapshots)[of.index(max(of))] for measure, of in winners.items()}
print("Least drift, on all images, by " + "; by ".join(f"{measure}: {name}" for measure, name in least.items()))

# %% [markdown]
# So a share of neighbours can be compared only between sets of the same size. (Ten of 500 are not ten of 2,000.) Which
# run drifts least? See the last line, and say by which measure. And which one *searches* best? That is a question for
# Recall@1, and for more than one seed:

# %%
finals = {}  # of each run, its Recall@1 on all classes after the last task, for each seed
for name in RUNS:
    finals[name] = np.array([saved.run(name, seed=s).metrics["summary"]["recall_at_1"] for s in saved.seeds()])
    print(f"{name:<12} Recall@1 with the seeds {saved.seeds()}: {'  '.join(f'{v:.3f}' for v in finals[name])}")
difference = finals["csd-tuned"] - finals["lwf-tuned"]  # the same seed, the same classes and batches
n_seeds = len(difference)
if n_seeds > 1:
    low, high = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    print(f"csd-tuned − lwf-tuned, 95 % interval: {low:+.3f} to {high:+.3f}: ", end="")
    print("it contains 0; these seeds can't tell the two apart." if low <= 0 <= high else "without 0.")
else:
    print("One seed only: nothing can be said about the methods.")

# %% [markdown] minutes=8
# ## 7. Break it: fool a number
#
# Now you are the drift. Below, the features of the last CSD network are changed by hand, in four ways, a little or a
# lot:
#
# - **turn** the whole space, by a growing angle;
# - **keep few directions**: throw away all but the strongest, fewer and fewer;
# - **stretch** the single strongest direction;
# - **gather** each image towards the mean of its class, as a perfect network would.
#
# **Predict** for each change: which of the numbers will notice it, which will sleep? Then choose it in the list
# above the picture.

# %% tags=["predict"]
who_sleeps = {"turn": "?", "keep few directions": "?", "stretch": "?", "gather": "?"}  # your predictions

# %% tags=["break", "widget"]
last = snapshots[csd][-1]
centre = last.mean(dim=0)
U, S, V = torch.linalg.svd(last - centre, full_matrices=False)  # the directions V, from the strongest to the weakest
skew = torch.randn(D, D, generator=torch.Generator().manual_seed(0))
skew = 0.03 * (skew - skew.T)  # the matrix exponential of such a matrix is a rotation
class_means = torch.stack([last[labels == k].mean(dim=0) for k in labels.unique()])  # (C, D)


def keep(k):
    return (U[:, :k] * S[:k]) @ V[:k] + centre


def stretch(times):
    return (U * S * torch.tensor([times] + [1.0] * (len(S) - 1))) @ V + centre


# For each change its steps, and the features (N, D) after each step. You may add a change of your own.
changes = {
    "keep few directions": {str(k): keep(k) for k in (len(S), *(k for k in (32, 16, 8, 4, 2) if k < len(S)))},
    "turn": {str(step): last @ torch.matrix_exp(step * skew) for step in range(6)},
    "stretch": {f"{times}×": stretch(times) for times in (1, 2, 4, 6, 8, 10)},
    "gather": {
        f"{share:.0%}": (1 - share) * last + share * class_means[labels] for share in (0, 0.2, 0.4, 0.6, 0.8, 1)
    },
}
measures = {
    "1 − displacement": lambda y: 1 - drift.mean_displacement(last, y),
    "linear CKA": lambda y: drift.linear_cka(last, y),
    "neighbours in common": lambda y: float(drift.neighbor_overlap(last, y, min(10, N - 1)).mean()),
    "Recall@1": recall_at_1,
}
values = {
    change: {name: [measure(features) for features in steps.values()] for name, measure in measures.items()}
    for change, steps in changes.items()
}
figures = {
    change: plots.lines(
        values[change],
        list(steps),
        title="Which number notices?",
        x_title=change,
        y_title="value",
        subtitle=f"features of the last network of {csd}, changed by hand; unchanged at the left",
        y_range=(min(-0.05, *(min(of) for of in values[change].values())), 1.05),
    )
    for change, steps in changes.items()
}
plots.choose(figures)

# %% [markdown]
# The same for all four changes, at the last step:

# %%
print(f"{'':<20}", *(f"{name:>21}" for name in measures), "  your prediction")
print(f"{'unchanged':<20}", *(f"{measure(last):>21.2f}" for measure in measures.values()))
for change in changes:
    print(f"{change:<20}", *(f"{of[-1]:>21.2f}" for of in values[change].values()), f"  {who_sleeps.get(change)}")

# %% [markdown]
# **What it means.** Each of the numbers can be fooled. Compare the rows with the first one.
#
# - *Keep few directions*: CKA adds up squares, so a few strong directions decide. The search lives on the weak ones too.
#   Look at the curves: which one falls first, and which last?
# - *Turn* alarms displacement alone. Is that a false alarm? If the gallery is indexed again, yes. If old and new
#   features meet in one gallery, displacement is the only number that is awake (notebook 06).
# - *Stretch* makes one direction rule: what becomes of CKA, and what of Recall@1?
# - *Gather* is what everyone who trains such networks hopes for: Recall@1 rises to 1. And all three drift numbers
#   call it drift.
#
# **So:** say which number you use, and why. And put beside it the one that you care about in the end, here Recall@1.
#
# **What it does not show.** These changes are made by hand. Real drift is a mixture, and no number says of what.

# %% [markdown] minutes=9
# ## 8. Is drift the same as forgetting?
#
# A run that moves farther forgets more: it is tempting to think so, and that drift *is* forgetting. Then, within one
# run too, the classes that moved farther should have lost more. Take all classes but those of the last task,
# which had no time to be forgotten. Their images are searched for among those of their own task, so that a growing
# gallery plays no part.
#
# **Predict** the correlation between how far a class has moved and how much of its Recall@1 it has lost, both from its
# own task to the end:

# %% tags=["predict"]
correlation = "no prediction yet"  # 1 is "one line", 0 is "nothing to do with each other", −1 "the more, the less"

# %%
classes = labels[tasks < T - 1].unique().tolist()
own_task = torch.tensor([int(tasks[labels == k][0]) for k in classes])  # (C,)
places = {}  # of each run, (C,) how far its classes have moved, and (C,) how much they have lost
for name, run in snapshots.items():
    found = (comparison.ranks(name, "task") == 1).double()  # (T, N): searched among the images of the own task
    moved, lost = [], []
    for k, own in zip(classes, own_task.tolist(), strict=True):
        of_class = labels == k
        moved += drift.class_mean_displacement(run[own][of_class], run[-1][of_class], labels[of_class]).values()
        lost.append(float(found[own, of_class].mean() - found[-1, of_class].mean()))
    places[name] = torch.tensor(moved), torch.tensor(lost)


def r_between(x, y, n_free):
    """Return the correlation of x and y (C,), and its 95 % interval by Fisher's z, from so many free differences."""
    r = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    half = 1.96 / math.sqrt(n_free - 3) if n_free > 3 else math.inf
    return r, *(math.tanh(math.atanh(max(-0.999, min(r, 0.999))) + end) for end in (-half, half))


print(f"You predicted {correlation}. Over {len(classes)} classes:")
for name, (moved, lost) in places.items():
    r, low, high = r_between(moved, lost, len(classes))
    verdict = "it may be 0" if low <= 0 <= high else "not 0"
    print(f"  {name:<21} moved {moved.mean():.2f}, lost {lost.mean():.2f}; correlation {r:+.2f}", end=" ")
    print(f"(95 %: {low:+.2f} to {high:+.2f}; {verdict})")
by_way, by_loss = (sorted(places, key=lambda name: float(places[name][of].mean())) for of in (0, 1))
print(f"From the least moved to the farthest: {', '.join(by_way)}.")
print(
    f"From the least lost to the most:      {', '.join(by_loss)}: {'the same' if by_way == by_loss else 'another'} order."
)

# %% [markdown]
# Be careful with one number over all classes. They come from several tasks, and tasks differ: the classes of an older
# task have had *more time* to move, and more time to be lost. Then the tasks alone can make a correlation, although
# within no task the class that moves farther loses more; or hide one that is there. That a relation between groups is
# not the one within them is called **Simpson's paradox**. So look task by task: take from each class the mean of its
# task, and correlate what remains.

# %%
for name, (moved, lost) in places.items():
    means = torch.stack(
        [torch.stack([x[own_task == t].mean() for x in (moved, lost)]) for t in range(T - 1)]
    )  # (T − 1, 2)
    print(name)
    print(
        "  mean of a task, moved / lost: "
        + "   ".join(f"task {t}: {m:.2f} / {n:.2f}" for t, (m, n) in enumerate(means))
    )
    over_all, _, _ = r_between(moved, lost, len(classes))
    r, low, high = r_between(moved - means[own_task, 0], lost - means[own_task, 1], len(classes) - T + 2)
    change = "weaker" if abs(r) < abs(over_all) - 0.02 else "stronger" if abs(r) > abs(over_all) + 0.02 else "as strong"
    turned = ", and of the other sign" if r * over_all < 0 else ""
    print(f"  over all classes {over_all:+.2f}; within the tasks {r:+.2f} (95 %: {low:+.2f} to {high:+.2f}):", end=" ")
    print(f"{change}{turned}")

# %% tags=["widget"]
figures = {
    name: plots.points(
        {f"task {t}": tuple(x[own_task == t].tolist() for x in of_run) for t in range(T - 1)},
        title="Did what moved farther lose more?",
        x_title="how far the class mean has turned (1 − cos)",
        y_title="lost Recall@1",
        subtitle=f"{name}: one point for each class of all tasks but the last",
        texts={
            f"task {t}": [comparison.classes[k] for k, own in zip(classes, own_task, strict=True) if own == t]
            for t in range(T - 1)
        },
    )
    for name, of_run in places.items()
}
plots.choose(figures)

# %% [markdown]
# **What it means.** Between the runs, see the two orders above: is it the same run that moved least and lost least?
# Within a run, see the intervals: where 0 lies inside, how far a class has moved does not tell, with so many classes,
# how much it has lost. Points below the line have even gained. Classes that moved
# far may have moved *together*, or to a better place; and a class that hardly moved may be overrun by another. And where
# both intervals contain 0, over all classes and within the tasks, do not explain the difference of the two: then the data
# show neither a relation nor a Simpson's paradox. What they do show is how to look for one.
#
# **What it does not show.** Each class has few test images, so a single class's loss is a rough number: noise alone
# pulls a correlation towards 0. The classes of a run are not independent either, so the intervals are rather too
# narrow. And three runs of one seed are three points: from them no rule can be proved.
#
# ### A question to discuss
#
# A colleague wants to add "keep all features exactly where they are" to the loss, for all images and with a large
# weight. The drift would vanish. What would be gained, and what lost? Use what you have seen in sections 3, 5 and 7.

# %% [markdown] tags=["answer"]
# **A model answer.** Gained: no class would be forgotten through drift, and old and new features could be compared
# without indexing anything again. Lost: the network could hardly learn. To tell new classes apart, features of new
# images must go elsewhere than the old network put them. (The table under the maps of section 3 shows it: look at which
# task the class is from that moved farthest from the first network to the last.) Even for old classes some
# movement is good: "gather" in section 7 moves features and makes the search better, and "turn" moves them and does
# no harm as long as all are turned. So a good loss does not forbid movement, it forbids *harmful* movement. CSD asks
# that a feature stays nearer to what the old network makes of images of its class than to what it makes of others (of
# images of the new task: it has no others); where it lies otherwise is free.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: CKA of features that are not centred; in `neighbor_overlap`, the image
# itself among its neighbours. Many take a map for a proof. Ask for the number beside it each time, and let sections 2
# and 7 be their own attempts to be fooled and to fool. If time is short, sections 1, 5 and 6 are the ones to keep.

# %% [markdown] minutes=5
# ## Summary
#
# - The first network's **plane** follows a few classes: do they still lie apart, and are they still where they were?
#   What is fitted must be judged on images that the fit has not seen.
# - Feature drift is the change of features of the same images from network to network. It is measured on a probe set,
#   and the choice of that set is part of the answer.
# - **Displacement** (1 − cos) notices every movement, also a common rotation that hurts no search.
# - **Linear CKA** is blind to rotation and scale, and dominated by the strongest directions.
# - **Neighbours in common** looks at what the search sees, and takes improvement for drift, as the other two do.
# - A map helps to ask. *Its* quality, trustworthiness and neighbours kept, says how far to trust it.
# - Drift is not forgetting. The measure of the search itself, Recall@1, belongs beside every drift number; and a
#   correlation over groups need not be one within them.
#
# ### Test yourself
#
# <details><summary>1. Two networks of different random seeds are trained on the same images and both search equally
# well. Which of the three numbers would be near "no drift" between them?</summary>
#
# Not displacement: their axes have nothing to do with each other. CKA may be high, if both arrange the classes in a
# similar way: it does not ask for common axes. The neighbours in common will lie between chance and 1: they may agree about the
# classes, and not about who is nearest inside a class.
#
# </details>
#
# <details><summary>2. Someone fits one UMAP to the features before, another to the features after, and points at the
# large movement between the two pictures. What do you say?</summary>
#
# Each fit has axes of its own, so points move even if no feature does. Fit one map to both together, or measure among
# the features.
#
# </details>
#
# <details><summary>3. CKA between the first and the last network is 0.9, but Recall@1 on the first task has halved.
# How can that be?</summary>
#
# The strong directions are as before and dominate CKA; what told similar classes apart lay in weak directions and is
# gone ("keep few directions"). Or the CKA was measured on other images than the recall.
#
# </details>
#
# ### Where to read on
#
# - Kornblith, Norouzi, Lee & Hinton, *Similarity of Neural Network Representations Revisited*, ICML 2019: linear CKA.
# - Ramasesh, Dyer & Raghu, *Anatomy of Catastrophic Forgetting: Hidden Representations and Task Semantics*, ICLR
#   2021: which layers change, seen with CKA.
# - Davari, Horoi, Natik, Lajoie, Wolf & Belilovsky, *Reliability of CKA as a Similarity Measure in Deep Learning*,
#   ICLR 2023: more ways to fool it.
# - McInnes, Healy & Melville, *UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction*, arXiv
#   1802.03426, 2018.
# - Venna & Kaski, *Neighborhood Preservation in Nonlinear Projection Methods*, ICANN 2001: trustworthiness.
# - Fisher, *The Use of Multiple Measurements in Taxonomic Problems*, Annals of Eugenics 1936: the plane.
# - Simpson, *The Interpretation of Interaction in Contingency Tables*, Journal of the Royal Statistical Society B 1951.
# - Wattenberg, Viégas & Johnson, *How to Use t-SNE Effectively*, Distill 2016: what maps of this kind invent.

# %% tags=["claim"]
three = Comparison(saved.runs("finetune", "lwf-tuned", "csd-tuned"), names=("finetune", "lwf", "csd"))
shares = {
    name: [hits.double().mean(dim=1).tolist() for hits in (plane.right, plane.stale)]
    for name, plane in three.planes().items()
}
assert all(right[0] > 0.9 and stale[0] > 0.9 for right, stale in shares.values())
assert all(stale[-1] < right[-1] for right, stale in shares.values())  # drift alone spoils the old means
assert shares["csd"][0][-1] > shares["finetune"][0][-1]
assert shares["csd"][1][-1] > shares["finetune"][1][-1]
far = {name: three.drift_table(name)[three.n_tasks - 2]["mean_displacement"] for name in three.runs}
assert far["csd"] < far["lwf"] < far["finetune"]
trust = {kind: three.maps(kind, progress=False)["csd"].trustworthiness.min() for kind in ("pca", "umap")}
assert trust["umap"] > 0.9 > trust["pca"]

# %%
check.board("mean_displacement", "linear_cka", "neighbor_overlap")
