"""Trainings side by side: the same bits as alone, a common first task, failures that leave the others alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

import csd_edu as csd
from csd_edu.methods import NAMED, card_of
from csd_edu.sweep import After, Job, SweepError, sweep
from csd_edu.train import begin_with, training
from tests.conftest import TINY, striped

pytestmark = pytest.mark.usefixtures("one_thread")

ALIKE = [name for name, method in NAMED.items() if card_of(method).begins_as]


@pytest.fixture(scope="module")
def stream() -> csd.Stream:
    return csd.split(striped(), n_tasks=3, seed=0)


def one_task(stream: csd.Stream, method, out: Path) -> csd.Run:
    records = training(stream, method, TINY, out=out)
    for record in records:
        if record["kind"] == "task":
            records.close()
    return csd.Run.load(out)


def same_bits(a: csd.Run, b: csd.Run) -> bool:
    tasks = range(a.n_tasks)
    equal = all(torch.equal(a.features(t), b.features(t)) for t in tasks)
    weights = (zip(*(sorted(run.network(t).state_dict().items()) for run in (a, b)), strict=True) for t in tasks)
    same = all(torch.equal(x, y) for pairs in weights for (_, x), (_, y) in pairs)
    return equal and same and a.metrics == b.metrics


def test_which_methods_begin_alike():
    assert set(ALIKE) == {"finetune", "lwf", "csd", "feature_distillation", "frozen", "mmd", "supcon"}


@pytest.mark.parametrize("name", ALIKE)
def test_a_run_from_a_copied_first_task_has_the_bits_of_one_that_learnt_it_itself(name, stream, tmp_path):
    method = NAMED[name]
    first = one_task(stream, csd.methods.finetune, tmp_path / "first")
    begun = begin_with(first, stream, method, TINY, out=tmp_path / "copied")
    assert begun.tasks_learnt == 1
    assert begun.method == name
    copied = csd.train(stream, method, TINY, out=tmp_path / "copied", progress=False)
    alone = csd.train(stream, method, TINY, out=tmp_path / "alone", progress=False)
    assert same_bits(copied, alone)
    first, second = (
        [{key: value for key, value in record.items() if "second" not in key} for record in run.records]
        for run in (copied, alone)
    )
    assert first == second  # but for the time it took
    assert copied.description == alone.description


def test_settings_do_not_change_the_first_task(stream, tmp_path):
    first = one_task(stream, csd.methods.finetune, tmp_path / "first")
    for method in (
        partial(csd.methods.csd, weight=3, temperature=0.5, distillation=20),
        partial(csd.methods.supcon, weight=2, distillation=5),
        partial(csd.methods.lwf, weight=20, temperature=4.0),
    ):
        alone = one_task(stream, method, tmp_path / csd.methods.name_of(method))
        assert torch.equal(alone.features(0), first.features(0))


def test_what_does_not_begin_alike_is_refused(stream, tmp_path):
    first = one_task(stream, csd.methods.finetune, tmp_path / "first")
    with pytest.raises(ValueError, match=r"er does not begin as finetune .*Card\(begins_as='finetune'\)"):
        begin_with(first, stream, csd.methods.ER(8), TINY, out=tmp_path / "er")
    with pytest.raises(ValueError, match="another stream or config"):
        begin_with(first, stream, csd.methods.csd, TINY.replace(seed=1), out=tmp_path / "seed")
    with pytest.raises(FileExistsError, match="is there already"):
        begin_with(first, stream, csd.methods.csd, TINY, out=tmp_path / "first")
    whole = csd.train(stream, csd.methods.finetune, TINY, out=tmp_path / "first", progress=False)
    with pytest.raises(ValueError, match="expected a run that has learnt its first task, and nothing of the second"):
        begin_with(whole, stream, csd.methods.csd, TINY, out=tmp_path / "late")
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def write_names(path: str, runs: list[csd.Run]) -> None:
    assert all(run.finished for run in runs)
    Path(path).write_text(" ".join(run.method for run in runs))


@pytest.mark.campaign
def test_side_by_side_or_alone_the_numbers_are_the_same(stream, tmp_path, capsys):
    methods = {"joint": csd.methods.joint, "csd": csd.methods.csd, "lwf": csd.methods.lwf, "er": csd.methods.ER(8)}
    jobs = {name: Job(stream, method, TINY, tmp_path / "many" / name) for name, method in methods.items()}
    after = {"names": After(("csd", "lwf"), partial(write_names, str(tmp_path / "names")))}
    runs = sweep(jobs, after=after, n_jobs=2)
    told = capsys.readouterr().out
    for name, method in methods.items():
        alone = csd.train(stream, method, TINY, out=tmp_path / "alone" / name, progress=False)
        assert same_bits(runs[name], alone), name
        assert f"  {name} " in told
    assert "first task" in told
    assert (tmp_path / "names").read_text() == "csd lwf"
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == sorted(methods)
    before = {name: run.records for name, run in runs.items()}
    again = sweep(jobs, n_jobs=2, progress=False)  # all are there
    assert {name: run.records for name, run in again.items()} == before


def failing(step):
    if step.task == 1:
        raise ValueError("no more than one task, please")
    return csd.methods.finetune(step)


def dying(_step):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_an_error_in_one_is_named_and_the_others_finish(stream, tmp_path):
    methods = {"failing": failing, "dying": dying, "csd": csd.methods.csd}
    jobs = {name: Job(stream, method, TINY, tmp_path / name) for name, method in methods.items()}
    after = {"too late": After(("failing",), partial(write_names, "never"))}
    with pytest.raises(SweepError) as caught:
        sweep(jobs, after=after, n_jobs=2, progress=False)
    errors = {name: str(error) for name, error in caught.value.errors.items()}
    assert errors.keys() == {"failing", "dying", "too late"}
    assert errors["failing"] == "no more than one task, please"
    assert "was killed" in errors["dying"]
    assert "needs failing" in errors["too late"]
    assert "failing: no more than one task, please" in str(caught.value)
    assert csd.Run.load(tmp_path / "csd").finished
    assert csd.Run.load(tmp_path / "failing").tasks_learnt == 1


def test_impossible_jobs_are_refused_before_any_work(stream, tmp_path):
    job = Job(stream, csd.methods.csd, TINY, tmp_path / "csd")
    with pytest.raises(ValueError, match="two jobs have the same folder"):
        sweep({"a": job, "b": job})
    assert sweep({}) == {}
    for after in ({"a": After(("a",), print)}, {"z": After(("nobody",), print)}, {"z": After((), print)}):
        with pytest.raises(ValueError, match="expected a name that no job has, and names of jobs"):
            sweep({"a": job}, after=after)
    with pytest.raises(ValueError, match="n_jobs is 0; expected a whole number of at least 1"):
        sweep({"a": job}, n_jobs=0)
    with pytest.raises(ValueError, match=r"b: .*method is the class ER; expected an object"):
        sweep({"a": job, "b": Job(stream, csd.methods.ER, TINY, tmp_path / "er")})  # type: ignore[arg-type]
    assert not (tmp_path / "csd").exists()


INTERRUPTED = """
import sys
from pathlib import Path
import csd_edu as csd
from csd_edu.sweep import Job, sweep
from tests.conftest import TINY, striped
stream = csd.split(striped(), n_tasks=3, seed=0)
config = TINY.replace(epochs=3000)
methods = {"csd": csd.methods.csd, "joint": csd.methods.joint}
sweep({name: Job(stream, method, config, Path(sys.argv[1]) / name) for name, method in methods.items()}, n_jobs=2)
"""


@pytest.mark.slow
def test_an_interrupt_stops_all_and_leaves_runs_that_go_on(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    joint = tmp_path / "joint" / "records.jsonl"
    end = time.monotonic() + 120
    while not joint.with_name("checkpoint.safetensors").exists() and time.monotonic() < end:  # it follows the record
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, _ = process.communicate(timeout=60)
    assert "Interrupted. What was learnt so far is saved" in out
    assert process.returncode != 0
    time.sleep(1)
    size = joint.stat().st_size
    time.sleep(1)
    assert joint.stat().st_size == size  # nobody trains on
    stream, config = csd.split(striped(), n_tasks=3, seed=0), TINY.replace(epochs=3000)
    records = training(stream, csd.methods.joint, config, out=tmp_path / "joint")
    assert next(records)["epoch"] > 0
    records.close()


def test_no_process_is_left(stream, tmp_path):
    sweep({"csd": Job(stream, csd.methods.csd, TINY, tmp_path / "csd")}, progress=False)
    assert not multiprocessing.active_children()


class TwoParts(Exception):  # which can't be sent to another process
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def raising(_step):
    raise TwoParts("this", "that")


@pytest.mark.slow
def test_methods_from_files_errors_of_any_kind_and_names_like_the_kits_own(stream, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import csd_edu as csd\nfrom dataclasses import dataclass\n\n@dataclass\nclass Mine(csd.methods.Method):\n"
        "    def __call__(self, step):\n        return csd.methods.finetune(step)\n\nmine = Mine()\n"
    )
    method = csd.methods.find(f"{file}:mine")
    methods = {"first task": csd.methods.csd, "lwf": csd.methods.lwf, "mine": method, "raising": raising}
    jobs = {name: Job(stream, method, TINY, tmp_path / name.replace(" ", "-")) for name, method in methods.items()}
    after = {"first task′": After(("lwf",), partial(write_names, str(tmp_path / "names")))}
    with pytest.raises(SweepError, match="raising: TwoParts: this and that") as caught:
        sweep(jobs, after=after, n_jobs=2, progress=False)
    assert (tmp_path / "names").read_text() == "lwf"
    assert caught.value.errors.keys() == {"raising"}
    assert all(csd.Run.load(tmp_path / name).finished for name in ("first-task", "lwf", "mine"))
    assert not list(tmp_path.glob("first-task-*"))
    alone = csd.train(stream, method, TINY, out=tmp_path / "alone", progress=False)
    assert same_bits(csd.Run.load(tmp_path / "mine"), alone)
