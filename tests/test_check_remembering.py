"""The check of a method that remembers: each way of not remembering has its name, and many ways to remember pass."""

from __future__ import annotations

import functools
import random
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import csd_edu as csd
from csd_edu import check
from csd_edu.check.remembering import MESSAGES, Remembers
from csd_edu.check.training import stream_of
from tests.answers import checked, passes

pytestmark = pytest.mark.usefixtures("progress_file")

RIGHT = """
class Keeps(csd.methods.Method):
    def begin(self, setting):
        self.store = csd.Memory(50)

    def __call__(self, step):
        terms = {"new": F.cross_entropy(step.logits, step.labels)}
        if len(self.store) > 0:
            old = self.store.draw(8)
            view = step.view(step.augment(old.images))
            terms["old"] = F.cross_entropy(view.logits, old.labels)
        self.store.add(images=step.raw, labels=step.labels)
        return terms
"""

ADD = "        self.store.add(images=step.raw, labels=step.labels)\n"
JOINED = """
        images, labels = step.images, step.labels
        if len(self.store):
            old = self.store.draw(len(step.labels))
            images = torch.cat([images, step.augment(old.images)])
            labels = torch.cat([labels, old.labels])
        terms = {"ce": F.cross_entropy(step.view(images).logits, labels)}
"""


class Forgetful(csd.Memory):
    """Draws by a counter that its state does not have."""

    def __init__(self) -> None:
        super().__init__(64)
        self.turn = 0

    def draw(self, n: int) -> Any:
        self.turn += 1
        rows = torch.arange(n).add(n * self.turn) % len(self)
        old = super().draw(len(self))
        order = old.labels.argsort(stable=True)
        return type(old)(images=old.images[order][rows], labels=old.labels[order][rows])


def an_object(*edits: str) -> Any:
    """Return an object of the class above in which texts (old, new, old, new, …) were replaced; each must be there."""
    source = RIGHT
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source, old
        source = source.replace(old, new)
    known = {"csd": csd, "torch": torch, "F": F, "deque": deque, "random": random, "Forgetful": Forgetful}
    namespace: dict[str, Any] = {**known, "OUTSIDE": []}
    exec(source, namespace)
    return namespace["Keeps"]()


def joined(*edits: str) -> Any:
    """Return an object that learns new and old images in one go, with texts replaced."""
    body = RIGHT[RIGHT.index("        terms = {") : RIGHT.index(ADD)]
    return an_object(body, JOINED.lstrip("\n"), *edits)


# Ways to remember.


@dataclass
class RingBuffer(csd.methods.Method):
    """Tensors of its own, of which the oldest rows are overwritten."""

    size: int = 120

    def begin(self, setting: csd.methods.Setting) -> None:
        self.images = torch.zeros(self.size, *setting.image_shape, dtype=torch.uint8)
        self.labels = torch.zeros(self.size, dtype=torch.int64)
        self.n = 0

    def __call__(self, step: csd.methods.Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.finetune(step)
        if self.n:
            rows = torch.randint(min(self.n, self.size), (10,))
            logits = step.view(self.images[rows]).logits  # as they are, without another crop
            terms["old"] = F.cross_entropy(logits, self.labels[rows])
        slots = (self.n + torch.arange(len(step.labels))) % self.size
        self.images[slots], self.labels[slots] = step.raw, step.labels
        self.n += len(step.labels)
        return terms


class ListOfImages(csd.methods.Method):
    """A list of pairs, in which chance replaces one."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.pairs: list[tuple[torch.Tensor, int]] = []

    def __call__(self, step: csd.methods.Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.csd(step)
        if self.pairs:
            chosen = random.choices(self.pairs, k=6)
            view = step.view(step.augment(torch.stack([image for image, _ in chosen])))
            terms["old"] = F.cross_entropy(view.logits, torch.tensor([label for _, label in chosen]))
        for image, label in zip(step.raw, step.labels.tolist(), strict=True):
            if len(self.pairs) < 60:
                self.pairs.append((image, label))
            elif random.random() < 0.1:
                self.pairs[random.randrange(60)] = (image, label)
        return terms


class QueueForEachClass(csd.methods.Method):
    """The newest twelve images of each class, whichever task it is of."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.by_class: dict[int, torch.Tensor] = {}

    def __call__(self, step: csd.methods.Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.finetune(step)
        for label, images in self.by_class.items():
            logits = step.view(step.augment(images[torch.randperm(len(images))[:2]])).logits
            old = F.cross_entropy(logits, torch.full((len(logits),), label))
            terms["old"] = terms.get("old", 0) + old / len(self.by_class)
        for label in step.labels.unique().tolist():
            images = step.raw[step.labels == label]
            self.by_class[label] = torch.cat([self.by_class.get(label, images[:0]), images])[-12:].clone()
        return terms


class ChosenAtTheEnd(csd.methods.Method):
    """Ten images of each class, chosen when a task is over; as floats, and with the old answers instead of labels."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.chosen: list[torch.Tensor] = []

    def __call__(self, step: csd.methods.Step) -> dict[str, torch.Tensor]:
        terms = csd.methods.lwf(step)
        if self.chosen and step.teacher_view is not None:
            images = torch.cat(self.chosen)
            terms["held"] = csd.losses.distillation(
                step.view(images).logits, step.teacher_view(images).logits, temperature=2.0
            )
        return terms

    def end_task(self, task: int, images: torch.Tensor, labels: torch.Tensor, view: csd.methods.Viewer) -> None:
        self.chosen += [images[labels == label][:10] / 255 for label in labels.unique()]


class TwoViews(csd.methods.Method):
    """Each image of the batch is seen twice in each step, which is no replay."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.memory = csd.Memory(80, balanced=True)

    def __call__(self, step: csd.methods.Step) -> dict[str, torch.Tensor]:
        images, labels = torch.cat([step.raw, step.raw]), torch.cat([step.labels, step.labels])
        if len(self.memory):
            old = self.memory.draw(20)
            images, labels = torch.cat([old.images, images]), torch.cat([old.labels, labels])
        self.memory.add(images=step.raw, labels=step.labels)
        return {"triplet": csd.losses.batch_hard_triplet(step.view(step.augment(images), "stage2").features, labels)}


class WithoutMethod:
    """No `Method`, and none is needed."""

    def begin(self, setting: csd.methods.Setting) -> None:
        self.inner = csd.methods.ER(size=40)
        self.inner.begin(setting)

    def __call__(self, step: csd.methods.Step) -> Any:
        return self.inner(step)


WAYS = {
    "the solution": Remembers(),
    "each by itself": an_object(),
    "joined": joined(),
    "a small memory": an_object("Memory(50)", "Memory(5)"),
    "a large memory": an_object("Memory(50)", "Memory(1000)"),
    "not cropped anew": an_object("step.augment(old.images)", "old.images"),
    "csd on top": an_object("{\"new\": F.cross_entropy(step.logits, step.labels)}", "csd.methods.csd(step)"),
    "old labels by triplets only": an_object(
        "F.cross_entropy(view.logits, old.labels)",
        "csd.losses.batch_hard_triplet(torch.cat([step.features, view.features]), "
        "torch.cat([step.labels, old.labels]))",
    ),
    "er": csd.methods.er,
    "der": csd.methods.der,
    "derpp": csd.methods.DERPP(size=30),
    "csd_memory": csd.methods.csd_memory,
    "a partial": functools.partial(csd.methods.ER(size=10).__call__),
    "ring buffer": RingBuffer(),
    "list of images": ListOfImages(),
    "a queue for each class": QueueForEachClass(),
    "chosen at the end": ChosenAtTheEnd(),
    "two views": TwoViews(),
    "without Method": WithoutMethod(),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_many_ways_to_remember_pass(way):
    passes("my_memory", WAYS[way])


@pytest.mark.parametrize("way", ["ring buffer", "list of images", "chosen at the end", "a small memory"])
def test_what_passes_can_be_trained_with(way, tmp_path):
    config = csd.Config(epochs=2, later_epochs=1, batch_size=4, network="resnet8", device="cpu")
    assert csd.train(stream_of(2), WAYS[way], config, out=tmp_path / "run", progress=False).finished


# Ways not to remember.


class InInit(csd.methods.Method):
    joined, side = csd.methods.ER.joined, None

    def __init__(self) -> None:
        self.memory = csd.Memory(30)

    def __call__(self, step: csd.methods.Step) -> Any:
        return csd.methods.ER.__call__(self, step)  # type: ignore[arg-type]


@dataclass
class AsAField(InInit):
    memory: csd.Memory = field(default_factory=lambda: csd.Memory(30))


class InTheClass(csd.methods.Method):
    memory = csd.Memory(30)
    joined, side = csd.methods.ER.joined, None

    def __call__(self, step: csd.methods.Step) -> Any:
        return csd.methods.ER.__call__(self, step)  # type: ignore[arg-type]


MISTAKES = {
    "a function": [csd.methods.csd, lambda _: {}],
    "the class itself": [csd.methods.ER, type(an_object())],
    "nothing kept": [an_object(ADD, ""), csd.methods.joint],
    "not made in begin": [an_object("begin", "start"), an_object("self.store = ", "store = ")],
    "no begin": [InInit(), AsAField()],
    "not empty after begin": [
        an_object("self.store = ", "self.store = getattr(self, 'store', None) or "),
        an_object("self.store = csd.Memory(50)", "self.__dict__.setdefault('store', csd.Memory(50))"),
    ],
    "made in a step": [
        an_object("self.store = csd.Memory(50)", "pass", "        terms = ",
                  "        self.store = getattr(self, 'store', csd.Memory(50))\n        terms = "),
    ],
    "kept outside": [
        InTheClass(),
        an_object("self.store = csd.Memory(50)", "pass", ADD, "        OUTSIDE.append((step.raw, step.labels))\n",
                  "len(self.store)", "len(OUTSIDE)", "self.store.draw(8)", "random.choice(OUTSIDE)",
                  "old.images", "old[0]", "old.labels", "old[1]"),
    ],
    "crops kept": [an_object("images=step.raw", "images=step.images"), joined("step.raw", "step.images")],
    "no images kept": [
        an_object("images=step.raw", "features=step.features", "view = step.view(step.augment(old.images))", "",
                  "F.cross_entropy(view.logits, old.labels)",
                  "csd.losses.batch_hard_triplet(torch.cat([step.features, old.features]),"
                  "torch.cat([step.labels, old.labels]))"),
    ],
    "drawn from an empty memory": [an_object("if len(self.store) > 0:", "if True:")],
    "the batch replayed to itself": [
        an_object(ADD, "", "        terms = ", ADD + "        terms = ", "draw(8)", "draw(16)"),
        joined(ADD, "", "        if len", ADD + "        if len"),
    ],
    "never seen again": [
        an_object("step.view(step.augment(old.images))", "step.student", "view.logits, old.labels", "view.logits[:8], "
                  "step.labels[:8]"),
        an_object("if len(self.store) > 0:", "if False:"),
    ],
    "only the teacher is asked": [
        an_object("if len(self.store) > 0:", "if step.teacher:", "step.view(", "step.teacher_view(",
                  "F.cross_entropy(view.logits, old.labels)", "view.features.mean()"),
    ],
    "old images without a gradient": [
        an_object('terms["old"] =', "unused ="),
        an_object("(view.logits,", "(view.logits.detach(),"),
        an_object("            view =", "            with torch.no_grad(): view ="),
    ],
    "not stored": [an_object("images=step.raw, labels=step.labels", "images=step.raw")],
    "labels of the new batch": [
        joined("old.labels])", "labels])"),
        an_object("draw(8)", "draw(len(step.labels))", "view.logits, old.labels", "view.logits, "
                  "step.labels[:len(view.logits)]"),
    ],
    "labels in another order": [joined("[labels, old.labels]", "[old.labels, labels]")],
    "only old images": [
        an_object('            terms["old"] =', '            terms["new"] ='),
        joined("torch.cat([images, step.augment(old.images)])", "step.augment(old.images)",
               "torch.cat([labels, old.labels])", "old.labels"),
    ],
    "grows for ever": [
        an_object("csd.Memory(50)", "[]", ADD, "        self.store.append((step.raw, step.labels))\n",
                  "self.store.draw(8)", "random.choice(self.store)", "old.images", "old[0]", "old.labels", "old[1]"),
        an_object("self.store = ", "self.past = []; self.store = ", ADD, ADD + "        self.past.append(step.features"
                  ".detach())\n"),
    ],
    "only the last batch": [
        an_object(ADD, "        self.store.load_state_dict(csd.Memory(50).state_dict())\n" + ADD),
        an_object("csd.Memory(50)", "()", ADD, "        self.store = step.raw, step.labels\n",
                  "self.store.draw(8)", "self.store", "old.images", "old[0]", "old.labels", "old[1]"),
    ],
    "forgotten at a new task": [
        an_object("csd.Memory(50)", "csd.Memory(50); self.task = 0", "        terms = ",
                  "        if step.task != self.task: self.begin(None); self.task = step.task\n        terms = "),
        an_object("    def __call__", "    def end_task(self, *_): self.begin(None)\n\n    def __call__"),
    ],
    "graph kept": [an_object(ADD, ADD + "        self.last = step.features\n")],
    "can't be saved": [
        an_object("self.store = ", "self.queue = deque(maxlen=9); self.store = "),
        an_object("self.store = ", "self.random = random.Random(0); self.store = "),
    ],
    "larger than the stream": [an_object("Memory(50)", "Memory(100_000)")],
    "not the same after a pause": [an_object("csd.Memory(50)", "Forgetful()")],
}  # fmt: skip


@pytest.mark.parametrize(("mistake", "f"), [(name, f) for name, objects in MISTAKES.items() for f in objects])
def test_each_mistake_is_named(mistake, f):
    for _ in range(2):  # the second time it is the same object
        verdict = checked("my_memory", f)
        assert verdict.mistake == mistake, verdict
        assert verdict.message.startswith(MESSAGES[mistake])
        assert len(verdict.message) < 600
        assert 'check.hint("my_memory")' in repr(verdict)


def test_every_mistake_has_an_example_and_a_message_of_its_own():
    assert set(MISTAKES) == set(MESSAGES)
    assert len(set(MESSAGES.values())) == len(MESSAGES) > 20
    assert all(message.endswith((".", "?")) and len(message) < 400 for message in MESSAGES.values())


@pytest.mark.parametrize(
    ("f", "mistake", "words"),
    [
        (csd.methods.ER, "the class itself", r"Here: check\.my_memory\(ER\(\)\)"),
        (3, "not a method", r"an int \(3\).*check\.my_memory\(Remembers\(\)\)"),
        (csd.Memory(3), "not a method", "a Memory"),
        (an_object("return terms", "return"), "nothing returned", "None in the first task"),
        (an_object("return terms", "return sum(terms.values())"), "wrong type", "returned a Tensor"),
        (an_object(".cross_entropy(view.logits, old.labels)", ".relu(view.logits)"), "wrong shape", "'old' has the"),
        (an_object("step.logits, step", "step.logits.detach(), step"), "detached", "student in the first task"),
        (an_object("terms =", "step.teacher.features; terms ="), "a teacher asked in the first task", "is None"),
        (
            an_object("        if len", "        raise NotImplementedError\n        if len"),
            "still to be written",
            "hint",
        ),
        (an_object("csd.Memory(50)", "csd.Memory(0)"), "error", "size is 0; expected a whole number"),
        (an_object("(self, step)", "(self)"), "error", "takes 1 positional argument but 2"),
        (an_object("self.store = ", "self.queue = deque(); self.store = "), "can't be saved", "self.queue is a deque"),
        (an_object("begin", "start"), "not made in begin", "AttributeError: .* no attribute 'store'"),
        (an_object(", labels=step.labels", ""), "not stored", "no attribute 'labels'"),
    ],
)
def test_what_else_is_told(f, mistake, words):
    verdict = checked("my_memory", f)
    assert verdict.mistake == mistake, verdict
    assert re.search(words, verdict.message, re.S), verdict.message


def test_the_stream_is_shown_in_words():
    case = checked("my_memory", an_object(ADD, "")).case
    assert str(case).splitlines() == [
        "stream = 2 tasks with 3, 2 classes, 640 images each, in batches of 16",
        "expected: any that keeps the rules",
    ]


def test_the_solution_is_shown_and_stands_in_as_an_object(capsys):
    assert "class Remembers(csd.methods.Method):" in check.hint("my_memory", rung=4).code
    assert isinstance(check.yours_or_ours("my_memory"), Remembers)
    mine = an_object()
    checked("my_memory", mine)
    assert check.yours_or_ours("my_memory", ours=None) is mine
    assert "with your my_memory" in capsys.readouterr().out


def test_the_object_stays_as_it_is():
    """Also where it has been in use already."""
    mine = RingBuffer()
    checked("my_memory", mine)
    assert vars(mine) == {"size": 120}
    mine.begin(csd.methods.Setting((1,), (1,), (3, 4, 4), 8, torch.device("cpu"), 0))
    passes("my_memory", mine)
    assert mine.images.shape == (120, 3, 4, 4)


def test_it_is_quick_and_leaves_random_numbers_alone():
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(2), random.random()
    torch.manual_seed(3)
    random.seed(3)
    started = time.monotonic()
    checked("my_memory", Remembers())
    checked("my_memory", ListOfImages())
    assert time.monotonic() - started < 5
    assert torch.equal(torch.rand(2), expected[0])
    assert random.random() == expected[1]
