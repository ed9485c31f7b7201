"""Small model trees for the tests of plugins, written down instead of elaborated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fibcore.model.tree import (
    Call,
    Followed,
    Later,
    ModelTree,
    ModuleNode,
    Operation,
    SourcePlace,
    Unknown,
)

PLACE = SourcePlace("sglang/srt/models/example.py", 1)
TENSOR = Unknown.tensor("tensor of the forward pass")


def call(*args: Any, method: str = "forward", **kwargs: Any) -> Call:
    """A call of a module in the forward pass; use `TENSOR` for tensors."""
    return Call(method, args, kwargs, PLACE)


def module(
    path: str,
    cls: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    bases: tuple[str, ...] = (),
    attributes: Mapping[str, Any] | None = None,
    leaf: bool | None = None,
    quantization: Any = None,
    calls: Iterable[Call] = (),
    children: Iterable[ModuleNode] = (),
    place: SourcePlace = PLACE,
) -> ModuleNode:
    """A module; a leaf unless it has children, which are named by the rest of their path."""
    nodes = tuple(children)
    return ModuleNode(
        path=path,
        cls=cls,
        bases=bases,
        arguments=dict(arguments or {}),
        attributes=dict(attributes or {}),
        place=place,
        class_place=None,
        leaf=not nodes if leaf is None else leaf,
        quantization=quantization,
        calls=tuple(calls),
        children={n.path[len(path) + 1 if path else 0 :]: n for n in nodes},
    )


def tree(
    *modules: ModuleNode,
    architecture: str = "ExampleForCausalLM",
    model: str = "example",
    operations: Iterable[Operation] = (),
    kernel_calls: Iterable[Operation] = (),
    parts: Iterable[ModuleNode] = (),
) -> ModelTree:
    """A tree whose root holds `modules` (flat: their paths are their names).

    Args:
        modules: The modules.
        architecture: The model's class.
        model: The model's name.
        operations: Tensor operations on parameters.
        kernel_calls: Calls of kernels that are no module.
        parts: What the server runs beside the model, as the sampler.
    """
    root = module("", f"sglang.srt.models.example.{architecture}", children=modules, leaf=False)
    beside = Followed(tuple(kernel_calls), {part.path: part for part in parts})
    return ModelTree(
        model, architecture, root, operations=tuple(operations), followed=Later.known(beside)
    )


def operation(
    function: str,
    *args: Any,
    module: str = "",
    callers: tuple[str, ...] = (),
    possible: bool = False,
    beside: bool = True,
    **kwargs: Any,
) -> Operation:
    """A call of a kernel; use `TensorRef` for tensors whose sizes are known, else `TENSOR`."""
    return Operation(
        function, module, args, kwargs, PLACE, callers=callers, possible=possible, beside=beside
    )
