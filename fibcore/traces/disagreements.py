"""Where a dump contradicts itself: its reference reads a tensor otherwise than it is declared.

FlashInfer takes each axis from the first tensor that has it and compares it with no other, so that
a KV cache in another layout than the template's gives, say, 128 KV heads to a model that has 8.
Only what the text shows is judged; nothing is run. Statements in a branch hold for some calls
alone, and are not judged.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from fibcore.traces.reading import TraceFile
from fibcore.traces.references import Reference


def disagreements(
    file: TraceFile, reference: Reference, mapping: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """(place, expected, found) of everything in which the reference and the dump disagree.

    Args:
        file: The dump.
        reference: Its reference.
        mapping: Input to the parameter that takes it.
    """
    inputs = {parameter: name for name, parameter in mapping.items()}
    rebound = {
        node.id
        for node in ast.walk(reference.function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in _unconditional(reference.function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            yield from _reading(file, node, {p: n for p, n in inputs.items() if p not in rebound})
        elif isinstance(node, ast.Assert):
            yield from _asserted(file, node)


def _unconditional(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without the sides of its branches."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.If, ast.IfExp)):
            waiting.append(node.test)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _reading(
    file: TraceFile, node: ast.Assign, inputs: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """`a, b = x.shape` and `a = x.shape[1]` against the declared shape of x."""
    target, value = node.targets[0], node.value
    index: int | None = None
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        index = value.slice.value if isinstance(value.slice.value, int) else None
        value = value.value
        if index is None:
            return
    if not (isinstance(value, ast.Attribute) and value.attr == "shape"):
        return
    if not (isinstance(value.value, ast.Name) and value.value.id in inputs):
        return
    name = inputs[value.value.id]
    shape = file.inputs[name].shape
    place = f"$.inputs.{name}.shape"
    line = f"the reference, line {node.lineno}"
    if shape is None:
        yield place, f"a tensor, as {line} reads it", "a scalar"
        return
    found = f"[{', '.join(shape)}]"
    if index is not None:
        if not -len(shape) <= index < len(shape):
            yield place, f"more than {index} dimensions, as {line} reads them", found
        elif isinstance(target, ast.Name):
            yield from _axis(file, place, target.id, shape[index], line)
    elif isinstance(target, ast.Tuple):
        if any(isinstance(element, ast.Starred) for element in target.elts):
            return
        if len(target.elts) != len(shape):
            yield place, f"{len(target.elts)} dimensions, as {line} reads them", found
            return
        for element, axis in zip(target.elts, shape, strict=True):
            if isinstance(element, ast.Name):
                yield from _axis(file, place, element.id, axis, line)


def _axis(
    file: TraceFile, place: str, read: str, axis: str, line: str
) -> Iterator[tuple[str, str, str]]:
    """A dimension that the reference calls `read` and the dump `axis`, of another size."""
    sizes = file.sizes
    if read != axis and read in sizes and axis in sizes and sizes[read] != sizes[axis]:
        yield place, f"{read} = {sizes[read]} there, as {line} reads it", f"{axis} = {sizes[axis]}"


def _asserted(file: TraceFile, node: ast.Assert) -> Iterator[tuple[str, str, str]]:
    """`assert num_kv_heads == 8` against the axis of that name."""
    test = node.test
    if not (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.left, ast.Name)
        and isinstance(test.comparators[0], ast.Constant)
    ):
        return
    size = file.sizes.get(test.left.id)
    value = test.comparators[0].value
    if size is not None and type(value) is int and value != size:
        yield (
            f"$.axes.{test.left.id}.value",
            f"{value}, as the reference, line {node.lineno}, asserts",
            str(size),
        )
