"""What must hold on a GPU, as benchmarks/gpu.py checks it too; skipped where torch sees none."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu_checks as checks

# Not through `need`: no CI of this project has a GPU.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
each_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])


@pytest.mark.parametrize("name", checks.all_checks("cuda"))
def test_on_a_gpu(name):
    checks.all_checks("cuda")[name]()


@each_precision
@pytest.mark.parametrize("loss", checks.public_losses())
def test_losses_are_exact_on_a_gpu(loss, precision):
    checks.loss_is_exact("cuda", loss, precision)


@each_precision
@pytest.mark.parametrize("method", checks.METHODS)
def test_a_run_that_was_interrupted_on_a_gpu_ends_the_same(method, precision):
    checks.interrupted_it_ends_the_same("cuda", method, precision)


@pytest.mark.slow
@pytest.mark.parametrize("method", checks.METHODS)
def test_a_run_that_was_killed_on_a_gpu_ends_the_same(method):
    checks.killed_it_ends_the_same("cuda", method, "float32")
