from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from csd_edu import arguments, augmentation, models
from csd_edu.features import at_least_float32
from csd_edu.few import as_float, as_uint8, check_rate, check_width
from csd_edu.methods.method import Card, Look, Setting
from csd_edu.methods.random_images import Chosen, RandomImages, rows_of_classes
from csd_edu.methods.step import Tensor
from csd_edu.runtime import derive_seed, each_in_usual_torch, usual_torch

AT_ONCE = 1024
"""Real images that a network sees at once."""


def distribution_matching(real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor) -> Tensor:
    """Return how far the mean features of learnt images are from those of the real ones, class by class.

        loss = Σ_c ‖ 1/|B_c| Σ_{x∈B_c} ψ(x) − 1/|S_c| Σ_{s∈S_c} ψ(s) ‖²

    The squares are summed over the numbers of a feature, and over the classes: no mean is taken. So classes don't
    meddle with each other, and a learning rate of 1 is right for long features.

    Args:
        real: (N, ...) features ψ of real images, any float type, of any shape behind N; no gradient flows into them.
        real_labels: (N,) integers.
        synthetic: (M, ...) features of learnt images.
        synthetic_labels: (M,) integers, of the same classes.

    Returns:
        A scalar of at least float32.

    Raises:
        ValueError: if the shapes don't fit, or the two are not of the same classes.

    Source: Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, algorithm 1, as the released
    code computes it.
    """
    _check_features(real, real_labels, "real")
    _check_features(synthetic, synthetic_labels, "synthetic")
    if real.shape[1:] != synthetic.shape[1:]:
        raise ValueError(
            f"real features are {tuple(real.shape[1:])} an image, synthetic ones {tuple(synthetic.shape[1:])}; "
            "expected the same: of one network, and of images of the same size"
        )
    classes = synthetic_labels.unique()  # (K,)
    if not torch.equal(classes, real_labels.unique()):
        raise ValueError(
            f"real_labels have the classes {real_labels.unique().tolist()}, synthetic_labels {classes.tolist()}; "
            "expected the same"
        )
    with torch.autocast(real.device.type, enabled=False):
        gap = _class_means(real.detach(), real_labels, classes) - _class_means(synthetic, synthetic_labels, classes)
        return gap.square().sum()


def _class_means(features: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean (K, D) of the features (N, ...) of each class."""
    flat = at_least_float32(features.flatten(1))  # (N, D)
    belongs = (labels == classes[:, None]).to(flat.dtype)  # (K, N)
    return belongs @ flat / belongs.sum(dim=1, keepdim=True)


def _check_features(features: Tensor, labels: Tensor, name: str) -> None:
    arguments.check_tensors(**{name: features, f"{name}_labels": labels})
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if features.ndim < 2 or not features.is_floating_point() or labels.shape != features.shape[:1] or not whole:
        raise ValueError(
            f"{name} is {features.dtype} of shape {tuple(features.shape)}, {name}_labels {labels.dtype} of shape "
            f"{tuple(labels.shape)}; expected float features (N, D) and integers (N,)"
        )
    if not len(labels):
        raise ValueError(f"{name} has no features; expected at least one of each class")


@dataclass(frozen=True, eq=False)
class Condensed:
    """Where condensing stands.

    Attributes:
        iteration: how many steps are done.
        loss: `distribution_matching` for each class, the mean over the steps since the last one that was shown.
        pixels: (M, C, H, W) float32, the images in units of 0..1; some may lie outside.
        labels: (M,) int64, class after class.
        start: (M, C, H, W) uint8, the real images that they began as.
    """

    iteration: int
    loss: float
    pixels: Tensor
    labels: Tensor
    start: Tensor

    @property
    def images(self) -> Tensor:
        """(M, C, H, W) uint8, as they are stored: as many bytes as real ones."""
        return as_uint8(self.pixels)


@usual_torch()
def condense(
    images: Tensor,
    labels: Tensor,
    per_class: int,
    *,
    classes: Sequence[int] | None = None,
    iterations: int = 300,
    width: int = 32,
    lr: float = 1.0,
    batch: int = 32,
    augment: bool = True,
    flip: bool = False,
    every: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Condensed]:
    """Learn a few images of each class that a network can't tell from its real ones by their mean, while you iterate.

    They begin as random real images. In each step a new random ConvNet, never trained, sees a batch of each class's
    real images and its learnt ones, both changed by the same augmentation; the learnt ones follow the gradient of
    `distribution_matching` of the network's maps. A class's images don't depend on which others are learnt beside it,
    but for the mean and deviation of all pixels, by which images are normalised.

    Args:
        images: (N, C, H, W) uint8; it works where they are.
        labels: (N,) integers.
        per_class: how many are learnt of each class.
        classes: of which classes; default all that the labels have.
        iterations: steps; 20,000 in the paper.
        width: of the ConvNets; 128 in the paper.
        lr: of SGD with momentum 0.5, in units of normalised pixels as in the released code: in units of 0..1 a step
            is smaller by the square of the pixels' deviation, about 1/16.
        batch: real images of each class in a step, all if there are fewer; 256 in the paper.
        augment: False for no augmentation.
        flip: mirroring is among the augmentations, as in the paper; not for writing.
        every: after how many steps the images are shown; default ten times in all. The last are always shown.
        generator: on the CPU; default torch's own.

    Returns:
        An iterator: `*_, last = condense(...)`, and `last.images` are learnt. Stop it at any time.

    Raises:
        ValueError: at once, as `rows_of_classes`, or if a setting is impossible; later, if the images become NaN.

    Source: Zhao & Bilen, WACV 2023, algorithm 1, and the code released with it.
    """
    rows = rows_of_classes(images, labels, per_class, classes)
    _check_settings(iterations, width, lr, batch)
    augment, flip = arguments.flag("augment", augment), arguments.flag("flip", flip)
    per_class, lr = arguments.whole("per_class", per_class), float(lr)
    iterations, batch = arguments.whole("iterations", iterations), arguments.whole("batch", batch)
    every = max(1, iterations // 10) if every is None else arguments.whole("every", every, least=1)
    seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
    return _condense(images, rows, per_class, iterations, width, lr, batch, augment, flip, every, seed)


@each_in_usual_torch
def _condense(
    images: Tensor,
    rows: dict[int, Tensor],
    per_class: int,
    iterations: int,
    width: int,
    lr: float,
    batch: int,
    augment: bool,
    flip: bool,
    every: int,
    seed: int,
) -> Generator[Condensed, None, None]:
    device = images.device
    mean, std = (x.float().view(1, -1, 1, 1).to(device) for x in models.pixel_statistics(images))
    # Each class draws from a generator of its own: what is learnt of it doesn't depend on the others.
    draws = {c: torch.Generator().manual_seed(derive_seed(seed, "class", c)) for c in rows}

    def some(c: int, n: int) -> Tensor:
        return images[rows[c][torch.randperm(len(rows[c]), generator=draws[c])[:n].to(device)]]

    def drawn(c: int) -> nn.Module | augmentation.Augmentation:
        return augmentation.draw(*images.shape[2:], flip=flip, generator=draws[c]) if augment else nn.Identity()

    start = torch.cat([some(c, per_class) for c in rows])  # (M, C, H, W) uint8
    labels = torch.tensor([c for c in rows for _ in range(per_class)], device=device)  # (M,)
    real_labels = torch.tensor([c for c in rows for _ in range(min(batch, len(rows[c])))], device=device)
    pixels = ((as_float(start) - mean) / std).requires_grad_()
    optimizer = torch.optim.SGD([pixels], lr, momentum=0.5)
    summed, since = torch.zeros((), device=device), 0

    for iteration in range(1, iterations + 1):
        with torch.enable_grad():
            network = models.build(f"convnet{width}", images.shape[1], seed=derive_seed(seed, "network", iteration))
            look = network.to(device).requires_grad_(False).backbone
            real, learnt = [], []
            for c, of_class in zip(rows, pixels.split(per_class), strict=True):
                change = drawn(c)  # the same for both
                real.append(change((as_float(some(c, batch)) - mean) / std))
                learnt.append(change(of_class))
            with torch.no_grad():
                real_maps = torch.cat([_map(look, part) for part in torch.cat(real).split(AT_ONCE)])
            loss = distribution_matching(real_maps, real_labels, _map(look, torch.cat(learnt)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        summed, since = summed + loss.detach(), since + 1
        if iteration % every == 0 or iteration == iterations:
            if not bool(pixels.isfinite().all()):
                raise ValueError(
                    f"the images became NaN or infinite in step {iteration}; lr is {lr}, take a smaller one"
                )
            shown = pixels.detach() * std + mean
            yield Condensed(iteration, float(summed) / since / len(rows), shown, labels, start)
            summed, since = torch.zeros_like(summed), 0


def _map(look: nn.Module, images: Tensor) -> Tensor:
    """Return the ConvNet's map (B, width, H/8, W/8) of normalised images."""
    shown: Tensor = look(images, ("map",))[1]["map"]
    return shown


def _check_settings(iterations: int, width: int, lr: float, batch: int) -> None:
    arguments.whole("iterations", iterations, least=1)
    arguments.whole("batch", batch, least=1)
    check_width(width)
    check_rate(lr)


@dataclass
class DM(RandomImages):
    """As `random_images`, but with learnt ones: each new class is condensed once, by matching features.

    They are stored as uint8, so that they take as many bytes as real ones. On a GPU the gradient of an augmentation is
    a sum in any order: if a run is killed while it condenses, it condenses anew there, to nearly the same images.

    Attributes:
        per_class, per_epoch: as in `random_images`.
        iterations, width, lr, batch, augment, flip: as `condense` has them.

    Source: Zhao & Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, and `CL_DM.py` of the code
    released with it; there with 20 images of each class.
    """

    __name__ = "dm"
    card = Card(
        title="Distribution matching",
        sentence="Condense each new class into a few learnt images, whose mean feature is that of its real ones under "
        "any random network, and train a new network on those alone in each task.",
        source="Zhao & Bilen 2023",
        look=Look("#009E73", "hexagram", "dash"),
    )

    iterations: int = 300
    width: int = 32
    lr: float = 1.0
    batch: int = 32
    augment: bool = True
    flip: bool = False

    def begin(self, setting: Setting) -> None:
        _check_settings(self.iterations, self.width, self.lr, self.batch)
        arguments.flag("augment", self.augment)
        arguments.flag("flip", self.flip)
        super().begin(setting)

    def choose(self, images: Tensor, labels: Tensor) -> Chosen:
        for now in condense(
            images,
            labels,
            self.per_class,
            iterations=self.iterations,
            width=self.width,
            lr=self.lr,
            batch=self.batch,
            augment=self.augment,
            flip=self.flip,
        ):
            yield {"condensed": now.iteration / self.iterations, "loss": now.loss}
        return now.images, now.labels


dm = DM()
