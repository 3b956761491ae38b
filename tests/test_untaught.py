"""What is found without any learning: against brute force, and in the numbers that come with the kit."""

from __future__ import annotations

import math

import pytest
import torch

import csd_edu as csd
from benchmarks import neighbours, untaught
from csd_edu import results
from csd_edu.methods.method import like_task
from csd_edu.train import fresh_network
from csd_edu.untaught import PIXELS, UNTRAINED, recall_untaught
from tests.conftest import TINY, striped


def brute_force(features: torch.Tensor, labels: torch.Tensor) -> float:
    hits = 0
    for i, query in enumerate(features):
        cosines = [
            -2.0 if j == i else float(query @ other / (query.norm() * other.norm())) for j, other in enumerate(features)
        ]
        hits += int(labels[cosines.index(max(cosines))] == labels[i])
    return hits / len(features)


def test_pixels_and_an_untrained_network_are_searched_as_features_are():
    stream = csd.split(striped(n_classes=4, train=6, test=5, size=16), n_tasks=2, seed=3)
    found = recall_untaught(stream, TINY.replace(seed=5))
    images, labels = stream.test()
    network = fresh_network(stream, TINY.replace(seed=5)).eval()
    with torch.no_grad():
        features = network(images)[0].double()
    assert found == {
        PIXELS: pytest.approx(brute_force(images.flatten(1).double(), labels)),
        UNTRAINED: pytest.approx(brute_force(features, labels)),
    }
    assert recall_untaught(stream, TINY.replace(seed=5)) == found
    assert recall_untaught(stream, TINY.replace(seed=6))[PIXELS] == found[PIXELS]


@pytest.mark.slow
def test_what_was_taught_nothing_is_measured_into_the_results_that_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(neighbours, "FOUND", tmp_path / "neighbours.json")
    neighbours.main(["--untaught"])
    there, anew = results.read("neighbours"), results.read(tmp_path / "neighbours.json")
    assert anew.values.keys() == there.values.keys()
    for name, of in there.values.items():
        near = pytest.approx(of["recall_at_1"], abs=0.01 if name == UNTRAINED else 1e-9)  # another machine's rounding
        assert anew.of(name, "recall_at_1") == near
    assert anew.of(PIXELS, "bytes") == anew.of(UNTRAINED, "bytes") == (0.0,) * 5
    assert f"| {PIXELS} | – | 0 B | " in capsys.readouterr().out


def test_all_methods_had_the_same_rates_to_choose_from_and_a_choice_it_was():
    assert neighbours.GRID.keys() == {name for name, of in neighbours.GRID.items() if of} | {"frozen"}
    for name, of in neighbours.GRID.items():
        rates = [key for key in of if key in ("lr", "later_lr")]
        at_once = like_task(csd.methods.NAMED[name], 1) == 0 or name == "joint"  # trains with `lr` alone
        assert rates == ([] if name == "frozen" else ["lr"] if at_once else ["later_lr"])
        assert {of[rate] for rate in rates} <= {neighbours.RATES}
        assert [len(of[key]) for key in of if key not in rates] in ([], [3])
    for name, search in results.read("neighbours").notes["tuning"]["methods"].items():
        tried = {tuple(trial["settings"].items()): tuple(trial["scores"]) for trial in search["tried"]}
        assert len(tried) == math.prod(map(len, neighbours.GRID[name].values()))
        assert len(set(tried.values())) > 1, f"nothing that was tried changes {name}"
        assert tried[tuple(search["chosen"].items())] == max(tried.values(), key=sum)


@pytest.mark.slow
def test_there_is_a_row_for_the_images_of_each_experiment(monkeypatch, capsys):
    def no_photographs(name: str, **more: object) -> csd.Dataset:
        if name == "cifar100":
            raise FileNotFoundError("no cifar100.npz")
        return load(name, **more)

    load = csd.load
    monkeypatch.setattr(untaught.csd, "load", no_photographs)
    monkeypatch.setattr("sys.argv", ["untaught.py", "--seeds", "1"])
    untaught.main()
    told = capsys.readouterr().out
    assert "| digits, 16×16, ten classes | resnet8 | 0.977 |" in told
    assert "| glyphs, 24 px, 100 classes | resnet8 | " in told
    assert "CIFAR-100 is left out: no cifar100.npz" in told
