"""A teaching kit for continual representation learning with Contrastive Supervised Distillation.

import csd_edu as csd

data = csd.load("glyphs")                    # images and labels
stream = csd.split(data, n_tasks=5, seed=0)  # classes arrive task by task
run = csd.train(stream, csd.methods.csd, csd.Config(), out="runs/csd")
run.metrics["summary"]
"""

import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from csd_edu.paths import working_folder as _working_folder
from csd_edu.version import __version__

# Threads that wait should sleep. By default they spin, and where programs share the cores training takes many times as
# long (benchmarks/threads.py). This is read once, when torch is loaded, so it comes first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from csd_edu import drift, features, losses, maps, methods, metrics, models, retrieval, small
    from csd_edu.config import Config, Preset, preset
    from csd_edu.data import Dataset, load
    from csd_edu.learn import learn
    from csd_edu.learner import TrainingDivergedError
    from csd_edu.memory import Bank, Memory
    from csd_edu.runs import Run
    from csd_edu.tasks import Stream, split
    from csd_edu.train import train, training

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
    "small",
    "split",
    "train",
    "training",
]

_FROM = {
    **dict.fromkeys(("Config", "Preset", "preset"), "config"),
    **dict.fromkeys(("Dataset", "load"), "data"),
    **dict.fromkeys(("Bank", "Memory"), "memory"),
    **dict.fromkeys(("Stream", "split"), "tasks"),
    **dict.fromkeys(("train", "training"), "train"),
    "Run": "runs",
    "TrainingDivergedError": "learner",
    "learn": "learn",
}
"""In which module a name lies; the others are modules."""


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time: torch takes seconds, and `csd-edu --help` doesn't need it."""
    if name.startswith("_") or (name not in _FROM and importlib.util.find_spec(f"{__name__}.{name}") is None):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _working_folder()  # where it was deleted, torch's MKL ends the process with words that do not help
    if not _asked_by_the_kit():
        importlib.import_module(f"{__name__}.reader")  # it knows the kit as it is before a notebook changes it
    module = importlib.import_module(f"{__name__}.{_FROM.get(name, name)}")
    value = getattr(module, name) if name in _FROM else module
    setattr(sys.modules[__name__], name, value)
    return value


def _asked_by_the_kit() -> bool:
    """Return whether one of the kit's modules imports another: only a whole one may import all others."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("importlib"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).startswith(f"{__name__}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        """Keep `csd.train` and `csd.learn` functions, though Python names the module after which they are called so."""
        super().__setattr__(name, getattr(value, name) if name in _FROM and isinstance(value, ModuleType) else value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a function of a notebook that says `csd.…` be sent to another process, where joblib does so."""
        return importlib.import_module, (__name__,)


sys.modules[__name__].__class__ = _Package
