"""The one way from a model to its kernels."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fibcore
from fibcore.errors import ServingError
from fibcore.extraction.find import find_kernels, resolve
from fibcore.extraction.request import Request
from fibcore.model.serving import Serving
from fibcore.ops.registry import Registry
from fibcore.sources.finding import find_source
from fibcore.sources.tree import SourceTree


@pytest.fixture
def source(tiny_source: Path) -> SourceTree:
    return find_source(str(tiny_source), tiny_source)


def test_everything_of_a_model(
    source: SourceTree, tiny_config: Path, plugins_but_embedding: Registry
) -> None:
    model = resolve("tiny", source, config=tiny_config)
    found = find_kernels(source, model, Serving(), plugins_but_embedding)
    assert found.tree.architecture == "TinyForCausalLM"
    assert {"rmsnorm", "gemm", "gqa_paged"} <= {k.op_type for k in found.kernels}
    assert found.errors == ()
    left = {use.cls.rpartition(".")[2] for use in found.unclaimed}
    assert left == {"VocabParallelEmbedding"}


def test_op_types_that_are_not_wanted_stay_claimed(
    source: SourceTree, tiny_config: Path, op_plugins: Registry
) -> None:
    model = resolve("tiny", source, config=tiny_config)
    everything = find_kernels(source, model, Serving(), op_plugins)
    found = find_kernels(source, model, Serving(), op_plugins, Request(op_types=("rmsnorm",)))
    assert {k.op_type for k in found.kernels} == {"rmsnorm"}
    assert found.unclaimed == everything.unclaimed


def test_sizes_that_cannot_be_are_no_partial_result(
    source: SourceTree, tiny_config: Path, op_plugins: Registry
) -> None:
    model = resolve("tiny", source, config=tiny_config)
    with pytest.raises(ServingError):
        find_kernels(source, model, Serving(tp=3), op_plugins)


def test_nothing_else_elaborates_or_asks_plugins_for_kernels() -> None:
    root = Path(fibcore.__file__).parent
    callers = set()
    for path in root.rglob("*.py"):
        room = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in ("elaborate", "registry.extract", "self.registry.extract"):
                callers.add(room)
    # The kit for tests of plugins asks one plugin about trees that its author names.
    assert {room for room in callers if not room.startswith("testing/")} == {"extraction/find.py"}
