"""Checks of what hooks return: a result is used only when it is what the hook promises.

Each function raises `ValueError` with one sentence; the caller knows the plugin, the hook and the
model, and says so.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from typing import Any

from fibcore.model.cost import Cost
from fibcore.model.definition import Definition
from fibcore.model.dtypes import DTYPES
from fibcore.model.options import Option
from fibcore.ops.exports import FORMAT_NAME, ExportFormat
from fibcore.ops.hookspecs import (
    GroundTruth,
    Identity,
    Implementation,
    OpType,
    TestTemplate,
    WorkloadCase,
)
from fibcore.ops.values import is_a, items, listed, mapping, shown

RESERVED = frozenset(
    {
        *("force", "limit", "log", "since", "site", "workloads"),
        *("all", "batch", "check", "config", "configs", "counts", "dask", "dataset"),
        *("description", "device", "disable_plugin", "display_name", "dry_run", "ep", "evidence"),
        *("evidence_dir", "exit_code", "flashinfer", "flashinfer_trace", "format", "gpu", "help"),
        *("hf_repo_id", "jobs", "json", "keys", "launch", "log", "memory_bytes", "memory_limit"),
        *("model_name", "progress", "steps"),
        *("op_type", "options", "output", "package", "prefill_sequences", "prefill_tokens"),
        *("prune", "quiet", "registry", "rows", "sglang", "shipped", "show", "stage", "table"),
        *("target_dir", "timeout", "timeout_s", "tolerance", "tp", "trace", "verbose", "web_dir"),
    }
)
"""Names that options of op types cannot have, because commands and API functions have them."""

OP_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
GROUND_TRUTH_KINDS = ("flashinfer", "sglang", "torch")


def check_op_types(result: object) -> tuple[OpType, ...]:
    """What `fibcore_op_types` returned, as a tuple.

    Raises:
        ValueError: it is not a sequence of op types with usable and different names.
    """
    op_types = items(result, OpType, "the result")
    if not op_types:
        raise ValueError("it names no op type")
    for op_type in op_types:
        if not OP_TYPE_NAME.fullmatch(op_type.name):
            raise ValueError(f"an op type is named {op_type.name!r}, not in snake_case")
        if not op_type.description.strip():
            raise ValueError(f"the op type {op_type.name} has no description")
        for option in items(op_type.options, Option, f"options of {op_type.name}"):
            _check_option(option)
    names = [o.name for o in op_types]
    if len(set(names)) != len(names):
        raise ValueError("it names an op type twice: " + ", ".join(names))
    return op_types


def _check_option(option: Option[Any]) -> None:
    problem = option.problem()
    if problem:
        raise ValueError(problem)
    if option.name in RESERVED:
        raise ValueError(f"an option cannot be named {option.name}: the core has one of this name")


def check_identity(result: object) -> Identity:
    """What `fibcore_identify` returned.

    Raises:
        ValueError: its variant is no string, or its contradictions are no sentences.
    """
    identity = is_a(result, Identity, "the result")
    is_a(identity.variant, str, "variant")
    found = items(identity.contradictions, str, "contradictions")
    if not all(text.strip() for text in found):
        raise ValueError("a contradiction has no words")
    return identity


def check_ground_truths(result: object) -> tuple[GroundTruth, ...]:
    """What `fibcore_ground_truths` returned, as a tuple; None counts as nothing.

    Raises:
        ValueError: an item breaks a rule of `GroundTruth`.
    """
    truths = items(() if result is None else result, GroundTruth, "the result")
    for truth in truths:
        _check_ground_truth(truth)
    names = [t.name for t in truths]
    if len(set(names)) != len(names):
        raise ValueError("two ground truths have one name: " + ", ".join(names))
    return truths


def _check_ground_truth(truth: GroundTruth) -> None:
    who = f"ground truth {truth.name!r}:"
    if truth.kind not in GROUND_TRUTH_KINDS:
        kinds = ", ".join(GROUND_TRUTH_KINDS)
        raise ValueError(f"{who} its kind is {truth.kind!r}, not one of {kinds}")
    if truth.device not in ("cuda", "any"):
        raise ValueError(f"{who} its device is {truth.device!r}, not 'cuda' or 'any'")
    for key in ("min_capability", "max_capability"):
        value = getattr(truth, key)
        if value is not None and not (
            isinstance(value, tuple) and len(value) == 2 and all(type(v) is int for v in value)
        ):
            raise ValueError(f"{who} its {key} is {value!r}, not like (9, 0)")
    items(truth.packages, str, f"{who} packages")
    if truth.entry not in top_level_names(truth.source):
        raise ValueError(f"{who} its source has no top-level {truth.entry!r}")


def check_test_template(result: object, op_type: str) -> TestTemplate:
    """What `fibcore_test_template` returned for `op_type`.

    Raises:
        ValueError: it is for another op type, or its source lacks what it has to define.
    """
    template = is_a(result, TestTemplate, "the result")
    if template.op_type != op_type:
        raise ValueError(f"it is for {template.op_type!r}")
    missing = {"cases", "make_inputs", "PROPERTIES"} - set(top_level_names(template.source))
    if missing:
        raise ValueError("its source does not define " + ", ".join(sorted(missing)))
    return template


def check_workloads(result: object, definition: Definition) -> tuple[WorkloadCase, ...]:
    """What `fibcore_workloads` returned for `definition`; its tensors are checked when made.

    Raises:
        ValueError: labels repeat, an axis has no size or is no var axis, or a scalar is no scalar
            input of the definition.
    """
    cases = items(result, WorkloadCase, "the result")
    labels = [case.label for case in cases]
    if len(set(labels)) != len(labels):
        raise ValueError("two cases have one label: " + "; ".join(labels))
    wanted = set(definition.var_axes)
    scalars = {name for name, spec in definition.inputs.items() if spec.shape is None}
    for case in cases:
        who = f"case {case.label!r}:"
        axes = mapping(case.axes, f"{who} axes")
        if set(axes) != wanted:
            raise ValueError(
                f"{who} its axes are {listed(axes)}; the var axes are {listed(wanted)}"
            )
        for name, size in axes.items():
            if type(size) is not int or size < 0:
                raise ValueError(f"{who} its axis {name} is {size!r}, not an integer of at least 0")
        given = mapping(case.scalars, f"{who} scalars")
        if set(given) != scalars:
            raise ValueError(
                f"{who} its scalars are {listed(given)}; the scalar inputs are {listed(scalars)}"
            )
        for name, value in given.items():
            if type(value) not in (bool, int, float) or not math.isfinite(value):  # type: ignore[arg-type]
                raise ValueError(f"{who} its scalar {name} is {shown(value)}, not a finite number")
        if not callable(case.tensors):
            raise ValueError(f"{who} its tensors is {shown(case.tensors)}, not a function")
    return cases


def check_cost(result: object) -> Cost | None:
    """What `fibcore_cost` returned; None where the plugin cannot tell.

    Raises:
        ValueError: a number is negative or no integer, the dtype is unknown, or what is assumed
            and what is certain do not go together.
    """
    if result is None:
        return None
    cost = is_a(result, Cost, "the result")
    for name in ("flops", "bytes_read", "bytes_written"):
        number = getattr(cost, name)
        if type(number) is not int or number < 0:
            raise ValueError(f"{name} is {shown(number)}, not an integer of at least 0")
    if cost.dtype not in DTYPES:
        raise ValueError(f"dtype is {cost.dtype!r}, not one of {', '.join(DTYPES)}")
    if bool(is_a(cost.assumes, str, "assumes")) != (cost.least is not None):
        raise ValueError("assumes and least go together: what is assumed, and what is certain")
    if cost.least is not None:
        check_cost(cost.least)
        if cost.least.least is not None:
            raise ValueError("least assumes something")
        if cost.least.flops > cost.flops or cost.least.bytes_moved > cost.bytes_moved:
            raise ValueError("least is more than the cost itself")
    return cost


def check_step_sizes(result: object) -> dict[str, int]:
    """What `fibcore_step_sizes` returned, as a dict.

    Raises:
        ValueError: it is no mapping from names to integers of at least 0.
    """
    found = mapping(result, "the result")
    for name, size in found.items():
        if type(size) is not int or size < 0:
            raise ValueError(f"the size of {name} is {shown(size)}, not an integer of at least 0")
    return {str(name): size for name, size in found.items() if isinstance(size, int)}


def check_implementations(result: object) -> tuple[Implementation, ...]:
    """What `fibcore_implementations` returned, as a tuple.

    Raises:
        ValueError: names repeat, or a source does not parse or has no `run`.
    """
    found = items(result, Implementation, "the result")
    for one in found:
        if "run" not in top_level_names(one.source):
            raise ValueError(f"implementation {one.name!r}: its source has no top-level 'run'")
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise ValueError("two implementations have one name: " + "; ".join(names))
    return found


def check_exports(result: object) -> tuple[ExportFormat, ...]:
    """What `fibcore_exports` returned, as a tuple.

    Raises:
        ValueError: a name is none, or repeats; or a format names no op type.
    """
    found = items(result, ExportFormat, "the result")
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise ValueError("two formats have one name: " + "; ".join(names))
    for one in found:
        if not FORMAT_NAME.fullmatch(one.name):
            raise ValueError(f"format {one.name!r}: its name is not of the form 'some-tool'")
        if not one.op_types:
            raise ValueError(f"format {one.name!r}: it names no op type")
    return found


@functools.lru_cache(maxsize=256)
def top_level_names(source: str) -> tuple[str, ...]:
    """Names that a module's top level binds by def, class or assignment, in order; no imports.

    Raises:
        ValueError: the source does not parse.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"its source does not parse: {error}") from None
    names: list[str] = []
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [
                n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)
            ]
    return tuple(dict.fromkeys(names))
