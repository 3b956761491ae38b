"""Exercises on what a teacher's answers tell a student: temperature, knowledge distillation, and where it pushes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import losses
from csd_edu.check.answers import Loss, Rows
from csd_edu.check.inputs import random
from csd_edu.check.running import Case, Exercise, table


def temperature_softmax(logits: Tensor, temperature: float) -> Tensor:
    scaled = logits / temperature  # (B, C)
    exps = (scaled - scaled.amax(dim=1, keepdim=True)).exp()  # the largest is exp(0) = 1: no overflow
    return exps / exps.sum(dim=1, keepdim=True)


def distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    n_old = teacher_logits.shape[1]
    student = F.log_softmax(student_logits[:, :n_old] / temperature, dim=1)  # (B, K) of the teacher's K classes
    teacher = F.softmax(teacher_logits.detach() / temperature, dim=1)  # (B, K), no gradient
    return F.kl_div(student, teacher, reduction="batchmean")


def naive_softmax(z: Tensor, dim: int) -> Tensor:
    return z.exp() / z.exp().sum(dim=dim, keepdim=True)


_LOGITS = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]])
_OVERFLOW = "exp overflows"
_UNEVEN = torch.tensor([[1000.0, 998.0], [0.0, 1.0]])
_VERY_LARGE = torch.tensor([[1000.0, 998.0, 0.0]])

TEMPERATURE_SOFTMAX = Exercise(
    temperature_softmax,
    title="Softmax with a temperature",
    doc="Check f(logits (B, C), temperature) -> (B, C) softmax(logits/temperature) of each row.",
    truth=lambda logits, temperature: F.softmax(logits / temperature, dim=1),
    answer=Rows(),
    cases=(
        Case("one sample, two classes, T = 2", torch.tensor([[1.0, 3.0]]), 2.0),
        Case("two samples, three classes, T = 4", _LOGITS, 4.0),
        Case("two samples, three classes, T = 0.5", _LOGITS, 0.5),
        Case("large logits: exp(500) is infinite in float32", _VERY_LARGE, 2.0, shows=_OVERFLOW),
        Case("one row with large logits, one with small ones", _UNEVEN, 1.0, shows=_OVERFLOW),
    ),
    mistakes=table("""
    no temperature | / temperature =>
        The temperature has no effect. Dividing after the exponential cancels out again in the normalisation; divide the
        logits, before it.
    multiplied by the temperature | / temperature => * temperature
        You multiply by the temperature. A higher temperature makes the answer softer: divide the logits by it.
    temperature outside the exponent | logits / temperature => logits | return exps => return exps / temperature
        You divide the probabilities by the temperature, outside the exponent: the rows no longer sum to 1. Divide the
        logits.
    normalised along the wrong axis | dim=1 => dim=0 (twice)
        You normalise over the samples of the batch (dim=0). Each sample's probabilities, a row, sum to 1 (dim=1).
    log-probabilities | exps / exps.sum(dim=1, keepdim=True) => scaled.log_softmax(dim=1)
        You return log-probabilities. The exercise asks for the probabilities.
    not normalised | - scaled.amax(dim=1, keepdim=True) => | / exps.sum(dim=1, keepdim=True) =>
        You return exponentials that do not sum to 1. Divide each row by its sum.
    the largest of the whole batch subtracted | scaled.amax(dim=1, keepdim=True) => scaled.max()
        You subtract the largest logit of the whole batch. Beside one row with large logits all others underflow: exp of
        them is 0, and 0/0 is NaN. Each row has its own largest: .amax(dim=1, keepdim=True).
    the largest subtracted before the division | scaled.amax => logits.amax
        You subtract the largest logit as it is from logits that are divided by T. Then exp is 0 everywhere (or still
        infinite), and 0/0 is NaN: divide by T first, and take the largest of these.
    exp overflows | - scaled.amax(dim=1, keepdim=True) =>
        The exponential of a large logit is infinite in float32 from about 88 on (in float16 from 11), and infinity
        divided by infinity is NaN. Subtract each row's largest logit first: it cancels out.
    """),
    hints=(
        "softmax(z)_c = exp(z_c) / Σ_d exp(z_d), and the temperature divides the logits z.",
        "The sum is over the classes of one sample: dim=1, with keepdim=True to divide row by row.",
        "Subtract the row's maximum before the exponential; or let F.softmax do all of it.",
    ),
    tested="soft and sharp temperatures, rows that sum to 1, large logits",
)


_UNCUT, _UNTOLD = "not cut to the teacher's classes", "new classes not told apart"

# Logits of the student and of the teacher, and a temperature.
_ONE_SAMPLE = (torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 1.0]]), 2.0)
_TWO_SAMPLES = (_LOGITS, torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 4.0]]), 2.0)
_TWO_NEW_CLASSES = (torch.tensor([[0.0, 2.0, 1.5, -2.0]]), torch.tensor([[3.0, 1.0]]), 2.0)
_LARGE = (torch.tensor([[200.0, 198.0]]), torch.tensor([[198.0, 200.0]]), 2.0)
_SURE = (torch.tensor([[250.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 2.0)


def _random(n: int, n_student: int, n_teacher: int, temperature: float, seed: int) -> tuple[Tensor, Tensor, float]:
    return 3 * random(n, n_student, seed), 3 * random(n, n_teacher, seed + 1), temperature


DISTILLATION = Exercise(
    distillation,
    title="Knowledge distillation",
    doc="Check f(student_logits (B, C), teacher_logits (B, K), temperature) -> scalar, as `losses.distillation`.",
    truth=lambda student_logits, teacher_logits, temperature: losses.distillation(
        student_logits, teacher_logits, temperature=temperature
    ),
    answer=Loss("student_logits", frozen="teacher_logits"),
    cases=(
        Case("one sample, two classes, T = 2", *_ONE_SAMPLE),
        Case("two samples, three classes, T = 2", *_TWO_SAMPLES),
        Case("student and teacher agree", _LOGITS, _LOGITS.clone(), 2.0),
        Case("five samples, four classes, T = 4", *_random(5, 4, 4, 4.0, seed=0)),
        Case(
            "the student knows two classes more than the teacher",
            *_TWO_NEW_CLASSES,
            shows=_UNCUT,
        ),
        Case(
            "four samples; the student knows six classes, the teacher four",
            *_random(4, 6, 4, 2.0, seed=2),
            shows=_UNCUT,
        ),
        Case(
            "more samples than classes; the student knows four classes, the teacher two",
            *_random(5, 4, 2, 2.0, seed=8),
            shows=_UNCUT,
        ),
        Case("large logits: exp(100) is infinite in float32", *_LARGE, shows=_OVERFLOW),
        Case("a student that is very sure: one of its probabilities is 0 in float32", *_SURE, shows=_OVERFLOW),
    ),
    mistakes=table("""
    factor T² | "batchmean") => "batchmean") * temperature**2
        You multiply by T². Hinton et al. propose it so that the gradients stay as large when T changes; the code
        released with CSD has no such factor, and the weight of the term does the same.
    KL reversed | kl_div(student, teacher, => kl_div(teacher.log(), student.exp(),
        You compute KL(student ‖ teacher). The teacher comes first: Σ teacher · (log teacher − log student). F.kl_div
        takes the student's log-probabilities first and the teacher's probabilities second.
    temperature on the teacher only | [:, :n_old] / temperature => [:, :n_old]
        You soften the teacher only. Both answers must be divided by T: else a student that says the same as the teacher
        still has a loss.
    temperature on the student only | detach() / temperature => detach()
        You soften the student only. The teacher's logits must be divided by T too: its soft answers are what there is
        to learn.
    no temperature | / temperature => (twice)
        The temperature is not used. Divide the logits of both sides by T, before the softmax.
    cut at the wrong end | [:, :n_old] => [:, -n_old:]
        You keep the student's last logits. The head grows at its end: the teacher's classes are the first K columns,
        the new ones come after.
    cut after the softmax | [:, :n_old] => | kl_div(student, => kl_div(student[:, :n_old],
        You take the softmax over all of the student's classes and cut afterwards: the old classes no longer sum to 1,
        and new classes are punished. Cut the logits first.
    not cut to the teacher's classes | [:, :n_old] =>
        This goes wrong as soon as the student knows more classes than the teacher. Compare only the classes that the
        teacher knew: the first K columns of the student's logits.
    sum instead of mean over the batch | batchmean => sum
        You add up the samples of the batch: a larger batch would then weigh more. Divide by B (reduction='batchmean').
    mean over all elements | "batchmean") => "batchmean") / n_old
        You divide by B · K, the number of all elements. KL is a sum over the classes, and the mean is over the samples
        only (reduction='batchmean', not 'mean').
    not weighted by the teacher | F.kl_div(student, teacher, reduction="batchmean")
        => (teacher.log() - student).sum(dim=1).mean()
        The difference of the logarithms is not weighted. KL is its mean under the teacher: each class counts with the
        probability that the teacher gives it, p · (log p − log q).
    squared difference of the probabilities | F.kl_div(student, teacher, reduction="batchmean")
        => (teacher - student.exp()).square().sum(dim=1).mean()
        You compare the probabilities by their squared difference. KL compares them by their logarithms.
    entropy of the teacher | F.kl_div(student, teacher, reduction="batchmean")
        => (0 * student - teacher * teacher.log()).sum(dim=1).mean()
        This is the entropy of the teacher's answers: the student does not occur in it.
    largest instead of mean over the batch | "batchmean") => "none").sum(dim=1).max()
        You take the largest of the samples. Take their mean.
    log of the student's softmax forgotten | F.log_softmax => F.softmax
        You give F.kl_div the student's probabilities. It wants their logarithms: F.log_softmax.
    log of the teacher's softmax instead of the softmax | F.softmax => F.log_softmax
        Your loss is NaN on every input. The usual cause: F.kl_div gets the teacher's log-probabilities as if they were
        probabilities, and takes the logarithm of negative numbers. Give it F.softmax, or say log_target=True.
    cross-entropy instead of KL
        | F.kl_div(student, teacher, reduction="batchmean") => -(teacher * student).sum(dim=1).mean()
        You compute −Σ teacher · log student. KL also adds Σ teacher · log teacher, and so is 0 when both agree. The
        gradient is the same, but the value does not tell how far apart the two are.
    softmax along the wrong axis | dim=1 => dim=0 (twice)
        You take the softmax over the samples of the batch (dim=0). Each sample's probabilities sum to 1 over its
        classes (dim=1).
    sign swapped | return F => return -F
        The sign is swapped: your loss falls as student and teacher move apart. KL is never below 0.
    squared difference of the logits
        | F.kl_div(student, teacher, reduction="batchmean") => F.mse_loss(student_logits, teacher_logits)
        You compare the logits by their squared difference. That is another distillation (and a harder one); here,
        compare the softened probabilities by KL.
    exp overflows | F.log_softmax => naive_softmax | F.softmax => naive_softmax
        | kl_div(student, => kl_div(student.log(),
        With large logits an exponential becomes infinite (in float32 from about 88 on, in float16 from 11), or a
        probability 0 and its logarithm −infinity. Use F.log_softmax, which subtracts the largest logit first.
    """),
    hints=(
        "KL(p ‖ q) = Σ_c p_c (log p_c − log q_c), summed over classes, then the mean over the batch. p is the teacher.",
        "The student's head has grown: cut its logits to the teacher's first K columns, then divide both by T.",
        "F.kl_div(log_q, p, reduction='batchmean') wants the student's F.log_softmax and the teacher's F.softmax, in "
        "this order. The teacher learns nothing: .detach().",
    ),
    tested=(
        "the direction of KL, the temperature on both sides, the cut to the teacher's classes, the mean over the "
        "batch, large logits, and that the student alone gets a gradient"
    ),
)


def push(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    n_samples, n_old = teacher_logits.shape
    p = F.softmax(teacher_logits / temperature, dim=1)  # (B, K) of the teacher's K classes
    q = F.softmax(student_logits[:, :n_old] / temperature, dim=1)  # (B, K)
    pushes = torch.zeros_like(student_logits)  # (B, C): nothing pushes the new classes
    pushes[:, :n_old] = (p - q) / (temperature * n_samples)
    return pushes


def _by_autograd(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    with torch.enable_grad():
        student_logits = student_logits.detach().clone().requires_grad_()
        loss = losses.distillation(student_logits, teacher_logits, temperature=temperature)
        return 0.0 - torch.autograd.grad(loss, student_logits)[0]  # no −0


PUSH = Exercise(
    push,
    title="The push of distillation",
    doc="""
    Check f(student_logits (B, C), teacher_logits (B, K), temperature) -> (B, C) minus the gradient of distillation.

    The gradient is that of `losses.distillation` in the student's logits; it is 0 for the classes from K on.
    """,
    truth=_by_autograd,
    answer=Rows(),
    cases=(
        Case("one sample, two classes, T = 2", *_ONE_SAMPLE),
        Case("two samples, three classes, T = 2", *_TWO_SAMPLES),
        Case("five samples, four classes, T = 4", *_random(5, 4, 4, 4.0, seed=4)),
        Case("the student knows two classes more than the teacher", *_TWO_NEW_CLASSES, shows=_UNTOLD),
        Case(
            "three samples; the student knows five classes, the teacher three",
            *_random(3, 5, 3, 2.0, seed=6),
            shows=_UNTOLD,
        ),
        Case("large logits: exp(100) is infinite in float32", *_LARGE, shows=_OVERFLOW),
    ),
    mistakes=table("""
    gradient instead of the push | p - q => q - p
        You return q − p, the gradient. Descent goes against it: up where the teacher finds a sign likelier, p > q, and
        down where the student does.
    not divided by T and B | / (temperature * n_samples) =>
        You return p − q as it is. The temperature divides the logits, so a 1/T comes down by the chain rule; and the
        loss is a mean over B samples.
    not divided by T | temperature * n_samples => n_samples
        The 1/T is missing below p − q. The temperature stands inside both softmaxes, and comes down once more by the
        chain rule.
    not divided by B | temperature * n_samples => temperature
        The 1/B is missing: the loss is a mean over the batch, so each sample has a B-th of the push.
    divided by T² | temperature * n_samples => temperature**2 * n_samples
        You divide by T². At high temperatures the push fades like 1/T², but one of the two factors is already in p − q,
        which grows flat.
    multiplied by T | / (temperature * n_samples) => * temperature / n_samples
        You multiply by T: that is the push of a loss with the factor T², which this one does not have. Divide.
    divided by all elements | * n_samples => * n_samples * n_old
        You divide by B · K, the number of all elements. The loss adds up the classes; the mean is over the B samples
        only.
    no temperature in the softmaxes | / temperature => (twice)
        Your softmaxes have no temperature: both answers are softened before they are compared, here as in the loss.
    only the teacher softened | [:, :n_old] / temperature => [:, :n_old]
        Only your p is softened. The student's logits are divided by T as well: where both say the same, nothing may
        push.
    only the student softened | teacher_logits / temperature => teacher_logits
        Only your q is softened. The teacher's logits are divided by T as well: where both say the same, nothing may
        push.
    difference of the logits | p - q => teacher_logits - student_logits[:, :n_old]
        You take the difference of the logits. What pushes is the difference of the two softmaxes: a common shift of all
        logits must not matter.
    difference of the logarithms | p - q => p.log() - q.log()
        You take log p − log q, which stands in the loss. In its gradient the logarithms are gone: p − q.
    the loss instead of its gradient | p - q => p * (p.log() - q.log())
        You return the terms of the loss, p (log p − log q). The push is minus the gradient of their sum, and is short:
        p − q, over T and B.
    softmax over the batch | dim=1 => dim=0 (twice)
        Your softmax runs over the samples of the batch (dim=0). Each row has an answer of its own: over its classes,
        dim=1, the pushes of a row add up to 0.
    new classes pushed down | [:, :n_old] / temperature => / temperature
        | pushes[:, :n_old] = (p => pushes = (F.pad(p, (0, q.shape[1] - n_old))
        You push the new classes down, as if the teacher had given them the probability 0. It has never heard of them
        and says nothing: q is a softmax over the old classes only, and the new ones feel nothing.
    softmax over all classes | [:, :n_old] / temperature, dim=1) => / temperature, dim=1)[:, :n_old]
        Your q is cut out of a softmax over all of the student's classes, so that it no longer sums to 1. Cut the logits
        first, to the teacher's K classes.
    the student's last classes | student_logits[:, :n_old] => student_logits[:, -n_old:]
        You compare the teacher with the student's last classes. The head grows at its end: the old ones are the first K
        columns.
    filled from the end | pushes[:, :n_old] => pushes[:, -n_old:]
        The pushes stand in the last columns. They belong to the old classes, the first K; zeros come after.
    no column for the new classes | return pushes => return pushes[:, :n_old]
        You return a push for the old classes only. The student has C logits, and each gets a number: for the new
        classes a zero.
    new classes not told apart | n_samples, n_old = teacher_logits.shape => n_samples, n_old = student_logits.shape
        | F.softmax(teacher_logits => F.softmax(F.pad(teacher_logits, (0, n_old - teacher_logits.shape[1]))
        This goes wrong as soon as the student knows more classes than the teacher. Compare the first K columns of its
        logits, and return C columns: zeros for the new classes.
    exp overflows | F.softmax => naive_softmax (twice)
        For large logits your exponential is infinite (in float32 from about 88 on), and infinity divided by infinity is
        NaN. torch.softmax subtracts the largest logit of each row first.
    """),
    hints=(
        "Two softmaxes at temperature T, both (B, K): p of the teacher's logits, and q of the student's first K.",
        "The push on the old classes is (p − q) / (T · B): two divisions, and p comes first.",
        "Begin with pushes = torch.zeros_like(student_logits), which is right for the new classes, and fill "
        "pushes[:, :K].",
    ),
    tested=(
        "the direction, both factors, the temperature on both sides, zeros for the new classes, and large logits: the "
        "same as by autograd"
    ),
)
