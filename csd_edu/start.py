"""What the first cell of every notebook asks: does everything fit that is installed here?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from pathlib import Path

import torch

from csd_edu.output import say
from csd_edu.runtime import gpu_name, on_colab
from csd_edu.version import __version__

REPOSITORY = ""
"""The kit's address on GitHub, which `make colab REPO=https://github.com/…` writes here and into the notebooks."""

MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "umap-learn": "umap", "faiss-cpu": "faiss"}
"""Modules that have another name than their package."""

OPTIONAL = {"faiss-cpu": "optional: without it a Gallery searches exactly, with torch"}
"""What the kit does without, and how."""

COLABS_OWN = ("torch", "torchvision", "numpy", "ipywidgets")
"""What must stay on Colab as it is: other packages there, and its front end, are built for these versions."""


def check_set_up() -> None:
    """Print in one line what is here and, in a second one, what to do if something does not fit."""
    misfits = find_misfits(requirements())
    say(describe(misfits))
    if misfits:
        say(advise(misfits, requirements(), colab=on_colab()))


def describe(misfits: dict[str, str]) -> str:
    """Return in one line the versions, the GPU, and whether widgets can be shown."""
    gpu = gpu_name() or "none, the CPU will do"
    widgets = "not ready" if {"ipywidgets", "anywidget"} & misfits.keys() else "ready"
    return f"csd_edu {__version__} · torch {torch.__version__.split('+')[0]} · GPU: {gpu} · widgets: {widgets}"


def requirements() -> dict[str, str]:
    """Return the packages that csd_edu needs and the lowest version of each, from its metadata or pyproject.toml."""
    try:
        lines = importlib.metadata.requires("csd-edu") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is only on the path
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        if not project.is_file():
            return {}  # only the package's folder was copied: nothing says what it needs
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = (re.match(r"([\w.-]+) *>= *([\d.]+)$", line) for line in lines)  # not those of the extras
    return {bound[1]: bound[2] for bound in bounds if bound}


def find_misfits(bounds: dict[str, str]) -> dict[str, str]:
    """Return what does not fit.

    Args:
        bounds: the lowest version of each package, such as {"torch": "2.5"}.

    Returns:
        For each package that is missing or too old a few words saying so.
    """
    misfits = {}
    for package, lowest in bounds.items():
        try:
            version = importlib.metadata.version(package) or "damaged"  # half removed, it has none
        except importlib.metadata.PackageNotFoundError:
            if importlib.util.find_spec(MODULES.get(package, package)) is None:  # conda has some under other names
                misfits[package] = "is missing"
        else:
            if version == "damaged":
                misfits[package] = "is damaged: only a part of it is here"
            elif _numbers(version) < _numbers(lowest):
                misfits[package] = f"is {version}, too old: csd_edu needs {lowest} or newer"
    return misfits


def advise(misfits: dict[str, str], bounds: dict[str, str], *, colab: bool) -> str:
    """Return in one line what does not fit and what to do about it.

    Args:
        misfits: from `find_misfits`.
        bounds: the lowest version of each package.
        colab: whether this is Colab, where `COLABS_OWN` must not be installed.
    """
    notes = {package: f" ({note})" for package, note in OPTIONAL.items()}
    found = "; ".join(f"{package} {what}{notes.get(package, '')}" for package, what in misfits.items())
    fixed = [package for package in misfits if colab and package in COLABS_OWN]
    wanted = " ".join(f'"{package}>={bounds[package]}"' for package in misfits if package not in fixed)
    steps = []
    if fixed:
        steps.append("choose the latest version under Runtime > Change runtime type")
    if wanted:
        steps.append(f"run  %pip install {'--no-deps ' * colab}{wanted}  in a cell and restart the kernel")
    purpose = "If you want it" if misfits.keys() <= OPTIONAL.keys() else "What to do"
    return f"{found}. {purpose}: {'; then '.join(steps)}."


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare: "2.11.0+cu128" as (2, 11)."""
    numbers = re.match(r"[\d.]*", version)
    parts = [int(part) for part in (numbers[0] if numbers else "").split(".") if part]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
