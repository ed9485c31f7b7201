"""How wide the rows are that an activation gets: read from the linear layers about it.

An activation is told no size. What it gets is the output of one linear layer, and what it gives
is the input of another, both held by the module that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from fibcore.plugin import (
    LinearSizes,
    ModelTree,
    ModuleNode,
    Operation,
    Serving,
    Size,
    SourcePlace,
    UndecidedError,
    rank_sizes,
)

_LINEAR = "sglang.srt.layers.linear."
_SEQUENTIAL = ("torch.nn.Sequential", "torch.nn.modules.container.Sequential")


class NoLinearError(Exception):
    """No linear layer is beside the activation: what it gets is another operation's."""


@attrs.frozen
class Linear:
    """A linear layer beside an activation, as one rank has it."""

    node: ModuleNode
    sizes: LinearSizes

    @property
    def splits_rows(self) -> bool:
        """Whether tensor parallelism splits what it gives."""
        return self.sizes.sharded and not self.node.is_a(_LINEAR + "RowParallelLinear")

    @property
    def width(self) -> Size:
        """Elements of the rows that it gives."""
        name, n = self.node.path.rpartition(".")[2], self.sizes.n
        return attrs.evolve(n, note=f"{name}: {n.note}")


def producer(
    tree: ModelTree, node: ModuleNode | Operation, serving: Serving, *, gated: bool
) -> Linear:
    """The linear layer whose output an activation gets.

    The only one is it where it is called on a line before. Where several would fit, the lines
    decide on which the forward pass calls them, then which of them is split over ranks along its
    outputs and which along its inputs.

    Args:
        tree: The model.
        node: The activation: a module, or the call of a function in the module that holds the
            linear layers.
        serving: How the model is served.
        gated: Whether it gives rows half as wide as it gets.

    Raises:
        NoLinearError: no linear layer is beside it.
        UndecidedError: they do not fit, several disagree, or a size is not known.
    """
    holder = tree.find(node.module) if isinstance(node, Operation) else tree.parent(node.path)
    places = [node.place] if isinstance(node, Operation) else [c.place for c in node.calls]
    beside = [] if holder is None else list(holder.children.values())
    linears = {n.path: found for n in beside if (found := _linear(n, serving)) is not None}
    if holder is None or not linears:
        raise NoLinearError
    before = after = list(linears.values())
    if holder.cls in _SEQUENTIAL and not isinstance(node, Operation):
        at = next(i for i, n in enumerate(beside) if n.path == node.path)
        before = [linears[n.path] for n in beside[:at] if n.path in linears][-1:]
        after = [linears[n.path] for n in beside[at:] if n.path in linears][:1]
    only = next(iter(linears.values()))
    if len(linears) == 1 and _comes_after(only, places):
        return only  # the next one is held by another module, as BERT's is
    pairs = [(p, c) for p in before for c in after if p is not c and _fits(p, c, gated=gated)]
    if _disagree(pairs):
        pairs = [pair for pair in pairs if _in_order(*pair, places)] or pairs
    if _disagree(pairs):
        pairs = [(p, c) for p, c in pairs if p.splits_rows and not c.splits_rows] or pairs
    if not pairs:
        sizes = ", ".join(f"{x.sizes.k.value} to {x.sizes.n.value}" for x in linears.values())
        what = "twice what another takes" if gated else "what another takes"
        raise UndecidedError(f"of the linear layers beside it ({sizes}) none gives {what}")
    if _disagree(pairs):
        widths = ", ".join(sorted({str(p.sizes.n.value) for p, _ in pairs}))
        raise UndecidedError(f"the linear layers beside it do not tell which of {widths} it gets")
    return pairs[0][0]


def _linear(node: ModuleNode, serving: Serving) -> Linear | None:
    if node.is_a(_LINEAR + "QKVParallelLinear"):
        return None  # what it gives goes to attention
    sizes = rank_sizes(node, serving)
    return None if sizes is None else Linear(node, sizes)


def _fits(first: Linear, last: Linear, *, gated: bool) -> bool:
    return first.sizes.n.value == (1 + gated) * last.sizes.k.value


def _disagree(pairs: Iterable[tuple[Linear, Linear]]) -> bool:
    return len({(first.sizes.n.value, first.splits_rows) for first, _ in pairs}) > 1


def _comes_after(only: Linear, places: Sequence[SourcePlace]) -> bool:
    """Whether the source calls the activation on a line after the only linear layer beside it."""
    return bool(places and only.node.calls) and all(
        before.place.file == here.file and before.place.line < here.line
        for before in only.node.calls
        for here in places
    )


def _in_order(first: Linear, last: Linear, places: Sequence[SourcePlace]) -> bool:
    """Whether the source calls the first, the activation and the last in this order."""
    return any(
        before.place.file == here.file == after.place.file
        and before.place.line <= here.line <= after.place.line
        for before in first.node.calls
        for here in places
        for after in last.node.calls
    )
