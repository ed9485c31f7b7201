"""What the tests of grouped query attention share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gqa
from fibcore.plugin import Definition, GroundTruth, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.templates import Template, load_run
from fibcore.testing.trees import TENSOR, call, tree
from fibcore_op_gqa import (
    fibcore_extract,
    fibcore_ground_truths,
    fibcore_reference,
)


def attention(path: str = "model.layers.0.self_attn.attn", **arguments: Any) -> Any:
    """A RadixAttention leaf as Llama constructs it, with other arguments where given."""
    sizes = {"num_heads": 32, "head_dim": 128, "scaling": 128**-0.5, "num_kv_heads": 8}
    return radix_attention(path, **{**sizes, **arguments})


@pytest.fixture(name="attention")
def attention_fixture() -> Callable[..., Any]:
    return attention


def make_definitions(
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    page_sizes: tuple[int, ...] = (1, 64),
    window: int | None = None,
    cap: float = 0.0,
    chunk: int | None = None,
    sink: bool = False,
    full: bool = False,
    value_dim: int = -1,
    fp8: bool = False,
    mask: bool = False,
    cross: bool = False,
) -> dict[str, Definition]:
    calls = [call(TENSOR, sinks=ParameterRef("sinks", (heads,)))] if sink else ()
    layer = attention(
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        scaling=head_dim**-0.5,
        sliding_window_size=-1 if window is None else window - 1,
        logit_cap=cap,
        use_irope=chunk is not None,
        attn_type="encoder_only" if full else "decoder",
        v_head_dim=value_dim,
        is_cross_attention=cross,
        calls=calls,
    )
    quantization = {"kv_cache_quant_algo": "FP8"} if fp8 else None
    config = {"attention_chunk_size": chunk, "quantization_config": quantization}
    options = {"page_size": page_sizes, "drafts": "tree" if mask else "none"}
    found = fibcore_extract(attrs.evolve(tree(layer), config=config), Serving(options=options))
    made = [fibcore_reference(kernel) for kernel in found.kernels]
    return {d.name: d for d in made if d is not None}


def small_definitions() -> list[Definition]:
    """One of each reference and variant, so small that tests take milliseconds, pieces as small.

    Plain attention has both page sizes; what has a window has a cap as well, what has chunks has
    sinks, and what has an eight-bit cache has values of another width. A group has more heads than
    there are groups: neither stands for the other.
    """
    forms: list[dict[str, Any]] = [
        {"page_sizes": (1, 4)},
        {"page_sizes": (4,), "window": 20, "cap": 3.0},
        {"page_sizes": (4,), "chunk": 20, "sink": True},
        {"full": True},
        {"page_sizes": (4,), "fp8": True, "value_dim": 4},
        {"page_sizes": (4,), "mask": True},
        {"page_sizes": (4,), "mask": True, "window": 20},
        {"page_sizes": (4,), "cross": True},
    ]
    # Forms share kernels: those that their settings do not change.
    named: dict[str, Definition] = {}
    for form in forms:
        found = make_definitions(6, 2, 8, **form)
        named |= {n: d for n, d in found.items() if "mask" not in form or "custom_mask" in n}
    made = list(named.values())
    # Few keys at a time of one tile, and as on a GPU many tiles at once.
    sizes = {"decode": {"MAX_ELEMENTS": 2**7, "ON_GPU": 2**6}}
    others = {"MAX_ELEMENTS": 2**12, "ON_GPU": 2**5}
    return [with_constants(d, **sizes.get(d.name.split("_")[2], others)) for d in made]


@pytest.fixture
def definitions() -> Callable[..., dict[str, Definition]]:
    """Definitions of one attention layer, by name."""
    return make_definitions


@pytest.fixture(name="load_run")
def load_run_fixture() -> Callable[[str], Callable[..., Any]]:
    return load_run


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(fibcore_op_gqa, "gqa_paged")


def ground_truth(definition: Definition, kind: str) -> GroundTruth:
    truths = fibcore_ground_truths(definition)
    assert truths is not None
    return next(truth for truth in truths if truth.kind == kind)
