"""What is called how: op types, kinds, names of definitions."""

from __future__ import annotations

from typing import Literal

from fibcore.plugin import OpType

Kind = Literal["post", "pre", "pre_norm", "post_pre", "head"]
"""Streams behind a layer; what goes into one, as it is or normalised; both in one kernel; what the
last norm is given."""

OP_TYPE_OF: dict[Kind, str] = {
    "post": "mhc_post",
    "pre": "mhc_pre",
    "pre_norm": "mhc_pre",
    "post_pre": "mhc_fused_post_pre",
    "head": "mhc_head",
}

STEMS: dict[Kind, str] = {
    "post": "mhc_post",
    "pre": "mhc_pre",
    "pre_norm": "mhc_pre_norm",
    "post_pre": "mhc_fused_post_pre",
    "head": "mhc_head",
}
"""What names of definitions begin with."""

FILES: dict[Kind, str] = {
    "post": "mhc_post",
    "pre": "mhc_pre",
    "pre_norm": "mhc_pre",
    "post_pre": "mhc_fused_post_pre",
    "head": "mhc_head",
}
"""The files of the references."""

OP_TYPES = (
    OpType("mhc_post", "streams of hyper-connections behind a layer"),
    OpType("mhc_pre", "what a layer is given of the streams, and the coefficients behind it"),
    OpType("mhc_fused_post_pre", "both, at the boundary of two layers"),
    OpType("mhc_head", "the row that is left of the streams behind the last layer"),
)

FLASHINFER: dict[Kind, str] = {
    "post": "flashinfer.mhc.mhc_post",
    "post_pre": "flashinfer.mhc.mhc_fused_post_pre",
}
"""FlashInfer's functions that compute the same, with the same tensors."""

FLASHINFER_STREAMS = 4
"""Streams that FlashInfer's kernels have."""


def kernel_name(kind: Kind, streams: int, hidden_size: int) -> str:
    """The definition's name, `mhc_fused_post_pre_hc4_h4096`."""
    return f"{STEMS[kind]}_hc{streams}_h{hidden_size}"
