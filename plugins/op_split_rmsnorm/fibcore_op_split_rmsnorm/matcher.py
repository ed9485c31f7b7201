"""Finds norms of queries and keys whose rows ranks share.

MiniMax-M2 normalises all heads of a token together, of which a rank has a part. One kernel adds up
the squares of its part, ranks add these up, and another kernel normalises (`rms_sumsq_serial` and
`rms_apply_serial` of SGLang). It is given the weights of the norms, which nothing calls.
"""

from __future__ import annotations

from typing import Any

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
    origins_of,
)
from fibcore_op_split_rmsnorm.names import FORMS, OP_TYPE, Form, Shape

_FUNCTION = "rms_apply_serial"


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The kernels of `tree`: the sums at the norm of queries, the norm itself at that of keys."""
    found = KernelCollector(lenient=("eps",))
    for call in tree.operations:
        if call.name == _FUNCTION:
            _match(call, tree, serving, found)
    return found.finish()


def _match(call: Operation, tree: ModelTree, serving: Serving, found: KernelCollector) -> None:
    """Add both kernels of a call, or say what is not known."""
    weights = (call.argument(2, "weight1"), call.argument(3, "weight2"))
    norms = [_owner(weight, tree) for weight in weights]
    known = [norm for norm in norms if norm is not None]
    if len(known) < len(norms):
        return
    try:
        q_size, k_size = (_size(weight) for weight in weights)
        ranks = decided_size(call.argument(5, "tp_world"), "the number of ranks")
        eps = decided(call.argument(6, "eps"), "eps")
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps < 1:
            raise UndecidedError(f"eps is {eps!r}, not a small number")
    except UndecidedError as why:
        found.problem("norm of rows that ranks share", str(why), known[0])
        return
    shape = Shape(q_size, k_size, ranks)
    for form, node in zip(FORMS, known, strict=True):
        found.add(_kernel(form, shape, eps, serving, node), node)


def _owner(value: Any, tree: ModelTree) -> ModuleNode | None:
    """The norm whose weight is given."""
    return tree.find(value.path.rpartition(".")[0]) if isinstance(value, ParameterRef) else None


def _size(weight: Any) -> int:
    if not isinstance(weight, ParameterRef) or weight.shape is None or len(weight.shape) != 1:
        raise UndecidedError(f"the size of {weight} is not known")
    return decided_size(weight.shape[0], f"the size of {weight.path}")


def _kernel(form: Form, shape: Shape, eps: float, serving: Serving, node: ModuleNode) -> Kernel:
    facts = {
        "q_size": fact(shape.q_size, node, "elements of a rank's queries"),
        "k_size": fact(shape.k_size, node, "elements of a rank's keys"),
        "num_rows": fact(2, node, "a sum of queries and a sum of keys"),
    }
    parameters: dict[str, int | float | str | bool] = {
        "form": form,
        "q_size": int(shape.q_size),
        "k_size": int(shape.k_size),
        "ranks": int(shape.ranks),
    }
    if form == "apply":
        parameters["eps"] = float(eps)
        facts["eps"] = fact(eps, node, "added to the mean square, below the root")
        facts["ranks"] = fact(shape.ranks, node, "ranks that share a row")
    ranks = serving.ranks(origins_of(shape.q_size))
    return Kernel(
        op_type=OP_TYPE,
        name=shape.name(form),
        parameters=parameters,
        facts=facts,
        uses=(),
        tags=(f"tp:{ranks}",),
    )
