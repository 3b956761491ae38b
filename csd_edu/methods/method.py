"""What a method is: a function from a step to its loss terms, or a `Method`, which keeps something between steps."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from csd_edu import arguments
from csd_edu.methods.step import Step, Viewer

Terms = Mapping[str, Tensor]
"""The named loss terms of a step, each a scalar. Training minimises their sum."""

AnyMethod = Callable[[Step], Terms]
"""A plain function, or a `Method`."""

F = TypeVar("F", bound=Callable[..., Any])


class Look(NamedTuple):
    """How a method or a loss term is drawn, as plotly names it: told apart by more than its colour."""

    color: str
    symbol: str
    dash: str = "solid"


class Term(NamedTuple):
    """A loss term of a method's own: what it is, in words, and how it is drawn."""

    says: str
    look: Look | None = None


@dataclass(frozen=True)
class Card:
    """How a method is called, explained and drawn, wherever it is shown.

    Attributes:
        title: a few words.
        sentence: what it does, in one sentence or two.
        source: author, where and when, such as "Li & Hoiem, ECCV 2016".
        look: of its curves; None: one that is free in a figure.
        terms: the loss terms that it adds to those of the methods that it builds on, by name.
        bound: if it is no rival but a bound on what can be reached, which, such as "the usual upper bound".
        begins_as: the method that computes the same in the first task, whatever the settings: methods with the same
            one can share that task's training, see `csd_edu.sweep`. Empty if there is none.
        control: if it is there to compare others with, what it shows, such as "what not learning at all gives".
    """

    title: str
    sentence: str
    source: str = ""
    look: Look | None = None
    terms: Mapping[str, Term] = field(default_factory=dict)
    bound: str = ""
    begins_as: str = field(default="", compare=False)  # no run writes it down
    control: str = ""

    def __call__(self, function: F) -> F:
        """Give a function its card: `@Card(title="…", sentence="…")` above it."""
        function.card = self  # type: ignore[attr-defined]
        return function

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {
            "title": self.title,
            "sentence": self.sentence,
            "source": self.source,
            "look": self.look,
            "terms": {name: {"says": term.says, "look": term.look} for name, term in self.terms.items()},
            "bound": self.bound,
            "control": self.control,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Card:
        """Return the card that `to_json` wrote, also in an older version, which had fewer fields."""
        terms = {name: Term(term["says"], _look(term["look"])) for name, term in saved["terms"].items()}
        return cls(**{**saved, "look": _look(saved["look"]), "terms": terms})


def _look(saved: Sequence[str] | None) -> Look | None:
    return None if saved is None else Look(*saved)


@dataclass(frozen=True)
class Setting:
    """Where a method will work, as far as it is known before the first step.

    Attributes:
        sizes: the number of classes of each task.
        n_images: the number of images with a label that the method trains on in each task.
        image_shape: (C, H, W).
        dim: D, the numbers in a feature.
        device: where the network and the batches are.
        seed: for whatever `begin` draws.
        has_teacher: whether a teacher was given to `csd.train`, for the first task already.
        n_unlabelled: the number of images without a label in each task; empty where nobody has counted them.
        n_of_class: the number of images with a label of each class, in the stream's order; empty likewise.
        classes: the names of the classes, in the same order; empty likewise.
    """

    sizes: tuple[int, ...]
    n_images: tuple[int, ...]
    image_shape: tuple[int, int, int]
    dim: int
    device: torch.device
    seed: int
    has_teacher: bool = False
    n_unlabelled: tuple[int, ...] = ()
    n_of_class: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """The number of classes of all tasks together."""
        return sum(self.sizes)


class Method:
    """A method that keeps something: a memory, a bank, a generator, an optimiser of its own.

    Write it as a dataclass. Its fields are settings: they describe the run, and stay as they are. Every other attribute
    is state, and is in each checkpoint: tensors, modules, optimisers, memories, numbers, and lists and dictionaries of
    these. Modules and parameters that no optimiser of the method's has are trained together with the network.
    """

    card: ClassVar[Card | None] = None

    fresh_network: ClassVar[bool] = False
    """Whether each task begins with a new network, which is trained as in the first task: nothing else is forgotten."""

    whole_head: ClassVar[bool] = False
    """Whether the network answers for all classes from the start, also for those that are still to come."""

    def begin(self, setting: Setting) -> None:
        """Make the state. It is called before the first task, and again before a checkpoint fills the state."""

    def begin_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> Iterable[dict[str, Any]] | None:
        """Do what is to be done once before a task's epochs, such as to condense its images.

        Args:
            task: the task.
            images: (N, C, H, W) uint8, its training images, those without a label left out.
            labels: (N,) int64.
            view: the network as the task before left it, in evaluation mode and without gradient.

        Returns:
            None, or records of its own for the run's log, as `end_task` does.
        """
        return None

    def training_images(self, task: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return which images and labels the task's epochs go over; it is asked again when a run goes on.

        Args:
            task, images, labels: as for `begin_task`.

        Returns:
            Images (M, C, H, W) uint8 of the same size, and labels (M,): by default those that came.
        """
        return images, labels

    def __call__(self, step: Step) -> Terms:
        """Return the loss terms of a step."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, step), which returns the loss terms")

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Viewer) -> Iterable[dict[str, Any]] | None:
        """Do what is to be done once a task's epochs are over, such as to choose what a memory keeps.

        Args:
            task: the task.
            images: (N, C, H, W) uint8, its training images, those without a label left out.
            labels: (N,) int64.
            view: the trained network, in evaluation mode and without gradient.

        Returns:
            None, or records of its own for the run's log, such as [{"herded": 20}], perhaps as a generator.
        """
        return None

    def training_tasks(self, task: int, n_tasks: int) -> Iterable[int]:
        """Return which tasks' images are trained on when the stream reaches `task`."""
        return (task,)


class KitMethod(Method):
    """A method of the kit's own: settings that are numbers become Python's, whatever type they were given in."""

    def __post_init__(self) -> None:
        """Take over NumPy's and torch's single numbers as what they hold; `begin` checks them."""
        assert dataclasses.is_dataclass(self)  # which calls this
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            single = isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0
            if single and f.type in NUMBERS and not isinstance(value, float):
                with contextlib.suppress(RuntimeError):  # a tensor without a value
                    setattr(self, f.name, value.item())


NUMBERS = (bool, int, float, int | None, float | None)
"""How a setting that is a number is annotated."""


def check_method(method: Any) -> None:
    """Raise a ValueError if something is no method, a class in place of an object, or takes no step."""
    if isinstance(method, type):
        raise ValueError(f"method is the class {method.__name__}; expected an object of it: {method.__name__}()")
    if not callable(method):
        raise ValueError(f"method is {method!r}; expected a function such as csd.methods.csd (without calling it)")
    try:
        parameters = inspect.signature(method)
    except ValueError:  # it says nothing of its parameters
        return
    try:
        parameters.bind(None)
    except TypeError:
        name = getattr(method, "__name__", type(method).__name__)
        raise ValueError(f"method is {name}{parameters}; expected one parameter, as in {name}(step)") from None


def training_tasks(method: AnyMethod, task: int, n_tasks: int) -> tuple[int, ...]:
    """Return which tasks' images a method trains on when the stream reaches `task`: a function on those of that one."""
    choose = _asked(method, "training_tasks")
    return (task,) if choose is None else tuple(arguments.whole_numbers("training_tasks", choose(task, n_tasks)))


def like_task(method: AnyMethod, task: int) -> int:
    """Return as which task a task is trained: one that begins with a new network has the first one's epochs."""
    return 0 if _asked(keeper(method), "fresh_network") else task


def name_of(method: AnyMethod) -> str:
    """Return a method's name: of a function its own, of an object `__name__` or that of its class."""
    while isinstance(method, partial):
        method = method.func
    return str(_asked(method, "__name__") or type(method).__name__)


def card_of(method: AnyMethod) -> Card | None:
    """Return a method's card, or None if it has none."""
    card = _asked(keeper(method), "card")
    return card if isinstance(card, Card) else None


def begins_as(method: AnyMethod) -> str:
    """Return the name of the method that computes the same in the first task, as the card says; "" if it says none."""
    card = card_of(method)
    return card.begins_as if card else ""


def keeper(method: AnyMethod) -> Any:
    """Return whose attributes a method keeps: behind `partial` the function or object, behind `obj.loss` the object."""
    while isinstance(method, partial):
        method = method.func
    return method.__self__ if inspect.ismethod(method) else method


def own_state(method: AnyMethod) -> dict[str, Any]:
    """Return the attributes that a method keeps between the steps, by name; of a function, those it was given.

    The fields of a dataclass are settings, except for methods, modules and whatever else has a state of its own.
    """
    owner = keeper(method)
    settings = {f.name for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    attributes = {} if isinstance(owner, type) else _asked(owner, "__dict__") or {}
    return {
        name: value
        for name, value in attributes.items()
        if name not in ("card", "__name__") and (name not in settings or has_state(value))
    }


def has_state(value: object) -> bool:
    """Return whether a value keeps something that may change: a method, a module, an optimiser, a memory."""
    return isinstance(value, Method) or bool(_asked(value, "state_dict") and _asked(value, "load_state_dict"))


def _asked(owner: object, name: str) -> Any:
    """Return an attribute, or None without it; an object of the user's may answer to a question with any error."""
    try:
        return getattr(owner, name, None)
    except Exception:
        return None


def own_parameters(method: AnyMethod) -> list[nn.Parameter]:
    """Return the parameters that a method keeps and no optimiser of its own has: they are trained with the network."""
    kept = list(_parts(own_state(method)))
    optimised = {id(p) for part in kept if isinstance(part, torch.optim.Optimizer) for p in _held(part)}
    held = {id(p): p for part in kept if not isinstance(part, torch.optim.Optimizer) for p in _held(part)}
    return [p for key, p in held.items() if key not in optimised]  # a frozen one may thaw


def holder_of(method: AnyMethod, parameter: nn.Parameter) -> str:
    """Return the name of the attribute that holds a parameter."""
    kept = own_state(method).items()
    return next(name for name, value in kept for part in _parts(value) for p in _held(part) if p is parameter)


def forget_gradients(method: AnyMethod) -> None:
    """Set the gradients of all that a method keeps to None."""
    for part in _parts(own_state(method)):
        for parameter in _held(part):
            parameter.grad = None


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value's parts, and theirs, down to what is no list, dictionary or method; each once."""
    met: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop(0)
        if id(part) in met:
            continue
        met[id(part)] = part
        if isinstance(part, dict | Method):
            waiting[:0] = (part if isinstance(part, dict) else own_state(part)).values()
        elif isinstance(part, list | tuple):
            waiting[:0] = part
        else:
            yield part


def _held(part: Any) -> Iterator[nn.Parameter]:
    """Yield the parameters of a module or an optimiser, or the one that a part is itself."""
    if isinstance(part, nn.Module):
        yield from part.parameters()
    elif isinstance(part, torch.optim.Optimizer):
        yield from (parameter for group in part.param_groups for parameter in group["params"])
    elif isinstance(part, nn.Parameter):
        yield part
