"""X-DER against plain loops and the released code's numbers, with what it must never do, stopped anywhere."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

import csd_edu as csd
from benchmarks import rewritten
from csd_edu import losses
from csd_edu.files import write_json
from csd_edu.methods import XDER, Method, Setting, Step
from csd_edu.methods.xder import (
    Drawn,
    each_once,
    head_cross_entropy,
    hinge,
    rewrite_logits,
    share_out,
    strong_views,
    supcon,
)
from csd_edu.results import Results, read
from tests.conftest import TINY, striped
from tests.test_methods import assert_terms, begun, cross_entropy, network, step_of, triplet
from tests.test_methods_state import go_on
from tests.test_resume import assert_equal_runs
from tests.test_state import same

pytestmark = pytest.mark.usefixtures("one_thread")

SETTING = Setting((2, 2, 2), (16, 16, 16), (3, 16, 16), 64, torch.device("cpu"), seed=0)
several_examples = settings(max_examples=60, deadline=None, derandomize=True)


def by_formula(n: int, k: int, a: float, b: float) -> Tensor:
    return torch.tensor([[math.sin(a * i + b * j + 1) for j in range(k)] for i in range(n)], dtype=torch.float64)


# ---------------------------------------------------------------------- rewriting


def test_a_memory_is_rewritten_by_the_rule():
    stored = torch.tensor([[2.0, 0.5, 9.0, 9.0], [2.0, 0.5, 9.0, 9.0]])
    new = torch.tensor([[7.0, 7.0, 4.0, 1.0], [7.0, 7.0, 1.0, 0.5]])
    labels = torch.zeros(2, dtype=torch.int64)
    rewritten = rewrite_logits(stored, new, labels, 2, 4, gamma=0.75)
    assert rewritten.tolist() == [[2.0, 0.5, 1.5, 0.375], [2.0, 0.5, 1.0, 0.5]]  # limit 1.5


@pytest.mark.parametrize(
    ("true", "block", "expected"),
    [
        (-2.0, (-1.0, -3.0), (-1.0, -3.0)),  # γ · −2 / −1 would make them larger
        (-2.0, (4.0, -3.0), (0.0, 0.0)),  # γ · −2 / 4 would turn them over
        (0.0, (4.0, -3.0), (0.0, 0.0)),
        (0.0, (-1.0, -3.0), (-1.0, -3.0)),
        (2.0, (-1.0, -3.0), (-1.0, -3.0)),
        (2.0, (1.8, 1.0), (1.5, 1.5 / 1.8)),  # below the true class, which the released code leaves
    ],
)
def test_where_the_factor_would_be_none(true, block, expected):
    stored, new = torch.tensor([[true, 5.0, 5.0]]), torch.tensor([[9.0, *block]])
    rewritten = rewrite_logits(stored, new, torch.tensor([0]), 1, 3, gamma=0.75)
    assert rewritten[0].tolist() == pytest.approx([true, *expected])


def test_the_same_numbers_as_the_released_code():
    """By XDer.update_logits of aimagelab/mammoth, models/xder.py at e75a491, with gamma 0.75 and two classes a task.

    In each row the largest of the new block is above the stored true logit; else the released code leaves it as it is.
    """
    stored, new = 2 + by_formula(6, 6, 1.0, 2.0), 2.5 + 2 * by_formula(6, 6, 1.3, 1.7)
    rewritten = rewrite_logits(stored, new, torch.tensor([0, 1, 0, 1, 0, 1]), 2, 6, gamma=0.75)
    expected = [
        [2.841471, 2.141120, 0.282813, 1.012065, 2.131103, 1.113487],
        [2.909297, 1.243198, 0.303457, 0.932398, 0.680886, 0.116756],
        [2.141120, 1.041076, 1.600818, 1.605840, 0.354393, 0.671855],
        [1.243198, 1.720585, 1.290438, 0.423304, 0.292614, 1.193426],
        [1.041076, 2.656987, 0.400761, 0.110273, 0.622250, 0.780807],
        [1.720585, 2.989358, 0.255161, 1.286634, 2.242019, 0.964353],
    ]
    torch.testing.assert_close(rewritten, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


@st.composite
def memories(draw: Any) -> tuple[Tensor, Tensor, Tensor, int, int, float]:
    n, lo, width, after = (draw(st.integers(*span)) for span in ((1, 6), (1, 4), (0, 4), (0, 3)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    stored, new = 3 * torch.randn(2, n, lo + width + after, generator=generator, dtype=torch.float64)
    labels = torch.randint(lo, (n,), generator=generator)
    return stored, new, labels, lo, lo + width, draw(st.floats(0, 1))


@several_examples
@given(memories())
def test_no_rewritten_head_gets_above_the_limit_and_the_others_stay(memory):
    stored, new, labels, lo, hi, gamma = memory
    before = stored.clone(), new.clone()
    rewritten = rewrite_logits(stored, new, labels, lo, hi, gamma)
    assert torch.equal(stored, before[0])
    assert torch.equal(new, before[1])
    outside = [k for k in range(stored.shape[1]) if not lo <= k < hi]
    assert torch.equal(rewritten[:, outside], stored[:, outside])
    for i, label in enumerate(labels.tolist()):
        limit = max(gamma * float(stored[i, label]), 0)
        block, was = rewritten[i, lo:hi].tolist(), new[i, lo:hi].tolist()
        assert all(value <= limit + 1e-12 for value in block)
        if was and max(was) <= limit:
            assert block == was
        elif was:
            assert block == pytest.approx([value * limit / max(was) for value in was], abs=1e-12)
    again = rewrite_logits(rewritten, new, labels, lo, hi, gamma)
    torch.testing.assert_close(again, rewritten, rtol=0, atol=1e-12)
    torch.testing.assert_close(rewrite_logits(rewritten, rewritten, labels, lo, hi, gamma), rewritten)


def test_what_is_rewritten_is_a_tensor_of_its_own():
    """The released code makes smaller in place what it was given as new, which the loss of the step then looks at."""
    new = torch.tensor([[1.0, 0.0, 4.0, 1.0]], requires_grad=True)
    rewritten = rewrite_logits(new, new, torch.tensor([0]), 2, 4, 0.75)
    assert new.tolist() == [[1.0, 0.0, 4.0, 1.0]]
    assert not rewritten.requires_grad
    assert rewritten.tolist() == [[1.0, 0.0, 0.75, 0.1875]]
    rewritten.zero_()
    assert new.tolist() == [[1.0, 0.0, 4.0, 1.0]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": torch.tensor([2, 0])}, "labels go from 0 to 2; expected all outside 2..3"),
        ({"new": torch.zeros(2, 5)}, r"new logits are \(2, 5\), stored ones \(2, 4\)"),
        ({"gamma": 1.5}, "gamma is 1.5; expected a share from 0 to 1"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"hi": 5}, "lo is 2 and hi 5; expected heads from 0 to 4"),
        ({"lo": 3, "hi": 2}, "lo is 3 and hi 2"),
        ({"labels": torch.tensor([0.0, 1.0])}, r"labels torch.float32 \(2,\)"),
        ({"labels": torch.tensor([0])}, r"labels torch.int64 \(1,\)"),
    ],
)
def test_what_can_not_be_rewritten_is_refused(change, told):
    fine = {"stored": torch.zeros(2, 4), "new": torch.zeros(2, 4), "labels": torch.tensor([0, 1]), "lo": 2, "hi": 4}
    rewrite_logits(**fine)
    with pytest.raises(ValueError, match=told):
        rewrite_logits(**(fine | change))


# ---------------------------------------------------------------------- the other parts


def test_the_separated_cross_entropy_is_that_of_the_heads_alone():
    logits = by_formula(4, 6, 1.0, 2.0).requires_grad_()
    labels = torch.tensor([2, 3, 3, 2])
    loss = head_cross_entropy(logits, labels, 2, 4)
    assert loss.item() == pytest.approx(cross_entropy(logits[:, 2:4], labels - 2))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, [0, 1, 4, 5]] == 0).all()
    assert (gradient[:, 2:4] != 0).all()
    with pytest.raises(ValueError, match=r"labels go from 2 to 3; expected all among 0\.\.1"):
        head_cross_entropy(logits, labels, 0, 2)
    with pytest.raises(ValueError, match="lo is 2 and hi 2"):
        head_cross_entropy(logits, labels, 2, 2)


@several_examples
@given(seed=st.integers(0, 10_000), margin=st.floats(0, 2))
def test_the_hinge_is_that_of_a_plain_loop(seed, margin):
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = [0, 1, 4, 5, 5]
    gaps = [max(row[2:4]) + margin - row[label] for row, label in zip(logits.tolist(), labels, strict=True)]
    gaps = [gap for gap in gaps if gap > 0]
    expected = sum(gaps) / len(gaps) if gaps else 0.0
    assert hinge(logits, torch.tensor(labels), 2, 4, margin=margin).item() == pytest.approx(expected)


def test_the_hinge_pulls_down_the_largest_and_lifts_the_true_one():
    logits = torch.tensor([[1.0, 0.9, 3.0, -5.0], [9.0, 0.0, 1.0, 1.0]], requires_grad=True)
    loss = hinge(logits, torch.tensor([0, 0]), 1, 4, margin=0.5)
    assert loss.item() == 2.5  # of the first alone
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.tolist() == [[-1, 0, 1, 0], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"expected all outside 0\.\.1"):
        hinge(logits, torch.tensor([0, 0]), 0, 2)
    with pytest.raises(ValueError, match="margin is -1"):
        hinge(logits, torch.tensor([0, 0]), 1, 2, margin=-1)
    low = hinge(logits - torch.tensor([0.0, 99, 99, 99]), torch.tensor([0, 0]), 1, 4)
    assert low.item() == 0
    low.backward()


def loop_supcon(block: list[list[float]], labels: list[int], temperature: float) -> float:
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in block]
    total = 0.0
    for i, a in enumerate(rows):
        scores = [sum(x * y for x, y in zip(a, b, strict=True)) / temperature for b in rows]
        log_sum = math.log(sum(math.exp(score) for j, score in enumerate(scores) if j != i))
        positives = [score for j, score in enumerate(scores) if j != i and labels[j] == labels[i]]
        total += sum(log_sum - score for score in positives) / len(positives)
    return total / len(rows)


def test_the_contrast_of_the_future_is_the_mean_over_tasks_of_plain_loops():
    logits, labels = by_formula(8, 5, 1.0, 2.0), [0, 0, 3, 3, 0, 0, 1, 1]  # two views of four images, two of a class
    blocks = [logits[:, :2], logits[:, 2:]]
    expected = sum(loop_supcon(block.tolist(), labels, 5.0) for block in blocks) / 2
    assert supcon(blocks, torch.tensor(labels)).item() == pytest.approx(expected)
    # SupConLoss(5, base_temperature=5, reduction="sum") of utils/simclrloss.py, as models/xder.py calls it: the sum
    # over heads by heads · images; aimagelab/mammoth at e75a491, of these logits and labels
    assert supcon(blocks, torch.tensor(labels)).item() == pytest.approx(1.906615, abs=1e-6)
    with pytest.raises(ValueError, match="there are no blocks"):
        supcon([], torch.tensor(labels))


def test_views_are_crops_in_another_light():
    images = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    views = strong_views(images, 3, lambda x: x.roll(1, dims=-1))
    assert views.shape == (12, 3, 16, 16)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1
    for k, view in enumerate(views):
        moved = images[k // 3].roll(1, dims=-1).float() / 255
        alike = torch.corrcoef(torch.stack([view.mean(dim=0).flatten(), moved.mean(dim=0).flatten()]))[0, 1]
        assert alike > 0.95  # the same picture
    torch.manual_seed(0)
    assert torch.equal(strong_views(images, 3, lambda x: x.roll(1, dims=-1)), views)


def test_how_often_views_change():
    images = torch.full((2000, 3, 2, 2), 100, dtype=torch.uint8)
    images[:, 0] = 150
    images[:, :, 0] += 20
    torch.manual_seed(0)
    views = strong_views(images, 1, lambda x: x)
    grey = (views[:, 0] - views[:, 2]).abs().amax(dim=(1, 2)) < 1e-6
    untouched = (views - images.float() / 255).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert grey.double().mean().item() == pytest.approx(0.2, abs=0.03)
    assert untouched.double().mean().item() == pytest.approx(0.2 * 0.8, abs=0.03)
    light = views.mean(dim=(1, 2, 3)) / (images.float() / 255).mean(dim=(1, 2, 3))
    assert 0.6 <= light.min() < 0.65
    assert 1.35 < light.max() <= 1.4 + 1e-5
    one_channel = strong_views(images[:, :1], 1, lambda x: x)
    assert one_channel.shape == (2000, 1, 2, 2)


@several_examples
@given(
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    n=st.integers(0, 30),
    shuffle=st.booleans(),
)
def test_places_are_shared_evenly(counts, n, shuffle):
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)] + [9] * 3, dtype=torch.int64)
    kept = share_out(labels, range(len(counts)), n, shuffle=shuffle).tolist()
    assert len(kept) == len(set(kept)) <= n
    held = Counter(labels[kept].tolist())
    assert 9 not in held
    for k, count in enumerate(counts):
        assert min(count, n // len(counts)) <= held[k] <= min(count, n // len(counts) + 1)
        if not shuffle:
            first = counts[:k]
            assert [row - sum(first) for row in kept if labels[row] == k] == list(range(held[k]))


def test_which_new_images_are_kept_is_chance():
    torch.manual_seed(0)
    labels, kept = torch.tensor([0] * 5 + [1] * 5), torch.zeros(10)
    for _ in range(4000):
        kept[share_out(labels, range(2), 5, shuffle=True)] += 1
    assert (kept / 4000 - 0.5).abs().max() < 0.03


def test_a_row_drawn_twice_counts_once():
    def part(rows: list[int], shift: float) -> Drawn:
        now = torch.tensor([[row + shift] for row in rows])
        labels = torch.tensor(rows)
        view = csd.methods.View(now, now)
        return Drawn(torch.tensor(rows), labels, torch.tensor([[10.0 * row] for row in rows]), now, view)

    index, stored, now, labels = each_once([part([4, 2], 0.0), part([2, 7, 4], 0.5)])
    assert index.tolist() == labels.tolist() == [4, 2, 7]
    assert stored.tolist() == [[40], [20], [70]]
    assert now.tolist() == [[4.0], [2.0], [7.5]]


# ---------------------------------------------------------------------- a step, and the end of a task


def at_task(task: int, *, students: int = 6, n: int = 12, seed: int = 0) -> tuple[Step, Any, Any]:
    """Return a step of a task, its network, and a view of that for the end of a task."""
    student = network(students, seed=seed)
    step = step_of(student, None, task=task, seed=seed + 10 * task, n=n)

    def view(images: Tensor, *_: str) -> Any:
        with torch.no_grad():
            return csd.methods.View(*student(images))

    return step, student, view


def ended(method: XDER, task: int, n: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    step, _, view = at_task(task, n=n, seed=seed)
    return list(method.end_task(task, step.raw, step.labels, view))


def plain_rewritten(stored: list[float], new: list[float], label: int, lo: int, hi: int, gamma: float) -> list[float]:
    limit, block = max(gamma * stored[label], 0), new[lo:hi]
    by = limit / max(block) if max(block) > limit else 1.0
    return stored[:lo] + [value * by for value in block] + stored[hi:]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("task", [0, 1, 2])
def test_the_terms_of_a_step(task, seed):
    """With the memory of the tasks before, one row of it drawn for each image, against plain loops."""
    method = begun(XDER(size=12, alpha=0.4, beta=0.7, lam=0.2, eta=0.3, margin=0.25, gamma=0.5), SETTING)
    for before in range(task):
        ended(method, before, seed=5)
    rows = {name: value.clone() for name, value in method.memory.rows.items()}
    step, student, _ = at_task(task, n=6, seed=seed)
    torch.manual_seed(7)
    terms = method(step)

    torch.manual_seed(7)
    lo, hi = 2 * task, 2 * task + 2
    features, logits = student(step.images)
    expected = {"ce": cross_entropy(logits[:, lo:hi], step.labels - lo), "triplet": triplet(features, step.labels)}
    all_logits, all_labels = logits.tolist(), step.labels.tolist()
    if task:
        first, second = torch.randperm(12)[:6], None
        now = student(rows["images"][first].roll(1, dims=-1))[1].tolist()
        stored = rows["logits"].tolist()
        gaps = [(now[i][k] - stored[row][k]) ** 2 for i, row in enumerate(first.tolist()) for k in range(6)]
        expected["der"] = 0.4 * sum(gaps) / len(gaps)
        second = torch.randperm(12)[:6]
        then = student(rows["images"][second].roll(1, dims=-1))[1]
        expected["old ce"] = 0.7 * cross_entropy(then[:, :lo], rows["labels"][second])
        seen = dict(zip(second.tolist(), then.tolist(), strict=True)) | dict(zip(first.tolist(), now, strict=True))
        order = list(dict.fromkeys([*first.tolist(), *second.tolist()]))
        torch.rand(len(order))  # whether they are rewritten: all are, as they are drawn for the first time
        all_logits = all_logits + [seen[row] for row in order]
        all_labels = all_labels + rows["labels"][order].tolist()
        for row in range(12):
            label, is_now = int(rows["labels"][row]), method.memory.rows["logits"][row].tolist()
            wanted = plain_rewritten(stored[row], seen[row], label, lo, 6, 0.5) if row in seen else stored[row]
            assert is_now == pytest.approx(wanted, abs=1e-5)
        gaps = [max(row[:lo]) + 0.25 - row[y] for row, y in zip(logits.tolist(), step.labels.tolist(), strict=True)]
        gaps = [gap for gap in gaps if gap > 0]
        expected["past hinge"] = 0.3 * sum(gaps) / max(len(gaps), 1)
        assert method.n_drawn.tolist() == [int(row in seen) for row in range(12)]
    if task < 2:
        gaps = [max(row[hi:]) + 0.25 - row[y] for row, y in zip(all_logits, all_labels, strict=True)]
        gaps = [gap for gap in gaps if gap > 0]
        expected["future hinge"] = 0.3 * sum(gaps) / max(len(gaps), 1)
        images, labels = step.raw, step.labels
        if task:
            third = torch.randperm(12)[:6]
            images, labels = torch.cat([images, rows["images"][third]]), torch.cat([labels, rows["labels"][third]])
        seen_as = student(strong_views(images, 2, lambda x: x.roll(1, dims=-1)))[1]
        twice = [y for y in labels.tolist() for _ in range(2)]
        blocks = [seen_as[:, k : k + 2].tolist() for k in range(hi, 6, 2)]
        expected["future"] = 0.2 * sum(loop_supcon(block, twice, 5.0) for block in blocks) / len(blocks)
    assert_terms(terms, expected)


def answers(images: Tensor, task: int) -> Tensor:
    """Return logits (N, 6) from −3 to 3 that differ from image to image and from task to task."""
    return 3 * torch.sin(images.flatten(1).float().mean(dim=1)[:, None] * torch.arange(1, 7) * (task + 1.5))


def test_the_end_of_a_task_fills_the_memory_anew_and_rewrites_it():
    torch.manual_seed(0)
    method = begun(XDER(size=10, gamma=0.5), SETTING)
    images = torch.randint(256, (2, 12, 3, 16, 16), dtype=torch.uint8)  # of two tasks
    labels = torch.arange(12) % 2

    def end(task: int) -> list[dict[str, Any]]:
        def view(x: Tensor) -> Any:
            return csd.methods.View(torch.zeros(len(x), 64), answers(x, task))

        return list(method.end_task(task, images[task], labels + 2 * task, view))

    assert end(0) == [{"held": 10, "old": 0}]
    first = {name: value.clone() for name, value in method.memory.rows.items()}
    where = [next(k for k in range(12) if torch.equal(images[0, k], image)) for image in first["images"]]
    assert len(set(where)) == 10
    assert where not in ([*range(0, 10, 2), *range(1, 10, 2)], sorted(where))  # drawn at random
    assert first["labels"].tolist() == labels[where].tolist() == [0] * 5 + [1] * 5
    assert torch.equal(first["logits"], answers(images[0, where], 0))  # nothing to rewrite yet

    method.n_drawn += 3
    assert end(1) == [{"held": 10, "old": 4}]
    rows = method.memory.rows
    assert method.n_drawn.tolist() == [0] * 10
    assert rows["labels"].tolist()[:4] == [0, 0, 1, 1]
    assert Counter(rows["labels"].tolist()) == {0: 2, 1: 2, 2: 3, 3: 3}
    assert torch.equal(rows["images"][:4], first["images"][[0, 1, 5, 6]])  # the first of each class
    old, now = first["logits"][[0, 1, 5, 6]].tolist(), answers(rows["images"], 1).tolist()
    changed = []
    for row, label in enumerate(rows["labels"].tolist()):
        if row < 4:
            wanted = plain_rewritten(old[row], now[row], label, 2, 6, 0.5)
        else:
            wanted = plain_rewritten(now[row], now[row], label, 0, 2, 0.5)
        assert rows["logits"][row].tolist() == pytest.approx(wanted, abs=1e-5)
        changed.append(wanted[2:] != now[row][2:] if row < 4 else wanted != now[row])
    assert any(changed[:4])  # some were too large, of the old ones and of the new ones
    assert any(changed[4:])


def test_an_unchanged_network_without_augmentation_has_nothing_to_mend():
    method = begun(XDER(size=12, rewrite=False, alpha=1.0), SETTING)
    ended(method, 0, seed=3)
    step, _, _ = at_task(1, seed=3, n=6)
    step.augment = lambda images: images
    assert method(step)["der"].item() < 1e-10


def test_memories_that_are_not_rewritten_stay():
    method = begun(XDER(size=12, rewrite=False), SETTING)
    ended(method, 0, seed=1)
    before = method.memory.rows["logits"].clone()
    step, _, _ = at_task(1)
    method(step)
    assert torch.equal(method.memory.rows["logits"], before)
    assert method.n_drawn.sum() == 0
    ended(method, 1, seed=2)
    rows = method.memory.rows
    assert torch.equal(rows["logits"][:6], torch.cat([before[:3], before[6:9]]))
    torch.testing.assert_close(rows["logits"][6:], network(6, seed=2)(rows["images"][6:])[1])


def test_parts_that_are_switched_off_leave_the_others_as_they_are():
    def terms(**switches: bool) -> dict[str, float]:
        torch.manual_seed(2)
        method = begun(XDER(size=12, **switches), SETTING)
        ended(method, 0, seed=1)
        step, _, _ = at_task(1)
        return {name: term.item() for name, term in method(step).items()}

    whole = terms()
    assert set(whole) == {"ce", "triplet", "der", "old ce", "future hinge", "past hinge", "future"}
    for switch, gone in {"future": {"future hinge", "future"}, "past_hinge": {"past hinge"}, "rewrite": set()}.items():
        left = terms(**{switch: False})
        if switch == "rewrite":  # which draws lots before the views are made
            assert left.pop("future") == pytest.approx(whole["future"], rel=0.01)
            gone = {"future"}
        assert left == pytest.approx({name: value for name, value in whole.items() if name not in gone}, rel=1e-5)


def test_a_row_is_rewritten_ever_more_rarely():
    """The k-th time with probability 1/k: after 4 draws 1 + 1/2 + 1/3 + 1/4 times on average."""
    method = begun(
        XDER(size=1000, beta=0, lam=0, eta=0), Setting((2, 2), (2000, 2000), (3, 16, 16), 64, SETTING.device, 0)
    )
    images = torch.zeros(1000, 3, 16, 16, dtype=torch.uint8)
    labels = torch.arange(1000) % 2
    method.memory.replace(images=images, labels=labels, logits=torch.zeros(1000, 4))
    torch.manual_seed(0)
    written = torch.zeros(4)
    for k in range(4):
        method.memory.rows["logits"].fill_(-7.0)
        step, _, _ = at_task(1, students=4, n=4)
        method.draw = lambda _: Drawn(
            torch.arange(1000),
            labels,
            method.memory.rows["logits"].clone(),
            images,
            csd.methods.View(torch.zeros(1000, 64), torch.zeros(1000, 4, requires_grad=True) - 1.0),
        )
        method(step)
        written[k] = (method.memory.rows["logits"][:, 2] != -7.0).double().mean()
    assert written[0] == 1
    assert written.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=0.05)


def test_both_terms_have_a_draw_of_their_own():
    method = begun(XDER(size=12, lam=0, eta=0), SETTING)
    ended(method, 0, seed=1)
    chosen = []
    choose = method.memory.choose
    method.memory.choose = lambda n: chosen.append(choose(n)) or chosen[-1]
    step, _, _ = at_task(1, n=4)
    torch.manual_seed(1)
    method(step)
    assert len(chosen) == 2
    assert chosen[0].tolist() != chosen[1].tolist()


def test_which_heads_each_term_moves():
    """At task 1 of 3: heads 0 and 1 are past, 4 and 5 are still to come."""
    method = begun(XDER(size=12), SETTING)
    ended(method, 0)
    student = network(6).train()
    terms = method(step_of(student, None, task=1))
    moved = {}
    for name in ("ce", "old ce", "past hinge", "triplet", "future"):
        (gradient,) = torch.autograd.grad(terms[name], student.head.weight, retain_graph=True, allow_unused=True)
        by_head = torch.zeros(6) if gradient is None else gradient.abs().sum(dim=1)
        moved[name] = torch.nonzero(by_head).squeeze(1).tolist()
    assert moved["ce"] == [2, 3]
    assert moved["old ce"] == [0, 1]
    assert moved["triplet"] == []
    assert moved["future"] == [4, 5]
    assert set(moved["past hinge"]) <= {0, 1, 2, 3}
    assert set(moved["past hinge"]) & {0, 1}  # the past heads give way
    assert set(moved["past hinge"]) & {2, 3}


# ---------------------------------------------------------------------- CSD on top


def test_csd_on_top_contrasts_the_batch_and_what_was_drawn():
    method = begun(XDER(size=12, csd=0.5), SETTING)
    ended(method, 0, seed=1)
    student, teacher = network(6), network(6, seed=9)
    step = step_of(student, teacher, task=1)
    rows = {name: value.clone() for name, value in method.memory.rows.items()}
    torch.manual_seed(3)
    terms = method(step)
    torch.manual_seed(3)
    old = torch.randperm(12)
    images = torch.cat([step.images, rows["images"][old].roll(1, dims=-1)])
    labels = torch.cat([step.labels, rows["labels"][old]])
    expected = 0.5 * losses.csd(student(images)[0], teacher(images)[0], labels)
    assert terms["csd"].item() == pytest.approx(expected.item(), rel=1e-5)
    without = begun(XDER(size=12, csd=0.5), SETTING)
    assert "csd" not in without(step_of(student, None, task=0))  # in the first task there is none


def test_without_csd_no_teacher_is_asked(tmp_path):
    stream = csd.split(striped(), n_tasks=3)
    run = csd.train(stream, XDER(size=10), TINY, out=tmp_path / "r", progress=False)
    assert set(run.kept_bytes) == {"memory", "n_drawn", "ends"}
    row = 3 * 16 * 16 + 8 + 6 * 4
    assert run.kept_bytes["memory"] == 10 * row
    assert run.kept_bytes["n_drawn"] == 10 * 4
    held = [record["held"] for record in run.records if record["kind"] == "end"]
    assert held == [10, 10, 10]
    with_csd = csd.train(stream, XDER(size=10, csd=1.0), TINY, out=tmp_path / "csd", progress=False)
    assert with_csd.kept_bytes["teacher"] > 0


# ---------------------------------------------------------------------- trained


@dataclass
class Separated(Method):
    """Fine-tuning in which only the heads of the task compete."""

    whole_head = True

    def begin(self, setting: Setting) -> None:
        self.ends = [sum(setting.sizes[:k]) for k in range(len(setting.sizes) + 1)]

    def __call__(self, step: Step) -> dict[str, Tensor]:
        lo, hi = self.ends[step.task : step.task + 2]
        ce = F.cross_entropy(step.logits[:, lo:hi], step.labels - lo)
        return {"ce": ce, "triplet": losses.batch_hard_triplet(step.features, step.labels)}


def test_with_all_weights_0_it_is_the_separated_fine_tuning_bit_by_bit(tmp_path):
    stream = csd.split(striped(), n_tasks=3)
    runs = [
        csd.train(stream, method, TINY, out=tmp_path / name, progress=False)
        for name, method in (
            ("xder", XDER(size=10, alpha=0, beta=0, lam=0, eta=0)),
            ("separated", Separated()),
            ("default", XDER(size=10)),
        )
    ]
    for task in range(3):
        assert torch.equal(runs[0].features(task), runs[1].features(task))
        assert torch.equal(runs[0].predictions(task), runs[1].predictions(task))
        assert not torch.equal(runs[0].features(task), runs[2].features(task))
    losses_of = [[record["losses"] for record in run.records if record["kind"] == "epoch"] for run in runs]
    assert losses_of[0] == losses_of[1]


@pytest.mark.parametrize("method", [XDER(size=20), XDER(size=20, future=False, csd=1.0)], ids=["default", "csd"])
def test_stopped_after_every_record_it_ends_with_the_same_bits(tmp_path, method):
    go_on(method, tmp_path / "whole", 1000)
    n = 1
    while not go_on(method, tmp_path / "r", n) < n:  # also inside the end of a task, which is then done again
        n = n + 1 if csd.Run.load(tmp_path / "r").records[-1]["kind"] == "end" else 1
    assert_equal_runs(tmp_path / "whole", tmp_path / "r")
    kept, again = (csd.Run.load(tmp_path / name).kept() for name in ("whole", "r"))
    assert kept["memory"]["rows"]["logits"].shape == (20, 6)
    assert same(kept, again)


def test_the_memory_is_never_above_its_budget(tmp_path):
    budget = 13 * (3 * 16 * 16 + 8 + 6 * 4)
    records = csd.training(csd.split(striped(), n_tasks=3), XDER(size=13), TINY, out=tmp_path / "r")
    held = []
    for record in records:
        memory = csd.Run.load(tmp_path / "r").kept()["memory"] if record["kind"] == "task" else {"rows": {}}
        n_bytes = sum(rows.nbytes for rows in memory["rows"].values())
        assert n_bytes <= budget
        if record["kind"] == "task":
            held.append(n_bytes)
            counts = Counter(memory["rows"]["labels"].tolist())
            assert max(counts.values()) - min(counts.values()) <= 1 + (13 % (2 * record["task"] + 2)) // 2
    assert held == [budget] * 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 5}, "size is 5, but the stream has 6 classes; expected an image of each or more"),
        ({"size": 2.5}, "size is 2.5; expected a whole number"),
        ({"size": 49}, "is a memory for 49 images, but the stream has 48"),
        ({"gamma": 1.2}, "gamma is 1.2; expected a share"),
        ({"gamma": -0.2}, "gamma is -0.2"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"alpha": -1}, "alpha is -1; expected a number of at least 0"),
        ({"beta": math.inf}, "beta is inf"),
        ({"lam": "much"}, "lam is 'much'"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"csd": -0.1}, "csd is -0.1"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0"),
        ({"views": 1}, "views is 1; expected a whole number of at least 2"),
        ({"past_hinge": 1}, "past_hinge is 1; expected True or False"),
        ({"rewrite": "no"}, "rewrite is 'no'"),
        ({"future": None}, "future is None"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(tmp_path, settings, told):
    with pytest.raises(ValueError, match=told):
        csd.train(csd.split(striped(), n_tasks=3), XDER(**({"size": 10} | settings)), TINY, out=tmp_path / "r")
    assert not (tmp_path / "r" / "records.jsonl").exists()


@pytest.mark.slow
def test_it_learns_and_without_the_past_hinge_never_names_what_came_last(tmp_path):
    stream = csd.split(striped(train=24), n_tasks=3)
    config = TINY.replace(epochs=6, later_epochs=6, lr=3e-3, later_lr=3e-3)
    accuracy, said = {}, {}
    for name, method in {
        "xder": XDER(size=24, eta=0.3),
        "as released": XDER(size=24, eta=0.3, past_hinge=False),
        "finetune": csd.methods.finetune,
    }.items():
        run = csd.train(stream, method, config, out=tmp_path / name, progress=False)
        accuracy[name] = run.metrics["summary"]["head_accuracy"]
        said[name] = stream.task_of_class[run.predictions(2)].bincount(minlength=3).tolist()
    assert accuracy["xder"] > 0.75  # of 24 images
    assert min(said["xder"]) > 0
    assert said["as released"][2] == 0
    assert said["finetune"][:2] == [0, 0]


# ---------------------------------------------------------------------- the experiment, in a tiny size


@pytest.mark.slow
def test_the_experiment_is_tuned_measured_and_not_done_twice(tmp_path, monkeypatch):
    names = [rewritten.BASE, "X-DER", "X-DER, no past hinge"]

    def call() -> Any:
        return rewritten.compared(
            striped(),
            {"n_tasks": 3},
            TINY.replace(epochs=1, later_epochs=1),
            out=tmp_path,
            names=names,
            seeds=2,
            jobs=1,
            tuning_seeds=[7],
            size=8,
        )

    # as if it had been stopped once, after the last epoch that tuning needs and before it was measured
    stream = csd.split(striped(), n_tasks=3, seed=7, validation=0.25)
    first = rewritten.RIVALS["X-DER"]
    config = TINY.replace(epochs=1, later_epochs=1, seed=7)
    go_on(first.at(first.points()[0], 8), tmp_path / "tuning" / "seed7" / "X-DER-0", 6, stream, config)
    assert csd.Run.load(tmp_path / "tuning" / "seed7" / "X-DER-0").tasks_learnt == 2

    found = call()
    for name in names:
        tuning = found["tuning"][name]
        assert len(tuning["points"]) == len(tuning["scores"]) == 4  # as many for each
        best = max(range(4), key=lambda k: sum(tuning["scores"][k]))
        assert tuning["chosen"] == tuning["points"][best]
        assert [sum(of["shares"]) for of in found["runs"][name]] == pytest.approx([1, 1])
    for k in range(4):  # no image of a task after the second was trained on to tune
        run = csd.Run.load(tmp_path / "tuning" / "seed7" / f"X-DER-{k}")
        assert {record["task"] for record in run.records} == {0, 1}
        assert run.description["stream"]["validation"] == 0.25
    measured = rewritten.results_of(found, config)
    assert measured.of("X-DER", "share of task 1") == tuple(of["shares"][1] for of in found["runs"]["X-DER"])
    assert measured.notes["bytes"]["X-DER"] > 8 * 3 * 16 * 16
    table = rewritten.table(measured)
    assert "| X-DER − DER++ | " in table
    assert "| X-DER − X-DER, no past hinge | " in table
    n, extra = len(found["runs"]), [name for name in found["runs"] if name not in names]
    there = [pair for pair in rewritten.PAIRS if set(pair) <= set(found["runs"])]
    assert set(rewritten.WITHOUT_HINGES) <= set(extra)
    assert table.count(" ± ") == 1 + (2 + 1 + 3) * n + 2 * len(there)  # once in the title
    assert len(there) >= 2 + 2 * len(rewritten.WITHOUT_HINGES)

    # a control that was tuned to other weights than X-DER is there with those of X-DER, too
    for best in ("X-DER-0", "X-DER-no-past-hinge-3"):
        write_json(tmp_path / "tuning" / "seed7" / best / "found.json", {"score": 2.0})
    found = call()
    assert list(found["runs"]) == [*names, "X-DER, no past hinge, weights of X-DER", *rewritten.WITHOUT_HINGES]
    run = csd.Run.load(tmp_path / "seed1" / "X-DER-no-past-hinge-weights-of-X-DER")
    assert "past_hinge=False" in run.method
    assert "alpha=0.1" in run.method  # of X-DER's first point; its own is at 0.3
    monkeypatch.setattr(csd, "training", None)
    assert call() == found


@pytest.mark.slow
def test_controls_without_hinges_are_put_beside_the_results_that_are_there(tmp_path, monkeypatch):
    config = TINY.replace(epochs=1, later_epochs=1)
    monkeypatch.setattr(rewritten, "glyphs", lambda **_: (striped(), {"n_tasks": 3}, config))
    monkeypatch.setattr(rewritten, "SIZE", 8)
    shares = {f"share of task {task}": (1 / 3, 1 / 3) for task in range(3)}
    values = {"head_accuracy": (0.5, 0.6), "recall_at_1": (0.7, 0.8), "seconds": (1.0, 1.0)} | shares
    chosen = {"alpha": 0.2, "eta": 0.2}
    there = Results(
        about="a try",
        command="python benchmarks/rewritten.py",
        seeds=(0, 1),
        values={"X-DER": values, "DER++": values},
        notes={"bytes": {"X-DER": 1, "DER++": 1}, "tuning": {"methods": {"X-DER": {"chosen": chosen}}}},
    )
    there.write(tmp_path / "there.json")
    call = ["--hinges", "--results", str(tmp_path / "there.json"), "--out", str(tmp_path), "--jobs", "1"]
    rewritten.main(call)
    both = read(tmp_path / "there.json")
    assert list(both.values) == ["X-DER", "DER++", *rewritten.WITHOUT_HINGES]
    assert both.values["X-DER"] == there.values["X-DER"]
    assert both.notes["bytes"]["X-DER, no hinge"] > 8 * 3 * 16 * 16
    of = {name: csd.Run.load(tmp_path / "seed1" / rewritten.folder(name)) for name in rewritten.WITHOUT_HINGES}
    assert all("alpha=0.2" in run.method for run in of.values())
    assert "eta=0" in of["X-DER, no hinge"].method
    assert {"future=False", "past_hinge=False", "eta=0.2"} <= set(
        of["X-DER, no past hinge, no future"].method.removesuffix(")").partition("(")[2].split(", ")
    )


@pytest.mark.slow
def test_the_photographs_stop_in_time_and_go_on(tmp_path):
    config = TINY.replace(epochs=1, later_epochs=1)

    def call(minutes: float) -> Any:
        return rewritten.photographs(striped(), config, out=tmp_path, minutes=minutes, n_tasks=3, sizes=(8, 12))

    assert call(0) == {}
    assert not list(tmp_path.iterdir())
    assert call(1e-4) == {}
    begun = csd.Run.load(tmp_path / "DER++-8")
    assert [record["kind"] for record in begun.records] == ["epoch"]
    found = call(5)
    names = (rewritten.BASE, "X-DER", "X-DER, no past hinge")
    assert list(found) == [f"{name}, {size}" for size in (8, 12) for name in names]
    assert call(0) == found
    text = rewritten.table_of_photographs({"X-DER, 500": found["X-DER, 8"]}, config)
    assert "| X-DER, 500 | " in text
    assert "| 0.499 | " in text
