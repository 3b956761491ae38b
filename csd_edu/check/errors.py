"""What an error in a student's function means, in words of the subject, and the line that raised it."""

from __future__ import annotations

import dis
import os
import re
import sysconfig
import textwrap
import traceback
from pathlib import Path

import numpy as np
import torch

from csd_edu.check.answers import Problem

LONGEST = 400  # characters of an error's own text

_TABLE = r"""
    (Boolean|truth) value of (Tensor|an array).* ambiguous
        `and`, `or`, `not` and `if` want one True or False, and this is a whole row of them; so do Python's own max()
        and min(), for which there are .clamp_min(0), .clamp_max(1) and torch.maximum. Between masks and is &, or is |,
        not is ~, with each comparison in brackets: (a == 1) & (b != 1). Only .any() and .all() make one of many.
    `-` operator,.* bool|boolean subtract
        For masks there is no minus: "not" is ~mask, and "this, but not that" is this & ~that.
    bitwise_xor|type\(s\) for \^
        ^ is no power in Python, but an "exclusive or" of bits. A power is written **.
    "(bitwise_\w+|\w+and\w*|\w+or\w*)_cpu" not implemented for 'Float'|ufunc 'bitwise_
        & and | bind tighter than a comparison: put each comparison in brackets, (a == 1) & (b != 1).
    'NoneType' and '(float|int)'|'(float|int|Tensor)' and 'NoneType'|dtype of NoneType|must be real number, not NoneType
        A cell without a value is None: the task was not learnt yet. Leave such cells out before you compute or compare.
    unsupported operand .*return_types|'torch.return_types
        x.max(dim=…), .min(…), .sort(…) and .topk(…) return two things, values and indices: take one of them, .values or
        .indices. (x.amax(dim=…) has the values only.)
    builtin_function_or_method
        A pair of brackets is missing: x.mean is the function itself, x.mean() calls it.
    mat1 and mat2|inconsistent tensor size|matmul: .*mismatch|shapes \(.*\) not aligned|size mismatch
        A product A @ B needs as many columns in A as there are rows in B. To compare each row of A with each row of B,
        the second one is transposed: A @ B.T.
    size of tensor a .* must match|could not be broadcast
        Two shapes do not fit together. Print both. After a sum, a mean or a norm over the columns, keepdim=True keeps
        (N, 1), with which a matrix can be divided row by row.
    Dimension out of range|Dimension specified as|axis \d is out of bounds
        A tensor with one dimension has dim=0 only. Has an earlier line taken the mean or the sum already, or is it one
        row that was meant to be a matrix?
    list indices must be integers or slices, not tuple
        The matrix is a list of rows: matrix[i][j], and not matrix[i, j].
    list index out of range|index \d+ is out of bounds|index out of range|indices must be .* range
        Python counts from 0: the last of n has the index n − 1, or simply -1.
    tensors used as indices must be|arrays used as indices
        Indices are whole numbers or booleans: x.long() makes whole numbers of a tensor.
    elements? tensors? can(not)? be converted|elements cannot be converted|only length-1 arrays|(float|int)\(\) argument
        float(), int() and .item() take a single number, and here are several. A mean or a sum is missing before it, or
        use .tolist(); several tensors make one with torch.stack.
    list' and '|unsupported operand .*'(list|tuple|map|zip)'|multiply sequence
        Python does not compute with whole lists or tuples. Go through them with a loop or zip, or make an array first:
        np.array(…), torch.tensor(…).
    '(list|tuple|float|int)' object has no attribute
        This is a plain Python value and no tensor or array. torch.tensor(…) or np.array(…) makes one, and sum(…) / n
        works without.
    could not infer output dtype|Expected a floating point .* Got (Long|Bool)
        A mean or a norm needs numbers with a decimal point: x.float() first, also for a mask.
    Can't call numpy\(\)
        A loss must stay in PyTorch: NumPy knows no gradient. Most functions of NumPy are there under the same name.
    requires? grad.*in-place|modified by an inplace|leaf Variable that requires grad
        Something that the gradient still needs is overwritten in place. Make a new tensor instead, for instance by
        masked_fill (without _) or torch.where.
    list\.remove\(x\)|is not in list
        remove and index want a value that is in the list: remove(v) takes out the first that equals v, wherever it
        stands. What stands at place i is taken out by pop(i).
    division by zero|Division
        Something is divided by a number that can be 0: the mean of nothing, or an empty list.
    non-empty|empty sequence|zero-size|Expected reduction dim
        The largest, the mean or a stack of nothing was asked for: an anchor may have no positive, a task no value.
        Leave it out, or give it a value of its own.
    object is not subscriptable|too many indices|mask .* does not match|invalid index
        There are more indices than dimensions, or a mask of another length. Print the shape of what you index.
    values to unpack|cannot unpack
        The names on the left of = are not as many as the values on the right. How many does the right side return?
    invalid combination of arguments|must be (Tensor|tuple of Tensors|int), not|only 0-dimensional|bad operand type
        One of the things handed over is of another kind than the function wants, such as a number or a list for a
        tensor. Print the type of each.
    missing \d+ required positional
        Something that the function needs is not handed over. For a sum, a mean or a softmax of rows: dim=1.
    index k out of range
        More answers are asked for than there are items.
    only supports boolean masks
        masked_fill and torch.where want a mask of booleans, such as a == b, and not numbers: mask.bool().
    got Long|!= (long|int)|got .*int64|and Long
        One side holds whole numbers, the other one numbers with a decimal point. x.float() makes the latter; or are
        these the numbers of classes, where a matrix with a row for each is wanted?
    same dtype|expected .* dtype|Float.*Double|Double.*Float
        One side is float32 and the other one float64: bring both to the same with .float() or .double().
    'Tensor' object is not callable
        A tensor is called like a function. Is it an index, with square brackets, or is there a bracket too much?
    name '(torch|F|np|math|csd|stats|contextlib)' is not defined
        The import is missing: run the first cell of the notebook once more.
    name '\w+' is not defined|referenced before assignment|cannot access local variable
        This name has no value when the line runs. Is it misspelt, made in another cell that has not run, or only made
        inside of an `if` or a loop?
    maximum recursion
        The function calls itself without an end. Has the loss, or the helper, the same name as your function?
    """

_MEANINGS = [
    (re.compile(pattern), " ".join(words.split()))
    for pattern, words in (entry.split("\n", 1) for entry in re.split(r"\n(?=\S)", textwrap.dedent(_TABLE).strip()))
]

_NOT_THEIRS = (
    str(Path(__file__).parent.parent) + os.sep,
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(torch.__file__).parent),
    str(Path(np.__file__).parent),
    "<frozen",
    "<__array_function__",
)


def raised(error: BaseException, first_hint: str) -> Problem:
    """Return what a student is told about an error: that nothing is written yet, or what usually causes it."""
    where = their_line(error)
    if isinstance(error, NotImplementedError) and _is_a_stub(error):
        message = (
            f"Your function is not written yet: it still raises NotImplementedError.{where}\n"
            f"Replace that line with your own. A first hint: {first_hint}"
        )
        return Problem("still to be written", message)
    text = " ".join(str(error).split())
    meaning = next((f"\n{words}" for pattern, words in _MEANINGS if pattern.search(text)), "")
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    kind = "PyTorch" if isinstance(error, NotImplementedError) else type(error).__name__  # nothing is missing there
    return Problem("error", f"Your function stopped with an error: {kind}{': ' * bool(text)}{text}{where}{meaning}")


def their_line(error: BaseException) -> str:
    """Return the innermost line of the student's own code in a traceback, on a line of its own, or nothing."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THEIRS)
    ]
    if not frames:
        return ""
    line = f": {frames[-1].line}" if frames[-1].line else ""
    return f"\nLine {frames[-1].lineno}, in {frames[-1].name}{line}"


def _is_a_stub(error: BaseException) -> bool:
    """Return whether a `raise` of the student's raised an error, and not PyTorch, which has this one for masks too."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    return not code.co_filename.startswith(_NOT_THEIRS) and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
