"""A campaign: every file of a run, damaged in every way, before everything that reads it."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.damages import READERS, damages, files_of, make_runs, told_by

pytestmark = [pytest.mark.campaign, pytest.mark.usefixtures("one_thread")]

SEED = 2024
SAID = (ValueError, FileNotFoundError, PermissionError, IsADirectoryError, RuntimeError)


@pytest.mark.parametrize("kind", ["whole", "stopped"])
def test_no_damage_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    runs = make_runs(tmp_path)
    chance = random.Random(SEED)
    whole = {}
    for name, read in READERS.items():
        place = shutil.copytree(runs[kind], tmp_path / "copy")
        whole[name], _, error = told_by(read, place)
        assert error is None or kind == "stopped", (name, error)
        shutil.rmtree(place)
    wrong = []
    for file in files_of(runs[kind]):
        for damage, spoil in damages(file, runs[kind], runs["other"], chance).items():
            for name, read in READERS.items():
                place = shutil.copytree(runs[kind], tmp_path / "copy")
                spoil(place / file)
                capsys.readouterr()
                started = time.monotonic()
                found, warned, error = told_by(read, place)
                said = warned + capsys.readouterr().out
                case = f"{file}, {damage}, {name}"
                if time.monotonic() - started > 20:
                    wrong.append(f"{case}: took {time.monotonic() - started:.0f} s")
                if error is not None:
                    if not isinstance(error, SAID) or (file not in str(error) and whole[name] is not None):
                        wrong.append(f"{case}: {type(error).__name__}: {error}")
                elif found != whole[name] and file not in said:
                    wrong.append(f"{case}: other than without damage, and nothing was said")
                shutil.rmtree(place)
    assert not wrong, "\n".join([f"{len(wrong)} cases", *wrong])
