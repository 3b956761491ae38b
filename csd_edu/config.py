"""What a run is trained with: one frozen `Config`, and presets for each dataset and machine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from csd_edu.arguments import flag, number, whole, whole_numbers
from csd_edu.models import BACKBONES
from csd_edu.runtime import PRECISIONS

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "one_cycle", "multistep")
PRESET_NAMES = ("quick", "lab", "paper")


@dataclass(frozen=True)
class Config:
    """How to train. Every field is saved with the run, and a run continues only with the same ones.

    Attributes:
        network: by name: "resnet8", "resnet14", "resnet20", "resnet32", "resnet44" or "resnet56"; or "convnet32",
            "convnet64" or "convnet128", in which images are condensed.
        epochs, later_epochs: passes over the images of the first task, and of each later one.
        lr, later_lr: (peak) learning rate in the first task, and in each later one.
        schedule: "constant", "one_cycle" (up for a quarter of the steps, then down to zero: Smith & Topin 2018)
            or "multistep" (× 0.1 at each milestone).
        milestones: epochs at which "multistep" falls.
        optimizer: "adam", or "sgd" with momentum.
        momentum: of "sgd"; Adam has none to set.
        weight_decay: of the optimiser (L2).
        batch_size: the most images in a step; an epoch is cut into equal batches.
        crop_padding: zero pixels around an image before it is cropped back at random; 0 for none.
        flip: mirror half of the images left to right; not for writing, where a mirrored sign is another sign.
        teacher_mode: "eval" (batch-norm with its running statistics), or "train" as in the code released with CSD.
        select: "last" epoch, or the epoch that was "best" on the held-out images of the task.
        device: "auto", "cpu", "cuda", ….
        precision: "auto", "float32", "bfloat16" or "float16", for the convolutions.
        save_images: keep the test images in the run folder, for pictures of search results.
        seed: of weights, batches and augmentation.

    Raises:
        ValueError: if a field has an impossible value.
    """

    network: str = "resnet8"
    epochs: int = 8
    later_epochs: int = 4
    lr: float = 1e-2
    later_lr: float = 1e-2
    schedule: str = "one_cycle"
    milestones: tuple[int, ...] = ()
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 48
    crop_padding: int = 4
    flip: bool = False
    teacher_mode: str = "eval"
    select: str = "last"
    device: str = "auto"
    precision: str = "auto"
    save_images: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("network", self.network, tuple(BACKBONES))
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("teacher_mode", self.teacher_mode, ("eval", "train"))
        _check_choice("select", self.select, ("last", "best"))
        _check_choice("precision", self.precision, ("auto", *PRECISIONS))
        if not isinstance(self.device, str | torch.device):
            raise ValueError(f"device is {self.device!r}; expected a name, such as 'auto', 'cpu' or 'cuda'")
        self._set("device", str(self.device))
        for name in ("epochs", "later_epochs", "batch_size"):
            self._set(name, whole(name, getattr(self, name), least=2 if name == "batch_size" else 1))
        for name in ("crop_padding", "seed"):
            self._set(name, whole(name, getattr(self, name), least=0))
        for name in ("lr", "later_lr", "weight_decay", "momentum"):
            self._set(name, _not_negative(name, getattr(self, name), above_zero=name.endswith("lr")))
        for name in ("flip", "save_images"):
            self._set(name, flag(name, getattr(self, name)))
        self._set("milestones", tuple(whole_numbers("milestones", self.milestones)))  # JSON gives lists back
        if list(self.milestones) != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError(f"milestones are {self.milestones}; expected rising epochs, such as (200, 400, 600)")
        if self.milestones and self.schedule != "multistep":
            raise ValueError(f"milestones are given, but schedule is {self.schedule!r}; expected 'multistep'")

    def _set(self, name: str, value: Any) -> None:
        """Keep a field in Python's own type, whatever it was given in: it is saved as JSON, and compared."""
        object.__setattr__(self, name, value)

    def epochs_of(self, task: int) -> int:
        """Return the number of epochs of a task."""
        return self.epochs if task == 0 else self.later_epochs

    def learning_rate(self, task: int, epoch: float) -> float:
        """Return the learning rate at a moment of a task, counted in epochs, such as 2.5."""
        peak = self.lr if task == 0 else self.later_lr
        if self.schedule == "multistep":
            return float(peak * 0.1 ** sum(epoch >= milestone for milestone in self.milestones))
        if self.schedule == "one_cycle":
            done = epoch / self.epochs_of(task)
            warm_up = 0.25
            if done < warm_up:
                return float(peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / warm_up))))
            return float(peak * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))))
        return peak

    def replace(self, **changes: Any) -> Config:
        """Return the same configuration with some fields changed.

        Raises:
            ValueError: if there is no such field, or its value is impossible.
        """
        unknown = set(changes) - {field.name for field in dataclasses.fields(self)}
        if unknown:
            names = ", ".join(field.name for field in dataclasses.fields(self))
            raise ValueError(f"Config has no field {', '.join(map(repr, sorted(unknown)))}; expected some of: {names}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Config:
        """Return the configuration that `to_json` wrote; a field that an older version did not have has its default.

        Raises:
            ValueError: if there is a field that this version does not know.
        """
        fields = dict(saved)
        if "depth" in fields:  # as version 0.1.0 named the network
            fields["network"] = f"resnet{fields.pop('depth')}"
        return cls().replace(**fields)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {**dataclasses.asdict(self), "milestones": list(self.milestones)}


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def _not_negative(name: str, value: object, above_zero: bool) -> float:
    expected = f"a number {'above' if above_zero else 'of at least'} 0"
    found = number(name, value, expected)
    if found < 0 or (above_zero and found == 0):
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    return found


class Preset(NamedTuple):
    """A configuration with the amount of data it is meant for."""

    config: Config
    n_tasks: int | str  # a number, or "groups"
    per_class: int | None = None  # the most training images a class; None for all
    image_size: int | None = None  # pixels; None for the images' own

    def in_tasks(self) -> dict[str, Any]:
        """Return how `csd.split` is told: `csd.split(data, **preset.in_tasks())`."""
        return {"groups": True} if self.n_tasks == "groups" else {"n_tasks": self.n_tasks}

    def of_images(self) -> dict[str, Any]:
        """Return how `csd.load` is told: `csd.load(source, **preset.of_images())`; fewer images a class will do."""
        return {"per_class": self.per_class, "at_most": True, "image_size": self.image_size}


_PAPER = Config(
    network="resnet32",
    epochs=800,
    later_epochs=800,
    lr=1e-3,
    later_lr=1e-5,
    schedule="multistep",
    milestones=(200, 400, 600),
    weight_decay=5e-4,
    batch_size=128,
    crop_padding=4,
)
_LAB = Config(network="resnet32", epochs=40, later_epochs=25, batch_size=128)

# For each kind of images: quick = 2 CPU cores, seconds to two minutes; lab = meant for a T4 GPU;
# paper = the schedule published with CSD.
_PRESETS: dict[str, dict[str, Preset]] = {
    "glyphs": {
        "quick": Preset(Config(epochs=16, later_epochs=8, batch_size=32), "groups", image_size=24),
        "lab": Preset(_LAB, "groups", per_class=200),
        "paper": Preset(_PAPER, 2, per_class=200),
    },
    "digits": {
        "quick": Preset(Config(epochs=6, crop_padding=2, batch_size=64, lr=3e-3, later_lr=3e-3), 5),
        "lab": Preset(_LAB.replace(crop_padding=2), 5),
        "paper": Preset(_PAPER.replace(crop_padding=2), 2),
    },
    "omniglot": {
        "quick": Preset(Config(epochs=16, later_epochs=8, batch_size=32), "groups"),
        "lab": Preset(_LAB, "groups"),
        "paper": Preset(_PAPER, 2),
    },
    "photos": {
        "quick": Preset(Config(batch_size=32, flip=True), 5, per_class=100),
        "lab": Preset(_LAB.replace(flip=True), 5),
        "paper": Preset(_PAPER.replace(flip=True), 2),
    },
}


def preset(dataset: str = "glyphs", name: str = "quick") -> Preset:
    """Return a tried configuration for a dataset and a machine.

    Args:
        dataset: "glyphs", "digits", "omniglot"; "cifar100" and every other name count as photographs.
        name: "quick" (2 CPU cores, seconds to two minutes), "lab" (meant for a T4 GPU) or
            "paper" (the published schedule: hours on a GPU).

    Returns:
        The configuration, with the tasks, training images a class and image size that it is meant for.

    Raises:
        ValueError: if there is no preset of that name.
    """
    _check_choice("preset", name, PRESET_NAMES)
    return _PRESETS.get(dataset, _PRESETS["photos"])[name]
