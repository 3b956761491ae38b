"""H. Paths, and damaged files of a run.

One rule for every path in and out; and every damaged file of a run is named, with what can be done, or made anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import csd_edu as csd
from csd_edu import check, cli, grade, lesson, maps, saved, stills, tuning
from csd_edu.comparison import Comparison
from csd_edu.files import read_json, read_tensors, write_tensors
from csd_edu.grade import tables
from csd_edu.paths import given_path
from csd_edu.report import write_report
from csd_edu.retrieval import Gallery
from csd_edu.sweep import Job, sweep
from csd_edu.train import begin_with
from csd_edu.widgets import LiveTraining
from tests.conftest import TINY, striped
from tests.damages import CONFIG, WRONG_JSON, damages, make_runs, stream, told_by, trained, without_times

pytestmark = pytest.mark.usefixtures("one_thread")

BadInput = Callable[[str, object], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, and a working folder that is another one."""
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(elsewhere)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    return shutil.copytree(runs["whole"], tmp_path / "run")


@pytest.fixture
def stopped(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run that stopped in its second task."""
    return shutil.copytree(runs["stopped"], tmp_path / "run")


# ---- one rule


class OwnPath:
    def __init__(self, text: str) -> None:
        self.text = text

    def __fspath__(self) -> str:
        return self.text


def test_a_path_is_what_was_given_with_the_home_folder(home):
    assert given_path("~/runs/csd") == given_path(Path("~/runs/csd")) == home / "runs/csd"
    assert given_path("~") == home
    assert given_path(OwnPath("runs/csd/")) == Path("runs/csd")
    assert given_path(given_path("./~")) == Path.cwd() / "~"
    assert given_path("a b/ö~") == Path("a b/ö~")


@pytest.mark.parametrize("wrong", ["", "  ", "a\0b", None, 5, b"runs", 1.5, ["runs"], True], ids=repr)
def test_what_is_no_path_is_told(wrong):
    with pytest.raises(ValueError, match=r"^out is .*; expected the path of a file or folder"):
        given_path(wrong, what="out")


@pytest.mark.parametrize("address", ["file:///tmp/runs", "https://example.org/runs", "s3://bucket/runs"])
def test_an_address_is_no_path(address):
    with pytest.raises(ValueError, match="an address; expected a path on this machine"):
        given_path(address)


def test_a_home_that_is_not_known(bad_input: BadInput):
    with pytest.raises(ValueError, match=r"no home folder of '~nobody-of-that-name' is known") as told:
        csd.Run.load("~nobody-of-that-name/runs")
    bad_input("csd.Run.load('~nobody-of-that-name/runs')", told.value)


# ---- at every border


def export_notebook(path: Any) -> None:
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[])])
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, "in.ipynb")
    stills.export(Path("in.ipynb"), path, None)


def begun(_: dict[str, Path], path: Any) -> None:
    job = (stream(), csd.methods.finetune, CONFIG)
    records = csd.training(*job, out="first")
    for record in records:
        if record["kind"] == "task":
            records.close()
    begin_with(csd.Run.load("first"), stream(), csd.methods.csd, CONFIG, out=path)


def table() -> grade.Table:
    return grade.Table({}, (), (), "")


WRITERS: dict[str, tuple[str, Callable[[dict[str, Path], Any], object]]] = {
    "data.save": ("x.npz", lambda _, path: csd.data.save(striped(2, 2, 1), path)),
    "train": ("run", lambda _, path: csd.train(stream(), csd.methods.csd, CONFIG, out=path, progress=False)),
    "training": ("run", lambda _, path: list(csd.training(stream(), csd.methods.csd, CONFIG, out=path))),
    "begin_with": ("run", begun),
    "sweep": ("run", lambda _, path: sweep({"a": Job(stream(), csd.methods.csd, CONFIG, path)}, progress=False)),
    "LiveTraining": ("run", lambda _, path: LiveTraining(stream(), csd.methods.csd, CONFIG, out=path).train()),
    "report": ("page.html", lambda runs, path: write_report([csd.Run.load(runs["whole"])], path, maps=())),
    "gallery": ("gallery", lambda _, path: Gallery(2).save(path)),
    "tuning": ("", lambda _, path: tuning.shipped().write(path)),
    "progress": ("progress.json", lambda _, path: check.export(path, student="Ada")),
    "table": ("table.csv", lambda _, path: tables.write(table(), path)),
    "stills": ("page.ipynb", lambda _, path: export_notebook(path)),
}


@pytest.mark.usefixtures("progress_file")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "sweep" else n for n in WRITERS])
def test_whatever_writes_knows_the_home_folder(runs, home, name):
    file, write = WRITERS[name]
    write(runs, f"~/{file}")
    assert (home / (file or tuning.NAME)).exists()
    assert not Path("~").exists()


@pytest.mark.usefixtures("home", "progress_file")
@pytest.mark.parametrize("name", WRITERS)
def test_whatever_writes_refuses_what_is_no_path(runs, name):
    with pytest.raises(ValueError, match="expected"):
        WRITERS[name][1](runs, "")


def test_whatever_reads_knows_the_home_folder(runs, home, monkeypatch):
    shutil.copytree(runs["whole"], home / "mine/csd")
    csd.data.save(striped(2, 2, 1), home / "x.npz")
    (home / "m.py").write_text("def mine(step):\n    return {}\n")
    Gallery(2).save(home / "gallery")
    tuning.shipped().write(home)
    assert csd.load("~/x.npz").n_classes == csd.load(Path("~/x.npz")).n_classes == 2
    assert csd.Run.load("~/mine/csd").finished
    assert csd.methods.find("~/m.py:mine").__name__ == "mine"
    assert len(Gallery.load("~/gallery")) == 0
    assert tuning.read_tuning(Path("~")) is not None
    saved.use("~/mine")
    assert saved.names() == ("csd",)
    saved.use(None)
    monkeypatch.setenv("CSD_EDU_RUNS", "~/mine")
    assert saved.names() == ("csd",)
    monkeypatch.setenv("CSD_EDU_DATA", "~/sets")
    assert csd.data.data_folders()[0] == home / "sets"
    monkeypatch.setenv("CSD_EDU_PROGRESS", "~/progress.json")
    assert check.progress.progress_file() == home / "progress.json"
    with pytest.raises(ValueError, match="no export"):
        grade.grade("~/mine")


def test_the_command_line_knows_the_home_folder(home, capsys):
    csd.data.save(striped(2, 4, 2), home / "x.npz")
    few = ["--tasks=2", "--epochs=1", "--later-epochs=1", "--device=cpu"]
    assert cli.main(["train", "--dataset=~/x.npz", "--method=finetune", "--out=~/run", *few]) == 0
    assert csd.Run.load(home / "run").finished
    assert not Path("~").exists()
    assert cli.main(["report", "~nobody-of-that-name/run"]) != 0
    assert "no home folder" in capsys.readouterr().err


@pytest.mark.parametrize("source", [None, 5, b"glyphs", ["glyphs"]], ids=repr)
def test_a_source_that_is_none(source):
    with pytest.raises(ValueError, match="source is"):
        csd.load(source)


@pytest.mark.usefixtures("home")
def test_a_folder_named_like_a_tilde_is_not_the_home_folder():
    Path("~").mkdir()
    csd.data.save(striped(2, 2, 1), "./~/x.npz")
    assert csd.load("./~/x.npz").n_classes == 2
    with pytest.raises(FileNotFoundError):
        csd.load("~/x.npz")


@pytest.mark.usefixtures("home")
def test_the_working_folder_changes_while_it_trains(tmp_path):
    def wandering(step: Any) -> Any:
        os.chdir(tmp_path)
        return csd.methods.finetune(step)

    run = csd.train(stream(), wandering, CONFIG, out="run", progress=False)
    assert run.finished
    assert run.path == tmp_path / "elsewhere/run"
    assert not (tmp_path / "run").exists()


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        csd.train(stream(), csd.methods.csd, CONFIG, out=tmp_path / "file", progress=False)
    with pytest.raises(FileNotFoundError, match=r"there is no run in .*file \(no config\.json\)"):
        csd.Run.load(tmp_path / "file")
    with pytest.raises(ValueError, match="is a file; expected the folder"):
        grade.grade(tmp_path / "file")


# ---- damaged files of a run


def test_an_emptied_metrics_file_is_made_anew(copy, bad_input: BadInput):
    whole = csd.Run.load(copy).metrics
    (copy / "metrics.json").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"metrics\.json is damaged \(it is empty\)") as told:
        assert csd.Run.load(copy).metrics == whole
    bad_input("a run whose metrics.json is empty: `run.metrics`", told[0].message)


def test_without_records_an_emptied_metrics_file_is_named(copy):
    (copy / "metrics.json").write_bytes(b"")
    (copy / "records.jsonl").unlink()
    with pytest.raises(ValueError, match=r"metrics\.json is damaged \(it is empty\); delete it"):
        csd.Run.load(copy).metrics  # noqa: B018 (reading is what fails)


def test_metrics_of_another_run_are_found_out(copy, runs):
    whole = csd.Run.load(copy).metrics
    changed = json.loads((runs["other"] / "metrics.json").read_text())
    changed["summary"]["recall_at_1"] = 0.123
    (copy / "metrics.json").write_text(json.dumps(changed))
    with pytest.warns(UserWarning, match="says other than the records"):
        assert csd.Run.load(copy).metrics == whole


@pytest.mark.parametrize("damage", ["missing", "empty", "cut in the middle", "that of another task"])
def test_features_are_made_anew_by_train(copy, damage, capsys):
    whole = csd.Run.load(copy)
    features, predictions, name = whole.features(1), whole.predictions(1), "task-1.features.safetensors"
    damages(name, copy, copy, random.Random(0))[damage](copy / name)
    with pytest.raises((ValueError, FileNotFoundError), match=r"task-1\.features\.safetensors.*csd\.train"):
        csd.Run.load(copy).features(1)
    trained(copy)
    assert "made anew from task-1.weights.safetensors" in capsys.readouterr().out
    again = csd.Run.load(copy)
    assert torch.equal(again.features(1), features)
    assert torch.equal(again.predictions(1), predictions)


def test_the_test_images_are_written_anew_by_train(copy, capsys, bad_input: BadInput):
    whole = csd.Run.load(copy).test()
    (copy / "test.safetensors").write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"test\.safetensors is damaged .*it is written anew") as told:
        csd.Run.load(copy).test()
    bad_input("a run whose test.safetensors is full of zeros: `run.test()`", told.value)
    trained(copy)
    assert "written anew" in capsys.readouterr().out
    assert all(torch.equal(value, whole[name]) for name, value in csd.Run.load(copy).test().items())


@pytest.mark.parametrize("what", ["weights", "features"])
def test_a_file_of_another_run_or_task_is_found_out(copy, runs, what, bad_input: BadInput):
    run = csd.Run.load(copy)
    read = run.network if what == "weights" else run.features
    shutil.copyfile(run.task_file(0, what), run.task_file(1, what))
    with pytest.raises(
        ValueError, match=rf"task-1\.{what}\.safetensors says that it is of task 0, and not of 1"
    ) as told:
        read(1)
    if what == "features":
        bad_input("a run in which task 0's features were copied over those of task 1", told.value)
    shutil.copyfile(csd.Run.load(runs["other"]).task_file(1, what), run.task_file(1, what))
    with pytest.raises(ValueError, match=rf"task-1\.{what}\.safetensors says that it is of run '\w+', and not of"):
        read(1)


def test_files_of_older_versions_say_nothing_and_are_read(copy):
    run = csd.Run.load(copy)
    for path in copy.glob("*.safetensors"):
        tensors, about = read_tensors(path)
        write_tensors(path, tensors, {key: value for key, value in about.items() if key not in ("run", "task", "what")})
    older = csd.Run.load(copy)
    assert torch.equal(older.features(1), run.features(1))
    assert older.kept() == run.kept()


def test_a_config_of_another_run_is_found_out(copy, runs):
    shutil.copyfile(runs["other"] / "config.json", copy / "config.json")
    with pytest.raises(ValueError, match=r"config\.json is of another run than all files beside it"):
        csd.Run.load(copy)


@pytest.mark.parametrize("text", WRONG_JSON.values(), ids=WRONG_JSON)
@pytest.mark.parametrize("file", ["config.json", "records.jsonl", "metrics.json"])
def test_json_of_another_kind_is_named(copy, file, text):
    (copy / file).write_bytes(text)
    for read in (lambda path: csd.Run.load(path).method, lambda path: csd.Run.load(path).records, trained):
        _, _, error = told_by(read, copy)
        if error is not None:
            assert isinstance(error, ValueError)
            assert file in str(error)
    if file == "records.jsonl":
        assert error is None or "delete it" in str(error)
    tuned = shutil.copyfile(copy / file, copy / tuning.NAME)
    with pytest.raises(ValueError, match=r"tuning\.json"):
        tuning.read_tuning(tuned.parent)


def test_a_damaged_config_is_heard(copy, bad_input: BadInput):
    (copy / "config.json").write_text('{"format": 1, "method": {"name": "csd"}, "stream": null}')
    with pytest.raises(ValueError, match=r"config\.json is damaged") as told:
        csd.Run.load(copy)
    bad_input("a run whose config.json holds no configuration", told.value)


def test_a_run_with_fewer_records_than_its_checkpoint_counts_goes_on(stopped, runs, capsys, bad_input: BadInput):
    lines = (stopped / "records.jsonl").read_bytes().splitlines(keepends=True)
    (stopped / "records.jsonl").write_bytes(b"".join(lines[:1]) + lines[1][:7])
    found = trained(stopped)
    told = capsys.readouterr().out
    assert f"has 1 of {len(lines)} records" in told
    assert found == trained(runs["whole"])  # the numbers are not touched
    with pytest.warns(UserWarning, match="what was written down of task 0 is lost"):
        rest = csd.Run.load(stopped).records
    assert without_times(rest[1:]) == without_times(csd.Run.load(runs["whole"]).records[3:])
    bad_input("a run whose records.jsonl was cut, continued", told.partition("csd_edu: ")[2])


def test_a_damaged_record_is_named_with_its_line(copy, bad_input: BadInput):
    lines = (copy / "records.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "records.jsonl").write_bytes(b"".join([lines[0], bytes(len(lines[1]) - 1) + b"\n", *lines[2:]]))
    with pytest.raises(ValueError, match=r"records\.jsonl is damaged in line 2 .*delete it") as told:
        csd.Run.load(copy).records  # noqa: B018 (reading is what fails)
    bad_input("a run with zeros in its records.jsonl: `run.records`", told.value)
    (copy / "records.jsonl").unlink()  # as it is told
    with pytest.warns(UserWarning, match=r"records\.jsonl is cut off or missing"):
        assert csd.Run.load(copy).records == []
    assert csd.Run.load(copy).finished


def test_with_no_whole_checkpoint_it_begins_anew_and_says_so(stopped, runs, capsys):
    for name in ("checkpoint", "checkpoint-previous"):
        (stopped / f"{name}.safetensors").write_bytes(b"")
    assert trained(stopped) == trained(runs["whole"])
    told = capsys.readouterr().out
    assert "checkpoint.safetensors is damaged" in told
    assert "checkpoint-previous.safetensors is damaged" in told
    assert "Going on from the beginning" in told


def test_a_checkpoint_of_another_run_is_not_gone_on_from(stopped, runs, capsys):
    shutil.copyfile(runs["other"] / "checkpoint.safetensors", stopped / "checkpoint.safetensors")
    assert trained(stopped) == trained(runs["whole"])
    assert "checkpoint.safetensors says that it is of run" in capsys.readouterr().out


def test_a_run_begun_with_a_copy_says_whose_its_files_are(tmp_path):
    records = csd.training(stream(), csd.methods.finetune, CONFIG, out=tmp_path / "first")
    for record in records:
        if record["kind"] == "task":
            records.close()
    begin_with(csd.Run.load(tmp_path / "first"), stream(), csd.methods.csd, CONFIG, out=tmp_path / "csd")
    assert trained(tmp_path / "csd") == trained(tmp_path / "alone")
    own = csd.Run.load(tmp_path / "csd").description["id"]
    assert {read_tensors(path)[1]["run"] for path in (tmp_path / "csd").glob("*.safetensors")} == {own}


def test_a_damaged_map_is_made_again(copy):
    run = csd.Run.load(copy)
    made = maps.cached_maps([run], "pca")[0]
    path = next(copy.glob("map-pca-*"))
    for spoil in damages(path.name, copy, copy / "nowhere", random.Random(0)).values():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        shutil.copyfile(copy / "test.safetensors", path)
        spoil(path)
        assert torch.equal(maps.cached_maps([run], "pca")[0].points, made.points)


def test_a_file_of_json_is_read_as_text_editors_write_it(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_lesson_knows_the_home_folder(home, monkeypatch):
    asked: dict[str, Job] = {}

    def seen(jobs: dict[str, Job], **_: Any) -> dict[str, Any]:
        asked.update(jobs)
        (home / "runs").mkdir()
        return dict.fromkeys(jobs)

    monkeypatch.setattr(lesson, "sweep", seen)
    lesson.train(stream(), CONFIG, tuning.shipped(), out=Path("~/runs"))
    assert {job.out.parent for job in asked.values()} == {home / "runs"}


# ---- records of another shape, and files that are none

WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "epoch": {"losses": 3, "seconds": "x", "kind": "epoci", "task": 9},
    "task": {
        "head_accuracy": 3,
        "recall_at_1": None,
        "overall": {"recall_at_1": 0.5},
        "kept_bytes": 3,
        "seconds": 10**400,
    },
}


def with_last_record(run: Path, kind: str, fields: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    last = max(k for k, record in enumerate(lines) if record["kind"] == kind)
    lines[last] |= fields
    (run / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, of in WRONG_FIELDS.items() for name in of])
def test_a_record_of_another_shape_is_named_by_its_line_and_hides_no_metrics(copy, kind, name):
    whole = csd.Run.load(copy).metrics
    with_last_record(copy, kind, {name: WRONG_FIELDS[kind][name]})
    run = csd.Run.load(copy)
    assert run.metrics == whole
    assert csd.train(stream(), csd.methods.csd, CONFIG, out=copy, progress=False).finished
    for read in (lambda: run.records, lambda: run.seconds, lambda: run.kept_bytes):
        with pytest.raises(ValueError, match=rf"damaged in line \d+ \(its {name} is .*delete it"):
            read()


@pytest.mark.parametrize("flip", range(40))
def test_a_flipped_bit_in_the_records_is_no_raw_error(copy, flip):
    chance, path = random.Random(flip), copy / "records.jsonl"
    whole, content = csd.Run.load(copy).metrics, bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    run = csd.Run.load(copy)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = run.metrics
    assert found == whole or told
    with contextlib.suppress(ValueError):  # any other error goes through
        assert run.seconds > 0


def test_what_a_method_says_of_a_task_is_its_own(copy):
    lines = (copy / "records.jsonl").read_text().splitlines()
    end = json.dumps({"kind": "end", "task": 0, "seconds": "few", "kept_bytes": 3})
    (copy / "records.jsonl").write_text("\n".join([*lines, end]) + "\n")
    run = csd.Run.load(copy)
    assert run.records[-1]["seconds"] == "few"
    assert run.seconds > 0
    assert run.kept_bytes


def test_a_cut_file_of_records_is_warned_of_once(copy):
    path = copy / "records.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            run = csd.Run.load(copy)
            assert run.seconds > 0
            assert run.kept_bytes is not None
    assert [str(each.message).count("cut off or missing") for each in told] == [1]


@pytest.mark.parametrize("task", [99, -1, 0.0, True, "0"])
def test_a_task_that_is_none_is_told(copy, bad_input, task):
    run = csd.Run.load(copy)
    for read in (run.features, run.predictions, run.network):
        with pytest.raises(ValueError, match=r"^task is .*; expected a whole number( from 0 to 1)?$") as error:
            read(task)
    if task == 99:
        bad_input("`run.features(99)`", error.value)


def test_a_task_to_come_is_told_with_what_to_do(stopped):
    run = csd.Run.load(stopped)
    for read in (run.features, run.predictions, run.network):
        with pytest.raises(FileNotFoundError, match=r"has learnt 1 of 2 tasks.*the same csd\.train"):
            read(1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["config.json", "records.jsonl", "task-1.features.safetensors"])
def test_a_pipe_in_a_files_place_is_not_waited_for(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe or a device, and no file"):
        read_all(copy)


def read_all(folder: Path) -> None:
    run = csd.Run.load(folder)
    assert run.records
    run.snapshots()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_the_place_of_what_was_tuned_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / tuning.NAME)
    with pytest.raises(ValueError, match="is a pipe or a device"):
        tuning.load(tmp_path)


# ---- first slips


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--out", ""],
        ["train", "--teacher", " "],
        ["train", "--tuning", ""],
        ["demo", "--out", ""],
        ["tune", "--out", ""],
        ["report", ""],
        ["grade", ""],
        ["export", ""],
    ],
)
@pytest.mark.usefixtures("home")
def test_no_path_on_the_command_line_is_not_the_working_folder(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == cli.EXIT_MISTAKE
    assert "is no path; expected that of a file or folder" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


def test_a_dataset_for_a_stream_and_its_like_are_told_before_work(tmp_path, bad_input):
    data, out, method = striped(4), tmp_path / "run", csd.methods.finetune
    network = csd.models.build("resnet8")
    calls: list[Callable[[], object]] = [
        lambda: csd.train(data, method, CONFIG, out=out),  # type: ignore[arg-type]
        lambda: csd.training(data, method, CONFIG, out=out),  # type: ignore[arg-type]
        lambda: next(csd.learn(network, data, 0, method, CONFIG)),  # type: ignore[arg-type]
        lambda: LiveTraining(data, method, CONFIG, out=out),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"stream is a Dataset; expected .*csd\.split\(data, n_tasks=5\)") as error:
            call()
    bad_input("`csd.train(data, …)`, a dataset that is not split", error.value)
    with pytest.raises(ValueError, match=r"config is \{\}; expected a csd\.Config"):
        csd.train(stream(), method, {}, out=out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"config is \{\}; expected a csd\.Config"):
        next(csd.learn(network, stream(), 0, method, {}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="progress is 'no'; expected True or False"):
        csd.train(stream(), method, CONFIG, out=out, progress="no")  # type: ignore[arg-type]
    assert not out.exists()


def test_a_run_for_a_list_of_runs_is_told(runs, tmp_path, bad_input):
    run = csd.Run.load(runs["whole"])
    calls: list[Callable[[Any], object]] = [
        lambda given: write_report(given, tmp_path / "report.html"),
        lambda given: maps.cached_maps(given, "pca"),
        Comparison,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"runs is Run of csd .*; expected a list of runs"):
            call(run)
        with pytest.raises(ValueError, match=r"runs\[1\] is 'runs/csd'; expected a list of runs") as error:
            call([run, "runs/csd"])
    bad_input("`write_report([run, 'runs/csd'], …)`", error.value)


@pytest.mark.parametrize("names", [["x", "x"], ["x"], ["x", "y", "z"], [], "xy", [1, 2]])
def test_names_of_runs_are_one_for_each(runs, tmp_path, names):
    twin = shutil.copytree(runs["whole"], tmp_path / "twin")
    both = [csd.Run.load(runs["whole"]), csd.Run.load(twin)]
    with pytest.raises(ValueError, match=r"names is .*; expected a list of 2 texts, another for each run"):
        Comparison(both, names=names)
    assert list(Comparison(both, names=["x", "y"]).runs) == ["x", "y"]


@pytest.fixture
def several(runs: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """A folder of saved runs, with folders beside them that are called like one of a seed."""
    for name in ("seed0", "seed00", "seed²"):
        shutil.copytree(runs["whole"], tmp_path / name / "csd")
    saved.use(tmp_path)
    yield tmp_path
    saved.use(None)


def test_a_file_in_place_of_a_folder_of_runs(tmp_path, bad_input):
    (tmp_path / "file.npz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"file\.npz is a file; expected a folder of runs") as caught:
        saved.use(tmp_path / "file.npz")
    bad_input("`saved.use('file.npz')`", caught.value)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("read", [saved.runs, saved.task_names])
def test_a_seed_that_is_not_there_is_told(read):
    with pytest.raises(ValueError, match="there is no saved run with seed 99; expected one of 0, or train"):
        read(seed=99)
    with pytest.raises(ValueError, match="seed is '0'; expected a whole number"):
        read(seed="0")
    assert len(read(seed=0)) == len(read()) > 0


def test_two_folders_of_one_seed_are_told_once(several, capsys):
    capsys.readouterr()  # it was told when the folder was taken
    again = shutil.copytree(several, several.with_name(f"{several.name}-again"))
    saved.use(again)
    assert saved.seeds() == (0,)
    assert saved.run("csd").path.parent == again / "seed0"
    told = f"{again / 'seed00'} are left out: of seed 0 those in {again / 'seed0'} are taken"
    assert capsys.readouterr().out.count(told) == 1


def test_a_network_that_is_lost_is_said_when_a_finished_run_is_returned(tmp_path, capsys):
    stream = csd.split(striped(), n_tasks=2, seed=0)
    csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "r", progress=False)
    (tmp_path / "r" / "task-1.weights.safetensors").write_bytes(b"")
    assert csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "r", progress=False).finished
    assert "that network is lost, and what was measured with it is not" in capsys.readouterr().out
    (tmp_path / "r" / "task-0.features.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*; [^d]"):
        csd.Run.load(tmp_path / "r").features(0)
