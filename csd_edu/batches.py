"""Training images that stay on the device as uint8, cropped and flipped a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.tasks import Images


def in_epoch(n_labelled: int, n_unlabelled: int, batch_size: int) -> tuple[int, int, int]:
    """Return how many batches an epoch has, and how many images with and without a label come in it in all."""
    n_batches = math.ceil(max(n_labelled, n_unlabelled) / batch_size)
    n_drawn = n_labelled if n_labelled >= n_unlabelled else n_batches * min(batch_size, n_labelled)
    return n_batches, n_drawn, max(n_unlabelled, n_batches) if n_unlabelled else 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the images of a task."""

    images: Tensor  # (B, C, H, W) uint8, cropped and flipped
    labels: Tensor  # (B,) int64
    index: Tensor  # (B,) int64, which of the task's labelled images
    raw: Tensor  # (B, C, H, W) uint8, as they are
    unlabelled: Tensor | None = None  # (U, C, H, W) uint8, as they are, without labels


class Batches:
    """The images of a task, ready to be drawn from.

    Args:
        data: images (N, C, H, W) uint8 and labels (N,).
        unlabelled: (M, C, H, W) uint8 images without labels, or None. Of the two kinds an epoch goes once over the one
            that there is more of, and over the other as often as that takes: of the labelled ones there are as many in
            a batch as there are at all, up to `batch_size`; of the others, if they are too few, one.
        batch_size: the most images in a batch; the batches of an epoch are equally large, give or take one.
        crop_padding: zero pixels around each image before it is cropped back at random.
        flip: mirror half of the images left to right.
        device: where the images stay.
    """

    def __init__(
        self,
        data: Images,
        *,
        batch_size: int,
        crop_padding: int,
        flip: bool,
        device: torch.device,
        unlabelled: Tensor | None = None,
    ) -> None:
        self.crop_padding, self.flip = crop_padding, flip
        height, width = data.images.shape[-2:]
        self.padded = self._pad(data.images.to(device))  # (N, C, H + 2p, W + 2p)
        self.images = self.padded[..., crop_padding:, crop_padding:][..., :height, :width]  # a view (N, C, H, W)
        self.labels = data.labels.to(device)  # (N,)
        self.unlabelled = None if unlabelled is None else unlabelled.to(device)  # (M, C, H, W)
        n_unlabelled = 0 if unlabelled is None else len(unlabelled)
        self.n_batches, self.n_drawn, self.n_beside = in_epoch(len(data.labels), n_unlabelled, batch_size)
        self.n_images = self.n_drawn + self.n_beside

    def __len__(self) -> int:
        return self.n_batches

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the images in an order, with crops and flips, drawn from the generator: every labelled one once.

        Where there are more without a label, it is those that come once, and the labelled ones again and again.
        """
        device = self.labels.device
        # Drawn for the whole epoch at once, on the CPU: the same numbers for every device, and no waiting in a step.
        n = len(self.labels)
        order = _rounds(n, self.n_drawn, generator).to(device)  # n·k + row: the image once more, with another crop
        top, left, mirrored = self._draw(n * math.ceil(self.n_drawn / n), generator)
        others: Sequence[Tensor | None] = [None] * self.n_batches
        if self.unlabelled is not None:
            shuffled = (_rounds(len(self.unlabelled), self.n_beside, generator) % len(self.unlabelled)).to(device)
            others = [self.unlabelled[rows] for rows in shuffled.tensor_split(self.n_batches)]
        for drawn, unlabelled in zip(order.tensor_split(self.n_batches), others, strict=True):
            rows = drawn % n
            images = self._cut(self.padded, rows, top[drawn], left[drawn], mirrored[drawn])
            yield Batch(images, self.labels[rows], rows, self.images[rows], unlabelled)

    def augment(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) uint8, of this or another task, cropped and flipped anew, by torch's generator."""
        rows = torch.arange(len(images), device=images.device)
        return self._cut(self._pad(images), rows, *(drawn.to(images.device) for drawn in self._draw(len(images), None)))

    def _pad(self, images: Tensor) -> Tensor:
        """Pad images while they are still uint8: black borders, as the published recipe pads before it normalises."""
        return F.pad(images, (self.crop_padding,) * 4)

    def _draw(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return for n images where each crop begins, and whether it is mirrored."""
        device = self.labels.device
        top, left = torch.randint(2 * self.crop_padding + 1, (2, n), generator=generator).to(device)
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(device) & self.flip
        return top, left, mirrored

    def _cut(self, padded: Tensor, rows: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        height, width = (side - 2 * self.crop_padding for side in padded.shape[-2:])
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view (N, C, 2p+1, 2p+1, H, W)
        images = windows[rows, :, top, left]  # (B, C, H, W)
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images) if self.flip else images


def _rounds(n: int, n_drawn: int, generator: torch.Generator) -> Tensor:
    """Return (n_drawn,) numbers n·k + row: all n rows in a random order, and again in the round k = 1, 2, …"""
    rounds = [torch.randperm(n, generator=generator) + n * k for k in range(math.ceil(n_drawn / n))]
    return torch.cat(rounds)[:n_drawn]
