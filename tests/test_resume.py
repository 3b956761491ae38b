"""Nothing is lost: killed at any moment, a full disk, a damaged checkpoint; a continued run equals a whole one."""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo  # which the first step of an optimiser imports: once here, not in each child

import csd_edu as csd
from csd_edu.files import locked, read_tensors, write_atomically, write_tensors
from tests.conftest import TINY, striped

CONFIG = TINY.replace(epochs=5, later_epochs=4)


def stream_of_stripes(seed: int = 0) -> csd.Stream:
    return csd.split(striped(train=16), n_tasks=3, seed=seed)


def train_quietly(out: Path, limit_bytes: int | None = None) -> None:
    """Train in this process; with a limit, no file can grow beyond it, as on a full disk."""
    torch.set_num_threads(1)
    if limit_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails with EFBIG, as ENOSPC would
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)


@pytest.fixture(scope="module")
def processes():
    """Children that start in milliseconds, from a server that has imported csd_edu but never computed anything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_resume"])
    return context


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    child = processes.Process(target=train_quietly, args=(out,))
    child.start()
    child.join()
    assert child.exitcode == 0
    return out


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()
    for task in range(3):
        for what in ("weights", "features"):
            a, b = (read_tensors(p / f"task-{task}.{what}.safetensors")[0] for p in (one, other))
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
    a, b = ([{**r, "seconds": 0, "images_per_second": 0} for r in csd.Run.load(p).records] for p in (one, other))
    assert a == b


def kill_and_continue(processes, out: Path, delay: float) -> int:
    """Start training again and again, killing it after about `delay` seconds, until it gets through."""
    kills = 0
    rng = random.Random(delay)
    while True:
        child = processes.Process(target=train_quietly, args=(out,))
        child.start()
        child.join(timeout=delay * (0.5 + rng.random()) * 1.3**kills)  # ever longer, so that it ends
        if child.exitcode is not None:
            assert child.exitcode == 0
            return kills
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(processes, whole, tmp_path):
    kills = 0
    for attempt in range(20):
        kills += kill_and_continue(processes, tmp_path / str(attempt), delay=0.08 * (1 + attempt % 5))
        assert_equal_runs(whole, tmp_path / str(attempt))
        if kills >= 12:
            break
    assert kills >= 10


@pytest.mark.campaign
def test_killed_a_hundred_times_it_ends_with_the_same_bits(processes, whole, tmp_path):
    kills = 0
    attempt = 0
    while kills < 100:
        kills += kill_and_continue(processes, tmp_path / str(attempt), delay=0.03 * (1 + attempt % 12))
        assert_equal_runs(whole, tmp_path / str(attempt))
        attempt += 1


class Killed(BaseException):
    """What a test raises in place of SIGKILL where it wants a certain moment."""


MOMENTS = ["write", "sync", "replace"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_before_every_single_file_operation_it_ends_with_the_same_bits(whole, tmp_path, monkeypatch, moment):
    """Stop before the n-th write, sync or rename, for every n, each time continuing the same run."""
    real = {"write": csd.runs.Journal.append, "sync": os.fsync, "replace": os.replace}[moment]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    countdown = [0]

    def stopping(*args):
        countdown[0] -= 1
        if countdown[0] < 0:
            raise Killed
        return real(*args)

    target = {"write": (csd.runs.Journal, "append"), "sync": (os, "fsync"), "replace": (os, "replace")}[moment]
    out, stops = tmp_path / "run", 0
    for n in range(200):
        countdown[0] = 1 + n % 5
        with monkeypatch.context() as patch:
            patch.setattr(*target, stopping)
            try:
                csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)
                break
            except Killed:
                stops += 1
    torch.set_num_threads(threads)
    assert stops >= 5
    assert_equal_runs(whole, out)


def test_interrupted_by_the_keyboard(whole, tmp_path, capsys):
    torch.set_num_threads(1)

    def watch(records, _):
        for n, record in enumerate(records):
            if n == 2:
                signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
                threading.Timer(0.02, _thread.interrupt_main).start()  # as Ctrl-C does, amid an epoch
            yield record

    with pytest.raises(KeyboardInterrupt):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path / "r", progress=watch)
    assert "the same call goes on" in capsys.readouterr().out
    run = csd.Run.load(tmp_path / "r")
    assert not run.finished
    assert run.records
    csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path / "r", progress=False)
    assert_equal_runs(whole, tmp_path / "r")


def test_a_stopped_generator_continues(whole, tmp_path):
    torch.set_num_threads(1)
    for stop in (1, 3, 7, 100):
        records = csd.training(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path / "r")
        for _, _ in zip(range(stop), records, strict=False):
            pass
        records.close()
    assert_equal_runs(whole, tmp_path / "r")


@pytest.mark.slow
def test_the_disk_is_full_while_saving(processes, whole, tmp_path):
    """With less and less room every save fails somewhere else; with room again the run goes on from its last epoch."""
    out = tmp_path / "r"
    sizes = sorted({p.stat().st_size for p in whole.iterdir() if p.stat().st_size > 1000})
    for limit in sizes:  # room for the smallest files only, then for larger ones too
        child = processes.Process(target=train_quietly, args=(out, limit - 1))
        child.start()
        child.join()
        assert child.exitcode == 1  # ended by an exception, not by a signal
        assert not list(out.glob("*.tmp")) + list(out.glob(".*.tmp"))
    train_quietly(out)
    assert_equal_runs(whole, out)


def stop_after(out: Path, n_records: int) -> None:
    records = csd.training(stream_of_stripes(), csd.methods.csd, CONFIG, out=out)
    for _, _ in zip(range(n_records), records, strict=False):
        pass
    records.close()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty])
@pytest.mark.parametrize("n_records", [3, 6, 8])
def test_a_damaged_checkpoint_continues_from_the_one_before(whole, tmp_path, capsys, damage, n_records):
    torch.set_num_threads(1)
    out = tmp_path / "r"
    stop_after(out, n_records)
    damage(out / "checkpoint.safetensors")
    records = list(csd.training(stream_of_stripes(), csd.methods.csd, CONFIG, out=out))
    assert "checkpoint.safetensors is damaged" in capsys.readouterr().out
    total = CONFIG.epochs + 2 * CONFIG.later_epochs + 3
    assert len(records) == total - n_records + 1  # one epoch is done again, not all
    assert_equal_runs(whole, out)


def test_without_any_good_checkpoint_it_starts_again(whole, tmp_path):
    torch.set_num_threads(1)
    out = tmp_path / "r"
    stop_after(out, 8)
    for name in ("checkpoint", "checkpoint-previous"):
        truncate(out / f"{name}.safetensors")
    csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)
    assert_equal_runs(whole, out)


def test_a_half_written_record_is_cut_off(whole, tmp_path):
    torch.set_num_threads(1)
    out = tmp_path / "r"
    stop_after(out, 4)
    with open(out / "records.jsonl", "ab") as file:
        file.write(b'{"kind": "epoch", "ta')
    assert len(csd.Run.load(out).records) == 4
    csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)
    assert_equal_runs(whole, out)


def test_what_a_killed_process_left_half_written_is_cleared_away(whole, tmp_path):
    torch.set_num_threads(1)
    out = tmp_path / "r"
    stop_after(out, 4)
    (out / ".checkpoint.safetensors.0badf00d.tmp").write_bytes(b"half")
    csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)
    assert not list(out.glob(".*.tmp"))
    assert_equal_runs(whole, out)


def test_a_finished_run_is_returned_as_it_is(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "r")
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    started = time.perf_counter()
    run = csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out)
    assert run.finished
    assert time.perf_counter() - started < 5
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.name in before} == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"config": CONFIG.replace(later_epochs=3)}, "config has later_epochs 4, now 3"),
        ({"config": CONFIG.replace(seed=9)}, "config has seed 0, now 9"),
        ({"method": csd.methods.lwf}, "method has name 'csd', now 'lwf'"),
        ({"stream": stream_of_stripes(seed=1)}, "other classes in its tasks"),
        ({"stream": csd.split(striped(train=17), n_tasks=3)}, "stream has fingerprint"),
    ],
)
def test_a_run_of_other_settings_is_refused_with_the_difference(whole, tmp_path, other, message):
    out = shutil.copytree(whole, tmp_path / "r")
    arguments = {"stream": stream_of_stripes(), "method": csd.methods.csd, "config": CONFIG, **other}
    with pytest.raises(ValueError, match=message):
        csd.train(**arguments, out=out, progress=False)
    assert_equal_runs(whole, out)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"other files \(thesis\.txt"):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_read_only_folder_and_a_file_are_refused_before_any_work(tmp_path):
    folder = tmp_path / "readonly"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(PermissionError, match="read-only"):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=folder, progress=False)
    with pytest.raises(PermissionError, match="read-only"):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=folder / "run", progress=False)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=file, progress=False)


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    out = tmp_path / "r"
    stop_after(out, 1)
    with locked(out), pytest.raises(RuntimeError, match="another process or notebook"):
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=out, progress=False)


# ---------------------------------------------------------------------- the files underneath


def test_a_file_is_old_or_new_but_never_a_mixture(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_come_back_with_their_types_and_notes(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
        "b": torch.arange(5),
        "c": torch.tensor(2.0, dtype=torch.bfloat16),
        "d": torch.zeros(0, 64),
    }
    write_tensors(tmp_path / "t", tensors, {"n": 1})
    read, about = read_tensors(tmp_path / "t")
    assert about == {"n": 1}
    assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "t"
    write_tensors(path, {"a": torch.arange(50), "b": torch.randn(7)}, {"epoch": 3})
    good, (tensors, about) = path.read_bytes(), read_tensors(path)
    unnoticed = []
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x20]) + good[position + 1 :])
        with contextlib.suppress(ValueError):
            found, found_about = read_tensors(path)
            same = found.keys() == tensors.keys() and all(torch.equal(found[n], tensors[n]) for n in tensors)
            if not same or found_about != about:
                unnoticed.append(position)
    assert not unnoticed


def test_an_interrupt_between_two_records_leaves_the_folder_free(tmp_path, monkeypatch):
    import tqdm

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm.tqdm, "set_postfix_str", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path / "run")
    assert caught.tb is not None, "the traceback still holds the frames, as a notebook's does"
    run = csd.train(stream_of_stripes(), csd.methods.csd, CONFIG, out=tmp_path / "run", progress=False)
    assert run.finished
