"""What would be whole of a file whose model holds a part of another package's, such as a tower.

What runs inside of transformers' or timm's classes is not in SGLang's source, and the part is
missing. The language model beside it is whole: SGLang builds it alone from a file that lacks the
part's section, or from the language model's own section. Which of these it is, is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.configs.catalogue import ResolvedModel
from fibcore.configs.quantization import SECTIONS
from fibcore.errors import FibcoreError
from fibcore.extraction.find import elaborated
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.sources.tree import SourceTree

_TEXT = ("text_config", "llm_config", "language_config")
"""Sections of the language model."""
_MANY, _ONE = "ForConditionalGeneration", "ForCausalLM"


def readable(source: SourceTree, tree: ModelTree) -> str | None:
    """Say which packages' source would tell what a model lacks; None where that is not the reason.

    Args:
        source: SGLang's source, with the packages that were read beside it.
        tree: The tree.
    """
    there = {package.name for package in source.packages}
    wanted = dict.fromkeys(m.package for m in tree.missing if m.package and m.package not in there)
    if not wanted:
        return None
    options = " ".join(f"--package {name}" for name in wanted)
    return (
        f"what would do: {options}, by which the source of {' and '.join(wanted)} is read beside "
        "SGLang's: of the release that SGLang requires, or NAME=FOLDER"
    )


def whole_without(
    source: SourceTree, model: ResolvedModel, serving: Serving, tree: ModelTree
) -> str | None:
    """Say what of a file is whole where the model's tree lacks a part; None where nothing is known.

    Args:
        source: SGLang's source.
        model: The model.
        serving: How it is served.
        tree: The tree.
    """
    if not tree.missing:
        return None
    for words, data in _files(model.config.data, tree.architecture):
        config = attrs.evolve(model.config, data=data)
        try:
            found = elaborated(
                source, attrs.evolve(model, config=config, architecture=None), serving
            )
        except FibcoreError:
            continue
        if not found.missing:
            return f"what would do: {words}"
    return None


def _files(data: Mapping[str, Any], architecture: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files that hold less than one, in words and as data."""
    for key, section in data.items():
        if key.endswith("_config") and key not in (*_TEXT, *SECTIONS) and isinstance(section, dict):
            words = f'the file without its "{key}", of which the rest of the model is whole'
            yield words, {k: v for k, v in data.items() if k != key}
    if any(data.get(key) is not None for key in SECTIONS):
        return  # which speaks of weights by the names that they have in the whole model
    for key in _TEXT:
        section = data.get(key)
        if isinstance(section, dict):
            names = section.get("architectures") or [architecture.replace(_MANY, _ONE)]
            words = f'the file\'s "{key}" alone, with "architectures": ["{names[0]}"]'
            yield (
                f"{words}, the language model, which is whole",
                {**section, "architectures": names},
            )
