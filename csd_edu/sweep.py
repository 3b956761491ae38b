"""Many trainings side by side: each in a process of its own with one thread, as many at a time as there are cores.

The numbers of a run are the same whether it trains alone or beside others. Methods whose cards say that they begin
alike learn the first task of a stream once, and go on from copies.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import signal
import sys
import time
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import torch
from joblib.externals.loky import ProcessPoolExecutor

from csd_edu import arguments
from csd_edu.config import Config
from csd_edu.files import is_writable
from csd_edu.methods import NAMED
from csd_edu.methods.method import AnyMethod, begins_as
from csd_edu.output import has_sign, say, stdout
from csd_edu.own import FROM_FILE, module_of
from csd_edu.paths import given_path
from csd_edu.runs import FIRST_TASK, Run
from csd_edu.tasks import Stream
from csd_edu.train import Progress, begin_with, describe_run, training

IDLE = 60
"""Seconds after which a process without work ends: also if the one that it worked for was killed."""


@dataclass(frozen=True, eq=False)
class Job:
    """A run to train: the arguments of `csd.train`."""

    stream: Stream
    method: AnyMethod
    config: Config
    out: Path


@dataclass(frozen=True, eq=False)
class After:
    """Other work to do beside the trainings, once the runs that it needs are there.

    Attributes:
        needs: the names of their jobs.
        work: called with these runs, in this order, in a process of its own.
    """

    needs: tuple[str, ...]
    work: Callable[[list[Run]], object]


class SweepError(RuntimeError):
    """Some of the work failed; the rest is done.

    Attributes:
        errors: by the names of the jobs.
    """

    def __init__(self, errors: Mapping[str, BaseException]) -> None:
        self.errors = dict(errors)
        alike: dict[str, list[str]] = defaultdict(list)
        for name, error in errors.items():
            alike[str(error)].append(name)
        told = "; ".join(f"{', '.join(names)}: {error}" for error, names in alike.items())
        super().__init__(f"{len(errors)} failed, and the others are done: {told}")


def sweep(
    jobs: Mapping[str, Job],
    *,
    after: Mapping[str, After] | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
) -> dict[str, Run]:
    """Train several runs side by side; what was trained before is continued, or is there already.

    Args:
        jobs: by name, in the order in which to begin them; each with a folder of its own. Without any, nothing is done.
        after: other work, such as fitting maps, to be done while the last ones train.
        n_jobs: processes at a time; default one for each core.
        progress: show one line for each.

    Returns:
        The finished runs by the names of the jobs. The numbers are those of one thread: more threads round otherwise.

    Raises:
        ValueError: if an argument of a job is impossible, or other work has the name of a job or needs one that is not
            there, before any work; names it.
        SweepError: if some failed, once the others are done.
        KeyboardInterrupt: if interrupted; the same call goes on.
    """
    _check_kinds(jobs, after or {})
    n_jobs = None if n_jobs is None else arguments.whole("n_jobs", n_jobs, least=1)
    for name, other in (after or {}).items():
        missing = [need for need in other.needs if need not in jobs]
        if name in jobs or missing or not other.needs or isinstance(other.needs, str):
            raise ValueError(
                f"the other work {name!r} needs {other.needs!r}; expected a name that no job has, and names of jobs"
            )
    if not jobs:
        return {}
    jobs = {name: replace(job, out=given_path(job.out, what=f"{name}: out")) for name, job in jobs.items()}
    _check_apart([job.out.resolve() for job in jobs.values()])
    common = _in_common(jobs)
    queue, watched = _planned(jobs, common, taken={*jobs, *(after or {})})
    for name, other in (after or {}).items():
        folders = [jobs[need].out for need in other.needs]
        queue[name] = _Work(_follow, (other.work, folders), frozenset(other.needs))
    before = [name for name, job in jobs.items() if (job.out / "config.json").exists() and Run.load(job.out).finished]
    screen = _Screen(watched) if progress else None
    errors = _work_off(queue, n_jobs or joblib.cpu_count(), screen)
    for first, others in common.items():
        if all(jobs[name].out.exists() for name in others):  # each has a copy of its own
            shutil.rmtree(first, ignore_errors=True)
    if errors:
        raise SweepError(errors)
    if before and progress:
        say(
            f"{len(before)} of {len(jobs)} runs were finished before, and are returned as they are (delete their "
            "folders, or choose another out, to train anew)"
        )
    return {name: Run.load(job.out) for name, job in jobs.items()}


def _check_kinds(jobs: Mapping[str, Job], after: Mapping[str, After]) -> None:
    for what, kind, given in ("jobs", Job, jobs), ("after", After, after):
        if not isinstance(given, Mapping):
            raise ValueError(f"{what} is {given!r}; expected a dictionary from names to {kind.__name__}(...)")
        for name, one in given.items():
            if not isinstance(name, str) or not isinstance(one, kind):
                raise ValueError(f"{what} has {name!r}: {one!r}; expected a name and {kind.__name__}(...)")
    for name, other in after.items():
        if not callable(other.work):
            raise ValueError(f"the other work {name!r} is {other.work!r}; expected a function of a list of runs")


def _check_apart(folders: Sequence[Path]) -> None:
    if len(set(folders)) < len(folders):
        raise ValueError("two jobs have the same folder; expected one of its own for each")
    for folder in folders:
        for other in folders:
            if other in folder.parents:
                raise ValueError(f"the folder of a job, {folder}, is in that of another, {other}; expected them apart")


# ---------------------------------------------------------------------- what is to be done


@dataclass(frozen=True, eq=False)
class _Work:
    """A function to be called in a process of its own, once the work that it needs is done."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]
    needs: frozenset[str] = frozenset()


def _planned(
    jobs: Mapping[str, Job], common: Mapping[Path, list[str]], taken: set[str]
) -> tuple[dict[str, _Work], dict[str, Job]]:
    """Return the work by name, first tasks that several have in common included, and which trainings these are."""
    queue: dict[str, _Work] = {}
    watched: dict[str, Job] = {}
    first_of: dict[str, str] = {}
    for folder, alike in common.items():
        names = [name for name in alike if not jobs[name].out.exists() and is_writable(jobs[name].out)]
        if len(names) > 1 or (names and folder.exists()):
            job = jobs[names[0]]
            called = f"first task {len(watched)}" if watched else "first task"
            while called in taken:
                called += "′"
            watched[called] = Job(job.stream, NAMED[begins_as(job.method)], job.config, folder)
            queue[called] = _Work(_train, (None, watched[called], True, None))
            first_of.update(dict.fromkeys(names, called))
    for name, job in jobs.items():
        begun = first_of.get(name)
        source = watched[begun].out if begun else None
        arguments = (_File.of(job.method), job, False, source)
        queue[name] = _Work(_train, arguments, frozenset({begun} if begun else ()))
        watched[name] = job
    return queue, watched


def _in_common(jobs: Mapping[str, Job]) -> dict[Path, list[str]]:
    """Return which jobs learn the first task by the same computation, by the folder in which it is learnt once."""
    alike: dict[Path, list[str]] = defaultdict(list)
    for name, job in jobs.items():
        try:
            _, description, _ = describe_run(job.stream, job.method, job.config)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        begins = begins_as(job.method)
        if begins:
            same = [str(job.out.parent.resolve()), begins, description["config"], description["stream"]]
            crc = zlib.crc32(json.dumps(same).encode())
            alike[job.out.parent / f"{FIRST_TASK}{crc:08x}"].append(name)
    return alike


class _File:
    """A file that holds a method, to be run in another process before the method arrives there."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def of(cls, method: AnyMethod) -> _File | None:
        module = sys.modules.get(getattr(method, "__module__", ""))
        path = getattr(module, "__file__", None)
        return cls(path) if path and module is not None and module.__name__.startswith(FROM_FILE) else None

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return module_of, (self.path,)


def _train(_file: object, job: Job, first_task_only: bool, source: Path | None) -> None:
    """Train a run, beginning with a copy if there is a source, in this process."""
    if source is not None and not job.out.exists():
        try:
            begin_with(Run.load(source), job.stream, job.method, job.config, out=job.out)
        except OSError as error:  # some disks can't rename a folder; the same numbers take longer
            warnings.warn(f"{job.out} learns its first task itself, as it could not be copied: {error}", stacklevel=2)
    if first_task_only and job.out.exists() and Run.load(job.out).tasks_learnt:
        return
    records = training(job.stream, job.method, job.config, out=job.out)
    for record in records:
        if first_task_only and record["kind"] == "task":
            records.close()


def _follow(work: Callable[[list[Run]], object], folders: list[Path]) -> None:
    work([Run.load(folder) for folder in folders])


def _attempt(function: Callable[..., object], arguments: Sequence[Any]) -> None:
    """Call a function with one thread; an error that can't be sent to the process that waits is told by one that can.

    An interrupt at the keyboard is left to that process.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        function(*arguments)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


# ---------------------------------------------------------------------- doing it


class _NoProcessesError(RuntimeError):
    """The machine starts no more processes; says why."""


def _work_off(queue: Mapping[str, _Work], n_jobs: int, screen: _Screen | None) -> dict[str, BaseException]:
    """Do all the work, side by side or, where no processes can be started, here; and return the errors by name."""
    try:
        try:
            return _side_by_side(queue, n_jobs, screen)
        except _NoProcessesError as error:
            say(f"This machine starts no processes to train side by side ({error}): one run follows another.")
            return _one_by_one(queue, screen)
    except KeyboardInterrupt:
        say("\nInterrupted. What was learnt so far is saved: the same call goes on from there.")
        raise


def _one_by_one(queue: Mapping[str, _Work], screen: _Screen | None) -> dict[str, BaseException]:
    """Do all the work in this process, with one thread; what is done already takes no time."""
    done, errors = set[str](), dict[str, BaseException]()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, work in queue.items():  # what is needed comes first
            if work.needs & errors.keys():
                errors[name] = _unmet(work, errors)
                continue
            try:
                work.function(*work.arguments)
                done.add(name)
            except Exception as error:
                errors[name] = error
            if screen is not None:
                screen.show(set(), done, errors)
    finally:
        torch.set_num_threads(before)
    return errors


def _unmet(work: _Work, errors: Mapping[str, BaseException]) -> RuntimeError:
    return RuntimeError(f"it needs {', '.join(sorted(work.needs & errors.keys()))}, which failed")


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Tell that no process, or none of the threads and locks that lead to it, can be had."""
    try:
        yield
    except BrokenProcessPool:
        raise
    except (OSError, RuntimeError, ImportError, NotImplementedError) as error:
        raise _NoProcessesError(getattr(error, "strerror", None) or str(error)) from error


def _side_by_side(queue: Mapping[str, _Work], n_jobs: int, screen: _Screen | None) -> dict[str, BaseException]:
    """Do all the work, as much at a time as there are processes, and return the errors by name.

    When a process is killed, the pool can't say which, and all that ran is lost. So each of these is tried once more,
    with nothing else beside it.
    """
    waiting, done = dict(queue), set[str]()
    errors: dict[str, BaseException] = {}
    suspects: set[str] = set()
    running: dict[Future[object], str] = {}
    n_jobs = min(n_jobs, len(queue))
    with _starting():
        pool = ProcessPoolExecutor(n_jobs, timeout=IDLE)
    try:
        while waiting or running:
            for name in [name for name, work in waiting.items() if work.needs & errors.keys()]:
                errors[name] = _unmet(waiting.pop(name), errors)
            ready = [name for name, work in waiting.items() if work.needs <= done]
            beside = [name for name in ready if name not in suspects][: n_jobs - len(running)]
            broken = False
            if suspects.isdisjoint(running.values()):
                for name in beside or ready[: not running]:
                    try:
                        with _starting():
                            future = pool.submit(_attempt, waiting[name].function, waiting[name].arguments)
                    except BrokenProcessPool:  # it has broken since the last look
                        broken = True
                        break
                    running[future] = name
                    del waiting[name]
            finished, _ = wait(running, timeout=0.3, return_when=FIRST_COMPLETED)
            if running and not finished and not broken and _is_dead(pool):
                raise _NoProcessesError("what watches over them has ended")
            broken |= any(isinstance(future.exception(), BrokenProcessPool) for future in finished)
            for future in wait(running).done if broken else finished:
                name = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(name)
                elif not isinstance(error, BrokenProcessPool):
                    errors[name] = error
                elif name in suspects:
                    errors[name] = RuntimeError(
                        "its process ended twice without a word: it was killed, perhaps for want of memory"
                    )
                else:
                    suspects.add(name)
                    waiting[name] = queue[name]
            if broken:
                pool.shutdown(kill_workers=True)
                with _starting():
                    pool = ProcessPoolExecutor(n_jobs, timeout=IDLE)
            if screen is not None:
                screen.show(set(running.values()), done, errors)
    except _NoProcessesError:
        for worker in list((getattr(pool, "_processes", None) or {}).values()):  # those that could be started
            with contextlib.suppress(OSError):
                worker.terminate()
        raise
    finally:
        with contextlib.suppress(OSError, RuntimeError):  # of a pool that never came to life
            pool.shutdown(kill_workers=bool(running or waiting))  # a run that is killed goes on from its last epoch
    return errors


def _is_dead(pool: ProcessPoolExecutor) -> bool:
    """Return whether the thread that brings a pool's results has ended, as where it could start no other thread."""
    manager = getattr(pool, "_executor_manager_thread", None)
    return manager is not None and not manager.is_alive()


class _Screen:
    """One line for each training, read from what the runs have written; redrawn in a terminal, else said once."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self.jobs, self.alive = jobs, stdout().isatty()
        self.block = "█" if has_sign("█") else "#"
        self.totals: dict[str, Progress] = {}
        self.begun = time.monotonic()
        self.said: set[str] = set()
        self.height = 0
        self.width = max(map(len, jobs))

    def show(self, running: set[str], done: set[str], errors: Mapping[str, BaseException]) -> None:
        """Show where each training is."""
        if self.alive:
            lines = [self._line(name, running, done, errors) for name in self.jobs]
            wide = shutil.get_terminal_size().columns - 1
            up = f"\x1b[{self.height}A" * bool(self.height)
            say(up + "".join(f"\x1b[2K{line[:wide]}\n" for line in lines), end="")
            self.height = len(lines)
            return
        for name in self.jobs:
            if name in done | errors.keys() and name not in self.said:
                self.said.add(name)
                say(f"{self._line(name, running, done, errors)}  {self._elapsed()}")

    def _line(self, name: str, running: set[str], done: set[str], errors: Mapping[str, BaseException]) -> str:
        head = f"  {name:{self.width}} "
        if name in errors:
            return f"{head} failed: {errors[name]}"
        try:
            return f"{head} {self._standing(name, running, done)}"
        except (OSError, ValueError) as error:  # a network disk, or a file that is being replaced: the next look tells
            return f"{head} can't be read now ({error})"

    def _standing(self, name: str, running: set[str], done: set[str]) -> str:
        job = self.jobs[name]
        if name not in running | done or not (job.out / "config.json").exists():
            return "done" if name in done else "begins" if name in running else "waits"
        run = Run.load(job.out)
        progress = Progress(job.stream, job.method, job.config, run)
        share = 1.0 if name in done else progress.done / max(1, progress.total)
        bar = self.block * round(12 * share)
        learnt = run.tasks_learnt
        recall = run.metrics["summary"]["recall_at_1"] if learnt else None
        found = "" if recall is None else f"  R@1 {recall:.3f}"
        return f"{100 * share:3.0f}% {bar:12}  {learnt}/{run.n_tasks} tasks{found}"

    def _elapsed(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.begun), 60)
        return f"({minutes}:{seconds:02})"
