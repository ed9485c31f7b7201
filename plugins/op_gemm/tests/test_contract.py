"""The contract that every plugin has to hold, on linear layers of every format."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

import fibcore_op_gemm
from fibcore.plugin import ModelTree, ModuleNode, ModuleRef, Operation, Quantization, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import linear
from fibcore.testing.trees import PLACE, module, tree

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")

OTHERS = (
    Quantization("compressed_tensors", "float8_e4m3fn", "channel", activation="dynamic"),
    Quantization("modelopt_fp8", "float8_e4m3fn", "tensor", activation="static"),
    Quantization("w8a8_int8", "int8", "channel", activation="dynamic"),
    Quantization("mxfp8", "float8_e4m3fn", "group", group_size=32, activation="dynamic"),
    Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static"),
    Quantization("quark", "float4_e2m1", "group", group_size=32, activation="dynamic"),
    Quantization("modelopt_mixed", "float4_e2m1", "group", group_size=16),
    Quantization("mxfp4", "float4_e2m1", "group", group_size=32),
    Quantization("awq", "int4", "group", group_size=64, zero_points=True, packing="awq"),
    Quantization("gptq", "int4", "group", group_size=64, packing="gptq"),
    Quantization("gptq", "int4", "group", group_size=64, packing="gptq", act_order=True),
    Quantization("gptq", "int8", "channel", packing="gptq"),
    Quantization("compressed_tensors", "int4", "channel", packing="pack_quantized"),
    Quantization(
        "compressed_tensors", "int8", "group", None, 32, None, True, packing="pack_quantized"
    ),
)


def layers(quantization: Quantization | None) -> tuple[ModuleNode, ...]:
    return (
        linear("up", "ColumnParallelLinear", 128, 256, quantization=quantization),
        linear("down", "RowParallelLinear", 256, 128, quantization=quantization),
        linear("router", "ReplicatedLinear", 128, 24, quantization=quantization),
    )


def others() -> Iterator[ModuleNode]:
    """A layer of each of the other formats."""
    for number, one in enumerate(OTHERS):
        yield linear(f"layers.{number}", "ColumnParallelLinear", 128, 256, quantization=one)


def latent(quantization: Quantization | None) -> ModuleNode:
    """Latent attention without its prefill layer: 4 heads of 32 + 16, a latent vector of 64."""
    path = "fp8" if quantization else "plain"
    sizes = {"num_heads": 4, "head_dim": 80, "num_kv_heads": 1, "v_head_dim": 64}
    children = {
        "kv_b_proj": linear(
            f"{path}.kv_b_proj", "ColumnParallelLinear", 64, 256, quantization=quantization
        ),
        "attn": module(f"{path}.attn", "sglang.srt.layers.radix_attention.RadixAttention", sizes),
    }
    node = module(path, "sglang.srt.models.minicpm3.Attention", {}, leaf=False)
    return attrs.evolve(
        node, children=children, attributes={"qk_nope_head_dim": 32, "v_head_dim": 32}
    )


def grouped() -> ModelTree:
    """A layer whose weight is one matrix a group of heads."""
    layer = linear("wo_a", "ColumnParallelLinear", 128, 256, quantization=FP8_BLOCK)
    view = Operation("torch.Tensor.view", "", (ModuleRef("wo_a.weight"), 4, 64, -1), {}, PLACE)
    return tree(attrs.evolve(layer, calls=()), operations=(view,))


class TestContract(PluginContract):
    plugin = fibcore_op_gemm
    trees = (
        (tree(*layers(None)), Serving()),
        (tree(*layers(None)), Serving(tp=2, options={"gemm_shapes": "rank"})),
        (tree(*layers(FP8_BLOCK)), Serving()),
        (tree(*others(), *(latent(one) for one in (None, OTHERS[0]))), Serving()),
        (grouped(), Serving()),
    )
