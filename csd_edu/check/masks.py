"""Exercises around the CSD loss: which pairs it compares, as masks, and the method that trains with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import csd_edu as csd
from csd_edu import losses, methods
from csd_edu.check.running import Case, Exercise, Mistake
from csd_edu.methods import Step, View


def contrast_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    itself = torch.eye(len(labels), dtype=torch.bool)  # (B, B)
    itself = torch.cat([itself, torch.zeros_like(itself)], dim=1)  # (B, 2B): among the students, not the teachers
    same_class = (labels[:, None] == labels[None, :]).repeat(1, 2)  # (B, 2B)
    return ~itself, same_class & ~itself


def my_csd(step: csd.methods.Step) -> dict[str, Tensor]:
    terms = csd.methods.lwf(step)
    if step.teacher is not None:
        terms["csd"] = csd.losses.csd(step.features, step.teacher.features, step.labels, temperature=0.07)
    return terms


Masks = tuple[Tensor, Tensor]


def _library_masks(labels: Tensor) -> Masks:
    features = torch.ones(len(labels), 2)
    pairs = losses.csd_pairs(features, features, labels, temperature=1.0)
    return pairs.weight > 0, pairs.positive  # whoever is compared has a weight


def _wrong_masks(labels: Tensor, change: Callable[[Tensor, Tensor, Tensor, Tensor], Masks]) -> Masks:
    """The masks with one thing done differently.

    `change` gets the contrast set and the positives (B, 2B), and two more masks (B, 2B): where the anchor meets itself
    among the students, and where it meets its own teacher view.
    """
    itself = torch.eye(len(labels), 2 * len(labels), dtype=torch.bool)
    return change(*_library_masks(labels), itself, itself.roll(len(labels), dims=1))


def _students_of(mask: Tensor) -> Tensor:
    """The left half of a mask (B, 2B); nothing is True in the right one."""
    return mask & (torch.arange(mask.shape[1]) < len(mask))


def _teachers_of(mask: Tensor) -> Tensor:
    return mask & (torch.arange(mask.shape[1]) >= len(mask))


def _halves_swapped(mask: Tensor) -> Tensor:
    return mask.roll(len(mask), dims=1)


def _interleaved(mask: Tensor) -> Tensor:
    return mask.reshape(len(mask), 2, -1).transpose(1, 2).reshape(mask.shape)


CONTRAST_MASKS = Exercise(
    name="contrast_masks",
    title="Contrast set and positives",
    solution=contrast_masks,
    truth=_library_masks,
    answer="masks",
    cases=(
        Case("two images of one class; first the contrast set, then the positives", (torch.tensor([0, 0]),)),
        Case("two images of two classes; first the contrast set, then the positives", (torch.tensor([0, 1]),)),
        Case("three images, two of one class; first the contrast set, then the positives", (torch.tensor([2, 0, 2]),)),
        Case("six images, classes of three, two and one", (torch.tensor([3, 1, 3, 3, 1, 0]),)),
    ),
    mistakes=(
        Mistake(
            "masks swapped",
            "The two masks are swapped. The contrast set A comes first, the positives P, a part of it, second.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (p, a)),
        ),
        Mistake(
            "the anchor kept in the contrast set",
            "Your contrast set holds the anchor itself. Its similarity is 1 whatever the network does, and it would "
            "take weight from all others: False where student i meets student i.",
            partial(_wrong_masks, change=lambda a, p, i, _o: (a | i, p)),
        ),
        Mistake(
            "the anchor among its positives",
            "The anchor is one of its own positives. P is a part of A, and the anchor itself is not in A: to pull it "
            "towards itself would change nothing.",
            partial(_wrong_masks, change=lambda a, p, i, _o: (a, p | i)),
        ),
        Mistake(
            "the anchor in both masks",
            "Nobody is left out: the anchor is in the contrast set and among its own positives. Both masks are False "
            "where student i meets student i.",
            partial(_wrong_masks, change=lambda a, p, i, _o: (a | i, p | i)),
        ),
        Mistake(
            "own teacher view not a positive",
            "The anchor's own teacher view is missing from its positives. Image i under the old network has i's label, "
            "and is what i should stay close to. Only the student i is left out.",
            partial(_wrong_masks, change=lambda a, p, _i, o: (a, p & ~o)),
        ),
        Mistake(
            "own teacher view not compared",
            "You leave out the anchor's own teacher view, from both masks. The diagonal of the right half is not the "
            "anchor itself: it is another network's feature of the same image, and a positive.",
            partial(_wrong_masks, change=lambda a, p, _i, o: (a & ~o, p & ~o)),
        ),
        Mistake(
            "own teacher view the only positive",
            "The anchor's own teacher view is your only positive. The label decides: all of its class are positives, "
            "students and teachers.",
            partial(_wrong_masks, change=lambda a, _p, _i, o: (a, o)),
        ),
        Mistake(
            "no teacher among the positives",
            "Your positives are students only. The teachers of the anchor's class are positives as well: they show "
            "where this class lay.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (a, _students_of(p))),
        ),
        Mistake(
            "no student among the positives",
            "Your positives are teachers only. The other students of the anchor's class are positives as well.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (a, _teachers_of(p))),
        ),
        Mistake(
            "teachers not compared",
            "The right half of your masks is empty: no teacher takes part. Among students alone there is nothing to "
            "distil.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (_students_of(a), _students_of(p))),
        ),
        Mistake(
            "no columns for the teachers",
            "Your masks have a column for each student, and none for the teachers. An anchor is compared with both: 2B "
            "columns, the students first.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (a[:, : len(a)], p[:, : len(p)])),
        ),
        Mistake(
            "teachers first",
            "The teachers stand in your left half. The students come first, columns 0 to B−1, and so the anchor itself "
            "is on the left.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (_halves_swapped(a), _halves_swapped(p))),
        ),
        Mistake(
            "students and teachers interleaved",
            "Your columns alternate: student 0, teacher 0, student 1, and so on. First come all students, then all "
            "teachers: .repeat(1, 2) or torch.cat(…, dim=1), not .repeat_interleave.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (_interleaved(a), _interleaved(p))),
        ),
        Mistake(
            "positives left out of the contrast set",
            "Your contrast set holds negatives only. The positives are compared too: P is a part of A.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (a & ~p, p)),
        ),
        Mistake(
            "negatives instead of positives",
            "Your second mask marks the negatives, those with another label. Positives have the anchor's label.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (a, a & ~p)),
        ),
        Mistake(
            "both masks inverted",
            "Your masks are inverted: they are True for those who are left out. True means that a pair takes part.",
            partial(_wrong_masks, change=lambda a, p, _i, _o: (~a, ~p)),
        ),
    ),
    hints=(
        "labels[:, None] == labels[None, :] tells of each pair of images whether they have the same label, (B, B). "
        "Students and teachers are of the same images: the two halves of P differ in one place only. Where?",
        "The anchor itself is torch.eye(B, dtype=torch.bool) in the left half, and nothing in the right one: "
        "torch.cat([…, torch.zeros_like(…)], dim=1).",
        "The contrast set is everyone but the anchor itself, ~itself. The positives are those with the same label "
        "among them: same.repeat(1, 2) & ~itself.",
    ),
    tested="who is left out, the own teacher view, students first and teachers after them, a class with one image",
)


def _made_up(labels: list[int], task: int, dim: int, n_new: int, seed: int) -> Step:
    """A step with made-up numbers; a teacher, from task 1 on, knows as many classes as there are features."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(columns: int) -> Tensor:
        return torch.randn(len(labels), columns, generator=generator).mul(10).round() / 10 + 0.0  # no −0

    features, logits, taught, answers = numbers(dim), numbers(dim * (task > 0) + n_new), numbers(dim), numbers(dim)
    images = torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8)
    ask = (lambda _: View(taught.clone(), answers.clone())) if task > 0 else None
    return Step(images, torch.tensor(labels), features, logits, task, ask)


Terms = dict[str, Tensor]


def _wrong_terms(step: Step, change: Callable[[Terms, Step, View], Terms]) -> Terms:
    """The terms with one thing done differently where there is a teacher; `change` gets the right ones."""
    terms = methods.csd(step)
    return terms if step.teacher is None else change(terms, step, step.teacher)


def _without(*names: str) -> partial[Terms]:
    return partial(
        _wrong_terms, change=lambda terms, *_: {name: term for name, term in terms.items() if name not in names}
    )


def _instead(change: Callable[[Step, View], Tensor]) -> partial[Terms]:
    """The terms with another value of the csd term."""
    return partial(_wrong_terms, change=lambda terms, step, teacher: {**terms, "csd": change(step, teacher)})


def _hidden_in(name: str) -> partial[Terms]:
    def change(terms: Terms, _step: Step, _teacher: View) -> Terms:
        terms[name] = terms[name] + terms.pop("csd")
        return terms

    return partial(_wrong_terms, change=change)


def _at(temperature: float) -> partial[Terms]:
    return partial(methods.csd, temperature=temperature)


MY_CSD = Exercise(
    name="my_csd",
    title="CSD as a method",
    solution=my_csd,
    truth=methods.csd,
    answer="terms",
    terms=("ce", "triplet", "kd", "csd"),
    learns="step.features",
    frozen="step.teacher.features",
    cases=(
        Case("four images in the second task", (_made_up([3, 3, 4, 4], 1, 3, 2, 0),)),
        Case("six images in the third task", (_made_up([4, 5, 4, 5, 4, 6], 2, 4, 3, 1),)),
        Case(
            "four images in the first task",
            (_made_up([0, 0, 1, 1], 0, 3, 2, 2),),
            shows="a teacher asked in the first task",
        ),
    ),
    mistakes=(
        Mistake(
            "no csd term",
            "There is a teacher, and no term named 'csd': what you return is lwf.",
            methods.lwf,
        ),
        Mistake(
            "csd in the second task only",
            "You add the csd term in the second task only. There is a teacher in every task but the first: ask whether "
            "step.teacher is None, not for a task's number.",
            lambda step: methods.csd(step) if step.task == 1 else methods.lwf(step),
        ),
        Mistake(
            "student and teacher swapped",
            "Student and teacher are swapped. The anchors are the student's features, so they come first; what comes "
            "second is detached, and nothing would be learnt.",
            _instead(lambda step, teacher: losses.csd(teacher.features, step.features, step.labels)),
        ),
        Mistake(
            "the student contrasted with itself",
            "You give the loss the student's features twice. The second ones are the teacher's: step.teacher.features.",
            _instead(lambda step, _: losses.csd(step.features, step.features, step.labels)),
        ),
        Mistake(
            "the teacher contrasted with itself",
            "You give the loss the teacher's features twice. The first ones are the student's: step.features.",
            _instead(lambda step, teacher: losses.csd(teacher.features, teacher.features, step.labels)),
        ),
        Mistake(
            "the teacher's logits instead of its features",
            "You contrast the student's features with the teacher's logits. They live in different spaces, even where "
            "they have equally many numbers: step.teacher.features.",
            _instead(lambda step, teacher: losses.csd(step.features, teacher.logits, step.labels)),
        ),
        Mistake(
            "logits instead of features",
            "You contrast logits. Distillation of the answers does that already, the kd term; CSD keeps the features, "
            "which the search compares.",
            _instead(
                lambda step, teacher: losses.csd(step.logits[:, : teacher.logits.shape[1]], teacher.logits, step.labels)
            ),
        ),
        Mistake(
            "temperature 2",
            "The csd term has a temperature of 2. That is the distillation's, for logits; cosines lie between −1 and "
            "1, and want 0.07.",
            _at(2.0),
        ),
        Mistake(
            "temperature 1",
            "The csd term has a temperature of 1, which is none at all. Cosines differ by little: 0.07 sharpens them.",
            _at(1.0),
        ),
        Mistake(
            "temperature 0.7",
            "The csd term has a temperature of 0.7. It should be 0.07.",
            _at(0.7),
        ),
        Mistake(
            "csd counted twice",
            "The csd term is twice as large as it should be: it is added twice. Its weight is 1.",
            _instead(lambda step, teacher: 2 * losses.csd(step.features, teacher.features, step.labels)),
        ),
        Mistake(
            "csd divided by the batch",
            "You divide the csd term by the number of images. It is a mean over the batch already.",
            _instead(lambda step, teacher: losses.csd(step.features, teacher.features, step.labels) / len(step.labels)),
        ),
        Mistake(
            "csd subtracted",
            "The csd term has a minus in front. The trainer minimises the sum of all terms, and this one is a loss: a "
            "plus.",
            _instead(lambda step, teacher: -losses.csd(step.features, teacher.features, step.labels)),
        ),
        Mistake(
            "csd hidden in the cross-entropy",
            "You add the csd term to 'ce'. The sum is the same, but nobody could see the two apart in the log: an "
            "entry of its own.",
            _hidden_in("ce"),
        ),
        Mistake(
            "csd hidden in the distillation",
            "You add the csd term to 'kd'. The sum is the same, but the log would call it distillation of the answers: "
            "an entry of its own.",
            _hidden_in("kd"),
        ),
        Mistake(
            "csd in the place of another term",
            "The csd term stands in the place of 'kd', which is gone. Give it an entry of its own, 'csd'.",
            partial(_wrong_terms, change=lambda terms, *_: {**terms, "kd": terms["csd"], "csd": torch.tensor(0.0)}),
        ),
        Mistake(
            "no distillation",
            "The kd term is missing: you build on finetune. CSD builds on lwf, which keeps the answers; the new term "
            "keeps the features.",
            _without("kd"),
        ),
        Mistake(
            "no triplet loss",
            "The triplet term is gone. CSD keeps all terms of lwf, and adds one.",
            _without("triplet"),
        ),
        Mistake(
            "no cross-entropy",
            "The cross-entropy 'ce' is gone: nothing would teach the head. CSD keeps all terms of lwf.",
            _without("ce"),
        ),
        Mistake(
            "nothing but csd",
            "You return the csd term alone. Put it into the dictionary beside those of lwf, and return them all.",
            _without("ce", "triplet", "kd"),
        ),
        Mistake(
            "a teacher asked in the first task",
            "This goes wrong in the first task, where nobody has learnt anything yet: step.teacher is None. Add the "
            "csd term only if there is a teacher.",
            lambda step: {
                **methods.csd(step),
                "csd": losses.csd(step.features, (step.teacher or step).features, step.labels),
            },
        ),
    ),
    hints=(
        "When is there a teacher? In the first task step.teacher is None, and the terms of lwf are all.",
        "The loss compares features, the student's with the teacher's, by the labels: step.features, "
        "step.teacher.features and step.labels, at a temperature of 0.07.",
        'Below `if step.teacher is not None:`, put the loss into the dictionary: terms["csd"] = …',
    ),
    tested=(
        "all four terms by name, the temperature, the first task without a teacher, later tasks, and that the student "
        "alone gets a gradient"
    ),
)
