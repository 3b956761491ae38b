"""The losses of Contrastive Supervised Distillation, each a pure function of tensors.

Shapes: B samples in the batch, D feature dimensions, C classes the student knows, K <= C the teacher knew.

All of them work in float32 at least: half-precision inputs are raised to float32 and autocast is left,
because a similarity divided by a temperature of 0.07 needs more digits than bfloat16 has. float64 stays as
it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.features import normalize


class Pairs(NamedTuple):
    """What the CSD loss sees in one batch: each anchor i with the students j, then with the teachers j.

    Attributes:
        similarity: (B, 2B) cosine.
        positive: (B, 2B) bool: j is of i's class, and not i itself.
        weight: (B, 2B) softmax of similarity/τ over the contrast set A(i): zero for itself, and each row sums to 1.
        pull: (B, 2B) positive/|P(i)| − weight, which is −τ times the gradient of anchor i's loss in the similarity:
            above 0 the step draws the pair together, below 0 it pushes it apart. Each row sums to 0.
        loss: the value of `csd`.
    """

    similarity: Tensor
    positive: Tensor
    weight: Tensor
    pull: Tensor
    loss: float


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy −log softmax(logits)[label].

    Args:
        logits: (B, C), any float type.
        labels: (B,) integers in 0..C−1.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the shapes don't fit.
    """
    _check_batch("logits", logits, labels)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(_at_least_float32(logits), labels.long())


def batch_hard_triplet(features: Tensor, labels: Tensor, *, margin: float = 1.0) -> Tensor:
    """Pull each sample's farthest positive closer than its nearest negative, by a margin in cosine.

        loss_i = max(0, max_n cos(f_i, f_n) − min_p cos(f_i, f_p) + margin)

    averaged over the non-zero losses, with p ≠ i of i's class and n of any other class.
    Samples without a positive or without a negative take no part.

    Args:
        features: (B, D), any float type; need not be normalised.
        labels: (B,) integers.
        margin: in units of cosine similarity, > 0.

    Returns:
        A scalar of at least float32; zero, still connected to `features`, if there is no valid triplet.

    Raises:
        ValueError: if the shapes don't fit or the margin is not positive.

    Source: Hermans, Beyer & Leibe, "In Defense of the Triplet Loss", 2017, eq. 5 (batch hard).
    """
    _check_batch("features", features, labels)
    if not margin > 0:
        raise ValueError(f"margin is {margin}; expected a positive cosine similarity, such as 1.0")
    with torch.autocast(features.device.type, enabled=False):
        features = normalize(_at_least_float32(features))  # (B, D)
        similarity = features @ features.T  # (B, B)
        same_class = labels[:, None] == labels[None, :]  # (B, B)
        positive = same_class & ~_identity(labels)  # (B, B)

        hardest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1)  # (B,)
        hardest_negative = similarity.masked_fill(same_class, -torch.inf).amax(dim=1)  # (B,)
        # Where there is no positive or no negative the gap is −inf: no loss, and no gradient.
        loss = F.relu(hardest_negative - hardest_positive + margin)  # (B,)
        return loss.sum() / (loss > 0).sum().clamp_min(1)


def distillation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Keep the student's answers over the old classes close to the teacher's (knowledge distillation).

        loss = 1/B Σ_i KL( softmax(teacher_i / T) ‖ softmax(student_i[:K] / T) )

    The student's logits are cut to the K classes that the teacher knew. As in the code released with CSD
    there is no factor T².

    Args:
        student_logits: (B, C) with C >= K, any float type.
        teacher_logits: (B, K), any float type; no gradient flows into it.
        temperature: T > 0; larger is softer.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: Hinton, Vinyals & Dean, 2015; Li & Hoiem, "Learning without Forgetting", ECCV 2016.
    """
    both_2d = student_logits.ndim == teacher_logits.ndim == 2
    if not both_2d or len(student_logits) != len(teacher_logits) or teacher_logits.numel() == 0:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} "
            "don't fit; expected (B, C) and (B, K) with the same B > 0 and K > 0"
        )
    n_old = teacher_logits.shape[1]
    if student_logits.shape[1] < n_old:
        raise ValueError(
            f"the student answers for {student_logits.shape[1]} classes, the teacher for {n_old}; "
            "expected a student that knows all of the teacher's classes (are the arguments swapped?)"
        )
    _check_temperature(temperature)
    with torch.autocast(student_logits.device.type, enabled=False):
        student = F.log_softmax(_at_least_float32(student_logits[:, :n_old]) / temperature, dim=1)  # (B, K)
        teacher = F.log_softmax(_at_least_float32(teacher_logits.detach()) / temperature, dim=1)  # (B, K)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Pull together the samples of a class and push apart all others, in one batch of one view each.

        loss = mean_i −1/|P(i)| Σ_{p∈P(i)} log( exp(f_i·f_p/τ) / Σ_{a≠i} exp(f_i·f_a/τ) )

    with normalised features f and P(i) the other samples of i's class; samples without one take no part.

    Args:
        features: (B, D), any float type; need not be normalised.
        labels: (B,) integers.
        temperature: τ > 0.

    Returns:
        A scalar of at least float32; zero, still connected to `features`, if no sample has a positive.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2 (L_out).
    """
    _check_batch("features", features, labels)
    _check_temperature(temperature)
    with torch.autocast(features.device.type, enabled=False):
        features = normalize(_at_least_float32(features))  # (B, D)
        similarity = features @ features.T / temperature  # (B, B)
        not_self = ~_identity(labels)  # (B, B)
        positive = (labels[:, None] == labels[None, :]) & not_self  # (B, B)
        return _contrast(similarity, positive, not_self)


def csd(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Contrast each student feature with the other students and with all teachers, by class.

        L = mean_i −1/|P(i)| Σ_{p∈P(i)} log( exp(s_i·c_p/τ) / Σ_{a∈A(i)} exp(s_i·c_a/τ) )

    with s and t the normalised student and teacher features of the same images. The contrast set A(i) is
    every student except i, and every teacher; the positives P(i) ⊂ A(i) carry i's label, i's own teacher view
    included.

    Args:
        student: (B, D), any float type; need not be normalised.
        teacher: (B, D) features of the same images under the frozen old model; no gradient flows into it.
        labels: (B,) integers.
        temperature: τ > 0.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: Barletti et al., "Contrastive Supervised Distillation for Continual Representation Learning",
    ICIAP 2021, arXiv 2205.05476, as in the code the authors released.
    """
    with torch.autocast(student.device.type, enabled=False):
        similarity, positive, contrasted = _csd_pairs(student, teacher, labels, temperature)
        return _contrast(similarity / temperature, positive, contrasted)


@torch.no_grad()
def csd_pairs(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 0.07) -> Pairs:
    """Return what each pair of a batch weighs in the CSD loss, and whether the loss draws it together or apart.

        w_ia = exp(s_i·c_a/τ) / Σ_{b∈A(i)} exp(s_i·c_b/τ)        pull_ia = [a∈P(i)]/|P(i)| − w_ia = −τ ∂L_i/∂(s_i·c_a)

    Args:
        student: (B, D), any float type; need not be normalised.
        teacher: (B, D) features of the same images under the frozen old model.
        labels: (B,) integers.
        temperature: τ > 0; the smaller, the more of the weight goes to the most similar pairs.

    Returns:
        The pairs, in at least float32 and without gradients.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: as `csd`; the gradient as in Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, section 3.
    """
    with torch.autocast(student.device.type, enabled=False):
        similarity, positive, contrasted = _csd_pairs(student, teacher, labels, temperature)
        scaled = similarity / temperature  # (B, 2B)
        weight = scaled.masked_fill(~contrasted, -torch.inf).softmax(dim=1)  # (B, 2B)
        # No anchor is without a positive: its own teacher view is one.
        pull = positive.to(weight.dtype) / positive.sum(dim=1, keepdim=True) - weight  # (B, 2B)
        return Pairs(similarity, positive, weight, pull, float(_contrast(scaled, positive, contrasted)))


def _csd_pairs(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Check a batch, and return its (B, 2B) cosine similarities and the masks of the positives P and of A."""
    _check_batch("student", student, labels)
    if teacher.shape != student.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} don't fit; "
            "expected features of the same images, both (B, D)"
        )
    _check_temperature(temperature)
    student = normalize(_at_least_float32(student))  # (B, D)
    teacher = normalize(_at_least_float32(teacher.detach())).to(student.dtype)  # (B, D)
    similarity = student @ torch.cat([student, teacher]).T  # (B, 2B)
    contrasted = torch.cat([~_identity(labels), torch.ones_like(_identity(labels))], dim=1)  # (B, 2B)
    same_class = (labels[:, None] == labels[None, :]).repeat(1, 2)  # (B, 2B)
    return similarity, same_class & contrasted, contrasted


def _contrast(similarity: Tensor, positive: Tensor, contrasted: Tensor) -> Tensor:
    """Return the mean over anchors of −log softmax, averaged over each anchor's positives.

    similarity (B, M) is already divided by the temperature; positive and contrasted are (B, M) masks with
    positive ⊂ contrasted. Anchors without a positive take no part.
    """
    log_sum = similarity.masked_fill(~contrasted, -torch.inf).logsumexp(dim=1, keepdim=True)  # (B, 1)
    log_probability = torch.where(positive, similarity - log_sum, 0.0)  # (B, M)
    n_positives = positive.sum(dim=1)  # (B,)
    loss = -log_probability.sum(dim=1) / n_positives.clamp_min(1)  # (B,)
    return loss.sum() / (n_positives > 0).sum().clamp_min(1)


def _identity(labels: Tensor) -> Tensor:
    """Return the (B, B) mask that is True where a sample meets itself."""
    return torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _check_batch(name: str, values: Tensor, labels: Tensor) -> None:
    if values.ndim != 2 or labels.ndim != 1 or len(values) != len(labels) or values.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)} and labels {tuple(labels.shape)}; "
            "expected (B, D) and (B,) with the same B > 0 and D > 0, one row and one label for each sample"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels are {labels.dtype}; expected integers (use labels.long())")


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a number above 0, such as 0.07")
