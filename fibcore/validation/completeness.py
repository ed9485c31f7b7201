"""What a published definition has besides: descriptions, and a baseline to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fibcore.dataset.layout import SOLUTIONS
from fibcore.model.definition import Definition
from fibcore.validation.problems import ValidationProblem, warning


def check_descriptions(definition: Definition, path: str) -> Iterator[ValidationProblem]:
    """Warn about axes, inputs and outputs that nothing describes.

    Args:
        definition: The definition.
        path: Its file, relative to the dataset.
    """
    parts = (
        ("axes", definition.axes),
        ("inputs", definition.inputs),
        ("outputs", definition.outputs),
    )
    for group, items in parts:
        for name, item in items.items():
            if not (item.description or "").strip():
                yield warning(path, f"$.{group}.{name}.description", "no description")


def check_baselines(
    root: Path, definitions: Sequence[tuple[Definition, str]], author: str
) -> Iterator[ValidationProblem]:
    """Warn about definitions without a solution of the author of baselines.

    Args:
        root: The dataset folder.
        definitions: Each with its file, relative to the dataset.
        author: The author.
    """
    for definition, path in definitions:
        if not baselines(root, definition, author):
            yield warning(
                path,
                None,
                "no baseline solution",
                expected=f"{SOLUTIONS}/{author}/{definition.op_type}/{definition.name}/*.json",
            )


def baselines(root: Path, definition: Definition, author: str) -> tuple[str, ...]:
    """The names of a definition's baseline solutions, as their files are called."""
    folder = root / SOLUTIONS / author / definition.op_type / definition.name
    return tuple(sorted(p.stem for p in folder.glob("*.json"))) if folder.is_dir() else ()
