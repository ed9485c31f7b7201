"""What one step of a served model launches, kernel by kernel: defined, moving, named, unknown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

from fibcore.model.kernel import Extraction, Kernel, Use, use
from fibcore.model.serving import STAGES
from fibcore.model.tree import (
    Alternatives,
    ModelTree,
    ModuleNode,
    ModuleRef,
    ParameterRef,
)

State = Literal["defined", "copy", "collective", "named", "unknown"]
LAUNCH_STATES: tuple[State, ...] = ("defined", "copy", "collective", "named", "unknown")
"""With a definition; deliberately without one, for a plugin says that it moves data and no more,
within a device or between ranks; recognised by a plugin, which says why there is none; neither."""

_LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"
_STAGE = "stage:"


@attrs.frozen
class Launch:
    """A kernel that a step launches, once or several times.

    Attributes:
        stage: "decode" or "prefill".
        state: Whether it has a definition, is a copy or a collective, is named without a
            definition, or nothing knows it.
        what: The definition's name, what a plugin calls the op, or the class or function.
        count: How often a step launches it.
        kernel: The kernel, where it is defined.
        last_tokens: Whether its rows are the last tokens of sequences alone, as behind the head.
        weights: Bytes of the modules' own parameters, all launches together; None where it is not
            known that it reads any.
    """

    stage: str
    state: State
    what: str
    count: int
    kernel: Kernel | None = attrs.field(default=None, repr=False)
    last_tokens: bool = False
    weights: int | None = None


@attrs.frozen
class _Candidate:
    """What runs at one module, with how it is counted."""

    state: State
    what: str
    use: Use
    choice: str
    stage: str
    kernel: Kernel | None = None
    inside: bool = False


def launches(
    tree: ModelTree,
    extractions: Iterable[Extraction],
    claimed: Collection[str],
    unclaimed: Iterable[Use],
) -> tuple[Launch, ...]:
    """The launches of one decode step and one prefill step.

    Every module, and every call of a function, that runs a kernel launches it once. Kernels with
    one `choice`, at modules of one module, are alternatives: as many are launched as the one with
    most uses has. What is known not to run launches nothing; of calls that no plugin claims only
    those are counted that certainly happen. A module that runs inside of another kernel in steps of
    one stage launches none of its own in those; one that is called in steps of one stage alone, as
    a tower is that reads the images of a prompt, launches nothing in the others.

    Args:
        tree: The elaborated model.
        extractions: What the plugins found.
        claimed: What they account for.
        unclaimed: The modules for which they do not.
    """
    idle = {node.path for node in tree.walk() if node.idle}
    found = list(_candidates(tree, extractions, claimed, unclaimed))
    called = {path: _stage_of(tree, path) for path in {one.use.path for one in found}}
    heads = _behind_the_head(tree)
    result: list[Launch] = []
    for stage in STAGES:
        here = [
            one
            for one in found
            if (one.stage or called[one.use.path]) in ("", stage)
            and (one.kernel is not None or one.inside or one.use.path not in idle)
        ]
        inside = {one.use.path for one in here if one.inside and one.stage}
        here = [one for one in here if one.inside or one.use.path not in inside]
        result += _counted(tree, stage, here, heads)
    return tuple(result)


def _candidates(
    tree: ModelTree,
    extractions: Iterable[Extraction],
    claimed: Collection[str],
    unclaimed: Iterable[Use],
) -> Iterator[_Candidate]:
    several = list(extractions)
    for kernel in (kernel for e in several for kernel in e.kernels):
        stage = next((stage for stage in STAGES if f"{_STAGE}{stage}" in kernel.tags), "")
        for each in kernel.uses:
            yield _Candidate("defined", kernel.name, each, kernel.choice, stage, kernel)
    for op in (op for e in several for op in e.not_covered):
        for each in op.uses:
            state: State = op.moves or "named"
            yield _Candidate(state, op.what, each, op.choice, op.stage, inside=op.inside)
    for problem in (problem for e in several for problem in e.problems):
        for each in problem.uses:
            yield _Candidate("unknown", problem.what, each, "", "")
    for each in unclaimed:
        yield _Candidate("unknown", each.cls.rpartition(".")[2], each, "", "")
    for call in tree.kernel_calls:
        if call.beside and not (call.key in claimed or call.possible):
            yield _Candidate("unknown", call.name, use(call), "", call.stage)


def _stage_of(tree: ModelTree, path: str) -> str:
    """The stage in whose steps alone a module is called, or what holds it; "" where it is any."""
    node = tree.find(path)
    while node is not None and node.path:
        stages = {"" if call.by_size else call.stage for call in node.calls}
        if len(stages) == 1 and stages != {""}:
            return stages.pop()
        node = tree.parent(node.path)
    return ""


def _counted(
    tree: ModelTree, stage: str, found: Sequence[_Candidate], heads: Collection[str]
) -> Iterator[Launch]:
    """One entry for every kernel, in the order in which the forward pass comes to their modules."""
    groups: dict[tuple[str, str], dict[_Key, list[_Candidate]]] = {}
    kept: dict[_Key, list[_Candidate]] = {}
    for one in found:
        key = (one.state, one.what, one.use.path in heads)
        if one.choice:
            scope = (one.choice, one.use.path.rpartition(".")[0])
            groups.setdefault(scope, {}).setdefault(key, []).append(one)
        else:
            kept.setdefault(key, []).append(one)
    for alternatives in groups.values():
        # The most uses; among equals what has a definition, and then the first that was found.
        key, chosen = max(
            alternatives.items(), key=lambda item: (len(item[1]), item[0][0] == "defined")
        )
        kept.setdefault(key, []).extend(chosen)
    for (state, what, last), uses in sorted(
        kept.items(), key=lambda item: _first_call(tree, item[1][0].use.path, heads)
    ):
        yield Launch(
            stage=stage,
            state=state,
            what=what,
            count=len(uses),
            kernel=uses[0].kernel,
            last_tokens=last,
            weights=_weights(tree, [one.use.path for one in uses]),
        )


_Key = tuple[State, str, bool]


def _first_call(tree: ModelTree, path: str, heads: Collection[str]) -> tuple[int, int]:
    """What modules are ordered by: when the forward pass comes to them, or to what holds them.

    Behind that come the heads, whose matrix is handed on, and last what is not called at all: the
    sampler, which runs after the forward pass.
    """
    if path in heads:
        return 1, 0
    node = tree.find(path)
    while node is not None and node.path:
        if node.calls:
            return 0, min(call.order for call in node.calls)
        node = tree.parent(node.path)
    return 2, 0


def _behind_the_head(tree: ModelTree) -> set[str]:
    """Paths of the modules whose matrix makes the logits, and of what runs on these."""
    found = set(tree.parts)
    for node in tree.walk():
        if node.is_a(_LOGITS):
            found.add(node.path)
            for call in node.calls:
                for value in (*call.args, *call.kwargs.values()):
                    found.update(_paths(value))
    return found


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, Alternatives):
        for one in value.values:
            yield from _paths(one)
    elif isinstance(value, ModuleRef):
        yield value.path
    elif isinstance(value, ParameterRef):
        yield value.path.rpartition(".")[0]


def _weights(tree: ModelTree, paths: Iterable[str]) -> int | None:
    """Bytes of the parameters that modules hold; None where none are known, and of look-ups."""
    sizes = []
    for path, times in Counter(paths).items():
        node = tree.find(path)
        size = None if node is None else _parameter_bytes(node)
        if size is None:
            return None
        sizes.append(size * times)
    return sum(sizes)


def _parameter_bytes(node: ModuleNode) -> int | None:
    if node.class_name.endswith("Embedding"):
        return None  # it reads the rows of some tokens
    total = 0
    for value in node.attributes.values():
        if isinstance(value, ParameterRef) and value.path.rpartition(".")[0] == node.path:
            sizes = value.shape
            if sizes is None or not all(isinstance(size, int) for size in sizes):
                return None
            total += math.prod(sizes) * _itemsize(value.dtype)
    return total or None


def _itemsize(dtype: str | None) -> int:
    from fibcore.model.dtypes import TABLE

    # None stands for the dtype of the activations, which is one of 16 bits.
    return math.ceil(TABLE[dtype].bits / 8) if dtype is not None and dtype in TABLE else 2
