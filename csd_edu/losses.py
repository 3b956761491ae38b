"""The losses of Contrastive Supervised Distillation and of its rivals, each a pure function of tensors.

Shapes: B samples in the batch, D feature dimensions, C classes the student knows, K <= C the teacher knew.

All of them work in float32 at least: half-precision inputs are raised to float32 and autocast is left,
because a similarity divided by a temperature of 0.07 needs more digits than bfloat16 has. float64 stays as
it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.arguments import check_tensors
from csd_edu.features import UNLABELLED, at_least_float32, normalize


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
        ValueError: if the shapes don't fit, or a label is none of the classes.
    """
    _check_batch("logits", logits, labels)
    if labels.device.type == "cpu":  # elsewhere, looking would wait
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= logits.shape[1]:
            raise ValueError(f"labels go from {lowest} to {highest}; expected 0 to {logits.shape[1] - 1}, as in logits")
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(at_least_float32(logits), labels.long())


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
        features = normalize(at_least_float32(features))  # (B, D)
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
    n_old = _check_logits(student_logits, teacher_logits, "teacher_logits", "the teacher")
    _check_temperature(temperature)
    with torch.autocast(student_logits.device.type, enabled=False):
        student = F.log_softmax(at_least_float32(student_logits[:, :n_old]) / temperature, dim=1)  # (B, K)
        teacher = F.log_softmax(at_least_float32(teacher_logits.detach()) / temperature, dim=1)  # (B, K)
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
        features = normalize(at_least_float32(features))  # (B, D)
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


def feature_distillation(student: Tensor, teacher: Tensor, *, kind: str = "cosine") -> Tensor:
    """Keep each image's feature where the teacher has it.

        "cosine": loss = 1/B Σ_i (1 − cos(s_i, t_i))        "l2": loss = 1/B Σ_i ‖s_i − t_i‖²

    "l2" compares the features as they are, lengths included, and sums over the D dimensions: it is D times torch's
    mean squared error. Of normalised features it would be twice "cosine".

    Args:
        student: (B, D), any float type; need not be normalised.
        teacher: (B, D) features of the same images under the frozen old model; no gradient flows into it.
        kind: "cosine" or "l2".

    Returns:
        A scalar of at least float32: from 0 to 2 for "cosine", at least 0 for "l2".

    Raises:
        ValueError: if the shapes don't fit or there is no such kind.

    Source: "cosine" is the less-forget constraint of Hou et al., "Learning a Unified Classifier Incrementally via
    Rebalancing" (LUCIR), CVPR 2019; "l2" the hint loss of Romero et al., "FitNets", ICLR 2015, without its regressor
    and factor ½.
    """
    _check_both(student, teacher)
    if kind not in ("cosine", "l2"):
        raise ValueError(f"kind is {kind!r}; expected 'cosine' or 'l2'")
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = at_least_float32(student), at_least_float32(teacher.detach())  # (B, D)
        if kind == "l2":
            return (student - teacher).square().sum(dim=1).mean()
        return 1 - (normalize(student) * normalize(teacher)).sum(dim=1).mean()


def mmd(
    student: Tensor,
    teacher: Tensor,
    *,
    multiples: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    bandwidth: float | None = None,
) -> Tensor:
    """Keep the student's features distributed as the teacher's: maximum mean discrepancy, whichever image is where.

        loss = 1/B² Σ_ij ( k(s_i, s_j) + k(t_i, t_j) − 2 k(s_i, t_j) )        k(a, b) = Σ_m exp( −‖a − b‖² / (m σ) )

    with σ the mean of ‖a − b‖² over all pairs of different rows among the 2B students and teachers. As σ follows the
    features, their common scale makes no difference; no gradient flows through it. The features are compared as they
    are, not normalised. The loss is 0 with no gradient where the student is still the teacher.

    Args:
        student: (B, D), any float type.
        teacher: (B, D) features of the same images under the frozen old model; no gradient flows into it.
        multiples: the m, each > 0: one Gaussian kernel for each, summed.
        bandwidth: σ > 0; None: the mean squared distance.

    Returns:
        A scalar of at least float32, at least 0 up to rounding and at most twice the number of kernels.

    Raises:
        ValueError: if the shapes don't fit, or a bandwidth or multiple is not positive.

    Source: the squared biased estimator of Gretton et al., "A Kernel Two-Sample Test", JMLR 2012; kernels and σ as in
    the code commonly used for Long et al., "Learning Transferable Features with Deep Adaptation Networks", ICML 2015
    (ZongxianLee/MMD_Loss.Pytorch). Chen et al., "On the Exploration of Incremental Learning for Fine-grained Image
    Retrieval", BMVC 2020, arXiv 2010.08020, regularise with it; which kernels they took is not established here.
    """
    _check_both(student, teacher)
    for name, values in (("bandwidth", [] if bandwidth is None else [bandwidth]), ("multiples", list(multiples))):
        if (name == "multiples" and not values) or not all(value > 0 for value in values):
            raise ValueError(f"{name} is {values}; expected numbers above 0")
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = at_least_float32(student), at_least_float32(teacher.detach())  # (B, D)
        pairs = ((student, student), (teacher, teacher), (student, teacher))
        # By differences, not by products: the distance of a row from itself must be exactly zero.
        distances = [(a[:, None] - b[None, :]).square().sum(dim=2) for a, b in pairs]  # three (B, B)
        if bandwidth is None:
            within_s, within_t, across = (distance.detach().sum() for distance in distances)
            n = 2 * len(student)
            sigma = (within_s + within_t + 2 * across) / (n * (n - 1))
            sigma = torch.where(sigma > 0, sigma, 1.0)  # if all rows are the same, any will do
        else:
            sigma = torch.as_tensor(bandwidth, dtype=student.dtype, device=student.device)
        students, teachers, between = (
            torch.stack([(-distance / (m * sigma)).exp().mean() for m in multiples]).sum() for distance in distances
        )
        return students + teachers - 2 * between


def correlation_distillation(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Keep how similar each image is to the others of its batch, wherever the features themselves go.

        loss = T²/B Σ_i KL( softmax(t_i·t_j / T)_j ‖ softmax(s_i·s_j / T)_j )

    with normalised features s and t, and j over the whole batch, i itself included.

    Where the released code calls its loss, teacher and student have changed places: there it is
    KL(student ‖ teacher). At T = 4 the cosines divided by T span half a unit at most, and the two hardly differ.

    Args:
        student: (B, D), any float type; need not be normalised.
        teacher: (B, E) features of the same images under the frozen old model, of any length E; or estimates of an
            older model's. No gradient flows into it.
        temperature: T > 0; larger is softer.

    Returns:
        A scalar of at least float32; zero for a single image.

    Raises:
        ValueError: if the shapes don't fit or the temperature is not positive.

    Source: Chen et al., "Feature Estimations based Correlation Distillation for Incremental Image Retrieval", IEEE
    Transactions on Multimedia 2022, doi 10.1109/TMM.2021.3073279, as in the code the authors released
    (cw1091293482/Deep-Incremental-Image-Retrieval).
    """
    _check_both(student, teacher, same_length=False)
    _check_temperature(temperature)
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = normalize(at_least_float32(student)), normalize(at_least_float32(teacher.detach()))
        log_student = F.log_softmax(student @ student.T / temperature, dim=1)  # (B, B)
        log_teacher = F.log_softmax(teacher @ teacher.T / temperature, dim=1)  # (B, B)
        return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def logit_matching(student_logits: Tensor, stored_logits: Tensor) -> Tensor:
    """Keep the logits that were stored with old images (dark experience replay).

        loss = mean over the entries (i, k) that were stored of (student_ik − stored_ik)²

    Entries that are NaN don't count, neither in the sum nor in the mean: their class was not there when the logits
    were stored. The student may know more classes than any stored row. Where nothing is missing this is torch's mean
    squared error, over B and over K: a weight found for a head of 100 classes acts ten times as strongly, per logit, on
    one of 10.

    Args:
        student_logits: (B, C) with C >= K, any float type.
        stored_logits: (B, K) as they were stored, NaN where there was no class; no gradient flows into it.

    Returns:
        A scalar of at least float32; zero, still connected to `student_logits`, if all entries are NaN.

    Raises:
        ValueError: if the shapes don't fit.

    Source: Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS 2020,
    arXiv 2004.07211; the mean over the classes as in the code the authors released (aimagelab/mammoth).
    """
    n_stored = _check_logits(student_logits, stored_logits, "stored_logits", "the stored logits")
    with torch.autocast(student_logits.device.type, enabled=False):
        student, stored = at_least_float32(student_logits[:, :n_stored]), at_least_float32(stored_logits.detach())
        known = ~stored.isnan()  # (B, K)
        gap = torch.where(known, student - stored, 0.0)  # (B, K)
        return gap.square().sum() / known.sum().clamp_min(1)


def _csd_pairs(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Check a batch, and return its (B, 2B) cosine similarities and the masks of the positives P and of A."""
    _check_batch("student", student, labels)
    if teacher.shape != student.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} don't fit; "
            "expected features of the same images, both (B, D)"
        )
    _check_temperature(temperature)
    student = normalize(at_least_float32(student))  # (B, D)
    teacher = normalize(at_least_float32(teacher.detach())).to(student.dtype)  # (B, D)
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


def _check_batch(name: str, values: Tensor, labels: Tensor) -> None:
    check_tensors(**{name: values, "labels": labels})
    if values.ndim != 2 or labels.ndim != 1 or len(values) != len(labels) or values.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)} and labels {tuple(labels.shape)}; "
            "expected (B, D) and (B,) with the same B > 0 and D > 0, one row and one label for each sample"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels are {labels.dtype}; expected integers (use labels.long())")
    if labels.device.type == "cpu" and bool((labels.long() == UNLABELLED).any()):  # elsewhere, looking would wait
        raise ValueError(
            f"labels hold {UNLABELLED}, which says that an image has none: unlabelled rows cannot reach a supervised "
            "loss; expected those that have one, such as step.labels or stream.train(0).labelled()"
        )


def _check_logits(student_logits: Tensor, others: Tensor, name: str, whose: str) -> int:
    """Return K if the student's logits are (B, C) and the others, the teacher's or stored ones, (B, K) with K <= C."""
    check_tensors(student_logits=student_logits, **{name: others})
    both_2d = student_logits.ndim == others.ndim == 2
    if not both_2d or len(student_logits) != len(others) or others.numel() == 0:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)} and {name} {tuple(others.shape)} "
            "don't fit; expected (B, C) and (B, K) with the same B > 0 and K > 0"
        )
    if student_logits.shape[1] < others.shape[1]:
        raise ValueError(
            f"the student answers for {student_logits.shape[1]} classes, {whose} for {others.shape[1]}; "
            "expected a student that knows all of those classes (are the arguments swapped?)"
        )
    return others.shape[1]


def _check_both(student: Tensor, teacher: Tensor, *, same_length: bool = True) -> None:
    """Refuse features that are not (B, D) of the same images; of other lengths, too, unless that may be."""
    check_tensors(student=student, teacher=teacher)
    both_2d = student.ndim == teacher.ndim == 2
    fits = both_2d and len(student) == len(teacher) and student.numel() > 0 and teacher.numel() > 0
    if not fits or (same_length and student.shape != teacher.shape):
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} don't fit; expected features of the "
            f"same images, {'both (B, D)' if same_length else '(B, D) and (B, E)'} with B > 0 and D > 0"
        )


def _check_temperature(temperature: float) -> None:
    if isinstance(temperature, str | bool | None) or not temperature > 0:
        raise ValueError(f"temperature is {temperature!r}; expected a number above 0, such as 0.07")
