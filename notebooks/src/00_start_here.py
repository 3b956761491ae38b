# %% [markdown] budget_minutes=3
# # Start here: what does a network forget?
#
# A network learns five alphabets, **one after another**. Each time it sees only the signs of the alphabet at hand.
# What becomes of the signs it learnt before? And does *Contrastive Supervised Distillation* (CSD) help?
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
# | 2 | What was learnt, and how | 6 |
# | 3 | How much is left? (exercise 1) | 8 |
# | 4 | Naming or finding: what goes first? | 5 |
# | 5 | Which images are lost? (exercise 2) | 10 |
# | 6 | Train a network yourself | 5 |
# | 7 | Break it: one class a task | 6 |
# | 8 | Where everything is | 4 |
#
# **Computing:** about one minute on two CPU cores, and less on a GPU. **It needs** nothing from other notebooks:
# sections 1 to 5 open four small trained runs that come with the kit, sections 6 and 7 train on handwritten digits
# that come with scikit-learn. No network connection is used.
#
# Run the cells from top to bottom with **Shift + Enter**. After the two set-up cells you may also start with any
# section.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports, and where your runs go"
import inspect
import tempfile
from pathlib import Path

import torch
from IPython.display import display

import csd_edu as csd
from csd_edu import check, metrics, pictures, plots, saved, widgets
from csd_edu.comparison import Comparison

RUNS = Path(tempfile.mkdtemp(prefix="csd_edu-00-"))  # what you train here; name a folder of your own to keep it

# %% [markdown] minutes=8
# ## 1. The finished picture
#
# Two networks have learnt the same five alphabets in the same order; the kit brings both along. One was only
# **fine-tuned**: trained on each new alphabet, with nothing done about the old ones. The other was trained with
# **CSD**.
#
# Both are used for *visual search*. A network turns an image into 64 numbers, its **features**. To search, we take
# the features of one image, the **query**, and look for the images with the most similar ones. They are found in a
# **gallery**: here, the other test images of all alphabets learnt so far. The search is right if the image found
# first is of the query's class, that is, if it shows the same sign.
#
# **Predict.** Take all queries whose search was right just after their alphabet was learnt. After the fifth alphabet,
# for what share of them is it wrong? Write down a number for each network before you run on.

# %% tags=["predict"]
guess_lost = {"finetune": 0.5, "csd": 0.5}  # your prediction: shares from 0 (all still right) to 1 (all wrong)

# %% [markdown]
# Here is one query and what each network finds for it: in the row "after task 0" just after its own alphabet, and in
# the row "after task 4" in the end. Tasks are counted from 0. The picture was not chosen by its looks: it is the
# first query that fine-tuning loses and CSD keeps. Below it, the other way round, is the first one that CSD loses and
# fine-tuning keeps.

# %%
both = Comparison(saved.runs("finetune", "csd"))  # two runs on the same test images
fate = {name: both.changes(name) for name in both.runs}  # "kept", "lost", "won", "missed": a mask (N,) each

csd_helps = fate["finetune"]["lost"] & fate["csd"]["kept"]  # (N,) bool
csd_harms = fate["finetune"]["kept"] & fate["csd"]["lost"]
for query, title in ((csd_helps, "CSD keeps what fine-tuning loses"), (csd_harms, "… and the other way round")):
    pictures.strips(both, int(query.int().argmax()), every_task=False, title=title).show()
print(f"{int(csd_helps.sum())} of {len(csd_helps):,} queries are as in the first picture,", end=" ")
print(f"{int(csd_harms.sum())} as in the second")

# %%
for name in both.runs:
    kept, lost = int(fate[name]["kept"].sum()), int(fate[name]["lost"].sum())
    print(
        f"{name:8}  you said {guess_lost[name]:.0%}; lost are {lost} of {kept + lost} queries: {lost / (kept + lost):.0%}"
    )

# %% [markdown]
# Neither network keeps everything, but CSD keeps more. After task 0 they are one and the same network: CSD begins to
# differ with task 1. Look beyond the first result, too: a search that counts as wrong may find the right sign in
# second place.
#
# Look at some queries yourself. Choose *lost*, *kept* or *won* under "show", and move the slider. A click on any
# image makes it the query. If you see no controls (on GitHub, say), a still picture with its numbers stands there.

# %% tags=["widget"]
search = widgets.RetrievalExplorer(both)
display(search)

# %% [markdown]
# What has changed between the first search and the last? The features: they **drift**. Each point below is a test
# image, placed by its features; the map shows two directions of the 64. Move the slider: every point goes from where
# one network puts the image to where the next one does. The table says how far the features have turned, and the last
# column which class moved farthest.
#
# The two explorers are linked: click on a point here, and it is the query above.

# %% tags=["widget"]
drift = widgets.DriftExplorer(both)
widgets.link(search, drift)
display(drift)

# %% [markdown]
# **What this shows:** after fine-tuning the images lie closer together and have moved farther than after CSD, and
# more searches go wrong.
#
# **What it does not show:** that the movement *causes* the wrong answers. If all points moved together, no search
# would change. It is one run of each method, too: notebook 07 asks how sure we can be. And a flat map of 64 numbers
# is a shadow of them; notebook 05 measures what it hides.

# %% [markdown] minutes=6
# ## 2. What was learnt, and how
#
# The signs are invented: five alphabets of 20 signs, written again and again with other pens, inks and papers. A sign
# is a **class**, an alphabet is a **task**. In task *t* the network is trained on the images of that alphabet alone.
# The earlier images are gone, as they would be if they were private, or too many to keep.

# %%
run = saved.run("csd")
test = run.test()  # labels (N,), tasks (N,), images (N, 3, 24, 24)
rows = {}
for task, names in enumerate(run.tasks):
    label = run.classes.index(names[0])  # of the alphabet's first sign
    ids = torch.nonzero(test["labels"] == label).flatten().tolist()[:8]
    rows[f"task {task}: {names[0]}"] = [plots.Shown(test["images"][i], "", names[0], i) for i in ids]
print(f"{len(run.classes)} classes in {run.n_tasks} tasks; {len(test['labels']):,} test images are kept with the run")
plots.retrieval_strips(rows, title="One sign of each alphabet, eight times")

# %% [markdown]
# Four methods were trained like this. They differ only in the terms of the **loss**, the number that training makes
# small:
#
# | method | loss in task 0 | loss from task 1 on |
# | --- | --- | --- |
# | `finetune` | cross-entropy + triplet | the same |
# | `lwf` | the same | … + KD: keep *answering* for the old classes as the network before did (Li & Hoiem, ECCV 2016) |
# | `csd` | the same | … + KD + CSD: keep each class's *features* where they were (Barletti et al., ICIAP 2021) |
# | `joint` | all five alphabets at once | no more training: nothing has to be remembered |
#
# *Cross-entropy* makes the network name the right class; *triplet* makes images of one class more similar than images
# of two. The network before is called the **teacher**; a copy of it is kept and no longer trained. A method is a
# function from one training step to its named terms. This is all of CSD:

# %%
for function in (csd.methods.finetune, csd.methods.lwf, csd.methods.csd):
    print(inspect.getsource(function))

# %% [markdown]
# You will write the losses in it yourself: KD in notebook 03, CSD in notebook 04.

# %% [markdown] minutes=8
# ## 3. How much is left?
#
# **Recall@1** is the share of queries whose first result is right. Measured on each task's images after each task, it
# gives a **task matrix**: `R[i][j]` is Recall@1 on the images of task *j* after learning task *i*. Row by row the
# network grows older. A column, read downwards, is the story of one alphabet.

# %%
four = {run.method: run.metrics["recall_at_1"]["seen"] for run in saved.runs()}
plots.task_matrices(four, title="Recall@1", protocol="seen")

# %% [markdown]
# *Hatched* cells are tasks not learnt yet. With *seen*, the protocol in the title, the gallery holds the images of
# all tasks learnt so far. So it grows, and a search has ever more to choose from: a column may fall because the
# network forgets, or because there is more to confuse an image with. Compare with `joint`, whose gallery grows as
# well.
#
# **Predict.** For which method does Recall@1 on the first alphabet fall most, from its first value to its last?

# %% tags=["predict"]
guess_falls = "finetune"  # your prediction: one of "finetune", "lwf", "csd", "joint"

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

# %% [markdown]
# Now the truth about your guess. The cell reads the matrices by itself, so that it runs even if the exercise is still
# open.

# %%
four = {run.method: run.metrics["recall_at_1"]["seen"] for run in saved.runs()}
falls = {}
for name, matrix in four.items():
    falls[name] = matrix[0][0] - matrix[-1][0]
    print(f"{name:8}  {matrix[0][0]:.3f} → {matrix[-1][0]:.3f}: fallen by {falls[name]:.3f}")
print(f"\nYou said {guess_falls}; the one that falls most is {max(falls, key=falls.get)}.")

# %% [markdown]
# That is the fall of one alphabet. The kit's `forgetting` is the mean over all alphabets but the last, from the
# *best* value that each ever had (Chaudhry et al., ECCV 2018). In notebook 02 you write it.

# %%
print(metrics.FORMULAS["forgetting"])
for run in saved.runs():
    print(f"{run.method:8}  {metrics.forgetting(run.metrics['recall_at_1']['seen']):.3f}")

# %% [markdown] minutes=5
# ## 4. Naming or finding: what goes first?
#
# The same networks can also *name* the class of an image: on top of the features sits a **head**, which picks one of
# all classes learnt so far. Take the images of the first alphabet only.
#
# **Predict.** After the second alphabet, which has lost the larger share of what it was: naming, or finding?

# %% tags=["predict"]
guess_first = "both alike"  # your prediction: one of "naming", "finding", "both alike"

# %%
runs = saved.runs()
naming = {run.method: [row[0] for row in run.metrics["head_accuracy"]["seen"]] for run in runs}
finding = {run.method: [row[0] for row in run.metrics["recall_at_1"]["seen"]] for run in runs}
plots.classification_beside_retrieval(naming, finding, queries="the test images of the first alphabet")

# %%
for name in ("finetune", "csd"):
    shares = {"naming": 1 - naming[name][1] / naming[name][0], "finding": 1 - finding[name][1] / finding[name][0]}
    told = ", ".join(f"{what} has lost {share:.0%}" for what, share in shares.items())
    print(f"{name:8}  after task 1, of what it was after task 0: {told}")
print(f"You said: {guess_first}")

# %% [markdown]
# The head of every method but `joint` stops naming the first alphabet at once, with CSD too: it has learnt to name
# what comes now. The features can still be searched; they fade more slowly, and with CSD they even recover. This is
# why the paper looks at retrieval.
#
# **What it does not show:** that the features are as good as before. In the right panel `joint` is far above all of
# them.
#
# ### To think about
#
# The gallery of the saved `joint` run grows as well, but its Recall@1 hardly falls. What does this tell about the
# fall of the others? What would you measure to be surer?

# %% [markdown] tags=["answer"]
# If a growing gallery alone made search so much harder, `joint` would fall too. It stays nearly level, so most of the
# fall of the others is not due to the gallery. But this is a comparison with *another* network, with better features,
# which may be less easily confused. To be surer, keep the network and change only the gallery: measure the first
# alphabet's queries after the last task in the gallery of the first alphabet alone (the protocol *task*), and compare
# with the same measurement after task 0. What falls there is not due to the gallery, as it is the same. Notebook 02
# does this.

# %% [markdown] minutes=10
# ## 5. Which images are lost?
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
both = Comparison(saved.runs("finetune", "csd"))
lost_of = check.yours_or_ours("lost_queries")
for name in both.runs:
    ranks = both.ranks(name)  # (T, N)
    changes = metrics.query_changes(ranks, both.tasks)
    print(f"{name:8}  " + ", ".join(f"{int(mask.sum())} {change}" for change, mask in changes.items()))
    lost = torch.as_tensor(lost_of(ranks == 1, both.tasks)).bool()
    print(f"{'':8}  the function: {int(lost.sum())} lost;", end=" ")
    print("the same queries" if torch.equal(lost, changes["lost"]) else "not the same queries")

# %% [markdown]
# Where do they come from? In the matrices below a click on a cell shows the queries behind its number. The dropdowns
# change metric and gallery.

# %% tags=["widget"]
widgets.ForgettingMatrices(both)

# %% [markdown] minutes=5
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
print(", ".join(f"{name} {value:.3f}" for name, value in run.metrics["summary"].items()))
print("Recall@1 after each task:", *(f"{value:.3f}" for value in run.metrics["overall"]["recall_at_1"]))

pixels = digits.x_test.flatten(1).float()  # (599, 256)
plain = metrics.recall_at_k(pixels, digits.y_test, pixels, digits.y_test, exclude_self=True)[1]
print(f"Recall@1 of the pixels themselves, without any network: {plain:.3f}")

# %% [markdown]
# The digits are small, centred and clean: to search them, no network is needed, as the last line shows. So they are
# good for trying things out, and bad for telling methods apart. The signs of the alphabets are drawn in other places,
# sizes and colours each time, and there pixels do not help. Always ask what a method is better *than*.

# %% [markdown] minutes=6
# ## 7. Break it: one class a task
#
# What if the ten digits arrive one by one? Then each task has a single class, and there is nothing to tell it from.
#
# **Predict.** What will the head of the fine-tuned network answer in the end?

# %% tags=["predict"]
guess_head = "…"  # your prediction, in your own words

# %% tags=["break"]
TASKS = 10  # @param [2, 5, 10] {type:"raw"}

digits = csd.load("digits")
config = csd.preset("digits", "quick").config
stream = csd.split(digits, n_tasks=TASKS, seed=0)
broken = csd.train(stream, csd.methods.finetune, config, out=RUNS / f"digits-finetune-{stream.n_tasks}", progress=False)

last = broken.n_tasks - 1
newest = torch.tensor([broken.classes.index(name) for name in broken.tasks[last]])
share = torch.isin(broken.predictions(last), newest).double().mean()
print(f"You said: {guess_head}")
print(f"In the end the head calls {share:.0%} of all test images {' or '.join(map(repr, broken.tasks[last]))}.")
print(f"Head accuracy {broken.metrics['summary']['head_accuracy']:.3f},", end=" ")
print(f"but Recall@1 {broken.metrics['summary']['recall_at_1']:.3f}")
plots.loss_terms(broken.records, title=f"Fine-tuning on the digits in {broken.n_tasks} tasks")

# %% [markdown]
# With one class a task the triplet loss has nothing to do, for it needs images of two classes: it stays at zero. And
# cross-entropy finds a short cut: to answer with the newest class is right for every image that it is shown. Within
# each task the loss falls as if something were learnt, and in the end the head gives one answer to everything. The
# features can still be searched, although worse than plain pixels (section 6).
#
# Try `TASKS = 2` and `5`. **What this does not show:** what CSD or LwF would do here. Put `csd.methods.csd` into the
# cell (and another folder after `out=`) and look.

# %% [markdown] minutes=4
# ## 8. Where everything is
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
#
# A **check** follows each exercise, here and in all other notebooks. It says in words of the subject why an answer is
# wrong, and `check.hint("lost_queries")` gives a first hint; asked again, it gives more. What you have passed is kept,
# also when the kernel restarts. These are the exercises of this notebook; `check.board()` lists all that the kit has.

# %%
check.board("first_and_last", "lost_queries")

# %% [markdown] tags=["instructor"]
# **For the instructor.** Typical difficulties: a matrix read along a row instead of down a column, and `matrix[0][1]`,
# which holds nothing yet. A head accuracy of 0 looks like a bug; it is the point of section 4. Have everybody name a
# number before section 1 is run. If time is short, sections 1, 3 and 5 tell the story; section 7 can be shown.

# %% [markdown]
# ## Summary
#
# You have seen that
#
# - a network that learns task after task changes its features, and searches that were right go wrong,
# - a task matrix says how much, column by column; queries lost, kept and won say for whom,
# - naming goes before finding: the head fails at once, the features fade,
# - CSD keeps more of the old alphabets than fine-tuning does in these runs, but far from all of it: see `joint`.
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
