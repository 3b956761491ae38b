"""Which files of a folder are the images of which class, in the layouts that data sets come in; the rest is counted."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from csd_edu import images
from csd_edu.doubts import few
from csd_edu.images import printable

TRAIN_NAMES = ("train", "training", "trn", "entrenamiento", "entraînement", "entrainement", "apprentissage")
TEST_NAMES = (
    *("test", "testing", "tst", "prueba", "pruebas", "prüfung"),
    *("val", "validation", "valid", "validación", "validacion", "validierung", "eval", "evaluation"),
)
IMAGES_NAMES = ("images", "image", "imgs", "img", "jpegimages", "jpg", "jpeg", "png", "pictures", "photos")
PART_NAMES = (*IMAGES_NAMES, "part", "fold", "batch", "chunk", "shard", "subset")  # a set in pieces: images_001
# What masks, and other answers that are images, are called. Beside images/, or as train_masks/ beside train/, they are
# no classes; elsewhere a class may well be called by one of the first two.
MASK_NAMES = (
    *("mask", "label", "masks", "labels", "annotation", "annotations", "trimap", "trimaps", "gt", "groundtruth"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject"),
)
# Folders that data sets have beside their images. Without an image in them, or beside images/, they are no classes.
SIDE_NAMES = (
    *MASK_NAMES,
    *("lists", "meta", "metadata", "attributes", "parts", "imagelabels", "docs", "imagesets", "imdb", "splits"),
)
# What systems and programs leave behind.
JUNK = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", ".ds_store", "__macosx", "$recycle.bin", "@eadir"),
    *("system volume information", ".git", ".ipynb_checkpoints"),
)
DEEPEST = 50
SPLIT_TABLE = r"split|^(train|test|val)\w*\.(txt|csv|json)$"

Levels = tuple[str, ...]  # the names of the folders below the root that lead to a class


def find(root: Path) -> Layout:
    """Look at all that lies below a folder, and recognise its classes, and the split if there is one.

    Raises:
        ValueError: there are none, or none that are clear.
        OSError: a folder that cannot be read.
    """
    top, rest = _walk(root), _Rest()
    _leave_masks(top, rest)
    masks = "".join(f"; {text}" for _, text in rest.others)
    try:
        return _layout(top, rest)
    except ValueError as error:
        raise ValueError(f"{error}{masks}") from None


# ---- what is there


@dataclass(frozen=True, eq=False)
class _Folder:
    """What a folder holds, each sorted by name; hidden files and junk are not in it. Each is equal to itself only."""

    path: Path
    images: list[Path] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)  # files that are no images
    odd: list[str] = field(default_factory=list)  # what is neither a file nor a folder to be read, in words

    @property
    def name(self) -> str:
        return self.path.name.lower()

    def below(self) -> Iterator[_Folder]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.below()

    @property
    def n_images(self) -> int:
        return sum(len(folder.images) for folder in self.below())

    @property
    def holds_folders(self) -> bool:
        """Whether images lie in folders below it."""
        return any(folder.n_images for folder in self.folders)

    @property
    def is_side(self) -> bool:
        """Whether it lies beside the images, with what is known about them."""
        return _is_side(self.name) and not self.n_images


def _walk(root: Path) -> _Folder:
    """Look at all that lies below a folder. Links to folders are followed, but never in a circle.

    Raises:
        OSError: a folder that cannot be read.
    """
    top = os.path.realpath(root)
    linked: set[str] = set()  # the folders to which a followed link leads

    def visit(path: Path, above: tuple[str, ...]) -> _Folder:
        found = _Folder(path)
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            told = (
                f"{printable(path)} cannot be read ({error.strerror}); expected a folder of images: change its rights"
            )
            raise type(error)(f"{told}, or move it away") from None
        for name in names:
            if not _is_junk(name):
                look(found, path / name, above)
        return found

    def look(found: _Folder, path: Path, above: tuple[str, ...]) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:  # a broken link, or a circle of links
            if images.has_known_ending(path):
                found.images.append(path)  # it will be found damaged
            else:
                found.odd.append(f"{printable(path)} ({error.strerror})")
            return
        if stat.S_ISDIR(mode):
            real = os.path.realpath(path)
            is_link = os.path.normcase(real) != os.path.normcase(os.path.join(above[-1], path.name))
            if path.name.startswith("."):
                found.odd.append(f"{printable(path)} (hidden)")
            elif is_link and (real in above or real in linked or Path(top).is_relative_to(real)):
                found.odd.append(f"{printable(path)} (a link to a folder that is read already, or to one above it)")
            elif len(above) > DEEPEST:
                found.odd.append(f"{printable(path)} (below {DEEPEST} other folders)")
            else:
                linked.update({real} if is_link else ())
                found.folders.append(visit(path, (*above, real)))
        elif not stat.S_ISREG(mode):
            found.odd.append(f"{printable(path)} (neither a file nor a folder)")
        elif path.name.startswith("."):
            if images.has_known_ending(path):
                found.odd.append(f"{printable(path)} (hidden)")
        else:
            (found.images if _is_image(path) else found.others).append(path)

    return visit(root, (top,))


def _is_junk(name: str) -> bool:
    return name.lower() in JUNK or name.startswith("._")


def _is_image(path: Path) -> bool:
    try:
        return images.is_image(path)
    except OSError:  # it may not be read, and nothing but its content could tell
        return False


# ---- which of it are the classes

Images = dict[str, list[Path]]  # of each class, by its name; those in no class folder by ""


@dataclass(frozen=True)
class Layout:
    """The images of each class to train and to test on, and what is to be said about the rest."""

    train: Images
    test: Images | None  # None: a split is to be made
    remarks: list[str]
    doubts: list[str]  # what is read, but probably not meant


@dataclass(frozen=True)
class _Rest:
    """What is not used, and what else is to be said."""

    files: list[Path] = field(default_factory=list)  # no images
    odd: list[str] = field(default_factory=list)
    others: list[tuple[int, str]] = field(default_factory=list)  # how many files, and which
    tables: list[Path] = field(default_factory=list)  # files that may describe a split
    remarks: list[str] = field(default_factory=list)

    def add(self, folder: _Folder) -> None:
        """Add what lies in a folder itself beside its images and folders."""
        self.files.extend(folder.others)
        self.odd.extend(folder.odd)
        self.tables.extend(path for path in folder.others if re.search(SPLIT_TABLE, path.name, re.IGNORECASE))

    def leave(self, why: str, *folders: _Folder) -> None:
        """Add whole folders, of one name."""
        below = _Rest()
        for inner in (inner for folder in folders for inner in folder.below()):
            below.add(inner)
        n_images, n_others = sum(folder.n_images for folder in folders), len(below.files) + len(below.odd)
        told = " and ".join([_n(n_images, "image")] * bool(n_images) + [_n(n_others, "other file")] * bool(n_others))
        name = f"{len(folders)} folders " * bool(folders[1:]) + printable(folders[0].path.name)
        self.others.append((n_images + n_others, f"{name}/ with {told or 'nothing'}, {why}"))
        self.tables.extend(below.tables)


def _leave_masks(root: _Folder, rest: _Rest) -> None:
    """Take folders of masks out, where what they lie beside tells that they are no classes."""
    found: dict[tuple[str, str], list[_Folder]] = {}
    for folder in root.below():
        for masks, main in _masks(folder):
            if set(_words(main.name)) & {*IMAGES_NAMES} or _is_half(main.name, (*TRAIN_NAMES, *TEST_NAMES)):
                found.setdefault((masks.path.name, main.path.name), []).append(masks)
                folder.folders.remove(masks)
    for (_, main_name), folders in found.items():
        it = "them if they are classes" if folders[1:] else "it if it is a class"
        rest.leave(f"beside {printable(main_name)}/ and taken for masks (rename {it})", *folders)


def _masks(folder: _Folder) -> list[tuple[_Folder, _Folder]]:
    """Return folders that are called masks of another beside them, each with that: train_masks/ with train/."""
    if not (named := [inner for inner in folder.folders if {*_words(inner.name)} & {*MASK_NAMES} and inner.n_images]):
        return []
    mains = {tuple(_words(f.name, IMAGES_NAMES)): f for f in folder.folders if f not in named and f.n_images}
    found = [(masks, mains.get(tuple(_words(masks.name, (*MASK_NAMES, *IMAGES_NAMES))))) for masks in named]
    return [(masks, main) for masks, main in found if main and _words(main.name)]


def _words(name: str, but: Sequence[str] = ()) -> list[str]:
    """Return the words of a folder's name but some: "2D_Masks" has two."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"ground[\W_]+truth", "groundtruth", name.lower()))
    return [word for word in words if word not in but]


def _is_side(name: str) -> bool:
    words = _words(name, IMAGES_NAMES)
    return bool(words) and all(word in SIDE_NAMES for word in words)


def _layout(root: _Folder, rest: _Rest) -> Layout:
    """Recognise the classes, and the split if there is one.

    Raises:
        ValueError: there is none, or none that is clear.
    """
    place = _unwrapped(root, rest)
    train, tests = _parts(place)
    if train is None:
        used, classes, test = [place], _classes(place), None
        if _is_flat(classes):
            raise ValueError(_flat(place))
    else:
        rest.add(place)
        unused = [folder for folder in place.folders if folder not in (train, *tests)]
        for folder in unused:
            rest.leave(f"beside {train.path.name}/", folder)
        if n := len(place.images):
            such = printable(place.images[0].name)
            rest.others.append((n, f"{_n(n, 'image')} beside {train.path.name}/, such as {such}"))
        classes = _classes(train)
        if _is_flat(classes):
            raise ValueError(_flat(train))
        chosen, found = _test_part(train, tests, classes, rest)
        used, test = [train, chosen], _matched(classes, found, train, chosen, rest)
    for folder in used[0].below():
        _check_halves(folder)
    if len(classes) == 1:
        told = f"{printable(place.path)}: classes is {tuple(classes)!r}; expected two or more, to tell one from another"
        raise ValueError(told + _guess(used[0]))
    for part in used:
        for folder in part.below():
            rest.add(folder)
    if test is None and rest.tables:
        tables = ", ".join(printable(path.name) for path in rest.tables[:3])
        verb = "are" if rest.tables[1:] else "is"
        rest.remarks.append(
            f"{tables} may describe a split, but {verb} not read: a fifth of each class was chosen for "
            " testing; for that split move the files into train/<class>/ and test/<class>/"
        )
    remarks = [*_left_out(root, used, rest), *rest.remarks, *_names(classes)]
    return Layout(classes, test, remarks, [*_like_masks(used), *_same_names(classes), *_pieces(classes, used[0])])


def _unwrapped(root: _Folder, rest: _Rest) -> _Folder:
    """Go down to the folder that holds the classes or their split."""
    while not any(_parts(root)):
        filled = [folder for folder in root.folders if folder.n_images]
        main = [folder for folder in filled if folder.name in IMAGES_NAMES] or filled
        beside = [folder for folder in root.folders if folder not in main]
        if root.images or len(main) != 1 or not main[0].folders or not all(_is_side(f.name) for f in beside):
            break
        rest.add(root)
        for folder in beside:
            rest.leave(f"beside {main[0].path.name}/", folder)
        root = main[0]
    return root


def _parts(root: _Folder) -> tuple[_Folder | None, list[_Folder]]:
    """Return the folder to train on and those to test on, the best first; none if the folder holds the classes."""

    def named(names: Sequence[str], *, within: bool = False) -> list[_Folder]:
        found = [(_place(folder.name, names, within=within), folder) for folder in root.folders]
        return [folder for place, folder in sorted(found, key=lambda pair: pair[0]) if place < len(names)]

    trains, tests = named(TRAIN_NAMES), named(TEST_NAMES)
    loosely = named(TRAIN_NAMES, within=True), named(TEST_NAMES, within=True)
    if all(loosely) and len(loosely[0] + loosely[1]) == len(root.folders):  # such as cars_train and cars_test
        trains, tests = loosely
    elif not (trains and tests) and len(loosely[0]) == 1 and loosely[0][0].holds_folders:  # seg_pred beside seg_train
        train = loosely[0][0]
        alike = [f for f in loosely[1] if f is not train and f.holds_folders and _stem(f.name) == _stem(train.name)]
        trains, tests = ([train], alike) if alike else (trains, tests)
    if len(trains) > 1 and tests:
        both = " and ".join(f"{folder.path.name}/" for folder in trains)
        raise ValueError(f"{printable(root.path)} holds {both}; expected one folder to train on: merge or rename them")
    if trains and tests:
        return trains[0], tests
    # A class may well be called "train"; but one that holds folders is half of a split.
    if half := next((folder for folder in (*trains, *tests) if folder.holds_folders), None):
        missing = "test" if trains else "train"
        hint = f"add it, or load {printable(half.path)} itself, of which a split will be made"
        raise ValueError(f"{printable(root.path)} holds {half.path.name}/, but no {missing}/; expected both: {hint}")
    return None, []


def _place(name: str, names: Sequence[str], *, within: bool) -> int:
    """Return which of the names a folder has ("test1", "train_images"; within: "cars_train"), or else their number."""
    words = _words(name) if within else [re.sub(r"[\W\d_]+", "", name)]
    known = [re.sub(r"(set|data|images|imgs)$", "", word) for word in words]
    return min((names.index(word) for word in known if word in names), default=len(names))


def _stem(name: str) -> list[str]:
    """Return the words of a folder's name but those that call it a half of a split: "seg" for "seg_train"."""
    return [word for word in _words(name) if not _is_half(word, (*TRAIN_NAMES, *TEST_NAMES))]


def _is_half(name: str, names: Sequence[str]) -> bool:
    return _place(name, names, within=True) < len(names)


def _check_halves(folder: _Folder) -> None:
    """Refuse folders of training and of test images that would count as classes, or as groups of classes, of their own.

    A class may well be called "test_tube" or "bullet_train". A half of a split is told by what is beside it: a group
    beside other groups, or the same name with the other half's word.

    Raises:
        ValueError: naming such a folder, and one beside it.
    """
    inner = [subfolder for subfolder in folder.folders if subfolder.n_images]

    def is_half(one: _Folder, beside: list[_Folder]) -> bool:
        train, test = _is_half(one.name, TRAIN_NAMES), _is_half(one.name, TEST_NAMES)
        if test and (one.holds_folders or all(other.holds_folders for other in beside)):
            return True
        below = {subfolder.name for subfolder in one.folders if subfolder.n_images}
        return train and any(
            (_is_half(other.name, TEST_NAMES) and (one.holds_folders or _stem(one.name) == _stem(other.name)))
            or below & {subfolder.name for subfolder in other.folders if subfolder.n_images}
            for other in beside
        )

    for one in (subfolder for subfolder in inner if _is_half(subfolder.name, (*TRAIN_NAMES, *TEST_NAMES))):
        beside = [other for other in inner if other is not one]
        if beside and is_half(one, beside):
            name = printable(one.path.name)
            more = f" and {len(beside) - 1} more" if beside[1:] else ""
            told = f"{printable(folder.path)} holds {name}/ beside {printable(beside[0].path.name)}/{more}, as if "
            told += "training images and test images were classes of their own; expected classes, or train/ and test/"
            hint = "sort the images into train/<class>/ and test/<class>/"
            raise ValueError(f"{told}: {hint}, or rename {name}/ if it is no half of a split")


def _test_part(train: _Folder, tests: list[_Folder], classes: Images, rest: _Rest) -> tuple[_Folder, Images]:
    """Return the first folder to test on whose images have classes, and these; the others are left out."""
    labelled: list[tuple[_Folder, Images]] = []
    for folder in tests:
        if labelled:
            hint = f"to use it instead, load a folder that holds only {train.path.name}/ and {folder.path.name}/"
            rest.leave(f"as {labelled[0][0].path.name}/ is there ({hint})", folder)
            continue
        found = _classes(folder)
        if not _is_flat(found, classes):
            labelled.append((folder, found))
        elif table := next((path for path in folder.others if path.name.lower().endswith("annotations.txt")), None):
            labelled.append((folder, _annotated(found, table, rest)))
            folder.others.remove(table)  # it is read
        else:
            rest.leave("without folders that tell their classes", folder)
    if not labelled:
        hint = f"or load {printable(train.path)} itself, of which a split will be made"
        raise ValueError(f"{_flat(tests[0])}; {hint}")
    return labelled[0]


def _classes(part: _Folder) -> Images:
    """Return the images of each class, in sorted order.

    Raises:
        ValueError: a folder with images and folders, one without images, two folders of the same name.
    """
    found: dict[Levels, list[Path]] = {}
    empty: list[_Folder] = []

    def visit(folder: _Folder, levels: Levels) -> None:
        inner = [subfolder for subfolder in folder.folders if not subfolder.is_side]
        filled = [subfolder for subfolder in inner if subfolder.n_images]
        if folder.images and filled:
            what = f"both images, such as {printable(folder.images[0].name)}, and folders of images, such as "
            what += f"{printable(filled[0].path.name)}/; expected images, or folders of images"
            raise ValueError(f"{printable(folder.path)} holds {what}: move one of them away, or into class folders")
        if folder.images:
            found[levels] = folder.images
        elif filled:
            for subfolder in inner:
                visit(subfolder, (*levels, subfolder.path.name))
        else:
            empty.append(folder)

    visit(part, ())
    if empty:
        raise ValueError(_empty(empty))
    names = [printable("/".join(levels)) for levels in _told_apart(list(found))]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        told = f"{printable(part.path)} holds two folders for each of these classes, coded in two ways: {few(twice)}"
        raise ValueError(f"{told}; expected one: merge or rename them")
    return dict(zip(names, found.values(), strict=True))


def _told_apart(classes: list[Levels]) -> list[Levels]:
    """Leave out the levels that all classes share, such as "images" in "cat/images" and "dog/images"."""
    if len(classes) < 2:
        return classes
    while min(map(len, classes)) > 1:
        depth = min(map(len, classes))
        shared = next((k for k in (*range(depth), -1) if len({levels[k].casefold() for levels in classes}) == 1), None)
        if shared is None:
            break
        fewer = [levels[:shared] + levels[shared:][1:] for levels in classes]
        if len(set(fewer)) < len(fewer):
            break
        classes = fewer
    return classes


def _is_flat(found: Images, classes: Images | None = None) -> bool:
    """Return whether no folder tells the images' classes, as far as it could be one of `classes`."""
    names = list(found)
    return len(names) == 1 and (
        names[0] == "" or (names[0].lower() in IMAGES_NAMES and names[0] not in (classes or {}))
    )


def _annotated(flat: Images, table: Path, rest: _Rest) -> Images:
    """Return a flat folder's images by class, as a file beside them says it: Tiny-ImageNet's val_annotations.txt.

    Raises:
        ValueError: if the file names the class of no image.
    """
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    class_of = {cells[0].strip(): printable(cells[1].strip()) for line in lines if len(cells := line.split("\t")) > 1}
    (paths,) = flat.values()
    found = {name: [path for path in paths if class_of.get(path.name) == name] for name in sorted({*class_of.values()})}
    found = {name: members for name, members in found.items() if members}
    if not found:
        told = f"{printable(table)} names none of the {len(paths)} images beside it"
        raise ValueError(f"{told}; expected lines of a file's name, a tab and a class")
    if unknown := [path for path in paths if path.name not in class_of]:
        told = f"{_n(len(unknown), 'image')} that {table.name} does not name, such as {printable(unknown[0].name)}"
        rest.others.append((len(unknown), told))
    if n_gone := len(class_of.keys() - {path.name for path in paths}):
        rest.remarks.append(f"{n_gone} of the {len(class_of)} files that {table.name} names are not there")
    return found


def _matched(train: Images, test: Images, here: _Folder, there: _Folder, rest: _Rest) -> Images:
    """Return the test images by the names of the training classes; case may differ where that is unambiguous.

    Raises:
        ValueError: naming the classes that are in one of them only.
    """
    missing, extra = ([name for name in one if name not in other] for one, other in ((train, test), (test, train)))
    as_in_train = {name.casefold(): name for name in missing}
    if missing and sorted(map(str.casefold, missing)) == sorted(map(str.casefold, extra)) == sorted(as_in_train):
        told = f"{few(extra)} in {there.path.name}/ and {few(missing)} in {here.path.name}/ differ in case only"
        rest.remarks.append(f"{told}: they are taken for the same; rename the folders if they are not")
        return {as_in_train[name.casefold()] if name in extra else name: paths for name, paths in test.items()}
    for names, one, other in (missing, here, there), (extra, there, here):
        if names:
            what = f"class {names[0]!r} is" if len(names) == 1 else f"{len(names)} classes are"
            told = f"{what} in {printable(one.path)}, but not in {printable(other.path)}"
            told += f": {few(names)}" * (len(names) > 1)
            hint = "" if train.keys() & test.keys() else f", or load {printable(here.path)} itself, to have it split"
            raise ValueError(f"{told}; expected every class in both: rename, add or remove their folders{hint}")
    return test


# ---- what is said


def _n(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _others(folder: _Folder) -> list[Path]:
    return [path for inner in folder.below() for path in inner.others]


def _by_ending(files: Sequence[Path]) -> str:
    """Return how many files have which ending, with the names of some."""
    by_ending: dict[str, list[Path]] = {}
    for path in files:
        by_ending.setdefault(printable(path.suffix.lower()), []).append(path)
    told = []
    for ending, paths in sorted(by_ending.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(printable(path.name) for path in paths[:3]) + ", …" * (len(paths) > 3)
        told.append(f"{len(paths)} {f'ending in {ending}' if ending else 'without an ending'} ({shown})")
    return ", ".join(told)


def _advice(files: Sequence[Path]) -> str:
    """Return what can be done about files that are no images, as far as their endings tell."""
    endings = sorted({path.suffix.lower() for path in files} & images.ADVICE.keys())
    return "".join(f"; {text}" for text in dict.fromkeys(images.ADVICE[ending] for ending in endings))


def _empty(folders: list[_Folder]) -> str:
    """Return what is wrong with folders that hold no image."""
    first = printable(folders[0].path)
    files = [path for folder in folders for path in _others(folder)]
    odd = [text for folder in folders for inner in folder.below() for text in inner.odd]
    what = "no images that Pillow reads here" if files or odd else "no images"
    more = f", nor do {few([printable(folder.path.name) for folder in folders[1:]])}" if folders[1:] else ""
    there = f", but {_by_ending(files)}{_advice(files)}" * bool(files) + f", but {', '.join(odd[:3])}" * bool(odd)
    return f"{first} holds {what}{more}{there}; expected images, or folders of images: mend or remove it"


def _flat(part: _Folder) -> str:
    """Return what is wrong with a folder that holds images, but no class folders, and what may tell their classes."""
    every = [path for folder in part.below() for path in folder.images]
    told = f"{printable(every[0].parent)} holds images itself; expected a folder for each class: sort them into such"
    return told + _guess(part)


def _guess(part: _Folder) -> str:
    """Return what may tell the classes of images, if not their folders."""
    told = ""
    every = [path for folder in part.below() for path in folder.images]
    beginnings = Counter(re.sub(r"[\W_]*\d*$", "", path.stem) for path in every)
    if len(beginnings) > 1 and min(beginnings.values()) > 1:
        counts = ", ".join(f"{printable(name)!r} ({count})" for name, count in beginnings.most_common(3))
        told += f", perhaps by how their names begin: {counts}{', …' * (len(beginnings) > 3)}"
    if tables := [
        path.name for path in _others(part) if path.suffix.lower() in (".csv", ".tsv", ".txt", ".json", ".mat")
    ]:
        some = ", ".join(map(printable, tables[:3])) + ", …" * (len(tables) > 3)
        told += f"; {some} beside them may tell their classes, but {'are' if tables[1:] else 'is'} not read"
    return told


def _left_out(root: _Folder, used: list[_Folder], rest: _Rest) -> list[str]:
    """Return one sentence about all that is not read, and one about what is read though its ending is none."""
    remarks = []
    if n := len(rest.files) + len(rest.odd) + sum(count for count, _ in rest.others):
        told = (
            [f"{_by_ending(rest.files)}, no images that Pillow reads here{_advice(rest.files)}"] if rest.files else []
        )
        told += [text for _, text in rest.others]
        told += [", ".join(rest.odd[:5]) + f" and {len(rest.odd) - 5} more" * (len(rest.odd) > 5)] if rest.odd else []
        text = f"{_n(n, 'file')} {'are' if n > 1 else 'is'} left out: {'; '.join(told)}"
        shares = [(len(f.others), len(f.images), f) for part in used for f in part.below() if f.images and f.others]
        if shares:
            lost, kept, folder = max(shares, key=lambda share: share[0] / (share[0] + share[1]))
            name = printable(folder.path.relative_to(root.path).as_posix())
            text += (
                f". Of {name}/ that is {lost} of {lost + kept} files"
                + f", the largest share of {len(shares)} folders" * (len(shares) > 1)
            )
        remarks.append(text)
    every = (path for part in used for folder in part.below() for path in folder.images)
    if odd := [path for path in every if not images.has_known_ending(path)]:
        verb = "files are images by their" if len(odd) > 1 else "file is an image by its"
        remarks.append(f"{len(odd)} {verb} content, though not by the ending, and read: {_by_ending(odd)}")
    return remarks


def _names(classes: Images) -> list[str]:
    """Return what is odd about the classes' names."""
    remarks = []
    by_fold: dict[str, list[str]] = {}
    for name in classes:
        by_fold.setdefault(name.casefold(), []).append(name)
    if alike := [name for names in by_fold.values() if len(names) > 1 for name in names]:
        remarks.append(
            f"the classes {few(alike)} differ in case only and are kept apart; merge the folders if they are one"
        )
    if "BACKGROUND_Google" in classes:
        remarks.append(
            "BACKGROUND_Google, Caltech's pictures of anything, counts as a class; move the folder away if it is none"
        )
    return remarks


def _like_masks(used: list[_Folder]) -> list[str]:
    """Return which classes and images are called like masks of others, and are read all the same."""
    told = []
    folders = [folder for part in used for folder in part.below()]
    named = [inner for folder in folders for inner in folder.folders if inner.n_images and _words(inner.name)]
    like = [folder for folder in named if all(word in MASK_NAMES[2:] for word in _words(folder.name))]
    like += [masks for folder in folders for masks, _ in _masks(folder) if masks not in like]
    if like:
        names = few(sorted({printable(folder.path.name) for folder in like}))
        told.append(
            f"{names} {'are' if like[1:] else 'is'} called as folders of masks or labels are, but counted among the "
            "classes; move what is no class away"
        )
    ends = re.compile(rf"(.+)[\W_](?:{'|'.join(MASK_NAMES)}|seg)(?:[\W_]*\d+)?")
    files = []
    for folder in folders:
        stems = {path.stem.lower() for path in folder.images}
        files += [p for p in folder.images if (end := ends.fullmatch(p.stem.lower())) and end[1].rstrip("_- ") in stems]
    if files:
        told.append(
            f"{_n(len(files), 'image')}, such as {printable(files[0])}, {'are' if files[1:] else 'is'} called like "
            "masks of others beside them, but read as images of the same class; move them away if they are none"
        )
    return told


def _same_names(classes: Images) -> list[str]:
    """Return that all groups hold classes of the same names, if they do: domains, folds, or halves called unusually."""
    groups: dict[str, set[str]] = {}
    for group, slash, name in (name.partition("/") for name in classes):
        if not slash:
            return []
        groups.setdefault(group, set()).add(name)
    names, *others = groups.values()
    if not others or any(other != names for other in others):
        return []
    return [
        f"the folders {few(list(groups))} hold classes of the same names, {few(sorted(names))}, which are kept apart: "
        f"{len(classes)} classes. If these are parts, versions or domains of one set, load one of the folders or merge "
        "them; if they are its halves, call them train/ and test/"
    ]


def _pieces(classes: Images, part: _Folder) -> list[str]:
    """Return that the classes are numbered pieces of a set, if they are called so."""
    words, *others = {tuple(_words(name)) for name in classes}
    if others or not {*words} & {*PART_NAMES} or any("/" in name for name in classes):
        return []
    told = f"the classes {few(list(classes))} are called and numbered like pieces of one set"
    return [f"{told}; if they are, sort their images into a folder for each class{_guess(part)}"]
