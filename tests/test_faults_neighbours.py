"""K. What is carried over from old data: shares, sizes and classes that can't be, refused before work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import csd_edu as csd
from csd_edu import few
from csd_edu.generator import Generator, draw
from csd_edu.methods import CSL, DM, ER, NNCSL, XDER, GDumb, Genifer, Herding
from csd_edu.methods.genifer import dreamed
from csd_edu.small import small_dataset
from csd_edu.tuning import with_setting
from tests.conftest import TINY, striped

DATA = striped(train=16)  # 6 classes of 16 training images, 16×16
STREAM = csd.split(DATA, n_tasks=3, seed=0)
FEW = csd.split(DATA, n_tasks=3, seed=0, labelled=2)

REFUSED_METHODS = {
    "a memory larger than the data: `ER(size=200)` for 96 images": (STREAM, ER(200)),
    "`XDER(size=200)`, on a stream with 12 labels": (FEW, XDER(200)),
    "`GDumb(budget=100_000)` bytes for 96 images": (STREAM, GDumb(budget=100_000)),
    "`GDumb(budget=100)` bytes, less than an image": (STREAM, GDumb(budget=100)),
    "`GDumb(size=20, budget=3000)`": (STREAM, GDumb(size=20, budget=3000)),
    "images of 16×16 to be kept at a side of 6": (STREAM, ER(20, side=6)),
    "`DM(per_class=17)`, more images of a class than there are": (STREAM, DM(per_class=17)),
    "`Herding(per_class=0)`": (STREAM, Herding(per_class=0)),
    "`CSL()` on a stream in which every image has its label": (STREAM, CSL()),
    "`NNCSL()` on a stream in which every image has its label": (STREAM, NNCSL()),
    "`NNCSL(label_weight=-1)`": (FEW, NNCSL(label_weight=-1)),
    "`Genifer(feature=-1)`": (STREAM, Genifer(feature=-1)),
    "`Genifer(gan_steps=0)`": (STREAM, Genifer(gan_steps=0)),
}


@pytest.mark.parametrize("given", REFUSED_METHODS)
def test_a_method_that_can_not_work_is_refused_before_training(given, tmp_path, bad_input):
    stream, method = REFUSED_METHODS[given]
    with pytest.raises(ValueError, match="expected") as error:
        csd.train(stream, method, TINY, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()
    bad_input(given, error.value)


@pytest.mark.parametrize("labelled", [0, 1.5, -0.1, 17, "a tenth"])
def test_labels_that_can_not_be(labelled, bad_input):
    with pytest.raises(ValueError, match=f"labelled is {labelled!r}") as error:
        csd.split(DATA, n_tasks=3, labelled=labelled)
    bad_input(f"`csd.split(data, labelled={labelled!r})`, with 16 training images a class", error.value)


def test_a_share_too_small_for_one_image_leaves_no_class_without_a_label():
    stream = csd.split(DATA, n_tasks=3, seed=0, labelled=0.001)
    labels = stream.train(0, 1, 2).labelled().labels
    assert labels.bincount().tolist() == [1] * 6


LABELS = FEW.train(0).labels  # (32,) 28 of them −1
CONDENSED = torch.zeros(6, 3, 16, 16, dtype=torch.uint8)
LARGER = torch.zeros(6, 3, 24, 24, dtype=torch.uint8)
REFUSED_CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "`losses.cross_entropy` of rows without a label": (
        lambda: csd.losses.cross_entropy(torch.zeros(32, 6), LABELS),
        "unlabelled rows",
    ),
    "`losses.csd` of rows without a label": (
        lambda: csd.losses.csd(torch.ones(32, 4), torch.ones(32, 4), LABELS),
        "unlabelled rows",
    ),
    "a generator of four classes is asked for a fifth": (lambda: draw(Generator((1, 16, 16), 4), [0, 4], 1), "0 to 3"),
    "dreams of a method that was never trained": (lambda: dreamed(Genifer(), [0], 1), "expected"),
    "condensed images of 16×16 as training images of data of 24×24": (
        lambda: replace(striped(train=16, size=24), x_train=CONDENSED, y_train=torch.arange(6)),
        "expected one C×H×W",
    ),
    "`few.evaluate` with test images of another size": (
        lambda: few.evaluate(DATA.x_train, DATA.y_train, LARGER, torch.arange(6)),
        "expected the same size",
    ),
    "`small_dataset` of 16×16 at a side of 6": (lambda: small_dataset(DATA, 6), "expected one of"),
}


@pytest.mark.parametrize("given", REFUSED_CALLS)
def test_a_call_that_can_not_be(given, bad_input):
    call, message = REFUSED_CALLS[given]
    with pytest.raises(ValueError, match=message) as error:
        call()
    bad_input(given, error.value)


def test_only_settings_that_a_method_has_are_tuned():
    assert with_setting("genifer", "feature", 0.5) == Genifer(feature=0.5)
    for name, setting in (("genifer", "weight"), ("lwf", "distillation"), ("none", "weight")):
        with pytest.raises(ValueError, match=f"no method '{name}' with a setting '{setting}'"):
            with_setting(name, setting, 1)
