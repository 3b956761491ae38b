"""Exercises on methods of one's own: what they may hold on to, as losses and as terms, and the rules of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import csd_edu as csd
from csd_edu import methods
from csd_edu.check.running import Case, Exercise, Function, Mistake, Problem
from csd_edu.methods import Step, View


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    student = F.normalize(student, dim=1)  # (B, D)
    teacher = F.normalize(teacher.detach(), dim=1)  # (B, D), no gradient
    return (student - teacher).square().sum(dim=1).mean()


def feature_distillation(step: csd.methods.Step, weight: float = 3.0) -> dict[str, Tensor]:
    terms = csd.methods.finetune(step)
    if step.teacher is not None:
        student = F.normalize(step.features, dim=1)  # (B, D)
        teacher = F.normalize(step.teacher.features.detach(), dim=1)  # (B, D), no gradient
        terms["feature"] = weight * (student - teacher).square().sum(dim=1).mean()
    return terms


def relation_distance(student: Tensor, teacher: Tensor) -> Tensor:
    d_student = F.pdist(F.normalize(student, dim=1))  # (B (B − 1) / 2,)
    d_teacher = F.pdist(F.normalize(teacher.detach(), dim=1))  # the same pairs, no gradient
    return F.smooth_l1_loss(d_student / d_student.mean(), d_teacher / d_teacher.mean())


def my_method(step: csd.methods.Step) -> dict[str, Tensor]:
    terms = csd.methods.csd(step)
    if step.teacher is not None:
        d_student = F.pdist(F.normalize(step.features, dim=1))  # (B (B − 1) / 2,)
        d_teacher = F.pdist(F.normalize(step.teacher.features.detach(), dim=1))
        terms["relation"] = F.smooth_l1_loss(d_student / d_student.mean(), d_teacher / d_teacher.mean())
    return terms


def _by_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """The feature distance on another road: ‖s − t‖² = 2 − 2 cos for vectors of length 1."""
    return 2 * (1 - F.cosine_similarity(student, teacher.detach(), dim=1)).mean()


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1)


def _columns(x: Tensor) -> Tensor:
    return F.normalize(x, dim=0)


def _as_is(x: Tensor) -> Tensor:
    return x


def _squares(x: Tensor) -> Tensor:
    return x.square().sum(dim=1).mean()


def _wrong_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    of_student: Callable[[Tensor], Tensor] = _unit,
    of_teacher: Callable[[Tensor], Tensor] = _unit,
    gap: Callable[[Tensor], Tensor] = _squares,
) -> Tensor:
    """The feature distance with one thing done differently; `gap` makes a number of the differences (B, D)."""
    return gap(of_student(student) - of_teacher(teacher))


def _scaled_by(how: Callable[[Tensor], Tensor]) -> Function:
    return partial(_wrong_distance, of_student=how, of_teacher=how)


def _features(n: int, dim: int, seed: int, scale: float = 1.0) -> Tensor:
    """Features (n, dim) as a network has them, none below 0, of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.rand(n, dim, generator=generator) * torch.rand(n, 1, generator=generator).add(0.5)


FEATURE_DISTANCE = Exercise(
    name="feature_distance",
    title="Feature distance",
    solution=feature_distance,
    truth=_by_cosine,
    answer="loss",
    learns="student",
    frozen="teacher",
    cases=(
        Case("one image", (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))),
        Case(
            "two images",
            (torch.tensor([[0.0, 3, 4], [6, 0, 8]]), torch.tensor([[0.0, 5, 0], [0, 0, 2]])),
        ),
        Case("seven images, features of 64 numbers", (_features(7, 64, 0), _features(7, 64, 1, 3.0))),
    ),
    mistakes=(
        Mistake(
            "not scaled",
            "You compare features as they come. A search looks at their direction only: scale each one to length 1 "
            "first, so that longer or shorter features cost nothing.",
            _scaled_by(_as_is),
        ),
        Mistake(
            "not scaled, mean over all numbers",
            "You compare features as they come, and take the mean over all B · D numbers. Scale each feature to length "
            "1; then sum over D, and take the mean over B.",
            lambda student, teacher: F.mse_loss(student, teacher),
        ),
        Mistake(
            "mean over all numbers",
            "You take the mean over all B · D numbers, so the loss gets smaller the more numbers a feature has. Sum "
            "over D, and then take the mean over B.",
            partial(_wrong_distance, gap=lambda gap: gap.square().mean()),
        ),
        Mistake(
            "sum over the images",
            "You add up the images, so the loss grows with the batch. Take their mean.",
            partial(_wrong_distance, gap=lambda gap: gap.square().sum()),
        ),
        Mistake(
            "1 − cosine",
            "This is 1 − cosine, half of what is asked for: ‖s − t‖² = 2 − 2 cos for features of length 1. A good loss "
            "as well, but with a weight of its own.",
            lambda student, teacher: _by_cosine(student, teacher) / 2,
        ),
        Mistake(
            "cosine instead of a distance",
            "This is the cosine, which is largest where nothing has moved. A loss must be smallest there.",
            lambda student, teacher: 1 - _by_cosine(student, teacher) / 2,
        ),
        Mistake(
            "distance not squared",
            "The distance is not squared. Squared, it pulls harder the farther a feature has moved, and its gradient "
            "is well-behaved where nothing has: leave the root out.",
            partial(_wrong_distance, gap=lambda gap: gap.norm(dim=1).mean()),
        ),
        Mistake(
            "absolute differences",
            "You add up absolute differences. The squared Euclidean distance adds up squares.",
            partial(_wrong_distance, gap=lambda gap: gap.abs().sum(dim=1).mean()),
        ),
        Mistake(
            "differences not squared",
            "You add up the differences as they are, so those above and below 0 cancel. Square them first.",
            partial(_wrong_distance, gap=lambda gap: gap.sum(dim=1).mean()),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1 (dim=0). Each image's feature, a row, must have length 1 (dim=1).",
            _scaled_by(_columns),
        ),
        Mistake(
            "one length for the whole batch",
            "You divide by the norm of all features together, .norm() without dim. Each row has a length of its own: "
            "F.normalize(x, dim=1).",
            _scaled_by(lambda x: x / x.norm()),
        ),
        Mistake(
            "only the student scaled",
            "You scale the student's features only. The teacher's need length 1 as well.",
            partial(_wrong_distance, of_teacher=_as_is),
        ),
        Mistake(
            "only the teacher scaled",
            "You scale the teacher's features only. The student's need length 1 as well.",
            partial(_wrong_distance, of_student=_as_is),
        ),
        Mistake(
            "sign swapped",
            "The sign is wrong: your loss is lowest where features have moved farthest.",
            lambda student, teacher: -_by_cosine(student, teacher),
        ),
    ),
    hints=(
        "F.normalize(x, dim=1) scales each row to length 1. Do so with both, and subtract: (B, D).",
        "Square the differences, sum over D: .square().sum(dim=1) gives one number for each image. Then their mean.",
        "teacher.detach(): the number is the same without it, but where would the gradient go?",
    ),
    tested="the length of each feature, squares, the sum over D, the mean over B, and that the student alone learns",
)


def _pairs_apart(x: Tensor) -> Tensor:
    """The distances (B (B − 1) / 2,) of all pairs i < j of rows."""
    i, j = torch.triu_indices(len(x), len(x), offset=1)
    distances: Tensor = torch.linalg.vector_norm(x[i] - x[j], dim=1)
    return distances


def _with_themselves(x: Tensor) -> Tensor:
    """The distances (B · B,) of all pairs in both orders, and of each row from itself."""
    distances: Tensor = torch.linalg.vector_norm(x[:, None] - x[None], dim=2)
    return distances.flatten()


def _one_minus_cosine(x: Tensor) -> Tensor:
    return _pairs_apart(x).square() / 2  # of features of length 1


def _by_mean(d: Tensor) -> Tensor:
    return d / d.mean()


def _huber(gap: Tensor) -> Tensor:
    """Huber's loss, written out."""
    size = gap.abs()
    return torch.where(size <= 1, size.square() / 2, size - 0.5).mean()


def _relations(
    student: Tensor,
    teacher: Tensor,
    *,
    scale: Callable[[Tensor], Tensor] = _unit,
    apart: Callable[[Tensor], Tensor] = _pairs_apart,
    by: Callable[[Tensor], Tensor] = _by_mean,
    how: Callable[[Tensor], Tensor] = _huber,
) -> Tensor:
    """The relational loss, or one with a part done differently; `how` makes a number of the gaps of two relations."""
    return how(by(apart(scale(student))) - by(apart(scale(teacher.detach()))))


def _one_mean(student: Tensor, teacher: Tensor, *, of: str) -> Tensor:
    """The relational loss with both sides divided by one mean."""
    d_student, d_teacher = _pairs_apart(_unit(student)), _pairs_apart(_unit(teacher))
    mean = {"student": d_student, "teacher": d_teacher}[of].mean()
    return _huber(d_student / mean - d_teacher / mean)


# Three of four lie close together, others for the student than for the teacher: gaps on both sides of 1.
_CROWDED = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.1, 0.0], [2.0, 0.0, 0.3], [0.0, 0.0, 1.0]])

RELATION_DISTANCE = Exercise(
    name="relation_distance",
    title="Relational distillation",
    solution=relation_distance,
    truth=_relations,
    answer="loss",
    learns="student",
    frozen="teacher",
    cases=(
        Case(
            "three images",
            (
                torch.tensor([[3.0, 4, 0], [0, 2, 0], [0, 0, 1]]),
                torch.tensor([[1.0, 0, 0], [5, 0, 0.5], [0, 0, 3]]),
            ),
        ),
        Case("four images, some relations changed a lot", (_CROWDED, 2 * _CROWDED.flip(0).roll(1, dims=1))),
        Case("seven images, features of 64 numbers", (_features(7, 64, 2), _features(7, 64, 3, 3.0))),
    ),
    mistakes=(
        Mistake(
            "not scaled",
            "You compare features as they come. The search looks at directions only: scale each feature to length 1 "
            "before you measure distances.",
            partial(_relations, scale=_as_is),
        ),
        Mistake(
            "not divided by the mean",
            "You compare the distances as they are. Divide each set by its own mean, so that a common factor does not "
            "matter: relations are kept, not sizes.",
            partial(_relations, by=_as_is),
        ),
        Mistake(
            "neither scaled nor divided by the mean",
            "You compare distances of features as they come. First scale each feature to length 1; then divide each "
            "set of distances by its own mean.",
            partial(_relations, scale=_as_is, by=_as_is),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1 (dim=0). Each image's feature is a row: dim=1.",
            partial(_relations, scale=_columns),
        ),
        Mistake(
            "squared distances",
            "These are squared distances: the root is missing. F.pdist(x) has it.",
            partial(_relations, apart=lambda x: _pairs_apart(x).square()),
        ),
        Mistake(
            "1 − cosine instead of a distance",
            "You compare 1 − cosine. The loss is made of Euclidean distances between features of length 1.",
            partial(_relations, apart=_one_minus_cosine, by=_as_is),
        ),
        Mistake(
            "each image paired with itself",
            "You pair each image with itself, too. Its distance is 0 for everybody, and makes the mean smaller: only "
            "pairs with i < j count, as F.pdist has them.",
            partial(_relations, apart=_with_themselves),
        ),
        Mistake(
            "squared difference",
            "You square the differences. Huber's loss is half of the square up to 1, and a straight line beyond, so "
            "that few large gaps do not decide everything: F.smooth_l1_loss.",
            partial(_relations, how=lambda gap: gap.square().mean()),
        ),
        Mistake(
            "half the squared difference",
            "You take half of the square everywhere. Huber's loss is a straight line beyond 1, so that few large gaps "
            "do not decide everything: F.smooth_l1_loss.",
            partial(_relations, how=lambda gap: gap.square().mean() / 2),
        ),
        Mistake(
            "absolute difference",
            "You take the absolute differences. Huber's loss is round near 0, half of the square: F.smooth_l1_loss.",
            partial(_relations, how=lambda gap: gap.abs().mean()),
        ),
        Mistake(
            "sum over the pairs",
            "You add up the pairs, so the loss grows with the square of the batch. Take their mean.",
            partial(_relations, how=lambda gap: _huber(gap) * gap.numel()),
        ),
        Mistake(
            "both divided by the teacher's mean",
            "You divide both sets by the teacher's mean. Each has its own: a student whose distances are all twice as "
            "large has the same relations.",
            partial(_one_mean, of="teacher"),
        ),
        Mistake(
            "both divided by the student's mean",
            "You divide both sets by the student's mean. Each has its own: a student whose distances are all twice as "
            "large has the same relations.",
            partial(_one_mean, of="student"),
        ),
        Mistake(
            "each image compared with itself",
            "You compare what student and teacher make of the same image, as feature_distance does. Here pairs of "
            "images are compared: how far is i from j?",
            _by_cosine,
        ),
    ),
    hints=(
        "First the distances of all pairs i < j for the student, on features of length 1; then the same for the "
        "teacher, who is detached.",
        "F.pdist(x) has the distances of all pairs i < j of the rows of x. It leaves out the distance 0 of an image "
        "from itself, where the slope of the root is infinite.",
        "Divide each set by its own .mean(), and give both to F.smooth_l1_loss.",
    ),
    tested="features of length 1, pairs i < j, each mean, both parts of Huber's loss, and that only the student learns",
)


def _made_up(labels: list[int], task: int, seed: int, dim: int = 3, n_known: int = 3) -> Step:
    """A step with made-up numbers, features not below 0; a teacher, from task 1 on, knows so many classes."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(columns: int, low: float) -> Tensor:
        values = torch.rand(len(labels), columns, generator=generator) * (2 - low) + low
        return values.mul(10).round() / 10 + 0.0  # no −0

    features, taught = numbers(dim, 0.0), numbers(dim, 0.0)
    logits, answers = numbers(max(labels) + 1, -2.0), numbers(n_known, -2.0)
    images = torch.randint(0, 256, (len(labels), 3, 16, 16), generator=generator, dtype=torch.uint8)
    ask = (lambda _: View(taught.clone(), answers.clone())) if task > 0 else None
    return Step(images, torch.tensor(labels), features, logits, task, ask)


Terms = dict[str, Tensor]


def _right_terms(step: Step, weight: float) -> Terms:
    terms = methods.finetune(step)
    if step.teacher is not None:
        terms["feature"] = weight * _by_cosine(step.features, step.teacher.features)
    return terms


def _wrong_terms(step: Step, weight: float, change: Callable[[Terms, Step, View], Terms]) -> Terms:
    """The terms with one thing done differently where there is a teacher; `change` gets the right ones."""
    terms = _right_terms(step, weight)
    return terms if step.teacher is None else change(terms, step, step.teacher)


def _without(*names: str) -> partial[Terms]:
    return partial(
        _wrong_terms, change=lambda terms, *_: {name: term for name, term in terms.items() if name not in names}
    )


def _instead(distance: Callable[[Step, View], Tensor]) -> Function:
    """The terms with another distance in the feature term."""

    def wrong(step: Step, weight: float) -> Terms:
        terms = methods.finetune(step)
        return terms if step.teacher is None else {**terms, "feature": weight * distance(step, step.teacher)}

    return wrong


def _of_logits(step: Step, teacher: View) -> Tensor:
    return _by_cosine(step.logits[:, : teacher.logits.shape[1]], teacher.logits)


def _hidden(terms: Terms, _step: Step, _teacher: View) -> Terms:
    terms["ce"] = terms["ce"] + terms.pop("feature")
    return terms


FEATURE_DISTILLATION = Exercise(
    name="feature_distillation",
    title="Feature distillation as a method",
    solution=feature_distillation,
    truth=_right_terms,
    answer="terms",
    terms=("ce", "triplet", "feature"),
    learns="step.features",
    frozen="step.teacher.features",
    cases=(
        Case("four images in the second task", (_made_up([3, 3, 4, 4], 1, 0), 3.0)),
        Case("another weight", (_made_up([3, 4, 4, 3], 1, 1), 0.5)),
        Case("six images in the third task", (_made_up([4, 5, 4, 5, 4, 6], 2, 2, dim=4, n_known=4), 2.0)),
        Case(
            "four images in the first task",
            (_made_up([0, 0, 1, 1], 0, 3), 3.0),
            shows="a teacher asked in the first task",
        ),
    ),
    mistakes=(
        Mistake(
            "no feature term",
            "There is a teacher, and no term named 'feature', or one that is always 0: is the student compared with "
            "itself? What you return is finetune.",
            lambda step, _: methods.finetune(step),
        ),
        Mistake(
            "weight left out",
            "The feature term is not multiplied by the weight.",
            lambda step, _: _right_terms(step, 1.0),
        ),
        Mistake(
            "weight always 3",
            "Your weight is always 3. That is the value if none is given; take the parameter `weight`, so that others "
            "can be tried.",
            lambda step, _: _right_terms(step, 3.0),
        ),
        Mistake(
            "divided by the weight",
            "You divide by the weight. A larger weight holds features more tightly: multiply.",
            lambda step, weight: _right_terms(step, 1 / weight),
        ),
        Mistake(
            "weight on all terms",
            "You multiply all terms by the weight. It weighs the feature term against the others.",
            lambda step, weight: {name: weight * term for name, term in _right_terms(step, 1.0).items()},
        ),
        Mistake(
            "feature in the second task only",
            "You add the feature term in the second task only. There is a teacher in every task but the first: ask "
            "whether step.teacher is None, not for a task's number.",
            lambda step, weight: _right_terms(step, weight) if step.task == 1 else methods.finetune(step),
        ),
        Mistake(
            "logits instead of features",
            "You compare logits. LwF holds on to the answers; here the features themselves are held, step.features and "
            "step.teacher.features.",
            _instead(_of_logits),
        ),
        Mistake(
            "features not scaled",
            "You compare features as they come. Scale them to length 1 first, as feature_distance does.",
            _instead(
                lambda step, teacher: _wrong_distance(*_both(step, teacher), of_student=_as_is, of_teacher=_as_is)
            ),
        ),
        Mistake(
            "1 − cosine in the feature term",
            "The feature term is half of what it should be: it is made of 1 − cosine. The squared distance of features "
            "of length 1 is twice that.",
            _instead(lambda step, teacher: _by_cosine(*_both(step, teacher)) / 2),
        ),
        Mistake(
            "feature subtracted",
            "The feature term has a minus in front. The trainer minimises the sum of all terms: a plus.",
            lambda step, weight: _right_terms(step, -weight),
        ),
        Mistake(
            "feature hidden in the cross-entropy",
            "You add the feature term to 'ce'. The sum is the same, but nobody could see the two apart in the log: an "
            "entry of its own, 'feature'.",
            partial(_wrong_terms, change=_hidden),
        ),
        Mistake(
            "nothing but feature",
            "You return the feature term alone: the old is held, and nothing new is learnt. Put it into the dictionary "
            "beside fine-tuning's terms.",
            _without("ce", "triplet"),
        ),
        Mistake(
            "cross-entropy missing",
            "The cross-entropy 'ce' is gone: nothing would teach the head the new classes. Keep fine-tuning's terms.",
            _without("ce"),
        ),
        Mistake(
            "triplet loss missing",
            "The triplet term is gone. Feature distillation keeps both terms of fine-tuning, and adds one.",
            _without("triplet"),
        ),
        Mistake(
            "a teacher asked in the first task",
            "This goes wrong in the first task, where there is no old network yet: step.teacher is None. Add the "
            "feature term only if there is a teacher.",
            lambda step, weight: {"feature": torch.tensor(0.0), **_right_terms(step, weight)},
        ),
    ),
    hints=(
        "It looks like the source of LwF: terms = csd.methods.finetune(step), and one term more if there is a teacher.",
        'Below `if step.teacher is not None:` stands terms["feature"] = weight * …, the distance between '
        "step.features and step.teacher.features.",
        "`return terms` comes last, and outside of the `if`: the first task needs it as well.",
    ),
    tested=(
        "all three terms by name, the weight, the first task without a teacher, later tasks, and that the student "
        "alone gets a gradient"
    ),
)


def _both(step: Step, teacher: View) -> tuple[Tensor, Tensor]:
    return step.features, teacher.features


def _broken_rule(f: Function, step: Step) -> Problem | None:
    """Return which rule of methods a function breaks on one step, or None."""
    leaves = [step.features, step.logits, *(step.teacher or ())]
    for leaf in leaves:
        leaf.requires_grad_()
    when = "in the first task" if step.teacher is None else "in a later task"
    try:
        terms = f(step)
    except (AttributeError, TypeError) as error:
        if step.teacher is not None or "NoneType" not in str(error):
            raise
        message = (
            "This goes wrong in the first task, where nobody has learnt anything yet: step.teacher is None. Ask "
            f"`if step.teacher is not None:` first.\n{type(error).__name__}: {error}"
        )
        return Problem("a teacher asked in the first task", message)
    return _no_terms(terms, when) or _bad_gradient(terms, leaves, when)


def _no_terms(terms: Any, when: str) -> Problem | None:
    """Return why something is no dictionary of finite losses, or None."""
    example = 'expected a dictionary of named losses, such as {"ce": …, "triplet": …}'
    if terms is None:
        message = f"Your method returned None {when}. Did you forget `return`, or does it stand inside of the `if`?"
        return Problem("nothing returned", message)
    if not isinstance(terms, Mapping):
        message = f"Your method returned a {type(terms).__name__} {when}; {example}. The trainer adds them up itself."
        return Problem("wrong type", message)
    if not terms:
        message = f"Your method returned no terms at all {when}: nothing would be learnt. Is there at least one for it?"
        return Problem("no terms", message)
    for name, term in terms.items():
        if not isinstance(name, str):
            return Problem("wrong type", f"Your method returned a term named {name!r}; expected a name, as text.")
        if not isinstance(term, Tensor) or not term.is_floating_point():
            message = (
                f"The term {name!r} is a {type(term).__name__} {when}; expected a scalar tensor, from which can be "
                "learnt: .item(), float() and NumPy cut it off from the network."
            )
            return Problem("not a tensor", message)
        if term.ndim != 0:
            message = (
                f"The term {name!r} has the shape {tuple(term.shape)} {when}; expected a single number. Is a mean or a "
                "sum missing at the end?"
            )
            return Problem("wrong shape", message)
        if not bool(torch.isfinite(term)):
            message = (
                f"The term {name!r} is {term.item()} {when}. Look for a division by 0, the mean of nothing, a log of 0 "
                "and an exp of a large number."
            )
            return Problem("not finite", message)
    return None


def _bad_gradient(terms: Mapping[str, Tensor], leaves: list[Tensor], when: str) -> Problem | None:
    """Return what is wrong with the gradient in features and logits, first the student's, then the teacher's; or None.

    Args:
        terms: the losses, scalar tensors.
        leaves: features and logits of the student and, if there is one, of the teacher.
        when: in which task, in words.
    """
    learning = [term for term in terms.values() if term.requires_grad]
    found = torch.autograd.grad(learning, leaves, allow_unused=True) if learning else [None] * len(leaves)
    student, teacher = found[:2], found[2:]
    if all(gradient is None for gradient in student):
        message = (
            f"No term depends on the student {when}: nothing would be learnt. Is it cut off by .detach(), .item() or "
            "torch.no_grad(), or made of the teacher alone?"
        )
        return Problem("detached", message)
    if any(gradient is not None and bool((gradient != 0).any()) for gradient in teacher):
        message = (
            "The teacher received a gradient. It is a frozen copy that shows how things were, and it must not move: "
            "step.teacher.features.detach(), and the same for its logits."
        )
        return Problem("teacher gradient", message)
    if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in student):
        message = (
            f"The terms are finite {when}, but their gradient is NaN or infinite. A square root or a log of exactly 0 "
            "does that, such as the distance of an image from itself, even where a mask hides its value."
        )
        return Problem("gradient not finite", message)
    return None


MY_METHOD = Exercise(
    name="my_method",
    title="A method of your own",
    solution=my_method,
    truth=my_method,
    tried=_broken_rule,
    answer="rules",
    cases=(
        Case("four images in the second task", (_made_up([3, 3, 4, 4], 1, 4),)),
        Case("four images in the first task", (_made_up([0, 0, 1, 1], 0, 5),)),
        Case("six images in the third task", (_made_up([4, 5, 4, 5, 4, 6], 2, 6, dim=4, n_known=4),)),
    ),
    mistakes=(),
    hints=(
        "Begin with a method that works: terms = csd.methods.csd(step) has all that CSD has.",
        "Add a term by a name of your own, only if step.teacher is not None. What the teacher gives is detached.",
        'For instance terms["relation"] = relation_distance(step.features, step.teacher.features); then `return '
        "terms`, outside of the `if`.",
    ),
    tested=(
        "a dictionary of finite losses in the first task and in later ones, a gradient for the student, and none for "
        "the teacher. Whether the method is any good, a check cannot tell"
    ),
)
