"""Which of its parameters a reference reads, given the dtypes of a dump.

FlashInfer's templates declare inputs that are for the kernel alone: flags such as `return_lse`,
which the reference deletes or does not have, and scales that it reads for an fp8 cache only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping


def reads(function: ast.FunctionDef, dtypes: Mapping[str, str]) -> frozenset[str]:
    """The names that a function reads where its parameters have these dtypes.

    A branch on `x.dtype == torch.float16` is decided where x is a parameter that is bound nowhere
    else and its dtype is known; of any other branch both sides count.

    Args:
        function: The function.
        dtypes: Parameter to dtype, as far as they are known.
    """
    bound = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    known = {name: dtype for name, dtype in dtypes.items() if name not in bound}
    return frozenset(
        node.id
        for node in _live(function.body, known)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


def _live(body: Iterable[ast.AST], dtypes: Mapping[str, str]) -> Iterator[ast.AST]:
    """All nodes of a body but those of branches that are not taken."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        taken = _taken(node.test, dtypes) if isinstance(node, ast.If) else None
        if isinstance(node, ast.If) and taken is not None:
            waiting += [node.test, *(node.body if taken else node.orelse)]
        else:
            waiting += ast.iter_child_nodes(node)


def _taken(test: ast.expr, dtypes: Mapping[str, str]) -> bool | None:
    """Whether `x.dtype == torch.T` holds; None where the test is another or nobody knows."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    left, right, op = test.left, test.comparators[0], test.ops[0]
    if not isinstance(op, (ast.Eq, ast.NotEq)):
        return None
    if not (isinstance(left, ast.Attribute) and isinstance(right, ast.Attribute)):
        return None
    if not (isinstance(left.value, ast.Name) and isinstance(right.value, ast.Name)):
        return None
    if left.attr != "dtype" or right.value.id != "torch" or left.value.id not in dtypes:
        return None
    return (dtypes[left.value.id] == right.attr) == isinstance(op, ast.Eq)
