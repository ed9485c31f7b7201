"""A logged call as a workload of a definition: sizes, indices and scalars, and no other content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs

from fibcore.benchmarking.recorded.dumps import LoggedCall, LoggedTensor
from fibcore.model.definition import Definition, TensorSpec
from fibcore.model.dtypes import TABLE
from fibcore.validation.constraints import broken_constraints

INDEX_NAME = re.compile(r"(^|_)(indptr|indices|index|lens?|lengths?|offsets?|tables?|positions)$")
"""Inputs whose numbers are structure. Others of integers may be somebody's text, as tokens are."""


@attrs.frozen
class CallSpec:
    """How a function of FlashInfer takes a definition's inputs.

    Attributes:
        function: Its qualified name.
        inputs: Input to parameter: `q`, `paged_kv_cache[0]`, or `plan.indptr` of the plan.
        pages: Input of page numbers to the var axis that counts the pages.
        plan: Arguments that the plan has to have.
    """

    function: str
    inputs: Mapping[str, str]
    pages: Mapping[str, str] = attrs.field(factory=dict)
    plan: Mapping[str, Any] = attrs.field(factory=dict)


class NoWorkloadError(Exception):
    """A call is no workload of a definition; the message says why."""


@attrs.frozen
class Workload:
    """What is kept of a call.

    Attributes:
        axes: Sizes of the var axes.
        tensors: Index tensors as NumPy arrays.
        scalars: Numbers.
    """

    axes: Mapping[str, int]
    tensors: Mapping[str, Any]
    scalars: Mapping[str, float | int | bool]


@cache
def call_specs() -> Mapping[str, CallSpec]:
    """The table of FlashInfer's functions, by name."""
    text = (files(__package__) / "calls.json").read_text(encoding="utf-8")
    return {c["function"]: CallSpec(**c) for c in json.loads(text)["calls"]}


def workload_of(
    definition: Definition,
    spec: CallSpec,
    call: LoggedCall,
    plan: Mapping[str, Any],
    constants: Mapping[str, Any],
) -> Workload:
    """The workload that a call is.

    Args:
        definition: The definition.
        spec: How the function takes its inputs.
        call: The call.
        plan: What the wrapper's last plan was given; empty for functions.
        constants: Of the kernel, for scalars that the call leaves to a default.

    Raises:
        NoWorkloadError: sizes, dtypes or the plan are not the definition's, or an input is not
            there.
    """
    for name, wanted in {**spec.plan, "window_left": -1, "logits_soft_cap": 0.0}.items():
        if name in plan and (plan[name] or None) != (wanted or None):
            if name == "window_left" and plan[name] is None:
                continue
            raise NoWorkloadError(f"planned with {name} = {plan[name]}")
    sizes: dict[str, int] = {}
    given: dict[str, LoggedTensor] = {}
    scalars: dict[str, float | int | bool] = {}
    for name, tensor in definition.inputs.items():
        value = _argument(spec, name, call, plan)
        if tensor.shape is None:
            scalars[name] = _scalar(name, tensor, value, constants)
        elif isinstance(value, LoggedTensor):
            _check(definition, name, tensor, value, sizes)
            given[name] = value
        else:
            raise NoWorkloadError(f"the call has no tensor for {name}")
    kept = [n for n, s in definition.inputs.items() if n in given and _kept(n, s)]
    tensors = {name: given[name].values() for name in kept}
    _shorten(tensors, sizes, definition)
    for name, axis in spec.pages.items():
        if name in tensors:
            tensors[name], sizes[axis] = _renumbered(tensors[name])
    axes = {name: sizes[name] for name in definition.var_axes if name in sizes}
    missing = sorted(set(definition.var_axes) - set(axes))
    if missing:
        raise NoWorkloadError(f"no tensor says {', '.join(missing)}")
    if any(size < 1 for size in axes.values()):
        raise NoWorkloadError("an axis is empty")
    broken = broken_constraints(definition, {**axes, **scalars, **tensors})
    for constraint, reason in broken.items():
        raise NoWorkloadError(f"{constraint} does not hold: {reason}")
    return Workload(axes, tensors, scalars)


def _argument(spec: CallSpec, name: str, call: LoggedCall, plan: Mapping[str, Any]) -> Any:
    where = spec.inputs.get(name)
    if where is None:
        raise NoWorkloadError(f"nobody knows which parameter is {name}")
    if where.startswith("plan."):
        return plan.get(where.removeprefix("plan."))
    return call.arguments.get(where)


def _scalar(
    name: str, spec: TensorSpec, value: object, constants: Mapping[str, Any]
) -> float | int | bool:
    if value is None:
        value = constants.get(name)
    if isinstance(value, (bool, int, float)):
        return float(value) if TABLE[spec.dtype].kind == "float" else value
    raise NoWorkloadError(f"the call has no number for {name}")


def _check(
    definition: Definition,
    name: str,
    spec: TensorSpec,
    tensor: LoggedTensor,
    sizes: dict[str, int],
) -> None:
    """Hold a tensor against its spec, and take the sizes of var axes from it."""
    axes = spec.shape or ()
    if tensor.dtype != spec.dtype:
        raise NoWorkloadError(f"{name} is {tensor.dtype}, the definition has {spec.dtype}")
    if len(tensor.shape) != len(axes):
        raise NoWorkloadError(f"{name} has {len(tensor.shape)} dimensions, not {len(axes)}")
    const = definition.const_axes
    for axis, size in zip(axes, tensor.shape, strict=True):
        if axis in const and const[axis] != size:
            raise NoWorkloadError(f"{axis} is another size")
        if axis not in const and sizes.setdefault(axis, size) != size:
            # A buffer of a CUDA graph is longer than what it holds.
            sizes[axis] = min(size, sizes[axis])


def _kept(name: str, spec: TensorSpec) -> bool:
    """Whether a tensor's numbers are kept: random ones would be no valid input."""
    if TABLE[spec.dtype].kind != "int" or TABLE[spec.dtype].bits <= 8:
        return False
    if INDEX_NAME.search(name) is None:
        raise NoWorkloadError(f"{name} may hold somebody's text, as tokens do")
    return True


def _shorten(tensors: dict[str, Any], sizes: dict[str, int], definition: Definition) -> None:
    """Cut index tensors to what their offsets say: those of CUDA graphs are longer."""
    for name, tensor in list(tensors.items()):
        offsets = f"{name.rpartition('_')[0]}_indptr"
        if name.endswith("_indices") and offsets in tensors:
            used = int(tensors[offsets][-1])
            tensors[name] = tensor[:used]
            (axis,) = definition.inputs[name].shape or ("",)
            sizes[axis] = used


def _renumbered(pages: Any) -> tuple[Any, int]:
    """Page numbers in use as 0, 1, …, in the same order: a server's cache has far more pages."""
    import numpy as np

    used, numbers = np.unique(pages, return_inverse=True)
    return numbers.reshape(pages.shape).astype(pages.dtype), max(1, len(used))
