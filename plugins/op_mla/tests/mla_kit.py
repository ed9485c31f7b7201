"""What the tests of latent attention share: modules as SGLang constructs them, and definitions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import attrs

import fibcore_op_mla
from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.sglang_modules import linear, radix_attention
from fibcore.testing.templates import Template, load_run
from fibcore.testing.trees import module, tree
from fibcore_op_mla import fibcore_extract, fibcore_reference

__all__ = [
    "Template",
    "checks",
    "deepseek",
    "definitions",
    "generator",
    "linear",
    "load_run",
    "load_template",
    "radix_attention",
    "small_definitions",
    "template_of",
]


FP8_CACHE = {"quantization_config": {"kv_cache_quant_algo": "FP8"}}
"""What a checkpoint says whose cache SGLang makes of eight-bit numbers."""


def deepseek(
    path: str = "model.layers.0.self_attn",
    *,
    heads: int = 128,
    tp: int = 8,
    nope: int = 128,
    rope: int = 64,
    vo: int = 128,
    latent: int = 512,
    scaling: Any = 0.1352337788608801,
    attributes: dict[str, Any] | None = None,
    more: tuple[ModuleNode, ...] = (),
    both: dict[str, Any] | None = None,
    mqa: dict[str, Any] | None = None,
    mha: dict[str, Any] | None = None,
) -> ModuleNode:
    """DeepseekV2AttentionMLA of both versions; `both`, `mqa`, `mha` change its RadixAttentions."""
    own = heads // tp
    shared = {"num_heads": own, "scaling": scaling, **(both or {})}
    absorbed = {"head_dim": latent + rope, "num_kv_heads": 1, "v_head_dim": latent}
    materialised = {"head_dim": nope + rope, "num_kv_heads": own, "v_head_dim": vo}
    return module(
        path,
        "sglang.srt.models.deepseek_v2.DeepseekV2AttentionMLA",
        attributes=attributes,
        children=(
            linear(f"{path}.fused_qkv_a_proj_with_mqa", "ReplicatedLinear", 7168, 1536 + 576),
            linear(f"{path}.q_b_proj", "ColumnParallelLinear", 1536, heads * (nope + rope)),
            linear(f"{path}.kv_b_proj", "ColumnParallelLinear", latent, heads * (nope + vo)),
            linear(f"{path}.o_proj", "RowParallelLinear", heads * vo, 7168),
            radix_attention(f"{path}.attn_mqa", **{**shared, **absorbed, **(mqa or {})}),
            radix_attention(f"{path}.attn_mha", **{**shared, **materialised, **(mha or {})}),
            *more,
        ),
    )


def definitions(
    node: ModuleNode | None = None,
    page_sizes: tuple[int, ...] = (1, 64),
    tp: int = 8,
    *,
    fp8: bool = False,
) -> dict[str, Definition]:
    """Definitions of one attention module, by name; with `fp8` the cache is quantised."""
    serving = Serving(tp=tp, options={"page_size": page_sizes})
    made_of = tree(node or deepseek(tp=tp))
    if fp8:
        made_of = attrs.evolve(made_of, config=FP8_CACHE)
    found = fibcore_extract(made_of, serving)
    made = [fibcore_reference(kernel) for kernel in found.kernels]
    return {d.name: d for d in made if d is not None}


def small_definitions(heads: int = 3) -> dict[str, Definition]:
    """Definitions of few heads and small head sizes, so that tests are fast; both page sizes."""
    node = deepseek(heads=heads, tp=1, nope=16, rope=8, vo=20, latent=24)
    quantised = definitions(node, (1, 4), tp=1, fp8=True)
    return definitions(node, (1, 4), tp=1) | quantised


@functools.cache
def template_of(op_type: str) -> Template:
    """A test template, loaded as the generated tests load it."""
    return Template.of(fibcore_op_mla, op_type)


def load_template(op_type: str) -> dict[str, Any]:
    """The names that a test template defines."""
    return vars(template_of(op_type).module)


def generator() -> Any:
    return template_of("mla_paged").generator()


def checks(source: str, definition: Definition) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every property on every case: its id and a function that asserts it."""
    return template_of(definition.op_type).checks(definition, load_run(source))
