"""C. What has not the expected ending is counted and named: what a class hands in.

Every file is read, or a student's row says why not, or it is counted.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import struct
import subprocess
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest

from csd_edu import cli
from csd_edu.check import progress
from csd_edu.grade import Mark, Row, Table, found, grade, tables
from csd_edu.grade.found import Owner
from csd_edu.grade.submissions import Export, HandedIn, Notebook, Result, Student, by_student, printable, read_all
from tests.test_grade import CALL, IMPORTS, RIGHT, export_of, notebook_of

NOTEBOOK = notebook_of(IMPORTS, RIGHT, CALL).encode()
BARE = notebook_of("x = 1").encode()  # grading it takes no torch
NFD = unicodedata.normalize("NFD", "José")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def fill(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def zipped(files: dict[str, bytes | str | None], **options: int) -> bytes:
    """Return an archive; a folder has no content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for option, value in options.items():
                setattr(info, option, value)
            archive.writestr(info, b"" if content is None else content)
    return buffer.getvalue()


def students(folder: Path) -> list[Student]:
    """Return the students of a class, without running a notebook."""
    given = read_all(folder)
    return by_student(given.exports, given.notebooks, [*given.unread, *given.counted])


def names(folder: Path) -> dict[str, str]:
    """Return what each student's marks come from, by name."""
    return {
        s.name: ", ".join(["run"] * bool(s.notebooks) + ["claimed"] * bool(s.export)) or "not read"
        for s in students(folder)
    }


def reasons(given: HandedIn) -> dict[str, str]:
    return {one.file.as_posix(): one.reason for one in given.unread}


def counts(given: HandedIn) -> dict[str, str]:
    return {one.file.as_posix(): one.what for one in given.counted}


# --- every ending -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["ada.zip", "ada.ipynb.txt", "ada.ipynb.json", "ada.IPYNB", "ada.ipynb (1)", "ada (2).ipynb", "ada", "ada.txt",
     "ada.json", "ada.ipynb.html", "ada.zip.ipynb", "ada.ipynb.zip", "ada.download"],
)  # fmt: skip
def test_a_notebook_is_known_by_its_content(name, tmp_path):
    fill(tmp_path, {name: NOTEBOOK, "zip/one.ipynb": NOTEBOOK})
    shown = {"ada.download": "ada.download", "ada (2).ipynb": "ada (2)"}.get(name, "ada")  # perhaps another Ada
    assert names(tmp_path) == {shown: "run", "zip": "run"}
    given = read_all(tmp_path)
    assert {notebook.cells for notebook in given.notebooks} == {(IMPORTS, RIGHT, CALL)}
    assert (given.unread, given.counted) == ([], [])


@pytest.mark.parametrize(
    "ending",
    [".html", ".htm", ".pdf", ".docx", ".doc", ".odt", ".rtf", ".7z", ".rar", ".tar.gz", ".png", ".heic", ".txt", ".md",
     ".csv", ".xyz", "", ".ipynb", ".json", ".zip", ".gdoc", ".py"],
)  # fmt: skip
def test_whatever_is_handed_in_the_student_is_in_the_table(ending, tmp_path):
    content = b"\xff\xfe\xff" if ending == ".py" else b"%not a notebook\n"
    for name in (f"eve{ending}", f"folder/deep{ending}"):
        fill(tmp_path, {"ada/one.ipynb": BARE, name: content})
    shown = "eve" if ending != ".xyz" else "eve.xyz"
    assert names(tmp_path) == {"ada": "run", shown: "not read", "folder": "not read"}


def test_what_can_not_be_read_says_what_to_ask_for(tmp_path, bad_input):
    fill(tmp_path, {"ada/one.ipynb": BARE, "eve.html": "<p>", "dan/report.pdf": "x", "dan/photo.png": "y"})
    table = grade(tmp_path)
    rows = {row.student: row for row in table.rows}
    assert rows["eve"].notes == (
        "handed in as .html: can't be read; ask for the notebook itself (.ipynb; File > Download)",
    )
    assert rows["dan"].notes[0].startswith("handed in as .pdf, .png: can't be read; ask for")
    assert {mark.result.state for mark in rows["eve"].marks.values()} == {"untried"}
    text = tables.as_text(table)
    assert text.count("eve: handed in as .html") == 1
    assert "eve.html: " not in text  # said once
    bad_input("a student's folder with a .pdf and a .png, in `csd-edu grade`", rows["dan"].notes[0])


def test_many_files_of_one_student_are_all_named(tmp_path):
    fill(tmp_path, {f"eve/{k}.ipynb": b"{" for k in range(9)} | {"ada.ipynb": BARE})
    table = grade(tmp_path)
    assert table.rows[1].notes[3:] == ("6 more that can't be read",)
    text = tables.as_text(table)
    assert all(f"\n  eve/{k}.ipynb: it is no JSON" in text for k in range(9))


def test_scripts_are_notebooks_too(tmp_path):
    jupytext = (
        f"# ---\n# jupyter: 1\n# ---\n\n# %% [markdown]\n# Text\n\n# %%\n{IMPORTS}\n\n# %%\n{RIGHT}\n# %%\n{CALL}\n"
    )
    nbconvert = f"#!/usr/bin/env python\n# coding: utf-8\n\n# In[1]:\n\n\n{IMPORTS}\n# In[ ]:\n\n{RIGHT}\n{CALL}\n"
    colab = (
        f'# -*- coding: utf-8 -*-\n"""02.ipynb\n\nAutomatically generated by Colab.\n"""\n\n{IMPORTS}\n{RIGHT}\n{CALL}'
    )
    files = {"jupytext": jupytext, "nbconvert": nbconvert, "colab": colab, "plain": f"{IMPORTS}\n{RIGHT}\n{CALL}"}
    fill(tmp_path, {f"{name}.py": text for name, text in files.items()})
    fill(tmp_path, {"bom.py": "\ufeff" + colab, "crlf/a.py": jupytext.replace("\n", "\r\n")})
    (tmp_path / "utf16.py").write_bytes(nbconvert.encode("utf-16"))
    read = {notebook.file.name: notebook.cells for notebook in read_all(tmp_path).notebooks}
    assert len(read) == 7
    assert [cell.splitlines()[0] for cell in read["jupytext.py"]] == ["# ---", "# %%", "# %%", "# %%"]
    assert len(read["nbconvert.py"]) == 3
    assert all(any(RIGHT in cell for cell in cells) for cells in read.values())
    assert set(names(tmp_path).values()) == {"run"}


def test_a_helper_beside_a_notebook_is_counted_and_so_is_its_copy(tmp_path):
    files = {
        "02.ipynb": BARE,
        "02.py": f"# %%\n{RIGHT}",
        "src/02.py": "# %%\nx",
        "helpers.py": "def f(): pass",
        "x.csv": "1",
    }
    files |= {
        "02.html": "<p>",
        "02.pdf": "",
        "photo.png": "",
        "03.html": "<p>",
        "04.py": f"# %%\n{CALL}",
        "Makefile": "",
    }
    fill(tmp_path, {f"ada/{name}": content for name, content in files.items()})
    given = read_all(tmp_path)
    assert [notebook.file.name for notebook in given.notebooks] == ["02.ipynb", "04.py"]
    assert list(reasons(given)) == ["ada/03.html"]  # it is of no notebook that was read
    assert counts(given) == {
        "ada/02.py": ".py", "ada/src/02.py": ".py", "ada/helpers.py": ".py", "ada/x.csv": ".csv",
        "ada/02.html": ".html", "ada/02.pdf": ".pdf", "ada/photo.png": ".png", "ada/Makefile": "without an ending",
    }  # fmt: skip
    assert names(tmp_path) == {"ada": "run"}


def test_modules_of_a_package_are_nobodys_answers(tmp_path):
    package = {"csd_edu/__init__.py": "", "csd_edu/check/__init__.py": "", "tests/__init__.py": "", "tests/t.py": CALL}
    fill(tmp_path, {f"ada/{name}": content for name, content in ({"nb/02.ipynb": BARE} | package).items()})
    assert names(tmp_path) == {"ada/nb": "run", "ada/csd_edu": "not read", "ada/tests": "not read"}
    assert set(counts(read_all(tmp_path)).values()) == {".py"}


def test_hidden_files_are_counted_in_one_line(tmp_path):
    fill(
        tmp_path,
        {"ada/02.ipynb": BARE, "ada/.ipynb_checkpoints/02-checkpoint.ipynb": BARE, ".DS_Store": "", "Thumbs.db": "",
         "ada/desktop.ini": "", "__MACOSX/ada/._02.ipynb": "", "ada/node_modules/a.json": "{}", "ada/~$x.docx": "",
         "ada/lab/pyvenv.cfg": "", "ada/lab/lib/a.py": "", "venv/03.ipynb": BARE, "ada/site-packages/x/y.py": "",
         "ada/conda/conda-meta/history": ""},
    )  # fmt: skip
    given = read_all(tmp_path)
    assert names(tmp_path) == {"ada": "run", "venv": "run"}  # a student may be called so
    assert given.unread == []
    assert sorted(counts(given).values()) == [
        *["hidden"] * 5, "in __MACOSX", *["in a virtual environment"] * 3, "in node_modules", "in site-packages",
    ]  # fmt: skip
    lines = tables.as_text(grade(tmp_path)).splitlines()
    assert "  5 hidden, 3 in a virtual environment, 1 in __MACOSX, 1 in node_modules, 1 in site-packages." in lines


def test_an_empty_folder_is_a_student(tmp_path, bad_input):
    fill(
        tmp_path,
        {"ada/02.ipynb": BARE, "bob/.DS_Store": "", "ada/data/.keep": "", "eve.zip": zipped({"__MACOSX/x": ""})},
    )
    for name in ("dan", "ada/figures", "group/zoe"):
        (tmp_path / name).mkdir(parents=True)
    table = grade(tmp_path)
    assert {row.student: row.notes for row in table.rows if row.source == "not read"} == {
        "bob": ("there are only hidden files in it",),
        "dan": ("there is nothing in it",),
        "eve": ("eve.zip: there are only hidden files in it",),
        "group/zoe": ("there is nothing in it",),
    }
    bad_input("an empty folder of a student, in `csd-edu grade`", table.rows[2].notes[0])


def test_own_tables_and_progress_files_are_nobodys(tmp_path):
    fill(tmp_path, {f"ada/{progress.FILE}": '{"version": 1, "exercises": {}}', "ada/02.ipynb": BARE})
    table = Table({"a": ""}, (Row("Ada", "run", {"a": Mark(Result("passed"))}),), (), "")
    for name in ("class.csv", "class.html"):
        tables.write(table, tmp_path / name)
    fill(tmp_path, {f"bob/{progress.FILE}": '{"version": 1, "exercises": {}}'})
    assert names(tmp_path) == {"ada": "run", "bob": "not read"}
    assert sorted(counts(read_all(tmp_path)).values()) == [".json", *["tables of this command"] * 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty (0 bytes); perhaps it had not been uploaded"),
        (b'{\n "cells": [\n<<<<<<< HEAD\n  {},\n=======\n>>>>>>> x\n]}', "it holds a conflict of Git"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "it is a pointer of Git LFS, not the file"),
        (b"\n<!DOCTYPE html><p>", "it is a web page, not the file itself"),
        (b"\0" * 500, "it is no JSON"),
        (BARE[: len(BARE) // 2], "cut off"),
        (b'{"cells": 3}', "it is no notebook"),
        (b'{"nbformat": 3, "worksheets": [{"cells": []}]}', "old format"),
        (b'{"version": 2, "exercises": {}, "student": "a"}', "version 2; expected 1; a newer csd_edu wrote it"),
        (b'{"version": 1, "exercises": {}}', "no student's name"),
        (b"[1, 2]", "it is no notebook"),
        (b"PK\x03\x04" + b"x" * 99, "no zip archive, or is damaged"),
        ('{"cells": ["é'.encode("latin-1"), "not text in UTF-8"),
        (b'{"x": ' + b"9" * 5000 + b"}", "too large a number"),
    ],
)  # fmt: skip
def test_what_a_damaged_notebook_says(content, says, tmp_path, bad_input):
    fill(tmp_path, {"ada.ipynb": content, "bob.ipynb": BARE})
    assert names(tmp_path) == {"ada": "not read", "bob": "run"}
    reason = reasons(read_all(tmp_path))["ada.ipynb"]
    assert says in reason
    given = {
        "it is empty": "of 0 bytes", "it holds a conflict": "with the marks of a conflict of Git",
        "it is a web page": "that is the page which shows it", "old format": "of an old format",
        "version 2": "that is an export of a later version",
    }  # fmt: skip
    for words, what in given.items():
        if says.startswith(words):
            bad_input(f"ada.ipynb {what}", f"ada.ipynb: {reason}")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_of_a_windows_editor_is_read(encoding, tmp_path):
    text = json.dumps({"version": 1, "student": "Zoë 李", "exercises": {}}, ensure_ascii=False)
    fill(tmp_path, {"a.json": text.encode(encoding), "b/02.ipynb.txt": NOTEBOOK.decode().encode(encoding)})
    assert names(tmp_path) == {"b": "run", "Zoë 李": "claimed"}


def test_a_count_that_nobody_has_made_is_damage(tmp_path):
    fill(tmp_path, {"a.json": export_of("A", search={"passed": False, "attempts": 10**4000, "mistakes": {}})})
    assert "its entry of search is damaged" in reasons(read_all(tmp_path))["a.json"]


def test_a_file_that_is_too_large_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(found, "LARGEST", 2**20)
    fill(tmp_path, {"a.ipynb": b'{"cells": [' + b" " * 2**21, "b/x.zip": zipped({"b.ipynb": bytes(2**21)})})
    assert reasons(read_all(tmp_path)) == {
        "a.ipynb": "it has 2 MiB; at most 1 are read", "b/x.zip/b.ipynb": "it has 2 MiB; at most 1 are read",
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none in folders")
def test_special_files_and_links_are_named_and_not_opened(tmp_path, bad_input):
    fill(tmp_path / "class", {"ada.ipynb": BARE})
    os.mkfifo(tmp_path / "class" / "pipe.ipynb")
    (tmp_path / "class" / "loop").symlink_to(tmp_path / "class")
    (tmp_path / "class" / "nowhere.ipynb").symlink_to("gone")
    assert names(tmp_path / "class") == {"ada": "run", "loop": "not read", "nowhere": "not read", "pipe": "not read"}
    said = reasons(read_all(tmp_path / "class"))
    assert said == {
        "pipe.ipynb": "it is no ordinary file, and was not opened",
        "loop": "it is a link, and was not followed",
        "nowhere.ipynb": "it is a link, and was not followed",
    }
    bad_input("a link among what was handed in", f"loop: {said['loop']}")


@pytest.mark.skipif(sys.platform == "win32", reason="rights are others there")
def test_what_may_not_be_read_is_named_in_words(tmp_path, monkeypatch):
    fill(tmp_path, {"ada.ipynb": BARE, "eve/02.ipynb": BARE, "dan.ipynb": BARE})
    listed, taken = os.scandir, found._take_file

    def scandir(path):
        if Path(path).name == "eve":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    def take(path, n):
        if "dan" in path:
            raise OSError(5, "Input/output error")
        return taken(path, n)

    monkeypatch.setattr(found.os, "scandir", scandir)
    monkeypatch.setattr(found, "_take_file", take)
    assert names(tmp_path) == {"ada": "run", "dan": "not read", "eve": "not read"}
    assert reasons(read_all(tmp_path)) == {
        "eve": "it cannot be opened (permission denied)", "dan.ipynb": "it cannot be opened (input/output error)",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"eve: it cannot be opened \(permission denied\)"):
        grade(tmp_path / "eve")


# --- archives ---------------------------------------------------------------------------------------------------------


def test_whose_an_archive_is(tmp_path):
    deep = zipped({"notebooks/02.ipynb": BARE, "__MACOSX/x": ""})
    fill(
        tmp_path,
        {
            "ada.zip": zipped({"02.ipynb": BARE, "03.ipynb": BARE}),
            "bob.zip": deep,
            "carl/hand-in.zip": deep,
            "class.zip": zipped({"dan/02.ipynb": BARE, "eve.zip": deep, "fay/report.pdf": ""}),
            "gil.zip": zipped({"gil.zip": zipped({"gil/02.ipynb": BARE})}),
            "hal.zip": zipped({"a/02.ipynb": BARE, "b/03.ipynb": BARE}),
            "ida/a.zip": deep,
            "ida/b.zip": deep,
            "submission": zipped({"02.ipynb": BARE}),
            "ida/c.npz": deep,
        },
    )
    assert names(tmp_path) == dict.fromkeys(
        ["ada", "bob", "carl", "class/dan", "class/eve", "gil", "hal/a", "hal/b", "ida/a", "ida/b", "submission"], "run"
    ) | {"class/fay": "not read", "ida/c.npz": "not read"}  # it may be of either of Ida's, or of neither
    assert sorted(counts(read_all(tmp_path)).values())[:2] == [".npz", "in __MACOSX"]


LOOSE = {"cy.pdf": "%PDF", "di.ipynb": "", "ed.png": "x"}
ADA, BOB = {"ada/02.ipynb": BARE}, {"bob/02.ipynb": BARE}
THREE = {"ada": "run", "bob": "run", "eve": "run", "ed": "not read"}
EXPORTS = {"ada.json": export_of("ada"), "bob.json": export_of("bob")}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("inner", "beside", "shown"),
    [
        (ADA | BOB, {}, {"ada": "run", "bob": "run", "ed": "not read"}),
        (ADA | BOB, {"zoe.ipynb": BARE}, {"ada": "run", "bob": "run", "ed": "not read"}),
        (ADA, {}, {"ada": "run", "ed": "not read"}),
        (ADA, {"zoe.ipynb": BARE}, {"ada": "run"}),  # the picture may be Ada's
        (ADA | BOB | {"eve.ipynb": BARE, "eve.html": "<p>"}, {}, THREE),
        (ADA | BOB | {"eve.py": CALL}, {"zoe.ipynb": BARE}, THREE),
        ({"ada/02.py": CALL, "bob/02.py": CALL}, {}, {"ada": "run", "bob": "run", "ed": "not read"}),
        (ADA | BOB | {"ada.pdf": "", "bob/notes.pdf": ""}, {}, {"ada": "run", "bob": "run", "ed": "not read"}),
        ({"1/ada/02.ipynb": BARE, "2/bob/02.ipynb": BARE}, {}, {"1/ada": "run", "2/bob": "run", "ed": "not read"}),
    ],
)  # fmt: skip
def test_what_lies_loose_in_a_wrapping_folder_is_nobody_elses(inner, beside, shown, packed, tmp_path):
    if packed:
        fill(tmp_path, beside | {"class.zip": zipped(inner | LOOSE | {"../../fay.ipynb": BARE})})
        shown = shown | {"fay": "not read"}
    else:
        fill(tmp_path, beside | {f"class/{name}": content for name, content in (inner | LOOSE).items()})
    expected = {f"class/{name}": source for name, source in ({"cy": "not read", "di": "not read"} | shown).items()}
    assert names(tmp_path) == expected | ({"zoe": "run"} if beside else {})
    charged = {given.file.name for student in students(tmp_path) if student.notebooks for given in student.unread}
    assert charged <= {"ada.pdf", "notes.pdf"}


def test_exports_in_a_wrapping_folder_share_no_files(tmp_path):
    fill(tmp_path, {f"class/{name}": content for name, content in (EXPORTS | LOOSE | ADA).items()})
    assert names(tmp_path) == {"class/ada": "run, claimed", "bob": "claimed"} | dict.fromkeys(
        ["class/cy", "class/di", "class/ed"], "not read"
    )
    assert [[given.file.name for given in student.unread] for student in students(tmp_path)] == [
        *[[], []], *[["cy.pdf"], ["di.ipynb"], []],
    ]  # fmt: skip


def test_what_lies_beside_a_students_folder_of_notebooks_is_counted(tmp_path):
    progress_file = '{"version": 1, "exercises": {}}'
    files = {"nb/02.ipynb": BARE, "README.md": "", "helpers.py": "x = 1", "x.csv": "", progress.FILE: progress_file}
    fill(tmp_path, {"bob.ipynb": BARE, **{f"ada/{name}": content for name, content in files.items()}})
    assert names(tmp_path) == {"ada/nb": "run", "bob": "run"}


@pytest.mark.parametrize("seed", ["0", "3"])
def test_whose_a_file_is_does_not_hang_on_the_order_of_sets(seed, tmp_path):
    fill(tmp_path, {f"class/{name}": content for name, content in (ADA | BOB | LOOSE).items()})
    code = "import sys; from pathlib import Path; from tests.test_faults_uncounted import students; "
    code += "print(*((s.name, *(u.file.name for u in s.unread)) for s in students(Path(sys.argv[1]))), sep='; ')"
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.stdout.strip().split("; ") == [
        "('class/ada',)", "('class/bob',)", "('class/cy', 'cy.pdf')", "('class/di', 'di.ipynb')", "('class/ed',)",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["folder", "zip in it", "zip", "wrapped"])
def test_learning_platforms_name_students(how, tmp_path):
    files = {
        "Ada Lovelace_12345_assignsubmission_file_/02_x.ipynb": BARE,
        "Ada Lovelace_12345_assignsubmission_file_/src/03.ipynb": BARE,
        "Ada Lovelace_999_assignsubmission_file_/02_x.ipynb": BARE,  # another Ada
        "José_1_assignsubmission_file/hand-in.zip": zipped({"deep/er/02.ipynb": BARE}),
        "Bob_7_assignsubmission_onlinetext_/onlinetext.html": "<p>see above",
        "Carl_8_assignsubmission_file_02_x.ipynb": BARE,
        "lovelaceada_LATE_12345_678_02_x.ipynb": BARE,
        "lovelaceada_12345_679_03_y.ipynb": BARE,
        "zuse_98765_680_report.pdf": "",
        "Lab 2_turinga_attempt_2026-11-02-10-11-12_02_x.ipynb": BARE,
        "Lab 2_turinga_attempt_2026-11-02-10-11-12.txt": "Name: Alan",
    }
    folder = tmp_path / "class"
    if how == "folder":
        fill(folder, files)
    elif how == "zip in it":
        fill(folder, {"download.zip": zipped(files)})
    else:
        files = (
            {f"class/{name}": content for name, content in files.items() if "/" in name} if how == "wrapped" else files
        )
        folder = fill(tmp_path, {"class.zip": zipped(files)}) / "class.zip"
    shown = names(folder)
    adas = [name for name in shown if name.startswith("Ada Lovelace [")]
    assert len(adas) == 2
    flat = {"Carl": "run", "lovelaceada": "run", "turinga": "run", "zuse": "not read"} if how != "wrapped" else {}
    assert {k: v for k, v in shown.items() if k not in adas} == {"José": "run", "Bob": "not read"} | flat


@pytest.mark.parametrize("name", ["lab_20261101_1234_ada.ipynb", "02_1_2_x.ipynb", "work_2026_001_x.ipynb"])
def test_a_name_that_only_looks_like_a_platforms_is_kept(name, tmp_path):
    inner = {"ada/run_12345_678_x.ipynb": BARE, "ada/run_12345_678_x/y.ipynb": BARE}
    assert names(fill(tmp_path, {name: BARE, **inner})) == dict.fromkeys(
        [name[:-6], "ada", "ada/run_12345_678_x"], "run"
    )


@pytest.mark.parametrize(
    ("member", "options", "says"),
    [
        ("../../evil.ipynb", {}, "its path leads out of the archive"),
        ("/etc/evil.ipynb", {}, "its path leads out of the archive"),
        ("C:\\evil.ipynb", {}, "its path leads out of the archive"),
        ("a/../../evil.ipynb", {}, "its path leads out of the archive"),
        ("evil.ipynb", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "it is a link"),
        ("evil.ipynb", {"external_attr": (stat.S_IFIFO | 0o777) << 16}, "no ordinary file"),
        ("/".join("x" * 200) + "/evil.ipynb", {}, "more than 100 folders"),
    ],
)
def test_a_member_that_should_not_be_opened_is_named(member, options, says, tmp_path):
    folder = fill(tmp_path / "in", {"ada.zip": zipped({member: BARE}, **options), "bob.ipynb": BARE})
    given = read_all(folder)
    assert [notebook.file.name for notebook in given.notebooks] == ["bob.ipynb"]
    (reason,) = reasons(given).values()
    assert says in reason
    assert set(names(folder)) >= {"bob"}
    assert [name for name, source in names(folder).items() if source == "not read" and name.startswith("ada")]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["ada.zip", "bob.ipynb", "in"]  # nothing was written


def encrypted(content: bytes) -> bytes:
    """Return an archive whose only member says that it is encrypted."""
    made = bytearray(zipped({"02.ipynb": content}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[made.index(signature) + place] |= 1
    return bytes(made)


def test_encrypted_damaged_and_swollen_archives_are_named(tmp_path, monkeypatch, bad_input):
    whole = zipped({"02.ipynb": BARE * 3})
    bad_crc = bytearray(whole)
    bad_crc[whole.index(b"02.ipynb") + 30] ^= 0xFF
    unusual = bytearray(whole)
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        unusual[unusual.index(signature) + place] = 9  # deflate64, as Windows packs large files
    inner = zipped({"02.ipynb": BARE})
    for _ in range(4):
        inner = zipped({"x.zip": inner})
    monkeypatch.setattr(found, "MEMBERS", 50)
    files = {
        "encrypted": encrypted(BARE), "cut": whole[:-40], "damaged": bytes(bad_crc), "unusual": bytes(unusual),
        "deep": inner,
        "bomb": zipped({"02.ipynb": b"{" + b" " * 2**25}), "many": zipped({f"{k}.ipynb": "" for k in range(51)}),
        "empty": b"", "rar": b"Rar!\x1a\x07\x00", "text": b"hello",
    }  # fmt: skip
    fill(tmp_path, {f"{name}.zip": content for name, content in files.items()} | {"ok.zip": zipped({"ok.ipynb": BARE})})
    assert names(tmp_path) == dict.fromkeys(sorted(files), "not read") | {"ok": "run"}
    said = {Path(name).parts[0][:-4]: reason for name, reason in reasons(read_all(tmp_path)).items()}
    expected = {
        "encrypted": "it is encrypted; ask for it without", "cut": "no zip archive, or is damaged or cut off",
        "damaged": "damaged in its archive", "unusual": "packed in an unusual way", "deep": "it lies in 3 archives",
        "bomb": "times its size (32 MiB), and was not opened", "many": "it holds 51 files; at most 50",
        "empty": "it is empty (0 bytes)", "rar": "no zip archive", "text": "no zip archive",
    }  # fmt: skip
    assert {name: words in said[name] for name, words in expected.items()} == dict.fromkeys(expected, True), said
    bad_input("an encrypted .zip, in `csd-edu grade`", f"encrypted.zip/02.ipynb: {said['encrypted']}")


def test_an_archive_may_give_only_so_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(found, "UNPACKED", 1000)
    members = {f"{k}.ipynb": notebook_of("x = 1" + "#" * 900) for k in range(4)}
    given = read_all(fill(tmp_path, {"ada.zip": zipped(members)}))
    assert (len(given.notebooks), len(given.unread)) == (1, 3)
    assert all("were read from its archive before it" in reason for reason in reasons(given).values())
    monkeypatch.setattr(found, "CONTENTS", 100)
    assert "table of contents" in reasons(read_all(tmp_path))["ada.zip"]


def test_names_in_archives(tmp_path):
    def unicode_path(name: str, raw: bytes) -> bytes:
        body = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
        return struct.pack("<HH", 0x7075, len(body)) + body

    named = zipped({"Jos_/02.ipynb": BARE}, extra=unicode_path("José/02.ipynb", b"Jos_/02.ipynb"))  # type: ignore[arg-type]
    stale = zipped({"Kim/02.ipynb": BARE}, extra=unicode_path("Other/02.ipynb", b"other"))  # type: ignore[arg-type]
    utf8 = zipped({"Zo#e/02.ipynb": BARE}).replace(b"Zo#e", "Zoë".encode())  # UTF-8 that is not said to be that
    cp437 = zipped({"Zo#/02.ipynb": BARE}).replace(b"Zo#", "Zoë".encode("cp437"))
    files = {
        "a": named, "b": stale, "c": utf8, "d": cp437, "e": zipped({"Eve\\lab\\02.ipynb": BARE}),
    }  # fmt: skip
    read = [n.file.as_posix() for n in read_all(fill(tmp_path, {f"{k}.zip": v for k, v in files.items()})).notebooks]
    assert read == ["a.zip/José/02.ipynb", "b.zip/Kim/02.ipynb", "c.zip/Zoë/02.ipynb", "d.zip/Zoë/02.ipynb",
                    "e.zip/Eve/lab/02.ipynb"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "coding", "read"),
    [("Иван Ёж", "cp866", "Иван Ёж"), ("Петров_7", "cp866", "Петров_7"), ("José", "cp437", "José"),
     ("Großmann", "cp437", "Großmann"), ("Æ", "cp437", "Æ"), ("Ådøl", "cp850", None), ("山田", "cp932", None)],
)  # fmt: skip
def test_names_in_archives_that_tell_no_coding(name, coding, read, tmp_path):
    raw = name.encode(coding)
    packed = zipped({f"{'#' * len(raw)}/02.ipynb": BARE, "plain.txt": ""}).replace(b"#" * len(raw), raw)
    given = read_all(fill(tmp_path, {"a.zip": packed, "b.zip": zipped({"Zoë/02.ipynb": BARE})}))
    assert counts(given)["a.zip"] == "opened as archives (names in a coding that they don't tell)"
    assert counts(given)["b.zip"] == "opened as archives"
    if read is not None:
        assert f"a.zip/{read}/02.ipynb" in [notebook.file.as_posix() for notebook in given.notebooks]


@pytest.mark.parametrize("ending", [".py", ".md", ".csv", ".png"])
def test_the_last_ending_says_what_a_file_is(ending, tmp_path):
    given = read_all(fill(tmp_path, {"ada/02.ipynb": BARE, f"ada/answer.ipynb{ending}": "def search(): pass"}))
    assert (given.unread, counts(given)) == ([], {f"ada/answer.ipynb{ending}": ending})


def test_a_file_without_an_ending_is_told_in_whole_sentences(tmp_path):
    fill(tmp_path, {"ada.ipynb": BARE, "bob/work": "x", "cy/work": "x", "cy/photo.png": ""})
    told = {row.student: row.notes[0].partition(":")[0] for row in grade(tmp_path).rows if row.notes}
    assert told["bob"] == "handed in without an ending"
    assert told["cy"] == "handed in as .png and without an ending"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_both_read(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("02.ipynb", "02.ipynb", "02.IPYNB"):
            archive.writestr(name, BARE)
    fill(tmp_path, {"ada.zip": buffer.getvalue()})
    assert len({notebook.file.as_posix().casefold() for notebook in read_all(tmp_path).notebooks}) == 3


def test_an_archive_in_place_of_the_folder(tmp_path, capsys, bad_input):
    files = {"ada/02.ipynb": BARE, "bob.zip": zipped({"02.ipynb": BARE}), "eve.pdf": ""}
    fill(
        tmp_path,
        {"class.zip": zipped(files), "bad.zip": zipped(files)[:100], "one.zip": zipped({"ada/02.ipynb": BARE})},
    )
    fill(
        tmp_path,
        {"wrapped.zip": zipped({f"class/{k}": v for k, v in files.items()}), "none.zip": zipped({"a.pdf": ""})},
    )
    assert names(tmp_path / "class.zip") == {"ada": "run", "bob": "run", "eve": "not read"}
    assert names(tmp_path / "one.zip") == {"ada": "run"}
    assert cli.main(["grade", str(tmp_path / "class.zip")]) == 0
    assert "eve: handed in as .pdf" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"bad\.zip: it is no zip archive, or is damaged or cut off") as caught:
        grade(tmp_path / "bad.zip")
    bad_input("`csd-edu grade` of a .zip that is cut off", caught.value)
    with pytest.raises(ValueError, match=r"to grade in .*none\.zip\n  a\.pdf: handed in as \.pdf"):
        grade(tmp_path / "none.zip")


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_compare_as_a_person_sees_them(tmp_path):
    fill(tmp_path, {f"{NFD}/02.ipynb": BARE, "export.json": export_of("José")})
    assert names(tmp_path) == {"José": "run, claimed"}
    fill(tmp_path, {f"{NFD}.pdf": ""})
    assert names(tmp_path) == {"José": "run, claimed"}
    assert Owner().below(NFD) == Owner().below("José")
    (student,) = by_student([Export(Path("e.json"), "JOSÉ", {})], [Notebook(Path(NFD) / "02.ipynb", ())])
    assert (student.name, student.export is not None) == ("José", True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_any_bytes_come_out_in_every_format(tmp_path):
    odd = [b"Zo\xeb.ipynb", b"Zo\xec.ipynb", b"a\x1b[2J\n.ipynb", "\u202egnp.ipynb".encode(), "👩‍🔬".encode() + b".pdf",
           b"x" * 240 + b".ipynb", b"=1+1.ipynb", b"\xff\xfe.zip", "＝1.ipynb".encode()]  # fmt: skip
    for name in odd:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(BARE if b"ipynb" in name else b"")
    for k in (b"\xeb", b"\xec"):
        folder = os.fsencode(tmp_path) + b"/Mia\xe9" + k
        os.mkdir(folder)
        for name in (b"/1\xe9.ipynb", b"/2\xe9.ipynb", b"/x\xe9.html"):
            Path(os.fsdecode(folder + name)).write_bytes(BARE)
    table = grade(tmp_path)
    assert len({row.student for row in table.rows}) == len(table.rows) == len(odd) + 2
    for text in (tables.as_text(table), tables.as_csv(table), tables.as_html(table)):
        assert "\udceb" not in text.encode("utf-8").decode()
        assert "\x1b" not in text
        assert "\u202e" not in text
    for name in ("t.csv", "t.html"):
        tables.write(table, tmp_path / name)
    assert all(printable(row.student, 300) == row.student for row in table.rows)


def test_a_csv_opens_with_the_right_letters_and_without_formulas(tmp_path):
    rows = tuple(
        Row(name, "run", {"a": Mark(Result("passed"))}) for name in ("Zoë 李", "＝1+1", "＋1", "－1", "＠x", "\n=1")
    )
    path = tables.write(Table({"a": ""}, rows, (), ""), tmp_path / "class.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbfstudent,")
    read = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert [row["student"][:1] for row in read] == ["Z", "'", "'", "'", "'", "'"]
    assert not (tmp_path / "x.html").exists()
    page = tables.write(Table({"a": ""}, rows, (), ""), tmp_path / "x.html").read_bytes()
    assert page.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "cp437", "utf-16", None])
def test_what_cannot_be_shown_has_another_sign(encoding):
    marks = {
        "a": Mark(Result("passed")),
        "b": Mark(Result("tried")),
        "c": Mark(Result("untried")),
        "d": Mark(Result("failed")),
    }
    text = tables.as_text(Table(dict.fromkeys(marks, ""), (Row("Zoë", "run", marks),), (), ""))
    signs = (
        tables.shown_in(text, encoding)
        .encode(encoding or "utf-8", "replace")
        .decode(encoding or "utf-8")
        .splitlines()[1]
    )
    assert len({*signs.split()[1:5]}) == 4
    assert ("✓" in signs) is (encoding in ("utf-8", "utf-16", None))


def test_the_row_of_who_is_not_read_is_seen_on_the_page(tmp_path):
    fill(tmp_path, {"ada.ipynb": BARE, "eve.html": "<p>", "ada.zip": zipped({"x.pdf": ""})})
    table = grade(tmp_path)
    page = tables.as_html(table)
    assert "<td class='not' title='handed in as .html: can&#x27;t be read;" in page
    assert page.count("class='not'") == 1
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(tables.as_csv(table)))}
    assert rows["eve"]["from"] == "not read"
    assert rows["eve"]["notes"].startswith("handed in as .html: can't be read")
    assert "ada.zip/x.pdf: handed in as .pdf" in rows["ada"]["notes"]  # beside what was read


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0, 1e9])
def test_seconds_have_a_range(seconds, tmp_path):
    with pytest.raises(ValueError, match=r"seconds is .*; expected more than 0 and at most 86400"):
        grade(fill(tmp_path, {"a.ipynb": BARE}), seconds=seconds)


def test_nothing_to_grade_says_what_was_found(tmp_path, bad_input):
    fill(tmp_path, {f"s{k}.html": "" for k in range(7)} | {"a.csv": "", "b.csv": "", ".DS_Store": ""})
    with pytest.raises(ValueError, match=r"no notebook \(\.ipynb\) to grade in .*\n  s0\.html: handed in as") as caught:
        grade(tmp_path)
    assert "\n  and of those that can't be read: 2 .html\n  left out: 2 .csv, 1 hidden" in str(caught.value)
    for k in range(1, 7):
        (tmp_path / f"s{k}.html").unlink()
    with pytest.raises(ValueError, match="no notebook") as caught:
        grade(tmp_path)
    bad_input("a folder with nothing that can be graded", caught.value)


def test_a_notebook_without_exercises_says_so(tmp_path, bad_input):
    (row,) = grade(fill(tmp_path, {"ada/other.ipynb": BARE})).rows
    assert row.notes == ("no exercise in ada/other.ipynb",)
    bad_input("a notebook of something else", row.notes[0])


def test_the_table_is_shown_before_it_is_written(tmp_path, capsys, monkeypatch):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "write_atomically", fails)
    folder = fill(tmp_path / "in", {"a.json": export_of("Ada", search=True)})
    assert cli.main(["grade", str(folder), "--out", str(tmp_path / "class.csv")]) == cli.EXIT_FAILED
    told = capsys.readouterr()
    assert "Ada" in told.out
    assert "No space left" in told.err


def test_a_place_with_too_long_a_name_is_said_in_words(tmp_path):
    folder = fill(tmp_path / "in", {"a.ipynb": BARE})
    for call in (lambda name: grade(folder / name), lambda name: tables.check_output(folder / f"{name}.csv")):
        with pytest.raises(
            ValueError, match=r"does not exist|there is no folder|cannot be opened \(file name too long\)"
        ):
            call("x" * 300 + "/y")


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such rights there")
def test_a_place_that_cannot_be_written_is_said_before_anything_is_run(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o555)
    folder = fill(tmp_path / "in", {"a.ipynb": BARE})
    arguments = ["grade", str(folder), "--out", str(tmp_path / "locked" / "class.csv")]
    assert cli.main(arguments) == cli.EXIT_MISTAKE
    told = capsys.readouterr()
    assert (told.out, "locked is read-only" in told.err) == ("", True)


@pytest.mark.campaign
def test_notebooks_of_all_wrappings_are_run(tmp_path):
    script = f"# %%\n{IMPORTS}\n\n# %%\n{RIGHT}\n\n# %%\n{CALL}\n"
    fill(tmp_path, {"ada.zip": zipped({"02.ipynb.txt": NOTEBOOK}), "bob.py": script, "eve.ipynb (1)": NOTEBOOK})
    rows = grade(tmp_path).rows
    assert [(row.student, row.marks["temperature_softmax"].result.state) for row in rows] == [
        ("ada", "passed"), ("bob", "passed"), ("eve", "passed"),
    ]  # fmt: skip
