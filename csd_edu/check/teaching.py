"""Exercises on what a teacher's answers tell a student: temperature, knowledge distillation, and where it pushes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import losses
from csd_edu.check.running import Case, Exercise, Mistake


def temperature_softmax(logits: Tensor, temperature: float) -> Tensor:
    scaled = logits / temperature  # (B, C)
    exps = (scaled - scaled.amax(dim=1, keepdim=True)).exp()  # the largest is exp(0) = 1: no overflow
    return exps / exps.sum(dim=1, keepdim=True)


def distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    n_old = teacher_logits.shape[1]
    student = F.log_softmax(student_logits[:, :n_old] / temperature, dim=1)  # (B, K) of the teacher's K classes
    teacher = F.softmax(teacher_logits.detach() / temperature, dim=1)  # (B, K), no gradient
    return F.kl_div(student, teacher, reduction="batchmean")


def _naive_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).exp() / (logits / temperature).exp().sum(dim=1, keepdim=True)


_LOGITS = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]])

TEMPERATURE_SOFTMAX = Exercise(
    name="temperature_softmax",
    title="Softmax with a temperature",
    solution=temperature_softmax,
    truth=lambda logits, temperature: F.softmax(logits / temperature, dim=1),
    answer="rows",
    cases=(
        Case("one sample, two classes, T = 2", (torch.tensor([[1.0, 3.0]]), 2.0)),
        Case("two samples, three classes, T = 4", (_LOGITS, 4.0)),
        Case("two samples, three classes, T = 0.5", (_LOGITS, 0.5)),
        Case(
            "large logits: exp(500) is infinite in float32",
            (torch.tensor([[1000.0, 998.0, 0.0]]), 2.0),
            shows="exp overflows",
        ),
    ),
    mistakes=(
        Mistake(
            "no temperature",
            "The temperature has no effect. Dividing after the exponential cancels out again in the normalisation; "
            "divide the logits, before it.",
            lambda logits, _: F.softmax(logits, dim=1),
        ),
        Mistake(
            "multiplied by the temperature",
            "You multiply by the temperature. A higher temperature makes the answer softer: divide the logits by it.",
            lambda logits, temperature: F.softmax(logits * temperature, dim=1),
        ),
        Mistake(
            "temperature outside the exponent",
            "You divide the probabilities by the temperature, outside the exponent: the rows no longer sum to 1. "
            "Divide the logits.",
            lambda logits, temperature: F.softmax(logits, dim=1) / temperature,
        ),
        Mistake(
            "normalised along the wrong axis",
            "You normalise over the samples of the batch (dim=0). Each sample's probabilities, a row, sum to 1 "
            "(dim=1).",
            lambda logits, temperature: F.softmax(logits / temperature, dim=0),
        ),
        Mistake(
            "log-probabilities",
            "You return log-probabilities. The exercise asks for the probabilities.",
            lambda logits, temperature: F.log_softmax(logits / temperature, dim=1),
        ),
        Mistake(
            "not normalised",
            "You return exponentials that do not sum to 1. Divide each row by its sum.",
            lambda logits, temperature: (logits / temperature).exp(),
        ),
        Mistake(
            "exp overflows",
            "The exponential of a large logit is infinite in float32 from about 88 on (in float16 from 11), and "
            "infinity divided by infinity is NaN. Subtract each row's largest logit first: it cancels out.",
            _naive_softmax,
        ),
    ),
    hints=(
        "softmax(z)_c = exp(z_c) / Σ_d exp(z_d), and the temperature divides the logits z.",
        "The sum is over the classes of one sample: dim=1, with keepdim=True to divide row by row.",
        "Subtract the row's maximum before the exponential; or let F.softmax do all of it.",
    ),
    tested="soft and sharp temperatures, rows that sum to 1, large logits",
)

Both = Literal["both", "student", "teacher", "none"]


def _wrong(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    softened: Both = "both",
    cut: Literal["first", "last", "after", "not"] = "first",
    reverse: bool = False,
    dim: int = 1,
    divisor: Literal["B", "BK", "1"] = "B",
    squared: bool = False,
    student_log: bool = True,
    entropy: bool = True,
    sign: int = 1,
) -> Tensor:
    """Distillation with one thing done differently."""
    n_old = teacher_logits.shape[1]
    of_student = temperature if softened in ("both", "student") else 1.0
    of_teacher = temperature if softened in ("both", "teacher") else 1.0
    if cut == "first":
        student_logits = student_logits[:, :n_old]
    elif cut == "last":
        student_logits = student_logits[:, -n_old:]
    student = F.log_softmax(student_logits / of_student, dim=dim)
    teacher = F.log_softmax(teacher_logits / of_teacher, dim=dim)
    if cut == "after":
        student = student[:, :n_old]
    if reverse:
        student, teacher = teacher, student
    loss = (teacher.exp() * (teacher * entropy - (student if student_log else student.exp()))).sum()
    loss = loss / {"B": len(teacher), "BK": teacher.numel(), "1": 1}[divisor]
    return sign * loss * (temperature**2 if squared else 1)


def _logarithm_of_negative(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    student = F.log_softmax(student_logits[:, : teacher_logits.shape[1]] / temperature, dim=1)
    return F.kl_div(student, F.log_softmax(teacher_logits / temperature, dim=1), reduction="batchmean")


def _naive_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    student = _naive_softmax(student_logits[:, : teacher_logits.shape[1]], temperature)
    teacher = _naive_softmax(teacher_logits, temperature)
    return (teacher * (teacher / student).log()).sum(dim=1).mean()


def _random(n: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


DISTILLATION = Exercise(
    name="distillation",
    title="Knowledge distillation",
    solution=distillation,
    truth=lambda student_logits, teacher_logits, temperature: losses.distillation(
        student_logits, teacher_logits, temperature=temperature
    ),
    answer="loss",
    learns="student_logits",
    frozen="teacher_logits",
    cases=(
        Case("one sample, two classes, T = 2", (torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 1.0]]), 2.0)),
        Case("two samples, three classes, T = 2", (_LOGITS, torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 4.0]]), 2.0)),
        Case("student and teacher agree", (_LOGITS, _LOGITS.clone(), 2.0)),
        Case("five samples, four classes, T = 4", (_random(5, 4, 0), _random(5, 4, 1), 4.0)),
        Case(
            "the student knows two classes more than the teacher",
            (torch.tensor([[0.0, 2.0, 1.5, -2.0]]), torch.tensor([[3.0, 1.0]]), 2.0),
            shows="not cut to the teacher's classes",
        ),
        Case(
            "four samples; the student knows six classes, the teacher four",
            (_random(4, 6, 2), _random(4, 4, 3), 2.0),
            shows="not cut to the teacher's classes",
        ),
        Case(
            "large logits: exp(100) is infinite in float32",
            (torch.tensor([[200.0, 198.0]]), torch.tensor([[198.0, 200.0]]), 2.0),
            shows="exp overflows",
        ),
        Case(
            "a student that is very sure: one of its probabilities is 0 in float32",
            (torch.tensor([[250.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 2.0),
            shows="exp overflows",
        ),
    ),
    mistakes=(
        Mistake(
            "factor T²",
            "You multiply by T². Hinton et al. propose it so that the gradients stay as large when T changes; the code "
            "released with CSD has no such factor, and the weight of the term does the same.",
            partial(_wrong, squared=True),
        ),
        Mistake(
            "KL reversed",
            "You compute KL(student ‖ teacher). The teacher comes first: Σ teacher · (log teacher − log student). "
            "F.kl_div takes the student's log-probabilities first and the teacher's probabilities second.",
            partial(_wrong, reverse=True),
        ),
        Mistake(
            "temperature on the teacher only",
            "You soften the teacher only. Both answers must be divided by T: else a student that says the same as the "
            "teacher still has a loss.",
            partial(_wrong, softened="teacher"),
        ),
        Mistake(
            "temperature on the student only",
            "You soften the student only. The teacher's logits must be divided by T too: its soft answers are what "
            "there is to learn.",
            partial(_wrong, softened="student"),
        ),
        Mistake(
            "no temperature",
            "The temperature is not used. Divide the logits of both sides by T, before the softmax.",
            partial(_wrong, softened="none"),
        ),
        Mistake(
            "cut at the wrong end",
            "You keep the student's last logits. The head grows at its end: the teacher's classes are the first K "
            "columns, the new ones come after.",
            partial(_wrong, cut="last"),
        ),
        Mistake(
            "cut after the softmax",
            "You take the softmax over all of the student's classes and cut afterwards: the old classes no longer sum "
            "to 1, and new classes are punished. Cut the logits first.",
            partial(_wrong, cut="after"),
        ),
        Mistake(
            "not cut to the teacher's classes",
            "This goes wrong as soon as the student knows more classes than the teacher. Compare only the classes that "
            "the teacher knew: the first K columns of the student's logits.",
            partial(_wrong, cut="not"),
        ),
        Mistake(
            "sum instead of mean over the batch",
            "You add up the samples of the batch: a larger batch would then weigh more. Divide by B "
            "(reduction='batchmean').",
            partial(_wrong, divisor="1"),
        ),
        Mistake(
            "mean over all elements",
            "You divide by B · K, the number of all elements. KL is a sum over the classes, and the mean is over the "
            "samples only (reduction='batchmean', not 'mean').",
            partial(_wrong, divisor="BK"),
        ),
        Mistake(
            "log of the student's softmax forgotten",
            "You give F.kl_div the student's probabilities. It wants their logarithms: F.log_softmax.",
            partial(_wrong, student_log=False),
        ),
        Mistake(
            "log of the teacher's softmax instead of the softmax",
            "Your loss is NaN on every input. The usual cause: F.kl_div gets the teacher's log-probabilities as if "
            "they were probabilities, and takes the logarithm of negative numbers. Give it F.softmax, or say "
            "log_target=True.",
            _logarithm_of_negative,
        ),
        Mistake(
            "cross-entropy instead of KL",
            "You compute −Σ teacher · log student. KL also adds Σ teacher · log teacher, and so is 0 when both agree. "
            "The gradient is the same, but the value does not tell how far apart the two are.",
            partial(_wrong, entropy=False),
        ),
        Mistake(
            "softmax along the wrong axis",
            "You take the softmax over the samples of the batch (dim=0). Each sample's probabilities sum to 1 over its "
            "classes (dim=1).",
            partial(_wrong, dim=0),
        ),
        Mistake(
            "sign swapped",
            "The sign is swapped: your loss falls as student and teacher move apart. KL is never below 0.",
            partial(_wrong, sign=-1),
        ),
        Mistake(
            "squared difference of the logits",
            "You compare the logits by their squared difference. That is another distillation (and a harder one); "
            "here, compare the softened probabilities by KL.",
            lambda student_logits, teacher_logits, _: F.mse_loss(student_logits, teacher_logits),
        ),
        Mistake(
            "exp overflows",
            "With large logits an exponential becomes infinite (in float32 from about 88 on, in float16 from 11), or a "
            "probability 0 and its logarithm −infinity. Use F.log_softmax, which subtracts the largest logit first.",
            _naive_distillation,
        ),
    ),
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


def _gap(p: Tensor, q: Tensor) -> Tensor:
    return p - q


def _over_classes(logits: Tensor) -> Tensor:
    return F.softmax(logits, dim=1)


def _wrong_push(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    softened: Both = "both",
    cut: Literal["first", "last", "after", "padded", "unknown"] = "first",
    place: Literal["first", "last", "none"] = "first",
    gap: Callable[[Tensor, Tensor], Tensor] = _gap,
    softmax: Callable[[Tensor], Tensor] = _over_classes,
    power: int = 1,
    divisor: Literal["B", "BK", "1"] = "B",
) -> Tensor:
    """The push with one thing done differently; `power` is that of the temperature below the fraction line."""
    n_old, n_new = teacher_logits.shape[1], student_logits.shape[1] - teacher_logits.shape[1]
    of_student = temperature if softened in ("both", "student") else 1.0
    of_teacher = temperature if softened in ("both", "teacher") else 1.0
    if cut == "unknown":
        teacher_logits = F.pad(teacher_logits, (0, n_new))
    old = student_logits[:, -n_old:] if cut == "last" else student_logits[:, :n_old]
    p = softmax(teacher_logits / of_teacher)
    q = softmax((old if cut in ("first", "last") else student_logits) / of_student)
    if cut == "after":
        q = q[:, :n_old]
    if cut == "padded":
        p = F.pad(p, (0, n_new))
    pushes = gap(p, q) / temperature**power / {"B": len(p), "BK": teacher_logits.numel(), "1": 1}[divisor]
    missing = student_logits.shape[1] - pushes.shape[1]
    if place == "none":
        return pushes
    return F.pad(pushes, (missing, 0) if place == "last" else (0, missing))


PUSH = Exercise(
    name="push",
    title="The push of distillation",
    solution=push,
    truth=_by_autograd,
    answer="rows",
    cases=(
        Case("one sample, two classes, T = 2", (torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 1.0]]), 2.0)),
        Case("two samples, three classes, T = 2", (_LOGITS, torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 4.0]]), 2.0)),
        Case("five samples, four classes, T = 4", (_random(5, 4, 4), _random(5, 4, 5), 4.0)),
        Case(
            "the student knows two classes more than the teacher",
            (torch.tensor([[0.0, 2.0, 1.5, -2.0]]), torch.tensor([[3.0, 1.0]]), 2.0),
            shows="new classes not told apart",
        ),
        Case(
            "three samples; the student knows five classes, the teacher three",
            (_random(3, 5, 6), _random(3, 3, 7), 2.0),
            shows="new classes not told apart",
        ),
        Case(
            "large logits: exp(100) is infinite in float32",
            (torch.tensor([[200.0, 198.0]]), torch.tensor([[198.0, 200.0]]), 2.0),
            shows="exp overflows",
        ),
    ),
    mistakes=(
        Mistake(
            "gradient instead of the push",
            "You return q − p, the gradient. Descent goes against it: up where the teacher finds a sign likelier, "
            "p > q, and down where the student does.",
            partial(_wrong_push, gap=lambda p, q: q - p),
        ),
        Mistake(
            "not divided by T and B",
            "You return p − q as it is. The temperature divides the logits, so a 1/T comes down by the chain rule; and "
            "the loss is a mean over B samples.",
            partial(_wrong_push, power=0, divisor="1"),
        ),
        Mistake(
            "not divided by T",
            "The 1/T is missing below p − q. The temperature stands inside both softmaxes, and comes down once more by "
            "the chain rule.",
            partial(_wrong_push, power=0),
        ),
        Mistake(
            "not divided by B",
            "The 1/B is missing: the loss is a mean over the batch, so each sample has a B-th of the push.",
            partial(_wrong_push, divisor="1"),
        ),
        Mistake(
            "divided by T²",
            "You divide by T². At high temperatures the push fades like 1/T², but one of the two factors is already in "
            "p − q, which grows flat.",
            partial(_wrong_push, power=2),
        ),
        Mistake(
            "multiplied by T",
            "You multiply by T: that is the push of a loss with the factor T², which this one does not have. Divide.",
            partial(_wrong_push, power=-1),
        ),
        Mistake(
            "divided by all elements",
            "You divide by B · K, the number of all elements. The loss adds up the classes; the mean is over the B "
            "samples only.",
            partial(_wrong_push, divisor="BK"),
        ),
        Mistake(
            "no temperature in the softmaxes",
            "Your softmaxes have no temperature: both answers are softened before they are compared, here as in the "
            "loss.",
            partial(_wrong_push, softened="none"),
        ),
        Mistake(
            "only the teacher softened",
            "Only your p is softened. The student's logits are divided by T as well: where both say the same, nothing "
            "may push.",
            partial(_wrong_push, softened="teacher"),
        ),
        Mistake(
            "only the student softened",
            "Only your q is softened. The teacher's logits are divided by T as well: where both say the same, nothing "
            "may push.",
            partial(_wrong_push, softened="student"),
        ),
        Mistake(
            "difference of the logits",
            "You take the difference of the logits. What pushes is the difference of the two softmaxes: a common shift "
            "of all logits must not matter.",
            partial(_wrong_push, softened="none", softmax=lambda logits: logits),
        ),
        Mistake(
            "difference of the logarithms",
            "You take log p − log q, which stands in the loss. In its gradient the logarithms are gone: p − q.",
            partial(_wrong_push, gap=lambda p, q: p.log() - q.log()),
        ),
        Mistake(
            "the loss instead of its gradient",
            "You return the terms of the loss, p (log p − log q). The push is minus the gradient of their sum, and is "
            "short: p − q, over T and B.",
            partial(_wrong_push, gap=lambda p, q: p * (p.log() - q.log())),
        ),
        Mistake(
            "softmax over the batch",
            "Your softmax runs over the samples of the batch (dim=0). Each row has an answer of its own: over its "
            "classes, dim=1, the pushes of a row add up to 0.",
            partial(_wrong_push, softmax=partial(F.softmax, dim=0)),
        ),
        Mistake(
            "new classes pushed down",
            "You push the new classes down, as if the teacher had given them the probability 0. It has never heard of "
            "them and says nothing: q is a softmax over the old classes only, and the new ones feel nothing.",
            partial(_wrong_push, cut="padded"),
        ),
        Mistake(
            "softmax over all classes",
            "Your q is cut out of a softmax over all of the student's classes, so that it no longer sums to 1. Cut the "
            "logits first, to the teacher's K classes.",
            partial(_wrong_push, cut="after"),
        ),
        Mistake(
            "the student's last classes",
            "You compare the teacher with the student's last classes. The head grows at its end: the old ones are the "
            "first K columns.",
            partial(_wrong_push, cut="last"),
        ),
        Mistake(
            "filled from the end",
            "The pushes stand in the last columns. They belong to the old classes, the first K; zeros come after.",
            partial(_wrong_push, place="last"),
        ),
        Mistake(
            "no column for the new classes",
            "You return a push for the old classes only. The student has C logits, and each gets a number: for the new "
            "classes a zero.",
            partial(_wrong_push, place="none"),
        ),
        Mistake(
            "new classes not told apart",
            "This goes wrong as soon as the student knows more classes than the teacher. Compare the first K columns "
            "of its logits, and return C columns: zeros for the new classes.",
            partial(_wrong_push, cut="unknown"),
        ),
        Mistake(
            "exp overflows",
            "For large logits your exponential is infinite (in float32 from about 88 on), and infinity divided by "
            "infinity is NaN. torch.softmax subtracts the largest logit of each row first.",
            partial(_wrong_push, softmax=lambda logits: _naive_softmax(logits, 1.0)),
        ),
    ),
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
