"""Checks of what plugins return: a hook's result is used only when it is what the hook promises.

Each function raises `ValueError` with one sentence; the caller knows the plugin, the hook and the
model, and says so.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Fact, Kernel, NotCovered, Problem, Use
from fibcore.model.options import Option
from fibcore.model.tree import ModelTree, SourcePlace
from fibcore.ops.hookspecs import GroundTruth, Identity, OpType, TestTemplate, WorkloadCase

T = TypeVar("T")

RESERVED = frozenset(
    {
        *("all", "batch", "check", "config", "counts", "dask", "dataset", "description", "device"),
        *("disable_plugin", "display_name", "dry_run", "ep", "evidence", "exit_code"),
        *("flashinfer", "flashinfer_trace", "help", "hf_repo_id", "jobs", "json", "memory_limit"),
        *("model_name", "op_type", "output", "progress", "prune", "quiet", "registry", "sglang"),
        *("show", "stage", "target_dir", "timeout", "tolerance", "tp", "trace", "verbose"),
        *("web_dir",),
    }
)
"""Names that options of op types cannot have, because commands and API functions have them."""

OP_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
GROUND_TRUTH_KINDS = ("flashinfer", "sglang", "torch")
CORE_TAGS = ("model:", "status:")
"""Categories of tags that the core alone sets."""


def _is_a(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {_name(value)}, not {kind.__name__}")
    return value


def _name(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:80]!r}"


def _items(values: object, kind: type[T], what: str) -> tuple[T, ...]:
    if not isinstance(values, (tuple, list)):
        raise ValueError(f"{what} is {_name(values)}, not a sequence")
    return tuple(_is_a(value, kind, f"an item of {what}") for value in values)


def check_op_types(result: object) -> tuple[OpType, ...]:
    """What `fibcore_op_types` returned, as a tuple.

    Raises:
        ValueError: it is not a sequence of op types with usable and different names.
    """
    op_types = _items(result, OpType, "the result")
    if not op_types:
        raise ValueError("it names no op type")
    for op_type in op_types:
        if not OP_TYPE_NAME.fullmatch(op_type.name):
            raise ValueError(f"an op type is named {op_type.name!r}, not like gqa_paged")
        if not op_type.description.strip():
            raise ValueError(f"the op type {op_type.name} has no description")
        for option in _items(op_type.options, Option, f"options of {op_type.name}"):
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


def check_extraction(result: object, tree: ModelTree, own: Collection[str]) -> Extraction:
    """What `fibcore_extract` returned for `tree`; `own` are the plugin's op types.

    Raises:
        ValueError: it breaks a rule of `Extraction` or `Kernel`.
    """
    extraction = _is_a(result, Extraction, "the result")
    paths = {node.path for node in tree.walk()}
    names: set[str] = set()
    for kernel in _items(extraction.kernels, Kernel, "kernels"):
        check_kernel(kernel, own)
        if kernel.name in names:
            raise ValueError(f"two kernels are named {kernel.name}")
        names.add(kernel.name)
        _check_uses(f"kernel {kernel.name}", kernel.uses, paths)
    gaps: tuple[NotCovered | Problem, ...] = (
        *_items(extraction.not_covered, NotCovered, "not_covered"),
        *_items(extraction.problems, Problem, "problems"),
    )
    for gap in gaps:
        _check_gap(gap, paths)
    claimed: object = extraction.claimed
    if not isinstance(claimed, (frozenset, set)):
        raise ValueError(f"claimed is {_name(claimed)}, not a set of paths")
    strangers = sorted(str(path) for path in claimed if not _in_tree(path, paths))
    if strangers:
        raise ValueError(f"it claims a path that the tree does not have: {strangers[0]}")
    return extraction


def _check_gap(gap: NotCovered | Problem, paths: Collection[str]) -> None:
    if not (gap.what and gap.reason):
        raise ValueError("an item of not_covered or problems lacks what or reason")
    _check_uses(gap.what, gap.uses, paths)


def _in_tree(path: object, paths: Collection[str]) -> bool:
    # A parameter of a module is not a node of the tree; its module is.
    return isinstance(path, str) and (path in paths or path.rpartition(".")[0] in paths)


def _check_uses(what: str, uses: object, paths: Collection[str]) -> None:
    for use in _items(uses, Use, f"uses of {what}"):
        if not _in_tree(use.path, paths):
            raise ValueError(f"{what} is used at a path that the tree does not have: {use.path}")


def check_kernel(kernel: Kernel, own: Collection[str]) -> None:
    """Check a kernel by itself; `own` are the op types that its plugin may use.

    Raises:
        ValueError: it breaks a rule of `Kernel`.
    """
    who = f"kernel {kernel.name}:"
    if kernel.op_type not in own:
        raise ValueError(
            f"{who} its op type {kernel.op_type!r} is not one of the plugin's: "
            + ", ".join(sorted(own))
        )
    if not isinstance(kernel.name, str) or not FILE_NAME.fullmatch(kernel.name):
        raise ValueError(f"{who} the name cannot be a file name (letters, digits, _ - + .)")
    for key, value in _mapping(kernel.parameters, f"{who} parameters").items():
        _check_scalar(value, f"{who} its parameter {key}")
    facts = _mapping(kernel.facts, f"{who} facts")
    if not facts:
        raise ValueError(f"{who} it has no facts: every const axis needs its proof")
    for key, value in facts.items():
        proof = _is_a(value, Fact, f"{who} its fact {key}")
        _is_a(proof.place, SourcePlace, f"{who} the place of its fact {key}")
        _check_scalar(proof.value, f"{who} its fact {key}")
    if not kernel.uses:
        raise ValueError(f"{who} it has no uses: which layers run it?")
    _items(kernel.notes, str, f"{who} notes")
    _check_tags(kernel.tags, who)


def _mapping(value: object, what: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {_name(value)}, not a mapping")
    return value


def _check_scalar(value: object, what: str) -> None:
    finite = math.isfinite(value) if isinstance(value, float) else isinstance(value, (int, str))
    if not finite:
        raise ValueError(f"{what} is {_name(value)}, not a finite plain scalar")


def _check_tags(tags: object, who: str) -> None:
    for tag in _items(tags, str, f"{who} tags"):
        category, colon, value = tag.partition(":")
        if not (category and colon and value):
            raise ValueError(f"{who} a tag is category:value, not {tag!r}")
        if tag.startswith(CORE_TAGS):
            raise ValueError(f"{who} the core sets the tag {tag!r}, a plugin does not")


def check_reference(result: object, kernel: Kernel) -> Definition:
    """The definition that `fibcore_reference` returned for `kernel`.

    Raises:
        ValueError: name, op type or tags are not the kernel's, or a const axis has no fact.
    """
    definition = _is_a(result, Definition, "the result")
    for key in ("name", "op_type"):
        want, have = getattr(kernel, key), getattr(definition, key)
        if want != have:
            raise ValueError(f"its {key} is {have!r}, the kernel's is {want!r}")
    if set(definition.tags) != set(kernel.tags):
        raise ValueError(
            f"its tags are {', '.join(definition.tags) or 'none'}; "
            f"the kernel's are {', '.join(sorted(set(kernel.tags))) or 'none'}"
        )
    for axis, size in definition.const_axes.items():
        proof = kernel.facts.get(axis)
        if proof is None:
            raise ValueError(f"the const axis {axis} has no fact in the kernel")
        if proof.value != size or isinstance(proof.value, bool):
            raise ValueError(f"the const axis {axis} is {size}, its fact says {proof.value!r}")
    return definition


def check_identity(result: object) -> Identity:
    """What `fibcore_identify` returned.

    Raises:
        ValueError: its variant is no string, or its contradictions are no sentences.
    """
    identity = _is_a(result, Identity, "the result")
    _is_a(identity.variant, str, "variant")
    found = _items(identity.contradictions, str, "contradictions")
    if not all(text.strip() for text in found):
        raise ValueError("a contradiction has no words")
    return identity


def check_ground_truths(result: object) -> tuple[GroundTruth, ...]:
    """What `fibcore_ground_truths` returned, as a tuple.

    Raises:
        ValueError: an item breaks a rule of `GroundTruth`.
    """
    truths = _items(result, GroundTruth, "the result")
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
    _items(truth.packages, str, f"{who} packages")
    if truth.entry not in top_level_names(truth.source):
        raise ValueError(f"{who} its source has no top-level {truth.entry!r}")


def check_test_template(result: object, op_type: str) -> TestTemplate:
    """What `fibcore_test_template` returned for `op_type`.

    Raises:
        ValueError: it is for another op type, or its source lacks what it has to define.
    """
    template = _is_a(result, TestTemplate, "the result")
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
    cases = _items(result, WorkloadCase, "the result")
    labels = [case.label for case in cases]
    if len(set(labels)) != len(labels):
        raise ValueError("two cases have one label: " + "; ".join(labels))
    wanted = set(definition.var_axes)
    scalars = {name for name, spec in definition.inputs.items() if spec.shape is None}
    for case in cases:
        who = f"case {case.label!r}:"
        axes = _mapping(case.axes, f"{who} axes")
        if set(axes) != wanted:
            raise ValueError(
                f"{who} its axes are {_names(axes)}; the var axes are {_names(wanted)}"
            )
        for name, size in axes.items():
            if type(size) is not int or size < 0:
                raise ValueError(f"{who} its axis {name} is {size!r}, not an integer of at least 0")
        given = _mapping(case.scalars, f"{who} scalars")
        if set(given) != scalars:
            raise ValueError(
                f"{who} its scalars are {_names(given)}; the scalar inputs are {_names(scalars)}"
            )
        for name, value in given.items():
            if type(value) not in (bool, int, float) or not math.isfinite(value):  # type: ignore[arg-type]
                raise ValueError(f"{who} its scalar {name} is {_name(value)}, not a finite number")
        if not callable(case.tensors):
            raise ValueError(f"{who} its tensors is {_name(case.tensors)}, not a function")
    return cases


def _names(names: Collection[object]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


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
