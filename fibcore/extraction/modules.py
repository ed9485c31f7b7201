"""What is known of single modules of a tree, for those who write matchers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.errors import UsageError, nearest
from fibcore.model.json import to_data
from fibcore.model.tree import (
    Alternatives,
    Call,
    Condition,
    ModelTree,
    ModuleNode,
    ModuleRef,
    Named,
    Operation,
    ParameterRef,
    Quantization,
    TensorRef,
    Unknown,
)

LONGEST = 120  # of a value; longer ones are cut


@attrs.frozen
class ModuleDetails:
    """What is known of a module. Values are text, as a person reads them.

    Attributes:
        path: Path in the model.
        cls: Qualified class name.
        bases: Qualified names of all its base classes, nearest first.
        place: File and line that construct it.
        class_place: File and line of the class; empty where it is not known.
        leaf: Whether it is a building block that elaboration does not descend into.
        idle: Whether it is known never to be called.
        quantization: How its weights are quantised; empty where they are not.
        arguments: Constructor arguments by name, defaults filled in.
        attributes: What was assigned to it.
        calls: How the forward pass calls it.
        kernel_calls: Calls of functions in its forward pass that are no module.
        children: Name and class of each submodule.
    """

    path: str
    cls: str
    bases: tuple[str, ...]
    place: str
    class_place: str
    leaf: bool
    idle: bool
    quantization: str
    arguments: Mapping[str, str]
    attributes: Mapping[str, str]
    calls: tuple[str, ...]
    kernel_calls: tuple[str, ...]
    children: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(to_data(self))


def details(tree: ModelTree, pattern: str) -> tuple[ModuleDetails, ...]:
    """The modules at a path.

    Args:
        tree: The model.
        pattern: A path, or one in which `*` stands for any text; "" is the model itself.

    Raises:
        UsageError: no module has such a path.
    """
    if (one := tree.find(pattern)) is not None:
        found = [one]
    else:
        every = {node.path: node for node in (*tree.walk(), *tree.parts.values())}
        found = [node for path, node in every.items() if fnmatch.fnmatchcase(path, pattern)]
        if not found:
            raise UsageError(
                "no module of the model has this path",
                where=f"--tree {pattern}",
                expected=", ".join(nearest(pattern, every)),
                hint="fibcore models NAME lists the modules; * stands for any text",
            )
    operations = (*tree.operations, *tree.kernel_calls)
    return tuple(_details(node, operations) for node in found)


def _details(node: ModuleNode, operations: Iterable[Operation]) -> ModuleDetails:
    return ModuleDetails(
        path=node.path,
        cls=node.cls,
        bases=tuple(node.bases),
        place=str(node.place),
        class_place=str(node.class_place or ""),
        leaf=node.leaf,
        idle=node.idle,
        quantization="" if node.quantization is None else shown(node.quantization),
        arguments={name: shown(value) for name, value in node.arguments.items()},
        attributes={name: shown(value) for name, value in node.attributes.items()},
        calls=tuple(_call(call) for call in node.calls),
        kernel_calls=tuple(_operation(one) for one in operations if one.module == node.path),
        children={name: child.cls for name, child in node.children.items()},
    )


def _call(call: Call) -> str:
    return f"{call.method}({_given(call)})  {call.place}"


def _operation(one: Operation) -> str:
    maybe = "".join(f"  if {condition}" for condition in one.conditions)
    stage = f"  in {one.stage} alone" if one.stage else ""
    return f"{one.function}({_given(one)}){stage}{maybe}  {one.place}"


def _given(call: Call | Operation) -> str:
    named = (f"{name}={shown(value)}" for name, value in call.kwargs.items())
    return ", ".join((*map(shown, call.args), *named))


def shown(value: Any) -> str:
    """A value of a tree in short: sizes and dtype of tensors, names, reasons of what is unknown."""
    text = _shown(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _shown(value: Any) -> str:
    if isinstance(value, Unknown):
        return f"unknown ({value.reason})"
    if isinstance(value, Alternatives):
        return " or ".join(shown(one) for one in value.values)
    if isinstance(value, ModuleRef):
        return f"<module {value.path}>"
    if isinstance(value, (ParameterRef, TensorRef)):
        sizes = "?" if value.shape is None else ", ".join(map(_size, value.shape))
        of = f"parameter {value.path}" if isinstance(value, ParameterRef) else "tensor"
        return f"<{of} [{sizes}] {value.dtype or '?'}>"
    if isinstance(value, Named):
        return value.name
    if isinstance(value, Condition):
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {shown(v)}' for k, v in value.items())}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Quantization):
        return _format(value)
    return repr(value)


def _format(value: Quantization) -> str:
    """What is set of a quantisation: its method, and fields that differ from the usual."""
    fields = attrs.asdict(value, filter=lambda field, v: v != field.default)
    method = fields.pop("method")
    return ", ".join((f"{method} weights", *(f"{k} {v}" for k, v in fields.items())))


def _size(value: Any) -> str:
    return "?" if isinstance(value, Unknown) else shown(value)
