"""Which function later cells take: the student's own once it has passed its check, else the kit's."""

import functools

import pytest

from csd_edu import check
from csd_edu.check import own

SOLUTION = check.EXERCISES["chance_recall"].solution


@pytest.fixture(autouse=True)
def new_session(tmp_path, monkeypatch):
    monkeypatch.setenv("CSD_EDU_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(own, "_passed", {})


def mine(n_right, n_gallery, k):
    return SOLUTION(n_right, n_gallery, k)


def wrong(n_right, n_gallery, k):
    return n_right * k / n_gallery  # as if items could be right twice


def unwritten(n_right, n_gallery, k):
    raise NotImplementedError("your code here")


def test_a_function_goes_on_once_it_has_passed(capsys):
    check.chance_recall(mine)
    assert check.yours_or_ours("chance_recall") is mine
    assert check.yours_or_ours("chance_recall", ours=wrong) is mine
    assert check.yours_or_ours("chance_recall", ours=None) is mine
    assert capsys.readouterr().out == 3 * "with your mine\n"


@pytest.mark.parametrize("f", [None, wrong, unwritten])
def test_before_that_it_is_the_kits(f, capsys):
    if f is not None:
        check.chance_recall(f)
    assert check.yours_or_ours("chance_recall") is SOLUTION
    assert check.yours_or_ours("chance_recall", ours=mine) is mine
    assert check.yours_or_ours("chance_recall", ours=None) is None
    until = "until yours has passed check.chance_recall"
    assert capsys.readouterr().out.splitlines() == [
        f"with the kit's chance_recall, {until}",
        f"with the kit's mine, {until}",
        f"without chance_recall, {until}",
    ]


def test_the_last_check_counts(capsys):
    for f in (mine, wrong):
        check.chance_recall(f)
    assert check.yours_or_ours("chance_recall") is SOLUTION
    for f in (wrong, mine):
        check.chance_recall(f)
    assert check.yours_or_ours("chance_recall") is mine
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_pass_of_an_earlier_session_is_no_function():
    check.chance_recall(mine)
    own._passed.clear()  # as after a restart of the kernel
    assert check.board("chance_recall").rows[0][2]["passed"]
    assert check.yours_or_ours("chance_recall") is SOLUTION


def test_a_function_without_a_name(capsys):
    check.chance_recall(functools.partial(mine))
    assert check.yours_or_ours("chance_recall") is not SOLUTION
    assert capsys.readouterr().out == "with your chance_recall\n"


def test_an_unknown_exercise():
    with pytest.raises(ValueError, match="there is no exercise 'mine'; expected one of 'first_and_last'"):
        check.yours_or_ours("mine")
