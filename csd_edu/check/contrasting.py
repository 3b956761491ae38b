"""Exercises on losses that pull and push features: the batch-hard triplet loss, CSD, and which pairs CSD compares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import losses
from csd_edu.check.answers import Loss, Masks
from csd_edu.check.inputs import APART, PAIRS, random
from csd_edu.check.running import Case, Exercise, table
from csd_edu.check.stages import Stages


def triplet(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    features = F.normalize(features, dim=1)  # (B, D)
    similarity = features @ features.T  # (B, B)
    same_class = labels[:, None] == labels[None, :]  # (B, B)
    positive = same_class & ~torch.eye(len(labels), dtype=torch.bool)  # not the sample itself
    farthest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1)  # (B,)
    nearest_negative = similarity.masked_fill(same_class, -torch.inf).amax(dim=1)  # (B,)
    loss = F.relu(nearest_negative - farthest_positive + margin)  # (B,), 0 where a positive or a negative is missing
    return loss.sum() / (loss > 0).sum().clamp_min(1)


def contrast_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    itself = torch.eye(len(labels), dtype=torch.bool)  # (B, B)
    itself = torch.cat([itself, torch.zeros_like(itself)], dim=1)  # (B, 2B): among the students, not the teachers
    same_class = (labels[:, None] == labels[None, :]).repeat(1, 2)  # (B, 2B)
    return ~itself, same_class & ~itself


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


_CORNER = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0], [-0.8, 0.6]])
_DONE = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
_SPREAD = torch.tensor([[2.0, 0.1], [1.0, 0.0], [0.7, 0.9], [-1.0, 0.1], [-3.0, -0.2], [-0.7, -0.8]])

TRIPLET = Exercise(
    triplet,
    title="Batch-hard triplet loss",
    doc="Check f(features (B, D), labels (B,), margin) -> scalar, as `losses.batch_hard_triplet`.",
    truth=lambda features, labels, margin: losses.batch_hard_triplet(features, labels, margin=margin),
    answer=Loss("features"),
    cases=(
        Case("two classes of two", _CORNER, PAIRS, 0.5),
        Case("two classes of three, a large margin", _SPREAD, torch.tensor([0, 0, 0, 1, 1, 1]), 1.2),
        Case("classes that lie in each other's way", _SPREAD, torch.tensor([0, 0, 1, 1, 1, 0]), 0.2),
        Case("four samples that all point apart: similarities below 0", APART, PAIRS, 0.3),
        Case("ten samples, three classes", random(10, 4, 0, 2), torch.arange(10) % 3, 0.3),
        Case(
            "one sample is alone in its class, and has no positive",
            *(_CORNER[:3], torch.tensor([0, 0, 1]), 0.5),
            shows="a sample without a positive takes part",
        ),
        Case("all triplets are already far enough apart", _DONE, PAIRS, 0.1, shows="mean of no losses"),
    ),
    mistakes=table("""
    dot product instead of cosine | F.normalize(features, dim=1) => features
        You compare by the dot product: the loss can then be lowered by making features longer or shorter. Scale them to
        length 1 first.
    Euclidean distance of unscaled features | F.normalize(features, dim=1) => features
        | features @ features.T => -torch.cdist(features, features)
        You compare by Euclidean distance. The margin here is in units of cosine similarity.
    normalised along the wrong axis | features, dim=1 => features, dim=0
        You scale the columns to length 1 (dim=0). Each sample, a row, must have length 1 (dim=1).
    nearest positive instead of the farthest | ~positive, torch.inf).amin => ~positive, -torch.inf).amax
        You take the positive that is already nearest. The hardest one is the farthest: the least similar of the class.
    farthest negative instead of the nearest | same_class, -torch.inf).amax => same_class, torch.inf).amin
        You take the negative that is farthest away, where there is nothing to do. The hardest one is the nearest: the
        most similar of another class.
    sign swapped | nearest_negative - farthest_positive => farthest_positive - nearest_negative
        Positive and negative are swapped: your loss pushes a class apart. With distances it is positive − negative;
        similarities go the other way.
    no margin | + margin =>
        The margin is missing: it is added to the difference before the relu.
    margin subtracted | + margin => - margin
        You subtract the margin. Added, it asks for more than the right order: a distance between the two.
    no relu | F.relu => | (loss > 0).sum().clamp_min(1) => len(loss)
        Losses below 0 are missing their relu: samples that are far enough apart already must count as 0.
    the mean of the negatives | nearest_negative = similarity.masked_fill(same_class, -torch.inf).amax(dim=1)
        => nearest_negative = similarity.masked_fill(same_class, torch.nan).nanmean(dim=1).nan_to_num(-torch.inf)
        You take the mean of the negatives. Batch-hard takes the nearest one.
    the mean of the positives | farthest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1)
        => farthest_positive = similarity.masked_fill(~positive, torch.nan).nanmean(dim=1).nan_to_num(torch.inf)
        You take the mean of the positives. Batch-hard takes the farthest one.
    the largest loss | return loss.sum() / (loss > 0).sum().clamp_min(1) => return loss.max()
        You return the largest of the losses. Take the mean of those above 0.
    mean over all samples | (loss > 0).sum().clamp_min(1) => len(loss)
        You divide by the number of all samples. The mean is over the losses above 0 only; otherwise the few hard ones
        fade as the others get easy.
    sum instead of mean | / (loss > 0).sum().clamp_min(1) =>
        You add up the losses. Divide by the number of those above 0.
    masked with 0 | ~positive, torch.inf => ~positive, 0 | same_class, -torch.inf => same_class, 0
        You set the pairs that are out of the question to 0. That is a similarity like any other, and it wins where all
        others are below (or above) it. Use −inf for a maximum, +inf for a minimum.
    all triplets instead of the hardest
        | nearest_negative - farthest_positive + margin)
        => similarity[:, None] - similarity[:, :, None] + margin)[positive[:, :, None] & ~same_class[:, None]]
        You average over all triplets. Batch-hard takes, for each sample, one: its farthest positive and its nearest
        negative.
    a sample without a positive takes part | ~positive, torch.inf => ~same_class, torch.inf
        A sample that is alone in its class has no positive, and so no triplet. Do not take the sample itself for one:
        leave it out.
    mean of no losses | .clamp_min(1) =>
        When no loss is above 0 the mean of them is 0/0, NaN, and one NaN spoils a whole training. Return 0 then, for
        instance by dividing by at least 1.
    """),
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


def _library_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    features = torch.ones(len(labels), 2)
    pairs = losses.csd_pairs(features, features, labels, temperature=1.0)
    return pairs.weight > 0, pairs.positive  # whoever is compared has a weight


CONTRAST_MASKS = Exercise(
    contrast_masks,
    title="Contrast set and positives",
    doc="""Check f(labels (B,)) -> two masks (B, 2B), the contrast set A and the positives P of each anchor.

    Columns 0 to B−1 are the students, columns B to 2B−1 the teachers of the same images.
    """,
    truth=_library_masks,
    answer=Masks(),
    cases=(
        Case("two images of one class; first the contrast set, then the positives", torch.tensor([0, 0])),
        Case("two images of two classes; first the contrast set, then the positives", torch.tensor([0, 1])),
        Case("three images, two of one class; first the contrast set, then the positives", torch.tensor([2, 0, 2])),
        Case("six images, classes of three, two and one", torch.tensor([3, 1, 3, 3, 1, 0])),
    ),
    mistakes=table("""
    masks swapped | ~itself, same_class & ~itself => same_class & ~itself, ~itself
        The two masks are swapped. The contrast set A comes first, the positives P, a part of it, second.
    the anchor kept in the contrast set | return ~itself => return torch.ones_like(itself)
        Your contrast set holds the anchor itself. Its similarity is 1 whatever the network does, and it would take
        weight from all others: False where student i meets student i.
    the anchor among its positives | same_class & ~itself => same_class
        The anchor is one of its own positives. P is a part of A, and the anchor itself is not in A: to pull it towards
        itself would change nothing.
    the anchor in both masks | ~itself, same_class & ~itself => torch.ones_like(itself), same_class
        Nobody is left out: the anchor is in the contrast set and among its own positives. Both masks are False where
        student i meets student i.
    own teacher view not a positive | & ~itself => & ~itself & ~itself.roll(len(labels), dims=1)
        The anchor's own teacher view is missing from its positives. Image i under the old network has i's label, and is
        what i should stay close to. Only the student i is left out.
    own teacher view not compared | torch.zeros_like(itself) => itself
        You leave out the anchor's own teacher view, from both masks. The diagonal of the right half is not the anchor
        itself: it is another network's feature of the same image, and a positive.
    own teacher view the only positive | same_class & ~itself => itself.roll(len(labels), dims=1)
        The anchor's own teacher view is your only positive. The label decides: all of its class are positives, students
        and teachers.
    no teacher among the positives | & ~itself => & ~itself & (torch.arange(2 * len(labels)) < len(labels))
        Your positives are students only. The teachers of the anchor's class are positives as well: they show where this
        class lay.
    no student among the positives | & ~itself => & (torch.arange(2 * len(labels)) >= len(labels))
        Your positives are teachers only. The other students of the anchor's class are positives as well.
    teachers not compared | torch.zeros_like(itself) => torch.ones_like(itself)
        The right half of your masks is empty: no teacher takes part. Among students alone there is nothing to distil.
    no columns for the teachers | torch.cat([itself, torch.zeros_like(itself)], dim=1) => itself | .repeat(1, 2) =>
        Your masks have a column for each student, and none for the teachers. An anchor is compared with both: 2B
        columns, the students first.
    teachers first | [itself, torch.zeros_like(itself)] => [torch.zeros_like(itself), itself]
        The teachers stand in your left half. The students come first, columns 0 to B−1, and so the anchor itself is on
        the left.
    students and teachers interleaved
        | cat([itself, torch.zeros_like(itself)], dim=1) => stack([itself, torch.zeros_like(itself)], dim=2).flatten(1)
        | repeat(1, 2) => repeat_interleave(2, dim=1)
        Your columns alternate: student 0, teacher 0, student 1, and so on. First come all students, then all teachers:
        .repeat(1, 2) or torch.cat(…, dim=1), not .repeat_interleave.
    positives left out of the contrast set | return ~itself => return ~itself & ~same_class
        Your contrast set holds negatives only. The positives are compared too: P is a part of A.
    negatives instead of positives | same_class & ~itself => ~same_class
        Your second mask marks the negatives, those with another label. Positives have the anchor's label.
    both masks inverted | ~itself, same_class & ~itself => itself, ~(same_class & ~itself)
        Your masks are inverted: they are True for those who are left out. True means that a pair takes part.
    """),
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


_STUDENT = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
_TEACHER = torch.tensor([[0.8, 0.6], [0.8, -0.6], [0.6, 0.8], [-1.0, 0.0]])


def _stages(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Stages:
    """The loss written out: similarities, masks, log-probabilities, and their means."""
    not_itself, positive = contrast_masks(labels)
    cosine = F.normalize(student, dim=1) @ F.normalize(torch.cat([student, teacher]), dim=1).T
    log_p = torch.log_softmax((cosine / temperature).masked_fill(~not_itself, -torch.inf), dim=1)
    means = log_p.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)
    similarity, cosine = (x.masked_fill(~not_itself, torch.nan) for x in (cosine / temperature, cosine))
    return {
        "similarities / τ": [similarity, cosine],
        "positives P": [positive.float(), (~positive).float()],
        "log-probabilities of the positives": [log_p.masked_fill(~positive, torch.nan)],
        "their mean, row by row": [means, -means],
    }


CSD = Exercise(
    csd,
    title="Contrastive Supervised Distillation",
    doc="Check f(student (B, D), teacher (B, D), labels (B,), temperature) -> scalar, as `losses.csd`.",
    truth=lambda student, teacher, labels, temperature: losses.csd(student, teacher, labels, temperature=temperature),
    answer=Loss("student", frozen="teacher"),
    stages=_stages,
    cases=(
        Case("two samples of one class, τ = 0.5", _STUDENT[:2], _TEACHER[:2], torch.tensor([0, 0]), 0.5),
        Case("two classes of two, τ = 0.5", _STUDENT, _TEACHER, PAIRS, 0.5),
        Case("the same with the paper's τ = 0.07", _STUDENT, _TEACHER, PAIRS, 0.07),
        Case("features of other lengths than 1", 3 * _STUDENT, 0.5 * _TEACHER + 0.1, PAIRS, 0.2),
        Case("one sample is alone in its class", _STUDENT[:3], _TEACHER[:3], torch.tensor([0, 0, 1]), 0.2),
        Case(
            "seven samples, classes of four and three",
            *(random(7, 4, 0, 2), random(7, 4, 1, 2), torch.tensor([0, 1, 0, 0, 1, 0, 1]), 0.2),
        ),
        Case(
            "a very low temperature: exp(1/0.005) is infinite in float32",
            *(_STUDENT, _TEACHER, PAIRS, 0.005),
            shows="exp overflows",
        ),
    ),
    mistakes=table("""
    temperature outside the exponent | .T / temperature => .T | .mean() => .mean() / temperature
        The temperature stands outside the exponent: you divide the logarithm, or the loss, by τ. Divide the
        similarities by τ before the exponential; there it decides which pairs weigh most.
    no temperature | / temperature =>
        The temperature is not used. Divide the similarities by τ before the exponential.
    multiplied by the temperature | / temperature => * temperature
        You multiply the similarities by τ. Divide them: a small τ must sharpen the differences.
    −inf times 0 | (similarity - log_sum).masked_fill(~positive, 0)
        => ((similarity.masked_fill(itself, -torch.inf) - log_sum) * positive)
        Your loss is NaN on every input. The usual cause: the −inf where i meets itself, meant for the denominator, is
        still there when the positives are picked by a product with a mask, and −inf · 0 is NaN. Pick them with
        log_p.masked_fill(~P, 0), torch.where(P, log_p, 0), or log_p[P].
    student and teacher swapped | similarity = student @ torch.cat([student, teacher])
        => similarity = teacher @ torch.cat([teacher, student])
        Student and teacher are swapped. The anchors are the student's features, which learn; candidates are first the
        students, then the teachers.
    the teacher among itself | similarity = student @ torch.cat([student => similarity = teacher @ torch.cat([teacher
        Your anchors are the teacher's features, which never change: nothing could be learnt. Anchors are the students.
    own teacher view the only positive | (labels[:, None] == labels[None, :]).repeat(1, 2) & ~itself
        => itself.roll(len(labels), dims=1)
        The own teacher view is your only positive. The label decides: all other students of the class, and all its
        teachers, are positives.
    self among the positives, not compared | & ~itself =>
        Student i is one of its own positives, P(i), though you leave it out of the denominator, A(i). P is a part of A.
    no student among the positives | & ~itself => & (torch.arange(2 * len(labels)) >= len(labels))
        Your positives are teachers only. The other students of the class are positives as well.
    negatives instead of positives | (labels[:, None] == labels[None, :]).repeat(1, 2) & ~itself
        => (labels[:, None] != labels[None, :]).repeat(1, 2) | .mean() => .nanmean()
        Your mask marks those of other classes. Positives have the anchor's label.
    positives summed inside the log | ~positive, 0 => ~positive, -torch.inf
        | -log_probability.sum(dim=1) / positive.sum(dim=1) => -log_probability.logsumexp(dim=1)
        You add up the positives inside the logarithm: −log Σ. Here the logarithm comes first, for each positive by
        itself, and then the mean of these.
    divided by the contrast set | / positive.sum(dim=1) => / (~itself).sum(dim=1)
        You divide by the size of the contrast set. The mean is over the positives: divide by |P(i)|.
    normalised along the wrong axis | student, dim=1 => student, dim=0
        | teacher.detach(), dim=1 => teacher.detach(), dim=0
        You scale the columns to length 1 (dim=0). Each image's feature, a row, must have length 1: dim=1.
    students not normalised | F.normalize(student, dim=1) => student
        Your students are not scaled to length 1. Both sides are normalised before the product.
    teachers not normalised | F.normalize(teacher.detach(), dim=1) => teacher.detach()
        Your teachers are not scaled to length 1. Both sides are normalised before the product.
    no logarithm | -log_probability.sum => -log_probability.exp().masked_fill(~positive, 0).sum
        You average the probabilities themselves. The logarithm is missing: −log of each.
    own teacher view missing from the positives | & ~itself => & ~torch.eye(len(labels), dtype=torch.bool).repeat(1, 2)
        | .mean() => .nanmean()
        The own teacher view is missing from the positives: sample i's feature under the old network has i's label too,
        and is the most important one to stay close to. Only the student i itself is left out.
    no teacher among the positives | & ~itself => & ~itself & (torch.arange(2 * len(labels)) < len(labels))
        | .mean() => .nanmean()
        Only students are positives. The teachers of the same class are positives as well, i's own included.
    self kept in the denominator | .masked_fill(itself, -torch.inf) =>
        Student i is compared with itself in the denominator. Its similarity is always 1, the largest there is, and
        nothing can be learnt from it: A(i) has all students but i.
    self among the positives | & ~itself => | .masked_fill(itself, -torch.inf) =>
        Student i is its own positive. The similarity to itself is always 1, and nothing can be learnt from it: leave
        the diagonal of the students out, of the positives and of the denominator.
    no teachers in the contrast set | torch.zeros_like(itself) => torch.ones_like(itself) | .mean() => .nanmean()
        The teachers are missing altogether: this is the supervised contrastive loss among the students. Without the old
        network's features nothing holds the new ones in place.
    no students in the contrast set | torch.cat([itself, => torch.cat([torch.ones_like(itself),
        You contrast with the teachers only. A(i) holds all teachers and all students but i.
    positives left out of the denominator | masked_fill(itself, => masked_fill(itself + positive,
        Your denominator holds the negatives only. It runs over all of A(i), the positives included: then the quotient
        is a probability.
    positives averaged inside the log | ~positive, 0 => ~positive, -torch.inf
        | -log_probability.sum(dim=1) / positive.sum(dim=1)
        => positive.sum(dim=1).log() - log_probability.logsumexp(dim=1)
        You average over the positives inside the logarithm. Khosla et al. call that L_in and found it worse; here the
        logarithm comes first, then the mean over the positives.
    only the best positive | -log_probability.sum(dim=1) / positive.sum(dim=1)
        => -log_probability.masked_fill(~positive, -torch.inf).amax(dim=1)
        You take one positive of each row, the one that is nearest already. All of them count: their mean.
    only the farthest positive | -log_probability.sum(dim=1) / positive.sum(dim=1) => -log_probability.amin(dim=1)
        You take one positive of each row, the farthest. All of them count: their mean.
    the first anchor only | .mean() => [0]
        You return the loss of the first anchor: is `return` inside of the loop? The mean is over all anchors.
    the last anchor only | .mean() => [-1]
        You return the loss of the last anchor: does each turn of the loop write over the one before?
    distances instead of cosines | student @ torch.cat([student, teacher]).T
        => -torch.cdist(student, torch.cat([student, teacher]), compute_mode="donot_use_mm_for_euclid_dist")
        You compare by Euclidean distance. Here it is the cosine: the dot product of features of length 1.
    positives summed, not averaged | / positive.sum(dim=1) =>
        You add up the positives of each sample without dividing by their number |P(i)|: samples of frequent classes
        would weigh more.
    one mean over all pairs | log_probability.sum(dim=1) / positive.sum(dim=1) => log_probability.sum() / positive.sum()
        You take one mean over all positive pairs of the batch: samples of frequent classes weigh more. First the mean
        over each sample's own positives, then the mean over the samples.
    sum instead of mean over the batch | .mean() => .sum()
        You add up the samples of the batch. Take their mean.
    not normalised | F.normalize(student, dim=1) => student | F.normalize(teacher.detach(), dim=1) => teacher.detach()
        The features are not scaled to length 1: a longer feature would count as more similar. Normalise students and
        teachers, each row, before the product.
    softmax along the wrong axis | logsumexp(dim=1 => logsumexp(dim=0
        The sum in the denominator runs over the anchors. It belongs to one anchor i, a row, and runs over its contrast
        set A(i): dim=1.
    sign swapped | -log_probability => log_probability
        The sign is swapped: a minus stands before the logarithm of a probability, and so the loss is never below 0.
        Yours pushes a class apart.
    exp overflows | masked_fill(itself, -torch.inf).logsumexp => exp().masked_fill(itself, 0).sum
        | similarity - log_sum => (similarity.exp() / log_sum).log()
        At a low temperature exp(similarity/τ) is infinite in float32 (in float16 from about exp(11) on, below τ =
        0.09), or so small that its logarithm is −infinity. Stay with logarithms: log_softmax or logsumexp.
    """),
    hints=(
        "Draw the (B, 2B) matrix of similarities of the B students with the B students and then the B teachers, all "
        "normalised and divided by τ. Which cells are positives, and which cell of each row must not count at all?",
        "Row by row: log(exp(x)/Σ exp) = x − logsumexp over the row. For the logsumexp (only there) put "
        "−inf into the cell where i meets itself.",
        "Add up this log-probability over each row's positives (its own teacher view is one): torch.where(P, log_p, "
        "0), as a product with the mask makes NaN of −inf · 0. Divide by their number, take minus the mean over the "
        "rows. The teacher learns nothing: .detach().",
    ),
    tested=(
        "the contrast set, the positives with the own teacher view, the temperature, the two means, features of any "
        "length, a very low temperature, and that the student alone gets a gradient"
    ),
)
