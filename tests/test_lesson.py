"""The main job, at full length: the lesson must be loud, on the glyphs and on real images."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from statistics import mean

import pytest

import csd_edu as csd
from csd_edu.comparison import Comparison
from tests.conftest import need, real_images

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_shows_forgetting_and_what_csd_does_about_it(seed, tmp_path):
    csd.load("glyphs", image_size=csd.preset("glyphs", "quick").image_size)  # drawn once for all seeds, and cached
    started = time.perf_counter()
    command = [sys.executable, "-m", "csd_edu", "demo", "--seed", str(seed), "--out", str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(output, f"{time.perf_counter() - started:.0f} s")
    end = {m: json.loads((tmp_path / m / "metrics.json").read_text()) for m in ("finetune", "lwf", "csd", "joint")}
    recall = {method: metrics["summary"]["recall_at_1"] for method, metrics in end.items()}
    assert recall["csd"] >= recall["finetune"] + 0.10
    assert recall["csd"] >= recall["lwf"] + 0.10
    assert recall["joint"] >= 0.80
    assert end["finetune"]["head_accuracy"]["seen"][-1][0] <= 0.05
    assert end["csd"]["summary"]["forgetting"] < end["finetune"]["summary"]["forgetting"]
    assert (tmp_path / "report.html").stat().st_size < 8_000_000

    # What the pictures show: matrices and maps of fine-tuning decay, CSD's less; naming collapses, finding does not.
    comparison = Comparison.of(*[csd.Run.load(tmp_path / method) for method in ("finetune", "csd")])
    drift = {name: comparison.drift_table(name) for name in comparison.runs}
    moved = {name: {(row["before"], row["after"]): row["mean_displacement"] for row in drift[name]} for name in drift}
    lost = {name: int(comparison.changes(name)["lost"].sum()) for name in comparison.runs}
    print("turned from the first network to the last:", {name: f"{m[0, 4]:.3f}" for name, m in moved.items()})
    print("queries lost:", lost)
    assert all(moved["csd"][pair] < moved["finetune"][pair] for pair in moved["csd"])
    assert lost["csd"] < lost["finetune"]
    for method in ("finetune", "csd"):
        assert end[method]["head_accuracy"]["seen"][-1][0] <= 0.05
        assert end[method]["recall_at_1"]["seen"][-1][0] >= 0.15


@pytest.mark.parametrize("dataset", ["cifar100", "omniglot"])
def test_on_real_images_csd_is_not_below_fine_tuning_over_three_seeds(dataset, tmp_path):
    preset = csd.preset(real_images(dataset), "quick")
    data = csd.load(dataset, per_class=preset.per_class, image_size=preset.image_size)
    recall: dict[str, list[float]] = {"finetune": [], "csd": []}
    for seed in range(3):
        groups = preset.n_tasks == "groups"
        stream = csd.split(data, None if groups else preset.n_tasks, groups=groups, seed=seed)
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
