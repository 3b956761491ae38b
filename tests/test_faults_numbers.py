"""G. Types of numbers.

Numbers come from NumPy, torch and Python, and torch's own defaults may be set to anything: what is saved is plain, what
is computed is the same to the last bit, and what is no number is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import csd_edu as csd
from csd_edu import arguments, drift, features, glyphs, losses, maps, metrics, models, plots, retrieval
from csd_edu.comparison import Comparison
from csd_edu.identity import describe_method
from csd_edu.runtime import pick_device
from csd_edu.sweep import Job, sweep
from csd_edu.tasks import Stream
from csd_edu.tuning import tune
from tests.conftest import TINY, striped

pytestmark = pytest.mark.usefixtures("one_thread")

BadInput = Callable[[str, object], None]
SHORT = TINY.replace(epochs=1, later_epochs=1)
FIVES = [np.int64(5), np.int32(5), np.uint8(5), np.array(5), torch.tensor(5), torch.tensor(5, dtype=torch.uint8)]
NO_WHOLE = [
    5.0,
    np.float32(5),
    "5",
    True,
    np.True_,
    torch.tensor(True),
    None,
    Decimal(5),
    Fraction(5),
    [5],
    float("nan"),
]


@pytest.fixture(scope="module")
def data() -> csd.Dataset:
    return striped(4)


@pytest.fixture(scope="module")
def run(data: csd.Dataset, tmp_path_factory: pytest.TempPathFactory) -> csd.Run:
    folder = tmp_path_factory.mktemp("run") / "csd"
    return csd.train(csd.split(data, 2), csd.methods.csd, SHORT, out=folder, progress=False)


def is_plain(value: Any) -> bool:
    """Return whether a nest of values has nothing but Python's own types."""
    if isinstance(value, dict):
        return all(map(is_plain, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return type(value) in (int, float, str, bool, type(None))


# ---- one rule


@pytest.mark.parametrize("five", FIVES, ids=repr)
def test_a_whole_number_of_any_library_is_an_int(five):
    assert type(arguments.whole("n", five)) is int
    assert arguments.whole("n", five, least=5, most=5) == 5


@pytest.mark.parametrize("wrong", NO_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_told(wrong):
    with pytest.raises(ValueError, match=r"^n is .*; expected a whole number of at least 1$"):
        arguments.whole("n", wrong, least=1)


@pytest.mark.parametrize(
    "half", [0.5, np.float64(0.5), np.float32(0.5), Fraction(1, 2), torch.tensor(0.5), np.array(0.5)]
)
def test_a_number_of_any_library_is_a_float(half):
    assert type(arguments.number("x", half)) is float
    assert arguments.number("x", half) == 0.5


@pytest.mark.parametrize("wrong", ["0.5", True, None, [0.5], 1j, torch.ones(2), float("inf"), np.nan, 10**400], ids=str)
def test_what_is_no_finite_number_is_told(wrong):
    with pytest.raises(ValueError, match=r"^x is .*; expected a finite number$"):
        arguments.number("x", wrong)


@pytest.mark.parametrize("several", [(1, 2), [1, 2], range(1, 3), np.array([1, 2]), torch.tensor([1, 2]), iter([1, 2])])
def test_several_whole_numbers_come_in_anything_that_yields_them(several):
    found = arguments.whole_numbers("sizes", several)
    assert found == [1, 2]
    assert is_plain(found)


# ---- where they enter


def test_numpys_numbers_in_split(data, bad_input: BadInput):
    assert csd.split(data, n_tasks=np.int64(2), seed=np.int64(1)).describe() == csd.split(data, 2, seed=1).describe()
    for sizes in ((1, 3), np.array([1, 3]), torch.tensor([1, 3]), (n for n in (1, 3))):
        assert csd.split(data, sizes=sizes).describe() == csd.split(data, sizes=[1, 3]).describe()
    stream = csd.split(
        data, classes=np.array([[0, 1], [2, 3]]), validation=np.float32(0.25), seed=np.uint8(3), shuffle=np.False_
    )
    assert is_plain(stream.describe())
    assert json.loads(json.dumps(stream.describe())) == stream.describe()
    names = [(np.str_("stripe 0"), "stripe 1"), ["stripe 3", np.int32(2)]]
    assert csd.split(data, classes=names).tasks == ((0, 1), (3, 2))
    with pytest.raises(ValueError, match="expected a whole number from 0 to 4294967295") as told:
        csd.split(data, 2, seed=2**32)
    bad_input("csd.split(data, 5, seed=2**32)", told.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_tasks": 2.0},
        {"n_tasks": True},
        {"n_tasks": "2"},
        {"n_tasks": 2, "seed": -1},
        {"n_tasks": 2, "seed": 1.5},
        {"n_tasks": 2, "seed": None},
        {"n_tasks": 2, "validation": "a half"},
        {"n_tasks": 2, "validation": np.nan},
        {"n_tasks": 2, "shuffle": "no"},
        {"sizes": 4},
        {"sizes": "13"},
        {"sizes": [1.0, 3.0]},
        {"classes": [{"stripe 0", "stripe 1"}, {"stripe 2", "stripe 3"}]},
        {"classes": ["stripe 0", "stripe 1", "stripe 2", "stripe 3"]},
        {"classes": [[0, 1], [2.0, 3]]},
        {"classes": 5},
        {"groups": "yes"},
    ],
    ids=lambda given: f"{next(iter(given))} of {type(next(iter(given.values()))).__name__}",
)
def test_split_refuses_in_words(data, arguments):
    with pytest.raises(ValueError, match="expected"):
        csd.split(data, **arguments)


def test_split_takes_a_dataset_only():
    with pytest.raises(ValueError, match=r"dataset is 'glyphs'; expected one that csd\.load returns"):
        csd.split("glyphs", 2)  # type: ignore[arg-type]


def test_a_stream_made_by_hand_is_plain(data):
    made = Stream(data, np.array([[0, 1], [2, 3]]), validation=np.float64(0.25), seed=np.int64(7))
    assert is_plain([made.tasks, made.validation, made.seed])
    assert len(made.train(np.int64(1)).labels) == len(made.train(1).labels)


def test_numpys_numbers_in_load(tmp_path, bad_input: BadInput):
    path = csd.data.save(striped(2, size=24), tmp_path / "x.npz")
    loaded = csd.load(path, per_class=np.int64(5), image_size=np.int64(16), seed=np.int32(0), at_most=np.True_)
    assert loaded.fingerprint == csd.load(path, per_class=5, image_size=16, at_most=True).fingerprint
    wrong: list[dict[str, Any]] = [
        {"per_class": 5.0},
        {"image_size": "16"},
        {"seed": 2**32},
        {"seed": -1},
        {"seed": True},
    ]
    for argument in wrong:
        with pytest.raises(ValueError, match=r"expected a whole number"):
            csd.load(path, **argument)
    with pytest.raises(ValueError, match=r"per_class is 5\.0; expected a whole number") as told:
        csd.load(path, per_class=5.0)  # type: ignore[arg-type]
    bad_input("csd.load(…, per_class=5.0)", told.value)


def test_a_small_type_does_not_overflow_in_glyphs():
    small = glyphs.generate(
        seed=np.uint8(3), size=np.uint8(16), train_per_class=np.uint8(2), test_per_class=1, alphabets=np.uint8(1)
    )
    usual = glyphs.generate(seed=3, size=16, train_per_class=2, test_per_class=1, alphabets=1)
    assert all(np.array_equal(a, b) for a, b in zip(small, usual, strict=True))


def test_a_config_is_plain_and_equal_whatever_it_was_made_of():
    made = csd.Config(
        epochs=np.int64(2), lr=np.float64(0.1), schedule=np.str_("multistep"), milestones=np.array([1, 2]),
        save_images=np.True_, flip=torch.tensor(True), momentum=np.float32(0.5), weight_decay=0, seed=np.uint64(7),
        batch_size=torch.tensor(16),
    )  # fmt: skip
    usual = csd.Config(
        epochs=2, lr=0.1, schedule="multistep", milestones=(1, 2), save_images=True, flip=True, momentum=0.5,
        weight_decay=0.0, seed=7, batch_size=16,
    )  # fmt: skip
    assert made == usual
    assert json.dumps(made.to_json()) == json.dumps(usual.to_json())
    assert is_plain([getattr(made, f.name) for f in dataclasses.fields(made) if f.name != "schedule"])
    assert made.replace(epochs=np.int64(3)) == usual.replace(epochs=3)


@pytest.mark.parametrize(
    "field",
    [
        {"epochs": 2.0},
        {"epochs": True},
        {"epochs": "2"},
        {"epochs": np.float64(2)},
        {"lr": "0.1"},
        {"lr": True},
        {"lr": np.nan},
        {"lr": 10**400},
        {"lr": Decimal("0.1")},
        {"weight_decay": -1e-9},
        {"flip": 1},
        {"flip": "no"},
        {"save_images": None},
        {"seed": -1},
        {"seed": 1.0},
        {"network": ["resnet8"]},
        {"optimizer": None},
        {"schedule": "multistep", "milestones": 3},
        {"schedule": "multistep", "milestones": "12"},
        {"schedule": "multistep", "milestones": (1.5,)},
    ],
    ids=str,
)
def test_a_config_refuses_in_words(field):
    with pytest.raises(ValueError, match=f"^{list(field)[-1]}.* expected"):
        csd.Config(**field)


def test_a_config_refuses_and_is_heard(bad_input: BadInput):
    with pytest.raises(ValueError, match="expected True or False") as told:
        csd.Config(flip="no")  # type: ignore[arg-type]
    bad_input("csd.Config(flip='no')", told.value)


def test_a_run_is_continued_with_equal_numbers_of_another_library(run, data):
    with_numpy = SHORT.replace(lr=np.float64(SHORT.lr), batch_size=np.int64(16), save_images=np.True_, seed=np.int32(0))
    again = csd.train(
        csd.split(data, np.int64(2), seed=np.uint8(0), validation=0),
        csd.methods.csd,
        with_numpy,
        out=run.path,
        progress=False,
    )
    assert again.metrics == run.metrics


def test_a_seed_of_numpy_is_the_same_seed(data, tmp_path):
    one, other = (
        csd.train(
            csd.split(data, 2, seed=seed),
            csd.methods.finetune,
            SHORT.replace(seed=seed),
            out=tmp_path / name,
            progress=False,
        )
        for name, seed in (("one", 3), ("other", np.int64(3)))
    )
    assert torch.equal(one.features(1), other.features(1))
    built = [
        models.build("resnet8", np.int64(3), seed=seed, n_classes=np.int32(2))
        for seed in (3, np.int64(3), torch.tensor(3))
    ]
    assert all(torch.equal(network.head.weight, built[0].head.weight) for network in built)
    with pytest.raises(ValueError, match="seed is -1"):
        models.build("resnet8", seed=-1)


@pytest.mark.parametrize("five", FIVES, ids=repr)
def test_sizes_of_memories_and_galleries(five):
    memory = csd.Memory(five)
    memory.add(labels=torch.arange(9))
    assert is_plain([memory.size, memory.state_dict()["size"]])
    assert len(memory.draw(five).labels) == 5
    assert csd.Bank(five, five).values.shape == (5, 5)
    gallery = retrieval.Gallery(five)
    gallery.add(torch.eye(5))
    assert gallery.search(torch.eye(5), five)[0].shape == (5, 5)


def test_a_gallery_of_numpys_numbers_is_saved(tmp_path):
    gallery = retrieval.Gallery(np.int64(3), nprobe=np.int32(2))
    gallery.add(np.eye(3), ids=np.array([2, 0, 1], dtype=np.uint16))
    gallery.save(tmp_path / "gallery.safetensors")
    assert retrieval.Gallery.load(tmp_path / "gallery.safetensors").ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [5.0, True, "5", 0], ids=repr)
def test_sizes_that_are_none(wrong):
    for make in (csd.Memory, lambda n: csd.Bank(n, 2), retrieval.Gallery):
        with pytest.raises(ValueError, match="expected a whole number of at least 1"):
            make(wrong)


@pytest.mark.parametrize("rows", [np.arange(3), [0, 1, 2]], ids=repr)
def test_rows_that_are_no_tensors(rows):
    with pytest.raises(ValueError, match=r"labels is a \w+; expected a tensor"):
        csd.Memory(2, balanced=True).add(labels=rows)
    with pytest.raises(ValueError, match=r"index is a \w+; expected a tensor"):
        csd.Bank(3, 2).read(rows)
    with pytest.raises(ValueError, match=r"labels is a \w+; expected a tensor"):
        losses.supervised_contrastive(torch.ones(3, 2), rows)
    with pytest.raises(ValueError, match=r"logits is a \w+; expected a tensor"):
        losses.cross_entropy(rows, torch.tensor([0, 1, 2]))


def test_other_whole_numbers(data, tmp_path):
    with pytest.raises(ValueError, match=r"n_jobs is 1\.5; expected a whole number"):
        sweep({"one": Job(csd.split(data, 2), csd.methods.csd, SHORT, tmp_path / "one")}, n_jobs=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seeds is 5; expected a list of whole numbers"):
        tune(data, csd.preset(), seeds=5, out=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"task is 0\.0; expected a whole number"):
        next(csd.learn(models.build("resnet8"), csd.split(data, 2), 0.0, csd.methods.csd, SHORT))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch_size is 0; expected a whole number"):
        models.embed(models.build("resnet8"), data.x_test, batch_size=0)


# ---- features, labels and predictions


LABELS = torch.tensor([0, 1, 0, 1, 2, 2])
AS_LABELS: dict[str, Callable[[Tensor], Any]] = {
    "int32": lambda x: x.int(),
    "uint8": lambda x: x.to(torch.uint8),
    "uint16": lambda x: x.to(torch.uint16),
    "whole floats": lambda x: x.float(),
    "numpy": lambda x: x.numpy(),
    "numpy, int8, backwards": lambda x: x.flip(0).numpy().astype(np.int8)[::-1],
    "list": lambda x: x.tolist(),
    "tuple of numpy's": lambda x: tuple(x.numpy()),
    "not contiguous": lambda x: torch.stack([x, x], dim=1)[:, 0],
}
AS_FEATURES: dict[str, Callable[[Tensor], Any]] = {
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "int32": lambda x: x.int(),
    "numpy": lambda x: x.numpy(),
    "numpy, float64, column-major": lambda x: np.asfortranarray(x.double().numpy()),
    "numpy, read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "lists": lambda x: x.tolist(),
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "not contiguous": lambda x: x.T.contiguous().T,
}
WHOLE = torch.tensor([[1.0, 0, 2], [0, 1, 0], [2, 0, 3], [0, 2, 1], [3, 3, 1], [3, 2, 1]])  # exact in every type


def measured(x: Any, labels: Any) -> dict[str, Any]:
    """Return what all that takes features and labels says, as plain numbers."""
    gallery = retrieval.Gallery(3)
    gallery.add(x, ids=labels_as_ids(labels))
    return {
        "ranks": metrics.first_positive_ranks(x, labels, x, labels, exclude_self=True).tolist(),
        "both": metrics.recall_and_map(x, labels, x, labels, exclude_self=True),
        "mean": str(metrics.nearest_class_mean(x, labels).tolist()),
        "over tasks": metrics.query_ranks([x, x, x], labels, labels).tolist(),
        "row": metrics.task_row(x, labels, labels, labels, 1),
        "matrix": metrics.recall_matrix(metrics.query_ranks([x, x, x], labels, labels), labels),
        "collapsed": metrics.is_collapsed(x),
        "drift": drift.displacement_table([x, x], labels),
        "sample": drift.balanced_sample(labels, 4).tolist(),
        "map": maps.pca_map([x, x]).points.tolist(),
        "plane": maps.first_plane([x, x], labels, [0, 1]).points.tolist(),
        "search": [part.tolist() for part in gallery.search(x, 2)],
        "neighbours": retrieval.neighbors_over_tasks([x, x, x], labels, k=2, labels=labels, queries=[0]).ids.tolist(),
    }


def labels_as_ids(labels: Any) -> Any:
    return range(len(labels))


@pytest.mark.parametrize("kind", AS_LABELS)
def test_labels_of_any_integer_type_mean_the_same(kind):
    assert measured(WHOLE, AS_LABELS[kind](LABELS)) == measured(WHOLE, LABELS)


@pytest.mark.parametrize("kind", AS_FEATURES)
def test_features_of_any_real_type_mean_the_same(kind):
    assert measured(AS_FEATURES[kind](WHOLE), LABELS) == measured(WHOLE, LABELS)


@pytest.mark.parametrize(
    "labels", [LABELS + 0.5, LABELS > 0, list("ababcc"), None, [[0], [1, 2]], LABELS * 1j], ids=str
)
def test_labels_that_are_none(labels):
    for measure in (
        lambda: metrics.recall_at_k(WHOLE, labels, WHOLE, labels),
        lambda: metrics.nearest_class_mean(WHOLE, labels),
        lambda: drift.class_mean_displacement(WHOLE, WHOLE, labels),
        lambda: drift.balanced_sample(labels, 3),
        lambda: maps.first_plane([WHOLE], labels, [0, 1]),
    ):
        with pytest.raises(ValueError, match="expected"):
            measure()


@pytest.mark.parametrize(
    "x", ["abc", None, WHOLE * 1j, [["a", "b", "c"]] * 6, np.array([object()] * 6)], ids=lambda x: type(x).__name__
)
def test_features_that_are_none(x):
    gallery = retrieval.Gallery(3)
    for measure in (
        lambda: metrics.recall_at_k(x, LABELS, x, LABELS),
        lambda: metrics.is_collapsed(x),
        lambda: drift.linear_cka(x, x),
        lambda: maps.pca_map([x, x]),
        lambda: gallery.add(x),
    ):
        with pytest.raises(ValueError, match="expected a tensor"):
            measure()


def test_labels_of_letters_are_heard(bad_input: BadInput):
    with pytest.raises(ValueError, match="holds no real numbers") as told:
        metrics.recall_at_k(WHOLE, list("ababcc"), WHOLE, list("ababcc"))  # type: ignore[arg-type]
    bad_input("metrics.recall_at_k(…) with labels ['a', 'b', …]", told.value)


def test_embedded_features_may_be_learnt_from():
    x, _ = models.embed(models.build("resnet8"), striped(2, 2, 1).x_test)
    layer = torch.nn.Linear(64, 1)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


# ---- what a method returns


def finetuned(step: Any) -> dict[str, Any]:
    return {"ce": losses.cross_entropy(step.logits, step.labels)}


TERMS: dict[str, Any] = {
    "float": 0.5,
    "int": 1,
    "NumPy's float": np.float32(0.5),
    "array": np.array(0.5),
    "one element": torch.ones(1),
    "complex": torch.tensor(1j),
    "None": None,
}


@pytest.mark.parametrize("kind", TERMS)
def test_terms_that_are_no_scalar_tensors_are_told(data, tmp_path, kind):
    def method(step: Any) -> dict[str, Any]:
        return {**finetuned(step), "extra": TERMS[kind]}

    with pytest.raises(
        ValueError, match=r"the method's term 'extra' is .*; expected a dictionary of named scalar tensors"
    ):
        csd.train(csd.split(data, 2), method, SHORT, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "extra", [torch.tensor(0.0, dtype=torch.float64), torch.tensor(0), torch.tensor(False)], ids=str
)
def test_scalar_terms_of_other_types_count(data, tmp_path, extra):
    runs = [
        csd.train(csd.split(data, 2), method, SHORT, out=tmp_path / name, progress=False)
        for name, method in (
            ("plain", finetuned),
            ("more", lambda step: {**finetuned(step), "extra": extra}),
        )
    ]
    assert torch.equal(runs[0].features(1), runs[1].features(1))
    assert next(record["losses"]["extra"] for record in runs[1].records if record["kind"] == "epoch") == 0


class Ends(csd.methods.Method):
    def __call__(self, step: Any) -> dict[str, Any]:
        return finetuned(step)

    def end_task(self, task: int, images: Tensor, labels: Tensor, view: Any) -> list[dict[str, Any]]:
        return [{"n": np.int64(3), "share": np.float32(0.5), "each": np.array([1, 2]), "is": np.True_}]


def test_records_of_numpys_numbers_are_plain(data, tmp_path):
    run = csd.train(csd.split(data, 2), Ends(), SHORT, out=tmp_path / "run", progress=False)
    record = next(record for record in run.records if record["kind"] == "end")
    assert record == {"n": 3, "share": 0.5, "each": [1, 2], "is": True, "kind": "end", "task": 0}


# ---- torch's own defaults


class OwnTensors(csd.methods.Method):
    """Makes tensors without a type, as users do."""

    def begin(self, setting: Any) -> None:
        self.layer = torch.nn.Linear(setting.dim, 4)
        self.mean = torch.zeros(setting.dim)

    def __call__(self, step: Any) -> dict[str, Any]:
        self.mean = self.mean.lerp(step.features.detach().mean(dim=0), 0.5)
        noise = 1e-3 * torch.randn(step.features.shape)
        return {**finetuned(step), "own": (self.layer(step.features + noise - self.mean) ** 2).mean()}


@contextlib.contextmanager
def having_set(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Iterator[None]:
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


DEFAULTS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "float64": lambda: having_set(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "bfloat16": lambda: having_set(torch.get_default_dtype, torch.set_default_dtype, torch.bfloat16),
    "on no device": lambda: default_device("meta"),
    "on the CPU": lambda: default_device("cpu"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: having_set(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "coarser products": lambda: having_set(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "NumPy raises": lambda: np.errstate(all="raise"),
}


def computed(data: csd.Dataset, folder: Path) -> dict[str, Any]:
    """Return what training, resuming, embedding, searching and measuring make of the same images."""
    stream = csd.split(data, 2, validation=0.25)
    records = csd.training(stream, OwnTensors(), SHORT, out=folder / "own")
    for record in records:
        if record["kind"] == "task":
            records.close()
    own = csd.train(stream, OwnTensors(), SHORT, out=folder / "own", progress=False)
    run = csd.train(stream, csd.methods.csd, SHORT, out=folder / "csd", progress=False)
    x, test = run.snapshots(), run.test()
    gallery = retrieval.Gallery(64)
    gallery.add(x[0])
    found = {
        **measured(WHOLE, LABELS),
        "own": own.features(1),
        "csd": run.features(1),
        "metrics": run.metrics,
        "embedded": models.embed(run.network(1), data.x_test)[0],
        "built": models.build("resnet8", n_classes=2, seed=3).head.weight.detach(),
        "found": gallery.search(x[1], 3)[0],
        "compared": Comparison([run]).neighbors(0, "csd"),
        "classes": torch.tensor(Comparison([run]).few_classes(), device="cpu"),
    }
    memory = csd.Memory(5, balanced=True)
    torch.manual_seed(0)
    memory.add(images=test["images"], labels=test["labels"])
    bank = csd.Bank(4, 3)
    bank.write(torch.tensor([1], device="cpu"), torch.ones(1, 3, device="cpu"))
    return {**found, "memory": memory.draw(3).labels, "bank": bank.values}


@pytest.fixture(scope="module")
def usual(data, tmp_path_factory) -> dict[str, Any]:
    return computed(data, tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("name", DEFAULTS)
def test_torchs_defaults_change_no_bit(data, usual, tmp_path, name):
    before = torch.get_default_dtype()
    with DEFAULTS[name]():
        inside = torch.get_default_dtype()
        found = computed(data, tmp_path)
        assert torch.get_default_dtype() == inside  # it is given back
    assert torch.get_default_dtype() == before
    for key, value in usual.items():
        same = torch.equal(found[key], value) and found[key].dtype == value.dtype if isinstance(value, Tensor) else None
        assert same if same is not None else found[key] == value, key


def test_the_reader_of_records_keeps_its_own_defaults(data, tmp_path):
    with having_set(torch.get_default_dtype, torch.set_default_dtype, torch.float64), torch.inference_mode():
        for _ in csd.training(csd.split(data, 2), csd.methods.csd, SHORT, out=tmp_path / "run"):
            assert torch.zeros(1).dtype == torch.float64
            assert torch.zeros(1).is_inference()


def test_images_and_networks_made_in_inference_mode_can_be_trained_with(tmp_path):
    with torch.inference_mode():
        stream = csd.split(striped(4), 2)
        network = models.build("resnet8", n_classes=4)
    finished = csd.train(stream, csd.methods.csd, SHORT.replace(crop_padding=0), out=tmp_path / "a", progress=False)
    assert finished.finished
    again = csd.train(stream, csd.methods.csd, SHORT, teacher=network, out=tmp_path / "b", progress=False)
    assert again.finished


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("labels", "said"), [([0, 5], "from 0 to 5"), ([-2, 1], "from -2 to 1"), ([-100, 1], "from -100")]
)
def test_labels_that_are_none_of_the_classes_are_named(labels, said):
    with pytest.raises(ValueError, match=f"labels go {said}.*expected 0 to 2, as in logits"):
        losses.cross_entropy(torch.zeros(2, 3), torch.tensor(labels))


@pytest.mark.parametrize("draw", [plots.task_matrices, plots.curves_over_tasks])
def test_what_is_drawn_without_names_is_refused_in_words(draw):
    with pytest.raises(ValueError, match=r"by the name of its method, such as \{'csd': …\}, and not a list"):
        draw([[1.0]], title="R@1", **({"protocol": "seen"} if draw is plots.task_matrices else {"metric": "Recall@1"}))


def test_a_map_leaves_torch_its_threads():
    """numba, which umap-learn is compiled with, sets as many threads as there are cores, and they are torch's too."""
    before = torch.get_num_threads()
    maps.umap_chain([torch.randn(12, 4, generator=torch.Generator().manual_seed(0))], progress=False)
    assert torch.get_num_threads() == before


def test_no_warning_is_needed(data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = csd.train(csd.split(data, 2), csd.methods.csd, SHORT, out=tmp_path / "run", progress=False)
        measured(run.features(0)[:6, :3], LABELS)
        features.normalize(run.features(0))


# ---------------------------------------------------------------------- settings of a method, devices, maps


@pytest.mark.parametrize("half", [np.float32(0.5), np.float64(0.5), np.float16(0.5)], ids=lambda x: type(x).__name__)
def test_a_methods_numbers_are_the_same_in_every_type(half):
    plain = describe_method(partial(csd.methods.csd, weight=0.5))
    assert describe_method(partial(csd.methods.csd, weight=half)) == plain
    assert describe_method(partial(csd.methods.csd, weight=np.float32(0.25))) != plain
    assert describe_method(partial(csd.methods.csd, weight=torch.tensor(0.5)))["name"] == "csd(weight=tensor(0.5))"


def test_a_device_may_be_torchs_and_is_a_name():
    assert csd.Config(device=torch.device("cpu")) == csd.Config(device="cpu")
    for wrong in (3, None):
        with pytest.raises(ValueError, match=r"device is .*; expected a name"):
            csd.Config(device=wrong)
    for name in ("meta", "xpu", "hpu"):
        with pytest.raises(ValueError, match=f"device is '{name}'"):
            pick_device(name)


@pytest.mark.parametrize("wrong", [9.0, -1, "x", None, float("nan")], ids=repr)
def test_how_tightly_points_may_lie_is_checked(wrong):
    for fit in (csd.maps.umap_chain, csd.maps.umap_map):
        with pytest.raises(ValueError, match=r"min_dist is .*; expected a number from 0 to 1"):
            fit([torch.randn(5, 3), torch.randn(5, 3)], min_dist=wrong, progress=False)


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_weights_that_overflow_in_the_last_step_are_told_as_divergence(data, tmp_path, validation):
    config = SHORT.replace(lr=1e30)

    def train() -> None:
        stream = csd.split(data, 2, validation=validation)
        csd.train(stream, csd.methods.finetune, config, out=tmp_path / "run", progress=False)

    for _ in range(2):  # the same call meets the same
        with pytest.raises(csd.TrainingDivergedError, match=r"became NaN or infinite.*smaller lr or later_lr"):
            train()
    assert not list((tmp_path / "run").glob("task-0.*"))
    assert csd.Run.load(tmp_path / "run").tasks_learnt == 0
