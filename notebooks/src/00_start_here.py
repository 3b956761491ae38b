# %% [markdown] budget_minutes=3
# # Start here: what does a network forget?
#
# A network learns several tasks, **one after another**: here, five alphabets. Each time it sees only the signs of the
# alphabet at hand. What becomes of the signs it learnt before? And what does *Contrastive Supervised Distillation* (CSD)
# do about it?
#
# Afterwards you will be able to
#
# - say in a picture what it means that a network *forgets*, and that its features *drift*,
# - read a task matrix, and count the images that a search no longer finds,
# - train a network on one task after another yourself, and find your way around this kit.
#
# | | section | minutes |
# | --- | --- | --- |
# | 1 | The finished picture | 8 |
# | 2 | What was learnt, and how | 8 |
# | 3 | How much is left? (exercise 1) | 8 |
# | 4 | Which images are lost? (exercise 2) | 12 |
# | 5 | Break it: ask with nonsense | 6 |
# | 6 | Train a network yourself | 6 |
# | 7 | Where everything is | 4 |
#
# **Computing:** about one minute on two CPU cores, and less on a GPU. **It needs** nothing from other notebooks:
# sections 1 to 5 open small trained runs that come with the kit, section 6 trains on handwritten digits that come with
# scikit-learn. No network connection is used.
#
# Run the cells from top to bottom with **Shift + Enter**. After the two set-up cells you may also start with any
# section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and where your runs go"
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from IPython.display import display

import csd_edu as csd
from csd_edu import check, metrics, pictures, plots, saved, widgets
from csd_edu.comparison import Comparison
from csd_edu.models import embed

METHOD = {name: saved.run(name).method for name in ("lwf-tuned", "csd-tuned")}  # with their chosen weights
RUNS = Path(tempfile.mkdtemp(prefix="csd_edu-00-"))  # what you train here; name a folder of your own to keep it

# %% [markdown] minutes=8
# ## 1. The finished picture
#
# Three networks have learnt the same tasks in the same order; the kit brings them along. One was only **fine-tuned**:
# trained on each new task, with nothing done about the old ones. The other two were trained with methods against
# forgetting: **LwF**, which keeps *answering* as the network before did, and **CSD**, which also keeps the *features*
# where they were.
#
# A network turns an image into 64 numbers, its **features**. The left column below shows six classes of the first task, by the
# network that has just learnt them; they were chosen because it tells them apart best. There we fix a flat picture, a **plane**, in which
# these six lie apart. The other columns are the same plane, for the same images, after later tasks.
#
# **Predict.** Take the class whose mean is nearest in the plane: after task 0 it is nearly always the right one. After
# the last task, for what share of the images is it still, under fine-tuning?

# %% tags=["predict"]
guess_nearest = "no prediction yet"  # put a number instead, from 0 to 1; by chance it would be one in six

# %%
three = Comparison(saved.runs("finetune", "lwf-tuned", "csd-tuned"))  # three runs on the same test images
pictures.first_plane(three)

# %%
planes = three.planes()
nearest = {name: plane.right.double().mean(dim=1).tolist() for name, plane in planes.items()}  # after each task
by_the_first = {name: plane.stale.double().mean(dim=1).tolist() for name, plane in planes.items()}
for name in planes:
    print(f"{name:20} nearest class mean is right: {nearest[name][0]:.2f} → {nearest[name][-1]:.2f};", end="  ")
    print(f"by the class means of the first network: {by_the_first[name][-1]:.2f}")
print(f"You said: {guess_nearest}")

# %% [markdown]
# Tasks are counted from 0. After task 0 the three are one and the same network: there is nothing old to keep yet. Then
# the islands begin to move, and under fine-tuning they run into each other in this plane: the network **forgets**. That its features
# move at all is called **drift**.
#
# Under each panel stand two numbers. The first asks: are these six still apart, somewhere? The second asks a harder
# question: are they still *where they were*? It takes the class means of the *first* network, as a search engine does that
# never computes its old entries anew. Drift alone is enough to spoil that.
#
# **What it does not show:** six classes, two directions of 64, one run of each method. A class that is lost here may still
# be told by another direction: section 3 shows that the search of LwF finds more than this plane lets you think. The kit has other maps (notebook 05), and asks how sure we can be (notebook 07).

# %% tags=["claim"]
csd_label, lwf_label = METHOD["csd-tuned"], METHOD["lwf-tuned"]
assert nearest["finetune"][0] == nearest[csd_label][0] > 0.9
assert nearest["finetune"][-1] < nearest["finetune"][0] - 0.2
assert nearest[csd_label][-1] > nearest["finetune"][-1]
assert all(by_the_first[name][-1] < by_the_first[name][0] - 0.2 for name in planes)
assert by_the_first[csd_label][-1] > by_the_first["finetune"][-1]

# %% [markdown]
# ### A search, before and after
#
# To **search**, take the features of one image, the **query**, and look for the images with the most similar ones. They
# are found in a **gallery**: here, the other test images of all tasks learnt so far. The search is right if the image
# found first is of the query's class.
#
# Here is one query and what two of the networks find for it: just after its own task, and in the end. The picture was
# not chosen by its looks: it is the first query that fine-tuning loses and CSD keeps. Below it, the other way round, is
# the first one that CSD loses and fine-tuning keeps.

# %%
both = Comparison(saved.runs("finetune", "csd-tuned"), names=("finetune", "csd"))
fate = {name: both.changes(name) for name in both.runs}  # "kept", "lost", "won", "missed": a mask (N,) each

csd_helps = fate["finetune"]["lost"] & fate["csd"]["kept"]  # (N,) bool
csd_harms = fate["finetune"]["kept"] & fate["csd"]["lost"]
for query, title in ((csd_helps, "CSD keeps what fine-tuning loses"), (csd_harms, "… and the other way round")):
    pictures.strips(both, int(query.int().argmax()), every_task=False, title=title).show()
print(f"{int(csd_helps.sum())} of {len(csd_helps):,} queries are as in the first picture,", end=" ")
print(f"{int(csd_harms.sum())} as in the second")

# %% [markdown]
# Neither network keeps everything. Look beyond the first result, too: a search that counts as wrong may find the right
# class in second place.
#
# Look at some queries yourself. Choose under "show": *lost* (found right after their task, and not in the end), *kept* (found
# both times) or *won* (only in the end), and move the slider. A click on any
# image makes it the query. (Where widgets can't be shown, on GitHub say, a still picture stands in their place.)

# %% tags=["widget"]
search = widgets.RetrievalExplorer(both)
display(search)

# %% [markdown]
# And the features behind it. Below, each point is a test image, coloured by its task. Move the slider: every point goes
# from where one network puts the image to where the next one does. The two explorers are linked: click on a point, and it
# is the query above. Under "map" there is also *the first network's plane*, with the six classes from above.

# %% tags=["widget"]
drift = widgets.DriftExplorer(both, table=False)
widgets.link(search, drift)
display(drift)

# %% [markdown]
# **What it does not show:** that the movement *causes* the wrong answers. If all points moved together, no search among
# new features would change.

# %% tags=["claim"]
assert csd_helps.sum() > 2 * csd_harms.sum()

# %% [markdown] minutes=8
# ## 2. What was learnt, and how
#
# The kit's own signs are invented: five alphabets of 20 signs, written again and again with other pens, inks and papers.
# A sign is a **class**, an alphabet is a **task**. In task *t* the network is trained on the images of that task alone.
# The earlier images are gone, as they would be if they were private, or too many to keep.

# %%
run = saved.run("finetune")
test = run.test()  # labels (N,), tasks (N,), images (N, C, H, W)
rows = {}
for task, names in enumerate(run.tasks):
    label = run.classes.index(names[0])  # of the task's first class
    ids = torch.nonzero(test["labels"] == label).flatten().tolist()[:8]
    rows[f"task {task}: {names[0]}"] = [plots.Shown(test["images"][i], "", names[0], i) for i in ids]
print(f"{len(run.classes)} classes in {run.n_tasks} tasks; {len(test['labels']):,} test images are kept with the run")
plots.retrieval_strips(rows, title=f"One class of each {saved.group()}, eight times")

# %% [markdown]
# Training goes in steps. In each, some images are drawn at random, a **batch**; the network is asked for their features
# and names, and is changed a little so that a number gets smaller that says how wrong it was: the **loss**. The methods
# differ only in the terms of their loss:
#
# | method | loss in task 0 | loss from task 1 on |
# | --- | --- | --- |
# | `finetune` | cross-entropy + triplet | the same |
# | `lwf` | the same | … + KD: keep *answering* for the old classes as the network before did (Li & Hoiem, ECCV 2016) |
# | `csd` | the same | … + KD + CSD: keep each class's *features* where they were (Barletti et al., ICIAP 2021) |
# | `joint` | all tasks at once | no more training: nothing has to be remembered |
#
# *Cross-entropy* makes the network name the right class. *Triplet* looks, for each image of the batch, at the least
# similar one of its class and at the most similar one of another class, and makes the first more similar than the second.
# KD and CSD ask the network as it was before the task; a copy of it is kept, is no longer trained, and is called the
# **teacher**. How much a term counts is its weight; `lwf-tuned` and `csd-tuned` have weights that were chosen, notebook 07
# says how. You will write the losses yourself: KD in notebook 03, CSD in notebook 04.

# %% [markdown] minutes=8
# ## 3. How much is left?
#
# **Recall@1** is the share of queries whose first result is right. Measured on each task's images after each task, it
# gives a **task matrix**: $R_{i,j}$, in Python `R[i][j]`, is Recall@1 on the images of task *j* after learning task *i*.
# Row by row the network grows older. A column, read downwards, is the story of one task.
#
# **Predict.** Fine-tuning, the images of the first task. Just after it, Recall@1 was nearly 1. After the last task?

# %% tags=["predict"]
guess_left = "no prediction yet"  # put a number instead, from 0 to 1

# %%
matrices = {run.method: run.metrics["recall_at_1"]["seen"] for run in saved.runs("finetune", "lwf-tuned", "csd-tuned")}
plots.task_matrices(matrices, title="Recall@1", protocol="seen", columns=3)

# %% [markdown]
# *Hatched* cells are tasks not learnt yet. With *seen*, the protocol in the title, the gallery holds the images of
# all tasks learnt so far. So it grows, and a search has ever more to choose from: a column may fall because the
# network forgets, or because there is more to confuse an image with. Notebook 02 tells these apart.

# %% [markdown]
# ### Exercise 1: read a column
#
# Write a function that takes a matrix and a task *j*, and returns two numbers: Recall@1 on task *j* just after it was
# learnt, $R_{j,j}$, and after the last task, $R_{T-1,j}$.


# %% tags=["exercise"] minutes=3 difficulty=1
def first_and_last(matrix, task):
    """Return Recall@1 on a task just after it was learnt, and after the last task.

    matrix: list of T rows of T values; matrix[i][j] is measured on task j after task i (None for j > i).
    task: j, from 0 to T − 1.
    Returns two floats.
    """
    # >>> solution: two entries of one column
    return matrix[task][task], matrix[-1][task]
    # <<< solution


# %% tags=["check"]
check.first_and_last(first_and_last)

# %% [markdown] tags=["hint"]
# ### A hint
#
# `matrix[i]` is row *i*: everything measured after task *i*. In Python `matrix[-1]` is the last row. Which row was
# written just after task *j* was learnt?
#
# More hints, one at a time, the last is the solution: run `check.hint("first_and_last")` in a cell of its own.

# %%
ends = check.yours_or_ours("first_and_last")
for name, matrix in matrices.items():
    columns = [ends(matrix, task) for task in range(len(matrix))]
    print(f"{name:20}", "   ".join(f"task {task}: {a:.2f} → {b:.2f}" for task, (a, b) in enumerate(columns)))
print(f"You said of the first task under fine-tuning: {guess_left}")

# %% [markdown]
# What is measured just after a task is about the same for all three: they learn the new as well as each other. They differ
# in what is left.

# %% tags=["claim"]
fine, *_, other = matrices.values()
assert all(fine[-1][j] < fine[j][j] - 0.08 for j in range(len(fine) - 1))
assert sum(other[-1][:-1]) > sum(fine[-1][:-1]) + 0.2
assert all(abs(fine[j][j] - other[j][j]) < 0.1 for j in range(len(fine)))

# %% [markdown] minutes=12
# ## 4. Which images are lost?
#
# A mean hides who pays. Behind each number stand single queries: some are found after their task and not in the end
# (**lost**), some are still found (**kept**), some are found only in the end (**won**), some never (**missed**).
#
# ### Exercise 2: find the lost queries
#
# You get a table of who was found when. Return the mask of the lost ones:
#
# $\text{lost}_n = \text{found}_{\,t_n,\,n} \;\wedge\; \neg\,\text{found}_{\,T-1,\,n}$, where $t_n$ is the task of
# query *n*.


# %% tags=["exercise"] minutes=6 difficulty=2
def lost_queries(found, tasks):
    """Return which queries were found right after their own task, and are not found after the last one.

    found: (T, N) bool; found[i, n] says whether query n is found after task i.
    tasks: (N,) int64; the task of each query.
    Returns (N,) bool.
    """
    # >>> solution: found then, and not found in the end
    then = found[tasks, torch.arange(len(tasks))]  # (N,)
    return then & ~found[-1]
    # <<< solution


# %% tags=["check"]
check.lost_queries(lost_queries)

# %% [markdown] tags=["hint"]
# ### A hint
#
# `found[a, b]` with two index tensors of length N picks N single entries: `found[a[0], b[0]]`, `found[a[1], b[1]]`, …
# Which row does query *n* need, and which column? "Not" is `~`, "and" is `&`.
#
# More hints, one at a time, the last is the solution: run `check.hint("lost_queries")` in a cell of its own.

# %% [markdown]
# Now on the real queries, beside the library's `metrics.query_changes`. It starts from **ranks**, the place of the
# first right answer; a query is found if its rank is 1.

# %%
both = Comparison(saved.runs("finetune", "csd-tuned"), names=("finetune", "csd"))
lost_of = check.yours_or_ours("lost_queries")
for name in both.runs:
    ranks = both.ranks(name)  # (T, N)
    changes = metrics.query_changes(ranks, both.tasks)
    print(f"{name:8}  of {len(both.tasks):,} queries {int(changes['lost'].sum())} are lost", end="; ")
    lost = torch.as_tensor(lost_of(ranks == 1, both.tasks)).bool()
    print(f"the function: {int(lost.sum())},", end=" ")
    print("the same queries" if torch.equal(lost, changes["lost"]) else "not the same queries")

# %% [markdown]
# Where do they come from? In the matrices below a click on a cell shows the queries behind its number. The dropdowns
# change metric and gallery.

# %% tags=["widget"]
widgets.ForgettingMatrices(both)

# %% [markdown] minutes=6
# ## 5. Break it: ask with nonsense
#
# Whoever searches can ask with anything. Here the network after task 0, which has learnt one task and forgotten nothing,
# is asked with five pictures: an image of a class that it has learnt, the same on its head, one of a class of the last
# task, which it has never seen, a plain grey one, and random noise. The gallery are the test images of task 0. How
# similar two images are for a network is measured by the **cosine** of the angle between their features: 1 for the same
# direction, 0 for a right angle.
#
# **Predict.** For the noise: what is the cosine of the first result?

# %% tags=["predict"]
guess_noise = "no prediction yet"  # put a number instead, from 0 to 1

# %% tags=["break"]
run = saved.run("csd-tuned")
test = run.test()
learnt, new = test["tasks"] == 0, test["tasks"] == run.n_tasks - 1  # (N,) bool
images, labels = test["images"][learnt], test["labels"][learnt]  # (M, C, H, W) uint8, (M,)
features = F.normalize(run.features(0)[learnt], dim=1)  # (M, D), each of length 1
asked = {
    "learnt": images[0],  # try others
    "on its head": images[0].flip(1),
    "never seen": test["images"][new][0],
    "grey": torch.full_like(images[0], 128),
    "noise": torch.randint(256, images[0].shape, generator=torch.Generator().manual_seed(0)).byte(),
}
first_cosine, rows = {}, {}
for name, image in asked.items():
    feature, _ = embed(run.network(0), image[None])  # (1, D)
    cosines, ids = (features @ F.normalize(feature, dim=1)[0]).topk(9)
    found = [i for i in ids.tolist() if not torch.equal(images[i], image)][:8]  # without the query itself
    first_cosine[name] = float(cosines[ids == found[0]])
    rows[name] = [plots.Shown(image, "query", name, -1)]
    rows[name] += [plots.Shown(images[i], "", run.classes[labels[i]], i) for i in found]
    print(f"{name:12} first result {run.classes[labels[found[0]]]}, cosine {first_cosine[name]:.3f}")
print(f"You said of the noise: {guess_noise}")
plots.retrieval_strips(rows, title="A search always answers", subtitle=["gallery: test images of task 0"])

# %% tags=["claim"]
assert features.min() >= 0
assert abs(first_cosine["never seen"] - first_cosine["learnt"]) < 0.1
assert 0.4 < max(first_cosine["noise"], first_cosine["grey"]) < min(first_cosine["learnt"], first_cosine["never seen"])

# %% [markdown]
# **What it means.** A search always answers: every image has features, and some image of the gallery is the nearest. Nonsense
# is farther away, but less far than one would think: features without negative numbers lie within right angles, and the
# first result is the nearest of many. And for the sign that was never seen the first result is about as near as for the
# one that was learnt: being near does not mean being known.
#
# ### A question to discuss
#
# A shop trains its search anew each month, each time on that month's new articles only. Since spring, customers complain
# that older articles are no longer found when they send a photograph. The shop's one number, Recall@1 on the new
# articles, is as good as ever. What would you measure, and what would you look at, before you change anything?

# %% [markdown] tags=["answer"]
# **A model answer.** The one number is the last entry of the diagonal of a task matrix, and says nothing about the rest of
# the row. Keep test images of every month, and measure each of them after each training: that is the whole matrix. Its
# columns show whether, and since when, old articles are lost. Then look at single lost queries, and at what is found in
# their place: articles of the newest month? look-alikes? Also find out whether the old entries of the index were computed
# anew with the new network. If not, the second number of the first picture is the one that counts, and drift alone may
# be the reason. And ask whether there are simply more articles than in spring: then part of the loss is the crowd, which
# takes something also from a network that forgets nothing, and least from one that has learnt to tell old and new apart.

# %% [markdown] minutes=6
# ## 6. Train a network yourself
#
# Handwritten digits this time: ten classes, which arrive two by two. Training takes some seconds. Watch the loss
# terms: `kd` and `csd` begin with task 1, as there is no teacher before. You may interrupt the cell with ■ and run it
# again: it goes on where it stopped.

# %% tags=["widget"]
digits = csd.load("digits")
stream = csd.split(digits, n_tasks=5, seed=0)
config = csd.preset("digits", "quick").config  # settings for a laptop
live = widgets.LiveTraining(stream, csd.methods.csd, config, out=RUNS / "digits-csd")
run = live.train()

# %% [markdown]
# Without the live view it is `csd.train(stream, csd.methods.csd, config, out=…)`. All of the run is on disk and can
# be opened again:

# %%
run = csd.Run.load(RUNS / "digits-csd")
print(run)
print(", ".join(f"{name} {run.metrics['summary'][name]:.3f}" for name in ("recall_at_1", "forgetting")))
print("Recall@1 after each task:", *(f"{value:.3f}" for value in run.metrics["overall"]["recall_at_1"]))

pixels = digits.x_test.flatten(1).float()  # (599, 256)
plain = metrics.recall_at_k(pixels, digits.y_test, pixels, digits.y_test, exclude_self=True)[1]
print(f"Recall@1 of the pixels themselves, without any network: {plain:.3f}")

# %% [markdown]
# The digits are small, centred and clean: to search them, no network is needed, as the last line shows. So they are
# good for trying things out, and bad for telling methods apart (fine-tuning ends about as high: notebook 02).
# The signs of the alphabets are drawn in other places, sizes and colours each time, and there pixels help little. Always ask what a method is better *than*.

# %% [markdown] minutes=4
# ## 7. Where everything is
#
# | notebook | question |
# | --- | --- |
# | 01 visual search | How does a network find what looks alike? You write Recall@K. |
# | 02 learning in tasks | What does fine-tuning forget? You write the forgetting measure. |
# | 03 distillation | How does a teacher pass on what it knows? You write KD. |
# | 04 CSD | Which pairs does CSD pull and push? You write its loss, and train with it. |
# | 05 feature drift | Where do the features go? You write CKA. |
# | 06 search that ages | Must old features be computed anew? You write stale-gallery recall. |
# | 07 a fair comparison | Is CSD really better? You write a confidence interval. |
# | 08 the paper's scale | CIFAR-100 on a GPU, interrupted and resumed. |
# | 09 your own | Your own images, or your own method. |
# | 10 more or better | What does a small memory buy: more images, or better ones? |
# | 11 condensed images | Can sixty images stand for six thousand? |
# | 12 rewritten memories | May one rewrite what one remembers? |
# | 13 few labels | What if hardly anything is labelled? |
# | 14 dreamed past | Can a network dream its past? |
#
# Notebooks 10 to 14 are a second part: other answers to CSD's question, and what each has to keep for it.
#
# A **check** follows each exercise, here and in all other notebooks. It says in words of the subject why an answer is
# wrong, and `check.hint("lost_queries")` gives a first hint; asked again, it gives more. What you have passed is kept,
# also when the kernel restarts. These are the exercises of this notebook; `check.board()` lists all that the kit has.

# %%
check.board("first_and_last", "lost_queries")

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: a matrix read along a row instead of down a column, and `matrix[0][1]`,
# which holds nothing yet; the two numbers under a panel of the first picture taken for one. Have everybody name a number
# before section 1 is run. If time is short, sections 1, 3 and 4 tell the story; section 5 is a good opening, too. What the head still names, and how much of
# a fall is due to the gallery, is kept for notebook 02.

# %% [markdown]
# ## Summary
#
# You have seen that
#
# - a network that learns task after task changes its features, and classes that lay apart run into each other,
# - a task matrix says how much is left, column by column; queries lost and kept say for whom,
# - methods against forgetting keep more of the old tasks than fine-tuning does in these runs, but not all of it,
# - to be apart is one thing, to be where one was is another: the second number under the picture.
#
# ## Ask yourself

# %% [markdown] tags=["hint"]
# ### 1. Why are fine-tuning and CSD the same network after task 0?
#
# There is no teacher yet, so CSD's loss has only the terms that fine-tuning has; and both runs start from the same
# seed.

# %% [markdown] tags=["hint"]
# ### 2. A column of a task matrix falls under the protocol *seen*. Name two possible reasons.
#
# The network has forgotten (its features changed for the worse), or the gallery has grown, so that there is more to
# be confused with.

# %% [markdown] tags=["hint"]
# ### 3. Of two networks one has moved its features farther. Must its search be worse?
#
# No. If all features turn together, all similarities stay as they are, and so does every search among new features.
# It matters whether neighbours stay neighbours. (If the gallery holds *old* features, turning together is enough to
# break the search: notebook 06.)

# %% [markdown]
# ## Read on
#
# - T. Barletti, N. Biondi, F. Pernici, M. Bruni, A. Del Bimbo: *Contrastive Supervised Distillation for Continual
#   Representation Learning*, ICIAP 2021 (arXiv 2205.05476). The method of this kit.
# - Z. Li, D. Hoiem: *Learning without Forgetting*, ECCV 2016.
# - R. M. French: *Catastrophic forgetting in connectionist networks*, Trends in Cognitive Sciences, 1999.
# - A. Chaudhry, P. K. Dokania, T. Ajanthan, P. H. S. Torr: *Riemannian Walk for Incremental Learning: Understanding
#   Forgetting and Intransigence*, ECCV 2018. Where the forgetting measure comes from.
