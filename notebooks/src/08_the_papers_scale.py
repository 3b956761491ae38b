# %% [markdown] budget_minutes=4
# # Can you train at the paper's scale on a borrowed computer?
#
# So far a network was trained in seconds. The paper's networks see CIFAR-100, 60,000 photographs, and each task 800
# times. That takes a GPU and hours, and a GPU on Colab is borrowed: it may be taken away at any moment. Here you
# estimate how long a schedule takes *before* you start it, train CSD and fine-tuning as far as your computer allows,
# stop the training in the middle, and find out exactly what is lost.
#
# After this notebook you can
#
# - estimate from a few seconds of training how long a schedule will take;
# - stop a training, or lose the computer under it, and go on where it was;
# - say what a checkpoint must hold so that a continued run is *the same* run, and prove it.
#
# | section | minutes |
# | --- | --- |
# | 1. What is the paper's scale? *Exercise 1* | 10 |
# | 2. Train, and stop on purpose | 12 |
# | 3. What is on the disk? *Exercise 2* | 10 |
# | 4. Is a continued run the same run? *Exercise 3* | 19 |
# | 5. Break it: half a checkpoint, and other settings | 8 |
# | 6. What came out? | 10 |
# | Summary and self-test | 5 |
#
# **Computing:** on two CPU cores about a minute and a half in all, with a small part of CIFAR-100. On a Colab GPU the
# larger training of sections 2 and 6 takes longer: section 1 tells how long, before you start it. **Needs:** nothing
# from the other notebooks. CIFAR-100 is looked for on the disk, else downloaded once (169 MB); without a network the
# notebook goes on with invented signs. After the three set-up cells you may start with any section.

# %% tags=["setup"]
# first cell

# %% [markdown]
# **Where will the runs be kept?** A run folder must outlive the computer that fills it. On Colab, everything on the
# machine's own disk is gone when the machine is. Your Google Drive stays. The next cell asks for permission to use it;
# you may refuse, and are told what that means. Elsewhere the runs go into a folder beside this notebook.

# %% tags=["setup", "folded"] title="Set-up: where the runs are kept"
from pathlib import Path

from csd_edu.runtime import on_colab

RUNS = Path("runs/08")  # or another folder
if on_colab():
    try:
        from google.colab import drive

        drive.mount("/content/drive")
        RUNS = Path("/content/drive/MyDrive/csd_edu/08")
    except Exception as error:  # refused, or the window was closed
        print(f"Google Drive is not there ({type(error).__name__}: {error}). The notebook goes on without it.")
        print(
            "A stopped cell or a restarted kernel can still go on. If Colab takes this machine back, the runs are lost."
        )
print(f"Runs are kept in {RUNS}")

# %% [markdown]
# **What will be trained?** That depends on this computer. To decide for yourself, change the first two lines.

# %% tags=["setup", "folded"] title="Set-up: the data (DATASET and PRESET may be changed), and helpers"
import contextlib
import itertools
import json
import statistics
import tempfile
import time
import zlib
from collections import Counter

import torch

import csd_edu as csd
from csd_edu import check, plots, widgets
from csd_edu.comparison import Comparison
from csd_edu.data import Dataset
from csd_edu.files import read_tensors, write_tensors
from csd_edu.runtime import pick_device, pick_precision

DATASET = "auto"  # or "cifar100", "glyphs", "digits", "omniglot", a .npz file, a folder of images
PRESET = "auto"  # or "quick", "lab", "paper"

device = pick_device("auto")
GPU = device.type == "cuda"
source = "cifar100" if DATASET == "auto" else DATASET
size = ("lab" if GPU else "quick") if PRESET == "auto" else PRESET
try:
    preset = csd.preset(source, size)
    data = csd.load(source, **preset.of_images())
except ConnectionError:
    print(f"{source} is not on this computer, and it could not be downloaded. To have it: connect to the internet and")
    print(
        f"run this cell again, or put {source}.npz into a folder and name that in the environment variable CSD_EDU_DATA."
    )
    preset = csd.preset("glyphs", size)
    data = csd.load("glyphs", **preset.of_images())
stream = csd.split(data, **preset.in_tasks(), seed=0)
config = preset.config
if PRESET == "auto" and not GPU:  # half of the epochs, so that both methods together take about a minute
    config = config.replace(epochs=config.epochs // 2, later_epochs=config.later_epochs // 2)

key = zlib.crc32(json.dumps([stream.describe(), config.to_json()], sort_keys=True).encode())
FOLDER = RUNS / f"{data.name}-{size}-{key:08x}"  # other settings, another folder

# A run of seconds, for experiments: on the CPU, whatever else is there.
small = csd.split(csd.load("digits", per_class=20), n_tasks=3, seed=0)
SMALL = csd.Config(epochs=4, later_epochs=3, batch_size=32, crop_padding=2, device="cpu")


def train(method):
    """Train with a live view, or go on where the run stopped, or open it if it is finished; return the run."""
    folder = FOLDER / method.__name__
    run = csd.Run.load(folder) if (folder / "config.json").exists() else None
    total = sum(config.epochs_of(task) for task in range(stream.n_tasks))
    done = 0 if run is None else epochs_saved(folder)
    if run is not None and run.finished:
        print(f"{method.__name__} was finished already: nothing is trained, its results are loaded. To start afresh:")
        print(f"import shutil; shutil.rmtree({str(folder)!r})  and this cell again")
    elif done:
        print(f"{method.__name__} goes on after {done} of {total} epochs")
    else:
        print(f"{method.__name__} begins; {total} epochs")
    return widgets.LiveTraining(stream, method, config, out=folder).train()


def sitting(folder, n_records):
    """Train the small run on until it has written `n_records` more records, then stop."""
    with contextlib.closing(csd.training(small, csd.methods.csd, SMALL, out=folder)) as records:
        for _ in itertools.islice(records, n_records):
            pass


def epochs_saved(folder):
    """Return how many epochs a run has behind it."""
    return sum(record["kind"] == "epoch" for record in csd.Run.load(folder).records)


def show_folder(folder):
    """Print the files of a run folder and their sizes."""
    for path in sorted(folder.glob("*")):
        print(f"{path.stat().st_size / 1000:>10,.1f} kB  {path.name}")


def compare(one, other):
    """Return whether metrics and records of two runs are equal, and the largest difference between their weights."""

    def told(run):  # the journal without the times
        return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in run.records]

    weights = [[run.network(t).state_dict() for t in range(run.n_tasks)] for run in (one, other)]
    pairs = [(a[name], b[name]) for a, b in zip(*weights, strict=True) for name in a]
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return one.metrics == other.metrics, told(one) == told(other), largest


epochs = f"{config.epochs} epochs for the first task and {config.later_epochs} for each other"
print(f"{f'With the GPU ({torch.cuda.get_device_name()})' if GPU else 'Without a GPU'} this notebook trains ", end="")
print(f"{config.network} on {len(data.x_train):,} images of {data.name}: {stream.n_tasks} tasks, {epochs}.")

# %% [markdown] minutes=10
# ## 1. What is the paper's scale?
#
# A **schedule** says how many tasks there are, and how often each image passes through the network. The kit has three
# for photographs like CIFAR-100, which has 500 training images for each of its 100 classes. *paper* is the one
# published with CSD.

# %%
rows = {name: csd.preset("cifar100", name) for name in ("quick", "lab", "paper")}
rows = {name: (p.config, p.n_tasks, 100 * (p.per_class or 500) // p.n_tasks) for name, p in rows.items()}
rows["here"] = (config, stream.n_tasks, len(data.x_train) // stream.n_tasks)


def passes(settings, n_tasks, images_per_task):
    """Return how many images pass through the network in all."""
    return sum(images_per_task * settings.epochs_of(task) for task in range(n_tasks))


print(
    f"{'':<7}{'network':<11}{'tasks':>5}{'images a task':>15}   {'epochs':<15}{'learning rate':<15}{'images passed':>14}"
)
for name, row in rows.items():
    settings, n_tasks, images_per_task = row
    rates, n_epochs = f"{settings.lr:g}, {settings.later_lr:g}", f"{settings.epochs}, then {settings.later_epochs}"
    print(f"{name:<7}{settings.network:<11}{n_tasks:>5}{images_per_task:>15,}   {n_epochs:<15}", end="")
    print(f"{rates:<15}{passes(*row):>14,}")
times = passes(*rows["paper"]) / passes(*rows["here"])
print(f"\nThe published schedule passes {times:,.0f} times as many images as the one chosen here.")

# %% [markdown]
# How long does the published schedule take on *this* computer? **Make a guess**:

# %% tags=["predict"]
hours_guessed = "no prediction yet"  # put a number of hours instead

# %% [markdown]
# Nobody has to wait for the end to know. Measure how many images pass through the network in a second, in two short
# tasks of noise: what is in the images makes no difference to the speed, only how large they are. In the first task
# there is no **teacher**, the network as it was before the task; in the second the teacher looks at each image too, and the loss has two more terms. Four epochs
# each. The first does not count, for the computer is still getting ready; of the others the fastest does: whatever
# else the computer is busy with can only slow it down.

# %%
n = 50 if GPU else 2  # images of each of 100 classes
generator = torch.Generator().manual_seed(0)
labels = torch.arange(100)
noise = torch.randint(0, 256, (100 * n, 3, 32, 32), generator=generator, dtype=torch.uint8)
noise = csd.split(Dataset("noise", noise, labels.repeat(n), noise[:100], labels, tuple(map(str, range(100)))), 2)
short = csd.preset("cifar100", "paper").config.replace(epochs=4, later_epochs=4)
with tempfile.TemporaryDirectory() as folder:
    records = list(csd.training(noise, csd.methods.csd, short, out=folder))
epochs_of = [[r["images_per_second"] for r in records if r["kind"] == "epoch" and r["task"] == t] for t in (0, 1)]
speeds = [max(of[1:]) for of in epochs_of]

precision = str(pick_precision("auto", device)).removeprefix("torch.")
print(f"{short.network} on {device.type}, convolutions in {precision}:")
print(f"{speeds[0]:,.0f} images per second in the first task, {speeds[1]:,.0f} with a teacher")

# %% [markdown]
# ### Exercise 1: how many hours?
# One entry in each list for each task. Mind that the tasks run at different speeds.


# %% tags=["exercise"] minutes=4 difficulty=1
def training_hours(images, epochs, speeds):
    """Return how many hours all tasks take together.

    images: of each task, the training images.
    epochs: of each task, how often they pass through the network.
    speeds: of each task, the images per second.
    """
    # >>> solution: add up the seconds of the tasks, and make hours of them
    seconds = sum(n * times / speed for n, times, speed in zip(images, epochs, speeds, strict=True))
    return seconds / 3600
    # <<< solution


# %% tags=["check"]
check.training_hours(training_hours)

# %% [markdown] tags=["hint"]
# ### Hint
# A task passes `images × epochs` images. Divided by images per second, that makes seconds. Add up the seconds of the
# tasks, not the speeds. `zip(images, epochs, speeds)` gives the three numbers of one task at a time. For more, run
# `check.hint("training_hours")` in a new cell, once or several times.

# %%
hours_of = check.yours_or_ours("training_hours")
for name in ("lab", "paper"):
    settings, n_tasks, images_per_task = rows[name]
    n_epochs = [settings.epochs_of(task) for task in range(n_tasks)]
    hours = hours_of([images_per_task] * n_tasks, n_epochs, [speeds[0]] + [speeds[1]] * (n_tasks - 1))
    print(f"{name:<6} {hours:8.2f} hours of CSD on this computer")
print(f"You guessed, in hours, for the published schedule: {hours_guessed}")

# %% [markdown]
# **What it means.** The published schedule is not for a lesson. The *lab* schedule keeps the paper's network and all
# images, in five tasks instead of two and with far fewer epochs, under a learning rate that rises and falls once
# (*one-cycle*). How far that gets, section 6 shows. On a CPU even that is too long, so there the notebook takes a smaller
# network and fewer images.
#
# **What it does not show.** The time for measuring after each task and for saving, and what else this computer does
# meanwhile. Measure again when it is busy, and you get another estimate.

# %% [markdown] minutes=12
# ## 2. Train, and stop on purpose
#
# The next cell trains CSD, shows the loss terms while it does, and now and then saves a **checkpoint**, all that is
# needed to go on.
#
# 1. Run the cell. After two epochs or so, stop it with ■ (on Colab: the round button at the left of the cell). The red
#    `KeyboardInterrupt` is you.
# 2. Run the cell after it, to see what is on the disk.
# 3. Run the training cell again. Its first line says where it goes on.
#
# **Predict** first. You stop in the middle of an epoch. Where does it go on: at the very first epoch, at the first epoch
# of this task, after the last whole epoch, or at the very step?

# %% tags=["predict"]
goes_on = "no prediction yet"  # put one of the four instead

# %% tags=["widget"]
run = train(csd.methods.csd)

# %%
if (FOLDER / "csd").exists():
    show_folder(FOLDER / "csd")
    total = sum(config.epochs_of(task) for task in range(stream.n_tasks))
    print(f"\n{epochs_saved(FOLDER / 'csd')} of {total} epochs saved")
else:
    print("Nothing yet: run the cell above.")
print(f"You predicted: {goes_on}. It goes on after the last whole epoch.")

# %% [markdown]
# **Now lose everything but the disk.** In the middle of the training choose *Runtime → Restart session* (in JupyterLab
# *Kernel → Restart Kernel*). All variables are gone. Run the three set-up cells and the training cell again: it goes
# on. The folder's name is made of the settings, so the same settings find the same folder.
#
# | what happens | what is lost | what to do |
# | --- | --- | --- |
# | you press ■ | the epoch that was under way | run the training cell again |
# | the kernel dies or is restarted | that, and all variables | run the set-up cells and the training cell again |
# | Colab takes the machine back | that, and all that is not on your Drive | the same, if `RUNS` is on the Drive |
# | the disk is full | the epoch under way; what was saved stays whole | make room, run the training cell again |
#
# When the run is finished, the same cell only loads it. To start afresh, delete the folder, as the cell says.

# %% [markdown] minutes=10
# ## 3. What is on the disk?
#
# Each epoch and each task leaves a line in the **journal**, `records.jsonl`. The checkpoint is replaced after each line;
# the one before it is kept, should the newest be damaged. Here is a run of seconds, three tasks of handwritten digits.
# We stop it after six lines: four epochs of task 0, its measurement, and the first epoch of task 1. `csd.training` is a
# *generator*: it trains while one asks it for records, and stops when one asks no more.

# %%
with tempfile.TemporaryDirectory() as folder:
    stopped = Path(folder)
    with contextlib.closing(csd.training(small, csd.methods.csd, SMALL, out=stopped)) as records:
        first = list(itertools.islice(records, 6))
    print("the journal, each line cut short:")
    for line in (stopped / "records.jsonl").read_text(encoding="utf-8").splitlines():
        print("   ", line[:100], "…")
    print("\nthe files:")
    show_folder(stopped)
    tensors, about = read_tensors(stopped / "checkpoint.safetensors")
    started = time.perf_counter()
    write_tensors(stopped / "again.safetensors", tensors, about)
    saving = time.perf_counter() - started

print("\nin the checkpoint:", {"n_records": about["n_records"], **{k: about["state"][k] for k in ("task", "epoch")}})
for part in sorted({name.partition(".")[0] for name in tensors}):
    numbers = [tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")]
    print(f"    {part}: {sum(t.numel() for t in numbers):,} numbers, {sum(t.nbytes for t in numbers) / 1000:,.0f} kB")
print(f"\nTo save it took {1000 * saving:.1f} ms, an epoch {1000 * first[-1]['seconds']:.0f} ms.")

# %% [markdown]
# Most of the checkpoint is not the network: it is the optimiser, Adam. It keeps two running means for each
# weight, of its gradient and of the gradient's square, and counts its steps. Does it need them? Section 5 tries.
#
# What is *not* there: any state of a random number generator. Is it missing? Section 4 tries.
#
# ### Exercise 2: what is left to do?
# Write the function that tells how many epochs are still to be trained. A `Run` has `.records`, `.config`, `.n_tasks`;
# `.config.epochs_of(task)` is the number of epochs of a task. Records have a `"kind"` and a `"task"`, as you see above.


# %% tags=["exercise"] minutes=6 difficulty=2
def epochs_left(folder):
    """Return for each task how many epochs are still to be trained, such as [0, 1, 3].

    folder: of a run, finished or not.
    """
    run = csd.Run.load(folder)
    # >>> solution: count the epochs of each task in the journal, and subtract them from those it is to have
    done = Counter(record["task"] for record in run.records if record["kind"] == "epoch")
    return [run.config.epochs_of(task) - done[task] for task in range(run.n_tasks)]
    # <<< solution


# %% tags=["check"]
check.epochs_left(epochs_left)

# %% [markdown] tags=["hint"]
# ### Hint
# `Counter(…)` counts how often each value occurs, and says 0 for one that does not. Give it the `"task"` of those
# records whose `"kind"` is `"epoch"`. For more, run `check.hint("epochs_left")` in a new cell.

# %% [markdown]
# ### A question to discuss
#
# The kit saves after every epoch. You could save after every step, or once an hour. Suppose a checkpoint takes a
# tenth of a second to write, for your Drive is slow, and a borrowed GPU is taken back after four hours on average.
# How often should one save? What would you have to know to decide?

# %% [markdown] tags=["answer"]
# **A model answer.** Saving often costs time in writing, saving rarely costs time in repeating: on average half of what
# lies between two checkpoints is lost with each failure. With $\delta$ the time to save and $M$ the mean time between
# failures, an interval $t$ wastes about the share $\delta/t + t/(2M)$. It is smallest at $t = \sqrt{2\,\delta M}$ (Young,
# 1974). Here: $\sqrt{2 \cdot 0.1 \cdot 14{,}400}$ seconds, not quite a minute. Near the best $t$ the curve is flat, so
# "after each epoch" is good enough as long as an epoch takes seconds to a few minutes, and it makes a simple rule:
# nothing inside an epoch has to be restored. At the end of an epoch one need not remember which images have been seen.
# If an epoch took hours, one would have to save inside it, and to store the position in the shuffled data as well.

# %% [markdown] minutes=19
# ## 4. Is a continued run the same run?
#
# An interrupted experiment must not be another experiment. Otherwise nobody could compare it with one that ran through.
# Train the small run twice, once in one go, once in several sittings. **Predict** how much the weights of the two
# differ in the end:

# %% tags=["predict"]
difference_guessed = "no prediction yet"  # put one of these instead: "not at all", "in the last digits", "clearly"

# %% [markdown]
# ### Exercise 3: train until
# First a tool. Write a function that trains until there are `n` epochs in the journal, counted from the very
# beginning, over all tasks and all sittings, and then stops. If there are as many already, it trains nothing.
#
# `csd.training(…)` looks at the folder, or makes it, as soon as it is called; it trains when it is asked for a record.
# `next(records, None)` asks for one: training goes on to the end of the epoch (or of the measuring), and its record is
# returned; when all is trained, `None` is. The line `with contextlib.closing(…)` is written already: it says that
# nobody will ask any more, so that the folder is free for the next who trains there.


# %% tags=["exercise"] minutes=12 difficulty=3
def train_until(n, stream, method, config, folder):
    """Train on until the run in `folder` has `n` epochs, or is finished; then stop.

    stream, method, config, folder: as for `csd.training`.
    """
    with contextlib.closing(csd.training(stream, method, config, out=folder)) as records:
        # >>> solution: count the epochs in the journal, then ask for records while there are too few
        done = sum(record["kind"] == "epoch" for record in csd.Run.load(folder).records)
        while done < n and (record := next(records, None)) is not None:
            done += record["kind"] == "epoch"
        # <<< solution


# %% tags=["check"]
check.train_until(train_until)

# %% [markdown] tags=["hint"]
# ### Hint
# `csd.Run.load(folder).records` is the journal so far; count its epochs first. Then a `while` loop, as long as there
# are fewer than `n`: `next(records, None)` trains until the next record, and gives `None` when the run is finished.
# With `for record in records:` take care that nothing is trained if there is nothing to do. For more, run
# `check.hint("train_until")` in a new cell.

# %% [markdown]
# Now the experiment: one run in one go, and one that is stopped after 2, 5 and 8 epochs. As a control, a run with
# another seed: if *that* did not differ, our comparison would be blind.


# %%
with tempfile.TemporaryDirectory() as folder:
    whole, pieces, control = (Path(folder, name) for name in ("whole", "pieces", "control"))
    one_go = csd.train(small, csd.methods.csd, SMALL, out=whole, progress=False)
    stop_at = check.yours_or_ours("train_until")
    for n in (2, 5, 8):
        stop_at(n, small, csd.methods.csd, SMALL, pieces)
    several = csd.train(small, csd.methods.csd, SMALL, out=pieces, progress=False)
    other_seed = csd.train(small, csd.methods.csd, SMALL.replace(seed=1), out=control, progress=False)
    print(
        f"\n{'compared with one go':<22}{'same metrics':>14}{'same journal':>14}{'largest difference of a weight':>33}"
    )
    results = {"several sittings": compare(one_go, several), "another seed": compare(one_go, other_seed)}
for name, (metrics, journal, largest) in results.items():
    print(f"{name:<22}{'yes' if metrics else 'no':>14}{'yes' if journal else 'no':>14}{largest:>33g}")
print(f"\nYou predicted: {difference_guessed}.")

# %% tags=["claim"]
assert results["several sittings"] == (True, True, 0.0)
assert not any(results["another seed"][:2])
assert results["another seed"][2] > 1

# %% [markdown]
# **What it means.** Not "about the same": the same bits. That is a strong sign. Training amplifies the smallest
# difference; had the checkpoint missed anything that matters, one would see it. The state of a random number generator
# does not matter, because every epoch begins with seeds computed from (seed, task, epoch): whoever repeats epoch 5 draws
# the same crops, in the same order, whether or not there was an interruption.
#
# **What it does not show.** That two *computers* agree. Another processor, or another number of threads, adds up in
# another order, rounds otherwise, and training amplifies that too. On a GPU the kit asks for convolutions that repeat
# themselves; other operations there may still add in changing order. And if you go on with a GPU run on a CPU, you
# get a valid run, but not the same bits.

# %% [markdown] minutes=8
# ## 5. Break it: half a checkpoint, and other settings
#
# Many home-made trainings save only the network. So empty Adam's running means in a checkpoint, as if it had just
# begun, leave the rest, and let the training go on. **Predict.** Will it stop with an error, warn, go on to another result, or go on to the same?

# %% tags=["predict"]
without_moments = "no prediction yet"  # put one of the four instead

# %% tags=["break"]
empty = "optimizer."  # tensors whose names begin so; "optimizer.state[0]." are those of the first layer only
stop_after = 2  # epochs of task 0, which has 4

with tempfile.TemporaryDirectory() as folder:
    whole, half = Path(folder, "whole"), Path(folder, "half")
    intact = csd.train(small, csd.methods.csd, SMALL, out=whole, progress=False)
    sitting(half, stop_after)
    tensors, about = read_tensors(half / "checkpoint.safetensors")
    emptied = {name: torch.zeros_like(tensor) for name, tensor in tensors.items() if name.startswith(empty)}
    write_tensors(half / "checkpoint.safetensors", tensors | emptied, about)
    broken = csd.train(small, csd.methods.csd, SMALL, out=half, progress=False)
    runs = {"whole": intact, "half a checkpoint": broken}
    print(f"{len(emptied)} of {len(tensors)} tensors emptied\n")
    print("sum of the loss terms in the epochs of task 0, and Recall@1 in the end:")
    for name, run in runs.items():
        sums = [sum(r["losses"].values()) for r in run.records if r["kind"] == "epoch" and r["task"] == 0]
        print(f"{name:<20}", *(f"{value:8.4f}" for value in sums), f"{run.metrics['summary']['recall_at_1']:10.3f}")
print(f"\nYou predicted: {without_moments}.")

# %% tags=["claim"]
sums = [[sum(r["losses"].values()) for r in run.records if r["kind"] == "epoch"] for run in runs.values()]
assert len(emptied) == 66
assert sums[0][:stop_after] == sums[1][:stop_after]
assert all(a != b for a, b in zip(sums[0][stop_after:], sums[1][stop_after:], strict=True))

# %% [markdown]
# **What it means.** No error, no warning. Up to the stop the two are equal, after it they are two different
# experiments: with empty running means Adam's first steps have other lengths and directions. Whether the result is
# better or worse is chance. The point is that nobody would notice.
#
# The second trap is easier to fall into: one changes a setting, and goes on in the same folder. This kit refuses:


# %% tags=["break"]
def half_csd(step):
    """CSD with a smaller weight."""
    return csd.methods.csd(step, weight=0.5)


attempts = {
    "more epochs": (small, csd.methods.csd, SMALL.replace(epochs=6)),
    "another seed of the classes": (csd.split(small.dataset, n_tasks=3, seed=1), csd.methods.csd, SMALL),
    "another method": (small, half_csd, SMALL),
    "the same settings": (small, csd.methods.csd, SMALL),
}
with tempfile.TemporaryDirectory() as folder:
    sitting(folder, stop_after)
    for name, (other_stream, other_method, other_config) in attempts.items():
        try:
            csd.train(other_stream, other_method, other_config, out=folder, progress=False)
            print(f"{name}: goes on")
        except ValueError as error:
            print(f"{name}: refused. {str(error).replace(folder, 'The folder')}\n")

# %% [markdown]
# **What it means.** A run is its settings. If you could go on with other ones, `config.json` would tell a lie about half
# of the epochs. This notebook makes the settings a part of the folder's name, so that you do not even meet the refusal.

# %% [markdown] minutes=10
# ## 6. What came out?
#
# Fine-tuning has the same network and the same schedule, and of CSD's terms only cross-entropy and triplet. The next
# cell trains it; CSD is trained as well if you skipped section 2. You may stop this cell too.
#
# **Predict.** Which is ahead in the end, and by how much, in Recall@1 over all test images? (That is the share of test
# images whose nearest other image is of the same class.)

# %% tags=["predict"]
lead_guessed = "no prediction yet"  # put CSD's lead instead, such as 0.05; negative if fine-tuning is ahead

# %% tags=["widget"]
runs = {method.__name__: train(method) for method in (csd.methods.finetune, csd.methods.csd)}

# %%
plots.task_matrices(
    {name: run.metrics["recall_at_1"]["seen"] for name, run in runs.items()}, title="Recall@1", protocol="seen"
)

# %%
plots.curves_over_tasks(
    {name: run.metrics["overall"]["recall_at_1"] for name, run in runs.items()},
    title="Recall@1 after each task",
    metric="Recall@1",
)

# %% tags=["folded"] title="Who finds what, and how good was the estimate?"
comparison = Comparison(list(runs.values()))
found = {name: comparison.ranks(name)[-1] == 1 for name in runs}  # (N,) after the last task, searched among all images
N = len(comparison.labels)
only_csd = int((found["csd"] & ~found["finetune"]).sum())
only_finetune = int((found["finetune"] & ~found["csd"]).sum())
lead = (only_csd - only_finetune) / N
error = ((only_csd + only_finetune) / N - lead**2) ** 0.5 / N**0.5  # standard error of a mean of −1, 0 and 1
counts = comparison.labels.bincount().double()
chance = float((counts * (counts - 1)).sum() / (N * (N - 1)))

for name, run in runs.items():
    summary = run.metrics["summary"]
    print(f"{name:<9} Recall@1 {summary['recall_at_1']:.3f}, forgetting {summary['forgetting']:.3f}, ", end="")
    print(f"head accuracy {summary['head_accuracy']:.3f}; {run.seconds:.0f} s of training and measuring")
print(f"by chance Recall@1 would be {chance:.3f}")
print(f"\nOnly CSD finds {only_csd} of {N:,} queries, only fine-tuning {only_finetune}.")
print(f"CSD's lead is {lead:+.3f}, with a standard error of {error:.3f} for the choice of queries.")
print(f"You guessed: {lead_guessed}")
if abs(lead) > 2 * error:
    print("The lead is more than twice its standard error: other queries would hardly turn it round.")
else:
    print("The lead is not even twice its standard error: other queries might turn it round.")

print("\nHad the networks learnt at all? Recall@1 on the task just learnt, among its own images, mean of the tasks:")
learnt = {
    name: statistics.mean(csd.metrics.just_learnt(run.metrics["recall_at_1"]["task"])) for name, run in runs.items()
}
print(", ".join(f"{name} {value:.3f}" for name, value in learnt.items()), end=". ")
print("That is learnt." if min(learnt.values()) >= 0.9 else "Less than 0.9: the training was cut short.")

print("\nHow good would an estimate as in section 1 have been, from the first epoch of each task here?")
hours_of = check.yours_or_ours("training_hours")
for name, run in runs.items():
    first = [r for r in run.records if r["kind"] == "epoch" and r["epoch"] == 0]
    images = [r["seconds"] * r["images_per_second"] for r in first]
    n_epochs = [config.epochs_of(r["task"]) for r in first]
    hours = hours_of(images, n_epochs, [r["images_per_second"] for r in first])
    measuring = sum(r["seconds"] for r in run.records if r["kind"] == "task")
    print(f"{name:<9} {3600 * hours:.0f} s estimated; in truth {run.seconds:.0f} s, ", end="")
    print(f"{measuring:.0f} s of them for measuring")

# %% [markdown]
# **What it means.** Read the first columns of the matrices downwards: how much of the first task is found at first, and in
# the end? A part of each fall is forgetting, a part the growing gallery. Is one of the two methods clearly better? Say it with the lead *and* its standard error, not with the sign alone.
#
# **What it does not show.** Anything about the numbers in the paper. There are two tasks of 50 classes there, not five
# of 20, and far more epochs. Without a GPU you also trained a smaller network, on fewer images, for half of the quick
# preset's epochs. Read the line that says whether the networks had learnt: where they had not, there was little to be
# forgotten, and a method may be ahead because it learns *faster*, not because it forgets less (notebook 07, section 7).
# Compare the two values of that line with the lead. And it is one seed: a standard error over queries
# says nothing about other seeds. Notebook 07 is about this.

# %% [markdown] tags=["instructor"]
# **For the instructor.** In a room without GPUs, sections 3 to 5 carry the lesson; they take seconds. With Colab, let
# everyone start section 2 first, stop it once, and do sections 3 to 5 while it trains on: use a second copy of the
# notebook for that, as a kernel runs one cell at a time. Ask one student to choose *Disconnect and delete runtime* in
# the middle, with the Drive mounted, and one without. Two notebooks cannot train into one folder at the same time; the
# second is told so.

# %% [markdown] minutes=5
# ## Summary
#
# - A schedule's time can be estimated from a few seconds: images × epochs ÷ images per second, task by task.
# - A checkpoint holds the network, the optimiser's running means, and the position. If one of them is missing, the run
#   that goes on is another one, and nobody is told.
# - Seeds computed from (seed, task, epoch) make the randomness of an epoch independent of what happened before it.
# - "It goes on" is a claim that can be tested: the same metrics, the same journal, the same bits.
# - Settings belong to a run. Other settings, another folder.
# - A number without its schedule, its data and its uncertainty cannot be compared with the paper's.
#
# ## Ask yourself

# %% [markdown] tags=["hint"]
# ### 1. Why are there two checkpoints, and why is a new one written under another name first?
#
# A program can be killed in the middle of writing. If it wrote over the only checkpoint, a half-written file would be
# all that is left. So the new one is written beside the old, and takes its place only when it is whole. The one before
# is kept for the case that the disk returns something else than was written; a checksum tells.

# %% [markdown] tags=["hint"]
# ### 2. On a T4 the convolutions run in float16, and the checkpoint has one part more, the state of a "scaler". Why?
#
# The smallest numbers of float16 are near 6 · 10⁻⁸, and many gradients are smaller: they would become 0. So the loss is
# multiplied by a large factor before the gradients are computed, and they are divided by it afterwards. The factor is
# adapted during training, it doubles now and then, and is halved after an overflow. So it is a part of the state.
# bfloat16 has the range of float32 and needs no scaling, but it keeps fewer digits.

# %% [markdown] tags=["hint"]
# ### 3. A friend's training keeps its random state in the checkpoint, and saves in the middle of epochs. Enough?
#
# Not if it goes on at the beginning of the epoch that was under way. The network's weights are those of the middle of
# the epoch, and the random state too: the repeated epoch draws other crops in another order than the first time, and
# the images of its first half count twice. Either save only between epochs, as this kit does, or save the position in
# the shuffled order as well.

# %% [markdown]
# ## Read on
#
# - T. Barletti, N. Biondi, F. Pernici, M. Bruni, A. Del Bimbo: *Contrastive Supervised Distillation for Continual
#   Representation Learning*, ICIAP 2021 (arXiv 2205.05476). The schedule *paper* is theirs.
# - A. Krizhevsky: *Learning Multiple Layers of Features from Tiny Images*, technical report, University of Toronto,
#   2009. CIFAR-100.
# - K. He, X. Zhang, S. Ren, J. Sun: *Deep Residual Learning for Image Recognition*, CVPR 2016. Section 4.2 has the small
#   ResNets for CIFAR.
# - P. Micikevicius et al.: *Mixed Precision Training*, ICLR 2018. Why the loss is scaled.
# - J. W. Young: *A first order approximation to the optimum checkpoint interval*, Communications of the ACM, 1974.
# - J. Mohan, A. Phanishayee, V. Chidambaram: *CheckFreq: Frequent, Fine-Grained DNN Checkpointing*, FAST 2021.

# %%
check.board("training_hours", "epochs_left", "train_until")
