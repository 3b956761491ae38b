"""What a few images teach: new networks are trained on them alone, and asked about images that they have not seen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csd_edu import arguments, augmentation, losses, metrics, models
from csd_edu.models import CONVNET_WIDTHS, SMALLEST_IMAGE, Network
from csd_edu.runtime import derive_seed, usual_torch


class Score(NamedTuple):
    """How one network does on test images: the share named rightly, and Recall@1 among themselves."""

    accuracy: float
    recall_at_1: float


@usual_torch()
def train_on(
    images: Tensor,
    labels: Tensor,
    *,
    width: int = 128,
    epochs: int = 1000,
    lr: float = 0.01,
    batch_size: int = 256,
    flip: bool = False,
    seed: int = 0,
) -> Network:
    """Return a new ConvNet, trained on a few images as the literature on condensing trains.

    SGD with momentum 0.9 and weight decay 5e-4 on the cross-entropy, with a tenth of the rate and a fresh optimiser
    from the middle on. In each step one kind of augmentation changes each image in its own way.

    Args:
        images: (N, C, H, W) uint8, or float in units of 0..1; it is trained where they are.
        labels: (N,) integers from 0; the head has as many rows as the largest says.
        width: of the ConvNet.
        epochs: passes over the images.
        lr: learning rate.
        batch_size: the most images in a step.
        flip: mirroring is among the augmentations, as in the released code; not for writing.
        seed: of weights, order and augmentations.

    Returns:
        The network, in evaluation mode.

    Raises:
        ValueError: if the images and labels don't fit together, or a number is impossible.

    Source: `evaluate_synset` of the code released with Zhao & Bilen, WACV 2023, which has a linear head with bias
    where the kit has one with normalised rows.
    """
    check_images(images, labels)
    check_width(width)
    flip = arguments.flag("flip", flip)
    epochs, batch_size = arguments.whole("epochs", epochs, least=1), arguments.whole("batch_size", batch_size, least=1)
    check_rate(lr)
    mean, std = models.pixel_statistics(as_uint8(images))
    device = images.device
    n_classes = int(labels.max()) + 1
    network = models.build(
        f"convnet{width}", images.shape[1], n_classes=n_classes, seed=seed, pixel_mean=mean, pixel_std=std
    ).to(device)
    labels = labels.to(device)
    generator = torch.Generator().manual_seed(derive_seed(seed, "few"))
    height, wide = images.shape[2:]
    with torch.enable_grad():
        for epoch in range(epochs):
            if epoch in (0, epochs // 2):
                rate = 0.1 * lr if epoch else lr
                optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=5e-4)
            for rows in torch.randperm(len(labels), generator=generator).to(device).split(batch_size):
                x = (as_float(images[rows]) - network.pixel_mean) / network.pixel_std  # (B, C, H, W)
                x = augmentation.draw(height, wide, len(rows), flip=flip, generator=generator)(x)
                features, _ = network.backbone(x)
                loss = losses.cross_entropy(network.head(features), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def evaluate(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    n_networks: int = 3,
    width: int = 128,
    epochs: int = 1000,
    lr: float = 0.01,
    batch_size: int = 256,
    flip: bool = False,
    seed: int = 0,
) -> list[Score]:
    """Return how new networks, each trained on a few images alone by `train_on`, do on test images.

    Args:
        images, labels, width, epochs, lr, batch_size, flip: as `train_on` takes them.
        test_images: (M, C, H, W) uint8, of the same size.
        test_labels: (M,) integers.
        n_networks: how many are trained, each from its own weights.
        seed: of all of them; the same seed trains each set of images from the same weights.

    Returns:
        A score for each network.

    Raises:
        ValueError: as `train_on`, or if the test images have another size.
    """
    check_images(images, labels)
    check_images(test_images, test_labels)
    if test_images.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"test_images are {_times(test_images)}, images {_times(images)}; expected the same size: condensed images "
            "serve the data set that they come from (image_size= in csd.load)"
        )
    scores = []
    for k in range(arguments.whole("n_networks", n_networks, least=1)):
        network = train_on(
            images,
            labels,
            width=width,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            flip=flip,
            seed=derive_seed(seed, "network", k),
        )
        scores.append(score(network, test_images, test_labels))
    return scores


def score(network: Network, test_images: Tensor, test_labels: Tensor) -> Score:
    """Return how a network does on test images (M, C, H, W) uint8 with labels (M,): accuracy, and Recall@1."""
    features, logits = models.embed(network, test_images)
    truth = test_labels.cpu()
    right = (logits.argmax(dim=1) == truth).double().mean()
    recall = metrics.recall_at_k(features, truth, features, truth, exclude_self=True)[1]
    return Score(float(right), recall)


def as_float(images: Tensor) -> Tensor:
    """Return images as float32 in units of 0..1, of uint8 a 255th."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def as_uint8(images: Tensor) -> Tensor:
    """Return images as uint8: floats in units of 0..1 are rounded, and cut off where they are outside."""
    return images if images.dtype == torch.uint8 else (images.detach() * 255).round().clamp(0, 255).to(torch.uint8)


def check_images(images: Tensor, labels: Tensor) -> None:
    """Raise a ValueError if images and labels are none, or don't fit together, or are too small for a network."""
    arguments.check_tensors(images=images, labels=labels)
    known_type = images.dtype == torch.uint8 or images.is_floating_point()
    if images.ndim != 4 or not known_type or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; expected uint8, or float in units of 0..1, of "
            "shape (N, 1 or 3, H, W)"
        )
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise ValueError("images hold NaN or infinite numbers; expected floats in units of 0..1")
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected integers ({len(images)},), one for "
            "each image"
        )
    if int(labels.min()) < 0:
        raise ValueError(f"labels go down to {int(labels.min())}; expected classes from 0 on")
    if min(images.shape[2:]) < SMALLEST_IMAGE:
        raise ValueError(
            f"images are {_times(images)}; expected at least {SMALLEST_IMAGE}×{SMALLEST_IMAGE} pixels "
            f"(load them with image_size={SMALLEST_IMAGE} or more)"
        )


def check_width(width: int) -> None:
    """Raise a ValueError if there is no ConvNet of that width."""
    if width not in CONVNET_WIDTHS or isinstance(width, bool):
        raise ValueError(f"width is {width!r}; expected one of {', '.join(map(str, CONVNET_WIDTHS))}")


def check_rate(lr: float) -> None:
    """Raise a ValueError if a learning rate is no number above 0."""
    if not arguments.number("lr", lr, "a number above 0") > 0:
        raise ValueError(f"lr is {lr!r}; expected a number above 0")


def _times(images: Tensor) -> str:
    return "×".join(map(str, images.shape[1:]))
