"""A teaching kit for continual representation learning with Contrastive Supervised Distillation.

import csd_edu as csd

data = csd.load("glyphs")                    # images and labels
stream = csd.split(data, n_tasks=5, seed=0)  # classes arrive task by task
run = csd.train(stream, csd.methods.csd, csd.Config(), out="runs/csd")
run.metrics["summary"]
"""

import os

# Threads that wait should sleep. By default they spin, and where programs share the cores training takes many times as
# long (benchmarks/threads.py). This is read once, when torch is loaded, so it comes first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    os.getcwd()
except FileNotFoundError:  # there torch's MKL ends the process, with words that do not help
    raise FileNotFoundError("the working folder was deleted; change to another one, as with  cd ~") from None

from csd_edu import drift, features, losses, maps, methods, metrics, models, retrieval
from csd_edu.config import Config, Preset, preset
from csd_edu.data import Dataset, load
from csd_edu.learn import learn
from csd_edu.learner import TrainingDivergedError
from csd_edu.memory import Bank, Memory
from csd_edu.runs import Run
from csd_edu.tasks import Stream, split
from csd_edu.train import train, training
from csd_edu.version import __version__

__all__ = [
    "Bank",
    "Config",
    "Dataset",
    "Memory",
    "Preset",
    "Run",
    "Stream",
    "TrainingDivergedError",
    "__version__",
    "drift",
    "features",
    "learn",
    "load",
    "losses",
    "maps",
    "methods",
    "metrics",
    "models",
    "preset",
    "retrieval",
    "split",
    "train",
    "training",
]
