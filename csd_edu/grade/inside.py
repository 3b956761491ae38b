"""What runs in the process in which a notebook is graded: it finds the functions, limits itself, and checks them.

It is started as a script, by `csd_edu.grade.isolation`, and needs only the standard library until it has found a
function. It reads a task (JSON) from its standard input and writes messages (a line of JSON each) to what was its
standard output; what the student's code prints goes to standard error instead.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import builtins
import contextlib
import ctypes
import importlib.util
import inspect
import json
import linecache
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

if not __package__:  # started as a script: csd_edu itself would load torch, so this folder is a package of its own
    __package__ = "csd_edu_grading"
    package = sys.modules["csd_edu_grading"] = ModuleType("csd_edu_grading")
    package.__path__ = [str(Path(__file__).parent)]

from .cells import (
    Call,
    Plan,
    Statement,
    find_calls,
    find_losses,
    is_future,
    needed,
    read_cells,
    without_magics,
)
from .effects import LIBRARIES, bound_names, is_given_main, last_name, origins_of, words

__all__ = ["Judgement", "best", "find_calls", "find_losses", "judge", "read_cells", "without_magics"]

LONGEST = 1000
"""Characters of a verdict's message that are passed on."""

FILE_SIZE, WORK_SIZE = 32 * 2**20, 64 * 2**20
"""Bytes of a file that may be written, and of all of them where the folder is one of its own."""

UNWRITTEN = "still to be written"
"""What a check calls a function of the notebook as it was handed out."""

WORK = 5.0
"""Seconds for what is run again before a check, beside what can be run alone."""

ELSEWHERE = re.compile(
    r"(?:(?:ModuleNotFound|FileNotFound|Permission|Connection|URL|EOF|OS)Error|gaierror).*"
    r"|(?:RuntimeError|AssertionError)\b.*\b(?:CUDA|NVIDIA)\b.*"
)
"""Signs of a file, a library, the network or a machine that is missing here, and not of a wrong thought."""

_WORLD = words(
    """exists lexists is_file isfile is_dir isdir islink is_symlink ismount listdir scandir iterdir glob iglob rglob
    stat getsize getmtime access open read_text read_bytes load loadtxt genfromtxt fromfile urlopen environ
    environb getenv find_spec find_loader argv getcwd cwd home expanduser gethostname getuser getlogin platform
    cpu_count device_count is_available is_built which popen system run check_output get_ipython __IPYTHON__
    __main__ input isatty In Out _ih _oh __version__"""
)
_SIGNS = frozenset(("In", "Out", "_ih", "_oh", "get_ipython", "__IPYTHON__", "ipykernel", "IPython", "google.colab"))
_OUTSIDE = words("socket subprocess platform shutil urllib requests getpass locale IPython")
"""Names of what asks for files, settings, machines and programs, and texts that stand for them: the answer may be
another one here than where the notebook was written."""

IPYTHON = ("get_ipython", "In", "Out", "_", "__", "___", "exit", "quit")

# --- running what was found -------------------------------------------------------------------------------------------


class Judgement(NamedTuple):
    """What came of an exercise: "passed", "tried", "untried" or "failed"; the mistake's name; and a sentence."""

    state: str
    mistake: str | None
    message: str


Examine = Callable[[str, Any], Any]
"""From an exercise's name and a function to a verdict with `passed`, `mistake` and `message`."""


def judge(
    examine: Examine,
    cells: Sequence[str],
    statements: Sequence[Statement],
    call: Call,
    slow: set[int] | None = None,
) -> Judgement:
    """Run what a checked function needs, and check it.

    What it needs is read from the text, which doesn't tell all: a function that does not pass is checked again after
    all that stands above and may be run. It is to blame only if all was run that it needs: if something could not be,
    it is tried once more with what can be run alone, and then nothing is known of it. The same holds if it would pass
    with what stands below the check, as cells are run in any order, and for what asks the world around it for its
    value.

    Args:
        examine: checks a function.
        cells: the texts of all.
        statements: of all cells.
        call: the check.
        slow: ids of statements that take too long, to be kept for the next check: they are run again only if needed.
    """
    judgement = _judged(examine, cells, statements, call, set() if slow is None else slow)
    if judgement.state in ("tried", "untried"):
        run = [statement.node for statement in needed(statements, call).run]
        within = [statements[call.at].node] if call.within else []
        checked = [node for node in run if last_name(call.argument) in bound_names(node)]
        asked = _asked([*run, *within, call.argument])
        if asked and not any(map(_only_raises, checked[-1:])):
            return Judgement("failed", None, f"it asks for what may be elsewhere ({asked}): look at it")
    return judgement


def _judged(
    examine: Examine, cells: Sequence[str], statements: Sequence[Statement], call: Call, slow: set[int]
) -> Judgement:
    plan = needed(statements, call)
    judgement, doubts = _attempt(examine, cells, statements, call, plan, slow)
    if judgement.state == "passed":
        return judgement
    whole = needed(statements, call, whole=True)
    whole = whole._replace(run=[s for s in whole.run if id(s) not in slow & whole.apart])
    if judgement.mistake != UNWRITTEN and len(whole.run) > len(plan.run):
        with _as_before():
            again, more_doubts = _attempt(examine, cells, statements, call, whole, slow)
        if again.state == "passed":
            return again
        judgement = judgement if doubts and more_doubts else again
        doubts = more_doubts and (doubts or more_doubts)
    if doubts:
        alone = needed(statements, call, alone=True)
        if alone.run != plan.run:
            again, _ = _attempt(examine, cells, statements, call, alone, slow)
            if again.state == "passed":
                return again
        return judgement if judgement.state == "failed" else Judgement("failed", None, f"{doubts[-1]}: look at it")
    below = needed(statements, call, all_cells=True)
    more = [statement for statement in below.run if statement not in plan.run]
    if more and not below.left and judgement.state != "failed":
        again, _ = _attempt(examine, cells, statements, call, below, slow)
        if again.state == "passed":
            where = f"code cell {more[-1].cell + 1}, below the check, has been run before it"
            return Judgement("failed", None, f"it is right only if {where}: look at it")
    return judgement


def _only_raises(node: ast.AST) -> bool:
    """Return whether a function raises an error in any case, whatever it has been answered."""
    for statement in node.body if isinstance(node, ast.FunctionDef) else ():
        if isinstance(statement, ast.Raise):
            return True
        if any(isinstance(inner, ast.Return | ast.Yield) for inner in ast.walk(statement)):
            return False
    return False


def _asked(nodes: Iterable[ast.AST]) -> str | None:
    """Return by what name code asks for files, settings, machines or programs, of which others may be here."""
    every = [inner for node in nodes for inner in ast.walk(node)]
    own = {n.name for n in every if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    items = [n for n in every if isinstance(n, ast.Subscript) and last_name(n.value) == "environ"]
    given = {ast.dump(n.slice) for n in items if isinstance(n.ctx, ast.Store)}
    known = {id(n.value) for n in items if not isinstance(n.ctx, ast.Load) or ast.dump(n.slice) in given}
    for n in every:  # such as os.environ.get("KEY"), where a cell has set this key
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.args and ast.dump(n.args[0]) in given:
            known |= {id(n.func), id(n.func.value)} if n.func.attr in ("get", "getenv") else set()
    meant = origins_of(every)
    bound = {name for n in every for name in bound_names(n)} - meant.keys()
    for n in every:
        name = last_name(n) if isinstance(n, ast.Name | ast.Attribute) else ""
        path = meant.get(name, name).rpartition(".")[2] if isinstance(n, ast.Name) else name
        asks = path in _WORLD and isinstance(getattr(n, "ctx", None), ast.Load) and id(n) not in known
        if asks and name not in (bound if isinstance(n, ast.Name) else own):
            return path
        if isinstance(n, ast.Name) and (package := meant.get(n.id, "").partition(".")[0]) in _OUTSIDE:
            return package
        if isinstance(n, ast.Attribute) and ast.unparse(n) == "sys.modules":
            return "sys.modules"
        if is_given_main(n):
            return "__main__"
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value in _SIGNS:
            return n.value
    return None


def _attempt(
    examine: Examine, cells: Sequence[str], statements: Sequence[Statement], call: Call, plan: Plan, slow: set[int]
) -> tuple[Judgement, list[str]]:
    """Run the statements of a plan and check the function; return also what is in doubt, in sentences."""
    from csd_edu.check.limits import TimeUpError, time_limit  # with the checks, which are loaded by now

    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "display": lambda *_, **__: None}
    trouble: dict[str, str] = {}
    doubts = []
    for statement, names in plan.left:
        cell = f"code cell {statement.cell + 1}"
        damaged = isinstance(statement.node, ast.Pass)
        trouble |= dict.fromkeys(statement.binds, f"{cell} {'is no Python' if damaged else 'computes it'}")
        if names:
            doubts.append(f"{cell} {_touches(names)}, and {'is no Python' if damaged else 'was not run again'}")
    flags = 0
    end = time.monotonic() + WORK
    of_libraries = any("*" in statement.changes for statement in plan.run)
    with _as_before() if of_libraries else contextlib.nullcontext(), _watched() as checked:
        for statement in [*plan.run, *([statements[call.at]] if call.within else [])]:
            checked.clear()  # only the last one counts: others are calls of their own
            begun = time.monotonic()
            flags |= _flags(statement.node) if is_future(statement.node) else 0
            try:
                with contextlib.nullcontext() if statement.defines else time_limit(end - time.monotonic()):
                    _execute(_compiled(cells, statement, flags), namespace)
            except BaseException as error:
                reason = _why(statement, error, trouble)
                slow |= {id(statement)} if time.monotonic() - begun > WORK / 2 else set()
                trouble |= dict.fromkeys(statement.binds, reason)
                doubts += [] if id(statement) in plan.apart else [reason]
            absent = map(repr, () if id(statement) in plan.apart else _missing(statement))
            doubts += [f"{name}, which code cell {statement.cell + 1} imports, is not here" for name in absent]
        if call.within:
            answers = [_examined(examine, call, f, trouble) for name, f in checked if name == call.exercise]
            none = Judgement("failed", None, doubts[-1]) if doubts else Judgement("untried", None, "it is not checked")
            return best(answers or [none]), doubts
        try:
            expression = ast.fix_missing_locations(ast.Expression(call.argument))
            with time_limit(max(1.0, end - time.monotonic())):
                function = eval(compile(expression, "<check>", "eval", flags, dont_inherit=True), namespace)
        except NameError as error:
            if (why := _reason(error.name, trouble)) is not None:
                return Judgement("failed", None, f"{error.name!r} is not there: {why}"), doubts
            return Judgement("untried", None, f"no cell defines {error.name!r}"), doubts
        except TimeUpError:
            return Judgement("failed", None, f"the argument of the check was stopped after {WORK:g} s"), doubts
        except BaseException as error:
            message = f"the argument of the check stopped with {type(error).__name__}: {error}"
            return Judgement("failed", None, message), doubts
        return _examined(examine, call, function, trouble), doubts


def _why(statement: Statement, error: BaseException, trouble: Mapping[str, str]) -> str:
    from csd_edu.check.limits import TimeUpError

    cell = f"code cell {statement.cell + 1}"
    if isinstance(error, TimeUpError):
        return f"{cell} was stopped after {WORK:g} s"
    if isinstance(error, NameError) and error.name in trouble:
        return f"{cell} was not run again, as {error.name!r} is not there"
    return f"{cell} stopped with {type(error).__name__}: {error}"


def _examined(examine: Examine, call: Call, function: Any, trouble: Mapping[str, str]) -> Judgement:
    try:
        verdict = examine(call.exercise, function)
    except BaseException as error:  # such as KeyboardInterrupt
        told = f"{type(error).__name__}: {error}"
        if ELSEWHERE.match(told):
            return Judgement("failed", None, f"it needs what is not here ({told}): look at it")
        return Judgement("tried", "error", f"Your function stopped with {told}")
    if verdict.passed:
        return Judgement("passed", None, "")
    unknown = re.search(r"NameError: name '(\w+)'", verdict.message)
    if unknown and (reason := _reason(unknown[1], trouble)) is not None:
        return Judgement("failed", None, f"{unknown[1]!r} is not there: {reason}")
    told = verdict.message.partition("stopped with an error: ")[2]
    if elsewhere := ELSEWHERE.match(told):
        return Judgement("failed", None, f"it needs what is not here ({elsewhere[0]}): look at it")
    state = "untried" if verdict.mistake == UNWRITTEN else "tried"
    return Judgement(state, verdict.mistake, verdict.message)


def _execute(code: CodeType, namespace: dict[str, Any]) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)


def _missing(statement: Statement) -> list[str]:
    """Return what a statement imports, maybe only if it is there, and is not there."""
    missing = []
    for name in statement.imports:
        try:
            found = name in sys.modules or importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        missing += [] if found else [name]
    return missing


def _touches(names: Iterable[str]) -> str:
    known = sorted(repr(name) for name in names if name != "*")
    return f"also changes {', '.join(known[:3])}" if known else "may change anything"


def _reason(name: str | None, trouble: Mapping[str, str]) -> str | None:
    """Return why a name is not there, or None if no cell should have bound it."""
    return trouble.get(name or "*") or trouble.get("*") or ("it is IPython's own" if name in IPYTHON else None)


@contextlib.contextmanager
def _watched() -> Iterator[list[tuple[str, Any]]]:
    """Let calls of checks do nothing in the block but put the exercise's name and the function into a list."""
    from csd_edu.check.running import Exercise
    from csd_edu.check.verdict import Verdict

    checked = []

    def note(exercise: Exercise, f: Any) -> Verdict:
        checked.append((exercise.name, f))
        return Verdict(exercise.name, True, "It is checked by its grader.")

    before = Exercise.__call__
    Exercise.__call__ = note  # type: ignore[method-assign, assignment]
    try:
        yield checked
    finally:
        Exercise.__call__ = before  # type: ignore[method-assign]


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Undo at the end what the block sets in libraries: the next function is not to be judged with it."""
    import torch

    modules = [module for name, module in [*sys.modules.items()] if name.partition(".")[0] in LIBRARIES]
    kept = [(holder, _public(holder)) for holder in (*modules, torch.Tensor, torch.nn.Module)]
    dtype, depth, environment = torch.get_default_dtype(), sys.getrecursionlimit(), dict(os.environ)
    grad, exact = torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        for holder, before in kept:
            now = _public(holder)
            for name in now.keys() - before.keys():
                delattr(holder, name)
            for name in (name for name, value in before.items() if now.get(name, holder) is not value):
                setattr(holder, name, before[name])
        sys.setrecursionlimit(depth)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_grad_enabled(grad)
        if torch.are_deterministic_algorithms_enabled() != exact:  # which takes seconds when it is first set
            torch.use_deterministic_algorithms(exact)


def _public(holder: object) -> dict[str, Any]:
    """Return what a module or a class has, but for modules loaded meanwhile and what is private: it may be a cache."""
    named = [*vars(holder).items()]
    return {name: value for name, value in named if name[:1] != "_" and type(value) is not ModuleType}


def settled(judgements: Sequence[Judgement]) -> Judgement:
    """Return the best, but that nothing was run of which another was tried: which of them was meant is not known."""
    states = {judgement.state for judgement in judgements}
    unknown = "failed" in states and "passed" not in states
    return best([judgement for judgement in judgements if judgement.state == "failed"] if unknown else judgements)


def best(judgements: Sequence[Judgement]) -> Judgement:
    """Return the first that passed; else the last that was tried, could not be run, or was not tried, in this order."""
    for state in ("passed", "tried", "failed"):
        of_state = [judgement for judgement in judgements if judgement.state == state]
        if of_state:
            return of_state[0 if state == "passed" else -1]
    return judgements[-1]


def _compiled(cells: Sequence[str], statement: Statement, flags: int) -> CodeType:
    file = f"<code cell {statement.cell + 1}>"
    text = cells[statement.cell]
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # so that a traceback has the line
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(ast.Module([statement.node], type_ignores=[]), file, "exec", flags, dont_inherit=True)
    return code


def _flags(node: ast.stmt) -> int:
    """Return the compiler's flags for `from __future__ import …`, which hold for all later cells."""
    features = (
        (getattr(__future__, alias.name, None) for alias in node.names) if isinstance(node, ast.ImportFrom) else ()
    )
    return sum(feature.compiler_flag for feature in features if feature is not None)


# --- limits -----------------------------------------------------------------------------------------------------------


def limit_work(seconds: float) -> bool:
    """Limit CPU time from now on and the size of files, for this process; return whether the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return True


def limit_memory(more: int) -> bool:
    """Limit the memory to so many bytes more than now; return whether the system can: only Linux keeps to it."""
    if sys.platform != "linux":
        return False
    import resource

    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return True


def seal_files(work: str) -> bool:
    """Make all files read-only but those of a new, small file system in `work`; return whether that was done.

    For a process with namespaces of its own, which it gives up the rights over; what others see is not changed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    mount_setattr, here, recursive, read_only, no_suid_no_dev = 442, -100, 0x8000, 1, 6  # linux/mount.h, linux/fcntl.h
    wanted = (ctypes.c_uint64 * 4)(read_only, 0, 0, 0)
    if libc.syscall(mount_setattr, here, b"/", recursive, wanted, ctypes.sizeof(wanted)) != 0:  # Linux < 5.12
        return False
    options = f"size={WORK_SIZE},mode=700".encode()
    if libc.mount(b"tmpfs", os.fsencode(work), b"tmpfs", no_suid_no_dev, options) != 0:
        return False
    os.chdir(work)
    no_new_privileges, version_3 = 38, 0x20080522  # linux/prctl.h, linux/capability.h
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    return bool(libc.capset((ctypes.c_uint32 * 2)(version_3, 0), (ctypes.c_uint32 * 6)()) == 0)


def network_is_cut() -> bool:
    """Return whether there is nothing but the loopback device."""
    try:
        return {name for _, name in socket.if_nameindex()} <= {"lo"}
    except (AttributeError, OSError):
        return False


# --- the process ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Do the task on standard input, and end the process."""
    task = json.load(sys.stdin.buffer)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    with os.fdopen(os.dup(1), "wb") as channel:
        os.dup2(2, 1)
        for message in work_on(task):
            channel.write(json.dumps({**message, "nonce": task["nonce"]}).encode() + b"\n")
            channel.flush()
    os._exit(0)  # whatever the student's code has left behind


def work_on(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a message at each step: what was found; which limits hold; each exercise begun, and done; the end."""
    held = [name for name, holds in [("network", network_is_cut()), ("processes", os.getpid() == 1)] if holds]
    if task["namespaces"] and seal_files(os.getcwd()):
        held.append("files")
    cells, names = task["cells"], task["exercises"]
    statements, unread = read_cells(cells)
    executed = in_order_of_running(statements, task["counts"])
    calls, later = find_calls(statements, names), find_calls(executed, names)  # a moved cell may call what stands below
    losses = find_losses(names, [*later, *calls], unread)
    found = [name for name in names if name in losses or any(call.exercise == name for call in (*calls, *later))]
    yield {"found": found}
    todo = [name for name in found if name not in task["settled"]]
    if todo:
        examine = _load_checks(task["path"])
        held += [name for name, holds in [("cpu", limit_work(task["seconds"]))] if holds]
        held += [name for name, holds in [("memory", limit_memory(task["memory"]))] if holds]
        yield {"held": held}
        _write_modules(cells)
    slow: set[int] = set()
    for name in todo:
        yield {"begun": name}
        answers = [judge(examine, cells, statements, call, slow) for call in calls if call.exercise == name]
        if not any(answer.state == "passed" for answer in answers):
            answers += [judge(examine, cells, executed, call, slow) for call in later if call.exercise == name]
        judgement = settled(answers) if answers else Judgement("failed", None, losses[name])
        if judgement.state in ("untried", "failed") and name in losses:
            judgement = Judgement("failed", None, losses[name])
        yield {"done": name, **judgement._asdict(), "message": judgement.message[:LONGEST]}
    yield {"end": True}


def in_order_of_running(statements: Sequence[Statement], counts: Sequence[int | None]) -> list[Statement]:
    """Return statements in the order in which their cells were run last, as far as it is known; nothing if as written.

    Args:
        statements: of all cells.
        counts: of each code cell the number that the notebook gives to its last run, or None.
    """
    last = 1 + max((count for count in counts if count is not None), default=0)
    places = [last if count is None else count for count in counts]
    executed = sorted(statements, key=lambda statement: places[statement.cell]) if places else [*statements]
    return [] if executed == [*statements] else executed


def _write_modules(cells: Iterable[str]) -> None:
    """Write the modules that cells write (%%writefile mine.py) into this process's own folder."""
    for text in cells:
        written = re.match(r"\s*%%(?:writefile|file)[ \t]+(-a[ \t]+)?(\w+\.py)[ \t]*\r?\n", text)
        if written:
            with (
                contextlib.suppress(OSError, ValueError),
                open(written[2], "a" if written[1] else "w", encoding="utf-8") as file,
            ):
                file.write(text[written.end() :])
    sys.path.append(os.getcwd())


def _load_checks(path: Sequence[str]) -> Examine:
    sys.path += [folder for folder in path if folder not in sys.path]
    from csd_edu.check import EXERCISES
    from csd_edu.check.running import examine

    return lambda name, function: examine(EXERCISES[name], function)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
