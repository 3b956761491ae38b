"""Exercises on a small memory: how many images it holds, what is left of a shrunk one, and who goes when it is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from csd_edu import small
from csd_edu.check.answers import Bytes, Number, Rows
from csd_edu.check.running import Case, Exercise, table


def images_that_fit(n_bytes: int, side: int, channels: int, label_bytes: int) -> int:
    return n_bytes // (side * side * channels + label_bytes)  # whole images only


def shrink(images: Tensor, side: int) -> Tensor:
    k = images.shape[-1] // side
    blocks: Tensor = images.float().unflatten(3, (side, k)).unflatten(2, (side, k))  # (B, C, side, k, side, k)
    return blocks.mean(dim=(3, 5)).round().to(torch.uint8)  # (B, C, side, side)


def kept_per_class(labels: list[int], size: int) -> list[int]:
    memory: list[int] = []  # the labels of the images that are kept
    for label in labels:
        kept = [memory.count(c) for c in range(max(labels) + 1)]
        if len(memory) >= size and kept[label] < max(kept):
            memory.remove(kept.index(max(kept)))  # one of the largest class goes
        if len(memory) < size:
            memory.append(label)
    return [memory.count(c) for c in range(max(labels) + 1)]


def _put_in_one_by_one(n_bytes: int, side: int, channels: int, label_bytes: int) -> int:
    """The same by filling the memory."""
    n, used = 0, 0
    while (used := used + small.image_bytes(side, channels) + label_bytes) <= n_bytes:
        n += 1
    return n


IMAGES_THAT_FIT = Exercise(
    images_that_fit,
    title="How many images fit",
    doc="""Check f(n_bytes, side, channels, label_bytes) -> int, how many images fit into a memory, each with its label.

    A pixel takes a byte in each channel (uint8), a label label_bytes.
    """,
    truth=_put_in_one_by_one,
    answer=Number(),
    cases=(
        Case("colour, 32×32, room for just one", 3072, 32, 3, 0),
        Case("the same bytes, 8×8", 3072, 8, 3, 0),
        Case("grey, 16×16, with labels of 8 bytes", 2640, 16, 1, 8),
        Case("grey, 8×8, with labels of 8 bytes", 2640, 8, 1, 8),
        Case("grey, 4×4, with labels of 1 byte", 2640, 4, 1, 1),
        Case("colour, 4×4, with labels of 1 byte", 1000, 4, 3, 1),
        Case("one byte less than two images need", 489, 9, 3, 2),
        Case("room for none", 100, 32, 3, 1),
    ),
    mistakes=table("""
    channels forgotten | * channels =>
        You count one byte for each pixel, whatever its channels. A colour image has three numbers for each: side · side
        · channels bytes.
    side not squared | side * side => side
        You count one row of pixels. An image has side · side of them, so half the side takes a quarter of the bytes.
    four bytes a number, as of float32 | (side => (4 * side
        You count four bytes for each number. That is float32, which networks compute with; images are stored as uint8,
        one byte.
    bits instead of bytes | (side => (8 * side
        You count eight for each number. A uint8 has eight bits, which are one byte, and the room is given in bytes.
    labels forgotten | + label_bytes =>
        You forget the labels. Each image keeps its own, of label_bytes: little beside 3,072 bytes, but not beside 4.
    a label for each pixel | channels + label_bytes => (channels + label_bytes)
        You count the label once for each pixel. An image has one label: add its bytes after multiplying.
    a single label | n_bytes // => (n_bytes - label_bytes) // | + label_bytes =>
        You count a single label for the whole memory. Each image has one: its bytes belong to those of an image.
    rounded up | n_bytes // ( => -(-n_bytes // ( | label_bytes) => label_bytes))
        You round up: the last image does not fit any more, and the memory takes more bytes than it may. Whole images
        only: round down.
    rounded to the nearest | return n_bytes // ( => return round(n_bytes / ( | label_bytes) => label_bytes))
        You round to the nearest. Half an image more is rounded up with you, and takes more bytes than there are: round
        down, with //.
    a part of an image | // => /
        You return a number with a decimal point. The memory holds whole images: round down, with //.
    channels squared | side * side * channels => (side * channels) ** 2
        You square the channels as well. Only the side is there twice: side · side · channels.
    what is left over | // => %
        You return how many bytes are left over. Asked for is how many images fit: // instead of %.
    """),
    hints=(
        "How many numbers has an image of side × side pixels in so many channels? As uint8 each takes one byte.",
        "Add its label. Then divide the bytes of the memory by the bytes of one image with its label.",
        "Only whole images fit: // divides and rounds down.",
    ),
    tested="pixels, channels and labels, colour and grey, whole images, no byte more than there is, room for none",
)


def _no_halves(n: int, channels: int, height: int, side: int, seed: int) -> tuple[Tensor, int]:
    """Random images whose blocks have no mean of just a half: however that is rounded, it is right."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 255, (n, channels, height, height), generator=generator, dtype=torch.uint8)
    k = height // side
    total = images.unflatten(3, (side, k)).unflatten(2, (side, k)).sum(dim=(3, 5))  # (n, channels, side, side)
    images[:, :, ::k, ::k] += ((total % (k * k)) * 2 == k * k).to(torch.uint8)
    return images, side


_BY_HAND = torch.tensor([[[[10, 20, 200, 255], [30, 41, 250, 255], [0, 3, 90, 90], [1, 1, 90, 94]]]]).to(torch.uint8)

SHRINK = Exercise(
    shrink,
    title="Shrink images by the mean of blocks",
    doc="""Check f(images (B, C, H, H) uint8, side) -> (B, C, side, side) uint8; H is a multiple of side.

    Each pixel is the mean of a block of pixels, rounded.
    """,
    truth=small.shrink,
    answer=Bytes(),
    cases=(
        Case("a grey image of 4×4, to 2×2", _BY_HAND, 2),
        Case("a colour image of 6×6, to 2×2", *_no_halves(1, 3, 6, 2, 0)),
        Case("three colour images of 8×8, to 4×4", *_no_halves(3, 3, 8, 4, 1)),
        Case("two grey images of 8×8, to 2×2", *_no_halves(2, 1, 8, 2, 2)),
        Case("six grey images of 4×4, to 2×2", *_no_halves(6, 1, 4, 2, 6)),
        Case("two colour images of 9×9, to 3×3", *_no_halves(2, 3, 9, 3, 3)),
        Case("a colour image, to a single pixel", *_no_halves(1, 3, 4, 1, 4)),
        Case("the side that they have", *_no_halves(2, 3, 3, 3, 5)),
    ),
    mistakes=table("""
    every k-th pixel | blocks.mean(dim=(3, 5)) => blocks[:, :, :, 0, :, 0]
        You keep every k-th pixel and throw the others away. What falls between them is lost, and thin lines come and
        go: take the mean of each block.
    the pixel in the middle | blocks.mean(dim=(3, 5)) => blocks[:, :, :, k // 2, :, k // 2]
        You keep one pixel of each block, the one in the middle (as "nearest" does). Its neighbours count as well: take
        the mean of the block.
    a corner cut out | blocks.mean(dim=(3, 5)) => images[:, :, :side, :side].float()
        You cut a corner out of each image: sharp, but most of the image is not in it. Shrinking keeps the whole image,
        with fewer pixels.
    the middle cut out | blocks.mean(dim=(3, 5)) => images[:, :, a : a + side, a : a + side].float()
        | k = => a = (images.shape[-1] - side) // 2; k =
        You cut the middle out of each image. Shrinking keeps the whole image, with fewer pixels.
    the brightest pixel | mean => amax
        You take the brightest pixel of each block, as max pooling does. The image becomes brighter than it was: take
        the mean.
    cut off, not rounded | .round() =>
        You cut the digits off: .to(torch.uint8) turns 1.75 into 1, so that every image becomes darker by half a step.
        Round first.
    rounded up | round => ceil
        You round up, so that every image becomes brighter by half a step. Round to the nearest.
    added up as uint8 | blocks.mean(dim=(3, 5)).round() => (blocks.sum(dim=(3, 5)).remainder(256) / k**2).round()
        You add pixels up as uint8. A sum above 255 starts again at 0: make floats of them before you add.
    added up as uint8, and cut off | blocks.mean(dim=(3, 5)).round() => (blocks.sum(dim=(3, 5)).remainder(256) // k**2)
        You add pixels up as uint8, where a sum above 255 starts again at 0, and cut the digits off. Make floats first,
        and round at the end.
    pixels that lie apart | (3, (side, k)).unflatten(2, (side, k)) => (3, (k, side)).unflatten(2, (k, side))
        | (3, 5) => (2, 4)
        You take means of pixels that lie far apart: k and side are swapped in the reshaping. A row is side blocks of k
        pixels, so the k comes last: (side, k).
    only along the rows | mean(dim=(3, 5)) => mean(dim=5)[:, :, :, 0]
        You take means along the rows, and every k-th row of these. A block is k pixels wide *and* k high.
    only along the columns | mean(dim=(3, 5)) => mean(dim=3)[..., 0]
        You take means along the columns, and every k-th column of these. A block is k pixels high *and* k wide.
    without colour | mean(dim=(3, 5))
        => mean(dim=(1, 3, 5), keepdim=True)[:, :, :, 0, :, 0].expand(-1, images.shape[1], -1, -1)
        You take the mean of the colours, too: what comes out is grey. Each channel is shrunk by itself.
    the mean of all images | mean(dim=(3, 5))
        => mean(dim=(0, 3, 5), keepdim=True)[:, :, :, 0, :, 0].expand(len(images), -1, -1, -1)
        You take the mean over the batch. Each image is shrunk by itself.
    """),
    hints=(
        "Blocks of how many pixels? k = images.shape[-1] // side. Each pixel of the small image is the mean of k · k "
        "pixels.",
        "images.float() first: uint8 has no mean, and may start again at 0 above 255. Then .reshape(B, C, side, k, "
        "side, k) has the block's row, the pixel's row in it, the block's column, and the pixel's column in it.",
        "The mean over the two k, .mean(dim=(3, 5)), then .round().to(torch.uint8). F.avg_pool2d(images.float(), k) "
        "takes the same mean.",
    ),
    tested="blocks of two, three and four pixels, colour and grey, rounding, bytes that overflow, one pixel, no change",
)


def _one_at_a_time(labels: Sequence[int], size: int) -> list[int]:
    """The same by counts alone."""
    kept = Counter(labels[:size])
    for label in labels[size:]:
        largest = min(kept, key=lambda c: (-kept[c], c))
        if kept[label] < kept[largest]:
            kept[largest] -= 1
            kept[label] += 1
    return [kept[c] for c in range(max(labels) + 1)]


def _newest(labels: Sequence[int], size: int) -> list[int]:
    return [labels[-size:].count(c) for c in range(max(labels) + 1)]


def _shares(labels: Sequence[int], size: int) -> list[int]:
    share = size // len(set(labels))
    return [min(labels.count(c), share) for c in range(max(labels) + 1)]


def _same_for_all(labels: Sequence[int], size: int) -> list[int]:
    return [size // (max(labels) + 1)] * (max(labels) + 1)


def _in_and_out(labels: Sequence[int], size: int) -> list[int]:
    kept = [0] * (max(labels) + 1)
    for label in labels:
        kept[label] += 1
        if sum(kept) > size:
            kept[kept.index(max(kept))] -= 1
    return kept


KEPT_PER_CLASS = Exercise(
    kept_per_class,
    title="A balanced memory",
    doc="""Check f(labels, size) -> list of how many images of each class, from 0 to max(labels), a memory holds.

    The labels of a stream, one image after the other. While there is room each is kept. Then one comes only if its
    class has fewer images than the largest class, one of which goes; of several largest it is the one of the lowest
    number.
    """,
    truth=_one_at_a_time,
    answer=Rows(),
    cases=(
        Case("there is room for all", [0, 1, 0], 5),
        Case("the memory is full when class 1 comes", [0, 0, 0, 0, 1], 4),
        Case("as many of class 1 come as of class 0", [0, 0, 0, 0, 1, 1, 1, 1], 4),
        Case("three classes, one after the other", [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], 6),
        Case("two equally large classes, and a third one comes", [0, 0, 0, 1, 1, 1, 2], 4),
        Case("a class that had only one image", [0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2], 8),
        Case("an odd number of places for two classes", [0, 0, 0, 0, 1, 1, 1, 1], 5),
        Case("the class of the highest number comes first", [1, 1, 1, 1, 0, 0, 0], 4),
        Case("the memory is full of class 1 when class 0 comes", [1, 1, 1, 0, 0, 0], 3),
        Case("no image of class 1", [0, 0, 2, 2], 3),
        Case("classes in no order", [2, 0, 2, 2, 1, 2, 0, 0, 1, 1, 0, 3], 5),
    ),
    mistakes=table("""
    first come, first served | kept[label] < max(kept) => False
        Once your memory is full, nobody comes in. Then it knows the first classes only: one of the largest class has to
        make room for the new ones.
    the oldest goes | _newest
        You keep the newest images. After a few tasks no image of the first one is left, and forgetting is what the
        memory is against. One of the *largest* class goes.
    grows for ever | if len(memory) >= size and kept[label] < max(kept): => if False: | len(memory) < size => True
        Your memory keeps everything. It has room for `size` images: when it is full, one must go for each that comes.
    one comes, but none goes | memory.remove(kept.index(max(kept))) => memory.append(label)
        Your memory grows beyond its size: for each image that comes in when it is full, one of the largest class has to
        go.
    one goes in any case | and kept[label] < max(kept) =>
        With you an image comes in although its class is as large as any, and takes the place of another class. Such an
        image stays outside: the balance would get worse.
    one of the smallest class goes | index(max(kept)) => index(min(n for n in kept if n > 0))
        You take an image from the smallest class. Then the rare classes vanish: the largest one can spare an image.
    the largest with the highest number gives
        | kept.index(max(kept)) => max(c for c, n in enumerate(kept) if n == max(kept))
        Of several largest classes you take the one with the highest number. Here it is the one with the lowest, so that
        there is one right answer.
    a new class gets one place only | kept[label] < max(kept) => kept[label] == 0
        With you a class that came late gets one place, and no more. It goes on getting places until no class has more
        than it.
    two behind the largest | kept[label] < max(kept) => kept[label] < max(kept) - 1
        With you an image comes in only if its class is two or more behind the largest. Fewer than the largest is
        enough.
    up to an equal share only | kept[label] < max(kept) => kept[label] < size / len(set(memory))
        You stop at the equal share, size divided by the classes so far (as in the paper's algorithm). Where a class had
        few images, its places are free for the others: ask whether a class is smaller than the largest.
    first in, then one out | _in_and_out
        You let each image in, and then take one of the largest class out, which may be the class of the new one. Ask
        before it comes in: does its class have fewer images than the largest?
    shares worked out at the end | _shares
        You give each class size // (number of classes), or what it had. Places are left empty like that, and a stream
        does not say beforehand how many classes will come: go through it image by image.
    equal shares, whatever came | _same_for_all
        You give all classes the same number. A class of which fewer images came can't have as many, and while there is
        room all are kept: go through the stream image by image.
    """),
    hints=(
        "Keep a list of labels, the memory, and go through the stream. While len(memory) < size, append each.",
        "If the memory is full, count: kept = [memory.count(c) for c in range(max(labels) + 1)]. Is kept[label] less "
        "than max(kept)?",
        "Then one of the largest class goes, memory.remove(kept.index(max(kept))) (index finds the first), and the new "
        "label is appended.",
    ),
    tested="room for all, a full memory, classes that come late or are rare, ties, classes in any order",
)
