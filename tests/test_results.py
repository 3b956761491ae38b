"""Tables of what experiments measured: intervals, differences by seed, files."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import replace

import pytest
import torch

from csd_edu import results
from csd_edu.results import Interval, Results

FOUND = Results(
    about="digits",
    command="python benchmarks/none.py",
    seeds=(0, 1, 2),
    values={
        "one": {"recall": (0.5, 0.6, 0.7), "seconds": (1, 2, 3)},
        "other": {"recall": (0.4, 0.52, 0.6)},
    },
)


def test_an_interval_is_students():
    assert FOUND.interval("one", "recall") == pytest.approx((0.6, 4.302653 * 0.1 / math.sqrt(3)))


def test_differences_are_paired_by_seed():
    mean, half = FOUND.difference("one", "other", "recall")
    assert mean == pytest.approx((0.1 + 0.08 + 0.1) / 3)
    assert half == pytest.approx(4.302653 * math.sqrt(((0.1 - mean) ** 2 * 2 + (0.08 - mean) ** 2) / 2) / math.sqrt(3))
    assert FOUND.difference("one", "other", "recall").verdict == "above 0"
    assert FOUND.difference("other", "one", "recall").verdict == "below 0"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.05), "above 0"),
        ((-0.1, 0.05), "below 0"),
        ((0.1, 0.1), "not told apart"),
        ((0.1, math.nan), "not told apart"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(interval, verdict):
    assert Interval(*interval).verdict == verdict


def test_tables_say_what_is_there_and_what_is_not():
    assert FOUND.table().splitlines() == [
        "| | recall | seconds |",
        "| --- | --- | --- |",
        "| one | 0.600 ± 0.248 | 2.000 ± 2.484 |",
        "| other | 0.507 ± 0.250 | – |",
    ]
    assert FOUND.differences([("other", "one")], ["recall"]).splitlines() == [
        "| difference, paired | recall | |",
        "| --- | --- | --- |",
        "| other − one | −0.093 ± 0.029 | below 0 |",
    ]
    assert FOUND.differences([("other", "one")], ["seconds"]).splitlines()[-1] == "| other − one | – | – |"
    both = [("other", "one"), ("other", "never measured")]
    assert FOUND.differences(both, ["recall"]) == FOUND.differences(both[:1], ["recall"])


def test_what_is_written_is_read_back(tmp_path):
    FOUND.write(tmp_path / "new" / "r.json")
    assert results.read(tmp_path / "new" / "r.json") == FOUND


def test_those_that_come_with_the_kit_are_read_by_name():
    for name in results.shipped():
        found = results.read(name)
        assert len(found.seeds) >= 5
        assert found.about
        assert found.date
        assert "benchmarks/" in found.command
        assert found.environment["torch"]


def test_they_say_when_and_where_they_were_measured():
    assert FOUND.date == datetime.date.today().isoformat()
    assert FOUND.environment["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("setting", "measure", "said"),
    [
        ("two", "recall", r"there is no setting 'two'; expected one of 'one', 'other'"),
        ("other", "seconds", "'other' has no measure 'seconds'; expected one of 'recall'"),
    ],
)
def test_what_was_not_measured_is_told(setting, measure, said):
    with pytest.raises(ValueError, match=said):
        FOUND.of(setting, measure)


def test_one_seed_has_no_interval():
    assert str(results.interval([0.5])) == "0.500"
    assert results.interval([0.5]).verdict == "not told apart"


def test_a_value_for_each_seed():
    with pytest.raises(ValueError, match="'one' has 1 values of 'recall'; expected 2"):
        Results("", "", (0, 1), {"one": {"recall": (0.5,)}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"values": {"one": {"recall": "12"}}}, "'one' has '12' as 'recall'; expected a list of numbers"),
        ({"values": {"one": {"recall": {"1": 0.5, "2": 0.6}}}}, "as 'recall'; expected a list of numbers"),
        ({"values": {"one": {"recall": [True, 0.5]}}}, r"'recall' of 'one', \[0\], is True; expected a finite number"),
        ({"values": {"one": {"recall": [0.5, 10**400]}}}, r"'recall' of 'one', \[1\], is .*; expected a finite number"),
        ({"values": {"one": {"recall": [0.5, math.nan]}}}, r"'recall' of 'one', \[1\], is nan; expected a finite"),
        ({"values": {"one": [0.5, 0.6]}}, r"values of 'one' are \[0.5, 0.6\]; expected a dictionary, by measure"),
        ({"values": [1]}, r"values is \[1\]; expected a dictionary"),
        ({"seeds": [0.5, 1.7]}, r"seeds\[0\] is 0.5; expected a whole number"),
        ({"seeds": [0, math.inf]}, r"seeds\[1\] is inf; expected a whole number"),
        ({"seeds": [1, 1]}, r"seeds are \[1, 1\]; expected each once"),
        ({"about": 5}, "about is 5; expected a text"),
        ({"notes": None}, "notes is None; expected a dictionary"),
    ],
)
def test_what_are_no_results(changed, said, tmp_path):
    given = {"about": "", "command": "", "seeds": [0, 1], "values": {"one": {"recall": [0.5, 0.6]}}} | changed
    with pytest.raises(ValueError, match=said):
        Results(**given)
    text = json.dumps(given).replace("Infinity", "1e999")
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=r"r\.json"):
        results.read(tmp_path / "r.json")


def test_notes_that_are_no_json_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"notes can't be written as JSON .*; expected plain, finite values"):
        replace(FOUND, notes={"loss": math.nan}).write(tmp_path / "new" / "r.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"about": 3', json.dumps({"seeds": 3})])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ValueError, match=r"r\.json"):
        results.read(tmp_path / "r.json")


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nothing\.json.*expected a file of results"):
        results.read("nothing.json")
