"""The datasets: every source, the file format against damage of many kinds, the cache, and folders of odd images."""

import ast
import http.client
import io
import os
import pickle
import random
import socket
import subprocess
import sys
import types
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from csd_edu import data, folders, images
from csd_edu.data import Dataset, load, save
from tests.conftest import need

pytestmark = [
    pytest.mark.filterwarnings("error"),  # a warning is part of what `load` says
    pytest.mark.filterwarnings("ignore::csd_edu.doubts.Doubt"),  # what test_faults_values.py is about
]
ENVIRONMENT = os.environ.get("CSD_EDU_DATA")  # as found, before the fixture below hides it


def real(filename):
    """Return the file of real images of this name; without it skip the test, or fail where all are required."""
    path = Path(ENVIRONMENT or "/nonexistent", filename)
    need(path.is_file(), f"no {filename} in the folder that CSD_EDU_DATA names ({ENVIRONMENT})")
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Data folders of our own, a csd_edu outside any checkout, and no network."""

    def refuse(*_):
        raise urllib.error.URLError("no network in the tests")

    monkeypatch.setenv("CSD_EDU_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "__file__", str(tmp_path / "site-packages/csd_edu/data.py"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    return tmp_path


def arrays(n_train=6, n_test=4, height=16, width=16, channels=3, classes=("a", "b"), seed=0):
    """What a .npz file holds: images (N, H, W, C) of noise, labels in turn."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (n_train, height, width, channels), dtype=np.uint8),
        "y_train": np.arange(n_train) % len(classes),
        "x_test": rng.integers(0, 256, (n_test, height, width, channels), dtype=np.uint8),
        "y_test": np.arange(n_test) % len(classes),
        "classes": np.array(classes),
    }


def dataset(name="some", **options):
    a = arrays(**options)
    x_train, x_test = (torch.from_numpy(a[key]).permute(0, 3, 1, 2).contiguous() for key in ("x_train", "x_test"))
    y_train, y_test = (torch.from_numpy(a[key]) for key in ("y_train", "y_test"))
    return Dataset(name, x_train, y_train, x_test, y_test, tuple(a["classes"].tolist()))


def with_(a, **changes):
    return types.SimpleNamespace(**{**{key: getattr(a, key) for key in Dataset.__dataclass_fields__}, **changes})


def remade(a, **changes):
    return Dataset(**vars(with_(a, **changes)))


def write(path, a):
    np.savez(path, **a)
    return path


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------------------- Dataset


def test_dataset_describes_itself():
    some = dataset("glyphs", n_train=4000, n_test=2000, height=16, width=20, classes=[f"c{i}" for i in range(100)])
    assert repr(some) == "Dataset 'glyphs': 4,000 train + 2,000 test images, 100 classes, 3×16×20"
    assert some.n_classes == 100
    assert some.image_shape == (3, 16, 20)
    with pytest.raises(AttributeError):
        some.name = "other"


@pytest.mark.parametrize(
    ("classes", "groups"),
    [
        (("Greek/1", "Latin/1", "Greek/2"), {"Greek": (0, 2), "Latin": (1,)}),
        (("Greek/1/x", "Greek/2"), {"Greek": (0, 1)}),
        (("apple", "pear"), {}),
        (("apple", "n/a"), {}),  # "n" is no alphabet
    ],
)
def test_groups_are_the_names_before_the_slash(classes, groups):
    assert dataset(classes=classes).groups == groups


def test_fingerprint_changes_with_the_data_and_only_with_it():
    some = dataset()
    x, y = some.x_train.clone(), some.y_train.clone()
    x[3, 1, 7, 7] ^= 1
    y[:2] = y[:2].flip(0)
    others = [
        some,
        remade(some, x_train=x),
        remade(some, y_train=y),
        remade(some, classes=("a", "c")),
        remade(some, classes=("b", "a")),
        remade(some, x_train=some.x_train[:4], y_train=some.y_train[:4]),
        dataset(height=32, width=16),
        dataset(height=16, width=32),  # the same bytes in another shape
        remade(some, x_train=some.x_test, y_train=some.y_test, x_test=some.x_train, y_test=some.y_train),
    ]
    assert len({other.fingerprint for other in others}) == len(others)
    assert remade(some, name="other").fingerprint == some.fingerprint
    stored_by_column = some.x_train.transpose(2, 3).contiguous().transpose(2, 3)
    assert remade(some, x_train=stored_by_column).fingerprint == some.fingerprint
    assert len(some.fingerprint) == 8
    assert int(some.fingerprint, 16) >= 0


X, Y = dataset().x_train, dataset().y_train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X.float()}, r"x_train is torch.float32 of shape \(6, 3, 16, 16\); expected torch.uint8"),
        ({"x_train": X.numpy()}, r"x_train is uint8 .* expected torch.uint8"),
        ({"x_train": X[:, 0]}, r"x_train .*\(6, 16, 16\); expected torch.uint8 \(N, C, H, W\)"),
        ({"x_test": X[:4, :2]}, "x_test has images of 2 channels; expected 1 .* or 3"),
        ({"x_test": X[:4, :1]}, "x_train has images of 3×16×16, x_test of 1×16×16; expected one"),
        ({"x_train": X[:, :, :, :15]}, "x_train has images of 16×15 pixels; expected 16×16 or more"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty"),
        ({"y_train": Y[:5]}, "x_train has 6 images, y_train 5 labels"),
        ({"y_train": Y.int()}, r"y_train is torch.int32 .*expected torch.int64 \(N\)"),
        ({"y_train": Y[:, None]}, r"y_train .*\(6, 1\)"),
        ({"y_train": Y - 1}, "y_train has labels -1 to 0; expected 0 to 1"),
        ({"y_test": Y[:4] + 1}, "y_test has labels 1 to 2; expected 0 to 1"),
        ({"y_test": Y[:4] * 0}, "1 of 2 classes have no test image: 'b'"),
        ({"classes": ("a", "b", "c")}, "1 of 3 classes have no train image: 'c'"),
        ({"classes": tuple("abcdefghi")}, "7 of 9 .* no train image: 'c', 'd', 'e', 'f', 'g', …; add"),
        ({"classes": ("a", "a")}, "classes has 'a' more than once"),
        ({"classes": ("a",)}, r"\('a',\); expected two or more"),
        ({"classes": ()}, "expected two or more"),
        ({"classes": ["a", "b"]}, "expected a tuple of names"),
        ({"classes": ("a", 1)}, "expected a tuple of names"),
    ],
)
def test_dataset_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        remade(dataset(), **changes)


# ---------------------------------------------------------------------------------------------- the .npz format


@pytest.mark.parametrize("channels", [1, 3])
def test_save_then_load(tmp_path, channels):
    classes = ("<b>&\"'", "日本語/ひ", "a\nb", "\udcff")  # the last is what a file name may become
    some = dataset(classes=classes, n_train=1030, n_test=1030, height=17, width=19, channels=channels)
    assert save(some, tmp_path / "new" / "mine.npz") == tmp_path / "new" / "mine.npz"
    for source in (tmp_path / "new" / "mine.npz", str(tmp_path / "new" / "mine.npz")):
        again = load(source)
        assert again.name == "mine"
        assert again.classes == ("<b>&\"'", "日本語/ひ", "a\\nb", "\\xff")
        for key in ("x_train", "y_train", "x_test", "y_test"):
            assert torch.equal(getattr(again, key), getattr(some, key))
            assert getattr(again, key).is_contiguous()
        assert again.fingerprint == some.fingerprint


def test_a_file_of_ones_own(tmp_path):
    a = arrays(n_train=1030, height=17, width=19)
    wanted = torch.from_numpy(a["x_train"].transpose(0, 3, 1, 2).copy())
    plain = load(write(tmp_path / "plain.npz", a))
    assert torch.equal(plain.x_train, wanted)
    a["x_train"] = np.asfortranarray(a["x_train"])
    a["y_train"] = a["y_train"].astype(">u2")
    odd = tmp_path / "odd.npz"
    np.savez_compressed(odd, **a, more=np.zeros(3))
    assert load(odd).fingerprint == plain.fingerprint
    a["x_train"], a["x_test"] = a["x_train"][..., 0], a["x_test"][..., 0]  # grey without an axis for it
    assert torch.equal(load(write(tmp_path / "grey.npz", a)).x_train, wanted[:, :1])


A = arrays()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": A["x_train"] / 255}, r"x_train is float64 .*expected uint8 .*\(255 \* x\)"),
        ({"x_train": A["x_train"].astype(np.uint16)}, "x_train is uint16"),
        ({"x_train": A["x_train"][0, 0]}, r"x_train is uint8 of shape \(16, 3\); expected .*\(N, H, W, C\)"),
        (
            {"x_test": A["x_test"].transpose(0, 3, 1, 2)},
            r"x_test is of shape .*, which looks like \(N, C, H, W\); .* move the axis",
        ),
        ({"x_test": A["x_test"][:, :, :, :2]}, "x_test has images of 2 channels"),
        ({"x_test": A["x_test"][:, :8, :8]}, "8×8 pixels; expected 16×16 or more"),
        ({"x_test": A["x_test"][:0], "y_test": A["y_test"][:0]}, "x_test is empty"),
        ({"x_test": A["x_test"][:, :0, :0]}, "0×0 pixels"),
        ({"y_train": A["y_train"] * 1.0}, r"y_train is float64 .*expected integers \(N,\)"),
        ({"y_train": A["y_train"] > 0}, "y_train is bool"),
        ({"y_train": A["classes"][A["y_train"]]}, "y_train is <U1 .*return_inverse"),
        ({"y_train": A["y_train"][:, None]}, r"y_train is int64 of shape \(6, 1\)"),
        ({"y_train": A["y_train"][:3]}, "x_train has 6 images, y_train 3 labels"),
        ({"y_train": A["y_train"] + 5}, "y_train has labels 5 to 6; expected 0 to 1"),
        ({"y_train": A["y_train"].astype(np.uint64) - np.uint64(1)}, "y_train has labels -1 to 0"),
        ({"classes": np.arange(2)}, r"classes is int64 .*expected text .*dtype=str"),
        ({"classes": np.array(["a", "b"], dtype=object)}, "classes cannot be read .*dtype=str"),
        ({"classes": np.array(["a", "a"])}, "'a' more than once"),
        ({"classes": np.array(["a", "b", "c"])}, "have no train image: 'c'"),
        ({"classes": np.array("a")}, r"classes is <U1 of shape \(\)"),
        ({"y_test": None}, "no array 'y_test', but 'x_train', 'y_train', 'x_test', 'classes'"),
        ({"x_train": None}, r"no array 'x_train'.*expected x_train: uint8 \(N, H, W, C\)"),
    ],
)
def test_a_file_that_is_not_in_the_format_is_refused(tmp_path, changes, message):
    a = {key: value for key, value in {**A, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=f"mine.npz: .*{message}") as caught:
        load(write(tmp_path / "mine.npz", a))
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    bomb = np.empty(2, dtype=object)
    bomb[0] = Bomb()
    with pytest.raises(ValueError, match="classes cannot be read"):
        load(write(tmp_path / "bomb.npz", {**A, "classes": bomb}))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"raw.npz: .*expected a .npz file"):
        load(tmp_path / "raw.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_damage_is_never_silent(tmp_path, savez):
    path = tmp_path / "mine.npz"
    savez(path, **A)
    whole, fingerprint = path.read_bytes(), load(path).fingerprint
    rng = random.Random(0)
    damaged = [whole[: rng.randrange(len(whole))] for _ in range(40)] + [b"", whole[:-1]]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        damaged.append(flipped)
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            assert load(path).fingerprint == fingerprint  # where it hit a date, say
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 170


def test_a_header_that_hides_the_end_of_an_array_is_damage(tmp_path):
    path = write(tmp_path / "mine.npz", A)
    content = path.read_bytes()
    start = content.index(b"x_train.npy")
    place = content.index(b"(6, 16, 16, 3)", start)
    path.write_bytes(content[:place] + b"(6, 16, 16, 1)" + content[place + 14 :])
    with pytest.raises(ValueError, match="x_train is damaged"):
        load(path)


def test_other_files_are_no_npz(tmp_path):
    np.save(tmp_path / "one.npy", A["x_train"])
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    for name, what in (("one.npy", "a single array of NumPy"), ("one.png", r"a single image \(PNG\)")):
        with pytest.raises(ValueError, match=rf"{name}: it is {what}.*; expected a "):
            load(tmp_path / name)


def test_save_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = save(dataset(seed=1), tmp_path / "mine.npz")
    before = path.read_bytes()

    def half(file, **_):
        file.write(b"PK half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises(OSError, match="No space"):
            save(dataset(seed=2), path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save(dataset(seed=2), path)
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["mine.npz"]
    save(dataset(seed=2), path)
    assert load(path).fingerprint == dataset(seed=2).fingerprint
    assert files_in(tmp_path) == ["mine.npz"]


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    assert save(dataset(), tmp_path / "mine.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---------------------------------------------------------------------------------------------- names and arguments


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("glyph", "source is 'glyph'; expected 'glyphs', 'digits', 'cifar100', 'omniglot', .* Did you mean 'glyphs'"),
        ("CIFAR-100", "Did you mean 'cifar100'"),
        ("Omniglot", "Did you mean 'omniglot'"),
        ("zzz", r"a .npz file or a folder; there is none of that name in [^ ]+\.$"),
        ("", "source is ''"),
    ],
)
def test_an_unknown_name(source, message):
    with pytest.raises(ValueError, match=message):
        load(source)


@pytest.mark.parametrize("source", [Path("glyphs"), "no/such", "./zzz", "mine.npz", Path("mine.npz")])
def test_a_path_that_is_not_there(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(source).removeprefix("./")):
        load(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 1}, "per_class is 1; expected 2 or more"),
        ({"per_class": 0}, "per_class is 0"),
        ({"image_size": 15}, "image_size is 15; expected 16 pixels or more"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; expected 'raise' or 'skip'"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **options)


def test_per_class_takes_the_first_of_each_class_in_the_sets_own_proportion(tmp_path):
    some = dataset(n_train=60, n_test=12, classes=("a", "b", "c"))  # 20 + 4 a class
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    path = save(remade(some, x_train=some.x_train[order], y_train=some.y_train[order]), tmp_path / "mine.npz")
    whole, few = load(path), load(path, per_class=10)
    kept = torch.cat([(whole.y_train == c).nonzero()[:10, 0] for c in range(3)]).sort().values
    assert torch.equal(few.x_train, whole.x_train[kept])
    assert torch.equal(few.y_train, whole.y_train[kept])
    assert torch.equal(few.x_test, whole.x_test[:6])
    assert few.y_test.tolist() == [0, 1, 2, 0, 1, 2]
    assert few.x_train.is_contiguous()
    assert load(path, per_class=2).y_test.bincount().tolist() == [1, 1, 1]  # 0.4, but a class needs one
    assert load(path, per_class=20).fingerprint == whole.fingerprint
    with pytest.raises(ValueError, match="per_class is 21, but class 'a' has 20 training images"):
        load(path, per_class=21)
    assert load(path, per_class=21, at_most=True).fingerprint == whole.fingerprint


def test_per_class_of_uneven_classes(tmp_path):
    a = arrays(n_train=100, n_test=20)
    a["y_train"] = (np.arange(100) < 7).astype(int)  # 93 of a, 7 of b
    a["y_test"] = (np.arange(20) < 1).astype(int)  # 19 of a, 1 of b
    few = load(write(tmp_path / "mine.npz", a), per_class=7)
    assert few.y_train.bincount().tolist() == [7, 7]
    assert few.y_test.bincount().tolist() == [1, 1]
    with pytest.raises(ValueError, match="class 'b' has 7"):
        load(tmp_path / "mine.npz", per_class=8)


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (24, 1), (70, 3)])
def test_image_size_resizes_as_pillow_does(tmp_path, size, channels):
    a = arrays(n_train=1030, height=32, width=32, channels=channels)
    resized = load(write(tmp_path / "mine.npz", a), image_size=size)
    assert resized.image_shape == (channels, size, size)
    assert resized.x_train.is_contiguous()
    for i in (0, 1029):
        image = Image.fromarray(a["x_train"][i].squeeze()).resize((size, size), Image.Resampling.BILINEAR)
        wanted = torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)
        assert (resized.x_train[i].int() - wanted.int()).abs().max() <= 1


@pytest.mark.parametrize("upright", [False, True])
def test_image_size_crops_to_a_square_around_the_centre(tmp_path, upright):
    a = arrays(height=32, width=64, channels=1)
    for key in ("x_train", "x_test"):
        a[key][:] = 0
        a[key][:, :, 16:48] = 200
        a[key] = a[key].swapaxes(1, 2) if upright else a[key]
    path = write(tmp_path / "mine.npz", a)
    assert load(path).image_shape == ((1, 64, 32) if upright else (1, 32, 64))
    assert (load(path, image_size=16).x_test == 200).all()
    assert (load(path, image_size=32).x_test == 200).all()


# ---------------------------------------------------------------------------------------------- digits


def test_digits():
    digits = load("digits")
    assert repr(digits) == "Dataset 'digits': 1,198 train + 599 test images, 10 classes, 1×16×16"
    assert digits.classes == tuple("0123456789")
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 255
    for y in (digits.y_train, digits.y_test):
        assert y[:500].tolist() == list(range(10)) * 50  # a prefix is balanced
    shares = digits.y_test.bincount() / (digits.y_train.bincount() + digits.y_test.bincount())
    assert (shares - 1 / 3).abs().max() < 0.003
    assert load("digits").fingerprint == digits.fingerprint
    assert load("digits", seed=1).fingerprint != digits.fingerprint
    assert load("digits", image_size=32).image_shape == (1, 32, 32)
    few = load("digits", per_class=100)
    assert few.y_train.bincount().tolist() == [100] * 10
    assert few.y_test.bincount().tolist() == [50] * 10


def test_digits_are_all_there_once_with_their_labels():
    from sklearn.datasets import load_digits

    digits, source = load("digits", image_size=16), load_digits()
    big = np.kron(source.images / 16 * 255, np.ones((2, 2)))  # nearest neighbour: close to bilinear on average
    found = torch.cat([digits.x_train, digits.x_test])[:, 0].numpy()
    labels = torch.cat([digits.y_train, digits.y_test]).numpy()

    def signature(images, y):
        return sorted(zip(y, images.reshape(len(images), -1).mean(1).round(0), strict=True))

    a, b = (np.array(signature(images, y)) for images, y in ((found, labels), (big, source.target)))
    assert (a[:, 0] == b[:, 0]).all()
    assert np.abs(a[:, 1] - b[:, 1]).max() <= 3
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) == len(found)


# ---------------------------------------------------------------------------------------------- glyphs and the cache


@pytest.fixture
def generated(monkeypatch):
    """Put a stub in the place of the generator; return the list of the arguments that it is called with."""
    from csd_edu import glyphs

    calls = []

    def generate(*, seed=0, train_per_class=40, test_per_class=20, size=32):
        calls.append((seed, train_per_class, test_per_class, size))
        n_train, n_test, classes = 3 * train_per_class, 3 * test_per_class, ("A/01", "A/02", "B/01")
        a = arrays(n_train=n_train, n_test=n_test, height=size, width=size, classes=classes, seed=seed)
        return a["x_train"], a["y_train"], a["x_test"], a["y_test"], classes

    monkeypatch.setattr(glyphs, "generate", generate)
    return calls


def test_glyphs_are_generated_once_and_cached(generated, home):
    first = load("glyphs", seed=3)
    assert repr(first) == "Dataset 'glyphs': 120 train + 60 test images, 3 classes, 3×32×32"
    assert first.groups == {"A": (0, 1), "B": (2,)}
    assert torch.equal(
        first.x_test[5, 2], torch.from_numpy(arrays(120, 60, 32, 32, classes="abc", seed=3)["x_test"])[5, ..., 2]
    )
    assert load("glyphs", seed=3).fingerprint == first.fingerprint
    assert load("glyphs", seed=3).name == "glyphs"
    assert load("glyphs", seed=3, per_class=10).y_train.bincount().tolist() == [10] * 3
    assert generated == [(3, 40, 20, 32)]
    load("glyphs", seed=4)
    load("glyphs", seed=3, image_size=48)
    assert generated[1:] == [(4, 40, 20, 32), (3, 40, 20, 48)]
    assert files_in(home / "data") == [
        "glyphs-v1-seed3-32px.npz",
        "glyphs-v1-seed3-48px.npz",
        "glyphs-v1-seed4-32px.npz",
    ]


def test_another_version_of_the_generator_reads_no_stale_cache(generated, monkeypatch):
    load("glyphs")
    monkeypatch.setattr(data, "GLYPHS_VERSION", data.GLYPHS_VERSION + 1)
    load("glyphs")
    assert len(generated) == 2


def test_more_glyphs_than_usual_are_generated_and_not_cached(generated, home):
    many = load("glyphs", per_class=45)
    assert many.y_train.bincount().tolist() == [45] * 3
    assert many.y_test.bincount().tolist() == [22] * 3
    assert generated == [(0, 45, 22, 32)]
    assert not (home / "data").exists()


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def damage_missing(path):
    with np.load(path) as archive:
        a = {key: archive[key] for key in archive.files if key != "y_test"}
    np.savez(path, **a)


@pytest.mark.parametrize("damage", [damage_truncated, damage_empty, damage_flipped, damage_missing])
def test_a_damaged_cache_is_named_and_made_anew(generated, home, damage):
    good = load("glyphs").fingerprint
    (path,) = (home / "data").iterdir()
    damage(path)
    with pytest.warns(UserWarning, match=str(path)) as caught:
        assert load("glyphs").fingerprint == good
    assert caught[0].filename == __file__  # the warning points at who called load
    assert len(generated) == 2
    assert load("glyphs").fingerprint == good
    assert len(generated) == 2


def test_what_a_killed_process_leaves_does_no_harm(generated, home):
    (home / "data").mkdir()
    (home / "data" / ".glyphs-v1-seed0-32px.npz.0123abcd.tmp").write_bytes(b"PK half")
    load("glyphs")
    load("glyphs")
    assert len(generated) == 1


def read_only(folder):
    folder.mkdir()
    folder.chmod(0o555)
    return folder


def test_a_read_only_folder_is_read_but_never_written_also_by_root(generated, home):
    shared = read_only(home / "data")
    load("glyphs")
    assert files_in(shared) == []
    assert files_in(home / "cache" / "csd_edu") == ["glyphs-v1-seed0-32px.npz"]
    load("glyphs")
    assert len(generated) == 1


@pytest.mark.usefixtures("generated")
def test_no_folder_is_made_below_a_read_only_one(home, monkeypatch):
    shared = read_only(home / "shared")
    monkeypatch.setenv("CSD_EDU_DATA", str(shared / "deep" / "data"))
    load("glyphs")
    assert files_in(shared) == []
    assert len(files_in(home / "cache" / "csd_edu")) == 1


@pytest.mark.usefixtures("generated")
def test_with_nowhere_to_write_it_goes_on_uncached(home):
    read_only(home / "data")
    read_only(home / "cache")
    with pytest.warns(UserWarning, match=r"glyphs is not cached .*no data folder is writable .*CSD_EDU_DATA"):
        assert load("glyphs").n_classes == 3
    assert files_in(home / "cache") == []


@pytest.mark.usefixtures("generated")
def test_a_full_disk_is_reported_and_the_next_folder_taken(home, monkeypatch):
    savez = np.savez

    def full(file, **a):
        if str(home / "data") in file.name:
            raise OSError(28, "No space left on device")
        savez(file, **a)

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="could not be written: .*No space"):
        load("glyphs")
    assert files_in(home / "data") == []
    assert len(files_in(home / "cache" / "csd_edu")) == 1


@pytest.mark.usefixtures("generated")
def test_a_data_folder_that_is_a_file(home):
    (home / "data").touch()
    with pytest.raises(NotADirectoryError, match=r"CSD_EDU_DATA is .*, a file; expected the folder"):
        load("glyphs")
    assert load("digits").n_classes == 10  # which needs no folder


def test_the_order_of_the_data_folders(home, monkeypatch):
    cache = home / "cache" / "csd_edu"
    assert data.data_folders() == [home / "data", cache]
    checkout = home / "site-packages"
    (checkout / "data").mkdir(parents=True)
    assert data.data_folders() == [home / "data", cache]  # a folder that merely lies there
    (checkout / "pyproject.toml").touch()
    assert data.data_folders() == [home / "data", checkout / "data", cache]
    monkeypatch.setenv("CSD_EDU_DATA", "")
    assert data.data_folders() == [checkout / "data", cache]
    monkeypatch.delenv("CSD_EDU_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(home))
    assert data.data_folders() == [checkout / "data", home / ".cache" / "csd_edu"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert data.data_folders()[1] == home / "Library" / "Caches" / "csd_edu"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(home / "local"))
    assert data.data_folders()[1] == home / "local" / "csd_edu"
    monkeypatch.setenv("CSD_EDU_DATA", "~/sets")
    assert data.data_folders()[0] == home / "sets"


def test_all_data_folders_are_read_in_order(generated, home):
    name = "glyphs-v1-seed0-32px.npz"
    save(dataset(seed=8), home / "cache" / "csd_edu" / name)
    assert load("glyphs").fingerprint == dataset(seed=8).fingerprint
    save(dataset(seed=9), home / "data" / name)
    assert load("glyphs").fingerprint == dataset(seed=9).fingerprint
    (home / "data" / name).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"data.*glyphs-v1.*cannot be read"):
        assert load("glyphs").fingerprint == dataset(seed=8).fingerprint
    assert generated == []


@pytest.mark.slow
def test_real_glyphs():
    glyphs = load("glyphs")
    assert repr(glyphs) == "Dataset 'glyphs': 4,000 train + 2,000 test images, 100 classes, 3×32×32"
    assert [len(ids) for ids in glyphs.groups.values()] == [20] * 5
    assert glyphs.x_train.is_contiguous()
    assert load("glyphs").fingerprint == glyphs.fingerprint
    few = load("glyphs", per_class=10)
    assert (len(few.x_train), len(few.x_test)) == (1000, 500)


# ---------------------------------------------------------------------------------------------- downloads


@pytest.fixture
def datasets(monkeypatch):
    """An empty `torchvision.datasets`: to import the real one takes seconds."""
    torchvision = types.ModuleType("torchvision")
    torchvision.datasets = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    return torchvision.datasets


@pytest.fixture
def cifar(datasets):
    """CIFAR-100 as torchvision gives it, but with 4 + 2 images of each class, in mixed order."""
    calls = []

    class Fake:
        def __init__(self, root, train, download):
            assert Path(root).is_dir()
            assert download
            assert socket.getdefaulttimeout() == 60
            calls.append(train)
            rng = np.random.default_rng(int(train))
            self.targets = rng.permutation(np.repeat(np.arange(100), 4 if train else 2)).tolist()
            self.data = rng.integers(0, 256, (len(self.targets), 32, 32, 3), dtype=np.uint8)
            self.data[:, 0, 0, 0] = self.targets
            self.data[:, 0, 0, 1] = np.arange(len(self.targets)) % 256  # rises within a class but for one wrap
            self.data[:, 0, 0, 2] = np.arange(len(self.targets)) // 256
            self.classes = [f"class{c:02d}" for c in range(100)]

    datasets.CIFAR100 = Fake
    return calls


def test_cifar100_is_downloaded_decoded_interleaved_and_cached(cifar, home):
    first = load("cifar100")
    assert repr(first) == "Dataset 'cifar100': 400 train + 200 test images, 100 classes, 3×32×32"
    assert first.y_train.tolist() == list(range(100)) * 4
    assert first.y_test.tolist() == list(range(100)) * 2
    assert torch.equal(first.x_train[:, 0, 0, 0].long(), first.y_train)
    place = (first.x_train[:, 1, 0, 0].long() + 256 * first.x_train[:, 2, 0, 0].long()).view(4, 100)
    assert (place.diff(dim=0) > 0).all()  # within a class the official order
    assert first.x_train.is_contiguous()
    assert cifar == [True, False]
    assert files_in(home / "data") == ["cifar100.npz"]
    assert load("cifar100").fingerprint == first.fingerprint
    assert cifar == [True, False]
    assert socket.getdefaulttimeout() is None
    few = load("cifar100", per_class=2)
    assert torch.equal(few.x_train, first.x_train[:200])
    assert torch.equal(few.x_test, first.x_test[:100])


@pytest.mark.parametrize("name", ["cifar100", "omniglot"])
@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        TimeoutError("timed out"),
        RuntimeError("File not found or corrupted."),  # the wrong checksum
        http.client.IncompleteRead(b""),
    ],
)
def test_without_a_network(name, error, home, datasets):
    def fail(*_, **__):
        raise error

    datasets.CIFAR100 = datasets.Omniglot = fail
    with pytest.raises(ConnectionError) as caught:
        load(name)
    message = str(caught.value)
    for part in (f"no {name}.npz in", str(home / "data"), type(error).__name__, "CSD_EDU_DATA", "'glyphs' or 'digits'"):
        assert part in message
    assert caught.value.__suppress_context__  # no trail of urllib
    assert caught.value.__cause__ is None
    assert socket.getdefaulttimeout() is None
    assert not (home / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar100", "omniglot"])
@pytest.mark.filterwarnings("default")  # whatever torchvision warns of when it is imported
def test_the_real_torchvision_without_a_network(name):
    with pytest.raises(ConnectionError, match=rf"download failed \(.*Put {name}.npz into the folder"):
        load(name)


def test_a_damaged_download_is_downloaded_again(cifar, home):
    (home / "data").mkdir()
    (home / "data" / "cifar100.npz").write_bytes(b"PK half")
    with pytest.warns(UserWarning, match=r"cifar100.npz: cannot be read"):
        good = load("cifar100")
    assert load("cifar100").fingerprint == good.fingerprint
    assert len(cifar) == 2


@pytest.fixture
def omniglot(datasets):
    """Omniglot as torchvision unpacks it, but with 3 characters of 2 alphabets; 20 drawers each."""
    calls = []
    names = ["Tifinagh/character02", "Balinese/character01", "Tifinagh/character01"]  # as a disk may list them

    class Fake:
        def __init__(self, root, background, download):
            assert background
            assert download
            calls.append(root)
            self.target_folder = os.path.join(root, "omniglot-py", "images_background")
            for c, name in enumerate(names):
                folder = Path(self.target_folder, name)
                folder.mkdir(parents=True)
                for drawer in reversed(range(1, 21)):
                    page = np.full((105, 105), 255, np.uint8)
                    page[30 : 30 + 3 * drawer, 15 * c : 15 * c + 15] = 0  # the drawer is the length of the stroke
                    Image.fromarray(page).convert("1").save(folder / f"{c:04d}_{drawer:02d}.png")

    datasets.Omniglot = Fake
    return calls


def test_omniglot_is_downloaded_decoded_and_cached(omniglot, home):
    first = load("omniglot")
    assert repr(first) == "Dataset 'omniglot': 45 train + 15 test images, 3 classes, 1×28×28"
    assert first.classes == ("Balinese/character01", "Tifinagh/character01", "Tifinagh/character02")
    assert first.groups == {"Balinese": (0,), "Tifinagh": (1, 2)}
    assert first.y_train.tolist() == [0] * 15 + [1] * 15 + [2] * 15
    for x, drawers in ((first.x_train, range(1, 16)), (first.x_test, range(16, 21))):
        ink = x.float().sum((1, 2, 3)) / 255 * (105 / 28) ** 2  # in pixels of the page
        torch.testing.assert_close(ink, torch.tensor([45.0 * d for d in drawers] * 3), rtol=0.08, atol=8)
        assert x.is_contiguous()
    place = (first.x_train.float().mean((0, 1, 2)) * torch.arange(28)).sum() / first.x_train.float().mean(
        (0, 1, 2)
    ).sum()
    assert 4 < place < 9  # the stroke is where it was drawn
    assert (first.x_test.amax((1, 2, 3)) == 255).all()
    assert first.x_test[:, :, -1].max() == 0
    assert files_in(home / "data") == ["omniglot.npz"]
    assert load("omniglot").fingerprint == first.fingerprint
    assert len(omniglot) == 1


def test_omniglot_prefers_the_whole_to_the_small_and_the_small_to_a_download(omniglot, home):
    save(dataset(seed=1), home / "data" / "omniglot-small.npz")
    assert load("omniglot").fingerprint == dataset(seed=1).fingerprint
    save(dataset(seed=2), home / "cache" / "csd_edu" / "omniglot.npz")
    assert load("omniglot").fingerprint == dataset(seed=2).fingerprint
    assert load("omniglot").name == "omniglot"
    assert omniglot == []


# ---------------------------------------------------------------------------------------------- folders


def picture(path, colour=(200, 30, 60), size=(40, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def small_folder(root, names=("cat", "dog"), n=5, blue=10, **options):
    """Plain images: red counts those of a class, green the classes."""
    for c, name in enumerate(names):
        for i in range(n):
            picture(root / name / f"{i:02d}.png", (25 * i % 256, 60 * c, blue), **options)
    return root


def read(root, **options):
    return load(root, progress=False, **options)


def test_a_folder_with_a_split(tmp_path):
    small_folder(tmp_path / "pets" / "train", n=4)
    small_folder(tmp_path / "pets" / "test", n=2)
    pets = read(tmp_path / "pets")
    assert repr(pets) == "Dataset 'pets': 8 train + 4 test images, 2 classes, 3×32×32"
    assert pets.classes == ("cat", "dog")
    assert pets.y_train.tolist() == [0] * 4 + [1] * 4
    assert pets.x_train[:, :, 5, 5].tolist() == [[25 * i, 60 * c, 10] for c in range(2) for i in range(4)]
    assert pets.x_test[:, :, 5, 5].tolist() == [[25 * i, 60 * c, 10] for c in range(2) for i in range(2)]
    assert pets.x_train.is_contiguous()
    assert read(tmp_path / "pets", image_size=48).image_shape == (3, 48, 48)
    assert read(tmp_path / "pets", per_class=2).y_test.bincount().tolist() == [1, 1]


@pytest.mark.parametrize("name", ["val", "validation", "valid", "Test", "testing"])
def test_other_names_of_the_test_folder(tmp_path, name):
    small_folder(tmp_path / "train")
    small_folder(tmp_path / name, n=3)
    assert len(read(tmp_path).x_test) == 6


def test_test_comes_before_val(tmp_path):
    small_folder(tmp_path / "Train")
    small_folder(tmp_path / "val", n=3)
    small_folder(tmp_path / "test", n=4)
    with pytest.warns(UserWarning, match="6 files are left out: val/ with 6 images, as test/ is there") as told:
        found = read(tmp_path)
    assert (len(found.x_train), len(found.x_test)) == (10, 8)
    assert told[0].filename == __file__


def test_a_flat_folder_is_split(tmp_path):
    small_folder(tmp_path / "pets", names=("a", "b", "c", "d"), n=10, size=(33, 40))
    small_folder(tmp_path / "pets", names=("few",), n=2, blue=99)
    pets = read(tmp_path / "pets")
    assert pets.y_train.bincount().tolist() == [8, 8, 8, 8, 1]
    assert pets.y_test.bincount().tolist() == [2, 2, 2, 2, 1]

    def colours(x):
        return {tuple(colour) for colour in x[:, :, 5, 5].tolist()}

    assert not colours(pets.x_train) & colours(pets.x_test)
    assert read(tmp_path / "pets").fingerprint == pets.fingerprint
    assert read(tmp_path / "pets", seed=1).fingerprint != pets.fingerprint
    assert len(pets.x_test[:8, 0, 5, 5].unique()) > 2  # not the same two of each class


def test_nested_classes(tmp_path):
    names = ("Greek/alpha", "Greek/beta", "Latin/a", "日本/<b>&'")
    small_folder(tmp_path / "letters", names=names)
    letters = read(tmp_path / "letters")
    assert letters.classes == names
    assert letters.groups == {"Greek": (0, 1), "Latin": (2,), "日本": (3,)}


def test_a_class_may_be_called_train(tmp_path):
    small_folder(tmp_path / "vehicles", names=("car", "train"))
    assert read(tmp_path / "vehicles").classes == ("car", "train")


def test_what_is_no_image_is_left_out_and_counted(tmp_path):
    root = small_folder(tmp_path / "pets")
    whole = read(root).fingerprint
    for name in (
        "notes.txt",
        "cat/Thumbs.db",
        "cat/.DS_Store",
        "dog/._00.png",
        "dog/labels.csv",
        "cat/noextension",
        "cat/about.pdf",
    ):
        (root / name).write_bytes(b"no image")
    for name in (".git", "__MACOSX/cat", "cat/.ipynb_checkpoints"):
        (root / name).mkdir(parents=True)
    told = (
        r"4 files are left out: 1 ending in .txt \(notes.txt\), 1 ending in .pdf .*, 1 without an ending .*, 1 .* .csv"
    )
    with pytest.warns(UserWarning, match=told):
        assert read(root).fingerprint == whole


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "pets holds no images; expected images, or folders of images"),
        (["a.png", "b.png"], "pets holds images itself; expected a folder for each class"),
        (["a.png", "cat/a.png", "dog/a.png"], "pets holds both images, such as a.png, and folders"),
        (["cat/a.png", "cat/b.png"], r"classes is \('cat',\); expected two or more"),
        (["cat/a.png", "cat/b.png", "dog/a.png"], "1 of 2 classes has a single image: 'dog'; expected 2 or more"),
        (["cat/a.png", "cat/b.png", "dog/notes.txt"], "dog holds no images"),
        (["cat/a.png", "cat/big/b.png", "dog/a.png"], "cat holds both images"),
        (["train/cat/a.png", "train/dog/a.png"], "pets holds train/, but no test/; .*load .*train itself"),
        (["Val/cat/a.png", "x/dog/a.png"], "pets holds Val/, but no train/"),
        (["train/cat/a.png", "train/dog/a.png", "test/cat/a.png"], "class 'dog' is in .*train, but not in .*test;"),
        (["train/cat/a.png", "test/cat/a.png", "test/emu/a.png"], "class 'emu' is in .*test, but not in .*train;"),
        (["train/a.png", "test/cat/a.png"], "train holds images itself"),
        (["train/cat/a.png", "test/notes.txt"], "test holds no images"),
    ],
)
def test_a_folder_in_disorder(tmp_path, paths, message):
    root = tmp_path / "pets"
    root.mkdir()
    for path in paths:
        if path.endswith(".txt"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("no image")
        else:
            picture(root / path)
    with pytest.raises(ValueError, match=message):
        read(root)


def decoded(path, size=32):
    pixels = images.decode(path, size).pixels
    values = images.to_bytes(pixels, bits=16)[None].repeat(3, 0) if pixels.ndim == 2 else pixels.copy()
    return torch.from_numpy(values)  # (3, size, size)


def assert_colour(image, colour, within=0):
    distance = (image.int() - torch.tensor(colour)[:, None, None]).abs().amax(0)
    assert distance.max() <= within, f"{colour} is missed by\n{distance}"


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "ppm", "tga"])
def test_formats(tmp_path, suffix):
    small_folder(tmp_path / "pets")
    path = picture(tmp_path / "pets" / "cat" / f"image.{suffix}", (200, 30, 60))
    assert_colour(decoded(path), (200, 30, 60), within=4)
    assert len(read(tmp_path / "pets").x_train) + len(read(tmp_path / "pets").x_test) == 11


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("1", (20, 20), 1), (255, 255, 255)),
        (Image.new("L", (20, 20), 77), (77, 77, 77)),
        (Image.new("LA", (20, 20), (0, 0)), (255, 255, 255)),
        (Image.new("LA", (20, 20), (51, 255)), (51, 51, 51)),
        (Image.new("RGBA", (20, 20), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (20, 20), (255, 0, 0, 51)), (255, 204, 204)),
        (Image.new("RGB", (20, 20), (1, 2, 3)).quantize(4), (1, 2, 3)),
        (Image.fromarray(np.full((20, 20), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((20, 20), 257 * 60, np.uint16)), (60, 60, 60)),
    ],
    ids=["1 bit", "grey", "invisible grey", "visible grey", "invisible", "half", "palette", "white 16", "dark 16"],
)
def test_modes(tmp_path, image, colour):
    image.save(tmp_path / "image.png")
    assert_colour(decoded(tmp_path / "image.png"), colour)


def test_transparent_palette(tmp_path):
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "opaque.png", transparency=0)
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "clear.gif", transparency=1)
    assert_colour(decoded(tmp_path / "opaque.png"), (10, 20, 30))
    assert_colour(decoded(tmp_path / "clear.png"), (255, 255, 255))
    assert_colour(decoded(tmp_path / "clear.gif"), (255, 255, 255))


def test_tiffs_of_many_bits(tmp_path):
    Image.fromarray(np.full((20, 20), 257 * 90, np.int32)).save(tmp_path / "int.tif")
    assert_colour(decoded(tmp_path / "int.tif"), (90, 90, 90))
    for name, values in (
        ("large", np.full((20, 20), 1 << 20, np.int32)),
        ("float", np.full((20, 20), 0.5, np.float32)),
    ):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        with pytest.raises(ValueError, match="expected at most 16 bits"):
            decoded(tmp_path / f"{name}.tif")


def test_cmyk(tmp_path):
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "image.jpg", quality=95)
    assert_colour(decoded(tmp_path / "image.jpg"), (255, 0, 0), within=6)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((9, 200, 9), (200, 9, 9), (9, 9, 200))]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"image.{suffix}"
        frames[0].save(
            path,
            save_all=True,
            append_images=frames[1:],
            duration=10,
            **({"lossless": True} if suffix == "webp" else {}),
        )
        assert_colour(decoded(path), (9, 200, 9))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation(tmp_path, suffix):
    upright = np.zeros((60, 40, 3), np.uint8)
    upright[:30] = (250, 10, 10)  # red above, black below
    lying = Image.fromarray(np.rot90(upright).copy())  # as the sensor has it
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying.save(tmp_path / f"image.{suffix}", exif=exif)
    image = decoded(tmp_path / f"image.{suffix}")
    assert_colour(image[:, :11], (250, 10, 10), within=12)
    assert_colour(image[:, 21:], (0, 0, 0), within=12)


@pytest.mark.parametrize("size", [(90, 30), (30, 90), (3000, 1000), (31, 93)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_shorter_side_is_resized_and_the_longer_cropped(tmp_path, size, suffix):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(size)
    pixels[(height - side) // 2 :, (width - side) // 2 :][:side, :side] = (20, 200, 20)
    Image.fromarray(pixels).save(tmp_path / f"image.{suffix}", **({"quality": 95} if suffix == "jpg" else {}))
    image = decoded(tmp_path / f"image.{suffix}")
    assert_colour(image[:, 3:-3, 3:-3], (20, 200, 20), within=8)


def test_resizing_does_not_alias(tmp_path):
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert_colour(decoded(tmp_path / "board.png")[:, 1:-1, 1:-1], (127, 127, 127), within=3)


def truncated_jpeg(path):
    file = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(file, "jpeg")
    path.write_bytes(file.getvalue()[:3000])


def text_as_png(path):
    path.write_text("no image at all")


def empty_file(path):
    path.touch()


def broken_link(path):
    path.symlink_to(path.parent / "gone.png")


def oversized(path):
    Image.new("1", (20000, 10000)).save(path)  # 200 million pixels in some kB


def bad_png(path):
    picture(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [truncated_jpeg, text_as_png, empty_file, broken_link, oversized, bad_png])
def test_a_file_that_cannot_be_decoded_is_named_or_skipped(tmp_path, spoil):
    root = small_folder(tmp_path / "pets")
    whole = read(root)
    bad = root / "cat" / ("aa.jpg" if spoil is truncated_jpeg else "aa.png")
    spoil(bad)
    with pytest.raises(ValueError, match=f"{bad} cannot be decoded .*on_error='skip'"):
        read(root)
    with pytest.warns(UserWarning, match=f"1 of 11 images cannot be decoded, the first of them {bad}") as caught:
        rest = read(root, on_error="skip")
    assert caught[0].filename == __file__
    assert rest.fingerprint == whole.fingerprint


def test_a_class_without_a_readable_image(tmp_path):
    root = small_folder(tmp_path / "pets", n=2)
    text_as_png(root / "cat" / "00.png")
    with (
        pytest.raises(ValueError, match="1 of 2 classes has a single readable image: 'cat'"),
        pytest.warns(UserWarning, match="1 of 4"),
    ):
        read(root, on_error="skip")
    small_folder(tmp_path / "split" / "train")
    small_folder(tmp_path / "split" / "test", n=1)
    text_as_png(tmp_path / "split" / "test" / "dog" / "00.png")
    with pytest.raises(ValueError, match="no test image: 'dog'"), pytest.warns(UserWarning, match="1 of 12"):
        read(tmp_path / "split", on_error="skip")


def test_the_first_bad_file_ends_the_reading(tmp_path, monkeypatch):
    root = small_folder(tmp_path / "pets", n=300, size=(16, 16))
    text_as_png(root / "cat" / "00.png")
    decode, calls = images.decode, []
    monkeypatch.setattr(images, "decode", lambda path, size: calls.append(path) or decode(path, size))
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(root)
    assert len(calls) < 300


def test_progress_is_shown_on_request(tmp_path, capfd):
    root = small_folder(tmp_path / "pets")
    load(root, progress=False)
    assert "Reading" not in capfd.readouterr().err
    load(root)
    assert "Reading images: 100%" in capfd.readouterr().err


# ---------------------------------------------------------------------------------------------- the real thing


def test_real_cifar100_is_read_as_it_is(monkeypatch):
    path = real("cifar100.npz")
    monkeypatch.setenv("CSD_EDU_DATA", str(path.parent))
    before = files_in(path.parent)
    mini = load("cifar100", per_class=100)
    assert repr(mini) == "Dataset 'cifar100': 10,000 train + 2,000 test images, 100 classes, 3×32×32"
    assert (mini.classes[0], mini.classes[8], mini.classes[99]) == ("apple", "bicycle", "worm")
    assert list(mini.classes) == sorted(mini.classes)
    assert mini.groups == {}
    with zipfile.ZipFile(path) as archive, archive.open("x_test.npy") as member:
        x_test = np.lib.format.read_array(member)  # (10000, 32, 32, 3)
    assert torch.equal(mini.x_test, torch.from_numpy(x_test[:2000].transpose(0, 3, 1, 2)))  # a prefix of the file
    assert mini.y_train.tolist() == list(range(100)) * 100
    assert files_in(path.parent) == before


PEAK = """
from pathlib import Path
from csd_edu.data import load
def peak():  # not resource.ru_maxrss: that begins with the peak of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
cifar = load("cifar100")
print((peak() - before) * 1024 / (cifar.x_train.numel() + cifar.x_test.numel()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak memory")
def test_real_cifar100_is_never_held_twice(monkeypatch):
    monkeypatch.setenv("CSD_EDU_DATA", str(real("cifar100.npz").parent))
    output = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True).stdout
    assert 0.5 < float(output) < 1.2  # of the pixels' own size


def test_real_omniglot(monkeypatch):
    path = real("omniglot-small.npz")
    monkeypatch.setenv("CSD_EDU_DATA", str(path.parent))
    if (path.parent / "omniglot.npz").exists():
        pytest.skip("the whole of Omniglot is here, so the small set is not read")
    omniglot = load("omniglot")
    assert repr(omniglot) == "Dataset 'omniglot': 3,630 train + 1,210 test images, 242 classes, 1×28×28"
    assert len(omniglot.groups) == 8
    assert sum(map(len, omniglot.groups.values())) == 242
    assert omniglot.x_train.float().mean() < 60  # ink is bright on black


@pytest.mark.parametrize("module", ["data", "doubts", "folders", "images", "layouts"])
def test_importing_a_module_is_light(module):
    source = Path(folders.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names <= {"numpy", "torch", "csd_edu"}
