"""The small runs that come with the kit, and how they are made."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

import csd_edu as csd
from csd_edu import lesson, metrics, pictures, saved, tuning
from csd_edu.comparison import Comparison, across_networks
from csd_edu.files import read_tensors, write_tensors
from tests.conftest import TINY

ROOT = Path(__file__).parent.parent

spec = importlib.util.spec_from_file_location("make_saved_runs", ROOT / "data" / "make_saved_runs.py")
make_saved_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_saved_runs)

WEIGHT = {name: f"{search.chosen:g}" for name, search in tuning.shipped().methods.items()}
METHODS = {
    "finetune": "finetune",
    "frozen": "frozen",
    "supcon": "supcon",
    "supcon-tuned": f"supcon(distillation={WEIGHT['supcon']})",
    "lwf-tuned": f"lwf(weight={WEIGHT['lwf']})",
    "csd": "csd",
    "csd-tuned": f"csd(distillation={WEIGHT['csd']})",
    "joint": "joint",
}
WITH_FEATURES = ("finetune", "lwf-tuned", "csd", "csd-tuned", "joint")
EACH = [(name, seed) for seed in saved.SEEDS for name in saved.NAMES]


def found(features: torch.Tensor, labels: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Return for each image of `among` (n,) whether its nearest other one there, by cosine, has its label."""
    x = torch.nn.functional.normalize(features[among].double())
    similarity = (x @ x.T).fill_diagonal_(-2)
    return labels[among][similarity.argmax(dim=1)] == labels[among]


@pytest.mark.parametrize(("name", "seed"), EACH)
def test_each_is_a_whole_run(name, seed):
    run = saved.run(name, seed=seed)
    assert (run.method, run.config.seed, run.finished, run.n_tasks) == (METHODS[name], seed, True, 5)
    kept = run.description["saved"]
    assert (kept["test_images_per_class"], kept["from"]) == (20, f"csd-edu demo --seed {seed}")
    assert across_networks(run) == kept["across_networks"]
    test = run.test()
    assert test["labels"].bincount().tolist() == [20] * 100
    assert torch.equal(test["tasks"], test["labels"] // 20)
    assert [record["task"] for record in run.records if record["kind"] == "task"] == [0, 1, 2, 3, 4]
    after = [record for record in run.records if record["kind"] == "task"]
    assert [record["recall_at_1"]["seen"] for record in after] == run.metrics["recall_at_1"]["seen"]
    assert [record["overall"]["recall_at_1"] for record in after] == run.metrics["overall"]["recall_at_1"]
    assert after[-1]["overall"]["recall_at_1"] == run.metrics["summary"]["recall_at_1"]


@pytest.mark.parametrize("name", WITH_FEATURES)
def test_metrics_are_those_of_what_is_kept(name):
    run = saved.run(name)
    labels, tasks = (run.test()[key] for key in ("labels", "tasks"))
    for task in (0, 1, 4):
        features = run.features(task)
        assert (features.dtype, features.shape) == (torch.float32, (2000, 64))
        assert torch.equal(features, features.half().float())  # as stored
        seen = (tasks <= task).nonzero()[:, 0]
        right = found(features, labels, seen).double()
        # A tie counts as a miss in the metrics and by chance here: rounded to float16 there may be one or two.
        assert run.metrics["overall"]["recall_at_1"][task] == pytest.approx(float(right.mean()), abs=0.0021)
        of_last = [float(right[tasks[seen] == j].mean()) for j in range(task + 1)]
        assert run.metrics["recall_at_1"]["seen"][task][: task + 1] == pytest.approx(of_last, abs=0.0051)
        predictions = run.predictions(task)
        assert predictions.dtype == torch.int64
        accuracy = float((predictions == labels)[seen].double().mean())
        assert run.metrics["overall"]["head_accuracy"][task] == pytest.approx(accuracy)


@pytest.mark.parametrize(("name", "seed"), EACH)
def test_they_have_learnt(name, seed):
    run = saved.run(name, seed=seed)
    learnt = metrics.just_learnt(run.metrics["recall_at_1"]["task"])
    learnt = learnt[:1] if name == "frozen" else learnt
    assert sum(learnt) / len(learnt) >= 0.9 - 0.05 * (name == "frozen")
    assert min(learnt) >= 0.85


@pytest.mark.parametrize("seed", saved.SEEDS)
def test_what_holds_in_every_seed(seed):
    end = {name: saved.run(name, seed=seed).metrics["summary"]["recall_at_1"] for name in saved.NAMES}
    for distilled in ("lwf-tuned", "csd", "csd-tuned", "supcon-tuned"):
        assert end["joint"] > end[distilled] + 0.1
        assert end[distilled] > max(end["finetune"], end["supcon"], end["frozen"]) + 0.02, distilled
    assert saved.run("finetune", seed=seed).metrics["head_accuracy"]["seen"][4][0] == 0


@pytest.mark.parametrize("name", WITH_FEATURES)
def test_what_is_kept_in_place_of_features_is_what_they_give(name):
    run = saved.run(name)
    kept = across_networks(run)
    without = {key: value for key, value in run.description["saved"].items() if key != "across_networks"}
    computed = across_networks(csd.Run(run.path, {**run.description, "saved": without}))
    assert computed == pytest.approx(kept, abs=0.002)  # float16
    labels, tasks = (run.test()[key] for key in ("labels", "tasks"))
    now = torch.nn.functional.normalize(run.features(4).double())
    left = torch.nn.functional.normalize(torch.stack(run.snapshots()).double()[tasks, torch.arange(2000)])
    similarity = (now @ left.T).fill_diagonal_(-2)
    right = labels[similarity.argmax(dim=1)] == labels
    assert computed["stale"] == pytest.approx(float(right[tasks < 4].double().mean()), abs=0.002)


def test_seeds_learn_in_different_orders():
    orders = {json.dumps(saved.run("csd", seed=seed).tasks) for seed in saved.SEEDS}
    assert len(orders) == len(saved.SEEDS)
    assert {frozenset(saved.run("csd", seed=seed).classes) for seed in saved.SEEDS} == {
        frozenset(saved.run("csd").classes)
    }


@pytest.mark.parametrize("name", ["finetune", "csd-tuned"])
@pytest.mark.parametrize("task", [0, 1])
def test_the_networks_give_the_features_of_the_images(name, task):
    run = saved.run(name)
    images = run.test()["images"]
    assert (images.dtype, images.shape) == (torch.uint8, (2000, 3, 24, 24))
    with torch.no_grad():
        features = run.network(task).embed(images[::10])
    agreement = torch.nn.functional.cosine_similarity(features, run.features(task)[::10])
    assert agreement.min() > 0.995  # saved in bfloat16's precision on the machine that trained


@pytest.mark.slow
def test_the_images_are_those_of_the_glyphs():
    data = csd.load("glyphs", image_size=24)
    run = saved.run("csd-tuned")
    images, labels = (run.test()[key] for key in ("images", "labels"))
    for label in (0, 37, 99):
        here = images[labels == label]
        there = data.x_test[data.y_test == data.classes.index(run.classes[label])]
        assert torch.equal(here, there)


def test_those_with_features_can_be_compared(monkeypatch):
    monkeypatch.setattr("csd_edu.maps.kept.umap_chain", lambda *_, **__: pytest.fail("the map should have been read"))
    five = Comparison(saved.runs(*WITH_FEATURES))
    assert list(five.runs) == [METHODS[name] for name in WITH_FEATURES]
    assert five.images.shape == (2000, 3, 24, 24)
    end = five.matrix("csd", "Recall@1")[4]
    assert end == pytest.approx(five.runs["csd"].metrics["recall_at_1"]["seen"][4])
    rivals = Comparison(saved.runs(*lesson.MAPPED))
    for classes, n in (((), 500), (rivals.few_classes(), 590)):
        maps = rivals.maps("umap", classes, progress=False)
        assert [part.points.shape for part in maps.values()] == [(5, n, 2)] * 3
        assert len({part.plane for part in maps.values()}) == 1
    figure = pictures.matrices(five)
    assert any("joint" in str(annotation.text) for annotation in figure.layout.annotations)


def test_a_folder_that_is_read_only_stays_as_it_is(tmp_path):
    shutil.copytree(saved.folder() / "seed0", tmp_path / "seed0", ignore=shutil.ignore_patterns("map-*"))
    runs = [csd.Run.load(tmp_path / "seed0" / name) for name in ("finetune", "csd")]
    for run in runs:
        run.path.chmod(0o555)
    before = sorted(tmp_path.rglob("*"))
    maps = Comparison(runs).maps("pca")
    assert maps["csd"].points.shape == (5, 500, 2)
    assert sorted(tmp_path.rglob("*")) == before
    for run in runs:
        run.path.chmod(0o755)


def test_a_part_of_the_test_images_is_not_mixed_with_all(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    shutil.copytree(saved.folder() / "seed0" / "csd", whole)
    assert list(Comparison([csd.Run.load(whole), saved.run("finetune")]).runs) == ["csd", "finetune"]  # all are kept
    part = make_saved_runs.keep(csd.Run.load(whole), tmp_path / "part", features=True, images=False, networks=())
    assert part.description["stream"] == csd.Run.load(whole).description["stream"]
    monkeypatch.setattr(make_saved_runs, "PER_CLASS", 10)
    part = make_saved_runs.keep(csd.Run.load(whole), tmp_path / "ten", features=True, images=False, networks=())
    with pytest.raises(ValueError, match=r"have different data: .*, 10 test images a class"):
        Comparison([csd.Run.load(whole), part])


def test_seeds_cannot_be_laid_side_by_side():
    with pytest.raises(ValueError, match="learn the classes in different orders"):
        Comparison([saved.run("csd", seed=0), saved.run("csd", seed=1)])


def test_they_are_not_too_large():
    files = [path for path in saved.folder().rglob("*") if path.is_file() and "map-pca" not in path.name]
    assert sum(path.stat().st_size for path in files) < 18e6
    assert {path.suffix for path in files} == {".json", ".jsonl", ".safetensors"}


def test_runs_without_names_are_all():
    assert [run.method for run in saved.runs(seed=2)] == list(METHODS.values())
    assert [run.method for run in saved.runs("joint", "csd")] == ["joint", "csd"]


def test_unknown_names_and_seeds_are_named():
    with pytest.raises(ValueError, match="no saved run 'cds'; expected one of 'finetune', 'frozen', 'supcon', "):
        saved.run("cds")
    with pytest.raises(
        ValueError, match="no saved run with seed 7; expected one of 0, 1, 2, 3, 4, or train one: csd-edu demo"
    ):
        saved.runs("csd", seed=7)


def test_without_the_saved_runs_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(saved, "__file__", str(tmp_path / "csd_edu" / "saved.py"))
    with pytest.raises(FileNotFoundError, match=r"the saved runs are not here .* `make saved-runs`"):
        saved.run("csd")


def test_they_are_found_in_the_package_too(tmp_path, monkeypatch):
    place = tmp_path / "csd_edu" / "saved_runs"
    shutil.copytree(saved.folder() / "seed1", place / "seed0")
    monkeypatch.setattr(saved, "__file__", str(tmp_path / "csd_edu" / "saved.py"))
    assert saved.folder() == place
    assert saved.run("csd").finished


# ---- how they are made


@pytest.fixture(scope="module")
def whole_run(stripes, tmp_path_factory) -> csd.Run:
    stream = csd.split(stripes, n_tasks=2, seed=1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return csd.train(stream, csd.methods.finetune, TINY.replace(seed=1), out=folder, progress=False)


def test_a_copy_keeps_what_is_asked_for_and_measures_it(whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(make_saved_runs, "PER_CLASS", 3)
    before = {path.name: path.read_bytes() for path in whole_run.path.iterdir()}
    copy = make_saved_runs.keep(whole_run, tmp_path / "copy", features=True, images=True, networks=(1,))
    assert {path.name: path.read_bytes() for path in whole_run.path.iterdir()} == before
    assert sorted(path.name for path in copy.path.iterdir()) == [
        "config.json",
        "metrics.json",
        "records.jsonl",
        "task-0.features.safetensors",
        "task-1.features.safetensors",
        "task-1.weights.safetensors",
        "test.safetensors",
    ]
    here, there = copy.test(), whole_run.test()
    assert here["labels"].bincount().tolist() == [3] * 6
    for label in range(6):
        of_copy, of_whole = (test["labels"] == label for test in (here, there))
        assert torch.equal(here["images"][of_copy], there["images"][of_whole][:3])
        for task in (0, 1):
            difference = copy.features(task)[of_copy] - whole_run.features(task)[of_whole][:3]
            assert difference.abs().max() < 0.002 * whole_run.features(task).abs().max()
            assert torch.equal(copy.predictions(task)[of_copy], whole_run.predictions(task)[of_whole][:3])
    right = found(copy.features(1), here["labels"], torch.arange(18))
    assert copy.metrics["summary"]["recall_at_1"] == pytest.approx(float(right.double().mean()))
    assert copy.description["saved"] == {
        "test_images_per_class": 3,
        "from": "csd-edu demo --seed 1",
        "across_networks": across_networks(whole_run),
    }
    epochs = [[r for r in run.records if r["kind"] == "epoch"] for run in (copy, whole_run)]
    assert epochs[0] == epochs[1]
    images = copy.test()["images"]
    with torch.no_grad():
        assert torch.allclose(copy.network(1).embed(images), copy.features(1), atol=0.01)


def test_a_copy_without_features_has_the_metrics_of_one_with(whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(make_saved_runs, "PER_CLASS", 3)
    small = make_saved_runs.keep(whole_run, tmp_path / "small", features=False, images=False, networks=())
    large = make_saved_runs.keep(whole_run, tmp_path / "large", features=True, images=False, networks=())
    assert sorted(path.name for path in small.path.iterdir()) == [
        "config.json",
        "metrics.json",
        "records.jsonl",
        "test.safetensors",
    ]
    assert small.metrics == large.metrics
    assert "images" not in small.test()


def test_the_same_content_gives_the_same_bytes(tmp_path):
    tensors = {"b": torch.arange(7.0).half(), "a": torch.tensor([[1, 2]])}
    contents = set()
    for k in range(12):  # unsorted, both orders of the two entries would be met but for one time in 2,048
        path = tmp_path / f"{k}.safetensors"
        write_tensors(path, tensors, {"note": "größer"})
        size = path.stat().st_size
        make_saved_runs.put_in_order(path)
        assert path.stat().st_size == size
        contents.add(path.read_bytes())
    assert len(contents) == 1
    read, about = read_tensors(path)
    assert about == {"note": "größer"}
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_the_saved_runs_are_in_order():
    for path in saved.folder().rglob("t*.safetensors"):
        content = path.read_bytes()
        assert content.index(b'"about"') < content.index(b'"crc32"'), path


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 4))
def test_the_first_of_each_class(labels, n):
    expected = [i for i, label in enumerate(labels) if labels[:i].count(label) < n]
    assert make_saved_runs.first_of_each_class(torch.tensor(labels), n).tolist() == expected
