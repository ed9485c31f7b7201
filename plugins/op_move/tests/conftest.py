"""What the tests share: calls, kernels and definitions of each layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_move as plugin
from fibcore.plugin import Definition, ModuleRef, Operation, Serving, TensorRef, Unknown
from fibcore.testing.templates import Template
from fibcore.testing.trees import operation, tree

TOKENS = Unknown("the number of tokens")
POOLS = "sglang.srt.mem_cache.memory_pool."


def make_write(
    layout: str = "kv", first: tuple[Any, Any] = (8, 128), second: Any = None, **more: Any
) -> Operation:
    """A write of rows of these sizes to a pool."""
    pool = "MLATokenToKVPool.set_mla" if layout == "mla" else "MHATokenToKVPool.set"
    path = more.pop("module", "layers.0.attn")
    tensors = [TensorRef((TOKENS, *sizes), "bfloat16") for sizes in (first, second or first)]
    places = TensorRef((TOKENS,), "int64")
    return operation(
        f"{POOLS}{pool}_kv_buffer", ModuleRef(path), places, *tensors, module=path, **more
    )


def make_definition(layout: str = "kv", page_size: int = 4) -> Definition:
    base, _, fp8 = layout.partition("_")
    call = make_write(base, (1, 16), (1, 8)) if base == "mla" else make_write(base, (2, 8))
    serving = Serving(options={"page_size": (page_size,)})
    made = attrs.evolve(tree(kernel_calls=[call]), kv_cache_dtype="fp8_e4m3" if fp8 else "auto")
    (kernel,) = plugin.fibcore_extract(made, serving).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """One of each layout, so small that tests take milliseconds."""
    return [make_definition(layout) for layout in ("kv", "mla", "kv_fp8", "mla_fp8")]


@pytest.fixture
def write() -> Callable[..., Operation]:
    """Makes a call that writes to the cache."""
    return make_write


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a small definition of a layout, with a size of pages."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "page_append", seed=3)
