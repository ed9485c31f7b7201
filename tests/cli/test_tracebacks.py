"""`-vv` shows where in a plugin's source a hook failed; a report itself has one line."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from fibcore.ops.hookspecs import hookimpl
from fibcore.ops.registry import Registry, load_plugins
from fibcore.plugin import Extraction, ModelTree, OpType, Serving


@hookimpl
def fibcore_op_types() -> tuple[OpType, ...]:
    return (OpType("toy", "Toys"),)


@hookimpl
def fibcore_extract(tree: ModelTree, serving: Serving) -> Extraction:  # noqa: ARG001 - the hook's
    return count_the_heads({})


def count_the_heads(parameters: dict[str, Extraction]) -> Extraction:
    return parameters["num_heads"]


@pytest.fixture
def op_plugins() -> Registry:
    """A plugin whose hook fails, in place of the project's."""
    toy = SimpleNamespace(fibcore_op_types=fibcore_op_types, fibcore_extract=fibcore_extract)
    return load_plugins(extra={"toy": toy}, discover=False)


@pytest.mark.parametrize("more", [(), ("-v",), ("-vv",), ("-v", "-v"), ("-vv", "--json")])
def test_a_failing_hook(invoke, tiny, more) -> None:  # type: ignore[no-untyped-def]
    done = invoke("extract", *tiny, "--dataset", "d", *more)
    assert done.exit_code == 1
    assert "KeyError" in done.stderr
    wanted = more.count("-v") >= 2 or "-vv" in more
    assert done.stderr.count("Traceback (most recent call last)") == (1 if wanted else 0)
    assert ("return count_the_heads({})" in done.stderr) == wanted
    assert logging.getLogger("fibcore").handlers == []
