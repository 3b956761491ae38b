"""What several test files share: small datasets, and real images with skips that the CI turns into failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import csd_edu as csd

pytest_plugins = ["tests.bad_inputs"]

settings.register_profile("repeatable", derandomize=True, deadline=None)  # the same examples in every run
settings.load_profile("repeatable")

LONG_FILES = (
    "notebooks",
    "browser_notebooks",
    "claims",
    "browser_widgets",
    "benchmarks_gpu",
    "browser",
    "notebook_resume",
    "own_method",
    "cli",
    "identity",
    "grade",
)
"""Files that take long, by what follows test_, the longest first: they begin first, lest one core waits in the end."""

REAL_DATA = os.environ.get("CSD_EDU_DATA")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": k for k, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests read and cache datasets in a folder of their own; real ones are linked into it."""
    folder = tmp_path_factory.mktemp("data")
    if REAL_DATA and Path(REAL_DATA).is_dir():
        for path in Path(REAL_DATA).glob("*.npz"):
            (folder / path.name).symlink_to(path.resolve())
    os.environ["CSD_EDU_DATA"] = str(folder)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    return folder


@pytest.fixture
def progress_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checks keep their progress in a file of the test's own."""
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Where tensors are tiny, a second thread only costs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def need(available: object, reason: str) -> None:
    """Skip with the reason if something is not available; fail where everything must be (in the CI)."""
    if not available:
        if os.environ.get("CSD_EDU_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def real_images(name: str) -> str:
    """Return the name of a dataset of real images, or skip."""
    need(REAL_DATA and list(Path(REAL_DATA).glob(f"{name}*.npz")), f"CSD_EDU_DATA names no folder with {name}.npz")
    return name


def striped(
    n_classes: int = 6, train: int = 8, test: int = 4, size: int = 16, channels: int = 3, noise: int = 30
) -> csd.Dataset:
    """Return a tiny dataset that a network learns in a few steps: each class has its own stripes, plus noise."""
    generator = torch.Generator().manual_seed(0)
    position = torch.arange(size) / size

    def images(per_class: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(n_classes).repeat(per_class)  # interleaved
        wave = torch.sin(2 * torch.pi * (labels[:, None] + 1) * position)  # (N, size)
        x = (
            127
            + 80 * wave[:, None, :, None]
            + noise * torch.randn(len(labels), channels, size, size, generator=generator)
        )
        return x.clamp(0, 255).to(torch.uint8), labels

    x_train, y_train = images(train)
    x_test, y_test = images(test)
    return csd.Dataset("stripes", x_train, y_train, x_test, y_test, tuple(f"stripe {c}" for c in range(n_classes)))


@pytest.fixture(scope="session")
def stripes() -> csd.Dataset:
    return striped()


TINY = csd.Config(epochs=2, later_epochs=2, batch_size=16, crop_padding=1, device="cpu", precision="float32")
