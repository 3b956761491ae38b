"""Glyphs: a procedural, Omniglot-like world of five invented alphabets; the kit's embedded dataset.

A class is a handful of quadratic Bézier strokes composed by its alphabet's grammar. A sample is that glyph
written once more: another hand, another pen, another ink on another paper. Colour says nothing about the class.

The same arguments give the same images everywhere, to a grey level: every number comes from a `RandomState`,
whose streams NumPy has frozen for good (NEP 19; those of a `Generator` may change), and all arithmetic is
float64. Each class and split has its own streams, so drawing more of one thing never changes another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Variation:
    """How much the samples of one class differ: the one place that sets how hard the dataset is.

    Lengths are in half-boxes (a glyph fills [-1, 1]²), angles in radians, lightness in [0, 1].
    A single number is the largest deviation either way; a pair is a range.
    """

    warp: float = 0.19  # a smooth displacement: strokes that were joined stay joined
    wobble: float = 0.09  # of each control point by itself
    rotation: float = 0.3
    shear: float = 0.3
    stretch: float = 0.2  # of each axis by itself
    scale: tuple[float, float] = (0.5, 0.76)  # of a half-box, in half images
    shift: float = 0.15  # in half images
    pen: tuple[float, float] = (0.75, 1.25)  # times the alphabet's
    contrast: tuple[float, float] = (0.36, 0.80)  # between the lightness of ink and paper
    chroma: tuple[float, float] = (0.2, 0.3)  # how far a paper, and an ink, may be from grey
    mottle: float = 0.06  # unevenness of paper and ink
    grain: float = 0.05  # noise of each pixel


@dataclass(frozen=True)
class Alphabet:
    """One culture's way of writing."""

    name: str
    grammar: Callable[[RandomState], Floats]  # draws a glyph: strokes (S, 3, 2) in [-1, 1]², y downwards
    pen: float  # stroke width in half images
    nib: float = 0.0  # 0: a round pen; towards 1: a broad nib, thin where it moves along its own angle
    nib_angle: float = 0.0


def _chain(points: Sequence[tuple[float, float]], bends: float | Sequence[float] = 0.0) -> Floats:
    """Strokes (S, 3, 2) from point to point; a bend moves a control point off its chord (0.5: a quarter circle)."""
    a, b = np.array(points[:-1], float), np.array(points[1:], float)  # (S, 2)
    normal = (b - a) @ np.array([[0, 1], [-1, 0]])
    return np.stack([a, (a + b) / 2 + np.reshape(bends, (-1, 1)) * normal, b], 1)


def _fit(*chains: Floats) -> Floats:
    """All strokes (S, 3, 2), centred in the box [-1, 1]² and as large as it allows."""
    strokes = np.concatenate(chains)
    low, high = strokes.min((0, 1)), strokes.max((0, 1))  # (2,)
    fitted: Floats = (2 * strokes - low - high) / (high - low).max()
    return fitted


def _thornik(random: RandomState) -> Floats:
    """Carved: an upright stem with slanting branches, some closed to a thorn."""
    x, slant = random.choice([-0.6, 0.0, 0.6]), random.choice([-0.5, 0.5])
    chains = [_chain([(x, -1), (x, 1)])]
    for level in random.permutation(4)[: random.randint(2, 4)]:
        y = (0.5 * level - 1) * np.sign(slant)
        side = -np.sign(x) or random.choice([-1, 1])
        branch = [(x, y), (x + 0.9 * side, y + slant), (x, y + 2 * slant)]
        chains.append(_chain(branch[: 3 if level < 3 and random.rand() < 0.4 else 2]))
    return _fit(*chains)


def _ooluma(random: RandomState) -> Floats:
    """Round: runs of quarter circles that curl in, or turn back and curl the other way."""
    start, ahead = np.zeros(2), np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[random.randint(4)]
    strokes = []
    for radius in random.permutation([1.0, 1.0, 0.5, 0.5])[: random.randint(2, 4)]:
        turn = random.choice([-1, 1]) * np.array([[0, -1], [1, 0]])  # (2, 2) a right angle
        for _ in range(random.randint(2, 4)):
            corner = start + radius * ahead
            ahead = turn @ ahead
            end = corner + radius * ahead
            strokes.append([start, corner, end])
            start = end
    return _fit(np.array(strokes))


def _lintara(random: RandomState) -> Floats:
    """Hung: a lintel across the top, often a post, and a body that swings below."""
    chains = [_chain([(-1, -0.85), (1, -0.85)])]
    if random.rand() < 0.75:
        post = random.choice([-0.85, 0.0, 0.85])
        chains.append(_chain([(post, -0.85), (post, 1)]))
    xs = random.permutation([-0.9, -0.4, 0.2, 0.7])
    ys = [-0.85, *np.sort(random.permutation([-0.3, 0.2, 0.6, 1.0])[: random.randint(2, 4)])]
    swing = random.choice([-0.6, 0.6])
    body = list(zip(xs, ys, strict=False))
    return _fit(*chains, _chain(body, [swing, -swing, swing][: len(body) - 1]))


def _zephirra(random: RandomState) -> Floats:
    """Swept: a bowl, a line or a belly; on it a mast, a tooth, a loop or a hook; dots above or below."""
    x, y = 0.3, 0.2
    bodies = (
        ([(-1, -0.2), (x, y)], 0.6),
        ([(-1, 0.2), (x, y)], 0.0),
        ([(-1, 1), (x, y)], 0.3),
        ([(x, y), (0.2, 1)], 2.2),
        ([(-1, 0.0), (-0.35, 0.1), (x, y)], 0.8),
    )
    heads = (
        ([(x, y), (x + 0.1, -1)], 0.0),
        ([(x, y), (0.55, -0.5), (1, 0.4)], -0.2),
        ([(x, y), (0.8, -0.5), (x, y)], 0.8),
        ([(x, y), (0.9, -0.1), (0.1, -0.9)], 0.45),
        ([(x, y), (x + 0.2, y - 0.6), (x + 0.35, y), (x + 0.6, y - 0.6)], 0.3),
    )
    level = random.choice([-0.8, 1.0])
    dots = [[(u - 0.12, level - 0.1), (u + 0.12, level + 0.1)] for u in (-0.6, -0.05, 0.5)]
    chains = [bodies[random.randint(5)], heads[random.randint(5)]]
    return _fit(*(_chain(*c) for c in chains), *(_chain(dot) for dot in dots[: random.choice([0, 1, 3])]))


_PARTS = (  # Quadrim's polylines in the unit square; the first five can hold another
    [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)],
    [(0, 0), (1, 0), (1, 1)],
    [(0, 0), (0, 1), (1, 1)],
    [(1, 0), (0, 0), (0, 1), (1, 1)],
    [(0, 1), (0, 0), (1, 0), (1, 1)],
    [(0, 0), (1, 0), (1, 0.5), (0, 0.5), (0, 1), (1, 1)],
    [(0, 0.5), (1, 0.5)],
    [(0.5, 0), (0.5, 1)],
)
_BLOCKS = (  # left, top, width and height of each of two parts that share a block
    ((0, 0, 0.4, 1), (0.6, 0, 0.4, 1)),
    ((0, 0, 1, 0.4), (0, 0.6, 1, 0.4)),
    ((0, 0, 1, 1), (0.32, 0.32, 0.36, 0.36)),
)


def _quadrim(random: RandomState) -> Floats:
    """Stamped: two square parts side by side, stacked, or one inside the other."""
    parts, chains = (_PARTS[random.randint(5)], _PARTS[random.randint(8)]), []
    for (left, top, width, height), part in zip(_BLOCKS[random.randint(3)], parts, strict=True):
        chains.append(_chain([(left + width * x, top + height * y) for x, y in part]))
    return _fit(*chains)


VARIATION = Variation()
ALPHABETS = (
    Alphabet("Thornik", _thornik, pen=0.11),
    Alphabet("Ooluma", _ooluma, pen=0.12),
    Alphabet("Lintara", _lintara, pen=0.15, nib=0.55, nib_angle=-0.8),
    Alphabet("Zephirra", _zephirra, pen=0.19, nib=0.75, nib_angle=-0.9),
    Alphabet("Quadrim", _quadrim, pen=0.16, nib=0.25),
)
_POINTS = 20  # along a stroke: so close that the splats of the thinnest pen run together
_CANDIDATES = 12  # drawn for each class; the one least like the alphabet's earlier glyphs is kept
_LIMITS = {  # lowest, highest, usual
    "seed": (0, 2**32 - 1, 0),
    "train_per_class": (1, 1000, 40),
    "test_per_class": (1, 1000, 20),
    "size": (16, 128, 32),
    "alphabets": (1, len(ALPHABETS), len(ALPHABETS)),
    "glyphs_per_alphabet": (1, 50, 20),
}


def _check(**arguments: int) -> None:
    for name, value in arguments.items():
        low, high, usual = _LIMITS[name]
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not (whole and low <= value <= high):
            raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}; try {name}={usual}")


def _draw(strokes: Floats, pen: Floats, style: Alphabet, size: int) -> Floats:
    """Ink in [0, 1] at each pixel, (N, H, W), of strokes (N, S, 3, 2) in half images by pens (N,)."""
    t = (np.arange(_POINTS)[:, None] + 0.5) / _POINTS  # (P, 1)
    a, b, c = (strokes[:, :, k, None] for k in range(3))  # (N, S, 1, 2)
    x, y = np.moveaxis((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c, -1, 0)  # (N, S, P)
    dx, dy = np.moveaxis(2 * (1 - t) * (b - a) + 2 * t * (c - b), -1, 0)  # (N, S, P)
    along_nib = np.cos(np.arctan2(dy, dx) - style.nib_angle) ** 2

    # A pen is a Gaussian dragged along its stroke: of density 1 on the line, and 1/2 where the ink is to end.
    sigma = pen[:, None, None] * (1 - style.nib * along_nib) / np.sqrt(8 * np.log(2))
    sigma = np.maximum(sigma, 0.03)  # half a pixel of 32: thinner strokes would break up
    dose = np.hypot(dx, dy) / _POINTS / (sigma * np.sqrt(2 * np.pi))

    x, y, sigma, dose = (array.reshape(len(strokes), -1, 1) for array in (x, y, sigma, dose))  # (N, SP, 1)
    pixel = (2 * np.arange(size) + 1) / size - 1  # (W,)
    sharpness = np.sqrt(0.5) / sigma
    splat_x = np.exp(-(((pixel - x) * sharpness) ** 2))  # (N, SP, W)
    splat_y = np.exp(-(((pixel - y) * sharpness) ** 2))  # (N, SP, H)
    density = (dose * splat_y).transpose(0, 2, 1) @ splat_x  # (N, H, W)
    steepness = (0.3 * size * pen)[:, None, None]  # makes the edge about a pixel wide
    edge: Floats = np.clip(0.5 + (density - 0.5) * steepness, 0, 1)
    return edge * edge * (3 - 2 * edge)


def _glyphs(seed: int, alphabet: int, count: int) -> list[Floats]:
    """The classes of an alphabet: `count` glyphs (S, 3, 2), each the least familiar of several candidates."""
    style, kept = ALPHABETS[alphabet], []
    seen = np.zeros((1, 16, 16))  # a blank page, and the glyphs kept, each in 25 places
    for index in range(count):
        random = RandomState([seed, 0, alphabet, index])
        candidates = [style.grammar(random) for _ in range(_CANDIDATES)]
        strokes = np.zeros((_CANDIDATES, max(map(len, candidates)), 3, 2))  # the rest have no length: no ink
        for row, candidate in zip(strokes, candidates, strict=True):
            row[: len(candidate)] = candidate
        views = _draw(0.7 * strokes, np.full(_CANDIDATES, 0.3), style, 16)  # a broad pen: likeness by degrees
        views -= views.mean((1, 2), keepdims=True)
        views /= np.sqrt((views**2).sum((1, 2), keepdims=True))
        likeness = np.einsum("khw,shw->ks", views, seen)  # (candidates, 1 + 25 index)
        # Rounded, because mirror images tie but for their last bits, which differ from processor to processor.
        best = likeness.max(1).round(6).argmin()
        kept.append(candidates[best])
        places = [np.roll(views[best], (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)]
        seen = np.concatenate([seen, places])
    return kept


def _uniform(count: int, columns: int, *key: int) -> Floats:
    """Random numbers in [-1, 1), (count, columns); a row does not depend on how many rows follow."""
    return RandomState(key).uniform(-1, 1, (count, columns))


def _between(low: float, high: float | Floats, u: Floats) -> Floats:
    """Numbers of [-1, 1) carried to [low, high)."""
    return low + (high - low) * (u + 1) / 2


def _write(glyph: Floats, pose: Floats, wobble: Floats) -> Floats:
    """The strokes of a glyph as N unsteady hands write them, (N, S, 3, 2) in half images."""
    v = VARIATION
    points = glyph + v.wobble * wobble.reshape(-1, *glyph.shape)  # (N, S, 3, 2)
    wave, phase = pose[:, None, None, :4].reshape(-1, 1, 1, 2, 2), np.pi * pose[:, None, None, 4:6]
    points = points + v.warp * np.sin(2.5 * (points[..., None, :] * wave).sum(-1) + phase)
    cos, sin, shear = np.cos(v.rotation * pose[:, 6]), np.sin(v.rotation * pose[:, 6]), v.shear * pose[:, 7]
    turn = np.array([[cos, shear * cos - sin], [sin, shear * sin + cos]])  # (2, 2, N) shear, then rotation
    scale = _between(*v.scale, pose[:, 8:9]) * (1 + v.stretch * pose[:, 9:11])  # (N, 2)
    posed: Floats = np.einsum("ijn,nj,nspj->nspi", turn, scale, points)
    return posed + v.shift * pose[:, None, None, 11:13]


def _paint(ink: Floats, colour: Floats, mottle: Floats, grain: Floats) -> Images:
    """Images (N, H, W, 3) of ink (N, H, W) on paper, each of any colour, either the lighter."""
    v, size = VARIATION, ink.shape[1]
    contrast = _between(*v.contrast, colour[:, 0])
    dark = _between(0.08, 0.92 - contrast, colour[:, 1])  # (N,)
    lightness = np.stack([dark, dark + contrast], 1)  # (N, 2) of paper and ink
    lightness = np.where(colour[:, 2:3] < 0, lightness, lightness[:, ::-1])
    chroma = np.minimum(np.multiply(v.chroma, np.abs(colour[:, 3:5])), np.minimum(lightness, 1 - lightness))
    hue = np.pi * (colour[:, 5:7, None] + np.array([0, 2, -2]) / 3)  # (N, 2, 3)
    rgb = lightness[..., None] + chroma[..., None] * np.cos(hue)  # (N, 2, 3): the cosines add up to nothing
    enlarge = np.maximum(0, 1 - np.abs(np.linspace(0, 3, size)[:, None] - np.arange(4)))  # (H, 4) linearly
    cloud = v.mottle * enlarge @ mottle.reshape(-1, 2, 4, 4) @ enlarge.T  # (N, 2, H, W)
    shade = cloud[:, 0] + ink * (cloud[:, 1] - cloud[:, 0]) + v.grain * grain.reshape(ink.shape)  # (N, H, W)
    paper, step = rgb[:, 0, None, None], (rgb[:, 1] - rgb[:, 0])[:, None, None]  # (N, 1, 1, 3)
    image = np.clip(paper + ink[..., None] * step + shade[..., None], 0, 1)  # (N, H, W, 3)
    return np.asarray(np.rint(255 * image), np.uint8)


def _samples(glyph: Floats, style: Alphabet, count: int, size: int, *key: int) -> Images:
    """`count` images (N, H, W, 3) of one glyph."""
    u = _uniform(count, 53 + glyph.size, *key, 0)
    pose, pen, colour, mottle, wobble = np.split(u, [13, 14, 21, 53], 1)
    ink = _draw(_write(glyph, pose, wobble), style.pen * _between(*VARIATION.pen, pen[:, 0]), style, size)
    return _paint(ink, colour, mottle, _uniform(count, size * size, *key, 1))


def _interleave(images: list[Images]) -> tuple[Images, Labels]:
    """Images (N, H, W, 3) of each of C classes, taken in turns, (NC, H, W, 3), and their labels (NC,)."""
    x = np.stack(images, 1)  # (N, C, H, W, 3)
    return x.reshape(-1, *x.shape[2:]), np.tile(np.arange(x.shape[1]), x.shape[0])


def generate(
    *,
    seed: int = 0,
    train_per_class: int = 40,
    test_per_class: int = 20,
    size: int = 32,
    alphabets: int = 5,
    glyphs_per_alphabet: int = 20,
) -> tuple[Images, Labels, Images, Labels, tuple[str, ...]]:
    """Generate the dataset.

    Image i of a split is of class i modulo the number of classes, so any prefix is balanced. More images a
    class, or more classes, leave the first ones as they were.

    Args:
        seed: which world: its glyphs and every image of them.
        train_per_class, test_per_class: images of each class.
        size: height and width in pixels.
        alphabets: how many of the five.
        glyphs_per_alphabet: classes in each.

    Returns:
        x_train, y_train, x_test, y_test, classes: images uint8 (N, size, size, 3), labels int64 (N,), and the
        class names, `"Alphabet/01"` and so on.

    Raises:
        ValueError: if an argument is not a whole number in its range.
    """
    _check(seed=seed, train_per_class=train_per_class, test_per_class=test_per_class)
    _check(size=size, alphabets=alphabets, glyphs_per_alphabet=glyphs_per_alphabet)
    seed, size = int(seed), int(size)  # in a small type of NumPy's their products would overflow
    train_per_class, test_per_class = int(train_per_class), int(test_per_class)
    train, test, classes = [], [], []
    for a, style in enumerate(ALPHABETS[:alphabets]):
        for g, glyph in enumerate(_glyphs(seed, a, glyphs_per_alphabet)):
            train.append(_samples(glyph, style, train_per_class, size, seed, 1, a, g))
            test.append(_samples(glyph, style, test_per_class, size, seed, 2, a, g))
            classes.append(f"{style.name}/{g + 1:02d}")
    return *_interleave(train), *_interleave(test), tuple(classes)
