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
# - tell a query that is forgotten from one whose answers are misfiled;
# - weigh three remedies: index everything again, index a well-chosen part again, or translate the old features.
#
# | section | minutes |
# | --- | --- |
# | 1. An index that grows | 6 |
# | 2. Recall in a stale gallery. *Exercise 1: stale recall* | 15 |
# | 3. Where do the queries look? | 9 |
# | 4. Forgotten, or misfiled? | 6 |
# | 5. Which images first? *Exercise 2: representatives* | 17 |
# | 6. Translate instead. *Exercise 3* | 14 |
# | 7. Break it: somebody else's index | 8 |
# | Summary and self-test | 5 |
#
# **Computing:** at most one minute in all, on two CPU cores; on a Colab GPU no more. **Needs:** nothing from the
# other notebooks. It reads the small saved runs that come with the kit. After the two set-up cells you may start with
# any section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, saved runs, and two helpers"
import math

import torch
import torch.nn.functional as F

from csd_edu import check, drift, metrics, pictures, plots, saved, widgets
from csd_edu.comparison import Comparison
from csd_edu.retrieval import Gallery

comparison = Comparison(saved.runs("finetune", "lwf-tuned", "csd-tuned"))
labels, tasks = comparison.labels, comparison.tasks  # (N,) the class of each test image, and the task that teaches it
snapshots = {name: [F.normalize(x, dim=1) for x in comparison.snapshots(name)] for name in comparison.runs}
finetune, *_, csd = snapshots  # the names of the first and of the last run
T, (N, D) = comparison.n_tasks, snapshots[csd][0].shape  # each run has T snapshots (N, D): one after each task


def recall_at_1(queries, gallery, of=slice(None)):
    """Return Recall@1 of the same images (N, D) as queries and as gallery, or of some of them among each other."""
    search = (queries[of], labels[of], gallery[of], labels[of])
    return metrics.recall_at_k(*search, exclude_self=True)[1]


def plus_minus(share, n):
    """Return about half of the 95 % interval of a share of n queries (Agresti & Coull 1998)."""
    near = (share * n + 2) / (n + 4)
    return 2 * math.sqrt(near * (1 - near) / (n + 4))


print(f"{', '.join(snapshots)}: {T} networks each, and from each of them {N:,} features of {D} numbers")

# %% [markdown] minutes=6
# ## 1. An index that grows
#
# Tasks (here: alphabets) arrive one after another. After each, the network of that day turns the new images into
# features, and these go into the gallery. `Gallery` is the library's: `add` stores features under ids, `search` finds the
# most similar by cosine. Nothing that is stored is touched again. Three ways of learning are compared:
#
# - **fine-tuning** learns the new task, and does nothing about the old ones;
# - **LwF** also keeps *answering* for the old classes as the network before did, with a weight that was chosen;
# - **CSD** also keeps *features* where the network before puts images of their class, with a weight that was chosen.

# %%
run = snapshots[csd]
grown, renewed = Gallery(D), Gallery(D)
for t in range(T):
    ids = (tasks == t).nonzero()[:, 0]  # the images of task t
    grown.add(run[t][ids], ids)  # their features under the network after task t
    print(f"after task {t}: {len(grown):>5,} images in the gallery, by {t + 1} different network{'s' * (t > 0)}")
renewed.add(run[-1])  # all images under the newest network: everything indexed again
print(f"indexed again: {len(renewed):>5,} images in the gallery, by 1 network")

# %% [markdown]
# Now somebody asks, with the newest network. Below is the first query from the first task that is answered rightly
# where everything was indexed again, and wrongly in the gallery as it grew.

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
plots.retrieval_strips(
    rows, title="One query, two galleries", subtitle=[f"the newest network of {csd} asks; most similar first"]
)

# %% [markdown]
# The images are the same, and so is the query. Only who computed the stored features differs.

# %% [markdown] minutes=15
# ## 2. Recall in a stale gallery
#
# One query is an anecdote. Let all test images ask. With $s_T(i)$ the feature of image $i$ under the newest network,
# and $s_{t(i)}(i)$ under the network of its own task $t(i)$, image $i$ finds
#
# $$\arg\max_{j \ne i} \; \cos\bigl(s_T(i),\; s_{t(j)}(j)\bigr)$$
#
# and **stale recall** is the share of images for which it has the right class: Recall@1, in a stale gallery.
#
# **Predict** it after the last task, for a run of your choice:

# %% tags=["predict"]
stale_guess = "no prediction yet"  # a share from 0 to 1, or one for each run
for name, run in snapshots.items():
    print(f"For comparison, everything indexed again, {name}: {recall_at_1(run[-1], run[-1]):.3f}")

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
print(f"You predicted: {stale_guess}. Stale recall after the last task:")
for name, run in snapshots.items():
    value = float(of_exercise(run, labels, tasks))
    print(f"  {name:<21} {value:.3f} ± {plus_minus(value, N):.3f}")
curves = {}
for name in snapshots:
    for protocol, words in (("seen", "indexed again"), ("stale", "stale")):
        ranks = comparison.ranks(name, protocol)  # (T, N): 1 is a hit, 0 a query of a task to come
        curves[f"{name} ({words})"] = [float((row[row > 0] == 1).double().mean()) for row in ranks]
plots.lines(
    curves,
    [str(t) for t in range(T)],
    title="An index gets old",
    x_title="after learning task",
    y_title="Recall@1",
    subtitle="queries of all tasks learnt so far, by the newest network",
    y_range=(0, 1.02),
)

# %% [markdown]
# The last task's part of the gallery is fresh, so its queries come for free. Task by task, in the stale gallery:

# %%
stale = {name: comparison.matrix(name, "Recall@1", "stale") for name in comparison.runs}
plots.task_matrices(stale, title="Recall@1", protocol="stale")

# %%
old = tasks < T - 1
hits = {name: {which: comparison.ranks(name, which)[-1] == 1 for which in ("seen", "stale")} for name in snapshots}
print("After the last task, Recall@1 of the queries of")
print(f"{'':<22}{'old tasks, indexed again':>26}{'old tasks, stale':>20}{'newest task, stale':>20}")
for name, of_run in hits.items():
    cells = []
    for which, some in (("seen", old), ("stale", old), ("stale", ~old)):
        share = float(of_run[which][some].double().mean())
        cells.append(f"{share:.3f} ± {plus_minus(share, int(some.sum())):.3f}")
    print(f"{name:<22}{cells[0]:>26}{cells[1]:>20}{cells[2]:>20}")
*_, before_csd = [name for name in snapshots if name != csd]
for which, words in (("seen", "indexed again"), ("stale", "stale")):
    gap = hits[csd][which].double() - hits[before_csd][which].double()  # (N,) the same queries
    mean, half = float(gap.mean()), 2 * float(gap.std()) / math.sqrt(N)
    verdict = "can't be told apart" if abs(mean) <= half else "differ"
    print(f"{csd} − {before_csd}, {words}: {mean:+.3f} ± {half:.3f} over the queries: these two networks {verdict}.")
last_row = ", ".join(f"{value:.2f}" for value in stale[csd][-1][:-1])
print(f"{csd}, old tasks from the first to the last but one, in the stale gallery: {last_row}")

# %% [markdown]
# **What it means.** The newest task, on the diagonal, is found: its images have just been indexed, by the network that
# asks. Notebook 07 and the README count the old tasks only: the second column. Compare it with the first. What is found
# again once all is indexed again has not been forgotten:
# the knowledge is there, but the stored features are written in a language that the queries no longer speak. Look at
# the two lines below the table: two runs can be alike in a fresh gallery, and differ in a stale one. What a method is good
# for depends on what the gallery is like. And the last line: an index is of some use one task later, and of less with
# each task more.
#
# **What it does not show.** That one should train at all, if only old images are to be found: a network that is never
# trained again understands its own index for ever (`frozen` in the README's table). That it must be so, either. These networks are small, and they learn each task with a large
# learning rate; with a smaller one features may drift less. And it is one run of each method: the ± are about other
# *queries*, not about other seeds.

# %% [markdown] minutes=9
# ## 3. Where do the queries look?
#
# The stored features come from several networks, one for each task. **Predict**: when an image of an old task asks, how
# often is the nearest stored feature one of the *newest* network, that is, an image of a task that cannot be right?

# %% tags=["predict"]
from_newest = "no prediction yet"  # a share from 0 to 1, for all runs or for each

# %%
shares = {}  # of each run, for each task but the last
print(f"You predicted: {from_newest}. Nearest to a feature of the newest network:")
for name, run in snapshots.items():
    stored = torch.stack(run)[tasks, torch.arange(N)]  # (N, D) each image as the network of its own task left it
    nearest = (run[-1] @ stored.T).fill_diagonal_(-torch.inf).argmax(dim=1)
    newest = (tasks[nearest] == T - 1).double()  # (N,)
    share = float(newest[tasks < T - 1].mean())
    half = plus_minus(share, int((tasks < T - 1).sum()))
    print(f"  {name:<21} {share:.0%} ± {half:.0%} of the old {saved.group()}s' queries")
    shares[name] = [float(newest[tasks == t].mean()) for t in range(T - 1)]
print(f"  that many images in the gallery are by it: {float((tasks == T - 1).double().mean()):.0%}")
plots.bars(
    shares,
    [f"queries of task {t}" for t in range(T - 1)],
    title="How strongly do the newest features attract?",
    y_title="share of queries",
    subtitle="share of queries whose nearest stored feature was made by the newest network",
    form=".0%",
    top=1.12,
)

# %% [markdown]
# Each network has a dialect. A query by the newest network is drawn to what the newest network has stored. How strongly,
# differs from run to run.
#
# But is that all? Take the newest task out of the gallery. Below, only images of the *first* task ask and are found.
# Row i: the network after task i asks. Column j: the network after task j has stored *all* of them. So there is one
# dialect in the gallery, and nobody attracts by being new.

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
# Now in numbers: the newest network asks (the last row), in the galleries of its own run.

# %%
n_first = int(first.sum())
print(f"Recall@1 of {n_first} queries, in the gallery after task 0 … {T - 2}, each ± at most", end=" ")
print(f"{plus_minus(0.5, n_first):.2f}; by chance {chance:.2f}")
for name, table in crossed.items():
    *others_say, own = table[-1]
    clear = [value - plus_minus(value, n_first) > chance for value in others_say]
    print(f"  {name:<21} {'  '.join(f'{value:.2f}' for value in others_say)}; in its own, {own:.2f};", end=" ")
    print(f"above chance beyond the ±: {sum(clear)} of {len(clear)}")
neighbouring = {n: sum(table[t][t - 1] for t in range(1, T)) / (T - 1) for n, table in crossed.items()}
print(f"One task apart, on average: {', '.join(f'{name} {value:.2f}' for name, value in neighbouring.items())}")

# %% [markdown]
# **What it means.** Where a row is not above chance, nothing is understood any more; where it is, ask *how far*. Two
# networks of a run that were one task apart
# understand each other better than the first and the last: the dialects part step by step. To keep the old answers
# holds them together for some tasks; CSD also asks that the features of a class stay near the previous network's
# features of that class, and far from those of other classes (on images of the new task: it has no others). That is what makes features of different networks
# *comparable*. In a gallery of several dialects even that is not enough.
#
# **What it does not show.** The last row is the one that counts today. Compare it with the diagonal: "comparable" is
# not "as good as new". And which term of the loss does it? That needs a run without that term (notebooks 04 and 07).

# %% [markdown] minutes=6
# ## 4. Forgotten, or misfiled?
#
# A query is **lost** if it was found right after its own task and is not found in the end; **won** in the opposite
# case. (If you have done notebook 02, you have written that.) Recall@1 falls by (lost − won) / N, and hides who it was.
# In a stale gallery there are two ways to be lost. The network may have *forgotten* the image, or the grown gallery may
# hide it (crowding, notebook 02): even in a gallery indexed again it is not found. Or the answers are *misfiled*: indexed
# again, the same network finds it.
#
# **Predict** for the lost queries of the stale gallery: how many are only misfiled?

# %% tags=["predict"]
misfiled_guess = "no prediction yet"  # a share from 0 to 1

# %%
print(f"You predicted: {misfiled_guess}.")
print(f"{'':<22}{'gallery':<15}" + "".join(f"{change:>8}" for change in ("kept", "lost", "won", "missed")))
for name in comparison.runs:
    for protocol, words in (("seen", "indexed again"), ("stale", "stale")):
        changes = comparison.changes(name, protocol)
        print(f"{name:<22}{words:<15}" + "".join(f"{int(mask.sum()):>8}" for mask in changes.values()))
    lost = comparison.changes(name, "stale")["lost"]
    n_lost, misfiled = int(lost.sum()), int((lost & (comparison.ranks(name, "seen")[-1] == 1)).sum())
    share = misfiled / max(n_lost, 1)
    print(f"{'':<22}of {n_lost} lost in the stale gallery {misfiled} are only misfiled: {share:.0%}", end=" ")
    print(f"± {plus_minus(share, n_lost):.0%}\n")

# %% [markdown]
# Look at single queries: choose *lost* and *by csd*, step through them, and change the gallery from *stale* to *seen*.

# %% tags=["widget"]
two = Comparison([comparison.runs[name] for name in (finetune, csd)], names=("finetune", "csd"))
widgets.RetrievalExplorer(two, protocol="stale")

# %% [markdown]
# **What it means.** What is misfiled can be put right without any training: by another index. The next two sections try
# to do that cheaply. Look at *won*, too: what the network learns later can help old images only if they are looked at
# again.
#
# **What it does not show.** Which query will be lost next. And a query counts as found if *one* nearest image is
# right, a coarse measure for a single user.

# %% [markdown] minutes=17
# ## 5. Which images first?
#
# You can pay for a part of the old images only: these go through the newest network, the others stay as they are. Which
# ones? If somebody has told you the classes, take some of each. Mostly nobody has. But you have the stored features,
# and can choose by them, with no label and no image opened: take images that **speak for many others**.
#
# With $x_i$ the feature of image $i$, choose a set $S$ of $n$ images for which
#
# $$f(S) = \sum_i \max_{j \in S} \cos(x_i, x_j)$$
#
# is large: each image should be similar to *some* chosen one. To try all sets would take for ever. **Greedily**: again
# and again add the one image that raises $f$ most. (For sums like this one, what the greedy way gains is at least
# 1 − 1/e = 63 % of what the best set would gain, over where it begins: Nemhauser, Wolsey & Fisher 1978. Begin with
# $f = -N$, as no cosine is below −1.)
#
# ### Exercise 2: representatives


# %% tags=["exercise"] minutes=9 difficulty=2
def representatives(features, n):
    """Return the images that speak for the others, chosen one after the other.

    features: (N, D) one feature for each image, of any length.
    n: how many to choose.
    Returns (n,) indices, in the order in which they were chosen.
    """
    # >>> solution: n times the image that adds most, and then each image's similarity to its nearest chosen one
    features = F.normalize(features, dim=1)  # (N, D)
    similarity = features @ features.T  # (N, N) cosines
    nearest = similarity.new_full((len(features),), -1.0)  # (N,) of each image, to the nearest chosen one: none yet
    chosen = []
    for _ in range(n):
        gain = (similarity - nearest[:, None]).clamp(min=0).sum(dim=0)  # (N,) what each candidate would add
        best = int(gain.argmax())
        chosen.append(best)
        nearest = torch.maximum(nearest, similarity[best])
    return torch.tensor(chosen)
    # <<< solution


# %% tags=["check"]
check.representatives(representatives)

# %% [markdown] tags=["hint"]
# ### Hint
# Keep one number for each image: its similarity to the nearest chosen image so far, −1 before the first choice. A
# candidate raises it for some images and for the others leaves it as it is: `(similarity - nearest[:, None])` cut off
# at 0 with `.clamp(min=0)`. Add up over the images, take the candidate with the largest sum, and bring the numbers up
# to date with `torch.maximum`. For more, run `check.hint("representatives")` in a new cell, once or several times.

# %% [markdown]
# A first look: the images of three classes, under the network that stored them. Six are chosen, without the labels.

# %%
of_exercise = check.yours_or_ours("representatives")
three = labels[tasks == 0].unique()[:3]
crowd = torch.isin(labels, three).nonzero()[:, 0]  # the images of three classes, or of fewer if there are no more
six = torch.as_tensor(of_exercise(snapshots[csd][0][crowd], min(6, len(crowd))))
row = [pictures.shown(comparison, int(crowd[i]), "") for i in six]
print(f"Classes of the chosen: {', '.join(comparison.classes[int(labels[crowd[i]])] for i in six)}")
plots.retrieval_strips(
    {"chosen": row},
    title="Six that speak for many",
    subtitle=[f"chosen among {len(crowd)} images of {len(three)} classes, in this order"],
)

# %% [markdown]
# Now the old images of the stale gallery. **Predict** the best way to choose a tenth of them: "oldest first", "most
# recent first", "at random", "some of each class" (this one needs the labels), or "representatives"?

# %% tags=["predict"]
best_way = "no prediction yet"  # put one of the five instead

# %%
pool = drift.balanced_sample(labels, 2000)  # enough for a curve
old = pool[tasks[pool] < T - 1]  # the newest images have just been indexed
shares = [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
most = round(shares[-1] * len(old))
run = snapshots[csd]
stored = torch.stack(run)[tasks, torch.arange(N)]  # (N, D) each image as the network of its own task left it
choose = check.EXERCISES["representatives"].solution  # the kit's: a loop over pairs would take long here
speakers = old[choose(stored[old], most)]  # the first n of them are the choice for n
shuffled = old[torch.randperm(len(old), generator=torch.Generator().manual_seed(0))]
ways = {  # for n of the old images, which ones
    "oldest first": lambda n: old[tasks[old].argsort(stable=True)[:n]],
    "most recent first": lambda n: old[(-tasks[old]).argsort(stable=True)[:n]],
    "at random": lambda n: shuffled[:n],
    "some of each class": lambda n: old[drift.balanced_sample(labels[old], n)] if n else old[:0],
    "representatives": lambda n: speakers[:n],
}
curves = {}
for name, chosen in ways.items():
    curves[name] = []
    for share in shares:
        gallery, again = stored.clone(), chosen(round(share * len(old)))
        gallery[again] = run[-1][again]  # these images go through the newest network
        curves[name].append(recall_at_1(run[-1], gallery, pool))
fresh = recall_at_1(run[-1], run[-1], pool)
plots.lines(
    curves,
    shares,
    title="A little goes a long way, if it is well chosen",
    x_title="share of the old images indexed again",
    y_title="Recall@1",
    subtitle=f"{csd}, after the last task, all queries",
    y_range=(0, 1.1 * max(fresh, *(max(of) for of in curves.values()))),
    levels={"everything indexed again": fresh},
).update_xaxes(tickformat=".0%")

# %%
tenth = shares.index(0.1)
print(f"You predicted: {best_way}. With a tenth of the old images indexed again, Recall@1 is")
for name, values in sorted(curves.items(), key=lambda item: -item[1][tenth]):
    gained = (values[tenth] - values[0]) / ((fresh - values[0]) or math.nan)
    print(f"  {name:<19} {values[tenth]:.3f} ± {plus_minus(values[tenth], len(pool)):.3f}, {gained:.0%} of the way")

# %% [markdown]
# **What it means.** One fresh image can be enough to answer the queries of its class. So a few from everywhere bring much
# at a small price, and whole tasks, one by one, bring it roughly in proportion. Compare what the labels add to a random
# choice with what the features can do without any label: images of one class are not all alike, and the greedy choice
# goes where the crowds are.
#
# **What it does not show.** Another run, or another random order: this is one of each. Where the curves meet on the right, a
# random choice does as well. Recall@1 wants *one* right answer. Who wants all of them (MAP@R) must index more. In a real
# engine some images are asked for more than others; then their queries should weigh more in the sum. And the choice
# itself compares all pairs: for millions of images it is made on a sample.

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
# task serve.) **Predict**: how much of the way from stale to indexed-again does a translation go? With which run the
# most?

# %% tags=["predict"]
share_of_the_way = "no prediction yet"  # 0 is "no better than stale", 1 is "as good as indexed again"

# %%
of_exercise = check.yours_or_ours("translate")
results = {"stale": {}, "translated": {}, "indexed again": {}}
for name, run in snapshots.items():
    stored = torch.stack(run)[tasks, torch.arange(N)]  # (N, D) each image as the network of its own task left it
    gallery = stored.clone()
    for t in range(1, T):  # the network after task t arrives
        earlier, arriving = tasks < t, tasks == t
        gallery[earlier] = of_exercise(gallery[earlier], run[t - 1][arriving], run[t][arriving], 0.1).to(gallery.dtype)
    for kind, of_kind in (("stale", stored), ("translated", gallery), ("indexed again", run[-1])):
        results[kind][name] = recall_at_1(run[-1], of_kind)
print(f"You predicted: {share_of_the_way}. Of the way from stale to indexed again:")
way = {}
for name in snapshots:
    low, middle, high = (of_run[name] for of_run in results.values())
    way[name] = (middle - low) / ((high - low) or math.nan)
    print(f"  {name:<21} {low:.3f} → {middle:.3f} ± {plus_minus(middle, N):.3f}, of {high:.3f}: {way[name]:.0%}")
translated = results["translated"]
print(f"Most of the way: {max(way, key=way.get)}; highest in the end: {max(translated, key=translated.get)};", end=" ")
print(f"highest without translation: {max(results['stale'], key=results['stale'].get)}.")
plots.bars(
    {kind: list(values.values()) for kind, values in results.items()},
    list(snapshots),
    title="An old index, translated",
    y_title="Recall@1",
    subtitle="after the last task, all queries",
)

# %% [markdown]
# **What it means.** A matrix of D × D numbers, learnt from images of *another* task, brings a part of the old images
# back, without looking at one of them. Compare the last line: what needs no translation and what translates best need
# not be the same run. Networks may turn their features much, but all together: that a matrix can undo. Or they may keep
# them near and bend them a little, each class in its own way: that it can't.
#
# **What it does not show.** Which λ is best, or whether a small network would translate better than a matrix: try
# another number for 0.1 in the cell above. And the dictionary costs something too: the newest images must pass through
# two networks.

# %% [markdown] minutes=8
# ## 7. Break it: somebody else's index
#
# Why not take the best network there is for the queries? The *joint* run learnt all tasks at once. Let its network ask in
# the gallery of another run, and the other way round. All are the last networks of their runs, and all galleries are
# whole and fresh; only, the two may come from different runs.
#
# **Predict** Recall@1 when the `csd` network asks in the gallery of the joint network:

# %% tags=["predict"]
csd_asks_joint = "no prediction yet"  # a share from 0 to 1

# %% tags=["break", "widget"]
last = {name: run[-1] for name, run in snapshots.items()}
last["joint"] = F.normalize(saved.run("joint").features(T - 1), dim=1)  # the same test images, in the same order
of_exercise = check.yours_or_ours("translate")
names, dictionary = list(last), tasks == T - 1  # the translation learns from the last task's images
rest = ~dictionary  # all others ask and are found


def for_queries_of(asking, stored):
    """Return the gallery of one network, translated for the queries of another."""
    if asking == stored:
        return last[stored]
    return of_exercise(last[stored], last[stored][dictionary], last[asking][dictionary], 0.1)


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
        task_names=[name.partition("(")[0] for name in names],
    )
    for kind, table in tables.items()
}
for figure in figures.values():
    figure.update_xaxes(title_text="gallery by").update_yaxes(title_text="queries by")
plots.choose(figures)

# %%
n_rest = int(rest.sum())
by_chance = (int((labels == labels[rest][0]).sum()) - 1) / (n_rest - 1)
runs_of_a_stream = [name for name in names if name != "joint"]
print(f"You predicted: {csd_asks_joint} for the queries of {csd} in the joint gallery. By chance {by_chance:.3f}.")
print(f"{'':<25}{'csd asks joint':>17}{'joint asks csd':>17}{'csd asks csd':>17}")
for kind, table in tables.items():
    cells = [table[names.index(q)][names.index(g)] for q, g in ((csd, "joint"), ("joint", csd), (csd, csd))]
    print(f"{kind:<25}" + "".join(f"{f'{cell:.3f} ± {plus_minus(cell, n_rest):.3f}':>17}" for cell in cells))
strangers = [(q, g) for q in names for g in names if (q == "joint") != (g == "joint")]
relatives = [(q, g) for q in runs_of_a_stream for g in runs_of_a_stream if q != g]
for kind, table in tables.items():
    for who, pairs in (("with joint", strangers), ("among the others", relatives)):
        mean = sum(table[names.index(q)][names.index(g)] for q, g in pairs) / len(pairs)
        print(f"{kind}, mean of the {len(pairs)} pairs {who}: {mean:.3f}, {mean / by_chance:.0f} times chance")

# %% [markdown]
# **What it means.** Two good networks that were trained apart hardly understand each other: see by how little, or whether
# at all, they are above chance. Each has axes of its own, and nothing in the loss asks for common ones. The runs that
# learnt task after task have a common ancestor, the network after task 0, and that can still be seen.
#
# Now choose *galleries translated* in the list above the picture. With one task as the dictionary, a stranger's gallery
# can be searched, for classes that the dictionary does not have. Compare a column with its diagonal: how much of what
# the gallery's own network finds does the stranger find? Why does this go better than in section 6? There the gallery is
# in several dialects, its oldest part is translated many times over, and by networks that had not seen later tasks. Here
# one network that has learnt everything is translated once.
#
# **What it does not show.** All these networks were trained on the same classes, and have the same design. How
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
# or representatives, first), and to search with the new network from the day on which a sample shows it ahead. And
# next time train the new network so that it stays compatible, with a term in the loss that keeps new features
# comparable with the old. Also count *lost* queries, not only the mean: a user notices a search that used to work.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: in `stale_recall`, taking the whole gallery from one network, or asking
# with old queries; in `representatives`, taking the images most similar to all others at once, without asking what each
# adds; in `translate`, forgetting that the two snapshots have different means. If time is short, do sections 2 and 4
# and show the figures of sections 5 and 6.

# %% [markdown] minutes=5
# ## Summary
#
# - A **stale gallery** holds features of several networks. Queries by the newest network are drawn to what the newest
#   network stored.
# - A query can be lost for three reasons: it is forgotten, or crowded out; or its answers are only **misfiled**, and
#   indexed again they are found.
# - Runs that are alike in a fresh gallery may differ in a stale one. Features of different networks are *comparable* by
#   degrees; here not so far that the work of indexing again is saved.
# - A few well-chosen images indexed again bring back a good part, and the choice needs no labels. A translation by a matrix
#   brings back less, and how much depends on the run.
# - Networks trained apart share no axes; but a matrix, learnt from one task, translates a good deal between them.
#
# ### Test yourself
#
# <details><summary>1. In a stale gallery the newest task has a higher Recall@1 than in the gallery indexed again. How
# can that be?</summary>
#
# Its images have fewer rivals: the old images' features lie elsewhere, in old dialects, and so cannot be mistaken for
# answers. Compare the lower right cell of a run in section 2 with `comparison.matrix(csd, "Recall@1", "seen")`.
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
# - Nemhauser, Wolsey & Fisher, *An Analysis of Approximations for Maximizing Submodular Set Functions*, Mathematical
#   Programming 1978: why the greedy choice is a good one.
# - Yu et al., *Semantic Drift Compensation for Class-Incremental Learning*, CVPR 2020: estimates from the new task's
#   images how old class means have drifted, an idea close to section 6.
# - Barletti, Biondi, Pernici, Bruni & Del Bimbo, *Contrastive Supervised Distillation for Continual Representation
#   Learning*, ICIAP 2021: the method itself.

# %% tags=["claim"]
from csd_edu.comparison import across_networks

for seed in saved.seeds():
    stale = {name: across_networks(saved.run(name, seed=seed))["stale"] for name in saved.names()}
    again = {name: saved.run(name, seed=seed).metrics["summary"]["recall_at_1"] for name in saved.names()}
    assert stale["finetune"] < 0.05
    assert stale["csd-tuned"] > max(stale["lwf-tuned"], stale["supcon-tuned"]) + 0.05
    assert stale["csd-tuned"] < again["csd-tuned"] - 0.3  # far from what an index made again gives

# %%
check.board("stale_recall", "representatives", "translate")
