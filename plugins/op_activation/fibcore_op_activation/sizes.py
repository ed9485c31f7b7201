"""How wide the rows are that an activation gets: read from the linear layers about it.

An activation is told no size. What it gets is the output of one linear layer, and what it gives
is the input of another, both held by the module that holds it. The classes are those of
`sglang/srt/layers/linear.py` and torch; what a rank has of them follows their `__init__`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.plugin import Alternatives, ModelTree, ModuleNode, Serving, Unknown, with_origins

_LINEAR = "sglang.srt.layers.linear."
_TORCH_LINEAR = ("torch.nn.Linear", "torch.nn.modules.linear.Linear")
_SEQUENTIAL = ("torch.nn.Sequential", "torch.nn.modules.container.Sequential")


class UndecidedError(Exception):
    """The size does not follow from what is known."""


class NoLinearError(Exception):
    """No linear layer is beside the activation: what it gets is another operation's."""


@attrs.frozen
class Width:
    """Elements of a row, on one rank.

    Attributes:
        value: How many.
        note: How that follows.
        sources: The values that it came from.
        sharded: Whether tensor parallelism splits the row.
    """

    value: int
    note: str
    sources: tuple[object, ...]
    sharded: bool


@attrs.frozen
class _Linear:
    """A linear layer: what it takes and gives on a rank, and where it is called."""

    node: ModuleNode
    takes: Width
    gives: Width

    def lines(self) -> set[tuple[str, int]]:
        return {(call.place.file, call.place.line) for call in self.node.calls}


def row_width(tree: ModelTree, node: ModuleNode, serving: Serving, *, gated: bool) -> Width:
    """The width of the rows that an activation gets.

    Args:
        tree: The model.
        node: The activation.
        serving: How the model is served.
        gated: Whether it gives rows half as wide as it gets.

    Raises:
        NoLinearError: no linear layer is beside it.
        UndecidedError: they do not fit, several disagree, or a size is not known.
    """
    holder = tree.parent(node.path)
    if holder is None:
        raise UndecidedError("no module holds it")
    beside = list(holder.children.values())
    linears = {n.path: found for n in beside if (found := _linear(n, serving)) is not None}
    if not linears:
        raise NoLinearError
    if holder.cls in _SEQUENTIAL:
        at = next(i for i, n in enumerate(beside) if n.path == node.path)
        before = [linears[n.path] for n in beside[:at] if n.path in linears][-1:]
        after = [linears[n.path] for n in beside[at:] if n.path in linears][:1]
    else:
        before = after = list(linears.values())
    pairs = [(p, c) for p in before for c in after if p is not c and _fits(p, c, gated=gated)]
    if _several(pairs):
        pairs = [pair for pair in pairs if _in_order(*pair, node)] or pairs
    if _several(pairs):  # on one line: a layer is split over ranks along its outputs, then inputs
        pairs = [(p, c) for p, c in pairs if p.gives.sharded and not p.takes.sharded] or pairs
    if not pairs:
        raise UndecidedError(_why(linears.values(), gated=gated))
    if _several(pairs):
        sizes = ", ".join(sorted({str(p.gives.value) for p, _ in pairs}))
        raise UndecidedError(f"the linear layers about it do not tell which of {sizes} it gets")
    return pairs[0][0].gives


def _fits(producer: _Linear, consumer: _Linear, *, gated: bool) -> bool:
    return producer.gives.value == (1 + gated) * consumer.takes.value


def _several(pairs: Iterable[tuple[_Linear, _Linear]]) -> bool:
    return len({(p.gives.value, p.gives.sharded) for p, _ in pairs}) > 1


def _in_order(producer: _Linear, consumer: _Linear, node: ModuleNode) -> bool:
    """Whether the source calls the producer, the activation and the consumer in this order."""
    places = {(call.place.file, call.place.line) for call in node.calls}
    return any(
        before[0] == here[0] == after[0] and before[1] <= here[1] <= after[1]
        for before in producer.lines()
        for here in places
        for after in consumer.lines()
    )


def _why(linears: Iterable[_Linear], *, gated: bool) -> str:
    sizes = ", ".join(f"{one.takes.value} to {one.gives.value}" for one in linears)
    what = "twice what another takes" if gated else "what another takes"
    return f"of the linear layers beside it ({sizes}) none gives {what}"


# --- linear layers -------------------------------------------------------------------------------


def _linear(node: ModuleNode, serving: Serving) -> _Linear | None:
    """A linear layer's sizes; None for another module.

    Raises:
        UndecidedError: a size is not known, or the ranks do not divide it.
    """
    if node.is_a(*_TORCH_LINEAR):
        return _Linear(node, _width(node, "in_features"), _width(node, "out_features"))
    if node.is_a(_LINEAR + "ReplicatedLinear"):
        return _Linear(node, _width(node, "input_size"), _width(node, "output_size"))
    if node.is_a(_LINEAR + "QKVParallelLinear"):
        return None  # its output goes to attention
    if node.is_a(_LINEAR + "MergedColumnParallelLinear"):
        return _Linear(node, _width(node, "input_size"), _merged(node, _ranks(node, serving)))
    if node.is_a(_LINEAR + "ColumnParallelLinear"):
        gives = _split(_width(node, "output_size"), _ranks(node, serving))
        return _Linear(node, _width(node, "input_size"), gives)
    if node.is_a(_LINEAR + "RowParallelLinear"):
        takes = _split(_width(node, "input_size"), _ranks(node, serving))
        return _Linear(node, takes, _width(node, "output_size"))
    return None


def _width(node: ModuleNode, name: str) -> Width:
    value = _positive(node, name)
    return Width(int(value), f"{name} of {_last(node)}", (value,), sharded=False)


def _merged(node: ModuleNode, ranks: int) -> Width:
    sizes = _known(node, "output_sizes", None)
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise UndecidedError(f"output_sizes of {_last(node)} is {sizes!r}, not a list of sizes")
    parts = [_split(_sized(node, "output_sizes", value), ranks) for value in sizes]
    listed = " + ".join(str(int(value)) for value in sizes)
    return Width(
        sum(part.value for part in parts),
        f"output_sizes of {_last(node)}: ({listed}) / tp",
        (*sizes, ranks),
        sharded=True,
    )


def _split(whole: Width, ranks: int) -> Width:
    if whole.value % ranks:
        raise UndecidedError(f"{whole.note}, {whole.value}, cannot be split by {int(ranks)} ranks")
    return Width(whole.value // ranks, f"{whole.note} / tp", (*whole.sources, ranks), sharded=True)


def _ranks(node: ModuleNode, serving: Serving) -> int:
    """How many ranks a layer is split over.

    SGLang 0.5.9 has the argument `tp_size`, later versions a `parallel_group`; both default to the
    tensor-parallel size. The attention group is as large where data parallelism is off.
    """
    ranks: int = with_origins(serving.tp, frozenset({"serving:tp"}))
    if "tp_size" in node.arguments:
        if _known(node, "tp_size", None) is None:
            return ranks
        return _positive(node, "tp_size")
    group = _known(node, "parallel_group", None)
    if group in (None, "tp", "attn_tp"):
        return ranks
    if group == "replicated":
        return 1
    raise UndecidedError(f"the size of {_last(node)}'s parallel group {group} is not known")


def _positive(node: ModuleNode, name: str) -> int:
    value: int = _known(node, name, None)
    _sized(node, name, value)
    return value


def _sized(node: ModuleNode, name: str, value: object) -> Width:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UndecidedError(f"{name} of {_last(node)} is {value!r}, not a positive number")
    return Width(int(value), f"{name} of {_last(node)}", (value,), sharded=False)


def _known(node: ModuleNode, name: str, default: Any) -> Any:
    arguments = node.arguments
    named = arguments.get("kwargs")
    if name not in arguments and isinstance(named, Mapping):  # a subclass that passes them on
        arguments = named
    value = arguments.get(name, default)
    if isinstance(value, Unknown):
        raise UndecidedError(f"{name} of {_last(node)} is {value}")
    if isinstance(value, Alternatives):
        listed = ", ".join(map(str, value.values))
        raise UndecidedError(f"{name} of {_last(node)} is one of {listed}")
    return value


def _last(node: ModuleNode) -> str:
    return node.path.rpartition(".")[2]
