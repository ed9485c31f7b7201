"""Trees elaborated from SGLang's real source, for known answers of plugins on real models."""

from __future__ import annotations

import os
from pathlib import Path

from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree

VERSIONS = ("0.5.9", "0.5.23")
"""The releases of SGLang that the tests of fibcore download."""


def sglang_package(version: str) -> Path | None:
    """The package `sglang` of a release, where the tests of fibcore have put it; None elsewhere.

    They put it below FIBCORE_TEST_CACHE, by default `~/.cache/fibcore-tests`.
    """
    cache = os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests"
    package = Path(cache) / f"sglang-{version}" / "sglang"
    return package if package.is_dir() else None


def real_tree(package: Path, version: str, model: str, serving: Serving) -> ModelTree:
    """The tree of a model of the catalogue, as a release of SGLang has it.

    Args:
        package: The folder of the package `sglang`.
        version: Its version.
        model: A name that the catalogue knows.
        serving: How the model is served.

    Raises:
        FibcoreError: the catalogue has no such model, or it cannot be elaborated.
    """
    from fibcore.configs.catalogue import resolve_model
    from fibcore.elaborate import elaborate
    from fibcore.sources.tree import SourceTree

    config = resolve_model(model).config
    return elaborate(SourceTree(package, version, None, "test"), config, serving)
