"""C. What has not the expected ending is counted and named: folders of images

Every file is in the dataset, or in the numbers of a warning or an error, with its ending and what to do.
"""

from __future__ import annotations

import io
import os
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import csd_edu as csd
from csd_edu import images
from csd_edu.data import load
from csd_edu.doubts import Doubt

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.filterwarnings("ignore::csd_edu.doubts.Doubt")]
posix = pytest.mark.skipif(os.name != "posix", reason="only POSIX has them")


def noise(path: Path, seed: int = 0, **options) -> Path:
    """Write an image of noise; each seed gives another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def pets(root: Path, names=("cat", "dog"), n: int = 10) -> Path:
    for c, name in enumerate(names):
        for i in range(n):
            noise(root / name / f"{i:02}.png", 100 * c + i)
    return root


def read(root: Path, **options) -> csd.Dataset:
    return load(root, progress=False, **options)


def n_images(dataset: csd.Dataset) -> int:
    return len(dataset.x_train) + len(dataset.x_test)


def told(root: Path, **options) -> tuple[csd.Dataset, str]:
    """Return the dataset, and the one warning about what is left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = read(root, **options)
    texts = [str(w.message) for w in caught if not issubclass(w.category, Doubt)]
    assert len(texts) == 1, texts
    assert caught[0].filename == __file__
    return dataset, texts[0]


def refused(root: Path, **options) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is returned)
        read(root, **options)
    return str(caught.value)


# ---- endings


def test_photographs_in_heic_are_counted_with_what_to_install(tmp_path, bad_input):
    root = pets(tmp_path / "pets")
    for i in range(20):
        (root / "cat" / f"IMG_{i:04}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (root / "dog" / "notes.txt").write_text("Rex")
    dataset, text = told(root)
    assert n_images(dataset) == 20
    assert "21 files are left out: 20 ending in .heic (IMG_0000.HEIC" in text
    assert "1 ending in .txt (notes.txt)" in text
    assert "pip install pillow-heif" in text
    assert "Of cat/ that is 20 of 30 files, the largest share of 2 folders" in text
    bad_input("a folder with 20 HEIC photographs among the images of a class", text)


def test_a_class_wholly_in_heic_names_format_and_files(tmp_path, bad_input):
    root = pets(tmp_path / "pets")
    for path in (root / "dog").iterdir():
        path.rename(path.with_suffix(".heic")).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    text = refused(root)
    assert "dog holds no images that Pillow reads here, but 10 ending in .heic (00.heic, 01.heic, 02.heic, …)" in text
    assert "pip install pillow-heif" in text
    bad_input("a class folder that holds nothing but HEIC", text)


def test_with_pillow_heif_installed_heic_is_read(tmp_path, monkeypatch):
    root = pets(tmp_path / "pets")
    path = noise(root / "cat" / "zz.png", 99)
    path.rename(path.with_suffix(".heic"))  # any decoder will do here

    def register_heif_opener():
        Image.register_extension("PNG", ".heic")

    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register_heif_opener))
    try:
        assert n_images(read(root)) == 21
    finally:
        Image.EXTENSION.pop(".heic", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace())  # a broken one stops nothing
    assert n_images(told(root)[0]) == 21  # a PNG by content


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.cr2", "develop raw"),
        ("a.NEF", "develop raw"),
        ("a.dng", "develop raw"),
        ("a.svg", "export drawings"),
        ("a.pdf", "export drawings"),
        ("a.mp4", "frames of videos"),
        ("a.mpg", "frames of videos"),
        ("a.jxl", "newer Pillow"),
        ("dogs.zip", "unpack archives"),
        ("dogs.tar.gz", "unpack archives"),
        ("data.h5", "no images that Pillow reads"),
        ("noextension", "1 without an ending"),
        ("README.md", "1 ending in .md (README.md)"),
        ("empty", "1 without an ending"),
    ],
)
def test_other_formats_are_counted_with_advice(tmp_path, name, advice):
    root = pets(tmp_path / "pets")
    (root / "cat" / name).write_bytes(
        b"II*\0 a thumbnail only" if "raw" in advice else b"" if name == "empty" else b"?"
    )
    dataset, text = told(root)
    assert n_images(dataset) == 20
    assert "1 file is left out: 1 " in text
    assert advice in text


def test_files_that_are_images_by_content_are_read(tmp_path, bad_input):
    root = pets(tmp_path / "pets")
    for i, (name, kind) in enumerate(
        (("a", "PNG"), ("b.jpg_large", "JPEG"), ("c.tmp", "GIF"), ("d.dat", "WEBP"), ("e.x", "BMP"), ("f.1", "TIFF"))
    ):
        noise(root / "cat" / name, 50 + i, format=kind)
    noise(root / "cat" / "zebra.png", 70, format="JPEG")  # a known ending, but another format: nothing to be said
    noise(root / "dog" / "upper.JPEG", 71)
    dataset, text = told(root)
    assert n_images(dataset) == 28
    assert "6 files are images by their content, though not by the ending, and read: 1 without an ending (a)" in text
    bad_input("images without an image's ending", text)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "its content is empty"),
        (b"no image", "UnidentifiedImageError"),
        (b"<!DOCTYPE html><html>404", "its content is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "its content is HEIC, for HEIC: pip install pillow-heif"),
        (b"PK\x03\x04" + bytes(40), "its content is a ZIP archive"),
    ],
)
def test_a_known_ending_without_an_image_is_damage_that_is_named(tmp_path, content, what, bad_input):
    root = pets(tmp_path / "pets")
    (root / "cat" / "aa.jpg").write_bytes(content)
    text = refused(root)
    assert "aa.jpg cannot be decoded" in text
    assert what in text
    assert "on_error='skip'" in text
    dataset, text = told(root, on_error="skip")
    assert n_images(dataset) == 20
    assert "1 of 21 images cannot be decoded" in text
    assert what in text
    assert text.endswith("they are left out, of class 'cat' 1 of 11")
    bad_input(f"a file .jpg that begins with {content[:14]!r}, and on_error='skip'", text)


def test_a_large_photograph_is_read_and_a_huge_one_worded(tmp_path, monkeypatch):
    root = pets(tmp_path / "pets")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.effect_noise((120, 120), 50).save(root / "cat" / "large.png")  # Pillow would warn
    assert n_images(read(root)) == 21
    Image.effect_noise((200, 200), 50).save(root / "cat" / "huge.png")
    text = refused(root)
    assert re.search(r"huge.png cannot be decoded \(DecompressionBombError: .*; make it smaller\)", text)


# ---- what is no plain file


def test_junk_is_passed_over_in_silence_and_hidden_images_are_counted(tmp_path):
    root = pets(tmp_path / "pets")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._00.png", "Icon\r" if os.name == "posix" else "Thumbs.db"):
        (root / "cat" / name).write_bytes(b"junk")
    for name in ("__MACOSX/cat", ".git", "cat/.ipynb_checkpoints", "@eaDir"):
        (root / name).mkdir(parents=True)
    assert n_images(read(root)) == 20
    noise(root / "cat" / ".hidden.png")
    noise(root / ".old" / "a.png")
    dataset, text = told(root)
    assert n_images(dataset) == 20
    assert "2 files are left out" in text
    assert text.count("(hidden)") == 2


@posix
def test_pipes_and_sockets_are_never_opened(tmp_path):
    root = pets(tmp_path / "pets")
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "cat" / "pipe")
    os.mkfifo(root / "zebra")
    dataset, text = told(root)
    assert n_images(dataset) == 20
    assert "3 files are left out" in text
    assert text.count("(neither a file nor a folder)") == 3


@posix
def test_a_pipe_is_no_dataset(tmp_path, bad_input):
    os.mkfifo(tmp_path / "pipe.npz")
    text = refused(tmp_path / "pipe.npz")
    assert "pipe.npz is neither a file nor a folder; expected a .npz file or a folder of images" in text
    bad_input("a pipe as a dataset", text)


@posix
def test_links_are_followed_but_never_in_a_circle(tmp_path, bad_input):
    store = pets(tmp_path / "store")
    root = tmp_path / "pets"
    root.mkdir()
    (root / "cat").symlink_to(store / "cat")  # as data sets are put together from others
    (root / "dog").mkdir()
    for path in (store / "dog").iterdir():
        (root / "dog" / path.name).symlink_to(path)
    assert n_images(read(root)) == 20
    (root / "dog" / "again").symlink_to(root)
    (root / "puppy").symlink_to(root / "dog")  # which is left with the same images in two classes
    (root / "kitten").symlink_to(root / "cat")
    (root / "up").symlink_to(tmp_path)
    (root / "self").symlink_to(root / "self")
    (root / "gone").symlink_to(root / "nowhere")
    dataset, text = told(root)
    assert dataset.classes == ("cat", "dog", "puppy")
    with pytest.warns(Doubt, match="10 images are in two classes or more"), pytest.warns(UserWarning, match="6 files"):
        read(root)
    assert "6 files are left out" in text  # dog/again also as puppy/again
    bad_input("a folder with links to itself, and one to nowhere", text)
    (store / "cat" / "home").symlink_to(store)
    (store / "cat" / "dog").symlink_to(store / "dog")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refused(root)  # images beside folders; and it ends


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    root = pets(tmp_path / "pets")
    listdir = os.listdir

    def deny(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", deny)
    with pytest.raises(PermissionError, match=r"dog cannot be read \(Permission denied\); expected a folder of images"):
        read(root)


def test_a_file_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    root = pets(tmp_path / "pets")
    decode = images.decode

    def deny(path, size):
        if path.name == "03.png":
            raise PermissionError(13, "Permission denied")
        return decode(path, size)

    monkeypatch.setattr(images, "decode", deny)
    assert re.search(r"03.png cannot be decoded \(PermissionError: .*Permission denied", refused(root))


def test_a_folder_named_like_an_image_and_one_very_deep(tmp_path):
    root = pets(tmp_path / "pets", names=("cat.jpg", "dog.png"))
    assert read(root).classes == ("cat.jpg", "dog.png")
    deep = root / "cat.jpg"
    for _ in range(300):
        deep = deep / "x"
    deep.mkdir(parents=True)
    dataset, text = told(root)
    assert n_images(dataset) == 20
    assert "below 50 other folders" in text


# ---- names


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_names_that_cannot_be_printed_are_escaped_everywhere(tmp_path):
    root = pets(tmp_path / os.fsdecode(b"p\xff"), names=(os.fsdecode(b"caf\xe9"), "line\nbreak"))
    bad = root / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.png")
    bad.write_bytes(b"no image")
    dataset, text = told(root, on_error="skip")
    assert dataset.classes == ("caf\\xe9", "line\\nbreak")
    assert dataset.name == "p\\xff"
    assert "\\xff.png" in text
    assert text.isprintable()
    assert refused(root).encode("utf-8")
    csd.data.save(dataset, tmp_path / "saved.npz")
    assert load(tmp_path / "saved.npz").classes == dataset.classes


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems keep one normal form")
def test_names_are_compared_in_one_normal_form(tmp_path, bad_input):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    pets(tmp_path / "pets" / "train", names=(decomposed, "dog"))
    pets(tmp_path / "pets" / "test", names=(composed, "dog"))
    assert read(tmp_path / "pets").classes == (composed, "dog")
    text = refused(pets(tmp_path / "twice", names=(composed, decomposed, "dog")))
    assert "two folders for each of these classes, coded in two ways: 'café'" in text
    bad_input("two class folders whose names look the same", text)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems do not tell case apart")
def test_names_that_differ_in_case_only(tmp_path):
    dataset, text = told(pets(tmp_path / "pets", names=("Cat", "cat", "dog")))
    assert dataset.classes == ("Cat", "cat", "dog")
    assert "the classes 'Cat', 'cat' differ in case only and are kept apart" in text


def test_an_animation_and_a_tiff_of_several_pages_give_their_first_frame(tmp_path):
    root = pets(tmp_path / "pets")
    frames = [Image.effect_noise((32, 32), 40 + k) for k in range(3)]
    for name in ("a.gif", "b.tif"):
        frames[0].save(root / "cat" / name, save_all=True, append_images=frames[1:])
    assert n_images(read(root)) == 22


def test_a_zip_of_images_is_no_npz(tmp_path, bad_input):
    import zipfile

    file = io.BytesIO()
    Image.effect_noise((32, 32), 40).save(file, "PNG")
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("pets/cat/a.png", file.getvalue())
    text = refused(tmp_path / "pets.zip")
    assert "pets.zip: it is an archive of files, such as 'pets/cat/a.png'; unpack it, and load the folder" in text
    bad_input("a ZIP archive of images", text)


# ---- classes that can't be split


def people(root: Path, n: int = 30) -> Path:
    """Write as many classes as faces are of: of every second person there is a single one."""
    for k in range(n):
        pets(root, names=(f"Person_{k:02}",), n=1 if k % 2 else 3)
    return root


def test_classes_of_a_single_image_are_told_all_at_once_and_before_any_is_decoded(tmp_path, monkeypatch, bad_input):
    root = people(tmp_path / "lfw")
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("decoded"))
    text = refused(root)
    names = "'Person_01', 'Person_03', 'Person_05', 'Person_07', 'Person_09' and 10 more"
    assert text.startswith(f"{root}: 15 of 30 classes have a single image: {names}; expected 2 or more in each class")
    assert text.endswith("one to train and one to test: add images, or move these folders away")
    bad_input("people of whom every second has a single photograph", text)
    assert refused(pets(tmp_path / "pets", n=1)).endswith("'cat', 'dog'; " + text.split("; ")[1].split(", or move")[0])


@pytest.mark.parametrize(
    ("n_left", "found"),
    [
        ((1, 1, 2), "2 of 3 classes have a single readable image: 'a', 'b'"),
        ((0, 0, 2), "2 of 3 classes have no readable image: 'a', 'b'"),
        ((1, 2, 0), "2 of 3 classes have a single readable image or none: 'a', 'c'"),
    ],
)
def test_classes_that_come_down_to_one_are_told_all_at_once(tmp_path, n_left, found):
    root = pets(tmp_path / "pets", names="abc", n=2)
    for name, n in zip("abc", n_left, strict=True):
        for path in sorted((root / name).iterdir())[n:]:
            path.write_bytes(b"no image")
    with pytest.warns(UserWarning, match="of 6 images cannot be decoded"):
        text = refused(root, on_error="skip")
    assert f"{root}: {found}; expected 2 or more in each class, one to train and one to test: add images, or" in text


def test_a_class_with_a_single_image_to_train_and_one_to_test_is_read(tmp_path):
    root = pets(tmp_path / "pets" / "train", n=1).parent
    for i, name in enumerate(("cat", "dog")):
        noise(root / "test" / name / "0.png", 7 + i)
    assert n_images(read(root)) == 4


# ---- files that are no dataset


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("pets.tar.gz", b"\x1f\x8b\x08", "it is a GZIP archive; .*: unpack it, and load the folder$"),
        ("pets.tar", bytes(257) + b"ustar\x0000", "it is a TAR archive; .*: unpack it"),
        ("pets.tar.bz2", b"BZh91AY", "it is a BZIP2 archive; .*: unpack it"),
        ("pets.tar.xz", b"\xfd7zXZ\0", "it is an XZ archive; .*: unpack it"),
        ("pets.rar", b"Rar!\x1a\x07\0", "it is a RAR archive; .*: unpack it"),
        ("pets.7z", b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; .*: unpack it"),
        ("pets.npz", b"\x1f\x8b\x08", "it is a GZIP archive; .*: unpack it"),  # renamed
        ("cifar100.npz", b"version https://git-lfs.github.com/spec/v1\n", r"of Git LFS \(`git lfs pull` brings the"),
        ("my.npz", b"<!DOCTYPE html>", "it is a web page; expected a .npz file: download the file itself"),
        ("empty.npz", b"", "it is empty; expected a .npz file: copy or download it again"),
        ("empty.zip", b"", "it is empty; expected a .npz file"),
        (
            "cat.jpg",
            b"\xff\xd8\xff",
            r"it is a single image \(JPEG\); expected a folder with a folder of images for each",
        ),
        (
            "x.npy",
            b"\x93NUMPY",
            r"it is a single array of NumPy \(.npy\); expected .*, and np.savez\('my.npz', x_train=…, y",
        ),
        ("x.h5", b"\x89HDF\r\n\x1a\n", r"it is a file of HDF5; expected .*, and np.savez\("),
        ("x.pkl", b"\x80\x04\x95", r"it is a pickle; expected .*, and np.savez\("),
        ("x.parquet", b"PAR1", r"it is a table \(Parquet\); expected .*, and np.savez\("),
        ("x.csv", b"a,b\n", r"it ends in .csv and is no ZIP archive, as a .npz file is; expected .*, and np.savez\("),
        ("x", b"?", r"it has no ending and is no ZIP archive, as a .npz file is; expected .*, and np.savez\("),
        ("my.npz", b"?", r"cannot be read \(BadZipFile: .*; expected a .npz file: copy or write it again$"),
        (
            "my.npz",
            b"PK\x03\x04 half",
            r"cannot be read \(BadZipFile: .*; expected a .npz file: copy or write it again$",
        ),
        ("pets.zip", b"PK\x03\x04 half", r"cannot be read \(BadZipFile: "),
    ],
)
def test_a_file_that_is_no_dataset_is_told_what_it_is(tmp_path, name, content, what, bad_input):
    (tmp_path / name).write_bytes(content)
    text = refused(tmp_path / name)
    assert re.search(f"{re.escape(name)}: .*{what}|{re.escape(name)}: {what}", text), text
    bad_input(f"{name} as a dataset, which begins with {content[:8]!r}" if content else f"{name} of 0 bytes", text)


def test_archives_and_tables_called_like_images_are_named(tmp_path):
    root = pets(tmp_path / "pets")
    for name, content, what in (
        ("a", b"Rar!\x1a\x07\0", "a RAR archive"),
        ("b", b"\x93NUMPY", "a single array of NumPy"),
    ):
        (root / "cat" / f"{name}.jpg").write_bytes(content)
        assert f"its content is {what}" in refused(root)
        (root / "cat" / f"{name}.jpg").unlink()
