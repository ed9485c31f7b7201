"""Conflicts: two kernels that want one name, and the reports about them.

The later one is stored as `<name>_v2`, `_v3`, .... A conflict is open as long as both files are
there and are different kernels; so the dataset itself says which conflicts are open, and the
reports are written from it. When none is open there are no reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import remove, write_text
from fibcore.dataset.layout import definition_file
from fibcore.dataset.merging import Difference, Variant, differences, reference_diff
from fibcore.model.definition import Definition
from fibcore.model.json import to_data, to_text

SUFFIX = re.compile(r"(?P<base>.+)_v(?P<version>[2-9]|[1-9][0-9]+)")
JSON_PATH = "reports/conflicts.json"
MARKDOWN_PATH = "reports/conflicts.md"


@attrs.frozen
class Conflict:
    """Two different kernels of one name.

    Attributes:
        name: The name that both want.
        kept: The definition that has it.
        new: The one that is stored with a version suffix.
        differences: Field by field, in the order of the format.
    """

    name: str
    kept: Definition
    new: Definition
    differences: tuple[Difference, ...]


def base_name(name: str) -> str | None:
    """The name without its version suffix; None where it has none."""
    match = SUFFIX.fullmatch(name)
    return match["base"] if match else None


def open_conflicts(
    definitions: Mapping[str, Definition],
    same: Callable[[Definition, Definition], bool],
    variant: Variant,
) -> list[Conflict]:
    """The conflicts that are open among `definitions` (by name), sorted."""
    found = []
    for name, new in sorted(definitions.items(), key=lambda item: _version(item[0])):
        base = base_name(name)
        kept = definitions.get(base) if base else None
        if base and kept is not None and not same(kept, new):
            found.append(Conflict(base, kept, new, differences(kept, new, variant)))
    return found


def _version(name: str) -> tuple[str, int]:
    match = SUFFIX.fullmatch(name)
    return (match["base"], int(match["version"])) if match else (name, 0)


def write_reports(root: Path, conflicts: list[Conflict]) -> bool:
    """Write both reports, or remove them where there is nothing to say.

    Returns:
        Whether a file changed.

    Raises:
        DatasetError: a report cannot be written.
    """
    reports = {
        root / JSON_PATH: _as_json(conflicts),
        root / MARKDOWN_PATH: _as_markdown(conflicts),
    }
    changed = [
        write_text(root, path, text) if conflicts else remove(root, path)
        for path, text in reports.items()
    ]
    return any(changed)


def _summary(definition: Definition) -> dict[str, Any]:
    return {
        "path": definition_file(definition),
        "models": list(definition.tag_values("model")),
        "tags": list(definition.tags),
        "reference_sha256": definition.reference_hash,
    }


def _as_json(conflicts: list[Conflict]) -> str:
    data = {
        "conflicts": [
            {
                "name": c.name,
                "saved_as": c.new.name,
                "kept": _summary(c.kept),
                "new": _summary(c.new),
                "differences": to_data(c.differences),
                "reference_diff": reference_diff(c.kept, c.new),
            }
            for c in conflicts
        ]
    }
    return to_text(data)


def _as_markdown(conflicts: list[Conflict]) -> str:
    lines = [
        "# Conflicts",
        "",
        "Two different kernels want one name. The one that was there first keeps it, the other is",
        "stored with a version suffix. To close a conflict, rename one of the two (file name and",
        "`name` field) or remove it; the next run takes it out of this report.",
    ]
    for c in conflicts:
        lines += ["", f"## {c.name}", ""]
        for label, one in (("kept", c.kept), ("new", c.new)):
            models = ", ".join(one.tag_values("model")) or "no model"
            lines.append(f"- {label}: `{definition_file(one)}` ({models})")
        lines += ["", "| field | kept | new |", "| --- | --- | --- |"]
        lines += [f"| {_cell(d.field)} | {_cell(d.kept)} | {_cell(d.new)} |" for d in c.differences]
        diff = reference_diff(c.kept, c.new)
        if diff:
            fence = "`" * max(3, 1 + max(_longest_fence(line) for line in diff))
            lines += ["", f"{fence}diff", *diff, fence]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """A value in a table cell; pipes and line ends would end the cell."""
    if value is None:
        return "—"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.replace("|", "\\|").split())


def _longest_fence(line: str) -> int:
    return max((len(run) for run in re.findall("`+", line)), default=0)
