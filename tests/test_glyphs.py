"""The glyphs: the promises of `generate`, and that a class shows in its form and in nothing else."""

import numpy as np
import pytest

from csd_edu import glyphs

# Blocks of 8 × 8 pixels of the green channel, of the first training image of one class of each alphabet.
GOLDEN = {
    1: [75, 89, 86, 89, 74, 116, 82, 88, 80, 100, 85, 72, 83, 75, 75, 72],
    25: [205, 201, 186, 198, 201, 154, 150, 179, 163, 145, 171, 170, 191, 190, 196, 202],
    46: [7, 25, 52, 16, 2, 59, 51, 47, 57, 29, 26, 11, 17, 9, 4, 7],
    65: [219, 206, 159, 221, 224, 229, 156, 196, 221, 198, 219, 224, 190, 212, 220, 221],
    86: [121, 113, 108, 106, 109, 107, 129, 104, 106, 147, 138, 129, 135, 146, 141, 133],
}
GOLDEN_TEST_COLOUR = [127.2, 126.8, 125.6]  # mean of the first test image of each class
SHIFTS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


@pytest.fixture(scope="module")
def world():
    return glyphs.generate(train_per_class=8, test_per_class=4)


@pytest.fixture(scope="module")
def small():
    return glyphs.generate(train_per_class=3, test_per_class=2, alphabets=2, glyphs_per_alphabet=3)


def prototypes(*, seed=0, size=32, glyphs_per_alphabet=20):
    """The form behind each class, (classes, size, size) bytes: its glyph before any variation, black on white."""
    ink = [
        glyphs._draw(0.7 * glyph[None], np.array([style.pen]), style, size)
        for a, style in enumerate(glyphs.ALPHABETS)
        for glyph in glyphs._glyphs(seed, a, glyphs_per_alphabet)
    ]
    return (255 - 255 * np.concatenate(ink)).round().astype(np.uint8)


def lightness(images):
    return images.mean(-1) / 255  # (N, H, W)


def nearest(queries, gallery):
    """Position of the nearest row of `gallery` for each row of `queries`."""
    queries, gallery = (x.reshape(len(x), -1).astype(float) for x in (queries, gallery))
    return ((gallery**2).sum(1) - 2 * queries @ gallery.T).argmin(1)


def standardised_halves(images):
    """Images (N, H, W) at half their size, each of mean 0 and length 1."""
    x = images.reshape(len(images), images.shape[1] // 2, 2, -1, 2).mean((2, 4))
    x = x - x.mean((1, 2), keepdims=True)
    return x / np.linalg.norm(x, axis=(1, 2), keepdims=True)


def likeness(forms):
    """Greatest correlation of each two forms (C, H, W) under small shifts, (C, C)."""
    x = standardised_halves(forms)
    rows = x.reshape(len(x), -1)
    return np.max([np.roll(x, shift, (1, 2)).reshape(rows.shape) @ rows.T for shift in SHIFTS], 0)


def test_shapes_types_and_names(world):
    x_train, y_train, x_test, y_test, classes = world
    assert x_train.shape == (800, 32, 32, 3)
    assert x_test.shape == (400, 32, 32, 3)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert len(set(classes)) == 100
    assert classes[0] == "Thornik/01"
    assert classes[99] == "Quadrim/20"
    assert [name.split("/")[0] for name in classes[::20]] == [style.name for style in glyphs.ALPHABETS]


def test_every_prefix_is_balanced(world):
    _, y_train, _, y_test, _ = world
    np.testing.assert_array_equal(y_train, np.arange(800) % 100)
    np.testing.assert_array_equal(y_test, np.arange(400) % 100)


def test_usual_size_of_the_dataset():
    assert glyphs.generate.__kwdefaults__ == {
        "seed": 0,
        "train_per_class": 40,
        "test_per_class": 20,
        "size": 32,
        "alphabets": 5,
        "glyphs_per_alphabet": 20,
    }


def test_same_arguments_give_the_same_images_and_leave_numpys_own_stream_alone(small):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = glyphs.generate(train_per_class=3, test_per_class=2, alphabets=2, glyphs_per_alphabet=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for x, y in zip(small, again, strict=True):
        np.testing.assert_array_equal(x, y)


def test_images_are_the_same_everywhere_to_a_grey_level(world):
    blocks = {i: world[0][i, ..., 1].reshape(4, 8, 4, 8).mean((1, 3)).ravel() for i in GOLDEN}
    for i, golden in GOLDEN.items():
        np.testing.assert_allclose(blocks[i], golden, atol=1, err_msg=f"image {i} is drawn differently")
    np.testing.assert_allclose(world[2][:100].mean((0, 1, 2)), GOLDEN_TEST_COLOUR, atol=0.1)


@pytest.mark.parametrize(
    "fewer",
    [{"train_per_class": 2}, {"test_per_class": 1}, {"alphabets": 1}, {"glyphs_per_alphabet": 2}],
    ids=lambda fewer: next(iter(fewer)),
)
def test_fewer_samples_or_classes_are_the_first_of_more(small, fewer):
    arguments = {"train_per_class": 3, "test_per_class": 2, "alphabets": 2, "glyphs_per_alphabet": 3} | fewer
    x_train, y_train, x_test, y_test, classes = glyphs.generate(**arguments)
    for x, y, more_x, more_y in ((x_train, y_train, *small[:2]), (x_test, y_test, *small[2:4])):
        for label, name in enumerate(classes):
            images = more_x[more_y == small[4].index(name)]
            np.testing.assert_array_equal(x[y == label], images[: (y == label).sum()])


def test_no_image_is_drawn_twice(world):
    images = np.concatenate([world[0], world[2]])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_another_seed_is_another_world():
    one, two = (prototypes(seed=seed) for seed in (0, 1))
    same = [np.array_equal(a, b) for a, b in zip(one, two, strict=True)]
    assert np.mean(same) < 0.1


def test_size_changes_the_resolution_and_not_the_glyph():
    x_train, *_ = glyphs.generate(size=48, train_per_class=1, test_per_class=1, alphabets=1, glyphs_per_alphabet=2)
    assert x_train.shape == (2, 48, 48, 3)
    coarse, fine = (prototypes(size=size) / 255 for size in (32, 64))
    halved = fine.reshape(100, 32, 2, 32, 2).mean((2, 4))
    assert np.abs(coarse - halved).mean() < 0.008  # shifted by one pixel: 0.07
    np.testing.assert_array_equal(nearest(halved, coarse), np.arange(100))


def test_every_glyph_is_visible(world):
    low, high = np.quantile(lightness(np.concatenate([world[0], world[2]])), [0.02, 0.98], axis=(1, 2))
    assert (high - low).min() > 0.25  # paper without a glyph: 0.17 at most


def test_either_of_ink_and_paper_is_the_lighter(world):
    x = lightness(world[0])
    dark_on_light = x.mean((1, 2)) < np.median(x, (1, 2))
    assert 0.4 < dark_on_light.mean() < 0.6
    by_class = dark_on_light.reshape(8, 100).mean(0)
    assert ((by_class > 0) & (by_class < 1)).mean() > 0.9


def test_colour_and_brightness_do_not_tell_the_class(world):
    x_train, y_train, x_test, y_test, _ = world
    colours = nearest(x_test.mean((1, 2)), x_train.mean((1, 2)))
    assert (y_train[colours] == y_test).mean() < 0.04  # chance: 0.01
    assert (y_train[colours] // 20 == y_test // 20).mean() < 0.3  # the alphabet neither; chance: 0.2
    raw = nearest(x_test, x_train)
    assert (y_train[raw] == y_test).mean() < 0.15


def test_form_tells_the_class(world):
    """Once ink and paper are told apart by their contrast, neighbours in form are of one class far above chance."""
    x_train, y_train, x_test, y_test, _ = world
    train, test = (
        standardised_halves(np.abs(x - np.median(x, (1, 2), keepdims=True)))
        for x in (lightness(x_train), lightness(x_test))
    )
    assert (y_train[nearest(test, train)] == y_test).mean() > 0.25  # chance: 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_are_distinct_and_alphabets_have_a_style(seed):
    alike = likeness(255.0 - prototypes(seed=seed))
    np.testing.assert_allclose(alike.diagonal(), 1)
    np.fill_diagonal(alike, -1)
    assert alike.max() < 0.9
    assert (alike.argmax(1) // 20 == np.arange(100) // 20).mean() > 0.6  # chance: 0.2


def test_without_variation_the_samples_of_a_class_are_its_prototype(monkeypatch):
    still = {"warp": 0, "wobble": 0, "rotation": 0, "shear": 0, "stretch": 0, "scale": (0.7, 0.7), "shift": 0}
    plain = {"pen": (1, 1), "contrast": (0.5, 0.5), "chroma": (0, 0), "mottle": 0, "grain": 0}
    monkeypatch.setattr(glyphs, "VARIATION", glyphs.Variation(**still, **plain))
    x, y, *_ = glyphs.generate(train_per_class=4, test_per_class=1, glyphs_per_alphabet=2)
    forms = standardised_halves(255.0 - prototypes(glyphs_per_alphabet=2)).reshape(10, -1)
    samples = standardised_halves(lightness(x)).reshape(40, -1)
    np.testing.assert_allclose(np.abs((samples * forms[y]).sum(1)), 1, atol=1e-3)


def test_each_kind_of_variation_changes_the_images(monkeypatch, small):
    for name in ("warp", "wobble", "rotation", "shear", "stretch", "shift", "mottle", "grain"):
        monkeypatch.setattr(glyphs, "VARIATION", glyphs.Variation(**{name: 0}))
        x, *_ = glyphs.generate(train_per_class=3, test_per_class=2, alphabets=2, glyphs_per_alphabet=3)
        assert (np.abs(x.astype(int) - small[0]) > 1).mean() > 0.05, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("seed", None),
        ("train_per_class", 0),
        ("train_per_class", 1001),
        ("test_per_class", 2.0),
        ("test_per_class", True),
        ("size", 15),
        ("size", "32"),
        ("alphabets", 6),
        ("glyphs_per_alphabet", 0),
        ("glyphs_per_alphabet", 51),
    ],
)
def test_bad_arguments_are_refused_with_the_way_out(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number from .* not {value!r}; try {name}="):
        glyphs.generate(**{name: value})


def test_numpy_integers_are_whole_numbers():
    x, *_ = glyphs.generate(
        seed=np.int64(3), train_per_class=np.int32(1), test_per_class=1, alphabets=1, glyphs_per_alphabet=1
    )
    assert x.shape == (1, 32, 32, 3)
