"""Whether a traced kernel is one of the dataset's, however the two name and lay out things."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import attrs

from fibcore.errors import TraceError
from fibcore.model.definition import Definition, TensorSpec
from fibcore.model.dtypes import TABLE
from fibcore.traces.reading import UNKNOWN, TracedTensor, TraceFile
from fibcore.traces.reads import reads
from fibcore.traces.references import analyse

Sizes = tuple[int | None, ...]
"""A shape with the sizes of const axes; None for an axis that varies."""

_TENSORS = [dtype for dtype in TABLE.values() if dtype.tensor]
_FLOATS = frozenset(d.name for d in _TENSORS if d.kind == "float" and d.bits >= 16)
# FlashInfer's dumps have uint32 tensors too, which definitions cannot have.
_INTEGERS = frozenset({"uint32", *(d.name for d in _TENSORS if d.kind != "float")})


def related(one: str, other: str) -> bool:
    """Whether two op types may be the same: equal, or one is the other with more words.

    FlashInfer has `gemm_bf16` and `gemm_fp8` where the dataset has `gemm`.
    """
    return one == other or one.startswith(other + "_") or other.startswith(one + "_")


def same_kind(definition: Definition, traced: TraceFile) -> bool:
    """Whether the op types are related, or both name one function of FlashInfer.

    FlashInfer's `bmm_bf16` is an op type of its own there, and a kernel of `gemm` here.
    """
    if related(definition.op_type, traced.op_type):
        return True
    here, there = (
        {name.rpartition(".")[2] for name in one.tag_values("fi_api")}
        for one in (definition, traced)
    )
    return bool(here & there)


def same_stage(definition: Definition, traced: TraceFile) -> bool:
    """Whether the two can be of one stage, which not every kernel has."""
    here, there = set(definition.tag_values("stage")), set(traced.tag_values("stage"))
    return not here or not there or bool(here & there)


def other_sizes(definition: Definition, traced: TraceFile) -> dict[str, tuple[int, int]]:
    """Const axes of one name that differ in size: (the definition's, the dump's)."""
    sizes = traced.sizes
    return {
        name: (size, sizes[name])
        for name, size in definition.const_axes.items()
        if name in sizes and sizes[name] != size
    }


def match(definition: Definition, traced: TraceFile) -> tuple[str, ...] | None:
    """Where the dump says it otherwise than the definition; None where it is another kernel.

    The two are the same kernel when op types or functions are related, stages agree, no const axis
    of one name differs in size, the outputs are equal, and every matrix and higher tensor of one
    has its counterpart in the other: by name, else by its sizes. An axis that varies on one side
    agrees with any size on the other. Tensors may be laid out differently, plain floats may be
    other plain floats, and vectors and scalars may be there on one side alone; each of these is a
    difference that is named.
    """
    if not same_kind(definition, traced) or not same_stage(definition, traced):
        return None
    if other_sizes(definition, traced):
        return None
    comparison = _Comparison(definition, traced)
    # A traced output that repeats an input is that input after the call.
    outputs = {n: t for n, t in traced.outputs.items() if n not in traced.inputs}
    if not comparison.tensors(definition.outputs, outputs or traced.outputs, exact=True):
        return None
    if not comparison.tensors(definition.inputs, traced.inputs, exact=False):
        return None
    return tuple(comparison.differences) if comparison.sized else None


def _for_the_kernel_alone(traced: TraceFile) -> frozenset[str]:
    """Optional scalars of a dump that its reference does not read, as flags of the kernel's are."""
    optional = {n for n, t in traced.inputs.items() if t.optional and t.shape is None}
    if not optional:
        return frozenset()
    try:
        function = analyse(traced.reference, traced.file).function
    except TraceError:  # nothing is known of what it reads
        return frozenset()
    return frozenset(optional - reads(function, {}))


@attrs.define
class _Comparison:
    """What was found so far: differences, and whether any size was held against another."""

    definition: Definition
    traced: TraceFile
    differences: list[str] = attrs.field(factory=list)
    sized: bool = False

    def tensors(
        self,
        here: Mapping[str, TensorSpec],
        there: Mapping[str, TracedTensor],
        *,
        exact: bool,
    ) -> bool:
        """Compare inputs or outputs; whether they can be those of one kernel."""
        pairs, left, right = self._paired(here, there)
        for name, other in pairs:
            if not self._one(name, here[name], there[other]):
                return False
        if exact and (left or right):
            return False
        if any(len(here[name].shape or ()) > 1 for name in left):
            return False
        if any(len(t.shape or ()) > 1 and not t.optional for t in map(there.get, right) if t):
            return False
        self.differences += [f"{name} is not in the dump" for name in left]
        alone = _for_the_kernel_alone(self.traced)
        self.differences += [f"{name} is in the dump alone" for name in right if name not in alone]
        return True

    def _paired(
        self, here: Mapping[str, TensorSpec], there: Mapping[str, TracedTensor]
    ) -> tuple[list[tuple[str, str]], list[str], list[str]]:
        """The tensors that correspond, and what is left on each side."""
        pairs = [(name, name) for name in here if name in there]
        right = [name for name in there if name not in here]
        left = []
        for name in here:
            if name in there:
                continue
            sizes = self._here(here[name])
            like = [other for other in right if _like(sizes, self._there(there[other]))]
            if like:
                pairs.append((name, like[0]))
                right.remove(like[0])
            else:
                left.append(name)
        return pairs, left, right

    def _one(self, name: str, here: TensorSpec, there: TracedTensor) -> bool:
        """Compare two tensors that correspond."""
        sizes, traced = self._here(here), self._there(there)
        order = _order(sizes, traced, here.shape or (), there.shape or ())
        if order is None:
            return False
        if order != tuple(range(len(sizes))):
            shapes = (", ".join(spec.shape or ()) for spec in (here, there))
            self.differences.append("{} is [{}], in the dump [{}]".format(name, *shapes))
        self.sized |= any(
            a is not None and a == traced[i] for a, i in zip(sizes, order, strict=True)
        )
        if there.dtype in (UNKNOWN, here.dtype):
            return True
        for kind in (_FLOATS, _INTEGERS):
            if here.dtype in kind and there.dtype in kind:
                self.differences.append(f"{name} is {here.dtype}, in the dump {there.dtype}")
                return True
        return False

    def _here(self, spec: TensorSpec) -> Sizes:
        sizes = self.definition.const_axes
        return tuple(sizes.get(axis) for axis in spec.shape or ())

    def _there(self, tensor: TracedTensor) -> Sizes:
        sizes = self.traced.sizes
        return tuple(sizes.get(axis) for axis in tensor.shape or ())


def _agree(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    """Whether two shapes can be equal."""
    return len(one) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(one, other, strict=True)
    )


def _like(one: Sizes, other: Sizes) -> bool:
    """Whether tensors of two names correspond: a size in common, and all sizes in some order."""
    common = {size for size in one if size is not None} & set(other)
    return bool(common) and _order(one, other, (), ()) is not None


def _order(
    one: Sizes, other: Sizes, axes: Sequence[str], traced_axes: Sequence[str]
) -> tuple[int, ...] | None:
    """The order of `other`'s dimensions in which it agrees with `one`; None where it never does.

    Where both name their axes alike, the names say it, which equal sizes cannot.
    """
    if len(one) != len(other):
        return None
    if axes and sorted(axes) == sorted(traced_axes) and len(set(axes)) == len(axes):
        order = tuple(traced_axes.index(axis) for axis in axes)
        return order if _agree(one, [other[i] for i in order]) else None
    for order in itertools.permutations(range(len(one))):  # the first one is the same order
        if _agree(one, [other[i] for i in order]):
            return order
    return None
