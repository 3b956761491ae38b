"""Weights are chosen on held-out images of the first two tasks, and on nothing else; the lesson's runs take them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import csd_edu as csd
from csd_edu import lesson, saved, tuning
from csd_edu.cli import main
from csd_edu.config import Preset
from csd_edu.data import Dataset
from tests.conftest import TINY, striped

pytestmark = pytest.mark.usefixtures("one_thread")

PRESET = Preset(TINY.replace(precision="float32"), 3)


def with_other_images(data: Dataset, stream: csd.Stream) -> Dataset:
    """Return the dataset with noise in place of all test images and all images of the tasks after the second."""
    later = torch.isin(data.y_train, torch.tensor([c for task in stream.tasks[2:] for c in task]))
    x_train = torch.where(later[:, None, None, None], torch.randint_like(data.x_train, 256), data.x_train)
    return replace(data, x_train=x_train, x_test=torch.randint_like(data.x_test, 256))


def test_the_stream_for_choosing_has_two_tasks_and_no_test_image():
    data = striped()
    stream = csd.split(data, n_tasks=3, seed=7, validation=0.25)
    two = tuning.first_two(stream)
    assert two.sizes == stream.sizes[:2]
    assert two.classes == stream.classes[: stream.n_seen[1]]
    assert all(torch.equal(a, b) for a, b in zip(two.train(0, 1), stream.train(0, 1), strict=True))
    assert sorted(map(bytes, two.test().images.numpy())) == sorted(map(bytes, stream.held_out(0, 1).images.numpy()))
    learnt = set(map(bytes, two.train(0, 1).images.numpy()))
    assert not learnt & set(map(bytes, two.test().images.numpy()))
    for few in (csd.split(data, n_tasks=1, validation=0.25), csd.split(data, n_tasks=3)):
        with pytest.raises(ValueError, match="expected two tasks and a share to choose by"):
            tuning.first_two(few)


@pytest.mark.campaign
def test_nothing_but_the_first_two_tasks_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "GRID", (1, 5))
    data = striped()
    stream = csd.split(data, n_tasks=3, seed=3)
    arguments = {"seeds": [3], "progress": False}
    found = tuning.tune(data, PRESET, out=tmp_path / "true", **arguments)
    noise = tuning.tune(with_other_images(data, stream), PRESET, out=tmp_path / "noise", **arguments)
    assert found == noise
    assert set(found.methods) == {"lwf", "csd", "supcon"}
    assert all(set(search.grid) == {1.0, 5.0} for search in found.methods.values())
    for search in found.methods.values():
        best = max(sum(scores) for scores in search.grid.values())
        assert sum(search.grid[search.chosen]) == best
    assert tuning.read_tuning(tmp_path / "true") == found
    run = csd.Run.load(tmp_path / "true" / "seed3" / "csd-distillation-5")
    assert (run.method, run.n_tasks) == ("csd(distillation=5)", 2)
    assert found.methods["csd"].grid[5.0] == (run.metrics["summary"]["recall_at_1"],)


def test_what_can_not_be_tuned_is_refused_before_any_training(tmp_path):
    for seeds in ([], [101, 101]):
        with pytest.raises(ValueError, match=r"seeds are \[.*expected at least one, and each once"):
            tuning.tune(striped(), PRESET, seeds=seeds, out=tmp_path)
    with pytest.raises(ValueError, match=r"of a class 1 image is held out, .* a larger share than 0\.01"):
        tuning.tune(striped(), PRESET, seeds=[101], out=tmp_path, validation=0.01)
    assert list(tmp_path.iterdir()) == []


def scored(monkeypatch, grids, seeds=(3,), score=float):
    """Choose as if each run were the value that was tried; return the search of the only method, and the folders."""
    folders = []

    def sweep(jobs, **_):
        folders.extend(jobs)
        return jobs

    monkeypatch.setattr(tuning, "sweep", sweep)
    found = tuning.choose(grids, lambda _method, _setting, value, _seed, _out: value, score, seeds, lesson.Path("none"))
    return found["lwf"], folders


def test_values_that_differ_late_are_tried_apart_and_read_back(monkeypatch, tmp_path):
    values = (5, 0.5, 0.00123456789, 0.001234568, 1234567, 1234568)
    search, folders = scored(monkeypatch, {"lwf": ("weight", values)})
    assert folders == [
        f"seed3/lwf-weight-{text}" for text in ("0.00123456789", "0.001234568", "0.5", "5", "1234567", "1234568")
    ]
    assert search == tuning.Search("weight", {float(value): (float(value),) for value in sorted(values)}, 1234568.0)
    for chosen in values:
        grid = dict.fromkeys(search.grid, (0.5,))
        made = replace(tuning.shipped(), seeds=(3,), methods={"lwf": replace(search, grid=grid, chosen=float(chosen))})
        made.write(tmp_path)
        assert tuning.load(tmp_path) == made


@pytest.mark.parametrize(
    ("grids", "seeds", "said"),
    [
        ({}, [3], r"grids are \{\}; expected such as"),
        ({"lwf": ("weight", [])}, [3], r"the grid of lwf, weight, is \[\]; expected at least one value"),
        ({"lwf": ("weight", [1, float("nan")])}, [3], r"grid of lwf, weight\[1\], is nan; expected a finite number"),
        ({"lwf": ("weight", [1])}, [], r"seeds are \[\]; expected at least one"),
        ({"lwf": ("weight", [1])}, [3, 3], r"seeds are \[3, 3\]; expected at least one, and each once"),
    ],
)
def test_nothing_to_choose_from(monkeypatch, grids, seeds, said):
    with pytest.raises(ValueError, match=said):
        scored(monkeypatch, grids, seeds)


def test_a_score_that_is_no_number_is_not_chosen(monkeypatch):
    with pytest.raises(ValueError, match=r"the score of seed3/lwf-weight-1 is nan; expected a finite number; mend"):
        scored(monkeypatch, {"lwf": ("weight", [1, 5])}, score=lambda value: float("nan") if value == 1 else 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "5", True])
def test_a_setting_is_a_finite_number(value):
    with pytest.raises(ValueError, match=f"weight of lwf is {value!r}; expected a finite number"):
        tuning.with_setting("lwf", "weight", value)


def test_what_comes_with_the_kit():
    shipped = tuning.shipped()
    assert shipped.metric == tuning.METRIC
    assert not set(shipped.seeds) & set(saved.seeds())  # those that are compared
    for name, search in shipped.methods.items():
        assert search.setting == tuning.SETTINGS[name]
        assert tuple(search.grid) == tuning.GRID
        means = {value: sum(scores) for value, scores in search.grid.items()}
        assert search.chosen == max(means, key=means.__getitem__)
    with pytest.raises(
        ValueError, match="no weights were chosen for 'digits' yet; expected csd-edu tune --dataset dig"
    ):
        tuning.shipped("digits")


@pytest.mark.slow
def test_the_runs_of_the_lesson(tmp_path):
    stream = csd.split(striped(), n_tasks=3, seed=0)
    shipped = replace(tuning.shipped(), dataset=stream.dataset.name)
    runs = lesson.train(stream, TINY, shipped, out=tmp_path, progress=False)
    assert tuple(runs) == lesson.SHOWN
    weight = {name: f"{search.chosen:g}" for name, search in shipped.methods.items()}
    assert {name: run.method for name, run in runs.items()} == {
        "finetune": "finetune",
        "frozen": "frozen",
        "supcon": "supcon",
        "supcon-tuned": f"supcon(distillation={weight['supcon']})",
        "lwf-tuned": f"lwf(weight={weight['lwf']})",
        "csd": "csd",
        "csd-tuned": f"csd(distillation={weight['csd']})",
        "joint": "joint",
    }
    assert tuning.read_tuning(tmp_path) == shipped
    assert all(torch.equal(runs["frozen"].features(t), runs["finetune"].features(0)) for t in range(3))
    assert [shipped.chose(run) for run in runs.values()] == [False, False, False, True, True, False, True, False]


def test_tune_on_the_command_line(tmp_path, capsys, monkeypatch):
    asked = {}

    def tune(data, _preset, **options):
        asked.update(options, data=data.name)
        return tuning.shipped()

    monkeypatch.setattr(tuning, "tune", tune)
    assert main(["tune", "--dataset", "digits", "--seeds", "5", "6", "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert asked == {
        "data": "digits", "seeds": [5, 6], "out": tmp_path, "name": "quick", "validation": 0.25, "n_jobs": 1,
    }  # fmt: skip
    told = capsys.readouterr().out
    chosen = json.loads((lesson.Path(tuning.__file__).parent / "tuned/glyphs/tuning.json").read_text())["methods"]
    for name, search in chosen.items():
        row = next(line for line in told.splitlines() if line.startswith(name))
        assert row.count("*") == 1
        mean = sum(search["grid"][f"{search['chosen']:g}"]) / len(search["grid"][f"{search['chosen']:g}"])
        assert f"{mean:.3f}*" in row
