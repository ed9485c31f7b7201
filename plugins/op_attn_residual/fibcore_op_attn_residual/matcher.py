"""Finds attention residuals in a model tree: products of a norm's weight and a projection's.

SGLang (`srt/layers/attn_residual.py`) scores rows by a norm and a projection to one number, whose
weights it multiplies once. So neither is called; the kernel runs where the projection is. Which
rows there are follows from the layers before.
"""

from __future__ import annotations

from collections.abc import Iterable

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
from fibcore_op_attn_residual.names import FUSED, OP_TYPE, kernel_name

_FILE = "srt/layers/attn_residual.py"
_KEPT = "prev_valid_blocks"


def extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    """The attention residuals of `tree`, each at its projection; all ranks run the same."""
    found = KernelCollector(lenient=("eps",))
    calls = [call for call in tree.operations if _is_weight(call)]
    kept = _kept(tree, calls)
    others = {call.name for call in tree.operations if call.name in FUSED}
    done: set[str] = set()
    for call in calls:
        try:
            norm, projection = (_owner(tree, value) for value in call.args)
            if projection.path in done:
                continue
            done.add(projection.path)
            if others:
                what = f"attention residual by {', '.join(sorted(others))}"
                reason = "one kernel computes it together with the layer's norm"
                found.not_covered(what, reason, projection)
            else:
                found.add(_kernel(call, norm, projection, kept), projection)
            found.claim(norm)
        except UndecidedError as why:
            found.problem("attention residual", str(why), call)
    return found.finish()


def _is_weight(call: Operation) -> bool:
    """Whether a call multiplies the two weights."""
    return (
        call.function == "torch.mul"
        and len(call.args) == 2
        and all(isinstance(value, ParameterRef) for value in call.args)
        and call.place.file.endswith(_FILE)
    )


def _owner(tree: ModelTree, weight: ParameterRef) -> ModuleNode:
    node = tree.find(weight.path.rpartition(".")[0])
    if node is None:
        raise UndecidedError(f"no module has the weight {weight}")
    return node


def _kept(tree: ModelTree, calls: Iterable[Operation]) -> int | None:
    """How many residual streams a layer finds kept, in the mean; None where none says it."""
    owners = {call.module: tree.node_of(call) for call in calls}
    numbers = [node.attributes.get(_KEPT) for node in owners.values() if node is not None]
    known = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool)]
    return max(1, round(sum(known) / len(known))) if known else None


def _kernel(call: Operation, norm: ModuleNode, projection: ModuleNode, kept: int | None) -> Kernel:
    """The kernel of one aggregation.

    Raises:
        UndecidedError: a size or the epsilon is not known, or the weights are of other rows.
    """
    sizes = {_size(value) for value in call.args}
    if len(sizes) != 1:
        raise UndecidedError(f"its weights have {' and '.join(map(str, sorted(sizes)))} elements")
    hidden = decided_size(norm.argument("hidden_size"), "hidden_size")
    if int(hidden) not in sizes:
        raise UndecidedError(f"a norm of {hidden} elements has a weight of {sizes.pop()}")
    eps = decided(norm.argument("eps"), "eps")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise UndecidedError(f"eps is {eps!r}, not a small number")
    facts = {
        "hidden_size": fact(hidden, norm, "elements of a row"),
        "eps": fact(eps, norm, "added to the mean square, below the root"),
    }
    if kept is not None:  # no const axis; workloads and steps read it
        facts["num_blocks"] = fact(kept, projection, "streams that are kept before a layer, mean")
    return Kernel(
        op_type=OP_TYPE,
        name=kernel_name(hidden),
        parameters={name: one.value for name, one in facts.items()},
        facts=facts,
        uses=(),
    )


def _size(weight: ParameterRef) -> int:
    shape = [size for size in weight.shape or () if size != 1]
    if len(shape) != 1:
        raise UndecidedError(f"a weight is {weight}")
    return int(decided_size(shape[0], "the size of a weight"))
