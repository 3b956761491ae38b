"""Small slips that any solution can have: an axis, a sign or a count that is wrong in one place.

The table of an exercise knows what is typical of it. What is in no table is explained by these, made from a function's
syntax tree: `matrix[-1]` becomes `matrix[-2]`, `mean(dim=1)` becomes `mean(dim=0)`. If one of them makes the student's
own function right, it tells the very line; else the answers are compared with what they make of the model solution.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MESSAGES = {
    "columns instead of rows": "One of your lines goes down the columns (dim=0, from image to image), where it belongs "
    "along each row (dim=1, one image by itself).",
    "rows instead of columns": "One of your lines goes along the rows (dim=1), where it belongs down the columns "
    "(dim=0, from image to image).",
    "everything at once": "One of your lines takes everything at once, without a dim: a sum, a mean or a largest value "
    "of the whole batch. Each row, or each column, has its own.",
    "off by one": "Something is off by one: an index, a row, the end of a range, or how many are taken or divided by. "
    "Python counts from 0, and range(n) ends at n − 1.",
    "largest and smallest confused": "You take the largest where the smallest belongs, or the other way round. The "
    "nearest has the least distance, and the largest similarity.",
    "another reduction": "In one place you take a sum where a mean belongs, a mean where a sum or the largest belongs, "
    "all for any, or the like. How are many numbers to become one?",
    "a sign the other way round": "A plus and a minus are confused in one place.",
    "multiplied and divided confused": "In one place you multiply where one must divide, or the other way round.",
    "added and multiplied confused": "In one place you add where one must multiply, or the other way round.",
    "one of many": "You pick one of them, by an index, where all of them count.",
    "whole numbers only": "You round down: // is a division without a remainder, / is what is meant.",
    "a part missing": "A part of the formula is missing: a term, a factor, a divisor, or one of two conditions.",
    "a condition missing": "A condition is missing: some that should be left out are counted as well.",
    "comparison": "One comparison is wrong: == for !=, < for >, or one that takes equal ones along.",
    "conditions": "Two conditions are joined in the wrong way: & for |, or a `not`, ~, too many or missing.",
    "the first one only": "You treat the first one only: does `return` stand inside of a loop, or does [0] pick one?",
    "the last one only": "You treat the last one only: does each turn of a loop write over the one before?",
    "the first one left out": "The first one is left out. Python counts from 0: range(1, n) leaves it out.",
    "the last one left out": "The last one is left out: range(n − 1) and [:-1] end before it.",
    "row and column swapped": "Row and column are swapped in one place: [i][j] is row i, column j.",
    "the diagonal": "You read the diagonal, [j][j], where another cell belongs.",
    "two things swapped": "Two things that you subtract, multiply, hand over or return stand in the wrong order.",
    "a line missing": "One step is left out altogether.",
    "always or never": "An `if` is always true, or never, where it should make a difference.",
    "transposed": "A matrix is transposed in one place where it should not be, or the other way round.",
    "values and indices confused": "topk, sort, max and min return values and indices; you go on with the wrong one.",
}

OPPOSITE = {
    "columns instead of rows": "rows instead of columns",
    "rows instead of columns": "columns instead of rows",
    "a part missing": "a part too many",
    "a condition missing": "a condition too many",
    "everything at once": "a dim too many",
    "a line missing": "a line too many",
    "always or never": "an if too many",
    "the diagonal": "not the diagonal",
}
"""What a student has done whose function gets right by a slip, if it is not the same."""

MESSAGES |= {
    "a part too many": "Something here does not belong to the formula: a term, a factor, a step or a condition.",
    "a condition too many": "Some are left out here that should be counted.",
    "a dim too many": "Here everything is to become one number, without a dim.",
    "a line too many": "This step is not needed, and spoils the result.",
    "too many": "Here too many are taken along: only the first, or the last, of them counts.",
    "not the diagonal": "Here the diagonal belongs, [j][j]: row j, column j.",
    "an if too many": "This should not depend on the condition.",
    "return inside of the loop": "`return` stands inside of the loop, so that it ends with the first turn. Move it "
    "to the left, below the loop.",
    "return inside of the if": "`return` stands inside of the `if`, so that nothing is returned where it is false. "
    "Move it to the left, below the `if`.",
    "written over": "Each turn of the loop writes over what the one before has found: += adds to it.",
    "another index": "Another index belongs here: which row, or column, is asked for?",
    "another name": "Another of your variables belongs here.",
}

Relation = tuple[Callable[[Tensor], Tensor], str]

RELATIONS: dict[str, Relation] = {
    "sign swapped": (lambda r: -r, "All your numbers are right but for their sign."),
    "one minus the result": (
        lambda r: 1 - r,
        "All your numbers are 1 minus the right ones: the share, or the similarity, of the opposite.",
    ),
    "percent instead of a share": (
        lambda r: 100 * r,
        "All your numbers are 100 times the right ones: is this percent?",
    ),
    "half of it": (lambda r: r / 2, "All your numbers are half of the right ones."),
    "twice as much": (lambda r: 2 * r, "All your numbers are twice the right ones."),
    "squared": (lambda r: r**2, "All your numbers are the squares of the right ones."),
    "square root": (lambda r: r.abs() ** 0.5, "All your numbers are the square roots of the right ones."),
    "reciprocal": (lambda r: 1 / r, "All your numbers are 1 / the right ones: is a division the wrong way up?"),
    "one too much": (lambda r: r + 1, "All your numbers are larger than the right ones by 1."),
    "one too little": (lambda r: r - 1, "All your numbers are smaller than the right ones by 1."),
    "without a sign": (lambda r: r.abs(), "Your numbers are right but for the sign of those below 0: is there an abs?"),
    "cut off below 0": (
        lambda r: r.clamp(min=0),
        "What is below 0 counts as 0 with you: is there a max(0, …), a relu or a clamp?",
    ),
    "whole numbers": (lambda r: r.trunc(), "Your numbers are cut to whole ones: is there a // or an int(…)?"),
    "rounded": (lambda r: r.round(decimals=2), "Your numbers are rounded to two digits. Return them as they are."),
    "rounded to one digit": (lambda r: r.round(decimals=1), "Your numbers are rounded. Return them as they are."),
    "last one first": (
        lambda r: r.flip(0) if r.ndim else r,
        "Your rows, or numbers, are right, but the last one comes first.",
    ),
    "exponential": (lambda r: r.exp(), "All your numbers are exp of the right ones: a logarithm is missing."),
    "logarithm": (lambda r: r.log(), "All your numbers are logarithms of the right ones: one log too many."),
}
"""What numbers that are right but for one thing are of the right ones."""

_STEPS = {
    "normalize": "features are scaled to length 1, all of them",
    "detach": "the teacher is detached",
    "relu": "what is below 0 counts as 0",
    "exp": "an exponential",
    "log": "a logarithm",
    "log_softmax": "the logarithm of a softmax",
    "softmax": "a softmax",
    "square": "differences are squared",
    "clamp_min": "a division by 0 is prevented",
    "sqrt": "a square root",
    "sum": "a sum",
    "mean": "a mean",
    "masked_fill": "what must not count is masked",
}
_OTHERS = {
    "mean": ("sum", "amax"),
    "sum": ("mean", "max"),
    "max": ("min",),
    "amax": ("amin", "mean"),
    "amin": ("amax", "mean"),
    "argmax": ("argmin",),
    "any": ("all",),
    "softmax": ("log_softmax",),
    "log_softmax": ("softmax",),
}
_EXTREMES = {"max", "min", "amax", "amin", "argmax", "argmin"}
_PARTS = {
    "[:1]": "the first one only",
    "[-1:]": "the last one only",
    "[1:]": "the first one left out",
    "[:-1]": "the last one left out",
}
_OPERATORS: dict[type[ast.operator], tuple[tuple[type[ast.operator], str], ...]] = {
    ast.Add: ((ast.Sub, "a sign the other way round"), (ast.Mult, "added and multiplied confused")),
    ast.Sub: ((ast.Add, "a sign the other way round"),),
    ast.Mult: ((ast.Div, "multiplied and divided confused"), (ast.Add, "added and multiplied confused")),
    ast.FloorDiv: ((ast.Div, "whole numbers only"),),
    ast.Div: ((ast.Mult, "multiplied and divided confused"), (ast.FloorDiv, "whole numbers only")),
    ast.BitAnd: ((ast.BitOr, "conditions"), (ast.BitXor, "conditions")),
    ast.BitOr: ((ast.BitAnd, "conditions"),),
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Gt),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}


@dataclass(frozen=True)
class Slip:
    """A name, what is said about it, where it was made (a part of the solution), and the source with it."""

    name: str
    message: str
    place: str
    source: str


Variants = Iterator[tuple[str, Any]]  # the name of a slip, and what stands in the place of a node


def slips(solution: Callable[..., Any], *, of_all_names: bool = False) -> Iterator[Slip]:
    """Yield the slips in one place of a solution; some of them return the same as it does, and some do not run."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(solution)))
    except (OSError, TypeError, SyntaxError):  # no source, as of a function that was built in or made by exec
        return
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):
        return
    seen = {ast.unparse(tree)}
    nodes = list(ast.walk(function))
    stored = [
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ] * of_all_names
    names = list(dict.fromkeys([*(argument.arg for argument in function.args.args), *(stored if of_all_names else [])]))
    places: list[tuple[Any, Any]] = [(function.body, k) for k in range(len(function.body))]
    for holder, key in [*(place for statement in function.body for place in _places(statement)), *places]:
        node = holder[key]
        for name, new in _variants(node, names):
            holder[key] = new
            source = ast.unparse(ast.fix_missing_locations(tree))
            holder[key] = node
            if source not in seen:
                seen.add(source)
                yield Slip(name, message(name), _line(node), source)


def message(name: str) -> str:
    """Return what is said about a slip."""
    if name in _STEPS.values():
        return f"A step is missing in one place: {name}."
    return MESSAGES.get(name, f"{name}: the one stands where the other belongs.")


def opposite(slip: Slip) -> str:
    """Return what a student has done whose function gets right by a slip."""
    if slip.name in _STEPS.values():
        return "a part too many"
    if slip.name in _PARTS.values():
        return "too many"
    given, found, wanted = slip.name.partition(" for ")
    return f"{wanted} for {given}" if found else OPPOSITE.get(slip.name, slip.name)


def _line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _places(node: ast.AST) -> Iterator[tuple[Any, Any]]:
    """Yield where the parts of a node are kept, and their parts: a list and an index, or attributes and a name."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "ctx", "targets", "func") and not isinstance(value, ast.Attribute):
            continue
        found: list[tuple[Any, Any]] = (
            [(value, k) for k in range(len(value))] if isinstance(value, list) else [(vars(node), field)]
        )
        for holder, key in found:
            if isinstance(holder[key], ast.expr | ast.stmt | ast.keyword | ast.comprehension):
                yield holder, key
                yield from _places(holder[key])


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _variants(node: ast.AST, names: list[str]) -> Variants:
    """Yield what may stand in the place of a node, by the name of the slip."""
    text = ast.unparse(node)
    match node:
        case ast.keyword(arg="dim" | "axis", value=ast.Constant(value=int(dim))):
            name = "columns instead of rows" if dim == 1 else "rows instead of columns"
            yield name, ast.keyword(node.arg, ast.Constant(1 - dim if dim < 2 else 1))
        case ast.Name(ctx=ast.Load()) if node.id in names:
            yield from ((f"`{other}` for `{node.id}`", ast.Name(other)) for other in names if other != node.id)
        case ast.Constant(value=int(n)) if not isinstance(n, bool):
            yield from (("off by one", ast.Constant(n + step)) for step in (-1, 1))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(n))):
            yield "off by one", _expression(str(-n - 1))
        case ast.UnaryOp(operand=operand):
            yield "a sign the other way round" if isinstance(node.op, ast.USub) else "conditions", operand
        case ast.BoolOp(op=op, values=values):
            yield "conditions", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from (("a condition missing", value) for value in values)
        case ast.BinOp(left=left, right=right):
            yield from (("a part missing", part) for part in (left, right))
            yield from ((name, ast.BinOp(left, op(), right)) for op, name in _OPERATORS.get(type(node.op), ()))
            if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult):
                yield "two things swapped", ast.BinOp(right, node.op, left)
        case ast.Compare(left=left, ops=[op], comparators=comparators):
            others = _COMPARISONS.get(type(op), ())
            yield from (("comparison", ast.Compare(left, [other()], comparators)) for other in others)
        case ast.Subscript(value=ast.Subscript(value=matrix, slice=i), slice=j):
            yield "row and column swapped", _expression(f"{ast.unparse(matrix)}[{ast.unparse(j)}][{ast.unparse(i)}]")
            yield "the diagonal", _expression(f"{ast.unparse(matrix)}[{ast.unparse(j)}][{ast.unparse(j)}]")
        case ast.Subscript(value=value, slice=ast.Constant() | ast.Name() | ast.UnaryOp() | ast.BinOp()):
            yield from (("another index", ast.Subscript(value, _expression(other))) for other in [*names, "-1", "0"])
            yield from (("one of many", _expression(f"{call}({ast.unparse(value)})")) for call in ("any", "max", "sum"))
        case ast.Subscript(value=value, slice=ast.Slice()):
            yield "a part missing", value
        case ast.Slice(upper=ast.expr() as end):
            for step in ("- 1", "+ 1"):
                yield "off by one", ast.Slice(node.lower, _expression(f"{ast.unparse(end)} {step}"), node.step)
        case ast.Attribute(value=value, attr="T"):
            yield "transposed", value
        case ast.Attribute(value=value, attr="indices"):
            yield "values and indices confused", ast.Attribute(value, "values")
        case ast.Tuple(elts=[first, second]) if isinstance(node.ctx, ast.Load):
            yield "two things swapped", ast.Tuple([second, first])
        case ast.comprehension(target=target, iter=over, ifs=ifs):
            if ifs:
                yield "a condition missing", ast.comprehension(target, over, [], 0)
            for part, name in _PARTS.items():
                yield name, ast.comprehension(target, _expression(f"list({ast.unparse(over)}){part}"), ifs, 0)
        case ast.Assign(targets=[ast.Name()], value=value):
            yield "written over", ast.AugAssign(ast.Name(node.targets[0].id), ast.Add(), value)  # type: ignore[attr-defined]
        case ast.For(target=target, iter=over, body=[*body, ast.Return() as end]) if body:
            loop = ast.For(target, over, body, [])
            yield "return inside of the loop", ast.If(_expression("True"), [loop, end], [])
        case ast.If(test=test, body=[*body, ast.Return() as end]) if body:
            inside = ast.If(test, body, [])
            yield "return inside of the if", ast.If(_expression("True"), [inside, end], [])
        case ast.For(target=target, iter=over, body=body):
            for part, name in _PARTS.items():
                yield name, ast.For(target, _expression(f"list({ast.unparse(over)}){part}"), body, [])
        case ast.If(test=test, body=body, orelse=orelse):
            yield from (("always or never", ast.If(_expression(value), body, orelse)) for value in ("True", "False"))
            yield "conditions", ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Expr() | ast.AugAssign():
            yield "a line missing", ast.Pass()
        case ast.Call():
            yield from _calls(node, text)


def _calls(node: ast.Call, text: str) -> Variants:
    """Yield other functions for the one that is called, other arguments, and the call left out."""
    of_a_module = isinstance(node.func, ast.Name) or text.startswith(("F.", "torch.", "np.", "math.", "scipy."))
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    kept = node.args if of_a_module else [node.func.value]  # type: ignore[attr-defined]
    yield from ((_STEPS.get(name, "a part missing"), part) for part in kept)
    for other in _OTHERS.get(name, ()):
        func = ast.Attribute(node.func.value, other) if isinstance(node.func, ast.Attribute) else ast.Name(other)
        kind = "largest and smallest confused" if {name, other} <= _EXTREMES else "another reduction"
        yield kind, ast.Call(func, node.args, node.keywords)
    rest = [keyword for keyword in node.keywords if keyword.arg not in ("dim", "axis", "keepdim")]
    if any(keyword.arg in ("dim", "axis") for keyword in node.keywords):
        yield "everything at once", ast.Call(node.func, node.args, rest)
    if len(node.args) == 2:
        yield "two things swapped", ast.Call(node.func, node.args[::-1], node.keywords)
    if len(node.args) > 1 or name in ("range", "topk"):
        for k, argument in enumerate(node.args):
            for step in ("- 1", "+ 1"):
                changed = [*node.args[:k], _expression(f"{ast.unparse(argument)} {step}"), *node.args[k + 1 :]]
                yield "off by one", ast.Call(node.func, changed, node.keywords)
