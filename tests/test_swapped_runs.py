"""The notebooks on other data: a folder of runs takes the place of the saved ones, by one line or a variable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import csd_edu as csd
from csd_edu import saved
from tests.editions import run_on

SEEDS = (0, 1)
TEST_IMAGES = {"bricks": 6, "clouds": 6, "grass": 6, "Große Bäume": 6, "water": 5, "zebra stripes": 5}  # 34 in all

# What each run is called, the method it is of, and its settings. What the kit has no method or setting for is left out.
RUNS: dict[str, tuple[str, dict[str, float]]] = {
    "finetune": ("finetune", {}),
    "frozen": ("frozen", {}),
    "supcon": ("supcon", {}),
    "supcon-tuned": ("supcon", {"distillation": 5.0}),
    "lwf-tuned": ("lwf", {"weight": 5.0}),
    "lwf": ("lwf", {}),
    "csd": ("csd", {}),
    "csd-tuned": ("csd", {"distillation": 5.0}),
    "joint": ("joint", {}),
}
THERE = {
    name: (method, settings)
    for name, (method, settings) in RUNS.items()
    if method in csd.methods.NAMED and settings.keys() <= inspect.signature(csd.methods.NAMED[method]).parameters.keys()
}


def draw(place: Path) -> Path:
    """Draw coloured patterns of six classes, 12 to learn from each, and return the folder."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24] / 24
    for k, (name, n_test) in enumerate(TEST_IMAGES.items()):
        for part, n in (("train", 12), ("test", n_test)):
            (place / part / name).mkdir(parents=True)
            for i in range(n):
                wave = np.sin(2 * np.pi * ((k % 3 + 1) * (rows if k < 3 else columns) + rng.uniform()))
                colour = np.array([k % 2, k // 2 % 2, k // 4], dtype=float) * 120 + rng.uniform(20, 80, 3)
                pixels = colour * (0.6 + 0.4 * wave[..., None]) + rng.normal(0, 12, (24, 24, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / part / name / f"{i}.png")
    return place


def method_of(name: str) -> Callable[..., object]:
    """Return the method of a run of `THERE`, with its settings."""
    method, settings = THERE[name]
    return partial(csd.methods.NAMED[method], **settings) if settings else csd.methods.NAMED[method]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiny runs of each method and seed, on three tasks of two classes."""
    folder = tmp_path_factory.mktemp("mine")
    data = csd.load(draw(folder / "patterns"), image_size=16)
    for seed in SEEDS:
        stream = csd.split(data, n_tasks=3, seed=seed)
        config = csd.Config(epochs=2, later_epochs=1, batch_size=12, crop_padding=1, device="cpu", seed=seed)
        for name in THERE:
            out = folder / "runs" / f"seed{seed}" / name
            csd.train(stream, method_of(name), config, out=out, progress=False)
    return folder / "runs"


@pytest.fixture
def back() -> Iterator[None]:
    """Take the kit's own runs again after a test."""
    yield
    saved.use(None)


@pytest.mark.slow
@pytest.mark.usefixtures("back")
def test_a_folder_takes_the_place_of_the_saved_runs(runs, monkeypatch, capsys):
    kits = saved.NAMES
    saved.use(runs)
    assert set(saved.NAMES) == set(THERE)
    assert [name for name in saved.ORDER if name in THERE] == list(saved.names())
    assert tuple(saved.SEEDS) == saved.seeds() == SEEDS
    assert saved.folder() == runs
    assert (saved.dataset(), saved.group()) == ("patterns", "task")
    assert saved.task_names() == ["task 0", "task 1", "task 2"]
    assert [run.path.name for run in saved.runs(seed=1)] == list(saved.names())
    assert all(len(run.test()["labels"]) == 34 for run in saved.runs())
    saved.use(None)
    assert kits == saved.NAMES
    monkeypatch.setenv("CSD_EDU_RUNS", str(runs / "seed1"))  # of one seed
    assert (saved.SEEDS, saved.run("csd").config.seed, saved.run("csd").path) == ((1,), 1, runs / "seed1" / "csd")
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.usefixtures("back")
def test_what_is_missing_is_named_with_the_command_that_makes_it(runs, tmp_path, capsys):
    for name in ("csd", "lwf", "finetune"):
        (tmp_path / "some" / "seed0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "some" / "seed0" / name).symlink_to(runs / "seed0" / name)
    saved.use(tmp_path / "some")
    missing = "no saved run 'joint'; expected one of 'finetune', 'lwf', 'csd', or train it: csd-edu train --dataset "
    with pytest.raises(
        ValueError, match=missing + r"patterns --method joint --tasks 3 --seed 0 --out .*some/seed0/joint"
    ):
        saved.run("joint")
    with pytest.raises(
        ValueError, match=r"no saved run with seed 4; expected one of 0, or train it: .* --seed 4 --out "
    ):
        saved.run("csd", seed=4)
    with pytest.raises(ValueError, match=r"no saved run 'cds'; expected one of 'finetune', 'lwf', 'csd' \(they are in"):
        saved.run("cds")
    assert capsys.readouterr().out == ""
    assert saved.run("csd-tuned").path == saved.run("csd").path
    assert [run.path.name for run in saved.runs("lwf-tuned", "csd", "csd-tuned")] == ["lwf", "csd"]
    told = capsys.readouterr().out.splitlines()
    assert told == [f"There is no run {n + '-tuned'!r} in some; {n!r} stands in for it." for n in ("csd", "lwf")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no runs in .*empty; expected folders such as finetune"):
        saved.use(tmp_path / "empty")
    assert saved.folder() == tmp_path / "some"


@pytest.mark.campaign
@pytest.mark.parametrize("number", ["02", "05", "06", "07"])
def test_a_notebook_runs_on_other_data(number, runs, tmp_path):
    run_on(runs, number, tmp_path)
