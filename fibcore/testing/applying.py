"""What a plugin exports for FlashInfer's `trace_apply`, put in place of FlashInfer's functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel
from fibcore.model.serving import Serving
from fibcore.ops.authoring.trace_apply import NAME
from fibcore.ops.exports import ExportRequest, ServedKernel


@contextmanager
def applied(
    trace_apply: Any, plugin: ModuleType, *definitions: Definition
) -> Iterator[dict[str, Any]]:
    """Have FlashInfer's functions call the references of definitions, while the context lasts.

    Gives the functions by FlashInfer's names for them. No GPU is needed.

    Args:
        trace_apply: The module `flashinfer.trace_apply`, of FlashInfer 0.7.
        plugin: Whose format is tried.
        definitions: What stands in for FlashInfer's functions.

    Raises:
        AssertionError: the plugin has no solution for these definitions.
    """
    import torch

    functions = _functions(plugin, definitions)
    assert functions, "no solution for these definitions"
    capturing = torch.cuda.is_current_stream_capturing
    # torch without CUDA cannot say that no graph is being captured.
    torch.cuda.is_current_stream_capturing = lambda: False
    trace_apply.enable_apply(functions)
    try:
        yield functions
    finally:
        trace_apply.disable_apply()
        torch.cuda.is_current_stream_capturing = capturing


def _functions(plugin: ModuleType, definitions: tuple[Definition, ...]) -> dict[str, Any]:
    """The entry points of solutions by FlashInfer's names."""
    served = [
        ServedKernel("model", Serving(), Kernel(d.op_type, d.name, {}, {}, ()), d)
        for d in definitions
    ]
    found: dict[str, Any] = {}
    for one in plugin.fibcore_exports():
        if one.name != NAME:
            continue
        for file in one.write(ExportRequest(served, (1,), ())).files:
            if file.path.startswith("solutions/"):
                solution = json.loads(file.text)
                namespace: dict[str, Any] = {"__name__": solution["name"]}
                exec(solution["sources"][0]["content"], namespace)  # noqa: S102 - our own reference
                found[solution["definition"]] = namespace["apply"]
    return found
