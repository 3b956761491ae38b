"""What notebooks 00 to 07 say holds for runs with seeds that nobody looked at.

The cells tagged "claim" assert what the text says; they stand in no edition. With the saved runs they are run by
tests/test_notebooks.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import csd_edu as csd
from csd_edu import lesson, saved, tuning
from notebooks import generate
from notebooks.sources import HERE, find_sources, read_source
from tests.editions import run_on

NUMBERS = [f"{n:02}" for n in range(15)]
FRESH = {"five and six": (5, 6), "six and seven": (6, 7)}  # a notebook shows the first, and takes intervals over all


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> dict[str, Path]:
    """Return folders of the lesson's runs with fresh seeds."""
    folder = tmp_path_factory.mktemp("fresh")
    preset = csd.preset("glyphs")
    data = csd.load("glyphs", per_class=preset.per_class, image_size=preset.image_size)
    for seed in {seed for seeds in FRESH.values() for seed in seeds} - set(saved.seeds()):
        stream = csd.split(data, **preset.in_tasks(), seed=seed)
        config = preset.config.replace(seed=seed)
        lesson.train(stream, config, tuning.shipped(), out=folder / f"seed{seed}", progress=False)
    for name, seeds in FRESH.items():
        (folder / name).mkdir()
        tuning.shipped().write(folder / name)
        for seed in seeds:
            (folder / name / f"seed{seed}").symlink_to(folder / f"seed{seed}")
    return {name: folder / name for name in FRESH}


@pytest.mark.parametrize("number", NUMBERS)
def test_each_of_them_has_claims_that_no_edition_shows(number):
    (path,) = find_sources(HERE, [number])
    source = read_source(path)
    claims = [cell for cell in source.cells if "claim" in cell.tags]
    assert claims
    assert all("assert " in cell.text for cell in claims)
    for solved in (True, False):
        cells = generate.edition(source, solved=solved).cells
        assert not [cell.id for cell in cells if cell.id.startswith("claim")]


@pytest.mark.longest
@pytest.mark.parametrize("number", NUMBERS[:8])
@pytest.mark.parametrize("seeds", FRESH)
def test_the_claims_hold_for_fresh_seeds(seeds, number, fresh, tmp_path):
    run_on(fresh[seeds], number, tmp_path, claims=True)
