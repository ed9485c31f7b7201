"""The contract that every plugin has to hold, on linear layers of every format."""

from __future__ import annotations

import fibcore_op_gemm
from fibcore.plugin import ModuleNode, Quantization, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import linear
from fibcore.testing.trees import tree

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")

OTHERS = (
    Quantization("compressed_tensors", "float8_e4m3fn", "channel", activation="dynamic"),
    Quantization("modelopt_fp8", "float8_e4m3fn", "tensor", activation="static"),
    Quantization("w8a8_int8", "int8", "channel", activation="dynamic"),
    Quantization("mxfp8", "float8_e4m3fn", "group", group_size=32, activation="dynamic"),
    Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static"),
    Quantization("quark", "float4_e2m1", "group", group_size=32, activation="dynamic"),
)


def layers(quantization: Quantization | None) -> tuple[ModuleNode, ...]:
    return (
        linear("up", "ColumnParallelLinear", 128, 256, quantization=quantization),
        linear("down", "RowParallelLinear", 256, 128, quantization=quantization),
        linear("router", "ReplicatedLinear", 128, 24, quantization=quantization),
    )


class TestContract(PluginContract):
    plugin = fibcore_op_gemm
    trees = (
        (tree(*layers(None)), Serving()),
        (tree(*layers(None)), Serving(tp=2, options={"gemm_shapes": "rank"})),
        (tree(*layers(FP8_BLOCK)), Serving()),
        *((tree(*layers(one)), Serving()) for one in OTHERS),
    )
