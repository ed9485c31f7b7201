"""The formats of experts' weights and activations: one record each, in one table.

A new one is a record here and the file below `references/` that has its name; its tensors are in
`definitions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from fibcore.plugin import Quantization, TensorSpec

BLOCK = 128
"""Rows and columns of a weight block, and activations of a token, that share one fp8 scale."""


@attrs.frozen
class WeightFormat:
    """How weights and activations are stored.

    Attributes:
        name: Its name in parameters, and the file below `references/`.
        title: The same in a phrase: "fp8 block-scale".
        description: The same for the description of a definition.
        prefix: What the names of its kernels begin with.
        dtype: Dtype of hidden states, and of weights where these are not packed.
        trtllm: FlashInfer's fused kernel for it.
        output_std: Standard deviation of the outputs of its workloads. Kernels that round
            activations to bfloat16 between the two products differ by up to 1e-2 of it, those
            that round them to fp8 by a tenth of it.
        scheme: What a scale covers, as `Quantization` says it; None where there are none.
        activation: How activations are scaled, likewise; None for any way.
        packed: Dtype of weights that lie in int8, two a byte; None where `dtype` is theirs. Where
            `dtype` is int8, hidden states lie in it likewise, and have scales likewise.
        scale_dtype: Dtype of the scales; int8 stands for the bits of an exponent (e8m0).
        group: Weights of a row that share a scale; 0 where the scheme is another.
        reference: The file below `references/`; the name where it is empty.
        activations: Whether experts can have other activations than SwiGLU.
        biases: Whether experts can have biases.
        whole_blocks: Whether ranks get whole groups where they share an expert, so that the last
            one has less and is filled up.
        marker: An input that no other format has; None where there is none.
        routing_in_name: Whether the names of its kernels have the routing in them.
        remote_experts: Whether some experts can be on other ranks.
        grouped_routing: Whether there are kernels whose routing has groups.
        trtllm_weight_on_input: Whether FlashInfer's fused kernel can put the routing weight on an
            expert's input.
    """

    name: str
    title: str
    description: str
    prefix: str
    dtype: str
    trtllm: str
    output_std: float
    scheme: Literal["block", "tensor", "group"] | None = None
    activation: str | None = None
    packed: str | None = None
    scale_dtype: str = "float32"
    group: int = 0
    reference: str = ""
    activations: bool = False
    biases: bool = False
    whole_blocks: bool = False
    marker: str | None = None
    routing_in_name: bool = True
    remote_experts: bool = True
    grouped_routing: bool = True
    trtllm_weight_on_input: bool = False

    @property
    def block_scaled(self) -> bool:
        """Whether a scale covers a block of `BLOCK` x `BLOCK` weights."""
        return self.scheme == "block"

    @property
    def tensor_scaled(self) -> bool:
        """Whether a scale covers the weights of an expert."""
        return self.scheme == "tensor"

    @property
    def quantized(self) -> str:
        """Dtype of one weight."""
        return self.packed or self.dtype

    @property
    def packed_states(self) -> bool:
        """Whether hidden states are stored as the weights are, with scales for groups."""
        return self.packed is not None and self.dtype == "int8"

    @property
    def multiplied(self) -> str:
        """Dtype of the numbers that are multiplied."""
        return self.quantized if self.packed_states else self.dtype

    @property
    def stored(self) -> str:
        """Dtype of the tensors that hold the weights."""
        return "int8" if self.packed else self.dtype

    @property
    def scale_size(self) -> int:
        """Weights of a row that share a scale; 0 where a scale covers all, or there is none."""
        return BLOCK if self.block_scaled else self.group

    def is_of(self, quantization: Quantization) -> bool:
        """Whether a layer with this quantisation has its weights in the format."""
        return (
            (self.quantized, self.scheme) == (quantization.weight_dtype, quantization.scheme)
            and (not self.block_scaled or quantization.block == (BLOCK, BLOCK))
            and (not self.group or quantization.group_size == self.group)
            # Activations of unquantised hidden states are in the model's dtype.
            and (not self.packed or self.packed_states == (quantization.activation is not None))
            and self.activation in (None, quantization.activation)
        )


BF16 = WeightFormat(
    name="bf16",
    title="bfloat16",
    description="bfloat16 weights",
    prefix="moe_bf16",
    dtype="bfloat16",
    trtllm="trtllm_bf16_moe",
    output_std=0.5,
)
FP8_BLOCK = WeightFormat(
    name="fp8_block_scale",
    title="fp8 block-scale",
    description=f"fp8 weights and activations with one scale per block of {BLOCK}",
    prefix="moe_fp8_block_scale",
    dtype="float8_e4m3fn",
    trtllm="trtllm_fp8_block_scale_moe",
    output_std=0.1,
    scheme="block",
    marker="gemm1_weights_scale",
)
FP8_TENSOR = WeightFormat(
    name="fp8_per_tensor",
    title="fp8 per-tensor",
    description="fp8 weights and activations with one scale per tensor",
    prefix="trtllm_fp8_per_tensor_scale_moe",
    dtype="float8_e4m3fn",
    trtllm="trtllm_fp8_per_tensor_scale_moe",
    output_std=0.1,
    scheme="tensor",
    activation="static",
    marker="output1_scales_scalar",
    routing_in_name=False,
    remote_experts=False,
    grouped_routing=False,
    trtllm_weight_on_input=True,
)

# Numbers e2m1 with exponents e8m0; where SGLang's kernels take bfloat16 hidden states, as its
# method "mxfp4" does before Blackwell.
MXFP4 = WeightFormat(
    name="mxfp4",
    title="MXFP4",
    description="MXFP4 weights (e2m1, 32 of a row with one scale, a power of two) for bfloat16 "
    "activations",
    prefix="moe_mxfp4",
    dtype="bfloat16",
    trtllm="trtllm_fp4_block_scale_moe",
    output_std=0.5,
    scheme="group",
    packed="float4_e2m1",
    scale_dtype="int8",
    group=32,
    reference="group_scale",
    activations=True,
    biases=True,
    whole_blocks=True,
    marker="gemm1_weights_scale",
)
# Blocks of activations are scaled on the fly, the whole by a number that the checkpoint has.
NVFP4 = WeightFormat(
    name="nvfp4",
    title="NVFP4",
    description="NVFP4 weights and activations (e2m1, 16 of a row with one scale in e4m3, and one "
    "for the whole)",
    prefix="moe_nvfp4",
    dtype="int8",
    trtllm="trtllm_fp4_block_scale_moe",
    output_std=0.5,
    scheme="group",
    packed="float4_e2m1",
    scale_dtype="float8_e4m3fn",
    group=16,
    reference="group_scale",
    activations=True,
    marker="output1_scale_scalar",
)

FORMATS = (BF16, FP8_BLOCK, FP8_TENSOR, MXFP4, NVFP4)

BY_NAME = {weights.name: weights for weights in FORMATS}
"""The records by the name that parameters have."""


def of_quantization(quantization: Quantization | None) -> WeightFormat | None:
    """The format of a layer's weights; None where no record has it."""
    if quantization is None:
        return BF16
    return next((w for w in FORMATS if w.scheme is not None and w.is_of(quantization)), None)


def of_inputs(inputs: Mapping[str, TensorSpec]) -> WeightFormat | None:
    """The format that the inputs of a definition show; None where no record has it."""
    first = inputs.get("gemm1_weights")
    if first is None:
        return None
    marked = [w for w in reversed(FORMATS) if w.marker in inputs] or [BF16]
    return next((w for w in marked if w.stored == first.dtype), None)


def quantization_words(quantization: Quantization) -> str:
    """A quantisation for people: `awq int4 (a scale per 128)`."""
    if quantization.scheme == "format":
        return quantization.method
    if quantization.scheme == "block" and quantization.block is not None:
        covers = "block of {} x {}".format(*quantization.block)
    elif quantization.scheme == "group" and quantization.group_size is not None:
        covers = str(quantization.group_size)
    else:
        covers = quantization.scheme
    words = f"{quantization.method} {quantization.weight_dtype} (a scale per {covers}"
    if quantization.scheme == "tensor" and quantization.activation:
        words += f", {quantization.activation} activation scales"
    return words + ")"
