"""What a smaller image keeps: blocks of pixels by their mean, enlarged again where a network looks at them.

A memory of so many bytes holds four times as many images of half the side: more of them, each with less in it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from csd_edu.arguments import check_tensors, flag, whole
from csd_edu.data import Dataset

MANY = 1000
"""Images that are shrunk at a time: their pixels take four bytes each meanwhile."""


def shrink(images: Tensor, side: int) -> Tensor:
    """Return images as they are stored small: each block of pixels by its mean, rounded (a half up).

    The code released with the thesis (arXiv 2301.01033) takes PIL's bilinear filter, which looks beyond the block.

    Args:
        images: (B, C, H, H) uint8.
        side: of the small images, in pixels; H is a multiple of it.

    Returns:
        (B, C, side, side) uint8, on their device; of images of that side a copy.

    Raises:
        ValueError: if the images are no such tensor, are not square, or can't be divided into so many blocks; says
            which sides they can have.
    """
    height, width = _checked(images)
    side = check_side(side, height, width)
    return torch.cat([_block_means(some, height // side) for some in images.split(MANY)])


def enlarge(images: Tensor, side: int) -> Tensor:
    """Return small images at the size that a network looks at: each pixel becomes a block of its colour.

    Shrunk again they are the same bytes.

    Args:
        images: (B, C, S, S) uint8.
        side: of the large images, in pixels, a multiple of S.

    Returns:
        (B, C, side, side) uint8, on their device; of images of that side a copy.

    Raises:
        ValueError: if the images are no such tensor, are not square, or the side is no multiple of theirs.
    """
    height, width = _checked(images)
    side = whole("side", side, least=1)
    if height != width or side % height:
        raise ValueError(
            f"side is {side}, but the images are {height}×{width}; expected square images, and a multiple of their side"
            + f", such as {height} or {2 * height}" * (height == width)
        )
    k = side // height
    return images.repeat_interleave(k, dim=2).repeat_interleave(k, dim=3)  # (B, C, side, side)


def image_bytes(side: int, channels: int) -> int:
    """Return how many bytes an image of side × side pixels takes: one for each pixel and channel, without its label.

    Args:
        side: in pixels.
        channels: 1 for grey, 3 for RGB.
    """
    return whole("side", side, least=1) ** 2 * whole("channels", channels, least=1)


def check_side(side: int, height: int, width: int) -> int:
    """Return the side that images of height × width pixels are to be shrunk to as an int.

    Raises:
        ValueError: if they are not square, or it does not divide theirs; says which sides do.
    """
    side = whole("side", side, least=1)
    if height != width:
        raise ValueError(
            f"side is {side}, but the images are {height}×{width}; expected square images, such as those of "
            "csd.load(…, image_size=32)"
        )
    sides = [n for n in range(1, height + 1) if height % n == 0]
    if side not in sides:
        raise ValueError(
            f"side is {side}, but the images are {height}×{width}; expected one of {', '.join(map(str, sides))}, which "
            "divide them into equal blocks"
        )
    return side


def small_dataset(dataset: Dataset, side: int, *, test_only: bool = False) -> Dataset:
    """Return a dataset whose images have only what side × side pixels keep, at the size that they had.

    Whatever crops and flips come, come afterwards: no image that is trained on has seen more than was kept.

    Args:
        dataset: of square images.
        side: what they are shrunk to, in pixels, before they are enlarged again.
        test_only: leave the training images as they are, for a method that shrinks them itself.

    Returns:
        The dataset with another name and fingerprint; with its own side it is as it was.

    Raises:
        ValueError: if it is none, its images are not square, or can't be divided into so many blocks.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(f"dataset is {dataset!r:.60}; expected one that csd.load returns")
    test_only = flag("test_only", test_only)
    _, height, width = dataset.image_shape
    side = check_side(side, height, width)
    if side == height:
        return dataset
    x_train, x_test = (enlarge(shrink(images, side), height) for images in (dataset.x_train, dataset.x_test))
    name = f"{dataset.name} {'tested ' * test_only}at {side}×{side}"
    return replace(dataset, name=name, x_train=dataset.x_train if test_only else x_train, x_test=x_test)


def _block_means(images: Tensor, k: int) -> Tensor:
    """Return the mean of each block of k × k pixels; in whole numbers, so that every device rounds alike."""
    side = images.shape[-1] // k
    blocks = images.unflatten(3, (side, k)).unflatten(2, (side, k))  # (B, C, side, k, side, k)
    total: Tensor = blocks.sum(dim=(3, 5), dtype=torch.int32)  # (B, C, side, side)
    return (total + k * k // 2).div(k * k, rounding_mode="floor").to(torch.uint8)


def _checked(images: Tensor) -> tuple[int, int]:
    """Return the height and width of images if they are a batch of bytes."""
    check_tensors(images=images)
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected (B, C, H, W) uint8")
    return images.shape[2], images.shape[3]
