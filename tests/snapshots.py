"""Snapshots of features for tests: random ones, such in which one class has turned, and such that are refused."""

import math

import torch


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_class_rotated(angle, per_class=30, n_classes=4, size=32, moved=0):
    """Return two snapshots and labels; in the second, every feature of one class has turned by the angle."""
    labels = torch.arange(n_classes).repeat(per_class)
    before = 4 * random(n_classes, size, seed=3)[labels] + random(len(labels), size, seed=4)
    c, s = math.cos(angle), math.sin(angle)
    plane = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    rotation = torch.block_diag(*[plane] * (size // 2))  # turns every vector by the angle
    after = torch.where(labels[:, None] == moved, 1.7 * before @ rotation.T, before)
    return before, after, labels


BAD = [
    ([], "no snapshots"),
    ([torch.ones(5)], "snapshot 0 has shape"),
    ([random(5, 3), random(4, 3)], "snapshot 1 has shape"),
    ([random(5, 3), random(5, 3) / 0], "snapshot 1 holds NaN"),
    ([random(1, 3)], "expected at least 2"),
]
