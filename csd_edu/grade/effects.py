"""What a statement may change, and whether it may be run again: read from its text, nothing is run.

A name stands for all objects that it may ever have. What may change one of them is counted once too often rather than
overlooked, as a right answer must not be judged without a line that it lives on.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# --- names in a tree --------------------------------------------------------------------------------------------------


def loaded_names(node: ast.AST) -> frozenset[str]:
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def stored_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that are bound anywhere in a statement, also inside of functions, with their parameters."""
    for inner in ast.walk(node):
        yield from bound_names(inner)


def bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node itself binds, and not one inside of it."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, Function | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        yield from filter(None, [getattr(node, "name", None)])


def set_names(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return frozenset(bound_names(node))
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets = [*node.targets]
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    elif isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
    names = set()
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Name):
            names.add(target.id)
        elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
            targets += ast.iter_child_nodes(target)
    return frozenset(names)


def last_name(node: ast.AST) -> str:
    """Return the last name of a.b.c, or nothing."""
    return str(getattr(node, "attr", getattr(node, "id", "")))


# --- what it may change ----------------------------------------------------------------------------------------------

_OTHER_WORLD = ("globals", "locals", "vars", "exec", "eval", "get_ipython", "__import__", "compile")
_ASKING = ("input", "open", "breakpoint", "exit", "quit", "help", "get_ipython", "display")
_SETTING = re.compile(
    r"set_|seed|manual_seed|use_|enable|disable|register|seterr|setrecursion|filterwarnings|simplefilter|patch"
)
LIBRARIES = ("torch", "numpy", "random", "math", "builtins", "sys", "csd_edu")
"""Libraries whose changes count for every function, as it is on them that the checks stand."""


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PACKAGES = words(
    """torch numpy math cmath functools itertools collections random copy operator string re statistics heapq bisect
    types typing dataclasses enum abc contextlib json warnings fractions decimal numbers textwrap inspect array time
    datetime sys asyncio weakref queue logging tqdm scipy sklearn einops builtins importlib unittest contextvars"""
)
_OF_KIT = words("check losses metrics methods Memory memory Config preset retrieval drift")
_HEAVY = words("load save savez savetxt loadtxt genfromtxt fromfile hub distributed multiprocessing sleep")
"""What may be run: these packages without those functions, and of the kit what neither trains nor shows nor loads."""

_FRESH = words(
    """len sum min max abs round float int bool str repr format type id hash isinstance issubclass callable hasattr
    print any all range divmod pow ord chr bin mean std var item tolist argmax argmin argsort count index keys lower
    upper strip split join startswith endswith replace exp log sqrt square matmul norm dot eq ne lt gt le ge numel size
    dim topk cumsum prod median unique bincount nonzero isnan isfinite equal allclose show display head describe"""
)
"""Names of functions and methods that change nothing, and whose answer shares nothing with what they are given."""

_SHARING = words(
    """list tuple dict set frozenset sorted reversed enumerate zip filter iter getattr get items values copy view
    reshape detach numpy flatten squeeze unsqueeze permute transpose expand chunk clone contiguous type_as to cpu float
    double long int parameters named_parameters state_dict children modules partial as_tensor from_numpy asarray array
    tensor deepcopy"""
)
"""Names of those that change nothing, and whose answer may share something."""


class Facts(NamedTuple):
    """What holds for a whole notebook.

    Attributes:
        origins: the modules and their parts, by the name that an import gives them.
        functions: the functions by name, also methods, and the classes.
        classes: the names of the classes at the top of a cell.
        bound: all names that are bound anywhere.
        data: those that may stand for something else than a module, a function, a class or a constant.
        effects: by name of a function the names whose objects it may change when it is called.
        heavy: the names of functions that may not be run.
        groups: by name of data all names whose objects may share something with its own.
    """

    origins: dict[str, str]
    functions: dict[str, list[ast.AST]]
    classes: frozenset[str]
    bound: frozenset[str]
    data: frozenset[str]
    effects: dict[str, frozenset[str]]
    heavy: frozenset[str]
    groups: dict[str, frozenset[str]]


def facts_of(nodes: Sequence[ast.stmt]) -> Facts:
    everything = [inner for node in nodes for inner in ast.walk(node)]
    functions: dict[str, list[ast.AST]] = {}
    for node in everything:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            for name in set_names(node):
                functions.setdefault(name, []).append(node.value)
    data = {name for node in nodes if not is_steady(node) for name in stored_names(node)}
    imports = (ast.Import, ast.ImportFrom)
    others = (node for node in nodes if not any(isinstance(inner, imports) for inner in ast.walk(node)))
    own = {
        name for node in others for name in set_names(node)
    }  # a variable of the student's, though a module was so named
    facts = Facts(
        {name: origin for name, origin in origins_of(everything).items() if name not in own},
        functions,
        frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef)),
        frozenset(stored_names(ast.Module([*nodes], []))),
        frozenset(data),
        {},
        frozenset(),
        {},
    )
    facts = facts._replace(groups=_groups([inner for node in nodes for inner in _at_once(node)], facts))
    living = _living(everything, facts)
    for _ in range(len(functions) + 1):  # until the effects of what a function calls are its own
        effects = {name: _effects(name, facts) for name in functions}
        for name, of in living.items():
            effects[name] = frozenset((name,)).union(effects.get(name, ()), *(effects[maker] for maker in of))
        heavy = frozenset(n for n, of in functions.items() if not all(may_run(f, facts) for f in of)) | facts.heavy
        if (effects, heavy) == (facts.effects, facts.heavy):
            break
        facts = facts._replace(effects=effects, heavy=heavy)
    return facts


def _living(nodes: Iterable[ast.AST], facts: Facts) -> dict[str, set[str]]:
    """Return the names of objects that any use may change, with the functions and classes that have made them.

    These are generators, coroutines, and objects whose operators, properties or other methods that are called
    without their name store something.
    """
    makers = {name for name, of in facts.functions.items() if any(map(_makes_living, of))}
    while makers:  # what mentions such a class or function may give such an object
        more = {name for name, of in facts.functions.items() if any(loaded_names(node) & makers for node in of)}
        if more <= makers:
            break
        makers |= more
    living: dict[str, set[str]] = {}
    for node in nodes if makers else ():
        value: ast.AST | None = None
        targets: list[ast.AST] = []
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            value, targets = node.value, [*node.targets] if isinstance(node, ast.Assign) else [node.target]
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            value, targets = node.iter, [node.target]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            value, targets = node.context_expr, [node.optional_vars]
        inner = ast.walk(value) if value is not None else ()
        made = {last_name(n) for n in inner if isinstance(n, ast.Name | ast.Attribute)} & makers
        names = {n.id for target in targets if made for n in ast.walk(target) if isinstance(n, ast.Name)}
        for name in names.union(*(facts.groups.get(name, frozenset()) for name in names)) - makers:
            living.setdefault(name, set()).update(made)
    return living


def _makes_living(node: ast.AST) -> bool:
    """Return whether a function is a generator or a coroutine, or a class stores something without a method's name."""
    if isinstance(node, ast.AsyncFunctionDef):
        return True
    if isinstance(node, ast.FunctionDef):
        return any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
    return any(
        (re.fullmatch(r"(?!__init__)__\w+__|forward", method.name) or method.decorator_list) and _stores(method)
        for method in (node.body if isinstance(node, ast.ClassDef) else ())
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _stores(node: ast.AST) -> bool:
    """Return whether a function gives a new value to anything but its own names, or calls something for its effect."""
    return any(
        (isinstance(n, ast.Attribute | ast.Subscript) and not isinstance(n.ctx, ast.Load))
        or isinstance(n, ast.Global | ast.Nonlocal | ast.AugAssign)
        or (isinstance(n, ast.Call) and last_name(n.func) not in _FRESH | _SHARING)
        for n in ast.walk(node)
    )


def is_steady(node: ast.stmt) -> bool:
    """Return whether a statement gives names to nothing that could be changed but by its attributes."""
    if isinstance(node, ast.Assign):
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        return all(isinstance(value, ast.Constant | ast.Lambda | ast.UnaryOp) for value in values)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)


def origins_of(nodes: Iterable[ast.AST]) -> dict[str, str]:
    origins: dict[str, str] = {}
    for node in nodes:
        for alias in getattr(node, "names", ()) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                origins[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
            else:
                origins[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
    return origins


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is computed when a statement is run: of a function its decorators and defaults, not its body."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            pending += ast.iter_child_nodes(node)


def _shares(node: ast.AST | None) -> Iterator[str]:
    """Yield the names of what the value of an expression may be, hold, or be a part of."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Call):
        if last_name(node.func) not in _FRESH:
            yield from (() if isinstance(node.func, ast.Name) else _shares(node.func))
            for argument in (*node.args, *node.keywords):
                yield from _shares(argument)
    elif isinstance(node, ast.AST) and not isinstance(node, ast.Compare | ast.Constant | ast.JoinedStr):
        for inner in ast.iter_child_nodes(node):
            yield from _shares(inner)


def _groups(nodes: Iterable[ast.AST], facts: Facts) -> dict[str, frozenset[str]]:
    """Return by name those whose objects may share something, as one was made of the other or put into it."""
    groups: dict[str, set[str]] = {}

    def join(*names: str) -> None:
        together = set().union(*(groups.get(name, {name}) for name in names if name not in facts.origins))
        groups.update(dict.fromkeys(together, together))

    for node in nodes:
        targets: list[ast.AST] = []
        value: ast.AST | None = getattr(node, "value", None)
        if isinstance(node, ast.Assign):
            targets = [*node.targets]
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets = [node.target]
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            targets, value = [node.target], node.iter
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):  # which holds its defaults
            held = [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.decorator_list]
            targets, value = [ast.Name(node.name, ast.Load())], ast.Tuple(held, ast.Load())
        elif isinstance(node, ast.ClassDef):
            held = [inner.value for inner in node.body if isinstance(inner, ast.Assign)]
            targets, value = [ast.Name(node.name, ast.Load())], ast.Tuple(held, ast.Load())
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, value = [node.optional_vars], node.context_expr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in _FRESH:
            root = root_of(node.func)
            if isinstance(root, ast.Name) and root.id not in facts.origins and node.func.attr not in _SHARING:
                targets, value = [root], ast.Tuple([*node.args, *(k.value for k in node.keywords)], ast.Load())
        names = [name for target in targets for name in _shares(target)]
        shared = [name for name in _shares(value) if name in facts.data or name in facts.functions] if targets else []
        if len(names) + len(shared) > 1 and names:
            join(*names, *shared)
    return {name: frozenset(together) for name, together in groups.items()}


def root_of(node: ast.AST) -> ast.AST:
    """Return the a of a.b[c](d).e."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node


def _effects(name: str, facts: Facts) -> frozenset[str]:
    """Return the names whose objects a function may change when it is called, or a class by any method."""
    changed: frozenset[str] = frozenset()
    for function in facts.functions[name]:
        body = [*ast.iter_child_nodes(function)]
        inner = [n for node in body for n in ast.walk(node)]
        declared = {n for node in inner if isinstance(node, ast.Global) for n in node.names}
        own = {n for node in body for n in stored_names(node)} - declared
        stored = {n.id for n in inner if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)} & declared
        changed |= (changed_names(inner, facts, _groups(inner, facts), listed=True) - own) | stored
    return changed


def changed_names(
    nodes: Iterable[ast.AST],
    facts: Facts,
    groups: Mapping[str, frozenset[str]],
    *,
    runs: bool = True,
    listed: bool = False,
) -> frozenset[str]:
    """Return the names whose objects may be changed, and "*" where they cannot be known, or are those of a library.

    Args:
        nodes: statements, of which counts what they do at once.
        facts: of the notebook.
        groups: by name those whose objects may share something with it.
        runs: whether the statement may be run; where it may not, a seed in it does not matter.
        listed: whether the nodes are all that counts, also inside of functions.
    """
    changed: set[str] = set()
    for node in nodes if listed else (inner for statement in nodes for inner in _at_once(statement)):
        if (isinstance(node, ast.Name) and node.id in _OTHER_WORLD) or _is_main(node, facts):
            changed.add("*")
        if isinstance(node, ast.Name | ast.Attribute):
            changed |= facts.effects.get(last_name(node), frozenset())
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed |= _of_root(node, facts)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del):
            changed.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            changed.add(node.target.id)
        elif isinstance(node, ast.Call):
            changed |= _changed_by_call(node, facts, runs=runs)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            callers = [*node.decorator_list, *(node.bases if isinstance(node, ast.ClassDef) else [])]
            changed |= facts.effects.get(node.name, frozenset()) if node.decorator_list else frozenset()
            for caller in callers:
                changed |= _of_root(caller, facts) & facts.bound - facts.origins.keys()
    shared = frozenset(changed).union(*(groups.get(name, frozenset()) for name in changed))
    return shared.union(*(facts.effects.get(name, frozenset()) for name in shared))  # such as those of a hook


def _of_root(node: ast.AST, facts: Facts) -> set[str]:
    """Return whose object a.b[c] is a part of; "*" for that of a library, or of what cannot be known."""
    root = root_of(node)
    if not isinstance(root, ast.Name):
        return {"*", *_shares(root)}
    return {"*"} if facts.origins.get(root.id, "").partition(".")[0] in LIBRARIES else {root.id}


def _changed_by_call(node: ast.Call, facts: Facts, *, runs: bool) -> set[str]:
    changed: set[str] = set()
    name, root = last_name(node.func), root_of(node.func)
    origin = facts.origins.get(root.id) if isinstance(root, ast.Name) else None
    if origin is not None:
        chain = not any(isinstance(n, ast.Call) for n in ast.walk(node.func))
        if chain and _SETTING.match(name) and (runs or "seed" not in name):
            changed |= _of_root(node.func, facts)
    elif isinstance(node.func, ast.Attribute) and name not in _FRESH | _SHARING:
        changed |= {n for n in (*_shares(node.func), *_shares(root)) if n in facts.bound}
    elif isinstance(node.func, ast.Name) and name in facts.data:
        changed.add(name)
    in_place = name.endswith("_") or any(keyword.arg == "out" for keyword in node.keywords)
    known = origin is not None and origin.partition(".")[0] in ("torch", "numpy", "math", "plotly", "matplotlib")
    alters = known and (in_place or _SETTING.match(name) or name in ("fill_diagonal", "copyto", "put", "at", "shuffle"))
    if alters or (not known and name not in _FRESH | _SHARING):
        shared = {n for argument in (*node.args, *node.keywords) for n in _shares(argument)}
        changed |= shared & facts.data
    if name in ("setattr", "delattr", "update_wrapper") and node.args:
        changed |= _of_root(node.args[0], facts)
    return changed


def _is_main(node: ast.AST, facts: Facts) -> bool:
    """Return whether a node stands for the module of the notebook itself, or for all modules."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and f"{facts.origins.get(node.value.id)}.{node.attr}" == "sys.modules"
    named = isinstance(node, ast.Name) and facts.origins.get(node.id) in ("__main__", "sys.modules")
    return named or is_given_main(node)


def is_given_main(node: ast.AST) -> bool:
    """Return whether a node is such as import_module("__main__")."""
    given = node.args if isinstance(node, ast.Call) else []
    return any(isinstance(argument, ast.Constant) and argument.value == "__main__" for argument in given)


def names_main(node: ast.stmt, facts: Facts) -> bool:
    """Return whether a statement itself names the module of the notebook, or all modules."""
    return any(_is_main(inner, facts) for inner in _at_once(node))


def may_run(node: ast.AST, facts: Facts) -> bool:
    """Return whether a statement, or a whole function, calls only what may be run."""
    for inner in ast.walk(node) if isinstance(node, Function | ast.ClassDef) else _at_once(node):
        if isinstance(inner, ast.Name | ast.Attribute) and last_name(inner) in facts.heavy:
            return False
        if isinstance(inner, ast.Name) and inner.id in _ASKING and inner.id not in facts.bound:
            return False
        if _is_main(inner, facts):  # which is another one here
            return False
        if isinstance(inner, ast.Call) and isinstance(root := root_of(inner.func), ast.Name):
            if root.id in facts.origins:
                if not _may_call(f"{facts.origins[root.id]}.{'.'.join(_parts(inner.func))}"):
                    return False
            elif not (root.id in facts.bound or root.id in QUICK or hasattr(builtins, root.id)):
                return False
    return True


def _parts(node: ast.AST) -> list[str]:
    """Return b and d of a.b[c].d."""
    parts = []
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        parts += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.func if isinstance(node, ast.Call) else node.value
    return parts[::-1]


def _may_call(path: str) -> bool:
    package, *parts = path.split(".")
    if package == "csd_edu":
        return parts[0] in _OF_KIT
    return package in _PACKAGES and not _HEAVY & set(parts)


def _blocks(node: ast.stmt) -> list[ast.stmt]:
    """Return the statements inside of an `if` or a `try`."""
    if isinstance(node, ast.If):
        return [*node.body, *node.orelse]
    if isinstance(node, ast.Try):
        handled = [inner for handler in node.handlers for inner in handler.body]
        return [*node.body, *handled, *node.orelse, *node.finalbody]
    return []


def runs_alone(node: ast.stmt, classes: frozenset[str]) -> bool:
    """Return whether a statement can be run alone; objects of these classes, the notebook's own, are made at once."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Pass):
        return True
    if isinstance(node, ast.Assign):
        return _needs_no_work(node.value, classes)
    if isinstance(node, ast.AnnAssign):
        return node.value is not None and _needs_no_work(node.value, classes)
    blocks = _blocks(node)
    quick = not isinstance(node, ast.If) or _needs_no_work(node.test, classes)
    return bool(blocks) and quick and all(runs_alone(inner, classes) for inner in blocks)


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
