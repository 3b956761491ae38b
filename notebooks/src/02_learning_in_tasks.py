# %% [markdown] budget_minutes=2
# # What does a network forget when it learns something new?
#
# A person who learns the Greek alphabet still knows the Latin one. A network that is trained on new classes, and only on
# those, loses the old ones: this is **catastrophic forgetting**. Here you watch it happen, and learn to measure it.
#
# After this notebook you will be able to
#
# - train a network on one task after another, and read the task matrix that this leaves behind;
# - write the forgetting measure, and say what it hides;
# - tell three things apart that look alike: a head that no longer names a class, features that no longer find it, and a
#   gallery that has grown.
#
# | section | minutes |
# | --- | --- |
# | 1. Two digits at a time | 8 |
# | 2. How do you read a task matrix? | 10 |
# | 3. How much is forgotten? | 14 |
# | 4. Which goes first, naming or finding? | 8 |
# | 5. Forgotten, or lost in the crowd? | 8 |
# | 6. Which queries are lost? | 12 |
# | 7. Break it: one class a task | 6 |
# | 8. Looking back | 7 |
#
# **What it needs:** nothing from other notebooks, no GPU and no network. The computer works for about a minute on 2 CPU
# cores, and no longer on Colab. After the two set-up cells you can start at any section. Later sections use the
# library's functions in place of yours; they give the same answers.

# %% tags=["setup"]
# first cell

# %% tags=["setup", "folded"] title="Set-up: imports"
import inspect

import torch

import csd_edu as csd
from csd_edu import check, metrics, plots, saved, widgets
from csd_edu.comparison import Comparison, falls_of

WITH_FEATURES = ("finetune", "lwf-tuned", "csd", "csd-tuned", "joint")  # the saved runs that kept all their features

print(f"saved runs on {saved.dataset()}, one {saved.group()} after another:", ", ".join(saved.NAMES))

# %% [markdown] minutes=8
# ## 1. Two digits at a time
#
# A **stream** divides the classes of a dataset into **tasks**. The network learns the first task, then the second, and
# so on. While it learns one task it sees images of that task only: nothing is kept from earlier ones.

# %%
digits = csd.load("digits")  # 1,797 real handwritten digits, inside scikit-learn
stream = csd.split(digits, n_tasks=5, seed=0)
for task, classes in enumerate(stream.tasks):
    print(f"task {task}: the digits {' and '.join(digits.classes[c] for c in classes)}")

# %% [markdown]
# A network has two parts. The ResNet makes a feature of an image, 64 numbers. The **head** on top of it names a class:
# it has one row of weights for each class seen so far, and *grows* by the new classes when a task begins.
#
# **Fine-tuning** does nothing against forgetting. It simply goes on training on the new images. That is its whole code:

# %%
print(inspect.getsource(csd.methods.finetune))

# %% [markdown]
# **Predict.** After all five tasks, the head is shown test images of the two digits that it learnt *first*. How many
# will it name correctly, out of the ten digits that it has been taught?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "nearly all", "about half", "one in ten, by luck", "none"

# %% tags=["widget"]
config = csd.preset("digits", "quick").config  # a small network and few epochs: a few seconds on a CPU
run = widgets.LiveTraining(stream, csd.methods.finetune, config).train()

# %%
labels, tasks = run.test()["labels"], run.test()["tasks"]
answers = run.predictions(run.n_tasks - 1)  # (N,) what the head says after the last task
print("after the last task    named right   named as one of the two newest digits")
for task in range(run.n_tasks):
    of_task = tasks == task
    right = (answers == labels)[of_task].double().mean()
    as_newest = torch.isin(answers[of_task], labels[tasks == run.n_tasks - 1].unique()).double().mean()
    print(f"images of task {task}           {right:6.1%}          {as_newest:6.1%}")
print(f"\nYou predicted: {guess}.")

# %% [markdown]
# **What it means.** The head has not become unsure: it calls every old digit by the name of a new one. While it learnt
# the last task, every image was one of those two, and to answer anything else was always wrong.
#
# Look at the loss terms above. The `ce` term jumps at each new task: the old answers no longer fit.
#
# **What it does not show.** That the network can no longer *see* the difference between the old digits. The head is one
# layer; what is in the features below it, the next sections ask.

# %% [markdown] minutes=10
# ## 2. How do you read a task matrix?
#
# From here on, the saved runs. The kit's own learn five invented alphabets of twenty signs each, one alphabet a task.
#
# After each task, test on the images of every task so far. This gives the **task matrix**:
#
# $$R_{ij} = \text{the metric on the test images of task } j \text{ after learning task } i.$$
#
# The code below is that sentence, for the accuracy of the head. Above the diagonal, $j > i$, there is nothing to name
# yet.

# %%
run = saved.run("finetune")
labels, tasks = run.test()["labels"], run.test()["tasks"]
T = run.n_tasks
head = [
    [(run.predictions(i) == labels)[tasks == j].double().mean().item() if j <= i else None for j in range(T)]
    for i in range(T)
]
recall = run.metrics["recall_at_1"]["seen"]  # the same for Recall@1, searching among the images of all tasks so far
plots.task_matrices({"head accuracy": head, "Recall@1": recall}, title="Fine-tuning", protocol="seen")

# %% [markdown]
# Read a **column** downwards: it is the story of one task. It begins on the diagonal, right after the task was learnt.
# Read the **last row**: it is what is left in the end. Read the **diagonal**: it is how well each new task was learnt.
#
# **Backward transfer** says how the later tasks changed the earlier ones. With tasks numbered from 1 to $T$, as papers
# do,
#
# $$\mathrm{BWT} = \frac{1}{T-1} \sum_{j=1}^{T-1} \big( R_{Tj} - R_{jj} \big),$$
#
# the last row minus the diagonal, averaged over all tasks but the last. Less than zero means that something was lost.
# Write it; in Python, counting begins at 0, and the last row is `matrix[-1]`.


# %% tags=["exercise"] minutes=4 difficulty=1
def backward_transfer(matrix):
    """Return the mean of R[T][j] − R[j][j] over all tasks j but the last.

    matrix: a list of T lists of T numbers; matrix[i][j] on task j after task i, None where j > i.
    """
    # >>> solution: the last row minus the diagonal, averaged over all columns but the last
    changes = [matrix[-1][j] - matrix[j][j] for j in range(len(matrix) - 1)]
    return sum(changes) / len(changes)
    # <<< solution


# %% tags=["check"]
check.backward_transfer(backward_transfer)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# For two tasks there is one column to look at: `matrix[-1][0] - matrix[0][0]`. In general `j` runs over
# `range(len(matrix) - 1)`.
#
# More hints, one at a time, the last is the solution: run `check.hint("backward_transfer")` in a cell of its own.

# %% [markdown]
# **What it does not show.** An average over tasks hides which task it was. And it starts from the diagonal, although a
# task may go best some time later. The next section mends the second.

# %% [markdown] minutes=14
# ## 3. How much is forgotten?
#
# **Forgetting** (Chaudhry et al. 2018) starts from the best that a task ever was:
#
# $$F = \frac{1}{T-1} \sum_{j=1}^{T-1} \Big( \max_{i < T} R_{ij} - R_{Tj} \Big).$$
#
# Again with tasks from 1 to $T$; in Python the last row is `matrix[-1]`. The maximum is over all rows *before the last*,
# the mean over all tasks but the last: the newest has had no time to be forgotten. Large is bad. If a task goes better in the end than ever before, its share is less than zero.
#
# Write it. Cells above the diagonal may be `None`; skip them. Where they do hold numbers, they count like any other.


# %% tags=["exercise"] minutes=9 difficulty=2
def forgetting(matrix):
    """Return the mean over all tasks but the last of the best value before the last row, minus the last row's.

    matrix: a list of T lists of T numbers; matrix[i][j] on task j after task i, perhaps None where j > i.
    """
    # >>> solution: for each column but the last, the best of the rows before the last, minus the last row
    *earlier, last = matrix
    falls = []
    for j in range(len(matrix) - 1):
        best = max(row[j] for row in earlier if row[j] is not None)
        falls.append(best - last[j])
    return sum(falls) / len(falls)
    # <<< solution


# %% tags=["check"]
check.forgetting(forgetting)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# Do it by hand for the Recall@1 of the first task in section 2: which numbers of the first column may be the best,
# and which one is left in the end?
#
# More hints, one at a time, the last is the solution: run `check.hint("forgetting")` in a cell of its own.

# %% [markdown]
# Yours beside the library's, for the saved runs. `lwf` and `csd` are methods against forgetting, of which the next
# notebooks tell; in brackets stands a weight that was chosen for these images, without brackets all
# weights are 1. `supcon` is a control for CSD, without its teacher (notebook 04). `joint` learns
# all tasks at once, before the first one, and so is the usual upper bound. And `frozen` learns the first task and
# nothing after: its network stays as it is.
#
# **Predict.** Two questions about `frozen`. Will its forgetting be larger or smaller than that of fine-tuning? And its
# Recall@1 in the end, over all tasks?

# %% tags=["predict"]
guess = {"forgetting": "?", "in the end": "?"}  # put "larger" or "smaller" than fine-tuning's

# %%
measured = {}
your_forgetting = check.yours_or_ours("forgetting")
print("Recall@1    forgetting: yours   the library's   first − last   in the end, all queries")
for saved_run in saved.runs():
    matrix = saved_run.metrics["recall_at_1"]["seen"]
    yours, library = your_forgetting(matrix), csd.metrics.forgetting(matrix)
    end = saved_run.metrics["summary"]["recall_at_1"]
    fell = csd.metrics.first_minus_last(matrix)
    measured[saved_run.method] = library, end
    print(f"{saved_run.method:<24} {yours:>6.3f} {library:>15.3f} {fell:>14.3f} {end:>18.3f}")
print(f"\nYou predicted {guess}.")
for k, what in enumerate(("forgetting", "in the end")):
    is_larger = measured["frozen"][k] > measured["finetune"][k]
    print(f"measured, {what}: frozen has the {'larger' if is_larger else 'smaller'} one")

print("\nThe end of csd_edu.metrics.forgetting, which does the same with arrays (NaN for None):\n")
print("\n".join(inspect.getsource(csd.metrics.forgetting).splitlines()[-4:]))

# %% [markdown]
# **What it means.** A network can forget little and be of little use: `frozen` loses far less than fine-tuning, as it has
# not learnt the later tasks at all. (Why does it lose anything? Section 5.) Never read forgetting without
# the last column beside it. And read fine-tuning's last column against that of `frozen`: the difference is what the later
# tasks were good for.
#
# "Forgetting" is not one measure. Some libraries print first − last (minus the backward transfer) under that name, and
# others divide by $T$. Where the two columns are equal, as they mostly are here, each task was at its best
# right after it was learnt: in a gallery that grows, hardly any gets better with time. Always give the
# formula with the number; the widget does.
#
# **What it does not show.** Whether the small differences, as among LwF and the CSDs, would be there again with another
# seed. Notebook 07 asks that.

# %% tags=["claim"]
for seed in saved.seeds():
    summary = {name: saved.run(name, seed=seed).metrics["summary"] for name in saved.names()}
    assert summary["frozen"]["forgetting"] < summary["finetune"]["forgetting"] - 0.05
    assert summary["frozen"]["recall_at_1"] < summary["finetune"]["recall_at_1"]
    assert summary["joint"]["forgetting"] < 0.05
    for name in ("lwf-tuned", "csd", "csd-tuned"):
        assert summary[name]["forgetting"] < summary["finetune"]["forgetting"]

# %% [markdown]
# Now look behind the numbers.
#
# Choose a metric and a gallery, and click on a cell: below you see the queries behind its number.

# %% tags=["widget"]
widgets.ForgettingMatrices(*saved.runs("finetune", "csd-tuned"))

# %% [markdown] minutes=8
# ## 4. Which goes first, naming or finding?
#
# The head *names* an image; the search *finds* images like it. Both work on the same features. For the search there is
# no row of weights that a new class could outvote: it only compares features.
#
# **Predict.** You have seen fine-tuning's head fail on the older tasks (section 2). What share of them do the heads of LwF
# and CSD name correctly? And leave fine-tuning's head out: name each image by the nearest class mean of its features
# (*class-mean accuracy*). What share of the older tasks' images is right?

# %% tags=["predict"]
guess = {"heads of LwF and CSD": "?", "class means, fine-tuning": "?"}  # put two numbers from 0 to 1 instead

# %%
methods = saved.runs("finetune", "lwf-tuned", "csd-tuned", "joint")
plots.classification_beside_retrieval(
    {method.method: method.metrics["overall"]["head_accuracy"] for method in methods},
    {method.method: method.metrics["overall"]["recall_at_1"] for method in methods},
)

# %%
compared = Comparison(saved.runs(*WITH_FEATURES))
older = compared.tasks < compared.n_tasks - 1  # images of all tasks but the last
print(f"You predicted {guess}.\n\nimages of the older tasks, after the last one")
names = ("Head accuracy", "Class-mean accuracy", "Recall@1")
print(" " * 20 + "".join(f"{metric:>22}" for metric in names))
for name in compared.runs:
    shares = [compared.scores(name, metric)[-1, older].mean() for metric in names]  # scores: (T, N), 1 is right
    print(f"{name:<20}" + "".join(f"{share:>22.3f}" for share in shares))

# %% [markdown]
# **What it means.** For the older tasks the head's accuracy is next to nothing, with fine-tuning, LwF and CSD alike. What
# is left in the left panel is the newest task, a smaller and smaller part of the whole. The features still find most
# images, and with LwF and CSD more than with fine-tuning. *Class-mean accuracy* confirms where the knowledge is: it names
# a class as well, but by the nearest class mean, without the head. So these methods protect the features, not the head;
# for a search engine it is the features that count. (A method that keeps a few old images can mend the head: README,
# "Methods".)
#
# **What it does not show.** That retrieval is "better" than classification: these are different questions with
# different luck. Only the *fall* of each can be compared. And class means are computed here from stored test images of
# all classes; a search engine has its gallery, but a classifier without memory would not have them.

# %% tags=["claim"]
for name in compared.runs:
    head, by_mean, found = (compared.scores(name, metric)[-1, older].mean() for metric in names)
    if name == "joint":
        assert head > 0.9
    else:
        assert head < 0.02
        assert min(by_mean, found) > 0.4
    assert name in ("finetune", "joint") or found > compared.scores("finetune", "Recall@1")[-1, older].mean()

# %% [markdown] minutes=8
# ## 5. Forgotten, or lost in the crowd?
#
# Recall@1 of the first task is lower in the end than at first. Two things have happened in the meantime: the network has
# *changed*, and the gallery has *grown*. More images, more places to go wrong, even for a network that stays the same.
#
# Two protocols tell them apart. Under `seen` an image searches among the images of all tasks so far. Under `task` it
# searches among those of its own task only: this gallery never grows. So what falls under `task` is **forgetting**, here in
# the narrow sense, and what the final network loses when the gallery is that of `seen` instead is **crowding**. The two add
# up to the way from Recall@1 right after the task, among its own images, to Recall@1 in the end, among all. (For the first
# task that is the fall under `seen`. A later task is in a crowd from the start, so its fall in section 3 is smaller.)
#
# And there is a control: `frozen`, the network that does not change. It forgets nothing, so all that *it* loses is
# crowding.
#
# **Predict.** The first task, from its own end to the end of the last one. How much of fine-tuning's fall does the
# frozen network suffer as well?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "all of it", "most of it", "about half", "hardly any"

# %%
finetune, frozen = saved.runs("finetune", "frozen")


def first_column(run, protocol):
    """Return Recall@1 on the images of the first task, after each task."""
    return [row[0] for row in run.metrics["recall_at_1"][protocol]]


curves = {
    "frozen (growing)": first_column(frozen, "seen"),
    "finetune (fixed)": first_column(finetune, "task"),
    "finetune (growing)": first_column(finetune, "seen"),
}
plots.curves_over_tasks(
    curves,
    title=f"The first {saved.group()}, in a fixed and in a growing gallery",
    metric="Recall@1",
    subtitle="of the images of the first task",
)

# %%
falls = {name: curve[0] - curve[-1] for name, curve in curves.items()}
for name, fall in falls.items():
    print(f"{name:<20} falls by {fall:.3f}")
share = falls["frozen (growing)"] / (falls["finetune (growing)"] or torch.nan)
print(f"\nYou predicted: {guess}. A network that does not change loses {share:.0%} of what fine-tuning loses.")

# %% [markdown]
# Now all tasks, and all methods: each bar is as long as what was learnt, and in three parts.

# %%
parts = {run.method: metrics.mean_fall(falls_of(run)) for run in saved.runs()}
plots.forgetting_and_crowding(parts)

# %% [markdown]
# **What it means.** A fall under `seen` is not all forgetting: the gallery takes a part from every network, also from one
# that does not change. Fine-tuning's larger part is forgetting. LwF and CSD lose less of *both* kinds than fine-tuning:
# their features also keep old and new classes better apart. And the bar of `frozen` begins short: its features were
# never taught the later tasks.
#
# It would be a mistake to take `joint` for the control. It loses nearly nothing to the crowd, but it was *trained* to
# tell all classes apart; a network that has not seen the later classes can't do that.
#
# **What it does not show.** That the printed share is a constant: it is of one seed, and of the first task. Crowding weighs
# differently on each network, so the part of `frozen` is not "the" crowding of
# fine-tuning. The three parts are a way of counting that adds up; they are not three causes that could be removed one by
# one.

# %% tags=["claim"]
assert abs(parts["frozen"].forgetting) < 1e-9
assert parts["finetune"].forgetting > parts["finetune"].crowding
for name, part in parts.items():
    assert abs(part.left + part.crowding + part.forgetting - part.learnt) < 1e-9
    if name.startswith(("lwf", "csd")):
        assert part.forgetting < parts["finetune"].forgetting
        assert part.crowding < parts["finetune"].crowding
assert parts["joint"].crowding < 0.03
assert 0.1 < share < 0.95

# %% [markdown] minutes=12
# ## 6. Which queries are lost?
#
# If you have done notebook 00, you know one half of this: there you counted the lost queries. Now with the other half.
#
# A fall from 0.9 to 0.7 may mean that one query in five was lost. Or that many more were lost, and others won: a mean
# doesn't say. So look at each query. Its **rank** is the place of the first right answer: 1 is a hit for Recall@1.
# `ranks[t, q]` is the rank of query `q` after task `t`.
#
# **Predict.** With fine-tuning, some queries are *lost*: found right after their own task was learnt, but not in the
# end. Are there also queries that are *won*: not found then, but found in the end?

# %% tags=["predict"]
guess = "no prediction yet"  # put one of these instead: "none", "a few", "nearly as many as are lost", "more"

# %%
run = saved.run("finetune")
labels, tasks = run.test()["labels"], run.test()["tasks"]
ranks = csd.metrics.query_ranks(run.snapshots(), labels, tasks, protocol="seen")  # (T, N)
print(f"ranks {tuple(ranks.shape)}; tasks {tuple(tasks.shape)}")
print("query 0, learnt in task 0, its rank after each task:", ranks[:, 0].tolist())

# %% [markdown]
# Write the function that finds both. The difficulty: each query has its own "then", the row of its own task. Queries
# whose task has only just been learnt have had no time to change: then and now are the same row.


# %% tags=["exercise"] minutes=7 difficulty=3
def lost_and_won(ranks, tasks):
    """Return which queries are lost, and which are won, by Recall@1.

    ranks: (T, N) integers from 1, the rank of each query's first right answer after each task; tasks: (N,) integers,
    the task of each query. Returns two masks (N,) of booleans.
    """
    # >>> solution: compare the row of each query's own task with the last row
    then = ranks[tasks, torch.arange(len(tasks))] == 1  # (N,) found right after its task
    now = ranks[-1] == 1  # (N,) found in the end
    return then & ~now, now & ~then
    # <<< solution


# %% tags=["check"]
check.lost_and_won(lost_and_won)

# %% [markdown] tags=["hint"]
# ### Stuck? How to get a hint
# `ranks[tasks, torch.arange(len(tasks))]` takes one number from each column: for query `q` that of row `tasks[q]`.
#
# More hints, one at a time, the last is the solution: run `check.hint("lost_and_won")` in a cell of its own.

# %%
print("                        kept   lost    won missed")
counts = {}
for saved_run in saved.runs(*WITH_FEATURES):
    all_ranks = csd.metrics.query_ranks(saved_run.snapshots(), labels, tasks, protocol="seen")
    changes = csd.metrics.query_changes(all_ranks, tasks)  # {"kept": (N,), "lost": …, "won": …, "missed": …}
    counts[saved_run.method] = {change: int(mask.sum()) for change, mask in changes.items()}
    print(f"{saved_run.method:<22}" + "".join(f"{int(mask.sum()):>7}" for mask in changes.values()))
lost, won = check.yours_or_ours("lost_and_won")(ranks, tasks)
print(f"\nYou predicted: {guess}. Yours, for fine-tuning: {int(sum(lost))} lost, {int(sum(won))} won.")

# %% [markdown]
# Look at them. Each row is what one network finds after one task; choose *lost*, *kept* or *won* queries, and step
# through them.

# %% tags=["widget"]
widgets.RetrievalExplorer(*saved.runs("finetune", "csd-tuned"), k=6)

# %% [markdown]
# **What it means.** Forgetting is a balance: losses minus gains, and the mean shows only the balance. Here there are many
# more losses. LwF and CSD lose fewer queries than fine-tuning; what is won is little with any method. For somebody who
# searches every day it matters that a lost query is a search that used to work.
#
# **What it does not show.** Why a query is lost. Its own feature may have moved, the right answer's may have, or a new
# image may have come between them. Notebook 05 looks at the movement itself.

# %% tags=["claim"]
assert all(of["won"] > 0 and of["lost"] > 2 * of["won"] for name, of in counts.items() if name != "joint")
assert all(of["lost"] < counts["finetune"]["lost"] for name, of in counts.items() if name != "finetune")

# %% [markdown] minutes=6
# ## 7. Break it: one class a task
#
# How small may a task be? The triplet loss pulls images of one class together and pushes those of *other* classes away.
# Cross-entropy asks for the right one of several classes. Take ten tasks of a single digit each: what is left to learn
# from?
#
# **Predict.** The same ten digits in 2, in 5 and in 10 tasks, with fine-tuning. Raw pixels, without any network, find
# digits very well, and even an *untrained* network is not bad at it. Where does one class a task end?

# %% tags=["predict"]
guess = "no prediction yet"  # one of: "above the pixels", "between pixels and untrained", "at or below untrained"

# %% tags=["break"]
digits = csd.load("digits")
N_TASKS = (2, 5, digits.n_classes)  # the last: one digit a task; try 3 and 4 too
config = csd.preset("digits", "quick").config  # try .replace(seed=1): is it the same?
tries = {}
for n in N_TASKS:
    stream = csd.split(digits, n_tasks=n, seed=0)
    tries[n] = csd.train(stream, csd.methods.finetune, config, progress=False), stream.n_seen  # a few seconds each

with torch.no_grad():
    untrained = csd.models.build("resnet8", in_channels=digits.x_test.shape[1]).eval().embed(digits.x_test)
without_learning = {
    name: csd.metrics.recall_at_k(features, digits.y_test, features, digits.y_test, exclude_self=True)[1]
    for name, features in (("raw pixels", digits.x_test.flatten(1).float()), ("untrained", untrained))
}

# %% [markdown]
# Choose Recall@1 or head accuracy in the list above the picture. Mind the vertical axis: that of Recall@1 does not begin
# at 0.

# %%
levels = {f"{name}, all ten digits": value for name, value in without_learning.items()}  # they have no head
lowest = min(*levels.values(), *(value for run, _ in tries.values() for value in run.metrics["overall"]["recall_at_1"]))
figures = {}
for name, metric, span, marked in (
    ("Recall@1", "recall_at_1", (lowest - 0.05, 1.02), levels),
    ("head accuracy", "head_accuracy", (-0.03, 1.03), {}),
):
    curves = {}
    for n, (run, n_seen) in tries.items():
        values = dict(zip(n_seen, run.metrics["overall"][metric], strict=True))
        curves[f"{n} tasks"] = [values.get(seen) for seen in range(1, digits.n_classes + 1)]
    figures[name] = plots.lines(
        curves,
        [str(seen) for seen in range(1, digits.n_classes + 1)],
        title="Ten digits in few and in many tasks",
        x_title="digits seen so far",
        y_title=name,
        subtitle="share of the test images of all digits seen so far",
        y_range=span,
        levels=marked,
    ).update_traces(connectgaps=True)
plots.choose(figures)

# %%
for name, value in without_learning.items():
    print(f"{name:<12} Recall@1 {value:.3f}")
for n, (run, _) in tries.items():
    triplet = max(record["losses"]["triplet"] for record in run.records if record["kind"] == "epoch")
    end = run.metrics["summary"]
    print(
        f"{n:>2} tasks     Recall@1 {end['recall_at_1']:.3f}   head {end['head_accuracy']:.3f}"
        f"   largest triplet loss {triplet:.2f}"
    )
print(f"\nYou predicted: {guess}.")

# %% [markdown]
# **What it means.** With one class a task there is no image of another class in any batch: the triplet loss has nothing
# to push away and is zero throughout. Cross-entropy learns to name everything after the newest digit, so in the end the
# head knows one class of ten. And the features? The more tasks, the lower Recall@1 ends. With one class a task it ends
# about where a network stands that has never learnt anything (one seed), and far below the pixels.
#
# **What it does not show.** That Recall@1 "hardly forgets" because it stays high on the digits. It stays high because
# these digits are easy to find without learning anything. A dataset on which pixels do well can't show much forgetting;
# that is why the alphabets have colours. And it is one seed: change `seed` above before you believe a small difference.

# %% tags=["claim"]
ends = {n: run.metrics["summary"]["recall_at_1"] for n, (run, _) in tries.items()}
assert ends[2] > ends[10]
assert ends[10] < without_learning["raw pixels"] - 0.05
assert tries[10][0].metrics["summary"]["head_accuracy"] < 0.15

# %% [markdown] minutes=7
# ## 8. Looking back
#
# **To discuss.** A new method reports a forgetting of 0.00 under the protocol `task`. Describe two networks that reach this,
# and that nobody would want. What must be reported beside it?

# %% [markdown] tags=["answer"]
# **A model answer.** A network that never learns has nothing to forget: freeze it after the first task, or before it. Under
# `task` its forgetting is exactly 0; under `seen` only crowding is left. A network whose features have collapsed finds nothing from the first task on: all zeros, forgetting 0. One that learns each new task
# badly has low maxima to fall from.
#
# So report beside it: the last row, or its mean (what works in the end); the diagonal (how well new tasks are learnt);
# the joint network as the upper bound; something simple, such as pixels, as the lower one; the formula and the protocol;
# and several seeds.

# %% [markdown]
# **Summary.** Trained on new classes only, a network's head soon names nothing but the newest. Features forget too, but
# less: search still finds what the head can't name. The task matrix holds the whole story; forgetting is the mean fall
# from each task's best. Beside it belong the last row, the protocol, and a look at single queries, because part of a
# fall is crowding, which a network that does not change suffers as well, and every mean hides gains behind losses.
#
# **Test yourself.**
#
# 1. A column of the task matrix reads 0.6, 0.7, 0.5, from the diagonal to the last row. What does this task add to
#    forgetting, and what to backward transfer, before the mean is taken?
# 2. Under the protocol `task`, the cells above the diagonal hold numbers. What do they mean?
# 3. Recall@1 falls under `seen` and stays level under `task`. What has happened?
#
# <details><summary>Answers</summary>
#
# 1. Forgetting: the best before the last row is 0.7, so 0.7 − 0.5 = 0.2. Backward transfer: 0.5 − 0.6 = −0.1.
# 2. How well a task goes *before* it is learnt: the features that earlier tasks have left are of some use for it.
# 3. Within its own task each image still finds its class; it is confused with images of tasks that came later. That can
#    be crowding alone, or new classes whose features lie on top of the old ones.
#
# </details>
#
# **Where to read on.**
#
# - McCloskey & Cohen, *Catastrophic Interference in Connectionist Networks: The Sequential Learning Problem*, Psychology
#   of Learning and Motivation 24, 1989: where it was first described.
# - Lopez-Paz & Ranzato, *Gradient Episodic Memory for Continual Learning*, NeurIPS 2017: the task matrix, backward and
#   forward transfer.
# - Chaudhry, Dokania, Ajanthan & Torr, *Riemannian Walk for Incremental Learning*, ECCV 2018: the forgetting measure.
# - Davari, Asadi, Mudur, Aljundi & Belilovsky, *Probing Representation Forgetting in Supervised and Unsupervised
#   Continual Learning*, CVPR 2022: features forget less than heads.
# - Barletti, Biondi, Pernici, Bruni & Del Bimbo, *Contrastive Supervised Distillation for Continual Representation
#   Learning*, ICIAP 2021: the method of the next notebooks.

# %% [markdown] tags=["instructor"]
# **For the instructor.** Common difficulties: rows and columns of the matrix swapped; the last row taken into the
# maximum; `None` compared with a number. Many expect the frozen network to be the worst in every column; section 3 is
# the moment to ask what a low forgetting is worth. If time is short, leave out `lost_and_won` and show the widget of section 6 instead.

# %%
check.board("backward_transfer", "forgetting", "lost_and_won")
