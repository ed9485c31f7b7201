"""Checks of extractions, their kernels, and the definitions of these.

Each function raises `ValueError` with one sentence; the caller knows the plugin, the hook and the
model, and says so.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Fact, Kernel, Moves, NotCovered, Problem, Use
from fibcore.model.tree import ModelTree, SourcePlace
from fibcore.ops.checks import FILE_NAME
from fibcore.ops.values import check_scalar, is_a, items, mapping, shown

CORE_TAGS = ("model:", "status:")
"""Categories of tags that the core alone sets."""


def check_extraction(result: object, tree: ModelTree, own: Collection[str]) -> Extraction:
    """What `fibcore_extract` returned for `tree`; `own` are the plugin's op types.

    Raises:
        ValueError: it breaks a rule of `Extraction` or `Kernel`.
    """
    extraction = is_a(result, Extraction, "the result")
    paths = _Paths(tree)
    names: set[str] = set()
    for kernel in items(extraction.kernels, Kernel, "kernels"):
        check_kernel(kernel, own)
        if kernel.name in names:
            raise ValueError(f"two kernels are named {kernel.name}")
        names.add(kernel.name)
        _check_uses(f"kernel {kernel.name}", kernel.uses, paths)
    gaps: tuple[NotCovered | Problem, ...] = (
        *items(extraction.not_covered, NotCovered, "not_covered"),
        *items(extraction.problems, Problem, "problems"),
    )
    for gap in gaps:
        _check_gap(gap, paths)
    claimed: object = extraction.claimed
    if not isinstance(claimed, (frozenset, set)):
        raise ValueError(f"claimed is {shown(claimed)}, not a set of paths")
    unknown = sorted(str(claim) for claim in claimed if not _is_claim(claim, paths))
    if unknown:
        raise ValueError(f"it claims a path that the tree does not have: {unknown[0]}")
    return extraction


class _Paths:
    """The paths of a tree's modules, and of what runs beside the model."""

    def __init__(self, tree: ModelTree) -> None:
        self._tree = tree

    def __contains__(self, path: str) -> bool:
        return self._tree.find(path) is not None or path in self._tree.parts


def _is_claim(claim: object, paths: _Paths) -> bool:
    """Whether what is claimed is a module of the tree, or a call in one."""
    if not isinstance(claim, str):
        return False
    module, colon, function = claim.rpartition(":")
    return _in_tree(module if colon and function else claim, paths)


def _check_gap(gap: NotCovered | Problem, paths: _Paths) -> None:
    if not (gap.what and gap.reason):
        raise ValueError("an item of not_covered or problems lacks what or reason")
    _check_uses(gap.what, gap.uses, paths)
    if isinstance(gap, NotCovered) and gap.op_types is not None:
        items(gap.op_types, str, f"op_types of {gap.what}")
    if isinstance(gap, NotCovered) and gap.moves not in get_args(Moves):
        raise ValueError(f"{gap.what} moves as {shown(gap.moves)}, not as a copy or a collective")


def _in_tree(path: object, paths: _Paths) -> bool:
    # A parameter of a module is not a node of the tree; its module is.
    return isinstance(path, str) and (path in paths or path.rpartition(".")[0] in paths)


def _check_uses(what: str, uses: object, paths: _Paths) -> None:
    for use in items(uses, Use, f"uses of {what}"):
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
    for key, value in mapping(kernel.parameters, f"{who} parameters").items():
        check_scalar(value, f"{who} its parameter {key}")
    facts = mapping(kernel.facts, f"{who} facts")
    if not facts:
        raise ValueError(f"{who} it has no facts: every const axis needs its proof")
    for key, value in facts.items():
        proof = is_a(value, Fact, f"{who} its fact {key}")
        is_a(proof.place, SourcePlace, f"{who} the place of its fact {key}")
        check_scalar(proof.value, f"{who} its fact {key}")
    if not kernel.uses:
        raise ValueError(f"{who} it has no uses: which layers run it?")
    items(kernel.notes, str, f"{who} notes")
    _check_tags(kernel.tags, who)


def _check_tags(tags: object, who: str) -> None:
    for tag in items(tags, str, f"{who} tags"):
        category, colon, value = tag.partition(":")
        if not category or (colon and not value):
            raise ValueError(f"{who} a tag is category:value or a flag, not {tag!r}")
        if tag.startswith(CORE_TAGS):
            raise ValueError(f"{who} the core sets the tag {tag!r}, a plugin does not")


def check_reference(result: object, kernel: Kernel) -> Definition:
    """The definition that `fibcore_reference` returned for `kernel`.

    Raises:
        ValueError: name, op type or tags are not the kernel's, or a const axis has no fact.
    """
    definition = is_a(result, Definition, "the result")
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
