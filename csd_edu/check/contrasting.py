"""Exercises on losses that pull and push features: the batch-hard triplet loss, and CSD."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import losses
from csd_edu.check.running import Case, Exercise, Mistake


def triplet(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    features = F.normalize(features, dim=1)  # (B, D)
    similarity = features @ features.T  # (B, B)
    same_class = labels[:, None] == labels[None, :]  # (B, B)
    positive = same_class & ~torch.eye(len(labels), dtype=torch.bool)  # not the sample itself
    farthest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1)  # (B,)
    nearest_negative = similarity.masked_fill(same_class, -torch.inf).amax(dim=1)  # (B,)
    loss = F.relu(nearest_negative - farthest_positive + margin)  # (B,), 0 where a positive or a negative is missing
    return loss.sum() / (loss > 0).sum().clamp_min(1)


def csd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    student = F.normalize(student, dim=1)  # (B, D)
    teacher = F.normalize(teacher.detach(), dim=1)  # (B, D), no gradient
    itself = torch.eye(len(labels), dtype=torch.bool)  # (B, B)
    itself = torch.cat([itself, torch.zeros_like(itself)], dim=1)  # (B, 2B): among the students, not the teachers
    positive = (labels[:, None] == labels[None, :]).repeat(1, 2) & ~itself  # (B, 2B)
    similarity = student @ torch.cat([student, teacher]).T / temperature  # (B, 2B)
    log_sum = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)  # (B, 1) over A(i)
    log_probability = (similarity - log_sum).masked_fill(~positive, 0)  # (B, 2B)
    return (-log_probability.sum(dim=1) / positive.sum(dim=1)).mean()


def _random(n: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator) * torch.rand(n, 1, generator=generator).mul(2).exp()


def _wrong_triplet(
    features: Tensor,
    labels: Tensor,
    margin: float,
    *,
    compare: Literal["cosine", "dot", "Euclidean", "columns"] = "cosine",
    positive: Literal["farthest", "nearest"] = "farthest",
    negative: Literal["nearest", "farthest"] = "nearest",
    out: float = torch.inf,
    margins: int = 1,
    sign: int = 1,
    relu: bool = True,
    mean: Literal["non-zero", "valid", "batch", "none"] = "non-zero",
) -> Tensor:
    """The triplet loss with one thing done differently; `out` stands for pairs that are out of the question."""
    unit = F.normalize(features, dim=0 if compare == "columns" else 1)
    similarity = features @ features.T if compare == "dot" else unit @ unit.T
    if compare == "Euclidean":
        similarity = -torch.cdist(features, features)
    same = labels[:, None] == labels[None, :]
    own = same & ~torch.eye(len(labels), dtype=torch.bool)
    if positive == "farthest":
        of_positive = similarity.masked_fill(~own, out).amin(dim=1)
    else:
        of_positive = similarity.masked_fill(~own, -out).amax(dim=1)
    if negative == "nearest":
        of_negative = similarity.masked_fill(same, -out).amax(dim=1)
    else:
        of_negative = similarity.masked_fill(same, out).amin(dim=1)
    valid = own.any(dim=1) & ~same.all(dim=1)
    loss = (sign * (of_negative - of_positive) + margins * margin)[valid]
    loss = F.relu(loss) if relu else loss
    n = {"non-zero": int((loss > 0).sum()), "valid": len(loss), "batch": len(labels), "none": 1}[mean]
    return loss.sum() / max(n, 1)


def _all_triplets(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    unit = F.normalize(features, dim=1)
    similarity = unit @ unit.T
    same = labels[:, None] == labels[None, :]
    own = same & ~torch.eye(len(labels), dtype=torch.bool)
    loss = F.relu(similarity[:, None, :] - similarity[:, :, None] + margin)[own[:, :, None] & ~same[:, None, :]]
    return loss.sum() / (loss > 0).sum().clamp_min(1)


_CORNER = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0], [-0.8, 0.6]])
_APART = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -0.8], [-1.1, 1.0, -1.0], [-0.7, -1.0, 1.0]])
_PAIRS = torch.tensor([0, 0, 1, 1])
_SPREAD = torch.tensor([[2.0, 0.1], [1.0, 0.0], [0.7, 0.9], [-1.0, 0.1], [-3.0, -0.2], [-0.7, -0.8]])

TRIPLET = Exercise(
    name="triplet",
    title="Batch-hard triplet loss",
    solution=triplet,
    truth=lambda features, labels, margin: losses.batch_hard_triplet(features, labels, margin=margin),
    answer="loss",
    learns="features",
    cases=(
        Case("two classes of two", (_CORNER, _PAIRS, 0.5)),
        Case("two classes of three, a large margin", (_SPREAD, torch.tensor([0, 0, 0, 1, 1, 1]), 1.2)),
        Case("classes that lie in each other's way", (_SPREAD, torch.tensor([0, 0, 1, 1, 1, 0]), 0.2)),
        Case("four samples that all point apart: similarities below 0", (_APART, _PAIRS, 0.3)),
        Case("ten samples, three classes", (_random(10, 4, 0), torch.arange(10) % 3, 0.3)),
        Case(
            "one sample is alone in its class, and has no positive",
            (_CORNER[:3], torch.tensor([0, 0, 1]), 0.5),
            shows="a sample without a positive takes part",
        ),
        Case(
            "all triplets are already far enough apart",
            (torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]]), torch.tensor([0, 0, 1, 1]), 0.1),
            shows="mean of no losses",
        ),
    ),
    mistakes=(
        Mistake(
            "dot product instead of cosine",
            "You compare by the dot product: the loss can then be lowered by making features longer or shorter. Scale "
            "them to length 1 first.",
            partial(_wrong_triplet, compare="dot"),
        ),
        Mistake(
            "Euclidean distance of unscaled features",
            "You compare by Euclidean distance. The margin here is in units of cosine similarity.",
            partial(_wrong_triplet, compare="Euclidean"),
        ),
        Mistake(
            "normalised along the wrong axis",
            "You scale the columns to length 1 (dim=0). Each sample, a row, must have length 1 (dim=1).",
            partial(_wrong_triplet, compare="columns"),
        ),
        Mistake(
            "nearest positive instead of the farthest",
            "You take the positive that is already nearest. The hardest one is the farthest: the least similar of the "
            "class.",
            partial(_wrong_triplet, positive="nearest"),
        ),
        Mistake(
            "farthest negative instead of the nearest",
            "You take the negative that is farthest away, where there is nothing to do. The hardest one is the "
            "nearest: the most similar of another class.",
            partial(_wrong_triplet, negative="farthest"),
        ),
        Mistake(
            "sign swapped",
            "Positive and negative are swapped: your loss pushes a class apart. With distances it is positive − "
            "negative; similarities go the other way.",
            partial(_wrong_triplet, sign=-1),
        ),
        Mistake(
            "no margin",
            "The margin is missing: it is added to the difference before the relu.",
            partial(_wrong_triplet, margins=0),
        ),
        Mistake(
            "margin subtracted",
            "You subtract the margin. Added, it asks for more than the right order: a distance between the two.",
            partial(_wrong_triplet, margins=-1),
        ),
        Mistake(
            "no relu",
            "Losses below 0 are missing their relu: samples that are far enough apart already must count as 0.",
            partial(_wrong_triplet, relu=False, mean="valid"),
        ),
        Mistake(
            "mean over all samples",
            "You divide by the number of all samples. The mean is over the losses above 0 only; otherwise the few hard "
            "ones fade as the others get easy.",
            partial(_wrong_triplet, mean="batch"),
        ),
        Mistake(
            "sum instead of mean",
            "You add up the losses. Divide by the number of those above 0.",
            partial(_wrong_triplet, mean="none"),
        ),
        Mistake(
            "masked with 0",
            "You set the pairs that are out of the question to 0. That is a similarity like any other, and it wins "
            "where all others are below (or above) it. Use −inf for a maximum, +inf for a minimum.",
            partial(_wrong_triplet, out=0.0),
        ),
        Mistake(
            "all triplets instead of the hardest",
            "You average over all triplets. Batch-hard takes, for each sample, one: its farthest positive and its "
            "nearest negative.",
            _all_triplets,
        ),
        Mistake(
            "a sample without a positive takes part",
            "A sample that is alone in its class has no positive, and so no triplet. Do not take the sample itself for "
            "one: leave it out.",
            lambda features, labels, margin: _self_positive(features, labels, margin),
        ),
        Mistake(
            "mean of no losses",
            "When no loss is above 0 the mean of them is 0/0, NaN, and one NaN spoils a whole training. Return 0 then, "
            "for instance by dividing by at least 1.",
            lambda features, labels, margin: _mean_of_none(features, labels, margin),
        ),
    ),
    hints=(
        "Two (B, B) matrices: the cosine similarities, and which pairs have the same label. The diagonal is no pair.",
        "The farthest positive is a minimum of similarities, the nearest negative a maximum. Fill what must not win "
        "with +inf or −inf.",
        "relu(nearest negative − farthest positive + margin), then the sum divided by the number of losses above 0.",
    ),
    tested=(
        "cosine, the hardest positive and negative, margin and relu, the mean over the losses above 0, samples without "
        "a positive, nothing left to do, and the gradient"
    ),
)


def _self_positive(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    unit = F.normalize(features, dim=1)
    similarity = unit @ unit.T
    same = labels[:, None] == labels[None, :]
    hardest = similarity.masked_fill(~same, torch.inf).amin(dim=1)
    loss = F.relu(similarity.masked_fill(same, -torch.inf).amax(dim=1) - hardest + margin)
    return loss.sum() / (loss > 0).sum().clamp_min(1)


def _mean_of_none(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    loss = _wrong_triplet(features, labels, margin)
    return loss if loss > 0 else loss / 0


def _wrong_csd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float,
    *,
    normalise: bool = True,
    scale: Literal["inside", "outside", "none", "times"] = "inside",
    contrast: Literal["both", "students", "teachers"] = "both",
    itself: Literal["out", "denominator", "positive"] = "out",
    own_teacher: bool = True,
    teacher_positives: bool = True,
    denominator: Literal["all", "negatives"] = "all",
    positives: Literal["outside", "inside", "sum", "pairs"] = "outside",
    mean: bool = True,
    dim: int = 1,
    sign: int = 1,
) -> Tensor:
    """CSD with one thing done differently."""
    n = len(labels)
    if normalise:
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    same, eye = labels[:, None] == labels[None, :], torch.eye(n, dtype=torch.bool)
    of_teachers = (same if own_teacher else same & ~eye) & torch.tensor(teacher_positives)
    positive = torch.cat([same if itself == "positive" else same & ~eye, of_teachers], dim=1)
    contrasted = torch.cat([torch.ones_like(eye) if itself != "out" else ~eye, torch.ones_like(eye)], dim=1)
    similarity = student @ torch.cat([student, teacher]).T
    if contrast != "both":
        columns = slice(0, n) if contrast == "students" else slice(n, 2 * n)
        similarity, positive, contrasted = similarity[:, columns], positive[:, columns], contrasted[:, columns]
    similarity = similarity * {"inside": 1 / temperature, "times": temperature}.get(scale, 1.0)
    if denominator == "negatives":
        contrasted = contrasted & ~positive
    log_sum = similarity.masked_fill(~contrasted, -torch.inf).logsumexp(dim=dim, keepdim=True)
    log_probability = similarity - log_sum
    count = positive.sum(dim=1)
    if positives == "inside":
        loss = count.log() - log_probability.masked_fill(~positive, -torch.inf).logsumexp(dim=1)
    else:
        loss = -log_probability.masked_fill(~positive, 0.0).sum(dim=1)
    if positives == "pairs":
        return loss.sum() / count.sum()
    if positives == "outside":
        loss = torch.where(count > 0, loss / count, 0.0)
    total = loss.sum() * sign / (temperature if scale == "outside" else 1.0)
    return total / (count > 0).sum() if mean else total


def _naive_csd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    exps = (student @ torch.cat([student, teacher]).T / temperature).exp()
    eye = torch.eye(len(labels))
    out = torch.cat([eye, torch.zeros_like(eye)], dim=1).bool()
    positive = (labels[:, None] == labels[None, :]).repeat(1, 2) & ~out
    log_probability = (exps / exps.masked_fill(out, 0).sum(dim=1, keepdim=True)).log()
    return (-log_probability.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()


_STUDENT = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
_TEACHER = torch.tensor([[0.8, 0.6], [0.8, -0.6], [0.6, 0.8], [-1.0, 0.0]])

CSD = Exercise(
    name="csd",
    title="Contrastive Supervised Distillation",
    solution=csd,
    truth=lambda student, teacher, labels, temperature: losses.csd(student, teacher, labels, temperature=temperature),
    answer="loss",
    learns="student",
    frozen="teacher",
    cases=(
        Case("two samples of one class, τ = 0.5", (_STUDENT[:2], _TEACHER[:2], torch.tensor([0, 0]), 0.5)),
        Case("two classes of two, τ = 0.5", (_STUDENT, _TEACHER, _PAIRS, 0.5)),
        Case("the same with the paper's τ = 0.07", (_STUDENT, _TEACHER, _PAIRS, 0.07)),
        Case("features of other lengths than 1", (3 * _STUDENT, 0.5 * _TEACHER + 0.1, _PAIRS, 0.2)),
        Case("one sample is alone in its class", (_STUDENT[:3], _TEACHER[:3], torch.tensor([0, 0, 1]), 0.2)),
        Case(
            "seven samples, classes of four and three",
            (_random(7, 4, 0), _random(7, 4, 1), torch.tensor([0, 1, 0, 0, 1, 0, 1]), 0.2),
        ),
        Case(
            "a very low temperature: exp(1/0.005) is infinite in float32",
            (_STUDENT, _TEACHER, _PAIRS, 0.005),
            shows="exp overflows",
        ),
    ),
    mistakes=(
        Mistake(
            "temperature outside the exponent",
            "The temperature stands outside the exponent: you divide the logarithm, or the loss, by τ. Divide the "
            "similarities by τ before the exponential; there it decides which pairs weigh most.",
            partial(_wrong_csd, scale="outside"),
        ),
        Mistake(
            "no temperature",
            "The temperature is not used. Divide the similarities by τ before the exponential.",
            partial(_wrong_csd, scale="none"),
        ),
        Mistake(
            "multiplied by the temperature",
            "You multiply the similarities by τ. Divide them: a small τ must sharpen the differences.",
            partial(_wrong_csd, scale="times"),
        ),
        Mistake(
            "own teacher view missing from the positives",
            "The own teacher view is missing from the positives: sample i's feature under the old network has i's "
            "label too, and is the most important one to stay close to. Only the student i itself is left out.",
            partial(_wrong_csd, own_teacher=False),
        ),
        Mistake(
            "no teacher among the positives",
            "Only students are positives. The teachers of the same class are positives as well, i's own included.",
            partial(_wrong_csd, teacher_positives=False),
        ),
        Mistake(
            "self kept in the denominator",
            "Student i is compared with itself in the denominator. Its similarity is always 1, the largest there is, "
            "and nothing can be learnt from it: A(i) has all students but i.",
            partial(_wrong_csd, itself="denominator"),
        ),
        Mistake(
            "self among the positives",
            "Student i is its own positive. The similarity to itself is always 1, and nothing can be learnt from it: "
            "leave the diagonal of the students out, of the positives and of the denominator.",
            partial(_wrong_csd, itself="positive"),
        ),
        Mistake(
            "no teachers in the contrast set",
            "The teachers are missing altogether: this is the supervised contrastive loss among the students. Without "
            "the old network's features nothing holds the new ones in place.",
            partial(_wrong_csd, contrast="students"),
        ),
        Mistake(
            "no students in the contrast set",
            "You contrast with the teachers only. A(i) holds all teachers and all students but i.",
            partial(_wrong_csd, contrast="teachers"),
        ),
        Mistake(
            "positives left out of the denominator",
            "Your denominator holds the negatives only. It runs over all of A(i), the positives included: then the "
            "quotient is a probability.",
            partial(_wrong_csd, denominator="negatives"),
        ),
        Mistake(
            "positives averaged inside the log",
            "You average over the positives inside the logarithm. Khosla et al. call that L_in and found it worse; "
            "here the logarithm comes first, then the mean over the positives.",
            partial(_wrong_csd, positives="inside"),
        ),
        Mistake(
            "positives summed, not averaged",
            "You add up the positives of each sample without dividing by their number |P(i)|: samples of frequent "
            "classes would weigh more.",
            partial(_wrong_csd, positives="sum"),
        ),
        Mistake(
            "one mean over all pairs",
            "You take one mean over all positive pairs of the batch: samples of frequent classes weigh more. First the "
            "mean over each sample's own positives, then the mean over the samples.",
            partial(_wrong_csd, positives="pairs"),
        ),
        Mistake(
            "sum instead of mean over the batch",
            "You add up the samples of the batch. Take their mean.",
            partial(_wrong_csd, mean=False),
        ),
        Mistake(
            "not normalised",
            "The features are not scaled to length 1: a longer feature would count as more similar. Normalise students "
            "and teachers, each row, before the product.",
            partial(_wrong_csd, normalise=False),
        ),
        Mistake(
            "softmax along the wrong axis",
            "The sum in the denominator runs over the anchors. It belongs to one anchor i, a row, and runs over its "
            "contrast set A(i): dim=1.",
            partial(_wrong_csd, dim=0),
        ),
        Mistake(
            "sign swapped",
            "The sign is swapped: a minus stands before the logarithm of a probability, and so the loss is never below "
            "0. Yours pushes a class apart.",
            partial(_wrong_csd, sign=-1),
        ),
        Mistake(
            "exp overflows",
            "At a low temperature exp(similarity/τ) is infinite in float32 (in float16 from about exp(11) on, below "
            "τ = 0.09), or so small that its logarithm is −infinity. Stay with logarithms: log_softmax or logsumexp.",
            _naive_csd,
        ),
    ),
    hints=(
        "Draw the (B, 2B) matrix of similarities of the B students with the B students and then the B teachers, all "
        "normalised and divided by τ. Which cells are positives, and which cell of each row must not count at all?",
        "Row by row: log(exp(x)/Σ exp) = x − logsumexp over the row, with −inf in the cell where i meets itself.",
        "Add up this log-probability over each row's positives (its own teacher view is one), divide by their number, "
        "take minus the mean over the rows. The teacher learns nothing: .detach().",
    ),
    tested=(
        "the contrast set, the positives with the own teacher view, the temperature, the two means, features of any "
        "length, a very low temperature, and that the student alone gets a gradient"
    ),
)
