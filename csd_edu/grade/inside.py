"""What runs in the process in which a notebook is graded: it finds the functions, limits itself, and checks them.

It is started as a script, by `csd_edu.grade.isolation`, and needs only the standard library until it has found a
function. It reads a task (JSON) from its standard input and writes messages (a line of JSON each) to what was its
standard output; what the student's code prints goes to standard error instead.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import ctypes
import json
import linecache
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

LONGEST = 1000
"""Characters of a verdict's message that are passed on."""

FILE_SIZE, WORK_SIZE = 32 * 2**20, 64 * 2**20
"""Bytes of a file that may be written, and of all of them where the folder is one of its own."""

# --- what is in the cells ---------------------------------------------------------------------------------------------


class Statement(NamedTuple):
    """A statement at the top of a cell.

    Attributes:
        cell: its place among the code cells, from 0.
        node: as parsed.
        binds: the names that it gives a value to; "*" for all of a module.
        uses: the names that it reads, also inside of functions.
        defines: whether it can be run alone: it imports, defines, or names something that needs no work.
    """

    cell: int
    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    defines: bool


class Unread(NamedTuple):
    """A cell that is no Python."""

    cell: int
    text: str
    reason: str


class Call(NamedTuple):
    """A call of a check: the exercise, the cell it stands in, and the expression that gives the function or object."""

    exercise: str
    cell: int
    argument: ast.expr


def read_cells(cells: Sequence[str]) -> tuple[list[Statement], list[Unread]]:
    """Parse code cells, without those lines that only IPython understands."""
    parsed, unread = [], []
    for number, text in enumerate(cells):
        try:
            nodes = _parsed(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
            reason = error.msg if isinstance(error, SyntaxError) else "it is too deep or holds a null byte"
            unread.append(Unread(number, text, f"{line}{reason}"))
            continue
        parsed += [(number, node) for node in nodes]
    own = frozenset(node.name for _, node in parsed if isinstance(node, ast.ClassDef))
    return [Statement(number, n, _binds(n), _uses(n), _defines(n, own)) for number, n in parsed], unread


def without_magics(text: str) -> str:
    """Return the text of a cell with nothing in the place of magics (%pip …), shell commands (!ls) and questions (f?).

    A cell magic that times its cell or takes its output goes alone; with any other the cell is no Python, and goes too.
    """
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("%%"):
        text = rest if first[2:].split()[:1] in (["time"], ["timeit"], ["capture"]) else ""
    text = re.sub(r"^([ \t]*[\w, ]+=[ \t]*)[%!].*$", r"\1None", text, flags=re.M)
    return re.sub(r"^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass", text, flags=re.M)


def find_calls(statements: Iterable[Statement], exercises: Mapping[str, Sequence[str]]) -> list[Call]:
    """Return what is checked, check.NAME(f), in the order of the cells.

    Args:
        statements: of all cells.
        exercises: the parameters of each exercise, by name. Where an exercise is never checked, a function with its
            name and parameters counts, as if the call had been removed.

    Returns:
        The calls, each expression once for an exercise.
    """
    calls: dict[tuple[str, str], Call] = {}
    for statement in statements:
        for node in ast.walk(statement.node):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, owner = node.func.attr, node.func.value
                of_check = "check" in (getattr(owner, "id", None), getattr(owner, "attr", None))
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                if of_check and name in exercises and given:
                    calls[name, ast.unparse(given[0])] = Call(name, statement.cell, given[0])
    checked = {call.exercise for call in calls.values()}
    for statement in statements:
        node, name = statement.node, getattr(statement.node, "name", "")
        if isinstance(node, ast.FunctionDef) and name in exercises and name not in checked:
            parameters = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if parameters == list(exercises[name]):
                calls[name, name] = Call(name, statement.cell, ast.Name(name, ast.Load(), lineno=1, col_offset=0))
    return list(calls.values())


def needed(statements: Sequence[Statement], call: Call) -> list[Statement]:
    """Return the statements that the checked function needs, and what they need in turn, in the order of the cells.

    Of a name's definitions all up to the cell of the call count, so that the last one wins as in the notebook; without
    any, those after it.
    """
    wanted = [*_uses(call.argument)]
    chosen = {n for n, s in enumerate(statements) if s.defines and ("*" in s.binds or _is_future(s.node))}
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        of_name = [n for n, statement in enumerate(statements) if statement.defines and name in statement.binds]
        for n in [n for n in of_name if statements[n].cell <= call.cell] or of_name:
            chosen.add(n)
            wanted += statements[n].uses
    return [statements[n] for n in sorted(chosen)]


def find_losses(exercises: Iterable[str], calls: Sequence[Call], unread: Sequence[Unread]) -> dict[str, str]:
    """Return for each exercise of which something stands in a cell that is no Python what is wrong there."""
    functions = {call.exercise: name for call in calls if (name := _name_in(call.argument))}
    losses = {}
    for name in exercises:
        traces = (
            rf"\b(?:def|class)\s+(?:{re.escape(functions.get(name, name))})\s*[(:]"
            + rf"|\bcheck\.{re.escape(name)}\s*\(" * (name not in functions)
        )
        for cell in unread:
            if re.search(traces, cell.text):
                losses[name] = f"code cell {cell.cell + 1} is no Python ({cell.reason})"
    return losses


def _name_in(argument: ast.expr) -> str | None:
    """Return the name of a checked function, or of the class of a checked object, if it is made in the call."""
    argument = argument.func if isinstance(argument, ast.Call) else argument
    return argument.id if isinstance(argument, ast.Name) else None


def _parsed(text: str) -> list[ast.stmt]:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return list(compile(text, "<cell>", "exec", flags, dont_inherit=True).body)
    except SyntaxError:
        cleaned = without_magics(text)
        if cleaned == text:
            raise
        return list(compile(cleaned, "<cell>", "exec", flags, dont_inherit=True).body)


def _binds(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return frozenset(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset((node.name,))
    blocks = _blocks(node)
    if blocks:
        return frozenset().union(*(_binds(inner) for inner in blocks))
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _uses(node: ast.AST) -> frozenset[str]:
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def _blocks(node: ast.stmt) -> list[ast.stmt]:
    """Return the statements inside of an `if` or a `try`."""
    if isinstance(node, ast.If):
        return [*node.body, *node.orelse]
    if isinstance(node, ast.Try):
        handled = [inner for handler in node.handlers for inner in handler.body]
        return [*node.body, *handled, *node.orelse, *node.finalbody]
    return []


def _defines(node: ast.stmt, classes: frozenset[str]) -> bool:
    """Return whether a statement can be run alone; objects of these classes, the notebook's own, are made at once."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Pass):
        return True
    if isinstance(node, ast.Assign):
        return _needs_no_work(node.value, classes)
    if isinstance(node, ast.AnnAssign):
        return node.value is not None and _needs_no_work(node.value, classes)
    blocks = _blocks(node)
    quick = not isinstance(node, ast.If) or _needs_no_work(node.test, classes)
    return bool(blocks) and quick and all(_defines(inner, classes) for inner in blocks)


_MODULES = frozenset(("torch", "np", "numpy", "math", "F", "functools", "check"))
_FUNCTIONS = frozenset(
    ("partial", "float", "int", "bool", "str", "len", "range", "list", "tuple", "dict", "set", "slice")
)
QUICK = _MODULES | _FUNCTIONS | frozenset(("frozenset", "min", "max", "sum", "abs", "round", "sorted"))
"""Names whose calls make constants, small tensors and verdicts, such as torch.tensor(…)."""


def _needs_no_work(value: ast.expr, classes: frozenset[str]) -> bool:
    """Return whether a value is computed at once: constants, names, lambdas; no call but of what is quick, or a class.

    Args:
        value: an expression.
        classes: those that the notebook itself defines.
    """
    pending: list[ast.AST] = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            owner: ast.expr = node.func
            if isinstance(owner, ast.Name) and owner.id in classes:
                pending += [*node.args, *node.keywords]
                continue
            quick_method = isinstance(owner, ast.Attribute) and owner.attr == "get"
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if not isinstance(owner, ast.Name) or not (owner.id in QUICK or quick_method):
                return False
        if isinstance(node, ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom):
            return False
        pending += ast.iter_child_nodes(node)
    return True


# --- running what was found -------------------------------------------------------------------------------------------


class Judgement(NamedTuple):
    """What came of an exercise: "passed", "tried", "untried" or "failed"; the mistake's name; and a sentence."""

    state: str
    mistake: str | None
    message: str


Examine = Callable[[str, Any], Any]
"""From an exercise's name and a function to a verdict with `passed`, `mistake` and `message`."""


def judge(examine: Examine, cells: Sequence[str], statements: Sequence[Statement], call: Call) -> Judgement:
    """Run what a checked function needs, and check it."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "display": lambda *_, **__: None}
    missing = {name: s.cell for s in statements if not s.defines for name in s.binds}
    trouble: dict[str, str] = {name: f"code cell {cell + 1} computes it" for name, cell in missing.items()}
    flags = 0
    for statement in needed(statements, call):
        flags |= _flags(statement.node) if _is_future(statement.node) else 0
        try:
            exec(_compiled(cells, statement, flags), namespace)
        except BaseException as error:
            reason = f"code cell {statement.cell + 1} stopped with {type(error).__name__}: {error}"
            trouble |= dict.fromkeys(statement.binds, reason)
    try:
        expression = ast.fix_missing_locations(ast.Expression(call.argument))
        function = eval(compile(expression, "<check>", "eval", flags, dont_inherit=True), namespace)
    except NameError as error:
        if error.name in trouble:
            return Judgement("failed", None, f"{error.name!r} is not there: {trouble[error.name]}")
        return Judgement("untried", None, f"no cell defines {error.name!r}")
    except BaseException as error:
        return Judgement("failed", None, f"the argument of the check stopped with {type(error).__name__}: {error}")
    try:
        verdict = examine(call.exercise, function)
    except BaseException as error:  # such as KeyboardInterrupt
        return Judgement("tried", "error", f"Your function stopped with {type(error).__name__}: {error}")
    if verdict.passed:
        return Judgement("passed", None, "")
    unknown = re.search(r"NameError: name '(\w+)'", verdict.message) if verdict.mistake == "error" else None
    if unknown and unknown[1] in trouble:
        return Judgement("failed", None, f"{unknown[1]!r} is not there: {trouble[unknown[1]]}")
    state = "untried" if verdict.mistake == "still to be written" else "tried"
    return Judgement(state, verdict.mistake, verdict.message)


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


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


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
    calls = find_calls(statements, names)
    losses = find_losses(names, calls, unread)
    found = [name for name in names if name in losses or any(call.exercise == name for call in calls)]
    yield {"found": found}
    todo = [name for name in found if name not in task["settled"]]
    if todo:
        examine = _load_checks(task["path"])
        held += [name for name, holds in [("cpu", limit_work(task["seconds"]))] if holds]
        held += [name for name, holds in [("memory", limit_memory(task["memory"]))] if holds]
        yield {"held": held}
    for name in todo:
        yield {"begun": name}
        answers = [judge(examine, cells, statements, call) for call in calls if call.exercise == name]
        judgement = best(answers) if answers else Judgement("failed", None, losses[name])
        if judgement.state == "untried" and name in losses:
            judgement = Judgement("failed", None, losses[name])
        yield {"done": name, **judgement._asdict(), "message": judgement.message[:LONGEST]}
    yield {"end": True}


def _load_checks(path: Sequence[str]) -> Examine:
    sys.path += [folder for folder in path if folder not in sys.path]
    from csd_edu.check import EXERCISES
    from csd_edu.check.running import examine

    return lambda name, function: examine(EXERCISES[name], function)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
