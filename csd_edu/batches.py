"""Training images that stay on the device as uint8, cropped and flipped a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.tasks import Images


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the images of a task."""

    images: Tensor  # (B, C, H, W) uint8, cropped and flipped
    labels: Tensor  # (B,) int64
    index: Tensor  # (B,) int64, which of the task's images
    raw: Tensor  # (B, C, H, W) uint8, as they are


class Batches:
    """The images of a task, ready to be drawn from.

    Args:
        data: images (N, C, H, W) uint8 and labels (N,).
        batch_size: the most images in a batch; the batches of an epoch are equally large, give or take one.
        crop_padding: zero pixels around each image before it is cropped back at random.
        flip: mirror half of the images left to right.
        device: where the images stay.
    """

    def __init__(self, data: Images, *, batch_size: int, crop_padding: int, flip: bool, device: torch.device) -> None:
        self.crop_padding, self.flip = crop_padding, flip
        height, width = data.images.shape[-2:]
        self.padded = self._pad(data.images.to(device))  # (N, C, H + 2p, W + 2p)
        self.images = self.padded[..., crop_padding:, crop_padding:][..., :height, :width]  # a view (N, C, H, W)
        self.labels = data.labels.to(device)  # (N,)
        self.n_batches = math.ceil(len(data.labels) / batch_size)

    def __len__(self) -> int:
        return self.n_batches

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield every image once, in an order, with crops and flips, drawn from the generator."""
        device = self.labels.device
        # Drawn for the whole epoch at once, on the CPU: the same numbers for every device, and no waiting in a step.
        order = torch.randperm(len(self.labels), generator=generator).to(device)
        top, left, mirrored = self._draw(len(self.labels), generator)
        for rows in order.tensor_split(self.n_batches):
            images = self._cut(self.padded, rows, top[rows], left[rows], mirrored[rows])
            yield Batch(images, self.labels[rows], rows, self.images[rows])

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
