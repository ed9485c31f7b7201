"""The formats of a GEMM's matrices: one record each, in one table.

A new one is a record here, the file below `references/` that it names, and its ground truths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from fibcore.plugin import Definition, Quantization, TensorSpec, tensor
from fibcore_op_gemm import weight_only
from fibcore_op_gemm.weight_only import WeightOnly

BLOCK = 128
"""Rows and columns of a weight block, and columns of an activation's, that one scale covers."""

FP8 = "float8_e4m3fn"
FP4 = "float4_e2m1"

Scales = Literal["tensor", "row", "block", "group"]
"""What one scale covers: a whole matrix; a row of it (a token of A, a channel of B); a block of a
row of A, and of as many rows of B; a group of elements of a row of either."""


@attrs.frozen
class Layers:
    """Layers that have a format, by what `Quantization` says of them.

    Attributes:
        weight_dtype: As there.
        scheme: As there.
        activation: Those that match; None stands for activations that are not quantised.
        methods: Those that match; None for any.
        size: The block or the group size.
    """

    weight_dtype: str
    scheme: str
    activation: tuple[str | None, ...] = ("dynamic", "static")
    methods: tuple[str, ...] | None = None
    size: int | tuple[int, int] | None = None

    def match(self, quantization: Quantization) -> bool:
        """Whether a layer with this quantisation is one of them."""
        size = quantization.block if self.scheme == "block" else quantization.group_size
        return (
            (self.weight_dtype, self.scheme) == (quantization.weight_dtype, quantization.scheme)
            and quantization.activation in self.activation
            and (self.methods is None or quantization.method in self.methods)
            and size == self.size
        )


@attrs.frozen
class Format:
    """How the matrices of a GEMM are stored.

    Attributes:
        name: What the names of its kernels begin with.
        description: What its definitions say before N and K.
        dtype: Dtype of A and B.
        dtype_of_a: Dtype of A where weights alone are quantised: then A has no scales.
        output_dtype: Dtype of C.
        details: What its definitions say after N and K.
        reference: The file below `references/`; the name where it is empty.
        words: Marks of that file whose lines it keeps.
        scales: What a scale covers; None where there are none.
        scale_dtype: Dtype of the scales; int8 stands for the bits of an exponent (e8m0).
        block: Elements along K that the scale of a block or a group covers.
        packed: Whether a byte holds two elements: of both, unless weights alone are quantised.
        alpha: Whether one more scale multiplies the product.
        batched: Whether there are several matrices.
        stored_n_k: Whether B is [N, K], as a linear layer stores it; else [K, N].
        scales_last: Whether the scales come after both matrices, as in FlashInfer's template.
        layers: The layers that have it.
        tags: Tags of its kernels.
    """

    name: str
    description: str
    dtype: str
    dtype_of_a: str | None = None
    output_dtype: str = "bfloat16"
    details: str = ""
    reference: str = ""
    words: tuple[str, ...] = ()
    scales: Scales | None = None
    scale_dtype: str = "float32"
    block: int | None = None
    packed: bool = False
    alpha: bool = False
    batched: bool = False
    stored_n_k: bool = True
    scales_last: bool = False
    layers: tuple[Layers, ...] = ()
    tags: tuple[str, ...] = ()

    def is_of(self, quantization: Quantization) -> bool:
        """Whether a layer with this quantisation multiplies matrices of the format."""
        return any(layers.match(quantization) for layers in self.layers)

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The inputs in order."""
        batch = "batch_size " if self.batched else ""
        found: dict[str, TensorSpec] = {}
        for name, rows in (("A", "M"), ("B", "N")):
            plain = name == "A" and self.dtype_of_a is not None
            k = "packed_k" if self.packed and not plain else "K"
            shape = f"{rows} {k}" if rows == "M" or self.stored_n_k else f"{k} {rows}"
            dtype = (self.dtype_of_a if plain else None) or self.dtype
            found[name] = tensor(batch + shape, dtype, self._about(name))
            if self.scales is not None and not plain:
                shape = self._shape_of_scales(rows, batch)
                about = self._about_scales(name)
                found[f"{name}_scale"] = tensor(shape, self.scale_dtype, about)
        if self.alpha:
            found["alpha"] = tensor("scalar", "float32", self._about_alpha)
        if self.scales_last:
            order = ("A", "B", "A_scale", "B_scale")
            return {name: found[name] for name in order}
        return found

    def _shape_of_scales(self, rows: str, batch: str) -> str:
        if self.scales == "tensor":
            return "scalar"
        if self.scales == "row":
            return batch + rows
        if self.scales == "block" and rows == "N":
            return f"{batch}num_n_blocks num_k_blocks"
        return f"{batch}{rows} num_k_blocks"

    def _about(self, name: str) -> str:
        what = "Activations" if name == "A" else "Weights"
        if self.packed and not (name == "A" and self.dtype_of_a is not None):
            what += ", two numbers e2m1 a byte, the first in its four lower bits"
        return f"{what}."

    @property
    def _about_alpha(self) -> str:
        if self.dtype_of_a is None:
            return "Multiplies the product."
        return "Multiplies the product: the scale of all weights (weight_scale_2)."

    def _about_scales(self, name: str) -> str:
        covered = {"tensor": "all", "row": "a row", "block": "a block", "group": "a group"}
        about = f"Multiplies {covered[self.scales or 'tensor']} of {name}"
        if self.scale_dtype == "int8":
            about += " by 2^(b - 127), b being the byte without a sign (e8m0)"
        return f"{about}."

    def sizes(self, n: int, k: int) -> Iterator[tuple[str, int, str]]:
        """The const axes that follow from N and K: name, size, and how it follows."""
        if self.packed:
            yield "packed_k", k // 2, "K / 2"
        if self.block is not None:
            yield "num_k_blocks", -(-k // self.block), f"K / {self.block}, rounded up"
        if self.block is not None and self.scales == "block":
            yield "num_n_blocks", -(-n // self.block), f"N / {self.block}, rounded up"
        if self.scales == "tensor" or self.alpha:
            yield "scalar", 1, "one scale for a whole matrix"

    def about(self, axis: str) -> str:
        """What a const axis that follows is, for people."""
        if axis == "packed_k":
            return "Bytes along K, two elements in each."
        if axis == "scalar":
            return "The one element of a scale for a whole matrix."
        if self.scales == "group":
            return f"Groups of {self.block} along K."
        return f"Blocks of {self.block} along {axis[4].upper()}, rounded up."

    def misfit(self, n: int, k: int) -> str:  # noqa: ARG002 - others look at N too
        """Why no such matrix can have N and K; empty where it can."""
        if self.scales == "group" and k % (self.block or 1):
            return f"K is {k}, no multiple of the {self.block} that a scale covers"
        return ""

    def has(self, definition: Definition) -> bool:
        """Whether a definition has inputs like these, whatever it calls their axes."""
        own, given = self.inputs, definition.inputs
        if list(own) != list(given):
            return False
        for name, spec in own.items():
            if len(spec.shape or ()) != len(given[name].shape or ()):
                return False
            if self.scales is not None and spec.dtype != given[name].dtype:
                return False
        if self.scales not in ("tensor", "row"):
            return True
        rows, of_a = given["A_scale"].shape or (), given["A"].shape or ()
        return (self.scales == "row") == (rows == of_a[:-1])


# The dataset has GEMMs of unquantised layers in float16, whatever the model's own dtype.
PLAIN = Format(
    name="gemm",
    description="General matrix multiply C = A · Bᵀ",
    dtype="float16",
    output_dtype="float16",
)
# Activations are quantised on the fly.
FP8_BLOCK = Format(
    name="gemm_fp8_block_scale",
    description="Matrix multiply C = A · Bᵀ of block-scaled fp8 matrices",
    details=f"A has a scale for {BLOCK} elements of a row, B one for {BLOCK} x {BLOCK}.",
    dtype=FP8,
    scales="block",
    block=BLOCK,
    layers=(Layers(FP8, "block", ("dynamic",), size=(BLOCK, BLOCK)),),
    tags=(
        "quantization:float8_e4m3fn",
        "fi_api:flashinfer.gemm.gemm_fp8_nt_groupwise",
        "fi_api:flashinfer.gemm.fp8_blockscale_gemm_sm90",
    ),
)
# Rows have scales wherever tokens are quantised one by one, which SGLang does on CUDA with all
# activations that have no scale of their own; and where its method "fp8" keeps the scales of the
# parts of a merged layer apart (`convert_to_channelwise`), static activations included.
FP8_ROW = Format(
    name="gemm_fp8_per_channel",
    description="Matrix multiply C = A · Bᵀ of fp8 matrices with a scale for each row",
    details="Rows of A are tokens, rows of B are output channels.",
    dtype=FP8,
    reference="gemm_row_scale",
    scales="row",
    layers=(
        Layers(FP8, "channel"),
        Layers(FP8, "tensor", ("dynamic",)),
        Layers(FP8, "tensor", methods=("fp8",)),
    ),
    tags=("quantization:float8_e4m3fn",),
)
# Of a merged layer with several scales SGLang takes the largest (`requantize_with_max_scale`).
FP8_TENSOR = Format(
    name="gemm_fp8_per_tensor",
    description="Matrix multiply C = A · Bᵀ of fp8 matrices with one scale for each",
    dtype=FP8,
    reference="gemm_row_scale",
    words=("whole",),
    scales="tensor",
    layers=(Layers(FP8, "tensor", ("static",)),),
    tags=("quantization:float8_e4m3fn", "fi_api:flashinfer.gemm.bmm_fp8"),
)
# Tokens are quantised one by one, also where a checkpoint has a scale for activations.
INT8_ROW = Format(
    name="gemm_int8_per_channel",
    description="Matrix multiply C = A · Bᵀ of int8 matrices with a scale for each row",
    details="Rows of A are tokens, rows of B are output channels.",
    dtype="int8",
    reference="gemm_row_scale",
    scales="row",
    layers=(Layers("int8", "channel", methods=("w8a8_int8", "compressed_tensors")),),
    tags=("quantization:int8",),
)
_EXPONENTS = "Scales are powers of two, e8m0."
MXFP8 = Format(
    name="gemm_mxfp8",
    description="Matrix multiply C = A · Bᵀ of MXFP8 matrices",
    details=f"Of both, 32 elements of a row have a scale. {_EXPONENTS}",
    dtype=FP8,
    reference="gemm_group_scale",
    words=("powers",),
    scales="group",
    scale_dtype="int8",
    block=32,
    layers=(Layers(FP8, "group", ("dynamic",), ("mxfp8", "modelopt_mixed"), size=32),),
    tags=("quantization:float8_e4m3fn", "fi_api:flashinfer.gemm.mm_mxfp8"),
)
# Blocks of activations are scaled on the fly, the whole by a number that the checkpoint has.
NVFP4 = Format(
    name="gemm_nvfp4",
    description="Matrix multiply C = A · Bᵀ of NVFP4 matrices",
    details="Of both, 16 elements of a row have a scale, and alpha scales the whole.",
    dtype="int8",
    reference="gemm_group_scale",
    words=("packed", "packed_a", "alpha"),
    scales="group",
    scale_dtype=FP8,
    block=16,
    packed=True,
    alpha=True,
    layers=(Layers(FP4, "group", size=16),),
    tags=("quantization:float4_e2m1", "fi_api:flashinfer.gemm.mm_fp4"),
)
MXFP4 = Format(
    name="gemm_mxfp4",
    description="Matrix multiply C = A · Bᵀ of MXFP4 matrices",
    details=f"Of both, 32 elements of a row have a scale. {_EXPONENTS}",
    dtype="int8",
    reference="gemm_group_scale",
    words=("packed", "packed_a", "powers"),
    scales="group",
    scale_dtype="int8",
    block=32,
    packed=True,
    layers=(Layers(FP4, "group", size=32),),
    tags=("quantization:float4_e2m1", "fi_api:flashinfer.gemm.mm_fp4"),
)
_BESIDE = "Matrix multiply C = A · Bᵀ of bfloat16 and"
# Beside bfloat16 activations. B and its scales are as checkpoints have them (ModelOpt's
# W4A16_NVFP4, compressed-tensors' nvfp4-pack-quantized); alpha is ModelOpt's `weight_scale_2`, of
# which compressed-tensors stores the reciprocal (`weight_global_scale`).
W4A16_NVFP4 = Format(
    name="gemm_w4a16_nvfp4",
    description=f"{_BESIDE} NVFP4 matrices, weights alone quantised,",
    details="16 elements of a row of B have a scale, and alpha scales the whole.",
    dtype="int8",
    dtype_of_a="bfloat16",
    reference="gemm_group_scale",
    words=("packed", "alpha", "weights_alone"),
    scales="group",
    scale_dtype=FP8,
    block=16,
    packed=True,
    alpha=True,
    layers=(Layers(FP4, "group", (None,), size=16),),
    tags=("quantization:float4_e2m1", "fi_api:flashinfer.gemm.mm_bf16_fp4"),
)
W4A16_MXFP4 = Format(
    name="gemm_w4a16_mxfp4",
    description=f"{_BESIDE} MXFP4 matrices, weights alone quantised,",
    details=f"32 elements of a row of B have a scale. {_EXPONENTS}",
    dtype="int8",
    dtype_of_a="bfloat16",
    reference="gemm_group_scale",
    words=("packed", "powers", "weights_alone"),
    scales="group",
    scale_dtype="int8",
    block=32,
    packed=True,
    layers=(Layers(FP4, "group", (None,), ("mxfp4", "quark"), size=32),),
    tags=("quantization:float4_e2m1",),
)
BMM_BF16 = Format(
    name="bmm_bf16",
    description="Batched matrix multiply C[b] = A[b] · B[b] of bfloat16 matrices",
    dtype="bfloat16",
    batched=True,
    stored_n_k=False,
    tags=("fi_api:flashinfer.gemm.bmm_bf16",),
)
BMM_FP8 = Format(
    name="bmm_fp8",
    description="Batched matrix multiply C[b] = A[b] · B[b] of fp8 matrices",
    details="All of A have one scale, all of B another.",
    dtype=FP8,
    scales="tensor",
    batched=True,
    stored_n_k=False,
    scales_last=True,
    tags=("quantization:float8_e4m3fn", "fi_api:flashinfer.gemm.bmm_fp8"),
)
BMM_FP8_BLOCK = Format(
    name="bmm_fp8_block_scale",
    description="Batched matrix multiply C[b] = A[b] · B[b]ᵀ of block-scaled fp8 matrices",
    details=f"A has a scale for {BLOCK} elements of a row, B one for {BLOCK} x {BLOCK}.",
    dtype=FP8,
    scales="block",
    block=BLOCK,
    batched=True,
    tags=(
        "quantization:float8_e4m3fn",
        "fi_api:flashinfer.gemm.batch_deepgemm_fp8_nt_groupwise",
    ),
)

AnyFormat = Format | WeightOnly

FORMATS = (
    *(PLAIN, FP8_BLOCK, FP8_ROW, FP8_TENSOR, INT8_ROW, MXFP8, NVFP4, MXFP4),
    *(W4A16_NVFP4, W4A16_MXFP4),
    *(BMM_BF16, BMM_FP8, BMM_FP8_BLOCK),
)
"""Those with a record of their own; the first that a layer matches is its.

Formats of integer weights beside bfloat16 activations are made by `weight_only`.
"""


def of_quantization(quantization: Quantization | None) -> AnyFormat | None:
    """The format of a layer; None where none is known."""
    if quantization is None:
        return PLAIN
    found = next((one for one in FORMATS if one.is_of(quantization)), None)
    return found or weight_only.of_quantization(quantization)


def named(name: str) -> AnyFormat:
    """The format of that name."""
    made = weight_only.named(name)
    return made if made is not None else next(one for one in FORMATS if one.name == name)


def of_definition(definition: Definition) -> AnyFormat | None:
    """The format that the inputs of a definition show; None where none is known."""
    found = next((one for one in FORMATS if one.has(definition)), None)
    return found or weight_only.of_definition(definition)


def quantization_words(quantization: Quantization) -> str:
    """A quantisation for people: "float8_e4m3fn weights (fp8), one scale per tensor"."""
    if quantization.scheme == "format":
        return f"weights in the format {quantization.method}"
    scale = quantization.scheme
    if quantization.scheme == "block" and quantization.block is not None:
        scale = "block of {} x {}".format(*quantization.block)
    elif quantization.scheme == "group" and quantization.group_size is not None:
        scale = f"group of {quantization.group_size}"
    words = [
        f"{quantization.weight_dtype} weights ({quantization.method})",
        f"one scale{' and zero point' if quantization.zero_points else ''} per {scale}",
    ]
    if quantization.activation is not None:
        words.append(f"{quantization.activation} activations")
    return ", ".join(words)
