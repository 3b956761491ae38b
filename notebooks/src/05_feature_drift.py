# %% [markdown] budget_minutes=1
# # Where do the features go?
#
# A network that learns one alphabet after another is, after each of them, another function. Show all these functions
# the same image, and each answers with another feature. This is **feature drift**. It can be seen on a map, and it
# can be measured; and neither the map nor a single number tells the whole story.
#
# After this notebook you can
#
# - say how far features have moved, in three numbers: displacement, linear CKA, and neighbours kept;
# - say what each of these numbers does *not* notice, and choose one for a purpose;
# - read a PCA or UMAP map of drifting features, with a number beside it that says how far to trust it.
#
# | section | minutes |
# | --- | --- |
# | 1. One space, five networks | 6 |
# | 2. How far has an image moved? *Exercise 1* | 8 |
# | 3. Moved, or only turned? *Exercise 2: linear CKA* | 15 |
# | 4. Who are its neighbours now? *Exercise 3* | 10 |
# | 5. Break it: fool a number | 8 |
# | 6. What a map can show | 6 |
# | 7. Is drift the same as forgetting? | 7 |
# | Summary and self-test | 5 |
#
# **Computing:** at most one minute in all, on two CPU cores; on a Colab GPU no more. **Needs:** nothing from the
# other notebooks. It reads the small saved runs that come with the kit. After the two set-up cells you may start with
# any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, saved runs and their snapshots"
import torch
import torch.nn.functional as F
from plotly.subplots import make_subplots

from csd_edu import check, drift, metrics, plots, saved, widgets
from csd_edu.comparison import Comparison

comparison = Comparison(saved.runs("finetune", "csd"))
labels, tasks = comparison.labels, comparison.tasks  # (N,) the class of each test image, and the task that teaches it
snapshots = {name: comparison.snapshots(name) for name in comparison.runs}  # of each run, T tensors (N, D)


def recall_at_1(features):
    """Return Recall@1 among all test images, queries and gallery under the same network: features (N, D)."""
    return metrics.recall_at_k(features, labels, features, labels, exclude_self=True)[1]


T, (N, D) = comparison.n_tasks, snapshots["csd"][0].shape
print(f"{' and '.join(snapshots)}: {T} networks each, and from each of them {N:,} features of {D} numbers")

# %% [markdown] minutes=6
# ## 1. One space, five networks
#
# Both runs begin with the same network, trained on the first alphabet. Then they part. *finetune* only learns the new
# signs; *csd* also keeps the features close to those of the network before. After each task, both are asked for the
# features of the same test images. We call the features of all images under one network a **snapshot**.
#
# Below, all snapshots of both runs lie on *one* map, so a point that has moved is a feature that has moved. Each
# point is an image. Grey open points belong to alphabets that are still to come.
#
# 1. Move the slider from 0 to 4. What becomes of the first alphabet, blue, when the others come?
# 2. Choose *found or not* as the colour. Are the points that moved the ones that are not found?
# 3. Click on a point. You see the image, and its nearest images under that network.

# %% tags=["widget"]
widgets.DriftExplorer(comparison)

# %% [markdown]
# Two things can be seen at once. Everything moves, in both runs. And the points of a run do not move each for itself:
# in the last step, fine-tuning presses most of them into one corner, while under CSD they stay spread out. But how
# far is far? A distance on a map is not a distance between features: of 64 directions the map shows two. So we
# measure in all 64. The table under the map has three such measures; the next sections build them one by one.

# %% [markdown] minutes=8
# ## 2. How far has an image moved?
#
# The search compares features by their direction, so we measure a change of direction. Let $x_i$ be the feature of
# image $i$ before, and $y_i$ after. The **mean displacement** is
#
# $$\frac{1}{N}\sum_i \bigl(1 - \cos(x_i, y_i)\bigr),
# \qquad \cos(x, y) = \frac{x \cdot y}{\lVert x\rVert\,\lVert y\rVert}$$
#
# It is 0 if no feature has turned, and 1 if each has turned by a right angle. **Make a guess** before you measure:

# %% tags=["predict"]
moved_farther = "csd"  # your prediction: "finetune", "csd" or "both the same"

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
# The library's function is `drift.mean_displacement`. From here on the notebook uses that one. Now all networks, each
# compared with the first:

# %%
of_exercise = check.yours_or_ours("mean_displacement")
print(f"finetune, first to last network: {of_exercise(snapshots['finetune'][0], snapshots['finetune'][-1]):.3f}")
displacement = {name: [drift.mean_displacement(run[0], x) for x in run] for name, run in snapshots.items()}
unit = F.normalize(snapshots["csd"][0], dim=1)
apart = float((1 - unit @ unit.T).sum() / (N * (N - 1)))  # between two different images, under the first network

far, near = sorted(displacement, key=lambda name: -displacement[name][-1])
print(f"You guessed that {moved_farther!r} has moved farther in the end. It is {far!r}:")
print(f"{displacement[far][-1]:.3f}, and {displacement[near][-1]:.3f} with {near!r}.")
print(f"Two different images were {apart:.3f} apart under the first network, on average.")
plots.curves_over_tasks(
    displacement,
    title="How far from the first network?",
    metric="mean displacement",
    subtitle="mean of 1 − cos between an image's feature after task 0 and after a later task",
)

# %% [markdown]
# **What it means.** The last line above the picture is the yardstick. In the end, an image is farther from its own
# old feature than two *different* images were from each other on average, with either method. The largest step comes
# right after task 0. CSD makes it smaller, but does not prevent it.
#
# **What it does not show.** Whether the search suffers. If all features move together, each image may keep its
# neighbours. The next section takes this to its extreme.

# %% [markdown] minutes=15
# ## 3. Moved, or only turned?
#
# Take the features of the last CSD network and turn the whole space, as one turns a globe: multiply all features by
# one orthogonal matrix $Q$. Distances and angles between images stay as they are. **Guess** what becomes of two
# numbers:

# %% tags=["predict"]
displacement_after_turning = 0.0  # your prediction: a number from 0 (nothing turned) to 1 (right angles) or more
recall_after_turning = "falls"  # your prediction: "falls", "stays" or "rises"

# %%
last = snapshots["csd"][-1]
Q = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0))).Q  # a random rotation: QᵀQ = 1
turned = last @ Q  # (N, D)

print(f"displacement: you guessed {displacement_after_turning}, it is {drift.mean_displacement(last, turned):.3f}")
print(f"Recall@1:     you guessed that it {recall_after_turning}; {recall_at_1(last):.3f} → {recall_at_1(turned):.3f}")

# %% [markdown]
# Every feature is somewhere else, and no search result has changed. A measure that should tell whether the *geometry*
# has changed, who is near whom, must be blind to turning. **Linear CKA** (centred kernel alignment) is one:
#
# $$\mathrm{CKA}(X, Y) = \frac{\lVert X^\top Y\rVert_F^2}{\lVert X^\top X\rVert_F \,\lVert Y^\top Y\rVert_F}
# \qquad\text{with the mean of each column taken away first.}$$
#
# $X$ and $Y$ are two snapshots with one row for each image, and $\lVert M\rVert_F$ is the root of the sum of all
# squared entries. $X^\top Y$ has the covariance of each feature of the one network with each of the other. CKA is 1
# if the two spaces are the same up to turning and scaling, and small if they have little in common.
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
# Now for the real networks. **Guess**: which run keeps the geometry of the first network better, so that the CKA
# between its first and its last network is higher?

# %% tags=["predict"]
better_kept = "csd"  # your prediction: "finetune" or "csd"

# %%
of_exercise = check.yours_or_ours("linear_cka")
print(f"the last CSD network and itself: {of_exercise(snapshots['csd'][-1], snapshots['csd'][-1]):.3f}")
tables = {name: drift.displacement_table(run, labels) for name, run in snapshots.items()}
first_to_last = {name: drift.linear_cka(run[0], run[-1]) for name, run in snapshots.items()}
print(f"You guessed {better_kept!r}. CKA from the first to the last network, on the images of all alphabets:")
for name, value in first_to_last.items():
    print(f"  {name:<9} {value:.3f}")
plots.drift_matrices(tables)

# %% [markdown]
# Most cells are higher with CSD. But the one in the corner, from the first network to the last, is not. Before you
# explain it, ask *which images* were measured. Four of the five alphabets were new to the first network. On those, a
# network that learns something **must** change. Here is the number of the corner for each alphabet alone:

# %%
print(f"CKA from the first to the last network, on the images of one {saved.group()} only")
print(f"{saved.group():<16} ", *(f"{name:>10}" for name in snapshots))
for t, alphabet in enumerate(saved.task_names()):
    of_task = tasks == t
    values = [drift.linear_cka(run[0][of_task], run[-1][of_task]) for run in snapshots.values()]
    print(f"{alphabet:<12} ({t})  ", *(f"{value:>10.3f}" for value in values))

# %% [markdown]
# **What it means.** Only the first alphabet had been learnt by the first network; only there is change a loss. And
# there CSD has kept more of the geometry. On the other alphabets sometimes one run is ahead and sometimes the other:
# there, change may be learning. So choose the images that you measure on, the *probe set*, with the question in mind.
# For forgetting, take images that the earlier network had learnt.
#
# **What it does not show.** This is one run of each method, from one seed. A difference of a few hundredths may be
# luck. Notebook 07 shows how to tell.

# %% [markdown] minutes=10
# ## 4. Who are its neighbours now?
#
# The search asks only for the nearest images. So ask directly: of the k nearest neighbours that an image had, how
# many does it still have? For image $i$ with the neighbours $A_i$ before and $B_i$ after, its **neighbour overlap**
# is
#
# $$\frac{|A_i \cap B_i|}{k}$$
#
# It is 1 if all neighbours are the same, and 0 if all are others. **Guess**, for k = 10:

# %% tags=["predict"]
share_kept = 0.8  # your prediction: the share of its neighbours that an image keeps under CSD, first to last network

# %% [markdown]
# ### Exercise 3: neighbour overlap


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
print(f"CSD, first to last network: {of_exercise(snapshots['csd'][0], snapshots['csd'][-1], 10).mean():.3f}")
overlap = {name: [float(drift.neighbor_overlap(run[0], x).mean()) for x in run] for name, run in snapshots.items()}
print(
    f"You guessed that an image keeps {share_kept:.0%} of its ten neighbours. It is {overlap['csd'][-1]:.0%} with CSD,"
)
print(f"and {overlap['finetune'][-1]:.0%} with fine-tuning. By chance it would be {10 / (N - 1):.0%}.")
for name in snapshots:
    of_first = [row[0] for row in comparison.matrix(name, "Recall@1", "task")]  # R[i][0]
    print(
        f"Recall@1 on the first {saved.group()}, searched within itself, by {name}: {of_first[0]:.3f} → {of_first[-1]:.3f}"
    )
plots.curves_over_tasks(
    overlap,
    title="Who still has its neighbours?",
    metric="neighbour overlap",
    subtitle="share of an image's ten nearest under the first network that are so after a later task too, by cosine",
)

# %% [markdown]
# **What it means.** After a single further task most neighbours are others, in both runs. Yet with CSD the search on
# the first alphabet did not get worse. Both can be true: Recall@1 asks that *some* image of the right class is
# nearest, not that it is the same image as before.
#
# **What it does not show.** Whether the new neighbours are better or worse. Overlap counts every change as a loss,
# and so do displacement and CKA.

# %% [markdown] minutes=8
# ## 5. Break it: fool a number
#
# Now you are the drift. Below, the features of the last CSD network are changed by hand, in four ways, a little or a
# lot:
#
# - **turn** the whole space, by a growing angle;
# - **keep few directions**: throw away all but the strongest 32, 16, 8, 4, 2 of 64;
# - **stretch** the single strongest direction;
# - **gather** each image towards the mean of its class, as a perfect network would.
#
# **Guess first**, for each change: which of the numbers will notice it, which will sleep? Then choose it in the list
# above the picture.

# %% tags=["predict"]
who_sleeps = {"turn": "?", "keep few directions": "?", "stretch": "?", "gather": "?"}  # your predictions

# %% tags=["break", "widget"]
last = snapshots["csd"][-1]
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
    "neighbour overlap": lambda y: float(drift.neighbor_overlap(last, y).mean()),
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
        subtitle="features of the last CSD network, changed by hand; unchanged at the left",
        y_range=(-0.05, 1.05),
    )
    for change, steps in changes.items()
}
plots.choose(figures)

# %% [markdown]
# The same for all four changes, at the last step:

# %%
print(f"{'':<20}", *(f"{name:>17}" for name in measures), "  your prediction")
print(f"{'unchanged':<20}", *(f"{measure(last):>17.2f}" for measure in measures.values()))
for change in changes:
    print(f"{change:<20}", *(f"{of[-1]:>17.2f}" for of in values[change].values()), f"  {who_sleeps.get(change)}")

# %% [markdown]
# **What it means.** Each of the numbers can be fooled.
#
# - *Keep few directions*: at four of 64, CKA is still high, while more than half of the neighbours and of the right
#   answers are gone. CKA adds up squares, so a few strong directions decide; the search lives on the weak ones too.
# - *Turn* alarms displacement alone. Is that a false alarm? If the gallery is indexed again, yes. If old and new
#   features meet in one gallery, displacement is the only number that is awake (notebook 06).
# - *Stretch* is a large change for CKA, and a smaller one for Recall@1.
# - *Gather* is what everyone who trains such networks hopes for: Recall@1 rises to 1. And all three drift numbers
#   call it drift.
#
# **So:** say which number you use, and why. And put beside it the one that you care about in the end, here Recall@1.
#
# **What it does not show.** These changes are made by hand. Real drift is a mixture, and no number says of what.

# %% [markdown] minutes=6
# ## 6. What a map can show
#
# A map presses 64 directions into two. There are two common ways:
#
# - **PCA** keeps the two directions in which the points vary most. It is linear: a straight movement stays straight.
#   But what differs only in the other directions falls together.
# - **UMAP** tries to put neighbours beside neighbours. It bends the space for that, so distances between groups, and
#   the sizes of groups, mean little.
#
# Both are fitted to all snapshots *together*. If each snapshot had a map fitted to it alone, each would have axes of
# its own, and points would seem to move where no feature did.
#
# Here are all five snapshots of the CSD run at once, coloured by the network that made the feature. Each image is
# there five times. Before you look: do the five networks use *one* part of the space, or a part each?

# %% tags=["predict"]
networks_lie = "together"  # your prediction: "together" or "apart"

# %% tags=["folded"] title="Draw both maps, PCA and UMAP"
maps = {kind: comparison.maps(kind)["csd"] for kind in ("pca", "umap")}
on_map = maps["pca"].indices  # the images on the maps: a sample, equally many of each class
figure = make_subplots(1, 2, subplot_titles=["PCA", "UMAP"], horizontal_spacing=0.04)
for column, one in enumerate(maps.values(), 1):
    for t, points in enumerate(one.points):
        marker = {"color": plots.turn(t).color, "symbol": plots.turn(t).symbol, "size": 5, "opacity": 0.7}
        about = {"name": f"after task {t}", "legendgroup": t, "showlegend": column == 1, "hoverinfo": "skip"}
        figure.add_scatter(x=points[:, 0], y=points[:, 1], mode="markers", marker=marker, **about, row=1, col=column)
frame = {"showticklabels": False, "showgrid": False, "showline": True, "mirror": True, "linecolor": plots.GRID}
figure.update_xaxes(frame).update_yaxes(frame)
about = "CSD: each test image under the network after each task"
plots.finished(figure, "One image, five features", [about], 400, legend=True)
figure.update_layout(margin_r=20, margin_l=20, legend={"y": -0.04, "itemsizing": "constant"})

# %% [markdown]
# The two maps disagree. So ask the features themselves, in all 64 directions: of the ten features nearest to a
# feature, how many were made by the same network?

# %%
everything = torch.cat(snapshots["csd"])  # (T·N, D)
network = torch.arange(T).repeat_interleave(N)  # (T·N,)
unit = F.normalize(everything, dim=1)
asking = torch.arange(0, T * N, 7)  # some of them are enough
similarity = unit[asking] @ unit.T
similarity[torch.arange(len(asking)), asking] = -torch.inf  # not itself
nearest = similarity.topk(10, dim=1).indices
same_network = float((network[nearest] == network[asking, None]).double().mean())
print(f"{same_network:.0%} of the ten nearest were made by the same network; {1 / T:.0%} if it made no difference.")
print(f"You guessed that the networks lie {networks_lie!r}.")
print("\nOf an image's ten nearest under one network, how many are among its ten nearest on the map?")
for kind, one in maps.items():
    after_each = "  ".join(f"{kept:.0%}" for kept in one.neighbors_kept)
    print(f"  {kind.upper():<5} after task 0 … {T - 1}:  {after_each}")
print(f"  by chance: {10 / (len(on_map) - 1):.0%}")

# %% [markdown]
# **What it means.** The UMAP is right about one thing that the PCA hides: each network answers in a dialect of its
# own, and a feature's neighbours are mostly features of the same network. How *far* the patches are from each other,
# it cannot say. (Remember the patches: they decide what happens in notebook 06.) And for the neighbours of a single
# image neither map is reliable: UMAP keeps more of them than PCA, both far more than chance, and yet most true
# neighbours are elsewhere.
#
# The **trustworthiness** below the maps of section 1 is milder: it counts false neighbours only, and forgives one
# that was nearly true. It is 1 without any intruder, and about ½ for a map drawn at random.
#
# So a map is a place to find questions. The answers come from the features themselves, as in the sections before.

# %% [markdown] minutes=7
# ## 7. Is drift the same as forgetting?
#
# The features of fine-tuning moved farther, and fine-tuning forgets more. It is tempting to conclude that drift *is*
# forgetting. Then, within one run too, the classes that moved farther should have lost more. Ask all classes
# but those of the last alphabet, which had no time to be forgotten. Their images are searched for among those of their
# own alphabet, so that a growing gallery plays no part.
#
# **Guess** the correlation between how far a class has moved and how much of its Recall@1 it has lost, both from its
# own task to the end:

# %% tags=["predict"]
correlation = 0.8  # your prediction: 1 is "one line", 0 is "nothing to do with each other", −1 "the more, the less"

# %%
classes = labels[tasks < T - 1].unique().tolist()
places = {}  # of each run how far its classes have moved, and how much they have lost
for name, run in snapshots.items():
    found = (comparison.ranks(name, "task") == 1).double()  # (T, N): searched among the images of the own alphabet
    moved, lost = [], []
    for k in classes:
        of_class = labels == k
        own = int(tasks[of_class][0])  # the task that teaches this class
        moved.append(drift.class_mean_displacement(run[own], run[-1], labels)[k])
        lost.append(float(found[own, of_class].mean() - found[-1, of_class].mean()))
    truth = float(torch.corrcoef(torch.tensor([moved, lost]))[0, 1])
    means = f"moved {sum(moved) / len(moved):.2f} and lost {sum(lost) / len(lost):.2f} on average"
    print(f"{name:<9} {means}; correlation {truth:+.2f} over {len(moved)} classes, you guessed {correlation:+.2f}")
    places[name] = moved, lost
plots.points(
    places,
    title="Did what moved farther lose more?",
    x_title="how far the class mean has turned (1 − cos)",
    y_title="lost Recall@1",
    subtitle=f"one point for each class of all {saved.group()}s but the last",
    texts={name: [comparison.classes[k] for k in classes] for name in places},
)

# %% [markdown]
# **What it means.** Between the two methods the rule holds: less movement, less loss. Within a run it does not: how
# far a class has moved says little about how much it has lost, and points below the line have even gained. Classes
# that moved far may have moved *together*, or to a better place; and a class that hardly moved may be overrun by
# another.
#
# **What it does not show.** Each class has few test images, so a single class's loss is a rough number: noise alone
# pulls a correlation towards 0. And two methods are two points: from them no rule can be proved.
#
# ### A question to discuss
#
# A colleague wants to add "keep all features exactly where they are" to the loss, for all images and with a large
# weight. The drift would vanish. What would be gained, and what lost? Use what you have seen in sections 3 and 5.

# %% [markdown] tags=["answer"]
# **A model answer.** Gained: no class would be forgotten through drift, and old and new features could be compared
# without indexing anything again. Lost: the network could hardly learn. To tell new classes apart, features of new
# images must go elsewhere than the old network put them; section 3 showed that they do. Even for old classes some
# movement is good: "gather" in section 5 moves features and makes the search better, and "turn" moves them and does
# no harm as long as all are turned. So a good loss does not forbid movement, it forbids *harmful* movement. CSD asks
# that a feature stays nearer to the old features of its own class than to those of other classes; where it lies
# otherwise is free.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: CKA of features that are not centred; in `neighbor_overlap`, the image
# itself among its neighbours. Many take a map for a proof. Ask for the number beside it each time, and let section 5 be
# their own attempt to fool you. If time is short, sections 3 and 6 are the ones to keep.

# %% [markdown] minutes=5
# ## Summary
#
# - Feature drift is the change of features of the same images from network to network. It is measured on a probe set,
#   and the choice of that set is part of the answer.
# - **Displacement** (1 − cos) notices every movement, also a common rotation that hurts no search.
# - **Linear CKA** is blind to rotation and scale, and dominated by the strongest directions.
# - **Neighbour overlap** looks at what the search sees, and takes improvement for drift, as the other two do.
# - A map helps to ask. A number beside it says how far to trust it.
# - Drift is not forgetting. The measure of the search itself, Recall@1, belongs beside every drift number.
#
# ### Test yourself
#
# <details><summary>1. Two networks of different random seeds are trained on the same images and both search equally
# well. Which of the three numbers would be near "no drift" between them?</summary>
#
# Not displacement: their axes have nothing to do with each other. CKA may be high, if both arrange the classes in a
# similar way: it does not ask for common axes. The overlap will lie between chance and 1: they may agree about the
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
# - Wattenberg, Viégas & Johnson, *How to Use t-SNE Effectively*, Distill 2016: what maps of this kind invent.

# %%
check.board("mean_displacement", "linear_cka", "neighbor_overlap")
