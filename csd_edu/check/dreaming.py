"""Exercises on dreams in the place of images: what a generator costs, what it learns from, and what learns from it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import generator
from csd_edu.check.answers import Loss, Number, Terms
from csd_edu.check.inputs import random
from csd_edu.check.running import Case, Exercise, table
from csd_edu.methods.genifer import dreamt_distillation, map_distance


def worth_in_images(n_parameters: int, image_shape: tuple[int, int, int]) -> int:
    channels, height, width = image_shape
    n_bytes = 4 * n_parameters  # float32
    return n_bytes // (channels * height * width + 8)  # a byte for each pixel and channel, and an int64 for the label


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def replay_terms(
    logits: Tensor, old_logits: Tensor, maps: Tensor, old_maps: Tensor, drawn: Tensor, labels: Tensor, feature: float
) -> dict[str, Tensor]:
    n, n_old, n_all = len(drawn), old_logits.shape[1], logits.shape[1]
    old_share = n_old / n_all
    dreams, new = logits[:n], logits[n:]  # (B, C) each
    targets = F.softmax(old_logits[:n].detach(), dim=1)  # (B, K), no gradient
    answers = F.log_softmax(dreams, dim=1)[:, :n_old]  # (B, K) of a softmax over all C classes
    gaps = maps[:n] - old_maps[:n].detach()  # (B, …), no gradient
    return {
        "ce": (1 - old_share) * F.cross_entropy(new, labels),
        "dreamt kd": -old_share * (targets * answers).sum(dim=1).mean(),
        "dreamt maps": feature * gaps.flatten(1).norm(dim=1).mean(),
    }


WORTH_IN_IMAGES = Exercise(
    worth_in_images,
    title="A generator's worth in images",
    doc="Check f(n_parameters, image_shape (C, H, W)) -> how many stored images take no more bytes than a generator.",
    truth=lambda n_parameters, image_shape: generator.worth_in_images(4 * n_parameters, image_shape),
    answer=Number(),
    cases=(
        Case("small grey images", 40, (1, 8, 8)),
        Case("small images in colour", 100, (3, 8, 8)),
        Case("images that are wider than high", 1000, (1, 8, 12)),
        Case("the generator for the digits", 85_265, (1, 16, 16)),
        Case("too small for a single image", 10, (1, 8, 8)),
    ),
    mistakes=table("""
    a byte for each parameter | 4 * n_parameters => n_parameters
        You count one byte for each parameter. A float32 takes four.
    eight bytes for each parameter | 4 * n_parameters => 8 * n_parameters
        You count eight bytes for each parameter, as for float64. The generator computes in float32, four bytes each.
    bits for bytes | 4 * n_parameters => 32 * n_parameters
        You count the bits of a parameter, 32. Eight bits are a byte.
    no label | + 8 =>
        The label is missing: a memory stores with each image what it shows, an int64 of 8 bytes.
    a byte for the label | + 8 => + 1
        You count one byte for the label. The kit's memory stores an int64: 8 bytes.
    one label for all | // (channels * height * width + 8) => // (channels * height * width) - 8
        You take the label off once. Each image has one: its 8 bytes belong to the bytes of an image.
    a label for each channel | channels * height * width + 8 => channels * (height * width + 8)
        You count a label for each channel. An image has one label, whatever its colours.
    pixels as float32 | channels * height * width => 4 * channels * height * width
        You count four bytes for each pixel. Stored images are uint8, one byte for each pixel and channel.
    channels forgotten | channels * height => height
        The channels are missing: an image in colour has three numbers for each pixel.
    height and width added | height * width => (height + width)
        You add height and width. An image has height · width pixels.
    not whole | // => /
        Half an image can't be stored. Round down: //.
    rounded up | n_bytes // (channels * height * width + 8) => -(-n_bytes // (channels * height * width + 8))
        You round up. The last image would take more bytes than there are: round down.
    rounded | n_bytes // (channels * height * width + 8) => round(n_bytes / (channels * height * width + 8))
        You round to the nearest whole number, which now and then is one image too many: round down.
    bytes instead of images | // (channels * height * width + 8) =>
        This is how many bytes the generator takes. Divide by those of an image with its label.
    """),
    hints=(
        "How many bytes does the generator take? A float32 has 32 bits.",
        "How many bytes does one stored image take? C · H · W of uint8, and 8 for its label.",
        "Divide the first by the second and round down: n_bytes // bytes_of_one.",
    ),
    tested="bytes of parameters and of pixels, colours, the label, and whole images",
)


def _naive_softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log()


DISCRIMINATOR_LOSS = Exercise(
    discriminator_loss,
    title="A discriminator's loss",
    doc="Check f(real (B,), fake (F,)) -> scalar, as `generator.discriminator_loss`; scores are above 0 for real.",
    truth=generator.discriminator_loss,
    answer=Loss("fake", also=(("real", None),)),
    cases=(
        Case("one score of each kind", torch.tensor([1.0]), torch.tensor([-0.5])),
        Case("three of real images, two of dreams", torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.5, -2.0])),
        Case("it is mostly mistaken", torch.tensor([-1.0, -2.5, 0.3]), torch.tensor([2.0, 0.1, 1.2, -0.4])),
        Case(
            "large scores: exp(200) is infinite in float32",
            torch.tensor([-200.0, 200.0]),
            torch.tensor([200.0]),
            shows="exp overflows",
        ),
    ),
    mistakes=table("""
    real and fake swapped | softplus(-real) => softplus(real) | softplus(fake) => softplus(-fake)
        Real and fake are swapped: your loss is low where dreams are scored high. softplus is large for what is above 0,
        so what is real needs the minus.
    the same sign for both | softplus(-real) => softplus(real)
        You push both scores down. Those of real images are to go up: softplus(−real).
    the generator's loss | softplus(fake) => softplus(-fake)
        You push both scores up. That the scores of dreams go up is what the generator wants; the discriminator wants
        them down: softplus(fake), without a minus.
    real images only | + F.softplus(fake).mean() => + 0 * fake.mean()
        The dreams do not count: a discriminator that calls everything real would be perfect.
    dreams only | F.softplus(-real).mean() => 0 * real.mean()
        The real images do not count: a discriminator that calls everything a dream would be perfect.
    no softplus | F.softplus(-real) => -real | F.softplus(fake) => fake
        You take the scores as they are. Then it pays to make scores larger and larger without end; softplus stops to
        push where the answer is right already. A Wasserstein GAN does so, with another brake.
    relu instead of softplus | F.softplus(-real) => F.relu(-real) | F.softplus(fake) => F.relu(fake)
        You cut off at 0, with a relu. softplus(x) = log(1 + eˣ) is its smooth relative: also scores that are right by a
        little still move.
    hinge | F.softplus(-real) => F.relu(1 - real) | F.softplus(fake) => F.relu(1 + fake)
        This is the hinge loss, relu(1 − real) and relu(1 + fake). Some GANs have it; here it is softplus.
    least squares | F.softplus(-real) => (real - 1).square() | F.softplus(fake) => fake.square()
        You draw real scores to 1 and the others to 0, by squares. Some GANs do so; here it is softplus.
    probabilities without a logarithm | F.softplus(-real) => torch.sigmoid(-real)
        | F.softplus(fake) => torch.sigmoid(fake)
        You add up the probabilities of a wrong answer. Take minus the logarithm of those of the right answer, which is
        softplus: else the push vanishes where the discriminator is quite wrong.
    sign swapped | return F.softplus(-real).mean() + F => return -F.softplus(-real).mean() - F
        The sign is wrong: these are log-probabilities of right answers, which are to grow. A loss is their opposite.
    divided by two | return F.softplus(-real).mean() + F.softplus(fake).mean()
        => return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        You take the mean of the two parts, half of what is asked for: their sum is 2 log 2 for who can't tell them
        apart.
    one mean over all scores | return F.softplus(-real).mean() + F.softplus(fake).mean()
        => return 2 * F.softplus(torch.cat([-real, fake])).mean()
        You take one mean over real images and dreams together. Each kind has a mean of its own, so that both weigh the
        same however many there are.
    sums instead of means | .mean() => .sum() (twice)
        You add up the scores. Take the mean of each kind: a larger batch would weigh more.
    exp overflows | F.softplus(-real) => _naive_softplus(-real) | F.softplus(fake) => _naive_softplus(fake)
        Your loss is infinite for a score of 100, although it should be 100: in float32 exp(100) overflows, and a
        sigmoid becomes 0, whose logarithm is −∞. F.softplus and F.logsigmoid are written so that they don't.
    """),
    hints=(
        "A score s is a logit: sigmoid(s) is the probability of a real image, and minus its logarithm is softplus(−s).",
        "Real images should be called real, so softplus(−real); dreams should not, so softplus(fake).",
        "F.softplus(…).mean() for each of the two kinds, and their sum.",
    ),
    tested="both signs, the mean of each kind, large scores, and that a gradient reaches both",
)


def _right_terms(
    logits: Tensor, old_logits: Tensor, maps: Tensor, old_maps: Tensor, drawn: Tensor, labels: Tensor, feature: float
) -> dict[str, Tensor]:
    """The terms as the library has them; the classes that were drawn play no part."""
    n_dreams = len(drawn)
    share = old_logits.shape[1] / logits.shape[1]
    return {
        "ce": (1 - share) * F.cross_entropy(logits[n_dreams:], labels),
        "dreamt kd": share * dreamt_distillation(logits[:n_dreams], old_logits[:n_dreams]),
        "dreamt maps": feature * map_distance(maps[:n_dreams], old_maps[:n_dreams]),
    }


Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float]


def replayed(n: int, n_old: int, n_new: int, feature: float, seed: int) -> Batch:
    """Return what two networks make of n dreams of old classes and n images of new ones, in tenths, with labels."""
    g = torch.Generator().manual_seed(seed)
    logits, old_logits = 2 * random(2 * n, n_old + n_new, seed), 2 * random(2 * n, n_old, seed + 1)
    maps, old_maps = (random(2 * n, 8, seed + k).view(2 * n, 2, 2, 2) for k in (2, 3))
    drawn, labels = torch.randint(n_old, (n,), generator=g), torch.randint(n_new, (n,), generator=g) + n_old
    tenths = [x.mul(10).round() / 10 + 0.0 for x in (logits, old_logits, maps, old_maps)]  # no −0
    return tenths[0], tenths[1], tenths[2], tenths[3], drawn, labels, feature


REPLAY_TERMS = Exercise(
    replay_terms,
    title="What learns from dreams",
    doc="""
    Check f(logits, old_logits, maps, old_maps, drawn, labels, feature) -> dict of three losses, as Genifer has them.

    The first half of all rows is of dreams, whose classes are `drawn`, the second half of new images with `labels`.
    """,
    truth=_right_terms,
    answer=Terms("ce", "dreamt kd", "dreamt maps", learns="logits", frozen="old_logits", also=(("maps", "old_maps"),)),
    cases=(
        Case("one dream and one new image; two old classes, a new one", *replayed(1, 2, 1, 0.5, 0)),
        Case("three dreams and three new images; two old classes, four new ones", *replayed(3, 2, 4, 0.2, 10)),
        Case("four of each; five old classes, two new ones", *replayed(4, 5, 2, 2.0, 20)),
    ),
    mistakes=table("""
    halves swapped | logits[:n], logits[n:] => logits[n:], logits[:n] | old_logits[:n] => old_logits[n:]
        | maps[:n] - old_maps[:n] => maps[n:] - old_maps[n:]
        The halves are swapped. The dreams come first: rows [:n] are of dreams, rows [n:] of new images.
    dreams learnt by the classes they were drawn for
        | (targets * answers).sum(dim=1).mean() => -F.cross_entropy(dreams, drawn)
        You learn the dreams with the classes that the generator was told to draw. A poor dream shows something else:
        its target is what the old network says of it, however unsure.
    dreams in the cross-entropy | F.cross_entropy(new, labels) => F.cross_entropy(logits, torch.cat([drawn, labels]))
        Your cross-entropy counts the dreams too. It is for new images alone, whose labels are true; what a dream shows
        is for the old network to say.
    distilled on all images | old_logits[:n] => old_logits | F.log_softmax(dreams => F.log_softmax(logits
        You distil on all images. The old network knows nothing about new classes: ask it about dreams only, rows [:n].
    distilled on the new images | old_logits[:n] => old_logits[n:] | F.log_softmax(dreams => F.log_softmax(new
        You distil on the new images, as LwF does, which has no others. Here there are dreams of old classes for it.
    softmax over the old classes only | F.log_softmax(dreams, dim=1)[:, :n_old]
        => F.log_softmax(dreams[:, :n_old], dim=1)
        You cut the new network's logits before the softmax. Then nothing says that a dream of an old class is none of
        the new ones: take the softmax over all classes, and cut afterwards.
    the last classes instead of the first | [:, :n_old] => [:, -n_old:]
        You keep the last columns. A head grows at its end: old classes are the first K.
    the new network as its own teacher | F.softmax(old_logits[:n].detach(), dim=1)
        => F.softmax(logits[:n, :n_old].detach(), dim=1)
        The targets are the new network's own answers: it would agree with itself, whatever it forgets. They are the old
        one's, old_logits.
    the likeliest class as a label | F.softmax(old_logits[:n].detach(), dim=1)
        => F.one_hot(old_logits[:n].argmax(dim=1), n_old)
        You take the old network's likeliest class as a label. Its whole answer is the target, a softmax: that also
        tells how sure it was.
    KL instead of cross-entropy | (targets * answers) => (targets * (answers - targets.log()))
        Your 'dreamt kd' is a KL divergence. Its gradient is the same, but the released loss is −Σ target · log answer,
        without the entropy of the targets.
    a temperature | F.softmax(old_logits[:n].detach() => F.softmax(old_logits[:n].detach() / 2
        | F.log_softmax(dreams => F.log_softmax(dreams / 2
        You soften the answers by a temperature of 2, as LwF does. Here there is none.
    not weighted by the targets | (targets * answers) => (0 * targets + answers)
        The targets do not occur in your 'dreamt kd': all old classes are pulled up alike. Each logarithm counts with
        the probability that the old network gave its class.
    the sum over the dreams | answers).sum(dim=1).mean() => answers).sum()
        You add up the dreams. The loss is a mean over them: a larger batch must not weigh more.
    the mean over the classes | answers).sum(dim=1).mean() => answers).mean()
        You take the mean over classes as well. A cross-entropy is a sum over the classes, and a mean over the images.
    sign of the distillation swapped | -old_share => old_share
        Your 'dreamt kd' has the wrong sign: the network would move away from the old answers. log p is below 0, so a
        minus belongs in front.
    maps of all images | maps[:n] - old_maps[:n] => maps - old_maps
        You hold the maps of new images, too. They are to change, else nothing new is learnt: dreams only, rows [:n].
    maps of the new images | maps[:n] - old_maps[:n] => maps[n:] - old_maps[n:]
        You hold the maps of the new images. It is the dreams, rows [:n], that stand for what must not change.
    distance squared | norm(dim=1).mean() => norm(dim=1).square().mean()
        Your distance of maps is squared. It is not: ‖f − f_old‖₂, so that a map that has moved far does not outweigh
        all others.
    the mean over all numbers of a map | gaps.flatten(1).norm(dim=1).mean() => gaps.square().mean()
        You take the mean square of all numbers. For each dream the distance is the root of the *sum* of the squares.
    absolute gaps | flatten(1).norm(dim=1) => flatten(1).abs().sum(dim=1)
        You add up absolute differences. The distance is Euclidean: square, add up, root.
    a distance for each place | flatten(1).norm => norm
        You take a distance at each place of the map, and their mean. Flatten each map first: one distance for a dream.
    one distance for the whole batch | flatten(1).norm(dim=1).mean() => norm()
        You take the norm of the whole batch at once, which grows with it. Each dream has a distance; take their mean.
    weights swapped | (1 - old_share) * => old_share * | -old_share => -(1 - old_share)
        The weights are swapped. The more old classes, the more the dreams count: n_old/n for them, n_new/n for the new
        images.
    half and half | old_share = n_old / n_all => old_share = 0.5
        You weigh both alike. With eight old classes and two new ones a new class would count four times as much as an
        old one: weigh by the numbers of classes.
    no weights | (1 - old_share) * => | -old_share * => -
        The weights are missing: n_new/n for the cross-entropy, n_old/n for the distillation.
    new images not weighted | (1 - old_share) * =>
        The cross-entropy has no weight. It is n_new/n.
    dreams not weighted | -old_share * => -
        The distillation has no weight. It is n_old/n.
    old classes divided by the new ones | n_old / n_all => n_old / (n_all - n_old)
        You divide the number of old classes by that of the new ones. A share is of all: n_old/n. The two weights add up
        to 1.
    shares of 10 classes | n_old / n_all => n_old / 10
        You divide by ten, the classes that there will be in the end. So far there are C, the columns of logits.
    feature left out | feature * =>
        The distance of maps is not multiplied by `feature`.
    feature and the old share | feature * => feature * old_share *
        You weigh the maps by the share of old classes as well. Their weight is `feature` alone.
    no cross-entropy | (1 - old_share) => 0
        The cross-entropy is missing, or 0: nothing new would be learnt.
    no distillation | -old_share => 0
        The distillation is missing, or 0: the maps are held, but nothing holds the head's answers.
    no maps | feature * => 0 *
        The distance of maps is missing, or 0.
    """),
    hints=(
        "n = len(drawn) rows are of dreams, [:n]; those of the new images are [n:]. Which terms want which?",
        "Old classes: K = old_logits.shape[1] of C = logits.shape[1]. So the dreams weigh K/C, the new images 1 − K/C.",
        "Targets: F.softmax(old_logits[:n].detach(), dim=1). Answers: F.log_softmax(logits[:n], dim=1)[:, :K]. Maps: "
        "(maps[:n] − old_maps[:n].detach()).flatten(1).norm(dim=1).",
    ),
    tested=(
        "which term sees dreams and which new images, the softmax over all classes, the distance of maps, the weights "
        "by numbers of classes, and that the new network alone gets a gradient"
    ),
)
