"""The exercises on a small memory against what else is known: the kit's own memory, its methods' budgets, its sizes."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest
import torch
from hypothesis import given, settings, strategies as st

import csd_edu as csd
from benchmarks import quantity, quantity_digits
from csd_edu import check, results
from csd_edu.small import image_bytes

truth = {name: check.EXERCISES[name].truth for name in ("images_that_fit", "shrink", "kept_per_class")}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_balanced_memory_holds_as_many_of_each_class_but_for_ties(labels, size):
    """The kit draws among several largest classes, so that which of them has one more may differ."""
    memory = csd.Memory(size, balanced=True)
    memory.add(labels=torch.tensor(labels))
    kept = truth["kept_per_class"](labels, size)
    assert sorted(Counter(memory.rows["labels"].tolist()).values()) == sorted(n for n in kept if n)
    assert sum(kept) == min(size, len(labels))
    assert all(n <= labels.count(c) for c, n in enumerate(kept))


@given(st.integers(0, 5000), st.integers(1, 12), st.sampled_from([1, 3]), st.integers(0, 8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_as_many_images_fit_as_the_bytes_allow(n_bytes, side, channels, label_bytes):
    n = truth["images_that_fit"](n_bytes, side, channels, label_bytes)
    one = image_bytes(side, channels) + label_bytes
    assert n * one <= n_bytes < (n + 1) * one


def test_no_block_of_a_case_has_a_mean_of_just_a_half():
    for case in check.EXERCISES["shrink"].cases:
        images, side = case.arguments
        k = images.shape[-1] // side
        total = images.unflatten(3, (side, k)).unflatten(2, (side, k)).sum(dim=(3, 5))
        assert not ((2 * total) % (2 * k * k) == k * k).any()


def test_the_memories_of_digits_keep_to_their_bytes():
    found = results.read("quantity_digits")
    assert found.notes["budget"] == quantity_digits.BUDGET
    for point in quantity_digits.POINTS:
        kept = found.notes["bytes"][point.name]
        assert point.size == found.notes["images"][point.name] > 0
        assert kept <= quantity_digits.BUDGET or point.crop_first
        stored = 16 if point.crop_first else point.side
        assert kept == point.size * (image_bytes(stored, 1) + quantity_digits.LABEL_BYTES[point.method])


@pytest.mark.parametrize("gpu", [False, True])
def test_every_memory_of_photographs_fits_into_an_epoch(gpu):
    plan = quantity.plan_of(argparse.Namespace(gpu=gpu, quick=False))
    n_images = 500 * plan.n_classes
    for point in plan.points:
        method = point.method(plan.budget, plan.per_epoch, n_images)
        n = method.size or plan.budget // image_bytes(point.side, 3)
        assert n <= plan.per_epoch <= n_images
