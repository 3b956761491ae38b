"""D. The system says no with another word than the one foreseen.

What is optional, such as a lock, a cache or a UMAP, never stops the main work: it is said that it is missing. All other
errors of the system name the file and what to do.
"""

from __future__ import annotations

import errno
import importlib.abc
import importlib.metadata
import io
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import csd_edu as csd
from csd_edu import (
    cli,
    data,
    files,
    folders,
    grade,
    images,
    maps,
    optional,
    output,
    runtime,
    start,
    stills,
    sweep,
    system,
    tuning,
)
from csd_edu.check import progress
from csd_edu.grade import isolation
from csd_edu.grade.submissions import Notebook
from csd_edu.report import fit_maps, write_report
from csd_edu.sweep import After, Job, SweepError
from csd_edu.widgets.drift import DriftExplorer
from tests.conftest import TINY, need, striped
from tests.test_grade import notebook_of

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TINY.replace(epochs=1, later_epochs=1)
fcntl = files.fcntl


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=2, seed=0)


@pytest.fixture(scope="module")
def learnt(stream, tmp_path_factory) -> csd.Run:
    out = tmp_path_factory.mktemp("learnt") / "csd"
    return csd.train(stream, csd.methods.csd, CONFIG, out=out, progress=False)


def refusing(number: int, *, times: int = 10**6, then=None, name: str | None = None):
    """Return a function that the system refuses so many times, and then does what it should."""
    left = [times]

    def call(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), *([name] if name else []))
        return then(*args, **kwargs)

    return call


class Failing(importlib.abc.MetaPathFinder):
    """Makes the import of a module fail as often as there are errors, and then gives what stands for it."""

    def __init__(self, name: str, errors: list[BaseException], instead: ModuleType | None = None) -> None:
        self.name, self.errors, self.instead = name, errors, instead

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def create_module(self, spec):
        if self.errors:
            raise self.errors.pop(0)
        return self.instead

    def exec_module(self, module):
        pass


def fail_to_import(monkeypatch, name: str, *errors: BaseException, instead: ModuleType | None = None) -> None:
    for loaded in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Failing(name, list(errors), instead), *sys.meta_path])


# ---------------------------------------------------------------------- errors in words


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "ESTALE", "EMFILE", "ELOOP", "EBUSY"])
def test_an_error_names_the_file_and_what_to_do(name, tmp_path):
    number = getattr(errno, name)
    raw = OSError(number, os.strerror(number))
    with pytest.raises(type(raw)) as caught, system.worded(tmp_path / "file"):
        raise raw
    assert str(caught.value) == f"{tmp_path / 'file'}: {os.strerror(number)}; {system.ADVICE[number]}"
    assert caught.value.errno == number
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(type(raw), match=os.strerror(number)) as again, system.worded("another"):
        raise caught.value
    assert again.value is caught.value


def test_errors_of_two_files_of_none_and_of_other_kinds():
    assert system.words(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")).startswith(
        "a and b: Invalid"
    )
    assert system.words(OSError(errno.EINVAL, "Invalid argument")) == "Invalid argument"
    assert system.words(OSError(errno.EINVAL, "Invalid argument", b"a")) == "a: Invalid argument"
    assert system.words(ConnectionError("no network")) == "no network"
    assert system.words(ValueError("x is 3")) == "x is 3"
    assert system.words(MemoryError()) == "MemoryError"


def test_a_full_disk(tmp_path, monkeypatch, bad_input):
    files.write_atomically(tmp_path / "metrics.json", b"old")
    monkeypatch.setattr(os, "fsync", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="what was saved before is whole") as caught:
        files.write_atomically(tmp_path / "metrics.json", b"new")
    assert (tmp_path / "metrics.json").read_bytes() == b"old"
    bad_input("a disk that is full while a run is saved", caught.value)


def test_what_fails_while_tidying_up_hides_nothing_and_spoils_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "unlink", refusing(errno.EACCES))
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    files.make_folder(tmp_path)
    monkeypatch.setattr(os, "replace", refusing(errno.EDQUOT))
    with pytest.raises(OSError, match="your share of the disk is used up"):
        files.write_atomically(tmp_path / "file", b"newer")


@pytest.mark.parametrize("name", ["EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"])
def test_a_disk_without_fsync_is_written_all_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refusing(getattr(errno, name)))
    with pytest.warns(UserWarning, match="knows no fsync"):
        files.write_json(tmp_path / "file.json", {"a": 1})
    assert json.loads((tmp_path / "file.json").read_text()) == {"a": 1}


def test_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", refusing(errno.EBUSY, times=2, then=os.replace))
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    monkeypatch.setattr(os, "replace", refusing(errno.EBUSY))
    with pytest.raises(OSError, match="another program uses it"):
        files.write_atomically(tmp_path / "file", b"newer")


def test_a_long_name_is_no_longer_while_it_is_written(tmp_path):
    path = tmp_path / ("é" * 120 + ".json")  # 245 bytes of the 255 that a name may have
    files.write_json(path, {})
    assert json.loads(path.read_text()) == {}
    with pytest.raises(OSError, match=r"File name too long.*choose a shorter name"):
        files.write_json(tmp_path / ("a" * 300), {})


def test_tensors_need_no_memory_map(tmp_path, monkeypatch):
    import safetensors

    monkeypatch.setattr(safetensors, "safe_open", refusing(errno.ENODEV))
    tensors = {"a": torch.arange(3), "b": torch.tensor(True), "c": torch.zeros(0, 2)}
    files.write_tensors(tmp_path / "t", tensors, {"note": 1})
    found, about = files.read_tensors(tmp_path / "t")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert about == {"note": 1}


def test_a_folder_where_a_file_is_expected(tmp_path):
    (tmp_path / "t").mkdir()
    with pytest.raises(ValueError, match=r"/t is a folder, and no file; delete it"):
        files.read_tensors(tmp_path / "t")
    with pytest.raises(IsADirectoryError, match=r"could not save .*/t \(Is a directory\): expected a file there"):
        files.write_atomically(tmp_path / "t", b"")
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"config\.json is a folder, and no file"):
        csd.Run.load(tmp_path / "run")


# ---------------------------------------------------------------------- where to save


def place(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return {
        "below a file": tmp_path / "file" / "a" / "b",
        "that is a link to nowhere": tmp_path / "dangling",
        "below a link to itself": tmp_path / "loop" / "run",
        "below /proc": Path("/proc/csd_edu/run"),
        "too long": tmp_path / ("a" * 300),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("below a file", NotADirectoryError, "/file is a file; expected a folder to save into"),
        ("that is a link to nowhere", NotADirectoryError, "/dangling is a link that leads nowhere; expected a folder"),
        ("below a link to itself", NotADirectoryError, "/loop is a link that leads nowhere; expected a folder"),
        ("below /proc", PermissionError, "/proc/csd_edu/run can't be made, since /proc is read-only"),
        ("too long", OSError, "File name too long; choose a shorter name"),
    ],
)
def test_a_place_where_no_run_can_be_saved(kind, error, message, stream, tmp_path, bad_input):
    out = place(tmp_path, kind)
    need(kind != "below /proc" or Path("/proc").is_dir(), "there is no /proc")
    with pytest.raises(error, match=message) as caught:
        csd.train(stream, csd.methods.csd, CONFIG, out=out, progress=False)
    if kind != "too long":
        assert not files.is_writable(out)
        bad_input(f"`out` is a path {kind}", caught.value)


def test_a_drive_that_is_not_there_is_not_looked_for_for_ever(monkeypatch):
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(FileNotFoundError, match="there is no drive or folder /"):
        files.check_writable(Path("/z/runs"))
    assert not files.is_writable(Path("/z/runs"))


def test_a_folder_that_only_seems_to_be_writable(stream, tmp_path, monkeypatch, bad_input):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(Path, "touch", refusing(errno.EROFS))
    with pytest.raises(OSError, match=r"/run: Read-only file system; that disk is read-only") as caught:
        csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False)
    assert list((tmp_path / "run").iterdir()) == []
    bad_input("`out` is on a disk that was made read-only", caught.value)


@pytest.fixture
def deleted(tmp_path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
    except OSError:
        need(False, "this system keeps a folder that is in use")


@pytest.mark.usefixtures("deleted")
def test_a_working_folder_that_was_deleted(stream, tmp_path, monkeypatch, bad_input):
    told = "the working folder was deleted; change to another one"
    with pytest.raises(FileNotFoundError, match=told) as caught:
        csd.train(stream, csd.methods.csd, CONFIG, out="run", progress=False)
    with pytest.raises(FileNotFoundError, match=told):
        csd.load("pictures/mine")
    with pytest.raises(FileNotFoundError, match=told):  # torch needs one as well
        csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False)
    monkeypatch.delenv("CSD_EDU_PROGRESS", raising=False)
    assert "The progress is not saved in csd_edu-progress.json" in progress.record_attempt("csd", True, None)
    monkeypatch.setenv("CSD_EDU_DATA", "data")
    with pytest.raises(FileNotFoundError, match=told):
        data.data_folders()
    monkeypatch.chdir(tmp_path)
    bad_input("the working folder was deleted, and `out` is below it", caught.value)


@pytest.mark.usefixtures("deleted")
def test_a_program_that_begins_in_a_folder_that_was_deleted():
    program = [sys.executable, "-c", "import csd_edu; csd_edu.load"]
    environment = os.environ | {"PYTHONPATH": str(Path(csd.__file__).parents[1])}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stderr.splitlines()[-1].startswith("FileNotFoundError: the working folder was deleted; change to")


def test_no_folder_for_what_is_temporary(stream, monkeypatch, bad_input):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(FileNotFoundError, match="give out=, a folder to save the run in") as caught:
        csd.train(stream, csd.methods.csd, CONFIG, progress=False)
    bad_input("no `out`, and no folder for temporary files", caught.value)
    with (
        pytest.raises(FileNotFoundError, match="No usable temporary directory") as caught,
        data._downloading("cifar100"),
    ):
        pass
    assert system.words(caught.value).endswith(
        "; name a folder that can be written to in the environment variable TMPDIR"
    )
    assert stills._folders() == [str(stills.ROOT)]


@pytest.mark.slow
def test_training_takes_no_folder_for_what_is_temporary(tmp_path):
    csd.data.save(striped(), tmp_path / "striped.npz")
    program = "import sys, tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']; from csd_edu import cli; "
    command = "train --dataset striped.npz --tasks 2 --epochs 1 --later-epochs 1 --per-class all --out r"
    environment = os.environ | {"PYTHONPATH": str(Path(csd.__file__).parents[1])}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", f"{program}sys.exit(cli.main())", *command.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert csd.Run.load(tmp_path / "r").finished


def test_a_folder_with_other_things_than_files_is_copied(tmp_path):
    (tmp_path / "from" / "folder").mkdir(parents=True)
    (tmp_path / "from" / "file").write_text("content")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "from" / "pipe")
    with files.copied(tmp_path / "from", tmp_path / "to"):
        pass
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file"]


# ---------------------------------------------------------------------- notebooks of a class


@pytest.fixture
def a_class(tmp_path, monkeypatch) -> Path:
    """Three notebooks that take no torch; the first is refused something once."""
    monkeypatch.setattr(isolation, "_namespaces", tuple)
    for name in ("ada", "bob", "cy"):
        (tmp_path / "class").mkdir(exist_ok=True)
        (tmp_path / "class" / f"{name}.ipynb").write_text(notebook_of("x = 1"))
    return tmp_path / "class"


REFUSED = {
    "a process": (isolation.subprocess, "Popen", errno.EAGAIN),
    "memory for a process": (isolation.subprocess, "Popen", errno.ENOMEM),
    "room for its folder": (isolation.tempfile, "mkdtemp", errno.ENOSPC),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_for_one_notebook_costs_the_others_nothing(what, a_class, monkeypatch, capsys, bad_input):
    module, function, number = REFUSED[what]
    monkeypatch.setattr(module, function, refusing(number, times=1, then=getattr(module, function)))
    out = a_class.parent / "class.csv"
    assert cli.main(["grade", str(a_class), "--jobs", "1", "--out", str(out)]) == 0
    told = [line.strip() for line in capsys.readouterr().out.splitlines() if "could not be run: " in line]
    assert [line.partition(":")[0] for line in told] == ["ada.ipynb"]
    assert [line.partition(",")[0] for line in out.read_text("utf-8-sig").splitlines()] == [
        "student",
        "ada",
        "bob",
        "cy",
    ]
    bad_input(f"`csd-edu grade`, and the system refuses {what} for a notebook", told[0])


def test_a_thread_that_cannot_be_had_costs_one_notebook(a_class, monkeypatch):
    def refused(_):
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(isolation.threading.Thread, "start", refused)  # of those that share the notebooks
    table = grade.grade(a_class, jobs=2)
    assert ([row.student for row in table.rows], table.unread) == (["ada", "bob", "cy"], ())
    monkeypatch.setattr(isolation, "_Tail", lambda _: refused(None))
    assert [given.reason for given in grade.grade(a_class, jobs=1).unread] == [
        "could not be run: can't start new thread"
    ]


@pytest.mark.parametrize("program", ["", None])
def test_a_python_that_does_not_know_its_own_program_tables_a_class(program, a_class, monkeypatch, bad_input):
    monkeypatch.setattr(sys, "executable", program)
    reasons = {given.reason for given in grade.grade(a_class).unread}
    assert len(reasons) == 1
    bad_input("`csd-edu grade` in a Python that doesn't know its own program", reasons.pop())


def test_a_folder_that_cannot_be_removed_costs_no_results(a_class, monkeypatch):
    monkeypatch.setattr(isolation.tempfile.TemporaryDirectory, "cleanup", refusing(errno.EBUSY))
    assert grade.grade(a_class).unread == ()


def test_exercises_that_were_found_are_not_untried_where_the_next_process_is_refused(monkeypatch):
    def run(session, _, settled, *__):
        if settled:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        session.found, session.begun, session.ended = ["csd", "push"], "csd", "it ended"

    monkeypatch.setattr(isolation, "_run", run)
    results = isolation.run_notebook(Notebook(Path("x.ipynb"), ())).results
    assert {name: (result.state, result.message.partition(";")[0]) for name, result in results.items()} == {
        "push": ("failed", os.strerror(errno.EAGAIN)), "csd": ("failed", "it ended"),
    }  # fmt: skip


def test_one_refusal_leaves_no_class_without_its_limits(monkeypatch):
    namespaces = isolation._namespaces()
    isolation._namespaces.cache_clear()
    need(bool(namespaces), "no namespaces here")
    monkeypatch.setattr(isolation.subprocess, "run", refusing(errno.EAGAIN, times=1, then=subprocess.run))
    with pytest.raises(BlockingIOError):
        isolation._namespaces()
    assert isolation._namespaces() == namespaces


# ---------------------------------------------------------------------- locks


@pytest.mark.skipif(fcntl is None, reason="this system has no flock")
@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "EBADF", "EIO"])
def test_a_disk_without_locks(name, stream, tmp_path, monkeypatch, bad_input):
    monkeypatch.setattr(fcntl, "flock", refusing(getattr(errno, name)))
    with pytest.warns(UserWarning, match="take care that only one process trains into it") as caught:
        assert csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False).finished
    if name == "ENOSYS":
        bad_input("`out` is on a disk that knows no locks (a warning, training goes on)", caught[0].message)


@pytest.mark.skipif(fcntl is None, reason="this system has no flock")
@pytest.mark.parametrize("name", ["EWOULDBLOCK", "EAGAIN", "EACCES"])
def test_a_folder_that_is_held(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(getattr(errno, name)))
    with pytest.raises(RuntimeError, match="another process or notebook is training into"), files.locked(tmp_path):
        pass


def test_a_lock_that_cannot_be_made_and_one_that_cannot_be_closed(tmp_path, monkeypatch):
    (tmp_path / "taken" / ".lock").mkdir(parents=True)
    with pytest.warns(UserWarning, match="can't be locked here"), files.locked(tmp_path / "taken"):
        pass
    monkeypatch.setattr(os, "close", refusing(errno.EIO))
    with files.locked(tmp_path):
        pass


@pytest.mark.skipif(fcntl is None, reason="this system has no flock")
def test_another_users_lock_is_held_for_reading(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")
    truly, asked = os.open, []

    def theirs(path, flags, *mode, **options):
        asked.append(flags)
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return truly(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", theirs)
    with files.locked(tmp_path), pytest.raises(RuntimeError, match="another process"), files.locked(tmp_path):
        pass
    assert len(asked) == 4


# ---------------------------------------------------------------------- training goes on


def test_a_run_that_meets_a_full_disk_goes_on_later(stream, learnt, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", refusing(errno.ENOSPC))
        with pytest.raises(OSError, match="make room on the disk"):
            csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False)
    run = csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False)
    assert torch.equal(run.features(1), learnt.features(1))


def test_leftovers_that_cannot_be_deleted_stop_no_run(stream, tmp_path, monkeypatch):
    records = csd.training(stream, csd.methods.csd, CONFIG, out=tmp_path / "run")
    next(records)
    records.close()
    (tmp_path / "run" / ".old.tmp").write_text("")
    monkeypatch.setattr(Path, "unlink", refusing(errno.EACCES))
    assert csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False).finished


def test_memory_is_kept_only_where_the_c_library_can(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for odd in (refusing(errno.ENOENT), lambda: ("glibc", "2.36")):
        monkeypatch.setattr(platform, "libc_ver", odd)
        monkeypatch.setattr(runtime.ctypes, "CDLL", refusing(errno.ENOENT))
        runtime.keep_freed_memory()
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda _: SimpleNamespace())  # musl has no mallopt
    runtime.keep_freed_memory()


def test_a_gpu_that_does_not_answer(monkeypatch, bad_input):
    def broken(*_):
        raise RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment\nCompile with")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    monkeypatch.setattr(torch.cuda, "get_device_properties", broken)
    with pytest.warns(UserWarning, match="the GPU does not answer") as caught:
        assert runtime.pick_device("auto").type == "cpu"
    assert runtime.environment()["gpu"].startswith("does not answer (CUDA unknown error")
    bad_input("a GPU whose driver fails (a warning, the CPU computes)", caught[0].message)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_memory_that_is_full(error, stream, tmp_path, bad_input):
    def hungry(_):
        raise error

    with pytest.raises(type(error), match=r"memory is full with batches of 16 images .*smaller batch_size") as caught:
        csd.train(stream, hungry, CONFIG, out=tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        bad_input("a GPU whose memory is full", caught.value)


# ---------------------------------------------------------------------- data


def test_without_a_home_datasets_are_found_where_the_environment_says(tmp_path, monkeypatch, bad_input):
    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}[0])  # a container's user that has no entry
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("CSD_EDU_DATA", str(tmp_path))
    assert data.data_folders()[0] == tmp_path
    assert not any("~" in str(folder) for folder in data.data_folders())
    data.save(striped(), tmp_path / "glyphs-v1-seed0-32px.npz")
    assert len(csd.load("glyphs").classes) == 6
    monkeypatch.setenv("CSD_EDU_DATA", "~/data")
    with pytest.raises(ValueError, match="no home folder of '~' is known") as caught:
        csd.load("glyphs")
    bad_input("`CSD_EDU_DATA=~/data` for a user without a home folder", caught.value)


def test_a_cache_that_may_not_be_looked_into_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    data.save(striped(), tmp_path / "glyphs-v1-seed0-32px.npz")
    monkeypatch.setattr(Path, "stat", refusing(errno.EACCES))  # as Path.exists and Path.is_file meet it
    assert len(csd.load("glyphs").classes) == 6


def test_a_download_that_fills_the_disk():
    told = r"cifar100 could not be unpacked for want of room: /tmp/x: No space left on device; make room on the disk"
    with pytest.raises(OSError, match=told) as caught, data._downloading("cifar100"):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")
    assert not isinstance(caught.value, ConnectionError)


@pytest.fixture
def pictures(tmp_path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(np.full((16, 16, 3), 40 * k, np.uint8)).save(tmp_path / "images" / name / f"{k}.png")
    return tmp_path / "images"


def test_images_are_read_without_threads(pictures, monkeypatch):
    threaded = folders.read(pictures, size=16, progress=False)

    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(images.ThreadPoolExecutor, "submit", refused)
    alone = folders.read(pictures, size=16, progress=True)
    assert all(torch.equal(one, other) for one, other in zip(threaded[:4], alone[:4], strict=True))


def test_links_that_lead_back_are_not_followed_for_ever(pictures, bad_input):
    for name in ("c", "d"):
        (pictures / name).symlink_to(pictures)
    with pytest.warns(UserWarning, match="a link to a folder that is read already") as caught:
        csd.load(pictures)
    told = next(w.message for w in caught if "a link to a folder" in str(w.message))
    bad_input("a folder of images with links back to itself", told)


# ---------------------------------------------------------------------- packages that fail as they are imported

ODD = [
    ImportError("libgomp.so.1: cannot open shared object file"),
    RuntimeError("module compiled against ABI version 0x1000009 but this version of numpy is 0x2000000"),
    SystemError("initialization of _internal failed without raising an exception"),
    AttributeError("_ARRAY_API not found"),
    OSError(errno.ENOENT, "No such file or directory", "libllvmlite.so"),
    KeyError("getpwuid(): uid not found: 12345"),
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_a_umap_that_cannot_be_imported(error, learnt, monkeypatch, bad_input):
    fail_to_import(monkeypatch, "umap", error)
    with pytest.raises(maps.UmapError, match=r"the map needs umap, which is not here .*pip install") as caught:
        maps.umap_map(learnt.snapshots(), progress=False)
    if isinstance(error, SystemError):
        bad_input("a UMAP map, where umap can't be imported", caught.value)


def test_a_report_without_umap_shows_the_other_maps(learnt, tmp_path, monkeypatch):
    fail_to_import(monkeypatch, "umap", *[RuntimeError("odd")] * 9)
    page = write_report([learnt], tmp_path / "report.html", maps=("pca", "umap")).read_text(encoding="utf-8")
    assert "UMAP can&#x27;t be computed here" in page
    assert "PCA map" in page
    fit_maps([learnt])  # beside the trainings of a sweep
    assert not list(learnt.path.glob("map-umap*"))


def test_a_panel_without_umap_offers_the_other_maps(learnt, monkeypatch):
    fail_to_import(monkeypatch, "umap", *[RuntimeError("odd")] * 9)
    panel = DriftExplorer(learnt, maps=("umap", "pca"))
    assert panel.reason is None
    assert panel.maps == ("pca",)
    assert "UMAP can&#x27;t be computed here" in panel.note.value
    assert DriftExplorer(learnt, maps=("umap",)).maps == ("pca",)


def test_a_umap_that_fails_as_it_is_fitted(learnt, monkeypatch):
    def umap(**_):
        raise TypeError("check_array() got an unexpected keyword argument 'force_all_finite'")

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=umap))
    with pytest.raises(maps.UmapError, match=r"UMAP can't be computed here: TypeError: check_array"):
        maps.umap_map(learnt.snapshots(), progress=False)


def test_numba_compiles_for_this_process_where_it_finds_no_place_for_its_cache(learnt, monkeypatch):
    fitted = SimpleNamespace(fit_transform=lambda x: np.zeros((len(x), 2), np.float32))
    instead = ModuleType("umap")
    instead.UMAP = lambda **_: fitted
    config = SimpleNamespace(CACHE_DIR="")
    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(config=config))
    refusal = RuntimeError("cannot cache function 'rdist': no locator available for file '/umap/layouts.py'")
    fail_to_import(monkeypatch, "umap", refusal, instead=instead)
    assert maps.umap_map(learnt.snapshots(), progress=False).points.shape == (2, 24, 2)
    assert Path(config.CACHE_DIR).is_dir()


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_a_package_that_fails_as_it_is_imported(error, monkeypatch, capsys):
    fail_to_import(monkeypatch, "faiss", error)
    with pytest.raises(ImportError, match=r"this index needs faiss, which is not here .*or use index='torch'"):
        csd.retrieval.Gallery(4, index="flat")
    with pytest.raises(ImportError, match="a purpose needs nowhere, which is not here"):
        optional.imported("nowhere", "a purpose", "do without")
    fail_to_import(monkeypatch, "sklearn", error)
    assert cli.main(["train", "--dataset", "digits"]) == cli.EXIT_FAILED
    assert "csd-edu: error: 'digits' needs sklearn, which is not here" in capsys.readouterr().err


# ---------------------------------------------------------------------- the progress of the checks


def damage(path: Path, how: str) -> None:
    entry = {"passed": False, "attempts": 1, "hints": 0, "mistakes": {}, "time": None}
    contents = {
        "deep": "[" * 100_000,
        "counts of text": json.dumps({"version": 1, "exercises": {"csd": entry | {"mistakes": {"m": "often"}}}}),
        "fractions": json.dumps({"version": 1, "exercises": {"csd": entry | {"attempts": True}}}),
        "binary": "\udcff",
    }
    if how == "folder":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path)
    else:
        path.write_text(contents[how], encoding="utf-8", errors="surrogateescape")


@pytest.mark.parametrize("how", ["folder", "loop", "deep", "counts of text", "fractions", "binary"])
def test_a_progress_file_that_cannot_be_read_stops_no_check(how, progress_file):
    damage(progress_file, how)
    progress._unsaved.pop(progress_file, None)
    for _ in range(2):
        note = progress.record_attempt("csd", False, "m")
        assert note.startswith("The progress is not saved: progress.json cannot be read (")
    assert progress.load()[0]["csd"]["mistakes"] == {"m": 2}
    progress._unsaved.pop(progress_file, None)


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "EBUSY"])
def test_a_progress_file_that_cannot_be_written_stops_no_check(name, progress_file, monkeypatch):
    monkeypatch.setattr(files, "replace", refusing(getattr(errno, name)))
    note = progress.record_attempt("csd", True, None)
    assert note == f"The progress is not saved in progress.json: {os.strerror(getattr(errno, name))}. All else works."
    assert progress.load()[0]["csd"]["passed"]
    progress._unsaved.pop(progress_file, None)


# ---------------------------------------------------------------------- sweeps


def jobs_of(stream: csd.Stream, out: Path, *names: str) -> dict[str, Job]:
    return {name: Job(stream, csd.methods.NAMED[name], CONFIG, out / name) for name in names}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),  # /dev/shm
        OSError(errno.ENOSYS, "Function not implemented"),
        ImportError("This platform lacks a functioning sem_open implementation"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_sweep_without_processes_trains_one_run_after_another(error, stream, learnt, tmp_path, monkeypatch, capsys):
    def refused(*_, **__):
        raise error

    called = []
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", refused)
    after = {"maps": After(("csd",), called.append)}
    found = sweep.sweep(jobs_of(stream, tmp_path, "finetune", "csd"), after=after)
    assert all(run.finished for run in found.values())
    assert torch.equal(found["csd"].features(1), learnt.features(1))
    assert [run.path for (run,) in called] == [tmp_path / "csd"]
    assert "This machine starts no processes to train side by side (" in capsys.readouterr().out


def test_a_sweep_that_may_start_no_thread(stream, tmp_path, monkeypatch, capsys):
    class Pool:
        def __init__(self, *_, **__):
            pass

        def submit(self, *_):
            raise RuntimeError("can't start new thread")

        def shutdown(self, **_):
            raise RuntimeError("cannot join thread before it is started")

    def failing(_):
        raise OSError(errno.EIO, "Input/output error", "map")

    monkeypatch.setattr(sweep, "ProcessPoolExecutor", Pool)
    with pytest.raises(SweepError, match=r"1 failed, and the others are done: maps"):
        sweep.sweep(jobs_of(stream, tmp_path, "csd"), after={"maps": After(("csd",), failing)})
    assert csd.Run.load(tmp_path / "csd").finished
    assert "(can't start new thread)" in capsys.readouterr().out


def test_a_sweep_whose_watch_has_ended_waits_no_longer(stream, tmp_path, monkeypatch, capsys):
    ended = []

    class Pool:
        _executor_manager_thread = SimpleNamespace(is_alive=lambda: False)
        _processes: ClassVar = {1: SimpleNamespace(terminate=lambda: ended.append(1))}

        def __init__(self, *_, **__):
            pass

        def submit(self, *_):
            return Future()

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(sweep, "ProcessPoolExecutor", Pool)
    assert sweep.sweep(jobs_of(stream, tmp_path, "csd"))["csd"].finished
    assert ended == [1]
    assert "This machine starts no processes" in capsys.readouterr().out


def test_a_first_task_that_cannot_be_copied_is_learnt_again(stream, learnt, tmp_path, monkeypatch):
    first = csd.training(stream, csd.methods.finetune, CONFIG, out=tmp_path / "first")
    for record in first:
        if record["kind"] == "task":
            first.close()
    monkeypatch.setattr(Path, "rename", refusing(errno.ENOSYS))
    job = jobs_of(stream, tmp_path, "csd")["csd"]
    with pytest.warns(UserWarning, match="learns its first task itself"):
        sweep._train(None, job, False, tmp_path / "first")
    assert torch.equal(csd.Run.load(job.out).features(1), learnt.features(1))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_run_that_cannot_be_looked_at_stops_no_sweep(stream, learnt, monkeypatch, capsys):
    screen = sweep._Screen({"csd": Job(stream, csd.methods.csd, CONFIG, learnt.path)})
    monkeypatch.setattr(csd.Run, "load", refusing(errno.ESTALE))
    screen.show(set(), {"csd"}, {})
    assert "can't be read now" in capsys.readouterr().out


def test_the_same_failure_is_told_once():
    same = {f"seed{k}": OSError("the disk is full") for k in range(15)}
    error = SweepError({**same, "other": ValueError("odd")})
    assert str(error).count("the disk is full") == 1
    assert "seed14: the disk is full; other: odd" in str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_jobs": 2.0}, "n_jobs is 2.0; expected a whole number of at least 1"),
        ({"n_jobs": True}, "n_jobs is True; expected a whole number of at least 1"),
        ({"n_jobs": "2"}, "n_jobs is '2'; expected a whole number of at least 1"),
        ({"n_jobs": 0}, "n_jobs is 0; expected a whole number of at least 1"),
        ({"jobs": ["csd"]}, "expected a dictionary from names to Job"),
        ({"jobs": {"csd": "runs/csd"}}, "jobs has 'csd': 'runs/csd'; expected a name and Job"),
        ({"after": {"maps": len}}, "after has 'maps': .*; expected a name and After"),
        ({"after": {"maps": After(("csd",), "fit")}}, "the other work 'maps' is 'fit'; expected a function"),
    ],
)
def test_arguments_of_a_sweep(change, message, stream, tmp_path, bad_input):
    arguments = {"jobs": jobs_of(stream, tmp_path, "csd"), **change}
    with pytest.raises(ValueError, match=message) as caught:
        sweep.sweep(arguments.pop("jobs"), **arguments)
    assert list(tmp_path.iterdir()) == []
    if change == {"n_jobs": 2.0}:
        bad_input("`sweep(…, n_jobs=2.0)`", caught.value)


def test_a_job_inside_another(stream, tmp_path):
    inside = {"a": jobs_of(stream, tmp_path, "csd")["csd"], "b": jobs_of(stream, tmp_path / "csd", "csd")["csd"]}
    with pytest.raises(ValueError, match=r"is in that of another, .*/csd; expected them apart"):
        sweep.sweep(inside)


# ---------------------------------------------------------------------- what is printed


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def stripes_file(tmp_path) -> str:
    return str(data.save(striped(), tmp_path / "stripes.npz"))


@pytest.mark.parametrize(
    ("stream_", "code", "told"),
    [
        (Broken(errno.ENOSPC), cli.EXIT_FAILED, "what was to be read here could not be written"),
        (Broken(errno.EPIPE), 0, ""),
        (None, 0, ""),
    ],
    ids=["full disk", "closed pipe", "no output"],
)
def test_a_command_does_its_work_whoever_listens(stream_, code, told, stripes_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", stream_)
    call = ["train", "--dataset", stripes_file, "--per-class", "all", "--tasks", "2", "--out", str(tmp_path / "run")]
    assert cli.main([*call, "--epochs", "1", "--later-epochs", "1", "--batch-size", "16"]) == code
    assert sys.stdout is stream_
    assert csd.Run.load(tmp_path / "run").finished
    error = capsys.readouterr().err
    assert told in error
    assert bool(told) == bool(error)


def test_the_interpreter_ends_in_peace_after_its_output_failed():
    need(Path("/dev/full").exists(), "there is no /dev/full")

    @output.unfailing
    def main() -> int:
        print("x" * 100_000)
        return 0

    full, before = open("/dev/full", "w"), sys.stdout  # noqa: SIM115
    try:
        sys.stdout = full
        assert main() == 1
        full.write("y")
        full.close()  # goes nowhere now
    finally:
        sys.stdout = before


def test_training_goes_on_when_its_bar_cannot_be_drawn(stream, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(errno.EIO))
    assert csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run").finished


def test_an_interrupt_stays_one_when_nothing_can_be_told(stream, tmp_path, monkeypatch):
    def watch(records, _) -> Iterator[dict]:
        yield next(records)
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    with pytest.raises(KeyboardInterrupt):
        csd.train(stream, csd.methods.csd, CONFIG, out=tmp_path / "run", progress=watch)


def test_what_is_no_failure_of_the_output_is_not_hidden():
    class Odd(io.StringIO):
        def write(self, text: str) -> int:
            raise ValueError("no failure of the system")

    with pytest.raises(ValueError, match="no failure of the system"):
        output.Unfailing(Odd()).write("–")
    gone = io.StringIO()
    gone.close()
    closed = output.Unfailing(gone)
    closed.write("x")
    assert closed.error is not None


def test_an_error_of_the_command_line_is_a_sentence(tmp_path, capsys, bad_input):
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    assert cli.main(["report", str(tmp_path / "run")]) == cli.EXIT_MISTAKE
    error = capsys.readouterr().err
    assert "[Errno" not in error
    bad_input("`csd-edu report run`, and run/config.json is a folder", error)


# ---------------------------------------------------------------------- weights that were chosen


def chosen(**change) -> str:
    search = {"setting": "weight", "grid": {"1": [0.5, 0.6], "5": [0.7, 0.7]}, "chosen": 5}
    whole = {"dataset": "glyphs", "preset": "quick", "validation": 0.25, "metric": "words", "seeds": [1, 2]}
    search |= {key: change.pop(key) for key in list(change) if key in search}
    return json.dumps({**whole, "methods": {"lwf": search}, **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "can't be read"),
        (chosen().replace("0.25", "1" + "0" * 400), "a whole number is far too large"),
        (chosen(validation=1.5), "1.5 is no number from 0 to 1"),
        (chosen(seeds=[]), r"seeds are \[\], not each once"),
        (chosen(seeds=[1, 1]), r"seeds are \[1, 1\], not each once"),
        (chosen(seeds=[1, 2.5]), "2.5 is no seed"),
        (chosen(seeds=[1, True]), "True is no seed"),
        (chosen(grid={"5": [0.5]}), "has other than 2 scores for a value"),
        (chosen(grid={"5": [0.5, 7]}), "7 is no number from 0 to 1"),
        (chosen(grid={"5": [0.5, 0.5], "nan": [0.5, 0.5]}), "nan is no finite number"),
        (chosen(grid={"5": [0.5, 0.5], "inf": [0.5, 0.5]}), "inf is no finite number"),
    ],
)
def test_damaged_weights(text, message, tmp_path, bad_input):
    (tmp_path / tuning.NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        tuning.read_tuning(tmp_path)
    if "1.5" in message:
        bad_input("a tuning.json with `validation` 1.5", caught.value)


def test_weights_that_are_sound(tmp_path):
    (tmp_path / tuning.NAME).write_text(chosen(), encoding="utf-8")
    assert tuning.read_tuning(tmp_path).methods["lwf"].chosen == 5
    (tmp_path / "folder" / tuning.NAME).mkdir(parents=True)
    with pytest.raises(ValueError, match="Is a directory"):
        tuning.read_tuning(tmp_path / "folder")


# ---------------------------------------------------------------------- exports


def notebook(path: Path, figure: object, states: object = None, view: str | None = None) -> Path:
    outputs = [new_output("display_data", {stills.PLOTLY: figure})]
    if view is not None:
        outputs = [new_output("display_data", {stills.VIEW: {"model_id": view}, "text/plain": "VBox()"})]
    whole = new_notebook(cells=[new_code_cell("show", outputs=outputs)])
    if states is not None:
        whole.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": states}}
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        '{"cells": 5, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [5], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [], "metadata": 5, "nbformat": 4, "nbformat_minor": 5}',
        '{"nbformat": "four"}',
        "[]",
        "5",
        "[" * 100_000,
        "\udcff",
        "",
    ],
    ids=range(9),
)
def test_what_is_no_notebook(content, tmp_path):
    (tmp_path / "n.ipynb").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"n.ipynb is no notebook; expected a file that JupyterLab has saved"):
        stills.export(tmp_path / "n.ipynb", tmp_path / "page.html", None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_notebook_of_a_windows_editor_is_read(encoding, tmp_path):
    path = notebook(tmp_path / "n.ipynb", {"data": [], "layout": {"title": {"text": "Größe"}}})
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    stills.export(path, tmp_path / "page.html", None)
    assert "Größe" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_no_file_to_export_is_told_by_what_it_is(tmp_path, monkeypatch, capsys, bad_input):
    monkeypatch.chdir(tmp_path)
    notebook(tmp_path / "whole.html", {"data": []})
    (tmp_path / "page.html").write_text("<p>")
    for name, said in (
        (".", ". is a folder; expected a file that JupyterLab has saved"),
        ("page.html", "page.html is no notebook; expected a file"),
        ("whole.html", "whole.html is the notebook itself, and can't be written; expected another name"),
    ):
        assert cli.main(["export", name]) == cli.EXIT_MISTAKE
        error = capsys.readouterr().err.strip()
        assert said in error
    bad_input("`csd-edu export whole.html`, a notebook", error)


@pytest.mark.parametrize(
    "figure", [5, [], "text", {"layout": 5}, {"layout": {"title": 5}}, {"layout": {"title": {"text": 5}}}]
)
def test_damaged_figures(figure, tmp_path, bad_input):
    path = notebook(tmp_path / "n.ipynb", figure)
    with pytest.raises(
        ValueError, match=r"n.ipynb is damaged: a figure or a widget in it .*run its cells again"
    ) as caught:
        stills.export(path, tmp_path / "page.html", None)
    assert not (tmp_path / "page.html").exists()
    if figure == 5:
        bad_input("`csd-edu export n.ipynb`, with a figure that is a number", caught.value)


@pytest.mark.parametrize(
    ("figure", "name"), [({}, "no title"), ({"layout": {"title": "plain"}}, "plain"), ({"data": []}, "no title")]
)
def test_figures_in_older_forms(figure, name, tmp_path):
    path = notebook(tmp_path / "n.ipynb", figure)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors begin a file
    stills.export(path, tmp_path / "n.html", None)
    assert f"&lt;figure: {name}&gt;" in (tmp_path / "n.html").read_text(encoding="utf-8")
    assert stills.at_rest(figure)["data"] == []


@pytest.mark.parametrize(
    "states",
    [
        {"box": {"state": {"children": ["IPY_MODEL_box", "IPY_MODEL_other"]}}, "other": {"state": {"value": 3}}},
        {"box": {"state": {"children": ["IPY_MODEL_other"]}}, "other": {"state": {"children": ["IPY_MODEL_box"]}}},
        {"box": {"model_name": "HTMLModel", "state": {}}},
        {"box": {"model_name": "HTMLModel", "state": {"value": 3}}},
    ],
)
def test_widgets_that_hold_themselves_or_nothing(states, tmp_path):
    path = notebook(tmp_path / "n.ipynb", {}, states, view="box")
    stills.export(path, tmp_path / "n.html", None)
    assert (tmp_path / "n.html").stat().st_size > 1000


@pytest.mark.parametrize(
    "states",
    [
        5,
        [],
        {"box": 5},
        {"box": {"state": 5}},
        {"box": {"state": {"children": 5}}},
        {"box": {"state": {"figure": "{"}}},
    ],
)
def test_damaged_widgets(states, tmp_path):
    path = notebook(tmp_path / "n.ipynb", {}, states, view="box")
    with pytest.raises(ValueError, match=r"n.ipynb is (damaged|no notebook)"):
        stills.export(path, tmp_path / "n.html", None)


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_pictures_that_cannot_be_drawn_cost_only_the_pictures(error, tmp_path, monkeypatch):
    fail_to_import(monkeypatch, "kaleido", *[error] * 3)
    path = notebook(tmp_path / "n.ipynb", {"data": [], "layout": {"height": "tall"}})
    with pytest.warns(UserWarning, match="the figures are not drawn, only named: chrome fails"):
        assert stills.export(path, tmp_path / "n.html", "chrome") == 0
    assert nbformat.read(path, as_version=4).cells


# ---------------------------------------------------------------------- what is installed, half removed or missing


def test_a_package_that_is_half_removed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: None)
    assert start.find_misfits({"tqdm": "4.66"}) == {"tqdm": "is damaged: only a part of it is here"}


def test_a_kit_whose_needs_are_not_known_is_used_all_the_same(monkeypatch, tmp_path):
    def missing(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    monkeypatch.setattr(start, "__file__", str(tmp_path / "csd_edu" / "start.py"))
    assert start.requirements() == {}


def test_training_without_a_bar(stream, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert csd.train(stream, csd.methods.finetune, CONFIG, out=tmp_path / "r").finished
    assert "no progress bar: tqdm can't be imported" in capsys.readouterr().out


def test_a_progress_file_with_a_mark_of_its_encoding_is_read_and_one_with_less_than_nothing_is_not(progress_file):
    progress.record_attempt("csd", True, None)
    text = progress_file.read_text(encoding="utf-8")
    progress_file.write_text(text, encoding="utf-8-sig")
    assert progress.load()[0]["csd"]["passed"]
    progress_file.write_text(text.replace('"hints": 0', '"hints": -5'), encoding="utf-8")
    assert "is damaged" in progress.load()[1]
