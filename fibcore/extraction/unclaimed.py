"""What a model runs and no installed plugin accounts for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fibcore.model.kernel import Use, use
from fibcore.model.tree import Alternatives, ModelTree, ModuleNode, ParameterRef

_MODELS = "sglang.srt.models."
# What only holds other modules.
_CONTAINERS = frozenset({"ModuleList", "ModuleDict", "Sequential", "ParameterList"})


def unclaimed(tree: ModelTree, claimed: Collection[str]) -> tuple[Use, ...]:
    """The modules that compute something of their own and that no plugin claims, in tree order.

    That is every leaf, every layer of SGLang that elaboration went into (a Mamba mixer, whose
    state-space scan is no module), and every module of a model's own that computes with a parameter
    which it hands to no leaf and no claimed module (a short convolution).

    Args:
        tree: The elaborated model.
        claimed: Paths of the modules that plugins account for.
    """
    handed = _handed(tree, claimed)
    return tuple(
        use(node)
        for node in tree.walk()
        if node.path not in claimed and (node.leaf or _computes(node, handed))
    )


def _computes(node: ModuleNode, handed: Collection[str]) -> bool:
    """Whether a module that is no leaf computes something itself, as far as its form tells."""
    if not node.path or node.class_name in _CONTAINERS:
        return False
    if not node.cls.startswith(_MODELS):
        return True
    return any(
        isinstance(value, ParameterRef)
        and value.path.rpartition(".")[0] == node.path
        and value.path not in handed
        for value in node.attributes.values()
    )


def _handed(tree: ModelTree, claimed: Collection[str]) -> set[str]:
    """Paths of the parameters that leaves and claimed modules get, when made or when called."""
    found: set[str] = set()
    for node in tree.walk():
        if node.leaf or node.path in claimed:
            found.update(_parameters(node.arguments))
            for call in node.calls:
                found.update(_parameters(call.args))
                found.update(_parameters(call.kwargs))
    return found


def _parameters(value: Any) -> Iterator[str]:
    if isinstance(value, ParameterRef):
        yield value.path
    elif isinstance(value, Alternatives):
        yield from _parameters(value.values)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _parameters(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _parameters(one)
