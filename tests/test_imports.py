"""Training needs little: with all that draws, maps and searches missing, a network still learns."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from csd_edu import start

NEEDED = {"torch", "torchvision", "numpy", "safetensors", "tqdm"}
PROGRAM = """
import sys
blocked = sys.argv[1].split(",")
sys.modules.update(dict.fromkeys(blocked))  # importing one of them now fails
import csd_edu as csd

stream = csd.split(csd.load("tiny.npz"), n_tasks=2, seed=0)
run = csd.train(stream, csd.methods.csd, csd.Config(epochs=1, later_epochs=1), out="run", progress=False)
print(run.finished, sorted(name for name in blocked if sys.modules[name]))
"""


@pytest.mark.slow
def test_training_needs_nothing_that_draws_or_searches(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    y = np.arange(40) % 4
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=y, x_test=x, y_test=y, classes=np.array(list("abcd")))
    required = {start.MODULES.get(package, package) for package in start.requirements()}
    blocked = required - NEEDED | {"jupyter", "IPython", "traitlets", "numba"}
    assert {"plotly", "umap", "faiss", "ipywidgets", "anywidget", "sklearn", "scipy", "PIL"} < blocked
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(blocked)],
        cwd=tmp_path,
        env={**os.environ, "CSD_EDU_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "True []\n", done.stderr
