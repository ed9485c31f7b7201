"""Makes one emitted source out of real files: drops marked lines, puts in routing and constants.

A file below `references/`, with what it imports from a neighbour in place of the import, runs by
itself as the kernel with everything in it. A line that only
some kernels need ends in `# only: WORD`, one that they must not have in `# except: WORD`; the
words are those of the records, and what `Moe.words` has besides.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from importlib.resources import files

from fibcore import plugin
from fibcore.plugin import FibcoreError, joined, render
from fibcore_op_moe import activations, formats, routings
from fibcore_op_moe.kernel import Moe

MARKS = frozenset(
    {
        *(word for routing in routings.ROUTINGS for word in routing.words),
        *(word for activation in activations.ACTIVATIONS for word in activation.words),
        *(word for weights in formats.FORMATS for word in weights.words),
        *("activated", "biased", "unbiased", "remote_experts", "unused_bias"),
        *("groups", "two_best", "kept_groups"),
        *("channel_gated", "channel_ungated", "tensor_gated", "tensor_ungated"),
        *("expert_scales_gated", "expert_scales_ungated"),
    }
)


def source(folder: str, name: str) -> str:
    """Text of a file of this package: `source("references", "bf16.py")`."""
    return (files("fibcore_op_moe") / folder / name).read_text(encoding="utf-8")


def whole(name: str) -> str:
    """A reference with the functions that it shares with others: `whole("bf16")`."""
    return joined(files("fibcore_op_moe") / "references", f"{name}.py")


def select(text: str, words: Collection[str]) -> str:
    """`text` without the lines that `words` rule out, and without marks.

    Raises:
        FibcoreError: a mark has an unknown word.
    """
    return plugin.select(text, words, MARKS)


def function_text(text: str, name: str) -> tuple[int, int]:
    """First line (from 0) and line after the last of the top-level function `name`.

    Raises:
        FibcoreError: there is not exactly one.
    """
    found = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == name]
    if len(found) != 1 or found[0].end_lineno is None:
        raise FibcoreError(
            "a template needs one top-level function",
            expected=name,
            found=f"{len(found)} of them",
        )
    return found[0].lineno - 1, found[0].end_lineno


def swap_function(text: str, name: str, other: str) -> str:
    """`text` with its top-level function `name` replaced by that of `other`."""
    start, stop = function_text(text, name)
    other_start, other_stop = function_text(other, name)
    lines = text.splitlines()
    lines[start:stop] = other.splitlines()[other_start:other_stop]
    return "\n".join(lines) + "\n"


def add_function(text: str, before: str, other: str, name: str) -> str:
    """`text` with the top-level function `name` of `other` before its own function `before`."""
    start, _ = function_text(text, before)
    first, last = function_text(other, name)
    lines = text.splitlines()
    lines[start:start] = [*other.splitlines()[first:last], "", ""]
    return "\n".join(lines) + "\n"


def reference(moe: Moe, constants: Mapping[str, object]) -> str:
    """The reference of a kernel.

    Args:
        moe: The kernel.
        constants: Values of the constants at the top of the file.
    """
    words, text = moe.words, whole(moe.weights.reference or moe.weights.name)
    # A reference that has lines of its own for an activation needs no function for it.
    activated = re.search(rf"# only: {moe.activation.name}\b", text) is None
    text = select(text, words | {"activated"} if activated else words)
    if moe.routing.reference is not None:
        other = select(source("references", f"{moe.routing.reference}.py"), words)
        text = swap_function(text, "route", other)
    if text.count("first_of_largest(") == 1:  # a table chooses
        start, stop = function_text(text, "first_of_largest")
        lines = text.splitlines(keepends=True)
        text = "".join([*lines[:start], *lines[stop + 2 :]])
    if activated:
        other = source("references", "activations.py")
        text = add_function(text, "apply_experts", other, moe.activation.name)
        text = text.replace("activate(up, gate)", moe.activation.call)
    # The name of the function is where an emitted reference says which routing it has.
    return re.sub(r"\broute\(", f"{moe.routing.function}(", render(text, constants))
