"""Genifer and its control: the generator, its losses, and what is replayed; against plain loops and released code.

The references are written from the formulas, a Python loop for each sum. Each list of wrong answers has mistakes that
were made, or are easily made, and each of them has to fail what the right answer passes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

import csd_edu as csd
from benchmarks import dreams, neighbours
from csd_edu import generator as gan, results
from csd_edu.generator import Discriminator, Generator
from csd_edu.learner import Learner
from csd_edu.methods import Genifer, PixelGAN, Setting, Step, View
from csd_edu.methods.genifer import dreamed, dreamt_distillation, logged_dreams, map_distance
from tests.conftest import TINY, striped
from tests.test_losses_rivals import by_formula
from tests.test_resume import assert_equal_runs
from tests.test_state import same

pytestmark = pytest.mark.usefixtures("one_thread")

SETTING = Setting((2, 2, 2), (32, 32, 32), (3, 16, 16), 64, torch.device("cpu"), seed=0)
SMALL = {"gan_steps": 3, "gan_batch": 8, "width": 6, "record_every": 2}
several_examples = settings(max_examples=30)


def begun(method: Any = None, setting: Setting = SETTING) -> Any:
    torch.manual_seed(0)
    method = method or Genifer(**SMALL)
    method.begin(setting)
    return method


def draw(generator: Generator, classes: list[int], seed: int = 0) -> Tensor:
    noise = torch.randn(len(classes), generator.dim, generator=torch.Generator().manual_seed(seed))
    return generator(noise, torch.tensor(classes))


# ---------------------------------------------------------------------- the generator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [16, 24, 28, 32])
def test_it_draws_images_of_all_sizes(side, channels):
    torch.manual_seed(0)
    images = draw(Generator((channels, side, side), 5), [0, 1, 4])
    assert images.shape == (3, channels, side, side)
    assert images.dtype == torch.float32
    assert ((images > 0) & (images < 1)).all()


def test_odd_sides_too():
    assert draw(Generator((1, 17, 30), 2), [0, 1]).shape == (2, 1, 17, 30)


def test_it_has_about_80_000_parameters():
    n = sum(p.numel() for p in Generator((1, 16, 16), 10).parameters())
    assert n == 85_265
    assert str(f"{n:,}") in str(Generator.__doc__)
    assert gan.n_bytes(Generator((1, 16, 16), 10)) == 4 * n


def test_an_image_depends_on_noise_and_class_and_on_nothing_else():
    torch.manual_seed(0)
    generator = Generator((1, 16, 16), 4)
    images = draw(generator, [0, 1, 2])
    assert torch.allclose(draw(generator.eval(), [0]), images[:1], atol=1e-6)  # of the batch, of the mode
    assert not torch.allclose(draw(generator, [3]), images[:1], atol=1e-3)
    assert not torch.allclose(draw(generator, [0], seed=1), images[:1], atol=1e-3)


def test_every_part_of_it_gets_a_gradient():
    generator = Generator((3, 24, 24), 3)
    (draw(generator, [0, 1, 2]) * torch.rand(3, 3, 24, 24)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (((16, 16), 3), "image_shape"),
        (((2, 16, 16), 3), "1 or 3 channels"),
        (((1, 4, 16), 3), "8 × 8"),
        (((1, 16.0, 16), 3), "whole number"),
        (((1, 16, 16), 0), "n_classes is 0"),
        (("abc", 3), "image_shape"),
    ],
)
def test_impossible_generators(arguments, told):
    with pytest.raises(ValueError, match=told):
        Generator(*arguments)


# ---------------------------------------------------------------------- the discriminator


@pytest.mark.parametrize(
    "shape", [(32, 8, 8), (64, 4, 4), (16, 24, 24), (3, 16, 16), (1, 28, 28), (5, 7, 9), (2, 1, 1)]
)
def test_it_scores_maps_of_all_sizes(shape):
    discriminator = Discriminator(shape, 4, width=8)
    scores = discriminator(torch.rand(6, *shape), torch.arange(6) % 4)
    assert scores.shape == (6,)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


def test_the_score_depends_on_the_class_linearly_in_its_embedding():
    """A projection: score(x, y) = a(x) + φ(x) · e(y)."""
    torch.manual_seed(0)
    discriminator = Discriminator((3, 16, 16), 3, width=8).double()
    maps = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    zero, one, two = (discriminator(maps, torch.full((4,), c)) for c in range(3))
    assert not torch.allclose(zero, one)
    with torch.no_grad():
        discriminator.embedding.weight[2] = discriminator.embedding.weight[:2].mean(dim=0)
    assert torch.allclose(discriminator(maps, torch.full((4,), 2)), (zero + one) / 2)
    assert not torch.allclose(two, (zero + one) / 2)


def test_it_sees_how_much_the_images_of_a_batch_differ():
    """What a generator that draws one image only gives away."""
    torch.manual_seed(0)
    discriminator = Discriminator((3, 16, 16), 2, width=8)
    image, classes = torch.rand(1, 3, 16, 16), torch.zeros(4, dtype=torch.long)
    alike = discriminator(image.expand(4, -1, -1, -1), classes)
    varied = discriminator(torch.cat([image, torch.rand(3, 3, 16, 16)]), classes)
    assert not torch.isclose(alike[0], varied[0], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(((8, 8), 3), "channels, height, width"), (((0, 8, 8), 3), "at least 1"), (((3, 8, 8), 0), "n_classes is 0")],
)
def test_impossible_discriminators(arguments, told):
    with pytest.raises(ValueError, match=told):
        Discriminator(*arguments)


# ---------------------------------------------------------------------- losses of both


def loop_softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def loop_discriminator(real: list[float], fake: list[float]) -> float:
    return sum(loop_softplus(-s) for s in real) / len(real) + sum(loop_softplus(s) for s in fake) / len(fake)


@several_examples
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6), st.lists(st.floats(-50, 50), min_size=1, max_size=6))
def test_the_losses_of_scores_equal_the_loop(real, fake):
    of = partial(torch.tensor, dtype=torch.float64)
    assert gan.discriminator_loss(of(real), of(fake)).item() == pytest.approx(loop_discriminator(real, fake))
    assert gan.generator_loss(of(fake)).item() == pytest.approx(sum(loop_softplus(-s) for s in fake) / len(fake))


def test_where_nothing_can_be_told_apart_the_loss_is_2_log_2():
    zeros = torch.zeros(5)
    assert gan.discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert gan.generator_loss(zeros).item() == pytest.approx(math.log(2))


def test_large_scores_are_finite_and_half_precision_is_raised():
    huge = torch.tensor([1e4, -1e4], dtype=torch.float16)
    loss = gan.discriminator_loss(huge, huge)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1e4, rel=1e-3)
    assert gan.generator_loss(huge.bfloat16()).dtype == torch.float32


def test_the_generators_gradient_does_not_vanish_where_it_is_seen_through():
    scores = torch.tensor([-30.0], requires_grad=True)
    gan.generator_loss(scores).backward()
    assert scores.grad.item() == pytest.approx(-1)


def test_r1_of_a_linear_discriminator():
    """D(f) = w · f, whatever f is: γ/2 ‖w‖²."""
    w = by_formula(1, 24, 0.9, 0.6).view(2, 3, 4)
    maps = by_formula(7, 24, 0.2, 0.8).view(7, 2, 3, 4).requires_grad_()
    penalty = gan.r1_penalty((maps * w).sum(dim=(1, 2, 3)), maps, gamma=0.3)
    assert penalty.item() == pytest.approx(0.15 * w.square().sum().item())


def test_r1_passes_a_gradient_to_the_weights():
    """d/dw of γ/2 ‖w‖² is γ w."""
    w = by_formula(1, 6, 0.9, 0.6)[0].requires_grad_()
    real = by_formula(4, 6, 0.2, 0.8).requires_grad_()
    gan.r1_penalty(real @ w, real, gamma=0.3).backward()
    assert torch.allclose(w.grad, 0.3 * w)


def test_losses_as_in_the_released_code():
    """What its lines gave for the same inputs (genifer_trainer.py at 79f6622): KD_sep, single_L2, softplus, R1."""
    logits, old = 2 * by_formula(5, 6, 0.7, 1.3), 3 * by_formula(5, 4, 1.1, 0.4)
    assert dreamt_distillation(logits, old).item() == pytest.approx(1.6334705660482225)
    maps, old_maps = by_formula(5, 12, 0.7, 1.3).view(5, 3, 2, 2), by_formula(5, 12, 1.1, 0.4).view(5, 3, 2, 2)
    assert map_distance(maps, old_maps).item() == pytest.approx(3.4309896467427707)
    real, fake = 3 * by_formula(1, 7, 0.3, 0.9)[0], 3 * by_formula(1, 7, 0.5, 1.7)[0]
    assert gan.discriminator_loss(real, fake).item() == pytest.approx(2.3551455138800708)
    assert gan.generator_loss(fake).item() == pytest.approx(1.0337095599787527)
    x, w = by_formula(5, 12, 0.2, 0.8).view(5, 3, 2, 2).requires_grad_(), by_formula(1, 12, 0.9, 0.6).view(1, 3, 2, 2)
    scores = (x * w).sum((1, 2, 3)) ** 2 + x.pow(3).sum((1, 2, 3))
    assert gan.r1_penalty(scores, x, gamma=0.5).item() == pytest.approx(15.079854578691918)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gan.discriminator_loss(torch.zeros(2, 1), torch.zeros(2)), "real is torch.float32 of shape"),
        (lambda: gan.discriminator_loss(torch.zeros(2), torch.zeros(0)), "fake is"),
        (lambda: gan.discriminator_loss([0.0], torch.zeros(1)), "real is a list"),
        (lambda: gan.generator_loss(torch.zeros(2, dtype=torch.long)), "fake is torch.int64"),
        (lambda: gan.r1_penalty(torch.zeros(2), torch.zeros(2, 3), gamma=1.0), "don't depend on real"),
        (lambda: gan.r1_penalty(torch.zeros(2), torch.zeros(2, 3), gamma=-1.0), "gamma is -1"),
        (lambda: gan.ema_update(nn.Linear(2, 3), nn.Linear(2, 3), 1.1), "beta is 1.1"),
        (lambda: gan.ema_update(nn.Linear(2, 3), nn.Linear(3, 2), 0.5), "other parts or sizes"),
        (lambda: gan.worth_in_images(1.5, (1, 16, 16)), "n_bytes is 1.5"),
        (lambda: map_distance(torch.zeros(2, 3), torch.zeros(2, 4)), "expected the same"),
        (lambda: map_distance(torch.zeros(0, 3), torch.zeros(0, 3)), "expected the same"),
        (lambda: dreamt_distillation(torch.zeros(2, 3), torch.zeros(2, 4)), "at most as many"),
        (lambda: dreamt_distillation(torch.zeros(2, 3), torch.zeros(1, 3)), "expected"),
        (lambda: dreamt_distillation(torch.zeros(2, 3), torch.zeros(2, 0)), "0 classes"),
        (lambda: dreamt_distillation(torch.zeros(0, 3), torch.zeros(0, 3)), "expected"),
        (lambda: dreamt_distillation(None, torch.zeros(2, 3)), "logits is a NoneType"),
    ],
)
def test_what_no_loss_can_take(call, told):
    with pytest.raises(ValueError, match=told):
        call()


# ---------------------------------------------------------------------- the average


class WithBuffer(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), float(value)))
        self.register_buffer("count", torch.tensor(int(value)))


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 2.0), (0.0, 7.0), (0.75, 0.75 * 2 + 0.25 * 7)])
def test_the_average_moves_by_beta(beta, expected):
    average, model = WithBuffer(2), WithBuffer(7)
    gan.ema_update(average, model, beta)
    assert torch.allclose(average.weight, torch.full((3,), expected))
    assert average.count == 7
    assert torch.equal(model.weight, torch.full((3,), 7.0))
    if beta in (0.0, 1.0):
        assert torch.equal(average.weight, torch.full((3,), expected))


def test_images_in_the_bytes_of_a_generator():
    method = begun(Genifer(), Setting((2,) * 5, (240,) * 5, (1, 16, 16), 64, torch.device("cpu"), 0))
    n = gan.n_bytes(method.generator)
    assert n == 341_060
    memory = csd.Memory(2000)
    held = gan.worth_in_images(n, (1, 16, 16))
    memory.add(images=torch.zeros(held, 1, 16, 16, dtype=torch.uint8), labels=torch.zeros(held, dtype=torch.long))
    assert memory.n_bytes <= n < memory.n_bytes + 256 + 8
    assert held == 1291 > len(csd.split(csd.load("digits"), n_tasks=5).train(*range(5)).labels), (
        "more than all there is"
    )


# ---------------------------------------------------------------------- losses on dreams


def loop_distillation(logits: Tensor, old: Tensor) -> float:
    total = 0.0
    for new_row, old_row in zip(logits.tolist(), old.tolist(), strict=True):
        new_sum, old_sum = sum(map(math.exp, new_row)), sum(map(math.exp, old_row))
        for k, value in enumerate(old_row):
            total -= math.exp(value) / old_sum * math.log(math.exp(new_row[k]) / new_sum)
    return total / len(logits)


def loop_distance(maps: Tensor, old: Tensor) -> float:
    total = 0.0
    for row, old_row in zip(maps.flatten(1).tolist(), old.flatten(1).tolist(), strict=True):
        total += math.sqrt(sum((a - b) ** 2 for a, b in zip(row, old_row, strict=True)))
    return total / len(maps)


def random_logits(seed: int, most_new: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    n, n_old, n_new = (int(torch.randint(low, high, (), generator=g)) for low, high in ((1, 7), (1, 6), (0, most_new)))
    return tuple(3 * torch.randn(n, k, dtype=torch.float64, generator=g) for k in (n_old + n_new, n_old))


def check_distillation(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    for seed in range(12):
        logits, old = random_logits(seed)
        assert loss(logits, old).item() == pytest.approx(loop_distillation(logits, old), rel=1e-9)
    old = by_formula(4, 3, 0.3, 1.1).requires_grad_()
    logits = old.detach().clone().requires_grad_()
    loss(logits, old).backward()
    assert torch.allclose(logits.grad, torch.zeros_like(logits), atol=1e-12), "nothing to learn where new = old"
    assert old.grad is None, "the teacher learns nothing"


def check_distance(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    g = torch.Generator().manual_seed(0)
    maps, old = (torch.randn(5, 4, 3, 3, dtype=torch.float64, generator=g).requires_grad_() for _ in range(2))
    value = loss(maps, old)
    assert value.item() == pytest.approx(loop_distance(maps, old), rel=1e-9)
    value.backward()
    assert old.grad is None
    assert torch.allclose(maps.grad.flatten(1).norm(dim=1), torch.full((5,), 0.2, dtype=torch.float64)), "not squared"
    equal = old.detach().clone().requires_grad_()
    loss(equal, old).backward()
    assert torch.equal(equal.grad, torch.zeros_like(equal)), "and no NaN where the two are equal"


def test_the_losses_on_dreams_equal_the_loops():
    check_distillation(dreamt_distillation)
    check_distance(map_distance)


WRONG_DISTILLATIONS = {
    "softmax over old logits only": lambda new, old: (
        -(old.detach().softmax(1) * new[:, : old.shape[1]].log_softmax(1)).sum(1).mean()
    ),
    "cross-entropy on the likeliest label": lambda new, old: F.cross_entropy(new, old.detach().argmax(1)),
    "teacher with gradient": lambda new, old: -(old.softmax(1) * new.log_softmax(1)[:, : old.shape[1]]).sum(1).mean(),
    "mean over the classes too": lambda new, old: (
        -(old.detach().softmax(1) * new.log_softmax(1)[:, : old.shape[1]]).mean()
    ),
    "from new to old": lambda new, old: (
        -(new.softmax(1)[:, : old.shape[1]] * old.detach().log_softmax(1)).sum(1).mean()
    ),
    "the last logits": lambda new, old: (
        -(old.detach().softmax(1) * new.log_softmax(1)[:, -old.shape[1] :]).sum(1).mean()
    ),
    "temperature 2": lambda new, old: (
        -((old.detach() / 2).softmax(1) * (new / 2).log_softmax(1)[:, : old.shape[1]]).sum(1).mean()
    ),
}
WRONG_DISTANCES = {
    "squared": lambda new, old: (new - old.detach()).flatten(1).square().sum(1).mean(),
    "teacher with gradient": lambda new, old: (new - old).flatten(1).norm(dim=1).mean(),
    "per channel": lambda new, old: (new - old.detach()).norm(dim=1).mean(),
    "norm of the batch": lambda new, old: (new - old.detach()).norm() / len(new),
    "mean square": lambda new, old: (new - old.detach()).square().mean(),
    "root by hand": lambda new, old: (new - old.detach()).flatten(1).square().sum(1).sqrt().mean(),
}


@pytest.mark.parametrize("name", WRONG_DISTILLATIONS)
def test_wrong_distillations_fail(name):
    with pytest.raises(AssertionError):
        check_distillation(WRONG_DISTILLATIONS[name])


@pytest.mark.parametrize("name", WRONG_DISTANCES)
def test_wrong_distances_fail(name):
    with pytest.raises(AssertionError):
        check_distance(WRONG_DISTANCES[name])


@several_examples
@given(st.integers(0, 10_000))
def test_new_classes_are_pushed_down_on_dreams(seed):
    logits, old = random_logits(seed)
    logits = logits.requires_grad_()
    dreamt_distillation(logits, old).backward()
    assert (logits.grad[:, old.shape[1] :] >= 0).all()
    assert torch.allclose(logits.grad.sum(dim=1), torch.zeros(len(logits), dtype=torch.float64), atol=1e-9)


def test_half_precision_is_raised():
    half = by_formula(4, 5, 0.3, 1.1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss in (dreamt_distillation(half, half[:, :3]), map_distance(half, half + 1)):
            assert loss.dtype == torch.float32
    assert dreamt_distillation(half.double(), half[:, :3].double()).dtype == torch.float64


# ---------------------------------------------------------------------- a step


class Seen:
    """A network's view, and all that it was asked for."""

    def __init__(self, n_classes: int, seed: int, *, grad: bool) -> None:
        self.network = csd.models.build("resnet8", 3, n_classes=n_classes, seed=seed).eval()
        self.network.requires_grad_(grad)
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor, *names: str) -> View:
        self.images.append(images)
        with torch.set_grad_enabled(self.network.head.weight.requires_grad or images.requires_grad):
            features, shown = self.network.look(images, *names)
            return View(features, self.network.head(features), shown)


def step_of(n_old: int = 4, n_new: int = 2, n: int = 6, task: int = 2) -> tuple[Step, Seen, Seen]:
    student, teacher = Seen(n_old + n_new, 0, grad=True), Seen(n_old, 1, grad=False)
    images = torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    step = Step(
        images=images,
        labels=torch.arange(n) % n_new + n_old,
        task=task,
        view=student,
        teacher_view=teacher if n_old else None,
        index=torch.arange(n),
        raw=images,
        augment=lambda x: x.roll(int(torch.randint(1, 5, ())), dims=-1),  # another one each time that it is asked
    )
    return step, student, teacher


def dreaming(n_drawn: int = 4, **settings: Any) -> Genifer:
    method = begun(Genifer(**(SMALL | settings)))
    method.n_drawn = n_drawn
    return method


def expected_terms(step: Step, dreams: Tensor, student: Seen, teacher: Seen) -> dict[str, float]:
    """Return the four terms, each with weight 1."""
    with torch.no_grad():
        (new, maps), (old, old_maps) = (
            (of.network(dreams)[1], of.network.look(dreams, "stage2")[1]["stage2"]) for of in (student, teacher)
        )
        features, logits = student.network(step.images)
    return {
        "ce": float(F.cross_entropy(logits, step.labels)),
        "triplet": float(csd.losses.batch_hard_triplet(features, step.labels)),
        "dreamt kd": loop_distillation(new, old),
        "dreamt maps": loop_distance(maps, old_maps),
    }


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, (1 / 3, 2 / 3, 0.02)),  # two new classes, four old
        ({"new": 0.02, "old": 0.98, "feature": 1.0}, (0.02, 0.98, 1.0)),  # as released
        ({"new": 0.0, "feature": 0.0}, (0.0, 2 / 3, 0.0)),
    ],
)
def test_the_terms_of_a_step(settings, weights):
    step, student, teacher = step_of()
    torch.manual_seed(3)
    terms = dreaming(**settings)(step)
    (both,), (dreams,) = student.images, teacher.images
    assert torch.equal(both, torch.cat([dreams, step.images])), "in one pass, both networks on the same crops"
    assert dreams.dtype == torch.uint8
    assert dreams.shape == step.images.shape
    one = expected_terms(step, dreams, student, teacher)
    new, old, feature = weights
    expected = {"ce": new, "triplet": new, "dreamt kd": old, "dreamt maps": feature}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: weight * one[name] for name, weight in expected.items()}, rel=1e-4, abs=1e-7
    )


def test_dreams_are_of_old_classes_drawn_evenly(monkeypatch):
    method, counts = dreaming(), torch.zeros(6)
    forward = Generator.forward

    def counted(self: Generator, noise: Tensor, classes: Tensor) -> Tensor:
        counts.add_(classes.bincount(minlength=6))
        return forward(self, noise, classes)

    monkeypatch.setattr(Generator, "forward", counted)
    step, *_ = step_of(n=400)
    torch.manual_seed(0)
    method(step)
    assert counts[4:].sum() == 0
    assert counts.sum() == 400
    assert (counts[:4] - 100).abs().max() < 5 * math.sqrt(400 * 0.25 * 0.75)


def test_neither_the_teacher_nor_the_generator_learns_in_a_step():
    step, student, teacher = step_of()
    method = dreaming(csd=1.0)
    before = copy.deepcopy(method.generator.state_dict())
    torch.stack(list(method(step).values())).sum().backward()
    assert all(p.grad is None for module in (teacher.network, method.generator) for p in module.parameters())
    assert all(p.grad is not None for p in student.network.parameters())
    assert same(before, method.generator.state_dict())


def test_csd_contrasts_the_batch_and_the_dreams_together():
    step, student, teacher = step_of()
    method, without = dreaming(csd=0.7), dreaming()
    torch.manual_seed(3)
    terms = method(step)
    (images,) = student.images
    assert torch.equal(teacher.images[0], images)
    torch.manual_seed(3)
    drawn = torch.randint(4, (6,))
    with torch.no_grad():
        features = [of.network(images)[0] for of in (student, teacher)]
    expected = 0.7 * csd.losses.csd(*features, torch.cat([drawn, step.labels])).item()
    assert terms["csd"].item() == pytest.approx(expected, rel=1e-5)
    torch.manual_seed(3)
    others = without(step_of()[0])
    assert terms.keys() == {*others, "csd"}
    assert all(torch.allclose(terms[name], others[name], rtol=1e-5) for name in others)


def test_a_wider_old_head_answers_for_old_classes_only():
    step, _, teacher = step_of()
    method = dreaming()
    torch.manual_seed(3)
    narrow = method(step)
    teacher.network.head.grow(2, torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    wide = method(step)
    assert all(torch.allclose(narrow[name], wide[name]) for name in narrow)


def test_in_the_first_task_it_is_fine_tuning():
    step, student, _ = step_of(n_old=0, task=0)
    terms = dreaming(0)(step)
    assert len(student.images) == 1
    expected = csd.methods.finetune(step)
    assert terms.keys() == expected.keys()
    assert all(torch.equal(terms[name], expected[name]) for name in expected)


# ---------------------------------------------------------------------- the end of a task


def data_of(n: int = 24, classes: tuple[int, ...] = (0, 1)) -> tuple[Tensor, Tensor]:
    labels = torch.tensor(classes).repeat(n)[:n]
    images = torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return images, labels


def ended(method: Genifer, n_classes: int = 2, seed: int = 0, view: Any = None) -> list[dict[str, Any]]:
    images, labels = data_of(classes=(n_classes - 2, n_classes - 1))
    torch.manual_seed(seed)
    return list(method.end_task(0, images, labels, view or Seen(n_classes, 0, grad=False)))


@pytest.mark.parametrize("kind", [Genifer, PixelGAN])
def test_the_classifier_stays_as_it_is_and_the_old_generator_until_all_is_done(kind):
    stream = csd.split(striped(train=16), n_tasks=3, seed=0)
    method = begun(kind(**(SMALL | {"gan_steps": 6})))
    network = csd.models.build("resnet8", 3, n_classes=2)
    learner = Learner(network, stream, method, TINY)
    learner.begin_method()
    for n_classes in (2, 4):
        if n_classes == 4:
            network.head.grow(2, torch.Generator().manual_seed(0))
        weights, old = copy.deepcopy(network.state_dict()), copy.deepcopy(method.generator.state_dict())
        for record in learner.hook("end_task", stream.train(n_classes // 2 - 1)):
            assert same(weights, network.state_dict())
            assert "dreams" in record or same(old, method.generator.state_dict())
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
        assert same(weights, network.state_dict())
        assert not same(old, method.generator.state_dict())
        assert method.n_drawn == n_classes


def test_the_view_at_a_tasks_end_passes_a_gradient_to_images_that_want_one():
    stream = csd.split(striped(), n_tasks=3, seed=0)
    network = csd.models.build("resnet8", 3, n_classes=2)
    view = Learner(network, stream, csd.methods.finetune, TINY).frozen(network)
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(view(images, "stage2")["stage2"].square().sum(), images)
    assert gradient.abs().amin(dim=(1, 2, 3)).shape == (3,)
    assert gradient.flatten(1).norm(dim=1).min() > 0
    assert not view(images.detach(), "stage2")["stage2"].requires_grad


def test_the_discriminator_sees_maps_or_pixels(monkeypatch):
    shapes: list[tuple[int, ...]] = []
    forward = Discriminator.forward
    monkeypatch.setattr(
        Discriminator, "forward", lambda self, maps, c: (shapes.append(tuple(maps.shape)), forward(self, maps, c))[1]
    )
    for kind, shape in (
        (Genifer, (8, 32, 8, 8)),
        (partial(Genifer, layer="stage3"), (8, 64, 4, 4)),
        (PixelGAN, (8, 3, 16, 16)),
    ):
        shapes.clear()
        ended(begun(kind(**SMALL)))
        assert set(shapes) == {shape}


def weights_after_a_step(n_drawn: int, **settings: Any) -> dict[str, Tensor]:
    """Return the generator's weights after one step: the average is a copy of it then."""
    method = begun(Genifer(**(SMALL | {"gan_steps": 1, "ema": 0.0, "shown": 0, "r1": 0.0} | settings)))
    method.n_drawn = n_drawn
    ended(method, n_drawn + 2)
    return {name: value.clone() for name, value in method.generator.state_dict().items()}


def test_a_gradient_passes_through_the_classifier_to_the_generator():
    """Where the maps are detached in its step, the generator never moves."""
    before = begun().generator.state_dict()
    after = weights_after_a_step(0)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == list(before)

    class Detached(Genifer):
        def judged(self, images: Tensor, view: Any) -> Tensor:
            return super().judged(images.detach(), view)

    method = begun(Detached(**SMALL))
    ended(method)
    assert same(begun().generator.state_dict(), method.generator.state_dict())


def test_nothing_holds_the_generator_back_in_the_first_step():
    """It begins as the one before, from which it differs by nothing then; its weight acts from the second step on."""
    free, held = (weights_after_a_step(2, hold=hold) for hold in (0.0, 1e6))
    assert same(free, held)
    free, held = (weights_after_a_step(2, hold=hold, gan_steps=2) for hold in (0.0, 1e6))
    assert not same(free, held)


def test_it_is_held_to_what_it_drew():
    def moved(hold: float) -> float:
        method = begun(Genifer(**(SMALL | {"gan_steps": 40, "gan_lr": 3e-3, "hold": hold})))
        method.n_drawn = 2
        before = dreamed(method, [0, 1], 16).float()
        ended(method, 4)
        return (dreamed(method, [0, 1], 16).float() - before).abs().mean().item()

    assert moved(100.0) < 0.5 * moved(0.0)


def test_one_step_is_that_of_the_formulas():
    """Discriminator, then generator, from the same images, by Adam with betas 0 and 0.99: written out once more."""
    method = begun(Genifer(**(SMALL | {"gan_steps": 2, "ema": 0.0, "r1_every": 2, "hold": 3.0})))
    method.n_drawn = 4
    images, labels = data_of(classes=(4, 5))
    view = Seen(6, 0, grad=False)
    before, generator = copy.deepcopy(method.generator), copy.deepcopy(method.generator).requires_grad_(True)
    torch.manual_seed(7)
    discriminator = Discriminator((32, 8, 8), 6, width=6)
    optimizers = [torch.optim.Adam(of.parameters(), 2e-3, betas=(0.0, 0.99)) for of in (discriminator, generator)]
    for k in range(2):
        rows, old = torch.randint(24, (4,)), torch.randint(4, (4,))
        classes, noise = torch.cat([old, labels[rows]]), torch.randn(8, 32)
        pseudo = before(noise[:4], old).detach()
        real = view(torch.cat([pseudo, images[rows] / 255]), "stage2")["stage2"].detach().requires_grad_()
        drawn = generator(noise, classes)
        maps = view(drawn, "stage2")["stage2"]
        scores, fake = discriminator(real, classes), discriminator(maps.detach(), classes)
        loss = F.softplus(-scores).mean() + F.softplus(fake).mean()
        if k == 0:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            loss = loss + 2 * 0.05 / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        loss = F.softplus(-discriminator(maps, classes)).mean() + 3.0 * 4 / 2 * (drawn[:4] - pseudo).abs().mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
    torch.manual_seed(7)
    list(method.end_task(2, images, labels, Seen(6, 0, grad=False)))
    for name, value in generator.state_dict().items():
        assert torch.allclose(value, method.generator.state_dict()[name], atol=1e-5), name


def test_the_records_tell_both_losses():
    records = ended(begun(Genifer(**(SMALL | {"gan_steps": 5, "record_every": 2}))))
    assert [record.get("step") for record in records] == [2, 4, 5, None]
    assert all(0.1 < record[loss] < 10 for record in records[:3] for loss in ("d", "g"))
    assert [r.get("step") for r in ended(begun(Genifer(**(SMALL | {"shown": 0}))))] == [2, 3]


# ---------------------------------------------------------------------- settings that are none


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"new": -0.1}, "new is -0.1; expected a number of at least 0"),
        ({"old": "half"}, "old is 'half'"),
        ({"feature": float("nan")}, "feature is nan"),
        ({"csd": None}, "csd is None"),
        ({"gan_lr": 0}, "gan_lr is 0; expected a number above 0"),
        ({"ema": 1.5}, "ema is 1.5; expected a number from 0 to 1"),
        ({"r1": -1}, "r1 is -1"),
        ({"hold": float("inf")}, "hold is inf"),
        ({"layer": 2}, "layer is 2; expected what the network shows"),
        ({"gan_steps": 0}, "gan_steps is 0"),
        ({"gan_batch": 3}, "gan_batch is 3"),
        ({"r1_every": 0}, "r1_every is 0"),
        ({"width": 2.5}, "width is 2.5"),
        ({"record_every": 0}, "record_every is 0"),
        ({"shown": -1}, "shown is -1"),
    ],
)
@pytest.mark.parametrize("kind", [Genifer, PixelGAN])
def test_impossible_settings_are_told_before_any_work(kind, settings, told):
    with pytest.raises(ValueError, match=told):
        begun(kind(**settings))


def test_a_generator_whose_training_diverges_names_its_rate():
    told = r"the generator's training diverged: .* by step \d after task 0; gan_lr is 1e\+30, take a smaller one"
    with pytest.raises(ValueError, match=told):
        ended(begun(Genifer(**(SMALL | {"gan_lr": 1e30}))))


def test_a_layer_that_the_network_does_not_show_is_told_in_the_first_step(tmp_path):
    records = csd.training(csd.split(striped(), n_tasks=3), Genifer(layer="stage9"), TINY, out=tmp_path / "r")
    with pytest.raises(ValueError, match="no 'stage9'; expected some of stage1, stage2, stage"):
        next(records)


@pytest.mark.parametrize("kind", [Genifer, PixelGAN])
def test_a_teacher_from_outside_is_refused(kind):
    stream = csd.split(striped(), n_tasks=3)
    with pytest.raises(ValueError, match="takes no teacher= from outside"):
        csd.train(stream, kind(), TINY, teacher=csd.models.build("resnet8", 3, n_classes=6), progress=False)


# ---------------------------------------------------------------------- pictures


def test_pictures_are_the_same_for_the_same_seed_and_touch_no_other_random_numbers():
    method = dreaming(4)
    before = torch.get_rng_state()
    one, other = dreamed(method, [3, 0], 5, seed=2), dreamed(method, torch.tensor([3, 0]), 5, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, other)
    assert one.shape == (2, 5, 3, 16, 16)
    assert one.dtype == torch.uint8
    assert torch.equal(one[1], dreamed(method, [0], 5, seed=2)[0])
    assert not torch.equal(one, dreamed(method, [3, 0], 5, seed=3))
    noise = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    drawn = method.generator(noise, torch.zeros(5, dtype=torch.long))
    assert (one[1] / 255 - drawn).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("n_drawn", "arguments", "told"),
    [
        (4, ([0, 4], 1), "class 4, which the generator has not learnt to draw; expected some of 0 to 3"),
        (4, ([-1], 1), "class -1"),
        (4, ([], 1), r"classes are \[\]; expected at least one of 0 to 5"),
        (0, ([0], 1), "expected csd.learn to have trained it on a task first"),
        (4, ([0], 0), "n is 0"),
        (4, (["0"], 1), "classes"),
        (4, (2, 1), "classes is 2; expected a list"),
    ],
)
def test_pictures_that_it_can_t_draw(n_drawn, arguments, told):
    with pytest.raises(ValueError, match=told):
        dreamed(dreaming(n_drawn), *arguments)


def test_a_method_that_was_never_trained_draws_nothing():
    with pytest.raises(ValueError, match=r"csd\.learn"):
        dreamed(Genifer(), [0], 1)


# ---------------------------------------------------------------------- whole runs


def stream() -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, seed=0)


RUNS: dict[str, Callable[[], Genifer]] = {
    "genifer": lambda: Genifer(**SMALL),
    "pixel_gan": lambda: PixelGAN(**SMALL),
    "with csd": lambda: Genifer(**SMALL, csd=1.0),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {name: csd.train(stream(), make(), TINY, out=folder / name, progress=False) for name, make in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
def test_stopped_after_every_record_it_ends_with_the_same_bits(whole, tmp_path, name):
    """Also after those of `end_task`, of which no checkpoint knows: it begins anew, and nothing is there twice."""
    n = 1
    while True:
        records = csd.training(stream(), RUNS[name](), TINY, out=tmp_path / "r")
        got = sum(1 for _ in zip(range(n), records, strict=False))
        records.close()
        if got < n:
            break
        n = n + 1 if csd.Run.load(tmp_path / "r").records[-1]["kind"] == "end" else 1
    assert_equal_runs(whole[name].path, tmp_path / "r")
    assert same(whole[name].kept(), csd.Run.load(tmp_path / "r").kept())


@pytest.mark.parametrize("name", RUNS)
def test_what_is_carried_over_is_the_generator_and_the_teacher(whole, name):
    run = whole[name]
    generator = Generator((3, 16, 16), 6, width=6)
    weights = sum(value.nbytes for value in run.network(1).state_dict().values())
    assert run.kept_bytes == {"generator": gan.n_bytes(generator), "teacher": weights}
    kept = run.kept()
    assert set(kept) == {"generator", "n_drawn"}
    assert kept["n_drawn"] == 6
    assert {n: v.shape for n, v in kept["generator"].items()} == {n: v.shape for n, v in generator.state_dict().items()}


def test_the_log_has_pictures_after_each_task_also_where_nothing_else_is_left(whole):
    run = whole["genifer"]
    pictures = logged_dreams(run)
    assert [tuple(p.shape) for p in pictures] == [(n, 4, 3, 16, 16) for n in (2, 4, 6)]
    assert all(p.dtype == torch.uint8 for p in pictures)
    method = begun(Genifer(**SMALL))
    method.generator.load_state_dict(run.kept()["generator"])
    method.n_drawn = 6
    assert torch.equal(pictures[-1], dreamed(method, range(6), 4))
    with pytest.raises(ValueError, match="no pictures of dreams"):
        logged_dreams(csd.train(stream(), csd.methods.finetune, TINY, progress=False))


@pytest.mark.parametrize(
    "damage", [{"dreams": "?"}, {"dreams": 3}, {"shape": [9, 9]}, {"shape": None}, {"shape": "abc"}]
)
def test_damaged_pictures_are_told(damage):
    class Damaged:
        records = ({"task": 1, "dreams": "eJwDAAAAAAE=", "shape": [0]} | damage,)

    with pytest.raises(ValueError, match="has damaged pictures of dreams after task 1"):
        logged_dreams(Damaged())


def test_the_method_given_to_learn_is_the_one_that_draws():
    """`csd.train` trains a copy; `csd.learn` the object itself."""
    method, network = RUNS["genifer"](), csd.models.build("resnet8", 3)
    for task in range(2):
        for _ in csd.learn(network, stream(), task, method, TINY):
            pass
        assert method.n_drawn == 2 * (task + 1)
        assert dreamed(method, range(2 * (task + 1)), 2).shape[0] == 2 * (task + 1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_stopped_within_a_tasks_end_in_a_notebook_it_is_done_again_from_the_old_generator(n):
    """Also after the pictures, the last that it has to say."""
    network, data = csd.models.build("resnet8", 3, n_classes=2), stream().train(0)

    def learner() -> Learner:
        found = Learner(network, stream(), Genifer(**SMALL), TINY)
        found.begin_method()
        return found

    whole, stopped = learner(), learner()
    assert len(list(whole.hook("end_task", data))) == 3
    records = stopped.hook("end_task", data)
    for _ in range(n):
        next(records)
    records.close()
    assert stopped.method.n_drawn == 0
    list(stopped.hook("end_task", data))
    assert same(whole.method.generator.state_dict(), stopped.method.generator.state_dict())


def test_a_task_that_a_notebook_learns_twice():
    method = dreaming(2)
    ended(method, 2)
    assert method.n_drawn == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(([4], 1), "0 to 3"), (([], 1), "at least one"), (([-1], 1), "-1"), (([0], 1.5), "n is 1.5")],
)
def test_a_generator_has_no_room_for_other_classes(arguments, told):
    with pytest.raises(ValueError, match=told):
        gan.draw(Generator((1, 16, 16), 4), *arguments)


def test_it_does_not_depend_on_how_torch_is_set(whole, tmp_path):
    before, tasks = torch.get_default_dtype(), stream()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            run = csd.train(tasks, RUNS["genifer"](), TINY, out=tmp_path / "r", progress=False)
    finally:
        torch.set_default_dtype(before)
    assert_equal_runs(whole["genifer"].path, run.path)


def shades(n: int = 24) -> csd.Dataset:
    """Return four classes of grey images, told apart by their brightness."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(n)
    images = 32 + 64 * labels[:, None, None, None] + 10 * torch.randn(4 * n, 1, 16, 16, generator=g)
    x = images.clamp(0, 255).to(torch.uint8)
    return csd.Dataset("shades", x, labels, x, labels, ("black", "dark", "light", "white"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Genifer, PixelGAN])
def test_it_learns_to_draw_each_class_and_still_knows_the_old_ones(kind, tmp_path):
    tasks = csd.split(shades(), classes=[["black", "white"], ["dark", "light"]])
    method = kind(gan_steps=100, gan_batch=16, width=12, record_every=10)
    run = csd.train(tasks, method, TINY.replace(crop_padding=0), out=tmp_path / "r", progress=False)
    first, last = logged_dreams(run)
    black, white = first.float().mean(dim=(1, 2, 3, 4)).tolist()
    assert black < 90 < 150 < white
    black, white, dark, light = last.float().mean(dim=(1, 2, 3, 4)).tolist()
    assert black < dark < light < white
    losses = [
        record["d"] for record in run.records if record["kind"] == "end" and record["task"] == 0 and "d" in record
    ]
    assert max(losses) - min(losses) > 0.05
    assert min(losses) < 2 * math.log(2)


# ---------------------------------------------------------------------- the experiment


def test_every_method_has_the_same_rates_to_choose_from_and_one_weight_at_most():
    assert set(dreams.GRID) == set(dreams.METHODS)
    assert {of["later_lr"] for of in dreams.GRID.values()} == {neighbours.RATES}
    for of in dreams.GRID.values():
        assert [len(set(of[setting])) for setting in of if setting != "later_lr"] in ([], [3])


def test_csd_alone_is_between_genifer_and_genifer_with_csd():
    """The weight of the maps is the one that was chosen for Genifer in the experiment that is shipped."""
    chosen = results.read("dreams").notes["tuning"]["methods"]["genifer"]
    assert dataclasses.asdict(dreams.DREAMING[dreams.WITH_CSD]) == dataclasses.asdict(dreams.DREAMING["genifer"]) | {
        "feature": chosen["chosen"]["feature"]
    }


def test_real_images_take_no_more_bytes_than_the_generator():
    plan = dreams.plan_of(dreams.parser().parse_args([]))
    tasks = plan.stream(0)
    assert dreams.held(plan, tasks) == len(tasks.train(*range(5)).labels), "all digits take less"
    narrow = dataclasses.replace(plan, gan={"width": 6})
    n = dreams.held(narrow, tasks)
    assert n == gan.n_bytes(Generator((1, 16, 16), 10, width=6)) // (256 + 8) < 1000


@pytest.mark.campaign
@pytest.mark.parametrize("gpu", [False, True])
def test_the_experiment_in_small_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys, gpu):
    if gpu:  # as large as those of CIFAR-100, and fewer
        images = striped(n_classes=10, train=10, test=4, size=32)
        monkeypatch.setattr(dreams.csd, "load", lambda *_, **__: images)
    call = ["--quick", "--out", str(tmp_path), "--jobs", "1", *(["--gpu"] if gpu else ["--seeds", "3"])]
    seeds = [0, 1] if gpu else [3]
    with pytest.raises(SystemExit, match="no seed is complete"):
        dreams.main([*call, "--table-only"])
    dreams.main(call)
    told = capsys.readouterr().out
    found = results.read(tmp_path / "dreams.json")
    assert found.seeds == tuple(seeds)
    real = found.notes["real images"]
    assert real["held"] <= real["in all"]
    for seed, n in zip(seeds, real["different"], strict=True):
        rows = csd.Run.load(tmp_path / f"seed{seed}" / "er").kept()["memory"]["rows"]["images"]
        assert n == len({image.numpy().tobytes() for image in rows}) <= real["held"]
    methods = set(dreams.METHODS) - ({dreams.WITH_CSD} if gpu else set())
    assert set(found.values) == methods
    assert set(found.notes["tuning"]["methods"]) == (set() if gpu else methods)
    for name in methods:
        assert set(found.values[name]) == {"head_accuracy", "recall_at_1", "seconds"}
        assert found.notes["bytes"][name] > 0 or name == "finetune"
        assert told.count(f"| {name} | ") == 2
    monkeypatch.setattr(dreams, "sweep", lambda *_, **__: pytest.fail("trained again"))
    dreams.main([*call, "--table-only"])
    assert told.endswith(capsys.readouterr().out)
    assert results.read(tmp_path / "dreams.json") == found
