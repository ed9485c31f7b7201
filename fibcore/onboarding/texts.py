"""The texts of an onboarding: coverage row, benchmark YAML, kernel requests, and what to say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from fibcore.model.definition import Definition

GOT, BARE, MISSING, NONE = "✅", "🟡", "❌", "—"
"""Definition and workload; definition alone; named and missing; a module without a definition."""


@cache
def _data(name: str) -> Any:
    return json.loads((files(__package__) / name).read_text(encoding="utf-8"))


def has_template(function: str) -> bool:
    """Whether FlashInfer 0.7.4 has a trace template for one of its functions or wrappers."""
    wanted = function.removesuffix(".run").rpartition(".")[2]
    names: Sequence[str] = _data("flashinfer_templates.json")["templates"]
    return any(name.removesuffix(".run").rpartition(".")[2] == wanted for name in names)


def coverage_page(
    model: str,
    architecture: str,
    kernels: Mapping[str, Mapping[str, Any]],
    missing: Iterable[str],
    uncovered: Iterable[str],
) -> str:
    """The model's part of the coverage page, and its row of the summary."""
    rows = []
    for name, kernel in sorted(kernels.items()):
        workloads = kernel["phases"].get("workloads", "none")
        status = BARE if workloads in ("none", "pending") else GOT
        rows.append(f"| `{name}` | {kernel['op_type']} | {status} |")
    rows += [f"| `{name}` | | {MISSING} |" for name in sorted(missing)]
    rows += [f"| {what} | | {NONE} |" for what in sorted(uncovered)]
    whole = all(row.endswith(f"{GOT} |") for row in rows)
    covered = "fully covered" if whole and rows else "partial" if kernels else "not covered"
    return "\n".join(
        [
            f"## {model}",
            "",
            f"**Architecture**: {architecture}",
            "",
            "| Definition | Op Type | Status |",
            "| --- | --- | --- |",
            *rows,
            "",
            "Row of the summary:",
            "",
            "| Model | Architecture | Coverage |",
            "| --- | --- | --- |",
            f"| {model} | {architecture} | {covered} |",
            "",
        ]
    )


def benchmark_yaml(definitions: Sequence[Definition]) -> str:
    """flashinfer-bench's configuration for some definitions, with its own defaults and ours."""
    known: Mapping[str, Any] = _data("benchmark_defaults.json")
    used = {d.op_type for d in definitions}
    by_type = {name: values for name, values in known["op_types"].items() if name in used}
    lines = _yaml("op_type_config", by_type)
    own = {d.name: known["default"] | known["op_types"].get(d.op_type, {}) for d in definitions}
    return "\n".join([*lines, *_yaml("definition_config", own)]) + "\n"


def _yaml(key: str, entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not entries:
        return [f"{key}: {{}}"]
    lines = [f"{key}:"]
    for name, values in sorted(entries.items()):
        lines.append(f"  {name}:")
        for field, value in values.items():
            if isinstance(value, dict):
                lines.append(f"    {field}:")
                lines += [f"      {k}: {v}" for k, v in value.items()]
            else:
                lines.append(f"    {field}: {'null' if value is None else value}")
    return lines


def kernel_request(model: str, definition: Definition) -> str:
    """What to ask FlashInfer for where it lacks a kernel, as an issue for its tracker."""
    sizes = [f"- {n} = {v}" for n, v in definition.const_axes.items()]
    tensors = [
        f"- {group} {name}: {list(spec.shape) if spec.shape is not None else 'scalar'}"
        f" {spec.dtype}. {spec.description or ''}".rstrip()
        for group, specs in (("input", definition.inputs), ("output", definition.outputs))
        for name, spec in specs.items()
    ]
    return "\n".join(
        [
            f"# Kernel request: {definition.name}",
            "",
            f"- model: {model}",
            f"- op type: {definition.op_type}",
            "",
            definition.description or "",
            "",
            "## Sizes",
            "",
            *sizes,
            "",
            "## Tensors",
            "",
            *tensors,
            "",
            "## Reference",
            "",
            "```python",
            definition.reference.rstrip("\n"),
            "```",
            "",
        ]
    )
