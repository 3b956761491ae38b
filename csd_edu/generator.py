"""Networks that invent images: a small generator, told which class to draw, the discriminator it learns from, losses.

noise (B, Z), classes (B,) ──> generator ──> images (B, C, H, W) ──> [a classifier's maps] ──> discriminator ──> scores
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csd_edu import arguments
from csd_edu.arguments import check_tensors
from csd_edu.features import at_least_float32

SLOPE = 0.2  # of the leaky ReLUs, as GANs usually have it


class Generator(nn.Module):
    """Noise and a class to an image: a coarse map, enlarged twofold and convolved until it has the image's size.

    Noise and class also scale and shift each map's channels, as in Karras et al. 2019. There is no batch norm, so an
    image does not depend on the others of its batch, and evaluation mode changes nothing. At 16 × 16 pixels, with ten
    classes and the default widths, it has 85,265 parameters.

    Args:
        image_shape: (C, H, W), C of 1 or 3.
        n_classes: how many it has room for, whether or not it ever learns to draw them.
        width: channels of the coarse maps; the last one before the image has two thirds of them.
        dim: Z, the numbers of noise.

    Attributes:
        image_shape, n_classes, dim: as given.

    Raises:
        ValueError: if a number is impossible.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, *, width: int = 48, dim: int = 32) -> None:
        super().__init__()
        shape = arguments.whole_numbers("image_shape", image_shape, least=1)
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 8:
            raise ValueError(
                f"image_shape is {tuple(shape)}; expected (channels, height, width) with 1 or 3 channels and at least "
                "8 × 8 pixels, such as (1, 16, 16)"
            )
        self.image_shape = tuple(shape)
        self.n_classes = arguments.whole("n_classes", n_classes, least=1)
        self.dim = arguments.whole("dim", dim, least=1)
        width = arguments.whole("width", width, least=3)
        sizes = [(shape[1], shape[2])]
        while max(sizes[0]) > 7:  # 16 -> 8 -> 4, 24 -> 12 -> 6, 28 -> 14 -> 7, 32 -> 16 -> 8 -> 4
            sizes.insert(0, ((sizes[0][0] + 1) // 2, (sizes[0][1] + 1) // 2))
        self.sizes = sizes
        channels = [*[width] * (len(sizes) - 1), 2 * width // 3]
        told = self.dim + self.dim // 2
        self.embedding = nn.Embedding(self.n_classes, self.dim // 2)
        self.coarse = nn.Linear(told, width * sizes[0][0] * sizes[0][1])
        self.styles = nn.ModuleList(nn.Linear(told, 2 * n) for n in channels)
        convolutions = [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels)]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight, SLOPE)
        self.convolutions = nn.ModuleList(convolutions)
        self.to_image = nn.Conv2d(channels[-1], shape[0], 3, padding=1)

    def forward(self, noise: Tensor, classes: Tensor) -> Tensor:
        """Return images (B, C, H, W), float in 0..1, of noise (B, Z) and classes (B,), whole numbers."""
        told = torch.cat([noise, self.embedding(classes)], dim=1)  # (B, Z + Z/2)
        x = self.coarse(told).unflatten(1, (-1, *self.sizes[0]))  # (B, width, h, w)
        x = self._styled(x, self.styles[0](told))
        for size, convolution, style in zip(self.sizes[1:], self.convolutions, self.styles[1:], strict=True):
            x = convolution(F.interpolate(x, size=size))  # (B, channels, 2h, 2w)
            x = self._styled(x, style(told))
        images: Tensor = self.to_image(x).sigmoid()
        return images

    def _styled(self, x: Tensor, style: Tensor) -> Tensor:
        """Return maps (B, C, h, w) whose channels are scaled and shifted as (B, 2C) says."""
        scale, shift = style[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()  # each pixel's channels have mean square 1
        return F.leaky_relu(x * (1 + scale) + shift, SLOPE)


class Discriminator(nn.Module):
    """Maps and a class to a score: above 0 where they look real for that class.

    It takes pixels or a classifier's maps of any size, and halves them until they are 4 × 4 or smaller. The class is
    told by a projection (Miyato & Koyama, ICLR 2018, eq. 3), and how much the maps of a batch differ by one more
    channel, so that a generator can't get through with few images (Karras et al., ICLR 2018, section 3).

    Args:
        shape: (C, h, w) of a map.
        n_classes: how many it has room for.
        width: channels inside.

    Raises:
        ValueError: if a number is impossible.
    """

    def __init__(self, shape: Sequence[int], n_classes: int, *, width: int = 48) -> None:
        super().__init__()
        sides = arguments.whole_numbers("shape", shape, least=1)
        if len(sides) != 3:
            raise ValueError(f"shape is {tuple(sides)}; expected (channels, height, width) of a map")
        self.shape = tuple(sides)
        n_classes, width = arguments.whole("n_classes", n_classes, least=1), arguments.whole("width", width, least=1)
        channels, height, breadth = sides
        convolutions = [nn.Conv2d(channels, width, 3, padding=1)]
        while max(height, breadth) > 4:
            convolutions.append(nn.Conv2d(width, width, 3, padding=1))
            height, breadth = (height + 1) // 2, (breadth + 1) // 2
        self.convolutions = nn.ModuleList(convolutions)
        self.last = nn.Conv2d(width + 1, width, 3, padding=1)
        self.dense = nn.Linear(width * height * breadth, 2 * width)
        self.score = nn.Linear(2 * width, 1)
        self.embedding = nn.Embedding(n_classes, 2 * width)
        for weight in (*(layer.weight for layer in convolutions), self.last.weight, self.dense.weight):
            nn.init.kaiming_normal_(weight, SLOPE)
        nn.init.normal_(self.embedding.weight, std=(2 * width) ** -0.5)

    def forward(self, maps: Tensor, classes: Tensor) -> Tensor:
        """Return scores (B,) of maps (B, C, h, w) and their classes (B,)."""
        first, *others = self.convolutions
        x = F.leaky_relu(first(maps), SLOPE)  # (B, width, h, w)
        for convolution in others:
            x = F.leaky_relu(convolution(F.avg_pool2d(x, 2, ceil_mode=True)), SLOPE)
        spread = (x.var(dim=0, unbiased=False) + 1e-8).sqrt().mean().expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], dim=1)), SLOPE)
        x = F.leaky_relu(self.dense(x.flatten(1)), SLOPE)  # (B, 2 · width)
        scores: Tensor = self.score(x)[:, 0] + (x * self.embedding(classes)).sum(dim=1)
        return scores


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return mean softplus(−real) + mean softplus(fake): 2 log 2 for a discriminator that can't tell them apart.

    Args:
        real, fake: (B,) and (B',) scores, any float type.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the scores are no such tensors.

    Source: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, eq. 1.
    """
    _check_scores(real=real, fake=fake)
    with torch.autocast(real.device.type, enabled=False):
        return F.softplus(-at_least_float32(real)).mean() + F.softplus(at_least_float32(fake)).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Return mean softplus(−fake): the generator's loss that does not saturate while the discriminator sees through it.

    Args:
        fake: (B,) scores of its images, any float type.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the scores are no such tensor.

    Source: Goodfellow et al., NeurIPS 2014, section 3.
    """
    _check_scores(fake=fake)
    with torch.autocast(fake.device.type, enabled=False):
        return F.softplus(-at_least_float32(fake)).mean()


def r1_penalty(scores: Tensor, real: Tensor, *, gamma: float) -> Tensor:
    """Penalise a discriminator that is steep where the real ones lie: γ/2 · mean_b ‖∂ scores / ∂ real_b‖².

    Args:
        scores: (B,) of the real ones.
        real: (B, ...) what the scores were computed of, with `requires_grad`.
        gamma: γ ≥ 0.

    Returns:
        A scalar, through which a gradient passes to the discriminator's weights.

    Raises:
        ValueError: if the scores don't depend on `real`, or γ is negative.

    Source: Mescheder, Geiger & Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018, eq. 9.
    """
    _check_scores(scores=scores)
    gamma = arguments.number("gamma", gamma)
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; expected 0 or more")
    if not real.requires_grad or not scores.requires_grad:
        raise ValueError("scores don't depend on real with a gradient; expected real.requires_grad_() before scoring")
    (gradient,) = torch.autograd.grad(scores.sum(), real, create_graph=True)  # (B, ...)
    return gamma / 2 * gradient.square().flatten(1).sum(dim=1).mean()


@torch.no_grad()
def ema_update(average: nn.Module, model: nn.Module, beta: float) -> None:
    """Move the weights of an average towards those of a model: average ← β · average + (1 − β) · model.

    Args:
        average: is changed in place; its buffers become the model's.
        model: of the same kind.
        beta: from 0, which copies the model, to 1, which leaves the average as it is.

    Raises:
        ValueError: if β is outside, or the two have other parts.
    """
    beta = arguments.number("beta", beta, "a number from 0 to 1")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; expected a number from 0 to 1")
    here, there = average.state_dict(), model.state_dict()
    if {name: part.shape for name, part in here.items()} != {name: part.shape for name, part in there.items()}:
        raise ValueError("average and model have other parts or sizes; expected a copy: copy.deepcopy(model)")
    for parameter, new in zip(average.parameters(), model.parameters(), strict=True):
        parameter.lerp_(new, 1 - beta)
    for buffer, current in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(current)


@torch.no_grad()
def draw(generator: Generator, classes: Iterable[int], n: int, *, seed: int = 0) -> Tensor:
    """Return images of some classes, the same for the same seed; torch's own random numbers stay as they are.

    Args:
        generator: on any device.
        classes: at least one whole number, each in 0 to `generator.n_classes` − 1.
        n: how many of each.
        seed: of the noise, which is the same for each class.

    Returns:
        (len(classes), n, C, H, W) uint8, on the CPU.

    Raises:
        ValueError: if there is no class, or no room for one in the generator.
    """
    wanted, n = arguments.whole_numbers("classes", classes, least=0), arguments.whole("n", n, least=1)
    seed = arguments.whole("seed", seed, least=0)
    if not wanted or max(wanted) >= generator.n_classes:
        raise ValueError(f"classes are {wanted}; expected at least one of 0 to {generator.n_classes - 1}")
    place = generator.coarse.weight.device
    noise = torch.randn(n, generator.dim, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor(wanted).repeat_interleave(n)  # (len(classes) · n,)
    images = generator(noise.repeat(len(wanted), 1).to(place), labels.to(place))
    return as_pixels(images).reshape(len(wanted), n, *generator.image_shape).cpu()


def as_pixels(images: Tensor) -> Tensor:
    """Return images, float in 0..1, as uint8, as all others are kept; what is outside is clamped."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def n_bytes(module: nn.Module) -> int:
    """Return how many bytes a module's weights and buffers take."""
    return sum(value.nbytes for value in module.state_dict().values())


def worth_in_images(n_bytes: int, image_shape: Sequence[int]) -> int:
    """Return how many images a `csd.Memory` would hold in as many bytes: uint8 pixels, and a label of 8 bytes each.

    Args:
        n_bytes: such as `generator.n_bytes(module)`.
        image_shape: (C, H, W).
    """
    n_bytes = arguments.whole("n_bytes", n_bytes, least=0)
    return n_bytes // (math.prod(arguments.whole_numbers("image_shape", image_shape, least=1)) + 8)


def _check_scores(**scores: Tensor) -> None:
    check_tensors(**scores)
    for name, value in scores.items():
        if value.ndim != 1 or not len(value) or not value.is_floating_point():
            raise ValueError(
                f"{name} is {value.dtype} of shape {tuple(value.shape)}; expected floats (B,), one or more"
            )
