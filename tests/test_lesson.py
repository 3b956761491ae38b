"""The main job, at full length: the lesson must be loud, on the glyphs and on real images."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import mean

import pytest

import csd_edu as csd
from csd_edu import lesson, metrics, tuning
from csd_edu.comparison import Comparison
from tests.conftest import need, real_images

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("seed", [0, 8])
def test_the_demo_shows_forgetting_and_what_the_teacher_does_about_it(seed, tmp_path):
    csd.load("glyphs", image_size=csd.preset("glyphs", "quick").image_size)  # drawn once for all seeds, and cached
    started = time.perf_counter()
    command = [sys.executable, "-m", "csd_edu", "demo", "--seed", str(seed), "--out", str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(output, f"{time.perf_counter() - started:.0f} s")
    runs = {name: csd.Run.load(tmp_path / name) for name in lesson.SHOWN}
    assert all(run.method in output for run in runs.values())
    for name, run in runs.items():
        learnt = metrics.just_learnt(run.metrics["recall_at_1"]["task"])
        learnt = learnt[:1] if name == "frozen" else learnt  # the others it has not learnt
        assert min(learnt) >= 0.85
        assert mean(learnt) >= 0.90 or name == "frozen"
    recall = {name: run.metrics["summary"]["recall_at_1"] for name, run in runs.items()}
    for distilled in ("lwf-tuned", "csd", "csd-tuned"):
        assert recall["joint"] - 0.10 > recall[distilled] > max(recall["finetune"], recall["supcon"]) + 0.04
    assert runs["finetune"].metrics["head_accuracy"]["seen"][-1][0] <= 0.05
    assert tuning.read_tuning(tmp_path) == tuning.shipped()
    assert (tmp_path / "report.html").stat().st_size < 9_000_000

    # What the pictures show: features stay where they were under CSD; naming collapses, finding does not.
    rivals = Comparison([runs[name] for name in lesson.MAPPED], names=lesson.MAPPED)
    moved = {
        name: rivals.drift_table(name)[3]["mean_displacement"] for name in rivals.runs
    }  # from the first to the last
    stale = {name: float(plane.stale[-1].double().mean()) for name, plane in rivals.planes().items()}
    found = {name: float(plane.right[-1].double().mean()) for name, plane in rivals.planes().items()}
    print("turned", moved, "nearest mean", found, "with the first network's means", stale)
    assert moved["csd-tuned"] < moved["lwf-tuned"] < moved["finetune"]
    assert stale["csd-tuned"] > stale["finetune"]
    assert found["csd-tuned"] > found["finetune"]
    for run in runs.values():
        if run.method not in ("frozen", "joint"):
            assert run.metrics["head_accuracy"]["seen"][-1][0] <= 0.05
            assert run.metrics["recall_at_1"]["seen"][-1][0] >= 0.4


@pytest.mark.longest
@pytest.mark.parametrize("dataset", ["cifar100", "omniglot"])
def test_on_real_images_csd_is_not_below_fine_tuning_over_three_seeds(dataset, tmp_path):
    preset = csd.preset(real_images(dataset), "quick")
    data = csd.load(dataset, per_class=preset.per_class, image_size=preset.image_size)
    recall: dict[str, list[float]] = {"finetune": [], "csd": []}
    for seed in range(3):
        stream = csd.split(data, **preset.in_tasks(), seed=seed)
        for method, values in recall.items():
            config = preset.config.replace(seed=seed, save_images=False)
            out = tmp_path / f"{method}-{seed}"
            run = csd.train(stream, csd.methods.NAMED[method], config, out=out, progress=False)
            values.append(run.metrics["summary"]["recall_at_1"])
    print(dataset, recall)
    assert mean(recall["csd"]) >= mean(recall["finetune"])


MEMORY = """
import sys
from pathlib import Path
import csd_edu as csd
data = csd.load("cifar100")
stream = csd.split(data, n_tasks=2)
config = csd.Config(batch_size=128, flip=True, epochs=1, later_epochs=1)
for record in csd.training(stream, csd.methods.csd, config, out=sys.argv[1]):
    pass
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_all_of_cifar100_is_loaded_and_trained_in_three_gigabytes(tmp_path):
    real_images("cifar100")
    need(sys.platform == "linux", "only Linux tells a process its peak memory")
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "run")]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    print(f"peak resident memory: {kilobytes / 1e6:.2f} GB")
    assert kilobytes < 3_000_000
