"""Training images that stay on the device as uint8, cropped and flipped a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu.tasks import Images


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
        self.height, self.width = data.images.shape[-2:]
        # Padded while still uint8: black borders, as the published recipe pads before it normalises.
        self.padded = F.pad(data.images.to(device), (crop_padding,) * 4)  # (N, C, H + 2p, W + 2p)
        self.labels = data.labels.to(device)  # (N,)
        self.n_offsets = 2 * crop_padding + 1
        self.flip = flip
        self.n_batches = math.ceil(len(data.labels) / batch_size)

    def __len__(self) -> int:
        return self.n_batches

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W) uint8 and labels (B,), every image once, in an order drawn from the generator."""
        n, device = len(self.labels), self.labels.device
        # Drawn for the whole epoch at once, on the CPU: the same numbers for every device, and no waiting in a step.
        order = torch.randperm(n, generator=generator).to(device)
        top, left = torch.randint(self.n_offsets, (2, n), generator=generator).to(device)
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(device) & self.flip

        windows = self.padded.unfold(2, self.height, 1).unfold(3, self.width, 1)  # a view (N, C, 2p+1, 2p+1, H, W)
        for rows in order.tensor_split(self.n_batches):
            images = windows[rows, :, top[rows], left[rows]]  # (B, C, H, W)
            if self.flip:
                images = torch.where(mirrored[rows, None, None, None], images.flip(-1), images)
            yield images, self.labels[rows]
