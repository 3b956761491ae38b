"""F. Values that are legal but mean something else

What was found, and what was done with it, is said once, with numbers and a remedy, before anything is trained.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import csd_edu as csd
from csd_edu.data import load
from csd_edu.doubts import Doubt
from tests.conftest import TINY, striped

rng = np.random.RandomState(0)


def noise(size: int = 32, high: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return rng.randint(0, high, (size, size)).astype(dtype)


def folder(root: Path, make=noise, ending: str = "png", n: int = 10) -> Path:
    """Write two classes of n images each, which `make` draws as arrays."""
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(make()).save(root / name / f"{i:03}.{ending}")
    return root


def read(source: Path, **options) -> tuple[csd.Dataset, list[str]]:
    """Return the dataset, and all doubts; each is warned of once, as the caller's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(source, progress=False, **options)
    assert all(issubclass(w.category, Doubt) and w.filename == __file__ for w in caught), [str(w) for w in caught]
    return dataset, [str(w.message) for w in caught]


def arrays(**changes: object) -> dict[str, object]:
    x = rng.randint(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    y = np.arange(24) % 2
    return {"x_train": x[:16], "y_train": y[:16], "x_test": x[16:], "y_test": y[16:], "classes": ["a", "b"], **changes}


def npz(path: Path, **changes: object) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def test_what_is_in_order_raises_no_doubt(tmp_path):
    assert read(folder(tmp_path / "pets"))[1] == []
    assert read(npz(tmp_path / "a.npz"))[1] == []


# ---- more than 8 bits


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_cameras_bits_in_16_bit_files_are_scaled_by_their_number(tmp_path, bits, bad_input):
    def draw():
        values = noise(high=(1 << bits) - 1, dtype=np.uint16)
        values[:16] = (1 << bits) - 1
        return values

    dataset, told = read(folder(tmp_path / "camera", draw))
    assert (dataset.x_train[:, :, :16] == 255).all()
    assert dataset.x_train[:, :, 16:].unique().numel() > 200
    assert len(told) == 1
    top = (1 << bits) - 1
    assert (
        f"20 of 20 images have 16 bits, such as {tmp_path / 'camera' / 'cat' / '000.png'}, but none of them a"
        in told[0]
    )
    assert f"a value above {top}: they are taken for {bits} bits, so that {top} is white" in told[0]
    if bits == 12:
        bad_input("16-bit files of a 12-bit camera", told[0])


def test_one_bright_value_decides_for_the_whole_dataset(tmp_path):
    root = folder(tmp_path / "camera", lambda: np.full((32, 32), 4095, np.uint16), n=2)
    values = noise(high=65536, dtype=np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(root / "dog" / "zz.tif")
    dataset, told = read(root)
    assert not any("16 bits" in text for text in told)
    assert dataset.x_train[0].unique().tolist() == [16]


@pytest.mark.parametrize("dtype", [">u2", "<u2", "<i4"])
def test_byte_orders_and_32_bit_integers(tmp_path, dtype):
    values = (np.arange(1024).reshape(32, 32) * 64).astype(dtype)
    values[-1, -1] = 65535
    path = folder(tmp_path / "deep", n=2) / "cat" / "zz.tif"
    mode = {">u2": "I;16B", "<u2": "I;16", "<i4": "I"}[dtype]
    Image.frombytes(mode, (32, 32), values.tobytes()).save(path)
    dataset, _ = read(path.parents[1])
    every = torch.cat([dataset.x_train, dataset.x_test])[:, 0]
    expected = torch.from_numpy((values.astype(float) / 257).round().astype(np.uint8))
    assert any(torch.equal(image, expected) for image in every)


@pytest.mark.parametrize("value", [0.5, 100.0, -1.0, float("nan"), 70000])
def test_values_without_a_known_range_are_refused(tmp_path, value):
    root = folder(tmp_path / "pets")
    array = np.full((32, 32), value, np.int32 if value == 70000 else np.float32)
    Image.fromarray(array).save(root / "cat" / "zz.tif")
    with pytest.raises(
        ValueError, match=r"zz.tif cannot be decoded .*expected at most 16 bits: integers, 0 to 65535; scale"
    ):
        read(root)


def test_12_bits_in_a_colour_png_are_nearly_black_and_that_is_said(tmp_path):
    dataset, told = read(folder(tmp_path / "dark", lambda: noise(high=16)))  # what Pillow makes of them: the high bytes
    assert int(dataset.x_train.max()) < 16
    assert len(told) == 1
    assert "20 of 20 images are nearly black (of class 'cat' 10 of 10): no pixel above 25 of 255" in told[0]


def test_12_bits_among_16_are_nearly_black_and_that_is_said(tmp_path):
    tops = iter([4096] * 10 + [65536] * 10)
    dataset, told = read(folder(tmp_path / "mixed", lambda: noise(high=next(tops), dtype=np.uint16)))
    assert len(told) == 1
    assert "10 of 20 images are nearly black (of class 'cat' 10 of 10)" in told[0]
    assert int(dataset.x_train.max()) == 255


# ---- masks, floats that were cast, single colours


def test_masks_and_cast_floats(tmp_path, bad_input):
    x = rng.randint(0, 2, (16, 16, 16, 1)).astype(np.uint8)
    _, told = read(npz(tmp_path / "cast.npz", x_train=x, x_test=x[:8, ::-1]))
    assert len(told) == 1
    assert told[0].startswith("cast: no pixel of the 24 images is above 1 of 255")
    assert "(255 * x).round().astype(np.uint8)" in told[0]
    bad_input("a .npz file whose uint8 pixels are 0 and 1", told[0])
    _, told = read(folder(tmp_path / "masks", lambda: noise(high=2)))
    assert "multiply them by 255" in told[0]


def test_images_of_a_single_colour_and_objects_that_vanish_on_white(tmp_path, bad_input):
    root = folder(tmp_path / "icons")
    for i in range(3):
        Image.new("RGB", (32, 32), (200, 80, i)).save(root / "cat" / f"flat{i}.png")
    drawn = np.full((32, 32, 4), 255, np.uint8)
    drawn[..., 3] = noise()  # white on transparent
    Image.fromarray(drawn).save(root / "dog" / "white.png")
    dataset, told = read(root)
    assert len(dataset.y_train) + len(dataset.y_test) == 24
    assert len(told) == 2
    assert "1 of 24 images, such as" in told[0]
    assert "are transparent and became nearly a single colour on white" in told[0]
    assert "4 of 24 images are of a single colour (of class 'cat' 3 of 13)" in told[1]
    bad_input("icons, white on transparent", told[0])


def test_a_class_in_grey_beside_classes_in_colour(tmp_path, bad_input):
    root = folder(tmp_path / "scans", lambda: rng.randint(0, 256, (32, 32, 3)).astype(np.uint8))
    assert read(root)[1] == []
    (root / "xray").mkdir()
    for i in range(10):
        Image.fromarray(noise()).convert("RGB" if i % 2 else "L").save(root / "xray" / f"{i}.png")
    _, told = read(root)
    assert len(told) == 1
    assert "1 class is grey in every image, 'xray', the others in none: colour alone tells them apart" in told[0]
    bad_input("a class of grey images beside classes in colour", told[0])
    Image.fromarray(noise()).save(root / "cat" / "grey.png")  # photographs of both kinds
    assert read(root)[1] == []


# ---- more than one page; white that is 0


@pytest.mark.parametrize("ending", ["tif", "gif", "png", "webp"])
def test_files_of_several_pages_are_counted(tmp_path, ending, bad_input):
    root = folder(tmp_path / "stacks")
    for i in range(3):
        pages = [Image.fromarray(noise()) for _ in range(4)]
        pages[0].save(root / "cat" / f"stack{i}.{ending}", save_all=True, append_images=pages[1:])
    dataset, told = read(root)
    assert len(dataset.y_train) + len(dataset.y_test) == 23
    assert len(told) == 1
    such = f"3 of 23 images, such as {root / 'cat' / f'stack0.{ending}'} (32×32), have several frames or pages"
    assert f"{such}, of which only the first is read; to use the others, save each as a file of its own" in told[0]
    if ending == "tif":
        bad_input("TIFFs of several pages", told[0])


def test_a_damaged_second_page_is_no_harm_to_the_first(tmp_path):
    root = folder(tmp_path / "stacks")
    pages = [Image.fromarray(noise()) for _ in range(2)]
    path = root / "cat" / "stack.tif"
    pages[0].save(path)
    n = path.stat().st_size
    pages[0].save(path, save_all=True, append_images=pages[1:])
    path.write_bytes(path.read_bytes()[: n + 10])
    dataset, _ = read(root)
    assert len(dataset.y_train) + len(dataset.y_test) == 21


@pytest.mark.parametrize(("order", "bits"), [("<", 8), (">", 8), ("<", 16)])  # what Pillow opens of them
@pytest.mark.parametrize("white_is_zero", [True, False])
def test_white_that_is_0_is_white_in_8_and_in_16_bits(tmp_path, order, bits, white_is_zero):
    values = rng.randint(0, 1 << bits, (32, 32))
    values[0, :2] = 0, (1 << bits) - 1
    data = values.astype(f"{order}u{bits // 8}").tobytes()
    tags = {256: 32, 257: 32, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: 32, 279: len(data)}
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(data))
    path = folder(tmp_path / "scans") / "cat" / "scan.tif"
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    dataset, told = read(path.parents[1])
    expected = torch.from_numpy((values / (257 if bits == 16 else 1)).round().astype(np.uint8))
    expected = 255 - expected if white_is_zero else expected
    every = torch.cat([dataset.x_train, dataset.x_test])[:, 0]
    assert min(int((image.int() - expected.int()).abs().max()) for image in every) <= 1
    assert told == []


# ---- sizes


def test_small_and_long_images(tmp_path, bad_input):
    root = folder(tmp_path / "pets", n=10)
    Image.fromarray(noise(9)).save(root / "cat" / "tiny.png")
    Image.fromarray(rng.randint(0, 256, (40, 400)).astype(np.uint8)).save(root / "dog" / "panorama.png")
    _, told = read(root)
    assert len(told) == 2
    assert (
        f"1 of 22 images, such as {root / 'cat' / 'tiny.png'} (9×9), are smaller than 32×32 and were enlarged"
        in told[0]
    )
    assert "panorama.png (400×40), are more than three times as long as wide" in told[1]
    bad_input("a panorama among photographs", told[1])


# ---- copies


def test_copies_between_train_and_test_within_test_and_in_two_classes(tmp_path, bad_input):
    given = arrays()
    x_train, x_test = given["x_train"].copy(), given["x_test"].copy()
    x_test[0] = x_train[0]  # class a in both
    x_test[1] = x_train[2]  # class b and a
    x_test[4] = x_test[6]
    _, told = read(npz(tmp_path / "copies.npz", x_train=x_train, x_test=x_test))
    assert len(told) == 1
    assert "2 of 8 test images are training images as well; 2 test images have a copy among" in told[0]
    assert "1 image is in two classes or more" in told[0]
    bad_input("the same images in train and test", told[0])


def test_one_file_under_two_names_is_found_in_a_folder(tmp_path):
    root = folder(tmp_path / "pets")
    for i in range(10):
        (root / "dog" / f"copy{i}.png").write_bytes((root / "dog" / f"{i:03}.png").read_bytes())
    _, told = read(root)
    assert len(told) == 1
    assert "copies, pixel for pixel" in told[0]


# ---- few images


def test_classes_with_a_single_test_image(tmp_path, bad_input):
    dataset, told = read(folder(tmp_path / "few", n=5))
    assert dataset.y_test.bincount().tolist() == [1, 1]
    assert len(told) == 1
    assert told[0].startswith(
        "few: every class has a single test image, which has no other of its class to find, so no "
    )
    assert "from 8 images a class, or by a test/ folder" in told[0]
    bad_input("a folder with five images a class", told[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        csd.split(dataset, n_tasks=2)  # it has been said
    assert read(folder(tmp_path / "eight", n=8))[1] == []


def test_some_classes_with_a_single_test_image_and_per_class(tmp_path):
    x = rng.randint(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    _, told = read(npz(tmp_path / "a.npz", x_test=x, y_test=np.array([0, 0, 0, 0, 1])))
    assert "1 of 2 classes have a single test image" in told[0]
    assert "these count in no Recall@1: 'b'" in told[0]
    with pytest.warns(Doubt, match="every class has a single test image"):
        load("digits", per_class=2)


def test_a_dataset_made_by_hand_is_doubted_when_it_is_split(tmp_path):
    data = striped(n_classes=4, test=1)
    with pytest.warns(Doubt, match="every class has a single test image") as caught:
        stream = csd.split(data, n_tasks=2)
    assert caught[0].filename == __file__
    run = csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "run", progress=False)
    assert run.metrics["summary"]["recall_at_1"] is None  # as was said before


def test_a_share_that_holds_out_a_single_image(bad_input):
    data = striped(n_classes=4, train=8)
    with pytest.warns(Doubt, match="validation=0.1 holds out a single image of 4 of 4 classes") as caught:
        csd.split(data, n_tasks=2, validation=0.1)
    assert caught[0].filename == __file__
    bad_input("validation=0.1 of eight images a class", caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        csd.split(data, n_tasks=2, validation=0.25)


def test_classes_of_very_different_sizes(tmp_path, bad_input):
    root = folder(tmp_path / "uneven", n=8)
    for i in range(100):
        Image.fromarray(noise()).save(root / "dog" / f"more{i}.png")
    _, told = read(root)
    assert len(told) == 1
    assert "classes are of very different sizes: 'cat' has 6 training images, 'dog' 86" in told[0]
    bad_input("a class with eight images beside one with 108", told[0])
    assert read(root, per_class=12, at_most=True)[1] == []


# ---- .npz files in another order

LABELS = np.arange(16) % 2
PIXELS = rng.randint(0, 256, (16, 16, 16, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": LABELS + 1}, "y_train has labels 1 to 2; expected 0 to 1, as in classes: subtract 1"),
        ({"y_train": np.eye(2, dtype=int)[LABELS]}, r"shape \(16, 2\); .* if its rows are one-hot, save y.argmax"),
        ({"y_train": LABELS / 1}, r"float64 of shape \(16,\); expected integers \(N,\); save y.astype\(np.int64\)"),
        ({"y_train": LABELS[:, None]}, r"int64 of shape \(16, 1\); expected integers \(N,\); save y\[:, 0\]$"),
        ({"y_train": LABELS[:, None] / 1}, r"save y\[:, 0\].astype\(np.int64\)$"),
        ({"y_train": LABELS + 0.5}, "; its values are no whole numbers$"),
        ({"y_train": np.array(["a", "b"] * 8)}, r"expected integers \(N,\); classes, y = np.unique\(names"),
        (
            {"x_train": np.zeros((16, 3, 16, 16), np.uint8)},
            r"x_train is of shape \(16, 3, 16, 16\), which looks like .*transpose\(0, 2, 3, 1\)",
        ),
        ({"x_train": PIXELS / 255}, r"from 0.0 to 1.0: save \(255 \* x\).round\(\).astype\(np.uint8\)$"),
        ({"x_train": PIXELS / 1}, r"from 0.0 to 255.0: save x.round\(\).astype\(np.uint8\)$"),
        ({"x_train": PIXELS}, r"int64 .* from 0 to 255: save x.astype\(np.uint8\)$"),
        ({"x_train": PIXELS * 16}, r"from 0 to 4080: save np.interp\(x, \(0, 4095\), \(0, 255\)\).round\(\).astype"),
        ({"x_train": PIXELS / 127.5 - 1}, r"from -1.0 to 1.0: save np.interp\(x, \(-1, 1\), \(0, 255\)\).round\(\).as"),
        ({"x_train": PIXELS / 64 - 2}, r"from -2.0 to 1.984375: save np.interp\(x, \(-2.0, 1.984375\), \(0, 255\)\)"),
        ({"x_train": np.where(PIXELS > 250, np.nan, PIXELS)}, r"\d+ of its 12,288 values are NaN or infinite: mend"),
        ({"x_train": PIXELS[..., 0].reshape(16, -1) / 255}, r"16×16: x.reshape\(-1, 16, 16\); .* save \(255 \* x\)"),
        (
            {"x_train": PIXELS.reshape(16, -1).astype(np.uint8)},
            r"images of 3×16×16: x.reshape\(-1, 3, 16, 16\).transpose\(0, 2, 3, 1\), as CIFAR's are$",
        ),
        ({"x_train": np.zeros((16, 16, 16, 4), np.uint8)}, "images of 4 channels; expected 1"),
        ({"x_train": PIXELS.astype(np.uint16) * 257}, r"x_train is uint16 .* np.interp\(x, \(0, 65535\), \(0, 255\)\)"),
        ({"x_train": PIXELS > 9}, r"x_train is bool .* save \(255 \* x\).astype\(np.uint8\)$"),
    ],
)
def test_arrays_that_mean_something_else(tmp_path, changes, message, bad_input):
    with pytest.raises(ValueError, match=message) as caught:
        load(npz(tmp_path / "mine.npz", **changes))
    ((key, value),) = changes.items()
    given = f"{np.nanmin(value):g} to {np.nanmax(value):g}, " if value.dtype.kind in "iuf" and value.any() else ""
    bad_input(f"a .npz file whose {key} is {given}{value.dtype} {value.shape}", caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"y_train": LABELS[:, None], "y_test": np.arange(8)[:, None] % 2},
        {"y_train": LABELS / 1, "y_test": np.arange(8) % 2 / 1},
        *({"x_train": PIXELS * factor, "x_test": PIXELS[:8, ::-1] * factor} for factor in (1, 16, 257, 1.0, 1 / 255)),
        {"x_train": PIXELS / 127.5 - 1, "x_test": PIXELS[:8, ::-1] / 127.5 - 1},
        {"x_train": PIXELS.transpose(0, 3, 1, 2).reshape(16, -1), "x_test": PIXELS[:8].reshape(8, -1)},
    ],
)
def test_what_is_advised_helps(tmp_path, given):
    whole = arrays(**given)
    for _ in range(5):  # two arrays, of each shape and type
        try:
            dataset = load(npz(tmp_path / "mine.npz", **whole))
            break
        except ValueError as error:
            key, advice = str(error).split(": ", 1)[1][:7].split()[0], str(error)
            code = next(part for part in ("save ", "×16: ") if part in advice)
            code = advice.split(code)[1].split(", as CIFAR")[0].split(";")[0]
            whole[key] = eval(code, {"np": np, "x": whole[key], "y": whole[key]})
    assert dataset.y_train.tolist() == LABELS.tolist()
    if "x_train" in given:
        expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
        assert (dataset.x_train.int() - expected).abs().max() <= 16 / 15


def test_arrays_that_are_not_read_are_named(tmp_path, bad_input):
    more = {"x_val": PIXELS.astype(np.uint8), "y_val": LABELS}
    _, told = read(npz(tmp_path / "a.npz", **more))
    (text,) = told
    only = "only x_train, y_train, x_test, y_test, classes are. np.concatenate joins"
    assert text.startswith(f"a: 'x_val', 'y_val' are in the file, but not read: {only}")
    bad_input("a .npz file that has x_val and y_val, too", text)
    assert "a: 'note' is in the file, but not read" in read(npz(tmp_path / "a.npz", note="mine"))[1][0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["\u00e9", "e\u0301"], "classes has 'é' coded in two ways; expected each once: merge or rename them"),
        (["", "b"], r"classes is blank at \[0\]; expected a name for each class: give them names"),
        (["a", " \t"], r"classes is blank at \[1\]"),
        (["a", "a"], "classes has 'a' more than once"),
    ],
)
def test_names_of_classes_that_are_none(tmp_path, names, message, bad_input):
    with pytest.raises(ValueError, match=message) as caught:
        load(npz(tmp_path / "mine.npz", classes=names))
    bad_input(f"a .npz file whose classes are {names!a}", caught.value)
    given = load(npz(tmp_path / "good.npz"))
    with pytest.raises(ValueError, match=message):
        csd.Dataset("mine", given.x_train, given.y_train, given.x_test, given.y_test, tuple(names))


def test_names_of_classes_are_shown_as_those_of_folders(tmp_path):
    dataset = load(npz(tmp_path / "mine.npz", classes=["\x1b[2Jx\ny", "e\u0301"]))
    assert dataset.classes == ("\\x1b[2Jx\\ny", "\u00e9")
    again = load(csd.data.save(dataset, tmp_path / "again.npz"))
    assert again.fingerprint == dataset.fingerprint


# ---- sizes and sets that can't be meant


@pytest.mark.parametrize("size", [20_000, 10**9])
def test_an_image_size_that_cannot_be_meant(tmp_path, size, bad_input):
    for source in ("digits", npz(tmp_path / "mine.npz"), folder(tmp_path / f"pets{size}")):
        with pytest.raises(ValueError, match=f"image_size is {size}; expected 16 pixels or more, up to 4096") as caught:
            load(source, image_size=size)
    bad_input(f"`csd.load('digits', image_size={size})`", caught.value)


def test_images_that_do_not_fit_in_memory_are_told_with_their_size(monkeypatch, tmp_path):
    path = npz(tmp_path / "mine.npz")

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1207959552 bytes")

    monkeypatch.setattr(torch.Tensor, "new_empty", full)
    with pytest.raises(
        ValueError, match=r"image_size is 4096, at which 16 images take 1 GB, .*; expected a smaller size"
    ):
        load(path, image_size=4096)


def test_another_dataset_called_cifar100_is_neither_taken_nor_written_over(tmp_path, monkeypatch, bad_input):
    monkeypatch.setenv("CSD_EDU_DATA", str(tmp_path))
    path = npz(tmp_path / "cifar100.npz")
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"cifar100.npz has 2 classes; expected the 100 of cifar100: call it by"
    ) as caught:
        load("cifar100")
    bad_input("a dataset of one's own as cifar100.npz, in `csd.load('cifar100')`", caught.value)
    assert path.read_bytes() == before
    assert load(path).n_classes == 2
