"""Importing fibcore costs next to nothing and needs none of the heavy packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "transformers", "huggingface_hub", "git", "rich", "click", "numpy", "pytest"),
    *("flashinfer", "sglang", "filelock", "rapidfuzz", "asyncio"),
    *("jinja2", "markupsafe", "pygments", "markdown_it"),
    *("distributed", "ml_dtypes", "safetensors", "tree_sitter", "tree_sitter_typescript"),
)

MODULES = [
    "fibcore",
    "fibcore.reports.coverage",
    "fibcore.dataset",
    "fibcore.extras",
    "fibcore.reports.dataset",
    "fibcore.model.definition",
    "fibcore.reports.diff",
    "fibcore.ops.hookspecs",
    "fibcore.model.kernel",
    "fibcore.pages",
    "fibcore.ops.registry",
    "fibcore.ops.authoring.rendering",
    "fibcore.reports.survey",
    "fibcore.testing.trees",
    "fibcore.traces",
    "fibcore.benchmarking.solutions",
    "fibcore.model.tree",
    "fibcore.validation.run",
    "fibcore.benchmarking.workloads.add",
    "fibcore.ops.authoring.counts",
]


def loaded(code: str) -> list[str]:
    """Which heavy packages a process has loaded after `code`."""
    source = (
        f"import json, sys\nsys.path[:] = {sys.path!r}\n{code}\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    # A test run that measures coverage or the like must not load anything into that process.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))}
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_import_loads_nothing_heavy(module: str) -> None:
    assert loaded(f"import {module}") == []


def test_the_test_would_notice() -> None:
    assert loaded("import filelock") != []


def test_reading_a_dataset_and_calling_plugins_loads_nothing_heavy() -> None:
    code = """
import types
from pathlib import Path
from fibcore.dataset import Dataset
from fibcore.ops.hookspecs import OpType, hookimpl
from fibcore.model.kernel import Extraction
from fibcore.ops.registry import load_plugins
from fibcore.model.serving import Serving
from fibcore.testing.trees import tree
toy = types.SimpleNamespace(
    fibcore_op_types=hookimpl(lambda: [OpType("toy", "a toy")]),
    fibcore_extract=hookimpl(lambda tree: Extraction()),
)
registry = load_plugins(extra={"toy": toy}, discover=False)
assert not registry.extract(tree(), Serving()).errors
Dataset(Path("there/is/no/such/folder"), variant=registry.variant).read()
"""
    assert loaded(code) == []


def test_every_public_name_is_known_without_loading_it() -> None:
    code = "import fibcore\nassert set(fibcore.__all__) == set(dir(fibcore)) - {'annotations'}"
    assert loaded(code) == []
