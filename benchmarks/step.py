"""How fast is a training step, and the evaluation, against the plain recipe? Ratios from one run.

    python benchmarks/step.py [--device cuda] [--depth 32] [--rounds 5]

The plain recipe, as the code released with CSD trains and evaluates: PIL crops and flips in a DataLoader without
workers, NCHW float32, a teacher in train mode with its graph tracked, Adam unfused, one `.item()` a term, and
Recall@1 row by row. Ours and the plain one alternate, so that a drift of the machine's speed hits both.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import csd_edu as csd
from csd_edu.runtime import keep_freed_memory, pick_device, reproducible_kernels
from csd_edu.tasks import Images

BATCH, CLASSES, OLD = 128, 100, 50


class PlainImages(Dataset):
    """CIFAR-like images with the usual PIL transforms."""

    def __init__(self, data: Images) -> None:
        import torchvision.transforms as T  # here, since benchmarks/gpu.py does without where they are not installed
        from PIL import Image

        self.images = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in data.images]
        self.labels = data.labels.tolist()
        steps = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor()]
        self.transform = T.Compose([*steps, T.Normalize((0.5,) * 3, (0.25,) * 3)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


def networks(depth: int, device: torch.device) -> tuple[csd.models.Network, csd.models.Network]:
    return (
        csd.models.build(f"resnet{depth}", n_classes=CLASSES, seed=0).to(device),
        csd.models.build(f"resnet{depth}", n_classes=OLD, seed=1).to(device),
    )


def plain_epoch(data: Images, depth: int, device: torch.device) -> Callable[[], int]:
    """Return a function that trains one epoch of CSD the plain way and returns the number of steps."""
    student, teacher = (n.to(memory_format=torch.contiguous_format) for n in networks(depth, device))
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3, weight_decay=5e-4)
    loader = DataLoader(PlainImages(data), batch_size=BATCH, shuffle=True, drop_last=True)

    def view(network: csd.models.Network, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, _ = network.backbone(x)
        return features, network.head(features)

    def epoch() -> int:
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            features, logits = view(student.train(), images)
            old_features, old_logits = view(teacher.train(), images)
            terms = [
                csd.losses.cross_entropy(logits, labels),
                csd.losses.batch_hard_triplet(features, labels),
                csd.losses.distillation(logits, old_logits),
                csd.losses.csd(features, old_features, labels),
            ]
            optimizer.zero_grad()
            sum(terms).backward()
            optimizer.step()
            [term.item() for term in terms]
        return len(loader)

    return epoch


def our_epoch(data: Images, depth: int, device: torch.device, **settings: Any) -> Callable[[], int]:
    """Return a function that trains one epoch of CSD as `csd.train` does, with these settings of its configuration."""
    student, teacher = networks(depth, device)
    first = Images(data.images[:OLD], torch.arange(OLD))  # not trained on: a dataset has an image of every class
    rest = Images(data.images[-OLD:], torch.arange(OLD, CLASSES))
    images, labels = (torch.cat([old, new]) for old, new in zip(first, data, strict=True))
    test_images, test_labels = (torch.cat([old, new]) for old, new in zip(first, rest, strict=True))
    dataset = csd.Dataset("random", images, labels, test_images, test_labels, tuple(map(str, range(CLASSES))))
    stream = csd.split(dataset, sizes=[OLD, CLASSES - OLD], shuffle=False)
    config = csd.Config(
        network=f"resnet{depth}",
        later_epochs=10**6,
        batch_size=BATCH,
        flip=True,
        schedule="constant",
        later_lr=1e-3,
        device=device.type,
    ).replace(**settings)
    epochs = csd.learn(student, stream, 1, csd.methods.csd, config, teacher=teacher)

    def epoch() -> int:
        with reproducible_kernels():
            next(epochs)
        return math.ceil(len(data.labels) / BATCH)

    return epoch


def plain_recall(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Recall@1 with a loop over queries, as the released code has it."""
    hits = 0
    normalized = torch.nn.functional.normalize(features, dim=1)
    for i in range(len(features)):
        similarity = normalized @ normalized[i]
        similarity[i] = -2
        hits += int(labels[similarity.argmax()] == labels[i])
    return hits / len(features)


def alternate(plain: Callable[[], int], ours: Callable[[], int], rounds: int) -> Iterator[tuple[float, float]]:
    """Yield seconds a unit of work, the plain way and ours, round by round after one warm-up."""
    for number in range(rounds + 1):
        seconds = []
        for work in (plain, ours):
            started = time.perf_counter()
            units = work()
            seconds.append((time.perf_counter() - started) / units)
        if number > 0:
            yield seconds[0], seconds[1]


def show(what: str, pairs: list[tuple[float, float]]) -> None:
    ratios = sorted(plain / ours for plain, ours in pairs)
    plain, ours = (median(side) * 1000 for side in zip(*pairs, strict=True))
    print(
        f"{what}: plain {plain:.0f} ms, csd_edu {ours:.0f} ms, "
        f"ratio {median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps an epoch")
    options = parser.parse_args()
    device = pick_device(options.device)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * options.steps, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = Images(images, torch.arange(len(images)) % (CLASSES - OLD) + OLD)
    print(f"ResNet-{options.depth}, batch {BATCH}, {device.type}, {torch.get_num_threads()} CPU threads")

    plain, ours = plain_epoch(data, options.depth, device), our_epoch(data, options.depth, device)
    show("a CSD step", list(alternate(plain, ours, options.rounds)))
    if device.type == "cpu":
        keep_freed_memory()
        show("a CSD step, ours reusing freed memory as in csd.train", list(alternate(plain, ours, options.rounds)))

    features = torch.randn(10_000, 64, generator=generator)
    labels = torch.randint(CLASSES, (10_000,), generator=generator)

    def plain_evaluation() -> int:
        plain_recall(features, labels)
        return 1

    def our_evaluation() -> int:
        csd.metrics.recall_at_k(features, labels, features, labels, exclude_self=True)
        return 1

    show("Recall@1, 10,000 × 10,000 × 64", list(alternate(plain_evaluation, our_evaluation, 3)))


if __name__ == "__main__":
    main()
