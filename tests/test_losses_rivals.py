"""The rivals' losses against plain loops in float64, against their authors' code, and at the edges.

The references below are written from the formulas, one Python loop for each sum, and share no code with
`csd_edu.losses`.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from csd_edu import losses
from csd_edu.memory import Memory
from tests.test_losses import HALF, assert_close, in_units_of_rows, random_batch, unit, value_and_gradient

several_examples = settings(max_examples=30, deadline=None, derandomize=True)


pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------------------------------------- references


def loop_cosine(student, teacher):
    return sum(1 - unit(s) @ unit(t) for s, t in zip(student, teacher, strict=True)) / len(student)


def loop_l2(student, teacher):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(s, t, strict=True):
            total = total + (a - b) ** 2
    return total / len(student)


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def loop_mmd(student, teacher, multiples=(0.25, 0.5, 1.0, 2.0, 4.0), bandwidth=None):
    n = len(student)
    if bandwidth is None:
        rows = [*student.detach(), *teacher]
        between = [squared_distance(rows[i], rows[j]) for i in range(2 * n) for j in range(2 * n) if i != j]
        bandwidth = sum(between) / len(between)

    def kernel(a, b):
        return sum((-squared_distance(a, b) / (m * bandwidth)).exp() for m in multiples)

    total = 0.0
    for i in range(n):
        for j in range(n):
            total = total + kernel(student[i], student[j]) + kernel(teacher[i], teacher[j])
            total = total - kernel(student[i], teacher[j]) - kernel(teacher[i], student[j])
    return total / n**2


def loop_correlation(student, teacher, temperature=4.0):
    n = len(student)
    s, t = [unit(row) for row in student], [unit(row) for row in teacher]
    total = 0.0
    for i in range(n):
        p = [(t[i] @ t[j] / temperature).exp() for j in range(n)]
        q = [(s[i] @ s[j] / temperature).exp() for j in range(n)]
        for j in range(n):
            total = total + p[j] / sum(p) * (p[j] / sum(p) / (q[j] / sum(q))).log()
    return temperature**2 * total / n


def loop_logit_matching(student, stored):
    gaps = []
    for student_row, stored_row in zip(student, stored, strict=True):
        for k, value in enumerate(stored_row.tolist()):
            if value == value:  # NaN is not itself
                gaps.append((student_row[k] - value) ** 2)
    return sum(gaps) / len(gaps) if gaps else 0.0 * student.sum()


ON_DIRECTIONS = {  # which don't depend on the lengths of the features
    "cosine": (losses.feature_distillation, loop_cosine),
    "correlation": (losses.correlation_distillation, loop_correlation),
}
ON_FEATURES = {
    **ON_DIRECTIONS,
    "l2": (partial(losses.feature_distillation, kind="l2"), loop_l2),
    "mmd": (losses.mmd, loop_mmd),
    "mmd, fixed": (
        partial(losses.mmd, multiples=[0.3, 2.0], bandwidth=5.0),
        partial(loop_mmd, multiples=[0.3, 2.0], bandwidth=5.0),
    ),
}
each_loss = pytest.mark.parametrize("name", ON_FEATURES)


def features(seed, dtype=torch.float64, most=9):
    """Return student and teacher features (B, D), with B in 1..most and D in 1..8."""
    g = torch.Generator().manual_seed(seed)
    n, dim = int(torch.randint(1, most + 1, (), generator=g)), int(torch.randint(1, 9, (), generator=g))
    student = torch.randn(n, dim, generator=g, dtype=torch.float64)
    return student.to(dtype), (student + 0.7 * torch.randn(n, dim, generator=g, dtype=torch.float64)).to(dtype)


def by_formula(n, width, a, b):
    """Return (n, width) with sin(a·i + b·j + i·j) in row i, column j."""
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(width, dtype=torch.float64)[None, :]
    return torch.sin(a * i + b * j + i * j)


# -------------------------------------------------------------------------------------- the loop references


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@each_loss
def test_feature_losses_equal_the_loop(name, dtype, tolerance):
    loss, loop = ON_FEATURES[name]
    for seed in range(15):
        student, teacher = features(seed, dtype)
        value, gradient = value_and_gradient(loss, student, teacher)
        expected, expected_gradient = value_and_gradient(loop, student.double(), teacher.double())
        assert value.dtype == dtype
        assert_close(value, expected, tolerance, f"{name}, seed {seed}")
        assert_close(gradient, expected_gradient, tolerance, f"{name}, seed {seed}")


@pytest.mark.parametrize("kind", ["several classes", "duplicates", "zero rows"])
@pytest.mark.parametrize("name", ON_DIRECTIONS)
def test_lengths_over_six_decades_equal_the_loop(name, kind):
    loss, loop = ON_DIRECTIONS[name]
    for seed in range(8):
        student, teacher, _ = random_batch(seed, kind)
        student, teacher = student[:10], teacher[:10]
        value, gradient = value_and_gradient(loss, student, teacher)
        expected, expected_gradient = value_and_gradient(loop, student, teacher)
        what = f"{name}, {kind}, seed {seed}"
        assert_close(value, expected, 1e-8, what)
        assert_close(in_units_of_rows(gradient, student), in_units_of_rows(expected_gradient, student), 1e-8, what)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
def test_correlations_at_other_temperatures_equal_the_loop(temperature):
    for seed in range(8):
        student, teacher = features(seed)
        value = losses.correlation_distillation(student, teacher, temperature=temperature)
        assert_close(value, loop_correlation(student, teacher, temperature), 1e-9, f"seed {seed}")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_logit_matching_equals_the_loop(dtype, tolerance):
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        n, n_stored, n_new = (int(torch.randint(low, high, (), generator=g)) for low, high in [(1, 9), (1, 7), (0, 5)])
        student = 3 * torch.randn(n, n_stored + n_new, generator=g, dtype=dtype)
        stored = 3 * torch.randn(n, n_stored, generator=g, dtype=dtype)
        stored[torch.rand(n, n_stored, generator=g) < seed % 3 / 3] = torch.nan
        value, gradient = value_and_gradient(losses.logit_matching, student, stored)
        expected, expected_gradient = value_and_gradient(loop_logit_matching, student.double(), stored.double())
        assert_close(value, expected, tolerance, f"seed {seed}")
        assert_close(gradient, expected_gradient, tolerance, f"seed {seed}")


@pytest.mark.parametrize("name", [name for name in ON_FEATURES if name != "mmd"])  # its bandwidth has no gradient
def test_gradients_are_those_of_finite_differences(name):
    for seed in range(4):
        student, teacher = features(seed, most=5)
        loss, _ = ON_FEATURES[name]
        assert torch.autograd.gradcheck(lambda s, loss=loss, t=teacher: loss(s, t), student.requires_grad_())


def test_the_gradient_of_logit_matching_is_that_of_finite_differences():
    stored = torch.tensor([[1.0, math.nan, 2.0], [0.5, -1.0, math.nan]], dtype=torch.float64)
    student = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: losses.logit_matching(s, stored), student)


# ------------------------------------------------------------------------ values by hand, and by others' code


def test_values_worked_by_hand():
    s = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    t = torch.tensor([[0.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    assert losses.feature_distillation(s, t).item() == pytest.approx((1 + 0) / 2)
    assert losses.feature_distillation(s, t, kind="l2").item() == pytest.approx((9 + 4) / 2)

    # One image, 2 apart, σ = 4 by either way: k(s, s) = k(t, t) = 1 and k(s, t) = e⁻¹.
    one = torch.zeros(1, 1)
    assert losses.mmd(one, one + 2, multiples=[1.0]).item() == pytest.approx(2 - 2 * math.exp(-1))
    assert losses.mmd(one, one + 2, multiples=[1.0], bandwidth=4.0).item() == pytest.approx(2 - 2 * math.exp(-1))

    # The teacher has both images at the same place, rows (½, ½); the student at right angles, rows e : 1 at T = 1.
    p = math.e / (1 + math.e)
    expected = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert losses.correlation_distillation(s, t, temperature=1.0).item() == pytest.approx(expected)

    stored = torch.tensor([[1.0, math.nan], [2.0, 5.0]])
    student = torch.tensor([[0.0, 100.0, 100.0], [2.0, 2.0, 100.0]])
    assert losses.logit_matching(student, stored).item() == pytest.approx((1 + 0 + 9) / 3)


def test_the_same_numbers_as_other_code():
    student, teacher = by_formula(6, 5, 1.0, 2.0), by_formula(6, 5, 1.3, 1.7)
    # MMD_loss() and MMD_loss(kernel_num=10) of ZongxianLee/MMD_Loss.Pytorch at fedd25f, its indentation mended
    assert losses.mmd(student, teacher).item() == pytest.approx(0.36163434204633)
    tenfold = [2.0**k for k in range(-5, 5)]
    assert losses.mmd(student, teacher, multiples=tenfold).item() == pytest.approx(1.22898912482449)
    # Similarity_preserving()(FeaT=teacher, FeaS=student) of cw1091293482/Deep-Incremental-Image-Retrieval at 18c13fd,
    # of normalised features in float32; then with the two exchanged, as its trainer.py calls it
    assert losses.correlation_distillation(student, teacher).item() == pytest.approx(0.0660462, rel=2e-5)
    assert losses.correlation_distillation(teacher, student).item() == pytest.approx(0.0685035, rel=4e-5)
    # F.mse_loss, which models/der.py of aimagelab/mammoth at e75a491 multiplies by its alpha
    assert losses.logit_matching(student, teacher).item() == pytest.approx(F.mse_loss(student, teacher).item())
    same = torch.ones(6)
    cosine = F.cosine_embedding_loss(student, teacher, same)
    assert losses.feature_distillation(student, teacher).item() == pytest.approx(cosine.item())
    assert losses.feature_distillation(student, teacher, kind="l2").item() == pytest.approx(
        5 * F.mse_loss(student, teacher).item()
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("er", [1.810977, 1.435823, 0.763321, 0.705602, 0.623206, 0.949913]),
        ("der", [1.810977, 0.863183, 0.789644, 0.587766, 0.743120, 1.496882]),
        ("derpp", [1.810977, 1.457898, 1.470219, 0.915024, 0.906331, 1.610950]),
    ],
)
def test_the_same_steps_as_mammoth(monkeypatch, method, expected):
    """Six steps of SGD with rate 0.1 on four rows of formula, memory 5, of which 3 are drawn, α = 0.3, β = 0.5.

    The numbers are those of models/er.py, der.py, derpp.py and utils/buffer.py of aimagelab/mammoth at e75a491 with
    the same draws: row i draws the slot floor(u (i+1)), u the fraction of 0.618034 (i+1), and draw c takes the rows
    2c, 2c+1, 2c+2, counted around.
    """
    x, labels = by_formula(24, 4, 1.0, 2.0).float(), torch.arange(24) % 3
    weight = by_formula(3, 4, 0.7, 1.1).float().requires_grad_()
    memory = Memory(5)
    draws = iter(range(100))
    monkeypatch.setattr(
        torch,
        "rand",
        lambda n, dtype, **_: 0.618034 * torch.arange(memory.n_seen + 1, memory.n_seen + 1 + n, dtype=dtype) % 1,
    )
    monkeypatch.setattr(torch, "randperm", lambda n, **_: (2 * next(draws) + torch.arange(n)) % n)

    values = []
    for at in range(0, 24, 4):
        inputs, answers = x[at : at + 4], labels[at : at + 4]
        logits = inputs @ weight.T
        loss = losses.cross_entropy(logits, answers)
        if len(memory) and method == "er":
            old = memory.draw(3)
            both = torch.cat([inputs, old.inputs]) @ weight.T
            loss = losses.cross_entropy(both, torch.cat([answers, old.labels]))
        if len(memory) and method != "er":
            old = memory.draw(3)
            loss = loss + 0.3 * losses.logit_matching(old.inputs @ weight.T, old.logits)
        if len(memory) and method == "derpp":
            old = memory.draw(3)
            loss = loss + 0.5 * losses.cross_entropy(old.inputs @ weight.T, old.labels)
        memory.add(inputs=inputs, labels=answers, logits=logits)
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - 0.1 * gradient).detach().requires_grad_()
        values.append(loss.item())
    assert values == pytest.approx(expected, abs=2e-6)


# ---------------------------------------------------------------------------------------------- properties

seeds = st.integers(0, 10_000)


def rotation(dim, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64))[0]


@each_loss
@several_examples
@given(seed=seeds)
def test_losses_are_not_negative_and_zero_without_gradient_where_nothing_moved(name, seed):
    loss, _ = ON_FEATURES[name]
    student, teacher = features(seed)
    assert loss(student, teacher).item() >= -1e-12
    value, gradient = value_and_gradient(loss, student, student)
    assert abs(value.item()) < 1e-12
    assert gradient.abs().max() < 1e-12


@each_loss
@several_examples
@given(seed=seeds)
def test_the_order_of_the_batch_and_a_rotation_do_not_matter(name, seed):
    loss, _ = ON_FEATURES[name]
    student, teacher = features(seed)
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(seed))
    turn = rotation(student.shape[1], seed)
    assert_close(loss(student[order] @ turn, teacher[order] @ turn), loss(student, teacher), 1e-10, name)


@pytest.mark.parametrize("name", ON_DIRECTIONS)
@several_examples
@given(seed=seeds)
def test_lengths_do_not_matter_to_cosines(name, seed):
    loss, _ = ON_DIRECTIONS[name]
    student, teacher = features(seed)
    length = 10 ** torch.linspace(-3, 3, len(student), dtype=torch.float64)[:, None]
    assert_close(loss(student * length, teacher / length), loss(student, teacher), 1e-9, name)


@several_examples
@given(seed=seeds)
def test_correlations_do_not_see_a_rotation_of_one_network_only(seed):
    student, teacher = features(seed)
    turned = losses.correlation_distillation(student @ rotation(student.shape[1], seed), teacher)
    assert_close(turned, losses.correlation_distillation(student, teacher), 1e-10, "turned")


def test_correlations_compare_features_of_other_lengths():
    student, teacher = by_formula(6, 5, 1.0, 2.0), by_formula(6, 3, 1.0, 2.0)
    padded = torch.cat([teacher, torch.zeros(6, 2)], dim=1)
    assert_close(
        losses.correlation_distillation(student, teacher),
        losses.correlation_distillation(student, padded),
        1e-12,
        "padded with zeros",
    )


@several_examples
@given(seed=seeds)
def test_mmd_does_not_see_which_image_is_where_nor_place_and_scale(seed):
    student, teacher = features(seed)
    order = torch.randperm(len(student), generator=torch.Generator().manual_seed(seed))
    value = losses.mmd(student, teacher)
    assert_close(losses.mmd(student, teacher[order]), value, 1e-10, "exchanged")
    assert_close(losses.mmd(1000 * student + 3, 1000 * teacher + 3), value, 1e-9, "moved and scaled")
    assert_close(losses.mmd(teacher, student), value, 1e-10, "exchanged networks")
    assert value.item() <= 2 * 5


def test_mmd_grows_with_the_distance_of_two_clouds():
    cloud = by_formula(8, 4, 1.0, 2.0)
    values = [losses.mmd(cloud, cloud + shift, bandwidth=4.0).item() for shift in (0.0, 0.2, 0.5, 1.0, 3.0)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=1e-12)


def test_correlations_the_two_ways_round_hardly_differ():
    """The released code exchanges student and teacher: for a batch of 64 this is within one per cent."""
    g = torch.Generator().manual_seed(0)
    student = torch.randn(64, 32, generator=g)
    for moved in (0.1, 1.0, 3.0):
        teacher = student + moved * torch.randn(64, 32, generator=g)
        one = losses.correlation_distillation(student, teacher).item()
        assert losses.correlation_distillation(teacher, student).item() == pytest.approx(one, rel=0.01)


# ------------------------------------------------------------------------------------------ stored logits


def test_what_was_not_there_does_not_count():
    """Whatever the student says about a class that a stored row lacks: same value, and no gradient there."""
    stored = torch.tensor([[1.0, 2.0, math.nan], [0.0, 1.0, 3.0]])
    student = torch.zeros(2, 5)
    value, gradient = value_and_gradient(losses.logit_matching, student, stored)
    louder = student.clone()
    louder[0, 2:] = 1e6
    louder[1, 3:] = -1e6
    again, other_gradient = value_and_gradient(losses.logit_matching, louder, stored)
    assert value == again == (1 + 4 + 0 + 1 + 9) / 5
    assert torch.equal(gradient, other_gradient)
    assert gradient[0, 2:].tolist() == [0, 0, 0]
    assert gradient[1, 3:].tolist() == [0, 0]


def test_rows_with_nothing_stored_are_a_zero_that_can_go_backward():
    value, gradient = value_and_gradient(losses.logit_matching, torch.ones(2, 3), torch.full((2, 2), math.nan))
    assert value == 0
    assert gradient.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_memory_whose_head_grew_is_matched_where_it_answered():
    memory = Memory(4)
    memory.add(logits=torch.tensor([[1.0, 2.0]]))
    memory.add(logits=torch.tensor([[3.0, 4.0, 5.0]]))
    drawn = memory.draw(2)
    assert losses.logit_matching(torch.zeros(2, 6), drawn.logits).item() == pytest.approx((1 + 4 + 9 + 16 + 25) / 5)


# -------------------------------------------------------------------------------------------------- edges

EDGES = {
    "one image": (torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])),
    "all zero": (torch.zeros(4, 3), torch.zeros(4, 3)),
    "a zero student": (torch.zeros(4, 3), torch.ones(4, 3)),
    "all the same": (torch.full((4, 3), 0.1), torch.full((4, 3), 0.1)),
    "huge": (torch.tensor([[6e4, 0.0], [0.0, 6e4]]), torch.tensor([[0.0, 6e4], [6e4, 0.0]])),
    "tiny": (torch.tensor([[1e-4, 0.0], [0.0, 1e-4]]), torch.tensor([[0.0, 1e-4], [1e-4, 0.0]])),
}


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("edge", EDGES)
@each_loss
def test_edges_stay_finite(name, edge, dtype):
    loss, _ = ON_FEATURES[name]
    student, teacher = (x.to(dtype) for x in EDGES[edge])
    value, gradient = value_and_gradient(loss, student, teacher)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_values_at_the_edges():
    zero, ones = EDGES["a zero student"]
    assert losses.feature_distillation(zero, ones).item() == 1
    assert losses.correlation_distillation(*EDGES["one image"]).item() == 0
    assert losses.mmd(*EDGES["all the same"]).item() == 0


@each_loss
def test_no_gradient_flows_into_the_teacher(name):
    loss, _ = ON_FEATURES[name]
    student, teacher = (x.requires_grad_() for x in features(3))
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_no_gradient_flows_into_stored_logits():
    student, stored = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    losses.logit_matching(student, stored).backward()
    assert stored.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*ON_FEATURES, "logits"])
def test_half_precision_and_autocast_change_nothing(name, dtype):
    loss = losses.logit_matching if name == "logits" else ON_FEATURES[name][0]
    student, teacher = (x.to(dtype) for x in features(11))
    raised = torch.float64 if dtype == torch.float64 else torch.float32
    expected = loss(student.to(raised), teacher.to(raised))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == raised
    assert torch.equal(value, expected)


@pytest.mark.parametrize("name", [*ON_FEATURES, "logits"])
def test_a_teacher_of_another_precision_will_do(name):
    loss = losses.logit_matching if name == "logits" else ON_FEATURES[name][0]
    student, teacher = features(11, torch.float32)
    expected = loss(student, teacher)
    assert loss(student, teacher.double()).item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss(student.double(), teacher).item() == pytest.approx(expected.item(), rel=1e-5)


# ----------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("shape", [(7, 5), (8,), (8, 5, 1), (8, 0)])
@each_loss
def test_teacher_features_must_be_of_the_same_images(name, shape):
    loss, _ = ON_FEATURES[name]
    with pytest.raises(ValueError, match=r"student \(8, 5\) and teacher .* don't fit; expected features of the same"):
        loss(torch.ones(8, 5), torch.ones(shape))
    with pytest.raises(ValueError, match="don't fit"):
        loss(torch.ones(0, 5), torch.ones(0, 5))


@pytest.mark.parametrize("name", [name for name in ON_FEATURES if name != "correlation"])
def test_teacher_features_must_be_as_long(name):
    with pytest.raises(ValueError, match=r"both \(B, D\)"):
        ON_FEATURES[name][0](torch.ones(8, 5), torch.ones(8, 4))


def test_settings_that_cannot_be():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="kind is 'L1'; expected 'cosine' or 'l2'"):
        losses.feature_distillation(x, x, kind="L1")
    for temperature in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            losses.correlation_distillation(x, x, temperature=temperature)
    for bandwidth in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"bandwidth is .*; expected numbers above 0"):
            losses.mmd(x, x, bandwidth=bandwidth)
    for multiples in ([], [1.0, 0.0], [-1.0]):
        with pytest.raises(ValueError, match=r"multiples is .*; expected numbers above 0"):
            losses.mmd(x, x, multiples=multiples)


@pytest.mark.parametrize(
    ("student_shape", "stored_shape"), [((4, 3), (5, 3)), ((4,), (4, 3)), ((4, 3), (4,)), ((4, 3), (4, 0))]
)
def test_stored_logits_must_be_of_the_same_images(student_shape, stored_shape):
    with pytest.raises(ValueError, match=r"student_logits .* and stored_logits .* don't fit"):
        losses.logit_matching(torch.ones(student_shape), torch.ones(stored_shape))


def test_a_head_narrower_than_what_is_stored_is_refused():
    with pytest.raises(ValueError, match="student answers for 2 classes, the stored logits for 3"):
        losses.logit_matching(torch.ones(4, 2), torch.ones(4, 3))
