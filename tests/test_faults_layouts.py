"""I. Folder layouts of the real world

Known layouts are recognised, or refused with a sentence that says what is there and how to call it.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import csd_edu as csd
from csd_edu.data import load
from csd_edu.doubts import Doubt

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.filterwarnings("ignore::csd_edu.doubts.Doubt")]

rng = np.random.RandomState(0)


def make(root: Path, *paths: str, n: int = 3) -> Path:
    """Write files: n images for "cat/*.png" (another format for another ending), text for other endings."""
    for path in paths:
        for i in range(n if "*" in path else 1):
            file = root / path.replace("*", str(i))
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix.lower() in (".png", ".jpeg", ".jpg"):
                Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(file)
            else:
                file.write_text("text")
    return root


def braces(path: str) -> list[str]:
    """Return "a/x" and "b/x" for "{a,b}/x", as a shell does."""
    found = re.search(r"{([^{}]*)}", path)
    if not found:
        return [path]
    each = (path[: found.start()] + name + path[found.end() :] for name in found[1].split(","))
    return list(dict.fromkeys(more for one in each for more in braces(one)))


def read(root: Path) -> tuple[csd.Dataset, list[str]]:
    """Return the dataset, and the warnings about its layout."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(root, progress=False, image_size=16)
    return dataset, [str(w.message) for w in caught if not issubclass(w.category, Doubt)]


def refused(root: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is returned)
        read(root)
    return str(caught.value)


def numbers(dataset: csd.Dataset) -> tuple[int, int]:
    return len(dataset.x_train), len(dataset.x_test)


def tiny_imagenet(root: Path) -> Path:
    make(root, "train/n01/images/n01_*.JPEG", "train/n02/images/n02_*.JPEG", "wnids.txt", "words.txt")
    make(root, "train/n01/n01_boxes.txt", "train/n02/n02_boxes.txt", "test/images/test_*.JPEG")
    make(root, "val/images/val_*.JPEG", n=4)
    lines = "".join(f"val_{i}.JPEG\tn0{1 + i % 2}\t0\t0\t62\t62\n" for i in range(4))
    (root / "val" / "val_annotations.txt").write_text(lines)
    return root


def test_tiny_imagenet(tmp_path, bad_input):
    dataset, told = read(tiny_imagenet(tmp_path / "tiny-imagenet-200"))
    assert dataset.classes == ("n01", "n02")
    assert numbers(dataset) == (6, 4)
    assert dataset.y_test.tolist() == [0, 0, 1, 1]
    assert len(told) == 1
    assert "test/ with 3 images, without folders that tell their classes" in told[0]
    assert told[0].startswith(f"{tmp_path / 'tiny-imagenet-200'}: 7 files are left out")  # 3 images and 4 texts
    bad_input("Tiny-ImageNet as it is unpacked", told[0])


def test_tiny_imagenets_annotations_that_do_not_fit(tmp_path):
    root = tiny_imagenet(tmp_path / "tiny")
    table = root / "val" / "val_annotations.txt"
    table.write_text("val_0.JPEG\tn01\nval_1.JPEG\tn02\ngone.JPEG\tn02\n")
    dataset, told = read(root)
    assert numbers(dataset) == (6, 2)
    assert "2 images that val_annotations.txt does not name, such as val_2.JPEG" in told[0]
    assert "1 of the 3 files that val_annotations.txt names are not there" in told[1]
    table.write_text("val_0.JPEG\tn03\nval_1.JPEG\tn02\n")
    assert "class 'n01' is in" in refused(root)
    table.write_text("nothing")
    assert "val_annotations.txt names none of the 4 images beside it; expected lines of" in refused(root)


@pytest.mark.parametrize("last", ["images", "photos"])
def test_a_level_that_all_classes_share_is_no_part_of_their_names(tmp_path, last):
    root = make(tmp_path, f"cat/{last}/*.png", f"dog/{last}/*.png", f"wild/emu/{last}/*.png")
    assert read(root)[0].classes == ("cat", "dog", "wild/emu")
    root = make(tmp_path / "b", f"animals/{last}/cat/*.png", f"animals/{last}/dog/*.png")
    assert read(root)[0].classes == ("cat", "dog")
    root = make(tmp_path / "c", "Greek/alpha/*.png", "Greek/beta/*.png", "Latin/a/*.png")
    dataset = read(root)[0]
    assert dataset.classes == ("Greek/alpha", "Greek/beta", "Latin/a")
    assert len(dataset.groups) == 2


def test_classes_of_unequal_depth(tmp_path):
    assert read(make(tmp_path, "animals/cat/*.png", "car/*.png"))[0].classes == ("animals/cat", "car")


@pytest.mark.parametrize("wrap", ["dataset", "dataset/dataset", "pets/split", "data/images"])
def test_single_wrapping_folders_are_opened(tmp_path, wrap):
    root = make(tmp_path / "a", f"{wrap}/train/cat/*.png", f"{wrap}/train/dog/*.png", "README.md")
    make(root, f"{wrap}/test/cat/*.png", f"{wrap}/test/dog/*.png", n=2)
    dataset, told = read(root)
    assert dataset.classes == ("cat", "dog")
    assert numbers(dataset) == (6, 4)
    assert "1 file is left out: 1 ending in .md (README.md)" in told[0]
    root = make(tmp_path / "b", f"{wrap}/cat/*.png", f"{wrap}/dog/*.png")
    assert read(root)[0].classes == ("cat", "dog")


def test_what_is_beside_train_and_test_is_said(tmp_path, bad_input):
    root = make(tmp_path / "pets", *(f"{part}/{name}/*.png" for part in ("train", "test", "val") for name in "ab"))
    make(root, "unlabelled/*.png", "loose.png", "LICENSE")
    dataset, told = read(root)
    assert numbers(dataset) == (6, 6)
    (text,) = told
    assert "12 files are left out: 1 ending" not in text
    assert "11 files are left out: 1 without an ending (LICENSE)" in text
    assert "val/ with 6 images, as test/ is there (to use it instead, load a folder that holds only" in text
    assert "unlabelled/ with 3 images, beside train/" in text
    assert "1 image beside train/, such as loose.png" in text
    bad_input("train/, val/ and test/ with other files beside them", text)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("entrenamiento", "prueba"),
        ("Entraînement", "validation"),
        ("Training", "Validierung"),
        ("trn", "tst"),
        ("Train", "TEST"),
        ("training", "testing"),
        ("train", "valid"),
        ("trainingSet", "val2017"),
        ("a_train", "a_test"),
    ],
)
def test_other_names_of_the_halves(tmp_path, train, test):
    root = make(tmp_path, f"{train}/0/*.png", f"{train}/1/*.png", f"{test}/0/*.png", f"{test}/1/*.png")
    assert numbers(read(root)[0]) == (6, 6)


def test_classes_that_sound_like_halves(tmp_path):
    names = ("bullet_train", "car", "test_tube")
    assert read(make(tmp_path, *(f"{name}/*.png" for name in names)))[0].classes == names


def test_what_is_beside_halves_of_one_name_is_left_out(tmp_path, bad_input):
    halves = [f"seg_{half}/seg_{half}/{name}/*.png" for half in ("train", "test") for name in "ab"]
    dataset, told = read(make(tmp_path / "intel", *halves, "seg_pred/seg_pred/*.png"))
    assert dataset.classes == ("a", "b")
    assert numbers(dataset) == (6, 6)
    assert "3 files are left out: seg_pred/ with 3 images, beside seg_train/" in told[0]
    bad_input("Kaggle's Intel images: seg_train/, seg_test/ and seg_pred/", told[0])
    root = make(
        tmp_path / "my", *(f"{part}/{name}/*.png" for part in ("my_train", "my_test", "extra") for name in "ab")
    )
    dataset, told = read(root)
    assert dataset.classes == ("a", "b")
    assert "6 files are left out: extra/ with 6 images, beside my_train/" in told[0]


@pytest.mark.parametrize(
    ("paths", "half"),
    [
        (("{a,b}/{train,test}",), "train"),
        (("{a,b}/{train,test,val}",), "train"),
        (("{a,b}/{train,eval}",), "train"),
        (("{a,b}/{x_train,x_test}",), "x_train"),
        (("{a,b}/{train,test}/{one,two}",), "test"),
        (("{a_train,a_test,b_train,b_test,other}",), "a_train"),
        (
            ("{bottle,cable}/train/good", "{bottle,cable}/test/{good,broken}", "{bottle,cable}/ground_truth/broken"),
            "test",
        ),
        (("rps/{rock,paper}", "rps-test-set/{rock,paper}"), "rps-test-set"),
        (("{horse-or-human,validation-horse-or-human}/{horses,humans}",), "validation-horse-or-human"),
        (("simpsons_dataset/{abe,bart}", "kaggle_simpson_testset/kaggle_simpson_testset"), "kaggle_simpson_testset"),
        (("simpsons_dataset/{abe,bart}", "kaggle_simpson_testset"), "kaggle_simpson_testset"),
        (("data/{a,b}", "test"), "test"),
        (("{my_train,extra}/{a,b}",), "my_train"),
        (("{x_train,y_train,x_test,extra}/{a,b}",), "x_test"),
        (("seg_train/{a,b}", "seg_test", "seg_pred"), "seg_train"),
        (("train/{a,b}/{train,test}", "test/{a,b}/{train,test}"), "train"),
    ],
)
def test_training_and_test_images_are_no_classes_of_their_own(tmp_path, bad_input, paths, half):
    root = make(tmp_path / "set", *(f"{each}/*.png" for path in paths for each in braces(path)))
    text = refused(root)
    assert f"holds {half}/ beside " in text
    assert "sort the images into train/<class>/ and test/<class>/, or rename " in text
    if paths == ("{a,b}/{train,test}",):
        bad_input("a split within each class: a/train/, a/test/, b/train/, …", text)


@pytest.mark.parametrize(
    "path",
    [
        "{bullet_train,bullet,car,test_tube}",
        "{vehicles,toys}/{train,car}",
        "{a,b}/my_test",
        "{bullet_train/red,bullet_train/blue,car/big,car/small}",
        "{test_tube,car,animals/cat}",
        "{trainer,tests,validity}/{a,b}",
    ],
)
def test_names_that_sound_like_halves_but_have_no_other_half(tmp_path, path):
    paths = braces(path)
    dataset, told = read(make(tmp_path, *(f"{each}/*.png" for each in paths)))
    assert len(dataset.classes) == len(paths)
    assert told == []


def test_two_folders_to_train_on(tmp_path):
    root = make(tmp_path, "train/a/*.png", "training/a/*.png", "test/a/*.png")
    assert "holds train/ and training/; expected one folder to train on" in refused(root)


def test_a_split_made_of_links(tmp_path):
    root = make(tmp_path / "pets", "raw/cat/*.png", "raw/dog/*.png", "raw/more/cat/*.png", "raw/more/dog/*.png")
    for part, place in (("train", "raw"), ("test", "raw/more")):
        for name in ("cat", "dog"):
            (root / part).mkdir(exist_ok=True)
            try:
                (root / part / name).symlink_to(root / place / name)
            except OSError as error:  # Windows lets not everybody
                pytest.skip(str(error))
    dataset, told = read(root)
    assert numbers(dataset) == (6, 6)
    assert "raw/ with 12 images, beside train/" in told[0]


@pytest.mark.parametrize("halves", [("train",), ("test",), ("Train", "other")])
def test_half_a_split(tmp_path, halves):
    root = make(tmp_path, *(f"{half}/{name}/*.png" for half in halves for name in "ab"))
    assert "expected both: add it, or load" in refused(root)


def test_kaggles_cats_and_dogs(tmp_path, bad_input):
    root = make(tmp_path / "dogs-vs-cats", "train/cat.*.jpg", "train/dog.*.jpg", "test/*.jpg", "sample.csv")
    text = refused(root)
    assert "train holds images itself; expected a folder for each class: sort them into such" in text
    assert "perhaps by how their names begin: 'cat' (3), 'dog' (3)" in text
    bad_input("Kaggle's dogs-vs-cats: train/cat.0.jpg, …", text)
    root = make(tmp_path / "b", "train/cat/*.jpg", "train/dog/*.jpg", "test/*.jpg")
    text = refused(root)
    assert "test holds images itself" in text
    assert "or load" in text
    assert "train itself, of which a split will be made" in text


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("images/Abyssinian_*.jpg", "images/beagle_*.jpg", "annotations/list.txt"), "'Abyssinian' (3), 'beagle' (3)"),
        (("jpg/image_*.jpg", "imagelabels.mat"), "jpg holds images itself"),
        (("images/*.jpg", "labels.csv"), "labels.csv beside them may tell their classes, but is not read"),
        (
            ("all/cat_*.jpg", "all/dog_*.jpg"),
            r"('all',); expected two or more, to tell one from another, perhaps by how",
        ),
        (("train/*.jpg", "test/*.jpg", "train.csv"), "train holds images itself"),
        (
            ("images/train/*.jpg", "images/val/*.jpg", "labels/train/*.txt", "labels/val/*.txt"),
            "train holds images itself",
        ),
        (("train/images/*.jpg", "train/labels/*.txt", "valid/images/*.jpg", "data.yaml"), "images holds images itself"),
        (("a.png", "cat/*.png", "dog/*.png"), "both images, such as a.png, and folders of images, such as cat/"),
    ],
)
def test_flat_folders_are_refused_with_what_may_tell_the_classes(tmp_path, paths, expected):
    assert expected in refused(make(tmp_path / "set", *paths))


def test_oxford_pets_with_its_masks(tmp_path):
    root = make(tmp_path / "pets", "images/cat/*.png", "images/dog/*.png", "annotations/trimaps/*.png")
    dataset, told = read(root)
    assert dataset.classes == ("cat", "dog")
    assert "annotations/ with 3 images, beside images/" in told[0]
    make(root, "masks/cat/*.png", "masks/dog/*.png")
    dataset, told = read(root)
    assert dataset.classes == ("cat", "dog")
    assert "9 files are left out" in told[0]


def test_cub_200(tmp_path, bad_input):
    root = make(tmp_path / "CUB_200_2011", "images/001.Albatross/*.jpg", "images/002.Auklet/*.jpg", "images.txt")
    make(root, "train_test_split.txt", "classes.txt", "attributes/a.txt", "parts/parts.txt")
    dataset, told = read(root)
    assert dataset.classes == ("001.Albatross", "002.Auklet")
    assert "5 files are left out: 3 ending in .txt" in told[0]
    assert "train_test_split.txt may describe a split, but is not read" in told[1]
    bad_input("CUB-200 as it is unpacked", told[1])


def test_caltech_101_stanford_dogs_and_food_101(tmp_path):
    root = make(
        tmp_path / "caltech101", "101_ObjectCategories/ant/*.jpg", "101_ObjectCategories/BACKGROUND_Google/*.jpg"
    )
    dataset, told = read(make(root, "Annotations/ant/a.mat"))
    assert dataset.classes == ("BACKGROUND_Google", "ant")
    assert "1 file is left out: Annotations/ with 1 other file" in told[0]
    assert "BACKGROUND_Google" in told[1]
    root = make(
        tmp_path / "dogs", "Images/n01-Chihuahua/*.jpg", "Images/n02-Pug/*.jpg", "Annotation/n01-Chihuahua/n01_1"
    )
    assert read(root)[0].classes == ("n01-Chihuahua", "n02-Pug")
    root = make(tmp_path / "food-101", "images/pie/*.jpg", "images/sushi/*.jpg", "meta/train.txt", "meta/test.json")
    dataset, told = read(root)
    assert dataset.classes == ("pie", "sushi")
    assert "2 files are left out: meta/ with 2 other files, beside images/" in told[0]
    assert "test.json, train.txt may describe a split, but are not read" in told[1]


def test_an_empty_class_is_named_with_all_others(tmp_path):
    root = make(tmp_path / "pets", "cat/*.png", "dog/*.png")
    for name in ("emu", "fox"):
        (root / name).mkdir()
    text = refused(root)
    assert "emu holds no images, nor do 'fox'; expected images, or folders of images: mend or remove it" in text


def test_classes_on_one_side_only_are_counted_and_named(tmp_path, bad_input):
    root = make(tmp_path / "pets", *(f"train/{name}/*.png" for name in "abcdefgh"), "test/a/*.png", "test/x/*.png")
    text = refused(root)
    assert "7 classes are in" in text
    assert "'b', 'c', 'd', 'e', 'f' and 2 more; expected every class in both" in text
    bad_input("seven classes that have no folder in test/", text)


def test_a_test_folder_of_unknown_classes(tmp_path):
    root = make(tmp_path / "pets", "train/cat/*.png", "train/dog/*.png", "test/unknown/*.png")
    assert f"or load {root / 'train'} itself, to have it split" in refused(root)


def test_a_class_in_another_case_in_test(tmp_path):
    root = make(tmp_path / "pets", "train/Cat/*.png", "train/dog/*.png", "test/cat/*.png", "test/dog/*.png")
    dataset, told = read(root)
    assert dataset.classes == ("Cat", "dog")
    assert numbers(dataset) == (6, 6)
    assert "'cat' in test/ and 'Cat' in train/ differ in case only: they are taken for the same" in told[0]


def test_a_thousand_classes(tmp_path):
    for c in range(1000):
        (tmp_path / "set" / f"{c:04}").mkdir(parents=True)
        for i in range(2):
            (tmp_path / "set" / f"{c:04}" / f"{i}.ppm").write_bytes(b"P6 16 16 255 " + rng.bytes(768))
    dataset, told = read(tmp_path / "set")
    assert numbers(dataset) == (1000, 1000)
    assert told == []


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems do not tell case apart")
def test_train_twice_in_other_case(tmp_path):
    root = make(tmp_path, "train/a/*.png", "Train/a/*.png", "test/a/*.png")
    assert "expected one folder to train on" in refused(root)


def test_a_trailing_slash_and_the_current_folder(tmp_path, monkeypatch):
    root = make(tmp_path / "pets", "cat/*.png", "dog/*.png")
    assert load(f"{root}{os.sep}", progress=False).name == "pets"
    monkeypatch.chdir(root)
    assert load(Path("."), progress=False).name == "pets"


# ---- masks


def doubts(root: Path) -> tuple[csd.Dataset, list[str]]:
    """Return the dataset, and the doubts about its layout."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load(root, progress=False, image_size=16)
    mine = [str(w.message) for w in caught if issubclass(w.category, Doubt) and str(w.message).startswith(str(root))]
    return dataset, mine


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("{COVID,Normal}/{images,masks}", "2 folders masks/ with 6 images, beside images/ and taken for masks"),
        ("{COVID,Normal}/{image,Ground Truth}", "2 folders Ground Truth/ with 6 images, beside image/"),
        ("{COVID_images,COVID_masks,Normal_images}", "COVID_masks/ with 3 images, beside COVID_images/"),
        ("{train,test}/{COVID,Normal}/{imgs,gt}", "4 folders gt/ with 12 images, beside imgs/"),
        ("{images,labels}/{train,val}/{COVID,Normal}", "labels/ with 12 images, beside images/"),
    ],
)
def test_masks_beside_images_are_left_out_and_counted(tmp_path, bad_input, path, left):
    dataset, told = read(make(tmp_path / "lungs", *(f"{each}/*.png" for each in braces(path))))
    assert [name.removesuffix("_images") for name in dataset.classes] == ["COVID", "Normal"]
    (text,) = told
    assert left in text
    assert re.search(r"files? (is|are) left out: .*\(rename (it if it is a class|them if they are classes)\)", text)
    if path == "{COVID,Normal}/{images,masks}":
        bad_input("Kaggle's COVID-19 Radiography: COVID/images/, COVID/masks/, …", text)


@pytest.mark.parametrize(
    "paths",
    [
        ("{images,masks}",),
        ("{images,labels}",),
        ("{image,label}",),
        ("{img,gt}",),
        ("{imgs,groundtruth}",),
        ("{photos,trimap}",),
        ("{JPEGImages,SegmentationClass,SegmentationObject}", "{Annotations,ImageSets}/a.txt"),
        ("{train,val}/{images,masks}",),
        ("{train,train_masks}",),
        ("{train,train_labels,val,val_labels}",),
        ("{train_images,train_masks}",),
    ],
)
def test_images_and_their_masks_are_no_two_classes(tmp_path, bad_input, paths):
    root = make(
        tmp_path / "set", *(each if "." in each else f"{each}/*.png" for path in paths for each in braces(path))
    )
    text = refused(root)
    assert "holds images itself; expected a folder for each class" in text or "expected two or more" in text
    assert "and taken for masks (rename " in text
    if paths == ("{images,masks}",):
        bad_input("images/ and masks/, without class folders", text)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("{cat,cat_masks,dog,dog_masks}", "'cat_masks', 'dog_masks' are called as"),
        ("{cat,dog,masks}", "'masks' is called as"),
        ("{cat,dog,masks/cat,masks/dog}", "'masks' is called as"),
    ],
)
def test_classes_called_like_masks_are_doubted(tmp_path, bad_input, path, named):
    dataset, told = doubts(make(tmp_path / "set", *(f"{each}/*.png" for each in braces(path))))
    assert list(dataset.classes) == braces(path)
    (text,) = told
    assert f"{named} folders of masks or labels are, but counted among the classes; move what is no class" in text
    if path == "{cat,dog,masks}":
        bad_input("a folder masks/ beside cat/ and dog/", text)


@pytest.mark.parametrize("path", ["{mask,no_mask}", "{with_mask,without_mask}", "{wine_label,bottle}", "{0,1,mask}"])
def test_classes_that_sound_like_masks_are_classes(tmp_path, path):
    root = make(tmp_path / "set", *(f"{each}/*.png" for each in braces(path)))
    dataset, told = doubts(root)
    assert list(dataset.classes) == sorted(braces(path))
    assert told == read(root)[1] == []


def test_masks_among_the_images_of_a_class_are_doubted(tmp_path, bad_input):
    root = make(tmp_path / "busi", "benign/benign (*).png", "malignant/malignant (*).png")
    make(root, "malignant/malignant (*)_mask.png", "malignant/malignant (1)_mask_1.png", "malignant/gas mask.png")
    dataset, told = doubts(root)
    assert sum(numbers(dataset)) == 11
    (text,) = told
    assert f"4 images, such as {root / 'malignant' / 'malignant (0)_mask.png'}, are called like masks of others" in text
    bad_input("masks among the images of a class, such as benign (1)_mask.png", text)


def test_known_folders_without_an_image_beside_classes_are_left_out(tmp_path):
    root = make(tmp_path / "dtd", "cat/*.png", "dog/*.png", "imdb/imdb.mat")
    dataset, told = read(make(root, "ImageSets/train.txt", "splits/1.txt"))
    assert dataset.classes == ("cat", "dog")
    assert "3 files are left out" in told[0]


# ---- pieces and versions of one set


@pytest.mark.parametrize("groups", ["tr,te", "fold1,fold2,fold3", "original,resized", "amazon,dslr,webcam"])
@pytest.mark.parametrize("level", ["", "/images"])
def test_the_same_names_in_every_group_are_doubted(tmp_path, bad_input, groups, level):
    paths = braces(f"{{{groups}}}{level}/{{cat,dog}}")
    dataset, told = doubts(make(tmp_path / "set", *(f"{path}/*.png" for path in paths)))
    assert set(dataset.classes) == set(braces(f"{{{groups}}}/{{cat,dog}}"))
    (text,) = told
    assert "hold classes of the same names, 'cat', 'dog', which are kept apart: " in text
    assert f"{len(paths)} classes. If these are parts, versions or domains of one set, load one of the folders" in text
    if groups == "amazon,dslr,webcam" and level:
        bad_input("Office-31: amazon/images/, dslr/images/ and webcam/images/, each with the same classes", text)


@pytest.mark.parametrize("path", ["{Greek/{alpha,beta},Latin/{alpha,a}}", "{cat,dog}", "{animals/{cat,dog},car}"])
def test_groups_with_names_of_their_own_raise_no_doubt(tmp_path, path):
    paths = braces(path)
    dataset, told = doubts(make(tmp_path / "set", *(f"{each}/*.png" for each in paths)))
    assert len(dataset.classes) == len(paths)
    assert told == []


@pytest.mark.parametrize(
    "names", ["HAM10000_images_part_1,HAM10000_images_part_2", "images_001,images_002", "fold1,fold2"]
)
def test_numbered_pieces_of_a_set_are_doubted_with_the_table_beside_them(tmp_path, bad_input, names):
    level = "/images" if "001" in names else ""
    root = make(tmp_path / "set", *(f"{name}{level}/ISIC_*.png" for name in names.split(",")), "metadata.csv")
    dataset, told = doubts(root)
    assert list(dataset.classes) == names.split(",")
    (text,) = told
    assert (
        "are called and numbered like pieces of one set; if they are, sort their images into a folder for each" in text
    )
    assert text.endswith("class; metadata.csv beside them may tell their classes, but is not read")
    if names.startswith("HAM"):
        bad_input("HAM10000: two folders of images, and a table", text)


@pytest.mark.parametrize("names", ["s1,s2", "0,1", "person_01,person_02", "part,whole", "class1,class2"])
def test_numbered_classes_raise_no_doubt(tmp_path, names):
    root = make(tmp_path / "set", *(f"{name}/*.png" for name in names.split(",")), "metadata.csv")
    assert doubts(root)[1] == []
