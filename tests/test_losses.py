"""The losses against plain loops in float64, against another library, and at the edges.

The references below are written from the formulas, one Python loop for each sum, and share no code with
`csd_edu.losses`. Gradients are compared in units of the row they belong to (gradient × row length), because
the losses don't depend on the lengths of the features and these span six decades here.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner

from csd_edu import losses

HALF = (torch.bfloat16, torch.float16)
several_examples = settings(max_examples=30, deadline=None, derandomize=True)


pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------------------------------------- references


def unit(row):
    """Return the row at length 1, or as it is if it is zero."""
    length = (row * row).sum().sqrt()
    return row / length if length > 0 else row


def mean_or_zero(values, connected_to):
    return sum(values) / len(values) if values else 0.0 * connected_to.sum()


def loop_cross_entropy(logits, labels):
    values = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        total = sum(logit.exp() for logit in row)
        values.append(-(row[label].exp() / total).log())
    return mean_or_zero(values, logits)


def loop_triplet(student, _teacher, labels, margin=1.0):
    labels = labels.tolist()
    f = [unit(row) for row in student]
    values = []
    for i, label in enumerate(labels):
        to_positives = [f[i] @ f[p] for p in range(len(f)) if p != i and labels[p] == label]
        to_negatives = [f[i] @ f[n] for n in range(len(f)) if labels[n] != label]
        if to_positives and to_negatives:
            value = torch.stack(to_negatives).max() - torch.stack(to_positives).min() + margin
            if value > 0:
                values.append(value)
    return mean_or_zero(values, student)


def loop_supervised_contrastive(student, _teacher, labels, temperature=0.07):
    labels = labels.tolist()
    f = [unit(row) for row in student]
    values = []
    for i, label in enumerate(labels):
        score = {a: (f[i] @ f[a] / temperature).exp() for a in range(len(f)) if a != i}
        positives = [p for p in score if labels[p] == label]
        if positives:
            total = sum(score.values())
            values.append(-sum((score[p] / total).log() for p in positives) / len(positives))
    return mean_or_zero(values, student)


def loop_csd(student, teacher, labels, temperature=0.07):
    labels = labels.tolist()
    n = len(labels)
    s = [unit(row) for row in student]
    t = [unit(row) for row in teacher]
    values = []
    for i in range(n):
        score = {}
        for a in range(n):
            if a != i:
                score["student", a] = (s[i] @ s[a] / temperature).exp()
            score["teacher", a] = (s[i] @ t[a] / temperature).exp()
        total = sum(score.values())
        positives = [(view, p) for view, p in score if labels[p] == labels[i]]
        values.append(-sum((score[p] / total).log() for p in positives) / len(positives))
    return sum(values) / n


def loop_distillation(student_logits, teacher_logits, temperature=2.0):
    n, n_old = teacher_logits.shape
    total = 0.0
    for i in range(n):
        p = [(teacher_logits[i, k] / temperature).exp() for k in range(n_old)]
        q = [(student_logits[i, k] / temperature).exp() for k in range(n_old)]
        sum_p, sum_q = sum(p), sum(q)
        for k in range(n_old):
            p_k, q_k = p[k] / sum_p, q[k] / sum_q
            total = total + p_k * (p_k / q_k).log()
    return total / n


# ------------------------------------------------------------------------------------------------- batches


def call_triplet(student, _teacher, labels, **options):
    return losses.batch_hard_triplet(student, labels, **options)


def call_supervised_contrastive(student, _teacher, labels, **options):
    return losses.supervised_contrastive(student, labels, **options)


# The losses on features under one signature: (student, teacher, labels).
ON_FEATURES = {
    "triplet": (call_triplet, loop_triplet),
    "supervised_contrastive": (call_supervised_contrastive, loop_supervised_contrastive),
    "csd": (losses.csd, loop_csd),
}
each_loss = pytest.mark.parametrize("name", ON_FEATURES)


def random_batch(seed, kind="several classes", dtype=torch.float64):
    """Return student and teacher features (B, D) and labels (B,), with B in 1..24 and D in 1..12."""
    g = torch.Generator().manual_seed(seed)

    def integer(low, high):
        return int(torch.randint(low, high + 1, (), generator=g))

    n, n_features, n_classes = integer(1, 24), integer(1, 12), integer(2, 8)
    student = torch.randn(n, n_features, generator=g, dtype=torch.float64)
    teacher = student + 0.5 * torch.randn(n, n_features, generator=g, dtype=torch.float64)
    student *= 10 ** (6 * torch.rand(n, 1, generator=g, dtype=torch.float64) - 3)  # lengths over six decades
    teacher *= 10 ** (6 * torch.rand(n, 1, generator=g, dtype=torch.float64) - 3)
    labels = torch.randint(0, n_classes, (n,), generator=g)
    if kind == "one class":
        labels[:] = 3
    elif kind == "all different":
        labels = torch.randperm(n, generator=g)
    elif kind == "two a class":
        labels = torch.arange(n)[torch.randperm(n, generator=g)] // 2
    elif kind == "duplicates":  # the same features again, under equal or other labels
        student = student[torch.randint(0, n, (n,), generator=g)]
    elif kind == "zero rows":
        student[torch.rand(n, generator=g) < 0.3] = 0
        teacher[torch.rand(n, generator=g) < 0.3] = 0
    return student.to(dtype), teacher.to(dtype), labels


KINDS = ("several classes", "one class", "all different", "two a class", "duplicates", "zero rows")


def value_and_gradient(loss, x, *others):
    """Return the loss and its gradient in x."""
    x = x.detach().clone().requires_grad_()
    value = loss(x, *others)
    (gradient,) = torch.autograd.grad(value, x)
    return value.detach(), gradient


def in_units_of_rows(gradient, features):
    length = features.double().norm(dim=1, keepdim=True)
    return gradient.double() * torch.where(length > 0, length, 1.0)


def summed_over_identical(gradient, features):
    """Give identical rows the sum of their gradients: which of two equal rows is the hardest is arbitrary."""
    same = (features[:, None] == features[None, :]).all(dim=2)
    return same.to(gradient.dtype) @ gradient


def assert_close(actual, expected, tolerance, what):
    """Compare in float64 (torch.testing.assert_close takes seconds to import)."""
    actual, expected = actual.double(), expected.double()
    assert actual.shape == expected.shape, what
    close = torch.allclose(actual, expected, rtol=tolerance, atol=tolerance)
    assert close, f"{what}: off by up to {(actual - expected).abs().max():.3g}\n{actual}\nis not\n{expected}"


# -------------------------------------------------------------------------------------- the loop references


@pytest.mark.parametrize("kind", KINDS)
@each_loss
def test_feature_losses_equal_the_loop(name, kind):
    loss, loop = ON_FEATURES[name]
    for seed in range(30):
        student, teacher, labels = random_batch(seed, kind)
        value, gradient = value_and_gradient(loss, student, teacher, labels)
        expected, expected_gradient = value_and_gradient(loop, student, teacher, labels)
        what = f"{name}, {kind}, seed {seed}"
        assert_close(value, expected, 1e-8, what)
        if kind == "duplicates":
            gradient, expected_gradient = (summed_over_identical(g, student) for g in (gradient, expected_gradient))
        assert_close(in_units_of_rows(gradient, student), in_units_of_rows(expected_gradient, student), 1e-8, what)


@pytest.mark.parametrize("kind", ["several classes", "two a class", "zero rows"])
@each_loss
def test_feature_losses_in_float32_equal_the_float64_loop(name, kind):
    loss, loop = ON_FEATURES[name]
    for seed in range(100, 120):
        student, teacher, labels = random_batch(seed, kind, torch.float32)
        value, gradient = value_and_gradient(loss, student, teacher, labels)
        expected, expected_gradient = value_and_gradient(loop, student.double(), teacher.double(), labels)
        what = f"{name}, {kind}, seed {seed}"
        assert value.dtype == torch.float32
        assert_close(value, expected, 1e-5, what)
        # A gradient is up to 2/temperature = 29 in these units.
        assert_close(in_units_of_rows(gradient, student), in_units_of_rows(expected_gradient, student), 1e-4, what)


@each_loss
@pytest.mark.parametrize("option", [0.05, 0.4, 2.5])
def test_feature_losses_with_another_margin_or_temperature(name, option):
    loss, loop = ON_FEATURES[name]
    options = {"margin" if name == "triplet" else "temperature": option}
    for seed in range(200, 210):
        student, teacher, labels = random_batch(seed)
        value, gradient = value_and_gradient(partial(loss, **options), student, teacher, labels)
        expected, expected_gradient = value_and_gradient(partial(loop, **options), student, teacher, labels)
        assert_close(value, expected, 1e-8, f"{name}, seed {seed}")
        assert_close(
            in_units_of_rows(gradient, student),
            in_units_of_rows(expected_gradient, student),
            1e-8,
            f"{name}, seed {seed}",
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_losses_on_logits_equal_the_loop(dtype, tolerance):
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        n, n_old, n_new = (int(torch.randint(low, high, (), generator=g)) for low, high in [(1, 25), (1, 8), (0, 8)])
        temperature = [1.0, 2.0, 5.0][seed % 3]
        scale = [0.1, 1.0, 10.0][seed // 3 % 3]
        student = scale * torch.randn(n, n_old + n_new, generator=g, dtype=dtype)
        teacher = scale * torch.randn(n, n_old, generator=g, dtype=dtype)
        labels = torch.randint(0, n_old + n_new, (n,), generator=g)

        value, gradient = value_and_gradient(losses.cross_entropy, student, labels)
        expected, expected_gradient = value_and_gradient(loop_cross_entropy, student.double(), labels)
        assert_close(value, expected, tolerance, f"cross-entropy, seed {seed}")
        assert_close(gradient, expected_gradient, tolerance, f"cross-entropy, seed {seed}")

        loss = partial(losses.distillation, temperature=temperature)
        loop = partial(loop_distillation, temperature=temperature)
        value, gradient = value_and_gradient(loss, student, teacher)
        expected, expected_gradient = value_and_gradient(loop, student.double(), teacher.double())
        assert_close(value, expected, tolerance, f"distillation, seed {seed}")
        assert_close(gradient, expected_gradient, tolerance, f"distillation, seed {seed}")


# ------------------------------------------------------------------------------------ values worked by hand


def test_values_worked_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)

    assert losses.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).item() == pytest.approx(math.log(4))

    # Anchor 0: positive at cosine 0, negative at 1 -> 1 − 0 + 1; anchor 1: both at 0 -> 1; anchor 2: no positive.
    triplet = losses.batch_hard_triplet(x, torch.tensor([0, 0, 1]))
    assert triplet.item() == pytest.approx((2 + 1) / 2)

    # Two orthogonal classes of one image each, unmoved since the teacher: the own teacher view against two others.
    csd = losses.csd(x[:2], x[:2], torch.tensor([0, 1]), temperature=0.5)
    assert csd.item() == pytest.approx(math.log(1 + 2 * math.exp(-1 / 0.5)))

    # The same pair as one class: positives are the own teacher at cosine 1, the other student and teacher at 0.
    csd = losses.csd(x[:2], x[:2], torch.tensor([7, 7]), temperature=0.5)
    assert csd.item() == pytest.approx(math.log(math.exp(2) + 2) - (2 + 0 + 0) / 3)

    # The teacher says 3/4 : 1/4, the student 1/2 : 1/2 and something about a class the teacher never saw.
    teacher = torch.tensor([[math.log(0.75), math.log(0.25)]])
    student = torch.tensor([[0.0, 0.0, 5.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert losses.distillation(student, teacher, temperature=1.0).item() == pytest.approx(expected)
    assert losses.distillation(2 * student, 2 * teacher, temperature=2.0).item() == pytest.approx(expected)


def test_default_options_are_those_of_the_paper():
    student, teacher, labels = random_batch(3)
    assert losses.batch_hard_triplet(student, labels) == losses.batch_hard_triplet(student, labels, margin=1.0)
    assert losses.csd(student, teacher, labels) == losses.csd(student, teacher, labels, temperature=0.07)
    assert losses.distillation(student, teacher) == losses.distillation(student, teacher, temperature=2.0)


# --------------------------------------------------------------------------------- pytorch-metric-learning


def pml_triplet(student, _teacher, labels):
    hardest = BatchHardMiner(distance=CosineSimilarity())(student, labels)
    return TripletMarginLoss(margin=1.0, distance=CosineSimilarity())(student, labels, hardest)


def pml_supervised_contrastive(student, _teacher, labels):
    return SupConLoss(temperature=0.07)(student, labels)


def pml_csd(student, teacher, labels):
    """SupCon between the students and all students and teachers, without the pairs of a student with itself."""
    both_labels = torch.cat([labels, labels])
    same = labels[:, None] == both_labels[None, :]
    itself = torch.arange(len(labels))[:, None] == torch.arange(2 * len(labels))[None, :]
    pairs = (*torch.where(same & ~itself), *torch.where(~same))
    return SupConLoss(temperature=0.07)(
        student, labels, pairs, ref_emb=torch.cat([student, teacher]), ref_labels=both_labels
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("triplet", pml_triplet),
        ("supervised_contrastive", pml_supervised_contrastive),
        ("csd", pml_csd),
    ],
)
def test_feature_losses_equal_pytorch_metric_learning(name, other):
    """On batches of two classes or more: of one class alone the library says 0 by convention."""
    loss, _ = ON_FEATURES[name]
    compared = 0
    for seed in range(150):
        student, teacher, labels = random_batch(seed, "several classes" if seed % 2 else "two a class")
        if labels.unique().numel() < 2 or student.shape[1] < 2:
            continue
        value, gradient = value_and_gradient(loss, student, teacher, labels)
        expected, expected_gradient = value_and_gradient(other, student, teacher, labels)
        assert_close(value, expected, 1e-8, f"{name}, seed {seed}")
        assert_close(
            in_units_of_rows(gradient, student),
            in_units_of_rows(expected_gradient, student),
            1e-8,
            f"{name}, seed {seed}",
        )
        compared += 1
    assert compared > 100


# --------------------------------------------------------------------------------------------- edge cases

FEATURES = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
EDGES = {
    "one class": (FEATURES, torch.zeros(8, dtype=torch.long)),
    "one sample a class": (FEATURES, torch.arange(8)),
    "one sample": (FEATURES[:1], torch.tensor([4])),
    "one feature": (FEATURES[:, :1], CLASSES),
    "all zero": (torch.zeros(8, 5), CLASSES),
    "all zero, one class": (torch.zeros(8, 5), torch.zeros(8, dtype=torch.long)),
    "some rows zero": (FEATURES * (torch.arange(8) % 3 > 0)[:, None], CLASSES),
    "a collapsed network": (torch.ones(8, 5), CLASSES),
    "a collapsed class": (FEATURES[[0, 0, 0, 1, 1, 1, 2, 2]], CLASSES),
    "opposite rows": (FEATURES[[0, 1, 2, 3, 0, 1, 2, 3]] * torch.tensor([[1.0]] * 4 + [[-1.0]] * 4), CLASSES),
    "one-hot rows": (torch.eye(8), CLASSES),
    "huge": (FEATURES * 1e30, CLASSES),
    "the largest floats": (FEATURES.sign() * torch.finfo(torch.float32).max, CLASSES),
    "tiny": (FEATURES * 1e-25, CLASSES),
    "below the normal floats": (FEATURES * 1e-40, CLASSES),
    "huge and tiny rows": (FEATURES * 10.0 ** torch.linspace(-25, 30, 8)[:, None], CLASSES),
    "huge and tiny columns": (FEATURES * 10.0 ** torch.linspace(-25, 30, 5), CLASSES),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edge", EDGES)
@each_loss
def test_edges_stay_finite(name, edge, dtype):
    loss, _ = ON_FEATURES[name]
    features, labels = EDGES[edge]
    features = features.to(dtype)
    teachers = [features, features.flip(0), torch.zeros_like(features), torch.ones_like(features) * 1e-3]
    for teacher in teachers if name == "csd" else teachers[:1]:
        value, gradient = value_and_gradient(loss, features, teacher, labels)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "edge", ["one feature", "some rows zero", "huge", "the largest floats", "tiny", "huge and tiny rows"]
)
@each_loss
def test_edges_have_the_value_of_the_loop(name, edge):
    """The reference works in float64, where squares of float32 numbers neither overflow nor vanish."""
    loss, loop = ON_FEATURES[name]
    features, labels = EDGES[edge]
    for teacher in (features, features.flip(0)):
        value, gradient = value_and_gradient(loss, features, teacher, labels)
        expected, expected_gradient = value_and_gradient(loop, features.double(), teacher.double(), labels)
        assert_close(value, expected, 1e-5, edge)
        assert_close(in_units_of_rows(gradient, features), in_units_of_rows(expected_gradient, features), 1e-4, edge)


@pytest.mark.parametrize("edge", ["one class", "one sample a class", "one sample", "all zero, one class"])
def test_no_valid_triplet_is_a_zero_that_can_go_backward(edge):
    features, labels = EDGES[edge]
    features = features.clone().requires_grad_()
    loss = losses.batch_hard_triplet(features, labels)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("edge", ["one sample a class", "one sample"])
def test_no_positive_pair_is_a_zero_that_can_go_backward(edge):
    features, labels = EDGES[edge]
    features = features.clone().requires_grad_()
    loss = losses.supervised_contrastive(features, labels)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_a_margin_just_kept_is_no_loss_and_no_gradient():
    features = torch.eye(2)[[0, 0, 1, 1]].requires_grad_()  # positives at cosine 1, negatives at 0: the gap is 0
    loss = losses.batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=1.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros(4, 2))


def test_triplet_averages_over_the_non_zero_losses_only():
    features = torch.eye(3)[[0, 0, 1, 2]]  # classes 0 0 1 1: the first is tidy, the second is not
    loss = losses.batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]), margin=0.5)
    assert loss.item() == pytest.approx(0.5)  # not (0 + 0 + 0.5 + 0.5) / 4


def test_a_lone_image_of_csd_has_only_its_teacher():
    student, teacher = FEATURES[:1].clone().requires_grad_(), FEATURES[1:2]
    loss = losses.csd(student, teacher, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


# ----------------------------------------------------------------------------------------------- gradients


def test_no_gradient_flows_into_the_teacher():
    student, teacher, labels = random_batch(5)
    for loss in (
        lambda s, t: losses.csd(s, t, labels),
        lambda s, t: losses.distillation(s, t),
    ):
        s, t = student.clone().requires_grad_(), teacher.clone().requires_grad_()
        loss(s, t).backward()
        assert t.grad is None
        assert s.grad.abs().sum() > 0
        assert loss(student, teacher) != loss(student, teacher.roll(1, dims=1))  # the teacher does count


# --------------------------------------------------------------------------------------------- precision


def all_losses(student, teacher, labels):
    """Return every loss by name; features serve as logits too."""
    return {
        "cross_entropy": losses.cross_entropy(student, labels),
        "triplet": losses.batch_hard_triplet(student, labels),
        "distillation": losses.distillation(student, teacher),
        "supervised_contrastive": losses.supervised_contrastive(student, labels),
        "csd": losses.csd(student, teacher, labels),
    }


def precision_batch(dtype, scale=3.0):
    g = torch.Generator().manual_seed(11)
    student = torch.randn(16, 6, generator=g, dtype=torch.float64)
    teacher = student + 0.3 * torch.randn(16, 6, generator=g, dtype=torch.float64)
    labels = torch.randint(0, 4, (16,), generator=g)
    return (scale * student).to(dtype), (scale * teacher).to(dtype), labels


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_raised_to_float32(dtype):
    student, teacher, labels = precision_batch(dtype)
    raised = all_losses(student.float(), teacher.float(), labels)
    for name, value in all_losses(student, teacher, labels).items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, raised[name]), name


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_autocast_changes_nothing(dtype):
    student, teacher, labels = precision_batch(dtype)
    student.requires_grad_()

    expected = all_losses(student, teacher, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = all_losses(student, teacher, labels)
    for name, value in values.items():
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32), name
        assert torch.equal(value, expected[name]), name
        # Outside, as in training: a backward pass inside autocast would run its matrix products in bfloat16.
        gradients = [torch.autograd.grad(v, student)[0] for v in (value, expected[name])]
        assert torch.equal(*gradients), name


def test_features_computed_under_autocast_keep_a_gradient_path():
    layer = torch.nn.Linear(6, 6)
    x, teacher, labels = precision_batch(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = layer(x)
        assert features.dtype == torch.bfloat16
        total = sum(all_losses(features, teacher.bfloat16(), labels).values())
    total.backward()
    assert total.dtype == torch.float32
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().sum() > 0


def test_large_float16_values_do_not_overflow():
    student, teacher, labels = precision_batch(torch.float16)
    student, teacher = student.sign() * 6e4, teacher.sign() * 6e4  # float16 ends at 65504
    raised = all_losses(student.float(), teacher.float(), labels)
    for name, value in all_losses(student, teacher, labels).items():
        assert value.isfinite(), name
        assert torch.equal(value, raised[name]), name


@pytest.mark.parametrize(
    ("student_dtype", "teacher_dtype", "expected"),
    [
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.float32, torch.float64, torch.float32),
        (torch.float64, torch.float32, torch.float64),
    ],
)
def test_csd_takes_a_teacher_of_another_precision(student_dtype, teacher_dtype, expected):
    student, teacher, labels = precision_batch(torch.float64)
    value = losses.csd(student.to(student_dtype), teacher.to(teacher_dtype), labels)
    assert value.dtype == expected
    assert value.item() == pytest.approx(losses.csd(student, teacher, labels).item(), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_any_integer_labels_will_do(dtype):
    student, teacher, labels = precision_batch(torch.float64)
    expected = all_losses(student, teacher, labels)
    for name, value in all_losses(student, teacher, labels.to(dtype)).items():
        assert torch.equal(value, expected[name]), name


# ----------------------------------------------------------------------------------------------- properties


@st.composite
def batches(draw, most_classes=6):
    """Student and teacher features (B, D >= 2), labels, and a generator for what else a property needs."""
    n, n_features = draw(st.integers(1, 20)), draw(st.integers(2, 9))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    labels = torch.tensor(draw(st.lists(st.integers(0, most_classes - 1), min_size=n, max_size=n)))
    student, teacher = torch.randn(2, n, n_features, generator=g, dtype=torch.float64)
    return student, teacher, labels, g


@each_loss
@several_examples
@given(batch=batches())
def test_the_order_of_the_batch_does_not_matter(name, batch):
    loss, _ = ON_FEATURES[name]
    student, teacher, labels, g = batch
    order = torch.randperm(len(labels), generator=g)
    value, gradient = value_and_gradient(loss, student, teacher, labels)
    shuffled, shuffled_gradient = value_and_gradient(loss, student[order], teacher[order], labels[order])
    assert_close(shuffled, value, 1e-9, name)
    assert_close(shuffled_gradient, gradient[order], 1e-9, name)


@each_loss
@several_examples
@given(batch=batches())
def test_the_lengths_of_the_features_do_not_matter(name, batch):
    loss, _ = ON_FEATURES[name]
    student, teacher, labels, g = batch
    lengths = 10 ** (8 * torch.rand(2, len(labels), 1, generator=g, dtype=torch.float64) - 4)
    value = loss(student, teacher, labels)
    assert_close(loss(student * lengths[0], teacher * lengths[1], labels), value, 1e-9, name)


@each_loss
@several_examples
@given(batch=batches())
def test_a_rotation_of_the_feature_space_does_not_matter(name, batch):
    loss, _ = ON_FEATURES[name]
    student, teacher, labels, g = batch
    rotation, _ = torch.linalg.qr(torch.randn(2 * student.shape[1:], generator=g, dtype=torch.float64))
    value = loss(student, teacher, labels)
    assert_close(loss(student @ rotation, teacher @ rotation, labels), value, 1e-9, name)


@each_loss
@several_examples
@given(batch=batches(), names=st.permutations([-7, 0, 3, 41, 999, 2**40]))
def test_the_names_of_the_classes_do_not_matter(name, batch, names):
    loss, _ = ON_FEATURES[name]
    student, teacher, labels, _g = batch
    renamed = torch.tensor(names)[labels]
    assert torch.equal(loss(student, teacher, renamed), loss(student, teacher, labels))


@each_loss
@several_examples
@given(batch=batches())
def test_feature_losses_are_bounded(name, batch):
    loss, _ = ON_FEATURES[name]
    student, teacher, labels, _g = batch
    # A triplet gap is at most 2 + margin; −log of a share among M is at most log M + 2/temperature.
    most = 3 if name == "triplet" else math.log(2 * len(labels)) + 2 / 0.07
    assert 0 <= loss(student, teacher, labels) <= most + 1e-9


@several_examples
@given(batch=batches())
def test_csd_may_exchange_the_teacher_views_within_a_class(batch):
    student, teacher, labels, g = batch
    value = losses.csd(student, teacher, labels)
    within_class = torch.arange(len(labels))
    for label in labels.unique():
        members = torch.where(labels == label)[0]
        within_class[members] = members[torch.randperm(len(members), generator=g)]
    # Supervised by class: which image of a class a teacher view shows makes no difference.
    assert_close(losses.csd(student, teacher[within_class], labels), value, 1e-9, "csd")


@st.composite
def answers(draw):
    """Student logits (B, C), teacher logits (B, K) with K <= C, and a generator."""
    n, n_old, n_new = draw(st.integers(1, 12)), draw(st.integers(1, 8)), draw(st.integers(0, 8))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
    student = scale * torch.randn(n, n_old + n_new, generator=g, dtype=torch.float64)
    teacher = scale * torch.randn(n, n_old, generator=g, dtype=torch.float64)
    return student, teacher, g


@several_examples
@given(answers=answers())
def test_distillation_is_a_divergence(answers):
    student, teacher, _g = answers
    assert losses.distillation(student, teacher) >= -1e-12
    student[:, : teacher.shape[1]] = teacher
    value, gradient = value_and_gradient(losses.distillation, student, teacher)
    assert value.abs() < 1e-12
    assert gradient.abs().max() < 1e-12


@several_examples
@given(answers=answers())
def test_distillation_sees_only_the_old_classes(answers):
    student, teacher, g = answers
    n_old = teacher.shape[1]
    value, gradient = value_and_gradient(losses.distillation, student, teacher)
    assert torch.equal(gradient[:, n_old:], torch.zeros_like(gradient[:, n_old:]))
    student[:, n_old:] = 100 * torch.randn(student[:, n_old:].shape, generator=g, dtype=torch.float64)
    assert torch.equal(losses.distillation(student, teacher), value)


@several_examples
@given(answers=answers())
def test_distillation_compares_answers_not_logits(answers):
    """A constant added to all of a sample's logits does not change its softmax."""
    student, teacher, g = answers
    shift = torch.randn(2, len(student), 1, generator=g, dtype=torch.float64)
    value = losses.distillation(student, teacher)
    assert_close(losses.distillation(student + shift[0], teacher + shift[1]), value, 1e-9, "distillation")


# -------------------------------------------------------------------------------------------- bad arguments

WITH_LABELS = {
    "logits": losses.cross_entropy,
    "features": losses.batch_hard_triplet,
    "features ": losses.supervised_contrastive,
    "student": lambda student, labels: losses.csd(student, student, labels),
}


@pytest.mark.parametrize(
    ("shape", "labels_shape"),
    [((6,), (6,)), ((6, 4, 1), (6,)), ((6, 4), (5,)), ((6, 4), (6, 1)), ((0, 4), (0,)), ((6, 0), (6,))],
)
@pytest.mark.parametrize("name", WITH_LABELS)
def test_shapes_that_do_not_fit_are_named(name, shape, labels_shape):
    with pytest.raises(ValueError, match=r"expected \(B, D\) and \(B,\)") as caught:
        WITH_LABELS[name](torch.ones(shape), torch.zeros(labels_shape, dtype=torch.long))
    message = str(caught.value)
    assert message.startswith(name.strip())
    assert str(tuple(shape)) in message
    assert str(tuple(labels_shape)) in message


@pytest.mark.parametrize("name", WITH_LABELS)
def test_float_labels_are_refused(name):
    with pytest.raises(ValueError, match=r"labels are torch.float32; expected integers"):
        WITH_LABELS[name](torch.ones(3, 2), torch.tensor([0.0, 1.0, 1.0]))


@pytest.mark.parametrize("margin", [0, -0.5, math.nan])
def test_a_margin_must_be_positive(margin):
    with pytest.raises(ValueError, match=f"margin is {margin}; expected a positive"):
        losses.batch_hard_triplet(FEATURES, CLASSES, margin=margin)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_a_temperature_must_be_positive(temperature):
    for loss in (
        lambda **options: losses.csd(FEATURES, FEATURES, CLASSES, **options),
        lambda **options: losses.supervised_contrastive(FEATURES, CLASSES, **options),
        lambda **options: losses.distillation(FEATURES, FEATURES, **options),
    ):
        with pytest.raises(ValueError, match=f"temperature is {temperature}; expected a number above 0"):
            loss(temperature=temperature)


@pytest.mark.parametrize("shape", [(7, 5), (8, 4), (8,), (8, 5, 1)])
def test_csd_wants_teacher_features_of_the_same_images(shape):
    with pytest.raises(ValueError, match=r"student \(8, 5\) and teacher \(.*don't fit; expected .* same images"):
        losses.csd(FEATURES, torch.ones(shape), CLASSES)


@pytest.mark.parametrize(
    ("student_shape", "teacher_shape"),
    [((8, 5), (7, 5)), ((8,), (8,)), ((8, 5), (8,)), ((8, 5, 1), (8, 5, 1)), ((0, 5), (0, 5)), ((8, 5), (8, 0))],
)
def test_distillation_wants_answers_to_the_same_images(student_shape, teacher_shape):
    with pytest.raises(ValueError, match=r"expected \(B, C\) and \(B, K\) with the same B") as caught:
        losses.distillation(torch.ones(student_shape), torch.ones(teacher_shape))
    assert f"student_logits {student_shape} and teacher_logits {teacher_shape}" in str(caught.value)


def test_distillation_suspects_swapped_arguments():
    with pytest.raises(ValueError, match=r"student answers for 5 classes, the teacher for 9.*swapped"):
        losses.distillation(torch.ones(8, 5), torch.ones(8, 9))


# ------------------------------------------------------------------------------------------- the pairs of CSD


def loop_pairs(student, teacher, labels, temperature):
    """Return similarity, positive, weight and pull of each pair, and the loss of each anchor by its similarities."""
    labels, n = labels.tolist(), len(labels)
    units = [unit(row) for row in [*student, *teacher]]
    table = torch.zeros(4, n, 2 * n, dtype=torch.float64)
    anchor_losses = torch.zeros(n, dtype=torch.float64)
    for i in range(n):
        similarity = torch.stack([units[i] @ other for other in units]).requires_grad_()
        contrasted = [a for a in range(2 * n) if a != i]
        positives = [a for a in contrasted if labels[a % n] == labels[i]]
        total = sum((similarity[a] / temperature).exp() for a in contrasted)
        loss = -sum(((similarity[p] / temperature).exp() / total).log() for p in positives) / len(positives)
        (gradient,) = torch.autograd.grad(loss, similarity)
        table[0, i] = similarity.detach()
        table[1, i, positives] = 1.0
        for a in contrasted:
            table[2, i, a] = (similarity[a].detach() / temperature).exp() / total.detach()
        table[3, i] = -temperature * gradient
        anchor_losses[i] = loss.detach()
    return *table, anchor_losses.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_equal_the_loop_and_pull_is_the_gradient_by_autograd(kind):
    for seed in range(300, 306):
        student, teacher, labels = random_batch(seed, kind)
        temperature = [0.05, 0.3, 2.0][seed % 3]
        pairs = losses.csd_pairs(student, teacher, labels, temperature=temperature)
        similarity, positive, weight, pull, loss = loop_pairs(student, teacher, labels, temperature)
        what = f"{kind}, seed {seed}"
        assert_close(pairs.similarity, similarity, 1e-9, what)
        assert pairs.positive.dtype == torch.bool
        assert_close(pairs.positive, positive, 0, what)
        assert_close(pairs.weight, weight, 1e-9, what)
        assert_close(pairs.pull, pull, 1e-8, what)
        assert pairs.loss == pytest.approx(float(loss), rel=1e-9, abs=1e-9), what


@several_examples
@given(batch=batches(), temperature=st.sampled_from([0.02, 0.07, 1.0]))
def test_weights_are_shares_and_the_pulls_of_an_anchor_cancel(batch, temperature):
    student, teacher, labels, _g = batch
    pairs = losses.csd_pairs(student, teacher, labels, temperature=temperature)
    ones, n = torch.ones(len(labels)), len(labels)
    assert_close(pairs.weight.sum(dim=1), ones, 1e-12, "weights")
    assert pairs.weight.min() >= 0
    assert_close(pairs.pull.sum(dim=1), 0 * ones, 1e-12, "pulls")
    assert torch.equal(pairs.weight[:, :n].diagonal(), 0 * ones.double())  # nothing is contrasted with itself
    assert torch.equal(pairs.pull[:, :n].diagonal(), 0 * ones.double())
    assert (pairs.pull[~pairs.positive] <= 0).all()  # a negative is never drawn nearer
    assert pairs.loss == losses.csd(student, teacher, labels, temperature=temperature).item()


def test_a_low_temperature_gives_all_weight_to_the_most_similar_pair():
    student, teacher, labels = precision_batch(torch.float64)
    pairs = losses.csd_pairs(student, teacher, labels, temperature=1e-4)
    without_self = pairs.similarity.clone()
    without_self[:, : len(labels)].fill_diagonal_(-2)
    assert_close(pairs.weight, F.one_hot(without_self.argmax(dim=1), 2 * len(labels)), 1e-6, "weights")
    assert pairs.loss == losses.csd(student, teacher, labels, temperature=1e-4).item()


def test_a_high_temperature_weighs_all_pairs_alike():
    student, teacher, labels = precision_batch(torch.float64)
    weight = losses.csd_pairs(student, teacher, labels, temperature=1e6).weight
    assert_close(weight[weight > 0], torch.full((16 * 31,), 1 / 31), 1e-5, "weights")


def test_pairs_worked_by_hand():
    """Two orthogonal classes of one image each, unmoved since the teacher: positive at cosine 1, the others at 0."""
    x = torch.eye(2, dtype=torch.float64)
    pairs = losses.csd_pairs(x, x, torch.tensor([0, 1]), temperature=0.5)
    own, other = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    assert_close(pairs.weight, torch.tensor([[0, other, own, other], [other, 0, other, own]]), 1e-6, "weights")
    assert_close(pairs.pull, torch.tensor([[0, -other, 1 - own, -other], [-other, 0, -other, 1 - own]]), 1e-6, "pulls")


def test_the_default_temperature_of_pairs_is_that_of_csd():
    student, teacher, labels = precision_batch(torch.float64)
    assert losses.csd_pairs(student, teacher, labels).loss == losses.csd(student, teacher, labels).item()


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_pairs_are_exact_under_autocast_and_carry_no_gradient(dtype):
    student, teacher, labels = precision_batch(dtype)
    student.requires_grad_()
    expected = losses.csd_pairs(student, teacher, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = losses.csd_pairs(student, teacher, labels)
    for name in ("similarity", "weight", "pull"):
        value = getattr(pairs, name)
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32), name
        assert not value.requires_grad, name
        assert torch.equal(value, getattr(expected, name)), name
    assert pairs.loss == losses.csd(student, teacher, labels).item()


def test_pairs_refuse_what_csd_refuses():
    for arguments, message in [
        ((FEATURES, FEATURES, CLASSES[:-1]), r"expected \(B, D\) and \(B,\)"),
        ((FEATURES, FEATURES, CLASSES.float()), "expected integers"),
        ((FEATURES, FEATURES[:, :4], CLASSES), r"student \(8, 5\) and teacher \(8, 4\) don't fit"),
    ]:
        with pytest.raises(ValueError, match=message):
            losses.csd_pairs(*arguments)
    with pytest.raises(ValueError, match="temperature is 0; expected a number above 0"):
        losses.csd_pairs(FEATURES, FEATURES, CLASSES, temperature=0)
