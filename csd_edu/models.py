"""The CIFAR ResNets (He et al. 2016, section 4.2) and the classifier head that grows with the tasks.

images (B, C, H, W) uint8 ──> normalise ──> ResNet ──> features (B, 64) ──> head ──> logits (B, n_classes)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTHS = (8, 14, 20, 32, 44, 56)
WIDTHS = (16, 32, 64)  # channels of the three stages
FEATURE_DIM = WIDTHS[-1]
SMALLEST_IMAGE = 16  # pixels; two halvings leave 4 × 4


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a parameter-free shortcut (option A: every second pixel, new channels zero)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W) -> (B, out, H/stride, W/stride)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride > 1 or self.new_channels > 0:
            half = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
        return F.relu(out + x)


class ResNet(nn.Module):
    """A CIFAR ResNet without its classifier: images to 64-d features.

    Args:
        depth: one of 8, 14, 20, 32, 44, 56 (6n + 2 layers).
        in_channels: 1 (grey) or 3 (colour).
    """

    def __init__(self, depth: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        blocks_per_stage = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        blocks: list[nn.Module] = []
        channels = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for block in range(blocks_per_stage):
                blocks.append(BasicBlock(channels, width, stride=2 if stage > 0 and block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 64)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.blocks(x)  # (B, 64, H/4, W/4)
        return x.mean(dim=(2, 3))


class GrowingHead(nn.Module):
    """A classifier without bias whose rows are L2-normalised, so no class wins by the length of its weights."""

    weight: Tensor  # (n_classes, D)

    def __init__(self, n_features: int = FEATURE_DIM) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, n_features))

    def grow(self, n_new: int, generator: torch.Generator) -> None:
        """Add `n_new` classes with random rows; the rows of the old classes stay as they are."""
        n_features = self.weight.shape[1]
        bound = n_features**-0.5  # as torch initialises a linear layer
        new = torch.empty(n_new, n_features).uniform_(-bound, bound, generator=generator)  # (n_new, D)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), new.to(self.weight.device)]))

    def forward(self, features: Tensor) -> Tensor:  # (B, D) -> (B, n_classes)
        return F.linear(features, F.normalize(self.weight, dim=1))


class Network(nn.Module):
    """What is trained: pixel normalisation, ResNet and growing head in one module that takes uint8 images.

    The pixel statistics are buffers, so saved weights are enough to embed an image later.

    Args:
        depth: one of 8, 14, 20, 32, 44, 56.
        in_channels: 1 or 3.
        pixel_mean, pixel_std: (C,) in units of 0..1; default 0.5 and 0.25.

    Raises:
        ValueError: if depth or in_channels is none of those.
    """

    pixel_mean: Tensor  # (1, C, 1, 1)
    pixel_std: Tensor  # (1, C, 1, 1)

    def __init__(
        self,
        depth: int = 32,
        in_channels: int = 3,
        pixel_mean: Tensor | None = None,
        pixel_std: Tensor | None = None,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth}; expected one of {', '.join(map(str, DEPTHS))}")
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels is {in_channels}; expected 1 (grey) or 3 (colour)")
        self.resnet = ResNet(depth, in_channels)
        self.head = GrowingHead()
        mean = torch.full((in_channels,), 0.5) if pixel_mean is None else pixel_mean
        std = torch.full((in_channels,), 0.25) if pixel_std is None else pixel_std
        self.register_buffer("pixel_mean", mean.view(1, in_channels, 1, 1).float())
        self.register_buffer("pixel_std", std.view(1, in_channels, 1, 1).float())

    def embed(self, images: Tensor) -> Tensor:
        """Return the features (B, 64) of uint8 images (B, C, H, W)."""
        channels = self.pixel_mean.shape[1]
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] != channels:
            raise ValueError(
                f"images are {images.dtype} of shape {tuple(images.shape)}; "
                f"expected uint8 of shape (B, {channels}, H, W) with values 0 to 255"
            )
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST_IMAGE:
            raise ValueError(
                f"images are {height}×{width} pixels; expected at least {SMALLEST_IMAGE}×{SMALLEST_IMAGE} "
                f"(load them with image_size={SMALLEST_IMAGE} or more)"
            )
        x = (images.float() / 255 - self.pixel_mean) / self.pixel_std
        features: Tensor = self.resnet(x.contiguous(memory_format=torch.channels_last))
        return features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 64) and logits (B, n_classes) of uint8 images (B, C, H, W)."""
        features = self.embed(images)
        return features, self.head(features)


def resnet(
    depth: int = 32,
    in_channels: int = 3,
    *,
    n_classes: int = 0,
    seed: int = 0,
    pixel_mean: Tensor | None = None,
    pixel_std: Tensor | None = None,
) -> Network:
    """Return a freshly initialised network; the same seed gives the same weights.

    Args:
        depth: one of 8, 14, 20, 32, 44, 56.
        in_channels: 1 (grey) or 3 (colour).
        n_classes: rows the head starts with; it can `grow` later.
        seed: of the initial weights.
        pixel_mean, pixel_std: (C,) in units of 0..1.

    Returns:
        A `Network` in channels-last memory format, on the CPU, in training mode.

    Raises:
        ValueError: if depth or in_channels is not supported.
    """
    # torch's layers draw their initial weights from the global generator: fork it, so that the caller's is untouched.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPU's too
        network = Network(depth, in_channels, pixel_mean, pixel_std)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, as the CIFAR ResNets use
    network.head.grow(n_classes, torch.Generator().manual_seed(seed))
    return network.to(memory_format=torch.channels_last)
