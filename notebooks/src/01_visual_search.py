# %% [markdown] budget_minutes=1
# # Can a network find the image that looks like this one?
#
# Visual search: you show one image, and the machine finds others of the same kind. It is what this whole kit is about,
# because a search shows at once what a network knows, and later what it has forgotten.
#
# After this notebook you will be able to
#
# - turn images into features, put them into a gallery, and search it;
# - write Recall@K, the measure that you will use in all that follows, and avoid its three classic mistakes;
# - say what such a number means: against chance, against raw pixels, and in a growing gallery.
#
# | section | minutes |
# | --- | --- |
# | 1. What does a network make of an image? | 6 |
# | 2. Which images are the nearest? | 12 |
# | 3. How good is the search? | 16 |
# | 4. Does learning help? | 8 |
# | 5. Is that a lot? Chance and crowd | 10 |
# | 6. Break it: all features alike | 6 |
# | 7. Looking back | 7 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for less than a minute on
# 2 CPU cores, and no longer on Colab. After the two set-up cells you can start at any section. Later sections use the
# library's functions in place of yours; they give the same answers.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and a saved run"
import inspect
import math

import plotly.graph_objects as go
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check, plots, saved

run = saved.run("finetune")  # a small saved run: networks that learnt invented alphabets, one after the other
test = run.test()
images, labels, tasks = test["images"], test["labels"], test["tasks"]  # (N, C, H, W) bytes, (N,) and (N,)
T = run.n_tasks
alphabets = [names[0].partition("/")[0] for names in run.tasks]


def shown(i, query=None):
    """Return test image i for a strip of images; with a query, marked as right (of the same class) or wrong."""
    mark = "" if query is None else "query" if i == query else "right" if labels[i] == labels[query] else "wrong"
    return plots.Shown(images[i], mark, run.classes[int(labels[i])], int(i))


print(f"{len(images)} test images of {len(run.classes)} signs in {len(alphabets)} alphabets: {', '.join(alphabets)}")

# %% [markdown] minutes=6
# ## 1. What does a network make of an image?
#
# These are the images: signs of alphabets that nobody has ever written. Each sign is a *class*, and no two images of a
# class are the same: the hand trembles, ink and paper change their colours.

# %%
rows = {name: [shown(i) for i in (tasks == t).nonzero()[:8, 0]] for t, name in enumerate(alphabets)}
plots.retrieval_strips(rows, title="The first eight signs of each alphabet")

# %% [markdown]
# For the computer an image is a block of numbers. The network, a small ResNet, turns it into a much shorter list, its
# **feature** (also called *embedding*). Two images are similar if their features point in the same direction. That is
# measured by the **cosine similarity**,
#
# $$\cos(x, y) = \frac{x \cdot y}{\lVert x \rVert \, \lVert y \rVert},$$
#
# which is 1 for the same direction and 0 for a right angle. Divide each feature by its length first, and all cosines
# at once are one matrix product.

# %%
network = run.network(0)  # as it was after learning the first alphabet
with torch.no_grad():
    features = network.embed(images)  # (N, 64)
unit = F.normalize(features, dim=1)  # x / ‖x‖, row by row
similarity = unit @ unit.T  # (N, N): cos(x, y) of every two images

print(f"an image: {tuple(images[0].shape)}, {images[0].numel()} numbers; its feature: {features.shape[1]} numbers")
print(f"image 0 and itself: {similarity[0, 0]:.3f}; image 0 and image 1, another sign: {similarity[0, 1]:.3f}")

# %% [markdown]
# **Predict.** Take two images of the first alphabet at random. If they show the same sign, their similarity should be
# high; if not, it should be low. How clean will the cut between the two be?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "a clean cut", "some overlap", "no difference at all"

# %%
first = tasks == 0
pairs = torch.triu(torch.ones(int(first.sum()), int(first.sum()), dtype=torch.bool), diagonal=1)  # each pair once
same = labels[first][:, None] == labels[first]
of_first = similarity[first][:, first]
alike, unlike = of_first[pairs & same], of_first[pairs & ~same]

bins = {"start": 0.0, "end": 1.0, "size": 0.02}
figure = go.Figure(
    [
        go.Histogram(x=x.tolist(), xbins=bins, histnorm="percent", name=name, opacity=0.75, marker=look)
        for x, name, look in (
            (unlike, "two signs", {"color": plots.VERMILION, "pattern": {"shape": "/"}}),
            (alike, "same sign", {"color": plots.BLUE}),
        )
    ]
)
figure.update_layout(barmode="overlay", xaxis_title="cosine similarity", yaxis_title="% of such pairs")
plots.finished(figure, "Similarity of two images", ["first alphabet, network after learning it"], 300, legend=True)

# %%
least = alike.quantile(0.05)
beaten = (unlike > least).double().mean()
print(f"You predicted: {guess}.")
print(f"Median similarity: same sign {alike.median():.2f}, two signs {unlike.median():.2f}.")
print(
    f"One pair in twenty of the same sign is less similar than {least:.2f}; {beaten:.1%} of the pairs of two signs,",
    end="",
)
print(f" {int((unlike > least).sum()):,} of them, are more similar than that.")

# %% [markdown]
# **What it means.** The network has learnt this alphabet: the same sign is more similar, nearly always. But the two groups
# overlap, and there are many more pairs of two signs. A search looks at the *most* similar image, so a few such pairs are
# enough for a mistake now and then.
#
# **What it does not show.** No similarity is below 0, because a ReLU leaves no negative numbers in a feature. So a cosine
# of 0.5 means nothing by itself: a search only asks which item is *more* similar than the others.

# %% tags=["claim"]
assert float(similarity.min()) >= 0
assert alike.median() > unlike.median() + 0.2
assert alike.min() < unlike.max()  # they overlap
assert len(unlike) > 10 * len(alike)

# %% [markdown] minutes=12
# ## 2. Which images are the nearest?
#
# Now search. There are two sides: the **gallery**, the images that can be found, and the **queries**, the images that
# ask. Of the images of the first alphabet every other one goes into the gallery, and the rest ask.

# %%
features = run.features(0)  # the same features as above; the run has saved them
of_alphabet = (tasks == 0).nonzero()[:, 0]  # which of the test images
in_gallery, asking = of_alphabet[::2], of_alphabet[1::2]
gallery, queries = features[in_gallery], features[asking]
print(f"gallery {tuple(gallery.shape)}, queries {tuple(queries.shape)}")

# %% [markdown]
# Write the search: for each query the `k` most similar items of the gallery by cosine similarity, the best first. Two
# lines are enough.


# %% tags=["exercise"] minutes=6 difficulty=1
def search(queries, gallery, k):
    """Return the k most similar items of each query, the most similar first.

    queries: (Q, D) floats; gallery: (G, D) floats. Returns (Q, k) integers, rows of the gallery.
    """
    # >>> solution: compare all queries with all items, and return the places of the k best
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (Q, G) cosines
    return similarity.topk(k, dim=1).indices  # (Q, k)
    # <<< solution


# %% tags=["check"]
check.search(search)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Look at the code of section 1: there the images ask among themselves; here it is `queries` and `gallery`. A tensor's
# `topk(k, dim=1)` gives both the largest values and where they are.
#
# More hints, one at a time, the last is the solution: run `check.hint("search")` in a cell of its own.

# %% [markdown]
# Look at what it finds. A green frame with ✓ is right, a dashed one with ✕ is wrong. Two queries are found by looking for
# trouble: the first two whose first result is wrong. Try others: any numbers below that of the queries.

# %%
find = check.yours_or_ours("search")
found = in_gallery[find(queries, gallery, k=8)]  # (Q, 8), as numbers of test images
wrong = (labels[found[:, 0]] != labels[asking]).nonzero()[:2, 0].tolist()
some = [1, 9, *wrong]  # which of the queries

rows = {}
for q in some:
    query = int(asking[q])
    rows[f"query {q}"] = [shown(i, query) for i in (query, *found[q].tolist())]
plots.retrieval_strips(rows, title="The eight most similar images")

# %% [markdown]
# A search engine keeps its gallery in an **index**. Items come and go, and the network need not learn anything for
# that: this is what search has ahead of classification. The library's index is `csd.retrieval.Gallery`.

# %%
index = csd.retrieval.Gallery(dim=64)
index.add(gallery, ids=in_gallery)
similarities, ids = index.search(queries, k=8)  # both (Q, 8)
find = check.yours_or_ours("search")
agree = (ids == in_gallery[find(queries, gallery, k=8)]).double().mean()
print(f"{index}\nIt gives the same answers as the search of the exercise in {agree:.1%} of the places.")

index.remove(in_gallery[labels[in_gallery] == 0])  # the first sign is taken out of the shop
index.add(features[tasks == 1], ids=(tasks == 1).nonzero()[:, 0])  # a whole alphabet comes in, never learnt
print(f"{index}, and not a single training step")

# %% [markdown]
# **What it does not show.** Comparing with every item is *exact* search. It takes time in proportion to the gallery:
# fine for thousands of images, slow for billions. Then one uses approximate indexes, which look at a part of the gallery
# only, and miss some of the answers: `index="ivf"` sorts the items into groups and looks into the nearest groups,
# `index="hnsw"` walks from neighbour to neighbour.

# %% [markdown] minutes=16
# ## 3. How good is the search?
#
# **Recall@K** is the share of queries that find at least one image of their class among the K most similar ones:
#
# $$\mathrm{Recall@}K = \frac{1}{Q} \sum_{q=1}^{Q} \big[\, \text{rank}_q \le K \,\big],
# \qquad \text{rank}_q = 1 + \text{number of wrong items before the best right one.}$$
#
# Mostly one has no separate queries: every test image asks in turn, and the gallery is all the test images.
#
# **Predict.** The network after the first alphabet, and the images of that alphabet. Each image searches the gallery
# in which it lies itself. How large is Recall@1?

# %% tags=["predict"]
guess = "no prediction yet"  # put a number from 0 to 1 instead

# %%
own = F.normalize(run.features(0)[tasks == 0], dim=1)
nearest = (own @ own.T).argmax(dim=1)
of_class = labels[tasks == 0]
naive = (of_class[nearest] == of_class).double().mean()
print(f"You predicted: {guess}. Recall@1 counted this way: {naive:.3f}")
print(f"{(nearest == torch.arange(len(own))).double().mean():.1%} of the queries found themselves.")

# %% [markdown]
# Nobody is more similar to you than you are. So the first rule: **the query itself is left out**. There are two more.
#
# **Ties never help.** If a right and a wrong item are equally similar, a search may show either first. Count the wrong
# one as first; section 6 shows what happens if one does not. Computers round: in
# 32-bit numbers, similarities that differ by less than `1e-6` are as good as equal.
#
# **A query with nothing to find is left out.** If no other image of its class is in the gallery, it can't be a hit,
# however good the features.
#
# Write Recall@K. The two matrices to start from are given.


# %% tags=["exercise"] minutes=10 difficulty=2
def recall_at_k(queries, query_labels, gallery, gallery_labels, k, exclude_self=False):
    """Return the share of queries with at least one item of their class among the k most similar.

    queries: (Q, D) floats; query_labels: (Q,) integers; gallery: (G, D); gallery_labels: (G,).
    exclude_self: query i and item i are the same image, which the query must not find.
    Returns a number from 0 to 1.
    """
    similarity = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (Q, G) cosines
    right = query_labels[:, None] == gallery_labels  # (Q, G) is item g of query q's class?
    # >>> solution: leave out the query itself, rank the best right item, and count the hits
    if exclude_self:
        similarity.fill_diagonal_(-torch.inf)
        right.fill_diagonal_(False)
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)  # (Q, 1) the best right item
    others = similarity.masked_fill(right, -torch.inf)  # (Q, G) the wrong ones
    rank = 1 + (others >= best - 1e-6).sum(dim=1)  # (Q,) a tie is before it
    hit = rank[right.any(dim=1)] <= k  # of the queries that have something to find
    return hit.double().mean().item()
    # <<< solution


# %% tags=["check"]
check.recall_at_k(recall_at_k)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Sorting is not needed. The best right item of each query is a maximum over the right places only; its rank is one more
# than the number of wrong items that are at least as similar.
#
# More hints, one at a time, the last is the solution: run `check.hint("recall_at_k")` in a cell of its own.

# %% [markdown]
# Yours beside the library's, on the images of the first alphabet:

# %%
features, of_class = run.features(0)[tasks == 0], labels[tasks == 0]
both_sides = (features, of_class, features, of_class)
library = csd.metrics.recall_at_k(*both_sides, ks=(1, 5, 10), exclude_self=True)  # {K: Recall@K}
recall = check.yours_or_ours("recall_at_k")
for k, value in library.items():
    yours = recall(*both_sides, k=k, exclude_self=True)
    print(f"Recall@{k:<2}  yours {yours:.3f}   the library's {value:.3f}")

print("\nThe end of csd_edu.metrics.recall_at_k, which works with ranks too:\n")
print("\n".join(inspect.getsource(csd.metrics.recall_at_k).splitlines()[-3:]))

# %% [markdown]
# The library goes through the queries in chunks, so that 100,000 images don't fill the memory; apart from that it is
# your function. The line that computes the rank is in `csd_edu/metrics.py`, function `_first_ranks`.
#
# **What it means.** Recall@K can only rise with K, since a hit among the first five is one among the first ten.
#
# **What it does not show.** One right answer is enough. Whether the nine others are right, Recall@10 does not say.
# MAP@R, `csd.metrics.map_at_r`, looks at them all.

# %% [markdown] minutes=8
# ## 4. Does learning help?
#
# Now all the alphabets together: every test image searches among all the others. Four kinds of features compete:
#
# - **all five**: a network that has learnt all five alphabets together;
# - **one alphabet**: a network that has learnt the first alphabet only;
# - **pixels**: no network at all, the image as one long list of numbers;
# - **untrained**: a network with random weights.
#
# **Predict.** Which order will Recall@1 have, from the lowest to the highest?

# %% tags=["predict"]
guess = ("?", "?", "?", "?")  # from the lowest to the highest: "all five", "one alphabet", "pixels", "untrained"

# %%
with torch.no_grad():
    untrained = csd.models.build("resnet8", in_channels=3).eval().embed(images)
kinds = {
    "all five": saved.run("joint").features(T - 1),  # (N, 64)
    "one alphabet": run.features(0),
    "pixels": images.flatten(1).float(),  # (N, 1728)
    "untrained": untrained,
}
ks = (1, 2, 5, 10, 20)
recalls = {
    name: csd.metrics.recall_at_k(features, labels, features, labels, ks=ks, exclude_self=True)
    for name, features in kinds.items()
}
plots.lines(
    {name: list(recall.values()) for name, recall in recalls.items()},
    [str(k) for k in ks],
    title="Recall@K of four kinds of features",
    x_title="K",
    y_title="Recall@K",
    subtitle=f"each of {len(images)} images searches among the {len(images) - 1} others",
    y_range=(-0.03, 1.03),
)

# %%
order = sorted(recalls, key=lambda name: recalls[name][1])
print(f"You predicted: {' < '.join(guess)}\nMeasured:      {' < '.join(order)}")
for name in order:
    print(f"  Recall@1 {recalls[name][1]:.3f}  {name}")

# %% [markdown]
# The same query for all four:

# %%
query = 3  # any number below that of the test images
rows = {}
for name, features in kinds.items():
    index = csd.retrieval.Gallery(features.shape[1])
    index.add(features)
    _, ids = index.search(features[query, None], k=8, exclude_ids=[query])
    rows[name] = [shown(i, query) for i in (query, *ids[0].tolist())]
plots.retrieval_strips(rows, title="What is found for the same query")

# %% [markdown]
# **What it means.** Pixels find images of the same *colours* in the same places, not the same sign. Training makes
# the colours matter less and the shape more. A network that knows one alphabet is already of some use for others that it
# has never seen; the one that knows all of them is far ahead. Keep the number of "one alphabet" in mind: it is what
# *not learning at all* after the first task gives, and any method that goes on learning must do better.
#
# **What it does not show.** That one needs a network. Ask the same of handwritten digits, which are neatly centred and
# have no colours:

# %% tags=["claim"]
assert recalls["all five"][1] > recalls["one alphabet"][1] + 0.2
assert recalls["one alphabet"][1] > recalls["pixels"][1] + 0.1
assert recalls["one alphabet"][1] > recalls["untrained"][1] + 0.1

# %%
digits = csd.load("digits")  # real ones, inside scikit-learn
pixels = digits.x_test.flatten(1).float()
on_digits = csd.metrics.recall_at_k(pixels, digits.y_test, pixels, digits.y_test, exclude_self=True)[1]
print(f"Recall@1 of raw pixels: {recalls['pixels'][1]:.3f} on the alphabets, {on_digits:.3f} on the digits")

# %% [markdown]
# So a number is worth little without the same number for something simple. Always measure the pixels too.

# %% [markdown] minutes=10
# ## 5. Is that a lot? Chance and crowd
#
# What would a search reach that shows images at random? Say the gallery has $G$ items, the query itself left out, and
# $R$ of them are right. Recall@K is the chance that at least one of K random items is right: one minus the chance that
# all K come from the $G - R$ wrong ones. There are $\binom{G}{K}$ ways to choose K items, and $\binom{G-R}{K}$ ways to
# choose only wrong ones. (`math.comb` counts them.)


# %% tags=["exercise"] minutes=4 difficulty=1
def chance_recall(n_right, n_gallery, k):
    """Return Recall@K of a search that shows items in random order.

    n_right: R, the right items in the gallery; n_gallery: G, all items in it; k: how many are shown.
    """
    # >>> solution: one minus the share of choices without any right item
    return 1 - math.comb(n_gallery - n_right, k) / math.comb(n_gallery, k)
    # <<< solution


# %% tags=["check"]
check.chance_recall(chance_recall)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Three right items of twelve, two shown: $1 - \binom{9}{2} / \binom{12}{2} = 1 - 36/66$.
#
# More hints, one at a time, the last is the solution: run `check.hint("chance_recall")` in a cell of its own.

# %% [markdown]
# The crowd. Take one network, the one that has learnt the first alphabet only, and leave it alone. The queries are
# always the same: the images of that first alphabet. Only the gallery grows: first that alphabet, then two, then all
# five.
#
# **Predict.** The network does not change. Where does Recall@1 of these queries end, with five times as many images?

# %% tags=["predict"]
guess = "no prediction yet"  # put a share from 0 to 1 instead

# %%
# Rank of the first right answer, with the same features after each "task", among the images of tasks 0 to t.
ranks = csd.metrics.query_ranks([run.features(0)] * T, labels, tasks, protocol="seen")  # (T, N)
crowded = [row[0] for row in csd.metrics.recall_matrix(ranks, tasks)]  # Recall@1 of the first alphabet's images
joint = csd.metrics.query_ranks([saved.run("joint").features(T - 1)] * T, labels, tasks, protocol="seen")
of_joint = [row[0] for row in csd.metrics.recall_matrix(joint, tasks)]
sizes = [int((tasks <= t).sum()) - 1 for t in range(T)]
n_right = int((labels == 0).sum()) - 1
chance = [n_right / size for size in sizes]  # at K = 1 it is just this

plots.lines(
    {"all five": of_joint, "one alphabet": crowded, "chance": chance},
    [str(size + 1) for size in sizes],
    title="The same queries in a growing gallery",
    x_title="images in the gallery",
    y_title="Recall@1",
    subtitle="of the images of the first alphabet; the networks do not change",
    y_range=(-0.03, 1.03),
)

# %%
print(f"You predicted: {guess}.")
print(f"Recall@1 of the first alphabet, network of one alphabet: {crowded[0]:.3f} → {crowded[-1]:.3f}")
print(f"                                network of all five:     {of_joint[0]:.3f} → {of_joint[-1]:.3f}")
print(f"                                chance:                  {chance[0]:.3f} → {chance[-1]:.3f}")

# %% [markdown]
# **What it means.** More images, more places to go wrong: this is **crowding**. Nothing was forgotten here, since
# nothing was learnt. Keep it in mind for the next notebook, where the gallery grows *and* the network changes. A network
# that has *learnt* the newcomers too suffers less from the crowd.
#
# **What it does not show.** How much of a fall is crowding when both happen. For that, a network that does not change
# is searched in the same growing gallery, as here: notebook 02 does it.

# %% tags=["claim"]
assert crowded[0] - crowded[-1] > 0.05
assert crowded[0] - crowded[-1] > of_joint[0] - of_joint[-1] + 0.02
assert crowded[-1] > chance[-1] + 0.3

# %% [markdown] minutes=6
# ## 6. Break it: all features alike
#
# Networks can **collapse**: all their features end up pointing the same way. Here you do it by hand. Every feature is
# moved towards the mean of all, so that a share $s$ of its distance is left: `mean + s * (feature − mean)`. At $s = 1$
# nothing happens; at $s = 0$ all images have the same feature, and nobody could find anything.
#
# Two ways of counting watch it happen. One is yours: ties never help. The other counts a tie as a hit, which is how
# some published evaluation code does it.
#
# **Predict.** What does the second one say when all features are the same?

# %% tags=["predict"]
guess = "no prediction yet"  # put a number from 0 to 1 instead

# %% tags=["break"]
SHARES = (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0)  # of the distance to the mean that is left; add your own
features, of_class = F.normalize(run.features(0)[tasks == 0], dim=1), labels[tasks == 0]
mean = features.mean(dim=0)
same = of_class[:, None] == of_class
itself = torch.eye(len(features), dtype=torch.bool)

strict, lenient, spread = [], [], []
for s in SHARES:
    squeezed = mean + s * (features - mean)
    strict.append(csd.metrics.recall_at_k(squeezed, of_class, squeezed, of_class, exclude_self=True)[1])
    unit = csd.features.normalize(squeezed)
    cosine = (unit @ unit.T).masked_fill(itself, -torch.inf)
    best_right = cosine.masked_fill(~same, -torch.inf).amax(dim=1)
    best_wrong = cosine.masked_fill(same, -torch.inf).amax(dim=1)
    lenient.append((best_right >= best_wrong - 1e-6).double().mean().item())
    spread.append(cosine[~itself])

places = [f"{s:g}" for s in SHARES]
moments = {
    place: plots.lines(
        {"ties never help": strict, "ties count as hits": lenient},
        places,
        title="Recall@1 while the features collapse",
        x_title="share s of the distance to the mean that is left",
        y_title="Recall@1",
        subtitle=f"cosines {cosines.min():.4f} to {cosines.max():.4f}; Recall@1 {a:.3f} or {b:.3f}",
        y_range=(-0.03, 1.12),
        marks={"you are here": place},
    )
    for place, cosines, a, b in zip(places, spread, strict, lenient, strict=True)
}
plots.choose(moments, slider="s = ")

# %%
print(f"You predicted: {guess}. Counted with ties as hits, features that are all the same score {lenient[-1]:.2f};")
print(f"with ties that never help they score {strict[-1]:.2f}.")
squeezed = mean + SHARES[-1] * (features - mean)
print(f"csd.metrics.is_collapsed says {csd.metrics.is_collapsed(squeezed)}; training reports that after each task.")

# %% [markdown]
# **What it means.** Move the slider. At first all cosines come close to 1 and the search hardly minds, because only
# their order counts. Then the differences fall below what 32-bit numbers can hold, ties appear, and the two ways of
# counting part: one goes to its worst, the other to its best. The best result in a table may be a broken network.

# %% tags=["claim"]
assert strict[-1] == 0
assert lenient[-1] == 1
assert strict[1] > strict[0] - 0.05  # at first the search hardly minds

# %% [markdown] minutes=7
# ## 7. Looking back
#
# **To discuss.** A colleague reports Recall@1 = 0.95 for the search of shop A, and 0.60 for that of shop B. What would
# you ask before you call A's the better search? Find at least four questions.

# %% [markdown] tags=["answer"]
# **A model answer.**
#
# - How large is the gallery, and how many classes does it hold? A crowd makes the same features look worse (section 5).
# - How many right items has each query? Nine are easier to hit than one; chance depends on it.
# - Was the query itself left out? Were near-copies of it left out, such as the next photograph of a burst?
# - How are ties counted, and are the features perhaps collapsed (section 6)?
# - What do raw pixels, or an untrained network, reach on the same images (section 4)?
# - Were the classes of the test seen in training? Finding what was never learnt is harder.
# - How many queries are there, and how much does the number change from one training to the next?

# %% [markdown]
# **Summary.** A network turns an image into a feature; search compares features by cosine similarity; Recall@K is the
# share of queries with a right answer among the first K. The query itself is left out, ties never help, and a query
# with nothing to find does not count. A number says something only beside chance, pixels and the size of the gallery.
#
# **Test yourself.**
#
# 1. All features of a gallery are multiplied by 7. What happens to Recall@1?
# 2. Recall@5 of some features is 0.8. What can you say about their Recall@1 and their Recall@10?
# 3. New classes come into the gallery and the network stays as it is. Recall@1 of the old classes' images falls. Has
#    the network forgotten?
#
# <details><summary>Answers</summary>
#
# 1. Nothing. Cosine similarity compares directions, and lengths cancel out. (With a plain dot product nothing would
#    happen either if *all* are multiplied; multiply one item alone, and it would push itself into many answers.)
# 2. Recall@1 is at most 0.8, and Recall@10 at least 0.8. Nothing more.
# 3. No. It gives the same features as before; there is only more to confuse them with. That is crowding.
#
# </details>
#
# **Where to read on.**
#
# - Sivic & Zisserman, *Video Google: A Text Retrieval Approach to Object Matching in Videos*, ICCV 2003: the idea of
#   searching images as one searches text.
# - Schroff, Kalenichenko & Philbin, *FaceNet: A Unified Embedding for Face Recognition and Clustering*, CVPR 2015:
#   features trained for search, with the triplet loss that this kit uses too.
# - Musgrave, Belongie & Lim, *A Metric Learning Reality Check*, ECCV 2020: how to measure such features fairly; MAP@R.
# - Johnson, Douze & Jégou, *Billion-scale similarity search with GPUs*, IEEE Transactions on Big Data, 2019: faiss.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Common difficulties: in `search`, a missing transpose; in `recall_at_k`, shifting by one
# (`topk(k + 1)` and dropping the first answer) in place of masking the diagonal, which fails where two images have the
# same feature. If time is short, give `chance_recall` as homework; sections 3 and 6 are the ones to keep. Section 3's
# prediction works best if all write down a number before anybody runs the cell.

# %%
check.board("search", "recall_at_k", "chance_recall")
