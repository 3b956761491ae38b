"""The exercise on a method that remembers: it is tried on a made-up stream, whose images tell who asks about them."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
from typing import Any

import torch
from torch import Tensor

import csd_edu as csd
from csd_edu import models
from csd_edu.check.answers import Problem, Rules, article
from csd_edu.check.methods import bad_gradient, gradients, no_teacher, no_terms
from csd_edu.check.running import Case, Exercise, table
from csd_edu.check.watching import (
    BATCH,
    N_IMAGES,
    Eyes,
    Seen,
    World,
    kept_wrongly,
    learnt_wrongly,
    numbers_of,
    seen,
    step_of,
)
from csd_edu.learner import Learner
from csd_edu.methods import Method, Step
from csd_edu.methods.method import keeper
from csd_edu.state import Packer

CONFIG = csd.Config(network="resnet8", device="cpu")


class Remembers(csd.methods.Method):
    def begin(self, setting: csd.methods.Setting) -> None:
        self.memory = csd.Memory(100)  # of images, empty at first

    def __call__(self, step: csd.methods.Step) -> dict[str, Tensor]:
        images, labels = step.images, step.labels
        if len(self.memory):
            old = self.memory.draw(len(labels))
            images = torch.cat([images, step.augment(old.images)])  # (2B, C, H, W), the new ones first
            labels = torch.cat([labels, old.labels])  # (2B,), in the same order
        self.memory.add(images=step.raw, labels=step.labels)  # after the draw, and uncropped
        view = step.view(images)
        return {
            "ce": csd.losses.cross_entropy(view.logits, labels),
            "triplet": csd.losses.batch_hard_triplet(view.features, labels),
        }


MESSAGES = {
    mistake.name: mistake.message
    for mistake in table("""
    a function
        This is a plain function. It knows one step only, and has no place of its own where images could wait for the
        next. Write a class, class Remembers(csd.methods.Method), and hand in an object of it: Remembers().
    the class itself
        This is the class, the plan of a method; the check wants a method made after it. Put brackets behind the name.
    nothing kept
        Nothing is kept from one step to the next, and no image is seen a second time: it learns as if there were no
        past. Make self.memory = csd.Memory(100) in begin; in each step draw old images from it, and then add step.raw
        and step.labels.
    not made in begin
        In the first step it is not there yet. The trainer calls begin(self, setting) before the first step: make the
        memory there, under this name, as self.memory = csd.Memory(100).
    no begin
        When a second run begins, images of the first are still there: the memory is made once, with the object or the
        class. Write begin(self, setting), which every run calls, and make the empty memory there.
    not empty after begin
        begin was called for a second run, and images of the first are still there. Whoever begins anew has seen
        nothing yet: begin must make a new, empty memory.
    made in a step
        A memory is made while training goes on. Who resumes the run could not fill it again: make it once, in begin.
    kept outside
        Old images are learnt again, but they are not kept in the object itself: in a list outside of it, or in one of
        the class, which all objects share. Another run would find them, and no checkpoint has them: self.memory, made
        in begin.
    crops kept
        The stored images are cropped and flipped already (step.images), and would be cropped again each time they come
        back: store step.raw, and use step.augment when you draw.
    no images kept
        What is kept are no images: features or answers of a network that goes on changing. They are soon out of date,
        and no gradient leads back through them. Store the images, step.raw, and ask step.view about them again.
    drawn from an empty memory
        In the first step there is no past yet, and nothing to be drawn. Ask `if len(self.memory):` first.
    the batch replayed to itself
        In the first step the batch is learnt twice: it is stored first, and then drawn as if it were old. Draw first,
        and store at the end of the step.
    never seen again
        Images are kept, but the network in training is never asked about them. Draw some in each step, and give them
        to step.view together with the new ones, or by themselves.
    only the teacher is asked
        Old images are shown to the teacher only, who learns nothing. The network in training has to see them, too:
        step.view(…).
    old images without a gradient
        The network in training sees the old images, but learns nothing from them: no term depends on what it makes of
        them, or the term is detached. Let their logits or features be part of a loss.
    not stored
        What is drawn has only what was stored. Labels belong to the images: self.memory.add(images=step.raw,
        labels=step.labels).
    labels of the new batch
        The old images are learnt with wrong labels, such as those of the new batch: an old sign is taught as a new one.
        Each image comes with its own label, old.labels.
    labels in another order
        Old and new labels are swapped: images and labels are joined in different orders. If the new images come first,
        so must their labels.
    only old images
        The old images are learnt, but the new batch is not: step.images and step.labels have to be in the loss as well.
    grows for ever
        What is kept grows with every step, as if there were room for all that ever comes; then one could keep the
        whole dataset. A memory has a size: csd.Memory(100) chooses by chance whom it keeps, so that all have the same
        chance.
    only the last batch
        Only images of the step before are seen again: the memory is emptied in each step, or overwritten. It has to
        hold images from long ago.
    forgotten at a new task
        In later tasks no image of an earlier task is seen again: the memory is emptied when a task begins, or filled up
        with the new ones only. The tasks before are what is to be remembered.
    graph kept
        A tensor is kept together with the graph of the step that made it.
    can't be saved
        A checkpoint has to hold all that is remembered, and can't hold this.
    larger than the stream
        A memory that has room for everything remembers without choosing.
    not the same after a pause
        A run was interrupted and went on from its checkpoint, and the next step was another one than without the pause.
        Something that decides how it goes on is kept where no checkpoint finds it. Let it be an attribute of self: a
        tensor, a csd.Memory, numbers or lists.
    """)
}


def _try(method: Any, world: World, task: int, rows: Tensor, *, first: bool = False) -> Seen | Problem:
    """Let a method take a step, perhaps the first of a run; return what became of it, or which rule is broken."""
    step, student, teacher = step_of(world, task, rows)
    when = "in a later task" if task else "in the first task"
    try:
        terms = method(step)
    except Exception as error:
        problem = _not_empty(method, step, student) if first else None
        problem = problem or _explained(error, method) or (no_teacher(error) if task == 0 else None)
        if problem is None:
            raise
        return problem
    problem = (_not_empty(method, step, student) if first else None) or no_terms(terms, when)
    if problem is not None:
        return problem
    found = gradients(terms, student.leaves)
    loss = torch.stack([term.detach().double() for term in terms.values()]).sum()
    return bad_gradient(found, [], when) or seen(world, step, student, teacher, found, loss)


def _not_empty(method: Any, step: Step, student: Eyes) -> Problem | None:
    """Return what is wrong if old images are seen in the first step of a run already, or None."""
    asked = student.all_asked()
    if torch.isin(asked[asked >= 0], numbers_of(step.raw)).all():
        return None
    if not _kept(method):
        return _mistake("kept outside")
    begin = getattr(type(keeper(method)), "begin", Method.begin)
    return _mistake("no begin" if begin is Method.begin else "not empty after begin")


def _explained(error: Exception, method: Any) -> Problem | None:
    """Return what the method that stopped with an error has overlooked, if it has to do with memory."""
    gone = re.search(r"'(?:[\w.]+\.)?(\w+)' object has no attribute '(\w+)'", str(error))
    name = None
    if gone and gone[1] == type(keeper(method)).__name__:
        name = "not made in begin"
    elif gone and gone[1] == "SimpleNamespace":
        name = "not stored"
    elif "the memory is empty" in str(error):
        name = "drawn from an empty memory"
    return _mistake(name, f"{type(error).__name__}: {error}") if name else None


def _mistake(name: str, detail: str = "") -> Problem:
    return Problem(name, MESSAGES[name] + f"\n{detail}" * bool(detail))


def _broken_rule(method: Any, world: World) -> Problem | None:
    """Return which rule of methods that remember an object breaks on a stream, or None."""
    with contextlib.suppress(RuntimeError, TypeError):  # not everything can be copied
        method = copy.deepcopy(method)  # the student's own object stays as it is
    learner = Learner(models.build("resnet8"), world.stream, method, CONFIG)
    with learner.seeded("check"):
        try:
            return _run(learner, world) or _second_run(learner, world) or _pause(learner, world)
        except ValueError as error:
            if not str(error).startswith("method."):  # it is the student's own; the trainer names an attribute
                raise
            names = {"graph": "graph kept", "made during": "made in a step", "memory for": "larger than the stream"}
            name = next((name for words, name in names.items() if words in str(error)), "can't be saved")
            return _mistake(name, f"The trainer says: {str(error).replace('method.', 'self.')}")


def _run(learner: Learner, world: World) -> Problem | None:
    """Let a method learn all tasks once, and look at what it has seen, and kept."""
    steps: list[Seen] = []
    sizes: list[int] = []  # bytes that are kept, after each half of a task
    for task in range(len(world.sizes)):
        learner.begin_task(task, world.stream.n_seen[task])
        for _ in learner.hook("begin_task", world.stream.train(task)):
            pass
        for half in torch.arange(N_IMAGES).split(N_IMAGES // 2):
            for rows in half.split(BATCH):
                step = _try(learner.method, world, task, rows, first=not steps)
                if isinstance(step, Problem):
                    return step
                steps.append(step)
            learner.check_kept()
            sizes.append(sum(tensor.nbytes for tensor in _kept(learner.method)))
        kept = _kept(learner.method)
        for _ in learner.hook("end_task", world.stream.train(task)):
            pass
    name = kept_wrongly(kept + _kept(learner.method), steps) or learnt_wrongly(steps)
    if name is None and sizes[-1] - sizes[-2] > max(N_IMAGES / 2, 0.9 * (sizes[-2] - sizes[-3])):
        name = "grows for ever"
    return _mistake(name) if name else None


def _kept(method: Any) -> list[Tensor]:
    packer = Packer()
    packer.pack_method(keeper(method))
    return list(packer.tensors.values())


def _second_run(learner: Learner, world: World) -> Problem | None:
    """Let a method begin anew, and look at what it remembers."""
    learner.begin_task(0, world.stream.n_seen[0])
    for rows in torch.arange(3 * BATCH).split(BATCH):
        step = _try(learner.method, world, 0, rows, first=rows[0] == 0)
        if isinstance(step, Problem):
            return step
    return None


def _pause(learner: Learner, world: World) -> Problem | None:
    """Let a method go on from a checkpoint, and compare its next step with what it would have been."""
    tensors, state = learner.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    steps = []
    for _ in range(2):
        with learner.seeded("after the pause"):
            step = _try(learner.method, world, 0, torch.arange(3 * BATCH, 4 * BATCH))
        if isinstance(step, Problem):
            return step
        steps.append(step)
        Learner.resume(tensors, state, world.stream, learner.method, CONFIG)
    same = torch.equal(steps[0].asked, steps[1].asked) and torch.allclose(steps[0].loss, steps[1].loss)
    return None if same else _mistake("not the same after a pause")


def _unusable(f: Any) -> Problem | None:
    """Return why what was handed in is no object that could remember, or None."""
    if isinstance(f, type):
        message = f"{MESSAGES['the class itself']}\nHere: check.my_memory({f.__name__}())"
        return Problem("the class itself", message)
    if inspect.isfunction(keeper(f)):
        return _mistake("a function")
    if not callable(f):
        message = f"The check got {article(f)} and wants a method that remembers, such as check.my_memory(Remembers())."
        return Problem("not a method", message + " Has its class a __call__(self, step)?")
    return None


def _no_problem(stream: World) -> None:
    """What is right breaks no rule."""


MY_MEMORY = Exercise(
    Remembers,
    title="A method that remembers",
    doc="""Check an object that keeps old images and learns from them again; how it does that, is free.

    Of a class with begin(self, setting), which makes what it remembers, and __call__(self, step) -> dict of losses by
    name. A `csd.Memory` is one way to remember; tensors and lists of a limited size are others.
    """,
    truth=_no_problem,
    answer=Rules(),
    tried=_broken_rule,
    seconds=20.0,
    called="my_memory",
    unusable=_unusable,
    cases=(Case("two tasks", World((3, 2))), Case("three tasks", World((2, 2, 3)))),
    mistakes=(),
    hints=(
        "In begin(self, setting) make an empty memory: self.memory = csd.Memory(100). It is an attribute of self, "
        "because it has to last longer than a step.",
        "In each step, if the memory is not empty, old = self.memory.draw(len(step.labels)) has old.images and "
        "old.labels. Only then add step.raw and step.labels, for later steps.",
        "Join the new and the old: torch.cat([step.images, step.augment(old.images)]), the labels in the same order, "
        "and ask step.view(images) about all of them. Its logits and features go into the losses of fine-tuning.",
    ),
    tested=(
        "images of earlier tasks are learnt again, each with its own label, and new ones beside them; the memory has a "
        "size, is empty when a run begins, and is the same after a pause. Whether it helps, a check cannot tell"
    ),
)
