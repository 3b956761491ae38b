"""Networks by name, the CIFAR ResNets (He et al. 2016, section 4.2) and ConvNets, and the head that grows with tasks.

images (B, C, H, W) ──> normalise ──> backbone ──> features (B, D) ──> head ──> logits (B, n_classes)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csd_edu import arguments
from csd_edu.runtime import usual_torch

DEPTHS = (8, 14, 20, 32, 44, 56)
WIDTHS = (16, 32, 64)  # channels of the three stages
CONVNET_WIDTHS = (32, 64, 128)  # channels; 128 in the literature
GRID = 4  # what three halvings leave of 32 pixels
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


class Backbone(nn.Module):
    """A network without its classifier: `backbone(x, names)` returns features (B, dim), and what it shows by name.

    Attributes:
        dim: the numbers in a feature.
        shows: the names of what it can show besides the features.
    """

    dim: int
    shows: tuple[str, ...]


class ResNet(Backbone):
    """A CIFAR ResNet without its classifier: images to 64-d features.

    It shows "stage1" (B, 16, H, W), "stage2" (B, 32, H/2, W/2) and "stage3" (B, 64, H/4, W/4), the maps after each
    stage's last ReLU.

    Args:
        depth: one of 8, 14, 20, 32, 44, 56 (6n + 2 layers).
        in_channels: 1 (grey) or 3 (colour).
    """

    dim = WIDTHS[-1]
    shows = ("stage1", "stage2", "stage3")

    def __init__(self, depth: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth}; expected one of {', '.join(map(str, DEPTHS))}")
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
        self.blocks_per_stage = blocks_per_stage

    def forward(self, x: Tensor, names: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features (B, 64) of normalised images (B, C, H, W), and the maps of these names."""
        shown = {}
        x = F.relu(self.bn1(self.conv1(x)))
        for n, block in enumerate(self.blocks, start=1):
            x = block(x)
            stage, within = divmod(n, self.blocks_per_stage)
            if within == 0 and f"stage{stage}" in names:
                shown[f"stage{stage}"] = x
        return x.mean(dim=(2, 3)), shown  # x is (B, 64, H/4, W/4) here


class ConvNet(Backbone):
    """The ConvNet of the literature on condensing: three times convolution, instance norm, ReLU and average pooling.

    It shows "map" (B, width, H/8, W/8), the map after the last pooling. Its features are that map, row by row, as in
    the literature. There images have 32 pixels; here `dim` must not depend on their size, so maps of other sizes are
    averaged, or their pixels repeated, to the same 4 × 4 places.

    Args:
        width: channels of each convolution, one of 32, 64, 128.
        in_channels: 1 (grey) or 3 (colour).

    Source: Gidaris & Komodakis, CVPR 2018, as Zhao, Mopuri & Bilen, ICLR 2021, use it.
    """

    shows = ("map",)

    def __init__(self, width: int = 128, in_channels: int = 3) -> None:
        super().__init__()
        if width not in CONVNET_WIDTHS:
            raise ValueError(f"width is {width}; expected one of {', '.join(map(str, CONVNET_WIDTHS))}")
        self.dim = width * GRID**2
        channels = (in_channels, width, width)
        # Without bias: the norm would take it away again.
        self.convs = nn.ModuleList(nn.Conv2d(n, width, 3, padding=1, bias=False) for n in channels)
        self.norms = nn.ModuleList(nn.GroupNorm(width, width) for _ in channels)  # a group of its own for each channel

    def forward(self, x: Tensor, names: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features (B, 16 · width) of normalised images (B, C, H, W), and the map if it is asked for."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.avg_pool2d(F.relu(norm(conv(x))), 2)  # (B, width, H/2, W/2), a half pixel is dropped
        shown = {"map": x} if "map" in names else {}
        if x.shape[2:] != (GRID, GRID):
            x = F.adaptive_avg_pool2d(x, GRID)
        return x.flatten(1), shown  # x is (B, width, 4, 4) here


class GrowingHead(nn.Module):
    """A classifier without bias whose rows are L2-normalised, so no class wins by the length of its weights."""

    weight: Tensor  # (n_classes, D)

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, n_features))

    def grow(self, n_new: int, generator: torch.Generator) -> None:
        """Add `n_new` classes with random rows; the rows of the old classes stay as they are."""
        n_features = self.weight.shape[1]
        bound = n_features**-0.5  # as torch initialises a linear layer
        new = torch.empty(n_new, n_features).uniform_(-bound, bound, generator=generator)  # (n_new, D)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), new.to(self.weight.device)]))

    def forget(self) -> None:
        """Drop all classes."""
        self.weight = nn.Parameter(self.weight.detach()[:0].clone())

    def forward(self, features: Tensor) -> Tensor:  # (B, D) -> (B, n_classes)
        return F.linear(features, F.normalize(self.weight, dim=1))


class Network(nn.Module):
    """What is trained: pixel normalisation, backbone and growing head in one module that takes images.

    The pixel statistics are buffers, so saved weights are enough to embed an image later.

    Args:
        backbone: normalised images (B, C, H, W) to features (B, D).
        in_channels: 1 or 3.
        pixel_mean, pixel_std: (C,) in units of 0..1; default 0.5 and 0.25.

    Attributes:
        dim: D, the numbers in a feature.
        shows: the names of what `look` can show besides the features.
    """

    pixel_mean: Tensor  # (1, C, 1, 1)
    pixel_std: Tensor  # (1, C, 1, 1)

    def __init__(
        self,
        backbone: Backbone,
        in_channels: int = 3,
        pixel_mean: Tensor | None = None,
        pixel_std: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim, self.shows = backbone.dim, backbone.shows
        self.head = GrowingHead(self.dim)
        mean = torch.full((in_channels,), 0.5) if pixel_mean is None else pixel_mean
        std = torch.full((in_channels,), 0.25) if pixel_std is None else pixel_std
        self.register_buffer("pixel_mean", mean.view(1, in_channels, 1, 1).float())
        self.register_buffer("pixel_std", std.view(1, in_channels, 1, 1).float())

    def look(self, images: Tensor, *names: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features (B, D) of images, and what else the network shows under these names.

        Args:
            images: (B, C, H, W) uint8, or float in 0..1, through which a gradient passes.
            names: some of `shows`.

        Raises:
            ValueError: if the images have another type or shape, or there is nothing of that name.
        """
        channels = self.pixel_mean.shape[1]
        known_type = images.dtype == torch.uint8 or images.is_floating_point()
        if images.ndim != 4 or not known_type or images.shape[1] != channels:
            raise ValueError(
                f"images are {images.dtype} of shape {tuple(images.shape)}; expected uint8 of shape "
                f"(B, {channels}, H, W) with values 0 to 255, or float with values 0 to 1"
            )
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST_IMAGE:
            raise ValueError(
                f"images are {height}×{width} pixels; expected at least {SMALLEST_IMAGE}×{SMALLEST_IMAGE} "
                f"(load them with image_size={SMALLEST_IMAGE} or more)"
            )
        unknown = [name for name in names if name not in self.shows]
        if unknown:
            raise ValueError(f"this network shows no {unknown[0]!r}; expected some of {', '.join(self.shows)}")
        on_cpu = images.device.type == "cpu"  # elsewhere, looking at the values would wait for the device
        if images.is_floating_point() and on_cpu and images.numel() and float(images.detach().max()) > 2:
            raise ValueError(f"float images go up to {float(images.max()):g}; expected values from 0 to 1, or uint8")
        x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        x = (x - self.pixel_mean) / self.pixel_std
        features, shown = self.backbone(x.contiguous(memory_format=torch.channels_last), names)
        return features, shown

    def embed(self, images: Tensor) -> Tensor:
        """Return the features (B, D) of images (B, C, H, W), uint8, or float in 0..1."""
        return self.look(images)[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, n_classes) of images (B, C, H, W), uint8, or float in 0..1."""
        features = self.embed(images)
        return features, self.head(features)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in [name for name in state_dict if name.startswith(f"{prefix}resnet.")]:  # as runs of 0.1.0 have it
            state_dict[name.replace("resnet.", "backbone.", 1)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)


BACKBONES: dict[str, Callable[[int], Backbone]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS},
    **{f"convnet{width}": partial(ConvNet, width) for width in CONVNET_WIDTHS},
}
"""The backbones by name, each made from the number of input channels."""


@usual_torch()
def build(
    name: str,
    in_channels: int = 3,
    *,
    n_classes: int = 0,
    seed: int = 0,
    pixel_mean: Tensor | None = None,
    pixel_std: Tensor | None = None,
) -> Network:
    """Return a freshly initialised network of that name; the same seed gives the same weights.

    Args:
        name: one of `BACKBONES`, such as "resnet8", "resnet32" or "convnet32".
        in_channels: 1 (grey) or 3 (colour).
        n_classes: rows the head starts with; it can `grow` later.
        seed: of the initial weights.
        pixel_mean, pixel_std: (C,) in units of 0..1.

    Returns:
        A `Network` in channels-last memory format, on the CPU, in training mode.

    Raises:
        ValueError: if there is no network of that name, or in_channels is neither.
    """
    if not isinstance(name, str) or name not in BACKBONES:
        raise ValueError(f"network is {name!r}; expected one of {', '.join(BACKBONES)}")
    in_channels = arguments.whole("in_channels", in_channels)
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels is {in_channels}; expected 1 (grey) or 3 (colour)")
    n_classes = arguments.whole("n_classes", n_classes, least=0)
    seed = arguments.whole("seed", seed, least=0, most=2**64 - 1)
    # torch's layers draw their initial weights from the global generator: fork it, so that the caller's is untouched.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPU's too
        network = Network(BACKBONES[name](in_channels), in_channels, pixel_mean, pixel_std)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, as the CIFAR ResNets use
    network.head.grow(n_classes, torch.Generator().manual_seed(seed))
    return network.to(memory_format=torch.channels_last)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of uint8 images (N, C, H, W), in units of 0..1, on the CPU."""
    grey = torch.arange(256, dtype=torch.float64, device="cpu") / 255
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])]).to(
        "cpu", torch.float64
    )  # (C, 256)
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = share @ grey  # (C,)
    variance = share @ grey**2 - mean**2  # (C,)
    return mean, variance.clamp_min(1e-4).sqrt()


def rebuild(name: str, weights: dict[str, Tensor]) -> Network:
    """Return the network of that name that these saved weights belong to."""
    network = build(name, weights["pixel_mean"].shape[1], n_classes=len(weights["head.weight"]))
    network.load_state_dict(weights)
    return network


@usual_torch()
@torch.no_grad()
def embed(network: Network, images: Tensor, *, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Return what a network makes of images, in evaluation mode and float32.

    Args:
        network: any `Network`; its training mode is restored afterwards.
        images: (N, C, H, W) uint8.
        batch_size: images embedded at once.

    Returns:
        Features (N, D) and logits (N, n_classes), float32, on the CPU.
    """
    batch_size = arguments.whole("batch_size", batch_size, least=1)
    device = network.pixel_mean.device
    was_training = network.training
    network.eval()
    views = [network(batch.to(device)) for batch in images.split(batch_size)]
    network.train(was_training)
    features, logits = (torch.cat([view[part].cpu() for view in views]) for part in range(2))
    return features, logits
