"""Exercises on a few images for many: choosing them, learning them by the means of features, and storing them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import few
from csd_edu.check.answers import Bytes, Indices, Loss
from csd_edu.check.inputs import random
from csd_edu.check.running import Case, Exercise, table
from csd_edu.methods.dm import distribution_matching
from csd_edu.methods.random_images import herd as library_herd


def herd(features: Tensor, n: int) -> Tensor:
    mean = features.mean(dim=0)  # (D,)
    total = torch.zeros_like(mean)  # (D,) the sum of those chosen so far
    chosen: list[int] = []
    for k in range(1, n + 1):
        far = (mean - (total + features) / k).norm(dim=1)  # (N,) if this one were the k-th
        far[chosen] = torch.inf  # nobody is chosen twice
        best = int(far.argmin())
        chosen.append(best)
        total = total + features[best]
    return torch.tensor(chosen)


def dm_loss(real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor) -> Tensor:
    loss = torch.zeros(())
    for c in synthetic_labels.unique():
        of_real, of_synthetic = real[real_labels == c], synthetic[synthetic_labels == c]  # (N_c, D), (M_c, D)
        gap = of_real.mean(dim=0) - of_synthetic.mean(dim=0)  # (D,)
        loss = loss + gap.square().sum()
    return loss


def as_bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _unit(n: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    return F.normalize(random(n, dim, seed) + shift, dim=1)


_FOUR = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.4], [0.2, 1.0], [-0.4, 1.0]]), dim=1)
_AT_THE_MEAN = F.normalize(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.3], [0.1, 1.0]]), dim=1)

HERD = Exercise(
    herd,
    title="Herding",
    doc="""Check f(features (N, D) of length 1, n) -> (n,) indices, in the order in which they are chosen.

    Each is the one by which the mean of all chosen so far comes nearest to the mean of all features; none comes twice.
    """,
    truth=library_herd,
    answer=Indices(),
    cases=(
        Case("four features, the first choice only", _FOUR, 1),
        Case("the same, two to be chosen", _FOUR, 2),
        Case("five features, one of them in the direction of the mean", _AT_THE_MEAN, 3),
        Case("ten that point anywhere, in three dimensions", _unit(10, 3, 3), 4),
        Case("twelve that point roughly the same way", _unit(12, 4, 8, 0.7), 6),
        Case("twelve, of which all are chosen", _unit(12, 3, 12, 0.5), 12),
    ),
    mistakes=table("""
    those nearest to the mean | return torch.tensor(chosen) => return (features - mean).norm(dim=1).argsort()[:n]
        You take the n features nearest to the mean. Each of them is a good choice, but together they show the same
        middle n times. After the first choice, ask which one brings the *mean of those chosen* nearest; their sum has
        to be brought up to date in each turn.
    chosen twice | far[chosen] = torch.inf =>
        You choose the same image more than once. It takes its place for nothing: set the distance of those chosen
        already to infinity before you take the smallest.
    only the last choice counts | total = total + features[best] => total = features[best]
        You remember the last chosen feature only. The mean is over all that were chosen: add to the sum.
    the farthest | argmin() => argmax() | torch.inf => -torch.inf
        You take the one that brings the mean farthest away. The smallest distance is wanted: argmin.
    divided by n | / k => / n
        You divide by n from the beginning. When the k-th is chosen there are k of them, and the mean of k features is
        their sum divided by k.
    divided by k − 1 | / k => / max(k - 1, 1)
        You divide by the number of those chosen before. The candidate belongs to the mean too: with it there are k.
    the sum instead of the mean | / k =>
        You compare the sum of the chosen ones with the mean of all. Divide it by how many there are, k.
    far from those chosen | far = => far = -torch.cdist(features, features)[chosen].sum(dim=0) if chosen else
        After the first one you choose what is far from those chosen. That spreads them out and likes outliers; herding
        wants their mean near the mean of all.
    sorted by number | return torch.tensor(chosen) => return torch.tensor(sorted(chosen))
        These are the right images, but sorted by their numbers. Leave them in the order of their choice: whoever keeps
        fewer later on drops the last ones.
    the largest coordinate | norm(dim=1) => abs().amax(dim=1)
        You measure distance by the largest coordinate. The usual length is meant: .norm(dim=1).
    absolute differences | norm(dim=1) => abs().sum(dim=1)
        You add up absolute differences. The usual length is meant, by squares: .norm(dim=1).
    mean of each feature | features.mean(dim=0) => features.mean(dim=1).mean()
        You take one mean of all numbers. The mean feature has D numbers, one for each column: .mean(dim=0).
    """),
    hints=(
        "Keep the sum of the features chosen so far, (D,), which begins with zeros, and a list of their indices.",
        "If candidate i were the k-th, the mean would be (total + features[i]) / k. For all candidates at once: "
        "(total + features) / k, of shape (N, D).",
        "The distance of each row from the mean of all is .norm(dim=1) of the difference; those chosen already get "
        "torch.inf; then argmin, and total = total + features[best].",
    ),
    tested="each choice together with those before it, the mean of k of them, nobody twice, and the order of choices",
)


_FROM_0 = "classes counted from 0"
_ONE_CLASS = (torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.tensor([0, 0]))
_LEARNT = torch.tensor([[0.0, 0.0]])
_APART = torch.tensor([[2.0, 4.0], [0.0, -4.0]])
_THREE = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, -1.0]])


def _classes(real: list[int], synthetic: list[int], dim: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features and labels of real images, and of learnt ones; each class lies elsewhere."""
    a, b = torch.tensor(real), torch.tensor(synthetic)
    centres = random(int(a.max()) + 1, dim, seed)
    return (
        centres[a] + random(len(a), dim, seed + 1),
        a,
        centres[b] + 0.5 * random(len(b), dim, seed + 2) + 0.3,
        b,
    )


DM_LOSS = Exercise(
    dm_loss,
    title="Distribution matching",
    doc="""
    Check f(real (N, D), real_labels (N,), synthetic (M, D), synthetic_labels (M,)) -> scalar.

    The squared distance between the mean of the real features and that of the learnt ones, added up over the classes,
    as `methods.dm.distribution_matching`.
    """,
    truth=distribution_matching,
    answer=Loss("synthetic"),
    cases=(
        Case("one class, two real images, one learnt", *_ONE_CLASS, _LEARNT, torch.tensor([0])),
        Case("one class; the two learnt images lie apart", *_ONE_CLASS, _APART, torch.tensor([0, 0])),
        Case("one class; the means are the same", *_ONE_CLASS, _APART + 1, torch.tensor([0, 0])),
        Case(
            "two classes, one learnt image each",
            _THREE,
            torch.tensor([0, 0, 1]),
            torch.tensor([[1.0, 1.0], [0.0, 2.0]]),
            torch.tensor([0, 1]),
        ),
        Case("two classes of uneven size", *_classes([0, 0, 0, 0, 1, 1], [0, 0, 1], 3, 5)),
        Case("the classes stand in any order", *_classes([2, 0, 1, 0, 2, 1, 1, 0], [1, 0, 2, 0], 3, 15)),
        Case("three classes, twelve real images, six learnt ones", *_classes([0, 1, 2] * 4, [0, 1, 2] * 2, 5, 35)),
        Case("classes 3 and 7", *_classes([7, 3, 3, 7, 3], [3, 7, 7], 4, 25), shows=_FROM_0),
    ),
    mistakes=table("""
    mean over the features | gap.square().sum() => gap.square().mean()
        You take the mean over the numbers of a feature. They are summed: in a real network there are thousands of
        them, and with the mean the learning rate that is meant for the sum would move the images by next to nothing.
    distance not squared | gap.square().sum() => gap.norm()
        You return the distance. Its square is meant: the gradient of the distance is equally long however near the
        means are, so the images would never come to rest.
    absolute differences | square() => abs()
        You add up absolute differences of the means. Square each of them first.
    the square of the sum | gap.square().sum() => gap.sum().square()
        You add up the differences and square the sum: where one number of the feature is too large and another too
        small, they cancel out. Square each, then add up.
    not squared | gap.square().sum() => gap.sum()
        You add up the differences as they are: those above and below 0 cancel out. Square each of them.
    mean of the distances of pairs | gap.square().sum() => torch.cdist(of_real, of_synthetic).square().mean()
        You compare each real image with each learnt one. That adds the spread of both to the loss, and its best answer
        is all learnt images on one spot, the mean. Take the means first, and compare these.
    each learnt image with the mean
        | of_synthetic.mean(dim=0) => of_synthetic | gap.square().sum() => gap.square().sum(dim=1).mean()
        You compare each learnt image with the mean of the real ones. Then all of them are drawn to the same place.
        Only their *mean* has to fit: they may share the work.
    each real image with the learnt mean
        | of_real.mean(dim=0) => of_real | gap.square().sum() => gap.square().sum(dim=1).mean()
        You compare each real image with the mean of the learnt ones. The spread of the real ones is then part of the
        loss, and it never comes to 0. Take the mean of the real ones first.
    sums instead of means
        | of_real.mean(dim=0) - of_synthetic.mean(dim=0) => of_real.sum(dim=0) - of_synthetic.sum(dim=0)
        You compare sums. There are far more real images than learnt ones: compare their means.
    one mean over all classes | in synthetic_labels.unique() => in range(1)
        | real[real_labels == c], synthetic[synthetic_labels == c] => real, synthetic
        You take one mean over all classes together. Then a learnt seven may look like the mean of everything: the mean
        of all fits, and no class does. Compare class by class, and add up.
    all real images for each class | real[real_labels == c] => real
        You compare each class's learnt images with *all* real ones. Only those of the same class belong there.
    mean over the classes | return loss => return loss / len(synthetic_labels.unique())
        You take the mean over the classes. They are summed: else a class's images would move more slowly, the more
        other classes are learnt beside them.
    weighted by the number of images | gap.square().sum() => gap.square().sum() * len(of_synthetic)
        You weigh a class by how many learnt images it has. Each class counts once.
    the last class only | loss = loss + gap => loss = gap
        Only the last class counts: each turn of the loop writes over the one before. Add up.
    classes counted from 0 | in synthetic_labels.unique() => in range(len(synthetic_labels.unique()))
        You count the classes 0, 1, 2, … In a task of a stream they may be 3 and 7: take those that the labels have,
        synthetic_labels.unique().
    half of it | gap.square().sum() => gap.square().sum() / 2
        You halve the square. There is no ½ here.
    the largest difference | gap.square().sum() => gap.square().max()
        You take the largest of the squares. All of them are added up.
    sign swapped | return loss => return -loss
        The sign is swapped: your loss falls as the means move apart. It is never below 0.
    """),
    hints=(
        "For one class: two means over its images, dim=0, each of shape (D,). Then their difference, squared, summed.",
        "real[real_labels == c] are the real features of class c. Which classes there are says "
        "synthetic_labels.unique().",
        "Begin with loss = torch.zeros(()) and add for each class (mean_real − mean_synthetic).square().sum().",
    ),
    tested=(
        "means before distances, squares summed over the features and the classes, each class by itself and in any "
        "order, and that the learnt images get a gradient"
    ),
)


_NOT_CUT = "what is outside wraps around"


def _greys(*greys: float) -> Tensor:
    return torch.tensor(greys).view(1, 1, 1, -1)


AS_BYTES = Exercise(
    as_bytes,
    title="Pixels as bytes",
    doc="Check f(pixels (M, C, H, W) floats, 0 to 1 and somewhat beyond) -> (M, C, H, W) uint8, from 0 to 255.",
    truth=few.as_uint8,
    answer=Bytes(),
    cases=(
        Case("one row of four greys", _greys(0.0, 0.25, 0.61, 1.0)),
        Case("four greys that lie between two bytes", _greys(0.05, 0.333, 0.775, 0.999)),
        Case(
            "two images of four pixels", torch.tensor([0.02, 0.45, 0.81, 0.17, 0.67, 0.93, 0.55, 0.31]).view(2, 1, 2, 2)
        ),
        Case("a pixel brighter than white, one darker than black", _greys(0.52, 1.04, -0.03, 0.81), shows=_NOT_CUT),
        Case(
            "three colours, far outside",
            torch.tensor([1.32, -0.41, 0.21, 1.97, 0.81, -1.53]).view(1, 3, 1, 2),
            shows=_NOT_CUT,
        ),
    ),
    mistakes=table("""
    cut off instead of rounded | .round() =>
        You cut off what is behind the point: .to(torch.uint8) does that by itself. On average the images become half
        a step darker. Round first.
    rounded up | round() => ceil()
        You round up. Round to the nearest whole number.
    times 256 | * 255 => * 256
        You multiply by 256. The largest byte is 255, and white, 1, has to become that.
    not scaled | pixels * 255 => pixels
        You round numbers from 0 to 1, so that black and white is all that is left. Multiply by 255 first.
    rounded before it is scaled | (pixels * 255).round() => (pixels.round() * 255)
        You round before you multiply: only black and white are left. Multiply by 255 first.
    scaled, then cut to 0 to 1 | clamp(0, 255) => clamp(0, 1)
        You cut to 0..1 what runs from 0 to 255 by then. Cut to 0..255; or cut to 0..1 before you multiply.
    stretched from the darkest to the brightest
        | (pixels * 255) => ((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255)
        You stretch the images so that the darkest pixel is black and the brightest white. That is another image: the
        network, which was shown the old one, sees other contrasts. Only what is outside is to change.
    inverted | (pixels * 255) => (255 - pixels * 255)
        Black and white are swapped.
    cut below only | clamp(0, 255) => clamp(min=0)
        You cut off below 0 only. A pixel brighter than white becomes more than 255, and in a byte 256 is 0 again.
    cut above only | clamp(0, 255) => clamp(max=255)
        You cut off above 255 only. A pixel darker than black becomes negative, and in a byte −1 is 255: black turns
        white.
    what is outside wraps around | .clamp(0, 255) =>
        This goes wrong where a learnt pixel is brighter than white or darker than black, and gradient descent makes
        such pixels. A byte goes from 0 to 255; beyond, it wraps around: −1 becomes 255, 256 becomes 0, so black specks
        stand in the white. Cut off: .clamp(0, 255), before the change to uint8.
    """),
    hints=(
        "White, 1.0, is to become 255, and black, 0.0, stays 0: multiply.",
        ".round() gives the nearest whole number; .to(torch.uint8) alone cuts off.",
        ".clamp(0, 255) cuts off what lies outside, and has to come before .to(torch.uint8).",
    ),
    tested="the scale, rounding to the nearest, pixels outside of black and white, and one byte for each",
)
