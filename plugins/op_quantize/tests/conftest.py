"""What the tests share: calls, kernels and definitions of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_quantize as plugin
from fibcore.plugin import Definition, Operation, ParameterRef, Serving, TensorRef, Unknown
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import operation, tree
from fibcore_op_quantize.kinds import KINDS

TOKENS = Unknown("the number of tokens")
FP8_KERNEL = "sglang.kernels.ops.quantization.fp8_kernel."


def rows(k: Any) -> TensorRef:
    """A tensor of the forward pass whose rows have `k` elements."""
    return TensorRef((TOKENS, k), "bfloat16")


def make_call(kind: str, k: Any = 4096, module: str = "layer") -> Operation:
    """A call that quantises rows of `k` elements."""
    scale = ParameterRef("layer.input_scale", (1,), "float32")
    output = TensorRef((TOKENS, k), "float8_e4m3fn")
    if kind.startswith("per_token_group_quant_fp8"):
        return operation(
            FP8_KERNEL + "sglang_per_token_group_quant_fp8",
            rows(k),
            KINDS[kind].group,
            module=module,
            scale_ue8m0="powers" in KINDS[kind].words,
        )
    if kind in ("per_tensor_quant_fp8", "static_quant_fp8"):
        static = kind == "static_quant_fp8"
        name = "sgl_kernel.sgl_per_tensor_quant_fp8"
        return operation(name, rows(k), output, scale, module=module, is_static=static)
    names = {
        "per_token_quant_fp8": "sgl_kernel.sgl_per_token_quant_fp8",
        "per_token_quant_int8": "sglang.srt.layers.quantization.int8_kernel.per_token_quant_int8",
        "mxfp8_quantize": "flashinfer.mxfp8_quantize",
        "nvfp4_quantize": "sgl_kernel.scaled_fp4_quant",
    }
    return operation(names[kind], rows(k), scale, module=module)


def make_definition(kind: str, k: int = 4096) -> Definition:
    found = plugin.fibcore_extract(tree(kernel_calls=[make_call(kind, k)]), Serving())
    (kernel,) = found.kernels
    return plugin.fibcore_reference(kernel)


# One of each reference and of each choice of its lines.
DIFFERENT = [kind for kind in KINDS if not kind.endswith(("_g32", "_g64"))]


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    return [
        with_constants(make_definition(kind, 256), CHUNK_ELEMENTS=256 * 40) for kind in DIFFERENT
    ]


@pytest.fixture
def call() -> Callable[..., Operation]:
    """Makes a call of a kind, with rows of a size."""
    return make_call


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a kind and a size."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "quantize", seed=7)
