import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from csd_edu import arguments, losses
from csd_edu.few import check_images
from csd_edu.memory import Memory
from csd_edu.methods.method import Card, KitMethod, Look, Setting
from csd_edu.methods.step import Step, Tensor, Viewer
from csd_edu.runtime import memory_bytes

Chosen = Generator[dict[str, Any], None, tuple[Tensor, Tensor]]
"""Yields records for the run's log, and returns images and labels."""


def rows_of_classes(
    images: Tensor, labels: Tensor, per_class: int, classes: Sequence[int] | None = None
) -> dict[int, Tensor]:
    """Return for each class which images are of it.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) integers.
        per_class: how many of each are to be chosen.
        classes: which classes; default all that the labels have.

    Returns:
        By class, in rising order if none were named: (n,) int64 on the images' device.

    Raises:
        ValueError: if they don't fit together, or a class has no image, or fewer than `per_class`.
    """
    check_images(images, labels)
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected uint8, as csd.load returns them")
    per_class = arguments.whole("per_class", per_class, least=1)
    named = labels.unique().tolist() if classes is None else arguments.whole_numbers("classes", classes, least=0)
    rows = {c: torch.nonzero(labels.to(images.device) == c).squeeze(1) for c in named}
    for c, of_class in rows.items():
        if len(of_class) < per_class:
            raise ValueError(
                f"per_class is {per_class}, but class {c} has {len(of_class) or 'no'} images; expected at most as "
                "many, and classes that have some"
            )
    return rows


def herd(features: Tensor, n: int) -> Tensor:
    """Choose rows one by one, each so that the mean of those chosen comes nearest to the mean of all.

        argmin_i ‖ μ − (φ_i + Σ of those chosen before) / k ‖        for the k-th, among those not yet chosen

    Args:
        features: (N, D) floats; scaled to length 1 first, as in iCaRL.
        n: how many, from 1 to N.

    Returns:
        (n,) int64, which rows, in the order of their choice: fewer are the first of these.

    Raises:
        ValueError: if n is no such number.

    Source: Welling, "Herding dynamical weights to learn", ICML 2009; Rebuffi et al., "iCaRL", CVPR 2017, algorithm 4.
    """
    arguments.check_tensors(features=features)
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"features are {features.dtype} of shape {tuple(features.shape)}; expected floats (N, D)")
    n = arguments.whole("n", n, least=1, most=len(features))
    if not bool(features.isfinite().all()):
        raise ValueError(
            "features hold NaN or infinite numbers; expected finite ones, of a network that did not diverge"
        )
    unit = torch.nn.functional.normalize(features.double(), dim=1)  # (N, D)
    mean, total = unit.mean(dim=0), torch.zeros_like(unit[0])  # (D,)
    chosen: list[int] = []
    for k in range(1, n + 1):
        far = (mean - (unit + total) / k).norm(dim=1)  # (N,)
        far[chosen] = torch.inf
        chosen.append(int(far.argmin()))
        total = total + unit[chosen[-1]]
    return torch.tensor(chosen, device=features.device)


def selected(
    images: Tensor,
    labels: Tensor,
    per_class: int,
    how: str = "random",
    *,
    features: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose a few real images of each class: what condensed ones of as many bytes are to be compared with.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) integers.
        per_class: how many of each.
        how: "random", or "herding", which `features` are needed for.
        features: (N, D) of the images, under a trained network.
        generator: of "random", on the CPU; default torch's own.

    Returns:
        Images (M, C, H, W) uint8 and labels (M,), class after class.

    Raises:
        ValueError: as `rows_of_classes`, or if `how` is something else, or there are no features.
    """
    if how not in ("random", "herding"):
        raise ValueError(f"how is {how!r}; expected 'random' or 'herding'")
    if how == "herding" and (features is None or len(features) != len(images)):
        raise ValueError("herding needs features=, a row for each image, such as csd.models.embed(network, images)[0]")
    chosen = []
    for of_class in rows_of_classes(images, labels, per_class).values():
        if features is not None and how == "herding":
            places = herd(features.to(of_class.device)[of_class], per_class)
        else:
            places = torch.randperm(len(of_class), generator=generator, device="cpu")[:per_class].to(of_class.device)
        chosen.append(of_class[places])
    rows = torch.cat(chosen)
    return images[rows], labels.to(rows.device)[rows]


def check_epoch(per_epoch: int, setting: Setting) -> None:
    """Raise a ValueError if the images of an epoch take more bytes than the device has memory."""
    each, room = math.prod(setting.image_shape), memory_bytes(setting.device)
    if per_epoch * each > room:
        raise ValueError(
            f"per_epoch is {per_epoch:,}, and so many images of {each:,} bytes don't fit into memory; expected at most "
            f"{room // each:,}, such as 500"
        )


@dataclass
class RandomImages(KitMethod):
    """Keep a few random images of each class, and train a new network on those alone whenever a task has come.

    Nothing else is carried over: what such a network knows, it knows from those images. The methods that choose or make
    them in another way differ from this one in the images alone.

    Attributes:
        per_class: images kept of each class. In `gdumb` a fixed number of images is shared among the classes that have
            come, so that the share shrinks; in the end the two hold the same.
        per_epoch: about how many images an epoch goes over: the few come again and again, with other crops.

    Source: Prabhu, Torr & Dokania, "GDumb", ECCV 2020, with cross-entropy alone as there.
    """

    __name__ = "random_images"
    fresh_network = True
    card = Card(
        title="Random images of each class",
        sentence="Keep a few random images of each class, and train a new network on those alone in each task.",
        source="Prabhu et al. 2020",
        control="what images that are chosen or learnt add to any others",
        look=Look("#0072B2", "star-square", "dash"),
    )

    per_class: int = 10
    per_epoch: int = 500

    def begin(self, setting: Setting) -> None:
        arguments.whole("per_class", self.per_class, least=1)
        check_epoch(arguments.whole("per_epoch", self.per_epoch, least=1), setting)
        for task, (n_classes, n_images) in enumerate(zip(setting.sizes, setting.n_images, strict=True)):
            if n_classes * self.per_class > n_images:
                raise ValueError(
                    f"per_class is {self.per_class}, but task {task} has {n_images} training images of {n_classes} "
                    f"classes; expected at most {n_images // n_classes}"
                )
        least = min(setting.n_of_class, default=self.per_class)
        if least < self.per_class:
            rare = setting.n_of_class.index(least)
            name = f" ({setting.classes[rare]!r})" if setting.classes else ""
            raise ValueError(
                f"per_class is {self.per_class}, but class {rare}{name} has {least or 'no'} training images; expected "
                f"at most {least}, or more images of it"
            )
        self.memory = Memory(self.per_class * setting.n_classes)  # never more are offered: it keeps all

    def choose(self, images: Tensor, labels: Tensor) -> Chosen:
        """Yield records, and return the images (M, C, H, W) uint8 and labels (M,) to keep of a task's."""
        yield from ()
        return selected(images, labels, self.per_class)

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> Generator[dict[str, Any]]:
        kept, of = yield from self.choose(images, labels)
        self.memory.add(images=kept, labels=of)
        yield {"kept": len(self.memory)}

    def training_images(self, task: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory, as often as an epoch has room for it, at least once."""
        kept, of = self.memory.rows["images"], self.memory.rows["labels"]
        times = max(1, self.per_epoch // len(of))
        return kept.repeat(times, 1, 1, 1), of.repeat(times)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        return {"ce": losses.cross_entropy(step.logits, step.labels)}


random_images = RandomImages()
