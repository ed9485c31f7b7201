"""What the tests of latent attention share: modules as SGLang constructs them, and definitions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.trees import module, tree
from fibcore_op_mla import fibcore_extract, fibcore_reference, fibcore_test_template

LINEAR = "sglang.srt.layers.linear."


def radix_attention(path: str, **arguments: Any) -> ModuleNode:
    """A RadixAttention leaf with the defaults of its constructor, the same in both versions."""
    attributes = arguments.pop("attributes", {})
    calls = arguments.pop("calls", ())
    defaults = {
        "layer_id": 0,
        "logit_cap": 0.0,
        "v_head_dim": -1,
        "sliding_window_size": -1,
        "is_cross_attention": False,
        "pos_encoding_mode": "NONE",
        "logit_capping_method": "tanh",
        "quant_config": None,
        "attn_type": "decoder",
        "use_irope": False,
        "prefix": path,
    }
    return module(
        path,
        "sglang.srt.layers.radix_attention.RadixAttention",
        {**defaults, **arguments},
        attributes=attributes,
        calls=calls,
    )


def linear(path: str, kind: str, inputs: int, outputs: int) -> ModuleNode:
    arguments = {"input_size": inputs, "output_size": outputs, "bias": False}
    return module(path, LINEAR + kind, arguments)


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
    node: ModuleNode | None = None, page_sizes: tuple[int, ...] = (1, 64), tp: int = 8
) -> dict[str, Definition]:
    """Definitions of one attention module, by name."""
    serving = Serving(tp=tp, options={"page_size": page_sizes})
    found = fibcore_extract(tree(node or deepseek(tp=tp)), serving)
    made = [fibcore_reference(kernel) for kernel in found.kernels]
    return {d.name: d for d in made if d is not None}


def small_definitions() -> dict[str, Definition]:
    """Definitions of few heads and small head sizes, so that tests are fast; both page sizes."""
    return definitions(deepseek(heads=3, tp=1, nope=16, rope=8, vo=20, latent=24), (1, 4), tp=1)


def load_run(source: str) -> Callable[..., Any]:
    """`run` of a reference, in a namespace of its own."""
    namespace: dict[str, Any] = {"__name__": "reference"}
    exec(compile(source, "<reference>", "exec"), namespace)  # noqa: S102 - our own file
    return namespace["run"]  # type: ignore[no-any-return]


@functools.cache
def load_template(op_type: str) -> dict[str, Any]:
    """The names of a test template, loaded as the generated tests load it."""
    template = fibcore_test_template(op_type)
    assert template is not None
    namespace: dict[str, Any] = {"__name__": "template"}
    exec(template.source, namespace)  # noqa: S102 - our own file
    return namespace


def generator() -> Any:
    import torch

    return torch.Generator().manual_seed(20)


def checks(source: str, definition: Definition) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every property on every case: its id and a function that asserts it."""
    template, data = load_template(definition.op_type), definition.to_dict()
    run = load_run(source)
    for case in template["cases"](data):
        for check in template["PROPERTIES"]:
            one = functools.partial(check, run, data, case, "cpu", generator())
            yield f"{case['id']}-{check.__name__}", one
