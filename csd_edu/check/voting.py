"""Exercises on labelled neighbours that vote for images without a label: their votes, sharpened, and spread evenly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.check.answers import Loss, Rows
from csd_edu.check.inputs import random
from csd_edu.check.running import Case, Exercise, table
from csd_edu.methods.paws import mean_entropy, sharpen as sharpened, snn_predict as voted


def snn_predict(queries: Tensor, supports: Tensor, onehot: Tensor, temperature: float) -> Tensor:
    queries = F.normalize(queries, dim=1)  # (B, D), rows of length 1
    supports = F.normalize(supports, dim=1)  # (M, D)
    weights = (queries @ supports.T / temperature).softmax(dim=1)  # (B, M), each row sums to 1
    return weights @ onehot  # (B, C)


_TWO = torch.eye(2)[[0, 1, 0]]  # three supports, two of the first class
_THREE = torch.eye(3)[[0, 2, 1, 2, 0]]  # five supports of three classes

SNN_PREDICT = Exercise(
    snn_predict,
    title="Soft nearest neighbours",
    doc="""
    Check f(queries (B, D), supports (M, D), onehot (M, C), temperature) -> (B, C) probabilities.

    They are those of `csd_edu.methods.paws.snn_predict`.
    """,
    truth=voted,
    answer=Rows(),
    cases=(
        Case(
            "one query; three neighbours of two classes, T = 0.5",
            *(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 3.0], [2.0, 1.0]]), _TWO, 0.5),
        ),
        Case(
            "two queries; three neighbours, two of one class",
            *(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[2.0, 0.5], [-1.0, 1.0], [0.0, 4.0]]), _TWO, 1.0),
        ),
        Case("four queries, five neighbours of three classes", random(4, 4, 0, 2), random(5, 4, 1, 2), _THREE, 0.2),
        Case("six queries, three neighbours, T = 2", random(6, 3, 2, 2), random(3, 3, 3, 2), _TWO, 2.0),
        Case(
            "a very low temperature: exp(1/0.005) is infinite in float32",
            *(random(2, 4, 4), random(5, 4, 4), _THREE, 0.005),
            shows="exp overflows",
        ),
    ),
    mistakes=table("""
    no temperature | / temperature =>
        The temperature is not used. Divide the cosines by it before the softmax: a small one lets few neighbours count.
    multiplied by the temperature | / temperature => * temperature
        You multiply the cosines by the temperature. Divide: else a small temperature makes all neighbours count alike.
    temperature outside of the softmax | / temperature).softmax(dim=1) => ).softmax(dim=1) / temperature
        You divide the weights by the temperature, after the softmax, and they no longer sum to 1. Divide the cosines.
    0.1 whatever is given | / temperature => / 0.1
        You divide by 0.1, whatever the temperature is. That is the paper's; take the argument.
    softmax over the queries | softmax(dim=1) => softmax(dim=0)
        Your softmax runs over the queries (dim=0). One query's weights, a row, are to sum to 1 over its neighbours.
    softmax after the votes | T / temperature).softmax(dim=1) => T / temperature)
        | weights @ onehot => (weights @ onehot).softmax(dim=1)
        You add up the cosines of each class and take the softmax over the classes. Each neighbour is weighed by itself:
        the softmax comes first, over the neighbours, and then the votes.
    no softmax | .softmax(dim=1) =>
        Your votes are weighed by the cosines as they are, which do not sum to 1 and may be below 0. The weights are a
        softmax over the neighbours.
    weights that do not sum to 1 | .softmax(dim=1) => .exp()
        You weigh by the exponentials and do not divide by their sum: a query with many neighbours would have larger
        votes. Each row of weights sums to 1.
    one sum for all queries | .softmax(dim=1) => .exp() | weights @ onehot => weights / weights.sum() @ onehot
        You divide by the sum of all exponentials of the batch. Each query has a sum of its own: a row of weights sums
        to 1.
    divided by the sum of the cosines | .softmax(dim=1) =>
        | weights @ onehot => weights / weights.sum(dim=1, keepdim=True) @ onehot
        You divide the cosines by their sum. A cosine may be below 0, and so may the sum: take exponentials first, which
        is what a softmax does.
    log-weights | .softmax(dim=1) => .log_softmax(dim=1)
        Your votes are weighed by the logarithm of the softmax. Take the softmax itself.
    the nearest neighbour alone | weights @ onehot => onehot[weights.argmax(dim=1)]
        You take the class of the nearest neighbour. Soft neighbours all vote, each by its weight: a hard choice has no
        gradient, and nothing could be learnt from it.
    classes of equal say | return weights @ onehot => return F.normalize(weights @ onehot / onehot.sum(dim=0), p=1)
        You divide each class's votes by the number of its neighbours. Each neighbour has one vote, whatever its class.
    class means instead of neighbours | supports = F.normalize(supports, dim=1)
        => supports = F.normalize(onehot.T @ F.normalize(supports, dim=1), dim=1); onehot = torch.eye(onehot.shape[1])
        You compare with one mean for each class. Here each neighbour is compared by itself: a class may lie in several
        places.
    distances instead of cosines | queries @ supports.T => -torch.cdist(queries, supports)
        You weigh by the Euclidean distance. Here it is the cosine, the dot product of features of length 1.
    normalised along the wrong axis | (queries, dim=1) => (queries, dim=0) | (supports, dim=1) => (supports, dim=0)
        You scale the columns to length 1 (dim=0). Each image's feature, a row, is to have length 1: dim=1.
    by the length of the whole matrix | F.normalize(queries, dim=1) => queries / queries.norm()
        | F.normalize(supports, dim=1) => supports / supports.norm()
        You divide a whole matrix by one length. Each feature, a row, has its own: .norm(dim=1, keepdim=True).
    queries not normalised | F.normalize(queries, dim=1) => queries
        Your queries are not scaled to length 1: a longer one would be surer of its neighbours. Normalise both sides.
    supports not normalised | F.normalize(supports, dim=1) => supports
        Your supports are not scaled to length 1: a longer one would count as nearer. Normalise both sides.
    not normalised | F.normalize(queries, dim=1) => queries | F.normalize(supports, dim=1) => supports
        The features are not scaled to length 1: a longer one would count as nearer. Normalise both, each row, before
        the product.
    exp overflows | T / temperature).softmax(dim=1) => T / temperature).exp()
        | weights @ onehot => (weights / weights.sum(dim=1, keepdim=True)) @ onehot
        At a low temperature exp(cosine/τ) is infinite in float32 (from an exponent of about 88 on), and infinity
        divided by infinity is NaN. .softmax(dim=1) subtracts each row's largest first.
    """),
    hints=(
        "First the cosines, a matrix (B, M): scale each row of both sides to length 1, and multiply.",
        "Divide by the temperature, and take the softmax over the neighbours of each query: dim=1.",
        "The votes are a product of two matrices: weights (B, M) @ onehot (M, C).",
    ),
    tested="cosines of features of any length, the temperature, weights over the neighbours, a very low temperature",
)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    powers = p ** (1 / temperature)  # (B, C)
    return powers / powers.sum(dim=1, keepdim=True)


_UNSURE = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])

SHARPEN = Exercise(
    sharpen,
    title="Sharpened answers",
    doc="Check f(p (B, C), temperature) -> (B, C), as that of `csd_edu.methods.paws`.",
    truth=sharpened,
    answer=Rows(),
    cases=(
        Case("one image, two classes, T = 0.25", torch.tensor([[0.8, 0.2]]), 0.25),
        Case("two images, three classes, T = 0.5", _UNSURE, 0.5),
        Case("T = 2: less sure than before", _UNSURE, 2.0),
        Case("a class that is ruled out stays so", torch.tensor([[0.7, 0.3, 0.0]]), 0.5),
        Case("five images, four classes", random(5, 4, 0).softmax(dim=1), 0.25),
    ),
    mistakes=table("""
    p to the power T | (1 / temperature) => temperature
        You take p to the power T. For T below 1 that makes answers flatter; the power is 1/T.
    not divided by the sum | / powers.sum(dim=1, keepdim=True) =>
        Your rows no longer sum to 1. Divide the powers by the sum of their row.
    divided by the sum of the column | dim=1 => dim=0
        You divide by the sum over the images (dim=0). An image's answer, a row, sums to 1 over the classes: dim=1.
    divided by one sum for all | .sum(dim=1, keepdim=True) => .sum()
        You divide by the sum of the whole batch. Each row has its own: .sum(dim=1, keepdim=True).
    divided by the largest | .sum(dim=1, keepdim=True) => .amax(dim=1, keepdim=True)
        You divide by the largest of each row. Divide by the row's sum, so that probabilities are left.
    scaled to length 1 | powers / powers.sum(dim=1, keepdim=True) => F.normalize(powers, dim=1)
        Your rows have length 1: their squares sum to 1. Probabilities sum to 1 themselves.
    softmax of the probabilities | powers / powers.sum(dim=1, keepdim=True) => (p / temperature).softmax(dim=1)
        You take softmax(p/T). The softmax belongs to logits; p are probabilities already, and are taken to a power:
        softmax(log p / T) would be the same thing.
    divided by the temperature | p ** (1 / temperature) => p / temperature
        You divide p by T, which cancels out when the row is divided by its sum. The temperature is in the exponent, and
        1/T needs brackets there: p ** 1 / T is (p ** 1) / T.
    the likeliest class alone | powers / powers.sum(dim=1, keepdim=True)
        => (p == p.amax(dim=1, keepdim=True)).float()
        You give everything to the likeliest class: that is what is left for T → 0. With T above 0 the others keep a
        share.
    always squared | (1 / temperature) => 2
        You square, whatever the temperature is: that is right for T = 0.5 only. The exponent is 1/T.
    always the fourth power | (1 / temperature) => 4
        You take the fourth power, whatever the temperature is: that is right for T = 0.25 only. The exponent is 1/T.
    """),
    hints=(
        "ρ(p) takes each probability to the power 1/T, and then makes the row sum to 1 again.",
        "** is Python's power, also for a whole tensor: p ** 2 squares each entry.",
        "Divide by .sum(dim=1, keepdim=True): keepdim leaves a column, by which each row is divided.",
    ),
    tested="the exponent, temperatures below and above 1, rows that sum to 1, a probability of 0",
)


def spread(p: Tensor) -> Tensor:
    mean = p.mean(dim=0)  # (C,) how often each class comes
    return (mean * mean.clamp_min(1e-30).log()).sum()  # minus the entropy: small if all come equally often


SPREAD = Exercise(
    spread,
    title="All classes equally often",
    doc="""Check f(p (B, C)) -> scalar, minus the `mean_entropy` of `csd_edu.methods.paws`.

    p are the answers, sharpened already.
    """,
    truth=lambda p: -mean_entropy(p),
    answer=Loss("p", shares=True),
    cases=(
        Case("two images, two classes", torch.tensor([[0.9, 0.1], [0.4, 0.6]])),
        Case("two images, three classes", _UNSURE),
        Case("each is sure, and both classes come", torch.tensor([[0.99, 0.01], [0.01, 0.99]])),
        Case("none is sure", torch.full((3, 4), 0.25)),
        Case("six images, four classes", (2 * random(6, 4, 1)).softmax(dim=1)),
        Case("a class that never comes", torch.tensor([[1.0, 0.0], [1.0, 0.0]]), shows="log of 0"),
    ),
    mistakes=table("""
    sign swapped | return ( => return -(
        You return the entropy itself. Training makes a loss small, and the entropy of the mean is to be large: the term
        is minus the entropy.
    the entropy of each image | mean = p.mean(dim=0) => mean = p | .log()).sum() => .log()).sum(dim=1).mean()
        You take the entropy of each image's answer, and then the mean. That makes each image unsure, against what
        sharpening does. First the mean over the images, then its entropy.
    the mean over the classes | p.mean(dim=0) => p.mean(dim=1)
        You take the mean over the classes (dim=1), which is 1/C for every image. The mean is over the images: dim=0.
    sum instead of mean over the images | p.mean(dim=0) => p.sum(dim=0)
        You add up the images. How often a class comes is a share: their mean.
    mean instead of sum over the classes | .log()).sum() => .log()).mean()
        You take the mean over the classes. An entropy is a sum over them.
    not weighed | mean * mean.clamp_min(1e-30).log() => mean.clamp_min(1e-30).log()
        You add up the logarithms as they are. Each is weighed by how often its class comes: m · log m.
    no logarithm | mean * mean.clamp_min(1e-30).log() => mean * mean
        You add up the squares. The entropy has a logarithm: m · log m.
    another logarithm | log() => log2()
        Your logarithm is to the base 2. Here it is the natural one, torch.log.
    a share of the largest entropy | .sum() => .sum() / torch.tensor(p.shape[1]).log()
        You divide by log C, the largest entropy there is. The term has no such divisor.
    distance from equal shares | return ( => return torch.tensor(p.shape[1]).log() + (
        You add log C, so that the least value is 0. The gradient is the same, but the term is minus the entropy alone.
    the mean of the logarithms | mean.clamp_min(1e-30).log() => p.clamp_min(1e-30).log().mean(dim=0)
        You take the logarithm of each image's answer, and then their mean. The mean comes first.
    counts of the likeliest classes
        | p.mean(dim=0) => F.one_hot(p.argmax(dim=1), p.shape[1]).to(p.dtype).mean(dim=0) + 0 * p.sum()
        You count how often each class is the likeliest. A count has no gradient; the mean of the answers themselves
        does.
    sharpened twice | p.mean(dim=0) => (p**4 / (p**4).sum(dim=1, keepdim=True)).mean(dim=0)
        You sharpen p. What your function gets are the answers ρ(p), sharpened already: take their mean as they are.
    log of 0 | .clamp_min(1e-30) =>
        This goes wrong where a class never comes. Its mean is 0, and 0 · log 0 is NaN, but it adds nothing: keep the
        logarithm's argument above 0, by very little and inside of the logarithm only: m · m.clamp_min(1e-30).log(). (As
        the mean itself, even 10⁻⁶ adds something.) To mend the NaN afterwards would leave one in the gradient.
    """),
    hints=(
        "First how often each class comes: the mean of p over the images, C numbers that sum to 1.",
        "Its entropy is −Σ m log m, largest (log C) if all classes come equally often. The loss term is minus that.",
        "m = p.mean(dim=0), then Σ m log m. Keep the logarithm's argument above 0: m.clamp_min(1e-30).log().",
    ),
    tested="the sign, the mean before the entropy, a class that never comes, and a finite gradient in the answers",
)
