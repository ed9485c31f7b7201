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
        trtllm: FlashInfer's fused kernel for it; None where it has none.
        output_std: Standard deviation of the outputs of its workloads. Kernels that round
            activations to bfloat16 between the two products differ by up to 1e-2 of it, those
            that round them to fp8 by a tenth of it.
        scheme: What a scale of weights covers, as `Quantization` says it; None where there are
            none. Where it is "channel", a token has one, too.
        methods: Methods of quantisation, as `Quantization` says them; none for any.
        packed: Dtype of weights that lie in int8, two a byte; None where `dtype` is theirs. Where
            `dtype` is int8, hidden states lie in it likewise, and have scales likewise.
        scale_dtype: Dtype of the scales; int8 stands for the bits of an exponent (e8m0).
        group: Weights of a row that share a scale; 0 where the scheme is another.
        expert_scales: Whether the weights of an expert have one more scale, in float32.
        reference: The file below `references/`; the name where it is empty.
        biases: Whether experts can have biases.
        whole_blocks: Whether ranks get whole groups where they share an expert, so that the last
            one has less and is filled up.
        marker: An input that tells the format, with its axes; None where there is none.
        plain_name: Whether the names of kernels leave the routing out where it is one that datasets
            have without a name.
        trtllm_weight_on_input: Whether FlashInfer's fused kernel can put the routing weight on an
            expert's input.
    """

    name: str
    title: str
    description: str
    prefix: str
    dtype: str
    trtllm: str | None
    output_std: float
    scheme: Literal["block", "tensor", "channel", "group"] | None = None
    methods: tuple[str, ...] = ()
    packed: str | None = None
    scale_dtype: str = "float32"
    group: int = 0
    expert_scales: bool = False
    reference: str = ""
    biases: bool = False
    whole_blocks: bool = False
    marker: tuple[str, int] | None = None
    plain_name: bool = False
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
    def channel_scaled(self) -> bool:
        """Whether a scale covers the weights of an output channel, and one the row of a token."""
        return self.scheme == "channel"

    @property
    def words(self) -> frozenset[str]:
        """Words of the lines that references have for it."""
        covers = {f"per_{self.scheme}"} if self.scheme in ("channel", "tensor") else set()
        covers |= {"expert_scales"} if self.expert_scales else set()
        return frozenset({self.name} | covers)

    def groups_axis(self, along: str) -> str:
        """The axis of groups along "hidden" or "intermediate", as FlashInfer has it."""
        return f"num_{'mxint4' if self.packed == 'int4' else 'fp4'}_{along}_blocks"

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
            and (self.dtype == "bfloat16") == (quantization.activation is None)
            and (not self.methods or quantization.method in self.methods)
        )

    def is_in(self, inputs: Mapping[str, TensorSpec]) -> bool:
        """Whether the inputs of a definition show it."""
        if self.marker is None:
            return True
        name, axes = self.marker
        spec = inputs.get(name)
        if spec is None or len(spec.shape or ()) != axes:
            return False
        scales = inputs.get("gemm1_weights_scale")
        return not self.packed or (scales is not None and scales.dtype == self.scale_dtype)


BF16 = WeightFormat(
    name="bf16",
    title="bfloat16",
    description="bfloat16 weights",
    prefix="moe_bf16",
    dtype="bfloat16",
    trtllm="trtllm_bf16_moe",
    output_std=0.5,
    biases=True,
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
    marker=("gemm1_weights_scale", 3),
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
    reference="row_scale",
    marker=("output1_scales_scalar", 1),
    plain_name=True,
    trtllm_weight_on_input=True,
)
FP8_CHANNEL = WeightFormat(
    name="fp8_per_channel",
    title="fp8 per-channel",
    description="fp8 weights and activations with one scale per output channel and per token",
    prefix="moe_fp8_per_channel",
    dtype="float8_e4m3fn",
    trtllm=None,
    output_std=0.1,
    scheme="channel",
    reference="row_scale",
    marker=("gemm1_weights_scale", 2),
)
INT8_CHANNEL = WeightFormat(
    name="int8_per_channel",
    title="int8 per-channel",
    description="int8 weights and activations with one scale per output channel and per token",
    prefix="moe_int8_per_channel",
    dtype="int8",
    trtllm=None,
    output_std=0.1,
    scheme="channel",
    # That of other methods are weights alone.
    methods=("w8a8_int8", "compressed_tensors"),
    reference="row_scale",
    marker=("gemm1_weights_scale", 2),
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
    biases=True,
    whole_blocks=True,
    marker=("gemm1_weights_scale", 3),
)
# Numbers of four bits with a sign, of compressed-tensors alone: its experts have no zero points.
MXINT4 = WeightFormat(
    name="mxint4",
    title="int4 in groups of 32",
    description="int4 weights (32 of a row with one scale in bfloat16, no zero points) for "
    "bfloat16 activations",
    prefix="moe_mxint4",
    dtype="bfloat16",
    trtllm="trtllm_mxint4_block_scale_moe",
    output_std=0.5,
    scheme="group",
    methods=("compressed_tensors",),
    packed="int4",
    scale_dtype="bfloat16",
    group=32,
    reference="group_scale",
    marker=("gemm1_weights_scale", 3),
)
# Beside bfloat16 hidden states: ModelOpt's W4A16_NVFP4, compressed-tensors' nvfp4-pack-quantized
# without input activations. An expert's scale is ModelOpt's `weight_scale_2`, of which the other
# stores the reciprocal. It stands before NVFP4, whose definitions have these inputs and more.
W4A16_NVFP4 = WeightFormat(
    name="w4a16_nvfp4",
    title="NVFP4 without activations",
    description="NVFP4 weights (e2m1, 16 of a row with one scale in e4m3, and one for the whole) "
    "for bfloat16 activations",
    prefix="moe_w4a16_nvfp4",
    dtype="bfloat16",
    trtllm=None,
    output_std=0.5,
    scheme="group",
    packed="float4_e2m1",
    scale_dtype="float8_e4m3fn",
    group=16,
    expert_scales=True,
    reference="group_scale",
    marker=("gemm1_weights_scale", 3),
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
    expert_scales=True,
    reference="group_scale",
    marker=("output1_scale_scalar", 1),
)

FORMATS = (
    *(BF16, FP8_BLOCK, FP8_TENSOR, FP8_CHANNEL, INT8_CHANNEL),
    *(MXFP4, MXINT4, W4A16_NVFP4, NVFP4),
)

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
    marked = [w for w in reversed(FORMATS) if w.marker and w.is_in(inputs)] or [BF16]
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
