"""Do a few learnt images stand for many? Distribution matching against herding and random images of as many bytes.

    CSD_EDU_DATA=data python benchmarks/condensed.py [--data cifar100] [--seeds 5] [--quick] [--gpu] [--out FILE]
        [--table-only]

The first ten classes of CIFAR-100, one image a class. As a set: new ConvNets are trained on the ten images alone, and
asked for accuracy and Recall@1 among the test images; the random images are those that the learnt ones began as. Beside
them stand the mean image of each class, networks that were not trained, and the one that herding has its features from,
trained on all images. As a memory: the classes come in five tasks, and a new network is trained on the memory in each.
The table has the mean over the seeds with half of its 95 % interval (Student's t), and paired differences. What is done
is in the file, and is not done again.

`--data digits` asks the same of a set that needs no download, without the memory: ten images for 1,198.

`--gpu` is the setting with published numbers that is nearest to what fits ten minutes of a large GPU: all classes of
CIFAR-100, ten images each, as a set alone; 2,500 steps on 128 real images a class for the published 20,000 on 256. Its
time is estimated, not measured. `--quick` is a tiny try of either.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import csd_edu as csd
from csd_edu import few, models, results
from csd_edu.files import write_json
from csd_edu.methods.dm import DM, condense
from csd_edu.methods.herding import Herding
from csd_edu.methods.random_images import RandomImages, selected
from csd_edu.results import Results
from csd_edu.runtime import derive_seed, keep_freed_memory, pick_device

OUT = Path("runs") / "condensed.json"
PUBLISHED = {"random": 0.146, "herding": 0.173, "dm": 0.297, "all images": 0.562}
"""Accuracy on CIFAR-100 with ten images a class, as the tables of later papers give it."""
HERDER = "herding's network"
MEASURES = ("accuracy", "recall_at_1")
DIFFERENCES = (
    ("dm", "random"),
    ("dm", "herding"),
    ("herding", "random"),
    ("dm", "mean images"),
    ("mean images", "herding"),
    ("dm", "dm, not rounded"),
)
DATA = ("cifar100", "digits")
"""What can be condensed."""


@dataclass(frozen=True)
class Size:
    """How much is computed.

    Attributes:
        n_classes: the first of the set.
        n_images: the most training images of each; None for all there are.
        per_class: images condensed or chosen of each class.
        n_tasks: of the stream; 0 for none.
        width: of every ConvNet.
        iterations, batch: of condensing.
        herding_epochs: on all images, of the network whose features herding sees.
        all_epochs: on all images, of the network that the others are measured by.
        epochs: on the few images.
        n_networks: trained on each set.
        stream_epochs, per_epoch: of each task of the stream.
    """

    n_classes: int
    n_images: int | None
    per_class: int
    n_tasks: int
    width: int
    iterations: int
    batch: int
    herding_epochs: int
    all_epochs: int
    epochs: int
    n_networks: int
    stream_epochs: int
    per_epoch: int


SIZES = {
    "cpu": Size(10, None, 1, 5, 32, 300, 32, 10, 80, 300, 3, 10, 300),
    "cpu quick": Size(4, 20, 1, 2, 32, 4, 8, 1, 2, 4, 1, 1, 20),
    "digits": Size(10, None, 1, 0, 32, 300, 32, 10, 80, 300, 3, 0, 0),
    "gpu": Size(100, None, 10, 0, 128, 2500, 128, 20, 80, 1000, 2, 0, 0),
    "gpu quick": Size(3, 20, 2, 0, 32, 4, 8, 1, 2, 4, 2, 0, 0),
}

Scores = dict[str, dict[str, float]]
"""By what is trained on: accuracy, recall_at_1, seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="file of the results")
    parser.add_argument("--seeds", type=int, help="how many, from 0; default 5, of --gpu 1")
    parser.add_argument("--quick", action="store_true", help="a tiny try")
    parser.add_argument("--gpu", action="store_true", help="the setting with published numbers")
    parser.add_argument("--data", choices=DATA, default="cifar100", help="what is condensed")
    parser.add_argument("--device", default="", help="default cpu, of --gpu the one that answers")
    parser.add_argument("--table-only", action="store_true", help="compute nothing, show what is done")
    options = parser.parse_args()
    if options.data != "cifar100" and (options.gpu or options.quick):
        parser.error(f"--gpu and --quick are of cifar100; --data is {options.data}")
    name = ("gpu" if options.gpu else "cpu") + " quick" * options.quick if options.data == "cifar100" else options.data
    device = pick_device(options.device or ("auto" if options.gpu else "cpu"))
    if device.type == "cpu":
        keep_freed_memory()
    seeds = options.seeds if options.seeds is not None else 1 if options.gpu else 5
    if not options.table_only:
        run(name, range(seeds), options.out, device)
    found = results_of(name, read(options.out, name))
    print(table(found))
    shipped = {"cpu": "condensed", "digits": "condensed_digits"}
    path = (
        results.SHIPPED / f"{shipped[name]}.json"
        if name in shipped
        else options.out.with_name(f"condensed {name}.json")
    )
    found.write(path)
    print(f"\nwritten to {path}")


def run(name: str, seeds: range, out: Path, device: torch.device) -> dict[str, Any]:
    """Compute what is missing of these seeds, and return all results of this size.

    Raises:
        SystemExit: if the file has results of this name that were computed otherwise.
    """
    size = SIZES[name]
    source = source_of(name)
    data = first_classes(csd.load(source), size.n_classes, size.n_images)
    parts: dict[str, Callable[..., Scores]] = {
        "set": partial(as_set, flip=source == "cifar100"),
        "all": partial(as_all, flip=source == "cifar100"),
        **({"mean images": partial(as_means, flip=source == "cifar100")} if size.per_class == 1 else {}),
        **({"memory": as_memory} if size.n_tasks else {}),
    }
    for seed in seeds:
        for part, compute in parts.items():
            found = read(out, name)
            if str(seed) in found["parts"].get(part, {}):
                continue
            started = time.perf_counter()
            scores = compute(data, size, seed, device)
            found["parts"].setdefault(part, {})[str(seed)] = scores
            found["seconds"][f"{part} {seed}"] = round(time.perf_counter() - started, 1)
            found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
            out.parent.mkdir(parents=True, exist_ok=True)
            write_json(out, {**read_all(out), name: found})
            print(f"{name}, {part}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    return read(out, name)


def source_of(name: str) -> str:
    """Return the data that a size is of."""
    return name if name in DATA else "cifar100"


def read_all(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    return found


def read(out: Path, name: str) -> dict[str, Any]:
    """Return the results of this size so far."""
    size = dataclasses.asdict(SIZES[name])
    found: dict[str, Any] = read_all(out).get(name, {"size": size, "parts": {}, "seconds": {}})
    if found["size"] != size:
        raise SystemExit(f"{out} has results of {name!r} with {found['size']}, now {size}: choose another --out")
    return found


def first_classes(data: csd.Dataset, n_classes: int, n_images: int | None) -> csd.Dataset:
    """Return a dataset's first classes, with at most so many training images of each."""
    train = torch.nonzero(data.y_train < n_classes).squeeze(1)
    if n_images is not None:
        train = torch.cat([train[data.y_train[train] == c][:n_images] for c in range(n_classes)])
    test = data.y_test < n_classes
    return csd.Dataset(
        f"{data.name}, {n_classes} classes",
        data.x_train[train],
        data.y_train[train],
        data.x_test[test],
        data.y_test[test],
        data.classes[:n_classes],
    )


def as_set(data: csd.Dataset, size: Size, seed: int, device: torch.device, *, flip: bool) -> Scores:
    """Return what networks learn from the few images alone, by how they were made.

    With `flip`, mirroring is among the augmentations.
    """
    images, labels = data.x_train.to(device), data.y_train.to(device)
    generator = torch.Generator().manual_seed(derive_seed(seed, "condense"))
    started = time.perf_counter()
    *_, learnt = condense(
        images,
        labels,
        size.per_class,
        iterations=size.iterations,
        width=size.width,
        batch=size.batch,
        flip=flip,
        generator=generator,
    )
    condensing = time.perf_counter() - started
    started = time.perf_counter()
    network = few.train_on(
        images,
        labels,
        width=size.width,
        epochs=size.herding_epochs,
        batch_size=64,
        flip=flip,
        seed=derive_seed(seed, "herding"),
    )
    features, _ = models.embed(network, images)
    herded, herded_labels = selected(images, labels, size.per_class, "herding", features=features)
    choosing = time.perf_counter() - started
    sets = {
        "random": (learnt.start, learnt.labels, 0.0),
        "herding": (herded, herded_labels, choosing),
        "dm": (learnt.images, learnt.labels, condensing),
        "dm, not rounded": (learnt.pixels, learnt.labels, 0.0),
    }
    test_images = data.x_test.to(device)
    mean_std = dict(zip(("pixel_mean", "pixel_std"), models.pixel_statistics(images), strict=True))
    fresh = models.build(f"convnet{size.width}", images.shape[1], n_classes=size.n_classes, seed=seed, **mean_std).to(
        device
    )
    scores = {
        "not trained": _worded([few.score(fresh, test_images, data.y_test)], 0.0),
        HERDER: _worded([few.score(network, test_images, data.y_test)], choosing),
    }
    for name, (x, y, seconds) in sets.items():
        of_networks = few.evaluate(
            x,
            y,
            test_images,
            data.y_test,
            n_networks=size.n_networks,
            width=size.width,
            epochs=size.epochs,
            flip=flip,
            seed=seed,  # each set from the same weights
        )
        scores[name] = _worded(of_networks, seconds)
    return scores


def as_all(data: csd.Dataset, size: Size, seed: int, device: torch.device, *, flip: bool) -> Scores:
    """Return what a network learns from all images, trained until it learns no more."""
    started = time.perf_counter()
    network = few.train_on(
        data.x_train.to(device),
        data.y_train.to(device),
        width=size.width,
        epochs=size.all_epochs,
        batch_size=64,
        flip=flip,
        seed=derive_seed(seed, "all images"),
    )
    scores = [few.score(network, data.x_test.to(device), data.y_test)]
    return {"all images": _worded(scores, time.perf_counter() - started)}


def as_means(data: csd.Dataset, size: Size, seed: int, device: torch.device, *, flip: bool) -> Scores:
    """Return what networks learn from the mean image of each class: one image a class that nobody has to learn."""
    images, labels = data.x_train.to(device), data.y_train.to(device)
    means = torch.stack([few.as_float(images[labels == c]).mean(dim=0) for c in range(size.n_classes)])  # (K, C, H, W)
    of_networks = few.evaluate(
        few.as_uint8(means),
        torch.arange(size.n_classes, device=device),
        data.x_test.to(device),
        data.y_test,
        n_networks=size.n_networks,
        width=size.width,
        epochs=size.epochs,
        flip=flip,
        seed=seed,  # from the same weights as in `as_set`
    )
    return {"mean images": _worded(of_networks, 0.0)}


def _worded(scores: list[few.Score], seconds: float) -> dict[str, float]:
    return {
        "accuracy": mean(score.accuracy for score in scores),
        "recall_at_1": mean(score.recall_at_1 for score in scores),
        "seconds": round(seconds, 1),
    }


def as_memory(data: csd.Dataset, size: Size, seed: int, device: torch.device) -> Scores:
    """Return how well a stream of tasks is known in the end, by what its memory holds."""
    stream = csd.split(data, n_tasks=size.n_tasks, seed=seed)
    few_images = {"per_class": size.per_class, "per_epoch": size.per_epoch}
    methods = {
        "random": RandomImages(**few_images),
        "herding": Herding(**few_images, epochs=size.herding_epochs, width=size.width, flip=True),
        "dm": DM(**few_images, iterations=size.iterations, width=size.width, batch=size.batch, flip=True),
    }
    config = csd.Config(
        network=f"convnet{size.width}",
        epochs=size.stream_epochs,
        optimizer="sgd",
        lr=0.01,
        schedule="constant",
        batch_size=50,
        flip=True,
        device=str(device),
        precision="float32",
        save_images=False,
        seed=seed,
    )
    scores = {}
    for name, method in methods.items():
        started = time.perf_counter()
        run = csd.train(stream, method, config, progress=False)
        summary = run.metrics["summary"]
        scores[name] = {
            "accuracy": summary["head_accuracy"],
            "recall_at_1": summary["recall_at_1"],
            "bytes": sum(run.kept_bytes.values()),
            "seconds": round(time.perf_counter() - started, 1),
        }
    return scores


def results_of(name: str, found: Mapping[str, Any]) -> Results:
    """Return what was found as all experiments do: by what is kept, for the set and for the memory of a stream.

    Raises:
        SystemExit: if nothing is there yet, or the parts were not computed with the same seeds.
    """
    size, parts = SIZES[name], found["parts"]
    seeds = {tuple(map(int, of_seeds)) for of_seeds in parts.values()}
    if len(seeds) != 1:
        raise SystemExit("the parts have different seeds, or none; call the same without --table-only")
    values: dict[str, dict[str, list[float]]] = {}
    for part, of_seeds in parts.items():
        for kind in next(iter(of_seeds.values())):
            for measure in MEASURES:
                values.setdefault(kind, {})[f"{measure}, {'memory' if part == 'memory' else 'set'}"] = [
                    scores[kind][measure] for scores in of_seeds.values()
                ]
    return Results(
        about=f"{source_of(name)}, the first {size.n_classes} classes, images a class: {size.per_class}; as a set"
        + f", and as the memory of a stream of {size.n_tasks} tasks" * (size.n_tasks > 0)
        + f"; ConvNets of width {size.width}, {size.iterations} steps of condensing",
        command="python benchmarks/condensed.py"
        + f" --data {name}" * (name in DATA)
        + " --gpu" * ("gpu" in name)
        + " --quick" * ("quick" in name),
        seeds=seeds.pop(),
        values=values,
        notes={
            "size": found["size"],
            "seconds": found["seconds"],
            "device": found["device"],
            **({"published accuracy, 20,000 steps": PUBLISHED} if name == "gpu" else {}),
        },
    )


def table(found: Results) -> str:
    """Return the tables in Markdown."""
    measures = list(dict.fromkeys(measure for of in found.values.values() for measure in of))
    published = found.notes.get("published accuracy, 20,000 steps", {})
    return "\n".join(
        [
            f"{found.about}; on {found.notes['device']}; seeds {', '.join(map(str, found.seeds))}. Mean ± half of the "
            "95 % interval.",
            "",
            found.table(measures),
            "",
            found.differences(DIFFERENCES, measures),
            *[f"Published accuracy of {kind}, with 20,000 steps: {value:.3f}" for kind, value in published.items()],
        ]
    )


if __name__ == "__main__":
    main()
