"""Train the first four methods and print a checksum of all they leave: `python -m tests.bits DATA.npz FOLDER`.

Run with the environment `PORTABLE`, under which every x86-64 processor computes the same bits.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

import csd_edu as csd

METHODS = ("finetune", "lwf", "csd", "joint")
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
}
CONFIG = csd.Config(epochs=2, later_epochs=2, batch_size=16, crop_padding=2, precision="float32", device="cpu")


def stream(data: Path) -> csd.Stream:
    return csd.split(csd.load(str(data)), n_tasks=3, seed=0)


def checksums(run: csd.Run) -> dict[str, str]:
    """Return a checksum of the metrics and one of each task's weights, by value."""
    found = {"metrics": hashlib.sha256((run.path / "metrics.json").read_bytes()).hexdigest()[:16]}
    for task in range(run.n_tasks):
        digest = hashlib.sha256()
        for _, value in sorted(run.network(task).state_dict().items(), key=lambda item: item[0].split(".")[1:]):
            digest.update(value.contiguous().numpy().tobytes())
        found[f"task {task}"] = digest.hexdigest()[:16]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    tasks, out = stream(Path(sys.argv[1])), Path(sys.argv[2])
    runs = {
        name: csd.train(tasks, getattr(csd.methods, name), CONFIG, out=out / name, progress=False) for name in METHODS
    }
    print(json.dumps({name: checksums(run) for name, run in runs.items()}, indent=1))
