"""Reads a notebook's cells, and runs nothing: which checks are called in them, and what these need.

Like `effects`, it needs only the standard library.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, UnionType
from typing import NamedTuple

from .effects import (
    Facts,
    Function,
    bound_names,
    changed_names,
    facts_of,
    is_steady,
    last_name,
    loaded_names,
    may_run,
    names_main,
    origins_of,
    runs_alone,
    set_names,
    stored_names,
    words,
)


class Statement(NamedTuple):
    """A statement at the top of a cell; or, with no names that could be read for sure, a cell that is no Python.

    Attributes:
        cell: its place among the code cells, from 0.
        node: as parsed.
        binds: the names that it may give a value to or delete; "*" for any.
        uses: the names that it reads when it is run.
        defines: whether it can be run alone: it imports, defines, or names something that needs no work.
        later: the names that its functions read when they are called.
        sets: the names that it gives a new value to in any case.
        changes: the names whose objects it may change; "*" for those of libraries, and for what cannot be known.
        runs: whether it may be run where it is needed: it trains, loads, shows and asks for nothing.
        imports: the packages that it imports, also inside of functions.
    """

    cell: int
    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    defines: bool
    later: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    runs: bool = False
    imports: tuple[str, ...] = ()


class Unread(NamedTuple):
    """A cell that is no Python."""

    cell: int
    text: str
    reason: str


class Call(NamedTuple):
    """A call of a check.

    Attributes:
        exercise: its name.
        cell: the one that it stands in.
        argument: the expression that gives the function or object.
        at: its statement's place among all.
        within: whether the function is only known inside of the statement, which is then run and watched.
    """

    exercise: str
    cell: int
    argument: ast.expr
    at: int
    within: bool = False


class Plan(NamedTuple):
    """What a checked function needs.

    Attributes:
        run: the statements to run, in order.
        left: those left out, with the names they touch.
        apart: the ids of those to run which touch nothing of it.
    """

    run: list[Statement]
    left: list[tuple[Statement, frozenset[str]]]
    apart: set[int]


# --- reading ----------------------------------------------------------------------------------------------------------

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
UNKNOWN = "get_ipython()"
"""What stands for a value or for definitions that only IPython knows."""

_RUNNING = ("time", "timeit", "capture", "prun", "memit", "debug", "mprun", "lprun")
"""Magics that run their cell as it is."""

_DEFINING = ("cython", "px", "run", "cache", "autopx")
"""Cell magics that may define anything."""

_FOREIGN = words(
    """bash sh system sx cmd script html HTML javascript js svg SVG latex markdown writefile file perl ruby sql R
    python python2 python3 pypy"""
)
"""Cell magics of other languages and of other processes, which share no names with the notebook."""

_OPTIONS = r"(?:-(?:[fmsTDlnrtui][ \t]*[\w.]+|\w+)(?:[ \t]+|$))*"
"""The options of a magic, before its statement."""


def read_cells(cells: Sequence[str]) -> tuple[list[Statement], list[Unread]]:
    """Parse code cells, without those lines that only IPython understands."""
    parsed: list[tuple[int, ast.stmt]] = []
    hidden: list[tuple[int, ast.stmt]] = []  # under a magic that is not known: they count, and are not run
    unread = []
    for number, text in enumerate(cells):
        try:
            nodes = _parsed(text)
            ast.unparse(ast.Module(nodes, []))  # whatever is too deep is so here
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
            reason = error.msg if isinstance(error, SyntaxError) else "it is too deep or holds a null byte"
            unread.append(Unread(number, text, f"{line}{reason}"))
            continue
        if magic := _unknown_magic(text):
            unread.append(Unread(number, text, f"what %%{magic} makes of it is not known"))
            hidden += [(number, node) for node in nodes]
        else:
            parsed += [(number, node) for node in nodes]
    facts = facts_of([node for _, node in (*parsed, *hidden)])
    statements = [_statement(number, node, facts) for number, node in parsed]
    touched: dict[int, frozenset[str]] = {cell.cell: _traces(cell.text, facts) for cell in unread}
    for statement in (_statement(number, node, facts) for number, node in hidden):
        touched[statement.cell] |= statement.binds | statement.changes
    statements += [Statement(cell, ast.Pass(), names, frozenset(), False) for cell, names in touched.items()]
    return sorted(statements, key=lambda statement: statement.cell), unread


def without_magics(text: str, unknown: str = "None") -> str:
    """Return the text of a cell with nothing in the place of magics (%pip …), shell commands (!ls) and questions (f?).

    A cell magic that times its cell or takes its output goes alone; a cell of another language goes too.

    Args:
        text: of the cell.
        unknown: an expression in the place of a value that a magic gives.
    """
    while found := _cell_magic(text):
        name, line, rest = found
        if name == "capture":
            line = "".join(f"{output} = {unknown}" for output in re.findall(r"(?<![\w-])[^\W\d]\w*", line)[:1])
        elif name in _RUNNING:
            line = re.sub(f"^{_OPTIONS}", "", line)
        if name in _FOREIGN:
            return "".join(f"{output} = {unknown}\n" for output in re.findall(r"--(?:out|err)[ =]+(\w+)", line))
        text = f"{line if name in ('timeit', 'prun', 'capture') else ''}\n{rest}"
    text = re.sub(rf"^([ \t]*)%(?:{'|'.join(_RUNNING)})[ \t]+{_OPTIONS}(?=[^-\s])", r"\1", text, flags=re.M)
    text = re.sub(r"^([ \t]*[\w, ]+=[ \t]*)[%!].*$", rf"\1{unknown}", text, flags=re.M)
    command = r"^([ \t]*)(?:[%!?](?:.*\\\n)*.*|[\w.]+\?{1,2}[ \t]*)$"
    return re.sub(command, lambda found: found[1] + "pass" + "\n" * found[0].count("\n"), text, flags=re.M)


def _cell_magic(text: str) -> tuple[str, str, str] | None:
    """Return the name of a cell's magic, what stands after it in its line, and the other lines."""
    first, _, rest = text.lstrip("\ufeff \t\r\n").partition("\n")
    name, *line = first.split(maxsplit=1)[:2] or [""]
    return (name[2:], "".join(line).strip(), rest) if name.startswith("%%") else None


def _unknown_magic(text: str) -> str | None:
    """Return the name of a magic, if a cell has one of which is not known what it does with the cell."""
    while found := _cell_magic(text):
        name, _, text = found
        if name in _FOREIGN or name in _DEFINING:
            return None
        if name not in _RUNNING:
            return name
    return None


def _parsed(text: str) -> list[ast.stmt]:
    flags = ast.PyCF_ONLY_AST | FLAGS
    given = text = text.removeprefix("\ufeff")
    try:
        return list(compile(text, "<cell>", "exec", flags, dont_inherit=True).body)
    except SyntaxError:
        environment = r"^([ \t]*)%(?:env|set_env)[ \t]+(\w+)[ =]([^\r\n]*)"
        text = re.sub(environment, r"\1__import__('os').environ['\2'] = '''\3'''", text, flags=re.M)
        # Magics that define names: those of a file, a kept session, or a language that is compiled.
        defining = re.sub(
            r"^([ \t]*)%(?:run|load|store|pylab|reset|macro|rerun|recall)\b.*$", rf"\1{UNKNOWN}", text, flags=re.M
        )
        defining = re.sub(rf"\A\s*%%(?:{'|'.join(_DEFINING)})\b[\s\S]*", UNKNOWN, defining)
        cleaned = without_magics(defining, UNKNOWN)
        if cleaned == given:
            raise
        return list(compile(cleaned, "<cell>", "exec", flags, dont_inherit=True).body)


def _traces(text: str, facts: Facts) -> frozenset[str]:
    """Return the names that a cell which is no Python seems to define or to change."""
    defined = re.findall(r"\b(?:def|class|as|for|global|del)[ \t]+(\w+)", text)
    imported = re.findall(r"^[ \t]*(?:from\b.*?)?import\b([\w, \t().]+)", text, flags=re.M)
    stored = re.findall(r"^[ \t]*([^\W\d]\w*)[^\n=!<>()]*=(?!=)", text, flags=re.M)
    changed = re.findall(r"^[ \t]*([^\W\d]\w*)\.\w+\(", text, flags=re.M)
    names = [name for names in imported for name in re.findall(r"\w+", names)]
    return frozenset((*defined, *names, *stored, *(name for name in changed if name not in facts.origins)))


def _statement(cell: int, node: ast.stmt, facts: Facts) -> Statement:
    try:
        binds, uses, later = _names(node)
    except (SyntaxError, ValueError):  # such as a return outside of a function: it will tell itself
        binds, uses, later = frozenset(stored_names(node)), loaded_names(node), frozenset()
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        binds = frozenset("*")
    defines = runs_alone(node, facts.classes) and not names_main(node, facts)
    runs = defines or may_run(node, facts)
    changes = changed_names([node], facts, facts.groups, runs=runs)
    return Statement(cell, node, binds, uses, defines, later, set_names(node), changes, runs, _imports(node))


def _imports(node: ast.stmt) -> tuple[str, ...]:
    found = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = [n.module or "" if isinstance(n, ast.ImportFrom) else alias.name for n in found for alias in n.names]
    calls = [n for n in ast.walk(node) if isinstance(n, ast.Call) and n.args]
    named = [n.args[0] for n in calls if last_name(n.func) in ("__import__", "import_module")]
    modules += [n.value for n in named if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return tuple(dict.fromkeys(filter(None, (module.partition(".")[0] for module in modules))))


def _names(node: ast.stmt) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the global names that a statement binds, those that it reads, and those that its functions read."""
    top: CodeType = compile(ast.Module([node], []), "<cell>", "exec", FLAGS, dont_inherit=True)
    binds: set[str] = set()
    read: dict[bool, set[str]] = {True: set(), False: set()}
    pending = [(top, True)]
    while pending:
        code, at_once = pending.pop()
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"):
                read[at_once].add(str(step.argval))
            own = code is top and step.opname in ("STORE_NAME", "DELETE_NAME")
            if own or (at_once and step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")):  # a walrus in a comprehension
                binds.add(str(step.argval))
        for inner in code.co_consts:
            if isinstance(inner, CodeType):  # of a class, a comprehension, or a function
                function = inner.co_flags & inspect.CO_OPTIMIZED and not inner.co_name.endswith(("comp>", "expr>"))
                pending.append((inner, at_once and not function))
    return frozenset(binds), frozenset(read[True]), frozenset(read[False])


# --- what is checked --------------------------------------------------------------------------------------------------

CHECK = "csd_edu.check"
_ASKS = (
    "help",
    "print",
    "type",
    "dir",
    "repr",
    "str",
    "display",
    "getsource",
    "reload",
    "hint",
    "board",
    "yours_or_ours",
)
"""What is called with a check, or with its name, and does not call it."""


def find_calls(statements: Sequence[Statement], exercises: Mapping[str, Sequence[str]]) -> list[Call]:
    """Return what is checked, check.NAME(f) by whatever name, in the order of the cells.

    Args:
        statements: of all cells.
        exercises: the parameters of each exercise, by name. Where an exercise is never checked, a function with its
            name and parameters counts, as if the call had been removed.

    Returns:
        The calls, each expression once for an exercise, and once more where it needs other statements.
    """
    paths, texts = _known_paths(statements, exercises), _texts(statements)
    carriers: dict[str, set[str]] = {}  # by name of a function or a container, the exercises that it may check
    calls: dict[tuple[object, ...], Call] = {}
    uncalled: list[Call] = []  # in functions, and counted if nobody calls these

    def add(call: Call) -> None:
        plan = needed(statements, call)
        same = (
            call.at if call.within else (ast.unparse(call.argument), *map(id, plan.run), *(id(s) for s, _ in plan.left))
        )
        calls[call.exercise, same] = call

    def carried_by(names: Iterable[str]) -> set[str]:
        return set().union(*(carriers[name] for name in names if name in carriers))

    for at, statement in enumerate(statements):
        is_definition = isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        decorators = getattr(statement.node, "decorator_list", [])  # these may check what stands below them
        by = frozenset().union(*map(loaded_names, decorators))
        watched = carried_by(by if is_definition else statement.uses | statement.later)
        carried = carried_by((statement.uses | statement.later) - by)
        in_decorators = {id(inner) for decorator in decorators for inner in ast.walk(decorator)}
        # A lambda that is given to something is called by that.
        is_kept = isinstance(statement.node, ast.Assign | ast.AnnAssign)
        functions = Function if is_kept else ast.FunctionDef | ast.AsyncFunctionDef
        not_yet = _inside(statement.node, ast.AST if is_definition else functions) - in_decorators
        for node, given, names in _mentions(statement.node, paths, exercises, texts):
            for name in names:
                if id(node) in in_decorators:
                    watched.add(name)
                elif given is None or loaded_names(given) & _bound_around(statement.node, given):
                    carried.add(name)
                    watched |= set() if id(node) in not_yet else {name}
                elif id(node) in not_yet:
                    carried.add(name)
                    uncalled.append(Call(name, statement.cell, given, at))
                else:
                    add(Call(name, statement.cell, given, at))
        for name in statement.binds if _keeps(statement.node) else ():
            carriers[name] = carriers.get(name, set()) | carried
        for name in sorted(watched):
            add(Call(name, statement.cell, ast.Constant(None), at, within=True))
    checked = {call.exercise for call in calls.values()}
    for call in uncalled:
        if call.exercise not in checked:
            add(call)
    checked = {call.exercise for call in calls.values()}
    for at, statement in enumerate(statements):
        node, name = statement.node, getattr(statement.node, "name", "")
        if isinstance(node, ast.FunctionDef) and name in exercises and name not in checked:
            parameters = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if parameters == list(exercises[name]):
                calls[name, name] = Call(name, statement.cell, ast.Name(name, ast.Load()), at + 1)
    return list(calls.values())


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


def _given(call: ast.Call) -> ast.expr | None:
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg is not None)]
    return given[0] if given and not isinstance(given[0], ast.Starred) else None


def _known_paths(statements: Sequence[Statement], exercises: Iterable[str]) -> dict[str, str]:
    """Return the names that stand for csd_edu, its checks or one of them, with what they stand for."""
    bound = frozenset().union(*(statement.binds for statement in statements))
    usual = {"check": CHECK, "csd": "csd_edu", "csd_edu": "csd_edu"}  # where the import is lost
    known = {name: path for name, path in usual.items() if name not in bound}
    everything = [node for statement in statements for node in ast.walk(statement.node)]
    for node in everything:
        if isinstance(node, ast.ImportFrom) and node.module == CHECK and node.names[0].name == "*":
            known |= {name: f"{CHECK}.{name}" for name in exercises if name not in bound}
    known |= {name: path for name, path in origins_of(everything).items() if path.partition(".")[0] == "csd_edu"}
    for _ in range(3):  # a name of a name of a name
        for node in everything:
            pairs: list[tuple[ast.AST, ast.AST]] = []
            if isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and node.value is not None:
                pairs = [(node.target, node.value)]
            for target, value in pairs:
                if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
                    pairs += zip(target.elts, value.elts, strict=False)
                elif isinstance(target, ast.Name) and (path := _path(value, known)):
                    known.setdefault(target.id, path)
    return known


def _path(node: ast.AST | None, known: Mapping[str, str]) -> str | None:
    """Return what an expression stands for, such as csd_edu.check.search; with a * where only running it would tell."""
    owner: ast.AST | None = None
    part = "*"
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.NamedExpr):
        return _path(node.value, known)
    key: ast.AST | None = None
    if isinstance(node, ast.Attribute):
        owner, part = node.value, node.attr
    elif isinstance(node, ast.Subscript):
        owner, key = node.value, node.slice
    elif isinstance(node, ast.Call) and node.args:
        called, key = last_name(node.func), node.args[0]
        if called in ("import_module", "__import__") and isinstance(key, ast.Constant):
            whole = called == "import_module" or len(node.args) + len(node.keywords) > 1
            return str(key.value) if whole else str(key.value).partition(".")[0]
        if called == "getattr" and len(node.args) > 1:
            owner, key = node.args[:2]
        elif called == "get" and isinstance(node.func, ast.Attribute):
            owner = node.func.value
        elif called == "vars":
            owner, part = key, "__dict__"
    if isinstance(key, ast.Constant) and isinstance(key.value, str) and part == "*":
        part = key.value
    if isinstance(owner, ast.Call) and last_name(owner.func) in ("globals", "locals"):
        return known.get(part)
    if isinstance(owner, ast.Attribute) and ast.unparse(owner) == "sys.modules":
        return part
    path = _path(owner, known) if owner is not None else None
    return None if path is None else path if part in ("__call__", "__dict__") else f"{path}.{part}"


def _mentions(
    node: ast.stmt, paths: Mapping[str, str], exercises: Iterable[str], texts: frozenset[str]
) -> Iterator[tuple[ast.AST, ast.expr | None, list[str]]]:
    """Yield each expression that stands for a check, or the call of it, with what is given and the exercises' names.

    Where only running it tells what is given, that is None; where it tells which check it is, the names are all that
    the notebook names in a text, or that may be made of its texts.
    """
    every = [*ast.walk(node)]  # from the outside to the inside
    passed_over = {id(inner) for n in every for inner in (*_asked_about(n), *_renamed(n))}
    seen: set[int] = set()
    for n in every:
        check = n.func if isinstance(n, ast.Call) else n
        path = None if id(check) in seen else _path(check, paths)
        if path is not None and path.startswith(CHECK):
            seen |= {id(inner) for inner in ast.walk(check)}
            parts = [part for part in path.removeprefix(CHECK).split(".")[1:] if part != "EXERCISES"]
            of_all = path.endswith(".EXERCISES") or parts in ([], ["*"], ["items"], ["values"], ["get"])
            names = [name for name in exercises if (name in texts if of_all else parts == [name])]
            if parts == ["*"]:
                names = [name for name in exercises if _may_be_made(name, texts)] or [*exercises]
            if names and (isinstance(n, ast.Call) or id(n) not in passed_over):
                yield n, _given(n) if isinstance(n, ast.Call) and not of_all else None, names
        elif isinstance(n, ast.Call) and last_name(n.func) in ("eval", "exec"):
            code = " ".join(str(inner.value) for inner in ast.walk(n) if isinstance(inner, ast.Constant))
            names = [name for name in exercises if re.search(rf"\b{name}\b", code)] if "check" in code else []
            if names or re.search(r"\bcheck\.", code):
                yield n, None, names or [name for name in exercises if _may_be_made(name, texts)]


def _may_be_made(name: str, texts: Iterable[str]) -> bool:
    """Return whether texts name an exercise, or hold a part of its name from which it may be put together."""
    return any(text == name or (len(text) > 4 and name.startswith(text) | name.endswith(text)) for text in texts)


def _keeps(node: ast.stmt) -> bool:
    """Return whether the names that a statement binds may stand for a check or its caller, not for a verdict."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return True
    kept = ast.Lambda | ast.Dict | ast.List | ast.Tuple | ast.Set | ast.Name | ast.Attribute | ast.Subscript
    if isinstance(node.value, ast.Call):
        called = last_name(node.value.func)
        return called in ("partial", "dict", "list", "tuple", "zip") or called[:1].isupper()
    return isinstance(node.value, kept)


def _asked_about(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is given to a print, a hint and the like, but for what is called in that."""
    pending = [*node.args, *node.keywords] if isinstance(node, ast.Call) and last_name(node.func) in _ASKS else []
    while pending:
        inner = pending.pop()
        if not isinstance(inner, ast.Call):
            yield inner
            pending += ast.iter_child_nodes(inner)


def _renamed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what gets only another name, which `_known_paths` knows, and what is compared."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if all(isinstance(target, ast.Name) for target in targets):
            yield from [node.value] if node.value is not None else []
        elif isinstance(node.value, ast.Tuple | ast.List):
            yield from node.value.elts
    elif isinstance(node, ast.Compare):
        yield from (node.left, *node.comparators)


def _texts(statements: Iterable[Statement]) -> frozenset[str]:
    """Return a notebook's texts and the names after its dots, but for those given to a hint, a board and the like."""
    texts = set()
    for statement in statements:
        asks = {id(inner) for n in ast.walk(statement.node) for inner in _asked_about(n)}
        others = [n for n in ast.walk(statement.node) if id(n) not in asks]
        texts |= {n.value for n in others if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        texts |= {n.attr for n in others if isinstance(n, ast.Attribute)}
        texts |= {n.name for n in others if isinstance(n, ast.FunctionDef)}  # for getattr(check, f.__name__)
    return frozenset(texts)


def _inside(node: ast.AST, kind: UnionType | type[ast.AST]) -> set[int]:
    """Return the ids of all nodes inside of those of a kind, such as functions."""
    return {id(inner) for n in ast.walk(node) if isinstance(n, kind) for inner in ast.walk(n)}


def _bound_around(node: ast.stmt, argument: ast.expr) -> set[str]:
    """Return the names that a statement binds somewhere around an argument, unless it is bound by what comes of it."""
    own = {id(inner) for inner in ast.walk(argument)}
    result = set_names(node) if isinstance(node, ast.Assign | ast.AnnAssign) else frozenset()
    return {name for inner in ast.walk(node) if id(inner) not in own for name in bound_names(inner)} - result


# --- what a check needs -----------------------------------------------------------------------------------------------


def needed(
    statements: Sequence[Statement],
    call: Call,
    *,
    alone: bool = False,
    all_cells: bool = False,
    whole: bool = False,
) -> Plan:
    """Return the statements that a check needs, and what they need in turn, in the order of the cells.

    These are the ones before the call that bind a name which is read, or may change its object, back to where it is
    bound in any case. For a name that none of them binds, those after the call count.

    Args:
        statements: of all cells.
        call: the check.
        alone: whether only those count that can be run alone, as if there were no others.
        all_cells: whether those after the call count like those before it.
        whole: whether all before the call are run that may be, as some may do what their text doesn't tell; what is
            left, or may stop, is then of no matter where it shares no object with what is checked.
    """
    end = len(statements) if all_cells else call.at
    counted = [n for n, statement in enumerate(statements) if statement.defines or not alone]
    binders: dict[str, list[int]] = {}
    for n in counted:
        for name in statements[n].binds:
            binders.setdefault(name, []).append(n)
    first = statements[call.at].uses | statements[call.at].later if call.within else loaded_names(call.argument)
    live = _reached(statements, binders, first, end)
    objects = {name for s in statements if not is_steady(s.node) for name in s.binds | s.changes} - {
        name for s in statements if s.imports for name in s.binds
    }
    plan = Plan([], [], set())
    for n in reversed(counted):
        if call.within and n == call.at:  # it is run in any case
            continue
        statement = statements[n]
        touched = statement.binds | statement.changes
        if n < end:
            hit = touched & (live | {"*"})
        else:
            missing = {name for name in live if min(binders.get(name, [end]), default=end) >= end}
            hit = touched & {name for name in missing if not hasattr(builtins, name)} | statement.binds & {"*"}
        if not hit and whole and n < call.at:
            shared = _reached(statements, binders, statement.uses & objects, n) & live & objects
            if statement.runs:
                plan.run.insert(0, statement)
                plan.apart.update([] if shared else [id(statement)])
            else:
                plan.left.insert(0, (statement, frozenset(shared)))
            continue
        if not hit and not is_future(statement.node):
            continue
        live -= statement.sets
        if statement.runs:
            plan.run.insert(0, statement)
            live |= _reached(statements, binders, statement.uses, min(n, end))
        else:
            plan.left.insert(0, (statement, hit))
    return plan


def _reached(
    statements: Sequence[Statement], binders: Mapping[str, Sequence[int]], names: Iterable[str], at: int
) -> set[str]:
    """Return names, and what is read when functions are called that they are, hold or were made by.

    Of `divide = Divide()` these are the names in the methods of Divide as they are at a place, and Divide itself.
    """
    found: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    pending = [(name, True) for name in names]
    while pending:
        name, is_read = pending.pop()
        if (name, is_read) not in seen:
            seen.add((name, is_read))
            latest = _latest(statements, binders.get(name, ()), name, at)
            if is_read or any(isinstance(statements[n].node, Function | ast.ClassDef) for n in latest):
                found.add(name)
            pending += [(later, True) for n in latest for later in statements[n].later]
            pending += [(used, False) for n in latest for used in statements[n].uses]
    return found


def _latest(statements: Sequence[Statement], binders: Sequence[int], name: str, at: int) -> list[int]:
    """Return which of the statements that bind a name count at a place: back to the one that binds it in any case."""
    before = [n for n in binders if n < at]
    for k, n in reversed([*enumerate(before)]):
        if name in statements[n].sets:
            return before[k:]
    return before or [*binders]


def is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
