"""The networks against a second forward pass written out with plain functions, and the methods against the losses."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from csd_edu import losses, methods, models
from csd_edu.methods import Step, View

BATCH = 3


pytestmark = pytest.mark.usefixtures("one_thread")


def random_images(channels=3, height=16, width=16, seed=0, n=BATCH):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=g)


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def scrambled(network, seed=0):
    """Give batch norms other than their initial values, so that each of them counts in `eval()`."""
    g = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in [
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ]:
                tensor.uniform_(low, high, generator=g)
    return network


# ------------------------------------------------------------------------------------------ parameter counts


def expected_parameters(depth, in_channels, n_classes):
    """Count what He et al. describe: 6n + 2 layers, 3×3 convolutions without bias, each with a batch norm."""
    n = (depth - 2) // 6
    convolutions = [(in_channels, 16)]  # (from, to) channels
    convolutions += [(16, 16)] * 2 * n
    convolutions += [(16, 32)] + [(32, 32)] * (2 * n - 1)
    convolutions += [(32, 64)] + [(64, 64)] * (2 * n - 1)
    assert len(convolutions) + 1 == depth
    return sum(9 * a * b + 2 * b for a, b in convolutions) + 64 * n_classes


def test_resnet_32_has_the_size_of_the_papers():
    assert count_parameters(models.build("resnet32", n_classes=50)) == 466_704


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("depth", models.DEPTHS)
def test_every_depth_has_its_number_of_parameters(depth, in_channels):
    network = models.build(f"resnet{depth}", in_channels, n_classes=7)
    assert count_parameters(network) == expected_parameters(depth, in_channels, 7)


def test_by_default_a_network_takes_colour_and_has_no_classes():
    assert count_parameters(models.build("resnet32")) == expected_parameters(32, 3, 0)


# ---------------------------------------------------------------------------------------------- forward pass


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (32, 32), (48, 48), (33, 33), (16, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_output_shapes(channels, size):
    network = models.build("resnet8", channels, n_classes=5)
    features, logits = network(random_images(channels, *size))
    assert features.shape == (BATCH, network.dim)
    assert logits.shape == (BATCH, 5)
    assert features.dtype == logits.dtype == torch.float32
    assert (features >= 0).all()  # averages of what a ReLU let through
    assert features.isfinite().all()


def written_out(network, images, depth):
    """Return the feature maps and features of a CIFAR ResNet in float64, from its saved weights alone."""
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}

    def batch_norm(x, name):
        scale = weights[f"{name}.weight"] / (weights[f"{name}.running_var"] + 1e-5).sqrt()
        shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def layer(x, conv, bn, stride=1):
        return batch_norm(F.conv2d(x, weights[f"{conv}.weight"], stride=stride, padding=1), bn)

    x = images.double() / 255
    x = (x - weights["pixel_mean"]) / weights["pixel_std"]
    x = layer(x, "backbone.conv1", "backbone.bn1").relu()
    per_stage = (depth - 2) // 6
    for k in range(3 * per_stage):
        block = f"backbone.blocks.{k}"
        halve = k in (per_stage, 2 * per_stage)
        out = layer(x, f"{block}.conv1", f"{block}.bn1", stride=2 if halve else 1).relu()
        out = layer(out, f"{block}.conv2", f"{block}.bn2")
        if halve:  # option A: every second pixel, and as many channels of zeros as are missing, half on each side
            x = F.max_pool2d(x, kernel_size=1, stride=2)
            zeros = x.new_zeros(len(x), x.shape[1] // 2, *x.shape[2:])
            x = torch.cat([zeros, x, zeros], dim=1)
        x = (out + x).relu()
    return x, x.flatten(start_dim=2).sum(dim=2) / (x.shape[2] * x.shape[3])


@pytest.mark.parametrize(
    ("depth", "channels", "size"),
    [(8, 3, (16, 16)), (8, 1, (33, 33)), (14, 3, (28, 28)), (20, 1, (17, 24)), (32, 3, (32, 32))],
)
def test_forward_equals_the_network_written_out(depth, channels, size):
    network = models.build(
        f"resnet{depth}",
        channels,
        n_classes=6,
        seed=4,
        pixel_mean=torch.linspace(0.4, 0.6, channels),
        pixel_std=torch.linspace(0.2, 0.3, channels),
    )
    scrambled(network).eval()
    images = random_images(channels, *size)
    with torch.no_grad():
        features, logits = network(images)
        feature_maps, expected = written_out(network, images, depth)
    assert torch.allclose(features.double(), expected, rtol=1e-4, atol=1e-5)
    assert (features.max(dim=0).values > features.min(dim=0).values + 1e-3).any()  # the images differ, so do these
    assert (feature_maps >= 0).all()
    # Cosine times the length of the feature: classifier rows have length 1 and there is no bias.
    rows = network.head.weight.detach().double()
    expected_logits = expected @ (rows / (rows * rows).sum(dim=1, keepdim=True).sqrt()).T
    assert torch.allclose(logits.double(), expected_logits, rtol=1e-4, atol=1e-5)


def test_embed_is_the_global_average_of_the_last_block():
    network = scrambled(models.build("resnet8", n_classes=2)).eval()
    seen = []
    network.backbone.blocks[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    features = network.embed(random_images(height=32, width=32))
    (last,) = seen
    assert last.shape == (BATCH, 64, 8, 8)
    assert torch.allclose(features, F.adaptive_avg_pool2d(last, 1).flatten(1), atol=1e-6)
    assert torch.equal(features, network(random_images(height=32, width=32))[0])


def test_training_reaches_every_parameter():
    network = models.build("resnet14", n_classes=4)
    assert network.training
    features, logits = network(random_images(n=8))
    labels = torch.arange(8) % 4
    (losses.cross_entropy(logits, labels) + losses.batch_hard_triplet(features, labels)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_default_pixel_statistics():
    network = models.build("resnet8", 1)
    assert network.pixel_mean.flatten().tolist() == [0.5]
    assert network.pixel_std.flatten().tolist() == [0.25]


def test_saved_weights_are_enough_to_embed_an_image_later():
    network = scrambled(models.build("resnet8", n_classes=3, seed=1, pixel_mean=torch.tensor([0.1, 0.2, 0.3]))).eval()
    other = models.build("resnet8", n_classes=3, seed=2).eval()
    images = random_images()
    assert not torch.allclose(other(images)[0], network(images)[0])
    other.load_state_dict(network.state_dict())
    for loaded, saved in zip(other(images), network(images), strict=True):
        assert torch.equal(loaded, saved)


# ------------------------------------------------------------------------------------------------------ head


def grown_head(n_classes, seed=0):
    head = models.GrowingHead(64)
    head.grow(n_classes, torch.Generator().manual_seed(seed))
    return head


def test_the_length_of_a_classifier_row_does_not_matter():
    head = grown_head(5)
    features = torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(1))
    before = head(features)
    with torch.no_grad():
        head.weight *= torch.tensor([[1.0], [100.0], [0.01], [7.0], [0.5]])
    assert torch.allclose(head(features), before, atol=1e-5)


def test_the_length_of_a_feature_does_matter():
    head = grown_head(5)
    features = torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(head(3 * features), 3 * head(features), atol=1e-5)


def test_growing_keeps_the_old_classes():
    head = grown_head(4)
    features = torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(1))
    rows, logits = head.weight.detach().clone(), head(features)
    head.grow(3, torch.Generator().manual_seed(9))
    assert head.weight.shape == (7, 64)
    assert torch.equal(head.weight[:4], rows)
    assert torch.allclose(head(features)[:, :4], logits, rtol=0, atol=1e-6)
    assert isinstance(head.weight, torch.nn.Parameter)
    assert head.weight.requires_grad
    assert [name for name, _ in head.named_parameters()] == ["weight"]


def test_new_rows_come_from_the_generator():
    a, b, c = grown_head(4, seed=1), grown_head(4, seed=1), grown_head(4, seed=2)
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)
    assert a.weight.abs().max() <= 1 / 8  # 64 ** −½
    assert a.weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.2)
    assert (a.weight.norm(dim=1) > 0).all()


def test_a_head_can_grow_by_nothing_and_from_nothing():
    head = models.GrowingHead(64)
    assert head(torch.ones(BATCH, 64)).shape == (BATCH, 0)
    head.grow(0, torch.Generator())
    assert head.weight.shape == (0, 64)
    head.grow(1, torch.Generator())
    assert head(torch.ones(BATCH, 64)).shape == (BATCH, 1)


# ------------------------------------------------------------------------------------------------------ seeds


def test_the_seed_decides_the_weights():
    a, b, c = (models.build("resnet8", n_classes=5, seed=seed) for seed in (3, 3, 4))
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name
    for name in ("backbone.conv1.weight", "backbone.blocks.2.conv2.weight", "head.weight"):
        assert not torch.equal(a.state_dict()[name], c.state_dict()[name]), name


def test_the_global_random_state_neither_counts_nor_changes():
    torch.manual_seed(1)
    first = models.build("resnet8", n_classes=5, seed=3)
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002 - the global state is the subject
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    second = models.build("resnet8", n_classes=5, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
    assert torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(first.backbone.conv1.weight, second.backbone.conv1.weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_random_state_of_a_gpu_does_not_change():
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    models.build("resnet8", n_classes=5, seed=3)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_convolutions_start_as_he_et_al_say():
    for module in models.build("resnet20", seed=1).backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = 9 * module.in_channels
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.15)


def test_weights_are_channels_last():
    convolution = models.build("resnet8").backbone.blocks[0].conv1
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


# ------------------------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize("depth", [0, 7, 18, 26, 110, -8])
def test_an_unknown_depth_is_named(depth):
    with pytest.raises(ValueError, match=rf"depth is {depth}; expected one of 8, 14, 20, 32, 44, 56"):
        models.ResNet(depth)


@pytest.mark.parametrize("name", ["resnet", "resnet7", "vit", ""])
def test_an_unknown_network_is_named(name):
    with pytest.raises(ValueError, match=f"network is '{name}'; expected one of resnet8, resnet14"):
        models.build(name)


@pytest.mark.parametrize("in_channels", [0, 2, 4])
def test_an_unknown_number_of_channels_is_named(in_channels):
    with pytest.raises(ValueError, match=f"in_channels is {in_channels}; expected 1 .* or 3"):
        models.build("resnet8", in_channels)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_images_must_be_uint8_or_float(dtype):
    with pytest.raises(ValueError, match=rf"images are {dtype} of .*; expected uint8"):
        models.build("resnet8")(random_images().to(dtype))


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (2, 16, 16, 3), (3, 16, 16), (16, 16), (16,), (), (1, 2, 3, 16, 16)])
def test_images_must_have_the_networks_shape(shape):
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(B, 3, H, W\)") as caught:
        models.build("resnet8").embed(torch.zeros(shape, dtype=torch.uint8))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("size", [(15, 32), (32, 15), (8, 8)])
def test_images_must_not_be_too_small(size):
    with pytest.raises(ValueError, match=rf"images are {size[0]}×{size[1]} pixels; expected at least 16×16"):
        models.build("resnet8")(random_images(3, *size))


# ------------------------------------------------------------------------------------------------ what it shows


def test_float_images_are_taken_as_they_are_and_get_a_gradient():
    network = scrambled(models.build("resnet8", n_classes=2)).eval()
    images = random_images()
    floats = (images.float() / 255).requires_grad_()
    assert torch.equal(network.embed(floats), network.embed(images))
    network.embed(floats).sum().backward()
    assert floats.grad.abs().sum() > 0


def test_feature_maps_are_shown_by_name():
    network = scrambled(models.build("resnet14", n_classes=2)).eval()
    images = random_images(height=24, width=32)
    features, shown = network.look(images, "stage3", "stage1")
    assert {name: tuple(maps.shape) for name, maps in shown.items()} == {
        "stage1": (BATCH, 16, 24, 32),
        "stage3": (BATCH, 64, 6, 8),
    }
    assert torch.equal(features, network.embed(images))
    assert torch.allclose(shown["stage3"].mean(dim=(2, 3)), features)
    assert network.look(images)[1] == {}
    with pytest.raises(ValueError, match="shows no 'attention'; expected some of stage1, stage2, stage3"):
        network.look(images, "attention")


# ----------------------------------------------------------------------------------------------------- methods


class Teacher:
    """A stand-in for the frozen network that counts how often it is asked, and keeps what it was shown."""

    def __init__(self, view):
        self.view = view
        self.asked = []

    def __call__(self, images):
        self.asked.append(images)
        return self.view


def make_step(task, seed=0, n=12, n_old=4, n_new=3):
    """Return a step of the first task (no teacher) or of a later one, and its teacher."""
    g = torch.Generator().manual_seed(seed)
    teacher = Teacher(View(torch.randn(n, 64, generator=g), torch.randn(n, n_old, generator=g)))
    labels = torch.randint(0, n_old + n_new, (n,), generator=g)
    student = View(
        features=torch.randn(n, 64, generator=g).requires_grad_(),
        logits=torch.randn(n, n_old + n_new, generator=g).requires_grad_(),
    )
    images = random_images(n=n)
    step = Step(
        images=images,
        labels=labels,
        task=task,
        view=lambda _: student,
        teacher_view=teacher if task > 0 else None,
        index=torch.arange(n),
        raw=images,
        augment=lambda images: images,
    )
    return step, teacher


NEW_CLASSES = ["ce", "triplet"]
TERMS = {  # of the first task, of a later one
    "finetune": (NEW_CLASSES, NEW_CLASSES),
    "joint": (NEW_CLASSES, NEW_CLASSES),
    "lwf": (NEW_CLASSES, [*NEW_CLASSES, "kd"]),
    "csd": (NEW_CLASSES, [*NEW_CLASSES, "kd", "csd"]),
}


@pytest.mark.parametrize("task", [0, 1, 4])
@pytest.mark.parametrize("name", TERMS)
def test_a_method_returns_its_named_terms(name, task):
    step, teacher = make_step(task)
    terms = methods.NAMED[name](step)
    direct = {
        "ce": losses.cross_entropy(step.logits, step.labels),
        "triplet": losses.batch_hard_triplet(step.features, step.labels, margin=1.0),
        "kd": losses.distillation(step.logits, teacher.view.logits, temperature=2.0),
        "csd": losses.csd(step.features, teacher.view.features, step.labels, temperature=0.07),
    }
    assert list(terms) == TERMS[name][min(task, 1)]
    for term, value in terms.items():
        assert value.shape == ()
        assert value.requires_grad
        assert torch.equal(value, direct[term]), term
    assert torch.equal(sum(terms.values()), sum(direct[term] for term in terms))


@pytest.mark.parametrize("name", TERMS)
def test_the_teacher_is_asked_once_and_only_by_who_needs_it(name):
    step, teacher = make_step(task=1)
    methods.NAMED[name](step)
    asked = len(teacher.asked)
    assert asked == (1 if name in ("lwf", "csd") else 0)
    assert all(images is step.images for images in teacher.asked)
    methods.NAMED[name](step)
    assert len(teacher.asked) == asked  # it is remembered with the step


def test_the_first_task_has_no_teacher():
    assert make_step(task=0)[0].teacher is None


def test_a_weight_scales_its_own_term_only():
    step, _ = make_step(task=1)
    plain = methods.csd(step)
    weighted = methods.csd(step, weight=0.25)
    assert torch.equal(weighted["csd"], 0.25 * plain["csd"])
    assert all(torch.equal(weighted[term], plain[term]) for term in ("ce", "triplet", "kd"))

    plain, weighted = methods.lwf(step), methods.lwf(step, weight=3.0)
    assert torch.equal(weighted["kd"], 3 * plain["kd"])
    assert all(torch.equal(weighted[term], plain[term]) for term in ("ce", "triplet"))


def test_a_temperature_reaches_its_own_loss():
    step, teacher = make_step(task=1)
    kd = losses.distillation(step.logits, teacher.view.logits, temperature=5.0)
    assert torch.equal(methods.lwf(step, temperature=5.0)["kd"], kd)
    terms = methods.csd(step, temperature=0.5)
    csd = losses.csd(step.features, teacher.view.features, step.labels, temperature=0.5)
    assert torch.equal(terms["csd"], csd)
    assert torch.equal(terms["kd"], methods.lwf(step)["kd"])


def test_the_new_classes_get_no_gradient_from_distillation():
    step, teacher = make_step(task=1)
    (gradient,) = torch.autograd.grad(methods.lwf(step)["kd"], step.logits)
    n_old = teacher.view.logits.shape[1]
    assert gradient[:, :n_old].abs().sum() > 0
    assert gradient[:, n_old:].abs().sum() == 0


def test_joint_trains_on_all_tasks_before_the_first_and_then_rests():
    assert list(methods.joint.training_tasks(0, 5)) == [0, 1, 2, 3, 4]
    for task in range(1, 5):
        assert list(methods.joint.training_tasks(task, 5)) == []
    assert list(methods.joint.training_tasks(0, 1)) == [0]


@pytest.mark.parametrize("name", TERMS)
def test_methods_are_known_by_their_names(name):
    assert methods.NAMED[name].__name__ == name
    assert getattr(methods, name) is methods.NAMED[name]
