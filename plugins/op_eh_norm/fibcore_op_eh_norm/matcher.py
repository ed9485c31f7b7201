"""Finds the norms of a draft model's input in a model tree: calls on the weights of two norms."""

from __future__ import annotations

from fibcore.plugin import (
    Extraction,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Operation,
    ParameterRef,
    Serving,
    UndecidedError,
    decided,
    decided_size,
    fact,
)
from fibcore_op_eh_norm.names import FUNCTION, INPUTS, OP_TYPE, kernel_name

_LIBRARY = "sglang."


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The kernels of `tree`, each at the first of its norms; parallel sizes change nothing."""
    found = KernelCollector(lenient=("eps",))
    for call in tree.operations:
        if call.name == FUNCTION and call.function.startswith(_LIBRARY):
            try:
                _add(tree, call, found)
            except UndecidedError as why:
                found.problem(f"{FUNCTION} kernel", str(why), call)
    return found.finish()


def _add(tree: ModelTree, call: Operation, found: KernelCollector) -> None:
    names = (*INPUTS, "eps")
    given = {name: call.argument(at, name) for at, name in enumerate(names)}
    weights = [given[name] for name in INPUTS[2:]]
    sizes = [_size(weight) for weight in weights]
    if sizes[0] != sizes[1]:
        raise UndecidedError(f"its norms have {sizes[0]} and {sizes[1]} elements")
    eps = decided(given["eps"], "eps")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise UndecidedError(f"eps is {eps!r}, not a small number")
    first, second = (_norm(tree, weight) for weight in weights)
    hidden = sizes[0]
    kernel = Kernel(
        op_type=OP_TYPE,
        name=kernel_name(hidden),
        parameters={"hidden_size": int(hidden), "eps": float(eps)},
        facts={
            "hidden_size": fact(hidden, call, "elements of the weight of each norm"),
            "eh_size": fact(2 * hidden, call, "elements of both rows", hidden),
            "eps": fact(eps, call, "added to the mean square, below the root"),
        },
        uses=(),
        tags=("fused",),
    )
    found.add(kernel, first)
    found.claim(second)


def _size(weight: object) -> int:
    """Elements of a weight.

    Raises:
        UndecidedError: they are not known.
    """
    if not isinstance(weight, ParameterRef) or weight.shape is None or len(weight.shape) != 1:
        raise UndecidedError(f"the weight of a norm is {weight}")
    return decided_size(weight.shape[0], "the size of a norm")


def _norm(tree: ModelTree, weight: object) -> ModuleNode:
    """The module whose weight it is.

    Raises:
        UndecidedError: none is.
    """
    path = weight.path.rpartition(".")[0] if isinstance(weight, ParameterRef) else ""
    norm = tree.find(path) if path else None
    if norm is None:
        raise UndecidedError(f"no module has the weight {weight}")
    return norm
