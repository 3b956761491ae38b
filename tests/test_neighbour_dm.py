"""A few images in place of all: distribution matching, herding and random ones, the ConvNet, and what they teach.

The references are written from the formulas, in plain loops. Fixed numbers are those of the code released with Zhao &
Bilen, WACV 2023 (VICO-UoE/DatasetCondensation at 53f63a6), on inputs that are made the same way here.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import csd_edu as csd
from benchmarks import condensed
from csd_edu import augmentation, few, models
from csd_edu.augmentation import Augmentation
from csd_edu.methods.dm import DM, condense, distribution_matching
from csd_edu.methods.herding import Herding
from csd_edu.methods.method import Setting
from csd_edu.methods.random_images import RandomImages, herd, selected
from csd_edu.runtime import derive_seed
from tests.conftest import TINY, striped
from tests.test_methods_state import assert_equal, go_on

pytestmark = pytest.mark.usefixtures("one_thread")
several_examples = settings(max_examples=30, deadline=None, derandomize=True)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_formula(*shape):
    i = torch.arange(math.prod(shape), dtype=torch.float32)
    return torch.sin(0.37 * i + 0.0011 * i * i % 6.5).view(shape)


def pictures(n=24, n_classes=3, size=16, channels=3, seed=0):
    """Return images (n, C, size, size) uint8 whose classes have other stripes, and their labels, mixed."""
    labels = torch.arange(n) % n_classes
    wave = torch.sin(2 * torch.pi * (labels[:, None] + 1) * torch.arange(size) / size)
    x = 127 + 60 * wave[:, None, :, None] + 30 * noise(n, channels, size, size, seed=seed)
    return x.clamp(0, 255).to(torch.uint8), labels


# ---------------------------------------------------------------------- the ConvNet


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "side"), [(16, 2), (24, 3), (28, 3), (32, 4), (36, 4), (64, 8)])
def test_the_convnet_has_the_same_features_for_all_sizes(size, side, channels):
    network = models.build("convnet32", channels)
    features, shown = network.look(torch.zeros(2, channels, size, size, dtype=torch.uint8), "map")
    assert shown["map"].shape == (2, 32, side, side)
    assert features.shape == (2, 512) == (2, network.dim)
    assert network.look(torch.zeros(2, channels, size, size))[1] == {}


def test_at_32_pixels_the_features_are_the_map_as_in_the_literature():
    network = models.build("convnet64")
    features, shown = network.look(noise(3, 3, 32, 32).sigmoid(), "map")
    assert torch.equal(features, shown["map"].flatten(1))
    small, shown = network.look(noise(3, 3, 24, 24).sigmoid(), "map")
    for row, column in [(0, 0), (1, 2), (3, 3)]:  # of 3 places four: the middle ones are means of two
        rows = shown["map"][:, :, row * 3 // 4 : -(-(row + 1) * 3 // 4), column * 3 // 4 : -(-(column + 1) * 3 // 4)]
        torch.testing.assert_close(small.view(3, 64, 4, 4)[:, :, row, column], rows.mean(dim=(2, 3)))


def test_the_convnet_normalises_each_channel_of_each_image_alone():
    network = models.build("convnet32")
    images = noise(4, 3, 32, 32).sigmoid()
    together = network.embed(images)
    for mode in (True, False):
        alone = torch.cat([network.train(mode).embed(image[None]) for image in images])
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    parameters = dict(network.backbone.named_parameters())
    assert len(parameters) == 9
    assert sum(p.numel() for p in parameters.values()) == 9 * (3 * 32 + 32 * 32 + 32 * 32) + 6 * 32
    conv = network.backbone.convs[0]
    x = conv(network.pixel_mean + images)  # (4, 32, 32, 32)
    normed = network.backbone.norms[0](x)
    plain = (x - x.mean(dim=(2, 3), keepdim=True)) / (x.var(dim=(2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(normed, plain, rtol=1e-4, atol=1e-5)


def test_the_convnet_and_the_loss_are_those_of_the_released_code():
    """With weights by formula; the released network's biases are random there: the norm takes them away."""
    look = models.build("convnet32").backbone
    with torch.no_grad():
        for conv, norm in zip(look.convs, look.norms, strict=True):
            conv.weight.copy_(by_formula(*conv.weight.shape))
            norm.weight.copy_(1 + 0.5 * by_formula(32))
            norm.bias.copy_(0.2 * by_formula(32).flip(0))
    x = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    real, learnt = x[:7], x[7:].clone().requires_grad_()
    features, _ = look(x)
    assert features[0, :4].tolist() == pytest.approx([0.395019, 0.0, 0.209167, 0.354689], rel=1e-4, abs=1e-6)
    real_labels, labels = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1])
    loss = distribution_matching(look(real)[0], real_labels, look(learnt)[0], labels)
    assert loss.item() == pytest.approx(69.364174, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, learnt)
    assert gradient.flatten(1).norm(dim=1).tolist() == pytest.approx([3.028990, 2.935849, 9.509669], rel=1e-3)
    assert gradient[:, 1, 5, 7].tolist() == pytest.approx([-0.0215608, -0.0061055, 0.0536895], rel=1e-2)


def test_the_convnet_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least 16×16"):
        models.build("convnet32").embed(torch.zeros(1, 3, 15, 16))
    with pytest.raises(ValueError, match="width is 33; expected one of 32, 64, 128"):
        models.ConvNet(33)
    with pytest.raises(ValueError, match="shows no 'stage1'; expected some of map"):
        models.build("convnet32").look(torch.zeros(1, 3, 16, 16), "stage1")
    assert csd.Config(network="convnet128").network == "convnet128"


# ---------------------------------------------------------------------- the loss


def loop_loss(real, real_labels, learnt, labels):
    """Σ_c Σ_d (mean real − mean learnt)², one number after the other."""
    total = 0.0
    for c in sorted(set(labels.tolist())):
        for d in range(real.shape[1]):
            of_real = [real[i, d] for i in range(len(real)) if real_labels[i] == c]
            of_learnt = [learnt[i, d] for i in range(len(learnt)) if labels[i] == c]
            total = total + (sum(of_real) / len(of_real) - sum(of_learnt) / len(of_learnt)) ** 2
    return total


def some_features(seed, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    n_classes, dim = (int(torch.randint(1, 5, (), generator=g)) for _ in range(2))
    n, m = (n_classes + int(torch.randint(0, 8, (), generator=g)) for _ in range(2))
    names = torch.randperm(9, generator=g)[:n_classes]  # any numbers
    labels = [names[torch.arange(k) % n_classes][torch.randperm(k, generator=g)] for k in (n, m)]
    features = [torch.randn(k, dim, generator=g, dtype=torch.float64).to(dtype) for k in (n, m)]
    return features[0], labels[0], features[1], labels[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_loss_equals_the_loop(dtype, tolerance):
    for seed in range(15):
        real, real_labels, learnt, labels = some_features(seed, dtype)
        learnt.requires_grad_()
        value = distribution_matching(real, real_labels, learnt, labels)
        expected = loop_loss(real, real_labels, learnt, labels)
        assert value.dtype == dtype
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
        gradients = [torch.autograd.grad(x, learnt)[0] for x in (value, expected)]
        torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


@several_examples
@given(st.integers(0, 10**6))
def test_all_images_of_each_class_match_their_own_mean(seed):
    real, labels, _, _ = some_features(seed)
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    assert float(distribution_matching(real, labels, real[order], labels[order])) < 1e-25


@several_examples
@given(st.integers(0, 10**6))
def test_order_does_not_matter_and_neither_do_the_names_of_the_classes(seed):
    real, real_labels, learnt, labels = some_features(seed)
    value = distribution_matching(real, real_labels, learnt, labels)
    g = torch.Generator().manual_seed(seed)
    i, j = torch.randperm(len(real), generator=g), torch.randperm(len(learnt), generator=g)
    other = distribution_matching(real[i], 20 - real_labels[i], learnt[j], 20 - labels[j])
    torch.testing.assert_close(value, other)
    twice = distribution_matching(real, real_labels, torch.cat([learnt, learnt]), torch.cat([labels, labels]))
    torch.testing.assert_close(value, twice)


@several_examples
@given(st.integers(0, 10**6))
def test_of_a_linear_map_the_gradient_is_that_of_the_formula(seed):
    real, real_labels, learnt, labels = some_features(seed)
    w = noise(5, real.shape[1], seed=seed, dtype=torch.float64)
    learnt.requires_grad_()
    loss = distribution_matching(real @ w.T, real_labels, learnt @ w.T, labels)
    (gradient,) = torch.autograd.grad(loss, learnt)
    for i, c in enumerate(labels.tolist()):
        gap = real[real_labels == c].mean(dim=0) - learnt[labels == c].detach().mean(dim=0)
        expected = -2 / int((labels == c).sum()) * w.T @ w @ gap
        torch.testing.assert_close(gradient[i], expected)


def test_one_step_at_half_the_rate_lands_on_the_class_mean():
    real, labels = noise(12, 3, 4, 4, dtype=torch.float64), torch.arange(12) % 3
    learnt = noise(3, 3, 4, 4, seed=1, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([learnt], lr=0.5)
    distribution_matching(real, labels, learnt, torch.arange(3)).backward()
    optimizer.step()
    torch.testing.assert_close(learnt.detach(), torch.stack([real[labels == c].mean(dim=0) for c in range(3)]))


def test_a_class_does_not_depend_on_the_others():
    real, real_labels = noise(20, 6), torch.arange(20) % 2
    learnt, labels = noise(4, 6, seed=1).requires_grad_(), torch.tensor([0, 1, 0, 1])
    (both,) = torch.autograd.grad(distribution_matching(real, real_labels, learnt, labels), learnt)
    alone = distribution_matching(real[::2], real_labels[::2], learnt[::2], labels[::2])
    torch.testing.assert_close(both[::2], torch.autograd.grad(alone, learnt)[0][::2])


def test_no_gradient_flows_into_the_real_side():
    real, learnt = noise(4, 3).requires_grad_(), noise(4, 3, seed=1).requires_grad_()
    distribution_matching(real, torch.arange(4) % 2, learnt, torch.arange(4) % 2).backward()
    assert real.grad is None
    assert learnt.grad.abs().sum() > 0


def test_half_precision_is_raised():
    real, learnt, labels = 100 + noise(64, 8), 100 + noise(64, 8, seed=1), torch.arange(64) % 2
    for dtype in (torch.bfloat16, torch.float16):
        raised = distribution_matching(real.to(dtype), labels, learnt.to(dtype), labels)
        assert raised.dtype == torch.float32
        assert torch.equal(
            raised, distribution_matching(real.to(dtype).float(), labels, learnt.to(dtype).float(), labels)
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = distribution_matching(real, labels, learnt, labels)
    assert torch.equal(value, distribution_matching(real, labels, learnt, labels))


WRONG = {  # the fact sheet's mistakes, and the exercise's wrong answers
    "mean over the features": lambda r, rl, s, sl: loop_loss(r, rl, s, sl) / r.shape[1],
    "paired": lambda r, _rl, s, _sl: (r[: len(s)] - s).square().sum(),
    "one mean over all classes": lambda r, _rl, s, _sl: (r.mean(dim=0) - s.mean(dim=0)).square().sum(),
    "mean of squared distances": lambda r, rl, s, sl: torch.stack(
        [torch.cdist(r[rl == c], s[sl == c]).square().mean() for c in sl.unique()]
    ).sum(),
    "mean over the classes": lambda r, rl, s, sl: loop_loss(r, rl, s, sl) / len(sl.unique()),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_answers_are_other_ones(name):
    given_features = (noise(12, 4), torch.arange(12) % 3, noise(6, 4, seed=1), torch.arange(6) % 3)
    right = distribution_matching(*given_features).item()
    assert right == pytest.approx(loop_loss(*given_features).item(), rel=1e-5)
    assert abs(WRONG[name](*given_features).item() - right) > 0.1 * right


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"real": torch.zeros(4, 5)}, r"real features are \(5,\) an image, synthetic ones \(3,\)"),
        ({"real_labels": torch.tensor([0, 0, 0, 0])}, r"real_labels have the classes \[0\], synthetic_labels \[0, 1\]"),
        ({"synthetic_labels": torch.tensor([0, 2])}, r"synthetic_labels \[0, 2\]"),
        ({"synthetic_labels": torch.tensor([0, 1, 1])}, r"expected float features \(N, D\) and integers \(N,\)"),
        ({"real_labels": torch.tensor([0.0, 1, 0, 1])}, "real_labels torch.float32"),
        ({"real": torch.zeros(4, 3, dtype=torch.uint8)}, "real is torch.uint8"),
        ({"synthetic": torch.zeros(0, 3), "synthetic_labels": torch.zeros(0).long()}, "synthetic has no features"),
        ({"real": [[0.0]]}, "real is a list; expected a tensor"),
    ],
)
def test_the_loss_refuses_what_does_not_fit(change, message):
    good = {"real": torch.zeros(4, 3), "real_labels": torch.arange(4) % 2}
    good |= {"synthetic": torch.zeros(2, 3), "synthetic_labels": torch.arange(2)}
    with pytest.raises(ValueError, match=message):
        distribution_matching(**{**good, **change})


# ---------------------------------------------------------------------- augmentation


RELEASED = [  # kind, numbers that the released code drew, and three sums over what it made of the images
    ("colour", [0.0596386194, 1.6605037450, 1.0721975565], -93.0393524, 7207.427246, 2.322502),
    ("colour", [0.3302518725, 1.1443951130, 1.0349225402], -84.7404556, 4095.070557, 1.983670),
    ("crop", [0, -2], 10.2286186, 2650.040039, 0.014758),
    ("crop", [-2, -1], -39.0801402, 2490.994629, -0.084086),
    ("cutout", [10, 11], -37.6272964, 2142.582764, 0.0),
    ("cutout", [8, 5], -12.9474230, 2234.581787, 1.454766),
    ("flip", [0], -61.1284561, 2879.193848, 1.454766),
    ("scale", [1.1377589703, 1.0385341644], -38.8688278, 1163.208618, 1.255204),
    ("scale", [1.0431391001, 1.1377589703], -46.1628036, 1143.208618, 1.308477),
    ("rotate", [0.0312267095], -52.2508698, 1553.061768, 1.388287),
    ("rotate", [0.1729194820], -36.0708542, 1170.750122, 1.103922),
]


@pytest.mark.parametrize(("kind", "numbers", "weighted", "squares", "one"), RELEASED)
def test_augmentations_are_those_of_the_released_code(kind, numbers, weighted, squares, one):
    images = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(2))
    made = Augmentation(kind, torch.tensor([numbers], dtype=torch.float32))(images)
    assert float((made * by_formula(2, 3, 20, 24)).sum()) == pytest.approx(weighted, abs=5e-3)
    assert float(made.square().sum()) == pytest.approx(squares, rel=1e-5)
    assert float(made[1, 2, 9, 11]) == pytest.approx(one, abs=1e-4)


def plain(kind, numbers, image):
    """Return one image (C, H, W) changed, pixel by pixel."""
    channels, height, width = image.shape
    made = torch.zeros_like(image)
    if kind == "colour":
        brightness, saturation, contrast = numbers
        image = image + brightness
        for y in range(height):
            for x in range(width):
                grey = sum(image[c, y, x] for c in range(channels)) / channels
                for c in range(channels):
                    made[c, y, x] = grey + saturation * (image[c, y, x] - grey)
        mean = made.sum() / made.numel()
        return mean + contrast * (made - mean)
    for y in range(height):
        for x in range(width):
            if kind == "cutout":
                tall, wide = int(height / 2 + 0.5), int(width / 2 + 0.5)
                top, left = numbers[0] - tall // 2, numbers[1] - wide // 2
                if not (top <= y < top + tall and left <= x < left + wide):
                    made[:, y, x] = image[:, y, x]
                continue
            v, u = y + 0.5 - height / 2, x + 0.5 - width / 2  # from the middle, in pixels
            if kind == "crop":
                v, u = v + numbers[0], u + numbers[1]
            elif kind == "flip":
                u = -u if numbers[0] else u
            elif kind == "scale":
                v, u = v * numbers[0], u * numbers[1]
            else:  # of a square image, on which the places' units are the same
                v, u = (
                    math.sin(numbers[0]) * u + math.cos(numbers[0]) * v,
                    (math.cos(numbers[0]) * u - math.sin(numbers[0]) * v),
                )
            row, column = v + height / 2 - 0.5, u + width / 2 - 0.5
            top, left = math.floor(row + 1e-9), math.floor(column + 1e-9)
            for r, a in ((top, 1 - (row - top)), (top + 1, row - top)):
                for s, b in ((left, 1 - (column - left)), (left + 1, column - left)):
                    if 0 <= r < height and 0 <= s < width:
                        made[:, y, x] += a * b * image[:, r, s]
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", augmentation.KINDS)
def test_each_kind_equals_a_plain_one(kind, channels):
    images = noise(3, channels, 9, 9, dtype=torch.float64)
    numbers = next(c.numbers for c in (drawn(seed, 9, 9, n=3, flip=True) for seed in range(1000)) if c.kind == kind)
    if kind == "flip":
        numbers = torch.tensor([[0.0], [1.0], [1.0]])
    numbers = numbers.double()
    made = Augmentation(kind, numbers)(images)
    for image, own, changed in zip(images, numbers.tolist(), made, strict=True):
        torch.testing.assert_close(changed, plain(kind, own, image), rtol=1e-6, atol=1e-6)
    same = Augmentation(kind, numbers[1:2])(images)
    torch.testing.assert_close(same[1], made[1])
    torch.testing.assert_close(same[0], Augmentation(kind, numbers[1:2])(images[:1])[0])


def drawn(seed, height=32, width=32, **how):
    return augmentation.draw(height, width, generator=torch.Generator().manual_seed(seed), **how)


def test_what_is_drawn_lies_in_its_range_and_fills_it():
    by_kind = {}
    for seed in range(300):
        change = drawn(seed, 32, 24, n=5, flip=True)
        by_kind.setdefault(change.kind, []).append(change.numbers)
    assert set(by_kind) == set(augmentation.KINDS)
    assert all(30 < len(numbers) < 70 for numbers in by_kind.values())  # 50 expected
    ranges = {
        "colour": [(-0.5, 0.5), (0, 2), (0.5, 1.5)],
        "crop": [(-4, 4), (-3, 3)],
        "cutout": [(0, 32), (0, 24)],
        "flip": [(0, 1)],
        "scale": [(1 / 1.2, 1.2)] * 2,
        "rotate": [(-math.radians(15), math.radians(15))],
    }
    for kind, expected in ranges.items():
        numbers = torch.cat(by_kind[kind])
        assert numbers.shape[1] == len(expected)
        for column, (low, high) in zip(numbers.T, expected, strict=True):
            assert low - 1e-6 <= float(column.min()) < low + 0.1 * (high - low)
            assert high + 1e-6 >= float(column.max()) > high - 0.1 * (high - low)
        if kind in ("crop", "cutout", "flip"):
            assert torch.equal(numbers, numbers.round())
    assert not any(drawn(seed).kind == "flip" for seed in range(100))


@pytest.mark.parametrize("seed", range(12))
def test_a_change_is_the_same_for_both_sides_and_leaves_no_trace(seed):
    before = torch.get_rng_state()
    change = drawn(seed, flip=True)
    assert torch.equal(before, torch.get_rng_state())
    image = noise(1, 3, 32, 32)
    real, learnt = change(image.expand(5, -1, -1, -1)), change(image)
    torch.testing.assert_close(real, learnt.expand(5, -1, -1, -1))
    assert real.dtype == torch.float32
    torch.manual_seed(seed)
    assert torch.equal(augmentation.draw(32, 32, flip=True).numbers, change.numbers)


@pytest.mark.parametrize("kind", augmentation.KINDS)
def test_a_gradient_passes(kind):
    change = next(c for c in (drawn(seed, 6, 6, flip=True) for seed in range(1000)) if c.kind == kind)
    images = noise(2, 3, 6, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(change, images)
    assert torch.autograd.grad(change(images).sum(), images)[0].abs().sum() > 0


# ---------------------------------------------------------------------- condensing


def plain_condense(images, labels, per_class, iterations, *, batch, lr, momentum, augment, flip, seed):
    """Condense as the released code writes it, class by class, with the random numbers that the kit draws."""
    base = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))
    mean = torch.stack([images[:, c].double().mean() / 255 for c in range(3)]).float().view(1, 3, 1, 1)
    std = torch.stack([images[:, c].double().std(correction=0) / 255 for c in range(3)]).float().view(1, 3, 1, 1)
    made, losses = [], [0.0] * iterations
    for c in sorted(set(labels.tolist())):
        g = torch.Generator().manual_seed(derive_seed(base, "class", c))
        own = (images[labels == c].float() / 255 - mean) / std
        x, velocity = own[torch.randperm(len(own), generator=g)[:per_class]], 0.0
        for i in range(iterations):
            look = models.build("convnet32", 3, seed=derive_seed(base, "network", i + 1)).backbone
            change = augmentation.draw(*images.shape[2:], flip=flip, generator=g) if augment else lambda y: y
            real = own[torch.randperm(len(own), generator=g)[:batch]]
            x = x.detach().requires_grad_()
            of_real = look(change(real), ("map",))[1]["map"].detach().flatten(1)
            of_learnt = look(change(x), ("map",))[1]["map"].flatten(1)
            loss = ((of_real.mean(dim=0) - of_learnt.mean(dim=0)) ** 2).sum()
            (gradient,) = torch.autograd.grad(loss, x)
            velocity = momentum * velocity + gradient
            x = x - lr * velocity
            losses[i] += loss.item()
        made.append(x.detach() * std + mean)
    return torch.cat(made), losses


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("size", [16, 24])
def test_condensing_equals_a_plain_loop(size, augment):
    images, labels = pictures(size=size)
    how = {"batch": 5, "lr": 1.5, "augment": augment, "flip": size == 24}
    shown = list(condense(images, labels, 2, iterations=4, every=1, generator=_seeded(3), **how))
    pixels, losses = plain_condense(images, labels, 2, 4, momentum=0.5, seed=3, **how)
    assert [now.iteration for now in shown] == [1, 2, 3, 4]
    assert [now.loss for now in shown] == pytest.approx([loss / 3 for loss in losses], rel=1e-4)
    torch.testing.assert_close(shown[-1].pixels, pixels, rtol=1e-3, atol=1e-3)
    assert shown[-1].labels.tolist() == [0, 0, 1, 1, 2, 2]


def last(*arguments, seed=0, **how):
    *_, condensed = condense(*arguments, generator=torch.Generator().manual_seed(seed), **how)
    return condensed


def test_what_is_learnt_is_nearer_to_the_classes_than_what_it_began_as():
    images, labels = pictures(n=60)
    learnt = last(images, labels, 1, iterations=60, augment=False)
    network = models.build("convnet64", seed=77).requires_grad_(False)  # which it never saw

    def gap(few_images):
        maps = [network.look(x, "map")[1]["map"] for x in (images, few_images)]
        return float(distribution_matching(maps[0], labels, maps[1], learnt.labels))

    assert gap(learnt.images) < 0.6 * gap(learnt.start)
    assert learnt.images.dtype == torch.uint8
    assert learnt.images.nbytes == learnt.start.nbytes == 3 * 3 * 16 * 16
    rounded = (learnt.pixels * 255).clamp(0, 255)
    assert float((learnt.images.float() - rounded).abs().max()) <= 0.5 + 1e-3


def test_it_begins_with_different_real_images_of_each_class():
    images, labels = pictures()
    starts = {tuple(last(images, labels, 3, iterations=1, seed=seed).start.flatten().tolist()) for seed in range(3)}
    assert len(starts) == 3
    start = last(images, labels, 3, iterations=1).start
    where = [(images == image).flatten(1).all(dim=1).nonzero().item() for image in start]
    assert labels[where].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(set(where)) == 9
    untouched = images.clone()
    last(images, labels, 3, iterations=2)
    assert torch.equal(images, untouched)


def test_the_same_seed_learns_the_same_and_others_draw_what_they_would_have():
    images, labels = pictures()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, other = last(images, labels, 1, iterations=3), last(images, labels, 1, iterations=3)
    assert torch.equal(one.pixels, other.pixels)
    assert not torch.equal(one.pixels, last(images, labels, 1, iterations=3, seed=1).pixels)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(0)
    shown = []
    for now in condense(images, labels, 1, iterations=3, every=1):  # torch's own, and its reader draws as well
        shown.append(now)
        torch.rand(5)
    assert torch.equal(shown[-1].pixels, one.pixels)


def test_a_class_is_learnt_as_if_it_were_alone():
    """Its pixels' mean and deviation are those of all images: here those of the other class are the same."""
    images, _ = pictures(n=12, n_classes=1)
    both, labels = torch.cat([images, images.flip(-1)]), torch.arange(2).repeat_interleave(12)
    alone = last(both[:12], labels[:12], 2, iterations=3)
    torch.testing.assert_close(last(both, labels, 2, iterations=3).pixels[:2], alone.pixels, rtol=1e-3, atol=1e-3)
    named = last(both, labels, 2, iterations=3, classes=[1])
    assert named.labels.tolist() == [1, 1]
    torch.testing.assert_close(last(both, labels, 2, iterations=3).pixels[2:], named.pixels, rtol=1e-3, atol=1e-3)


def test_the_callers_settings_of_torch_do_not_matter():
    images, labels = pictures()
    expected = last(images, labels, 1, iterations=3).pixels
    with torch.no_grad():
        assert torch.equal(last(images, labels, 1, iterations=3).pixels, expected)
    with torch.inference_mode():
        assert torch.equal(last(images, labels, 1, iterations=3).pixels, expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(last(images, labels, 1, iterations=3).pixels, expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_it_can_be_stopped_and_shows_ten_times_by_default():
    images, labels = pictures()
    shown = [now.iteration for now in condense(images, labels, 1, iterations=25)]
    assert shown == [*range(2, 25, 2), 25]
    records = condense(images, labels, 1, iterations=10**9, every=1)
    assert next(records).iteration == 1
    records.close()


@pytest.mark.parametrize("shape", [(1, 16, 20), (3, 28, 16)])
def test_grey_and_oblong_images(shape):
    images = torch.randint(256, (6, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert last(images, torch.arange(6) % 2, 1, iterations=12).images.shape == (2, *shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_class": 0}, "per_class is 0; expected a whole number of at least 1"),
        ({"per_class": 9}, "per_class is 9, but class 0 has 8 images"),
        ({"classes": [0, 7]}, "class 7 has no images"),
        ({"images": torch.zeros(24, 3, 12, 16, dtype=torch.uint8)}, "images are 3×12×16; expected at least 16×16"),
        ({"images": torch.zeros(24, 3, 16, 16)}, "images are torch.float32; expected uint8"),
        ({"images": torch.zeros(24, 2, 16, 16, dtype=torch.uint8)}, r"shape \(N, 1 or 3, H, W\)"),
        ({"images": None}, "images is a NoneType; expected a tensor"),
        ({"labels": torch.arange(5)}, r"labels are torch.int64 of shape \(5,\)"),
        ({"labels": torch.arange(24) - 1}, "labels go down to -1"),
        ({"iterations": 0}, "iterations is 0"),
        ({"width": 48}, "width is 48; expected one of 32, 64, 128"),
        ({"lr": 0.0}, "lr is 0.0; expected a number above 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"batch": 0}, "batch is 0"),
        ({"augment": "yes"}, "augment is 'yes'; expected True or False"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_condense_refuses_before_it_works(change, message):
    images, labels = pictures()
    with pytest.raises(ValueError, match=message):
        condense(**{"images": images, "labels": labels, "per_class": 1, **change})


def test_images_that_run_away_are_told():
    images, labels = pictures()
    with pytest.raises(ValueError, match=r"became NaN or infinite in step \d+; lr is 1e\+38"):
        last(images, labels, 1, iterations=20, lr=1e38)


# ---------------------------------------------------------------------- herding and random


def slow_herd(features, n):
    unit = [row / math.sqrt(float(row @ row)) for row in features.double()]
    mean = sum(unit) / len(unit)
    chosen = []
    for k in range(1, n + 1):
        left = [i for i in range(len(unit)) if i not in chosen]
        distance = {i: float((mean - sum((unit[j] for j in [*chosen, i])) / k).norm()) for i in left}
        chosen.append(min(left, key=distance.__getitem__))
    return chosen


@several_examples
@given(st.integers(0, 10**6))
def test_herding_equals_the_loop(seed):
    features = noise(9, 4, seed=seed)
    assert herd(features, 9).tolist() == slow_herd(features, 9)
    assert herd(features, 3).tolist() == slow_herd(features, 9)[:3]
    assert herd(features * torch.arange(1, 10)[:, None], 4).tolist() == slow_herd(features, 4)  # lengths don't count


def test_herding_is_not_the_nearest_to_the_mean():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [-0.2, 1.0], [1.0, 0.3]])
    mean = torch.nn.functional.normalize(features, dim=1).mean(dim=0)
    nearest = (torch.nn.functional.normalize(features, dim=1) - mean).norm(dim=1).argsort()[:2].tolist()
    assert herd(features, 2).tolist() != nearest


def test_selected_images_are_real_and_as_many_of_each_class():
    images, labels = pictures()
    features = noise(24, 5)
    for how in ("random", "herding"):
        torch.manual_seed(0)
        chosen, of = selected(images, labels, 3, how, features=features)
        assert of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        rows = [(images == image).flatten(1).all(dim=1).nonzero().item() for image in chosen]
        assert len(set(rows)) == 9
        assert labels[rows].tolist() == of.tolist()
        if how == "herding":
            for c in range(3):
                own = torch.nonzero(labels == c).squeeze(1)
                assert rows[3 * c : 3 * c + 3] == own[slow_herd(features[own], 3)].tolist()
    torch.manual_seed(0)
    assert torch.equal(selected(images, labels, 2)[0], selected(images, labels, 2, generator=_seeded(0))[0])
    assert not torch.equal(selected(images, labels, 2, generator=_seeded(1))[0], selected(images, labels, 2)[0])


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_choosing_refuses_what_it_cannot_do():
    images, labels = pictures()
    with pytest.raises(ValueError, match="how is 'best'; expected 'random' or 'herding'"):
        selected(images, labels, 1, "best")
    with pytest.raises(ValueError, match="herding needs features="):
        selected(images, labels, 1, "herding")
    with pytest.raises(ValueError, match="per_class is 9, but class 0 has 8 images"):
        selected(images, labels, 9)
    with pytest.raises(ValueError, match="n is 25; expected a whole number from 1 to 24"):
        herd(noise(24, 3), 25)
    with pytest.raises(ValueError, match=r"expected floats \(N, D\)"):
        herd(torch.zeros(3), 1)


# ---------------------------------------------------------------------- as methods


METHODS = {
    "random_images": lambda: RandomImages(per_class=2, per_epoch=20),
    "herding": lambda: Herding(per_class=2, per_epoch=20, epochs=1),
    "dm": lambda: DM(per_class=2, per_epoch=20, iterations=3, batch=4),
}
CONFIG = TINY.replace(network="convnet32", epochs=2, later_epochs=1)


def stream():
    return csd.split(striped(train=8, test=2), n_tasks=3, seed=0)


@pytest.mark.parametrize("name", METHODS)
def test_stopped_after_every_record_it_ends_with_the_same_bits(tmp_path, name):
    go_on(METHODS[name](), tmp_path / "whole", 1000, stream(), CONFIG)
    n = 1
    while not go_on(METHODS[name](), tmp_path / "r", n, stream(), CONFIG) < n:
        n = n + 1 if csd.Run.load(tmp_path / "r").records[-1]["kind"] == "begin" else 1  # it is done again
    assert_equal(tmp_path / "whole", tmp_path / "r")
    run = csd.Run.load(tmp_path / "r")
    kinds = [record["kind"] for record in run.records if record["kind"] != "begin"]
    assert kinds == (["epoch"] * 2 + ["task"]) * 3  # each task as the first
    assert run.kept_bytes == {"memory": 12 * (3 * 16 * 16 + 8)}
    rows = run.kept()["memory"]["rows"]
    assert rows["images"].dtype == torch.uint8
    assert rows["labels"].tolist() == [label for label in range(6) for _ in range(2)]


def test_what_dm_remembers_is_condensed_and_says_how_far_it_is(tmp_path):
    method = METHODS["dm"]()
    run = csd.train(stream(), method, CONFIG, out=tmp_path / "r", progress=False)
    begun = [record for record in run.records if record["kind"] == "begin" and record["task"] == 1]
    assert [record.get("condensed") for record in begun] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, None]
    assert begun[-1]["kept"] == 8
    train = stream().train(1)
    torch.manual_seed(derive_seed(derive_seed(0, "begin", 1), "method"))
    how = {name: getattr(method, name) for name in ("iterations", "width", "lr", "batch", "augment", "flip")}
    *_, expected = condense(*train, 2, **how)
    assert torch.equal(run.kept()["memory"]["rows"]["images"][4:8], expected.images)


@pytest.mark.parametrize("name", METHODS)
def test_it_is_trained_on_the_memory_alone(name):
    method = METHODS[name]()
    images, labels = pictures(n=16, n_classes=2)
    method.begin(Setting((2, 2), (16, 16), (3, 16, 16), 512, torch.device("cpu"), 0))
    list(method.begin_task(0, images, labels, None))
    chosen, of = method.training_images(0, images, labels)
    assert len(of) == 20  # each of 4 images five times
    assert torch.equal(chosen, method.memory.rows["images"].repeat(5, 1, 1, 1))
    assert of.tolist() == [0, 0, 1, 1] * 5
    first = method.memory.rows["images"].clone()
    list(method.begin_task(1, images, labels + 2, None))
    assert torch.equal(method.memory.rows["images"][:4], first)
    assert method.training_images(1, images, labels + 2)[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2
    method.per_epoch = 3
    assert method.training_images(1, images, labels + 2)[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_random_and_herding_keep_real_images_and_dm_does_not(tmp_path):
    data = striped(train=8, test=2)
    for name, make in METHODS.items():
        run = csd.train(csd.split(data, n_tasks=3), make(), CONFIG, out=tmp_path / name, progress=False)
        kept = run.kept()["memory"]["rows"]["images"]
        real = [bool((data.x_train == image).flatten(1).all(dim=1).any()) for image in kept]
        assert real == [name != "dm"] * 12


def test_each_task_begins_with_a_new_network(tmp_path):
    config = CONFIG.replace(epochs=1, lr=1e-12, schedule="constant", optimizer="sgd")
    run = csd.train(stream(), METHODS["random_images"](), config, out=tmp_path / "r", progress=False)
    weights = [run.network(task).backbone.convs[1].weight for task in range(3)]
    assert not torch.allclose(weights[0], weights[1])
    assert not torch.allclose(weights[1], weights[2])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (RandomImages(per_class=0), "per_class is 0"),
        (
            RandomImages(per_class=9),
            "per_class is 9, but task 0 has 16 training images of 2 classes; expected at most 8",
        ),
        (RandomImages(per_epoch=0), "per_epoch is 0"),
        (Herding(epochs=0), "epochs is 0"),
        (Herding(width=1), "width is 1"),
        (DM(iterations=0), "iterations is 0"),
        (DM(per_class=9), "per_class is 9, but task 0"),
        (DM(width=99), "width is 99"),
        (DM(lr=-1.0), "lr is -1.0"),
        (DM(batch=2.5), "batch is 2.5"),
        (DM(augment=None), "augment is None"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_work(tmp_path, method, message):
    with pytest.raises(ValueError, match=message):
        csd.train(stream(), method, CONFIG, out=tmp_path / "r", progress=False)


def test_a_rare_class_of_a_later_task_is_told_before_work(tmp_path):
    data = striped(n_classes=4, train=12)
    rare = torch.nonzero(data.y_train == 1).squeeze(1)[:3]
    keep = torch.ones(len(data.y_train), dtype=torch.bool)
    keep[rare] = False
    uneven = dataclasses.replace(data, x_train=data.x_train[keep], y_train=data.y_train[keep])
    tasks = csd.split(uneven, classes=[[2, 3], [0, 1]])
    assert tasks.n_of_class == (12, 12, 12, 9)
    for make in (RandomImages, Herding, DM):
        with pytest.raises(ValueError, match=r"per_class is 10, but class 3 \('stripe 1'\) has 9 training images; exp"):
            csd.train(tasks, make(per_class=10), CONFIG, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    csd.train(tasks, RandomImages(per_class=9), CONFIG, out=tmp_path / "r", progress=False)


def test_labelled_images_of_each_class_are_counted():
    tasks = csd.split(striped(n_classes=4, train=12), n_tasks=2, labelled=5, validation=0.25)
    assert tasks.n_of_class == (5, 5, 5, 5)
    assert csd.split(striped(n_classes=4, train=12), n_tasks=2, validation=0.25).n_of_class == (9, 9, 9, 9)


@pytest.mark.parametrize("method", [RandomImages(per_epoch=10**12), csd.methods.GDumb(20, per_epoch=10**12)])
def test_an_epoch_that_no_memory_holds_is_told_before_work(tmp_path, method):
    with pytest.raises(ValueError, match="per_epoch is 1,000,000,000,000, and so many images of 768 bytes don't fit"):
        csd.train(stream(), method, CONFIG, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_numbers_of_numpy_and_torch_condense_to_the_same_images():
    images, labels = pictures()
    learnt = []
    for number in (int, np.int64, torch.tensor, np.array):
        *_, last = condense(
            images, labels, number(2), iterations=number(2), lr=number(1), batch=number(4), generator=_seeded(0)
        )
        learnt.append(last.images)
    assert all(torch.equal(learnt[0], other) for other in learnt[1:])


def test_features_and_images_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="features hold NaN or infinite numbers; expected finite ones"):
        herd(torch.full((5, 3), math.nan), 3)
    images, labels = torch.full((4, 3, 16, 16), math.nan), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="images hold NaN or infinite numbers; expected floats"):
        few.train_on(images, labels, width=32, epochs=1)
    with pytest.raises(ValueError, match="flip is 'no'; expected True or False"):
        few.train_on(torch.zeros(4, 3, 16, 16), labels, width=32, epochs=1, flip="no")


# ---------------------------------------------------------------------- what a few images teach


def test_a_few_striped_images_teach_stripes():
    data = striped(n_classes=3, train=4, test=8)
    how = {"width": 32, "epochs": 30, "n_networks": 2}
    scores = few.evaluate(data.x_train, data.y_train, data.x_test, data.y_test, **how)
    assert len(scores) == 2
    assert all(score.accuracy > 0.9 and score.recall_at_1 > 0.9 for score in scores)
    assert scores == few.evaluate(data.x_train, data.y_train, data.x_test, data.y_test, **how)
    wrong = few.evaluate(data.x_train, (data.y_train + 1) % 3, data.x_test, data.y_test, **how)
    assert all(score.accuracy < 0.1 for score in wrong)


def test_a_score_is_accuracy_and_recall_among_the_others():
    images, labels = pictures(n=6)
    unseen, truth = pictures(n=40, n_classes=2, seed=1)
    truth = truth[torch.randperm(40, generator=_seeded(0))]  # so that much is wrong
    how = {"width": 32, "epochs": 1}
    scores = few.evaluate(images, labels, unseen, truth, n_networks=2, seed=3, **how)
    assert scores[0] != scores[1]
    for k, score in enumerate(scores):
        network = few.train_on(images, labels, seed=derive_seed(3, "network", k), **how)
        with torch.no_grad():
            features, logits = network(unseen)
        unit = torch.nn.functional.normalize(features, dim=1)
        nearest = (unit @ unit.T - 2 * torch.eye(40)).argmax(dim=1)
        assert score.accuracy == pytest.approx((logits.argmax(dim=1) == truth).double().mean().item())
        assert score.recall_at_1 == pytest.approx((truth[nearest] == truth).double().mean().item())
        assert 0.2 < score.recall_at_1 < 0.8


def test_training_on_a_few_equals_a_plain_loop():
    images, labels = pictures(n=6)
    network = few.train_on(images, labels, width=32, epochs=3, lr=0.05, batch_size=4, seed=5)
    mean, std = models.pixel_statistics(images)
    plain_one = models.build("convnet32", 3, n_classes=3, seed=5, pixel_mean=mean, pixel_std=std)
    g = _seeded(derive_seed(5, "few"))
    parameters = list(plain_one.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    for epoch in range(3):
        if epoch == 1:
            velocity = [torch.zeros_like(p) for p in parameters]  # a fresh optimiser
        for rows in torch.randperm(6, generator=g).split(4):
            x = (images[rows].float() / 255 - mean.float().view(1, 3, 1, 1)) / std.float().view(1, 3, 1, 1)
            x = augmentation.draw(16, 16, len(rows), generator=g)(x)
            logits = plain_one.head(plain_one.backbone(x)[0])
            loss = -logits.log_softmax(dim=1)[torch.arange(len(rows)), labels[rows]].mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, gradient, v in zip(parameters, gradients, velocity, strict=True):
                    v.mul_(0.9).add_(gradient + 5e-4 * p)
                    p.sub_(0.05 * (1 if epoch < 1 else 0.1) * v)
    for p, q in zip(network.parameters(), parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    assert not network.training


def test_floats_and_rounded_images_teach_the_same():
    images, labels = pictures(n=6)
    how = {"width": 32, "epochs": 2}
    ones, others = few.train_on(images, labels, **how), few.train_on(images.float() / 255, labels, **how)
    for p, q in zip(ones.parameters(), others.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert few.as_uint8(torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.7])).tolist() == [0, 0, 128, 255, 255]


def test_what_does_not_fit_is_refused():
    images, labels = pictures(n=6)
    larger = torch.zeros(6, 3, 24, 24, dtype=torch.uint8)
    with pytest.raises(ValueError, match="test_images are 3×24×24, images 3×16×16; expected the same size"):
        few.evaluate(images, labels, larger, labels)
    for change, message in [
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": 0}, "lr is 0; expected a number above 0"),
        ({"width": 16}, "width is 16"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"labels": labels.float()}, "labels are torch.float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            few.train_on(**{"images": images, "labels": labels, **change})
    with pytest.raises(ValueError, match="n_networks is 0"):
        few.evaluate(images, labels, images, labels, n_networks=0)


def test_condensed_images_are_a_data_set(tmp_path):
    data = striped(n_classes=3, train=8, test=4)
    learnt = last(data.x_train, data.y_train, 2, iterations=2)
    small = dataclasses.replace(data, name="six images", x_train=learnt.images, y_train=learnt.labels)
    path = csd.data.save(small, tmp_path / "six.npz")
    again = csd.load(path)
    assert torch.equal(again.x_train, learnt.images)
    assert torch.equal(again.y_train, learnt.labels)
    run = csd.train(csd.split(again, n_tasks=1), csd.methods.finetune, CONFIG, out=tmp_path / "r", progress=False)
    assert run.finished
    larger = striped(n_classes=3, train=8, test=4, size=24)
    with pytest.raises(ValueError, match="x_train has images of 3×16×16, x_test of 3×24×24; expected one C×H×W"):
        dataclasses.replace(larger, x_train=learnt.images, y_train=learnt.labels)


# ---------------------------------------------------------------------- the benchmark


@pytest.mark.parametrize("name", ["cpu quick", "gpu quick"])
def test_the_benchmark_computes_what_is_missing_and_shows_it(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(csd, "load", lambda _: striped(train=24, test=4))
    out, cpu = tmp_path / "new" / "condensed.json", torch.device("cpu")
    first = condensed.run(name, range(1), out, cpu)
    again = condensed.run(name, range(2), out, cpu)
    parts = ["set", "all", "mean images", "memory"] if name == "cpu quick" else ["set", "all"]
    said = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"{name}, {part}, seed {seed}" for seed in (0, 1) for part in parts]
    assert all(again["parts"][part]["0"] == first["parts"][part]["0"] for part in parts)
    assert again == condensed.read(out, name)
    sets = ["not trained", "herding's network", "random", "herding", "dm", "dm, not rounded"]
    assert list(again["parts"]["set"]["1"]) == sets
    found = condensed.results_of(name, again)
    assert found.seeds == (0, 1)
    assert found.of("dm", "accuracy, set") == tuple(of["dm"]["accuracy"] for of in again["parts"]["set"].values())
    text = condensed.table(found)
    assert "seeds 0, 1." in text
    assert "| dm − random |" in text
    assert "| all images | " in text
    assert ("accuracy, memory" in text) == ("| dm − mean images |" in text) == (name == "cpu quick")
    assert "nan" not in condensed.table(condensed.results_of(name, first))
    if name == "cpu quick":
        held = {x: scores["bytes"] for x, scores in again["parts"]["memory"]["0"].items()}
        assert held == dict.fromkeys(("random", "herding", "dm"), 4 * (3 * 16 * 16 + 8))
    monkeypatch.setitem(condensed.SIZES, name, dataclasses.replace(condensed.SIZES[name], epochs=5))
    with pytest.raises(SystemExit, match="choose another --out"):
        condensed.run(name, range(2), out, cpu)


def test_the_benchmarks_data_are_the_first_images_of_the_first_classes():
    data = striped()
    part = condensed.first_classes(data, 2, 3)
    assert part.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(part.x_train[:3], data.x_train[data.y_train == 0][:3])
    assert torch.equal(part.y_test.bincount(), torch.tensor([4, 4]))
    assert len(condensed.first_classes(data, 3, None).y_train) == 24


@pytest.mark.slow
def test_on_digits_learnt_images_teach_more_than_random_ones():
    data = csd.load("digits")
    how = {"width": 32, "epochs": 60, "n_networks": 1}
    teach = partial(few.evaluate, test_images=data.x_test, test_labels=data.y_test, **how)
    leads = []
    for seed in range(2):
        learnt = last(data.x_train, data.y_train, 1, iterations=80, seed=seed)
        accuracy = {name: teach(x, learnt.labels, seed=seed)[0].accuracy for name, x in
                    {"learnt": learnt.images, "start": learnt.start}.items()}  # fmt: skip
        leads.append(accuracy["learnt"] - accuracy["start"])
    assert min(leads) > 0.05, leads
