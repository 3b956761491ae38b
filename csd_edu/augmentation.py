"""Changes of images through which a gradient passes: drawn once, they change real and learnt images in the same way.

All work on normalised images (B, C, H, W), where 0 is the mean colour, which also fills what comes in from outside.
Numbers have one row for all images, or one for each: shape (1,) or (B,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("colour", "crop", "cutout", "flip", "scale", "rotate")
"""Of which one is drawn, each as likely as another."""

BRIGHTNESS = 1.0  # width of the range of what is added, in standard deviations
SATURATION = 2.0  # the most
CONTRAST = 0.5  # the least; the most is 1 more
SHIFT = 0.125  # of a side
CUT = 0.5  # of a side
SCALE = 1.2  # the most; the least is 1 / 1.2
ANGLE = 15.0  # degrees


def colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Return images with other colours.

    Args:
        images: (B, C, H, W) floats.
        brightness: (1,) or (B,), which is added.
        saturation: (1,) or (B,), by which each pixel's distance from its grey, the mean of its channels, is multiplied.
        contrast: (1,) or (B,), by which the distance from the image's mean is multiplied.

    Returns:
        (B, C, H, W).
    """
    brightness, saturation, contrast = (x.view(-1, 1, 1, 1) for x in (brightness, saturation, contrast))
    images = images + brightness
    grey = images.mean(dim=1, keepdim=True)  # (B, 1, H, W)
    images = (images - grey) * saturation + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return (images - mean) * contrast + mean


def cutout(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return images with a window of half their sides at 0, as far as it lies within.

    Args:
        images: (B, C, H, W) floats.
        row, column: (1,) or (B,) whole numbers: the window begins half its size above and left of them.

    Returns:
        (B, C, H, W).
    """
    inside = []
    for side, middle in zip(images.shape[2:], (row, column), strict=True):
        size = _rounded(CUT * side)
        from_start = torch.arange(side, device=images.device) - (middle[:, None] - size // 2)  # (1 or B, side)
        inside.append((from_start >= 0) & (from_start < size))
    window = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (1 or B, 1, H, W)
    return images.masked_fill(window, 0.0)


def affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images whose pixel at (x, y) is what was at matrix · (x, y, 1); 0 where that is outside.

    Places run from −1 to 1, from edge to edge; between pixels it is interpolated. The gradient of this is a sum that a
    GPU adds up in any order, so that there its last digits differ from run to run.

    Args:
        images: (B, C, H, W) floats.
        matrix: (1, 2, 3) or (B, 2, 3).

    Returns:
        (B, C, H, W).
    """
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(images, grid, align_corners=False)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """One change, drawn: `change(images)` is the same change every time, of real and of learnt images.

    Attributes:
        kind: one of `KINDS`.
        numbers: (1, k) for all images, or (B, k) with a row for each. Of "colour" brightness, saturation and contrast;
            of "crop" how far down and right the crop lies, in pixels; of "cutout" the row and column of its middle; of
            "flip" 1 for mirrored, else 0; of "scale" height and width of what is seen, 1 as it is; of "rotate" radians.
    """

    kind: str
    numbers: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images (B, C, H, W) changed; a gradient passes."""
        numbers = self.numbers.to(images)  # (n, k)
        if self.kind == "colour":
            return colour(images, *numbers.unbind(1))
        if self.kind == "cutout":
            return cutout(images, *numbers.unbind(1))
        return affine(images, self._matrix(numbers, *images.shape[2:]))

    def _matrix(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """Return from where the images' pixels come, (n, 2, 3): first the row for x, then that for y."""
        matrix = torch.eye(2, 3, dtype=numbers.dtype, device=numbers.device).repeat(len(numbers), 1, 1)
        if self.kind == "crop":
            down, right = numbers.unbind(1)
            matrix[:, 0, 2], matrix[:, 1, 2] = 2 * right / width, 2 * down / height
        elif self.kind == "flip":
            matrix[:, 0, 0] = 1 - 2 * numbers[:, 0]
        elif self.kind == "scale":
            matrix[:, 1, 1], matrix[:, 0, 0] = numbers.unbind(1)
        else:
            cos, sin = numbers[:, 0].cos(), numbers[:, 0].sin()
            matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, -sin, sin, cos
        return matrix


def draw(
    height: int, width: int, n: int = 1, *, flip: bool = False, generator: torch.Generator | None = None
) -> Augmentation:
    """Draw one change of images, as the released code of DSA and DM does.

    Args:
        height, width: of the images.
        n: 1 for a change that is the same for all images, or their number, for one of the same kind for each.
        flip: mirroring is among the kinds; not for writing, where a mirrored sign is another sign.
        generator: on the CPU; default torch's own.

    Returns:
        The change.

    Source: Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021.
    """
    kinds = [kind for kind in KINDS if flip or kind != "flip"]
    kind = kinds[int(torch.randint(len(kinds), (), generator=generator, device="cpu"))]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator, device="cpu")

    def whole(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n,), generator=generator, device="cpu").float()

    if kind == "colour":
        ranges = (-BRIGHTNESS / 2, BRIGHTNESS / 2), (0, SATURATION), (CONTRAST, CONTRAST + 1)
        numbers = [uniform(low, high) for low, high in ranges]
    elif kind == "crop":
        numbers = [whole(-_rounded(SHIFT * side), _rounded(SHIFT * side)) for side in (height, width)]
    elif kind == "cutout":
        numbers = [whole(0, side - _rounded(CUT * side) % 2) for side in (height, width)]
    elif kind == "flip":
        numbers = [whole(0, 1)]
    elif kind == "scale":
        numbers = [uniform(1 / SCALE, SCALE) for _ in range(2)]
    else:
        numbers = [uniform(-math.radians(ANGLE), math.radians(ANGLE))]
    return Augmentation(kind, torch.stack(numbers, dim=1))


def _rounded(x: float) -> int:
    """Return the nearest whole number, a half upwards."""
    return int(x + 0.5)
