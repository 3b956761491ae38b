"""Exercises on methods: CSD as one, what those of one's own may hold on to, as losses and as terms, and the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import csd_edu as csd
from csd_edu import methods
from csd_edu.check.answers import Loss, Problem, Rules, Terms
from csd_edu.check.inputs import normal_step, uniform_step
from csd_edu.check.running import Case, Exercise, Function, table
from csd_edu.methods import Step

Gradients = Sequence[Tensor | None]


def my_csd(step: csd.methods.Step) -> dict[str, Tensor]:
    terms = csd.methods.lwf(step)
    if step.teacher is not None:
        terms["csd"] = csd.losses.csd(step.features, step.teacher.features, step.labels, temperature=0.07)
    return terms


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


MY_CSD = Exercise(
    my_csd,
    title="CSD as a method",
    doc="Check f(step) -> dict of losses by name, as `methods.csd`.",
    truth=methods.csd,
    answer=Terms("ce", "triplet", "kd", "csd", learns="step.features", frozen="step.teacher.features"),
    cases=(
        Case("four images in the second task", normal_step([3, 3, 4, 4], 1, seed=0, dim=3, n_new=2)),
        Case("six images in the third task", normal_step([4, 5, 4, 5, 4, 6], 2, seed=1, dim=4, n_new=3)),
        Case(
            "four images in the first task",
            normal_step([0, 0, 1, 1], 0, seed=2, dim=3, n_new=2),
            shows="a teacher asked in the first task",
        ),
    ),
    mistakes=table("""
    no csd term | step.teacher is not None => False
        There is a teacher, and no term named 'csd': what you return is lwf.
    csd in the second task only | step.teacher is not None => step.task == 1
        You add the csd term in the second task only. There is a teacher in every task but the first: ask whether
        step.teacher is None, not for a task's number.
    student and teacher swapped | step.features, step.teacher.features => step.teacher.features, step.features
        Student and teacher are swapped. The anchors are the student's features, so they come first; what comes second
        is detached, and nothing would be learnt.
    the student contrasted with itself | step.teacher.features => step.features
        You give the loss the student's features twice. The second ones are the teacher's: step.teacher.features.
    the teacher contrasted with itself | step.features => step.teacher.features
        You give the loss the teacher's features twice. The first ones are the student's: step.features.
    the teacher's logits instead of its features | step.teacher.features => step.teacher.logits
        You contrast the student's features with the teacher's logits. They live in different spaces, even where they
        have equally many numbers: step.teacher.features.
    logits instead of features
        | step.features, step.teacher.features => step.logits[:, : step.teacher.logits.shape[1]], step.teacher.logits
        You contrast logits. Distillation of the answers does that already, the kd term; CSD keeps the features, which
        the search compares.
    temperature 2 | 0.07 => 2
        The csd term has a temperature of 2. That is the distillation's, for logits; cosines lie between −1 and 1, and
        want 0.07.
    temperature 1 | 0.07 => 1
        The csd term has a temperature of 1, which is none at all. Cosines differ by little: 0.07 sharpens them.
    temperature 0.7 | 0.07 => 0.7
        The csd term has a temperature of 0.7. It should be 0.07.
    csd counted twice | = csd.losses => = 2 * csd.losses
        The csd term is twice as large as it should be: it is added twice. Its weight is 1.
    csd divided by the batch | 0.07) => 0.07) / len(step.labels)
        You divide the csd term by the number of images. It is a mean over the batch already.
    csd subtracted | = csd.losses => = -csd.losses
        The csd term has a minus in front. The trainer minimises the sum of all terms, and this one is a loss: a plus.
    csd hidden in the cross-entropy | terms["csd"] = => terms["ce"] +=
        You add the csd term to 'ce'. The sum is the same, but nobody could see the two apart in the log: an entry of
        its own.
    csd hidden in the distillation | terms["csd"] = => terms["kd"] +=
        You add the csd term to 'kd'. The sum is the same, but the log would call it distillation of the answers: an
        entry of its own.
    csd in the place of another term | terms["csd"] => terms["kd"]
        The csd term stands in the place of 'kd', which is gone. Give it an entry of its own, 'csd'.
    no distillation | lwf => finetune
        The kd term is missing: you build on finetune. CSD builds on lwf, which keeps the answers; the new term keeps
        the features.
    no triplet loss | 0.07) => 0.07); del terms["triplet"]
        The triplet term is gone. CSD keeps all terms of lwf, and adds one.
    no cross-entropy | 0.07) => 0.07); del terms["ce"]
        The cross-entropy 'ce' is gone: nothing would teach the head. CSD keeps all terms of lwf.
    nothing but csd | 0.07) => 0.07); terms = {"csd": terms["csd"]}
        You return the csd term alone. Put it into the dictionary beside those of lwf, and return them all.
    a teacher asked in the first task | step.teacher is not None => True
        | step.teacher.features => (step.teacher or step).features
        This goes wrong in the first task, where nobody has learnt anything yet: step.teacher is None. Add the csd term
        only if there is a teacher.
    """),
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


def _features(n: int, dim: int, seed: int, scale: float = 1.0) -> Tensor:
    """Features (n, dim) as a network has them, none below 0, of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.rand(n, dim, generator=generator) * torch.rand(n, 1, generator=generator).add(0.5)


FEATURE_DISTANCE = Exercise(
    feature_distance,
    title="Feature distance",
    doc="Check f(student (B, D), teacher (B, D)) -> scalar, the mean squared distance of features scaled to length 1.",
    truth=_by_cosine,
    answer=Loss("student", frozen="teacher"),
    cases=(
        Case("one image", torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])),
        Case("two images", torch.tensor([[0.0, 3, 4], [6, 0, 8]]), torch.tensor([[0.0, 5, 0], [0, 0, 2]])),
        Case("seven images, features of 64 numbers", _features(7, 64, 0), _features(7, 64, 1, 3.0)),
    ),
    mistakes=table("""
    not scaled | F.normalize(student, dim=1) => student | F.normalize(teacher.detach(), dim=1) => teacher
        You compare features as they come. A search looks at their direction only: scale each one to length 1 first, so
        that longer or shorter features cost nothing.
    not scaled, mean over all numbers | F.normalize(student, dim=1) => student
        | F.normalize(teacher.detach(), dim=1) => teacher | .sum(dim=1) =>
        You compare features as they come, and take the mean over all B · D numbers. Scale each feature to length 1;
        then sum over D, and take the mean over B.
    mean over all numbers | .sum(dim=1) =>
        You take the mean over all B · D numbers, so the loss gets smaller the more numbers a feature has. Sum over D,
        and then take the mean over B.
    the first image only | .mean() => [0]
        You return the distance of the first image: is `return` inside of the loop? Take the mean over all.
    the largest difference | .sum(dim=1) => .amax(dim=1)
        You take the largest of the squared differences. The squared distance is their sum over D.
    divided by the sum, not the length | F.normalize(student, dim=1) => student / student.sum(dim=1, keepdim=True)
        | F.normalize(teacher.detach(), dim=1) => teacher.detach() / teacher.detach().sum(dim=1, keepdim=True)
        You divide each feature by the sum of its numbers. Its length is the root of the sum of their squares.
    sum over the images | .sum(dim=1).mean() => .sum()
        You add up the images, so the loss grows with the batch. Take their mean.
    1 − cosine | .mean() => .mean() / 2
        This is 1 − cosine, half of what is asked for: ‖s − t‖² = 2 − 2 cos for features of length 1. A good loss as
        well, but with a weight of its own.
    cosine instead of a distance | return => return 1 - | .mean() => .mean() / 2
        This is the cosine, which is largest where nothing has moved. A loss must be smallest there.
    distance not squared | .square().sum(dim=1) => .norm(dim=1)
        The distance is not squared. Squared, it pulls harder the farther a feature has moved, and its gradient is
        well-behaved where nothing has: leave the root out.
    absolute differences | square => abs
        You add up absolute differences. The squared Euclidean distance adds up squares.
    differences not squared | .square() =>
        You add up the differences as they are, so those above and below 0 cancel. Square them first.
    normalised along the wrong axis | student, dim=1 => student, dim=0 | detach(), dim=1 => detach(), dim=0
        You scale the columns to length 1 (dim=0). Each image's feature, a row, must have length 1 (dim=1).
    one length for the whole batch | F.normalize(student, dim=1) => student / student.norm()
        | F.normalize(teacher.detach(), dim=1) => teacher / teacher.norm()
        You divide by the norm of all features together, .norm() without dim. Each row has a length of its own:
        F.normalize(x, dim=1).
    only the student scaled | F.normalize(teacher.detach(), dim=1) => teacher
        You scale the student's features only. The teacher's need length 1 as well.
    only the teacher scaled | F.normalize(student, dim=1) => student
        You scale the teacher's features only. The student's need length 1 as well.
    sign swapped | return => return -
        The sign is wrong: your loss is lowest where features have moved farthest.
    """),
    hints=(
        "F.normalize(x, dim=1) scales each row to length 1. Do so with both, and subtract: (B, D).",
        "Square the differences, sum over D: .square().sum(dim=1) gives one number for each image. Then their mean.",
        "teacher.detach(): the number is the same without it, but where would the gradient go?",
    ),
    tested="the length of each feature, squares, the sum over D, the mean over B, and that the student alone learns",
)


def huber(gap: Tensor, half: float = 0.5, less: float = 0.5) -> Tensor:
    """Huber's loss of gaps above 0, written out."""
    return torch.where(gap <= 1, half * gap.square(), gap - less).mean()


def _pair_by_pair(student: Tensor, teacher: Tensor) -> Tensor:
    """The relational loss on another road: all pairs i < j, and Huber's loss written out."""
    i, j = torch.triu_indices(len(student), len(student), offset=1)
    s, t = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    d, e = torch.linalg.vector_norm(s[i] - s[j], dim=1), torch.linalg.vector_norm(t[i] - t[j], dim=1)
    gap = (d / d.mean() - e / e.mean()).abs()
    return huber(gap)


# Three of four lie close together, others for the student than for the teacher: gaps on both sides of 1.
_CROWDED = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.1, 0.0], [2.0, 0.0, 0.3], [0.0, 0.0, 1.0]])

RELATION_DISTANCE = Exercise(
    relation_distance,
    title="Relational distillation",
    doc="""
    Check f(student (B, D), teacher (B, D)) -> scalar, the distance-wise loss of relational knowledge distillation.

    On features scaled to length 1. Source: Park et al., CVPR 2019.
    """,
    truth=_pair_by_pair,
    answer=Loss("student", frozen="teacher"),
    cases=(
        Case(
            "three images",
            torch.tensor([[3.0, 4, 0], [0, 2, 0], [0, 0, 1]]),
            torch.tensor([[1.0, 0, 0], [5, 0, 0.5], [0, 0, 3]]),
        ),
        Case("four images, some relations changed a lot", _CROWDED, 2 * _CROWDED.flip(0).roll(1, dims=1)),
        Case("seven images, features of 64 numbers", _features(7, 64, 2), _features(7, 64, 3, 3.0)),
    ),
    mistakes=table("""
    not scaled | F.normalize(student, dim=1) => student | F.normalize(teacher.detach(), dim=1) => teacher
        You compare features as they come. The search looks at directions only: scale each feature to length 1 before
        you measure distances.
    not divided by the mean | / d_student.mean() => | / d_teacher.mean() =>
        You compare the distances as they are. Divide each set by its own mean, so that a common factor does not matter:
        relations are kept, not sizes.
    neither scaled nor divided by the mean | F.normalize(student, dim=1) => student
        | F.normalize(teacher.detach(), dim=1) => teacher | / d_student.mean() => | / d_teacher.mean() =>
        You compare distances of features as they come. First scale each feature to length 1; then divide each set of
        distances by its own mean.
    normalised along the wrong axis | student, dim=1 => student, dim=0 | detach(), dim=1 => detach(), dim=0
        You scale the columns to length 1 (dim=0). Each image's feature is a row: dim=1.
    squared distances | , dim=1)) => , dim=1)) ** 2 (twice)
        These are squared distances: the root is missing. F.pdist(x) has it.
    1 − cosine instead of a distance | student, dim=1)) => student, dim=1)) ** 2 / 2
        | detach(), dim=1)) => detach(), dim=1)) ** 2 / 2 | / d_student.mean() => | / d_teacher.mean() =>
        You compare 1 − cosine. The loss is made of Euclidean distances between features of length 1.
    each image paired with itself | F.pdist => (lambda x: (x[:, None] - x).norm(dim=2).flatten()) (twice)
        You pair each image with itself, too. Its distance is 0 for everybody, and makes the mean smaller: only pairs
        with i < j count, as F.pdist has them.
    similarities instead of distances
        | F.pdist( => (lambda x: (x @ x.T)[tuple(torch.triu_indices(len(x), len(x), 1))])( (twice)
        You compare cosines. The loss is made of Euclidean distances between features of length 1: F.pdist.
    only the student divided by its mean | / d_teacher.mean() =>
        Only the student's distances are divided by their mean. The teacher's have one of their own.
    only the teacher divided by its mean | / d_student.mean() =>
        Only the teacher's distances are divided by their mean. The student's have one of their own.
    squared difference | F.smooth_l1_loss => F.mse_loss
        You square the differences. Huber's loss is half of the square up to 1, and a straight line beyond, so that few
        large gaps do not decide everything: F.smooth_l1_loss.
    half the squared difference | F.smooth_l1_loss => 0.5 * F.mse_loss
        You take half of the square everywhere. Huber's loss is a straight line beyond 1, so that few large gaps do not
        decide everything: F.smooth_l1_loss.
    absolute difference | F.smooth_l1_loss => F.l1_loss
        You take the absolute differences. Huber's loss is round near 0, half of the square: F.smooth_l1_loss.
    differences with their sign | F.smooth_l1_loss => (lambda x, y: huber(x - y))
        You compare with 1 the difference as it is, with its sign. Huber's loss goes by its size, |x − y|.
    half forgotten in Huber's loss | F.smooth_l1_loss => (lambda x, y: huber((x - y).abs(), half=1.0))
        Up to 1 Huber's loss is half of the square, x²/2: the half is missing, and the two parts do not meet at 1.
    ½ not subtracted in Huber's loss | F.smooth_l1_loss => (lambda x, y: huber((x - y).abs(), less=0.0))
        Beyond 1 Huber's loss is |x| − ½: the ½ is missing, and the two parts do not meet at 1.
    the mean subtracted | / d_student.mean() => - d_student.mean() | / d_teacher.mean() => - d_teacher.mean()
        You subtract the mean of the distances. Divide by it, so that a common factor does not matter.
    divided by the sum | d_student.mean() => d_student.sum() | d_teacher.mean() => d_teacher.sum()
        You divide the distances by their sum. Divide by their mean.
    divided by the largest | d_student.mean() => d_student.max() | d_teacher.mean() => d_teacher.max()
        You divide the distances by the largest. Divide by their mean.
    sum over the pairs | d_teacher.mean()) => d_teacher.mean(), reduction="sum")
        You add up the pairs, so the loss grows with the square of the batch. Take their mean.
    both divided by the teacher's mean | d_student.mean() => d_teacher.mean()
        You divide both sets by the teacher's mean. Each has its own: a student whose distances are all twice as large
        has the same relations.
    both divided by the student's mean | d_teacher.mean() => d_student.mean()
        You divide both sets by the student's mean. Each has its own: a student whose distances are all twice as large
        has the same relations.
    each image compared with itself | feature_distance
        You compare what student and teacher make of the same image, as feature_distance does. Here pairs of images are
        compared: how far is i from j?
    """),
    hints=(
        "First the distances of all pairs i < j for the student, on features of length 1; then the same for the "
        "teacher, who is detached.",
        "F.pdist(x) has the distances of all pairs i < j of the rows of x. It leaves out the distance 0 of an image "
        "from itself, where the slope of the root is infinite.",
        "Divide each set by its own .mean(), and give both to F.smooth_l1_loss.",
    ),
    tested="features of length 1, pairs i < j, each mean, both parts of Huber's loss, and that only the student learns",
)


def _right_terms(step: Step, weight: float) -> dict[str, Tensor]:
    terms = methods.finetune(step)
    if step.teacher is not None:
        terms["feature"] = weight * _by_cosine(step.features, step.teacher.features)
    return terms


FEATURE_DISTILLATION = Exercise(
    feature_distillation,
    title="Feature distillation as a method",
    doc="""Check f(step, weight) -> dict of losses by name: those of `methods.finetune` and, with a teacher, "feature".

    That is the weight times the distance of `feature_distance`.
    """,
    truth=_right_terms,
    answer=Terms("ce", "triplet", "feature", learns="step.features", frozen="step.teacher.features"),
    cases=(
        Case("four images in the second task", uniform_step([3, 3, 4, 4], 1, 0), 3.0),
        Case("another weight", uniform_step([3, 4, 4, 3], 1, 1), 0.5),
        Case("six images in the third task", uniform_step([4, 5, 4, 5, 4, 6], 2, 2, dim=4, n_known=4), 2.0),
        Case(
            "four images in the first task",
            uniform_step([0, 0, 1, 1], 0, 3),
            3.0,
            shows="a teacher asked in the first task",
        ),
    ),
    mistakes=table("""
    no feature term | step.teacher is not None => False
        There is a teacher, and no term named 'feature', or one that is always 0: is the student compared with itself?
        What you return is finetune.
    weight left out | weight * =>
        The feature term is not multiplied by the weight.
    weight always 3 | weight * => 3 *
        Your weight is always 3. That is the value if none is given; take the parameter `weight`, so that others can be
        tried.
    divided by the weight | weight * => 1 / weight *
        You divide by the weight. A larger weight holds features more tightly: multiply.
    weight on all terms
        | return terms => return {name: term if name == "feature" else weight * term for name, term in terms.items()}
        You multiply all terms by the weight. It weighs the feature term against the others.
    feature in the second task only | step.teacher is not None => step.task == 1
        You add the feature term in the second task only. There is a teacher in every task but the first: ask whether
        step.teacher is None, not for a task's number.
    logits instead of features | step.features => step.logits[:, : step.teacher.logits.shape[1]]
        | step.teacher.features => step.teacher.logits
        You compare logits. LwF holds on to the answers; here the features themselves are held, step.features and
        step.teacher.features.
    features not scaled | F.normalize(step.features, dim=1) => step.features
        | F.normalize(step.teacher.features.detach(), dim=1) => step.teacher.features
        You compare features as they come. Scale them to length 1 first, as feature_distance does.
    1 − cosine in the feature term | .mean() => .mean() / 2
        The feature term is half of what it should be: it is made of 1 − cosine. The squared distance of features of
        length 1 is twice that.
    feature term not squared | .square().sum(dim=1) => .norm(dim=1)
        The feature term is made of distances. Square them, as feature_distance does.
    absolute differences in the feature term | .square() => .abs()
        The feature term adds up absolute differences. feature_distance squares them.
    feature subtracted | = weight => = -weight
        The feature term has a minus in front. The trainer minimises the sum of all terms: a plus.
    feature hidden in the cross-entropy | terms["feature"] = => terms["ce"] +=
        You add the feature term to 'ce'. The sum is the same, but nobody could see the two apart in the log: an entry
        of its own, 'feature'.
    nothing but feature | .mean() => .mean(); terms = {"feature": terms["feature"]}
        You return the feature term alone: the old is held, and nothing new is learnt. Put it into the dictionary beside
        fine-tuning's terms.
    cross-entropy missing | .mean() => .mean(); del terms["ce"]
        The cross-entropy 'ce' is gone: nothing would teach the head the new classes. Keep fine-tuning's terms.
    triplet loss missing | .mean() => .mean(); del terms["triplet"]
        The triplet term is gone. Feature distillation keeps both terms of fine-tuning, and adds one.
    a teacher asked in the first task | step.teacher is not None => True
        This goes wrong in the first task, where there is no old network yet: step.teacher is None. Add the feature term
        only if there is a teacher.
    """),
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


def _broken_rule(f: Function, step: Step) -> Problem | None:
    """Return which rule of methods a function breaks on one step, or None."""
    leaves = [step.features, step.logits]
    if step.teacher is not None:
        leaves += [step.teacher.features, step.teacher.logits]
    for leaf in leaves:
        leaf.requires_grad_()
    when = "in the first task" if step.teacher is None else "in a later task"
    try:
        terms = f(step)
    except (AttributeError, TypeError) as error:
        problem = no_teacher(error) if step.teacher is None else None
        if problem is None:
            raise
        return problem
    problem = no_terms(terms, when)
    if problem is not None:
        return problem
    found = gradients(terms, leaves)
    return bad_gradient(found[:2], found[2:], when)


def no_teacher(error: Exception) -> Problem | None:
    """Return why a method went wrong in the first task, if it is for the teacher who is not there, or None."""
    if "NoneType" not in str(error):
        return None
    message = (
        "This goes wrong in the first task, where nobody has learnt anything yet: step.teacher is None. Ask "
        f"`if step.teacher is not None:` first.\n{type(error).__name__}: {error}"
    )
    return Problem("a teacher asked in the first task", message)


def no_terms(terms: Any, when: str) -> Problem | None:
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


def gradients(terms: Mapping[str, Tensor], leaves: Sequence[Tensor]) -> Gradients:
    """Return the gradient of the sum of all terms in each of some tensors, None where it has no part in them."""
    learning = [term for term in terms.values() if term.requires_grad]
    return (
        torch.autograd.grad(learning, leaves, allow_unused=True, retain_graph=True)
        if learning and leaves
        else [None] * len(leaves)
    )


def bad_gradient(student: Gradients, teacher: Gradients, when: str) -> Problem | None:
    """Return what is wrong with the gradients in features and logits, the student's and the teacher's; or None."""
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
    my_method,
    title="A method of your own",
    doc="""Check that f(step) keeps the rules of methods; which terms it returns is free.

    A dictionary of finite losses by name, scalar tensors, in the first task and in later ones; a gradient for the
    student, and none for the teacher.
    """,
    truth=my_method,
    answer=Rules(),
    tried=_broken_rule,
    cases=(
        Case("four images in the second task", uniform_step([3, 3, 4, 4], 1, 4)),
        Case("four images in the first task", uniform_step([0, 0, 1, 1], 0, 5)),
        Case("six images in the third task", uniform_step([4, 5, 4, 5, 4, 6], 2, 6, dim=4, n_known=4)),
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
