"""What the tests share: calls, kernels and definitions of each layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_move as plugin
from fibcore.plugin import Definition, ModuleRef, Operation, Serving, TensorRef, Unknown
from fibcore.testing.templates import Template
from fibcore.testing.trees import module, operation, tree

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


LAYOUTS = ("kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale")
"""All layouts; `sizes` of the calls that write them."""

SIZES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "kv": ((2, 8), (2, 8)),
    "kv_widths": ((2, 8), (2, 6)),
    "mla": ((1, 16), (1, 8)),
    "kv_fp8": ((2, 8), (2, 8)),
    "mla_fp8": ((1, 16), (1, 8)),
    "mla_block_scale": ((1, 256), (1, 8)),
}


def make_definition(layout: str = "kv", page_size: int = 4) -> Definition:
    call = make_write("mla" if layout.startswith("mla") else "kv", *SIZES[layout], module="a.attn")
    serving = Serving(options={"page_size": (page_size,)})
    attention = module("a.attn", "sglang.srt.layers.radix_attention.RadixAttention")
    sparse = {"use_dsa": layout == "mla_block_scale"}
    made = tree(
        module("a", "Attention", attributes=sparse, children=[attention]), kernel_calls=[call]
    )
    dtype = "fp8_e4m3" if layout.endswith(("fp8", "scale")) else "auto"
    (kernel,) = plugin.fibcore_extract(attrs.evolve(made, kv_cache_dtype=dtype), serving).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """One of each layout, so small that tests take milliseconds."""
    return [make_definition(layout) for layout in LAYOUTS]


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
