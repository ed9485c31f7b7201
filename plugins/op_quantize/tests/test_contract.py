"""The contract that every plugin has to hold, on calls of every kind."""

from __future__ import annotations

import fibcore_op_quantize
from fibcore.plugin import ParameterRef, Serving, TensorRef, Unknown
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import operation, tree

X = TensorRef((Unknown("the number of tokens"), 256), "bfloat16")
SCALE = ParameterRef("layer.input_scale", (1,), "float32")
GROUP = "sglang.kernels.ops.quantization.fp8_kernel.sglang_per_token_group_quant_fp8"
TENSOR = "sgl_kernel.sgl_per_tensor_quant_fp8"
CALLS = (
    operation(GROUP, X, 128, module="a"),
    operation(GROUP, X, 32, module="b"),
    operation(GROUP, X, 128, module="c", scale_ue8m0=True),
    operation("sgl_kernel.sgl_per_token_quant_fp8", X, module="d"),
    operation("sglang.srt.layers.quantization.int8_kernel.per_token_quant_int8", X, module="e"),
    operation(TENSOR, X, X, SCALE, module="f", is_static=False),
    operation(TENSOR, X, X, SCALE, module="g", is_static=True),
    operation("flashinfer.mxfp8_quantize", X, module="h"),
    operation("sgl_kernel.scaled_fp4_quant", X, SCALE, module="i"),
)


class TestContract(PluginContract):
    plugin = fibcore_op_quantize
    trees = ((tree(kernel_calls=CALLS), Serving()),)
