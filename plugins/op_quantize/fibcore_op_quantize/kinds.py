"""The kinds of quantisation: one record each, in one table.

A new one is a record here, the file below `references/` that it names, what the matcher finds it
by, and its ground truths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import attrs

FP8 = "float8_e4m3fn"

Covers = Literal["group", "row", "all"]
"""What one scale covers: a group of elements of a row, a row, or all rows."""


@attrs.frozen
class Kind:
    """How activations are quantised.

    Attributes:
        name: What the names of its kernels begin with.
        description: What its definitions say before the sizes.
        covers: What one scale covers.
        dtype: Dtype of what it gives: of two elements a byte where `packed`.
        reference: The file below `references/`.
        words: Marks of that file whose lines it keeps.
        scale_dtype: Dtype of the scales; int8 stands for the bits of an exponent (e8m0).
        group: Elements that a scale covers, where it covers a group.
        input: Name of the tensor that is quantised.
        given: Name of a scale of all that is an input; empty where there is none.
        gives_scales: Whether the scales are an output.
        packed: Whether a byte holds two elements e2m1.
        flashinfer: FlashInfer's function; empty where there is none.
    """

    name: str
    description: str
    covers: Covers
    dtype: str
    reference: str
    words: tuple[str, ...] = ()
    scale_dtype: str = "float32"
    group: int = 0
    input: str = "input"
    given: str = ""
    gives_scales: bool = True
    packed: bool = False
    flashinfer: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        return (self.input, self.given) if self.given else (self.input,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of a definition, in order."""
        return ("quantized", "scales") if self.gives_scales else ("quantized",)


GROUPS = (32, 64, 128)
"""Elements of a group that a float32 scale covers: 128 where weights have blocks of 128 x 128."""

_LARGEST = "scaled so that the largest element of {} becomes 448"


def _group_kinds() -> Iterator[Kind]:
    for group in GROUPS:
        about = f"Rows in float8_e4m3fn, {_LARGEST.format(f'each {group} of a row')}"
        yield Kind(
            f"per_token_group_quant_fp8_g{group}", about, "group", FP8, "group_fp8", group=group
        )
        yield Kind(
            f"per_token_group_quant_fp8_ue8m0_g{group}",
            f"{about} or less, by a power of two",
            "group",
            FP8,
            "group_fp8",
            words=("powers",),
            group=group,
        )


_KINDS = (
    *_group_kinds(),
    Kind(
        "per_token_quant_fp8",
        f"Rows in float8_e4m3fn, {_LARGEST.format('each row')}",
        "row",
        FP8,
        "row",
    ),
    Kind(
        "per_token_quant_int8",
        "Rows in int8, scaled so that the largest element of each row becomes 127",
        "row",
        "int8",
        "row",
        words=("int8",),
    ),
    Kind(
        "per_tensor_quant_fp8",
        f"Rows in float8_e4m3fn, {_LARGEST.format('all rows')}",
        "all",
        FP8,
        "tensor_fp8",
        words=("dynamic",),
    ),
    Kind(
        "static_quant_fp8",
        "Rows in float8_e4m3fn, divided by a scale that is given",
        "all",
        FP8,
        "tensor_fp8",
        given="scale",
        gives_scales=False,
    ),
    Kind(
        "mxfp8_quantize",
        f"Rows in MXFP8, {_LARGEST.format('each 32 of a row')} or less, by a power of two",
        "group",
        FP8,
        "mxfp8",
        scale_dtype="int8",
        group=32,
        flashinfer="mxfp8_quantize",
    ),
    Kind(
        "nvfp4_quantize",
        "Rows in NVFP4, scaled so that the largest element of each 16 of a row becomes about 6",
        "group",
        "int8",
        "nvfp4",
        scale_dtype=FP8,
        group=16,
        input="a",
        given="a_global_sf",
        packed=True,
        flashinfer="nvfp4_quantize",
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""All kinds by name."""
