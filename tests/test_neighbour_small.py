"""Small images: what shrinking keeps, memories of equal bytes, GDumb on them, and the figure of what bytes buy.

The references are plain loops, written from the definitions; the numbers by hand are worked out in the comments.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

import csd_edu as csd
from csd_edu import metrics, pictures, plots, results
from csd_edu.comparison import against_bytes, of_methods
from csd_edu.identity import describe_method, differences
from csd_edu.learner import Learner
from csd_edu.methods import ER, CSDMemory, GDumb, Setting, Step
from csd_edu.plots.beside import LETTER, LINE
from csd_edu.plots.bytes import HEIGHT, WIDTH
from csd_edu.report import write_report
from csd_edu.results import Results
from csd_edu.runtime import derive_seed
from csd_edu.small import check_side, enlarge, image_bytes, shrink, small_dataset
from tests.conftest import TINY, striped
from tests.test_methods_state import assert_equal, go_on

pytestmark = pytest.mark.usefixtures("one_thread")

several_examples = settings(max_examples=40, deadline=None, derandomize=True)

NASTY = "<img src=x onerror=alert(1)>"


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def stream_of_stripes(**changes: Any) -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, seed=0, **changes)


def trained(
    method: Any, out: Path, stream: csd.Stream | None = None, config: csd.Config = TINY, **more: Any
) -> csd.Run:
    return csd.train(stream or stream_of_stripes(), method, config, out=out, progress=False, **more)


def assert_same_networks(one: csd.Run, other: csd.Run) -> None:
    for a, b in zip(one.snapshots(), other.snapshots(), strict=True):
        assert torch.equal(a, b)
    a, b = (run.network(run.n_tasks - 1).state_dict() for run in (one, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------- shrinking, enlarging, counting


def loop_shrink(images: torch.Tensor, side: int) -> torch.Tensor:
    """The mean of each block, in Python's whole numbers; a half is rounded up."""
    n, channels, height, _ = images.shape
    k = height // side
    small = torch.zeros(n, channels, side, side, dtype=torch.uint8)
    for b in range(n):
        for c in range(channels):
            for i in range(side):
                for j in range(side):
                    block = [int(images[b, c, k * i + y, k * j + x]) for y in range(k) for x in range(k)]
                    small[b, c, i, j] = (2 * sum(block) + k * k) // (2 * k * k)
    return small


def test_shrunk_by_two_a_pixel_is_the_mean_of_two_by_two():
    image = torch.tensor([[0, 1, 9, 9], [2, 4, 9, 9], [1, 2, 255, 255], [1, 2, 255, 254]], dtype=torch.uint8)
    # 7/4 = 1.75 -> 2; 9; 6/4 = 1.5 -> 2, a half goes up; 1019/4 = 254.75 -> 255
    assert shrink(image[None, None], 2).tolist() == [[[[2, 9], [2, 255]]]]
    assert shrink(image[None, None], 1).tolist() == [[[[67]]]]  # (7 + 36 + 6 + 1019) / 16 = 66.75


@several_examples
@given(
    k=st.integers(1, 5),
    side=st.integers(1, 6),
    channels=st.sampled_from([1, 3]),
    n=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_it_is_the_plain_loop_and_loses_nothing_a_second_time(k, side, channels, n, seed):
    images = random_images(n, channels, k * side, k * side, seed=seed)
    small = shrink(images, side)
    assert small.dtype == torch.uint8
    assert torch.equal(small, loop_shrink(images, side))
    large = enlarge(small, k * side)
    assert large.shape == images.shape
    assert torch.equal(shrink(large, side), small)
    assert torch.equal(enlarge(shrink(large, side), k * side), large)
    assert small.numel() == n * image_bytes(side, channels)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("side", [1, 2, 4, 8, 16, 32])
def test_a_constant_image_survives(value, side):
    image = torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
    assert torch.equal(enlarge(shrink(image, side), 32), image)


def test_at_its_own_side_an_image_stays_as_it_is_and_is_a_copy():
    image = random_images(2, 3, 8, 8)
    for same in (shrink(image, 8), enlarge(image, 8)):
        assert torch.equal(same, image)
        assert same.data_ptr() != image.data_ptr()


def test_a_black_and_a_white_half_become_two_pixels():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    image[..., 2:] = 255
    assert shrink(image, 2).tolist() == [[[[0, 255], [0, 255]]]]
    assert enlarge(shrink(image, 2), 4).tolist() == image.tolist()


def test_many_images_are_shrunk_as_one_by_one():
    images = random_images(1003, 1, 4, 4)
    assert torch.equal(shrink(images, 2), torch.cat([shrink(image[None], 2) for image in images]))


def test_the_callers_default_type_and_gradient_mode_make_no_difference():
    images = random_images(2, 3, 8, 8)
    expected = shrink(images, 4)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            assert torch.equal(shrink(images, 4), expected)
    finally:
        torch.set_default_dtype(before)


def test_bytes_are_squares_times_channels():
    assert [image_bytes(side, 3) for side in (32, 16, 8, 4)] == [3072, 768, 192, 48]
    assert image_bytes(8, 1) == 64
    assert 61_440 // image_bytes(8, 3) == 16 * (61_440 // image_bytes(32, 3)) == 320


BAD = {
    "side is 5, but the images are 32×32; expected one of 1, 2, 4, 8, 16, 32": lambda x: shrink(x, 5),
    "side is 64, but the images are 32×32; expected one of": lambda x: shrink(x, 64),
    "side is 0; expected a whole number of at least 1": lambda x: shrink(x, 0),
    "side is 8.0; expected a whole number": lambda x: shrink(x, 8.0),
    "the images are 32×16; expected square images": lambda x: shrink(x[..., :16], 8),
    r"images are torch.float32 \(2, 3, 32, 32\); expected \(B, C, H, W\) uint8": lambda x: shrink(x.float(), 8),
    r"images are torch.uint8 \(3, 32, 32\)": lambda x: shrink(x[0], 8),
    "images is a list; expected a tensor": lambda x: shrink(x.tolist(), 8),
    "side is 48, but the images are 32×32; expected square images, and a multiple of their side, such as 32 or 64": (
        lambda x: enlarge(x, 48)
    ),
    "side is 16, but the images are 32×32": lambda x: enlarge(x, 16),
    "the images are 32×16; expected square images, and a multiple of their side$": lambda x: enlarge(x[..., :16], 64),
    "channels is 0; expected a whole number of at least 1": lambda _: image_bytes(8, 0),
    "the images are 28×28; expected one of 1, 2, 4, 7, 14, 28": lambda _: check_side(8, 28, 28),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_shrunk_or_enlarged(message):
    with pytest.raises(ValueError, match=message):
        BAD[message](random_images(2, 3, 32, 32))


# ---------------------------------------------------------------------- a dataset made small


def test_of_a_small_dataset_both_parts_are_small(stripes):
    small = small_dataset(stripes, 4)
    for name in ("x_train", "x_test"):
        before, after = getattr(stripes, name), getattr(small, name)
        assert torch.equal(after, enlarge(shrink(before, 4), 16))
        assert not torch.equal(after, before)
    assert torch.equal(small.y_train, stripes.y_train)
    assert small.classes == stripes.classes
    assert small.name == "stripes at 4×4"
    assert small.fingerprint != stripes.fingerprint
    assert small_dataset(small, 4).fingerprint == small.fingerprint
    assert csd.small.small_dataset is small_dataset


def test_its_own_side_leaves_a_dataset_as_it_is(stripes):
    assert small_dataset(stripes, 16) is stripes


def test_test_images_alone(stripes):
    small = small_dataset(stripes, 4, test_only=True)
    assert torch.equal(small.x_train, stripes.x_train)
    assert torch.equal(small.x_test, small_dataset(stripes, 4).x_test)
    assert small.name == "stripes tested at 4×4"
    assert len({d.fingerprint for d in (small, small_dataset(stripes, 4), stripes)}) == 3


def test_what_is_no_dataset_to_make_small(stripes):
    with pytest.raises(ValueError, match=r"dataset is 3; expected one that csd\.load returns"):
        small_dataset(3, 8)
    with pytest.raises(ValueError, match="expected one of 1, 2, 4, 8, 16, which"):
        small_dataset(stripes, 5)
    with pytest.raises(ValueError, match="test_only is 1; expected True or False"):
        small_dataset(stripes, 8, test_only=1)


# ---------------------------------------------------------------------- a memory of small images, in er


@pytest.mark.parametrize("make", [ER, CSDMemory])
def test_a_memory_at_the_images_own_side_changes_no_bit(tmp_path, make):
    runs = [trained(make(size=20, **more), tmp_path / str(k)) for k, more in enumerate(({}, {"side": 16}))]
    assert_same_networks(*runs)
    assert runs[0].kept_bytes == runs[1].kept_bytes
    assert [len(run.method.split("side")) for run in runs] == [1, 2]
    smaller = trained(make(size=20, side=8), tmp_path / "8")
    assert not torch.equal(smaller.snapshots()[0], runs[0].snapshots()[0])


@pytest.mark.parametrize("side", [1, 4, 8, 16])
def test_er_keeps_small_images_of_bytes(tmp_path, side):
    run = trained(ER(size=20, side=side), tmp_path / "r")
    assert run.kept_bytes == {"memory": 20 * (3 * side**2 + 8)}
    images = run.kept()["memory"]["rows"]["images"]
    assert images.dtype == torch.uint8
    assert images.shape == (20, 3, side, side)
    every = shrink(run_images(stream_of_stripes()), side).flatten(1)
    assert all(bool((every == image.flatten()).all(dim=1).any()) for image in images), "stored as they came"


def run_images(stream: csd.Stream) -> torch.Tensor:
    return stream.train(*range(stream.n_tasks)).images


def test_what_er_draws_is_enlarged_and_cropped_afterwards():
    seen: list[torch.Tensor] = []
    method = ER(size=4, side=4)
    method.begin(Setting((2,), (8,), (3, 16, 16), 64, torch.device("cpu"), 0))
    raw = random_images(4, 3, 16, 16)

    def augment(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images + 1

    labels = torch.arange(4)
    step = Step(raw, labels, 0, view=None, teacher_view=None, index=labels, raw=raw, augment=augment)
    method.joined(step)
    images, joined_labels = method.joined(step)
    assert torch.equal(images[:4], raw)
    for image, label in zip(seen[0], joined_labels[4:], strict=True):
        assert torch.equal(image, enlarge(shrink(raw, 4), 16)[label])
    assert torch.equal(images[4:], seen[0] + 1)


@dataclass
class Mine(ER):
    """A user's own, built on the kit's."""

    weight: float = 2.0


@pytest.mark.parametrize(
    ("method", "name", "given"),
    [(csd.methods.er, "er", {"size": 200}), (CSDMemory(), "csd_memory", None), (Mine(), "er", None)],
)
def test_a_run_from_before_there_was_a_side_goes_on(method, name, given):
    now = describe_method(method)
    assert now["name"] == name
    assert "side" not in now["settings"]
    assert given is None or now["settings"] == given
    assert differences({**now, "settings": dict(now["settings"])}, now) == ([], [])
    changed = copy.copy(method)
    changed.side = 8
    assert describe_method(changed)["name"] == f"{name}(side=8)"
    assert differences({**now, "name": f"{name}(side=8)"}, describe_method(changed))[0] == [
        "the method's side has changed"
    ]


def test_settings_given_by_place_are_those_of_before():
    assert CSDMemory(100, 0.5) == CSDMemory(size=100, weight=0.5)
    assert ER(50).size == 50


@pytest.mark.parametrize("make", [ER, CSDMemory, GDumb])
def test_sides_that_do_not_divide_are_refused_before_work(tmp_path, make):
    with pytest.raises(ValueError, match="side is 6, but the images are 16×16; expected one of 1, 2, 4, 8, 16"):
        trained(make(size=20, side=6), tmp_path / "r")
    wide = replace(striped(train=16), **{n: getattr(striped(train=16), n)[..., :24] for n in ("x_train", "x_test")})
    assert wide.image_shape == (3, 16, 16)
    oblong = striped(train=16, size=32)
    oblong = replace(oblong, x_train=oblong.x_train[..., :24], x_test=oblong.x_test[..., :24])
    with pytest.raises(ValueError, match="the images are 32×24; expected square images"):
        trained(make(size=20, side=8), tmp_path / "r", csd.split(oblong, n_tasks=3))
    assert trained(make(size=20), tmp_path / "oblong", csd.split(oblong, n_tasks=3)).finished


# ---------------------------------------------------------------------- GDumb


def begun(method: GDumb, image_shape: tuple[int, int, int] = (3, 32, 32), n: int = 5000, n_classes: int = 10) -> GDumb:
    method.begin(Setting((n_classes,), (n,), image_shape, 64, torch.device("cpu"), 0))
    return method


@pytest.mark.parametrize(("side", "n"), [(None, 20), (32, 20), (16, 80), (8, 320), (4, 1280)])
def test_equal_bytes_hold_four_times_as_many_images_of_half_the_side(side, n):
    assert begun(GDumb(budget=61_440, side=side)).memory.size == n


@several_examples
@given(
    budget=st.integers(1, 100_000),
    side=st.sampled_from([None, 1, 2, 4, 8, 16]),
    channels=st.sampled_from([1, 3]),
)
def test_a_budget_is_filled_and_never_exceeded(budget, side, channels):
    each = (side or 16) ** 2 * channels
    method = GDumb(budget=budget, side=side)
    if budget < each:
        with pytest.raises(ValueError, match=f"budget is {budget:,} bytes, but one image takes {each:,}"):
            begun(method, (channels, 16, 16))
        return
    n = begun(method, (channels, 16, 16), n=200_000).memory.size
    assert n * each <= budget < (n + 1) * each


@pytest.mark.parametrize("side", [1, 4, 8, 16, None])
def test_the_bytes_of_gdumb_are_counted_to_the_byte_and_within_the_budget(tmp_path, side):
    each = 3 * (side or 16) ** 2
    run = trained(GDumb(budget=24 * each + each // 2, side=side), tmp_path / "r")
    assert run.kept_bytes == {"memory": 24 * (each + 1)}
    rows = run.kept()["memory"]["rows"]
    assert rows["images"].dtype == rows["labels"].dtype == torch.uint8
    assert rows["images"].nbytes == 24 * each <= 24 * each + each // 2


def test_many_classes_take_larger_labels():
    method = begun(GDumb(size=4), (1, 16, 16), n_classes=257)
    method.begin_task(0, random_images(4, 1, 16, 16), torch.tensor([0, 255, 256, 3]), None)
    assert method.memory.rows["labels"].dtype == torch.int64
    assert sorted(method.training_images(0, random_images(1, 1, 16, 16), torch.tensor([0]))[1].tolist()) == [
        0,
        3,
        255,
        256,
    ]
    method = begun(GDumb(size=2), (1, 16, 16), n_classes=256)
    method.begin_task(0, random_images(2, 1, 16, 16), torch.tensor([0, 255]), None)
    _, labels = method.training_images(0, random_images(1, 1, 16, 16), torch.tensor([0]))
    assert sorted(labels.tolist()) == [0, 255]
    assert labels.dtype == torch.int64


SEEN: list[tuple[Step, dict[str, torch.Tensor], Counter[int]]] = []


class Peeking(GDumb):
    """Notes what it is given: steps, the network's weights before them, and how many images of each class are held."""

    def __call__(self, step: Step) -> dict[str, torch.Tensor]:
        weights = step.view.__closure__
        network = next(cell.cell_contents for cell in weights if isinstance(cell.cell_contents, torch.nn.Module))
        state = {name: value.clone() for name, value in network.state_dict().items()}
        counts = Counter(self.memory.rows["labels"].tolist())
        SEEN.append((step, state, counts))
        return super().__call__(step)


@pytest.fixture
def peeked(tmp_path):
    """Train with `Peeking`, and return the run and what it was given: steps, weights before them, class counts."""

    def made(config: csd.Config = TINY, stream: csd.Stream | None = None, teacher: Any = None, **settings: Any):
        SEEN.clear()
        run = trained(
            Peeking(**settings), tmp_path / str(len(list(tmp_path.iterdir()))), stream, config, teacher=teacher
        )
        return run, list(SEEN)

    return made


def test_at_the_images_own_side_it_is_gdumb_bit_for_bit(tmp_path):
    settings_of = ({"size": 20}, {"size": 20, "side": 16}, {"budget": 20 * 768 + 7, "side": 16}, {"budget": 20 * 768})
    runs = [trained(GDumb(**given), tmp_path / str(k)) for k, given in enumerate(settings_of)]
    for run in runs[1:]:
        assert_same_networks(runs[0], run)
    crop_first = trained(GDumb(size=20, side=16, crop_first=True), tmp_path / "crop first")
    assert_same_networks(runs[0], crop_first)
    assert not torch.equal(trained(GDumb(size=20, side=8), tmp_path / "8").snapshots()[0], runs[0].snapshots()[0])


def test_the_memory_is_balanced_in_every_step_of_a_task(peeked):
    _, seen = peeked(size=15)
    for step, _, counts in seen:
        assert set(counts) == set(range(2 * (step.task + 1)))
        assert sum(counts.values()) == 15
        assert max(counts.values()) - min(counts.values()) <= 1


def test_only_images_of_the_memory_are_trained_on_cropped_after_shrinking(peeked):
    stream = csd.split(striped(train=16), n_tasks=3, seed=0)
    _, seen = peeked(size=12, side=4, stream=stream)
    originals = enlarge(shrink(run_images(stream), 4), 16)
    padded = torch.nn.functional.pad(originals, (1, 1, 1, 1))
    crops = (
        torch.stack([padded[..., y : y + 16, x : x + 16] for y in range(3) for x in range(3)]).flatten(0, 1).flatten(1)
    )
    on_grid = []
    for step, *_ in seen:
        for image, raw in zip(step.images, step.raw, strict=True):
            assert bool((crops == image.flatten()).all(dim=1).any())
            assert bool((originals.flatten(1) == raw.flatten()).all(dim=1).any())
            on_grid.append(torch.equal(enlarge(shrink(image[None], 4), 16)[0], image))
    assert not all(on_grid), "a crop shifts what was shrunk before"


def test_cropped_first_it_sees_more_than_it_says_and_the_count_tells_the_truth(tmp_path, monkeypatch):
    looked_at: list[torch.Tensor] = []
    real = csd.methods.gdumb_module.finetune if hasattr(csd.methods, "gdumb_module") else csd.methods.finetune
    monkeypatch.setitem(
        GDumb.__call__.__globals__, "finetune", lambda step: looked_at.append(step.images) or real(step)
    )
    budget = 24 * image_bytes(4, 3)
    honest = trained(GDumb(budget=budget, side=4), tmp_path / "honest")
    n = len(looked_at)
    trap = trained(GDumb(budget=budget, side=4, crop_first=True), tmp_path / "trap")
    assert honest.kept_bytes == {"memory": budget + 24}
    assert trap.kept_bytes == {"memory": 24 * image_bytes(16, 3) + 24}
    assert len(looked_at) == 2 * n, "equally many steps"
    for images in looked_at[n:]:
        assert torch.equal(enlarge(shrink(images, 4), 16), images), "shrunk after the crop"
    shifted = torch.cat([(enlarge(shrink(images, 4), 16) != images).flatten(1).any(dim=1) for images in looked_at[:n]])
    assert shifted.double().mean() > 0.5, "most crops shift the blocks, where nothing is shrunk again"
    different = torch.cat(looked_at[n:]).flatten(1).unique(dim=0)
    assert len(different) > 24 * 3, "of each image of the memory many small ones, as no small memory has"
    assert not torch.equal(honest.snapshots()[0], trap.snapshots()[0])


def test_each_task_begins_with_a_new_network_whatever_was_learnt_before(peeked):
    runs = []
    for lr in (0.01, 0.001):
        run, seen = peeked(TINY.replace(lr=lr), size=12)
        firsts = [next(state for step, state, _ in seen if step.task == task) for task in range(3)]
        runs.append((run, firsts))
    (one, ones), (other, others) = runs
    assert not torch.equal(one.snapshots()[0], other.snapshots()[0]), "task 0 was learnt otherwise"
    for task, (a, b) in enumerate(zip(ones, others, strict=True)):
        assert all(torch.equal(a[name], b[name]) for name in a)
        if task:
            new = csd.models.build("resnet8", seed=derive_seed(0, "weights", task)).state_dict()
            backbone = {name: value for name, value in new.items() if name.startswith("backbone.")}
            assert all(torch.equal(a[name], value) for name, value in backbone.items())
    assert not torch.equal(ones[0]["backbone.conv1.weight"], ones[1]["backbone.conv1.weight"])


def test_no_teacher_is_asked(tmp_path, peeked):
    plain, seen = peeked(size=12)
    assert all("teacher" not in vars(step) for step, *_ in seen)
    assert "teacher" not in plain.kept_bytes
    taught, _ = peeked(size=12, teacher=trained(csd.methods.finetune, tmp_path / "teacher"))
    assert "teacher" not in taught.kept_bytes
    assert_same_networks(plain, taught)


def test_every_memory_gets_equally_many_steps_and_every_image_its_share(peeked):
    steps = {}
    for settings_of in ({"budget": 3072, "side": None}, {"budget": 3072, "side": 8}, {"size": 40, "side": 4}):
        run, seen = peeked(per_epoch=40, **settings_of)
        steps[str(settings_of)] = [(step.task, len(step.labels)) for step, *_ in seen]
        assert [record["images"] for record in run.records if record["kind"] == "epoch"] == [40] * 6
        for task in range(3):
            first_epoch = [step for step, *_ in seen if step.task == task][:3]  # 40 images in batches of 16 at most
            shown = Counter(tuple(raw.flatten().tolist()) for step in first_epoch for raw in step.raw)
            n = run.kept()["memory"]["size"]
            assert sum(shown.values()) == 40
            assert len(shown) == min(n, 32 if task == 0 else n)
            assert max(shown.values()) - min(shown.values()) <= 1
    assert len(set(map(str, steps.values()))) == 1


def test_every_task_has_the_epochs_of_the_first(tmp_path):
    run = trained(GDumb(size=12), tmp_path / "r", config=TINY.replace(epochs=3, later_epochs=1))
    assert Counter(r["task"] for r in run.records if r["kind"] == "epoch") == {0: 3, 1: 3, 2: 3}


REFUSED = {
    "budget is 100 bytes, but one image takes 768; expected at least as many": {"budget": 100},
    r"budget is 3,000 bytes, room for 250 images of 12, but the stream has 96 to train on; expected at most 1,152": {
        "budget": 3000,
        "side": 2,
    },
    "size is 20 and budget 3000; expected one of the two": {"size": 20, "budget": 3000},
    "size is 0; expected a whole number of at least 1": {"size": 0},
    "budget is 0; expected a whole number of at least 1": {"budget": 0},
    "budget is 768.0; expected a whole number": {"budget": 768.0},
    "a memory for 97 images, but the stream has 96": {"size": 97},
    "a memory for 200 images, but the stream has 96": {},
    "per_epoch is 19, but the memory holds 20 images.*expected at least 20": {"size": 20, "per_epoch": 19},
    "per_epoch is 0; expected a whole number of at least 1": {"size": 20, "per_epoch": 0},
    "crop_first is True, but side is None": {"size": 20, "crop_first": True},
    "crop_first is 1; expected True or False": {"size": 20, "side": 8, "crop_first": 1},
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_make_no_memory_are_refused_before_work(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        trained(GDumb(**REFUSED[message]), tmp_path / "r")
    with_room = GDumb(budget=96 * 12, side=2)  # the number that the second message names
    with_room.begin(Setting((2, 2, 2), (32, 32, 32), (3, 16, 16), 64, torch.device("cpu"), 0))
    assert with_room.memory.size == 96


STOPPED = {
    "gdumb": lambda: GDumb(budget=20 * 192, side=8, per_epoch=32),
    "cropped first": lambda: GDumb(size=20, side=8, crop_first=True),
    "er": lambda: ER(size=20, side=8),
    "csd_memory": lambda: CSDMemory(size=20, side=4),
}


@pytest.mark.parametrize("name", STOPPED)
def test_stopped_after_every_record_it_ends_with_the_same_bits(tmp_path, name):
    go_on(STOPPED[name](), tmp_path / "whole", 1000, config=TINY)
    rounds = 0
    while go_on(STOPPED[name](), tmp_path / "r", 1, config=TINY) == 1:
        rounds += 1
    assert rounds == 9  # two epochs and the end of each of three tasks
    assert_equal(tmp_path / "whole", tmp_path / "r")


def test_stopped_where_the_best_epoch_is_kept(tmp_path):
    stream, config = stream_of_stripes(validation=0.3), TINY.replace(select="best")
    go_on(GDumb(size=20, side=8), tmp_path / "whole", 1000, stream, config)
    while go_on(GDumb(size=20, side=8), tmp_path / "r", 1, stream, config) == 1:
        pass
    assert_equal(tmp_path / "whole", tmp_path / "r")


def test_where_some_images_have_no_label_those_with_one_are_kept(tmp_path):
    run = trained(GDumb(size=18), tmp_path / "r", stream_of_stripes(labelled=4))
    assert Counter(run.kept()["memory"]["rows"]["labels"].tolist()) == dict.fromkeys(range(6), 3)


@pytest.mark.slow
def test_on_digits_it_learns_where_fine_tuning_forgets(tmp_path):
    data, config = csd.load("digits"), csd.Config(epochs=6, later_epochs=6, device="cpu", precision="float32")
    stream = csd.split(small_dataset(data, 8), n_tasks=2, seed=0)
    method = GDumb(budget=160 * image_bytes(8, 1), side=8, per_epoch=480)
    small, forgetful = (
        trained(method, tmp_path / "gdumb", stream, config),
        trained(csd.methods.finetune, tmp_path / "finetune", stream, config),
    )
    assert small.kept_bytes == {"memory": 160 * (64 + 1)}
    assert small.metrics["summary"]["head_accuracy"] > 0.8
    assert forgetful.metrics["summary"]["head_accuracy"] < 0.6


# ---------------------------------------------------------------------- what bytes buy, in one figure


REACHED = {
    "finetune": [(0, 0.70), (0, 0.74)],
    "csd": [(321_000, 0.83), (321_000, 0.81)],
    "er": [(347_000, 0.93), (347_000, 0.94)],
    "er(size=800)": [(1_400_000, 0.96), (1_400_000, 0.95)],
    "gdumb(budget=61440, side=8)": [(61_760, 0.90), (61_760, 0.89)],
}


def by_name(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_a_mark_for_each_method_at_its_mean_over_the_logarithm_of_its_bytes():
    figure = plots.recall_against_bytes(REACHED)
    traces = by_name(figure)
    assert list(traces) == list(REACHED)
    assert traces["csd"].x[0] == pytest.approx(math.log10(321_000))
    assert traces["csd"].y[0] == pytest.approx(0.82)
    mean, half = metrics.mean_interval([0.93, 0.94])
    assert (traces["er"].y[0], traces["er"].error_y.array[0]) == pytest.approx((mean, half))
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert ticks["100 kB"] == 5
    assert ticks["1 MB"] == 6
    assert traces["finetune"].x[0] == ticks["nothing"] < ticks["10 kB"]
    assert min(figure.layout.xaxis.range) < ticks["nothing"]
    assert "0 bytes" in traces["finetune"].hovertemplate
    assert "n = 2" in traces["er"].hovertemplate
    assert {note.text for note in figure.layout.annotations} == set(REACHED)
    assert not figure.layout.showlegend


def test_looks_are_the_cards_and_settings_of_one_method_differ():
    four = {name: [(10**k, 0.5)] for k, name in enumerate(("er", "er(size=50)", "er(side=8)", "er(side=4)"), 3)}
    traces = plots.recall_against_bytes({**four, "gdumb": [(9, 0.5)]}).data
    assert {trace.marker.color for trace in traces[:4]} == {"#56B4E9"}
    assert len({(trace.marker.symbol, trace.marker.size) for trace in traces}) == 5
    assert (traces[-1].marker.color, traces[-1].marker.symbol) == ("#D55E00", "hourglass")


def test_runs_whose_bytes_were_not_counted_are_named():
    some = {"csd": [(None, 0.8), (321_000, 0.9)], "lwf": [(None, 0.7)], "er": [(347_000, 0.9)]}
    figure = plots.recall_against_bytes(some)
    assert list(by_name(figure)) == ["csd", "er"]
    assert "did not count the bytes: csd (1 of 2), lwf" in figure.layout.title.subtitle.text
    assert by_name(figure)["csd"].y[0] == 0.9
    assert "did not count" not in plots.recall_against_bytes(REACHED).layout.title.subtitle.text


def test_without_labels_a_legend_names_the_marks():
    figure = plots.recall_against_bytes(REACHED, labels=False, metric="head_accuracy", subtitle="digits", title="T")
    assert not figure.layout.annotations
    assert figure.layout.showlegend
    assert figure.layout.yaxis.title.text == "Head accuracy, all classes"
    assert figure.layout.title.subtitle.text.endswith("digits")
    assert len(figure.layout.xaxis.tickvals) <= 5


def test_what_users_name_is_escaped_in_it():
    figure = plots.recall_against_bytes({NASTY: [(10, 0.5)], "csd": [(None, 0.5)], f"{NASTY}2": [(None, 0.5)]})
    assert "<img" not in str(figure.to_plotly_json())


def test_nothing_kept_by_any_is_a_figure_as_well():
    figure = plots.recall_against_bytes({"finetune": [(0, 0.5)]})
    assert figure.layout.xaxis.ticktext[0] == "nothing"
    assert figure.data[0].error_y.visible is False


@pytest.mark.parametrize(
    ("reached", "more", "message"),
    [
        ({}, {}, "there is no method to draw"),
        ({"csd": []}, {}, "'csd' has no run; expected values from 0 to 1"),
        ({"csd": [(1, 1.5)]}, {}, "'csd' has 1.5; expected values from 0 to 1"),
        ({"csd": [(1, math.nan)]}, {}, "'csd' has nan; expected values from 0 to 1"),
        ({"csd": [(1, None)]}, {}, "'csd' has a run without a value; expected"),
        ({"csd": [(-1, 0.5)]}, {}, "'csd' carries -1 bytes; expected a finite number"),
        ({"csd": [(math.nan, 0.5)]}, {}, "'csd' carries nan bytes; expected a finite number"),
        ({"csd": [(math.inf, 0.5)]}, {}, "'csd' carries inf bytes; expected a finite number"),
        ({"csd": [(None, 0.5)]}, {}, "the bytes of no run were counted"),
        ({"csd": [(1, 0.5)]}, {"metric": "map"}, "metric is 'map'; expected one of 'recall_at_1', 'head_accuracy'"),
    ],
)
def test_what_cannot_be_drawn(reached, more, message):
    with pytest.raises(ValueError, match=message):
        plots.recall_against_bytes(reached, **more)


def boxes(figure: Any) -> dict[str, tuple[float, float, float, float]]:
    """Where the labels stand in the panel at its narrowest, in pixels: left, bottom, right, top."""
    (low, high), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    found = {}
    for note in figure.layout.annotations:
        x = WIDTH * (note.x - low) / (high - low) + note.ax
        y = HEIGHT * (note.y - bottom) / (top - bottom) - note.ay
        width = LETTER * len(note.text)
        left = x if note.xanchor == "left" else x - width
        found[note.text] = left, y - LINE / 2, left + width, y + LINE / 2
    return found


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_labels_cover_neither_each_other_nor_the_edge(seed):
    generator = torch.Generator().manual_seed(seed)
    names = ["finetune", "frozen", "lwf", "csd", "er", "er(size=50)", "er(side=8)", "derpp", "csd_memory", "joint"]
    values = (0.7 + 0.25 * torch.rand(len(names), generator=generator)).tolist()
    n_bytes = [0, 0, 321_000, 321_000, 347_000, 87_000, 38_000, 427_000, 668_000, 12_288_000]
    figure = plots.recall_against_bytes({n: [(b, v)] for n, b, v in zip(names, n_bytes, values, strict=True)})
    placed = list(boxes(figure).values())
    assert len(placed) == len(names)
    for k, (left, bottom, right, top) in enumerate(placed):
        assert left >= -1
        assert bottom >= -1
        assert right <= WIDTH + 1
        assert top <= HEIGHT + 1
        for other in placed[:k]:
            across = min(right, other[2]) - max(left, other[0])
            up = min(top, other[3]) - max(bottom, other[1])
            assert across <= 1 or up <= 1


def test_each_name_stands_nearest_to_its_own_mark():
    """In the figure of all methods, of which many keep the same bytes."""
    figure = pictures.recall_against_bytes(results.read("neighbours"))
    (low, high), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    notes = figure.layout.annotations
    marks = [(WIDTH * (n.x - low) / (high - low), HEIGHT * (n.y - bottom) / (top - bottom)) for n in notes]
    for k, (note, (x, y)) in enumerate(zip(notes, marks, strict=True)):
        away = math.hypot(note.ax, note.ay)
        others = [math.dist((x + note.ax, y - note.ay), mark) for j, mark in enumerate(marks) if j != k]
        drawn = note.arrowcolor != "rgba(0,0,0,0)"
        assert away < 90, note.text
        assert drawn or away < 30, f"{note.text} has neither its place beside the mark nor a line to it"
        assert drawn or min(others) >= away, f"{note.text} without a line could be of another mark"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    methods = {"finetune": csd.methods.finetune, "er": ER(size=20), "er8": ER(size=20, side=8), "gdumb": GDumb(size=12)}
    return {
        (name, seed): trained(method, folder / f"{name}{seed}", config=TINY.replace(seed=seed))
        for name, method in methods.items()
        for seed in ((0, 1) if name == "gdumb" else (0,))
    }


def test_runs_are_drawn_from_their_own_records(several):
    runs = list(several.values())
    assert list(of_methods(runs)) == ["finetune", "er(size=20)", "er(side=8, size=20)", "gdumb(size=12)"]
    for metric in ("recall_at_1", "head_accuracy"):
        figure = pictures.recall_against_bytes(runs, metric=metric)
        traces = by_name(figure)
        values = [several["gdumb", seed].metrics["summary"][metric] for seed in (0, 1)]
        assert traces["gdumb(size=12)"].y[0] == pytest.approx(sum(values) / 2)
        assert traces["gdumb(size=12)"].x[0] == pytest.approx(math.log10(12 * (768 + 1)))
        assert traces["er(side=8, size=20)"].x[0] == pytest.approx(math.log10(20 * (192 + 8)))
    named = pictures.recall_against_bytes({"8×8": [several["er8", 0]], "none": [several["finetune", 0]]})
    assert list(by_name(named)) == ["8×8", "none"]


def test_an_unfinished_run_is_said_to_be_one(tmp_path):
    go_on(ER(size=20), tmp_path / "r", 4, config=TINY)
    figure = pictures.recall_against_bytes([csd.Run.load(tmp_path / "r")])
    assert "not finished, and shown with the tasks learnt so far: er(size=20)" in figure.layout.title.subtitle.text
    go_on(ER(size=20), tmp_path / "new", 1, config=TINY)
    with pytest.raises(ValueError, match="has not finished its first task yet"):
        against_bytes([csd.Run.load(tmp_path / "new")])
    with pytest.raises(ValueError, match=r"runs\[0\] is 3; expected a list of runs"):
        against_bytes([3])


def test_what_an_experiment_measured_is_drawn_as_its_runs_would_be(tmp_path, several):
    runs = {name: [run for (kind, _), run in several.items() if kind == name] for name in ("finetune", "er")}
    values = {
        name: {
            "bytes": [sum(run.kept_bytes.values()) for run in of],
            **{m: [run.metrics["summary"][m] for run in of] for m in ("recall_at_1", "head_accuracy")},
        }
        for name, of in runs.items()
    }
    seeds = tuple(range(len(runs["er"])))
    Results("stripes in tasks", "python benchmarks/none.py", seeds, values).write(tmp_path / "r.json")
    for metric in ("recall_at_1", "head_accuracy"):
        drawn = pictures.recall_against_bytes(results.read(tmp_path / "r.json"), metric=metric)
        for mark, of_runs in zip(drawn.data, pictures.recall_against_bytes(runs, metric=metric).data, strict=True):
            assert mark.to_plotly_json() == of_runs.to_plotly_json()
        assert "stripes in tasks" in drawn.layout.title.subtitle.text
    with pytest.raises(ValueError, match="has no measure 'bytes'"):
        pictures.recall_against_bytes(results.read("quantity"))


def test_a_single_run_and_another_metric_are_refused(several):
    with pytest.raises(ValueError, match="expected a list of runs"):
        pictures.recall_against_bytes(several["er", 0])
    with pytest.raises(ValueError, match="metric is 'x'; expected one of 'recall_at_1', 'head_accuracy'"):
        pictures.recall_against_bytes([several["er", 0]], metric="x")


def test_the_report_shows_it_where_several_runs_keep_something(tmp_path, several):
    heading = "What does it take to remember?"
    page = write_report([several[k, 0] for k in ("finetune", "er", "gdumb")], tmp_path / "a.html", maps=())
    text = page.read_text()
    assert text.count(f"<h2>{heading}</h2>") == 1
    assert "carried over from task to task" in text
    one = write_report([several[k, 0] for k in ("finetune", "er")], tmp_path / "b.html", maps=())
    assert heading not in one.read_text()


def test_the_learner_counts_no_more_than_the_memory():
    method = GDumb(size=12, side=8)
    learner = Learner(csd.models.build("resnet8"), stream_of_stripes(), method, TINY)
    learner.begin_task(0, 2)
    assert learner.kept_bytes(stream_of_stripes()) == {}
    for _ in learner.hook("begin_task", stream_of_stripes().train(0)):
        pass
    assert learner.kept_bytes(stream_of_stripes()) == {"memory": 12 * (192 + 1)}
