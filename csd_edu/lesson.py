"""The lesson: which runs are set beside each other, so that what CSD does can be told from what it is not."""

from __future__ import annotations

from pathlib import Path

from csd_edu import methods
from csd_edu.config import Config
from csd_edu.files import check_writable
from csd_edu.methods import AnyMethod
from csd_edu.paths import given_path
from csd_edu.report import fit_maps
from csd_edu.runs import Run
from csd_edu.sweep import After, Job, sweep
from csd_edu.tasks import Stream
from csd_edu.tuning import Tuning

SHOWN = ("finetune", "frozen", "supcon", "supcon-tuned", "lwf-tuned", "csd", "csd-tuned", "joint")
"""The runs in the order in which they are shown."""

MAPPED = ("finetune", "lwf-tuned", "csd-tuned")
"""Those of which maps are drawn."""


def the_methods(tuning: Tuning) -> dict[str, AnyMethod]:
    """Return the methods by the names of their runs, in the order in which they are trained.

    All weights of "csd" are 1, as released; "-tuned" is the same method with the weight chosen for it. "frozen" and
    "supcon" are controls, and so is "supcon-tuned": tuned CSD without the teacher's features.
    """
    tuned = {f"{name}-tuned": tuning.method(name) for name in ("lwf", "csd", "supcon")}
    longest_first: dict[str, AnyMethod] = {"joint": methods.joint, "finetune": methods.finetune, **tuned}
    return {**longest_first, "csd": methods.csd, "supcon": methods.supcon, "frozen": methods.frozen}


def train(
    stream: Stream,
    config: Config,
    tuning: Tuning,
    *,
    out: Path,
    maps: bool = False,
    n_jobs: int | None = None,
    progress: bool = True,
) -> dict[str, Run]:
    """Train all runs of the lesson side by side, or go on with them.

    Args:
        stream, config: of all of them.
        tuning: the weights; it is written beside the runs.
        out: the folder in which each run gets one of its own.
        maps: fit the maps of the report while the last ones train.
        n_jobs: trainings at a time; default one for each core.
        progress: show a line for each.

    Returns:
        The runs by name, in the order of `SHOWN`.
    """
    out = given_path(out, what="out")
    check_writable(out)
    jobs = {name: Job(stream, method, config, out / name) for name, method in the_methods(tuning).items()}
    after = {"maps": After(MAPPED, fit_maps)} if maps else None
    runs = sweep(jobs, after=after, n_jobs=n_jobs, progress=progress)
    tuning.write(out)
    return {name: runs[name] for name in SHOWN}
