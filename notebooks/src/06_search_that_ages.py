# %% [markdown] budget_minutes=1
# # Must a search index be made anew for every new network?
#
# A search engine stores the features of its images in an index, the **gallery**. When the network learns something
# new, the queries of tomorrow come from another network than the features stored yesterday. To compute all of them
# again costs a pass through the network for every image, and it needs the images, which may be gone. So many engines
# wait, and their index gets **stale**.
#
# After this notebook you can
#
# - measure what a search finds in a stale gallery, and say why it fails;
# - tell lost queries from won ones, behind one and the same Recall@1;
# - weigh three remedies: index everything again, index a part again, or translate the old features.
#
# | section | minutes |
# | --- | --- |
# | 1. An index that grows | 7 |
# | 2. Recall in a stale gallery. *Exercise 1: stale recall* | 14 |
# | 3. Where do the queries look? | 8 |
# | 4. Lost queries. *Exercise 2* | 12 |
# | 5. How much must be indexed again? | 6 |
# | 6. Translate instead. *Exercise 3* | 14 |
# | 7. Break it: somebody else's index | 8 |
# | Summary and self-test | 5 |
#
# **Computing:** at most one minute in all, on two CPU cores; on a Colab GPU no more. **Needs:** nothing from the
# other notebooks. It reads the small saved runs that come with the kit. After the two set-up cells you may start with
# any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, saved runs, and three helpers"
import torch
import torch.nn.functional as F

from csd_edu import check, drift, metrics, pictures, plots, saved, widgets
from csd_edu.comparison import Comparison
from csd_edu.retrieval import Gallery

comparison = Comparison(saved.runs("finetune", "lwf", "csd"))
labels, tasks = comparison.labels, comparison.tasks  # (N,) the class of each test image, and the task that teaches it
snapshots = {name: [F.normalize(x, dim=1) for x in comparison.snapshots(name)] for name in comparison.runs}
T, (N, D) = comparison.n_tasks, snapshots["csd"][0].shape  # each run has T snapshots (N, D): one after each task


def as_it_grew(run):
    """Return the stale gallery (N, D): each image as the network of its own task left it."""
    return torch.stack(run)[tasks, torch.arange(N)]


def recall_at_1(queries, gallery, of=slice(None)):
    """Return Recall@1 of the same images (N, D) as queries and as gallery, or of some of them among each other."""
    search = (queries[of], labels[of], gallery[of], labels[of])
    return metrics.recall_at_k(*search, exclude_self=True)[1]


def least_squares_translation(gallery, old, new, ridge=0.1):
    """Translate stored features (G, D) with the same M images by an old and a new network, (M, D) each, as dictionary."""
    a, b = old - old.mean(dim=0), new - new.mean(dim=0)
    a = torch.cat([a, ridge**0.5 * torch.eye(a.shape[1])])  # the penalty on W, as D more rows of the problem
    b = torch.cat([b, torch.zeros(a.shape[1], b.shape[1])])
    return (gallery - old.mean(dim=0)) @ torch.linalg.lstsq(a, b).solution + new.mean(dim=0)


print(f"{', '.join(snapshots)}: {T} networks each, and from each of them {N:,} features of {D} numbers")

# %% [markdown] minutes=7
# ## 1. An index that grows
#
# Five alphabets arrive one after another. After each, the network of that day turns the new images into features, and
# these go into the gallery. `Gallery` is the library's: `add` stores features under ids, `search` finds the most
# similar by cosine. Nothing that is stored is touched again.

# %%
run = snapshots["csd"]
grown, renewed = Gallery(D), Gallery(D)
for t in range(T):
    ids = (tasks == t).nonzero()[:, 0]  # the images of task t
    grown.add(run[t][ids], ids)  # their features under the network after task t
    print(f"after task {t}: {len(grown):>5,} images in the gallery, by {t + 1} different network{'s' * (t > 0)}")
renewed.add(run[-1])  # all images under the newest network: everything indexed again
print(f"indexed again: {len(renewed):>5,} images in the gallery, by 1 network")

# %% [markdown]
# Now somebody asks, with the newest network. Below is the first query from the first alphabet that is answered
# rightly where everything was indexed again, and wrongly in the gallery as it grew.

# %%
everyone = torch.arange(N)
found = {
    name: gallery.search(run[-1], 7, exclude_ids=everyone)[1]  # (N, 7) ids; no image finds itself
    for name, gallery in (("indexed again", renewed), ("as it grew", grown))
}
right = {name: labels[ids[:, 0]] == labels for name, ids in found.items()}  # (N,) is the nearest of the query's class?
wanted = right["indexed again"] & ~right["as it grew"] & (tasks == 0)
query = int(wanted.int().argmax())  # the first of them; query 0 if there is none
rows = {}
for name, ids in found.items():
    marks = ["right" if labels[i] == labels[query] else "wrong" for i in ids[query]]
    rows[name] = [pictures.shown(comparison, query, "query")]
    rows[name] += [pictures.shown(comparison, int(i), mark) for i, mark in zip(ids[query], marks, strict=True)]
    print(f"{name + ':':<15} found images of the tasks {tasks[ids[query]].tolist()}")
plots.retrieval_strips(
    rows, title="One query, two galleries", subtitle=["the newest CSD network asks; most similar first"]
)

# %% [markdown]
# The images are the same, and so is the query. Only who computed the stored features differs. Read the line above the
# picture: in the gallery as it grew, of which tasks are the images that were found? Keep this in mind for section 3.

# %% [markdown] minutes=14
# ## 2. Recall in a stale gallery
#
# One query is an anecdote. Let all test images ask. With $s_T(i)$ the feature of image $i$ under the newest network,
# and $s_{t(i)}(i)$ under the network of its own task $t(i)$, image $i$ finds
#
# $$\arg\max_{j \ne i} \; \cos\bigl(s_T(i),\; s_{t(j)}(j)\bigr)$$
#
# and **stale recall** is the share of images for which it has the right class.
#
# **Guess** it for CSD, after the last task:

# %% tags=["predict"]
stale_by_csd = 0.40  # your prediction: a share from 0 to 1
print(
    f"For comparison: if everything is indexed again, it is {recall_at_1(snapshots['csd'][-1], snapshots['csd'][-1]):.3f}."
)

# %% [markdown]
# ### Exercise 1: stale recall


# %% tags=["exercise"] minutes=9 difficulty=2
def stale_recall(snapshots, labels, tasks):
    """Return Recall@1 after the last task in a gallery that was never indexed again.

    snapshots: a list of T tensors (N, D), the features of all N images under the network after each task.
    labels: (N,) the class of each image.
    tasks: (N,) the task of each image, 0 to T − 1.
    Returns a number from 0 to 1.
    """
    # >>> solution: build the gallery task by task, compare by cosine, leave out the query itself
    gallery = snapshots[-1].clone()  # (N, D)
    for task, features in enumerate(snapshots):
        gallery[tasks == task] = features[tasks == task]  # as this task's own network left them
    similarity = F.normalize(snapshots[-1], dim=1) @ F.normalize(gallery, dim=1).T  # (N, N)
    similarity.fill_diagonal_(-torch.inf)  # no query finds itself
    nearest = similarity.argmax(dim=1)  # (N,)
    return (labels[nearest] == labels).float().mean().item()
    # <<< solution


# %% tags=["check"]
check.stale_recall(stale_recall)

# %% [markdown] tags=["hint"]
# ### Hint
# `snapshots[t]` has *all* images under the network after task t. Only the rows with `tasks == t` were stored then. So
# start from a copy of one snapshot and overwrite its rows, task by task. For more, run `check.hint("stale_recall")`
# in a new cell, once or several times.

# %% [markdown]
# The library does this in `metrics.query_ranks(…, protocol="stale")`; `protocol="seen"` is the gallery indexed again.
# Both, after each task:

# %%
of_exercise = check.yours_or_ours("stale_recall")
print(f"CSD: {of_exercise(snapshots['csd'], labels, tasks):.3f}")
curves = {}
for name in ("finetune", "csd"):
    for protocol, words in (("seen", "indexed again"), ("stale", "stale")):
        ranks = comparison.ranks(name, protocol)  # (T, N): 1 is a hit, 0 a query of a task to come
        curves[f"{name} ({words})"] = [float((row[row > 0] == 1).double().mean()) for row in ranks]
print(f"You guessed {stale_by_csd:.3f} for CSD after the last task. It is {curves['csd (stale)'][-1]:.3f}.")
plots.curves_over_tasks(curves, title="An index gets old", metric="Recall@1", end_labels=False)

# %% [markdown]
# Task by task, in the stale gallery:

# %%
stale = {name: comparison.matrix(name, "Recall@1", "stale") for name in comparison.runs}
plots.task_matrices(stale, title="Recall@1", protocol="stale")

# %% [markdown]
# **What it means.** The newest alphabet, on the diagonal, is found well: its images have just been indexed, by the
# network that asks. The old alphabets are hardly found at all. This holds for CSD too, whose features forget little:
# indexed again, they find the old images well (the upper green line). The knowledge is there, but the stored features
# are written in a language that the queries no longer speak.
#
# **What it does not show.** That it must be so. These networks are small, and they learn each alphabet with a large
# learning rate. The paper takes one that is a hundred times smaller after the first task, which should make features
# drift less.

# %% [markdown] minutes=8
# ## 3. Where do the queries look?
#
# The stored features come from five networks. **Guess**: when an image of an old alphabet asks, how often is the
# nearest stored feature one of the *newest* network, that is, an image of an alphabet that cannot be right?

# %% tags=["predict"]
from_newest = {"finetune": 0.2, "lwf": 0.2, "csd": 0.2}  # your predictions: shares from 0 to 1

# %%
shares = {}  # of each run, for each task but the last
for name, run in snapshots.items():
    similarity = run[-1] @ as_it_grew(run).T  # (N, N)
    nearest = similarity.fill_diagonal_(-torch.inf).argmax(dim=1)
    newest = (tasks[nearest] == T - 1).double()  # (N,)
    truth = float(newest[tasks < T - 1].mean())
    print(f"{name:<9} {truth:>5.0%} of the old {saved.group()}s' queries; you guessed {from_newest[name]:.0%}")
    shares[name] = [float(newest[tasks == t].mean()) for t in range(T - 1)]
plots.bars(
    shares,
    [f"queries of task {t}" for t in range(T - 1)],
    title="The newest features attract everyone",
    y_title="share of queries",
    subtitle="share of queries whose nearest stored feature was made by the newest network",
    form=".0%",
    top=1.12,
)

# %% [markdown]
# Each network has a dialect. A query by the newest network is nearest to what the newest network has stored, whatever
# is on the image. With fine-tuning and LwF that is always so; with CSD, mostly.
#
# But is that all? Take the newest alphabet out of the gallery. Below, only images of the *first* alphabet ask and are
# found. Row i: the network after task i asks. Column j: the network after task j has stored *all* of them. So there
# is one dialect in the gallery, and nobody attracts by being new.

# %%
first = tasks == 0
others = int((labels[first] == labels[first][0]).sum()) - 1  # images of the same class, beside the query
chance = others / (int(first.sum()) - 1)
crossed = {
    n: [[recall_at_1(asking, stored, first) for stored in run] for asking in run] for n, run in snapshots.items()
}
figure = plots.task_matrices(
    crossed,
    title="Does one network understand another?",
    protocol=f"only images of the first {saved.group()} ask and are found",
    formula=f"Recall@1 for queries by the network after task i in a gallery by the network after task j; chance: {chance:.2f}",
)
figure.update_xaxes(title_text="gallery after task").update_yaxes(title_text="queries after task", col=1)

# %% [markdown]
# **What it means.** With fine-tuning and LwF, two different networks of one run understand each other little better
# than chance. With CSD they do, clearly: it was trained to keep the features of a class near the previous network's
# features of that class, and far from those of other classes. So CSD makes the features of different networks
# *comparable*. In a gallery of several dialects that is not enough.
#
# **What it does not show.** The last row of CSD is the one that counts today, and it is not high. "Comparable" is not
# "as good as new": compare with the diagonal.

# %% [markdown] minutes=12
# ## 4. Lost queries
#
# Recall@1 is a mean, and a mean hides who has changed. A query is **lost** if it was found right after its own task
# and is not found in the end; it is **won** in the opposite case.
#
# ### Exercise 2: queries no longer found


# %% tags=["exercise"] minutes=5 difficulty=1
def no_longer_found(ranks, tasks):
    """Return which queries were found right after their own task, but are not found in the end.

    ranks: (T, N) integers; ranks[t, i] is the rank of the first right answer to query i after task t. 1 is a hit.
    tasks: (N,) the own task of each query.
    Returns (N,) booleans.
    """
    # >>> solution: the rank after the own task, the rank in the end, and what changed between them
    then = ranks[tasks, torch.arange(len(tasks))]  # (N,)
    now = ranks[-1]  # (N,)
    return (then == 1) & (now != 1)
    # <<< solution


# %% tags=["check"]
check.no_longer_found(no_longer_found)

# %% [markdown] tags=["hint"]
# ### Hint
# `ranks[tasks, torch.arange(len(tasks))]` takes from column i the row of its own task. The end is the last row,
# `ranks[-1]`. Two conditions with `&` between them, each in brackets. For more, run `check.hint("no_longer_found")` in
# a new cell, once or several times.

# %% [markdown]
# The library's `metrics.query_changes` returns the lost, and the kept, won and missed queries besides. For both
# galleries:

# %%
of_exercise = check.yours_or_ours("no_longer_found")
print(f"lost by CSD in the stale gallery: {int(sum(of_exercise(comparison.ranks('csd', 'stale'), tasks)))}")
print(f"{'':<9} {'gallery':<14}" + "".join(f"{change:>8}" for change in ("kept", "lost", "won", "missed")))
for name in comparison.runs:
    for protocol, words in (("seen", "indexed again"), ("stale", "stale")):
        changes = comparison.changes(name, protocol)
        print(f"{name:<9} {words:<14}" + "".join(f"{int(mask.sum()):>8}" for mask in changes.values()))
lost = comparison.changes("csd", "stale")["lost"]
misfiled = lost & (comparison.ranks("csd", "seen")[-1] == 1)
print(
    f"Of the {int(lost.sum())} queries that CSD loses in the stale gallery, {int(misfiled.sum())} are found if all is indexed again."
)

# %% [markdown]
# From the own task of each query to the end, Recall@1 falls by (lost − won) / N. The same fall may be few lost and
# none won, or many lost and many won; for the user whose query is lost that is not the same. Look at single queries:
# choose *lost* and *by csd*, step through them, and change the gallery from *stale* to *seen*.

# %% tags=["widget"]
widgets.RetrievalExplorer(*saved.runs("finetune", "csd"), protocol="stale")

# %% [markdown]
# **What it means.** Look at the last number above. Many queries that CSD loses in the stale gallery are found if all
# is indexed again. They are not forgotten; the answers are misfiled. And in the stale gallery hardly any query is
# won, while with the gallery indexed again CSD wins many: what the network learns later helps old images only if they
# are looked at again.
#
# **What it does not show.** Which query will be lost next. And a query counts as found if *one* nearest image is
# right, a coarse measure for a single user.

# %% [markdown] minutes=6
# ## 5. How much must be indexed again?
#
# You can pay for a part of the old images only. **Guess** which part to take: the oldest first, the most recent
# first, or some of each class?

# %% tags=["predict"]
best_order = "oldest first"  # your prediction: "oldest first", "most recent first" or "some of each class"

# %%
old = (tasks < T - 1).nonzero()[:, 0]  # the newest images have just been indexed
shares = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
orders = {  # for each share of the old images, which ones
    "oldest first": lambda n: old[tasks[old].argsort(stable=True)[:n]],
    "most recent first": lambda n: old[(-tasks[old]).argsort(stable=True)[:n]],
    "some of each class": lambda n: old[drift.balanced_sample(labels[old], n)] if n else old[:0],
}
run, curves = snapshots["csd"], {}
for name, chosen in orders.items():
    curves[name] = []
    for share in shares:
        gallery, again = as_it_grew(run), chosen(round(share * len(old)))
        gallery[again] = run[-1][again]  # these images go through the newest network
        curves[name].append(recall_at_1(run[-1], gallery))
print(f"You guessed {best_order!r}. With a fifth of the old images indexed again, Recall@1 is")
for name, values in curves.items():
    print(f"  {name:<19} {values[shares.index(0.2)]:.3f}")
plots.lines(
    curves,
    shares,
    title="A little goes a long way",
    x_title="share of the old images indexed again",
    y_title="Recall@1",
    subtitle="CSD, after the last task, all queries",
).update_xaxes(tickformat=".0%").update_yaxes(rangemode="tozero")

# %% [markdown]
# **What it means.** One fresh image of a class can be enough to answer the queries of that class. So a few of each
# class bring more than half of the gain at a fifth of the price; whole alphabets, one by one, bring it roughly in
# proportion.
#
# **What it does not show.** In a real engine the classes of stored images may be unknown; then a random choice, or
# the images that are asked for most, stand in. And Recall@1 wants *one* right answer. Who wants all of them (MAP@R)
# must index more.

# %% [markdown] minutes=14
# ## 6. Translate instead
#
# Suppose the old images are gone, and only their features are stored. There is still one source of help: the images
# of the *new* task can be shown to both networks, the old and the new. They are a dictionary: the same thing in two
# languages. From their features $A$ under the old network and $B$ under the new one (each with its mean taken away)
# find the matrix $W$ with
#
# $$\min_W \; \lVert A W - B\rVert_F^2 + \lambda \lVert W\rVert_F^2
# \qquad\Longrightarrow\qquad W = (A^\top A + \lambda I)^{-1} A^\top B$$
#
# and translate each stored feature $g$ into $(g - \text{mean}_\text{old})\, W + \text{mean}_\text{new}$. This is
# ridge regression; $\lambda$ keeps $W$ small where the dictionary says little.
#
# ### Exercise 3: a translation


# %% tags=["exercise"] minutes=9 difficulty=3
def translate(gallery, old, new, ridge=0.1):
    """Translate stored features into the space of a newer network.

    gallery: (G, D) features to translate, by the old network.
    old: (M, D) features of other images by the old network.
    new: (M, D) features of those same images by the new network.
    ridge: λ.
    Returns (G, D).
    """
    # >>> solution: take away the means, solve for W, apply it, add the new mean
    mean_old, mean_new = old.mean(dim=0), new.mean(dim=0)  # (D,), (D,)
    a, b = old - mean_old, new - mean_new  # (M, D), (M, D)
    W = torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1]), a.T @ b)  # (D, D)
    return (gallery - mean_old) @ W + mean_new
    # <<< solution


# %% tags=["check"]
check.translate(translate)

# %% [markdown] tags=["hint"]
# ### Hint
# The dictionary's means have the shape (D,): `old.mean(dim=0)`. Don't invert the matrix, solve for it:
# `torch.linalg.solve(M, R)` returns $M^{-1}R$. The identity is `torch.eye(D)`. A stored feature is a *row*, so it is
# multiplied by W from the right. For more, run `check.hint("translate")` in a new cell, once or several times.

# %% [markdown]
# Now the gallery, step by step, as it would happen: whenever a new network arrives, all that is stored is translated
# with the new task's images as the dictionary. (A saved run keeps no training images, so the test images of the new
# task serve.) The next cell calls `least_squares_translation` from the set-up cell, which computes the same as yours
# on another road.
#
# **Guess** first: with CSD, how much of the way from stale to indexed-again does a translation go?

# %% tags=["predict"]
share_of_the_way = 0.9  # your prediction: 0 is "no better than stale", 1 is "as good as indexed again"

# %%
of_exercise = check.yours_or_ours("translate")
before, after = (snapshots["csd"][t][tasks == T - 1] for t in (T - 2, T - 1))
print(f"a dictionary of {len(before)} images, translated: {tuple(of_exercise(before, before, after).shape)}")
results = {"stale": {}, "translated": {}, "indexed again": {}}
for name, run in snapshots.items():
    gallery = as_it_grew(run)
    for t in range(1, T):  # the network after task t arrives
        stored, arriving = tasks < t, tasks == t
        gallery[stored] = least_squares_translation(gallery[stored], run[t - 1][arriving], run[t][arriving])
    results["stale"][name] = recall_at_1(run[-1], as_it_grew(run))
    results["translated"][name] = recall_at_1(run[-1], gallery)
    results["indexed again"][name] = recall_at_1(run[-1], run[-1])
way = {
    name: (results["translated"][name] - results["stale"][name])
    / ((results["indexed again"][name] - results["stale"][name]) or torch.nan)
    for name in snapshots
}
print(f"You guessed {share_of_the_way:.0%} of the way with CSD. It is {way['csd']:.0%}.")
plots.bars(
    {kind: list(values.values()) for kind, values in results.items()},
    list(snapshots),
    title="An old index, translated",
    y_title="Recall@1",
    subtitle="after the last task, all queries",
)

# %% [markdown]
# **What it means.** A matrix of 64 × 64 numbers, learnt from images of *another* alphabet, brings a part of the old
# images back, without looking at one of them. With CSD it brings more than with the others, also measured by the way
# that there was to go.
#
# **What it does not show.** Which λ is best, or whether a small network would translate better than a matrix: try
# `ridge=1` in the cell above. And the dictionary costs something too: the newest images must pass through two
# networks.

# %% [markdown] minutes=8
# ## 7. Break it: somebody else's index
#
# Why not take the best network there is for the queries? The *joint* run learnt all alphabets at once, and searches
# far better than the others. Let its network ask in CSD's gallery, and the other way round. All are the last networks
# of their runs, and all galleries are whole and fresh; only, the two may come from different runs.
#
# **Guess** Recall@1 when CSD asks in the gallery of the joint network:

# %% tags=["predict"]
csd_asks_joint = 0.5  # your prediction: a share from 0 to 1

# %% tags=["break", "widget"]
last = {name: run[-1] for name, run in snapshots.items()}
last["joint"] = F.normalize(saved.run("joint").features(T - 1), dim=1)  # the same test images, in the same order
names, dictionary = list(last), tasks == T - 1  # the translation learns from the last task's images
rest = ~dictionary  # all others ask and are found


def for_queries_of(asking, stored):
    """Return the gallery of one network, translated for the queries of another."""
    few = last[stored][dictionary], last[asking][dictionary]
    return last[stored] if asking == stored else least_squares_translation(last[stored], *few)


tables = {
    "galleries as they are": [[recall_at_1(last[q], last[g], rest) for g in names] for q in names],
    "galleries translated": [[recall_at_1(last[q], for_queries_of(q, g), rest) for g in names] for q in names],
}
figures = {
    kind: plots.task_matrices(
        {kind: table},
        title="Who understands whom?",
        protocol="Recall@1 of the last networks, on the images of all but the last task",
        formula="row: the network that asks; column: the network that has stored the gallery",
        task_names=names,
    )
    for kind, table in tables.items()
}
for figure in figures.values():
    figure.update_xaxes(title_text="gallery by").update_yaxes(title_text="queries by")
plots.choose(figures)

# %%
one_of_class = int((labels == labels[0]).sum()) - 1
print(f"You guessed {csd_asks_joint:.3f} for CSD's queries in the joint gallery.")
print(f"{'':<25}{'csd asks joint':>16}{'joint asks csd':>16}{'csd asks csd':>16}")
for kind, table in tables.items():
    cells = [table[names.index(q)][names.index(g)] for q, g in (("csd", "joint"), ("joint", "csd"), ("csd", "csd"))]
    print(f"{kind:<25}" + "".join(f"{cell:>16.3f}" for cell in cells))
print(f"{'by chance':<25}" + f"{one_of_class / (int(rest.sum()) - 1):>16.3f}" * 3)

# %% [markdown]
# **What it means.** Two good networks that were trained apart do not understand each other at all: each has axes of
# its own, and nothing in the loss asks for common ones. The three continual runs have a common ancestor, the network
# after task 0, and between fine-tuning and LwF that can still be seen.
#
# Now choose *galleries translated* in the list above the picture. With one alphabet as the dictionary, a stranger's
# gallery can be searched, for signs that the dictionary does not have. Compare a column with its diagonal: the joint
# network, asking in CSD's translated gallery, finds almost as much as CSD's own queries.
#
# **What it does not show.** All four networks were trained on the same hundred signs, and have the same design. How
# well a matrix translates between networks that have less in common, these runs cannot say.
#
# ### A question to discuss
#
# You run a photo archive of a hundred million images. A new network is ready, somewhat better than the old. Would you
# index everything again, a part, translate, or stay with the old network? What would you measure before you decide?

# %% [markdown] tags=["answer"]
# **A model answer.** First measure three numbers on a sample with known classes: Recall@1 of the old network with its
# own gallery, of the new one in the stale gallery, and of the new one with everything indexed again. If the last is
# hardly above the first, stay with the old network: its queries and gallery agree. If it is clearly above, the price
# decides: images × seconds for each, whether the originals are still there and may be used, and how often a new
# network comes. A good compromise is to translate at once, to index again in the background (what is asked for most,
# or some of each class, first), and to search with the new network from the day on which a sample shows it ahead. And
# next time train the new network so that it stays compatible, with a term in the loss that keeps new features
# comparable with the old. Also count *lost* queries, not only the mean: a user notices a search that used to work.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: in `stale_recall`, taking the whole gallery from one network, or asking
# with old queries; in `translate`, forgetting that the two snapshots have different means. If time is short, do sections
# 2 and 4 and show the figure of section 6.

# %% [markdown] minutes=5
# ## Summary
#
# - A **stale gallery** holds features of several networks. Queries by the newest network are drawn to what the newest
#   network stored.
# - A search can fail without any forgetting: indexed again, the same network finds the images.
# - **CSD** makes features of different networks of one run comparable, far above chance. In this small setting that
#   is not enough to save the work of indexing again.
# - A few images of each class indexed again, or a translation by a matrix, bring back a good part.
# - Networks trained apart have nothing in common but what a dictionary can give them.
#
# ### Test yourself
#
# <details><summary>1. In a stale gallery the newest task has a higher Recall@1 than in the gallery indexed again. How
# can that be?</summary>
#
# Its images have fewer rivals: the old images' features lie elsewhere, in old dialects, and so cannot be mistaken for
# answers. Compare the lower right cell of CSD in section 2 with `comparison.matrix("csd", "Recall@1", "seen")`.
#
# </details>
#
# <details><summary>2. A network is "turned" by a rotation that is the same for all images. What happens to Recall@1
# with the gallery indexed again, and with the stale one?</summary>
#
# Indexed again: nothing, as all angles between images stay. Stale: it breaks down, as queries are turned and stored
# features are not. A translation repairs it fully, since a rotation is a matrix.
#
# </details>
#
# <details><summary>3. Recall@1 is the same before and after an update. Does that mean that no user has noticed
# anything?</summary>
#
# No. As many queries may have been won as were lost, and those who lost theirs notice.
#
# </details>
#
# ### Where to read on
#
# - Shen, Xiong, Xia & Soatto, *Towards Backward-Compatible Representation Learning*, CVPR 2020: networks whose
#   queries fit an old index.
# - Wan, Chen, Wu & Chen, *Continual Learning for Visual Search with Backward Consistent Feature Embedding*, CVPR
#   2022: the setting of this notebook, with a stale gallery.
# - Biondi, Pernici, Bruni & Del Bimbo, *CoReS: Compatible Representations via Stationarity*, IEEE TPAMI 2023: fixed
#   classifiers keep the axes in place.
# - Yu et al., *Semantic Drift Compensation for Class-Incremental Learning*, CVPR 2020: estimates from the new task's
#   images how old class means have drifted, an idea close to section 6.
# - Barletti, Biondi, Pernici, Bruni & Del Bimbo, *Contrastive Supervised Distillation for Continual Representation
#   Learning*, ICIAP 2021: the method itself.

# %%
check.board("stale_recall", "no_longer_found", "translate")
