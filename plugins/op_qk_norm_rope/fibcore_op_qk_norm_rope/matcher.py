"""Finds norms of queries and keys that one kernel computes together with the rotary embedding.

Qwen3.5's layers give the weights of both norms and the table to a function, and call neither the
norms nor the rotary embedding (`fused_qk_gemma_rmsnorm_rope_gate` of SGLang). MiniMax-M3's do so
with a row of queries, keys and values (`minimax_qknorm_rope`).
"""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
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
from fibcore_op_qk_norm_rope.names import AXES, OP_TYPE, Shape

_GATED, _MINIMAX = "fused_qk_gemma_rmsnorm_rope_gate", "minimax_qknorm_rope"
_ROTARY = "sglang.srt.layers.rotary_embedding."
# A class of rotary embeddings that takes several positions of a token, and its arguments.
_SECTIONS = "mrope_section"


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The kernels of `tree`, with the norm of queries of every layer that runs each.

    Heads are variable, so tensor parallelism changes nothing.
    """
    found = KernelCollector(lenient=("eps",))
    for call in tree.operations:
        if call.name in _WEIGHTS:
            _match(call, tree, found)
    return found.finish()


def _match(call: Operation, tree: ModelTree, found: KernelCollector) -> None:
    """Add the kernel of a call, or say what is not known."""
    norms = [_owner(call.argument(place, name), tree) for place, name in _WEIGHTS[call.name]]
    node = norms[0] or tree.find(call.module)
    if node is None or (call.name == _MINIMAX and node.calls):
        return  # a norm that is called, too, is a kernel by itself
    try:
        rotary = _rotary(tree, call.module)
        shape = _shape(call, rotary)
        eps = decided(call.argument(_EPS[call.name], "eps"), "eps")
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 <= eps < 1:
            raise UndecidedError(f"eps is {eps!r}, not a small number")
    except UndecidedError as why:
        found.problem("norm and rotary embedding of queries and keys", str(why), node)
        return
    found.add(_kernel(shape, eps, node), node)
    for other in (*norms[1:], rotary):
        if other is not None:
            found.claim(other)


_WEIGHTS = {
    _GATED: ((2, "q_weight"), (3, "k_weight")),
    _MINIMAX: ((1, "q_weight"), (2, "k_weight")),
}
_EPS = {_GATED: 6, _MINIMAX: 8}


def _owner(value: Any, tree: ModelTree) -> ModuleNode | None:
    """The norm whose weight is given."""
    return tree.find(value.path.rpartition(".")[0]) if isinstance(value, ParameterRef) else None


def _rotary(tree: ModelTree, path: str) -> ModuleNode:
    holder = tree.find(path)
    children = () if holder is None else tuple(holder.children.values())
    found = [child for child in children if child.cls.startswith(_ROTARY)]
    if len(found) != 1:
        raise UndecidedError(f"{len(found)} rotary embeddings stand beside the call")
    return found[0]


def _shape(call: Operation, rotary: ModuleNode) -> Shape:
    """What the call and the rotary embedding say.

    Raises:
        UndecidedError: something is not known, or does not fit.
    """
    gated: Any = False
    if call.name == _MINIMAX:
        # A head is as long as the norm's weight; what is turned is the rotary embedding's.
        weight = call.argument(1, "q_weight")
        shape = weight.shape if isinstance(weight, ParameterRef) else None
        head = decided_size(shape[0] if shape else None, "the size of the norm's weight")
        turned = decided_size(rotary.argument("rotary_dim"), "rotary_dim")
    else:
        head, turned = (
            decided_size(call.argument(place, name), name)
            for place, name in ((9, "head_dim"), (10, "rotary_dim"))
        )
        gated = decided(call.argument(11, "has_gate"), "has_gate")
    if turned > head or turned % 2:
        raise UndecidedError(f"{turned} elements of a head of {head} cannot be turned")
    # Positions of a model that has pictures have three rows, whatever a request holds.
    sections = decided(rotary.argument(_SECTIONS, None), _SECTIONS) is not None
    return Shape(head, turned, gated is not False, sections)


def _facts(shape: Shape, eps: float, node: ModuleNode) -> dict[str, Fact]:
    """A fact for each const axis, and for epsilon."""
    head = fact(shape.head_size, node, "elements of a head")
    turned = fact(shape.rotary_dim, node, "elements of a head that are turned")
    found = {
        "head_size": head,
        "rotary_dim": turned,
        "eps": fact(eps, node, "added to the mean square, below the root"),
    }
    if shape.gated:
        size, note = 2 * int(shape.head_size), "elements of a query head and its gate"
        found["gated_size"] = attrs.evolve(head, value=size, note=note)
    if shape.sections:
        pairs = int(shape.rotary_dim) // 2
        found["num_pairs"] = attrs.evolve(turned, value=pairs, note="pairs that are turned")
        found["num_positions"] = fact(AXES, node, "positions of a token: time, height, width")
    return found


def _kernel(shape: Shape, eps: float, node: ModuleNode) -> Kernel:
    return Kernel(
        op_type=OP_TYPE,
        name=shape.name,
        parameters={
            "head_size": int(shape.head_size),
            "rotary_dim": int(shape.rotary_dim),
            "gated": shape.gated,
            "sections": shape.sections,
            "eps": float(eps),
        },
        facts=_facts(shape, eps, node),
        uses=(),
    )
