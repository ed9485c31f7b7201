"""What a model runs and no installed plugin accounts for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fibcore.model.kernel import Use, use
from fibcore.model.tree import (
    Alternatives,
    ModelTree,
    ModuleNode,
    ModuleRef,
    Named,
    OriginFloat,
    OriginInt,
    OriginStr,
    ParameterRef,
    Unknown,
)

_LAYERS, _MODELS = "sglang.", "sglang.srt.models."
_TORCH = "torch."
# What only holds other modules.
_CONTAINERS = frozenset({"Module", "ModuleList", "ModuleDict", "Sequential", "ParameterList"})
# Tensors that are objects of classes of their own.
_TENSORS = ("torch.nn.parameter.", "torch.nn.Buffer", "torch.nn.Parameter")


def unclaimed(tree: ModelTree, claimed: Collection[str]) -> tuple[Use, ...]:
    """The modules and the calls of kernels that no plugin claims.

    Args:
        tree: The elaborated model.
        claimed: Paths of the modules that plugins account for, and keys of the calls.
    """
    return (*unclaimed_modules(tree, claimed), *unclaimed_calls(tree, claimed))


def unclaimed_modules(tree: ModelTree, claimed: Collection[str]) -> tuple[Use, ...]:
    """The modules that compute something of their own and that no plugin claims, in tree order.

    That is every leaf, every layer of SGLang that elaboration went into (a Mamba mixer, whose
    state-space scan is no module), and every module of a model's own, or of another package, that
    computes with a parameter which it hands to no leaf and no claimed module (a short convolution).
    """
    handed = _handed(tree, claimed)
    return tuple(
        use(node)
        for node in tree.walk()
        if node.path not in claimed
        and not node.cls.startswith(_TENSORS)
        and (node.leaf or _computes(node, handed))
    )


def unclaimed_calls(tree: ModelTree, claimed: Collection[str]) -> tuple[Use, ...]:
    """The calls of kernels beside a module's own that no plugin claims, in tree order.

    Who accounts for a layer of experts accounts for its products as well.
    """
    calls = {
        call.key: use(call) for call in tree.kernel_calls if call.beside and call.key not in claimed
    }
    return tuple(calls.values())


def _computes(node: ModuleNode, handed: Collection[str]) -> bool:
    """Whether a module that is no leaf computes something itself, as far as its form tells."""
    if not node.path or node.class_name in _CONTAINERS:
        return False
    if node.cls.startswith(_TORCH):
        return True
    if node.cls.startswith(_LAYERS) and not node.cls.startswith(_MODELS):
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
            _add_parameters(node.arguments.values(), found)
            for call in node.calls:
                _add_parameters(call.args, found)
                _add_parameters(call.kwargs.values(), found)
    return found


_SCALARS = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        str,
        OriginInt,
        OriginFloat,
        OriginStr,
        Unknown,
        ModuleRef,
        Named,
    }
)


def _add_parameters(values: Iterable[Any], found: set[str]) -> None:
    """Add the paths of the parameters among values and in the containers among them."""
    for value in values:
        if type(value) in _SCALARS:
            continue
        if isinstance(value, ParameterRef):
            found.add(value.path)
        elif isinstance(value, (list, tuple)):
            _add_parameters(value, found)
        elif isinstance(value, Alternatives):
            _add_parameters(value.values, found)
        elif isinstance(value, Mapping):
            _add_parameters(value.values(), found)
