"""How the experiments of the second part are run: every setting with every seed, side by side, and again where stopped.

An experiment gives a function `trial(setting, seed)` that returns what it measured by name. What is done is in
OUT/SETTING-SEED.json, and is not done again.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from csd_edu import results
from csd_edu.files import read_json, write_json
from csd_edu.results import Results
from csd_edu.runtime import environment

Trial = Callable[[str, int], Mapping[str, float]]


def options(description: str, name: str) -> argparse.ArgumentParser:
    """Return the options that every experiment has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="where to go on (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="(default: 0 to 4)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials side by side (default: cores)")
    parser.add_argument("--quick", action="store_true", help="a try of a few steps, to see whether it runs")
    parser.add_argument("--ship", action="store_true", help=f"write csd_edu/measured/{name}.json as well")
    return parser


def measure(trial: Trial, settings: Sequence[str], seeds: Sequence[int], out: Path, *, jobs: int = 1) -> dict[str, Any]:
    """Try every setting with every seed, as far as that is not done, and return the values by setting and measure.

    Args:
        trial: a function at the top of its file, so that another process finds it.
        settings: names of what is compared.
        seeds: for each of them.
        out: where the results are kept.
        jobs: how many trials run side by side, with one thread each.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {(setting, seed): out / f"{_plain(setting)}-{seed}.json" for seed in seeds for setting in settings}
    left = [pair for pair, file in files.items() if not file.exists()]
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")  # a process that has computed must not be forked
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        doing = {pool.submit(_timed, trial, setting, seed): (setting, seed) for setting, seed in left}
        for k, done in enumerate(as_completed(doing), 1):
            pair = doing[done]
            write_json(files[pair], done.result())
            seconds = (time.perf_counter() - started) * (len(left) - k) / k
            print(f"{k}/{len(left)} {pair[0]}, seed {pair[1]}: {done.result()}; {seconds:.0f} s left", file=sys.stderr)
    found = {setting: [read_json(files[setting, seed]) for seed in seeds] for setting in settings}
    return {s: {name: tuple(of[name] for of in values) for name in values[0]} for s, values in found.items()}


def finish(found: Results, name: str, out: Path, *, ship: bool) -> None:
    """Write the results into the experiment's folder, and where they come with the kit if that is asked for."""
    found.write(out / "results.json")
    if ship:
        found.write(results.SHIPPED / f"{name}.json")


def about_now() -> dict[str, Any]:
    """Return when and where something is measured, as `Results` has it."""
    return {"environment": environment(), "date": datetime.date.today().isoformat()}


def _timed(trial: Trial, setting: str, seed: int) -> dict[str, float]:
    started = time.perf_counter()
    measured = dict(trial(setting, seed))
    return measured | {"seconds": time.perf_counter() - started}


def _plain(setting: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in setting)
