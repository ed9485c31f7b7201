"""Right and wrong implementations, made of a definition's reference."""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.model.definition import Definition
from fibcore.ops.hookspecs import Implementation


def rewritten(
    definition: Definition, name: str, *texts: str, right: bool = False
) -> tuple[Implementation, ...]:
    """The reference with other texts in the place of some of its own.

    Args:
        definition: The definition.
        name: Of the implementation.
        *texts: Text of the reference and text in its place, in turns.
        right: Whether it still computes the definition.

    Returns:
        The implementation alone; none where the reference lacks one of the texts, because others
        wrote it.
    """
    source = definition.reference
    for have, wanted in zip(texts[::2], texts[1::2], strict=True):
        if have not in source:
            return ()
        source = source.replace(have, wanted)
    return (Implementation(name, right, source),)


def wrapped(
    definition: Definition,
    name: str,
    *,
    right: bool = False,
    helpers: str = "",
    result: str = "result",
    inputs: Mapping[str, str] | None = None,
    **more: str,
) -> tuple[Implementation, ...]:
    """The reference, called with other inputs, or with something done to its result.

    Args:
        definition: The definition.
        name: Of the implementation.
        right: Whether it still computes the definition.
        helpers: Functions that the expressions use, at the top level; torch is there.
        result: What it returns, an expression of the reference's `result` and the inputs.
        inputs: What the reference is given in place of an input, an expression of the inputs.
        **more: More of them.

    Returns:
        The implementation alone; none where the definition lacks one of the inputs.
    """
    changed = {**(inputs or {}), **more}
    if not changed.keys() <= definition.inputs.keys():
        return ()
    parameters = ", ".join(definition.inputs)
    given = ", ".join(changed.get(name, name) for name in definition.inputs)
    parts = [
        definition.reference.rstrip(),
        "import torch\n\nreference = run",
        *([helpers.strip()] if helpers else []),
        f"def run({parameters}):\n    result = reference({given})\n    return {result}\n",
    ]
    return (Implementation(name, right, "\n\n\n".join(parts)),)
