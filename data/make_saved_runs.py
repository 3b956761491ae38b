"""Make the small saved runs that the notebooks start from: `make saved-runs`.

    python data/make_saved_runs.py

Trains what `csd-edu demo` trains, for the seeds 0 to 4, into runs/lesson-glyphs, as far as that is not there yet (it is
if benchmarks/lesson.py has made its table), and writes the part worth keeping to data/saved.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import csd_edu as csd
from csd_edu import lesson, metrics, saved, tuning
from csd_edu.comparison import Comparison, across_networks
from csd_edu.files import read_tensors, write_atomically, write_json, write_tensors

ROOT = Path(__file__).resolve().parents[1]
PER_CLASS = 20  # of the glyphs these are all
SEEDS = (0, 1, 2, 3, 4)
WITH_FEATURES = ("finetune", "lwf-tuned", "csd", "csd-tuned", "joint")
WITH_IMAGES = ("finetune", "csd-tuned")
WITH_NETWORKS = {"finetune": (0, 1), "lwf-tuned": (1,), "csd-tuned": (0, 1)}


def main() -> None:
    out = ROOT / "data" / "saved"
    for seed in SEEDS:
        for name, run in trained(seed).items():
            folder = out / f"seed{seed}" / name
            shutil.rmtree(folder, ignore_errors=True)
            small = keep(
                run,
                folder,
                features=seed == 0 and name in WITH_FEATURES,
                images=seed == 0 and name in WITH_IMAGES,
                networks=WITH_NETWORKS.get(name, ()) if seed == 0 else (),
            )
            print(f"seed {seed}, {name}: {in_words(run.metrics)}; on what is kept: {in_words(small.metrics)}")
    tuning.shipped().write(out)
    rivals = Comparison(saved.runs(*lesson.MAPPED))
    for classes in ((), rivals.few_classes()):
        rivals.maps("umap", classes)  # those of PCA need no keeping: they take no time
    for path in out.rglob("*.safetensors"):
        put_in_order(path)
    sizes = {path: path.stat().st_size for path in out.rglob("*") if path.is_file()}
    print(f"{len(sizes)} files of together {sum(sizes.values()) / 1e6:.1f} MB in {out.relative_to(ROOT)}")


def trained(seed: int) -> dict[str, csd.Run]:
    """Return the lesson's runs of a seed by their names, trained if they are not there yet."""
    preset = csd.preset("glyphs")
    data = csd.load("glyphs", **preset.of_images())
    stream = csd.split(data, **preset.in_tasks(), seed=seed)
    folder = ROOT / "runs" / "lesson-glyphs" / f"seed{seed}"
    return lesson.train(stream, preset.config.replace(seed=seed), tuning.shipped(), out=folder)


def keep(run: csd.Run, folder: Path, *, features: bool, images: bool, networks: tuple[int, ...]) -> csd.Run:
    """Write a smaller copy of a finished run, with a few test images of each class, and measured on these.

    Args:
        run: to copy.
        folder: of the copy, which must not be there yet.
        features: keep features (rounded to float16) and predictions of the test images after each task.
        images: keep the test images themselves.
        networks: the tasks after which to keep the network.

    Returns:
        The copy. Its metrics are computed from the features as they are kept, also if these are not kept.
    """
    folder.mkdir(parents=True)
    test = run.test()
    chosen = first_of_each_class(test["labels"], PER_CLASS)  # (n,)
    labels, tasks = test["labels"][chosen], test["tasks"][chosen]
    write_tensors(
        folder / "test.safetensors",
        {"labels": labels, "tasks": tasks, **({"images": test["images"][chosen]} if images else {})},
    )
    rows: list[dict[str, Any]] = []
    collapsed = []
    for task in range(run.n_tasks):
        rounded, predictions = run.features(task)[chosen].half(), run.predictions(task)[chosen]
        if features:
            write_tensors(
                folder / f"task-{task}.features.safetensors", {"features": rounded, "predictions": predictions}
            )
        if task in networks:
            weights = run.task_file(task, "weights")
            read_tensors(weights)  # raises if damaged
            shutil.copyfile(weights, folder / weights.name)
        rows.append(metrics.task_row(rounded.float(), predictions, labels, tasks, task))
        collapsed.append(metrics.is_collapsed(rounded.float()))
    records = [
        {**record, "collapsed": collapsed[record["task"]], **rows[record["task"]]}
        if record["kind"] == "task"
        else record
        for record in run.records
    ]
    write_atomically(folder / "records.jsonl", "".join(json.dumps(record) + "\n" for record in records).encode())
    write_json(folder / "metrics.json", metrics.summarize(rows, run.n_tasks))
    stream = run.description["stream"]
    fingerprint = stream["fingerprint"]
    if len(chosen) < len(test["labels"]):  # runs on all test images must not be laid beside these as if they were such
        fingerprint += f", {PER_CLASS} test images a class"
    write_json(
        folder / "config.json",
        {
            **run.description,
            "stream": {**stream, "fingerprint": fingerprint},
            "saved": {
                "test_images_per_class": PER_CLASS,
                "from": f"csd-edu demo --seed {run.config.seed}",
                "across_networks": across_networks(run),  # from features as they were, all of them
            },
        },
    )
    return csd.Run.load(folder)


def first_of_each_class(labels: Tensor, n: int) -> Tensor:
    """Return the indices, ascending, of the first n images of each class: labels (N,) to (n · classes,) int64."""
    return torch.cat([(labels == label).nonzero()[:n, 0] for label in labels.unique()]).sort().values


def put_in_order(path: Path) -> None:
    """Sort the header of a safetensors file, so that the same content gives the same bytes.

    The library writes the entries of its metadata in random order.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(end - 8)
    write_atomically(path, len(text).to_bytes(8, "little") + text + content[end:])


def in_words(of_run: dict[str, Any]) -> str:
    """Return what a run's metrics come to."""
    summary = of_run["summary"]
    return f"R@1 {summary['recall_at_1']:.3f}, forgetting {summary['forgetting']:.3f}"


if __name__ == "__main__":
    main()
