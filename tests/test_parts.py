"""Datasets in parts: they come together again as they were, and whatever is missing or damaged is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parts


@pytest.fixture
def source(tmp_path) -> Path:
    """A dataset of 300 kB."""
    rng = np.random.RandomState(0)
    names = np.array(["ant", "bee", "Käfer"])
    arrays = {
        "x_train": rng.randint(256, size=(91, 32, 32, 3)).astype(np.uint8),
        "y_train": np.arange(91) % 3,
        "x_test": rng.randint(256, size=(8, 32, 32, 3)).astype(np.uint8),
        "y_test": np.arange(8) % 3,
        "classes": names,
    }
    np.savez_compressed(tmp_path / "insects.npz", **arrays)
    return tmp_path / "insects.npz"


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize(("mb", "n"), [(0.05, 10), (0.1, 4), (60, 1)])
def test_cut_and_joined_it_is_the_same(source, tmp_path, mb, n):
    folder = tmp_path / "parts"
    cut = parts.cut(source, folder, mb=mb)
    assert len(cut) == n
    assert all(path.stat().st_size <= mb * 1e6 for path in cut)
    assert all(contents(path).keys() == contents(source).keys() for path in cut)  # each can be read without pickles
    assert parts.missing(folder) == []
    joined = parts.join(folder, tmp_path / "data")
    assert joined == tmp_path / "data" / "insects.npz"
    before, after = contents(source), contents(joined)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_a_file_that_is_whole_is_not_joined_again(source, tmp_path):
    parts.cut(source, tmp_path / "parts", mb=0.1)
    joined = parts.join(tmp_path / "parts", tmp_path / "data")
    written = joined.stat().st_mtime_ns
    (tmp_path / "parts" / "insects-part-2-of-4.npz").unlink()
    assert parts.join(tmp_path / "parts", tmp_path / "data") == joined
    assert joined.stat().st_mtime_ns == written


def test_missing_parts_are_named(source, tmp_path):
    cut = parts.cut(source, tmp_path / "parts", mb=0.1)
    cut[1].unlink()
    cut[3].unlink()
    assert parts.missing(tmp_path / "parts") == ["insects-part-2-of-4.npz", "insects-part-4-of-4.npz"]
    with pytest.raises(FileNotFoundError, match=r"insects-part-2-of-4\.npz, insects-part-4-of-4\.npz missing"):
        parts.join(tmp_path / "parts", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_a_damaged_part_is_named(source, tmp_path, damage):
    damage(parts.cut(source, tmp_path / "parts", mb=0.1)[2])
    with pytest.raises(ValueError, match=r"insects-part-3-of-4\.npz is damaged.*send it again"):
        parts.join(tmp_path / "parts", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_parts_that_are_not_those_of_the_file_are_noticed(source, tmp_path):
    folder = tmp_path / "parts"
    parts.cut(source, folder, mb=60)
    manifest = folder / "parts.json"
    whole = parts._checksum(contents(source))
    manifest.write_text(manifest.read_text().replace(whole, "0" * 64))
    with pytest.raises(ValueError, match=r"not insects\.npz as it was cut"):
        parts.join(folder, tmp_path / "data")


def test_without_a_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"parts\.json; expected the folder that"):
        parts.join(tmp_path, tmp_path)


def test_parts_too_small_for_a_row(source, tmp_path):
    with pytest.raises(ValueError, match=r"mb is 0\.01; expected at least 0\.02"):
        parts.cut(source, tmp_path / "parts", mb=0.01)


def test_on_the_command_line(source, tmp_path):
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, parts.__file__, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    folder = tmp_path / "parts"
    assert "insects-part-4-of-4.npz: 0.1 MB" in call(source, folder, "--mb", 0.1).stdout
    first = folder / "insects-part-1-of-4.npz"
    first.rename(tmp_path / "late.npz")
    waiting = call(folder)
    assert waiting.returncode == 1
    assert "insects-part-1-of-4.npz missing, of 4 parts" in waiting.stderr
    (tmp_path / "late.npz").rename(first)
    assert call(folder).stdout.strip() == str(folder / "insects.npz")
