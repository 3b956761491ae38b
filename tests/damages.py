"""Every way in which a file of a run can be damaged, and everything that reads a run: for the tests of both."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import csd_edu as csd
from csd_edu import maps, runs
from csd_edu.comparison import Comparison, across_networks
from csd_edu.report import write_report
from tests.conftest import TINY, striped

CONFIG = TINY.replace(epochs=1, later_epochs=2)
WRONG_JSON = {
    "list": b"[]\n",
    "number": b"5\n",
    "null": b"null\n",
    "no keys": b"{}\n",
    "text": b'"run"\n',
    "NaN": b'{"kind": "task", "task": NaN}\n',
    "deep": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "huge": b'{"tasks_learnt": 1' + b"0" * 5000 + b"}\n",
    "of other types": b'{"format": 1, "method": 5, "config": [], "stream": null, "tasks_learnt": "2", "kind": 1}\n',
}


def stream() -> csd.Stream:
    return csd.split(striped(4, train=4, test=3), 2)


def make_runs(folder: Path) -> dict[str, Path]:
    """Train a run, one by another method that swaps files with it, and one that stopped in its second task."""
    csd.train(stream(), csd.methods.csd, CONFIG, out=folder / "whole", progress=False)
    csd.train(
        stream(), csd.methods.finetune, CONFIG.replace(seed=5, later_epochs=1), out=folder / "other", progress=False
    )
    records = csd.training(stream(), csd.methods.csd, CONFIG, out=folder / "stopped")
    for _, _ in zip(range(3), records, strict=False):
        pass
    records.close()
    return {name: folder / name for name in ("whole", "other", "stopped")}


def files_of(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir() if not path.name.startswith("."))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def with_one_byte_changed(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def in_its_place(path: Path, other: Path) -> None:
    path.unlink()
    shutil.copyfile(other, path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def damages(name: str, run: Path, other: Path, chance: random.Random) -> dict[str, Callable[[Path], object]]:
    """Return what can happen to a file of that name, by what it is called; each takes the file's path."""
    ways: dict[str, Callable[[Path], object]] = {
        "missing": Path.unlink,
        "empty": lambda path: path.write_bytes(b""),
        "cut to a tenth": lambda path: cut(path, 0.1),
        "cut in the middle": lambda path: cut(path, chance.random()),
        "cut at the end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "random bytes": lambda path: path.write_bytes(chance.randbytes(path.stat().st_size)),
        "a folder": a_folder,
        "a dangling link": a_dangling_link,
    }
    if (other / name).exists():
        ways["that of another run"] = lambda path: in_its_place(path, other / name)
    if name.startswith("task-") and (run / f"task-{1 - int(name[5])}{name[6:]}").exists():
        rest = name[6:]
        ways["that of another task"] = lambda path: in_its_place(path, path.with_name(f"task-{1 - int(name[5])}{rest}"))
    if name.endswith(".safetensors"):
        ways["one bit"] = lambda path: with_one_byte_changed(path, chance)
        ways["another kind of file"] = lambda path: in_its_place(
            path, path.with_name("test.safetensors" if name != "test.safetensors" else "checkpoint.safetensors")
        )
    else:
        ways |= {f"JSON: {what}": lambda path, text=text: path.write_bytes(text) for what, text in WRONG_JSON.items()}  # type: ignore[misc]
    return ways


def plain(value: Any) -> Any:
    """Return a nest of values in which tensors are lists, so that it can be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def without_times(records: Any) -> Any:
    times = {"seconds", "images_per_second"}
    return [{key: value for key, value in record.items() if key not in times} for record in records]


def trained(path: Path) -> Any:
    run = csd.train(stream(), csd.methods.csd, CONFIG, out=path, progress=False)
    return [run.metrics, plain(run.snapshots()), plain(run.test())]


def reported(path: Path) -> None:
    write_report([csd.Run.load(path)], path / "report.html", maps=())


def compared(path: Path) -> Any:
    run = csd.Run.load(path)
    comparison = Comparison([run])
    name = next(iter(comparison.runs))
    return [comparison.classes, comparison.matrix(name, "Recall@1"), comparison.matrix(name, "Head accuracy")]


def mapped(path: Path) -> Any:
    return plain(maps.cached_maps([csd.Run.load(path)], "pca")[0].points)


READERS: dict[str, Callable[[Path], Any]] = {
    "method": lambda path: csd.Run.load(path).method,
    "config": lambda path: csd.Run.load(path).config.to_json(),
    "classes": lambda path: csd.Run.load(path).classes,
    "card": lambda path: csd.Run.load(path).card,
    "repr": lambda path: repr(csd.Run.load(path)).partition(" (")[0],
    "image_shape": lambda path: csd.Run.load(path).image_shape,
    "records": lambda path: without_times(csd.Run.load(path).records),
    "kept_bytes": lambda path: csd.Run.load(path).kept_bytes,
    "metrics": lambda path: csd.Run.load(path).metrics,
    "finished": lambda path: csd.Run.load(path).finished,
    "test": lambda path: plain(csd.Run.load(path).test()),
    "snapshots": lambda path: plain(csd.Run.load(path).snapshots()),
    "predictions": lambda path: plain(csd.Run.load(path).predictions(0)),
    "network": lambda path: plain(dict(csd.Run.load(path).network(0).state_dict())),
    "kept": lambda path: plain(csd.Run.load(path).kept()),
    "across networks": lambda path: across_networks(csd.Run.load(path)),
    "comparison": compared,
    "maps": mapped,
    "report": reported,
    "train": trained,
}


def told_by(read: Callable[[Path], Any], run: Path) -> tuple[Any, str, Exception | None]:
    """Return what a reader says of a run, the warnings it gave on the way, and the error that it raised."""
    runs._warned.clear()  # what is said once in a process is heard from each reader
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found, error = read(run), None
        except Exception as raised:
            found, error = None, raised
    return found, " ".join(str(warning.message) for warning in caught), error
