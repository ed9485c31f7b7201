"""Checks of the definitions of a dataset: folder, form, references, tags, duplicates, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fibcore.dataset import Dataset
from fibcore.dataset.files import relative
from fibcore.dataset.layout import DEFINITIONS
from fibcore.errors import PluginError
from fibcore.model.definition import Definition
from fibcore.model.dtypes import WEIGHT_DTYPES
from fibcore.model.serving import STAGES
from fibcore.ops.checks import FILE_NAME
from fibcore.ops.registry import Registry
from fibcore.references.reading import REFERENCE_IMPORTS, foreign_imports, unasserted_axes
from fibcore.validation.problems import Severity, ValidationProblem, error, warning

TAG_CATEGORIES = (
    *("ep", "fi_api", "gpu", "layout", "model", "quantization"),
    *("routing", "sparse", "stage", "status", "tp"),
)
FLAGS = ("fused",)
"""Tags without a category."""
TAGGED_STAGES = (*STAGES, "mtp", "indexer")
"""Stages of tags: those of serving, and the kernels that published datasets tell apart by one."""
STATUSES = ("verified", "unverified", "reference")

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_layout(root: Path) -> Iterator[ValidationProblem]:
    """Warn about what lies in `definitions` and is no definition."""
    for folder in sorted((root / DEFINITIONS).iterdir()):
        name = relative(root, folder)
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            message = "a file among the op types' folders, which no tool reads"
            yield warning(name, None, message)
            continue
        # A folder that cannot be read or leads elsewhere is an error of its own already.
        readable = not folder.is_symlink() and os.access(folder, os.R_OK | os.X_OK)
        for path in sorted(folder.iterdir()) if readable else ():
            if path.name.startswith("."):
                continue
            if path.is_dir():
                message = "a folder among the definitions of an op type, which no tool reads"
                yield warning(relative(root, path), None, message)
            elif path.suffix != ".json":
                message = "a file that is no definition"
                yield warning(relative(root, path), None, message, expected="<name>.json")


def check_duplicates(
    store: Dataset, definitions: Sequence[Definition], plugins: Registry
) -> Iterator[ValidationProblem]:
    """Warn about definitions of one kernel under several names."""
    groups: dict[tuple[Any, ...], list[Definition]] = {}
    for definition in definitions:
        groups.setdefault(definition.structure(), []).append(definition)
    for group in groups.values():
        first: dict[str, Definition] = {}
        for definition in group if len(group) > 1 else ():
            path = relative(store.root, store.path(definition))
            try:
                variant = plugins.function_of(definition)
            except PluginError:
                continue  # `check_sizes` asks the same hook and reports the error
            kept = first.setdefault(variant, definition)
            if kept is not definition:
                message = "the dataset has this kernel under another name"
                yield warning(path, "$.name", message, found=kept.name)


def check_definition(definition: Definition, path: str, text: str) -> Iterator[ValidationProblem]:
    """Check the rules of one definition that its construction does not enforce already.

    Args:
        definition: The definition.
        path: Its file, relative to the dataset.
        text: What the file holds.
    """
    for name, key in ((definition.name, "name"), (definition.op_type, "op_type")):
        if not FILE_NAME.fullmatch(name):
            message = "it cannot be a file name everywhere"
            yield warning(path, f"$.{key}", message, "letters, digits, _ - + .", repr(name))
    canonical = definition.to_json()
    if text != canonical:
        yield warning(
            path,
            _first_difference(text, canonical),
            "not in canonical form",
            expected="the format's key order, tags sorted, UTF-8, 2-space indent, one newline at "
            "the end",
        )
    for finding in foreign_imports(definition.reference):
        yield error(
            path,
            f"$.reference line {finding.line}",
            "the reference may need more than it should",
            expected="imports of " + ", ".join(sorted(REFERENCE_IMPORTS)) + " alone",
            found=finding.what,
        )
    missing = unasserted_axes(definition)
    if missing:
        yield warning(
            path,
            "$.reference",
            "the reference does not seem to assert the size of const axes",
            found=", ".join(missing),
        )
    yield from _check_tags(definition, path)


def check_sizes(
    definition: Definition, path: str, plugins: Registry
) -> Iterator[ValidationProblem]:
    """Find sizes that, as the op type's plugin knows, cannot go together."""
    try:
        found = plugins.identify(definition).contradictions
    except PluginError as failure:
        yield error(path, None, failure.message, found=failure.found)
        return
    for text in found:
        message = "the sizes contradict each other"
        yield error(path, "$.axes", message, found=text)


def check_parallel_tags(
    definition: Definition, path: str, plugins: Registry
) -> Iterator[ValidationProblem]:
    """Warn about `tp:` and `ep:` on an op type whose definitions have none."""
    op_type = plugins.op_types().get(definition.op_type)
    if op_type is None or op_type.parallel_tags:
        return
    for tag in definition.tags:
        if tag.partition(":")[0] in ("tp", "ep"):
            message = f"{definition.op_type} has no such tag in published datasets"
            yield warning(path, "$.tags", message, found=tag)


def _first_difference(text: str, canonical: str) -> str:
    pairs = zip(text.split("\n"), canonical.split("\n"), strict=False)
    same = 0
    for have, want in pairs:
        if have != want:
            break
        same += 1
    return f"line {same + 1}"


def _check_tags(definition: Definition, path: str) -> Iterator[ValidationProblem]:
    def problem(
        severity: Severity, message: str, expected: str | None = None, found: str | None = None
    ) -> ValidationProblem:
        return ValidationProblem(severity, path, "$.tags", message, expected, found)

    for tag in definition.tags:
        category, colon, value = tag.partition(":")
        if not colon:
            if tag not in FLAGS:
                yield problem("warning", "unknown flag", ", ".join(FLAGS), tag)
        elif category not in TAG_CATEGORIES:
            yield problem("warning", "unknown category", ", ".join(TAG_CATEGORIES), tag)
        elif category in ("tp", "ep") and not re.fullmatch("[1-9][0-9]*", value):
            yield problem("error", "not a parallel size", f"{category}:8", tag)
        elif category == "stage" and value not in TAGGED_STAGES:
            yield problem("error", "unknown stage", " or ".join(TAGGED_STAGES), tag)
        elif category == "quantization" and value not in WEIGHT_DTYPES:
            yield problem("warning", "unknown dtype", ", ".join(WEIGHT_DTYPES), tag)
        elif category == "fi_api" and not _DOTTED.fullmatch(value):
            yield problem("warning", "not a qualified name", "flashinfer.norm.rmsnorm", tag)
        elif category == "model" and (value != value.strip() or " " in value):
            yield problem("warning", "not a model slug", "model:llama-3.1-8b", tag)
    statuses = definition.tag_values("status")
    allowed = " or ".join(f"status:{s}" for s in STATUSES)
    if not statuses:
        yield problem("warning", "no status", allowed, "none")
    elif len(statuses) > 1:
        yield problem("error", "more than one status", allowed, ", ".join(statuses))
    elif statuses[0] not in STATUSES:
        yield problem("error", "unknown status", allowed, f"status:{statuses[0]}")
